"""Everything between the master and a process that it starts: who has which end."""

import fcntl
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass

__all__ = ("Ends", "open_ends")


@dataclass(frozen=True, slots=True)
class Ends:
    """One side's ends."""

    link: socket.socket
    board: int
    stacks: int
    stdout: int
    stderr: int

    def close(self) -> None:
        """Close all of them."""
        self.link.close()
        for fd in (self.board, self.stacks, self.stdout, self.stderr):
            os.close(fd)


def open_ends(
    kind: socket.SocketKind, board_bytes: int, ours_undo: ExitStack, undo: ExitStack
) -> tuple[Ends, Ends]:
    """Return our ends, non-blocking, and theirs; the memory files are in both.

    Args:
        kind: Of the socketpair that is the link.
        board_bytes: Size of the board, which cannot change.
        ours_undo: Closes our ends.
        undo: Closes those of theirs that are not ours, too.
    """
    link, their_link = socket.socketpair(socket.AF_UNIX, kind)
    ours_undo.callback(link.close)
    undo.callback(their_link.close)
    link.settimeout(0)
    board = _memory_file("pymule-board", ours_undo)
    os.ftruncate(board, board_bytes)
    # A mule that made its board smaller would kill the master, which reads it as
    # memory, by SIGBUS.
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(board, fcntl.F_ADD_SEALS, seals)
    stacks = _memory_file("pymule-stacks", ours_undo)
    stdout, their_stdout = _pipe(ours_undo, undo)
    stderr, their_stderr = _pipe(ours_undo, undo)
    return (
        Ends(link, board, stacks, stdout, stderr),
        Ends(their_link, board, stacks, their_stdout, their_stderr),
    )


def _memory_file(name: str, undo: ExitStack) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    undo.callback(os.close, fd)
    return fd


def _pipe(reader_undo: ExitStack, writer_undo: ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe()
    reader_undo.callback(os.close, reader)
    writer_undo.callback(os.close, writer)
    os.set_blocking(reader, False)
    return reader, writer
