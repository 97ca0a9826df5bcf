"""Blocking consumers, in threads beside the loop of the link."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from pymule.errors import LocalProtocolError
from pymule.mule import sync
from pymule.mule.api import mule_get_msg
from pymule.sansio.verbs import Nack
from pymule.verdicts import Reject, Retry
from tests.conftest import MS, wait_until
from tests.mule.conftest import Stage

T = TypeVar("T")


class Worker(threading.Thread):
    """A thread that keeps what it returned or raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: object = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as exc:  # noqa: BLE001  (told to the test)
            self.result = exc

    async def end(self) -> object:
        await wait_until(lambda: not self.is_alive())
        return self.result


async def test_a_thread_gets_messages_in_order(stage: Stage) -> None:
    bodies = [b"%d" % number for number in range(500)]
    ids = stage.master.submit(*bodies)

    worker = Worker(lambda: [sync.mule_get_msg() for _ in bodies])

    assert await worker.end() == bodies
    await stage.all_heard()
    assert stage.master.acked == ids[:-1]
    assert stage.held_ids() == ids[-1:]


async def test_a_thread_waits_for_a_message(stage: Stage) -> None:
    worker = Worker(lambda: sync.mule_get_msg(timeout=5000 * MS))
    await wait_until(lambda: stage.master.limits[0])

    stage.master.submit(b"a")

    assert await worker.end() == b"a"
    assert stage.runtime.link._stall_timer is None


async def test_a_thread_that_waited_in_vain_times_out(stage: Stage) -> None:
    worker = Worker(lambda: sync.mule_get_msg(timeout=1 * MS))

    error = await worker.end()

    assert isinstance(error, TimeoutError)
    await stage.all_heard()
    assert stage.master.limits[0] == 0


async def test_asking_again_after_a_timeout_gets_the_next_message(
    stage: Stage,
) -> None:
    def work() -> bytes:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                sync.mule_get_msg(timeout=0)
        return sync.mule_get_msg()

    worker = Worker(work)
    await wait_until(lambda: stage.master.limits[0])
    stage.master.submit(b"a")

    assert await worker.end() == b"a"
    assert stage.master.returned == []


async def test_several_threads_share_what_comes(stage: Stage) -> None:
    def work() -> list[bytes]:
        got = []
        while (body := sync.mule_get_msg()) != b"end":
            got.append(body)
        return got

    workers = [Worker(work) for _ in range(4)]
    ids = []
    for number in range(0, 400, 20):
        ids += stage.master.submit(*[b"%d" % n for n in range(number, number + 20)])
        await stage.all_heard()
    for _ in workers:
        ids += stage.master.submit(b"end")
    got = [await worker.end() for worker in workers]
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    await stage.all_heard()

    bodies = [body for bodies in got if isinstance(bodies, list) for body in bodies]
    assert sorted(bodies) == sorted(b"%d" % number for number in range(400))
    assert sorted(stage.master.acked) == ids


async def test_threads_and_a_loop_share_a_lane(stage: Stage) -> None:
    got: list[bytes] = []

    def work() -> None:
        while (body := sync.mule_get_msg()) != b"end":
            got.append(body)

    async def work_on_the_loop() -> None:
        while (body := await mule_get_msg()) != b"end":
            got.append(body)

    on_the_loop = asyncio.create_task(work_on_the_loop())
    await wait_until(lambda: stage.master.limits[0])
    ids = stage.master.submit(*[b"%d" % number for number in range(500)])
    workers = [Worker(work) for _ in range(2)]
    ids += stage.master.submit(*[b"%d" % number for number in range(500, 1_000)])
    for _ in range(3):
        ids += stage.master.submit(b"end")
    await on_the_loop
    for worker in workers:
        assert await worker.end() is None
    with pytest.raises(TimeoutError):
        await mule_get_msg(timeout=1 * MS)
    await stage.all_heard()

    assert sorted(got) == sorted(b"%d" % number for number in range(1_000))
    assert sorted(stage.master.acked) == ids


async def test_a_thread_from_another_lane_has_asked(stage: Stage) -> None:
    (first,) = stage.master.submit(b"a")
    stage.master.submit(b"b", source="farm:busy")

    def work() -> tuple[bytes, bytes]:
        return sync.mule_get_msg(farms=False), sync.farm_get_msg("busy")

    assert await Worker(work).end() == (b"a", b"b")
    await stage.all_heard()
    assert stage.master.acked == [first]


async def test_a_thread_cannot_ask_for_a_farm_of_others(stage: Stage) -> None:
    (number,) = stage.master.submit(b"a")

    def work() -> None:
        sync.mule_get_msg()
        sync.farm_get_msg("other")

    error = await Worker(work).end()

    assert isinstance(error, ValueError)
    assert stage.held_ids() == [number]


async def test_a_thread_that_raised_nacks(stage: Stage) -> None:
    ids = stage.master.submit(b"a", attempt=3)
    worker = Worker(sync.mule_get_msg)
    await worker.end()

    # What the program's excepthook does.
    stage.runtime.hands.owner_failed(worker, KeyError("customer"))
    stage.runtime.hands.owner_failed(worker, KeyError("told twice"))
    await wait_until(lambda: stage.master.all(Nack))

    (nack,) = stage.master.all(Nack)
    assert (nack.id, nack.attempt, nack.error["type"]) == (ids[0], 3, "KeyError")
    await wait_until(lambda: not stage.board.held())


async def test_a_thread_that_raised_with_nothing_in_hand_leaves_nothing(
    stage: Stage,
) -> None:
    worker = Worker(lambda: sync.mule_get_msg(timeout=0))
    error = await worker.end()
    assert isinstance(error, TimeoutError)

    stage.runtime.hands.owner_failed(worker, error)

    assert not stage.runtime.hands.by_owner


async def test_what_a_dead_thread_had_is_done_when_anyone_asks(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b")
    await Worker(sync.mule_get_msg).end()
    await stage.all_heard()
    acked_at_its_end = list(stage.master.acked)

    assert await Worker(sync.mule_get_msg).end() == b"b"
    await stage.all_heard()

    assert acked_at_its_end == []
    assert stage.master.acked == ids[:1]
    assert len(stage.runtime.hands.by_owner) == 1


async def test_receive_settles_in_a_thread(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b")

    def work() -> None:
        with sync.receive():
            pass
        with sync.receive(timeout=5000 * MS) as message:
            raise LookupError(message.body)

    error = await Worker(work).end()
    await wait_until(lambda: stage.master.all(Nack))
    await stage.all_heard()

    assert isinstance(error, LookupError)
    assert stage.master.acked == ids[:1]
    (nack,) = stage.master.all(Nack)
    assert (nack.id, nack.error["type"]) == (ids[1], "LookupError")


async def test_receive_in_a_thread_times_out_without_a_trace(stage: Stage) -> None:
    def work() -> None:
        with sync.receive("busy", timeout=1 * MS):
            pass

    assert isinstance(await Worker(work).end(), TimeoutError)

    assert not stage.runtime.link.lane("busy").hands


async def test_messages_in_a_thread_acknowledges_at_the_next(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b", b"c", source="farm:idle")

    def work() -> list[int]:
        seen = []
        for message in sync.messages("idle"):
            seen.append(message.id)
            if message.body == b"b":
                message.ack()
            if message.body == b"c":
                break
        return seen

    assert await Worker(work).end() == ids
    await stage.all_heard()
    assert stage.master.acked == ids[:2]


async def test_nacking_in_messages_does_not_give_away_the_next(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b")

    def work() -> None:
        iterator = sync.messages()
        next(iterator).nack()
        next(iterator)

    await Worker(work).end()
    await wait_until(lambda: stage.master.all(Nack))
    await stage.all_heard()

    assert stage.held_ids() == ids[1:]
    assert stage.master.acked == []


@pytest.mark.usefixtures("stage")
async def test_a_blocking_get_would_stop_the_loop_of_the_link() -> None:
    with pytest.raises(LocalProtocolError, match="would stop the loop"):
        sync.mule_get_msg()


async def test_threads_that_wait_end_with_the_program(stage: Stage) -> None:
    def work() -> None:
        sync.mule_get_msg()

    workers = [Worker(work) for _ in range(3)]
    await wait_until(lambda: stage.master.limits[0] == 3)

    stage.runtime.end_waits()
    late = Worker(work)

    for worker in [*workers, late]:
        assert isinstance(await worker.end(), SystemExit)


async def test_retry_and_reject_end_the_block_of_a_thread_only(stage: Stage) -> None:
    ids = stage.master.submit(b"a", b"b", b"c")

    def work() -> bytes:
        for verdict in (Retry(2.5), Reject("no such customer")):
            with sync.receive():
                raise verdict
        return sync.mule_get_msg()

    assert await Worker(work).end() == b"c"
    await stage.all_heard()

    retried, rejected = stage.master.all(Nack)
    assert (retried.id, retried.delay, retried.final) == (ids[0], 2.5, False)
    assert (rejected.id, rejected.final) == (ids[1], True)


async def test_a_thread_that_ends_with_a_retry_is_obeyed(stage: Stage) -> None:
    stage.master.submit(b"a")
    worker = Worker(sync.mule_get_msg)
    await worker.end()

    # What the program's excepthook does.
    stage.runtime.hands.owner_failed(worker, Retry(7))
    await wait_until(lambda: stage.master.all(Nack))

    assert stage.master.all(Nack)[0].delay == 7
