"""A new output folder, published as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConfigurationError, UnavailableError
from schemas.outputs import TABLES
from streams.manifest import NAME as MANIFEST

#: The manifest comes last: where it stands, everything stands.
_PUBLISHED = (*TABLES, "rules", "fx.csv", MANIFEST)


def refuse_occupied(out: Path) -> None:
    """Raises ConfigurationError when ``out`` is there and holds files."""
    if out.is_dir() and any(out.iterdir()):
        raise ConfigurationError(f"{out}: expected a new or empty folder, got one that holds files")


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder inside ``out`` whose content moves up when the block ends well, and is gone when it does not.

    Raises ConfigurationError when ``out`` holds files, UnavailableError when it cannot be written.
    """
    existed = out.is_dir()
    try:
        refuse_occupied(out)
        stage = out / f"_staging-{os.getpid()}"
        stage.mkdir(parents=True)
    except OSError as error:
        raise UnavailableError(f"{out}: cannot be written: {error.strerror or error}") from error
    try:
        yield stage
        for name in _PUBLISHED:
            if (stage / name).exists():
                (stage / name).rename(out / name)
        shutil.rmtree(stage)
    except BaseException as error:
        _undo(out, stage, existed=existed)
        if isinstance(error, OSError):
            raise UnavailableError(f"{out}: cannot be written: {error.strerror or error}") from error
        raise


def _undo(out: Path, stage: Path, *, existed: bool) -> None:
    if not existed:
        shutil.rmtree(out, ignore_errors=True)
        return
    shutil.rmtree(stage, ignore_errors=True)
    for name in _PUBLISHED:
        if (out / name).is_dir():
            shutil.rmtree(out / name, ignore_errors=True)
        else:
            (out / name).unlink(missing_ok=True)
