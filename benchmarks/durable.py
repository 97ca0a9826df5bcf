"""What does it cost to lose nothing?

As the throughput benchmark, with messages that survive what their row says, and against
systems made for that. See docs/performance.md.
"""

from dataclasses import asdict
from typing import Final

from benchmarks import cli
from benchmarks.disk import disk_folder, file_system
from benchmarks.floods import Side, play_floods, rate_plot, rate_table, rates
from benchmarks.peers import beanstalkd, jetstream, pymule_durable, uwsgi
from benchmarks.report import Answer, Budget, ratios
from benchmarks.rounds import Options, failures_of

__all__ = ("answer",)

_SIDES: Final = tuple(
    Side(*words)
    for words in (
        (pymule_durable.MEMORY, 500_000, "a mule's death"),
        (pymule_durable.PROCESS, 500_000, "kill -9 of all"),
        (pymule_durable.DISK, 500_000, "a power cut"),
        (uwsgi, 300_000, "nothing"),
        (beanstalkd.MEMORY, 30_000, "a worker's death"),
        (beanstalkd.BINLOG, 30_000, "a power cut but for 50 ms"),
        (beanstalkd.SYNCED, 3_000, "a power cut"),
        (jetstream.LAZY, 20_000, "kill -9 of all"),
        (jetstream.SYNCED, 3_000, "a power cut"),
        (jetstream.BATCHED, 20_000, "a power cut"),
    )
)
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_LEAST_OVER_UWSGI: Final = 1.0


def answer(options: Options) -> Answer:
    """Measure."""
    place = file_system(disk_folder())
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    outcomes = play_floods(_SIDES, rounds, options)
    theirs = rates(outcomes, uwsgi.NAME)
    over = {name: ratios(rates(outcomes, name), theirs) for name in outcomes}
    disk = pymule_durable.DISK.NAME
    budgets = (
        Budget(
            f"throughput, 128 B, {disk} to {uwsgi.NAME}",
            _LEAST_OVER_UWSGI,
            tuple(over.get(disk, ())),
            is_ceiling=False,
        ),
    )
    title = f"a flood of 128 bytes, state on {place}, {rounds} rounds"
    return Answer(
        "durable",
        cli.question_of(__doc__),
        (rate_table(title, _SIDES, outcomes, disk),),
        {
            "file_system": place,
            "survive": {side.peer.NAME: side.survive for side in _SIDES},
            "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
            "over_uwsgi": over,
        },
        (rate_plot("messages that survive what the table says", outcomes),),
        budgets,
        failures_of(outcomes),
    )


if __name__ == "__main__":
    cli.main({"durable": answer})
