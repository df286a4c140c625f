"""``kill -9`` of the consumer and of the broker at random moments of one load: nothing is lost, nothing counts twice.

Events arrive while it happens, some of them late; windows are hours and pass, so inferences settle and are forgotten
meanwhile. ``ATTRIBUTION_KILLS`` says how many kills there are in the long form (200). The judge is the audit, from the
topics and from the archive: a difference that is not a record's lateness fails it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from kafka import KafkaProducer

from streams.cli import main
from streams.decode import Limits
from streams.kafka_log import fetch
from streams.settings import KafkaInput, load_settings
from tests.broker import ROOT, Broker, new_topic
from tests.case_files import to_json_events, write_case
from tests.cases import EVENT_LISTS, TOPICS, Case
from tests.kafka_pipeline import key_of, to_kafka
from tests.live_cases import LiveLog, random_log

KILLS = int(os.environ.get("ATTRIBUTION_KILLS", "200"))
PARTITIONS = 3
#: One kill in so many is the broker's.
BROKER_EVERY = 8
#: A new log, in new topics, after so many.
KILLS_PER_LOG = 25
SECONDS_PER_KILL = 2.0
LIMITS = Limits(1 << 20, 2**60, 0)


@pytest.mark.parametrize("kills", [4, pytest.param(KILLS, marks=pytest.mark.soak)])
def test_killed_at_random_it_loses_nothing_and_counts_nothing_twice(
    kills: int, broker_of_its_own: Broker, tmp_path: Path
) -> None:
    rng = Random(3)
    counted: Counter[str] = Counter()
    broker_of_its_own.start()
    for number, seed in enumerate(seed for seed in range(100, 200) if random_log(seed, size=24).rules):
        left = kills - counted.total()
        if left <= 0:
            break
        load = Load(random_log(seed, size=60, late=0.06), broker_of_its_own, tmp_path / f"{number}")
        counted += load.survive(min(left, KILLS_PER_LOG), rng)
        load.check()
    print(f"\n{dict(counted)} kills")
    assert counted.total() == kills
    assert counted["broker"] > 0


@dataclass
class Load:
    """The events of a log on their way into topics, and the pipeline that reads them."""

    log: LiveLog
    broker: Broker
    folder: Path
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        nothing: dict[str, Any] = {name: [] for name in EVENT_LISTS}
        case = Case(**nothing, rules=self.log.rules, fx=self.log.fx, settings=self.log.settings)
        self.topics = {topic: new_topic(self.broker.bootstrap, topic, PARTITIONS) for topic in TOPICS}
        self.pipeline = to_kafka(write_case(case, self.folder), self.topics, self.broker.bootstrap)
        text = self.pipeline.read_text()
        text = text.replace("[output]\n", '[output]\nroll_interval = "300ms"\n')
        text = text.replace("[state]\n", '[state]\ncommit_interval = "100ms"\n')
        self.pipeline.write_text(text.replace("[time]\n", '[time]\nidle_after = "1s"\n'))

    def survive(self, kills: int, rng: Random) -> Counter[str]:
        """Read while events arrive, killed so often; then read to the end."""
        producing = threading.Thread(target=self._produce, args=(kills * SECONDS_PER_KILL,))
        producing.start()
        killed: Counter[str] = Counter()
        while killed.total() < kills:
            with self._consumer() as process:
                if killed.total() % BROKER_EVERY == BROKER_EVERY // 2 - 1:
                    self._wait_until_it_reads(process)
                    time.sleep(rng.random())
                    self.broker.kill()
                    killed["broker"] += 1
                    time.sleep(rng.random())
                    self.broker.start()
                elif rng.random() < 0.8:  # the others fall anywhere in a start
                    self._wait_until_it_reads(process)
                time.sleep(2 * rng.random())
                assert process.poll() is None, self._said()
                process.send_signal(signal.SIGKILL)
                killed["consumer"] += killed.total() < kills
                process.wait()
        producing.join()
        result = CliRunner().invoke(main, ["run", str(self.pipeline), "--until-end"])
        assert result.exit_code == 0, result.output
        return killed

    def _produce(self, seconds: float) -> None:
        """All events in their order of arrival, over so long; each of them is acknowledged, once."""
        nothing: dict[str, Any] = {name: [] for name in EVENT_LISTS}
        events = {
            topic: iter(to_json_events(Case(**nothing | {topic: of_topic}, rules=[], fx=[], settings={}))[topic])
            for topic in TOPICS
            for of_topic in [[read.event for read in self.log.stream if read.partition[0] == topic]]
        }
        pause = seconds / len(self.log.stream)
        options = {"acks": "all", "enable_idempotence": True, "reconnect_backoff_max_ms": 300}
        with KafkaProducer(bootstrap_servers=self.broker.bootstrap, **options) as producer:
            waiting = []
            for read in self.log.stream:
                topic = read.partition[0]
                event = next(events[topic])
                value = json.dumps(event).encode()
                waiting.append(producer.send(self.topics[topic], key=key_of(topic, event), value=value))
                self.sent.append((self.topics[topic], value))
                time.sleep(pause)
            for one in waiting:
                one.get(timeout=60)

    def _consumer(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "streams.cli", "run", str(self.pipeline)]
        with (self.folder / "stderr.txt").open("wb") as stderr:
            return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=stderr)

    def _wait_until_it_reads(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + 60
        while '"event":"start"' not in self._said():
            assert process.poll() is None, self._said()
            assert time.monotonic() < until, self._said()
            time.sleep(0.05)

    def _said(self) -> str:
        return (self.folder / "stderr.txt").read_text()[:5_000]

    def check(self) -> None:
        """Assert that every record was read once, and that nothing but lateness is to be explained."""
        settings = load_settings(self.pipeline)
        assert isinstance(settings.input, KafkaInput)
        fetch(settings.input, lambda: LIMITS, self.folder / "fetched")
        place = ["topic", "partition", "offset", "value"]
        archived, fetched = (
            pl.read_parquet(self.folder / name / "*" / "date=*" / "*.parquet", hive_partitioning=False).select(place)
            for name in ("archive", "fetched")
        )
        assert archived.sort(place[:3]).equals(fetched.sort(place[:3]))
        assert Counter(archived.select("topic", "value").iter_rows()) == Counter(self.sent)
        for log in ("kafka", str(self.folder / "archive")):
            words = ["audit", str(self.pipeline), "--log", log, "--against", str(self.folder / "out")]
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0, result.output
            assert "sums" in result.output
