"""What every design of a sweep does at every node, as tables: made once, looked up by the vectorised pass.

What one axis of a variant of a node reads becomes numbers in tables, indexed by variant. Numbers that all variants
share are plain integers, and so is all that follows from those.

What depends on the design must be a number: whether a path is local, global or cut, and after how many outputs windows
repeat, is the same for all designs of a plan. Networks or choices of which that is not so have no plan; ``NoPlan`` says
why, and the engine of record does them design by design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import gcd, lcm
from typing import Literal

import numpy as np

from rfgraph.algebra.window import Window
from rfgraph.errors import SizeError
from rfgraph.frozen import dataclass
from rfgraph.graph import sizes as shapes
from rfgraph.ops import Op
from rfgraph.ops.base import Affine, SizeLaw, Slid
from rfgraph.sweeps.variants import LARGEST, NoPlan, Selector, Table, Variants, table

#: Windows that repeat only after more outputs than this are left to the engine of record.
LONGEST_PERIOD = 64


def ends(entry: Table) -> tuple[int, int]:
    """Return the least and greatest number of a table."""
    return (entry, entry) if isinstance(entry, int) else (int(entry.min()), int(entry.max()))


def greatest(entry: Table) -> int:
    """Return the greatest magnitude in a table."""
    low, high = ends(entry)
    return max(abs(low), abs(high))


@dataclass(frozen=True)
class Read:
    """What a node reads through one slot, in every design: a window, by variant.

    Where ``same`` is set, padding follows from the size of the map that is read; ``first`` and ``last`` leave it out.
    """

    tail: int
    first: tuple[Table, ...]  # by output phase
    last: tuple[Table, ...]
    step: Table
    same: Same | None = None

    @property
    def period(self) -> int:
        """Outputs after which the window repeats, for all variants."""
        return len(self.first)

    @property
    def is_identity(self) -> bool:
        """Whether it reads its own position in every design."""
        numbers = (*self.first, *self.last, self.step)
        return self.same is None and all(isinstance(n, int) for n in numbers) and numbers == (0, 0, 1)


@dataclass(frozen=True)
class Same:
    """SAME padding of a sliding kernel, by variant; ``mode`` is 0 where padding is stated, 1 for upper, 2 for lower."""

    mode: Table
    span: Table
    stride: Table
    before: Table
    after: Table


@dataclass(frozen=True)
class SizeRule:
    """How a node's map size follows from those of the maps it reads.

    ``kind`` names the rule; ``numbers`` are its tables, ``ops`` the op of each variant where the rule asks those.
    """

    kind: Literal["fixed", "first", "merge", "slid", "affine", "ops"]
    fixed: int | None = None
    numbers: tuple[Table, ...] = ()
    same: Same | None = None
    ops: tuple[Op, ...] = ()
    #: The tails that have a size, by slot.
    tails: tuple[int, ...] = ()
    #: Whether an input of size 1 is repeated, and whether all inputs have a size.
    broadcasts: bool = False
    complete: bool = True
    #: Whether nothing may be left of a map.
    may_be_empty: bool = False


@dataclass(frozen=True)
class Step:
    """One node of the plan of an axis."""

    v: int
    selector: int | None
    reads: tuple[Read, ...]  # of slots that carry a local field
    period: int
    #: Whether its branches are compared.
    meets: bool
    #: Whether it keeps them apart, as channels.
    stacks: bool
    size: SizeRule
    #: Slots of an elementwise op whose map, if it has size 1, would be read as a whole, with the sizes of all slots.
    broadcast: tuple[tuple[int, ...], tuple[int, ...]] | None = None


@dataclass(frozen=True)
class AxisPlan:
    """What the pass does along one axis, node by node."""

    steps: tuple[Step, ...]
    source: int
    live: tuple[bool, ...]  # [V], whether it has a local field
    is_global: tuple[bool, ...]  # [V]
    largest: tuple[int | None, ...]  # [V], bound on the size of its map, if that is known
    last_use: tuple[int, ...]  # [V], the last node that reads its field or size
    #: Whether no end of any interval in any design can leave 52 bits.
    safe: bool


@dataclass(frozen=True)
class Plan:
    """A sweep made ready for the vectorised pass."""

    selectors: tuple[Selector, ...]
    axes: tuple[AxisPlan, ...]  # one per distinct axis
    axis_of: tuple[int, ...]  # [A], which of them an axis has


def plan(variants: Variants[tuple[Op, ...]], source: int, input_size: shapes.InputSize) -> Plan:
    """Return the plan of a sweep.

    Raises
    ------
    NoPlan
        If what cannot be a number differs from design to design.
    SizeError
        If the part of the network that no choice touches does not work at this input size.
    """
    layers = variants.layers
    given = shapes.given_sizes(layers, input_size)
    axes: list[AxisPlan] = []
    axis_of: list[int] = []
    plan_of: dict[int, int] = {}
    for axis in range(len(layers.axes)):
        same = next((other for other in plan_of if _alike(variants, given, other, axis)), None)
        if same is None:
            plan_of[axis] = len(axes)
            axes.append(_Planner(variants, axis, source, {v: sizes[axis] for v, sizes in given.items()}).plan())
        axis_of.append(plan_of[axis if same is None else same])
    return Plan(variants.selectors, tuple(axes), tuple(axis_of))


def _alike(variants: Variants[tuple[Op, ...]], given: Mapping[int, Sequence[int]], a: int, b: int) -> bool:
    distinct = {id(ops): ops for ops in variants.values}.values()
    return all(ops[a] == ops[b] for node in distinct for ops in node) and all(s[a] == s[b] for s in given.values())


class _Planner:
    """Makes the plan of one axis: node by node, with bounds on what may come out."""

    def __init__(self, variants: Variants[tuple[Op, ...]], axis: int, source: int, given: Mapping[int, int]) -> None:
        self.variants = variants
        self.layers = variants.layers
        self.axis = axis
        self.source = source
        self.given = given
        nodes = len(self.layers.nodes)
        self.live = [False] * nodes
        self.is_global = [False] * nodes
        self.period = [1] * nodes
        #: Size of a map: not known, the same in all designs, or some number up to a bound.
        self.fixed: list[int | None] = [None] * nodes
        self.most: list[int | None] = [None] * nodes
        #: Bounds on the ends of intervals, and on the step.
        self.reach: list[int] = [0] * nodes
        self.stride: list[int] = [1] * nodes

    def plan(self) -> AxisPlan:
        self.live[self.source] = True
        steps = []
        for v in range(len(self.layers.nodes)):
            size = self.size(v)
            reads = self.reads(v) if v > self.source else ()
            steps.append(self.step(v, reads, size))
        last_use = list(range(len(steps)))
        for v, tails in enumerate(self.layers.tails):
            for tail in tails:
                last_use[tail] = v
        worst = max(reach * period for reach, period in zip(self.reach, self.period, strict=True))
        return AxisPlan(
            tuple(steps),
            self.source,
            tuple(self.live),
            tuple(self.is_global),
            tuple(self.most),
            tuple(last_use),
            safe=2 * worst < LARGEST and 2 * max(self.stride) < LARGEST,
        )

    def ops(self, v: int) -> list[Op]:
        return [ops[self.axis] for ops in self.variants.values[v]]

    # Sizes

    def size(self, v: int) -> SizeRule:
        """Note what is known of the size of a map, and return how it is found."""
        if v in self.given:
            self.fixed[v] = self.most[v] = self.given[v]
            return SizeRule("fixed", self.given[v])
        tails, ops = self.layers.tails[v], self.ops(v)
        sized = tuple(tail for tail in tails if self.most[tail] is not None)
        if len(ops) == 1 and all(self.fixed[tail] is not None or self.most[tail] is None for tail in tails):
            sizes = tuple(self.fixed[tail] for tail in tails)
            self.fixed[v] = self.most[v] = size = self.fixed_size(v, ops[0], sizes)
            return SizeRule("fixed", size)
        if not sized or (len(sized) < len(tails) and not all(op.merges for op in ops)):
            return self.unknown(v, ops)
        if all(op.merges for op in ops):
            return self.merged(v, ops, sized)
        return self.by_law(v, ops, sized)

    def merged(self, v: int, ops: Sequence[Op], sized: tuple[int, ...]) -> SizeRule:
        """Return the rule for an op that reads several maps at the same position."""
        self.most[v] = max(self.most[tail] or 0 for tail in sized)
        broadcasts = [op.broadcasts for op in ops]
        if len(set(broadcasts)) > 1:
            raise NoPlan(f"{self.named(v)} broadcasts in some designs only")
        complete = len(sized) == len(self.layers.tails[v])
        return SizeRule("merge", tails=sized, broadcasts=broadcasts[0], complete=complete)

    def by_law(self, v: int, ops: Sequence[Op], sized: tuple[int, ...]) -> SizeRule:
        """Return the rule for an op that has a formula, and otherwise one that asks the op itself."""
        most = self.most[sized[0]] or 0
        laws = [op.size_law for op in ops]
        sums = [_as_sum(law) for law in laws]
        if all(sums):
            laws = list(sums)
        if slid := _all_slid(laws):
            same = _same(slid)
            padded = max(greatest(same.before) + greatest(same.after), greatest(same.span))
            self.most[v] = self.bounded(v, most + padded)
            return SizeRule("slid", tails=sized, same=same, numbers=(table([int(law.ceil_mode) for law in slid]),))
        affine = [law for law in laws if isinstance(law, Affine)]
        if len(affine) < len(ops):
            self.most[v] = max(_largest_size(op, most) for op in ops)
            return SizeRule("ops", tails=sized, ops=tuple(ops), may_be_empty=any(op.makes_empty for op in ops))
        times, plus = table([law.times for law in affine]), table([law.plus for law in affine])
        self.most[v] = self.bounded(v, most * greatest(times) + greatest(plus))
        if all(law == Affine(1, 0) for law in affine):
            return SizeRule("first", tails=sized)
        may_be_empty = any(op.makes_empty for op in ops)
        return SizeRule("affine", tails=sized, numbers=(times, plus), may_be_empty=may_be_empty)

    def fixed_size(self, v: int, op: Op, sizes: tuple[int | None, ...]) -> int | None:
        try:
            size = op.size(sizes)
        except SizeError as error:
            raise SizeError(f"{self.named(v)}: {error}; it does so in every design") from None
        if size == 0 and op.makes_empty:
            raise NoPlan(f"{self.named(v)} leaves nothing of its map")
        if size is not None and size < 1:
            raise SizeError(f"{self.named(v)}: its map would have size {size} in every design; the input is too small")
        return size

    def unknown(self, v: int, ops: Sequence[Op]) -> SizeRule:
        """Return the rule for an op whose inputs have no known size: it may have one of its own all the same."""
        tails = self.layers.tails[v]
        if any(self.most[tail] is not None for tail in tails):
            raise NoPlan(f"{self.named(v)} reads maps of which some have a size that depends on the design")
        sizes = [op.size((None,) * len(tails)) for op in ops]
        if all(size is None for size in sizes):
            return SizeRule("fixed", None)
        if any(size is None for size in sizes):
            raise NoPlan(f"{self.named(v)} has a known map size in some designs only")
        known = [size for size in sizes if size is not None]
        self.most[v] = self.bounded(v, max(known))
        if len(set(known)) == 1:
            self.fixed[v] = known[0]
            return SizeRule("fixed", known[0])
        return SizeRule("affine", numbers=(0, table(known)))

    def bounded(self, v: int, most: int) -> int:
        if most > LARGEST:
            raise NoPlan(f"{self.named(v)} may have a map of {most} positions")
        return most

    # Windows

    def reads(self, v: int) -> tuple[Read, ...]:
        """Return what a node reads through the slots that carry a local field, and note where others lead."""
        tails, ops = self.layers.tails[v], self.ops(v)
        if not any(self.live[tail] or self.is_global[tail] for tail in tails):
            return ()
        reads = []
        for slot, tail in enumerate(tails):
            if not (self.live[tail] or self.is_global[tail]):
                continue
            if not self.live[tail]:
                self.is_global[v] |= not self.cut(v, slot, ops)
                continue
            read = self.window(v, slot, ops)
            if read == "full":
                self.is_global[v] = True
            elif isinstance(read, Read):
                self.is_global[v] |= self.is_global[tail]
                reads.append(read)
        return tuple(reads)

    def cut(self, v: int, slot: int, ops: Sequence[Op]) -> bool:
        """Return whether nothing is read through a slot, for one that carries no local field anyway."""
        sizes = tuple(self.fixed[tail] for tail in self.layers.tails[v])
        kinds = {op.window(slot, sizes).kind == "empty" for op in ops}
        if len(kinds) > 1:
            raise NoPlan(f"{self.named(v)} reads nothing in some designs only")
        return kinds.pop()

    def window(self, v: int, slot: int, ops: Sequence[Op]) -> Read | Literal["full", "empty"]:
        tails = self.layers.tails[v]
        tail = tails[slot]
        sizes = tuple(self.fixed[t] for t in tails)
        varies = any(self.most[t] is not None and self.fixed[t] is None for t in tails)
        if not all(op.reads_all for op in ops):
            raise NoPlan(f"{self.named(v)} may read less than its window")
        if varies and any(op.heeds_size for op in ops):
            if slid := _all_slid([op.size_law for op in ops]):
                return self.sized_kernel(tail, slid)
            raise NoPlan(f"{self.named(v)} reads what the size of its map says, which differs from design to design")
        windows = [op.reads(slot, sizes) for op in ops]
        kinds = {window.kind for window in windows}
        if "unknown" in kinds:
            why = next(window.why for window in windows if window.kind == "unknown")
            raise NoPlan(f"{self.named(v)}: {why}")
        if any(window.side in ("past", "future") or (window.is_full and not window.exact) for window in windows):
            raise NoPlan(f"{self.named(v)} reads all that comes before or after a position, or at most the whole axis")
        if len(kinds) > 1:
            raise NoPlan(f"{self.named(v)} reads a position in some designs, and the whole axis or nothing in others")
        if "full" in kinds:
            return "full"
        if "empty" in kinds:
            return "empty"
        return self.local(v, tail, windows)

    def sized_kernel(self, tail: int, laws: Sequence[Slid]) -> Read:
        same = _same(laws)
        last = table([law.span - 1 - (0 if isinstance(law.padding, str) else law.padding[0]) for law in laws])
        first = -same.before if isinstance(same.before, int) else np.negative(same.before)
        return Read(tail, (first,), (last,), same.stride, same)

    def local(self, v: int, tail: int, windows: Sequence[Window]) -> Read:
        """Return the tables of the windows of all variants, over the period that they share."""
        period = lcm(*(window.period for window in windows))
        if period > LONGEST_PERIOD:
            raise NoPlan(f"{self.named(v)} reads differently at each of {period} outputs")
        if any(not window.exact or None in window.intervals for window in windows):
            raise NoPlan(f"{self.named(v)} has output phases that read nothing, or a bound in place of what it reads")
        intervals = [[window.interval(y) for window in windows] for y in range(period)]
        return Read(
            tail,
            tuple(table([interval[0] for interval in phase if interval]) for phase in intervals),
            tuple(table([interval[1] for interval in phase if interval]) for phase in intervals),
            table([window.step * (period // window.period) for window in windows]),
        )

    def step(self, v: int, reads: tuple[Read, ...], size: SizeRule) -> Step:
        """Return the step of a node, with what its field may reach noted."""
        ops, tails = self.ops(v), self.layers.tails[v]
        selector = self.variants.selector_of[v]
        if not reads:
            return Step(v, selector, (), 1, False, False, size)
        self.live[v] = True
        periods = [self.composed(read) for read in reads]
        period = lcm(*periods)
        if period > LONGEST_PERIOD:
            raise NoPlan(f"{self.named(v)} has a field that repeats only after {period} outputs")
        self.period[v] = period
        for read in reads:
            steps = greatest(read.step) * (period // read.period)
            far = max(map(greatest, (*read.first, *read.last))) + steps
            if read.same is not None:
                far += greatest(read.same.span) + greatest(read.same.stride)
            self.reach[v] = max(self.reach[v], self.reach[read.tail] + far * self.stride[read.tail])
            self.stride[v] = max(self.stride[v], steps * self.stride[read.tail])
        self.reach[v] += self.stride[v] if period > 1 else 0
        joins = {op.joins for op in ops}
        if len(joins) > 1:
            raise NoPlan(f"{self.named(v)} joins maps along this axis in some designs only")
        broadcast = None
        if any(op.broadcasts for op in ops):
            sized = tuple(tail for tail in tails if self.most[tail] is not None)
            heard = tuple(read.tail for read in reads if read.tail in sized)
            varying = any(self.fixed[tail] is None for tail in sized)
            broadcast = (heard, sized) if heard and varying and len(sized) > 1 else None
        stacks = any(op.stacks for op in ops)
        return Step(v, selector, reads, period, len(reads) > 1 and not joins.pop(), stacks, size, broadcast)

    def composed(self, read: Read) -> int:
        """Return after how many outputs the field through a slot repeats."""
        inner = self.period[read.tail]
        steps = [int(step) for step in np.unique(np.asarray(read.step))]
        return read.period * lcm(*(inner // gcd(inner, step) for step in steps))

    def named(self, v: int) -> str:
        return self.layers.describe(v, self.axis)


def _largest_size(op: Op, most: int) -> int:
    """Return a bound on the size of the map that an op makes of one of at most ``most`` positions."""
    inputs, _ = op.cycle  # larger by that much, the output is no smaller
    if inputs > LONGEST_PERIOD:
        return LARGEST
    sizes = []
    for size in range(max(most - inputs + 1, 1), most + 1):
        with suppress(SizeError):
            sizes.append(op.size((size,)) or 0)
    return min(max(sizes, default=0), LARGEST)


def _all_slid(laws: Sequence[SizeLaw | None]) -> list[Slid]:
    """Return the laws, if all of them are those of sliding kernels."""
    slid = [law for law in laws if isinstance(law, Slid)]
    return slid if len(slid) == len(laws) else []


def _as_sum(law: SizeLaw | None) -> Affine | None:
    """Return the law of a kernel that slides by one position, as one that adds to the size; ``None`` for others."""
    if not isinstance(law, Slid) or law.stride > 1 or law.ceil_mode:  # that leaves windows in the padding out
        return None
    return Affine(1, 0 if isinstance(law.padding, str) else 1 + sum(law.padding) - law.span)


def _same(laws: Sequence[Slid]) -> Same:
    modes = {"same_upper": 1, "same_lower": 2}
    stated = [(0, 0) if isinstance(law.padding, str) else law.padding for law in laws]
    return Same(
        table([modes[law.padding] if isinstance(law.padding, str) else 0 for law in laws]),
        table([law.span for law in laws]),
        table([law.stride for law in laws]),
        table([before for before, _ in stated]),
        table([after for _, after in stated]),
    )
