"""How many no-op jobs a second does each job library get done, and take from a sender?

One producer, one worker: from the producer's first call to the end of the last job; and
then its calls alone, with a queue from which nothing is taken; see docs/performance.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.peers import job_libraries, pymule_jobs
from benchmarks.peers.job_libraries import JobLibrary
from benchmarks.peers.pymule_jobs import PymuleJobs
from benchmarks.report import (
    Answer,
    Plot,
    Table,
    absent,
    number,
    over,
    spread,
)
from benchmarks.rounds import Options, Outcome, Peer, failures_of, play, running
from benchmarks.usage import cpu_of_children

__all__ = ("AMOUNTS", "Amounts", "Round", "answer")


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many jobs: to be done, and to be sent in each way.

    Attributes:
        done: About a second.
        one_by_one: A third of a second, as the next ones.
        gathered: In thousands.
        in_bulk: In thousands; 0 where there is no such call.
    """

    done: int
    one_by_one: int
    gathered: int
    in_bulk: int = 0

    def over(self, divisor: int) -> "Amounts":
        """Return so many times fewer, but at least one of each kind that there is."""
        return Amounts(*(-(-count // divisor) for count in astuple(self)))


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one library.

    Attributes:
        cpu_us: Of all processes together, for each job that was done.
        one_by_one: Jobs a second that it takes, as the next ones.
    """

    jobs: int
    seconds: float
    per_second: float
    cpu_us: float
    one_by_one: float | None
    gathered: float | None
    in_bulk: float | None


_PEERS: Final[tuple[PymuleJobs | JobLibrary, ...]] = (
    *pymule_jobs.VARIANTS,
    *job_libraries.VARIANTS,
)
AMOUNTS: Final = {
    "pymule": Amounts(300_000, 3_000, 20_000, 200_000),
    "pymule, process": Amounts(300_000, 1_000, 20_000, 200_000),
    "pymule, disk": Amounts(300_000, 500, 20_000, 200_000),
    "pymule @mulefunc": Amounts(20_000, 2_000, 10_000),
    "taskiq": Amounts(3_000, 1_000, 2_000),
    "SAQ": Amounts(2_000, 2_000, 3_000),
    "streaq": Amounts(1_000, 1_000, 2_000, 5_000),
    "arq": Amounts(200, 1_000, 2_000),
    "dramatiq": Amounts(2_000, 2_000, 1_000),
    "huey, Redis": Amounts(4_000, 3_000, 2_000),
    "huey, SQLite": Amounts(1_000, 1_000, 1_000),
    "RQ": Amounts(120, 1_000, 1_000, 5_000),
    "Celery": Amounts(1_200, 800, 1_000),
}
_QUICK: Final = 20
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
# A round that is slower than this by far hangs.
_SLOWEST_PER_S: Final = 20
_MICRO: Final = 1e6


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of jobs, also of those that are only sent."""
    peers = [peer for peer in _PEERS if options.wants(peer)]
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    outcomes = play(peers, rounds, lambda peer: _round(peer, _amounts(peer, options)))
    by_name = {peer.NAME: peer for peer in peers}
    return Answer(
        "jobs",
        cli.question_of(__doc__),
        (_done(outcomes, by_name, rounds), _sent(outcomes, rounds)),
        {
            "peers": {name: asdict(outcome) for name, outcome in outcomes.items()},
            "settings": {peer.NAME: peer.settings for peer in peers},
        },
        (_plot(outcomes),),
        failures=failures_of(outcomes),
    )


def _round(peer: Peer, amounts: Amounts) -> Round:
    within = 30 + amounts.done / _SLOWEST_PER_S
    with running(peer, "jobs", amounts.done) as (stage, _):
        before = cpu_of_children()
        stage.note("go", **asdict(amounts))
        # Rarely looked at: there are only so many cores.
        done = stage.wait("done", within=within, step=0.02)
        cpu = cpu_of_children() - before
        taken = stage.wait("taken", within=30, step=0.02)
    seconds = number(done, "at") - number(done, "start")
    return Round(
        amounts.done,
        seconds,
        amounts.done / seconds,
        cpu / amounts.done * _MICRO,
        *(
            number(taken, way) if way in taken else None
            for way in ("one_by_one", "gathered", "in_bulk")
        ),
    )


def _amounts(peer: Peer, options: Options) -> Amounts:
    usual = AMOUNTS[peer.NAME]
    if (count := options.messages) is not None:
        return Amounts(count, count, count, min(count, usual.in_bulk))
    return usual.over(_QUICK) if options.is_quick else usual


def _values(
    outcomes: Mapping[str, Outcome[Round]],
    name: str,
    pick: Callable[[Round], float | None],
) -> list[float]:
    """Return a figure of each round; none where the library has no such call."""
    outcome = outcomes.get(name)
    if outcome is None or outcome.failure is not None:
        return []
    return [value for one in outcome.rounds if (value := pick(one)) is not None]


def _done(
    outcomes: Mapping[str, Outcome[Round]],
    peers: Mapping[str, PymuleJobs | JobLibrary],
    rounds: int,
) -> Table:
    columns = (
        "",
        "jobs/s",
        "spread",
        "pymule to it",
        "CPU us a job",
        "what is confirmed survives",
        "its worker",
    )
    ours = _values(outcomes, pymule_jobs.MEMORY.NAME, lambda one: one.per_second)
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append(absent(name, outcome.failure, len(columns)))
            continue
        speeds = outcome.values(lambda one: one.per_second)
        cpu = median(outcome.values(lambda one: one.cpu_us))
        peer = peers[name]
        rows.append(
            (
                name,
                *spread(speeds),
                over(ours, speeds, ",.1f"),
                f"{cpu:,.1f}",
                peer.survives,
                peer.settings,
            )
        )
    notes = (
        "Sent in the fastest way that it has: the bulk call, a gather, a loop.",
        "CPU is that of all processes: producer, worker, and the server between.",
    )
    title = (
        f"no-op jobs from the first call to the end of the last one, {rounds} rounds"
    )
    return Table(title, columns, tuple(rows), notes)


def _sent(outcomes: Mapping[str, Outcome[Round]], rounds: int) -> Table:
    columns = (
        "",
        "one by one",
        "spread",
        "gather of 1,000",
        "spread",
        "bulk",
        "spread",
    )
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append(absent(name, outcome.failure, len(columns)))
            continue
        rows.append(
            (
                name,
                *spread(_values(outcomes, name, lambda one: one.one_by_one)),
                *spread(_values(outcomes, name, lambda one: one.gathered)),
                *spread(_values(outcomes, name, lambda one: one.in_bulk)),
            )
        )
    notes = (
        "Each call, each thousand and each bulk of 1,000 is answered before the next.",
        "Calls that block are gathered in threads.",
    )
    return Table(f"jobs/s that are taken, {rounds} rounds", columns, tuple(rows), notes)


def _plot(outcomes: Mapping[str, Outcome[Round]]) -> Plot:
    ran = {name: one.rounds for name, one in outcomes.items() if not one.failure}
    series = {
        "done": tuple(median(one.per_second for one in all_) for all_ in ran.values()),
        "taken one by one": tuple(
            _median(_values(outcomes, name, lambda one: one.one_by_one)) for name in ran
        ),
    }
    return Plot(
        "no-op jobs, one producer, one worker", "bars", tuple(ran), series, "/s"
    )


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


if __name__ == "__main__":
    cli.main({"jobs": answer})
