"""The application of uWSGI: its master imports it, and mule 1 has the handler."""

import importlib
from time import monotonic
from typing import Final

from benchmarks.marks import Marks

__all__ = ("NUMBER",)

NUMBER: Final = 17

_marks = Marks()


def handle(_number: int) -> None:
    """Note when it runs."""
    at = monotonic()
    _marks.add(at)


# Exists only inside uWSGI.
importlib.import_module("uwsgi").register_signal(NUMBER, "mule1", handle)
