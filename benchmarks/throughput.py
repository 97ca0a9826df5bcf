"""How many 128-byte messages a second get from one sender to one receiving process?

From the first send to the last message handled. Every receiver runs the same loop and
every process is warm; see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.notes import PAYLOAD
from benchmarks.peers import pymule, queue, uwsgi, uwsgi_yielding
from benchmarks.report import Answer, number, ratios, spread, table
from benchmarks.rounds import Options, Outcome, Peer, play, running
from benchmarks.stage import PeerError, cpu_seconds

__all__ = ("Round", "answer", "flood")

_PEERS: Final[tuple[Peer, ...]] = (pymule, uwsgi, uwsgi_yielding, queue)
_MESSAGES: Final = {
    pymule.NAME: 1_000_000,
    uwsgi.NAME: 500_000,
    uwsgi_yielding.NAME: 500_000,
    queue.NAME: 200_000,
}
"""About two seconds each."""
_QUICK: Final = 20
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 3
# A round that is slower than this by far hangs.
_SLOWEST_PER_S: Final = 5_000
_MICRO: Final = 1e6


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer; CPU in microseconds a message, ``None`` where unknown."""

    messages: int
    seconds: float
    per_second: float
    sender_us: float
    middle_us: float | None
    receiver_us: float


def answer(options: Options) -> Answer:
    """Measure."""
    peers = [peer for peer in _PEERS if options.wants(peer)]
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    outcomes = play(peers, rounds, lambda peer: flood(peer, _count(peer, options)))
    lines = [*_table(outcomes)]
    over = {}
    for other in (uwsgi.NAME, uwsgi_yielding.NAME):
        over[other] = _ratios(outcomes, other)
        if over[other]:
            middle, both = spread(over[other], ".2f")
            lines += ["", f"pymule / {other}: {middle} ({both})"]
    data = {
        "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "pymule_over": over,
    }
    return Answer("throughput", cli.question_of(__doc__), tuple(lines), data)


def flood(peer: Peer, count: int) -> Round:
    """Play one round of so many messages."""
    within = 30 + count / _SLOWEST_PER_S
    with running(peer, "flood", count) as (stage, middle):
        before = None if middle is None else cpu_seconds(middle)
        stage.note("go")
        # Rarely looked at: there are only so many cores.
        received = stage.wait("received", within=within, step=0.02)
        sent = stage.wait("sent", within=within, step=0.02)
        used = (
            None if middle is None or before is None else cpu_seconds(middle) - before
        )
    if number(received, "size") != count * len(PAYLOAD):
        raise PeerError(f"{received['size']} bytes came of {count} messages")
    seconds = number(received, "at") - number(sent, "start")
    return Round(
        messages=count,
        seconds=seconds,
        per_second=count / seconds,
        sender_us=number(sent, "cpu_s") / count * _MICRO,
        middle_us=None if used is None else used / count * _MICRO,
        receiver_us=number(received, "cpu_s") / count * _MICRO,
    )


def _count(peer: Peer, options: Options) -> int:
    count = _MESSAGES[peer.NAME]
    return options.messages or (count // _QUICK if options.is_quick else count)


def _ratios(outcomes: Mapping[str, Outcome[Round]], other: str) -> list[float]:
    both = [outcomes.get(name) for name in (pymule.NAME, other)]
    speeds = [
        [played.per_second for played in outcome.rounds]
        for outcome in both
        if outcome is not None and outcome.failure is None
    ]
    return ratios(*speeds) if len(speeds) == len(both) else []


def _table(outcomes: Mapping[str, Outcome[Round]]) -> tuple[str, ...]:
    heads = ("", "messages/s", "spread", "CPU us/message: sender", "middle", "receiver")
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append((name, outcome.failure.partition("\n")[0], "", "", "", ""))
            continue
        middles = [one.middle_us for one in outcome.rounds if one.middle_us is not None]
        rows.append(
            (
                name,
                *spread([one.per_second for one in outcome.rounds]),
                f"{median(one.sender_us for one in outcome.rounds):.2f}",
                f"{median(middles):.2f}" if middles else "-",
                f"{median(one.receiver_us for one in outcome.rounds):.2f}",
            )
        )
    return table(heads, rows)


if __name__ == "__main__":
    cli.main({"throughput": answer})
