"""What readers find beside the tables: the rules and rates as last used, and the manifest, each replaced whole."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import UnavailableError
from streams.live.commit import Commit
from streams.live.segments import sync
from streams.live.steps import reached
from streams.manifest import NAME, manifest, write_manifest
from streams.published import read_manifest
from streams.settings import Settings


def publish_policy(out: Path, settings: Settings, rules: dict[str, bytes], rates: str | None, commit: Commit) -> None:
    """rules: the files as they were read at the start, by name; rates: their text.

    Raises UnavailableError where the folder cannot be written; the manifest comes last.
    """
    try:
        if _is_newer(out, commit.number):
            return
        _publish_rules(out / "rules", rules)
        if rates is None:
            (out / "fx.csv").unlink(missing_ok=True)
        else:
            _replace(out / "fx.csv", rates.encode())
        content = manifest(settings, engine="live", commit_id=commit.number, watermark_us=commit.watermark_us)
        if not _is_newer(out, commit.number):
            write_manifest(out, content)
        sync(out)
    except OSError as error:
        raise UnavailableError(f"{out}: cannot be written: {error.strerror or error}") from error
    reached("roll.manifest")


def _is_newer(out: Path, number: int) -> bool:
    """A later commit has been published: this writer stalled after its own, and another has taken over."""
    return (out / NAME).exists() and read_manifest(out).commit_id > number


def _publish_rules(folder: Path, sources: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
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
