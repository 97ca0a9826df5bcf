"""The traps of conftest.py catch what they are for, on both loops."""

import pytest

from tests.conftest import MS, wait_until

PASSING = """
async def test_planted():
    await asyncio.sleep(0)
"""
RAISING_CALLBACK = """
async def test_planted():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
"""
LOST_FAILING_TASK = """
async def fail():
    raise ZeroDivisionError("planted")

async def test_planted():
    asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
"""
LEAKED_TASK = """
async def test_planted():
    asyncio.get_running_loop().create_task(asyncio.Event().wait())
"""
# Compiled under a name inside pymule, because only calls from there are refused.
SLEEP_UNDER_THE_LOOP = """
import time
import pymule.errors

async def test_planted():
    exec(compile("time.sleep(0)", pymule.errors.__file__, "exec"))
"""
SLEEP_WITHOUT_A_LOOP = """
import time
import pymule.errors

@pytest.mark.parametrize("turn", [1, 2])
def test_planted(turn):
    exec(compile("time.sleep(0)", pymule.errors.__file__, "exec"))
"""


STATEFUL = """
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

class Machine(RuleBasedStateMachine):
    @rule()
    def step(self):
        pass

TestPlanted = Machine.TestCase
TestPlanted.settings = settings(max_examples=3, database=None)

def test_planted():
    assert TestPlanted.settings.max_examples == EXAMPLES
"""


INNER_CONFTEST = """
from tests.conftest import (
    pytest_collection_modifyitems,
    _loop_guard,
    _nothing_is_lost_on_the_loop,
    blockbuster,
    pytest_asyncio_loop_factories,
)
"""
INNER_SETTINGS = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""


def run_planted(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makeini(INNER_SETTINGS)
    pytester.makeconftest(INNER_CONFTEST)
    pytester.makepyfile("import asyncio\nimport pytest\n" + source)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (RAISING_CALLBACK, "*unhandled on the loop*ZeroDivisionError*"),
        (LOST_FAILING_TASK, "*never retrieved*planted*"),
        (LEAKED_TASK, "*leaked task*"),
    ],
    ids=["raising callback", "lost failing task", "leaked task"],
)
def test_what_gets_lost_on_a_loop_fails_the_test_on_both(
    pytester: pytest.Pytester, source: str, sentence: str
) -> None:
    result = run_planted(pytester, source)

    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines([sentence, sentence])


def test_a_blocking_call_of_pymule_under_the_loop_fails_on_both(
    pytester: pytest.Pytester,
) -> None:
    result = run_planted(pytester, SLEEP_UNDER_THE_LOOP)

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*BlockingError: Blocking call to time.sleep*"])


@pytest.mark.parametrize(
    "source", [PASSING, SLEEP_WITHOUT_A_LOOP], ids=["with a loop", "without"]
)
def test_the_traps_leave_honest_tests_alone(
    pytester: pytest.Pytester, source: str
) -> None:
    result = run_planted(pytester, source)

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(("variable", "examples"), [(None, 3), ("7", 7)])
def test_a_variable_says_how_many_examples_stateful_tests_make(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    examples: int,
) -> None:
    if variable is None:
        monkeypatch.delenv("PYMULE_TEST_EXAMPLES", raising=False)
    else:
        monkeypatch.setenv("PYMULE_TEST_EXAMPLES", variable)

    result = run_planted(pytester, f"EXAMPLES = {examples}\n{STATEFUL}")

    result.assert_outcomes(passed=2)


async def test_waiting_for_a_condition_ends_when_it_is_true() -> None:
    answers = iter([False, True])

    await wait_until(lambda: next(answers))

    assert list(answers) == []


async def test_a_condition_that_stays_false_fails_with_its_name() -> None:
    def never() -> bool:
        return False

    with pytest.raises(AssertionError, match=r"not true within .* s: .*never"):
        await wait_until(never, within=5 * MS)
