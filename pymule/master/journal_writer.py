"""The thread of a journal: writes what is queued, and says what is safe.

*Theory of operation.* A turn takes all facts that are queued. First those that cannot
be refused are committed without an fsync, so that deliveries, which wait for their
attempt to be written, leave at once. Then all new rows are committed together, with an
fsync if one of them asks for it: that is the group commit, during whose fsync the next
group gathers.

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
from pymule.master.journal_file import WAL_NAME, JournalFile, is_full
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_numbers import Numbers
from pymule.master.journal_records import Clock
from pymule.master.journal_space import RESERVE_BYTES, Space
from pymule.master.journal_turn import Statement, Turn, highest_id_of, room_for, stores
from pymule.sansio.record import Fact, Stored

__all__ = ("FAILED_NAME", "JournalWriter", "Progress")

FAILED_NAME: Final = "journal.failed"
"""Made after an I/O error; the next start checks and rebuilds the journal."""

# A turn ends here, so that deliveries do not wait for more.
_TURN_BYTES: Final = 16 * 1024 * 1024
_CHECKPOINT_BYTES: Final = 32 * 1024 * 1024
_BIG_WAL_BYTES: Final = 64 * 1024 * 1024
_VACUUM_PAGES: Final = 256
_FREE_PAGES: Final = 256
_LOOK_S: Final = 1.0
_IDLE_S: Final = 1.0
_RETRY_S: Final = 0.25
_LAST_TRIES: Final = 20
_FORGET_S: Final = 60.0
# What a transaction costs in the WAL beside its payload, roughly.
_PAGES_BYTES: Final = 3 * 4096


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
    """Writes on a thread of its own; everything here but `queue` belongs to it.

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
        self.commits = 0
        self.rows = 0
        self.bytes = 0
        self.wal_bytes = 0
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
        # Bytes in the WAL that are not in the database, about.
        self._grown = 1
        self._free_pages = 0
        self._is_closing = False
        self._retry_at = 0.0
        self._look_at = 0.0
        self._forget_at = 0.0
        self._inodes = self._look()

    def run(self) -> None:
        """Write until told to end, or until the disk fails."""
        self._set_full(is_full=not self._space.has_reserve)
        try:
            while not self._is_closing:
                self._turn()
            self._finish()
        except (sqlite3.Error, OSError) as exc:
            self._fail(JournalFailedError(str(self._file.path), str(exc)))
        except Exception as exc:  # noqa: BLE001  (a thread that ends unheard lets everybody wait for ever)
            self._fail(exc)

    def _turn(self) -> None:
        facts = self._gather()
        now = time.monotonic()
        if now >= self._look_at:
            self._check_files()
            self._space.look()
            self._look_at = now + _LOOK_S
        if facts or (self._waiting and now >= self._retry_at):
            self._write(facts, now)
        elif not self._is_closing:
            self._rest()
        if self._grown > _CHECKPOINT_BYTES:
            self._checkpoint()
        if now >= self._forget_at:
            self._forget_seen()
            self._forget_at = now + _FORGET_S

    # What is queued

    def _gather(self) -> list[Fact]:
        """Wait for facts; return all that are there, or none when the wait is over."""
        facts: list[Fact] = []
        size = 0
        with contextlib.suppress(Empty):
            call = self.queue.get(timeout=self._patience())
            while call is not None:
                self._taken, more = call
                facts += more
                size += sum(len(one.payload) for one in more if type(one) is Stored)
                if size > _TURN_BYTES:
                    return facts
                call = self.queue.get_nowait()
            self._is_closing = True
        return facts

    def _patience(self) -> float | None:
        if self._waiting or self.is_full:
            return _RETRY_S
        return _IDLE_S if self._grown or self._free_pages > _FREE_PAGES else None

    # What is written

    def _write(self, facts: list[Fact], now: float) -> None:
        turn = Turn(facts)
        rows = turn.rows
        if self._waiting:
            self._waiting += (fact for fact in facts if not _may_refuse(fact))
            turn = Turn(self._waiting)
        clock = Clock.now()
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
        self._store(rows, clock, now, is_alone=turn.is_empty)

    def _write_turn(self, turn: Turn, clock: Clock, now: float) -> bool:
        if turn.is_empty:
            return True
        if self._waiting and now < self._retry_at:
            return False
        statements = self._numbers.take(turn.highest_id, turn.highest_row)
        statements += turn.statements(clock, self._seq)
        if not self._commit_at_last(statements):
            self._retry_at = now + _RETRY_S
            return False
        self.rows += turn.growth
        self._grown += turn.kept_bytes + _PAGES_BYTES
        return True

    def _store(
        self, rows: list[Stored], clock: Clock, now: float, *, is_alone: bool
    ) -> None:
        """Write new rows, which may be refused, and say what became of them."""
        numbers = [fact.row for fact in rows]
        size = room_for(rows) + _PAGES_BYTES
        if not is_alone and not self._waiting:
            self._on_progress(Progress(self._written))
        if self._may_store(size, now):
            statements = self._numbers.take(max(map(highest_id_of, rows)), max(numbers))
            statements += stores(rows, clock)
            is_synced = any(fact.is_synced for fact in rows)
            if self._commit_after_checkpoint(statements, is_synced=is_synced):
                self.rows += len(rows)
                self._grown += size
                self._on_progress(Progress(self._written, stored=numbers))
                return
        self._set_full(is_full=True)
        self._on_progress(Progress(self._written, refused=numbers, error=self._error))

    def _may_store(self, size: int, now: float) -> bool:
        if self._waiting:
            return False
        if not self.is_full:
            # What is in the WAL has to fit in the database, too, or there will be no
            # checkpoint, and without one no end of the WAL.
            need = self._grown + 2 * size
            if self._space.is_ample or self._space.has_room(need):
                return True
        elif now < self._retry_at:
            return False
        self._retry_at = now + _RETRY_S
        self._make_room()
        self._set_full(is_full=not self._space.has_room(2 * size))
        return not self.is_full

    # What is done when the disk is full

    def _set_full(self, *, is_full: bool) -> None:
        if is_full is not self.is_full:
            self.is_full = is_full
            self._on_full(is_full)

    def _commit(self, statements: list[Statement], *, is_synced: bool) -> bool:
        """Do *statements*; tell whether there was room."""
        try:
            self._file.run(statements, is_synced=is_synced)
        except sqlite3.Error as exc:
            if not is_full(exc, self._lock.path):
                raise
            self._numbers.forget_end()
            return False
        self.commits += 1
        return True

    def _commit_after_checkpoint(
        self, statements: list[Statement], *, is_synced: bool
    ) -> bool:
        if self._commit(statements, is_synced=is_synced):
            return True
        # After a checkpoint the WAL begins anew, in the room that it has already.
        self._checkpoint()
        return self._commit(statements, is_synced=is_synced)

    def _commit_at_last(self, statements: list[Statement]) -> bool:
        if self._commit_after_checkpoint(statements, is_synced=False):
            return True
        self._set_full(is_full=True)
        self._space.give_up()
        return self._commit_after_checkpoint(statements, is_synced=False)

    def _make_room(self) -> None:
        """Give back what the files have and do not need."""
        # In small steps, each of which takes little of the WAL.
        while self._vacuum():
            pass
        # Less is left in place: others would take it, and we could not write acks.
        is_enough = self._wal_size() >= RESERVE_BYTES
        self._checkpoint("TRUNCATE" if is_enough else "PASSIVE")

    # Between the writes

    def _rest(self) -> None:
        """Do what can wait until nothing is queued."""
        if self.is_full and not self._waiting:
            self._make_room()
            self._set_full(is_full=not self._space.has_room(_PAGES_BYTES))
        elif self._free_pages > _FREE_PAGES:
            self._vacuum()
        elif self._grown:
            is_big = self._wal_size() > RESERVE_BYTES
            self._checkpoint("TRUNCATE" if is_big else "PASSIVE")

    def _checkpoint(self, mode: str = "PASSIVE") -> None:
        if self._wal_size() > _BIG_WAL_BYTES:
            mode = "TRUNCATE"
        try:
            self._file.checkpoint(mode)
        except sqlite3.Error as exc:
            if not is_full(exc, self._lock.path):
                raise
        self._grown = 0
        self._free_pages = self._file.free_pages()

    def _vacuum(self) -> bool:
        """Give back some free pages; tell whether that was possible."""
        before = self._file.free_pages()
        if before:
            try:
                self._file.vacuum(_VACUUM_PAGES)
            except sqlite3.Error as exc:
                if not is_full(exc, self._lock.path):
                    raise
            self._grown += _PAGES_BYTES
        self._free_pages = self._file.free_pages()
        return self._free_pages < before

    def _forget_seen(self) -> None:
        until = time.time_ns() - int(self._seen_window_s * 1e9)
        sql = "DELETE FROM seen WHERE at < ?"
        if not self.is_full and self._commit([(sql, (until,))], is_synced=False):
            self._grown += 1

    def _wal_size(self) -> int:
        return (self._lock.path / WAL_NAME).stat().st_size

    def _look(self) -> list[tuple[int, int]]:
        infos = [self._file.path.stat(), (self._lock.path / WAL_NAME).stat()]
        self.bytes, self.wal_bytes = (info.st_size for info in infos)
        return [(info.st_dev, info.st_ino) for info in infos]

    def _check_files(self) -> None:
        if self._look() != self._inodes:
            raise OSError("its files were replaced while it was in use")

    # The end

    def _finish(self) -> None:
        """Write what is left, note that it was a clean stop, and close."""
        for _ in range(_LAST_TRIES):
            if not self._waiting:
                break
            time.sleep(_RETRY_S)
            self._write([], time.monotonic())
        if self._waiting:
            raise OSError(f"the disk is full; {len(self._waiting)} facts are lost")
        numbers = (self._numbers.next_id, self._numbers.next_row)
        sql = "UPDATE meta SET clean = 1, next_id = ?, next_row = ?"
        # If there is no room for this, the next start checks the file; nothing is lost.
        self._commit_after_checkpoint([(sql, numbers)], is_synced=True)
        self._checkpoint("TRUNCATE")
        self._file.close()

    def _fail(self, error: Exception) -> None:
        # The disk may refuse this one too; then the next start has less to go by.
        with contextlib.suppress(OSError):
            os.close(self._lock.create(FAILED_NAME))
            self._lock.sync()
        self._file.abandon()
        self._on_failed(error)


def _may_refuse(fact: Fact) -> bool:
    return isinstance(fact, Stored) and not fact.is_kept
