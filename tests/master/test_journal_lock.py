"""Whose a state directory is, and that only one has it."""

import os
import stat
from pathlib import Path

import pytest

from pymule.errors import JournalInUseError, JournalSetupError
from pymule.master.journal_lock import JournalLock

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
NOBODY = 65534


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_fds() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def test_the_directory_is_made_for_its_user_only(state_dir: Path) -> None:
    umask = os.umask(0)
    try:
        lock = JournalLock.take(state_dir)
    finally:
        os.umask(umask)

    assert mode_of(state_dir) == 0o700
    assert (state_dir / "journal.lock").read_text() == f"{os.getpid()}\n"
    assert mode_of(state_dir / "journal.lock") == 0o600
    lock.close()


def test_a_directory_whose_parent_is_missing_is_not_made(state_dir: Path) -> None:
    with pytest.raises(JournalSetupError, match="No such file"):
        JournalLock.take(state_dir / "below")


def test_others_may_look_at_the_names_in_it(state_dir: Path) -> None:
    state_dir.mkdir(mode=0o755)

    JournalLock.take(state_dir).close()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(
    state_dir: Path, mode: int
) -> None:
    state_dir.mkdir()
    state_dir.chmod(mode)
    fds = open_fds()

    with pytest.raises(JournalSetupError, match=f"mode {mode:04o}"):
        JournalLock.take(state_dir)

    assert list(state_dir.iterdir()) == []
    assert open_fds() == fds


@as_root
def test_a_directory_of_another_user_is_refused(state_dir: Path) -> None:
    state_dir.mkdir(mode=0o700)
    os.chown(state_dir, NOBODY, NOBODY)

    with pytest.raises(JournalSetupError, match="belongs to user 65534"):
        JournalLock.take(state_dir)


def test_a_link_in_place_of_the_directory_is_refused(
    state_dir: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    state_dir.symlink_to(victim)

    with pytest.raises(JournalSetupError, match="Not a directory"):
        JournalLock.take(state_dir)

    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("name", ["journal.lock", "journal.db", "journal.db-wal"])
def test_a_link_in_place_of_a_file_is_refused(
    state_dir: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o644)
    state_dir.mkdir(mode=0o700)
    (state_dir / name).symlink_to(victim)
    fds = open_fds()

    with pytest.raises(JournalSetupError):
        take_and_look(state_dir, name)

    assert victim.read_text() == "mine"
    assert mode_of(victim) == 0o644
    assert open_fds() == fds


def take_and_look(state_dir: Path, name: str) -> None:
    lock = JournalLock.take(state_dir)
    try:
        lock.has(name)
    finally:
        lock.close()


@pytest.mark.parametrize("name", ["journal.lock", "journal.db"])
def test_a_hard_link_to_a_file_elsewhere_is_refused(
    state_dir: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    state_dir.mkdir(mode=0o700)
    (state_dir / name).hardlink_to(victim)

    with pytest.raises(JournalSetupError, match="of this user alone"):
        take_and_look(state_dir, name)

    assert victim.read_text() == "mine"


def test_a_pipe_in_place_of_the_lock_does_not_hang(state_dir: Path) -> None:
    state_dir.mkdir(mode=0o700)
    os.mkfifo(state_dir / "journal.lock")

    with pytest.raises(JournalSetupError):
        JournalLock.take(state_dir)


def test_a_file_that_others_could_read_is_closed_to_them(state_dir: Path) -> None:
    lock = JournalLock.take(state_dir)
    (state_dir / "journal.db").touch()
    (state_dir / "journal.db").chmod(0o644)

    assert lock.has("journal.db")
    assert not lock.has("journal.db-wal")
    assert mode_of(state_dir / "journal.db") == 0o600
    lock.close()


def test_the_second_is_told_who_has_it(state_dir: Path) -> None:
    lock = JournalLock.take(state_dir)
    fds = open_fds()

    with pytest.raises(JournalInUseError, match=f"by process {os.getpid()}") as caught:
        JournalLock.take(state_dir)

    assert caught.value.pid == os.getpid()
    assert open_fds() == fds
    lock.close()


def test_a_holder_that_has_not_written_its_pid_yet_is_unknown(state_dir: Path) -> None:
    lock = JournalLock.take(state_dir)
    os.truncate(state_dir / "journal.lock", 0)

    with pytest.raises(JournalInUseError, match="by another process") as caught:
        JournalLock.take(state_dir)

    assert caught.value.pid is None
    lock.close()


def test_it_can_be_had_again_when_it_was_closed(state_dir: Path) -> None:
    fds = open_fds()
    JournalLock.take(state_dir).close()

    JournalLock.take(state_dir).close()

    assert open_fds() == fds


def test_a_copy_has_the_bytes_and_is_for_this_user(state_dir: Path) -> None:
    lock = JournalLock.take(state_dir)
    (state_dir / "journal.db").write_bytes(b"x" * 100_000)

    lock.copy("journal.db", "copy")
    lock.copy("missing", "nothing")

    assert (state_dir / "copy").read_bytes() == b"x" * 100_000
    assert mode_of(state_dir / "copy") == 0o600
    assert not lock.has("nothing")
    lock.close()


def test_names_with_a_time_are_never_given_twice(state_dir: Path) -> None:
    lock = JournalLock.take(state_dir)
    names = set()
    for _ in range(3):
        names.add(name := lock.free_name("journal.damaged"))
        os.close(lock.create(name))

    assert len(names) == 3
    assert all(name.startswith("journal.damaged-2") for name in names)
    lock.close()
