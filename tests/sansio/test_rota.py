from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.rota import Rota


def turn(rota: Rota[str, int], *said: str | int) -> list[int]:
    """Hear each: a name has one connection, a number is one of many of "many"."""
    for who in said:
        if isinstance(who, str):
            rota.pass_by(who)
        else:
            rota.hear("many", who)
    return rota.turn()


def test_who_is_alone_is_not_held() -> None:
    rota: Rota[str, int] = Rota()

    assert not any(rota.hear("many", number) for number in range(100))


def test_beside_others_one_connection_of_a_process_is_heard_in_a_turn() -> None:
    rota: Rota[str, int] = Rota()
    turn(rota, 1, 2, 3, "one")

    assert [rota.hear("many", number) for number in (1, 2, 3)] == [False, True, True]
    rota.pass_by("one")
    assert rota.turn() == [2]
    # Whoever was let go stands behind those that wait.
    assert rota.hear("many", 2)
    rota.pass_by("one")
    assert rota.turn() == [3]


def test_others_that_are_heard_between_two_turns_are_company_too() -> None:
    rota: Rota[str, int] = Rota()
    turn(rota, *range(10))
    rota.pass_by("one")

    assert turn(rota, *range(10)) == []
    assert [rota.hear("many", number) for number in (1, 2)] == [False, True]


def test_what_may_be_heard_doubles_while_nobody_else_says_anything() -> None:
    rota: Rota[str, int] = Rota()
    turn(rota, 0, "one")
    turn(rota, *range(16), "one")

    assert [len(turn(rota)) for _ in range(4)] == [2, 4, 8, 0]
    assert not rota.is_in_use
    turn(rota, *range(16))
    assert not any(rota.hear("many", number) for number in range(16))


def test_who_waits_is_heard_in_its_turn_if_its_process_has_others() -> None:
    rota: Rota[str, int] = Rota()
    assert not rota.wait("many", 7)
    turn(rota, 1)

    assert rota.wait("many", 7)

    assert rota.turn() == [7]


def test_two_processes_with_many_connections_are_company_for_each_other() -> None:
    rota: Rota[str, str] = Rota()
    names = ("a1", "a2", "b1", "b2")
    for who in names * 2:
        rota.hear(who[0], who)
    rota.turn()

    assert [rota.hear(who[0], who) for who in names] == [False, True, False, True]
    assert rota.turn() == ["a2", "b2"]


def test_one_that_is_gone_is_not_let_go() -> None:
    rota: Rota[str, int] = Rota()
    turn(rota, 1, "one")
    rota.hear("many", 1)
    rota.hear("many", 2)

    rota.forget("many", 2, is_last=False)
    rota.forget("nobody", 2, is_last=True)

    assert rota.turn() == []
    rota.forget("many", 1, is_last=True)
    assert not rota.wait("many", 1)


def test_who_says_nothing_any_more_costs_nothing() -> None:
    rota: Rota[str, int] = Rota()
    rota.hear("many", 1)
    assert rota.is_in_use

    assert turn(rota) == []

    assert not rota.is_in_use


@given(st.lists(st.lists(st.sampled_from(["one", "two", 1, 2, 3, 4, 5]), max_size=9)))
def test_all_that_is_held_is_let_go_once_and_in_its_order(
    turns: list[list[str | int]],
) -> None:
    rota: Rota[str, int] = Rota()
    held: list[int] = []

    for said in turns:
        for who in said:
            if isinstance(who, str):
                rota.pass_by(who)
            elif who not in held and rota.hear("many", who):
                held.append(who)
        freed = rota.turn()
        assert freed == held[: len(freed)]
        assert bool(freed) >= bool(held)
        del held[: len(freed)]

    while rota.is_in_use:
        held = held[len(rota.turn()) :]
    assert Counter(held) == Counter()
