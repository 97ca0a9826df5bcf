"""What the process of a real mule has, and has not, from its master."""

import json
import os
import resource
from pathlib import Path
from typing import Final, cast

import pytest

from tests.conftest import MS
from tests.daemon.harness import Daemon
from tests.daemon.users import as_root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

# What a program finds out about its own process, as one line of JSON.
TELLS: Final = """
import ctypes, json, os, resource
import pymule

def identity(fd):
    info = os.fstat(fd)
    return f"{info.st_dev}:{info.st_ino}"

def told():
    death = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(death), 0, 0, 0)
    lines = [line.split() for line in open("/proc/self/status")]
    status = {line[0]: line[-1] for line in lines}
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            fds[os.readlink(f"/proc/self/fd/{name}")] = identity(int(name))
        except OSError:
            pass
    return {
        "death": death.value, "uid": os.getresuid(), "groups": os.getgroups(),
        "no_new_privs": status["NoNewPrivs:"], "fds": fds,
        "limits": {n: resource.getrlimit(getattr(resource, f"RLIMIT_{n}"))
                   for n in ("CORE", "NOFILE", "AS", "CPU")},
        "environ": sorted(os.environ),
    }

async def main():
    print(json.dumps(told()))
    async for message in pymule.messages():
        pass
"""


METHODS = pytest.mark.parametrize("method", ["spawn", "forkserver"])


async def told_by(
    daemon: Daemon, *tables: str, method: str = "spawn"
) -> list[dict[str, object]]:
    """Start mules with *tables*; return what each found out, by number."""
    daemon.program("tells", TELLS)
    head = f'[[mule]]\nprogram = "tells:main"\nstart_method = "{method}"\n'
    daemon.configure("".join(f"{head}{table}\n" for table in tables))
    await daemon.start()
    records = await daemon.logged("mule output", len(tables))
    found = {int(str(r["mule"])): json.loads(str(r["line"])) for r in records}
    return [found[number] for number in sorted(found)]


def identities(facts: dict[str, object], *kinds: str) -> set[str]:
    """Return what the descriptors of a process are, of *kinds* that can be shared."""
    fds = facts["fds"]
    assert isinstance(fds, dict)
    return {identity for link, identity in fds.items() if link.startswith(kinds)}


@METHODS
async def test_a_mule_is_confined_as_its_table_says(
    daemon: Daemon, method: str
) -> None:
    limits = (
        "limits = { core = 4096, nofile = [64, 128], as = 4_000_000_000, cpu = 99 }"
    )
    plain, limited = await told_by(daemon, "", limits, method=method)

    assert (plain["death"], plain["no_new_privs"]) == (9, "0")
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    assert isinstance(plain["limits"], dict)
    assert plain["limits"]["CORE"] == [0, hard]
    assert limited["limits"] == {
        "CORE": [4096, 4096],
        "NOFILE": [64, 128],
        "AS": [4_000_000_000] * 2,
        "CPU": [99, 99],
    }
    assert await daemon.stop() == 0


@as_root
@METHODS
async def test_a_mule_with_a_user_of_its_own_never_gets_more(
    daemon: Daemon, method: str
) -> None:
    # Root, because our Python may be out of any other user's reach.
    (facts,) = await told_by(daemon, "user = 0", method=method)

    assert facts["no_new_privs"] == "1"
    assert facts["groups"] == []
    assert facts["death"] == 9, "asked for after the change, which would undo it"
    assert await daemon.stop() == 0


@METHODS
async def test_a_mule_has_no_descriptor_of_the_master_or_of_another_mule(
    daemon: Daemon, method: str
) -> None:
    planted, other_end = os.pipe()
    os.set_inheritable(planted, True)  # noqa: FBT003  (positional only)
    one, two = await told_by(daemon, "", "", method=method)
    os.close(planted)
    os.close(other_end)

    kinds = ("pipe:", "socket:", "/memfd:")
    assert len(identities(one, *kinds)) >= 5, "link, board, stacks, stdout, stderr"
    assert not identities(one, *kinds) & identities(two, *kinds)
    # Of these only the two ends of a pipe are one thing: what it prints.
    links = set(map(str, cast("dict[str, str]", one["fds"])))
    shared = links & fds_of(daemon.process.pid)
    assert sum(link.startswith("pipe:") for link in shared) == 2
    assert not [link for link in shared if link.startswith("socket:")]
    assert await daemon.stop() == 0


def fds_of(pid: int) -> set[str]:
    """Return what the descriptors of a process are, as links tell."""
    return {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}


@METHODS
async def test_what_is_the_masters_alone_is_not_in_the_environment(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@nowhere")
    (facts,) = await told_by(daemon, 'env = { GIVEN = "1" }', method=method)

    environ = facts["environ"]
    assert isinstance(environ, list)
    assert {"GIVEN", "PYMULE_SOCKET"} <= set(environ)
    assert not {"NOTIFY_SOCKET", "PYMULE_MULE"} & set(environ)
    assert await daemon.stop() == 0
