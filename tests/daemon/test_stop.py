"""How the daemon ends: it drains, it insists, or it kills at once."""

import signal

import pytest

from pymule.errors import DrainingError
from tests.conftest import MS, wait_until
from tests.daemon.harness import LONG, Daemon, is_alive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

# Handles a message only when the test allows it.
PATIENT = """
from pymule.sync import messages

def main():
    for message in messages():
        body = message.body.decode()
        note("took", body)
        wait_for("go")
        note("did", body)
"""

# Goes on when it is asked to end.
DEAF = """
import signal
from pymule.sync import mule_get_msg

def main():
    signal.signal(signal.SIGTERM, lambda *_: note("asked to end"))
    while True:
        note("took", mule_get_msg().decode())
        wait_for("go")
"""


async def a_mule_with_three_messages(daemon: Daemon, settings: str = "") -> None:
    """Start the daemon with one mule; it has "a" in hand, "b" and "c" wait."""
    daemon.configure(f"""
        [[mule]]
        program = "work:main"
        credit = 1
        {settings}
    """)
    await daemon.start()
    async with daemon.client() as client:
        await client.mule_msgs(["a", "b", "c"])
    await daemon.noted("took", "a")


async def test_a_stop_lets_the_work_in_hand_finish_and_counts_what_is_lost(
    daemon: Daemon,
) -> None:
    daemon.program("work", PATIENT)
    await a_mule_with_three_messages(daemon)

    async with daemon.client() as client:
        daemon.signal(signal.SIGTERM)
        await daemon.logged("pymuled stops")
        with pytest.raises(DrainingError):
            await client.mule_msg("d")
        daemon.allow("go")
        status = await daemon.ended()

    assert status == 1
    assert daemon.notes() == [["took", "a"], ["did", "a"]]
    (lost,) = daemon.records("messages lost")
    assert (lost["target"], lost["count"]) == ("mule", 2)
    (stopped,) = daemon.records("pymuled stopped")
    assert (stopped["killed"], stopped["lost"]) == (0, 2)
    assert not daemon.socket.exists()


async def test_a_stop_with_nothing_left_is_clean(daemon: Daemon) -> None:
    daemon.program("work", PATIENT)
    daemon.allow("go")
    await a_mule_with_three_messages(daemon)
    await daemon.noted("did", "c")

    async with daemon.client() as client:
        answer = await client.call("stop")
        status = await daemon.ended()

    assert answer == {"pid": daemon.process.pid}
    assert status == 0
    assert not daemon.records("messages lost")


async def test_a_mule_that_does_not_end_gets_term_and_then_kill(
    daemon: Daemon,
) -> None:
    daemon.program("work", DEAF)
    await a_mule_with_three_messages(daemon, "stop_timeout_s = 0.2")
    pid = (await daemon.status())["mules"][0]["pid"]

    status = await daemon.stop()

    assert status == 1
    assert ["asked", "to", "end"] in daemon.notes()
    (exited,) = daemon.records("mule exited")
    assert (exited["reason"], exited["status"]) == ("stop timeout", -signal.SIGKILL)
    (stopped,) = daemon.records("pymuled stopped")
    assert (stopped["killed"], stopped["lost"]) == (1, 3)
    assert pid is not None
    assert not is_alive(pid)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(signal.SIGQUIT, None, id="quit"),
        pytest.param(signal.SIGTERM, signal.SIGTERM, id="term twice"),
        pytest.param(signal.SIGTERM, signal.SIGQUIT, id="term and quit"),
    ],
)
async def test_a_stop_at_once_waits_for_nobody(
    daemon: Daemon, first: int, then: int | None
) -> None:
    daemon.program("work", PATIENT)
    await a_mule_with_three_messages(daemon, "stop_timeout_s = 600")

    daemon.signal(first)
    await daemon.logged("pymuled stops")

    def insist() -> bool:
        # More than once, because two that come together count as one.
        if then is not None:
            daemon.signal(then)
        return daemon.has_ended()

    await wait_until(insist, within=LONG)
    assert daemon.process.returncode == 1
    (exited,) = daemon.records("mule exited")
    assert exited["reason"] == "stopped at once"
    assert daemon.notes() == [["took", "a"]]


async def test_a_stop_before_the_mules_are_up_ends_them(daemon: Daemon) -> None:
    daemon.program("work", "def main(): pass\nnote('loads')\nwait_for('never')")
    daemon.configure('[[mule]]\nprogram = "work:main"\nstop_timeout_s = 0.2')
    daemon.begin()
    await daemon.noted("loads")

    status = await daemon.stop()

    assert status in (0, 1)
    assert len(daemon.records("mule exited")) == 1
