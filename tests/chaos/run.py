"""One run: senders at work, blows as they are scheduled, and healing."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.nemesis import Blow, Fault, schedule
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Stage, until
from tests.chaos.verdict import Baseline, Outcome, conclude

__all__ = ("Course", "run")


# Exit status of a daemon that may succeed later.
_TRY_AGAIN: Final = 75


@dataclass(frozen=True, slots=True)
class Course:
    """What a run is made of.

    Attributes:
        pause_s: Mean time between two bursts of a sender.
        period_s: Shortest and longest period of the nemesis.
        small_disk: A file system that can be filled, for the journal.
    """

    seed: int
    duration_s: float
    durability: str
    faults: frozenset[Fault]
    period_s: tuple[float, float] = (1.0, 3.0)
    pause_s: float = 0.05
    saboteur: str = "none"
    small_disk: Path | None = None

    def describe(self) -> dict[str, object]:
        """Return what a report is to show of it."""
        return {
            "seed": self.seed,
            "duration_s": self.duration_s,
            "durability": self.durability,
            "faults": sorted(self.faults),
            "saboteur": self.saboteur,
        }


async def run(course: Course) -> Outcome:
    """Run *course*; nothing of it is left afterwards, but what is returned."""
    state_dir = course.small_disk and course.small_disk / "state"
    stage = Stage(course.durability, saboteur=course.saboteur, state_dir=state_dir)
    try:
        return await _Run(course, stage).run()
    finally:
        stage.close()


class _Run:
    def __init__(self, course: Course, stage: Stage) -> None:
        self._course = course
        self._stage = stage
        self._outcome = Outcome(course.describe())
        self._proxy = Proxy(stage.directory / "p", stage.socket)
        self._healings: dict[Blow, Callable[[], None]] = {}
        self._is_over = False

    async def run(self) -> Outcome:
        stage = self._stage
        stage.front = self._proxy.path
        await stage.start()
        baseline = Baseline(stage)
        await self._proxy.open()
        stage.start_senders(pause_s=self._course.pause_s)
        keeper = asyncio.create_task(self._keep_master())
        await self._strike()
        await self._heal()
        self._is_over = True
        await keeper
        try:
            await conclude(stage, self._outcome, baseline, faults=self._course.faults)
        finally:
            await self._proxy.close()
        return self._outcome

    # Faults

    async def _strike(self) -> None:
        course = self._course
        started_at = time.monotonic()
        blows = schedule(course.seed, course.duration_s, course.faults, course.period_s)
        ends: list[tuple[float, Blow]] = []
        for blow in blows:
            ends = await self._heal_due(ends, started_at, blow.at)
            await _sleep_until(started_at + blow.at)
            if self._hit(blow):
                _log(f"{blow.at:.3f} {blow.fault} {blow.choice} {blow.lasts_s:.3f}")
                self._outcome.blows[blow.fault] += 1
                ends.append((blow.at + blow.lasts_s, blow))
        await self._heal_due(ends, started_at, course.duration_s)
        await _sleep_until(started_at + course.duration_s)

    async def _heal_due(
        self, ends: list[tuple[float, Blow]], started_at: float, now: float
    ) -> list[tuple[float, Blow]]:
        for at, blow in sorted(ends, key=lambda end: end[0]):
            if at <= now and blow in self._healings:
                await _sleep_until(started_at + at)
                self._healings.pop(blow)()
        return [end for end in ends if end[1] in self._healings]

    async def _heal(self) -> None:
        """Undo all that still lasts."""
        while self._healings:
            self._healings.popitem()[1]()
        await until(lambda: self._stage.has_said("pymuled ready"), "a daemon is ready")

    def _hit(self, blow: Blow) -> bool:
        """Carry *blow* out; tell whether there was a victim."""
        match blow.fault:
            case Fault.KILL_MULE | Fault.STOP_MULE:
                # Mostly those that work; some while they start.
                mules = blow.choice % 4 and self._stage.busy_mules()
                mules = mules or self._stage.mules()
                return bool(mules) and self._hurt(
                    blow, mules[blow.choice % len(mules)], Fault.KILL_MULE
                )
            case Fault.KILL_SENDER:
                name, process = self._stage.sender(blow.choice)
                process.kill()
                process.wait()
                self._stage.start_sender(name, pause_s=self._course.pause_s)
            case Fault.STOP_SENDER:
                _, process = self._stage.sender(blow.choice)
                return self._hurt(blow, process.pid, None)
            case Fault.KILL_MASTER:
                self._stage.kill()
                self._healings[blow] = self._launch
            case Fault.STOP_MASTER:
                is_up = self._stage.is_up
                return is_up and self._hurt(blow, self._stage.master.pid, None)
            case Fault.CUT:
                return self._proxy.cut(blow.choice)
            case Fault.RELOAD if self._stage.is_serving:
                self._stage.master.send_signal(signal.SIGHUP)
            case Fault.FILL_DISK if self._course.small_disk is not None:
                self._fill(self._course.small_disk / f"filler-{blow.choice}", blow)
            case _:
                return False
        return True

    def _hurt(self, blow: Blow, pid: int, deadly: Fault | None) -> bool:
        """Kill the process if the fault of *blow* is *deadly*, else stop it a while."""
        is_deadly = blow.fault is deadly
        try:
            os.kill(pid, signal.SIGKILL if is_deadly else signal.SIGSTOP)
        except ProcessLookupError:
            return False
        if not is_deadly:
            self._healings[blow] = lambda: _continue(pid)
        return True

    def _fill(self, path: Path, blow: Blow) -> None:
        """Leave no byte free where *path* is."""
        with suppress(OSError), path.open("wb", buffering=0) as filler:
            for size in (1 << 16, 1 << 12):
                with suppress(OSError):
                    while filler.write(b"\0" * size):
                        pass
        self._healings[blow] = lambda: path.unlink(missing_ok=True)

    def _launch(self) -> None:
        if not self._stage.is_up:
            self._stage.launch()

    async def _keep_master(self) -> None:
        """Start the daemon again when it ended and nobody killed it."""
        while not self._is_over:
            stage = self._stage
            status = stage.master.poll()
            if status not in (None, -signal.SIGKILL):
                # Without room for a journal there is no start; it is tried again.
                if status != _TRY_AGAIN or Fault.FILL_DISK not in self._course.faults:
                    self._outcome.problems.append(f"pymuled ended with {status}")
                stage.master_deaths.append(time.monotonic_ns())
                stage.launch()
            await asyncio.sleep(0.05)


def _continue(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def _sleep_until(at: float) -> None:
    await asyncio.sleep(max(0.0, at - time.monotonic()))


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
