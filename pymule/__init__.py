"""Mules for asyncio: processes beside a web application that take work off it.

The names below are loaded when they are first used, because every mule and every web
process imports this package, and most need only a few of them.
"""

import importlib
from typing import TYPE_CHECKING

from pymule.version import VERSION

if TYPE_CHECKING:
    from pymule.client.aio import Client
    from pymule.client.api import (
        farm_msg,
        farm_msgs,
        flush,
        is_locked,
        lock,
        mule_msg,
        mule_msgs,
        try_lock,
    )
    from pymule.client.mulefunc import mulefunc
    from pymule.client.signals import add_timer, cancel_timer, raise_signal
    from pymule.client.worker import Worker, worker
    from pymule.errors import (
        BadCallError,
        ConfigError,
        ConnectionLostError,
        DrainingError,
        LeaseLostError,
        MasterUnavailableError,
        MessageTooBigError,
        NoFreeSignalError,
        NoHandlerError,
        NotHolderError,
        NotInMuleError,
        PymuleError,
        QueueFullError,
        RefusedError,
        SignalConflictError,
        StorageFullError,
        UnknownTargetError,
        UnsupportedError,
    )
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
    from pymule.hooks import after_fork
    from pymule.mule.api import (
        farm_get_msg,
        messages,
        mule_get_msg,
        receive,
        signal_wait,
    )
    from pymule.mule.message import Message
    from pymule.mule.process import in_farm, mule_id
    from pymule.sansio.options import OptionWords
    from pymule.verdicts import Reject, Retry

__all__ = (
    "BadCallError",
    "ChangedFiles",
    "Client",
    "ConfigError",
    "ConnectionLostError",
    "DrainingError",
    "LeaseLostError",
    "MasterUnavailableError",
    "Message",
    "MessageTooBigError",
    "NoFreeSignalError",
    "NoHandlerError",
    "NotHolderError",
    "NotInMuleError",
    "OptionWords",
    "PymuleError",
    "QueueFullError",
    "RefusedError",
    "Reject",
    "Retry",
    "SignalConflictError",
    "StorageFullError",
    "UnknownTargetError",
    "UnsupportedError",
    "Worker",
    "add_timer",
    "after_fork",
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
    "timer",
    "try_lock",
    "worker",
)

__version__ = VERSION

_HOMES = {
    "pymule.client.aio": ("Client",),
    "pymule.client.mulefunc": ("mulefunc",),
    "pymule.client.signals": ("add_timer", "cancel_timer", "raise_signal"),
    "pymule.client.worker": ("Worker", "worker"),
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
    "pymule.hooks": ("after_fork",),
    "pymule.mule.api": (
        "farm_get_msg",
        "messages",
        "mule_get_msg",
        "receive",
        "signal_wait",
    ),
    "pymule.client.api": (
        "farm_msg",
        "farm_msgs",
        "flush",
        "is_locked",
        "lock",
        "mule_msg",
        "mule_msgs",
        "try_lock",
    ),
    "pymule.mule.message": ("Message",),
    "pymule.mule.process": ("in_farm", "mule_id"),
    "pymule.sansio.options": ("OptionWords",),
    "pymule.verdicts": ("Reject", "Retry"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'pymule' has no attribute {name!r}")
    module = importlib.import_module(_HOME_OF.get(name, "pymule.errors"))
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
