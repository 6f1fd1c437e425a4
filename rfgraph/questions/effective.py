"""Effective receptive fields: not what a feature can see, but how strongly each position is felt.

The strength of a position is the mean square of the gradient with respect to it, over random weights, or the gradient
itself where weights are fixed numbers. ``sizes`` tells mean and spread of all nodes at once. Numbers are floats.

References
----------
Luo, Li, Urtasun, Zemel, Understanding the effective receptive field in deep convolutional neural networks, NIPS 2016.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property, reduce
from math import prod
from typing import Literal

import numpy as np

from rfgraph.algebra.window import Interval
from rfgraph.errors import AttributeValueError, UnboundedError, UnknownFieldError
from rfgraph.frozen import dataclass
from rfgraph.ops import Op
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.effective import effective_map
from rfgraph.passes.moments import Alone, Moments, Notes, Unknown, moments
from rfgraph.passes.results import Fields
from rfgraph.passes.weighing import Assumed, Floats, Gate, Weights
from rfgraph.questions.forks import Branches

#: What is told of each position.
Measure = Literal["E[g^2]", "g", "E|g|", "E[max(g, 0)]"]
Status = Literal["exact", "approximate", "unknown"]


_LEAST = np.finfo(np.float64).smallest_subnormal


@dataclass(frozen=True)
class EffectiveSize:
    """Where the gradient of a layer's features lies on the source, and how far it is spread.

    ``mass``, ``mean`` and ``std`` are those of the first output that reads anything, as if the network had no borders;
    ``masses``, ``means`` and ``stds`` those of every output phase. Outputs ``T`` apart along an axis have the same,
    moved by ``steps``. Masses are ``inf``, or the least float above 0, where floats end.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("two", axes=1)
    >>> last = net.conv("last", net.conv("first", net.input("x"), kernel=3, padding=1), kernel=3, padding=1)
    >>> size = analyze(net).effective_sizes()["last"]
    >>> size.mean, round(size.std[0] ** 2, 6), size.status
    ((0.0,), 1.333333, 'exact')
    """

    layer: Hashable
    axes: tuple[str, ...]
    #: What the pass over the network says of it.
    moments: Alone | Moments | Unknown

    @property
    def status(self) -> Status:
        """``exact``, or why not is told by ``why``."""
        return "unknown" if isinstance(self.moments, Unknown) else "approximate" if self.why else "exact"

    @property
    def why(self) -> str:
        """Why the status is not ``exact``."""
        return self.moments.why if isinstance(self.moments, Unknown) else self.moments.notes.doubt

    @cached_property
    def _by_phase(self) -> Moments:
        """Its moments as arrays; empty if the status is unknown."""
        if isinstance(self.moments, Unknown):
            none = np.zeros((len(self.axes), *(0,) * len(self.axes)))
            return Moments(none[0], none, none, (0,) * len(self.axes), 0, Notes())
        return self.moments.by_phase if isinstance(self.moments, Alone) else self.moments

    @cached_property
    def masses(self) -> Floats:
        """Sum over all positions of each output phase, [*T]; empty if the status is unknown."""
        mass, exponent = self._by_phase.mass, self._by_phase.exponent
        with np.errstate(over="ignore", under="ignore"):
            masses = np.ldexp(mass, exponent)
        return np.where((masses == 0) & (mass != 0), np.copysign(_LEAST, mass), masses)

    @property
    def means(self) -> Floats:
        """Mean position of each output phase, [A, *T]."""
        return self._by_phase.mean

    @cached_property
    def stds(self) -> Floats:
        """Standard deviation of the position of each output phase, [A, *T]."""
        stds: Floats = np.sqrt(np.maximum(self._by_phase.variance, 0))
        return stds

    @property
    def steps(self) -> tuple[int, ...]:
        """How far the positions of outputs ``T`` apart lie from each other, one entry per axis."""
        return self._by_phase.steps

    @property
    def phases(self) -> tuple[int, ...]:
        """Number of output phases, one entry per axis."""
        return self.masses.shape

    @property
    def _first(self) -> tuple[int, ...] | None:
        places = np.argwhere(self.masses)
        return None if not len(places) else tuple(int(place) for place in places[0])

    @property
    def mass(self) -> float | None:
        """Sum over all positions, ``None`` if it is not known."""
        return None if self._first is None else float(self.masses[self._first])

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Mean position, ``None`` if it is not known."""
        return None if self._first is None else tuple(float(mean[self._first]) for mean in self.means)

    @property
    def std(self) -> tuple[float, ...] | None:
        """Standard deviation of the position, ``None`` if it is not known."""
        return None if self._first is None else tuple(float(std[self._first]) for std in self.stds)


def assumed(
    compiled: Compiled, fields: Sequence[Fields], source: int, weights: Weights, gate: Gate, skip: float
) -> Assumed:
    """Return what is assumed of a network, as ``Report.effective_sizes`` takes it."""
    if not isinstance(skip, (int, float)) or not 0 <= skip < float("inf"):
        raise AttributeValueError(
            f"skip {skip!r} is not a number from 0 up; 1 leaves both sides of a merge as they are"
        )
    return Assumed(weights, gate, {} if skip == 1 else dict.fromkeys(_skips(compiled, fields, source), float(skip)))


def _skips(compiled: Compiled, fields: Sequence[Fields], source: int) -> list[tuple[int, int]]:
    """Return the (node id, slot) pairs of merges that read their fork, directly or through ops of one position."""
    branches = Branches(compiled, fields, source)
    layers = compiled.layers
    skips = []
    for v, ops in enumerate(layers.ops):
        if not ops[0].merges or ops[0].stacks or len(layers.tails[v]) < 2 or v < source:
            continue
        live = [(slot, tail) for slot, tail, _ in branches.live(v, 0)]
        if len(live) < 2:
            continue
        fork = reduce(branches.tree(0).meet, [tail for _, tail in live])
        for slot, tail in live:
            while tail != fork and len(layers.tails[tail]) == 1 and _keeps(layers.ops[tail]):
                (tail,) = layers.tails[tail]
            if tail == fork:
                skips.append((v, slot))
    return skips


def _keeps(ops: tuple[Op, ...]) -> bool:
    return all(op.keeps_all and not op.learned_taps for op in ops)


def sizes(compiled: Compiled, source: int, assumed: Assumed) -> dict[Hashable, EffectiveSize]:
    """Return the effective size of every node that depends on ``source`` by a path that reads no whole axis.

    Raises
    ------
    AttributeValueError, UnknownNodeError
        If what is assumed cannot be.
    """
    names, axes = compiled.layers.nodes, compiled.layers.axes
    return {names[v]: EffectiveSize(names[v], axes, value) for v, value in moments(compiled, source, assumed).items()}


@dataclass(frozen=True)
class EffectiveField:
    """How strongly one feature feels each position of the source.

    ``map`` begins at position ``first`` of the source. It holds ``measure``: ``"E[g^2]"``, the mean square of the
    gradient over random weights, or ``"g"``, the gradient itself where weights are fixed. Of the latter, figures are
    those of its absolute value. A Gaussian field has a standard deviation in ``|g|`` that is ``sqrt(2)`` times that in
    ``g^2``: compare like with like.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("two", axes=1)
    >>> last = net.conv("last", net.conv("first", net.input("x"), kernel=3), kernel=3)
    >>> field = analyze(net).effective_field("last")
    >>> field.first, (9 * field.map).round(9).tolist(), round(field.mean[0], 9), field.status
    ((0,), [1.0, 2.0, 3.0, 2.0, 1.0], 2.0, 'exact')
    >>> field.side(0.5), field.area(0.5)
    (2, 2)
    """

    layer: Hashable
    index: tuple[int, ...]
    axes: tuple[str, ...]
    measure: Measure
    first: tuple[int, ...]
    map: Floats
    #: Size of the theoretical field, one entry per axis.
    size: tuple[int, ...]
    #: Whether the borders of all maps were heeded.
    clipped: bool
    #: Why it is no more than an approximation; none if it is exact.
    reasons: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """``exact``, or ``approximate`` for the ``reasons``."""
        return "approximate" if self.reasons else "exact"

    @cached_property
    def strength(self) -> Floats:
        """The share of each position in the whole, [*map.shape]."""
        strength: Floats = np.abs(self.map)
        whole: float = strength.sum()
        return strength / whole

    @property
    def mass(self) -> float:
        """Sum of the map."""
        return float(self.map.sum())

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean position, in pixels of the source, one entry per axis."""
        means = []
        for axis, (start, size) in enumerate(zip(self.first, self.map.shape, strict=True)):
            means.append(start + float(self.along(axis) @ np.arange(size)))
        return tuple(means)

    def along(self, axis: int) -> Floats:
        """Return the shares summed over the other axes, [positions].

        Parameters
        ----------
        axis
            Number of the axis, from 0.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("b", net.conv("a", net.input("x"), kernel=3), kernel=3)
        >>> analyze(net).effective_field("b").along(0).round(3).tolist()
        [0.111, 0.222, 0.333, 0.222, 0.111]
        """
        others = tuple(other for other in range(self.map.ndim) if other != axis)
        shares: Floats = self.strength.sum(axis=others)
        return shares

    @cached_property
    def covariance(self) -> Floats:
        """Covariance of the position, [A, A], in pixels."""
        axes = range(self.map.ndim)
        away = [
            np.arange(size) + (start - mean)
            for size, start, mean in zip(self.map.shape, self.first, self.mean, strict=True)
        ]
        covariance = np.zeros((self.map.ndim, self.map.ndim))
        for one in axes:
            for other in range(one, self.map.ndim):
                if one == other:
                    value = float(self.along(one) @ away[one] ** 2)
                else:
                    pair = self.strength.sum(axis=tuple(axis for axis in axes if axis not in (one, other)))
                    value = float(away[one] @ pair @ away[other])
                covariance[one, other] = covariance[other, one] = value
        return covariance

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the position, in pixels, one entry per axis."""
        return tuple(float(variance) ** 0.5 for variance in np.diagonal(self.covariance))

    @property
    def luo_size(self) -> float:
        """Side of a square of as many positions as are felt more than 4.55 % as strongly as the strongest.

        References
        ----------
        Luo et al. 2016, section 4: 4.55 % is what a Gaussian has left two standard deviations away.
        """
        strong = int((self.strength > 0.0455 * self.strength.max()).sum())
        return float(strong ** (1 / self.map.ndim))

    @property
    def rate(self) -> float:
        """``luo_size`` over the side of the theoretical field."""
        side: float = prod(self.size) ** (1 / len(self.size))
        return self.luo_size / side

    def box(self, share: float = 0.5) -> tuple[Interval, ...]:
        """Return the smallest square that holds at least a share of the whole, where it holds most: ends per axis.

        Parameters
        ----------
        share
            Share of the whole, more than 0 and at most 1.

        Raises
        ------
        AttributeValueError
            If the share is no such number.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("b", net.conv("a", net.input("x"), kernel=3), kernel=3)
        >>> analyze(net).effective_field("b").box(0.6)
        ((1, 3),)
        """
        side = self.side(share)
        sums = self._sums(side)
        place = np.unravel_index(int(sums.argmax()), sums.shape)
        return tuple(
            (start + int(at), start + int(at) + min(side, size) - 1)
            for start, at, size in zip(self.first, place, self.map.shape, strict=True)
        )

    def side(self, share: float = 0.5) -> int:
        """Return the side of the smallest square, wherever it lies, that holds at least a share of the whole.

        Parameters
        ----------
        share
            Share of the whole, more than 0 and at most 1.

        Raises
        ------
        AttributeValueError
            If the share is no such number.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("b", net.conv("a", net.input("x"), kernel=3), kernel=3)
        >>> analyze(net).effective_field("b").side(0.6)
        3
        """
        _check_share(share)
        low, high = 1, max(self.map.shape)
        while low < high:
            middle = (low + high) // 2
            if self._sums(middle).max() >= share - 1e-12:
                high = middle
            else:
                low = middle + 1
        return low

    def area(self, share: float = 0.5) -> int:
        """Return how many positions hold at least a share of the whole, the strongest first.

        Parameters
        ----------
        share
            Share of the whole, more than 0 and at most 1.

        Raises
        ------
        AttributeValueError
            If the share is no such number.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("b", net.conv("a", net.input("x"), kernel=3), kernel=3)
        >>> analyze(net).effective_field("b").area(0.3)
        1
        """
        _check_share(share)
        sums = np.cumsum(np.sort(self.strength, axis=None)[::-1])
        return min(int(np.searchsorted(sums, share - 1e-12)) + 1, self.map.size)

    def _sums(self, side: int) -> Floats:
        """Return the shares that squares of one side hold, by where they begin."""
        sums = self.strength
        for axis, size in enumerate(self.map.shape):
            width = min(side, size)
            totals = np.concatenate([np.zeros_like(sums.take([0], axis)), np.cumsum(sums, axis=axis)], axis=axis)
            sums = totals.take(range(width, size + 1), axis) - totals.take(range(size + 1 - width), axis)
        return sums


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise AttributeValueError(f"share {share!r} is not above 0 and at most 1; 0.5 is half of all")


def effective_field(
    compiled: Compiled,
    fields: Sequence[Fields],
    node: int,
    index: tuple[int, ...],
    source: int,
    assumed: Assumed,
    clipped: bool,
) -> EffectiveField:
    """Return how strongly feature ``index`` of a node feels each position of ``source``.

    Parameters
    ----------
    node, index
        The feature.
    clipped
        Whether maps end at their borders; their sizes are known then.

    Raises
    ------
    UnboundedError
        If every path reads a whole axis, or maps are too large.
    UnknownFieldError
        If a field on the way is not known, or the feature feels nothing of the source.
    """
    layers = compiled.layers
    for axis, of_axis in enumerate(fields):
        local = of_axis.local[node]
        if local.is_empty and of_axis.is_global[node]:
            raise UnboundedError(
                f"{layers.describe(node, axis)} reads the whole axis, or on to an end of it, by all paths"
            )
        if local.is_unknown and not clipped:
            raise UnknownFieldError(f"{layers.describe(node, axis)} is not known: {local.why}")
    felt, reasons, squares = effective_map(compiled, node, index, source, assumed, clipped)
    if felt is None or not np.abs(felt.values).max(initial=0):
        raise UnknownFieldError(
            f"{layers.describe(node)}: feature {list(index)} feels nothing of {layers.nodes[source]!r}"
        )
    if not np.isfinite(felt.values).all():
        raise UnboundedError(f"{layers.describe(node)}: its mean square gradient is larger than floats are")
    windows = [of_axis.local[node] for of_axis in fields]
    size = tuple(w.size if w.is_local else n for w, n in zip(windows, felt.values.shape, strict=True))
    measure: Measure = "E[g^2]" if squares else "g"
    return EffectiveField(
        layers.nodes[node], index, layers.axes, measure, felt.first, felt.values, size, clipped, tuple(reasons)
    )
