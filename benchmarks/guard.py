"""Does a message still cost what it did? ``make guard``, a part of ``make check``.

Two looks at it that are repeatable where times on the clock are not: instructions of
the path without I/O, over those of ordinary Python; and CPU time of real processes,
over that of a plain queue's. What they are compared with is in ``guard.json``, for each
version of Python; ``make guard RENEW=1`` writes what is measured now.

``--prove`` plants a regression in each path besides, and fails if it is not seen.
"""

import argparse
import json
import platform
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypedDict

from benchmarks.cpu_cost import Planted, cost_over_queue
from benchmarks.instructions import (
    PATHS,
    CountsError,
    count,
    import_over_asyncio,
    planted,
    why_no_counts,
)
from benchmarks.programs.guarded import REFERENCE
from pymule.master.spawner import become_subreaper

__all__ = ("BASELINES", "Baseline", "Measured", "Verdict", "main", "verdict")

BASELINES: Final = Path(__file__).parent / "guard.json"

_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"

CPU: Final = "cpu"
"""The CPU time of real processes."""
IMPORT: Final = "import"
"""What ``import pymule`` takes."""

# Counts are repeatable to a thousandth, but for what else has changed in the file.
_TOLERANCE: Final = 0.08
# Of Python 3.11, a build with and one without optimisations differ by 8 %, 3.13 by 7 %.
_OTHER_BUILD_TOLERANCE: Final = 0.15
# With ten times as much to do as it can, a machine makes smaller batches: 0.2 for 0.17.
_CPU_TOLERANCE: Final = 0.75
_PLANTED_PERCENT: Final = 12.0

_WHAT_TO_DO: Final = """\
What to do: look at what the last commits add for each message (per batch is cheap, per
message is not). If the cost is worth it, `make guard RENEW=1` writes what is measured
now to benchmarks/guard.json; the commit message says what the cost is for."""


class Baseline(TypedDict):
    """What was measured with one version of Python.

    ``build`` says by what this Python was made; ``ratios`` has one for each path, and
    one for ``cpu``.
    """

    build: str
    ratios: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """One ratio.

    Attributes:
        name: Of the path.
        ratio: To the reference of the same run.
        detail: The same in units, for people.
    """

    name: str
    ratio: float
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One ratio, compared; *is_fine* unless it is a regression."""

    line: str
    is_fine: bool


class Look(Protocol):
    """One way to measure."""

    def why_not(self) -> str | None:
        """Return why it cannot be done here, or ``None``."""

    def measure(self) -> list[Measured]:
        """Return what is true now."""

    def measure_slowed(self) -> list[Measured]:
        """Return the same with a regression planted in each; after :meth:`measure`."""


class Instructions:
    """The paths without I/O."""

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}

    def why_not(self) -> str | None:
        """Return why nothing can be counted here."""
        return why_no_counts()

    def measure(self) -> list[Measured]:
        """Count."""
        self._counts = count()
        return [*_ratios(self._counts), _import()]

    def measure_slowed(self) -> list[Measured]:
        """Count with a little more work for each message."""
        units = planted(self._counts, _PLANTED_PERCENT)
        return [*_ratios(count((REFERENCE, *PATHS), units)), _import("planted")]


def _import(*words: str) -> Measured:
    return Measured(IMPORT, import_over_asyncio(*words), "of import asyncio's")


def _ratios(counts: Mapping[str, float]) -> list[Measured]:
    return [
        Measured(name, counts[name] / counts[REFERENCE], f"{counts[name]:,.0f} instr")
        for name in PATHS
    ]


class CpuTime:
    """Real processes."""

    def why_not(self) -> str | None:
        """Return ``None``: it can be measured everywhere."""
        return None

    def measure(self) -> list[Measured]:
        """Send a small flood."""
        return [Measured(CPU, cost_over_queue(), "of multiprocessing.Queue's")]

    def measure_slowed(self) -> list[Measured]:
        """Send it to a mule that takes its time."""
        return [Measured(CPU, cost_over_queue(Planted()), "with a slow mule")]


_LOOKS: Final[dict[str, Callable[[], Look]]] = {
    "instructions": Instructions,
    CPU: CpuTime,
}


def main(words: Sequence[str]) -> int:
    """Measure what *words* ask for; return the exit status."""
    asked = _parser().parse_args(words)
    looks = [asked.only] if asked.only else list(_LOOKS)
    is_fine = [
        _look(_LOOKS[name](), is_renewed=asked.renew, is_proved=asked.prove)
        for name in looks
    ]
    return int(not all(is_fine))


def _look(look: Look, *, is_renewed: bool, is_proved: bool) -> bool:
    """Measure, compare, print; return whether all is as it should be."""
    if (reason := look.why_not()) is not None:
        print(f"guard: not measured: {reason}")
        return True
    try:
        return _compare(look, is_renewed=is_renewed, is_proved=is_proved)
    except CountsError as exc:
        # Not the fault of what is measured: that its programs run, the tests see.
        print(f"guard: not measured: {exc}")
        return True


def _compare(look: Look, *, is_renewed: bool, is_proved: bool) -> bool:
    found = look.measure()
    if is_renewed:
        _renew(found)
    baseline = _baselines().get(_VERSION)
    compared = [verdict(one, baseline) for one in found]
    print(*(one.line for one in compared), sep="\n")
    if not all(one.is_fine for one in compared):
        print(_WHAT_TO_DO)
        return False
    return _is_seen(look, found) if is_proved else True


def _is_seen(look: Look, found: Sequence[Measured]) -> bool:
    """Plant a regression in everything; return whether all of it is seen."""
    sound = Baseline(build=_build(), ratios={one.name: one.ratio for one in found})
    slowed = [verdict(one, sound) for one in look.measure_slowed()]
    for one in slowed:
        print(f"planted {one.line}" if not one.is_fine else f"NOT SEEN {one.line}")
    return not any(one.is_fine for one in slowed)


def verdict(one: Measured, baseline: Baseline | None) -> Verdict:
    """Compare *one* with the *baseline* of this version of Python."""
    head = f"guard: {one.name:8}{one.ratio:8.3f}  {one.detail:26}"
    was = None if baseline is None else baseline["ratios"].get(one.name)
    if baseline is None or was is None:
        reason = f"nothing is known of Python {_VERSION}; RENEW=1 notes it"
        return Verdict(f"{head} {reason}", is_fine=True)
    tolerance = _tolerance(one.name, baseline["build"])
    change = one.ratio / was - 1
    told = f"{head} was {was:.3f}, {change:+.1%}, allowed {tolerance:+.0%}"
    if change > tolerance:
        return Verdict(f"{told}: TOO MUCH", is_fine=False)
    if change < -tolerance:
        return Verdict(f"{told}: cheaper; RENEW=1 keeps the gain", is_fine=True)
    return Verdict(told, is_fine=True)


def _tolerance(name: str, build: str) -> float:
    if name == CPU:
        return _CPU_TOLERANCE
    return _TOLERANCE if build == _build() else _OTHER_BUILD_TOLERANCE


def _build() -> str:
    """Return by what this Python was made, which decides about its instructions."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimised = "optimised" if "--enable-optimizations" in options else "plain"
    return (
        f"{platform.python_version()}, {platform.python_compiler()},"
        f" {platform.machine()}, {optimised}"
    )


def _baselines() -> dict[str, Baseline]:
    found: dict[str, Baseline] = json.loads(BASELINES.read_text())
    return found


def _renew(found: Sequence[Measured]) -> None:
    """Note what was *found* for this version of Python."""
    baselines = _baselines()
    before = baselines.get(_VERSION, Baseline(build="", ratios={}))["ratios"]
    ratios = before | {one.name: round(one.ratio, 3) for one in found}
    baselines[_VERSION] = Baseline(build=_build(), ratios=ratios)
    text = json.dumps(baselines, indent=2, sort_keys=True) + "\n"
    BASELINES.write_text(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard")
    parser.add_argument("--only", choices=list(_LOOKS), help="one of the two looks")
    parser.add_argument("--renew", action="store_true", help="write guard.json anew")
    parser.add_argument(
        "--prove", action="store_true", help="plant regressions, too, to be seen"
    )
    return parser


if __name__ == "__main__":
    # What a killed peer leaves behind becomes ours, to be waited for.
    become_subreaper()
    sys.exit(main(sys.argv[1:]))
