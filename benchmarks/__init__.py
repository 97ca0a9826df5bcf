"""One file for each question; ``python -m benchmarks`` asks them all."""

__all__ = ()
