"""The decorators: what each notes, and what it returns."""

import pickle
import threading
from collections.abc import Callable

import pytest

from pymule.compat import brains, uwsgi
from pymule.compat import uwsgidecorators as deco
from pymule.compat.host import host
from pymule.handlers import registry
from pymule.sansio.verbs import JsonObject
from tests.client.fake_master import FakeMaster
from tests.compat.conftest import Answers


def handle(signum: int) -> None:
    """Do nothing, as a handler."""


@pytest.mark.parametrize(
    ("decorate", "source"),
    [
        (deco.signal(17, target="mule2"), None),
        (
            deco.timer(30, target="mule2", signum=17),
            {"kind": "timer", "every": 30.0, "iterations": 0},
        ),
        (
            deco.mstimer(500, target=b"mule2", signum=17),
            {"kind": "timer", "every": 0.5, "iterations": 0},
        ),
        (
            deco.rbtimer(3, target="mule2", signum=17),
            {"kind": "timer", "every": 3.0, "iterations": 0},
        ),
        (
            deco.filemon("/tmp", target="mule2", signum=17),  # noqa: S108  (only named)
            {"kind": "filemon", "path": "/tmp", "recursive": False},  # noqa: S108
        ),
    ],
)
def test_a_decorator_notes_the_function_and_returns_it(
    be_a_mule: Callable[..., None],
    decorate: Callable[[object], object],
    source: JsonObject | None,
) -> None:
    be_a_mule()

    assert decorate(handle) is handle

    (handler,) = registry.handlers
    assert handler.source == source
    assert (handler.number, handler.target) == (17, "mule2")
    assert handler.function is handle


def test_cron_takes_five_integers(be_a_mule: Callable[..., None]) -> None:
    be_a_mule()

    deco.cron(59, 3, -1, -1, -1)(handle)

    (handler,) = registry.handlers
    assert handler.number is None
    assert handler.source is not None
    assert handler.source["spec"] == [59, 3, -1, -1, -1]
    with pytest.raises(ValueError, match="99"):
        deco.cron(99, 3, -1, -1, -1)


def test_a_free_signal_is_the_lowest(
    answers: tuple[Answers, list[JsonObject]],
) -> None:
    assert deco.get_free_signal() == 0
    answers[0]["signals"] = {
        "signals": [{"signal": n, "handler": ""} for n in range(256)]
    }
    with pytest.raises(Exception, match="No free uwsgi signal available"):
        deco.get_free_signal()


def plain(*args: object, **kwargs: object) -> None:
    """Do nothing, as a function for mules."""


@pytest.mark.parametrize(
    ("target", "queue"), [(0, "mule"), (2, "mule2"), ("busy", "farm:busy")]
)
def test_a_call_is_sent(master: FakeMaster, target: int | str, queue: str) -> None:
    sender = deco.mulefunc(target)(plain) if target else deco.mulefunc(plain)
    assert callable(sender)

    assert sender(1, b=2) is None

    ((where, body),) = master.received
    assert where == queue
    assert pickle.loads(body)["args"] == (1,)  # noqa: S301  (ours)
    assert brains.mule_functions["plain"] is plain
    assert sender.__name__ == "plain"  # type: ignore[attr-defined]  # a function


def test_what_cannot_be_pickled_is_an_error_in_the_caller(master: FakeMaster) -> None:
    sender = deco.mulefunc(plain)

    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        sender(threading.Lock())

    assert master.received == []


@pytest.mark.parametrize("decorator", [deco.mule, deco.muleloop, deco.mulemsg])
def test_mule_written_for_mulefunc_is_refused(
    decorator: Callable[[object], object],
) -> None:
    with pytest.raises(TypeError, match="decorated with @mulefunc"):
        decorator(plain)


def test_brains_are_noted_in_their_order() -> None:
    deco.mule(1)(plain)
    deco.muleloop(2)(plain)
    deco.mulemsg(3)(plain)
    deco.farm("busy")(plain)

    assert [type(brain) for brain in brains.postfork_chain] == [
        deco.mule_brain,
        deco.mule_brainloop,
        deco.mulemsg_loop,
        deco.farm_loop,
    ]


def test_postfork_is_for_all_or_for_one_worker() -> None:
    done: list[str] = []
    host._worker = 2
    deco.postfork(lambda: done.append("all"))
    for worker in (1, 2):
        deco.postfork(worker)(lambda worker=worker: done.append(f"worker {worker}"))

    deco.postfork_chain_hook()

    assert done == ["all", "worker 2"]


def test_the_import_sets_the_hook_of_the_fork() -> None:
    import importlib  # noqa: PLC0415  (only here)

    importlib.reload(deco)

    assert vars(uwsgi)["post_fork_hook"] is deco.postfork_chain_hook


def test_a_thread_is_started_and_the_function_returned() -> None:
    done = threading.Event()

    def work(word: str) -> None:
        assert word == "x"
        done.set()

    assert deco.thread(work)("x") is work
    assert done.wait(10)


def test_lock_0_is_held_meanwhile_also_if_it_raises(
    answers: tuple[Answers, list[JsonObject]],
) -> None:
    answers[0]["lock"] = {"token": 7}

    @deco.lock
    def fail(word: str) -> None:
        raise ValueError(word)

    with pytest.raises(ValueError, match="x"):
        fail("x")

    assert [call["method"] for call in answers[1]] == ["lock", "unlock"]


def test_harakiri_is_called_off_also_if_it_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds: list[int] = []
    monkeypatch.setattr(uwsgi, "set_user_harakiri", seconds.append)

    @deco.harakiri(30)
    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()

    assert seconds == [30, 0]


@pytest.mark.parametrize("name", ["spool", "spoolforever", "spoolraw", "rpc", "erlang"])
def test_what_stays_with_uwsgi_says_so(name: str) -> None:
    with pytest.raises(
        NotImplementedError, match=f"@{name} is not part of pymule: use"
    ):
        getattr(deco, name)(plain)
