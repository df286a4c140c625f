"""What every report on costs and value reads first: the commit, its tables, the rates, the bills."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from attribution.bills import BillSums
from attribution.costs import Conversion
from attribution.ratio import Inputs
from attribution.toml_tables import Bare
from attribution.view import ONE_DAY, View
from schemas.errors import UnavailableError, setting_error
from streams.bills.files import parts_of
from streams.bills.read import read_bills
from streams.cost_file import CostFile
from streams.digests import sha256_of
from streams.published import Manifest, load_rates, rates_beside, read_manifest, scan_table
from streams.ratio_options import Asked
from streams.ratio_source import TableSource, by_attributes


@dataclass(frozen=True)
class Ledgers:
    """Tables up to one commit, and what converts and bills their costs: all but the range."""

    manifest: Manifest
    commit_id: int
    watermark: datetime
    source: TableSource
    cost_file: CostFile
    conversion: Conversion
    rates: Path | None
    bills: Sequence[BillSums]

    @property
    def to_day(self) -> date:
        """The day after as-of's."""
        return self.watermark.date() + ONE_DAY

    def first_day(self) -> date:
        """The first day with an inference or a matched bill line; as-of's day where there is none before it."""
        days = [self.source.first_day(), *(bill.first_day for bill in self.bills)]
        return min([day for day in days if day is not None] + [self.watermark.date()])

    def digests(self) -> dict[str, str]:
        """Of the tables, price lists, rates and bills."""
        lists = [Path(price_list.name) for price_list in self.cost_file.model.price_lists]
        files = [*lists, *([self.rates] if self.rates else [])]
        bills = {str(bill.path): _bill_digest(bill.path) for bill in self.cost_file.bills}
        return self.source.digests() | {str(path): sha256_of(path) for path in files} | bills

    def inputs(self, view: View) -> Inputs:
        counted = self.source.counted(view.from_day, view.to_day)
        return Inputs(self.cost_file.model, self.bills, counted, self.conversion, self.source)

    def view(self, asked: Asked, from_day: date | None = None, to_day: date | None = None) -> View:
        """The view of a range; what is not given is the default."""
        view = View(
            as_of=self.watermark,
            from_day=from_day or self.first_day(),
            to_day=to_day or self.to_day,
            reversal_window=timedelta(microseconds=self.manifest.reversal_window_us),
            by=asked.by,
            period=asked.period,
        )
        if view.from_day >= view.to_day:
            if to_day is not None:
                raise setting_error("--to", expected=f"a day after {view.from_day}", got=Bare(str(view.to_day)))
            last = view.to_day - ONE_DAY
            raise setting_error("--from", expected=f"at latest {last}, the day of as-of", got=Bare(str(view.from_day)))
        return view


def read_ledgers(out: Path, asked: Asked, cost_file: CostFile, say: Callable[[str], None]) -> Ledgers:
    """The tables of a folder and the bills of a cost file, as of the commit asked for."""
    manifest = read_manifest(out)
    commit_id, watermark = _commit(out, manifest, asked.as_of)
    source = TableSource(out, commit_id, attributes=by_attributes(asked.by))
    rates = cost_file.fx or rates_beside(out)
    fx = load_rates(rates, manifest.base_currency)
    conversion = Conversion(fx, manifest.base_currency, manifest.fx_max_age_days)
    bills = read_bills(cost_file.bills, cost_file.model.lines, conversion, watermark, say)
    return Ledgers(manifest, commit_id, watermark, source, cost_file, conversion, rates, bills)


def _commit(out: Path, manifest: Manifest, as_of: datetime | None) -> tuple[int, datetime]:
    """The manifest's commit, or the newest one whose watermark is not after ``as_of``, with its watermark."""
    if manifest.watermark is None:
        raise UnavailableError(f"{out}: no event has been read yet, so there is no moment to report as of")
    if as_of is None or manifest.watermark <= as_of:
        return manifest.commit_id, manifest.watermark
    in_time = (pl.col("commit_id") <= manifest.commit_id) & (pl.col("watermark") <= as_of)
    found = scan_table(out, "commits").filter(in_time).select("commit_id", "watermark").collect(engine="streaming")
    if found.height == 0:
        raise setting_error(
            "--as-of",
            expected="a time not before the first commit's watermark",
            got=Bare(as_of.isoformat()),
            hint="a replay has one commit: replay --to gives the tables as of an earlier time",
        )
    commit_id, watermark = found.sort("commit_id").row(-1)
    return commit_id, watermark


def _bill_digest(path: Path) -> str:
    """Of a file its own; of a folder, that of its parts' names and digests."""
    if path.is_file():
        return sha256_of(path)
    names = "".join(f"{part.name} {sha256_of(part)}\n" for part in parts_of(path))
    return hashlib.sha256(names.encode()).hexdigest()
