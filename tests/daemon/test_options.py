"""What a sender asks for a message is what becomes of it, in a real daemon."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import pytest

from tests.conftest import MS
from tests.daemon.harness import Daemon, QueueRow, Status, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

# Notes what it begins and ends, and when; "hold" blocks it until the test lets it go.
WORK: Final = """
import time
import pymule

async def main():
    while True:
        async with pymule.receive() as message:
            body = message.body.decode()
            note("began", body, message.attempt, time.time())
            if body == "hold":
                wait_for("go")
            if body.startswith("retry") and message.attempt == 1:
                raise pymule.Retry(0.3, "the shop is closed")
            if body.startswith("reject"):
                raise pymule.Reject("no such customer")
            if body.startswith("fail"):
                raise ValueError("not today")
            note("ended", body)
"""


# A failure ends its loop; it begins again.
SWALLOWING: Final = f"""{WORK}

work = main

async def main():
    while True:
        try:
            await work()
        except ValueError:
            pass
"""

FILE: Final = """
[[mule]]
program = "work:main"
credit = 1
[shared]
backoff_s = 0.01
backoff_max_s = 0.02
"""


async def start(daemon: Daemon, file: str = FILE, work: str = WORK) -> None:
    daemon.program("work", work)
    daemon.configure(file)
    await daemon.start()


def begun(daemon: Daemon) -> list[str]:
    """Return the bodies of all deliveries, in their order."""
    return [words[1] for words in daemon.notes() if words[0] == "began"]


def began_at(daemon: Daemon, body: str) -> list[float]:
    """Return when each attempt of that message began."""
    return [float(w[3]) for w in daemon.notes() if w[:2] == ["began", body]]


async def when(daemon: Daemon, **numbers: int) -> QueueRow:
    """Wait until the queue of all mules shows these *numbers*."""

    def shows(status: Status) -> bool:
        row = dict(queue_of(status, "mule"))
        return all(row[name] == number for name, number in numbers.items())

    return queue_of(await daemon.status_when(shows), "mule")


# When


async def test_a_delayed_message_does_not_come_early_and_keeps_its_order(
    daemon: Daemon,
) -> None:
    await start(daemon)
    async with daemon.client() as client:
        before = time.time()
        await client.mule_msgs(["late1", "late2", "late3"], delay=0.5)
        await client.mule_msg("hour", at=datetime.now(UTC) + timedelta(seconds=0.2))
        await client.mule_msg("past", at=before - 60)
        await client.mule_msg("now")

    await when(daemon, acked=6)

    assert begun(daemon) == ["past", "now", "hour", "late1", "late2", "late3"]
    # What the clock of the mule and that of the test say is the same clock.
    assert began_at(daemon, "late1")[0] >= before + 0.5
    assert began_at(daemon, "hour")[0] >= before + 0.2


async def test_a_message_whose_time_is_over_is_counted_and_not_delivered(
    daemon: Daemon,
) -> None:
    await start(daemon)
    async with daemon.client() as client:
        await client.mule_msg("hold")
        await daemon.noted("began", "hold")
        ids = await client.mule_msgs(["gone1", "gone2"], ttl=0.05)
        at_once = await client.mule_msg("gone3", ttl=0)
        await client.mule_msg("kept", ttl=600)
        await when(daemon, expired=3)
        daemon.allow("go")

    row = await when(daemon, acked=2)

    assert (len(ids), at_once) == (2, ids[-1] + 1)
    assert begun(daemon) == ["hold", "kept"]
    assert (row["accepted"], row["dead"], row["ready"]) == (5, 0, 0)


# In which order


async def test_the_higher_priority_comes_first_and_in_its_order(
    daemon: Daemon,
) -> None:
    await start(daemon)
    async with daemon.client() as client:
        await client.mule_msg("hold")
        await daemon.noted("began", "hold")
        await client.mule_msgs(["low1", "low2"])
        await client.mule_msgs(["high1", "high2"], priority=9)
        await client.mule_msg("middle", priority=5)
        await client.mule_msg("high3", priority=9)
        daemon.allow("go")

    await when(daemon, acked=7)

    assert begun(daemon) == [
        *("hold", "high1", "high2", "high3", "middle", "low1", "low2"),
    ]


async def test_messages_with_a_key_come_one_at_a_time_whatever_happens(
    daemon: Daemon,
) -> None:
    await start(daemon, FILE.replace("credit = 1", "count = 3"))
    async with daemon.client() as client:
        for number in range(20):
            word = "retry" if number in {0, 7} else "plain"
            await client.mule_msg(f"{word}-a-{number:02}", key="a", confirm=False)
            await client.mule_msg(f"plain-b-{number:02}", key="b", confirm=False)
        await client.flush()

    await when(daemon, acked=40)

    for key in "ab":
        lines = [w for w in daemon.notes() if f"-{key}-" in w[1]]
        done = [words[1] for words in lines if words[0] == "ended"]
        assert [body[-2:] for body in done] == [f"{n:02}" for n in range(20)]
        # Nothing of a key begins before what was begun has ended or was given back.
        events = [(words[0], words[1]) for words in lines]
        retried = [body for body in done if body.startswith("retry")]
        expected = []
        for body in done:
            expected += [("began", body)] * (2 if body in retried else 1)
            expected.append(("ended", body))
        assert events == expected


# How often


async def test_a_second_message_with_the_same_id_is_the_first(daemon: Daemon) -> None:
    await start(daemon)
    async with daemon.client() as one, daemon.client() as other:
        first = await one.mule_msg("order", message_id="order 12")
        await when(daemon, acked=1)
        again = await one.mule_msg("order", message_id="order 12")
        of_another = await other.mule_msg("order", message_id="order 12")
        elsewhere = await one.mule_msg("order", 1, message_id="order 12")

    row = await when(daemon, deduplicated=2)

    await daemon.noted("ended", "order", count=2)
    assert first == again == of_another != elsewhere
    assert row["accepted"] == 1
    assert begun(daemon) == ["order", "order"]


async def test_a_message_may_have_fewer_attempts_than_the_others(
    daemon: Daemon,
) -> None:
    await start(daemon, work=SWALLOWING)
    async with daemon.client() as client:
        await client.mule_msg("fail-once", max_attempts=1)
        await client.mule_msg("fail-twice", max_attempts=2, backoff_s=0, jitter=0)
        await client.mule_msg("fail-as-others")

    await when(daemon, dead=3)

    deliveries = begun(daemon)
    assert deliveries.count("fail-once") == 1
    assert deliveries.count("fail-twice") == 2
    assert deliveries.count("fail-as-others") == 5


# What a program says


async def test_a_retry_waits_as_long_as_it_says(daemon: Daemon) -> None:
    await start(daemon)
    async with daemon.client() as client:
        await client.mule_msg("retry")
        await client.mule_msg("other")

    row = await when(daemon, acked=2)

    assert begun(daemon) == ["retry", "other", "retry"]
    first, second = began_at(daemon, "retry")
    assert second >= first + 0.3
    assert (row["failed"], row["redelivered"], row["dead"]) == (1, 1, 0)
    assert not daemon.records("mule exited")


async def test_what_is_rejected_is_a_dead_letter_at_once(daemon: Daemon) -> None:
    await start(daemon)
    async with daemon.client() as client:
        number = await client.mule_msg("reject")
        await when(daemon, dead=1)
        answer = await client.call("dead", queue="mule")

    assert begun(daemon) == ["reject"]
    assert not daemon.records("mule exited")
    (letter,) = cast("list[dict[str, object]]", answer["letters"])
    assert (letter["id"], letter["reason"]) == (number, "rejected")
    assert letter["error"] == {"type": "Reject", "text": "no such customer"}


# Over a death of the daemon


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_what_was_asked_for_holds_over_a_kill_of_the_daemon(
    daemon: Daemon, durability: str
) -> None:
    kept = f'durability = "{durability}"\n'
    await start(daemon, f'state_dir = "state"\n{FILE}{kept}')
    async with daemon.client() as client:
        before = time.time()
        await client.mule_msg("hold")
        await daemon.noted("began", "hold")
        await client.mule_msg("low")
        await client.mule_msg("high", priority=9, headers={"trace": "7f"})
        await client.mule_msg("gone", ttl=0.05)
        await client.mule_msg("late", delay=1.5)
        await client.mule_msg("plain-a-1", key="a")
        await client.mule_msg("plain-a-2", key="a")
        first = await client.mule_msg("order", message_id="order 12")
    await daemon.kill()
    daemon.allow("go")

    await daemon.start()
    async with daemon.client() as client:
        again = await client.mule_msg("order", message_id="order 12")
    await when(daemon, acked=7, deduplicated=1, dead=0)

    bodies = begun(daemon)
    assert first == again
    assert sorted(bodies) == sorted(
        ["hold", "hold", "high", "low", "plain-a-1", "plain-a-2", "order", "late"]
    )
    assert bodies.index("high") < bodies.index("low") < bodies.index("order")
    assert bodies.index("plain-a-1") < bodies.index("plain-a-2")
    assert began_at(daemon, "late")[0] >= before + 1.5
    assert ["began", "hold", "2"] in [words[:3] for words in daemon.notes()]
