"""What mules say over their links, rightly and wrongly, early and late."""

import signal
import time
from pathlib import Path

import pytest

from pymule.sansio.target import MuleId
from tests.conftest import MS, wait_until
from tests.master.conftest import Logged
from tests.master.harness import (
    HOLD,
    LONG,
    Yard,
    a_plan,
    a_spec,
    first,
    until,
    with_limits,
)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ('link.sendall(b"garbage" * 10)', "the session is open"),
        ("say(Lane(0, ['mule9']))", "mule9"),
        ("say(Credit(7, 1))", "credit for lane 7"),
        ("say(Lane(0, ['mule']), Lane(0, ['mule']))", "lane 0 is open already"),
    ],
    ids=["garbage", "foreign queue", "unknown lane", "lane twice"],
)
async def test_a_mule_that_breaks_the_protocol_is_killed_and_no_other(
    yard: Yard, logged: Logged, words: str, reason: str
) -> None:
    await yard.open_ready(a_plan(a_spec()))
    bad = a_spec(2, f"be_ready(); {words}; rest()")

    await yard.reload(a_plan(yard.master.plan.mules[MuleId(1)], bad))
    await until(lambda: logged("link failed"))
    await until(lambda: any(f["mule"] == 2 for f in logged("mule exited")))

    assert logged("link failed")[0]["mule"] == 2
    assert reason in str(logged("link failed")[0]["error"]) or words.startswith("link")
    exited = next(f for f in logged("mule exited") if f["mule"] == 2)
    assert str(exited["reason"]).startswith("its link failed: ")
    assert yard.states()[1] == "up"


async def test_a_mule_without_a_link_gets_nothing_and_not_for_ever(
    yard: Yard, logged: Logged
) -> None:
    program = "be_ready(); ask(10); link.close(); os.close(0); rest()"
    spec = with_limits(a_spec(1, program), stop_timeout_s=200 * MS)
    master = await yard.open_ready(a_plan(spec))
    guest = await yard.greeted()
    await until(lambda: (c := first(yard).current) and c.connection)

    await until(lambda: logged("mule exited"))
    await guest.submit(0, b"hello")
    await guest.confirmed(1)

    (exited, *_) = logged("mule exited")
    assert exited["reason"] == "it lived on without its link"
    assert master.router.queues["mule"].redelivered == 0


async def test_a_mule_may_end_before_its_link_is_on_the_loop(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec()))
    running = first(yard).current
    assert running is not None
    running.process.kill(signal.SIGKILL)
    await until(lambda: first(yard).current is not running)
    connection = running.connection

    await yard.master.mules.links.attach(running)

    assert running.connection is connection


async def test_what_comes_late_from_a_dead_mule_is_not_its_successors_word(
    yard: Yard, logged: Logged, socket_dir: Path
) -> None:
    # Its child lives on in a session of its own, and says READY through its link.
    program = f"""
greet()
go, done = "{socket_dir}/go", "{socket_dir}/done"
if os.path.exists(done + "1"):
    rest()
open(done + "1", "w").close()
if os.fork() == 0:
    os.setsid()
    while not os.path.exists(go):
        time.sleep(0.005)
    try:
        say(Ready())
    except OSError:
        pass
    open(done + "2", "w").close()
    os._exit(0)
time.sleep(0.05)
os._exit(3)
"""
    await yard.open(a_plan(a_spec(1, program)))
    await until(lambda: len(logged("mule spawned")) == 2)

    (socket_dir / "go").touch()
    await until((socket_dir / "done2").exists)
    await yard.status()

    assert yard.states() == {1: "starting"}
    assert logged("mule ready") == []
    assert [fields["status"] for fields in logged("mule exited")] == [3]


async def test_what_a_mule_says_just_before_its_death_still_counts(yard: Yard) -> None:
    program = (
        HOLD
        + """
say(Ack([(deliver.first_id, 1, deliver.attempt)]))
os._exit(0)
"""
    )
    master = await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()

    await guest.submit(0, b"hello")
    await until(lambda: first(yard).life.restarts)

    queue = master.router.queues["mule"]
    assert (queue.acked, queue.redelivered, first(yard).handled) == (1, 0, 1)


async def test_a_nack_brings_the_message_back_and_a_late_one_is_logged(
    yard: Yard, logged: Logged
) -> None:
    program = (
        HOLD
        + """
nack = Nack(deliver.first_id, deliver.attempt, 0.01, False, {"text": "no"})
say(nack, nack)
again = hear(Deliver)
assert again.attempt == 2
say(Return([(again.first_id, 1, 2)]))
again = hear(Deliver)
assert again.attempt == 2
say(Nack(again.first_id, 2, -1, True, {"text": "never"}))
rest()
"""
    )
    master = await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()

    await guest.submit(0, b"hello")
    queue = master.router.queues["mule"]
    await until(lambda: len(queue.dead))

    assert (queue.failed, queue.count, len(logged("late nack"))) == (2, 0, 1)
    assert yard.states() == {1: "up"}


async def test_a_message_goes_to_the_mule_that_asks_and_its_ack_comes_back(
    yard: Yard,
) -> None:
    program = """
be_ready()
ask(2)
for _ in range(2):
    deliver = hear(Deliver)
    say(Ack([(deliver.first_id, deliver.count, deliver.attempt)]))
rest()
"""
    spec = with_limits(a_spec(1, program), harakiri_s=60.0)
    master = await yard.open_ready(a_plan(spec))
    guest = await yard.greeted()

    await guest.submit(0, b"a")
    await guest.submit(1, b"b", target="mule1")
    await wait_until(
        lambda: sum(q.acked for q in master.router.queues.values()), within=LONG
    )

    assert master.mules.current[MuleId(1)].state.value == "up"


async def test_a_failure_is_kept_with_the_mule_and_the_time(yard: Yard) -> None:
    program = """
        be_ready()
        ask(10)
        for attempt in range(2):
            deliver = hear(Deliver)
            error = {"type": "Oops", "text": "x" * 10_000, "more": 1}
            say(Nack(deliver.first_id, deliver.attempt, 0.0, attempt == 1, error))
        rest()
    """
    began = time.time()
    master = await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()
    await guest.submit(0, b"hello")
    await until(lambda: len(master.router.queues["mule"].dead))

    (letter,) = master.router.queues["mule"].dead

    assert [error["attempt"] for error in letter.errors] == [1, 2]
    for error in letter.errors:
        assert set(error) == {"type", "text", "attempt", "mule", "at"}
        assert (error["mule"], error["text"]) == (1, "x" * 1_000)
        assert isinstance(error["at"], float)
        assert began <= error["at"] <= time.time()
