"""What mules must have in common to share a forkserver."""

from dataclasses import replace
from pathlib import Path

import pytest

from pymule.master.forkserver import Forkserver, ForkserverSpec
from pymule.sansio.forkserver import Preload
from pymule.sansio.supervision import Exit, LifeTimeouts, MuleLife, RestartPolicy
from pymule.sansio.target import MuleId
from tests.master.harness import a_spec

SPEC = replace(
    a_spec(1),
    env={"B": "2", "A": "1"},
    start_method="forkserver",
    preload=("app", "pkg.mod"),
    python_path=("/srv",),
    limits={"nofile": (64, 64)},
)


def test_mules_that_inherit_the_same_share_one() -> None:
    other = replace(
        SPEC,
        id=MuleId(2),
        name="other",
        program="other:main",
        env={"A": "1", "B": "2"},
        farms=("busy",),
        harakiri_s=3.0,
        credit=7,
    )

    assert ForkserverSpec.of(SPEC, 1) == ForkserverSpec.of(other, 1)
    assert hash(ForkserverSpec.of(SPEC, 1)) == hash(ForkserverSpec.of(other, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"preload": ("app",)},
        {"env": {"A": "1"}},
        {"cwd": Path("/tmp")},  # noqa: S108  (not used)
        {"python_path": ()},
        {"uwsgi": True},
        {"nice": 1},
        {"umask": 0o77},
        {"limits": {}},
        {"uid": 1000},
        {"gid": 1000},
    ],
)
def test_mules_that_inherit_something_else_do_not(change: dict[str, object]) -> None:
    other = replace(SPEC, **change)  # type: ignore[arg-type]  # of the parameters

    assert ForkserverSpec.of(SPEC, 1) != ForkserverSpec.of(other, 1)


def test_a_reload_brings_new_ones() -> None:
    assert ForkserverSpec.of(SPEC, 1) != ForkserverSpec.of(SPEC, 2)


def test_it_is_started_with_what_its_mules_inherit() -> None:
    spec = ForkserverSpec.of(SPEC, 1)

    spawn = spec.spawn_spec(4)

    assert (spawn.mule, spawn.name) == (0, "forkserver 4")
    assert spawn.title == "pymule: forkserver 4 [app, pkg.mod]"
    assert (spawn.env, spawn.limits) == (SPEC.env, SPEC.limits)
    assert spec.orders() == Preload(["/srv"], ["app", "pkg.mod"], uwsgi=False)


async def test_status_tells_of_one_that_does_not_run() -> None:
    life = MuleLife(RestartPolicy(), LifeTimeouts())

    row = Forkserver(4, ForkserverSpec.of(SPEC, 1), life, unfit=["thread"]).describe()

    assert row == {
        "number": 4,
        "pid": None,
        "state": "down",
        "preload": ["app", "pkg.mod"],
        "mules": [],
        "uptime_s": 0.0,
        "restarts": 0,
        "unfit": ["thread"],
    }


def test_why_it_ended_is_what_an_import_raised_or_what_killed_it() -> None:
    life = MuleLife(RestartPolicy(), LifeTimeouts())
    server = Forkserver(4, ForkserverSpec.of(SPEC, 1), life)

    plain = server.reason_of(Exit(3))
    life.kill_reason = "start timeout"
    killed = server.reason_of(Exit(signum=9))
    server.error = {"type": "OSError", "text": "no such table"}

    assert plain == ("status 3", "")
    assert killed == ("start timeout", "")
    assert server.reason_of(Exit(1)) == ("OSError", "no such table")
