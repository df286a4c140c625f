"""Clusters: what is sampled together, the 1,000 groups that they fall into, and how much a few of them hold.

A user's ten inferences are not ten independent trials: one user who buys, buys in all ten. A cluster is therefore the
session, else the trace, else the inference itself. There may be as many clusters as inferences, so intervals rest on
*cluster groups*: each cluster falls by a hash of its id into one of 1,000 groups, whole. Groups are independent of one
another as clusters are, and a group-by over them is small whatever the traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from polars_hash import NonCryptographicHashingNameSpace

CLUSTER_GROUPS = 1_000
#: Fewer clusters than this that have what is measured: no interval is claimed.
MIN_CLUSTERS = 100
#: Where the top hundredth of the clusters with value holds more than one in so many parts of it, the tail is heavy.
HEAVY_PARTS = 5

#: The keys of one report group, in the order of ``by``.
Key = tuple[object, ...]


def cluster() -> pl.Expr:
    """Column ``cluster`` (UInt64): the hash of an inference's session, else of its trace, else of itself.

    XXH64, seed 0, of ``s:`` + session_id, ``t:`` + trace_id or ``i:`` + inference_id. Needs those three columns as
    text; elementwise, so it streams.
    """
    names = (("s:", "session_id"), ("t:", "trace_id"), ("i:", "inference_id"))
    text = pl.coalesce(pl.lit(prefix) + pl.col(name) for prefix, name in names)
    return NonCryptographicHashingNameSpace(text).xxhash64().alias("cluster")


def cluster_group() -> pl.Expr:
    """Column ``cluster_group`` (UInt16, 0 to 999): the group that an inference's cluster falls into."""
    return (cluster() % CLUSTER_GROUPS).cast(pl.UInt16).alias("cluster_group")


@dataclass(frozen=True)
class Concentration:
    """Clusters with value, and how it is spread over them.

    clusters: those whose net value is not 0; value: the sum of their |value|, in units; top_value: that of the
    ⌈clusters / 100⌉ with the largest |value|.
    """

    clusters: int = 0
    value: int = 0
    top_value: int = 0

    @property
    def is_thin(self) -> bool:
        return self.clusters < MIN_CLUSTERS

    @property
    def has_heavy_tail(self) -> bool:
        return self.top_value * HEAVY_PARTS > self.value


def concentrations(values: pl.DataFrame, by: Sequence[str]) -> dict[Key, Concentration]:
    """Concentration per report group; a group without value is not there.

    values: ``by``, ``cluster`` (as ``cluster()`` gives it), ``value`` (Int128 units of 10⁻⁹, net), of requests with
    value only; rows of one cluster in one group are added up, so the frame may be finer than ``by``.
    """
    value = pl.col("value")
    per_cluster = values.group_by(*by, "cluster").agg(value.sum()).filter(value != 0)
    top_count = (pl.len() + 99) // 100
    found = per_cluster.group_by(pl.lit(0).alias("_all"), *by).agg(
        pl.len().alias("clusters"),
        value.abs().sum(),
        value.abs().sort(descending=True).head(top_count).sum().alias("top_value"),
    )
    rows = found.select(*by, "clusters", "value", "top_value").iter_rows()
    return {row[:-3]: Concentration(*row[-3:]) for row in rows}  # one row per report group
