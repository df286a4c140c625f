"""``attribution ratio``: reads published tables, prints what groups of inferences cost and what they are worth.

The way of the data: manifest → commit (``--as-of``) → tables up to that commit, lazily → costs
(``attribution.costs``) → rows (``attribution.ratio``) → text. As of is the commit's watermark, never the clock, so
the same folder, cost file and options give the same report at any time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from attribution.costs import Conversion, with_costs
from attribution.figures import Row
from attribution.ratio import ATTRIBUTE_PREFIX, DEFAULT_BY, KEYS, PERIODS, Tables, View, in_range, ratio_rows
from attribution.toml_tables import Bare, nearest
from schemas.errors import UnavailableError, setting_error
from streams.cost_file import CostFile, load_cost_file
from streams.digests import sha256_of
from streams.options import parse_moment
from streams.published import Manifest, load_rates, rates_beside, read_manifest, scan_table
from streams.ratio_report import FORMATS

_TABLES = ("inferences", "credits", "unattributed", "attributed")
#: What the report needs of an inference: nothing else is read from its files.
_INFERENCE_COLUMNS = (
    *("inference_id", "event_time", "commit_id", "attributes", *KEYS),
    *("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens"),
    *("service_tier", "cache_hit", "cost", "cost_currency"),
)


@dataclass(frozen=True)
class RatioOptions:
    """The command's options, as written; None: not given. width: of the terminal, None where there is none."""

    costs: Path | None = None
    from_: str | None = None
    to: str | None = None
    as_of: str | None = None
    by: str = ",".join(DEFAULT_BY)
    period: str | None = None
    format: str = "table"
    width: int | None = None


@dataclass(frozen=True)
class _Commit:
    commit_id: int
    watermark: datetime


def run_ratio(out: Path, options: RatioOptions) -> str:
    """The report as text in the format asked for.

    Raises ConfigurationError for a wrong option or cost file, UnavailableError where the tables cannot be read.
    """
    render = FORMATS[_word("--format", options.format, FORMATS)]
    by = _keys(options.by)
    period = None if options.period is None else _word("--period", options.period, PERIODS)
    from_day, to_day = _day("--from", options.from_), _day("--to", options.to)
    cost_file = CostFile() if options.costs is None else load_cost_file(options.costs)
    as_of = None if options.as_of is None else parse_moment("--as-of", options.as_of)
    try:
        manifest = read_manifest(out)
        commit = _commit(out, manifest, as_of)
        scans = {name: scan_table(out, name).filter(pl.col("commit_id") <= commit.commit_id) for name in _TABLES}
        view = View(
            as_of=commit.watermark,
            from_day=from_day or _first_day(scans["inferences"], commit),
            to_day=to_day or commit.watermark.date() + timedelta(days=1),
            reversal_window=timedelta(microseconds=manifest.reversal_window_us),
            by=by,
            period=period,
            min_priced_share=cost_file.min_priced_share,
        )
        _refuse_empty_range(view, options)
        rates = cost_file.fx or rates_beside(out)
        fx = load_rates(rates, manifest.base_currency)
        conversion = Conversion(fx, manifest.base_currency, manifest.fx_max_age_days)
        rows = ratio_rows(_costed(scans, view, cost_file, conversion), view)
        used = [Path(price_list.name) for price_list in cost_file.price_lists] + ([rates] if rates else [])
        digests = _table_digests(out, commit) | {str(path): sha256_of(path) for path in used}
    except (OSError, pl.exceptions.ComputeError) as error:
        raise UnavailableError(f"{out}: the tables cannot be read: {error}") from error
    return render([_report_row(manifest, view, commit, digests), *rows], by, options.width)


# Options


def _word(option: str, word: str, words: Iterable[str]) -> str:
    known = list(words)
    if word not in known:
        raise setting_error(option, expected="one of " + ", ".join(known), got=word, hint=nearest(word, known))
    return word


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(text.split(","))
    for position, key in enumerate(keys):
        is_attribute = key.startswith(ATTRIBUTE_PREFIX) and len(key) > len(ATTRIBUTE_PREFIX)
        if key not in KEYS and not is_attribute:
            expected = f"{', '.join(KEYS)} or {ATTRIBUTE_PREFIX}KEY, separated by commas"
            raise setting_error("--by", expected=expected, got=key, hint=nearest(key, KEYS))
        if key in keys[:position]:
            raise setting_error("--by", expected="each key once", got=text)
    return keys


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise setting_error(option, expected="a date such as 2026-03-01", got=text)


def _refuse_empty_range(view: View, options: RatioOptions) -> None:
    if view.from_day < view.to_day:
        return
    if options.to is not None:
        raise setting_error("--to", expected=f"a day after {view.from_day}", got=Bare(str(view.to_day)))
    last = view.to_day - timedelta(days=1)
    raise setting_error("--from", expected=f"at latest {last}, the day of as-of", got=Bare(str(view.from_day)))


# What is read


def _commit(out: Path, manifest: Manifest, as_of: datetime | None) -> _Commit:
    """The manifest's commit, or the newest one whose watermark is not after ``as_of``."""
    if manifest.watermark is None:
        raise UnavailableError(f"{out}: no event has been read yet, so there is no moment to report as of")
    newest = _Commit(manifest.commit_id, manifest.watermark)
    if as_of is None or newest.watermark <= as_of:
        return newest
    in_time = (pl.col("commit_id") <= newest.commit_id) & (pl.col("watermark") <= as_of)
    found = scan_table(out, "commits").filter(in_time).select("commit_id", "watermark").collect(engine="streaming")
    if found.height == 0:
        raise setting_error(
            "--as-of",
            expected="a time not before the first commit's watermark",
            got=Bare(as_of.isoformat()),
            hint="a replay has one commit: replay --to gives the tables as of an earlier time",
        )
    commit_id, watermark = found.sort("commit_id").row(-1)
    return _Commit(commit_id, watermark)


def _first_day(inferences: pl.LazyFrame, commit: _Commit) -> date:
    """The first day with an inference; as-of's day where there is none."""
    first = inferences.select(pl.col("event_time").min()).collect(engine="streaming").item()
    day: date = (commit.watermark if first is None else first).date()
    return day


def _costed(scans: dict[str, pl.LazyFrame], view: View, cost_file: CostFile, conversion: Conversion) -> Tables:
    """The tables, inferences of the range with their costs."""
    inferences = scans["inferences"].select(_INFERENCE_COLUMNS).filter(in_range("event_time", view))
    costed = with_costs(inferences, cost_file.price_lists, conversion)
    return Tables(costed, scans["credits"], scans["unattributed"], scans["attributed"])


# What the report rests on


def _table_digests(out: Path, commit: _Commit) -> dict[str, str]:
    """Per table: SHA-256 over name and SHA-256 of each file that holds rows up to the commit.

    Files are never rewritten, so what is published later leaves the digests of an earlier commit as they are.
    """
    digests = {}
    for table in _TABLES:
        scan = scan_table(out, table, file_column="_file")
        used = scan.filter(pl.col("commit_id") <= commit.commit_id).select(pl.col("_file").unique().sort())
        digest = hashlib.sha256()
        for file in used.collect(engine="streaming")["_file"]:
            path = Path(file)
            digest.update(f"{path.relative_to(out).as_posix()} {sha256_of(path)}\n".encode())
        digests[table] = digest.hexdigest()
    return digests


def _report_row(manifest: Manifest, view: View, commit: _Commit, digests: dict[str, str]) -> Row:
    return {
        "row": "report",
        "period": None,
        "as_of": view.as_of,
        "from": view.from_day,
        "to": view.to_day,
        "base_currency": manifest.base_currency,
        "reversal_window": manifest.reversal_window,
        "allowed_lateness": manifest.allowed_lateness,
        "min_priced_share": view.min_priced_share,
        "engine": manifest.engine,
        "code_version": manifest.code_version,
        "commit_id": commit.commit_id,
        "digests": digests,
    }
