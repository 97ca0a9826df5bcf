"""What does it cost to arm and disarm one of a million timers, and how late are they?

On pymule's wheel, with one timer of the loop, against as many of the loop's own; how
late is looked at while 10,000 others are due each second; see docs/performance.md.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks import cli
from benchmarks.programs.many_timers import PERIOD_S, PERIODIC
from benchmarks.report import (
    Answer,
    Budget,
    Table,
    floats,
    number,
    percentile,
    ratios,
    span,
    spread,
)
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage

__all__ = ("Round", "answer")

_OURS: Final = "pymule's ticker"
_SIDES: Final = {_OURS: "ticker", "loop.call_at": "call_at"}
_TIMERS: Final = 1_000_000
_QUICK_TIMERS: Final = 50_000
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_PERIODS: Final = 1
_QUICK_PERIODS: Final = 1
_WITHIN_S: Final = 120.0
_MICRO: Final = 1e6
_MILLI: Final = 1e3
_PROGRAM: Final = "benchmarks.programs.many_timers"
_COLUMNS: Final = {
    "arm us": "arm_us",
    "disarm us": "disarm_us",
    "late p50 us": "late_p50_us",
    "late p99 us": "late_p99_us",
    "least": "least_us",
    "CPU us/due": "cpu_us",
}


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one side, in microseconds.

    Attributes:
        least_us: The least lateness; below zero, one was early.
        cpu_us: Of the processor, for each that was due, its next arming included.
    """

    arm_us: float
    disarm_us: float
    late_p50_us: float
    late_p99_us: float
    least_us: float
    cpu_us: float


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of timers that are armed."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    count = options.messages or (_QUICK_TIMERS if options.is_quick else _TIMERS)
    periods = _QUICK_PERIODS if options.is_quick else _PERIODS
    found: dict[str, list[Round]] = {name: [] for name in _SIDES}
    failure = None
    try:
        for at in range(rounds):
            for name, role in _SIDES.items():
                print(f"  round {at + 1} of {rounds}: {name}", file=sys.stderr)
                found[name].append(_round(role, count, periods))
    except PeerError as exc:
        failure = str(exc)
    over = _ratios(found) if failure is None else {}
    data = {
        "timers": count,
        "due_per_second": PERIODIC / PERIOD_S,
        "failure": failure,
        "sides": {name: list(map(asdict, played)) for name, played in found.items()},
        "over_call_at": over,
    }
    title = f"{count:,} timers, {rounds} rounds"
    return Answer(
        "timers",
        cli.question_of(__doc__),
        (_table(title, found, over),) if failure is None else (),
        data,
        budgets=_budgets(found[_OURS]),
        failures=() if failure is None else (failure,),
    )


def _round(role: str, count: int, periods: int) -> Round:
    with Stage("timers", count) as stage:
        stage.start_python(_PROGRAM, role, str(periods))
        # Rarely looked at: each look may hold up a timer.
        measured = stage.wait("measured", within=_WITHIN_S, step=0.25)
    late = [seconds * _MICRO for seconds in floats(measured, "lateness")]
    return Round(
        arm_us=number(measured, "arm_s") * _MICRO,
        disarm_us=number(measured, "disarm_s") * _MICRO,
        late_p50_us=percentile(late, 0.5),
        late_p99_us=percentile(late, 0.99),
        least_us=min(late),
        cpu_us=number(measured, "cpu_s") * _MICRO,
    )


def _ratios(found: Mapping[str, list[Round]]) -> dict[str, list[float]]:
    ours, theirs = found.values()
    return {
        "arm": ratios([one.arm_us for one in ours], [one.arm_us for one in theirs]),
        "disarm": ratios(
            [one.disarm_us for one in ours], [one.disarm_us for one in theirs]
        ),
    }


def _budgets(ours: list[Round]) -> tuple[Budget, ...]:
    wanted = {
        "arming one of a million timers": (2, "us", [one.arm_us for one in ours]),
        "disarming one": (2, "us", [one.disarm_us for one in ours]),
        "lateness at 10,000 due/s, p99": (
            5,
            "ms",
            [one.late_p99_us / _MILLI for one in ours],
        ),
    }
    return tuple(
        Budget(what, limit, tuple(values), unit=unit)
        for what, (limit, unit, values) in wanted.items()
    )


def _table(
    title: str,
    found: Mapping[str, list[Round]],
    ratio: Mapping[str, list[float]],
) -> Table:
    columns = [""]
    for head in _COLUMNS:
        columns += [head, "spread"]
    rows = []
    for name, played in found.items():
        row = [name]
        for column in _COLUMNS.values():
            row += spread([float(asdict(one)[column]) for one in played], ",.2f")
        rows.append(tuple(row))
    notes = [
        f"The ticker to call_at, {what}: {span(values, '.2f')}."
        for what, values in ratio.items()
    ]
    return Table(title, tuple(columns), tuple(rows), tuple(notes))


if __name__ == "__main__":
    cli.main({"timers": answer})
