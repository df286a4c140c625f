"""What an inference costs: the ladder, the price that is in force, and exact arithmetic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.cost_model import CostModel
from attribution.costs import PROFILE_WORDS, Conversion, Estimator, PriceKey, PriceList, TokenKind, token_price
from attribution.windows import EPOCH
from schemas.errors import ConfigurationError
from schemas.outputs import in_files
from streams.cost_file import load_cost_file
from streams.price_lists import load_price_list

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INPUT, CACHED, CACHE_WRITE, OUTPUT = TokenKind
#: In, cached and out of the worked example.
PRICES = {INPUT: "0.000002", CACHED: "0.0000002", OUTPUT: "0.00001"}
COLUMNS = in_files("inferences")


def us(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


#: Prices by kind, or by kind, tier and size.
Prices = Mapping[TokenKind, str] | Mapping[PriceKey, str] | Mapping[TokenKind | PriceKey, str]


def prices(of: Prices) -> dict[PriceKey, Decimal]:
    return {key if isinstance(key, PriceKey) else PriceKey(key): Decimal(price) for key, price in of.items()}


def price_list(models: Mapping[str, Prices], start: datetime = NOON, currency: str = "USD") -> PriceList:
    return PriceList("list", us(start), currency, {model: prices(of) for model, of in models.items()})


def rates(**rows: tuple[str, str]) -> pl.DataFrame:
    schema = {"date": pl.Date(), "currency": pl.String(), "rate": pl.Decimal(38, 9)}
    parsed = [(date.fromisoformat(day), currency, Decimal(rate)) for currency, (day, rate) in rows.items()]
    return pl.DataFrame(parsed, schema=schema, orient="row")


def costs(
    rows: list[dict[str, object]], lists: list[PriceList], fx: pl.DataFrame | None = None
) -> list[tuple[Fraction | None, str | None]]:
    """(cost, reason) per inference; an inference not told otherwise is one of model M at noon."""
    base = {"event_time": NOON, "use_case": "reco", "model": "M"}
    full = [
        {name: {"inference_id": f"i{n:04}", **base, **row}.get(name) for name in COLUMNS} for n, row in enumerate(rows)
    ]
    frame = pl.DataFrame(full, schema=COLUMNS)
    conversion = Conversion(rates() if fx is None else fx, "USD", fx_max_age_days=7)
    profiles = frame.select(PROFILE_WORDS).unique().with_row_index("profile")
    estimator = Estimator.of(profiles, frame["event_time"].dt.date(), lists, conversion)
    profiled = frame.join(profiles, on=PROFILE_WORDS, how="left", nulls_equal=True, maintain_order="left")
    found = estimator.estimates(profiled).select("estimate", "cost_reason").iter_rows()
    return [(None if units is None else Fraction(units, 10**12), reason) for units, reason in found]


def cost(row: dict[str, object], *lists: PriceList, fx: pl.DataFrame | None = None) -> str | None:
    """The cost as text, or why there is none."""
    [(known, reason)] = costs([row], list(lists), fx)
    assert (known is None) == (reason is not None)
    return reason if known is None else format(Decimal(known.numerator) / known.denominator, "f")


def test_estimates_of_the_worked_example() -> None:
    listed = price_list({"M": PRICES})
    assert cost({"input_tokens": 100_000, "output_tokens": 20_000}, listed) == "0.4"
    assert cost({"input_tokens": 100_000, "cached_input_tokens": 50_000, "output_tokens": 20_000}, listed) == "0.31"
    assert cost({"input_tokens": 100_000, "output_tokens": 0, "status": "failed"}, listed) == "0.2"
    own: dict[str, object] = {"cost": Decimal(1), "cost_currency": "USD"}
    assert cost({"input_tokens": 100_000, "output_tokens": 20_000, **own}, listed) == "1"


def test_own_cost_comes_before_a_cache_hit_and_a_cache_hit_before_prices() -> None:
    own: dict[str, object] = {"cost": Decimal("0.000000000001"), "cost_currency": "USD", "cache_hit": True}
    assert cost(own, price_list({"M": PRICES})) == "0.000000000001"
    assert cost({"cache_hit": True, "input_tokens": 100}, price_list({"M": PRICES})) == "0"
    assert cost({"cache_hit": True}) == "0"
    assert cost({"cache_hit": False, "input_tokens": 100}, price_list({"M": PRICES})) == "0.0002"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"model": "unknown"}, "no_price"),
        ({"model": "unknown", "input_tokens": 1}, "no_price"),
        ({}, "no_usage"),
        ({"output_tokens": 5}, "no_usage"),
        ({"service_tier": "flex"}, "no_usage"),
        ({"service_tier": "flex", "input_tokens": 1}, "no_price"),
        ({"cost": Decimal(1), "cost_currency": "EUR"}, "no_fx_rate"),
        ({"cost": Decimal(1), "cost_currency": "EUR", "cache_hit": True}, "no_fx_rate"),
    ],
)
def test_an_unknown_cost_is_null_with_its_first_reason(row: dict[str, object], reason: str) -> None:
    assert cost(row, price_list({"M": PRICES})) == reason


def test_without_a_price_list_only_own_costs_are_known() -> None:
    assert cost({"input_tokens": 1}) == "no_price"
    assert cost({"cost": Decimal(2), "cost_currency": "USD"}) == "2"


def test_a_price_is_needed_only_for_tokens_that_are_there() -> None:
    listed = price_list({"M": {INPUT: "0.5"}, "N": {OUTPUT: "0.5"}})
    assert cost({"input_tokens": 3}, listed) == "1.5"
    assert cost({"input_tokens": 3, "output_tokens": 0}, listed) == "1.5"
    assert cost({"input_tokens": 3, "output_tokens": 1}, listed) == "no_price"
    assert cost({"model": "N", "input_tokens": 0, "output_tokens": 1}, listed) == "0.5"
    assert cost({"model": "N", "input_tokens": 0}, listed) == "0"


def test_a_list_is_in_force_from_its_first_moment_and_never_before() -> None:
    old = price_list({"M": {INPUT: "1"}}, NOON - timedelta(days=1))
    new = price_list({"M": {INPUT: "2"}})
    for lists in ([old, new], [new, old]):
        times = [NOON - timedelta(days=1) - MICROSECOND, NOON - timedelta(days=1), NOON - MICROSECOND, NOON]
        found = costs([{"event_time": time, "input_tokens": 1} for time in times], lists)
        assert found == [(None, "no_price"), (1, None), (1, None), (2, None)]


def test_a_model_that_the_newest_list_lost_keeps_its_older_price() -> None:
    lists = [price_list({"M": {INPUT: "1"}}, NOON - timedelta(days=1)), price_list({"other": {INPUT: "2"}})]
    assert cost({"input_tokens": 1}, *lists) == "1"


def test_a_model_is_looked_up_by_version_then_name_then_both_with_the_provider() -> None:
    row: dict[str, object] = {"model_version": "M-1", "provider": "acme", "input_tokens": 1}
    names = {"M-1": "1", "M": "2", "acme/M-1": "3", "acme/M": "4"}
    while names:
        listed = price_list({name: {INPUT: price} for name, price in names.items()})
        first = next(iter(names))
        assert cost(row, listed) == names.pop(first)
    assert cost(row, price_list({"other/M": {INPUT: "1"}})) == "no_price"
    assert cost({"input_tokens": 1}, price_list({"acme/M": {INPUT: "1"}})) == "no_price"


def test_the_newest_list_that_has_a_model_under_any_name_counts() -> None:
    old = price_list({"M-1": {INPUT: "1"}}, NOON - timedelta(days=1))
    new = price_list({"acme/M": {INPUT: "2"}})
    assert cost({"model_version": "M-1", "provider": "acme", "input_tokens": 1}, old, new) == "2"
    assert cost({"model_version": "M-1", "input_tokens": 1}, old, new) == "1"


TIERED: dict[TokenKind | PriceKey, str] = {
    INPUT: "4",
    CACHED: "2",
    OUTPUT: "8",
    PriceKey(INPUT, "batch"): "3",
    PriceKey(OUTPUT, "batch"): "5",
    PriceKey(CACHED, "batch"): "1",
    PriceKey(INPUT, "flex"): "1",
    PriceKey(OUTPUT, "flex"): "6",
    PriceKey(INPUT, "priority"): "9",
}


@pytest.mark.parametrize(
    ("tier", "kind", "price"),
    [
        ("standard", INPUT, "4"),
        ("standard", CACHE_WRITE, "4"),  # missing: the input price
        ("batch", INPUT, "3"),
        ("batch", CACHED, "1"),
        ("batch", CACHE_WRITE, "3"),  # missing in the standard tier too
        ("flex", CACHED, "1"),  # the tier's input price is below the standard cached one
        ("priority", CACHED, "2"),  # the standard cached price is below the tier's input price
        ("priority", CACHE_WRITE, "9"),
        ("priority", OUTPUT, None),
    ],
)
def test_a_tier_has_its_own_prices(tier: str, kind: TokenKind, price: str | None) -> None:
    assert token_price(prices(TIERED), kind, tier, 1) == (None if price is None else Decimal(price))


def test_a_tier_without_an_output_price_has_no_price() -> None:
    listed = price_list({"M": TIERED})
    assert cost({"input_tokens": 1, "output_tokens": 1, "service_tier": "flex"}, listed) == "7"
    assert cost({"input_tokens": 1, "output_tokens": 1, "service_tier": "priority"}, listed) == "no_price"
    assert cost({"input_tokens": 1, "output_tokens": 1, "service_tier": "standard"}, listed) == "12"


SIZED: dict[TokenKind | PriceKey, str] = {
    INPUT: "1",
    CACHED: "0.1",
    OUTPUT: "10",
    PriceKey(INPUT, "batch"): "0.5",
    PriceKey(INPUT, above_tokens=200_000): "2",
    PriceKey(INPUT, above_tokens=272_000): "3",
    PriceKey(OUTPUT, above_tokens=200_000): "20",
    PriceKey(CACHE_WRITE, above_tokens=200_000): "4",
    PriceKey(INPUT, "priority"): "5",
    PriceKey(INPUT, "priority", 200_000): "6",
}


@pytest.mark.parametrize(
    ("tokens", "kind", "tier", "price"),
    [
        (200_000, INPUT, "standard", "1"),
        (200_001, INPUT, "standard", "2"),
        (272_000, INPUT, "standard", "2"),
        (272_001, INPUT, "standard", "3"),
        (272_001, OUTPUT, "standard", "20"),
        (272_001, CACHED, "standard", "0.1"),
        (200_000, CACHE_WRITE, "standard", "1"),
        (200_001, CACHE_WRITE, "standard", "4"),
        (272_001, INPUT, "batch", "0.5"),
        (272_001, INPUT, "priority", "6"),
    ],
)
def test_above_a_size_all_tokens_have_the_price_of_the_highest_size_passed(
    tokens: int, kind: TokenKind, tier: str, price: str
) -> None:
    assert token_price(prices(SIZED), kind, tier, tokens) == Decimal(price)


def test_size_is_the_total_input_with_its_cached_part() -> None:
    row: dict[str, object] = {"input_tokens": 200_001, "cached_input_tokens": 200_000, "output_tokens": 1}
    assert cost(row, price_list({"M": SIZED})) == "20022"  # 1 × 2 + 200,000 × 0.1 + 1 × 20


@pytest.mark.parametrize(
    ("day", "expected"),
    [("2026-03-02", "no_fx_rate"), ("2026-03-01", "2.2"), ("2026-02-23", "2.2"), ("2026-02-22", "no_fx_rate")],
)
def test_the_rate_is_dated_before_the_day_and_at_most_the_maximum_age(day: str, expected: str) -> None:
    fx = rates(EUR=(day, "1.1"))
    assert cost({"cost": Decimal(2), "cost_currency": "EUR"}, fx=fx) == expected
    assert cost({"input_tokens": 2}, price_list({"M": {INPUT: "1"}}, currency="EUR"), fx=fx) == expected


def test_a_cost_is_rounded_once_after_conversion_and_half_to_even() -> None:
    tie = price_list({"M": {INPUT: "0.0000000000005"}})
    found = costs([{"input_tokens": tokens} for tokens in (1, 2, 3)], [tie])
    assert [known and known * 10**12 for known, _ in found] == [0, 1, 2]
    # Rounded before it is converted, 0.4e-12 would be nothing.
    small = price_list({"M": {INPUT: "0.0000000000004"}}, currency="EUR")
    assert cost({"input_tokens": 1}, small, fx=rates(EUR=("2026-03-01", "5"))) == "0.000000000002"


COUNTS = st.integers(0, 2**53 - 1)
PRICE = st.decimals(0, 999, places=12) | st.sampled_from(
    [Decimal("1.5500000000000002e-07"), Decimal("999.9"), Decimal("1e-30")]
)
RATE = st.decimals(Decimal("0.000000001"), Decimal("999999.999999999"), places=9)


@given(
    st.lists(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), min_size=1, max_size=5),
    st.tuples(PRICE, PRICE, PRICE, PRICE),
    RATE,
)
def test_any_tokens_at_any_price_and_rate_are_exact(
    tokens: list[tuple[int, int, int, int]], of_kinds: tuple[Decimal, ...], rate: Decimal
) -> None:
    parts = [(uncached // 4, cached // 4, write // 4, output) for uncached, cached, write, output in tokens]
    rows: list[dict[str, object]] = [
        {
            "input_tokens": uncached + cached + write,
            "cached_input_tokens": cached,
            "cache_write_input_tokens": write,
            "output_tokens": output,
        }
        for uncached, cached, write, output in parts
    ]
    listed = price_list(
        {"M": {kind: str(price) for kind, price in zip(TokenKind, of_kinds, strict=True)}}, currency="EUR"
    )
    exact = [
        sum(count * Fraction(price) for count, price in zip(part, of_kinds, strict=True)) * Fraction(rate)
        for part in parts
    ]
    rounded = [(Fraction(round(value * 10**12), 10**12), None) for value in exact]
    assert costs(rows, [listed], rates(EUR=("2026-03-01", str(rate)))) == rounded


def test_the_largest_own_cost_at_the_largest_rate_is_exact() -> None:
    own = Decimal("999999999999.999999999999")
    fx = rates(EUR=("2026-03-01", "999999.999999999"))
    exact = Fraction(own) * Fraction("999999.999999999")
    assert costs([{"cost": own, "cost_currency": "EUR"}], [], fx) == [(Fraction(round(exact * 10**12), 10**12), None)]


def written(folder: Path, document: object, name: str = "prices.json") -> Path:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_prices_are_read_by_part_size_and_tier_and_other_names_are_left_alone(tmp_path: Path) -> None:
    document = """{"M": {"input_cost_per_token": 1.5500000000000002e-07, "output_cost_per_token": 0,
        "input_cost_per_token_above_272k_tokens_priority": 1e-05, "cache_read_input_token_cost_flex": 1.3e-07,
        "output_cost_per_token_batches": 7.5e-06, "cache_creation_input_token_cost": null,
        "cache_creation_input_token_cost_above_1hr": 6e-06, "output_cost_per_reasoning_token": 1,
        "input_cost_per_audio_token": 1, "input_cost_per_token_cache_hit": 1, "mode": "chat", "max_tokens": 8192},
        "image": {"output_cost_per_image": 0.04}, "spec": {"max_tokens": "as documented"}}"""
    listed = load_price_list(written(tmp_path, document), 0, "USD")
    assert listed.models == {
        "M": {
            PriceKey(INPUT): Decimal("0.00000015500000000000002"),
            PriceKey(OUTPUT): Decimal(0),
            PriceKey(INPUT, "priority", 272_000): Decimal("0.00001"),
            PriceKey(CACHED, "flex"): Decimal("0.00000013"),
            PriceKey(OUTPUT, "batch"): Decimal("0.0000075"),
        },
        "image": {},
        "spec": {},
    }


def test_a_price_above_a_size_that_a_later_list_drops_is_dropped_from_then_on(tmp_path: Path) -> None:
    plain = {"input_cost_per_token": 5e-06, "output_cost_per_token": 2.5e-05}
    above = {"input_cost_per_token_above_200k_tokens": 1e-05, "output_cost_per_token_above_200k_tokens": 3.75e-05}
    old = load_price_list(written(tmp_path, {"M": plain | above}, "old.json"), us(NOON) - 1, "USD")
    new = load_price_list(written(tmp_path, {"M": plain}, "new.json"), us(NOON), "USD")
    usage: dict[str, object] = {"input_tokens": 250_000, "output_tokens": 1_000}
    assert cost(usage | {"event_time": NOON - MICROSECOND}, old, new) == "2.5375"
    assert cost(usage, old, new) == "1.275"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('{"M": {"input_cost_per_token": "1"}}', "M: input_cost_per_token: expected a number from 0 to below 1000"),
        ('{"M": {"input_cost_per_token": true}}', "M: input_cost_per_token: expected a number"),
        ('{"M": {"input_cost_per_token": -1}}', "got -1"),
        ('{"M": {"input_cost_per_token": 1000}}', "got 1000"),
        ('{"M": {"input_cost_per_token": 1e-31}}', "at most 30 places"),
        ('{"M": {"input_cost_per_token": NaN}}', "NaN is no JSON"),
        ('{"M": 1}', "M: expected an object of prices, got 1"),
        ("[]", "expected a JSON object of models, got list"),
        ('{"M": ', "expected a price list as JSON"),
    ],
)
def test_a_wrong_price_list_is_refused_by_name(tmp_path: Path, document: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_price_list(written(tmp_path, document), 0, "USD")
    assert "prices.json" in str(refused.value)
    assert expected in str(refused.value)


LIST = 'path = "prices.json"\neffective_from = 2026-02-25T00:00:00Z\n'


def test_a_cost_file_names_lists_rates_and_the_share_that_is_enough(tmp_path: Path) -> None:
    written(tmp_path, {"M": {"input_cost_per_token": 1}})
    text = f'fx = "rates.csv"\nmin_priced_share = "0.5"\n[[price_list]]\n{LIST}currency = "EUR"\n'
    found = load_cost_file(written(tmp_path, text, "costs.toml"))
    assert (found.fx, found.model.min_priced_share) == (tmp_path / "rates.csv", Fraction(1, 2))
    [listed] = found.model.price_lists
    assert (listed.currency, listed.effective_from_us) == ("EUR", us(datetime(2026, 2, 25, tzinfo=UTC)))


def test_an_empty_cost_file_has_the_defaults(tmp_path: Path) -> None:
    found = load_cost_file(written(tmp_path, "", "costs.toml"))
    assert (found.fx, found.bills, found.model) == (None, (), CostModel())
    assert found.model.min_priced_share == Fraction("0.99")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('min_price_share = "0.9"\n', 'did you mean "min_priced_share"?'),
        ("min_priced_share = 0.9\n", 'write it in quotes: "0.9"'),
        ('min_priced_share = "0"\n', "above 0"),
        ('min_priced_share = "1.1"\n', "at most 1"),
        ('[[price_list]]\npath = "prices.json"\n', "effective_from is required"),
        ('[[price_list]]\npath = "prices.json"\neffective_from = 2026-02-25\n', "date-time with an offset"),
        (f'[[price_list]]\n{LIST}currency = "usd"\n', 'did you mean "USD"?'),
        (f"[[price_list]]\n{LIST}effective_until = 1\n", "expected a known key"),
        ('[[price_list]]\npath = "none.json"\neffective_from = 2026-02-25T00:00:00Z\n', "none.json"),
        (f"[[price_list]]\n{LIST}[[price_list]]\n{LIST}", "price_list 2: effective_from: expected a start of its own"),
    ],
)
def test_a_wrong_cost_file_is_refused_by_key(tmp_path: Path, text: str, expected: str) -> None:
    written(tmp_path, {"M": {"input_cost_per_token": 1}})
    with pytest.raises(ConfigurationError) as refused:
        load_cost_file(written(tmp_path, text, "costs.toml"))
    assert expected in str(refused.value)
    assert refused.value.exit_code == 2
