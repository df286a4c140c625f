"""Tokens for OAUTHBEARER: as somebody else renews them in a file, or asked for with client credentials.

A token is wanted at each login, and again before a login runs out. What was asked for is kept until shortly before it
expires. The client asks in the thread of its connections: an answer that takes long holds them up, so there is a
limit. Failures are errors of the client's own family: others would end that thread's work. No message names a token or
a secret, nor what an endpoint says beside one of the words of RFC 6749.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote_plus, urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from kafka.errors import RetriableError
from kafka.net.sasl.oauth import AbstractTokenProvider

from schemas.errors import ConfigurationError

_TIMEOUT_SECONDS = 5.0
#: After an endpoint has not answered, for so long no other login asks it.
_PAUSE_SECONDS = 1.0
#: A token is renewed so long before it expires, or when a fifth of its life is left.
_MARGIN_SECONDS = 30.0
_ANSWER_BYTES_MAX = 1 << 20
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
#: The errors of RFC 6749, section 5.2, and its kin.
_ERROR = re.compile(r"[a-z_]{1,40}")
_HINT = "Hint: see [input.security]"


class NoTokenError(RetriableError):  # type: ignore[misc] # the client has no types
    """There is no token now. ``message``: for the user."""

    @property
    def message(self) -> str:
        return str(self.args[0])


class TokenRefusedError(NoTokenError):
    """There is no token for whom we say we are: asking again will not help."""


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc] # as above
    """Gives each login its token; ``read`` raises NoTokenError where there is none."""

    def __init__(self, read: Callable[[], str]) -> None:
        super().__init__()
        self._read = read

    def token(self) -> str:
        return self._read()


def is_token(text: str) -> bool:
    """True for what may stand for a bearer token (RFC 6750, section 2.1), with white space around it."""
    return _TOKEN.fullmatch(text.strip()) is not None


def written_token(secret: Callable[[], str]) -> str:
    """The token where the settings say it is; raises NoTokenError where none is there now."""
    text = _now(secret).strip()
    if not is_token(text):
        raise NoTokenError(f"input.security: what token_file or token_env holds is no bearer token. {_HINT}")
    return text


def _now(secret: Callable[[], str]) -> str:
    """What is at its place at this moment: at the start something was."""
    try:
        return secret()
    except ConfigurationError as error:
        raise NoTokenError(str(error)) from None


@dataclass
class TokenEndpoint:
    """Asks for tokens with client credentials (RFC 6749, section 4.4).

    client_id, client_secret: read anew each time; ca_file: trusted beside the system's; now: a monotonic clock.
    """

    url: str
    client_id: Callable[[], str]
    client_secret: Callable[[], str]
    scope: str | None = None
    ca_file: Path | None = None
    now: Callable[[], float] = time.monotonic
    _kept: tuple[str, float] = field(default=("", 0.0), init=False, repr=False)
    _failed: tuple[NoTokenError | None, float] = field(default=(None, 0.0), init=False, repr=False)

    def token(self) -> str:
        """The one that is kept while it is good, else a new one.

        Raises TokenRefusedError where the endpoint says no, NoTokenError where it does not answer with a token.
        """
        asked = self.now()
        if asked < self._kept[1]:
            return self._kept[0]
        error, until = self._failed
        if error is not None and asked < until:
            raise error
        try:
            token, life_seconds = self._parsed(self._answer())
        except NoTokenError as failure:
            self._failed = (failure, self.now() + _PAUSE_SECONDS)
            raise
        self._kept = (token, asked + life_seconds - min(_MARGIN_SECONDS, life_seconds / 5))
        return token

    def _answer(self) -> bytes:
        request = Request(self.url, self._form(), self._headers())  # noqa: S310 - https, or http to this machine
        try:
            with self._opener().open(request, timeout=_TIMEOUT_SECONDS) as response:
                status, content = response.status, bytes(response.read(_ANSWER_BYTES_MAX))
        except URLError as error:
            raise self._failure(f"no answer: {error.reason}") from None
        except (OSError, HTTPException) as error:
            raise self._failure(f"no answer: {type(error).__name__}") from None
        if status != 200:
            raise self._refusal(status, content)
        return content

    def _form(self) -> bytes:
        scope = {} if self.scope is None else {"scope": self.scope}
        return urlencode({"grant_type": "client_credentials", **scope}).encode()

    def _headers(self) -> dict[str, str]:
        names = (_now(self.client_id), _now(self.client_secret))
        # Section 2.3.1: each is form-encoded before the two are put together.
        login = base64.b64encode(":".join(quote_plus(name) for name in names).encode()).decode()
        return {"Authorization": f"Basic {login}", "Accept": "application/json"}

    def _opener(self) -> OpenerDirector:
        """One that follows no redirect: the secret goes where the settings say, and nowhere else."""
        opener = OpenerDirector()
        if urlsplit(self.url).scheme == "http":
            opener.add_handler(HTTPHandler())
            return opener
        context = ssl.create_default_context()
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        opener.add_handler(ProxyHandler())
        opener.add_handler(HTTPSHandler(context=context))
        return opener

    def _parsed(self, answer: bytes) -> tuple[str, float]:
        """The token and how many seconds it lives; an answer without a time is good for one login."""
        found = _object(answer)
        token, seconds = found.get("access_token"), found.get("expires_in", 0)
        kind = found.get("token_type", "Bearer")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._failure("expected JSON with an access_token")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise self._failure("expected a token_type Bearer")
        try:
            return token, max(float(seconds), 0.0)
        except (TypeError, ValueError):
            raise self._failure("expected a number of seconds in expires_in") from None

    def _refusal(self, status: int, answer: bytes) -> NoTokenError:
        word = _object(answer).get("error")
        said = f"HTTP {status}" + (f", {word}" if isinstance(word, str) and _ERROR.fullmatch(word) else "")
        is_refused = 400 <= status < 500 and status not in (408, 425, 429)
        if is_refused:
            return TokenRefusedError(f"{self._place}: no token for this client: {said}. {_HINT}")
        return self._failure(said)

    def _failure(self, what: str) -> NoTokenError:
        return NoTokenError(f"{self._place}: {what}. {_HINT}")

    @property
    def _place(self) -> str:
        """The address without a query, which may hold a secret."""
        url = urlsplit(self.url)
        return f"{url.scheme}://{url.netloc}{url.path}"


def _object(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
