"""Which nodes are the outputs of a network: those that its model returns, or else its last maps."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from rfgraph.errors import SizeError
from rfgraph.graph.network import OrderedNetwork
from rfgraph.ops import Op


def outputs(layers: OrderedNetwork) -> dict[Hashable, int]:
    """Return the node id of every output, by its name.

    They are what the model returns, where the graph says so (attribute ``outputs``), as far as it has spatial axes. In
    place of an output without any, such as class scores or the boxes of all levels in one list, stand the last maps
    that it is made of. Where the graph says nothing, they are the last maps of all, under the names of their nodes.
    """
    spatial = with_axes(layers)
    if not layers.returned:
        return {layers.nodes[v]: v for v in _last(layers, spatial)}
    returned = {name: layers.ids[node] for name, node in layers.returned.items()}
    named = {v for v in returned.values() if spatial[v]}
    ends: dict[Hashable, int] = {}
    seen: set[int] = set()
    for name, v in returned.items():
        if spatial[v]:
            ends[name] = v
        else:
            ends |= {layers.nodes[u]: u for u in _before(layers, spatial, v, seen) if u not in named}
    return ends or {layers.nodes[v]: v for v in _last(layers, spatial)}


def with_axes(layers: OrderedNetwork) -> list[bool]:
    """Return whether the map of each node has spatial axes, [V].

    They end where an op reads all of every axis and leaves one position. They begin anew where several positions are
    made of that one, as in the decoder behind the code of an autoencoder.
    """
    collapses: dict[int, bool] = {}
    begins: dict[int, bool] = {}
    spatial: list[bool] = []
    for kind, ops, tails in zip(layers.kinds, layers.ops, layers.tails, strict=True):
        if id(ops) not in collapses:
            collapses[id(ops)] = all(op.collapses for op in ops)
        if any(spatial[tail] for tail in tails):
            spatial.append(not collapses[id(ops)])
            continue
        if not tails:
            spatial.append(kind == "input")
            continue
        if id(ops) not in begins:
            begins[id(ops)] = any(spreads(op, len(tails)) for op in ops)
        spatial.append(begins[id(ops)])
    return spatial


def beginnings(layers: OrderedNetwork, spatial: Iterable[bool]) -> list[int]:
    """Return the nodes at which spatial axes begin anew, by id."""
    here = list(spatial)
    return [v for v, tails in enumerate(layers.tails) if tails and here[v] and not any(here[tail] for tail in tails)]


def spreads(op: Op, slots: int) -> bool:
    """Return whether an op makes several positions of one."""
    try:
        size = op.size((1,) * slots)
    except SizeError:
        return False
    return size is not None and size > 1


def _last(layers: OrderedNetwork, spatial: list[bool]) -> list[int]:
    """Return the nodes with spatial axes that no node with spatial axes comes after."""
    followed = [False] * len(spatial)
    for v in reversed(range(len(spatial))):
        if spatial[v] or followed[v]:
            for tail in layers.tails[v]:
                followed[tail] = True
    return [v for v, here in enumerate(spatial) if here and not followed[v]]


def _before(layers: OrderedNetwork, spatial: list[bool], v: int, seen: set[int]) -> list[int]:
    """Return the last nodes with spatial axes before ``v``, which has none; each of ``seen`` only once."""
    before, stack = [], [v]
    while stack:
        for tail in layers.tails[stack.pop()]:
            if tail not in seen:
                seen.add(tail)
                if not spatial[tail]:
                    stack.append(tail)
                else:
                    before.append(tail)
    return sorted(before)
