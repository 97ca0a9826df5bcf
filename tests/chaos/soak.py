"""An hour of everything: ``make soak``, or ``python -m tests.chaos.soak --minutes 60``.

The long forms of what the tests do for a short while: chaos with one seed after the
other, 200 kills of the master for each kind of journal, 200 power cuts, disks that
fail; and beside them the stateful tests with many examples. What went wrong is told
with the command that repeats it.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos.programs import SKIPPED, Ended, run_program

__all__ = ("main",)

_EXAMPLES: Final = 20_000
_CHAOS_S: Final = 120
_COUNTS: Final = (
    "attempted",
    "confirmed",
    "delivered",
    "redelivered",
    "lost",
    "duplicated",
    "reordered",
    "unexpected",
    "revived",
)


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    words: tuple[object, ...]


def _fixed_runs(count: int) -> Iterator[_Run]:
    """Yield what has a length of its own; *count* is of kills and of cuts."""
    for durability in ("process", "disk"):
        yield _Run(
            f"kill -9, {durability}",
            ("tests.chaos.kill9", "--kills", count, "--durability", durability),
        )
    yield _Run("power cut, disk", ("tests.chaos.powercut", "--cuts", count))
    for name, seed in itertools.product(("fsync", "write", "slow"), range(5)):
        words = ("tests.chaos.injection", name, "--seed", seed)
        yield _Run(f"{name}, disk", words if seed % 2 else (*words, "--cut"))


def _chaos_runs(first_seed: int) -> Iterator[_Run]:
    """Yield runs without end."""
    kinds = itertools.cycle(("memory", "process", "disk"))
    profiles = itertools.cycle(("smoke", "soak"))
    for seed in itertools.count(first_seed):
        durability, profile = next(kinds), next(profiles)
        yield _Run(
            f"chaos, {durability}",
            (
                *("tests.chaos", "--seed", seed, "--duration", _CHAOS_S),
                *("--durability", durability, "--profile", profile),
            ),
        )


class _Summary:
    """What all runs of a name came to."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, int]] = {}
        self.failed: list[_Run] = []
        self.skipped: dict[str, str] = {}

    def add(self, run: _Run, ended: Ended) -> None:
        if ended.status == SKIPPED:
            self.skipped[run.name] = ended.errors.strip()
            return
        row = self._rows.setdefault(run.name, dict.fromkeys(("runs", *_COUNTS), 0))
        row["runs"] += 1
        if ended.status != 0:
            self.failed.append(run)
        if ended.output.startswith("{"):
            told, breaches = ended.outcome, ended.breaches
            for name in _COUNTS:
                row[name] += int(str(breaches.get(name, 0) or _count(told[name])))

    def lines(self) -> Iterator[str]:
        yield " ".join(["run".ljust(18), *(n.rjust(11) for n in ("runs", *_COUNTS))])
        for name, row in self._rows.items():
            cells = (f"{value:,}".rjust(11) for value in row.values())
            yield " ".join([name.ljust(18), *cells])
        yield from (f"not run: {name}: {why}" for name, why in self.skipped.items())
        yield from (f"FAILED: {_command(run)}" for run in self.failed)


def _count(value: object) -> int:
    """Return a number that was told; lists of messages are counted by the breaches."""
    return value if isinstance(value, int) else 0


def _command(run: _Run) -> str:
    return " ".join(["python -m", *map(str, run.words)])


def _stateful_tests(examples: int) -> subprocess.Popen[bytes]:
    # A dump of what takes long, made while it runs, may crash the interpreter.
    words = ["-q", "tests/sansio", "-k", "runTest", "-o", "faulthandler_timeout=0"]
    return subprocess.Popen(  # noqa: S603  (our own interpreter, no shell)
        [sys.executable, "-m", "pytest", *words],
        env={**os.environ, "PYMULE_TEST_EXAMPLES": str(examples)},
        stdout=sys.stderr,
    )


def main() -> int:
    """Run for so many minutes; return 0 if all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--count", type=int, default=200, help="of kills, of cuts")
    parser.add_argument("--examples", type=int, default=_EXAMPLES)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    summary = _Summary()
    with _stateful_tests(given.examples) as stateful:
        try:
            for run in itertools.chain(
                _fixed_runs(given.count), _chaos_runs(given.seed)
            ):
                if time.monotonic() + _CHAOS_S > end:
                    break
                _do(run, summary)
            status = stateful.wait()
        finally:
            stateful.kill()
    sys.stdout.write("\n".join(summary.lines()) + "\n")
    sys.stdout.write(f"stateful tests, {given.examples:,} examples: exit {status}\n")
    return 1 if summary.failed or status else 0


def _do(run: _Run, summary: _Summary) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {_command(run)}\n")
    ended = run_program(*map(str, run.words))
    summary.add(run, ended)
    if ended.status not in (0, SKIPPED):
        sys.stderr.write(f"{ended.output}\n{ended.errors[-2000:]}\n")


if __name__ == "__main__":
    sys.exit(main())
