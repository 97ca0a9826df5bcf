"""A flood: messages as fast as they go, from the first send to the last one handled.

What the benchmarks of throughput share: one round of it, and the table of many.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Protocol, TypeVar

from benchmarks.notes import PAYLOAD
from benchmarks.peers import pymule
from benchmarks.report import (
    Answer,
    Plot,
    Table,
    absent,
    number,
    over,
    ratios,
    spread,
)
from benchmarks.rounds import Options, Outcome, Peer, failures_of, play, running
from benchmarks.stage import PeerError, cpu_seconds

__all__ = (
    "Rated",
    "Round",
    "Side",
    "answer_of_several",
    "flood",
    "play_floods",
    "rate_plot",
    "rate_table",
    "rates",
)

# A second's worth; what takes a minute, or is slower than this by far, hangs.
_PATIENCE_S = 60
_SLOWEST_PER_S = 20_000
_QUICK = 20
_MICRO = 1e6


class Rated(Protocol):
    """A round that has a rate."""

    @property
    def per_second(self) -> float:
        """Messages a second."""


R = TypeVar("R", bound=Rated)


@dataclass(frozen=True, slots=True)
class Side:
    """One peer of a comparison.

    Attributes:
        messages: About a second of them.
        survive: What those that were taken from the sender survive.
    """

    peer: Peer
    messages: int
    survive: str


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer; CPU in microseconds a message, ``None`` where unknown."""

    messages: int
    seconds: float
    per_second: float
    sender_us: float
    middle_us: float | None
    receiver_us: float


def play_floods(
    sides: Sequence[Side], rounds: int, options: Options
) -> dict[str, Outcome[Round]]:
    """Play all rounds of those that the command line wants."""
    wanted = {side.peer.NAME: side for side in sides if options.wants(side.peer)}

    def round_of(peer: Peer) -> Round:
        usual = wanted[peer.NAME].messages
        count = usual // _QUICK if options.is_quick else usual
        return flood(peer, options.messages or count)

    return play([side.peer for side in wanted.values()], rounds, round_of)


def flood(peer: Peer, count: int, size: int = len(PAYLOAD)) -> Round:
    """Play one round of so many messages, of *size* bytes each."""
    within = _PATIENCE_S + count / _SLOWEST_PER_S
    with running(peer, "flood", count, size) as (stage, middle):
        before = None if middle is None else cpu_seconds(middle)
        stage.note("go")
        # Rarely looked at: there are only so many cores.
        received = stage.wait("received", within=within, step=0.02)
        sent = stage.wait("sent", within=within, step=0.02)
        used = (
            None if middle is None or before is None else cpu_seconds(middle) - before
        )
    if number(received, "size") != count * size:
        raise PeerError(f"{received['size']} bytes came of {count} messages")
    seconds = number(received, "at") - number(sent, "start")
    return Round(
        messages=count,
        seconds=seconds,
        per_second=count / seconds,
        sender_us=number(sent, "cpu_s") / count * _MICRO,
        middle_us=None if used is None else used / count * _MICRO,
        receiver_us=number(received, "cpu_s") / count * _MICRO,
    )


def rates(outcomes: Mapping[str, Outcome[R]], name: str) -> list[float]:
    """Return messages a second, round by round; none of a peer that failed."""
    outcome = outcomes.get(name)
    return [] if outcome is None else outcome.values(lambda one: one.per_second)


def answer_of_several(
    name: str,
    question: str,
    found: Mapping[str, Mapping[str, Outcome[R]]],
    tables: tuple[Table, ...],
    plot: Plot,
) -> Answer:
    """Return the answer to *question* from several floods, by what they are called."""
    return Answer(
        name,
        question,
        tables,
        {
            flooded: {
                "peers": {peer: asdict(outcome) for peer, outcome in outcomes.items()},
                "pymule_over": {
                    peer: ratios(rates(outcomes, pymule.NAME), rates(outcomes, peer))
                    for peer in outcomes
                },
            }
            for flooded, outcomes in found.items()
        },
        (plot,),
        failures=tuple(
            f"{flooded}: {failure}"
            for flooded, outcomes in found.items()
            for failure in failures_of(outcomes)
        ),
    )


def rate_table(
    title: str,
    sides: Sequence[Side],
    outcomes: Mapping[str, Outcome[Round]],
    ours: str,
    notes: Sequence[str] = (),
) -> Table:
    """Return a row for each peer, with the ratio of *ours* to it in the same round."""
    columns = (
        "",
        "what survives",
        "messages/s",
        "spread",
        f"{ours} to it",
        "CPU us a message: sender",
        "middle",
        "receiver",
    )
    survive = {side.peer.NAME: side.survive for side in sides}
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append(absent(name, outcome.failure, len(columns)))
            continue
        speeds = rates(outcomes, name)
        ratio = over(rates(outcomes, ours), speeds)
        rows.append((name, survive[name], *spread(speeds), ratio, *_cpu_cells(outcome)))
    return Table(title, columns, tuple(rows), tuple(notes))


def rate_plot(title: str, outcomes: Mapping[str, Outcome[Round]]) -> Plot:
    """Return bars, the fastest first; those that did not run are in the table."""
    speeds = {name: rates(outcomes, name) for name in outcomes}
    medians = {name: median(found) for name, found in speeds.items() if found}
    ranked = dict(sorted(medians.items(), key=lambda one: -one[1]))
    series = {"median": tuple(ranked.values())}
    return Plot(title, "bars", tuple(ranked), series, "messages/s")


def _cpu_cells(outcome: Outcome[Round]) -> Iterator[str]:
    middles = [one.middle_us for one in outcome.rounds if one.middle_us is not None]
    yield f"{median(one.sender_us for one in outcome.rounds):.2f}"
    yield f"{median(middles):.2f}" if middles else "-"
    yield f"{median(one.receiver_us for one in outcome.rounds):.2f}"
