"""Peers that mean harm: plain sockets, bytes made by hand, no library of ours between.

An attack runs in a thread or a process until it is told to stop. It never fails: what
the master does about it is what it is for.
"""

import contextlib
import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from pymule.sansio.batch import pack_bodies
from pymule.sansio.frame import HEADER, Opcode, encode_frame
from pymule.sansio.verbs import Call, Hello, Submit

__all__ = ("ATTACKS", "Stop", "greeted", "hello")

_PAUSE_S: Final = 0.005
_BATCH: Final = 64
_numbers = itertools.count()


class Stop(Protocol):
    """Tells an attack that it is over; an event of threading or multiprocessing."""

    def is_set(self) -> bool:
        """Whether it is over."""


Attack = Callable[[str, Stop, int], None]
"""Takes the path of the socket, the stop, and of how many connections."""


def hello() -> bytes:
    """Return a HELLO with a name that nobody else has."""
    client = f"attacker-{os.getpid()}-{next(_numbers)}"
    return Hello({"protocol": [1, 1], "client": client, "name": "attacker"}).pack()


def greeted(path: str, sent_behind: bytes = b"") -> socket.socket | None:
    """Return a non-blocking connection that has said hello, or ``None``."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(5)
        sock.connect(path)
        sock.sendall(hello() + sent_behind)
        sock.settimeout(0)
    except OSError:
        sock.close()
        return None
    return sock


class _Talkers:
    """Connections that say the same again and again; those that are lost come again.

    Args:
        path: Of the master's socket.
        count: How many.
        data: Returns what to say next.
        reads: Whether they read what they are answered.
        waits: Whether they wait for an answer before they go on.
    """

    def __init__(
        self,
        path: str,
        count: int,
        data: Callable[[], bytes],
        *,
        reads: bool,
        waits: bool = False,
    ) -> None:
        self._path = path
        self._count = count
        self._data = data
        self._reads = reads
        self._waits = waits
        # What of it is not sent yet.
        self._talking: dict[socket.socket, bytes] = {}

    def talk(self, stop: Stop) -> None:
        """Talk until *stop*."""
        while not stop.is_set():
            self._come()
            is_busy = [self._say(sock) for sock in list(self._talking)]
            if not any(is_busy):
                time.sleep(_PAUSE_S)
        for sock in self._talking:
            sock.close()

    def _come(self) -> None:
        for _ in range(self._count - len(self._talking)):
            sock = greeted(self._path)
            if sock is None:
                return
            self._talking[sock] = self._data()

    def _say(self, sock: socket.socket) -> bool:
        """Say more; return whether that was possible."""
        try:
            has_heard = self._reads and self._hear(sock)
            left = self._talking[sock]
            if left:
                left = left[sock.send(left) :]
            elif not self._waits or has_heard:
                left = self._data()
            else:
                return False
        except BlockingIOError:
            return False
        except OSError:
            sock.close()
            del self._talking[sock]
            return True
        self._talking[sock] = left
        return True

    def _hear(self, sock: socket.socket) -> bool:
        try:
            data = sock.recv(1 << 20)
        except BlockingIOError:
            return False
        if not data:
            raise ConnectionError
        return True


def _submits(target: str, size: int, count: int = _BATCH) -> Callable[[], bytes]:
    payload = pack_bodies([bytes(size)] * count)
    sequences = itertools.count(1, count)

    def submit() -> bytes:
        return Submit(next(sequences), 0, count, target, b"", payload).pack()

    return submit


def _again(data: bytes, times: int = 1) -> Callable[[], bytes]:
    return lambda: data * times


def _fill(path: str, stop: Stop, count: int) -> None:
    """Fill a queue whose senders wait, and whatever the master keeps beside it."""
    _Talkers(path, count, _submits("farm:full", 1000), reads=True).talk(stop)


def _refused(path: str, stop: Stop, count: int) -> None:
    """Send to a full queue that refuses, at once again."""
    submit = _submits("farm:tiny", 100, 1)
    _Talkers(path, count, submit, reads=True, waits=True).talk(stop)


def _unread_confirms(path: str, stop: Stop, count: int) -> None:
    """Send and never read what is confirmed."""
    _Talkers(path, count, _submits("farm:sink", 10, 1), reads=False).talk(stop)


def _call(method: str, **params: object) -> bytes:
    return Call(1, {"method": method, **params}).pack()


def _unread_status(path: str, stop: Stop, count: int) -> None:
    """Ask how things are and never read the answer."""
    _Talkers(path, count, _again(_call("status"), 1000), reads=False).talk(stop)


def _status(path: str, stop: Stop, count: int) -> None:
    """Ask how things are, all the time."""
    _Talkers(path, count, _again(_call("status")), reads=True, waits=True).talk(stop)


def _unread_logs(path: str, stop: Stop, count: int) -> None:
    """Follow the log and never read it."""
    follow = _call("logs", lines=1000, follow=True)
    _Talkers(path, count, _again(follow), reads=False).talk(stop)


def _tiny_frames(path: str, stop: Stop, count: int) -> None:
    """Send the smallest frames there are."""
    listen = encode_frame(Opcode.LISTEN, b"\x00")
    _Talkers(path, count, _again(listen, 10_000), reads=True).talk(stop)


def _json(path: str, stop: Stop, count: int) -> None:
    """Send JSON that takes long to read and becomes large."""
    bomb = b'{"method":"no such","x":[' + b"[]," * 21_000 + b"[]]}"
    frame = encode_frame(Opcode.CALL, bytes(4) + bomb)
    _Talkers(path, count, _again(frame), reads=True).talk(stop)


def _locks(path: str, stop: Stop, count: int) -> None:
    """Stand in line for a lock, thousands of times."""
    calls = itertools.count()

    def lock() -> bytes:
        return Call(next(calls) & 0xFFFF_FFFF, {"method": "lock", "name": "x"}).pack()

    _Talkers(path, count, lock, reads=True).talk(stop)


def _half_large_frames(path: str, stop: Stop, count: int) -> None:
    """Begin frames as large as is allowed, and do not end them."""
    size = 16 * 1024 * 1024
    half = HEADER.pack(size, Opcode.SUBMIT, 0, 0) + bytes(size - 1000)
    chunks = iter([half] * count)
    talkers = _Talkers(path, count, lambda: next(chunks, b""), reads=False)
    talkers.talk(stop)


def _dying(path: str, stop: Stop, count: int) -> None:
    """Die in the middle of a frame."""
    half = _submits("farm:sink", 1000)()[:-7]
    while not stop.is_set():
        for _ in range(count):
            sock = greeted(path, half)
            if sock is not None:
                sock.close()
        time.sleep(_PAUSE_S)


def _garbage(path: str, stop: Stop, count: int) -> None:
    """Say what is no frame, before and after a proper hello."""
    draw = random.Random(1)  # noqa: S311  (the same garbage each time)
    while not stop.is_set():
        for sock in _connected(path, count):
            with contextlib.suppress(OSError):
                is_greeted = draw.random() < 0.5
                sock.send((hello() if is_greeted else b"") + draw.randbytes(200))
            sock.close()
        time.sleep(_PAUSE_S)


def _connected(path: str, count: int) -> Iterator[socket.socket]:
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(0)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
        else:
            yield sock


def _silent(path: str, stop: Stop, count: int) -> None:
    """Connect, as many as can be, and say nothing."""
    _held(path, stop, count, b"")


def _slow(path: str, stop: Stop, count: int) -> None:
    """Say hello a byte at a time."""
    _held(path, stop, count, hello())


def _held(path: str, stop: Stop, count: int, words: bytes) -> None:
    held: dict[socket.socket, bytes] = {}
    while not stop.is_set():
        held |= dict.fromkeys(_connected(path, count - len(held)), words)
        for sock, left in list(held.items()):
            try:
                held[sock] = left[sock.send(left[:1]) :] if left else left
                if not sock.recv(4096):
                    raise ConnectionError
            except BlockingIOError:
                continue
            except OSError:
                sock.close()
                del held[sock]
        time.sleep(20 * _PAUSE_S)
    for sock in held:
        sock.close()


def _connects(path: str, stop: Stop, count: int) -> None:
    """Connect, say hello, leave; at once again."""
    while not stop.is_set():
        for sock in [greeted(path) for _ in range(count)]:
            if sock is not None:
                sock.close()


def _crowd(path: str, stop: Stop, count: int) -> None:
    """Connect and say hello, as many as can be, and stay."""
    _Talkers(path, count, _again(b""), reads=True, waits=True).talk(stop)


ATTACKS: Final[dict[str, Attack]] = {
    "fill": _fill,
    "refused": _refused,
    "unread-confirms": _unread_confirms,
    "unread-status": _unread_status,
    "unread-logs": _unread_logs,
    "status": _status,
    "tiny-frames": _tiny_frames,
    "json": _json,
    "locks": _locks,
    "half-large-frames": _half_large_frames,
    "dying": _dying,
    "garbage": _garbage,
    "silent": _silent,
    "slow": _slow,
    "connects": _connects,
    "crowd": _crowd,
}
