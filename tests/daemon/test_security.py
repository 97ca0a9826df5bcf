"""What other users can do to a real daemon, and what it gives away."""

import array
import json
import os
import shutil
import socket
import stat
from pathlib import Path
from typing import Final, cast

import pytest
from blockbuster import BlockBuster

from pymule.cli.exits import ExitCode
from pymule.client.aio import Client
from pymule.client.sync import Client as SyncClient
from pymule.errors import (
    MasterUnavailableError,
    NotAllowedError,
    UnknownTargetError,
)
from pymule.sansio.batch import pack_bodies
from pymule.sansio.verbs import Call, Hello, Submit
from tests.conftest import MS
from tests.daemon.harness import LONG, Daemon, Status, mule_of, queue_of
from tests.daemon.users import NOBODY, as_root, as_user, connect_as, start_as

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40_000 * MS)]

HELLO: Final = Hello({"protocol": [1, 1], "client": "x", "name": "x"}).pack()
# Ends a line, forges a record, names a terminal, turns the direction of writing.
EVIL: Final = '\n{"event": "forged"}\r\x1b]0;evil\x07\x9b2J\u202eevil\u2028'

ECHO = """
import pymule

async def main():
    async for message in pymule.messages():
        note("did", message.body.decode())
"""

A_MULE = """
[[mule]]
program = "work:main"
"""


async def start(daemon: Daemon, settings: str, program: str = ECHO) -> None:
    """Start a daemon whose socket the modes of files let everybody reach."""
    daemon.directory.chmod(0o755)
    daemon.program("work", program)
    daemon.configure(f'socket_mode = "0666"\n{settings}\n{A_MULE}')
    await daemon.start()


# Who is let in


@as_root
@pytest.mark.parametrize(
    ("directory", "socket_mode"), [(0o700, "0666"), (0o755, "0660")]
)
async def test_another_user_does_not_get_through_the_modes_of_the_files(
    daemon: Daemon, directory: int, socket_mode: str
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(f'socket_mode = "{socket_mode}"\n{A_MULE}')
    await daemon.start()
    daemon.directory.chmod(directory)

    assert connect_as(NOBODY, daemon.socket, HELLO) == "PermissionError"


@as_root
async def test_a_user_without_a_role_is_told_nothing(daemon: Daemon) -> None:
    await start(daemon, "")

    said = connect_as(NOBODY, daemon.socket, HELLO + Call(1, {"method": "ping"}).pack())

    assert said in {"", "BrokenPipeError", "ConnectionResetError"}
    (refused,) = await daemon.logged("connection refused")
    assert refused["uid"] == NOBODY


@as_root
@pytest.mark.skipif(not shutil.which("unshare"), reason="there is no unshare")
async def test_root_of_a_user_namespace_is_nobody_here(daemon: Daemon) -> None:
    await start(daemon, "")
    program = "import socket, sys; socket.socket(1).connect(sys.argv[1]); print('in')"
    namespace = ["unshare", "--user", "--map-root-user"]

    with start_as(NOBODY, program, str(daemon.socket), via=namespace) as process:
        said, _ = process.communicate()

    if "unshare" in said:
        pytest.skip(f"no user namespaces: {said.strip()}")
    assert said == "in\n"
    (refused,) = await daemon.logged("connection refused")
    assert refused["uid"] == NOBODY


# What a role may do


async def denied(client: Client, *methods: str) -> list[str]:
    """Return those of *methods* that the client's role does not include."""
    found = []
    for method in methods:
        try:
            await client.call(method)
        except NotAllowedError:
            found.append(method)
    return found


@as_root
async def test_a_reader_looks_and_no_more(daemon: Daemon) -> None:
    await start(daemon, f"reader_users = [{NOBODY}]")

    with as_user(NOBODY):
        reader = await daemon.client("reader").__aenter__()
    status = cast("Status", await reader.call("status"))
    for _ in range(2):
        with pytest.raises(NotAllowedError, match=f"needs the role sender.*{NOBODY}"):
            await reader.mule_msg("x")
    missed = await denied(reader, "ping", "stop", "reload", "logs", "raise", "lock")
    await reader.close()

    (client,) = status["clients"]
    assert (client["uid"], client["role"]) == (NOBODY, "reader")
    assert missed == ["stop", "reload", "logs", "raise", "lock"]
    (noted,) = await daemon.logged("not allowed")
    assert (noted["uid"], noted["client"]) == (NOBODY, "reader")
    assert not daemon.notes()
    assert await daemon.stop() == 0


@as_root
@pytest.mark.parametrize(
    ("settings", "groups"),
    [(f"allow_users = [{NOBODY}]", []), ("allow_groups = [4711]", [33, 4711])],
    ids=["by the user", "by a group"],
)
async def test_a_sender_sends_and_does_not_rule(
    daemon: Daemon, settings: str, groups: list[int]
) -> None:
    await start(daemon, settings)

    with as_user(NOBODY, groups):
        sender = await daemon.client("sender").__aenter__()
    await sender.mule_msg("hello")
    await daemon.noted("did", "hello")
    missed = await denied(sender, "ping", "status", "stop", "reload", "logs", "purge")
    await sender.close()

    assert missed == ["stop", "reload", "logs", "purge"]
    assert await daemon.stop() == 0


@as_root
async def test_an_admin_need_not_be_root(daemon: Daemon) -> None:
    await start(daemon, f"admin_users = [{NOBODY}]")

    with as_user(NOBODY):
        admin = await daemon.client("admin").__aenter__()
    missed = await denied(admin, "logs", "reload", "stop")
    await admin.close()

    assert missed == []
    assert await daemon.ended() == 0
    (asked,) = daemon.records("stop asked")
    assert asked["uid"] == NOBODY


# Who the master is


_SQUAT: Final = """
import os, socket, sys
os.umask(0)
squatter = socket.socket(socket.AF_UNIX)
squatter.bind(sys.argv[1])
squatter.listen()
print("listens", flush=True)
for _ in range(2):
    guest, _ = squatter.accept()
    print(len(guest.recv(1000)), flush=True)
"""


@as_root
async def test_no_client_talks_to_who_took_the_place_of_the_daemon(
    daemon: Daemon, blockbuster: BlockBuster
) -> None:
    # Of the directory in which it has just connected, so it is in the cache.
    blockbuster.functions["os.stat"].can_block_in("reach.py", "check_server")
    path = daemon.socket
    daemon.directory.chmod(0o1777)

    with start_as(NOBODY, _SQUAT, str(path)) as squatter:
        assert squatter.stdout is not None
        assert squatter.stdout.readline() == "listens\n"
        with pytest.raises(MasterUnavailableError, match=f"user {NOBODY} listens"):
            await Client(path).__aenter__()
        with pytest.raises(MasterUnavailableError, match=f"user {NOBODY} listens"):
            SyncClient(path).__enter__()
        heard = squatter.communicate()[0].split()

    assert heard == ["0", "0"], "bytes that the squatter got"


# Its files

KEEPS: Final = f'state_dir = "state"\n[shared]\ndurability = "disk"\n{A_MULE}'


async def test_what_it_keeps_is_for_its_own_user(daemon: Daemon) -> None:
    daemon.program("work", "import time\ndef main():\n    time.sleep(1000)\n")
    daemon.configure(KEEPS)
    before = os.umask(0)
    try:
        daemon.begin()
    finally:
        os.umask(before)
    await daemon.logged("pymuled listens")
    async with daemon.client("test") as client:
        await client.mule_msg("secret")

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [daemon.directory / "state", *daemon.directory.glob("state/*")]
    }

    assert modes.pop("state") == 0o700
    assert modes.keys() >= {"journal.db", "journal.lock"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("name", ["state/journal.db", "state/journal.lock", "state"])
async def test_links_planted_in_the_place_of_its_files_are_not_followed(
    daemon: Daemon, name: str
) -> None:
    victim, planted = daemon.directory / "victim", daemon.directory / name
    victim.mkdir() if name == "state" else victim.touch()
    planted.parent.mkdir(0o700, exist_ok=True)
    planted.symlink_to(victim)
    daemon.program("work", ECHO)
    daemon.configure(KEEPS)

    daemon.begin()

    assert await daemon.ended() == ExitCode.NO_SOCKET
    (failed,) = daemon.records("pymuled failed")
    assert "state" in str(failed["error"])
    assert not (list(victim.iterdir()) if name == "state" else victim.read_bytes())


# What is sent to it


def count_of_fds(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_descriptors_that_a_client_sends_are_not_kept(
    daemon: Daemon, loop: str
) -> None:
    daemon.program("work", ECHO)
    daemon.configure(A_MULE)
    daemon.begin(loop=loop)
    await daemon.logged("pymuled ready")
    ping = Call(1, {"method": "ping"}).pack()

    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LONG)
        sock.connect(str(daemon.socket))
        sock.sendall(HELLO)
        assert sock.recv(65_536)
        before = count_of_fds(daemon)
        # As many as fit in one message, each time with a question.
        flood = array.array("i", [sock.fileno()] * 253)
        for _ in range(100):
            sock.sendmsg([ping], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, flood)])
            assert sock.recv(65_536)

        assert count_of_fds(daemon) == before
    assert await daemon.stop() == 0


async def test_names_are_never_paths_and_words_never_commands(daemon: Daemon) -> None:
    name = "a; touch pwned; $(touch pwned2) `touch pwned3`.py"
    (daemon.directory / name).write_text(
        "import sys, pymule.sync\n"
        "from notes_module import note\n"
        "note('argv', *sys.argv)\n"
        "pymule.sync.mule_get_msg()\n"
    )
    daemon.configure(f'[[mule]]\nprogram = "{name}"\n')
    await daemon.start()
    before = {path.name for path in daemon.directory.rglob("*")}

    async with daemon.client("../../evil") as client:
        for lock in ("../evil", "/evil", "evil\0", "a; touch pwned"):
            async with client.lock(lock):
                pass
        for target in ("func:os:system", "func:builtins:exec", "evil"):
            with pytest.raises(UnknownTargetError):
                await client.send(target, b"touch pwned")

    await daemon.noted("argv", *str(daemon.directory / name).split(" "))
    assert {path.name for path in daemon.directory.rglob("*")} == before
    assert await daemon.stop() == 0


@pytest.mark.parametrize(
    ("settings", "mule", "explodes"),
    [
        ("", "", False),
        ("", "uwsgi = true", False),
        # So it is a bomb.
        ("allow_pickle = true", "", True),
    ],
    ids=["by default", "with uwsgi", "allowed"],
)
async def test_a_hostile_pickle_is_inert_unless_the_file_allows_pickles(
    daemon: Daemon, settings: str, mule: str, *, explodes: bool
) -> None:
    daemon.program(
        "work",
        """
        import pymule

        @pymule.mulefunc
        def double(number):
            return number * 2

        async def main():
            async for message in pymule.messages():
                note("did", len(message.body))
        """,
    )
    daemon.configure(f"{settings}\n{A_MULE}{mule}\n")
    await daemon.start()
    # Makes a directory in whoever unpickles it.
    bomb = f"cos\nmkdir\n(V{daemon.directory}/pwned\ntR.".encode()

    async with daemon.client("test") as client:
        await client.mule_msg(bomb)
        await client.send("func:work:double", b"\2" + bomb)
        await client.send("func:work:double", bomb)
    await daemon.noted("did", len(bomb))
    status = await daemon.status_when(
        lambda status: queue_of(status, "func:work:double")["dead"] == 2
    )

    assert mule_of(status, 1)["restarts"] == 0
    assert (daemon.directory / "pwned").exists() is explodes
    assert await daemon.stop() == 0


async def test_nothing_that_is_said_to_it_can_forge_the_log(daemon: Daemon) -> None:
    await start(
        daemon,
        "",
        f"""
        import pymule

        async def main():
            async for message in pymule.messages():
                print({EVIL!r})
                raise ValueError({EVIL!r})
        """,
    )

    async with daemon.client(EVIL) as client:
        await client.mule_msg("x")
        await daemon.logged("mule exited")
        # Breaks a rule, and is told of with its name and its words.
        client.say(Submit(1, 0, 1, EVIL, b"", pack_bodies([b"x"])))
    await daemon.logged("client broke the protocol")

    log = daemon.log()
    assert not daemon.records("forged")
    assert "evil" in log
    assert all(char.isprintable() or char == "\n" for char in log)
    assert all(json.loads(line)["ts"] for line in log.splitlines())


# What it gives away


async def test_secrets_of_mules_and_messages_are_nowhere_to_be_seen(
    daemon: Daemon,
) -> None:
    await start(
        daemon,
        "",
        """
        import os
        import pymule

        async def main():
            async for message in pymule.messages():
                note(os.environ["PASSWORD"], message.body.decode())
                if message.attempt == 1:
                    raise ValueError
                os.abort()
        """,
    )
    daemon.configure(f'{A_MULE}env = {{ PASSWORD = "canary-env" }}')

    async with daemon.client("a client") as client:
        await client.call("reload")
        seen = [titles_of(daemon.process.pid)]
        await client.mule_msg("canary-body")
        await daemon.noted("canary-env", "canary-body", count=2)
        await daemon.logged("mule exited", 2)
        status = await client.call("status")
    # A mistake beside the secret, and one in its very place.
    daemon.configure(f'{A_MULE}env = {{ PASSWORD = ["canary-env"] }}\nx = 1')
    async with daemon.client("a client") as client:
        reloaded = await client.call("reload")

    assert reloaded["error"]
    assert "pymule: mule 1" in seen[0]
    seen += [daemon.log(), json.dumps(status), json.dumps(reloaded)]
    assert [text for text in seen if "canary" in text] == []


def titles_of(master: int) -> str:
    """Return what ps(1) can show of the master and its mules."""
    pids = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    titles = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (master, *pids)]
    return "\n".join(titles)
