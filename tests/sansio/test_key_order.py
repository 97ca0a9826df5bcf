from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.sansio.key_order import KeyOrder
from pymule.sansio.run import Place, Run
from tests.sansio.routing import run_of


def first_id(run: Run | None) -> int | None:
    return None if run is None else run.first_id


def admit(order: KeyOrder, *runs: Run, key: str = "k") -> list[int | None]:
    return [first_id(order.admit(run, key)[0]) for run in runs]


def waiting(order: KeyOrder) -> list[int]:
    return [n for run in order for n in range(run.first_id, run.end_id)]


def test_the_first_of_a_key_may_go_and_the_others_wait() -> None:
    order = KeyOrder()

    assert admit(order, run_of(1, 1), run_of(1, 2), run_of(1, 3)) == [1, None, None]
    assert waiting(order) == [2, 3]
    assert order.blocked == 2


def test_each_key_has_an_order_of_its_own() -> None:
    order = KeyOrder()

    assert admit(order, run_of(1, 1)) == [1]
    assert admit(order, run_of(1, 2), key="other") == [2]


def test_when_one_is_done_the_next_may_go_and_the_last_frees_its_key() -> None:
    order = KeyOrder()
    admit(order, run_of(1, 1), run_of(1, 2))

    assert first_id(order.settled("k")[0]) == 2
    assert order.settled("k") == (None, None)
    assert admit(order, run_of(1, 3)) == [3]


def test_of_a_batch_one_message_may_go_at_a_time() -> None:
    order = KeyOrder()

    first, rest = order.admit(run_of(3), "k")

    assert (first_id(first), first_id(rest)) == (1, 2)
    assert order.blocked == 2
    first, rest = order.settled("k")
    assert (first_id(first), first_id(rest)) == (2, 3)
    assert waiting(order) == [3]


def test_who_is_on_its_way_is_known() -> None:
    order = KeyOrder()
    runs = run_of(1, 1), run_of(1, 2)
    admit(order, *runs)

    assert [order.holds(run, "k") for run in runs] == [True, False]
    assert not order.holds(runs[0], "other")


def test_what_left_by_another_way_is_passed_over() -> None:
    order = KeyOrder()
    runs = [run_of(1, n) for n in range(1, 5)]
    admit(order, *runs)

    order.discard(runs[1])
    order.discard(runs[3])

    assert (order.blocked, waiting(order)) == (1, [3])
    assert first_id(order.settled("k")[0]) == 3
    assert order.settled("k") == (None, None)


def test_entries_of_what_left_do_not_pile_up() -> None:
    order = KeyOrder()
    admit(order, run_of(1, 1), run_of(1, 2))

    for number in range(500):
        run = run_of(1, 10 + number)
        order.admit(run, "k")
        order.discard(run)

    assert sum(map(len, order._lines.values())) <= 66
    assert first_id(order.settled("k")[0]) == 2


@settings(deadline=None)
@given(data=st.data())
def test_messages_of_a_key_go_as_they_came(data: st.DataObject) -> None:
    order, next_id, gone = KeyOrder(), 1, list[int]()
    on_its_way: Run | None = None
    model: list[Run] = []
    left: set[int] = set()
    for _ in range(data.draw(st.integers(1, 50))):
        match data.draw(st.sampled_from(["admit", "settle", "discard"])):
            case "admit":
                run = run_of(data.draw(st.integers(1, 3)), next_id)
                next_id = run.end_id
                first, rest = order.admit(run, "k")
                on_its_way = first or on_its_way
                model += [rest] if rest else []
            case "settle" if on_its_way:
                gone.append(on_its_way.first_id)
                on_its_way, rest = order.settled("k")
                model = [run for run in model if run.place is Place.BLOCKED]
                model = [run for run in model if run is not on_its_way]
                model += [rest] if rest else []
            case "discard" if model:
                run = data.draw(st.sampled_from(model))
                left |= set(range(run.first_id, run.end_id))
                order.discard(run)
                model.remove(run)
        assert sorted(waiting(order)) == waiting(order)
        assert order.blocked == len(waiting(order))

    assert gone == [n for n in range(1, next_id) if n not in left][: len(gone)]
