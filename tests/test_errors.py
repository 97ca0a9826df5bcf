import inspect
import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule import errors
from pymule.errors import (
    WIRE_ERRORS,
    BadCallError,
    ConnectionLostError,
    DrainingError,
    FrameTooBigError,
    LeaseLostError,
    LocalProtocolError,
    MasterUnavailableError,
    MessageTooBigError,
    MuleSpawnError,
    NoFreeSignalError,
    NoHandlerError,
    NotAllowedError,
    NotHolderError,
    NotInMuleError,
    PymuleError,
    QueueFullError,
    RefusedError,
    RemoteProtocolError,
    SignalConflictError,
    SocketInUseError,
    SocketSetupError,
    StorageFullError,
    UnknownTargetError,
    UnsupportedError,
    error_from_wire,
    error_of_reply,
)

REFUSALS: Final = (
    UnknownTargetError("farm:bsy", ["mule", "farm:busy"]),
    UnknownTargetError("mule9", []),
    QueueFullError("mule1", 1000),
    QueueFullError("mule1", 4096, "bytes"),
    MessageTooBigError(17_000_000, 16_000_000),
    DrainingError(),
    LeaseLostError(12, 3),
    UnsupportedError("the message option 'delay'"),
    NotAllowedError("only the owner may stop pymuled"),
    SignalConflictError(17, "app.py:3", "other.py:9"),
    NoHandlerError(17, "", []),
    NoHandlerError(17, "mule2", [3, 18]),
    NoFreeSignalError(256),
    BadCallError("signal 300; allowed: 0 to 255"),
    NotHolderError("reports"),
    StorageFullError("/var/lib/pymule"),
)

JSON_VALUES = st.none() | st.integers() | st.text() | st.lists(st.text() | st.none())
NAMES = st.sampled_from(["target", "known", "limit", "unit", "size", "id", "reason"])
DETAILS = st.dictionaries(NAMES | st.text(), JSON_VALUES)


def test_every_refusal_has_an_example_here() -> None:
    assert {type(error) for error in REFUSALS} == set(WIRE_ERRORS.values())


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_a_refusal_crosses_the_wire_and_stays_the_same(error: RefusedError) -> None:
    wire = json.dumps(error.to_detail())

    there = error_from_wire(error.code, json.loads(wire))

    assert type(there) is type(error)
    assert str(there) == str(error)
    assert vars(there) == vars(error)


def test_a_note_does_not_cross_the_wire() -> None:
    error = QueueFullError("mule1", 5)
    error.add_note("and 3 more were refused")

    there = error_from_wire(error.code, error.to_detail())

    assert str(there) == str(error)


def test_an_unknown_code_is_the_fault_of_the_peer() -> None:
    with pytest.raises(RemoteProtocolError, match="unknown error code 999"):
        error_from_wire(999, {})


@pytest.mark.parametrize(
    "detail",
    [{}, {"target": "mule"}, {"target": "mule", "known": [1, 2]}, {"limit": 3}],
    ids=repr,
)
def test_a_detail_that_does_not_fit_is_the_fault_of_the_peer(
    detail: dict[str, object],
) -> None:
    with pytest.raises(RemoteProtocolError, match="error 1 with detail"):
        error_from_wire(1, detail)


@given(code=st.integers(0, 12), detail=DETAILS)
def test_any_code_and_detail_give_an_error_or_the_fault_of_the_peer(
    code: int, detail: dict[str, object]
) -> None:
    try:
        error = error_from_wire(code, detail)
    except RemoteProtocolError:
        return

    assert error.code == code


def test_two_classes_cannot_share_a_code() -> None:
    with pytest.raises(TypeError, match="wire code 2 belongs to"):
        type("OtherError", (RefusedError,), {"code": 2})

    assert WIRE_ERRORS[2] is QueueFullError


def test_a_new_class_is_known_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "WIRE_ERRORS", {})

    made = type("OtherError", (RefusedError,), {"code": 77})

    assert list(errors.WIRE_ERRORS) == [77]
    assert type(error_from_wire(77, {})) is made


def test_only_what_may_pass_later_is_retryable() -> None:
    retryable = {cls for cls in WIRE_ERRORS.values() if cls.retryable}

    assert retryable == {QueueFullError, DrainingError, StorageFullError}


def test_every_error_has_the_one_root_and_a_name_that_says_so() -> None:
    classes = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    }

    assert all(issubclass(cls, PymuleError) for cls in classes)
    assert all(cls.__name__.endswith("Error") for cls in classes)
    assert {cls.__name__ for cls in classes} <= set(errors.__all__)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UnknownTargetError("x", ["mule", "mule1"]), "there are: mule, mule1"),
        (UnknownTargetError("x", []), "there are: none"),
        (UnknownTargetError("x", ["mule"] * 10_000), r"(mule, ){50}\.\.\.$"),
        (FrameTooBigError(70_000, 65_536), "70000 bytes; max_frame_bytes is 65536"),
        (NotInMuleError("mule_get_msg"), r"mule_get_msg\(\) can only be called in"),
        (MasterUnavailableError("/s", "refused"), "no pymuled at /s: refused"),
        (SocketInUseError("/s", 12), "/s is in use by process 12"),
        (SocketInUseError("/s", None), "/s is in use by another process"),
        (SocketSetupError("/s", "read-only"), "cannot listen on /s: read-only"),
        (MuleSpawnError("x.py", "no such user"), "cannot start x.py: no such user"),
    ],
    ids=repr,
)
def test_an_error_names_the_value_and_the_limit(error: PymuleError, text: str) -> None:
    with pytest.raises(type(error), match=text):
        raise error


def test_errors_can_be_caught_by_whose_fault_they_are() -> None:
    lost = MasterUnavailableError("/s", "refused")

    assert isinstance(lost, ConnectionError)
    assert isinstance(ConnectionLostError("gone", unacked=3), ConnectionError)
    assert ConnectionLostError("gone", unacked=3).unacked == 3
    assert isinstance(NotInMuleError("x"), LocalProtocolError)
    assert isinstance(FrameTooBigError(2, 1), RemoteProtocolError)
    assert isinstance(errors.ConfigError("x:1:1: y"), ValueError)


def test_an_error_reply_becomes_its_exception_or_the_fault_of_the_peer() -> None:
    refused = error_of_reply({"code": 4, "detail": {}})
    unknown = error_of_reply({"code": 999, "detail": {}})
    nonsense = error_of_reply({"code": "4"})

    assert isinstance(refused, DrainingError)
    assert isinstance(unknown, RemoteProtocolError)
    assert isinstance(nonsense, RemoteProtocolError)


@pytest.mark.parametrize(
    "value", [{}, {"code": 7}, {"code": 999, "detail": {}}], ids=repr
)
def test_an_error_that_nobody_knows_is_the_fault_of_the_peer(
    value: dict[str, object],
) -> None:
    assert isinstance(error_of_reply(value), RemoteProtocolError)
