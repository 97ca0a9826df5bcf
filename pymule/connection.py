"""A session with its transport: feeds the one, coalesces writes to the other."""

import asyncio
import os
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol, cast

from pymule.errors import ConnectionLostError, RemoteProtocolError
from pymule.sansio.session import Role, Session, SessionState
from pymule.sansio.verbs import Verb

__all__ = ("Connection", "Owner")

_READ_BYTES: Final = 256 * 1024
# More than a mule's credit is worth in small messages, so that only a peer that really
# does not read is made to wait.
_UNSENT_BYTES: Final = 1024 * 1024
# For the last words, to a peer that does not read.
_LINGER_S: Final = 5.0
_STALL: Final = "stall"
# From that size on it takes longer to copy pieces into one than to send them apart.
_GATHER_BYTES: Final = 32 * 1024


class Owner(Protocol):
    """Who acts on what a connection brings."""

    def connection_made(self, connection: "Connection") -> None:
        """The connection can be used now."""

    def data_received(self, connection: "Connection") -> None:
        """Bytes came that are not whole frames, or the rest of such a frame."""

    def verbs_received(self, connection: "Connection", verbs: list[Verb]) -> None:
        """Verbs came, in this order.

        Raises:
            RemoteProtocolError: One breaks a rule; the conversation ends.
        """

    def connection_lost(
        self, connection: "Connection", reason: Exception | None
    ) -> None:
        """Nothing more comes; ``None`` for an end in good order."""


class Connection(asyncio.Protocol):
    """One peer. ``data in -> session -> owner -> transport.write`` is one call chain.

    Args:
        session: The conversation; its role decides what may be said.
        owner: Who acts on the verbs.
    """

    def __init__(self, session: Session, owner: Owner) -> None:
        self.session = session
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._is_flush_due = False
        # When it was read last, monotonic seconds.
        self.read_at = 0.0
        # Why nothing is read from the peer.
        self._holds: set[str] = set()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        # Called when the peer stops reading (True) and when it reads again (False).
        self.on_stall: Callable[[bool], None] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport is None or self._transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet."""
        if self._transport is None:
            return 0
        return self._transport.get_write_buffer_size() + sum(map(len, self._out))

    @property
    def is_between_frames(self) -> bool:
        """Whether the peer owes us the rest of a frame."""
        return self.session.is_between_frames

    @property
    def is_held(self) -> bool:
        """Whether nothing is read from the peer for now, for a reason of ours."""
        return bool(self._holds)

    def send(self, verb: Verb) -> None:
        """Send *verb* at the end of this loop turn, with what else is to be sent.

        Nothing is sent to a peer that is gone or has said goodbye.
        """
        if self.session.state is not SessionState.CLOSED:
            self.send_bytes(self.session.pack(verb))

    def send_bytes(self, data: bytes) -> None:
        """Send whole frames at the end of this loop turn."""
        self._out.append(data)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)

    def put(self, data: bytes) -> None:
        """Have whole frames sent by the next :meth:`flush`, which is the caller's."""
        self._out.append(data)

    def send_now(self, data: bytes) -> None:
        """Send whole frames before this returns, as far as the kernel takes them.

        Both loops write at once what has nothing before it, so that the peer can begin
        while this side goes on.
        """
        transport = self._transport
        if self._out or transport is None:
            self._out.append(data)
            self.flush()
        elif not transport.is_closing():
            transport.write(data)

    def flush(self) -> None:
        """Hand what is to be sent to the transport now."""
        self._is_flush_due = False
        if not self._out or self._transport is None:
            return
        out, self._out = self._out, []
        if self._transport.is_closing():
            return
        if len(out) == 1:
            self._transport.write(out[0])
        elif sum(map(len, out)) < _GATHER_BYTES:
            self._transport.write(b"".join(out))
        else:
            # uvloop gives the kernel all of them at once, and copies nothing.
            self._transport.writelines(out)

    def close(self, reason: str | None = None) -> None:
        """Say goodbye, with a *reason* if the peer should know one, and close."""
        if self._transport is None or self._transport.is_closing():
            return
        if reason is not None:
            self._out.append(self.session.farewell(reason))
        self.flush()
        self._transport.close()
        if self.session.role is Role.MASTER and (
            self._transport.get_write_buffer_size()
        ):
            # Else its descriptor would be open for as long as the peer wishes.
            self._loop.call_later(_LINGER_S, self.abort)

    def hold(self, reason: str) -> None:
        """Read nothing from the peer until every *reason* is gone."""
        if self._transport is None or self._transport.is_closing():
            return
        if not self._holds:
            self._transport.pause_reading()
        self._holds.add(reason)

    def release(self, reason: str) -> None:
        """Read again what the peer sends, if that was the last *reason* not to."""
        if reason not in self._holds:
            return
        self._holds.discard(reason)
        if not self._holds and self.session.has_more:
            self.data_received(b"")
        if self._transport is None or self._transport.is_closing():
            return
        if not self._holds:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close without sending what is left."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the transport is closed.

        Cancelling is safe: the connection goes on closing.
        """
        await asyncio.shield(self._closed)

    def read_rest(self, fd: int) -> None:
        """Take what is left in the socket *fd* of a peer whose process has ended.

        The loop would bring it too, but in a later turn than the news of the death.
        """
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.pause_reading()
        while True:
            try:
                data = os.read(fd, _READ_BYTES)
            except (BlockingIOError, ConnectionError):
                return
            if not data:
                return
            self.data_received(data)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # A stream's; uvloop's is not of asyncio's class.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        if self._out:
            self.flush()
        self._owner.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Feed the session and let the owner act."""
        self.read_at = monotonic()
        session = self.session
        was_between = session.is_between_frames
        try:
            verbs = session.receive_data(data)
        except RemoteProtocolError as exc:
            self.fail(exc)
            return
        if not (was_between and session.is_between_frames):
            self._owner.data_received(self)
        if verbs:
            try:
                self._owner.verbs_received(self, verbs)
            except RemoteProtocolError as exc:
                self.fail(exc)

    def fail(self, error: Exception) -> None:
        """End a conversation in which the peer broke a rule: say so, close."""
        self.close(str(error))
        self._lost(error)

    def eof_received(self) -> None:
        """Close our side too."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, once."""
        if exc is None:
            try:
                self.session.receive_eof()
            except ConnectionLostError as error:
                exc = error
        self._transport = None
        if not self._closed.done():
            self._closed.set_result(None)
        self._lost(exc)

    def _lost(self, reason: Exception | None) -> None:
        owner, self._owner = self._owner, _NOBODY
        owner.connection_lost(self, reason)

    def pause_writing(self) -> None:
        """The peer does not read: the master reads nothing more from it until it does.

        A client or a mule reads on: if both sides waited for the other to read, neither
        ever would.
        """
        if self.session.role is not Role.MASTER:
            return
        self.hold(_STALL)
        if self.on_stall is not None:
            self.on_stall(True)  # noqa: FBT003  (stalled or not)

    def resume_writing(self) -> None:
        """The peer reads again."""
        if self.session.role is not Role.MASTER:
            return
        if self.on_stall is not None:
            self.on_stall(False)  # noqa: FBT003  (stalled or not)
        self.release(_STALL)


class _Nobody:
    """The owner of a connection whose end was told."""

    def connection_made(self, connection: Connection) -> None:
        """Too late."""

    def data_received(self, connection: Connection) -> None:
        """Too late."""

    def verbs_received(self, connection: Connection, verbs: list[Verb]) -> None:
        """Too late."""

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """Told already."""


_NOBODY: Final = _Nobody()
