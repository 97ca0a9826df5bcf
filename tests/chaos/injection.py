"""System calls of the daemon fail, or take their time, by strace's injection.

``python -m tests.chaos.injection fsync|write|slow [--cut]``

The disk is one whose power can be cut: with ``--cut`` it is after a sync that failed,
so that what was confirmed all the same is gone, and found out. Without, the next start
has a journal to check and to rebuild.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from benchmarks.debian import install
from pymule.master.journal_file import NAME
from pymule.master.journal_writer import FAILED_NAME
from tests.chaos.disk import PowerDisk, own_mounts, why_no_power_cut
from tests.chaos.nemesis import Break
from tests.chaos.powercut import IO_ERROR
from tests.chaos.stage import Stage, until
from tests.chaos.verdict import Baseline, Outcome, conclude, tell

__all__ = ("CALLS", "main", "why_no_injection")

_SYNC: Final = "fsync,fdatasync"
CALLS: Final = {
    "fsync": f"inject={_SYNC}:error=EIO",
    "write": "inject=pwrite64:error=EIO",
    "slow": f"inject={_SYNC}:delay_exit=500000",
}
"""What is injected, by name."""

_LOAD_S: Final = 1.0
_SLOW_S: Final = 3.0
_ANSWER_S: Final = 5.0 * float(os.environ.get("PYMULE_TEST_SLOWNESS", "1"))


def why_no_injection() -> str | None:
    """Return why no call can fail here, or ``None``; installs strace if it may."""
    if (reason := why_no_power_cut()) is not None:
        return reason
    if shutil.which("strace") is None and (reason := install("strace")) is not None:
        return f"there is no strace, and {reason}"
    probe = [
        "strace",
        "-f",
        "-o",
        os.devnull,
        "-e",
        "inject=getpid:error=EPERM",
        "true",
    ]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)  # noqa: S603
    return None if done.returncode == 0 else done.stderr.strip()


async def break_once(
    name: str, seed: int, *, is_cut: bool = False, saboteur: str = "none"
) -> Outcome:
    """Let the calls of *name* go wrong under load; return what became of it."""
    draw = random.Random(seed)  # noqa: S311  (repeatable, keeps no secret)
    outcome = Outcome({"injection": name, "durability": "disk", "seed": seed})
    cuts: tuple[tuple[int, int], ...] = ()
    with PowerDisk.plugged() as disk:
        stage = Stage("disk", saboteur=saboteur, state_dir=disk.path / "state")
        try:
            await stage.start()
            baseline = Baseline(stage)
            stage.start_senders(pause_s=0.01)
            await asyncio.sleep(draw.uniform(0.2, _LOAD_S))
            async with _traced(stage, CALLS[name]):
                if name == "slow":
                    await _be_slow(stage, outcome)
                else:
                    cuts = await _fail(stage, outcome, disk if is_cut else None)
            outcome.blows[Break.DISK_ERROR] = 1
            faults = [] if name == "slow" else [Break.DISK_ERROR]
            await conclude(stage, outcome, baseline, faults=faults, power_cuts=cuts)
        finally:
            stage.close()
    return outcome


async def _fail(
    stage: Stage, outcome: Outcome, disk: PowerDisk | None
) -> tuple[tuple[int, int], ...]:
    """See the daemon end, and start the next one; before, cut the power of *disk*."""
    status = await stage.ended()
    ended_at = time.monotonic_ns()
    stage.master_deaths.append(ended_at)
    if status != IO_ERROR:
        outcome.problems.append(f"after the error pymuled ended with {status}")
    if disk is not None:
        disk.cut()
        disk.turn_off()
        disk.turn_on()
        cut_at = time.monotonic_ns()
        await stage.start()
        # What was confirmed up to the end of the daemon counts.
        return ((cut_at, cut_at),)
    mark, journal = stage.state_dir / FAILED_NAME, stage.state_dir / NAME
    before = journal.stat().st_ino
    if not mark.exists():
        outcome.problems.append("nothing tells the next start of the error")
    await stage.start()
    if mark.exists() or journal.stat().st_ino == before:
        outcome.problems.append("the journal was not rebuilt")
    return ()


async def _be_slow(stage: Stage, outcome: Outcome) -> None:
    """See that the daemon answers while each sync takes half a second."""
    longest = 0.0
    end = time.monotonic() + _SLOW_S
    while time.monotonic() < end:
        asked_at = time.monotonic()
        if not await stage.status():
            outcome.problems.append("no answer while syncs are slow")
        longest = max(longest, time.monotonic() - asked_at)
        await asyncio.sleep(0.05)
    outcome.course["longest_answer_s"] = round(longest, 3)
    if longest > _ANSWER_S:
        outcome.problems.append(f"an answer took {longest:.1f} s")


@asynccontextmanager
async def _traced(stage: Stage, injection: str) -> AsyncIterator[None]:
    """Inject into the daemon, all its threads and what it starts."""
    trace = stage.directory / "strace"
    words = ["-f", "-p", str(stage.master.pid), "-o", str(trace)]
    calls = injection.removeprefix("inject=").partition(":")[0]
    process = subprocess.Popen(  # noqa: ASYNC220, S603  (a moment, in a test)
        ["strace", *words, "-e", f"trace={calls}", "-e", injection],  # noqa: S607
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        await until(lambda: _tracer_of(stage.master.pid), "strace is attached")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _tracer_of(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        # It has ended, of the first call that failed.
        return True
    return "TracerPid:\t0" not in status


def main() -> int:
    """Do as the command line says; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.injection")
    parser.add_argument("name", choices=list(CALLS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--saboteur", default="none", help="a bug to plant")
    parser.add_argument("--cut", action="store_true", help="cut the power then")
    given = parser.parse_args()
    if (reason := why_no_injection()) is not None:
        sys.stderr.write(f"no injection: {reason}\n")
        return 77
    own_mounts()
    outcome = break_once(
        given.name, given.seed, is_cut=given.cut, saboteur=given.saboteur
    )
    return tell(asyncio.run(outcome))


if __name__ == "__main__":
    sys.exit(main())
