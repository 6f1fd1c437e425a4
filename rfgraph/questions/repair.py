"""Repairs: the smallest change of padding that lines up two branches, tried before it is advised.

A change is tried by solving again what lies between the changed node and the merge. It is advised only if the two
branches then line up at every output, exactly, and if no branch that was causal reads the future for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import lcm
from typing import Any

from rfgraph.algebra.alignment import Mode, compare, seen_from
from rfgraph.algebra.window import EMPTY, Window, composed
from rfgraph.frozen import dataclass
from rfgraph.ops import Op, Size
from rfgraph.ops.moving import Pad
from rfgraph.passes.fold import Domain, fold
from rfgraph.questions.forks import Branches, Case
from rfgraph.questions.misalignment import Repair

#: Changes that are tried for one finding, and cases of the input size in which they are, at the most.
MAX_TRIED = 16
MAX_CASES = 256


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
    graph: Branches,
    merge: int,
    slots: tuple[int, int],
    offset: Fraction,
    stride: Fraction,
    axes: tuple[int, ...],
    mode: Mode,
) -> tuple[Repair | None, str]:
    """Return the smallest change of padding that lines up two branches, ``None`` if there is none, and advice.

    Parameters
    ----------
    merge, slots, axes
        Where the branches meet.
    offset
        How far the second branch lies past the first, in source pixels.
    stride
        Of both, in source pixels.
    mode
        What counts as lined up.
    """
    cases = [case for axis in axes for case in graph.cases(merge, axis)]
    if len(cases) > MAX_CASES:
        return None, f"no change of padding was tried: there are {len(cases)} cases of the input size; give one"
    fork = graph.fork(merge, *slots, axes[0])
    changes: list[_Change] = []
    for slot, opposite, wanted in ((slots[1], slots[0], -offset), (slots[0], slots[1], offset)):
        shared = {graph.compiled.layers.tails[merge][opposite], *graph.between(merge, opposite, fork)}
        at_slot = _changes(graph, merge, slot, fork, wanted, stride, axes, cases)
        changes += [change for change in at_slot if change.node not in shared]  # else the other branch would move too
    changes.sort(key=lambda change: change.rank)
    forbidden: _Change | None = None
    for change in changes[:MAX_TRIED]:
        tried = [_tried(case, merge, slots, change) for case in cases]
        if not all(trial.lines_up(mode) for trial in tried):
            continue
        if not any(trial.reads_future for trial in tried):
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
    graph: Branches,
    merge: int,
    slot: int,
    fork: int,
    wanted: Fraction,
    stride: Fraction,
    axes: tuple[int, ...],
    cases: Sequence[Case],
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
        was = [ops[axis].padding_at(compiled.sizes[above][axis]) for axis in every]
        before = [pair for pair in was if pair is not None]
        moves = {_step(case, v, above) for case in cases}
        step = moves.pop()
        if moves or not step or (wanted / step).denominator > 1:
            continue
        amount = int(wanted / step)
        after = [(b + amount, a - amount) if axis in axes else (b, a) for axis, (b, a) in enumerate(before)]
        if None in was or not all(op.may_pad(pair) for op, pair in zip(ops, after, strict=True)):
            continue
        reads = {axis: _with_padding(ops[axis], after[axis], compiled.sizes[above][axis]) for axis in axes}
        crops = any(min(after[axis]) < 0 for axis in axes)
        yield _Change(
            slot, v, (abs(amount), False, crops, steps), reads, Repair(layers.nodes[v], tuple(after), tuple(before))
        )
    shift = -wanted / stride
    if shift.denominator == 1:
        amount = int(shift)
        pads = tuple((amount, -amount) if axis in axes else (0, 0) for axis in every)
        windows = {axis: Pad(padding=pads[axis]).window(0, (None,)) for axis in every}
        inserted = Repair(layers.nodes[tail], pads, None, (layers.nodes[merge], slot))
        yield _Change(slot, None, (abs(amount), True, True, 0), windows, inserted)


def _with_padding(op: Op, padding: tuple[int, int], size: Size) -> Window:
    """Return what an op reads of a map of ``size`` with other padding."""
    changed: Any = op
    return replace(changed, padding=padding).reads(0, (size,))  # type: ignore[no-any-return]


def _step(case: Case, v: int, above: int) -> Fraction:
    """Return how far one more of padding before moves the centre of ``v``, in source pixels."""
    inner, field = case.field(above), case.field(v)
    if not (inner.is_local and field.is_local):
        return Fraction(0)
    return Fraction(case.graph.compiled.layers.ops[v][case.axis].center_step(inner, field))


@dataclass(frozen=True)
class _Trial:
    """Both branches of a merge, one of them changed, as they read the source and as they read their fork."""

    still: Window
    moved: Window
    still_from_fork: Window
    before_from_fork: Window
    moved_from_fork: Window

    def lines_up(self, mode: Mode) -> bool:
        """Return whether both branches are known exactly, read at some output both, and line up wherever they do."""
        if not all(window.is_local and window.exact for window in (self.still, self.moved)):
            return False
        period = lcm(self.still.period, self.moved.period)
        pairs = zip(self.still.over(period), self.moved.over(period), strict=True)
        if not any(one is not None and other is not None for one, other in pairs):
            return False  # moved to where the other reads nothing
        return compare(self.still, self.moved, mode).verdict == "aligned"

    @property
    def reads_future(self) -> bool:
        """Whether the change has a causal branch read the future, or that cannot be told.

        A branch is causal that reads nothing past its own position; and a merge is whose branches wait for less than
        its next position.
        """
        windows = (self.before_from_fork, self.still_from_fork, self.moved_from_fork)
        if not all(window.is_local for window in windows):
            return True
        before, still, after = map(_ahead, windows)
        return (before <= 0 < after) or (max(before, still) < self.moved_from_fork.stride <= after)


def _ahead(window: Window) -> Fraction:
    """Return how far a branch reads past its own position at most."""
    stride = Fraction(window.stride)
    return max(interval[1] - y * stride for y, interval in enumerate(window.intervals) if interval is not None)


def _tried(case: Case, merge: int, slots: tuple[int, int], change: _Change) -> _Trial:
    """Solve a branch again with a change made: every path of it passes the changed node, and only what comes after it.

    Raises nothing: what cannot be told is an unknown window.
    """
    graph, axis = case.graph, case.axis
    tails, slot = graph.compiled.layers.tails[merge], change.slot
    opposite = slots[0] if slot == slots[1] else slots[1]
    still, before = (case.read(merge, at).through(case.field(tails[at])) for at in (opposite, slot))
    fork = graph.fork(merge, *slots, axis)
    moved = _onward(case, merge, change, case.field)
    from_fork = _onward(case, merge, change, lambda v: graph.tree(axis).window(v, fork))
    return _Trial(
        still,
        moved,
        case.from_fork(fork, merge, opposite, still),
        case.from_fork(fork, merge, slot, before),
        from_fork if from_fork.is_local else seen_from(case.field(fork), moved) or from_fork,
    )


def _onward(case: Case, merge: int, change: _Change, field: Callable[[int], Window]) -> Window:
    """Return what ``merge`` reads through a changed branch, from the fields of what comes before the change."""
    layers, read = case.graph.compiled.layers, case.read(merge, change.slot)
    tail = layers.tails[merge][change.slot]
    if change.node is None:
        return composed([read, change.reads[case.axis], field(tail)])
    begin = change.reads[case.axis].through(field(layers.tails[change.node][0]))
    return read.through(fold(layers, change.node, _Onward(case, begin), to=[tail]).get(tail, EMPTY))


class _Onward(Domain[Window]):
    """Fields after a node whose own field is given."""

    def __init__(self, case: Case, start: Window) -> None:
        self.case = case
        self._start = start

    @property
    def start(self) -> Window:
        return self._start

    def through(self, v: int, slot: int, value: Window) -> Window | None:
        read = self.case.read(v, slot)
        return None if read.is_unbounded or (window := read.through(value)).is_empty else window

    def join(self, v: int, values: list[Window]) -> Window:
        return reduce(Window.hull, values, EMPTY)
