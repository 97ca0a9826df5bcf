"""How often does an idle master wake up, with 100 timers of an hour and 8 mules?

As the kernel counts it, for each of its threads: how often it gave up a core or lost
it, which is at least how often it was woken, and for how long it ran. Nothing is due
meanwhile, so it should be never; see docs/performance.md.
"""

import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import psutil

from benchmarks import cli
from benchmarks.cpu import cpu_s
from benchmarks.peers.pymule import daemon
from benchmarks.report import Answer, Budget, Table, spread
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage

__all__ = ("answer", "wakeups")

_TIMERS: Final = 100
_PROGRAMMED: Final = ("wait",) * 4
_SIGNAL_ONLY: Final = 4
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_WINDOW_S: Final = 3.0
_QUICK_WINDOW_S: Final = 1.0
# Ten seconds after it is ready, each mule is looked at once more: that is due, and so
# is not part of what is asked.
_SETTLE_S: Final = 12.0
_QUICK_SETTLE_S: Final = 1.0
_SWITCHES: Final = ("voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")
_MASTER: Final = "master"
_MULES: Final = "8 mules together"


@dataclass(frozen=True, slots=True)
class Activity:
    """What processes did until now, or in between."""

    wakeups: int
    cpu_s: float

    @classmethod
    def of(cls, pids: Sequence[int]) -> Self:
        """Look at the processes *pids*."""
        return cls(sum(map(wakeups, pids)), sum(map(cpu_s, pids)))

    def since(self, before: Self) -> Self:
        """Return what was added."""
        added = self.cpu_s - before.cpu_s
        return replace(self, wakeups=self.wakeups - before.wakeups, cpu_s=added)

    def percent_of(self, seconds: float) -> float:
        """Return the CPU time over so many seconds of one core."""
        return self.cpu_s / seconds * 100


Seen = dict[str, list[Activity]]
"""What was done in each window, by whom."""


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of timers."""
    windows = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    window = _QUICK_WINDOW_S if options.is_quick else _WINDOW_S
    settle = _QUICK_SETTLE_S if options.is_quick else _SETTLE_S
    timers = options.messages or _TIMERS
    seen: Seen = {}
    calls = ""
    failure = None
    try:
        seen, calls = _look(timers, settle, [window] * windows)
    except PeerError as exc:
        failure = str(exc)
    data = {
        "timers": timers,
        "window_s": window,
        "wakeups": {name: [one.wakeups for one in seen[name]] for name in seen},
        "cpu_percent": {
            name: [one.percent_of(window) for one in seen[name]] for name in seen
        },
        "system_calls_of_the_master": calls,
        "failure": failure,
    }
    master = seen.get(_MASTER, ())
    budgets = (
        Budget(
            f"wake-ups of an idle master, {timers} timers, 8 mules, in {window:g} s",
            0,
            tuple(float(one.wakeups) for one in master),
            form=".0f",
        ),
        Budget(
            "CPU of an idle master",
            0,
            tuple(one.percent_of(window) for one in master),
            unit="%",
        ),
    )
    return Answer(
        "idle",
        cli.question_of(__doc__),
        (_table(seen, window, calls),) if failure is None else (),
        data,
        budgets=budgets,
        failures=() if failure is None else (failure,),
    )


def wakeups(pid: int) -> int:
    """Return how often threads of *pid* gave up a core or lost it until now."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith(_SWITCHES):
                found += int(line.partition(":")[2])
    return found


def _look(timers: int, settle: float, windows: Sequence[float]) -> tuple[Seen, str]:
    """Count in one window after the other; return that, and what strace sees then."""
    seen: Seen = {_MASTER: [], _MULES: []}
    with (
        Stage("idle", timers) as stage,
        daemon(stage, *_PROGRAMMED, signal_only=_SIGNAL_ONLY) as pid,
    ):
        for mule in range(_SIGNAL_ONLY, _SIGNAL_ONLY + len(_PROGRAMMED)):
            stage.wait(f"up-{mule + 1}")
        stage.start_python("benchmarks.programs.hourly")
        stage.wait("armed")
        time.sleep(settle)
        mules = [child.pid for child in psutil.Process(pid).children()]
        if len(mules) != len(_PROGRAMMED) + _SIGNAL_ONLY:
            raise PeerError(f"{len(mules)} mules run")
        for at, window in enumerate(windows):
            print(f"  window {at + 1} of {len(windows)}", file=sys.stderr)
            before = Activity.of([pid]), Activity.of(mules)
            time.sleep(window)
            after = Activity.of([pid]), Activity.of(mules)
            for name, early, late in zip(seen, before, after, strict=True):
                seen[name].append(late.since(early))
        return seen, _system_calls(stage, pid, windows[-1])


def _system_calls(stage: Stage, pid: int, window: float) -> str:
    """Return what strace(1) counts; calls that wait all the time are not among them."""
    strace = shutil.which("strace")
    if strace is None:
        return "There is no strace here to count system calls."
    summary = stage.folder / "calls"
    stage.start("strace", strace, "-c", "-f", "-o", str(summary), "-p", str(pid))
    time.sleep(window)
    stage.stop("strace", signal.SIGINT)
    # The last line has the sums: % time, seconds, usecs/call, calls, errors, "total".
    lines = summary.read_text().splitlines() if summary.exists() else []
    count = lines[-1].split()[3] if lines and lines[-1].endswith("total") else "no"
    return f"strace saw {count} system calls of the master end in {window:g} s more."


def _table(seen: Seen, window: float, calls: str) -> Table:
    rows = tuple(
        (
            name,
            *spread([one.wakeups for one in found]),
            *spread([one.percent_of(window) for one in found], ".3f"),
        )
        for name, found in seen.items()
    )
    columns = ("", f"wake-ups in {window:g} s", "spread", "CPU % of a core", "spread")
    return Table("100 timers of an hour, 8 mules", columns, rows, (calls,))


if __name__ == "__main__":
    cli.main({"idle": answer})
