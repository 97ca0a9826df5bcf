"""Neighbouring messages with one history, from their acceptance to their end."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from pymule.sansio.batch import Batch
from pymule.sansio.body import JsonObject
from pymule.sansio.delivery import MAX_ERRORS, DeliveryPolicy
from pymule.sansio.options import PLAIN, MessageOptions
from pymule.sansio.target import MessageId

if TYPE_CHECKING:
    from pymule.sansio.queue import Queue

__all__ = (
    "BATCH_OVERHEAD_BYTES",
    "Hands",
    "Parked",
    "Place",
    "Run",
    "SenderId",
)

SenderId = int
"""Whom to answer: a number that the daemon gives each connection."""

BATCH_OVERHEAD_BYTES: Final = 512
"""What a batch costs the master beside its payload, so that a flood of tiny batches
meets ``max_bytes`` before it fills the memory. Measured: 430 on CPython 3.11."""


class Place(Enum):
    """Where a run is while its queue has it."""

    STORING = "storing"
    READY = "ready"
    SUSPECT = "suspect"
    DELAYED = "delayed"
    BLOCKED = "blocked"
    LEASED = "leased"
    GONE = "gone"


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
        "asked",
        "at",
        "attempts",
        "batch",
        "begun",
        "count",
        "crashes",
        "due_at",
        "errors",
        "expires_at",
        "first",
        "first_id",
        "lane_index",
        "options",
        "place",
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
        self.place = Place.GONE
        # Attempts and crashes that are over.
        self.attempts = 0
        self.crashes = 0
        # The attempt that a journal has as begun already, before there is a lease.
        self.begun = 0
        # What the sender asked for, as it travels and as it was read.
        self.options = b""
        self.asked = PLAIN
        # When it was accepted, monotonic seconds.
        self.at = 0.0
        # Not delivered any more from then on.
        self.expires_at: float | None = None
        # What the failures told, the oldest first.
        self.errors: tuple[JsonObject, ...] = ()
        # While delayed: not delivered before, monotonic seconds.
        self.due_at: float | None = None
        # While leased: in which lane, and the position of the first message there.
        self.lane_index = 0
        self.start = 0

    @property
    def message(self) -> MessageId:
        """Id of the first message."""
        return MessageId(self.first_id)

    @property
    def end_id(self) -> int:
        """The id after the last one."""
        return self.first_id + self.count

    @property
    def is_begun(self) -> bool:
        """Whether a journal has the attempt that comes next."""
        return self.begun > self.attempts

    @property
    def policy(self) -> DeliveryPolicy:
        """How often and when it is tried: the queue's rules, and the sender's."""
        return self.queue.policy.adjusted(self.asked)

    @property
    def payload(self) -> bytes:
        """The bodies, laid out as a batch of their own."""
        return self.batch.part(self.first, self.count)

    def failed(self, error: JsonObject) -> None:
        """Count an attempt that is over, and keep what it told."""
        self.attempts += 1
        # One traceback is enough, and they are long.
        before = tuple(
            {key: value for key, value in old.items() if key != "traceback"}
            for old in self.errors[1 - MAX_ERRORS :]
        )
        self.errors = (*before, {**error, "attempt": self.attempts})

    def cut(self, offset: int, count: int) -> "Run":
        """Return *count* messages from *offset* as a run of the same history."""
        run = Run(
            self.queue, self.batch, self.first + offset, count, self.first_id + offset
        )
        run.place = self.place
        run.attempts = self.attempts
        run.crashes = self.crashes
        run.options = self.options
        run.asked = self.asked
        run.at = self.at
        run.expires_at = self.expires_at
        run.errors = self.errors
        run.due_at = self.due_at
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
    asked: MessageOptions
    # When it was submitted, monotonic seconds.
    at: float
    # Not delivered before.
    due_at: float | None = None

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
