"""Calling a function that a mule runs, from a loop and without one."""

import asyncio
import pickle
from collections.abc import Iterator

import msgspec.msgpack
import pytest

import pymule
import pymule.sync
from pymule.client import sync
from pymule.client.api import default_client
from pymule.client.mulefunc import MuleFunc, mulefunc
from pymule.errors import UnknownTargetError
from pymule.functions import Functions
from tests.client.fake_master import FakeMaster

NAME = "tests.client.test_mulefunc:add"
QUEUE = f"func:{NAME}"


class Own:
    """What msgpack cannot say."""

    def __init__(self, value: int) -> None:
        self.value = value


def add(one: object, two: object = 0) -> str:
    """Add, somewhere else."""
    return f"{one} {two}"


@pytest.fixture(autouse=True)
def noted(fresh_functions: Functions) -> Functions:
    """The functions of this process."""
    return fresh_functions


@pytest.fixture
def blocking(
    master: FakeMaster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeMaster]:
    """A master to which the blocking client of this process goes."""
    monkeypatch.setattr(sync, "_client", None)
    yield master
    sync.default_client().close()


def arguments(master: FakeMaster) -> list[object]:
    bodies = master.bodies(QUEUE)
    assert {body[:1] for body in bodies} == {b"\1"}
    return [msgspec.msgpack.decode(body[1:]) for body in bodies]


def test_it_is_one_name_for_loops_and_threads() -> None:
    assert pymule.mulefunc is pymule.sync.mulefunc is mulefunc


@pytest.mark.parametrize(
    ("function", "target"),
    [
        (mulefunc(add), "mule"),
        (mulefunc()(add), "mule"),
        (mulefunc(2)(add), "mule2"),
        (mulefunc("busy")(add), "farm:busy"),
    ],
    ids=["bare", "empty", "number", "farm"],
)
def test_the_decorator_keeps_the_function_and_notes_its_mules(
    function: MuleFunc[[object, object], str], target: str, noted: Functions
) -> None:
    noted.add(function._noted)

    assert function.function(1, 2) == "1 2"
    assert function.__wrapped__ is add
    assert (function.__name__, function.__doc__) == ("add", add.__doc__)
    assert function.target == target
    assert noted.by_name[NAME].function is add
    assert repr(function) == f"<mulefunc {NAME} of {target}>"


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="mulefunc of 3; allowed: a function"):
        mulefunc(2)(3)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("where", [-1, "no farm"])
def test_a_wrong_target_is_refused_where_it_is_written(where: int | str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        mulefunc(where)


async def test_in_a_loop_a_call_is_a_task(master: FakeMaster) -> None:
    function = mulefunc(add)
    changing = [1]

    call = function(changing, two="x")
    changing.append(2)

    assert isinstance(call, asyncio.Task)
    assert await call == 1
    assert arguments(master) == [[[[1]], {"two": "x"}]]
    await (await default_client()).close()


async def test_a_refusal_is_raised_by_the_task(master: FakeMaster) -> None:
    master.refusals[QUEUE] = UnknownTargetError(QUEUE, [])
    call = mulefunc(add)(1)

    assert isinstance(call, asyncio.Task)
    with pytest.raises(UnknownTargetError):
        await call
    await (await default_client()).close()


def test_without_a_loop_a_call_blocks_for_the_id(blocking: FakeMaster) -> None:
    function = mulefunc(add)

    assert [function(1), function(one=2)] == [1, 2]

    assert arguments(blocking) == [[[1], {}], [[], {"one": 2}]]


def test_what_msgpack_cannot_say_is_pickled_where_it_is_allowed(
    blocking: FakeMaster,
) -> None:
    blocking.welcome["allow_pickle"] = True

    mulefunc(add)(Own(3), two=4)

    (body,) = blocking.bodies(QUEUE)
    (own,), named = pickle.loads(body[1:])  # noqa: S301  (our own)
    assert (body[:1], own.value, named) == (b"\2", 3, {"two": 4})


@pytest.mark.parametrize(
    ("args", "named", "which"),
    [
        ((1, Own(2)), {}, "2 is Own"),
        ((), {"one": [Own(2)]}, "one is list: Encoding objects of type Own"),
        ((2**70,), {}, "1 is int"),
    ],
)
def test_elsewhere_an_argument_that_cannot_be_said_is_an_error_that_names_it(
    blocking: FakeMaster,
    args: tuple[object, ...],
    named: dict[str, object],
    which: str,
) -> None:
    with pytest.raises(TypeError, match=f"{NAME}: argument {which}"):
        mulefunc(add)(*args, **named)

    assert blocking.received == []


async def test_elsewhere_the_task_raises_it(master: FakeMaster) -> None:
    call = mulefunc(add)(Own(1))

    assert isinstance(call, asyncio.Task)
    with pytest.raises(TypeError, match="argument 1 is Own"):
        await call
    assert master.received == []
    await (await default_client()).close()


def test_what_cannot_be_pickled_either_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="argument 1 is generator"):
        mulefunc(add)(number for number in range(3))


async def test_a_call_may_have_the_options_of_a_message(master: FakeMaster) -> None:
    call = mulefunc(add).with_options(delay=60, key="user 7")(1, two=2)

    assert isinstance(call, asyncio.Task)
    assert await call == 1
    assert arguments(master) == [[[1], {"two": 2}]]
    assert master.submits[0].options == b'{"delay":60,"key":"user 7"}'
    await (await default_client()).close()


def test_a_blocking_call_may_have_the_options_of_a_message(
    blocking: FakeMaster,
) -> None:
    later = mulefunc(add).with_options(priority=9)

    assert [later(1), later(2)] == [1, 2]
    assert [s.options for s in blocking.submits] == [b'{"priority":9}'] * 2
    with pytest.raises(ValueError, match="priority 10; allowed"):
        mulefunc(add).with_options(priority=10)
