"""The table ``costs``, which ``attribution ratio --write-costs`` writes: its columns, in order, and their types.

``date`` is a folder (``costs/date=YYYY-MM-DD``), never a column of the file.
"""

from __future__ import annotations

import polars as pl

from schemas.events import COST

COSTS: dict[str, pl.DataType] = {
    "inference_id": pl.String(),
    "day": pl.Date(),
    "use_case": pl.String(),
    "model": pl.String(),
    "model_version": pl.String(),
    "cost_type": pl.String(),
    "basis": pl.String(),
    "cost": COST,
    "cost_reason": pl.String(),
    "line": pl.String(),
    "price_list": pl.String(),
}
