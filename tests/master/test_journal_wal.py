"""Transactions in a WAL, those included that SQLite does not take."""

import shutil
from pathlib import Path

import pytest

from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_start import open_file
from pymule.master.journal_wal import commits_in

FRAME = 4096 + 24


def write(file: JournalFile, times: int) -> None:
    for number in range(times):
        sql = "INSERT OR REPLACE INTO paused VALUES (?)"
        file.run([(sql, (f"{number}",))], is_synced=False)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """What a kill leaves: four transactions in a WAL, behind them older ones."""
    lock = JournalLock.take(tmp_path / "alive")
    file = open_file(lock)
    write(file, 9)
    file.checkpoint()
    write(file, 4)
    shutil.copytree(lock.path, tmp_path / "killed")
    file.close()
    lock.close()
    return tmp_path / "killed"


def lost(state_dir: Path) -> int:
    lock = JournalLock.take(state_dir)
    file = open_file(lock)
    file.close()
    lock.close()
    return file.lost_commits


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_those_of_a_wal_that_ended_are_left_out(state_dir: Path) -> None:
    wal = state_dir / "journal.db-wal"

    assert wal.stat().st_size > 32 + 8 * FRAME
    assert commits_in(wal) == [1, 2, 3, 4]
    assert lost(state_dir) == 0


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_those_behind_a_flipped_bit_are_lost(state_dir: Path, frame: int) -> None:
    flip(state_dir / "journal.db-wal", 32 + frame * FRAME + 24 + 7)

    assert lost(state_dir) == 4 - frame


def test_a_write_that_was_cut_off_in_place_has_lost_nothing(state_dir: Path) -> None:
    wal = state_dir / "journal.db-wal"
    content = bytearray(wal.read_bytes())
    # The header of the next frame was written, and its page is still an older one.
    place = 32 + 4 * FRAME
    content[place : place + 24] = content[place - FRAME : place - FRAME + 24]
    wal.write_bytes(content)

    assert commits_in(wal) == [1, 2, 3, 4]
    assert lost(state_dir) == 0


def test_a_new_header_before_old_frames_has_lost_nothing(state_dir: Path) -> None:
    wal = state_dir / "journal.db-wal"
    content = bytearray(wal.read_bytes())
    # As SQLite begins a WAL anew: one more, and a number drawn at random.
    salt = (int.from_bytes(content[16:20]) + 1) % 2**32
    content[16:24] = salt.to_bytes(4) + b"\x5a" * 4
    wal.write_bytes(content)

    assert commits_in(wal) == []


@pytest.mark.parametrize("place", range(0, 32, 4))
def test_all_are_lost_with_the_header(state_dir: Path, place: int) -> None:
    flip(state_dir / "journal.db-wal", place)

    assert lost(state_dir) == 4


def test_a_wal_that_was_cut_off_has_lost_nothing_that_is_there(
    state_dir: Path,
) -> None:
    wal = state_dir / "journal.db-wal"
    wal.write_bytes(wal.read_bytes()[: 32 + 2 * FRAME + 100])

    assert commits_in(wal) == [1, 2]
    assert lost(state_dir) == 0


@pytest.mark.parametrize("content", [None, b"", b"x" * 31, b"x" * 5000])
def test_no_wal_and_no_sense_in_it_are_borne(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "wal").write_bytes(content)

    assert commits_in(tmp_path / "wal") in ([], [1])
