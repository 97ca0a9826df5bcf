"""What the master answers about signals, and what it sends to whom."""

from typing import cast

import pytest

from pymule.master import signals as signals_module
from pymule.sansio.verbs import (
    Call,
    Handled,
    JsonObject,
    Listen,
    Reply,
    ReplyKind,
    Signal,
)
from tests.conftest import MS
from tests.master.conftest import Logged
from tests.master.harness import Guest, Yard, a_plan, a_spec, until, with_limits


def handler(target: str = "mules", source: str = "None") -> str:
    """Return the words of a stand-in that registers a handler."""
    return f"""
greet()
say(Call(1, dict(method="register", signal=17, target={target!r}, identity="h",
         handler="h", place="app.py:3", overlap="skip", source={source})))
reply = hear(Reply)
say(Ready())
"""


RUNS = """
while True:
    say(Listen(True))
    number = hear(Signal).number
    say(Handled(number, 0))
"""
HOLDS = "say(Listen(True)); hear(Signal); rest()"


def refusal(reply: Reply) -> tuple[object, str]:
    """Return the code of an error reply, and its detail as a text."""
    assert reply.kind == ReplyKind.ERROR, reply
    return reply.value["code"], str(reply.value["detail"])


async def signal_row(guest: Guest) -> JsonObject:
    rows = (await guest.call("signals")).value["signals"]
    assert isinstance(rows, list)
    (row,) = rows
    return cast("JsonObject", row)


async def register(guest: Guest, **changes: object) -> Reply:
    """Let a guest register a handler, and so become a worker."""
    value: JsonObject = {
        "signal": 17,
        "target": "worker",
        "identity": "w",
        "handler": "w",
        "place": "web.py:1",
        "overlap": "skip",
        "source": None,
    }
    return await guest.call("register", **(value | changes))


# Raising


async def test_a_raised_signal_runs_in_each_mule_that_has_its_handler(
    yard: Yard,
) -> None:
    specs = [a_spec(number, handler() + RUNS) for number in (1, 2)]
    await yard.open_ready(a_plan(*specs, a_spec(3)))
    guest = await yard.greeted()

    reply = await guest.call("raise", signal=17)

    assert reply.value == {}
    row = await signal_row(guest)
    while int(str(row["handled"])) < 2:
        row = await signal_row(guest)
    assert row["holders"] == ["mule1", "mule2"]
    assert (row["raised"], row["due"], row["running"]) == (1, 0, 0)


async def test_what_has_no_handler_is_refused_at_once(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()

    code, detail = refusal(await guest.call("raise", signal=17))

    assert code == 10
    assert "'number': 17" in detail


async def test_a_raise_waits_for_the_mule_that_brings_its_handler(yard: Yard) -> None:
    await yard.open(a_plan(a_spec(1, handler() + RUNS)))
    guest = await yard.greeted()

    reply = await guest.call("raise", signal=17)

    assert reply.value == {}


async def test_only_so_many_raises_wait_for_a_mule(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals_module, "_MAX_EARLY", 0)
    await yard.open(a_plan(a_spec(1, "greet(); rest()")))
    guest = await yard.greeted()

    code, _ = refusal(await guest.call("raise", signal=17))

    assert code == 10


async def test_a_raise_does_not_wait_for_ever_for_a_mule(yard: Yard) -> None:
    await yard.open(a_plan(a_spec(1, "greet(); rest()")))
    guest, leaver = await yard.greeted(), await yard.greeted("leaver")
    await guest.say(Call(1, {"method": "raise", "signal": 17}))
    await leaver.say(Call(1, {"method": "raise", "signal": 18}))
    await until(lambda: len(yard.master.signals._early) == 2)
    leaver.close()
    await until(lambda: len(yard.master.clients.peers) == 1)

    assert yard.master.signals.due("early", 0)

    code, detail = refusal(await guest.hear(Reply))
    assert code == 10
    assert "17" in detail


@pytest.mark.parametrize(
    ("method", "params", "allowed"),
    [
        ("raise", {"signal": 300}, "0 to 255"),
        ("raise", {"signal": -1}, "0 to 255"),
        ("raise", {"signal": True}, "an integer"),
        ("raise", {}, "an integer"),
        ("timer_add", {"signal": 17, "every": 0}, "from 0.001"),
        ("timer_add", {"signal": 17, "every": "1"}, "seconds"),
        ("timer_add", {"signal": 17, "every": 1, "iterations": "x"}, "an integer"),
        ("timer_cancel", {"timer": "x"}, "the id of a timer"),
        ("register", {"target": "nobody"}, "'mules'"),
        ("register", {"target": "func:a:b"}, "for messages"),
        ("register", {"target": 7}, "a text"),
        ("register", {"identity": "x" * 5000}, "a text of up to 4096"),
        ("register", {"overlap": "twice"}, "skip, queue, allow"),
        ("register", {"source": "often"}, "an object"),
        ("register", {"source": {"kind": "moon"}}, "'timer'"),
        ("register", {"source": {"kind": "timer", "every": -1}}, "from 0.001"),
        ("register", {"source": {"kind": "cron", "spec": "61 * * * *"}}, "minute"),
        ("register", {"source": {"kind": "cron", "spec": "0 0 31 2 *"}}, "0 0 31 2"),
        (
            "register",
            {"source": {"kind": "cron", "spec": "* * * * *", "tz": 5}},
            "a time zone",
        ),
        (
            "register",
            {"source": {"kind": "cron", "spec": "* * * * *", "misfire": "twice"}},
            "twice",
        ),
        (
            "register",
            {"source": {"kind": "filemon", "path": "relative"}},
            "an absolute path",
        ),
        ("register", {"signal": 256}, "0 to 255"),
    ],
)
async def test_a_bad_call_is_refused_with_what_is_allowed(
    yard: Yard, method: str, params: dict[str, object], allowed: str
) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()

    reply = (
        await register(guest, **params)
        if method == "register"
        else await guest.call(method, **params)
    )

    code, detail = refusal(reply)
    assert code == 12
    assert allowed in detail
    assert (await guest.call("signals")).value == {"signals": []}


@pytest.mark.parametrize("target", ["mule9", "farm:idle"])
async def test_a_target_that_does_not_exist_is_refused_with_those_that_do(
    yard: Yard, target: str
) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()

    code, detail = refusal(await register(guest, target=target))

    assert code == 1
    assert "mule1" in detail


async def test_a_mule_that_asks_what_only_clients_may_is_refused(yard: Yard) -> None:
    program = """
greet()
say(Call(1, dict(method="stop")))
assert hear(Reply).value["code"] == 6
say(Ready())
rest()
"""

    await yard.open_ready(a_plan(a_spec(1, program)))

    assert yard.master.state == "running"


# Registering


async def test_a_conflict_names_both_places(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec(1, handler() + RUNS)))
    guest = await yard.greeted()

    code, detail = refusal(await register(guest))

    assert code == 9
    assert "app.py:3" in detail
    assert "web.py:1" in detail


async def test_a_free_number_is_the_lowest(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()
    free = (await guest.call("signal_free")).value

    first = (await register(guest, signal=None)).value
    second = (await register(guest, signal=None, identity="x")).value

    assert free == {"signal": 0}
    assert first == {"signal": 0, "holder": "worker1"}
    assert second == {"signal": 1, "holder": "worker1"}


# Workers


async def test_a_client_that_registers_is_a_worker_until_it_leaves(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec()))
    one, two = await yard.greeted("one"), await yard.greeted("two")
    await register(one, target="workers")
    assert (await register(two, target="workers")).value["holder"] == "worker2"
    await one.say(Listen(is_listening=True))
    await two.say(Listen(is_listening=True))
    await two.call("raise", signal=17)
    assert (await one.hear(Signal)).number == 17
    assert (await two.hear(Signal)).number == 17
    await two.say(Handled(17, 1))

    one.close()
    await until(lambda: len(yard.master.clients.peers) == 1)

    row = await signal_row(two)
    assert (row["holders"], row["failed"]) == (["worker2"], 1)


async def test_a_worker_that_claims_what_it_did_not_run_loses_its_connection(
    yard: Yard,
) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()
    await register(guest)

    await guest.say(Handled(17, 0))

    assert "was handled, and not sent" in str((await guest.ended())[-1])


async def test_a_client_that_is_no_worker_may_say_what_workers_say(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()

    await guest.say(Listen(is_listening=True), Handled(17, 0))

    assert (await guest.call("ping")).kind == ReplyKind.LAST


# Deaths and ends


async def test_a_mule_that_comes_back_runs_what_waited_for_it(
    yard: Yard, logged: Logged
) -> None:
    program = handler("mule1") + "say(Listen(True)); hear(Signal); os._exit(3)"
    await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()

    await guest.call("raise", signal=17)
    await until(lambda: logged("signal dropped"))

    (dropped,) = logged("signal dropped")
    assert (dropped["signal"], dropped["holder"]) == (17, "mule1")
    assert len(logged("mule exited")) >= 3


async def test_a_mule_that_stays_down_takes_its_signals_along(
    yard: Yard, logged: Logged
) -> None:
    program = handler("mule1", '{"kind":"timer","every":3600}') + (
        "say(Listen(True)); hear(Signal); os._exit(125)"
    )
    await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()
    assert len(list(yard.master.signals.sources.timers)) == 1

    await guest.call("raise", signal=17)
    await until(lambda: logged("mule stays down"))

    assert (await guest.call("signals")).value == {"signals": []}
    assert list(yard.master.signals.sources.timers) == []


async def test_what_a_new_process_does_not_register_in_time_is_gone(
    yard: Yard,
) -> None:
    program = handler("mule1", '{"kind":"timer","every":3600}') + "rest()"
    again = "be_ready(); rest()"
    await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()
    assert await yard.reload(a_plan(a_spec(1, again))) is None
    generation = yard.master.mules.current[next(iter(yard.master.mules.current))]
    assert generation.current is not None
    assert len((await guest.call("signals")).value["signals"]) == 1  # type: ignore[arg-type]  # a list

    assert yard.master.signals.due("settle", generation.current.link)

    assert (await guest.call("signals")).value == {"signals": []}
    assert list(yard.master.signals.sources.timers) == []


async def test_a_handler_that_runs_for_too_long_kills_its_mule(
    yard: Yard, logged: Logged
) -> None:
    quiet = "signal.signal(signal.SIGRTMAX - 2, signal.SIG_IGN)\n"
    spec = with_limits(a_spec(1, quiet + handler("mule1") + HOLDS), harakiri_s=200 * MS)
    await yard.open_ready(a_plan(spec))
    guest = await yard.greeted()

    await guest.call("raise", signal=17)
    await until(lambda: logged("harakiri"))

    (harakiri, *_) = logged("harakiri")
    assert harakiri["signal"] == 17
    await until(lambda: logged("mule exited"))


async def test_a_stop_lets_a_handler_finish(yard: Yard, logged: Logged) -> None:
    program = handler("mule1") + (
        "say(Listen(True)); hear(Signal); hear(Drain);"
        " print('finished', flush=True); say(Handled(17, 0)); rest()"
    )
    await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()
    await guest.call("raise", signal=17)
    (link,) = yard.master.router.links
    await until(lambda: not yard.master.signals.is_idle(link))

    assert await yard.stop()

    assert [out["line"] for out in logged("mule output")] == ["finished"]


async def test_a_reload_brings_newer_handlers_of_the_same_number(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec(1, handler("mules") + RUNS)))
    guest = await yard.greeted()

    changed = handler("mule1").replace('identity="h"', 'identity="new"')
    assert await yard.reload(a_plan(a_spec(1, changed + RUNS))) is None

    assert (await signal_row(guest))["target"] == "mule1"
