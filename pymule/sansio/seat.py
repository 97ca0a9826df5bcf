"""A signal that has a handler, and its seats: those that have to run it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NewType

from pymule.sansio.signal_words import Overlap
from pymule.sansio.target import Target, TargetKind

__all__ = ("ReceiverId", "Seat", "Signal", "Wanted")

ReceiverId = NewType("ReceiverId", int)
"""One process that handles signals, from its first registration to its end."""

# Names of changed files that one delivery carries, in characters.
_MAX_PATH_CHARS: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """A registration that a process asks for.

    Args:
        number: ``None`` for any that is free.
        target: Who is to run the handler.
        identity: Equal for the same registration in all processes.
        handler: What people call it.
        place: Where it was written, for people: ``FILE:LINE``.
        overlap: What its ticks do.
    """

    number: int | None
    target: Target
    identity: str
    handler: str
    place: str
    overlap: Overlap = Overlap.SKIP


@dataclass(slots=True, eq=False)
class Seat:
    """One that has to run a signal: *holder*, or with ``""`` the first available."""

    signal: "Signal"
    holder: str
    due: int = 0
    running: list[ReceiverId] = field(default_factory=list)
    # Processes that died in a row while they ran it.
    crashes: int = 0
    paths: dict[str, None] = field(default_factory=dict)
    path_chars: int = 0
    is_complete: bool = True

    @property
    def can_run(self) -> bool:
        """Whether it is due, and its overlap allows another run."""
        is_free = not self.running or self.signal.overlap is Overlap.ALLOW
        return self.due > 0 and is_free

    def add_paths(self, paths: Iterable[str], *, is_complete: bool) -> None:
        """Let the next run know of files that changed."""
        for path in paths:
            if path not in self.paths:
                if self.path_chars + len(path) > _MAX_PATH_CHARS:
                    is_complete = False
                    break
                self.paths[path] = None
                self.path_chars += len(path)
        self.is_complete = self.is_complete and is_complete

    def take_paths(self) -> tuple[tuple[str, ...], bool]:
        """Return what changed since the last run, and whether that is all."""
        taken = tuple(self.paths), self.is_complete
        self.paths, self.path_chars, self.is_complete = {}, 0, True
        return taken


@dataclass(slots=True, eq=False)
class Signal:
    """A signal that has a handler; the counters are for people."""

    number: int
    target: Target
    identity: str
    handler: str
    place: str
    overlap: Overlap
    epoch: int
    # Who has the handler; the process is None while it is restarted.
    holders: dict[str, ReceiverId | None] = field(default_factory=dict)
    seats: dict[str, Seat] = field(default_factory=dict)
    raised: int = 0
    coalesced: int = 0
    handled: int = 0
    failed: int = 0
    skipped: int = 0
    dropped: int = 0

    @property
    def due(self) -> int:
        """Runs that wait for a receiver."""
        return sum(seat.due for seat in self.seats.values())

    @property
    def running(self) -> int:
        """Runs that are under way."""
        return sum(len(seat.running) for seat in self.seats.values())

    @property
    def is_for_all(self) -> bool:
        """Whether each holder has a seat of its own."""
        return self.target.kind in (TargetKind.MULES, TargetKind.WORKERS)
