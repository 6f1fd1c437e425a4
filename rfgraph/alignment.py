"""Alignment: do the branches of every merge agree on effective stride and centre, and if not, where and by how much.

References
----------
Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019: the two conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from math import lcm
from typing import Literal

from rfgraph.compiled import Compiled
from rfgraph.ops.moving import Crop, Pad
from rfgraph.ops.sliding import ConvTranspose, Sliding
from rfgraph.results import Branch, Fields, Misalignment, Repair
from rfgraph.window import Window

#: ``center``: merges line up at their centres. ``causal``: at the last index they read. ``auto``: at their centres, but
#: branches that end at the same index and do not look ahead are taken to be causal on purpose.
Mode = Literal["auto", "center", "causal"]

_ALIGNED = ("", Fraction(0))


def find(compiled: Compiled, fields: Sequence[Fields], source: int, modes: Sequence[Mode]) -> list[Misalignment]:
    """Return what does not line up, merge by merge.

    Parameters
    ----------
    compiled
        The network.
    fields
        Forward fields of every axis.
    source
        Node that the fields are measured at.
    modes
        What counts as aligned, one entry per axis.
    """
    graph = _Branches(compiled, fields, source)
    axes = range(len(fields))
    groups: dict[tuple[int, int, int, str, Window, Window, Fraction], list[int]] = {}
    for axis in axes:
        same = next((a for a in range(axis) if fields[a] is fields[axis] and modes[a] == modes[axis]), None)
        if same is not None:
            for members in groups.values():
                if same in members:
                    members.append(axis)
            continue
        for merge, reference, other, rule, offset in _disagreements(graph, axis, modes[axis]):
            key = (merge, reference[0], other[0], rule, reference[1], other[1], offset)
            groups.setdefault(key, []).append(axis)
    return [graph.finding(*key, tuple(groups[key])) for key in sorted(groups, key=lambda key: key[:3])]


def unchecked(compiled: Compiled, fields: Sequence[Fields], source: int) -> list[int]:
    """Return the merges of which some branch is not known on some axis, by node id."""
    graph = _Branches(compiled, fields, source)
    merges = []
    for v, tails in enumerate(compiled.layers.tails):
        for axis in range(len(fields) if len(tails) > 1 else 0):
            sides = {} if compiled.layers.ops[v][axis].joins else {u: field for _, u, field in graph.live(v, axis)}
            if len(sides) > 1 and any(field.kind == "unknown" for field in sides.values()):
                merges.append(v)
                break
    return merges


def center_spread(compiled: Compiled, fields: Fields, axis: int) -> list[Fraction | None]:
    """Return how far apart the centres of all paths to each node lie, in source pixels.

    0 is the article's condition for all pairs of paths; ``None`` where the field is not local. Two numbers are kept
    per node, the lowest and highest centre of its paths relative to its field's; no path is enumerated. Where a path
    upsamples, its centre at each merge is the mean over the output phases.
    """
    local = fields.local
    spread: list[tuple[Fraction, Fraction]] = []
    centers: dict[Window, Fraction] = {}

    def center(window: Window) -> Fraction:
        if window not in centers:
            centers[window] = window.mean_center
        return centers[window]

    zero = (Fraction(0), Fraction(0))
    for v, (tails, reads) in enumerate(zip(compiled.layers.tails, compiled.reads[axis], strict=True)):
        sides = []
        if local[v].kind == "local" and len(tails) > 1:
            for tail, read in zip(tails, reads, strict=True):
                side = read.through(local[tail])
                if side.kind == "local":
                    shift = center(side) - center(local[v])
                    sides.append((shift + spread[tail][0], shift + spread[tail][1]))
        elif tails:
            sides = [spread[tails[0]]]
        spread.append((min(low for low, _ in sides), max(high for _, high in sides)) if sides else zero)
    return [high - low if field.kind == "local" else None for field, (low, high) in zip(local, spread, strict=True)]


_Side = tuple[int, Window]  # slot, field


def _disagreements(graph: _Branches, axis: int, mode: Mode) -> Iterator[tuple[int, _Side, _Side, str, Fraction]]:
    """Yield merge, reference branch, other branch, rule and offset for each pair that does not line up."""
    layers = graph.compiled.layers
    for v, tails in enumerate(layers.tails):
        if len(tails) < 2 or layers.ops[v][axis].joins:
            continue
        sides = [(slot, field) for slot, _, field in graph.live(v, axis) if field.kind == "local"]
        if len(sides) < 2 or all(field == sides[0][1] for _, field in sides[1:]):
            continue
        reference = min(sides, key=lambda side: _reference_key(side[1]))
        for side in sides:
            rule, offset = _compare(reference[1], side[1], mode)
            if rule:
                yield v, reference, side, rule, offset


def _reference_key(field: Window) -> tuple[int, Fraction, tuple[tuple[int, int], ...]]:
    """Order branches widest first, and equally wide ones by what they read, never by how the graph was written."""
    return -field.size, field.mean_center, tuple(interval or (0, 0) for interval in field.intervals)


def _compare(reference: Window, other: Window, mode: Mode) -> tuple[str, Fraction]:
    """Return the rule that two branches break, or no rule, and by how much in pixels of the source."""
    if reference == other:
        return _ALIGNED
    if reference.stride != other.stride:
        return "RF001", Fraction(0)
    centers, lasts = [], []
    for y in range(lcm(reference.period, other.period)):
        a, b = reference.interval(y), other.interval(y)
        if a is not None and b is not None:
            centers.append(b[0] + b[1] - a[0] - a[1])
            lasts.append(b[1] - a[1])
    if not any(lasts) and mode == "causal":
        return _ALIGNED
    if not any(centers) and mode != "causal":
        return _ALIGNED
    if mode == "causal":
        offset = Fraction(sum(lasts), len(lasts))
        return ("RF002" if offset else "RF003"), offset
    offset = Fraction(sum(centers), 2 * len(centers))
    if not offset:
        return "RF003", offset
    return ("RF004" if mode == "auto" and not any(lasts) and _no_look_ahead(reference) else "RF002"), offset


def _no_look_ahead(field: Window) -> bool:
    """Return whether no output reads past its own position, or the network pads nothing and so ends on its last tap."""
    phases = [(y, interval) for y, interval in enumerate(field.intervals) if interval is not None]
    return all(last <= y * field.stride for y, (_, last) in phases) or all(first >= 0 for _, (first, _) in phases)


@dataclass(frozen=True)
class _Branches:
    """The part of the network that carries local fields: forks, paths and repairs are looked up in it."""

    compiled: Compiled
    fields: Sequence[Fields]
    source: int

    def live(self, v: int, axis: int) -> list[tuple[int, int, Window]]:
        """Return slot, tail and field of each input of ``v`` that carries a local field."""
        local = self.fields[axis].local
        sides = []
        for slot, (tail, read) in enumerate(
            zip(self.compiled.layers.tails[v], self.compiled.reads[axis][v], strict=True)
        ):
            if read.kind != "full" and local[tail].kind != "empty":
                field = read.through(local[tail])
                if field.kind != "empty":
                    sides.append((slot, tail, field))
        return sides

    @cached_property
    def trees(self) -> dict[int, _Dominators]:
        """The dominator tree of each axis, grown when first asked for."""
        return {}

    def tree(self, axis: int) -> _Dominators:
        """Return the dominator tree along ``axis``."""
        if axis not in self.trees:
            tree = _Dominators(len(self.compiled.layers.nodes), self.source)
            for v in range(self.source + 1, len(self.compiled.layers.nodes)):
                tree.add(v, [tail for _, tail, _ in self.live(v, axis)])
            self.trees[axis] = tree
        return self.trees[axis]

    def finding(
        self,
        merge: int,
        reference: int,
        other: int,
        rule: str,
        one: Window,
        two: Window,
        offset: Fraction,
        axes: tuple[int, ...],
    ) -> Misalignment:
        """Return the finding that branch ``other`` of ``merge`` breaks ``rule`` against branch ``reference``."""
        layers = self.compiled.layers
        tails = layers.tails[merge]
        fork = self.tree(axes[0]).meet(tails[reference], tails[other])
        sides = [
            Branch(slot, layers.nodes[tails[slot]], field, partial(self.path, merge, slot, fork, axes[0]))
            for slot, field in ((reference, one), (other, two))
        ]
        return Misalignment(
            rule=rule,
            node=layers.nodes[merge],
            axes=tuple(layers.axes[axis] for axis in axes),
            fork=layers.nodes[fork],
            reference=sides[0],
            branch=sides[1],
            offset=offset,
            offset_in_merge=offset / Fraction(one.stride),
            _repair=partial(self.repair, merge, reference, other, rule, fork, offset, Fraction(one.stride), axes),
        )

    def path(self, merge: int, slot: int, fork: int, axis: int) -> tuple[object, ...]:
        """Return the widest path from ``fork`` to ``merge`` that enters it at ``slot``."""
        nodes = self.compiled.layers.nodes
        walk, v = [nodes[merge]], self.compiled.layers.tails[merge][slot]
        while v != fork:
            walk.append(nodes[v])
            v = max(self.live(v, axis), key=lambda side: (side[2].size if side[2].kind == "local" else 0, -side[0]))[1]
        walk.append(nodes[fork])
        return tuple(reversed(walk))

    def repair(
        self,
        merge: int,
        reference: int,
        other: int,
        rule: str,
        fork: int,
        offset: Fraction,
        stride: Fraction,
        axes: tuple[int, ...],
    ) -> tuple[Repair | None, str]:
        """Return the smallest change of padding that lines up the two branches, and what to say of it."""
        if rule == "RF001":
            return None, "no padding repairs unequal strides: give the branches the same total stride"
        if rule != "RF002":
            return None, "nothing to repair if it is meant"
        best: tuple[tuple[int, bool, bool, int], Repair] | None = None
        for slot, opposite, wanted in ((other, reference, -offset), (reference, other, offset)):
            shared = self.above(self.compiled.layers.tails[merge][opposite], fork)
            for steps, (node, amount, repair) in enumerate(self.candidates(merge, slot, fork, wanted, stride, axes)):
                if node in shared:
                    continue  # it would move the other branch too
                crops = any(min(repair.padding[axis]) < 0 for axis in axes)
                rank = (abs(amount), node is None, crops, steps)
                if best is None or rank < best[0]:
                    best = rank, repair
        if best is None:
            return None, (
                f"no change of padding repairs it: {offset} input pixels is no whole step of any padding on the way; "
                "an even kernel beside an odd one gives such a half, so change a kernel"
            )
        return best[1], str(best[1])

    def above(self, v: int, fork: int) -> set[int | None]:
        """Return ``v`` and all between it and ``fork``."""
        found: set[int | None] = {v}
        stack = [v] if v != fork else []
        while stack:
            for tail in self.compiled.layers.tails[stack.pop()]:
                if tail not in found and tail > fork:
                    found.add(tail)
                    stack.append(tail)
        return found

    def candidates(
        self, merge: int, slot: int, fork: int, wanted: Fraction, stride: Fraction, axes: tuple[int, ...]
    ) -> Iterator[tuple[int | None, int, Repair]]:
        """Yield the paddings through which all of the branch passes and that can move its centre by ``wanted``."""
        layers = self.compiled.layers
        tree, tail = self.tree(axes[0]), layers.tails[merge][slot]
        v = tail
        while v != fork:
            step = self.step(v, axes)
            if step and (wanted / step).denominator == 1:
                amount = int(wanted / step)
                was = [self.padding(v, axis) for axis in range(len(layers.axes))]
                pairs = tuple(pair for pair in was if pair is not None)
                new = tuple((b + amount, a - amount) if x in axes else (b, a) for x, (b, a) in enumerate(pairs))
                crop = isinstance(layers.ops[v][0], Crop)
                if None not in was and not (crop and any(max(pair) > 0 for pair in new)):
                    yield v, amount, Repair(layers.nodes[v], new, pairs)
            v = tree.parent[v]
        shift = -wanted / stride
        if shift.denominator == 1:
            amount = int(shift)
            new = tuple((amount, -amount) if axis in axes else (0, 0) for axis in range(len(layers.axes)))
            yield None, amount, Repair(layers.nodes[tail], new, None, (layers.nodes[merge], slot))

    def step(self, v: int, axes: tuple[int, ...]) -> Fraction:
        """Return how far one more of padding before moves the centre of ``v``, in source pixels; 0 if it cannot."""
        steps = set()
        for axis in axes:
            op = self.compiled.layers.ops[v][axis]
            local = self.fields[axis].local
            if isinstance(op, (Sliding, Pad)) and local[self.compiled.layers.tails[v][0]].period == 1:
                steps.add(-Fraction(local[self.compiled.layers.tails[v][0]].stride))
            elif isinstance(op, ConvTranspose):
                steps.add(Fraction(local[v].stride))
            else:
                return Fraction(0)
        return steps.pop() if len(steps) == 1 else Fraction(0)

    def padding(self, v: int, axis: int) -> tuple[int, int] | None:
        """Return the padding of ``v`` in numbers, ``None`` where it depends on a size that is not known."""
        op = self.compiled.layers.ops[v][axis]
        if isinstance(op, Sliding):
            return op.pads(self.compiled.sizes[self.compiled.layers.tails[v][0]][axis])
        if isinstance(op, ConvTranspose):
            sized = isinstance(op.padding, str) and op.span < op.stride  # its size is not what its cropping makes it
            return None if sized else op.pads
        return op.padding if isinstance(op, Pad) else None


class _Dominators:
    """A dominator tree grown in topological order, with jump pointers: nearest common dominator in O(log V).

    References
    ----------
    Myers, An applicative random-access stack, Information Processing Letters 1983, for the jump pointers.
    """

    def __init__(self, nodes: int, root: int) -> None:
        self.parent = list(range(nodes))
        self.depth = [0] * nodes
        self.jump = list(range(nodes))
        self.root = root

    def add(self, v: int, tails: Sequence[int]) -> None:
        """Hang ``v`` under the nearest node through which every path to it passes."""
        if not tails:
            return
        above = tails[0]
        for tail in tails[1:]:
            above = self.meet(above, tail)
        jump = self.jump[above]
        near = self.depth[above] - self.depth[jump] == self.depth[jump] - self.depth[self.jump[jump]]
        self.parent[v] = above
        self.depth[v] = self.depth[above] + 1
        self.jump[v] = self.jump[jump] if near else above

    def meet(self, u: int, v: int) -> int:
        """Return the nearest common dominator of ``u`` and ``v``."""
        if self.depth[u] < self.depth[v]:
            u, v = v, u
        while self.depth[u] > self.depth[v]:
            u = self.jump[u] if self.depth[self.jump[u]] >= self.depth[v] else self.parent[u]
        while u != v:
            if self.jump[u] != self.jump[v]:
                u, v = self.jump[u], self.jump[v]
            else:
                u, v = self.parent[u], self.parent[v]
        return u
