"""Does a farm keep all of its slots at work, and a fast job from waiting for slow ones?

Eight slots. First jobs of 50 ms each, all sent at once: how long until the last one is
done, to what eight slots need at least. Then, at 400 a second, jobs of 1 ms with every
tenth of 100 ms: how long does a fast one wait for its first line; see
docs/performance.md.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.mixture import PERIOD_S, ideal_s, is_fast
from benchmarks.peers import job_libraries, pymule_jobs
from benchmarks.peers.job_libraries import JobLibrary
from benchmarks.peers.pymule_jobs import PymuleJobs
from benchmarks.report import Answer, Budget, Table, absent, number, percentile, spread
from benchmarks.rounds import Options, Outcome, Peer, failures_of, play, running
from benchmarks.sheet import WARM_UP_JOBS, Sheet
from benchmarks.usage import cpu_of_children

__all__ = ("Round", "answer", "judge")

_PEERS: Final[tuple[PymuleJobs | JobLibrary, ...]] = (
    pymule_jobs.MEMORY,
    job_libraries.PROCESS_POOL,
    job_libraries.TASKIQ,
    job_libraries.CELERY,
)
_TOGETHER: Final = 120
_MIXED: Final = 400
_QUICK: Final = 5
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_MOST_OVER_IDEAL: Final = 1.1
_WITHIN_S: Final = 60.0
_MILLI: Final = 1e3


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one peer.

    Attributes:
        over_ideal: Time until the last of the jobs sent together, to the least time.
        most_by_one: Of them, how many the busiest process did.
        least_by_one: And how many the laziest one that did any.
        wait_p50_ms: From the planned time of a fast job to its first line.
        cpu_us: Of all processes together, for each job.
    """

    over_ideal: float
    most_by_one: int
    least_by_one: int
    wait_p50_ms: float
    wait_p99_ms: float
    wait_max_ms: float
    cpu_us: float


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of mixed jobs."""
    peers = [peer for peer in _PEERS if options.wants(peer)]
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    divisor = _QUICK if options.is_quick else 1
    mixed = options.messages or _MIXED // divisor
    outcomes = play(
        peers, rounds, lambda peer: _round(peer, _TOGETHER // divisor, mixed)
    )
    ours = outcomes.get(pymule_jobs.MEMORY.NAME)
    budget = Budget(
        "a farm of 8 mules, jobs of 50 ms: the last one, to ideal",
        _MOST_OVER_IDEAL,
        tuple(ours.values(lambda one: one.over_ideal)) if ours else (),
    )
    return Answer(
        "slow",
        cli.question_of(__doc__),
        (_table(outcomes, rounds),),
        {"peers": {name: asdict(outcome) for name, outcome in outcomes.items()}},
        budgets=(budget,),
        failures=failures_of(outcomes),
    )


def _round(peer: Peer, together: int, mixed: int) -> Round:
    count = together + mixed
    with running(peer, "slow", count) as (stage, _):
        before = cpu_of_children()
        stage.note("go", together=together)
        # Rarely looked at: there are only so many cores.
        done = stage.wait("done", within=_WITHIN_S, step=0.05)
        cpu = cpu_of_children() - before
        sheet = Sheet(stage.folder, count)
        return judge(sheet, together, number(done, "start"), cpu)


def judge(sheet: Sheet, together: int, start: float, cpu_s: float) -> Round:
    """Return what the *sheet* of a round says, in which *together* jobs come first."""
    ends = sheet.measured(sheet.ended)[:together]
    shares = Counter(sheet.measured(sheet.worker)[:together]).values()
    first = WARM_UP_JOBS + together
    waits = [
        (sheet.began[row] - sheet.planned[row]) * _MILLI
        for row in range(first, sheet.size)
        if is_fast(row - first)
    ]
    return Round(
        over_ideal=(max(ends) - start) / ideal_s(together),
        most_by_one=max(shares),
        least_by_one=min(shares),
        wait_p50_ms=percentile(waits, 0.5),
        wait_p99_ms=percentile(waits, 0.99),
        wait_max_ms=max(waits),
        cpu_us=cpu_s / (sheet.size - WARM_UP_JOBS) * 1e6,
    )


def _table(outcomes: Mapping[str, Outcome[Round]], rounds: int) -> Table:
    columns = (
        "",
        "50 ms jobs: last to ideal",
        "spread",
        "by one process",
        "mixed: wait of fast ones p50 ms",
        "p99 ms",
        "spread",
        "max ms",
        "CPU us a job",
    )
    rows = []
    for name, outcome in outcomes.items():
        if outcome.failure is not None:
            rows.append(absent(name, outcome.failure, len(columns)))
            continue
        least = min(one.least_by_one for one in outcome.rounds)
        most = max(one.most_by_one for one in outcome.rounds)
        rows.append(
            (
                name,
                *spread(outcome.values(lambda one: one.over_ideal), ".2f"),
                f"{least} to {most}",
                f"{median(one.wait_p50_ms for one in outcome.rounds):,.2f}",
                *spread(outcome.values(lambda one: one.wait_p99_ms), ",.1f"),
                f"{max(one.wait_max_ms for one in outcome.rounds):,.1f}",
                f"{median(one.cpu_us for one in outcome.rounds):,.0f}",
            )
        )
    notes = (
        f"Mixed: one each {PERIOD_S * 1e3:g} ms; from its planned time on.",
        "taskiq has one process, with eight tasks at a time.",
    )
    title = (
        f"8 slots: {_TOGETHER} jobs of 50 ms, then {_MIXED} mixed ones, {rounds} rounds"
    )
    return Table(title, columns, tuple(rows), notes)


if __name__ == "__main__":
    cli.main({"slow": answer})
