"""From whatever is in the directory to a journal to trust, or to an error."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymule.errors import (
    JournalDamagedError,
    JournalFormatError,
    JournalSetupError,
    StorageFullError,
)
from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_start import open_file, rebuild, translated

PAUSE = "INSERT INTO paused VALUES (?)"


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[JournalLock]:
    lock = JournalLock.take(tmp_path)
    yield lock
    lock.close()


@pytest.fixture
def path(lock: JournalLock) -> Path:
    return lock.path / "journal.db"


def paused(lock: JournalLock) -> list[str]:
    file = open_file(lock)
    found = [name for (name,) in file.connection.execute("SELECT queue FROM paused")]
    file.close()
    return found


def make(lock: JournalLock, *names: str, is_clean: bool = True) -> None:
    file = open_file(lock)
    clean = ("UPDATE meta SET clean = ?", (int(is_clean),))
    file.run([clean, *((PAUSE, (name,)) for name in names)], is_synced=False)
    file.close()


def names(lock: JournalLock) -> list[str]:
    return sorted(entry.name for entry in lock.path.iterdir())


def test_a_journal_is_made_where_there_is_none(lock: JournalLock, path: Path) -> None:
    make(lock, "a")

    assert paused(lock) == ["a"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(lock) == ["journal.db", "journal.lock"]


@pytest.mark.parametrize("size", [0, 4096])
def test_one_whose_making_was_interrupted_is_made_again(
    lock: JournalLock, path: Path, size: int
) -> None:
    if size:
        with sqlite3.connect(path, isolation_level=None) as half:
            half.execute("PRAGMA auto_vacuum = INCREMENTAL")
            half.execute("PRAGMA journal_mode = WAL")
        half.close()
    else:
        path.touch()
    assert path.stat().st_size == size

    make(lock, "a")

    assert paused(lock) == ["a"]


def test_a_newer_format_is_refused_and_not_touched(
    lock: JournalLock, path: Path
) -> None:
    make(lock, "a")
    with path.open("r+b") as file:
        file.seek(60)
        file.write((3).to_bytes(4))
    before = path.read_bytes(), path.stat().st_mtime_ns

    with pytest.raises(
        JournalFormatError, match="format 3; this version of pymule reads up to 2"
    ) as caught:
        open_file(lock)

    assert (caught.value.found, caught.value.known) == (3, 2)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("content", [b"not a database at all" * 300, b"SQLite"])
def test_something_else_is_refused_and_not_touched(
    lock: JournalLock, path: Path, content: bytes
) -> None:
    path.write_bytes(content)

    with pytest.raises(JournalDamagedError, match="it is no SQLite database"):
        open_file(lock)

    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(
    lock: JournalLock, path: Path
) -> None:
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA application_id = 77")
        other.execute("CREATE TABLE theirs (x)")
    other.close()

    with pytest.raises(JournalDamagedError, match="application id 0x4d"):
        open_file(lock)


def test_a_wal_without_its_journal_is_damage(lock: JournalLock, path: Path) -> None:
    path.with_name("journal.db-wal").write_bytes(b"x")

    with pytest.raises(JournalDamagedError, match="it is missing"):
        open_file(lock)

    assert names(lock) == ["journal.db-wal", "journal.lock"]


def test_after_an_unclean_stop_the_structure_is_checked(
    lock: JournalLock, path: Path
) -> None:
    make(lock, *(f"queue {number:0200}" for number in range(100)), is_clean=False)
    with path.open("r+b") as file:
        # The number of cells on a page of the table.
        file.seek(path.stat().st_size - 4096 + 3)
        file.write(b"\0\1")

    with pytest.raises(JournalDamagedError):
        open_file(lock)


def test_after_a_failure_everything_is_written_anew(
    lock: JournalLock, path: Path
) -> None:
    make(lock, "a", "b", is_clean=False)
    (lock.path / "journal.failed").touch()
    (lock.path / "journal.failed").chmod(0o600)
    inode = path.stat().st_ino

    assert paused(lock) == ["a", "b"]

    assert path.stat().st_ino != inode
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(lock) == ["journal.db", "journal.lock"]


def test_a_journal_that_was_written_anew_still_shrinks(lock: JournalLock) -> None:
    make(lock, "a")
    rebuild(lock)

    file = open_file(lock)

    assert file.one("PRAGMA auto_vacuum") == 2
    assert file.one("PRAGMA page_size") == 4096
    file.close()


def test_a_new_file_that_was_not_finished_is_removed(lock: JournalLock) -> None:
    make(lock, "a")
    (lock.path / "journal.new").write_bytes(b"half")
    (lock.path / "journal.new-wal").write_bytes(b"half")

    assert paused(lock) == ["a"]

    assert names(lock) == ["journal.db", "journal.lock"]


@pytest.mark.parametrize("is_wal_there", [True, False])
def test_a_new_file_that_was_finished_takes_its_place(
    lock: JournalLock, path: Path, *, is_wal_there: bool
) -> None:
    make(lock, "new")
    path.rename(path.with_name("aside"))
    make(lock, "old")
    if is_wal_there:
        # As a crash leaves it: the WAL of the old one, with something in it.
        file = JournalFile(path)
        file.run([(PAUSE, ("older",))], is_synced=False)
        wal = path.with_name("journal.db-wal").read_bytes()
        file.close()
        path.with_name("journal.db-wal").write_bytes(wal)
    path.with_name("aside").rename(path.with_name("journal.next"))

    assert paused(lock) == ["new"]

    assert names(lock) == ["journal.db", "journal.lock"]


def test_errors_of_the_system_become_ours(lock: JournalLock) -> None:
    with pytest.raises(StorageFullError), translated(lock):
        raise OSError(28, "No space left on device")
    with pytest.raises(JournalSetupError, match="Permission denied"), translated(lock):
        raise PermissionError(13, "Permission denied")
