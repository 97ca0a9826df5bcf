import pytest

from pymule.sansio.lock_words import MAX_TTL_S, check_lock_name, check_ttl


@pytest.mark.parametrize(
    ("name", "text"), [("a", "a"), ("x" * 255, "x" * 255), (0, "0"), (-7, "-7")]
)
def test_a_name_is_a_text_or_a_number(name: object, text: str) -> None:
    assert check_lock_name(name) == text


@pytest.mark.parametrize("name", ["", "x" * 256, None, True, 1.5, b"a"], ids=repr)
def test_anything_else_is_no_name(name: object) -> None:
    with pytest.raises(ValueError, match="allowed: a text of 1 to 255 characters"):
        check_lock_name(name)


@pytest.mark.parametrize("ttl", [0.001, 1, MAX_TTL_S, None])
def test_a_ttl_is_seconds_or_none(ttl: float | None) -> None:
    assert check_ttl(ttl) == ttl


@pytest.mark.parametrize(
    "ttl", [0, -1, float("nan"), float("inf"), MAX_TTL_S + 1, "1", True], ids=repr
)
def test_anything_else_is_no_ttl(ttl: object) -> None:
    with pytest.raises(ValueError, match="allowed: seconds above 0"):
        check_ttl(ttl)
