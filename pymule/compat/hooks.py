"""What runs in a mule without a program: the hooks that a program has set.

Most are plain attributes of the module ``uwsgi``, so they are read there when they are
due, and not before.
"""

import atexit
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pymule.compat.host import host
from pymule.errors import NotInMuleError
from pymule.mule.process import runtime

__all__ = ("attend", "begin", "dispatch", "extra_hooks", "hooks", "hooks_changed")

_MODULE: Final = "pymule.compat.uwsgi"

Hook = Callable[[bytes], object]

extra_hooks: Final[list[Hook]] = []
"""What ``install_mule_msg_hook`` installed, in its order."""


def _attribute(name: str) -> Callable[..., object] | None:
    """Return what the program assigned to ``uwsgi.NAME``, if it did."""
    module = sys.modules.get(_MODULE)
    value: object = None if module is None else vars(module).get(name)
    return value if callable(value) else None


def hooks() -> list[Hook]:
    """Return who wants the messages of a mule without a program."""
    first = _attribute("mule_msg_hook")
    return [*([] if first is None else [first]), *extra_hooks]


def hooks_changed() -> None:
    """Let a mule that waits without a hook look up."""
    # In a client, or while a mule loads its program, nobody waits.
    with suppress(NotInMuleError):
        runtime("mule_msg_hook").nudge_main_thread()


def dispatch(message: bytes) -> None:
    """Give *message* to every hook; what one raises is printed."""
    for hook in hooks():
        try:
            hook(message)
        except Exception:  # noqa: BLE001  (the user's code)
            traceback.print_exc()


def begin(*, is_loaded: bool) -> None:
    """The handlers of a mule are registered: run what waited for that.

    Args:
        is_loaded: Whether its application is, too, so that hooks are set.
    """
    host.begin()
    if is_loaded:
        _post_fork()


def _post_fork() -> None:
    hook = _attribute("post_fork_hook")
    if hook is None:
        return
    try:
        hook()
    except Exception:  # noqa: BLE001  (the user's code)
        traceback.print_exc()


def attend() -> None:
    """Run handlers, and messages once there is a hook; for ever.

    Without a hook no message is asked for, so none is taken from mules that would know
    what to do with it.
    """
    _post_fork()
    here = runtime("attend")
    while True:
        if hooks():
            dispatch(here.get_blocking(True, None))  # noqa: FBT003  (the key of a lane)
        else:
            here.signals.run_one(None, None, unless=hooks)


@atexit.register
def _at_exit() -> None:
    if (hook := _attribute("atexit")) is not None:
        hook()
