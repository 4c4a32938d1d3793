"""``python -m apogaia.closure``: run the trials."""

import sys

from apogaia.closure.run import main

if __name__ == "__main__":
    sys.exit(main())
