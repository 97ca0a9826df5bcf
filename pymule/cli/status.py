"""The status of the daemon as a person reads it: tables of plain text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pymule.master.logs import escape_controls

__all__ = ("render_status",)

Row = Mapping[str, object]

_NOTHING: Final = "-"
_BOLD: Final = "1"
_COLOURS: Final = {
    "up": "32",
    "running": "32",
    "backoff": "31",
    "failing": "31",
    "killing": "31",
}
_OTHER_COLOUR: Final = "33"

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_KIB: Final = 1024


def render_status(status: Row, *, is_coloured: bool = False) -> str:
    """Return the text that ``pymule status`` shows for the answer *status*.

    What a newer or older daemon does not tell is shown as ``-``. Nothing in it can
    drive a terminal, whatever clients and programs call themselves.

    Args:
        status: As described in ``docs/operations.md``.
        is_coloured: For a terminal.
    """
    parts = [
        _summary(status, is_coloured=is_coloured),
        _table(_MULE_COLUMNS, _rows(status, "mules"), is_coloured=is_coloured),
        _table(_QUEUE_COLUMNS, _rows(status, "queues"), is_coloured=is_coloured),
        _clients(_rows(status, "clients")),
    ]
    for key, columns in (("signals", _SIGNAL_COLUMNS), ("locks", _LOCK_COLUMNS)):
        if rows := _rows(status, key):
            parts.insert(-1, _table(columns, rows, is_coloured=is_coloured))
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    text: Callable[[Row], str]
    is_number: bool = False


def _summary(status: Row, *, is_coloured: bool) -> str:
    state = _painted(_text(status.get("state")), is_coloured=is_coloured)
    words = [
        f"pymuled {_text(status.get('version'))}",
        state,
        f"pid {_text(status.get('pid'))}",
        f"up {_duration(status.get('uptime_s'))}",
        _size(status.get("rss_bytes")),
        _text(status.get("socket")),
    ]
    lines = ["  ".join(words)]
    if error := status.get("config_error"):
        lines += [
            f"last reload failed: {escape_controls(line)}"
            for line in str(error).splitlines()
        ]
    return "\n".join(lines)


def _rows(status: Row, key: str) -> list[Row]:
    rows = status.get(key)
    if not isinstance(rows, list):
        return []
    return [row for row in rows if isinstance(row, dict)]


def _table(
    columns: Sequence[_Column], rows: Sequence[Row], *, is_coloured: bool
) -> str:
    cells = [[column.text(row) for column in columns] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]

    def line(texts: Sequence[str], paint: Callable[[str, str], str]) -> str:
        parts = []
        for column, text, width in zip(columns, texts, widths, strict=True):
            gap = " " * (width - len(text))
            shown = paint(column.title, text)
            parts.append(gap + shown if column.is_number else shown + gap)
        return "  ".join(parts).rstrip()

    def painted_state(title: str, text: str) -> str:
        return _painted(text, is_coloured=is_coloured and title == "STATE")

    def bold(_title: str, text: str) -> str:
        return _coded(text, _BOLD) if is_coloured else text

    return "\n".join([line(titles, bold), *(line(row, painted_state) for row in cells)])


def _clients(clients: Sequence[Row]) -> str:
    shown = ", ".join(
        f"{_text(client.get('name'))} (pid {_text(client.get('pid'))},"
        f" user {_text(client.get('uid'))})"
        for client in clients
    )
    return f"clients: {shown or 'none'}"


def _painted(state: str, *, is_coloured: bool) -> str:
    return _coded(state, _COLOURS.get(state, _OTHER_COLOUR)) if is_coloured else state


def _coded(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _text(value: object) -> str:
    if value is None or value == "":
        return _NOTHING
    return escape_controls(str(value))


def _plain(key: str) -> Callable[[Row], str]:
    return lambda row: _text(row.get(key))


def _farms(row: Row) -> str:
    farms = row.get("farms")
    return _text(",".join(map(str, farms)) if isinstance(farms, list) else None)


def _last_exit(row: Row) -> str:
    last = row.get("last_exit")
    if not isinstance(last, dict):
        return _NOTHING
    error = last.get("error")
    if not isinstance(error, dict):
        return _text(last.get("reason"))
    first_line = str(error.get("text", "")).partition("\n")[0]
    return _text(f"{error.get('type')}: {first_line}")


def _source(row: Row) -> str:
    """Return what raises a signal by itself: ``every 30 s``."""
    match row.get("source"):
        case {"kind": "timer", "every": int(every) | float(every)}:
            return f"every {every:g} s"
        case {"kind": "cron", "spec": list(numbers)}:
            return f"cron {_text(' '.join(map(str, numbers)))}"
        case {"kind": "cron", "spec": spec}:
            return f"cron {_text(spec)}"
        case {"kind": "filemon", "path": path}:
            return f"change of {_text(path)}"
        case _:
            return _NOTHING


def _duration(value: object) -> str:
    """Return seconds in words, to two units: ``3h 12m``."""
    if not isinstance(value, int | float):
        return _NOTHING
    seconds = int(value)
    for unit, name, smaller, smaller_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "m"),
        (_MINUTE, "m", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit}{name} {seconds % unit // smaller}{smaller_name}"
    return f"{seconds}s"


def _size(value: object) -> str:
    """Return bytes in words: ``24.4 MiB``."""
    if not isinstance(value, int):
        return _NOTHING
    if value < _KIB:
        return f"{value} B"
    size = value / _KIB
    for unit in ("KiB", "MiB", "GiB"):
        # What would be rounded up to 1024.0 belongs to the next unit.
        if size < _KIB - 0.05:
            return f"{size:.1f} {unit}"
        size /= _KIB
    return f"{size:.1f} TiB"


_MULE_COLUMNS: Final = (
    _Column("ID", _plain("id"), is_number=True),
    _Column("NAME", _plain("name")),
    _Column("MODE", _plain("mode")),
    _Column("FARMS", _farms),
    _Column("STATE", _plain("state")),
    _Column("PID", _plain("pid"), is_number=True),
    _Column("UP", lambda row: _duration(row.get("uptime_s")), is_number=True),
    _Column("RESTARTS", _plain("restarts"), is_number=True),
    _Column("HANDLED", _plain("handled"), is_number=True),
    _Column("IN HAND", _plain("in_hand"), is_number=True),
    _Column("RSS", lambda row: _size(row.get("rss_bytes")), is_number=True),
    _Column("LAST EXIT", _last_exit),
)

_SIGNAL_COLUMNS: Final = (
    _Column("SIGNAL", _plain("signal"), is_number=True),
    _Column("TARGET", _plain("target")),
    _Column("HANDLER", _plain("handler")),
    _Column("RAISED BY", _source),
    _Column("DUE", _plain("due"), is_number=True),
    _Column("RUNNING", _plain("running"), is_number=True),
    _Column("DONE", _plain("handled"), is_number=True),
    _Column("FAILED", _plain("failed"), is_number=True),
    _Column("SKIPPED", _plain("skipped"), is_number=True),
)

_QUEUE_COLUMNS: Final = (
    _Column("QUEUE", _plain("target")),
    _Column("READY", _plain("ready"), is_number=True),
    _Column("LEASED", _plain("leased"), is_number=True),
    _Column("DELAYED", _plain("delayed"), is_number=True),
    _Column("WAITING", _plain("waiting"), is_number=True),
    _Column("DEAD", _plain("dead"), is_number=True),
    _Column("DONE", _plain("acked"), is_number=True),
    _Column("BYTES", lambda row: _size(row.get("bytes")), is_number=True),
)

_LOCK_COLUMNS: Final = (
    _Column("LOCK", _plain("name")),
    _Column("HOLDER", _plain("holder")),
    _Column("PID", _plain("pid"), is_number=True),
    _Column("HELD", lambda row: _duration(row.get("held_s")), is_number=True),
    _Column("WAITING", _plain("waiting"), is_number=True),
    _Column("TOKEN", _plain("token"), is_number=True),
)
