import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from pymule.errors import MuleSpawnError
from pymule.master.spawner import MuleProcess, Spawner, SpawnSpec, reap_orphans
from pymule.sansio.target import MuleId
from tests.conftest import MS

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
NOBODY = 65534


@pytest.fixture(autouse=True)
def _what_may_block(blockbuster: BlockBuster) -> None:
    # Popen waits for the exec of its child, which is milliseconds, and may only be
    # done by the main thread. A write to /proc never waits.
    blockbuster.functions["os.read"].can_block_in("subprocess.py", "_execute_child")
    blockbuster.functions["os.write"].can_block_in("spawner.py", "_make_killable")


# What each stand-in program begins with.
PRELUDE = """
import json, os, resource, signal, socket, sys, time
mule = json.loads(os.environ["PYMULE_MULE"])
link = socket.socket(fileno=mule["link"])
def tell(**facts):
    link.sendall(json.dumps(facts).encode())
"""


def a_spec(
    *,
    cwd: Path = Path("/"),
    env: Mapping[str, str] | None = None,
    nice: int | None = None,
    umask: int | None = None,
    limits: Mapping[str, tuple[int, int]] | None = None,
    uid: int | None = None,
    gid: int | None = None,
) -> SpawnSpec:
    return SpawnSpec(
        mule=MuleId(3),
        name="busy",
        title="pymule: mule 3 busy",
        cwd=cwd,
        env=env or {},
        nice=nice,
        umask=umask,
        limits=limits or {},
        uid=uid,
        gid=gid,
        board_bytes=4096,
    )


class Stable:
    """A spawner of stand-ins for mules, and the deaths that it reported."""

    def __init__(self, program: str) -> None:
        self._exits: asyncio.Queue[tuple[MuleProcess, int]] = asyncio.Queue()
        self.spawner = Spawner(
            asyncio.get_running_loop(),
            self._exited,
            (sys.executable, "-I", "-S", "-c", PRELUDE + textwrap.dedent(program)),
        )

    def _exited(self, process: MuleProcess, returncode: int) -> None:
        self._exits.put_nowait((process, returncode))

    async def next_exit(self) -> tuple[MuleProcess, int]:
        async with asyncio.timeout(10_000 * MS):
            return await self._exits.get()


async def heard(process: MuleProcess) -> bytes:
    async with asyncio.timeout(10_000 * MS):
        return await asyncio.get_running_loop().sock_recv(process.link, 65536)


async def facts_of(program: str, spec: SpawnSpec) -> dict[str, object]:
    """Run a stand-in until its end; return what it told."""
    stable = Stable(program)
    process = stable.spawner.spawn(spec)
    facts = json.loads(await heard(process))
    assert (await stable.next_exit())[1] == 0
    process.close()
    assert isinstance(facts, dict)
    return facts


def open_fds() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


async def test_a_mule_learns_who_it_is_and_has_its_link() -> None:
    facts = await facts_of("mule.pop('link'); tell(**mule)", a_spec())

    assert facts == {
        "mule": 3,
        "name": "busy",
        "title": "pymule: mule 3 busy",
        "board": facts["board"],
        "stacks": facts["stacks"],
        "master": os.getpid(),
        "drops": False,
    }


async def test_a_mule_has_the_environment_directory_and_umask_it_was_given(
    tmp_path: Path,
) -> None:
    program = """
        os.environ.pop("PYMULE_MULE")
        tell(env=dict(os.environ), cwd=os.getcwd(), umask=os.umask(0))
    """
    spec = a_spec(cwd=tmp_path, env={"COLOUR": "grey"}, umask=0o027)

    facts = await facts_of(program, spec)

    env = facts["env"]
    assert isinstance(env, dict)
    # Python sets this one for itself in the C locale.
    env.pop("LC_CTYPE", None)
    assert env == {"COLOUR": "grey"}
    assert facts["cwd"] == str(tmp_path)
    assert facts["umask"] == 0o027


async def test_a_mule_inherits_nothing_else() -> None:
    program = """
        given = [0, 1, 2, mule["link"], mule["board"], mule["stacks"]]
        fds = set(map(int, os.listdir("/proc/self/fd"))) - set(given)
        # But for the one that the listing itself took.
        extra = [fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}")]
        tell(extra=extra, stdin=os.readlink("/proc/self/fd/0"),
             leads=os.getpgrp() == os.getpid())
    """
    inheritable = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(inheritable, True)  # noqa: FBT003  (positional only)

    facts = await facts_of(program, a_spec())

    os.close(inheritable)
    assert facts == {"extra": [], "stdin": os.devnull, "leads": True}


async def test_priority_limits_and_oom_score_are_set_from_outside() -> None:
    program = """
        while os.getpriority(os.PRIO_PROCESS, 0) != 5: time.sleep(0.001)
        while resource.getrlimit(resource.RLIMIT_NOFILE) != (64, 128): time.sleep(0.001)
        while open("/proc/self/oom_score_adj").read() != "500\\n": time.sleep(0.001)
        tell(done=True)
    """
    spec = a_spec(nice=5, limits={"nofile": (64, 128)})

    assert await facts_of(program, spec) == {"done": True}


async def test_a_mule_that_crashes_leaves_no_core_unless_it_may() -> None:
    resource.prlimit(0, resource.RLIMIT_CORE, (_hard_core(), _hard_core()))
    program = """
        while resource.getrlimit(resource.RLIMIT_CORE)[0] != 0: time.sleep(0.001)
        tell(hard=resource.getrlimit(resource.RLIMIT_CORE)[1])
    """
    allowed = """
        while resource.getrlimit(resource.RLIMIT_CORE) != (7, 7): time.sleep(0.001)
        tell(done=True)
    """

    assert await facts_of(program, a_spec()) == {"hard": _hard_core()}
    spec = a_spec(limits={"core": (7, 7)})
    assert await facts_of(allowed, spec) == {"done": True}


def _hard_core() -> int:
    return resource.getrlimit(resource.RLIMIT_CORE)[1]


@as_root
@pytest.mark.parametrize("gid", [None, NOBODY])
async def test_a_mule_of_another_user_keeps_nothing_of_root(gid: int | None) -> None:
    program = """
        def is_refused(call, *ids):
            try: call(*ids)
            except PermissionError: return True
        status = open("/proc/self/status").read()
        tell(ids=[os.getresuid(), os.getresgid(), os.getgroups()],
             refused=[is_refused(os.setuid, 0), is_refused(os.setgid, 0),
                      is_refused(os.setresuid, 0, 0, 0),
                      is_refused(os.setgroups, [0])],
             caps=[line.split()[1] for line in status.splitlines()
                   if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))],
             drops=mule["drops"])
    """
    stable = Stable(program)
    # The interpreter of a virtual environment may be out of that user's reach.
    command = ("python3", "-I", "-S", *stable.spawner._command[3:])
    stable.spawner._command = command

    process = stable.spawner.spawn(a_spec(uid=NOBODY, gid=gid))

    facts = json.loads(await heard(process))
    assert facts == {
        "ids": [[NOBODY] * 3, [NOBODY] * 3, []],
        "refused": [True] * 4,
        "caps": ["0" * 16] * 4,
        "drops": True,
    }
    await stable.next_exit()
    process.close()


async def test_a_death_is_reported_once_with_its_status() -> None:
    stable = Stable("sys.exit(125)")
    process = stable.spawner.spawn(a_spec())
    before = process.returncode

    dead, returncode = await stable.next_exit()

    assert before is None
    assert dead is process
    assert returncode == process.returncode == 125
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    process.close()


async def test_a_death_by_a_unix_signal_is_negative() -> None:
    stable = Stable("tell(ready=1); signal.pause()")
    process = stable.spawner.spawn(a_spec())
    await heard(process)

    process.kill(signal.SIGTERM)

    assert await stable.next_exit() == (process, -signal.SIGTERM)
    process.close()


async def test_killing_what_has_ended_is_harmless() -> None:
    stable = Stable("")
    process = stable.spawner.spawn(a_spec())
    await stable.next_exit()

    process.kill(signal.SIGKILL)
    process.kill_group()

    process.close()
    process.close()


async def test_many_deaths_at_once_are_each_reported() -> None:
    stable = Stable("sys.exit(mule['mule'])")
    processes = {stable.spawner.spawn(a_spec()) for _ in range(5)}

    exits = [await stable.next_exit() for _ in range(5)]

    assert {process for process, _ in exits} == processes
    assert {returncode for _, returncode in exits} == {3}
    for process in processes:
        process.close()


async def test_children_of_a_dead_mule_die_with_it() -> None:
    program = """
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            tell(ready=1)
            while True: signal.pause()
        signal.pause()
    """
    stable = Stable(program)
    process = stable.spawner.spawn(a_spec())
    await heard(process)

    process.kill(signal.SIGKILL)
    await stable.next_exit()

    # The child held the other end of the link too.
    assert await heard(process) == b""
    process.close()


async def test_the_whole_group_can_be_killed() -> None:
    stable = Stable("os.fork(); tell(ready=1)\nwhile True: signal.pause()")
    process = stable.spawner.spawn(a_spec())
    await heard(process)

    process.kill_group()

    assert await stable.next_exit() == (process, -signal.SIGKILL)
    while await heard(process):
        pass
    process.close()


async def test_what_a_mule_prints_can_be_read() -> None:
    stable = Stable("print('out'); print('err', file=sys.stderr)")
    process = stable.spawner.spawn(a_spec())

    await stable.next_exit()

    assert os.read(process.stdout, 100) == b"out\n"
    assert os.read(process.stderr, 100) == b"err\n"
    assert os.read(process.stdout, 100) == b""
    assert not os.get_blocking(process.stdout)
    process.close()


async def test_the_board_is_shared_and_cannot_be_made_smaller() -> None:
    program = """
        import errno
        os.pwrite(mule["board"], b"busy", 0)
        try: os.ftruncate(mule["board"], 0)
        except PermissionError: tell(refused=True)
        signal.pause()
    """
    stable = Stable(program)
    process = stable.spawner.spawn(a_spec())

    assert json.loads(await heard(process)) == {"refused": True}
    assert os.pread(process.board, 4, 0) == b"busy"
    assert os.fstat(process.board).st_size == 4096
    process.kill(signal.SIGKILL)
    await stable.next_exit()
    process.close()


async def test_the_stacks_of_a_mule_can_be_read_after_its_death() -> None:
    stable = Stable("os.write(mule['stacks'], b'File \\xff\\n' + b'x' * 300_000)")
    process = stable.spawner.spawn(a_spec())

    await stable.next_exit()

    stacks = process.read_stacks()
    assert stacks.startswith("File \\xff\nxxx")
    assert len(stacks) < 300_000
    process.close()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (a_spec(cwd=Path("/nowhere")), "/nowhere"),
        (a_spec(limits={"goats": (1, 1)}), "unknown resource limit 'goats'"),
        (a_spec(limits={"nofile": (2, 1)}), "limit"),
        (a_spec(uid=4711_4711), "4711"),
        (a_spec(env={"BAD": "\0"}), "null"),
    ],
)
async def test_a_mule_that_cannot_be_started_leaves_nothing(
    spec: SpawnSpec, reason: str
) -> None:
    stable = Stable("signal.pause()")
    fds = open_fds()

    with pytest.raises(MuleSpawnError, match=reason) as caught:
        stable.spawner.spawn(spec)

    assert caught.value.program == "busy"
    assert caught.value.__cause__ is not None
    assert open_fds() == fds
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # noqa: ASYNC222  (it does not wait)


async def test_a_command_that_does_not_exist_is_an_error() -> None:
    spawner = Spawner(
        asyncio.get_running_loop(), lambda *_: None, command=("/nowhere/python",)
    )

    with pytest.raises(MuleSpawnError, match=r"start busy: .*/nowhere/python"):
        spawner.spawn(a_spec())


@pytest.mark.parametrize("spare", range(12))
async def test_a_lack_of_descriptors_is_an_error_at_any_step(spare: int) -> None:
    stable = Stable("signal.pause()")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fds = open_fds()
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    process: MuleProcess | None = None

    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + spare, hard))
    try:
        process = stable.spawner.spawn(a_spec())
    except MuleSpawnError as exc:
        assert "Too many open files" in str(exc)  # noqa: PT017
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    if process is not None:
        process.kill(signal.SIGKILL)
        await stable.next_exit()
        process.close()
    assert open_fds() == fds


async def test_only_the_main_thread_starts_mules() -> None:
    stable = Stable("")

    with pytest.raises(AssertionError, match="main thread"):
        await asyncio.to_thread(stable.spawner.spawn, a_spec())


def test_orphans_come_to_the_subreaper_and_only_they_are_reaped() -> None:
    program = """
        import json, os, signal, subprocess, sys
        from pymule.master.spawner import become_subreaper, reap_orphans
        become_subreaper()
        orphaning = "import os, sys; pid = os.fork(); pid and print(pid)"
        nothing = reap_orphans(())
        child = subprocess.run([sys.executable, "-c", orphaning],
                               stdout=subprocess.PIPE, check=True)
        orphan = int(child.stdout)
        os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
        reaped = reap_orphans(())
        known = subprocess.Popen(["true"])
        os.waitid(os.P_PID, known.pid, os.WEXITED | os.WNOWAIT)
        kept = reap_orphans({known.pid})
        print(json.dumps([nothing, reaped == [orphan], kept, known.wait()]))
    """

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        check=True,
    )

    assert json.loads(done.stdout) == [[], True, [], 0]


def test_a_child_that_lives_is_no_orphan() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        assert reap_orphans(()) == []
        assert child.poll() is None
