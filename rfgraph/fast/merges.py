"""The branches of plain networks that do not line up, read off the states of the walk.

Part of the twin ``rfgraph.fast.affine_walk``. Twin of ``rfgraph.questions.alignment`` in which branches of a merge are
held against which, and held against it by ``tests/fast/test_affine_walk.py::check_report``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from rfgraph.algebra.alignment import Mode, Verdict
from rfgraph.algebra.window import Window
from rfgraph.fast.interning import Table


class Apart(NamedTuple):
    """Two branches of a merge, by slot, whose centres differ along one axis."""

    merge: int
    reference: int
    other: int
    stride: int
    #: How far what output 0 reads through each begins before the source, and where it ends.
    before: int
    last: int
    other_before: int
    other_last: int

    @property
    def offset2(self) -> int:
        """Twice how far the centre of the other branch lies past that of the reference."""
        return self.other_last - self.other_before - self.last + self.before

    def verdict(self, mode: Mode, fork: Callable[[], tuple[int, int, int]], *, stacked: bool) -> Verdict:
        """Return how they lie to each other, as ``rfgraph.algebra.alignment.compare`` judges it.

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
            if stride < self.stride >= size and (self.other_last - self.last) % size == 0:
                return "jitter"  # whole blocks of the fork, which are meant to lie apart
        return "off"

    @property
    def windows(self) -> tuple[Window, Window]:
        """What is read of the source through both; right but for their holes."""
        return (
            Window(self.before + self.last + 1, self.stride, self.before),
            Window(self.other_before + self.other_last + 1, self.stride, self.other_before),
        )


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
    lanes, frames = table.lanes, table.frames
    lane, zero, guards, across = lanes.lane, lanes.zero, lanes.guards, lanes.across
    places = [(axis, lanes.before(axis), lanes.last(axis), lane << lanes.before(axis)) for axis in range(lanes.axes)]
    for merge, of_merge, states in merges:
        strides, live = frames[of_merge & lanes.frames], _live(table, of_merge, states)
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
                            strides[axis].stride,
                            before - zero,
                            last - zero,
                            other_before - zero,
                            other_last - zero,
                        ),
                    )


def leave_a_gap(table: Table, of_merge: int, states: Sequence[int]) -> bool:
    """Return whether some position between what branches read, each an interval, is read by none, on some axis."""
    lanes = table.lanes
    ends, guards, sign = lanes.ends, lanes.guards, lanes.size - 1
    least = states[0] & ends
    for state in states[1:]:
        other = state & ends
        larger = (least | guards) - other & guards
        least ^= (least ^ other) & (larger - (larger >> sign))
    if lanes.meet(least):
        return False
    live = _live(table, of_merge, states)
    for axis in range(lanes.axes):
        sides = states if live is None else [states[slot] for slot in live[axis]]
        intervals = sorted([(-lanes.padding(side, axis), lanes.end(side, axis)) for side in sides])
        reached = accumulate((last for _, last in intervals), max)
        if any(first > last + 1 for last, (first, _) in zip(reached, intervals[1:], strict=False)):
            return True
    return False


def _live(table: Table, of_merge: int, states: Sequence[int]) -> list[list[int]] | None:
    """Return the slots that carry a local field, of each axis; ``None`` where all do on all axes.

    All of a map of another size is read, so that nothing is left of where a feature of it lies.
    """
    lanes, frames = table.lanes, table.frames
    keys = lanes.frames | lanes.sizes
    if table.local[of_merge & lanes.frames] == lanes.befores:
        for state in states:
            if (state ^ of_merge) & keys:
                break
        else:
            return None
    sizes = [table.map_sizes(state) for state in states]
    return [
        [
            slot
            for slot, state in enumerate(states)
            if frames[state & lanes.frames][axis].stride and sizes[slot][axis] == size
        ]
        for axis, size in enumerate(table.map_sizes(of_merge))
    ]
