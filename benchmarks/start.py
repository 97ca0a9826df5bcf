"""How long does a mule take to start, alone and with a thousand others?

From the start of its process to ready, as the master sees it, against ``python -c
"import asyncio, uvloop"``; and what ``import pymule`` adds; see docs/performance.md.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.peers.pymule_file import (
    FORKSERVER,
    SPAWN,
    daemon_with,
    method_keys,
    refusal_of,
)
from benchmarks.report import Answer, Budget, Plot, Table, over, ratios, spread
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage

__all__ = ("Start", "answer", "start_of")

_ROOT: Final = Path(__file__).parent.parent
_PROGRAM: Final = "benchmarks.programs.takers:swallow"
_PRELOAD: Final = "benchmarks.programs.takers"
_COUNTS: Final = (1, 10, 100)
_QUICK_COUNTS: Final = (1, 4)
_THOUSAND: Final = 1_000
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_IMPORTS: Final = 10
_QUICK_IMPORTS: Final = 1
_READY_WITHIN_S: Final = 300.0
_LOOK_S: Final = 0.05
_MILLI: Final = 1e3
_MOST_OVER_BARE: Final = 1.5
_MOST_FORKED_MS: Final = 20
_MOST_IMPORT_MS: Final = 15
_IMPORTED: Final = {
    "import pymule": "import pymule",
    "a program's names": "from pymule import mule_get_msg, mule_msg",
    "a sender's names": "from pymule import farm_msg, flush",
}
_MOST_NAMES: Final = "a program's names"


@dataclass(frozen=True, slots=True)
class Start:
    """One start of so many mules at once.

    Attributes:
        first_s: From the start of the daemon until the first mule is ready.
        all_s: From the start of the daemon until all are.
        each_ms: From the last thing that the daemon does before its mules until all
            are ready, over their number.
        own_ms: Median of what a mule took from the start of its process to ready.
    """

    mules: int
    first_s: float
    all_s: float
    each_ms: float
    own_ms: float


Found = dict[str, list[Start]]
"""Rounds, by the way of starting."""


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of mules."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    counts: Sequence[int] = _QUICK_COUNTS if options.is_quick else _COUNTS
    if options.messages is not None:
        counts = (options.messages,)
    refusal = refusal_of(f"{method_keys(FORKSERVER, _PRELOAD)}[[mule]]\n")
    methods = [SPAWN] if refusal else [SPAWN, FORKSERVER]
    found: dict[int, Found] = {}
    bare: dict[int, list[float]] = {}
    failure = None
    try:
        for count in counts:
            found[count], bare[count] = _side_by_side(count, methods, rounds)
        is_whole = options.messages is None and not options.is_quick
        if is_whole:
            found[_THOUSAND], _ = _side_by_side(_THOUSAND, methods, 1, with_bare=False)
    except PeerError as exc:
        failure = str(exc)
    processes = _QUICK_IMPORTS if options.is_quick else _IMPORTS
    imports = {
        name: [_import_ms(line) for _ in range(processes)]
        for name, line in _IMPORTED.items()
    }
    own = {
        method: [start.own_ms for start in played]
        for method, played in found.get(1, {}).items()
    }
    spawn_to_bare = ratios(own.get(SPAWN, ()), bare.get(1, ()))
    data = {
        "failure": failure,
        "forkserver": refusal or "available",
        "mules": {
            count: {method: list(map(asdict, played)) for method, played in one.items()}
            for count, one in found.items()
        },
        "bare_ms": bare,
        "import_ms": imports,
        "one_spawned_over_bare": spawn_to_bare,
    }
    budgets = (
        Budget(
            "a mule's start to ready, spawn, to a bare python",
            _MOST_OVER_BARE,
            tuple(spawn_to_bare),
        ),
        Budget(
            "a mule's start to ready, forkserver",
            _MOST_FORKED_MS,
            tuple(own.get(FORKSERVER, ())),
            unit="ms",
            form=".0f",
        ),
        Budget(
            # With names, since the package loads them when they are used.
            f"{_IMPORTED[_MOST_NAMES]}, over import asyncio",
            _MOST_IMPORT_MS,
            tuple(imports[_MOST_NAMES]),
            unit="ms",
        ),
    )
    failures = [failure] if failure else []
    failures += [f"forkserver is not available: {refusal}"] if refusal else []
    return Answer(
        "start",
        cli.question_of(__doc__),
        (_table(found, bare), _import_table(imports)),
        data,
        (_plot(found, bare),) if found else (),
        budgets,
        tuple(failures),
    )


def start_of(lines: Sequence[str], began: float) -> Start | None:
    """Return what a log in JSON says of a start at wall time *began*.

    ``None`` until all mules are ready.

    Raises:
        PeerError: One of them ended.
    """
    events = [json.loads(line) for line in lines if line.startswith("{")]
    if any(one["event"] == "mule exited" for one in events):
        raise PeerError("a mule ended while the others started")
    if not any(one["event"] == "pymuled ready" for one in events):
        return None
    at = [datetime.fromisoformat(one["ts"]).timestamp() for one in events]
    ready = [when for when, one in zip(at, events, strict=True) if _is_ready(one)]
    listens = next(
        when
        for when, one in zip(at, events, strict=True)
        if one["event"] == "pymuled listens"
    )
    own = [float(one["start_s"]) for one in events if _is_ready(one)]
    return Start(
        mules=len(ready),
        first_s=min(ready) - began,
        all_s=max(ready) - began,
        each_ms=(max(ready) - listens) / len(ready) * _MILLI,
        own_ms=median(own) * _MILLI,
    )


def _is_ready(event: Mapping[str, object]) -> bool:
    return event["event"] == "mule ready"


def _side_by_side(
    count: int, methods: Sequence[str], rounds: int, *, with_bare: bool = True
) -> tuple[Found, list[float]]:
    found: Found = {method: [] for method in methods}
    bare = []
    for at in range(rounds):
        for method in methods:
            print(f"  round {at + 1} of {rounds}: {count} {method}", file=sys.stderr)
            found[method].append(_start(method, count))
        if with_bare:
            bare.append(_bare_ms(count))
    return found, bare


def _start(method: str, count: int) -> Start:
    text = (
        f'log_format = "json"\n{method_keys(method, _PRELOAD)}'
        f'[[mule]]\nprogram = "{_PROGRAM}"\ncount = {count}\nstart_timeout_s = 300\n'
    )
    began = time.time()
    with Stage("start", count) as stage, daemon_with(stage, text):
        deadline = time.monotonic() + _READY_WITHIN_S
        log = stage.folder / "pymuled.log"
        while (found := start_of(_whole_lines(log), began)) is None:
            if time.monotonic() > deadline:
                raise PeerError(f"not all are ready within {_READY_WITHIN_S:g} s")
            # A look at the log of many takes long; nobody may be held up by it.
            time.sleep(_LOOK_S + count / _MILLI)
        return found


def _whole_lines(log: Path) -> list[str]:
    return log.read_text().rpartition("\n")[0].splitlines()


def _bare_ms(count: int) -> float:
    """Return how long so many bare processes take, over their number."""
    words = (sys.executable, "-c", "import asyncio, uvloop")
    began = time.monotonic()
    processes = [
        subprocess.Popen(words, cwd=_ROOT)  # noqa: S603  (our own words, no shell)
        for _ in range(count)
    ]
    for process in processes:
        if process.wait():
            raise PeerError("a bare python ended badly; is uvloop here?")
    return (time.monotonic() - began) / count * _MILLI


def _import_ms(line: str) -> float:
    """Return what *line* takes in a process that has imported asyncio."""
    text = (
        "import asyncio; from time import perf_counter as clock; at = clock();"
        f"{line}; print((clock() - at) * {_MILLI})"
    )
    done = subprocess.run(  # noqa: S603  (our own words, no shell)
        (sys.executable, "-c", text),
        cwd=_ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return float(done.stdout)


def _table(found: Mapping[int, Found], bare: Mapping[int, Sequence[float]]) -> Table:
    columns = (
        "",
        "first ready s",
        "all ready s",
        "spread",
        "ms for each",
        "to bare",
        "start to ready ms",
        "spread",
    )
    rows = []
    for count, methods in found.items():
        for method, played in methods.items():
            row = (f"{count:,}, {method}", *_cells(played, bare.get(count, ())))
            rows.append(row)
        if count in bare:
            each = spread(bare[count], ",.1f")
            rows.append((f"{count:,}, bare", "", "", "", each[0], "1", *each))
    notes = (
        "Bare: so many times python -c 'import asyncio, uvloop' at once, to their end.",
        "First and all: from the start of the daemon, which has to load itself, too.",
    )
    return Table("so many mules at once", columns, tuple(rows), notes)


def _cells(played: Sequence[Start], bare: Sequence[float]) -> tuple[str, ...]:
    each = [one.each_ms for one in played]
    return (
        f"{median(one.first_s for one in played):.2f}",
        *spread([one.all_s for one in played], ".2f"),
        f"{median(each):,.1f}",
        over(each, bare),
        *spread([one.own_ms for one in played], ",.0f"),
    )


def _import_table(imports: Mapping[str, Sequence[float]]) -> Table:
    rows = tuple(
        (_IMPORTED[name], *spread(values, ".2f")) for name, values in imports.items()
    )
    title = "what an import takes where asyncio is loaded"
    return Table(title, ("", "ms", "spread"), rows)


def _plot(found: Mapping[int, Found], bare: Mapping[int, Sequence[float]]) -> Plot:
    labels = tuple(f"{count:,}" for count in found)
    series: dict[str, list[float | None]] = {
        method: [
            median(one.each_ms for one in played[method]) if method in played else None
            for played in found.values()
        ]
        for method in (SPAWN, FORKSERVER)
    }
    series["bare python"] = [
        median(bare[count]) if count in bare else None for count in found
    ]
    return Plot("mules at once, ms for each", "lines", labels, series, "ms")


if __name__ == "__main__":
    cli.main({"start": answer})
