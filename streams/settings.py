"""The pipeline file: one frozen model, checked at start-up, every default filled in.

An unknown key, a wrong type or a value out of bounds raises a ``ConfigurationError`` that names file, key,
what was expected, what was found and a hint. Paths are relative to the file. Durations are integers of
microseconds, named ``*_us`` here and without that ending in the file. Secrets never stand in the file: it
names environment variables or files that hold them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from attribution.rules import Bare, Rules, nearest, parse_toml, shown
from attribution.windows import DAY_US, DURATION_EXPECTED, format_duration, parse_duration
from schemas.currencies import ACTIVE
from schemas.errors import ConfigurationError, setting_error
from schemas.events import Kind
from streams.rule_files import read_text

_MEMORY_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_PORT_MAX = 65_535
#: A topic is a folder name with files: it never leaves its parent folder.
_TOPIC = re.compile(r"(?!\.{1,2}$)[^/\\\0]+")


def _refusal(expected: str, hint: str = "", *, key: str = "", got: str = "") -> PydanticCustomError:
    """A refusal in our own words; key and got where the check looked at a whole section."""
    return PydanticCustomError("setting", "{expected}", {"expected": expected, "hint": hint, "key": key, "got": got})


def _optional(default: object, key: str | None = None) -> Any:
    """A field with a default, written and checked as in the file, where it is called ``key``."""
    return Field(default=default, alias=key, validate_default=True)


def _duration(value: object) -> int:
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError:
        raise _refusal(DURATION_EXPECTED) from None


def _positive(duration_us: int) -> int:
    if not duration_us:
        raise _refusal(f"{DURATION_EXPECTED}, above 0")
    return duration_us


def _whole_days(duration_us: int) -> int:
    if duration_us % DAY_US:
        raise _refusal('whole days such as "7d"')
    return duration_us


def _memory(value: object) -> int:
    found = re.fullmatch(r"0*([1-9][0-9]{0,8})([KMGT]iB)", value) if isinstance(value, str) else None
    if not found:
        raise _refusal('a size such as "512MiB" or "1GiB", above 0')
    return int(found[1]) * _MEMORY_UNITS[found[2]]


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise _refusal("a path, relative to this file")
    assert info.context is not None, "a path needs the file it is relative to"
    return Path(info.context["file"].parent, value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _refusal("a text that is not empty")
    return value


def _currency(value: object) -> str:
    if not isinstance(value, str) or value not in ACTIVE:
        capitals = value.strip().upper() if isinstance(value, str) else ""
        raise _refusal('an active ISO 4217 code such as "USD"', f'write "{capitals}"' if capitals in ACTIVE else "")
    return value


def _topic_name(value: object) -> str:
    if not isinstance(value, str) or not _TOPIC.fullmatch(value):
        raise _refusal("the name of a topic: a text without slashes that is not empty")
    return value


def _listen(value: object) -> str:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    is_port = re.fullmatch(r"[1-9][0-9]{0,4}", port) is not None and int(port) <= _PORT_MAX
    if host != "127.0.0.1" or not is_port:
        hint = "it is served to this machine only; a proxy may publish it" if colon and is_port else ""
        raise _refusal(f'127.0.0.1 and a port from 1 to {_PORT_MAX} such as "127.0.0.1:9464"', hint)
    return f"{host}:{port}"


def _bootstrap_servers(value: object) -> str:
    servers = value.split(",") if isinstance(value, str) else [""]
    if not all(re.fullmatch(r"[^\s:/]+:[1-9][0-9]{0,4}|\[[0-9a-fA-F:]+\]:[1-9][0-9]{0,4}", s.strip()) for s in servers):
        raise _refusal('one or more HOST:PORT, separated by commas, such as "127.0.0.1:9092"')
    return ",".join(server.strip() for server in servers)


_DurationUs = Annotated[int, BeforeValidator(_duration)]
_PositiveUs = Annotated[_DurationUs, AfterValidator(_positive)]
_FilePath = Annotated[Path, BeforeValidator(_path)]
_Text = Annotated[str, BeforeValidator(_text)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Topic(_Section):
    """A topic, the kind of event in it and how its records are read."""

    name: Annotated[str, BeforeValidator(_topic_name)]
    kind: Annotated[Kind, Field(strict=False)]
    mapping: Literal["canonical"] = "canonical"


class _Input(_Section):
    max_record_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    topics: Annotated[tuple[Topic, ...], Field(alias="topic", min_length=1, strict=False)]

    @model_validator(mode="after")
    def _topics_are_unique(self) -> Self:
        names = [topic.name for topic in self.topics]
        for number, name in enumerate(names):
            if name in names[:number]:
                expected, hint = "a name no other topic has", "one topic holds one kind of event"
                raise _refusal(expected, hint, key=f"topic {number + 1}.name", got=f'"{name}" twice')
        return self


class FilesInput(_Input):
    """Event files in folders, one per topic."""

    source: Literal["files"]
    path: _FilePath


class Security(_Section):
    """How to reach Kafka: protocol, certificates, and where name and password are found."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "SASL_SSL"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username_env: _Text = "KAFKA_USERNAME"
    username_file: _FilePath | None = None
    password_env: _Text = "KAFKA_PASSWORD"  # noqa: S105 - the name of a variable
    password_file: _FilePath | None = None
    ca_file: _FilePath | None = None

    @model_validator(mode="after")
    def _keys_apply(self) -> Self:
        given = self.model_fields_set
        sasl = given & {"mechanism", "username_env", "username_file", "password_env", "password_file"}
        if not self.protocol.startswith("SASL_") and sasl:
            raise _refusal("a SASL protocol beside it", key=min(sasl), got=f'protocol = "{self.protocol}"')
        if not self.protocol.endswith("SSL") and "ca_file" in given:
            raise _refusal("SSL or SASL_SSL beside it", key="ca_file", got=f'protocol = "{self.protocol}"')
        for secret in ("username", "password"):
            if {f"{secret}_env", f"{secret}_file"} <= given:
                raise _refusal(f"one of {secret}_env and {secret}_file", key=f"{secret}_file", got="both")
        return self


class KafkaInput(_Input):
    """Topics of a Kafka cluster."""

    source: Literal["kafka"]
    bootstrap_servers: Annotated[str, BeforeValidator(_bootstrap_servers)]
    start: Literal["earliest", "latest"] = "earliest"
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    security: Security | None = None


class Time(_Section):
    """How late, how long and how far ahead events may come."""

    allowed_lateness_us: _DurationUs = _optional("1d", "allowed_lateness")
    reversal_window_us: _DurationUs = _optional("60d", "reversal_window")
    max_future_skew_us: _DurationUs = _optional("5m", "max_future_skew")
    idle_after_us: _PositiveUs = _optional("60s", "idle_after")


class Output(_Section):
    """The published tables."""

    path: _FilePath
    roll_interval_us: _PositiveUs = _optional("60s", "roll_interval")


class State(_Section):
    """What the live engine keeps; ``path`` is asked for by ``Settings.state_path``."""

    path: _FilePath | None = None
    commit_interval_us: _PositiveUs = _optional("10s", "commit_interval")
    memory_bytes: Annotated[int, BeforeValidator(_memory)] = _optional("1GiB", "memory")


class Archive(_Section):
    """Every record read, kept as Parquet."""

    path: _FilePath = _optional("../archive")
    retention_us: _PositiveUs = _optional("400d", "retention")
    drop: Annotated[tuple[_Text, ...], Field(strict=False)] = ()


class Http(_Section):
    """Where health and metrics are served."""

    listen: Annotated[str, BeforeValidator(_listen)] = "127.0.0.1:9464"

    @property
    def port(self) -> int:
        """The port alone; the host is always 127.0.0.1."""
        return int(self.listen.rpartition(":")[2])


class Settings(_Section):
    """A pipeline. ``archive`` is there by default with Kafka, with files only where the section is written."""

    base_currency: Annotated[str, BeforeValidator(_currency)]
    rules: _FilePath
    fx: _FilePath | None = None
    fx_max_age_us: Annotated[_PositiveUs, AfterValidator(_whole_days)] = _optional("7d", "fx_max_age")
    input: Annotated[FilesInput | KafkaInput, Field(discriminator="source")]
    time: Time = _optional({})
    output: Output
    state: State = _optional({})
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
                raise _refusal("a folder of its own", key=key, got=f"the folder of {other}")
        return self

    @property
    def file(self) -> Path:
        """The pipeline file these settings came from."""
        return self._file

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
        raise _message(found[0], str(path)) from None


def check_rules_against(rules: Rules, settings: Settings) -> None:
    """Raises ConfigurationError if a rule's early_tolerance is longer than the pipeline's reversal_window."""
    limit_us = settings.time.reversal_window_us
    for rule in rules.rules:
        if rule.early_tolerance_us > limit_us:
            expected = f"at most the reversal_window of {settings.file}, {format_duration(limit_us)}"
            got = format_duration(rule.early_tolerance_us)
            raise setting_error(f"{rule.place}: early_tolerance", expected=expected, got=got)


_SECTIONS: dict[tuple[str, ...], type[_Section]] = {
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
_EXPECTED = {
    "int_type": "an integer",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
}


def _keys(section: type[_Section]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _message(error: ErrorDetails, file: str) -> ConfigurationError:
    """One of pydantic's findings in the shape of all configuration messages."""
    context = error.get("ctx", {})
    location, own_key = error["loc"], context.get("key", "")
    place = _place(file, location, own_key)
    match error["type"]:
        case "missing":
            return setting_error(
                place, expected="a value", got=Bare("nothing"), hint=f"{location[-1]} is required here"
            )
        case "union_tag_not_found":
            expected = 'one of "files", "kafka"'
            return setting_error(
                f"{place}.source", expected=expected, got=Bare("nothing"), hint="source is required here"
            )
        case "extra_forbidden":
            hint = _unknown_key_hint(location)
            return setting_error(place, expected="a known key", got=str(location[-1]), hint=hint)
        case "union_tag_invalid":
            return _word_message(f"{place}.source", ["files", "kafka"], context["tag"])
        case "literal_error" | "enum":
            return _word_message(place, re.findall(r"'([^']*)'", context["expected"]), error["input"])
        case "greater_than_equal":
            return setting_error(place, expected=f"an integer of at least {context['ge']}", got=shown(error["input"]))
        case "tuple_type" | "too_short" if location[-1] == "topic":
            return setting_error(place, expected="one or more [[input.topic]] tables", got=shown(error["input"]))
        case "setting":
            got = Bare(context["got"]) if context["got"] else shown(error["input"])
            return setting_error(place, expected=context["expected"], got=got, hint=context["hint"])
        case other:
            return setting_error(place, expected=_EXPECTED.get(other, error["msg"]), got=shown(error["input"]))


def _word_message(place: str, words: list[str], got: object) -> ConfigurationError:
    expected = "one of " + ", ".join(f'"{word}"' for word in words)
    hint = nearest(got, words) if isinstance(got, str) else ""
    return setting_error(place, expected=expected, got=shown(got), hint=hint)


def _place(file: str, location: tuple[int | str, ...], key: str) -> str:
    """``FILE: input.topic 2.kind``: the path in the file, without the word that chose the kind of input."""
    text = ""
    for position, part in enumerate(location):
        if isinstance(part, int):
            text += f" {part + 1}"
        elif position != 1 or location[0] != "input":
            text += f".{part}" if text else part
    dotted = f"{text}.{key}" if text and key else text or key
    return f"{file}: {dotted}" if dotted else file


def _unknown_key_hint(location: tuple[int | str, ...]) -> str:
    *section, key = (part for part in location if isinstance(part, str))
    if section[:1] == ["input"] and len(section) == 2:
        other = "kafka" if section[1] == "files" else "files"
        if key in _keys(_SECTIONS["input", other]):
            return f'it belongs to source = "{other}"'
    if key in ("username", "password"):
        return f"secrets never stand here: name {key}_env or {key}_file"
    keys = _keys(_SECTIONS[tuple(section)])
    return nearest(key, keys) or f"known are {', '.join(keys)}"
