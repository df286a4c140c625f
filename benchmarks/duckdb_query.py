"""The peer: what one would write by hand in DuckDB. Joins, sums and writes one table; nothing else.

No validation, no deduplication, no rule versions, no exact split (the last cent of a third is lost), no
ledger, no digest: it is the least that has to be done to get from events to value per inference.

Usage: python -m benchmarks.duckdb_query LOG OUT.parquet
"""

from __future__ import annotations

import sys

import duckdb

QUERY = """
COPY (
  WITH named AS (
    SELECT event_time, amount, len(inference_ids) AS touches, unnest(inference_ids) AS inference_id
    FROM '{log}/conversions/*.parquet'
  ),
  credit AS (
    SELECT i.inference_id, n.amount * 0.3 / n.touches AS value
    FROM named n JOIN '{log}/inferences/*.parquet' i USING (inference_id)
    WHERE n.event_time BETWEEN i.event_time AND i.event_time + INTERVAL 2 DAY
  ),
  earned AS (SELECT inference_id, sum(value) AS value, count(*) AS outcomes FROM credit GROUP BY inference_id)
  SELECT i.inference_id, i.event_time, i.use_case, i.model, i.model_version, i.endpoint, i.provider,
         coalesce(e.outcomes, 0) AS outcome_count, coalesce(e.value, 0) AS attributed_value
  FROM '{log}/inferences/*.parquet' i LEFT JOIN earned e USING (inference_id)
) TO '{out}' (FORMAT parquet, COMPRESSION zstd)
"""

if __name__ == "__main__":
    log, out = sys.argv[1:]
    duckdb.sql(QUERY.format(log=log, out=out))
