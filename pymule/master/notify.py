"""What systemd wants to hear, and what it hands over.

The protocol of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3): datagrams of
``KEY=value`` lines to the socket in ``NOTIFY_SOCKET``, and sockets that were inherited
from descriptor 3 on. Without systemd all of it does nothing. Nothing here raises or
blocks, because no daemon should fail for want of an audience.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final, Self

__all__ = ("Notifier", "listen_fds", "watchdog_interval")

_FIRST_FD: Final = 3


class Notifier:
    """Tell the service manager about the daemon's life.

    Args:
        address: Path of the manager's socket, ``@name`` for an abstract one, or
            ``None`` when nobody listens.
    """

    def __init__(self, address: str | None) -> None:
        self._address = _socket_address(address or "")
        self._socket: socket.socket | None = None
        if address:
            with contextlib.suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.settimeout(0)

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Self:
        """Take ``NOTIFY_SOCKET`` out of *environ*, so that no mule inherits it."""
        return cls(environ.pop("NOTIFY_SOCKET", None))

    def ready(self, status: str) -> None:
        """The daemon works; also said at the end of a reload."""
        self._send("READY=1", _status_line(status))

    def reloading(self) -> None:
        """A reload begins; systemd waits for :meth:`ready`."""
        # systemd tells by the time, in microseconds of the monotonic clock, whether
        # this answers its own request.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon drains and will end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send(_status_line(text))

    def watchdog(self) -> None:
        """The loop turns; see :func:`watchdog_interval`."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket; what is said later is not heard."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            message = "\n".join(lines).encode("utf-8", "backslashreplace")
            with contextlib.suppress(OSError):
                self._socket.sendto(message, socket.MSG_NOSIGNAL, self._address)


def _socket_address(text: str) -> bytes:
    raw = os.fsencode(text)
    return b"\0" + raw[1:] if raw.startswith(b"@") else raw


def _status_line(text: str) -> str:
    # A newline would begin the next assignment.
    return f"STATUS={' '.join(text.split())}"


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return within how many seconds *pid* must call ``watchdog``, or ``None``.

    Call it at half of that interval, from the loop, never from a thread: it is the loop
    whose health is asked for.
    """
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    usec = _number(environ.get("WATCHDOG_USEC"))
    return usec / 1_000_000 if usec else None


def listen_fds(
    environ: MutableMapping[str, str], pid: int, *, first_fd: int = _FIRST_FD
) -> list[socket.socket]:
    """Return the sockets that systemd opened for process *pid*, ready for a loop.

    They are non-blocking and not inherited by mules. The variables are removed
    from *environ*, also when they were meant for another process. A descriptor that
    is no socket is left out.
    """
    meant_for = environ.pop("LISTEN_PID", None)
    count = _number(environ.pop("LISTEN_FDS", None))
    environ.pop("LISTEN_FDNAMES", None)
    if meant_for != str(pid):
        return []
    found: list[socket.socket] = []
    for fd in range(first_fd, first_fd + count):
        try:
            os.set_inheritable(fd, False)  # noqa: FBT003  (positional only)
        except OSError:
            # Not open, so the count is wrong; the ones behind it are not ours.
            break
        with contextlib.suppress(OSError):
            sock = socket.socket(fileno=fd)
            sock.settimeout(0)
            found.append(sock)
    return found


def _number(text: str | None) -> int:
    """Return the decimal number in *text*, and 0 for anything else."""
    # isdigit() alone takes other scripts' digits, and int() of a huge text is slow.
    is_number = text is not None and text.isascii() and text.isdigit()
    return int(text) if text is not None and is_number and len(text) < 20 else 0  # noqa: PLR2004
