"""The effective field of one feature as a domain, walked back: how strongly each position of each map is felt.

Where weights are fixed, the gradient is carried, an array over the positions it reaches. Where some are random, its
mean squares are. Those of an op with random weights need only those of its outputs, whatever these have in common;
an op with fixed weights needs their covariance too. So a value holds

- what stands *alone*, related to nothing else: mean squares, or the whole covariance where some op further back needs
  it;
- *linear* parts: the gradient of a node further on, and how it got here by fixed weights, as long as another path
  without random weights may bring the same gradient to the same place.

Which edges lie on such double paths is known beforehand: those that are no bridge of the graph of edges without random
weights. Arrays are float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import reduce
from math import prod

import networkx as nx
import numpy as np

from rfgraph.errors import UnboundedError, UnknownFieldError
from rfgraph.frozen import dataclass
from rfgraph.ops import Op
from rfgraph.ops.base import at_border
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold, fold_back
from rfgraph.passes.weighing import Assumed, Floats, Ints, Step, TooManyTapsError, Weighing

#: Positions of a map, and entries of a covariance, that are carried at most.
MAX_POSITIONS = 1 << 24
MAX_ENTRIES = 1 << 22


@dataclass(frozen=True)
class Patch:
    """Numbers at the positions of a box that begins at ``first``; other numbers are 0."""

    first: tuple[int, ...]
    values: Floats  # [*box], [*box, *box] of a covariance, [*box, root] of a linear part


@dataclass(frozen=True)
class Gradient:
    """What is carried: a sum of independent parts."""

    alone: Patch | None  # mean squares, or the gradient where weights are fixed
    whole: Patch | None = None  # covariances
    linear: dict[int, Patch] = field(default_factory=dict)  # by node id of the root


class EffectiveMap(Domain[Gradient]):
    """The gradient of one feature at every map before it.

    Parameters
    ----------
    node, index
        The feature: node id, and one index per axis.
    clipped
        Whether maps end at their borders; their sizes are known then.
    """

    def __init__(
        self, compiled: Compiled, node: int, index: Sequence[int], source: int, assumed: Assumed, clipped: bool
    ) -> None:
        self.compiled, self.node, self.index, self.source, self.clipped = compiled, node, tuple(index), source, clipped
        self.axes = len(compiled.layers.axes)
        self.weighing = Weighing(compiled, assumed)
        self.on_way = compiled.between([node], source)
        self.roots: dict[int, Gradient] = {}
        #: Why the result is no more than an approximation.
        self.doubts: list[str] = []
        self.twice: set[tuple[int, int]] = set()  # edges without random weights on double paths
        self.mixed: dict[int, bool] = {}
        if self.weighing.squares:
            self._look_ahead()

    # What is known beforehand

    def _look_ahead(self) -> None:
        """Find the edges on double paths, and the nodes whose covariance matters."""
        self.twice = {edge for circles in self._circles(stacked=False) for edge in circles}
        if any(self._stacks(v) for v in self.on_way):
            meetings = self.weighing.meetings(self.source)
            for circles in self._circles(stacked=True):
                # Where all circles are closed by what stacks channels, no two paths bring the same gradient.
                if not any(v in meetings for v, _ in circles):
                    continue
                for v, slot in sorted(circles - self.twice):
                    tail = self.compiled.layers.tails[v][slot]
                    if not self._stacks(v) and self._stacks(tail):
                        name = self.compiled.layers.describe(tail)
                        self.doubts.append(f"{name}: some of its channels are reached by another path too")
        self.mixed = fold(self.compiled.layers, self.source, _Mixed(self), to=self.on_way)

    def _stacks(self, v: int) -> bool:
        return any(op.stacks for op in self.compiled.layers.ops[v])

    def _circles(self, stacked: bool) -> list[set[tuple[int, int]]]:
        """Return the (node id, slot) pairs of edges without random weights that lie on circles of such edges.

        Those are together whose circles hang together.
        """
        on_way, graph = set(self.on_way), nx.Graph()
        for v in self.on_way[1:]:
            if self.weighing.fresh(v) or (self._stacks(v) and not stacked):
                continue
            for slot, tail in enumerate(self.compiled.layers.tails[v]):
                if tail in on_way and self._is_followed(v, slot):
                    graph.add_edge(v, (v, slot))
                    graph.add_edge((v, slot), tail)
        if not graph:
            return []
        graph.remove_edges_from(list(nx.bridges(graph)))
        edges = ({node for node in part if isinstance(node, tuple)} for part in nx.connected_components(graph))
        # An edge that is a bridge has lost both its halves, and stands alone.
        return [of_part for of_part in edges if len(of_part) > 1]

    def _is_followed(self, v: int, slot: int) -> bool:
        reads = [self.compiled.reads[axis][v][slot] for axis in range(self.axes)]
        return not any(read.is_unbounded or read.is_empty for read in reads)

    def overlaps(self, v: int, slot: int) -> bool:
        """Return whether an op with fixed weights reads some position by several outputs."""
        for axis, op in enumerate(self.compiled.layers.ops[v]):
            step = self._step(v, slot, axis)
            if step is not None and (step.overlaps or (self.clipped and op.border != "constant")):
                return True
        return False

    # The recursion

    @property
    def start(self) -> Gradient:
        return Gradient(Patch(self.index, np.ones((1,) * self.axes)))

    def through(self, v: int, slot: int, value: Gradient) -> Gradient | None:
        if not self._is_followed(v, slot):
            return None
        factor = self.weighing.scale(v, slot)
        tail = self.compiled.layers.tails[v][slot]
        if not self.weighing.squares:
            assert value.alone is not None
            return Gradient(self._scaled(self._pulled(v, slot, value.alone, 1), factor))
        if (v, slot) in self.twice:
            return self._linear(v, slot, value, factor)
        value = self.collapsed(value, v)
        matters = self.mixed.get(tail, False)
        if self.weighing.fresh(v):
            return self._random(v, slot, value, factor, matters)
        return self._fixed(v, slot, value, factor, matters)

    def join(self, v: int, values: list[Gradient]) -> Gradient:
        alones = [value.alone for value in values if value.alone is not None]
        alone = reduce(self._added, alones) if alones else None
        wholes = [value.whole for value in values if value.whole is not None]
        whole = reduce(self._added, wholes) if wholes else None
        linear: dict[int, Patch] = {}
        for value in values:
            for root, patch in value.linear.items():
                linear[root] = self._added(linear[root], patch) if root in linear else patch
        return Gradient(alone, whole, linear)

    def _random(self, v: int, slot: int, value: Gradient, factor: float, matters: bool) -> Gradient:
        alone = None if value.alone is None else self._scaled(self._pulled(v, slot, value.alone, 1), factor)
        whole = value.whole
        if whole is None:
            return Gradient(alone)
        if not matters:
            diagonal = self._scaled(self._pulled(v, slot, self._diagonal(whole), 1), factor)
            return Gradient(diagonal if alone is None else self._added(alone, diagonal))
        more = self._pulled_pairs(v, slot, whole)
        if more is None:
            diagonal = self._scaled(self._pulled(v, slot, self._diagonal(whole), 1), factor)
            return Gradient(diagonal if alone is None else self._added(alone, diagonal))
        return Gradient(alone, self._scaled(more, factor))

    def _fixed(self, v: int, slot: int, value: Gradient, factor: float, matters: bool) -> Gradient:
        """Return what becomes of parts that no other path brings along."""
        steps = [self._step(v, slot, axis) for axis in range(self.axes)]
        alone, whole = value.alone, value.whole
        if alone is not None and matters and any(step is not None and step.spreads for step in steps):
            pulled = self._pulled(v, slot, alone, 1)
            if max(prod(pulled.values.shape), prod(alone.values.shape)) ** 2 <= MAX_ENTRIES:
                whole = self._whole(alone) if whole is None else self._added(whole, self._whole(alone))
                alone = None
            else:
                self._drop(v, prod(pulled.values.shape))
        if alone is not None:
            alone = self._scaled(self._pulled(v, slot, alone, 2), factor)
        if whole is not None:
            if self.weighing.is_gate(v):
                self.doubts.append(f"{self.compiled.layers.describe(v)}: gates are taken as independent of each other")
            whole = self._scaled(self._pulled(v, slot, self._pulled(v, slot, whole, 1), 1, self.axes), factor)
            if not matters:
                diagonal = self._diagonal(whole)
                alone, whole = diagonal if alone is None else self._added(alone, diagonal), None
        return Gradient(alone, whole)

    def _linear(self, v: int, slot: int, value: Gradient, factor: float) -> Gradient:
        """Return what becomes of a gradient that another path may bring to the same place."""
        if v not in self.roots and (value.alone is not None or value.whole is not None):
            self.roots[v] = Gradient(value.alone, value.whole)
        parts = dict(value.linear)
        if v in self.roots:
            box = self._box(self.roots[v])
            size = prod(box.values.shape)
            if size**2 > MAX_ENTRIES:
                self._drop(v, size)
                collapsed = self.collapsed(value, v)
                return self._fixed(v, slot, collapsed, factor, False)
            parts[v] = Patch(box.first, np.eye(size).reshape(*box.values.shape, size))
        linear = {}
        for root, patch in parts.items():
            linear[root] = self._scaled(self._pulled(v, slot, patch, 1), factor**0.5)
        return Gradient(None, None, linear)

    def _drop(self, v: int, size: int) -> None:
        self.doubts.append(
            f"{self.compiled.layers.describe(v)}: the covariance of {size} positions has more than the {MAX_ENTRIES} "
            "entries that are carried; it is left out"
        )

    def collapsed(self, value: Gradient, v: int) -> Gradient:
        """Return a gradient that no other path brings along, as one part."""
        if not value.linear:
            return value
        alone, whole = value.alone, value.whole
        matters = self.mixed.get(v, False)
        for root, patch in value.linear.items():
            of = self.roots[root]
            size, box = prod(patch.values.shape[:-1]), patch.values.shape[:-1]
            ways = patch.values.reshape(size, -1)
            variance = self._box(of)
            covariance: Floats | None = None
            if of.whole is not None:
                covariance = self._within(of.whole, variance).reshape(ways.shape[1], ways.shape[1]).copy()
                if of.alone is not None:
                    covariance += np.diag(self._within(of.alone, variance).ravel())
            if matters and size**2 <= MAX_ENTRIES:
                right = ways * self._within(of.alone, variance).ravel() if covariance is None else ways @ covariance
                more = Patch((*patch.first, *patch.first), (right @ ways.T).reshape(*box, *box))
                whole = more if whole is None else self._added(whole, more)
                continue
            if matters:
                self._drop(v, size)
            if covariance is None:
                squares = ways**2 @ self._within(of.alone, variance).ravel()
            else:
                squares = ((ways @ covariance) * ways).sum(axis=1)
            more = Patch(patch.first, squares.reshape(box))
            alone = more if alone is None else self._added(alone, more)
        return Gradient(alone, whole)

    # Patches

    def _step(self, v: int, slot: int, axis: int) -> Step | None:
        read = self.compiled.reads[axis][v][slot]
        name = self.compiled.layers.describe(v, axis)
        if read.is_unknown:
            raise UnknownFieldError(f"{name} is not known: {read.why}")
        try:
            return self.weighing.step(v, slot, axis)
        except TooManyTapsError:
            raise UnboundedError(f"{name} has too many taps to be listed") from None

    def _size(self, v: int, slot: int, axis: int) -> int | None:
        return self.compiled.sizes[self.compiled.layers.tails[v][slot]][axis] if self.clipped else None

    def _pulled(self, v: int, slot: int, patch: Patch, power: int, offset: int = 0) -> Patch:
        """Return the patch as the map read through ``slot`` feels it, along the dimensions from ``offset`` on."""
        joint = self.weighing.joint(v)
        if joint is not None:
            return self._pulled_joint(v, slot, patch, joint**power, offset)
        for axis, op in enumerate(self.compiled.layers.ops[v]):
            step, size = self._step(v, slot, axis), self._size(v, slot, axis)
            if step is not None:
                runs = _runs(patch.first[axis + offset], patch.values.shape[axis + offset], op, step, size)
                self._check(v, patch.values.size // max(patch.values.shape[axis + offset], 1) * runs.length)
                patch = _pull(patch, axis + offset, runs, step.step, len(step.phases), power)
                if runs.beyond and op.spreads_border:
                    name = self.compiled.layers.describe(v, axis)
                    self.doubts.append(f"{name}: zeros beyond the border are taken to count in its mean")
        return patch

    def _check(self, v: int, entries: int) -> None:
        if entries > MAX_POSITIONS:
            raise UnboundedError(
                f"{self.compiled.layers.describe(v)}: the effective field has {entries} entries there, more than the "
                f"{MAX_POSITIONS} that are carried; effective_sizes tells its mean and spread"
            )

    def _pulled_joint(self, v: int, slot: int, patch: Patch, taps: Floats, offset: int) -> Patch:
        along = []
        for axis in range(self.axes):
            step = self._step(v, slot, axis)
            assert step is not None
            first_here, count = patch.first[axis + offset], patch.values.shape[axis + offset]
            lines = _lines(step, first_here, count, self._size(v, slot, axis))
            along.append({line.tap: line for line in lines})
        first = list(patch.first)
        shape = list(patch.values.shape)
        for axis, by_tap in enumerate(along):
            first[axis + offset] = min((int(line.positions.min()) for line in by_tap.values()), default=0)
            last = max((int(line.positions.max()) for line in by_tap.values()), default=-1)
            shape[axis + offset] = max(last - first[axis + offset] + 1, 0)
        self._check(v, prod(shape))
        out = np.zeros(shape)
        for place in np.argwhere(taps):
            lines_here = [by_tap.get(int(tap)) for by_tap, tap in zip(along, place, strict=True)]
            if any(line is None for line in lines_here):
                continue
            into = [np.arange(size) for size in shape]
            from_ = [np.arange(size) for size in patch.values.shape]
            for axis, line in enumerate(lines_here):
                assert line is not None
                into[axis + offset] = line.positions - first[axis + offset]
                from_[axis + offset] = line.outputs - patch.first[axis + offset]
            out[np.ix_(*into)] += taps[tuple(place)] * patch.values[np.ix_(*from_)]
        return Patch(tuple(first), out)

    def _pulled_pairs(self, v: int, slot: int, whole: Patch) -> Patch | None:
        """Return covariances through random taps, where two outputs read by the same weight if they read by one tap.

        ``None`` if they have too many entries.
        """
        for axis in range(self.axes):
            step, other = self._step(v, slot, axis), axis + self.axes
            if step is None:
                continue
            lines = _lines(step, whole.first[axis], whole.values.shape[axis], self._size(v, slot, axis))
            first = min((int(line.positions.min()) for line in lines), default=0)
            last = max((int(line.positions.max()) for line in lines), default=-1)
            shape, place = list(whole.values.shape), list(whole.first)
            shape[axis] = shape[other] = last - first + 1
            place[axis] = place[other] = first
            if prod(shape) > MAX_ENTRIES:
                self._drop(v, int(prod(shape) ** 0.5))
                return None
            out = np.zeros(shape)
            to, values = (np.moveaxis(array, (axis, other), (0, 1)) for array in (out, whole.values))
            for line in lines:
                into, from_ = line.positions - first, line.outputs - whole.first[axis]
                to[np.ix_(into, into)] += line.weight * values[np.ix_(from_, from_)]
            whole = Patch(tuple(place), out)
        return whole

    def _diagonal(self, whole: Patch) -> Patch:
        box = whole.values.shape[: self.axes]
        values = whole.values.reshape(prod(box), prod(box)).diagonal().reshape(box).copy()
        return Patch(whole.first[: self.axes], values)

    def _whole(self, alone: Patch) -> Patch:
        box = alone.values.shape
        return Patch((*alone.first, *alone.first), np.diag(alone.values.ravel()).reshape(*box, *box))

    def _box(self, value: Gradient) -> Patch:
        """Return zeros over the box of a gradient."""
        parts = [patch for patch in (value.alone, value.whole) if patch is not None]
        patches = [Patch(part.first[: self.axes], np.zeros(part.values.shape[: self.axes])) for part in parts]
        return reduce(self._added, patches)

    def _within(self, patch: Patch | None, box: Patch) -> Floats:
        """Return the numbers of a patch over a box that holds it."""
        if patch is None:
            return np.zeros(box.values.shape)
        times = len(patch.first) // self.axes
        values = np.zeros(box.values.shape * times)
        places = tuple(
            slice(at - start, at - start + size)
            for at, start, size in zip(patch.first, box.first * times, patch.values.shape, strict=True)
        )
        values[places] = patch.values
        return values

    def _added(self, one: Patch, other: Patch) -> Patch:
        if one.first == other.first and one.values.shape == other.values.shape:
            return Patch(one.first, one.values + other.values)
        first = tuple(map(min, one.first, other.first))
        sides = len(first)
        last = [
            max(a + n, b + m)
            for a, n, b, m in zip(one.first, one.values.shape, other.first, other.values.shape, strict=False)
        ]
        shape = (*(end - start for end, start in zip(last, first, strict=True)), *one.values.shape[sides:])
        if prod(shape) > MAX_POSITIONS:
            raise UnboundedError(
                f"paths feel positions so far apart that the effective field has {prod(shape)} entries, more than the "
                f"{MAX_POSITIONS} that are carried; effective_sizes tells its mean and spread"
            )
        values = np.zeros(shape)
        for patch in (one, other):
            places = tuple(
                slice(at - start, at - start + size)
                for at, start, size in zip(patch.first, first, patch.values.shape, strict=False)
            )
            values[places] += patch.values
        return Patch(first, values)

    @staticmethod
    def _scaled(patch: Patch, factor: float) -> Patch:
        return patch if factor == 1 else Patch(patch.first, patch.values * factor)


class _Mixed(Domain[bool]):
    """Whether the covariance of a gradient at a node matters further back, or on the way there."""

    start = False

    def __init__(self, of: EffectiveMap) -> None:
        self.of = of

    def through(self, v: int, slot: int, value: bool) -> bool | None:
        if not self.of._is_followed(v, slot):
            return None
        fixed = not self.of.weighing.fresh(v)
        return value or (v, slot) in self.of.twice or (fixed and self.of.overlaps(v, slot))

    def join(self, v: int, values: list[bool]) -> bool:
        return any(values)


@dataclass(frozen=True)
class _Line:
    """The outputs that read through one tap, and what they read, [outputs] each."""

    tap: int
    weight: float
    outputs: Ints
    positions: Ints


def _lines(step: Step, first: int, count: int, size: int | None) -> list[_Line]:
    """Return what ``count`` outputs from ``first`` on read inside the map, tap by tap."""
    lines: list[_Line] = []
    period = len(step.phases)
    for number, phase in enumerate(step.phases):
        turns = np.arange(-((number - first) // period), (first + count - 1 - number) // period + 1, dtype=np.int64)
        for position, weight, tap in zip(phase.positions, phase.weights, phase.taps, strict=True):
            positions = position + step.step * turns
            inside = np.ones(len(turns), dtype=bool) if size is None else (positions >= 0) & (positions < size)
            if inside.any() and weight:
                outputs = number + period * turns
                lines.append(_Line(int(tap), float(weight), outputs[inside], positions[inside]))
    return lines


@dataclass(frozen=True)
class _Runs:
    """What a run of outputs reads along one axis."""

    start: int  # the first position that is read
    length: int  # from there to the last one
    regular: list[tuple[int, int, int, float]]  # first output, how many a period apart, first position, weight
    singles: list[tuple[int, int, float]]  # output, position, weight
    beyond: bool  # whether some tap lies beyond the border


def _runs(first: int, count: int, op: Op, step: Step, size: int | None) -> _Runs:
    """Return what ``count`` outputs from ``first`` on read, in runs of outputs of one phase through one tap."""
    period = len(step.phases)
    regular: list[tuple[int, int, int, float]] = []
    singles: list[tuple[int, int, float]] = []
    ends: list[int] = []
    beyond = False
    for number, phase in enumerate(step.phases):
        low, high = -((number - first) // period), (first + count - 1 - number) // period
        if low > high or not len(phase.positions):
            continue
        inner_low, inner_high = low, high
        if size is not None:
            inner_low = max(low, -(int(phase.positions[0]) // step.step))
            inner_high = min(high, (size - 1 - int(phase.positions[-1])) // step.step)
            beyond = beyond or inner_low > low or inner_high < high
            if op.border != "constant":
                after = max(inner_high + 1, inner_low, low)
                for turn in (*range(low, min(inner_low, high + 1)), *range(after, high + 1)):
                    felt: dict[int, float] = {}
                    for position, weight in zip(phase.positions + step.step * turn, phase.weights, strict=True):
                        at = int(at_border(op.border, int(position), size))
                        felt[at] = felt.get(at, 0.0) + float(weight)
                    singles += [(number + period * turn, at, weight) for at, weight in felt.items()]
                    ends += felt
        for position, weight in zip(phase.positions.tolist(), phase.weights.tolist(), strict=True):
            a, b = inner_low, inner_high
            if size is not None and op.border == "constant":
                a = max(low, -(position // step.step))
                b = min(high, (size - 1 - position) // step.step)
            if a <= b and weight:
                regular.append((number + period * a, b - a + 1, position + step.step * a, weight))
                ends += [position + step.step * a, position + step.step * b]
    start = min(ends, default=0)
    length = max(ends, default=start - 1) - start + 1
    return _Runs(start, length, regular, singles, beyond)


def _pull(patch: Patch, axis: int, runs: _Runs, stride: int, period: int, power: int) -> Patch:
    """Return a patch as the positions feel it that its outputs read along one axis."""
    first, values = patch.first[axis], np.moveaxis(patch.values, axis, 0)
    out = np.zeros((runs.length, *values.shape[1:]))
    for output, times, position, weight in runs.regular:
        into = slice(position - runs.start, position - runs.start + (times - 1) * stride + 1, stride)
        from_ = slice(output - first, output - first + (times - 1) * period + 1, period)
        out[into] += weight**power * values[from_]
    for output, position, weight in runs.singles:
        out[position - runs.start] += weight**power * values[output - first]
    place = list(patch.first)
    place[axis] = runs.start
    return Patch(tuple(place), np.ascontiguousarray(np.moveaxis(out, 0, axis)))


def effective_map(
    compiled: Compiled, node: int, index: Sequence[int], source: int, assumed: Assumed, clipped: bool
) -> tuple[Patch | None, list[str], bool]:
    """Return the map of a feature, why it is approximate, and whether it holds mean squares."""
    domain = EffectiveMap(compiled, node, index, source, assumed, clipped)
    value = fold_back(compiled.layers, node, domain, source).get(source)
    if value is None:
        return None, [], domain.weighing.squares
    value = domain.collapsed(value, source)
    felt = value.alone
    if value.whole is not None:
        diagonal = domain._diagonal(value.whole)
        felt = diagonal if felt is None else domain._added(felt, diagonal)
    doubts = [doubt for v in domain.on_way if (doubt := domain.weighing.doubt(v))]
    on_way = set(domain.on_way)
    gated = [v for v in domain.on_way if domain.weighing.is_gate(v)]
    merges = [v for v in domain.on_way if sum(tail in on_way for tail in compiled.layers.tails[v]) > 1]
    if gated and merges:
        name = compiled.layers.describe(gated[0])
        doubts.append(f"{name}: gates are taken as independent, and some path goes round one")
    return felt, list(dict.fromkeys([*doubts, *domain.doubts])), domain.weighing.squares
