"""How often does an idle master wake up, with 100 timers of an hour and 8 mules?

As the kernel counts it, for each of its threads: how often it gave up a core or lost
it, which is at least how often it was woken. Nothing is due meanwhile, so it should be
never; see docs/performance.md.
"""

import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from benchmarks import cli
from benchmarks.peers.pymule import daemon
from benchmarks.report import Answer, spread, table
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage

__all__ = ("answer", "wakeups")

_TIMERS: Final = 100
_PROGRAMMED: Final = ("wait",) * 4
_SIGNAL_ONLY: Final = 4
_ROUNDS: Final = 2
_QUICK_ROUNDS: Final = 1
_WINDOW_S: Final = 10.0
_QUICK_WINDOW_S: Final = 1.0
# Ten seconds after it is ready, each mule is looked at once more: that is due, and so
# is not part of what is asked.
_SETTLE_S: Final = 12.0
_QUICK_SETTLE_S: Final = 1.0
_SWITCHES: Final = ("voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")
_MASTER: Final = "master"
_MULES: Final = "8 mules together"


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of timers."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    window = _QUICK_WINDOW_S if options.is_quick else _WINDOW_S
    settle = _QUICK_SETTLE_S if options.is_quick else _SETTLE_S
    timers = options.messages or _TIMERS
    counts: dict[str, list[int]] = {_MASTER: [], _MULES: []}
    calls = ""
    failure = None
    try:
        for at in range(rounds):
            print(f"  round {at + 1} of {rounds}", file=sys.stderr)
            found, calls = _round(timers, settle, window)
            for name, count in found.items():
                counts[name].append(count)
    except PeerError as exc:
        failure = str(exc)
    lines = (failure,) if failure is not None else (*_table(counts, window), "", calls)
    data = {
        "timers": timers,
        "window_s": window,
        "wakeups": counts,
        "system_calls_of_the_master": calls,
        "failure": failure,
    }
    return Answer("idle", cli.question_of(__doc__), lines, data)


def wakeups(pid: int) -> int:
    """Return how often threads of *pid* gave up a core or lost it until now."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith(_SWITCHES):
                found += int(line.partition(":")[2])
    return found


def _round(timers: int, settle: float, window: float) -> tuple[dict[str, int], str]:
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
        before = wakeups(pid), sum(map(wakeups, mules))
        time.sleep(window)
        after = wakeups(pid), sum(map(wakeups, mules))
        names = (_MASTER, _MULES)
        found = {
            name: late - early
            for name, early, late in zip(names, before, after, strict=True)
        }
        return found, _system_calls(stage, pid, window)


def _system_calls(stage: Stage, pid: int, window: float) -> str:
    """Return what strace(1) counts; calls that wait all the time are not among them."""
    strace = shutil.which("strace")
    if strace is None:
        return "no strace here"
    summary = stage.folder / "calls"
    stage.start("strace", strace, "-c", "-f", "-o", str(summary), "-p", str(pid))
    time.sleep(window)
    stage.stop("strace", signal.SIGINT)
    text = summary.read_text().strip() if summary.exists() else "no summary"
    return f"strace -c -f, {window:g} s more: {text or 'no system call ended'}"


def _table(counts: Mapping[str, list[int]], window: float) -> tuple[str, ...]:
    rows = [(name, *spread(found)) for name, found in counts.items()]
    return table(("", f"wake-ups in {window:g} s", "spread"), rows)


if __name__ == "__main__":
    cli.main({"idle": answer})
