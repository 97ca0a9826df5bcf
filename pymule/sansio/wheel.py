"""A hierarchical, tickless timer wheel.

Theory of operation. Time is cut into ticks of a millisecond, and a tick's number into
five digits, base 256: the levels, 34 years together. A ring has a place for each value
of one digit; in a place is nothing, a slot, or the ring of the next digit. A slot
holds the entries of its whole span of time. Only when it gets crowded is it divided by
the next digit, so a lone entry costs one slot however far away it is, and many at once
cost a slot per tick at most. What lies before the first tick shares its slot, what
lies beyond the last shares that one's. What must hold:

- spans never overlap, so the first slot, found by the lowest bit in use of each ring
  from the top, holds the earliest entries;
- an entry moves only when its slot is divided: at most once for each level, and never
  because time passes. A classic wheel moves whole slots when their time comes, which
  with a million entries stopped everything for a second; here nothing is longer than
  dividing one crowded slot.

Ticks only sort entries roughly. The exact deadline is kept with each entry and decides
whether it is due and in which order, so nothing is early and nothing changes places.

Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", for the levels;
Heinz, Zobel and Williams, "Burst Tries", for dividing on demand.
"""

from collections.abc import Hashable
from operator import itemgetter
from typing import Final, Generic, TypeVar

__all__ = ("TimerWheel",)

K = TypeVar("K", bound=Hashable)

TICKS_PER_SECOND: Final = 1000
DIGIT_BITS: Final = 8
DIGIT_MASK: Final = (1 << DIGIT_BITS) - 1
TOP_SHIFT: Final = 4 * DIGIT_BITS
LAST_TICK: Final = (1 << (TOP_SHIFT + DIGIT_BITS)) - 1

CROWDED: Final = 64
"""Entries that a slot takes before it is divided; looking through them costs 2 us."""


class _Ring(Generic[K]):
    """The slots and rings of one digit; *shift* is where the digit is in a tick."""

    __slots__ = ("digit", "occupied", "parent", "places", "shift")

    def __init__(self, parent: "_Ring[K] | None", digit: int, shift: int) -> None:
        self.parent = parent
        # Its place in the parent.
        self.digit = digit
        self.shift = shift
        # Bit n is set when place n is in use.
        self.occupied = 0
        self.places: dict[int, _Ring[K] | _Slot[K]] = {}


class _Slot(dict[K, float], Generic[K]):
    """The entries of one span of time, in the order in which they were armed."""

    __slots__ = ("digit", "earliest", "is_stale", "ring")

    ring: _Ring[K]
    digit: int
    # Never later than any deadline inside; equal to the earliest unless stale.
    earliest: float
    is_stale: bool


class TimerWheel(Generic[K]):
    """Any number of deadlines, each under a key of its own.

    Arming and disarming cost the same however many entries there are. The caller
    sleeps until :meth:`next_due`, calls :meth:`pop_due` and asks again. Instants are
    monotonic seconds; they may lie in the past, before zero, or centuries ahead.
    """

    def __init__(self) -> None:
        self._top: _Ring[K] = _Ring(None, 0, TOP_SHIFT)
        self._slot_of: dict[K, _Slot[K]] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, key: K) -> bool:
        return key in self._slot_of

    def arm(self, key: K, at: float) -> None:
        """Make *key* due at *at*, in place of its deadline so far if it had one.

        Raises:
            AssertionError: *at* is infinite or not a number; nothing has changed.
        """
        try:
            tick = int(at * TICKS_PER_SECOND)
        except (OverflowError, ValueError):
            raise AssertionError(f"{at!r} is no instant to wait for") from None
        if key in self._slot_of:
            self.disarm(key)
        slot = self._slot_for(min(max(tick, 0), LAST_TICK), at)
        slot[key] = at
        self._slot_of[key] = slot
        if at < slot.earliest:
            slot.earliest = at
            slot.is_stale = False

    def disarm(self, key: K) -> float | None:
        """Forget *key*; return its deadline, ``None`` if it was not armed."""
        slot = self._slot_of.pop(key, None)
        if slot is None:
            return None
        at = slot.pop(key)
        if not slot:
            self._close(slot)
        elif at == slot.earliest:
            slot.is_stale = True
        return at

    def next_due(self) -> float | None:
        """Return when to call :meth:`pop_due` next; ``None`` while nothing is armed.

        It is the earliest deadline. Only where more than 64 entries share a
        millisecond and the first of them was disarmed may it be earlier, by less than
        that millisecond: then one call of :meth:`pop_due` returns nothing and the
        next answer is exact. No entry causes a wake-up by being far away.
        """
        slot = self._first_slot()
        if slot is None:
            return None
        # A bigger slot is not looked through here: disarming a million entries of
        # one millisecond, one by one, would look through all of them each time.
        if slot.is_stale and len(slot) <= CROWDED:
            _refresh(slot)
        return slot.earliest

    def pop_due(self, now: float) -> list[K]:
        """Remove and return the keys whose deadline is *now* or earlier.

        They come in the order of their deadlines, equal ones as they were armed.
        """
        due: list[tuple[float, K]] = []
        slot = self._first_slot()
        while slot is not None and slot.earliest <= now:
            due += self._take_due(slot, now)
            slot = self._first_slot()
        return [key for _, key in due]

    def _take_due(self, slot: _Slot[K], now: float) -> list[tuple[float, K]]:
        due = [(at, key) for key, at in slot.items() if at <= now]
        # The sort is stable, equal deadlines share a slot, and slots keep the order
        # of arming: so does the result.
        due.sort(key=itemgetter(0))
        for _, key in due:
            del self._slot_of[key]
        if len(due) == len(slot):
            self._close(slot)
            return due
        for _, key in due:
            del slot[key]
        _refresh(slot)
        return due

    def _first_slot(self) -> _Slot[K] | None:
        ring = self._top
        if not ring.occupied:
            return None
        while True:
            first = (ring.occupied & -ring.occupied).bit_length() - 1
            place = ring.places[first]
            if isinstance(place, _Slot):
                return place
            ring = place

    def _slot_for(self, tick: int, at: float) -> _Slot[K]:
        ring = self._top
        while True:
            digit = tick >> ring.shift & DIGIT_MASK
            place = ring.places.get(digit)
            if place is None:
                return _new_slot(ring, digit, at)
            if isinstance(place, _Slot):
                if len(place) < CROWDED or not ring.shift:
                    return place
                place = self._divide(place)
            ring = place

    def _divide(self, slot: _Slot[K]) -> _Ring[K]:
        """Put a ring, with the same entries in the same order, in the slot's place."""
        above = slot.ring
        ring: _Ring[K] = _Ring(above, slot.digit, above.shift - DIGIT_BITS)
        above.places[slot.digit] = ring
        for key, at in slot.items():
            tick = min(max(int(at * TICKS_PER_SECOND), 0), LAST_TICK)
            digit = tick >> ring.shift & DIGIT_MASK
            part = ring.places.get(digit)
            if not isinstance(part, _Slot):
                part = _new_slot(ring, digit, at)
            part[key] = at
            part.earliest = min(part.earliest, at)
            self._slot_of[key] = part
        return ring

    def _close(self, slot: _Slot[K]) -> None:
        """Free the place of a slot, and of the rings that are empty without it."""
        ring, digit = slot.ring, slot.digit
        del ring.places[digit]
        ring.occupied ^= 1 << digit
        while not ring.occupied and ring.parent is not None:
            digit, ring = ring.digit, ring.parent
            del ring.places[digit]
            ring.occupied ^= 1 << digit


def _new_slot(ring: _Ring[K], digit: int, earliest: float) -> _Slot[K]:
    slot: _Slot[K] = _Slot()
    slot.ring = ring
    slot.digit = digit
    slot.earliest = earliest
    slot.is_stale = False
    ring.places[digit] = slot
    ring.occupied |= 1 << digit
    return slot


def _refresh(slot: _Slot[K]) -> None:
    slot.earliest = min(slot.values())
    slot.is_stale = False
