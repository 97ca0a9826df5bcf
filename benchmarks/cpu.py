"""CPU time as the scheduler counts it, in nanoseconds: 10 ms steps hide a message.

Light, because programs of a round use it on the master.
"""

from contextlib import suppress
from pathlib import Path

__all__ = ("cpu_s",)

_NANO = 1e-9


def cpu_s(pid: int) -> float:
    """Return the seconds that the threads of *pid* have run until now.

    A thread that has ended is not among them, and one that runs right now is counted up
    to the last tick.

    Source: the kernel's ``Documentation/scheduler/sched-stats.rst``.
    """
    found = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            found += int(stat.read_text().split()[0])
    return found * _NANO
