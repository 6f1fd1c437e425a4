"""What must hold of every placed tensor and every map: a broken one is a number that would be wrong, so it is unknown.

- A view has the shape of its tensor.
- The parts of an axis make up the whole axis, each position once.
- A map has the size that the view of its tensor says: an axis ends only in an op that ends it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx

from rfgraph.errors import RFGraphError
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed
from rfgraph.importers.lowering.views import View
from rfgraph.importers.program import Dim, Instruction, text
from rfgraph.ops import METADATA, kind_of


def checked(maps: LoweringBuilder, step: Instruction, operands: Sequence[Placed | None], output: Placed) -> Placed:
    """Return what a step makes, unknown if its view is not one of its tensor."""
    broken = _broken(output.view, step)
    if not broken:
        return output
    maps.take_back()
    return maps.unknown(step, operands, broken)


def _broken(view: View | None, step: Instruction) -> str:
    """Return what is wrong with the view of a step's output, "" if nothing is."""
    shape = step.output.shape
    if view is None or shape is None:
        return ""
    fits = view.sizes == shape or (
        len(view.sizes) == len(shape)
        and all(
            size == given or not isinstance(size, int) or not isinstance(given, int)
            for size, given in zip(view.sizes, shape, strict=True)
        )
    )
    if not fits:
        return f"its output was followed as {text(view.sizes)} and is {text(shape)}"
    return "" if view.torn is None else f"the parts of axis {view.torn} in its output do not make up the axis"


def settle(maps: LoweringBuilder, placed: Mapping[str, Placed], ends: Iterable[str]) -> None:
    """Drop nodes that no end reads, and make nodes unknown whose maps are not as large as their tensors say."""
    graph = maps.network.graph
    needed = {placed[name].node for name in ends if name in placed}
    for node in reversed(list(graph)):
        if node in needed:
            needed.update(graph._pred[node])  # the views of networkx cost more than all else here
    for node, attributes in list(graph.nodes(data=True)):
        if node not in needed and attributes["op"] != "input":
            graph.remove_node(node)
    views: dict[str, View] = {}
    for p in placed.values():
        if p.view is not None:
            views.setdefault(p.node, p.view)
    _check_sizes(graph, views, maps.axes)


#: Size along every axis, and what is wrong with them, "" if nothing is.
Sizes = tuple[tuple[int | None, ...], str]


def _check_sizes(graph: nx.MultiDiGraph[Any], views: Mapping[str, View], axes: int) -> None:
    """Make nodes unknown whose maps are not as large as their tensors say."""
    sizes: dict[str, tuple[int | None, ...]] = {}
    known: dict[Hashable, Sizes] = {}  # most nodes are like others, and read maps that are as large
    for node, attributes in graph._node.items():  # the views of networkx cost more than all else here
        above = graph._pred[node]
        slots = sorted([(edge.get("slot", 0), tail) for tail, edges in above.items() for edge in edges.values()])
        view = views.get(node)
        extents = None if view is None else tuple([view.extent(axis) for axis in range(axes)])
        read = tuple([sizes[tail] for _, tail in slots])
        key = repr([item for item in attributes.items() if _matters(*item)]), read, extents
        stated = known.get(key)
        if stated is None:
            stated = known[key] = _sizes(attributes, read, extents or (None,) * axes)
        sizes[node], why = stated
        if why:
            of = attributes.get("label") or attributes["op"]
            kept = {name: value for name, value in attributes.items() if name in ("location", "parameters")}
            attributes.clear()
            attributes.update(kept, op="unknown", of=of, why=why)


def _matters(name: str, value: object) -> bool:
    """Return whether an attribute may decide the size of a map; a number that is too large for any does."""
    return name == "op" or name not in METADATA or (isinstance(value, int) and bool(value >> 63))


def _sizes(
    attributes: Mapping[str, Any], read: Sequence[tuple[int | None, ...]], extents: Sequence[Dim | None]
) -> Sizes:
    """Return the size along every axis of the map of a node that reads maps of some sizes, and what is wrong with it.

    It has to be that of its tensor, where that is known. From the first axis on along which something is wrong no size
    is known.
    """
    sizes: list[int | None] = []
    why = ""
    for axis, extent in enumerate(extents):
        if why:
            sizes.append(None)
            continue
        try:
            op = kind_of(attributes["op"]).parse(attributes, axis, len(extents))
            size = op.size([of_map[axis] for of_map in read])
        except RFGraphError as error:  # of one input, it is told by the analysis, which names what a user can change
            size, why = None, f"the maps of its operands do not fit: {error}" if len(read) > 1 else ""
        if size is not None and isinstance(extent, int) and size != extent:
            size, why = None, f"its map would have size {size} where its tensor has {extent}"
        sizes.append(size)
    return tuple(sizes), why
