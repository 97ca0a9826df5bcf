"""What a mule with ``uwsgi = true`` does besides its program.

Loaded by the name of the module, since this is a floor above the mule's.
"""

from pymule.compat.finder import install
from pymule.compat.hooks import attend, begin
from pymule.compat.host import host
from pymule.sansio.verbs import JsonObject

__all__ = ("attend", "begin", "prepare")


def prepare(mule: JsonObject) -> None:
    """Let the program import ``uwsgi``, before anything of it is loaded.

    Args:
        mule: The ``mule`` object of the master's WELCOME.
    """
    host.mule = mule
    install()
