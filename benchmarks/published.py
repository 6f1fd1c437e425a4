"""Published networks of the zoo, from the graph to all findings: at their input size, and at all sizes at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import networkx as nx

import rfgraph
from benchmarks.lines import Line
from benchmarks.measure import time_side_by_side
from benchmarks.passes import YARDSTICK, Pass, yardstick

#: Name in the zoo, and input size; without one, SAME padding is solved for all of them.
NETWORKS: tuple[tuple[str, int | None], ...] = (
    ("mobilenet_v1", 224),
    ("resnet_v1_152", 224),
    ("densenet_121", 224),
    ("inception_resnet_v2_same", 299),
    ("fpn", 256),
    ("unet_bilinear", 256),
    ("wavenet", 4096),
    ("mobilenet_v1", None),
    ("resnet_v1_152", None),
    ("inception_resnet_v2_same", None),
)


def measure(networks: Sequence[tuple[str, int | None]], runs: int) -> list[Line]:
    """Return the lines of the table."""
    lines = []
    for name, size in networks:
        graph = rfgraph.load(f"zoo:{name}")
        units = len(graph) + graph.number_of_edges()
        findings = Pass("findings", partial(_findings, graph, size))
        _, timing = time_side_by_side([findings], yardstick(graph), len(graph), runs, collect=False)
        on = f"{name}, {'any size' if size is None else f'{size} pixels'}, {len(graph)} nodes"
        each = f"{timing.typical * 1e9 / units:,.0f} ns/(node+edge)"
        lines.append(Line("findings", on, timing.seconds, each, timing.ratios, YARDSTICK))
    return lines


def _findings(graph: nx.DiGraph, size: int | None) -> tuple[rfgraph.Finding, ...]:
    return rfgraph.analyze(graph, size).findings
