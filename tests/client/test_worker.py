"""A worker: what it registers, listens for and runs, with one master and the next."""

import asyncio
import subprocess
import threading

import pytest
from blockbuster import BlockBuster

import pymule
from pymule.client.worker import start_worker, worker
from pymule.errors import MasterUnavailableError, NotAllowedError, RefusedError
from pymule.handlers import Registry, changed_files
from pymule.sansio.signal_words import Outcome
from pymule.sansio.verbs import Call, Handled, Listen, Reply, ReplyKind, Signal
from tests.client.fake_master import FakeMaster, Peer
from tests.client.test_sync import Running, run, until
from tests.conftest import MS, wait_until

LISTENING = Listen(is_listening=True)


class Desk:
    """Where the fake master registers handlers, as worker 4."""

    def __init__(self, master: FakeMaster) -> None:
        self.master = master
        self.refusals: dict[str, RefusedError] = {}
        # Handlers at which the connection is cut instead.
        self.cuts: list[str] = []
        master.on_call = self.answer

    def answer(self, peer: Peer, call: Call) -> None:
        name = str(call.value["handler"])
        if name in self.cuts:
            self.cuts.remove(name)
            self.master.cut()
        elif (refusal := self.refusals.get(name)) is not None:
            error = {"code": refusal.code, "detail": refusal.to_detail()}
            peer.send(Reply(call.id, ReplyKind.ERROR, error))
        else:
            number = 200 if call.value["signal"] is None else call.value["signal"]
            value = {"signal": number, "holder": "worker4"}
            peer.send(Reply(call.id, ReplyKind.LAST, value))

    @property
    def registered(self) -> list[object]:
        return [call["handler"] for call in self.master.calls]

    @property
    def handled(self) -> list[tuple[int, int]]:
        said = list(self.master.said)
        return [(v.number, v.outcome) for v in said if isinstance(v, Handled)]

    async def send(self, *signals: Signal) -> None:
        """Send *signals* to a worker that listens."""
        await self.listens()
        self.master.peers[-1].send(*signals)

    async def listens(self, times: int = 1) -> None:
        await wait_until(lambda: self.master.said.count(LISTENING) >= times)

    async def heard(self, *expected: tuple[int, int]) -> None:
        await wait_until(lambda: len(self.handled) >= len(expected))
        assert self.handled == list(expected)


@pytest.fixture
def desk(
    master: FakeMaster, fresh_registry: Registry, blockbuster: BlockBuster
) -> Desk:
    del fresh_registry
    # A pool of one thread starts it with the first handler, and has a lock.
    acquire = blockbuster.functions["threading.Lock.acquire"]
    acquire.can_block_in("client/worker.py", ["_raised", "__aexit__", "__init__"])
    return Desk(master)


class Gate:
    """A ``def`` handler that stays until it is let out."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.numbers: list[int] = []
        self.threads: list[threading.Thread] = []
        self._out = threading.Event()

    def __call__(self, number: int) -> None:
        self.numbers.append(number)
        self.threads.append(threading.current_thread())
        self.begun.set()
        assert self._out.wait(20_000 * MS)

    def open(self) -> None:
        self._out.set()


def nothing(number: int) -> None:
    """Do nothing, as a handler."""


def fail(number: int) -> None:
    raise LookupError(f"signal {number}")


# Registering


async def test_a_worker_registers_what_was_noted_and_listens(
    desk: Desk, fresh_registry: Registry
) -> None:
    pymule.signal(7, target="workers")(nothing)
    pymule.mstimer(500)(fail)
    questions = [handler.question() for handler in fresh_registry.handlers]

    async with worker(name="shop") as entered:
        await desk.listens()

    assert desk.master.names == ["shop"]
    assert desk.master.calls == questions
    assert sorted(fresh_registry.by_number) == [7, 200]
    assert entered.number == 4
    assert desk.master.said == [LISTENING]


async def test_a_refused_handler_is_raised_at_the_entry(desk: Desk) -> None:
    pymule.signal(7)(fail)
    desk.refusals["fail"] = NotAllowedError("not today")

    with pytest.raises(NotAllowedError, match="not today"):
        await worker().__aenter__()

    await wait_until(lambda: not desk.master.peers)
    assert desk.master.said == []


async def test_a_worker_needs_a_master(desk: Desk) -> None:
    with pytest.raises(MasterUnavailableError):
        await worker(desk.master.path.with_name("nobody.sock")).__aenter__()


async def test_what_the_loop_adds_later_is_registered_meanwhile(
    desk: Desk, fresh_registry: Registry
) -> None:
    async with worker():
        pymule.timer(1)(nothing)
        await wait_until(lambda: 200 in fresh_registry.by_number)
        # The first LISTEN came from a client that was no worker yet.
        await desk.listens(2)


async def test_a_refusal_of_what_the_loop_added_is_written(
    desk: Desk, fresh_registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.refusals["fail"] = NotAllowedError("not today")

    async with worker():
        pymule.signal(7)(fail)
        await wait_until(lambda: not fresh_registry.handlers)

    assert fresh_registry.by_number == {}
    assert "fail is not registered: not today" in capsys.readouterr().err


async def test_what_the_loop_adds_is_left_to_the_next_master_if_this_one_goes(
    desk: Desk, fresh_registry: Registry
) -> None:
    desk.cuts.append("nothing")

    async with worker():
        pymule.timer(1)(nothing)
        await wait_until(lambda: 200 in fresh_registry.by_number)

    assert desk.registered == ["nothing", "nothing"]


async def test_what_a_thread_adds_later_is_registered_when_it_returns(
    desk: Desk, fresh_registry: Registry
) -> None:
    async with worker():
        await asyncio.to_thread(lambda: pymule.timer(1)(nothing))
        numbers = list(fresh_registry.by_number)
        await desk.listens(2)

    assert numbers == [200]


async def test_a_refusal_is_raised_in_the_thread_that_adds(
    desk: Desk, fresh_registry: Registry
) -> None:
    desk.refusals["fail"] = NotAllowedError("not today")

    async with worker():
        with pytest.raises(NotAllowedError):
            await asyncio.to_thread(lambda: pymule.signal(7)(fail))

    assert fresh_registry.handlers == []


# Running


async def test_a_plain_handler_runs_in_a_thread_one_at_a_time(desk: Desk) -> None:
    gate = Gate()
    pymule.signal(7)(gate)

    async with worker():
        await desk.send(Signal(7))
        await wait_until(gate.begun.is_set)
        told_meanwhile = list(desk.master.said)
        gate.open()
        await desk.listens(2)
        desk.master.peers[-1].send(Signal(7))
        await desk.heard((7, Outcome.DONE), (7, Outcome.DONE))

    assert told_meanwhile == [LISTENING]
    assert gate.numbers == [7, 7]
    first, second = gate.threads
    assert first is second
    assert first is not threading.current_thread()


async def test_a_coroutine_handler_is_a_task_and_others_run_beside_it(
    desk: Desk,
) -> None:
    out, numbers = asyncio.Event(), list[int]()

    @pymule.signal(7)
    async def stay(number: int) -> None:
        numbers.append(number)
        await out.wait()

    @pymule.signal(8)
    async def pass_by(number: int) -> None:
        numbers.append(number)

    async with worker():
        await desk.send(Signal(7))
        await desk.listens(2)
        desk.master.peers[-1].send(Signal(8))
        await desk.heard((8, Outcome.DONE))
        out.set()
        await desk.heard((8, Outcome.DONE), (7, Outcome.DONE))

    assert numbers == [7, 8]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_that_raises_has_failed_and_the_worker_goes_on(
    desk: Desk, capsys: pytest.CaptureFixture[str], *, is_async: bool
) -> None:
    async def fail_soon(number: int) -> None:
        fail(number)

    pymule.signal(7)(fail_soon if is_async else fail)

    async with worker():
        await desk.send(Signal(7))
        await desk.heard((7, Outcome.FAILED))
        await desk.listens(2)

    assert "LookupError: signal 7" in capsys.readouterr().err


async def test_a_handler_that_leaves_has_failed(desk: Desk) -> None:
    @pymule.signal(7)
    def leave(number: int) -> None:
        raise SystemExit(number)

    async with worker():
        await desk.send(Signal(7))
        await desk.heard((7, Outcome.FAILED))


async def test_a_handler_is_told_which_files_changed(desk: Desk) -> None:
    seen: list[tuple[list[str], bool]] = []

    @pymule.signal(7)
    def look(_number: int) -> None:
        seen.append((list(map(str, changed_files())), changed_files().is_complete))

    async with worker():
        await desk.send(Signal(7, ("/srv/a.html",), is_complete=False))
        await desk.heard((7, Outcome.DONE))

    assert seen == [(["/srv/a.html"], False)]


async def test_a_signal_that_is_not_known_goes_back_and_the_worker_listens_on(
    desk: Desk,
) -> None:
    async with worker():
        await desk.send(Signal(9))
        await desk.heard((9, Outcome.RETURNED))
        await desk.listens(2)


# The next master


async def test_a_worker_registers_again_with_the_next_master(
    desk: Desk, fresh_registry: Registry
) -> None:
    gate = Gate()
    gate.open()
    pymule.signal(7)(gate)
    pymule.timer(1)(nothing)

    async with worker():
        await desk.listens()
        desk.master.cut()
        await desk.listens(2)
        desk.master.peers[-1].send(Signal(7))
        await desk.heard((7, Outcome.DONE))

    assert desk.registered == ["Gate", "nothing"] * 2
    assert sorted(fresh_registry.by_number) == [7, 200]


async def test_one_refusal_of_the_next_master_does_not_stop_the_others(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    pymule.signal(7)(fail)
    pymule.signal(8)(nothing)

    async with worker():
        await desk.listens()
        desk.refusals["fail"] = NotAllowedError("not today")
        desk.master.cut()
        await desk.listens(2)

    assert desk.registered == ["fail", "nothing"] * 2
    assert "fail is not registered: not today" in capsys.readouterr().err


async def test_a_master_that_goes_while_it_registers_has_a_successor(
    desk: Desk,
) -> None:
    pymule.signal(7)(nothing)

    async with worker():
        await desk.listens()
        desk.cuts.append("nothing")
        desk.master.cut()
        await desk.listens(2)

    assert desk.registered == ["nothing"] * 3


async def test_an_outcome_is_told_to_the_master_that_sent_the_signal(
    desk: Desk,
) -> None:
    gate, begun, out = Gate(), asyncio.Event(), asyncio.Event()
    pymule.signal(7)(gate)

    @pymule.signal(8)
    async def stay(_number: int) -> None:
        begun.set()
        await out.wait()

    async with worker():
        await desk.send(Signal(8), Signal(7))
        await begun.wait()
        await wait_until(gate.begun.is_set)
        desk.master.cut()
        await wait_until(lambda: len(desk.registered) == 4)
        before = len(desk.master.said)
        gate.open()
        out.set()
        await wait_until(lambda: LISTENING in desk.master.said[before:])

    assert desk.handled == []


# The end


async def test_a_worker_that_leaves_runs_nothing_more(
    desk: Desk, fresh_registry: Registry
) -> None:
    ended: list[str] = []
    gate = Gate()
    pymule.signal(7)(gate)

    @pymule.signal(8)
    async def stay(_number: int) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("cancelled")

    async with worker():
        await desk.send(Signal(8))
        await desk.listens(2)
        desk.master.peers[-1].send(Signal(7))
        await wait_until(gate.begun.is_set)
    gate.open()

    (thread,) = gate.threads
    await wait_until(lambda: not thread.is_alive())
    assert ended == ["cancelled"]
    assert fresh_registry.on_added is None
    await wait_until(lambda: not desk.master.peers)
    assert desk.handled == [(8, Outcome.RETURNED)]


def test_a_handler_may_end_after_its_loop(
    master: FakeMaster, fresh_registry: Registry
) -> None:
    desk, gate = Desk(master), Gate()
    fresh_registry.add(7, "", gate)

    async def work() -> None:
        async with worker():
            await desk.send(Signal(7))
            await wait_until(gate.begun.is_set)

    asyncio.run(work())
    gate.open()

    (thread,) = gate.threads
    thread.join(20_000 * MS)
    assert not thread.is_alive()
    assert desk.handled == []


# In a thread of its own


def test_a_process_can_be_a_worker_until_it_ends(
    master: FakeMaster, fresh_registry: Registry
) -> None:
    del fresh_registry
    desk = Desk(master)
    script = """
        import threading
        from pymule.sync import signal, start_worker

        has_run = threading.Event()

        @signal(7)
        def handle(number):
            print("ran", number)
            has_run.set()

        print("worker", start_worker(name="shop"))
        assert has_run.wait(60)
        """

    running = Running(lambda: run(script, master))
    until(lambda: LISTENING in master.said)
    master.peers[-1].send(Signal(7))
    done = running.finish()

    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.stdout, done.stderr) == ("worker 4\nran 7\n", "")
    assert master.names == ["shop"]
    assert desk.registered == ["handle"]


def test_a_process_that_cannot_be_a_worker_is_told(
    master: FakeMaster, fresh_registry: Registry
) -> None:
    fresh_registry.add(7, "", fail)
    Desk(master).refusals["fail"] = NotAllowedError("not today")

    with pytest.raises(NotAllowedError, match="not today"):
        start_worker()
    with pytest.raises(MasterUnavailableError):
        start_worker(master.path.with_name("nobody.sock"))
