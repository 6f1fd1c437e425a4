"""Networks of unknown input size: what depends on it depends on its residue only, and is solved for all at once.

SAME padding depends on the size ``m`` of its input modulo its stride. Every map grows in steps, ``t`` positions for
every ``k`` pixels of the input, so from some size up everything depends on ``n mod M``, with ``M`` the least common
multiple, over the layers so padded, of the input pixels after which their own case comes round again. One pass carries
arrays over the ``M`` residues for every node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, reduce
from math import gcd, lcm

import numpy as np

from rfgraph.algebra.residues import MISFIT, BySize, shortest_period
from rfgraph.algebra.window import EMPTY, IDENTITY, MAX_PERIOD, Interval, Window
from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.results import Fields
from rfgraph.passes.size_rule import Flags, Ints, SizeRule, size_rule

#: Some of the residues, or all of them.
Residues = Ints | slice

_CHANGES = Window.unknown("its window changes with the input size; give one")

_TOO_LARGE = Window.unknown("its numbers are too large to follow by residue; give an input size")

#: Ends of intervals beyond this are not followed in 64 bits.
_LARGEST = 1 << 61


@dataclass(frozen=True)
class WindowBySize:
    """A window for each residue of the input size; all share the stride."""

    step: int
    first: Ints  # [M, T]
    last: Ints  # [M, T]
    reads: Flags  # [M, T], false where the phase is empty
    holes: bool
    exact: bool
    why: str
    #: Why the window is not the same at all sizes of some residues, and at which it is, [M]; ``None`` for all.
    lost: Window | None = None
    known: Flags | None = None

    @property
    def period(self) -> int:
        """Outputs ``T`` after which the windows repeat."""
        return int(self.first.shape[1])

    @cached_property
    def reads_always(self) -> bool:
        """Whether no phase of any residue is empty."""
        return bool(self.reads.all())

    @cached_property
    def is_regular(self) -> bool:
        """Whether no phase of any residue is empty, and neither end ever goes backward."""
        if self.period == 1 or not self.reads_always:
            return self.reads_always
        wrapped = (np.concatenate([a, a[:, :1] + self.step], axis=1) for a in (self.first, self.last))
        return all(bool((np.diff(a, axis=1) >= 0).all()) for a in wrapped)

    @cached_property
    def is_gapped(self) -> bool:
        """Whether neighbouring outputs may leave inputs between them unread."""
        if self.period == 1:
            return not self.reads_always or int((self.last - self.first).min()) + 1 < self.step
        following = np.concatenate([self.first[:, 1:], self.first[:, :1] + self.step], axis=1)
        return not self.reads_always or bool((self.last + 1 < following).any())

    @property
    def is_certain(self) -> bool:
        """Whether it is read without holes, exactly, and at all sizes of every residue."""
        return self.exact and not self.holes and not self.why and self.lost is None and self.known is None

    def window(self, residue: int) -> Window:
        """Return the window of one residue."""
        if self.lost is not None and self.known is not None and not self.known[residue]:
            return self.lost
        intervals: tuple[Interval | None, ...] = tuple(
            (int(a), int(b)) if read else None
            for a, b, read in zip(self.first[residue], self.last[residue], self.reads[residue], strict=True)
        )
        return Window.periodic(intervals, self.step, holes=self.holes, exact=self.exact, why=self.why)

    @property
    def told(self) -> Flags:
        """At which residues the window is the same at all sizes, [M]."""
        return np.ones(len(self.first), dtype=bool) if self.known is None else self.known

    def repeated(self, period: int) -> WindowBySize:
        """Return the same windows with a longer period, a multiple of their own."""
        times = period // self.period
        if times == 1:
            return self
        shift = np.repeat(np.arange(times) * self.step, self.period)
        return replace(
            self,
            step=self.step * times,
            first=np.tile(self.first, times) + shift,
            last=np.tile(self.last, times) + shift,
            reads=np.tile(self.reads, times),
        )


Field = Window | WindowBySize


@dataclass(frozen=True)
class SolutionBySize:
    """What one axis of a network does at every residue of the input size modulo ``modulus``."""

    compiled: Compiled
    axis: int
    modulus: int
    valid: Flags  # [M], residues at which all maps that meet are of one size
    sizes: list[Ints | None]  # [V][M], map sizes at one large input size of each residue
    rule: SizeRule
    fields: list[Field]  # [V], local fields; a Window where the size does not matter

    @property
    def smallest(self) -> int:
        """The least input size from which on every size of a valid residue works, and what is said here is exact."""
        return self.rule.smallest

    def window(self, v: int, known: Window) -> Window:
        """Return the field of node ``v`` where the size does not matter after all, else what is ``known`` of it."""
        field = self.fields[v]
        return field if isinstance(field, Window) and known.kind == "unknown" else known

    def by_size(self, v: int) -> BySize | None:
        """Return the fields of node ``v`` by residue, ``None`` if the size does not matter to it."""
        field = self.fields[v]
        if not isinstance(field, WindowBySize):
            return None
        told = self._told.get(id(field))
        if told is None:
            known: dict[bytes, Window] = {}
            windows = []
            rows = np.concatenate([field.first, field.last, field.reads, field.told[:, np.newaxis]], axis=1)
            for residue, (row, valid) in enumerate(zip(rows, self.valid.tolist(), strict=True)):
                if not valid:
                    windows.append(MISFIT)
                    continue
                key = row.tobytes()
                if key not in known:
                    known[key] = field.window(residue)
                windows.append(known[key])
            period = shortest_period(windows)
            told = self._told[id(field)] = BySize(period, tuple(windows[:period]), self.smallest)
        return told

    @cached_property
    def _told(self) -> dict[int, BySize]:
        """The windows by residue of the fields that were asked for; layers that keep their input's share it."""
        return {}

    def side(self, v: int, slot: int) -> Field:
        """Return what node ``v`` reads of the source through ``slot``."""
        inner = self.fields[self.compiled.layers.tails[v][slot]]
        if self.compiled.reads[self.axis][v][slot] is IDENTITY:  # as most ops read
            return inner
        side = self._sides.get((v, slot))
        if side is None:
            self._sides[v, slot] = side = _through(self.variants(v, slot), inner, self.modulus)
        return side

    @cached_property
    def _sides(self) -> dict[tuple[int, int], Field]:
        """What each node reads through each slot, where it was asked for; what a node reads comes before it."""
        return {}

    def agree(self, sides: Sequence[Field], causal: bool) -> bool:
        """Return whether branches of equal period line up at every residue, at their last index if they are causal."""
        if any(isinstance(side, Window) and _large(side) for side in sides):
            return False
        spreads = [_spread(side, self.modulus) if isinstance(side, Window) else side for side in sides]
        if len({(spread.step, spread.period) for spread in spreads}) > 1:
            return False
        if not all(spread.known is None or spread.told[self.valid].all() for spread in spreads):
            return False
        rows = [(spread.last if causal else spread.first + spread.last)[self.valid] for spread in spreads]
        if not all(spread.reads_always for spread in spreads):
            marked = zip(rows, spreads, strict=True)
            rows = [np.concatenate([row, spread.reads[self.valid]], axis=1) for row, spread in marked]
        return all(np.array_equal(other, rows[0]) for other in rows[1:])

    def are_lost(self, sides: Sequence[Field]) -> bool:
        """Return whether at some residue several branches change with the input size: no one compares them there."""
        told = [side.told[self.valid] for side in sides if isinstance(side, WindowBySize)]
        return len(told) > 1 and bool((np.add.reduce([~flags for flags in told], dtype=np.int64) > 1).any())

    def variants(self, v: int, slot: int) -> list[tuple[Residues, Window]]:
        """Return the windows that the op of ``v`` has, each with the residues at which it has it."""
        return (not slot and self.cases.get(v)) or [(slice(None), self.compiled.reads[self.axis][v][slot])]

    @cached_property
    def cases(self) -> dict[int, list[tuple[Residues, Window]]]:
        """Node id -> what it reads through slot 0 by residue, for the nodes where the input size decides."""
        return _cases(self.compiled, self.axis, self.rule)


def solve(compiled: Compiled, axis: int, source: int, fields: Fields) -> SolutionBySize | None:
    """Return the fields of every node by residue of the input size, ``None`` if no residue decides anything.

    Parameters
    ----------
    compiled
        A network of unknown input size.
    fields
        What the forward pass said; nodes that it knows are not looked at again.
    """
    layers = compiled.layers
    undecided = [
        v for v, ops in enumerate(layers.ops) if ops[axis].window_cycle != 1 and compiled.sizes[v][axis] is None
    ]
    if not undecided:
        return None
    rule = size_rule(layers, axis)
    if not rule.is_followed:
        return None
    modulus, (sizes, valid) = rule.modulus, rule.settled
    if not valid.any():
        return None
    local: list[Field] = list(fields.local)
    solution = SolutionBySize(compiled, axis, modulus, valid, sizes, rule, local)
    for v in range(source + 1, len(layers.nodes)):
        field = fields.local[v]
        if field.kind != "unknown":
            continue
        reads = compiled.reads[axis][v]
        sides = [solution.side(v, slot) for slot in range(len(reads)) if not reads[slot].is_unbounded]
        merged = reduce(lambda a, b: _hull(a, b, modulus), sides) if sides else EMPTY
        if isinstance(merged, Window) and merged.kind == "unknown":
            causes = [
                cause for tail in layers.tails[v] if isinstance(cause := local[tail], Window) and cause.is_unknown
            ]
            merged = causes[0] if causes else Window.unknown(f"{layers.describe(v, axis)}: {merged.why}")
        local[v] = merged
    return solution


def _cases(compiled: Compiled, axis: int, rule: SizeRule) -> dict[int, list[tuple[Residues, Window]]]:
    """Return the windows of first slots that the input size decides, each with its residues, by node id.

    At two sizes of a residue two moduli apart, ratios of maps that grow are equal only if all sizes of it have them; so
    are halves of their differences.
    """
    layers, (sizes, fits), later = compiled.layers, rule.settled, rule.settled_later
    cases: dict[int, list[tuple[Residues, Window]]] = {}
    known: dict[tuple[int, ...], list[tuple[Residues, Window]]] = {}  # by op and sizes, by their ids: most are shared
    for v, (ops, tails) in enumerate(zip(layers.ops, layers.tails, strict=True)):
        op = ops[axis]
        if op.window_cycle == 1 or not tails or compiled.sizes[v][axis] is not None:
            continue
        now, then = ([table[tail] for tail in tails] for table in (sizes, later))
        if any(size is None for size in now):
            continue
        key = (id(ops), *map(id, now), *map(id, then))
        if key in known:
            cases[v] = known[key]
            continue
        residues: dict[tuple[int, ...], list[int]] = {}  # by the sizes of all inputs, now and then
        for residue in np.flatnonzero(fits).tolist():
            read = tuple([int(size[residue]) for size in (*now, *then) if size is not None])
            residues.setdefault(read, []).append(residue)
        windows: dict[Window, list[int]] = {}
        for read, at in residues.items():
            one, other = (op.reads(0, sizes) for sizes in (read[: len(tails)], read[len(tails) :]))
            windows.setdefault(one if one == other else op.reads(0, (None,) * len(tails)), []).extend(at)
        if not fits.all():  # sizes mean nothing there
            windows.setdefault(op.reads(0, (None,) * len(tails)), []).extend(np.flatnonzero(~fits).tolist())
        known[key] = cases[v] = [(np.array(sorted(at)), window) for window, at in windows.items()]
    return cases


def _spread(window: Window, modulus: int) -> WindowBySize:
    """Return the window that is the same at every residue."""
    ends = [(0, 0) if interval is None else interval for interval in window.intervals]
    reads = [interval is not None for interval in window.intervals]
    rows = np.broadcast_to(np.array(ends, dtype=np.int64), (modulus, len(ends), 2))
    marks = np.broadcast_to(np.array(reads), (modulus, len(ends)))
    return WindowBySize(window.step, rows[..., 0], rows[..., 1], marks, window.holes, window.exact, window.why)


def _large(window: Window) -> bool:
    return any(abs(end) > _LARGEST for interval in window.intervals if interval for end in (*interval, window.step))


def _through(outer: list[tuple[Residues, Window]], inner: Field, modulus: int) -> Field:
    """Return what an op reads whose window is ``outer`` at the residues beside it."""
    if len(outer) == 1 and outer[0][1] == IDENTITY and outer[0][1].exact:
        return inner
    window = next((window for _, window in outer if not window.is_unknown), outer[0][1])
    if isinstance(inner, Window):
        if len(outer) == 1 or inner.kind != "local":
            return window.through(inner)
        if _large(inner):
            return _TOO_LARGE
        inner = _spread(inner, modulus)
    if window.kind != "local":
        return window if window.kind != "empty" else EMPTY
    if len(outer) == 1 and window.period == inner.period == 1 and inner.is_regular:
        return _through_one(window, inner)
    turns = inner.period // gcd(inner.period, window.step)
    period = window.period * turns
    if period > MAX_PERIOD or period * modulus > MAX_PERIOD * 64:
        return Window.unknown(f"the window repeats only after {period} outputs; give an input size")
    return _through_rows(outer, (window.period, window.step), inner, turns)


def _through_rows(
    outer: list[tuple[Residues, Window]], turn: tuple[int, int], inner: WindowBySize, turns: int
) -> Field:
    """Return the same where the windows of ``outer`` have period and step ``turn``, and repeat after ``turns``."""
    modulus, period = len(inner.first), turn[0] * turns
    first, last = np.zeros((2, modulus, period), dtype=np.int64)
    reads = np.zeros((modulus, period), dtype=bool)
    holes, bound = inner.holes, False
    lost, known, inexact = inner.lost, inner.known, ""
    for rows, window in outer:
        if window.is_unknown or (window.period, window.step) != turn:
            lost = window if window.is_unknown else _CHANGES
            known = np.ones(modulus, dtype=bool) if known is None else known.copy()
            known[rows] = False
            continue
        if _large(window) or abs(window.intervals[0][1] if window.intervals[0] else 0) * inner.step > _LARGEST:
            return _TOO_LARGE
        part = inner
        if not isinstance(rows, slice):
            part = replace(inner, first=inner.first[rows], last=inner.last[rows], reads=inner.reads[rows])
        regular, every = part.is_regular, window.spacing or 1
        cycle = inner.period // gcd(inner.period, every)
        several = False
        for column, (a, b) in _columns(window, turns):
            several = several or a < b
            reach = 0 if regular else min((b - a) // every, cycle - 1)
            first[rows, column], last[rows, column], reads[rows, column] = _ends(part, a, b, reach, every)
        holes = holes or window.holes or (several and part.is_gapped)
        bound = bound or (not window.spacing and not regular)
        inexact = inexact or ("" if window.exact else window.why or "its window is a bound")
    why = inner.why or inexact
    why = why or ("a skipped position meets an upsampling phase that reads elsewhere" if bound else "")
    exact = inner.exact and not inexact and not bound
    step = turn[1] * turns * inner.step // inner.period
    return WindowBySize(step, first, last, reads, holes, exact, why, lost, known)


def _through_one(window: Window, inner: WindowBySize) -> Field:
    """Return what an op reads whose window is the same at all residues, where no output phases differ."""
    (a, b) = window.intervals[0] or (0, 0)
    step = inner.step
    if _large(window) or abs(b) * step > _LARGEST:
        return _TOO_LARGE
    return replace(
        inner,
        step=window.step * step,
        first=inner.first + a * step if a else inner.first,
        last=inner.last + b * step if b else inner.last,
        holes=inner.holes or window.holes or (a < b and inner.is_gapped),
        exact=inner.exact and window.exact,
        why=inner.why or ("" if window.exact else window.why or "its window is a bound"),
    )


def _columns(window: Window, turns: int) -> Iterator[tuple[int, Interval]]:
    for turn in range(turns):
        for phase, interval in enumerate(window.intervals):
            if interval is not None:
                yield turn * window.period + phase, (interval[0] + turn * window.step, interval[1] + turn * window.step)


def _at(spread: WindowBySize, y: int) -> tuple[Ints, Ints, Flags]:
    turns, phase = divmod(y, spread.period)
    shift = turns * spread.step
    return spread.first[:, phase] + shift, spread.last[:, phase] + shift, spread.reads[:, phase]


def _ends(spread: WindowBySize, a: int, b: int, reach: int, every: int) -> tuple[Ints, Ints, Flags]:
    """Return the least first and greatest last over taps ``every`` apart in ``[a, b]``, ``reach`` from each end."""
    first, _, reads = _at(spread, a)
    _, last, also = _at(spread, b)
    if not reach:
        return first, last, reads & also
    first, last = np.where(reads, first, _LARGEST * 2), np.where(also, last, -_LARGEST * 2)
    for y in range(a + every, a + reach * every + 1, every):
        other, _, here = _at(spread, y)
        first = np.minimum(first, np.where(here, other, _LARGEST * 2))
        reads = reads | here
    for y in range(b - reach * every, b, every):
        _, other, here = _at(spread, y)
        last = np.maximum(last, np.where(here, other, -_LARGEST * 2))
    return np.where(reads, first, 0), np.where(reads, last, 0), reads


def _hull(a: Field, b: Field, modulus: int) -> Field:
    if a is b:
        return a
    if isinstance(a, Window) and isinstance(b, Window):
        return a.hull(b)
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Window) and one.kind != "local":
            return other if one.kind == "empty" else one
        if isinstance(one, Window) and _large(one):
            return _TOO_LARGE
    one, other = (_spread(x, modulus) if isinstance(x, Window) else x for x in (a, b))
    if one.step * other.period != other.step * one.period:
        return Window.unknown("paths of unequal strides drift apart")
    period = lcm(one.period, other.period)
    if period > MAX_PERIOD:
        return Window.unknown(f"the window repeats only after {period} outputs; give an input size")
    one, other = one.repeated(period), other.repeated(period)
    if one.reads_always and other.reads_always and one.is_certain and other.is_certain:
        for wide, narrow in ((one, other), (other, one)):
            if (wide.first <= narrow.first).all() and (wide.last >= narrow.last).all():
                return wide
    first = np.where(
        one.reads & other.reads, np.minimum(one.first, other.first), np.where(one.reads, one.first, other.first)
    )
    last = np.where(
        one.reads & other.reads, np.maximum(one.last, other.last), np.where(one.reads, one.last, other.last)
    )
    both = one.reads & other.reads
    apart = (both & ((one.last + 1 < other.first) | (other.last + 1 < one.first))).any()
    covers = [bool((part.first == first).all() and (part.last == last).all()) for part in (one, other)]
    solid = any(cover and not part.holes for cover, part in zip(covers, (one, other), strict=True))
    holes = not solid and (one.holes or other.holes or bool(apart))
    exact = (one.exact and other.exact) or any(c and p.exact for c, p in zip(covers, (one, other), strict=True))
    known = None if one.known is other.known is None else one.told & other.told
    lost = one.lost or other.lost
    reads = one.reads | other.reads
    return WindowBySize(one.step, first, last, reads, holes, exact, one.why or other.why, lost, known)
