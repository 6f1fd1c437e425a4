"""Plots by matplotlib: what people would rather look at than read.

Each function draws into ``ax``, a new figure's if none is given, and returns it; none shows anything. Numbers are those
that a report tells: nothing is worked out here but where things stand on paper. Only ``canvas`` knows matplotlib, which
it imports when something is drawn.
"""

from rfgraph.plot.depths import growth, latency
from rfgraph.plot.felt import effective
from rfgraph.plot.lengths import paths
from rfgraph.plot.maps import feature_maps, region, strongest, support
from rfgraph.plot.merges import alignment
from rfgraph.plot.published import accuracy
from rfgraph.plot.tiles import tiling

__all__ = [
    "accuracy",
    "alignment",
    "effective",
    "feature_maps",
    "growth",
    "latency",
    "paths",
    "region",
    "strongest",
    "support",
    "tiling",
]
