"""``attribution run`` on topics of a broker, in a process of its own, and what a reader must find of it in the end.

What is sold is plain: inference n and conversion n, which names it and is worth 1. So every conversion stands once in
``outcomes`` and has one credit of 1, or something was lost, skipped or counted twice.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import polars as pl
from kafka import KafkaProducer

from tests.broker import ROOT, new_topic
from tests.rule_texts import toml

_PATIENCE_SECONDS = 60.0
_START_S = 1_772_409_600  # 2026-03-02
_RULE = {
    "effective_from": "2026-01-01T00:00:00Z",
    "kind": '"conversion"',
    "type": '"*"',
    "lookback_window": '"7d"',
    "credit": '"last"',
}
#: Sets what the tests cannot wait for, MODULE.NAME=NUMBER each, then runs the command line.
_PROGRAM = """
import importlib, sys
for setting in sys.argv[2:]:
    (module, _, name), value = setting.partition("=")[0].rpartition("."), float(setting.partition("=")[2])
    assert hasattr(importlib.import_module(module), name), setting
    setattr(importlib.import_module(module), name, value)
from streams.cli import main
main(["run", sys.argv[1]])
"""


@dataclass
class Shop:
    """Two topics and the pipeline that reads them. sold: how many of each kind were produced and acknowledged."""

    bootstrap: str
    folder: Path
    partitions: int = 1
    sold: int = 0
    topics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        stems = ("inferences", "conversions")
        self.topics = self.topics or tuple(new_topic(self.bootstrap, stem, self.partitions) for stem in stems)
        (self.folder / "rules").mkdir(parents=True)
        (self.folder / "rules" / "reco.toml").write_text(toml(_RULE, use_case="reco"))
        self.pipeline.write_text(self._text())

    def copy(self, folder: Path) -> Shop:
        """Another pipeline on the same topics."""
        return replace(self, folder=folder)

    @property
    def pipeline(self) -> Path:
        return self.folder / "pipeline.toml"

    def _text(self) -> str:
        kinds = zip(self.topics, ("inference", "conversion"), strict=True)
        topics = "".join(f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"\n' for name, kind in kinds)
        return (
            f'base_currency = "USD"\nrules = "rules"\n[input]\nsource = "kafka"\n'
            f'bootstrap_servers = "{self.bootstrap}"\n{topics}[time]\nallowed_lateness = "1000d"\n'
            '[output]\npath = "out"\nroll_interval = "300ms"\n'
            '[state]\npath = "state"\ncommit_interval = "200ms"\n'
        )

    def secure(self, address: str, section: str) -> None:
        """Reach the broker in another way from now on."""
        text = self._text().replace(self.bootstrap, address)
        self.pipeline.write_text(text.replace("[time]", f"[input.security]\n{section}[time]"))

    def sell(self, count: int, *, partition: int | None = None, pause: float = 0) -> None:
        """So many more of each kind; returns when the broker has them, however long it is away."""
        numbers = range(self.sold, self.sold + count)
        options = {"acks": "all", "enable_idempotence": True, "reconnect_backoff_max_ms": 500}
        with KafkaProducer(bootstrap_servers=self.bootstrap, **options) as producer:
            sent = []
            for number in numbers:
                for topic, event in zip(self.topics, (_inference, _conversion), strict=True):
                    sent.append(producer.send(topic, event(number), partition=partition))
                time.sleep(pause)
            for each in sent:
                each.get(timeout=_PATIENCE_SECONDS)
        self.sold += count

    @contextmanager
    def selling(self, count: int) -> Iterator[None]:
        """So many more, one by one, while the block is at work; all of them are there when it ends."""
        seller = threading.Thread(target=self.sell, args=(count,), kwargs={"pause": 0.05})
        seller.start()
        time.sleep(1)  # until it has found the broker
        try:
            yield
        finally:
            seller.join()

    def run(self, *settings: str) -> Running:
        """settings: what the tests cannot wait for, ``MODULE.NAME=NUMBER``."""
        return Running(self, list(settings))

    def check(self) -> None:
        """Assert that readers find all that was sold, once."""
        ids = [f"o{number}" for number in range(self.sold)]
        outcomes, credits_ = self.published("outcomes"), self.published("credits")
        assert sorted(outcomes["event_id"], key=_number) == ids
        assert sorted(credits_["outcome_id"], key=_number) == ids
        assert credits_.select("inference_id", "value", "sign").unique("inference_id").height == self.sold
        assert set(credits_["value"]) == {1}
        assert self.published("inferences").height == self.sold
        counts = self.published("commits").select(pl.col("read", "accepted", "duplicates", "dead_letters").sum())
        assert counts.row(0) == (2 * self.sold, 2 * self.sold, 0, 0)

    def published(self, table: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "out" / table / "**" / "*.parquet", hive_partitioning=False)

    def credited(self) -> int:
        """How many conversions readers find credited now."""
        return self.published("credits").height if list(self.folder.glob("out/credits/*/*.parquet")) else 0


def _inference(number: int) -> bytes:
    event = {"inference_id": f"i{number}", "event_time": (_START_S + number) * 1_000, "use_case": "reco", "model": "m"}
    return json.dumps(event).encode()


def _conversion(number: int) -> bytes:
    money = {"amount": "1", "currency": "USD", "inference_id": f"i{number}"}
    event = {"event_id": f"o{number}", "event_time": (_START_S + number) * 1_000, "type": "sale", **money}
    return json.dumps(event).encode()


def _number(name: str) -> int:
    return int(name[1:])


class Running:
    """A run under way; it ends with the block."""

    def __init__(self, shop: Shop, settings: list[str]) -> None:
        self._shop = shop
        self.stderr = shop.folder / "stderr.txt"
        with self.stderr.open("wb") as stderr:
            command = [sys.executable, "-c", _PROGRAM, str(shop.pipeline), *settings]
            self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=stderr)

    def wait_until_credited(self, seconds: float = _PATIENCE_SECONDS) -> None:
        """Until readers find all that was sold."""
        self._wait(lambda: self._shop.credited() >= self._shop.sold, seconds)

    def _wait(self, is_so: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not is_so():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, f"{self._shop.credited()} of {self._shop.sold}: {self.said[-5:]}"
            time.sleep(0.1)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It does nothing, and asks the broker for nothing: what it had asked for is answered before the block."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self, seconds: float = 10.0) -> None:
        """SIGTERM: it commits and leaves, having said nothing but its journal."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(seconds) == 0, self.said
        assert [line for line in self.said if not line.startswith("{")] == []

    def error(self, seconds: float = _PATIENCE_SECONDS) -> str:
        """What it ends with by itself: exit code 3 and one message beside the journal."""
        assert self.process.wait(seconds) == 3, self.said
        [message] = [line for line in self.said if not line.startswith("{")]
        return message.removeprefix("error: ")

    @property
    def said(self) -> list[str]:
        return self.stderr.read_text().splitlines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
