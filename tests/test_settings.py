"""The pipeline file: its defaults, what it may say, and how everything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from attribution.rules import combine, parse_rules
from schemas.errors import ConfigurationError
from schemas.events import Kind
from streams.security_settings import Security
from streams.settings import (
    Archive,
    FilesInput,
    Http,
    KafkaInput,
    Settings,
    Time,
    Topic,
    check_rules_against,
    load_settings,
)

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
DURATION = 'a duration such as "7d" or "1h30m" (units ms s m h d w, each at most once; at most 36500d)'
LISTEN = '127.0.0.1 and a port from 1 to 65535 such as "127.0.0.1:9464"'
SERVERS = 'one or more HOST:PORT, separated by commas, such as "127.0.0.1:9092"'
TOPIC_NAME = "the name of a topic: a text without slashes that is not empty"

FILES = """\
base_currency = "USD"
rules = "rules"
#main
[input]
source = "files"
path = "../data"
#input
[[input.topic]]
name = "inferences"
kind = "inference"
#topic
[output]
path = "../out"
#output
"""
KAFKA = FILES.replace('source = "files"\npath = "../data"', 'source = "kafka"\nbootstrap_servers = "127.0.0.1:9092"')


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    return tmp_path / "conf" / "pipeline.toml"


def load(pipeline: Path, text: str) -> Settings:
    pipeline.write_text(text)
    return load_settings(pipeline)


def missing(key: str) -> str:
    return f"{key}: expected a value, got nothing. Hint: {key.rpartition('.')[2]} is required here"


def refusal(pipeline: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(pipeline, text)
    assert caught.value.exit_code == 2
    return str(caught.value).removeprefix(f"{pipeline}: ")


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_everything_but_the_required_keys_has_its_default(pipeline: Path) -> None:
    settings = load(pipeline, FILES)
    assert settings.base_currency == "USD"
    assert (settings.fx, settings.archive, settings.http, settings.state.path) == (None, None, None, None)
    assert (settings.fx_max_age_us, settings.fx_max_age_days) == (7 * DAY_US, 7)
    assert isinstance(settings.input, FilesInput)
    assert settings.input.max_record_bytes == 1_048_576
    assert settings.input.topics == (Topic(name="inferences", kind=Kind.INFERENCE, mapping="canonical"),)
    assert settings.time.allowed_lateness_us == DAY_US
    assert settings.time.reversal_window_us == 60 * DAY_US
    assert settings.time.max_future_skew_us == 5 * MINUTE_US
    assert settings.time.idle_after_us == MINUTE_US
    assert settings.output.roll_interval_us == MINUTE_US
    assert (settings.state.commit_interval_us, settings.state.memory_bytes) == (10_000_000, 1024**3)


def test_kafka_has_its_defaults_and_an_archive(pipeline: Path) -> None:
    settings = load(pipeline, KAFKA)
    assert isinstance(settings.input, KafkaInput)
    assert settings.input.bootstrap_servers == "127.0.0.1:9092"
    assert (settings.input.start, settings.input.isolation) == ("earliest", "read_committed")
    assert settings.input.security is None
    assert isinstance(settings.archive, Archive)
    assert settings.archive.path == pipeline.parent / "../archive"
    assert (settings.archive.retention_us, settings.archive.drop) == (400 * DAY_US, ())


def test_paths_are_relative_to_the_file(pipeline: Path) -> None:
    text = FILES.replace('rules = "rules"', 'rules = "/etc/rules"\nfx = "fx.csv"') + '[state]\npath = "../state"\n'
    settings = load(pipeline, text + '[archive]\npath = "kept"\n')
    folder = pipeline.parent
    assert isinstance(settings.input, FilesInput)
    assert settings.archive is not None
    assert (settings.rules, settings.fx) == (Path("/etc/rules"), folder / "fx.csv")
    assert (settings.input.path, settings.output.path) == (folder / "../data", folder / "../out")
    assert (settings.state_path(), settings.archive.path) == (folder / "../state", folder / "kept")
    assert settings.file == pipeline


def test_every_key_is_read(pipeline: Path) -> None:
    text = KAFKA.replace("#main", 'fx_max_age = "24h"').replace("#input", 'start = "latest"\nmax_record_bytes = 1')
    text = text.replace("#topic", '[[input.topic]]\nname = "deals"\nkind = "conversion"\nmapping = "canonical"')
    text = (
        text.replace("#output", 'roll_interval = "5s"')
        + """
[input.security]
protocol = "SASL_PLAINTEXT"
mechanism = "PLAIN"
username_env = "NAME"
password_file = "password"
[time]
allowed_lateness = "0s"
reversal_window = "0s"
max_future_skew = "0s"
idle_after = "1ms"
[state]
path = "../state"
commit_interval = "1s"
memory = "512MiB"
[archive]
retention = "1d"
drop = ["user_id"]
[http]
listen = "127.0.0.1:80"
"""
    )
    settings = load(pipeline, text)
    assert isinstance(settings.input, KafkaInput)
    assert settings.archive is not None
    security = settings.input.security
    assert isinstance(security, Security)
    assert (security.protocol, security.mechanism, security.username_env) == ("SASL_PLAINTEXT", "PLAIN", "NAME")
    assert (security.password_file, security.ca_file) == (pipeline.parent / "password", None)
    assert settings.fx_max_age_days == 1
    assert (settings.input.start, settings.input.max_record_bytes) == ("latest", 1)
    assert [topic.kind for topic in settings.input.topics] == [Kind.INFERENCE, Kind.CONVERSION]
    assert settings.time == Time.model_validate(
        {"allowed_lateness": "0s", "reversal_window": "0s", "max_future_skew": "0s", "idle_after": "1ms"}
    )
    assert (settings.state.commit_interval_us, settings.state.memory_bytes) == (1_000_000, 512 * 1024**2)
    assert (settings.archive.retention_us, settings.archive.drop) == (DAY_US, ("user_id",))
    assert settings.output.roll_interval_us == 5_000_000
    assert settings.http == Http(listen="127.0.0.1:80")
    assert settings.http.port == 80


def test_a_section_without_keys_means_its_defaults(pipeline: Path) -> None:
    settings = load(pipeline, KAFKA + "[http]\n[input.security]\n")
    assert settings.http is not None
    assert settings.http.listen == "127.0.0.1:9464"
    assert isinstance(settings.input, KafkaInput)
    assert settings.input.security == Security(
        protocol="SASL_SSL", mechanism="SCRAM-SHA-512", username_env="KAFKA_USERNAME", password_env="KAFKA_PASSWORD"
    )


def test_settings_cannot_be_changed(pipeline: Path) -> None:
    settings = load(pipeline, FILES)
    with pytest.raises(ValidationError, match="frozen"):
        settings.time.idle_after_us = 1


def test_only_run_needs_a_state_path(pipeline: Path) -> None:
    settings = load(pipeline, FILES)
    with pytest.raises(ConfigurationError) as caught:
        settings.state_path()
    hint = 'Hint: add path = "../state" to [state]'
    assert str(caught.value) == f"{pipeline}: state.path: expected a folder, got nothing. {hint}"


# --- what is refused --------------------------------------------------------------------------------------------------

MORE = [
    ("#main", "fx_max_age = 7", f"fx_max_age: expected {DURATION}, got 7"),
    ("#main", 'fx_max_age = "36h"', 'fx_max_age: expected whole days such as "7d", got "36h"'),
    ("#main", 'fx_max_age = "0d"', f'fx_max_age: expected {DURATION}, above 0, got "0d"'),
    ("#main", 'fx = ""', 'fx: expected a path, relative to this file, got ""'),
    ("#main", 'fx_max_ages = "7d"', ('fx_max_ages: expected a known key, got "fx_max_ages". '
     'Hint: did you mean "fx_max_age"?')),
    ("#main", "time = 3", "time: expected a table, got 3"),
    ("#input", "max_record_bytes = 0", "input.max_record_bytes: expected an integer of at least 1, got 0"),
    ("#input", 'max_record_bytes = "1"', 'input.max_record_bytes: expected an integer, got "1"'),
    ("#input", "max_record_bytes = 1.0", "input.max_record_bytes: expected an integer, got 1.0"),
    ("#input", "max_record_bytes = true", "input.max_record_bytes: expected an integer, got true"),
    ("#input", 'start = "latest"',
     'input.start: expected a known key, got "start". Hint: it belongs to source = "kafka"'),
    ("#topic", 'knd = ""', 'input.topic 1.knd: expected a known key, got "knd". Hint: did you mean "kind"?'),
    ("#topic", 'mapping = "x"', 'input.topic 1.mapping: expected one of "canonical", got "x"'),
    ("#topic", "[[input.topic]]\nkind = 'reversal'",
     missing("input.topic 2.name")),
    ("#topic", "[[input.topic]]\nname = 'x'",
     missing("input.topic 2.kind")),
    ("#topic", "[[input.topic]]\nname = 'x'\nkind = 'reversals'",
     ('input.topic 2.kind: expected one of "inference", "conversion", "time_saved", "reversal", "score", '
     'got "reversals". Hint: did you mean "reversal"?')),
    ("#topic", "[[input.topic]]\nname = 'inferences'\nkind = 'reversal'",
     ('input.topic 2.name: expected a name no other topic has, got "inferences" twice. '
     "Hint: one topic holds one kind of event")),
    *[("#topic", f"[[input.topic]]\nname = '{name}'\nkind = 'reversal'",
       f'input.topic 2.name: expected {TOPIC_NAME}, got "{name}"') for name in ("", ".", "..", "a/b", "../x")],
    ("#output", 'roll_interval = "0s"', f'output.roll_interval: expected {DURATION}, above 0, got "0s"'),
    ("#output", '[time]\nallowed_lateness = "1 d"', f'time.allowed_lateness: expected {DURATION}, got "1 d"'),
    ("#output", '[time]\nidle_after = "0s"', f'time.idle_after: expected {DURATION}, above 0, got "0s"'),
    ("#output", "[time]\nallowed_lateness_us = 5",
     ('time.allowed_lateness_us: expected a known key, got "allowed_lateness_us". '
     'Hint: did you mean "allowed_lateness"?')),
    ("#output", '[state]\ncommit_interval = "0s"', f'state.commit_interval: expected {DURATION}, above 0, got "0s"'),
    *[("#output", f"[state]\nmemory = {memory}",
       f'state.memory: expected a size such as "512MiB" or "1GiB", above 0, got {memory}')
      for memory in ('"1GB"', '"0GiB"', '"1.5GiB"', '"1 GiB"', '"GiB"', "1073741824")],
    ("#output", '[state]\npath = "../out"', "state.path: expected a folder of its own, got the folder of output.path"),
    ("#output", '[state]\npath = "./../data/"',
     "state.path: expected a folder of its own, got the folder of input.path"),
    ("#output", '[archive]\nretention = "0d"', f'archive.retention: expected {DURATION}, above 0, got "0d"'),
    ("#output", '[archive]\ndrop = ["event_time"]',
     "archive.drop: expected fields that inference events can do without, got event_time"),
    ("#output", '[archive]\ndrop = "user"', 'archive.drop: expected a list, got "user"'),
    ("#output", '[archive]\ndrop = ["a", ""]', 'archive.drop 2: expected a text that is not empty, got ""'),
    ("#output", "[http]\nport = 1", 'http.port: expected a known key, got "port". Hint: known are listen'),
    *[("#output", f'[http]\nlisten = "{listen}"', f'http.listen: expected {LISTEN}, got "{listen}"')
      for listen in ("127.0.0.1", "9464", "127.0.0.1:0", "127.0.0.1:65536", "")],
    *[("#output", f'[http]\nlisten = "{host}:80"', (f'http.listen: expected {LISTEN}, got "{host}:80". '
       "Hint: it is served to this machine only; a proxy may publish it")) for host in ("0.0.0.0", "", "example.org")],
    ("#output", "[metrics]", ('metrics: expected a known key, got "metrics". '
     "Hint: known are base_currency, rules, fx, fx_max_age, input, time, output, state, archive, http")),
]  # fmt: skip


@pytest.mark.parametrize(("mark", "line", "message"), MORE, ids=[line for _, line, _ in MORE])
def test_a_wrong_line_is_refused_with_place_expected_got_and_hint(
    pipeline: Path, mark: str, line: str, message: str
) -> None:
    assert refusal(pipeline, FILES.replace(mark, line)) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('base_currency = "USD"\n', "", missing("base_currency")),
        ('rules = "rules"\n', "", missing("rules")),
        ('rules = "rules"', 'ruls = "rules"', 'ruls: expected a known key, got "ruls". Hint: did you mean "rules"?'),
        ('rules = "rules"', "rules = 5", "rules: expected a path, relative to this file, got 5"),
        ('"USD"', '"usd"',
         'base_currency: expected an active ISO 4217 code such as "USD", got "usd". Hint: write "USD"'),
        ('"USD"', '"DEM"', 'base_currency: expected an active ISO 4217 code such as "USD", got "DEM"'),
        ('"files"', '"file"',
         'input.source: expected one of "files", "kafka", got "file". Hint: did you mean "files"?'),
        ('source = "files"\n', "",
         'input.source: expected one of "files", "kafka", got nothing. Hint: source is required here'),
        ('path = "../data"\n', "", missing("input.path")),
        ('path = "../out"\n', "", missing("output.path")),
        ('"../out"', '"../data"', "output.path: expected a folder of its own, got the folder of input.path"),
        ("[[input.topic]]", "[input.topic]", "input.topic: expected one or more [[input.topic]] tables, got a table"),
        ('[[input.topic]]\nname = "inferences"\nkind = "inference"\n', "topic = []",
         "input.topic: expected one or more [[input.topic]] tables, got a list of 0"),
        ('[[input.topic]]\nname = "inferences"\nkind = "inference"\n', "",
         missing("input.topic")),
        ("[output]", "[output", ('line 12: expected TOML, got "[output". Hint: '
         "Expected ']' at the end of a table declaration")),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused(pipeline: Path, old: str, new: str, message: str) -> None:
    assert old in FILES
    assert refusal(pipeline, FILES.replace(old, new, 1)) == message


@pytest.mark.parametrize("servers", ["", "localhost", "localhost:", "a:1,", "a:1;b:2", "http://a:1", "a:0"])
def test_a_kafka_address_needs_host_and_port(pipeline: Path, servers: str) -> None:
    text = KAFKA.replace("127.0.0.1:9092", servers)
    assert refusal(pipeline, text) == f'input.bootstrap_servers: expected {SERVERS}, got "{servers}"'


def test_several_kafka_addresses_are_read(pipeline: Path) -> None:
    settings = load(pipeline, KAFKA.replace("127.0.0.1:9092", "a.example:1, [::1]:65535"))
    assert isinstance(settings.input, KafkaInput)
    assert settings.input.bootstrap_servers == "a.example:1,[::1]:65535"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path / "none.toml")
    assert str(caught.value) == f"{tmp_path}/none.toml: expected a readable file, got No such file or directory"
    assert caught.value.exit_code == 2


# --- rules beside settings --------------------------------------------------------------------------------------------

RULE = """
use_case = "search"
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "conversion"
type = "*"
lookback_window = "7d"
credit = "last"
early_tolerance = "TOLERANCE"
"""


def test_an_early_tolerance_may_be_as_long_as_the_reversal_window_and_no_longer(pipeline: Path) -> None:
    settings = load(pipeline, FILES + '[time]\nreversal_window = "2d"\n')
    check_rules_against(combine([parse_rules(RULE.replace("TOLERANCE", "48h"), "a.toml")]), settings)
    with pytest.raises(ConfigurationError) as caught:
        check_rules_against(combine([parse_rules(RULE.replace("TOLERANCE", "2d1ms"), "a.toml")]), settings)
    assert str(caught.value) == (
        f'a.toml: rule 1: early_tolerance: expected at most the reversal_window of {pipeline}, 2d, got "2d1ms"'
    )
