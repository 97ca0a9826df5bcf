from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.convert.magic import Magic

FILE = Magic.of_file(
    Path("/etc/uwsgi/apps/shop.web.ini"), "apps/shop.web.ini:dev", "dev"
)


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("%p", "/etc/uwsgi/apps/shop.web.ini"),
        ("%d|%dx", "/etc/uwsgi/apps/|/etc/uwsgi/apps/x"),
        ("%s %n %e %c", "shop.web.ini shop.web ini apps"),
        ("%o %x", "apps/shop.web.ini:dev dev"),
        ("%0/%1/%2/%3.", "etc/uwsgi/apps/."),
        ("%N.%E", "shop.web.ini"),
        ("100%%", "100%"),
        ("%(name) %%(name)", "%(name) %(name)"),
        ("at the end %", "at the end %"),
        ("%q%\n", ""),
    ],
)
def test_variables_are_about_the_file(value: str, filled: str) -> None:
    assert FILE.put_into(value) == (filled, "")


def test_capitals_are_about_the_file_that_included_this_one() -> None:
    inner = Magic.of_file(Path("/common.ini"), "/common.ini", "", FILE)

    assert inner.put_into("%n %N %d %D") == ("common shop.web / /etc/uwsgi/apps/", "")


def test_a_name_without_a_suffix_is_whole() -> None:
    magic = Magic.of_file(Path("/etc/shop"), "shop", "")

    assert magic.put_into("%n.%e") == ("shop.", "")


def test_what_only_the_start_can_tell_is_in_doubt() -> None:
    value, doubt = FILE.put_into("%h-%n-%t")

    assert value == "%h-shop.web-%t"
    assert doubt == "%h is known only where and when uWSGI starts"


def test_a_pipe_has_no_name() -> None:
    assert Magic(None).put_into("%n 100%%")[0] == "%n 100%"
    assert Magic(None).put_into("%n")[1] != ""
    assert Magic.of_file(Path("/a"), "a", "", Magic(None)).put_into("%N") == ("", "")


@given(st.text(st.characters(exclude_characters="%")))
def test_a_value_without_percent_signs_stays(value: str) -> None:
    assert FILE.put_into(value) == (value, "")
