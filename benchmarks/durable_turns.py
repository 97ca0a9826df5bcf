"""How long does one message take to be confirmed, when the next one waits for that?

Against the least that a disk asks for it: a write and an fdatasync of the same bytes;
see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.disk import disk_folder, file_system
from benchmarks.notes import PAYLOAD
from benchmarks.peers import bare_file, beanstalkd, jetstream, pymule_durable
from benchmarks.report import (
    Answer,
    Plot,
    Table,
    absent,
    floats,
    number,
    over,
    percentile,
    ratios,
    spread,
)
from benchmarks.rounds import Options, Outcome, Peer, failures_of, play, running
from benchmarks.stage import PeerError

__all__ = ("Round", "answer")

_PEERS: Final[tuple[Peer, ...]] = (
    *bare_file.VARIANTS,
    *pymule_durable.VARIANTS,
    *beanstalkd.VARIANTS,
    jetstream.LAZY,
    jetstream.SYNCED,
)
_MESSAGES: Final = 1_000
_QUICK_MESSAGES: Final = 200
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_WITHIN_S: Final = 120.0
_MICRO: Final = 1e6


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer, in microseconds for one message."""

    messages: int
    mean_us: float
    p50_us: float
    p99_us: float


def answer(options: Options) -> Answer:
    """Measure."""
    peers = [peer for peer in _PEERS if options.wants(peer)]
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    usual = _QUICK_MESSAGES if options.is_quick else _MESSAGES
    count = options.messages or usual
    outcomes = play(peers, rounds, lambda peer: _round(peer, count))
    ratio = {bare.NAME: _ratios(outcomes, bare.NAME) for bare in bare_file.VARIANTS}
    data = {
        "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "over": ratio,
    }
    title = f"one message at a time, state on {file_system(disk_folder())}"
    return Answer(
        "durable_turns",
        cli.question_of(__doc__),
        (_table(f"{title}, {rounds} rounds of {count:,}", outcomes),),
        data,
        (_plot(outcomes),),
        failures=failures_of(outcomes),
    )


def _round(peer: Peer, count: int) -> Round:
    with running(peer, "turns", count) as (stage, _):
        stage.note("go")
        # Rarely looked at: each look may hold up a turn.
        measured = stage.wait("measured", within=_WITHIN_S, step=0.25)
        received = stage.wait("received", within=_WITHIN_S)
    if number(received, "size") != count * len(PAYLOAD):
        raise PeerError(f"{received['size']} bytes came of {count} messages")
    times = [seconds * _MICRO for seconds in floats(measured, "times")]
    return Round(
        messages=count,
        mean_us=sum(times) / count,
        p50_us=percentile(times, 0.5),
        p99_us=percentile(times, 0.99),
    )


def _means(outcomes: Mapping[str, Outcome[Round]], name: str) -> list[float]:
    outcome = outcomes.get(name)
    return [] if outcome is None else outcome.values(lambda one: one.mean_us)


def _ratios(
    outcomes: Mapping[str, Outcome[Round]], bare: str
) -> dict[str, list[float]]:
    """Return the time of one message over *bare*'s, round by round."""
    theirs = _means(outcomes, bare)
    return {name: ratios(_means(outcomes, name), theirs) for name in outcomes}


def _table(title: str, outcomes: Mapping[str, Outcome[Round]]) -> Table:
    bare = bare_file.APPENDED.NAME
    columns = (
        "",
        "confirmed/s",
        "mean us",
        "spread",
        "p50 us",
        "p99 us",
        "spread",
        f"to {bare}",
    )
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append(absent(name, outcome.failure, len(columns)))
            continue
        means = _means(outcomes, name)
        rows.append(
            (
                name,
                f"{_MICRO / median(means):,.0f}",
                *spread(means),
                f"{median(one.p50_us for one in outcome.rounds):,.0f}",
                *spread([one.p99_us for one in outcome.rounds]),
                over(means, _means(outcomes, bare)),
            )
        )
    return Table(title, columns, tuple(rows))


def _plot(outcomes: Mapping[str, Outcome[Round]]) -> Plot:
    ran = {name: one.rounds for name, one in outcomes.items() if not one.failure}
    series = {
        "p50": tuple(median(one.p50_us for one in rounds) for rounds in ran.values()),
        "p99": tuple(median(one.p99_us for one in rounds) for rounds in ran.values()),
    }
    return Plot("confirming one message at a time", "bars", tuple(ran), series, "us")


if __name__ == "__main__":
    cli.main({"durable_turns": answer})
