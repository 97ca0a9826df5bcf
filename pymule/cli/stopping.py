"""Stop the daemon and see it gone."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final

from pymule.client.aio import Client
from pymule.errors import ConnectionLostError
from pymule.sansio.verbs import JsonObject

__all__ = ("stop_daemon",)

# Once its connections are closed, the daemon only writes the rest of its log.
_LAST_BREATH_S: Final = 5.0


async def stop_daemon(client: Client, *, now: bool) -> None:
    """Ask for the stop, *now* or when the mules are done, and wait for the end.

    Cancelling is safe: the daemon stops all the same.
    """
    pid = (await client.call("ping")).get("pid")
    process = _open_process(pid if isinstance(pid, int) else 0)
    try:
        # Its log is followed only because that ends when the daemon does.
        async with aclosing(_follow(client)) as log:
            await anext(log)
            with suppress(ConnectionLostError):
                await client.call("stop", now=now)
            with suppress(ConnectionLostError):
                async for _ in log:
                    pass
        # Or it would look for the next master, and systemd would start one for that.
        await client.close()
        if process is not None:
            # Bounded, because the pid may be one of another namespace.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_BREATH_S):
                    await _ended(process)
    finally:
        if process is not None:
            os.close(process)


async def _follow(client: Client) -> AsyncGenerator[JsonObject]:
    async for answer in client.stream("logs", follow=True, lines=0):
        yield answer


def _open_process(pid: int) -> int | None:
    """Return a pidfd, or ``None`` where that process cannot be seen from here."""
    try:
        return os.pidfd_open(pid)
    except (OSError, OverflowError):
        return None


async def _ended(process: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process)
