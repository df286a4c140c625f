"""Event time: how far each partition has come, the watermark that follows, and what comes too late.

Event time alone decides; no clock of the machine is asked. That a partition is *idle* (read to its end, and
nothing came for a while) is told from outside and held in the commit, so that a later start goes on alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from attribution.money import Bools, Int64s


@dataclass(frozen=True)
class Progress:
    """A partition: the largest event time read from it (µs since 1970, None before the first), and whether it is idle.

    A partition that was never written to is idle from the start.
    """

    newest_us: int | None = None
    is_idle: bool = True


def watermark(partitions: Iterable[Progress], before_us: int | None) -> int | None:
    """The smallest of the largest event times of the partitions that are not idle; all idle: the largest read anywhere.

    It never moves back behind ``before_us``. A partition that is not idle and has given no event time yet holds it.
    """
    known = list(partitions)
    busy = [partition for partition in known if not partition.is_idle]
    times = [partition.newest_us for partition in busy or known if partition.newest_us is not None]
    if not times or len(times) < len(busy):
        return before_us
    reached = min(times) if busy else max(times)
    return reached if before_us is None else max(reached, before_us)


def largest_step_us(times_us: Int64s, newest_before_us: int | None) -> int:
    """The furthest that one record moves its partition's largest event time; the first of a partition moves none."""
    if len(times_us) == 0:
        return 0
    first = times_us[0] if newest_before_us is None else newest_before_us
    before = np.maximum.accumulate(np.concatenate(([first], times_us)))
    return int(np.diff(before).max())


def too_late(times_us: Int64s, newest_before_us: int | None, allowed_lateness_us: int) -> tuple[Bools, int | None]:
    """(per record of one partition, in reading order, whether it comes too late; the largest event time after them).

    Too late: event time < the largest event time read before it in its own partition − allowed lateness.
    """
    if len(times_us) == 0:
        return np.zeros(0, dtype=np.bool_), newest_before_us
    first = times_us[0] if newest_before_us is None else newest_before_us
    before = np.maximum.accumulate(np.concatenate(([first], times_us)))
    return times_us < before[:-1] - allowed_lateness_us, int(before[-1])
