"""What a sender has handed over and has no answer for yet.

Messages for the same target with the same options are piled up; a pile is *sealed*
into one SUBMIT with consecutive sequence numbers, and kept until every message in it
was confirmed or refused, so that what has no answer can be sent again, under the same
sequences, to the next master. It drops what it has already, by sequence.

Another master than the one it was sent to first knows no sequences. What that one
refuses is not refused but in doubt: the first may have taken it, and kept it on disk.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from pymule.errors import (
    ConnectionLostError,
    PymuleError,
    RefusedError,
    RemoteProtocolError,
    error_from_wire,
)
from pymule.sansio.batch import MAX_BATCH_COUNT, Batch, pack_bodies
from pymule.sansio.verbs import Confirm, Refuse, Submit, submit_frame

__all__ = ("MESSAGE_COST", "PILE_BYTES", "Outbox", "Pile", "Ticket")

WaiterT = TypeVar("WaiterT")

MESSAGE_COST = 64
"""Counted for each message beside its bytes, so that one sum bounds both the bytes
and the number of messages of a pile."""

PILE_BYTES = 128 * 1024
"""Bytes and message costs of a pile; one message may be larger."""

# Refusals that wait for a flush; of further ones only the number is kept.
_MAX_FAILURES = 100


class Ticket(Generic[WaiterT]):
    """Somebody waits for the answers to *wanted* messages.

    Args:
        wanted: How many.
        waiter: What the caller wants to find again in a settled ticket.
    """

    __slots__ = ("error", "ids", "waiter", "wanted")

    def __init__(self, wanted: int, waiter: WaiterT) -> None:
        self.wanted = wanted
        self.waiter = waiter
        # Runs of ids, in the order of the messages.
        self.ids: list[range] = []
        # The first refusal, if there was one, or that it is in doubt.
        self.error: PymuleError | None = None


class Pile(Generic[WaiterT]):
    """Messages for one target with the same options, on their way out."""

    __slots__ = (
        "answered",
        "count",
        "epoch",
        "is_in_doubt",
        "messages",
        "options",
        "payload",
        "room",
        "sequence",
        "size",
        "target",
        "tickets",
    )

    def __init__(self, target: str, options: bytes) -> None:
        self.target = target
        self.options = options
        self.messages: list[bytes] = []
        # Index of the first message, how many, and who waits for them.
        self.tickets: deque[tuple[int, int, Ticket[WaiterT]]] = deque()
        # Bytes and message costs that still fit; below zero: seal it.
        self.room = PILE_BYTES
        # From the sealing on.
        self.sequence = 0
        self.count = 0
        self.size = 0
        self.payload = b""
        # Messages with an answer; answers come in order.
        self.answered = 0
        # Of the master that it was sent to last, and whether there was another before.
        self.epoch: int | None = None
        self.is_in_doubt = False

    @property
    def is_done(self) -> bool:
        """Whether every message in it has its answer; from the sealing on."""
        return self.answered == self.count

    def add(self, body: bytes, ticket: Ticket[WaiterT] | None) -> None:
        """Pile up *body*; its answer is one of those that *ticket* waits for."""
        self.messages.append(body)
        self.room -= len(body) + MESSAGE_COST
        if ticket is not None:
            self.expect(ticket)

    def expect(self, ticket: Ticket[WaiterT]) -> None:
        """Let *ticket* wait for the answer to the message that was added last."""
        index = (self.count or len(self.messages)) - 1
        first, before, last = self.tickets[-1] if self.tickets else (0, 0, None)
        if last is ticket and first + before == index:
            self.tickets[-1] = first, before + 1, ticket
        else:
            self.tickets.append((index, 1, ticket))


class Outbox(Generic[WaiterT]):
    """Sequences, piles and answers of one sender.

    Args:
        window_count: Messages without an answer for one target, at most.
        window_bytes: Their bytes and those of their options, at most; one pile may
            always be out.
    """

    def __init__(
        self, window_count: int = 16_384, window_bytes: int = 8 * 1024 * 1024
    ) -> None:
        self.window_count = window_count
        self.window_bytes = window_bytes
        # Refusals of messages for which nobody waited.
        self.failures: list[PymuleError] = []
        self._failed_count = 0
        # Of the master that takes what is sealed, while there is one.
        self._epoch: int | None = None
        self._next_sequence = 1
        # Sealed piles in the order of their sequences. One that is done stays until
        # half of them are: each message of a sender with many keys is a pile of its
        # own, and taking one out of the middle would cost as much as there are.
        self._in_flight: list[Pile[WaiterT]] = []
        self._done_count = 0
        # Index of the first that is not done.
        self._first = 0
        # By target: messages and bytes without an answer.
        self._load: dict[str, tuple[int, int]] = {}

    @property
    def unanswered(self) -> int:
        """Sealed messages without an answer."""
        return sum(count for count, _ in self._load.values())

    @property
    def next_sequence(self) -> int:
        """The sequence of the next message that is sealed."""
        return self._next_sequence

    @property
    def floor(self) -> int:
        """All sequences below have their answer."""
        if self._first == len(self._in_flight):
            return self._next_sequence
        return self._in_flight[self._first].sequence

    def is_full(self, target: str) -> bool:
        """Whether a sender has to wait before more goes to *target*."""
        count, size = self._load.get(target, (0, 0))
        return count >= self.window_count or size >= self.window_bytes

    def lone_frame(self, target: str, body: bytes) -> bytes | None:
        """Return the frame of a message alone, without options, if nothing is out.

        :meth:`left_alone` comes next.
        """
        if self._load:
            return None
        sequence = self._next_sequence
        return submit_frame(sequence, sequence, target, body)

    def left_alone(self, target: str, body: bytes) -> Pile[WaiterT]:
        """Note that the lone frame was sent; return the pile that it is."""
        pile: Pile[WaiterT] = Pile(target, b"")
        pile.messages.append(body)
        self._take_in(pile)
        return pile

    def seal(self, pile: Pile[WaiterT]) -> Submit:
        """Give *pile* its sequences; return the verb that carries it."""
        self._take_in(pile)
        return self._submit(pile)

    def _take_in(self, pile: Pile[WaiterT]) -> None:
        pile.sequence = self._next_sequence
        pile.count = len(pile.messages)
        pile.epoch = self._epoch
        if not (0 < pile.count <= MAX_BATCH_COUNT):
            raise AssertionError("a pile is sealed when it is full")
        pile.payload = pack_bodies(pile.messages)
        pile.size = len(pile.payload) + len(pile.options)
        pile.messages = []
        self._next_sequence += pile.count
        self._in_flight.append(pile)
        count, size = self._load.get(pile.target, (0, 0))
        self._load[pile.target] = count + pile.count, size + pile.size

    def lost(self) -> None:
        """There is no connection: what is sealed from now on is not sent yet."""
        self._epoch = None

    def resend(self, epoch: int = 0) -> list[Submit]:
        """Return all that has no answer, for a connection to the master of *epoch*."""
        self._epoch = epoch
        piles = [pile for pile in self._in_flight if not pile.is_done]
        for pile in piles:
            pile.is_in_doubt |= pile.epoch not in (None, epoch)
            pile.epoch = epoch
        return [self._submit(pile) for pile in piles]

    def _submit(self, pile: Pile[WaiterT]) -> Submit:
        count, payload = pile.count - pile.answered, pile.payload
        if pile.answered:
            # What was refused must not be accepted after all, behind its sender's back.
            payload = Batch(pile.count, payload).part(pile.answered, count)
        return Submit(
            pile.sequence + pile.answered,
            self.floor,
            count,
            pile.target,
            pile.options,
            payload,
        )

    def answered(self, answer: Confirm | Refuse) -> Iterator[Ticket[WaiterT]]:
        """Take an answer of the master; yield the tickets that this completes.

        Raises:
            RemoteProtocolError: Nothing like that was asked. What was yielded before
                is complete all the same.
        """
        if isinstance(answer, Refuse):
            error = error_from_wire(answer.code, answer.detail)
            yield from self.refused(answer.sequence, answer.count, error)
            return
        for sequence, count, first_id in answer.ranges:
            yield from self.confirmed(sequence, count, first_id)

    def confirmed(
        self, sequence: int, count: int, first_id: int
    ) -> list[Ticket[WaiterT]]:
        """Note that messages are queued; return the tickets that this completes.

        Raises:
            RemoteProtocolError: Nothing like that was asked.
        """
        shares, _, _ = self._answer(sequence, count)
        for ticket, offset, number in shares:
            start = first_id + offset
            ticket.ids.append(range(start, start + number))
        return _settled(shares)

    def refused(
        self, sequence: int, count: int, error: RefusedError
    ) -> list[Ticket[WaiterT]]:
        """Note that messages are refused; return the tickets that this completes.

        Raises:
            RemoteProtocolError: Nothing like that was asked.
        """
        shares, unheard, is_in_doubt = self._answer(sequence, count)
        failure = _in_doubt(error, count) if is_in_doubt else error
        for ticket, _, number in shares:
            unheard -= number
            ticket.error = ticket.error or failure
        if unheard:
            # Nobody waits for these; the next flush tells.
            self._failed_count += unheard
            if len(self.failures) < _MAX_FAILURES:
                self.failures.append(failure)
        return _settled(shares)

    def take_failure(self) -> PymuleError | None:
        """Return why messages for which nobody waited were refused, once.

        That is the first reason, with a note if more than one message was refused.
        """
        failures, self.failures = self.failures, []
        count, self._failed_count = self._failed_count, 0
        if not failures:
            return None
        if count > 1:
            failures[0].add_note(f"and {count - 1} more messages were refused")
        return failures[0]

    def abandon(self) -> list[Ticket[WaiterT]]:
        """Return the tickets of all messages without an answer, which will get none."""
        found = {
            id(ticket): ticket
            for pile in self._in_flight
            for _, _, ticket in pile.tickets
        }
        return list(found.values())

    def _answer(
        self, sequence: int, count: int
    ) -> tuple[list[tuple[Ticket[WaiterT], int, int]], int, bool]:
        """Take an answer, which may cover several piles.

        Returns tickets, their offset in the answer and their share of it; how many
        messages had no answer before; and whether an earlier master may have taken
        some.
        """
        end = sequence + count
        covered = 0
        parts: list[tuple[Pile[WaiterT], int]] = []
        # First all is checked: what is half taken would leave tickets unsettled.
        for index in range(self._index_of(sequence), len(self._in_flight)):
            pile = self._in_flight[index]
            low = max(sequence, pile.sequence)
            high = min(end, pile.sequence + pile.count)
            if low < high and not pile.is_done:
                if low > pile.sequence + pile.answered:
                    raise RemoteProtocolError(
                        f"answer for sequence {low}; "
                        f"expected {pile.sequence + pile.answered}"
                    )
                covered += high - low
                parts.append((pile, high))
            if high == end:
                break
        if covered < count:
            raise RemoteProtocolError(
                f"answer for sequences {sequence} to {end - 1}, "
                "which were not all submitted or have their answer"
            )
        shares: list[tuple[Ticket[WaiterT], int, int]] = []
        news = 0
        for pile, high in parts:
            news += self._answer_pile(pile, high, sequence, shares)
        return shares, news, any(pile.is_in_doubt for pile, _ in parts)

    def _answer_pile(
        self,
        pile: Pile[WaiterT],
        end: int,
        answer_start: int,
        shares: list[tuple[Ticket[WaiterT], int, int]],
    ) -> int:
        """Take the part of an answer that is about *pile*; return how much is new.

        What was answered before is skipped: it was sent again after a reconnect.
        """
        high = end - pile.sequence
        news = high - pile.answered
        if news <= 0:
            return 0
        pile.answered = high
        while pile.tickets and pile.tickets[0][0] < high:
            first, wanted, ticket = pile.tickets.popleft()
            number = min(first + wanted, high) - first
            ticket.wanted -= number
            shares.append((ticket, pile.sequence + first - answer_start, number))
            if number < wanted:
                pile.tickets.appendleft((high, wanted - number, ticket))
        self._unload(pile, news)
        return news

    def _unload(self, pile: Pile[WaiterT], count: int) -> None:
        load_count, load_size = self._load[pile.target]
        load = load_count - count, load_size - (pile.size if pile.is_done else 0)
        if load[0]:
            self._load[pile.target] = load
        else:
            del self._load[pile.target]
        if pile.is_done:
            pile.payload = b""
            self._done_count += 1
            self._forget_done()

    def _forget_done(self) -> None:
        piles = self._in_flight
        while self._first < len(piles) and piles[self._first].is_done:
            self._first += 1
        if self._done_count * 2 > len(piles):
            self._in_flight = [pile for pile in piles if not pile.is_done]
            self._first = self._done_count = 0

    def _index_of(self, sequence: int) -> int:
        """Return where the pile with *sequence* is, or one before it."""
        if self.floor >= sequence:
            return self._first
        at = bisect_right(self._in_flight, sequence, key=lambda pile: pile.sequence)
        return max(at - 1, 0)


def _in_doubt(error: RefusedError, count: int) -> ConnectionLostError:
    lost = ConnectionLostError(
        "another master answers, and refuses what the last one may have taken:"
        f" {error}",
        unacked=count,
    )
    lost.__cause__ = error
    return lost


def _settled(
    shares: list[tuple[Ticket[WaiterT], int, int]],
) -> list[Ticket[WaiterT]]:
    """Return the tickets that are complete, each once: it may have several shares."""
    return list(dict.fromkeys(ticket for ticket, _, _ in shares if not ticket.wanted))
