import copy
import pickle
from typing import ClassVar

import pytest

from pymule.sansio.slots import frozen, slots


@slots
class Sack:
    """A sack."""

    unit: ClassVar[str] = "kg"
    grain: str
    weight: int = 25
    owner: str | None = None

    def twice(self) -> "Sack":
        return Sack(self.grain, 2 * self.weight, self.owner)


@slots
class Closed(Sack):
    pass


@slots
class Sealed(Sack):
    seal: str = "wax"


@slots
class Nothing:
    pass


@slots(eq=False)
class Mule:
    name: str


@frozen
class Place:
    farm: str
    number: int = 0


@frozen(eq=False)
class Point:
    number: int


def test_attributes_are_given_in_their_order_or_by_name() -> None:
    plain, named = Sack("oats", 20, "Ann"), Sack(owner="Ann", weight=20, grain="oats")

    assert plain == named
    assert (plain.grain, plain.weight, plain.owner) == ("oats", 20, "Ann")


def test_what_is_not_given_has_its_default() -> None:
    assert Sack("oats") == Sack("oats", 25, None)


def test_what_has_no_default_must_be_given() -> None:
    with pytest.raises(TypeError, match=r"Sack.__init__\(\) missing 1 .*'grain'"):
        Sack()  # type: ignore[call-arg]  # what is tested


def test_there_are_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Sack("oats").colour = "grey"  # type: ignore[attr-defined]  # what is tested


def test_methods_texts_and_what_belongs_to_the_class_stay() -> None:
    assert Sack.unit == Sack("oats").unit == "kg"
    assert Sack("oats").twice() == Sack("oats", 50)
    assert (Sack.__name__, Sack.__doc__, Sack.__module__) == (
        "Sack",
        "A sack.",
        __name__,
    )


def test_it_reads_as_it_was_written() -> None:
    assert repr(Sack("oats", 1)) == "Sack(grain='oats', weight=1, owner=None)"
    assert repr(Nothing()) == "Nothing()"


def test_a_subclass_adds_to_the_attributes_of_its_base() -> None:
    assert Sealed("oats", seal="lead") == Sealed("oats", 25, None, "lead")
    assert not hasattr(Sealed("oats"), "__dict__")


def test_equal_are_only_those_of_one_class() -> None:
    assert Closed("oats") == Closed("oats")
    assert Closed("oats") != Sack("oats")
    assert Nothing() == Nothing()


def test_patterns_take_the_attributes_in_their_order() -> None:
    match Sack("oats", 3):
        case Sack(grain, weight):
            assert (grain, weight) == ("oats", 3)


def test_without_eq_each_is_equal_to_itself_alone() -> None:
    mule, point = Mule("Ann"), Point(1)

    assert len({point, Point(1), mule, Mule("Ann"), mule}) == 4


def test_frozen_ones_are_keys() -> None:
    assert {Place("busy", 2): 1}[Place("busy", 2)] == 1


def test_what_can_change_is_no_key() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Sack("oats"))


def test_copies_and_pickles_are_equal() -> None:
    place, sack = Place("busy", 2), Sealed("oats")

    for one in (place, sack):
        assert copy.copy(one) == one
        assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301  (of our own)
