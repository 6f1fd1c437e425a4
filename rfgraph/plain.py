"""Plain networks, solved as they are walked: all fields, and whether every merge lines up, in one look at each edge.

In a plain network every op reads one interval per output, of a size that no map size changes; there is one input, and
no op reads a whole axis. Then the field of a node is known from its *frame*, the effective stride and twice the centre
of output 0 on every axis, and its size on every axis. An op turns one frame into another and adds to the sizes what the
frame alone decides; branches of a merge line up if and only if they have the same frame, and the merge then has it too,
with the larger size on every axis.

So the state of a node is one integer of A + 1 lanes: the number of its frame in the lowest, above it the size less one
on each axis. An op is a table from frame to what it adds to the state; a merge compares and takes the larger of all
lanes at once. Frames of real networks are few, as are distinct sets of attributes; both are numbered for the process.

``solve`` gives up, and the general passes take over, wherever a network is not plain or is anything but well formed:
messages are written in one place, by ``rfgraph.network.read``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain
from operator import itemgetter
from threading import RLock
from typing import TYPE_CHECKING, Any

import networkx as nx

from rfgraph.errors import RFGraphError
from rfgraph.network import Layers, axis_names, topological
from rfgraph.ops import METADATA, Op, kind_of
from rfgraph.window import IDENTITY, Window

if TYPE_CHECKING:
    from rfgraph.results import Numbers

#: Bits of a lane. The highest bit of each stays clear, so that a difference shows there which lane is larger.
LANE = 64
_SIGN = LANE - 1
_FRAME = (1 << LANE) - 1

Frame = tuple[tuple[int, int], ...]  # [A], twice the centre of output 0 and effective stride

#: Numbered sets of attributes and frames are forgotten beyond these: bounds on memory that no real network meets.
MAX_SPECS = 1 << 14
MAX_FRAMES = 1 << 16


class _NotPlainError(Exception):
    """The network is none that is solved here."""


class _UnorderedError(Exception):
    """A node comes before one that it reads."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a set of attributes says: an op on every axis."""

    kind: str
    ops: tuple[Op, ...]
    reads: tuple[Window, ...] | None  # [A], None if it is not plain
    is_input: bool
    merges: bool

    @property
    def is_gapless(self) -> bool:
        """Whether neighbouring outputs together read every position between."""
        return all(not read.holes and read.size >= read.step for read in self.reads or ())


class _Step(dict[int, int]):
    """Frame number -> what the op adds to a state in that frame."""

    __slots__ = ("reads", "table")

    def __init__(self, reads: tuple[Window, ...], table: _Table) -> None:
        self.reads = reads
        self.table = table

    def __missing__(self, number: int) -> int:
        with self.table.lock:
            added, new = 0, []
            for axis, ((center2, stride), read) in enumerate(zip(self.table.frames[number], self.reads, strict=True)):
                first, last = read.interval(0) or (0, 0)
                new.append((center2 + (first + last) * stride, stride * read.step))
                growth = (last - first) * stride
                self.table.widest = max(self.table.widest, growth)
                added += growth << LANE * (axis + 1)
            added += self.table.frame(tuple(new)) - number
            self[number] = added
            return added


#: Names of attributes, what reads the values that go with them, and the number of the spec by those values.
Layout = tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Hashable], dict[Hashable, int]]


@dataclass(slots=True)
class _Table:
    """The numbered specs and frames of networks with as many axes."""

    axes: int
    specs: list[Spec] = field(default_factory=list)
    steps: list[_Step | None] = field(default_factory=list)  # by spec; None for the identity
    said: dict[Hashable, int] = field(default_factory=dict)  # attributes that matter -> spec
    layouts: dict[str, dict[int, Layout]] = field(default_factory=dict)  # by op and number of attributes
    frames: list[Frame] = field(default_factory=list)
    numbers: dict[Frame, int] = field(default_factory=dict)
    widest: int = 0  # most that any step adds to any size
    lock: Any = field(default_factory=RLock)

    def __post_init__(self) -> None:
        self.frame(((0, 1),) * self.axes)

    def frame(self, frame: Frame) -> int:
        """Return the number of a frame."""
        number = self.numbers.get(frame)
        if number is None:
            number = len(self.frames)
            self.frames.append(frame)
            self.numbers[frame] = number
        return number

    def spec(self, attributes: Mapping[str, Any]) -> int:
        """Return the number of what a set of attributes says, and lay down how to find it next time."""
        said = tuple(item for item in attributes.items() if item[0] == "op" or item[0] not in METADATA)
        number = self.said.get(said)
        if number is None:
            with self.lock:
                spec = _parsed(attributes, self.axes)
                number = len(self.specs)
                self.specs.append(spec)
                moves = spec.reads is not None and any(read != IDENTITY for read in spec.reads)
                self.steps.append(_Step(spec.reads, self) if moves and spec.reads is not None else None)
                self.said[said] = number
        layout: Layout = (tuple(attributes), itemgetter(*attributes), {})
        names, values, known = self.layouts.setdefault(attributes["op"], {}).setdefault(len(attributes), layout)
        if names == layout[0] and len(known) < MAX_SPECS:  # a label or location may be another at every node
            known[values(attributes)] = number
        return number

    def hull(self, a: int, b: int) -> int:
        """Return the state that covers two of unequal frames.

        Raises
        ------
        _NotPlainError
            If their strides differ, so that nothing covers both.
        """
        merged, state = [], 0
        frames = zip(self.frames[a & _FRAME], self.frames[b & _FRAME], strict=True)
        for axis, ((center_a, stride_a), (center_b, stride_b)) in enumerate(frames):
            if stride_a != stride_b:
                raise _NotPlainError
            grown_a, grown_b = _lane(a, axis), _lane(b, axis)
            twice_first = min(center_a - grown_a, center_b - grown_b)
            twice_last = max(center_a + grown_a, center_b + grown_b)
            merged.append(((twice_first + twice_last) // 2, stride_a))
            state += (twice_last - twice_first) // 2 << LANE * (axis + 1)
        with self.lock:
            return state + self.frame(tuple(merged))


def _lane(state: int, axis: int) -> int:
    return state >> LANE * (axis + 1) & _FRAME


_TABLES: dict[int, _Table] = {}


def _table(axes: int) -> _Table:
    table = _TABLES.get(axes)
    if table is None or len(table.specs) > MAX_SPECS or len(table.frames) > MAX_FRAMES:
        table = _TABLES[axes] = _Table(axes)
    return table


def _parsed(attributes: Mapping[str, Any], axes: int) -> Spec:
    kind = kind_of(attributes.get("op"))
    ops = tuple(kind.parse(attributes, axis, axes) for axis in range(axes))
    arity = ops[0].arity
    reads = tuple(IDENTITY if arity == "none" else _read(op) for op in ops)
    plain = [read for read in reads if read is not None]
    if len(plain) < axes or any(op.size((None,) * (2 if arity == "several" else 1)) is not None for op in ops):
        return Spec(attributes["op"], ops, None, False, False)
    return Spec(attributes["op"], ops, tuple(plain), attributes["op"] == "input", arity == "several")


def _read(op: Op) -> Window | None:
    """Return what an op reads of its input, ``None`` if that is more than one interval per output, or not certain."""
    if op.joins or op.totals or op.collapses:
        return None
    if op.arity == "several":
        return IDENTITY if all(op.window(slot, (None, None)) == IDENTITY for slot in (0, 1)) else None
    read = op.window(0, (None,))
    return read if read.is_local and read.period == 1 and read.exact and None not in read.intervals else None


@dataclass(frozen=True)
class Plain:
    """A plain network, and the fields of all its nodes."""

    name: str
    axes: tuple[str, ...]
    source: Hashable
    #: Merges whose branches differ in centre, in topological order.
    misaligned: tuple[Hashable, ...]
    states: dict[Hashable, int]  # in topological order
    specs: Sequence[int]  # [V]
    degrees: Sequence[int]  # [V], how many inputs each node has
    feeds: Sequence[Hashable]  # [E], the tails, node by node in the order of their slots
    _table: _Table = field(repr=False, compare=False)

    @cached_property
    def has_no_holes(self) -> bool:
        """Whether every position inside every field is read; if not, some may not be."""
        known = self._table.specs
        return not self.misaligned and all(known[number].is_gapless for number in set(self.specs))

    def field(self, node: Hashable) -> tuple[Window, ...]:
        """Return the receptive field of a node, one entry per axis; right only where there are no holes."""
        state = self.states[node]
        return tuple(
            Window(_lane(state, axis) + 1, stride, (_lane(state, axis) - center2) // 2)
            for axis, (center2, stride) in enumerate(self._table.frames[state & _FRAME])
        )

    def branches(self, merge: Hashable) -> tuple[tuple[Window, ...], ...]:
        """Return the fields of what a merge reads, one entry per axis; right but for their holes."""
        end = self._ends[self._ids[merge]]
        tails = self.feeds[end - self.degrees[self._ids[merge]] : end]
        return tuple(zip(*map(self.field, tails), strict=True))

    @cached_property
    def _ends(self) -> list[int]:
        """Where the inputs of each node end in ``feeds``, [V]."""
        return list(accumulate(self.degrees))

    def kind(self, node: Hashable) -> str:
        """Return what the graph calls the op of a node."""
        return self._table.specs[self.specs[self._ids[node]]].kind

    @cached_property
    def _ids(self) -> dict[Hashable, int]:
        return {node: v for v, node in enumerate(self.states)}

    def layers(self) -> Layers:
        """Return the network as the general passes read it."""
        ids, known, nodes = self._ids, self._table.specs, list(self.states)
        tails, feeds = [], iter([ids[tail] for tail in self.feeds])
        for degree in self.degrees:
            tails.append(tuple([next(feeds) for _ in range(degree)]))
        specs = [known[number] for number in self.specs]
        return Layers(self.name, self.axes, nodes, [spec.kind for spec in specs], [spec.ops for spec in specs], tails)

    def numbers(self) -> Numbers:
        """Return size, stride and padding of all fields as arrays."""
        from rfgraph.numbers import of_states  # numpy is imported when it is first needed

        return of_states(tuple(self.states), self.axes, self.states.values(), self._table.frames, LANE)


def solve(graph: nx.DiGraph[Any], source: Hashable | None = None) -> Plain | None:
    """Return the fields of a plain network without sizes, ``None`` if it is not one, or not well formed.

    Nodes are best added in topological order, as builders do; otherwise they are sorted first.

    Parameters
    ----------
    graph
        The network.
    source
        Node to measure from, if not the input: then it is not solved here.
    """
    try:
        if source is not None and graph.nodes[source].get("op") != "input":
            return None
        axes = axis_names(graph)
        if not graph.is_directed() or type(graph._pred) is not dict or type(graph._node) is not dict:
            return None
        try:
            return _solve(graph, axes, list(graph._node))
        except _UnorderedError:
            return _solve(graph, axes, topological(graph))
    except (_NotPlainError, RFGraphError, TypeError, KeyError):  # what is malformed is refused there, with a message
        return None


def _solve(graph: nx.DiGraph[Any], axes: tuple[str, ...], nodes: list[Hashable]) -> Plain:
    table = _table(len(axes))
    in_order = list(graph._pred) == nodes
    attributes = graph._node.values() if in_order else map(graph._node.__getitem__, nodes)
    above = list(graph._pred.values()) if in_order else list(map(graph._pred.__getitem__, nodes))
    specs = _specs(attributes, table)
    degrees, feeds, edges = _edges(graph, above)
    _check_slots(degrees, edges)

    states: dict[Hashable, int] = {}
    sources: list[int] = []
    misaligned: list[Hashable] = []
    steps, known = table.steps, table.specs
    guard = sum(1 << LANE * (axis + 2) - 1 for axis in range(len(axes)))
    watched = guard | _FRAME
    # Tails are looked up as they are pulled, in the order of the edges: by then their states are there.
    pull = map(states.__getitem__, feeds).__next__
    try:
        for node, spec, degree in zip(nodes, specs, degrees, strict=True):
            if degree == 1:
                step = steps[spec]
                if step is None:
                    states[node] = pull()
                else:
                    state = pull()
                    states[node] = state + step[state & _FRAME]
            elif degree:
                if not known[spec].merges:
                    raise _NotPlainError
                state = pull()
                aligned = True
                while degree > 1:
                    degree -= 1
                    other = pull()
                    if other is not state:
                        # Per axis the guard bit says whether ``state`` is at least ``other``; below are the frames.
                        compared = (state | guard) - other & watched
                        if compared != guard:
                            if compared & _FRAME:
                                aligned = False
                                state = table.hull(state, other)
                            else:
                                larger = compared - (compared >> _SIGN)
                                state = other ^ (state ^ other) & larger
                states[node] = state
                if not aligned:
                    misaligned.append(node)
            else:
                sources.append(spec)
                states[node] = 0
    except KeyError:
        raise _UnorderedError from None
    used = {number: known[number] for number in set(specs)}
    inputs = sum(specs.count(number) for number, spec in used.items() if spec.is_input)
    if len(sources) != 1 or inputs != 1 or not known[sources[0]].is_input:
        raise _NotPlainError
    if any(spec.reads is None for spec in used.values()):
        raise _NotPlainError
    if len(nodes) * (table.widest + 1) >= 1 << LANE - 2:  # a lane might have run over
        _TABLES.pop(len(axes), None)
        raise _NotPlainError
    name = str(graph.graph.get("name", ""))
    source = nodes[degrees.index(0)]
    return Plain(name, axes, source, tuple(misaligned), states, specs, degrees, feeds, table)


def _specs(attributes: Any, table: _Table) -> list[int]:
    """Return the number of what each node's attributes say, [V]."""
    specs: list[int] = []
    add, layouts = specs.append, table.layouts
    for given in attributes:
        try:
            _, values, known = layouts[given["op"]][len(given)]
            add(known[values(given)])
        except (KeyError, TypeError):  # not met before, or a list, which is no key
            add(table.spec({name: _frozen(value) for name, value in given.items()}))
    return specs


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _edges(
    graph: nx.DiGraph[Any], above: list[dict[Hashable, Any]]
) -> tuple[list[int], list[Hashable], Iterable[dict[str, Any]]]:
    """Return how many inputs each node has, [V], and of every edge, [E], its tail and its attributes."""
    if not graph.is_multigraph():
        return list(map(len, above)), list(chain.from_iterable(above)), chain.from_iterable(map(dict.values, above))
    parallel = list(chain.from_iterable(map(dict.values, above)))
    edges = list(chain.from_iterable(map(dict.values, parallel)))
    if len(edges) == len(parallel):
        return list(map(len, above)), list(chain.from_iterable(above)), edges
    degrees = [sum(map(len, tails.values())) for tails in above]
    return degrees, [tail for tails in above for tail, keys in tails.items() for _ in keys], edges


def _check_slots(degrees: list[int], edges: Iterable[dict[str, Any]]) -> None:
    """Give up where slots are not 0, 1, ... in the order of the edges."""
    numbered = list(filter(None, edges))
    if not numbered:
        return
    slotted = degrees if len(numbered) == sum(degrees) else filter((1).__lt__, degrees)
    try:
        slots = list(map(itemgetter("slot"), numbered))
    except KeyError:
        raise _NotPlainError from None
    if slots != list(chain.from_iterable(map(range, slotted))):
        raise _NotPlainError
