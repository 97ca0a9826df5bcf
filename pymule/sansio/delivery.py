"""How often a message is tried, how long it waits in between, and where it ends."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from pymule.sansio.options import MessageOptions
from pymule.sansio.target import MessageId

__all__ = (
    "MAX_ERRORS",
    "Bury",
    "DeadLetter",
    "DeadLetters",
    "DeadReason",
    "DeliveryPolicy",
    "Redeliver",
)

MAX_ERRORS: Final = 10
"""Failures of one message that are kept; of further ones the oldest go."""

# What a sender may ask for instead of the queue's rule, under the same name.
_ASKED: Final = ("max_attempts", "max_crashes", "backoff_s", "backoff_max_s", "jitter")


class DeadReason(Enum):
    """Why a message became a dead letter."""

    ATTEMPTS = "attempts spent"
    CRASHES = "mules died in its hands"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Redeliver:
    """Try again in *delay* seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Bury:
    """Put the message with the dead letters."""

    reason: DeadReason


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """The limits of one queue.

    Args:
        max_attempts: Deliveries of one message, at most; from 1.
        max_crashes: Deaths of a mule that held the message, at most; from 1.
        backoff_s: Longest wait before the second attempt, in seconds; doubled for
            each one after.
        backoff_max_s: Longest wait before any attempt, in seconds.
        jitter: Which part of a wait is drawn, from 0 to 1. The whole wait is, unless
            told otherwise ("full jitter"), so that messages which failed together do
            not come back together.
    """

    max_attempts: int = 5
    max_crashes: int = 3
    backoff_s: float = 0.5
    backoff_max_s: float = 60.0
    jitter: float = 1.0

    def adjusted(self, asked: MessageOptions) -> "DeliveryPolicy":
        """Return the policy for a message whose sender asked for some of it."""
        changes = {
            name: value
            for name in _ASKED
            if (value := getattr(asked, name)) is not None
        }
        return replace(self, **changes) if changes else self

    def after_failure(
        self, attempts: int, jitter: float, delay: float | None = None
    ) -> Redeliver | Bury:
        """Decide about a message that failed at attempt number *attempts*.

        Args:
            attempts: Deliveries so far, from 1.
            jitter: In ``[0, 1)``, drawn by the caller.
            delay: Seconds that the program asked for instead.
        """
        if attempts >= self.max_attempts:
            return Bury(DeadReason.ATTEMPTS)
        if delay is not None:
            return Redeliver(delay)
        # 2.0 ** 1024 overflows; the cap is reached long before.
        longest = self.backoff_s * 2.0 ** min(attempts - 1, 64)
        share = 1 - self.jitter * (1 - jitter)
        return Redeliver(min(longest, self.backoff_max_s) * share)

    def after_crash(self, attempts: int, crashes: int) -> Redeliver | Bury:
        """Decide about a message whose mule died, for the *crashes*th time.

        There is no wait: the backoff is the mule's, another one can start at once.
        """
        if crashes >= self.max_crashes:
            return Bury(DeadReason.CRASHES)
        if attempts >= self.max_attempts:
            return Bury(DeadReason.ATTEMPTS)
        return Redeliver(0.0)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that is not tried again, and why.

    Attributes:
        errors: What each failed attempt told, the oldest first and at most
            :data:`MAX_ERRORS`: ``type``, ``text``, ``attempt``, ``mule`` (its
            number), ``at`` (seconds of the Unix epoch), and in the last one
            ``traceback``; any may be missing.
        accepted_at: When the message was queued, monotonic seconds.
        died_at: When it was given up, monotonic seconds.
        is_kept: Whether a journal has it.
    """

    id: MessageId
    queue: str
    body: bytes
    options: bytes
    attempts: int
    crashes: int
    reason: DeadReason
    errors: tuple[dict[str, object], ...]
    accepted_at: float
    died_at: float
    is_kept: bool = False

    @property
    def size(self) -> int:
        """Bytes of what it says, about."""
        told = sum(len(str(value)) for one in self.errors for value in one.values())
        return len(self.body) + len(self.options) + told

    @property
    def error(self) -> dict[str, object]:
        """What the last failure told; nothing if there was none."""
        return self.errors[-1] if self.errors else {}


class DeadLetters:
    """The dead letters of one queue; the oldest leaves when there are too many.

    Args:
        max_messages: Letters kept, at most.
        max_bytes: Of bodies, options and what failures told, at most.
    """

    def __init__(
        self, max_messages: int = 10_000, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._letters: OrderedDict[MessageId, DeadLetter] = OrderedDict()
        self.max_messages = max_messages
        self._max_bytes = max_bytes
        self.bytes = 0
        # Letters that had to leave, counted because nothing is dropped silently.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._letters.values())

    def add(self, letter: DeadLetter) -> list[MessageId]:
        """Keep *letter*; return those that had to leave, the oldest first."""
        self._letters[letter.id] = letter
        self.bytes += letter.size
        return self.shrink()

    def shrink(self) -> list[MessageId]:
        """Let the oldest go while there are too many; return which."""
        gone = []
        while len(self) > self.max_messages or (
            self.bytes > self._max_bytes and len(self) > 1
        ):
            oldest = next(iter(self._letters))
            self.remove(oldest)
            self.dropped += 1
            gone.append(oldest)
        return gone

    def get(self, message: MessageId) -> DeadLetter | None:
        """Return the letter of *message*, if it is here."""
        return self._letters.get(message)

    def remove(self, message: MessageId) -> DeadLetter:
        """Take the letter of *message* out.

        Raises:
            KeyError: It is not here.
        """
        letter = self._letters.pop(message)
        self.bytes -= letter.size
        return letter
