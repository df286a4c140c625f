"""The types of the pipeline file's values: how each is written, and what it becomes.

A type refuses in its own words (``refusal``): ``streams.setting_errors`` puts place and value before them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from attribution.windows import DAY_US, DURATION_EXPECTED, parse_duration
from schemas.currencies import ACTIVE

_MEMORY_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_PORT_MAX = 65_535
#: A topic is a folder name with files: it never leaves its parent folder.
_TOPIC = re.compile(r"(?!\.{1,2}$)[^/\\\0]+")


def refusal(expected: str, hint: str = "", *, key: str = "", got: str = "") -> PydanticCustomError:
    """A refusal in our own words; key and got where the check looked at a whole section."""
    return PydanticCustomError("setting", "{expected}", {"expected": expected, "hint": hint, "key": key, "got": got})


def optional(default: object, key: str | None = None) -> Any:
    """A field with a default, written and checked as in the file, where it is called ``key``."""
    return Field(default=default, alias=key, validate_default=True)


def _duration(value: object) -> int:
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError:
        raise refusal(DURATION_EXPECTED) from None


def _positive(duration_us: int) -> int:
    if not duration_us:
        raise refusal(f"{DURATION_EXPECTED}, above 0")
    return duration_us


def _whole_days(duration_us: int) -> int:
    if duration_us % DAY_US:
        raise refusal('whole days such as "7d"')
    return duration_us


def _memory(value: object) -> int:
    found = re.fullmatch(r"0*([1-9][0-9]{0,8})([KMGT]iB)", value) if isinstance(value, str) else None
    if not found:
        raise refusal('a size such as "512MiB" or "1GiB", above 0')
    return int(found[1]) * _MEMORY_UNITS[found[2]]


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise refusal("a path, relative to this file")
    assert info.context is not None, "a path needs the file it is relative to"
    return Path(info.context["file"].parent, value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise refusal("a text that is not empty")
    return value


def _currency(value: object) -> str:
    if not isinstance(value, str) or value not in ACTIVE:
        capitals = value.strip().upper() if isinstance(value, str) else ""
        raise refusal('an active ISO 4217 code such as "USD"', f'write "{capitals}"' if capitals in ACTIVE else "")
    return value


def _topic_name(value: object) -> str:
    if not isinstance(value, str) or not _TOPIC.fullmatch(value):
        raise refusal("the name of a topic: a text without slashes that is not empty")
    return value


def _listen(value: object) -> str:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    is_port = re.fullmatch(r"[1-9][0-9]{0,4}", port) is not None and int(port) <= _PORT_MAX
    if host != "127.0.0.1" or not is_port:
        hint = "it is served to this machine only; a proxy may publish it" if colon and is_port else ""
        raise refusal(f'127.0.0.1 and a port from 1 to {_PORT_MAX} such as "127.0.0.1:9464"', hint)
    return f"{host}:{port}"


def _bootstrap_servers(value: object) -> str:
    servers = value.split(",") if isinstance(value, str) else [""]
    if not all(re.fullmatch(r"[^\s:/]+:[1-9][0-9]{0,4}|\[[0-9a-fA-F:]+\]:[1-9][0-9]{0,4}", s.strip()) for s in servers):
        raise refusal('one or more HOST:PORT, separated by commas, such as "127.0.0.1:9092"')
    return ",".join(server.strip() for server in servers)


#: Integer microseconds of a duration such as "7d".
DurationUs = Annotated[int, BeforeValidator(_duration)]
PositiveUs = Annotated[DurationUs, AfterValidator(_positive)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Text = Annotated[str, BeforeValidator(_text)]
WholeDaysUs = Annotated[PositiveUs, AfterValidator(_whole_days)]
MemoryBytes = Annotated[int, BeforeValidator(_memory)]
Currency = Annotated[str, BeforeValidator(_currency)]
TopicName = Annotated[str, BeforeValidator(_topic_name)]
Listen = Annotated[str, BeforeValidator(_listen)]
BootstrapServers = Annotated[str, BeforeValidator(_bootstrap_servers)]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, values are never guessed, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
