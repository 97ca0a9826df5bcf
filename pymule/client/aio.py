"""The asyncio client: hands messages to the master, and waits only if asked to."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from pymule.client.calls import Calls
from pymule.client.dial import Greeting, dial
from pymule.client.locks import Locking
from pymule.client.reach import (
    Terms,
    find_socket,
    hello,
    join_ids,
    message_limit,
    new_client_id,
    pause,
    target_of,
    to_bytes,
)
from pymule.connection import Connection
from pymule.errors import ConnectionLostError, MessageTooBigError, RemoteProtocolError
from pymule.sansio.frame import DEFAULT_MAX_FRAME_BYTES
from pymule.sansio.options import pack_options
from pymule.sansio.outbox import MESSAGE_COST, PILE_BYTES, Outbox, Pile, Ticket
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

Waiter = asyncio.Future[list[range]]


class Client(Locking):
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
        self.path = find_socket(socket)
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.is_running = self.loop.is_running
        # Open piles, by farm name or mule number; sealed in the next loop turn.
        self.piles: dict[str | int | None, Pile[Waiter]] = {}
        self._piles_with_options: dict[tuple[str, bytes], Pile[Waiter]] = {}
        # All of these together have the room of one pile: what is open is not in the
        # window yet, and any number of them could be.
        self._options_room = PILE_BYTES
        self._id = new_client_id()
        self._outbox: Outbox[Waiter] = Outbox()
        self._connection: Connection | None = None
        # Of the socket, or below zero.
        self.fd = -1
        self._greeting = Greeting(self.path)
        self._reconnecting: asyncio.Task[None] | None = None
        self._message_limit = message_limit(DEFAULT_MAX_FRAME_BYTES)
        # Whether the master's mules unpickle the arguments of functions.
        self.allow_pickle = False
        self._is_flush_due = False
        self._is_closing = False
        # Done when an answer made room or everything has its answer.
        self._progress: asyncio.Future[None] | None = None
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

    # Sending

    async def mule_msg(
        self,
        message: bytes | str,
        mule: int | None = None,
        *,
        confirm: bool = True,
        delay: float = 0,
        priority: int = 0,
        ttl: float | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        """Send *message* to mule number *mule*, or to the first available one.

        See :meth:`farm_msg`.
        """
        options = pack_options(
            delay=delay, priority=priority, ttl=ttl, key=key, headers=headers
        )
        return await self.send(mule, message, options, confirm=confirm)

    async def farm_msg(
        self,
        farm: str,
        message: bytes | str,
        *,
        confirm: bool = True,
        delay: float = 0,
        priority: int = 0,
        ttl: float | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        """Send *message* to one mule of *farm*.

        Args:
            farm: Name of the farm.
            message: A text travels as UTF-8.
            confirm: Wait until the master answers for the message. Without, return
                as soon as there is room in the window, 0 for an id, and leave
                refusals to :meth:`flush`.
            delay: Seconds before the first delivery.
            priority: Higher is delivered earlier.
            ttl: Seconds after which the message is not worth delivering.
            key: Messages with the same key are handled one at a time, in order.
            headers: Texts that travel with the message.

        Returns:
            The id of the message.

        Raises:
            UnknownTargetError: There is no such farm.
            QueueFullError: The queue is full and configured to refuse.
            MessageTooBigError: The message does not fit in a frame.
            UnsupportedError: The master does not offer one of the options.

        Cancelling: the message may be delivered all the same.
        """
        options = pack_options(
            delay=delay, priority=priority, ttl=ttl, key=key, headers=headers
        )
        return await self.send(farm, message, options, confirm=confirm)

    async def mule_msgs(
        self,
        messages: Iterable[bytes | str],
        mule: int | None = None,
        *,
        confirm: bool = True,
        headers: dict[str, str] | None = None,
    ) -> Sequence[int]:
        """Send many *messages* and wait once; see :meth:`farm_msgs`."""
        options = pack_options(headers=headers)
        return await self.send_many(mule, messages, options, confirm=confirm)

    async def farm_msgs(
        self,
        farm: str,
        messages: Iterable[bytes | str],
        *,
        confirm: bool = True,
        headers: dict[str, str] | None = None,
    ) -> Sequence[int]:
        """Send many *messages* to *farm*, each to one of its mules, and wait once.

        Returns:
            Their ids, in order: a range where the master gave them in one piece.

        Raises:
            RefusedError: The first reason for which one was refused; the others may
                have been queued.
        """
        options = pack_options(headers=headers)
        return await self.send_many(farm, messages, options, confirm=confirm)

    async def send(
        self,
        where: str | int | None,
        message: bytes | str,
        options: bytes = b"",
        *,
        confirm: bool = True,
    ) -> int:
        """Send *message* to the farm or mule *where*, with packed *options*."""
        body = message if isinstance(message, bytes) else to_bytes(message)
        pile = await self._room_in(where, options, body)
        if not confirm:
            pile.add(body, None)
            return 0
        ticket = self._ticket(1)
        pile.add(body, ticket)
        ids = await ticket.waiter
        return ids[0].start

    async def send_many(
        self,
        where: str | int | None,
        messages: Iterable[bytes | str],
        options: bytes = b"",
        *,
        confirm: bool = True,
    ) -> Sequence[int]:
        """Send *messages* to the farm or mule *where*, with packed *options*."""
        bodies = [to_bytes(message) for message in messages]
        for body in bodies:
            self._check_size(body)
        if not bodies:
            return range(0)
        ticket = self._ticket(len(bodies)) if confirm else None
        try:
            for body in bodies:
                pile = await self._room_in(where, options, body)
                pile.add(body, ticket)
        except BaseException:
            if ticket is not None:
                # Nobody will wait for the answers to those that are out.
                ticket.waiter.cancel()
            raise
        if ticket is None:
            return range(0)
        return join_ids(await ticket.waiter)

    async def flush(self) -> None:
        """Wait until every message sent so far has its answer.

        Raises:
            RefusedError: The first reason for which a message was refused that was
                sent with ``confirm=False``; a note tells how many more.

        Cancelling is safe: nothing is taken back.
        """
        self._seal_all()
        # Not until nothing is unanswered: others may send all the time.
        end = self._outbox.next_sequence
        while self._outbox.floor < end:
            await self._wait_for_progress()
        if (failure := self._outbox.take_failure()) is not None:
            raise failure

    def _ticket(self, wanted: int) -> Ticket[Waiter]:
        return Ticket(wanted, self.loop.create_future())

    def _check_size(self, body: bytes) -> None:
        if len(body) > self._message_limit:
            raise MessageTooBigError(len(body), self._message_limit)

    async def _room_in(
        self, where: str | int | None, options: bytes, body: bytes
    ) -> Pile[Waiter]:
        """Return the open pile for *where* that takes *body*; wait for the window."""
        self._check_size(body)
        cost = len(body) + MESSAGE_COST
        pile = self.piles.get(where) if not options else None
        if pile is not None and pile.room >= cost:
            return pile
        target = target_of(where)
        has_turned = False
        while True:
            pile = self._open_pile(where, target, options)
            if pile is None and self._must_seal(cost):
                self._seal_all()
            if pile is None and not self._outbox.is_full(target):
                self._options_room -= cost if options else 0
                return self._start_pile(where, target, options)
            if pile is None:
                await self._wait_for_progress()
            elif pile.room >= cost and not (options and self._must_seal(cost)):
                self._options_room -= cost if options else 0
                return pile
            else:
                self._seal_all()
                if not has_turned:
                    # The loop must turn, or no answer is read before the window is
                    # full.
                    await asyncio.sleep(0)
                    has_turned = True

    def _must_seal(self, cost: int) -> bool:
        """Whether what is open must be in the window before more is piled up."""
        return cost > self._options_room or any(
            pile.room < 0 for pile in self.piles.values()
        )

    def _open_pile(
        self, where: str | int | None, target: str, options: bytes
    ) -> Pile[Waiter] | None:
        if options:
            return self._piles_with_options.get((target, options))
        return self.piles.get(where)

    def _start_pile(
        self, where: str | int | None, target: str, options: bytes
    ) -> Pile[Waiter]:
        """Open a pile; its first message must follow before the loop turns."""
        if self._is_closing:
            raise self._closed_error()
        pile: Pile[Waiter] = Pile(target, options)
        pile.room = min(pile.room, self._message_limit)
        if options:
            self._piles_with_options[target, options] = pile
        else:
            self.piles[where] = pile
        if not self._is_flush_due:
            self._is_flush_due = True
            self.loop.call_soon(self._seal_all)
        return pile

    def _seal_all(self) -> None:
        """Send what is piled up."""
        self._is_flush_due = False
        connection = self._connection
        for piles in (self.piles, self._piles_with_options):
            for pile in piles.values():
                submit = self._outbox.seal(pile)
                if connection is not None:
                    connection.send_bytes(submit.pack())
            piles.clear()
        self._options_room = PILE_BYTES
        if connection is not None:
            connection.flush()

    async def _wait_for_progress(self) -> None:
        if self._is_closing:
            raise self._closed_error()
        self._look_for_master()
        if self._progress is None or self._progress.done():
            self._progress = self.loop.create_future()
        await asyncio.shield(self._progress)

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
        for submit in self._outbox.resend():
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

    @property
    def unanswered(self) -> int:
        """Messages that were sent and have no answer yet."""
        return self._outbox.unanswered

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

    def _closed_error(self) -> ConnectionLostError:
        return ConnectionLostError(
            "the client is closed", unacked=self._outbox.unanswered
        )

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

    def _made_progress(self) -> None:
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """Fail the calls, keep the messages, and look for the next master."""
        text = str(reason or "the master closed the connection")
        self._greeting.failed(text)
        self.fd = -1
        if connection is not self._connection:
            return
        self._connection = None
        self._calls.lost(text)
        if not self._is_closing:
            self._look_for_master()


def _nothing(*_args: object) -> None:
    """The default of a hook."""
