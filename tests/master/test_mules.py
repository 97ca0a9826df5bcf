"""Stand-ins for mules, and a real master that acts on what becomes of them."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pymule.master.generation import Generation
from pymule.sansio.supervision import Kill
from pymule.sansio.target import MuleId
from tests.conftest import MS, wait_until
from tests.master.conftest import Logged
from tests.master.harness import LONG, Yard, a_plan, a_spec, with_limits

HOLD = """
be_ready()
ask(10)
deliver = hear(Deliver)
board = Scoreboard(mule["board"])
slot = board.open_slot(0)
"""


def first(yard: Yard, number: int = 1) -> Generation:
    return yard.master.mules.current[MuleId(number)]


async def until(condition: Callable[[], object]) -> None:
    await wait_until(condition, within=LONG)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_mule_is_spawned_greeted_and_up(yard: Yard, logged: Logged) -> None:
    program = 'print("I am", greet()["name"], flush=True); say(Ready()); rest()'

    await yard.open_ready(a_plan(a_spec(3, program)))

    assert logged("mule spawned") == [{"mule": 3, "pid": yard.pid(3)}]
    assert [fields["mule"] for fields in logged("mule ready")] == [3]
    await until(lambda: logged("mule output"))
    assert logged("mule output")[0]["line"] == "I am stand-in 3"


async def test_what_a_mule_prints_is_a_field_of_a_constant_event(
    yard: Yard, logged: Logged
) -> None:
    program = 'print("mule exited mule=2 status=0", file=sys.stderr, flush=True)\n'

    await yard.open_ready(a_plan(a_spec(1, program + "be_ready(); rest()")))

    await until(lambda: logged("mule output"))
    assert logged("mule output") == [
        {
            "mule": 1,
            "name": "stand-in 1",
            "stream": "stderr",
            "line": "mule exited mule=2 status=0",
        }
    ]
    assert logged("mule exited") == []


async def test_a_mule_that_dies_is_started_again_and_its_end_is_kept(
    yard: Yard, logged: Logged
) -> None:
    await yard.open_ready(a_plan(a_spec()))
    pid = yard.pid()
    assert pid is not None

    os.kill(pid, signal.SIGSEGV)
    await until(lambda: len(logged("mule ready")) == 2)

    (exited,) = logged("mule exited")
    assert (exited["pid"], exited["status"]) == (pid, -signal.SIGSEGV)
    assert exited["reason"] == "signal 11 (SIGSEGV)"
    last_exit = first(yard).last_exit
    assert last_exit is not None
    assert (last_exit["reason"], last_exit["error"]) == ("signal 11 (SIGSEGV)", None)
    assert first(yard).life.restarts == 1


async def test_a_mule_tells_what_its_program_raised(yard: Yard, logged: Logged) -> None:
    error = {"type": "ValueError", "text": "no", "traceback": "..."}
    program = f"be_ready(); say(Close({{'error': {error}}})); sys.exit(1)"

    await yard.open(a_plan(a_spec(1, program)))
    await until(lambda: logged("mule exited"))

    last_exit = first(yard).last_exit
    assert last_exit is not None
    assert (last_exit["reason"], last_exit["error"]) == ("status 1", error)


async def test_the_status_125_keeps_a_mule_down(yard: Yard, logged: Logged) -> None:
    await yard.open(a_plan(a_spec(1, "be_ready(); sys.exit(125)")))

    await until(lambda: logged("mule stays down"))

    assert yard.states() == {1: "down"}
    assert yard.pid() is None


async def test_a_spawn_that_fails_is_tried_again(
    yard: Yard, logged: Logged, socket_dir: Path
) -> None:
    spec = replace(a_spec(), cwd=socket_dir / "later")

    await yard.open(a_plan(spec))
    await until(lambda: len(logged("mule not started")) == 2)
    (socket_dir / "later").mkdir()

    await until(lambda: yard.states() == {1: "up"})
    last_exit = first(yard).last_exit
    assert last_exit is not None
    assert "No such file" in str(last_exit["reason"])


async def test_a_stop_in_the_turn_of_a_spawn_that_fails_is_a_clean_end(
    yard: Yard,
) -> None:
    await yard.open(a_plan(replace(a_spec(), cwd=Path("/nowhere"))))

    assert await yard.stop()


async def test_a_mule_that_is_not_ready_in_time_is_killed(
    yard: Yard, logged: Logged
) -> None:
    spec = with_limits(a_spec(1, "greet(); rest()"), start_timeout_s=300 * MS)

    await yard.open(a_plan(spec))
    await until(lambda: logged("mule exited"))

    (exited, *_) = logged("mule exited")
    assert (exited["status"], exited["reason"]) == (-signal.SIGKILL, "start timeout")
    assert yard.master.mules.killed_count == 0


async def test_an_idle_mule_gets_sigterm_at_once(yard: Yard, logged: Logged) -> None:
    await yard.open_ready(a_plan(a_spec()))

    is_clean = await yard.stop()

    assert is_clean
    (exited,) = logged("mule exited")
    assert exited["status"] == -signal.SIGTERM
    assert float(str(exited["uptime_s"])) < LONG


async def test_a_busy_mule_finishes_what_it_has_before_sigterm(yard: Yard) -> None:
    program = (
        HOLD
        + """
    hear(Drain)
    say(Ack([(deliver.first_id, 1, deliver.attempt)]))
    rest()
    """.replace("\n    ", "\n")
    )
    await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()
    await guest.submit(0, b"hello")
    await until(lambda: (link := yard.master.link_of(first(yard))) and link.leased)

    assert await yard.stop()

    queue = yard.master.router.queues["mule"]
    assert (queue.acked, queue.count) == (1, 0)


async def test_a_mule_that_does_not_finish_in_time_is_told_to_end(
    yard: Yard, logged: Logged
) -> None:
    spec = with_limits(a_spec(1, HOLD + "rest()"), stop_timeout_s=100 * MS)
    await yard.open_ready(a_plan(spec))
    guest = await yard.greeted()
    await guest.submit(0, b"hello")
    await until(lambda: (link := yard.master.link_of(first(yard))) and link.leased)

    is_clean = await yard.stop()

    assert not is_clean, "the message is lost"
    assert [fields["status"] for fields in logged("mule exited")] == [-signal.SIGTERM]
    assert [fields["count"] for fields in logged("messages lost")] == [1]


async def test_a_mule_that_will_not_end_is_killed_and_counted(
    yard: Yard, logged: Logged
) -> None:
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN); be_ready(); rest()"
    spec = with_limits(a_spec(1, program), stop_timeout_s=50 * MS)
    master = await yard.open_ready(a_plan(spec))

    is_clean = await yard.stop()

    assert not is_clean
    assert master.mules.killed_count == 1
    assert [fields["reason"] for fields in logged("mule exited")] == ["stop timeout"]


async def test_a_process_that_is_killed_again_and_again_is_counted_once(
    yard: Yard,
) -> None:
    master = await yard.open_ready(a_plan(a_spec()))
    mule = first(yard)

    master.mules.kill(mule)
    # As at the deadline, when the kernel has not let go of the process.
    master.mules._apply(mule, (Kill(signal.SIGKILL), Kill(signal.SIGKILL)))

    assert not await yard.stop()
    assert master.mules.killed_count == 1


async def test_a_second_stop_kills(yard: Yard) -> None:
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN); be_ready(); rest()"
    master = await yard.open_ready(a_plan(a_spec(1, program)))

    master.stop()
    master.stop()

    assert not await yard.ended()
    assert master.mules.killed_count == 1


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


async def test_a_mule_that_dies_takes_the_children_of_its_group_along(
    yard: Yard, socket_dir: Path, logged: Logged
) -> None:
    program = f"""
be_ready()
child = os.fork()
if not child:
    rest()
with open("{socket_dir}/child.new", "w") as file:
    file.write(str(child))
os.rename("{socket_dir}/child.new", "{socket_dir}/child")
rest()
"""
    await yard.open_ready(a_plan(a_spec(1, program)))
    await until((socket_dir / "child").exists)
    child = int((socket_dir / "child").read_text())
    pid = yard.pid()
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    await until(lambda: logged("mule exited"))

    # As a zombie it may wait for whoever inherits it.
    stat = Path(f"/proc/{child}/stat")
    await until(lambda: is_gone(child) or ") Z " in stat.read_text())
