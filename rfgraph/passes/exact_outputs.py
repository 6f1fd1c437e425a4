"""Exact outputs as a domain: which outputs of a tile are computed as in the whole image.

A tile is a piece of the image that the network is run on alone. Where its border is no border of the image, what the
network reads beyond it is padding that the whole image does not have there. So along one axis the outputs that are
right form an interval: from the least ``first`` on, no output reads a position before the exact ones of any map that
it is made of, and up to the greatest ``last`` none reads a position after them. It is followed from map to map, phase
by phase, since the composed field does not tell it: a crop and then a padded convolution have padding 0 in all, and a
halo all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.algebra.window import Interval
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold_along


class ExactOutputs(Domain[Interval]):
    """The closed interval of indices that a tile computes as the whole image does; empty where its last is less.

    Parameters
    ----------
    compiled
        The network, with sizes of the tile: every window on the way is local.
    source
        Node id of the input that is cut into tiles.
    """

    def __init__(self, compiled: Compiled, axis: int, source: int) -> None:
        self.reads = compiled.reads[axis]
        self.sizes = [size[axis] or 0 for size in compiled.sizes]
        self.source = source

    @property
    def start(self) -> Interval:
        """The whole tile."""
        return 0, self.sizes[self.source] - 1

    def through(self, v: int, slot: int, value: Interval) -> Interval | None:
        """Return which outputs of ``v`` read only the indices in ``value`` through ``slot``."""
        read = self.reads[v][slot]
        if not read.is_local:
            return None
        first, last = 0, self.sizes[v] - 1
        for phase, interval in enumerate(read.intervals):
            if interval is None:
                continue
            # Output ``phase + period * turn`` reads ``interval`` moved by ``step * turn``.
            good_from = -((interval[0] - value[0]) // read.step)
            good_to = (value[1] - interval[1]) // read.step
            first = max(first, phase + read.period * (good_from - 1) + 1)
            last = min(last, phase + read.period * (good_to + 1) - 1)
        return first, last

    def join(self, v: int, values: list[Interval]) -> Interval:
        return max(first for first, _ in values), min(last for _, last in values)


def exact_outputs(compiled: Compiled, axis: int, way: Sequence[int]) -> Interval:
    """Return the first and last output of a node that a tile with no border of the image computes as the image does.

    Parameters
    ----------
    compiled
        The network, with the sizes of the tile; the windows on the way are local.
    way
        Node ids from the source to the node, as ``between`` returns them.
    """
    return fold_along(compiled.layers, way, ExactOutputs(compiled, axis, way[0]))[way[-1]]
