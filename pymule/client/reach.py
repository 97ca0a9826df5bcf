"""The way to the master, for both clients: where it is, who it is, what it allows."""

import os
import socket as socket_module
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, Self

from pymule.errors import MasterUnavailableError, RemoteProtocolError
from pymule.paths import default_socket
from pymule.sansio.session import PROTOCOL_VERSIONS
from pymule.sansio.slots import frozen
from pymule.sansio.target import Target
from pymule.sansio.verbs import Hello, JsonObject

__all__ = (
    "HELLO_TIMEOUT_S",
    "MAX_TRIES",
    "SocketPath",
    "Terms",
    "check_server",
    "connect",
    "find_socket",
    "hello",
    "join_ids",
    "message_limit",
    "new_client_id",
    "pause",
    "target_of",
    "to_bytes",
)

SocketPath = str | os.PathLike[str]

HELLO_TIMEOUT_S: Final = 10.0
"""How long the master may take for its WELCOME."""

MAX_TRIES: Final = 8
"""So often is a full backlog tried before a first connection is given up."""

_BACKOFF_S: Final = 0.05
_BACKOFF_MAX_S: Final = 2.0
_PEERCRED: Final = struct.Struct("3i")
# A frame of SUBMIT around one message: header fields, target, options, length.
_SUBMIT_ROOM: Final = 4096


def find_socket(socket: SocketPath | None = None) -> str:
    """Return the path of the master's socket: given, PYMULE_SOCKET or the default."""
    return os.fspath(
        socket
        or os.environ.get("PYMULE_SOCKET")
        or default_socket(os.environ, os.getuid())
    )


def connect(path: SocketPath) -> socket_module.socket:
    """Return a non-blocking socket that is connected to the master at *path*.

    Raises:
        BlockingIOError: The backlog is full, which a Unix socket tells at once and
            without waiting; try again.
        MasterUnavailableError: Nobody listens there, or somebody else does.
    """
    if "\0" in str(path):
        # At the beginning it would mean an abstract socket, which anybody can take.
        raise MasterUnavailableError(repr(str(path)), "its path has a NUL")
    sock = socket_module.socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.connect(os.fspath(path))
        check_server(sock, path)
    except (BlockingIOError, MasterUnavailableError):
        sock.close()
        raise
    except OSError as exc:
        sock.close()
        reason = exc.strerror or str(exc)
        raise MasterUnavailableError(str(path), reason) from exc
    return sock


def check_server(sock: socket_module.socket, path: SocketPath) -> None:
    """Check that who listens on *path* may have our messages.

    That is this user, root, or the owner of the directory: anybody else has put a
    socket where he should not have been able to.

    Raises:
        MasterUnavailableError: It is somebody else.
    """
    credentials = sock.getsockopt(
        socket_module.SOL_SOCKET, socket_module.SO_PEERCRED, _PEERCRED.size
    )
    _, uid, _ = _PEERCRED.unpack(credentials)
    if uid not in (0, os.getuid()) and uid != _owner_of_directory(path):
        raise MasterUnavailableError(
            str(path), f"user {uid} listens there, not you, root or the directory owner"
        )


def _owner_of_directory(path: SocketPath) -> int:
    # Not pathlib, which costs every sender 3 ms on Python 3.11.
    directory = os.path.dirname(path) or "."  # noqa: PTH120
    return os.stat(directory).st_uid  # noqa: PTH116


def new_client_id() -> str:
    """Return a name under which the master remembers what it has from a client."""
    return os.urandom(16).hex()


def hello(client: str, name: str) -> Hello:
    """Return the first verb of the client with the id *client*."""
    return Hello(
        {
            "protocol": list(PROTOCOL_VERSIONS),
            "client": client,
            "name": name or f"pid {os.getpid()}",
        }
    )


@frozen
class Terms:
    """What the master allows, as its WELCOME tells."""

    max_frame_bytes: int
    window_count: int
    window_bytes: int
    allow_pickle: bool = False
    # Another one is another master, which knows nothing of what was sent before.
    epoch: int = 0

    @classmethod
    def read(cls, welcome: JsonObject) -> Self:
        """Take the terms from what WELCOME carries.

        Raises:
            RemoteProtocolError: They are not all there.
        """
        match welcome:
            case {
                "max_frame_bytes": int(max_frame_bytes),
                "window_count": int(window_count),
                "window_bytes": int(window_bytes),
            }:
                allow_pickle = welcome.get("allow_pickle") is True
                epoch = welcome.get("epoch")
                return cls(
                    max_frame_bytes,
                    window_count,
                    window_bytes,
                    allow_pickle,
                    epoch if isinstance(epoch, int) else 0,
                )
            case _:
                raise RemoteProtocolError(f"WELCOME without limits: {welcome}")


def message_limit(max_frame_bytes: int) -> int:
    """Return the largest message, in bytes, that fits in a frame."""
    return max_frame_bytes - _SUBMIT_ROOM


def pause(failures: int) -> float:
    """Return the seconds to wait after so many *failures* in a row, from 0.

    With jitter, so that the clients of a restarted master do not all come at once.
    """
    longest = min(_BACKOFF_S * 2.0 ** min(failures, 16), _BACKOFF_MAX_S)
    # Not the random module, whose state a fork copies.
    return longest * (0.5 + os.urandom(1)[0] / 512)


@lru_cache(maxsize=1024, typed=True)
def target_of(where: str | int | None) -> str:
    """Return the target that a farm's name or a mule's number means.

    A function is meant by its whole target, ``func:MODULE:NAME``, which no farm can be
    called.

    Raises:
        ValueError: It cannot be the name of a farm or the number of a mule.
    """
    if isinstance(where, str) and where.startswith("func:"):
        return str(Target.for_message(where))
    if isinstance(where, str):
        return str(Target.of(farm=where))
    return str(Target.of(mule=where))


def to_bytes(message: bytes | bytearray | memoryview | str) -> bytes:
    """Return *message* as it travels; a text as UTF-8.

    Raises:
        TypeError: It is neither bytes nor a text.
    """
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    raise TypeError(f"message is {type(message).__name__}; allowed: bytes or str")


def join_ids(runs: Iterable[range]) -> Sequence[int]:
    """Return the ids of *runs*: as one range if there is no gap, else as a list."""
    ids = list(runs)
    if all(a.stop == b.start for a, b in pairwise(ids)):
        return range(ids[0].start, ids[-1].stop)
    return [number for run in ids for number in run]
