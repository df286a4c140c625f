"""``explain --inference --costs``: every line of arithmetic holds, and ends in the figures of the table ``costs``."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from schemas.errors import ConfigurationError
from streams.cli import main
from streams.explain_costs import cost_sections
from tests.bill_files import line, write_bill
from tests.cost_reports import BILL, LINES, PRICES, THE_BILL, report
from tests.explained_folder import inference as event
from tests.explained_folder import publish as replayed
from tests.printed import section, steps
from tests.published import inference, publish, worked_example


def explained(out: Path, inference_id: str) -> str:
    return "\n\n".join(str(part) for part in cost_sections(out, inference_id, out / "costs.toml", lambda _: None))


def test_a_billed_cost_is_shown_from_bill_line_to_share(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    report(out, PRICES, BILL, LINES, bill=THE_BILL)
    text, bill = explained(out, "i7"), out / "bill.csv"
    assert section(text, "Estimate of i7") == (
        f"{out / 'prices.json'}, in force from 2026-01-01T00:00:00Z, tier standard\n"
        "estimate = round12((50000 × 0.000002 + 50000 × 0.0000002 + 20000 × 0.00001) × 1) = 0.31 USD"
    )
    assert section(text, "Line M on 2026-03-02") == (
        "serving, for model M; takes lines of tags.model M\n"
        f"{bill}, row 1: 6 USD for 2026-03-02T00:00:00Z to 2026-03-03T00:00:00Z\n"
        f"  converted({bill}, row 1) = round12(6 × 1) = 6 USD\n"
        f"  part({bill}, row 1) = round12(6 × 86400000000/86400000000) − round12(6 × 0/86400000000) = 6 USD\n"
        "pool = 6 USD\n"
        "driver estimate: 8 of 8 served requests in scope have it, of 10 inferences\n"
        "divided by estimate (in 10⁻⁹ of the base currency), in order of event time and id\n"
        "sum of estimate = 4310000000\n"
        "weight(i7) = 310000000\n"
        "weights before it = 2400000000\n"
        "share(i7) = round12(6 × 2710000000/4310000000) − round12(6 × 2400000000/4310000000) = 0.431554524362 USD"
    )
    assert section(text, "Cost of i7") == (
        "basis billed: a bill replaces the estimate\n"
        "serving = 0.431554524362 USD\n"
        "indirect = 0.15 USD\n"
        "idle and amortised costs depend on the periods of a report, and are not in this"
    )


def test_every_explanation_holds_and_gives_the_cost_that_is_written(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    (out / "fx.csv").write_text("date,currency,rate\n2026-02-28,EUR,1.1\n")
    month = line("100", "2026-03-01", "2026-04-01T00:00:00Z", month="", model="M", currency="EUR")
    report(out, PRICES, BILL, LINES, bill=(*THE_BILL, month, line("-0.5", model="M")), write_costs=out / "w")
    costs = pl.read_parquet(out / "w" / "costs" / "**" / "*.parquet", hive_partitioning=False)
    for (inference_id,), rows in costs.group_by("inference_id"):
        found = steps(explained(out, str(inference_id)))
        by_type = dict(rows.group_by("cost_type").agg(pl.col("cost").sum()).iter_rows())
        assert {name: found[name] for name in ("serving", "indirect")} == {
            name: Fraction(by_type[name]) for name in ("serving", "indirect")
        }


def test_many_lines_are_summed_up_and_the_largest_shown(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    report(
        out, PRICES, BILL, LINES, bill=(line("7", model="M"), *(line(f"0.0{n:02}", model="M") for n in range(1, 31)))
    )
    text = section(explained(out, "i1"), "Line M on 2026-03-02")
    assert text.count("part(") == 20
    assert "11 further lines, with 0.066 USD of the day" in text
    assert steps(text)["pool"] == Fraction("7.465")


@pytest.mark.parametrize(
    ("more", "lines"),
    [
        ({"cost": Decimal(2), "cost_currency": "EUR"}, "its own cost\nestimate = round12(2 × 1.1) = 2.2 USD"),
        ({"cache_hit": True}, "answered from the gateway's cache\nestimate = 0 USD"),
        (
            {"model": "N"},
            "unknown, no_price: no price list in force has the model, its tier or a price for tokens that are there",
        ),
        ({"input_tokens": None}, "unknown, no_usage: it has no input tokens"),
        (
            {"cost": Decimal(2), "cost_currency": "GBP"},
            "unknown, no_fx_rate: there is no rate for the currency on its day",
        ),
    ],
)
def test_an_estimate_says_what_it_rests_on_or_why_it_is_unknown(
    tmp_path: Path, more: dict[str, object], lines: str
) -> None:
    out = publish(tmp_path, inferences=[inference(1, **more)])
    (out / "fx.csv").write_text("date,currency,rate\n2026-03-01,EUR,1.1\n")
    report(out, PRICES, BILL, LINES, bill=(line("1.5", kind="logging"),))
    text = explained(out, "i1")
    assert section(text, "Estimate of i1") == lines
    assert section(text, "Cost of i1").split("\n")[0] == "basis estimated"
    assert ("serving: unknown" in text) == lines.startswith("unknown")


def test_a_driver_that_does_not_work_is_shown_with_what_it_lacks(tmp_path: Path) -> None:
    out = publish(tmp_path, inferences=[inference(1), inference(2, input_tokens=None)])
    rule = LINES.replace('["estimate"]', '["compute_ms", "tokens"]')
    report(out, PRICES, BILL, rule, bill=(line("3", model="M"),))
    text = section(explained(out, "i1"), "Line M on 2026-03-02")
    assert "driver compute_ms: 0 of 2 served requests in scope have it, of 2 inferences" in text
    assert "driver tokens: 1 of 2 served requests in scope have it, of 2 inferences" in text
    assert "divided by requests, in order of event time and id" in text


def test_overhead_says_where_its_cost_goes(tmp_path: Path) -> None:
    out = publish(tmp_path, inferences=[inference(1, use_case="judge"), inference(2)])
    report(out, PRICES, '[[overhead]]\nuse_case = "judge"\nof = "reco"\n')
    assert "it is overhead: a report moves all of it to requests of reco" in explained(out, "i1")
    assert steps(section(explained(out, "i1"), "Cost of i1"))["serving"] == Fraction("0.4")


def test_an_unknown_inference_is_refused_by_name(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    report(out, PRICES)
    with pytest.raises(ConfigurationError, match="--inference: expected an inference_id in the tables"):
        explained(out, "i99")


def test_the_command_shows_what_an_inference_earned_and_what_it_cost(tmp_path: Path) -> None:
    out = replayed(tmp_path, {"inferences": [event("i1", input_tokens=10, output_tokens=1)]})
    (tmp_path / "prices.json").write_text('{"M": {"input_cost_per_token": 0.5, "output_cost_per_token": 2}}')
    write_bill(tmp_path / "bill.csv", line("3", "2026-03-01", month="", model="M"))
    (tmp_path / "costs.toml").write_text(PRICES + BILL + LINES)
    run = ["explain", "--out", str(out), "--inference", "i1", "--costs", str(tmp_path / "costs.toml")]
    result = CliRunner().invoke(main, run)
    assert result.exit_code == 0, result.output
    assert steps(section(result.stdout.rstrip("\n"), "Cost of i1"))["serving"] == 3
    assert "Windows" in result.stdout
    wrong = CliRunner().invoke(main, ["explain", "--out", str(out), "--outcome", "o1", "--costs", "x"])
    assert (wrong.exit_code, "expected --inference beside --costs" in wrong.output) == (2, True)
