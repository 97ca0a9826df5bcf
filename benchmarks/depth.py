"""Does a message cost more with a million queued, or 64 mules, or 10,000 farms?

CPU time of the master, which noise hides less than a wall clock: a sender goes on when
what it sent was taken, so what is asked of the master is the same at each depth; see
docs/performance.md.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
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
_ONE: Final = "one message"
_MANY: Final = "calls with 1,000"
_RELAYED: Final = {
    _ONE: "one message, bare relay to so many",
    _MANY: "calls with 1,000, bare relay to so many",
}
"""What a bare relay does instead."""
_TURNS: Final = {_ONE: 1_000, _MANY: 128}
_QUICK_TURNS: Final = {_ONE: 50, _MANY: 8}
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_WARM_WITHIN_S: Final = 180.0
_WITHIN_S: Final = 60.0
_MICRO: Final = 1e6
_MOST_OVER_LEAST: Final = 1.2
_QUEUED: Final = "queued messages"
_IN_FARM: Final = "mules of a farm"
_FARMED: Final = "farms of 2 of 4 mules"
_TAKERS: Final = "benchmarks.programs.takers"
_SENDERS: Final = "benchmarks.programs.turn_takers"
_RELAY: Final = "benchmarks.programs.fan_relay"
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
    """What is measured at one size.

    Attributes:
        size: How many there are of what grows.
        start: Starts everything but the sender; yields the pid in the middle.
        sender: Module and words of the sender.
        count: What all programs are told.
        turns: How often it takes a turn, by the kind of turn.
    """

    size: int
    start: Callable[[Stage], AbstractContextManager[int]]
    sender: tuple[str, ...]
    count: int
    turns: Mapping[str, int]


Found = dict[str, dict[int, list[Window]]]
"""Windows by kind of turn and size."""


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the greatest depth, and then nothing else grows."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    found: dict[str, Found] = {}
    failure = None
    try:
        for name, sides in _questions(options).items():
            print(f"  {name}", file=sys.stderr)
            found[name] = _side_by_side(sides, rounds)
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
        "master_us_over_least": {
            name: {kind: _to_least(_costs(kinds, kind)) for kind in kinds}
            for name, kinds in found.items()
        },
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
    turns = _QUICK_TURNS if options.is_quick else _TURNS
    if options.messages is not None:
        return {_QUEUED: [_above(depth, turns) for depth in (1, options.messages)]}
    quick = options.is_quick
    depths, mules, farms = (
        (_QUICK_DEPTHS, _QUICK_MULES, _QUICK_FARMS)
        if quick
        else (_DEPTHS, _MULES, _FARMS)
    )
    return {
        _QUEUED: [_above(depth, turns) for depth in depths],
        _IN_FARM: [
            *(_in_farm(size, turns) for size in mules),
            *(_relayed(size, turns) for size in mules),
        ],
        _FARMED: [_farmed(size, turns) for size in farms],
    }


def _above(depth: int, turns: Mapping[str, int]) -> Side:
    # With so much credit each holds as much as it takes in a turn, and no more.
    text = "".join(
        f'[[mule]]\nprogram = "{_TAKERS}:{program}"\ncredit = {credit}\n{_ROOM}'
        for program, credit in (("on_call", 1), ("on_call_many", MANY))
    )
    return Side(depth, partial(_daemon, text=text), (_SENDERS, "above"), depth, turns)


def _in_farm(mules: int, turns: Mapping[str, int]) -> Side:
    return _across(mules, mules, [range(mules)], turns)


def _farmed(farms: int, turns: Mapping[str, int]) -> Side:
    members = [
        [(farm + at) % _MULES_OF_FARMS for at in (0, 1)] for farm in range(farms)
    ]
    return _across(farms, _MULES_OF_FARMS, members, turns)


def _across(
    size: int, mules: int, farms: Sequence[Sequence[int]], turns: Mapping[str, int]
) -> Side:
    # A mule can hold a call with many as it is, so each is taken by one of them.
    text = f'[[mule]]\nprogram = "{_TAKERS}:ring"\ncount = {mules}\ncredit = {MANY}\n'
    for number_of, members in enumerate(farms):
        numbers = [mule + 1 for mule in members]
        text += f'[[farm]]\nname = "farm{number_of}"\nmules = {numbers}\n'
    start = partial(_daemon, text=text)
    return Side(size, start, (_SENDERS, "across"), len(farms), turns)


def _relayed(receivers: int, turns: Mapping[str, int]) -> Side:
    instead = {_RELAYED[kind]: count for kind, count in turns.items()}
    start = partial(_relay, receivers=receivers)
    return Side(receivers, start, (_RELAY, "sender"), receivers, instead)


@contextmanager
def _daemon(stage: Stage, *, text: str) -> Iterator[int]:
    with daemon_with(stage, text) as master:
        # While it starts many, it has no time for a client.
        wait_until_ready(stage, within=_WITHIN_S)
        yield master


@contextmanager
def _relay(stage: Stage, *, receivers: int) -> Iterator[int]:
    pid = stage.start_python(_RELAY, "relay")
    stage.wait_for_socket(stage.folder / "middle")
    for at in range(receivers):
        stage.start(f"receiver-{at}", sys.executable, "-m", _RELAY, "receiver")
    stage.wait("connected", within=_WITHIN_S)
    yield pid


def _side_by_side(sides: Sequence[Side], rounds: int) -> Found:
    """Start all sides, then let one after the other take turns, round by round.

    A million messages are queued once, not in each round.
    """
    found: Found = {}
    for side in sides:
        for kind in side.turns:
            found.setdefault(kind, {})[side.size] = []
    with ExitStack() as stack:
        running = [(side, *stack.enter_context(_running(side))) for side in sides]
        for at in range(rounds):
            print(f"  round {at + 1} of {rounds}", file=sys.stderr)
            for kind, sizes in found.items():
                for side, stage, master in running:
                    if kind not in side.turns:
                        continue
                    asked = at * len(side.turns) + list(side.turns).index(kind)
                    window = _window(side, stage, master, asked, kind)
                    sizes[side.size].append(window)
    return found


@contextmanager
def _running(side: Side) -> Iterator[tuple[Stage, int]]:
    print(f"  starting: {side.size:,}", file=sys.stderr)
    with Stage("depth", side.count) as stage, side.start(stage) as master:
        stage.start_python(*side.sender)
        stage.wait("warm", within=_WARM_WITHIN_S, step=0.05)
        yield stage, master


def _window(side: Side, stage: Stage, master: int, asked: int, kind: str) -> Window:
    turns, is_many = side.turns[kind], kind in {_MANY, _RELAYED[_MANY]}
    stage.note(f"go-{asked}", turns=turns, is_many=is_many, master=master)
    measured = stage.wait(f"measured-{asked}", within=_WITHIN_S, step=0.05)
    messages = turns * (MANY if is_many else 1)
    return Window(
        us=number(measured, "seconds") / messages * _MICRO,
        master_us=number(measured, "master_cpu_s") / messages * _MICRO,
    )


def _costs(found: Found, kind: str) -> dict[int, list[float]]:
    return {
        size: [one.master_us for one in windows]
        for size, windows in found.get(kind, {}).items()
    }


def _to_least(costs: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
    """Return the cost at each size over that at the least, round by round."""
    return {size: ratios(costs[size], costs[min(costs)]) for size in costs}


def _own(found: Found, kind: str) -> dict[int, list[float]]:
    """Return what a message costs the master more than the bare relay."""
    relayed = _costs(found, _RELAYED[kind])
    return {
        size: [ours - bare for ours, bare in zip(costs, relayed[size], strict=True)]
        for size, costs in _costs(found, kind).items()
    }


def _tables(found: Mapping[str, Found], rounds: int) -> Iterator[Table]:
    for name, kinds in found.items():
        for kind, sizes in kinds.items():
            to_least = _to_least(_costs(kinds, kind))
            columns = (
                name,
                "CPU in the middle, us a message",
                "spread",
                "to the least",
                "wall us",
            )
            rows = tuple(
                (
                    f"{size:,}",
                    *spread([one.master_us for one in windows], ",.2f"),
                    span(to_least[size], ".2f"),
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
        for kind in (_ONE, _MANY):
            costs, beyond = _costs(kinds, kind), ""
            if _RELAYED[kind] in kinds:
                costs, beyond = _own(kinds, kind), ", beyond the bare relay's"
            most = max(costs)
            what = f"cost in the master, {most:,} {name} to 1, {kind}{beyond}"
            yield Budget(what, _MOST_OVER_LEAST, tuple(_to_least(costs)[most]))


if __name__ == "__main__":
    cli.main({"depth": answer})
