"""The ratio's pure function on frames: published tables in memory, cut into slices as small as a test wants them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from attribution.bills import LINES, BillSums, Pending
from attribution.cost_model import CostModel
from attribution.cost_plan import Counted
from attribution.costs import PROFILE_WORDS, Conversion
from attribution.ratio import Inputs, Report, ratio_report
from attribution.view import HOLDOUT, View
from attribution.windows import EPOCH
from schemas.outputs import in_files
from tests.published import Rows, at, frame

FX: dict[str, pl.DataType] = {"date": pl.Date(), "currency": pl.String(), "rate": pl.Decimal(38, 9)}
NO_RATES = Conversion(pl.DataFrame(schema=FX), "USD", fx_max_age_days=7)


@dataclass(frozen=True)
class FrameSlice:
    """Some inferences of one day, with all credits there are."""

    rows: pl.DataFrame
    ledger: pl.DataFrame
    attributed: pl.DataFrame

    def inferences(self) -> pl.DataFrame:
        return self.rows

    def credits(self) -> pl.DataFrame:
        return self.ledger

    def settled(self) -> pl.DataFrame:
        return self.attributed.filter("settled")


class FrameSource:
    """Tables in memory; slice_rows: inferences at a time."""

    def __init__(self, slice_rows: int = 1_000_000, **tables: Rows) -> None:
        self._slice_rows = slice_rows
        self.tables = {name: frame(name, tables.get(name, [])) for name in ("inferences", "credits", "unattributed")}
        self.tables["attributed"] = frame("attributed", tables.get("attributed", []))

    def counted(self, view: View) -> Counted:
        inferences = self.tables["inferences"].filter(view.holds("event_time"))
        is_holdout = (pl.col("arm") == HOLDOUT).fill_null(value=False).alias("is_holdout")
        profiles = inferences.select(PROFILE_WORDS).unique(maintain_order=True).with_row_index("profile")
        counts = inferences.join(profiles, on=PROFILE_WORDS, how="left", nulls_equal=True).group_by(
            pl.col("event_time").dt.date().alias("day"), "profile", is_holdout
        )
        return Counted(profiles, counts.agg(pl.len().cast(pl.Int64).alias("inferences")))

    def slices(self, day: date) -> Sequence[FrameSlice]:
        of_day = self.tables["inferences"].filter(pl.col("event_time").dt.date() == day).sort("event_time")
        # Inferences of one time are one slice's.
        cuts, rows = [0], of_day["event_time"].to_list()
        for number in range(1, len(rows)):
            if number - cuts[-1] >= self._slice_rows and rows[number] != rows[number - 1]:
                cuts.append(number)
        parts = [of_day[start:end] for start, end in zip(cuts, [*cuts[1:], len(rows)], strict=True)]
        return [FrameSlice(part, self.tables["credits"], self.tables["attributed"]) for part in parts]

    def would_be(self) -> pl.DataFrame:
        holdouts = self.tables["unattributed"].filter(pl.col("reason") == HOLDOUT)
        return holdouts.group_by("inference_id").agg(pl.col("value").to_physical().sum().alias("would_be_value"))

    def credited_amounts(self) -> Mapping[date, int]:
        day = pl.col("outcome_time").dt.date()
        return dict(self.tables["credits"].group_by(day).agg(pl.col("amount").to_physical().sum()).iter_rows())

    def unattributed(self) -> Iterable[tuple[date, pl.DataFrame]]:
        others = self.tables["unattributed"].filter(pl.col("reason") != HOLDOUT)
        day = pl.col("outcome_time").dt.date()
        return [(key[0], rows) for key, rows in sorted(others.group_by(day))]


def view_of(**more: object) -> View:
    """All of 2026 as of 2026-03-22, unless told otherwise."""
    asked = {"as_of": at(0, 22), "from_day": date(2026, 1, 1), "to_day": date(2027, 1, 1)}
    return View(**(asked | {"reversal_window": timedelta(days=60)} | more))  # type: ignore[arg-type]


def report_of(
    source: FrameSource,
    view: View,
    model: CostModel | None = None,
    bills: Sequence[BillSums] = (),
    conversion: Conversion = NO_RATES,
) -> Report:
    """The report of tables in memory."""
    return ratio_report(Inputs(model or CostModel(), bills, source.counted(view), conversion, source), view)


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def bill_of(
    *lines: Mapping[str, object],
    name: str = "bill",
    conversion: Conversion = NO_RATES,
    as_of: datetime = datetime(2026, 12, 31, tzinfo=UTC),
    complete_until: date | None = None,
) -> BillSums:
    """A bill of lines with cost (units of 10⁻¹²), start, end and rule; in US dollars unless told otherwise."""
    rows = [
        {
            "row": number,
            "cost_rest": 0,
            "billed_rest": 0,
            "currency": "USD",
            **line,
            "start_us": us(line["start"]),  # type: ignore[arg-type]
            "end_us": us(line["end"]),  # type: ignore[arg-type]
        }
        for number, line in enumerate(lines, start=1)
    ]
    sums = BillSums(name)
    frame_ = pl.DataFrame([{column: row.get(column) for column in LINES} for row in rows], schema=LINES)
    sums.add(frame_, conversion, Pending(us(as_of), complete_until))
    return sums


assert set(PROFILE_WORDS) <= set(in_files("inferences"))
