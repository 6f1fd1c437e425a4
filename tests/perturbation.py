"""What perturbation found that features read, held against their regions: the oracle of every format."""

from __future__ import annotations

import itertools
from typing import Any

import networkx as nx
import numpy as np

import rfgraph


def check_regions(graph: nx.DiGraph[Any], found: np.ndarray, exact: bool) -> None:
    """Hold the regions of the last node of a network against what its features were seen to read.

    Parameters
    ----------
    graph
        The network, with its sizes.
    found
        Which pixels each feature reads: booleans [*output positions, *input positions].
    exact
        Whether each region is the box of what is read, or only holds it.
    """
    node = list(graph)[-1]
    report = rfgraph.analyze(graph)
    axes = found.ndim // 2
    positions = found.shape[:axes]
    assert report[node].map_size == positions
    for index in itertools.product(*map(range, positions)):
        here = np.argwhere(found[index])
        box = report.region(node, index).box
        if len(here) == 0:
            assert not exact or box is None, (index, box)
            continue
        low, high = here.min(axis=0), here.max(axis=0)
        assert box is not None, index
        for axis in range(axes):
            want = (int(low[axis]), int(high[axis]))
            assert box[axis][0] <= want[0] <= want[1] <= box[axis][1], (index, axis, box, want)
            if exact:
                assert box[axis] == want, (index, axis, box[axis], want)
