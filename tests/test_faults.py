"""Killed, torn, starved, doubled, stalled: whatever happens to the live engine, no record is lost or counted twice.

A log is read to its end under every fault, and each time the tables must be those of a run that nothing hit, which
are the model's, commit by commit. What readers find is checked after each next start, too: all tables up to one
commit.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import pytest

from streams.live.output_folder import STAGING
from tests.case_rules import DAY, HOUR
from tests.fault_checks import check_finished, check_readers, check_recovered, content, newest_commit
from tests.faults import (
    COMMITS_PER_ROLL,
    NEW_RATES_AT,
    Fault,
    Pipeline,
    Unkilled,
    run_unkilled,
    step_names,
    write_pipeline,
)
from tests.live_cases import random_log

STEPS = [step for step in step_names() if not step.startswith("recovery.")]
#: After these, a roll's next step writes.
ROLL_WRITES = ["roll.files", "roll.rename", "roll.sync"]
#: A log with everything in it that a kill could spoil: see the first test.
LOG = random_log(139, size=24, late=0.06)


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> Unkilled:
    return run_unkilled(write_pipeline(LOG, tmp_path_factory.mktemp("unkilled") / "pipeline"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline stopped after its second commit, whose rows wait for a roll."""
    pipeline = write_pipeline(LOG, tmp_path_factory.mktemp("stopped") / "pipeline")
    pipeline.kill(Fault("commit.clean", 2))
    pipeline.recover()  # from what the next commit had already written
    commit = newest_commit(pipeline)
    assert commit is not None
    assert commit.parts
    return pipeline


@pytest.fixture
def pipeline(stopped: Pipeline, tmp_path: Path) -> Pipeline:
    return stopped.copy(tmp_path / "pipeline")


def finish(pipeline: Pipeline, unkilled: Unkilled) -> None:
    """Run to the end, and see that no row shows what happened before."""
    ended = pipeline.run()
    assert ended.exit_code == 0, ended.said
    check_finished(pipeline, unkilled)


# --- the log and the steps ---


def test_the_log_holds_all_that_a_fault_could_spoil(unkilled: Unkilled) -> None:
    check_finished(unkilled.pipeline, unkilled)
    before, after = unkilled.results[NEW_RATES_AT - 2], unkilled.results[NEW_RATES_AT - 1]
    last = unkilled.results[-1]
    assert len(unkilled.results) >= 5
    assert len(last.credits) >= 15
    assert 0 < len(before.attributed) < len(last.attributed), "inferences settle all along"
    assert before.left["outcomes"] - after.left["outcomes"], "outcomes are forgotten"
    assert unkilled.results[-2].unattributed != last.unattributed, "outcomes wait until the end"
    assert min(last.duplicates, len(last.too_late), len(last.conflicting)) > 0
    with_rate = [row for row in before.credits if row["fx_rate"]]
    assert [row for row in with_rate if row not in after.credits], "rates change what was published"


def test_every_step_that_the_code_tells_of_is_reached(unkilled: Unkilled, pipeline: Pipeline) -> None:
    pipeline.kill(Fault("commit.write"))
    assert {*unkilled.steps, *pipeline.run().steps} == set(step_names())


# --- kill -9 ---


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_a_step_and_twice_in_recovery_nothing_is_lost_or_counted_twice(
    step: str, pipeline: Pipeline, unkilled: Unkilled
) -> None:
    for fault in (Fault(step), Fault("", 2), Fault("", 3)):
        pipeline.kill(fault)
    pipeline.recover()
    check_recovered(pipeline, unkilled)
    finish(pipeline, unkilled)


@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith("commit.")])
def test_killed_in_the_last_commit_nothing_is_lost_or_counted_twice(
    step: str, pipeline: Pipeline, unkilled: Unkilled
) -> None:
    pipeline.kill(Fault(step, len(unkilled.results) - 2))
    finish(pipeline, unkilled)


def test_killed_all_over_a_first_start_it_begins_as_if_never_started(tmp_path: Path, unkilled: Unkilled) -> None:
    pipeline = write_pipeline(LOG, tmp_path / "pipeline")
    for count in range(1, unkilled.steps.index("commit.clean"), 4):
        pipeline.kill(Fault("", count))
    pipeline.recover()
    check_recovered(pipeline, unkilled)
    finish(pipeline, unkilled)


# --- files that are cut off, changed or gone ---

Damage = Callable[[Path], object]


def cut(size: int) -> Damage:
    """Leave the first bytes; where negative, all but the last."""
    return lambda path: path.write_bytes(path.read_bytes()[:size])


def flip(place: float) -> Damage:
    """Change a bit, at a share of the length."""

    def damage(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[int(len(raw) * place)] ^= 1
        path.write_bytes(raw)

    return damage


def other_rates(path: Path) -> None:
    """Rates as good as any, but others."""
    path.write_text(re.sub(r",([1-8])", lambda digit: f",{9 - int(digit[1])}", path.read_text()))


def largest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


FILES: dict[str, Callable[[Pipeline], Path]] = {
    "commit": lambda pipeline: max(pipeline.state.glob("commits-*/*.json")),
    "segment": lambda pipeline: largest(pipeline.state / "segments"),
    "rates": lambda pipeline: next(pipeline.state.glob("rates-*.csv")),
    "waiting": lambda pipeline: largest(pipeline.out / STAGING),
    "records": lambda pipeline: largest(pipeline.archive / STAGING),
}
DAMAGES: dict[str, tuple[str, Damage, str]] = {
    "a commit of no bytes": ("commit", cut(0), "the commit is damaged"),
    "a commit of one byte": ("commit", cut(1), "the commit is damaged"),
    "half a commit": ("commit", cut(2000), "the commit is damaged"),
    "a commit without its last byte": ("commit", cut(-1), "the commit is damaged"),
    "a commit with another bit": ("commit", flip(0.3), "the commit is damaged"),
    "a commit with another checksum": ("commit", flip(0.999), "the commit is damaged"),
    "a segment of no bytes": ("segment", cut(0), "state is damaged"),
    "a segment without its last byte": ("segment", cut(-1), "state is damaged"),
    "a segment with another bit": ("segment", flip(0.5), "state is damaged"),
    "a segment that is gone": ("segment", Path.unlink, "cannot be read"),
    "kept rates that are gone": ("rates", Path.unlink, "cannot be read"),
    "kept rates that are others": ("rates", other_rates, "damaged"),
    "waiting rows of no bytes": ("waiting", cut(0), "damaged"),
    "waiting rows without their last byte": ("waiting", cut(-1), "damaged"),
    "waiting rows with another bit": ("waiting", flip(0.5), "damaged"),
    "records for the archive with another bit": ("records", flip(0.5), "damaged"),
    "records for the archive that are gone": ("records", Path.unlink, "rows that wait to be published are missing"),
    "waiting rows that are gone": ("waiting", Path.unlink, "rows that wait to be published are missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named_and_nothing_is_changed(name: str, pipeline: Pipeline) -> None:
    file, damage, message = DAMAGES[name]
    path = FILES[file](pipeline)
    damage(path)
    before = content(pipeline.folder)
    for _ in range(2):
        error = pipeline.run().error
        assert message in error
        assert path.name in error
        assert content(pipeline.folder) == before


def test_a_file_that_is_put_back_lets_it_go_on(pipeline: Pipeline, unkilled: Unkilled) -> None:
    for file in ("segment", "rates", "waiting"):
        path = FILES[file](pipeline)
        path.rename(pipeline.folder / "aside")
        assert pipeline.run().exit_code == 3
        (pipeline.folder / "aside").rename(path)
    damaged = FILES["commit"](pipeline)
    right = damaged.read_bytes()
    cut(-9)(damaged)
    assert pipeline.run().exit_code == 3
    FILES["commit"](pipeline).write_bytes(right)
    finish(pipeline, unkilled)


def test_a_published_file_that_is_gone_before_it_was_known_to_be_there_is_named(pipeline: Pipeline) -> None:
    pipeline.kill(Fault("roll.rename", 3))
    commit = newest_commit(pipeline)
    assert commit is not None
    gone = pipeline.out / commit.published[0].path
    gone.unlink()
    assert f"{gone}: a published file is missing" in pipeline.run().error


@pytest.mark.parametrize("size", [1, 40, -1])
def test_half_a_line_of_history_is_written_anew(size: int, pipeline: Pipeline, unkilled: Unkilled) -> None:
    pipeline.kill(Fault("history.write"))
    [history] = (pipeline.state / "history").iterdir()
    *lines, last, nothing = history.read_bytes().split(b"\n")
    assert (len(lines), nothing) == (1, b"")
    history.write_bytes(lines[0] + b"\n" + last[:size])
    pipeline.recover()
    check_recovered(pipeline, unkilled)


# --- a full disk ---


@pytest.mark.parametrize("step", ["recovery.fence", "commit.segments", "commit.parts", "commit.sync", *ROLL_WRITES])
def test_a_full_disk_is_one_message_and_with_room_again_it_goes_on(
    step: str, pipeline: Pipeline, unkilled: Unkilled
) -> None:
    error = pipeline.run(Fault(step, action="fill")).error
    assert "cannot be written" in error
    assert str(pipeline.folder) in error
    pipeline.recover()
    check_recovered(pipeline, unkilled)
    finish(pipeline, unkilled)


@pytest.fixture
def small_disk(stopped: Pipeline, tmp_path: Path) -> Iterator[Pipeline]:
    """The pipeline on a disk of its own, with plenty of room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "faults", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a disk in memory")
    try:
        yield stopped.copy(folder / "pipeline")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("room_kib", [4, 60, 140])
def test_a_disk_that_is_really_full_is_one_message_and_with_room_again_it_goes_on(
    room_kib: int, small_disk: Pipeline, unkilled: Unkilled
) -> None:
    def resize(kib: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(small_disk.folder.parent)], check=True)

    used = subprocess.run(["du", "-sk", str(small_disk.folder.parent)], capture_output=True, text=True, check=True)
    resize(int(used.stdout.split()[0]) + room_kib)
    error = small_disk.run().error
    assert "cannot be written" in error
    assert str(small_disk.folder) in error
    resize(65_536)
    finish(small_disk, unkilled)


# --- two processes ---


def stall_and_take_over(pipeline: Pipeline, unkilled: Unkilled, stall: Fault, commits: int) -> None:
    """A process stalls, loses its lock, and wakes up when another has made some commits: that one ends well."""
    with pipeline.start(stall) as first, ExitStack() as stack:
        first.wait_until_stopped()
        assert f"{pipeline.state}: another process is running on this state" in pipeline.run().error
        (pipeline.state / "lock").unlink()
        second = stack.enter_context(pipeline.start(Fault("commit.clean", commits, action="stop")))
        second.wait_until_stopped()
        first.resume()
        woken = first.end()
        check_readers(pipeline, unkilled)
        second.resume()
        ended = second.end()
    assert ended.exit_code == 0, ended.said
    assert f"{pipeline.state}: another process has taken over" in woken.error
    check_finished(pipeline, unkilled)


@pytest.mark.parametrize("step", STEPS)
def test_a_writer_that_stalls_and_wakes_up_after_a_takeover_stops_and_spoils_nothing(
    step: str, tmp_path: Path, unkilled: Unkilled
) -> None:
    pipeline = write_pipeline(LOG, tmp_path / "pipeline")
    # The other has rolled by then.
    stall_and_take_over(pipeline, unkilled, Fault(step, action="stop"), COMMITS_PER_ROLL + 1)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_start_that_stalls_and_wakes_up_after_a_takeover_stops_and_spoils_nothing(
    count: int, pipeline: Pipeline, unkilled: Unkilled
) -> None:
    pipeline.kill(Fault("commit.write"))
    # The other's rows wait for a roll by then, and it has taken up new rates.
    stall_and_take_over(pipeline, unkilled, Fault("", count, action="stop"), COMMITS_PER_ROLL)


# --- clocks ---


def test_a_clock_that_jumps_changes_nothing_but_the_times_of_commits(tmp_path: Path, unkilled: Unkilled) -> None:
    noon = 1_800_014_400_000_000
    times = cycle([noon + jump for jump in (0, -DAY, HOUR, -3 * DAY, DAY, -HOUR)])
    jumped = run_unkilled(write_pipeline(LOG, tmp_path / "pipeline"), lambda: next(times))
    check_finished(jumped.pipeline, unkilled)
    assert jumped.results == unkilled.results
