"""kill -9 of the daemon under load, again and again; nothing confirmed is lost.

``python -m tests.chaos.kill9 --kills 200 --durability disk``
"""

import argparse
import asyncio
import random
import sys
from typing import Final

from tests.chaos.nemesis import Fault
from tests.chaos.stage import Stage, until
from tests.chaos.verdict import Baseline, Outcome, conclude, tell

__all__ = ("kill_often", "main")

# One kill in four comes while the daemon starts, within so many seconds of its exec.
_IN_START: Final = 0.25
_START_S: Final = 0.5
# The others after it has begun to listen; mules are up after the first third.
_LIFE_S: Final = (0.0, 0.9)


async def kill_often(
    kills: int,
    durability: str,
    seed: int,
    *,
    life_s: tuple[float, float] = _LIFE_S,
    saboteur: str = "none",
) -> Outcome:
    """Kill the daemon that often; return what became of the messages.

    Args:
        life_s: Between these a daemon lives once it listens, in seconds;
            if not from 0, once it is ready.
    """
    draw = random.Random(seed)  # noqa: S311  (repeatable, keeps no secret)
    course: dict[str, object] = {"kills": kills, "durability": durability, "seed": seed}
    outcome = Outcome(course)
    stage = Stage(durability, saboteur=saboteur)
    try:
        await stage.start()
        baseline = Baseline(stage)
        stage.start_senders(pause_s=0.01)
        await asyncio.sleep(draw.uniform(*life_s))
        for _ in range(kills - 1):
            stage.kill()
            stage.launch()
            await _live(stage, draw, life_s)
        stage.kill()
        await stage.start()
        outcome.blows[Fault.KILL_MASTER] = len(stage.master_deaths)
        await conclude(stage, outcome, baseline, faults=[Fault.KILL_MASTER])
    finally:
        stage.close()
    return outcome


async def _live(stage: Stage, draw: random.Random, life_s: tuple[float, float]) -> None:
    """Let the daemon live for a while."""
    if draw.random() < _IN_START and not life_s[0]:
        await asyncio.sleep(draw.uniform(0, _START_S))
        return
    # A daemon that is to live a while is to have mules.
    event = "pymuled ready" if life_s[0] else "pymuled listens"
    await until(lambda: stage.has_said(event) or not stage.is_up, event)
    assert stage.is_up, stage.log.read_text()[-3000:]
    await asyncio.sleep(draw.uniform(*life_s))


def main() -> int:
    """Do as the command line says; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.kill9")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--durability", choices=["process", "disk"], default="disk")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life", type=float, nargs=2, default=_LIFE_S, help="seconds")
    parser.add_argument("--saboteur", default="none", help="a bug to plant")
    given = parser.parse_args()
    outcome = kill_often(
        given.kills,
        given.durability,
        given.seed,
        life_s=tuple(given.life),
        saboteur=given.saboteur,
    )
    return tell(asyncio.run(outcome))


if __name__ == "__main__":
    sys.exit(main())
