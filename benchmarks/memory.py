"""How much memory do an idle master and its mules take?

A mule against a process that has imported asyncio and uvloop and does nothing; light
ones, and those of an application that imports and keeps a lot; see docs/performance.md.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Final

import psutil

from benchmarks import cli
from benchmarks.peers.pymule_file import (
    FORKSERVER,
    SPAWN,
    daemon_with,
    method_keys,
    refusal_of,
)
from benchmarks.report import Answer, Budget, Plot, Table, number, spread
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage

__all__ = ("Weight", "answer", "weight_of")

_PROCESSES: Final = 4
_QUICK_PROCESSES: Final = 2
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
# What is freed at the end of a start is given back by then.
_SETTLE_S: Final = 0.3
_KIBI: Final = 1024
_LIGHT: Final = "benchmarks.programs.sitters"
_HEAVY: Final = "benchmarks.programs.heavy_sitters"
_MASTER: Final = "master"
_BARE: Final = "bare process"
_HEAVY_BARE: Final = "bare process, heavy"
_FIELDS: Final = {"Rss": "rss", "Pss": "pss", "Private_Dirty": "own"}
_SPAWNED: Final = "mule, spawn"
_FORKED: Final = "mule, forkserver"
_SERVER: Final = ": its server"
_MOST_MASTER: Final = 45
_MOST_MULE: Final = 6


@dataclass(frozen=True, slots=True)
class Weight:
    """What a process takes, in MiB.

    Attributes:
        rss: What is resident, shared or not.
        pss: The same, with each shared page divided by those that share it.
        own: What it has written, and so has for itself.
    """

    rss: float
    pss: float
    own: float


Weights = dict[str, list[Weight]]
"""Rounds of each kind of process; of several alike the mean."""


def answer(options: Options) -> Answer:
    """Measure; ``messages`` is the number of processes of each kind."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    usual = _QUICK_PROCESSES if options.is_quick else _PROCESSES
    count = options.messages or usual
    refusal = refusal_of(f"{method_keys(FORKSERVER, _LIGHT)}[[mule]]\n")
    weights: Weights = {}
    failure = None
    try:
        for at in range(rounds):
            print(f"  round {at + 1} of {rounds}", file=sys.stderr)
            for name, weight in _round(count, has_forkserver=not refusal).items():
                weights.setdefault(name, []).append(weight)
    except PeerError as exc:
        failure = str(exc)
    more = _over(weights)
    data = {
        "failure": failure,
        "processes": count,
        "forkserver": refusal or "available",
        "mib": {name: list(map(asdict, found)) for name, found in weights.items()},
        "mule_over_bare_mib": more,
    }
    failures = [failure] if failure else []
    failures += [f"forkserver is not available: {refusal}"] if refusal else []
    return Answer(
        "memory",
        cli.question_of(__doc__),
        (_table(weights, more, f"{rounds} rounds, {count} processes of each kind"),),
        data,
        (_plot(weights),),
        _budgets(weights, more),
        tuple(failures),
    )


def weight_of(pid: int) -> Weight:
    """Return what the kernel says of *pid*."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        field, _, rest = line.partition(":")
        if field in _FIELDS:
            found[_FIELDS[field]] = int(rest.split()[0]) / _KIBI
    return Weight(**found)


def _round(count: int, *, has_forkserver: bool) -> dict[str, Weight]:
    found = {
        _BARE: _bare(_LIGHT, count),
        _HEAVY_BARE: _bare(_HEAVY, count),
        **_mules(SPAWN, _LIGHT, count, _SPAWNED),
        **_mules(SPAWN, _HEAVY, count, f"{_SPAWNED}, heavy"),
    }
    if has_forkserver:
        found |= _mules(FORKSERVER, _LIGHT, count, _FORKED)
        found |= _mules(FORKSERVER, _HEAVY, count, f"{_FORKED}, heavy")
    return found


def _bare(module: str, count: int) -> Weight:
    with Stage("memory", count) as stage:
        for at in range(count):
            stage.start_python(module, str(at + 1))
        return _mean([weight_of(pid) for pid in _settled(stage, count)])


def _mules(method: str, module: str, count: int, name: str) -> dict[str, Weight]:
    text = (
        f"{method_keys(method, module)}"
        f'[[mule]]\nprogram = "{module}:sit"\ncount = {count}\n'
    )
    with Stage("memory", count) as stage, daemon_with(stage, text) as master:
        pids = _settled(stage, count)
        found = {name: _mean(list(map(weight_of, pids)))}
        if method == SPAWN and module == _LIGHT:
            found[_MASTER] = weight_of(master)
        # The forkserver, and whoever else there is.
        family = psutil.Process(master).children(recursive=True)
        others = [child.pid for child in family if child.pid not in pids]
        return found | {f"{name}{_SERVER}": weight_of(pid) for pid in others}


def _settled(stage: Stage, count: int) -> list[int]:
    notes = [stage.wait(f"up-{at + 1}") for at in range(count)]
    time.sleep(_SETTLE_S)
    return [int(number(note, "pid")) for note in notes]


def _mean(weights: list[Weight]) -> Weight:
    columns: tuple[Callable[[Weight], float], ...] = (
        lambda one: one.rss,
        lambda one: one.pss,
        lambda one: one.own,
    )
    return Weight(*(mean(map(column, weights)) for column in columns))


def _over(weights: Weights) -> dict[str, dict[str, list[float]]]:
    """Return what each kind of mule takes more than the bare process like it."""
    over = {}
    for name, found in weights.items():
        bare = weights.get(_HEAVY_BARE if "heavy" in name else _BARE, [])
        if not name.startswith("mule") or name.endswith(_SERVER) or not bare:
            continue
        both = list(zip(found, bare, strict=False))
        over[name] = {
            "rss": [mule.rss - other.rss for mule, other in both],
            "pss": [mule.pss - other.pss for mule, other in both],
        }
    return over


def _table(
    weights: Weights, more: Mapping[str, Mapping[str, Sequence[float]]], title: str
) -> Table:
    columns = (
        "",
        "RSS MiB",
        "spread",
        "PSS MiB",
        "spread",
        "written MiB",
        "RSS over bare",
        "PSS over bare",
    )
    rows = []
    for name, found in weights.items():
        over_bare = [f"{median(values):.1f}" for values in more.get(name, {}).values()]
        rows.append(
            (
                name,
                *spread([one.rss for one in found], ".1f"),
                *spread([one.pss for one in found], ".1f"),
                f"{median(one.own for one in found):.1f}",
                *(over_bare or ["", ""]),
            )
        )
    notes = (
        "PSS: a shared page is divided by those that share it.",
        "Written: what it has for itself.",
        "Heavy: an application that imports pydantic and typer and keeps a table.",
    )
    return Table(title, columns, tuple(rows), notes)


def _plot(weights: Weights) -> Plot:
    series = {
        "RSS": [median(one.rss for one in found) for found in weights.values()],
        "PSS": [median(one.pss for one in found) for found in weights.values()],
    }
    return Plot(
        "memory of a process", "bars", tuple(weights), series, "MiB", is_log=False
    )


def _budgets(
    weights: Weights, more: Mapping[str, Mapping[str, Sequence[float]]]
) -> tuple[Budget, ...]:
    master = tuple(one.rss for one in weights.get(_MASTER, ()))
    found = [
        Budget("master, idle, resident", _MOST_MASTER, master, unit="MiB", form=".1f")
    ]
    for name in (_SPAWNED, _FORKED):
        values = tuple(more.get(name, {}).get("rss", ()))
        what = f"{name}, resident, over a bare process"
        found.append(Budget(what, _MOST_MULE, values, unit="MiB", form=".1f"))
    return tuple(found)


if __name__ == "__main__":
    cli.main({"memory": answer})
