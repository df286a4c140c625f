"""What pydantic finds wrong with a pipeline file, as messages in the shape of all configuration messages.

``FILE: input.topic 2.kind: expected one of "inference", …, got "inferences". Hint: did you mean "inference"?``
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pydantic_core import ErrorDetails

from attribution.toml_tables import Bare, nearest, shown
from schemas.errors import ConfigurationError, setting_error

#: ``("input", "kafka", "topic")`` → the keys known there; the second word is the source chosen.
KeysByTable: TypeAlias = Mapping[tuple[str, ...], Sequence[str]]

_EXPECTED = {
    "int_type": "an integer",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
}


def setting_message(error: ErrorDetails, file: str, keys: KeysByTable) -> ConfigurationError:
    """One of pydantic's findings in the shape of all configuration messages.

    file: the pipeline file's name; keys: the known keys of each table, by the table's path.
    """
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
            hint = _unknown_key_hint(location, keys)
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


def _unknown_key_hint(location: tuple[int | str, ...], known: KeysByTable) -> str:
    *section, key = (part for part in location if isinstance(part, str))
    if section[:1] == ["input"] and len(section) == 2:
        other = "kafka" if section[1] == "files" else "files"
        if key in known["input", other]:
            return f'it belongs to source = "{other}"'
    keys = known[tuple(section)]
    if f"{key}_env" in keys:
        return f"secrets never stand here: name {key}_env or {key}_file"
    return nearest(key, keys) or f"known are {', '.join(keys)}"
