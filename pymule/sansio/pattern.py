"""Regular expressions that cost nothing until they are used.

To compile one takes up to 2 ms, which every mule and every web process would pay.
"""

import re
from collections.abc import Callable

__all__ = ("Pattern",)


class Pattern:
    """A regular expression, compiled when a text is first compared with it.

    Attributes:
        pattern: As it was written.
        fullmatch: As :meth:`re.Pattern.fullmatch`.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.fullmatch: Callable[[str], re.Match[str] | None] = self._compare_first

    def _compare_first(self, text: str) -> re.Match[str] | None:
        self.fullmatch = re.compile(self.pattern).fullmatch
        return self.fullmatch(text)
