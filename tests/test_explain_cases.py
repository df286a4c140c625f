"""Every explanation of any case, worked out again from its printed text, gives the published figures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings

from attribution.batch import attribute_batch, attributed_rows
from attribution.deduplicate import deduplicate
from attribution.engine import Policy
from attribution.explain import (
    Known,
    Published,
    PublishedInference,
    Section,
    Setting,
    explain_inference,
    explain_outcome,
)
from attribution.explain.words import shown
from attribution.frames import as_outcomes
from attribution.rules import combine, parse_rules
from attribution.settle import Settlement
from schemas.events import OUTCOME_COLUMNS, Kind, canonical_columns
from schemas.outputs import in_files
from streams.replay import replay
from streams.settings import load_settings
from tests.case_files import to_rule_files, write_case
from tests.cases import TOPICS, Case, case_strategy, random_case
from tests.explained_folder import of_inference, of_outcome, table
from tests.frames import frame, policy
from tests.printed import steps


def known_of(case: Case) -> Known:
    """What is accepted of a case."""
    frames = {Kind(kind): frame(getattr(case, name), Kind(kind)) for name, kind in TOPICS.items()}
    outcomes = as_outcomes(
        [
            frames[kind].with_columns(pl.lit(kind.value).cast(pl.Categorical).alias("kind"))
            for kind in (Kind.CONVERSION, Kind.TIME_SAVED)
        ]
    )
    kept = (
        deduplicate(outcomes, "event_id", list(OUTCOME_COLUMNS)),
        deduplicate(frames[Kind.INFERENCE], "inference_id", list(canonical_columns(Kind.INFERENCE))),
        deduplicate(frames[Kind.REVERSAL], "event_id", list(canonical_columns(Kind.REVERSAL))),
    )
    return Known(*(part.events.with_columns(pl.lit(0).alias("commit_id")) for part in kept))


def in_ledger(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    signed = rows.with_columns(pl.lit(1).alias("sign"), pl.lit(0).alias("commit_id"))
    return signed.select(list(in_files(name))).cast(in_files(name))  # type: ignore[arg-type]


def text_of(sections: list[Section]) -> str:
    return "\n\n".join(str(part) for part in sections)


def check_case(case: Case) -> None:
    """Every outcome's and inference's explanation, worked out again from its text, gives the published rows."""
    known = known_of(case)
    texts = {f"rules/{name}": text for name, text in to_rule_files(case).items()}
    rules = combine([parse_rules(text, name) for name, text in texts.items()])
    plain = policy(case)
    compiled = Policy(rules, plain.fx, plain.base_currency, plain.reversal_window_us, plain.fx_max_age_days).compiled()
    newest = max((event["event_time"] for name in TOPICS for event in getattr(case, name)), default=0)
    setting = Setting(compiled, case.settings["allowed_lateness"], newest, is_live=False, rule_texts=texts)
    ledger = attribute_batch(known.inferences, known.outcomes, known.reversals, compiled)
    credited, lost = in_ledger(ledger.credits, "credits"), in_ledger(ledger.unattributed, "unattributed")
    for outcome in known.outcomes.iter_slices(1):
        own = pl.col("outcome_id") == outcome["event_id"].item()
        published = Published(credited.filter(own), lost.filter(own))
        reversals = known.reversals.filter(pl.col("reverses") == outcome["event_id"].item())
        check_outcome(
            text_of(explain_outcome(Known(outcome, known.inferences, reversals), published, setting)), published
        )
    settlement = Settlement(ledger.credits, known.inferences.height).all()
    lateness = setting.allowed_lateness_us
    attributed = in_ledger(attributed_rows(known.inferences, settlement, compiled, lateness, newest), "attributed")
    for row in attributed.to_dicts():
        own = pl.col("inference_id") == row["inference_id"]
        named = pl.col("inference_ids").list.contains(row["inference_id"])
        of_trace = pl.col("trace_id").is_in(known.inferences.filter(own)["trace_id"].drop_nulls().to_list())
        narrowed = Known(known.outcomes.filter(pl.any_horizontal(named, of_trace)), known.inferences, known.reversals)
        theirs = PublishedInference(credited.filter(own), attributed.filter(own))
        check_inference(text_of(explain_inference(row["inference_id"], narrowed, theirs, setting)), row)


def check_outcome(text: str, published: Published) -> None:
    numbers = steps(text)
    shares = {name: number for name, number in numbers.items() if name.startswith("value(")}
    for row in published.credits.to_dicts():
        name = shown(row["inference_id"])
        assert shares.pop(f"value({name})") == Fraction(row["value"])
        assert numbers.get(f"reversed_value({name})", 0) == Fraction(row["reversed_value"])
        for figure in ("amount", "seconds"):
            assert numbers.get(f"{figure}({name})") == (None if row[figure] is None else Fraction(row[figure]))
    for row in published.unattributed.to_dicts():
        figures = {name: None if row[name] is None else Fraction(row[name]) for name in ("amount", "value", "seconds")}
        match row["reason"]:
            case "holdout":
                name = shown(row["inference_id"])
                assert shares.pop(f"value({name})") == figures["value"]
                assert numbers.get(f"amount({name})") == figures["amount"]
                assert numbers.get(f"seconds({name})") == figures["seconds"]
            case "capped":
                assert numbers["capped value"] == figures["value"]
                assert numbers.get("capped seconds") == figures["seconds"]
            case "reversal_unmatched":
                assert f"{shown(row['reversal_id'])}, reversal_unmatched" in text
            case reason:
                assert f"unattributed, {reason}: " in text
                assert numbers.get("amount") == figures["amount"]
                assert numbers.get("net seconds", numbers.get("seconds")) == figures["seconds"]
    assert not shares
    assert text.endswith("The published rows are equal to the recomputed ones.")


def check_inference(text: str, row: dict[str, Any]) -> None:
    numbers = steps(text)
    for figure in ("outcome_count", "conversion_value", "time_saved_value", "attributed_value", "reversed_value"):
        assert numbers[figure] == numbers[f"published {figure}"] == Fraction(row[figure])
    values = [number for name, number in numbers.items() if name.startswith("value from ")]
    assert sum(values) == Fraction(row["attributed_value"])
    assert text.endswith("The published rows are equal to the recomputed ones.")


@given(case_strategy(max_size=5))
@settings(max_examples=20)
def test_every_explanation_worked_out_again_gives_the_published_figures(case: Case) -> None:
    check_case(case)


@pytest.mark.parametrize("seed", range(6))
def test_larger_cases_are_explained_to_the_last_digit(seed: int) -> None:
    check_case(random_case(seed, size=15))


def test_published_files_of_a_random_case_are_explained_to_the_last_digit(tmp_path: Path) -> None:
    pipeline = write_case(random_case(5, size=12), tmp_path)
    replay(load_settings(pipeline), tmp_path / "log", tmp_path / "out")
    out = tmp_path / "out"
    credited, lost = table(out, "credits"), table(out, "unattributed")
    for outcome_id in table(out, "outcomes").filter(pl.col("kind") != "reversal")["event_id"]:
        own = pl.col("outcome_id") == outcome_id
        check_outcome(of_outcome(out, outcome_id), Published(credited.filter(own), lost.filter(own)))
    for row in table(out, "attributed").to_dicts():
        check_inference(of_inference(out, row["inference_id"]), row)
