"""What does it cost a web server to hand over a job for each request?

uvicorn and FastAPI, one process. First a fixed rate of requests, whose jobs take a bit
more than a millisecond of CPU, then as many requests as it answers, whose jobs do
nothing; see docs/performance.md.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.notes import Note
from benchmarks.peers.web_sides import NOTHING, PYMULE, VARIANTS
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

__all__ = ("Round", "answer")

_RATE: Final = 200
_SECONDS: Final = 1.0
_QUICK_SECONDS: Final = 0.2
_FLOOD_S: Final = 0.6
_QUICK_FLOOD_S: Final = 0.1
# Rows for the jobs of a flood: no web server in Python answers so many.
_MOST_PER_S: Final = 50_000
_HASHES: Final = 1_000
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_WITHIN_S: Final = 30.0
_MICRO: Final = 1e6
_MILLI: Final = 1e3


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one side.

    Attributes:
        p50_ms: Of a request at the fixed rate, from its planned time to its answer.
        loop_p99_ms: By how much the loop of the web server was late meanwhile.
        loop_own_p99_ms: The same without the time in which it waited for a core.
        cpu_us: Of the web server, for each request.
        done: Share of the jobs that were done when the last answer came, if there are
            any.
        flood_per_s: Requests a second, as fast as they are answered.
    """

    p50_ms: float
    p99_ms: float
    loop_p99_ms: float
    loop_own_p99_ms: float
    done: float | None
    flood_per_s: float
    flood_cpu_us: float
    flood_loop_p99_ms: float
    flood_loop_own_p99_ms: float
    flood_done: float | None


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of requests at the fixed rate."""
    peers = [peer for peer in VARIANTS if options.wants(peer)]
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    outcomes = play(peers, rounds, lambda peer: _round(peer, options))
    return Answer(
        "web",
        cli.question_of(__doc__),
        (_offered(outcomes, rounds), _flooded(outcomes, rounds)),
        {"peers": {name: asdict(outcome) for name, outcome in outcomes.items()}},
        (_plot(outcomes),),
        failures=failures_of(outcomes),
    )


def _round(peer: Peer, options: Options) -> Round:
    seconds = _QUICK_SECONDS if options.is_quick else _SECONDS
    flood_s = _QUICK_FLOOD_S if options.is_quick else _FLOOD_S
    offered = options.messages or int(_RATE * seconds)
    rows = offered + int(_MOST_PER_S * flood_s)
    with running(peer, "web", rows) as (stage, _):
        stage.note("go", offered=offered, rate=_RATE, seconds=flood_s, hashes=_HASHES)
        # Rarely looked at: each look may hold up a request.
        first = stage.wait("offered", within=_WITHIN_S, step=0.1)
        second = stage.wait("flooded", within=_WITHIN_S, step=0.1)
    latencies = floats(first, "latencies")
    requests = number(second, "requests")
    return Round(
        p50_ms=percentile(latencies, 0.5) * _MILLI,
        p99_ms=percentile(latencies, 0.99) * _MILLI,
        loop_p99_ms=_p99_ms(first, "delays"),
        loop_own_p99_ms=_p99_ms(first, "own"),
        done=None if peer is NOTHING else number(first, "done") / offered,
        flood_per_s=requests / number(second, "seconds"),
        flood_cpu_us=number(second, "cpu_s") / requests * _MICRO,
        flood_loop_p99_ms=_p99_ms(second, "delays"),
        flood_loop_own_p99_ms=_p99_ms(second, "own"),
        flood_done=None if peer is NOTHING else number(second, "done") / requests,
    )


def _p99_ms(found: Note, what: str) -> float:
    return percentile(floats(found, what), 0.99) * _MILLI


def _offered(outcomes: Mapping[str, Outcome[Round]], rounds: int) -> Table:
    columns = (
        "",
        "p50 ms",
        "spread",
        "p99 ms",
        "spread",
        "pymule to it, p99",
        "loop late p99 ms",
        "spread",
        "but for waits for a core",
        "jobs done %",
    )

    def cells(outcome: Outcome[Round]) -> tuple[str, ...]:
        return (
            *spread(outcome.values(lambda one: one.p50_ms), ".2f"),
            *spread(outcome.values(lambda one: one.p99_ms), ".2f"),
            over(_ours(outcomes, lambda one: one.p99_ms), outcome.values(_p99_of)),
            *spread(outcome.values(lambda one: one.loop_p99_ms), ".2f"),
            f"{median(outcome.values(lambda one: one.loop_own_p99_ms)):.2f}",
            _percent(one.done for one in outcome.rounds),
        )

    notes = (
        "From the planned time of a request to its answer.",
        "Done: when the last answer had come.",
    )
    title = f"{_RATE} requests/s, jobs of {_HASHES:,} SHA-256 of 1 KiB, {rounds} rounds"
    return Table(title, columns, _rows(outcomes, cells, len(columns)), notes)


def _flooded(outcomes: Mapping[str, Outcome[Round]], rounds: int) -> Table:
    columns = (
        "",
        "requests/s",
        "spread",
        "pymule to it",
        "CPU us a request",
        "spread",
        "loop late p99 ms",
        "but for waits for a core",
        "jobs done %",
    )

    def cells(outcome: Outcome[Round]) -> tuple[str, ...]:
        speeds = outcome.values(_flood_of)
        return (
            *spread(speeds),
            over(_ours(outcomes, _flood_of), speeds),
            *spread(outcome.values(lambda one: one.flood_cpu_us)),
            f"{median(outcome.values(lambda one: one.flood_loop_p99_ms)):.2f}",
            f"{median(outcome.values(lambda one: one.flood_loop_own_p99_ms)):.2f}",
            _percent(one.flood_done for one in outcome.rounds),
        )

    title = f"as many requests as are answered, no-op jobs, {rounds} rounds"
    notes = ("CPU: of the web server's process.",)
    return Table(title, columns, _rows(outcomes, cells, len(columns)), notes)


def _rows(
    outcomes: Mapping[str, Outcome[Round]],
    cells: Callable[[Outcome[Round]], tuple[str, ...]],
    width: int,
) -> tuple[tuple[str, ...], ...]:
    return tuple(
        absent(name, outcome.failure, width)
        if outcome.failure is not None
        else (name, *cells(outcome))
        for name, outcome in outcomes.items()
    )


def _percent(shares: Iterable[float | None]) -> str:
    return spread([share * 100 for share in shares if share is not None])[0]


def _p99_of(one: Round) -> float:
    return one.p99_ms


def _flood_of(one: Round) -> float:
    return one.flood_per_s


def _ours(
    outcomes: Mapping[str, Outcome[Round]], pick: Callable[[Round], float]
) -> list[float]:
    outcome = outcomes.get(PYMULE.NAME)
    return [] if outcome is None else outcome.values(pick)


def _plot(outcomes: Mapping[str, Outcome[Round]]) -> Plot:
    ran = [name for name, one in outcomes.items() if not one.failure]
    series = {"requests/s": tuple(median(outcomes[n].values(_flood_of)) for n in ran)}
    return Plot("a web server that hands over jobs", "bars", tuple(ran), series, "/s")


if __name__ == "__main__":
    cli.main({"web": answer})
