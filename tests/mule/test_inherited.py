"""What a process of the master inherits; what it does with it is seen in programs."""

import json
import os
import subprocess
import sys

import pytest

from pymule.mule.inherited import Inherited

VARIABLE = {
    "mule": 3, "name": "busy", "title": "pymule: mule 3", "master": 1,
    "link": 7, "board": 8, "stacks": 9,
}  # fmt: skip


def test_it_is_taken_out_of_the_environment() -> None:
    environ = {"PYMULE_MULE": json.dumps(VARIABLE), "PATH": "/bin"}

    inherited = Inherited.from_environ(environ)

    assert environ == {"PATH": "/bin"}
    assert inherited == Inherited(
        "pymule: mule 3", 1, drops=False, link=7, board=8, stacks=9
    )


def test_who_is_no_child_of_the_master_is_told() -> None:
    script = f"""
import os
from pymule.mule.inherited import Inherited
tie = lambda master: Inherited("", master, False, 0, 0, 0).tie_to_master()
print(tie(os.getppid()), tie({os.getpid()} + 1))
"""
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", script], stdout=subprocess.PIPE, check=True
    )

    assert done.stdout.split() == [b"True", b"False"]


@pytest.mark.parametrize("drops", [True, False])
def test_one_that_was_given_another_user_gets_no_privileges_back(
    drops: bool,  # noqa: FBT001  (of the parameters)
) -> None:
    script = f"""
import os
from pymule.mule.inherited import Inherited
Inherited("", os.getppid(), {drops}, 0, 0, 0).tie_to_master()
print([line for line in open("/proc/self/status") if "NoNewPrivs" in line])
"""
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True
    )

    before = _no_new_privs("/proc/self/status")
    assert f"{max(int(drops), before)}" in done.stdout


def _no_new_privs(path: str) -> int:
    with open(path) as file:  # noqa: PTH123  (of the kernel)
        return int(next(line for line in file if "NoNewPrivs" in line).split()[1])


def test_an_interrupt_is_not_for_it_and_its_lines_leave_at_once() -> None:
    script = """
import os, signal, sys
from pymule.mule.inherited import Inherited
fds = [os.memfd_create("x") for _ in range(3)]
for fd in fds: os.set_inheritable(fd, True)
Inherited("pymule: a title", os.getppid(), False, *fds).settle()
print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, sys.stdout.line_buffering,
      any(map(os.get_inheritable, fds)), open("/proc/self/cmdline").read()[:15])
"""
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True
    )

    assert done.stdout == "True True False pymule: a title\n"
