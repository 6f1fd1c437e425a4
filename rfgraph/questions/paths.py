"""Paths: how many lead from the source to a layer, and how wide the field of each is, by dynamic programming."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import fold, folded
from rfgraph.passes.lengths import MAX_LENGTHS, PathDomain, PathLengths
from rfgraph.passes.results import Extremes


@dataclass(frozen=True, slots=True)
class PathsOfSize:
    """How many paths have a field of ``smallest`` to ``largest``; both are the same but beyond the cap on states."""

    smallest: int
    largest: int
    count: int


@dataclass(frozen=True)
class AxisPaths:
    """Fields of the paths to one layer along one axis, each the hull of what one path reads, cut at no border."""

    axis: str
    #: The paths that read part of the axis, narrowest first.
    sizes: tuple[PathsOfSize, ...]
    #: How many paths read the whole axis, or on to one end of it.
    whole: int
    #: How many paths read nothing: they land between the taps of a transposed convolution.
    empty: int
    #: How many paths have a field that is not known.
    unknown: int
    #: Why the status is not ``exact``.
    why: str

    @property
    def smallest(self) -> int | None:
        """The narrowest field of a path; ``None`` if no path has a size, or not all are known."""
        return None if self.unknown or not self.sizes else min(paths.smallest for paths in self.sizes)

    @property
    def largest(self) -> int | None:
        """The widest field of a path that does not read the whole axis; ``None`` as for ``smallest``."""
        return None if self.unknown or not self.sizes else max(paths.largest for paths in self.sizes)

    @property
    def status(self) -> Literal["exact", "bound", "unknown"]:
        """``bound`` if ``sizes`` gives ranges, or some path may read less than it says."""
        return "unknown" if self.unknown else "bound" if self.why else "exact"


@dataclass(frozen=True)
class Paths:
    """The paths from ``source`` to ``layer``; two edges between the same nodes make two paths.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.add("add", x, net.conv("conv", x, kernel=3, padding=1))
    >>> analyze(net).paths("add").count
    2
    """

    layer: Hashable
    source: Hashable
    count: int
    axes: tuple[AxisPaths, ...]


def between(compiled: Compiled, source: int, node: int, most: int = MAX_LENGTHS) -> Paths:
    """Return the paths from node id ``source`` to ``node`` and the sizes of their fields.

    Parameters
    ----------
    most
        How many lengths are kept apart at one node.
    """
    layers = compiled.layers

    def solve(axis: int) -> PathLengths:
        return fold(layers, source, PathDomain(compiled, axis, most), [node]).get(node, PathLengths((), ""))

    lengths = compiled.per_axis(solve)
    axes = tuple(_described(paths, axis) for paths, axis in zip(lengths, layers.axes, strict=True))
    return Paths(layers.nodes[node], layers.nodes[source], lengths[0].count, axes)


def _described(paths: PathLengths, axis: str) -> AxisPaths:
    sizes: dict[tuple[int, int], int] = {}
    for smallest, largest, count in paths.sizes():
        sizes[smallest, largest] = sizes.get((smallest, largest), 0) + count
    kinds = dict.fromkeys(("full", "empty", "unknown"), 0)
    why = paths.why
    for shape, _, lengths in paths.groups:
        if not shape.is_local:
            kinds["full" if shape.is_unbounded else shape.kind] += sum(lengths.values())
            why = why or shape.why
    return AxisPaths(
        axis,
        tuple(PathsOfSize(*key, sizes[key]) for key in sorted(sizes)),
        kinds["full"],
        kinds["empty"],
        kinds["unknown"],
        why,
    )


def extremes(compiled: Compiled, axis: int, source: int) -> Extremes:
    """Return the smallest and largest fields of the paths to every node, without counting them."""
    count = len(compiled.layers.nodes)
    extremes = Extremes([None] * count, [None] * count, {})
    for v, paths in folded(compiled.layers, source, PathDomain(compiled, axis, 1, counted=False)):
        unknown = next((shape.why for shape, _, _ in paths.groups if shape.is_unknown), None)
        ends = list(paths.sizes())
        if unknown is not None:
            extremes.unknown[v] = unknown
        elif ends:
            extremes.smallest[v] = min(smallest for smallest, _, _ in ends)
            extremes.largest[v] = max(largest for _, largest, _ in ends)
    return extremes
