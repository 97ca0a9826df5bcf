"""A daemon of its own for each test that asks, gone afterwards whatever happened."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.daemon.harness import Daemon

__all__ = ("daemon",)


def pytest_asyncio_loop_factories() -> Mapping[
    str, Callable[[], asyncio.AbstractEventLoop]
]:
    """Run these tests on one loop: here it is the daemon's that counts."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def daemon(socket_dir: Path) -> Iterator[Daemon]:
    """A daemon that the test configures and starts."""
    daemon = Daemon(socket_dir)
    yield daemon
    daemon.close()
