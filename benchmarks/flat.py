"""Does what the master decides for a message cost more, the more it has of anything?

CPU time in one process, without sockets: the router and its like alone, with few and
with many of what there may be many of; see docs/performance.md.
"""

import gc
import time
from typing import Final

from benchmarks import cli
from benchmarks.report import Answer, Budget, Table, span
from benchmarks.rounds import Options
from benchmarks.worlds import FEW, MANY, WARM, Act, World

__all__ = ("answer",)

_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_ACTS: Final = 200
# Of so many windows the least counts: what is more is the machine's.
_WINDOWS: Final = 10
_MICRO: Final = 1e6
_MOST_OVER_LEAST: Final = 1.2


class Side:
    """A world of one size, and how often its act was done."""

    def __init__(self, world: World, size: int) -> None:
        self._act: Act = world(size)
        self._number = 0
        self._do(WARM)

    def window_us(self) -> float:
        """Return the CPU time of one act, in microseconds."""
        start = time.process_time()
        self._do(_ACTS)
        return (time.process_time() - start) / _ACTS * _MICRO

    def _do(self, count: int) -> None:
        for _ in range(count):
            self._act(self._number)
            self._number += 1


def answer(options: Options) -> Answer:
    """Measure; ``messages`` changes nothing."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    found = {world: _measured(world, rounds) for world in MANY}
    rows = []
    for world, pairs in found.items():
        over = [many / few for few, many in pairs]
        few, many = (min(side) for side in zip(*pairs, strict=True))
        rows.append(
            (
                _name(world),
                f"{FEW.get(world, 1):,}",
                f"{MANY[world]:,}",
                f"{few:.2f}",
                f"{many:.2f}",
                span(over, ".2f"),
            )
        )
    worst = [
        max(pairs[at][1] / pairs[at][0] for pairs in found.values())
        for at in range(rounds)
    ]
    columns = ("", "few", "many", "us with few", "us with many", "many to few")
    return Answer(
        "flat",
        cli.question_of(__doc__),
        (Table("what the master decides", columns, tuple(rows)),),
        data={_name(world): pairs for world, pairs in found.items()},
        budgets=(
            Budget(
                "the greatest of many to few", _MOST_OVER_LEAST, tuple(worst), unit="x"
            ),
        ),
    )


def _measured(world: World, rounds: int) -> list[tuple[float, float]]:
    """Return for each round what an act takes with few, and with many."""
    sides = Side(world, FEW.get(world, 1)), Side(world, MANY[world])
    gc.collect()
    gc.disable()
    try:
        return [_round(*sides) for _ in range(rounds)]
    finally:
        gc.enable()


def _round(few: Side, many: Side) -> tuple[float, float]:
    windows = [(few.window_us(), many.window_us()) for _ in range(_WINDOWS)]
    return min(one for one, _ in windows), min(one for _, one in windows)


def _name(world: World) -> str:
    return str(world.__name__).replace("_", " ")


if __name__ == "__main__":
    cli.main({"flat": answer})
