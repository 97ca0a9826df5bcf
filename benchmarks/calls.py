"""What does a message cost its sender, who waits until the master has it?

One call after the other, a thousand calls at once, and calls with a thousand messages;
against a process that only sends back what it gets; see docs/performance.md.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.notes import Note
from benchmarks.peers.pymule import running_daemon
from benchmarks.report import Answer, Plot, Table, number, over, ratios, spread
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage

__all__ = ("Round", "answer")

_MESSAGES: Final = 10_000
_QUICK_MESSAGES: Final = 1_000
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_WITHIN_S: Final = 120.0
_MICRO: Final = 1e6
_CALLERS: Final = "benchmarks.programs.callers"
_TAKER: Final = "benchmarks.programs.takers:swallow"


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one side and one kind of call; microseconds for each message.

    Attributes:
        answering_us: CPU of the process that answers.
    """

    messages: int
    us: float
    sender_us: float
    answering_us: float


Found = dict[str, dict[str, list[Round]]]
"""Rounds by kind of call and side."""


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of single calls in a round."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    usual = _QUICK_MESSAGES if options.is_quick else _MESSAGES
    count = options.messages or usual
    found: Found = {}
    failure = None
    try:
        for at in range(rounds):
            for name, (measure, role, _) in _SIDES.items():
                print(f"  round {at + 1} of {rounds}: {name}", file=sys.stderr)
                for kind, one in measure(role, count).items():
                    found.setdefault(kind, {}).setdefault(name, []).append(one)
    except PeerError as exc:
        failure = str(exc)
    data = {
        "failure": failure,
        "kinds": {
            kind: {name: list(map(asdict, played)) for name, played in sides.items()}
            for kind, sides in found.items()
        },
        "over_echo": _ratios(found),
    }
    return Answer(
        "calls",
        cli.question_of(__doc__),
        tuple(_table(kind, rounds, sides) for kind, sides in found.items()),
        data,
        (_plot(found),) if found else (),
        failures=() if failure is None else (failure,),
    )


def _pymule(role: str, count: int) -> dict[str, Round]:
    with (
        Stage("calls", count) as stage,
        running_daemon(
            stage, f"--mule={_TAKER}", "--farm=busy:1", "--socket", str(stage.socket)
        ) as pid,
    ):
        return _rounds(stage, role, pid)


def _echo(role: str, count: int) -> dict[str, Round]:
    with Stage("calls", count) as stage:
        pid = stage.start_python("benchmarks.programs.lock_pair", "echo")
        stage.wait_for_socket(stage.folder / "echo")
        return _rounds(stage, role, pid)


def _rounds(stage: Stage, role: str, pid: int) -> dict[str, Round]:
    stage.start_python(_CALLERS, role)
    stage.wait("warm")
    stage.note("go", answering=pid)
    # Rarely looked at: each look may hold up a call.
    measured = stage.wait("measured", within=_WITHIN_S, step=0.1)
    kinds = measured["kinds"]
    assert isinstance(kinds, dict), f"kinds is {kinds!r}"
    return {kind: _round(times) for kind, times in kinds.items()}


def _round(times: Note) -> Round:
    messages = int(number(times, "messages"))
    return Round(
        messages=messages,
        us=number(times, "seconds") / messages * _MICRO,
        sender_us=number(times, "sender_cpu_s") / messages * _MICRO,
        answering_us=number(times, "answering_cpu_s") / messages * _MICRO,
    )


_SIDES: Final[dict[str, tuple[Callable[[str, int], dict[str, Round]], str, str]]] = {
    "pymule": (_pymule, "pymule", "bare echo"),
    "bare echo": (_echo, "echo", ""),
    "pymule.sync": (_pymule, "pymule_blocking", "bare echo, blocking"),
    "bare echo, blocking": (_echo, "echo_blocking", ""),
}
"""How each side is measured, the role of its sender, and what it is compared with."""


def _times(sides: Mapping[str, list[Round]], name: str) -> list[float]:
    return [one.us for one in sides.get(name, ())]


def _ratios(found: Found) -> dict[str, dict[str, list[float]]]:
    """Return our time over the echo's, round by round, by kind and side."""
    return {
        kind: {
            name: ratios(_times(sides, name), _times(sides, to))
            for name, (_, _, to) in _SIDES.items()
            if to and name in sides
        }
        for kind, sides in found.items()
    }


def _table(kind: str, rounds: int, sides: Mapping[str, list[Round]]) -> Table:
    columns = (
        "",
        "messages/s",
        "us a message",
        "spread",
        "to its echo",
        "CPU us: sender",
        "who answers",
    )
    rows = []
    for name, played in sides.items():
        times, echo = _times(sides, name), _SIDES[name][2]
        rows.append(
            (
                name,
                f"{_MICRO / median(times):,.0f}",
                *spread(times, ",.2f"),
                over(times, _times(sides, echo)) if echo else "1",
                f"{median(one.sender_us for one in played):,.2f}",
                f"{median(one.answering_us for one in played):,.2f}",
            )
        )
    return Table(f"{kind}, {rounds} rounds", columns, tuple(rows))


def _plot(found: Found) -> Plot:
    kinds = tuple(found)
    series: dict[str, list[float | None]] = {}
    for name in _SIDES:
        times = [_times(found[kind], name) for kind in kinds]
        series[name] = [median(one) if one else None for one in times]
    return Plot("what a message costs its sender", "bars", kinds, series, "us")


if __name__ == "__main__":
    cli.main({"calls": answer})
