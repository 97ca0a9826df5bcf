"""The asyncio client: hands messages to the master, and waits only if asked to."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self

from pymule.client.calls import Calls
from pymule.client.dial import Greeting, dial
from pymule.client.locks import Locking
from pymule.client.reach import (
    Terms,
    find_socket,
    hello,
    message_limit,
    new_client_id,
    pause,
)
from pymule.client.sending import Sending
from pymule.connection import Connection
from pymule.errors import ConnectionLostError, RemoteProtocolError
from pymule.sansio.session import Role, Session
from pymule.sansio.verbs import (
    Close,
    Confirm,
    JsonObject,
    Refuse,
    Reply,
    Signal,
    Verb,
    Welcome,
)

__all__ = ("Client",)


class Client(Sending, Locking):
    """A connection to the master, kept open across the master's restarts.

    Used in the loop in which it was made. What was handed over and not confirmed when
    the master went away is sent again to the next one, which drops what it has.

    Args:
        socket: Path of the master's socket; default ``PYMULE_SOCKET``, then the
            default of ``pymuled``.
        name: What ``pymule status`` calls this client.
    """

    def __init__(
        self, socket: str | os.PathLike[str] | None = None, *, name: str = ""
    ) -> None:
        super().__init__()
        self.path = find_socket(socket)
        self.name = name
        self._id = new_client_id()
        # Of the socket, or below zero.
        self.fd = -1
        self._greeting = Greeting(self.path)
        self._reconnecting: asyncio.Task[None] | None = None
        # Whether the master's mules unpickle the arguments of functions.
        self.allow_pickle = False
        self._calls = Calls()
        # Of a worker: what to do with a signal, and once there is a master again.
        self.on_signal: Callable[[Signal], object] = _nothing
        self.on_greeted: Callable[[], object] = _nothing

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            MasterUnavailableError: Nobody answers at the socket.
        """
        await self._connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for what was sent, unless an exception is on its way, and close."""
        try:
            if exc is None:
                await self.flush()
        finally:
            await self.close()

    # Asking

    async def call(self, method: str, **params: object) -> JsonObject:
        """Ask the master; return its answer.

        Raises:
            RefusedError: The master said no.
            ConnectionLostError: It went away before it answered.
        """
        return await self._calls.ask(self._connection, {"method": method, **params})

    def stream(self, method: str, **params: object) -> AsyncGenerator[JsonObject]:
        """Ask the master; yield its answers until the last one.

        Raises:
            RefusedError: The master said no.
            ConnectionLostError: It went away before the last answer.
        """
        return self._calls.stream(self._connection, {"method": method, **params})

    def say(self, verb: Verb) -> None:
        """Tell the master *verb*, if there is one."""
        if self._connection is not None:
            self._connection.send(verb)

    # Connecting

    async def _connected(self) -> Connection:
        while self._connection is None or self._is_closing:
            await self._wait_for_progress()
        return self._connection

    async def _connect(self) -> None:
        sock = await dial(self.path)
        self.fd = sock.fileno()
        greeting = self._greeting = Greeting(self.path)
        session = Session(Role.CLIENT, Role.MASTER)
        _, connection = await self.loop.create_unix_connection(
            lambda: Connection(session, self), sock=sock
        )
        connection.send(hello(self._id, self.name))
        try:
            terms = await greeting.terms()
        except BaseException:
            connection.abort()
            raise
        self._greeted(connection, session, terms)

    def _greeted(self, connection: Connection, session: Session, terms: Terms) -> None:
        session.allow_frames(terms.max_frame_bytes)
        self._message_limit = message_limit(terms.max_frame_bytes)
        self.allow_pickle = terms.allow_pickle
        self._outbox.window_count = terms.window_count
        self._outbox.window_bytes = terms.window_bytes
        self._connection = connection
        for submit in self._outbox.resend(terms.epoch):
            connection.send_bytes(submit.pack())
        connection.flush()
        self.on_greeted()
        self._made_progress()

    def _look_for_master(self) -> None:
        """Reconnect, unless that is under way or not needed."""
        # A task that the end of asyncio.run has cancelled is begun again.
        if self._connection is None and (
            self._reconnecting is None or self._reconnecting.done()
        ):
            self._reconnecting = self.loop.create_task(
                self._reconnect(), name="pymule reconnect"
            )

    async def _reconnect(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(pause(failures))
            try:
                await self._connect()
            except (OSError, RemoteProtocolError):
                failures += 1
            else:
                return

    async def close(self) -> None:
        """Close the connection; what has no answer is in doubt.

        Who waits for an answer gets a ConnectionLostError. Cancelling is safe.
        """
        self._seal_all()
        self._is_closing = True
        for ticket in self._outbox.abandon():
            if not ticket.waiter.done():
                ticket.waiter.set_exception(self._closed_error())
        self._calls.lost("the client is closed")
        self._made_progress()
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.wait([self._reconnecting])
            self._reconnecting = None
        connection, self._connection = self._connection, None
        self._calls.lost("the client is closed")
        if connection is not None:
            connection.close()
            await connection.wait_closed()

    # The connection's owner

    def connection_made(self, connection: Connection) -> None:
        """The socket is on the loop; the conversation is another matter."""

    def data_received(self, connection: Connection) -> None:
        """Nothing to do before a frame is whole."""

    def verbs_received(self, connection: Connection, verbs: list[Verb]) -> None:
        """Hand each answer to who waits for it."""
        for verb in verbs:
            match verb:
                case Confirm() | Refuse():
                    self._answered(connection, verb)
                case Reply():
                    self._calls.replied(verb)
                case Signal():
                    self.on_signal(verb)
                case Welcome():
                    self._welcomed(connection, verb)
                case Close():
                    reason = ConnectionLostError(str(verb.value.get("reason")))
                    self.connection_lost(connection, reason)
                    connection.close()
                case _:
                    pass

    def _welcomed(self, connection: Connection, welcome: Welcome) -> None:
        try:
            self._greeting.welcomed(welcome)
        except RemoteProtocolError as exc:
            connection.fail(exc)

    def _answered(self, connection: Connection, answer: Confirm | Refuse) -> None:
        try:
            for ticket in self._outbox.answered(answer):
                waiter = ticket.waiter
                if waiter.done():
                    continue
                if ticket.error is not None:
                    waiter.set_exception(ticket.error)
                else:
                    waiter.set_result(ticket.ids)
        except RemoteProtocolError as exc:
            connection.fail(exc)
        self._made_progress()

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """Fail the calls, keep the messages, and look for the next master."""
        text = str(reason or "the master closed the connection")
        self._greeting.failed(text)
        self.fd = -1
        if connection is not self._connection:
            return
        self._connection = None
        self._outbox.lost()
        self._calls.lost(text)
        if not self._is_closing:
            self._look_for_master()


def _nothing(*_args: object) -> None:
    """The default of a hook."""
