"""A yard with a master for each test that asks, and what it logged."""

import functools
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from pymule.master import processes
from pymule.master.listener import SocketClaim
from pymule.master.spawner import Spawner
from tests.master.harness import STAND_IN, Yard

__all__ = ("Logged", "claim", "logged", "yard")

Logged = Callable[[str], list[dict[str, object]]]


@pytest.fixture
def claim(socket_dir: Path) -> Iterator[SocketClaim]:
    """A socket, made before the loop runs, as pymuled does it."""
    claim = SocketClaim.open(socket_dir / "s", 0o666, None)
    yield claim
    claim.close()


@pytest.fixture
async def yard(
    claim: SocketClaim, blockbuster: BlockBuster, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Yard]:
    """A master whose mules are stand-ins; nothing of it is left afterwards."""
    # A spawn waits for the exec, milliseconds; /proc never waits.
    for name in ("os.read", "os.write"):
        blockbuster.functions[name].can_block_in("spawner.py", "_start")
    for name in ("os.stat", "os.unlink", "os.path.samestat"):
        blockbuster.functions[name].can_block_in("listener.py", "_unlink_if_same")
    read_text = blockbuster.functions["io.TextIOWrapper.read"]
    read_text.can_block_in("oom.py", "_read")
    for name in ("io.BufferedReader.read", "io.TextIOWrapper.read"):
        blockbuster.functions[name].can_block_in("control.py", "_rss_bytes")
    spawner = functools.partial(Spawner, command=STAND_IN)
    monkeypatch.setattr(processes, "Spawner", spawner)
    yard = Yard(claim)
    handler = signal.getsignal(signal.SIGCHLD)
    yield yard
    await yard.close()
    signal.signal(signal.SIGCHLD, handler)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """Return the fields of all records of an event, oldest first."""
    caplog.set_level(logging.INFO, "pymule")
    return lambda event: [
        record.__dict__["fields"]
        for record in caplog.records
        if record.getMessage() == event
    ]
