"""Centres as a domain: how far apart the centres of all paths to a node lie, which no path is enumerated for."""

from __future__ import annotations

from fractions import Fraction

from rfgraph.algebra.window import Window
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold
from rfgraph.passes.results import Fields

#: The lowest and the highest centre of the paths to a node, against that of its field, in source pixels.
Spread = tuple[Fraction, Fraction]


class CenterSpread(Domain[Spread]):
    """The lowest and the highest centre of all paths. Where a path upsamples, it is the mean over the output phases.

    Parameters
    ----------
    fields
        What the forward pass said; nothing comes to what it knows no centre of.
    """

    start = Fraction(0), Fraction(0)

    def __init__(self, compiled: Compiled, axis: int, fields: Fields) -> None:
        self.tails, self.reads, self.local = compiled.layers.tails, compiled.reads[axis], fields.local
        self.centers: dict[Window, Fraction] = {}

    def through(self, v: int, slot: int, value: Spread) -> Spread | None:
        tails, field = self.tails[v], self.local[v]
        if field.kind != "local":
            return None
        if len(tails) == 1:
            return value
        side = self.reads[v][slot].through(self.local[tails[slot]])
        if side.kind != "local":
            return None
        shift = self.center(side) - self.center(field)
        return shift + value[0], shift + value[1]

    def join(self, v: int, values: list[Spread]) -> Spread:
        return min(low for low, _ in values), max(high for _, high in values)

    def center(self, window: Window) -> Fraction:
        """Return the mean centre of a window, worked out once."""
        if window not in self.centers:
            self.centers[window] = window.mean_center
        return self.centers[window]


def center_spread(compiled: Compiled, axis: int, fields: Fields, source: int) -> list[Fraction | None]:
    """Return how far apart the centres of all paths to each node lie, in source pixels, [V].

    0 is the article's condition for all pairs of paths; ``None`` where the field is not local.

    References
    ----------
    Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.
    """
    spread = fold(compiled.layers, source, CenterSpread(compiled, axis, fields))
    return [spread[v][1] - spread[v][0] if v in spread else None for v in range(len(fields.local))]
