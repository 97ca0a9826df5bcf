"""What was accepted from one sender, so that nothing is accepted twice.

A sender that lost its master sends again, under the same sequences, what it has no
answer for. What the log knows is confirmed once more with the ids of the first time.
"""

from collections import deque
from dataclasses import dataclass

__all__ = ("Piece", "SubmissionLog")


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring sequences with one fate; without a *first_id* they are new."""

    sequence: int
    count: int
    first_id: int | None


class SubmissionLog:
    """The accepted sequences of one sender that it may still ask about.

    Its size follows the sender's window, because each submit tells the *floor* below
    which the sender has all answers.
    """

    def __init__(self) -> None:
        # In the order of their sequences, without overlap.
        self._known: deque[Piece] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def accepted(self, sequence: int, count: int, first_id: int) -> None:
        """Note that messages were accepted."""
        piece = Piece(sequence, count, first_id)
        known = self._known
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
        known = self._known
        if not known or known[-1].sequence + known[-1].count <= sequence:
            return [Piece(sequence, count, None)]
        pieces = []
        for piece in known:
            low = max(piece.sequence, sequence)
            high = min(piece.sequence + piece.count, end)
            if low >= high or piece.first_id is None:
                continue
            if low > sequence:
                pieces.append(Piece(sequence, low - sequence, None))
            first_id = piece.first_id + low - piece.sequence
            pieces.append(Piece(low, high - low, first_id))
            sequence = high
        if sequence < end:
            pieces.append(Piece(sequence, end - sequence, None))
        return pieces
