"""``python -m rfgraph``."""

import sys

from rfgraph.cli import run

if __name__ == "__main__":
    sys.exit(run())
