from pathlib import Path

import pytest

from pymule.convert.assembly import Assembly, assemble
from pymule.convert.formats import read_file
from pymule.convert.magic import Magic
from pymule.convert.option import Option, Origin, new_option
from pymule.convert.surroundings import Surroundings
from pymule.errors import ConfigError


def assembled(directory: Path, name: str = "a.ini", **environ: str) -> Assembly:
    surroundings = Surroundings(environ, directory)
    magic = Magic.of_file(surroundings.absolute(name), name, "")
    return assemble(read_file(name, surroundings), surroundings, magic, name)


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        (directory / f"{name}.ini").write_text(f"[uwsgi]\n{text}\n")


def pairs(options: list[Option]) -> list[str]:
    return [f"{option.name}={option.value}" for option in options]


def test_an_included_file_stands_where_it_is_included(tmp_path: Path) -> None:
    write(
        tmp_path, a="mule=1\nini=b.ini\nmule=4", b="mule=2\ninclude=c.ini", c="mule=3"
    )

    options = assembled(tmp_path).options

    assert pairs(options) == ["mule=1", "mule=2", "mule=3", "mule=4"]
    assert [str(option.origin) for option in options] == [
        "a.ini:2",
        "b.ini:2",
        "c.ini:2",
        "a.ini:4",
    ]


def test_what_is_inherited_comes_after_all_others(tmp_path: Path) -> None:
    write(tmp_path, a="inherit=b.ini\nmule=1", b="mule=2\ninherit=c.ini", c="mule=3")

    assert pairs(assembled(tmp_path).options) == ["mule=1", "mule=2", "mule=3"]


def test_other_forms_and_sections_can_be_included(tmp_path: Path) -> None:
    write(tmp_path, a="yaml=b.conf\nini=:more\nini=c.ini:x\nini=:y\n[more]\nmule=2")
    (tmp_path / "b.conf").write_text("uwsgi:\n  mule: 1\n")
    (tmp_path / "c.ini").write_text("[x]\nmule=3\n[y]\nmule=4\n")

    assert pairs(assembled(tmp_path).options) == [
        "mule=1",
        "mule=2",
        "mule=3",
        "mule=4",
    ]


def test_a_file_beside_the_one_that_includes_it_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    write(tmp_path / "conf", a="ini=b.ini\nini=c.ini", b="mule=1", c="mule=2")
    write(tmp_path, c="mule=3")

    options = assembled(tmp_path, "conf/a.ini").options

    assert pairs(options) == ["mule=1", "mule=3"]
    assert str(options[0].origin) == "conf/b.ini:2"


def test_a_file_that_cannot_be_read_is_in_doubt(tmp_path: Path) -> None:
    write(tmp_path, a="ini=none.ini\nini=%(b).ini\nmule=1")

    first, second, mule = assembled(tmp_path).options

    assert first.doubt == "none.ini: cannot be read: No such file or directory"
    assert second.doubt.startswith("%(b).ini: cannot be read")
    assert mule.doubt == ""


def test_a_file_cannot_include_itself(tmp_path: Path) -> None:
    write(tmp_path, a="ini=b.ini\nmule=1", b="mule=2\nini=a.ini\ninherit=b.ini")

    options = assembled(tmp_path).options

    assert [option.doubt or option.value for option in options] == [
        "2",
        "a.ini: includes itself",
        "1",
        "2",
        "a.ini: includes itself",
        "b.ini: includes itself",
    ]


def test_includes_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(30):
        following = f"f{number + 1}"
        write(tmp_path, **{f"f{number}": f"ini={following}.ini\nini=./{following}.ini"})

    with pytest.raises(ConfigError, match="found more than 20000 options"):
        assembled(tmp_path, "f0.ini")


def test_files_too_deep_are_in_doubt(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path, **{f"f{number}": f"ini=f{number + 1}.ini\nmule={number}"})

    options = assembled(tmp_path, "f0.ini").options

    assert options[0].doubt == "f20.ini: is included more than 20 files deep"
    assert len(options) == 21


def test_loops_and_conditions_are_followed(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="for=1 2\nmule=%(_)\nfarm=f%(_)\nendfor=\n"
        "if-env=SET\nmule=%(_)\nelse=\nmule=no\nendif=\n"
        "if-opt=mule=9\nmule=never\nend=\nmule=last",
    )

    done = assembled(tmp_path, SET="yes")

    assert [o for o in pairs(done.options) if o != "mule=no"] == [
        "mule=1",
        "mule=2",
        "farm=f1",
        "farm=f2",
        "mule=yes",
        "mule=last",
    ]
    assert [o.condition for o in done.options if o.value == "no"] == [
        "counts only unless env = SET; that holds here"
    ]
    assert [(o.text, verdict) for o, verdict in done.conditions] == [
        ("if-env = SET", "holds here"),
        ("else", "as in uWSGI 2.1; 2.0 has no else, and goes on with the if"),
    ]


def test_a_condition_is_asked_for_each_option_anew(tmp_path: Path) -> None:
    write(tmp_path, a="if-not-opt=mule\nmule=1\nmule=2\nendif=\nmule=3")

    assert pairs(assembled(tmp_path).options) == ["mule=1", "mule=3"]


def test_a_file_included_in_a_block_has_blocks_of_its_own(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="for=b c\nini=%(_).ini\nmule=%(_)\nendfor=",
        b="for=x\nmule=%(_)\nendfor=\nmule=b1",
        c="mule=c1",
    )

    assert pairs(assembled(tmp_path).options) == [
        "mule=x",
        "mule=b1",
        "mule=c1",
        "mule=b",
        "mule=c",
    ]


def test_a_block_in_a_block_is_in_doubt(tmp_path: Path) -> None:
    write(tmp_path, a="for=1 2\nif-env=A\nmule=%(_)\nendif=\nmule=3")

    inner, *others = assembled(tmp_path).options

    assert inner.doubt == "uWSGI has no blocks in blocks and does not start"
    assert pairs(others) == ["mule=1", "mule=2", "mule=3"]


def test_an_include_that_counts_only_elsewhere_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, a="if-env=A\nini=b.ini\nendif=", b="mule=1")

    (option,) = assembled(tmp_path).options

    assert option.condition == "counts only if env = A; that does not hold here"


def test_set_is_the_option_that_it_sets(tmp_path: Path) -> None:
    write(tmp_path, a="set=mule=x.py\nset-ph = base=/srv=x\nset=nothing")

    mule, base, nothing = assembled(tmp_path).options

    assert (mule.name, mule.value, mule.text) == ("mule", "x.py", "set = mule=x.py")
    assert (base.name, base.value, base.is_placeholder) == ("base", "/srv=x", True)
    assert nothing.name == "set"


def test_an_immediate_variable_is_seen_by_what_follows(tmp_path: Path) -> None:
    write(tmp_path, a="ienv=A=1\nif-env=A\nmule=%(_)\nendif=")

    assert pairs(assembled(tmp_path).options) == ["ienv=A=1", "mule=1"]


def test_a_command_line_has_no_magic_but_its_files_have(tmp_path: Path) -> None:
    write(tmp_path, b="mule=%n-%N")
    here = Origin("command line")
    options = [new_option("mule", "%n", here), new_option("ini", "b.ini", here)]

    done = assemble(options, Surroundings({}, tmp_path), None)

    assert pairs(done.options) == ["mule=%n", "mule=b-b"]
