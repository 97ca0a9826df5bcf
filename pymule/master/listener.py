"""The listening socket: claimed safely, guarded, and accepted from in bounded bursts.

A claim is a lock first and a socket second. ``PATH.lock`` is locked with flock(2)
before the path itself is touched, and the kernel drops the lock with its process: so
a second daemon refuses without harm, and what a killed one left behind is known to be
stale. The lock file stays when its daemon ends, because removing it would let two
daemons hold locks on two files of one name.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pymule.errors import SocketInUseError, SocketSetupError
from pymule.master.logs import log
from pymule.sansio.verbs import Close

__all__ = (
    "Acceptor",
    "Credentials",
    "SocketClaim",
    "peer_credentials",
    "say_no",
)

logger: Final = logging.getLogger("pymule.master")

# sun_path holds 108 bytes with the final zero.
_MAX_PATH_BYTES: Final = 107
# The kernel cuts it to net.core.somaxconn.
_BACKLOG: Final = 4096
_PEERCRED: Final = struct.Struct("iII")
_GID: Final = struct.Struct("I")
# Python does not know the number and gives at most 1024 bytes: 256 groups.
_SO_PEERGROUPS: Final = 59
_GROUPS_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class _Made:
    """A socket of ours: how to undo it, and the file as it was made."""

    socket: socket.socket
    undo: ExitStack
    info: os.stat_result


class SocketClaim:
    """A listening Unix socket that is ours, and the lock that makes it so."""

    def __init__(self, path: str, sock: socket.socket, undo: ExitStack) -> None:
        self.path = path
        self.socket = sock
        self._undo = undo
        # Mode, group and file; None of a socket that was given to us.
        self._access: tuple[int, int | None] | None = None
        self._info: os.stat_result | None = None

    @classmethod
    def open(cls, path: Path, mode: int, gid: int | None) -> Self:
        """Claim *path*, listen there, and let *mode* and group *gid* have access.

        The directory must be ours or root's, no symbolic link, and not writable by
        others, unless it is sticky like ``/tmp``. It is created (0755, less the umask)
        when it alone is missing. The socket is never wider open than *mode*, not
        even for a moment, and nobody can connect before it has its final access.

        Raises:
            SocketInUseError: Somebody serves that path; nothing was touched.
            SocketSetupError: The path, its directory or what is there will not do.
        """
        target = Path(os.path.abspath(path))  # noqa: PTH100  (resolve() follows links)
        made = _make(target, mode, gid)
        claim = cls(str(target), made.socket, made.undo)
        claim._access, claim._info = (mode, gid), made.info
        return claim

    @classmethod
    def adopt(cls, sock: socket.socket) -> Self:
        """Serve a socket that systemd listens on: no lock, and nothing to remove.

        Raises:
            SocketSetupError: It is not a listening Unix stream socket.
        """
        path = os.fsdecode(sock.getsockname()) if _is_unix(sock) else f"fd {sock}"
        if not (_is_unix(sock) and _is_listening(sock)):
            raise SocketSetupError(path, "not a listening Unix stream socket")
        if path.startswith("\0"):
            # No permissions guard it, and whoever is first has the name.
            raise SocketSetupError(f"@{path[1:]}", "abstract; allowed: a file's path")
        sock.settimeout(0)
        undo = ExitStack()
        undo.callback(sock.close)
        return cls(path, sock, undo)

    def is_there(self) -> bool:
        """Tell whether the socket still has its name; one of systemd always has."""
        if self._info is None:
            return True
        try:
            found = os.lstat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (self._info.st_dev, self._info.st_ino)

    def renew(self) -> None:
        """Make the socket anew, with all that goes with it.

        Those who wait to be accepted from the old one lose their connection.

        Raises:
            SocketInUseError: Somebody else serves that path by now.
            SocketSetupError: As for :meth:`open`.
        """
        if self._access is None:
            raise AssertionError("a socket that was given to us is not ours to make")
        self.close()
        made = _make(Path(self.path), *self._access)
        self.socket, self._undo, self._info = made.socket, made.undo, made.info

    def close(self) -> None:
        """Remove the socket if it is still the one we made, then give up the lock."""
        self._undo.close()


def _make(path: Path, mode: int, gid: int | None) -> _Made:
    """Claim *path*; nothing is left if that fails."""
    try:
        with ExitStack() as undo:
            sock, info = _claim(path, mode, gid, undo)
            return _Made(sock, undo.pop_all(), info)
    except OSError as exc:
        raise SocketSetupError(str(path), _reason(exc)) from exc


def _claim(
    path: Path, mode: int, gid: int | None, undo: ExitStack
) -> tuple[socket.socket, os.stat_result]:
    """Do the steps of a claim, in order; *undo* learns how to reverse each."""
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise SocketSetupError(str(path), f"longer than {_MAX_PATH_BYTES} bytes")
    directory = _open_directory(path)
    undo.callback(os.close, directory)
    undo.callback(os.close, _take_lock(path, directory))
    _remove_stale(path, directory)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    undo.callback(sock.close)
    sock.settimeout(0)
    # A new socket file gets the mode of its descriptor, less the umask: the owner's
    # part now, the rest when the group is right.
    os.fchmod(sock.fileno(), mode & 0o700)
    sock.bind(os.fspath(path))
    made = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
    undo.callback(_unlink_if_same, path.name, directory, made)
    if gid is not None:
        os.chown(path.name, -1, gid, dir_fd=directory, follow_symlinks=False)
    os.chmod(path.name, mode, dir_fd=directory)
    sock.listen(_BACKLOG)
    return sock, made


def _open_directory(path: Path) -> int:
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(mode=0o755)
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    fault = _directory_fault(os.fstat(fd))
    if fault:
        os.close(fd)
        raise SocketSetupError(str(path), f"directory {path.parent} {fault}")
    return fd


def _directory_fault(info: os.stat_result) -> str:
    """Return why a socket in that directory could be replaced by others, or ``""``."""
    if info.st_uid not in (0, os.geteuid()):
        return f"belongs to user {info.st_uid}, not to this user or root"
    if info.st_mode & stat.S_ISVTX:
        return ""
    if info.st_mode & stat.S_IWOTH:
        return "is writable by everybody"
    # Where each user has a group of their own, umask 002 is usual.
    if info.st_mode & stat.S_IWGRP and info.st_gid != os.getegid():
        return f"is writable by group {info.st_gid}"
    return ""


def _take_lock(path: Path, directory: int) -> int:
    """Return the descriptor that holds the lock; our pid is in the file."""
    # Without blocking, or opening a planted FIFO would hang.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(f"{path.name}.lock", flags, 0o600, dir_fd=directory)
    try:
        _check_lock_file(path, os.fstat(fd))
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        pid = _locker(fd)
        os.close(fd)
        raise SocketInUseError(str(path), pid) from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_lock_file(path: Path, info: os.stat_result) -> None:
    # In a sticky directory others can plant a file, or a hard link to one of ours
    # that we would then overwrite.
    is_plain = stat.S_ISREG(info.st_mode) and info.st_nlink == 1
    if not is_plain or info.st_uid not in (0, os.geteuid()):
        raise SocketSetupError(str(path), f"{path}.lock is not a file of this user")


def _locker(fd: int) -> int | None:
    text = os.pread(fd, 20, 0).strip()
    # Empty for the instant between its lock and its write.
    return int(text) if text.isdigit() else None


def _remove_stale(path: Path, directory: int) -> None:
    """Remove a socket that nobody serves."""
    try:
        info = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(info.st_mode):
        raise SocketSetupError(str(path), "there is something that is not a socket")
    # We hold the lock, so no daemon of ours serves it; another program may, or a
    # daemon whose lock file was deleted.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            os.unlink(path.name, dir_fd=directory)
        except BlockingIOError:
            # Its backlog is full.
            raise SocketInUseError(str(path), None) from None
        else:
            raise SocketInUseError(str(path), peer_credentials(probe).pid)


def _unlink_if_same(name: str, directory: int, made: os.stat_result) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if os.path.samestat(found, made):
            os.unlink(name, dir_fd=directory)


def _is_unix(sock: socket.socket) -> bool:
    return (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_STREAM)


def _is_listening(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _reason(exc: OSError) -> str:
    where = f": {exc.filename}" if exc.filename else ""
    return f"{exc.strerror or exc}{where}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who connected, by the word of the kernel, as of the time of connect(2)."""

    # For people, and to know a mule's client; it may belong to another process since.
    pid: int
    uid: int
    gid: int
    # The supplementary ones that the process had, whatever the user database says.
    groups: tuple[int, ...] = ()


def peer_credentials(sock: socket.socket) -> Credentials:
    """Ask the kernel who is at the other end of a connected Unix socket.

    A process with more than 256 supplementary groups is told of with none.
    """
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    pid, uid, gid = _PEERCRED.unpack(raw)
    return Credentials(pid, uid, gid, _groups_of(sock))


def _groups_of(sock: socket.socket) -> tuple[int, ...]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        # Too many, or a kernel before 4.13; who is denied too much can be named.
        return ()
    return tuple(number for (number,) in _GID.iter_unpack(raw))


# So many newcomers in one turn of the loop; then the mules have theirs.
_BURST: Final = 64
_PAUSE: Final = 0.1
# After a burst of which nobody was let in, for they may all come again at once: so many
# times as long as that took. A pause of a fixed length would let them fill the backlog,
# and a command would find no place in it.
_REFUSED_REST: Final = 3.0
_NO_FD_LEFT: Final = (errno.EMFILE, errno.ENFILE)


def say_no(sock: socket.socket, reason: str) -> None:
    """Tell a newcomer why it is not let in; its socket must not block."""
    with contextlib.suppress(OSError):
        sock.send(Close({"reason": reason}).pack())


class Acceptor:
    """Accept connections and hand each to *on_accept* with its credentials.

    When the process has no descriptor left, newcomers are accepted with one kept in
    reserve and closed at once, so that they learn it instead of waiting, and accepting
    pauses for 100 ms. The connections that exist and the mules are not concerned.

    Args:
        loop: asyncio's or uvloop's.
        sock: Listening and non-blocking; stays the caller's.
        on_accept: Owns the socket it gets, which is non-blocking; returns whether it
            lets the newcomer in. It may close the acceptor.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        on_accept: Callable[[socket.socket, Credentials], bool],
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._on_accept = on_accept
        self._reserve: int | None = _open_reserve()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = True
        loop.add_reader(sock.fileno(), self._accept_burst)

    def close(self) -> None:
        """Accept no more; call it before closing the socket. A second call is fine."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._close_reserve()

    def _accept_burst(self) -> None:
        refused = 0
        began = time.monotonic()
        for _ in range(_BURST):
            try:
                connection, _address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as exc:
                # Whatever it is, the socket stays readable: without a pause the
                # loop would do nothing else.
                self._pause(exc)
                return
            connection.settimeout(0)
            refused += not self._on_accept(connection, peer_credentials(connection))
            if not self._is_open:
                return
        if refused == _BURST:
            self._wait(_REFUSED_REST * (time.monotonic() - began))

    def _pause(self, exc: OSError) -> None:
        refused = self._refuse_waiting() if exc.errno in _NO_FD_LEFT else 0
        log(
            logger,
            logging.ERROR,
            "cannot accept connections",
            reason=_reason(exc),
            refused=refused,
            pause_s=_PAUSE,
        )
        self._wait(_PAUSE)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._timer = self._loop.call_later(seconds, self._resume)

    def _refuse_waiting(self) -> int:
        """Turn away those who wait, at most a burst, by means of the reserve."""
        refused = 0
        self._close_reserve()
        with contextlib.suppress(OSError):
            while refused < _BURST:
                with self._socket.accept()[0] as newcomer:
                    newcomer.settimeout(0)
                    say_no(newcomer, "the master has no descriptors left")
                refused += 1
        self._reserve = _open_reserve()
        return refused

    def _resume(self) -> None:
        if self._reserve is None:
            self._reserve = _open_reserve()
        self._loop.add_reader(self._socket.fileno(), self._accept_burst)

    def _close_reserve(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None


def _open_reserve() -> int | None:
    """Return a descriptor that can be given up for a newcomer, if there is one."""
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None
