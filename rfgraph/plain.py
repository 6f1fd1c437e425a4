"""Plain networks, solved as they are walked: all fields, and whether every merge lines up, in one look at each edge.

In a plain network every op reads one interval per output, or the whole axis, and there is one input. Then the field of
a node is known from its *frame* (on every axis the effective stride, twice the centre of output 0, the size of the map,
and whether some path reads the whole axis) and from its size on every axis. An op turns one frame into another and adds
to the sizes what the frame alone decides. Branches of a merge that have the same frame line up, and the merge has it
too, with the larger size on every axis.

So the state of a node is one integer of A + 1 lanes: the number of its frame in the lowest, above it the size less one
on each axis. An op is a table from frame to what it adds to the state; a merge compares and takes the larger of all
lanes at once. Frames of real networks are few, as are distinct sets of attributes; both are numbered for the process.
All lanes together have 64 bits; where a number does not fit its lane, the network is walked again with 64 for each.

``solve`` gives up, and the general passes take over, wherever a network is not plain or is anything but well formed:
messages are written in one place, by ``rfgraph.network.read`` and ``rfgraph.shapes``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial, reduce
from itertools import accumulate, chain, islice
from math import inf
from operator import itemgetter, or_
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import networkx as nx

from rfgraph.errors import RFGraphError
from rfgraph.network import Layers, axis_names, topological
from rfgraph.ops import METADATA, Op, Size, kind_of
from rfgraph.ops.pointwise import Arithmetic, Merge
from rfgraph.results import Extremes
from rfgraph.shapes import InputSize, per_axis
from rfgraph.window import FULL, Window

if TYPE_CHECKING:
    from rfgraph.results import IntegerArray, Numbers


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


#: Numbered sets of attributes and frames are forgotten beyond these: bounds on memory that no real network meets.
MAX_SPECS = 1 << 14
MAX_FRAMES = 1 << 16

#: So many nodes are read and walked at a time: what there is to read of them stays near the processor.
BLOCK = 1 << 10

#: Fields on so many axes, at the most, are laid out in 64 bits at first.
FEW_AXES = 3


class _NotPlainError(Exception):
    """The network is none that is solved here."""


class _UnorderedError(Exception):
    """A node comes before one that it reads."""


class _UnslottedError(_NotPlainError):
    """The inputs of a node are not in the order of their slots."""


class _TooWideError(Exception):
    """A number does not fit its lane."""


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

    def grown(self, state: int, axis: int) -> int:
        """Return the size less one that a state holds on an axis."""
        return state >> self.shift(axis) & (1 << self.size) - 1


@cache
def _lanes(axes: int, *, wide: bool) -> Lanes:
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


#: What reads the values of attributes, the number of the spec by those values, and the names of the attributes.
Layout = tuple[Callable[[Mapping[str, Any]], Hashable], dict[Hashable, int], tuple[str, ...]]


@dataclass(slots=True)
class _Table:
    """The numbered specs and frames of networks with as many axes."""

    lanes: Lanes
    specs: list[Spec] = field(default_factory=list)
    #: By spec, what it adds to a state, by the number of the state's frame; ``None`` for the identity.
    steps: list[dict[int, int] | None] = field(default_factory=list)
    #: By spec, the axes on which it reads several positions, and how many strides its input has to read there for no
    #: position between to be skipped.
    needs: list[dict[int, float]] = field(default_factory=list)
    said: dict[Hashable, int] = field(default_factory=dict)  # attributes that matter -> spec
    bare: dict[str, int] = field(default_factory=dict)  # op -> spec of nodes that have no other attribute
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
                    raise _TooWideError
                if number == len(self.frames):
                    self.frames.append(frames)
                    self.numbers[frames] = number
        return number

    def spec(self, attributes: Mapping[str, Any]) -> int:
        """Return the number of what a set of attributes says, and lay down how to find it next time."""
        matters = [item for item in attributes.items() if item[0] == "op" or item[0] not in METADATA]
        said = tuple([(name, _frozen(value)) for name, value in matters])
        number = self.said.get(said)
        if number is None:
            with self.lock:
                spec = _parsed(attributes, self.lanes.axes)
                number = len(self.specs)
                self.specs.append(spec)
                self.steps.append(None if spec.keeps_all else {})
                self.needs.append({})
                self.said[said] = number
        names = tuple(name for name in attributes if name != "op")
        if not names:
            self.bare[attributes["op"]] = number
            return number
        of_op = self.layouts.setdefault(attributes["op"], {})
        values, known, met = of_op.setdefault(len(attributes), (itemgetter(*names), {}, names))
        if names == met and len(known) < MAX_SPECS:  # a label may be another at every node
            if any(isinstance(value, list) for value in attributes.values()):  # which is no key
                values = partial(_frozen_values, names)
                of_op[len(attributes)] = values, known, met
            known[values(attributes)] = number
        return number

    def begin(self, spec: int, given: tuple[int, ...] | None) -> int:
        """Return the state of the input, of the size that it says itself if none is given.

        Raises
        ------
        _NotPlainError
            If it is none.
        """
        if self.specs[spec].kind != "input":
            raise _NotPlainError
        sizes = [op.size(()) for op in self.specs[spec].ops] if given is None else given
        return self.frame(tuple(Frame(0, 1, size, False) for size in sizes))

    def step(self, spec: int, number: int) -> int:
        """Return what a spec that is no identity adds to a state in the frame of a number, and keep it in ``steps``.

        Raises
        ------
        _NotPlainError
            If it is not plain, or takes no input, or leaves nothing of a map.
        """
        step, inner = self.steps[spec], self.frames[number]
        if step is None:
            raise _NotPlainError
        added, new = 0, []
        reads = self._read(spec, tuple([frame.map_size for frame in inner]))
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

    def _read(self, spec: int, map_sizes: tuple[Size, ...]) -> tuple[Read, ...]:
        """Return what an op reads of a map, one entry per axis."""
        reads = self.reads.get((spec, map_sizes))
        if reads is None:
            ops, needs = self.specs[spec].ops, self.needs[spec]
            reads = tuple([_read(op, map_size) for op, map_size in zip(ops, map_sizes, strict=True)])
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
        _NotPlainError
            If their strides differ, so that nothing covers both, or their maps in any way but that a map of size 1 is
            read by every output.
        """
        lanes, differ = self.lanes, False
        state, new = 0, []
        frames = zip(self.frames[a & lanes.frames], self.frames[b & lanes.frames], strict=True)
        for axis, (op, (one, two)) in enumerate(zip(self.specs[spec].ops, frames, strict=True)):
            more, other = lanes.grown(a, axis), lanes.grown(b, axis)
            if one == two:
                more = max(more, other)
            elif one.map_size != two.map_size:
                # The whole of a map of size 1 is read by every output.
                if one.map_size == 1:
                    one, more, two = two, other, one
                is_certain = one.map_size is not None or not two.stride
                if two.map_size != 1 or degree > 2 or not is_certain or not isinstance(op, Arithmetic):
                    raise _NotPlainError
                one = one._replace(is_global=True)
            elif not one.stride or not two.stride:
                one, more = (one, more) if one.stride else (two, other)
                one = one._replace(is_global=True)
            else:
                if one.stride != two.stride:
                    raise _NotPlainError
                (here, stride, map_size, is_global), there = one, two.center2
                differ = differ or here != there
                twice_first, twice_last = min(here - more, there - other), max(here + more, there + other)
                more = (twice_last - twice_first) // 2
                one = Frame((twice_first + twice_last) // 2, stride, map_size, is_global or two.is_global)
            new.append(one)
            state += self._in_lane(more, axis)
        return state + self.frame(tuple(new)), differ

    def _in_lane(self, grown: int, axis: int) -> int:
        """Return a part of a state: what a size is, or grows by, on an axis."""
        if grown >> self.lanes.size - 1:
            raise _TooWideError
        if grown > self.widest:
            with self.lock:
                self.widest = max(self.widest, grown)
        return grown << self.lanes.shift(axis)


_TABLES: dict[Lanes, _Table] = {}


def _table(lanes: Lanes) -> _Table:
    table = _TABLES.get(lanes)
    if table is None or table.is_full:
        table = _TABLES[lanes] = _Table(lanes)
    return table


def _parsed(attributes: Mapping[str, Any], axes: int) -> Spec:
    kind = kind_of(attributes.get("op"))
    ops = tuple(kind.parse(attributes, axis, axes) for axis in range(axes))
    return Spec(attributes["op"], ops, all(isinstance(op, Merge) for op in ops))


def _read(op: Op, map_size: Size) -> Read:
    """Return what an op reads of its input.

    Raises
    ------
    _NotPlainError
        If that is neither one interval per output nor the whole axis, or not certain, or leaves nothing of the map.
    """
    if op.joins or op.arity == "none":
        raise _NotPlainError
    read, made = op.window(0, (map_size,)), op.size((map_size,))
    if made is not None and made < 1:
        raise _NotPlainError
    if read.is_full:
        return Read(True, 0, 0, 1, 1, made, True)
    interval = read.interval(0) if read.is_local and read.period == 1 and read.exact else None
    if interval is None:
        raise _NotPlainError
    first, last = interval
    return Read(
        False, first, last - first, inf if read.holes and op.spacing == 1 else op.spacing, read.step, made, op.totals
    )


@dataclass(frozen=True)
class Plain:
    """A plain network, and the fields of all its nodes."""

    name: str
    axes: tuple[str, ...]
    source: Hashable
    input_size: tuple[int, ...] | None
    #: Merges whose branches differ in centre, in topological order.
    misaligned: tuple[Hashable, ...]
    nodes: tuple[Hashable, ...]  # [V], in topological order
    states: dict[Hashable, int]
    specs: Sequence[int]  # [V]
    degrees: Sequence[int]  # [V], how many inputs each node has
    feeds: Sequence[Hashable]  # [E], the tails, node by node in the order of their slots
    _table: _Table = field(repr=False, compare=False)

    @cached_property
    def has_no_holes(self) -> bool:
        """Whether every position inside every field is read; if not, some may not be.

        One position of a map reads a whole interval, if none before it skips any; so a node that reads several does
        too, if that interval is no shorter than they lie apart. And so does a merge, if its branches leave no gap.
        """
        needs, lanes, frames = self._table.needs, self._table.lanes, self._table.frames
        states, feeds = self.states, self.feeds
        least: dict[
            tuple[int, int], list[tuple[int, float]]
        ] = {}  # by spec and frame: lanes, and what they have to hold
        at = 0
        for spec, degree in zip(self.specs, self.degrees, strict=True):
            if degree == 1 and needs[spec]:
                state = states[feeds[at]]
                number = state & lanes.frames
                held = least.get((spec, number))
                if held is None:
                    strides = [(axis, need, frames[number][axis].stride) for axis, need in needs[spec].items()]
                    held = [(axis, need * stride - 1) for axis, need, stride in strides if need * stride > 1]
                    least[spec, number] = held
                for axis, more in held:
                    if lanes.grown(state, axis) < more:
                        return False
            at += degree
        return not any(_leave_a_gap(sides) for merge in self.misaligned for sides in self.branches(merge))

    def frames(self, node: Hashable) -> Frames:
        """Return where the field of a node lies and how large its map is, one entry per axis."""
        return self._table.frames[self.states[node] & self._table.lanes.frames]

    def field(self, node: Hashable) -> tuple[Window, ...]:
        """Return the receptive field of a node, one entry per axis; right only where there are no holes."""
        state, lanes = self.states[node], self._table.lanes
        windows = []
        for axis, frame in enumerate(self.frames(node)):
            grown = lanes.grown(state, axis)
            windows.append(Window(grown + 1, frame.stride, (grown - frame.center2) // 2) if frame.stride else FULL)
        return tuple(windows)

    def branches(self, merge: Hashable) -> tuple[tuple[Window, ...], ...]:
        """Return the local fields of what a merge reads, for each axis; right but for their holes."""
        end = self._ends[self._ids[merge]]
        tails = self.feeds[end - self.degrees[self._ids[merge]] : end]
        branches = []
        for axis, of_axis in enumerate(zip(*map(self.field, tails), strict=True)):
            sizes = [self.frames(tail)[axis].map_size for tail in tails]
            narrow = 1 if any(size not in (None, 1) for size in sizes) else 0  # the whole of such a map is read
            pairs = zip(of_axis, sizes, strict=True)
            branches.append(tuple(side for side, size in pairs if side.is_local and size != narrow))
        return tuple(branches)

    @cached_property
    def _ends(self) -> list[int]:
        """Where the inputs of each node end in ``feeds``, [V]."""
        return list(accumulate(self.degrees))

    def kind(self, node: Hashable) -> str:
        """Return what the graph calls the op of a node."""
        return self._table.specs[self.specs[self._ids[node]]].kind

    @cached_property
    def _ids(self) -> dict[Hashable, int]:
        return {node: v for v, node in enumerate(self.nodes)}

    def layers(self) -> Layers:
        """Return the network as the general passes read it."""
        ids, known = self._ids, self._table.specs
        twice = {number for number in set(self.specs) if any(op.totals for op in known[number].ops)}
        tails, feeds = [], iter([ids[tail] for tail in self.feeds])
        for number, degree in zip(self.specs, self.degrees, strict=True):
            read = tuple([next(feeds) for _ in range(degree)])
            tails.append(read * 2 if number in twice else read)
        specs = [known[number] for number in self.specs]
        kinds, ops = [spec.kind for spec in specs], [spec.ops for spec in specs]
        return Layers(self.name, self.axes, self.nodes, kinds, ops, tails)

    def sizes(self) -> list[tuple[Size, ...]]:
        """Return the size of every node's map on every axis, [V][A]."""
        of_frames = [tuple(frame.map_size for frame in frames) for frames in self._table.frames]
        return [of_frames[state & self._table.lanes.frames] for state in self.states.values()]

    @cached_property
    def has_global(self) -> bool:
        """Whether some node reads the whole of an axis."""
        met = {state & self._table.lanes.frames for state in self.states.values()}
        return any(frame.is_global for number in met for frame in self._table.frames[number])

    def may_see_all(self) -> bool:
        """Return whether some field may be larger than the image."""
        lanes, together = self._table.lanes, reduce(or_, self.states.values())
        sizes = [frame.map_size for frame in self.frames(self.source)]
        return any(size is not None and lanes.grown(together, axis) >= size for axis, size in enumerate(sizes))

    def extremes(self) -> list[Extremes]:
        """Return the smallest and largest fields of the paths to every node, one entry per axis."""
        lanes, ids = self._table.lanes, self._ids
        met = [self._table.frames[state & lanes.frames] for state in self.states.values()]
        feeds = [ids[tail] for tail in self.feeds]
        found: list[Extremes] = []
        walked: list[tuple[list[Frame], list[int]]] = []  # frames and fields of each axis
        for axis in range(len(self.axes)):
            frames = [frames[axis] for frames in met]
            pairs = zip(self.states.values(), frames, strict=True)
            fields = [lanes.grown(state, axis) + 1 if frame.stride else 0 for state, frame in pairs]
            same = next((other for other, seen in enumerate(walked) if seen == (frames, fields)), None)
            walked.append((frames, fields))
            if same is not None:
                found.append(found[same])
                continue
            smallest = self._extremes(frames, fields, feeds, min)
            # Where all merges line up, the largest is the field itself.
            largest = self._extremes(frames, fields, feeds, max) if self.misaligned else fields
            found.append(Extremes([size or None for size in smallest], [size or None for size in largest], {}))
        return found

    def _extremes(
        self, frames: Sequence[Frame], fields: Sequence[int], feeds: Sequence[int], choose: Callable[[list[int]], int]
    ) -> list[int]:
        """Return what is chosen of the fields of all paths to each node, [V].

        Parameters
        ----------
        frames, fields
            Of each node, along one axis; fields are 0 where there is no local one.
        feeds
            The ids of what each node reads, node by node.
        choose
            Says which.
        """
        chosen: list[int] = []
        at = 0
        for v, (degree, size) in enumerate(zip(self.degrees, fields, strict=True)):
            if not size or not degree:
                chosen.append(size)
            elif degree == 1:
                tail = feeds[at]
                chosen.append(chosen[tail] + size - fields[tail])
            else:  # all of a map of another size is read
                tails = [tail for tail in feeds[at : at + degree] if frames[tail].map_size == frames[v].map_size]
                chosen.append(choose([chosen[tail] for tail in tails if chosen[tail]]))
            at += degree
        return chosen

    def numbers(self) -> Numbers:
        """Return size, stride and padding of all fields as arrays."""
        from rfgraph.numbers import integers, of_states  # numpy is imported when it is first needed

        table, lanes, places = self._table, self._table.lanes, self._table.places
        if places is None or places.shape[2] < len(table.frames):
            of_axes = list(zip(*table.frames, strict=True))
            center2 = [[frame.center2 for frame in of_axis] for of_axis in of_axes]
            places = table.places = integers([center2, [[frame.stride for frame in of_axis] for of_axis in of_axes]])
        return of_states(self.axes, self.nodes, self.states.values(), places, lanes.number, lanes.size)


def _leave_a_gap(sides: Sequence[Window]) -> bool:
    """Return whether some position between what branches read, each an interval, is read by none."""
    intervals = sorted(interval for side in sides if (interval := side.interval(0)) is not None)
    reached = accumulate((last for _, last in intervals), max)
    return any(first > last + 1 for last, (first, _) in zip(reached, intervals[1:], strict=False))


def solve(graph: nx.DiGraph[Any], source: Hashable | None = None, input_size: InputSize = None) -> Plain | None:
    """Return the fields of a plain network, ``None`` if it is not one, or not well formed.

    Nodes are best added in topological order, as builders do; otherwise they are sorted first.

    Parameters
    ----------
    graph
        The network.
    source
        Node to measure from, if not the input: then it is not solved here.
    input_size
        Size of the input; by name it is not solved here.
    """
    try:
        if source is not None and graph.nodes[source].get("op") != "input":
            return None
        axes = axis_names(graph)
        if not graph.is_directed() or type(graph._pred) is not dict or type(graph._node) is not dict:
            return None
        if isinstance(input_size, Mapping):
            return None
        given = None if input_size is None else per_axis(axes, input_size)
        solved = _in_any_order(graph, axes, given, wide=False) if len(axes) <= FEW_AXES else None
        return solved or _in_any_order(graph, axes, given, wide=True)
    except (_NotPlainError, RFGraphError, TypeError, KeyError):  # what is malformed is refused there, with a message
        return None


def _in_any_order(
    graph: nx.DiGraph[Any], axes: tuple[str, ...], given: tuple[int, ...] | None, *, wide: bool
) -> Plain | None:
    """Return the fields, ``None`` if they do not fit the lanes."""
    table = _table(_lanes(len(axes), wide=wide))
    order, above = None, graph._pred
    while True:
        try:
            return _solve(graph, axes, given, order, above, table)
        except _UnorderedError:
            if order is not None:
                raise _NotPlainError from None
            order = topological(graph)
        except _UnslottedError:
            if above is not graph._pred:
                raise
            above = _by_slot(graph)
        except _TooWideError:
            _TABLES.pop(table.lanes, None)  # so large a number would have later networks looked through for such
            return None


def _solve(
    graph: nx.DiGraph[Any],
    axes: tuple[str, ...],
    given: tuple[int, ...] | None,
    order: list[Hashable] | None,
    pred: Mapping[Hashable, dict[Hashable, Any]],
    table: _Table,
) -> Plain:
    """Solve a network node by node in an order; in that of the graph if there is none."""
    attributes: Iterator[dict[str, Any]]
    above: Iterator[dict[Hashable, Any]]
    if order is None:
        nodes, named = tuple(graph._node), iter(pred)
        attributes, above = iter(graph._node.values()), iter(pred.values())
    else:
        nodes, named = tuple(order), iter(order)
        attributes, above = map(graph._node.__getitem__, order), map(pred.__getitem__, order)
    states: dict[Hashable, int] = {}
    specs: list[int] = []
    degrees: list[int] = []
    feeds: list[Hashable] = []
    misaligned: list[Hashable] = []
    for begin in range(0, len(nodes), BLOCK):
        known = _specs(islice(attributes, BLOCK), table)
        counts, tails, edges = _edges(graph, list(islice(above, BLOCK)))
        block = nodes[begin : begin + BLOCK]
        if tuple(islice(named, BLOCK)) != block:  # someone has put nodes into the graph by other means than networkx
            raise _UnorderedError
        misaligned += _walk(block, known, counts, tails, edges, states, given, table)
        specs += known
        degrees += counts
        feeds += tails
    if not states or len(states) < len(nodes):  # nodes that read nothing are left over
        raise _NotPlainError
    # Sizes that run over their lane show in its guard bit first, as no step adds more than half of what it holds.
    if len(nodes) * table.widest >> table.lanes.size - 1 and reduce(or_, states.values()) & table.lanes.guards:
        raise _TooWideError
    name = str(graph.graph.get("name", ""))
    return Plain(name, axes, nodes[0], given, tuple(misaligned), nodes, states, specs, degrees, feeds, table)


def _walk(
    nodes: Sequence[Hashable],
    specs: list[int],
    degrees: list[int],
    feeds: list[Hashable],
    edges: Iterator[dict[str, Any]],
    states: dict[Hashable, int],
    given: tuple[int, ...] | None,
    table: _Table,
) -> list[Hashable]:
    """Add the states of nodes that come next, and return those whose branches differ in centre.

    Parameters
    ----------
    nodes, specs, degrees
        The nodes, what each is, and how many inputs it has.
    feeds, edges
        Of every edge into them, node by node, its tail and its attributes.
    states
        What came before; empty at the input.
    given
        Size of the input on every axis; ``None`` if it says that itself, or no one does.
    table
        What specs and states mean.
    """
    known, steps, lanes = table.specs, table.steps, table.lanes
    frames, guards, sign = lanes.frames, lanes.guards, lanes.size - 1
    watched = guards | frames
    misaligned: list[Hashable] = []
    # A node pulls its first edge here, a merge the others below: in the order of the edges.
    columns, tails = [iter(column) for column in (nodes, specs, degrees)], iter(feeds)
    if not states:
        for column in columns:
            next(column)
        if degrees[0]:
            raise _UnorderedError
        states[nodes[0]] = table.begin(specs[0], given)
    before, state = None, 0
    try:
        for node, spec, degree, tail, edge in zip(*columns, tails, edges, strict=False):
            if tail is not before:  # many read the one just before them
                state = states[tail]
            if degree == 1:
                if edge and edge.get("slot"):
                    raise _UnslottedError
                step = steps[spec]
                if step is not None:
                    try:
                        state += step[state & frames]
                    except KeyError:
                        state += table.step(spec, state & frames)
            else:
                if not degree or not known[spec].merges:
                    raise _NotPlainError
                numbered = "slot" in edge
                if numbered and edge["slot"]:
                    raise _UnslottedError
                slot = 1
                while slot < degree:
                    other, edge = states[next(tails)], next(edges)
                    if edge["slot"] != slot if numbered else "slot" in edge:
                        raise _UnslottedError
                    slot += 1
                    if other > state:
                        state, other = other, state
                    differing = state - other & watched
                    if differing:  # else the frames are equal, and ``state`` is the larger on every axis
                        if differing & frames:
                            state, differ = table.merged(spec, degree, state, other)
                            if differ and (not misaligned or misaligned[-1] is not node):
                                misaligned.append(node)
                        else:
                            smaller = differing - (differing >> sign)  # of guard bits, the lanes below them
                            state ^= (state ^ other) & smaller
            before = node
            states[node] = state
    except KeyError:  # of a tail, or of a slot
        raise _UnorderedError from None
    return misaligned


def _specs(attributes: Any, table: _Table) -> list[int]:
    """Return the number of what each node's attributes say, [V]."""
    specs: list[int] = []
    add, bare, layouts = specs.append, table.bare, table.layouts
    for given in attributes:
        size = len(given)
        try:
            if size == 1:
                add(bare[given["op"]])
            else:
                values, known, _ = layouts[given["op"]][size]
                add(known[values(given)])
        except (KeyError, TypeError):  # not met before, or a list, which is no key
            add(table.spec(given))
    return specs


def _frozen(value: Any) -> Any:
    return tuple([_frozen(entry) for entry in value]) if isinstance(value, list) else value


def _frozen_values(names: tuple[str, ...], attributes: Mapping[str, Any]) -> Hashable:
    """Return what ``itemgetter(*names)`` does, with tuples for lists."""
    values: Sequence[Hashable] = [_frozen(attributes[name]) for name in names]
    return tuple(values) if len(values) > 1 else values[0]


def _edges(
    graph: nx.DiGraph[Any], above: list[dict[Hashable, Any]]
) -> tuple[list[int], list[Hashable], Iterator[dict[str, Any]]]:
    """Return how many inputs each node has, [V], and of every edge, [E], its tail and its attributes."""
    if not graph.is_multigraph():
        return list(map(len, above)), list(chain.from_iterable(above)), chain.from_iterable(map(dict.values, above))
    parallel = list(chain.from_iterable(map(dict.values, above)))
    edges = list(chain.from_iterable(map(dict.values, parallel)))
    if len(edges) == len(parallel):
        return list(map(len, above)), list(chain.from_iterable(above)), iter(edges)
    degrees = [sum(map(len, tails.values())) for tails in above]
    return degrees, [tail for tails in above for tail, keys in tails.items() for _ in keys], iter(edges)


def _by_slot(graph: nx.DiGraph[Any]) -> dict[Hashable, dict[Hashable, Any]]:
    """Return what each node reads, in the order of the slots; edges side by side go by the first of them."""
    parallel = graph.is_multigraph()

    def slot(tail_and_edge: tuple[Hashable, Any]) -> Any:
        _, edge = tail_and_edge
        return (next(iter(edge.values())) if parallel else edge).get("slot", 0)

    return {node: dict(sorted(tails.items(), key=slot)) for node, tails in graph._pred.items()}
