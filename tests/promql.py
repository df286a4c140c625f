"""What queries of Prometheus ask for, and what the engine serves. No parser: enough for queries as they stand here."""

from __future__ import annotations

import re

from prometheus_client.metrics import MetricWrapperBase

from streams.live.http import Metrics

_WORDS = {"and", "or", "unless", "offset", "bool"}
_LABELS = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")
_VARIABLE = re.compile(r"label_values\((?:(.*),\s*)?(\w+)\)")


def metrics_in(query: str) -> set[str]:
    """Names of metrics: all words but functions, labels, ranges and what stands in quotes.

    >>> sorted(metrics_in('sum by (x) (rate(a_total{y="b"}[5m])) / on (x) c offset 6h > 10e9'))
    ['a_total', 'c']
    """
    if variable := _VARIABLE.fullmatch(query):
        query = variable[1] or ""
    bare = _LABELS.sub("", re.sub(r"{[^}]*}|\[[^]]*\]", "", query))
    return set(re.findall(r"(?<![\w.])[a-zA-Z_][\w:]*(?!\w|\s*\()", bare)) - _WORDS


def labels_in(query: str) -> set[str]:
    """Names of labels: those grouped or joined by, and those of matchers.

    >>> sorted(labels_in('sum by (x, z) (rate(a_total{y="b",w!~"c"}[5m]))'))
    ['w', 'x', 'y', 'z']
    """
    variable = _VARIABLE.fullmatch(query)
    grouped = [name for names in _LABELS.findall(query) for name in re.findall(r"\w+", names)]
    matched = [name for braces in re.findall(r"{([^}]*)}", query) for name in re.findall(r"(\w+)\s*[=!]", braces)]
    return {*grouped, *matched, *([variable[2]] if variable else [])}


def served_metrics() -> set[str]:
    """All that a scrape brings, and ``up``, which Prometheus itself writes of every target."""
    types = [line.split()[2:] for line in Metrics().text().decode().splitlines() if line.startswith("# TYPE")]
    names = {name for name, of in types if of != "histogram"} | {"up"}
    return names | {f"{name}_{end}" for name, of in types if of == "histogram" for end in ("bucket", "sum", "count")}


def served_labels() -> set[str]:
    """Labels of the engine's metrics, of histograms, and those that Prometheus gives every target."""
    own = [metric._labelnames for metric in vars(Metrics()).values() if isinstance(metric, MetricWrapperBase)]
    return {"job", "instance", "le"}.union(*own)
