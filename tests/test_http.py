"""Health and metrics as a probe and a scraper on this machine find them."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import UnavailableError
from streams.live.http import Health, Metrics, Server, serve

NAMES = {
    "attribution_records_read": "counter",
    "attribution_records": "counter",
    "attribution_dead_letters": "counter",
    "attribution_watermark_timestamp_seconds": "gauge",
    "attribution_partition_event_time_timestamp_seconds": "gauge",
    "attribution_partition_idle": "gauge",
    "attribution_event_time_step_seconds": "gauge",
    "attribution_open_inferences": "gauge",
    "attribution_kept_outcomes": "gauge",
    "attribution_waiting_outcomes": "gauge",
    "attribution_state_bytes": "gauge",
    "attribution_disk_free_bytes": "gauge",
    "attribution_partition_lag_records": "gauge",
    "attribution_waiting_rows": "gauge",
    "attribution_commit_duration_seconds": "histogram",
    "attribution_last_commit_timestamp_seconds": "gauge",
    "attribution_commits": "counter",
    "attribution_rolls": "counter",
    "attribution_rates_refused": "counter",
    "attribution_attributed_value": "gauge",
    "attribution_credited_amount": "gauge",
    "attribution_unattributed_amount": "gauge",
}


@dataclass
class Engine:
    """What a loop holds, with a clock that is moved by hand; server: what the probes see."""

    clock_s: float = 1_000.0
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.health = Health(now=lambda: self.clock_s)
        self.server: Server = serve(0, self.metrics, self.health)


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: bytes
    allow: str | None = None

    @property
    def json(self) -> dict[str, Any]:
        assert self.content_type == "application/json"
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    with made.server:
        yield made


def ask(server: Server, path: str, method: str = "GET", host: str = "127.0.0.1") -> Answer:
    request = Request(f"http://{host}:{server.port}{path}", method=method)
    try:
        with urlopen(request, timeout=5) as response:
            return Answer(response.status, response.headers["Content-Type"], response.read())
    except HTTPError as error:
        with error:
            return Answer(error.code, error.headers["Content-Type"], error.read(), error.headers["Allow"])


def samples(server: Server) -> dict[tuple[str, ...], float]:
    """Value by name and label values, these in order of label name."""
    answer = ask(server, "/metrics")
    assert answer.status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


# --- health ---


def test_an_engine_is_healthy_while_its_last_beat_is_younger_than_a_minute(engine: Engine) -> None:
    engine.clock_s += 500
    engine.health.beat()
    for age_s, status in ((0.0, 200), (59.999, 200), (60.0, 503), (60.001, 503), (1e6, 503)):
        engine.clock_s = 1_500 + age_s
        assert ask(engine.server, "/healthz").status == status, age_s
    engine.health.beat()
    assert ask(engine.server, "/healthz").json == {"status": "ok", "last_beat_age_seconds": 0.0}


def test_an_unhealthy_engine_says_why(engine: Engine) -> None:
    engine.clock_s += 75.25
    reason = "the loop last turned 75.2 s ago, expected less than 60 s"
    assert ask(engine.server, "/healthz").json == {"status": "unavailable", "reason": reason}


def test_starting_counts_as_a_beat(engine: Engine) -> None:
    engine.clock_s += 59
    assert ask(engine.server, "/healthz").status == 200


def test_an_engine_is_ready_once_it_says_so_and_only_while_it_is_healthy(engine: Engine) -> None:
    before = ask(engine.server, "/readyz")
    assert (before.status, before.json["reason"]) == (503, "state is not loaded or topics are not assigned yet")
    engine.health.ready()
    assert ask(engine.server, "/readyz").status == 200
    engine.clock_s += 60
    assert ask(engine.server, "/readyz").json == ask(engine.server, "/healthz").json
    assert ask(engine.server, "/readyz").status == 503
    engine.health.beat()
    assert ask(engine.server, "/readyz").json["status"] == "ok"


def test_a_limit_can_be_given() -> None:
    now_s = 0.0
    health = Health(limit_s=2, now=lambda: now_s)
    now_s = 1.999
    assert health.healthz()[0] == 200
    now_s = 2.0
    assert health.healthz()[0] == 503


# --- metrics ---


def test_every_metric_is_there_from_the_start_with_its_type_and_a_text(engine: Engine) -> None:
    answer = ask(engine.server, "/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    ours = {name: family for name, family in families.items() if name.startswith("attribution_")}
    assert {name: family.type for name, family in ours.items()} == NAMES
    assert all(family.documentation for family in ours.values())
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info"} <= set(families)


def test_what_the_loop_counts_is_what_a_scraper_reads(engine: Engine) -> None:
    metrics = engine.metrics
    metrics.records_read.labels("conversions", 3).inc(5)
    metrics.records.labels("conversions", 3, "accepted").inc(4)
    metrics.records.labels("conversions", 3, "dead_letter").inc()
    metrics.dead_letters.labels("conversions", "not_utf8").inc()
    metrics.watermark.set(1_774_137_600.25)
    metrics.partition_idle.labels("conversions", 3).set(1)
    metrics.commit_duration.observe(0.25)
    metrics.commits.inc()
    metrics.attributed_value.labels("reco", "USD").inc(12.5)
    metrics.attributed_value.labels("reco", "USD").dec(20)
    found = samples(engine.server)
    assert found["attribution_records_read_total", "3", "conversions"] == 5
    assert found["attribution_records_total", "3", "accepted", "conversions"] == 4
    assert found["attribution_records_total", "3", "dead_letter", "conversions"] == 1
    assert found["attribution_dead_letters_total", "not_utf8", "conversions"] == 1
    assert found["attribution_watermark_timestamp_seconds",] == 1_774_137_600.25
    assert found["attribution_partition_idle", "3", "conversions"] == 1
    assert found["attribution_commit_duration_seconds_bucket", "0.25"] == 1
    assert found["attribution_commit_duration_seconds_bucket", "0.1"] == 0
    assert found["attribution_commit_duration_seconds_count",] == 1
    assert found["attribution_commits_total",] == 1
    assert found["attribution_attributed_value", "USD", "reco"] == -7.5


def test_what_has_not_happened_yet_has_no_time(engine: Engine) -> None:
    found = samples(engine.server)
    assert math.isnan(found["attribution_watermark_timestamp_seconds",])
    assert math.isnan(found["attribution_last_commit_timestamp_seconds",])
    assert found["attribution_commits_total",] == 0


def test_there_is_one_series_per_counter(engine: Engine) -> None:
    engine.metrics.commits.inc()
    assert not [name for name, *_ in samples(engine.server) if name.endswith("_created")]


def test_a_topic_with_odd_signs_in_its_name_is_still_read_back(engine: Engine) -> None:
    topic = 'a"b\\c\nü'
    engine.metrics.records_read.labels(topic, 0).inc()
    assert samples(engine.server)["attribution_records_read_total", "0", topic] == 1


def test_two_engines_in_one_process_do_not_add_up(engine: Engine) -> None:
    with serve(0, Metrics(), Health()) as other:
        engine.metrics.commits.inc()
        assert samples(other)["attribution_commits_total",] == 0
        assert other.port != engine.server.port


# --- HTTP ---


def test_a_query_is_ignored(engine: Engine) -> None:
    assert ask(engine.server, "/healthz?verbose=1").status == 200


@pytest.mark.parametrize("path", ["/", "/health", "/healthz/", "/metrics/x", "/../metrics", "/%6Detrics"])
def test_another_path_is_not_found(path: str, engine: Engine) -> None:
    answer = ask(engine.server, path)
    assert answer.status == 404
    assert answer.json == {"status": "not found", "reason": "expected /healthz, /readyz or /metrics"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/metrics", "/nothing"])
def test_another_method_is_not_allowed(method: str, path: str, engine: Engine) -> None:
    answer = ask(engine.server, path, method)
    assert (answer.status, answer.allow) == (405, "GET, HEAD")
    assert answer.json == {"status": "method not allowed", "reason": "expected GET or HEAD"}


@pytest.mark.parametrize(("path", "status"), [("/metrics", 200), ("/healthz", 200), ("/readyz", 503), ("/x", 404)])
def test_head_is_get_without_a_body(path: str, status: int, engine: Engine) -> None:
    answer = ask(engine.server, path, "HEAD")
    assert (answer.status, answer.body) == (status, b"")
    assert answer.content_type == ask(engine.server, path).content_type


def test_what_is_no_http_is_refused_and_the_next_request_is_answered(engine: Engine) -> None:
    with socket.create_connection(("127.0.0.1", engine.server.port), timeout=5) as client:
        client.sendall(b"GET /metrics HTTP/one.two\r\n\r\n")
        with client.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert json.loads(body) == {"status": "bad request", "reason": "Bad request version ('HTTP/one.two')"}
    assert ask(engine.server, "/healthz").status == 200


def test_requests_write_no_lines(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    ask(engine.server, "/metrics")
    ask(engine.server, "/nothing")
    ask(engine.server, "/metrics", "POST")
    assert capfd.readouterr() == ("", "")


def test_a_client_that_says_nothing_holds_up_no_other(engine: Engine) -> None:
    with socket.create_connection(("127.0.0.1", engine.server.port), timeout=5):
        assert ask(engine.server, "/healthz").status == 200


# --- listening ---


def test_nothing_is_served_on_other_addresses(engine: Engine) -> None:
    for host in ("127.0.0.2", "::1", socket.gethostname()):
        try:
            addresses = socket.getaddrinfo(host, engine.server.port, type=socket.SOCK_STREAM)
        except socket.gaierror:  # a machine whose own name has no address
            continue
        for family, kind, protocol, _, address in addresses:
            if address[0] == "127.0.0.1":
                continue
            with socket.socket(family, kind, protocol) as client:
                client.settimeout(5)
                with pytest.raises(OSError):  # noqa: PT011 - refused, or no such address here
                    client.connect(address)


def test_a_port_in_use_is_unavailable_with_the_address_and_a_hint(engine: Engine) -> None:
    port = engine.server.port
    with pytest.raises(UnavailableError) as caught:
        serve(port, Metrics(), Health())
    assert str(caught.value) == (
        f"127.0.0.1:{port}: cannot be listened on: the port is in use. "
        "Hint: is another engine running? Otherwise set another port in [http] listen"
    )


def test_closing_is_done_at_once_even_with_a_client_connected() -> None:
    server = serve(0, Metrics(), Health())
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 2
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    with pytest.raises(ConnectionRefusedError):
        connection.request("GET", "/healthz")
    server.close()


def test_a_port_is_free_again_after_closing() -> None:
    with serve(0, Metrics(), Health()) as first:
        port = first.port
        ask(first, "/healthz")
    with serve(port, Metrics(), Health()) as second:
        assert ask(second, "/healthz").status == 200
