"""How to reach Kafka: protocol, certificates, and where names, passwords and tokens are found.

Secrets never stand in the pipeline file: it names environment variables or files that hold them. A key that has no
effect beside the others is an error.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from streams.setting_types import FilePath, Section, Text, refusal

_TLS = {"ca_file", "cert_file", "key_file", "key_password_env", "key_password_file"}
_PASSWORD = {"username_env", "username_file", "password_env", "password_file"}
#: What asks the token endpoint for a token.
_CLIENT = {"client_id_env", "client_id_file", "client_secret_env", "client_secret_file", "scope"}
_TOKEN = {"token_env", "token_file", "token_endpoint", *_CLIENT}
_ENDPOINT = "an https address, http on this machine only, such as https://login.example.com/token"


def _is_loopback(host: str) -> bool:
    """True for names of this machine itself."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _endpoint(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if "@" in text:  # the value is not shown: a secret may stand in it
        hint = "client_id_env and client_secret_env say where name and secret are"
        raise refusal(f"{_ENDPOINT}, without a name or password in it", hint, got="one with an @")
    try:
        url = urlsplit(text)
        host, is_plain = url.hostname or "", url.port != 0 and not url.fragment
    except ValueError:
        raise refusal(_ENDPOINT) from None
    is_private = url.scheme == "https" or (url.scheme == "http" and _is_loopback(host))
    if not (host and is_plain and is_private and re.fullmatch(r"[!-~]+", text)):
        raise refusal(_ENDPOINT)
    return text


class Security(Section):
    """``*_env`` names an environment variable, ``*_file`` a file with the same content; one of the two at most."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "SASL_SSL"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    username_env: Text = "KAFKA_USERNAME"
    username_file: FilePath | None = None
    password_env: Text = "KAFKA_PASSWORD"  # noqa: S105 - the name of a variable
    password_file: FilePath | None = None
    token_env: Text | None = None
    token_file: FilePath | None = None
    token_endpoint: Annotated[str, BeforeValidator(_endpoint)] | None = None
    client_id_env: Text = "KAFKA_CLIENT_ID"
    client_id_file: FilePath | None = None
    client_secret_env: Text = "KAFKA_CLIENT_SECRET"  # noqa: S105 - the name of a variable
    client_secret_file: FilePath | None = None
    scope: Text | None = None
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    key_password_env: Text | None = None
    key_password_file: FilePath | None = None

    @property
    def has_login(self) -> bool:
        return self.protocol.startswith("SASL_")

    @property
    def has_tls(self) -> bool:
        return self.protocol.endswith("SSL")

    @property
    def has_token(self) -> bool:
        return self.has_login and self.mechanism == "OAUTHBEARER"

    @model_validator(mode="after")
    def _keys_apply(self) -> Self:
        given = self.model_fields_set
        for keys, applies, expected, got in self._conditions():
            if not applies and keys & given:
                raise refusal(f"{expected} beside it", key=min(keys & given), got=got)
        for secret in ("username", "password", "token", "client_id", "client_secret", "key_password"):
            if {f"{secret}_env", f"{secret}_file"} <= given:
                raise refusal(f"one of {secret}_env and {secret}_file", key=f"{secret}_file", got="both")
        if self.has_token:
            self._one_way_to_a_token()
        return self

    def _conditions(self) -> Iterator[tuple[set[str], bool, str, str]]:
        """Keys, whether they have an effect, what they need for that, and what is there instead."""
        protocol, mechanism = f'protocol = "{self.protocol}"', f'mechanism = "{self.mechanism}"'
        yield _PASSWORD | _TOKEN | {"mechanism"}, self.has_login, "a SASL protocol", protocol
        yield _TLS, self.has_tls, "SSL or SASL_SSL", protocol
        yield _PASSWORD, not self.has_token, "PLAIN or SCRAM", mechanism
        yield _TOKEN, self.has_token, 'mechanism = "OAUTHBEARER"', mechanism
        yield _CLIENT, self.token_endpoint is not None, "token_endpoint", "nothing"
        yield {"cert_file"}, self.key_file is not None, "key_file", "nothing"
        yield {"key_file"}, self.cert_file is not None, "cert_file", "nothing"
        yield {"key_password_env", "key_password_file"}, self.key_file is not None, "key_file", "nothing"

    def _one_way_to_a_token(self) -> None:
        own = self.token_file is not None or self.token_env is not None
        if own and self.token_endpoint is not None:
            raise refusal("one of token_endpoint, token_env and token_file", key="token_endpoint", got="two of them")
        if not own and self.token_endpoint is None:
            expected = "token_endpoint, token_env or token_file beside it"
            raise refusal(expected, key="mechanism", got='mechanism = "OAUTHBEARER" alone')
