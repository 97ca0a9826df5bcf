import os
import pwd
import resource
from pathlib import Path
from typing import Final

import pytest

from pymule.config import Settings
from pymule.master.generation import MuleSpec
from pymule.master.plan import Plan, QueuePlan, make_plan
from pymule.master.roles import AccessRule, Members
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.queue import Limits
from pymule.sansio.target import MuleId

NOBODY: Final = 65534


def plan_of(
    base_dir: Path, environ: dict[str, str] | None = None, **keys: object
) -> Plan:
    """Return the plan of a file in *base_dir* that has *keys*."""
    keys = {"socket": "s.sock", **keys}
    settings = Settings.model_validate(keys, context={"base_dir": base_dir})
    return make_plan(settings, environ or {})


def test_mules_that_inherit_the_same_need_one_forkserver(tmp_path: Path) -> None:
    tables = [
        {"count": 3},
        {"env": {"A": "1"}},
        {"start_method": "spawn", "env": {"A": "2"}},
    ]

    plan = plan_of(tmp_path, start_method="forkserver", mule=tables)

    assert plan.forkserver_count == 2
    assert plan_of(tmp_path, mule=[{}]).forkserver_count == 0


def test_every_setting_of_a_mule_reaches_its_specification(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    mule = {
        "program": "pkg.mod:run",
        "name": "busy",
        "env": {"OMP_NUM_THREADS": "1"},
        "cwd": "sub",
        "harakiri_s": 30.0,
        "stop_timeout_s": 4.0,
        "start_timeout_s": 5.0,
        "credit": 7,
        "nice": 3,
        "umask": "027",
        "limits": {"nofile": 64, "as": [1024, "unlimited"]},
        "user": NOBODY,
        "group": 12,
        "uwsgi": True,
        "start_method": "forkserver",
        "preload": ["web.models"],
    }

    plan = plan_of(
        tmp_path,
        {"PATH": "/bin"},
        app="web.app",
        python_path=["."],
        touch_reload=["t"],
        mule=[mule],
        farm=[{"name": "all", "mules": [1]}],
    )

    assert plan.touch_reload == (str(tmp_path / "t"),)
    assert plan.mules == {
        1: MuleSpec(
            id=MuleId(1),
            name="busy",
            program="pkg.mod:run",
            app="web.app",
            farms=("all",),
            python_path=(str(tmp_path),),
            cwd=tmp_path / "sub",
            env={
                "PATH": "/bin",
                "PYMULE_SOCKET": str(tmp_path / "s.sock"),
                "OMP_NUM_THREADS": "1",
            },
            harakiri_s=30.0,
            stop_timeout_s=4.0,
            start_timeout_s=5.0,
            credit=7,
            nice=3,
            umask=0o027,
            limits={"nofile": (64, 64), "as": (1024, resource.RLIM_INFINITY)},
            uid=NOBODY,
            gid=12,
            uwsgi=True,
            start_method="forkserver",
            preload=("web.models",),
        )
    }


def test_a_mule_without_a_program_has_a_queue_if_hooks_may_want_it(
    tmp_path: Path,
) -> None:
    without = plan_of(tmp_path, mule=[{}])
    hooked = plan_of(tmp_path, mule=[{}, {"uwsgi": True}])

    assert list(without.queues) == []
    assert list(hooked.queues) == ["mule", "mule2"]


def test_names_of_users_are_looked_up(tmp_path: Path) -> None:
    name = pwd.getpwuid(os.getuid()).pw_name

    plan = plan_of(tmp_path, mule=[{"user": name}])

    assert plan.mules[MuleId(1)].uid == os.getuid()
    assert plan.mules[MuleId(1)].gid is None


def test_a_mule_is_in_the_farms_that_name_it(tmp_path: Path) -> None:
    farms = [{"name": "a", "mules": [1, 2]}, {"name": "b", "mules": [2]}]

    plan = plan_of(tmp_path, mule=[{"count": 3}], farm=farms)

    assert [spec.farms for spec in plan.mules.values()] == [("a",), ("a", "b"), ()]
    assert plan.mules[MuleId(2)].sources == ("mule2", "mule", "farm:a", "farm:b")


def test_each_queue_has_the_limits_and_the_policy_of_its_table(tmp_path: Path) -> None:
    keys = {
        "max_messages": 10,
        "max_bytes": 1000,
        "when_full": "refuse",
        "max_attempts": 2,
        "max_crashes": 1,
        "backoff_s": 0.25,
        "backoff_max_s": 8.0,
    }
    wanted = QueuePlan(Limits(10, 1000, True), DeliveryPolicy(2, 1, 0.25, 8.0))  # noqa: FBT003  (refuses)
    usual = QueuePlan(
        Limits(1_000_000, 256 * 1024 * 1024, False),  # noqa: FBT003  (refuses)
        DeliveryPolicy(5, 3, 0.5, 60.0),
    )
    program = {"program": "a:b"}

    for table, target in (("mule", "mule1"), ("farm", "farm:all"), ("shared", "mule")):
        mule = program | (keys if table == "mule" else {})
        farm = {"name": "all", "mules": [1]} | (keys if table == "farm" else {})
        shared = keys if table == "shared" else {}
        plan = plan_of(tmp_path, mule=[mule], farm=[farm], shared=shared)

        assert plan.queues == {
            name: wanted if name == target else usual
            for name in ("mule", "mule1", "farm:all")
        }


def test_a_mule_for_signals_only_has_no_queue(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, mule=[{}, {"program": "a:b"}])

    assert list(plan.queues) == ["mule", "mule2"]
    assert plan_of(tmp_path, mule=[{}]).queues == {}


def test_the_users_of_mules_may_send_like_those_that_are_named(
    tmp_path: Path,
) -> None:
    plan = plan_of(
        tmp_path,
        admin_users=[1],
        admin_groups=[2],
        allow_users=[1000],
        allow_groups=[50],
        reader_users=[3],
        reader_groups=[4],
        mule=[{"user": NOBODY}, {}],
    )

    assert plan.access == AccessRule(
        admins=Members(frozenset({1}), frozenset({2})),
        senders=Members(frozenset({1000, NOBODY}), frozenset({50})),
        readers=Members(frozenset({3}), frozenset({4})),
    )


def test_what_is_for_the_master_alone_reaches_no_mule(tmp_path: Path) -> None:
    environ = {
        "NOTIFY_SOCKET": "/n",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "PYMULE_MULE": "{}",
        "LANG": "C",
    }

    plan = plan_of(tmp_path, environ, mule=[{}])

    env = plan.mules[MuleId(1)].env
    assert env == {"LANG": "C", "PYMULE_SOCKET": str(tmp_path / "s.sock")}


def test_mules_are_told_where_the_socket_is_and_not_where_the_file_says(
    tmp_path: Path,
) -> None:
    settings = Settings.model_validate(
        {"socket": "new", "mule": [{}]}, context={"base_dir": tmp_path}
    )

    plan = make_plan(settings, {}, tmp_path / "old")

    assert plan.mules[MuleId(1)].env == {"PYMULE_SOCKET": str(tmp_path / "old")}
    assert plan.at_start["socket"] == tmp_path / "new"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("socket", "other"),
        ("socket_mode", "0600"),
        ("socket_group", 12),
        ("log_format", "json"),
        ("log_level", "debug"),
    ],
    ids=str,
)
def test_what_counts_at_the_start_only_is_kept_to_be_compared(
    key: str, value: object, tmp_path: Path
) -> None:
    before, after = plan_of(tmp_path), plan_of(tmp_path, {}, **{key: value})

    differing = [k for k in before.at_start if before.at_start[k] != after.at_start[k]]

    assert differing == [key]


def test_the_largest_frame_is_as_the_file_says(tmp_path: Path) -> None:
    assert plan_of(tmp_path, max_frame_bytes=262_144).max_frame_bytes == 262_144
    assert plan_of(tmp_path, max_clients=7).max_clients == 7


def test_functions_are_queued_like_messages_to_no_mule_in_particular(
    tmp_path: Path,
) -> None:
    plan = plan_of(tmp_path, shared={"max_messages": 7})

    assert plan.function.limits.max_messages == 7


def test_the_master_and_each_mule_know_whether_pickles_are_allowed(
    tmp_path: Path,
) -> None:
    for allow in (True, False):
        plan = plan_of(tmp_path, allow_pickle=allow, mule=[{}])

        assert plan.allow_pickle is allow
        assert plan.mules[MuleId(1)].welcome()["allow_pickle"] is allow
