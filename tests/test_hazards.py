"""What the source does not contain, because of what it could be made to do."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1] / "pymule"
# What the master is made of; mules and applications run code of others anyway.
MASTER: Final = ("master", "sansio", "connection.py", "config.py", "settings.py")
RUNS_CODE: Final = frozenset(
    {"code", "importlib", "marshal", "pickle", "runpy", "shelve", "dill", "cloudpickle"}
)
# Pickles are made and read for programs of uWSGI, and where allow_pickle is true.
PICKLES: Final = {
    "client/mulefunc.py",
    "compat/brains.py",
    "compat/uwsgidecorators.py",
    "mule/functions.py",
}


def sources(*parts: str) -> Iterator[tuple[str, ast.Module]]:
    """Return the modules in *parts* of the package, or all, with their syntax."""
    for path in sorted(ROOT.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not parts or name.startswith(parts):
            yield name, ast.parse(path.read_text())


def imports(tree: ast.Module) -> set[str]:
    """Return the top-level modules that a module imports, wherever it does."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {name.name.partition(".")[0] for name in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module.partition(".")[0])
    return found


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Return every call of a module with the words of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_in_the_master_can_turn_bytes_into_code() -> None:
    found = {name: imports(tree) & RUNS_CODE for name, tree in sources(*MASTER)}

    assert len(found) > 50
    assert {name: bad for name, bad in found.items() if bad} == {}


def test_pickles_are_known_to_few() -> None:
    assert {name for name, tree in sources() if "pickle" in imports(tree)} == PICKLES


@pytest.mark.parametrize(
    "name", ["eval", "os.system", "os.popen", "__import__", "pty.spawn", "input"]
)
def test_what_runs_text_is_called_nowhere(name: str) -> None:
    found = [
        file for file, tree in sources() for word, _ in calls(tree) if word == name
    ]

    assert found == []


def test_processes_are_started_in_one_place_and_never_by_a_shell() -> None:
    starters = {name for name, tree in sources() if "subprocess" in imports(tree)}
    shells = [
        name
        for name, tree in sources()
        for _, call in calls(tree)
        if any(word.arg == "shell" for word in call.keywords)
    ]

    assert starters == {"master/spawner.py"}
    assert shells == []


def test_the_master_signals_no_process_by_its_number() -> None:
    found = [
        (name, what)
        for name, tree in sources(*MASTER)
        for what, _ in calls(tree)
        if what in {"os.kill", "os.killpg", "signal.pidfd_send_signal"}
    ]

    # A group has no descriptor; it is signalled before its leader is reaped.
    assert found == [
        ("master/spawner.py", "signal.pidfd_send_signal"),
        ("master/spawner.py", "os.killpg"),
    ]


def test_no_file_is_made_where_others_could_have_made_it_first() -> None:
    users = {name for name, tree in sources() if "tempfile" in imports(tree)}
    places = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(("/tmp", "/var/tmp"))  # noqa: S108  (looked for)
    }

    # The export writes beside its file, under a random name that must be new.
    assert (users, places) == ({"cli/exporting.py"}, set())


def test_what_is_received_never_brings_descriptors() -> None:
    # recv(2) leaves those that a peer sends to the kernel, which closes them.
    receivers = {
        name
        for name, tree in sources()
        for word, _ in calls(tree)
        if word.rpartition(".")[2] in {"recvmsg", "recvmsg_into", "recv_fds"}
    }

    # Its peer is the master that started it, over a socketpair.
    assert receivers == {"mule/forkserver.py"}
