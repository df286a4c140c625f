"""The dashboard and the alerts: Grafana and Prometheus take them, and they ask only for what the engine serves."""

from __future__ import annotations

import doctest
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from tests import promql
from tests.pages import ROOT
from tests.promql import labels_in, metrics_in, served_labels, served_metrics

DEPLOY = ROOT / "deploy"

# --- the dashboard ---


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())
    return loaded


def dashboard_queries() -> list[str]:
    board = dashboard()
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    asked += [note["expr"] for note in board["annotations"]["list"] if "expr" in note]
    return asked + [
        variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"
    ]


def overlapping(panels: Sequence[dict[str, Any]]) -> list[str]:
    """Titles of panels that cover a cell of another one, or lie outside of the 24 columns."""
    cells: dict[tuple[int, int], str] = {}
    found = []
    for panel in panels:
        at = panel["gridPos"]
        own = [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
        if any(cell in cells or cell[0] >= 24 for cell in own):
            found.append(panel["title"])
        cells |= dict.fromkeys(own, panel["title"])
    return found


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 38  # Grafana 10
    assert board["id"] is None
    assert board["uid"]
    numbers = Counter(panel["id"] for panel in board["panels"])
    assert max(numbers.values()) == 1
    assert overlapping(board["panels"]) == []
    for panel in board["panels"]:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert Counter(target["refId"] for target in panel["targets"]).most_common(1)[0][1] == 1


def test_the_dashboard_takes_its_data_source_from_a_variable() -> None:
    board = dashboard()
    [source] = [v["name"] for v in board["templating"]["list"] if v["type"] == "datasource"]
    uids = {found["uid"] for found in _all_of("datasource", board) if found["type"] == "prometheus"}
    assert uids == {f"${{{source}}}"}
    assert all('job=~"$job",instance=~"$instance"' in query for query in dashboard_queries()[:-2])


def _all_of(key: str, value: Any) -> Iterator[Any]:
    """Every member of that name, at any depth."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in inner:
        yield from _all_of(key, child)
    if isinstance(value, dict) and key in value:
        yield value[key]


def test_every_metric_of_the_engine_is_on_the_dashboard_and_no_other() -> None:
    asked = {name for query in dashboard_queries() for name in metrics_in(query)}
    assert asked <= served_metrics()
    own = {re.sub("_(bucket|sum|count)$", "", name) for name in served_metrics() if name.startswith("attribution_")}
    assert own == {re.sub("_bucket$", "", name) for name in asked if name.startswith("attribution_")}


def test_every_label_on_the_dashboard_is_one_that_metrics_have() -> None:
    legends = {
        word
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
        for word in re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"])
    }
    assert legends | {name for query in dashboard_queries() for name in labels_in(query)} <= served_labels()


def test_panels_that_overlap_are_found() -> None:
    one = {"title": "one", "gridPos": {"x": 0, "y": 0, "w": 12, "h": 4}}
    beside = {"title": "beside", "gridPos": {"x": 12, "y": 0, "w": 12, "h": 4}}
    over = {"title": "over", "gridPos": {"x": 11, "y": 3, "w": 2, "h": 2}}
    outside = {"title": "outside", "gridPos": {"x": 20, "y": 9, "w": 5, "h": 1}}
    assert overlapping([one, beside, over, outside]) == ["over", "outside"]


def test_a_query_for_what_is_not_there_is_found() -> None:
    assert doctest.testmod(promql).failed == 0
    assert metrics_in("rate(attribution_gone_total[5m]) > 1") - served_metrics() == {"attribution_gone_total"}
    assert labels_in('sum by (gone) (up{lost="x"})') - served_labels() == {"gone", "lost"}


# --- alerts ---


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_asks_for_metrics_and_labels_that_there_are() -> None:
    names = Counter(rule["alert"] for rule in alerts())
    assert max(names.values()) == 1
    for rule in alerts():
        assert metrics_in(rule["expr"]), rule["alert"]
        assert metrics_in(rule["expr"]) <= served_metrics(), rule["alert"]
        shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert labels_in(rule["expr"]) | shown <= served_labels(), rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
