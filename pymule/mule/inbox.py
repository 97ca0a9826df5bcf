"""What the master delivered to this mule, and who has what in hand.

Theory of operation. A *lane* is one way of asking: "anything for me", "one of farm
X". Its messages come in one stream, numbered by position. A *hand* is a consumer, an
asyncio task or a thread, in one lane; taking a message writes its position into the
hand's slot on the scoreboard, and asking again overwrites it. So what is done need
not be noted message by message: it is every position below the next one to take that
no hand holds, and the link works out what to acknowledge from that, once in a while.

Two threads may be at work: the link's and a consumer's. Everything is under one lock,
except the short path of the one asyncio loop that is a lane's *home*: it takes from
``lane.walk`` without the lock, in this order, which keeps a kill at any moment, and
the link's thread, from seeing a message as done that is not:

1. the body leaves ``walk``;
2. the slot says that this position is in hand;
3. ``lane.word`` moves on.
"""

import asyncio
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from copy import copy
from typing import Final, Protocol

from pymule.errors import RemoteProtocolError
from pymule.sansio.batch import LENGTH_BYTES, received_bodies
from pymule.sansio.verbs import Ack, Credit, Deliver, Return, Verb
from pymule.scoreboard import IN_HAND, Scoreboard, lane_word

__all__ = ("Arrival", "Hand", "Job", "Lane", "LoopWaiter", "ThreadWaiter", "Waiter")

_TAKE_NEXT: Final = 2
_POSITION_MASK: Final = (1 << 48) - 1

_WINDOW_S: Final = 0.002
_WINDOW_MAX: Final = 16_384


class Waiter(Protocol):
    """A consumer that waits for a message."""

    def wake(self) -> bool:
        """There is one, unless another was faster.

        Returns:
            Whether it looks at once, which a loop in another thread may not do.
        """


class LoopWaiter:
    """A consumer in an asyncio loop.

    Args:
        loop: The one that runs in this thread; found out if it is not given.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        # On CPython 3.11 that asks the kernel for the pid.
        self._loop = loop or asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.woken: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> bool:
        """Resolve the future, in its own loop."""
        if threading.get_ident() == self._thread:
            if not self.woken.done():
                self.woken.set_result(None)
            return True
        try:
            self._loop.call_soon_threadsafe(self._resolve)
        except RuntimeError:
            # The loop was closed with the consumer in it; nobody waits there.
            return False
        return False

    def _resolve(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Job(Protocol):
    """Something else to do for a thread that waits."""

    def run(self) -> int:
        """Do it, in that thread; return the number of a signal."""

    def give_back(self) -> None:
        """The thread does not do it."""


class ThreadWaiter:
    """A consumer in a thread without a loop, in *lane* or in none."""

    def __init__(self, lane: "Lane | None" = None) -> None:
        self.lane = lane
        self.is_main = threading.current_thread() is threading.main_thread()
        self.is_idle = True
        self.job: Job | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> bool:
        """Let the thread run."""
        self.is_idle = False
        self._lock.release()
        return True

    def give(self, job: Job) -> None:
        """Wake the thread for *job*; under the lock."""
        self.job = job
        if self.lane is not None:
            self.lane.waiters.remove(self)
        self.wake()

    def wait(self, timeout: float | None) -> bool:
        """Block until woken; tell whether that was before *timeout* seconds.

        In the main thread a Unix signal's handler runs meanwhile, as anywhere.
        """
        return self._lock.acquire(timeout=-1 if timeout is None else timeout)


class Arrival:
    """One DELIVER: neighbouring messages at consecutive positions of a lane."""

    __slots__ = ("attempt", "bodies", "count", "first_id", "options", "source", "start")

    def __init__(self, deliver: Deliver, start: int) -> None:
        count, payload = deliver.count, deliver.payload
        size = len(payload) - LENGTH_BYTES
        if count == 1 and int.from_bytes(payload[:LENGTH_BYTES], "little") == size:
            self.bodies = [payload[LENGTH_BYTES:]]
        else:
            self.bodies = received_bodies(count, payload)
        self.count = count
        self.first_id = deliver.first_id
        self.attempt = deliver.attempt
        self.source = deliver.source
        self.options = deliver.options
        self.start = start

    def tail(self, start: int, bodies: list[bytes]) -> "Arrival":
        """Return the part from position *start* on, of which *bodies* are left."""
        rest = copy(self)
        rest.bodies, rest.count, rest.start = bodies, len(bodies), start
        rest.first_id = self.first_id + start - self.start
        return rest

    def has_one_of(self, positions: list[int]) -> bool:
        """Whether one of the sorted *positions* is here."""
        at = bisect_left(positions, self.start)
        return at < len(positions) and positions[at] < self.start + self.count


class Hand:
    """A consumer in a lane, with its slot on the scoreboard."""

    __slots__ = ("key", "lane", "owner", "slot")

    def __init__(self, lane: "Lane") -> None:
        self.lane = lane
        self.key = lane.key
        # The task or thread that asks with it again and again, if one does.
        self.owner: object = None
        self.slot = lane.board.open_slot(lane.index)
        lane.hands[self] = None

    @property
    def position(self) -> int | None:
        """The position of the message in hand, if there is one."""
        word = self.lane.words[self.slot]
        if not word & IN_HAND:
            return None
        return ((word & _POSITION_MASK) >> 1) - 1

    def let_go(self) -> None:
        """What was in hand is done."""
        self.lane.words[self.slot] &= ~IN_HAND

    def close(self) -> None:
        """The consumer is gone; what it had in hand is done."""
        del self.lane.hands[self]
        self.lane.board.close_slot(self.lane.index, self.slot)


class Lane:
    """One way of asking.

    Args:
        index: Its number on the wire.
        key: What consumers call it: ``True`` and ``False`` for ``mule_get_msg`` with
            and without farms, ``None`` for all farms, a name for one, a tuple for
            functions.
        sources: The queues it takes from.
        board: The mule's scoreboard.
        credit: Messages to hold at a time, or ``None`` to find out.
    """

    def __init__(
        self,
        index: int,
        key: bool | str | tuple[str, ...] | None,  # noqa: FBT001  (a key, not a switch)
        sources: list[str],
        board: Scoreboard,
        credit: int | None,
    ) -> None:
        self.index = index
        self.key = key
        self.sources = sources
        self.board = board
        self.words = board.words
        # The loop that may take from walk without the lock; other consumers, in
        # other threads, end that.
        self.home: asyncio.AbstractEventLoop | None = None
        self.walk: Iterator[bytes] = iter(())
        self.guarded: Iterator[bytes] = iter(())
        # The slot word of the next message to take.
        self.word = self._first_word = lane_word(index, 0)
        self.batches: deque[Arrival] = deque()
        # Those of which not every message is acknowledged.
        self.arrivals: deque[Arrival] = deque()
        self.received = 0
        # What the master was told last, and the highest that it may still go by.
        self.limit = 0
        self.limit_ever = 0
        # Position up to which the consumers came without letting the loop turn.
        self.turned = 0
        self.hands: dict[Hand, None] = {}
        self.waiters: deque[Waiter] = deque()
        self.waiting = 0
        self._credit = credit
        self.window = credit or 0
        # Of late, the older the less: seconds spent on messages, and on how many. And
        # since when, from which position, it is counted on.
        self._busy_s = 0.0
        self._busy_count = 0.0
        self._mark_s = 0.0
        self._mark = 0
        # Something goes back, and the master has not said yet that it has heard of it.
        self.is_giving = False
        # Up to here everything was acknowledged, but for the holes.
        self._reported = 0
        self._holes: list[int] = []
        # Nacked: not to be acknowledged when they leave their slots.
        self._nacked: set[int] = set()

    @property
    def position(self) -> int:
        """Position of the next message to take."""
        return ((self.word & _POSITION_MASK) >> 1) - 1

    @property
    def untaken(self) -> int:
        """Messages here that nobody took."""
        return self.received - self.position

    # Taking

    def take(self, hand: Hand) -> bytes | None:
        """Take the next message into *hand*, if there is one; under the lock."""
        while True:
            for body in self.guarded if self.home is None else self.walk:
                word = self.word
                self.board.take(hand.slot, word)
                self.word = word + _TAKE_NEXT
                return body
            if not self.batches:
                return None
            arrival = self.batches.popleft()
            self.word = self._first_word + _TAKE_NEXT * arrival.start
            bodies, arrival.bodies = iter(arrival.bodies), []
            if self.home is None:
                self.guarded = bodies
            else:
                self.walk = bodies

    def arrival_of(self, position: int) -> Arrival:
        """Return the arrival that brought the message at *position*."""
        for arrival in self.arrivals:
            if arrival.start <= position < arrival.start + arrival.count:
                return arrival
        raise AssertionError(f"position {position} is in no arrival of this lane")

    def interrupt(self) -> None:
        """Make the next consumer come in under the lock; in the home loop only."""
        rest = list(self.guarded if self.home is None else self.walk)
        if rest:
            position = self.position
            arrival = self.arrival_of(position)
            self.batches.appendleft(arrival.tail(position, rest))

    def share(self) -> None:
        """Consumers of several threads take from here now; in the home loop only."""
        self.interrupt()
        self.home = None

    # The link's side

    def arrive(self, deliver: Deliver) -> int:
        """Take a delivery, and wake as many consumers as it has messages.

        Returns:
            How many are left by those who look at once.

        Raises:
            RemoteProtocolError: It cannot be read, or goes beyond the limit.
        """
        left_count = self._append(deliver)
        for _ in range(min(left_count, len(self.waiters))):
            left_count -= self.waiters.popleft().wake()
        return left_count

    def refuse(self, deliver: Deliver) -> list[Verb]:
        """Take a delivery that goes back at once; return what to say for that.

        Raises:
            RemoteProtocolError: As :meth:`arrive`.
        """
        self._append(deliver)
        return self.give_back()

    def _append(self, deliver: Deliver) -> int:
        arrival = Arrival(deliver, self.received)
        if self.received + arrival.count > self.limit_ever:
            raise RemoteProtocolError(
                f"{arrival.count} messages for lane {self.index} at position "
                f"{self.received}; the limit is {self.limit_ever}"
            )
        self.received += arrival.count
        self.batches.append(arrival)
        self.arrivals.append(arrival)
        return arrival.count

    def measure(self, now: float) -> None:
        """A consumer asks: learn how long a message takes."""
        position = self.position
        count = position - self._mark
        if count > 0 and not self.waiting and self._credit is None:
            # Sums, not a mean of means: of consumers that ask at the same time only the
            # first brings the time, and the others would make the lane seem fast.
            keep = 1 - 1 / (len(self.hands) + 1)
            self._busy_s = self._busy_s * keep + now - self._mark_s
            self._busy_count = self._busy_count * keep + count
            service_s = max(self._busy_s / self._busy_count, 1e-9)
            self.window = min(int(_WINDOW_S / service_s), _WINDOW_MAX)
        self.mark(now)

    def mark(self, now: float) -> None:
        """A consumer starts to work, after a wait or at once."""
        self._mark, self._mark_s = ((self.word & _POSITION_MASK) >> 1) - 1, now

    @property
    def is_fixed(self) -> bool:
        """Whether the file says how many messages to hold."""
        return self._credit is not None

    def slow_down(self) -> None:
        """What was held here did not get done: hold nothing for a while."""
        if self._credit is None:
            self.window = 0
            self._busy_s, self._busy_count = _WINDOW_S * 2, 1.0

    @property
    def is_credit_due(self) -> bool:
        """Whether half of the window is used up: time to ask for more."""
        return self.position + self.window - self.limit >= max(1, self.window // 2)

    def new_limit(self) -> int | None:
        """Return the limit to tell the master, if it is time for one."""
        if self.is_giving:
            return None
        wanted = self.position + max(self.waiting, self.window)
        if wanted > self.limit:
            is_starving = self.waiting and self.limit <= self.received
            if not is_starving and wanted - self.limit < max(1, self.window // 2):
                return None
        elif self.limit - wanted <= self.window or self.limit <= self.received:
            return None
        self.limit = max(wanted, self.received)
        self.limit_ever = max(self.limit_ever, self.limit)
        return self.limit

    @property
    def has_too_much(self) -> bool:
        """Whether more lies here than the window grew down to."""
        return self.untaken > 2 * max(self.window, self.waiting)

    def is_late(self, position: int, received: int) -> bool:
        """Whether what lay here takes longer than 2 ms by far.

        That is, less than half of it was taken since.

        Args:
            position: Of the next message to take, a while ago.
            received: How many had come, then.
        """
        return received - self.position > self.position - position

    def nacked(self, position: int) -> None:
        """The message at *position* was nacked: never acknowledge it."""
        self._nacked.add(position)

    def new_acks(self) -> list[tuple[int, int, int]]:
        """Return ``first id, count, attempt`` of what was done since the last call."""
        # First how far it was taken, then the hands: the other way round, a message
        # taken in between would seem done.
        taken = self.position
        held = sorted(
            position
            for hand in list(self.hands)
            if (position := hand.position) is not None and position < taken
        )
        # A mule that waits idle comes here at each message; leave early.
        if taken == self._reported and held == self._holes:
            return []
        if not held and not self._holes and not self._nacked:
            # So does one that waits and had one; all that came is done.
            start, self._reported = self._reported, taken
            acks = list(self._ids(start, taken))
            arrivals = self.arrivals
            while arrivals and arrivals[0].start + arrivals[0].count <= taken:
                arrivals.popleft()
            return acks
        still = frozenset(held)
        done = [(hole, hole + 1) for hole in self._holes if hole not in still]
        start = self._reported
        for position in [p for p in held if p >= start]:
            done.append((start, position))
            start = position + 1
        done.append((start, taken))
        self._reported, self._holes = max(taken, start), held
        acks = [ack for low, high in done for ack in self._ids(low, high)]
        self._forget_arrivals()
        return acks

    def _ids(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        if self._nacked:
            for position in [p for p in sorted(self._nacked) if low <= p < high]:
                self._nacked.remove(position)
                yield from self._ids(low, position)
                low = position + 1
        for arrival in self.arrivals:
            first = max(low, arrival.start)
            end = min(high, arrival.start + arrival.count)
            if first < end:
                offset = first - arrival.start
                yield arrival.first_id + offset, end - first, arrival.attempt

    def _forget_arrivals(self) -> None:
        wanted = [*self._holes, self._reported]
        self.arrivals = deque(
            arrival
            for arrival in self.arrivals
            if arrival.start + arrival.count > self._reported
            or arrival.has_one_of(wanted)
        )

    def give_back(self) -> list[Verb]:
        """Return what to say to give back what nobody took; in the home loop."""
        acks = self.new_acks()
        self.interrupt()
        given = [(a.first_id, a.count, a.attempt) for a in self.batches]
        self.batches.clear()
        self.word = lane_word(self.index, self.received)
        self._reported = self.limit = self.received
        self._forget_arrivals()
        verbs: tuple[Verb | None, ...] = (
            Ack(acks) if acks else None,
            # Nothing more is asked for.
            Credit(self.index, self.limit),
            Return(given) if given else None,
        )
        return [verb for verb in verbs if verb is not None]
