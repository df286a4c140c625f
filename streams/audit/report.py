"""What an audit found, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from attribution.windows import time_text
from streams.audit.files import FileProblem

#: So many rows of one kind are shown in the text; the JSON has them all.
_SHOWN = 20


@dataclass(frozen=True)
class Audit:
    """explained: outcome_id, why, amount, value (the replay's less what was published); different: by table, net rows
    that only one side has; missing_events: kind, id, where; broken_sums: outcome_id, expected, found; counts: per
    topic and partition, with ``sums``; wrong_refusals: places and ``problem`` of records refused as too late that are
    not, and the reverse; late: records too late, and how many of them are copies of accepted events."""

    commit_id: int
    watermark_us: int | None
    rows: dict[str, int]
    explained: pl.DataFrame
    different: dict[str, pl.DataFrame]
    missing_events: pl.DataFrame
    waiting_outcomes: int
    waiting_reversals: int
    late: dict[str, int]
    outcomes_checked: int
    broken_sums: pl.DataFrame
    counts: pl.DataFrame
    wrong_refusals: pl.DataFrame
    files: list[FileProblem]
    inputs: list[FileProblem]

    @property
    def is_clean(self) -> bool:
        """Nothing is unexplained."""
        return not (
            self.different
            or self.missing_events.height
            or self.broken_sums.height
            or self.wrong_refusals.height
            or self.files
            or self.inputs
            or not self.counts["sums"].all()
        )

    @property
    def verdict(self) -> str:
        if not self.is_clean:
            return "different"
        return "explained" if self.explained.height else "identical"


def as_json(audit: Audit) -> str:
    watermark = None if audit.watermark_us is None else time_text(audit.watermark_us)
    content: dict[str, Any] = {
        "result": audit.verdict,
        "commit_id": audit.commit_id,
        "watermark": watermark,
        "rows": audit.rows,
        "explained": audit.explained.to_dicts(),
        "different": {table: rows.to_dicts() for table, rows in audit.different.items()},
        "missing_events": audit.missing_events.to_dicts(),
        "waiting": {"outcomes": audit.waiting_outcomes, "reversals": audit.waiting_reversals},
        "late": audit.late,
        "conservation": {"checked": audit.outcomes_checked, "broken": audit.broken_sums.to_dicts()},
        "counts": audit.counts.to_dicts(),
        "wrong_refusals": audit.wrong_refusals.to_dicts(),
        "files": [vars(problem) for problem in audit.files],
        "input_files": [vars(problem) for problem in audit.inputs],
    }
    return json.dumps(content, indent=2, default=_shown, ensure_ascii=False)


def as_text(audit: Audit) -> str:
    watermark = "none yet" if audit.watermark_us is None else time_text(audit.watermark_us)
    lines = [f"{audit.verdict}: commit {audit.commit_id}, watermark {watermark}", ""]
    lines += ["rows: " + ", ".join(f"{count:,} {table}" for table, count in audit.rows.items())]
    lines += [_sentence_of_waiting(audit), *_explained(audit), *_different(audit)]
    good = audit.outcomes_checked - audit.broken_sums.height
    lines += [f"conservation: {good:,} of {audit.outcomes_checked:,} outcomes sum to their net amount"]
    lines += _rows(audit.broken_sums)
    for row in audit.counts.to_dicts():
        state = "sums" if row["sums"] else "DOES NOT SUM"
        lines.append(
            f"{row['source_topic']}/{row['source_partition']}: read {row['read']:,} = accepted {row['accepted']:,} + "
            f"duplicates {row['duplicates']:,} + dead letters {row['dead_letters']:,} + ignored {row['ignored']:,}: "
            f"{state}"
        )
    if audit.wrong_refusals.height:
        lines.append(f"WRONGLY judged for lateness: {audit.wrong_refusals.height:,} records")
        lines += _rows(audit.wrong_refusals)
    for name, problems in (("published", audit.files), ("input", audit.inputs)):
        lines += [f"{name} file {problem.problem}: {problem.path}" for problem in problems]
    if not audit.files:
        lines.append("published files: as they were made")
    if not audit.inputs:
        lines.append("input files: as they were read")
    return "\n".join(lines)


def _sentence_of_waiting(audit: Audit) -> str:
    return (
        f"waiting: {audit.waiting_outcomes:,} outcomes, {audit.waiting_reversals:,} reversals; "
        f"too late: {audit.late['too_late']:,} records, {audit.late['copies']:,} of them copies worth 0"
    )


def _explained(audit: Audit) -> list[str]:
    if audit.explained.height == 0:
        return []
    sums = audit.explained.group_by("why").agg(pl.len(), pl.col("amount", "value").sum()).sort("why")
    lines = ["explained: what the replay has more than what was published"]
    for why, count, amount, value in sums.iter_rows():
        lines.append(f"  {why}: {count:,} outcomes, amount {amount:f}, value {value:f}")
    return lines + _rows(audit.explained)


def _different(audit: Audit) -> list[str]:
    lines = []
    for table, rows in audit.different.items():
        lines.append(f"DIFFERENT in {table}: {rows.height:,} net rows (sign 1: published only, -1: replay only)")
        lines += _rows(rows)
    if audit.missing_events.height:
        lines.append(f"DIFFERENT events: {audit.missing_events.height:,}")
        lines += _rows(audit.missing_events)
    return lines


def _shown(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _rows(frame: pl.DataFrame) -> list[str]:
    lines = [
        "  " + " ".join(f"{name}={_shown(value)}" for name, value in row.items() if value is not None)
        for row in frame.head(_SHOWN).to_dicts()
    ]
    if frame.height > _SHOWN:
        lines.append(f"  … and {frame.height - _SHOWN:,} more (all with --format json)")
    return lines
