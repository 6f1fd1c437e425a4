"""Effective receptive fields: not what a feature can see, but how strongly each position is felt.

The strength of a position is the mean square of the gradient with respect to it, over random weights, or the gradient
itself where weights are fixed numbers. ``sizes`` tells mean and spread of all nodes at once. Numbers are floats.

References
----------
Luo, Li, Urtasun, Zemel, Understanding the effective receptive field in deep convolutional neural networks, NIPS 2016.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np

from rfgraph.errors import AttributeValueError
from rfgraph.ops import Op
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.moments import Moments, Unknown, moments
from rfgraph.passes.results import Fields
from rfgraph.passes.weighing import Assumed, Floats, Gate, Weights
from rfgraph.questions.forks import Branches

Status = Literal["exact", "approximate", "unknown"]


@dataclass(frozen=True)
class EffectiveSize:
    """Where the gradient of a layer's features lies on the source, and how far it is spread.

    ``mass``, ``mean`` and ``std`` are those of the first output that reads anything, as if the network had no borders;
    ``masses``, ``means`` and ``stds`` those of every output phase. Outputs ``T`` apart along an axis have the same,
    moved by ``steps``. Masses are ``inf`` where floats end.

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
    status: Status
    #: Why the status is not ``exact``.
    why: str
    masses: Floats  # [*T]; empty if the status is unknown
    means: Floats  # [A, *T]
    stds: Floats  # [A, *T]
    steps: tuple[int, ...]

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
    found = []
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
                found.append((v, slot))
    return found


def _keeps(ops: tuple[Op, ...]) -> bool:
    return all(op.keeps_all and not op.learned_taps for op in ops)


def sizes(compiled: Compiled, source: int, assumed: Assumed) -> dict[Hashable, EffectiveSize]:
    """Return the effective size of every node that depends on ``source`` by a path that reads no whole axis.

    Parameters
    ----------
    compiled
        The network.
    source
        Node id of what is read.
    assumed
        What is assumed of its weights.

    Raises
    ------
    AttributeValueError, UnknownNodeError
        If what is assumed cannot be.
    """
    names, axes = compiled.layers.nodes, compiled.layers.axes
    found: dict[Hashable, EffectiveSize] = {}
    for v, value in moments(compiled, source, assumed).items():
        found[names[v]] = _size(names[v], axes, value)
    return found


def _size(layer: Hashable, axes: tuple[str, ...], value: Moments | Unknown) -> EffectiveSize:
    if isinstance(value, Unknown):
        empty = np.zeros((0,) * len(axes))
        none = np.zeros((len(axes), *empty.shape))
        return EffectiveSize(layer, axes, "unknown", value.why, empty, none, none, (0,) * len(axes))
    status: Status = "approximate" if value.doubt else "exact"
    with np.errstate(over="ignore"):
        masses = np.ldexp(value.mass, value.exponent)
    stds = np.sqrt(np.maximum(value.variance, 0))
    return EffectiveSize(layer, axes, status, value.doubt, masses, value.mean, stds, value.steps)
