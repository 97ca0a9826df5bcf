"""How long does it take to get a lock that nobody else wants, and to give it back?

Two questions to the master, one after the other, against two bytes-only round trips to
a process that sends back what it gets; see docs/performance.md.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Final

from benchmarks import cli
from benchmarks.peers.pymule import daemon
from benchmarks.report import Answer, Table, floats, over, percentile, ratios, spread
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage

__all__ = ("answer",)

_LOCK: Final = "pymule lock and unlock"
_ECHO: Final = "two round trips to a bare echo"
_TURNS: Final = 5_000
_QUICK_TURNS: Final = 500
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_WITHIN_S: Final = 60.0
_MICRO: Final = 1e6
_PROGRAM: Final = "benchmarks.programs.lock_pair"


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of locks taken in a round."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    turns = options.messages or (_QUICK_TURNS if options.is_quick else _TURNS)
    sides: dict[str, Callable[[int], list[float]]] = {
        _LOCK: _locks,
        _ECHO: _echoes,
    }
    times: dict[str, list[list[float]]] = {name: [] for name in sides}
    failure = None
    try:
        for at in range(rounds):
            for name, measure in sides.items():
                print(f"  round {at + 1} of {rounds}: {name}", file=sys.stderr)
                times[name].append(measure(turns))
    except PeerError as exc:
        failure = str(exc)
    data: dict[str, object] = {"turns": turns, "failure": failure}
    tables: tuple[Table, ...] = ()
    if failure is None:
        table, figures = _figures(times, f"{rounds} rounds of {turns:,}")
        tables = (table,)
        data |= figures
    failures = () if failure is None else (failure,)
    question = cli.question_of(__doc__)
    return Answer("locks", question, tables, data, failures=failures)


def _figures(
    times: Mapping[str, list[list[float]]], title: str
) -> tuple[Table, dict[str, object]]:
    p50s = {name: _percentiles(found, 0.5) for name, found in times.items()}
    p99s = {name: _percentiles(found, 0.99) for name, found in times.items()}
    echo = p50s[_ECHO]
    columns = ("", "p50 us", "spread", "p99 us", "spread", "to the echo, p50")
    rows = tuple(
        (name, *spread(p50s[name]), *spread(p99s[name]), over(p50s[name], echo))
        for name in times
    )
    return Table(title, columns, rows), {
        "p50_us": p50s,
        "p99_us": p99s,
        "p50_over_echo": ratios(p50s[_LOCK], echo),
    }


def _percentiles(rounds: list[list[float]], share: float) -> list[float]:
    return [percentile(times, share) * _MICRO for times in rounds]


def _locks(turns: int) -> list[float]:
    with Stage("locks", turns) as stage, daemon(stage, "refuse"):
        return _times(stage, "lock_client")


def _echoes(turns: int) -> list[float]:
    with Stage("locks", turns) as stage:
        stage.start_python(_PROGRAM, "echo")
        stage.wait_for_socket(stage.folder / "echo")
        return _times(stage, "echo_client")


def _times(stage: Stage, role: str) -> list[float]:
    stage.start_python(_PROGRAM, role)
    # Rarely looked at: each look may hold up a turn.
    return floats(stage.wait("measured", within=_WITHIN_S, step=0.25), "times")


if __name__ == "__main__":
    cli.main({"locks": answer})
