"""What does it cost to lose nothing?

As the throughput benchmark, with messages that survive what their row says, and against
systems made for that; then one at a time, and then a million that a new master finds.
See docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli, durable_backlog, durable_turns
from benchmarks.disk import disk_folder, file_system
from benchmarks.peers import beanstalkd, jetstream, pymule_durable, uwsgi
from benchmarks.report import Answer, ratios, spread, table
from benchmarks.rounds import Options, Outcome, Peer, play
from benchmarks.throughput import Round, flood

__all__ = ("answer",)


@dataclass(frozen=True, slots=True)
class _Side:
    """One peer.

    Attributes:
        messages: About two seconds of them.
        survive: What those that are confirmed survive.
    """

    peer: Peer
    messages: int
    survive: str


_SIDES: Final = tuple(
    _Side(*words)
    for words in (
        (pymule_durable.MEMORY, 1_000_000, "a mule's death"),
        (pymule_durable.PROCESS, 1_000_000, "kill -9 of all"),
        (pymule_durable.DISK, 1_000_000, "a power cut"),
        (uwsgi, 500_000, "nothing"),
        (beanstalkd.MEMORY, 100_000, "a worker's death"),
        (beanstalkd.BINLOG, 100_000, "a power cut but for 50 ms"),
        (beanstalkd.SYNCED, 5_000, "a power cut"),
        (jetstream.LAZY, 50_000, "kill -9 of all"),
        (jetstream.SYNCED, 5_000, "a power cut"),
        (jetstream.BATCHED, 50_000, "a power cut"),
    )
)
_QUICK: Final = 20
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2


def answer(options: Options) -> Answer:
    """Measure the flood, then the other two questions."""
    place = file_system(disk_folder())
    outcomes = _floods(options)
    over = _ratios(outcomes)
    lines = [f"state on {place}", "", *_table(outcomes), ""]
    for name, values in over.items():
        middle, both = spread(values, ".3f")
        lines.append(f"{name} / {uwsgi.NAME}: {middle} ({both})")
    parts = (durable_turns.answer(options), durable_backlog.answer(options))
    for part in parts:
        lines += ["", f"{part.name}: {part.question}", "", *part.lines]
    data = {
        "file_system": place,
        "survive": {side.peer.NAME: side.survive for side in _SIDES},
        "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "over_uwsgi": over,
        "parts": {part.name: part.data for part in parts},
    }
    return Answer("durable", cli.question_of(__doc__), tuple(lines), data)


def _floods(options: Options) -> dict[str, Outcome[Round]]:
    sides = {side.peer.NAME: side for side in _SIDES if options.wants(side.peer)}
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)

    def round_of(peer: Peer) -> Round:
        usual = sides[peer.NAME].messages
        count = usual // _QUICK if options.is_quick else usual
        return flood(peer, options.messages or count)

    return play([side.peer for side in sides.values()], rounds, round_of)


def _ratios(outcomes: Mapping[str, Outcome[Round]]) -> dict[str, list[float]]:
    """Return the speed of all others over uWSGI's, round by round."""
    speeds = {
        name: [played.per_second for played in outcome.rounds]
        for name, outcome in outcomes.items()
        if outcome.failure is None
    }
    theirs = speeds.pop(uwsgi.NAME, None)
    if theirs is None:
        return {}
    return {name: ratios(ours, theirs) for name, ours in speeds.items()}


def _table(outcomes: Mapping[str, Outcome[Round]]) -> tuple[str, ...]:
    survive = {side.peer.NAME: side.survive for side in _SIDES}
    cpu = ("CPU us/message: sender", "middle", "receiver")
    heads = ("", "confirmed survive", "messages/s", "spread", *cpu)
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            why = outcome.failure.partition("\n")[0]
            rows.append((name, why, *[""] * (len(heads) - 2)))
            continue
        middles = [one.middle_us for one in outcome.rounds if one.middle_us is not None]
        rows.append(
            (
                name,
                survive[name],
                *spread([one.per_second for one in outcome.rounds]),
                f"{median(one.sender_us for one in outcome.rounds):.2f}",
                f"{median(middles):.2f}" if middles else "-",
                f"{median(one.receiver_us for one in outcome.rounds):.2f}",
            )
        )
    return table(heads, rows)


if __name__ == "__main__":
    cli.main({"durable": answer})
