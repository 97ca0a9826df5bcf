"""The status of the daemon as a person reads it: tables of plain text."""

from collections.abc import Sequence
from typing import Final

from pymule.cli.queue_text import queue_state
from pymule.cli.table import (
    NOTHING,
    Column,
    Row,
    duration_of,
    painted,
    plain,
    render_table,
    rows_of,
    shown,
    size_of,
)
from pymule.master.logs import escape_controls

__all__ = ("render_status",)


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
        render_table(_MULE_COLUMNS, rows_of(status, "mules"), is_coloured=is_coloured),
        render_table(
            _QUEUE_COLUMNS, rows_of(status, "queues"), is_coloured=is_coloured
        ),
        _clients(rows_of(status, "clients")),
    ]
    for key, columns in (("signals", _SIGNAL_COLUMNS), ("locks", _LOCK_COLUMNS)):
        if rows := rows_of(status, key):
            parts.insert(-1, render_table(columns, rows, is_coloured=is_coloured))
    return "\n\n".join(parts) + "\n"


def _summary(status: Row, *, is_coloured: bool) -> str:
    state = painted(shown(status.get("state")), is_coloured=is_coloured)
    words = [
        f"pymuled {shown(status.get('version'))}",
        state,
        f"pid {shown(status.get('pid'))}",
        f"up {duration_of(status.get('uptime_s'))}",
        size_of(status.get("rss_bytes")),
        shown(status.get("socket")),
    ]
    lines = ["  ".join(words)]
    if isinstance(journal := status.get("journal"), dict):
        lines.append(_journal(journal))
    if error := status.get("config_error"):
        lines += [
            f"last reload failed: {escape_controls(line)}"
            for line in str(error).splitlines()
        ]
    return "\n".join(lines)


def _journal(journal: Row) -> str:
    size = size_of(journal.get("bytes"))
    full = "; the disk is full: new messages are refused" if journal.get("full") else ""
    return f"journal: {shown(journal.get('path'))}  {size}{full}"


def _clients(clients: Sequence[Row]) -> str:
    names = ", ".join(
        f"{shown(client.get('name'))} (pid {shown(client.get('pid'))},"
        f" user {shown(client.get('uid'))})"
        for client in clients
    )
    return f"clients: {names or 'none'}"


def _farms(row: Row) -> str:
    farms = row.get("farms")
    return shown(",".join(map(str, farms)) if isinstance(farms, list) else None)


def _last_exit(row: Row) -> str:
    last = row.get("last_exit")
    if not isinstance(last, dict):
        return NOTHING
    error = last.get("error")
    if not isinstance(error, dict):
        return shown(last.get("reason"))
    first_line = str(error.get("text", "")).partition("\n")[0]
    return shown(f"{error.get('type')}: {first_line}")


def _source(row: Row) -> str:
    """Return what raises a signal by itself: ``every 30 s``."""
    match row.get("source"):
        case {"kind": "timer", "every": int(every) | float(every)}:
            return f"every {every:g} s"
        case {"kind": "cron", "spec": list(numbers)}:
            return f"cron {shown(' '.join(map(str, numbers)))}"
        case {"kind": "cron", "spec": spec}:
            return f"cron {shown(spec)}"
        case {"kind": "filemon", "path": path}:
            return f"change of {shown(path)}"
        case _:
            return NOTHING


_MULE_COLUMNS: Final = (
    Column("ID", plain("id"), is_number=True),
    Column("NAME", plain("name")),
    Column("MODE", plain("mode")),
    Column("FARMS", _farms),
    Column("STATE", plain("state")),
    Column("PID", plain("pid"), is_number=True),
    Column("UP", lambda row: duration_of(row.get("uptime_s")), is_number=True),
    Column("RESTARTS", plain("restarts"), is_number=True),
    Column("HANDLED", plain("handled"), is_number=True),
    Column("IN HAND", plain("in_hand"), is_number=True),
    Column("RSS", lambda row: size_of(row.get("rss_bytes")), is_number=True),
    Column("LAST EXIT", _last_exit),
)

_SIGNAL_COLUMNS: Final = (
    Column("SIGNAL", plain("signal"), is_number=True),
    Column("TARGET", plain("target")),
    Column("HANDLER", plain("handler")),
    Column("RAISED BY", _source),
    Column("DUE", plain("due"), is_number=True),
    Column("RUNNING", plain("running"), is_number=True),
    Column("DONE", plain("handled"), is_number=True),
    Column("FAILED", plain("failed"), is_number=True),
    Column("SKIPPED", plain("skipped"), is_number=True),
)

_QUEUE_COLUMNS: Final = (
    Column("QUEUE", plain("target")),
    Column("READY", plain("ready"), is_number=True),
    Column("LEASED", plain("leased"), is_number=True),
    Column("DELAYED", plain("delayed"), is_number=True),
    Column("WAITING", plain("waiting"), is_number=True),
    Column("DEAD", plain("dead"), is_number=True),
    Column("DONE", plain("acked"), is_number=True),
    Column("BYTES", lambda row: size_of(row.get("bytes")), is_number=True),
    Column("STATE", queue_state),
)

_LOCK_COLUMNS: Final = (
    Column("LOCK", plain("name")),
    Column("HOLDER", plain("holder")),
    Column("PID", plain("pid"), is_number=True),
    Column("HELD", lambda row: duration_of(row.get("held_s")), is_number=True),
    Column("WAITING", plain("waiting"), is_number=True),
    Column("TOKEN", plain("token"), is_number=True),
)
