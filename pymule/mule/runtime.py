"""The link of a mule with its master, and the consumers that live on it."""

import asyncio
import concurrent.futures
import socket
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Final

from pymule.connection import Connection
from pymule.errors import LocalProtocolError, RemoteProtocolError
from pymule.mule.inbox import Hand, Lane, LoopWaiter, ThreadWaiter
from pymule.sansio.session import Session
from pymule.sansio.verbs import (
    Ack,
    Close,
    Credit,
    Deliver,
    Drain,
    JsonObject,
    Nack,
    Ready,
    Return,
    Stacks,
    Verb,
)
from pymule.sansio.verbs import Lane as OpenLane
from pymule.scoreboard import Scoreboard

__all__ = ("LaneKey", "Runtime", "describe_error")

LaneKey = bool | str | None
"""``True`` and ``False``: ``mule_get_msg`` with and without farms; ``None``: any farm;
a name: that farm."""

# Messages that a consumer may take before other tasks of its loop get a turn; a turn
# costs 1 us on uvloop, a message 0.4.
_TURN_COUNT: Final = 1024
# How long an ack may wait for company, in seconds.
_FLUSH_S: Final = 0.001
# How long a message may lie here untouched before it goes back, in seconds.
_STALL_S: Final = 0.05
_TRACEBACK_CHARS: Final = 8_000


def describe_error(error: BaseException) -> JsonObject:
    """Return *error* as it travels to the master: type, text and traceback."""
    lines = "".join(traceback.format_exception(error))
    return {
        "type": type(error).__qualname__,
        "text": str(error)[:_TRACEBACK_CHARS],
        "traceback": lines[-_TRACEBACK_CHARS:],
    }


class Runtime:
    """One mule process, seen from the inside.

    Args:
        loop: Where the link lives.
        board: This process's page of shared memory.
        mule: The ``mule`` object of the master's WELCOME.
        hands: Where to keep the hand of each task and thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        board: Scoreboard,
        mule: JsonObject,
        hands: dict[object, Hand],
    ) -> None:
        self.loop = loop
        self.board = board
        self.mule_id = int(str(mule["id"]))
        self.farms = [str(name) for name in _list(mule, "farms")]
        credit = mule.get("credit")
        self._credit = credit if isinstance(credit, int) else None
        # Guards everything below and all lanes, but for the short path of a lane's
        # home loop.
        self.lock = threading.Lock()
        # The hand of each asyncio task and thread that asks in the plain way.
        self.hands = hands
        # The threads among their owners, which end without telling.
        self._threads: list[threading.Thread] = []
        self._lanes: dict[LaneKey, Lane] = {}
        # Those of which the master has not heard.
        self._new_lanes: list[Lane] = []
        # Hands of tasks that ended in good order with a message: done when anyone
        # asks next.
        self._orphans: list[Hand] = []
        # Hands of nacked messages: closed when the kernel has the nack, so that a
        # death in between is still seen as one with the message in hand.
        self._nacked: list[Hand] = []
        self._connection: Connection | None = None
        self._thread = threading.get_ident()
        self._is_flush_due = False
        self._flushed_at = 0.0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._stall_marks: dict[Lane, int] = {}
        self.is_draining = False
        self.is_ending = False
        self._is_closed = False
        self.is_ready = False
        # What to do when the master is gone or says STACKS.
        self.on_orphaned: Callable[[], None] = _nothing
        self.on_stacks: Callable[[], None] = _nothing

    async def connect(self, session: Session, sock: socket.socket) -> None:
        """Put the link, on which the hello was exchanged, on the loop."""
        self._thread = threading.get_ident()
        _, connection = await self.loop.create_unix_connection(
            lambda: Connection(session, self), sock=sock
        )
        self._connection = connection

    # Asking

    def lane(self, key: LaneKey) -> Lane:
        """Return the lane for *key*; open it on first use."""
        lane = self._lanes.get(key)
        if lane is not None:
            return lane
        sources = self._sources(key)
        with self.lock:
            lane = self._lanes.get(key)
            if lane is None:
                lane = Lane(len(self._lanes), key, sources, self.board, self._credit)
                self._lanes[key] = lane
                self._new_lanes.append(lane)
        self.flush_soon()
        self.ready()
        return lane

    def _sources(self, key: LaneKey) -> list[str]:
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
        if not self.is_ready:
            self.is_ready = True
            self._send(Ready())

    async def get(self, key: LaneKey) -> bytes:
        """Take a message into the hand of the current task; wait for one.

        What that hand had is done. Cancelling is safe: a message is taken only on
        return.
        """
        hand = await self._hand_of_task(key)
        with self.lock:
            self.let_go(hand)
        return await self.take(hand)

    async def take(self, hand: Hand) -> bytes:
        """Take a message into *hand*; wait for one.

        Cancelling is safe: a message is taken only on return.
        """
        lane = hand.lane
        if lane.position - lane.turned >= _TURN_COUNT:
            if lane.is_credit_due:
                self.flush_soon()
            await asyncio.sleep(0)
            lane.turned = lane.position
        with self.lock:
            # No await between here and the return, so a cancelled caller can never
            # walk away with a message that nobody will acknowledge.
            if (body := lane.take(hand)) is not None:
                return body
        while True:
            waiter = LoopWaiter()
            self._start_waiting(lane, waiter)
            try:
                await waiter.woken
            except asyncio.CancelledError:
                self._stop_waiting(lane, waiter)
                raise
            with self.lock:
                lane.waiting -= 1
                lane.mark(time.monotonic())
                if (body := lane.take(hand)) is not None:
                    lane.turned = lane.position
                    return body

    def get_blocking(self, key: LaneKey, timeout: float | None) -> bytes:
        """Take a message into the hand of the current thread; wait for one.

        Raises:
            TimeoutError: None came within *timeout* seconds.
        """
        hand = self._hand_of_thread(key)
        with self.lock:
            self.let_go(hand)
        return self.take_blocking(hand, timeout)

    def take_blocking(self, hand: Hand, timeout: float | None) -> bytes:
        """Take a message into *hand*; wait for one, in this thread.

        Raises:
            TimeoutError: None came within *timeout* seconds.
            LocalProtocolError: This is the thread of the link, which must not wait.
        """
        lane = hand.lane
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.lock:
            if (body := lane.take(hand)) is not None:
                is_due = lane.is_credit_due
            else:
                is_due = False
        if body is not None:
            if is_due:
                self.flush_soon()
            return body
        if threading.get_ident() == self._thread:
            raise LocalProtocolError(
                "a blocking get would stop the loop that brings the message; "
                "await pymule's, or call this one in another thread"
            )
        while True:
            waiter = ThreadWaiter()
            self._start_waiting(lane, waiter)
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            was_woken = False
            try:
                was_woken = waiter.wait(left)
            finally:
                if not was_woken:
                    self._stop_waiting(lane, waiter)
            if not was_woken:
                raise TimeoutError(f"no message within {timeout} seconds")
            with self.lock:
                lane.waiting -= 1
                if self.is_ending:
                    # Ends this thread without a word, as threading has it.
                    raise SystemExit
                lane.mark(time.monotonic())
                if (body := lane.take(hand)) is not None:
                    return body

    def let_go(self, hand: Hand) -> None:
        """The consumer of *hand* asks: what it had is done; under the lock."""
        hand.let_go()
        self.measure(hand.lane)
        self._close_orphans()
        self._close_dead_threads()

    def measure(self, lane: Lane) -> None:
        """A consumer of *lane* asks; under the lock."""
        now = time.monotonic()
        lane.measure(now)
        if now - self._flushed_at > _FLUSH_S:
            # It may find a message here each time, and so never wait.
            self.flush_soon()

    def _close_orphans(self) -> None:
        # What a program that failed left in hand is not done, whoever still asks
        # while the link is closed.
        if not self._is_closed:
            for orphan in self._orphans:
                orphan.close()
            self._orphans.clear()

    def _close_dead_threads(self) -> None:
        for thread in [one for one in self._threads if not one.is_alive()]:
            self._threads.remove(thread)
            if (hand := self.hands.pop(thread, None)) is not None:
                hand.close()

    def _start_waiting(self, lane: Lane, waiter: LoopWaiter | ThreadWaiter) -> None:
        with self.lock:
            lane.waiting += 1
            lane.waiters.append(waiter)
            is_too_late = self.is_ending and isinstance(waiter, ThreadWaiter)
            if lane.untaken or is_too_late:
                # It came between the last look and the lock.
                lane.waiters.pop().wake()
        self.flush_soon()

    def _stop_waiting(self, lane: Lane, waiter: LoopWaiter | ThreadWaiter) -> None:
        with self.lock:
            lane.waiting -= 1
            # Who was woken is no longer in line. The waiter itself cannot tell: the
            # future of a task that is cancelled is done as well.
            if waiter in lane.waiters:
                lane.waiters.remove(waiter)
            elif lane.waiters and lane.untaken:
                # It was woken for a message that it does not take.
                lane.waiters.popleft().wake()
        self.flush_soon()

    # Hands

    async def _hand_of_task(self, key: LaneKey) -> Hand:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a coroutine that runs is in a task")
        hand = self.hands.get(task)
        if hand is not None and hand.key == key:
            return hand
        hand = await self.new_hand(key)
        with self.lock:
            old = self.hands.get(task)
            if old is None:
                # Not twice for a task whose last message was nacked.
                task.remove_done_callback(self._task_done)
                task.add_done_callback(self._task_done)
            else:
                old.close()
            hand.owner = task
            self.hands[task] = hand
        return hand

    def hand_of_current_task(self) -> Hand:
        """Return the hand into which the current task just took a message."""
        return self.hands[asyncio.current_task()]

    def hand_of_current_thread(self) -> Hand:
        """Return the hand into which the current thread just took a message."""
        return self.hands[threading.current_thread()]

    async def new_hand(self, key: LaneKey) -> Hand:
        """Return a new hand for a consumer in the running loop."""
        lane = self.lane(key)
        loop = asyncio.get_running_loop()
        if lane.home is not None and lane.home is not loop:
            moved = _in_home(lane, partial(self._share, lane))
            if moved is not None:
                await asyncio.wrap_future(moved)
        with self.lock:
            if lane.home is None and not lane.hands:
                lane.interrupt()
                lane.home = loop
            return Hand(lane)

    def _hand_of_thread(self, key: LaneKey) -> Hand:
        thread = threading.current_thread()
        hand = self.hands.get(thread)
        if hand is not None and hand.key == key:
            return hand
        new = self.new_thread_hand(key)
        with self.lock:
            if hand is not None:
                hand.close()
            elif thread not in self._threads:
                self._threads.append(thread)
            new.owner = thread
            self.hands[thread] = new
        return new

    def new_thread_hand(self, key: LaneKey) -> Hand:
        """Return a new hand for a consumer in a thread without a loop."""
        lane = self.lane(key)
        if lane.home is not None:
            moved = _in_home(lane, partial(self._share, lane))
            if moved is not None:
                moved.result()
        with self.lock:
            return Hand(lane)

    def _share(self, lane: Lane) -> None:
        with self.lock:
            lane.share()

    def _interrupt(self, lane: Lane) -> None:
        with self.lock:
            lane.interrupt()

    def _task_done(self, task: asyncio.Task[object]) -> None:
        with self.lock:
            hand = self.hands.pop(task, None)
            if hand is None:
                return
            if hand.position is None:
                hand.close()
                return
        if task.cancelled():
            self.nack(
                hand, {"type": "CancelledError", "text": "its task was cancelled"}
            )
        elif (error := task._exception) is not None:  # noqa: SLF001
            # Not exception(), which would keep asyncio from logging an error that
            # nobody awaits.
            self.nack(hand, describe_error(error))
        else:
            with self.lock:
                self._orphans.append(hand)
                lanes = list(self._lanes.values())
            for lane in lanes:
                _in_home(lane, partial(self._interrupt, lane))

    def thread_failed(self, thread: threading.Thread, error: BaseException) -> None:
        """*thread* ended with *error*: give back what it had in hand."""
        with self.lock:
            hand = self.hands.pop(thread, None)
        if hand is None:
            return
        if hand.position is None:
            with self.lock:
                hand.close()
        else:
            self.nack(hand, describe_error(error))

    def done(self, hand: Hand) -> None:
        """What *hand* has is done; only its owner, if any, uses it again."""
        with self.lock:
            if self.hands.get(hand.owner) is hand:
                hand.let_go()
            else:
                self._disown(hand)
                hand.close()
        self.flush_soon()

    def _disown(self, hand: Hand) -> None:
        if self.hands.get(hand.owner) is hand:
            del self.hands[hand.owner]
        elif hand in self._orphans:
            self._orphans.remove(hand)

    def nack(
        self,
        hand: Hand,
        error: JsonObject,
        *,
        delay: float | None = None,
        is_final: bool = False,
    ) -> None:
        """Give back what *hand* has; the hand is not used again."""
        position = hand.position
        if position is None:
            raise AssertionError("a message is nacked once, while in hand")
        with self.lock:
            arrival = hand.lane.arrival_of(position)
            message = arrival.first_id + position - arrival.start
            hand.lane.nacked(position)
            self._disown(hand)
        wait = -1.0 if delay is None else delay
        nack = Nack(message, arrival.attempt, wait, is_final, error)
        self._on_link(partial(self._send_nack, hand, nack))

    def _send_nack(self, hand: Hand, nack: Nack) -> None:
        # Both in one turn of the link: a flush in between would find nothing unsent
        # and close the hand before the nack is under way.
        with self.lock:
            self._nacked.append(hand)
        self._send_now(nack)

    # The link's side

    def _send(self, verb: Verb) -> None:
        self._on_link(partial(self._send_now, verb))

    def _on_link(self, action: Callable[[], None]) -> None:
        if threading.get_ident() == self._thread:
            action()
        else:
            self.loop.call_soon_threadsafe(action)

    def _send_now(self, verb: Verb) -> None:
        if self._connection is not None and not self._connection.is_closed:
            self._connection.send(verb)
            self.flush_soon()

    def flush_soon(self) -> None:
        """Send acks and credit in the next turn of the link's loop."""
        if self._is_flush_due:
            return
        self._is_flush_due = True
        if threading.get_ident() == self._thread:
            self.loop.call_soon(self.flush)
        else:
            self.loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Send what is due of acks and credit; on the link's loop."""
        self._is_flush_due = False
        self._flushed_at = time.monotonic()
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
                connection.send(OpenLane(lane.index, lane.sources))
            self._new_lanes.clear()
            for lane in self._lanes.values():
                acks += lane.new_acks()
                if not self.is_draining and (limit := lane.new_limit()) is not None:
                    connection.send(Credit(lane.index, limit))
            is_nacking = bool(self._nacked)
        if acks:
            connection.send(Ack(acks))
        connection.flush()
        self.board.beat(time.monotonic_ns())
        if is_nacking:
            self.flush_soon()

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
                    self.drain()
                case Stacks():
                    self.on_stacks()
                case Close():
                    self.connection_lost(connection, None)
                case _:
                    pass

    def _arrived(self, deliver: Deliver) -> None:
        with self.lock:
            lanes = list(self._lanes.values())
            if deliver.lane >= len(lanes):
                raise RemoteProtocolError(f"lane {deliver.lane} is not open")
            lanes[deliver.lane].arrive(deliver)
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(_STALL_S, self._look_for_stalls)

    def _look_for_stalls(self) -> None:
        """Give back what lies here while its consumers are busy with something long."""
        self._stall_timer = None
        marks: dict[Lane, int] = {}
        for lane in list(self._lanes.values()):
            if not lane.untaken or lane.is_fixed:
                continue
            if self._stall_marks.get(lane) == lane.position:
                lane.slow_down()
                self._return(lane)
            elif lane.has_too_much:
                self._return(lane)
            else:
                marks[lane] = lane.position
        self._stall_marks = marks
        self.flush()
        if marks:
            self._stall_timer = self.loop.call_later(_STALL_S, self._look_for_stalls)

    def _return(self, lane: Lane) -> None:
        """Send back what nobody took from *lane*, and ask for nothing."""

        def give_back() -> None:
            with self.lock:
                acks, given = lane.new_acks(), lane.give_back()
                limit = lane.stop()
            for verb in (
                Ack(acks) if acks else None,
                Credit(lane.index, limit),
                Return(given) if given else None,
            ):
                if verb is not None:
                    self._send(verb)

        _in_home(lane, give_back)

    def drain(self) -> None:
        """Take nothing more, and give back what nobody has touched."""
        self.is_draining = True
        lanes = list(self._lanes.values())
        with self.lock:
            self._close_dead_threads()
            # A task that ended may have been one of wait_for's, whose caller is at
            # work on the message. If so, and nobody waits now, it will ask again.
            if any(lane.waiting for lane in lanes):
                self._close_orphans()
        # The master must have heard of each lane before it hears of its limit.
        self.flush()
        for lane in lanes:
            self._return(lane)
        self.flush_soon()

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        """The master is gone; a mule has no life of its own."""
        del connection, reason
        self.on_orphaned()

    def end_waits(self) -> None:
        """Let threads that wait for a message end; the process is about to."""
        self.is_ending = True
        with self.lock:
            for lane in self._lanes.values():
                while lane.waiters:
                    lane.waiters.popleft().wake()

    def nudge_main_thread(self) -> None:
        """Let the main thread, if it waits here, run the handlers of Unix signals.

        Python runs them between two instructions, or when the signal interrupts a
        system call: one that comes just before the thread blocks would have to wait
        for the next message.
        """
        with self.lock:
            for lane in self._lanes.values():
                for waiter in [w for w in lane.waiters if isinstance(w, ThreadWaiter)]:
                    if waiter.is_main:
                        lane.waiters.remove(waiter)
                        waiter.wake()

    async def close(self, error: JsonObject | None, *, is_done: bool = True) -> None:
        """Send the last acks and the *error* that ended the program; close.

        Args:
            error: What the program raised, if it did.
            is_done: Whether what consumers that ended have in hand counts as done.
        """
        connection = self._connection
        # The master may close the link as soon as it has read our goodbye.
        self.on_orphaned = _nothing
        if connection is None:
            return
        with self.lock:
            if is_done:
                self._close_orphans()
                for owner, hand in self.hands.items():
                    if _is_over(owner):
                        hand.let_go()
            self._is_closed = True
        self.flush()
        if not connection.is_closed:
            connection.send(Close({"error": error} if error else {}))
        connection.close()
        await connection.wait_closed()


def _in_home(
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


def _is_over(owner: object) -> bool:
    """Whether *owner*, a task or a thread, ended in good order with the program."""
    if isinstance(owner, asyncio.Task):
        return owner.done() and not owner.cancelled() and owner._exception is None  # noqa: SLF001
    if not isinstance(owner, threading.Thread):
        raise AssertionError("who asks is a task or a thread")  # noqa: TRY004  (ours)
    return owner is threading.main_thread() or not owner.is_alive()


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
