import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.errors import PymuleError, RemoteProtocolError
from pymule.sansio.body import write_json
from pymule.sansio.frame import HEADER
from pymule.sansio.options import (
    MAX_AT,
    MAX_ATTEMPTS,
    MAX_MESSAGE_ID,
    MAX_OPTIONS_BYTES,
    MAX_PRIORITY,
    MAX_SECONDS,
    PLAIN,
    BatchOptionWords,
    MessageOptions,
    OptionWords,
    check_options,
    pack_batch_options,
    pack_options,
    read_options,
    unpack_headers,
    unpack_options,
)
from pymule.sansio.verbs import Submit, read_json

SECONDS: Final = st.integers(0, 10**9) | st.floats(0, MAX_SECONDS)
NAMES: Final = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20
)
COUNTS: Final = st.integers(1, MAX_ATTEMPTS)
HEADERS: Final = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5)
WORDS: Final = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(0, MAX_PRIORITY),
        "ttl": SECONDS,
        "key": NAMES,
        "message_id": NAMES,
        "headers": HEADERS,
        "max_attempts": COUNTS,
        "max_crashes": COUNTS,
        "backoff_s": SECONDS,
        "backoff_max_s": SECONDS,
        "jitter": st.floats(0, 1),
    },
)
WHEN: Final = st.fixed_dictionaries({}, optional={"delay": SECONDS}) | (
    st.fixed_dictionaries({}, optional={"at": st.floats(0, MAX_AT)})
)


def told_by(asked: MessageOptions) -> dict[str, object]:
    return {name: getattr(asked, name) for name in asked.__match_args__}


def refused(words: Mapping[str, object]) -> str:
    """Return why a sender may not say *words*."""
    with pytest.raises((ValueError, TypeError)) as caught:
        pack_options(**cast("OptionWords", words))
    return str(caught.value)


# What travels


def test_options_that_are_the_defaults_take_no_bytes() -> None:
    options = pack_options(
        delay=0, at=None, priority=0, ttl=None, key=None, headers={}, max_attempts=None
    )

    assert options == b""
    assert unpack_headers(options) == {}
    assert check_options(options, 7) == read_options(options) == PLAIN


def test_a_ttl_of_nothing_is_said() -> None:
    assert read_options(pack_options(ttl=0)).ttl == 0


@given(words=WORDS, when=WHEN)
def test_options_arrive_as_they_were_given(
    words: dict[str, object], when: dict[str, object]
) -> None:
    given = {**words, **when}

    options = pack_options(**cast("OptionWords", given))

    headers = given.pop("headers", {})
    assert told_by(check_options(options, 1)) == {**told_by(PLAIN), **given}
    assert unpack_headers(options) == headers


@given(words=WORDS, data=st.data())
def test_the_order_in_which_options_are_said_changes_nothing(
    words: dict[str, object], data: st.DataObject
) -> None:
    again = dict(data.draw(st.permutations(list(words.items()))))

    one = pack_options(**cast("OptionWords", words))

    assert pack_options(**cast("OptionWords", again)) == one


def test_options_travel_as_json() -> None:
    options = pack_options(delay=1.5, priority=3, ttl=60, key="user 7")

    assert read_json(options) == {
        "delay": 1.5,
        "priority": 3,
        "ttl": 60,
        "key": "user 7",
    }


def test_the_words_of_a_call_are_the_attributes() -> None:
    names = set(MessageOptions.__match_args__)

    assert set(OptionWords.__annotations__) == names | {"headers"}
    assert set(BatchOptionWords.__annotations__) == names - {"message_id"} | {"headers"}


def test_people_see_what_was_said_and_nothing_else() -> None:
    options = pack_options(ttl=0, jitter=0, headers={"trace": "7f"})

    assert unpack_options(options) == {
        "headers": {"trace": "7f"},
        "ttl": 0,
        "jitter": 0,
    }
    assert unpack_options(b"") == {}


def test_headers_alone_are_nothing_that_the_master_keeps_twice() -> None:
    assert check_options(pack_options(headers={"trace": "7f"}), 3) is PLAIN


def test_headers_may_be_any_mapping() -> None:
    options = pack_options(headers=MappingProxyType({"trace": "7f"}))

    assert unpack_headers(options) == {"trace": "7f"}


def test_headers_are_the_callers_to_change() -> None:
    options = pack_options(headers={"trace": "7f"})

    unpack_headers(options).clear()

    assert unpack_headers(options) == {"trace": "7f"}


# When


def test_an_hour_may_be_said_in_any_time_zone() -> None:
    when = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    asked = read_options(pack_options(at=when))

    assert asked.at == datetime(2030, 1, 1, 10, tzinfo=UTC).timestamp()


def test_an_hour_without_its_time_zone_is_refused() -> None:
    naive = datetime(2030, 1, 1, 12)  # noqa: DTZ001  (what is tested)

    assert refused({"at": naive}) == (
        "at datetime.datetime(2030, 1, 1, 12, 0) has no time zone; allowed: a datetime"
        " with tzinfo, or seconds of the Unix epoch"
    )


def test_milliseconds_for_seconds_are_found() -> None:
    assert refused({"at": 1_900_000_000_000}) == (
        "at 1900000000000; allowed: 0 to 253402300799 seconds of the Unix epoch"
    )


def test_a_delay_and_an_hour_exclude_each_other() -> None:
    assert refused({"delay": 2, "at": 5}) == ("delay 2 and at 5; allowed: one of them")
    with pytest.raises(RemoteProtocolError, match="delay 2 and at 5; allowed: one"):
        read_options(b'{"delay":2,"at":5}')
    assert read_options(b'{"delay":0,"at":5}').at == 5
    assert pack_options(delay=0, at=5) == b'{"at":5}'


def test_a_message_is_due_after_its_delay_or_at_its_hour() -> None:
    assert PLAIN.due_at(100.0, 5_000.0) is None
    assert MessageOptions(delay=1.5).due_at(100.0, 5_000.0) == 101.5
    assert MessageOptions(at=5_007.0).due_at(100.0, 5_000.0) == 107.0
    assert MessageOptions(at=4_999.0).due_at(100.0, 5_000.0) is None


# What is refused


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"delay": -1}, "delay -1; allowed: 0 to 1000000000 seconds"),
        ({"delay": float("nan")}, "delay nan; allowed: 0 to 1000000000 seconds"),
        ({"delay": True}, "delay True; allowed: 0 to 1000000000 seconds"),
        ({"delay": "5"}, "delay '5'; allowed: 0 to 1000000000 seconds"),
        ({"ttl": 1e10}, "ttl 10000000000.0; allowed: 0 to 1000000000 seconds"),
        ({"ttl": float("inf")}, "ttl inf; allowed: 0 to 1000000000 seconds"),
        ({"at": -1}, "at -1; allowed: 0 to 253402300799 seconds of the Unix epoch"),
        ({"priority": 10}, "priority 10; allowed: an integer from 0 to 9"),
        ({"priority": 1.0}, "priority 1.0; allowed: an integer from 0 to 9"),
        ({"key": ""}, "key ''; allowed: a text of 1 to 255 characters"),
        ({"key": 7}, "key 7; allowed: a text of 1 to 255 characters"),
        ({"message_id": "\udcff"}, "message_id '\\udcff'; allowed: a text of 1 to 255"),
        (
            {"message_id": "x" * 256},
            f"message_id '{'x' * 79}... of 258 characters; allowed: a text of 1 to 255",
        ),
        ({"max_attempts": 0}, "max_attempts 0; allowed: an integer from 1 to 65535"),
        ({"max_crashes": 65_536}, "max_crashes 65536; allowed: an integer from 1 to"),
        ({"backoff_s": -0.5}, "backoff_s -0.5; allowed: 0 to 1000000000 seconds"),
        ({"backoff_max_s": []}, "backoff_max_s []; allowed: 0 to 1000000000 seconds"),
        ({"jitter": 1.5}, "jitter 1.5; allowed: 0 to 1"),
        ({"headers": "x"}, "headers 'x'; allowed: an object of texts"),
        ({"headers": {"a": 1}}, "1 in the headers; allowed: texts"),
        ({"headers": {2: "b"}}, "2 in the headers; allowed: texts"),
        ({"headers": {"a": None}}, "None in the headers; allowed: texts"),
        ({"color": 1}, "unknown message option 'color'; allowed: headers, delay, at,"),
    ],
    ids=repr,
)
def test_what_a_sender_cannot_ask_for_is_refused_in_the_sender(
    words: dict[str, object], fault: str
) -> None:
    assert refused(words).startswith(fault)


def test_a_name_of_the_greatest_length_is_taken() -> None:
    name = "ü" * MAX_MESSAGE_ID

    assert read_options(pack_options(key=name, message_id=name)).message_id == name


def test_one_id_for_many_messages_is_refused_on_both_sides() -> None:
    options = pack_options(message_id="x")

    assert check_options(options, 1).message_id == "x"
    with pytest.raises(RemoteProtocolError, match="message_id 'x' for 2 messages"):
        check_options(options, 2)
    with pytest.raises(ValueError, match="message_id 'x' for many messages; allowed"):
        pack_batch_options(**cast("BatchOptionWords", {"message_id": "x"}))
    assert pack_batch_options(priority=1) == pack_options(priority=1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (b"{", "not JSON"),
        (b"[]", "no object"),
        (b'{"color": 1}', "unknown message option 'color'; allowed: headers, delay"),
        (b'{"headers": null}', "headers None; allowed: an object of texts"),
        (b'{"headers": []}', "allowed: an object of texts"),
        (b'{"headers": {"a": 1}}', "allowed: an object of texts"),
        (b'{"delay": NaN}', "not JSON"),
        (b'{"delay": null}', "delay None; allowed: 0 to 1000000000 seconds"),
        (b'{"at": 1' + b"0" * 400 + b"}", r"at 10+\.\.\. of 401 characters; allowed"),
        (b'{"key": "\\ud800"}', "allowed: a text of 1 to 255"),
        (b'{"a":"' + b"x" * 3_893 + b'"}', "options of 3901 bytes; allowed: 3900"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_options_that_make_no_sense_are_the_fault_of_the_peer(
    options: bytes, text: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        check_options(options, 1)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
NAMES_OF_OPTIONS: Final = st.sampled_from([*OptionWords.__annotations__])


@given(options=st.binary() | st.dictionaries(NAMES_OF_OPTIONS, JSON).map(json.dumps))
def test_whatever_a_peer_sends_is_taken_or_its_fault(options: bytes | str) -> None:
    data = options if isinstance(options, bytes) else options.encode()
    try:
        asked = check_options(data, 1)
    except PymuleError:
        return

    # What is taken can be said again, and is in the ranges of the senders.
    words = {name: v for name, v in told_by(asked).items() if v is not None}
    assert asked == read_options(pack_options(**cast("OptionWords", words)))
    texts = [*unpack_headers(data), *unpack_headers(data).values()]
    assert all(isinstance(text, str) for text in texts)


def test_options_leave_room_for_the_message() -> None:
    overhead = len(write_json({"headers": {"a": ""}}))
    largest = pack_options(headers={"a": "x" * (MAX_OPTIONS_BYTES - overhead)})
    target = "farm:" + "x" * 64

    frame = Submit(1, 1, 1, target, largest, bytes(4)).pack()

    assert len(frame) - HEADER.size < 4096
    assert check_options(largest, 1) is PLAIN
    with pytest.raises(ValueError, match="options of 3901 bytes; allowed: 3900"):
        pack_options(headers={"a": "x" * (MAX_OPTIONS_BYTES - overhead + 1)})
