"""A journal of format 1, written before format 2 was known, becomes one of format 2."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pymule.errors import JournalDamagedError
from pymule.master import journal_migrate
from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_reader import Reader
from pymule.master.journal_records import Clock
from pymule.master.journal_start import open_file
from pymule.sansio.record import Share
from tests.master.journal_format1 import FILE, make_format1

CLOCK = Clock(1_763_000_000_000_000_000)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    shutil.copy(FILE, path / "journal.db")
    return path


def opened(state_dir: Path) -> JournalFile:
    lock = JournalLock.take(state_dir)
    try:
        return open_file(lock)
    finally:
        lock.close()


def test_the_file_is_what_its_script_makes(tmp_path: Path) -> None:
    make_format1(tmp_path / "made.db")

    with (
        closing(sqlite3.connect(tmp_path / "made.db")) as made,
        closing(sqlite3.connect(f"file:{FILE}?immutable=1", uri=True)) as kept,
    ):
        assert list(made.iterdump()) == list(kept.iterdump())


def test_everything_in_it_is_there_afterwards(state_dir: Path) -> None:
    file = opened(state_dir)

    reader = Reader(file, CLOCK)
    busy, mule = reader.rows()
    (letter,) = reader.dead()

    errors = ({"type": "ValueError", "text": "no", "attempt": 1},)
    assert (busy.stored.row, busy.stored.queue) == (7, "farm:busy")
    assert busy.stored.payload.endswith(b"onetwosixten")
    assert busy.shares == [
        Share(101, 1, 2, 1, 5e-9, errors),
        Share(102, 1, 1),
        Share(103, 1),
    ]
    assert (mule.stored.options, mule.stored.due_at) == (b'{"key":"k"}', 1e9)
    assert (letter.id, letter.body, letter.errors) == (50, b"body", errors)
    assert reader.paused() == {"farm:slow"}
    assert reader.seen(1e9) == []
    assert file.connection.execute("SELECT * FROM meta").fetchone() == (
        (1, 4, 1000, 200, 1)
    )
    file.check(is_thorough=True)
    file.close()


def test_a_copy_of_it_as_it_was_is_kept(state_dir: Path) -> None:
    opened(state_dir).close()
    (copy,) = state_dir.glob("journal.format1-*")

    assert copy.stat().st_mode & 0o777 == 0o600
    with (
        closing(sqlite3.connect(copy)) as kept,
        closing(sqlite3.connect(f"file:{FILE}?immutable=1", uri=True)) as original,
    ):
        assert list(kept.iterdump()) == list(original.iterdump())


def test_it_is_done_once(state_dir: Path) -> None:
    opened(state_dir).close()
    opened(state_dir).close()

    assert len(list(state_dir.glob("journal.format1-*"))) == 1
    assert int.from_bytes((state_dir / "journal.db").read_bytes()[60:64]) == 2


def test_one_that_is_interrupted_leaves_it_as_it_was(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        # The last statement of the transaction but two.
        patched.setattr(
            journal_migrate, "_OLD_TABLES", ("rows", "changes", "dead", "x")
        )
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            opened(state_dir)
    assert int.from_bytes((state_dir / "journal.db").read_bytes()[60:64]) == 1

    file = opened(state_dir)

    assert len(list(Reader(file, CLOCK).rows())) == 2
    file.close()


def test_a_damaged_one_is_not_migrated(state_dir: Path) -> None:
    path = state_dir / "journal.db"
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 2 : 4096 * 3] = b"x" * 4096
    path.write_bytes(damaged)

    with pytest.raises((JournalDamagedError, sqlite3.DatabaseError)):
        opened(state_dir)

    assert list(state_dir.glob("journal.format1-*")) == []
