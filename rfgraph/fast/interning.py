"""Interning tables of the affine walk: each distinct set of attributes, and each distinct frame, has a number.

Part of the twin ``rfgraph.fast.affine_walk``, held by ``tests/fast/test_affine_walk.py``. The tables are shared by all
networks that have as many axes. So the effect of an op on a field is computed once per process, by asking the op.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from math import inf, lcm
from operator import itemgetter
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from rfgraph.algebra.alignment import Comparison, Verdict, compare
from rfgraph.algebra.window import FULL, IDENTITY, LARGEST, Window
from rfgraph.fast.lanes import Lanes
from rfgraph.fast.residues import (
    LARGE,
    OF_INPUT,
    End,
    MapSizes,
    against_the_first,
    check_together,
    sizes_made,
    sizes_met,
    together,
)
from rfgraph.fast.shapes import WHOLE, NotPlainError, Shape, covering, shape_and_ends
from rfgraph.frozen import dataclass
from rfgraph.ops import METADATA, Op, Size, kind_of
from rfgraph.ops.base import Affine, check_digits

if TYPE_CHECKING:
    from rfgraph.fast.numbers import IntegerArray

#: Numbered sets of attributes and frames are forgotten beyond these: bounds on memory that no real network meets.
MAX_SPECS = 1 << 14
MAX_FRAMES = 1 << 16

#: Shapes of more phases are left to the general passes; and shapes are forgotten beyond so many phases in all.
MAX_PHASES = 1 << 12
MAX_ALL_PHASES = 1 << 18


class SizesDecideError(NotPlainError):
    """What an op reads depends on the input size, which is not known."""


class TooWideError(Exception):
    """A number does not fit its lane."""


class Frame(NamedTuple):
    """All that decides what an op does to a node's numbers along one axis, but for the size of its map.

    Where every path reads the whole axis there is no local field, and no one looks at its lanes.
    """

    shape: Shape
    is_sized: bool  # whether the size of the map is known
    is_global: bool
    #: Of networks walked by residue of the input size: how the size of the map differs at others, if it is not known,
    #: and how the field does.
    sizes: MapSizes | None = None
    others: tuple[End, ...] = ()

    @property
    def heeds_size(self) -> bool:
        """Whether what an op does may depend on what stands in the lane of the size."""
        return self.is_sized or self.sizes is not None

    @property
    def by_residue(self) -> tuple[End, ...]:
        """The field at each residue, from where it lies at the first."""
        return (End(self.shape, 0, 0), *self.others)


#: How many positions at the begin and at the end of a map.
Ends = tuple[int, int]

#: More than so many are not counted.
MOST_SPARE = 4

#: One entry per axis.
Frames = tuple[Frame, ...]


class Read(NamedTuple):
    """What an op reads of maps of one size, along one axis: the whole of it, or an interval at each output phase."""

    window: Window
    spacing: float  # how far apart the positions lie that are read; infinite where that is not known
    map_size: Size  # of what it makes
    totals: bool  # whether it reads totals over the whole axis besides

    def spare(self, size: Size, before: int, after: int) -> Ends | None:
        """Return how many first and last outputs may stay unread, so that of a map of ``size`` only ends do.

        These are its ``before`` first and ``after`` last positions; ``None`` where all outputs may leave out more. Of a
        size that is not known, ``None``, what lies at the borders is left out.
        """
        read = self.window
        if read.is_full or self.totals:
            return 0, 0
        if not (self.spacing == 1 and read.seamless) and (read.period > 1 or read.step > 1):
            return None
        if size is None or self.map_size is None:
            return 0, 0
        begin, end = read.interval(0), read.interval(self.map_size - 1)
        if begin is None or end is None or self.spacing > self.map_size:
            return None
        first, last = before - begin[0], end[1] - (size - 1 - after)
        if first < 0 or last < 0:
            return None
        most = 0 if read.period > 1 else min(MOST_SPARE, int(self.map_size - self.spacing) // 2)
        return min(first // read.step, most), min(last // read.step, most)

    @property
    def is_even(self) -> bool:
        """Whether it is the whole, or an interval that moves on by 1 from output to output."""
        return self.window.is_full or self.window.step == self.window.period == self.spacing == 1

    @property
    def is_wide(self) -> bool:
        """Whether some output reads several positions."""
        return any(ends is not None and ends[0] < ends[1] for ends in self.window.intervals)


@dataclass(frozen=True, slots=True)
class Spec:
    """What a set of attributes says: an op on every axis."""

    kind: str
    ops: tuple[Op, ...]
    merges: bool  # whether its inputs are read at the same position
    #: What it adds to the size of its map on every axis, if it does so and reads the same at every size; else ``None``.
    grows: tuple[int, ...] | None

    @property
    def keeps_all(self) -> bool:
        """Whether the field of a node of one input is that of its input, and its map as large."""
        return all(op.keeps_all for op in self.ops)


class Meeting(NamedTuple):
    """How the states of two inputs of unequal frames or map sizes make that of their merge.

    Where their shapes are unlike on some axis, all of it holds at one distance between the ends of both only.
    """

    state: int  # the number of the frame
    #: The lanes that are those of one input alone, and those that hold the larger of both.
    from_first: int
    from_second: int
    both: int
    #: The lanes of ``before`` of the axes on which both have a local field, of one shape.
    compared: int
    #: A bit in the lane of ``before`` of each axis on which centres differ though shapes are unlike.
    off: int


#: What tells sets of attributes apart, and the number of the spec by what it returns.
Layout = tuple[Callable[[Mapping[str, Any]], Hashable], dict[Hashable, int]]


@dataclass(eq=False, repr=False)
class Table:
    """The numbered specs and frames of networks with as many axes."""

    lanes: Lanes
    specs: list[Spec] = field(default_factory=list)
    #: By spec, what it adds to a state, by the number of the state's frame; ``None`` for the identity. Where it heeds
    #: sizes of maps that are known, what it adds is kept in ``sized_steps``.
    steps: list[dict[int, int] | None] = field(default_factory=list)
    #: By spec, the axes on which it reads several positions, and how many outputs of its input these lie apart.
    needs: list[dict[int, float]] = field(default_factory=list)
    spec_of_attributes: dict[Hashable, int] = field(default_factory=dict)  # attributes that matter -> spec
    spec_of_op: dict[str, int] = field(default_factory=dict)  # op -> spec of nodes that have no other attribute
    layouts: dict[str, dict[int, Layout]] = field(default_factory=dict)  # by op and number of attributes
    frames: list[Frames] = field(default_factory=list)
    #: By the number of frames, the lanes of ``before`` of those axes that have a local field.
    local: list[int] = field(default_factory=list)
    sized: list[tuple[bool, ...]] = field(default_factory=list)  # on which axes the size of the map is known
    numbers: dict[Frames, int] = field(default_factory=dict)
    shapes: dict[Window, Shape] = field(default_factory=dict)  # of local fields
    phases: int = 0  # of all shapes that have several, and residues of the input size in all frames
    #: The numbers of the frames that have several phases on some axis.
    phased: set[int] = field(default_factory=set)
    reads: dict[tuple[int, tuple[Size, ...]], tuple[Read, ...]] = field(default_factory=dict)  # by spec and map sizes
    #: By spec, what matters of a state, and how much of the ends of its map need not be read: how much of its own.
    spares: dict[tuple[int, int, tuple[Ends, ...]], tuple[Ends, ...] | None] = field(default_factory=dict)
    even: set[int] = field(default_factory=set)  # specs that get as far in maps of any size
    sized_steps: dict[tuple[int, int], int] = field(default_factory=dict)  # by spec, and frame and sizes of a state
    #: By spec, whether there are more than two inputs, and the frames and sizes of two; where shapes are unlike, by the
    #: difference of their lanes too.
    meetings: dict[tuple[int, ...], Meeting] = field(default_factory=dict)
    comparisons: dict[tuple[Shape, Shape, int, int], Comparison] = field(default_factory=dict)
    #: How branches of a network that upsamples lie to each other, by all that decides it.
    verdicts: dict[Hashable, Verdict] = field(default_factory=dict)
    gaps: dict[tuple[Shape, Shape], int] = field(default_factory=dict)
    #: Of merges whose output phases differ, by their state and those that they read: the branches that do not line up,
    #: with their axis, as ``rfgraph.fast.merges`` keeps them, and whether what they read leaves a gap.
    apart: dict[tuple[int, ...], list[tuple[int, Any]]] = field(default_factory=dict)
    leave_a_gap: dict[tuple[int, ...], bool] = field(default_factory=dict)
    #: What ops read through fields whose phases differ, and what covers two unlike fields: axes mostly read alike.
    passed: dict[tuple[Window, int, bool, Shape], tuple[Shape, int, int]] = field(default_factory=dict)
    covered: dict[tuple[Shape, Shape, int, int], tuple[Shape, int]] = field(default_factory=dict)
    #: By spec and frame: where the lanes of an axis begin, and what has to stand in both together.
    least: dict[tuple[int, int], list[tuple[int, int, float]]] = field(default_factory=dict)
    #: By spec, map sizes, axis and the shape of a path: what shape it has behind that op, and how much longer it is.
    path_steps: dict[tuple[int, tuple[Size, ...], int, Shape], tuple[Shape, int]] = field(default_factory=dict)
    strides: IntegerArray | None = None  # of the frames, when they were last asked for
    widest: int = 0  # most that any step adds to any lane, or takes away
    shrinks: bool = False  # whether any step makes a map smaller
    lock: Any = field(default_factory=RLock)

    @cached_property
    def no_spare(self) -> tuple[Ends, ...]:
        """Where all of a map has to be read."""
        return ((0, 0),) * self.lanes.axes

    @property
    def is_full(self) -> bool:
        """Whether it is time to begin another, with room for the frames of a network."""
        most = min(MAX_FRAMES, self.lanes.frames // 2)
        kept = (self.frames, self.sized_steps, self.spares, self.meetings, self.path_steps, self.passed, self.covered)
        of_branches = (self.comparisons, self.verdicts, self.gaps, self.apart, self.leave_a_gap, self.least)
        return (
            len(self.specs) > MAX_SPECS or self.phases > MAX_ALL_PHASES or max(map(len, (*kept, *of_branches))) > most
        )

    def frame(self, frames: Frames) -> int:
        """Return the number of the frames of all axes."""
        number = self.numbers.get(frames)
        if number is None:
            with self.lock:
                number = self.numbers.get(frames, len(self.frames))
                if number > self.lanes.frames:
                    raise TooWideError
                if number == len(self.frames):
                    lanes = self.lanes
                    local = [axis for axis, frame in enumerate(frames) if frame.shape.is_local]
                    self.local.append(sum(lanes.lane << lanes.before(axis) for axis in local))
                    self.sized.append(tuple([frame.is_sized for frame in frames]))
                    if any(frame.shape.period > 1 for frame in frames):
                        self.phased.add(number)
                    self.phases += sum([len(frame.others) for frame in frames])
                    if self.phases > 4 * MAX_ALL_PHASES:
                        raise NotPlainError("its fields have too many phases in all, or residues of the input size")
                    self.frames.append(frames)
                    self.numbers[frames] = number
        return number

    def shape(self, window: Window) -> Shape:
        """Return the one shape that has this window.

        Raises
        ------
        NotPlainError
            If it has more phases than are followed here.
        """
        shape = self.shapes.get(window)
        if shape is None:
            if window.period > MAX_PHASES:
                raise NotPlainError(f"its fields have more than {MAX_PHASES} output phases")
            with self.lock:
                shape = self.shapes.setdefault(window, Shape(window))
                self.phases += window.period if window.period > 1 else 0
        return shape

    def specs_of(self, attributes: Iterable[Mapping[str, Any]]) -> list[int]:
        """Return the number of what each node's attributes say, [V]."""
        specs: list[int] = []
        add, spec_of_op, layouts = specs.append, self.spec_of_op, self.layouts
        for given in attributes:
            size = len(given)
            try:
                if size == 1:
                    add(spec_of_op[given["op"]])
                else:
                    key, known = layouts[given["op"]][size]
                    add(known[key(given)])
            except (KeyError, TypeError):  # not met before, or not in this form
                add(self.spec(given))
        return specs

    def spec(self, attributes: Mapping[str, Any]) -> int:
        """Return the number of what a set of attributes says, and lay down how to find it next time."""
        for name in METADATA & attributes.keys():
            check_digits(name, attributes[name])
        matters = [item for item in attributes.items() if item[0] == "op" or item[0] not in METADATA]
        settings = tuple([(name, _frozen(value)) for name, value in matters])
        number = self.spec_of_attributes.get(settings)
        if number is None:
            with self.lock:
                spec = _parsed(attributes, self.lanes.axes)
                number = len(self.specs)
                self.specs.append(spec)
                self.steps.append(None if spec.keeps_all else {})
                self.needs.append({})
                self.spec_of_attributes[settings] = number
        names = tuple(name for name in attributes if name != "op")
        if not names:
            self.spec_of_op[attributes["op"]] = number
            return number
        of_op = self.layouts.setdefault(attributes["op"], {})
        ways: list[Layout] = [(itemgetter(*names), {}), (_items, {}), (_frozen_items, {})]
        for key, known in [of_op.get(len(attributes), ways[0]), *ways[1:]]:
            try:
                if len(known) < MAX_SPECS:  # a label may be another at every node
                    known[key(attributes)] = number
            except (KeyError, TypeError):  # other names than before, or a list
                continue
            of_op[len(attributes)] = key, known
            break
        return number

    def begin(self, spec: int, given: tuple[int, ...] | None) -> int:
        """Return the state of the input, of the size that it says itself if none is given.

        Raises
        ------
        NotPlainError
            If it is none.
        """
        if self.specs[spec].kind != "input":
            raise NotPlainError("it does not begin with its only input")
        ops = self.specs[spec].ops
        sizes = [op.size(()) for op in ops] if given is None else given
        if any(size is not None and op.misfit(size) for op, size in zip(ops, sizes, strict=True)):
            raise NotPlainError("its input is none that the model takes")
        itself = self.shape(IDENTITY)
        lanes = self.lanes
        if lanes.by_residue and any(op.own_residues[0] > 1 or op.largest for op in ops):
            raise NotPlainError("its input has some sizes only")
        of_unknown = OF_INPUT if lanes.by_residue else None
        frames = [Frame(itself, size is not None, False, of_unknown if size is None else None) for size in sizes]
        state = self.frame(tuple(frames))
        for axis, (size, frame) in enumerate(zip(sizes, frames, strict=True)):
            state += lanes.zero << lanes.before(axis) | lanes.zero << lanes.last(axis)
            if size is not None or frame.sizes is not None:
                state += self._in_lane((size or LARGE) - 1, lanes.map_size(axis))
        return state

    def map_sizes(self, state: int) -> tuple[Size, ...]:
        """Return the size of the map on every axis."""
        lanes = self.lanes
        lane, shifts = lanes.lane, lanes.map_sizes
        sized = self.sized[state & lanes.frames]
        return tuple([(state >> at & lane) + 1 if known else None for known, at in zip(sized, shifts, strict=True)])

    def field(self, state: int, axis: int) -> Window:
        """Return the receptive field along one axis, ``FULL`` where there is no local one; right but for its holes."""
        shape, lanes = self.frames[state & self.lanes.frames][axis].shape, self.lanes
        return shape.placed(lanes.padding(state, axis), lanes.end(state, axis)) if shape.is_local else FULL

    def by_residue(self, state: int, axis: int) -> tuple[Window, ...]:
        """Return the local field along one axis at each residue of the input size; right but for its holes."""
        lanes = self.lanes
        before, last = lanes.padding(state, axis), lanes.end(state, axis)
        residues = self.frames[state & lanes.frames][axis].by_residue
        return tuple([at.shape.placed(before + at.before, last + at.last) for at in residues])

    def step(self, spec: int, state: int) -> int:
        """Return what a spec that is no identity adds to a state, and keep it.

        Raises
        ------
        NotPlainError
            If it is not plain, or takes no input, or leaves nothing of a map.
        """
        number, step = state & self.lanes.frames, self.steps[spec]
        if step is None:
            raise NotPlainError("an op reads what a node without inputs should")
        if self.specs[spec].grows is not None or not any(frame.heeds_size for frame in self.frames[number]):
            step[number] = added = self._step(spec, state)
            return added
        key = spec, state & (self.lanes.frames | self.lanes.sizes)
        kept = self.sized_steps.get(key)
        if kept is None:
            self.sized_steps[key] = kept = self._step(spec, state)
        return kept

    def _step(self, spec: int, state: int) -> int:
        """Return what a spec adds to a state."""
        lanes, grows = self.lanes, self.specs[spec].grows
        number, sizes = state & lanes.frames, self.map_sizes(state)
        added, new = 0, []
        for axis, (read, frame) in enumerate(zip(self.reads_at(spec, sizes), self.frames[number], strict=True)):
            (shape, is_sized, is_global, of_map, _), size, reads = frame, sizes[axis], [read.window]
            if grows is not None:
                change = grows[axis] if frame.heeds_size else 0
            elif of_map is None or read.map_size is not None:
                if size is None and self.specs[spec].ops[axis].window_cycle > 1:
                    raise SizesDecideError("padding depends on the input size")
                is_sized, of_map = read.map_size is not None, None
                change = (read.map_size or 1) - (lanes.map_size_of(state, axis) if frame.heeds_size else 1)
            else:
                before = lanes.map_size_of(state, axis)
                reads = self._reads_by_residue(self.specs[spec], axis, before, of_map)
                after, of_map = sizes_made(self.specs[spec].ops[axis], before, of_map)
                change = after - before
            added += self._in_lane(change, lanes.map_size(axis))
            self.shrinks = self.shrinks or change < 0
            if read.window.is_full or not shape.is_local:
                new.append(Frame(WHOLE, is_sized, True, of_map))
                continue
            field, others = self._field(reads, frame)
            new.append(Frame(field.shape, is_sized, is_global or read.totals, of_map, others))
            added += self._in_lane(field.before, lanes.before(axis))
            added += self._in_lane(field.last, lanes.last(axis))
        return added + self.frame(tuple(new)) - number

    def _reads_by_residue(self, spec: Spec, axis: int, size: int, of_map: MapSizes) -> list[Window]:
        """Return what an op reads at each residue of the input size, of maps of ``size`` at the first."""
        op = spec.ops[axis]
        if op.window_cycle < 2:
            return [_read(op, None, spec.kind).window]
        pixels = together(of_map.cycle(op.window_cycle))
        return [_read(op, size + offset, spec.kind).window for offset in of_map.over(pixels)]

    def _field(self, reads: Sequence[Window], frame: Frame) -> tuple[End, tuple[End, ...]]:
        """Return what an op adds to the ends of a field, with the shape that it makes, and how other residues differ.

        Parameters
        ----------
        reads
            What the op reads at each residue; one for all where they do not differ.
        frame
            The frame of its input.
        """
        if len(reads) == 1 and not frame.others:
            shape, first, last = self.through(reads[0], frame.shape)
            return End(shape, -first, last), ()
        ends, inner = [], frame.by_residue
        for residue in range(together(len(reads), len(inner))):
            at = inner[residue % len(inner)]
            shape, first, last = self.through(reads[residue % len(reads)], at.shape)
            ends.append(End(shape, at.before - first, at.last + last))
        return against_the_first(ends)

    def through(self, read: Window, shape: Shape) -> tuple[Shape, int, int]:
        """Return the shape of what an op reads of the source, and how much later its leading phase begins and ends.

        Raises
        ------
        NotPlainError
            If that is not one interval per output phase, or only a bound.
        """
        if read.period == shape.period == 1:
            first, last = read.intervals[0] or (0, 0)
            step = read.step * shape.step
            if step > LARGEST:
                raise NotPlainError("its stride has more than 3000 digits")
            alone = shape if read.step == 1 else self.shape(Window(1, step))
            return alone, first * shape.step, last * shape.step
        key = read, read.spacing, read.holes, shape  # equal windows may differ in their holes
        passed = self.passed.get(key)
        if passed is None:
            field = read.through(shape.window)
            if not field.is_local or not field.exact:
                raise NotPlainError(f"an op reads {_described(field)}")
            window, first, last = shape_and_ends(field)
            self.passed[key] = passed = self.shape(window), first, last
        return passed

    def reads_at(self, spec: int, map_sizes: tuple[Size, ...]) -> tuple[Read, ...]:
        """Return what an op reads of a map, one entry per axis."""
        grows = self.specs[spec].grows
        asked = map_sizes if grows is None else (None,) * len(map_sizes)
        reads = self.reads.get((spec, asked))
        if reads is None:
            ops, needs = self.specs[spec].ops, self.needs[spec]
            kind = self.specs[spec].kind
            reads = tuple([_read(op, map_size, kind) for op, map_size in zip(ops, asked, strict=True)])
            with self.lock:
                for axis, read in enumerate(reads):
                    if read.is_wide and read.spacing > needs.get(axis, 0):
                        needs[axis] = read.spacing
                        self.least.clear()
                self.reads[spec, asked] = reads
        if grows is None or map_sizes == asked:
            return reads
        return tuple(
            [
                read if size is None else read._replace(map_size=size + more)
                for read, size, more in zip(reads, map_sizes, grows, strict=True)
            ]
        )

    def spare(self, spec: int, state: int, spare: tuple[Ends, ...]) -> tuple[Ends, ...] | None:
        """Return ``Read.spare`` of an op that reads a map, on every axis; ``None`` where it is so on one."""
        # What adds to every map as much, and reads an interval of it in steps of 1, gets as far at any size.
        evenly = spare is self.no_spare and spec in self.even
        key = spec, state & (self.lanes.frames if evenly else self.lanes.keys), spare
        if key not in self.spares:
            sizes = self.map_sizes(state)
            reads = self.reads_at(spec, sizes)
            if self.specs[spec].grows is not None and all(read.is_even for read in reads):
                self.even.add(spec)
            ends = [read.spare(size, *at) for read, size, at in zip(reads, sizes, spare, strict=True)]
            self.spares[key] = None if None in ends else tuple([at for at in ends if at is not None])
        return self.spares[key]

    def least_ends(self, spec: int, number: int) -> list[tuple[int, int, float]]:
        """Return what has to stand in the lanes of an input, so that a node that reads several positions skips none.

        Parameters
        ----------
        spec, number
            Those of the node, and of the frame of its input.

        Returns
        -------
        list[tuple[int, int, float]]
            Where both lanes of an axis begin, and the least that they may hold together.
        """
        lanes, of_axes = self.lanes, self.frames[number]
        self.least[spec, number] = least = [
            (lanes.before(axis), lanes.last(axis), more + 2 * lanes.zero)
            for axis, need in self.needs[spec].items()
            if (more := max([at.shape.least(need) - at.before - at.last for at in of_axes[axis].by_residue])) > 0
        ]
        return least

    def merged(self, spec: int, degree: int, a: int, b: int) -> tuple[int, int]:
        """Return the state of a merge of two inputs of unequal frames or map sizes, and bits that say how they are off.

        These are 0 where both have the same centre on every axis on which both have a local field.

        Raises
        ------
        NotPlainError
            If their strides differ, so that nothing covers both, or their maps in any way but that a map of size 1 is
            read by every output.
        """
        lanes = self.lanes
        ends, guards, keys = lanes.ends, lanes.guards, lanes.frames | lanes.sizes
        over = (a & ends | guards) - (b & ends)
        key = spec, degree > 2, a & keys, b & keys
        meeting = self.meetings.get(key) or self.meetings.get((*key, over))
        if meeting is None:
            meeting, is_at_distance = self._meet(spec, degree, a, b)
            self.meetings[(*key, over) if is_at_distance else key] = meeting
        larger = over & guards
        hull = b ^ (a ^ b) & (larger - (larger >> lanes.size - 1))
        state = meeting.state | hull & meeting.both | a & meeting.from_first | b & meeting.from_second
        return state, (over >> lanes.across ^ over) & meeting.compared | meeting.off

    def _meet(self, spec: int, degree: int, a: int, b: int) -> tuple[Meeting, bool]:
        """Return how the states of two inputs make that of their merge, and whether only if they lie as these do."""
        lanes = self.lanes
        new, masks, compared = list[Frame](), [0, 0, 0], 0  # from the first alone, from the second alone, from both
        off, is_at_distance = 0, False
        sides = zip(self.frames[a & lanes.frames], self.map_sizes(a), strict=True)
        others = zip(self.frames[b & lanes.frames], self.map_sizes(b), strict=True)
        for axis, (op, one, two) in enumerate(zip(self.specs[spec].ops, sides, others, strict=True)):
            (frame, size), (other, other_size) = one, two
            of_ends = lanes.lane << lanes.before(axis) | lanes.lane << lanes.last(axis)
            of_size = lanes.lane << lanes.map_size(axis)
            taken = 0
            if frame.sizes is not None and other.sizes is not None:
                if lanes.map_size_of(a, axis) != lanes.map_size_of(b, axis):
                    raise NotPlainError("maps that meet differ in size")
                frame = frame._replace(sizes=sizes_met(frame.sizes, other.sizes))
            if size != other_size:
                # The whole of a map of size 1 is read by every output.
                if size == 1:
                    (frame, size), (other, other_size), taken = two, one, 1
                is_certain = size is not None or not other.shape.is_local
                if other_size != 1 or degree > 2 or not is_certain or not op.broadcasts:
                    raise NotPlainError(f"maps of sizes {size} and {other_size} meet in {self.specs[spec].kind!r}")
                frame = frame._replace(is_global=True)
            elif not frame.shape.is_local or not other.shape.is_local:
                frame, taken = (frame, 0) if frame.shape.is_local else (other, 1)
                frame = frame._replace(is_global=True)
            else:
                taken = 2
                if frame.shape is other.shape and frame.others == other.others:
                    compared |= lanes.lane << lanes.before(axis)
                else:
                    distance = lanes.padding(a, axis) - lanes.padding(b, axis), lanes.end(a, axis) - lanes.end(b, axis)
                    shape, at_others, taken, differ = self._met(frame, other, distance, degree)
                    frame = frame._replace(shape=shape, others=at_others)
                    is_at_distance = True
                    off |= differ << lanes.before(axis)
                frame = frame._replace(is_global=frame.is_global or other.is_global)
            new.append(frame)
            masks[taken] |= of_ends
            masks[taken % 2] |= of_size  # both are as large, unless one is taken
        return Meeting(self.frame(tuple(new)), masks[0], masks[1], masks[2], compared, off), is_at_distance

    def _met(
        self, frame: Frame, other: Frame, distance: tuple[int, int], degree: int
    ) -> tuple[Shape, tuple[End, ...], int, bool]:
        """Return the shape of what covers two fields, and how it differs at other residues of the input size.

        Besides, whose ends lead, see ``_cover``, and whether the fields are off at some residue.

        Parameters
        ----------
        frame, other, distance
            The frames of both, and how far the ends of the first lie from those of the other at the first residue.
        degree
            How many inputs meet.
        """
        ones, twos = frame.by_residue, other.by_residue
        ends, leading, differ = list[End](), set[int](), False
        for residue in range(together(len(ones), len(twos))):
            one, two = ones[residue % len(ones)], twos[residue % len(twos)]
            before, last = distance[0] + one.before, distance[1] + one.last
            apart = before - two.before, last - two.last
            shape, leads = one.shape, 2
            if one.shape is not two.shape:
                shape, leads = self._cover(one.shape, two.shape, *apart, degree)
                differ = differ or self.compared(one.shape, two.shape, *apart).verdict != "aligned"
            else:
                differ = differ or apart[0] != apart[1]
            leading.add(leads)
            ends.append(
                End(
                    shape,
                    (before, two.before, max(before, two.before))[leads],
                    (last, two.last, max(last, two.last))[leads],
                )
            )
        if len(leading) > 1:
            raise NotPlainError("which of two branches reads anything first depends on the input size")
        field, others = against_the_first(ends)
        return field.shape, others, leading.pop(), differ

    def _cover(self, one: Shape, other: Shape, before: int, last: int, degree: int) -> tuple[Shape, int]:
        """Return the shape of what covers fields of unlike shapes, and which of them leads: see ``covering``.

        Raises
        ------
        NotPlainError
            If nothing does, or phases that read nothing keep a third input from being held against both at once.
        """
        strides = one.window.stride, other.window.stride
        if strides[0] != strides[1]:
            raise NotPlainError(f"branches of strides {strides[0]} and {strides[1]} meet")
        if degree > 2 and (one.skips or other.skips):
            raise NotPlainError("several branches meet, of which one reads nothing at some outputs")
        key = one, other, before, last
        covered = self.covered.get(key)
        if covered is None:
            window, leads = covering(one, other, before, last)
            if not window.is_local:
                raise NotPlainError(f"what branches have in common is {_described(window)}")
            self.covered[key] = covered = self.shape(shape_and_ends(window)[0]), leads
        return covered

    def compared(self, one: Shape, other: Shape, before: int, last: int) -> Comparison:
        """Return how two branches lie to each other by their centres alone: ``rfgraph.algebra.alignment.compare``."""
        key = one, other, before, last
        comparison = self.comparisons.get(key)
        if comparison is None:
            comparison = self.comparisons[key] = compare(one.placed(before, last), other.window, "center")
        return comparison

    def between(self, one: Shape, other: Shape) -> int:
        """Return how many positions lie at most, at some output, behind what ``one`` reads and before ``other``.

        Of fields whose leading phases both read position 0 alone.
        """
        gap = self.gaps.get((one, other))
        if gap is None:
            period = lcm(one.period, other.period)
            pairs = zip(one.window.over(period), other.window.over(period), strict=True)
            gap = max((after[0] - before[1] - 1 for before, after in pairs if before and after), default=-1)
            self.gaps[one, other] = gap
        return gap

    def check_residues(self, numbers: Iterable[int]) -> None:
        """Refuse a network that has the frames of ``numbers`` if its residues are more than are followed.

        Raises
        ------
        NotPlainError
            If so.
        """
        frames = [frame for number in numbers for frame in self.frames[number]]
        phases = max(frame.shape.period for frame in frames)
        check_together({frame.sizes for frame in frames if frame.sizes is not None}, phases)

    def _in_lane(self, number: int, shift: int) -> int:
        """Return a part of a state: what is added in one lane, which may be less than nothing."""
        if abs(number) >> self.lanes.size - 2:
            raise TooWideError
        if abs(number) > self.widest:
            with self.lock:
                self.widest = max(self.widest, abs(number))
        return number << shift


_TABLES: dict[Lanes, Table] = {}


def table_of(lanes: Lanes) -> Table:
    """Return the table of all states of a layout: the one that there is, or another if it has grown large."""
    table = _TABLES.get(lanes)
    if table is None or table.is_full:
        table = _TABLES[lanes] = Table(lanes)
    return table


def forget(table: Table) -> None:
    """Have later networks begin with another table."""
    _TABLES.pop(table.lanes, None)


def _parsed(attributes: Mapping[str, Any], axes: int) -> Spec:
    kind = kind_of(attributes.get("op"))
    ops = tuple(kind.parse(attributes, axis, axes) for axis in range(axes))
    if not all(op.reads_all for op in ops):
        raise NotPlainError(f"op {attributes['op']!r} may read less than its window")
    grows = [_grows(op) for op in ops]
    steady = tuple([more for more in grows if more is not None])
    return Spec(attributes["op"], ops, all(op.merges for op in ops), steady if len(steady) == axes else None)


def _grows(op: Op) -> int | None:
    """Return what an op adds to the size of any map, where it reads the same of every one; else ``None``."""
    law = op.size_law
    if op.heeds_size or law is None:
        return None
    if isinstance(law, Affine):
        return law.plus if law.times == 1 else None
    if law.stride > 1 or law.ceil_mode:
        return None
    return 0 if isinstance(law.padding, str) else sum(law.padding) - law.span + 1


def _read(op: Op, map_size: Size, kind: str) -> Read:
    """Return what an op reads of its input; of a size that is not known and decides, at a large one.

    Raises
    ------
    NotPlainError
        If that is neither one interval per output phase nor the whole axis, or is not certain, or nothing is left of
        the map.
    """
    if op.joins or op.arity == "none":
        raise NotPlainError(f"op {kind!r} joins maps end to end, or makes them of nothing")
    at = LARGE if map_size is None and op.window_cycle > 1 else map_size
    read, output_size = op.reads(0, (at,)), op.size((map_size,))
    if output_size is not None and output_size < 1:
        raise NotPlainError(f"op {kind!r} leaves nothing of a map of size {map_size}")
    if map_size is None and output_size == 1 and not read.is_full:  # beside a map each output reads it
        raise NotPlainError(f"op {kind!r} leaves one position of a map of any size")
    if not (read.is_full or read.is_local) or not read.exact:
        raise NotPlainError(f"op {kind!r} reads {_described(read)}")
    return Read(read, inf if read.holes and op.spacing == 1 else op.spacing, output_size, read.is_full or op.totals)


def _frozen(value: Any) -> Any:
    return tuple([_frozen(entry) for entry in value]) if isinstance(value, list) else value


def _items(attributes: Mapping[str, Any]) -> Hashable:
    return tuple(attributes.items())


def _frozen_items(attributes: Mapping[str, Any]) -> Hashable:
    return tuple([(name, _frozen(value)) for name, value in attributes.items()])


def _described(read: Window) -> str:
    """Return why a window is not one interval per output phase."""
    return "a window that is only a bound" if read.is_local else read.why or "neither an interval nor a whole axis"
