"""Networks of a kind that was not met before: all is asked of the ops anew, as in the first analysis of a process.

What ops do to fields is kept from one network to the next, so other parts measure networks whose kind is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import networkx as nx

import rfgraph
from benchmarks import growth
from benchmarks.lines import Line
from benchmarks.measure import time_side_by_side
from benchmarks.passes import YARDSTICK, Pass, yardstick
from rfgraph.fast.interning import forget, table_of
from rfgraph.fast.lanes import lanes_of

Network = tuple[str, Callable[[], nx.DiGraph], int | None]

#: What each is called, how it is made, and its input size.
NETWORKS: tuple[Network, ...] = (
    ("resnet_v1_152", partial(rfgraph.load, "zoo:resnet_v1_152"), 224),
    ("resnet_v1_152", partial(rfgraph.load, "zoo:resnet_v1_152"), None),
    ("fpn", partial(rfgraph.load, "zoo:fpn"), 256),
    ("unet_bilinear", partial(rfgraph.load, "zoo:unet_bilinear"), 256),
    ("unet of 8 levels", partial(growth.unet, 8), None),
    ("unet of 8 levels", partial(growth.unet, 8), 1024),
    ("1 hourglass", partial(growth.hourglass, 1), None),
    ("8 hourglasses", partial(growth.hourglass, 8), None),
    ("8 hourglasses", partial(growth.hourglass, 8), 256),
)

#: A first time takes this many times as long as a later one, roughly: graphs are gone through less often.
_SLOWER = 10


def measure(runs: int, networks: Sequence[Network] = NETWORKS) -> list[Line]:
    """Return the lines of the table: all findings of each network when it is first met, and when it is met again."""
    lines = []
    for name, make, size in networks:
        graph = make()
        units = len(graph) + graph.number_of_edges()
        first = Pass("findings, first met", partial(_first_met, graph, size))
        again = Pass("findings, met again", partial(_findings, graph, size))
        base = yardstick(graph)
        _, *timings = time_side_by_side([again, first], base, len(graph) * _SLOWER, runs, collect=False)
        on = f"{name}, {'any size' if size is None else f'{size} pixels'}, {len(graph)} nodes"
        lines += [
            Line(
                one.name, on, timing.seconds, f"{timing.typical * 1e9 / units:,.0f} ns/(node+edge)", timing.ratios,
                YARDSTICK,
            )
            for one, timing in zip((again, first), timings, strict=True)
        ]  # fmt: skip
    return lines


def _first_met(graph: nx.DiGraph, size: int | None) -> tuple[rfgraph.Finding, ...]:
    for wide, by_residue in ((False, False), (True, False), (False, True)):
        forget(table_of(lanes_of(graph.graph["axes"], wide=wide, by_residue=by_residue)))
    return _findings(graph, size)


def _findings(graph: nx.DiGraph, size: int | None) -> tuple[rfgraph.Finding, ...]:
    return rfgraph.analyze(graph, size).findings
