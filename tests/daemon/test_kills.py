"""200 SIGKILLs under load: what was confirmed is handled, and attempts are known.

A quarter of them by each seed: a test alone stays well below the timeouts.
"""

import asyncio
import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final

import pytest

from pymule.client.aio import Client
from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, Status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

SEEDS: Final = (1, 2, 3, 4)
KILLS: Final = 200 // len(SEEDS)
MAX_CRASHES: Final = 3

# "took" is noted before and "did" after the work, which is a short wait, so that most
# kills find something in hand.
ASYNC_PROGRAM = """
import asyncio
import pymule

async def main():
    await asyncio.gather(plain(), careful(), careful())

async def plain():
    async for message in pymule.messages():
        await work(message)

async def careful():
    while True:
        async with pymule.receive() as message:
            await work(message)

async def work(message):
    note("took", message.id, message.attempt, message.body.decode())
    await asyncio.sleep(0.03)
    note("did", message.id, message.attempt, message.body.decode())
"""

BLOCKING_PROGRAM = """
import threading, time
from pymule.sync import messages

def main():
    threading.Thread(target=work).start()
    work()

def work():
    for message in messages():
        note("took", message.id, message.attempt, message.body.decode())
        time.sleep(0.03)
        note("did", message.id, message.attempt, message.body.decode())
"""

# Never lets its loop turn between two messages, so that a kill finds some which are
# done and not acknowledged.
HASTY_PROGRAM = """
import time
import pymule

async def main():
    async for message in pymule.messages():
        note("took", message.id, message.attempt, message.body.decode())
        time.sleep(0.005)
        note("did", message.id, message.attempt, message.body.decode())
"""

SETTINGS = f"""
    [shared]
    max_messages = 100
    max_crashes = {MAX_CRASHES}

    [[mule]]
    program = "gentle:main"
    count = 3

    [[mule]]
    program = "hasty:main"
    credit = 20

    [[mule]]
    program = "blunt:main"
    count = 2

    [[farm]]
    name = "left"
    mules = [1, 2, 5]
    max_messages = 100
    max_crashes = {MAX_CRASHES}

    [[farm]]
    name = "right"
    mules = [3, 4, 6]
    max_messages = 100
    max_crashes = {MAX_CRASHES}
"""


class Sender:
    """Sends numbered messages until told to stop; knows what was confirmed."""

    def __init__(self, client: Client, name: str, farm: str | None) -> None:
        self._client = client
        self._name = name
        self._farm = farm
        self.is_told_to_stop = False
        # By body, the id that the master gave; 0 where it was not asked for.
        self.confirmed: dict[str, int] = {}

    async def send_one_by_one(self) -> None:
        """Wait for each message."""
        while not self.is_told_to_stop:
            body = f"{self._name}-{len(self.confirmed)}"
            self.confirmed[body] = await self._client.send(self._farm, body)

    async def stream(self) -> None:
        """Wait for none, but for each fifty: what is sent has to be worked off."""
        while not self.is_told_to_stop:
            for _ in range(50):
                body = f"{self._name}-{len(self.confirmed)}"
                await self._client.send(self._farm, body, confirm=False)
                self.confirmed[body] = 0
            await self._client.flush()


@pytest.mark.parametrize("seed", SEEDS)
async def test_kills_lose_nothing_and_each_attempt_is_known(
    daemon: Daemon, seed: int
) -> None:
    daemon.program("gentle", ASYNC_PROGRAM)
    daemon.program("hasty", HASTY_PROGRAM)
    daemon.program("blunt", BLOCKING_PROGRAM)
    daemon.configure(SETTINGS)
    quick = {"backoff_s": 0.01, "backoff_max_s": 0.01, "max_deaths": 10 * KILLS}
    await daemon.start(policies={"restarts": quick})

    async with daemon.client("a") as one, daemon.client("b") as other:
        senders = [
            Sender(one, "a", None),
            Sender(one, "b", "left"),
            Sender(other, "c", "right"),
            Sender(other, "d", "left"),
        ]
        async with asyncio.TaskGroup() as tasks:
            for sender in senders[:2]:
                tasks.create_task(sender.stream())
            for sender in senders[2:]:
                tasks.create_task(sender.send_one_by_one())
            await _kill_mules(daemon, seed)
            for sender in senders:
                sender.is_told_to_stop = True
    end = await daemon.status_when(_is_all_settled)

    confirmed = {b: i for sender in senders for b, i in sender.confirmed.items()}
    _check_history(daemon, confirmed, end)
    assert await daemon.stop() == 0


async def _kill_mules(daemon: Daemon, seed: int) -> None:
    """Kill mules, drawn by the seed, at moments that the work decides."""
    draw = random.Random(seed)  # noqa: S311  (repeatable, keeps no secret)
    killed: set[int] = set()
    while len(killed) < KILLS:
        rows = (await daemon.status())["mules"]
        up = [r["pid"] for r in rows if r["state"] == "up"]
        fresh = [pid for pid in up if pid is not None and pid not in killed]
        for pid in draw.sample(fresh, min(len(fresh), 2, KILLS - len(killed))):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        await wait_until(_grows(daemon, by=draw.randrange(1, 300)), within=LONG)


def _grows(daemon: Daemon, by: int) -> Callable[[], bool]:
    """Return a condition: the notes got *by* bytes longer since now."""
    size = daemon.notes_bytes()
    return lambda: daemon.notes_bytes() >= size + by


def _is_all_settled(status: Status) -> bool:
    queues = status["queues"]
    return all(q["ready"] + q["leased"] + q["delayed"] == 0 for q in queues)


def _check_history(daemon: Daemon, confirmed: dict[str, int], end: Status) -> None:
    deaths: Counter[int] = Counter()
    buried: set[int] = set()
    for record in daemon.records("messages redelivered"):
        deaths.update(_ids(record["in_hand"]))
        buried.update(_ids(record["dead"]))
    attempts: dict[int, list[int]] = defaultdict(list)
    body_of: dict[int, str] = {}
    done: set[str] = set()
    for what, number, attempt, body in daemon.notes():
        if what == "took":
            attempts[int(number)].append(int(attempt))
            assert body_of.setdefault(int(number), body) == body
        else:
            done.add(body)

    exits = daemon.records("mule exited")
    others = [exit_ for exit_ in exits if exit_["reason"] != "signal 9 (SIGKILL)"]
    assert others == [], daemon.output("stderr")
    assert len(exits) == KILLS
    # Nothing is lost, nothing invented.
    dead_bodies = {body_of[number] for number in buried if number in body_of}
    assert done <= set(confirmed)
    assert set(confirmed) - done <= dead_bodies
    ids = {body: number for number, body in body_of.items()}
    assert all(ids.get(b) == i for b, i in confirmed.items() if i and b in done)
    # Only a death spends an attempt, so each delivery knows the deaths before it. A
    # mule may die before it notes what it took, so an attempt can be missing.
    for message, seen in attempts.items():
        assert seen == sorted(set(seen)), f"message {message} took {seen}"
        last = deaths[message] + (0 if message in buried else 1)
        assert seen[-1] <= last, f"message {message}: {seen}, {deaths[message]} deaths"
        assert seen[-1] == last or message in buried
    # A message is given up for its deaths only, and for as many as are allowed.
    assert {n for n, count in deaths.items() if count >= MAX_CRASHES} == buried
    assert max(deaths.values()) <= MAX_CRASHES
    assert sum(queue["dead"] for queue in end["queues"]) == len(buried)
    # The kills did hit messages, or all this was for nothing.
    assert sum(deaths.values()) > KILLS / 2


def _ids(value: object) -> list[int]:
    assert isinstance(value, list)
    return [int(item) for item in value]
