"""The branches of plain networks that do not line up, read off the states of the walk.

Part of the twin ``rfgraph.fast.affine_walk``. Twin of ``rfgraph.questions.alignment`` in which branches of a merge are
held against which, and held against it by ``tests/fast/test_affine_walk.py::check_report``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from math import lcm
from typing import NamedTuple

from rfgraph.algebra.alignment import Comparison, Mode, Verdict, at_fork, compare, looks_ahead, reference_of
from rfgraph.algebra.window import Window
from rfgraph.fast.interning import Table
from rfgraph.fast.shapes import Shape


class Apart(NamedTuple):
    """Two branches of a merge, by slot, whose centres differ along one axis."""

    merge: int
    reference: int
    other: int
    shape: Shape
    #: How far what the leading output phase reads through each begins before the source, and where it ends.
    before: int
    last: int
    other_before: int
    other_last: int
    #: Where some output phase differs from another: the shape of the other branch, and how both lie to each other.
    phased: tuple[Shape, Comparison] | None = None

    @property
    def offset(self) -> Fraction:
        """How far the centre of the other branch lies past that of the reference, on average."""
        if self.phased is not None:
            return self.phased[1].offset
        return Fraction(self.other_last - self.other_before - self.last + self.before, 2)

    def verdict(self, mode: Mode, fork: Callable[[], tuple[int, int, int]], *, stacked: bool) -> Verdict:
        """Return how they lie to each other, as ``rfgraph.algebra.alignment.compare`` judges it.

        Only of a network none of whose fields has several phases.

        Parameters
        ----------
        mode
            What counts as lined up: not the last index alone.
        fork
            Returns the stride of the node where they part, how far what its output 0 reads begins before the source,
            and where it ends; both branches read the source through it alone.
        stacked
            Whether the merge keeps its inputs apart, as channels.
        """
        if mode == "auto" and self.last == self.other_last:
            _, before, last = fork()
            # Either branch looks ahead of the fork if it also begins before it.
            if self.last <= last or max(self.before, self.other_before) <= before:
                return "causal"
        if stacked and self.before + self.last == self.other_before + self.other_last:
            stride, before, last = fork()
            size = self.before + self.last - before - last + stride  # of the fork's positions, each a stride wide
            if stride < self.shape.step >= size and (self.other_last - self.last) % size == 0:
                return "jitter"  # whole blocks of the fork, which are meant to lie apart
        return "off"

    def verdict_by(self, mode: Mode, from_fork: Callable[[], tuple[Window, Window]], *, stacked: bool) -> Verdict:
        """Return the same of any network.

        Parameters
        ----------
        from_fork
            Returns what both branches read of the node where they part.
        """
        return compare(
            *self.windows,
            mode,
            lambda: not any(map(looks_ahead, from_fork())),
            lambda: at_fork(*from_fork(), stacked=stacked),
        ).verdict

    def seen_from(self, before: int, last: int) -> tuple[Shape, Shape, int, int, int, int]:
        """Return both shapes, and their ends against those of the node where the branches part."""
        other = self.shape if self.phased is None else self.phased[0]
        return (
            self.shape,
            other,
            self.before - before,
            self.last - last,
            self.other_before - before,
            self.other_last - last,
        )

    @property
    def windows(self) -> tuple[Window, Window]:
        """What is read of the source through both; right but for their holes."""
        other = self.shape if self.phased is None else self.phased[0]
        return self.shape.placed(self.before, self.last), other.placed(self.other_before, self.other_last)


def apart(table: Table, merges: Iterable[tuple[int, int, Sequence[int]]]) -> Iterator[tuple[int, Apart]]:
    """Yield the branches whose centre is not that of the widest one, merge by merge, with their axis.

    Branches as wide are ordered by where their centres lie, and then by slot.

    Parameters
    ----------
    table
        What states mean.
    merges
        The id of each merge, its state, and the states of what it reads.
    """
    lanes, frames, phased = table.lanes, table.frames, table.phased
    lane, zero, guards, across = lanes.lane, lanes.zero, lanes.guards, lanes.across
    places = [(axis, lanes.before(axis), lanes.last(axis), lane << lanes.before(axis)) for axis in range(lanes.axes)]
    for merge, of_merge, states in merges:
        if phased and not phased.isdisjoint([state & lanes.frames for state in states]):
            key = of_merge, *states
            pairs = table.apart.get(key)
            if pairs is None:
                table.apart[key] = pairs = _apart_on_axes(table, merge, states, live_slots(table, of_merge, states))
            yield from ((axis, pair._replace(merge=merge)) for axis, pair in pairs)
            continue
        of_axes, live = frames[of_merge & lanes.frames], live_slots(table, of_merge, states)
        one, *others = states
        differ = 0
        for other in others:
            over = (one | guards) - other
            differ |= over >> across ^ over
        for axis, at_before, at_last, compared in places:
            if not differ & compared:
                continue
            slots = range(len(states)) if live is None else live[axis]
            ends = [(states[slot] >> at_before & lane, states[slot] >> at_last & lane) for slot in slots]
            if not ends:
                continue
            reference, size = 0, -1
            for at, (before, last) in enumerate(ends):
                if before + last > size or (before + last == size and last < ends[reference][1]):
                    reference, size = at, before + last
            before, last = ends[reference]
            for slot, (other_before, other_last) in zip(slots, ends, strict=True):
                if other_last - other_before != last - before:
                    yield (
                        axis,
                        Apart(
                            merge,
                            slots[reference],
                            slot,
                            of_axes[axis].shape,
                            before - zero,
                            last - zero,
                            other_before - zero,
                            other_last - zero,
                        ),
                    )


class Side(NamedTuple):
    """What a merge reads of the source through one slot, along one axis."""

    slot: int
    shape: Shape
    before: int
    last: int

    @property
    def size(self) -> int:
        """At the phase that reads widest."""
        return self.before + self.last + self.shape.size


def _sides(table: Table, axis: int, states: Sequence[int], live: Sequence[int] | None) -> tuple[Side, ...]:
    """Return what is read through each slot that carries a local field: all of them, or those that are ``live``."""
    lanes, frames = table.lanes, table.frames
    numbers, lane, zero = lanes.frames, lanes.lane, lanes.zero
    at_before, at_last = lanes.before(axis), lanes.last(axis)
    sides = []
    for slot in range(len(states)) if live is None else live:
        state = states[slot]
        before, last = (state >> at_before & lane) - zero, (state >> at_last & lane) - zero
        sides.append(Side(slot, frames[state & numbers][axis].shape, before, last))
    return tuple(sides)


def _apart_on_axes(
    table: Table, merge: int, states: Sequence[int], live: Sequence[Sequence[int]] | None
) -> list[tuple[int, Apart]]:
    """Return the branches of a merge whose output phases differ that do not line up, with their axis."""
    pairs: list[tuple[int, Apart]] = []
    known: dict[tuple[Side, ...], list[Apart]] = {}  # axes mostly read alike
    for axis in range(table.lanes.axes):
        sides = _sides(table, axis, states, None if live is None else live[axis])
        if sides not in known:
            known[sides] = _apart_in_phases(table, merge, sides)
        pairs += [(axis, pair) for pair in known[sides]]
    return pairs


def _apart_in_phases(table: Table, merge: int, sides: Sequence[Side]) -> list[Apart]:
    """Return the branches of a merge whose centre is not that of the widest one, at some output phase."""
    widest = max([side.size for side in sides], default=0)
    wide = [side for side in sides if side.size == widest]
    if len(wide) > 1:
        slot, _ = reference_of([(side.slot, side.shape.placed(side.before, side.last)) for side in wide])
        wide = [side for side in wide if side.slot == slot]
    pairs = []
    for reference, shape, before, last in wide:
        for slot, other, other_before, other_last in sides:
            comparison = table.compared(shape, other, before - other_before, last - other_last)
            if comparison.verdict != "aligned":
                ends = before, last, other_before, other_last
                pairs.append(Apart(merge, reference, slot, shape, *ends, (other, comparison)))
    return pairs


def leave_a_gap(table: Table, of_merge: int, states: Sequence[int]) -> bool:
    """Return whether some position between what branches read, each an interval, is read by none, on some axis.

    Where output phases differ, it may say so of several branches that all touch each other and not the widest one.
    """
    lanes = table.lanes
    if lanes.by_residue or not table.phased.isdisjoint([state & lanes.frames for state in states]):
        key = of_merge, *states
        gap = table.leave_a_gap.get(key)
        if gap is None:
            slots = live_slots(table, of_merge, states)
            of_axes = [(axis, range(len(states)) if slots is None else slots[axis]) for axis in range(lanes.axes)]
            if lanes.by_residue:
                gap = any(
                    _leave_a_gap_by_residue([table.by_residue(states[slot], axis) for slot in live])
                    for axis, live in of_axes
                )
            else:
                sides = {_sides(table, axis, states, live) for axis, live in of_axes}
                gap = any(_leave_a_gap_in_phases(table, of_axis) for of_axis in sides)
            table.leave_a_gap[key] = gap
        return gap
    ends, guards, sign = lanes.ends, lanes.guards, lanes.size - 1
    least = states[0] & ends
    for state in states[1:]:
        other = state & ends
        larger = (least | guards) - other & guards
        least ^= (least ^ other) & (larger - (larger >> sign))
    if lanes.meet(least):
        return False
    live = live_slots(table, of_merge, states)
    for axis in range(lanes.axes):
        read = states if live is None else [states[slot] for slot in live[axis]]
        intervals = sorted([(-lanes.padding(side, axis), lanes.end(side, axis)) for side in read])
        reached = accumulate((last for _, last in intervals), max)
        if any(first > last + 1 for last, (first, _) in zip(reached, intervals[1:], strict=False)):
            return True
    return False


def _leave_a_gap_by_residue(fields: Sequence[Sequence[Window]]) -> bool:
    """Return whether branches leave a gap at some residue of the input size; those of several phases may."""
    for residue in range(lcm(*map(len, fields))):
        windows = [of_side[residue % len(of_side)] for of_side in fields]
        if any(window.period > 1 for window in windows):
            return True
        intervals = sorted([ends for window in windows for ends in window.intervals if ends])
        reached = accumulate((last for _, last in intervals), max)
        if any(first > last + 1 for last, (first, _) in zip(reached, intervals[1:], strict=False)):
            return True
    return False


def _leave_a_gap_in_phases(table: Table, sides: Sequence[Side]) -> bool:
    """Return whether at some output a branch reads neither next to what the widest one reads nor in it."""
    if not sides:
        return False
    _, wide, before, last = max(sides, key=lambda side: side.size)
    return any(
        last + other_before < table.between(wide, other) or other_last + before < table.between(other, wide)
        for _, other, other_before, other_last in sides
    )


def live_slots(table: Table, of_merge: int, states: Sequence[int]) -> list[list[int]] | None:
    """Return the slots that carry a local field, of each axis; ``None`` where all do on all axes.

    All of a map of another size is read, so that nothing is left of where a feature of it lies.
    """
    lanes, frames = table.lanes, table.frames
    local, sized = table.local, table.sized
    is_sized = sized[of_merge & lanes.frames]
    for state in states:
        number = state & lanes.frames
        if (state ^ of_merge) & lanes.sizes or local[number] != lanes.befores or sized[number] != is_sized:
            break
    else:
        return None
    sizes = [table.map_sizes(state) for state in states]
    return [
        [
            slot
            for slot, state in enumerate(states)
            if frames[state & lanes.frames][axis].shape.is_local and sizes[slot][axis] == size
        ]
        for axis, size in enumerate(table.map_sizes(of_merge))
    ]
