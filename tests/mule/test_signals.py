"""Handlers in a mule: registered, listened for, run, and waited for."""

import asyncio
import threading
from functools import partial

import pytest
from blockbuster import BlockBuster

from pymule.errors import NotAllowedError, NotInMuleError, RefusedError
from pymule.handlers import Registry
from pymule.mule import api, sync
from pymule.mule.inbox import ThreadWaiter
from pymule.mule.signals import _SignalWaiter
from pymule.sansio.signal_words import Outcome
from pymule.sansio.verbs import Call, Close, Drain, Handled, Listen, Signal
from tests.conftest import MS, wait_until
from tests.mule.conftest import Stage
from tests.mule.test_sync import Worker

BLOCKING = pytest.mark.parametrize("is_blocking", [True])
BOTH = pytest.mark.parametrize("is_blocking", [False, True])


@pytest.fixture(autouse=True)
def noted(fresh_registry: Registry, blockbuster: BlockBuster) -> Registry:
    """The handlers of this process, which are the mule's."""
    # A pool of one thread starts it with the first handler and waits until it runs.
    acquire = blockbuster.functions["threading.Lock.acquire"]
    acquire.can_block_in("mule/signals.py", ["_run_in_executor", "give", "wake"])
    return fresh_registry


class Gate:
    """A ``def`` handler that stays until it is let out."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._out = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self, _number: int) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self._out.wait(20_000 * MS)

    def open(self) -> None:
        self._out.set()


class Spy:
    """Handlers that keep the numbers they were called with, and where they ran."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.threads: list[threading.Thread] = []

    def plain(self, number: int) -> None:
        self.numbers.append(number)
        self.threads.append(threading.current_thread())

    async def asynchronous(self, number: int) -> None:
        await asyncio.sleep(0)
        self.plain(number)


def fail(number: int) -> None:
    raise LookupError(f"signal {number}")


async def fail_soon(number: int) -> None:
    await asyncio.sleep(0)
    fail(number)


def is_listening(stage: Stage) -> bool:
    """Whether the master may send a signal, by what the mule said last."""
    told = [verb for verb in stage.master.said if isinstance(verb, Listen)]
    return bool(told) and told[-1].is_listening


async def listens(stage: Stage) -> None:
    await wait_until(partial(is_listening, stage))


def handled(stage: Stage) -> list[tuple[int, int]]:
    return [(verb.number, verb.outcome) for verb in stage.master.all(Handled)]


async def was_handled(stage: Stage, *expected: tuple[int, int]) -> None:
    await wait_until(lambda: len(handled(stage)) >= len(expected))
    assert handled(stage) == list(expected)


def registered(stage: Stage) -> list[object]:
    return [call.value["handler"] for call in stage.master.all(Call)]


# Registering


async def test_what_was_noted_is_registered_in_its_order(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "mules", spy.plain)
    unnumbered = noted.add(None, "", spy.asynchronous)

    await stage.runtime.signals.register_noted()

    calls = [call.value for call in stage.master.all(Call)]
    assert calls == [handler.question() for handler in noted.handlers]
    assert unnumbered.number == 200
    assert noted.by_number[200] is unnumbered


async def test_a_refusal_of_what_was_noted_is_raised(
    stage: Stage, noted: Registry
) -> None:
    noted.add(7, "", fail)
    stage.master.refusals["fail"] = NotAllowedError("not today")

    with pytest.raises(NotAllowedError, match="not today"):
        await stage.runtime.signals.register_noted()


async def test_what_a_thread_adds_later_is_registered_when_it_returns(
    stage: Stage, noted: Registry
) -> None:
    await stage.runtime.signals.register_noted()

    worker = Worker(lambda: noted.add(None, "", fail).number)

    assert await worker.end() == 200
    assert noted.by_number[200].function is fail


async def test_a_refusal_is_raised_in_the_thread_that_adds(
    stage: Stage, noted: Registry
) -> None:
    await stage.runtime.signals.register_noted()
    stage.master.refusals["fail"] = NotAllowedError("not today")

    error = await Worker(lambda: noted.add(7, "", fail)).end()

    assert isinstance(error, NotAllowedError)
    assert noted.handlers == []
    assert noted.by_number == {}


async def test_what_the_loop_adds_later_is_registered_meanwhile(
    stage: Stage, noted: Registry
) -> None:
    await stage.runtime.signals.register_noted()

    handler = noted.add(None, "", fail)
    number_at_once = handler.number
    await wait_until(lambda: handler.number is not None)

    assert number_at_once is None
    assert noted.by_number == {200: handler}


async def test_a_refusal_of_what_the_loop_added_is_told_to_the_loop(
    stage: Stage, noted: Registry
) -> None:
    await stage.runtime.signals.register_noted()
    stage.master.refusals["fail"] = NotAllowedError("not today")
    loop, told = asyncio.get_running_loop(), list[dict[str, object]]()
    guard = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: told.append(context))

    noted.add(7, "", fail)
    await wait_until(lambda: told)
    loop.set_exception_handler(guard)

    (context,) = told
    assert context["message"] == "handler fail is not registered"
    assert isinstance(context["exception"], RefusedError)
    assert noted.handlers == []
    assert noted.by_number == {}


# Listening


async def test_a_mule_without_handlers_does_not_listen(stage: Stage) -> None:
    await stage.runtime.signals.register_noted()
    with pytest.raises(TimeoutError):
        await api.mule_get_msg(timeout=1 * MS)
    await stage.all_heard()

    assert stage.master.all(Listen) == []


async def test_an_asyncio_mule_listens_as_soon_as_it_has_a_handler(
    stage: Stage, noted: Registry
) -> None:
    noted.add(7, "", fail)

    await stage.runtime.signals.register_noted()
    await stage.all_heard()

    assert stage.master.all(Listen) == [Listen(is_listening=True)]


@BLOCKING
async def test_a_blocking_mule_listens_while_a_thread_waits(
    stage: Stage, noted: Registry
) -> None:
    noted.add(7, "", fail)
    await stage.runtime.signals.register_noted()
    await stage.all_heard()
    told_at_first = stage.master.all(Listen)

    with pytest.raises(TimeoutError):
        await asyncio.to_thread(sync.mule_get_msg, timeout=20 * MS)
    await stage.all_heard()

    assert told_at_first == []
    assert stage.master.all(Listen) == [
        Listen(is_listening=True),
        Listen(is_listening=False),
    ]


async def test_a_signal_uses_up_the_listening(stage: Stage, noted: Registry) -> None:
    gate = Gate()
    noted.add(7, "", gate)
    await stage.runtime.signals.register_noted()
    await listens(stage)

    stage.master.send(Signal(7))
    await wait_until(gate.begun.is_set)
    await stage.all_heard()
    told_meanwhile = stage.master.all(Listen)
    gate.open()
    await wait_until(lambda: len(stage.master.all(Listen)) == 2)

    # Not that it does not listen: the master takes that for granted.
    assert told_meanwhile == [Listen(is_listening=True)]
    assert is_listening(stage)


async def test_a_mule_listens_on_while_a_coroutine_handler_runs(
    stage: Stage, noted: Registry
) -> None:
    out = asyncio.Event()

    async def stay(_number: int) -> None:
        await out.wait()

    noted.add(7, "", stay)
    noted.add(8, "", Spy().asynchronous)
    await stage.runtime.signals.register_noted()
    await listens(stage)

    stage.master.send(Signal(7))
    await wait_until(lambda: len(stage.master.all(Listen)) == 2)
    stage.master.send(Signal(8))
    await was_handled(stage, (8, Outcome.DONE))
    out.set()

    await was_handled(stage, (8, Outcome.DONE), (7, Outcome.DONE))


@BOTH
async def test_a_draining_mule_does_not_listen(stage: Stage, noted: Registry) -> None:
    spy = Spy()
    noted.add(7, "", spy.plain)
    await stage.runtime.signals.register_noted()
    worker = Worker(lambda: sync.mule_get_msg(timeout=5000 * MS))
    await listens(stage)

    stage.master.send(Drain())
    await wait_until(lambda: not is_listening(stage))
    stage.master.send(Signal(7))

    await was_handled(stage, (7, Outcome.RETURNED))
    assert spy.numbers == []
    assert not is_listening(stage)
    stage.runtime.end_waits()
    await worker.end()


async def test_a_mule_that_asks_for_no_signals_does_not_listen(
    stage: Stage, noted: Registry
) -> None:
    noted.add(7, "", fail)
    await stage.runtime.signals.register_noted()
    await listens(stage)

    asking = asyncio.create_task(api.mule_get_msg(signals=False))
    await wait_until(lambda: not is_listening(stage))
    stage.master.submit(b"a")

    assert await asking == b"a"
    await listens(stage)


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
async def test_a_signal_that_crosses_an_ask_for_no_signals_goes_back(
    stage: Stage, noted: Registry, kind: str
) -> None:
    spy = Spy()
    noted.add(7, "", getattr(spy, kind))
    await stage.runtime.signals.register_noted()
    asking = asyncio.create_task(api.mule_get_msg(signals=False))
    await wait_until(lambda: stage.master.limits[0])

    stage.master.send(Signal(7))
    await was_handled(stage, (7, Outcome.RETURNED))
    stage.master.submit(b"a")

    assert await asking == b"a"
    assert spy.numbers == []


@BLOCKING
async def test_a_thread_that_asks_for_no_signals_does_not_listen(
    stage: Stage, noted: Registry
) -> None:
    noted.add(7, "", fail)
    await stage.runtime.signals.register_noted()

    worker = Worker(lambda: sync.mule_get_msg(signals=False))
    await wait_until(lambda: stage.master.limits[0])
    await stage.all_heard()
    stage.master.submit(b"a")

    assert await worker.end() == b"a"
    assert stage.master.all(Listen) == []


# Running


@BOTH
async def test_a_coroutine_handler_is_a_task_on_the_loop_of_the_link(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.asynchronous)
    await stage.runtime.signals.register_noted()

    stage.master.send(Signal(7))

    await was_handled(stage, (7, Outcome.DONE))
    assert spy.numbers == [7]
    assert spy.threads == [threading.current_thread()]


@BLOCKING
@pytest.mark.parametrize("wait", ["mule_get_msg", "signal_wait"])
async def test_a_blocking_program_runs_a_handler_in_the_thread_that_waits(
    stage: Stage, noted: Registry, wait: str
) -> None:
    spy = Spy()
    noted.add(7, "", spy.plain)
    await stage.runtime.signals.register_noted()
    worker = Worker(getattr(sync, wait))
    await listens(stage)

    stage.master.send(Signal(7))
    await was_handled(stage, (7, Outcome.DONE))
    stage.master.submit(b"a")

    assert await worker.end() == (b"a" if wait == "mule_get_msg" else 7)
    assert spy.threads == [worker]


@BLOCKING
async def test_a_signal_for_a_blocking_program_at_work_goes_back(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.plain)
    await stage.runtime.signals.register_noted()

    stage.master.send(Signal(7))

    await was_handled(stage, (7, Outcome.RETURNED))
    assert spy.numbers == []


async def test_an_asyncio_program_runs_handlers_one_by_one_in_one_thread(
    stage: Stage, noted: Registry
) -> None:
    gate, spy = Gate(), Spy()
    noted.add(7, "", gate)
    noted.add(8, "", spy.plain)
    await stage.runtime.signals.register_noted()
    await listens(stage)

    stage.master.send(Signal(7))
    await wait_until(gate.begun.is_set)
    stage.master.send(Signal(8))
    await was_handled(stage, (8, Outcome.RETURNED))
    gate.open()
    await listens(stage)
    await was_handled(stage, (8, Outcome.RETURNED), (7, Outcome.DONE))
    stage.master.send(Signal(8))
    await wait_until(lambda: spy.numbers)

    assert spy.numbers == [8]
    assert spy.threads == [gate.thread]
    assert gate.thread is not threading.current_thread()


async def test_a_signal_that_nobody_registered_goes_back(stage: Stage) -> None:
    stage.master.send(Signal(7))

    await was_handled(stage, (7, Outcome.RETURNED))


@BLOCKING
async def test_a_handler_that_raises_has_failed_and_the_thread_waits_on(
    stage: Stage, noted: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    noted.add(7, "", fail)
    await stage.runtime.signals.register_noted()
    worker = Worker(sync.mule_get_msg)
    await listens(stage)

    stage.master.send(Signal(7))
    await was_handled(stage, (7, Outcome.FAILED))
    await wait_until(lambda: len(stage.master.all(Listen)) == 2)
    stage.master.submit(b"a")

    assert await worker.end() == b"a"
    assert "LookupError: signal 7" in capsys.readouterr().err


async def test_handlers_that_raise_do_not_stop_an_asyncio_mule(
    stage: Stage, noted: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    noted.add(7, "", fail)
    noted.add(8, "", fail_soon)
    await stage.runtime.signals.register_noted()
    await listens(stage)

    stage.master.send(Signal(7))
    await was_handled(stage, (7, Outcome.FAILED))
    stage.master.send(Signal(8))
    await was_handled(stage, (7, Outcome.FAILED), (8, Outcome.FAILED))

    await listens(stage)
    said = capsys.readouterr().err
    assert "LookupError: signal 7" in said
    assert "LookupError: signal 8" in said


@BLOCKING
async def test_a_handler_that_ends_the_program_was_run(
    stage: Stage, noted: Registry
) -> None:
    def leave(_number: int) -> None:
        raise SystemExit(3)

    noted.add(7, "", leave)
    await stage.runtime.signals.register_noted()
    worker = Worker(sync.mule_get_msg)
    await listens(stage)

    stage.master.send(Signal(7))

    assert isinstance(await worker.end(), SystemExit)
    await was_handled(stage, (7, Outcome.DONE))


@BLOCKING
async def test_a_get_times_out_when_its_handler_took_that_long(
    stage: Stage, noted: Registry
) -> None:
    gate = Gate()
    noted.add(7, "", gate)
    await stage.runtime.signals.register_noted()
    worker = Worker(lambda: sync.mule_get_msg(timeout=100 * MS))
    await listens(stage)

    stage.master.send(Signal(7))
    await wait_until(gate.begun.is_set)
    await asyncio.wait([asyncio.ensure_future(worker.end())], timeout=150 * MS)
    was_running = worker.is_alive()
    gate.open()

    # A handler is not cut short; it is the wait after it that has no time left.
    assert was_running
    assert isinstance(await worker.end(), TimeoutError)
    await was_handled(stage, (7, Outcome.DONE))


@BLOCKING
async def test_a_message_that_came_during_a_handler_is_taken_after_it(
    stage: Stage, noted: Registry
) -> None:
    gate = Gate()
    noted.add(7, "", gate)
    await stage.runtime.signals.register_noted()
    worker = Worker(lambda: sync.mule_get_msg(timeout=20_000 * MS))
    await listens(stage)

    stage.master.send(Signal(7))
    await wait_until(gate.begun.is_set)
    ids = stage.master.submit(b"a")
    gate.open()

    assert await worker.end() == b"a"
    await stage.all_heard()
    assert stage.held_ids() == ids


# Waiting


async def test_a_coroutine_waits_for_any_signal_or_for_a_certain_one(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.plain)
    noted.add(8, "", spy.asynchronous)
    await stage.runtime.signals.register_noted()
    any_signal = asyncio.create_task(api.signal_wait())
    certain = asyncio.create_task(api.signal_wait(8))
    await listens(stage)

    stage.master.send(Signal(7))
    seen = await any_signal
    await stage.all_heard()
    was_waiting = not certain.done()
    stage.master.send(Signal(8))

    assert seen == 7
    assert was_waiting
    assert await certain == 8
    assert spy.numbers == [7, 8]


async def test_a_signal_without_a_handler_can_be_waited_for(stage: Stage) -> None:
    await stage.runtime.signals.register_noted()

    waiting = asyncio.create_task(api.signal_wait(9))
    await listens(stage)
    stage.master.send(Signal(9))

    assert await waiting == 9
    await was_handled(stage, (9, Outcome.DONE))
    (call,) = stage.master.all(Call)
    assert (call.value["signal"], call.value["target"]) == (9, "mules")


@BLOCKING
async def test_a_thread_waits_for_a_signal_without_a_handler(stage: Stage) -> None:
    await stage.runtime.signals.register_noted()

    worker = Worker(lambda: sync.signal_wait(9))
    await listens(stage)
    stage.master.send(Signal(9))

    assert await worker.end() == 9
    await was_handled(stage, (9, Outcome.DONE))
    await wait_until(lambda: not stage.runtime.signals._threads)


@BLOCKING
async def test_a_thread_that_waits_for_one_signal_runs_the_others_too(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.plain)
    noted.add(8, "", spy.plain)
    await stage.runtime.signals.register_noted()
    worker = Worker(lambda: sync.signal_wait(8, timeout=20_000 * MS))
    await listens(stage)

    stage.master.send(Signal(7))
    await was_handled(stage, (7, Outcome.DONE))
    await wait_until(lambda: len(stage.master.all(Listen)) == 2)
    was_waiting = worker.is_alive()
    stage.master.send(Signal(8))

    assert await worker.end() == 8
    assert was_waiting
    assert spy.threads == [worker, worker]


async def test_a_thread_of_an_asyncio_program_waits_for_a_handler_elsewhere(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.asynchronous)
    noted.add(8, "", spy.plain)
    await stage.runtime.signals.register_noted()
    worker = Worker(lambda: sync.signal_wait(8))
    await wait_until(lambda: stage.runtime.signals._threads)

    stage.master.send(Signal(7))
    await was_handled(stage, (7, Outcome.DONE))
    await wait_until(lambda: stage.runtime.signals._threads)
    stage.master.send(Signal(8))

    assert await worker.end() == 8
    assert worker not in spy.threads


async def test_a_signal_that_came_between_two_waits_is_told_to_the_next(
    stage: Stage,
) -> None:
    await stage.runtime.signals.register_noted()
    first = asyncio.create_task(api.signal_wait(9))
    await listens(stage)
    stage.master.send(Signal(9))
    await first

    # The program is at work, and its loop is free.
    stage.master.send(Signal(9))
    stage.master.send(Signal(9))
    await was_handled(stage, *[(9, Outcome.DONE)] * 3)
    second = await asyncio.wait_for(api.signal_wait(9), 5000 * MS)
    third = asyncio.create_task(api.signal_wait(9))
    await stage.all_heard()
    was_waiting = not third.done()
    stage.master.send(Signal(9))

    assert second == 9
    assert was_waiting
    assert await third == 9


@BLOCKING
async def test_a_signal_that_came_between_two_waits_is_told_to_the_next_thread(
    stage: Stage, noted: Registry
) -> None:
    await stage.runtime.signals.register_noted()
    noted.assigned(noted.add(9, "mules", None), 9)
    elsewhere = Worker(sync.mule_get_msg)
    await listens(stage)

    stage.master.send(Signal(9))
    await was_handled(stage, (9, Outcome.DONE))

    assert await Worker(sync.signal_wait).end() == 9
    assert isinstance(
        await Worker(lambda: sync.signal_wait(9, timeout=1 * MS)).end(), TimeoutError
    )
    stage.runtime.end_waits()
    await elsewhere.end()


@BLOCKING
async def test_a_thread_that_stopped_waiting_leaves_a_signal_to_the_next(
    stage: Stage, noted: Registry
) -> None:
    await stage.runtime.signals.register_noted()
    noted.add(9, "mules", None)
    noted.add(8, "", Spy().asynchronous)
    for number, is_told in ((8, False), (9, True)):
        late = _SignalWaiter(number)
        with stage.runtime.lock:
            stage.runtime.signals.hear(late)
        stage.master.send(Signal(number))
        await wait_until(lambda one=late: one.job)  # type: ignore[misc]  # its default
        assert late.job is not None
        late.job.give_back()

        worker = Worker(partial(sync.signal_wait, number, timeout=1 * MS))
        assert (await worker.end() == number) is is_told


@BLOCKING
async def test_a_handler_in_one_thread_is_seen_by_those_that_wait_elsewhere(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.plain)
    await stage.runtime.signals.register_noted()
    first, second = Worker(sync.signal_wait), Worker(lambda: sync.signal_wait(7))
    await wait_until(lambda: len(stage.runtime.signals._threads) == 2)
    on_the_loop = asyncio.create_task(api.signal_wait(7))
    other = Worker(lambda: sync.signal_wait(8))
    await wait_until(lambda: len(stage.runtime.signals._threads) == 3)
    await listens(stage)

    stage.master.send(Signal(7))

    assert [await first.end(), await second.end(), await on_the_loop] == [7, 7, 7]
    assert spy.numbers == [7]
    assert other.is_alive()
    stage.runtime.end_waits()
    await other.end()


@BOTH
async def test_a_wait_for_a_signal_in_a_thread_times_out(stage: Stage) -> None:
    await stage.runtime.signals.register_noted()

    error = await Worker(lambda: sync.signal_wait(timeout=1 * MS)).end()

    assert isinstance(error, TimeoutError)
    assert str(error) == f"no signal within {1 * MS} seconds"
    assert not stage.runtime.signals._threads


async def test_a_wait_for_a_signal_can_be_cancelled(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.asynchronous)
    await stage.runtime.signals.register_noted()
    waiting = asyncio.create_task(api.signal_wait(7))
    await listens(stage)

    waiting.cancel()
    await asyncio.wait([waiting])
    stage.master.send(Signal(7))

    await was_handled(stage, (7, Outcome.DONE))
    assert spy.numbers == [7]


async def test_several_wait_for_the_same_signal(stage: Stage, noted: Registry) -> None:
    noted.add(7, "", Spy().asynchronous)
    await stage.runtime.signals.register_noted()
    waits = [asyncio.create_task(api.signal_wait(7)) for _ in range(3)]
    elsewhere = asyncio.create_task(
        asyncio.to_thread(lambda: asyncio.run(api.signal_wait()))
    )
    await wait_until(lambda: len(stage.runtime.signals._waits) == 4)

    stage.master.send(Signal(7))

    assert await asyncio.gather(*waits, elsewhere) == [7, 7, 7, 7]


@pytest.mark.usefixtures("stage")
async def test_a_number_out_of_range_cannot_be_waited_for() -> None:
    with pytest.raises(ValueError, match="signal 256; allowed: 0 to 255"):
        await api.signal_wait(256)
    with pytest.raises(ValueError, match="signal 256"):
        sync.signal_wait(256)


async def test_signals_are_waited_for_in_a_mule_only() -> None:
    with pytest.raises(NotInMuleError, match="signal_wait"):
        await api.signal_wait()
    with pytest.raises(NotInMuleError, match="signal_wait"):
        sync.signal_wait()


# Interrupted, and the end


@BLOCKING
async def test_a_thread_that_stopped_waiting_gives_the_signal_back(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.plain)
    await stage.runtime.signals.register_noted()
    # A thread whose time was over when the signal came, and has not yet said so.
    late = ThreadWaiter()
    with stage.runtime.lock:
        stage.runtime.signals.hear(late)

    stage.master.send(Signal(7))
    await wait_until(lambda: late.job)
    assert late.job is not None
    late.job.give_back()

    await was_handled(stage, (7, Outcome.RETURNED))
    assert spy.numbers == []


@BLOCKING
async def test_a_mule_that_gave_a_signal_back_says_again_that_it_listens(
    stage: Stage, noted: Registry
) -> None:
    spy = Spy()
    noted.add(7, "", spy.plain)
    await stage.runtime.signals.register_noted()
    late = ThreadWaiter()
    with stage.runtime.lock:
        stage.runtime.signals.hear(late)
    stage.runtime.link.flush_soon()
    await listens(stage)
    stage.master.send(Signal(7))
    await wait_until(lambda: late.job)
    worker = Worker(sync.signal_wait)
    await wait_until(lambda: len(stage.master.all(Listen)) == 2)

    assert late.job is not None
    late.job.give_back()
    await was_handled(stage, (7, Outcome.RETURNED))
    await stage.all_heard()
    after = stage.master.said[stage.master.said.index(Handled(7, Outcome.RETURNED)) :]
    stage.master.send(Signal(7))

    # To the master, who returns a signal does not listen, whatever it said before.
    assert Listen(is_listening=True) in after
    assert await worker.end() == 7


@BLOCKING
async def test_threads_that_wait_for_signals_end_with_the_program(
    stage: Stage, noted: Registry
) -> None:
    noted.add(7, "", fail)
    await stage.runtime.signals.register_noted()
    workers = [Worker(sync.signal_wait) for _ in range(3)]
    workers.append(Worker(sync.mule_get_msg))
    await wait_until(lambda: len(stage.runtime.signals._threads) == 4)

    stage.runtime.end_waits()
    late = Worker(sync.signal_wait)

    for worker in [*workers, late]:
        assert isinstance(await worker.end(), SystemExit)
    await stage.all_heard()
    assert not is_listening(stage)


@BLOCKING
async def test_a_nudge_lets_the_main_thread_look_up_and_wait_on(
    stage: Stage, noted: Registry
) -> None:
    noted.add(7, "", Spy().plain)
    await stage.runtime.signals.register_noted()
    worker = Worker(sync.signal_wait)
    await wait_until(lambda: stage.runtime.signals._threads)
    (waiter,) = stage.runtime.signals._threads
    stage.runtime.nudge_main_thread()
    was_left_alone = waiter in stage.runtime.signals._threads

    waiter.is_main = True
    stage.runtime.nudge_main_thread()
    await wait_until(
        lambda: (
            stage.runtime.signals._threads
            and waiter not in stage.runtime.signals._threads
        )
    )
    await listens(stage)
    stage.master.send(Signal(7))

    assert was_left_alone
    assert await worker.end() == 7


async def test_no_handler_outlives_the_program(stage: Stage, noted: Registry) -> None:
    ended: list[str] = []

    async def stay(_number: int) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("cancelled")

    gate = Gate()
    noted.add(7, "", stay)
    noted.add(8, "", gate)
    await stage.runtime.signals.register_noted()
    await listens(stage)
    stage.master.send(Signal(7))
    stage.master.send(Signal(8))
    await wait_until(gate.begun.is_set)

    await stage.runtime.close(None)
    gate.open()

    assert ended == ["cancelled"]
    assert noted.on_added is None
    assert handled(stage) == [(7, Outcome.RETURNED)]
    assert isinstance(stage.master.said[-1], Close)
    assert gate.thread is not None
    await wait_until(lambda: gate.thread and not gate.thread.is_alive())


@BLOCKING
async def test_a_thread_does_not_wait_once_it_need_not(stage: Stage) -> None:
    run_one = partial(stage.runtime.signals.run_one, None, None, unless=lambda: True)

    assert await asyncio.to_thread(run_one) == -1
