"""``python -m rfgraph``."""

import sys

from rfgraph.cli import main

if __name__ == "__main__":
    sys.exit(main())
