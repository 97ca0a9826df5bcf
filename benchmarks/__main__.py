"""``python -m benchmarks [NAME...]``: all questions, or those that are named."""

from benchmarks import cli
from benchmarks.catalog import benchmarks

__all__ = ()

if __name__ == "__main__":
    cli.main(benchmarks())
