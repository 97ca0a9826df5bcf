"""How soon after the SIGKILL of a mule does the message in its hand run in another?

From just before the kill to the first line of the program that gets it again; see
docs/performance.md.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks import cli
from benchmarks.peers.pymule import daemon
from benchmarks.report import Answer, Budget, Table, number, percentile
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage
from pymule import Client

__all__ = ("answer",)

_KILLS: Final = 100
_QUICK_KILLS: Final = 20
# For each daemon, so many and one mule more: each mule dies once, so that no wait
# before a restart is part of what is measured.
_KILLS_A_DAEMON: Final = 10
_MILLI: Final = 1e3
_BUDGET_MS: Final = 50


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of kills."""
    wanted = options.messages or (_QUICK_KILLS if options.is_quick else _KILLS)
    times: list[float] = []
    failure = None
    try:
        while len(times) < wanted:
            print(f"  kill {len(times) + 1} of {wanted}", file=sys.stderr)
            times += _times(min(_KILLS_A_DAEMON, wanted - len(times)))
    except PeerError as exc:
        failure = f"stopped after {len(times)} kills: {exc}"
    data: dict[str, object] = {"kills": len(times), "ms": times, "failure": failure}
    tables: tuple[Table, ...] = ()
    p99s: tuple[float, ...] = ()
    if failure is None:
        data |= (figures := _figures(times))
        p99s = (figures["p99_ms"],)
        cells = [f"{value:.1f}" for value in figures.values()]
        columns = ("", "p50 ms", "p99 ms", "max ms")
        tables = (Table(f"{wanted} kills", columns, (("pymule", *cells),)),)
    budget = Budget(
        "SIGKILL to the message in another mule, p99",
        _BUDGET_MS,
        p99s,
        unit="ms",
        form=".1f",
    )
    return Answer(
        "recovery",
        cli.question_of(__doc__),
        tables,
        data,
        budgets=(budget,),
        failures=() if failure is None else (failure,),
    )


def _figures(times: list[float]) -> dict[str, float]:
    return {
        "p50_ms": percentile(times, 0.5),
        "p99_ms": percentile(times, 0.99),
        "max_ms": max(times),
    }


def _times(kills: int) -> list[float]:
    """Return, in milliseconds, how long each of so many recoveries took."""
    mules = ["hold"] * (kills + 1)
    with Stage() as stage, daemon(stage, *mules):
        for mule in range(1, len(mules) + 1):
            stage.wait(f"up-{mule}")
        return [_recover(stage, f"message{at}") for at in range(kills)]


def _recover(stage: Stage, name: str) -> float:
    asyncio.run(_send(stage.socket, name))
    held = stage.wait(f"{name}-1", step=0.001)
    killed = monotonic()
    os.kill(int(number(held, "pid")), signal.SIGKILL)
    again = stage.wait(f"{name}-2", step=0.002)
    if again["pid"] == held["pid"]:
        raise PeerError("the message came back to the mule that was killed")
    return (number(again, "at") - killed) * _MILLI


async def _send(socket: Path, name: str) -> None:
    async with Client(socket) as client:
        await client.mule_msg(name)


if __name__ == "__main__":
    cli.main({"recovery": answer})
