"""``python -m apogaia``: the same as the command ``apogaia``."""

import sys

from apogaia.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
