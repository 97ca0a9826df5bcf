"""What an application loads before its first message, asyncio first.

Started by :mod:`benchmarks.instructions` as :mod:`benchmarks.programs.guarded` is; the
word ``planted`` loads something that it need not.
"""

# The order is what is counted.
# ruff: noqa: E402
import importlib
import os
import sys

os.getppid()
import asyncio  # noqa: F401

os.getppid()
import pymule

__all__ = ("NAMES",)

NAMES: tuple[object, ...] = (pymule.farm_msg, pymule.Client, pymule.mule_get_msg)

if "planted" in sys.argv:
    for name in ("pathlib", "pickle"):
        importlib.import_module(name)

os.getppid()
