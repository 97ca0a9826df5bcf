"""What a process notes of the functions that mules run."""

import functools
from collections.abc import Callable

import pytest

from pymule.functions import (
    Function,
    Functions,
    function_name,
    target_of_mules,
)


def plain() -> None:
    """Be a function of this module."""


async def asynchronous() -> None:
    """Be another."""


class Own:
    def method(self) -> None:
        """Be a function with a qualified name."""


def noted(
    where: int | str | None = None, function: Callable[..., object] = plain
) -> Function:
    return Function(function_name(function), target_of_mules(where), function)


def test_a_function_is_known_by_its_module_and_its_qualified_name() -> None:
    assert function_name(plain) == "tests.test_functions:plain"
    assert function_name(Own.method) == "tests.test_functions:Own.method"
    assert noted().queue == "func:tests.test_functions:plain"


def test_a_wrapped_function_keeps_its_name() -> None:
    @functools.wraps(plain)
    def wrapper() -> None:
        plain()

    assert function_name(wrapper) == "tests.test_functions:plain"


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("__file__ = '/srv/jobs/nightly.py'", "nightly:job"),
        ("__spec__ = type('Spec', (), {'name': 'pkg.mod'})", "pkg.mod:job"),
    ],
)
def test_a_function_of_a_script_is_named_as_if_it_was_imported(
    script: str, name: str
) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(f"{script}\ndef job(): pass", namespace)  # noqa: S102  (as a script is run)
    job = namespace["job"]
    assert callable(job)

    assert function_name(job) == name


def test_what_has_no_name_is_refused() -> None:
    with pytest.raises(TypeError, match="allowed: a function of a module"):
        function_name(functools.partial(plain))


@pytest.mark.parametrize(
    ("where", "mules"),
    [(None, "123"), (0, "123"), (2, "2"), ("busy", "13"), ("idle", "")],
)
def test_a_function_is_for_the_mules_of_its_target(
    where: int | str | None, mules: str
) -> None:
    farms = {1: ["busy"], 2: [], 3: ["busy", "other"]}

    has = [mule for mule in (1, 2, 3) if noted(where).is_for(mule, farms[mule])]

    assert has == [int(mule) for mule in mules]


@pytest.mark.parametrize("where", [-1, "no farm", ""])
def test_a_target_that_cannot_be_is_refused(where: int | str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        target_of_mules(where)


def test_a_target_is_a_number_or_a_name() -> None:
    with pytest.raises(TypeError, match="mulefunc of True; allowed"):
        target_of_mules(where=True)


def test_an_async_def_is_told_apart() -> None:
    assert noted(None, asynchronous).is_async
    assert not noted().is_async


def test_what_is_added_is_told_and_replaces_its_namesake() -> None:
    functions, told = Functions(), list[Function]()
    first, second = noted(), noted(2)
    functions.add(first)
    functions.on_added = told.append

    functions.add(second)

    assert functions.by_name == {first.name: second}
    assert told == [second]
