"""How long is a 128-byte message under way, at 1, 100 and 10,000 messages a second?

One way and there and back. Counted from the instant at which it was planned to be
sent, so that a sender that is held up cannot hide it; see docs/performance.md.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.pace import Phase, scenario_of
from benchmarks.peers import drips
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
from benchmarks.stage import PeerError, Stage

__all__ = ("Way", "answer", "tail")

# Whoever sends one message a second is idle, so all of them do that side by side, each
# at an instant of its own: that takes seconds for all of them, not for each.
_SLOW: Final = Phase(1, 3)
_QUICK_SLOW: Final = Phase(4, 2)
_PHASES: Final = (Phase(100, 50), Phase(10_000, 5_000))
_QUICK_PHASES: Final = (Phase(100, 10), Phase(10_000, 500))
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
# From "go" to the first message.
_LEAD_S: Final = 0.1
_WITHIN_S: Final = 30.0
_LOOK_S: Final = 0.1
_MICRO: Final = 1e6
_MOST_OVER_RELAY: Final = 1.5
# One in so many is greater.
_TAILS: Final = {"p90": 10, "p99": 100, "p99.9": 1000}


@dataclass(slots=True)
class Drip:
    """One round of one peer at one rate, in microseconds.

    Attributes:
        times: Of all messages.
        sender_late_p99: By how much the sender itself missed the planned instant.
    """

    times: list[float]
    sender_late_p99: float


Played = Mapping[str, Outcome[Drip]]
"""What each peer did at one rate, by its name."""


@dataclass(slots=True)
class Way:
    """One way, or there and back.

    Attributes:
        peers: Who goes it.
        slow: What each did side by side with the others.
        alone: What each did alone, a list of phases for each round.
    """

    peers: Sequence[Peer]
    slow: dict[str, Outcome[Drip]] = field(default_factory=dict)
    alone: dict[str, Outcome[list[Drip]]] = field(default_factory=dict)

    def at(self, number: int) -> dict[str, Outcome[Drip]]:
        """Return what each peer did in phase *number* of those alone."""
        return {
            name: Outcome([phases[number] for phases in played.rounds], played.failure)
            for name, played in self.alone.items()
        }


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number at the highest rate in a round."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    slow = _QUICK_SLOW if options.is_quick else _SLOW
    phases = list(_QUICK_PHASES if options.is_quick else _PHASES)
    if options.messages is not None:
        phases[-1] = replace(phases[-1], count=options.messages)
    ways = _ways(options)
    _play_slow(ways, [slow] * rounds)
    for name, way in ways.items():
        print(f"  {name}", file=sys.stderr)
        way.alone = play(way.peers, rounds, partial(_alone, phases=phases))
    found = {
        (name, phase): way.slow if phase is slow else way.at(phases.index(phase))
        for name, way in ways.items()
        for phase in (slow, *phases)
    }
    return Answer(
        "latency",
        cli.question_of(__doc__),
        tuple(_table(f"{_title(*at)}, {rounds} rounds", found[at]) for at in found),
        {"parts": {_title(*at): _data(at[1], found[at]) for at in found}},
        tuple(_plot(name, found) for name in ways),
        (_budget(found["one way", phases[0]]),),
        tuple(dict.fromkeys(why for one in found.values() for why in failures_of(one))),
    )


def tail(values: Sequence[float]) -> dict[str, float | None]:
    """Return percentiles and the greatest; ``None`` where there are too few values.

    One in a thousand cannot be told from a hundred.
    """
    found = {
        name: percentile(values, 1 - 1 / one_in) if len(values) >= one_in else None
        for name, one_in in _TAILS.items()
    }
    return {"p50": percentile(values, 0.5), **found, "max": max(values)}


def _ways(options: Options) -> dict[str, Way]:
    return {
        "one way": Way([peer for peer in drips.ONE_WAY if options.wants(peer)]),
        "there and back": Way([peer for peer in drips.BACK if options.wants(peer)]),
    }


def _play_slow(ways: Mapping[str, Way], phases: Sequence[Phase]) -> None:
    """Let all peers of all ways send side by side, each at instants of its own."""
    everybody = [(way, peer) for way in ways.values() for peer in way.peers]
    with ExitStack() as stack:
        stages: list[tuple[Outcome[Drip], Stage]] = []
        for way, peer in everybody:
            outcome = way.slow[peer.NAME] = Outcome()
            print(f"  side by side: {peer.NAME}", file=sys.stderr)
            try:
                going = running(peer, scenario_of(phases), len(phases))
                stages.append((outcome, stack.enter_context(going)[0]))
            except PeerError as exc:
                outcome.failure = f"did not run: {exc}"
        for at, phase in enumerate(phases):
            print(f"  round {at + 1} of {len(phases)}", file=sys.stderr)
            apart = 1 / phase.rate / len(everybody)
            start = time.monotonic() + _LEAD_S
            for number, (_, stage) in enumerate(stages):
                stage.note(f"go-{at}", start=start + number * apart)
            for outcome, stage in stages:
                _note_slow(outcome, stage, at, phase)


def _note_slow(outcome: Outcome[Drip], stage: Stage, at: int, phase: Phase) -> None:
    if outcome.failure is not None:
        return
    try:
        outcome.rounds.append(_arrived(stage, at, phase))
    except PeerError as exc:
        outcome.failure = f"did not run: {exc}"


def _alone(peer: Peer, *, phases: Sequence[Phase]) -> list[Drip]:
    with running(peer, scenario_of(phases), len(phases)) as (stage, _):
        found = []
        for at, phase in enumerate(phases):
            stage.note(f"go-{at}", start=time.monotonic() + _LEAD_S)
            found.append(_arrived(stage, at, phase))
        return found


def _arrived(stage: Stage, at: int, phase: Phase) -> Drip:
    # Not looked at before it can be there: each look may hold up a message.
    time.sleep(phase.seconds)
    within = _WITHIN_S + phase.seconds
    arrived = stage.wait(f"arrived-{at}", within=within, step=_LOOK_S)
    late = [seconds * _MICRO for seconds in floats(arrived, "lateness")]
    return Drip(
        times=[seconds * _MICRO for seconds in floats(arrived, "latencies")],
        sender_late_p99=percentile(late, 0.99),
    )


def _p50s(played: Played, name: str) -> list[float]:
    if name not in played:
        return []
    return played[name].values(lambda one: percentile(one.times, 0.5))


def _all(outcome: Outcome[Drip]) -> list[float]:
    return [time for one in outcome.rounds for time in one.times]


def _title(way: str, phase: Phase) -> str:
    return f"{way}, {phase.rate:,g} messages/s"


def _data(phase: Phase, played: Played) -> dict[str, object]:
    ours = _p50s(played, drips.PYMULE.NAME)
    peers = {
        name: {
            "failure": outcome.failure,
            "messages": sum(len(one.times) for one in outcome.rounds),
            "p50_us": _p50s(played, name),
            "sender_late_p99_us": [one.sender_late_p99 for one in outcome.rounds],
            "all_rounds_us": tail(_all(outcome)) if outcome.rounds else {},
            "pymule_p50_to_it": ratios(ours, _p50s(played, name)),
        }
        for name, outcome in played.items()
    }
    return {**asdict(phase), "peers": peers}


def _table(title: str, played: Played) -> Table:
    columns = (
        "",
        "messages",
        "p50 us",
        "spread",
        *(f"{name} us" for name in _TAILS),
        "max us",
        "pymule to it, p50",
        "sender late p99 us",
    )
    ours = _p50s(played, drips.PYMULE.NAME)
    rows = []
    for name, outcome in played.items():
        if outcome.failure is not None:
            rows.append(absent(name, outcome.failure, len(columns)))
            continue
        times = _all(outcome)
        cells = ["-" if x is None else f"{x:,.0f}" for x in tail(times).values()]
        theirs = _p50s(played, name)
        late = median(one.sender_late_p99 for one in outcome.rounds)
        rows.append(
            (
                name,
                f"{len(times):,}",
                *spread(theirs),
                *cells[1:],
                over(ours, theirs),
                f"{late:,.0f}",
            )
        )
    return Table(title, columns, tuple(rows))


def _plot(way: str, found: Mapping[tuple[str, Phase], Played]) -> Plot:
    phases = [phase for name, phase in found if name == way]
    names = tuple(found[way, phases[0]])
    series = {}
    for phase in phases:
        p50s = [_p50s(found[way, phase], name) for name in names]
        series[f"{phase.rate:,g}/s"] = [median(one) if one else None for one in p50s]
    return Plot(f"{way}, p50", "bars", names, series, "us")


def _budget(idle: Played) -> Budget:
    ours, relay = (_p50s(idle, peer.NAME) for peer in (drips.PYMULE, drips.RELAY))
    values = tuple(ratios(ours, relay))
    return Budget(
        "latency, idle, one way, p50, pymule to a bare relay", _MOST_OVER_RELAY, values
    )


if __name__ == "__main__":
    cli.main({"latency": answer})
