"""What the secured broker of the tests asks for, each on a listener of its own, and what shows it.

SASL_PLAINTEXT and SASL_SSL take a password by SCRAM-SHA-512; SSL wants a client certificate, which SASL_SSL looks at
where one is shown; OAUTH is TLS with OAUTHBEARER. Kafka's own token validator for tests takes tokens that nobody
signed: who may log in is said by their claims.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path

MECHANISM = "SCRAM-SHA-512"
USER = "scram-user"
#: Words found nowhere else: a test can look for them in logs, errors and files.
PASSWORD = "scram-password-5d1f7c"
KEY_PASSWORD = "key-password-81c2e0"
#: The security protocol of each listener.
PROTOCOLS = {"SASL_PLAINTEXT": "SASL_PLAINTEXT", "SASL_SSL": "SASL_SSL", "SSL": "SSL", "OAUTH": "SASL_SSL"}
#: A token without it is refused.
SCOPE = "events"
#: How long a login by token holds before the client must show one again.
SESSION_SECONDS = 3
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_OAUTH = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    f'unsecuredLoginStringClaim_sub="broker" unsecuredValidatorRequiredScope="{SCOPE}";'
)


def settings(folder: Path) -> dict[str, str]:
    """For ``server.properties``; the files are those of ``make_certificates``."""
    oauth = "listener.name.oauth"
    return {
        "sasl.enabled.mechanisms": MECHANISM,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "client.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.sasl_ssl.ssl.client.auth": "requested",
        **{
            f"listener.name.{listener}.{MECHANISM.lower()}.sasl.jaas.config": _SCRAM
            for listener in ("sasl_plaintext", "sasl_ssl")
        },
        f"{oauth}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{oauth}.oauthbearer.sasl.jaas.config": _OAUTH,
        f"{oauth}.oauthbearer.connections.max.reauth.ms": str(SESSION_SECONDS * 1_000),
    }


def make_certificates(folder: Path) -> None:
    """Each its own authority, with its key beside it.

    ``ca.pem`` with ``broker.pem`` (the key, too), ``client.pem`` with ``client.key`` and ``client.locked.key``, which
    ``KEY_PASSWORD`` opens; of one whom the broker does not know ``stranger.pem`` with ``stranger.key``.
    """
    _certificate(folder / "ca.pem", folder / "broker.key", "127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    parts = [(folder / name).read_text() for name in ("broker.key", "ca.pem")]
    (folder / "broker.pem").write_text("".join(parts))
    for name in ("client", "stranger"):
        _certificate(folder / f"{name}.pem", folder / f"{name}.key", name)
    locked = ("-aes256", "-passout", f"pass:{KEY_PASSWORD}", "-out", folder / "client.locked.key")
    _openssl("pkey", "-in", folder / "client.key", *locked)


def _certificate(file: Path, key: Path, name: str, *more: str) -> None:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    _openssl(
        "req", "-x509", "-nodes", *curve, "-keyout", key, "-out", file, "-subj", f"/CN={name}", "-days", "3650", *more
    )


def _openssl(*arguments: str | Path) -> None:
    run = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed:\n{run.stdout}{run.stderr}")


def token(*, subject: str = "attribution", scope: str = SCOPE, seconds: float = 3_600) -> str:
    """One that the listener OAUTH takes for so many seconds; below 0: no more."""
    now = time.time()
    claims = {"sub": subject, "scope": scope, "iat": now + min(seconds, 0) - 1, "exp": now + seconds}
    return f"{_part({'alg': 'none'})}.{_part(claims)}."


def _part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
