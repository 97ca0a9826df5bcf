"""One conversation with the master, shared by all threads of a process.

Theory of operation. All state is behind one lock, which nobody holds while waiting.
Whoever has to wait, for an answer or for room in a window, *leads* if nobody else
does: it waits at the socket and acts on what comes, for all. The others follow: each
waits for an event of its own, which the leader sets when its answer came. A leader that
has what it wants leaves, and wakes one follower to lead. So there is no thread in the
background: between two calls, nothing is read.

An exchange that lost the master reconnects when somebody waits or sends, and sends
again what has no answer, under the same sequences; the master drops what it has. A
question that was asked before is not asked again: the answer to it is lost.
"""

import os
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final
from weakref import WeakSet

from pymule.client.questions import Question, Questions
from pymule.client.reach import (
    HELLO_TIMEOUT_S,
    MAX_TRIES,
    SocketPath,
    Terms,
    hello,
    message_limit,
    new_client_id,
    pause,
)
from pymule.client.wire import Wire
from pymule.errors import ConnectionLostError, MasterUnavailableError, ProtocolError
from pymule.sansio.frame import DEFAULT_MAX_FRAME_BYTES
from pymule.sansio.outbox import Outbox, Pile, Ticket
from pymule.sansio.verbs import (
    Close,
    Confirm,
    JsonObject,
    Refuse,
    Reply,
    Verb,
    Welcome,
)

__all__ = ("Exchange", "Waiter")

Waiter = threading.Event
"""What a thread waits for when another one leads."""

# Without waiting for answers, they are picked up after so many submits.
_UNREAD_MAX: Final = 64
# A connection that lasted so long was a good one: the next try needs no pause.
_GOOD_S: Final = 2.0


class Exchange:
    """The outbox of a process and its way to the master.

    After ``os.fork`` the child's copy connects by itself when it is used, and starts
    with nothing sent.

    Args:
        path: Of the master's socket.
        name: What ``pymule status`` calls this client.
    """

    def __init__(self, path: SocketPath, name: str) -> None:
        self.path = path
        self.name = name
        self._is_closed = False
        self._wire: Wire | None = None
        self._start()
        _all_exchanges.add(self)

    def _start(self) -> None:
        self._id = new_client_id()
        self._lock = threading.Lock()
        self._outbox: Outbox[Waiter] = Outbox()
        self._questions = Questions()
        self.message_limit = message_limit(DEFAULT_MAX_FRAME_BYTES)
        # Whether the master's mules unpickle the arguments of functions.
        self.allow_pickle = False
        # Whether there was ever a WELCOME; until then, failures are the caller's.
        self._is_greeted = False
        self._fault: MasterUnavailableError | None = None
        # Failures to connect in a row, and when to try again.
        self._failures = 0
        self._retry_at = 0.0
        # When the WELCOME of the wire must have come.
        self._hello_deadline = 0.0
        self._unread_count = 0
        self._leader: Waiter | None = None
        # Whether they look at more than their ticket, and so at every progress.
        self._followers: dict[Waiter, bool] = {}

    def start_in_child(self) -> None:
        """Start anew in a forked process; what the parent has sent is the parent's."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.leave_to_parent()
        self._start()

    @property
    def unanswered(self) -> int:
        """Messages that were sent and have no answer yet."""
        return self._outbox.unanswered

    # What threads ask for

    def meet(self, deadline: float | None = None) -> None:
        """Wait for the first WELCOME; after that the limits are known.

        Raises:
            MasterUnavailableError: Nobody answers at the socket.
            TimeoutError: The *deadline*, on the monotonic clock, passed.
        """
        if not self._is_greeted:
            self._until(self._is_met, deadline=deadline)

    def submit(self, pile: Pile[Waiter]) -> None:
        """Hand *pile* over; wait while the window of its target is full.

        Raises:
            ConnectionLostError: The exchange is closed.
        """
        self._until(partial(self._submit, pile))

    def wait_until_sent(self) -> None:
        """Wait until the kernel has what was submitted, if there is a connection."""
        self._until(self._is_sent)

    def wait_for(self, ticket: Ticket[Waiter]) -> None:
        """Wait until *ticket* is settled.

        Raises:
            ConnectionLostError: The exchange is closed.
        """
        self._until(lambda: not ticket.wanted, ticket.waiter)

    def flush(self, deadline: float | None = None) -> None:
        """Wait until all that was submitted so far has its answer.

        Raises:
            RefusedError: Messages for which nobody waits were refused.
            TimeoutError: The *deadline*, on the monotonic clock, passed.
        """
        outbox = self._outbox
        # Not until nothing is unanswered: other threads may send all the time.
        end = outbox.next_sequence
        self._until(lambda: outbox.floor >= end, deadline=deadline)
        with self._lock:
            failure = outbox.take_failure()
        if failure is not None:
            raise failure

    def ask(self, value: JsonObject, deadline: float | None = None) -> JsonObject:
        """Return the master's answer to the call *value*; see :meth:`settle`."""
        question = Question(value)
        self.settle(question, deadline)
        return question.answer()

    def settle(self, question: Question, deadline: float | None = None) -> None:
        """Ask *question*, once there is a connection, and wait until it is settled.

        An exception leaves it without anybody who waits for the answer.

        Raises:
            ConnectionLostError: The exchange is closed.
            MasterUnavailableError: Nobody has ever answered at the socket.
            TimeoutError: The *deadline*, on the monotonic clock, passed.
        """
        self.meet(deadline)
        try:
            self._until(partial(self._ask, question), deadline=deadline)
            self._until(lambda: question.is_settled, question.waiter, deadline)
        finally:
            with self._lock:
                self._questions.forget(question)

    def tell(self, value: JsonObject, wire: Wire) -> None:
        """Make the call *value* on *wire*, if that is still open; wait for nothing."""
        with self._lock:
            self._ask(Question(value, only_on=wire))

    def close(self) -> None:
        """Close the connection; threads that wait get a ConnectionLostError."""
        with self._lock:
            self._is_closed = True
            if self._wire is not None:
                self._wire.close()
                self._wire = None
            for waiter in (*self._followers, *filter(None, [self._leader])):
                waiter.set()

    # What is attempted, under the lock, until it is done

    def _submit(self, pile: Pile[Waiter]) -> bool:
        """Hand *pile* over, if the window has room for it."""
        if self._is_closed or self._outbox.is_full(pile.target):
            return False
        frame = self._outbox.seal(pile).pack()
        # Without a connection it leaves with the next WELCOME.
        wire = self._wire
        if wire is not None and wire.is_open:
            self._guard(wire, lambda: wire.send(frame))
            self._look_after(wire)
        return True

    def _ask(self, question: Question) -> bool:
        """Ask *question*, if that can be done now or not at all."""
        if self._is_closed:
            return False
        wire = self._wire
        if question.only_on not in (None, wire):
            question.settle(ConnectionLostError("the connection is another one"))
            return True
        if wire is None or not wire.is_open:
            return False
        frame = self._questions.number(question, wire).pack()
        self._guard(wire, lambda: wire.send(frame))
        if wire is not self._wire:
            # It broke, so the master has not got the whole frame.
            return False
        self._questions.asked(question)
        self._look_after(wire)
        return True

    def _look_after(self, wire: Wire) -> None:
        """See that what was sent on *wire* leaves, and that answers are read."""
        self._unread_count += 1
        if self._leader is None and self._unread_count > _UNREAD_MAX:
            # Not behind the back of a leader, who would wait for what is read.
            self._exchange()
        elif self._leader is not None and wire.has_unsent:
            wire.nudge()

    def _is_sent(self) -> bool:
        """Whether all that can be sent now is sent."""
        self._reach()
        wire = self._wire
        return wire is None or (wire.is_open and not wire.has_unsent)

    def _is_met(self) -> bool:
        """Whether there was a first WELCOME.

        Raises:
            MasterUnavailableError: There will be none.
        """
        if self._is_greeted:
            return True
        self._reach()
        fault = self._fault
        if fault is None or (
            isinstance(fault.__cause__, BlockingIOError) and self._failures < MAX_TRIES
        ):
            return False
        self._fault, self._failures, self._retry_at = None, 0, 0.0
        raise fault

    # Waiting

    def _until(
        self,
        attempt: Callable[[], bool],
        ticket_waiter: Waiter | None = None,
        deadline: float | None = None,
    ) -> None:
        """Wait until *attempt*, made under the lock, succeeds; lead or follow.

        Args:
            attempt: Is made whenever something happened.
            ticket_waiter: Nothing but the ticket of this waiter matters.
            deadline: On the monotonic clock.

        Raises:
            ConnectionLostError: The client was closed.
            TimeoutError: The deadline passed.
        """
        with self._lock:
            if attempt():
                return
        waiter = ticket_waiter or Waiter()
        try:
            is_curious = ticket_waiter is None
            while not self._attempted(attempt, waiter, is_curious=is_curious):
                self._wait(waiter, deadline)
                if deadline is not None and monotonic() >= deadline:
                    raise TimeoutError
        finally:
            with self._lock:
                self._leave(waiter)

    def _attempted(
        self, attempt: Callable[[], bool], waiter: Waiter, *, is_curious: bool
    ) -> bool:
        with self._lock:
            if attempt():
                return True
            if self._is_closed:
                raise ConnectionLostError(
                    "the client is closed", unacked=self.unanswered
                )
            if self._leader is None:
                self._leader = waiter
                self._followers.pop(waiter, None)
            if self._leader is not waiter:
                self._followers[waiter] = is_curious
        return False

    def _leave(self, waiter: Waiter) -> None:
        """Let another lead, if this one did or was asked to."""
        self._followers.pop(waiter, None)
        if self._leader is waiter:
            self._leader = None
        if self._leader is None and self._followers:
            next(iter(self._followers)).set()

    def _wait(self, waiter: Waiter, deadline: float | None) -> None:
        """Wait until something happened that may matter."""
        wire, until = None, deadline
        with self._lock:
            if self._leader is waiter:
                self._reach()
                wire = self._wire
                if wire is None:
                    until = _earlier(until, self._retry_at)
                elif not wire.is_open:
                    until = _earlier(until, self._hello_deadline)
        timeout = None if until is None else max(0.0, until - monotonic())
        if wire is None:
            waiter.wait(timeout)
            waiter.clear()
            return
        wire.wait(self._lock, timeout)
        with self._lock:
            self._exchange()

    def _wake(self) -> None:
        """Something happened: let those look who do not wait for their ticket."""
        for waiter, is_curious in self._followers.items():
            if is_curious:
                waiter.set()

    # The connection, under the lock

    def _reach(self) -> None:
        """Connect, if there is no connection and it is time to try."""
        if self._wire is not None or self._is_closed or monotonic() < self._retry_at:
            return
        try:
            wire = Wire(self.path, hello(self._id, self.name))
        except MasterUnavailableError as exc:
            self._failed(exc)
        except OSError as exc:
            is_backlog = isinstance(exc, BlockingIOError)
            reason = "its backlog is full" if is_backlog else str(exc)
            fault = MasterUnavailableError(str(self.path), reason)
            fault.__cause__ = exc
            self._failed(fault)
        else:
            self._wire, self._fault = wire, None
            self._hello_deadline = monotonic() + HELLO_TIMEOUT_S
            self._guard(wire, wire.transmit)

    def _failed(self, fault: MasterUnavailableError) -> None:
        self._fault = fault
        self._retry_at = monotonic() + pause(self._failures)
        self._failures += 1

    def _exchange(self) -> None:
        """Send what is left to send, act on what came."""
        wire = self._wire
        if wire is None:
            return
        self._unread_count = 0
        self._guard(wire, lambda: self._converse(wire))

    def _converse(self, wire: Wire) -> None:
        if wire.has_unsent:
            wire.transmit()
            self._wake()
        for verb in wire.receive():
            self._act(wire, verb)
        if not wire.is_open and monotonic() >= self._hello_deadline:
            raise ConnectionLostError(f"no WELCOME within {HELLO_TIMEOUT_S:g} seconds")

    def _guard(self, wire: Wire, work: Callable[[], None]) -> None:
        """Do *work* with *wire*; whatever goes wrong with it ends the connection."""
        try:
            work()
        except (OSError, ProtocolError) as exc:
            self._lose(wire, exc)
        except BaseException:
            # Interrupted: nobody knows up to where a frame was sent or read. What has
            # no answer is sent again, so nothing is lost with the connection.
            self._lose(wire, ConnectionLostError("interrupted"))
            self._fault = None
            raise

    def _act(self, wire: Wire, verb: Verb) -> None:
        match verb:
            case Confirm() | Refuse():
                for ticket in self._outbox.answered(verb):
                    ticket.waiter.set()
                self._wake()
            case Reply():
                self._questions.replied(verb)
            case Welcome():
                self._greeted(wire, Terms.read(verb.value))
            case Close():
                raise ConnectionLostError(str(verb.value.get("reason")))
            case _:
                pass

    def _greeted(self, wire: Wire, terms: Terms) -> None:
        wire.session.allow_frames(terms.max_frame_bytes)
        self.message_limit = message_limit(terms.max_frame_bytes)
        self.allow_pickle = terms.allow_pickle
        self._outbox.window_count = terms.window_count
        self._outbox.window_bytes = terms.window_bytes
        self._is_greeted = True
        wire.greeted_at = monotonic()
        for submit in self._outbox.resend(terms.epoch):
            wire.send(submit.pack())
        self._wake()

    def _lose(self, wire: Wire, reason: Exception) -> None:
        if wire is not self._wire:
            return
        was_good = monotonic() - wire.greeted_at >= _GOOD_S
        self._wire = None
        self._outbox.lost()
        self._questions.lost(str(reason))
        wire.close(str(reason) if isinstance(reason, ProtocolError) else None)
        self._failed(MasterUnavailableError(str(self.path), str(reason)))
        if was_good:
            self._failures, self._retry_at = 0, 0.0
        self._wake()


def _earlier(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)


_all_exchanges: WeakSet[Exchange] = WeakSet()


def _start_in_child() -> None:
    for exchange in list(_all_exchanges):
        exchange.start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
