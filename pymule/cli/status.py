"""The status of the daemon as a person reads it: tables of plain text."""

from collections import Counter
from collections.abc import Callable, Sequence
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

# Lines of a table, and clients one by one; nobody reads more.
_MAX_LINES: Final = 100
_MAX_GROUPS: Final = 20


def render_status(
    status: Row, *, is_coloured: bool = False, is_long: bool = False
) -> str:
    """Return the text that ``pymule status`` shows for the answer *status*.

    What a newer or older daemon does not tell is shown as ``-``. Nothing in it can
    drive a terminal, whatever clients and programs call themselves.

    Args:
        status: As described in ``docs/operations.md``.
        is_coloured: For a terminal.
        is_long: Whether each thing has its line, however many there are.
    """
    most = None if is_long else _MAX_LINES

    def table(
        key: str, columns: Sequence[Column], matters: Callable[[Row], bool] = bool
    ) -> str:
        rows = rows_of(status, key)
        some = rows if most is None else _some(rows, most, matters)
        text = render_table(columns, some, is_coloured=is_coloured)
        if len(some) == len(rows):
            return text
        return f"{text}\n{_counted(key, rows)}; {len(some)} are shown, --all shows all"

    parts = [
        _summary(status, is_coloured=is_coloured),
        table("mules", _MULE_COLUMNS, lambda row: row.get("state") != "up"),
        table("queues", _QUEUE_COLUMNS, _is_in_use),
        _clients(rows_of(status, "clients"), most),
    ]
    for key, columns in (
        ("forkservers", _FORKSERVER_COLUMNS),
        ("signals", _SIGNAL_COLUMNS),
        ("locks", _LOCK_COLUMNS),
    ):
        if rows_of(status, key):
            parts.insert(-1, table(key, columns))
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


def _some(
    rows: Sequence[Row], most: int, matters: Callable[[Row], bool]
) -> Sequence[Row]:
    """Return at most so many *rows*, in their order; rather those that matter."""
    if len(rows) <= most:
        return rows
    order = sorted(range(len(rows)), key=lambda at: not matters(rows[at]))
    return [rows[at] for at in sorted(order[:most])]


def _is_in_use(queue: Row) -> bool:
    """Whether there is something in a queue, or it is not open."""
    counts = ("ready", "leased", "delayed", "waiting", "dead")
    return any(queue.get(key) for key in counts) or queue_state(queue) != "open"


def _counted(key: str, rows: Sequence[Row]) -> str:
    """Return how many there are; of mules, how many in each state."""
    if key != "mules":
        return f"{len(rows)} {key}"
    states = Counter(shown(row.get("state")) for row in rows)
    each = ", ".join(f"{count} {state}" for state, count in states.most_common())
    return f"{len(rows)} {key}: {each}"


def _clients(clients: Sequence[Row], most: int | None) -> str:
    if most is not None and len(clients) > most:
        return _client_groups(clients)
    names = ", ".join(
        f"{shown(client.get('name'))} (pid {shown(client.get('pid'))},"
        f" user {shown(client.get('uid'))})"
        for client in clients
    )
    return f"clients: {names or 'none'}"


def _client_groups(clients: Sequence[Row]) -> str:
    """Return how many clients of each name there are, the most first."""
    groups = Counter(
        f"{shown(client.get('name'))} (user {shown(client.get('uid'))})"
        for client in clients
    )
    words = [f"{count} {name}" for name, count in groups.most_common(_MAX_GROUPS)]
    more = [f"{len(groups) - _MAX_GROUPS} other names"][: len(groups) > _MAX_GROUPS]
    return f"{len(clients)} clients: {', '.join(words + more)}"


def _farms(row: Row) -> str:
    return _listed(row, "farms")


def _count_mules(row: Row) -> str:
    mules = row.get("mules")
    return shown(len(mules) if isinstance(mules, list) else None)


def _listed(row: Row, key: str, between: str = ",") -> str:
    found = row.get(key)
    return shown(between.join(map(str, found)) if isinstance(found, list) else None)


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

_FORKSERVER_COLUMNS: Final = (
    Column("FORKSERVER", plain("number"), is_number=True),
    Column("PRELOAD", lambda row: _listed(row, "preload")),
    Column("MULES", _count_mules, is_number=True),
    Column("STATE", plain("state")),
    Column("PID", plain("pid"), is_number=True),
    Column("UP", lambda row: duration_of(row.get("uptime_s")), is_number=True),
    Column("RESTARTS", plain("restarts"), is_number=True),
    Column("RSS", lambda row: size_of(row.get("rss_bytes")), is_number=True),
    Column("UNFIT", lambda row: _listed(row, "unfit", "; ")),
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
