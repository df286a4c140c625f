"""All live segments of one family: rows are added, found by key, taken as they expire, and forgotten whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import polars as pl

from streams.live.families import EXPIRY, Family
from streams.live.filters import Hashes, bits_of
from streams.live.profiles import Numbers
from streams.live.segments import Rows, Segment, SegmentFile, write_segment

#: Which of the hashes asked for a row belongs to.
ASKED = "asked"


class FamilyState:
    """The segments of one family in a state folder."""

    def __init__(
        self, folder: Path, family: Family, files: Iterable[SegmentFile] = (), *, to_be_asked: bool = True
    ) -> None:
        """to_be_asked: rows will be looked for, not only counted. Raises UnavailableError for a segment that is missing
        or, where it will be asked, damaged."""
        self.family = family
        self._folder = folder
        self._segments = [Segment(folder, file, family, verify=to_be_asked, with_filters=to_be_asked) for file in files]

    def files(self) -> list[SegmentFile]:
        """What a commit lists."""
        return [segment.file for segment in self._segments]

    def add(self, name: str, rows: pl.DataFrame) -> SegmentFile | None:
        """Write rows as a new segment, found from now on; None without rows."""
        if rows.height == 0:
            return None
        file = write_segment(self._folder, name, self.family, rows)
        self._segments.append(Segment(self._folder, file, self.family, verify=False))
        return file

    def replace(self, old: Iterable[SegmentFile], new: Iterable[Segment]) -> list[SegmentFile]:
        """Take up a merge; returns the segments it stands for that were still here."""
        names = {file.name for file in old}
        gone = [segment.file for segment in self._segments if segment.file.name in names]
        self._segments = [segment for segment in self._segments if segment.file.name not in names] + list(new)
        return gone

    def find(
        self,
        key: str,
        hashes: Hashes,
        columns: list[str],
        *,
        visible_from_us: int | None,
        after_look: Callable[[], None] = lambda: None,
    ) -> pl.DataFrame:
        """Every row with one of the hashes that is not expired, with ``asked``: its position in ``hashes``.

        hashes: in any order; whoever asks compares the ids. visible_from_us: rows with an earlier expiry are
        forgotten, though their segment still lies there; None: none is. after_look: called after each segment that
        had some.
        """
        order = np.argsort(hashes, kind="stable")
        ascending = hashes[order]
        bits = bits_of(ascending)
        found = [self._nothing(columns)]
        for segment in self._segments:
            if visible_from_us is not None and segment.file.max_expiry_us < visible_from_us:
                continue
            positions, rows = segment.find(key, ascending, bits)
            if visible_from_us is not None and segment.file.min_expiry_us < visible_from_us:
                is_visible = segment.expiries()[rows] >= visible_from_us
                positions, rows = positions[is_visible], rows[is_visible]
            if len(rows):
                asked = pl.Series(ASKED, order[positions], dtype=pl.UInt32)
                found.append(segment.take(rows, columns).insert_column(0, asked))
                after_look()
        return pl.concat(found)

    def expiring(self, from_us: int | None, to_us: int, columns: list[str]) -> pl.DataFrame:
        """The rows that the watermark passes when it moves from one moment to another: from ≤ expiry < to."""
        found = [self._nothing(columns).drop(ASKED)]
        for segment in self._segments:
            file = segment.file
            if file.min_expiry_us >= to_us or (from_us is not None and file.max_expiry_us < from_us):
                continue
            rows = self._between(segment, from_us, to_us)
            if len(rows):
                found.append(segment.take(rows, columns))
        return pl.concat(found)

    def where(
        self, column: str, values: Rows | Numbers, columns: list[str], *, visible_from_us: int | None
    ) -> pl.DataFrame:
        """The rows not expired whose number in one column is among these: a scan of every segment."""
        found = [self._nothing(columns).drop(ASKED)]
        for segment in self._segments:
            is_wanted = np.isin(segment.numbers(column), values)
            if visible_from_us is not None:
                is_wanted &= segment.expiries() >= visible_from_us
            rows = np.flatnonzero(is_wanted)
            if len(rows):
                found.append(segment.take(rows, columns))
        return pl.concat(found)

    def _between(self, segment: Segment, from_us: int | None, to_us: int) -> Rows:
        expiry = segment.expiries()
        if self.family.sort_by == EXPIRY:
            first = 0 if from_us is None else int(np.searchsorted(expiry, from_us, side="left"))
            return np.arange(first, int(np.searchsorted(expiry, to_us, side="left")))
        passed = expiry < to_us
        return np.flatnonzero(passed if from_us is None else passed & (expiry >= from_us))

    def count(self, watermark_us: int | None) -> int:
        """How many rows the watermark has not passed."""
        if watermark_us is None:
            return sum(segment.file.rows for segment in self._segments)
        return sum(
            segment.file.rows
            if segment.file.min_expiry_us >= watermark_us
            else int(np.count_nonzero(segment.expiries() >= watermark_us))
            for segment in self._segments
        )

    def forget(self, watermark_us: int) -> list[SegmentFile]:
        """Leave out the segments whose rows have all expired; returns them, to be deleted after the commit."""
        expired = [segment for segment in self._segments if segment.file.max_expiry_us < watermark_us]
        self._segments = [segment for segment in self._segments if segment.file.max_expiry_us >= watermark_us]
        return [segment.file for segment in expired]

    def forget_pages(self) -> None:
        """Give back the memory of mapped pages."""
        for segment in self._segments:
            segment.forget_pages()

    def _nothing(self, columns: list[str]) -> pl.DataFrame:
        schema: dict[str, pl.DataType] = {ASKED: pl.UInt32()} | {name: self.family.columns[name] for name in columns}
        return pl.DataFrame(schema=schema)
