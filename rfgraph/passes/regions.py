"""Regions: the positions that one feature reads, cut at the border of every map on the way and not only at the image.

What a feature reads along one path is a product of sets, one per axis. Several paths read a union of products, which is
kept as such: a path that falls into the padding on one axis reads nothing on the others either. A product inside
another one adds nothing and is dropped, so that usual networks keep one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.window import Interval, Window
from rfgraph.ops import Op
from rfgraph.ops.base import at_border
from rfgraph.passes.compiled import Compiled

Marks = NDArray[np.bool_]  # [n], which positions of a map are read along one axis
Product = tuple[Marks, ...]  # [A]

#: More products than this at one map are replaced by their hull, and the answer is a bound.
MAX_PRODUCTS = 64


@dataclass(frozen=True)
class Reached:
    """What a feature reads of one map: the union of ``products``."""

    products: list[Product]
    exact: bool

    def box(self) -> tuple[Interval, ...] | None:
        """Return the closed interval on each axis that bounds what is read, ``None`` if nothing is."""
        if not self.products:
            return None
        hull = _hull(self.products)
        return tuple((int(marks.argmax()), len(marks) - 1 - int(marks[::-1].argmax())) for marks in hull)


def reach(compiled: Compiled, node: int, index: Sequence[int], source: int) -> Reached:
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
    layers, sizes = compiled.layers, compiled.sizes
    start = tuple(np.arange(size or 0) == y for size, y in zip(sizes[node], index, strict=True))
    reached = {node: Reached([start], True)}
    for v in range(node, source, -1):
        outputs = reached.pop(v, None)
        if outputs is None:
            continue
        stated = outputs.exact and all(op.reads_all for op in layers.ops[v])
        for slot, tail in enumerate(layers.tails[v]):
            products = list(reached[tail].products) if tail in reached else []
            exact = stated and (tail not in reached or reached[tail].exact)
            for product in outputs.products:
                inputs = tuple(
                    _read(op, compiled.reads[axis][v][slot], product[axis], sizes[tail][axis] or 0)
                    for axis, op in enumerate(layers.ops[v])
                )
                if all(marks.any() for marks in inputs):
                    _add(products, inputs)
            if len(products) > MAX_PRODUCTS:
                products, exact = [_hull(products)], False
            if products:
                reached[tail] = Reached(products, exact)
    return reached.get(source, Reached([], True))


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


def _add(products: list[Product], new: Product) -> None:
    """Add a product to a union of products in which none lies inside another."""
    if any(_inside(new, old) for old in products):
        return
    products[:] = [old for old in products if not _inside(old, new)]
    products.append(new)


def _inside(one: Product, other: Product) -> bool:
    return not any((a & ~b).any() for a, b in zip(one, other, strict=True))


def _hull(products: list[Product]) -> Product:
    return tuple(np.logical_or.reduce(axes) for axes in zip(*products, strict=True))
