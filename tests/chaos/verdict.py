"""How a run ends: the queues drain, the daemon stops, and what was noted is judged."""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.history import History, Report, check
from tests.chaos.nemesis import Break, Fault
from tests.chaos.stage import ORDERED, Stage, until

__all__ = ("Baseline", "Outcome", "conclude", "tell")

_NO_PROGRESS_S: Final = 5.0 * float(os.environ.get("PYMULE_TEST_SLOWNESS", "1"))

# Errors of the log that a fault explains.
_EXPLAINED: Final[dict[str, set[Fault | Break]]] = {
    # The new mule was killed before it was ready.
    "reload stopped": {Fault.KILL_MULE, Fault.STOP_MULE},
    "pymuled failed": {Break.POWER_CUT, Break.DISK_ERROR, Fault.FILL_DISK},
    "journal failed": {Break.POWER_CUT, Break.DISK_ERROR},
    "journal ends early": {Break.POWER_CUT, Break.DISK_ERROR},
    "journal full": {Fault.FILL_DISK},
}


@dataclass(slots=True)
class Outcome:
    """What became of a run; *problems* are empty if all is well.

    Attributes:
        course: What the run was made of, as its report is to show it.
    """

    course: dict[str, object]
    report: Report = field(default_factory=Report)
    problems: list[str] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    started_at: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def describe(self) -> dict[str, object]:
        """Return all of it for JSON."""
        return {
            **self.course,
            **self.report.describe(),
            "problems": self.problems,
            "blows": dict(self.blows),
            "starts": self.starts,
            "seconds": round(self.seconds, 1),
        }


def tell(outcome: Outcome) -> int:
    """Print *outcome*; return the exit status that it deserves."""
    sys.stdout.write(f"{json.dumps(outcome.describe(), indent=1)}\n")
    return 1 if outcome.problems else 0


class Baseline:
    """What a daemon holds that has nothing to do yet."""

    def __init__(self, stage: Stage) -> None:
        self._counts = stage.resources()
        self._files = Counter(stage.open_files())

    async def compare(self, stage: Stage) -> str | None:
        """Return what the daemon holds more, and does not let go of."""

        def has_more() -> bool:
            now = stage.resources()
            return any(now[name] > count for name, count in self._counts.items())

        try:
            await until(lambda: not has_more(), "the daemon has let go of everything")
        except AssertionError:
            more = Counter(stage.open_files()) - self._files
            return f"leak: {self._counts} became {stage.resources()}, {dict(more)}"
        return None


async def conclude(
    stage: Stage,
    outcome: Outcome,
    baseline: Baseline,
    *,
    faults: Collection[Fault | Break] = (),
    power_cuts: tuple[tuple[int, int], ...] = (),
) -> None:
    """Bring the run to its end and judge it, once all faults are healed."""
    if stuck := await stage.stop_senders():
        outcome.problems.append(f"senders without an answer: {stuck}")
    is_drained = await _drain(stage)
    if not is_drained:
        outcome.problems.append("not drained: no progress")
    if (leak := await baseline.compare(stage)) is not None:
        outcome.problems.append(leak)
    queues = (await stage.status()).get("queues", [])
    if dead := sum(int(str(queue["dead"])) for queue in queues):
        outcome.problems.append(f"{dead} dead letters, though none may be")
    status = await stage.stop()
    if status != 0 and is_drained:
        outcome.problems.append(f"pymuled ended with {status}")
    outcome.report = check(
        History(
            list(stage.entries()),
            stage.dead_pids(),
            tuple(stage.master_deaths),
            power_cuts,
            ORDERED,
            stage.overlapping_pids(),
        )
    )
    outcome.problems += [f"{n} {word}" for word, n in outcome.report.breaches.items()]
    outcome.problems += _unexplained_errors(stage, faults)
    if left := stage.left_over():
        outcome.problems.append(f"processes left over: {left}")
    outcome.starts = stage.starts
    outcome.seconds = time.monotonic() - outcome.started_at


async def _drain(stage: Stage) -> bool:
    """Wait until nothing is queued; ``False`` if there is no progress any more."""
    seen: object = None
    changed_at = time.monotonic()
    while True:
        queues = (await stage.status()).get("queues", [])
        counts = [
            int(str(queue[key]))
            for queue in queues
            for key in ("ready", "leased", "delayed", "waiting")
        ]
        if queues and not any(counts):
            return True
        if counts != seen:
            seen, changed_at = counts, time.monotonic()
        elif time.monotonic() - changed_at > _NO_PROGRESS_S:
            return False
        await asyncio.sleep(0.05)


def _unexplained_errors(stage: Stage, faults: Collection[Fault | Break]) -> list[str]:
    found = [
        f"in the log: {record}"
        for record in stage.records()
        if record["level"] in ("ERROR", "CRITICAL")
        and not _EXPLAINED.get(str(record["event"]), set()) & set(faults)
    ]
    # A daemon that is killed may leave half a line.
    if not stage.master_deaths:
        found += [f"in the log: {line}" for line in stage.stray_lines()]
    return found[:5]
