"""What a process knows of itself."""

from collections.abc import Callable

import pytest

from pymule.compat.host import ask, host
from pymule.errors import MasterUnavailableError, SignalConflictError
from pymule.handlers import registry
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer
from tests.compat.conftest import Answers


def test_a_client_is_mule_0_in_no_farm() -> None:
    assert (host.mule_id, host.farms) == (0, ())


def test_a_mule_knows_its_number_before_its_program_is_loaded(
    be_a_mule: Callable[..., None],
) -> None:
    be_a_mule(3, "busy", "idle")

    assert (host.mule_id, host.farms) == (3, ("busy", "idle"))


def test_what_needs_the_handlers_waits_until_they_are_registered(
    be_a_mule: Callable[..., None],
) -> None:
    be_a_mule()
    done: list[str] = []

    host.after_registration(lambda: done.append("early"))
    assert done == []
    host.begin()
    host.after_registration(lambda: done.append("late"))
    host.begin()

    assert done == ["early", "late"]


def test_in_a_client_nothing_waits() -> None:
    done: list[str] = []

    host.after_registration(lambda: done.append("now"))

    assert done == ["now"]


def test_a_mule_does_not_become_a_worker(be_a_mule: Callable[..., None]) -> None:
    be_a_mule()

    host.noted()

    assert host.worker == 0


def test_a_client_needs_a_master_to_become_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYMULE_SOCKET", "/nowhere")

    with pytest.raises(MasterUnavailableError):
        host.noted()


def test_a_first_handler_that_is_refused_is_forgotten(master: FakeMaster) -> None:
    error = SignalConflictError(5, "there", "here")

    def refuse(peer: Peer, call: Call) -> None:
        value: JsonObject = {"code": error.code, "detail": error.to_detail()}
        peer.send(Reply(call.id, ReplyKind.ERROR, value))

    master.on_call = refuse
    registry.add(5, "", print)

    with pytest.raises(SignalConflictError):
        host.noted()

    assert registry.handlers == []
    assert host.worker == 0


def test_a_forked_child_is_no_worker() -> None:
    host._worker = 2
    registry.on_added = lambda _handler: None

    host.forked()

    assert host.worker == 0
    assert registry.on_added is None


def test_the_master_is_asked_by_name(
    answers: tuple[Answers, list[JsonObject]],
) -> None:
    by_method, asked = answers
    by_method["status"] = {"pid": 5}

    assert ask("status", verbose=True) == {"pid": 5}
    assert asked == [{"method": "status", "verbose": True}]
