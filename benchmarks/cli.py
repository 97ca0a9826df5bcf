"""The command line that all benchmarks share."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

from benchmarks.peers import (
    bare_file,
    beanstalkd,
    jetstream,
    pymule,
    pymule_def,
    pymule_durable,
    queue,
    relay,
    uwsgi,
    uwsgi_yielding,
)
from benchmarks.report import Answer, surroundings
from benchmarks.rounds import Options
from pymule.master.spawner import become_subreaper

__all__ = ("Benchmark", "main", "question_of", "run")

Benchmark = Callable[[Options], Answer]

_PEERS: Final = (
    *(peer.NAME for peer in (pymule, pymule_def, uwsgi, uwsgi_yielding, queue, relay)),
    *(peer.NAME for peer in pymule_durable.VARIANTS),
    *(peer.NAME for peer in bare_file.VARIANTS),
    *(peer.NAME for peer in beanstalkd.VARIANTS),
    *(peer.NAME for peer in jetstream.VARIANTS),
)
_RESULTS: Final = Path(__file__).parent / "results"


def main(benchmarks: Mapping[str, Benchmark]) -> NoReturn:
    """Run what the command line of this process asks for, and exit."""
    # Children are ended on the way out, so a SIGTERM must be a way out; and those that
    # a killed peer leaves behind become ours, to be waited for.
    signal.signal(signal.SIGTERM, _leave)
    become_subreaper()
    sys.exit(run(benchmarks, sys.argv[1:]))


def run(benchmarks: Mapping[str, Benchmark], words: Sequence[str]) -> int:
    """Ask the benchmarks that *words* name, print tables, write JSON; 1 on a failure.

    Without names, those in the environment's ``ONLY``; without that, all.
    """
    asked = _parser(benchmarks).parse_args(words)
    names = asked.names or os.environ.get("ONLY", "").split() or list(benchmarks)
    if unknown := [name for name in names if name not in benchmarks]:
        known = ", ".join(benchmarks)
        print(f"no benchmark {', '.join(unknown)}; there are {known}", file=sys.stderr)
        return os.EX_USAGE
    options = Options(
        asked.rounds, asked.messages, asked.quick, tuple(asked.peers or ())
    )
    around = surroundings()
    print(_sentence(around), end="\n\n")
    answers = []
    for name in names:
        answers.append(found := benchmarks[name](options))
        print(f"{found.name}: {found.question}", "", *found.lines, "", sep="\n")
    path = asked.json or _default_path(asked, benchmarks)
    if path is not None:
        _write(path, around, answers, is_quick=options.is_quick)
    return int(any(_failures(found.data) for found in answers))


def question_of(doc: str | None) -> str:
    """Return the first line of a module's docstring."""
    return (doc or "").partition("\n")[0]


def _parser(benchmarks: Mapping[str, Benchmark]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(benchmarks)}")
    parser.add_argument(
        "--quick", action="store_true", help="small numbers; no figures"
    )
    parser.add_argument("--rounds", type=_positive, help="for each peer")
    parser.add_argument("--messages", type=_positive, help="a round, for every peer")
    parser.add_argument(
        "--peers", action="append", choices=_PEERS, help="only this one; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _sentence(around: Mapping[str, object]) -> str:
    versions = around["versions"]
    assert isinstance(versions, dict), "made by surroundings"
    listed = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    changes = " with local changes" if around["has_local_changes"] else ""
    return (
        f"{around['machine']}; Linux {around['kernel']}; Python {around['python']}\n"
        f"{listed}; commit {around['commit']}{changes}; load {around['load_before']}"
    )


def _default_path(
    asked: argparse.Namespace, benchmarks: Mapping[str, Benchmark]
) -> Path | None:
    """Return where a whole run is kept; a look, or one benchmark alone, is not."""
    is_a_look = asked.quick or asked.rounds or asked.messages or asked.peers
    if is_a_look or len(benchmarks) == 1:
        return None
    return _RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"


def _write(
    path: Path,
    around: Mapping[str, object],
    answers: Sequence[Answer],
    *,
    is_quick: bool,
) -> None:
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "is_quick": is_quick,
        **around,
        "benchmarks": {
            found.name: {"question": found.question, **found.data} for found in answers
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written to {path}")


def _failures(data: Mapping[str, object]) -> list[object]:
    peers, parts = data.get("peers", {}), data.get("parts", {})
    assert isinstance(peers, dict), "made by the benchmark"
    assert isinstance(parts, dict), "made by the benchmark"
    failures = [data.get("failure"), *(one["failure"] for one in peers.values())]
    failures += [_failures(part) for part in parts.values()]
    return [failure for failure in failures if failure]


def _leave(signum: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signum)
