import pytest
from hypothesis import given

from pymule.errors import RemoteProtocolError
from pymule.sansio.body import JsonObject, check_end, read_json, read_text, write_json
from pymule.sansio.frame import Opcode
from tests.sansio.test_verbs import JSON


def test_fields_end_where_the_body_does_or_before() -> None:
    check_end(Opcode.SUBMIT, b"1234", 4)

    with pytest.raises(RemoteProtocolError, match="SUBMIT with fields of 5 bytes"):
        check_end(Opcode.SUBMIT, b"1234", 5)


def test_a_text_is_utf_8() -> None:
    assert read_text("ü".encode()) == "ü"

    with pytest.raises(RemoteProtocolError, match="text is not UTF-8"):
        read_text(b"\xff")


@given(value=JSON)
def test_an_object_comes_back_as_it_was_written(value: JsonObject) -> None:
    assert read_json(write_json(value)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{} {}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-8-sig"),
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_json_is_the_fault_of_the_peer(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="body is not JSON"):
        read_json(data)


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"text"'], ids=repr)
def test_what_is_json_but_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no object"):
        read_json(data)


def test_of_a_field_that_comes_twice_the_last_one_counts() -> None:
    assert read_json(b'{"a": 1, "b": 2, "a": 3}') == {"a": 3, "b": 2}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_not_written(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"delay": number})
