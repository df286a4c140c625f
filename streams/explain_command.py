"""``attribution explain``: reads what one outcome or inference rests on, prints how its figures came about.

Only rows of the ids in question are taken from the tables: filters go down into the Parquet files, whose
statistics let most row groups be left unread. Rules and rates are the copies kept beside the tables, so the
explanation is of what was published, whatever the pipeline's own files say by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from attribution.engine import Policy
from attribution.explain import (
    Known,
    Published,
    PublishedInference,
    Section,
    Setting,
    explain_inference,
    explain_outcome,
    explain_unknown_outcome,
)
from attribution.rules import combine, parse_rules
from attribution.windows import EPOCH
from schemas.errors import ConfigurationError, UnavailableError, setting_error
from schemas.events import OUTCOME_COLUMNS, SOURCE_COLUMNS, Kind, canonical_columns
from streams.explain_costs import cost_sections
from streams.published import Manifest, load_rates, rates_beside, read_manifest, scan_table
from streams.rule_files import rule_sources

_COMMIT = ("commit_id",)


def run_explain(
    out: Path,
    *,
    inference: str | None,
    outcome: str | None,
    costs: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """The explanation of one inference or one outcome (exactly one of the two ids is given), as text.

    costs: a cost file, for what the inference cost; say: takes warnings about it.

    Raises ConfigurationError, naming it, for an id that is not in the tables; UnavailableError where ``out``
    holds no published tables or they cannot be read.
    """
    try:
        manifest = read_manifest(out)
        tables = _Tables(out, manifest.commit_id)
        if inference is not None:
            sections = _of_inference(tables, inference, _setting(out, manifest))
            if costs is not None:
                sections += cost_sections(out, inference, costs, say)
        elif outcome is not None:
            sections = _of_outcome(tables, outcome, _setting(out, manifest))
        else:
            raise setting_error("explain", expected="--inference ID or --outcome ID", got="neither")
    except (OSError, pl.exceptions.ComputeError, pl.exceptions.SchemaError) as error:
        raise UnavailableError(f"{out}: the tables cannot be read: {error}") from error
    return "\n\n".join(str(section) for section in sections)


# One outcome, one inference


def _of_outcome(tables: _Tables, outcome_id: str, setting: Setting) -> list[Section]:
    of_outcome = pl.col("outcome_id") == outcome_id
    published = Published(tables.rows("credits", of_outcome), tables.rows("unattributed", of_outcome))
    is_reversal = pl.col("kind") == Kind.REVERSAL.value
    outcomes = tables.outcomes(~is_reversal & (pl.col("event_id") == outcome_id))
    reversals = tables.reversals([outcome_id])
    if outcomes.height:
        return explain_outcome(Known(outcomes, tables.named_by(outcomes), reversals), published, setting)
    if reversals.height:
        return explain_unknown_outcome(outcome_id, reversals, published)
    hint = "dead_letters holds the records that were refused"
    own = tables.rows("outcomes", is_reversal & (pl.col("event_id") == outcome_id))
    if own.height:
        hint = f"that is a reversal: see --outcome {own['reverses'][0]}"
    raise setting_error("--outcome", expected="the event_id of an outcome in the tables", got=outcome_id, hint=hint)


def _of_inference(tables: _Tables, inference_id: str, setting: Setting) -> list[Section]:
    own = tables.inferences(pl.col("inference_id") == inference_id)
    if own.height == 0:
        hint = "dead_letters holds the records that were refused"
        raise setting_error("--inference", expected="an inference_id in the tables", got=inference_id, hint=hint)
    names_it = pl.col("inference_ids").list.contains(inference_id)
    trace_id = own["trace_id"].item()
    if trace_id is not None:
        names_it = names_it.fill_null(value=False) | (pl.col("trace_id") == trace_id)
    outcomes = tables.outcomes((pl.col("kind") != Kind.REVERSAL.value) & names_it)
    inferences = pl.concat([own, tables.named_by(outcomes)]).unique("inference_id", maintain_order=True)
    known = Known(outcomes, inferences, tables.reversals(outcomes["event_id"]))
    of_inference = pl.col("inference_id") == inference_id
    published = PublishedInference(tables.rows("credits", of_inference), tables.rows("attributed", of_inference))
    return explain_inference(inference_id, known, published, setting)


# What is read


@dataclass(frozen=True)
class _Tables:
    """The published tables up to the manifest's commit: a roll may be adding files while we read."""

    out: Path
    commit_id: int

    def rows(self, table: str, which: pl.Expr) -> pl.DataFrame:
        """The rows of a table that are asked for, with columns as in files."""
        return (
            scan_table(self.out, table)
            .filter(which & (pl.col("commit_id") <= self.commit_id))
            .collect(engine="streaming")
        )

    def inferences(self, which: pl.Expr) -> pl.DataFrame:
        return _typed(self.rows("inferences", which), canonical_columns(Kind.INFERENCE))

    def outcomes(self, which: pl.Expr) -> pl.DataFrame:
        return _typed(self.rows("outcomes", which), OUTCOME_COLUMNS)

    def reversals(self, outcome_ids: Iterable[str]) -> pl.DataFrame:
        ids = list(outcome_ids)
        which = (pl.col("kind") == Kind.REVERSAL.value) & pl.col("reverses").is_in(ids)
        return _typed(self.rows("outcomes", which), canonical_columns(Kind.REVERSAL))

    def named_by(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """The inferences that some outcomes name, by id or trace; empty where they name none."""
        listed = outcomes["inference_ids"].drop_nulls().list.explode(keep_nulls=False, empty_as_null=False)
        traces = outcomes["trace_id"].drop_nulls().unique().to_list()
        ids = listed.unique().to_list()
        by_id, by_trace = pl.col("inference_id").is_in(ids), pl.col("trace_id").is_in(traces)
        if not traces:
            return self.inferences(by_id)
        return self.inferences(by_trace.fill_null(value=False) | by_id if ids else by_trace)


def _typed(rows: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """Rows of events with the types that the kernel takes, and where they were read."""
    return rows.select(*columns, *SOURCE_COLUMNS, *_COMMIT).cast({**columns, **SOURCE_COLUMNS})  # type: ignore[dict-item]


def _setting(out: Path, manifest: Manifest) -> Setting:
    """Rules, rates and settings as kept beside the tables."""
    try:
        sources = {f"rules/{name}": content.decode() for name, content in rule_sources(out / "rules")}
        rules = combine([parse_rules(text, name) for name, text in sources.items()])
        fx = load_rates(rates_beside(out), manifest.base_currency)
    except (ConfigurationError, ValueError) as error:
        raise UnavailableError(f"{out}: the rules, rates or settings kept beside the tables: {error}") from error
    policy = Policy(rules, fx, manifest.base_currency, manifest.reversal_window_us, manifest.fx_max_age_days)
    watermark = manifest.watermark
    return Setting(
        compiled=policy.compiled(),
        allowed_lateness_us=manifest.allowed_lateness_us,
        watermark_us=None if watermark is None else (watermark - EPOCH) // timedelta(microseconds=1),
        is_live=manifest.engine == "live",
        rule_texts=sources,
    )
