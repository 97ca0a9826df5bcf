import pytest

from pymule.convert.option import Origin, is_on, new_option
from pymule.errors import ConfigError


def test_an_origin_is_what_editors_open() -> None:
    assert str(Origin("uwsgi.ini", 3)) == "uwsgi.ini:3"
    assert str(Origin("command line")) == "command line"


def test_an_option_keeps_how_it_was_written() -> None:
    assert new_option("mule", "x.py", Origin("f", 1)).text == "mule = x.py"
    assert new_option("master", "", Origin("f", 1)).text == "master"


@pytest.mark.parametrize("char", ["\0", "\udc80"])
def test_what_is_no_text_is_refused_with_its_place(char: str) -> None:
    with pytest.raises(ConfigError, match=r"^f:7: found .* allowed: text"):
        new_option("env", f"A={char}", Origin("f", 7))


def test_a_flag_is_off_only_when_it_says_so() -> None:
    assert [is_on(value) for value in ("", "true", "1", "anything")] == [True] * 4
    assert [is_on(value) for value in ("false", "Off", "no", "0")] == [False] * 4
