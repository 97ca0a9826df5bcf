"""One registration, however many processes ask for it."""

import asyncio
from collections.abc import Callable

import pytest

from pymule import handlers
from pymule.compat import sources
from pymule.errors import NoFreeSignalError, NoHandlerError, SignalConflictError
from pymule.handlers import Handler, registry
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer
from tests.compat.conftest import Answers

Said = tuple[Answers, list[JsonObject]]


@pytest.fixture(autouse=True)
def _in_a_mule(be_a_mule: Callable[..., None]) -> None:
    be_a_mule()


def every_second(number: int) -> sources.Decorator:
    return handlers.timer(1, signum=number)


def taken(*numbers: int) -> JsonObject:
    return {"signals": [{"signal": n, "handler": f"h{n}"} for n in numbers]}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("", ""),
        (b"mule2", "mule2"),
        ("active-workers", "workers"),
        ("farm_busy", "farm_busy"),
    ],
)
def test_a_target_is_read_as_uwsgi_has_it(theirs: str | bytes, ours: str) -> None:
    assert sources.read_target(theirs) == ours


@pytest.mark.parametrize("target", ["spooler", "cluster", "mulex"])
def test_an_unknown_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=target):
        sources.read_target(target)


def test_a_source_has_a_number_far_from_those_people_use(answers: Said) -> None:
    answers[0]["signals"] = taken(255, 3)

    sources.add_source("one", 1, every_second)
    sources.add_source("two", 1, every_second)

    assert sorted(registry.by_number) == [253, 254]


def test_it_is_the_number_that_another_process_got(answers: Said) -> None:
    answers[0]["signals"] = {"signals": [{"signal": 99, "handler": "one#1"}]}

    sources.add_source("one", 1, every_second)

    assert [handler.number for handler in registry.handlers] == [99]


def test_the_same_source_twice_is_two(answers: Said) -> None:
    assert answers
    for _ in range(2):
        sources.add_source("one", 1, every_second)

    assert [handler.name for handler in registry.handlers] == ["one#1", "one#2"]


def test_a_number_that_was_taken_meanwhile_is_no_obstacle(answers: Said) -> None:
    refused: list[int | None] = []

    def on_added(handler: Handler) -> None:
        if not refused:
            refused.append(handler.number)
            answers[0]["signals"] = taken(255)
            raise SignalConflictError(255, "there", "here")

    registry.on_added = on_added

    sources.add_source("one", 1, every_second)

    assert refused == [255]
    assert list(registry.by_number) == [254]


def test_a_source_that_the_master_refuses_is_an_error(answers: Said) -> None:
    assert answers

    def on_added(_handler: Handler) -> None:
        raise SignalConflictError(255, "there", "here")

    registry.on_added = on_added

    with pytest.raises(ValueError, match="unable to add one"):
        sources.add_source("one", 1, every_second)


def test_when_all_numbers_are_taken_it_is_an_error(answers: Said) -> None:
    answers[0]["signals"] = taken(*range(256))

    with pytest.raises(ValueError, match="unable to add one"):
        sources.add_source("one", 1, every_second)
    with pytest.raises(NoFreeSignalError):
        sources.free_number()


def test_a_conflict_is_the_error_that_uwsgi_has(answers: Said) -> None:
    assert answers
    sources.note(handlers.signal(1), print)

    with pytest.raises(ValueError, match="unable to register signal"):
        sources.note(handlers.signal(1, target="mules"), print)


def tick() -> None:
    """Run the handler of the only source, as the master would have it run."""
    function = registry.handlers[0].function
    assert function is not None

    async def run() -> None:
        await function(255)  # type: ignore[misc]  # a coroutine function

    asyncio.run(run())


def test_a_tick_raises_the_signal_that_was_asked_for(answers: Said) -> None:
    sources.add_source("one", 17, every_second)

    tick()

    assert {"method": "raise", "signal": 17} in answers[1]


def test_a_tick_for_nobody_is_told_in_the_log(
    answers: Said, master: FakeMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answers
    sources.add_source("one", 17, every_second)
    error = NoHandlerError(17, "", [])

    def refuse(peer: Peer, call: Call) -> None:
        value: JsonObject = {"code": error.code, "detail": error.to_detail()}
        peer.send(Reply(call.id, ReplyKind.ERROR, value))

    master.on_call = refuse
    tick()

    assert "uwsgi: one#1: " in capsys.readouterr().err


def test_free_and_registered_numbers_are_here_or_elsewhere(answers: Said) -> None:
    answers[0]["signals"] = taken(0, 2)
    sources.note(handlers.signal(1), print)

    assert sources.free_number() == 3
    assert [n for n in range(5) if sources.is_registered(n)] == [0, 1, 2]
