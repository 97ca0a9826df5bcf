"""The version of this package, told by commands and by the master."""

from typing import Final

__all__ = ("VERSION",)

VERSION: Final = "0.1.0"
