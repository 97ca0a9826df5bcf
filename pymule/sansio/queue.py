"""The queue of one target: what it has, and how much it may have."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from pymule.sansio.batch import Batch
from pymule.sansio.body import JsonObject
from pymule.sansio.dedupe import SeenIds
from pymule.sansio.delivery import DeadLetters, DeliveryPolicy
from pymule.sansio.key_order import KeyOrder
from pymule.sansio.ledger import Ledger
from pymule.sansio.ready import ReadyLine
from pymule.sansio.record import Durability
from pymule.sansio.run import BATCH_OVERHEAD_BYTES, Parked, Run
from pymule.sansio.target import MessageId

if TYPE_CHECKING:
    from pymule.sansio.link import Lane, Link

__all__ = ("Keeping", "Limits", "Queue")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a queue holds, and what happens then.

    Args:
        max_messages: Queued, delayed and leased together; from 1.
        max_bytes: Memory for them, in bytes: bodies, 4 bytes for each message and
            :data:`~pymule.sansio.run.BATCH_OVERHEAD_BYTES` for each batch, and as much
            again with its options if it has some; what failures told.
        refuses: Whether the sender is told (``when_full = "refuse"``) or waits.
    """

    max_messages: int = 1_000_000
    max_bytes: int = 256 * 1024 * 1024
    refuses: bool = False


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a queue keeps, and for how long.

    Args:
        durability: What its confirmed messages survive.
        dead_max_messages: Dead letters, at most; from 0.
        dedupe_s: Seconds for which a ``message_id`` is remembered.
    """

    durability: Durability = Durability.MEMORY
    dead_max_messages: int = 10_000
    dedupe_s: float = 600.0


class Queue:
    """The messages of one target, wherever they are in their lives.

    Args:
        name: Of the target.
        ledger: Is told what becomes of messages that a journal keeps.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        policy: DeliveryPolicy,
        keeping: Keeping,
        ledger: Ledger,
    ) -> None:
        self.name = name
        self.limits = limits
        self.policy = policy
        self.keeping = keeping
        self.ready = ReadyLine()
        # Messages in whose hands a mule died: delivered one at a time, to a mule
        # that holds nothing else, so that the next death has one suspect.
        self.suspects: deque[Run] = deque()
        # Those that wait for their time, by the id of the first.
        self.delayed: dict[MessageId, Run] = {}
        self.keys = KeyOrder()
        self.waiting: deque[Parked] = deque()
        self.dead = DeadLetters(keeping.dead_max_messages)
        self.seen = SeenIds(keeping.dedupe_s)
        # Lanes with credit, the one that waited longest first. An OrderedDict: the
        # front of a dict costs a walk over all that left it.
        self.line: OrderedDict[Lane, None] = OrderedDict()
        # A link kept free of other work until it can take a suspect.
        self.reserved: Link | None = None
        # No target any more; gone for good when empty.
        self.is_closed = False
        # Accepts, and delivers nothing.
        self.is_paused = False
        self.count = 0
        self.leased = 0
        # Not yet written, so not yet confirmed.
        self.storing = 0
        self.delayed_count = 0
        self.bytes = 0
        self.accepted = 0
        self.acked = 0
        self.failed = 0
        self.redelivered = 0
        self.expired = 0
        self.purged = 0
        self.deduplicated = 0
        self._ledger = ledger

    def change(self, limits: Limits, policy: DeliveryPolicy, keeping: Keeping) -> None:
        """Follow other rules from now on."""
        self.limits, self.policy, self.keeping = limits, policy, keeping
        self.seen.window_s = keeping.dedupe_s
        self.dead.max_messages = keeping.dead_max_messages

    @property
    def is_empty(self) -> bool:
        """Whether nothing is queued, leased, delayed or waiting for room."""
        return not self.count and not self.waiting

    @property
    def blocked(self) -> int:
        """Messages that wait for another one with their key."""
        return self.keys.blocked

    @property
    def ready_count(self) -> int:
        """Messages that a mule could have now."""
        return (
            self.count - self.leased - self.storing - self.delayed_count - self.blocked
        )

    @property
    def oldest_at(self) -> float | None:
        """When the oldest message that waits was accepted, monotonic seconds."""
        runs = chain(self.suspects, self.ready.fronts())
        return min((run.at for run in runs), default=None)

    @property
    def unkept(self) -> int:
        """Messages that wait and that no journal has."""
        return sum(run.count for run in self.waiting_runs() if not run.batch.row)

    def waiting_runs(self) -> Iterator[Run]:
        """Iterate over what is not with a mule, in the order of delivery or nearly."""
        yield from self.suspects
        yield from self.ready
        yield from self.keys
        yield from self.delayed.values()

    def room_for(self, parked: Parked) -> int:
        """Tell how many of the *parked* messages may be accepted now."""
        size = len(parked.batch.payload)
        limits = self.limits
        if not parked.options and (
            self.bytes + size + BATCH_OVERHEAD_BYTES <= limits.max_bytes
            and self.count + parked.count <= limits.max_messages
        ):
            # As a rule there is enough for all of them.
            return parked.count
        count = min(parked.count, self.limits.max_messages - self.count)
        room = self.limits.max_bytes - self.bytes - _overhead(parked.options)
        if count <= 0 or room < 0:
            return 0
        if size <= room:
            return count
        return parked.batch.fitting(parked.first, count, room)

    def has_room_when_empty(self, parked: Parked) -> bool:
        """Whether the first of the *parked* messages would fit if it was alone."""
        room = self.limits.max_bytes - _overhead(parked.options)
        if len(parked.batch.payload) <= room:
            return True
        return parked.batch.fitting(parked.first, 1, room) > 0

    def accept(self, parked: Parked, count: int, first_id: int) -> Run:
        """Take in the first *count* of the *parked* messages; return them.

        They are counted as accepted when they are confirmed.
        """
        batch, first = parked.batch, parked.first
        if count != batch.count:
            # Bytes are counted by the batch, so a part becomes one of its own.
            batch, first = Batch(count, batch.part(first, count)), 0
        run = Run(self, batch, first, count, first_id)
        run.at = parked.at
        self.count += count
        if not parked.options:
            batch.cost = len(batch.payload) + BATCH_OVERHEAD_BYTES
            self.bytes += batch.cost
            return run
        run.options = parked.options
        run.asked = parked.asked
        if parked.asked.ttl is not None:
            run.expires_at = parked.at + parked.asked.ttl
        self.charge(batch, run.options)
        return run

    def pass_through(self, batch: Batch, first_id: int, at: float) -> Run | None:
        """Take in *batch*, without options, that does not wait here; if that is so.

        It does if something is before it, if there is no room, or if it must be written
        first.
        """
        cost = len(batch.payload) + BATCH_OVERHEAD_BYTES
        limits = self.limits
        if (
            len(self.ready)
            or self.waiting
            or self.suspects
            or self.is_closed
            or self.is_paused
            or self.keeping.durability is not Durability.MEMORY
            or self.count + batch.count > limits.max_messages
            or self.bytes + cost > limits.max_bytes
        ):
            return None
        run = Run(self, batch, 0, batch.count, first_id)
        run.at = at
        batch.cost = cost
        self.bytes += cost
        self.count += batch.count
        self.accepted += batch.count
        return run

    def charge(
        self, batch: Batch, options: bytes, errors: tuple[JsonObject, ...] = ()
    ) -> None:
        """Count the memory of a batch that is here, for the first time or anew."""
        cost = len(batch.payload) + _overhead(options)
        if errors:
            cost += sum(len(str(value)) for one in errors for value in one.values())
        self.bytes += cost - batch.cost
        batch.cost = cost

    def alone(self, run: Run) -> Run:
        """Return the one message of *run* in a batch of its own.

        Else one message that waits long would keep the bytes of its whole batch.
        """
        if run.batch.count == 1:
            self.charge(run.batch, run.options, run.errors)
            return run
        copy = run.cut(0, 1)
        copy.batch, copy.first = Batch(1, run.payload), 0
        self.charge(copy.batch, copy.options, copy.errors)
        if run.batch.row:
            self._ledger.keep(copy)
        self._count_off(run)
        return copy

    def settle(self, run: Run) -> None:
        """The messages of *run* have left the queue for good."""
        self.count -= run.count
        self._count_off(run)

    def _count_off(self, run: Run) -> None:
        batch = run.batch
        batch.unsettled -= run.count
        if not batch.unsettled:
            self.bytes -= batch.cost
        if batch.row:
            self._ledger.settled(run)


def _overhead(options: bytes) -> int:
    """Return what a batch costs beside its payload."""
    if not options:
        return BATCH_OVERHEAD_BYTES
    # Read options, and the place in a line of their key, cost about a batch more.
    return 2 * BATCH_OVERHEAD_BYTES + len(options)
