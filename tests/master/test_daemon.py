"""A real master in this process: its start, its reloads and its end."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from pymule.errors import ConfigError
from pymule.master.journal import Journal
from pymule.master.notify import Notifier
from pymule.sansio.supervision import RestartPolicy
from pymule.sansio.verbs import Call
from tests.conftest import MS, wait_until
from tests.master.conftest import Logged
from tests.master.harness import LONG, Yard, a_plan, a_queue, a_spec, reason_of

SLOW_START = "greet(); rest()"
HOLD = "be_ready(); ask(10); hear(Deliver); rest()"


class ServiceManager:
    """systemd's end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(0)
        self._heard: list[str] = []

    def heard(self) -> list[str]:
        """Return everything it was told, line by line."""
        while True:
            try:
                self._heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self._heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(socket_dir: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(socket_dir / "notify")
    yield manager
    manager.close()


# The start


async def test_a_master_is_starting_until_its_mules_are_up(
    yard: Yard, socket_dir: Path
) -> None:
    wait = f'while not os.path.exists("{socket_dir}/go"): time.sleep(0.005)\n'
    master = await yard.open(a_plan(a_spec(1, wait + "be_ready(); rest()")))
    before = (master.state, yard.states())

    (socket_dir / "go").touch()
    await wait_until(lambda: master.state == "running", within=LONG)

    assert before == ("starting", {1: "starting"})
    assert yard.states() == {1: "up"}


async def test_ready_is_said_when_each_mule_is_up_or_has_failed(
    yard: Yard, logged: Logged, manager: ServiceManager
) -> None:
    plan = a_plan(a_spec(1), a_spec(2, "sys.exit(1)"))

    await yard.open(plan, notifier=Notifier(manager.address))
    await wait_until(lambda: logged("pymuled ready"), within=LONG)

    assert logged("pymuled ready") == [{"mules": 2, "up": 1}]
    assert manager.heard()[:2] == ["READY=1", "STATUS=1 of 2 mules up"]


async def test_a_master_without_mules_serves(yard: Yard, logged: Logged) -> None:
    await yard.open(a_plan())
    await yard.greeted()

    assert logged("pymuled ready") == [{"mules": 0, "up": 0}]
    assert logged("task failed") == []
    assert await yard.stop()


async def test_a_master_that_is_stopped_while_it_starts_says_no_ready(
    yard: Yard, logged: Logged, manager: ServiceManager
) -> None:
    plan = a_plan(a_spec(1, SLOW_START))
    await yard.open(plan, notifier=Notifier(manager.address))

    assert await yard.stop()

    assert logged("pymuled ready") == []
    assert manager.heard() == ["STOPPING=1"]


async def test_the_watchdog_is_fed_by_the_loop(
    yard: Yard, manager: ServiceManager
) -> None:
    plan, notifier = a_plan(), Notifier(manager.address)

    await yard.open(plan, notifier=notifier, watchdog_s=20 * MS)

    await wait_until(lambda: manager.heard().count("WATCHDOG=1") > 3)


async def test_a_mule_that_keeps_dying_is_failing(yard: Yard) -> None:
    plan = a_plan(a_spec(1, "sys.exit(1)"))
    policy = RestartPolicy(backoff_s=MS, backoff_max_s=60.0, max_deaths=1)

    await yard.open(replace(plan, restarts=policy))

    await wait_until(lambda: yard.states() == {1: "failing"}, within=LONG)


# The end


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_unix_signal_drains_and_stops(yard: Yard, signum: int) -> None:
    await yard.open_ready(a_plan(a_spec()))

    os.kill(os.getpid(), signum)

    assert await yard.ended()


async def test_quit_kills(yard: Yard, logged: Logged) -> None:
    await yard.open_ready(a_plan(a_spec()))

    os.kill(os.getpid(), signal.SIGQUIT)

    assert not await yard.ended()
    assert [fields["reason"] for fields in logged("mule exited")] == ["stopped at once"]


async def test_what_is_still_queued_at_the_end_is_said_to_be_lost(
    yard: Yard, logged: Logged
) -> None:
    master = await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()
    await guest.submit(0, b"a", b"b")
    await guest.confirmed(2)

    is_clean = await yard.stop()

    assert not is_clean
    (lost,) = logged("messages lost")
    assert (lost["target"], lost["count"]) == ("mule", 2)
    assert logged("pymuled stopped") == [{"killed": 0, "lost": 2}]
    assert master.state == "stopping"


async def test_guests_are_told_of_the_end_and_the_socket_is_gone(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await yard.stop()

    verbs = await guest.ended()
    assert verbs[-1] is not None
    assert not yard.path.exists()


async def test_a_stopping_master_shows_its_mules_that_drain(yard: Yard) -> None:
    master = await yard.open_ready(a_plan(a_spec(1, HOLD)))
    guest = await yard.greeted()
    await guest.submit(0, b"held")
    await guest.confirmed(1)
    await wait_until(lambda: master.router.queues["mule"].leased)

    master.stop()
    await wait_until(lambda: yard.states() == {1: "draining"})

    assert (await guest.call("status")).value["state"] == "stopping"


# Reloads


async def test_a_reload_replaces_every_mule_by_one_that_is_ready(
    yard: Yard, logged: Logged
) -> None:
    master = await yard.open_ready(a_plan(a_spec(1), a_spec(2)))
    before = {yard.pid(1), yard.pid(2)}

    problem = await yard.reload(master.plan)

    assert problem is None
    assert before.isdisjoint({yard.pid(1), yard.pid(2)})
    assert yard.states() == {1: "up", 2: "up"}
    assert logged("reloaded") == [{"mules": 2}]
    await wait_until(lambda: len(logged("mule exited")) == 2, within=LONG)
    await wait_until(lambda: len(master.generations()) == 2)


async def test_sighup_reloads(yard: Yard, logged: Logged) -> None:
    master = await yard.open_ready(a_plan(a_spec()))
    yard.next_plan = master.plan

    os.kill(os.getpid(), signal.SIGHUP)

    await wait_until(lambda: logged("reloaded"), within=LONG)


async def test_a_reload_adds_and_removes_mules_and_queues(
    yard: Yard, logged: Logged
) -> None:
    queues = {"farm:old": a_queue()}
    master = await yard.open_ready(a_plan(a_spec(1), a_spec(2), queues=queues))
    guest = await yard.greeted()
    await guest.submit(0, b"a", target="farm:old")
    await guest.confirmed(1)

    await yard.reload(a_plan(a_spec(1), a_spec(3), queues={"farm:new": a_queue()}))

    assert yard.states() == {1: "up", 3: "up"}
    await wait_until(lambda: len(master.generations()) == 2, within=LONG)
    assert "farm:new" in master.router.targets
    assert "farm:old" not in master.router.targets
    (left,) = logged("messages without a mule")
    assert (left["target"], left["count"]) == ("farm:old", 1)
    assert "mule2" not in master.router.queues, "it was empty"


async def test_an_invalid_file_changes_nothing_and_is_shown(
    yard: Yard, logged: Logged, manager: ServiceManager
) -> None:
    plan = a_plan(a_spec())
    master = await yard.open(plan, notifier=Notifier(manager.address))
    await wait_until(lambda: logged("pymuled ready"), within=LONG)
    pid = yard.pid()

    problem = await yard.reload(ConfigError("pymule.toml:3: no"))

    assert problem == "pymule.toml:3: no"
    assert (master.plan, yard.pid()) == (plan, pid)
    assert (await yard.status())["config_error"] == "pymule.toml:3: no"
    assert len(logged("configuration not changed")) == 1
    told = [line for line in manager.heard() if not line.startswith("MONOTONIC")]
    assert told[2:] == ["RELOADING=1", "READY=1", "STATUS=reload failed"]


async def test_a_good_reload_clears_what_was_wrong(yard: Yard) -> None:
    master = await yard.open_ready(a_plan(a_spec()))
    await yard.reload(ConfigError("no"))

    await yard.reload(master.plan)

    assert master.config_error is None


async def test_a_reload_ends_at_the_first_mule_that_does_not_start(
    yard: Yard, logged: Logged
) -> None:
    master = await yard.open_ready(a_plan(a_spec(1), a_spec(2), a_spec(3)))
    before = {n: yard.pid(n) for n in (1, 2, 3)}

    problem = await yard.reload(a_plan(a_spec(1), a_spec(2, "sys.exit(1)"), a_spec(3)))

    assert problem is not None
    assert problem.startswith("mule 2 did not start")
    assert master.config_error == problem
    assert yard.pid(1) != before[1]
    assert (yard.pid(2), yard.pid(3)) == (before[2], before[3])
    assert logged("reload stopped") == [{"mule": 2}]
    await wait_until(lambda: len(master.generations()) == 3, within=LONG)


async def test_one_reload_at_a_time(yard: Yard, logged: Logged) -> None:
    master = await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()
    yard.next_plan = a_plan(a_spec(1, SLOW_START))
    master.reload()

    reply = await guest.call("reload")

    assert reply.value == {"ok": False, "error": "the master is reloading"}
    assert logged("reload refused") == [{"state": "reloading"}]
    assert (await guest.call("status")).value["state"] == "reloading"


async def test_a_stop_ends_a_reload_and_the_mule_that_was_arriving(
    yard: Yard, logged: Logged
) -> None:
    master = await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()
    yard.next_plan = a_plan(a_spec(1, SLOW_START))
    await guest.say(Call(7, {"method": "reload"}))
    await wait_until(lambda: len(logged("mule spawned")) == 2, within=LONG)

    assert await yard.stop()

    assert len(logged("mule exited")) == 2
    assert not master.mules._processes._running
    assert "interrupted" in str([getattr(v, "value", "") for v in await guest.ended()])


async def test_a_stop_at_once_kills_the_mule_that_was_arriving_too(
    yard: Yard, logged: Logged
) -> None:
    master = await yard.open_ready(a_plan(a_spec()))
    yard.next_plan = a_plan(a_spec(1, SLOW_START))
    master.reload()
    await wait_until(lambda: len(logged("mule spawned")) == 2, within=LONG)

    master.stop(at_once=True)

    assert not await yard.ended()
    assert master.mules.killed_count == 2


async def test_no_reload_while_stopping(yard: Yard) -> None:
    master = await yard.open_ready(a_plan(a_spec()))
    done: list[str | None] = []

    master.stop()
    master.reload(done.append)

    assert done == ["the master is stopping"]


async def test_a_change_that_needs_a_restart_is_said_until_there_was_one(
    yard: Yard, logged: Logged
) -> None:
    start = {"socket_mode": 0o660, "log_level": "info", "log_format": "text"}
    changed = start | {"socket_mode": 0o600, "log_level": "debug"}
    plan = replace(a_plan(), at_start=start)
    await yard.open(plan)

    await yard.reload(plan)
    before = logged("restart needed")
    await yard.reload(replace(plan, at_start=changed))
    await yard.reload(replace(plan, at_start=changed))

    assert before == []
    assert logged("restart needed") == [{"keys": "socket_mode, log_level"}] * 2


async def test_a_reload_changes_the_limits_of_a_queue(yard: Yard) -> None:
    await yard.open(a_plan(queues={"mule": a_queue(1)}))
    guest = await yard.greeted()
    await guest.submit(0, b"a", b"b")
    await guest.confirmed(1)

    await yard.reload(a_plan(queues={"mule": a_queue(2)}))

    assert await guest.confirmed(1) == [(1, 1, 2)]


# Faults


async def test_a_task_that_fails_is_logged_with_its_fault(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "pymule")
    master = await yard.open(a_plan())

    async def fail() -> None:
        raise ValueError("planted")

    master._own(fail())
    await wait_until(lambda: "task failed" in caplog.text)

    assert "ValueError: planted" in caplog.text


class ClosingJournal:
    """A journal with so much to write that its end takes until the test says so."""

    def __init__(self) -> None:
        self.is_closing = False
        self.may_end = asyncio.Event()

    def write(self, facts: object) -> int:
        del facts
        return 0

    async def close(self) -> None:
        self.is_closing = True
        await self.may_end.wait()


async def test_nothing_is_promised_while_the_journal_is_closed(yard: Yard) -> None:
    master = await yard.open(a_plan())
    guest = await yard.greeted()
    journal = ClosingJournal()
    master.outflow.journal = cast("Journal", journal)
    master.stop()
    await wait_until(lambda: journal.is_closing)

    await guest.say(Call(1, {"method": "pause", "queue": "mule"}))
    for _ in range(5):
        # A turn in which it would be read.
        await asyncio.sleep(0)
    journal.may_end.set()

    assert reason_of(await guest.ended()) == "the master stops"
    assert not master.router.queues["mule"].is_paused
