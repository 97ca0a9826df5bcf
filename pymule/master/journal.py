"""The journal of a master: what its durable queues hold, on the disk.

Files in the state directory: ``journal.db`` with its WAL, ``journal.lock`` with the pid
of the process that has it, ``journal.reserve`` for the day when the disk is full.
"""

import asyncio
import contextlib
import logging
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

from pymule.errors import JournalDamagedError
from pymule.master.journal_file import NAME, JournalFile, is_full
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_numbers import Numbers
from pymule.master.journal_reader import Reader
from pymule.master.journal_records import Clock
from pymule.master.journal_salvage import Salvage, salvage
from pymule.master.journal_space import RESERVE_NAME
from pymule.master.journal_start import open_file, translated
from pymule.master.journal_survey import open_whole
from pymule.master.journal_writer import JournalWriter, Progress
from pymule.master.logs import log
from pymule.sansio.body import JsonObject
from pymule.sansio.record import Fact, Gone, Recovered, RowGone

__all__ = ("Journal", "Progress")

_LOGGER: Final = logging.getLogger("pymule.master")
# The thread waits for the GIL after each statement that takes long, and a loop that is
# busy gives it up when it must: after 5 ms by default.
_SWITCH_S: Final = 0.001
# Nobody waits for what says that messages are done: it waits for company, so long at
# most, in seconds, and so much. A kill in between is a kill before the ack came.
_COMPANY_S: Final = 0.005
_COMPANY_COUNT: Final = 256

T = TypeVar("T")


class Journal:
    """The journal of one master: a thread with one SQLite connection.

    Args:
        state_dir: Where its files are; made if it alone is missing.
        on_progress: Called on the loop.
        on_failed: Called on the loop, once, when the disk fails; nothing is written
            or said any more.
        seen_window_s: Message ids are kept for so many seconds.
        on_damage: What to do about a journal that is not what was written: refuse
            to start, or keep it aside and go on with what can be read of it. The
            latter reads all of it twice.
    """

    def __init__(
        self,
        state_dir: Path,
        on_progress: Callable[[Progress], None],
        on_failed: Callable[[Exception], None],
        *,
        seen_window_s: float = 600.0,
        on_damage: Literal["refuse", "salvage"] = "refuse",
    ) -> None:
        # What had to be done about damage, once it is open.
        self.salvage: Salvage | None = None
        self._state_dir = state_dir
        self._on_progress = on_progress
        self._on_failed = on_failed
        self._seen_window_s = seen_window_s
        self._on_damage = on_damage
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: JournalLock | None = None
        self._file: JournalFile | None = None
        self._reader: Reader | None = None
        self._numbers = Numbers(0, 1, 1)
        self._writer: JournalWriter | None = None
        self._ended = asyncio.Event()
        self._mark = 0
        # What is said and not yet handed to the thread.
        self._unsent: list[Fact] = []
        self._is_sending_due = False

    def open(self) -> Recovered:
        """Take the directory, check what is there, and read it; blocks.

        The rows are read while they are iterated, which has to be done, to the end,
        before :meth:`start`, and raises as this does.

        Raises:
            JournalInUseError: Another process has it.
            JournalDamagedError: What is there is not what was written.
            JournalFormatError: A newer version of pymule wrote it.
            JournalSetupError: Directory or files have a wrong owner, mode or kind.
            StorageFullError: There is no room to note that it was opened.
        """
        self._lock = lock = JournalLock.take(self._state_dir)
        try:
            with translated(lock):
                self._file = self._open_file(lock)
                self._log_lost(self._file)
                return self._read(self._file)
        except BaseException:
            self._let_go()
            raise

    def _open_file(self, lock: JournalLock) -> JournalFile:
        if self._on_damage == "refuse":
            return open_file(lock)
        try:
            return open_whole(lock)
        except JournalDamagedError as exc:
            self.salvage = salvage(lock, exc.what)
            log(
                _LOGGER,
                logging.ERROR,
                "journal salvaged",
                kept_as=self.salvage.kept_as,
                damage=self.salvage.damage,
                messages=sum(self.salvage.messages.values()),
                dead=self.salvage.dead,
                lost=self.salvage.lost,
            )
            return open_file(lock)

    def _log_lost(self, file: JournalFile) -> None:
        if file.lost_commits:
            log(
                _LOGGER,
                logging.ERROR,
                "journal ends early",
                path=str(file.path),
                transactions=file.lost_commits,
            )

    def _read(self, file: JournalFile) -> Recovered:
        clock = Clock.now()
        record = file.connection.execute(
            "SELECT epoch, next_id, next_row FROM meta"
        ).fetchone()
        if record is None:
            raise JournalDamagedError(str(file.path), "its table meta is empty")
        epoch, next_id, next_row = record
        self._numbers = Numbers(epoch + 1, next_id, next_row)
        note = ("UPDATE meta SET epoch = ?, clean = 0", (epoch + 1,))
        statements = [note, *self._numbers.take(0, 0)]
        try:
            file.run(statements, is_synced=True)
        except sqlite3.Error as exc:
            if self._lock is None or not is_full(exc, self._lock.path):
                raise
            self._lock.remove(RESERVE_NAME)
            file.run(statements, is_synced=True)
        self._reader = reader = Reader(file, clock)
        return Recovered(
            epoch + 1,
            next_id,
            next_row,
            reader.rows(),
            reader.dead(),
            reader.seen(self._seen_window_s),
            reader.paused(),
        )

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread, whose calls arrive on *loop*."""
        if self._file is None or self._lock is None or self._reader is None:
            raise AssertionError("a journal is opened before it is started")
        self._loop = loop
        self._writer = JournalWriter(
            self._file,
            self._lock,
            self._numbers,
            seen_window_s=self._seen_window_s,
            on_progress=lambda progress: self._post(self._on_progress, progress),
            on_full=lambda is_full: self._post(self._log_space, is_full),
            on_failed=lambda error: self._post(self._on_failed, error),
        )
        self._writer.rows = self._reader.rows_count
        if self._reader.empty_rows:
            self.write([RowGone(row) for row in self._reader.empty_rows])
        sys.setswitchinterval(_SWITCH_S)
        thread = threading.Thread(target=self._run, name="pymule-journal")
        thread.start()

    def _run(self) -> None:
        if self._writer is not None:
            self._writer.run()
        self._post(lambda _: self._ended.set(), None)

    def _post(self, callback: Callable[[T], object], argument: T) -> None:
        # A loop that is closed has nobody who could want to know.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback, argument)

    def _log_space(self, is_full: bool) -> None:  # noqa: FBT001  (a call of the thread)
        if is_full:
            log(_LOGGER, logging.ERROR, "journal full", path=str(self._state_dir))
        else:
            log(_LOGGER, logging.INFO, "journal has room again")

    def write(self, facts: Sequence[Fact]) -> int:
        """Have *facts* written, in order; return their mark, which grows."""
        self._mark += 1
        self._unsent += facts
        if len(self._unsent) >= _COMPANY_COUNT or not all(map(_may_wait, facts)):
            self._send()
        elif not self._is_sending_due:
            self._is_sending_due = True
            if self._loop is None:
                raise AssertionError("a journal is started before it is written")
            self._loop.call_later(_COMPANY_S, self._send_rest)
        return self._mark

    def _send(self) -> None:
        if self._writer is None:
            raise AssertionError("a journal is started before it is written")
        facts, self._unsent = self._unsent, []
        self._writer.queue.put((self._mark, facts))

    def _send_rest(self) -> None:
        self._is_sending_due = False
        if self._unsent:
            self._send()

    def describe(self) -> JsonObject:
        """Return what ``pymule status`` shows; sizes are as of about a second ago."""
        writer = self._writer
        if writer is None:
            return {"path": str(self._state_dir / NAME)}
        return {
            "path": str(self._state_dir / NAME),
            "epoch": self._numbers.epoch,
            "rows": writer.rows,
            "bytes": writer.pages.bytes,
            "wal_bytes": writer.pages.wal_bytes,
            "commits": writer.pages.commits,
            "full": writer.is_full,
        }

    async def close(self) -> None:
        """Wait until all facts are written, and let others have the directory.

        Do not cancel: the thread would go on.
        """
        if self._writer is not None:
            if self._unsent:
                self._send()
            self._writer.queue.put(None)
            await self._ended.wait()
            self._file = None
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
        if self._lock is not None:
            self._lock.close()
        self._lock = self._file = None


def _may_wait(fact: Fact) -> bool:
    return isinstance(fact, Gone | RowGone)
