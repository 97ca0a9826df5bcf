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
from benchmarks.report import Answer, floats, percentile, ratios, spread, table
from benchmarks.rounds import Options, Outcome, Peer, play, running

__all__ = ("Round", "answer")

_PEERS: Final[tuple[Peer, ...]] = (pymule, pymule_def, uwsgi)
_RAISES: Final = 2_000
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
    lines = [*_table(outcomes)]
    over = {}
    for ours in (pymule.NAME, pymule_def.NAME):
        over[ours] = _ratios(outcomes, ours)
        if over[ours]:
            middle, both = spread(over[ours], ".2f")
            lines += ["", f"{ours} / {uwsgi.NAME}, p50: {middle} ({both})"]
    data = {
        "period_s": PERIOD_S,
        "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "p50_over_uwsgi": over,
    }
    return Answer("signals", cli.question_of(__doc__), tuple(lines), data)


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


def _ratios(outcomes: Mapping[str, Outcome[Round]], ours: str) -> list[float]:
    both = [outcomes.get(name) for name in (ours, uwsgi.NAME)]
    medians = [
        [played.p50 for played in outcome.rounds]
        for outcome in both
        if outcome is not None and outcome.failure is None
    ]
    return ratios(*medians) if len(medians) == len(both) else []


def _table(outcomes: Mapping[str, Outcome[Round]]) -> tuple[str, ...]:
    heads = ("", "p50 us", "spread", "p99 us", "spread")
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            blank = ("",) * (len(heads) - 2)
            rows.append((name, outcome.failure.partition("\n")[0], *blank))
            continue
        rows.append(
            (
                name,
                *spread([one.p50 for one in outcome.rounds]),
                *spread([one.p99 for one in outcome.rounds]),
            )
        )
    return table(heads, rows)


if __name__ == "__main__":
    cli.main({"signals": answer})
