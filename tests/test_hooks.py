"""Functions that are noted for the start of a mule."""

import pytest

from pymule import hooks
from pymule.hooks import Hooks, after_fork


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    """The hooks of this process: none."""
    fresh = Hooks()
    monkeypatch.setattr(hooks, "hooks", fresh)
    return fresh


def test_they_are_called_in_their_order_and_not_before(fresh: Hooks) -> None:
    called: list[str] = []

    @after_fork
    def first() -> None:
        called.append("first")

    after_fork(lambda: called.append("second"))
    assert called == []
    fresh.run()

    assert called == ["first", "second"]
    assert first.__name__ == "first"


def test_one_that_raises_is_the_last(fresh: Hooks) -> None:
    called: list[str] = []

    @after_fork
    def broken() -> None:
        raise OSError("no database")

    after_fork(lambda: called.append("later"))

    with pytest.raises(OSError, match="no database"):
        fresh.run()
    assert called == []


def test_one_that_comes_too_late_is_told(fresh: Hooks) -> None:
    fresh.run()

    def late() -> None:
        raise AssertionError("not called")

    with pytest.warns(RuntimeWarning, match="late' is not called.*preload") as told:
        after_fork(late)

    assert told[0].filename == __file__


def test_a_coroutine_function_is_refused() -> None:
    async def hook() -> None:
        """Never awaited."""

    with pytest.raises(TypeError, match="no 'async def'"):
        after_fork(hook)
    with pytest.raises(TypeError, match="found 3"):
        after_fork(3)  # type: ignore[type-var]  # what a person may write
