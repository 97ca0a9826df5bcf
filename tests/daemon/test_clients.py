"""Clients that misbehave are told so and dropped; the others notice nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import pytest

from pymule.sansio.batch import Batch
from pymule.sansio.frame import HEADER, Opcode, encode_frame
from pymule.sansio.session import Role, Session
from pymule.sansio.verbs import (
    Call,
    Close,
    Confirm,
    Hello,
    JsonObject,
    Submit,
    Verb,
    Welcome,
)
from tests.conftest import MS
from tests.daemon.harness import LONG, Daemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

ECHO = """
import pymule

async def main():
    async for message in pymule.messages():
        note("did", message.body.decode())
"""

IMPATIENT = {"patience": {"hello_s": 0.3, "frame_s": 1.5, "stall_s": 0.3, "rest_s": 9}}


class RawClient:
    """A client that sends whatever bytes the test gives it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._session = Session(Role.CLIENT, Role.MASTER)
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def connected(cls, daemon: Daemon) -> AsyncIterator[Self]:
        """Connect; say nothing yet."""
        reader, writer = await asyncio.open_unix_connection(str(daemon.socket))
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            await asyncio.wait([asyncio.ensure_future(_closed(writer))])

    async def greet(self) -> None:
        """Shake hands."""
        hello: JsonObject = {
            "protocol": [1, 1],
            "client": f"raw {id(self)}",
            "name": "raw",
        }
        self.writer.write(Hello(hello).pack())
        (welcome,) = await self.answers()
        assert isinstance(welcome, Welcome)

    async def answers(self) -> list[Verb]:
        """Return the next verbs of the master; none when it has closed."""
        verbs: list[Verb] = []
        async with asyncio.timeout(LONG):
            while not verbs and (data := await self._reader.read(65_536)):
                verbs = self._session.receive_data(data)
        return verbs

    async def confirmed(self) -> int:
        """Return the sequence of the one message that is confirmed next."""
        answers = await self.answers()
        match answers:
            case [Confirm([(sequence, 1, _)])]:
                return sequence
            case _:
                raise AssertionError(f"no confirm of one message: {answers}")

    async def farewell(self) -> str:
        """Return the reason for which the master closes the connection."""
        (close,) = await self.answers()
        assert isinstance(close, Close)
        assert await self.answers() == []
        return str(close.value["reason"])


async def _closed(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.wait_closed()
    except ConnectionError:
        return


@asynccontextmanager
async def a_daemon_that_serves_others(daemon: Daemon) -> AsyncIterator[None]:
    """Start it; at the end, its other client was served and only that is left."""
    daemon.program("work", ECHO)
    daemon.configure("""
        max_frame_bytes = 1_048_576
        [[mule]]
        program = "work:main"
    """)
    await daemon.start(policies=IMPATIENT)
    async with daemon.client("other") as other:
        await other.mule_msg("before")
        yield
        async with asyncio.timeout(LONG):
            await other.mule_msg("after")
        await daemon.noted("did", "after")
        await daemon.status_when(
            lambda status: [c["name"] for c in status["clients"]] == ["other", "status"]
        )
    (spawned,) = daemon.records("mule spawned")
    assert spawned
    assert await daemon.stop() == 0


def a_submit(sequence: int) -> bytes:
    batch = Batch.of([b"raw"])
    return Submit(sequence, 0, 1, "mule", b"", batch.payload).pack()


NO_HELLO = {
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", "not a pymule frame"),
    "no opcode": (HEADER.pack(4, 200, 0, 0) + b"abcd", "opcode"),
    "no JSON": (encode_frame(Opcode.HELLO, b"not json"), "not JSON"),
    "another version": (
        Hello({"protocol": [99, 99], "client": "x", "name": ""}).pack(),
        "protocol versions 1 to 1 are spoken here",
    ),
    "no name": (Hello({"protocol": [1, 1]}).pack(), "client id None"),
    "no hello": (a_submit(1), "SUBMIT from a client while"),
    "half a hello": (Hello({}).pack()[:-1], "no HELLO within 0.3 seconds"),
    "silence": (b"", "no HELLO within 0.3 seconds"),
}

BROKEN_RULES = {
    "too big a frame": (
        HEADER.pack(1_048_577, Opcode.SUBMIT, 0, 0),
        "frame of 1048577 bytes; max_frame_bytes is 1048576",
    ),
    "4 GiB": (
        HEADER.pack(0xFFFF_FFFF, Opcode.SUBMIT, 0, 0),
        "frame of 4294967295 bytes",
    ),
    "half a frame": (
        a_submit(1)[:-1],
        "not the rest of a frame within 1.5 seconds",
    ),
    "not a submit": (encode_frame(Opcode.SUBMIT, b"\xff" * 40), "SUBMIT"),
    "a wrong count": (
        Submit(1, 0, 3, "mule", b"", Batch.of([b"one"]).payload).pack(),
        "batch",
    ),
    "a wrong target": (
        Submit(1, 0, 1, "no target", b"", Batch.of([b"x"]).payload).pack(),
        "no target",
    ),
    "a mule's verb": (encode_frame(Opcode.READY, b""), "READY from a client"),
    "garbage behind a message": (a_submit(1) + b"\xff" * 100, "not a pymule frame"),
}


async def test_who_does_not_say_a_proper_hello_is_told_why_and_dropped(
    daemon: Daemon,
) -> None:
    async with a_daemon_that_serves_others(daemon):
        for name, (data, reason) in NO_HELLO.items():
            async with RawClient.connected(daemon) as client:
                client.writer.write(data)

                assert reason in await client.farewell(), name


async def test_who_breaks_a_rule_is_told_which_and_dropped(daemon: Daemon) -> None:
    async with a_daemon_that_serves_others(daemon):
        for name, (data, reason) in BROKEN_RULES.items():
            async with RawClient.connected(daemon) as client:
                await client.greet()
                client.writer.write(data)

                assert reason in await client.farewell(), name

    records = daemon.records("client broke the protocol")
    assert [record["client"] for record in records] == ["raw"] * len(BROKEN_RULES)


async def test_who_leaves_in_the_middle_of_a_frame_is_forgotten(
    daemon: Daemon,
) -> None:
    async with (
        a_daemon_that_serves_others(daemon),
        RawClient.connected(daemon) as client,
    ):
        await client.greet()
        client.writer.write(a_submit(1)[:-1])
        await client.writer.drain()


async def test_who_is_always_in_the_middle_of_a_frame_is_in_time(
    daemon: Daemon,
) -> None:
    async with (
        a_daemon_that_serves_others(daemon),
        RawClient.connected(daemon) as client,
    ):
        await client.greet()
        loop = asyncio.get_running_loop()
        start, sequence = loop.time(), 1
        client.writer.write(a_submit(1)[:10])
        while loop.time() < start + 1:
            # The rest of this frame and the beginning of the next.
            rest = a_submit(sequence)[10:]
            client.writer.write(rest + a_submit(sequence + 1)[:10])
            assert await client.confirmed() == sequence
            sequence += 1
        client.writer.write(a_submit(sequence)[10:])
        assert await client.confirmed() == sequence


async def test_who_does_not_read_is_dropped_before_it_costs_memory(
    daemon: Daemon,
) -> None:
    async with a_daemon_that_serves_others(daemon):
        before = (await daemon.status())["rss_bytes"]
        async with RawClient.connected(daemon) as client:
            await client.greet()
            calls = b"".join(Call(n, {"method": "status"}).pack() for n in range(1000))
            for _ in range(100):
                # Blocks for good as soon as the master stops reading.
                client.writer.write(calls)
            await daemon.logged("client broke the protocol")
        after = (await daemon.status())["rss_bytes"]

    (record,) = daemon.records("client broke the protocol")
    assert record["error"] == "nothing read within 0.3 seconds"
    assert after - before < 32 * 1024 * 1024
