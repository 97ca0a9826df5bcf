import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pymule.cli import pymuled
from pymule.cli.entry import run_app
from pymule.cli.words import with_values
from pymule.version import VERSION
from tests.cli.conftest import environment, run_pymuled

OPTIONS = (
    "--config",
    "-c",
    "--check",
    "--mule",
    "--mules",
    "--farm",
    "--app",
    "--socket",
    "--log-format",
    "--log-level",
    "--loop",
    "--version",
    "--help",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a program in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work.py").touch()
    return tmp_path


def status_of(*arguments: str) -> int:
    """Run the command in this process; it must not come to serving."""
    return run_app(pymuled.app, with_values(arguments), "pymuled")


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--help") == 0

    shown = capsys.readouterr().out
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown)) >= set(OPTIONS)
    assert "\x1b" not in shown


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--version") == 0

    assert capsys.readouterr().out.startswith(f"pymuled {VERSION} (Python ")


def test_a_good_file_is_said_to_be_good(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "pymule.toml").write_text(
        '[[mule]]\ncount = 2\n[[mule]]\nprogram = "work.py"\n'
        '[[farm]]\nname = "busy"\nmules = [3]\n'
    )

    assert status_of("--check") == 0
    assert status_of("--check", "-c", "pymule.toml") == 0
    assert capsys.readouterr() == ("pymule.toml: ok, 3 mules, 1 farms\n" * 2, "")


def test_mules_of_the_command_line_are_numbered_in_their_order(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    words = ("--mule=work.py", "--mules", "2", "--mule", "--farm", "busy:1,4")

    assert status_of("--check", *words) == 0
    assert capsys.readouterr().out == "command line: ok, 4 mules, 1 farms\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "x.toml", "--mule"),
        ("-c", "x.toml", "--mules", "2"),
        ("-c", "x.toml", "--farm", "busy:1"),
        ("-c", "x.toml", "--app", "myapp"),
        ("-c", "x.toml", "--socket", "x.sock"),
        ("--farm", "busy:1"),
        ("--socket", "x.sock"),
        ("--mule", "work.py"),
        ("--mules", "0"),
        ("--mules"),
        ("--log-level", "loud"),
        ("--loop", "trio"),
        ("--nonsense",),
        ("-c",),
    ],
    ids=" ".join,
)
def test_bad_usage_is_64(
    arguments: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del here

    assert status_of(*arguments) == 64
    assert "Error: " in capsys.readouterr().err


def test_a_bad_file_is_78_and_its_mistakes_are_all_that_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "pymule.toml").write_text("[[mule]]\nstop_timeout = 3\n")

    assert status_of() == 78
    assert capsys.readouterr().err.startswith(
        "pymule.toml:2:1: mule.0.stop_timeout: unknown key; allowed: app"[:40]
    )


def test_a_missing_file_is_78(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del here

    assert status_of() == 78
    assert capsys.readouterr().err == (
        "pymule.toml: cannot be read: No such file or directory\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is so careful")
def test_root_does_not_run_what_another_user_left_in_the_directory(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "pymule.toml").write_text("[[mule]]\n")
    os.chown(here / "pymule.toml", 65534, -1)

    assert status_of("--check") == 78
    assert "found a file of user 65534" in capsys.readouterr().err
    assert status_of("--check", "-c", "pymule.toml") == 0


def test_a_bad_word_is_78_and_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del here

    assert status_of("--mule", "--farm=busy:2") == 78
    assert capsys.readouterr().err.startswith("--farm busy:2: ")


def test_log_options_overrule_the_file(here: Path) -> None:
    file = here / "pymule.toml"
    file.write_text('log_level = "error"\n[[mule]]\n')

    settings = pymuled.Source(file, log_format="json").load()

    assert (settings.log_format, settings.log_level) == ("json", "error")


def test_a_check_loads_neither_the_master_nor_asyncio(here: Path) -> None:
    (here / "pymule.toml").write_text("[[mule]]\n")
    script = (
        "import sys; sys.argv[1:] = ['--check']\n"
        "from pymule.cli import pymuled\n"
        "try: pymuled.main()\n"
        "finally: print(*{'asyncio', 'uvloop', 'psutil', 'rich', 'pymule.master'}"
        " & sys.modules.keys())"
    )

    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", script],
        cwd=here,
        env=environment(here),
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "pymule.toml: ok, 1 mules, 0 farms\n\n"


def test_the_daemon_does_not_mind_closed_descriptors(here: Path) -> None:
    (here / "pymule.toml").write_text("[[mule]]\nx = 1\n")
    command = f"exec {sys.executable} -m pymule.cli.pymuled --check <&- >&- 2>&-"

    done = subprocess.run(  # noqa: S602  (closing descriptors is what a shell is for)
        command, cwd=here, env=environment(here), shell=True, check=False
    )

    assert done.returncode == 78


def test_the_process_ends_with_the_status(here: Path) -> None:
    assert run_pymuled(here, "--check").returncode == 78
    assert run_pymuled(here, "--check", "--mule").returncode == 0
