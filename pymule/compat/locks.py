"""uWSGI's numbered locks, over the locks of the master.

uWSGI's belong to a thread; so the token that a thread got is kept with it, and another
thread's ``unlock`` does nothing.
"""

import sys
import threading

from pymule.compat.host import ask
from pymule.errors import RefusedError

__all__ = ("is_locked", "lock", "unlock")


class _Tokens(threading.local):
    """What this thread holds: by lock, its token."""

    def __init__(self) -> None:
        self.by_name: dict[str, object] = {}


_tokens = _Tokens()


def _name(number: int) -> str:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"lock {number!r}; allowed: an integer from 0")
    if number < 0:
        raise ValueError("Invalid lock number")
    return str(number)


def lock(lock_num: int = 0, /) -> None:
    """Hold the lock; wait in line for it. Not recursive.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative.
    """
    name = _name(lock_num)
    answer = ask("lock", name=name, ttl=None, wait=True)
    _tokens.by_name[name] = answer["token"]


def unlock(lock_num: int = 0, /) -> None:
    """Give the lock to the next in line; nothing, if this thread has it not."""
    name = _name(lock_num)
    token = _tokens.by_name.pop(name, None)
    if token is None:
        return
    try:
        ask("unlock", name=name, token=token)
    except RefusedError as exc:
        # Lost with its connection, when the master was replaced.
        sys.stderr.write(f"uwsgi: unlock({name}): {exc}\n")


def is_locked(lock_num: int = 0, /) -> bool:
    """Whether anybody holds the lock."""
    return bool(ask("is_locked", name=_name(lock_num))["locked"])
