"""The commit log: one file per commit, which is either there whole or not there.

A commit is written aside, forced to disk and linked to its final name, which fails where the name is taken: commits
can neither tear nor overwrite each other. One process at a time holds a lock on the state folder. Where that lock
is lost (a folder on a network, a lock file removed), fencing still holds: a start renames the folder of the commits,
so that a writer that was stalled and wakes up finds no folder to link into.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from schemas.errors import UnavailableError
from streams.live.segments import sync
from streams.live.steps import reached

_FOLDER = re.compile(r"commits-(\d{6})")
_COMMIT = re.compile(r"(\d{12})\.json")


class FencedError(UnavailableError):
    """Another process has taken over the state."""


class CommitLog:
    """The commits of a state folder, open for the one process that writes them.

    writer: the number of this process among all that ever wrote here; it stands in the names of its files.
    """

    def __init__(self, state: Path) -> None:
        """Raises UnavailableError where another process holds the state or the folder cannot be written."""
        self._state = state
        try:
            if not state.is_dir():
                state.mkdir(parents=True, exist_ok=True)
                sync(state.parent)
            self._lock: IO[bytes] = (state / "lock").open("ab")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.writer, self._folder = self._take_over()
                for aside in self._folder.glob("*.tmp"):
                    aside.unlink()
            except BaseException:
                self._lock.close()
                raise
        except BlockingIOError:
            hint = "stop it first, or give this pipeline a state folder of its own"
            raise UnavailableError(f"{state}: another process is running on this state. Hint: {hint}") from None
        except OSError as error:
            raise UnavailableError(f"{state}: cannot be written: {error.strerror or error}") from error

    def _take_over(self) -> tuple[int, Path]:
        """Rename the folder of the commits to the next writer's: an older writer can link nothing any more."""
        current = commits_folder(self._state)
        if current is None:
            writer, folder = 1, self._state / "commits-000001"
            folder.mkdir()
        else:
            writer = int(current.name[-6:]) + 1
            folder = self._state / f"commits-{writer:06d}"
            current.rename(folder)
        sync(self._state)
        reached("recovery.fence")
        return writer, folder

    def newest(self) -> tuple[int, bytes] | None:
        """(number, content) of the newest commit; raises UnavailableError where its file is damaged."""
        try:
            return _newest(self._folder)
        except FileNotFoundError as error:
            raise self._fenced() from error

    def append(self, number: int, content: bytes) -> None:
        """Add a commit; when this returns it is durable.

        content: one line. Raises FencedError where another process took over: a commit that was linked before is then
        its newest. Raises UnavailableError where the disk is full or cannot be written; then there is no such commit.
        """
        assert b"\n" not in content, "a commit of two lines could never be read back"
        final = self._folder / f"{number:012d}.json"
        aside = final.with_suffix(".tmp")
        linked = False
        try:
            with aside.open("wb") as file:
                file.write(content + b"\n" + hashlib.sha256(content).hexdigest().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            reached("commit.write")
            os.link(aside, final)
            linked = True
            reached("commit.link")
            sync(self._folder)
            reached("commit.sync")
            aside.unlink()
        except (OSError, UnavailableError) as error:
            # Once the folder is renamed these paths are gone: a commit the new owner has seen cannot be deleted here.
            for left in (final, aside) if linked else (aside,):
                with contextlib.suppress(OSError):
                    left.unlink()
            with contextlib.suppress(UnavailableError):
                sync(self._folder)
            if isinstance(error, FileExistsError) or not self._folder.is_dir():
                raise self._fenced() from error
            if isinstance(error, UnavailableError):
                raise
            raise UnavailableError(f"{self._folder}: cannot be written: {error.strerror or error}") from error

    def before(self, number: int) -> list[tuple[int, bytes]]:
        """(number, content) of the commits older than this one, in order; raises UnavailableError for a damaged one."""
        try:
            return [_read(found, path) for found, path in sorted(_commits(self._folder)) if found < number]
        except FileNotFoundError as error:
            raise self._fenced() from error

    def forget_before(self, number: int) -> None:
        """Delete the commits older than this one."""
        try:
            for found, path in _commits(self._folder):
                if found < number:
                    path.unlink(missing_ok=True)
        except FileNotFoundError as error:
            raise self._fenced() from error
        except OSError as error:
            raise UnavailableError(f"{self._folder}: cannot be written: {error.strerror or error}") from error

    @contextlib.contextmanager
    def fence(self) -> Iterator[None]:
        """What goes wrong in the block because another process has taken over is said to be that."""
        try:
            yield
        except UnavailableError as error:
            if isinstance(error, FencedError) or self._folder.is_dir():
                raise
            raise self._fenced() from error

    def refuse_fenced(self) -> None:
        """Raises FencedError where another process has taken over."""
        if not self._folder.is_dir():
            raise self._fenced()

    def _fenced(self) -> FencedError:
        return FencedError(f"{self._state}: another process has taken over; this one stops")

    def close(self) -> None:
        self._lock.close()


def commits_folder(state: Path) -> Path | None:
    """Where the commits of a state folder lie now; None where there are none yet."""
    found = [path for path in state.iterdir() if _FOLDER.fullmatch(path.name)] if state.is_dir() else []
    return max(found, default=None)


def read_newest(state: Path) -> tuple[int, bytes] | None:
    """The newest commit, for readers beside a running process; None where there is none."""
    while (folder := commits_folder(state)) is not None:
        with contextlib.suppress(FileNotFoundError):  # a start has just renamed the folder
            return _newest(folder)
    return None


def read_all(state: Path) -> list[tuple[int, bytes]]:
    """(number, content) of all commits that are not folded yet, in order, for readers beside a running process."""
    while (folder := commits_folder(state)) is not None:
        with contextlib.suppress(FileNotFoundError):  # a start has just renamed the folder, or a commit was folded
            return [_read(number, path) for number, path in sorted(_commits(folder))]
    return []


def _commits(folder: Path) -> list[tuple[int, Path]]:
    found = [(_COMMIT.fullmatch(path.name), path) for path in folder.iterdir()]
    return [(int(match.group(1)), path) for match, path in found if match]


def _newest(folder: Path) -> tuple[int, bytes] | None:
    commits = _commits(folder)
    if not commits:
        return None
    return _read(*max(commits))


def _read(number: int, path: Path) -> tuple[int, bytes]:
    try:
        content, _, digest = path.read_bytes().partition(b"\n")
    except FileNotFoundError:  # renamed away or forgotten meanwhile: the caller knows which
        raise
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read: {error.strerror or error}") from error
    if digest != hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise UnavailableError(f"{path}: the commit is damaged: its checksum is not that of its content")
    return number, content
