"""The pipeline file: one frozen model, checked at start-up, every default filled in.

An unknown key, a wrong type or a value out of bounds raises a ``ConfigurationError`` that names file, key,
what was expected, what was found and a hint. Paths are relative to the file. Durations are integers of
microseconds, named ``*_us`` here and without that ending in the file. Secrets never stand in the file: it
names environment variables or files that hold them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, model_validator

from attribution.rules import Rules
from attribution.toml_tables import Bare, parse_toml
from attribution.windows import DAY_US, format_duration
from schemas.errors import setting_error
from schemas.events import FIELDS, Kind
from streams.rule_files import read_text
from streams.security_settings import Security
from streams.setting_errors import setting_message
from streams.setting_types import (
    BootstrapServers,
    Currency,
    DurationUs,
    FilePath,
    Listen,
    MemoryBytes,
    PositiveUs,
    Section,
    Text,
    TopicName,
    WholeDaysUs,
    optional,
    refusal,
)


class Topic(Section):
    """A topic, the kind of event in it and how its records are read."""

    name: TopicName
    kind: Annotated[Kind, Field(strict=False)]
    mapping: Literal["canonical"] = "canonical"


class _Input(Section):
    max_record_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    topics: Annotated[tuple[Topic, ...], Field(alias="topic", min_length=1, strict=False)]

    @model_validator(mode="after")
    def _topics_are_unique(self) -> Self:
        names = [topic.name for topic in self.topics]
        for number, name in enumerate(names):
            if name in names[:number]:
                expected, hint = "a name no other topic has", "one topic holds one kind of event"
                raise refusal(expected, hint, key=f"topic {number + 1}.name", got=f'"{name}" twice')
        return self


class FilesInput(_Input):
    """Event files in folders, one per topic."""

    source: Literal["files"]
    path: FilePath


class KafkaInput(_Input):
    """Topics of a Kafka cluster."""

    source: Literal["kafka"]
    bootstrap_servers: BootstrapServers
    start: Literal["earliest", "latest"] = "earliest"
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    group: Text | None = None
    security: Security | None = None


class Time(Section):
    """How late, how long and how far ahead events may come."""

    allowed_lateness_us: DurationUs = optional("1d", "allowed_lateness")
    reversal_window_us: DurationUs = optional("60d", "reversal_window")
    max_future_skew_us: DurationUs = optional("5m", "max_future_skew")
    idle_after_us: PositiveUs = optional("60s", "idle_after")


class Output(Section):
    """The published tables."""

    path: FilePath
    roll_interval_us: PositiveUs = optional("60s", "roll_interval")


class State(Section):
    """What the live engine keeps; ``path`` is asked for by ``Settings.state_path``."""

    path: FilePath | None = None
    commit_interval_us: PositiveUs = optional("10s", "commit_interval")
    memory_bytes: MemoryBytes = optional("1GiB", "memory")


class Archive(Section):
    """Every record read, kept as Parquet."""

    path: FilePath = optional("../archive")
    retention_us: PositiveUs = optional("400d", "retention")
    drop: Annotated[tuple[Text, ...], Field(strict=False)] = ()


class Http(Section):
    """Where health and metrics are served."""

    listen: Listen = "127.0.0.1:9464"

    @property
    def port(self) -> int:
        """The port alone; the host is always 127.0.0.1."""
        return int(self.listen.rpartition(":")[2])


class Settings(Section):
    """A pipeline. ``archive`` is there by default with Kafka, with files only where the section is written."""

    base_currency: Currency
    rules: FilePath
    fx: FilePath | None = None
    fx_max_age_us: WholeDaysUs = optional("7d", "fx_max_age")
    input: Annotated[FilesInput | KafkaInput, Field(discriminator="source")]
    time: Time = optional({})
    output: Output
    state: State = optional({})
    archive: Archive | None = None
    http: Http | None = None
    _file: Path = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _archive_with_kafka(cls, values: dict[str, Any]) -> dict[str, Any]:
        source = values.get("input")
        is_kafka = isinstance(source, dict) and source.get("source") == "kafka"
        return {"archive": {}} | values if is_kafka else values

    @model_validator(mode="after")
    def _dropped_fields_are_not_needed(self) -> Self:
        dropped = self.archive.drop if self.archive else ()
        for topic in self.input.topics:
            for field in FIELDS[topic.kind]:
                if field.required and field.name in dropped:
                    raise refusal(f"fields that {topic.kind} events can do without", key="archive.drop", got=field.name)
        return self

    @model_validator(mode="after")
    def _folders_are_different(self, info: ValidationInfo) -> Self:
        assert info.context is not None, "the model is made from a file"
        self._file = info.context["file"]
        folders = {
            "input.path": self.input.path if isinstance(self.input, FilesInput) else None,
            "output.path": self.output.path,
            "state.path": self.state.path,
            "archive.path": self.archive.path if self.archive else None,
        }
        names: dict[Path, str] = {}
        for key, folder in folders.items():
            other = names.setdefault(folder.resolve(), key) if folder else key
            if other != key:
                raise refusal("a folder of its own", key=key, got=f"the folder of {other}")
        return self

    @property
    def file(self) -> Path:
        """The pipeline file these settings came from."""
        return self._file

    def under_rules(self, path: Path) -> Settings:
        """The same pipeline with other rules."""
        return self.model_copy(update={"rules": path})

    @property
    def lag_group(self) -> str:
        """The consumer group that lag tools see."""
        own = self.input.group if isinstance(self.input, KafkaInput) else None
        return own or f"attribution-{self._file.stem}"

    @property
    def fx_max_age_days(self) -> int:
        """The oldest a rate may be, in whole days."""
        return self.fx_max_age_us // DAY_US

    def state_path(self) -> Path:
        """The state folder, which only ``run`` and ``replay --state`` need; raises ConfigurationError without one."""
        if self.state.path is None:
            hint = 'add path = "../state" to [state]'
            raise setting_error(f"{self.file}: state.path", expected="a folder", got=Bare("nothing"), hint=hint)
        return self.state.path


def load_settings(path: Path) -> Settings:
    """The settings of a pipeline file; raises ConfigurationError for a file that is missing or wrong."""
    values = parse_toml(read_text(path), str(path))
    try:
        return Settings.model_validate(values, context={"file": path})
    except ValidationError as error:
        # A misspelt key is also a missing one: the unknown key tells more.
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise setting_message(found[0], str(path), _KEYS) from None


def check_rules_against(rules: Rules, settings: Settings) -> None:
    """Raises ConfigurationError if a rule's early_tolerance is longer than the pipeline's reversal_window."""
    limit_us = settings.time.reversal_window_us
    for rule in rules.rules:
        if rule.early_tolerance_us > limit_us:
            expected = f"at most the reversal_window of {settings.file}, {format_duration(limit_us)}"
            got = format_duration(rule.early_tolerance_us)
            raise setting_error(f"{rule.place}: early_tolerance", expected=expected, got=got)


#: Every table by its path as pydantic reports it, for hints about misspelt keys.
_SECTIONS: dict[tuple[str, ...], type[Section]] = {
    (): Settings,
    ("input", "files"): FilesInput,
    ("input", "kafka"): KafkaInput,
    ("input", "files", "topic"): Topic,
    ("input", "kafka", "topic"): Topic,
    ("input", "kafka", "security"): Security,
    ("time",): Time,
    ("output",): Output,
    ("state",): State,
    ("archive",): Archive,
    ("http",): Http,
}
_KEYS = {
    path: [field.alias or name for name, field in section.model_fields.items()] for path, section in _SECTIONS.items()
}
