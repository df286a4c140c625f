"""The cost file: every key read, and a message that names file, key, expected and got for what is wrong."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from attribution.cost_model import (
    Amortised,
    Change,
    CostType,
    Driver,
    LineRule,
    Overhead,
    Remediation,
    Scope,
)
from schemas.errors import ConfigurationError
from streams.bills.columns import FOCUS, ColumnMap
from streams.cost_file import load_cost_file
from streams.cost_tables import TABLE_KEYS
from tests.ratio_frames import us

CONTRACT = """
min_priced_share = "0.99"
[[bill]]
path = "focus/2026-03"
format = "focus"
complete_until = 2026-03-31
max_age = "36h"
[[bill]]
path = "gpu.csv"
format = "columns"
columns = { cost = "C", start = "S", end = "E", tags = "T", issuer = "I", account = "A", billing_period = "P" }
currency = "EUR"
[[line]]
name = "M on endpoint E"
match = { "tags.model" = "M", "tags.endpoint" = ["E", "F"] }
cost_type = "serving"
scope = { model = "M", endpoint = "E" }
drivers = ["tokens", "estimate"]
[[line]]
name = "all the rest"
match = {}
cost_type = "indirect"
[[amortise]]
cost_type = "development"
scope = { model = "M" }
amount = "900.000000000001"
currency = "USD"
from = 2026-03-01
life_days = 90
retired = 2026-05-01
[[overhead]]
use_case = "judge"
of = "support"
[[remediation]]
use_case = "reco"
model = "M"
model_version = "2"
owner = "search-lead"
reason = "moving to the distilled model"
from = 2026-03-01
until = 2026-05-30
[[change]]
scope = { model = "M" }
at = 2026-03-15T00:00:00Z
note = "prompt cache on"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "costs.toml"
    path.write_text(text)
    return path


def test_every_table_is_read(tmp_path: Path) -> None:
    found = load_cost_file(written(tmp_path, CONTRACT))
    model = found.model
    focus, gpu = found.bills
    assert (focus.path, focus.columns, focus.currency) == (tmp_path / "focus/2026-03", FOCUS, None)
    assert (focus.complete_until, focus.max_age_us) == (date(2026, 3, 31), 36 * 3_600_000_000)
    named = {"tags": "T", "issuer": "I", "account": "A", "billing_period": "P"}
    assert (gpu.columns, gpu.currency) == (ColumnMap(cost="C", start="S", end="E", **named), "EUR")  # type: ignore[arg-type]
    assert (gpu.complete_until, gpu.max_age_us) == (None, 3 * 86_400_000_000)
    assert model.lines == (
        LineRule(
            "M on endpoint E",
            {"tags.model": ("M",), "tags.endpoint": ("E", "F")},
            CostType.SERVING,
            Scope({"model": "M", "endpoint": "E"}),
            (Driver.TOKENS, Driver.ESTIMATE),
        ),
        LineRule("all the rest", {}, CostType.INDIRECT, Scope(), (Driver.ESTIMATE, Driver.REQUESTS)),
    )
    amount = 900_000_000_000_001
    of_m = Scope({"model": "M"})
    entry = Amortised(CostType.DEVELOPMENT, of_m, amount, "USD", date(2026, 3, 1), 90, date(2026, 5, 1))
    assert model.amortised == (entry,)
    assert model.overheads == (Overhead("judge", "support"),)
    keys = {"use_case": "reco", "model": "M", "model_version": "2"}
    days = (date(2026, 3, 1), date(2026, 5, 30))
    assert model.remediations == (Remediation(keys, "search-lead", "moving to the distilled model", *days),)
    assert model.changes == (Change(of_m, us(datetime(2026, 3, 15, tzinfo=UTC)), "prompt cache on"),)
    assert model.min_priced_share == Fraction("0.99")


def test_every_key_of_every_table_stands_in_the_example() -> None:
    assert all(key in CONTRACT for table, keys in TABLE_KEYS.items() for key in keys if table != "price_list")


BILL = '[[bill]]\npath = "b.csv"\n'
COLUMNS = f'{BILL}format = "columns"\ncolumns = {{ cost = "c", start = "s", end = "e" }}\n'
TWO_CURRENCIES = COLUMNS.replace("cost =", 'currency = "k", cost =')
LINE = '[[line]]\nname = "x"\nmatch = { a = "b" }\ncost_type = "serving"\n'
AMORTISE = '[[amortise]]\ncost_type = "retraining"\namount = "1"\ncurrency = "USD"\nfrom = 2026-03-01\nlife_days = 3\n'
REMEDIATION = '[[remediation]]\nowner = "o"\nreason = "r"\nfrom = 2026-03-01\n'


def overheads(*pairs: str) -> str:
    """Each a use case and the one that it serves, of one letter."""
    return "".join(f'[[overhead]]\nuse_case = "{pair[0]}"\nof = "{pair[1]}"\n' for pair in pairs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bills = 1\n", 'bills: expected a known key, got "bills". Hint: did you mean "bill"?'),
        ("bill = {}\n", "bill: expected one or more [[bill]] tables"),
        ("[[bill]]\n", "bill 1: path: expected a text that is not empty, got nothing. Hint: path is required here"),
        (f"{BILL}complete = 1\n", 'bill 1: complete: expected a known key … did you mean "complete_until"?'),
        (f'{BILL}format = "cur"\n', 'bill 1: format: expected one of "focus", "columns", got "cur"'),
        (f"{BILL}columns = {{}}\n", 'bill 1: columns: expected format = "columns" beside it, got format = "focus"'),
        (f'{BILL}format = "columns"\n', "bill 1: columns: expected a table of column names"),
        (
            f'{BILL}format = "columns"\ncolumns = {{ cost = "c", start = "s" }}\n',
            "bill 1: columns: end: expected a text",
        ),
        (
            f'{BILL}format = "columns"\ncolumns = {{ costs = "c" }}\n',
            'bill 1: columns: costs: expected a known key … did you mean "cost"?',
        ),
        (COLUMNS, "bill 1: columns: expected currency in columns, or currency = beside it, got neither"),
        (f"{COLUMNS.replace('{ cost', '{ currency = 1, cost')}", "bill 1: columns: currency: expected a text"),
        (
            f'{TWO_CURRENCIES}currency = "USD"\n',
            "bill 1: currency: expected one of columns.currency and currency, got both",
        ),
        (f'{COLUMNS}currency = "dollar"\n', "bill 1: currency: expected an active ISO 4217 code"),
        (f'{BILL}complete_until = "2026-03-31"\n', "bill 1: complete_until: expected a date … write it without quotes"),
        (f"{BILL}complete_until = 2026-03-31T00:00:00Z\n", "Hint: write the day alone: 2026-03-31"),
        (f"{BILL}complete_until = 1999-12-31\n", "bill 1: complete_until: expected a date"),
        (f'{BILL}max_age = "0s"\n', "bill 1: max_age: expected a duration"),
        (f"{BILL}max_age = 3\n", "bill 1: max_age: expected a duration"),
        (
            '[[line]]\nmatch = {}\ncost_type = "serving"\n',
            "line 1: name: expected a text that is not empty, got nothing",
        ),
        ('[[line]]\nname = "x"\ncost_type = "serving"\n', "line 1: match: expected a table of columns or tags"),
        (
            LINE.replace('a = "b"', "tags.model = 1"),
            'line 1: match: tags: expected a text or a list … got a table … write "tags.model" in quotes',
        ),
        (LINE.replace('"b"', '""'), "line 1: match: a: expected a text that is not empty, or a list of such texts"),
        (LINE.replace('"b"', "[]"), "line 1: match: a: expected a text"),
        (LINE.replace('"b"', '["b", 3]'), "line 1: match: a: expected a text"),
        (LINE.replace("a =", '"tags." ='), "line 1: match: tags.: expected the name of a column, or tags.KEY"),
        (
            LINE.replace("serving", "served"),
            'line 1: cost_type: expected one of "serving", "indirect" … did you mean "serving"?',
        ),
        (LINE.replace("serving", "development"), 'line 1: cost_type: expected one of "serving", "indirect"'),
        (f"{LINE}scope = {{ models = 1 }}\n", 'line 1: scope: models: expected a known key … did you mean "model"?'),
        (f'{LINE}scope = {{ arm = "a" }}\n', "line 1: scope: arm: expected a known key"),
        (f'{LINE}scope = {{ model = "" }}\n', "line 1: scope: model: expected a text that is not empty"),
        (f'{LINE}scope = "M"\n', "line 1: scope: expected a table"),
        (
            f'{LINE}drivers = ["token"]\n',
            'line 1: drivers: expected a list of "estimate" … got "token" … did you mean "tokens"?',
        ),
        (f'{LINE}drivers = ["tokens", "tokens"]\n', 'got "tokens" twice'),
        (f"{LINE}drivers = []\n", "line 1: drivers: expected a list"),
        (f'{LINE}drivers = "tokens"\n', "line 1: drivers: expected a list"),
        (f"{LINE}{LINE}", "line 2: name: expected a name no other line has, got that of line 1, 'x'"),
        (
            AMORTISE.replace('"1"', "1"),
            'amortise 1: amount: expected a decimal … with at most 12 places, got 1 … write it in quotes: "1"',
        ),
        (AMORTISE.replace('"1"', '"0"'), "amortise 1: amount: expected a decimal"),
        (
            AMORTISE.replace("life_days = 3", "life_days = 0"),
            "amortise 1: life_days: expected an integer from 1 to 36500",
        ),
        (
            AMORTISE.replace("retraining", "serving"),
            'amortise 1: cost_type: expected one of "development", "retraining"',
        ),
        (
            AMORTISE.replace('currency = "USD"\n', ""),
            "amortise 1: currency: expected a text that is not empty, got nothing",
        ),
        (f"{AMORTISE}retired = 2026-02-28\n", "amortise 1: retired: expected a day not before from, 2026-03-01"),
        ('[[overhead]]\nuse_case = "judge"\n', "overhead 1: of: expected a text"),
        (overheads("ab", "bc"), 'overhead 1: of: expected a use case that is no overhead itself, got "b" … overhead 2'),
        (overheads("aa"), "overhead 1: of: expected a use case that is no overhead itself"),
        (overheads("ab", "ac"), "overhead 2: use_case: expected a use case that no other overhead has"),
        (
            f"{REMEDIATION}until = 2026-05-31\n",
            "remediation 1: until: expected a day from 2026-03-01 to 90 days after it",
        ),
        (f"{REMEDIATION}until = 2026-02-28\n", "remediation 1: until: expected a day from 2026-03-01"),
        (f'{REMEDIATION}until = 2026-03-01\nendpoint = "E"\n', "remediation 1: endpoint: expected a known key"),
        (REMEDIATION.replace('owner = "o"\n', ""), "remediation 1: owner: expected a text"),
        ("[[change]]\nat = 2026-03-15\n", "change 1: at: expected a date-time with an offset"),
        ("[[change]]\n", "change 1: at: expected a date-time with an offset"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as refused:
        load_cost_file(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert re.search(".*".join(map(re.escape, expected.split(" … "))), str(refused.value))


@pytest.mark.parametrize("until", ["2026-03-01", "2026-05-30"])
def test_a_remediation_is_in_force_from_its_first_to_its_last_day(tmp_path: Path, until: str) -> None:
    [entry] = load_cost_file(written(tmp_path, f"{REMEDIATION}until = {until}\n")).model.remediations
    last = date.fromisoformat(until)
    days = [date(2026, 2, 28), date(2026, 3, 1), last, date.fromordinal(last.toordinal() + 1)]
    assert [entry.in_force(day) for day in days] == [False, True, True, False]
