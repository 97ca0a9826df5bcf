"""The blocking names: the same as the others, each from where it lives, when asked."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pymule
import pymule.sync

ROOT = Path(__file__).parent.parent

# Loops have one client each to close and are asked for it; a process has one.
# A worker of an asyncio application is a context manager; a thread needs none.
TWINS = sorted(set(pymule.sync.__all__) - {"Client", "start_worker"})


def loaded_by(statement: str) -> set[str]:
    """Return the modules of pymule that *statement* loads in a fresh interpreter."""
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return {name for name in done.stdout.split() if name.startswith("pymule.")}


@pytest.mark.parametrize("name", TWINS)
def test_every_name_has_its_async_twin(name: str) -> None:
    blocking, asynchronous = getattr(pymule.sync, name), getattr(pymule, name)

    assert callable(blocking)
    assert not inspect.iscoroutinefunction(blocking)
    assert callable(asynchronous)


@pytest.mark.parametrize("name", ["mule_msg", "farm_msg", "mule_msgs", "farm_msgs"])
def test_senders_take_the_same_arguments(name: str) -> None:
    blocking, asynchronous = getattr(pymule.sync, name), getattr(pymule, name)
    ours, theirs = pymule.sync.Client, pymule.Client

    assert inspect.signature(blocking) == inspect.signature(asynchronous)
    assert inspect.signature(getattr(ours, name)) == inspect.signature(
        getattr(theirs, name)
    )


def test_a_receiver_does_not_load_the_client_nor_a_sender_the_mule() -> None:
    bare = loaded_by("import pymule.sync")
    receiver = loaded_by("from pymule.sync import mule_get_msg")
    sender = loaded_by("from pymule.sync import mule_msg")

    assert not [name for name in bare if name.startswith(("pymule.mule", "pymule.c"))]
    assert not [name for name in receiver if name.startswith("pymule.client")]
    assert not [name for name in sender if name.startswith("pymule.mule")]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'pymule\.sync' has no attribute 'x'"):
        pymule.sync.x  # noqa: B018  (what is tested)


def test_all_names_are_listed() -> None:
    assert set(pymule.sync.__all__) <= set(dir(pymule.sync))
