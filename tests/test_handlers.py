"""What a process notes of handlers, and how it runs them."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import pymule
from pymule.errors import NotAllowedError, SignalConflictError
from pymule.handlers import (
    ChangedFiles,
    Function,
    Handler,
    Registry,
    changed_files,
    run,
    run_async,
)
from pymule.sansio.signal_words import Outcome
from pymule.sansio.verbs import JsonObject

HERE = str(Path(__file__).absolute())


def rebuild(number: int) -> None:
    """Do nothing, as a handler."""


def clean_up(number: int) -> None:
    """Do nothing, as another one."""


async def rebuild_soon(number: int) -> None:
    """Do nothing, as a handler on a loop."""


class Callable_:  # noqa: N801  (named after what it is)
    """Something with a call and without code of its own."""

    def __call__(self, number: int) -> None:
        """Do nothing."""


def a_handler(function: Function | None) -> Handler:
    return Registry().add(7, "", function)


# Noting


def test_a_handler_with_a_number_is_found_by_it_at_once() -> None:
    registry = Registry()

    handler = registry.add(7, "mules", rebuild)

    assert registry.handlers == [handler]
    assert registry.by_number == {7: handler}
    assert (handler.wanted, handler.number) == (7, 7)


def test_a_handler_without_a_number_waits_for_that_of_the_master() -> None:
    registry = Registry()

    handler = registry.add(None, "", rebuild)
    found_before = dict(registry.by_number)
    registry.assigned(handler, 200)

    assert found_before == {}
    assert registry.by_number == {200: handler}
    assert (handler.wanted, handler.number) == (None, 200)


def test_a_handler_says_what_it_is_and_where_it_is_written() -> None:
    handler = Registry().add(7, "farm:busy", rebuild, overlap="queue")

    assert handler.question() == {
        "method": "register",
        "signal": 7,
        "target": "farm:busy",
        "identity": f"{HERE}:rebuild|farm:busy|queue|null#1",
        "handler": "rebuild",
        "place": f"{HERE}:{rebuild.__code__.co_firstlineno}",
        "overlap": "queue",
        "source": None,
    }


def test_what_is_no_plain_function_has_a_name_all_the_same() -> None:
    registry = Registry()

    for function in (partial(rebuild), Callable_(), None):
        registry.add(None, "", function)

    assert [(one.name, one.place) for one in registry.handlers] == [
        ("partial", "functools"),
        ("Callable_", __name__),
        ("signal_wait", "signal_wait"),
    ]


def test_the_same_handler_of_the_same_number_is_noted_once() -> None:
    registry = Registry()

    first = registry.add(7, "", rebuild)
    second = registry.add(7, "", rebuild)

    assert first is second
    assert registry.handlers == [first]


def test_processes_that_note_the_same_give_the_same_identities() -> None:
    identities = []
    for _ in range(2):
        registry = Registry()
        for _ in range(3):
            registry.add(None, "", rebuild)
        registry.add(None, "mules", rebuild)
        identities.append([handler.identity for handler in registry.handlers])

    assert identities[0] == identities[1]
    assert len(set(identities[0])) == 4


def test_closures_made_in_a_loop_have_identities_of_their_own() -> None:
    def make(step: int) -> Callable[[int], int]:
        return lambda number: number + step

    registry = Registry()

    for step in range(3):
        registry.add(10 + step, "", make(step))

    assert len({handler.identity for handler in registry.handlers}) == 3
    assert sorted(registry.by_number) == [10, 11, 12]


@pytest.mark.parametrize(
    "add",
    [
        pytest.param(lambda registry: registry.add(7, "", clean_up), id="function"),
        pytest.param(lambda registry: registry.add(7, "mules", rebuild), id="target"),
        pytest.param(
            lambda registry: registry.add(7, "", rebuild, overlap="allow"), id="overlap"
        ),
        pytest.param(
            lambda registry: registry.add(7, "", rebuild, source={"kind": "timer"}),
            id="source",
        ),
    ],
)
def test_a_number_has_one_handler(add: Callable[[Registry], object]) -> None:
    registry = Registry()
    handler = registry.add(7, "", rebuild)

    with pytest.raises(SignalConflictError, match="signal 7 is registered") as caught:
        add(registry)

    assert caught.value.number == 7
    assert caught.value.place == handler.place
    assert caught.value.other.startswith(f"{HERE}:")
    assert registry.handlers == [handler]


def test_a_conflict_names_both_places() -> None:
    registry = Registry()
    registry.add(7, "", rebuild)

    with pytest.raises(SignalConflictError) as caught:
        registry.add(7, "", clean_up)

    assert str(rebuild.__code__.co_firstlineno) in caught.value.place
    assert str(clean_up.__code__.co_firstlineno) in caught.value.other


def test_handlers_in_a_directory_with_a_number_sign_are_told_apart() -> None:
    def written_in(file: str, name: str) -> Function:
        found: dict[str, Function] = {}
        exec(compile(f"def {name}(number): pass", file, "exec"), found)  # noqa: S102  (our text)
        return found[name]

    registry = Registry()
    registry.add(7, "", written_in("/srv/c#/app.py", "rebuild"))

    with pytest.raises(SignalConflictError):
        registry.add(7, "", written_in("/srv/c#/app.py", "clean_up"))


def test_a_number_that_the_master_chose_is_taken_as_well() -> None:
    registry = Registry()
    registry.assigned(registry.add(None, "", rebuild), 7)

    with pytest.raises(SignalConflictError):
        registry.add(7, "", clean_up)


@pytest.mark.parametrize("number", [-1, 256, 1_000])
def test_a_number_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"signal {number}; allowed: 0 to 255"):
        Registry().add(number, "", rebuild)


@pytest.mark.parametrize("target", ["nobody", "mule0x", "farm:"])
def test_a_target_that_is_none_is_refused(target: str) -> None:
    registry = Registry()

    with pytest.raises(ValueError, match="target"):
        registry.add(7, target, rebuild)

    assert registry.handlers == []


def test_an_overlap_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap 'wait'; allowed: 'skip', 'queue'"):
        Registry().add(7, "", rebuild, overlap="wait")


def test_what_cannot_be_called_is_no_handler() -> None:
    with pytest.raises(TypeError, match="'rebuild' is no handler"):
        Registry().add(7, "", "rebuild")  # type: ignore[arg-type]  # what is tested


def test_what_is_added_later_is_registered_at_once() -> None:
    registry = Registry()
    registry.add(1, "", rebuild)
    added: list[Handler] = []
    registry.on_added = added.append

    handler = registry.add(2, "", clean_up)

    assert added == [handler]


@pytest.mark.parametrize("number", [7, None])
def test_a_handler_that_is_refused_is_not_noted(number: int | None) -> None:
    def refuse(_handler: Handler) -> None:
        raise NotAllowedError("not today")

    registry = Registry()
    registry.on_added = refuse

    with pytest.raises(NotAllowedError):
        registry.add(number, "", rebuild)

    assert registry.handlers == []
    assert registry.by_number == {}


# The decorators


def the_source(registry: Registry) -> JsonObject | None:
    (handler,) = registry.handlers
    assert handler.function is rebuild
    return handler.source


def test_signal_notes_a_handler_and_returns_the_function(
    fresh_registry: Registry,
) -> None:
    decorated = pymule.signal(7, target="mule2", overlap="allow")(rebuild)

    assert decorated is rebuild
    assert the_source(fresh_registry) is None
    (handler,) = fresh_registry.handlers
    assert (handler.number, handler.target, handler.overlap) == (7, "mule2", "allow")


@pytest.mark.parametrize(
    "decorate",
    [
        pytest.param(pymule.timer(0.25, iterations=3), id="timer"),
        pytest.param(pymule.mstimer(250, iterations=3), id="mstimer"),
        pytest.param(pymule.rbtimer(0.25, iterations=3), id="rbtimer"),
    ],
)
def test_a_timer_is_a_source_of_its_signal(
    fresh_registry: Registry, decorate: Callable[[Function], Function]
) -> None:
    decorate(rebuild)

    source: JsonObject = {"kind": "timer", "every": 0.25, "iterations": 3}
    assert the_source(fresh_registry) == source


def test_a_timer_may_choose_its_number_and_its_target(
    fresh_registry: Registry,
) -> None:
    pymule.mstimer(500, target="mules", signum=9, overlap="queue")(rebuild)

    (handler,) = fresh_registry.handlers
    assert (handler.number, handler.target, handler.overlap) == (9, "mules", "queue")


@pytest.mark.parametrize(
    ("seconds", "iterations"), [(0, 0), (-1, 0), (0.0001, 0), (1, -1), (1e400, 0)]
)
@pytest.mark.usefixtures("fresh_registry")
def test_a_timer_that_cannot_tick_is_refused_where_it_is_written(
    seconds: float, iterations: int
) -> None:
    with pytest.raises(ValueError, match="allowed: from 0"):
        pymule.timer(seconds, iterations=iterations)


def test_a_file_monitor_watches_an_absolute_path(
    fresh_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    pymule.filemon("templates", recursive=True)(rebuild)

    source = {
        "kind": "filemon",
        "path": str(tmp_path / "templates"),
        "recursive": True,
    }
    assert the_source(fresh_registry) == source


# Running


def run_handler(
    handler: Handler, paths: tuple[str, ...] = (), *, is_complete: bool = True
) -> Outcome:
    """Run *handler* as a process would: in this thread, or on a loop."""
    if handler.is_async:
        return asyncio.run(run_async(handler, 7, paths, is_complete=is_complete))
    return run(handler, 7, paths, is_complete=is_complete)


class Spy:
    """Handlers that keep what they were called with, and which files had changed."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.changes: list[ChangedFiles] = []

    def plain(self, number: int) -> None:
        self.numbers.append(number)
        self.changes.append(changed_files())

    async def asynchronous(self, number: int) -> None:
        await asyncio.sleep(0)
        self.plain(number)


@pytest.fixture(params=["plain", "asynchronous"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_handler_is_called_with_its_number(kind: str) -> None:
    spy = Spy()

    outcome = run_handler(a_handler(getattr(spy, kind)))

    assert outcome is Outcome.DONE
    assert spy.numbers == [7]


def test_a_handler_is_told_which_files_changed(kind: str) -> None:
    spy = Spy()
    handler = a_handler(getattr(spy, kind))

    run_handler(handler, ("/srv/a.html", "/srv/b.html"), is_complete=False)
    run_handler(handler)

    some, none = spy.changes
    assert list(some) == [Path("/srv/a.html"), Path("/srv/b.html")]
    assert not some.is_complete
    assert list(none) == []
    assert none.is_complete
    assert changed_files() == ()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_that_raises_has_failed_and_its_traceback_is_printed(
    capsys: pytest.CaptureFixture[str], *, is_async: bool
) -> None:
    def fail(number: int) -> None:
        raise LookupError(f"no customer {number}")

    async def fail_soon(number: int) -> None:
        fail(number)

    handler = a_handler(fail_soon if is_async else fail)

    outcome = run_handler(handler, ("/srv/a.html",))

    said = capsys.readouterr().err
    assert outcome is Outcome.FAILED
    assert said.startswith(f"signal 7: {handler.name} ({handler.place}) raised\n")
    assert "LookupError: no customer 7" in said
    assert changed_files() == ()


def test_a_handler_that_leaves_ends_more_than_itself() -> None:
    def leave(number: int) -> None:
        raise SystemExit(number)

    with pytest.raises(SystemExit):
        run_handler(a_handler(leave), ("/srv/a.html",))

    assert changed_files() == ()


async def test_a_handler_that_is_cancelled_has_not_failed() -> None:
    begun = asyncio.Event()

    async def wait(_number: int) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(run_async(a_handler(wait), 7, (), is_complete=True))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_signal_that_is_only_waited_for_runs_nothing() -> None:
    handler = a_handler(None)

    assert run(handler, 7, (), is_complete=True) is Outcome.DONE
    assert await run_async(handler, 7, (), is_complete=True) is Outcome.DONE


def test_which_handlers_run_on_a_loop_is_seen_by_their_def() -> None:
    assert a_handler(rebuild_soon).is_async
    assert not a_handler(rebuild).is_async


def test_a_forked_child_registers_nothing_with_the_link_of_its_parent(
    fresh_registry: Registry,
) -> None:
    noted = fresh_registry
    noted.on_added = lambda _handler: None

    pid = os.fork()
    if not pid:
        os._exit(noted.on_added is not None)

    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert noted.on_added is not None


@pytest.mark.parametrize(
    ("fields", "spec"),
    [(("*/5 * * * *",), "*/5 * * * *"), ((-5, -1, -1, -1, -1), [-5, -1, -1, -1, -1])],
)
def test_a_cron_entry_is_a_text_or_five_integers(
    fresh_registry: Registry, fields: tuple[str | int, ...], spec: object
) -> None:
    pymule.cron(*fields, target="mules", tz="UTC", misfire="all")(rebuild)  # type: ignore[arg-type]  # either form

    (handler,) = fresh_registry.handlers
    assert handler.source == {
        "kind": "cron",
        "spec": spec,
        "tz": "UTC",
        "misfire": "all",
    }


@pytest.mark.usefixtures("fresh_registry")
def test_a_cron_entry_that_makes_no_sense_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="0 0 31 2"):
        pymule.cron("0 0 31 2 *")
    with pytest.raises(ValueError, match="60"):
        pymule.cron(60, -1, -1, -1, -1)
    with pytest.raises(ValueError, match="often"):
        pymule.cron("* * * * *", misfire="often")
    with pytest.raises(TypeError, match="all five fields"):
        pymule.cron("* * * * *", 5)
