"""Which mule this process is, if it is one."""

from pymule.errors import NotInMuleError
from pymule.mule.runtime import Runtime

__all__ = ("in_farm", "mule_id", "runtime", "set_runtime")

_runtime: Runtime | None = None


def set_runtime(current: Runtime | None) -> None:
    """Make this process a mule, once, before its program runs."""
    global _runtime  # noqa: PLW0603  (a process is one mule or none)
    _runtime = current


def runtime(caller: str) -> Runtime:
    """Return the runtime of this mule.

    Raises:
        NotInMuleError: This process is not a mule; names *caller*.
    """
    if _runtime is None:
        raise NotInMuleError(caller)
    return _runtime


def mule_id() -> int:
    """Return the number of this mule, or 0 outside of one."""
    return 0 if _runtime is None else _runtime.link.mule_id


def in_farm(name: str) -> bool:
    """Tell whether this process is a mule of the farm *name*."""
    return _runtime is not None and name in _runtime.link.farms
