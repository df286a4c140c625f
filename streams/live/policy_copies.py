"""What readers find beside the tables: the rules and rates as last used, and the manifest, each replaced whole."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import UnavailableError
from streams.live.commit import Commit
from streams.live.segments import sync
from streams.live.steps import reached
from streams.manifest import manifest, write_manifest
from streams.rule_files import rule_sources
from streams.settings import Settings


def publish_policy(out: Path, settings: Settings, rates: str | None, commit: Commit) -> None:
    """Raises UnavailableError where the folder cannot be written; the manifest comes last."""
    try:
        _publish_rules(out / "rules", settings)
        if rates is None:
            (out / "fx.csv").unlink(missing_ok=True)
        else:
            _replace(out / "fx.csv", rates.encode())
        write_manifest(
            out, manifest(settings, engine="live", commit_id=commit.number, watermark_us=commit.watermark_us)
        )
        sync(out)
    except OSError as error:
        raise UnavailableError(f"{out}: cannot be written: {error.strerror or error}") from error
    reached("roll.manifest")


def _publish_rules(folder: Path, settings: Settings) -> None:
    folder.mkdir(exist_ok=True)
    sources = dict(rule_sources(settings.rules))
    for name, content in sources.items():
        if not (folder / name).exists() or (folder / name).read_bytes() != content:
            _replace(folder / name, content)
    for path in folder.iterdir():
        if path.name not in sources:
            path.unlink()


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f"_{path.name}")
    aside.write_bytes(content)
    aside.replace(path)
