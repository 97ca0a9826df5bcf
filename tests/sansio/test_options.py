import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.errors import PymuleError, RemoteProtocolError, UnsupportedError
from pymule.sansio.frame import HEADER
from pymule.sansio.options import (
    MAX_OPTIONS_BYTES,
    check_options,
    pack_options,
    unpack_headers,
)
from pymule.sansio.verbs import Submit, read_json

HEADERS = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5)


def test_options_that_are_the_defaults_take_no_bytes() -> None:
    options = pack_options(delay=0, priority=0, ttl=None, key=None, headers={})

    assert options == b""
    assert unpack_headers(options) == {}
    check_options(options)


@given(headers=HEADERS)
def test_headers_arrive_as_they_were_given(headers: dict[str, str]) -> None:
    options = pack_options(headers=headers)
    check_options(options)

    assert unpack_headers(options) == headers


def test_what_is_planned_is_in_the_wire_format() -> None:
    options = pack_options(delay=1.5, priority=3, ttl=60, key="user 7")

    assert read_json(options) == {
        "delay": 1.5,
        "priority": 3,
        "ttl": 60,
        "key": "user 7",
    }


@pytest.mark.parametrize(
    "options",
    [
        pack_options(delay=1),
        pack_options(priority=1),
        pack_options(ttl=0),
        pack_options(key="k"),
        pack_options(key="x", headers={"a": "b"}),
    ],
    ids=repr,
)
def test_what_is_planned_is_refused_by_name(options: bytes) -> None:
    with pytest.raises(UnsupportedError, match="the message option"):
        check_options(options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (b"{", "not JSON"),
        (b"[]", "no object"),
        (b'{"color": 1}', "unknown message option 'color'; allowed: headers, delay"),
        (b'{"headers": null}', "allowed: an object of texts"),
        (b'{"headers": []}', "allowed: an object of texts"),
        (b'{"headers": {"a": 1}}', "allowed: an object of texts"),
    ],
    ids=repr,
)
def test_options_that_make_no_sense_are_the_fault_of_the_peer(
    options: bytes, text: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        check_options(options)


@given(options=st.binary())
def test_random_options_are_taken_or_refused(options: bytes) -> None:
    try:
        check_options(options)
    except PymuleError:
        return

    assert isinstance(unpack_headers(options), dict)


@pytest.mark.parametrize("headers", [{"a": 1}, {2: "b"}, {"a": None}], ids=repr)
def test_a_header_that_is_no_text_is_found_by_the_sender(
    headers: dict[str, str],
) -> None:
    with pytest.raises(TypeError, match="in the headers; allowed: texts"):
        pack_options(headers=headers)


def test_options_leave_room_for_the_message() -> None:
    overhead = len('{"headers":{"a":""}}')
    largest = pack_options(headers={"a": "x" * (MAX_OPTIONS_BYTES - overhead)})
    target = "farm:" + "x" * 64

    frame = Submit(1, 1, 1, target, largest, bytes(4)).pack()

    assert len(frame) - HEADER.size < 4096
    with pytest.raises(ValueError, match="options of 3901 bytes; allowed: 3900"):
        pack_options(headers={"a": "x" * (MAX_OPTIONS_BYTES - overhead + 1)})
