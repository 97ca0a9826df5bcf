"""What the decorators put into mules: brains, functions, and the ends of them."""

import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Final

from pymule.compat.hooks import extra_hooks, hooks_changed
from pymule.compat.host import host
from pymule.mule.sync import receive

__all__ = (
    "Brain",
    "Function",
    "farm_loop",
    "mule_brain",
    "mule_brainloop",
    "mule_functions",
    "mule_msg_dispatcher",
    "mulemsg_loop",
    "note_function",
    "pack_call",
    "postfork_chain",
    "postfork_chain_hook",
)

Function = Callable[..., object]
Brain = Callable[[], object]

_SERVICE: Final = "uwsgi_mulefunc"

mule_functions: Final[dict[str, Function]] = {}
"""What ``@mulefunc`` decorated, by its bare name."""

postfork_chain: Final[list[Brain]] = []
"""What runs in each mule once its application is loaded, in this order."""


def postfork_chain_hook() -> None:
    """Run the chain; what one raises is printed, and the next one runs."""
    for function in postfork_chain:
        try:
            function()
        except Exception:  # noqa: BLE001  (the user's code)
            traceback.print_exc()


def note_function(function: Function) -> str:
    """Let messages call *function* in this process; return by which name."""
    name = getattr(function, "__name__", type(function).__name__)
    mule_functions[name] = function
    # Only now, so that a mule without such functions takes no messages.
    if mule_msg_dispatcher not in extra_hooks:
        extra_hooks.append(mule_msg_dispatcher)
        hooks_changed()
    return name


def pack_call(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
    """Return the message that calls the function *name*, as uWSGI has it."""
    return pickle.dumps(
        {"service": _SERVICE, "func": name, "args": args, "kwargs": kwargs}
    )


def mule_msg_dispatcher(message: bytes) -> None:
    """Call the function that *message* names; what is no pickle is not for us.

    Raises:
        LookupError: There is no such function in this process.
    """
    try:
        # Programs for uWSGI send pickles; who may write to the socket may run code.
        call: object = pickle.loads(message)  # noqa: S301
    except pickle.UnpicklingError:
        return
    match call:
        case {
            "service": "uwsgi_mulefunc",
            "func": str(name),
            "args": tuple(args),
            "kwargs": dict(kwargs),
        }:
            function = mule_functions.get(name)
            if function is None:
                known = ", ".join(sorted(mule_functions)) or "none"
                raise LookupError(f"no @mulefunc {name!r} in this mule; known: {known}")
            function(*args, **kwargs)
        case _:
            return


class mule_brain:  # noqa: N801  (uWSGI's name, as are the next)
    """Runs a function in one mule, once; an error ends the mule."""

    def __init__(self, f: Function, num: int) -> None:
        self.f = f
        self.num = num

    def is_here(self) -> bool:
        """Whether this process is that mule."""
        return host.mule_id == self.num

    def run(self) -> None:
        """Do what this is for, in the mule."""
        self.f()

    def __call__(self) -> None:
        """Run, if this is the mule.

        Raises:
            SystemExit: The function raised; the mule is started again.
        """
        if not self.is_here():
            return
        try:
            self.run()
        except Exception as exc:
            sys.excepthook(type(exc), exc, exc.__traceback__)
            raise SystemExit(1) from exc


class mule_brainloop(mule_brain):  # noqa: N801
    """Runs a function in one mule, again and again."""

    def run(self) -> None:
        """Do so for ever."""
        while True:
            self.f()


class mulemsg_loop(mule_brain):  # noqa: N801
    """Runs a function in one mule for each message.

    One that raises is printed, and its message tried again, as any that failed.
    """

    # Of which farm; None is all that the mule may take.
    farm: str | None = None

    def run(self) -> None:
        """Do so for ever."""
        while True:
            try:
                with receive(self.farm) as message:
                    if message.body:
                        self.f(message.body)
            except Exception:  # noqa: BLE001  (the user's code)
                traceback.print_exc()


class farm_loop(mulemsg_loop):  # noqa: N801
    """Runs a function in the mules of a farm for each message of that farm."""

    def __init__(self, f: Function, farm: str | bytes) -> None:
        super().__init__(f, 0)
        self.farm = farm.decode() if isinstance(farm, bytes) else farm

    def is_here(self) -> bool:
        """Whether this process is a mule of the farm."""
        return self.farm in host.farms
