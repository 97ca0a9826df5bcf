import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pymule.errors import SocketInUseError, SocketSetupError
from pymule.master.listener import (
    Credentials,
    SocketClaim,
    peer_credentials,
)
from tests.conftest import MS

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
NOBODY = 65534


@pytest.fixture
def path(socket_dir: Path) -> Path:
    return socket_dir / "pymule.sock"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_fds() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


# A claim


def test_a_claim_listens_with_the_mode_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        claim = SocketClaim.open(path, 0o660, None)
    finally:
        os.umask(before)

    assert mode_of(path) == 0o660
    assert claim.path == str(path)
    assert not claim.socket.getblocking()
    assert not claim.socket.get_inheritable()
    connect(path).close()
    claim.close()


def test_the_socket_is_never_wider_open_than_its_mode(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []
    chmod = os.chmod

    def note(name: str, mode: int, *, dir_fd: int) -> None:
        info = path.lstat()
        with socket.socket(socket.AF_UNIX) as early:
            is_served = early.connect_ex(str(path)) == 0
        seen.append((stat.S_IMODE(info.st_mode), is_served))
        chmod(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "chmod", note)
    before = os.umask(0)
    try:
        SocketClaim.open(path, 0o666, None).close()
    finally:
        os.umask(before)

    assert seen == [(0o600, False)]


@as_root
def test_the_group_gets_the_socket(path: Path) -> None:
    claim = SocketClaim.open(path, 0o660, NOBODY)

    assert path.stat().st_gid == NOBODY
    assert mode_of(path) == 0o660
    claim.close()


def test_close_removes_the_socket_and_leaves_the_lock_file(path: Path) -> None:
    fds = open_fds()
    claim = SocketClaim.open(path, 0o600, None)

    claim.close()
    claim.close()

    assert [entry.name for entry in path.parent.iterdir()] == ["pymule.sock.lock"]
    assert open_fds() == fds


@pytest.mark.parametrize("deed", ["unlink", "rename", "replace", "directory"])
def test_a_socket_that_lost_its_name_is_made_anew(path: Path, deed: str) -> None:
    path = path.parent / "run" / "s"
    claim = SocketClaim.open(path, 0o660, None)
    fds = open_fds()
    assert claim.is_there()

    if deed == "unlink":
        path.unlink()
    elif deed == "rename":
        path.rename(path.with_name("other"))
    elif deed == "replace":
        path.unlink()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    else:
        path.parent.rename(path.parent.with_name("elsewhere"))
    assert not claim.is_there()
    claim.renew()

    assert claim.is_there()
    assert mode_of(path) == 0o660
    connect(path).close()
    assert len(open_fds()) == len(fds)
    claim.close()
    assert not path.exists()


def test_a_socket_is_not_made_anew_where_somebody_else_serves(path: Path) -> None:
    claim = SocketClaim.open(path, 0o600, None)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        with pytest.raises(SocketInUseError):
            claim.renew()
        claim.close()

        assert path.exists()


def test_a_socket_that_was_given_to_us_is_not_ours_to_make(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(path))
        given.listen()
        claim = SocketClaim.adopt(given)
        path.unlink()

        assert claim.is_there()
        with pytest.raises(AssertionError, match="given to us"):
            claim.renew()
        claim.close()


def test_close_leaves_a_socket_that_is_no_longer_ours(path: Path) -> None:
    claim = SocketClaim.open(path, 0o600, None)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))

        claim.close()

        assert path.is_socket()


def test_close_bears_a_socket_that_was_removed(path: Path) -> None:
    claim = SocketClaim.open(path, 0o600, None)
    path.unlink()

    claim.close()

    assert not path.exists()


def test_a_second_daemon_is_refused_and_touches_nothing(path: Path) -> None:
    claim = SocketClaim.open(path, 0o600, None)
    inode = path.stat().st_ino
    fds = open_fds()

    with pytest.raises(SocketInUseError, match="in use") as caught:
        SocketClaim.open(path, 0o600, None)

    assert caught.value.pid == os.getpid()
    assert path.stat().st_ino == inode
    assert open_fds() == fds
    connect(path).close()
    claim.close()


def test_a_holder_that_has_not_written_its_pid_yet_is_unknown(path: Path) -> None:
    claim = SocketClaim.open(path, 0o600, None)
    os.truncate(f"{path}.lock", 0)

    with pytest.raises(SocketInUseError) as caught:
        SocketClaim.open(path, 0o600, None)

    assert caught.value.pid is None
    claim.close()


def test_what_a_killed_daemon_left_is_replaced(path: Path) -> None:
    program = (
        "import signal, sys; from pathlib import Path;"
        "from pymule.master.listener import SocketClaim;"
        "claim = SocketClaim.open(Path(sys.argv[1]), 0o600, None);"
        "print('ready', flush=True); signal.pause()"
    )
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        daemon.send_signal(signal.SIGKILL)

    assert path.is_socket()
    claim = SocketClaim.open(path, 0o600, None)

    connect(path).close()
    claim.close()


def test_a_path_that_another_program_serves_is_not_stolen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        with pytest.raises(SocketInUseError) as caught:
            SocketClaim.open(path, 0o600, None)

        assert caught.value.pid == os.getpid()
        connect(path).close()


def test_a_path_whose_backlog_is_full_is_not_stolen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(0)

        with connect(path), pytest.raises(SocketInUseError) as caught:
            SocketClaim.open(path, 0o600, None)

        assert caught.value.pid is None
        assert path.is_socket()


def test_a_file_that_is_no_socket_is_kept(path: Path) -> None:
    path.write_text("precious")

    with pytest.raises(SocketSetupError, match="not a socket"):
        SocketClaim.open(path, 0o600, None)

    assert path.read_text() == "precious"


def test_a_socket_of_another_type_is_kept(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))

        with pytest.raises(SocketSetupError, match="wrong type"):
            SocketClaim.open(path, 0o600, None)

    assert path.is_socket()


def test_a_path_longer_than_the_kernel_takes_is_refused(path: Path) -> None:
    long = path.with_name("x" * (108 - len(str(path.parent)) - 1))
    fits = path.with_name("x" * (107 - len(str(path.parent)) - 1))

    with pytest.raises(SocketSetupError, match="longer than 107 bytes"):
        SocketClaim.open(long, 0o600, None)

    SocketClaim.open(fits, 0o600, None).close()


def test_a_failure_after_the_socket_was_made_removes_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chown(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    fds = open_fds()

    with pytest.raises(SocketSetupError, match="Operation not permitted"):
        SocketClaim.open(path, 0o600, 4711)

    assert not path.exists()
    assert open_fds() == fds


# Its directory


def test_one_missing_directory_is_created(socket_dir: Path) -> None:
    claim = SocketClaim.open(socket_dir / "run" / "pymule.sock", 0o600, None)

    assert mode_of(socket_dir / "run") & 0o022 == 0
    claim.close()


def test_two_missing_directories_are_an_error(socket_dir: Path) -> None:
    with pytest.raises(SocketSetupError, match="No such file"):
        SocketClaim.open(socket_dir / "a" / "b" / "pymule.sock", 0o600, None)


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_directory_that_everybody_can_write_is_refused(path: Path, mode: int) -> None:
    path.parent.chmod(mode)

    with pytest.raises(SocketSetupError, match="writable by everybody"):
        SocketClaim.open(path, 0o600, None)

    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("mode", [0o1777, 0o775, 0o700])
def test_a_sticky_or_private_directory_will_do(path: Path, mode: int) -> None:
    path.parent.chmod(mode)

    SocketClaim.open(path, 0o600, None).close()


@as_root
def test_a_directory_that_another_group_can_write_is_refused(path: Path) -> None:
    os.chown(path.parent, -1, NOBODY)
    path.parent.chmod(0o775)

    with pytest.raises(SocketSetupError, match="writable by group 65534"):
        SocketClaim.open(path, 0o600, None)


@as_root
def test_a_directory_of_another_user_is_refused(path: Path) -> None:
    os.chown(path.parent, NOBODY, -1)

    with pytest.raises(SocketSetupError, match="belongs to user 65534"):
        SocketClaim.open(path, 0o600, None)


def test_a_directory_that_is_a_link_is_refused(path: Path, socket_dir: Path) -> None:
    link = socket_dir / "link"
    (socket_dir / "real").mkdir()
    link.symlink_to(socket_dir / "real")

    with pytest.raises(SocketSetupError, match="Not a directory"):
        SocketClaim.open(link / path.name, 0o600, None)


# What an attacker may have planted there


@pytest.mark.parametrize("suffix", ["", ".lock"])
def test_a_planted_link_is_not_followed(path: Path, suffix: str) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.with_name(path.name + suffix).symlink_to(victim)

    with pytest.raises(SocketSetupError):
        SocketClaim.open(path, 0o600, None)

    assert victim.read_text() == "precious"


def test_a_planted_dangling_link_creates_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("victim"))

    with pytest.raises(SocketSetupError):
        SocketClaim.open(path, 0o600, None)

    assert not path.with_name("victim").exists()


def test_a_planted_hard_link_is_not_overwritten(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.with_name("pymule.sock.lock").hardlink_to(victim)

    with pytest.raises(SocketSetupError, match="not a file of this user"):
        SocketClaim.open(path, 0o600, None)

    assert victim.read_text() == "precious"


def test_a_planted_fifo_does_not_hang_the_daemon(path: Path) -> None:
    os.mkfifo(f"{path}.lock")

    with pytest.raises(SocketSetupError, match="not a file of this user"):
        SocketClaim.open(path, 0o600, None)


@as_root
def test_a_lock_file_of_another_user_is_refused(path: Path) -> None:
    lock = path.with_name("pymule.sock.lock")
    lock.touch()
    os.chown(lock, NOBODY, -1)

    with pytest.raises(SocketSetupError, match="not a file of this user"):
        SocketClaim.open(path, 0o600, None)


# Socket activation


def test_an_adopted_socket_is_served_and_stays_when_closed(path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()

    claim = SocketClaim.adopt(sock)

    assert claim.path == str(path)
    assert not claim.socket.getblocking()
    claim.close()
    assert sock.fileno() == -1
    assert path.is_socket()


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_only_a_listening_unix_socket_is_adopted(family: socket.AddressFamily) -> None:
    with (
        socket.socket(family) as sock,
        pytest.raises(SocketSetupError, match="not a listening Unix stream socket"),
    ):
        SocketClaim.adopt(sock)


def test_an_abstract_socket_is_not_adopted() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0pymule-test-{os.getpid()}")
        sock.listen()

        with pytest.raises(SocketSetupError, match=r"@pymule-test-.*abstract"):
            SocketClaim.adopt(sock)


# Who may connect


def test_the_kernel_says_who_is_there() -> None:
    ours, theirs = socket.socketpair()

    with ours, theirs:
        assert peer_credentials(ours) == Credentials(
            os.getpid(), os.getuid(), os.getgid(), tuple(os.getgroups())
        )


@as_root
@pytest.mark.parametrize(
    ("groups", "seen"),
    [
        ((), ()),
        ((4711, 33), (33, 4711)),
        # As many as Python can ask for, and one more.
        (range(1, 257), tuple(range(1, 257))),
        (range(1, 258), ()),
    ],
    ids=["none", "two", "most", "too many"],
)
def test_a_process_of_another_user_cannot_pretend(
    path: Path, groups: Sequence[int], seen: tuple[int, ...]
) -> None:
    path.parent.chmod(0o755)
    claim = SocketClaim.open(path, 0o666, None)
    claim.socket.settimeout(5000 * MS)
    program = "import socket, sys; socket.socket(1).connect(sys.argv[1])"

    with subprocess.Popen(  # noqa: S603
        ["/usr/bin/env", "python3", "-S", "-c", program, path],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[*groups],
    ) as client:
        connection, _ = claim.socket.accept()

    with connection:
        told = peer_credentials(connection)
        assert told == Credentials(client.pid, NOBODY, NOBODY, seen)
    claim.close()
