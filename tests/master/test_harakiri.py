"""Mules that have a message in hand for too long, and mules that do not."""

import signal

import pytest

from tests.conftest import MS
from tests.master.conftest import Logged
from tests.master.harness import HOLD, Yard, a_plan, a_spec, until, with_limits


async def test_a_message_in_hand_for_too_long_kills_the_mule_after_its_stacks(
    yard: Yard, logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    program = (
        HOLD
        + """
board.take(slot, lane_word(0, 0))
hear(Stacks)
os.write(mule["stacks"], b"here it hangs")
rest()
"""
    )
    # The signal for the stacks ends a stand-in, so it is ignored.
    program = "signal.signal(signal.SIGRTMAX - 2, signal.SIG_IGN)\n" + program
    spec = with_limits(a_spec(1, program), harakiri_s=200 * MS)
    await yard.open_ready(a_plan(spec))
    guest = await yard.greeted()

    await guest.submit(0, b"hello")
    await until(lambda: logged("mule exited"))

    (harakiri,) = logged("harakiri")
    assert float(str(harakiri["in_hand_s"])) >= 200 * MS
    assert len(logged("stacks of the mule")) == 1
    assert "here it hangs" in caplog.text
    (exited, *_) = logged("mule exited")
    assert (exited["status"], exited["reason"]) == (-signal.SIGKILL, "harakiri")
    assert logged("messages redelivered")[0]["in_hand"] == [1]


async def test_a_mule_that_has_messages_but_none_in_hand_is_not_hung(
    yard: Yard, logged: Logged
) -> None:
    program = (
        HOLD
        + """
time.sleep(0.3)
say(Ack([(deliver.first_id, 1, deliver.attempt)]))
rest()
"""
    )
    spec = with_limits(a_spec(1, program), harakiri_s=0.1)
    master = await yard.open_ready(a_plan(spec))
    guest = await yard.greeted()

    await guest.submit(0, b"hello")
    await until(lambda: master.router.queues["mule"].acked)

    assert logged("harakiri") == []
