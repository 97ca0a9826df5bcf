"""uWSGI's numbered locks, over the locks of the master.

uWSGI's belong to a thread; so the token that a thread got is kept with it, and another
thread's ``unlock`` does nothing.
"""

import sys
import threading

from pymule.client import sync
from pymule.errors import NotHolderError

__all__ = ("is_locked", "lock", "unlock")


class _Tokens(threading.local):
    """What this thread holds: by lock, the token of its grant."""

    def __init__(self) -> None:
        self.by_number: dict[int, int] = {}


_tokens = _Tokens()


def _number(number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"lock {number!r}; allowed: an integer from 0")
    if number < 0:
        raise ValueError("Invalid lock number")
    return number


def lock(lock_num: int = 0, /) -> None:
    """Hold the lock; wait in line for it. Not recursive.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative.
    """
    number = _number(lock_num)
    _tokens.by_number[number] = sync.default_client().lock_acquire(number)


def unlock(lock_num: int = 0, /) -> None:
    """Give the lock to the next in line; nothing, if this thread has it not."""
    number = _number(lock_num)
    token = _tokens.by_number.pop(number, None)
    if token is None:
        return
    try:
        sync.default_client().lock_release(number, token)
    except NotHolderError as exc:
        # Lost with its connection, when the master was replaced.
        sys.stderr.write(f"uwsgi: unlock({number}): {exc}\n")


def is_locked(lock_num: int = 0, /) -> bool:
    """Whether anybody holds the lock."""
    return sync.is_locked(_number(lock_num))
