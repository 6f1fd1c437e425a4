"""Networks of any size to measure on: chains, unpadded and inception-like blocks, random DAGs, aligned and not.

They look like what importers make: string names, a dict of attributes per node, few distinct sets of attributes, slots
on the edges into merges. Each halves its maps five times at even distances, as published networks do, however long it
is; with more halvings a chain of a million layers would measure the multiplication of huge integers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import networkx as nx

SMALLEST = 30
HALVINGS = 5

#: Op and attributes of a layer.
Layer = tuple[str, dict[str, Any]]

#: Layers that keep the centre where it is.
CENTERED: tuple[Layer, ...] = (
    ("conv", {"kernel": 1, "channels": 64}),
    ("conv", {"kernel": 3, "padding": 1, "channels": 64}),
    ("conv", {"kernel": (1, 7), "padding": (0, 3), "channels": 64}),
    ("conv", {"kernel": (7, 1), "padding": (3, 0), "channels": 64}),
    ("conv", {"kernel": 3, "padding": 2, "dilation": 2, "channels": 64}),
    ("depthwise_conv", {"kernel": 5, "padding": 2, "channels": 64}),
    ("max_pool", {"kernel": 3, "stride": 1, "padding": 1}),
    ("avg_pool", {"kernel": 3, "stride": 1, "padding": 1}),
    ("batch_norm", {}),
    ("relu", {}),
)
#: Layers with an even kernel: each moves the centre by half a pixel of its map, one way or the other.
OFF_CENTER: tuple[Layer, ...] = (
    ("conv", {"kernel": 2, "padding": ((0, 1), (0, 1)), "channels": 64}),
    ("conv", {"kernel": 2, "padding": ((1, 0), (0, 1)), "channels": 64}),
)
HALVE: Layer = ("max_pool", {"kernel": 3, "stride": 2, "padding": 1})


class _Growing:
    """A network under construction that knows when it is time to halve its maps."""

    def __init__(self, name: str, nodes: int) -> None:
        if nodes < SMALLEST:
            raise ValueError(f"a network of {nodes} nodes is too small to have every part; take {SMALLEST} or more")
        self.graph = nx.DiGraph(name=name, axes=2)
        self.nodes = nodes
        self.halvings = 0

    def add(self, layer: Layer, *tails: str) -> str:
        """Add a layer that reads ``tails``, and return its name."""
        op, attributes = layer
        name = f"{op}_{len(self.graph)}"
        self.graph.add_node(name, op=op, **attributes)
        if len(tails) == 1:
            self.graph.add_edge(tails[0], name)
        else:
            for slot, tail in enumerate(tails):
                self.graph.add_edge(tail, name, slot=slot)
        return name

    @property
    def room(self) -> int:
        """Nodes still to add."""
        return self.nodes - len(self.graph)

    def halves_now(self) -> bool:
        """Whether the next layer is one that halves the map; counts it."""
        if self.halvings == HALVINGS or len(self.graph) < (self.halvings + 1) * self.nodes // (HALVINGS + 1):
            return False
        self.halvings += 1
        return True


def chain(nodes: int) -> nx.DiGraph:
    """Return a chain of ``nodes`` nodes: conv, batch norm and relu in turn; E = V - 1."""
    net = _Growing("chain", nodes)
    x = net.add(("input", {}))
    pattern = (CENTERED[1], CENTERED[8], CENTERED[9])
    while net.room:
        x = net.add(HALVE if net.halves_now() else pattern[len(net.graph) % 3], x)
    return net.graph


def unpadded(nodes: int) -> nx.DiGraph:
    """Return residual blocks without padding, as U-Nets on cells have them: what is added is cropped first."""
    square, crop = ("conv", {"kernel": 3, "channels": 64}), ("crop", {"padding": -2})
    net = _Growing("unpadded", nodes)
    x = net.add(("input", {}))
    while net.room:
        if net.halves_now():
            x = net.add(("max_pool", {"kernel": 2, "stride": 2}), x)
        elif net.room < 4:
            x = net.add(square, x)
        else:
            x = net.add(("add", {}), net.add(square, net.add(square, x)), net.add(crop, x))
    return net.graph


def inception(nodes: int) -> nx.DiGraph:
    """Return blocks of four branches that meet in a concat; nine nodes and twelve edges a block.

    One branch is factored into 1x7 and 7x1, as in Inception v3, so that the two axes read differently.
    """
    point, square, row, column, pool = (CENTERED[i] for i in (0, 1, 2, 3, 6))
    branches = ((point,), (point, square), (point, row, column), (pool, point))
    net = _Growing("inception", nodes)
    x = net.add(("input", {}))
    while net.room:
        if net.halves_now():
            x = net.add(HALVE, x)
        elif net.room < 9:
            x = net.add(square, x)
        else:
            ends = []
            for branch in branches:
                y = x
                for layer in branch:
                    y = net.add(layer, y)
                ends.append(y)
            x = net.add(("concat", {}), *ends)
    return net.graph


def random(nodes: int, seed: int = 0) -> nx.DiGraph:
    """Return a random DAG of ``nodes`` nodes, E about 1.3 V; merges line up though their branches differ in size."""
    return _random("random", nodes, seed, CENTERED)


def misaligned(nodes: int, seed: int = 0) -> nx.DiGraph:
    """Return a random DAG like ``random`` with even kernels in it: most of its merges are findings, the worst case."""
    return _random("misaligned", nodes, seed, CENTERED + OFF_CENTER)


def _random(name: str, nodes: int, seed: int, layers: tuple[Layer, ...]) -> nx.DiGraph:
    """Grow a DAG from a few open ends: layers go on from one, fork off behind one, or merge several.

    Layers read what was added lately at the same stride, so that strides agree; every node is read, but for the last.
    """
    draw = Random(seed)
    net = _Growing(name, nodes)
    x = net.add(("input", {}))
    unread = [x]
    recent = deque([x], maxlen=16)
    while net.room > 1:
        if net.room > 2 and net.halves_now():
            whole = net.add(("concat", {}), *unread) if len(unread) > 1 else unread[0]
            x = net.add(HALVE, whole)
            recent.clear()
            unread.clear()
        elif len(unread) > 6 or (len(recent) > 3 and draw.random() < 0.17):
            behind = [node for node in draw.sample(recent, 2) if node != unread[0]]
            tails = [unread[0], *behind[: draw.choice((1, 1, 2))]]
            x = net.add((draw.choice(("add", "concat", "mul", "max")), {}), *tails)
            unread[:] = [node for node in unread if node not in tails]
        else:
            tail = draw.choice(recent) if draw.random() < 0.17 else unread[0]
            x = net.add(draw.choice(layers), tail)
            unread[:] = [node for node in unread if node != tail]
        unread.append(x)
        recent.append(x)
    net.add(("concat", {}) if len(unread) > 1 else CENTERED[1], *unread)
    return net.graph


#: Name -> generator, from a number of nodes.
NETWORKS: dict[str, Callable[[int], nx.DiGraph]] = {
    "chain": chain,
    "unpadded": unpadded,
    "inception": inception,
    "random": random,
    "misaligned": misaligned,
}
