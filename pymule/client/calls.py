"""Questions to the master, and who waits for which answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pymule.client.questions import call_number
from pymule.connection import Connection
from pymule.errors import ConnectionLostError, error_of_reply
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind

__all__ = ("Calls",)


class Calls:
    """The calls of one client that are not answered to the end."""

    def __init__(self) -> None:
        self._replies: dict[int, asyncio.Queue[Reply | ConnectionLostError]] = {}
        self._last_number = 0

    async def ask(
        self,
        connection: Connection | None,
        question: JsonObject,
        *,
        withdraw: str | None = None,
    ) -> JsonObject:
        """Return the first answer to *question*.

        Args:
            connection: Where to ask.
            question: The method and its parameters.
            withdraw: Method that takes the question back, by its ``call``.

        Raises:
            RefusedError: The master said no.
            ConnectionLostError: It is not there, or went away.

        Cancelling is safe: a late answer is dropped.
        """
        number = self._number()
        async with aclosing(self._answers(number, connection, question)) as answers:
            try:
                return await anext(answers)
            except asyncio.CancelledError:
                if withdraw is not None:
                    self.tell(connection, {"method": withdraw, "call": number})
                raise

    def tell(self, connection: Connection | None, question: JsonObject) -> None:
        """Ask *question*, if *connection* is open, and drop the answer."""
        if connection is not None and not connection.is_closed:
            connection.send(Call(self._number(), question))

    def _number(self) -> int:
        self._last_number = call_number(self._last_number, self._replies)
        return self._last_number

    def stream(
        self, connection: Connection | None, question: JsonObject
    ) -> AsyncGenerator[JsonObject]:
        """Yield the answers to *question* until the last one; raises as :meth:`ask`."""
        return self._answers(self._number(), connection, question)

    async def _answers(
        self, number: int, connection: Connection | None, question: JsonObject
    ) -> AsyncGenerator[JsonObject]:
        if connection is None:
            raise ConnectionLostError("not connected")
        replies = self._replies[number] = asyncio.Queue()
        connection.send(Call(number, question))
        try:
            while True:
                reply = await replies.get()
                if isinstance(reply, ConnectionLostError):
                    raise reply
                if reply.kind == ReplyKind.ERROR:
                    raise error_of_reply(reply.value)
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
