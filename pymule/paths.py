"""Where the socket is when nobody says; the master and its clients ask the same rule.

Kept apart from the configuration, because clients must not load pydantic, nor pathlib,
which costs 3 ms on Python 3.11.
"""

from collections.abc import Mapping

__all__ = ("default_socket",)


def default_socket(environ: Mapping[str, str], uid: int) -> str:
    """Return the socket that a daemon of *uid* makes and its clients look for.

    Never in ``/tmp``, where anyone may put a socket of that name first. Without a
    (absolute) ``XDG_RUNTIME_DIR`` it is the place where systemd would have put it.
    """
    if uid == 0:
        return "/run/pymule/pymule.sock"
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/"):
        runtime = f"/run/user/{uid}"
    return f"{runtime}/pymule.sock"
