"""Messages from stdin, in pieces as they come."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

__all__ = ("read_all", "read_lines", "split_lines")

_READ_BYTES: Final = 65_536


async def read_all(fd: int) -> bytes:
    """Return everything up to the end of *fd*."""
    return b"".join([piece async for piece in _pieces(fd)])


async def read_lines(fd: int) -> AsyncIterator[list[bytes]]:
    """Yield the lines of *fd*, without their newlines, as soon as they are whole.

    Those that came together are yielded together.
    """
    begun: list[bytes] = []
    async for piece in _pieces(fd):
        first, *more = piece.split(b"\n")
        begun.append(first)
        if more:
            lines = [b"".join(begun), *more]
            begun = [lines.pop()]
            yield lines
    if rest := b"".join(begun):
        yield [rest]


def split_lines(text: bytes) -> list[bytes]:
    """Return the lines of *text*; its last one may lack the newline."""
    lines = text.split(b"\n")
    return lines if lines[-1] else lines[:-1]


async def _pieces(fd: int) -> AsyncIterator[bytes]:
    while True:
        await _readable(fd)
        piece = os.read(fd, _READ_BYTES)
        if not piece:
            return
        yield piece


async def _readable(fd: int) -> None:
    """Wait until *fd* can be read without blocking.

    Not in a thread, which nothing could end while it waits for a terminal; and not
    by making the descriptor non-blocking, because the shell shares it.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:
        # A file, which epoll does not take, and which never makes anyone wait long.
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
