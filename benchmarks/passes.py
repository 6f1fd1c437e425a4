"""What is measured: the steps of an analysis one by one, and the whole of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx

import rfgraph
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import Compiled, compile_graph
from rfgraph.passes.exact_outputs import exact_outputs
from rfgraph.passes.fold import between
from rfgraph.passes.moments import moments
from rfgraph.passes.results import Fields
from rfgraph.passes.weighing import Assumed
from rfgraph.questions import alignment, holes, latency

#: The yardstick, on the same graph in the same run.
YARDSTICK = "topological_sort"

#: Nodes beyond which findings are not measured.
LARGE = 10_000

#: Pixels of the image where sizes are worked out; without padding every layer takes some away.
INPUT_SIZE = 512
UNPADDED_SIZE = 1 << 17


@dataclass(frozen=True)
class Pass:
    """One thing to measure; what it needs is made beforehand, and it can be run again and again."""

    name: str
    run: Callable[[], object]


def yardstick(graph: nx.DiGraph) -> Pass:
    """Return ``list(nx.topological_sort(graph))``."""
    return Pass(YARDSTICK, lambda: list(nx.topological_sort(graph)))


def answers(graph: nx.DiGraph) -> list[Pass]:
    """Return what users ask for, from a networkx graph to the answer; the first two are the engine of record.

    Findings grow with the network as these do, and are left out where it is large.
    """
    quick = [
        Pass("aligned", lambda: rfgraph.analyze(graph).aligned),
        Pass("aligned, numbers()", lambda: _numbers(graph)),
    ]
    if len(graph) > LARGE:
        return quick
    size = _size(graph)
    return [
        *quick,
        Pass("findings", lambda: _analyzed(graph)),
        Pass("findings, read", lambda: _read(graph)),
        Pass("findings, sizes", lambda: _analyzed(graph, size)),
    ]


def passes(graph: nx.DiGraph) -> list[Pass]:
    """Return the passes over ``graph``: from the networkx graph, the steps after that, and all of it end to end.

    The forward and the reverse pass are of both axes, as in an analysis: axes that read alike share one pass there too.
    The reverse pass starts at the last node in topological order, which is the one output; its holes are looked for.
    Latency, and which outputs a tile computes as the whole image does, are told of one axis.
    """
    compiled = compile_graph(graph)
    source, output = compiled.layers.source(None), len(compiled.layers.nodes) - 1
    fields = _forward(compiled, source)
    modes: list[alignment.Mode] = ["auto"] * len(compiled.layers.axes)
    way, tile = between(compiled.layers, source, [output]), compile_graph(graph, _size(graph))
    return [
        Pass("compile", lambda: compile_graph(graph)),
        Pass("forward", lambda: _forward(compiled, source)),
        Pass("reverse", lambda: _each_axis(compiled, lambda axis: engine.reverse(compiled, axis, output))),
        Pass("alignment", lambda: alignment.find(compiled, fields, source, modes)),
        Pass("holes", lambda: holes.find(compiled, fields, source, [output])),
        Pass("effective sizes", lambda: moments(compiled, source, Assumed())),
        Pass("latency", lambda: latency.latency(compiled, 0, output, source)),
        Pass("exact outputs", lambda: exact_outputs(tile, 0, way)),
        Pass("analyze", lambda: _analyzed(graph)),
    ]


def _size(graph: nx.DiGraph) -> int:
    return UNPADDED_SIZE if graph.name == "unpadded" else INPUT_SIZE


def _forward(compiled: Compiled, source: int) -> list[Fields]:
    return _each_axis(compiled, lambda axis: engine.forward(compiled, axis, source))


def _each_axis(compiled: Compiled, run: Callable[[int], Fields]) -> list[Fields]:
    done: dict[int, Fields] = {}
    for axis, reads in enumerate(compiled.reads):
        if id(reads) not in done:
            done[id(reads)] = run(axis)
    return [done[id(reads)] for reads in compiled.reads]


def _numbers(graph: nx.DiGraph) -> tuple[bool | None, rfgraph.Numbers]:
    report = rfgraph.analyze(graph)
    return report.aligned, report.numbers()


def _read(graph: nx.DiGraph) -> list[object]:
    """Return where each finding is and what it says, but for advice, which solves parts of the network again."""
    findings = rfgraph.analyze(graph).findings
    return [(one.fork, one.offset) if isinstance(one, rfgraph.Misalignment) else one.node for one in findings]


def _analyzed(graph: nx.DiGraph, input_size: int | None = None) -> tuple[rfgraph.Report, int]:
    report = rfgraph.analyze(graph, input_size)
    return report, len(report.findings)
