"""Facts with few words, and a journal with a loop around it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pymule.master.journal import Journal, Progress
from pymule.sansio.batch import pack_bodies
from pymule.sansio.delivery import DeadLetter, DeadReason
from pymule.sansio.record import Fact, Recovered, Stored, StoredRow
from pymule.sansio.target import MessageId
from tests.conftest import wait_until

__all__ = ("Keeper", "letter", "reopened", "stored")


def stored(
    row: int,
    first_id: int = 0,
    count: int = 1,
    *,
    queue: str = "farm:busy",
    size: int = 8,
    is_synced: bool = True,
    is_kept: bool = False,
    due_at: float | None = None,
    message_id: str | None = None,
    at: float = 100.0,
) -> Stored:
    """Return a row whose bodies tell their ids; by default its number is its id."""
    first = first_id or row
    bodies = [b"%08d" % number * (size // 8) for number in range(first, first + count)]
    return Stored(
        row,
        queue,
        first,
        count,
        b"",
        pack_bodies(bodies),
        at,
        due_at,
        is_synced=is_synced,
        is_kept=is_kept,
        message_id=message_id,
    )


def letter(number: int, *, queue: str = "farm:busy", size: int = 4) -> DeadLetter:
    return DeadLetter(
        MessageId(number),
        queue,
        b"b" * size,
        b'{"headers":{"a":"b"}}',
        5,
        1,
        DeadReason.ATTEMPTS,
        ({"type": "ValueError", "text": "no \ud800", "attempt": 5},),
        accepted_at=10.5,
        died_at=20.25,
    )


class Keeper:
    """A journal, and what it said."""

    def __init__(self, state_dir: Path, *, seen_window_s: float = 600.0) -> None:
        self.journal = Journal(
            state_dir, self._progress, self._failed, seen_window_s=seen_window_s
        )
        self.failures: list[Exception] = []
        self.written = 0
        self.stored: list[int] = []
        self.refused: list[int] = []
        self.rows: list[StoredRow] = []

    def _progress(self, progress: Progress) -> None:
        assert progress.written >= self.written
        self.written = progress.written
        self.stored += progress.stored
        self.refused += progress.refused
        assert (progress.error is not None) == bool(progress.refused)

    def _failed(self, error: Exception) -> None:
        self.failures.append(error)

    def open(self) -> Recovered:
        """Open and start it."""
        recovered = self.journal.open()
        self.rows = list(recovered.rows)
        self.journal.start(asyncio.get_running_loop())
        return recovered

    async def write(self, *facts: Fact) -> None:
        """Write *facts*, and wait until they are written or refused."""
        mark = self.journal.write(facts)
        rows = {one.row for one in facts if isinstance(one, Stored) and not one.is_kept}
        await wait_until(
            lambda: (
                self.failures
                or (self.written >= mark and rows <= {*self.stored, *self.refused})
            )
        )

    async def close(self) -> None:
        await self.journal.close()


async def reopened(
    state_dir: Path, *facts: Sequence[Fact]
) -> tuple[Recovered, list[StoredRow]]:
    """Write *facts*, close, and return what the next start reads."""
    keeper = Keeper(state_dir)
    keeper.open()
    for some in facts:
        await keeper.write(*some)
    await keeper.close()
    after = Keeper(state_dir)
    recovered = after.open()
    await after.close()
    return recovered, after.rows
