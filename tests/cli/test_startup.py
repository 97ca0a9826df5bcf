"""Real daemons: from the command line to the status that they end with."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cli.conftest import (
    DAEMON,
    LIMIT_S,
    Daemon,
    Start,
    environment,
    run_pymule,
    run_pymuled,
)

pytestmark = pytest.mark.slow

BROKEN: Final = """
import sys
from pymule.cli import pymuled, startup
def broken():
    raise {error}
startup.become_subreaper = broken
sys.argv = ["pymuled", "--mule", "--socket=s.sock", *sys.argv[1:]]
pymuled.main()
"""
# Systemd names the process that its sockets are for, so it has to be this one.
ACTIVATED: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[2]}
os.execv(sys.executable, sys.argv[3:])
"""
# Signals that come when the loop is closed already.
IMPATIENT: Final = """
import os, signal, sys
from pymule.cli import pymuled, startup
class Sink(startup.LogSink):
    def close(self):
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            os.kill(os.getpid(), signum)
        super().close()
startup.LogSink = Sink
pymuled.main()
"""
STUBBORN: Final = """
import signal, time
# Not blocked: the thread of the link would take it, and end a sleep that is just over.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("stubborn", flush=True)
while True:
    time.sleep(1000)
"""
ASKS: Final = """
import os
from pymule.sync import mule_get_msg
print("variables", *sorted(v for v in os.environ if v.startswith(
    ("LISTEN_", "NOTIFY_", "WATCHDOG_"))), "socket", os.environ["PYMULE_SOCKET"])
mule_get_msg()
"""


def run_broken(directory: Path, error: str, *more: str) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", BROKEN.format(error=error), *more],
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT_S,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_clean_stop_is_0(start: Start, loop: str, signum: signal.Signals) -> None:
    daemon = start("--mules", "2", "--socket", "s.sock", "--loop", loop)
    daemon.wait_for("pymuled ready mules=2 up=2")

    daemon.process.send_signal(signum)

    assert daemon.end() == 0
    assert "pymuled stopped killed=0 lost=0" in daemon.log
    assert not (daemon.directory / "s.sock").exists()


def test_a_mule_that_had_to_be_killed_makes_it_1(
    start: Start, socket_dir: Path
) -> None:
    (socket_dir / "stubborn.py").write_text(STUBBORN)
    (socket_dir / "f.toml").write_text(
        'socket = "s.sock"\n[[mule]]\nprogram = "stubborn.py"\nstop_timeout_s = 0.05\n'
    )
    daemon = start("-c", "f.toml")
    daemon.wait_for("stubborn")
    daemon.wait_for("mule ready")

    daemon.process.terminate()

    assert daemon.end() == 1
    assert "pymuled stopped killed=1 lost=0" in daemon.log


def test_a_lost_message_makes_it_1(start: Start, socket_dir: Path) -> None:
    (socket_dir / "idle.py").write_text("import signal\nsignal.pause()\n")
    daemon = start("--mule=idle.py", "--socket=s.sock")
    daemon.wait_for("pymuled ready")
    run_pymule(daemon.directory, "send", "--mule", "1", "never asked for")

    daemon.process.terminate()

    assert daemon.end() == 1
    assert "messages lost target=mule1 count=1" in daemon.log


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_status_survives_signals_at_the_very_end(
    socket_dir: Path, loop: str
) -> None:
    words = ("--mule", "--socket=s.sock", f"--loop={loop}")
    with subprocess.Popen(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", IMPATIENT, *words],
        cwd=socket_dir,
        env=environment(socket_dir),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("pymuled ready" in line for line in process.stderr)
        process.terminate()
        process.stderr.read()

    assert process.returncode == 0


def test_a_second_daemon_refuses_and_names_the_first(ready: Daemon) -> None:
    done = run_pymuled(ready.directory)

    assert done.returncode == 73
    assert f"is in use by process {ready.process.pid};" in done.stderr.decode()
    assert run_pymule(ready.directory, "status").returncode == 0


def test_a_socket_that_cannot_be_made_is_73(socket_dir: Path) -> None:
    socket_dir.chmod(0o777)

    done = run_pymuled(socket_dir, "--mule", "--socket=s.sock")

    assert done.returncode == 73
    assert b"is writable by everybody" in done.stderr
    assert b"Traceback" not in done.stderr


def test_what_the_kernel_refuses_is_77(socket_dir: Path) -> None:
    status, said = run_broken(socket_dir, "PermissionError(1, 'Not permitted')")

    assert status == 77
    assert "Not permitted" in said
    assert "Traceback" not in said


def test_a_fault_of_ours_is_70_without_a_traceback(socket_dir: Path) -> None:
    status, said = run_broken(socket_dir, "ZeroDivisionError('oh')")

    assert status == 70
    assert 'pymuled failed error="ZeroDivisionError: oh" exit=70' in said
    assert "Traceback" not in said


def test_at_level_debug_a_fault_has_its_traceback(socket_dir: Path) -> None:
    status, said = run_broken(socket_dir, "KeyError", "--log-level=debug")

    assert status == 70
    assert "  | Traceback" in said


def test_the_process_is_what_a_daemon_should_be(ready: Daemon) -> None:
    process = Path("/proc", str(ready.process.pid))
    title = process.joinpath("cmdline").read_text().rstrip("\0")
    limits = process.joinpath("limits").read_text().splitlines()
    soft, hard = next(line for line in limits if "open files" in line).split()[3:5]

    assert title == "pymuled: master [pymule.toml]"
    assert soft == hard


def test_a_hangup_reads_the_same_file_again(ready: Daemon) -> None:
    with (ready.directory / "pymule.toml").open("a") as file:
        file.write("[[mule]]\n")

    ready.process.send_signal(signal.SIGHUP)

    assert "mules=3" in ready.wait_for("reloaded")


def test_a_hangup_without_a_file_asks_for_the_same_mules(start: Start) -> None:
    daemon = start("--mules", "2", "--socket", "s.sock")
    daemon.wait_for("pymuled ready")

    daemon.process.send_signal(signal.SIGHUP)

    assert "mules=2" in daemon.wait_for("reloaded")


def test_each_line_of_a_json_log_is_an_object(start: Start) -> None:
    daemon = start("--mule", "--socket=s.sock", "--log-format=json")
    daemon.wait_for("pymuled ready")
    daemon.process.terminate()
    daemon.end()

    lines = [json.loads(line) for line in daemon.log.splitlines()]

    assert [lines[0]["event"], lines[-1]["event"]] == [
        "pymuled listens",
        "pymuled stopped",
    ]


def test_systemd_hears_and_no_mule_sees_its_variables(
    start: Start, socket_dir: Path
) -> None:
    (socket_dir / "asks.py").write_text(ASKS)
    address = str(socket_dir / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(LIMIT_S)
        daemon = start(
            "--mule=asks.py",
            "--socket=s.sock",
            NOTIFY_SOCKET=address,
            WATCHDOG_USEC="30000000",
        )
        said = b""
        while b"READY=1" not in said:
            said += manager.recv(4096)

    seen = daemon.wait_for("variables socket") if "variables" not in daemon.log else ""

    assert b"WATCHDOG=1" in said
    assert f"variables socket {socket_dir}/s.sock" in seen


def test_a_socket_of_systemd_is_served_where_it_is(socket_dir: Path) -> None:
    (socket_dir / "asks.py").write_text(ASKS)
    path = socket_dir / "given.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        fd = listener.fileno()
        command = (*DAEMON, "--mule=asks.py", "--socket=s.sock")
        with subprocess.Popen(  # noqa: S603  (our own interpreter and script)
            [sys.executable, "-c", ACTIVATED, str(fd), "1", *command],
            cwd=socket_dir,
            env=environment(socket_dir),
            pass_fds=[fd],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            seen = next(line for line in process.stderr if "variables" in line)
            stopped = run_pymule(socket_dir, "stop", "--socket", str(path))
            process.stderr.read()

    assert f"variables socket {path}" in seen
    assert stopped.returncode == 0
    assert process.returncode == 0
    assert path.exists()
    assert not (socket_dir / "s.sock").exists()


def test_a_second_socket_of_systemd_is_not_used(socket_dir: Path) -> None:
    script = (
        "import os, socket, sys\n"
        "for name in 'ab':\n"
        "    s = socket.socket(socket.AF_UNIX); s.bind(name); s.listen()\n"
        "    os.dup2(s.detach(), 3 + 'ab'.index(name) + 20)\n"
        "os.dup2(23, 3); os.dup2(24, 4)\n"
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '2'}\n"
        "os.execv(sys.executable, sys.argv[1:])\n"
    )
    with subprocess.Popen(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", script, *DAEMON, "--mule"],
        cwd=socket_dir,
        env=environment(socket_dir),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert any("pymuled ready" in other for other in process.stderr)
        process.terminate()
        process.stderr.read()

    assert "socket not used" in line
    assert process.returncode == 0
