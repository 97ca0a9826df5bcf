"""How many 128-byte messages a second get from one sender to one receiving process?

From the first send to the last message handled. Every receiver runs the same loop and
every process is warm; see docs/performance.md.
"""

from dataclasses import asdict
from typing import Final

from benchmarks import cli
from benchmarks.floods import Side, play_floods, rate_plot, rate_table, rates
from benchmarks.peers import (
    beanstalkd,
    jetstream,
    nats_core,
    process_pool,
    pymule,
    queue,
    redis_list,
    uwsgi,
    uwsgi_yielding,
    zeromq,
)
from benchmarks.report import Answer, Budget, ratios
from benchmarks.rounds import Options, failures_of

__all__ = ("answer",)

_SIDES: Final = (
    Side(pymule, 1_000_000, "the receiver's death"),
    Side(uwsgi, 500_000, "nothing"),
    Side(uwsgi_yielding, 500_000, "nothing"),
    Side(zeromq.BLOCKING, 1_000_000, "nothing"),
    Side(zeromq.ASYNC, 100_000, "nothing"),
    Side(queue, 200_000, "nothing"),
    Side(process_pool, 8_000, "nothing"),
    Side(redis_list.SINGLE, 8_000, "nothing"),
    Side(redis_list.BULK, 500_000, "nothing"),
    Side(nats_core, 150_000, "nothing"),
    Side(beanstalkd.MEMORY, 30_000, "the receiver's death"),
    Side(jetstream.LAZY, 20_000, "kill -9 of all"),
)
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 3
_LEAST_OVER: Final = {uwsgi.NAME: 2.0, zeromq.BLOCKING.NAME: 0.8}
"""What is wanted of pymule's speed over theirs, in the same round."""


def answer(options: Options) -> Answer:
    """Measure."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    outcomes = play_floods(_SIDES, rounds, options)
    ours = rates(outcomes, pymule.NAME)
    over = {name: ratios(ours, rates(outcomes, name)) for name in outcomes}
    budgets = tuple(
        Budget(
            f"throughput, 128 B, {pymule.NAME} to {name}",
            least,
            tuple(over.get(name, ())),
            is_ceiling=False,
        )
        for name, least in _LEAST_OVER.items()
    )
    title = f"128 bytes, one sender, one receiver, {rounds} rounds"
    return Answer(
        "throughput",
        cli.question_of(__doc__),
        (rate_table(title, _SIDES, outcomes, pymule.NAME),),
        {
            "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
            "pymule_over": over,
        },
        (rate_plot("128-byte messages from process to process", outcomes),),
        budgets,
        failures_of(outcomes),
    )


if __name__ == "__main__":
    cli.main({"throughput": answer})
