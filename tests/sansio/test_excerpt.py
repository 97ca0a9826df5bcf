import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.errors import RemoteProtocolError
from pymule.sansio.excerpt import excerpt, excerpt_bytes


def test_utf8_is_a_text_and_anything_else_is_base64() -> None:
    assert excerpt("é".encode()) == {
        "body_bytes": 2,
        "body_offset": 0,
        "body": "é",
        "truncated": False,
    }
    assert excerpt(b"\xff") == {
        "body_bytes": 1,
        "body_offset": 0,
        "body_base64": "/w==",
        "truncated": False,
    }


def test_a_text_ends_with_a_whole_character() -> None:
    part = excerpt("aéb".encode(), limit=2)

    assert (part["body"], part["truncated"]) == ("a", True)


def test_a_character_that_does_not_fit_comes_as_its_bytes() -> None:
    part = excerpt("é".encode(), limit=1)

    assert (part["body_base64"], part["truncated"]) == ("ww==", True)


def test_an_end_that_is_no_character_is_no_text() -> None:
    assert "body_base64" in excerpt(b"a\xc3")


def test_beyond_the_end_there_is_nothing() -> None:
    part = excerpt(b"ab", 7, 10)

    assert (part["body"], part["truncated"]) == ("", False)


@given(
    body=st.one_of(st.binary(max_size=60), st.text(max_size=30).map(str.encode)),
    limit=st.integers(1, 70),
)
def test_the_parts_add_up_to_the_body(body: bytes, limit: int) -> None:
    parts = b""
    while True:
        part = json.loads(json.dumps(excerpt(body, len(parts), limit)))
        parts += excerpt_bytes(part)
        if not part["truncated"]:
            break

    assert parts == body
    assert excerpt_bytes(excerpt(body)) == body


@pytest.mark.parametrize(
    "row", [{}, {"body": 1}, {"body_base64": "?"}, {"body_base64": "é"}]
)
def test_what_is_no_excerpt_is_the_peers_fault(row: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        excerpt_bytes(row)
