"""Does a message cost more with a million queued, or 64 mules, or 10,000 farms?

CPU time of the master, which noise hides less than a wall clock: a sender goes on when
what it sent was taken, so what is asked of the master is the same at each depth; see
docs/performance.md.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.peers.pymule_file import daemon_with, wait_until_ready
from benchmarks.programs.turn_takers import MANY
from benchmarks.report import Answer, Budget, Plot, Table, number, ratios, span, spread
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage

__all__ = ("Window", "answer")

_DEPTHS: Final = (1, 1_000, 100_000, 1_000_000)
_QUICK_DEPTHS: Final = (1, 1_000)
_MULES: Final = (1, 8, 64)
_QUICK_MULES: Final = (1, 8)
_FARMS: Final = (1, 100, 10_000)
_QUICK_FARMS: Final = (1, 10)
_MULES_OF_FARMS: Final = 4
_TURNS: Final = {"one message": 1_000, "a call with 1,000": 100}
_QUICK_TURNS: Final = {"one message": 50, "a call with 1,000": 5}
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_WARM_WITHIN_S: Final = 180.0
_WITHIN_S: Final = 60.0
_MICRO: Final = 1e6
_MOST_OVER_LEAST: Final = 1.2
_TAKERS: Final = "benchmarks.programs.takers"
_SENDERS: Final = "benchmarks.programs.turn_takers"
# A million messages of 128 bytes are more than the default has room for.
_ROOM: Final = "max_messages = 4_000_000\nmax_bytes = 4_294_967_296\n"


@dataclass(frozen=True, slots=True)
class Window:
    """Some turns of one size, in microseconds for each message.

    Attributes:
        us: From the first to the last.
        master_us: CPU of the master.
    """

    us: float
    master_us: float


@dataclass(frozen=True, slots=True)
class Side:
    """One daemon with its sender.

    Attributes:
        size: How many there are of what grows.
        text: Of its configuration.
        role: Of the sender.
        count: What the sender is told.
    """

    size: int
    text: str
    role: str
    count: int


Found = dict[str, dict[int, list[Window]]]
"""Windows by kind of turn and size."""


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the greatest depth, and then nothing else grows."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    turns = _QUICK_TURNS if options.is_quick else _TURNS
    found: dict[str, Found] = {}
    failure = None
    try:
        for name, sides in _questions(options).items():
            print(f"  {name}", file=sys.stderr)
            found[name] = _side_by_side(sides, turns, rounds)
    except PeerError as exc:
        failure = str(exc)
    data = {
        "failure": failure,
        "growing": {
            name: {
                kind: {
                    size: list(map(asdict, windows)) for size, windows in sizes.items()
                }
                for kind, sizes in kinds.items()
            }
            for name, kinds in found.items()
        },
        "master_us_over_least": {name: _ratios(one) for name, one in found.items()},
    }
    return Answer(
        "depth",
        cli.question_of(__doc__),
        tuple(_tables(found, rounds)),
        data,
        tuple(_plot(name, kinds) for name, kinds in found.items()),
        tuple(_budgets(found)),
        () if failure is None else (failure,),
    )


def _questions(options: Options) -> dict[str, list[Side]]:
    if options.messages is not None:
        depths: Sequence[int] = (1, options.messages)
        mules: Sequence[int] = ()
        farms: Sequence[int] = ()
    elif options.is_quick:
        depths, mules, farms = _QUICK_DEPTHS, _QUICK_MULES, _QUICK_FARMS
    else:
        depths, mules, farms = _DEPTHS, _MULES, _FARMS
    return {
        name: sides
        for name, sides in {
            "queued messages": [_above(depth) for depth in depths],
            "mules of a farm": [_across(mules=size, farms=1) for size in mules],
            "farms of 4 mules": [
                _across(mules=_MULES_OF_FARMS, farms=size) for size in farms
            ],
        }.items()
        if sides
    }


def _above(depth: int) -> Side:
    # With so much credit each holds as much as it takes in a turn, and no more.
    text = "".join(
        f'[[mule]]\nprogram = "{_TAKERS}:{program}"\ncredit = {credit}\n{_ROOM}'
        for program, credit in (("on_call", 1), ("on_call_many", MANY))
    )
    return Side(depth, text, "above", depth)


def _across(*, mules: int, farms: int) -> Side:
    size = farms if mules == _MULES_OF_FARMS else mules
    text = f'[[mule]]\nprogram = "{_TAKERS}:ring"\ncount = {mules}\n'
    numbers = list(range(1, mules + 1))
    text += "".join(
        f'[[farm]]\nname = "farm{farm}"\nmules = {numbers}\n' for farm in range(farms)
    )
    return Side(size, text, "across", farms)


def _side_by_side(
    sides: Sequence[Side], turns: Mapping[str, int], rounds: int
) -> Found:
    """Start all sides, then let one after the other take turns, round by round.

    A million messages are queued once, not in each round.
    """
    found: Found = {kind: {side.size: [] for side in sides} for kind in turns}
    with ExitStack() as stack:
        running = [(side, *stack.enter_context(_running(side))) for side in sides]
        asked = 0
        for at in range(rounds):
            print(f"  round {at + 1} of {rounds}", file=sys.stderr)
            for kind, number_of_turns in turns.items():
                for side, stage, master in running:
                    window = _window(stage, master, asked, kind, number_of_turns)
                    found[kind][side.size].append(window)
                asked += 1
    return found


@contextmanager
def _running(side: Side) -> Iterator[tuple[Stage, int]]:
    print(f"  filling: {side.size:,}", file=sys.stderr)
    with Stage("depth", side.count) as stage, daemon_with(stage, side.text) as master:
        # While it starts many, it has no time for a client.
        wait_until_ready(stage, within=_WITHIN_S)
        stage.start_python(_SENDERS, side.role)
        stage.wait("warm", within=_WARM_WITHIN_S, step=0.05)
        yield stage, master


def _window(stage: Stage, master: int, asked: int, kind: str, turns: int) -> Window:
    is_many = kind != "one message"
    stage.note(f"go-{asked}", turns=turns, is_many=is_many, master=master)
    measured = stage.wait(f"measured-{asked}", within=_WITHIN_S, step=0.05)
    messages = turns * (MANY if is_many else 1)
    return Window(
        us=number(measured, "seconds") / messages * _MICRO,
        master_us=number(measured, "master_cpu_s") / messages * _MICRO,
    )


def _ratios(found: Found) -> dict[str, dict[int, list[float]]]:
    """Return the master's cost at each size over that at the least, round by round."""
    over = {}
    for kind, sizes in found.items():
        costs = {
            size: [one.master_us for one in windows] for size, windows in sizes.items()
        }
        least = min(costs, default=0)
        over[kind] = {size: ratios(costs[size], costs[least]) for size in costs}
    return over


def _tables(found: Mapping[str, Found], rounds: int) -> Iterator[Table]:
    for name, kinds in found.items():
        to_least = _ratios(kinds)
        for kind, sizes in kinds.items():
            columns = (
                name,
                "CPU of the master, us a message",
                "spread",
                "to the least",
                "wall us",
            )
            rows = tuple(
                (
                    f"{size:,}",
                    *spread([one.master_us for one in windows], ",.2f"),
                    span(to_least[kind][size], ".2f"),
                    f"{median(one.us for one in windows):,.2f}",
                )
                for size, windows in sizes.items()
            )
            yield Table(f"{name}, {kind}, {rounds} rounds", columns, rows)


def _plot(name: str, kinds: Found) -> Plot:
    sizes = next(iter(kinds.values()))
    series = {
        kind: [
            median(one.master_us for one in windows) for windows in kinds[kind].values()
        ]
        for kind in kinds
    }
    labels = tuple(f"{size:,}" for size in sizes)
    return Plot(f"cost in the master, {name}", "lines", labels, series, "us a message")


def _budgets(found: Mapping[str, Found]) -> Iterator[Budget]:
    for name, kinds in found.items():
        for kind, to_least in _ratios(kinds).items():
            most = max(to_least)
            what = f"cost in the master, {most:,} {name} to 1, {kind}"
            yield Budget(what, _MOST_OVER_LEAST, tuple(to_least[most]))


if __name__ == "__main__":
    cli.main({"depth": answer})
