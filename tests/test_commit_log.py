"""Commits are there whole or not at all, whoever dies, wakes up or comes twice."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import UnavailableError
from streams.live import commit_log, steps
from streams.live.commit_log import CommitLog, FencedError, read_newest


def child(code: str, state: Path) -> subprocess.CompletedProcess[str]:
    program = f"from pathlib import Path\nfrom streams.live.commit_log import CommitLog\nstate = Path({str(state)!r})\n"
    return subprocess.run([sys.executable, "-c", program + code], capture_output=True, text=True, check=False)


def test_the_newest_commit_is_read_back(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "state")
    assert log.newest() is None
    for number in (1, 2, 10):
        log.append(number, f'{{"n":{number}}}'.encode())
    assert log.newest() == read_newest(tmp_path / "state") == (10, b'{"n":10}')
    log.forget_before(10)
    log.close()
    again = CommitLog(tmp_path / "state")
    assert (again.writer, again.newest()) == (2, (10, b'{"n":10}'))
    again.close()


def test_no_state_no_commit(tmp_path: Path) -> None:
    assert read_newest(tmp_path / "none") is None


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    log = CommitLog(tmp_path)
    found = child("CommitLog(state)", tmp_path)
    assert "another process is running on this state" in found.stderr
    log.append(1, b"{}")  # and does no harm
    log.close()


def test_a_stalled_writer_that_wakes_up_after_a_takeover_cannot_commit(tmp_path: Path) -> None:
    first = CommitLog(tmp_path)
    first.append(1, b'{"by":1}')
    (tmp_path / "lock").unlink()  # as where a lock is lost
    second = CommitLog(tmp_path)
    assert second.newest() == (1, b'{"by":1}')
    with pytest.raises(FencedError, match="another process has taken over"):
        first.append(2, b'{"by":1}')
    second.append(2, b'{"by":2}')
    with pytest.raises(FencedError):
        first.append(3, b'{"by":1}')
    assert read_newest(tmp_path) == (2, b'{"by":2}')
    first.close()
    second.close()


def test_a_number_is_given_once(tmp_path: Path) -> None:
    log = CommitLog(tmp_path)
    log.append(1, b'{"a":1}')
    with pytest.raises(FencedError):
        log.append(1, b'{"a":2}')
    assert log.newest() == (1, b'{"a":1}')
    log.close()


@pytest.mark.parametrize(("step", "newest"), [("commit.write", 1), ("commit.link", 2), ("commit.sync", 2)])
def test_killed_after_any_step_the_newest_commit_is_the_old_or_the_new_one_whole(
    step: str, newest: int, tmp_path: Path
) -> None:
    code = f"""
import os, signal
from streams.live import steps
log = CommitLog(state)
log.append(1, b"one")
steps.observers.append(lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == {step!r} else None)
log.append(2, b"two")
"""
    assert child(code, tmp_path).returncode == -signal.SIGKILL
    log = CommitLog(tmp_path)
    assert log.newest() == (newest, b"one" if newest == 1 else b"two")
    assert not list(tmp_path.glob("*/*.tmp"))
    log.append(newest + 1, b"next")
    log.close()


def test_killed_while_it_takes_over_the_next_start_goes_on(tmp_path: Path) -> None:
    log = CommitLog(tmp_path)
    log.append(1, b"one")
    log.close()
    code = """
import os, signal
from streams.live import steps
steps.observers.append(lambda step: os.kill(os.getpid(), signal.SIGKILL))
CommitLog(state)
"""
    assert child(code, tmp_path).returncode == -signal.SIGKILL
    log = CommitLog(tmp_path)
    assert (log.writer, log.newest()) == (3, (1, b"one"))
    log.close()


@pytest.mark.parametrize("damage", [lambda raw: raw[:-3], lambda raw: raw.replace(b"n", b"m"), lambda _: b""])
def test_a_damaged_commit_is_named(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    log = CommitLog(tmp_path)
    log.append(7, b'{"n":7}')
    (file,) = tmp_path.glob("*/*.json")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UnavailableError, match=r"000000000007\.json: the commit is damaged"):
        log.newest()
    log.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_stops_it_and_loses_nothing(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CommitLog(tmp_path)
    log.append(1, b"one")

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(UnavailableError, match=os.strerror(code)):
            log.append(2, b"two")
    assert log.newest() == (1, b"one")
    assert not list(tmp_path.glob("*/*.tmp"))
    log.append(2, b"two")
    assert log.newest() == (2, b"two")
    log.close()


def test_where_the_folder_cannot_be_forced_to_disk_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CommitLog(tmp_path)
    log.append(1, b"one")

    def refuse(folder: Path) -> None:
        raise UnavailableError(f"{folder}: cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(commit_log, "sync", refuse)
        with pytest.raises(UnavailableError, match="cannot be written"):
            log.append(2, b"two")
    assert log.newest() == (1, b"one")
    log.append(2, b"two")
    log.close()


def test_a_commit_linked_just_before_a_takeover_is_the_new_writers_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CommitLog(tmp_path)
    taken: list[CommitLog] = []

    def take_over(step: str) -> None:
        if step == "commit.link":
            (tmp_path / "lock").unlink()
            taken.append(CommitLog(tmp_path))

    monkeypatch.setattr(steps, "observers", [take_over])
    with pytest.raises(FencedError):
        first.append(1, b"one")
    (second,) = taken
    assert second.newest() == (1, b"one")
    for fenced in (first.newest, lambda: first.forget_before(1)):
        with pytest.raises(FencedError):
            fenced()
    first.close()
    second.close()


def test_a_start_that_fails_lets_the_state_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise UnavailableError(f"{folder}: cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(commit_log, "sync", refuse)
        with pytest.raises(UnavailableError) as failed:
            CommitLog(tmp_path)
    CommitLog(tmp_path).close()  # while the failure, and so its frames, are still held
    assert failed.value.exit_code == 3


def test_a_commit_of_two_lines_is_never_written(tmp_path: Path) -> None:
    log = CommitLog(tmp_path)
    with pytest.raises(AssertionError, match="two lines"):
        log.append(1, b"a\nb")
    assert log.newest() is None
    log.close()
