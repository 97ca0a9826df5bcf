"""The power of the journal's disk is cut under load; nothing confirmed is lost.

``python -m tests.chaos.powercut --cuts 200``

Needs root, a loop device and ext4. Three times of four the daemon stands still at the
cut and never runs again, as it would be. The fourth time it lives on, with a disk that
fails, and has to end by itself with 74. What it confirms between is in doubt: an fsync
that is under way at the cut may be told that the commit it waits for is over, which it
is, because it was aborted (seen on Linux 6.18, ``jbd2_complete_transaction``).
"""

import argparse
import asyncio
import random
import signal
import sys
import time
from typing import Final

from tests.chaos.disk import PowerDisk, own_mounts, why_no_power_cut
from tests.chaos.nemesis import Break, Fault
from tests.chaos.stage import Stage, until
from tests.chaos.verdict import Baseline, Outcome, conclude, tell

__all__ = ("IO_ERROR", "cut_often", "main")

IO_ERROR: Final = 74
"""Exit status of a daemon whose journal cannot be written any more."""

_LOAD_S: Final = 1.2
_SETTLE_S: Final = 0.3
_NOTED_S: Final = 0.5


async def cut_often(
    cuts: int, seed: int, *, durability: str = "disk", saboteur: str = "none"
) -> Outcome:
    """Cut the power that often; return what became of the messages."""
    draw = random.Random(seed)  # noqa: S311  (repeatable, keeps no secret)
    outcome = Outcome({"cuts": cuts, "durability": durability, "seed": seed})
    times: list[tuple[int, int]] = []
    with PowerDisk.plugged() as disk:
        stage = Stage(durability, saboteur=saboteur, state_dir=disk.path / "state")
        try:
            await stage.start()
            baseline = Baseline(stage)
            stage.start_senders(pause_s=0.01)
            for number in range(cuts):
                await until(lambda: stage.is_serving, "the daemon listens")
                await asyncio.sleep(_SETTLE_S + draw.uniform(0, _LOAD_S))
                if number % 4:
                    times.append(await _cut_dead(stage, disk))
                else:
                    times.append(await _cut_alive(stage, disk, outcome))
                disk.turn_off()
                disk.turn_on()
                stage.launch()
            outcome.blows[Break.POWER_CUT] = cuts
            await conclude(
                stage,
                outcome,
                baseline,
                faults=[Fault.KILL_MASTER, Break.POWER_CUT],
                power_cuts=tuple(times),
            )
        finally:
            stage.close()
    return outcome


async def _cut_dead(stage: Stage, disk: PowerDisk) -> tuple[int, int]:
    """Cut the power of the disk and of the daemon; return when."""
    stage.master.send_signal(signal.SIGSTOP)
    await until(stage.is_standing_still, "the daemon stands still")
    at = time.monotonic_ns()
    disk.cut()
    stage.kill()
    return at, at


async def _cut_alive(
    stage: Stage, disk: PowerDisk, outcome: Outcome
) -> tuple[int, int]:
    """Cut the power of the disk alone; return from when to when the daemon lived."""
    since = time.monotonic_ns()
    disk.cut()
    status = await stage.ended()
    stage.master_deaths.append(time.monotonic_ns())
    if status != IO_ERROR:
        outcome.problems.append(f"after the cut pymuled ended with {status}")
    # A sender may be slow to note what it was told.
    await asyncio.sleep(_NOTED_S)
    return since, time.monotonic_ns()


def main() -> int:
    """Do as the command line says; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.powercut")
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--durability", choices=["process", "disk"], default="disk")
    parser.add_argument("--saboteur", default="none", help="a bug to plant")
    given = parser.parse_args()
    if (reason := why_no_power_cut()) is not None:
        sys.stderr.write(f"no power cut: {reason}\n")
        return 77
    own_mounts()
    outcome = cut_often(
        given.cuts, given.seed, durability=given.durability, saboteur=given.saboteur
    )
    return tell(asyncio.run(outcome))


if __name__ == "__main__":
    sys.exit(main())
