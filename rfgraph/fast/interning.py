"""Interning tables of the affine walk: each distinct set of attributes, and each distinct frame, has a number.

Part of the twin ``rfgraph.fast.affine_walk``, held by ``tests/fast/test_affine_walk.py``. The tables are shared by all
networks that have as many axes. So the effect of an op on a field is computed once per process, by asking the op.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf
from operator import itemgetter
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from rfgraph.algebra.window import Window
from rfgraph.ops import METADATA, Op, Size, kind_of

if TYPE_CHECKING:
    from rfgraph.fast.numbers import IntegerArray

#: Numbered sets of attributes and frames are forgotten beyond these: bounds on memory that no real network meets.
MAX_SPECS = 1 << 14
MAX_FRAMES = 1 << 16


class NotPlainError(Exception):
    """The network is none that is solved here."""


class TooWideError(Exception):
    """A number does not fit its lane."""


class Frame(NamedTuple):
    """All that is known of a node along one axis but the size of its field.

    Where every path reads the whole axis there is no local field: ``stride`` is 0, and no one looks at its size.
    """

    center2: int
    stride: int
    map_size: Size
    is_global: bool


#: One entry per axis.
Frames = tuple[Frame, ...]


class Read(NamedTuple):
    """What an op reads of maps of one size, along one axis: the whole of it, or an interval."""

    is_full: bool
    first: int  # of what output 0 reads
    grows: int  # its size less one
    spacing: float  # how far apart the positions lie that are read; infinite where that is not known
    step: int
    map_size: Size  # of what it makes
    totals: bool  # whether it reads totals over the whole axis besides

    def covers(self, size: Size) -> bool:
        """Return whether surely every position of a map of ``size`` is read by some output; of any size, for ``None``.

        Of a size that is not known, what lies at the borders is left out.
        """
        if self.is_full or self.totals:
            return True
        if self.step > 1 and (self.spacing != 1 or self.grows + 1 < self.step):
            return False
        if size is None or self.map_size is None:
            return True
        reached = self.first + self.grows + (self.map_size - 1) * self.step
        return self.spacing <= self.map_size and self.first <= 0 and reached >= size - 1


@dataclass(frozen=True, slots=True)
class Lanes:
    """How a state is laid out: bits of the number of its frame, and above it of the size less one on every axis.

    The highest bit of each lane of a size stays clear, so that a difference shows there which of two is larger.
    """

    axes: int
    number: int
    size: int

    @property
    def frames(self) -> int:
        """The bits of the number of a frame."""
        return (1 << self.number) - 1

    @property
    def guards(self) -> int:
        """The highest bit of every size."""
        return sum(1 << self.shift(axis + 1) - 1 for axis in range(self.axes))

    def shift(self, axis: int) -> int:
        """Return where the lane of an axis begins."""
        return self.number + self.size * axis

    def size_less_one(self, state: int, axis: int) -> int:
        """Return the size less one that a state holds on an axis."""
        return state >> self.shift(axis) & (1 << self.size) - 1


@cache
def lanes_of(axes: int, *, wide: bool) -> Lanes:
    """Return the layout of states of so many axes: all in 64 bits, or 64 for each lane."""
    return Lanes(axes, 64, 64) if wide else Lanes(axes, 12, (64 - 12) // axes)


@dataclass(frozen=True, slots=True)
class Spec:
    """What a set of attributes says: an op on every axis."""

    kind: str
    ops: tuple[Op, ...]
    merges: bool  # whether its inputs are read at the same position

    @property
    def keeps_all(self) -> bool:
        """Whether the field of a node of one input is that of its input, and its map as large."""
        return all(op.keeps_all for op in self.ops)


#: What tells sets of attributes apart, and the number of the spec by what it returns.
Layout = tuple[Callable[[Mapping[str, Any]], Hashable], dict[Hashable, int]]


@dataclass(slots=True)
class Table:
    """The numbered specs and frames of networks with as many axes."""

    lanes: Lanes
    specs: list[Spec] = field(default_factory=list)
    #: By spec, what it adds to a state, by the number of the state's frame; ``None`` for the identity.
    steps: list[dict[int, int] | None] = field(default_factory=list)
    #: By spec, the axes on which it reads several positions, and how many strides its input has to read there for no
    #: position between to be skipped.
    needs: list[dict[int, float]] = field(default_factory=list)
    spec_of_attributes: dict[Hashable, int] = field(default_factory=dict)  # attributes that matter -> spec
    spec_of_op: dict[str, int] = field(default_factory=dict)  # op -> spec of nodes that have no other attribute
    layouts: dict[str, dict[int, Layout]] = field(default_factory=dict)  # by op and number of attributes
    frames: list[Frames] = field(default_factory=list)
    numbers: dict[Frames, int] = field(default_factory=dict)
    reads: dict[tuple[int, tuple[Size, ...]], tuple[Read, ...]] = field(default_factory=dict)  # by spec and map sizes
    places: IntegerArray | None = None  # centres and strides of the frames, when they were last asked for
    widest: int = 0  # most that any step adds to any size, or that any hull holds
    lock: Any = field(default_factory=RLock)

    @property
    def is_full(self) -> bool:
        """Whether it is time to begin another, with room for the frames of a network."""
        most = min(MAX_FRAMES, self.lanes.frames // 2)
        return len(self.specs) > MAX_SPECS or len(self.frames) > most

    def frame(self, frames: Frames) -> int:
        """Return the number of the frames of all axes."""
        number = self.numbers.get(frames)
        if number is None:
            with self.lock:
                number = self.numbers.get(frames, len(self.frames))
                if number > self.lanes.frames:
                    raise TooWideError
                if number == len(self.frames):
                    self.frames.append(frames)
                    self.numbers[frames] = number
        return number

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
        sizes = [op.size(()) for op in self.specs[spec].ops] if given is None else given
        return self.frame(tuple(Frame(0, 1, size, False) for size in sizes))

    def step(self, spec: int, number: int) -> int:
        """Return what a spec that is no identity adds to a state in the frame of a number, and keep it in ``steps``.

        Raises
        ------
        NotPlainError
            If it is not plain, or takes no input, or leaves nothing of a map.
        """
        step, inner = self.steps[spec], self.frames[number]
        if step is None:
            raise NotPlainError("an op reads what a node without inputs should")
        added, new = 0, []
        reads = self._reads_at(spec, tuple([frame.map_size for frame in inner]))
        for axis, (read, (center2, stride, _, is_global)) in enumerate(zip(reads, inner, strict=True)):
            if read.is_full or not stride:
                new.append(Frame(0, 0, read.map_size, True))
                continue
            center2 += (2 * read.first + read.grows) * stride
            new.append(Frame(center2, stride * read.step, read.map_size, is_global or read.totals))
            added += self._in_lane(read.grows * stride, axis)
        added += self.frame(tuple(new)) - number
        step[number] = added
        return added

    def _reads_at(self, spec: int, map_sizes: tuple[Size, ...]) -> tuple[Read, ...]:
        """Return what an op reads of a map, one entry per axis."""
        reads = self.reads.get((spec, map_sizes))
        if reads is None:
            ops, needs = self.specs[spec].ops, self.needs[spec]
            kind = self.specs[spec].kind
            reads = tuple([_read(op, map_size, kind) for op, map_size in zip(ops, map_sizes, strict=True)])
            with self.lock:
                for axis, read in enumerate(reads):
                    if read.grows:
                        needs[axis] = max(needs.get(axis, 0), read.spacing)
                self.reads[spec, map_sizes] = reads
        return reads

    def merged(self, spec: int, degree: int, a: int, b: int) -> tuple[int, bool]:
        """Return the state of a merge of two inputs of unequal frames, and whether these differ in centre.

        Raises
        ------
        NotPlainError
            If their strides differ, so that nothing covers both, or their maps in any way but that a map of size 1 is
            read by every output.
        """
        lanes, differ = self.lanes, False
        state, new = 0, []
        frames = zip(self.frames[a & lanes.frames], self.frames[b & lanes.frames], strict=True)
        for axis, (op, (one, two)) in enumerate(zip(self.specs[spec].ops, frames, strict=True)):
            more, other = lanes.size_less_one(a, axis), lanes.size_less_one(b, axis)
            if one == two:
                more = max(more, other)
            elif one.map_size != two.map_size:
                # The whole of a map of size 1 is read by every output.
                if one.map_size == 1:
                    one, more, two = two, other, one
                is_certain = one.map_size is not None or not two.stride
                if two.map_size != 1 or degree > 2 or not is_certain or not op.broadcasts:
                    raise NotPlainError(
                        f"maps of sizes {one.map_size} and {two.map_size} meet in {self.specs[spec].kind!r}"
                    )
                one = one._replace(is_global=True)
            elif not one.stride or not two.stride:
                one, more = (one, more) if one.stride else (two, other)
                one = one._replace(is_global=True)
            else:
                if one.stride != two.stride:
                    raise NotPlainError(f"branches of strides {one.stride} and {two.stride} meet")
                (here, stride, map_size, is_global), there = one, two.center2
                differ = differ or here != there
                twice_first, twice_last = min(here - more, there - other), max(here + more, there + other)
                more = (twice_last - twice_first) // 2
                one = Frame((twice_first + twice_last) // 2, stride, map_size, is_global or two.is_global)
            new.append(one)
            state += self._in_lane(more, axis)
        return state + self.frame(tuple(new)), differ

    def _in_lane(self, size_less_one: int, axis: int) -> int:
        """Return a part of a state: what a size is, or grows by, on an axis."""
        if size_less_one >> self.lanes.size - 1:
            raise TooWideError
        if size_less_one > self.widest:
            with self.lock:
                self.widest = max(self.widest, size_less_one)
        return size_less_one << self.lanes.shift(axis)


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
    return Spec(attributes["op"], ops, all(op.merges for op in ops))


def _read(op: Op, map_size: Size, kind: str) -> Read:
    """Return what an op reads of its input.

    Raises
    ------
    NotPlainError
        If that is neither one interval per output nor the whole axis, or not certain, or leaves nothing of the map.
    """
    if op.joins or op.arity == "none":
        raise NotPlainError(f"op {kind!r} joins maps end to end, or makes them of nothing")
    read, output_size = op.reads(0, (map_size,)), op.size((map_size,))
    if output_size is not None and output_size < 1:
        raise NotPlainError(f"op {kind!r} leaves nothing of a map of size {map_size}")
    if read.is_full and read.exact:
        return Read(True, 0, 0, 1, 1, output_size, True)
    interval = read.interval(0) if read.is_local and read.period == 1 and read.exact else None
    if interval is None:
        raise NotPlainError(f"op {kind!r} reads {_described(read)}")
    first, last = interval
    return Read(
        False,
        first,
        last - first,
        inf if read.holes and op.spacing == 1 else op.spacing,
        read.step,
        output_size,
        op.totals,
    )


def _frozen(value: Any) -> Any:
    return tuple([_frozen(entry) for entry in value]) if isinstance(value, list) else value


def _items(attributes: Mapping[str, Any]) -> Hashable:
    return tuple(attributes.items())


def _frozen_items(attributes: Mapping[str, Any]) -> Hashable:
    return tuple([(name, _frozen(value)) for name, value in attributes.items()])


def _described(read: Window) -> str:
    """Return why a window is not one interval per output."""
    if read.is_local and read.period > 1:
        return "another window at each output phase"
    if read.is_local:
        return "a window that is only a bound"
    return read.why or "neither an interval nor a whole axis"
