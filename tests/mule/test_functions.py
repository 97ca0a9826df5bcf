"""Functions in a mule: told to the master, run, and settled."""

import asyncio
import contextlib
import pickle
import threading
from collections.abc import AsyncIterator, Callable

import msgspec.msgpack
import pytest
from blockbuster import BlockBuster

from pymule.errors import UnsupportedError
from pymule.functions import Function, Functions, function_name, target_of_mules
from pymule.mule.api import mule_get_msg
from pymule.sansio.verbs import Call, Drain, JsonObject, Nack, Ready
from pymule.verdicts import Reject, Retry
from tests.conftest import wait_until
from tests.mule.conftest import MULE, Stage

HERE = "tests.mule.test_functions"
PICKLING = pytest.mark.parametrize("mule", [MULE | {"allow_pickle": True}])


@pytest.fixture(autouse=True)
def noted(fresh_functions: Functions, blockbuster: BlockBuster) -> Functions:
    """The functions of this process, which are the mule's."""
    # A thread that starts tells so; a handful of assignments later it waits.
    blockbuster.functions["threading.Lock.acquire"].can_block_in(
        "mule/functions.py", ["_told"]
    )
    return fresh_functions


seen: list[object] = []
threads: list[threading.Thread] = []


def plain(number: int, *more: int, word: "str" = "", **rest: float) -> None:
    seen.append((number, more, word, rest))
    threads.append(threading.current_thread())


async def asynchronous(*args: object) -> None:
    await asyncio.sleep(0)
    seen.append(args)


def around() -> object:
    """Be a def that returns what is to be awaited, as a decorator may."""
    return asynchronous("around")


def fails() -> None:
    raise LookupError("as it should")


def odd(thing: "threading.Thread", other: "Unknown") -> None:  # type: ignore[name-defined]  # noqa: F821  (what is tested)
    seen.append((thing, other))


def note(
    noted: Functions, function: Callable[..., object], where: int | str | None = None
) -> str:
    """Note *function*; return its queue."""
    one = Function(function_name(function), target_of_mules(where), function)
    noted.add(one)
    return one.queue


def body(*args: object, **kwargs: object) -> bytes:
    return b"\1" + msgspec.msgpack.encode([args, kwargs])


@contextlib.asynccontextmanager
async def serving(stage: Stage) -> AsyncIterator[None]:
    """Let the mule be ready, and end it."""
    seen.clear()
    threads.clear()
    stage.runtime.link.ready()
    await stage.all_heard()
    yield
    stage.runtime.end_waits()
    await wait_until(lambda: "pymule functions" not in names_of_threads())
    await stage.runtime.functions.close()


def names_of_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


async def nacked(stage: Stage) -> Nack:
    await wait_until(lambda: stage.master.all(Nack))
    return stage.master.all(Nack)[0]


async def test_the_master_hears_of_functions_before_the_mule_is_ready(
    stage: Stage, noted: Functions
) -> None:
    note(noted, plain)
    note(noted, asynchronous, "idle")
    note(noted, fails, 2)

    async with serving(stage):
        first, *_, ready = (
            one for one in stage.master.said if isinstance(one, Call | Ready)
        )

    assert isinstance(first, Call)
    assert first.value == {
        "method": "functions",
        "names": [f"{HERE}:plain", f"{HERE}:asynchronous"],
    }
    assert isinstance(ready, Ready)


async def test_a_mule_without_functions_tells_nothing(stage: Stage) -> None:
    async with serving(stage):
        assert stage.master.all(Call) == []
        assert stage.master.lanes == {}


async def test_a_def_runs_in_a_thread_and_is_acked_when_it_returned(
    stage: Stage, noted: Functions
) -> None:
    queue = note(noted, plain)
    async with serving(stage):
        ids = stage.master.submit(body(1), body(2, 3, word="x", y=4), source=queue)
        await wait_until(lambda: stage.master.acked == ids)

    assert seen == [(1, (), "", {}), (2, (3,), "x", {"y": 4.0})]
    assert {thread.name for thread in threads} == {"pymule functions"}


async def test_an_async_def_is_a_task_and_several_run_at_a_time(
    stage: Stage, noted: Functions
) -> None:
    queue = note(noted, asynchronous)
    async with serving(stage):
        ids = stage.master.submit(body(1), body(2), body(3), source=queue)
        await wait_until(lambda: sorted(stage.master.acked) == ids)

    assert sorted(seen, key=str) == [(1,), (2,), (3,)]


async def test_a_def_may_return_what_is_to_be_awaited(
    stage: Stage, noted: Functions
) -> None:
    queue = note(noted, around)
    async with serving(stage):
        ids = stage.master.submit(body(), source=queue)
        await wait_until(lambda: stage.master.acked == ids)

    assert seen == [("around",)]


async def test_a_function_that_is_noted_later_is_told_then(
    stage: Stage, noted: Functions
) -> None:
    async with serving(stage):
        queue = note(noted, plain)
        assert note(noted, plain) == queue
        await stage.all_heard()
        ids = stage.master.submit(body(1), source=queue)
        await wait_until(lambda: stage.master.acked == ids)

        assert len(stage.master.all(Call)) == 1


@pytest.mark.parametrize("function", [fails, around])
async def test_what_raises_is_given_back_with_its_error(
    stage: Stage,
    noted: Functions,
    function: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(globals(), "asynchronous", lambda _word: fails())
    queue = note(noted, function)
    async with serving(stage):
        stage.master.submit(body(), source=queue)
        nack = await nacked(stage)

    assert not nack.final
    assert (nack.error["type"], nack.error["text"]) == ("LookupError", "as it should")
    assert f"call of {queue[5:]} raised\n" in capsys.readouterr().err


async def later() -> None:
    raise Retry(2.5)


def never() -> None:
    raise Reject("no such customer")


async def test_a_verdict_of_a_function_is_obeyed(
    stage: Stage, noted: Functions, capsys: pytest.CaptureFixture[str]
) -> None:
    retrying, rejecting = note(noted, later), note(noted, never)
    async with serving(stage):
        (first,) = stage.master.submit(body(), source=retrying)
        (second,) = stage.master.submit(body(), source=rejecting)
        await wait_until(lambda: len(stage.master.all(Nack)) == 2)

    nacks = {nack.id: (nack.delay, nack.final) for nack in stage.master.all(Nack)}
    assert nacks == {first: (2.5, False), second: (-1, True)}
    said = capsys.readouterr().err.splitlines()
    assert sorted(said) == [
        f"call of {HERE}:later: Retry: try again in 2.5 seconds",
        f"call of {HERE}:never: Reject: no such customer",
    ]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (body(), "missing a required argument: 'number'"),
        (body("x"), "argument number: Expected `int`, got `str`"),
        (body(1, "x"), "argument more: Expected `int`, got `str` - at `$[0]`"),
        (body(1, y="x"), "argument rest: Expected `float`, got `str` - at `$[...]`"),
        (body(1, word=2), "argument word: Expected `str`, got `int`"),
        (b"", "its first byte is b''; allowed: 1 and 2"),
        (b"\1\xc1", "its arguments cannot be read: DecodeError("),
        (b"\1\x90", "it has no arguments; allowed: [args, kwargs]"),
        (b"\1\x92\x90\x81\1\2", "it has no arguments; allowed: [args, kwargs]"),
        (b"\2" + pickle.dumps(((1,), {})), "it is pickled, and allow_pickle is false"),
    ],
)
async def test_a_call_that_cannot_be_made_is_rejected_with_the_reason(
    stage: Stage, noted: Functions, call: bytes, reason: str
) -> None:
    queue = note(noted, plain)
    async with serving(stage):
        stage.master.submit(call, source=queue)
        nack = await nacked(stage)

    assert nack.final
    assert nack.error["type"] == "BadCall"
    assert str(nack.error["text"]).startswith(f"{HERE}:plain: {reason}")
    assert seen == []


async def test_a_function_that_is_gone_is_a_call_that_cannot_be_made(
    stage: Stage, noted: Functions
) -> None:
    queue = note(noted, plain)
    async with serving(stage):
        noted.by_name.clear()
        stage.master.submit(body(1), source=queue)
        nack = await nacked(stage)

    assert nack.error["text"] == f"{HERE}:plain: this mule has no such function"


@PICKLING
async def test_a_pickle_is_read_where_it_is_allowed_and_converts_nothing(
    stage: Stage, noted: Functions, mule: JsonObject
) -> None:
    assert mule["allow_pickle"]
    queue = note(noted, plain)
    async with serving(stage):
        pickled = b"\2" + pickle.dumps((({1, 2},), {}))
        ids = stage.master.submit(pickled, source=queue)
        await wait_until(lambda: stage.master.acked == ids)

    assert seen == [({1, 2}, (), "", {})]


async def test_annotations_that_mean_nothing_here_convert_nothing(
    stage: Stage, noted: Functions
) -> None:
    queue = note(noted, odd)
    async with serving(stage):
        ids = stage.master.submit(body(1, 2), source=queue)
        await wait_until(lambda: stage.master.acked == ids)

    assert seen == [(1, 2)]


async def test_a_function_that_takes_the_place_of_another_has_its_own_parameters(
    stage: Stage, noted: Functions
) -> None:
    queue = note(noted, plain)
    async with serving(stage):
        first = stage.master.submit(body(1), source=queue)
        await wait_until(lambda: stage.master.acked == first)
        noted.add(Function(f"{HERE}:plain", target_of_mules(None), odd))
        second = stage.master.submit(body(1, 2), source=queue)
        await wait_until(lambda: stage.master.acked == first + second)

    assert seen == [(1, (), "", {}), (1, 2)]


async def test_a_refusal_of_the_master_is_told(stage: Stage, noted: Functions) -> None:
    said: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: said.append(context)
    )
    stage.master.refusals[f"{HERE}:plain"] = UnsupportedError("functions")
    note(noted, plain)

    async with serving(stage):
        await wait_until(lambda: said)

    assert isinstance(said[0]["exception"], UnsupportedError)
    assert stage.master.lanes == {}


async def test_a_call_on_the_loop_that_is_cut_off_at_the_end_is_given_back(
    stage: Stage, noted: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(endless, "__qualname__", "endless")
    queue = note(noted, endless)
    async with serving(stage):
        stage.master.submit(body(), source=queue)
        await begun.wait()
    nack = await nacked(stage)

    assert nack.error["type"] == "CancelledError"


async def test_functions_that_wait_do_not_end_what_a_program_has_at_a_drain(
    stage: Stage, noted: Functions
) -> None:
    note(noted, asynchronous)
    async with serving(stage):
        ids = stage.master.submit(b"a")
        # A task of its own, as wait_for makes on Python 3.11.
        await asyncio.create_task(mule_get_msg())

        stage.master.send(Drain())
        await wait_until(lambda: stage.runtime.link.is_draining)
        await stage.all_heard()

        assert stage.master.acked == []
        assert list(stage.master.leased) == ids
