"""``python -m pymule.mule``: what the master starts."""

import gc
import sys

if __name__ == "__main__":
    # What the imports make is no garbage; to look for some takes 5 % of a start.
    gc.disable()
    from pymule.mule.program import main

    sys.exit(main())
