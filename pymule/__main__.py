"""``python -m pymule``: the daemon, as ``pymuled``."""

from pymule.cli.pymuled import main

if __name__ == "__main__":
    main()
