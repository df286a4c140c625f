"""``[input.security]``: what it may say, and how a key without effect or a secret in the file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from streams.security_settings import Security
from streams.settings import KafkaInput, load_settings

KAFKA = """\
base_currency = "USD"
rules = "rules"
[input]
source = "kafka"
bootstrap_servers = "127.0.0.1:9092"
[[input.topic]]
name = "inferences"
kind = "inference"
[output]
path = "../out"
[input.security]
"""
ENDPOINT = "an https address, http on this machine only, such as https://login.example.com/token"
TOKEN_ENDPOINT = "https://login.example.com:8443/oauth2/token?version=2"


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    return tmp_path / "conf" / "pipeline.toml"


def load(pipeline: Path, section: str) -> Security:
    pipeline.write_text(f"{KAFKA}{section}\n")
    settings = load_settings(pipeline)
    assert isinstance(settings.input, KafkaInput)
    assert settings.input.security is not None
    return settings.input.security


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ('protocol = "SSL"\ncert_file = "a.pem"\nkey_file = "a.key"\nkey_password_env = "P"',
         {"cert_file": "a.pem", "key_file": "a.key", "key_password_env": "P", "ca_file": None}),
        ('cert_file = "a.pem"\nkey_file = "a.key"\nkey_password_file = "p"',
         {"protocol": "SASL_SSL", "key_password_file": "p", "key_password_env": None}),
        ('mechanism = "OAUTHBEARER"\ntoken_file = "t"', {"token_file": "t", "token_env": None}),
        ('mechanism = "OAUTHBEARER"\ntoken_env = "T"\nprotocol = "SASL_PLAINTEXT"', {"token_env": "T"}),
        (f'mechanism = "OAUTHBEARER"\ntoken_endpoint = "{TOKEN_ENDPOINT}"',
         {"token_endpoint": TOKEN_ENDPOINT, "scope": None,
          "client_id_env": "KAFKA_CLIENT_ID", "client_secret_env": "KAFKA_CLIENT_SECRET"}),
        ((f'mechanism = "OAUTHBEARER"\ntoken_endpoint = "{TOKEN_ENDPOINT}"\nscope = "a b"\nclient_id_file = "i"\n'
          'client_secret_file = "s"'), {"scope": "a b", "client_id_file": "i", "client_secret_file": "s"}),
        *[(f'mechanism = "OAUTHBEARER"\ntoken_endpoint = "{endpoint}"', {"token_endpoint": endpoint})
          for endpoint in ("http://localhost/t", "http://127.3.2.1:80", "http://[::1]:80/t", "https://10.0.0.1")],
    ],
)  # fmt: skip
def test_certificates_and_tokens_are_read(pipeline: Path, section: str, expected: dict[str, str | None]) -> None:
    security = load(pipeline, section)
    found = {key: getattr(security, key) for key in expected}
    paths = {key: pipeline.parent / str(name) for key, name in expected.items() if name and key.endswith("_file")}
    assert found == expected | paths


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('protocol = "TLS"',
         'protocol: expected one of "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL", got "TLS"'),
        ('mechanism = "GSSAPI"',
         'mechanism: expected one of "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", got "GSSAPI"'),
        ('mechansm = "PLAIN"', 'mechansm: expected a known key, got "mechansm". Hint: did you mean "mechanism"?'),
        ('password = "s3cret"', ('password: expected a known key, got "password". '
         "Hint: secrets never stand here: name password_env or password_file")),
        ('username = "me"', ('username: expected a known key, got "username". '
         "Hint: secrets never stand here: name username_env or username_file")),
        *[(f'{secret} = "s3cret"', (f'{secret}: expected a known key, got "{secret}". '
           f"Hint: secrets never stand here: name {secret}_env or {secret}_file"))
          for secret in ("token", "client_secret", "key_password")],
        ('username_env = ""', 'username_env: expected a text that is not empty, got ""'),
        ('password_env = "A"\npassword_file = "b"',
         "password_file: expected one of password_env and password_file, got both"),
        ('protocol = "SSL"\nusername_env = "A"',
         'username_env: expected a SASL protocol beside it, got protocol = "SSL"'),
        ('protocol = "SASL_PLAINTEXT"\nca_file = "ca.pem"',
         'ca_file: expected SSL or SASL_SSL beside it, got protocol = "SASL_PLAINTEXT"'),
        ('protocol = "SASL_PLAINTEXT"\nkey_file = "a.key"\ncert_file = "a.pem"',
         'cert_file: expected SSL or SASL_SSL beside it, got protocol = "SASL_PLAINTEXT"'),
        ('cert_file = "a.pem"', "cert_file: expected key_file beside it, got nothing"),
        ('key_file = "a.key"', "key_file: expected cert_file beside it, got nothing"),
        ('key_password_env = "P"', "key_password_env: expected key_file beside it, got nothing"),
        ('cert_file = "a.pem"\nkey_file = "a.key"\nkey_password_env = "P"\nkey_password_file = "p"',
         "key_password_file: expected one of key_password_env and key_password_file, got both"),
        ('protocol = "SSL"\ntoken_file = "t"',
         'token_file: expected a SASL protocol beside it, got protocol = "SSL"'),
        ('token_file = "t"',
         'token_file: expected mechanism = "OAUTHBEARER" beside it, got mechanism = "SCRAM-SHA-512"'),
        ('mechanism = "PLAIN"\nscope = "s"',
         'scope: expected mechanism = "OAUTHBEARER" beside it, got mechanism = "PLAIN"'),
        ('mechanism = "OAUTHBEARER"\ntoken_file = "t"\npassword_file = "p"',
         'password_file: expected PLAIN or SCRAM beside it, got mechanism = "OAUTHBEARER"'),
        ('mechanism = "OAUTHBEARER"',
         ('mechanism: expected token_endpoint, token_env or token_file beside it, '
          'got mechanism = "OAUTHBEARER" alone')),
        ('mechanism = "OAUTHBEARER"\ntoken_file = "t"\ntoken_env = "T"',
         "token_file: expected one of token_env and token_file, got both"),
        (f'mechanism = "OAUTHBEARER"\ntoken_file = "t"\ntoken_endpoint = "{TOKEN_ENDPOINT}"',
         "token_endpoint: expected one of token_endpoint, token_env and token_file, got two of them"),
        *[(f'mechanism = "OAUTHBEARER"\ntoken_file = "t"\n{key} = "x"',
           f"{key}: expected token_endpoint beside it, got nothing")
          for key in ("client_id_env", "client_id_file", "client_secret_env", "client_secret_file", "scope")],
        ((f'mechanism = "OAUTHBEARER"\ntoken_endpoint = "{TOKEN_ENDPOINT}"\nclient_secret_env = "S"\n'
          'client_secret_file = "s"'),
         "client_secret_file: expected one of client_secret_env and client_secret_file, got both"),
        *[(f'mechanism = "OAUTHBEARER"\ntoken_endpoint = "{endpoint}"',
           f'token_endpoint: expected {ENDPOINT}, got "{endpoint}"')
          for endpoint in ("", "login.example.com/token", "http://login.example.com/token", "http://10.0.0.1/", "https://",
                           "ftp://localhost/", "https://a b/", "https://a/#b", "https://a:x/", "https://a:0/",
                           "https://[::1", "http://localhost.example.com/")],
        *[(f'mechanism = "OAUTHBEARER"\ntoken_endpoint = "{endpoint}"',
           (f"token_endpoint: expected {ENDPOINT}, without a name or password in it, got one with an @. "
            "Hint: client_id_env and client_secret_env say where name and secret are"))
          for endpoint in ("https://me:s3cret@login.example.com/", "https://me:s3cret@a:x/", "http://s3cret@localhost/")],
    ],
)  # fmt: skip
def test_wrong_security_is_refused_and_no_secret_is_shown(pipeline: Path, section: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(pipeline, section)
    assert str(caught.value) == f"{pipeline}: input.security.{message}"
    assert "s3cret" not in message
