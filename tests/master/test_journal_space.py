"""The file that is given up when the disk is full."""

import stat
from pathlib import Path

import pytest

from pymule.master.journal_lock import JournalLock
from pymule.master.journal_space import RESERVE_BYTES, Space
from tests.chaos.disk import small_disk, why_no_mounts


def test_the_reserve_takes_its_room_at_once(tmp_path: Path) -> None:
    lock = JournalLock.take(tmp_path)
    space = Space(lock)

    info = (tmp_path / "journal.reserve").stat()

    assert space.has_reserve
    assert info.st_blocks * 512 >= RESERVE_BYTES
    assert stat.S_IMODE(info.st_mode) == 0o600
    lock.close()


def test_the_reserve_of_the_last_start_is_kept(tmp_path: Path) -> None:
    lock = JournalLock.take(tmp_path)
    Space(lock)
    inode = (tmp_path / "journal.reserve").stat().st_ino

    assert Space(lock).has_reserve

    assert (tmp_path / "journal.reserve").stat().st_ino == inode
    lock.close()


def test_what_was_given_up_is_made_again(tmp_path: Path) -> None:
    lock = JournalLock.take(tmp_path)
    space = Space(lock)

    space.give_up()

    assert not (tmp_path / "journal.reserve").exists()
    assert space.has_room(1)
    assert (tmp_path / "journal.reserve").exists()
    assert not space.has_room(1 << 60)
    lock.close()


def test_without_room_there_is_no_reserve_until_there_is() -> None:
    if (reason := why_no_mounts()) is not None:
        pytest.skip(reason)
    with small_disk(RESERVE_BYTES + 64 * 1024) as path:
        lock = JournalLock.take(path / "state")
        ballast = path / "ballast"
        ballast.write_bytes(b"x" * 128 * 1024)

        space = Space(lock)

        assert not space.has_reserve
        assert not lock.has("journal.reserve")
        assert not space.has_room(1)
        ballast.unlink()
        assert space.has_room(1)
        assert not space.has_room(128 * 1024)
        lock.close()
