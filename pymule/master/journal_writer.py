"""The thread of a journal: writes what is queued, and says what is safe.

*Theory of operation.* A turn takes all facts that are queued. First those that cannot
be refused are committed without an fsync, so that deliveries, which wait for their
attempt to be written, leave at once. Then all new rows are committed together, with an
fsync if one of them asks for it: that is the group commit, during whose fsync the next
group gathers. What nobody waits for, as that messages are done, goes with the rows: a
lone message that a mule waits for is one transaction.

When the disk is full, new rows are refused. The other facts are kept and tried again,
in their order, for which there is a file of 4 MiB to give up; once it can be made
again, new rows are taken again. Any other error ends everything: nothing is said to be
written after it, because nobody knows what is.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from typing import Final

from pymule.errors import JournalFailedError, StorageFullError
from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_numbers import Numbers
from pymule.master.journal_pages import PAGES_BYTES, Pages
from pymule.master.journal_records import Clock
from pymule.master.journal_space import Space
from pymule.master.journal_turn import (
    Statement,
    Turn,
    forget_seen,
    highest_id_of,
    room_for,
    stores,
)
from pymule.sansio.dedupe import MAX_SEEN
from pymule.sansio.record import Fact, Stored

__all__ = ("FAILED_NAME", "JournalWriter", "Progress")

FAILED_NAME: Final = "journal.failed"
"""Made after an I/O error; the next start checks and rebuilds the journal."""

# A turn ends here, so that deliveries do not wait for more.
_TURN_BYTES: Final = 16 * 1024 * 1024
_LOOK_S: Final = 1.0
# Between two steps of giving back what is free, each of a megabyte.
_STEP_S: Final = 0.05
_IDLE_S: Final = 1.0
_RETRY_S: Final = 0.25
_LAST_TRIES: Final = 20
# For a journal that never rests.
_UPKEEP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What is safe now.

    Attributes:
        written: Every fact of the calls up to this mark is committed, but for new
            rows that were not reported yet.
        stored: Rows that are confirmed now, in order.
        refused: Rows that are not stored, because the disk is full.
        error: What to tell those who sent them.
    """

    written: int
    stored: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    error: StorageFullError | None = None


class JournalWriter:
    """Writes on a thread of its own; everything here but `queue` is only its to change.

    Args:
        seen_window_s: Message ids are forgotten after so many seconds.
        on_progress: Called on the thread.
        on_full: Called on the thread when the disk is full, and when it is no more.
        on_failed: Called on the thread, once; nothing is called after it.
    """

    def __init__(
        self,
        file: JournalFile,
        lock: JournalLock,
        numbers: Numbers,
        *,
        seen_window_s: float,
        on_progress: Callable[[Progress], None],
        on_full: Callable[[bool], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        # Calls with their marks; None ends the thread.
        self.queue: SimpleQueue[tuple[int, Sequence[Fact]] | None] = SimpleQueue()
        # Whether new rows are refused.
        self.is_full = False
        self.rows = 0
        self.pages = Pages(file, lock)
        self._file = file
        self._lock = lock
        self._numbers = numbers
        self._seen_window_s = seen_window_s
        self._on_progress = on_progress
        self._on_full = on_full
        self._on_failed = on_failed
        # The epoch makes the numbers of this start higher than those before.
        self._seq = count(numbers.epoch << 40)
        self._error = StorageFullError(str(lock.path))
        self._space = Space(lock)
        # Facts that could not be written yet.
        self._waiting: list[Fact] = []
        # The last call that was taken, and the last of which all is committed.
        self._taken = 0
        self._written = 0
        self._is_closing = False
        # What there was no room for the last time.
        self._refused_size = PAGES_BYTES
        self._retry_at = 0.0
        self._look_at = 0.0
        self._upkeep_at = 0.0

    def run(self) -> None:
        """Write until told to end, or until the disk fails."""
        self._set_full(is_full=not self._space.has_reserve)
        try:
            while not self._is_closing:
                self._turn()
            self._finish()
        except StorageFullError as exc:
            self._file.abandon()
            self._on_failed(exc)
        except (sqlite3.Error, OSError) as exc:
            self._fail(JournalFailedError(str(self._file.path), str(exc)))
        except Exception as exc:  # noqa: BLE001  (a thread that ends unheard lets everybody wait for ever)
            self._fail(exc)

    def _turn(self) -> None:
        facts = self._gather()
        now = time.monotonic()
        if now >= self._look_at:
            self.pages.check()
            self._space.look()
            self._look_at = now + _LOOK_S
        if facts or (self._waiting and now >= self._retry_at):
            self._write(facts, now)
        elif not self._is_closing:
            self._rest()
        self.pages.checkpoint_if_big()
        if now >= self._upkeep_at:
            self._forget_seen()
            self.pages.shrink()
            self._upkeep_at = now + _UPKEEP_S

    # What is queued

    def _gather(self) -> list[Fact]:
        """Wait for facts; return all that are there, or none when the wait is over."""
        facts: list[Fact] = []
        size = 0
        try:
            call = self.queue.get(timeout=self._patience())
            while call is not None:
                self._taken, more = call
                facts += more
                size += sum(len(one.payload) for one in more if type(one) is Stored)
                if size > _TURN_BYTES or self.queue.empty():
                    return facts
                call = self.queue.get_nowait()
            self._is_closing = True
        except Empty:
            pass
        return facts

    def _patience(self) -> float | None:
        if self._waiting or self.is_full:
            return _RETRY_S
        if self.pages.has_free:
            return _STEP_S
        return _IDLE_S if self.pages.is_untidy else None

    # What is written

    def _write(self, facts: list[Fact], now: float) -> None:
        turn = Turn(facts)
        rows = turn.rows
        if self._waiting:
            self._waiting += (fact for fact in facts if not _may_refuse(fact))
            turn = Turn(self._waiting)
        clock = Clock.now()
        is_together = turn.is_patient and not self._waiting
        if is_together and rows and self._store(rows, turn, clock, now):
            return
        is_written = self._write_turn(turn, clock, now)
        if is_written:
            self._waiting = []
            self._written = self._taken
        elif not self._waiting:
            self._waiting = [fact for fact in facts if not _may_refuse(fact)]
        if not rows:
            if is_written:
                self._on_progress(Progress(self._written))
            return
        if not is_together:
            if not turn.is_empty and not self._waiting:
                self._on_progress(Progress(self._written))
            if self._store(rows, _NOTHING, clock, now):
                return
        self._refuse(rows)

    def _write_turn(self, turn: Turn, clock: Clock, now: float) -> bool:
        # A row that came and went leaves nothing to do but to note its number.
        if turn.is_empty and not turn.highest_row:
            return True
        if self._waiting and now < self._retry_at:
            return False
        statements = self._numbers.take(turn.highest_id, turn.highest_row)
        statements += turn.statements(clock, self._seq)
        if not self._commit_at_last(statements, turn.kept_bytes):
            self._retry_at = now + _RETRY_S
            return False
        self.rows += turn.growth
        return True

    def _store(self, rows: list[Stored], turn: Turn, clock: Clock, now: float) -> bool:
        """Write new rows and *turn* together, and say so, if there is room for them."""
        numbers = [fact.row for fact in rows]
        size = room_for(rows)
        if not self._may_store(size, now):
            return False
        statements = self._numbers.take(max(map(highest_id_of, rows)), max(numbers))
        if not turn.is_empty:
            statements += turn.statements(clock, self._seq)
        statements += stores(rows, clock, self._seq)
        is_synced = any(fact.is_synced for fact in rows)
        # What goes into a file that was removed is not to be confirmed.
        self.pages.check()
        if not self._commit(statements, size, is_synced=is_synced):
            return False
        self.rows += len(rows) + turn.growth
        if not self._waiting:
            self._written = self._taken
        self._on_progress(Progress(self._written, stored=numbers))
        return True

    def _refuse(self, rows: list[Stored]) -> None:
        self._refused_size = room_for(rows)
        self._set_full(is_full=True)
        numbers = [fact.row for fact in rows]
        self._on_progress(Progress(self._written, refused=numbers, error=self._error))

    def _may_store(self, size: int, now: float) -> bool:
        if self._waiting:
            return False
        if not self.is_full:
            if self._space.is_ample or self._has_room(size):
                return True
        elif now < self._retry_at:
            return False
        self._retry_at = now + _RETRY_S
        self.pages.make_room()
        self._set_full(is_full=not self._has_room(size))
        return not self.is_full

    def _has_room(self, size: int) -> bool:
        # What is in the WAL has to fit in the database, too, or there will be no
        # checkpoint, and without one no end of the WAL.
        return self._space.has_room(self.pages.grown + 2 * size)

    # What is done when the disk is full

    def _set_full(self, *, is_full: bool) -> None:
        if is_full is not self.is_full:
            self.is_full = is_full
            self._on_full(is_full)

    def _commit_at_last(self, statements: list[Statement], size: int) -> bool:
        if self._commit(statements, size, is_synced=False):
            return True
        self._set_full(is_full=True)
        self._space.give_up()
        return self._commit(statements, size, is_synced=False)

    def _commit(
        self, statements: list[Statement], size: int, *, is_synced: bool
    ) -> bool:
        is_done = self.pages.commit(statements, size, is_synced=is_synced)
        if not is_done:
            self._numbers.forget_end()
        return is_done

    # Between the writes

    def _rest(self) -> None:
        """Do what can wait until nothing is queued."""
        if self.is_full and not self._waiting:
            self.pages.make_room()
            self._set_full(is_full=not self._has_room(self._refused_size))
        else:
            self.pages.tidy()

    def _forget_seen(self) -> None:
        until = time.time_ns() - int(self._seen_window_s * 1e9)
        if not self.is_full:
            self._commit(forget_seen(self._file, until, MAX_SEEN), 0, is_synced=False)

    # The end

    def _finish(self) -> None:
        """Write what is left, note that it was a clean stop, and close."""
        for _ in range(_LAST_TRIES):
            if not self._waiting:
                break
            time.sleep(_RETRY_S)
            self._write([], time.monotonic())
        if self._waiting:
            # No fault of the disk: the next start finds what was done last undone, and
            # does it again.
            raise self._error
        numbers = (self._numbers.next_id, self._numbers.next_row)
        sql = "UPDATE meta SET clean = 1, next_id = ?, next_row = ?"
        # If there is no room for this, the next start checks the file; nothing is lost.
        self._commit([(sql, numbers)], 0, is_synced=True)
        self.pages.checkpoint("TRUNCATE")
        self._file.close()

    def _fail(self, error: Exception) -> None:
        # The disk may refuse this one too; then the next start has less to go by.
        with contextlib.suppress(OSError):
            os.close(self._lock.create(FAILED_NAME))
            self._lock.sync()
        self._file.abandon()
        self._on_failed(error)


_NOTHING: Final = Turn(())


def _may_refuse(fact: Fact) -> bool:
    return isinstance(fact, Stored) and not fact.is_kept
