"""What one sender has without an answer, and when that is more than it may have.

The master tells each sender a window, for each target. A sender looks at it before it
seals a batch, so it goes beyond by one batch; what several batches of one turn add up
to is tolerated up to a quarter. More is a broken rule: whatever waits for its answer is
memory of the master.
"""

from typing import Final

from pymule.errors import RemoteProtocolError

__all__ = ("PIECE_OVERHEAD_BYTES", "Window")

PIECE_OVERHEAD_BYTES: Final = 512
"""What a batch without an answer costs the master beside its payload."""

# A sender that seals several batches in one turn looked at its window once.
_TOLERANCE: Final = 1.25


class Window:
    """The batches of one sender that have no answer, or not for all of their messages.

    Args:
        max_count: Messages for one target, as the sender was told.
        max_bytes: Bytes of their batches, as the sender was told.
    """

    def __init__(self, max_count: int, max_bytes: int) -> None:
        # Memory for all of them, in bytes.
        self.bytes = 0
        self._max_count = max_count
        self._max_bytes = max_bytes
        # By the first sequence without an answer: how many, the bytes, the target. Each
        # answer begins where the last one about the same batch ended.
        self._pieces: dict[int, tuple[int, int, str]] = {}
        # By target: messages and bytes.
        self._load: dict[str, tuple[int, int]] = {}
        # The sequence after the highest one of all pieces.
        self._end = 0

    def check(self, sequence: int, target: str) -> None:
        """Check that a batch from *sequence* on may be submitted for *target*.

        Raises:
            RemoteProtocolError: The window is overfull, or has that sequence.
        """
        if self._pieces and sequence < self._end:
            raise RemoteProtocolError(
                f"sequence {sequence} while sequences up to {self._end - 1} are"
                " without an answer; allowed: higher ones"
            )
        count, size = self._load.get(target, (0, 0))
        if count >= self._max_count * _TOLERANCE:
            raise RemoteProtocolError(
                f"{count} messages for {target!r} are without an answer;"
                f" window_count is {self._max_count}"
            )
        if size >= self._max_bytes * _TOLERANCE:
            raise RemoteProtocolError(
                f"{size} bytes for {target!r} are without an answer;"
                f" window_bytes is {self._max_bytes}"
            )

    def submitted(self, sequence: int, count: int, size: int, target: str) -> None:
        """Note a batch of *size* bytes that was checked and has no answer yet."""
        self._pieces[sequence] = count, size, target
        self._end = max(self._end, sequence + count)
        load_count, load_size = self._load.get(target, (0, 0))
        self._load[target] = load_count + count, load_size + size
        self.bytes += size + PIECE_OVERHEAD_BYTES

    def answered(self, sequence: int, count: int) -> None:
        """Note an answer; one to something that is not in the window changes nothing.

        The bytes of a batch are free when all of it has its answer.
        """
        piece = self._pieces.pop(sequence, None)
        if piece is None:
            return
        left, size, target = piece
        freed = size
        if count < left:
            self._pieces[sequence + count] = left - count, size, target
            freed = 0
        else:
            self.bytes -= size + PIECE_OVERHEAD_BYTES
        load_count, load_size = self._load[target]
        if load_count > count:
            self._load[target] = load_count - count, load_size - freed
        else:
            del self._load[target]
