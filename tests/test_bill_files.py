"""A bill is read whole or not at all: its parts, their shapes, and the message where it cannot be read."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest

from attribution.costs import Conversion
from schemas.errors import ConfigurationError, UnavailableError
from tests.bill_files import AS_OF, DATA, HEADER, line, read, totals, write_bill
from tests.ratio_frames import FX

FOCUS = DATA / "focus"
RULE = '[[line]]\nname = "M"\nmatch = { "tags.model" = "M" }\ncost_type = "serving"\n'


def day_costs(path: Path, text: str = RULE, **more: object) -> dict[date, Fraction]:
    parts = read(path, text, **more).parts.group_by("day").agg(pl.col("cost").sum()).sort("day")  # type: ignore[arg-type]
    return {day: Fraction(cost, 10**12) for day, cost in parts.iter_rows()}


# --- FOCUS, as published ---

#: Effective and billed cost, added up by hand.
PUBLISHED = {
    "focus_1_0_sample_even.csv.gz": ("13.16298079268", "14.66598547521"),
    "focus_1_4_costandusage_excerpt.csv": ("1768.67620476", "2673.80517776"),
    "commitment_discount_purchase_scenario_1.csv": ("0", "8760"),
    "commitment_discount_purchase_scenario_3.csv": ("0", "4381.50"),
    "commitment_discount_usage_scenario_2.csv": ("1.00", "0"),
    "commitment_discount_usage_scenario_4.csv": ("1.50", "0.50"),
    "one_hundred_percent_utilization_with_commitment_discount_flexibility_with_1_resource.csv": ("2.75", "2.75"),
    "one_hundred_percent_utilization_without_commitment_discount_flexibility.csv": ("1.50", "1.50"),
    "saas_spend_agreements_a1.csv": ("1200", "1200"),
    "saas_spend_agreements_b1.csv": ("1200", "1200"),
    "simple_saas_agreements_a2.csv": ("50000", "50000"),
    "virtual_currency_pricing_model_a1.csv": ("0", "200000"),
    "virtual_currency_pricing_model_b3.csv": ("495", "0"),
}
_SPECIFIED_WITHOUT_CURRENCY = ("commitment_", "one_hundred_")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_focus_files_have_their_totals_to_the_last_digit(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((FOCUS / name).read_bytes())
    currency = 'currency = "USD"\n' if name.startswith(_SPECIFIED_WITHOUT_CURRENCY) else ""
    effective, billed = PUBLISHED[name]
    assert totals(read(tmp_path / name, currency)) == {"USD": (Fraction(effective), Fraction(billed))}


def test_every_published_file_is_read() -> None:
    assert {path.name for path in FOCUS.iterdir()} == set(PUBLISHED)


def test_a_provider_is_found_under_the_name_of_either_version(tmp_path: Path) -> None:
    for column, other in (("ProviderName", "ServiceProviderName"), ("ServiceProviderName", "ProviderName")):
        text = f"{HEADER},{column}\n{line()},AWS\n"
        (tmp_path / "bill.csv").write_text(text)
        rule = f'[[line]]\nname = "x"\nmatch = {{ {other} = "AWS" }}\ncost_type = "indirect"\n'
        assert read(tmp_path / "bill.csv", rule).parts["rule"].to_list() == [0]


# --- shapes ---


def test_csv_gzip_and_parquet_are_read_alike_and_a_folder_is_all_of_its_parts(tmp_path: Path) -> None:
    lines = [line("1.25", model="M"), line("2.5", "2026-03-03", model="M")]
    expected = {date(2026, 3, 2): Fraction("1.25"), date(2026, 3, 3): Fraction("2.5")}
    plain = write_bill(tmp_path / "plain.csv", *lines)
    assert day_costs(plain) == expected
    zipped = tmp_path / "zipped.csv.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert day_costs(zipped) == expected
    frame = pl.read_csv(plain, infer_schema=False)
    typed = frame.with_columns(
        pl.col("EffectiveCost", "BilledCost").cast(pl.Decimal(20, 6)),
        pl.col("^.*Period(Start|End)$").str.to_datetime("%+", strict=False, time_zone="UTC"),
    )
    typed.write_parquet(tmp_path / "typed.parquet")
    assert day_costs(tmp_path / "typed.parquet") == expected
    folder = tmp_path / "parts"
    write_bill(folder / "1.csv", lines[0])
    (folder / "2.CSV.GZ").write_bytes(gzip.compress(f"{HEADER}\n{lines[1]}\n".encode()))
    typed.write_parquet(folder / "3.parquet")
    (folder / "manifest.json").write_text("{}")
    (folder / "_SUCCESS").write_text("")
    assert day_costs(folder) == {day: 2 * cost for day, cost in expected.items()}


def test_parquet_of_doubles_naive_times_and_maps_of_tags(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "EffectiveCost": [0.1, 1.1102230246251565e-16],
            "BillingCurrency": ["USD", "USD"],
            "ChargePeriodStart": [datetime(2026, 3, 2), datetime(2026, 3, 2, 23)],  # noqa: DTZ001
            "ChargePeriodEnd": [date(2026, 3, 3), date(2026, 3, 3)],
            "Tags": [[{"key": "model", "value": "M"}], []],
        }
    )
    frame.write_parquet(tmp_path / "bill.parquet")
    sums = read(tmp_path / "bill.parquet", RULE)
    assert totals(sums) == {"USD": (Fraction("0.1") + Fraction("1.1102230246251565e-16"), None)}
    assert sums.parts.select("rule", "day", "cost").rows() == [(0, date(2026, 3, 2), 10**11)]


def test_columns_of_another_export_are_those_that_the_cost_file_names(tmp_path: Path) -> None:
    (tmp_path / "gpu.csv").write_text('When,What,"Amount, net",Labels\n3/2/26,a,"$1,000.50 ","""model"": ""M"""\n')
    columns = 'columns = { cost = "Amount, net", start = "When", end = "When", tags = "Labels" }\n'
    assert day_costs(tmp_path / "gpu.csv", f'format = "columns"\n{columns}currency = "USD"\n{RULE}') == {
        date(2026, 3, 2): Fraction("1000.50")
    }


# --- spreading and conversion ---


def test_a_line_is_spread_over_days_in_proportion_to_time_and_its_parts_sum_to_it(tmp_path: Path) -> None:
    bill = write_bill(tmp_path / "b.csv", line("1", "2026-03-01T12:00:00Z", "2026-03-03T00:00:00Z", model="M"))
    third = Fraction(333_333_333_333, 10**12)
    assert day_costs(bill) == {date(2026, 3, 1): third, date(2026, 3, 2): 1 - third}


def test_a_line_of_no_length_is_a_cost_of_its_start_day(tmp_path: Path) -> None:
    bill = write_bill(tmp_path / "b.csv", line("1", "2026-03-02T00:00:00Z", "2026-03-02T00:00:00Z", model="M"))
    assert day_costs(bill) == {date(2026, 3, 2): 1}


def test_a_line_that_ends_at_midnight_costs_nothing_on_the_day_that_begins(tmp_path: Path) -> None:
    bill = write_bill(tmp_path / "b.csv", line("1", "2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z", model="M"))
    assert day_costs(bill) == {date(2026, 3, 1): 1}


def rates(*rows: tuple[str, str, str]) -> Conversion:
    parsed = [(date.fromisoformat(day), currency, Decimal(rate)) for day, currency, rate in rows]
    return Conversion(pl.DataFrame(parsed, schema=FX, orient="row"), "USD", fx_max_age_days=7)


def test_a_line_is_converted_whole_at_the_rate_for_the_day_on_which_its_period_starts(tmp_path: Path) -> None:
    conversion = rates(("2026-03-01", "EUR", "1.1"), ("2026-03-02", "EUR", "9"))
    until = "2026-03-04T00:00:00Z"
    bill = write_bill(tmp_path / "b.csv", line("2", "2026-03-02", until, currency="EUR", model="M"))
    assert day_costs(bill, conversion=conversion) == {
        date(2026, 3, 2): Fraction("1.1"),
        date(2026, 3, 3): Fraction("1.1"),
    }


def test_what_rounding_cuts_on_reading_and_on_conversion_is_kept(tmp_path: Path) -> None:
    cost = "0.0000000000014"
    bill = write_bill(tmp_path / "b.csv", line(cost, currency="EUR"), line("0.000000000001", currency="EUR"))
    sums = read(bill, conversion=rates(("2026-03-01", "EUR", "1.6")))
    [exact] = sums.exact.values()
    # Each is 0.000000000001 when it has been read, and 0.000000000002 when it has been converted.
    assert exact.converted == 4
    assert exact.effective == Fraction("0.0000000000024") * Fraction("1.6")
    assert exact.rounding == exact.effective - Fraction(4, 10**12)


def test_amounts_near_their_bound_are_exact(tmp_path: Path) -> None:
    cost = "999999999999.999999999999"
    conversion = rates(("2026-03-01", "EUR", "999999.999999999"))
    bill = write_bill(tmp_path / "b.csv", line(cost, "2026-03-02", "2027-03-02T00:00:00Z", currency="EUR"))
    sums = read(bill, conversion=conversion)
    whole = round(Fraction(cost) * Fraction("999999.999999999") * 10**12)
    assert int(sums.parts["cost"].sum()) == whole
    assert sums.parts.height == 365


# --- what is refused ---


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            line(""),
            "row 2 (line 3): EffectiveCost: expected an amount below 1000000000000 with at most 48 places",
        ),
        (line("NULL"), "row 2 (line 3): EffectiveCost"),
        (line("12,5").replace("12,5,12,5", '"12,5","12,5"'), 'got "12,5"'),
        (
            line(currency=""),
            "row 2 (line 3): BillingCurrency: expected an active ISO 4217 code such as USD, got nothing",
        ),
        (line(currency="usd"), 'BillingCurrency: expected an active ISO 4217 code such as USD, got "usd"'),
        (line(until="NULL"), "row 2 (line 3): ChargePeriodEnd: expected a time such as 2026-03-01T00:00:00Z"),
        (line(day="2026-03-0x", until="2026-03-05").replace("0xT00:00:00Z", "0x"), "ChargePeriodStart"),
        (line(until="2026-03-01T00:00:00Z"), "ChargePeriodEnd: expected a time not before the start"),
        (
            line(month="march/april"),
            'BillingPeriodStart: expected a time such as 2026-03-01T00:00:00Z, from 2000 to 2199, got "march"',
        ),
        ('6,6,USD,2026-03-02,2026-03-03,AWS,1,,,"model=M"', "Tags: expected tags as a JSON object"),
        ("6,6,USD", "row 2: expected 10 fields, got 3"),
        (line() + ",more", "row 2: expected 10 fields, got 11"),
        (line() + "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "fields"),
    ],
)
def test_a_row_that_is_no_bill_line_refuses_the_bill_by_file_and_row(tmp_path: Path, row: str, expected: str) -> None:
    bill = write_bill(tmp_path / "bill.csv", line(model="M"), row, line(model="M"))
    with pytest.raises(UnavailableError) as refused:
        read(bill, RULE)
    assert str(refused.value).startswith(str(bill))
    if expected != "fields":
        assert expected in str(refused.value)


def test_rows_are_counted_over_blank_lines_and_line_ends_in_values(tmp_path: Path) -> None:
    odd = line(note="two\nlines").replace("\\n", "\n").replace("Z,AWS", "Z,AWS")
    bill = write_bill(tmp_path / "bill.csv", line(), "", odd, line(""))
    with pytest.raises(UnavailableError, match=r"row 3 \(line 6\): EffectiveCost"):
        read(bill)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "expected a header, got an empty file"),
        (b"a,b\n1,2\n", "expected the column EffectiveCost, got a, b"),
        (HEADER.encode() + b"\n\xff,,,,,,,,,\n", "cannot be read"),
        (HEADER.replace("BilledCost", "EffectiveCost").encode() + b"\n", "expected one column EffectiveCost, got 2"),
    ],
)
def test_a_file_that_is_no_bill_is_refused_by_name(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "bill.csv").write_bytes(content)
    with pytest.raises(UnavailableError) as refused:
        read(tmp_path / "bill.csv")
    assert str(refused.value).startswith(str(tmp_path / "bill.csv"))
    assert expected in str(refused.value)


def test_a_file_that_ends_early_refuses_the_bill(tmp_path: Path) -> None:
    whole = gzip.compress(f"{HEADER}\n".encode() + f"{line()}\n".encode() * 20_000)
    (tmp_path / "bill.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnavailableError, match="cannot be read"):
        read(tmp_path / "bill.csv.gz")
    pl.DataFrame({"EffectiveCost": ["1"]}).write_parquet(tmp_path / "bill.parquet")
    content = (tmp_path / "bill.parquet").read_bytes()
    (tmp_path / "bill.parquet").write_bytes(content[:-4])
    with pytest.raises(UnavailableError, match="cannot be read"):
        read(tmp_path / "bill.parquet")


def test_no_file_of_a_folder_is_left_out_in_silence(tmp_path: Path) -> None:
    folder = tmp_path / "bill"
    with pytest.raises(UnavailableError, match="nothing there"):
        read(folder)
    folder.mkdir()
    with pytest.raises(UnavailableError, match="got none"):
        read(folder)
    write_bill(folder / "1.csv", line())
    (folder / "2.csv.zst").write_bytes(b"")
    with pytest.raises(UnavailableError, match=r"2\.csv\.zst: expected \*\.csv"):
        read(folder)
    (folder / "2.csv.zst").unlink()
    write_bill(folder / "older" / "1.csv", line())
    with pytest.raises(UnavailableError, match="one snapshot"):
        read(folder)


def test_a_currency_that_the_export_has_itself_is_not_written_beside_it(tmp_path: Path) -> None:
    bill = write_bill(tmp_path / "bill.csv", line())
    with pytest.raises(ConfigurationError, match="bill 1: currency: expected no currency here"):
        read(bill, 'currency = "USD"\n')


def test_a_line_without_currency_in_an_export_without_that_column_is_refused_by_row(tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_text("EffectiveCost,ChargePeriodStart,ChargePeriodEnd\n1,2026-03-02,2026-03-03\n")
    with pytest.raises(UnavailableError, match=r"bill.csv: row 1 \(line 2\): BillingCurrency"):
        read(tmp_path / "bill.csv")


# --- days ---


def test_pending_days_begin_where_the_cost_file_says_or_the_day_before_as_of_while_the_month_runs(
    tmp_path: Path,
) -> None:
    month = line("31", "2026-03-01", "2026-04-01T00:00:00Z", model="M")
    bill = write_bill(tmp_path / "b.csv", month)

    def first_pending(text: str, as_of: datetime) -> date | None:
        found: date | None = read(bill, text + RULE, as_of=as_of).parts.filter("is_pending")["day"].min()  # type: ignore[assignment]
        return found

    assert first_pending("", datetime(2026, 3, 22, 12, tzinfo=UTC)) == date(2026, 3, 21)
    assert first_pending("", datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)) == date(2026, 3, 30)
    assert first_pending("", datetime(2026, 4, 1, tzinfo=UTC)) is None
    assert first_pending("complete_until = 2026-03-10\n", datetime(2026, 4, 1, tzinfo=UTC)) == date(2026, 3, 10)
    without = write_bill(tmp_path / "b.csv", line("31", "2026-03-01", "2026-04-01T00:00:00Z", month="", model="M"))
    assert first_pending("", AS_OF) is None
    assert without.exists()


def test_the_newest_day_is_that_of_short_lines_where_there_are_such(tmp_path: Path) -> None:
    month = line("1", "2026-03-01", "2026-04-01T00:00:00Z")
    day = line("1", "2026-03-04")
    assert read(write_bill(tmp_path / "a.csv", month)).newest_day == date(2026, 3, 31)
    assert read(write_bill(tmp_path / "b.csv", month, day)).newest_day == date(2026, 3, 4)
    folder = tmp_path / "parts"
    write_bill(folder / "1.csv", day)
    write_bill(folder / "2.csv", month)
    assert read(folder).newest_day == date(2026, 3, 4)
