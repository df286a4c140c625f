"""What runs the engine: unit, image and StatefulSet name only commands, settings and folders that there are."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from schemas.errors import ConfigurationError
from streams.live.http import Health, Metrics, serve
from streams.publish import load_policy
from streams.settings import KafkaInput, Settings, load_settings
from tests.pages import ROOT, unknown_in

DEPLOY = ROOT / "deploy"
DATA, CONFIG = "/var/lib/attribution", "/etc/attribution"
PORT = 9464

# --- the unit of systemd ---


def unit() -> dict[str, list[str]]:
    """All values of each key."""
    values: dict[str, list[str]] = {}
    for line in (DEPLOY / "attribution.service").read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            values.setdefault(key, []).append(value)
    return values


def test_the_unit_runs_a_command_that_there_is_and_writes_to_one_folder() -> None:
    values = unit()
    program, *arguments = shlex.split(values["ExecStart"][0])
    assert unknown_in(shlex.join([Path(program).name, *arguments])) == ""
    assert arguments == ["run", f"{CONFIG}/pipeline.toml"]
    assert values["ReadWritePaths"] == [DATA]
    assert values["ProtectSystem"] == ["strict"]
    assert values["User"] == ["attribution"]


def test_the_unit_does_not_start_again_what_a_person_has_to_correct() -> None:
    values = unit()
    assert values["Restart"] == ["on-failure"]
    assert values["RestartPreventExitStatus"] == [str(ConfigurationError.exit_code)]


# --- the image ---


def image() -> list[list[tuple[str, str]]]:
    """(instruction, arguments) of each stage."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.strip().split(maxsplit=1) for line in text.splitlines() if line.strip() and line[0] != "#"]
    stages: list[list[tuple[str, str]]] = []
    for instruction, arguments in lines:
        if instruction == "FROM":
            stages.append([])
        stages[-1].append((instruction, arguments))
    return stages


def test_the_image_runs_the_engine_as_its_first_process_and_not_as_root() -> None:
    last = dict(image()[-1])
    command = json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])  # lists: without a shell
    assert unknown_in(shlex.join(command)) == ""
    assert last["USER"] == "10001:10001"
    assert last["VOLUME"] == DATA


def test_the_image_holds_only_what_a_lock_has_hashes_of() -> None:
    installed = [call for stage in image() for _, text in stage for call in re.findall(r"pip install [^&]*", text)]
    assert len(installed) == 3
    assert all("--require-hashes" in call or "--no-index" in call for call in installed)
    copied = [text for _, text in image()[0] if _ == "COPY"]
    assert all((ROOT / path).exists() for text in copied for path in text.split()[:-1])


def test_the_lock_of_what_runs_is_the_part_of_the_lock_that_runs() -> None:
    whole, part = _pins(ROOT / "requirements.lock"), _pins(DEPLOY / "requirements.lock")
    assert {name: pins for name, pins in part.items() if whole.get(name) != pins} == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert _needed(project["dependencies"]) <= set(part)
    assert {canonicalize_name(Requirement(text).name) for text in project["optional-dependencies"]["dev"]}.isdisjoint(
        part
    )


def _pins(lock: Path) -> dict[str, list[str]]:
    """By name: what stands in its lines, hashes included."""
    text = re.sub(r"\s*\\\n\s*", " ", lock.read_text())
    pins: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.match(r"[a-z0-9]", line):
            pins.setdefault(line.partition("==")[0], []).append(line)
    return pins


def _needed(dependencies: Sequence[str]) -> set[str]:
    """These and all that they need here."""
    found: set[str] = set()
    left = [Requirement(text) for text in dependencies]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            left += map(Requirement, requires(name) or [])
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed")
    return found


# --- Kubernetes ---


def objects() -> dict[tuple[str, str], dict[str, Any]]:
    """By kind and name."""
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = objects()["StatefulSet", "attribution"]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    [found] = [one for one in pod()["containers"] if one["name"] == name]
    return dict(found)


def pipeline(folder: Path) -> Settings:
    """The pipeline file as the pod finds it, in a folder of its own."""
    data = objects()["ConfigMap", "attribution-config"]["data"]
    [volume] = [volume["configMap"] for volume in pod()["volumes"] if volume["name"] == "config"]
    assert {item["key"] for item in volume["items"]} == set(data)
    for item in volume["items"]:
        path = folder / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data[item["key"]])
    return load_settings(folder / "pipeline.toml")


def test_there_is_one_pod_at_most_with_one_volume() -> None:
    spec = objects()["StatefulSet", "attribution"]["spec"]
    assert spec["replicas"] == 1
    [claim] = spec["volumeClaimTemplates"]
    volumes = {volume["name"] for volume in pod()["volumes"]} | {claim["metadata"]["name"]}
    used = {mount["name"] for one in pod()["containers"] for mount in one["volumeMounts"]}
    assert used == volumes
    mounts = {mount["name"]: mount["mountPath"] for mount in container("attribution")["volumeMounts"]}
    assert mounts["data"] == DATA
    assert mounts["config"] == CONFIG
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert objects()["Service", spec["serviceName"]]["spec"]["selector"] == spec["selector"]["matchLabels"]


def test_the_pod_has_a_pipeline_with_rules_and_rates_that_can_be_run(tmp_path: Path) -> None:
    settings = pipeline(tmp_path)
    assert load_policy(settings).policy.rules.rules
    assert unknown_in(shlex.join(["attribution", *container("attribution")["args"]])) == ""
    assert settings.archive is not None
    assert settings.http is not None
    assert settings.http.port == PORT
    for folder in (settings.output.path, settings.state_path(), settings.archive.path):
        assert folder.is_relative_to(DATA)
    assert isinstance(settings.input, KafkaInput)
    security = settings.input.security
    assert security is not None
    variables = {variable["name"] for variable in container("attribution")["env"]}
    assert variables == {security.username_env, security.password_env}


def test_metrics_leave_the_pod_through_a_proxy_that_asks_the_engine() -> None:
    proxy = objects()["ConfigMap", "attribution-metrics"]["data"]["nginx.conf"]
    [listens] = re.findall(r"listen (\d+);", proxy)
    assert f"location = /metrics {{\n        proxy_pass http://127.0.0.1:{PORT};" in re.sub(
        " +(?=proxy)", " " * 8, proxy
    )
    [port] = container("metrics")["ports"]
    assert port["containerPort"] == int(listens)
    [service] = objects()["Service", "attribution"]["spec"]["ports"]
    assert service == {"name": "metrics", "port": int(listens), "targetPort": port["name"]}


# --- probes ---


def probes() -> dict[str, list[str]]:
    """Commands by where they stand."""
    engine = container("attribution")
    found = {kind: engine[kind]["exec"]["command"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    return found | {"HEALTHCHECK": json.loads(dict(image()[-1])["HEALTHCHECK"].partition("CMD ")[2])}


def test_probes_differ_in_their_path_alone() -> None:
    paths = {name: re.findall(rf":{PORT}(/\w+)", command[2]) for name, command in probes().items()}
    assert paths == {
        "startupProbe": ["/readyz"],
        "livenessProbe": ["/healthz"],
        "readinessProbe": ["/readyz"],
        "HEALTHCHECK": ["/healthz"],
    }
    assert len({re.sub(r"/(readyz|healthz)", "", shlex.join(command)) for command in probes().values()}) == 1


@pytest.mark.parametrize("name", ["startupProbe", "livenessProbe", "HEALTHCHECK"])
def test_a_probe_ends_well_exactly_where_the_engine_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    _, *arguments = probes()[name]
    clock = [0.0]
    health = Health(now=lambda: clock[0])
    health.ready()
    with serve(0, Metrics(), health) as server:

        def ends_well() -> bool:
            command = [sys.executable, *(text.replace(f":{PORT}", f":{server.port}") for text in arguments)]
            return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0

        assert ends_well()
        clock[0] = 60.0
        assert not ends_well()
    assert not ends_well()
