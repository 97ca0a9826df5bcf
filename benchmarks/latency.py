"""How long is a 128-byte message under way when there is nothing else to do?

One way, one message every 2 ms, counted from the instant at which it was planned to be
sent, so that a sender that is held up cannot hide it; see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks import cli
from benchmarks.notes import PERIOD_S
from benchmarks.peers import pymule, relay, uwsgi
from benchmarks.report import Answer, floats, percentile, ratios, spread, table
from benchmarks.rounds import Options, Outcome, Peer, play, running

__all__ = ("Round", "answer")

_PEERS: Final[tuple[Peer, ...]] = (pymule, relay, uwsgi)
_MESSAGES: Final = 2_000
_QUICK_MESSAGES: Final = 300
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_MICRO: Final = 1e6


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
    lines = [*_table(outcomes)]
    over = {}
    for other in (relay, uwsgi):
        over[other.NAME] = _ratios(outcomes, other.NAME)
        if over[other.NAME]:
            middle, both = spread(over[other.NAME], ".2f")
            lines += ["", f"pymule / {other.NAME}, p50: {middle} ({both})"]
    data = {
        "period_s": PERIOD_S,
        "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "pymule_p50_over": over,
    }
    return Answer("latency", cli.question_of(__doc__), tuple(lines), data)


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


def _ratios(outcomes: Mapping[str, Outcome[Round]], other: str) -> list[float]:
    both = [outcomes.get(name) for name in (pymule.NAME, other)]
    medians = [
        [played.p50 for played in outcome.rounds]
        for outcome in both
        if outcome is not None and outcome.failure is None
    ]
    return ratios(*medians) if len(medians) == len(both) else []


def _table(outcomes: Mapping[str, Outcome[Round]]) -> tuple[str, ...]:
    heads = ("", "p50 us", "spread", "p99 us", "spread", "sender late p99 us", "spread")
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
                *spread([one.sender_late_p99 for one in outcome.rounds]),
            )
        )
    return table(heads, rows)


if __name__ == "__main__":
    cli.main({"latency": answer})
