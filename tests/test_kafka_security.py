"""Who shows what a broker asks for gets the records, anyone else one clear message; no secret is found anywhere."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from schemas.errors import AttributionError, ConfigurationError, UnavailableError
from streams.kafka_client import connect, open_consumer
from streams.live.http import Metrics
from streams.runner import run
from streams.settings import KafkaInput, load_settings
from tests.broker import Broker
from tests.broker_security import KEY_PASSWORD, PASSWORD, SESSION_SECONDS, USER, token
from tests.kafka_running import Shop
from tests.token_endpoint import TokenServer, token_server

CLIENT_SECRET = "client-secret-77ab19"
SOLD = 5
TLS = 'protocol = "SSL"\nca_file = "{folder}/ca.pem"\n'
CERTIFICATE = 'cert_file = "{folder}/client.pem"\n'
KEY = CERTIFICATE + 'key_file = "{folder}/client.key"\n'
LOCKED_KEY = CERTIFICATE + 'key_file = "{folder}/client.locked.key"\n'
STRANGER = 'cert_file = "{folder}/stranger.pem"\nkey_file = "{folder}/stranger.key"\n'
SCRAM = 'ca_file = "{folder}/ca.pem"\n'
OAUTH = 'mechanism = "OAUTHBEARER"\nca_file = "{folder}/ca.pem"\n'
TOKEN_FILE = OAUTH + 'token_file = "token"\n'
ENDPOINT = OAUTH + 'token_endpoint = "{endpoint}"\nscope = "events"\n'
SECURITY_HINT = "Hint: see [input.security]"


@pytest.fixture(scope="module")
def sold(secured_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Topics with records in them."""
    shop = Shop(secured_broker.bootstrap, tmp_path_factory.mktemp("shop"))
    shop.sell(SOLD)
    return shop


@pytest.fixture(autouse=True)
def _names_and_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are where they are looked for."""
    names = {"KAFKA_USERNAME": USER, "KAFKA_PASSWORD": PASSWORD, "KAFKA_CLIENT_ID": "attribution"}
    for name, value in (names | {"KAFKA_CLIENT_SECRET": CLIENT_SECRET, "KEY_PASSWORD": KEY_PASSWORD}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("streams.kafka_client._PATIENCE_MS", 1_500)


@pytest.fixture
def shop(sold: Shop, tmp_path: Path) -> Shop:
    """A pipeline of its own that reads them."""
    return sold.copy(tmp_path / "shop")


@pytest.fixture
def own_shop(secured_broker: Broker, tmp_path: Path) -> Shop:
    """With topics of its own, where more may be sold."""
    shop = Shop(secured_broker.bootstrap, tmp_path / "shop")
    shop.sell(SOLD)
    return shop


@pytest.fixture
def endpoint() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _left_sockets_are_no_failure_of_ours() -> Iterator[None]:
    """The client leaves a socket open whose handshake failed."""
    yield
    gc.collect()


pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


class Watch:
    """All that anybody could read of a run."""

    def __init__(self, shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shop, self._caplog = shop, caplog
        self._said: list[str] = []
        self._metrics = Metrics()
        monkeypatch.setattr("streams.runner.Metrics", lambda: self._metrics)

    def consume(self) -> None:
        at_level = self._caplog.at_level
        with at_level("DEBUG"), at_level("DEBUG", "kafka.net.connection"):
            run(load_settings(self._shop.pipeline), until_end=True, log=lambda *args, **more: self._say(args, more))

    def _say(self, *said: object) -> None:
        self._said.append(repr(said))

    def refusal(self, kind: type[AttributionError]) -> str:
        with pytest.raises(kind) as caught:
            self.consume()
        self._say(caught.value, caught.value.__cause__)
        return str(caught.value)

    def assert_nothing_tells(self, *secrets: str) -> None:
        told = self._caplog.text + "".join(self._said) + self._metrics.text().decode()
        assert "kafka" in self._caplog.text
        for secret in (PASSWORD, KEY_PASSWORD, CLIENT_SECRET, *secrets):
            assert secret not in told
            for folder in ("out", "state"):
                for file in (self._shop.folder / folder).rglob("*"):
                    assert not file.is_file() or secret.encode() not in file.read_bytes(), file


@pytest.fixture
def watch(shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(shop, caplog, monkeypatch)


# --- certificates ---


@pytest.mark.parametrize(
    ("listener", "section"),
    [
        ("SSL", TLS + KEY),
        ("SSL", TLS + LOCKED_KEY + 'key_password_env = "KEY_PASSWORD"\n'),
        ("SSL", TLS + LOCKED_KEY + 'key_password_file = "key_password"\n'),
        ("SASL_SSL", SCRAM + KEY),
        ("SASL_SSL", SCRAM),
    ],
)
def test_a_client_certificate_opens_the_broker(
    listener: str, section: str, shop: Shop, secured_broker: Broker, watch: Watch
) -> None:
    (shop.folder / "key_password").write_text(f"{KEY_PASSWORD}\n")
    shop.secure(secured_broker.address(listener), section.format(folder=secured_broker.folder))
    watch.consume()
    shop.check()
    watch.assert_nothing_tells()


@pytest.mark.parametrize(
    ("listener", "section", "why"),
    [
        ("SSL", TLS, "bad certificate"),
        ("SSL", TLS + STRANGER, "certificate unknown"),
        ("SASL_SSL", SCRAM + STRANGER, "certificate unknown"),
        ("SSL", TLS.replace("ca.pem", "stranger.pem") + KEY, "certificate verify failed: self-signed certificate"),
        ("SSL", 'protocol = "SSL"\n' + KEY, "certificate verify failed: self-signed certificate"),
    ],
)
def test_a_certificate_that_one_side_does_not_take_is_one_message(
    listener: str, section: str, why: str, shop: Shop, secured_broker: Broker, watch: Watch
) -> None:
    address = secured_broker.address(listener)
    shop.secure(address, section.format(folder=secured_broker.folder))
    started = time.monotonic()
    message = watch.refusal(UnavailableError)
    assert message.startswith(f"{address}: TLS refused: ")
    assert message.endswith(f"{why}. {SECURITY_HINT}")
    assert time.monotonic() - started < 1.4, "a start does not wait for what is refused for good"
    watch.assert_nothing_tells()


@pytest.mark.parametrize("listener", ["PLAINTEXT", "SSL"])
def test_a_broker_that_speaks_another_protocol_is_one_message(
    listener: str, shop: Shop, secured_broker: Broker, watch: Watch
) -> None:
    address = secured_broker.bootstrap if listener == "PLAINTEXT" else secured_broker.address(listener)
    section = TLS if listener == "PLAINTEXT" else 'protocol = "PLAINTEXT"\n'
    shop.secure(address, section.format(folder=secured_broker.folder))
    protocol = "SSL" if listener == "PLAINTEXT" else "PLAINTEXT"
    hint = f"Hint: is the address right, does the broker run, does it speak {protocol}?"
    assert watch.refusal(UnavailableError) == f"{address}: no broker answers there. {hint}"


@pytest.mark.parametrize(
    ("section", "key", "expected"),
    [
        (TLS.replace("ca.pem", "gone.pem") + KEY, "ca_file", 'a readable file, got "{folder}/gone.pem"'),
        (TLS.replace("ca.pem", "client.key") + KEY, "ca_file", 'certificates in PEM form, got "{folder}/client.key"'),
        (TLS + KEY.replace("client.pem", "gone.pem"), "cert_file", 'a readable file, got "{folder}/gone.pem"'),
        (TLS + KEY.replace("client.pem", "client.key"), "cert_file",
         'certificates in PEM form, got "{folder}/client.key"'),
        (TLS + KEY.replace("client.key", "gone.key"), "key_file", 'a readable file, got "{folder}/gone.key"'),
        *[(TLS + key + more, "key_file",
           'the private key of cert_file in PEM form, got "{folder}/' + name + '". '
           "Hint: key_password_env or key_password_file opens a locked one")
          for key, name, more in (
              (LOCKED_KEY, "client.locked.key", ""),
              (LOCKED_KEY, "client.locked.key", 'key_password_env = "KAFKA_PASSWORD"\n'),
              (KEY.replace("client.key", "stranger.key"), "stranger.key", ""),
              (KEY.replace("client.key", "ca.pem"), "ca.pem", ""))],
        (TLS + KEY + 'key_password_file = "gone"\n', "key_password_file",
         'a readable file of UTF-8 text, got "{shop}/gone"'),
        (TLS + KEY + 'key_password_env = "NOT_THERE"\n', "key_password_env",
         "the environment variable NOT_THERE, got none of that name"),
        (TOKEN_FILE.replace('"token"', '"gone"'), "token_file", 'a readable file of UTF-8 text, got "{shop}/gone"'),
        (TOKEN_FILE.replace('"token"', '"rules/reco.toml"'), "token_file", "a bearer token, got something else"),
        (OAUTH + 'token_env = "NOT_THERE"\n', "token_env",
         "the environment variable NOT_THERE, got none of that name"),
        (OAUTH + 'token_env = "PATH"\n', "token_env", "a bearer token, got something else"),
        (ENDPOINT + 'client_id_env = "NOT_THERE"\n', "client_id_env",
         "the environment variable NOT_THERE, got none of that name"),
        (ENDPOINT + 'client_secret_file = "gone"\n', "client_secret_file",
         'a readable file of UTF-8 text, got "{shop}/gone"'),
    ],
)  # fmt: skip
def test_what_is_not_where_the_settings_say_is_named_by_its_key(
    section: str, key: str, expected: str, shop: Shop, secured_broker: Broker, watch: Watch
) -> None:
    folder = secured_broker.folder
    shop.secure(secured_broker.address("SSL"), section.format(folder=folder, endpoint="http://127.0.0.1:1/token"))
    message = watch.refusal(ConfigurationError)
    assert message == f"input.security.{key}: expected " + expected.format(folder=folder, shop=shop.folder)


# --- tokens ---


def test_a_token_from_a_file_opens_the_broker(shop: Shop, secured_broker: Broker, watch: Watch) -> None:
    shown = token()
    (shop.folder / "token").write_text(f"{shown}\n")
    shop.secure(secured_broker.address("OAUTH"), TOKEN_FILE.format(folder=secured_broker.folder))
    watch.consume()
    shop.check()
    watch.assert_nothing_tells(shown)


def test_a_token_from_the_environment_does_so_too(
    shop: Shop, secured_broker: Broker, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", token())
    shop.secure(secured_broker.address("OAUTH"), (OAUTH + 'token_env = "TOKEN"\n').format(folder=secured_broker.folder))
    watch.consume()
    shop.check()


def test_a_token_is_asked_for_once_by_a_client_with_its_credentials(
    shop: Shop, secured_broker: Broker, watch: Watch, endpoint: TokenServer, caplog: pytest.LogCaptureFixture
) -> None:
    shown = token()
    endpoint.gives(shown)
    section = ENDPOINT.format(folder=secured_broker.folder, endpoint=endpoint.url)
    shop.secure(secured_broker.address("OAUTH"), section)
    watch.consume()
    shop.check()
    assert {form for _, form in endpoint.asked} == {"grant_type=client_credentials&scope=events"}
    clients, logins = (
        caplog.text.count(text) for text in ("IO loop starting (client_id=attribution)", "Authenticated")
    )
    assert len(endpoint.asked) == clients < logins
    watch.assert_nothing_tells(shown, endpoint.asked[0][0]["Authorization"].split()[1])


@pytest.mark.parametrize("claims", [{"seconds": -30}, {"scope": "other"}], ids=["expired", "of another scope"])
def test_a_token_that_the_broker_does_not_take_is_one_message(
    claims: dict[str, Any], shop: Shop, secured_broker: Broker, watch: Watch
) -> None:
    shown = token(**claims)
    (shop.folder / "token").write_text(shown)
    address = secured_broker.address("OAUTH")
    shop.secure(address, TOKEN_FILE.format(folder=secured_broker.folder))
    assert watch.refusal(UnavailableError) == f"{address}: authentication refused. {SECURITY_HINT}"
    watch.assert_nothing_tells(shown)


@pytest.mark.parametrize(
    ("status", "said"), [(401, "no token for this client: HTTP 401, invalid_client"), (503, "HTTP 503, invalid_client")]
)
def test_an_endpoint_that_gives_no_token_is_one_message(
    status: int, said: str, shop: Shop, secured_broker: Broker, watch: Watch, endpoint: TokenServer
) -> None:
    endpoint.says(status, error="invalid_client", error_description=CLIENT_SECRET)
    address = secured_broker.address("OAUTH")
    shop.secure(address, ENDPOINT.format(folder=secured_broker.folder, endpoint=endpoint.url))
    assert watch.refusal(UnavailableError) == f"{address}: {endpoint.url}: {said}. {SECURITY_HINT}"
    watch.assert_nothing_tells()


def test_a_mechanism_that_the_broker_does_not_know_is_one_message(
    shop: Shop, secured_broker: Broker, watch: Watch
) -> None:
    address = secured_broker.sasl_bootstrap
    shop.secure(address, (SCRAM + 'mechanism = "PLAIN"\n').format(folder=secured_broker.folder))
    expected = f"{address}: authentication refused: it does not know input.security.mechanism"
    assert watch.refusal(UnavailableError) == expected
    watch.assert_nothing_tells()


def test_a_token_that_is_renewed_in_its_file_is_taken_up(own_shop: Shop, secured_broker: Broker) -> None:
    """Each login ends after ``SESSION_SECONDS`` and the first token soon after it: the second one must be shown."""
    (own_shop.folder / "token").write_text(token(seconds=SESSION_SECONDS + 2))
    own_shop.secure(secured_broker.address("OAUTH"), TOKEN_FILE.format(folder=secured_broker.folder))
    with own_shop.run() as running:
        running.wait_until_credited()
        (own_shop.folder / "token.new").write_text(token())
        (own_shop.folder / "token.new").replace(own_shop.folder / "token")
        time.sleep(2 * SESSION_SECONDS)
        own_shop.sell(3)
        running.wait_until_credited()
        running.stop()
    own_shop.check()


@pytest.mark.slow
def test_an_endpoint_that_fails_is_asked_again_and_one_that_refuses_stops_it(
    own_shop: Shop, secured_broker: Broker, endpoint: TokenServer
) -> None:
    """Every login asks it, and each ends after ``SESSION_SECONDS``."""
    endpoint.gives(token(), expires_in=0)
    address = secured_broker.address("OAUTH")
    own_shop.secure(address, ENDPOINT.format(folder=secured_broker.folder, endpoint=endpoint.url))
    with own_shop.run() as running:
        running.wait_until_credited()
        endpoint.says(503)
        time.sleep(SESSION_SECONDS + 2)
        own_shop.sell(3)
        endpoint.gives(token(), expires_in=0)
        running.wait_until_credited()
        endpoint.says(401, error="invalid_client")
        why = "no token for this client: HTTP 401, invalid_client"
        assert running.error() == f"{address}: {endpoint.url}: {why}. {SECURITY_HINT}"
    own_shop.check()


# --- for everybody ---


@pytest.mark.parametrize(
    "open_client",
    [
        open_consumer,
        lambda source: connect(source, KafkaProducer),
        lambda source: connect(source, KafkaAdminClient),
    ],
    ids=["consumer", "producer", "admin"],
)
def test_any_client_is_refused_at_once_with_one_message(
    open_client: Callable[[KafkaInput], Any], shop: Shop, secured_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "wrong")
    monkeypatch.setattr("streams.kafka_client._PATIENCE_MS", 30_000)
    address = secured_broker.sasl_bootstrap
    shop.secure(address, SCRAM.format(folder=secured_broker.folder))
    source = load_settings(shop.pipeline).input
    assert isinstance(source, KafkaInput)
    started = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        open_client(source)
    assert str(caught.value) == f"{address}: authentication refused. {SECURITY_HINT}"
    assert time.monotonic() - started < 5


def test_a_refusal_is_the_only_thing_on_stderr(
    shop: Shop, secured_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "wrong")
    address = secured_broker.sasl_bootstrap
    shop.secure(address, SCRAM.format(folder=secured_broker.folder))
    with shop.run() as running:
        assert running.error() == f"{address}: authentication refused. {SECURITY_HINT}"
