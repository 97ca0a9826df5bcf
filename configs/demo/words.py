"""Count the words of each message: a program that is an ``async def``."""

from pymule import mule_get_msg


async def main() -> None:
    while True:
        # Asking for the next message tells the master that the last one is done.
        message = await mule_get_msg()
        print(f"{len(message.split())} words in {message.decode()!r}")
