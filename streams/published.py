"""Published tables as a reader finds them: the manifest, a table's files, the rates kept beside them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from attribution.windows import DAY_US, parse_duration
from schemas.errors import UnavailableError
from streams.fx_file import FX_COLUMNS, load_fx
from streams.manifest import NAME


class Manifest(msgspec.Struct, frozen=True):
    """What the figures depend on, of ``manifest.json``; durations as texts."""

    engine: str
    code_version: str
    commit_id: int
    watermark: datetime | None
    base_currency: str
    allowed_lateness: str
    reversal_window: str
    fx_max_age: str

    @property
    def allowed_lateness_us(self) -> int:
        return parse_duration(self.allowed_lateness)

    @property
    def reversal_window_us(self) -> int:
        return parse_duration(self.reversal_window)

    @property
    def fx_max_age_days(self) -> int:
        return parse_duration(self.fx_max_age) // DAY_US


def read_manifest(out: Path) -> Manifest:
    """The manifest of a folder of tables; raises UnavailableError where there is none or it is broken."""
    path = out / NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        for text in (manifest.allowed_lateness, manifest.reversal_window, manifest.fx_max_age):
            parse_duration(text)
    except FileNotFoundError:
        raise UnavailableError(f"{out}: no published tables: {NAME} is not there") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnavailableError(f"{path}: no manifest of published tables: {error}") from None
    return manifest


def table_files(out: Path, table: str) -> list[Path]:
    """A table's files; raises UnavailableError where there are none: every published table has one."""
    files = sorted((out / table).glob("date=*/*.parquet"))
    if not files:
        raise UnavailableError(f"{out / table}: no published files (date=YYYY-MM-DD/*.parquet)")
    return files


def scan_table(out: Path, table: str, *, file_column: str | None = None) -> pl.LazyFrame:
    """A table's rows, lazily; file_column: with the path of each row's file."""
    # Named one by one, for a folder's own name may hold what a glob takes for a pattern.
    return pl.scan_parquet(table_files(out, table), glob=False, hive_partitioning=False, include_file_paths=file_column)


def rates_beside(out: Path) -> Path | None:
    """The rates as last used; a pipeline without foreign money has none."""
    path = out / "fx.csv"
    return path if path.exists() else None


def load_rates(path: Path | None, base_currency: str) -> pl.DataFrame:
    """The rates of a file; no file, no rates."""
    return pl.DataFrame(schema=FX_COLUMNS) if path is None else load_fx(path, base_currency)
