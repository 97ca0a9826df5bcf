import os
from pathlib import Path

import pytest

from pymule.convert.surroundings import MAX_BYTES, Surroundings, decoded
from pymule.errors import ConfigError


@pytest.fixture
def here(tmp_path: Path) -> Surroundings:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a.ini").write_text("[uwsgi]\n")
    (tmp_path / "link.ini").symlink_to("dir/a.ini")
    (tmp_path / "way").symlink_to("dir")
    return Surroundings({"A": "1"}, tmp_path)


def test_variables_are_those_that_were_given(here: Surroundings) -> None:
    assert here.variable("A") == "1"
    assert here.variable("PATH") is None

    here.set_variable("A", "2")

    assert here.variable("A") == "2"


def test_paths_begin_at_the_directory(here: Surroundings) -> None:
    assert here.is_there("dir")
    assert here.is_directory("dir")
    assert not here.is_file("dir")
    assert here.is_file("dir/a.ini")
    assert not here.is_there("none")
    assert here.matches("dir/*") == ["dir/a.ini"]


def test_a_path_that_cannot_be_looked_at_is_not_there(here: Surroundings) -> None:
    assert not here.is_there("x" * 5000)
    assert not here.is_file("dir/a.ini/x")


def test_the_link_that_was_named_is_kept_and_others_are_followed(
    here: Surroundings, tmp_path: Path
) -> None:
    assert here.absolute("./way/../link.ini") == tmp_path.resolve() / "link.ini"
    assert here.absolute("way/a.ini") == tmp_path.resolve() / "dir" / "a.ini"


def test_a_file_is_read(here: Surroundings) -> None:
    assert here.read("link.ini") == "[uwsgi]\n"


def test_a_file_that_is_not_there_is_named(here: Surroundings) -> None:
    with pytest.raises(ConfigError) as caught:
        here.read("none.ini")

    assert str(caught.value) == "none.ini: cannot be read: No such file or directory"


def test_what_has_no_end_is_refused(here: Surroundings) -> None:
    with pytest.raises(ConfigError, match=f"found more than {MAX_BYTES} bytes"):
        here.read(os.devnull.replace("null", "zero"))


def test_bytes_that_are_no_text_are_told_with_their_line() -> None:
    with pytest.raises(ConfigError) as caught:
        decoded(b"[uwsgi]\nmule = \xff.py\n", "f.ini")

    assert str(caught.value) == "f.ini:2: found byte 0xff; allowed: UTF-8"


def test_a_mark_at_the_beginning_is_no_part_of_the_text() -> None:
    assert decoded(b"\xef\xbb\xbf[uwsgi]", "f") == "[uwsgi]"
