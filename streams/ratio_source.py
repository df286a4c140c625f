"""Published tables as the ratio reads them: a day at a time, a day of many inferences in slices of time.

Tables lie in a folder per day. What a file holds is told by the statistics in its footer, read once: which files have
rows of commits up to the report's, and of which times. A day's files are read for that day only; credits, which lie
under the day of their outcome, are looked for by the time of their inference.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.cost_plan import Counted
from attribution.costs import PROFILE_WORDS
from attribution.view import ATTRIBUTE_PREFIX, HOLDOUT, KEYS, ONE_DAY
from schemas.errors import UnavailableError
from schemas.reasons import Unattributed
from streams.digests import sha256_of
from streams.published import table_files

#: A slice has at most about so many inferences; each of them takes some hundred bytes while costs are worked out.
SLICE_ROWS = 250_000
TABLES = ("inferences", "credits", "unattributed", "attributed")
#: The column by whose times a table's files are chosen.
_TIME_COLUMN = {
    "inferences": "event_time",
    "credits": "inference_time",
    "unattributed": "outcome_time",
    "attributed": "event_time",
}
#: What a report needs of an inference: nothing else is read from its files.
_INFERENCE_COLUMNS = (
    *("inference_id", "event_time", "status", *KEYS),
    *("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "compute_ms"),
    *("service_tier", "cache_hit", "cost", "cost_currency"),
)
_CREDIT_COLUMNS = ("outcome_id", "inference_id", "kind", "via", "outcome_time", "value", "sign")


@dataclass(frozen=True)
class _File:
    """day: of its folder; rows: at most so many; first, last: of its column of time, None where it has none."""

    path: Path
    day: date
    rows: int
    first: datetime | None
    last: datetime | None

    def may_hold(self, start: datetime, end: datetime) -> bool:
        return self.first is None or self.last is None or (self.first < end and self.last >= start)


class TableSource:
    """Rows of commits up to one, of the tables of TABLES in a folder.

    attributes: whether groups are by attributes; slice_rows: SLICE_ROWS where not given. Raises UnavailableError where
    a table or a file is missing or broken.
    """

    def __init__(self, out: Path, commit_id: int, *, attributes: bool, slice_rows: int | None = None) -> None:
        self._out = out
        self._commit_id = commit_id
        self._slice_rows = SLICE_ROWS if slice_rows is None else slice_rows
        self._columns = (*_INFERENCE_COLUMNS, *(("attributes",) if attributes else ()))
        self._files = {table: _used_files(out, table, commit_id) for table in TABLES}

    # Counting

    def first_day(self) -> date | None:
        """The first day with an inference."""
        return min((file.day for file in self._files["inferences"]), default=None)

    def counted(self, from_day: date, to_day: date) -> Counted:
        """How many inferences of what the days from one to before another have."""
        days = sorted({file.day for file in self._files["inferences"] if from_day <= file.day < to_day})
        words: dict[str, pl.DataType] = dict.fromkeys(PROFILE_WORDS, pl.String())
        schema = {"day": pl.Date(), **words, "is_holdout": pl.Boolean(), "inferences": pl.Int64()}
        counts = pl.concat([pl.DataFrame(schema=schema), *(self._counts(day).select(list(schema)) for day in days)])
        profiles = counts.select(PROFILE_WORDS).unique(maintain_order=True).with_row_index("profile")
        by_day = counts.join(profiles, on=PROFILE_WORDS, how="left", nulls_equal=True, maintain_order="left")
        return Counted(profiles, by_day.select("day", "profile", "is_holdout", "inferences"))

    def _counts(self, day: date) -> pl.DataFrame:
        is_holdout = (pl.col("arm") == HOLDOUT).fill_null(value=False).alias("is_holdout")
        time_ = pl.col("event_time")
        counts = (
            self._scan("inferences", self._of_day("inferences", day))
            .group_by(*(pl.col(word).cast(pl.String) for word in PROFILE_WORDS), is_holdout)
            .agg(pl.len().cast(pl.Int64).alias("inferences"), time_.min().alias("first"), time_.max().alias("last"))
            .collect(engine="streaming")
        )
        start, end = _bounds(day)
        if counts.filter((pl.col("first") < start) | (pl.col("last") >= end)).height:
            folder = self._of_day("inferences", day)[0].path.parent
            raise UnavailableError(f"{folder}: expected inferences of that day alone, got others")
        return counts.with_columns(pl.lit(day).alias("day"))

    def settled_requests(self) -> dict[str, dict[date, int]]:
        """How many requests are settled, per use case and day."""
        is_request = (pl.col("arm") != HOLDOUT).fill_null(value=True)
        rows = self._scan("attributed", self._files["attributed"]).filter(pl.col("settled") & is_request)
        counts = rows.group_by("use_case", pl.col("event_time").dt.date().alias("day")).agg(
            pl.col("sign").cast(pl.Int64).sum()
        )
        found: dict[str, dict[date, int]] = {}
        for use_case, day, count in counts.collect(engine="streaming").iter_rows():
            found.setdefault(use_case, {})[day] = count
        return found

    # Slices

    def slices(self, day: date) -> Sequence[TableSlice]:
        """A day's inferences in order of time, a slice at a time."""
        start, end = _bounds(day)
        if sum(file.rows for file in self._of_day("inferences", day)) <= self._slice_rows:
            return [TableSlice(self, day, start, end)]
        bounds = [start, *self._cuts(day), end]
        return [TableSlice(self, day, *part) for part in itertools.pairwise(bounds)]

    def _cuts(self, day: date) -> list[datetime]:
        """The seconds at which a day of many inferences is cut."""
        second = pl.col("event_time").dt.truncate("1s").alias("second")
        files = self._of_day("inferences", day)
        counts = self._scan("inferences", files).group_by(second).len().sort("second").collect(engine="streaming")
        cuts, rows = [], 0
        for at, count in counts.iter_rows():  # at most one row a second
            if rows and rows + count > self._slice_rows:
                cuts.append(at)
                rows = 0
            rows += count
        return cuts

    def inferences_of(self, part: TableSlice) -> pl.DataFrame:
        rows = self._scan("inferences", part.chosen(self._of_day("inferences", part.day)))
        return rows.filter(part.holds("event_time")).select(self._columns).collect(engine="streaming")

    def credits_of(self, part: TableSlice) -> pl.DataFrame:
        rows = self._scan("credits", part.chosen(self._files["credits"])).filter(part.holds("inference_time"))
        return rows.select(_CREDIT_COLUMNS).collect(engine="streaming")

    def settled_of(self, part: TableSlice) -> pl.DataFrame:
        rows = self._scan("attributed", part.chosen(self._of_day("attributed", part.day)))
        settled = rows.filter(part.holds("event_time") & pl.col("settled"))
        return settled.select("inference_id", "attributed_value").collect(engine="streaming")

    # Ledgers by the day of the outcome

    def would_be(self) -> pl.DataFrame:
        """What holdout inferences would have earned, net, in units of 10⁻⁹."""
        is_holdout = pl.col("reason") == Unattributed.HOLDOUT.value
        value = pl.col("value").to_physical().sum().alias("would_be_value")
        rows = self._scan("unattributed", self._files["unattributed"]).filter(is_holdout)
        return rows.group_by("inference_id").agg(value).collect(engine="streaming")

    def credited_amounts(self) -> Mapping[date, int]:
        """Per day of the outcome what was credited of amounts, in units of 10⁻⁹."""
        day = pl.col("outcome_time").dt.date().alias("day")
        rows = self._scan("credits", self._files["credits"])
        return dict(
            rows.group_by(day).agg(pl.col("amount").to_physical().sum()).collect(engine="streaming").iter_rows()
        )

    def unattributed(self) -> Iterator[tuple[date, pl.DataFrame]]:
        """Rows but those of holdouts, a day at a time."""
        is_other = pl.col("reason") != Unattributed.HOLDOUT.value
        for day in sorted({file.day for file in self._files["unattributed"]}):
            rows = self._scan("unattributed", self._of_day("unattributed", day))
            yield day, rows.filter(is_other).collect(engine="streaming")

    # Files

    def digests(self) -> dict[str, str]:
        """Per table: SHA-256 over name and SHA-256 of each file that holds rows up to the commit.

        Files are never rewritten, so what is published later leaves the digests of an earlier commit as they are.
        """
        found = {}
        for table, files in self._files.items():
            digest = hashlib.sha256()
            for path in sorted(str(file.path) for file in files):
                name = Path(path).relative_to(self._out).as_posix()
                digest.update(f"{name} {sha256_of(Path(path))}\n".encode())
            found[table] = digest.hexdigest()
        return found

    def _of_day(self, table: str, day: date) -> list[_File]:
        return self._by_day[table].get(day, [])

    @cached_property
    def _by_day(self) -> dict[str, dict[date, list[_File]]]:
        by_day: dict[str, dict[date, list[_File]]] = {table: {} for table in TABLES}
        for table, files in self._files.items():
            for file in files:
                by_day[table].setdefault(file.day, []).append(file)
        return by_day

    def _scan(self, table: str, files: Sequence[_File]) -> pl.LazyFrame:
        """The files' rows up to the commit; without files, any file's schema without rows."""
        paths = [file.path for file in files] or table_files(self._out, table)[:1]
        # Named one by one, for a folder's own name may hold what a glob takes for a pattern.
        rows = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
        return rows.filter(pl.col("commit_id") <= self._commit_id) if files else rows.clear()


@dataclass(frozen=True)
class TableSlice:
    """Inferences of [start, end) on one day, and what they earned."""

    source: TableSource
    day: date
    start: datetime
    end: datetime

    def holds(self, column: str) -> pl.Expr:
        return (pl.col(column) >= self.start) & (pl.col(column) < self.end)

    def chosen(self, files: Sequence[_File]) -> list[_File]:
        """The files that may hold some of it: a live engine leaves over a thousand a day."""
        return [file for file in files if file.may_hold(self.start, self.end)]

    def inferences(self) -> pl.DataFrame:
        return self.source.inferences_of(self)

    def credits(self) -> pl.DataFrame:
        return self.source.credits_of(self)

    def settled(self) -> pl.DataFrame:
        return self.source.settled_of(self)


def by_attributes(by: Sequence[str]) -> bool:
    """Whether a group's keys are among the attributes, which are read only then."""
    return any(key.startswith(ATTRIBUTE_PREFIX) for key in by)


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime.combine(day, time(), UTC)
    return start, start + ONE_DAY


def _used_files(out: Path, table: str, commit_id: int) -> list[_File]:
    """A table's files with rows up to the commit, in order of name."""
    return [file for path in table_files(out, table) if (file := _file(path, table, commit_id)) is not None]


def _file(path: Path, table: str, commit_id: int) -> _File | None:
    """What the footer tells of a file; None where no row is of a commit up to this one."""
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise UnavailableError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    if metadata.num_rows == 0:
        return None
    commits = _statistics(metadata, "commit_id")
    if commits is None:
        commits = (
            pl.scan_parquet(path)
            .select(pl.col("commit_id").min(), pl.col("commit_id").max().alias("m"))
            .collect()
            .row(0)
        )
    if commits[0] > commit_id:
        return None
    try:
        day = date.fromisoformat(path.parent.name.removeprefix("date="))
    except ValueError:
        raise UnavailableError(f"{path.parent}: expected date=YYYY-MM-DD") from None
    times = _statistics(metadata, _TIME_COLUMN[table]) or (None, None)
    return _File(path, day, metadata.num_rows, *times)


def _statistics(metadata: Any, column: str) -> tuple[Any, Any] | None:
    """The smallest and the largest value of a column, where every row group says so."""
    names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    if column not in names:
        return None
    number = names.index(column)
    found = [metadata.row_group(group).column(number).statistics for group in range(metadata.num_row_groups)]
    if not all(statistics is not None and statistics.has_min_max for statistics in found):
        return None
    return min(statistics.min for statistics in found), max(statistics.max for statistics in found)
