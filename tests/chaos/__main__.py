"""``python -m tests.chaos --seed 7 --duration 60 --durability disk``."""

import argparse
import asyncio
import sys
from dataclasses import replace
from typing import Final

from tests.chaos.disk import own_mounts, small_disk, why_no_mounts
from tests.chaos.nemesis import BY_DURABILITY, Fault
from tests.chaos.run import Course, run
from tests.chaos.verdict import Outcome, tell

__all__ = ("main",)

# Room for the journal of what is queued, and not for much more.
_SMALL_BYTES: Final = 16 * 1024 * 1024
_PERIODS: Final = {"smoke": (1.0, 3.0), "soak": (5.0, 15.0)}


def main() -> int:
    """Run once as the command line says; return 0 if all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--duration", type=float, default=20.0, help="seconds")
    parser.add_argument("--durability", choices=list(BY_DURABILITY), default="memory")
    parser.add_argument("--faults", help="separated by commas; default all that apply")
    parser.add_argument("--profile", choices=list(_PERIODS), default="smoke")
    parser.add_argument("--pause", type=float, default=0.05, help="of senders, seconds")
    parser.add_argument("--saboteur", default="none", help="a bug to plant")
    given = parser.parse_args()
    faults = BY_DURABILITY[given.durability]
    if given.faults is not None:
        faults = frozenset(map(Fault, filter(None, given.faults.split(","))))
    if Fault.FILL_DISK in faults and (reason := why_no_mounts()) is not None:
        sys.stderr.write(f"no {Fault.FILL_DISK}: {reason}\n")
        faults -= {Fault.FILL_DISK}
    course = Course(
        given.seed,
        given.duration,
        given.durability,
        faults,
        _PERIODS[given.profile],
        given.pause,
        saboteur=given.saboteur,
    )
    return tell(asyncio.run(_run(course)))


async def _run(course: Course) -> Outcome:
    if Fault.FILL_DISK not in course.faults:
        return await run(course)
    own_mounts()
    with small_disk(_SMALL_BYTES) as path:
        return await run(replace(course, small_disk=path))


if __name__ == "__main__":
    sys.exit(main())
