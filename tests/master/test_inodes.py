import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymule.master.inodes import NameWatch
from tests.conftest import wait_until


@pytest.fixture
def path(socket_dir: Path) -> Iterator[Path]:
    """A socket that somebody listens on, which keeps its file alive."""
    path = socket_dir / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def remove(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("other"))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    other.replace(path)


def change(path: Path) -> None:
    path.chmod(0o600)


DEEDS = {deed.__name__: deed for deed in (remove, rename, replace, change)}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Calls:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.mark.parametrize("deed", ["remove", "rename", "replace", "change"])
async def test_whatever_happens_to_the_name_is_told(path: Path, deed: str) -> None:
    calls = Calls()
    watch = NameWatch.of(str(path), asyncio.get_running_loop(), calls)

    DEEDS[deed](path)

    await wait_until(lambda: calls.count)
    watch.close()


async def test_the_neighbours_are_not_heard(path: Path) -> None:
    calls = Calls()
    watch = NameWatch.of(str(path), asyncio.get_running_loop(), calls)

    for number in range(10):
        path.with_name(f"{number}").touch()
        path.with_name(f"{number}").unlink()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    before = calls.count
    remove(path)
    await wait_until(lambda: calls.count)

    assert before == 0
    watch.close()


async def test_a_watch_may_be_closed_by_what_it_calls(path: Path) -> None:
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()

    def close() -> None:
        watch.close()
        watch.close()
        closed.set()

    watch = NameWatch.of(str(path), loop, close)
    before = descriptors()
    remove(path)
    await closed.wait()

    assert descriptors() == before - 1


async def test_what_is_not_there_cannot_be_watched(path: Path) -> None:
    remove(path)
    before = descriptors()

    with pytest.raises(FileNotFoundError):
        NameWatch.of(str(path), asyncio.get_running_loop(), Calls())

    assert descriptors() == before


async def test_a_wake_up_in_vain_is_harmless(path: Path) -> None:
    calls = Calls()
    watch = NameWatch.of(str(path), asyncio.get_running_loop(), calls)

    watch._touched()

    assert calls.count == 1
    watch.close()
