# ruff: noqa: SLF001 - the client has no other door; tests/test_kafka_seam.py tells when one has moved
"""A poll of kafka-python gives columns in place of record objects, if its release is as ``kafka_columns`` expects it.

The fetcher makes a ``PartitionRecords`` of a partition's part of a response, asks it for at most so many records again
and again (``take``) until it is false, and extends a list by what it gets. With another class in its place a poll
gives, for each partition, a few ``Records`` instead of many objects.
"""

from __future__ import annotations

from typing import Any

from streams.wire_records import Records, join_records, records_of


def use_columns(consumer: Any) -> str:
    """Make a consumer's polls give ``Records``; returns why it cannot, or nothing. It reads on either way."""
    try:
        # What it imports of the client may have moved, too.
        from streams.kafka_columns import PartitionColumns, check_alike

        fetcher = consumer._fetcher
        plain = fetcher.PartitionRecords
        check_alike(plain)
    except Exception as error:  # noqa: BLE001 - whatever is not as expected: the client's own objects will do
        return f"{type(error).__name__}: {error}"
    fetcher.PartitionRecords = lambda *args, **options: PartitionColumns(plain(*args, **options), args[2])
    return ""


def free_the_line(consumer: Any) -> None:
    """Before each poll: make room for the records of a partition that was paused in the middle of them and is resumed.

    The client sets such records aside, and takes them up again only where it keeps none in line. But it keeps those
    that have been read to their end, too, so that a resumed partition might wait for ever.
    """
    fetcher = getattr(consumer, "_fetcher", None)
    in_line = getattr(fetcher, "_next_partition_records", None)
    if fetcher is not None and in_line is not None and not in_line:
        fetcher._next_partition_records = None


def columns_of(polled: list[Any]) -> Records:
    """What a poll gave for a partition, either way."""
    return join_records(polled) if isinstance(polled[0], Records) else records_of(polled)
