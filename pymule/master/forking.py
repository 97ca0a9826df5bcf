"""What the master says to one forkserver process, and what it hears of it."""

import asyncio
import itertools
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from pymule.errors import RemoteProtocolError
from pymule.master.ends import Ends, open_ends
from pymule.master.spawner import MuleProcess, SpawnSpec
from pymule.sansio.forkserver import (
    MAX_WORD_BYTES,
    Broken,
    Fork,
    Forked,
    Loaded,
    NotForked,
    Preload,
    Unfit,
    read_word,
    write_word,
)
from pymule.sansio.target import MuleId

__all__ = ("Birth", "Forking", "News")

News = Loaded | Unfit | Broken
"""What a forkserver says of itself."""

# Mules that it is asked for at a time. It forks one after the other, and each that
# waits in its socket has ten descriptors of ours.
_AT_A_TIME: Final = 4
# What it may say before others have their turn; it runs code of the application.
_WORDS_A_TURN: Final = 16


@dataclass(slots=True, eq=False)
class Birth:
    """A mule that is to be forked.

    Args:
        spec: Of its process.
        on_forked: Called with the process, and the time when it was asked for.
        on_failed: Called with why there is none.
    """

    spec: SpawnSpec
    on_forked: Callable[[MuleProcess, float], None]
    on_failed: Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Asked:
    """A birth of which the forkserver knows; None if nobody wants it any more."""

    birth: Birth | None
    ends: Ends
    at: float


class Forking:
    """The conversation with one forkserver process.

    Args:
        loop: asyncio's or uvloop's.
        process: Its own.
        adopt: Makes a process that was forked ours; raises OSError.
        on_news: Called with what it says of itself.
        on_end: Called when it says no more, or breaks a rule, with that.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        process: MuleProcess,
        adopt: Callable[[MuleId, int, Ends], MuleProcess],
        *,
        on_news: Callable[[News], None],
        on_end: Callable[[RemoteProtocolError | None], None],
    ) -> None:
        self.process = process
        self._loop = loop
        self._adopt = adopt
        self._on_news = on_news
        self._on_end = on_end
        self._numbers = itertools.count(1)
        self._waiting: deque[Birth] = deque()
        self._asked: dict[int, _Asked] = {}
        self._is_open = True
        loop.add_reader(process.link.fileno(), self.hear)

    @property
    def is_busy(self) -> bool:
        """Whether there may be a mule of which this does not know the pid yet."""
        return bool(self._asked)

    def preload(self, preload: Preload) -> None:
        """Have it import; the first that it is told.

        Raises:
            OSError: It is gone, or that is too long for its socket.
        """
        self.process.link.send(write_word(preload))

    def fork(self, birth: Birth) -> None:
        """Have it fork a mule, when those before are done."""
        self._waiting.append(birth)
        self._ask()

    def cancel(self, birth: Birth) -> None:
        """Want a mule no more; neither of its callbacks is called from now on."""
        if birth in self._waiting:
            self._waiting.remove(birth)
        for asked in self._asked.values():
            if asked.birth is birth:
                asked.birth = None
                # It finds its link closed, ends, and is reaped as orphans are.
                asked.ends.close()

    def hang_up(self) -> None:
        """Let it end."""
        with suppress(OSError):
            self.process.link.shutdown(socket.SHUT_WR)

    def close(self) -> list[Birth]:
        """Hear no more; return the births to which there was no answer.

        Mules of which it told nobody find their link closed, and end.
        """
        self._stop()
        births = [*self._waiting]
        for asked in self._asked.values():
            if asked.birth is not None:
                births.append(asked.birth)
                asked.ends.close()
        self._waiting.clear()
        self._asked.clear()
        return births

    def _ask(self) -> None:
        while self._waiting and len(self._asked) < _AT_A_TIME:
            birth = self._waiting.popleft()
            try:
                self._send(birth)
            except OSError as exc:
                birth.on_failed(str(exc))

    def _send(self, birth: Birth) -> None:
        number = next(self._numbers)
        word = write_word(Fork(number, birth.spec.description()))
        with ExitStack() as undo, ExitStack() as undo_theirs:
            ours, theirs = open_ends(
                socket.SOCK_STREAM, birth.spec.board_bytes, undo, undo_theirs
            )
            memory, output = (
                (theirs.board, theirs.stacks),
                (theirs.stdout, theirs.stderr),
            )
            fds = (theirs.link.fileno(), *memory, *output)
            socket.send_fds(self.process.link, [word], fds)
            undo.pop_all()
        self._asked[number] = _Asked(birth, ours, time.monotonic())

    def hear(self, at_most: int = _WORDS_A_TURN) -> None:
        """Act on what it has said."""
        for _ in range(at_most):
            if not self._is_open:
                return
            try:
                data = self.process.link.recv(MAX_WORD_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self._stop()
                self._on_end(None)
                return
            try:
                self._heard(data)
            except RemoteProtocolError as exc:
                self._stop()
                self._on_end(exc)

    def _heard(self, data: bytes) -> None:
        match read_word(data):
            case Forked(number, pid):
                self._forked(self._answered(number), pid)
            case NotForked(number, error):
                asked = self._answered(number)
                if asked.birth is not None:
                    asked.ends.close()
                    asked.birth.on_failed(error)
            case Loaded() | Unfit() | Broken() as news:
                self._on_news(news)
            case Preload() | Fork():
                raise RemoteProtocolError("a forkserver gives no orders")
        self._ask()

    def _answered(self, number: int) -> _Asked:
        asked = self._asked.pop(number, None)
        if asked is None:
            raise RemoteProtocolError(f"a forkserver was not asked for birth {number}")
        return asked

    def _forked(self, asked: _Asked, pid: int) -> None:
        birth = asked.birth
        if birth is None:
            return
        try:
            process = self._adopt(birth.spec.mule, pid, asked.ends)
        except OSError as exc:
            asked.ends.close()
            birth.on_failed(str(exc))
            if isinstance(exc, ChildProcessError | ProcessLookupError):
                raise RemoteProtocolError(f"process {pid} is no new child") from exc
            return
        birth.on_forked(process, asked.at)

    def _stop(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self.process.link.fileno())
