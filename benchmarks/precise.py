"""An event loop whose timers are good to some 0.1 ms, for those who send at a rate."""

import asyncio
import selectors

__all__ = ("precise_loop",)


def precise_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop.

    The timers of uvloop and of epoll(7) count whole milliseconds, those of select(2)
    microseconds.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
