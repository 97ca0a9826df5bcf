"""What becomes of the message in the hand of a task or thread that ends."""

import asyncio
import gc

import pytest

from pymule.mule import api
from pymule.mule.api import farm_get_msg, mule_get_msg
from pymule.mule.hands import describe_error
from pymule.sansio.verbs import (
    Nack,
)
from pymule.verdicts import Reject, Retry
from tests.conftest import wait_until
from tests.mule.conftest import Stage


async def test_a_task_that_failed_as_the_program_ended_keeps_its_message(
    stage: Stage,
) -> None:
    ids = stage.master.submit(b"a")

    async def fail() -> None:
        await mule_get_msg()
        raise LookupError

    task = asyncio.create_task(fail())
    await wait_until(task.done)
    hands = dict(stage.runtime.hands.by_owner)
    await stage.runtime.close(None)

    assert stage.master.acked == []
    assert not hands or stage.held_ids() == ids
    assert isinstance(task.exception(), LookupError)


async def test_an_error_that_nobody_awaits_is_still_logged(stage: Stage) -> None:
    stage.master.submit(b"a")
    logged: list[str] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: logged.append(context["message"]))

    async def fail() -> None:
        await mule_get_msg()
        raise LookupError

    task = asyncio.create_task(fail())
    await wait_until(lambda: stage.master.all(Nack))
    del task
    gc.collect()
    loop.set_exception_handler(handler)

    assert logged == ["Task exception was never retrieved"]


def _fail(text: str) -> None:
    raise ValueError(text)


def test_an_error_travels_with_type_text_and_the_end_of_its_traceback() -> None:
    with pytest.raises(ValueError, match="xxx") as caught:
        _fail("x" * 10_000)
    error = describe_error(caught.value)

    assert error["type"] == "ValueError"
    assert len(str(error["text"])) == 8_000
    assert len(str(error["traceback"])) == 8_000


async def test_a_task_that_changes_lanes_has_asked(stage: Stage) -> None:
    (first,) = stage.master.submit(b"a")
    stage.master.submit(b"b", source="farm:busy")

    await mule_get_msg(farms=False)
    await farm_get_msg("busy")
    await stage.all_heard()

    assert stage.master.acked == [first]
    assert len(api.running_hands) == 1


@pytest.mark.parametrize(
    ("error", "delay", "is_final"),
    [(Retry(2.5), 2.5, False), (Retry(), -1, False), (Reject("no"), -1, True)],
)
async def test_a_task_that_ends_with_a_verdict_is_obeyed(
    stage: Stage,
    error: Exception,
    delay: float,
    is_final: bool,  # noqa: FBT001  (a parameter)
) -> None:
    stage.master.submit(b"a")

    async def fail() -> None:
        await mule_get_msg()
        raise error

    task = asyncio.create_task(fail())
    await wait_until(lambda: stage.master.all(Nack))

    (nack,) = stage.master.all(Nack)
    assert (nack.delay, nack.final) == (delay, is_final)
    assert task.exception() is error


def test_what_was_raised_from_a_verdict_is_described_as_the_verdict() -> None:
    error = ExceptionGroup("unhandled errors", [Reject("no such customer")])

    described = describe_error(error)

    assert (described["type"], described["text"]) == ("Reject", "no such customer")
    assert "unhandled errors" in str(described["traceback"])
