"""Alignment: do the branches of every merge agree on effective stride and centre, and if not, where and by how much.

References
----------
Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019: the two conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from math import lcm
from typing import TYPE_CHECKING, Literal

from rfgraph.algebra.residues import shortest_period
from rfgraph.algebra.window import Window
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.results import Fields
from rfgraph.questions.findings import Finding
from rfgraph.questions.misalignment import Branch, Misalignment, Repair, SizeDependent

if TYPE_CHECKING:  # numpy is imported where it is needed
    from rfgraph.passes.by_size import Field, Solution

#: ``center``: merges line up at their centres. ``causal``: at the last index they read. ``auto``: at their centres, but
#: branches that end at the same index and do not look ahead are taken to be causal on purpose.
Mode = Literal["auto", "center", "causal"]

_ALIGNED = ("", Fraction(0))


def find(
    compiled: Compiled,
    fields: Sequence[Fields],
    source: int,
    modes: Sequence[Mode],
    solutions: Sequence[Solution | None] = (),
    merges: Iterable[int] | None = None,
) -> list[Finding]:
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
    solutions
        Fields by residue of the input size of every axis, where they are solved.
    merges
        Node ids of the merges to look at, where it is known that all others line up.
    """
    graph = _Branches(compiled, fields, source)
    looked_at = range(len(compiled.layers.nodes)) if merges is None else sorted(merges)
    solved = list(solutions) or [None] * len(fields)
    groups: dict[_Disagreement | _Dependence, list[int]] = {}
    for axis, solution in enumerate(solved):
        same = next((a for a in range(axis) if fields[a] is fields[axis] and modes[a] == modes[axis]), None)
        if same is not None:
            for members in groups.values():
                if same in members:
                    members.append(axis)
            continue
        for found in _disagreements(graph, looked_at, axis, modes[axis], solution):
            groups.setdefault(found, []).append(axis)
    ordered = sorted(groups, key=lambda found: (found.merge, found.reference, found.other))
    return [graph.finding(found, tuple(groups[found])) for found in ordered]


def is_off(sides: Sequence[Window], mode: Mode) -> bool:
    """Return whether branches that read ``sides`` of the source do not line up, and not because they are causal."""
    return any(found.rule in ("RF001", "RF002") for found in _pairs(0, list(enumerate(sides)), mode))


def unchecked(
    compiled: Compiled, fields: Sequence[Fields], source: int, solutions: Sequence[Solution | None]
) -> list[int]:
    """Return the merges, by node id, of which some branch is not known on some axis, nor by residue of the size."""
    graph = _Branches(compiled, fields, source)
    merges = []
    for v, tails in enumerate(compiled.layers.tails):
        for axis in range(len(fields) if len(tails) > 1 else 0):
            op = compiled.layers.ops[v][axis]
            sides = {} if op.joins or op.alternatives else {u: field for _, u, field in graph.live(v, axis)}
            solution = solutions[axis]
            known = {tails[s] for s, _ in graph.solved(v, axis, solution)} if solution else set()
            if len(sides) > 1 and any(field.kind == "unknown" and u not in known for u, field in sides.items()):
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


@dataclass(frozen=True)
class _Disagreement:
    """Branches ``reference`` and ``other`` of a merge, by slot, that break ``rule``."""

    merge: int
    reference: int
    other: int
    rule: str
    one: Window
    two: Window
    offset: Fraction


@dataclass(frozen=True)
class _Dependence:
    """Branches of a merge that line up at ``residues`` of the input size only; the offset is the largest there is."""

    merge: int
    reference: int
    other: int
    modulus: int
    residues: tuple[int, ...]
    smallest: int
    offset: Fraction


def _disagreements(
    graph: _Branches, merges: Iterable[int], axis: int, mode: Mode, solution: Solution | None
) -> Iterator[_Disagreement | _Dependence]:
    """Yield each pair of branches of each merge that does not line up, or does so at some input sizes only."""
    layers = graph.compiled.layers
    for v in merges:
        if len(layers.tails[v]) < 2 or layers.ops[v][axis].joins or layers.ops[v][axis].alternatives:
            continue
        live = graph.live(v, axis)
        if solution is not None and any(field.kind == "unknown" for _, _, field in live):
            sides = graph.solved(v, axis, solution)
            if len(sides) > 1 and not solution.agree([side for _, side in sides], mode == "causal"):
                yield from _by_size(v, sides, solution, mode)
            continue
        yield from _pairs(v, [(slot, field) for slot, _, field in live if field.kind == "local"], mode)


def _pairs(merge: int, sides: list[tuple[int, Window]], mode: Mode) -> Iterator[_Disagreement]:
    if len(sides) < 2 or all(field == sides[0][1] for _, field in sides[1:]):
        return
    widest = max(field.size for _, field in sides)
    slot, reference = min((s for s in sides if s[1].size == widest), key=lambda side: _reference_key(side[1]))
    for other, field in sides:
        rule, offset = _compare(reference, field, mode)
        if rule:
            yield _Disagreement(merge, slot, other, rule, reference, field, offset)


def _by_size(
    merge: int, sides: list[tuple[int, Field]], solution: Solution, mode: Mode
) -> Iterator[_Disagreement | _Dependence]:
    """Yield what breaks a rule at every residue of the input size, and the worst of the rest with those without it."""
    known: dict[tuple[Window, ...], list[_Disagreement]] = {}
    found: list[list[_Disagreement]] = []  # by valid residue
    residues = [residue for residue, valid in enumerate(solution.valid) if valid]
    for residue in residues:
        windows = tuple(field if isinstance(field, Window) else field.window(residue) for _, field in sides)
        if windows not in known:
            pairs = [(slot, window) for (slot, _), window in zip(sides, windows, strict=True) if window.kind == "local"]
            known[windows] = list(_pairs(merge, pairs, mode))
        found.append(known[windows])
    always = {(d.reference, d.other, d.rule, d.offset) for d in found[0]}.intersection(
        *({(d.reference, d.other, d.rule, d.offset) for d in case} for case in found[1:])
    )
    yield from (d for d in found[0] if (d.reference, d.other, d.rule, d.offset) in always)
    serious = [
        [d for d in case if d.rule in ("RF001", "RF002") and (d.reference, d.other, d.rule, d.offset) not in always]
        for case in found
    ]
    worst = max((d for case in serious for d in case), key=lambda d: (d.rule == "RF001", abs(d.offset)), default=None)
    if worst is None:
        return
    aligned = [False] * solution.modulus
    for residue, case in zip(residues, serious, strict=True):
        aligned[residue] = not case
    modulus = shortest_period(aligned)
    at = tuple(residue for residue in range(modulus) if aligned[residue])
    yield _Dependence(merge, worst.reference, worst.other, modulus, at, solution.smallest, worst.offset)


def _reference_key(field: Window) -> tuple[Fraction, tuple[tuple[int, int], ...]]:
    """Order equally wide branches by what they read, never by how the graph was written."""
    return field.mean_center, tuple(interval or (0, 0) for interval in field.intervals)


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
            if not read.is_unbounded and local[tail].kind != "empty":
                field = read.through(local[tail])
                if field.kind != "empty":
                    sides.append((slot, tail, field))
        return sides

    def solved(self, v: int, axis: int, solution: Solution) -> list[tuple[int, Field]]:
        """Return slot and field by residue of each input of ``v`` that carries a local field and is solved."""
        reads = self.compiled.reads[axis][v]
        sides = [(slot, solution.side(v, slot)) for slot in range(len(reads)) if not reads[slot].is_unbounded]
        return [(slot, field) for slot, field in sides if not isinstance(field, Window) or field.kind == "local"]

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

    def finding(self, found: _Disagreement | _Dependence, axes: tuple[int, ...]) -> Finding:
        """Return what users are told of two branches that do not line up."""
        layers, tails = self.compiled.layers, self.compiled.layers.tails[found.merge]
        fork = self.tree(axes[0]).meet(tails[found.reference], tails[found.other])
        place = (layers.nodes[found.merge], tuple(layers.axes[axis] for axis in axes))
        if isinstance(found, _Dependence):
            return SizeDependent(
                "RF005",
                *place,
                fork=layers.nodes[fork],
                reference=layers.nodes[tails[found.reference]],
                branch=layers.nodes[tails[found.other]],
                offset=found.offset,
                modulus=found.modulus,
                residues=found.residues,
                smallest=found.smallest,
            )
        stride = Fraction(found.one.stride)
        sides = [
            Branch(slot, layers.nodes[tails[slot]], field, partial(self.path, found.merge, slot, fork, axes[0]))
            for slot, field in ((found.reference, found.one), (found.other, found.two))
        ]
        return Misalignment(
            found.rule,
            *place,
            fork=layers.nodes[fork],
            reference=sides[0],
            branch=sides[1],
            offset=found.offset,
            offset_in_merge=found.offset / stride,
            _repair=partial(self.repair, found, fork, stride, axes),
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
        self, found: _Disagreement, fork: int, stride: Fraction, axes: tuple[int, ...]
    ) -> tuple[Repair | None, str]:
        """Return the smallest change of padding that lines up the two branches, and what to say of it."""
        merge, reference, other, rule, offset = found.merge, found.reference, found.other, found.rule, found.offset
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
                fits = all(op.may_pad(pair) for op, pair in zip(layers.ops[v], new, strict=False))
                if None not in was and fits:
                    yield v, amount, Repair(layers.nodes[v], new, pairs)
            v = tree.parent[v]
        shift = -wanted / stride
        if shift.denominator == 1:
            amount = int(shift)
            new = tuple((amount, -amount) if axis in axes else (0, 0) for axis in range(len(layers.axes)))
            yield None, amount, Repair(layers.nodes[tail], new, None, (layers.nodes[merge], slot))

    def step(self, v: int, axes: tuple[int, ...]) -> Fraction:
        """Return how far one more of padding before moves the centre of ``v``, in source pixels; 0 if it cannot."""
        tail = self.compiled.layers.tails[v][0]
        steps = set()
        for axis in axes:
            local = self.fields[axis].local
            steps.add(Fraction(self.compiled.layers.ops[v][axis].center_step(local[tail], local[v])))
        return steps.pop() if len(steps) == 1 else Fraction(0)

    def padding(self, v: int, axis: int) -> tuple[int, int] | None:
        """Return the padding of ``v`` in numbers, ``None`` where it depends on a size that is not known."""
        size = self.compiled.sizes[self.compiled.layers.tails[v][0]][axis]
        return self.compiled.layers.ops[v][axis].padding_at(size)


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
