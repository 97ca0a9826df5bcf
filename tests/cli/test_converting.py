"""``pymule convert``, most of it in this process: it asks no daemon."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pymule.cli import pymule
from pymule.cli.entry import run_app
from tests.cli.conftest import ROOT, environment, run_pymule, run_pymuled
from tests.test_docs import blocks_of

INI = (
    "[uwsgi]\nmaster = true\nmule = work.py\nmules = 2\nfarm = busy:1,2\nmodule = web\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a file of uWSGI in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uwsgi.ini").write_text(INI)
    return tmp_path


def status_of(*arguments: str) -> int:
    """Run the command in this process."""
    return run_app(pymule.app, ("convert", *arguments), "pymule")


def test_a_file_becomes_one_of_ours_on_stdout(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del here

    assert status_of("uwsgi.ini") == 0

    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("# Made by pymule convert from uwsgi.ini.\n")
    assert tomllib.loads(out) == {
        "app": "web",
        "mule": [{"program": "work.py", "uwsgi": True}, {"count": 2, "uwsgi": True}],
        "farm": [{"name": "busy", "mules": [1, 2]}],
    }


def test_programs_need_not_import_uwsgi(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del here

    assert status_of("uwsgi.ini", "--no-uwsgi") == 0

    assert tomllib.loads(capsys.readouterr().out)["mule"] == [
        {"program": "work.py"},
        {"count": 2},
    ]


def test_the_daemon_takes_what_was_written(here: Path) -> None:
    (here / "work.py").touch()

    assert status_of("uwsgi.ini", "--output", "pymule.toml") == 0
    done = run_pymuled(here, "--check")

    assert done.stdout == b"pymule.toml: ok, 3 mules, 1 farms\n"


def test_a_file_that_is_there_is_overwritten_only_by_force(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = here / "pymule.toml"
    output.write_text("mine")

    assert status_of("uwsgi.ini", "-o", "pymule.toml") == 64
    assert "pymule.toml exists; --force overwrites it" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert status_of("uwsgi.ini", "-o", "pymule.toml", "--force") == 0
    assert "[[mule]]" in output.read_text()


def test_a_place_that_cannot_be_written_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del here

    assert status_of("uwsgi.ini", "-o", "none/pymule.toml") == 1

    assert capsys.readouterr().err == (
        "pymule: none/pymule.toml: cannot be written: No such file or directory\n"
    )


def test_a_place_that_this_user_may_not_write_is_77(here: Path) -> None:
    del here
    # Not even root may.
    target = "/proc/sys/kernel/random/uuid"

    assert status_of("uwsgi.ini", "--force", "-o", target) == 77


def test_a_command_line_is_converted_too(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    words = "uwsgi --mule=x.py --mules 2 --farm busy:1,2 --ini uwsgi.ini"

    assert status_of("--no-uwsgi", "--", *words.split()) == 0

    out, err = capsys.readouterr()
    assert err == (
        "pymule: a command line: 1 to look at first, named at the top of the file\n"
    )
    assert tomllib.loads(out)["mule"] == [
        {"program": "x.py"},
        {"count": 2},
        {"program": "work.py"},
        {"count": 2},
    ]
    assert "#   uwsgi.ini:5: farm = busy:1,2\n" in out


def test_the_form_may_be_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "conf").write_text('{"uwsgi": {"mule": "a.py"}}')

    assert status_of("conf") == 0
    assert status_of("conf", "--format", "json") == 0
    assert status_of("conf", "--format", "yaml") == 78
    assert "conf:1: not a configuration of uWSGI" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "f.xml: cannot be read: No such file or directory"),
        ("<uwsgi>", "f.xml:1: not XML: no element found"),
        ("<x/>", "f.xml:1: not a configuration of uWSGI: found no element <uwsgi>"),
    ],
)
def test_what_is_no_file_of_uwsgi_is_78(
    text: str | None, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (here / "f.xml").write_text(text)

    assert status_of("f.xml") == 78

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"pymule: {said}")


def test_a_file_without_mules_is_written_with_a_hint(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "web.ini").write_text("[uwsgi]\nhttp = :80\n")

    assert status_of("web.ini") == 0

    out, err = capsys.readouterr()
    assert tomllib.loads(out) == {}
    assert err == (
        "pymule: web.ini: no mule was found; pymuled wants at least one [[mule]]\n"
    )


def test_stdin_is_read_and_stdout_is_utf_8(here: Path) -> None:
    text = INI.replace("work", "w\xf6rk").encode()

    done = run_pymule(here, "convert", "-", stdin=text, PYTHONIOENCODING="ascii")

    assert done.returncode == 0
    assert b"from stdin.\n" in done.stdout
    assert tomllib.loads(done.stdout.decode())["mule"][0]["program"] == "w\xf6rk.py"


def test_stdin_without_a_name_has_no_magic(here: Path) -> None:
    done = run_pymule(here, "convert", "-", stdin=b"[uwsgi]\nmule = %n.py\n")

    assert b"#     %n is known only where and when uWSGI starts; mule 1 " in done.stdout


def test_the_variables_of_this_process_are_put_in(here: Path) -> None:
    text = b"[uwsgi]\nmule = $(DIR)/a.py\n"

    done = run_pymule(here, "convert", "-", stdin=text, DIR="/srv")

    assert tomllib.loads(done.stdout.decode())["mule"][0]["program"] == "/srv/a.py"


def test_the_example_of_the_guide_is_what_comes_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs" / "uwsgi.md").read_text()
    _, _, section = guide.partition("\n## `pymule convert`\n")
    blocks = blocks_of(section.partition("\n## ")[0])
    (given,) = (block.text for block in blocks if block.language == "ini")
    (made,) = (block.text for block in blocks if block.language == "toml")
    (here / "uwsgi.ini").write_text(given)

    assert status_of("uwsgi.ini") == 0

    assert capsys.readouterr().out == made


def test_a_conversion_loads_neither_asyncio_nor_the_settings(here: Path) -> None:
    script = (
        "import sys; sys.argv[1:] = ['convert', 'uwsgi.ini', '-o', 'x.toml']\n"
        "from pymule.cli import pymule\n"
        "try: pymule.main()\n"
        "finally: print(*{'asyncio', 'pymule.config', 'pymule.client'}"
        " & sys.modules.keys())"
    )

    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", script],
        cwd=here,
        env=environment(here),
        check=True,
        capture_output=True,
    )

    assert done.stdout == b"\n"
