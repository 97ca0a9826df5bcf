"""``python -m benchmarks [NAME...]``: all questions, or those that are named."""

from typing import Final

from benchmarks import (
    cli,
    durable,
    idle,
    latency,
    locks,
    recovery,
    signals,
    throughput,
    timers,
)

__all__ = ("BENCHMARKS",)

BENCHMARKS: Final[dict[str, cli.Benchmark]] = {
    "throughput": throughput.answer,
    "latency": latency.answer,
    "recovery": recovery.answer,
    "durable": durable.answer,
    "locks": locks.answer,
    "signals": signals.answer,
    "timers": timers.answer,
    "idle": idle.answer,
}

if __name__ == "__main__":
    cli.main(BENCHMARKS)
