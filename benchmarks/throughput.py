"""How many 128-byte messages a second get from one sender to one receiving process?

From the first send to the last message handled. Every receiver runs the same loop and
every process is warm; see docs/performance.md.
"""

from dataclasses import asdict
from typing import Final

from benchmarks import cli
from benchmarks.floods import Side, play_floods, rate_plot, rate_table, rates
from benchmarks.peers import pymule, queue, uwsgi, uwsgi_yielding
from benchmarks.report import Answer, Budget, ratios
from benchmarks.rounds import Options, failures_of

__all__ = ("answer",)

_SIDES: Final = (
    Side(pymule, 1_000_000, "the receiver's death"),
    Side(uwsgi, 500_000, "nothing"),
    Side(uwsgi_yielding, 500_000, "nothing"),
    Side(queue, 200_000, "nothing"),
)
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 3
_LEAST_OVER_UWSGI: Final = 2.0


def answer(options: Options) -> Answer:
    """Measure."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    outcomes = play_floods(_SIDES, rounds, options)
    ours = rates(outcomes, pymule.NAME)
    over = {name: ratios(ours, rates(outcomes, name)) for name in outcomes}
    budgets = (
        Budget(
            f"throughput, 128 B, {pymule.NAME} to {uwsgi.NAME}",
            _LEAST_OVER_UWSGI,
            tuple(over.get(uwsgi.NAME, ())),
            is_ceiling=False,
        ),
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
