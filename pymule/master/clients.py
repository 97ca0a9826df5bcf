"""The clients of the master: who they are, and what they hand over."""

import itertools
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from pymule.connection import Connection
from pymule.errors import DrainingError, RefusedError, RemoteProtocolError
from pymule.master.listener import Credentials
from pymule.master.logs import log
from pymule.sansio.batch import Batch
from pymule.sansio.functions import is_function
from pymule.sansio.options import check_options
from pymule.sansio.queue import SenderId
from pymule.sansio.router import Answer, Router
from pymule.sansio.session import choose_version
from pymule.sansio.submissions import SubmissionLog
from pymule.sansio.target import Target
from pymule.sansio.verbs import Confirm, Hello, JsonObject, Refuse, Submit, Welcome

__all__ = ("ClientPeer", "Clients")

_LOGGER: Final = logging.getLogger("pymule.master")

_REMEMBERED_CLIENTS: Final = 10_000
_REMEMBERED_S: Final = 600.0


class ClientPeer:
    """One connection of a client."""

    def __init__(
        self, number: SenderId, sock: socket.socket, credentials: Credentials
    ) -> None:
        self.number = number
        self.socket = sock
        self.credentials = credentials
        self.connection: Connection | None = None
        self.name = ""
        self.client = ""
        self.log = SubmissionLog()
        self.is_open = False
        # Answers that leave at the end of the turn.
        self.confirms: list[tuple[int, int, int]] = []


class Clients:
    """All clients, and the memory of what was accepted from each.

    Args:
        router: Takes their messages.
        welcome: Returns the limits that WELCOME tells.
    """

    def __init__(self, router: Router, welcome: Callable[[], JsonObject]) -> None:
        self.peers: dict[SenderId, ClientPeer] = {}
        self.is_draining = False
        # Called with the target of a function before something is submitted for it.
        self.on_function: Callable[[str], None] = _nothing
        self._router = router
        self._welcome = welcome
        self._numbers = itertools.count(1)
        self._unflushed: dict[ClientPeer, None] = {}
        # Of clients that are away: when they left, and what was accepted from them.
        self._away: OrderedDict[str, tuple[float, SubmissionLog]] = OrderedDict()

    def add(self, sock: socket.socket, credentials: Credentials) -> ClientPeer:
        """Somebody connected."""
        peer = ClientPeer(next(self._numbers), sock, credentials)
        self.peers[peer.number] = peer
        return peer

    def greet(self, peer: ClientPeer, hello: Hello) -> None:
        """Answer HELLO.

        Raises:
            RemoteProtocolError: There is no common version, or no client id.
        """
        version = choose_version(hello.value)
        client = hello.value.get("client")
        if not isinstance(client, str) or not 0 < len(client) <= 64:  # noqa: PLR2004
            raise RemoteProtocolError(
                f"client id {client!r}; allowed: a text of 1 to 64 characters"
            )
        for other in list(self.peers.values()):
            if other.client == client and other.connection is not None:
                # It came back before its old connection was seen to be dead.
                self.remove(other)
                other.connection.close("this client has connected again")
        peer.client = client
        peer.name = str(hello.value.get("name", ""))[:64]
        peer.log = self._away.pop(client, (0.0, peer.log))[1]
        peer.is_open = True
        if peer.connection is None:
            raise AssertionError("it said hello")
        peer.connection.send(Welcome({"protocol": version, **self._welcome()}))

    def remove(self, peer: ClientPeer) -> None:
        """A client left; remember for a while what was accepted from it."""
        if self.peers.pop(peer.number, None) is None:
            return
        self._router.sender_gone(peer.number)
        if len(peer.log):
            now = time.monotonic()
            self._away[peer.client] = now, peer.log
            while len(self._away) > _REMEMBERED_CLIENTS or (
                next(iter(self._away.values()))[0] < now - _REMEMBERED_S
            ):
                self._away.popitem(last=False)

    def submit(self, peer: ClientPeer, submit: Submit) -> None:
        """Take messages from a client.

        Raises:
            RemoteProtocolError: The batch is malformed.
        """
        batch = Batch.received(submit.count, submit.payload)
        peer.log.forget_below(submit.floor)
        try:
            target = self._check(submit)
        except RefusedError as exc:
            self.answer((peer.number, submit.sequence, submit.count, exc))
            return
        if is_function(target):
            self.on_function(target)
        for piece in peer.log.split(submit.sequence, submit.count):
            if piece.first_id is not None:
                self._confirm(peer, piece.sequence, piece.count, piece.first_id)
                continue
            part = batch
            if piece.count != batch.count:
                first = piece.sequence - submit.sequence
                part = Batch(piece.count, batch.part(first, piece.count))
            self._router.submit(
                peer.number,
                piece.sequence,
                target,
                part,
                submit.options,
                time.monotonic(),
            )
            self.take_answers()

    def _check(self, submit: Submit) -> str:
        if self.is_draining:
            raise DrainingError
        check_options(submit.options, submit.count)
        try:
            return str(Target.for_message(submit.target))
        except ValueError as exc:
            raise RemoteProtocolError(str(exc)) from exc

    def take_answers(self) -> None:
        """Pass on what the router has for senders."""
        for answer in self._router.take_answers():
            self.answer(answer)

    def answer(self, answer: Answer) -> None:
        """Tell a sender about its messages, if it is still there."""
        sender, sequence, count, result = answer
        peer = self.peers.get(sender)
        if peer is None or peer.connection is None:
            return
        if isinstance(result, RefusedError):
            # Answers keep their order, so the confirms before it leave first.
            self.flush(peer)
            detail = result.to_detail()
            peer.connection.send(Refuse(sequence, count, result.code, detail))
            return
        peer.log.accepted(sequence, count, result)
        self._confirm(peer, sequence, count, result)

    def _confirm(
        self, peer: ClientPeer, sequence: int, count: int, first_id: int
    ) -> None:
        confirms = peer.confirms
        self._unflushed[peer] = None
        if confirms:
            last_sequence, last_count, last_id = confirms[-1]
            if (
                last_sequence + last_count == sequence
                and last_id + last_count == first_id
            ):
                confirms[-1] = (last_sequence, last_count + count, last_id)
                return
        confirms.append((sequence, count, first_id))

    def flush_all(self) -> None:
        """Send all confirms that are due."""
        self.take_answers()
        if self._unflushed:
            unflushed, self._unflushed = self._unflushed, {}
            for peer in unflushed:
                self.flush(peer)
                if peer.connection is not None:
                    peer.connection.flush()

    def flush(self, peer: ClientPeer) -> None:
        """Send the confirms that are due."""
        if peer.confirms and peer.connection is not None:
            confirms, peer.confirms = peer.confirms, []
            peer.connection.send(Confirm(confirms))

    def describe(self) -> list[JsonObject]:
        """Return who is connected, for ``pymule status``."""
        return [
            {
                "name": peer.name,
                "pid": peer.credentials.pid,
                "uid": peer.credentials.uid,
            }
            for peer in self.peers.values()
            if peer.is_open
        ]

    def refuse(self, sock: socket.socket, credentials: Credentials) -> None:
        """Close a connection that the access rule does not allow."""
        log(
            _LOGGER,
            logging.WARNING,
            "connection refused",
            uid=credentials.uid,
            pid=credentials.pid,
            reason="its user is not in allow_users, its groups not in allow_groups",
        )
        sock.close()


def _nothing(target: str) -> None:
    """The default of a hook."""
