"""Regions: the positions that one feature reads, cut at the border of every map on the way, not only at the image.

Along one axis they are kept as runs, so that a feature that reads millions of pixels costs no more than one that reads
a few.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.window import Interval, Window
from rfgraph.ops import Op
from rfgraph.ops.base import at_border
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import fold_back
from rfgraph.passes.products import ProductDomain, Products

Runs = tuple[Interval, ...]  # sorted closed intervals with gaps between them


class Region(ProductDomain[Runs]):
    """What one feature reads of the maps that it depends on.

    Parameters
    ----------
    compiled
        A network whose sizes are known on the way.
    node, index
        The feature: a node id, and one index per axis inside its map.
    """

    def __init__(self, compiled: Compiled, index: Sequence[int]) -> None:
        super().__init__(compiled)
        self.index = index

    @property
    def first(self) -> tuple[Runs, ...]:
        return tuple(((y, y),) for y in self.index)

    def read(self, v: int, slot: int, axis: int, part: Runs) -> Runs | None:
        layers = self.compiled.layers
        size = self.compiled.sizes[layers.tails[v][slot]][axis] or 0
        return _read(layers.ops[v][axis], self.compiled.reads[axis][v][slot], part, size) or None

    def covers(self, one: Runs, other: Runs) -> bool:
        firsts = [first for first, _ in one]
        places = ((bisect_right(firsts, first) - 1, last) for first, last in other)
        return all(place >= 0 and last <= one[place][1] for place, last in places)

    def hull(self, one: Runs, other: Runs) -> Runs:
        return _merged([*one, *other])


def reach(compiled: Compiled, node: int, index: Sequence[int], source: int) -> Products[Runs]:
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
    return fold_back(compiled.layers, node, Region(compiled, index), source).get(source, Products([], True))


def box(reached: Products[Runs]) -> tuple[Interval, ...] | None:
    """Return the closed interval on each axis that bounds what is read, ``None`` if nothing is."""
    if not reached.products:
        return None
    along = zip(*reached.products, strict=True)
    return tuple((min(runs[0][0] for runs in parts), max(runs[-1][1] for runs in parts)) for parts in along)


def _read(op: Op, read: Window, outputs: Runs, size: int) -> Runs:
    """Return which of ``size`` inputs the ``outputs`` read."""
    if read.is_full:
        return ((0, size - 1),)
    if read.side:
        return _on_to_an_end(read, outputs, size)
    if not read.is_local:
        return ()
    solid = op.spacing == 1 and not op.skips
    inputs: list[Interval] = []
    for a, b in outputs:
        if solid and (a == b or read.seamless):
            ends = _ends(read, a, b)
            inputs += [] if ends is None else _within(op, *ends, size)
        elif read.period == read.step == 1 and not op.skips:  # each tap reads a run as long as that of the outputs
            for tap in op.taps(read, a):
                inputs += _within(op, tap, tap + b - a, size)
        else:
            for y in range(a, b + 1):
                for tap in _inside(op.taps(read, y), size) if op.border == "constant" else op.taps(read, y):
                    inputs += _within(op, tap, tap, size)
    return _merged(inputs)


def _on_to_an_end(read: Window, outputs: Runs, size: int) -> Runs:
    """Return what outputs read of all that comes before or after them: one period of each run tells."""
    ends = []
    for a, b in outputs:
        for y in (*range(a, min(b, a + read.period) + 1), *range(max(a, b - read.period), b + 1)):
            ends.append(read.ends(y))
    told = [end for end in ends if end is not None]
    first = min((0 if first is None else max(first, 0) for first, _ in told), default=size)
    last = max((size - 1 if last is None else min(last, size - 1) for _, last in told), default=-1)
    return ((first, last),) if first <= last else ()


def _ends(read: Window, a: int, b: int) -> Interval | None:
    """Return the least first and greatest last index that outputs ``a`` to ``b`` read: one period of them tells."""
    reach = min(b - a, read.period - 1)
    intervals = [read.interval(y) for y in (*range(a, a + reach + 1), *range(b - reach, b + 1))]
    ends = [interval for interval in intervals if interval is not None]
    return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None


def _within(op: Op, first: int, last: int, size: int) -> Iterable[Interval]:
    """Return what is read in the place of all positions from ``first`` to ``last``."""
    if op.border == "edge":
        return [(at_border("edge", first, size), at_border("edge", last, size))]
    inside = (max(first, 0), min(last, size - 1))
    runs = [inside] if inside[0] <= inside[1] else []
    if op.border != "constant":
        for start, stop in ((first, min(last + 1, 0)), (max(first, size), last + 1)):
            if stop - start >= 2 * size:  # mirrored or repeated, that is all of the map
                return [(0, size - 1)]
            if start < stop:
                runs += _runs(np.unique(at_border(op.border, np.arange(start, stop), size)))
    return runs


def _inside(taps: Sequence[int], size: int) -> Sequence[int]:
    """Return the taps inside a map, without a look at each of the others."""
    if not isinstance(taps, range):
        return taps
    return taps[max(-(taps.start // taps.step), 0) : max(-((taps.start - size) // taps.step), 0)]


def _runs(positions: NDArray[np.int64]) -> list[Interval]:
    breaks = np.flatnonzero(np.diff(positions) > 1) + 1
    return [(int(run[0]), int(run[-1])) for run in np.split(positions, breaks)]


def _merged(runs: list[Interval]) -> Runs:
    """Return runs sorted, and joined where there is no gap between them."""
    merged: list[Interval] = []
    for first, last in sorted(runs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return tuple(merged)
