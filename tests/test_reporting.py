"""What metrics say of value is what the published tables sum to."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.live.http import Metrics
from streams.runner import run
from streams.settings import load_settings
from tests.case_files import write_case
from tests.cases import in_time_order, random_case


def gauges(metrics: Metrics, name: str, label: str) -> dict[str, float]:
    """A gauge's values by one of its labels."""
    found: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels[label]] += sample.value
    return dict(found)


def sums(out: Path, table: str, key: str, column: str) -> dict[str, Decimal]:
    rows = pl.read_parquet(out / table / "**" / "*.parquet", hive_partitioning=False)
    of_rows = rows.filter(pl.col(column).is_not_null()).group_by(key).agg(pl.col(column).sum())
    return dict(of_rows.iter_rows())


@pytest.mark.parametrize("seed", [7, 24, 33])
def test_amounts_with_and_without_credit_are_those_of_the_tables(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several commits; what is held out is left out."""
    metrics = Metrics()
    monkeypatch.setattr("streams.runner.Metrics", lambda: metrics)
    case = in_time_order(random_case(seed, size=30))
    run(load_settings(write_case(case, tmp_path)), until_end=True, batch_records=15)

    out = tmp_path / "out"
    unattributed = sums(out, "unattributed", "reason", "amount")
    assert unattributed.pop("holdout", None) is not None
    assert len(unattributed) > 1
    assert any(unattributed.values())
    told = gauges(metrics, "attribution_unattributed_amount", "reason")
    assert told == pytest.approx({reason: float(amount) for reason, amount in unattributed.items()})
    credited = sums(out, "credits", "currency", "amount")
    assert any(credited.values())
    told = gauges(metrics, "attribution_credited_amount", "currency")
    assert told == pytest.approx({currency: float(amount) for currency, amount in credited.items()})
    value = sums(out, "credits", "use_case", "value")
    assert gauges(metrics, "attribution_attributed_value", "use_case") == pytest.approx(
        {use_case: float(amount) for use_case, amount in value.items()}
    )
