"""The application, as a signal-only mule imports it for its handlers."""

from pymule import mule_id, signal, timer

print("application imported, waiting for signals")


@signal(17, target="mules")
def seventeen(number: int) -> None:
    """Run in every mule that imports this, whenever somebody raises signal 17."""
    print(f"signal {number} in mule {mule_id()}")


@timer(60, target="mule")
async def minutely(number: int) -> None:
    """Run in one of them, every 60 seconds after the start."""
    print(f"one minute more: signal {number} in mule {mule_id()}")
