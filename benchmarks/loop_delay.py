"""By how much does sending delay the event loop of the process that sends?

Each 2 ms another process writes the time into a pipe, and the loop says how old it was
when it was read; meanwhile the loop sends at a fixed rate, each message in a task of
its own, as a request to a web server would; see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.peers.loop_senders import NOTHING, PYMULE, VARIANTS
from benchmarks.report import (
    Answer,
    Plot,
    Table,
    absent,
    floats,
    number,
    over,
    percentile,
    spread,
)
from benchmarks.rounds import Options, Outcome, Peer, failures_of, play, running
from benchmarks.stage import PeerError

__all__ = ("Figures", "Round", "answer")

_RATES: Final = (1_000, 10_000)
_SECONDS: Final = 0.5
_QUICK_SECONDS: Final = 0.1
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_WITHIN_S: Final = 30.0
_MICRO: Final = 1e6


@dataclass(frozen=True, slots=True)
class Figures:
    """What a peer did at one rate.

    Attributes:
        p50: Of the delay of the loop, in microseconds, as the next two.
        own_p99: The same without the time in which the process waited for a core.
        cpu_us: Of the process that sends, for each message, with what the loop costs.
        late_ms: How long after the last message all had their answers.
    """

    p50: float
    p99: float
    own_p99: float
    greatest: float
    cpu_us: float
    late_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer, by messages a second."""

    at: dict[int, Figures]


def answer(options: Options) -> Answer:
    """Measure."""
    peers = [peer for peer in VARIANTS if options.wants(peer)]
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    seconds = _QUICK_SECONDS if options.is_quick else _SECONDS
    outcomes = play(peers, rounds, lambda peer: _round(peer, seconds))
    return Answer(
        "loop_delay",
        cli.question_of(__doc__),
        tuple(_table(outcomes, rate, rounds) for rate in _RATES),
        {"peers": {name: asdict(outcome) for name, outcome in outcomes.items()}},
        (_plot(outcomes),),
        failures=failures_of(outcomes),
    )


def _round(peer: Peer, seconds: float) -> Round:
    with running(peer, "loop", 0) as (stage, _):
        stage.note("go", rates=_RATES, seconds=seconds)
        # Rarely looked at: each look may delay the loop.
        measured = stage.wait("measured", within=_WITHIN_S, step=0.1)
    return Round(
        {rate: _figures(measured[str(rate)], rate * seconds) for rate in _RATES}
    )


def _figures(found: object, count: float) -> Figures:
    assert isinstance(found, dict), "made by the program"
    delays = [seconds * _MICRO for seconds in floats(found, "delays")]
    if not delays:
        raise PeerError("the loop felt no pulse")
    return Figures(
        p50=percentile(delays, 0.5),
        p99=percentile(delays, 0.99),
        own_p99=percentile(floats(found, "own"), 0.99) * _MICRO,
        greatest=max(delays),
        cpu_us=number(found, "cpu_s") / count * _MICRO,
        late_ms=number(found, "late_s") * 1e3,
    )


def _values(
    outcomes: Mapping[str, Outcome[Round]], name: str, rate: int
) -> list[Figures]:
    outcome = outcomes.get(name)
    if outcome is None or outcome.failure is not None:
        return []
    return [one.at[rate] for one in outcome.rounds]


def _table(outcomes: Mapping[str, Outcome[Round]], rate: int, rounds: int) -> Table:
    columns = (
        "",
        "p50 us",
        "spread",
        "p99 us",
        "spread",
        "p99, pymule to it",
        "p99 but for waits for a core",
        "spread",
        "max us",
        "CPU us a message",
        "answered after ms",
    )
    ours = [one.p99 for one in _values(outcomes, PYMULE.NAME, rate)]
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append(absent(name, outcome.failure, len(columns)))
            continue
        found = _values(outcomes, name, rate)
        p99s = [one.p99 for one in found]
        rows.append(
            (
                name,
                *spread([one.p50 for one in found]),
                *spread(p99s),
                over(ours, p99s),
                *spread([one.own_p99 for one in found]),
                f"{max(one.greatest for one in found):,.0f}",
                f"{median(one.cpu_us for one in found):,.1f}",
                f"{median(one.late_ms for one in found):,.1f}",
            )
        )
    notes = (f"CPU: with what tasks and timers cost, which {NOTHING.NAME!r} shows.",)
    title = f"delay of the loop at {rate:,} messages/s, {rounds} rounds"
    return Table(title, columns, tuple(rows), notes)


def _plot(outcomes: Mapping[str, Outcome[Round]]) -> Plot:
    ran = [name for name, one in outcomes.items() if not one.failure]
    series = {
        f"p99 at {rate:,}/s": tuple(
            median(one.p99 for one in _values(outcomes, name, rate)) for name in ran
        )
        for rate in _RATES
    }
    return Plot("delay of the loop that sends", "bars", tuple(ran), series, "us")


if __name__ == "__main__":
    cli.main({"loop_delay": answer})
