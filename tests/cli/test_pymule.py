import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pymule.cli import pymule
from pymule.cli.entry import run_app, version_line
from pymule.client.sync import Client
from tests.cli.conftest import (
    ECHO,
    LIMIT_S,
    ROOT,
    Daemon,
    environment,
    run_pymule,
)

COMMAND: Final = (sys.executable, "-m", "pymule.cli.pymule")
FILTER: Final = {
    *("--queue", "-q", "--reason", "--older-than", "--newer-than", "--limit", "-n"),
}
COMMANDS: Final = {
    "status": {"--json"},
    "send": {
        *("--mule", "--farm", "--lines", "--verbose", "-v", "--delay", "--at"),
        *("--priority", "--ttl", "--key", "--message-id", "--header", "--max-attempts"),
    },
    "reload": set[str](),
    "stop": {"--now"},
    "logs": {"--follow", "-f", "--lines", "-n"},
    "version": set[str](),
    "convert": {"--format", "--output", "-o", "--force", "--no-uwsgi"},
    "queues": {"--json"},
    "peek": {"--limit", "-n", "--full", "--json"},
    "purge": {"--yes", "-y", "--json"},
    "pause": {"--json"},
    "resume": {"--json"},
    "dead ls": {*FILTER, "--json"},
    "dead show": {"--raw", "--json"},
    "dead replay": {*FILTER, "--all", "--to", "--json"},
    "dead purge": {*FILTER, "--all", "--yes", "-y", "--json"},
    "dead export": {*FILTER, "--output", "-o"},
}
# The others ask a daemon.
ALONE: Final = {"convert"}
OPTION: Final = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
FILE: Final = """
socket = "s.sock"
state_dir = "state"
max_frame_bytes = 1_048_576

[[mule]]
program = "echo.py"

[[mule]]
program = "idle.py"
max_messages = 1
when_full = "refuse"

[[mule]]
program = "idle.py"
max_messages = 1

[[farm]]
name = "busy"
mules = [1]
"""


def status_of(*arguments: str) -> int:
    """Run the command in this process."""
    return run_app(pymule.app, arguments, "pymule")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_names_every_option(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(*command.split(), "--help") == 0
    assert status_of(*command.split(), "-h") == 0

    shown = capsys.readouterr().out
    of_all = {"--help"} if command in ALONE else {"--help", "--socket", "--timeout"}
    assert set(OPTION.findall(shown)) >= COMMANDS[command] | of_all
    assert "\x1b" not in shown


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--help") == status_of("dead", "--help") == 0

    shown = capsys.readouterr().out
    names = [command.split()[-1] for command in COMMANDS]
    assert [name for name in names if f"\n  {name} " not in shown] == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("send",),
        ("send", "--mule", "0", "x"),
        ("send", "--mule", "one", "x"),
        ("send", "--mule", "1", "--farm", "busy", "x"),
        ("send", "--farm", "no such name", "x"),
        ("send", "x", "y"),
        ("send", "--lines", "--message-id", "m", "x"),
        ("send", "--priority", "10", "x"),
        ("send", "--priority", "high", "x"),
        ("send", "--delay", "-1", "x"),
        ("send", "--delay", "1", "--at", "2030-01-01T00:00Z", "x"),
        ("send", "--at", "2030-01-01T00:00", "x"),
        ("send", "--header", "trace", "x"),
        ("logs", "-n", "-1"),
        ("logs", "-n", "1001"),
        ("status", "--timeout", "0"),
        ("nonsense",),
        ("stop", "--nonsense"),
        ("convert",),
        ("convert", "--format", "toml", "x"),
        ("convert", "uwsgi", "--mule=x.py"),
        ("peek",),
        ("peek", "mule", "-n", "0"),
        ("dead",),
        ("dead", "ls", "--reason", "boredom"),
        ("dead", "show", "0"),
    ],
    ids=" ".join,
)
def test_bad_usage_is_64(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(*arguments) == 64
    assert capsys.readouterr().err != ""


@pytest.mark.parametrize(
    "command",
    ["status", "send x", "reload", "stop", "logs", "queues", "dead ls", "pause mule"],
)
def test_without_a_daemon_each_command_is_69(
    command: str, socket_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = socket_dir / "none.sock"

    assert status_of(*command.split(), "--socket", str(path)) == 69
    assert capsys.readouterr() == (
        "",
        f"pymule: no pymuled at {path}: No such file or directory\n",
    )


def test_the_socket_of_the_environment_is_the_default(
    socket_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYMULE_SOCKET", str(socket_dir / "mine.sock"))

    assert status_of("status") == 69
    assert "mine.sock" in capsys.readouterr().err


def test_the_version_is_told_without_a_daemon(
    socket_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of("version", "--socket", str(socket_dir / "none.sock")) == 0
    assert status_of("--version") == 0

    assert capsys.readouterr().out == f"{version_line('pymule')}\n" * 2


def test_a_daemon_that_does_not_tell_its_version_is_waited_for_no_longer_than_asked(
    socket_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(socket_dir / "deaf.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        assert status_of("version", "--socket", path, "--timeout", "0.05") == 124

    assert capsys.readouterr().out == f"{version_line('pymule')}\n"


def test_the_help_of_send_loads_no_asyncio() -> None:
    script = (
        "import sys; sys.argv[1:] = ['send', '--help']\n"
        "from pymule.cli import pymule\n"
        "try: pymule.main()\n"
        "finally: print(*{'asyncio', 'pymule.config', 'pymule.convert', 'rich'}"
        " & sys.modules.keys())"
    )

    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", script],
        env=environment(ROOT),
        check=True,
        capture_output=True,
    )

    assert done.stdout.endswith(b"exit.\n\n")


# With a daemon


@pytest.fixture(scope="module")
def daemon(module_dir: Path) -> Iterator[Daemon]:
    """One daemon for all tests that leave it as it was."""
    (module_dir / "echo.py").write_text(ECHO)
    (module_dir / "idle.py").write_text("import signal\nsignal.pause()\n")
    (module_dir / "pymule.toml").write_text(FILE)
    daemon = Daemon(module_dir, (), {})
    try:
        daemon.wait_for("pymuled ready")
        yield daemon
    finally:
        daemon.close()


def on_terminal(directory: Path, *arguments: str, **env: str) -> str:
    """Return what ``pymule`` writes when stdout is a terminal."""
    reader, writer = os.openpty()
    try:
        with subprocess.Popen(  # noqa: S603  (our own command)
            (*COMMAND, *arguments),
            cwd=directory,
            env=environment(directory, TERM="xterm", **env),
            stdout=writer,
        ) as process:
            process.wait(LIMIT_S)
        return os.read(reader, 65_536).decode()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.slow
def test_status_is_plain_text_in_a_pipe_and_coloured_on_a_terminal(
    daemon: Daemon,
) -> None:
    piped = run_pymule(daemon.directory, "status").stdout.decode()

    assert re.search(r"^ 1  echo.py  programmed +busy +up ", piped, re.MULTILINE)
    assert "clients: pymule (pid " in piped
    assert "\x1b" not in piped
    assert "\x1b[32mup\x1b[0m" in on_terminal(daemon.directory, "status")
    assert "\x1b" not in on_terminal(daemon.directory, "status", NO_COLOR="1")


@pytest.mark.slow
def test_status_as_json_has_the_documented_keys_and_no_others(daemon: Daemon) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.partition("## `pymule status --json`")[2].partition("\n## ")[0]
    row_of_three = re.compile(r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \|$", re.MULTILINE)

    handler = {"target": "worker", "identity": "i", "handler": "h", "place": "p"}
    with Client(daemon.directory / "s.sock") as client, client.lock("a"):
        client.call("register", **handler)
        status = json.loads(run_pymule(daemon.directory, "status", "--json").stdout)

    keys = {*status, *(f"journal.{key}" for key in status["journal"])}
    for part in ("mules", "queues", "clients", "signals", "locks"):
        keys |= {f"{part}[].{key}" for key in status[part][0]}
    # There is no forkserver here; the other is between client and daemon only.
    told = {
        key
        for key in row_of_three.findall(section)
        if not key.startswith("forkservers[]") and key != "next"
    }
    assert told == keys
    assert status["schema"] == "pymule.status/1"
    assert status["pid"] == daemon.process.pid


@pytest.mark.slow
def test_send_says_nothing_and_the_mule_gets_it(daemon: Daemon) -> None:
    done = run_pymule(daemon.directory, "send", "hello")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert daemon.wait_for("<hello>")


@pytest.mark.slow
def test_a_message_is_bytes_and_not_text(daemon: Daemon) -> None:
    run_pymule(daemon.directory, "send", "--mule=1", os.fsdecode(b"arg \xff"))
    run_pymule(daemon.directory, "send", "-", stdin=b"in \xff\x00\n")

    assert daemon.wait_for("<arg%20%FF>")
    assert daemon.wait_for("<in%20%FF%00%0A>")


@pytest.mark.slow
def test_lines_are_messages_of_their_own(daemon: Daemon) -> None:
    done = run_pymule(
        daemon.directory, "send", "--lines", "-v", "--farm=busy", stdin=b"one\n\nlast"
    )

    first, *others = map(int, done.stdout.split())
    assert others == [first + 1, first + 2]
    assert daemon.wait_for("<one>")
    assert daemon.wait_for("<>")
    assert daemon.wait_for("<last>")


@pytest.mark.slow
def test_lines_of_an_argument_are_messages_too(daemon: Daemon) -> None:
    run_pymule(daemon.directory, "send", "--lines", "left\nright\n")

    assert daemon.wait_for("<left>")
    assert daemon.wait_for("<right>")


@pytest.mark.slow
def test_an_unknown_target_is_65_and_the_known_ones_are_named(daemon: Daemon) -> None:
    for words in (("--mule", "99"), ("--farm", "nope")):
        done = run_pymule(daemon.directory, "send", *words, "x")

        assert done.returncode == 65
        assert b"there are: mule, mule1, mule2, mule3, farm:busy" in done.stderr


@pytest.mark.slow
def test_a_message_too_big_is_65(daemon: Daemon) -> None:
    done = run_pymule(daemon.directory, "send", "-", stdin=b"x" * 1_048_576)

    assert done.returncode == 65
    assert b"message of 1048576 bytes" in done.stderr


@pytest.mark.slow
def test_a_full_queue_that_refuses_is_75(daemon: Daemon) -> None:
    first, second = (
        run_pymule(daemon.directory, "send", "--mule=2", "x") for _ in range(2)
    )

    assert (first.returncode, second.returncode) == (0, 75)
    assert second.stderr == b"pymule: queue of 'mule2' is full at 1 messages\n"


@pytest.mark.slow
def test_a_full_queue_that_waits_is_124_when_time_is_over(daemon: Daemon) -> None:
    send = ("send", "--mule=3", "x")
    first = run_pymule(daemon.directory, *send)

    second = run_pymule(daemon.directory, *send, "--timeout=0.2")

    assert (first.returncode, second.returncode) == (0, 124)
    assert second.stderr == b"pymule: no answer from pymuled within 0.2 seconds\n"


@pytest.mark.slow
def test_the_last_records_are_shown(daemon: Daemon) -> None:
    done = run_pymule(daemon.directory, "logs", "-n", "1000")

    assert done.returncode == 0
    assert b"pymuled ready" in done.stdout
    assert run_pymule(daemon.directory, "logs", "-n", "0").stdout == b""
    assert run_pymule(daemon.directory, "logs", "-n1").stdout.count(b"\n") == 1


@pytest.mark.slow
def test_following_goes_on_until_ctrl_c_which_is_130(daemon: Daemon) -> None:
    with subprocess.Popen(  # noqa: S603  (our own command)
        (*COMMAND, "logs", "-f", "-n", "1"),
        env=environment(daemon.directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        run_pymule(daemon.directory, "send", "followed")
        while "<followed>" not in process.stdout.readline():
            continue
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT_S)

    assert (process.returncode, said) == (130, "")


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_command_in_silence(daemon: Daemon) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(  # noqa: S603  (our own command)
            (*COMMAND, "status"),
            env=environment(daemon.directory),
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=LIMIT_S,
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
def test_the_version_of_the_daemon_is_told_too(daemon: Daemon) -> None:
    done = run_pymule(daemon.directory, "version")

    assert done.stdout.decode().splitlines()[1].endswith(f"(pid {daemon.process.pid})")


@pytest.mark.slow
def test_a_reload_ends_when_it_is_done(ready: Daemon) -> None:
    done = run_pymule(ready.directory, "reload")

    assert (done.returncode, done.stdout) == (0, b"reloaded\n")
    assert ready.wait_for("reloaded mules=2")


@pytest.mark.slow
def test_a_bad_file_is_not_loaded_and_is_78(ready: Daemon) -> None:
    (ready.directory / "pymule.toml").write_text("nonsense = 1\n[[mule]]\n")

    done = run_pymule(ready.directory, "reload")

    assert done.returncode == 78
    assert done.stderr.startswith(b"pymule: not reloaded: pymule.toml:1:1: nonsense: ")
    status = run_pymule(ready.directory, "status")
    assert b"last reload failed: pymule.toml:1:1: nonsense: " in status.stdout
