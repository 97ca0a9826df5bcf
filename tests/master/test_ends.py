"""The ends of everything between the master and a process."""

import fcntl
import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from pymule.master.ends import open_ends


def open_fds() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_what_is_written_at_one_end_is_read_at_the_other(
    kind: socket.SocketKind,
) -> None:
    with ExitStack() as undo:
        ours, theirs = open_ends(kind, 4096, undo, undo)
        theirs.link.send(b"hello")
        os.write(theirs.stdout, b"out")
        os.write(theirs.stderr, b"err")

        assert ours.link.type == kind
        assert ours.link.recv(10) == b"hello"
        assert os.read(ours.stdout, 10) == b"out"
        assert os.read(ours.stderr, 10) == b"err"
        assert (ours.board, ours.stacks) == (theirs.board, theirs.stacks)


def test_ours_never_block_and_a_board_has_its_size_for_ever() -> None:
    with ExitStack() as undo:
        ours, theirs = open_ends(socket.SOCK_STREAM, 4096, undo, undo)

        assert ours.link.gettimeout() == 0
        assert not os.get_blocking(ours.stdout)
        assert not os.get_blocking(ours.stderr)
        assert os.get_blocking(theirs.stdout)
        assert os.fstat(ours.board).st_size == 4096
        assert fcntl.fcntl(ours.board, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        with pytest.raises(PermissionError):
            os.ftruncate(ours.board, 0)


def test_closing_leaves_nothing_open() -> None:
    before = open_fds()

    with ExitStack() as undo_theirs:
        ours, _ = open_ends(socket.SOCK_STREAM, 4096, ExitStack(), undo_theirs)
    ours.close()

    assert open_fds() == before
