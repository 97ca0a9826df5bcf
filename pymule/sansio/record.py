"""The facts that a journal keeps, and what it gives back after a crash.

The router says in facts what changed for messages of durable queues; a journal writes
them, in order, and a later master starts from what was written. A *row* is one batch
as it was accepted, or one message that was taken out of its batch; rows are numbered
from 1 and never used twice. Everything else is about a range of ids within one row.

What a journal says of each row is not frozen, though nobody changes it: a frozen object
of eleven fields takes 1.1 us, this one 0.16, and there may be a million.

Times are monotonic seconds of the master that says them; a journal keeps them on the
wall clock and gives them back in the clock of the next master.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from pymule.sansio.body import JsonObject
from pymule.sansio.delivery import DeadLetter

__all__ = (
    "Buried",
    "Changed",
    "DeadGone",
    "Durability",
    "Fact",
    "Gone",
    "Paused",
    "Recovered",
    "RowGone",
    "SeenId",
    "Share",
    "Stored",
    "StoredRow",
)


class Durability(Enum):
    """What a confirmed message of a queue survives."""

    MEMORY = "memory"
    PROCESS = "process"
    DISK = "disk"


@dataclass(slots=True)
class Stored:
    """Messages were accepted; they are confirmed when this is written.

    Attributes:
        row: Number of the new row.
        queue: Name of the queue.
        first_id: Id of the first message; the others follow.
        count: How many.
        options: As the sender packed them.
        payload: A batch: lengths, then bodies.
        accepted_at: When.
        due_at: Not to be delivered before, or ``None``.
        is_synced: Whether an fsync must have returned before they are confirmed.
        is_kept: The messages are in another row already, from which the facts that
            follow take them: there is nobody to refuse this one to.
        message_id: What duplicates are known by, or ``None``.
        is_begun: A mule waits for it: with this, its first attempt is written.
    """

    row: int
    queue: str
    first_id: int
    count: int
    options: bytes
    payload: bytes
    accepted_at: float
    due_at: float | None = None
    is_synced: bool = True
    is_kept: bool = False
    message_id: str | None = None
    is_begun: bool = False


@dataclass(slots=True)
class Changed:
    """What a crash from now on would find of messages that are still to be done.

    Attributes:
        row: Where they are.
        first_id: Id of the first.
        count: How many.
        attempts: Attempts that are over, the one that begins now included.
        crashes: Deaths of mules that had them in hand.
        due_at: Not to be delivered before, or ``None``.
        errors: What each failed attempt told, the oldest first.
    """

    row: int
    first_id: int
    count: int
    attempts: int
    crashes: int
    due_at: float | None = None
    errors: tuple[JsonObject, ...] = ()


@dataclass(slots=True)
class Gone:
    """Messages are done, expired, purged or dead; others of their row are not."""

    row: int
    first_id: int
    count: int


@dataclass(slots=True)
class RowGone:
    """No message of the row is left."""

    row: int


@dataclass(frozen=True, slots=True)
class Buried:
    """A message became a dead letter."""

    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class DeadGone:
    """Dead letters were replayed, purged, or had to leave for younger ones."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Paused:
    """A queue was paused, or resumed."""

    queue: str
    is_paused: bool


Fact = Stored | Changed | Gone | RowGone | Buried | DeadGone | Paused


@dataclass(slots=True)
class Share:
    """Neighbouring messages of a row with one history; those that are gone have none.

    Attributes are those of :class:`Changed`.
    """

    first_id: int
    count: int
    attempts: int = 0
    crashes: int = 0
    due_at: float | None = None
    errors: tuple[JsonObject, ...] = ()


@dataclass(slots=True)
class StoredRow:
    """A row that is read back, with what is left of it."""

    stored: Stored
    # In the order of their ids, without overlap; never empty.
    shares: list[Share]


@dataclass(frozen=True, slots=True)
class SeenId:
    """A message with this id of its sender's was accepted for *queue* at *at*."""

    queue: str
    message_id: str
    id: int
    at: float


@dataclass(slots=True)
class Recovered:
    """All that a journal gives a new master.

    Attributes:
        epoch: Counts the starts, this one included.
        next_id: No message has this id or a higher one.
        next_row: No row has this number or a higher one.
        rows: In the order in which they were accepted.
        dead: The oldest first.
    """

    epoch: int = 1
    next_id: int = 1
    next_row: int = 1
    rows: Iterable[StoredRow] = ()
    dead: list[DeadLetter] = field(default_factory=list)
    seen: list[SeenId] = field(default_factory=list)
    paused: frozenset[str] = frozenset()
