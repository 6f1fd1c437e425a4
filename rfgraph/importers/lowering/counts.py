"""What a step of a tensor program holds and takes, stated on the node that it makes.

Channels are what of a view is neither position nor batch. Parameters are those of the learned tensors that are read
here first. Multiply-accumulates follow from channels by the node's own formula, at whatever size the network is looked
at; where they do not (class tokens beside positions, products of two maps), the node states them for the size that the
model was read for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import singledispatch
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed
from rfgraph.importers.lowering.views import View
from rfgraph.importers.program import Dim, Instruction, Program, Shape, exact_quotient, product
from rfgraph.ops.costs import FORMULAS, Map, Settings, cost


@singledispatch
def work(primitive: program.Primitive, shapes: Sequence[Shape | None], output: Shape | None) -> Dim | None:
    """Return the multiply-accumulates of a primitive for the whole batch, ``None`` if the shapes do not tell."""
    return 0


@work.register(program.Opaque)
def _(primitive: program.Opaque, shapes: Sequence[Shape | None], output: Shape | None) -> Dim | None:
    return None


@work.register(program.Slide)
def _(primitive: program.Slide, shapes: Sequence[Shape | None], output: Shape | None) -> Dim | None:
    if primitive.channel is None:
        return 0
    return _windows(output, primitive.kernel, shapes[0], primitive.channel, primitive.groups)


@work.register(program.SlideTransposed)
def _(primitive: program.SlideTransposed, shapes: Sequence[Shape | None], output: Shape | None) -> Dim | None:
    if primitive.channel is None:
        return 0
    return _windows(shapes[0], primitive.kernel, output, primitive.channel, primitive.groups)


def _windows(
    positions: Shape | None, kernel: Sequence[int], read: Shape | None, channel: int, groups: int
) -> Dim | None:
    """Return the products of a kernel with the channels of one group, at each element of ``positions``."""
    if positions is None or read is None or channel >= len(read):
        return None
    group = exact_quotient(read[channel], groups)
    return None if group is None else product((*positions, *kernel, group))


@work.register(program.Contract)
def _(primitive: program.Contract, shapes: Sequence[Shape | None], output: Shape | None) -> Dim | None:
    sizes: dict[str, Dim] = {}
    for labels, shape in zip(primitive.operands, shapes, strict=True):
        if shape is None or len(shape) != len(labels):
            return None
        for label, size in zip(labels, shape, strict=True):
            if sizes.get(label, 1) == 1:
                sizes[label] = size
    if set(sizes) <= set(primitive.output):
        return 0  # nothing is summed
    return product(sizes.values()) if len(primitive.operands) == 2 else None


class Counts:
    """States channels, parameters and multiply-accumulates on the nodes of a network under construction.

    Parameters
    ----------
    views
        How its inputs carry the axes.
    """

    def __init__(self, read: Program, views: Mapping[str, View | None], axes: int) -> None:
        self.axes = axes
        self.batch = _batch(read, views, axes)
        self._counted: set[tuple[str, int | None]] = set()
        self._waiting: set[tuple[str, int | None]] = set()

    def channels(self, view: View | None) -> int | None:
        """Return what of a view is neither position nor batch, as far as it is a number."""
        if view is None:
            return None
        sizes = [part.size for dim in view.dims for part in dim.parts if part.axis is None]
        channels = exact_quotient(product(sizes), self.batch)
        return channels if isinstance(channels, int) and channels > 0 else None

    def waits(self, step: Instruction) -> bool:
        """Note the learned tensors that ``step`` reads; return whether any wait for a node that holds them."""
        if step.learned:
            self._waiting |= step.learned - self._counted
        return bool(self._waiting)

    def taken(self) -> int | None:
        """Return how many numbers the learned tensors hold that wait for a node, which has them from now on."""
        counts = [count for _, count in self._waiting]
        known = [count for count in counts if count is not None]
        self._counted |= self._waiting
        self._waiting.clear()
        return sum(known) if len(known) == len(counts) else None

    def state(
        self, maps: LoweringBuilder, step: Instruction, operands: Iterable[Placed | None], placed: Placed
    ) -> None:
        """State what ``step`` holds and takes on the nodes that it added."""
        self.waits(step)
        added, nodes = maps.added, maps.network.graph.nodes
        if not added:
            return
        main = placed.node if placed.node in added else added[-1]
        attributes = nodes[main]
        for node in added:
            if node != main and nodes[node]["op"] in FORMULAS:
                nodes[node]["macs"] = 0
        if self._waiting:
            attributes["parameters"] = self.taken()
        channels = self.channels(placed.view)
        if channels is not None:
            own = attributes.get("channels", channels)
            if channels != own and channels % own == 0:  # the same weights for each of several maps side by side
                attributes["groups"] = attributes.get("groups", 1) * (channels // own)
            attributes["channels"] = channels
        elif placed.view is not None:
            attributes.pop("channels", None)
        self._state_macs(maps, step, operands, placed, attributes, main)

    def _state_macs(
        self, maps: LoweringBuilder, step: Instruction, operands: Iterable[Placed | None], placed: Placed,
        attributes: dict[str, Any], main: str,
    ) -> None:  # fmt: skip
        """State multiply-accumulates where the formula of the node makes others of it."""
        total = step.macs
        if total == "primitive":
            total = work(step.primitive, [value.shape for value in step.inputs], step.output.shape)
        if total == 0 and attributes["op"] not in FORMULAS:
            return
        own = None if total is None else exact_quotient(total, self.batch)
        wanted = total if total == 0 else own
        views = {p.node: p.view for p in operands if p is not None}
        # The views of networkx cost more than all else here.
        inputs = [self._map(maps, tail, views.get(tail)) for tail in maps.network.graph._pred[main]]
        sizes = [None if placed.view is None else placed.view.extent(axis) for axis in range(self.axes)]
        macs = cost(_settings(attributes, self.axes), inputs, sizes).macs if inputs else None
        if macs is not None and wanted is not None and macs != wanted:
            shared = exact_quotient(macs, wanted) if wanted != 0 else None
            if (
                isinstance(shared, int)
                and shared > 1
                and all(one.channels and one.channels % shared == 0 for one in inputs)
            ):
                attributes["groups"] = attributes.get("groups", 1) * shared
                macs = cost(_settings(attributes, self.axes), inputs, sizes).macs
        if macs != wanted:
            attributes["macs"] = wanted if isinstance(wanted, int) else None

    def _map(self, maps: LoweringBuilder, node: str, view: View | None) -> Map:
        if view is None:
            return Map(None, (None,) * self.axes)
        channels = maps.network.graph.nodes[node].get("channels")
        return Map(channels, tuple(view.extent(axis) for axis in range(self.axes)))


def _settings(attributes: Mapping[str, Any], axes: int) -> Settings:
    """Return the settings of a node as the rules write it, one entry per axis: nothing has to be checked."""
    return Settings(
        op=attributes["op"],
        channels=attributes.get("channels"),
        groups=attributes.get("groups", 1),
        kernel=tuple(attributes.get("kernel", ())),
        block=tuple(attributes.get("block", ())),
        mixes=tuple(attributes.get("mixes", (True,) * axes)),
        beside="axis" not in attributes,
    )


def held(read: Program) -> int | None:
    """Return how many learned numbers a model holds, ``None`` where its reader does not tell."""
    if read.learned is None:
        return None
    counts = [count for _, count in read.learned]
    return None if None in counts else sum(count for count in counts if count is not None)


def _batch(read: Program, views: Mapping[str, View | None], axes: int) -> Dim:
    """Return how many inputs are computed at once: the first dimension that is no axis, if another has the channels."""
    for value in read.inputs:
        view = views.get(value.name)
        if view is None or not view.axes or value.shape is None:
            continue
        others = [size for size, dim in zip(value.shape, view.dims, strict=True) if not dim.axes]
        return others[0] if len(others) > 1 else 1
    return 1
