"""The blocking twins of the names in :mod:`pymule`, for any thread.

Loaded when they are first used, so that a mule that only receives does not load the
client, nor a script that only sends the mule.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymule.client.mulefunc import mulefunc
    from pymule.client.sync import (
        Client,
        add_timer,
        cancel_timer,
        farm_msg,
        farm_msgs,
        flush,
        is_locked,
        lock,
        mule_msg,
        mule_msgs,
        raise_signal,
        try_lock,
    )
    from pymule.client.worker import start_worker
    from pymule.handlers import (
        ChangedFiles,
        changed_files,
        cron,
        filemon,
        mstimer,
        rbtimer,
        signal,
        timer,
    )
    from pymule.mule.process import in_farm, mule_id
    from pymule.mule.sync import (
        farm_get_msg,
        messages,
        mule_get_msg,
        receive,
        signal_wait,
    )
    from pymule.verdicts import Reject, Retry

__all__ = (
    "ChangedFiles",
    "Client",
    "Reject",
    "Retry",
    "add_timer",
    "cancel_timer",
    "changed_files",
    "cron",
    "farm_get_msg",
    "farm_msg",
    "farm_msgs",
    "filemon",
    "flush",
    "in_farm",
    "is_locked",
    "lock",
    "messages",
    "mstimer",
    "mule_get_msg",
    "mule_id",
    "mule_msg",
    "mule_msgs",
    "mulefunc",
    "raise_signal",
    "rbtimer",
    "receive",
    "signal",
    "signal_wait",
    "start_worker",
    "timer",
    "try_lock",
)

_HOMES = {
    "pymule.client.mulefunc": ("mulefunc",),
    "pymule.client.sync": (
        "Client",
        "add_timer",
        "cancel_timer",
        "farm_msg",
        "farm_msgs",
        "flush",
        "is_locked",
        "lock",
        "mule_msg",
        "mule_msgs",
        "raise_signal",
        "try_lock",
    ),
    "pymule.client.worker": ("start_worker",),
    "pymule.handlers": (
        "ChangedFiles",
        "changed_files",
        "cron",
        "filemon",
        "mstimer",
        "rbtimer",
        "signal",
        "timer",
    ),
    "pymule.mule.process": ("in_farm", "mule_id"),
    "pymule.mule.sync": (
        "farm_get_msg",
        "messages",
        "mule_get_msg",
        "receive",
        "signal_wait",
    ),
    "pymule.verdicts": ("Reject", "Retry"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'pymule.sync' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
