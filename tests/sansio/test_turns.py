from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.turns import TurnLine

FRESH_S = 2.0


def asked(keys: Iterable[str], limit: int = 2) -> TurnLine[str]:
    line: TurnLine[str] = TurnLine(limit, FRESH_S)
    for key in keys:
        line.ask(key)
    return line


def test_no_more_than_the_limit_start_at_a_time() -> None:
    line = asked("abc")

    assert line.take(0.0) == ["a", "b"]
    assert line.take(1.0) == []
    assert "c" in line
    assert len(line) == 1


def test_the_end_of_a_start_is_the_turn_of_the_next() -> None:
    line = asked("abcd")
    line.take(0.0)

    line.leave("b")

    assert line.take(0.0) == ["c"]
    assert line.take(0.0) == []


def test_who_does_not_want_to_any_more_leaves_the_line() -> None:
    line = asked("abcd")
    line.take(0.0)

    line.leave("c")
    line.leave("a")

    assert line.take(0.0) == ["d"]


def test_a_start_that_takes_long_holds_up_nobody() -> None:
    line = asked("abc", limit=1)
    line.take(10.0)
    assert line.next_due() == 10.0 + FRESH_S

    assert line.take(10.0 + FRESH_S) == ["b"]
    assert line.next_due() == 10.0 + 2 * FRESH_S


def test_while_nobody_waits_nobody_needs_to_look() -> None:
    line = asked("a")
    assert line.take(0.0) == ["a"]

    assert line.next_due() is None


def test_who_asks_again_stands_at_the_end() -> None:
    line = asked("ab", limit=1)
    line.take(0.0)

    line.ask("a")

    assert line.take(0.0) == ["b"]
    line.leave("b")
    assert line.take(0.0) == ["a"]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["ask", "leave", "wait"]), st.integers(0, 6))),
)
def test_all_start_in_their_order_and_few_at_a_time(
    limit: int, acts: list[tuple[str, int]]
) -> None:
    line: TurnLine[int] = TurnLine(limit, FRESH_S)
    now = 0.0
    waiting: list[int] = []
    begun: dict[int, float] = {}

    for act, key in acts:
        if act == "ask":
            begun.pop(key, None)
            waiting += [] if key in waiting else [key]
            line.ask(key)
        elif act == "leave":
            begun.pop(key, None)
            waiting = [one for one in waiting if one != key]
            line.leave(key)
        else:
            now += key / 4
        fresh = [at for at in begun.values() if at + FRESH_S > now]
        count = max(limit - len(fresh), 0)

        taken = line.take(now)

        assert taken == waiting[:count]
        del waiting[:count]
        begun |= dict.fromkeys(taken, now)
        assert (line.next_due() is None) == (not waiting)
