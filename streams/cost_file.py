"""Reads the cost file (``costs.toml``): dated price lists, the rates to convert them, and how complete is complete.

::

    fx = "fx.csv"                             # default: the rates beside the tables
    min_priced_share = "0.99"                 # the default

    [[price_list]]
    path = "litellm-2026-02-25.json"          # LiteLLM's shape
    effective_from = 2026-02-25T00:00:00Z
    currency = "USD"                          # the default

Paths are relative to the file. An unknown key is an error; so is a table that this release does not read: a
report without the bill that somebody wrote down would be wrong without saying so.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from attribution.costs import PriceList
from attribution.decimals import Bounds
from attribution.toml_tables import Bare, Table, nearest, parse_toml
from schemas.currencies import ACTIVE
from schemas.errors import setting_error
from streams.price_lists import load_price_list
from streams.rule_files import read_text

_KEYS = ("fx", "min_priced_share", "price_list")
_PRICE_LIST_KEYS = ("path", "effective_from", "currency")
_NOT_READ_YET = ("bill", "line", "amortise", "overhead", "remediation", "change")
_SHARE = Bounds(high=1, positive=True, including=True)
_DEFAULT_SHARE = 990_000_000


@dataclass(frozen=True)
class CostFile:
    """fx: the rates' file, None for those beside the tables; price_lists: as written, in no particular order.

    min_priced_share: the least share of requests with a known cost that a group's unit costs need.
    """

    fx: Path | None = None
    min_priced_share: Fraction = Fraction(_DEFAULT_SHARE, 10**_SHARE.places)
    price_lists: tuple[PriceList, ...] = ()


def load_cost_file(path: Path) -> CostFile:
    """The cost file with its price lists.

    Raises ConfigurationError that names file, key, what was expected and what was found.
    """
    table = Table(str(path), parse_toml(read_text(path), str(path)))
    _refuse_what_is_not_read(table)
    table.refuse_unknown(_KEYS)
    written = table.tables("price_list") if "price_list" in table else []
    lists = [
        _price_list(Table(f"{path}: price_list {number}", values), path.parent)
        for number, values in enumerate(written, start=1)
    ]
    _refuse_equal_starts(lists, path)
    return CostFile(
        fx=path.parent / table.text("fx") if "fx" in table else None,
        min_priced_share=Fraction(table.decimal("min_priced_share", _SHARE, _DEFAULT_SHARE), 10**_SHARE.places),
        price_lists=tuple(lists),
    )


def _refuse_what_is_not_read(table: Table) -> None:
    found = [f"[[{key}]]" for key in _NOT_READ_YET if key in table]
    if found:
        raise setting_error(
            table.place,
            expected="only fx, min_priced_share and [[price_list]]",
            got=Bare(", ".join(found)),
            hint=f"this release does not read {', '.join(found)} yet; without them costs are estimates",
        )


def _price_list(table: Table, folder: Path) -> PriceList:
    table.refuse_unknown(_PRICE_LIST_KEYS)
    currency = table.text("currency") if "currency" in table else "USD"
    if currency not in ACTIVE:
        raise table.error("currency", 'an active ISO 4217 code such as "USD"', hint=_currency_hint(currency))
    return load_price_list(folder / table.text("path"), table.time("effective_from"), currency)


def _currency_hint(code: str) -> str:
    """The hint for a code that differs only in case or blanks; none otherwise."""
    close = nearest(code.strip().upper(), sorted(ACTIVE))
    return close if close.startswith("did") else ""


def _refuse_equal_starts(lists: list[PriceList], path: Path) -> None:
    first: dict[int, int] = {}
    for number, price_list in enumerate(lists, start=1):
        earlier = first.setdefault(price_list.effective_from_us, number)
        if earlier != number:
            raise setting_error(
                f"{path}: price_list {number}: effective_from",
                expected="a start of its own",
                got=Bare(f"that of price_list {earlier}"),
                hint="of two lists with one start neither is the newer; merge them, or move one",
            )
