"""The database: its settings, its transactions, and what its errors mean."""

import errno
import gc
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from pymule.errors import (
    JournalDamagedError,
    JournalFailedError,
    JournalInUseError,
    JournalSetupError,
    StorageFullError,
)
from pymule.master import journal_file
from pymule.master.journal_file import (
    APPLICATION_ID,
    FORMAT,
    JournalFile,
    is_full,
    journal_error,
)

INSERT = "INSERT INTO paused VALUES (?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    path.touch()
    return path


def test_a_new_file_says_what_it_is(path: Path) -> None:
    JournalFile(path)

    header = path.read_bytes()
    assert int.from_bytes(header[60:64]) == FORMAT
    assert int.from_bytes(header[68:72]) == APPLICATION_ID


def test_it_has_the_settings_that_keep_what_is_written(path: Path) -> None:
    file = JournalFile(path)

    assert file.one("PRAGMA journal_mode") == "wal"
    assert file.one("PRAGMA synchronous") == 2
    assert file.one("PRAGMA locking_mode") == "exclusive"
    assert not path.with_name("journal.db-shm").exists()


def test_an_sqlite_that_does_not_take_a_setting_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "_PRAGMAS", (("synchronous", "FULL", 1),))

    with pytest.raises(JournalSetupError, match="answers 2 to PRAGMA synchronous"):
        JournalFile(path)


def test_opening_changes_nothing_in_the_file(path: Path) -> None:
    JournalFile(path).close()
    before = path.read_bytes()

    JournalFile(path).close()

    assert path.read_bytes() == before


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    file = JournalFile(path)

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        file.run([(INSERT, ("a",)), ("DELETE FROM missing", ())], is_synced=False)

    assert file.one("SELECT count(*) FROM paused") == 0
    file.run([(INSERT, ("b",))], is_synced=True)
    assert file.one("SELECT queue FROM paused") == "b"


@pytest.mark.parametrize(("is_synced", "mode"), [(True, 2), (False, 1)])
def test_a_transaction_is_synced_if_it_is_to_be(
    path: Path, *, is_synced: bool, mode: int
) -> None:
    file = JournalFile(path)
    for _ in range(2):
        file.run([(INSERT, ("a",))], is_synced=not is_synced)
        file.run([("DELETE FROM paused", ())], is_synced=is_synced)

    assert file.one("PRAGMA synchronous") == mode


def test_what_is_deleted_is_given_back(path: Path) -> None:
    file = JournalFile(path)
    blob = bytes(1_000_000)
    file.run(
        [("INSERT INTO rows (row, payload) VALUES (1, ?)", (blob,))], is_synced=False
    )
    file.checkpoint()
    size = path.stat().st_size
    file.run([("DELETE FROM rows", ())], is_synced=False)

    file.vacuum(1 << 20)
    file.checkpoint("TRUNCATE")

    assert size > 1_000_000
    assert path.stat().st_size < 100_000
    assert file.free_pages() == 0
    assert path.with_name("journal.db-wal").stat().st_size == 0


def test_a_file_that_is_closed_has_no_wal(path: Path) -> None:
    file = JournalFile(path)
    file.run([(INSERT, ("a",))], is_synced=False)

    file.close()

    assert not path.with_name("journal.db-wal").exists()


def test_a_file_that_is_abandoned_is_not_touched_again(path: Path) -> None:
    file = JournalFile(path)
    file.run([(INSERT, ("a",))], is_synced=False)
    before = path.read_bytes()
    wal = path.with_name("journal.db-wal").read_bytes()

    file.abandon()
    references = sys.getrefcount(file.connection)
    del file
    gc.collect()

    assert references >= 3
    assert path.read_bytes() == before
    assert path.with_name("journal.db-wal").read_bytes() == wal


def error(code: int) -> sqlite3.OperationalError:
    found = sqlite3.OperationalError("so it is")
    found.sqlite_errorcode = code
    return found


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StorageFullError),
        (sqlite3.SQLITE_BUSY, JournalInUseError),
        (sqlite3.SQLITE_CANTOPEN, JournalSetupError),
        (sqlite3.SQLITE_READONLY_DIRECTORY, JournalSetupError),
        (sqlite3.SQLITE_IOERR_FSYNC, JournalFailedError),
        (sqlite3.SQLITE_IOERR_WRITE, JournalFailedError),
        (sqlite3.SQLITE_CORRUPT, JournalDamagedError),
        (sqlite3.SQLITE_NOTADB, JournalDamagedError),
        (sqlite3.SQLITE_ERROR, JournalDamagedError),
    ],
)
def test_each_error_of_sqlite_has_its_meaning(
    path: Path, code: int, kind: type[Exception]
) -> None:
    found = journal_error(error(code), path)

    assert type(found) is kind
    assert str(path) in str(found)


def test_an_error_without_a_code_is_damage(path: Path) -> None:
    found = journal_error(sqlite3.OperationalError("Could not decode to UTF-8"), path)

    assert type(found) is JournalDamagedError


def test_a_full_disk_and_a_broken_one_are_told_apart(path: Path) -> None:
    assert is_full(error(sqlite3.SQLITE_FULL), path.parent)
    assert not is_full(error(sqlite3.SQLITE_IOERR_WRITE), path.parent)
    assert not is_full(error(sqlite3.SQLITE_IOERR_FSYNC), path.parent)


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EIO])
def test_a_quota_that_is_spent_is_a_full_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)

    found = is_full(error(sqlite3.SQLITE_IOERR_WRITE), path.parent)

    assert found is (code == errno.EDQUOT)


def test_a_directory_that_cannot_be_written_is_no_quota(tmp_path: Path) -> None:
    assert not is_full(error(sqlite3.SQLITE_IOERR_WRITE), tmp_path / "missing")
