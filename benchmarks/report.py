"""What a benchmark hands in, and the arithmetic behind it.

An answer has tables, plots and budgets. The terminal and docs/performance.md are both
rendered from them, so a new benchmark needs no code for either.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal

from benchmarks.notes import Note

__all__ = (
    "Answer",
    "Budget",
    "Plot",
    "Table",
    "absent",
    "floats",
    "number",
    "over",
    "percentile",
    "ratios",
    "span",
    "spread",
)

_NOT_MEASURED: Final = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as people read them; what they were made of is in the answer's data.

    Attributes:
        columns: Heads; the first column names the row, and its head may be empty.
        notes: Sentences below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture of some figures.

    Attributes:
        kind: ``bars``, one for each label and series, or ``lines``, one for each series
            with the labels along it.
        labels: Names of peers, or steps of what is varied.
        series: For each, a value at every label, or ``None`` where there is none.
        unit: Of the values.
    """

    title: str
    kind: Literal["bars", "lines"]
    labels: tuple[str, ...]
    series: Mapping[str, Sequence[float | None]]
    unit: str
    is_log: bool = True


@dataclass(frozen=True, slots=True)
class Budget:
    """What DESIGN wants of a figure.

    Attributes:
        values: One for each round; their median counts. Empty if it was not measured.
        is_ceiling: Whether the limit is the most; else it is the least.
        form: How the numbers are written.
    """

    what: str
    limit: float
    values: tuple[float, ...]
    is_ceiling: bool = True
    unit: str = ""
    form: str = ".2f"

    @property
    def is_met(self) -> bool | None:
        """Whether the median keeps to it; ``None`` if it was not measured."""
        if not self.values:
            return None
        found = median(self.values)
        return found <= self.limit if self.is_ceiling else found >= self.limit


@dataclass(frozen=True, slots=True)
class Answer:
    """What one benchmark found.

    Attributes:
        name: Its module.
        question: The first line of its module.
        data: All figures, also those that the tables leave out, as JSON takes them.
        failures: What did not run, and why.
    """

    name: str
    question: str
    tables: tuple[Table, ...]
    data: Mapping[str, object] = field(default_factory=dict)
    plots: tuple[Plot, ...] = ()
    budgets: tuple[Budget, ...] = ()
    failures: tuple[str, ...] = ()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that *share* of them do not exceed, by nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float], form: str = ",.0f") -> tuple[str, str]:
    """Return the median, and the least and the greatest, as text."""
    if not values:
        return _NOT_MEASURED, _NOT_MEASURED
    return (
        f"{median(values):{form}}",
        f"{min(values):{form}} to {max(values):{form}}",
    )


def span(values: Sequence[float], form: str = ",.0f") -> str:
    """Return the same in one cell, as in ``1.83 (1.47 to 1.96)``."""
    middle, both = spread(values, form)
    return f"{middle} ({both})" if values else _NOT_MEASURED


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return our figure over theirs, round by round; none if one side has none."""
    if not ours or not theirs:
        return []
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def over(ours: Sequence[float], theirs: Sequence[float], form: str = ".2f") -> str:
    """Return a cell with the ratios of the same rounds; to itself it is 1."""
    if ours and ours == theirs:
        return "1"
    return span(ratios(ours, theirs), form)


def absent(name: str, why: str, width: int) -> tuple[str, ...]:
    """Return the row of a peer that did not run, *width* cells wide."""
    return (name, why.partition("\n")[0], *[""] * (width - 2))


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
