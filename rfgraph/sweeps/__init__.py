"""Architecture search: receptive fields, alignment and costs of millions of designs.

``sweep`` gives what ``rfgraph.analyze`` says of each design, as arrays; ``stream`` gives it chunk by chunk.
"""

from rfgraph.sweeps.columns import STATUS
from rfgraph.sweeps.entry import stream, sweep
from rfgraph.sweeps.results import MOST_MEMORY, Sweep

__all__ = ["MOST_MEMORY", "STATUS", "Sweep", "stream", "sweep"]
