"""How long does one message take to be confirmed, when the next one waits for that?

Against the least that a disk asks for it: a write and an fdatasync of the same bytes;
see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.notes import PAYLOAD
from benchmarks.peers import bare_file, beanstalkd, jetstream, pymule_durable
from benchmarks.report import (
    Answer,
    floats,
    number,
    percentile,
    ratios,
    spread,
    table,
)
from benchmarks.rounds import Options, Outcome, Peer, play, running
from benchmarks.stage import PeerError

__all__ = ("Round", "answer")

_PEERS: Final[tuple[Peer, ...]] = (
    *bare_file.VARIANTS,
    *pymule_durable.VARIANTS,
    *beanstalkd.VARIANTS,
    jetstream.LAZY,
    jetstream.SYNCED,
)
_MESSAGES: Final = 5_000
_QUICK_MESSAGES: Final = 500
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
    over = {bare.NAME: _ratios(outcomes, bare.NAME) for bare in bare_file.VARIANTS}
    lines = [*_table(outcomes)]
    lines.append("")
    for bare, peers_over in over.items():
        for name, values in peers_over.items():
            middle, both = spread(values, ".2f")
            lines.append(f"{name} / {bare}: {middle} ({both})")
    data = {
        "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "over": over,
    }
    return Answer("durable_turns", cli.question_of(__doc__), tuple(lines), data)


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


def _ratios(
    outcomes: Mapping[str, Outcome[Round]], bare: str
) -> dict[str, list[float]]:
    """Return the time of one message over *bare*'s, round by round."""
    means = {
        name: [played.mean_us for played in outcome.rounds]
        for name, outcome in outcomes.items()
        if outcome.failure is None
    }
    if bare not in means:
        return {}
    sides = [side.NAME for side in (pymule_durable.PROCESS, pymule_durable.DISK)]
    return {name: ratios(means[name], means[bare]) for name in sides if name in means}


def _table(outcomes: Mapping[str, Outcome[Round]]) -> tuple[str, ...]:
    heads = ("", "confirmed/s", "mean us", "spread", "p50 us", "p99 us", "spread")
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            why = outcome.failure.partition("\n")[0]
            rows.append((name, why, *[""] * (len(heads) - 2)))
            continue
        means = [one.mean_us for one in outcome.rounds]
        rows.append(
            (
                name,
                f"{_MICRO / median(means):,.0f}",
                *spread(means),
                f"{median(one.p50_us for one in outcome.rounds):,.0f}",
                *spread([one.p99_us for one in outcome.rounds]),
            )
        )
    return table(heads, rows)


if __name__ == "__main__":
    cli.main({"durable_turns": answer})
