"""The two passes: what every node reads of one source, and what one output reads of every ancestor.

Both visit each edge once. Where an edge reads a whole axis it is cut and marked instead, so that a network with a gate
or a global branch keeps the local field that it has besides.
"""

from __future__ import annotations

from rfgraph.algebra.window import EMPTY, IDENTITY, Window
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.results import Fields


def forward(compiled: Compiled, axis: int, source: int) -> Fields:
    """Return the field of every node at ``source``; ``EMPTY`` at nodes that do not depend on it."""
    layers = compiled.layers
    local = [EMPTY] * len(layers.nodes)
    is_global = [False] * len(layers.nodes)
    local[source] = IDENTITY
    for v, (tails, reads) in enumerate(zip(layers.tails, compiled.reads[axis], strict=True)):
        if v <= source:  # ids are in topological order
            continue
        field = EMPTY
        for tail, read in zip(tails, reads, strict=True):
            inner = local[tail]
            if read.kind == "full":
                is_global[v] |= inner.kind != "empty" or is_global[tail]
                continue
            is_global[v] |= is_global[tail] and read.kind != "empty"
            if inner.kind != "empty":
                # Of two causes the first is the one to tell: it names its node already.
                field = field.hull(inner if inner.kind == read.kind == "unknown" else read.through(inner))
        if field.kind == "unknown" and not any(local[tail].kind == "unknown" for tail in tails):
            field = _blamed(compiled, v, axis, field)
        local[v] = field
    return Fields(local, is_global)


def reverse(compiled: Compiled, axis: int, output: int) -> Fields:
    """Return the field of ``output`` at every node; ``EMPTY`` at nodes that it does not depend on.

    References
    ----------
    Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.
    """
    layers = compiled.layers
    local = [EMPTY] * len(layers.nodes)
    is_global = [False] * len(layers.nodes)
    local[output] = IDENTITY
    for v in range(output, -1, -1):
        outer = local[v]
        if outer.kind == "empty" and not is_global[v]:
            continue
        for tail, read in zip(layers.tails[v], compiled.reads[axis][v], strict=True):
            if read.kind == "full":
                is_global[tail] = True
                continue
            is_global[tail] |= is_global[v] and read.kind != "empty"
            field = local[tail].hull(outer.through(read))
            if field.kind == "unknown" and local[tail].kind != "unknown" and outer.kind != "unknown":
                field = _blamed(compiled, v if read.kind == "unknown" else tail, axis, field)
            local[tail] = field
    return Fields(local, is_global)


def _blamed(compiled: Compiled, v: int, axis: int, field: Window) -> Window:
    return Window.unknown(f"{compiled.layers.describe(v, axis)}: {field.why}")
