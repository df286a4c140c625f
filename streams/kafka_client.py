"""How to reach Kafka, and what its errors mean to whoever reads them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import AuthorizationError, KafkaError, RetriableError, SaslAuthenticationFailedError

from attribution.toml_tables import Bare
from schemas.errors import UnavailableError, setting_error
from streams.settings import KafkaInput, Security

#: How long a start waits for a broker.
_PATIENCE_MS = 10_000


def client_options(source: KafkaInput) -> dict[str, Any]:
    """Options of every client; raises ConfigurationError for a secret that is not where the settings say."""
    security = source.security
    options: dict[str, Any] = {"bootstrap_servers": source.bootstrap_servers, "client_id": "attribution"}
    if security is None:
        return options
    options["security_protocol"] = security.protocol
    if security.ca_file is not None:
        options["ssl_cafile"] = str(security.ca_file)
    if security.protocol.startswith("SASL_"):
        options |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": _secret(security, "username"),
            "sasl_plain_password": _secret(security, "password"),
        }
    return options


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


def open_consumer(source: KafkaInput, **options: Any) -> KafkaConsumer:
    """A consumer without a group: positions are our own commits'. Raises UnavailableError."""
    refused = _Refused()
    logger = logging.getLogger("kafka")
    # At DEBUG the client logs its configuration, passwords and all.
    logger.setLevel(max(logger.level, logging.INFO))
    logger.addHandler(refused)
    try:
        return KafkaConsumer(
            **client_options(source),
            enable_auto_commit=False,
            group_id=None,
            isolation_level=source.isolation,
            auto_offset_reset="none",
            check_crcs=True,
            bootstrap_timeout_ms=_PATIENCE_MS,
            **options,
        )
    except (KafkaError, OSError) as error:
        raise unreachable(source, SaslAuthenticationFailedError() if refused.is_told else error) from error
    finally:
        logger.removeHandler(refused)


class _Refused(logging.Handler):
    """Notes that the broker refused the login: the client says so in its log only, and tries on."""

    is_told = False

    def emit(self, record: logging.LogRecord) -> None:
        self.is_told |= SaslAuthenticationFailedError.__name__ in record.getMessage()


def unreachable(source: KafkaInput, error: BaseException) -> UnavailableError:
    """One message about a broker that cannot be used; secrets stand in none of its parts."""
    servers = source.bootstrap_servers
    if isinstance(error, SaslAuthenticationFailedError):
        return UnavailableError(f"{servers}: authentication refused. Hint: see [input.security]")
    if isinstance(error, AuthorizationError):
        return UnavailableError(f"{servers}: not allowed to read: {type(error).__name__}")
    if isinstance(error, RetriableError):
        return UnavailableError(f"{servers}: no broker answers there. Hint: see input.bootstrap_servers")
    return UnavailableError(f"{servers}: {type(error).__name__}: {error}")
