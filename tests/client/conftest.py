"""A fake master for every test of a client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fake_master import FakeMaster


@pytest.fixture
def master(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMaster]:
    """One that listens where the default clients look."""
    path = socket_dir / "pymule.sock"
    monkeypatch.setenv("PYMULE_SOCKET", str(path))
    with FakeMaster(path) as fake:
        yield fake
