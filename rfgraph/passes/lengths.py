"""Path lengths as a domain: how many paths lead from a source to every node, and how wide the field of each is.

What is kept per node is how many paths there are of each shape and length, never a path. The length is that of what
output 0 reads; the shape is all the rest of the window but where it lies: its step, and how its phases differ. Reading
a window through an op changes the shape in a way that does not depend on the length, and adds to the length what
depends only on the shape. So paths of one shape and length stay together, and of paths of one shape the shortest stays
the shortest. Plain networks (r' = r + (k - 1) * S) have one shape per stride, and upsampling ones a few.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from math import gcd
from operator import and_

from rfgraph.algebra.window import FULL, FUTURE, IDENTITY, MAY_NOT_REACH, PAST, Side, Window
from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.covers import BOTH, EVERYTHING, FIRST, LAST, Covered
from rfgraph.passes.fold import Domain

#: More lengths than this at one node are put together to ranges; how many paths there are, and the smallest and largest
#: field, stay exact.
MAX_LENGTHS = 4096

#: So many lengths are followed over a whole walk. As they are used up, ranges at a node become fewer and wider.
MAX_STATES = 1 << 21

#: What is left of them is spent by this share at a node, and so many are kept apart at any.
SHARE, FEWEST = 1 << 9, 16

#: Shapes at one node with more phases than this in all are not followed: the fields of the paths there are unknown.
MAX_PHASES = 1 << 10

#: By the side to which a window reads on: the ends that have to be got to.
_NEEDED: dict[Side, int] = {"past": FIRST, "future": LAST, "both": BOTH}
#: The shape of all windows that read on to a side, whatever else they read.
_TO_SIDE: dict[Side, Window] = {"past": PAST, "future": FUTURE, "both": FULL}

Lengths = dict[tuple[int, int], int]  # (shortest, longest) -> how many paths lie between, both included
Group = tuple[Window, int, Lengths]  # shape, what a join adds to all of the lengths (0 after it), lengths


@dataclass(frozen=True, slots=True)
class PathLengths:
    """The paths to one node, by shape."""

    groups: tuple[Group, ...]
    #: Why the lengths are no exact counts, or what reads a whole axis may read less, where that is so.
    why: str
    #: To which ends of the source the features on every path together get, see ``covers``.
    ends: int = EVERYTHING

    @property
    def count(self) -> int:
        """How many paths there are."""
        return sum(count for _, _, lengths in self.groups for count in lengths.values())

    def sizes(self) -> Iterator[tuple[int, int, int]]:
        """Yield the smallest and the largest field, and how many paths lie between; of paths that have a size."""
        for shape, _, lengths in self.groups:
            if shape.is_local:
                widest = shape.size  # of the widest phase, for a length of 0
                for (shortest, longest), count in lengths.items():
                    yield shortest + widest, longest + widest, count


class PathDomain(Domain[PathLengths]):
    """Carries the lengths of all paths along one axis.

    Parameters
    ----------
    most
        How many lengths are kept apart at one node.
    counted
        Whether paths are counted, with numbers of as many digits as there are merges.
    """

    def __init__(self, compiled: Compiled, axis: int, most: int = MAX_LENGTHS, *, counted: bool = True) -> None:
        self.compiled, self.axis = compiled, axis
        self.reads = compiled.reads[axis]
        self.most, self.counted = most, counted
        self.covered = Covered(compiled, axis)
        self.steps: dict[tuple[Window, int, str, Window], tuple[Window, int, str]] = {}
        #: How many (shape, length) states were made in all: what the walk costs.
        self.states = 0

    @property
    def start(self) -> PathLengths:
        return PathLengths(((IDENTITY, 0, {(0, 0): 1 if self.counted else 0}),), "")

    def through(self, v: int, slot: int, value: PathLengths) -> PathLengths | None:
        read, op = self.reads[v][slot], self.compiled.layers.ops[v][self.axis]
        if read.kind == "empty" and all(reads[v][slot].kind == "empty" for reads in self.compiled.reads):
            return None
        if slot and op.totals:
            return None  # a norm reads its input over one edge, of which this is the second slot
        unplaced = op.unplaced if read.status != "exact" else None
        if unplaced is not None and op.bound:
            unplaced = unplaced.at_most(op.bound)
        groups, why = [], value.why
        for shape, _, lengths in value.groups:
            window = unplaced if unplaced is not None and shape.period == 1 else read
            key = window, window.spacing, window.why, shape  # windows are equal that read alike, be it for sure or not
            step = self.steps.get(key)
            if step is None:
                step = self.steps[key] = self._step(v, window, shape)
            stepped, more, doubt = step
            reads_on = window.is_unbounded and stepped.is_unbounded and not shape.is_full
            if not doubt and reads_on and not value.ends & _NEEDED[stepped.side]:
                doubt = f"{self.compiled.layers.describe(v, self.axis)}: {MAY_NOT_REACH}"
            why = why or doubt
            groups.append((stepped, more, lengths))
        return PathLengths(tuple(groups), why, self._ends(v, slot, value.ends))

    def _ends(self, v: int, slot: int, ends: int) -> int:
        """Return to which of the ends that all paths got to before they get through node ``v`` too."""
        if not self.counted:
            return ends  # extremes are of paths that read no whole axis
        op = self.compiled.layers.ops[v][self.axis]
        return ends if op.joins and op.reads_all else ends & self.covered.edge(v, slot)

    def join(self, v: int, values: list[PathLengths]) -> PathLengths:
        unknown = None if self.counted else next(filter(_is_unknown, values), None)
        if unknown is not None:  # then no extreme is known, and nothing else is asked
            return unknown
        shapes = _joined(group for value in values for group in value.groups)
        why = next((value.why for value in values if value.why), "")
        ends = reduce(and_, (value.ends for value in values))
        if sum(shape.period for shape in shapes) > MAX_PHASES:
            total = sum(count for lengths in shapes.values() for count in lengths.values())
            shapes = {self._too_many_phases(v): {(0, 0): total}}
        states = sum(map(len, shapes.values()))
        most = min(self.most, max(FEWEST, (MAX_STATES - self.states) // SHARE))
        share = max(1, most // len(shapes))
        if states > most and any(len(lengths) > share for lengths in shapes.values()):
            shapes = {shape: _ranges(lengths, share) for shape, lengths in shapes.items()}
            where = f"{MAX_STATES} sizes on the way" if most < self.most else f"{most} sizes meet at a node"
            why = why or f"path fields are given in ranges: more than {where}"
        self.states += states
        return PathLengths(tuple((shape, 0, lengths) for shape, lengths in shapes.items()), why, ends)

    def _step(self, v: int, read: Window, shape: Window) -> tuple[Window, int, str]:
        """Return the shape of what reads ``shape`` through ``read`` at ``v``, how much longer it is, and any doubt."""
        if read.is_local and shape.is_local:
            turns = shape.period // gcd(shape.period, read.step)
            if read.period * turns > MAX_PHASES:
                return self._too_many_phases(v), 0, ""
        return _step(read, shape)

    def _too_many_phases(self, v: int) -> Window:
        name = self.compiled.layers.describe(v, self.axis)
        return Window.unknown(f"{name}: paths with more than {MAX_PHASES} phases in all meet here")


def _is_unknown(paths: PathLengths) -> bool:
    return any(shape.is_unknown for shape, _, _ in paths.groups)


def _step(read: Window, shape: Window) -> tuple[Window, int, str]:
    """Return the shape of what reads ``shape`` through ``read``, how much longer it is, and why it may be less."""
    window = read.through(shape)
    if window.is_unbounded:  # whether ``shape`` gets to the end does not depend on it alone
        return _TO_SIDE[window.side], 0, "" if read.exact else read.why
    if window.kind != "local":
        return window, 0, ""
    first, last = next(interval for interval in window.intervals if interval is not None)
    why = "" if window.exact else window.why
    if window.period == 1:
        return Window(1, window.step), last - first, why
    moved = tuple(None if pair is None else (pair[0] - first, pair[1] - last) for pair in window.intervals)
    return Window.periodic(moved, window.step), last - first, why


def _joined(groups: Iterator[Group]) -> dict[Window, Lengths]:
    """Return the paths of all inputs of a node, by shape."""
    lengths_of: dict[Window, Lengths] = {}
    shared: set[Window] = set()  # those that still are the table of an input, which must not change
    for shape, more, lengths in groups:
        mine = lengths_of.get(shape)
        if mine is None:
            lengths_of[shape] = lengths if more == 0 else {(a + more, b + more): n for (a, b), n in lengths.items()}
            if more == 0:
                shared.add(shape)
            continue
        if shape in shared:
            mine = lengths_of[shape] = dict(mine)
            shared.discard(shape)
        for (a, b), count in lengths.items():
            key = (a + more, b + more)
            mine[key] = mine.get(key, 0) + count
    return lengths_of


def _ranges(lengths: Lengths, most: int) -> Lengths:
    """Return at most ``most`` ranges of as many neighbouring lengths each; both ends of a range are lengths met."""
    if len(lengths) <= most:
        return lengths
    ordered = sorted(lengths.items())
    each = -(-len(ordered) // most)
    ranges: Lengths = {}
    for begin in range(0, len(ordered), each):
        group = ordered[begin : begin + each]
        key = (group[0][0][0], max(longest for (_, longest), _ in group))
        ranges[key] = ranges.get(key, 0) + sum(count for _, count in group)
    return ranges
