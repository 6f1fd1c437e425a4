"""Regions: the positions that one feature reads, cut at the border of every map on the way, not only at the image.

Along one axis they are kept as runs, so that a feature that reads billions of pixels costs no more than one that reads
a few, holes or not.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.algebra.runs import Runs, TooManyRunsError, united
from rfgraph.algebra.window import Interval, Window
from rfgraph.ops import Op
from rfgraph.ops.base import runs_at_border
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import fold_back
from rfgraph.passes.products import ProductDomain, Products


class Region(ProductDomain[Runs]):
    """What one feature reads of the maps that it depends on.

    Parameters
    ----------
    compiled
        A network whose sizes are known on the way.
    index
        The feature: one index per axis inside the map at which the walk starts.
    """

    def __init__(self, compiled: Compiled, index: Sequence[int]) -> None:
        super().__init__(compiled)
        self.index = index
        #: Whether the holes of some set were more than are followed, so that its hull stands in its place.
        self.widened = False

    @property
    def first(self) -> tuple[Runs, ...]:
        return tuple(Runs.of(y, y) for y in self.index)

    def read(self, v: int, slot: int, axis: int, part: Runs) -> Runs | None:
        layers = self.compiled.layers
        size = self.compiled.sizes[layers.tails[v][slot]][axis] or 0
        inputs, exact = inputs_read(layers.ops[v][axis], self.compiled.reads[axis][v][slot], part, size)
        self.widened = self.widened or not exact
        return inputs

    def covers(self, one: Runs, other: Runs) -> bool:
        return one.covers(other)

    def hull(self, one: Runs, other: Runs) -> Runs:
        both, exact = covering([one, other])
        self.widened = self.widened or not exact
        return both


def reach(compiled: Compiled, node: int, index: Sequence[int], source: int) -> Products[Runs]:
    """Return what feature ``index`` of ``node`` reads of ``source``.

    Parameters
    ----------
    compiled
        A network whose sizes from ``source`` to ``node`` are known.
    node, index
        The feature: a node id, and one index per axis inside its map.
    """
    domain = Region(compiled, index)
    reached = fold_back(compiled.layers, node, domain, source).get(source, Products([], True))
    return Products(reached.products, reached.exact and not domain.widened)


def box(reached: Products[Runs]) -> tuple[Interval, ...] | None:
    """Return the closed interval on each axis that bounds what is read, ``None`` if nothing is."""
    if not reached.products:
        return None
    along = zip(*reached.products, strict=True)
    return tuple((min(runs.first for runs in parts), max(runs.last for runs in parts)) for parts in along)


def inputs_read(op: Op, read: Window, outputs: Runs, size: int) -> tuple[Runs | None, bool]:
    """Return which of ``size`` inputs the ``outputs`` of an op read, and whether it is no more than those.

    Inputs that would be too many runs are bounded by an interval; ``None`` if none are read.
    """
    if not size:
        return None, True
    try:
        return _read(op, read, outputs, size), True
    except TooManyRunsError:
        return _bound(op, read, outputs, size), False


def covering(sets: Sequence[Runs]) -> tuple[Runs, bool]:
    """Return what covers all ``sets``, and whether it is no more than they are: too many runs become an interval."""
    if len(sets) == 1:
        return sets[0], True
    try:
        return united(sets), True
    except TooManyRunsError:
        return Runs.of(min(one.first for one in sets), max(one.last for one in sets)), False


def _read(op: Op, read: Window, outputs: Runs, size: int) -> Runs | None:
    """Return which of ``size`` inputs the ``outputs`` read, ``None`` if they read none."""
    if not (read.is_local or read.is_unbounded):
        return None
    if read.is_unbounded or (outputs.is_interval and op.spacing == 1 and not op.skips and read.seamless):
        return _between(op, read, outputs, size)
    parts: list[Runs] = []
    for phase, turns in outputs.phases(read.period).items():
        interval = read.intervals[phase]
        if interval is None:
            continue
        taps = op.taps(read, phase)
        at = turns.scaled(read.step)
        if isinstance(taps, range):
            parts.append(at.scaled(1, taps[0]).swept(taps.step, len(taps)))
        else:
            parts.append(united(at.scaled(1, tap) for tap in taps))
    return runs_at_border(op.border, united(parts), size) if parts else None


def _between(op: Op, read: Window, outputs: Runs, size: int) -> Runs | None:
    """Return all inputs from the first to the last that ``outputs`` read, which one period at their ends tells."""
    if read.is_full:
        return Runs.of(0, size - 1)
    if read.is_local and read.period == 1 and read.intervals[0] is not None:
        first, last = read.intervals[0]
        return runs_at_border(
            op.border, Runs.of(outputs.first * read.step + first, outputs.last * read.step + last), size
        )
    ends = [end for y in outputs.at_ends(read.period) if (end := read.ends(y)) is not None]
    if not ends:
        return None
    first = min(0 if first is None else first for first, _ in ends)
    last = max(size - 1 if last is None else last for _, last in ends)
    if read.side:  # it begins or ends with the map
        return Runs.of(max(first, 0), min(last, size - 1)) if first < size and last >= 0 else None
    return runs_at_border(op.border, Runs.of(first, last), size)


def _bound(op: Op, read: Window, outputs: Runs, size: int) -> Runs | None:
    """Return an interval that holds all inputs that ``outputs`` read."""
    if op.border != "constant":
        return Runs.of(0, size - 1)
    return _between(op, read, outputs.hull, size)
