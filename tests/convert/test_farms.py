from hypothesis import given
from hypothesis import strategies as st

from pymule.convert.farms import Farm, read_farm
from pymule.sansio.target import FARM_NAME


def read(value: str, last: int = 3, **names: str) -> Farm:
    return read_farm(value, last, names)


def test_a_farm_that_may_be_here_is_as_it_was() -> None:
    assert read("job-handlers:1,3") == Farm("job-handlers", (1, 3), "")
    assert read("busy: 2 ,1,") == Farm("busy", (2, 1), "")


def test_a_name_that_is_not_allowed_is_mended_and_told() -> None:
    assert read("busy people:1") == Farm(
        "busy_people", (1,), "is called 'busy_people' here, in calls of farm_msg too"
    )
    assert read("2nd:1").name == "_2nd"
    assert read("\xe4:1").name == "_"
    assert read(f"{'x' * 70}:1").name == "x" * 64


def test_a_mended_name_is_nobody_elses() -> None:
    taken = {"a b": "a_b", "x" * 64: "x" * 64}

    assert read_farm("a_b:1", 1, taken).name == "a_b_2"
    assert read_farm("a_b:1", 1, taken | {"a_b_2": "a_b_2"}).name == "a_b_3"
    assert read_farm(f"{'x' * 65}:1", 1, taken).name == "x" * 62 + "_2"


def test_mules_that_do_not_exist_are_dropped_and_told() -> None:
    farm = read("busy:1,1,4,0,x")

    assert farm.mules == (1,)
    assert farm.changes == "without 1, 4, '0', 'x'; there are 1 to 3, each once"


def test_a_farm_without_mules_is_left_out() -> None:
    assert read("busy:9") == Farm("busy", (), "left out; none of its mules exist")
    assert not read("busy:").mules


def test_the_second_of_a_name_was_never_found_either() -> None:
    farm = read("busy:1", busy="busy")

    assert farm.mules == ()
    assert farm.changes == "left out; 'busy' always means the first of that name"


def test_what_is_no_farm_is_left_out() -> None:
    for value in ("busy", "", ":1,2"):
        assert read(value).changes == "is no farm, left out; allowed: NAME:1,2"


@given(st.text(), st.lists(st.text()), st.integers(0, 5))
def test_what_is_left_is_always_allowed(
    value: str, others: list[str], last: int
) -> None:
    names: dict[str, str] = {}
    for text in [*others, value, f"{value}:1,2"]:
        farm = read_farm(text, last, names)
        if farm.mules:
            assert FARM_NAME.fullmatch(farm.name)
            assert farm.name not in names.values()
            assert set(farm.mules) <= set(range(1, last + 1))
            names[text.partition(":")[0]] = farm.name
