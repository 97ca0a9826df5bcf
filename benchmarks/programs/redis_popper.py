"""Takes from a Redis list, one BRPOP a message."""

from typing import Final

from redis import Redis

from benchmarks.libraries.lines import BUSY, redis_url

__all__ = ("main",)

_FOREVER: Final = 0


def main() -> None:
    """Take until the round ends."""
    with Redis.from_url(redis_url()) as client:
        while True:
            client.brpop([BUSY], _FOREVER)


if __name__ == "__main__":
    main()
