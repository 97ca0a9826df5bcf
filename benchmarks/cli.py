"""The command line that all benchmarks share."""

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from benchmarks.archive import RESULTS, Run
from benchmarks.catalog import Benchmark, peer_names
from benchmarks.report import Answer
from benchmarks.rounds import Options
from benchmarks.surroundings import sentence, surroundings
from benchmarks.text import lines_of
from pymule.master.spawner import become_subreaper

__all__ = ("main", "question_of", "run")


def main(benchmarks: Mapping[str, Benchmark]) -> NoReturn:
    """Run what the command line of this process asks for, and exit."""
    # Children are ended on the way out, so a SIGTERM must be a way out; and those that
    # a killed peer leaves behind become ours, to be waited for.
    signal.signal(signal.SIGTERM, _leave)
    become_subreaper()
    sys.exit(run(benchmarks, sys.argv[1:]))


def run(benchmarks: Mapping[str, Benchmark], words: Sequence[str]) -> int:
    """Ask the benchmarks that *words* name, print tables, write JSON; 1 on a failure.

    Without names, those in the environment's ``ONLY``; without that, all. A name stands
    for its group, too: ``durable`` for ``durable_turns``.
    """
    asked = _parser(benchmarks).parse_args(words)
    wanted = asked.names or os.environ.get("ONLY", "").replace(",", " ").split()
    if unknown := [name for name in wanted if not _of_group(name, benchmarks)]:
        known = ", ".join(benchmarks)
        print(f"no benchmark {', '.join(unknown)}; there are {known}", file=sys.stderr)
        return os.EX_USAGE
    names = [name for group in wanted for name in _of_group(group, benchmarks)]
    options = Options(
        asked.rounds, asked.messages, asked.quick, tuple(asked.peers or ())
    )
    around = surroundings()
    print(sentence(around), end="\n\n", flush=True)
    path = asked.json or _default_path(asked, benchmarks)
    kept = path and Run(path, around, is_quick=options.is_quick)
    is_complete, start = True, time.monotonic()
    for name in dict.fromkeys(names or benchmarks):
        began = time.monotonic()
        found = _ask(name, benchmarks[name], options)
        took_s = time.monotonic() - began
        print(*lines_of(found), "", f"it took {took_s:.0f} s", sep="\n", end="\n\n")
        sys.stdout.flush()
        if kept:
            kept.keep(found, took_s)
        is_complete = is_complete and not found.failures
    print(f"all of it took {time.monotonic() - start:.0f} s")
    if kept:
        print(f"written to {kept.path}")
    return int(not is_complete)


def question_of(doc: str | None) -> str:
    """Return the first line of a module's docstring."""
    return (doc or "").partition("\n")[0]


def _of_group(name: str, benchmarks: Mapping[str, Benchmark]) -> list[str]:
    return [one for one in benchmarks if one == name or one.startswith(f"{name}_")]


def _ask(name: str, benchmark: Benchmark, options: Options) -> Answer:
    try:
        return benchmark(options)
    # One that is broken must not take the answers of those after it.
    except Exception as exc:  # noqa: BLE001
        traceback.print_exc()
        question = question_of(sys.modules[benchmark.__module__].__doc__)
        why = f"{name} is broken: {type(exc).__name__}: {exc}"
        return Answer(name, question, (), failures=(why,))


def _parser(benchmarks: Mapping[str, Benchmark]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(benchmarks)}")
    parser.add_argument(
        "--quick",
        action="store_true",
        default=bool(os.environ.get("QUICK")),
        help="small numbers, no figures; so does QUICK=1 in the environment",
    )
    parser.add_argument("--rounds", type=_positive, help="for each peer")
    parser.add_argument("--messages", type=_positive, help="a round, for every peer")
    parser.add_argument(
        "--peers",
        action="append",
        choices=peer_names(),
        metavar="PEER",
        help="only this one; repeatable",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _default_path(
    asked: argparse.Namespace, benchmarks: Mapping[str, Benchmark]
) -> Path | None:
    """Return where a run is kept; a look, or one module by itself, is not."""
    is_a_look = asked.quick or asked.rounds or asked.messages or asked.peers
    if is_a_look or len(benchmarks) == 1:
        return None
    return RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"


def _leave(signum: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signum)
