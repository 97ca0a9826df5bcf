"""How many 128-byte messages a second get through with more senders, mules and farms?

From the first send of anybody to the last message handled by anybody; the CPU is that
of all processes together. See docs/performance.md.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from time import monotonic
from typing import Final

from benchmarks import cli
from benchmarks.floods import answer_of_several, rates
from benchmarks.notes import PAYLOAD, WARM_UP
from benchmarks.peers import pymule, uwsgi, uwsgi_yielding, zeromq
from benchmarks.report import Answer, Plot, Table, absent, number, over, spread
from benchmarks.rounds import Options, Outcome, Peer, play
from benchmarks.shapes import Shape, Tally
from benchmarks.stage import Stage

__all__ = ("SIDES", "Round", "answer", "play_shape")

_SHAPES: Final = {
    "4 senders, 1 mule": Shape(4, 1, 0),
    "1 sender, 8 mules in a farm": Shape(1, 8, 1),
    "1 sender, 64 farms of 2 of 8 mules": Shape(1, 8, 64),
}
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_QUICK: Final = 20
# What takes a minute, or is slower than this by far, hangs.
_PATIENCE_S: Final = 60
_SLOWEST_PER_S: Final = 20_000
_LOOK_S: Final = 0.002
_MICRO: Final = 1e6


@dataclass(frozen=True, slots=True)
class _Side:
    """One peer; ``start`` reads a shape."""

    NAME: str
    start: Callable[[Stage, str], AbstractContextManager[int | None]]


SIDES: Final = (
    _Side(pymule.NAME, pymule.share),
    _Side(uwsgi_yielding.NAME, uwsgi.share),
    _Side(zeromq.BLOCKING.NAME, zeromq.share),
)
_MESSAGES: Final = {
    pymule.NAME: 300_000,
    uwsgi_yielding.NAME: 100_000,
    zeromq.BLOCKING.NAME: 300_000,
}


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer in one shape.

    Attributes:
        cpu_us: A message, of all processes together.
    """

    messages: int
    seconds: float
    per_second: float
    cpu_us: float


def answer(options: Options) -> Answer:
    """Measure."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    sides = [side for side in SIDES if options.wants(side)]
    found = {}
    for name, shape in _SHAPES.items():

        def round_of(peer: Peer, shape: Shape = shape) -> Round:
            usual = _MESSAGES[peer.NAME] // (_QUICK if options.is_quick else 1)
            return play_shape(peer, shape, options.messages or usual)

        found[name] = play(sides, rounds, round_of)
    tables = tuple(_table(name, rounds, outcomes) for name, outcomes in found.items())
    return answer_of_several(
        "throughput_shapes", cli.question_of(__doc__), found, tables, _plot(found)
    )


def play_shape(peer: Peer, shape: Shape, count: int) -> Round:
    """Play one round of so many messages, by all senders together."""
    scenario = str(shape)
    with Stage(scenario, count) as stage, peer.start(stage, scenario):
        tally = Tally(stage.folder, shape.mules)
        warm = WARM_UP * len(PAYLOAD)
        whole = warm + count * len(PAYLOAD)
        for mule in range(shape.mules):
            stage.wait(f"up-{mule}")
        stage.note("warm-up")
        stage.wait_until(lambda: tally.total() >= warm, "end of the warm-up")
        before = stage.cpu_seconds()
        stage.note("go")
        stage.wait_until(
            lambda: tally.total() >= whole,
            f"{whole} bytes",
            within=_PATIENCE_S + count / _SLOWEST_PER_S,
            step=_LOOK_S,
        )
        at = monotonic()
        cpu_s = stage.cpu_seconds() - before
        notes = [stage.wait(f"sent-{sender}") for sender in range(shape.senders)]
    seconds = at - min(number(note, "start") for note in notes)
    return Round(count, seconds, count / seconds, cpu_s / count * _MICRO)


def _table(name: str, rounds: int, outcomes: Mapping[str, Outcome[Round]]) -> Table:
    columns = ("", "messages/s", "spread", "pymule to it", "CPU us a message, all")
    rows = []
    for peer, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append(absent(peer, outcome.failure, len(columns)))
            continue
        speeds = rates(outcomes, peer)
        cpu_us = f"{median(one.cpu_us for one in outcome.rounds):.2f}"
        ratio = over(rates(outcomes, pymule.NAME), speeds)
        rows.append((peer, *spread(speeds), ratio, cpu_us))
    return Table(f"{name}, {rounds} rounds", columns, tuple(rows))


def _plot(found: Mapping[str, Mapping[str, Outcome[Round]]]) -> Plot:
    series = {
        side.NAME: [
            median(speeds) if (speeds := rates(outcomes, side.NAME)) else None
            for outcomes in found.values()
        ]
        for side in SIDES
    }
    title = "128-byte messages, more senders, mules and farms"
    return Plot(title, "bars", tuple(found), series, "messages/s")


if __name__ == "__main__":
    cli.main({"throughput_shapes": answer})
