"""A message in hand, for programs that settle each one themselves."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from pymule.errors import LeaseLostError
from pymule.mule.hands import Hands
from pymule.mule.inbox import Hand
from pymule.sansio.options import read_options, unpack_headers
from pymule.verdicts import check_delay, verdict_in

__all__ = ("Message",)


class Message:
    """A message, leased to this mule until it is acked, nacked or rejected.

    As a context manager, with ``async with`` or ``with``, it is acked at the end of
    the block, or nacked when the block raises. :class:`~pymule.Retry` and
    :class:`~pymule.Reject` do what they say and end the block, not what is around it.

    Attributes:
        body: What was sent.
        id: Its number, the same at each attempt.
        attempt: Counts its deliveries, from 1.
        source: The queue that it came from: ``mule3``, ``mule`` or ``farm:NAME``.
    """

    __slots__ = (
        "_hand",
        "_hands",
        "_options",
        "_position",
        "attempt",
        "body",
        "id",
        "on_settled",
        "source",
    )

    def __init__(self, hands: Hands, hand: Hand, body: bytes) -> None:
        position = hand.position
        if position is None:
            raise AssertionError("made right after the message was taken")
        arrival = hand.lane.arrival_of(position)
        self._hands = hands
        self._hand = hand
        self._position: int | None = position
        # Called when the message is settled.
        self.on_settled: Callable[[], None] | None = None
        self._options = arrival.options
        self.body = body
        self.id = arrival.first_id + position - arrival.start
        self.attempt = arrival.attempt
        self.source = arrival.source.decode()

    @property
    def headers(self) -> dict[str, str]:
        """The texts that travel with the message."""
        return unpack_headers(self._options)

    @property
    def priority(self) -> int:
        """What the sender asked for, from 0, the default, to 9."""
        return read_options(self._options).priority

    @property
    def key(self) -> str | None:
        """What the sender asked for: those with the same key come one at a time."""
        return read_options(self._options).key

    @property
    def message_id(self) -> str | None:
        """The id that the sender gave it; its *id* is the master's."""
        return read_options(self._options).message_id

    @property
    def max_attempts(self) -> int | None:
        """What the sender asked for; ``None`` is the queue's own limit."""
        return read_options(self._options).max_attempts

    @property
    def is_settled(self) -> bool:
        """Whether that was said, here or by asking for the next one."""
        return self._position is None or self._hand.position != self._position

    def ack(self) -> None:
        """The message is done.

        Raises:
            LeaseLostError: It was settled before; nothing changes.
        """
        self._hands.done(self._settle())

    def nack(self, delay: float | None = None, reason: str = "") -> None:
        """Give the message back; it spends an attempt.

        Args:
            delay: Seconds until the next attempt; default the queue's backoff.
            reason: Kept with the message if it becomes a dead letter.

        Raises:
            ValueError: The delay is below zero or not finite; nothing changes.
            LeaseLostError: It was settled before; nothing changes.
        """
        check_delay(delay)
        error: dict[str, object] = {"type": "Nack", "text": reason}
        self._hands.nack(self._settle(), error, delay=delay)

    def reject(self, reason: str) -> None:
        """Put the message with the dead letters, whatever attempts it has left.

        Args:
            reason: Kept with the dead letter.

        Raises:
            LeaseLostError: It was settled before; nothing changes.
        """
        error: dict[str, object] = {"type": "Reject", "text": reason}
        self._hands.nack(self._settle(), error, is_final=True)

    def _settle(self) -> Hand:
        if self.is_settled:
            raise LeaseLostError(self.id, self.attempt)
        self._position = None
        if self.on_settled is not None:
            self.on_settled()
        return self._hand

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self.is_settled:
            return False
        if exc is None:
            self.ack()
            return False
        self._hands.failed(self._settle(), exc)
        return verdict_in(exc) is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return self.__exit__(exc_type, exc, traceback)

    def __repr__(self) -> str:
        return (
            f"<Message id={self.id} attempt={self.attempt} source={self.source!r} "
            f"{len(self.body)} bytes>"
        )
