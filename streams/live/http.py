"""Health and metrics of a running engine over HTTP, to this machine only.

``/healthz`` says whether the loop turns, ``/readyz`` whether it also works on events, ``/metrics`` what it has done,
in Prometheus' text format. A daemon thread answers: a loop that hangs is seen from outside, and a server never keeps
a process from leaving.
"""

from __future__ import annotations

import errno
import json
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from schemas.errors import UnavailableError

_HOST = "127.0.0.1"
_BEAT_LIMIT_S = 60.0
#: A client that says nothing for so long is sent away.
_CLIENT_TIMEOUT_S = 10
#: How long closing may take: the server looks this often whether it shall.
_POLL_S = 0.1
_COMMIT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PARTITION = ("topic", "partition")


class Metrics:
    """What the loop counts; one registry each, so that two engines in one process do not add up.

    Counters start at 0 with the process. A watermark, or the time of a commit, is NaN until there is one.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        # Otherwise every counter has a second series with the time it was made; the switch is the process's.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"attribution_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"attribution_{name}", text, labels, registry=registry)

        self.records_read = counter("records_read_total", "Records read.", _PARTITION)
        self.records = counter(
            "records_total",
            "Records by what became of them: accepted, duplicate, dead_letter or ignored.",
            (*_PARTITION, "result"),
        )
        self.dead_letters = counter("dead_letters_total", "Refused records by reason.", ("topic", "reason"))

        self.watermark = gauge("watermark_timestamp_seconds", "The watermark, an event time.")
        self.watermark.set(float("nan"))
        self.partition_event_time = gauge(
            "partition_event_time_timestamp_seconds", "The largest event time read from a partition.", _PARTITION
        )
        self.partition_idle = gauge(
            "partition_idle", "1 where a partition is idle and does not hold the watermark back.", _PARTITION
        )
        self.event_time_step = gauge(
            "event_time_step_seconds",
            "The furthest that one record moved its partition's largest event time since the start.",
            _PARTITION,
        )

        self.partition_lag = gauge(
            "partition_lag_records", "Records of a Kafka partition between the newest commit and its end.", _PARTITION
        )
        self.disk_free = gauge(
            "disk_free_bytes", "Free space where a folder lies: output, state or archive.", ("folder",)
        )

        self.open_inferences = gauge("open_inferences", "Inferences whose windows have not closed.")
        self.kept_outcomes = gauge("kept_outcomes", "Outcomes kept, for what may still change them.")
        self.waiting_outcomes = gauge("waiting_outcomes", "Outcomes that wait for what they name.")
        self.state_bytes = gauge("state_bytes", "Size of the state on disk.")
        self.waiting_rows = gauge("waiting_rows", "Rows committed and not yet in published files.")

        self.commit_duration = Histogram(
            "attribution_commit_duration_seconds",
            "How long a commit took.",
            buckets=_COMMIT_BUCKETS_S,
            registry=registry,
        )
        self.last_commit = gauge("last_commit_timestamp_seconds", "When the newest commit was made.")
        self.last_commit.set(float("nan"))
        self.commits = counter("commits_total", "Commits made.")
        self.rolls = counter("rolls_total", "Rolls: all waiting rows published.")
        self.rates_refused = counter("rates_refused_total", "Changed files of exchange rates that were refused.")
        self.attributed_value = gauge(
            "attributed_value",
            "Value attributed, net of reversals. A double, to watch; the tables are exact.",
            ("use_case", "currency"),
        )
        self.credited_amount = gauge(
            "credited_amount", "Outcomes' own amounts that inferences earned, net. A double, to watch.", ("currency",)
        )
        self.unattributed_amount = gauge(
            "unattributed_amount",
            "Outcomes' own amounts that no inference earned, net, by reason but for holdouts. A double, to watch.",
            ("reason", "currency"),
        )

    def text(self) -> bytes:
        """All of it in the text format."""
        return generate_latest(self.registry)


class Health:
    """Whether the loop turns and is ready; the loop writes, the server's threads read.

    now: seconds of a clock that never jumps. Being made counts as the first beat, so loading state has ``limit_s``
    too, or beats while it loads.
    """

    def __init__(self, limit_s: float = _BEAT_LIMIT_S, now: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._now = now
        self._beat_at = now()
        self._is_ready = False

    def beat(self) -> None:
        """The loop has come round."""
        self._beat_at = self._now()

    def ready(self) -> None:
        """State is loaded and topics are assigned."""
        self._is_ready = True

    def healthz(self) -> tuple[HTTPStatus, dict[str, object]]:
        """200 while the last beat is younger than the limit, else 503 with the reason."""
        age_s = self._now() - self._beat_at
        if age_s < self._limit_s:
            return HTTPStatus.OK, {"status": "ok", "last_beat_age_seconds": round(age_s, 3)}
        reason = f"the loop last turned {age_s:.1f} s ago, expected less than {self._limit_s:g} s"
        return _unavailable(reason)

    def readyz(self) -> tuple[HTTPStatus, dict[str, object]]:
        """200 when ready and healthy, else 503 with the reason."""
        code, body = self.healthz()
        if code == HTTPStatus.OK and not self._is_ready:
            return _unavailable("state is not loaded or topics are not assigned yet")
        return code, body


def _unavailable(reason: str) -> tuple[HTTPStatus, dict[str, object]]:
    return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "unavailable", "reason": reason}


class Server:
    """A server that listens; leaving the block, or ``close()``, ends it within a moment."""

    def __init__(self, http: _HttpServer) -> None:
        self._http = http
        self._thread = threading.Thread(target=http.serve_forever, args=(_POLL_S,), name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on; with 0 asked for, the one that was free."""
        return self._http.server_port

    def close(self) -> None:
        """Listen no more. May be called again."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(listen_port: int, metrics: Metrics, health: Health) -> Server:
    """Serve on 127.0.0.1; raises UnavailableError where the port cannot be had."""
    try:
        return Server(_HttpServer(listen_port, metrics, health))
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        cause = "the port is in use" if is_taken else error.strerror or str(error)
        hint = "is another engine running? Otherwise set another port" if is_taken else "set another port"
        raise UnavailableError(
            f"{_HOST}:{listen_port}: cannot be listened on: {cause}. Hint: {hint} in [http] listen"
        ) from error


class _HttpServer(ThreadingHTTPServer):
    """Threads of requests are daemons: closing waits for none of them."""

    def __init__(self, listen_port: int, metrics: Metrics, health: Health) -> None:
        self.metrics = metrics
        self.health = health
        super().__init__((_HOST, listen_port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer would ask the resolver for the name of the address, which may take long and is not needed.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, self.socket.getsockname()[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _HttpServer
    timeout = _CLIENT_TIMEOUT_S
    #: Of a request that names none, or none there is: with 0.9, the base class would answer without a status.
    default_request_version = "HTTP/1.0"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, self.server.metrics.text(), CONTENT_TYPE_PLAIN_0_0_4)
        elif path == "/healthz":
            self._answer_json(*self.server.health.healthz())
        elif path == "/readyz":
            self._answer_json(*self.server.health.readyz())
        else:
            reason = "expected /healthz, /readyz or /metrics"
            self._answer_json(HTTPStatus.NOT_FOUND, {"status": "not found", "reason": reason})

    do_HEAD = do_GET  # noqa: N815 - the name the base class looks for

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses: a method without a ``do_…``, 501 to it, and what is no HTTP."""
        status = HTTPStatus(code)
        if status == HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
            message = "expected GET or HEAD"
        self._answer_json(status, {"status": status.phrase.lower(), "reason": message or explain or status.description})

    def _answer_json(self, status: HTTPStatus, body: dict[str, object]) -> None:
        self._answer(status, json.dumps(body).encode() + b"\n", "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A line for every scrape would bury what matters."""
