"""Sending without a client in hand: one client for each event loop, made on first use.

It lives as long as its loop: when ``asyncio.run`` ends, what was sent is flushed and
the connection closed.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from threading import get_ident

from pymule.client.aio import Client
from pymule.sansio.options import pack_options
from pymule.sansio.outbox import MESSAGE_COST

__all__ = ("default_client", "farm_msg", "farm_msgs", "flush", "mule_msg", "mule_msgs")

# By thread, since a thread runs one loop at a time and its number is found in 34 ns
# where the running loop takes 133 (CPython 3.11 asks the kernel for the pid).
_clients: dict[int, Client] = {}
# Keeps each client's guard alive until its loop closes it.
_guards: dict[Client, AsyncGenerator[None]] = {}
_opening: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}


async def mule_msg(
    message: bytes | str,
    mule: int | None = None,
    *,
    confirm: bool = True,
    delay: float = 0,
    priority: int = 0,
    ttl: float | None = None,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> int:
    """Send *message* to mule number *mule*, or to the first available one.

    Arguments, result and errors are those of :meth:`pymule.Client.farm_msg`.
    """
    if confirm or delay or priority or ttl or key or headers:
        client = await default_client()
        options = pack_options(
            delay=delay, priority=priority, ttl=ttl, key=key, headers=headers
        )
        return await client.send(mule, message, options, confirm=confirm)
    if (found := _clients.get(get_ident())) is not None and isinstance(message, bytes):
        pile = found.piles.get(mule)
        room = -1 if pile is None else pile.room - len(message) - MESSAGE_COST
        if pile is not None and room >= 0 and found.loop.is_running():
            pile.room = room
            pile.messages.append(message)
            return 0
    client = await default_client()
    return await client.send(mule, message, confirm=False)


async def farm_msg(
    farm: str,
    message: bytes | str,
    *,
    confirm: bool = True,
    delay: float = 0,
    priority: int = 0,
    ttl: float | None = None,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> int:
    """Send *message* to one mule of *farm*.

    Arguments, result and errors are those of :meth:`pymule.Client.farm_msg`.
    """
    if confirm or delay or priority or ttl or key or headers:
        client = await default_client()
        options = pack_options(
            delay=delay, priority=priority, ttl=ttl, key=key, headers=headers
        )
        return await client.send(farm, message, options, confirm=confirm)
    if (found := _clients.get(get_ident())) is not None and isinstance(message, bytes):
        # The open pile of this loop turn: nothing to await and nothing to look up.
        pile = found.piles.get(farm)
        room = -1 if pile is None else pile.room - len(message) - MESSAGE_COST
        if pile is not None and room >= 0 and found.loop.is_running():
            pile.room = room
            pile.messages.append(message)
            return 0
    client = await default_client()
    return await client.send(farm, message, confirm=False)


async def mule_msgs(
    messages: Iterable[bytes | str],
    mule: int | None = None,
    *,
    confirm: bool = True,
    headers: dict[str, str] | None = None,
) -> Sequence[int]:
    """Send many *messages* and wait once; see :meth:`pymule.Client.farm_msgs`."""
    client = await default_client()
    return await client.mule_msgs(messages, mule, confirm=confirm, headers=headers)


async def farm_msgs(
    farm: str,
    messages: Iterable[bytes | str],
    *,
    confirm: bool = True,
    headers: dict[str, str] | None = None,
) -> Sequence[int]:
    """Send many *messages* and wait once; see :meth:`pymule.Client.farm_msgs`."""
    client = await default_client()
    return await client.farm_msgs(farm, messages, confirm=confirm, headers=headers)


async def flush() -> None:
    """Wait until all that this loop sent has its answer; see the client's ``flush``."""
    client = await default_client()
    await client.flush()


async def default_client() -> Client:
    """Return the client of the running loop; connect it on first use.

    Raises:
        MasterUnavailableError: Nobody answers at the socket.
    """
    loop = asyncio.get_running_loop()
    client = _clients.get(get_ident())
    if client is not None and client.loop is loop:
        return client
    lock = _opening.setdefault(loop, asyncio.Lock())
    async with lock:
        client = _clients.get(get_ident())
        if client is None or client.loop is not loop:
            client = await Client().__aenter__()
            _clients[get_ident()] = client
            guard = _guards[client] = _close_with_loop(client)
            await anext(guard)
    _opening.pop(loop, None)
    return client


async def _close_with_loop(client: Client) -> AsyncGenerator[None]:
    """Be an open generator, which the loop closes when it shuts down."""
    try:
        yield
    finally:
        _guards.pop(client, None)
        if _clients.get(get_ident()) is client:
            del _clients[get_ident()]
        await client.__aexit__(None, None, None)


def _forget_in_child() -> None:
    """The sockets belong to the parent; a child opens its own."""
    _clients.clear()
    _guards.clear()
    _opening.clear()


os.register_at_fork(after_in_child=_forget_in_child)
