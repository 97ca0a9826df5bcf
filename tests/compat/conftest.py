"""A process that has not been used: nothing noted, nothing hooked, no client."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pymule.client import sync
from pymule.compat import brains, hooks, sources, uwsgi
from pymule.compat.host import host
from pymule.handlers import registry
from pymule.sansio.verbs import Call, JsonObject, Reply
from tests.client.fake_master import FakeMaster, Peer

__all__ = ("Answers", "answers", "be_a_mule", "master")

_ASSIGNED = ("mule_msg_hook", "post_fork_hook", "atexit", "opt")

Answers = dict[str, JsonObject]


@pytest.fixture(autouse=True)
def _unused_process() -> Iterator[None]:
    _forget()
    finders = list(sys.meta_path)
    yield
    sys.meta_path[:] = finders
    if sync._client is not None:
        sync._client.close()
        sync._client = None
    _forget()


def _forget() -> None:
    for kept in (
        registry.handlers,
        registry.by_number,
        registry._times,
        hooks.extra_hooks,
        brains.mule_functions,
        brains.postfork_chain,
        sources._times,
        host._deferred,
    ):
        kept.clear()
    registry.on_added = None
    host.mule, host._worker, host._has_begun = None, 0, False
    for name in _ASSIGNED:
        vars(uwsgi).pop(name, None)


@pytest.fixture
def master(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMaster]:
    """One that listens where the default clients look."""
    path = socket_dir / "pymule.sock"
    monkeypatch.setenv("PYMULE_SOCKET", str(path))
    with FakeMaster(path) as fake:
        yield fake


@pytest.fixture
def answers(master: FakeMaster) -> tuple[Answers, list[JsonObject]]:
    """What the master answers to each method, and what it was asked."""
    by_method: Answers = {"signals": {"signals": []}}
    asked: list[JsonObject] = []

    def on_call(peer: Peer, call: Call) -> None:
        asked.append(call.value)
        answer = by_method.get(str(call.value["method"]), {})
        peer.send(Reply(call.id, 0, answer))

    master.on_call = on_call
    return by_method, asked


@pytest.fixture
def be_a_mule() -> Callable[..., None]:
    """Make this process a mule whose program is being loaded."""

    def be(number: int = 3, *farms: str) -> None:
        host.mule = {"id": number, "farms": list(farms)}

    return be
