"""Tokens for OAUTHBEARER: from a file as it stands, from an endpoint as seldom as can be; failures tell no secret."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from schemas.errors import ConfigurationError
from streams.kafka_token import NoTokenError, TokenEndpoint, TokenRefusedError, written_token
from tests.broker_security import make_certificates
from tests.token_endpoint import TokenServer, token_server

SECRET = "token-secret-40f9d1"
TOKEN = "abc.DEF-_~+/=="


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint(server: TokenServer, clock: Clock) -> TokenEndpoint:
    return TokenEndpoint(server.url, lambda: "me", lambda: SECRET, now=clock)


def refusal(ask: Callable[[], str]) -> NoTokenError:
    with pytest.raises(NoTokenError) as caught:
        ask()
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)
    return caught.value


def test_a_written_token_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for token in ("one", "two"):
        file.write_text(f"{token}\n")
        assert written_token(file.read_text) == token


@pytest.mark.parametrize("text", ["", "\n", "a b", "a\x01auth=b", "=", "ä", f"{SECRET} {SECRET}"])
def test_what_is_no_bearer_token_is_not_sent(text: str) -> None:
    assert refusal(lambda: written_token(lambda: text)).message == (
        "input.security: what token_file or token_env holds is no bearer token. Hint: see [input.security]"
    )


def test_a_token_that_is_gone_for_a_while_ends_nothing() -> None:
    def gone() -> str:
        raise ConfigurationError("input.security.token_file: expected a file")

    assert not isinstance(refusal(lambda: written_token(gone)), TokenRefusedError)


def test_the_endpoint_is_asked_as_the_standard_says(server: TokenServer, clock: Clock) -> None:
    server.gives(TOKEN)
    endpoint = TokenEndpoint(server.url, lambda: "a b:ü", lambda: "s&c:t%", scope="read write", now=clock)
    assert endpoint.token() == TOKEN
    [(headers, form)] = server.asked
    assert parse_qs(form) == {"grant_type": ["client_credentials"], "scope": ["read write"]}
    scheme, login = headers["Authorization"].split()
    assert (scheme, base64.b64decode(login)) == ("Basic", b"a+b%3A%C3%BC:s%26c%3At%25")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(("life", "good_for"), [(3_600, 3_570), (100, 80), (150, 120), ("3600", 3_570), (2.5, 2)])
def test_a_token_is_kept_until_shortly_before_it_expires(
    life: float | str, good_for: float, server: TokenServer, endpoint: TokenEndpoint, clock: Clock
) -> None:
    server.gives("first", life)
    assert endpoint.token() == "first"
    server.gives("second", life)
    clock.now += good_for - 0.001
    assert endpoint.token() == "first"
    clock.now += 0.001
    assert endpoint.token() == "second"
    assert len(server.asked) == 2


@pytest.mark.parametrize("life", [0, -5, float("nan")])
def test_a_token_without_a_life_is_for_one_login(life: float, server: TokenServer, endpoint: TokenEndpoint) -> None:
    for token in ("first", "second"):
        server.gives(token, life)
        assert endpoint.token() == token
    server.says(200, access_token="third")
    assert endpoint.token() == "third"


@pytest.mark.parametrize(
    ("status", "content", "why", "is_final"),
    [
        (401, {"error": "invalid_client", "error_description": SECRET}, "HTTP 401, invalid_client", True),
        (400, {"error": SECRET.upper()}, "HTTP 400", True),
        (403, {}, "HTTP 403", True),
        (429, {"error": "slow_down"}, "HTTP 429, slow_down", False),
        (500, {}, "HTTP 500", False),
        (302, {}, "HTTP 302", False),
        (200, {}, "expected JSON with an access_token", False),
        (200, {"access_token": f"{SECRET} {SECRET}"}, "expected JSON with an access_token", False),
        (200, {"access_token": TOKEN, "token_type": "mac"}, "expected a token_type Bearer", False),
        (200, {"access_token": TOKEN, "expires_in": [1]}, "expected a number of seconds in expires_in", False),
    ],
)
def test_no_token_is_one_message_and_final_only_where_the_client_is_refused(
    status: int, content: dict[str, object], why: str, *, is_final: bool, server: TokenServer, endpoint: TokenEndpoint
) -> None:
    server.says(status, **content)
    error = refusal(endpoint.token)
    said = f"no token for this client: {why}" if is_final else why
    assert error.message == f"{server.url}: {said}. Hint: see [input.security]"
    assert isinstance(error, TokenRefusedError) == is_final


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'"text"'])
def test_an_answer_of_any_bytes_is_one_message(content: bytes, server: TokenServer, endpoint: TokenEndpoint) -> None:
    server.answer = (200, {}, content)
    assert "expected JSON with an access_token" in refusal(endpoint.token).message


def test_a_redirect_is_not_followed_with_the_secret(server: TokenServer, endpoint: TokenEndpoint) -> None:
    server.answer = (302, {"Location": server.url}, b"")
    refusal(endpoint.token)
    assert len(server.asked) == 1


def test_an_endpoint_that_fails_is_left_alone_for_a_second(
    server: TokenServer, endpoint: TokenEndpoint, clock: Clock
) -> None:
    server.says(503)
    refusal(endpoint.token)
    server.gives(TOKEN)
    clock.now += 0.999
    refusal(endpoint.token)
    assert len(server.asked) == 1
    clock.now += 0.001
    assert endpoint.token() == TOKEN


def test_an_endpoint_that_is_not_there_is_named_without_its_query() -> None:
    endpoint = TokenEndpoint("http://127.0.0.1:1/token?key=of-mine", lambda: "me", lambda: SECRET)
    assert refusal(endpoint.token).message == (
        "http://127.0.0.1:1/token: no answer: [Errno 111] Connection refused. Hint: see [input.security]"
    )


def test_an_endpoint_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka_token._TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        endpoint = TokenEndpoint(url, lambda: "me", lambda: SECRET)
        assert refusal(endpoint.token).message == f"{url}: no answer: TimeoutError. Hint: see [input.security]"


def test_only_an_endpoint_that_is_vouched_for_gets_the_secret(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    with token_server(tmp_path / "broker.pem") as server:
        server.gives(TOKEN)
        for ca_file in (None, tmp_path / "stranger.pem", tmp_path / "gone.pem"):
            endpoint = TokenEndpoint(server.url, lambda: "me", lambda: SECRET, ca_file=ca_file)
            assert f"{server.url}: no answer: " in refusal(endpoint.token).message
        assert server.asked == []
        endpoint = TokenEndpoint(server.url, lambda: "me", lambda: SECRET, ca_file=tmp_path / "ca.pem")
        assert endpoint.token() == TOKEN


def test_nothing_shows_the_token_that_is_kept(server: TokenServer, endpoint: TokenEndpoint) -> None:
    server.gives(TOKEN)
    endpoint.token()
    assert TOKEN not in repr(endpoint)
