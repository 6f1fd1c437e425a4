"""Regions: the positions that one feature reads, cut at the border of every map on the way, not only at the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.window import Interval, Window
from rfgraph.ops import Op
from rfgraph.ops.base import at_border
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import fold_back
from rfgraph.passes.products import ProductDomain, Products

Marks = NDArray[np.bool_]  # [n], which positions of a map are read along one axis


class Region(ProductDomain[Marks]):
    """What one feature reads of the maps that it depends on: marks of their positions.

    Parameters
    ----------
    compiled
        A network whose sizes are known on the way.
    node, index
        The feature: a node id, and one index per axis inside its map.
    """

    def __init__(self, compiled: Compiled, node: int, index: Sequence[int]) -> None:
        super().__init__(compiled)
        self.node, self.index = node, index

    @property
    def first(self) -> tuple[Marks, ...]:
        sizes = self.compiled.sizes[self.node]
        return tuple(np.arange(size or 0) == y for size, y in zip(sizes, self.index, strict=True))

    def read(self, v: int, slot: int, axis: int, part: Marks) -> Marks | None:
        layers = self.compiled.layers
        size = self.compiled.sizes[layers.tails[v][slot]][axis] or 0
        marks = _read(layers.ops[v][axis], self.compiled.reads[axis][v][slot], part, size)
        return marks if marks.any() else None

    def covers(self, one: Marks, other: Marks) -> bool:
        return not (other & ~one).any()

    def hull(self, one: Marks, other: Marks) -> Marks:
        return one | other


def reach(compiled: Compiled, node: int, index: Sequence[int], source: int) -> Products[Marks]:
    """Return what feature ``index`` of ``node`` reads of ``source``.

    Parameters
    ----------
    compiled
        A network whose sizes from ``source`` to ``node`` are known.
    node, index
        The feature: a node id, and one index per axis inside its map.
    source
        Node id of what is read.
    """
    found = fold_back(compiled.layers, node, Region(compiled, node, index), source)
    return found.get(source, Products([], True))


def box(reached: Products[Marks]) -> tuple[Interval, ...] | None:
    """Return the closed interval on each axis that bounds what is read, ``None`` if nothing is."""
    if not reached.products:
        return None
    hull = (np.logical_or.reduce(axes) for axes in zip(*reached.products, strict=True))
    return tuple((int(marks.argmax()), len(marks) - 1 - int(marks[::-1].argmax())) for marks in hull)


def _read(op: Op, read: Window, outputs: Marks, size: int) -> Marks:
    """Return which of ``size`` inputs the marked outputs read."""
    inputs = np.zeros(size, dtype=bool)
    if read.kind == "full":
        inputs[:] = outputs.any()
    if read.kind != "local":
        return inputs
    for y in np.flatnonzero(outputs).tolist():
        interval = read.interval(y)
        if interval is None:
            continue
        first, last = interval
        if op.border != "constant":
            first, last = at_border(op.border, first, size), at_border(op.border, last, size)
        elif first < 0:
            first %= op.spacing
        if last >= 0:
            inputs[first : last + 1 : op.spacing] = True
    return inputs
