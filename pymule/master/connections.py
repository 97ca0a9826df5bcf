"""The connections of the master with its clients: who gets in, and how long it has."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

from pymule.connection import Connection
from pymule.errors import NotAllowedError, ProtocolError, RemoteProtocolError
from pymule.master.clients import ClientPeer, Clients
from pymule.master.control import Control
from pymule.master.door import Door
from pymule.master.fairness import Fairness
from pymule.master.listener import Credentials
from pymule.master.locks import Locks
from pymule.master.logs import log
from pymule.master.plan import Plan
from pymule.master.roles import UserRole
from pymule.master.signals import Signals, peer_receiver, send_error
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.pace import DEAR, MUCH
from pymule.sansio.session import Role, Session
from pymule.sansio.verbs import Call, Close, Handled, Hello, Listen, Submit, Verb

__all__ = ("PATIENCE", "Connections")

_LOGGER: Final = logging.getLogger("pymule.master")

_HELLO: Final = "hello"
_FRAME: Final = "frame"
_STALL: Final = "stall"
PATIENCE: Final = (_HELLO, _FRAME, _STALL)
"""The kinds of the deadlines of clients."""

# Why a client is not read from at the end.
_END: Final = "end"
# Verbs of one client in one turn; then the others have theirs.
_MAX_VERBS: Final = 256


class Connections:
    """The connections of all clients; acts on what they say, and fail to say.

    Args:
        loop: Where they live.
        clients: Take the messages.
        control: Answers the calls.
        ticker: Has the deadlines.
        signals: Answer the calls that are about signals.
        locks: Answer the calls that are about locks.
        plan: Returns what holds now; a reload changes it.
        owner_of: Returns the mule that a process is, or ``""``.
        pump: Sends what the router has decided; called at the end of each chain.
        own: Keeps a task that the master started until it is done.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clients: Clients,
        control: Control,
        ticker: Ticker[Deadline],
        *,
        signals: Signals,
        locks: Locks,
        plan: Callable[[], Plan],
        owner_of: Callable[[int], str],
        pump: Callable[[], None],
        own: Callable[[Coroutine[object, object, None]], object],
    ) -> None:
        self._loop = loop
        self._clients = clients
        self._control = control
        self._signals = signals
        self._locks = locks
        self._owner_of = owner_of
        self._ticker = ticker
        self._plan = plan
        self._pump = pump
        self._own = own
        self._door = Door(plan, own)
        self._fairness = Fairness(loop, clients, plan().transit_bytes)

    def accepted(self, sock: socket.socket, credentials: Credentials) -> bool:
        """Somebody connected; let in who may, and tell whether that is so."""
        if self._plan().access.role_of(credentials) is UserRole.NOBODY:
            self._clients.refuse(sock, credentials)
            return False
        rest = self._fairness.rest_of(credentials.pid)
        if rest > self._plan().patience.rest_s:
            if not self._door.dismisses(sock):
                self._door.refuse(
                    sock,
                    f"process {credentials.pid} makes too much work; it may connect in"
                    f" {rest:.1f} seconds",
                )
            return False
        if not self._door.admits(sock, credentials):
            return False
        peer = self._clients.add(sock, credentials)
        rest = self._fairness.greets(credentials.pid)
        self._arm(_HELLO, peer, later=rest)
        self._own(self._attach(peer, rest))
        return True

    async def _attach(self, peer: ClientPeer, rest: float) -> None:
        try:
            await asyncio.sleep(rest)
        except asyncio.CancelledError:
            peer.socket.close()
            raise
        if peer.number not in self._clients.peers:
            # It was waited for too long.
            return
        session = Session(
            Role.MASTER, Role.CLIENT, self._plan().max_frame_bytes, _MAX_VERBS
        )
        owner = _PeerOwner(self, peer)
        await self._loop.create_unix_connection(
            lambda: Connection(session, owner), sock=peer.socket
        )

    def verbs_received(
        self, peer: ClientPeer, connection: Connection, verbs: list[Verb]
    ) -> None:
        """Act on what a client says.

        Raises:
            RemoteProtocolError: It broke a rule.
        """
        if peer.owes_frame:
            # The frame that is not whole yet began after those that came now.
            self._arm(_FRAME, peer)
        access = self._plan().access
        if peer.access is not access:
            # Not as it was when it connected: a reload has changed it.
            peer.access, peer.role = access, access.role_of(peer.credentials)
        refused = peer.refused
        is_alone = len(verbs) == 1
        if is_alone and isinstance(verbs[0], Submit):
            self._clients.submit(peer, verbs[0], is_alone=True)
            rests = [MUCH]
        else:
            rests = [self._act(connection, peer, verb) for verb in verbs]
        self._pump()
        rest = DEAR if DEAR in rests or peer.refused > refused else 0.0
        if not rest and connection.session.has_more:
            # A flood of messages, or of frames that do nothing.
            rest = MUCH if 2 * rests.count(MUCH) > len(rests) else DEAR
        self._fairness.worked(connection, peer, rest)
        pid = peer.credentials.pid
        is_one_of_many = self._door.has_many(pid)
        self._fairness.heard(connection, pid, is_one_of_many=is_one_of_many)
        self._fairness.weigh(connection, peer)

    def _act(self, connection: Connection, peer: ClientPeer, verb: Verb) -> float:
        """Act on *verb*; return the rest after it, if more came than is taken."""
        match verb:
            case Submit():
                self._clients.submit(peer, verb)
                return MUCH
            case Call():
                return self._called(connection, peer, verb)
            case Hello():
                self._ticker.disarm((_HELLO, peer.number))
                self._clients.greet(peer, verb)
            case Close():
                connection.close()
            case Listen():
                self._signals.listened(peer_receiver(peer.number), verb)
            case Handled():
                self._signals.handled(peer_receiver(peer.number), verb)
            case _:
                raise RemoteProtocolError(f"{verb.opcode.name} from a client")
        return 0.0

    def _called(self, connection: Connection, peer: ClientPeer, call: Call) -> float:
        """Answer *call*; return the rest after it."""
        try:
            self._clients.check_role(peer, str(call.value.get("method")))
        except NotAllowedError as exc:
            send_error(call, exc, connection)
            return DEAR
        receiver, pid = peer_receiver(peer.number), peer.credentials.pid
        if self._locks.call(peer, call):
            return 0.0
        if self._signals.call(call, receiver, connection, lambda: self._owner_of(pid)):
            return 0.0
        self._control.call(call, peer.credentials, connection)
        return DEAR

    def deafen(self) -> None:
        """Read nothing more of anybody; answers still leave."""
        for peer in self._clients.peers.values():
            if peer.connection is not None:
                peer.connection.hold(_END)

    def data_received(self, connection: Connection, peer: ClientPeer) -> None:
        """Bytes came: whoever owes the rest of a frame has some time for it."""
        if connection.session.is_between_frames:
            if peer.owes_frame:
                peer.owes_frame = False
                self._ticker.disarm((_FRAME, peer.number))
            return
        if not peer.owes_frame:
            peer.owes_frame = True
            self._arm(_FRAME, peer)
        self._fairness.weigh(connection, peer)

    def stalled(self, peer: ClientPeer, *, is_stalled: bool) -> None:
        """A client stopped reading, or reads again."""
        if is_stalled:
            self._arm(_STALL, peer)
        else:
            self._ticker.disarm((_STALL, peer.number))
            if peer.connection is not None:
                self._fairness.weigh(peer.connection, peer)

    def connection_lost(
        self, connection: Connection, peer: ClientPeer, reason: Exception | None
    ) -> None:
        """A client is gone."""
        for kind in PATIENCE:
            self._ticker.disarm((kind, peer.number))
        self._control.connection_gone(connection)
        self._signals.client_gone(peer.number)
        self._locks.peer_gone(peer)
        self._clients.remove(peer)
        self._door.left(peer.credentials)
        pid = peer.credentials.pid
        self._fairness.left(connection, pid, is_last=self._door.is_new(pid))
        if isinstance(reason, ProtocolError):
            # It may come again at once, to break the same rule.
            self._fairness.broke(connection, peer)
            log(
                _LOGGER,
                logging.WARNING,
                "client broke the protocol",
                client=peer.name,
                pid=peer.credentials.pid,
                error=reason,
            )
        self._pump()

    def _patience(self, kind: str) -> tuple[float, str]:
        """Return for how many seconds a client is waited for, and what it owes."""
        patience = self._plan().patience
        return {
            _HELLO: (patience.hello_s, "no HELLO"),
            _FRAME: (patience.frame_s, "not the rest of a frame"),
            _STALL: (patience.stall_s, "nothing read"),
        }[kind]

    def _arm(self, kind: str, peer: ClientPeer, *, later: float = 0.0) -> None:
        seconds, _ = self._patience(kind)
        self._ticker.arm((kind, peer.number), time.monotonic() + seconds + later)

    def due(self, kind: str, number: int) -> None:
        """A client is not waited for any longer."""
        peer = self._clients.peers.get(number)
        if peer is None:
            return
        seconds, what = self._patience(kind)
        if peer.connection is None:
            peer.socket.close()
            self._clients.remove(peer)
            self._door.left(peer.credentials)
            return
        if kind == _FRAME and self._fairness.is_in_crowd(peer.connection):
            what = "no memory for what is in transit of all clients"
        elif kind == _FRAME and peer.connection.is_held:
            # It may have come, and is not read.
            self._arm(_FRAME, peer)
            return
        error = RemoteProtocolError(f"{what} within {seconds:g} seconds")
        if kind == _STALL:
            # It reads nothing, so it cannot be told.
            peer.connection.abort()
        peer.connection.fail(error)


class _PeerOwner:
    """Ties a connection to the client at its other end."""

    def __init__(self, connections: Connections, peer: ClientPeer) -> None:
        self._connections = connections
        self._peer = peer
        # No method: one call less for each read of each client.
        self.verbs_received: Callable[[Connection, list[Verb]], None] = partial(
            connections.verbs_received, peer
        )

    def connection_made(self, connection: Connection) -> None:
        """Keep the connection, and watch that the client reads."""
        self._peer.connection = connection
        connection.on_stall = self._stalled

    def _stalled(self, is_stalled: bool) -> None:  # noqa: FBT001  (stalled or not)
        self._connections.stalled(self._peer, is_stalled=is_stalled)

    def data_received(self, connection: Connection) -> None:
        """Whoever owes the rest of a frame has some time for it."""
        self._connections.data_received(connection, self._peer)

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """Let the connections know."""
        self._connections.connection_lost(connection, self._peer, reason)
