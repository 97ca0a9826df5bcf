"""Log lines that programs can read, written by a thread so the loop never waits.

A record has an event, which is a constant sentence, and fields. In text::

    2026-11-24T17:30:31.123Z INFO pymule.master mule exited mule=2 status=1

and as JSON, one object a line, with ``ts``, ``level``, ``logger``, ``event``, the
fields and, after an exception, ``exc``. Whatever a mule or a client put into a field,
a record stays one record: control characters are escaped, and the lines of a
traceback are marked as such.
"""

import json
import logging
import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

__all__ = ("JsonFormatter", "LogSink", "TextFormatter", "escape_controls", "log")

# Tab is harmless. The others can end a line, drive a terminal, or (the last three
# groups) show a text in another order than it has.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_BARE: Final = re.compile(r"[^\s\"'=\\]+")
_TRACE: Final = "  | "
_RING_LINES: Final = 1000


def escape_controls(text: str) -> str:
    r"""Return *text* with control characters as ``\x1b`` or ``\u202e``.

    Covers C0 but for tab, C1, the line separators and everything that changes the
    direction of writing. What is escaped once stays as it is.
    """
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"  # noqa: PLR2004


def log(
    logger: logging.Logger,
    level: int,
    event: str,
    /,
    *,
    exc: BaseException | None = None,
    trace: str | None = None,
    **fields: object,
) -> None:
    """Log *event* with *fields*; *exc* adds its traceback, *trace* lines of its own.

    ``log(logger, logging.INFO, "mule exited", mule=2, status=1)``. The event is a
    constant, so that it can be searched for; what varies is a field.
    """
    if not logger.isEnabledFor(level):
        return
    if trace is not None:
        record = logger.makeRecord(
            logger.name, level, "", 0, event, (), None, None, {"fields": fields}, trace
        )
        logger.handle(record)
    else:
        logger.log(level, event, exc_info=exc, stacklevel=2, extra={"fields": fields})


class TextFormatter(logging.Formatter):
    """A record as one line of text; an exception adds lines that start with a bar.

    What a mule printed, in the field ``line``, comes last and behind a bar, as it is:
    ``... INFO pymule.mule mule=3 name=busy stream=stdout | whatever it says``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of a traceback, without a last newline."""
        parts = [_timestamp(record), record.levelname, record.name]
        fields = dict(_fields_of(record))
        printed = fields.pop("line", None)
        if printed is None:
            parts.append(escape_controls(record.getMessage()))
        parts += [f"{key}={_text_value(value)}" for key, value in fields.items()]
        if printed is not None:
            parts.append(f"| {escape_controls(str(printed))}")
        lines = [" ".join(parts)]
        lines += [_TRACE + escape_controls(line) for line in _trace_of(self, record)]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object in ASCII.

    A field with the name of one of the fixed keys gets an underscore at its end.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object without a newline; what JSON does not know, as a text."""
        line: dict[str, object] = {
            "ts": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        trace = _trace_of(self, record)
        fixed = {*line, "exc"}
        for key, value in _fields_of(record).items():
            line[f"{key}_" if key in fixed else key] = value
        if trace:
            line["exc"] = "\n".join(trace)
        return json.dumps(line, default=str)


def _timestamp(record: logging.LogRecord) -> str:
    stamp = datetime.fromtimestamp(record.created, UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    # Absent from what asyncio and other libraries log.
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _trace_of(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    lines = []
    if record.exc_info and record.exc_info[0]:
        lines += formatter.formatException(record.exc_info).split("\n")
    if record.stack_info:
        lines += record.stack_info.split("\n")
    return lines


def _text_value(value: object) -> str:
    match value:
        case bool() | None:
            return str(value).lower()
        case float():
            return str(round(value, 3))
        case _:
            text = str(value)
    if _BARE.fullmatch(text):
        return escape_controls(text)
    # In this order, so that no value can end its own quotes and forge a field.
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escape_controls(quoted)}"'


class LogSink(logging.Handler):
    """Give lines to one thread that writes them; the caller never waits.

    At most *max_pending_bytes* wait for the thread. A record beyond that is not
    written; the number of those is written as soon as there is room. Lines of mules
    are never lost this way, because their reader stops when :meth:`is_congested`.

    The last 1000 lines stay readable by :meth:`tail`.

    Args:
        stream: Must have a file descriptor; it is written to directly, in UTF-8, and
            left open. A descriptor in non-blocking mode is fine.
        formatter: Used in the thread that logs.
        max_pending_bytes: Bound of what waits to be written.
    """

    def __init__(
        self,
        stream: TextIO,
        formatter: logging.Formatter,
        *,
        max_pending_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._formatter = formatter
        self._fd = stream.fileno()
        self._max_pending = max_pending_bytes
        self._ring: deque[str] = deque(maxlen=_RING_LINES)
        # Replaced, never changed, so that a thread may walk it.
        self._subscribers: tuple[Callable[[str], None], ...] = ()
        # Guards the four below; the thread waits on it for work.
        self._wakeup = threading.Condition(threading.Lock())
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._dropped = 0
        self._is_closing = False
        # A daemon thread: a reader that stopped must not keep the process from ending.
        self._thread = threading.Thread(
            target=self._write_pending, name="pymule-log", daemon=True
        )
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Format *record* here and now, show it to subscribers, queue it."""
        try:
            self._publish(self._formatter.format(record))
        except Exception:  # noqa: BLE001  (the rule of logging: a bad call of a
            # library's logger must not break the library's work)
            self.handleError(record)

    def is_congested(self) -> bool:
        """Tell whether half of the bound is in use: time to log less."""
        return self._pending_bytes > self._max_pending // 2

    def tail(self, count: int) -> list[str]:
        """Return the last *count* records, oldest first; at most 1000 are kept."""
        return list(self._ring)[-count:] if count > 0 else []

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call *callback* with every formatted record from now on.

        It is called while the record is being logged, in the thread that logs it. It
        must be quick, must not raise and must not log.
        """
        self._subscribers = (*self._subscribers, callback)

    def unsubscribe(self, callback: Callable[[str], None]) -> None:
        """Call *callback* no more; one that is not subscribed is no error."""
        self._subscribers = tuple(c for c in self._subscribers if c != callback)

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, for at most *timeout* seconds, and end the thread.

        Records that come later are not written.
        """
        with self._wakeup:
            self._is_closing = True
            self._wakeup.notify()
        self._thread.join(timeout)
        super().close()

    def _publish(self, text: str) -> None:
        self._ring.append(text)
        for callback in self._subscribers:
            callback(text)
        self._enqueue(_encoded(text))

    def _enqueue(self, line: bytes) -> None:
        with self._wakeup:
            if self._is_closing:
                return
            if self._pending_bytes + len(line) > self._max_pending:
                self._dropped += 1
                return
            self._pending.append(line)
            self._pending_bytes += len(line)
            self._wakeup.notify()

    def _write_pending(self) -> None:
        while lines := self._take():
            _write_all(self._fd, b"".join(lines))
            with self._wakeup:
                self._pending_bytes -= sum(map(len, lines))

    def _take(self) -> list[bytes]:
        """Wait for lines and take them all; nothing means that the end has come."""
        with self._wakeup:
            while not (self._pending or self._dropped or self._is_closing):
                self._wakeup.wait()
            lines, self._pending = self._pending, []
            dropped, self._dropped = self._dropped, 0
        if dropped:
            report = _encoded(self._formatter.format(_dropped_record(dropped)))
            with self._wakeup:
                self._pending_bytes += len(report)
            lines.append(report)
        return lines


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _dropped_record(count: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "pymule.master",
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "log records dropped, the reader is too slow",
            "created": time.time(),
            "fields": {"count": count},
        }
    )


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            # Another process made the terminal or pipe that we share non-blocking.
            _wait_writable(fd)
        except OSError:
            # The reader is gone (EPIPE) or the disk is full: there is no place left
            # to say so, and the daemon's work is worth more than its log.
            return


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
