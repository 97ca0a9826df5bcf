"""Stand-ins for mules, and a real master that acts on what becomes of them."""

import os
import signal
from dataclasses import replace
from pathlib import Path

from pymule.sansio.supervision import Kill
from tests.conftest import MS
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


async def test_a_mule_is_spawned_greeted_and_up(yard: Yard, logged: Logged) -> None:
    program = 'print("I am", greet()["name"], flush=True); say(Ready()); rest()'

    await yard.open_ready(a_plan(a_spec(3, program)))

    assert logged("mule spawned") == [{"mule": 3, "pid": yard.pid(3)}]
    assert [fields["mule"] for fields in logged("mule ready")] == [3]
    await until(lambda: logged("mule output"))
    assert logged("mule output")[0]["line"] == "I am stand-in 3"


async def test_a_mule_that_is_told_to_end_while_it_starts_gets_no_message(
    yard: Yard, logged: Logged
) -> None:
    program = """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    greet()
    print("here", flush=True)
    signal.sigwait([signal.SIGTERM])
    say(Ready())
    ask(10)
    rest()
    """
    master = await yard.open(a_plan(a_spec(1, program)))
    await until(lambda: logged("mule output"))
    guest = await yard.greeted()
    await guest.submit(0, b"hello")

    master.mules.stop(first(yard))
    (link,) = master.router.links.values()
    await until(lambda: link.lanes and link.lanes[0].limit == 10)

    assert link.leased == 0
    assert master.router.queues["mule"].ready_count == 1


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
