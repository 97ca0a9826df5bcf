"""Questions to the master, and who waits for which answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pymule.connection import Connection
from pymule.errors import ConnectionLostError, RemoteProtocolError, error_from_wire
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind

__all__ = ("Calls",)


class Calls:
    """The calls of one client that are not answered to the end."""

    def __init__(self) -> None:
        self._replies: dict[int, asyncio.Queue[Reply | ConnectionLostError]] = {}
        self._next_number = 1

    async def ask(
        self, connection: Connection | None, question: JsonObject
    ) -> JsonObject:
        """Return the first answer to *question*.

        Raises:
            RefusedError: The master said no.
            ConnectionLostError: It is not there, or went away.

        Cancelling is safe: a late answer is dropped.
        """
        async with aclosing(self.stream(connection, question)) as answers:
            return await anext(answers)

    async def stream(
        self, connection: Connection | None, question: JsonObject
    ) -> AsyncGenerator[JsonObject]:
        """Yield the answers to *question* until the last one; raises as :meth:`ask`."""
        if connection is None:
            raise ConnectionLostError("not connected")
        number, self._next_number = self._next_number, self._next_number + 1
        replies = self._replies[number] = asyncio.Queue()
        connection.send(Call(number, question))
        try:
            while True:
                reply = await replies.get()
                if isinstance(reply, ConnectionLostError):
                    raise reply
                if reply.kind == ReplyKind.ERROR:
                    raise _error(reply.value)
                yield reply.value
                if reply.kind == ReplyKind.LAST:
                    return
        finally:
            del self._replies[number]

    def replied(self, reply: Reply) -> None:
        """An answer came; nobody may want it any more."""
        if (replies := self._replies.get(reply.id)) is not None:
            replies.put_nowait(reply)

    def lost(self, reason: str) -> None:
        """The connection is gone, and with it the answers."""
        for replies in self._replies.values():
            replies.put_nowait(ConnectionLostError(reason))


def _error(value: JsonObject) -> Exception:
    match value:
        case {"code": int(code), "detail": dict(detail)}:
            return error_from_wire(code, detail)
        case _:
            return RemoteProtocolError(f"error reply {value!r}")
