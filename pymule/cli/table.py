"""Tables of plain text, and what is in their cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pymule.master.logs import escape_controls

__all__ = (
    "NOTHING",
    "Column",
    "Row",
    "duration_of",
    "painted",
    "plain",
    "render_table",
    "rows_of",
    "shown",
    "size_of",
)

Row = Mapping[str, object]
"""What a daemon tells of one thing; keys may be missing."""

NOTHING: Final = "-"
"""Stands for what there is not, or what a daemon does not tell."""

_BOLD: Final = "1"
_COLOURS: Final = {
    "up": "32",
    "running": "32",
    "open": "32",
    "backoff": "31",
    "failing": "31",
    "killing": "31",
}
_OTHER_COLOUR: Final = "33"

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and what it shows of a row."""

    title: str
    text: Callable[[Row], str]
    is_number: bool = False


def render_table(
    columns: Sequence[Column], rows: Sequence[Row], *, is_coloured: bool = False
) -> str:
    """Return *rows* under the titles of *columns*, without a newline at the end."""
    cells = [[column.text(row) for column in columns] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]

    def line(texts: Sequence[str], paint: Callable[[str, str], str]) -> str:
        parts = []
        for column, text, width in zip(columns, texts, widths, strict=True):
            gap = " " * (width - len(text))
            cell = paint(column.title, text)
            parts.append(gap + cell if column.is_number else cell + gap)
        return "  ".join(parts).rstrip()

    def painted_state(title: str, text: str) -> str:
        return painted(text, is_coloured=is_coloured and title == "STATE")

    def bold(_title: str, text: str) -> str:
        return _coded(text, _BOLD) if is_coloured else text

    return "\n".join([line(titles, bold), *(line(row, painted_state) for row in cells)])


def painted(state: str, *, is_coloured: bool) -> str:
    """Return a *state* in the colour that says how good it is."""
    return _coded(state, _COLOURS.get(state, _OTHER_COLOUR)) if is_coloured else state


def _coded(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def shown(value: object) -> str:
    """Return *value* as text that cannot drive a terminal."""
    if value is None or value == "":
        return NOTHING
    return escape_controls(str(value))


def plain(key: str) -> Callable[[Row], str]:
    """Return what shows the value of *key* as it is."""
    return lambda row: shown(row.get(key))


def duration_of(value: object) -> str:
    """Return seconds in words, to two units: ``3h 12m``."""
    if not isinstance(value, int | float):
        return NOTHING
    seconds = int(value)
    for unit, name, smaller, smaller_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "m"),
        (_MINUTE, "m", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit}{name} {seconds % unit // smaller}{smaller_name}"
    return f"{seconds}s"


def size_of(value: object) -> str:
    """Return bytes in words: ``24.4 MiB``."""
    if not isinstance(value, int):
        return NOTHING
    if value < _KIB:
        return f"{value} B"
    size = value / _KIB
    for unit in ("KiB", "MiB", "GiB"):
        # What would be rounded up to 1024.0 belongs to the next unit.
        if size < _KIB - 0.05:
            return f"{size:.1f} {unit}"
        size /= _KIB
    return f"{size:.1f} TiB"


def rows_of(status: Row, key: str) -> list[Row]:
    """Return the rows under *key* of an answer; none if there is something else."""
    rows = status.get(key)
    if not isinstance(rows, list):
        return []
    return [row for row in rows if isinstance(row, dict)]
