"""``python -m tests.chaos --seed 7 --duration 60 --durability disk``."""

import argparse
import asyncio
import json
import sys

from tests.chaos.nemesis import BY_DURABILITY, Fault
from tests.chaos.run import Course, run

__all__ = ("main",)

_PERIODS = {"smoke": (1.0, 3.0), "soak": (5.0, 15.0)}


def main() -> int:
    """Run once as the command line says; return 0 if all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--duration", type=float, default=20.0, help="seconds")
    parser.add_argument("--durability", choices=list(BY_DURABILITY), default="memory")
    parser.add_argument("--faults", help="separated by commas; default all that apply")
    parser.add_argument("--profile", choices=list(_PERIODS), default="smoke")
    parser.add_argument("--saboteur", default="none", help="a bug to plant")
    given = parser.parse_args()
    faults = BY_DURABILITY[given.durability]
    if given.faults is not None:
        faults = frozenset(map(Fault, filter(None, given.faults.split(","))))
    course = Course(
        given.seed,
        given.duration,
        given.durability,
        faults,
        _PERIODS[given.profile],
        saboteur=given.saboteur,
    )
    outcome = asyncio.run(run(course))
    sys.stdout.write(f"{json.dumps(outcome.describe(), indent=1)}\n")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
