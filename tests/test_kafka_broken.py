"""What befalls the cluster while the engine runs: it heals by itself, or stops with one message; nothing is skipped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.admin import UserScramCredentialUpsertion
from kafka.errors import TopicAlreadyExistsError

from tests.broker import Broker, NamedBroker, admin, free_ports, missing
from tests.broker_security import MECHANISM, PASSWORD, USER
from tests.kafka_running import Shop

SHORT_TIMEOUT = "streams.kafka_client._REQUEST_TIMEOUT_MS=2000"
LONG = pytest.mark.soak
OFTEN = "streams.live.kafka_batches._DISCOVERY_SECONDS=0.5"


@pytest.fixture
def shop(broker_of_its_own: Broker, tmp_path: Path) -> Shop:
    return Shop(broker_of_its_own.bootstrap, tmp_path / "shop", partitions=2)


@pytest.fixture
def shared_shop(broker: Broker | NamedBroker, tmp_path: Path) -> Shop:
    """In the broker that nobody kills."""
    return Shop(broker.bootstrap, tmp_path / "shop")


@pytest.fixture
def secured_broker_of_its_own(tmp_path: Path) -> Iterator[Broker]:
    if reason := missing():
        pytest.skip(reason)
    with Broker(tmp_path / "broker", secured=True) as broker:
        yield broker


# --- it heals ---


def away(broker: Broker, end: Callable[[], None], seconds: float) -> None:
    end()
    time.sleep(seconds)
    broker.start()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "seconds"),
    [("kill", 0), pytest.param("stop", 0, marks=pytest.mark.soak), pytest.param("kill", 6, marks=pytest.mark.soak)],
)
def test_a_broker_that_comes_back_is_read_on(how: str, seconds: float, shop: Shop, broker_of_its_own: Broker) -> None:
    shop.sell(20)
    with shop.run(SHORT_TIMEOUT) as running:
        running.wait_until_credited()
        with shop.selling(40):
            away(broker_of_its_own, getattr(broker_of_its_own, how), seconds)
        shop.sell(20)
        running.wait_until_credited()
        running.stop()
    shop.check()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [[], [SHORT_TIMEOUT]], ids=["within the timeout", "longer"])
def test_a_broker_that_stands_still_is_read_on(settings: list[str], shop: Shop, broker_of_its_own: Broker) -> None:
    shop.sell(20)
    with shop.run(*settings) as running:
        running.wait_until_credited()
        with shop.selling(40), broker_of_its_own.standing_still():
            time.sleep(5)
        shop.sell(20)
        running.wait_until_credited()
        running.stop()
    shop.check()


@pytest.mark.slow
def test_it_can_be_told_to_stop_while_the_broker_is_away(shop: Shop, broker_of_its_own: Broker) -> None:
    shop.sell(20)
    with shop.run() as running:
        running.wait_until_credited()
        broker_of_its_own.kill()
        time.sleep(3)
        running.stop(seconds=8)
    shop.check()
    broker_of_its_own.start()
    with shop.run() as running:
        shop.sell(5)
        running.wait_until_credited()
        running.stop()
    shop.check()


def test_a_partition_that_is_added_is_found_within_seconds(shared_shop: Shop) -> None:
    shared_shop.sell(5)
    with shared_shop.run(OFTEN) as running:
        running.wait_until_credited()
        with admin(shared_shop.bootstrap) as client:
            client.create_partitions(dict.fromkeys(shared_shop.topics, 3))
        shared_shop.sell(5, partition=2)
        running.wait_until_credited(seconds=10)
        running.stop()
    shared_shop.check()


# --- it stops, and says why ---


def replace_topic(shop: Shop, topic: str) -> None:
    """Another topic of that name."""
    with admin(shop.bootstrap) as client:
        client.delete_topics([topic])
        until = time.monotonic() + 30
        while True:
            try:
                client.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                assert time.monotonic() < until
                time.sleep(0.05)
            else:
                return


def sell_elsewhere(shop: Shop, count: int, folder: Path) -> None:
    """What somebody else writes into topics of those names: other ids."""
    other = shop.copy(folder)
    other.sold = 1_000
    other.sell(count)


MADE_ANEW = (
    "{topic}/0: the topic was made anew: its offset {offset} is not the one this pipeline would read next. "
    "Hint: give the new topic another name, or begin a new state"
)


@pytest.mark.parametrize("sold_there", [0, 3, 12], ids=["empty", "shorter", "longer"])
@pytest.mark.parametrize("is_noticed_late", [False, True], ids=["while it reads", "while it stands still"])
def test_a_topic_that_is_made_anew_stops_it(
    sold_there: int, shared_shop: Shop, tmp_path: Path, *, is_noticed_late: bool
) -> None:
    shared_shop.sell(6)
    topic = shared_shop.topics[1]
    with shared_shop.run(OFTEN) as running:
        running.wait_until_credited()
        if is_noticed_late:
            with running.standing_still():
                replace_topic(shared_shop, topic)
                sell_elsewhere(shared_shop, sold_there, tmp_path / "other")
        else:
            replace_topic(shared_shop, topic)
            sell_elsewhere(shared_shop, sold_there, tmp_path / "other")
        assert running.error() == MADE_ANEW.format(topic=topic, offset=6)
    outcomes = shared_shop.published("outcomes")
    assert sorted(outcomes["event_id"]) == [f"o{number}" for number in range(6)]


def test_a_topic_made_anew_between_two_runs_stops_the_second(shared_shop: Shop, tmp_path: Path) -> None:
    shared_shop.sell(6)
    with shared_shop.run() as running:
        running.wait_until_credited()
        running.stop()
    topic = shared_shop.topics[1]
    replace_topic(shared_shop, topic)
    sell_elsewhere(shared_shop, 12, tmp_path / "other")
    with shared_shop.run() as running:
        assert running.error() == MADE_ANEW.format(topic=topic, offset=6)
    shared_shop.check()


def test_a_topic_that_is_deleted_stops_it_and_is_not_made_again(shared_shop: Shop) -> None:
    shared_shop.sell(6)
    topic = shared_shop.topics[1]
    with shared_shop.run(OFTEN, "streams.live.kafka_identity._GONE_SECONDS=2") as running:
        running.wait_until_credited()
        with admin(shared_shop.bootstrap) as client:
            client.delete_topics([topic])
        assert running.error() == (
            f"{topic}/0: the topic was deleted; this pipeline would read its offset 6 next. "
            "Hint: begin a new state, without it or with another topic"
        )
    shared_shop.check()
    with admin(shared_shop.bootstrap) as client:
        assert topic not in client.list_topics()


def test_records_that_retention_takes_before_they_were_read_stop_it(shared_shop: Shop) -> None:
    shared_shop.sell(6)
    topic = shared_shop.topics[1]
    with shared_shop.run() as running:
        running.wait_until_credited()
        with running.standing_still():
            shared_shop.sell(10)
            with admin(shared_shop.bootstrap) as client:
                client.delete_records({TopicPartition(topic, 0): 12})
        assert running.error() == (
            f"{topic}/0: offset 6 is gone, the broker's first is 12. "
            "Hint: its retention is shorter than this pipeline was behind; begin a new state from what it holds"
        )
    outcomes = shared_shop.published("outcomes")
    assert sorted(outcomes["event_id"]) == [f"o{number}" for number in range(6)]


@pytest.mark.slow
@pytest.mark.parametrize("sold_after", [0, 30], ids=["shorter", "longer again"])
def test_records_that_the_broker_lost_after_they_were_read_stop_it(
    sold_after: int, shop: Shop, broker_of_its_own: Broker
) -> None:
    """As after an unclean election of a leader. What was written since must not pass for what was read."""
    shop.sell(20, partition=0)
    place = f"{shop.topics[1]}-0"
    with shop.run() as running:
        running.wait_until_credited()
        with running.standing_still():
            broker_of_its_own.kill()
            [segment] = (broker_of_its_own.folder / "records" / place).glob("*.log")
            os.truncate(segment, segment.stat().st_size // 2)
            broker_of_its_own.start()
            shop.copy(shop.folder.parent / "other").sell(sold_after, partition=0)
        message = running.error()
    assert message.startswith(f"{shop.topics[1]}/0: "), message
    assert message.endswith("Hint: begin a new state from what it holds")
    lost = "records before offset 20, which were read, are lost there"
    assert (lost if sold_after else "offset 20 is not there, the broker's end is ") in message
    shop.check()


@pytest.mark.slow
def test_a_login_that_is_refused_when_the_broker_comes_back_stops_it(
    secured_broker_of_its_own: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = secured_broker_of_its_own
    monkeypatch.setenv("KAFKA_USERNAME", USER)
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    shop = Shop(broker.bootstrap, tmp_path / "shop")
    shop.secure(broker.sasl_bootstrap, f'ca_file = "{broker.ca_file}"\n')
    shop.sell(5)
    with shop.run() as running:
        running.wait_until_credited()
        with admin(broker.bootstrap) as client:
            client.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, MECHANISM, "another")])
        broker.restart()
        assert running.error() == f"{broker.sasl_bootstrap}: authentication refused. Hint: see [input.security]"
    shop.check()


def test_a_topic_that_was_never_there_is_named(shared_shop: Shop) -> None:
    text = shared_shop.pipeline.read_text().replace(shared_shop.topics[1], "no-such-topic")
    shared_shop.pipeline.write_text(text)
    with shared_shop.run() as running:
        assert running.error() == f"{shared_shop.bootstrap}: no topic no-such-topic"


def test_an_address_nobody_answers_at_is_named(shared_shop: Shop) -> None:
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    shared_shop.pipeline.write_text(shared_shop.pipeline.read_text().replace(shared_shop.bootstrap, address))
    with shared_shop.run("streams.kafka_client._PATIENCE_MS=1000") as running:
        assert running.error().startswith(f"{address}: no broker answers there. Hint: is the address right")
