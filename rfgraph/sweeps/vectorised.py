"""The pass over a block of designs at once: the forward pass and the sizes pass, with arrays where designs differ.

Twin of the domain ``rfgraph.passes.fields`` and of ``rfgraph.graph.sizes``, held against them by
``tests/sweeps/test_sweep.py::test_every_design_is_what_its_analysis_says``. What SAME padding is stands in
``rfgraph.ops.sliding.Sliding.pads``, and when branches line up in ``rfgraph.algebra.alignment.compare``.

Numbers that are the same in all designs of a block are plain integers; others are arrays with one dimension per choice
that varies in the block, of length 1 along those that they do not depend on. So what many designs share is computed
once for all of them, and that costs no line here: it is how arrays broadcast.

Everything is exact in 64 bits: a plan that is ``safe`` cannot leave 52, and elsewhere designs that may are *left over*,
with all others that this pass cannot answer, for the engine of record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.alignment import Mode
from rfgraph.errors import SizeError
from rfgraph.frozen import dataclass
from rfgraph.sweeps import tape as compiled
from rfgraph.sweeps.designs import Digit
from rfgraph.sweeps.plan import AxisPlan, Plan, Read, Same, SizeRule, Step
from rfgraph.sweeps.tape import Tape
from rfgraph.sweeps.variants import LARGEST, Table

#: One number for all designs of a block, or an array of them.
Number = Any
#: Likewise for truth values.
Flag = Any


@dataclass(frozen=True, slots=True)
class Field:
    """The field of a node, in every design of a block: the window of each output phase."""

    first: tuple[Number, ...]
    last: tuple[Number, ...]
    step: Number

    @property
    def period(self) -> int:
        """Outputs after which it repeats."""
        return len(self.first)


@dataclass(frozen=True)
class AxisFound:
    """What the pass found along one axis."""

    #: Node id -> field, for the nodes that were asked for; ``None`` where there is no local one.
    fields: dict[int, Field | None]
    #: Node id -> in which designs its field is not known, because paths of different strides meet.
    drifts: dict[int, Flag]
    #: Size of every map, ``None`` where it is not known, [V].
    sizes: list[Number | None]
    #: Designs that do not work at this input size, that do not line up, and that this pass cannot answer.
    fails: Flag
    misaligned: Flag
    left_over: Flag


def run(
    plan: Plan, digits: Sequence[Digit], nodes: Sequence[int], modes: Sequence[Mode], tapes: Sequence[Tape | None] = ()
) -> list[AxisFound]:
    """Return what the pass finds along each axis, for the designs of a block.

    Where there is a tape for an axis, compiled code finds its fields; the designs must lie in one dimension then.

    Raises
    ------
    OverflowError
        If some number that all designs share does not fit into 64 bits.
    """
    index = [selector.index(digits) for selector in plan.selectors]
    passes: dict[tuple[int, Mode], AxisFound] = {}
    for a, (axis, mode) in enumerate(zip(plan.axis_of, modes, strict=True)):
        if (axis, mode) not in passes:
            with np.errstate(over="ignore"):
                passes[axis, mode] = _Pass(plan.axes[axis], index, nodes, mode, tapes[a] if tapes else None).run()
    return [passes[axis, mode] for axis, mode in zip(plan.axis_of, modes, strict=True)]


class _Pass:
    """One axis of one block."""

    def __init__(self, axis: AxisPlan, index: list[Digit], nodes: Sequence[int], mode: Mode, tape: Tape | None) -> None:
        self.axis = axis
        self.tape = tape
        self.nodes = nodes
        self.index = index
        self.wanted = frozenset(nodes)
        self.mode = mode
        self.fields: dict[int, Field] = {axis.source: Field((0,), (0,), 1)}
        self.drifts: dict[int, Flag] = {}
        self.sizes: dict[int, Number] = {}
        self.irregular: dict[int, Flag] = {}
        self.fails: Flag = False
        self.misaligned: Flag = False
        #: Designs in which the fork of some branches has to tell whether they line up.
        self.in_doubt: Flag = False
        self.left_over: Flag = False
        #: Designs in which an op that may leave nothing of a map does: the general pass tells who takes such a map.
        self.empty: Flag = False

    def run(self) -> AxisFound:
        if not self.axis.safe:
            self.left_over = _leaves_range(self.axis, self.index)
        # The nodes that are read for the last time by a node.
        done: dict[int, list[int]] = {}
        for v, last in enumerate(self.axis.last_use):
            done.setdefault(last, []).append(v)
        for step in self.axis.steps:
            pick = self.picker(step)
            size = self.size(step.size, pick)
            if size is not None:
                self.sizes[step.v] = size
            if step.reads and self.tape is None:
                self.fields[step.v] = self.field(step, pick)
            for v in done.get(step.v, ()):
                if v not in self.wanted:
                    self.fields.pop(v, None)
                    self.drifts.pop(v, None)
                    self.irregular.pop(v, None)
        if self.tape is not None:
            self.compiled(self.tape)
        self.left_over = _either(self.left_over, _both(self.in_doubt, _not(self.misaligned)))
        self.left_over, self.fails = _either(self.left_over, self.empty), _both(self.fails, _not(self.empty))
        return AxisFound(
            {v: self.fields.get(v) for v in self.wanted},
            {v: self.drifts.get(v, False) for v in self.wanted},
            [self.sizes.get(v) for v in range(len(self.axis.steps))],
            self.fails,
            self.misaligned,
            self.left_over,
        )

    def compiled(self, tape: Tape) -> None:
        """Have compiled code find the fields."""
        count = max((len(index) for index in self.index if not isinstance(index, int)), default=1)
        fields, drifts, judged = compiled.run(tape, self.index, count)
        self.misaligned, self.in_doubt = judged & 1 > 0, judged & 2 > 0
        for k, v in enumerate(self.nodes):
            if self.axis.live[v]:
                self.fields[v] = Field((fields[k, 0],), (fields[k, 1],), fields[k, 2])
                self.drifts[v] = drifts[k] if drifts[k].any() else False

    def picker(self, step: Step) -> Callable[[Table], Number]:
        """Return what looks up the entry of a table that each design has at a node."""
        index = None if step.selector is None else self.index[step.selector]

        def pick(table: Table) -> Number:
            if isinstance(table, int) or index is None:
                return table
            return int(table[index]) if isinstance(index, int) else table[index]

        return pick

    # Sizes

    def size(self, rule: SizeRule, pick: Callable[[Table], Number]) -> Number | None:
        if rule.kind == "fixed":
            return rule.fixed
        sizes = [self.sizes[tail] for tail in rule.tails]
        if rule.kind == "first":
            return sizes[0]
        if rule.kind == "merge":
            return self.merged(rule, sizes)
        if rule.kind == "ops":
            return self.asked(rule, sizes, pick)
        if rule.kind == "affine":
            times, plus = map(pick, rule.numbers)
            size = sizes[0] * times + plus if sizes else plus
        else:
            assert rule.same is not None
            size = self.slid(rule.same, pick(rule.numbers[0]), sizes[0], pick)
        return self.checked(rule, size)

    def checked(self, rule: SizeRule, size: Number) -> Number:
        """Note the designs in which nothing is left of a map."""
        if rule.may_be_empty:
            self.empty = _either(self.empty, size == 0)
        self.fails = _either(self.fails, size < 1)
        return size

    def slid(self, same: Same, ceil_mode: Number, size: Number, pick: Callable[[Table], Number]) -> Number:
        stride, span = pick(same.stride), pick(same.span)
        before, after = _pads(same, size, pick)
        room = size + before + after - span
        down = room // stride + 1
        if isinstance(ceil_mode, int) and not ceil_mode:
            return down
        up = -(-room // stride) + 1
        up = up - ((up - 1) * stride >= size + before)  # a last window may not start in the padding after the input
        return up if isinstance(ceil_mode, int) else np.where(ceil_mode != 0, up, down)

    def merged(self, rule: SizeRule, sizes: list[Number]) -> Number:
        if not rule.broadcasts:
            for other in sizes[1:]:
                self.fails = _either(self.fails, sizes[0] != other)
            return sizes[0]
        size = _greatest(sizes)
        for one in sizes:
            self.fails = _either(self.fails, _both(one != size, one != 1))
        if not rule.complete:  # one that is not known is repeated, or is the size
            self.left_over = _either(self.left_over, size == 1)
        return size

    def asked(self, rule: SizeRule, sizes: list[Number], pick: Callable[[Table], Number]) -> Number:
        """Ask the ops themselves, once for each distinct case."""
        variant = pick(np.arange(len(rule.ops))) if len(rule.ops) > 1 else 0
        cases = np.stack([case.ravel() for case in np.broadcast_arrays(variant, *sizes)])
        distinct, which = np.unique(cases, axis=1, return_inverse=True)
        answers = np.empty(distinct.shape[1], dtype=np.int64)
        for case, (of, *given) in enumerate(distinct.T.tolist()):
            try:
                answer = rule.ops[of].size(given) if min(given) > 0 else -1
            except SizeError:
                answer = -1
            answers[case] = LARGEST if answer is None else min(answer, LARGEST)
        shape = np.broadcast_shapes(*(np.shape(number) for number in (variant, *sizes)))
        size = answers[which.reshape(shape)] if shape else int(answers[0])
        self.left_over = _either(self.left_over, size == LARGEST)
        return self.checked(rule, size)

    # Fields

    def field(self, step: Step, pick: Callable[[Table], Number]) -> Field:
        if step.broadcast is not None:
            heard, sized = step.broadcast
            larger = [self.sizes[tail] > 1 for tail in sized]
            lone = [self.sizes[tail] == 1 for tail in heard]
            self.left_over = _either(self.left_over, _both(_any(larger), _any(lone)))
        sides = [self.side(read, pick) for read in step.reads]
        drifts = _any([self.drifts[read.tail] for read in step.reads if read.tail in self.drifts])
        if len(sides) > 1:
            sides = [_repeated(side, step.period) for side in sides]
            unequal = _any([side.step != sides[0].step for side in sides[1:]])
            drifts = _either(drifts, unequal)
            if step.meets:
                self.misaligned = _either(self.misaligned, unequal)
                self.compare(sides, step.stacks)
        if drifts is not False:
            self.drifts[step.v] = drifts
        return sides[0] if len(sides) == 1 else _hull(sides)

    def side(self, read: Read, pick: Callable[[Table], Number]) -> Field:
        """Return what is read of the source through one slot."""
        inner = self.fields[read.tail]
        if read.is_identity:
            return inner
        first, last, step = [pick(t) for t in read.first], [pick(t) for t in read.last], pick(read.step)
        if read.same is not None:
            before = _pads(read.same, self.sizes[read.tail], pick)[0]
            span = pick(read.same.span)
            first, last = [-before], [span - 1 - before]
        if inner.period == 1:
            (low,), (high,) = inner.first, inner.last
            return Field(
                tuple(_plus(low, _times(a, inner.step)) for a in first),
                tuple(_plus(high, _times(b, inner.step)) for b in last),
                _times(step, inner.step),
            )
        if read.tail not in self.irregular:
            self.irregular[read.tail] = _goes_back(inner)
        self.left_over = _either(self.left_over, self.irregular[read.tail])
        turns = _turns(read, inner.period)
        shifts = [step * turn if turn else 0 for turn in range(turns)]
        return Field(
            tuple(_at(inner.first, inner.step, a + shift) for shift in shifts for a in first),
            tuple(_at(inner.last, inner.step, b + shift) for shift in shifts for b in last),
            step * turns // inner.period * inner.step,
        )

    def compare(self, sides: list[Field], stacks: bool) -> None:
        """Note in which designs branches do not line up: a twin of ``rfgraph.algebra.alignment.compare``.

        Where the fork of two branches has to tell, the engine of record is asked.
        """
        causal = self.mode == "causal"
        # Sums over the phases stand for means: all sides have the same phases.
        places = [sum(side.last[1:], side.last[0]) for side in sides]
        if not causal:
            places = [sum(side.first, place) for side, place in zip(sides, places, strict=True)]
        differ = _any([place != places[0] for place in places[1:]])
        if differ is False or (isinstance(differ, np.ndarray) and not differ.any()):
            return
        widths = [_greatest([b - a for a, b in zip(side.first, side.last, strict=True)]) for side in sides]
        size, place = widths[0], places[0]
        ends = list(sides[0].last)
        for side, width, center in zip(sides[1:], widths[1:], places[1:], strict=True):
            better = _either(width > size, _both(width == size, center < place))
            if side.period > 1:  # equal in size and centre, but not in what each phase reads: either may be it
                same = _both(width == size, center == place)
                unlike = _any([a != b for a, b in zip(side.last, ends, strict=True)])
                self.left_over = _either(self.left_over, _both(same, unlike))
            size, place = _where(better, width, size), _where(better, center, place)
            ends = [_where(better, a, b) for a, b in zip(side.last, ends, strict=True)]
        blocks = _any([_reads_blocks(side) for side in sides])
        for side, width, center in zip(sides, widths, places, strict=True):
            off, doubt = center != place, blocks
            if self.mode == "auto":
                doubt = _either(doubt, _not(_any([a != b for a, b in zip(side.last, ends, strict=True)])))
            if stacks:
                doubt = _either(doubt, width == size)
            self.misaligned = _either(self.misaligned, _both(off, _not(doubt)))
            self.in_doubt = _either(self.in_doubt, _both(off, doubt))


def _leaves_range(axis: AxisPlan, index: list[Digit]) -> Flag:
    """Return in which designs some end of an interval may be too large: its greatest magnitude, bounded in doubles."""
    reach: dict[int, Number] = {axis.source: 0.0}
    stride: dict[int, Number] = {axis.source: 1.0}
    leaves: Flag = False
    for step in axis.steps:
        if not step.reads:
            continue
        at = None if step.selector is None else index[step.selector]

        def pick(table: Table, at: Digit | None = at) -> Number:
            return np.float64(table if isinstance(table, int) or at is None else table[at])

        far: Number = 0.0
        fast: Number = 0.0
        for read in step.reads:
            steps = pick(read.step) * (step.period // read.period)
            ends = [np.abs(pick(end)) for end in (*read.first, *read.last)]
            wide = reduce(np.maximum, ends) + steps
            if read.same is not None:
                wide = wide + pick(read.same.span) + pick(read.same.stride)
            far = np.maximum(far, reach[read.tail] + wide * stride[read.tail])
            fast = np.maximum(fast, steps * stride[read.tail])
        reach[step.v], stride[step.v] = far + (fast if step.period > 1 else 0.0), fast
        leaves = _either(leaves, 4 * step.period * (reach[step.v] + fast) >= LARGEST)
    return leaves


def _pads(same: Same, size: Number, pick: Callable[[Table], Number]) -> tuple[Number, Number]:
    """Return the padding before and after maps of ``size``, by the rule of ``Sliding.pads``, which states it."""
    mode, before, after = pick(same.mode), pick(same.before), pick(same.after)
    if isinstance(mode, int) and not mode:
        return before, after
    stride, span = pick(same.stride), pick(same.span)
    total = _greatest([(-(-size // stride) - 1) * stride + span - size, 0])
    total = _where(_either(stride == 1, span == 1), span - 1, total)
    less, more = total // 2, total - total // 2
    if isinstance(mode, int):
        return (less, more) if mode == 1 else (more, less)
    upper, stated = mode == 1, mode == 0
    return (
        np.where(stated, before, np.where(upper, less, more)),
        np.where(stated, after, np.where(upper, more, less)),
    )


def _turns(read: Read, period: int) -> int:
    """Return how many periods of a window make one of the field that it is read through."""
    steps = np.unique(np.asarray(read.step))
    return int(np.lcm.reduce(period // np.gcd(period, steps)))


def _at(ends: tuple[Number, ...], step: Number, position: Number) -> Number:
    """Return an end of a periodic field at a position."""
    period = len(ends)
    turn = position // period
    if isinstance(position, int):
        return ends[position % period] + turn * step
    phase = position - turn * period
    end = ends[0]
    for y in range(1, period):
        end = _where(phase == y, ends[y], end)
    return end + turn * step


def _goes_back(field: Field) -> Flag:
    """Return in which designs an end goes backward from one output to the next."""
    goes_back: Flag = False
    for ends in (field.first, field.last):
        following = (*ends[1:], ends[0] + field.step)
        goes_back = _either(goes_back, _any([b < a for a, b in zip(ends, following, strict=True)]))
    return goes_back


def _reads_blocks(field: Field) -> Flag:
    """Return in which designs some output reads what the one before it reads."""
    if field.period == 1:
        return False
    following = [(*ends[1:], ends[0] + field.step) for ends in (field.first, field.last)]
    pairs = zip(field.first, field.last, *following, strict=True)
    return _any([_both(a == c, b == d) for a, b, c, d in pairs])


def _repeated(field: Field, period: int) -> Field:
    """Return the same field with a longer period, a multiple of its own."""
    times = period // field.period
    if times == 1:
        return field
    shifts = [field.step * turn if turn else 0 for turn in range(times)]
    return Field(
        tuple(_plus(first, shift) for shift in shifts for first in field.first),
        tuple(_plus(last, shift) for shift in shifts for last in field.last),
        field.step * times,
    )


def _hull(sides: list[Field]) -> Field:
    return Field(
        tuple(_least(list(ends)) for ends in zip(*(side.first for side in sides), strict=True)),
        tuple(_greatest(list(ends)) for ends in zip(*(side.last for side in sides), strict=True)),
        sides[0].step,
    )


# Arithmetic of plain integers and arrays alike; a truth value that all designs share stays a plain one


def _times(a: Number, b: Number) -> Number:
    if isinstance(a, int) and a in (0, 1):
        return b if a else 0
    return a if isinstance(b, int) and b == 1 else a * b


def _plus(a: Number, b: Number) -> Number:
    if isinstance(a, int) and not a:
        return b
    return a if isinstance(b, int) and not b else a + b


def _least(numbers: list[Number]) -> Number:
    return reduce(lambda a, b: min(a, b) if isinstance(a, int) and isinstance(b, int) else np.minimum(a, b), numbers)


def _greatest(numbers: list[Number]) -> Number:
    return reduce(lambda a, b: max(a, b) if isinstance(a, int) and isinstance(b, int) else np.maximum(a, b), numbers)


def _where(condition: Flag, yes: Number, no: Number) -> Number:
    if isinstance(condition, bool):
        return yes if condition else no
    return no if yes is no else np.where(condition, yes, no)


def _either(a: Flag, b: Flag) -> Flag:
    if isinstance(a, bool):
        return True if a else b
    if isinstance(b, bool):
        return True if b else a
    return a | b


def _both(a: Flag, b: Flag) -> Flag:
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return a & b


def _not(a: Flag) -> Flag:
    return not a if isinstance(a, bool) else ~a


def _any(flags: Sequence[Flag]) -> Flag:
    return reduce(_either, flags, False)


def spread(number: Number, shape: tuple[int, ...], dtype: Any = np.int64) -> NDArray[Any]:
    """Return a number or array of a block with one entry per design."""
    return np.broadcast_to(np.asarray(number, dtype=dtype), shape).reshape(-1)


def any_of(flags: Sequence[Flag]) -> Flag:
    """Return in which designs some flag is set."""
    return _any(flags)


def width(field: Field) -> Number:
    """Return the size of a field: that of its widest phase."""
    return _greatest([last - first + 1 for first, last in zip(field.first, field.last, strict=True)])
