"""The link of a mule with its master: what goes over it, and when."""

import asyncio
import concurrent.futures
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from pymule.connection import Connection
from pymule.errors import RemoteProtocolError, error_of_reply
from pymule.mule.inbox import Hand, Lane
from pymule.sansio.session import Session
from pymule.sansio.signal_words import Outcome
from pymule.sansio.verbs import (
    Ack,
    Call,
    Close,
    Credit,
    Deliver,
    Drain,
    Handled,
    JsonObject,
    Listen,
    Nack,
    Ready,
    Reply,
    ReplyKind,
    Signal,
    Stacks,
    Verb,
)
from pymule.sansio.verbs import Lane as OpenLane
from pymule.scoreboard import Scoreboard

__all__ = ("LaneKey", "MuleLink", "in_home")

LaneKey = bool | str | tuple[str, ...] | None
"""``True`` and ``False``: ``mule_get_msg`` with and without farms; ``None``: any farm;
a name: that farm; a tuple: these queues, of functions."""

_NANO: Final = 1e-9
# How long an ack may wait for company, in seconds.
_FLUSH_S: Final = 0.001
# How long a message may lie here untouched before it goes back, in seconds. What a lane
# holds is 2 ms of work as it was measured; a process that gets a fifth of a core in
# between is in time.
_STALL_S: Final = 0.01


class MuleLink:
    """One end of the link, and the lanes that are open on it.

    Args:
        loop: Where it lives.
        board: This process's page of shared memory.
        mule: The ``mule`` object of the master's WELCOME.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, board: Scoreboard, mule: JsonObject
    ) -> None:
        self.loop = loop
        self.mule_id = int(str(mule["id"]))
        self.farms = [str(name) for name in _list(mule, "farms")]
        # Guards everything below, all lanes and all hands, but for the short path of a
        # lane's home loop.
        self.lock = threading.Lock()
        self.lanes: dict[LaneKey, Lane] = {}
        # The same, by their numbers on the wire.
        self._numbered: list[Lane] = []
        # The thread of the loop.
        self.thread = threading.get_ident()
        self.is_draining = False
        # Whether the program has ended, and threads that wait must.
        self.is_ending = False
        # What to do when the master is gone, or says STACKS or DRAIN.
        self.on_orphaned: Callable[[], None] = _nothing
        self.on_stacks: Callable[[], None] = _nothing
        self.on_drain: Callable[[], None] = _nothing
        # Called once, before the master hears that the program is there.
        self.on_ready: Callable[[], None] = _nothing
        # Runs the handler of a signal.
        self.on_signal: Callable[[Signal], None] = _drop
        # Whether this mule could run a handler at once; asked at each flush.
        self.is_listening: Callable[[], bool] = _no
        # What the master was told of that, and has not used.
        self._is_told = False
        self._call_numbers = itertools.count(1)
        self._calls: dict[int, concurrent.futures.Future[JsonObject]] = {}
        self._board = board
        credit = mule.get("credit")
        self._credit = credit if isinstance(credit, int) else None
        # Those of which the master has not heard.
        self._new_lanes: list[Lane] = []
        # Hands of nacked messages: closed when the kernel has the nack, so that a
        # death in between is still seen as one with the message in hand.
        self._nacked: list[Hand] = []
        self._connection: Connection | None = None
        self._is_flush_due = False
        self._flushed_at = 0.0
        self._stall_timer: asyncio.TimerHandle | None = None
        # By lane: how far it was taken and received at the last look.
        self._stall_marks: dict[Lane, tuple[int, int]] = {}
        self._is_ready = False

    async def connect(self, session: Session, sock: socket.socket) -> None:
        """Put the link, on which the hello was exchanged, on the loop."""
        self.thread = threading.get_ident()
        _, connection = await self.loop.create_unix_connection(
            lambda: Connection(session, self), sock=sock
        )
        self._connection = connection

    async def close(self, error: JsonObject | None) -> None:
        """Send the last acks and the *error* that ended the program; close."""
        connection = self._connection
        # The master may close the link as soon as it has read our goodbye.
        self.on_orphaned = _nothing
        if connection is None:
            return
        self.flush()
        if not connection.is_closed:
            connection.send(Close({"error": error} if error else {}))
        connection.close()
        await connection.wait_closed()

    # What consumers cause

    def lane(self, key: LaneKey) -> Lane:
        """Return the lane for *key*; open it on first use."""
        lane = self.lanes.get(key)
        if lane is not None:
            return lane
        sources = self._sources(key)
        with self.lock:
            lane = self.lanes.get(key)
            if lane is None:
                lane = Lane(len(self.lanes), key, sources, self._board, self._credit)
                self.lanes[key] = lane
                self._numbered.append(lane)
                self._new_lanes.append(lane)
        self.flush_soon()
        if not isinstance(key, tuple):
            self.ready()
        return lane

    def _sources(self, key: LaneKey) -> list[str]:
        if isinstance(key, tuple):
            return list(key)
        own = [f"mule{self.mule_id}", "mule"]
        farms = [f"farm:{name}" for name in self.farms]
        if key is True:
            return own + farms
        if key is False:
            return own
        if key is None:
            if not farms:
                raise ValueError(f"mule {self.mule_id} is in no farm")
            return farms
        if key not in self.farms:
            known = ", ".join(self.farms) or "none"
            raise ValueError(
                f"mule {self.mule_id} is not in farm {key!r}; it is in: {known}"
            )
        return [f"farm:{key}"]

    def ready(self) -> None:
        """Tell the master, once, that the program is there."""
        with self.lock:
            if self._is_ready:
                return
            self._is_ready = True
        self.on_ready()
        self._send(Ready())

    def measure(self, lane: Lane) -> None:
        """A consumer of *lane* asks; under the lock."""
        now = time.monotonic()
        lane.measure(now)
        if now - self._flushed_at > _FLUSH_S:
            # It may find a message here each time, and so never wait.
            self.flush_soon()

    def nack(self, hand: Hand, nack: Nack) -> None:
        """Send *nack*, of what *hand* has; the hand is closed in the end."""
        self._on_link(partial(self._send_nack, hand, nack))

    def _send_nack(self, hand: Hand, nack: Nack) -> None:
        # Both in one turn of the link: a flush in between would find nothing unsent
        # and close the hand before the nack is under way.
        with self.lock:
            self._nacked.append(hand)
        self._send_now(nack)

    # Sending

    def ask(self, question: JsonObject) -> concurrent.futures.Future[JsonObject]:
        """Ask the master; from any thread.

        Returns:
            A future of the answer, or of the RefusedError.
        """
        answer: concurrent.futures.Future[JsonObject] = concurrent.futures.Future()
        number = next(self._call_numbers)
        self._calls[number] = answer
        self.send(Call(number, question))
        return answer

    def send(self, verb: Verb) -> None:
        """Say *verb*; from any thread."""
        self._send(verb)

    def _send(self, verb: Verb) -> None:
        self._on_link(partial(self._send_now, verb))

    def _on_link(self, action: Callable[[], None]) -> None:
        if threading.get_ident() == self.thread:
            action()
        else:
            self.loop.call_soon_threadsafe(action)

    def _send_now(self, verb: Verb) -> None:
        if isinstance(verb, Handled) and verb.outcome == Outcome.RETURNED:
            # The master takes who returns a signal for one that does not listen, also
            # if it said meanwhile that it does.
            self._is_told = False
        if self._connection is not None and not self._connection.is_closed:
            self._connection.send(verb)
            self.flush_soon()

    def flush_soon(self) -> None:
        """Send acks and credit in the next turn of the link's loop."""
        if self._is_flush_due:
            return
        self._is_flush_due = True
        if threading.get_ident() == self.thread:
            self.loop.call_soon(self.flush)
        else:
            self.loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Send what is due of acks and credit; on the link's loop."""
        self._is_flush_due = False
        now_ns = time.monotonic_ns()
        self._flushed_at = now_ns * _NANO
        connection = self._connection
        if connection is None or connection.is_closed:
            return
        with self.lock:
            if self._nacked and not connection.unsent_bytes:
                for hand in self._nacked:
                    hand.close()
                self._nacked.clear()
            acks: list[tuple[int, int, int]] = []
            for lane in self._new_lanes:
                connection.put(OpenLane(lane.index, lane.sources).pack())
            self._new_lanes.clear()
            for lane in self.lanes.values():
                acks += lane.new_acks()
                if not self.is_draining and (limit := lane.new_limit()) is not None:
                    connection.put(Credit(lane.index, limit).pack())
            is_nacking = bool(self._nacked)
            is_listening = not self.is_draining and self.is_listening()
        if acks:
            connection.put(Ack(acks).pack())
        if is_listening is not self._is_told:
            self._is_told = is_listening
            connection.put(Listen(is_listening).pack())
        connection.flush()
        self._board.beat(now_ns)
        if is_nacking:
            self.flush_soon()

    # What the master says

    def connection_made(self, connection: Connection) -> None:
        """The socket is on the loop; the conversation is another matter."""

    def data_received(self, connection: Connection) -> None:
        """Nothing to do before a frame is whole."""

    def verbs_received(self, connection: Connection, verbs: list[Verb]) -> None:
        """Act on what the master says."""
        for verb in verbs:
            match verb:
                case Deliver():
                    try:
                        self._arrived(verb)
                    except RemoteProtocolError as exc:
                        connection.fail(exc)
                        return
                case Drain():
                    self.on_drain()
                case Stacks():
                    self.on_stacks()
                case Signal():
                    # One listening was for one signal.
                    self._is_told = False
                    self.on_signal(verb)
                    self.flush_soon()
                case Reply():
                    self._replied(verb)
                case Close():
                    self.connection_lost(connection, None)
                case _:
                    pass

    def _replied(self, reply: Reply) -> None:
        answer = self._calls.pop(reply.id, None)
        if answer is None or not answer.set_running_or_notify_cancel():
            return
        if reply.kind == ReplyKind.ERROR:
            answer.set_exception(error_of_reply(reply.value))
        else:
            answer.set_result(reply.value)

    def _arrived(self, deliver: Deliver) -> None:
        with self.lock:
            if deliver.lane >= len(self._numbered):
                raise RemoteProtocolError(f"lane {deliver.lane} is not open")
            lane = self._numbered[deliver.lane]
            returned = lane.refuse(deliver) if lane.is_giving else None
            left_count = 0 if returned is not None else lane.arrive(deliver)
        self._say(returned or ())
        if left_count:
            self._watch_stalls(lane)

    def left_untaken(self, lane: Lane) -> None:
        """A consumer does not take what it was woken for, and nobody else waits."""
        self._on_link(partial(self._watch_stalls, lane))

    def _watch_stalls(self, lane: Lane) -> None:
        if self._stall_timer is None:
            self._stall_marks = {lane: (lane.position, lane.received)}
            self._stall_timer = self.loop.call_later(_STALL_S, self._look_for_stalls)

    def _look_for_stalls(self) -> None:
        """Give back what lies here while its consumers are busy with something long."""
        self._stall_timer = None
        marks: dict[Lane, tuple[int, int]] = {}
        for lane in list(self.lanes.values()):
            if not lane.untaken or lane.is_fixed:
                continue
            mark = self._stall_marks.get(lane)
            if mark is not None and lane.is_late(*mark):
                lane.slow_down()
                self.give_back(lane)
            elif lane.has_too_much:
                self.give_back(lane)
            else:
                marks[lane] = (lane.position, lane.received)
        self._stall_marks = marks
        self.flush()
        if marks:
            self._stall_timer = self.loop.call_later(_STALL_S, self._look_for_stalls)

    def give_back(self, lane: Lane) -> None:
        """Send back what nobody took from *lane*, and ask for nothing.

        What the master sent before it heard of that goes back as well, as it comes: it
        is younger, and whoever asks next must not get it first. So there is no new
        credit before the master has answered.
        """

        def give() -> None:
            with self.lock:
                lane.is_giving = not self.is_draining
                returned = lane.give_back()
            self._say(returned)
            if lane.is_giving:
                answer = self.ask({"method": "ping"})
                answer.add_done_callback(lambda _answer: self._gave(lane))

        in_home(lane, give)

    def _gave(self, lane: Lane) -> None:
        lane.is_giving = False
        self.flush_soon()

    def _say(self, verbs: Iterable[Verb]) -> None:
        for verb in verbs:
            self._send(verb)

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """The master is gone; a mule has no life of its own."""
        del connection, reason
        self.on_orphaned()


def in_home(
    lane: Lane, action: Callable[[], None]
) -> concurrent.futures.Future[None] | None:
    """Run *action* where no consumer of *lane* can be in the middle of a take.

    Returns ``None`` when it has run, else a future that tells when.
    """
    home = lane.home
    if home is None or not home.is_running() or home is _running_loop():
        action()
        return None

    async def run() -> None:
        action()

    return asyncio.run_coroutine_threadsafe(run(), home)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _list(mule: JsonObject, name: str) -> list[object]:
    value = mule.get(name, [])
    return value if isinstance(value, list) else []


def _nothing() -> None:
    """The default of a hook."""


def _drop(signal: Signal) -> None:
    """Drop a signal that came before anybody could run it."""


def _no() -> bool:
    return False
