"""Reads the cost file (``costs.toml``): price lists, bills, whose cost their lines are, and what is written off.

::

    [[price_list]]
    path = "litellm-2026-02-25.json"          # LiteLLM's shape
    effective_from = 2026-02-25T00:00:00Z

    [[bill]]
    path = "focus/2026-03"                    # FOCUS: a file, or a folder of parts

    [[line]]
    name = "M on endpoint E"
    match = { "tags.model" = "M", "tags.endpoint" = "E" }
    cost_type = "serving"
    scope = { model = "M", endpoint = "E" }

Paths are relative to the file. An unknown key is an error. Bills are named here and read by ``streams.bills``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from attribution.cost_model import CostModel, LineRule, Overhead
from attribution.costs import PriceList
from attribution.decimals import Bounds
from attribution.toml_tables import Bare, Table, parse_toml
from schemas.errors import setting_error
from streams import cost_tables
from streams.cost_tables import TABLE_KEYS, BillFile, numbered
from streams.rule_files import read_text

_T = TypeVar("_T")
COST_KEYS = ("fx", "min_priced_share", *TABLE_KEYS)
_SHARE = Bounds(high=1, positive=True, including=True)
_DEFAULT_SHARE = 990_000_000


@dataclass(frozen=True)
class CostFile:
    """fx: the rates' file, None for those beside the tables; bills: in file order."""

    fx: Path | None = None
    model: CostModel = field(default_factory=CostModel)
    bills: tuple[BillFile, ...] = ()


def load_cost_file(path: Path) -> CostFile:
    """The cost file with its price lists.

    Raises ConfigurationError that names file, key, what was expected and what was found.
    """
    table = Table(str(path), parse_toml(read_text(path), str(path)))
    table.refuse_unknown(COST_KEYS)

    def all_of(name: str, parse: Callable[[Table, Path], _T]) -> tuple[_T, ...]:
        written = table.tables(name) if name in table else []
        return tuple(parse(inner, path.parent) for inner in numbered(str(path), written, name))

    share = table.decimal("min_priced_share", _SHARE, _DEFAULT_SHARE)
    model = CostModel(
        min_priced_share=Fraction(share, 10**_SHARE.places),
        price_lists=all_of("price_list", cost_tables.price_list),
        lines=all_of("line", cost_tables.line),
        amortised=all_of("amortise", cost_tables.amortise),
        overheads=all_of("overhead", cost_tables.overhead),
        remediations=all_of("remediation", cost_tables.remediation),
        changes=all_of("change", cost_tables.change),
    )
    _refuse_equal_starts(model.price_lists, path)
    _refuse_equal_names(model.lines, path)
    _refuse_chains(model.overheads, path)
    fx = path.parent / table.text("fx") if "fx" in table else None
    return CostFile(fx, model, all_of("bill", cost_tables.bill))


def _refuse_equal_starts(lists: Sequence[PriceList], path: Path) -> None:
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


def _refuse_equal_names(lines: Sequence[LineRule], path: Path) -> None:
    first: dict[str, int] = {}
    for number, rule in enumerate(lines, start=1):
        earlier = first.setdefault(rule.name, number)
        if earlier != number:
            expected, got = "a name no other line has", Bare(f"that of line {earlier}, {rule.name!r}")
            raise setting_error(f"{path}: line {number}: name", expected=expected, got=got)


def _refuse_chains(overheads: Sequence[Overhead], path: Path) -> None:
    """An overhead serves one other use case, which is no overhead itself: so its cost moves once."""
    first: dict[str, int] = {}
    for number, overhead in enumerate(overheads, start=1):
        earlier = first.setdefault(overhead.use_case, number)
        if earlier != number:
            expected = "a use case that no other overhead has"
            raise setting_error(f"{path}: overhead {number}: use_case", expected=expected, got=overhead.use_case)
    for number, overhead in enumerate(overheads, start=1):
        if overhead.of in first:
            raise setting_error(
                f"{path}: overhead {number}: of",
                expected="a use case that is no overhead itself",
                got=overhead.of,
                hint=f"it is that of overhead {first[overhead.of]}; name the use case that both serve in the end",
            )
