"""From the words of ``pymule send``, or its stdin, to messages that the daemon has."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from pymule.cli.stdin import read_all, read_lines, split_lines
from pymule.client.aio import Client
from pymule.errors import PymuleError

__all__ = ("STDIN", "batches_of", "send_batches")

STDIN: Final = "-"
"""The message that stands for what is on stdin."""


async def batches_of(
    message: str | None, stdin: int, *, is_lines: bool
) -> AsyncIterator[list[bytes]]:
    """Yield the messages that the words of a command ask for, as they become known.

    Args:
        message: A text as the shell gave it, be it UTF-8 or not; ``None`` and
            :data:`STDIN` are what the descriptor *stdin* has.
        stdin: Where to read.
        is_lines: Each line is one message.
    """
    if message is not None and message != STDIN:
        body = os.fsencode(message)
        yield split_lines(body) if is_lines else [body]
    elif is_lines:
        async for lines in read_lines(stdin):
            yield lines
    else:
        yield [await read_all(stdin)]


async def send_batches(
    client: Client,
    where: str | int | None,
    batches: AsyncIterator[list[bytes]],
    on_taken: Callable[[Sequence[int]], None],
    *,
    options: bytes = b"",
) -> None:
    """Send *batches* one after the other to the farm or mule *where*.

    Args:
        client: Is connected.
        where: As for ``Client.send``.
        batches: The next is asked for when the daemon has taken the one before.
        on_taken: Called with the ids of each batch.
        options: Of each message, packed.

    Raises:
        PymuleError: A message was refused; a note tells how many were taken before.
    """
    taken = 0
    async for bodies in batches:
        try:
            ids = await client.send_many(where, bodies, options)
        except PymuleError as exc:
            if taken:
                exc.add_note(f"messages taken before: {taken}")
            raise
        on_taken(ids)
        taken += len(bodies)
