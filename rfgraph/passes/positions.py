"""Position sets: which positions an output reads along one axis, hole for hole.

A window knows the ends of what is read, a position set every position. Like a window it repeats: ``phases[y % T]``,
moved by ``step * (y // T)``. A phase is the first position read and the bits of an integer, bit ``i`` for position
``first + i``: a union of many thousand positions is one shift and one ``or``. Position sets compose exactly whatever
the op, and over several paths; where a window may have to say ``bound``, a position set does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import field, replace
from math import gcd, lcm

from rfgraph.algebra.window import Window, least_period
from rfgraph.errors import UnknownFieldError
from rfgraph.frozen import dataclass
from rfgraph.ops import Op
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain
from rfgraph.passes.products import ProductDomain, Products

#: Sets of more positions than this, over all their phases, are not followed.
MAX_POSITIONS = 1 << 22

Marked = tuple[int, int]  # first position, and the bits from it on; bit 0 is set


class TooManyPositionsError(Exception):
    """A position set would have more than ``MAX_POSITIONS``; whoever asked answers with a bound instead."""


@dataclass(frozen=True, slots=True)
class PositionSet:
    """What the outputs of a node read along one axis, over a group of paths."""

    phases: tuple[Marked | None, ...]
    step: int
    #: Why it may be less, empty where exactly that is read.
    why: str = field(default="", compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether it reads nothing at any output."""
        return all(marked is None for marked in self.phases)

    @property
    def has_holes(self) -> bool:
        """Whether some output skips a position between the first and the last one it reads."""
        return any(marked is not None and marked[1] & (marked[1] + 1) for marked in self.phases)

    def at(self, y: int) -> Marked | None:
        """Return what output ``y`` reads."""
        turns, phase = divmod(y, len(self.phases))
        marked = self.phases[phase]
        return None if marked is None else (marked[0] + turns * self.step, marked[1])

    def over(self, period: int) -> tuple[Marked | None, ...]:
        """Return what the first ``period`` outputs read."""
        return tuple(self.at(y) for y in range(period))

    def joined(self, other: PositionSet) -> PositionSet:
        """Return the union of both, which have the same stride, output by output."""
        if self == other:
            return other if self.why else self
        period = lcm(len(self.phases), len(other.phases))
        pairs = zip(_counted(self, period), _counted(other, period), strict=True)
        phases = tuple(_union([one, two]) for one, two in pairs)
        why = self.why or other.why
        if why and ((not self.why and self.covers(other)) or (not other.why and other.covers(self))):
            why = ""  # what may be read lies inside of what is read for sure
        return _shortest(phases, self.step * period // len(self.phases), why)

    def covers(self, other: PositionSet) -> bool:
        """Return whether every output reads all that it reads of ``other``, which has the same stride."""
        period = lcm(len(self.phases), len(other.phases))
        return all(_inside(two, one) for one, two in zip(_counted(self, period), _counted(other, period), strict=True))


ONE = PositionSet(((0, 1),), 1)


class Positions(Domain[PositionSet]):
    """What every node reads of one source along one axis; paths through ops that read the whole axis are cut.

    Raises
    ------
    TooManyPositionsError
        By the walk, if some node on the way reads more positions than are followed.
    """

    start = ONE

    def __init__(self, compiled: Compiled, axis: int) -> None:
        self.layers, self.reads, self.axis = compiled.layers, compiled.reads[axis], axis

    def through(self, v: int, slot: int, value: PositionSet) -> PositionSet:
        read = self.reads[v][slot]
        position_set = through(self.layers.ops[v][self.axis], read, value)
        if position_set.why or read.exact or position_set.is_empty:
            return position_set
        return replace(position_set, why=f"{self.layers.describe(v, self.axis)}: {read.why}")

    def join(self, v: int, values: list[PositionSet]) -> PositionSet:
        union = values[0]
        for value in values[1:]:
            union = value if union.is_empty else union if value.is_empty else union.joined(value)
        return union


class PositionProducts(ProductDomain[PositionSet]):
    """What every node reads of one source over all axes at once.

    Products that differ on one axis only become one, and a product inside another one is dropped; both are exact.
    """

    def __init__(self, compiled: Compiled) -> None:
        super().__init__(compiled)
        #: Whether some path was cut where it reads the whole of an axis.
        self.cuts = False

    @property
    def first(self) -> tuple[PositionSet, ...]:
        return (ONE,) * len(self.compiled.layers.axes)

    def read(self, v: int, slot: int, axis: int, part: PositionSet) -> PositionSet | None:
        read = self.compiled.reads[axis][v][slot]
        self.cuts = self.cuts or read.is_unbounded
        position_set = through(self.compiled.layers.ops[v][axis], read, part)
        return None if position_set.is_empty else position_set

    def covers(self, one: PositionSet, other: PositionSet) -> bool:
        return one.covers(other)

    def hull(self, one: PositionSet, other: PositionSet) -> PositionSet:
        return one.joined(other)

    def joins(self, one: tuple[PositionSet, ...], other: tuple[PositionSet, ...]) -> bool:
        return sum(a != b for a, b in zip(one, other, strict=True)) == 1

    def through(self, v: int, slot: int, value: Products[PositionSet]) -> Products[PositionSet] | None:
        with self._listed(v):
            read = super().through(v, slot, value)
        if read is None or all(reads[v][slot].exact for reads in self.compiled.reads):
            return read
        return replace(read, exact=False)  # which input lies where is known once sizes are, and here there are none

    def join(self, v: int, values: list[Products[PositionSet]]) -> Products[PositionSet]:
        with self._listed(v):
            return super().join(v, values)

    @contextmanager
    def _listed(self, v: int) -> Iterator[None]:
        try:
            yield
        except TooManyPositionsError:
            name = self.compiled.layers.describe(v)
            raise UnknownFieldError(f"{name}: its positions are too many to be listed over all axes") from None


def through(op: Op, read: Window, inner: PositionSet) -> PositionSet:
    """Return what is read through ``read``, the window of ``op``, of a map whose positions read ``inner``.

    Raises
    ------
    TooManyPositionsError
        If it has more than ``MAX_POSITIONS``.
    """
    if not read.is_local or inner.is_empty:
        return PositionSet((None,), 1)
    turns = len(inner.phases) // gcd(len(inner.phases), read.step)
    period = read.period * turns
    if period > MAX_POSITIONS:
        raise TooManyPositionsError
    phases: list[Marked | None] = []
    positions = 0
    for y in range(period):
        interval = read.interval(y)
        if interval is None:
            marked = None
        elif op.skips:
            marked = _union(inner.at(tap) for tap in op.taps(read, y))
        else:
            marked = _over_taps(inner, interval[0], interval[1], op.spacing, positions)
        phases.append(marked)
        positions += 0 if marked is None else marked[1].bit_length()
        _check(positions)
    return _shortest(tuple(phases), read.step * turns * inner.step // len(inner.phases), inner.why)


def _over_taps(inner: PositionSet, first: int, last: int, spacing: int, positions: int) -> Marked | None:
    """Return the union of ``inner`` over the taps from ``first`` to ``last``, ``spacing`` apart.

    Taps of one phase of ``inner`` read the same bits again and again, a fixed shift apart; those are doubled, not
    listed, so that a kernel of a million taps takes twenty steps.
    """
    period = len(inner.phases)
    count = (last - first) // spacing + 1
    cycle = period // gcd(period, spacing)
    shift = cycle * spacing // period * inner.step
    parts = []
    for tap in range(min(cycle, count)):
        marked = inner.at(first + tap * spacing)
        if marked is None:
            continue
        times = (count - 1 - tap) // cycle + 1
        _check(positions + marked[1].bit_length() + (times - 1) * shift)
        parts.append((marked[0], _repeated(marked[1], times, shift)))
    return _union(parts)


def _check(positions: int) -> None:
    if positions > MAX_POSITIONS:
        raise TooManyPositionsError


def _counted(position_set: PositionSet, period: int) -> tuple[Marked | None, ...]:
    _check(period)
    positions = sum(marked[1].bit_length() for marked in position_set.phases if marked is not None)
    _check(period // len(position_set.phases) * positions)
    return position_set.over(period)


def _repeated(bits: int, times: int, shift: int) -> int:
    have = 1
    while have < times:
        more = min(have, times - have)
        bits |= bits << (more * shift)
        have += more
    return bits


def _union(parts: Iterable[Marked | None]) -> Marked | None:
    read = [part for part in parts if part is not None]
    if not read:
        return None
    start = min(first for first, _ in read)
    _check(max(first + bits.bit_length() for first, bits in read) - start)
    union = 0
    for first, bits in read:
        union |= bits << (first - start)
    return start, union


def _inside(one: Marked | None, other: Marked | None) -> bool:
    if one is None:
        return True
    if other is None or one[0] < other[0] or one[0] + one[1].bit_length() > other[0] + other[1].bit_length():
        return False
    return not (one[1] << (one[0] - other[0])) & ~other[1]


def _shortest(phases: tuple[Marked | None, ...], step: int, why: str = "") -> PositionSet:
    """Return the position set with the least period, so that equal sets compare equal and long periods end."""
    if all(marked is None for marked in phases):
        return PositionSet((None,), 1)
    period = len(phases)

    def repeats(shorter: int, step: int) -> bool:
        return PositionSet(phases[:shorter], step).over(period) == phases

    least, step = least_period(period, step, repeats)
    return PositionSet(phases[:least], step, why)
