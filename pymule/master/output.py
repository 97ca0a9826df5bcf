"""The stdout and stderr of a mule, cut into lines for the log.

What a mule writes is its own affair; that it writes too much must not become the
master's. The reader therefore has an allowance per interval. When it is spent, or when
the log cannot keep up, the reader stops reading: the pipe fills, the mule's own write
blocks, and the mule has slowed itself. Nothing is dropped on the way, except the end of
a line that is too long, which says how long it was.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from pymule.master.logs import escape_controls

__all__ = ("MuleOutput",)

_PAUSE: Final = 0.05
_READ_BYTES: Final = 16 * 1024
# What a line costs of the allowance at least. Logging one takes about 20 us however
# short it is, so a mule that prints empty lines is limited by their number: at
# 1 MiB/s to 4096 lines, or 8 % of the master's time.
_LINE_COST: Final = 256
# A pipe holds 64 KiB unless the mule made it larger, which it can up to 1 MiB.
_DRAIN_BYTES: Final = 1024 * 1024
_DRAIN_LINES: Final = 1000


class MuleOutput:
    r"""Read one pipe of a mule and emit its lines.

    The descriptor becomes non-blocking and stays the caller's: close this first, then
    the descriptor.

    Args:
        loop: asyncio's or uvloop's.
        fd: Read end of the pipe.
        emit: Gets each line: decoded (bytes that are not UTF-8 as ``\xff``), control
            characters escaped, without its newline. The last line is emitted at the
            end of the stream even if it has none.
        max_line_bytes: A longer line is cut, with a mark of how many bytes more
            there were.
        bytes_per_s: The allowance; a short line counts as 256 bytes.
        is_congested: Asked before each line; true means that the log cannot take
            more now.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        emit: Callable[[str], None],
        *,
        max_line_bytes: int = 8192,
        bytes_per_s: int = 1 << 20,
        is_congested: Callable[[], bool],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._emit = emit
        self._is_congested = is_congested
        self._lines = _LineCutter(max_line_bytes)
        # A token bucket in bytes: filled at _rate up to _burst, in debt below zero.
        self._rate = bytes_per_s
        self._burst = bytes_per_s * _PAUSE
        self._left = self._burst
        self._filled_at = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = True
        loop.add_reader(fd, self._readable)

    @property
    def is_paused(self) -> bool:
        """Whether the mule is made to wait."""
        return self._timer is not None

    def drain_now(self) -> None:
        """Emit what the ended process left in the pipe, then close.

        Ignores the allowance: the last lines say why the process ended, and they must
        be in the log before its death is. Bounded by 1 MiB read and 1000 lines; of
        more lines, the last are emitted, after a line that counts the others.
        """
        if not self._is_open:
            return
        read = 0
        while read < _DRAIN_BYTES and (data := self._read()):
            self._lines.feed(data)
            read += len(data)
        self._emit_last_lines()
        self.close()

    def close(self) -> None:
        """Stop reading. A second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._stop_timer()
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        data = self._read()
        if data is None:
            return
        self._left -= len(data)
        if data:
            self._lines.feed(data)
        else:
            self._lines.end()
        self._emit_lines()

    def _read(self) -> bytes | None:
        """Return bytes, ``b""`` at the end of the stream, None for nothing yet."""
        try:
            return os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return None

    def _emit_lines(self) -> None:
        """Emit until lines or allowance run out; then read on, wait or close."""
        self._fill_bucket()
        # emit may close us, as when it ends the mule for what it wrote.
        while self._is_open and self._lines.has_line:
            if self._must_wait():
                self._pause()
                return
            line = self._lines.next_line()
            self._left -= max(0, _LINE_COST - len(line))
            self._emit(line)
        self._read_on()

    def _read_on(self) -> None:
        if not self._is_open:
            return
        if self._lines.is_ended:
            self.close()
        elif self._must_wait():
            self._pause()
        elif self._timer is not None:
            self._stop_timer()
            self._loop.add_reader(self._fd, self._readable)

    def _must_wait(self) -> bool:
        return self._left <= 0 or self._is_congested()

    def _fill_bucket(self) -> None:
        now = self._loop.time()
        earned = (now - self._filled_at) * self._rate
        self._left = min(self._burst, self._left + earned)
        self._filled_at = now

    def _pause(self) -> None:
        self._stop_timer()
        self._loop.remove_reader(self._fd)
        delay = max(_PAUSE, -self._left / self._rate)
        self._timer = self._loop.call_later(delay, self._emit_lines)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _emit_last_lines(self) -> None:
        self._lines.end()
        last: deque[str] = deque(maxlen=_DRAIN_LINES)
        count = 0
        while self._lines.has_line:
            last.append(self._lines.next_line())
            count += 1
        if count > len(last):
            self._emit(f"[{count - len(last)} lines not shown]")
        for line in last:
            self._emit(line)


class _LineCutter:
    """Bytes in, printable lines out; holds little more than what was fed last."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._whole: deque[bytes] = deque()
        # The line without its newline yet, at most _max bytes of it, and its length.
        self._part = bytearray()
        self._part_bytes = 0
        self.is_ended = False

    @property
    def has_line(self) -> bool:
        return bool(self._whole)

    def feed(self, data: bytes) -> None:
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._extend(end)
            self._finish()
        self._extend(rest)

    def end(self) -> None:
        """Take the line that has no newline as whole."""
        if self._part_bytes:
            self._finish()
        self.is_ended = True

    def next_line(self) -> str:
        """Return the oldest whole line, which must exist."""
        return escape_controls(self._whole.popleft().decode(errors="backslashreplace"))

    def _extend(self, data: bytes) -> None:
        self._part += data[: self._max - len(self._part)]
        self._part_bytes += len(data)

    def _finish(self) -> None:
        line = bytes(self._part)
        more = self._part_bytes - len(line)
        if more:
            line += b" [%d bytes more]" % more
        self._whole.append(line.removesuffix(b"\r"))
        self._part.clear()
        self._part_bytes = 0
