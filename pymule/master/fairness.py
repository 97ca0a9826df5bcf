"""Holds clients back that take more of the master than others leave them."""

import asyncio
import time
from typing import Final

from pymule.connection import Connection
from pymule.master.clients import ClientPeer, Clients
from pymule.master.hangups import Hangups
from pymule.sansio.crowd import Crowd
from pymule.sansio.pace import DEAR, Pace
from pymule.sansio.rota import Rota

__all__ = ("Fairness",)

# Why a client is not read from.
_REST: Final = "rest"
_CROWD: Final = "crowd"
_TURN: Final = "turn"
# About what it takes to greet somebody.
_GREETING_S: Final = 0.00025
# Longer than the work of one turn for one client.
_TURN_S: Final = 0.05
# What the master remembers of a batch that was accepted, in bytes.
_ACCEPTED_BYTES: Final = 160


class Fairness:
    """The time that clients take, and the memory for what they have in transit.

    Args:
        loop: Where they live.
        clients: Tell of turns, and of what waits for its answer.
        transit_bytes: For what all of them have in transit.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clients: Clients, transit_bytes: int
    ) -> None:
        self._loop = loop
        self._clients = clients
        # By process, because one that is held back could connect once more.
        self._pace: Pace[int] = Pace()
        # The same for floods of messages. Mules that work on them are no company then:
        # a flood that nobody else is held up by may be as fast as it can.
        self._floods: Pace[int] = Pace()
        self._client_turns = 0
        # By process as well: one with many connections is no more than one with one.
        self._rota: Rota[int, Connection] = Rota()
        self._is_turn_due = False
        self._crowd: Crowd[Connection] = Crowd(transit_bytes)
        # Those that are held back for the crowd, and their descriptors.
        self._held: dict[Connection, int] = {}
        self._hangups = Hangups(loop)
        self._is_relief_due = False
        clients.on_turn = self._look_for_relief

    def rest_of(self, pid: int) -> float:
        """Return for how many seconds more a process is held back."""
        return self._pace.rest_of(pid, time.monotonic())

    def greets(self, pid: int) -> float:
        """Somebody is greeted; return how many seconds later that should be."""
        self._clients.turns += 1
        now = time.monotonic()
        return self._pace.worked(pid, self._clients.turns, _GREETING_S, now, DEAR)

    def worked(self, connection: Connection, peer: ClientPeer, rest: float) -> None:
        """Go on with what a client has said at the next turn, or after a rest.

        Args:
            connection: The client's.
            peer: The client.
            rest: In seconds for each second of the work that was done just now.
        """
        self._client_turns += 1
        pid, now = peer.credentials.pid, time.monotonic()
        took = now - connection.read_at
        dear, much = (rest, 0.0) if rest == DEAR else (0.0, rest)
        seconds = max(
            self._pace.worked(pid, self._clients.turns, took, now, dear),
            self._floods.worked(pid, self._client_turns, took, now, much),
        )
        if seconds or connection.session.has_more:
            connection.hold(_REST)
            self._loop.call_later(seconds, self._rested, connection, pid)

    def _rested(self, connection: Connection, pid: int) -> None:
        """A rest is over: what was said meanwhile is heard, if others let it."""
        # Else all of a process that rested together would be heard together.
        if self._rota.wait(pid, connection):
            connection.hold(_TURN)
            self._look_for_turn()
        connection.release(_REST)

    def heard(self, connection: Connection, pid: int, *, is_one_of_many: bool) -> None:
        """Hear others before what else the process *pid* says.

        Args:
            connection: Where it has said something.
            pid: The process.
            is_one_of_many: Whether it has other connections.
        """
        if not is_one_of_many:
            self._rota.pass_by(pid)
            return
        if self._rota.hear(pid, connection):
            connection.hold(_TURN)
        self._look_for_turn()

    def _look_for_turn(self) -> None:
        if not self._is_turn_due and self._rota.is_in_use:
            self._is_turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """A turn of the loop is over."""
        self._is_turn_due = False
        for connection in self._rota.turn():
            connection.release(_TURN)
        self._look_for_turn()

    def broke(self, connection: Connection, peer: ClientPeer) -> None:
        """A client broke a rule, by what was read just now or by saying nothing."""
        self._clients.turns += 1
        pid, now = peer.credentials.pid, time.monotonic()
        took = now - connection.read_at
        if took > _TURN_S:
            # Its time was up: that was a wait, and no work.
            took = _GREETING_S
        self._pace.worked(pid, self._clients.turns, took, now, DEAR)

    def weigh(self, connection: Connection, peer: ClientPeer) -> None:
        """Hold a client back that has too much in transit."""
        weight = connection.session.buffered_bytes + connection.unsent_bytes
        weight += len(peer.sender.log) * _ACCEPTED_BYTES
        if self._crowd.is_too_heavy(
            connection, weight, peer.window.bytes, self._clients.waiting_bytes
        ):
            connection.hold(_CROWD)
            if connection.is_held:
                self._held[connection] = fd = peer.socket.fileno()
                self._hangups.watch(fd, connection.abort)

    def is_in_crowd(self, connection: Connection) -> bool:
        """Whether a client is held back for what it has in transit."""
        return connection in self._held

    def left(self, connection: Connection, pid: int, *, is_last: bool) -> None:
        """A client of the process *pid* is gone, which was its last one or not."""
        self._rota.forget(pid, connection, is_last=is_last)
        self._crowd.forget(connection)
        self._hangups.forget(self._held.pop(connection, -1))

    def _look_for_relief(self) -> None:
        """Let those go on that are held back, in the next turn, if they can."""
        if (
            self._held
            and not self._is_relief_due
            and self._crowd.is_relieved(self._clients.waiting_bytes)
        ):
            self._is_relief_due = True
            self._loop.call_soon(self._relieve)

    def _relieve(self) -> None:
        self._is_relief_due = False
        held, self._held = self._held, {}
        for connection, fd in held.items():
            self._hangups.forget(fd)
            connection.release(_CROWD)
