import os
import shutil
from pathlib import Path

import pytest

from pymule.master.look import Look, look_at
from pymule.sansio.watch import Monitor, compare


def look(path: Path, *, deep: bool = False) -> Look:
    return look_at([Monitor("it", str(path), deep)])


def changed(before: Look, after: Look) -> set[str]:
    return compare(before.scans["it"][1], after.scans["it"][1]).entries


def test_reading_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    before = look(tmp_path, deep=True)

    (tmp_path / "f").read_text()
    list(tmp_path.iterdir())

    assert changed(before, look(tmp_path, deep=True)) == set()


def test_children_are_seen_and_what_is_below_them_only_if_asked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "sub").mkdir()
    flat, deep = look(tmp_path), look(tmp_path, deep=True)

    (tmp_path / "sub" / "f").touch()

    assert changed(flat, look(tmp_path)) == set()
    assert changed(deep, look(tmp_path, deep=True)) == {"/sub/f"}
    assert str(tmp_path / "sub") in deep.watched
    assert str(tmp_path / "sub") not in flat.watched


def test_an_owner_a_mode_and_a_time_are_changes(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    before = look(file)

    os.utime(file, ns=(0, 0))
    timed = look(file)
    file.chmod(0o400)

    assert changed(before, timed) == {""}
    assert changed(timed, look(file)) == {""}


def test_a_link_is_what_it_leads_to_and_itself(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "link").symlink_to("f")
    before = look(tmp_path / "link")

    (tmp_path / "f").write_text("x")
    written = look(tmp_path / "link")
    (tmp_path / "f").unlink()

    assert changed(before, written) == {""}
    assert changed(written, look(tmp_path / "link")) == {""}


@pytest.mark.parametrize("name", ["none", "file/below", "a\0b", "x" * 300])
def test_what_is_not_there_has_no_entries(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    seen = look(Path(f"{tmp_path}/{name}"), deep=True)

    assert seen.scans["it"][1].entries == {}
    assert str(tmp_path) in seen.watched


def test_a_directory_that_is_made_anew_is_another(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    before = look(directory)

    # Both at once, so that they have two numbers.
    (tmp_path / "new").mkdir()
    shutil.rmtree(directory)
    (tmp_path / "new").rename(directory)

    after = look(directory)
    assert before.watched[str(directory)] != after.watched[str(directory)]
    assert changed(before, after) == {""}
