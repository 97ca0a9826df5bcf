"""Locks for tasks: a name, one holder at a time, and a token that grows."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from pymule.client.calls import Calls
from pymule.client.questions import token_of
from pymule.connection import Connection
from pymule.errors import ConnectionLostError, NotHolderError, RemoteProtocolError
from pymule.sansio.lock_words import check_lock_name, check_ttl
from pymule.sansio.verbs import JsonObject

__all__ = ("Held", "Locking")


class Held:
    """A lock that was granted; as a context manager it is released at the end.

    Args:
        name: Of the lock.
        token: Greater than that of every grant before, of whatever lock.
    """

    def __init__(
        self, name: str, token: int, calls: Calls, connection: Connection
    ) -> None:
        self.name = name
        self.token = token
        self._calls = calls
        self._connection = connection

    async def release(self) -> None:
        """Give the lock to the next in line.

        Raises:
            NotHolderError: It was lost before: with the connection, or by its ttl.

        Cancelling is safe: the lock is released all the same.
        """
        if self._connection.is_closed:
            raise NotHolderError(self.name)
        try:
            await self._calls.ask(self._connection, self._unlock())
        except ConnectionLostError as exc:
            raise NotHolderError(self.name) from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release; what the block raises goes before a lock that was lost."""
        if exc is None:
            await self.release()
        else:
            self._calls.tell(self._connection, self._unlock())

    def _unlock(self) -> JsonObject:
        return {"method": "unlock", "name": self.name, "token": self.token}


class Locking(ABC):
    """What a client can do with locks."""

    _calls: Calls

    @abstractmethod
    async def _connected(self) -> Connection:
        """Wait for a connection to a master.

        Raises:
            ConnectionLostError: The client is closed.
        """

    @asynccontextmanager
    async def lock(
        self, name: str | int, *, ttl: float | None = None
    ) -> AsyncIterator[Held]:
        """Hold the lock *name* in the block; wait in line for it.

        ``asyncio.timeout`` bounds the wait. A lock is not recursive. If the master is
        replaced while this waits, it stands in the next one's line.

        Args:
            name: A text of 1 to 255 characters; a number is its text.
            ttl: Seconds after which the master takes the lock away.

        Raises:
            NotHolderError: At the end of the block, unless that raises: the lock was
                lost in it, by *ttl* or with the connection.

        Cancelling is safe: who waits leaves the line, and a grant that comes at the
        same time is given back.
        """
        held = await self._acquire(name, ttl, wait=True)
        if held is None:
            raise RemoteProtocolError(f"lock {name!r} is taken, and was waited for")
        async with held:
            yield held

    async def try_lock(self, name: str | int, ttl: float | None = None) -> Held | None:
        """Take the lock *name* if it is free; see :meth:`lock`.

        Returns:
            What to release, or to use as a context manager; ``None`` if it is taken.

        Cancelling is safe: the lock is given back.
        """
        return await self._acquire(name, ttl, wait=False)

    async def is_locked(self, name: str | int) -> bool:
        """Whether somebody holds the lock *name*, be it the caller.

        Cancelling is safe.
        """
        question: JsonObject = {"method": "is_locked", "name": check_lock_name(name)}
        while True:
            connection = await self._connected()
            try:
                answer = await self._calls.ask(connection, question)
            except ConnectionLostError:
                continue
            return bool(answer.get("locked"))

    async def _acquire(
        self, name: str | int, ttl: float | None, *, wait: bool
    ) -> Held | None:
        text = check_lock_name(name)
        question: JsonObject = {
            "method": "lock",
            "name": text,
            "ttl": check_ttl(ttl),
            "wait": wait,
        }
        while True:
            connection = await self._connected()
            try:
                answer = await self._calls.ask(
                    connection, question, withdraw="lock_withdraw"
                )
            except ConnectionLostError:
                # Whatever that connection had in line or in hand ended with it.
                continue
            # No await between here and the block, so that no grant is without a holder.
            token = token_of(answer)
            if token is None:
                return None
            return Held(text, token, self._calls, connection)
