import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.functions import FunctionTable, is_function
from pymule.sansio.link import LinkId
from pymule.sansio.target import MuleId

ONE, TWO = MuleId(1), MuleId(2)
FIRST, SECOND = LinkId(10), LinkId(20)


def test_a_function_has_a_target_of_its_own() -> None:
    table = FunctionTable()

    assert table.add(FIRST, ONE, ["app:f", "app:C.g"]) == ["func:app:f", "func:app:C.g"]
    assert table.names == ["func:app:f", "func:app:C.g"]


@pytest.mark.parametrize(
    "name",
    [
        *("f", "app:", ":f", "app:f g", "a:b:c", "", 3, None),
        *("a\ud800:b", "a:b\udc00", "a:b\0", "\x1b:b", "a:\x9b"),
    ],
)
def test_what_is_no_name_is_refused_and_nothing_added(name: object) -> None:
    table = FunctionTable()

    with pytest.raises(ValueError, match="allowed: 'MODULE:NAME'"):
        table.add(FIRST, ONE, ["app:f", name])

    assert table.names == []


def test_a_function_stays_while_a_mule_has_it() -> None:
    table = FunctionTable()
    table.add(FIRST, ONE, ["app:f"])
    table.add(SECOND, TWO, ["app:f"])

    table.mule_removed(ONE)
    assert table.names == ["func:app:f"]
    table.mule_removed(TWO)
    assert table.names == []


def test_a_function_stays_while_its_mule_is_restarted() -> None:
    table = FunctionTable()
    table.add(FIRST, ONE, ["app:f", "app:g"])
    table.ready(FIRST, ONE)

    table.link_gone(FIRST)
    assert table.names == ["func:app:f", "func:app:g"]
    table.add(SECOND, ONE, ["app:g", "app:h"])
    table.ready(SECOND, ONE)

    assert table.names == ["func:app:g", "func:app:h"]


def test_a_mule_that_has_no_functions_any_more_keeps_none() -> None:
    table = FunctionTable()
    table.add(FIRST, ONE, ["app:f"])

    table.ready(SECOND, ONE)

    assert table.names == []


@pytest.mark.parametrize(
    ("target", "is_one"), [("func:app:f", True), ("mule", False), ("farm:f", False)]
)
def test_a_target_tells_whether_it_is_a_function(target: str, *, is_one: bool) -> None:
    assert is_function(target) is is_one


NAMES = st.frozensets(st.sampled_from(["a:a", "b:b", "c:c"]))


@given(st.lists(st.tuples(st.integers(1, 3), NAMES | st.none())))
def test_what_the_last_process_of_each_mule_told_is_there(
    lives: list[tuple[int, frozenset[str] | None]],
) -> None:
    table = FunctionTable()
    model: dict[int, frozenset[str]] = {}
    for number, (mule, names) in enumerate(lives):
        link = LinkId(number)
        if names is None:
            table.mule_removed(MuleId(mule))
        else:
            table.add(link, MuleId(mule), sorted(names))
            table.ready(link, MuleId(mule))
            table.link_gone(link)
        model[mule] = names or frozenset()

    wanted = {f"func:{name}" for names in model.values() for name in names}
    assert set(table.names) == wanted
