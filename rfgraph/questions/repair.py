"""Repairs: the smallest change of padding that lines up two branches, tried before it is advised.

A change is tried by solving again what lies between the changed node and the merge. It is advised only if the two
branches then line up at every output, exactly, and if no branch that was causal reads the future for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

from rfgraph.algebra.alignment import Mode, compare
from rfgraph.algebra.window import EMPTY, Window
from rfgraph.ops.moving import Pad
from rfgraph.questions.forks import Branches
from rfgraph.questions.misalignment import Repair

#: Changes that are tried for one finding, at the most.
MAX_TRIED = 16


@dataclass(frozen=True)
class _Change:
    """More padding before, and as much less after, at ``node`` or, if that is ``None``, just before the merge."""

    slot: int
    node: int | None
    rank: tuple[int, bool, bool, int]
    #: What the changed node then reads, by axis.
    reads: dict[int, Window]
    repair: Repair


def repair(
    graph: Branches, merge: int, slots: tuple[int, int], offset: Fraction, axes: tuple[int, ...], mode: Mode
) -> tuple[Repair | None, str]:
    """Return the smallest change of padding that lines up two branches, ``None`` if there is none, and advice.

    Parameters
    ----------
    graph
        The network.
    merge, slots, axes
        Where the branches meet.
    offset
        How far the second branch lies past the first, in source pixels.
    mode
        What counts as lined up.
    """
    forks = {axis: graph.fork(merge, *slots, axis) for axis in axes}
    fork = forks[axes[0]]
    changes: list[_Change] = []
    for slot, opposite, wanted in ((slots[1], slots[0], -offset), (slots[0], slots[1], offset)):
        shared = {graph.compiled.layers.tails[merge][opposite], *graph.between(merge, opposite, fork)}
        found = _changes(graph, merge, slot, fork, wanted, axes)
        changes += [change for change in found if change.node not in shared]  # else the other branch would move too
    changes.sort(key=lambda change: change.rank)
    forbidden: _Change | None = None
    for change in changes[:MAX_TRIED]:
        other = slots[0] if change.slot == slots[1] else slots[1]
        if not all(_lines_up(graph, merge, change, other, axis, mode) for axis in axes):
            continue
        if not any(_reads_future(graph, merge, change, other, forks[axis], axis) for axis in axes):
            return change.repair, str(change.repair)
        forbidden = forbidden or change
    if forbidden is not None:
        tail = graph.compiled.layers.nodes[graph.compiled.layers.tails[merge][forbidden.slot]]
        return None, (
            f"no repair keeps its branches causal: to {forbidden.repair} would make {tail!r} read the future; "
            "if branches are meant to end at the same index, check with --alignment causal"
        )
    if changes:
        return None, "no change of padding repairs it: each on the way was tried, and none lines up all output phases"
    return None, (
        f"no change of padding repairs it: {offset} input pixels is no whole step of any padding on the way; "
        "an even kernel beside an odd one gives such a half, so change a kernel"
    )


def _changes(
    graph: Branches, merge: int, slot: int, fork: int, wanted: Fraction, axes: tuple[int, ...]
) -> Iterator[_Change]:
    """Yield the changes at nodes that all of a branch passes, and that move its centre by ``wanted`` source pixels."""
    compiled = graph.compiled
    layers = compiled.layers
    every = range(len(layers.axes))
    tail = layers.tails[merge][slot]
    passed = [set(graph.tree(axis).chain(tail)) for axis in axes[1:]]
    for steps, v in enumerate(graph.tree(axes[0]).chain(tail)):
        if v == fork:
            break
        if len(layers.tails[v]) != 1 or not all(v in chain for chain in passed):
            continue
        ops, above = layers.ops[v], layers.tails[v][0]
        was = [ops[axis].padded(compiled.sizes[above][axis]) for axis in every]
        moves = {_step(graph, v, axis) for axis in axes}
        step = moves.pop()
        if moves or not step or (wanted / step).denominator > 1:
            continue
        amount = int(wanted / step)
        new = [
            pair if pair is None or axis not in axes else (pair[0] + amount, pair[1] - amount)
            for axis, pair in enumerate(was)
        ]
        changed = [None if pair is None else ops[axis].with_padding(pair) for axis, pair in enumerate(new)]
        before, after = [pair for pair in was if pair], [pair for pair in new if pair]
        if None in changed or len(after) < len(every):
            continue
        reads = {axis: op.window(0, (compiled.sizes[above][axis],)) for axis, op in enumerate(changed) if op}
        crops = any(min(after[axis]) < 0 for axis in axes)
        yield _Change(
            slot, v, (abs(amount), False, crops, steps), reads, Repair(layers.nodes[v], tuple(after), tuple(before))
        )
    shifts = {-wanted / Fraction(field.stride) for axis in axes for s, _, field in graph.live(merge, axis) if s == slot}
    shift = shifts.pop()
    if not shifts and shift.denominator == 1:
        amount = int(shift)
        pads = tuple((amount, -amount) if axis in axes else (0, 0) for axis in every)
        windows = {axis: Pad(padding=pads[axis]).window(0, (None,)) for axis in every}
        inserted = Repair(layers.nodes[tail], pads, None, (layers.nodes[merge], slot))
        yield _Change(slot, None, (abs(amount), True, True, 0), windows, inserted)


def _step(graph: Branches, v: int, axis: int) -> Fraction:
    """Return how far one more of padding before moves the centre of ``v``, in source pixels."""
    field = graph.fields[axis].local[graph.compiled.layers.tails[v][0]]
    return Fraction(graph.compiled.layers.ops[v][axis].padding_moves) * Fraction(field.stride)


def _solved_again(graph: Branches, merge: int, change: _Change, axis: int, source: int) -> Window:
    """Return what ``merge`` reads of ``source``, the network's or the fork, through a branch with the change made.

    Every path of the branch passes the changed node, so that only what comes after it is solved.
    """
    layers, reads = graph.compiled.layers, graph.compiled.reads[axis]
    tail = layers.tails[merge][change.slot]

    def known(v: int) -> Window:
        return graph.fields[axis].local[v] if source == graph.source else graph.tree(axis).window(v, source)

    if change.node is None:
        return reads[merge][change.slot].through(change.reads[axis]).through(known(tail))
    fields = {change.node: change.reads[axis].through(known(layers.tails[change.node][0]))}
    for v in graph.compiled.between([tail], change.node):
        if v != change.node:
            sides = [
                read.through(fields[u])
                for u, read in zip(layers.tails[v], reads[v], strict=True)
                if u in fields and not read.is_full
            ]
            fields[v] = reduce(Window.hull, sides, EMPTY)
    return reads[merge][change.slot].through(fields[tail])


def _lines_up(graph: Branches, merge: int, change: _Change, other: int, axis: int, mode: Mode) -> bool:
    """Return whether both branches are then known exactly, and line up at every output phase."""
    moved = _solved_again(graph, merge, change, axis, graph.source)
    still = next(field for slot, _, field in graph.live(merge, axis) if slot == other)
    if not (moved.is_local and still.is_local and moved.exact and still.exact):
        return False
    return compare(still, moved, mode, lambda: False, lambda: False).verdict == "aligned"


def _reads_future(graph: Branches, merge: int, change: _Change, other: int, fork: int, axis: int) -> bool:
    """Return whether the change has a causal branch read the future, seen from the fork.

    A branch is causal that reads nothing past its own position; with a stride, a merge is that waits for less than its
    next position.
    """
    before, still = (graph.from_fork(merge, slot, fork, axis) for slot in (change.slot, other))
    after = _solved_again(graph, merge, change, axis, fork)
    if not all(window.is_local for window in (before, still, after)):
        return False
    ahead = [_ahead(window) for window in (before, still, after)]
    stride = Fraction(after.stride)
    return (ahead[0] <= 0 < ahead[2]) or (max(ahead[:2]) < stride <= ahead[2])


def _ahead(window: Window) -> Fraction:
    ends: Sequence[Fraction] = [
        interval[1] - y * Fraction(window.stride) for y, interval in enumerate(window.intervals) if interval is not None
    ]
    return max(ends)
