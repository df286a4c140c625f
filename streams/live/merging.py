"""Small segments become few large ones, in the background, so that a look-up asks few.

A merge reads segments of the newest commit and writes new ones aside; a later commit takes them up in place of the
old. A crash forgets the merge: its files are in no commit. Rows are dealt out by their expiry into buckets, so
that a segment's rows expire at about the same time and it can be dropped whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from schemas.errors import UnavailableError
from streams.live.families import EXPIRY, FAMILIES, Family
from streams.live.segments import Segment, SegmentFile, sync, write_segment

#: So many segments of one bucket and size class are merged.
_FAN_IN = 4
#: And at most so many at once: each is an open file.
_FAN_IN_MAX = 64
#: A larger merge would need too much memory at once; a segment of half as many rows is large enough.
_ROWS_MAX = 1_000_000


@dataclass(frozen=True)
class Merged:
    """old: segments that ``new`` stand for."""

    family: str
    old: list[SegmentFile]
    new: list[Segment]


class Merger:
    """One merge at a time, in a thread of its own.

    bucket_us: by family, over how long a time a segment's rows may expire.
    """

    def __init__(self, folder: Path, writer: int, bucket_us: dict[str, int]) -> None:
        self._folder = folder
        self._writer = writer
        self._bucket_us = bucket_us
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="merger")
        self._running: Future[Merged] | None = None

    def finished(self) -> Merged | None:
        """The merge that is done, once; raises what stopped it."""
        if self._running is None or not self._running.done():
            return None
        merged = self._running.result()
        self._running = None
        return merged

    def start(self, files: dict[str, list[SegmentFile]], commit: int, watermark_us: int | None) -> None:
        """Begin the most useful merge of a commit's segments, unless one is running or not taken up yet."""
        if self._running is not None:
            return
        plans = [(name, group) for name, of in files.items() for group in groups(of, self._bucket_us[name])]
        if plans:
            # The longest first: none waits for ever, however many small ones there are.
            name, group = max(plans, key=lambda plan: len(plan[1]))
            self._running = self._pool.submit(self._merge, name, group, commit, watermark_us)

    def _merge(self, name: str, old: list[SegmentFile], commit: int, watermark_us: int | None) -> Merged:
        family, bucket_us = FAMILIES[name], self._bucket_us[name]
        rows = pl.concat([self._rows(file, family) for file in old])
        if watermark_us is not None and min(file.min_expiry_us for file in old) < watermark_us:
            rows = rows.filter(rows[EXPIRY] >= watermark_us)
        by_bucket = _dealt_out(rows, bucket_us)
        del rows
        new = []
        for bucket in list(by_bucket):
            stem = f"{commit:012d}-{self._writer:06d}-{name}-{bucket}.merged.arrow"
            file = write_segment(self._folder, stem, family, by_bucket.pop(bucket))
            sync(self._folder / stem)
            new.append(Segment(self._folder, file, family, verify=False))
        sync(self._folder)
        return Merged(name, old, new)

    def _rows(self, file: SegmentFile, family: Family) -> pl.DataFrame:
        """The rows of a segment; none where it has meanwhile expired as a whole and been deleted."""
        try:
            return Segment(self._folder, file, family, with_filters=False).whole()
        except UnavailableError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return pl.DataFrame(schema=family.columns)
            raise

    def close(self) -> None:
        """Waits for a merge that is running; one that no commit has taken up is deleted."""
        self._pool.shutdown(cancel_futures=True)
        if self._running is not None and not self._running.cancelled() and self._running.exception() is None:
            for segment in self._running.result().new:
                (self._folder / segment.file.name).unlink(missing_ok=True)


def _dealt_out(rows: pl.DataFrame, bucket_us: int) -> dict[int, pl.DataFrame]:
    """The rows of each bucket; of one bucket, as a rule, and then nothing is copied."""
    buckets = rows[EXPIRY].to_numpy() // bucket_us
    found = np.unique(buckets).tolist()
    if len(found) == 1:
        return {found[0]: rows}
    return {bucket: rows.filter(pl.Series(buckets == bucket)) for bucket in found}


def groups(files: Iterable[SegmentFile], bucket_us: int) -> list[list[SegmentFile]]:
    """What is worth merging: segments of one bucket (or of several) and about one size.

    A large one of several buckets is dealt out alone; a large one of one bucket is left as it is.
    """
    alike: dict[tuple[int | None, int], list[SegmentFile]] = defaultdict(list)
    found = []
    for file in files:
        first, last = file.min_expiry_us // bucket_us, file.max_expiry_us // bucket_us
        if file.rows <= _ROWS_MAX // 2:
            alike[first if first == last else None, file.rows.bit_length() // 2].append(file)
        elif first != last:
            found.append([file])
    for group in alike.values():
        if len(group) >= _FAN_IN:
            total = np.cumsum([file.rows for file in group])
            found.append(group[: min(int(np.searchsorted(total, _ROWS_MAX, side="right")), _FAN_IN_MAX)])
    return found
