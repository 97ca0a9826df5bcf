"""Locks between mules and clients, whatever happens to who has one."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from pymule.client.aio import Client
from pymule.errors import NotHolderError
from pymule.sync import Client as SyncClient
from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, LockRow, mule_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

# Each mule wants to be the one that works, and the others wait for their turn to see
# that it is done.
SEED = """
import os, pymule

async def main():
    async with pymule.lock("seed") as held:
        done = os.path.join(os.environ["FILES"], "seeded")
        if not os.path.exists(done):
            note("seeds", pymule.mule_id(), held.token)
            open(done, "w").close()
        note("passed", pymule.mule_id(), held.token)
    async for _ in pymule.messages():
        pass
"""

HOLDER = """
import asyncio, pymule

async def main():
    async for message in pymule.messages():
        async with pymule.lock("a") as held:
            note("holds", pymule.mule_id(), held.token)
            await asyncio.Event().wait()

def main_of_threads():
    from pymule.sync import lock, messages
    for message in messages():
        with lock("a") as held:
            note("holds", 2, held.token)
"""


class Holder:
    """A task that waits for the lock, and keeps it until it is told to leave."""

    def __init__(self, client: Client) -> None:
        self._tokens: list[int] = []
        self._task = asyncio.create_task(self._hold(client))

    async def _hold(self, client: Client) -> None:
        async with client.lock("a") as held:
            self._tokens.append(held.token)
            await asyncio.Event().wait()

    async def token(self) -> int:
        """Wait until it has the lock."""
        await wait_until(lambda: self._tokens, within=LONG)
        return self._tokens[0]

    async def leave(self) -> None:
        """End the block."""
        self._task.cancel()
        await asyncio.wait([self._task])


async def _waiting(daemon: Daemon, count: int) -> LockRow:
    """Wait until *count* stand in the line of the one lock."""
    status = await daemon.status_when(
        lambda status: [lock["waiting"] for lock in status["locks"]] == [count]
    )
    return status["locks"][0]


async def test_exactly_one_mule_of_a_farm_does_a_piece_of_work(daemon: Daemon) -> None:
    daemon.program("seed", SEED)
    daemon.configure("""
        [[mule]]
        program = "seed:main"
        count = 4
        [[farm]]
        name = "busy"
        mules = [1, 2, 3, 4]
    """)
    await daemon.start()
    await daemon.noted("passed", count=4)

    notes = daemon.notes()

    tokens = [int(token) for what, _, token in notes if what == "passed"]
    assert len([line for line in notes if line[0] == "seeds"]) == 1
    assert notes[0][0] == "seeds"
    assert tokens == sorted(set(tokens))
    assert await daemon.stop() == 0


async def test_a_mule_that_is_killed_leaves_its_lock_to_the_next_in_line(
    daemon: Daemon,
) -> None:
    daemon.program("holder", HOLDER)
    daemon.configure("""
        [[mule]]
        program = "holder:main"
        [[mule]]
        program = "holder:main_of_threads"
    """)
    await daemon.start()
    async with daemon.client() as client:
        await client.mule_msg("go", 1)
        await daemon.noted("holds", 1)
        await client.mule_msg("go", 2)
        lock = await _waiting(daemon, 1)
        pid = mule_of(await daemon.status(), 1)["pid"]
        assert pid is not None
        assert lock["pid"] == pid

        os.kill(pid, signal.SIGKILL)
        await daemon.noted("holds", 2)

    first, second, *_ = daemon.notes()
    assert int(second[2]) > int(first[2])


async def test_a_lock_ends_with_its_ttl_and_with_its_connection(
    daemon: Daemon,
) -> None:
    daemon.configure("[[mule]]")
    await daemon.start()
    async with daemon.client("one") as one, daemon.client("other") as other:
        held = await one.try_lock("a", ttl=20 * MS)
        assert held is not None
        first = Holder(other)
        tokens = [held.token, await first.token()]
        with pytest.raises(NotHolderError):
            await held.release()
        second = Holder(one)
        await _waiting(daemon, 1)

        await other.close()

        tokens.append(await second.token())
        await first.leave()
        await second.leave()
    assert tokens == sorted(set(tokens))


async def test_a_thousand_waiters_have_it_one_after_the_other(daemon: Daemon) -> None:
    daemon.configure("[[mule]]")
    await daemon.start()
    inside: list[int] = []
    tokens: list[int] = []

    async def turn(client: Client) -> None:
        async with client.lock("a") as held:
            assert not inside
            inside.append(held.token)
            await asyncio.sleep(0)
            tokens.append(inside.pop())

    async with daemon.client("one") as one, daemon.client("other") as other:
        first = await one.try_lock("a")
        assert first is not None
        turns = [asyncio.create_task(turn((one, other)[n % 2])) for n in range(1000)]
        await _waiting(daemon, 1000)
        await first.release()
        async with asyncio.timeout(LONG):
            await asyncio.gather(*turns)
        assert not await one.is_locked("a")

    assert len(tokens) == 1000
    assert tokens == sorted(tokens)


async def test_who_waits_stands_in_the_line_of_the_next_master(
    daemon: Daemon,
) -> None:
    daemon.configure("[[mule]]")
    await daemon.start()
    async with daemon.client("one") as one, daemon.client("other") as other:
        held = await one.try_lock("a")
        assert held is not None
        waiting = Holder(other)
        await _waiting(daemon, 1)

        await daemon.kill()
        await daemon.start()

        assert await waiting.token() > held.token
        await waiting.leave()
        with pytest.raises(NotHolderError):
            await held.release()


async def test_a_thread_waits_for_a_lock_that_a_task_has(daemon: Daemon) -> None:
    daemon.configure("[[mule]]")
    await daemon.start()
    thread_client = SyncClient(daemon.socket, name="thread")
    async with daemon.client() as client:
        async with client.lock(1) as held:
            waiting = asyncio.create_task(
                asyncio.to_thread(thread_client.lock_acquire, "1", None, LONG)
            )
            await _waiting(daemon, 1)
        token = await waiting
        assert await client.is_locked(1)
        await asyncio.to_thread(thread_client.close)
    assert token > held.token


def interrupted_at(place: int, work: Callable[[], None]) -> bool:
    """Do *work*; at so many entries of a client's function, raise what Ctrl-C does.

    At the entry of a function the interpreter looks for Unix signals.

    Returns:
        Whether there were so many entries.
    """
    left = place

    def trace(frame: FrameType, event: str, _arg: object) -> None:
        nonlocal left
        if event == "call" and "/pymule/client/" in frame.f_code.co_filename:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return left <= 0


def leaves_a_lock_behind(daemon: Daemon, place: int) -> bool | None:
    """Interrupt a thread in so many places; ``None`` if there are not so many."""

    def hold() -> None:
        with client.lock("a"):
            pass

    with SyncClient(daemon.socket) as client, SyncClient(daemon.socket) as other:
        if not interrupted_at(place, hold):
            return None
        try:
            with other.lock("a", timeout=500 * MS):
                return False
        except TimeoutError:
            return True


async def test_an_interruption_leaves_no_lock_behind_wherever_it_comes(
    daemon: Daemon,
) -> None:
    daemon.configure("[[mule]]")
    await daemon.start()
    left_behind = []
    for place in itertools.count(1):
        is_left = await asyncio.to_thread(leaves_a_lock_behind, daemon, place)
        if is_left is None:
            break
        if is_left:
            left_behind.append(place)

    assert left_behind == []
    assert place > 30
