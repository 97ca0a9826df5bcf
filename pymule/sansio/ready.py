"""What a mule could have now: by priority, and within one first in first out.

The highest priority that has something is served first, but not for ever: a level that
was passed over :data:`MAX_BYPASS` times has its turn. So nothing starves, and where
all levels are full, a higher one still gets most of it.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Final

from pymule.sansio.options import MAX_PRIORITY
from pymule.sansio.run import Place, Run

__all__ = ("MAX_BYPASS", "ReadyLine")

MAX_BYPASS: Final = 16
"""Runs of higher priorities that come before one of a lower, at most."""

# Found faster than the member of the class, for each message that comes alone.
_READY: Final = Place.READY

# How far from the front a run that comes back looks for its place.
_REQUEUE_DEPTH: Final = 64
# Entries that have left and are kept, beyond as many as are ready.
_MAX_STALE: Final = 64


class ReadyLine:
    """The runs of one queue that are ready."""

    __slots__ = ("_bypassed", "_levels", "_occupied", "_stale", "count")

    def __init__(self) -> None:
        # Made when they are used: ten empty ones are 7 KiB, and a farm may be one of
        # 10,000.
        self._levels: defaultdict[int, deque[Run]] = defaultdict(deque)
        # A bit for each level that has an entry.
        self._occupied = 0
        # Of each level that has an entry: how often a higher one was preferred.
        self._bypassed = [0] * (MAX_PRIORITY + 1)
        # Runs that are ready; and entries that left by another way, which stay until
        # they are at the front or too many.
        self.count = 0
        self._stale = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Run]:
        """Iterate from the highest priority to the lowest."""
        for _, level in sorted(self._levels.items(), reverse=True):
            yield from (run for run in level if run.place is Place.READY)

    def fronts(self) -> Iterator[Run]:
        """Iterate over the first run of each priority, which is among its oldest."""
        for level in self._levels.values():
            found = next((run for run in level if run.place is Place.READY), None)
            if found is not None:
                yield found

    def append(self, run: Run) -> None:
        """Let *run* be the last of its priority."""
        run.place = _READY
        priority = run.asked.priority
        self._levels[priority].append(run)
        self._occupied |= 1 << priority
        self.count += 1

    def put_back(self, run: Run) -> None:
        """Put *run* where its age places it, which is near the front."""
        run.place = Place.READY
        level = self._levels[run.asked.priority]
        depth = 0
        while depth < min(len(level), _REQUEUE_DEPTH) and (
            level[depth].place is not Place.READY
            or level[depth].first_id < run.first_id
        ):
            depth += 1
        level.insert(depth, run)
        self._occupied |= 1 << run.asked.priority
        self.count += 1

    def discard(self, run: Run) -> None:
        """*run*, which is ready, has left by another way."""
        run.place = Place.GONE
        self.count -= 1
        self._stale += 1
        if self._stale > self.count + _MAX_STALE:
            self._sweep()

    def take(self, most: int) -> tuple[Run, Run | None]:
        """Return the next run, of at most *most* messages, and what is left of it.

        Only while there is one.
        """
        priority = 0
        level = self._levels[0]
        # As a rule all have the same priority, none, and nothing left by another way.
        if self._occupied == 1 and level[0].place is _READY:
            self._bypassed[0] = 0
        else:
            level, priority = self._next_level()
        run = level[0]
        if run.count > most:
            rest = run.cut(most, run.count - most)
            level[0] = rest
            run.place = Place.GONE
            return run.cut(0, most), rest
        level.popleft()
        self.count -= 1
        if not level:
            self._occupied ^= 1 << priority
        return run, None

    def _next_level(self) -> tuple[deque[Run], int]:
        if self._stale:
            # Before the choice: nobody is passed over for what is not there any more.
            self._drop_fronts()
        priority = self._choose()
        return self._levels[priority], priority

    def _drop_fronts(self) -> None:
        """Let go of the entries that left and are at the front of their level."""
        for priority, level in self._levels.items():
            while level and level[0].place is not _READY:
                level.popleft()
                self._stale -= 1
                if not level:
                    self._occupied ^= 1 << priority

    def _sweep(self) -> None:
        """Let go of the entries that left."""
        self._stale = 0
        self._occupied = 0
        for priority, level in self._levels.items():
            kept = [run for run in level if run.place is Place.READY]
            level.clear()
            level.extend(kept)
            self._occupied |= bool(kept) << priority

    def _choose(self) -> int:
        occupied = self._occupied
        highest = occupied.bit_length() - 1
        bypassed = self._bypassed
        if occupied == 1 << highest:
            bypassed[highest] = 0
            return highest
        chosen = highest
        for priority in range(highest):
            if occupied >> priority & 1:
                bypassed[priority] += 1
                if bypassed[priority] > MAX_BYPASS and chosen == highest:
                    chosen = priority
        bypassed[chosen] = 0
        return chosen
