"""What every test stands on: both event loops, and traps for what gets lost on them."""

import asyncio
import ctypes
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings
from pytest_asyncio import is_async_test

from pymule.functions import Functions, functions
from pymule.handlers import Registry, registry
from pymule.master.spawner import become_subreaper

__all__ = (
    "IS_SOAK",
    "MS",
    "blockbuster",
    "fresh_functions",
    "fresh_registry",
    "socket_dir",
    "subreaper",
    "wait_until",
)

MS: Final = 0.001 * float(os.environ.get("PYMULE_TEST_SLOWNESS", "1"))
"""Unit of every timeout in the tests; CI on a loaded machine sets 10."""

IS_SOAK: Final = os.environ.get("PYMULE_SOAK") == "1"
"""Whether properties are tried for hours: with the profile of hypothesis ``soak``."""

settings.register_profile("soak", max_examples=20_000, deadline=None)
if IS_SOAK:
    settings.load_profile("soak")

_PR_SET_CHILD_SUBREAPER: Final = 36

# One turn runs what is ready; what that makes ready, such as a closing transport's
# connection_lost, needs another.
_LAST_TURNS: Final = 3


def pytest_asyncio_loop_factories() -> Mapping[
    str, Callable[[], asyncio.AbstractEventLoop]
]:
    """Run every async test on both loops."""
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the stateful tests make ``PYMULE_TEST_EXAMPLES`` examples, if that is set."""
    examples = os.environ.get("PYMULE_TEST_EXAMPLES")
    if examples is None:
        return
    for item in items:
        case: Any = getattr(item, "cls", None)
        if isinstance(found := getattr(case, "settings", None), settings):
            case.settings = settings(found, max_examples=int(examples), deadline=None)
            # They take as long as they take.
            item.add_marker(pytest.mark.timeout(0))


def pytest_collection_finish() -> None:
    """Keep what the imports left out of the collections between tests."""
    gc.collect()
    gc.freeze()


async def wait_until(
    condition: Callable[[], object], *, within: float = 5000 * MS
) -> None:
    """Return as soon as *condition* answers with something true.

    The one place where polling is allowed: a test sees other processes from outside.

    Args:
        condition: Called again and again on the loop; must not block.
        within: Seconds until the test fails.

    Raises:
        AssertionError: The condition was still false after *within* seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not condition():
        if loop.time() > deadline:
            name = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"not true within {within:g} s: {name}")
        await asyncio.sleep(2 * MS)


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """A directory short enough for sun_path (108 bytes); tmp_path may not be."""
    path = Path(tempfile.mkdtemp(prefix="mule-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Let this process be given the orphans below it, as the daemon is."""
    become_subreaper()
    yield
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def fresh_registry() -> Iterator[Registry]:
    """The handlers of this process: none, before the test and after it."""
    _empty(registry)
    yield registry
    _empty(registry)


@pytest.fixture
def fresh_functions() -> Iterator[Functions]:
    """The functions of this process: none, but after the test what was before."""
    before = dict(functions.by_name)
    functions.by_name.clear()
    yield functions
    functions.by_name.clear()
    functions.by_name.update(before)
    functions.on_added = None


def _empty(noted: Registry) -> None:
    noted.handlers.clear()
    noted.by_number.clear()
    noted._times.clear()
    noted.on_added = None


@pytest.fixture
def blockbuster() -> Iterator[BlockBuster]:
    """Refuse blocking calls that code of pymule makes on a running loop.

    A test that has to allow one says so with ``blockbuster.functions[...]``.
    """
    with blockbuster_ctx("pymule") as trap:
        # Coverage has a lock of its own, for an instant, around what it notes.
        trap.functions["threading.Lock.acquire"].can_block_in(
            "coverage/collector.py", {"lock_data"}
        )
        yield trap


@pytest.fixture
async def _nothing_is_lost_on_the_loop(blockbuster: BlockBuster) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    # Debug mode finds calls from a foreign thread; uvloop runs as in production.
    loop.set_debug(isinstance(loop, asyncio.SelectorEventLoop))
    lost: list[str] = []
    loop.set_exception_handler(lambda _loop, context: lost.append(_sentence(context)))

    yield

    # A module of pymule may be imported, or a file closed, while a fixture winds up.
    blockbuster.deactivate()
    for _ in range(_LAST_TURNS):
        await asyncio.sleep(0)
    # Held from here on: a task that nobody holds may vanish in the collection.
    alive = asyncio.all_tasks() - {asyncio.current_task()}
    lost += [f"leaked task: {task!r}" for task in alive]
    gc.collect()  # "exception was never retrieved" is said by __del__
    if lost:
        pytest.fail("\n".join(lost), pytrace=False)


def _sentence(context: Mapping[str, Any]) -> str:
    return f"unhandled on the loop: {context['message']}: {context.get('exception')!r}"


@pytest.fixture(autouse=True)
def _loop_guard(request: pytest.FixtureRequest) -> None:
    # Asked for here and not by autouse, so that tests without a loop do not get one.
    if is_async_test(request.node):
        request.getfixturevalue("_nothing_is_lost_on_the_loop")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """Let what a test logs travel between processes, which takes UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode())
        for name, text in report.sections
    ]
    return report
