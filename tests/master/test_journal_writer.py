"""The turns of the thread, without the thread, on disks that are full or bad."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from pymule.errors import JournalFailedError, StorageFullError
from pymule.master import journal_writer
from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_numbers import Numbers
from pymule.master.journal_start import open_file
from pymule.master.journal_writer import FAILED_NAME, JournalWriter, Progress
from pymule.sansio.record import Buried, Changed, Fact, Gone, RowGone
from tests.chaos.disk import small_disk, why_no_mounts
from tests.master.journaling import letter, stored

SIZE = 16 * 1024 * 1024


class Desk:
    """A writer whose turns are made by hand."""

    def __init__(self, state_dir: Path, *, seen_window_s: float = 600.0) -> None:
        self.lock = JournalLock.take(state_dir)
        self.file = open_file(self.lock)
        self.said: list[Progress] = []
        self.failures: list[Exception] = []
        self.full: list[bool] = []
        self.mark = 0
        self.writer = JournalWriter(
            self.file,
            self.lock,
            Numbers(1, 1, 1),
            seen_window_s=seen_window_s,
            on_progress=self.said.append,
            on_full=self.full.append,
            on_failed=self.failures.append,
        )

    def write(self, *facts: Fact) -> None:
        """Queue *facts* and make a turn."""
        self.queue(*facts)
        self.writer._turn()

    def queue(self, *facts: Fact) -> None:
        self.mark += 1
        self.writer.queue.put((self.mark, facts))

    def rest(self) -> None:
        """Make turns with nothing queued until there is nothing to do."""
        for _ in range(200):
            if self.writer._patience() is None:
                break
            self.writer._turn()

    def run(self) -> None:
        """Do what is queued, and end as the thread does."""
        self.writer.queue.put(None)
        self.writer.run()

    @property
    def written(self) -> int:
        return self.said[-1].written if self.said else 0

    def rows(self) -> list[int]:
        found = self.file.connection.execute("SELECT row FROM rows ORDER BY row")
        return [row for (row,) in found]

    def close(self) -> None:
        self.file.connection.close()
        self.lock.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def small() -> Iterator[Path]:
    """A disk of 16 MiB."""
    if (reason := why_no_mounts()) is not None:
        pytest.skip(reason)
    with small_disk(SIZE) as path:
        yield path


@pytest.fixture
def small_desk(small: Path) -> Iterator[Desk]:
    desk = Desk(small / "state")
    yield desk
    desk.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_writer, "_RETRY_S", 0.001)
    monkeypatch.setattr(journal_writer, "_IDLE_S", 0.001)


# Turns


def test_attempts_are_told_before_the_new_rows_of_a_turn(desk: Desk) -> None:
    desk.write(stored(1))
    desk.queue(Changed(1, 1, 1, 1, 0), stored(2))
    desk.queue(stored(3, is_synced=False))
    desk.writer._turn()

    assert desk.said == [
        Progress(1, stored=[1]),
        Progress(3),
        Progress(3, stored=[2, 3]),
    ]


def test_a_turn_with_nothing_but_acks_is_told_once(desk: Desk) -> None:
    desk.write(stored(1), stored(2))
    desk.write(Gone(1, 1, 1), RowGone(1))

    assert desk.said == [Progress(1, stored=[1, 2]), Progress(2)]
    assert desk.writer.rows == 1


def test_what_is_done_is_written_with_the_rows_of_its_turn(desk: Desk) -> None:
    desk.write(stored(1), stored(2))
    commits = desk.writer.pages.commits
    desk.queue(RowGone(1))
    desk.write(stored(3))

    assert desk.said[1:] == [Progress(3, stored=[3])]
    assert desk.writer.pages.commits == commits + 1
    assert desk.rows() == [2, 3]
    assert desk.writer.rows == 2


def test_a_turn_ends_when_it_is_big(desk: Desk) -> None:
    for number in range(1, 5):
        desk.queue(stored(number, size=9 * 1024 * 1024))

    desk.writer._turn()
    desk.writer._turn()

    assert [one.stored for one in desk.said] == [[1, 2], [3, 4]]


def test_used_numbers_are_noted_long_before_they_are_used(desk: Desk) -> None:
    desk.write(stored(1), stored(2, 100, 50))
    desk.write(stored(3, 2_000_000, is_kept=True))

    row = desk.file.connection.execute("SELECT next_id, next_row FROM meta").fetchone()
    assert row == (2_000_001 + (1 << 20), 4 + (1 << 20))

    desk.run()
    with sqlite3.connect(desk.file.path) as closed:
        assert closed.execute("SELECT * FROM meta").fetchone() == (
            1,
            0,
            2_000_001,
            4,
            1,
        )
    closed.close()


def test_message_ids_are_forgotten_after_the_window(tmp_path: Path) -> None:
    desk = Desk(tmp_path, seen_window_s=0.0)
    desk.write(stored(1, message_id="x", at=0.0))

    desk.writer._upkeep_at = 0.0
    desk.write(stored(2))

    assert desk.file.one("SELECT count(*) FROM seen") == 0
    desk.close()


# The size of the files


def wal_size(desk: Desk) -> int:
    return (desk.lock.path / "journal.db-wal").stat().st_size


def test_the_file_shrinks_when_nothing_is_queued(desk: Desk) -> None:
    desk.write(*(stored(number, size=100_000) for number in range(1, 200)))
    desk.write(stored(200))
    desk.rest()
    big = desk.file.path.stat().st_size

    desk.write(*(RowGone(number) for number in range(1, 200)))
    desk.rest()

    assert big > 19_000_000
    assert desk.file.path.stat().st_size < 200_000 + 256 * 4096
    assert wal_size(desk) <= 4 * 1024 * 1024
    assert desk.writer._patience() is None
    assert desk.rows() == [200]


def test_the_file_stays_small_while_messages_come_and_go(desk: Desk) -> None:
    for number in range(1, 500):
        desk.write(stored(number, size=500_000), RowGone(number - 2))

    assert desk.file.path.stat().st_size < 40_000_000
    assert wal_size(desk) < 80_000_000


# A full disk


def fill(path: Path) -> Path:
    """Leave no room on the disk of *path*; return the file that takes it."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return ballast


def test_new_rows_are_refused_and_old_ones_can_be_acknowledged(
    small: Path, small_desk: Desk
) -> None:
    small_desk.write(*(stored(number, size=10_000) for number in range(1, 101)))
    fill(small)

    small_desk.write(*(stored(number, size=10_000) for number in range(101, 1000)))
    refusal = small_desk.said[-1]
    for number in range(1, 101):
        small_desk.write(Changed(number, number, 1, 1, 0))
        small_desk.write(RowGone(number), Buried(letter(number, size=100)))

    assert refusal.refused == list(range(101, 1000))
    assert isinstance(refusal.error, StorageFullError)
    assert small_desk.full == [True]
    assert small_desk.written == small_desk.mark
    assert small_desk.rows() == []
    assert small_desk.file.one("SELECT count(*) FROM dead") == 100


def test_service_resumes_when_there_is_room(small: Path, small_desk: Desk) -> None:
    ballast = fill(small)
    small_desk.write(*(stored(number, size=10_000) for number in range(1, 1000)))
    small_desk.write(stored(1000, size=1_000_000))
    ballast.unlink()

    small_desk.rest()
    small_desk.write(stored(1001, size=1_000_000))

    assert small_desk.said[-1] == Progress(3, stored=[1001])
    assert small_desk.full == [True, False]
    assert not small_desk.writer.is_full
    assert (small_desk.lock.path / "journal.reserve").exists()


def test_a_journal_that_filled_its_disk_itself_empties_and_goes_on(
    small_desk: Desk,
) -> None:
    row = 0
    while not small_desk.writer.is_full:
        row += 1
        small_desk.write(stored(row, size=100_000))
    held = small_desk.rows()
    for number in held:
        small_desk.write(RowGone(number))
    small_desk.rest()

    small_desk.write(stored(row + 1, size=100_000))

    assert len(held) > 20
    assert small_desk.rows() == [row + 1]
    assert small_desk.full == [True, False]


def test_facts_that_cannot_be_written_at_all_are_kept_in_order(
    small: Path, small_desk: Desk
) -> None:
    small_desk.write(stored(1), stored(2))
    full_disk(small, small_desk)
    wasted = [Buried(letter(number, size=100_000)) for number in range(100, 200)]

    small_desk.write(*wasted, Changed(1, 1, 1, 1, 0))
    small_desk.write(Changed(1, 1, 1, 2, 0), stored(3), RowGone(2))
    before = small_desk.written
    (small / "ballast").unlink()
    small_desk.writer._turn()

    assert before == 1
    assert small_desk.said[-2].refused == [3]
    assert small_desk.written == small_desk.mark
    assert small_desk.rows() == [1]
    changes = "SELECT attempts FROM changes ORDER BY seq"
    assert small_desk.file.connection.execute(changes).fetchall() == [(2,)]
    assert small_desk.file.one("SELECT count(*) FROM dead") == 100


def full_disk(small: Path, desk: Desk) -> None:
    """Take the room of the reserve, too, as another program can."""
    desk.writer._space.give_up()
    fill(small)


def test_what_is_not_written_when_it_ends_is_told(
    small: Path, small_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_writer, "_LAST_TRIES", 2)
    full_disk(small, small_desk)
    small_desk.queue(*(Buried(letter(one, size=100_000)) for one in range(100)))

    small_desk.run()

    # No fault of the disk, so the next start has nothing to rebuild.
    (failure,) = small_desk.failures
    assert isinstance(failure, StorageFullError)
    assert not (small / "state" / FAILED_NAME).exists()


# A bad disk


class _BadFile:
    """A connection whose every statement after the first few fails."""

    def __init__(self, connection: sqlite3.Connection, code: int, good: int) -> None:
        self._connection = connection
        self._code = code
        self._good = good

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        self._good -= 1
        if self._good < 0 and not sql.startswith("PRAGMA"):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error
        return self._connection.execute(sql, parameters)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_WRITE]
)
def test_after_an_error_of_the_disk_nothing_is_confirmed(desk: Desk, code: int) -> None:
    desk.queue(stored(1))
    real = desk.file.connection
    desk.file.connection = cast("sqlite3.Connection", _BadFile(real, code, 0))

    desk.run()

    (failure,) = desk.failures
    assert isinstance(failure, JournalFailedError)
    assert desk.said == []
    assert (desk.lock.path / "journal.failed").exists()
    desk.file.connection = real


def test_a_fault_of_ours_is_not_silent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_self: JournalFile, *_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(JournalFile, "run", stumble)
    desk.queue(stored(1))

    desk.run()

    assert [type(one) for one in desk.failures] == [ZeroDivisionError]


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal"])
def test_files_that_are_replaced_are_noticed(desk: Desk, name: str) -> None:
    path = desk.lock.path / name
    path.rename(path.with_name("aside"))
    path.touch()
    desk.queue(stored(1))

    desk.run()

    (failure,) = desk.failures
    assert "replaced" in str(failure)
    assert desk.said == []


def test_a_directory_that_is_removed_is_noticed(desk: Desk) -> None:
    os.rename(desk.lock.path, f"{desk.lock.path}-gone")  # noqa: PTH104  (a Path stays)
    desk.queue(stored(1))

    desk.run()

    assert isinstance(desk.failures[0], JournalFailedError)
    assert desk.said == []
