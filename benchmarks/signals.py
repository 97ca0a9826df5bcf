"""How long does it take from raising a signal to its handler, with nothing else to do?

One way, one signal at a time: from just before ``raise_signal`` to the first line of
the handler in a mule for signals only; see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks import cli
from benchmarks.notes import PERIOD_S
from benchmarks.peers import pymule, pymule_def, uwsgi
from benchmarks.report import (
    Answer,
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

_PEERS: Final[tuple[Peer, ...]] = (pymule, pymule_def, uwsgi)
_RAISES: Final = 800
_QUICK_RAISES: Final = 300
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_MICRO: Final = 1e6


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer, in microseconds."""

    raises: int
    p50: float
    p99: float
    greatest: float


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of raises in a round."""
    peers = [peer for peer in _PEERS if options.wants(peer)]
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    count = options.messages or (_QUICK_RAISES if options.is_quick else _RAISES)
    outcomes = play(peers, rounds, lambda peer: _round(peer, count))
    ratio = {
        ours: ratios(_p50s(outcomes, ours), _p50s(outcomes, uwsgi.NAME))
        for ours in (pymule.NAME, pymule_def.NAME)
    }
    data = {
        "period_s": PERIOD_S,
        "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "p50_over_uwsgi": ratio,
    }
    title = f"raise to handler, idle, {rounds} rounds of {count:,}"
    return Answer(
        "signals",
        cli.question_of(__doc__),
        (_table(title, outcomes),),
        data,
        failures=failures_of(outcomes),
    )


def _round(peer: Peer, count: int) -> Round:
    with running(peer, "raise", count) as (stage, _):
        stage.note("go")
        # Rarely looked at: each look may hold up a signal.
        received = stage.wait("received", within=30 + 4 * count * PERIOD_S, step=0.25)
    times = [seconds * _MICRO for seconds in floats(received, "latencies")]
    return Round(
        raises=len(times),
        p50=percentile(times, 0.5),
        p99=percentile(times, 0.99),
        greatest=max(times),
    )


def _p50s(outcomes: Mapping[str, Outcome[Round]], name: str) -> list[float]:
    outcome = outcomes.get(name)
    return [] if outcome is None else outcome.values(lambda one: one.p50)


def _table(title: str, outcomes: Mapping[str, Outcome[Round]]) -> Table:
    columns = ("", "p50 us", "spread", "p99 us", "spread", f"to {uwsgi.NAME}, p50")
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
                over(_p50s(outcomes, name), _p50s(outcomes, uwsgi.NAME)),
            )
        )
    return Table(title, columns, tuple(rows))


if __name__ == "__main__":
    cli.main({"signals": answer})
