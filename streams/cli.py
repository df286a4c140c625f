"""The command line. Results go to stdout, messages to stderr.

Exit codes: 0 done; 1 a check failed or a difference was found; 2 wrong usage or configuration; 3 input or
storage unavailable. Each command imports what it needs when it runs, so ``--help`` stays fast.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from schemas.errors import AttributionError, UnavailableError
from streams import __version__

_PATH = click.Path(path_type=Path)
_LOG_HELP = "Event files LOG/<topic>/*.jsonl …, an archive, or kafka: what its topics hold."
_EXIT_UNAVAILABLE = UnavailableError.exit_code
_COMPRESSIONS = ("none", "gzip", "lz4", "snappy", "zstd")


class _Commands(click.Group):
    """Every error a user can meet is one message and an exit code, never a stack trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AttributionError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except MemoryError:
            click.echo("error: out of memory. Hint: replay --memory bounds what a replay takes", err=True)
            ctx.exit(_EXIT_UNAVAILABLE)
        except BrokenPipeError:  # the reader of our output has gone, as `head` does
            sys.stderr.close()
            ctx.exit(0)
        except OSError as error:
            click.echo(f"error: {error.filename or 'storage'}: {error.strerror or error}", err=True)
            ctx.exit(_EXIT_UNAVAILABLE)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="attribution")
def main() -> None:
    """What did each AI inference earn? Joins inferences to conversions and saved time by inference id,
    splits every outcome's value over the inferences that earned it, and writes exact Parquet ledgers."""


@main.command()
@click.argument("pipeline", type=_PATH)
@click.option("--until-end", is_flag=True, help="Stop when every topic has been read to its end.")
def run(pipeline: Path, *, until_end: bool) -> None:
    """Consume the topics of PIPELINE (a TOML file) until the end, or until SIGTERM or SIGINT.

    Goes on where the newest commit in its state folder stands, whatever stopped it. Says one line per commit on
    stderr: text on a terminal, else JSON.
    """
    from streams.live.journal import journal
    from streams.runner import run as run_pipeline
    from streams.settings import load_settings

    run_pipeline(load_settings(pipeline), until_end=until_end, log=journal())


@main.command()
@click.option("--out", required=True, type=_PATH, help="Folder of published tables.")
@click.option("--to", "to", required=True, type=_PATH, help="New or empty folder for the copy.")
def compact(out: Path, to: Path) -> None:
    """Write a compact copy of published tables for readers: the same rows in few, large files."""
    from streams.compact import compact as copy_tables

    click.echo(json.dumps(copy_tables(out, to), indent=2))


@main.command()
@click.argument("pipeline", type=_PATH)
@click.option("--log", required=True, help=_LOG_HELP)
@click.option("--out", required=True, type=_PATH, help="New or empty folder for the tables.")
@click.option("--to", "to", help="Leave out events at or after this time (RFC 3339, or a date: its start in UTC).")
@click.option("--memory", help="What the replay may use, such as 4GiB; default: half of the machine's memory.")
@click.option("--state", type=_PATH, help="Also write the live state, from which run goes on: PIPELINE's own folder.")
def replay(pipeline: Path, log: str, out: Path, to: str | None, memory: str | None, state: Path | None) -> None:
    """Recompute everything from a log, as one batch, with digests of the money tables.

    Prints the manifest's digests: equal digests mean equal figures, to the last unit. A log larger than
    memory is worked on in parts, on disk below OUT.
    """
    from streams.options import parse_size
    from streams.replay import replay as replay_log
    from streams.settings import load_settings

    settings = load_settings(pipeline)
    to_us = None if to is None else _moment("--to", to)
    memory_bytes = None if memory is None else parse_size("--memory", memory)
    with _progress("reading") as progress:
        manifest = replay_log(
            settings,
            _log(log),
            out,
            to_us=to_us,
            memory_bytes=memory_bytes,
            state=state,
            notify=_say,
            progress=progress,
        )
    click.echo(json.dumps(manifest["tables"], indent=2))


@main.command()
@click.argument("pipeline", type=_PATH)
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(pipeline: Path, format_: str) -> None:
    """Where PIPELINE stands: positions, lag, watermark and what holds it back, state, last commit."""
    from streams.settings import load_settings
    from streams.status_command import as_json, as_text
    from streams.status_command import status as status_of

    found = status_of(load_settings(pipeline))
    click.echo(as_json(found) if format_ == "json" else as_text(found))


@main.command()
@click.argument("pipeline", type=_PATH)
@click.option("--log", required=True, help=_LOG_HELP)
@click.option("--against", required=True, type=_PATH, help="Folder of published tables.")
@click.option("--rules", "rules_", type=_PATH, help="Other rules to replay under; default: those of PIPELINE.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def audit(ctx: click.Context, pipeline: Path, log: str, against: Path, rules_: Path | None, format_: str) -> None:
    """Replay what the newest commit of PIPELINE had read and compare it with what was published.

    Says what is identical, what differs for a known reason and by which value, and what differs without one; whether
    outcomes and counts sum; which files are missing or altered. Exit code 1 where anything is unexplained.
    """
    from streams.audit.command import audit as run_audit
    from streams.audit.report import as_json, as_text
    from streams.settings import load_settings

    settings = load_settings(pipeline)
    if rules_ is not None:
        settings = settings.under_rules(rules_)
    found = run_audit(settings, _log(log), against, notify=_say)
    click.echo(as_json(found) if format_ == "json" else as_text(found))
    ctx.exit(0 if found.is_clean else 1)


@main.command()
@click.option("--out", required=True, type=_PATH, help="Folder of published tables.")
@click.option("--inference", help="An inference's id.")
@click.option("--outcome", help="The event_id of a conversion or time-saved event.")
@click.option("--costs", type=_PATH, help="With --inference: also what it cost, from bill line to share.")
def explain(out: Path, inference: str | None, outcome: str | None, costs: Path | None) -> None:
    """Take one inference or one outcome apart: events, rules, weights and arithmetic, to the last digit."""
    from streams.explain_command import run_explain

    if (inference is None) == (outcome is None):
        raise click.UsageError("expected one of --inference and --outcome")
    if costs is not None and inference is None:
        raise click.UsageError("expected --inference beside --costs")
    click.echo(run_explain(out, inference=inference, outcome=outcome, costs=costs, say=_say))


@main.group()
def rules() -> None:
    """Check, show and compare rule files."""


@rules.command("check")
@click.argument("paths", nargs=-1, required=True, type=_PATH)
def rules_check(paths: tuple[Path, ...]) -> None:
    """Check rule files or folders; the first mistake of each file is named with a hint."""
    from streams.rules_command import check

    click.echo(check(paths))


@rules.command("show")
@click.argument("paths", nargs=-1, required=True, type=_PATH)
def rules_show(paths: tuple[Path, ...]) -> None:
    """Show the rules with every default filled in."""
    from streams.rules_command import show

    click.echo(show(paths))


@rules.command("diff")
@click.argument("old", type=_PATH)
@click.argument("new", type=_PATH)
@click.pass_context
def rules_diff(ctx: click.Context, old: Path, new: Path) -> None:
    """Compare two sets of rules; exit code 1 where they differ."""
    from streams.rules_command import diff

    text, exit_code = diff(old, new)
    click.echo(text)
    ctx.exit(exit_code)


@main.command()
@click.option("--out", required=True, type=_PATH, help="Folder of published tables.")
@click.option("--costs", type=_PATH, help="Cost file: price lists, bills. Without it: the events' own cost.")
@click.option("--from", "from_", help="First day of the range (YYYY-MM-DD).")
@click.option("--to", "to", help="The day after the range's last day.")
@click.option("--as-of", help="Use the newest commit whose watermark is not after this time.")
@click.option("--by", help="Keys to group by: use_case, model, model_version, endpoint, provider, arm, attributes.KEY.")
@click.option("--period", help="day, week, month or quarter.")
@click.option("--format", "format_", default="table", show_default=True, help="table, json or csv.")
@click.option("--write-costs", type=_PATH, help="Write each inference's cost to this new or empty folder.")
@click.option("--check", is_flag=True, help="Exit code 1 for bands, costs or bills that fail; by model and version.")
@click.pass_context
def ratio(ctx: click.Context, /, out: Path, format_: str, **options: Any) -> None:
    """Cost against value per group: unit cost, cost-to-value ratio, margin, ROI multiple and band."""
    from streams.ratio_command import RatioOptions, print_ratio

    chosen = {name: value for name, value in options.items() if value is not None}
    printed = print_ratio(out, RatioOptions(format=format_, width=_terminal_width(), **chosen), _say)
    click.echo(printed.text)
    ctx.exit(0 if printed.is_clean else 1)


@main.command()
@click.option("--log", required=True, type=_PATH, help="Folder of event files: LOG/<topic>/*.jsonl …")
@click.option("--bootstrap", help="The cluster: HOST:PORT, several with commas.")
@click.option("--pipeline", type=_PATH, help="Or a pipeline file: its cluster, with its [input.security].")
@click.option("--partitions", type=click.IntRange(1), help="Make topics that are missing, of so many partitions.")
@click.option(
    "--compression", type=click.Choice(_COMPRESSIONS), default="lz4", show_default=True, help="Of record batches."
)
@click.option("--rate", type=click.IntRange(1), help="At most so many events per second.")
@click.pass_context
def publish(
    ctx: click.Context, /, log: Path, bootstrap: str | None, pipeline: Path | None, rate: int | None, **options: Any
) -> None:
    """Send event files to Kafka: each folder of LOG is a topic, each record's bytes a value, its id the key.

    Topics go side by side in order of event time. Prints what was sent, as JSON. What is sent twice counts once.
    """
    from streams.kafka_publish import cluster
    from streams.kafka_publish import publish as publish_log

    if (bootstrap is None) == (pipeline is None):
        raise click.UsageError("expected one of --bootstrap and --pipeline")
    with _progress("sending") as progress:
        published = publish_log(log, cluster(bootstrap, pipeline), rate=rate, progress=progress, **options)
    click.echo(json.dumps(published.as_json()))
    if not published.is_whole:
        _say("stopped before the end of the log")
        ctx.exit(1)


@main.command()
@click.option("--dir", "folder", default="attribution-demo", show_default=True, type=_PATH, help="Where to work.")
def demo(folder: Path) -> None:
    """Real inference traffic, generated outcomes, the whole way to the ratio: configs, events, tables, report."""
    from streams.demo import run_demo

    run_demo(folder, show=click.echo, say=_say, width=_terminal_width())


def _terminal_width() -> int | None:
    """None where results go to a file or a pipe: nothing limits them there."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _say(message: str) -> None:
    click.echo(message, err=True)


def _log(text: str) -> Path | Literal["kafka"]:
    return "kafka" if text == "kafka" else Path(text)


def _moment(option: str, text: str) -> int:
    """A time as µs since 1970."""
    from attribution.windows import EPOCH
    from streams.options import parse_moment

    since = parse_moment(option, text) - EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, where a person watches it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    label_and_bar = (TextColumn("{task.description}"), BarColumn())
    columns = (*label_and_bar, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    main()
