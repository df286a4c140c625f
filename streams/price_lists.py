"""Reads price lists in LiteLLM's shape: one JSON object, model → prices per single token.

``{"gpt-5.4": {"input_cost_per_token": 2.5e-06, "input_cost_per_token_above_272k_tokens": 5e-06,
"cache_read_input_token_cost_flex": 1.3e-07, "mode": "chat", …}, …}``

A price's name is the part it is for, then the size from which it holds, then its tier. Prices are read from the
text of the number, never through a float. Names that say anything else (audio, image, per second, regional, cache
writes kept for an hour) are left alone.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

from attribution.costs import PRICE_LIMIT, PRICE_PLACES_MAX, STANDARD_TIER, PriceKey, PriceList, TokenKind
from attribution.toml_tables import Bare, shown
from schemas.errors import ConfigurationError, setting_error
from streams.rule_files import read_text

_PARTS = {
    "input_cost_per_token": TokenKind.INPUT,
    "cache_read_input_token_cost": TokenKind.CACHED,
    "cache_creation_input_token_cost": TokenKind.CACHE_WRITE,
    "output_cost_per_token": TokenKind.OUTPUT,
}
_TIERS = {"": STANDARD_TIER, "_batches": "batch", "_flex": "flex", "_priority": "priority"}
_NAME = re.compile(rf"({'|'.join(_PARTS)})(?:_above_([0-9]{{1,9}})k_tokens)?({'|'.join(_TIERS)})")
_PRICE = f"a number from 0 to below {PRICE_LIMIT} with at most {PRICE_PLACES_MAX} places after the point"


def load_price_list(path: Path, effective_from_us: int, currency: str) -> PriceList:
    """The list as it holds from a moment on, in its currency; a model without any token price is kept.

    Raises ConfigurationError that names file, model and price for a missing or unreadable file, another shape, or
    a price that is no number or out of bounds.
    """
    document = _parsed(read_text(path), path)
    models = {model: _prices(entry, f"{path}: {model}") for model, entry in document.items()}
    return PriceList(str(path), effective_from_us, currency, models)


def _parsed(text: str, path: Path) -> dict[str, object]:
    try:
        # Integers through Decimal too: so all numbers have one type, and no length of digits is refused by Python.
        document = json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise setting_error(str(path), expected="a price list as JSON", got=Bare(str(error))) from None
    if not isinstance(document, dict):
        raise setting_error(str(path), expected="a JSON object of models", got=Bare(type(document).__name__))
    return document


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def _prices(entry: object, place: str) -> dict[PriceKey, Decimal]:
    if not isinstance(entry, dict):
        raise setting_error(place, expected="an object of prices", got=shown(entry))
    names = {name: found for name in entry if (found := _NAME.fullmatch(name))}
    return {
        _key(found): _price(entry[name], f"{place}: {name}") for name, found in names.items() if entry[name] is not None
    }


def _key(name: re.Match[str]) -> PriceKey:
    part, thousands, tier = name.groups()
    return PriceKey(_PARTS[part], _TIERS[tier], None if thousands is None else int(thousands) * 1000)


def _price(value: object, place: str) -> Decimal:
    if not isinstance(value, Decimal):
        raise _price_error(place, value)
    exponent = value.as_tuple().exponent if value.is_finite() else None
    if not isinstance(exponent, int) or not 0 <= value < PRICE_LIMIT or -exponent > PRICE_PLACES_MAX:
        raise _price_error(place, value)
    return value


def _price_error(place: str, value: object) -> ConfigurationError:
    return setting_error(place, expected=_PRICE, got=shown(value))
