"""The files of a journal as they grow and shrink."""

import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pymule.master import journal_pages
from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_pages import Pages
from pymule.master.journal_records import Clock
from pymule.master.journal_start import open_file
from pymule.master.journal_turn import Statement, stores
from tests.master.journaling import stored

MIB = 1024 * 1024


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[JournalLock]:
    lock = JournalLock.take(tmp_path)
    yield lock
    lock.close()


@pytest.fixture
def file(lock: JournalLock) -> JournalFile:
    return open_file(lock)


@pytest.fixture
def pages(file: JournalFile, lock: JournalLock) -> Pages:
    return Pages(file, lock)


def add(pages: Pages, row: int, size: int = MIB) -> None:
    assert pages.commit(
        stores([stored(row, size=size)], Clock(0), count(1)), size, is_synced=False
    )


def remove(pages: Pages, *rows: int) -> None:
    gone: list[Statement] = [("DELETE FROM rows WHERE row = ?", (row,)) for row in rows]
    assert pages.commit(gone, 0, is_synced=False)


def sizes(pages: Pages) -> tuple[float, float]:
    """Return the sizes of database and WAL, in MiB."""
    pages.check()
    return pages.bytes / MIB, pages.wal_bytes / MIB


def test_what_is_committed_is_in_the_wal_until_a_checkpoint(pages: Pages) -> None:
    add(pages, 1)
    before = sizes(pages)

    pages.checkpoint()

    assert [round(size) for size in before] == [0, 1]
    assert [round(size) for size in sizes(pages)] == [1, 1]
    assert pages.commits == 1
    assert not pages.is_untidy


def test_a_big_wal_does_not_wait_for_a_rest(pages: Pages) -> None:
    for row in range(1, 100):
        add(pages, row)
        pages.checkpoint_if_big()

    assert sizes(pages)[1] < 36


def test_small_synced_commits_go_round_in_a_wal_that_does_not_grow(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_pages, "_SYNCED_COMMITS", 10)
    grown = []
    for row in range(1, 40):
        new = stores([stored(row)], Clock(0), count(1))
        assert pages.commit(new, 8, is_synced=True)
        pages.checkpoint_if_big()
        grown.append(sizes(pages)[1])

    assert grown[:11] == sorted(grown[:11])
    assert max(grown) == grown[10]


def test_a_rest_makes_both_files_small(pages: Pages) -> None:
    for row in range(1, 10):
        add(pages, row)
    pages.checkpoint()
    remove(pages, *range(1, 10))

    for _ in range(50):
        if not pages.is_untidy:
            break
        pages.tidy()

    database, wal = sizes(pages)
    assert database <= 1.1
    assert wal <= 4


def test_who_never_rests_gives_back_step_by_step(pages: Pages) -> None:
    for row in range(1, 61):
        add(pages, row)
    pages.checkpoint()
    remove(pages, *range(1, 60))
    pages.checkpoint()
    big, _ = sizes(pages)

    pages.shrink()
    pages.checkpoint()

    assert big > 60
    assert 40 < sizes(pages)[0] < 46
    for _ in range(10):
        pages.shrink()
        pages.checkpoint()
    assert sizes(pages)[0] < 3


def test_some_free_pages_are_left_to_who_does_not_rest(pages: Pages) -> None:
    for row in range(1, 31):
        add(pages, row)
    remove(pages, 1, 2, 3)
    pages.checkpoint()
    before = sizes(pages)

    pages.shrink()

    assert sizes(pages) == before


class _Full(sqlite3.Connection):
    """On a disk without room for a checkpoint."""

    code = sqlite3.SQLITE_FULL

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = self.code
            raise error
        return super().execute(sql, parameters)


def test_a_checkpoint_without_room_is_still_to_be_done(
    pages: Pages, file: JournalFile
) -> None:
    add(pages, 1)
    real = file.connection
    file.connection = full = _Full(":memory:")

    pages.checkpoint()

    assert pages.grown > MIB
    full.code = sqlite3.SQLITE_IOERR_FSYNC
    with pytest.raises(sqlite3.OperationalError):
        pages.checkpoint()
    full.close()
    file.connection = real


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal"])
def test_other_files_in_their_place_are_noticed(
    pages: Pages, lock: JournalLock, name: str
) -> None:
    pages.check()
    (lock.path / name).rename(lock.path / "aside")
    (lock.path / name).touch()

    with pytest.raises(OSError, match="replaced"):
        pages.check()
