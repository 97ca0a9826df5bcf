"""Messages with a key: one at a time, in the order in which they came."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from pymule.sansio.run import Place, Run

__all__ = ("KeyOrder",)

# Entries that have left and are kept, beyond as many as wait.
_MAX_STALE: Final = 64


class KeyOrder:
    """The keys of one queue that have a message on its way, and who waits behind it.

    What always holds: at most one message of a key is on its way, and none waits
    behind a key that has none.
    """

    def __init__(self) -> None:
        # By key: the id of the message that is on its way; and who waits, if any does.
        self._on_its_way: dict[str, int] = {}
        self._lines: dict[str, deque[Run]] = {}
        # Messages that wait, together; and entries that left by another way.
        self.blocked = 0
        self._stale = 0

    def __iter__(self) -> Iterator[Run]:
        for line in self._lines.values():
            yield from (run for run in line if run.place is Place.BLOCKED)

    def holds(self, run: Run, key: str) -> bool:
        """Whether *run* is the message of *key* that is on its way."""
        return self._on_its_way.get(key) == run.first_id

    def hold(self, run: Run, key: str) -> None:
        """*run* was on its way before its master died, and comes first."""
        self._on_its_way.setdefault(key, run.first_id)

    def admit(self, run: Run, key: str) -> tuple[Run | None, Run | None]:
        """Take *run* in; return its first message if that may go, and what waits."""
        if key not in self._on_its_way:
            return self._start(run, key)
        run.place = Place.BLOCKED
        self._lines.setdefault(key, deque()).append(run)
        self.blocked += run.count
        return None, run

    def settled(self, key: str) -> tuple[Run | None, Run | None]:
        """The message of *key* on its way is done or dead; return as :meth:`admit`."""
        line = self._lines.get(key, ())
        while line:
            run = line.popleft()
            if not line:
                del self._lines[key]
            if run.place is Place.BLOCKED:
                self.blocked -= run.count
                return self._start(run, key)
            self._stale -= 1
        del self._on_its_way[key]
        return None, None

    def discard(self, run: Run) -> None:
        """*run*, which waits here, has left by another way."""
        run.place = Place.GONE
        self.blocked -= run.count
        self._stale += 1
        if self._stale > self.blocked + _MAX_STALE:
            self._sweep()

    def _start(self, run: Run, key: str) -> tuple[Run, Run | None]:
        self._on_its_way[key] = run.first_id
        if run.count == 1:
            return run, None
        rest = run.cut(1, run.count - 1)
        rest.place = Place.BLOCKED
        self._lines.setdefault(key, deque()).appendleft(rest)
        self.blocked += rest.count
        run.place = Place.GONE
        return run.cut(0, 1), rest

    def _sweep(self) -> None:
        """Let go of the entries that left."""
        self._stale = 0
        kept = {
            key: deque(run for run in line if run.place is Place.BLOCKED)
            for key, line in self._lines.items()
        }
        self._lines = {key: line for key, line in kept.items() if line}
