"""``python -m pymule.mule``: what the master starts."""

import sys

from pymule.mule.program import main

if __name__ == "__main__":
    sys.exit(main())
