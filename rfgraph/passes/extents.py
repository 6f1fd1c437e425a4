"""Extents: from where to where every feature of a layer reads the source, all of them in one forward pass.

Along one axis, over one path, the first position that output ``y`` reads is the least first of its taps, and the last
one the greatest last: exact whatever the op, since taps are listed and neither holes nor backward steps are assumed
away. Over several paths one axis may not be taken alone: a path that reads nothing on ``x`` reads nothing on ``y``
either. What decides is *where a path is alive*: the outputs that read anything of the source through it, per axis.
Two groups of paths that are alive at the same outputs on every axis stay together in all that reads them, since an
output reads something of a group just if one of its taps is alive; so their hull, axis by axis, is exact. They are
joined at once, and as usual networks have no path that dies alone, they keep one group: the separable answer.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property, reduce
from itertools import product
from math import prod
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.window import Interval, Window
from rfgraph.errors import SizeError
from rfgraph.frozen import dataclass
from rfgraph.ops import Op
from rfgraph.ops.base import at_border
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold, folded
from rfgraph.passes.products import ProductDomain, Products

Marks = NDArray[np.bool_]
Positions = NDArray[np.int64]

#: Maps with more positions than this along an axis are not followed.
MAX_POSITIONS = 1 << 22


@dataclass(frozen=True)
class Extent:
    """From where to where each index of a map reads the source along one axis, over a group of paths.

    An index that reads nothing has the source's size as ``first`` and -1 as ``last``: neutral to minimum and maximum.
    """

    first: Positions  # [n]
    last: Positions  # [n]

    @property
    def alive(self) -> Marks:
        """Which indices read anything, [n]."""
        return self.last >= 0

    def joined(self, other: Extent) -> Extent:
        """Return the hull of both, index by index."""
        return Extent(np.minimum(self.first, other.first), np.maximum(self.last, other.last))

    def covers(self, other: Extent) -> bool:
        """Return whether every index reads at least as far to both sides as ``other`` does."""
        return bool((self.first <= other.first).all() and (self.last >= other.last).all())


Group = tuple[Extent, ...]  # [A]

#: Maps of more features than this are not laid out feature by feature; what is read is told per axis.
MAX_FEATURES = 1 << 25


@dataclass(frozen=True)
class Block:
    """Features that read over the same paths: those at each of ``indices`` on every axis, with the ends per axis."""

    indices: tuple[Positions, ...]  # [A][k], k of its own on every axis
    ends: Group  # [A] of extents with an entry per index


@dataclass(frozen=True)
class Regions:
    """The boxes of source pixels that all features of a layer read, cut at the border of every map on the way.

    Arrays have one entry per feature, ``[*map_size]``; those of ends have the axis last, ``[*map_size, A]``.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3, padding=1)
    >>> analyze(net, input_size=4).regions("conv").first[:, 0].tolist()
    [0, 0, 1, 2]
    """

    layer: Hashable
    axes: tuple[str, ...]
    map_size: tuple[int, ...]
    #: Size of the source.
    source_size: tuple[int, ...]
    #: Per group of paths that live and die together: the ends along each axis.
    groups: tuple[Group, ...]
    status: Literal["exact", "bound"]

    @property
    def separable(self) -> bool:
        """Whether the ends along each axis depend on the index along that axis alone."""
        return len(self.groups) < 2

    @property
    def reads(self) -> Marks:
        """Which features read anything but padding, [*map_size]."""
        return self._grid[0]

    @property
    def first(self) -> Positions:
        """The first pixel of each feature's box, [*map_size, A]; 0 where it reads nothing."""
        return self._grid[1]

    @property
    def last(self) -> Positions:
        """The last pixel of each feature's box, [*map_size, A]; -1 where it reads nothing."""
        return self._grid[2]

    def box(self, index: Sequence[int]) -> tuple[Interval, ...] | None:
        """Return the box of one feature, a closed interval per axis, or ``None`` where it reads nothing.

        Parameters
        ----------
        index
            Index of a feature, one entry per axis.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3, padding=1)
        >>> analyze(net, input_size=8).regions("conv").box((0,))
        ((0, 1),)
        """
        place = tuple(index)
        ends = [
            [(int(extent.first[y]), int(extent.last[y])) for extent, y in zip(group, place, strict=True)]
            for group in self.groups
        ]
        alive = [along for along in ends if all(last >= 0 for _, last in along)]
        if not alive:
            return None
        return tuple((min(a for a, _ in along), max(b for _, b in along)) for along in zip(*alive, strict=True))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All features that read anything, each in one block."""
        if len(self.groups) < 2:
            return tuple(_block(group, [np.flatnonzero(extent.alive) for extent in group]) for group in self.groups)
        # Per axis, indices that the same groups are alive at: any of these on each axis make a block.
        classes = [_classes([group[axis].alive for group in self.groups]) for axis in range(len(self.axes))]
        blocks = []
        for choice in product(*classes):
            alive = frozenset.intersection(*(some for some, _ in choice))
            if alive:
                joined = [reduce(Extent.joined, (self.groups[g][a] for g in alive)) for a in range(len(choice))]
                blocks.append(_block(joined, [indices for _, indices in choice]))
        return tuple(blocks)

    @cached_property
    def _grid(self) -> tuple[Marks, Positions, Positions]:
        axes = len(self.axes)
        if prod(self.map_size) > MAX_FEATURES:
            raise SizeError(
                f"layer {self.layer!r}: a map of {' x '.join(map(str, self.map_size))} has more than the "
                f"{MAX_FEATURES} features that are laid out one by one; ask box(index), or read the ends in blocks"
            )
        reads = np.zeros(self.map_size, dtype=bool)
        first = np.zeros((*self.map_size, axes), dtype=np.int64)
        last = np.full((*self.map_size, axes), -1, dtype=np.int64)
        for block in self.blocks:
            place = np.ix_(*block.indices)
            reads[place] = True
            for axis, ends in enumerate(block.ends):
                first[..., axis][place] = _along(ends.first, axis, axes)
                last[..., axis][place] = _along(ends.last, axis, axes)
        for array in (reads, first, last):
            array.flags.writeable = False
        return reads, first, last


def _block(group: Sequence[Extent], indices: list[Positions]) -> Block:
    ends = (Extent(extent.first[some], extent.last[some]) for extent, some in zip(group, indices, strict=True))
    return Block(tuple(indices), tuple(ends))


def _classes(alive: list[Marks]) -> list[tuple[frozenset[int], Positions]]:
    """Return the sets of groups that are alive at some index of an axis, with the indices of each."""
    patterns, which = np.unique(np.array(alive), axis=1, return_inverse=True)
    sets = (frozenset(np.flatnonzero(pattern).tolist()) for pattern in patterns.T)
    return [(some, np.flatnonzero(which.ravel() == number)) for number, some in enumerate(sets)]


class Extents(ProductDomain[Extent]):
    """The ends of what every index of a map reads of ``source``, group by group of paths.

    Parameters
    ----------
    compiled, source
        The network, and what is read of it.
    sizes
        Map sizes of the nodes on the way, by node id.
    """

    def __init__(self, compiled: Compiled, source: int, sizes: Mapping[int, tuple[int, ...]]) -> None:
        super().__init__(compiled)
        self.source, self.sizes = source, sizes

    @property
    def first(self) -> Group:
        return tuple(Extent(np.arange(size), np.arange(size)) for size in self.sizes[self.source])

    def read(self, v: int, slot: int, axis: int, part: Extent) -> Extent | None:
        op, read = self.compiled.layers.ops[v][axis], self.compiled.reads[axis][v][slot]
        extent = _ends(op, read, part, self.sizes[v][axis], self.sizes[self.source][axis])
        return extent if extent.alive.any() else None

    def covers(self, one: Extent, other: Extent) -> bool:
        return one.covers(other)

    def hull(self, one: Extent, other: Extent) -> Extent:
        return one.joined(other)

    def joins(self, one: Group, other: Group) -> bool:
        """Return whether both are alive at the same outputs; along one axis there is no other on which to die."""
        return len(one) == 1 or all(np.array_equal(a.alive, b.alive) for a, b in zip(one, other, strict=True))


def reach_all(compiled: Compiled, node: int, source: int) -> Regions:
    """Return what every feature of ``node`` reads of ``source``, in one forward pass over the nodes between them.

    Parameters
    ----------
    compiled
        A network whose sizes from ``source`` to ``node`` are known.

    Raises
    ------
    SizeError
        If a map on the way is larger than ``MAX_POSITIONS`` along an axis.
    """
    layers = compiled.layers
    sizes = {v: _whole_size(compiled, v) for v in compiled.between([node], source)}
    extents_of = fold(layers, source, Extents(compiled, source, sizes), [node])
    reached = extents_of.get(node, Products([], True))
    status: Literal["exact", "bound"] = "exact" if reached.exact else "bound"
    return Regions(layers.nodes[node], layers.axes, sizes[node], sizes[source], tuple(reached.products), status)


def size_ranges(compiled: Compiled, source: int, nodes: Sequence[int]) -> dict[int, tuple[Interval | None, ...]]:
    """Return the sizes of the smallest and the largest region that features of each of ``nodes`` read, per axis.

    It needs the sizes of all maps on the way, and what every op there reads. Nodes where it cannot be told are left
    out, as are all where there are more than ``MAX_POSITIONS`` positions to follow.

    Examples
    --------
    >>> from rfgraph.graph.network import Network
    >>> from rfgraph.passes.compiled import compile_graph
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3, padding=1)
    >>> size_ranges(compile_graph(net.graph, 4), 0, [1])
    {1: ((2, 3),)}
    """
    layers, axes = compiled.layers, range(len(compiled.layers.axes))
    reached_from = set(compiled.between(nodes, source))
    followed = set()
    for v in sorted(reached_from):
        slots = [slot for slot, tail in enumerate(layers.tails[v]) if tail in reached_from and v != source]
        reads = (compiled.reads[axis][v][slot] for axis in axes for slot in slots)
        on = all(layers.tails[v][slot] in followed for slot in slots)
        if on and None not in compiled.sizes[v] and not any(read.is_unknown for read in reads):
            followed.add(v)
    asked = sorted(followed.intersection(nodes))
    way = compiled.between(asked, source) if asked else []
    if not asked or sum(size or 0 for v in way for size in compiled.sizes[v]) > MAX_POSITIONS:
        return {}
    sizes = {v: _whole_size(compiled, v) for v in way}
    ranges: dict[int, tuple[Interval | None, ...]] = {}
    for v, reached in folded(layers, source, Extents(compiled, source, sizes), asked):
        if v in asked and len(reached.products) == 1:  # of several groups, a feature may read along one axis alone
            ranges[v] = tuple(
                (int(met.min()), int(met.max()))
                for extent in reached.products[0]
                for met in [(extent.last - extent.first + 1)[extent.alive]]
            )
    return ranges


class Ends(Domain[Extent]):
    """The ends of what every index of a map surely reads of ``source`` along one axis.

    Behind the last op that may leave some of its input out, one extent stands for a whole map: the hull of all.

    Parameters
    ----------
    covers
        What each op reads of its inputs for sure.
    source, nodes
        Where the walk starts, and the nodes that are asked for.
    """

    def __init__(self, compiled: Compiled, covers: Covers, source: int, nodes: Iterable[int]) -> None:
        self.layers, self.axis = compiled.layers, covers.axis
        self.reads, self.sizes = compiled.reads[self.axis], [size[self.axis] for size in compiled.sizes]
        self.size = self.sizes[source] or 0
        partly = {
            tail
            for v in compiled.between(list(nodes), source)
            for slot, tail in enumerate(self.layers.tails[v])
            if not covers.is_whole(v, slot)
        }
        #: Nodes whose indices are told apart.
        self.apart = frozenset(compiled.between(list(partly), source))

    @property
    def start(self) -> Extent:
        return Extent(np.arange(self.size), np.arange(self.size))

    def through(self, v: int, slot: int, value: Extent) -> Extent | None:
        op, outputs = self.layers.ops[v][self.axis], self.sizes[v]
        if self.layers.tails[v][slot] not in self.apart:
            return value if len(value.first) == 1 else _hull(value)
        if op.alternatives or not op.reads_all or not outputs or outputs > MAX_POSITIONS:
            return None
        read = self.reads[v][slot]
        if read.is_unknown:
            return None
        extent = value if op.keeps_all else _ends(op, read, value, outputs, self.size)
        return extent if v in self.apart else _hull(extent)

    def join(self, v: int, values: list[Extent]) -> Extent:
        return reduce(Extent.joined, values)


def _hull(extent: Extent) -> Extent:
    return Extent(extent.first.min(keepdims=True), extent.last.max(keepdims=True))


class Covers(Protocol):
    """What ops read of their inputs along one axis."""

    axis: int

    def is_whole(self, v: int, slot: int) -> bool:
        """Return whether the features of ``v`` surely read all of the map in ``slot``."""


def reads_ends(compiled: Compiled, covers: Covers, source: int, nodes: Sequence[int]) -> dict[int, tuple[bool, bool]]:
    """Return whether each of ``nodes`` surely reads the first, and the last position of ``source`` by some feature.

    Nodes on the way to which sizes are not known are left out, and so are those that surely read nothing.
    """
    size = compiled.sizes[source][covers.axis] or 0
    if not 0 < size <= MAX_POSITIONS:
        return {}
    asked = set(nodes)
    extents = folded(compiled.layers, source, Ends(compiled, covers, source, nodes), nodes)
    return {v: (bool(ends.first.min() == 0), bool(ends.last.max() == size - 1)) for v, ends in extents if v in asked}


def obstacle(compiled: Compiled, node: int, source: int) -> str:
    """Return why what ``node`` reads of ``source`` cannot be followed from map to map; "" if it can."""
    between = compiled.between([node], source)
    inside = set(between)
    for axis in range(len(compiled.layers.axes)):
        for v in between:
            name = compiled.layers.describe(v, axis)
            if compiled.sizes[v][axis] is None:
                return f"{name}: the size of its map is not known; give an input size"
            for tail, read in zip(compiled.layers.tails[v], compiled.reads[axis][v], strict=True):
                if v != source and tail in inside and read.is_unknown:
                    return f"{name} is not known: {read.why}"
    return ""


def _check_length(length: int) -> None:
    if length > 4 * MAX_POSITIONS:
        raise SizeError(f"a map repeated beyond its border to {length} positions is more than what is followed at once")


def _whole_size(compiled: Compiled, v: int) -> tuple[int, ...]:
    sizes = tuple(size or 0 for size in compiled.sizes[v])
    for axis, size in enumerate(sizes):
        if size > MAX_POSITIONS:
            raise SizeError(
                f"{compiled.layers.describe(v, axis)}: its map of size {size} is larger than the {MAX_POSITIONS} "
                "positions that are followed at once; ask for a smaller input size"
            )
    return sizes


def _ends(op: Op, read: Window, inner: Extent, outputs: int, nowhere: int) -> Extent:
    """Return the ends of what each of ``outputs`` reads through ``read`` of a map with ends ``inner``."""
    size = len(inner.first)
    if read.is_full:
        everything = inner.first.min(initial=nowhere), inner.last.max(initial=-1)
        return Extent(*(np.full(outputs, end, dtype=np.int64) for end in everything))
    if read.side:
        return _on_to_an_end(read, inner, outputs, nowhere)
    if not read.is_local:
        return Extent(np.full(outputs, nowhere, dtype=np.int64), np.full(outputs, -1, dtype=np.int64))
    first, last = _taps(read, outputs)
    empty = last < first
    inner_first, inner_last = inner.first, inner.last
    if op.border != "constant" and not empty.all():
        # The map with what its border repeats, as far as any tap reaches.
        least, most = int(first[~empty].min()), int(last[~empty].max())
        _check_length(most - least + 1)
        positions = at_border(op.border, np.arange(least, most + 1), size)
        inner_first, inner_last = inner_first[positions], inner_last[positions]
        first, last = first - least, last - least
    else:
        first = np.where(first < 0, first % op.spacing, first)
        last = np.minimum(last, size - 1)
    if op.skips:
        return _over_uneven_taps(op, read, Extent(inner_first, inner_last), first, nowhere)
    count = np.where(empty, 0, (last - first) // op.spacing + 1).clip(0)
    return Extent(
        _over_taps(inner_first, first, count, op.spacing, np.minimum, nowhere),
        _over_taps(inner_last, first, count, op.spacing, np.maximum, -1),
    )


def _on_to_an_end(read: Window, inner: Extent, outputs: int, nowhere: int) -> Extent:
    """Return the ends of what each of ``outputs`` reads of all that comes before it, or after it."""
    size = len(inner.first)
    ends = [interval and interval[0] for interval in read.intervals]
    turns, phase = np.divmod(np.arange(outputs), read.period)
    end = np.array([0 if one is None else one for one in ends], dtype=np.int64)[phase] + turns * read.step
    reads = np.array([one is not None for one in ends])[phase]
    turned = slice(None, None, 1 if read.side == "past" else -1)
    first = np.minimum.accumulate(inner.first[turned])[turned]
    last = np.maximum.accumulate(inner.last[turned])[turned]
    reads &= (end >= 0) if read.side == "past" else (end < size)
    end = end.clip(0, size - 1)
    return Extent(np.where(reads, first[end], nowhere), np.where(reads, last[end], -1))


def _over_uneven_taps(op: Op, read: Window, inner: Extent, first: Positions, nowhere: int) -> Extent:
    """Return the ends of what each output reads through taps that differ from phase to phase.

    ``first`` is where the interval of each output begins in ``inner``, which is as long as all of them need.
    """
    result = Extent(np.full(len(first), nowhere, dtype=np.int64), np.full(len(first), -1, dtype=np.int64))
    for phase in range(min(read.period, len(first))):
        outputs = slice(phase, None, read.period)
        taps = op.taps(read, phase)
        for tap in taps:
            at = first[outputs] + (tap - taps[0])
            result.first[outputs] = np.minimum(result.first[outputs], inner.first[at])
            result.last[outputs] = np.maximum(result.last[outputs], inner.last[at])
    return result


def _taps(read: Window, outputs: int) -> tuple[Positions, Positions]:
    """Return the first and last index that each output reads, [outputs]; where it reads nothing, 0 and -1."""
    phases = [interval or (0, -1) for interval in read.intervals[:outputs]]
    turns, phase = np.divmod(np.arange(outputs), read.period)
    ends = np.array(phases, dtype=np.int64).reshape(-1, 2)[phase]
    shift = turns * read.step
    return ends[:, 0] + shift, ends[:, 1] + shift


def _over_taps(
    values: Positions, first: Positions, count: Positions, spacing: int, pick: np.ufunc, neutral: int
) -> Positions:
    """Return the least or greatest of ``count`` values from ``first`` on, ``spacing`` apart, for each output.

    Level ``j`` of the table has the pick of ``2**j`` such values from each position; two of them cover any count.
    """
    picked = np.full(len(first), neutral, dtype=np.int64)
    level, width = values, 1
    while True:
        here = np.flatnonzero((count >= width) & (count < 2 * width))
        if len(here):
            start, end = first[here], first[here] + (count[here] - width) * spacing
            picked[here] = pick(level[start], level[end])
        width *= 2
        if not (count >= width).any():
            return picked
        step = width // 2 * spacing
        level = pick(level[:-step], level[step:])


def _along(values: NDArray[Any], axis: int, axes: int) -> NDArray[Any]:
    """Return values along one axis in a shape that broadcasts over all of them."""
    return values.reshape([-1 if other == axis else 1 for other in range(axes)])
