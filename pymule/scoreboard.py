"""A page of shared memory per mule: what each consumer has in hand, and since when.

The mule writes it without a system call, so the master can read it whatever the mule
is blocked on, and after its death. Words of 64 bits, in the byte order of the
machine::

    word 0          magic and version
    word 1          pid of the mule
    word 2          heartbeat of the link's loop, CLOCK_MONOTONIC in nanoseconds
    word 3          slots in use, counted from the first
    word 4..63      reserved, zero
    word 64 + 4n    slot n: lane << 48 | (position + 1) << 1 | in hand
    word 65 + 4n    slot n: what the first word was when the next was written
    word 66 + 4n    slot n: taken at, CLOCK_MONOTONIC in nanoseconds
    word 67 + 4n    reserved, zero

A slot belongs to one consumer in one lane. Its first word is written before the
program sees the message, and keeps the position when the message is done (the lowest
bit goes), so the highest position of a lane's slots is how far the lane was taken:
what lies below and is not in hand is done, what lies above nobody touched.

The clock is not read for each message, which would cost a quarter of the time of a
fast one: in a run of messages taken without a wait only the first has its instant, and
the master, who looks in now and then, notes by itself since when it sees another.
"""

import mmap
import os
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pymule.sansio.run import Hands

__all__ = (
    "BOARD_BYTES",
    "IN_HAND",
    "STACKS_SIGNAL",
    "Held",
    "Scoreboard",
    "lane_word",
)

SLOTS: Final = 32_768
_FIRST_SLOT: Final = 64
_SLOT_WORDS: Final = 4
BOARD_BYTES: Final = 8 * (_FIRST_SLOT + _SLOT_WORDS * SLOTS)
"""Size of the memory file; pages that nobody touched cost nothing."""

STACKS_SIGNAL: Final = signal.SIGRTMAX - 2
"""The Unix signal at which a mule writes its Python stacks into their file, whatever
it is blocked in; out of the way of the numbers that programs use."""

IN_HAND: Final = 1
_MAGIC: Final = 0x01_00_65_6C_75_6D_79_70
_LANE_SHIFT: Final = 48
_POSITION_MASK: Final = (1 << _LANE_SHIFT) - 1


def lane_word(lane: int, position: int) -> int:
    """Return the word of a slot that has *position* of *lane* in hand."""
    return lane << _LANE_SHIFT | (position + 1) << 1 | IN_HAND


class Held(NamedTuple):
    """One message in hand: where in which lane, and since when, if that was noted.

    ``since_ns`` is CLOCK_MONOTONIC in nanoseconds.
    """

    lane: int
    position: int
    since_ns: int | None


class Scoreboard:
    """The page, as the mule writes it and the master reads it.

    Args:
        fd: A memory file of :data:`BOARD_BYTES`; may be closed afterwards.
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, BOARD_BYTES)
        self.words = memoryview(self._map).cast("Q")
        # Slots that a consumer has left, by lane, to be used again there.
        self._free: dict[int, list[int]] = {}

    def close(self) -> None:
        """Unmap the page."""
        self.words.release()
        self._map.close()

    # The mule's side

    def sign(self) -> None:
        """Mark the page as this process's."""
        self.words[0] = _MAGIC
        self.words[1] = os.getpid()

    def beat(self, now_ns: int) -> None:
        """The loop of the link turns."""
        self.words[2] = now_ns

    def open_slot(self, lane: int) -> int:
        """Return the first word of a slot for a consumer in *lane*.

        Raises:
            RuntimeError: More consumers than slots hold a message.
        """
        if free := self._free.get(lane):
            return free.pop()
        used = self.words[3]
        if used == SLOTS:
            raise RuntimeError(f"more than {SLOTS} messages in hand in one mule")
        self.words[3] = used + 1
        return _FIRST_SLOT + _SLOT_WORDS * used

    def take(self, slot: int, word: int) -> None:
        """The consumer of *slot* takes the message of *word*, now."""
        words = self.words
        words[slot] = word
        words[slot + 2] = time.monotonic_ns()
        words[slot + 1] = word

    def close_slot(self, lane: int, slot: int) -> None:
        """The consumer of *slot* is gone; its position stays."""
        self.words[slot] &= ~IN_HAND
        self._free.setdefault(lane, []).append(slot)

    # The master's side

    @property
    def heartbeat_ns(self) -> int:
        """When the loop of the link last turned, CLOCK_MONOTONIC nanoseconds."""
        return self.words[2]

    def held(self) -> list[Held]:
        """Return what is in hand, by slot."""
        return [
            Held(word >> _LANE_SHIFT, ((word & _POSITION_MASK) >> 1) - 1, since)
            for word, since in self._slots()
            if word & IN_HAND
        ]

    def hands(self) -> "dict[int, Hands]":
        """Return, by lane, how far it was taken and what is in hand."""
        # A mule writes the board, and must not load what only its reader needs.
        from pymule.sansio.run import Hands  # noqa: PLC0415

        taken: dict[int, int] = {}
        held: dict[int, set[int]] = {}
        for word, _ in self._slots():
            lane, end = word >> _LANE_SHIFT, (word & _POSITION_MASK) >> 1
            taken[lane] = max(end, taken.get(lane, 0))
            if word & IN_HAND:
                held.setdefault(lane, set()).add(end - 1)
        return {
            lane: Hands(end, frozenset(held.get(lane, ())))
            for lane, end in taken.items()
        }

    def _slots(self) -> Iterator[tuple[int, int | None]]:
        words = self.words
        # A mule can write anything here; it must not make the master read beyond.
        end = _FIRST_SLOT + _SLOT_WORDS * min(words[3], SLOTS)
        for slot in range(_FIRST_SLOT, end, _SLOT_WORDS):
            if word := words[slot]:
                is_timed = words[slot + 1] == word
                yield word, words[slot + 2] if is_timed else None
