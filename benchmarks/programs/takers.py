"""What pymule's mules run when somebody else is looked at."""

from benchmarks.doorbell import Bell, Doorbell
from pymule import mule_get_msg

__all__ = ("on_call", "on_call_many", "ring", "swallow")


async def swallow() -> None:
    """Take whatever comes."""
    while True:
        await mule_get_msg()


async def ring() -> None:
    """Tell of each message that it was taken."""
    taken = Bell("taken")
    while True:
        await mule_get_msg()
        taken.ring()


async def on_call() -> None:
    """Take one message at each call, whatever is queued, and tell."""
    await _on_call("one", 1)


async def on_call_many() -> None:
    """Take a thousand messages at each call, and tell once."""
    await _on_call("many", 1000)


async def _on_call(name: str, messages: int) -> None:
    called, taken = Doorbell(f"called-{name}"), Bell(f"taken-{name}")
    while True:
        await called.heard()
        for _ in range(messages):
            await mule_get_msg()
        taken.ring()
