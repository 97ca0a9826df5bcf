"""The clients of the master: who they are, and what they hand over."""

import itertools
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from pymule.connection import Connection
from pymule.errors import (
    DrainingError,
    NotAllowedError,
    QueueFullError,
    RefusedError,
    RemoteProtocolError,
)
from pymule.master.listener import Credentials
from pymule.master.logs import log
from pymule.master.roles import (
    NEEDED,
    SUBMIT,
    AccessRule,
    UserRole,
    check_role,
)
from pymule.sansio.batch import Batch
from pymule.sansio.functions import is_function
from pymule.sansio.link import LinkId
from pymule.sansio.options import PLAIN, MessageOptions, check_options
from pymule.sansio.router import Answer, Router
from pymule.sansio.run import Run, SenderId
from pymule.sansio.session import choose_version
from pymule.sansio.sparing import Sparing
from pymule.sansio.submissions import SubmissionLog
from pymule.sansio.target import message_target
from pymule.sansio.verbs import Confirm, Hello, JsonObject, Refuse, Submit, Welcome
from pymule.sansio.window import Window

__all__ = ("ClientPeer", "Clients")

_LOGGER: Final = logging.getLogger("pymule.master")

# Anybody who reaches the socket can be refused as often as he likes.
_DENIALS_EVERY_S: Final = 1.0
_SUBMITTER: Final = NEEDED[SUBMIT]
_REMEMBERED_CLIENTS: Final = 10_000
_REMEMBERED_S: Final = 600.0
_REMEMBERED_BATCHES: Final = 262_144


class Sender:
    """A client as the router knows it: over all its connections.

    Args:
        number: What the router calls it.
    """

    def __init__(self, number: SenderId) -> None:
        self.number = number
        self.log = SubmissionLog()
        # Its connection now; without one, when it left.
        self.peer: ClientPeer | None = None
        self.left_at = 0.0
        # In its log at that time.
        self.left_batches = 0


class ClientPeer:
    """One connection of a client."""

    def __init__(
        self, number: SenderId, sock: socket.socket, credentials: Credentials
    ) -> None:
        self.number = number
        self.socket = sock
        self.credentials = credentials
        self.role = UserRole.NOBODY
        # By which its role was found; a reload changes it.
        self.access: AccessRule | None = None
        # Whether a frame has begun and the rest of it is waited for.
        self.owes_frame = False
        self.connection: Connection | None = None
        self.name = ""
        self.client = ""
        self.sender = Sender(number)
        # Empty until WELCOME has told what it may hold.
        self.window = Window(0, 0)
        # Messages refused because a queue was full.
        self.refused = 0
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
        # How often there was something to do, for whomever.
        self.turns = 0
        # Memory for all that waits for its answer, in bytes.
        self.waiting_bytes = 0
        # Whether a submit of this turn may have been answered.
        self._has_answers = False
        # Called with the target of a function before something is submitted for it.
        self.on_function: Callable[[str], None] = _nothing
        # Called with what goes to which mule at once.
        self.on_passed: Callable[[LinkId, Run], None] = _nowhere
        # Called at the end of each turn.
        self.on_turn: Callable[[], None] = _at_rest
        self._router = router
        self._welcome = welcome
        self._refusals = Sparing(_DENIALS_EVERY_S)
        self._denials = Sparing(_DENIALS_EVERY_S)
        self._numbers = itertools.count(1)
        self._unflushed: dict[ClientPeer, None] = {}
        # Those that said hello, by client id.
        self._by_client: dict[str, ClientPeer] = {}
        # Those that may be answered, and among them the clients that are away.
        self._senders: dict[SenderId, Sender] = {}
        self._away: OrderedDict[str, Sender] = OrderedDict()
        # Batches in the logs of those.
        self._away_batches = 0

    def add(self, sock: socket.socket, credentials: Credentials) -> ClientPeer:
        """Somebody connected."""
        peer = ClientPeer(next(self._numbers), sock, credentials)
        self.peers[peer.number] = peer
        return peer

    def _recognize(self, peer: ClientPeer, client: str) -> None:
        """Let *peer* be the sender that *client* was before."""
        peer.client = client
        peer.sender = self._remembered(client) or peer.sender
        peer.sender.peer = peer
        self._senders[peer.sender.number] = peer.sender

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
        # Nobody takes over from another user's client.
        client = f"{peer.credentials.uid} {client}"
        self._replace(client)
        self._by_client[client] = peer
        self._recognize(peer, client)
        peer.name = str(hello.value.get("name", ""))[:64]
        peer.is_open = True
        if peer.connection is None:
            raise AssertionError("it said hello")
        welcome = self._welcome()
        peer.window = Window(
            int(str(welcome["window_count"])), int(str(welcome["window_bytes"]))
        )
        peer.connection.send(Welcome({"protocol": version, **welcome}))

    def _replace(self, client: str) -> None:
        """Let go of an older connection of a client that connects again."""
        other = self._by_client.get(client)
        if other is not None and other.connection is not None:
            # It came back before its old connection was seen to be dead.
            self.remove(other)
            other.connection.close("this client has connected again")

    def remove(self, peer: ClientPeer) -> None:
        """A client left; remember for a while what was accepted from it."""
        if self.peers.pop(peer.number, None) is None:
            return
        # What was accepted of it in this turn is to be remembered as well.
        self.take_answers()
        self.waiting_bytes -= peer.window.bytes
        if self._by_client.get(peer.client) is peer:
            del self._by_client[peer.client]
        sender = peer.sender
        self._router.sender_gone(sender.number)
        sender.peer = None
        if len(sender.log):
            self._remember(peer.client, sender)
        else:
            self._senders.pop(sender.number, None)

    def _remember(self, client: str, sender: Sender) -> None:
        sender.left_at = now = time.monotonic()
        sender.left_batches = len(sender.log)
        self._away[client] = sender
        self._away_batches += sender.left_batches
        while self._away and (
            len(self._away) > _REMEMBERED_CLIENTS
            or self._away_batches > _REMEMBERED_BATCHES
            or next(iter(self._away.values())).left_at < now - _REMEMBERED_S
        ):
            forgotten = self._remembered(next(iter(self._away)))
            if forgotten is not None:
                del self._senders[forgotten.number]

    def _remembered(self, client: str) -> Sender | None:
        """Return the sender that was away as *client*; it is not away any more."""
        sender = self._away.pop(client, None)
        if sender is not None:
            self._away_batches -= sender.left_batches
        return sender

    def submit(
        self, peer: ClientPeer, submit: Submit, *, is_alone: bool = False
    ) -> None:
        """Take messages from a client.

        The work is to leave before the receipt: what is answered at once is answered
        with the next submit or at the end of the turn.

        Args:
            peer: The client.
            submit: What it hands over.
            is_alone: Whether nothing else came with it, so that what a mule waits for
                may leave here and now.

        Raises:
            RemoteProtocolError: The batch is malformed.
        """
        if self._has_answers:
            self.take_answers()
        self._has_answers = True
        batch = Batch.received(submit.count, submit.payload)
        log = peer.sender.log
        refusal = None
        if self.is_draining or peer.role < _SUBMITTER:
            refusal = self._refusal(peer)
            log.forget_below(submit.floor)
            if not len(log):
                number = peer.sender.number
                self.answer((number, submit.sequence, submit.count, refusal))
                return
        target, asked = _read(submit)
        if refusal is None and is_function(target):
            self.on_function(target)
        peer.window.check(submit.sequence, target)
        now = time.monotonic()
        if refusal is None and submit.sequence >= log.end:
            if not (is_alone and self._passed_on(peer, submit, target, batch, now)):
                self._take(peer, submit, submit.sequence, target, batch, asked, now)
        else:
            self._take_some(peer, submit, target, batch, asked, now, refusal)
        log.forget_below(submit.floor)

    def _passed_on(
        self, peer: ClientPeer, submit: Submit, target: str, batch: Batch, now: float
    ) -> bool:
        """Send new messages to a mule that waits for them, if that is so simple."""
        if submit.options:
            return False
        number, sequence = peer.sender.number, submit.sequence
        delivery = self._router.pass_on(number, sequence, target, batch, now)
        if delivery is None:
            return False
        self.on_passed(*delivery)
        self._submitted(peer, sequence, batch, target)
        return True

    def _take(  # noqa: PLR0917  (on the hot path)
        self,
        peer: ClientPeer,
        submit: Submit,
        sequence: int,
        target: str,
        batch: Batch,
        asked: MessageOptions,
        now: float,
    ) -> None:
        """Take messages of a submit that were not taken before."""
        number, options = peer.sender.number, submit.options
        due_at = asked.due_at(now, time.time()) if options else None
        self._router.submit(number, sequence, target, batch, options, now, due_at)
        self._submitted(peer, sequence, batch, target)

    def _take_some(  # noqa: PLR0917  (beside the hot path)
        self,
        peer: ClientPeer,
        submit: Submit,
        target: str,
        batch: Batch,
        asked: MessageOptions,
        now: float,
        refusal: RefusedError | None,
    ) -> None:
        """Take what is new of a submit, or refuse it; confirm the rest again."""
        sender = peer.sender
        for piece in sender.log.split(submit.sequence, submit.count):
            if piece.is_pending:
                continue
            if piece.first_id is not None:
                self._confirm(peer, piece.sequence, piece.count, piece.first_id)
                continue
            part = batch
            if piece.count != batch.count:
                first = piece.sequence - submit.sequence
                part = Batch(piece.count, batch.part(first, piece.count))
            if refusal is None:
                self._take(peer, submit, piece.sequence, target, part, asked, now)
                continue
            self._submitted(peer, piece.sequence, part, target)
            # Not what was taken before, which is sent again.
            answer = sender.number, piece.sequence, piece.count, refusal
            self._router.answer(target, answer)

    def _refusal(self, peer: ClientPeer) -> RefusedError:
        """Return why nothing new is taken from *peer*."""
        try:
            self.check_role(peer, SUBMIT)
        except NotAllowedError as exc:
            return exc
        return DrainingError()

    def check_role(self, peer: ClientPeer, act: str) -> None:
        """Check that a client may do *act*; log it when it may not.

        Raises:
            NotAllowedError: Its role is not enough.
        """
        try:
            check_role(peer.role, act, peer.credentials)
        except NotAllowedError as exc:
            if count := self._denials.happened(time.monotonic()):
                _log_not_allowed(peer, exc, count)
            raise

    def take_answers(self) -> None:
        """Pass on what the router has for senders."""
        self._has_answers = False
        for answer in self._router.take_answers():
            self.answer(answer)

    def answer(self, answer: Answer) -> None:
        """Tell a sender about its messages, now or when it is back."""
        number, sequence, count, result = answer
        sender = self._senders.get(number)
        if sender is None:
            return
        peer = sender.peer
        if result is None:
            sender.log.taken(sequence, count)
        elif isinstance(result, RefusedError):
            sender.log.refused(sequence)
        else:
            sender.log.accepted(sequence, count, result)
        if peer is None or peer.connection is None or result is None:
            return
        self._answered(peer, sequence, count)
        if isinstance(result, RefusedError):
            # Answers keep their order, so the confirms before it leave first.
            self.flush(peer)
            peer.refused += count if isinstance(result, QueueFullError) else 0
            detail = result.to_detail()
            peer.connection.send(Refuse(sequence, count, result.code, detail))
            return
        self._confirm(peer, sequence, count, result)

    def _submitted(
        self, peer: ClientPeer, sequence: int, batch: Batch, target: str
    ) -> None:
        before = peer.window.bytes
        peer.window.submitted(sequence, batch.count, len(batch.payload), target)
        self.waiting_bytes += peer.window.bytes - before

    def _answered(self, peer: ClientPeer, sequence: int, count: int) -> None:
        before = peer.window.bytes
        peer.window.answered(sequence, count)
        self.waiting_bytes += peer.window.bytes - before

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
        """Send all confirms that are due; this is the end of a turn."""
        self.turns += 1
        self.take_answers()
        if self._unflushed:
            unflushed, self._unflushed = self._unflushed, {}
            for peer in unflushed:
                self.flush(peer)
                if peer.connection is not None:
                    peer.connection.flush()
        self.on_turn()

    def flush(self, peer: ClientPeer) -> None:
        """Send the confirms that are due, with what is flushed next."""
        if peer.confirms and peer.connection is not None:
            confirms, peer.confirms = peer.confirms, []
            peer.connection.put(Confirm(confirms).pack())

    def describe(self, start: int = 0) -> Iterator[JsonObject]:
        """Tell who is connected, but for the first *start*, for ``pymule status``."""
        is_open = (peer for peer in self.peers.values() if peer.is_open)
        for peer in itertools.islice(is_open, start, None):
            yield {
                "name": peer.name,
                "pid": peer.credentials.pid,
                "uid": peer.credentials.uid,
                "role": peer.role.name.lower(),
            }

    def refuse(self, sock: socket.socket, credentials: Credentials) -> None:
        """Close a connection that the access rule does not allow."""
        sock.close()
        if count := self._refusals.happened(time.monotonic()):
            log(
                _LOGGER,
                logging.WARNING,
                "connection refused",
                uid=credentials.uid,
                pid=credentials.pid,
                count=count,
                reason="no role: neither its user nor a group of it is named",
            )


def _read(submit: Submit) -> tuple[str, MessageOptions]:
    """Return where messages are to go, and what is asked for them.

    Raises:
        RemoteProtocolError: One of them makes no sense.
    """
    asked = check_options(submit.options, submit.count) if submit.options else PLAIN
    try:
        return message_target(submit.target), asked
    except ValueError as exc:
        raise RemoteProtocolError(str(exc)) from exc


def _log_not_allowed(peer: ClientPeer, error: NotAllowedError, count: int) -> None:
    log(
        _LOGGER,
        logging.WARNING,
        "not allowed",
        client=peer.name,
        uid=peer.credentials.uid,
        pid=peer.credentials.pid,
        count=count,
        error=error,
    )


def _nothing(target: str) -> None:
    """The default of a hook."""


def _nowhere(link: LinkId, run: Run) -> None:
    """The default of a hook."""


def _at_rest() -> None:
    """The default of a hook."""
