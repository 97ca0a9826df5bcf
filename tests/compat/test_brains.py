"""Functions that messages call, and brains that decorators make."""

import pickle

import pytest

from pymule.compat import brains, hooks
from pymule.compat.host import host


def add(first: int, second: int = 0) -> None:
    done.append(first + second)


def fail() -> None:
    raise ValueError("a brain's")


done: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


def test_a_call_is_the_pickle_that_uwsgi_sends() -> None:
    assert pickle.loads(brains.pack_call("add", (1,), {"second": 2})) == {  # noqa: S301  (ours)
        "service": "uwsgi_mulefunc",
        "func": "add",
        "args": (1,),
        "kwargs": {"second": 2},
    }


def test_a_function_is_called_by_its_bare_name() -> None:
    assert brains.note_function(add) == "add"

    brains.mule_msg_dispatcher(brains.pack_call("add", (1,), {"second": 2}))

    assert done == [3]


@pytest.mark.parametrize(
    "message",
    [b"text", pickle.dumps([1, 2]), pickle.dumps({"service": "other", "func": "add"})],
)
def test_what_is_not_for_us_is_left_to_others(message: bytes) -> None:
    brains.note_function(add)

    brains.mule_msg_dispatcher(message)

    assert done == []


def test_a_function_that_is_not_here_is_a_clear_error() -> None:
    brains.note_function(add)

    with pytest.raises(LookupError, match=r"no @mulefunc 'sub' .* known: add"):
        brains.mule_msg_dispatcher(brains.pack_call("sub", (), {}))


def test_a_mule_takes_messages_only_for_functions_that_it_has() -> None:
    assert hooks.hooks() == []

    brains.note_function(add)
    brains.note_function(fail)

    assert hooks.hooks() == [brains.mule_msg_dispatcher]


def test_the_chain_goes_on_after_one_that_raises(
    capsys: pytest.CaptureFixture[str],
) -> None:
    brains.postfork_chain.extend([fail, lambda: add(1)])

    brains.postfork_chain_hook()

    assert done == [1]
    assert "ValueError: a brain's" in capsys.readouterr().err


def test_a_brain_runs_in_its_mule_only() -> None:
    for number in (0, 1, 2):
        host.mule = {"id": number, "farms": []}
        brains.mule_brain(lambda: add(host.mule_id), 2)()

    assert done == [2]


def test_an_error_in_a_brain_ends_the_mule(capsys: pytest.CaptureFixture[str]) -> None:
    host.mule = {"id": 1, "farms": []}

    with pytest.raises(SystemExit) as caught:
        brains.mule_brain(fail, 1)()

    assert caught.value.code == 1
    assert "ValueError: a brain's" in capsys.readouterr().err


def test_a_loop_goes_on_until_it_fails() -> None:
    host.mule = {"id": 1, "farms": []}

    def count() -> None:
        add(1)
        if len(done) == 3:
            raise SystemExit

    with pytest.raises(SystemExit):
        brains.mule_brainloop(count, 1)()

    assert done == [1, 1, 1]


def test_a_loop_of_a_farm_is_in_each_of_its_mules() -> None:
    host.mule = {"id": 1, "farms": ["busy"]}

    assert brains.farm_loop(add, b"busy").is_here()
    assert not brains.farm_loop(add, "idle").is_here()
