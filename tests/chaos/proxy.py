"""A relay in front of the master's socket, whose connections can be broken.

What was under way is lost with a connection, and a frame may be torn in the middle.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ("Proxy",)

_READ_BYTES: Final = 64 * 1024


class _Relay:
    """One connection of a client, and one to the master for it."""

    def __init__(self, writers: list[asyncio.StreamWriter]) -> None:
        self.writers = writers
        # The next bytes that come are cut in the middle, then both ends close.
        self.is_to_tear = False

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                if self.is_to_tear:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    break
                writer.write(data)
                await writer.drain()
        self.abort()


class Proxy:
    """Listens at *path* for the master at *target*."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._server: asyncio.Server | None = None
        self._relays: dict[_Relay, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._accepted, self.path)

    async def close(self) -> None:
        """Break all connections, and listen no more."""
        if self._server is not None:
            self._server.close()
        for relay in list(self._relays):
            relay.abort()
        await asyncio.gather(*self._tasks)

    def cut(self, choice: int) -> bool:
        """Break one of the connections, at once or within what comes next."""
        relays = list(self._relays)
        if not relays:
            return False
        relay = relays[choice % len(relays)]
        if choice % 2:
            relay.is_to_tear = True
        else:
            relay.abort()
        return True

    def _accepted(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            theirs, ours = await asyncio.open_unix_connection(self._target)
        except OSError:
            # As if the master was gone at the first word.
            writer.transport.abort()
            return
        relay = _Relay([writer, ours])
        self._relays[relay] = None
        try:
            await asyncio.gather(relay.pump(reader, ours), relay.pump(theirs, writer))
        finally:
            relay.abort()
            del self._relays[relay]
