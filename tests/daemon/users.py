"""Other users, as a test can be them: for a moment itself, or in a child process."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

__all__ = ("NOBODY", "as_root", "as_user", "connect_as", "start_as")

NOBODY: Final = 65_534
"""A user that every machine has and none of its files belongs to."""

as_root: Final = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs to be root, to be another user"
)

# Says what became of its connect, sends what it is given, and says what came back.
_CONNECT: Final = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect(sys.argv[1])
    sock.sendall(bytes.fromhex(sys.argv[2]))
    while data := sock.recv(65536):
        print(data.hex(), end="")
except OSError as exc:
    print(type(exc).__name__)
"""


@contextmanager
def as_user(uid: int, groups: Sequence[int] = ()) -> Iterator[None]:
    """Be *uid*, in its group and in *groups*; whoever connects in here is that user."""
    own_groups = os.getgroups()
    os.setgroups(groups)
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(own_groups)


@contextmanager
def start_as(
    uid: int, program: str, *words: str, via: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run *program* as *uid*, and kill it if it is still there at the end.

    It is run by the system's Python, because ours may be out of that user's reach.
    """
    process = subprocess.Popen(  # noqa: S603  (a program of the test, no shell)
        ["/usr/bin/env", *via, "python3", "-I", "-S", "-c", program, *words],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def connect_as(uid: int, path: Path, data: bytes = b"") -> str:
    """Connect as *uid* and send *data*; return the answer in hex, or the error."""
    with start_as(uid, _CONNECT, str(path), data.hex()) as process:
        said, _ = process.communicate()
    return said.strip()
