"""What a person sees of queues and dead letters of a real daemon, and can mend."""

import json
import os
import subprocess
import sys
import time
from typing import Final

import pytest

from tests.conftest import MS
from tests.daemon.harness import LONG, Daemon, queue_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

# "bad" fails and "kill" kills its mule until the test says that they are mended.
FAILING: Final = """
import os
import signal
import pymule

def is_mended():
    return os.path.exists(os.path.join(os.environ["FILES"], "mended"))

async def main():
    while True:
        try:
            async with pymule.receive() as message:
                body = message.body.decode()
                note("took", message.id, message.attempt, pymule.mule_id(), body)
                if body == "bad" and not is_mended():
                    raise ValueError("not today")
                if body == "kill" and not is_mended():
                    os.kill(os.getpid(), signal.SIGKILL)
                note("did", message.id, body)
        except ValueError:
            pass
"""

FILE: Final = """
[[mule]]
program = "work:main"
count = 2
[shared]
max_attempts = 3
max_crashes = 2
backoff_s = 0.01
backoff_max_s = 0.02
"""


def run(daemon: Daemon, *words: object) -> subprocess.CompletedProcess[str]:
    """Run ``pymule`` to its end."""
    return subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-m", "pymule.cli.pymule", *map(str, words)],
        env={**daemon.environ, "PYMULE_SOCKET": str(daemon.socket)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
    )


def answer(daemon: Daemon, *words: object) -> object:
    """Run ``pymule`` with ``--json``; return what it printed."""
    done = run(daemon, *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def rows(daemon: Daemon, *words: object) -> list[dict[str, object]]:
    found = answer(daemon, *words)
    assert isinstance(found, list)
    return found


def took(daemon: Daemon, number: int) -> list[tuple[int, int]]:
    """Return the attempt and the mule of each delivery of message *number*."""
    return [
        (int(words[2]), int(words[3]))
        for words in daemon.notes()
        if words[:2] == ["took", str(number)]
    ]


async def test_a_dead_letter_tells_its_story_and_lives_again(daemon: Daemon) -> None:
    daemon.program("work", FAILING)
    daemon.configure(FILE)
    await daemon.start()
    began = time.time()
    async with daemon.client() as client:
        bad = await client.mule_msg("bad", headers={"for": "you"})
    await daemon.status_when(lambda status: queue_of(status, "mule")["dead"] == 1)

    (row,) = rows(daemon, "dead", "ls")
    letter = answer(daemon, "dead", "show", bad)
    shown = run(daemon, "dead", "show", bad).stdout

    assert (row["id"], row["queue"], row["reason"]) == (bad, "mule", "attempts")
    assert row["error"] == {"type": "ValueError", "text": "not today"}
    assert isinstance(letter, dict)
    assert (letter["body"], letter["options"]) == ("bad", {"headers": {"for": "you"}})
    errors = letter["errors"]
    assert [(error["attempt"], error["mule"]) for error in errors] == took(daemon, bad)
    assert [error["attempt"] for error in errors] == [1, 2, 3]
    assert all(began <= error["at"] <= time.time() for error in errors)
    assert ["traceback" in error for error in errors] == [False, False, True]
    assert 'raise ValueError("not today")' in errors[-1]["traceback"]
    assert 'raise ValueError("not today")' in shown

    daemon.allow("mended")
    assert answer(daemon, "dead", "replay", bad) == {"replayed": [bad], "unknown": []}

    await daemon.noted("did", bad, "bad")
    assert [attempt for attempt, _ in took(daemon, bad)] == [1, 2, 3, 1]
    assert rows(daemon, "dead", "ls") == []
    (event,) = daemon.records("dead letters replayed")
    assert (event["count"], event["uid"]) == (1, os.getuid())
    assert await daemon.stop() == 0


async def test_a_message_that_killed_its_mules_names_them(daemon: Daemon) -> None:
    daemon.program("work", FAILING)
    daemon.configure(FILE)
    await daemon.start()
    async with daemon.client() as client:
        number = await client.mule_msg("kill")
    await daemon.status_when(lambda status: queue_of(status, "mule")["dead"] == 1)

    letter = answer(daemon, "dead", "show", number)

    assert isinstance(letter, dict)
    assert (letter["reason"], letter["crashes"]) == ("crashes", 2)
    errors = letter["errors"]
    assert [(error["attempt"], error["mule"]) for error in errors] == took(
        daemon, number
    )
    assert [error["text"] for error in errors] == ["signal 9 (SIGKILL)"] * 2
    assert run(daemon, "dead", "purge", "--all").returncode == 64
    assert answer(daemon, "dead", "purge", number, "--yes") == {
        "purged": [number],
        "unknown": [],
    }
    unknown = run(daemon, "dead", "show", number)
    assert (unknown.returncode, unknown.stderr) == (
        65,
        f"pymule: no dead letter {number}\n",
    )
    assert await daemon.stop() == 0


async def test_a_paused_queue_can_be_looked_at_emptied_and_let_go(
    daemon: Daemon,
) -> None:
    daemon.program("work", FAILING)
    daemon.configure(FILE)
    await daemon.start()

    assert run(daemon, "pause", "mule").returncode == 0
    async with daemon.client() as client:
        first = await client.mule_msgs(["a", "b"])
        seen = rows(daemon, "peek", "mule")
        again = rows(daemon, "peek", "mule", "--full")
        await client.mule_msg("c", 1)
        await daemon.noted("did", count=1)
        status = await daemon.status()
        purged = answer(daemon, "purge", "mule", "--yes")
        (last,) = await client.mule_msgs(["d"])

    assert [(row["id"], row["body"], row["state"]) for row in seen] == [
        (first[0], "a", "ready"),
        (first[1], "b", "ready"),
    ]
    assert again == seen
    queue = queue_of(status, "mule")
    assert (queue["ready"], queue["leased"]) == (2, 0)
    assert purged == {"queue": "mule", "purged": 2}
    assert "  paused\n" in run(daemon, "queues").stdout

    assert run(daemon, "resume", "mule").returncode == 0

    await daemon.noted("did", last, "d")
    bodies = [words[-1] for words in daemon.notes() if words[0] == "did"]
    assert bodies == ["c", "d"]
    for event in ("queue paused", "queue purged", "queue resumed"):
        (record,) = daemon.records(event)
        assert (record["target"], record["uid"]) == ("mule", os.getuid())
    assert await daemon.stop() == 0


async def test_a_reader_that_leaves_ends_a_list_in_silence(daemon: Daemon) -> None:
    daemon.program("work", FAILING)
    daemon.configure(FILE)
    await daemon.start()
    reader, writer = os.pipe()
    os.close(reader)

    ends = [
        (done.returncode, done.stderr)
        for words in (["dead", "ls"], ["queues"], ["peek", "mule"])
        for done in [run_into(daemon, writer, *words)]
    ]
    os.close(writer)

    assert ends == [(141, "")] * 3
    assert await daemon.stop() == 0


def run_into(
    daemon: Daemon, stdout: int, *words: str
) -> subprocess.CompletedProcess[str]:
    """Run ``pymule`` to its end, and have it write to *stdout*."""
    return subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-m", "pymule.cli.pymule", *words],
        env={**daemon.environ, "PYMULE_SOCKET": str(daemon.socket)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=LONG,
    )


async def test_a_pause_and_a_dead_letter_outlive_the_master(daemon: Daemon) -> None:
    daemon.program("work", FAILING)
    daemon.configure('state_dir = "state"' + FILE + 'durability = "process"\n')
    await daemon.start()
    async with daemon.client() as client:
        bad = await client.mule_msg("bad", headers={"for": "you"})
        await daemon.status_when(lambda status: queue_of(status, "mule")["dead"] == 1)
        run(daemon, "pause", "mule")
        await client.mule_msg("later")
    before = answer(daemon, "dead", "show", bad)
    await daemon.kill()
    await daemon.start()

    after = answer(daemon, "dead", "show", bad)
    (row,) = rows(daemon, "peek", "mule")
    status = queue_of(await daemon.status(), "mule")

    assert isinstance(before, dict)
    assert isinstance(after, dict)
    for key in ("accepted_at", "died_at"):
        assert abs(before.pop(key) - after.pop(key)) < 1
    assert after == before
    assert (row["body"], row["state"]) == ("later", "ready")
    assert (status["paused"], status["durability"]) == (True, "process")

    daemon.allow("mended")
    run(daemon, "resume", "mule")
    run(daemon, "dead", "replay", bad)
    await daemon.noted("did", bad, "bad")
    await daemon.noted("did", row["id"], "later")
    await daemon.status_when(lambda status: queue_of(status, "mule")["acked"] == 2)
    await daemon.kill()
    await daemon.start()
    status = queue_of(await daemon.status(), "mule")
    assert (status["dead"], status["ready"], status["paused"]) == (0, 0, False)
    assert await daemon.stop() == 0
