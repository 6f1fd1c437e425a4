"""A network made ready for the passes: for each axis, the window that each node reads of each of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import networkx as nx

from rfgraph.algebra.window import Window
from rfgraph.frozen import dataclass
from rfgraph.graph import sizes as shapes
from rfgraph.graph.network import BatchNorm, OrderedNetwork, read
from rfgraph.graph.treatments import Treat
from rfgraph.ops import Size
from rfgraph.passes.fold import between

Result = TypeVar("Result")

Reads = list[tuple[Window, ...]]


@dataclass(frozen=True)
class Compiled:
    """What the passes walk over; node ids are in topological order."""

    layers: OrderedNetwork
    sizes: list[tuple[Size, ...]]  # [V][A]
    reads: list[Reads]  # [A][V][slots]; axes that read alike share one list

    def per_axis(self, solve: Callable[[int], Result]) -> list[Result]:
        """Return ``solve`` of every axis, which is called once for axes that read alike."""
        results: list[Result] = []
        for axis, reads in enumerate(self.reads):
            same = next((other for other in range(axis) if self.reads[other] is reads), None)
            results.append(solve(axis) if same is None else results[same])
        return results

    def between(self, nodes: Sequence[int], source: int) -> list[int]:
        """Return the ids of all nodes on paths from ``source`` to any of ``nodes``, all included, in topological order.

        It is empty if there is no such path.
        """
        return between(self.layers, source, nodes)


def compile_graph(
    graph: nx.DiGraph[Any],
    input_size: shapes.InputSize = None,
    treat: Treat | None = None,
    batch_norm: BatchNorm = "inference",
) -> Compiled:
    """Check ``graph``, work out the sizes of its maps and the windows of its ops."""
    return compile_layers(read(graph, treat, batch_norm), input_size)


def compile_layers(layers: OrderedNetwork, input_size: shapes.InputSize = None) -> Compiled:
    """Work out the sizes of the maps of a checked network and the windows of its ops."""
    return compile_sized(layers, shapes.infer(layers, input_size))


def compile_sized(layers: OrderedNetwork, sizes: list[tuple[Size, ...]]) -> Compiled:
    """Work out the windows of the ops of a network whose maps have ``sizes``, [V][A]."""
    reads: list[Reads] = []
    for axis in range(len(layers.axes)):
        same = next((other for other in range(axis) if _alike(layers, sizes, other, axis)), None)
        reads.append(_reads(layers, sizes, axis) if same is None else reads[same])
    return Compiled(layers, sizes, reads)


def _alike(layers: OrderedNetwork, sizes: list[tuple[Size, ...]], a: int, b: int) -> bool:
    return all(ops[a] == ops[b] for ops in layers.distinct.values()) and all(size[a] == size[b] for size in sizes)


def _reads(layers: OrderedNetwork, sizes: list[tuple[Size, ...]], axis: int) -> Reads:
    known: dict[tuple[int, tuple[Size, ...]], tuple[Window, ...]] = {}
    alike = {key for key, ops in layers.distinct.items() if ops[axis].arity == "one" and not ops[axis].heeds_size}
    reads: Reads = []
    for ops, tails in zip(layers.ops, layers.tails, strict=True):
        inputs = tuple([sizes[tail][axis] for tail in tails])
        key = id(ops), () if id(ops) in alike else inputs
        windows = known.get(key)
        if windows is None:
            windows = known[key] = tuple(ops[axis].reads(slot, inputs) for slot in range(len(tails)))
        reads.append(windows)
    return reads
