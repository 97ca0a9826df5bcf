"""How long is a 128-byte message under way when there is nothing else to do?

One way, one message every 2 ms, counted from the instant at which it was planned to be
sent, so that a sender that is held up cannot hide it; see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.notes import PERIOD_S
from benchmarks.peers import pymule, relay, uwsgi
from benchmarks.report import (
    Answer,
    Budget,
    Plot,
    Table,
    absent,
    floats,
    over,
    percentile,
    ratios,
    spread,
)
from benchmarks.rounds import Options, Outcome, Peer, failures_of, play, running

__all__ = ("Round", "answer")

_PEERS: Final[tuple[Peer, ...]] = (pymule, relay, uwsgi)
_MESSAGES: Final = 2_000
_QUICK_MESSAGES: Final = 300
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_MICRO: Final = 1e6
_MOST_OVER_RELAY: Final = 1.5


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer, in microseconds.

    Attributes:
        sender_late_p99: By how much the sender itself missed the planned instant.
    """

    messages: int
    p50: float
    p99: float
    greatest: float
    sender_late_p50: float
    sender_late_p99: float


def answer(options: Options) -> Answer:
    """Measure."""
    peers = [peer for peer in _PEERS if options.wants(peer)]
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    usual = _QUICK_MESSAGES if options.is_quick else _MESSAGES
    count = options.messages or usual
    outcomes = play(peers, rounds, lambda peer: _round(peer, count))
    ratio = {
        other.NAME: ratios(_p50s(outcomes, pymule.NAME), _p50s(outcomes, other.NAME))
        for other in (relay, uwsgi)
    }
    data = {
        "period_s": PERIOD_S,
        "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "pymule_p50_over": ratio,
    }
    title = f"one way, idle, a message each {PERIOD_S * 1e3:g} ms, {rounds} rounds"
    budget = Budget(
        "latency, idle, p50, pymule to a bare relay",
        _MOST_OVER_RELAY,
        tuple(ratio[relay.NAME]),
    )
    return Answer(
        "latency",
        cli.question_of(__doc__),
        (_table(title, outcomes),),
        data,
        (_plot(outcomes),),
        (budget,),
        failures_of(outcomes),
    )


def _round(peer: Peer, count: int) -> Round:
    with running(peer, "drip", count) as (stage, _):
        stage.note("go")
        # Rarely looked at: each look may hold up a message.
        received = stage.wait("received", within=30 + 2 * count * PERIOD_S, step=0.25)
    times = [seconds * _MICRO for seconds in floats(received, "latencies")]
    late = [seconds * _MICRO for seconds in floats(received, "lateness")]
    return Round(
        messages=count,
        p50=percentile(times, 0.5),
        p99=percentile(times, 0.99),
        greatest=max(times),
        sender_late_p50=percentile(late, 0.5),
        sender_late_p99=percentile(late, 0.99),
    )


def _p50s(outcomes: Mapping[str, Outcome[Round]], name: str) -> list[float]:
    outcome = outcomes.get(name)
    return [] if outcome is None else outcome.values(lambda one: one.p50)


def _table(title: str, outcomes: Mapping[str, Outcome[Round]]) -> Table:
    columns = (
        "",
        "p50 us",
        "spread",
        "p99 us",
        "spread",
        "pymule to it, p50",
        "sender late p99 us",
        "spread",
    )
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append(absent(name, outcome.failure, len(columns)))
            continue
        rows.append(
            (
                name,
                *spread(_p50s(outcomes, name)),
                *spread([one.p99 for one in outcome.rounds]),
                over(_p50s(outcomes, pymule.NAME), _p50s(outcomes, name)),
                *spread([one.sender_late_p99 for one in outcome.rounds]),
            )
        )
    return Table(title, columns, tuple(rows))


def _plot(outcomes: Mapping[str, Outcome[Round]]) -> Plot:
    ran = {name: one.rounds for name, one in outcomes.items() if not one.failure}
    series = {
        "p50": tuple(median(one.p50 for one in rounds) for rounds in ran.values()),
        "p99": tuple(median(one.p99 for one in rounds) for rounds in ran.values()),
    }
    return Plot("one way on an idle system", "bars", tuple(ran), series, "us")


if __name__ == "__main__":
    cli.main({"latency": answer})
