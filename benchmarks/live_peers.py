"""Key-value stores beside the live engine: the reads and writes its state takes, and nothing else.

Per event: its id is looked up, then put with 86 bytes; ids that conversions name and outcomes that reversals take back
are looked up; as many ids as arrive are deleted. Nothing is parsed, matched, valued or published. Keys are ready as
bytes and in order before the clock starts; a batch is one transaction, forced to disk.

``python -m benchmarks.live_peers lmdb|rocksdb FOLDER --inferences N --outcomes N --batch N --commits N`` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attribution.content import mixed_numbers
from benchmarks.live_load import Load, Numbers, ids, named_by
from benchmarks.live_run import memory

VALUE_BYTES = 86
_PORTION = 500_000
_POOL = np.random.default_rng(5).bytes(1 << 20)


@dataclass(frozen=True)
class Turn:
    """Keys of one batch, in ascending order."""

    arriving: list[bytes]
    named: list[bytes]
    expired: list[bytes]


def value(number: int) -> bytes:
    """86 bytes that do not compress."""
    start = number * 61 % (len(_POOL) - VALUE_BYTES)
    return _POOL[start : start + VALUE_BYTES]


def _keys(*texts: pl.Series) -> list[bytes]:
    ordered: list[bytes] = pl.concat([text.alias("id") for text in texts]).sort().cast(pl.Binary).to_list()
    return ordered


def full_state(load: Load) -> Iterator[list[bytes]]:
    """Every key of the state, in ascending order, in portions."""
    for prefix, first, count in (("inf", load.inferences, load.inferences), ("out", 0, load.outcomes)):
        mixed = np.sort(mixed_numbers(np.arange(first, first + count)))
        for start in range(0, count, _PORTION):
            text = pl.Series("n", mixed[start : start + _PORTION]).cast(pl.String).str.zfill(20)
            yield _keys(pl.Series([f"{prefix}-"]) + text)


def turn(load: Load, number: int, events: int) -> Turn:
    """What one batch asks for; the shares are those of the log."""
    rng = np.random.default_rng([9, number])
    outcomes, reversals = round(events * 0.18), round(events * 0.02)
    count = events - outcomes - reversals
    arrived = 2 * load.inferences + number * count + np.arange(count)
    outcome = load.outcomes + number * outcomes + np.arange(outcomes)
    times_us: Numbers = np.full(outcomes, int(load.time_us(arrived[:1])[0]))
    named = np.unique(named_by(load, times_us, rng).inference)
    back = 1 + (rng.random(reversals) * load.outcomes * 0.87).astype(np.int64)
    reversal = number * reversals + np.arange(reversals)
    return Turn(
        _keys(ids("inf", arrived), ids("out", outcome), ids("rev", reversal)),
        _keys(ids("inf", named), ids("out", np.unique(outcome[0] - back))),
        _keys(ids("inf", arrived - load.inferences), ids("out", outcome - load.outcomes)),
    )


def lmdb_store(folder: Path, load: Load) -> Callable[[Turn], int]:
    import lmdb

    size = (load.inferences + load.outcomes) * 400 + (1 << 30)
    store = lmdb.open(str(folder), map_size=size, readahead=False, sync=False)
    for keys in full_state(load):
        with store.begin(write=True) as transaction:
            transaction.cursor().putmulti([(key, value(n)) for n, key in enumerate(keys)], append=True)
    store.sync(True)
    store.close()
    store = lmdb.open(str(folder), map_size=size, readahead=False)

    def take(asked: Turn) -> int:
        with store.begin(write=True) as transaction:
            cursor = transaction.cursor()
            found = len(cursor.getmulti(asked.arriving)) + len(cursor.getmulti(asked.named))
            cursor.putmulti([(key, value(n)) for n, key in enumerate(asked.arriving)])
            for key in asked.expired:
                transaction.delete(key)
        return found

    return take


def rocksdb_store(folder: Path, load: Load) -> Callable[[Turn], int]:
    from rocksdict import BlockBasedOptions, Cache, Options, Rdict, SstFileWriter, WriteBatch, WriteOptions

    options = Options(raw_mode=True)
    blocks = BlockBasedOptions()
    blocks.set_bloom_filter(10, False)
    blocks.set_block_cache(Cache(512 << 20))
    options.set_block_based_table_factory(blocks)
    options.increase_parallelism(2)
    store = Rdict(str(folder), options)
    for number, keys in enumerate(full_state(load)):
        writer = SstFileWriter(options=options)
        writer.open(str(folder / f"load-{number}.sst"))
        for n, key in enumerate(keys):
            writer[key] = value(n)
        writer.finish()
        store.ingest_external_file([str(folder / f"load-{number}.sst")])
    look_up: Callable[[Any], Any] = store.__getitem__  # a list of keys is looked up at once
    durable = WriteOptions()
    durable.sync = True

    def take(asked: Turn) -> int:
        found = sum(kept is not None for keys in (asked.arriving, asked.named) for kept in look_up(keys))
        batch = WriteBatch(raw_mode=True)
        for n, key in enumerate(asked.arriving):
            batch[key] = value(n)
        for key in asked.expired:
            batch.delete(key)
        store.write(batch, durable)
        return found

    return take


_STORES = {"lmdb": lmdb_store, "rocksdb": rocksdb_store}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.live_peers")
    parser.add_argument("store", choices=_STORES)
    parser.add_argument("folder", type=Path)
    for name in ("inferences", "outcomes", "batch", "commits"):
        parser.add_argument(f"--{name}", type=int, required=True)
    chosen = parser.parse_args()
    load = Load(chosen.inferences, chosen.outcomes)
    chosen.folder.mkdir()
    began = time.perf_counter()
    take = _STORES[chosen.store](chosen.folder, load)
    loaded = time.perf_counter() - began
    seconds = []
    for number in range(chosen.commits):
        asked = turn(load, number, chosen.batch)
        began = time.perf_counter()
        found = take(asked)
        seconds.append(time.perf_counter() - began)
        # What is named was open or kept at the start; a small state forgets some of it within the run.
        assert number or found == len(asked.named), f"{found:,} of {len(asked.named):,} keys found"
    size = sum(file.stat().st_blocks * 512 for file in chosen.folder.iterdir())
    print(json.dumps({"load_seconds": loaded, "seconds": seconds, "bytes": size, "memory": memory()}))


if __name__ == "__main__":
    main()
