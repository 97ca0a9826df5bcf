"""From checked settings to what the master opens and starts."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pymule.config import (
    FarmConfig,
    MuleConfig,
    QueueConfig,
    Settings,
    group_id,
    user_id,
)
from pymule.master.forkserver import ForkserverSpec
from pymule.master.generation import MuleSpec
from pymule.master.roles import AccessRule, Members
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import Durability
from pymule.sansio.supervision import RestartPolicy
from pymule.sansio.target import MuleId

__all__ = ("Patience", "Plan", "QueuePlan", "farm_names", "make_plan")

# Variables of the master's environment that mean the master only.
_MASTERS_OWN: Final = (
    "PYMULE_MULE",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
)
_AT_START: Final = (
    "state_dir",
    "socket",
    "socket_mode",
    "socket_group",
    "log_format",
    "log_level",
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may take, in seconds.

    Args:
        hello_s: From its connect to its HELLO.
        frame_s: From the first byte of a frame to the last.
        stall_s: For reading, once what it is sent does not leave any more.
        rest_s: Longest that one is held back at its connect for work that it made;
            beyond that it is refused.
    """

    hello_s: float = 5.0
    frame_s: float = 30.0
    stall_s: float = 60.0
    rest_s: float = 2.0


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """The limits and the policy of one queue."""

    limits: Limits
    policy: DeliveryPolicy
    keeping: Keeping = field(default_factory=Keeping)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the master is to be, with all names looked up."""

    mules: Mapping[MuleId, MuleSpec]
    queues: Mapping[str, QueuePlan]
    access: AccessRule
    max_frame_bytes: int
    restarts: RestartPolicy
    max_clients: int = 1000
    # For what all clients have in transit.
    transit_bytes: int = 256 * 1024 * 1024
    # Absolute paths; a change of one is a reload.
    touch_reload: tuple[str, ...] = ()
    # Of each function that a mule has.
    function: QueuePlan = QueuePlan(Limits(), DeliveryPolicy())
    allow_pickle: bool = False
    state_dir: Path | None = None
    on_damage: Literal["refuse", "salvage"] = "refuse"
    patience: Patience = Patience()
    # How many forkservers they need, once none of an earlier reload is left.
    forkserver_count: int = 0
    # Settings that count at the start only, to tell when a reload changes them.
    at_start: Mapping[str, object] = field(default_factory=dict)

    @property
    def needs_journal(self) -> bool:
        """Whether a queue is to survive the master."""
        return any(
            queue.keeping.durability is not Durability.MEMORY
            for queue in (*self.queues.values(), self.function)
        )


def make_plan(
    settings: Settings, environ: Mapping[str, str], socket: Path | None = None
) -> Plan:
    """Return what *settings* ask for, in an environment like *environ*.

    Args:
        settings: Checked, so that every name in it is known.
        environ: What the mules inherit, but for what is the master's own.
        socket: Where clients find the master, if not where *settings* say.
    """
    environ = {key: value for key, value in environ.items() if key not in _MASTERS_OWN}
    environ["PYMULE_SOCKET"] = os.fspath(socket or settings.socket)
    farms = _farms_by_mule(settings.farm)
    mules = {
        number: _mule_spec(number, config, settings, environ, tuple(farms[number]))
        for number, config in settings.mules()
    }
    return Plan(
        mules=mules,
        queues=_queues(settings),
        access=_access(settings, mules.values()),
        max_frame_bytes=settings.max_frame_bytes,
        restarts=RestartPolicy(),
        max_clients=settings.max_clients,
        function=_queue_plan(settings.shared),
        allow_pickle=settings.allow_pickle,
        state_dir=settings.state_dir,
        on_damage=settings.on_damage,
        touch_reload=tuple(map(str, settings.touch_reload)),
        forkserver_count=len(
            {
                ForkserverSpec.of(spec, 0)
                for spec in mules.values()
                if spec.start_method == "forkserver"
            }
        ),
        at_start={key: getattr(settings, key) for key in _AT_START},
    )


def farm_names(plan: Plan) -> list[str]:
    """Return what the farms of *plan* are called."""
    return [name[5:] for name in plan.queues if name.startswith("farm:")]


def _access(settings: Settings, mules: Iterable[MuleSpec]) -> AccessRule:
    senders = _members(settings.allow_users, settings.allow_groups)
    # A program in a mule sends by the socket, under whatever user it runs.
    of_mules = {spec.uid for spec in mules if spec.uid is not None}
    return AccessRule(
        admins=_members(settings.admin_users, settings.admin_groups),
        senders=Members(senders.users | of_mules, senders.groups),
        readers=_members(settings.reader_users, settings.reader_groups),
    )


def _members(users: Iterable[str | int], groups: Iterable[str | int]) -> Members:
    return Members(frozenset(map(user_id, users)), frozenset(map(group_id, groups)))


def _queues(settings: Settings) -> dict[str, QueuePlan]:
    queues: dict[str, QueuePlan] = {}
    if any(_takes_messages(config) for _, config in settings.mules()):
        queues["mule"] = _queue_plan(settings.shared)
    for number, config in settings.mules():
        if _takes_messages(config):
            queues[f"mule{number}"] = _queue_plan(config.queue)
    for farm in settings.farm:
        queues[f"farm:{farm.name}"] = _queue_plan(farm.queue)
    return queues


def _takes_messages(config: MuleConfig) -> bool:
    """Whether a mule may ask for messages; those for another would wait for ever."""
    # In a signal-only mule, uWSGI's hooks take them.
    return config.program is not None or config.uwsgi


def _queue_plan(config: QueueConfig) -> QueuePlan:
    return QueuePlan(
        Limits(config.max_messages, config.max_bytes, config.when_full == "refuse"),
        DeliveryPolicy(
            config.max_attempts,
            config.max_crashes,
            config.backoff_s,
            config.backoff_max_s,
            config.jitter,
        ),
        Keeping(
            Durability(config.durability), config.dead_max_messages, config.dedupe_s
        ),
    )


def _mule_spec(
    number: MuleId,
    config: MuleConfig,
    settings: Settings,
    environ: Mapping[str, str],
    farms: tuple[str, ...],
) -> MuleSpec:
    return MuleSpec(
        id=number,
        name=config.name,
        program=config.program,
        app=settings.app,
        farms=farms,
        python_path=tuple(map(str, settings.python_path)),
        cwd=config.cwd,
        env={**environ, **config.env},
        harakiri_s=config.harakiri_s,
        stop_timeout_s=config.stop_timeout_s,
        start_timeout_s=config.start_timeout_s,
        credit=config.credit,
        nice=config.nice,
        umask=config.umask,
        limits=config.limits,
        uid=None if config.user is None else user_id(config.user),
        gid=None if config.group is None else group_id(config.group),
        uwsgi=config.uwsgi,
        allow_pickle=settings.allow_pickle,
        start_method=settings.start_method_of(config),
        preload=settings.preload_of(config),
    )


def _farms_by_mule(farms: tuple[FarmConfig, ...]) -> defaultdict[MuleId, list[str]]:
    """Return the farms of each mule that is in one, in their order."""
    found: defaultdict[MuleId, list[str]] = defaultdict(list)
    for farm in farms:
        for number in farm.mules:
            found[number].append(farm.name)
    return found
