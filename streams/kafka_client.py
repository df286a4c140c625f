"""How to reach Kafka, and what its errors mean to whoever reads them."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    LeaderNotAvailableError,
    RetriableError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from attribution.toml_tables import Bare
from schemas.errors import UnavailableError, setting_error
from streams.kafka_connections import Connections, tls_refusal
from streams.kafka_token import NoTokenError, TokenEndpoint, TokenProvider, is_token, written_token
from streams.security_settings import Security
from streams.settings import KafkaInput

#: How long a start waits for a broker.
_PATIENCE_MS = 10_000
#: How long a consumer waits for an answer before it looks for the broker anew.
_REQUEST_TIMEOUT_MS = 30_000
#: How long after a broker's return it may take until it is tried again.
_BACKOFF_MAX_MS = 5_000

Client = TypeVar("Client")


def client_options(source: KafkaInput) -> dict[str, Any]:
    """Options of every client; raises ConfigurationError for what is not where the settings say."""
    _keep_secrets_from_logs()
    security = source.security
    options: dict[str, Any] = {"bootstrap_servers": source.bootstrap_servers, "client_id": "attribution"}
    if security is None:
        return options
    options["security_protocol"] = security.protocol
    if security.has_tls:
        options |= _tls_options(security)
    if security.has_token:
        return options | {"sasl_mechanism": security.mechanism, "sasl_oauth_token_provider": _token_provider(security)}
    if security.has_login:
        login = {
            "sasl_plain_username": _secret(security, "username"),
            "sasl_plain_password": _secret(security, "password"),
        }
        return options | {"sasl_mechanism": security.mechanism, **login}
    return options


def _keep_secrets_from_logs() -> None:
    """At DEBUG the client logs what it sends, passwords and tokens and all: not even where somebody asked for it."""
    below = [name for name in logging.root.manager.loggerDict if name.startswith("kafka.")]
    for logger in map(logging.getLogger, ["kafka", *below]):
        if logger.name == "kafka" or logger.level != logging.NOTSET:
            logger.setLevel(max(logger.level, logging.INFO))


def _secret(security: Security, name: str) -> str:
    file: Path | None = getattr(security, f"{name}_file")
    variable: str = getattr(security, f"{name}_env")
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError):  # what the file holds stands in no message
            key = f"input.security.{name}_file"
            raise setting_error(key, expected="a readable file of UTF-8 text", got=str(file)) from None
    value = os.environ.get(variable)
    if value is None:
        key = f"input.security.{name}_env"
        raise setting_error(key, expected=f"the environment variable {variable}", got=Bare("none of that name"))
    return value


def _tls_options(security: Security) -> dict[str, str]:
    """The files are looked at now, and by the client again at each connection, so renewed ones are taken up."""
    options: dict[str, str] = {}
    if security.ca_file is not None:
        _check_certificates("ca_file", security.ca_file)
        options["ssl_cafile"] = str(security.ca_file)
    if security.cert_file is not None and security.key_file is not None:
        _check_certificates("cert_file", security.cert_file)
        has_password = security.key_password_env or security.key_password_file
        # Without any, the library would ask whoever sits at the terminal.
        password = _secret(security, "key_password") if has_password else ""
        _check_key(security.cert_file, security.key_file, password)
        options |= {
            "ssl_certfile": str(security.cert_file),
            "ssl_keyfile": str(security.key_file),
            "ssl_password": password,
        }
    return options


def _check_certificates(key: str, file: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise setting_error(f"input.security.{key}", expected="certificates in PEM form", got=str(file)) from None
    except OSError:
        raise setting_error(f"input.security.{key}", expected="a readable file", got=str(file)) from None


def _check_key(cert_file: Path, file: Path, password: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, file, password)
    except (ssl.SSLError, ValueError):  # ValueError: an endless password
        expected = "the private key of cert_file in PEM form"
        hint = "key_password_env or key_password_file opens a locked one"
        raise setting_error("input.security.key_file", expected=expected, got=str(file), hint=hint) from None
    except OSError:
        raise setting_error("input.security.key_file", expected="a readable file", got=str(file)) from None


def _token_provider(security: Security) -> TokenProvider:
    """All that it reads is read anew at each login; that it is there is seen to now."""
    if security.token_endpoint is not None:
        client_id, client_secret = (partial(_secret, security, name) for name in ("client_id", "client_secret"))
        client_id()
        client_secret()
        endpoint = TokenEndpoint(
            security.token_endpoint, client_id, client_secret, scope=security.scope, ca_file=security.ca_file
        )
        return TokenProvider(endpoint.token)
    if not is_token(_secret(security, "token")):
        key = "input.security." + ("token_file" if security.token_file else "token_env")
        raise setting_error(key, expected="a bearer token", got=Bare("something else"))
    return TokenProvider(partial(written_token, partial(_secret, security, "token")))


def open_consumer(source: KafkaInput, connections: Connections | None = None, **options: Any) -> KafkaConsumer:
    """A consumer without a group: positions are our own commits'. Raises UnavailableError."""
    return connect(
        source,
        KafkaConsumer,
        connections,
        enable_auto_commit=False,
        group_id=None,
        isolation_level=source.isolation,
        auto_offset_reset="none",
        check_crcs=True,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        reconnect_backoff_max_ms=_BACKOFF_MAX_MS,
        **options,
    )


def connect(
    source: KafkaInput, client: Callable[..., Client], connections: Connections | None = None, **options: Any
) -> Client:
    """A client of any kind that has found its cluster. Raises UnavailableError.

    connections: tells afterwards, too, whether it is refused.
    """
    watched = connections or Connections()
    own = {"bootstrap_timeout_ms": _PATIENCE_MS, "kafka_client": watched.client}
    try:
        return client(**client_options(source), **own, **options)
    except (KafkaError, OSError) as error:
        watched.close()
        raise unreachable(source, watched.refusal or watched.no_token or error) from error


def known_offsets(
    ask: Callable[..., dict[TopicPartition, int]], partitions: Sequence[TopicPartition], timeout_ms: int
) -> dict[TopicPartition, int]:
    """What a consumer's ``beginning_offsets`` or ``end_offsets`` say of the partitions; raises KafkaError in time."""
    try:
        return ask(partitions, timeout_ms=timeout_ms)
    except KeyError as error:  # the client leaves out a partition that nobody leads now, and then misses it
        raise LeaderNotAvailableError(str(error)) from error


def unreachable(source: KafkaInput, error: BaseException) -> UnavailableError:
    """One message about a broker that cannot be used; secrets stand in none of its parts."""
    servers = source.bootstrap_servers
    if isinstance(error, NoTokenError):
        return UnavailableError(f"{servers}: {error.message}")
    if isinstance(error, SaslAuthenticationFailedError):
        return UnavailableError(f"{servers}: authentication refused. Hint: see [input.security]")
    if isinstance(error, UnsupportedSaslMechanismError):
        return UnavailableError(f"{servers}: authentication refused: it does not know input.security.mechanism")
    if why := tls_refusal(error):
        return UnavailableError(f"{servers}: TLS refused: {why}. Hint: see [input.security]")
    if isinstance(error, AuthorizationError):
        return UnavailableError(f"{servers}: not allowed: {type(error).__name__}")
    if isinstance(error, RetriableError):
        protocol = source.security.protocol if source.security else "PLAINTEXT"
        hint = f"Hint: is the address right, does the broker run, does it speak {protocol}?"
        return UnavailableError(f"{servers}: no broker answers there. {hint}")
    return UnavailableError(f"{servers}: {type(error).__name__}: {error}")
