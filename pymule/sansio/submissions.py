"""What was accepted from one sender, so that nothing is accepted twice.

A sender that lost its master sends again, under the same sequences, what it has no
answer for. What the log knows is confirmed once more with the ids of the first time.
"""

from collections import deque
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

__all__ = ("Piece", "SubmissionLog")

# A sender has no more batches than that without an answer for one target, and learns
# of an answer long before so many others. Without a limit, one whose floor never rises,
# as one message waits for days or because it means harm, would fill the memory.
_MAX_PIECES: Final = 16_384


# Not frozen: 122 ns against 365, two or three for every batch.
@dataclass(slots=True)
class Piece:
    """Neighbouring sequences with one fate.

    Attributes:
        first_id: Of the messages, if they are accepted.
        is_pending: Whether the answer is on its way, so that there is nothing to do.
            Without both they are new.
    """

    sequence: int
    count: int
    first_id: int | None
    is_pending: bool = False

    def part(self, sequence: int, count: int) -> "Piece":
        """Return *count* of them from *sequence* on."""
        first_id = self.first_id
        if first_id is not None:
            first_id += sequence - self.sequence
        return Piece(sequence, count, first_id, self.is_pending)


class SubmissionLog:
    """The accepted sequences of one sender that it may still ask about.

    Its size follows the sender's window, because each submit tells the *floor* below
    which the sender has all answers. It is bounded besides: the oldest leave first.
    """

    def __init__(self) -> None:
        # In the order of their sequences, without overlap.
        self._known: deque[Piece] = deque()
        # Taken, and not yet written: how many, by their first sequence.
        self._pending: dict[int, int] = {}
        # No sequence from here on is known.
        self.end = 0

    def __len__(self) -> int:
        return len(self._known) + len(self._pending)

    def taken(self, sequence: int, count: int) -> None:
        """Note that the answer for messages comes when they are written."""
        self._pending[sequence] = count
        self.end = max(self.end, sequence + count)

    def refused(self, sequence: int) -> None:
        """Note that messages from *sequence* on were refused."""
        self._pending.pop(sequence, None)

    def accepted(self, sequence: int, count: int, first_id: int) -> None:
        """Note that messages were accepted."""
        self._pending.pop(sequence, None)
        piece = Piece(sequence, count, first_id)
        self.end = max(self.end, sequence + count)
        known = self._known
        if len(known) == _MAX_PIECES:
            known.popleft()
        if not known or known[-1].sequence < sequence:
            known.append(piece)
            return
        # Messages that had waited for room, beside others that had not.
        at = len(known)
        while at and known[at - 1].sequence > sequence:
            at -= 1
        known.insert(at, piece)

    def forget_below(self, floor: int) -> None:
        """The sender has the answers to all sequences below *floor*."""
        known = self._known
        while known and known[0].sequence + known[0].count <= floor:
            known.popleft()

    def split(self, sequence: int, count: int) -> list[Piece]:
        """Split a submit into pieces that are known and pieces that are not."""
        end = sequence + count
        if sequence >= self.end:
            return [Piece(sequence, count, None)]
        pieces = []
        for piece in self._with_pending() if self._pending else self._known:
            low = max(piece.sequence, sequence)
            high = min(piece.sequence + piece.count, end)
            if low >= high:
                continue
            if low > sequence:
                pieces.append(Piece(sequence, low - sequence, None))
            pieces.append(piece.part(low, high - low))
            sequence = high
        if sequence < end:
            pieces.append(Piece(sequence, end - sequence, None))
        return pieces

    def _with_pending(self) -> list[Piece]:
        pending = [
            Piece(sequence, count, None, is_pending=True)
            for sequence, count in self._pending.items()
        ]
        return sorted((*self._known, *pending), key=attrgetter("sequence"))
