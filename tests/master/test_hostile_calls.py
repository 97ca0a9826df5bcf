"""Calls with parameters that make no sense, from somebody who may make them."""

import itertools
from typing import Final

import pytest
from blockbuster import BlockBuster

from pymule.errors import WIRE_ERRORS
from pymule.master.roles import NEEDED, SUBMIT
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.master.harness import Yard, a_plan, a_spec, until

# Every parameter that a call has, and one that none has.
NAMES: Final = (
    *("body_bytes", "body_offset", "call", "every", "handler", "id", "identity"),
    *("ids", "iterations", "limit", "misfire", "name", "nonsense", "overlap", "path"),
    *("place", "queue", "reason", "recursive", "signal", "skip", "source", "spec"),
    *("target", "timer", "to", "token", "ttl", "tz", "wait"),
)
NONSENSE: Final[tuple[object, ...]] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**64,
    -(2**70),
    1e308,
    0.5,
    "",
    "../../../etc/passwd",
    "\0",
    "\x1b]0;x\x07\n",
    "\ud800",
    "x" * 5000,
    "9" * 400,
    [],
    [[]] * 10,
    ["x", 1, None],
    {},
    {"kind": "cron", "spec": "* * * * *", "tz": "../etc/passwd"},
    {"kind": "timer", "every": -1},
    {"kind": "filemon", "path": "relative"},
    {"a": {"b": {"c": [1, {}]}}},
)
# A good value for the others, so that each check is reached.
SENSIBLE: Final[JsonObject] = {
    "name": "a",
    "signal": 7,
    "identity": "i",
    "handler": "h",
    "place": "p",
    "every": 1000,
    "queue": "mule",
    "token": 1,
    "call": 1,
    "timer": 1,
    "id": 1,
}
# They do what they say, and the test would end.
FINAL: Final = frozenset({SUBMIT, "stop", "reload", "logs"})


@pytest.mark.parametrize("method", sorted(set(NEEDED) - FINAL))
async def test_any_parameters_get_an_answer_and_harm_nobody(
    yard: Yard, blockbuster: BlockBuster, method: str
) -> None:
    # Zones are read from files.
    for trapped in blockbuster.functions.values():
        trapped.can_block_in("zones.py", "zone_of")
    await yard.open(a_plan())
    guest, other = await yard.greeted("odd"), await yard.greeted("other")
    numbers = itertools.count(1)

    for name, value in itertools.product(NAMES, NONSENSE):
        params = {**SENSIBLE, "method": method, name: value}
        await guest.say(Call(next(numbers), params))
    last = next(numbers)
    await guest.say(Call(last, {"method": "ping"}))

    replies: list[Reply] = []
    while not replies or replies[-1].id != last:
        replies.append(await guest.hear(Reply))
    refused = [reply for reply in replies if reply.kind is ReplyKind.ERROR]
    assert {int(str(reply.value["code"])) for reply in refused} <= set(WIRE_ERRORS)
    assert (await other.call("ping")).kind is ReplyKind.LAST


@pytest.mark.parametrize("method", NONSENSE, ids=repr)
async def test_any_method_gets_an_answer(yard: Yard, method: object) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.say(Call(1, {"method": method}))

    reply = await guest.hear(Reply)
    assert (reply.id, reply.kind) == (1, ReplyKind.ERROR)


LIAR: Final = """
be_ready()
numbers = iter(range(1, 10**9))
for method in METHODS:
    for name in NAMES:
        for value in NONSENSE:
            say(Call(next(numbers), {**SENSIBLE, "method": method, name: value}))
for method in NONSENSE:
    say(Call(next(numbers), {"method": method}))
last = next(numbers)
say(Call(last, {"method": "signals"}))
while hear(Reply).id != last:
    pass
sys.exit(125)
"""


@pytest.mark.parametrize("method", ["functions", "register", "timer_add", "other"])
async def test_a_mule_that_asks_nonsense_gets_answers_and_harms_nobody(
    yard: Yard, blockbuster: BlockBuster, method: str
) -> None:
    for trapped in blockbuster.functions.values():
        trapped.can_block_in("zones.py", "zone_of")
    others = sorted({*NEEDED, "wait"} - {"register", "timer_add"})
    methods = others if method == "other" else [method]
    names = NAMES if method != "other" else ("signal", "timer", "name")
    words = {
        "METHODS": methods,
        "NAMES": ("names", *names),
        "NONSENSE": NONSENSE,
        "SENSIBLE": SENSIBLE,
    }
    head = "".join(f"{name} = {value!r}\n" for name, value in words.items())
    await yard.open(a_plan(a_spec(1, head + LIAR)))
    guest = await yard.greeted()

    await until(lambda: yard.states() == {1: "down"})

    status = await yard.status()
    assert "status 125" in str(status["mules"])
    assert (await guest.call("ping")).kind is ReplyKind.LAST
