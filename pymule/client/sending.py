"""Messages from tasks: piled up for a loop turn, handed over, and waited for.

Theory of operation. For each farm or mule there is at most one *open* pile; a message
with the options of that pile joins it, and one with others seals it and opens the next,
so that messages for one target leave in the order in which they came, whatever their
options are. Open piles are sealed when they are full and when the loop turns.

A message that comes when nothing has been sent that is not answered is not piled up: it
leaves in the call that brings it. In a flood, which is never like that for long, the
answers come so fast that each turn of the loop would begin with such a message; so the
last turn must have been a quiet one.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final, Unpack

from pymule.client.reach import join_ids, message_limit, target_of, to_bytes
from pymule.connection import Connection
from pymule.errors import ConnectionLostError, MessageTooBigError
from pymule.sansio.frame import DEFAULT_MAX_FRAME_BYTES
from pymule.sansio.options import (
    BatchOptionWords,
    OptionWords,
    pack_batch_options,
    pack_options,
)
from pymule.sansio.outbox import MESSAGE_COST, Outbox, Pile, Ticket

__all__ = ("Sending", "Waiter")

Waiter = asyncio.Future[list[range]]
"""Who waits for the ids of his messages."""

# Messages of a turn of the loop that is a quiet one, at most.
_QUIET_COUNT: Final = 8
# Bytes that are sealed before the loop must turn, so that they leave and answers come.
_TURN_BYTES: Final = 128 * 1024


class Sending(ABC):
    """What a client can do with messages."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_running = self.loop.is_running
        # Open piles without options, by farm name or mule number: the short path of the
        # module-level functions puts messages there itself. And those with options.
        self.piles: dict[str | int | None, Pile[Waiter]] = {}
        self._piles_with_options: dict[str | int | None, Pile[Waiter]] = {}
        self._sealed_bytes = 0
        self._outbox: Outbox[Waiter] = Outbox()
        # The first sequence of this turn, and whether the last one had few messages.
        self._turn_start = self._outbox.next_sequence
        self._was_quiet = True
        self._connection: Connection | None = None
        self._message_limit = message_limit(DEFAULT_MAX_FRAME_BYTES)
        self._is_flush_due = False
        self._is_closing = False
        # Done when an answer made room or everything has its answer.
        self._progress: asyncio.Future[None] | None = None

    async def mule_msg(
        self,
        message: bytes | str,
        mule: int | None = None,
        *,
        confirm: bool = True,
        **options: Unpack[OptionWords],
    ) -> int:
        """Send *message* to mule number *mule*, or to the first available one.

        See :meth:`farm_msg`.
        """
        return await self.send(mule, message, pack_options(**options), confirm=confirm)

    async def farm_msg(
        self,
        farm: str,
        message: bytes | str,
        *,
        confirm: bool = True,
        **options: Unpack[OptionWords],
    ) -> int:
        """Send *message* to one mule of *farm*.

        Args:
            farm: Name of the farm.
            message: A text travels as UTF-8.
            confirm: Wait until the master answers for the message. Without, return
                as soon as there is room in the window, 0 for an id, and leave
                refusals to :meth:`flush`.
            options: ``delay``, ``at``, ``priority``, ``ttl``, ``key``,
                ``message_id``, ``headers``, ``max_attempts``, ``max_crashes``,
                ``backoff_s``, ``backoff_max_s`` and ``jitter``: see
                :class:`~pymule.OptionWords`.

        Returns:
            The id of the message.

        Raises:
            UnknownTargetError: There is no such farm.
            QueueFullError: The queue is full and configured to refuse.
            MessageTooBigError: The message does not fit in a frame.
            ValueError: An option is out of its range.

        Cancelling: the message may be delivered all the same.
        """
        return await self.send(farm, message, pack_options(**options), confirm=confirm)

    async def mule_msgs(
        self,
        messages: Iterable[bytes | str],
        mule: int | None = None,
        *,
        confirm: bool = True,
        **options: Unpack[BatchOptionWords],
    ) -> Sequence[int]:
        """Send many *messages* and wait once; see :meth:`farm_msgs`."""
        packed = pack_batch_options(**options)
        return await self.send_many(mule, messages, packed, confirm=confirm)

    async def farm_msgs(
        self,
        farm: str,
        messages: Iterable[bytes | str],
        *,
        confirm: bool = True,
        **options: Unpack[BatchOptionWords],
    ) -> Sequence[int]:
        """Send many *messages* to *farm*, each to one of its mules, and wait once.

        All have the same *options*, those of :meth:`farm_msg` but ``message_id``.

        Returns:
            Their ids, in order: a range where the master gave them in one piece.

        Raises:
            RefusedError: The first reason for which one was refused; the others may
                have been queued.
            ValueError: An option is out of its range, or a ``message_id``.
        """
        packed = pack_batch_options(**options)
        return await self.send_many(farm, messages, packed, confirm=confirm)

    async def send(
        self,
        where: str | int | None,
        message: bytes | str,
        options: bytes = b"",
        *,
        confirm: bool = True,
    ) -> int:
        """Send *message* to the farm or mule *where*, with packed *options*."""
        body = message if isinstance(message, bytes) else to_bytes(message)
        pile = None
        if not options and not self._is_flush_due:
            pile = self.send_alone(where, body)
        if pile is None:
            pile = await self._room_in(where, options, body)
            pile.add(body, None)
        if not confirm:
            return 0
        ticket = self._ticket(1)
        pile.expect(ticket)
        ids = await ticket.waiter
        return ids[0].start

    def send_alone(self, where: str | int | None, body: bytes) -> Pile[Waiter] | None:
        """Send *body* at once and return its pile, if it would have no company."""
        connection, outbox = self._connection, self._outbox
        if (
            connection is None
            or not self._was_quiet
            # Piles are open; without options there may be none for this target.
            or self._is_flush_due
            or self._is_closing
            or len(body) > self._message_limit
        ):
            return None
        target = target_of(where)
        frame = outbox.lone_frame(target, body)
        if frame is None:
            return None
        # First it leaves; the books are made up while the master works.
        connection.send_now(frame)
        pile = outbox.left_alone(target, body)
        self._turn_start = outbox.next_sequence
        return pile

    async def send_many(
        self,
        where: str | int | None,
        messages: Iterable[bytes | str],
        options: bytes = b"",
        *,
        confirm: bool = True,
    ) -> Sequence[int]:
        """Send *messages* to the farm or mule *where*, with packed *options*."""
        bodies = [to_bytes(message) for message in messages]
        for body in bodies:
            self._check_size(body)
        if not bodies:
            return range(0)
        ticket = self._ticket(len(bodies)) if confirm else None
        try:
            for body in bodies:
                pile = await self._room_in(where, options, body)
                pile.add(body, ticket)
        except BaseException:
            if ticket is not None:
                # Nobody will wait for the answers to those that are out.
                ticket.waiter.cancel()
            raise
        if ticket is None:
            return range(0)
        return join_ids(await ticket.waiter)

    async def flush(self) -> None:
        """Wait until every message sent so far has its answer.

        Raises:
            RefusedError: The first reason for which a message was refused that was
                sent with ``confirm=False``; a note tells how many more.

        Cancelling is safe: nothing is taken back.
        """
        self._seal_all()
        # Not until nothing is unanswered: others may send all the time.
        end = self._outbox.next_sequence
        while self._outbox.floor < end:
            await self._wait_for_progress()
        if (failure := self._outbox.take_failure()) is not None:
            raise failure

    @property
    def unanswered(self) -> int:
        """Messages that were sent and have no answer yet."""
        return self._outbox.unanswered

    def _ticket(self, wanted: int) -> Ticket[Waiter]:
        return Ticket(wanted, self.loop.create_future())

    def _check_size(self, body: bytes) -> None:
        if len(body) > self._message_limit:
            raise MessageTooBigError(len(body), self._message_limit)

    # Piles

    async def _room_in(
        self, where: str | int | None, options: bytes, body: bytes
    ) -> Pile[Waiter]:
        """Return the open pile for *where* that takes *body*; wait for the window."""
        self._check_size(body)
        cost = len(body) + MESSAGE_COST
        pile = self._open_pile(where, options)
        if pile is not None and pile.room >= cost:
            return pile
        target = target_of(where)
        has_turned = False
        while True:
            pile = self._open_pile(where, options)
            if pile is not None and pile.room >= cost:
                return pile
            if pile is None:
                self._seal(where)
            if pile is not None or self._sealed_bytes >= _TURN_BYTES:
                self._seal_all()
                if not has_turned:
                    # The loop must turn, or no answer is read before the window is
                    # full.
                    await asyncio.sleep(0)
                    has_turned = True
            elif self._outbox.is_full(target):
                await self._wait_for_progress()
            else:
                return self._start_pile(where, target, options)

    def _open_pile(
        self, where: str | int | None, options: bytes
    ) -> Pile[Waiter] | None:
        if not options:
            return self.piles.get(where)
        pile = self._piles_with_options.get(where)
        return pile if pile is not None and pile.options == options else None

    def _start_pile(
        self, where: str | int | None, target: str, options: bytes
    ) -> Pile[Waiter]:
        """Open a pile; its first message must follow before the loop turns."""
        if self._is_closing:
            raise self._closed_error()
        pile: Pile[Waiter] = Pile(target, options)
        pile.room = min(pile.room, self._message_limit)
        (self._piles_with_options if options else self.piles)[where] = pile
        if not self._is_flush_due:
            self._is_flush_due = True
            self.loop.call_soon(self._seal_all)
        return pile

    def _seal(self, where: str | int | None) -> None:
        """Let what is piled up for *where* go before what is to come."""
        for piles in (self.piles, self._piles_with_options):
            if (pile := piles.pop(where, None)) is not None:
                self._send_pile(pile)

    def _seal_all(self) -> None:
        """Send what is piled up."""
        self._is_flush_due = False
        for piles in (self.piles, self._piles_with_options):
            for pile in piles.values():
                self._send_pile(pile)
            piles.clear()
        self._sealed_bytes = 0
        sent_count = self._outbox.next_sequence - self._turn_start
        if sent_count:
            self._turn_start += sent_count
            self._was_quiet = sent_count <= _QUIET_COUNT
        if self._connection is not None:
            self._connection.flush()

    def _send_pile(self, pile: Pile[Waiter]) -> None:
        submit = self._outbox.seal(pile)
        head, payload = submit.head(), submit.payload
        self._sealed_bytes += len(head) + len(payload)
        if self._connection is not None:
            self._connection.send_bytes(head)
            self._connection.send_bytes(payload)

    # Waiting

    async def _wait_for_progress(self) -> None:
        if self._is_closing:
            raise self._closed_error()
        self._look_for_master()
        if self._progress is None or self._progress.done():
            self._progress = self.loop.create_future()
        await asyncio.shield(self._progress)

    def _made_progress(self) -> None:
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    def _closed_error(self) -> ConnectionLostError:
        return ConnectionLostError(
            "the client is closed", unacked=self._outbox.unanswered
        )

    @abstractmethod
    def _look_for_master(self) -> None:
        """Reconnect, unless that is under way or not needed."""
