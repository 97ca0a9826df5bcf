"""What waits: runs of messages, and the queue of one target."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeadLetters, DeliveryPolicy
from pymule.sansio.target import MessageId

if TYPE_CHECKING:
    from pymule.sansio.link import Lane, Link

__all__ = (
    "BATCH_OVERHEAD_BYTES",
    "Hands",
    "Limits",
    "Parked",
    "Queue",
    "Run",
    "SenderId",
)

SenderId = int
"""Whom to answer: a number that the daemon gives each connection."""

BATCH_OVERHEAD_BYTES: Final = 512
"""What a batch costs the master beside its payload, so that a flood of tiny batches
meets ``max_bytes`` before it fills the memory. Measured: 430 on CPython 3.11."""

# How far from the front a run that comes back looks for its place.
_REQUEUE_DEPTH: Final = 64


class Run:
    """Neighbouring messages of one batch that share their history.

    Args:
        queue: Where they belong.
        batch: Where their bodies are.
        first: Index in the batch of the first of them.
        count: How many, from 1.
        first_id: Id of the first; the others follow.
    """

    __slots__ = (
        "at",
        "attempts",
        "batch",
        "count",
        "crashes",
        "error",
        "first",
        "first_id",
        "lane_index",
        "options",
        "queue",
        "start",
    )

    def __init__(
        self, queue: "Queue", batch: Batch, first: int, count: int, first_id: int
    ) -> None:
        self.queue = queue
        self.batch = batch
        self.first = first
        self.count = count
        self.first_id = first_id
        # Attempts and crashes that are over.
        self.attempts = 0
        self.crashes = 0
        self.options = b""
        # When it was accepted, monotonic seconds.
        self.at = 0.0
        # What the last failure told.
        self.error: dict[str, object] | None = None
        # While leased: in which lane, and the position of the first message there.
        self.lane_index = 0
        self.start = 0

    @property
    def end_id(self) -> int:
        """The id after the last one."""
        return self.first_id + self.count

    @property
    def payload(self) -> bytes:
        """The bodies, laid out as a batch of their own."""
        return self.batch.part(self.first, self.count)

    def cut(self, offset: int, count: int) -> "Run":
        """Return *count* messages from *offset* as a run of the same history."""
        run = Run(
            self.queue, self.batch, self.first + offset, count, self.first_id + offset
        )
        run.attempts = self.attempts
        run.crashes = self.crashes
        run.options = self.options
        run.at = self.at
        run.error = self.error
        run.lane_index = self.lane_index
        run.start = self.start + offset
        return run

    def sort_out(self, hands: "Hands") -> "tuple[Run | None, list[Run], list[Run]]":
        """Split a leased run: what nobody touched, what was in hand, what was done.

        Those in hand come one by one, from the last to the first.
        """
        end = self.start + self.count
        held = sorted((p for p in hands.held if self.start <= p < end), reverse=True)
        taken = min(max(hands.taken, self.start, *(p + 1 for p in held)), end)
        untouched = None
        if taken < end:
            untouched = self.cut(taken - self.start, end - taken)
        done = []
        for position in [*held, self.start - 1]:
            if taken > position + 1:
                after = position + 1 - self.start
                done.append(self.cut(after, taken - position - 1))
            taken = position
        return untouched, [self.cut(p - self.start, 1) for p in held], done


@dataclass(slots=True)
class Parked:
    """Messages that wait for room before they are confirmed."""

    sender: SenderId
    sequence: int
    batch: Batch
    first: int
    count: int
    options: bytes
    # When it was submitted, monotonic seconds.
    at: float

    def first_one(self) -> "Parked":
        """Return the first message alone."""
        return replace(self, count=1)

    def without(self, count: int) -> "Parked":
        """Return what is left when the first *count* messages are taken."""
        return replace(
            self,
            sequence=self.sequence + count,
            first=self.first + count,
            count=self.count - count,
        )


@dataclass(frozen=True, slots=True)
class Hands:
    """What the scoreboard of a dead mule says of one lane.

    Args:
        taken: Position after the last message that a consumer took.
        held: Positions of the messages that consumers had in hand.
    """

    taken: int
    held: frozenset[int]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a queue holds, and what happens then.

    Args:
        max_messages: Queued, delayed and leased together; from 1.
        max_bytes: Memory for them, in bytes: bodies, 4 bytes for each message and
            :data:`BATCH_OVERHEAD_BYTES` for each batch.
        refuses: Whether the sender is told (``when_full = "refuse"``) or waits.
    """

    max_messages: int = 1_000_000
    max_bytes: int = 256 * 1024 * 1024
    refuses: bool = False


class Queue:
    """The messages of one target, wherever they are in their lives."""

    def __init__(self, name: str, limits: Limits, policy: DeliveryPolicy) -> None:
        self.name = name
        self.limits = limits
        self.policy = policy
        self.ready: deque[Run] = deque()
        # Messages in whose hands a mule died: delivered one at a time, to a mule
        # that holds nothing else, so that the next death has one suspect.
        self.suspects: deque[Run] = deque()
        # Failed ones that wait for their next attempt, by id.
        self.delayed: dict[MessageId, Run] = {}
        self.waiting: deque[Parked] = deque()
        self.dead = DeadLetters()
        # Lanes with credit, the one that waited longest first. An OrderedDict: the
        # front of a dict costs a walk over all that left it.
        self.line: OrderedDict[Lane, None] = OrderedDict()
        # A link kept free of other work until it can take a suspect.
        self.reserved: Link | None = None
        # No target any more; gone for good when empty.
        self.is_closed = False
        self.count = 0
        self.leased = 0
        self.bytes = 0
        self.accepted = 0
        self.acked = 0
        self.failed = 0
        self.redelivered = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is queued, leased, delayed or waiting for room."""
        return not self.count and not self.waiting

    @property
    def ready_count(self) -> int:
        """Messages that a mule could have now."""
        return self.count - self.leased - len(self.delayed)

    @property
    def oldest_at(self) -> float | None:
        """When the oldest message that waits was accepted, monotonic seconds."""
        runs: Iterator[Run] = (q[0] for q in (self.suspects, self.ready) if q)
        return min((run.at for run in runs), default=None)

    def room_for(self, parked: Parked) -> int:
        """Tell how many of the *parked* messages may be accepted now."""
        count = min(parked.count, self.limits.max_messages - self.count)
        room = self.limits.max_bytes - self.bytes - BATCH_OVERHEAD_BYTES
        if count <= 0 or room < 0:
            return 0
        if len(parked.batch.payload) <= room:
            return count
        return parked.batch.fitting(parked.first, count, room)

    def has_room_when_empty(self, parked: Parked) -> bool:
        """Whether the first of the *parked* messages would fit if it was alone."""
        room = self.limits.max_bytes - BATCH_OVERHEAD_BYTES
        if len(parked.batch.payload) <= room:
            return True
        return parked.batch.fitting(parked.first, 1, room) > 0

    def accept(self, parked: Parked, count: int, first_id: int) -> None:
        """Queue the first *count* of the *parked* messages."""
        batch, first = parked.batch, parked.first
        if count != batch.count:
            # Bytes are counted by the batch, so a part becomes one of its own.
            batch, first = Batch(count, batch.part(first, count)), 0
        run = Run(self, batch, first, count, first_id)
        run.options = parked.options
        run.at = parked.at
        self.bytes += len(batch.payload) + BATCH_OVERHEAD_BYTES
        self.count += count
        self.accepted += count
        self.ready.append(run)

    def requeue(self, run: Run) -> None:
        """Put *run* back where its age places it, which is near the front."""
        line = self.suspects if run.crashes else self.ready
        depth = 0
        while depth < min(len(line), _REQUEUE_DEPTH) and (
            line[depth].first_id < run.first_id
        ):
            depth += 1
        line.insert(depth, run)

    def alone(self, run: Run) -> Run:
        """Return the one message of *run* in a batch of its own.

        Else one message that waits long would keep the bytes of its whole batch.
        """
        payload = run.payload
        copy = run.cut(0, 1)
        copy.batch, copy.first = Batch(1, payload), 0
        self.bytes += len(payload) + BATCH_OVERHEAD_BYTES
        self._give_back(run)
        return copy

    def settle(self, run: Run) -> None:
        """The messages of *run* have left the queue for good."""
        self.count -= run.count
        self._give_back(run)

    def _give_back(self, run: Run) -> None:
        batch = run.batch
        batch.unsettled -= run.count
        if not batch.unsettled:
            self.bytes -= len(batch.payload) + BATCH_OVERHEAD_BYTES
