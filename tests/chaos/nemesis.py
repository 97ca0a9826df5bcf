"""Which faults strike when: drawn by a seed, so that a run can be repeated.

A run is cut into periods. In each a random set of the faults is at work, and in one
of four none, so that what they left behind has a moment to show.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ("BY_DURABILITY", "Blow", "Break", "Fault", "schedule")


class Fault(StrEnum):
    """What can go wrong."""

    KILL_MULE = "kill-mule"
    STOP_MULE = "stop-mule"
    KILL_SENDER = "kill-sender"
    STOP_SENDER = "stop-sender"
    KILL_MASTER = "kill-master"
    STOP_MASTER = "stop-master"
    CUT = "cut"
    RELOAD = "reload"
    FILL_DISK = "fill-disk"


class Break(StrEnum):
    """What ends a daemon, and belongs to programs of its own."""

    POWER_CUT = "power-cut"
    DISK_ERROR = "disk-error"


_HARMLESS: Final = frozenset(Fault) - {Fault.KILL_MASTER, Fault.FILL_DISK}

BY_DURABILITY: Final = {
    "memory": _HARMLESS,
    "process": frozenset(Fault),
    "disk": frozenset(Fault),
}
"""What must not lose anything confirmed: memory is lost with the master."""

# In a period, a fault strikes so often per second, and lasts so many seconds.
_RATES: Final = {
    Fault.KILL_MULE: (5.0, 0.0),
    Fault.STOP_MULE: (2.0, 0.5),
    Fault.KILL_SENDER: (1.0, 0.0),
    Fault.STOP_SENDER: (1.0, 0.5),
    Fault.KILL_MASTER: (0.7, 0.3),
    Fault.STOP_MASTER: (0.5, 0.4),
    Fault.CUT: (4.0, 0.0),
    Fault.RELOAD: (0.5, 0.0),
    Fault.FILL_DISK: (0.4, 1.0),
}


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault at one moment.

    Attributes:
        at: Seconds from the start of the run.
        lasts_s: Until it is healed; 0 for what cannot be.
        choice: Picks the victim, by what is left of a division.
    """

    at: float
    fault: Fault
    lasts_s: float
    choice: int


def schedule(
    seed: int,
    duration_s: float,
    faults: Iterable[Fault],
    period_s: tuple[float, float],
) -> list[Blow]:
    """Return the blows of a run, in the order of their times.

    Args:
        seed: The same seed gives the same blows.
        duration_s: Length of the run, in seconds.
        faults: Those that may be used.
        period_s: Shortest and longest period, in seconds.
    """
    draw = random.Random(seed)  # noqa: S311  (repeatable, keeps no secret)
    # By name: the order of a set is another in each process.
    known = sorted(faults)
    blows: list[Blow] = []
    start, number = 0.0, 0
    while known and start < duration_s:
        length = draw.uniform(*period_s)
        if number % 4 != 3:
            chosen = draw.sample(known, draw.randint(1, len(known)))
            end = min(start + length, duration_s)
            blows += (b for fault in chosen for b in _blows(draw, fault, start, end))
        start, number = start + length, number + 1
    return sorted(blows, key=lambda blow: (blow.at, blow.fault))


def _blows(
    draw: random.Random, fault: Fault, start: float, end: float
) -> Iterator[Blow]:
    rate, lasts_s = _RATES[fault]
    for _ in range(max(1, round(rate * (end - start)))):
        yield Blow(
            draw.uniform(start, end),
            fault,
            lasts_s * draw.random(),
            draw.randrange(1 << 30),
        )
