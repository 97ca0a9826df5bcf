"""The asyncio client: hands messages to the master, and waits only if asked to."""

import asyncio
import os
import random
import secrets
import socket as socket_module
import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pymule.connection import Connection
from pymule.errors import (
    ConnectionLostError,
    MasterUnavailableError,
    MessageTooBigError,
    RemoteProtocolError,
    error_from_wire,
)
from pymule.paths import default_socket
from pymule.sansio.options import pack_options
from pymule.sansio.outbox import MESSAGE_COST, Outbox, Pile, Ticket
from pymule.sansio.session import PROTOCOL_VERSIONS, Role, Session
from pymule.sansio.target import Target
from pymule.sansio.verbs import (
    Call,
    Close,
    Confirm,
    Hello,
    JsonObject,
    Refuse,
    Reply,
    ReplyKind,
    Verb,
    Welcome,
)

__all__ = ("Client", "check_server", "find_socket", "message_limit", "to_bytes")

Waiter = asyncio.Future[list[range]]

_HELLO_TIMEOUT_S: Final = 10.0
_BACKOFF_S: Final = 0.05
_BACKOFF_MAX_S: Final = 2.0
# A frame of SUBMIT around one message: header fields, target, options, length.
_SUBMIT_ROOM: Final = 4096


def find_socket(socket: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of the master's socket: given, PYMULE_SOCKET or the default."""
    return Path(
        socket
        or os.environ.get("PYMULE_SOCKET")
        or default_socket(os.environ, os.getuid())
    )


def message_limit(max_frame_bytes: int) -> int:
    """Return the largest message, in bytes, that fits in a frame."""
    return max_frame_bytes - _SUBMIT_ROOM


def to_bytes(message: bytes | bytearray | memoryview | str) -> bytes:
    """Return *message* as it travels; a text as UTF-8.

    Raises:
        TypeError: It is neither bytes nor a text.
    """
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    raise TypeError(f"message is {type(message).__name__}; allowed: bytes or str")


def check_server(sock: socket_module.socket, path: Path) -> None:
    """Check that who listens on *path* may have our messages.

    That is this user, root, or the owner of the directory: anybody else has put a
    socket where he should not have been able to.

    Raises:
        MasterUnavailableError: It is somebody else.
    """
    credentials = sock.getsockopt(
        socket_module.SOL_SOCKET, socket_module.SO_PEERCRED, struct.calcsize("3i")
    )
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in (0, os.getuid(), path.parent.stat().st_uid):
        raise MasterUnavailableError(
            str(path), f"user {uid} listens there, not you, root or the directory owner"
        )


class Client:
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
        # Open piles, by farm name or mule number; sealed in the next loop turn.
        self.piles: dict[str | int | None, Pile[Waiter]] = {}
        self._piles_with_options: dict[tuple[str, bytes], Pile[Waiter]] = {}
        self._id = secrets.token_hex(16)
        self._outbox: Outbox[Waiter] = Outbox()
        self._connection: Connection | None = None
        self._welcome: asyncio.Future[JsonObject] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._message_limit = message_limit(16 * 1024 * 1024)
        self._is_flush_due = False
        self._is_closing = False
        # Done when an answer made room or everything has its answer.
        self._progress: asyncio.Future[None] | None = None
        self._calls: dict[int, asyncio.Queue[Reply | ConnectionLostError]] = {}
        self._next_call = 1

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
        pile.messages.append(body)
        pile.room -= len(body) + MESSAGE_COST
        if not confirm:
            return 0
        ticket = self._ticket(1)
        pile.tickets.append((len(pile.messages) - 1, 1, ticket))
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
        for body in bodies:
            pile = await self._room_in(where, options, body)
            if ticket is not None:
                _extend(pile, ticket)
            pile.messages.append(body)
            pile.room -= len(body) + MESSAGE_COST
        if ticket is None:
            return range(0)
        ids = await ticket.waiter
        if all(a.stop == b.start for a, b in zip(ids, ids[1:], strict=False)):
            return range(ids[0].start, ids[-1].stop)
        return [number for run in ids for number in run]

    async def flush(self) -> None:
        """Wait until every message sent so far has its answer.

        Raises:
            RefusedError: The first reason for which a message was refused that was
                sent with ``confirm=False``; a note tells how many more.

        Cancelling is safe: nothing is taken back.
        """
        self._seal_all()
        while self._outbox.unanswered:
            await self._wait_for_progress()
        failures, self._outbox.failures = self._outbox.failures, []
        if failures:
            if len(failures) > 1:
                failures[0].add_note(f"and {len(failures) - 1} more were refused")
            raise failures[0]

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
        pile = self._pile(where, options)
        cost = len(body) + MESSAGE_COST
        if pile.messages and pile.room < cost:
            self._seal_all()
            # The loop must turn, or nothing is written before the window is full.
            await asyncio.sleep(0)
            pile = self._pile(where, options)
        while self._outbox.is_full(pile.target):
            await self._wait_for_progress()
            pile = self._pile(where, options)
        return pile

    def _pile(self, where: str | int | None, options: bytes) -> Pile[Waiter]:
        if not options and (pile := self.piles.get(where)) is not None:
            return pile
        farm, mule = (where, None) if isinstance(where, str) else (None, where)
        target = str(Target.of(mule=mule, farm=farm))
        if options and (pile := self._piles_with_options.get((target, options))):
            return pile
        if self._is_closing:
            raise ConnectionLostError("the client is closed")
        pile = Pile(target, options)
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
                if pile.messages:
                    submit = self._outbox.seal(pile)
                    if connection is not None:
                        connection.send_bytes(submit.pack())
            piles.clear()
        if connection is not None:
            connection.flush()

    async def _wait_for_progress(self) -> None:
        if self._is_closing:
            raise ConnectionLostError(
                "the client is closed", unacked=self._outbox.unanswered
            )
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
        async for answer in self.stream(method, **params):
            return answer
        raise RemoteProtocolError(f"{method} ended without an answer")

    async def stream(self, method: str, **params: object) -> AsyncIterator[JsonObject]:
        """Ask the master; yield its answers until the last one."""
        if self._connection is None:
            raise ConnectionLostError("not connected")
        number, self._next_call = self._next_call, self._next_call + 1
        replies = self._calls[number] = asyncio.Queue()
        self._connection.send(Call(number, {"method": method, **params}))
        try:
            while True:
                reply = await replies.get()
                if isinstance(reply, ConnectionLostError):
                    raise reply
                if reply.kind == ReplyKind.ERROR:
                    raise _reply_error(reply.value)
                yield reply.value
                if reply.kind == ReplyKind.LAST:
                    return
        finally:
            del self._calls[number]

    # Connecting

    async def _connect(self) -> None:
        sock = socket_module.socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
        sock.setblocking(False)  # noqa: FBT003  (the standard library's signature)
        try:
            await _reach(self.loop, sock, self.path)
            check_server(sock, self.path)
        except (OSError, MasterUnavailableError) as exc:
            sock.close()
            if isinstance(exc, MasterUnavailableError):
                raise
            reason = exc.strerror or str(exc)
            raise MasterUnavailableError(str(self.path), reason) from exc
        self._welcome = self.loop.create_future()
        session = Session(Role.CLIENT, Role.MASTER)
        _, connection = await self.loop.create_unix_connection(
            lambda: Connection(session, self), sock=sock
        )
        hello: JsonObject = {
            "protocol": list(PROTOCOL_VERSIONS),
            "client": self._id,
            "name": self.name or f"pid {os.getpid()}",
        }
        connection.send(Hello(hello))
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                welcome = await self._welcome
        except BaseException:
            connection.abort()
            raise
        self._greeted(connection, session, welcome)

    def _greeted(
        self, connection: Connection, session: Session, welcome: JsonObject
    ) -> None:
        match welcome:
            case {
                "max_frame_bytes": int(max_frame_bytes),
                "window_count": int(window_count),
                "window_bytes": int(window_bytes),
            }:
                session.allow_frames(max_frame_bytes)
                self._message_limit = message_limit(max_frame_bytes)
                self._outbox.window_count = window_count
                self._outbox.window_bytes = window_bytes
            case _:
                connection.abort()
                raise RemoteProtocolError(f"WELCOME without limits: {welcome}")
        self._connection = connection
        for submit in self._outbox.resend():
            connection.send_bytes(submit.pack())
        connection.flush()

    async def _reconnect(self) -> None:
        delay = _BACKOFF_S
        while True:
            # Jitter, so that the clients of a restarted master do not come at once.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311
            try:
                await self._connect()
            except (OSError, TimeoutError, RemoteProtocolError):
                delay = min(delay * 2, _BACKOFF_MAX_S)
            else:
                return

    async def close(self) -> None:
        """Close the connection; what has no answer is in doubt.

        Cancelling is safe.
        """
        self._is_closing = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.wait([self._reconnecting])
            self._reconnecting = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            await connection.wait_closed()
        self._made_progress()

    # The connection's owner

    def connection_made(self, connection: Connection) -> None:
        """The socket is on the loop; the conversation is another matter."""

    def data_received(self, connection: Connection) -> None:
        """Nothing to do before a frame is whole."""

    def verbs_received(self, connection: Connection, verbs: list[Verb]) -> None:
        """Hand each answer to who waits for it."""
        for verb in verbs:
            match verb:
                case Confirm():
                    self._confirmed(connection, verb)
                case Refuse():
                    self._refused(connection, verb)
                case Reply() if verb.id in self._calls:
                    self._calls[verb.id].put_nowait(verb)
                case Welcome() if self._welcome is not None:
                    if not self._welcome.done():
                        self._welcome.set_result(verb.value)
                case Close():
                    self.connection_lost(
                        connection, ConnectionLostError(str(verb.value.get("reason")))
                    )
                case _:
                    pass

    def _confirmed(self, connection: Connection, confirm: Confirm) -> None:
        try:
            for sequence, count, first_id in confirm.ranges:
                self._settle(self._outbox.confirmed(sequence, count, first_id))
        except RemoteProtocolError as exc:
            connection.fail(exc)
        self._made_progress()

    def _refused(self, connection: Connection, refuse: Refuse) -> None:
        try:
            error = error_from_wire(refuse.code, refuse.detail)
            self._settle(self._outbox.refused(refuse.sequence, refuse.count, error))
        except RemoteProtocolError as exc:
            connection.fail(exc)
        self._made_progress()

    def _settle(self, tickets: list[Ticket[Waiter]]) -> None:
        for ticket in tickets:
            waiter = ticket.waiter
            if waiter.done():
                continue
            if ticket.error is not None:
                waiter.set_exception(ticket.error)
            else:
                waiter.set_result(ticket.ids)

    def _made_progress(self) -> None:
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """Fail the calls, keep the messages, and look for the next master."""
        text = str(reason or "the master closed the connection")
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_exception(MasterUnavailableError(str(self.path), text))
        if connection is not self._connection:
            return
        self._connection = None
        for replies in self._calls.values():
            replies.put_nowait(ConnectionLostError(text))
        if not self._is_closing:
            self._reconnecting = self.loop.create_task(
                self._reconnect(), name="pymule reconnect"
            )


async def _reach(
    loop: asyncio.AbstractEventLoop, sock: socket_module.socket, path: Path
) -> None:
    """Connect *sock*; wait while the master's backlog is full."""
    delay = _BACKOFF_S
    for _ in range(8):
        try:
            await loop.sock_connect(sock, str(path))
        except BlockingIOError:
            # A full backlog of a Unix socket answers at once, it does not wait.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311
            delay *= 2
        else:
            return
    raise MasterUnavailableError(str(path), "its backlog is full")


def _extend(pile: Pile[Waiter], ticket: Ticket[Waiter]) -> None:
    """Let *ticket* wait for the message that comes next in *pile* as well."""
    index = len(pile.messages)
    if pile.tickets and pile.tickets[-1][2] is ticket:
        first, wanted, _ = pile.tickets.pop()
        pile.tickets.append((first, wanted + 1, ticket))
    else:
        pile.tickets.append((index, 1, ticket))


def _reply_error(value: JsonObject) -> Exception:
    match value:
        case {"code": int(code), "detail": dict(detail)}:
            return error_from_wire(code, detail)
        case _:
            return RemoteProtocolError(f"error reply {value!r}")
