"""Paths: how many lead from the source to a layer, and how wide the field of each is, by dynamic programming.

What is kept per node is how many paths there are of each shape and length, never a path. The length is that of what
output 0 reads; the shape is all the rest of the window but where it lies: its step, and how its phases differ. Reading
a window through an op changes the shape in a way that does not depend on the length, and adds to the length what
depends only on the shape. So paths of one shape and length stay together, and of paths of one shape the shortest stays
the shortest. Plain networks (r' = r + (k - 1) * S) have one shape per stride, and upsampling ones a few.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from rfgraph.algebra.window import IDENTITY, Window
from rfgraph.ops import Op
from rfgraph.ops.moving import Slice
from rfgraph.ops.pointwise import Join
from rfgraph.ops.sliding import Sliding
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.results import Extremes

#: More lengths than this at one node are put together to ranges; how many paths there are, and the smallest and largest
#: field, stay exact.
MAX_LENGTHS = 4096

#: More shapes than this at one node are not followed: the fields of the paths that pass there are unknown.
MAX_SHAPES = 256

Lengths = dict[tuple[int, int], int]  # (shortest, longest) -> how many paths lie between, both included
Shapes = dict[Window, Lengths]


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
    #: How many paths read the whole axis.
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
    """The paths from ``source`` to ``layer``; two edges between the same nodes make two paths."""

    layer: Hashable
    source: Hashable
    count: int
    axes: tuple[AxisPaths, ...]


@dataclass(frozen=True)
class Walk:
    """Paths from a source along one axis, to the nodes where they end."""

    shapes: dict[int, Shapes]
    #: Why the lengths at a node are no exact counts, where they are not.
    why: dict[int, str]
    #: How many (shape, length) states were made in all: what the walk costs.
    states: int

    def describe(self, v: int, axis: str) -> AxisPaths:
        """Return the paths to node ``v``, which ``axis`` names."""
        shapes = self.shapes.get(v, {})
        sizes: Lengths = {}
        for shape, lengths in shapes.items():
            if shape.kind == "local":
                wider = shape.size  # of the widest phase, for a length of 0
                for (shortest, longest), count in lengths.items():
                    key = (shortest + wider, longest + wider)
                    sizes[key] = sizes.get(key, 0) + count
        kinds = dict.fromkeys(("full", "empty", "unknown"), 0)
        why = self.why.get(v, "")
        for shape, lengths in shapes.items():
            if shape.kind != "local":
                kinds[shape.kind] += sum(lengths.values())
                why = why or shape.why
        return AxisPaths(
            axis,
            tuple(PathsOfSize(*key, sizes[key]) for key in sorted(sizes)),
            kinds["full"],
            kinds["empty"],
            kinds["unknown"],
            why,
        )


def between(compiled: Compiled, source: int, node: int, most: int = MAX_LENGTHS) -> Paths:
    """Return the paths from node id ``source`` to ``node`` and the sizes of their fields.

    Parameters
    ----------
    compiled
        The network.
    source, node
        Node ids.
    most
        How many lengths are kept apart at one node.
    """
    layers = compiled.layers
    nodes = compiled.between([node], source)
    walks: list[Walk] = []
    for axis, reads in enumerate(compiled.reads):
        same = next((other for other in range(axis) if compiled.reads[other] is reads), None)
        walks.append(walk(compiled, axis, source, nodes, most) if same is None else walks[same])
    shapes = walks[0].shapes.get(node, {})
    return Paths(
        layers.nodes[node],
        layers.nodes[source],
        sum(count for lengths in shapes.values() for count in lengths.values()),
        tuple(found.describe(node, axis) for found, axis in zip(walks, layers.axes, strict=True)),
    )


def extremes(compiled: Compiled, axis: int, source: int) -> Extremes:
    """Return the smallest and largest fields of the paths to every node, without counting them."""
    nodes = range(source, len(compiled.layers.nodes))
    found = Extremes([None] * len(compiled.layers.nodes), [None] * len(compiled.layers.nodes), {})

    def visit(v: int, shapes: Shapes) -> None:
        unknown = next((shape.why for shape in shapes if shape.kind == "unknown"), None)
        ends = [
            (shortest + shape.size, longest + shape.size)
            for shape, lengths in shapes.items()
            for shortest, longest in (lengths if shape.kind == "local" else ())
        ]
        if unknown is not None:
            found.unknown[v] = unknown
        elif ends:
            found.smallest[v] = min(shortest for shortest, _ in ends)
            found.largest[v] = max(longest for _, longest in ends)

    walk(compiled, axis, source, nodes, 1, visit=visit, counted=False)
    return found


def walk(
    compiled: Compiled,
    axis: int,
    source: int,
    nodes: Sequence[int],
    most: int,
    counted: bool = True,
    visit: Callable[[int, Shapes], None] | None = None,
) -> Walk:
    """Follow all paths from ``source`` through ``nodes`` at once; kept are those to nodes that none of them reads.

    Parameters
    ----------
    compiled, axis, source
        What is walked, along which axis, from where.
    nodes
        Ids of the nodes to go through, in order, the source first.
    most
        How many lengths are kept apart at one node.
    counted
        Whether paths are counted, with numbers of as many digits as there are merges.
    visit
        Is called with every node in turn, and its paths.
    """
    tails, reads = compiled.layers.tails, compiled.reads[axis]
    last_use = {tail: v for v in nodes for tail in tails[v]}
    shapes: dict[int, Shapes] = {source: {IDENTITY: {(0, 0): 1 if counted else 0}}}
    why: dict[int, str] = {}
    steps: dict[tuple[Window, Window], tuple[Window, int]] = {}
    states = 0
    if visit is not None:
        visit(source, shapes[source])
    for v in nodes[1:]:
        sides = []
        for slot, (tail, read) in enumerate(zip(tails[v], reads[v], strict=True)):
            if tail not in shapes or (read.kind == "empty" and _reads_nothing(compiled, v, slot)):
                continue
            if slot and compiled.layers.ops[v][axis].totals:
                continue  # a norm reads its input over one edge, of which this is the second slot
            if tail in why:
                why.setdefault(v, why[tail])
            unplaced = _unplaced(compiled.layers.ops[v][axis]) if read.status != "exact" else None
            for shape, lengths in shapes[tail].items():
                through = unplaced if unplaced is not None and shape.period == 1 else read
                step = steps.get((through, shape))
                if step is None:
                    step = steps[through, shape] = _step(through, shape)
                if not step[0].exact and step[0].kind == "local":
                    why.setdefault(v, step[0].why)
                sides.append((*step, lengths))
        found = _join(sides)
        if len(found) > MAX_SHAPES:
            unknown = f"{compiled.layers.describe(v, axis)}: paths of more than {MAX_SHAPES} shapes meet here"
            total = sum(count for lengths in found.values() for count in lengths.values())
            found = {Window.unknown(unknown): {(0, 0): total}}
        elif sum(map(len, found.values())) > most:
            share = max(1, most // len(found))
            if any(len(lengths) > share for lengths in found.values()):
                found = {shape: _ranges(lengths, share) for shape, lengths in found.items()}
                why.setdefault(v, f"path fields are given in ranges: more than {most} sizes meet at a node")
        states += sum(map(len, found.values()))
        if found:
            shapes[v] = found
            if visit is not None:
                visit(v, found)
        for tail in tails[v]:
            if last_use[tail] == v:
                shapes.pop(tail, None)
    return Walk(shapes, why, states)


def _reads_nothing(compiled: Compiled, v: int, slot: int) -> bool:
    """Return whether ``v`` reads this input on no axis, so that no path goes there."""
    return all(reads[v][slot].kind == "empty" for reads in compiled.reads)


def _unplaced(op: Op) -> Window | None:
    """Return what an op reads but for where it lies, which may depend on a size that is not known.

    Paths whose phases do not differ are as wide wherever they lie: SAME padding moves what is read and widens nothing.
    """
    if isinstance(op, Sliding):
        return Window(op.span, op.stride)
    if isinstance(op, Slice):
        return Window(1, op.step)
    return Window(1) if isinstance(op, Join) else None


def _step(read: Window, shape: Window) -> tuple[Window, int]:
    """Return the shape of what reads ``shape`` through ``read``, and how much longer it is."""
    window = read.through(shape)
    if window.kind != "local":
        return window, 0
    first, last = next(interval for interval in window.intervals if interval is not None)
    if window.period == 1 and window.exact:
        return Window(1, window.step), last - first
    moved = tuple(None if pair is None else (pair[0] - first, pair[1] - last) for pair in window.intervals)
    return Window.periodic(moved, window.step, exact=window.exact, why=window.why), last - first


def _join(sides: list[tuple[Window, int, Lengths]]) -> Shapes:
    """Return the paths of all inputs of a node: shape, how much longer they became, and what they were."""
    found: Shapes = {}
    shared: set[Window] = set()  # those that still are the table of an input, which must not change
    for shape, more, lengths in sides:
        mine = found.get(shape)
        if mine is None:
            found[shape] = lengths if more == 0 else {(a + more, b + more): n for (a, b), n in lengths.items()}
            if more == 0:
                shared.add(shape)
            continue
        if shape in shared:
            mine = found[shape] = dict(mine)
            shared.discard(shape)
        for (a, b), count in lengths.items():
            key = (a + more, b + more)
            mine[key] = mine.get(key, 0) + count
    return found


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
