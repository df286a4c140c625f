"""A real Apache Kafka on this machine: one KRaft node on loopback ports, in a folder of its own.

Its jars come through Maven (``tests/jars/pom.xml``) into ``.kafka/lib``, once. The folder holds everything: records,
settings with the ports, log. So a broker that was killed comes back with the same records at the same address::

    with Broker(folder) as broker:
        topic = new_topic(broker.bootstrap, partitions=8)
        broker.kill()  # SIGKILL
        broker.restart()

It dies with the process that started it, however that ends, unless it is started detached: ``make kafka`` is
``python -m tests.broker start --dir DIR``, ``make kafka-stop`` the same with ``stop``.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.broker_security import MECHANISM, PASSWORD, PROTOCOLS, USER, make_certificates
from tests.broker_security import settings as secured_settings

ROOT = Path(__file__).resolve().parents[1]
POM = ROOT / "tests" / "jars" / "pom.xml"
CACHE = ROOT / ".kafka"
#: Names a broker for machines without Java or Maven.
NAMED = "ATTRIBUTION_TEST_BOOTSTRAP"
HEAP = "-Xmx512m"
PID_FILE = "broker.pid"
_PATIENCE_SECONDS = 60
#: Below the ports that outgoing connections get (from 32768 on Linux): while the broker is down, a client that knocks
#: at such a port may be given that very port for its own end, and then the broker cannot have it back.
_PORTS = range(15_000, 32_000)


def missing() -> str:
    """Why no broker can be started here, as the reason of a skip; empty if one can."""
    has_jars = _stamp().exists() and _stamp().read_bytes() == POM.read_bytes()
    # Whoever has Java on Debian has openssl, too: for the list of authorities.
    if _tool("java") and shutil.which("openssl") and (has_jars or shutil.which("mvn")):
        return ""
    return (
        f"needs a Kafka broker: install Java 17 and Maven (Debian: apt-get install maven default-jre-headless); "
        f"or name a broker in {NAMED}, which is enough for tests that neither kill it nor log in"
    )


def fetch_jars() -> Path:
    """The folder of Kafka's jars, filled where it is not yet or where ``pom.xml`` has changed."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lib.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers come at the same time
        if _stamp().exists() and _stamp().read_bytes() == POM.read_bytes():
            return _stamp().parent
        print("Fetching the jars of Apache Kafka into .kafka (once) …", file=sys.stderr)
        half = CACHE / "lib.half"
        shutil.rmtree(half, ignore_errors=True)
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={half}")
        _check("mvn", "-q", "-B", "-f", str(POM), *goal)
        shutil.copy(POM, half)
        shutil.rmtree(_stamp().parent, ignore_errors=True)
        half.rename(_stamp().parent)
    return _stamp().parent


def _stamp() -> Path:
    return CACHE / "lib" / POM.name


def admin(bootstrap: str, **security: Any) -> Any:
    """kafka-python's ``KafkaAdminClient``, a context manager."""
    from kafka import KafkaAdminClient

    return KafkaAdminClient(bootstrap_servers=bootstrap, **security)


def new_topic(bootstrap: str, stem: str = "events", partitions: int = 1, **configs: str) -> str:
    """The name of a new topic, ``stem`` and something random; it can be written to. ``configs``: ``_`` for ``.``."""
    name = f"{stem}-{secrets.token_hex(4)}"
    settings = {key.replace("_", "."): value for key, value in configs.items()}
    with admin(bootstrap) as client:
        wanted = {name: {"num_partitions": partitions, "replication_factor": 1, "configs": settings}}
        client.create_topics(wanted, wait_for_metadata=True)
    return name


@dataclass(frozen=True)
class NamedBroker:
    """A broker somebody else runs."""

    bootstrap: str


class Broker:
    """One node in ``folder``, which is made if it is not there and otherwise taken up as it stands.

    ``secured`` adds the listeners of ``tests.broker_security``, with its users and certificates. ``port``: of
    ``bootstrap``; any free one by default. Topics are not made by being asked for.
    """

    def __init__(self, folder: Path, *, secured: bool = False, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.ca_file = self.folder / "ca.pem"
        self.log_file = self.folder / "broker.log"
        self._properties = self.folder / "server.properties"
        self._pid_file = self.folder / PID_FILE
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        if not self._pid_file.exists():
            self._make(secured=secured, port=port)
        elif port not in {None, int(self.bootstrap.rpartition(":")[2])}:
            raise ValueError(f"{self.folder}: expected port {port}, found {self.bootstrap}. Hint: remove the folder")

    @property
    def bootstrap(self) -> str:
        return self._addresses()["PLAINTEXT"]

    @property
    def sasl_bootstrap(self) -> str:
        return self.address("SASL_SSL")

    def address(self, listener: str) -> str:
        """Of a listener of ``tests.broker_security.PROTOCOLS``."""
        return self._addresses()[listener]

    def scram(self, password: str = PASSWORD) -> dict[str, str]:
        """What a kafka-python client needs beside the bootstrap address to log in over TLS."""
        login = {"sasl_mechanism": MECHANISM, "sasl_plain_username": USER, "sasl_plain_password": password}
        return {"security_protocol": "SASL_SSL", "ssl_cafile": str(self.ca_file), **login}

    @property
    def is_running(self) -> bool:
        """True from the start of its process to its end, whoever started it: the process holds a lock."""
        with self._pid_file.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def start(self, *, detached: bool = False) -> None:
        """Returns when the broker serves. Does nothing more than wait if it runs already."""
        if self.is_running:
            self._wait_until_it_serves()
            return
        self._spawn(detached=detached)
        try:
            self._wait_until_it_serves()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL; returns when the process has ended."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A clean shutdown, or SIGKILL where that takes too long."""
        self._end(signal.SIGTERM)
        self._end(signal.SIGKILL)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It answers nobody and ends no connection."""
        group = int(self._pid_file.read_text())
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)

    def restart(self) -> None:
        """After ``kill`` or ``stop``, or a clean shutdown first: the same records at the same addresses."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _make(self, *, secured: bool, port: int | None) -> None:
        if self._properties.exists():  # a making that was cut short: the pid file comes last
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise ValueError(f"{self.folder}: expected a new folder or that of a broker, found other files")
        names = ["PLAINTEXT", "CONTROLLER", *(PROTOCOLS if secured else [])]
        ports = dict(zip(names, free_ports(len(names)), strict=True)) | ({"PLAINTEXT": port} if port else {})
        addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        settings = _settings(addresses, self.folder) | (secured_settings(self.folder) if secured else {})
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        if secured:
            make_certificates(self.folder)
        # 16 bytes in base64, which may not begin with the sign of an option.
        cluster = "A" + secrets.token_urlsafe(16)[1:]
        users = ("--add-scram", f"{MECHANISM}=[name={USER},password={PASSWORD}]") if secured else ()
        _check("java", *_java("kafka.tools.StorageTool"), "format", "-t", cluster, "-c", str(self._properties), *users)
        self._pid_file.touch()

    def _addresses(self) -> dict[str, str]:
        lines = self._properties.read_text().splitlines()
        (listeners,) = (line.removeprefix("listeners=") for line in lines if line.startswith("listeners="))
        return dict(listener.split("://") for listener in listeners.split(","))

    def _spawn(self, *, detached: bool) -> None:
        for address in self._addresses().values():
            if _answers(address):
                raise RuntimeError(f"{address} is taken by another process")
        with self._pid_file.open("r+") as lock, self.log_file.open("ab") as log:
            # The lock is on the open file, which the broker's process keeps open: it lasts as long as that.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._process = subprocess.Popen(
                [_tool("java") or "java", HEAP, *_java("kafka.Kafka"), self._properties],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
            lock.truncate()
            lock.write(str(self._process.pid))
        if not detached:
            # A pipe tells of this process's end, SIGKILL included. The kernel's parent-death signal would do so too
            # when only the thread ended that called this.
            watch = ["sh", "-c", 'read -r _; kill -9 "$0"', str(self._process.pid)]
            self._watchdog = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)

    def _wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not all(_answers(address) for address in self._addresses().values()):
            if not self.is_running or time.monotonic() > deadline:
                tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])
                raise RuntimeError(f"Kafka did not start; {self.log_file} ends:\n{tail}")
            time.sleep(0.05)
        with admin(self.bootstrap) as client:
            while not client.describe_cluster()["brokers"]:
                assert time.monotonic() < deadline, "Kafka lists no broker"
                time.sleep(0.05)

    def _end(self, with_signal: signal.Signals) -> None:
        if self._watchdog is not None:  # first: later its number may be another process's
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self.is_running:
            with suppress(ProcessLookupError):
                os.killpg(int(self._pid_file.read_text()), with_signal)
        deadline = time.monotonic() + _PATIENCE_SECONDS / 2
        while self.is_running:
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
        if self._process is not None:
            self._process.wait()
            self._process = None


def free_ports(count: int) -> list[int]:
    """So many loopback ports nobody listens at."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports in {_PORTS}")


def _settings(addresses: dict[str, str], folder: Path) -> dict[str, str]:
    listeners = {name: f"{name}://{address}" for name, address in addresses.items()}
    internal = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{addresses['CONTROLLER']}",
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(listeners.values()),
        "advertised.listeners": ",".join(text for name, text in listeners.items() if name != "CONTROLLER"),
        "listener.security.protocol.map": ",".join(f"{name}:{PROTOCOLS.get(name, 'PLAINTEXT')}" for name in listeners),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(folder / "records"),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # After SIGKILL the node waits until its former self's session has ended, 9 seconds by default.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "400",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.min.isr": "1",
        **{f"{topic}.replication.factor": "1" for topic in internal},
        **{f"{topic}.num.partitions": "1" for topic in internal},
    }


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def _java(main_class: str) -> tuple[str, ...]:
    return ("-Dlog4j2.level=WARN", "-cp", f"{fetch_jars()}/*", main_class)


def _tool(name: str) -> str | None:
    """Java's own command, from ``JAVA_HOME`` if that is set."""
    home = os.environ.get("JAVA_HOME")
    return (shutil.which(name, path=f"{home}/bin") if home else None) or shutil.which(name)


def _check(tool: str, *arguments: str) -> None:
    """Run a command that must succeed; its output is told only if it does not."""
    command = [_tool(tool) or tool, *arguments]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{tool} failed:\n{run.stdout}{run.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.broker", description="One Kafka node on this machine.")
    parser.add_argument("command", choices=("start", "stop"))
    parser.add_argument("--dir", type=Path, default=CACHE / "run", help="records, settings and log")
    parser.add_argument("--port", type=int, help="of a new folder; any free one by default")
    parser.add_argument("--port-file", type=Path, help="also write the bootstrap address here")
    options = parser.parse_args()
    if options.command == "stop":
        if (options.dir / PID_FILE).exists():
            Broker(options.dir).stop()
        return
    if reason := missing():
        sys.exit(reason)
    try:
        broker = Broker(options.dir, port=options.port)
        broker.start(detached=True)
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
    if options.port_file:
        options.port_file.write_text(f"{broker.bootstrap}\n")
    print(broker.bootstrap)


if __name__ == "__main__":
    main()
