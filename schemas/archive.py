"""The archive: every record read, as it came. One table per topic: ``<topic>/date=YYYY-MM-DD/*.parquet``."""

from __future__ import annotations

import polars as pl

from schemas.events import TIME

#: Names of headers are text, what they stand for is any bytes or none.
HEADERS = pl.List(pl.Struct({"key": pl.String(), "value": pl.Binary()}))

#: ``date`` is that of the commit. file, offset: of files, the name and the record's number in it; of Kafka, empty and
#: the offset. record_time: Kafka's; of a file, when it was read. value: null for a tombstone. commit_id: rises by one
#: with each commit, also where a new state goes on with the archive of an older one.
ARCHIVE: dict[str, pl.DataType] = {
    "topic": pl.String(),
    "partition": pl.Int32(),
    "offset": pl.Int64(),
    "file": pl.String(),
    "record_time": TIME,
    "key": pl.Binary(),
    "value": pl.Binary(),
    "headers": HEADERS,
    "commit_id": pl.Int64(),
}
