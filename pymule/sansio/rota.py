"""Which of the many connections of a process is heard next, where others wait, too.

Theory of operation. A turn of the loop hears every connection that has said something,
so a process with a hundred connections would have a hundred times the share of one that
has one. Therefore the connections of a process take turns: what it is heard of beyond
its *share* of a turn is held, and let go in the turns that follow, one after another.
The share is one where somebody else was heard since its turn before, and doubles with
each turn in which nobody was: who is alone is held up for a few turns at most, and who
comes is behind one of them, not behind a hundred.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

__all__ = ("Rota",)

_ALL: Final = 1 << 20

P = TypeVar("P", bound=Hashable)
C = TypeVar("C", bound=Hashable)


@dataclass(slots=True)
class _Process(Generic[C]):
    """One that was heard on more than one connection."""

    # The changes of who is heard, up to its last turn.
    changes: int
    # What may be heard of it in a turn, and was in this one.
    share: int = _ALL
    heard: int = 0
    held: OrderedDict[C, None] = field(default_factory=OrderedDict)


class Rota(Generic[P, C]):
    """The connections of processes that have more than one.

    While :attr:`is_in_use`, :meth:`turn` is to be called after each turn of the loop.
    """

    def __init__(self) -> None:
        self._processes: dict[P, _Process[C]] = {}
        # Those that were heard in this turn, or are held.
        self._active: dict[P, _Process[C]] = {}
        # Who was heard last, and how often that was another one than before.
        self._last: P | None = None
        self._changes = 0

    @property
    def is_in_use(self) -> bool:
        """Whether a process with many connections was heard, or is held."""
        return bool(self._active)

    def pass_by(self, process: P) -> None:
        """A process was heard."""
        if process != self._last:
            self._last = process
            self._changes += 1

    def hear(self, process: P, connection: C) -> bool:
        """A process that has more was heard; return whether to hold *connection*."""
        one = self._processes.get(process)
        if one is None:
            one = self._processes[process] = _Process(self._changes)
        if process != self._last:
            # That it is heard itself is no company for it.
            one.changes += 1
            self.pass_by(process)
        self._active[process] = one
        one.heard += 1
        if one.heard <= one.share and not one.held:
            return False
        one.held[connection] = None
        return True

    def wait(self, process: P, connection: C) -> bool:
        """Hold *connection* until its turn, if its process has others; tell whether."""
        one = self._processes.get(process)
        if one is None:
            return False
        self._active[process] = one
        one.held[connection] = None
        return True

    def turn(self) -> list[C]:
        """A turn of the loop is over; return the connections that are let go."""
        freed: list[C] = []
        active, self._active = self._active, {}
        for process, one in active.items():
            is_alone = one.changes == self._changes
            one.share = min(2 * one.share, _ALL) if is_alone else 1
            one.changes = self._changes
            one.heard = 0
            count = min(one.share, len(one.held))
            freed += [one.held.popitem(last=False)[0] for _ in range(count)]
            if one.held:
                self._active[process] = one
        return freed

    def forget(self, process: P, connection: C, *, is_last: bool) -> None:
        """A connection is gone, which was the last of its process or not."""
        one = self._processes.get(process)
        if one is not None:
            one.held.pop(connection, None)
            if is_last:
                del self._processes[process]
