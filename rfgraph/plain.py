"""Plain networks, solved as they are walked: all fields, and whether every merge lines up, in one look at each edge.

In a plain network every op reads one interval per output, of a size that no map size changes; there is one input, and
no op reads a whole axis. Then the field of a node is known from its *frame*, the effective stride and twice the centre
of output 0 on every axis, and its size on every axis. An op turns one frame into another and adds to the sizes what the
frame alone decides; branches of a merge line up if and only if they have the same frame, and the merge then has it too,
with the larger size on every axis.

So the state of a node is one integer of A + 1 lanes: the number of its frame in the lowest, above it the size less one
on each axis. An op is a table from frame to what it adds to the state; a merge compares and takes the larger of all
lanes at once. Frames of real networks are few, as are distinct sets of attributes; both are numbered for the process.
All lanes together have 64 bits; where a number does not fit its lane, the network is walked again with 64 for each.

``solve`` gives up, and the general passes take over, wherever a network is not plain or is anything but well formed:
messages are written in one place, by ``rfgraph.network.read``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, reduce
from itertools import accumulate, chain, islice
from operator import itemgetter, or_
from threading import RLock
from typing import TYPE_CHECKING, Any

import networkx as nx

from rfgraph.errors import RFGraphError
from rfgraph.network import Layers, axis_names, topological
from rfgraph.ops import METADATA, Op, kind_of
from rfgraph.window import IDENTITY, Window

if TYPE_CHECKING:
    from rfgraph.results import Numbers

Frame = tuple[tuple[int, int], ...]  # [A], twice the centre of output 0 and effective stride

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
    reads: tuple[Window, ...] | None  # [A], None if it is not plain
    is_input: bool
    merges: bool

    @property
    def keeps_all(self) -> bool:
        """Whether the field of a node of one input is that of its input."""
        return not self.is_input and self.reads == (IDENTITY,) * len(self.ops)

    @property
    def is_gapless(self) -> bool:
        """Whether neighbouring outputs together read every position between."""
        return all(not read.holes and read.size >= read.step for read in self.reads or ())


#: What reads the values of attributes, the number of the spec by those values, and the names of the attributes.
Layout = tuple[Callable[[Mapping[str, Any]], Hashable], dict[Hashable, int], tuple[str, ...]]


@dataclass(slots=True)
class _Table:
    """The numbered specs and frames of networks with as many axes."""

    lanes: Lanes
    specs: list[Spec] = field(default_factory=list)
    #: By spec, what it adds to a state, by the number of the state's frame; ``None`` for the identity.
    steps: list[dict[int, int] | None] = field(default_factory=list)
    said: dict[Hashable, int] = field(default_factory=dict)  # attributes that matter -> spec
    bare: dict[str, int] = field(default_factory=dict)  # op -> spec of nodes that have no other attribute
    layouts: dict[str, dict[int, Layout]] = field(default_factory=dict)  # by op and number of attributes
    frames: list[Frame] = field(default_factory=list)
    numbers: dict[Frame, int] = field(default_factory=dict)
    widest: int = 0  # most that any step adds to any size, or that any hull holds
    lock: Any = field(default_factory=RLock)

    def __post_init__(self) -> None:
        self.frame(((0, 1),) * self.lanes.axes)

    @property
    def is_full(self) -> bool:
        """Whether it is time to begin another, with room for the frames of a network."""
        most = min(MAX_FRAMES, self.lanes.frames // 2)
        return len(self.specs) > MAX_SPECS or len(self.frames) > most

    def frame(self, frame: Frame) -> int:
        """Return the number of a frame."""
        number = self.numbers.get(frame)
        if number is None:
            number = len(self.frames)
            if number > self.lanes.frames:
                raise _TooWideError
            self.frames.append(frame)
            self.numbers[frame] = number
        return number

    def spec(self, attributes: Mapping[str, Any]) -> int:
        """Return the number of what a set of attributes says, and lay down how to find it next time."""
        said = tuple(item for item in attributes.items() if item[0] == "op" or item[0] not in METADATA)
        number = self.said.get(said)
        if number is None:
            with self.lock:
                spec = _parsed(attributes, self.lanes.axes)
                number = len(self.specs)
                self.specs.append(spec)
                self.steps.append(None if spec.keeps_all else {})
                self.said[said] = number
        names = tuple(name for name in attributes if name != "op")
        if not names:
            self.bare[attributes["op"]] = number
            return number
        layout: Layout = (itemgetter(*names), {}, names)
        values, known, met = self.layouts.setdefault(attributes["op"], {}).setdefault(len(attributes), layout)
        if names == met and len(known) < MAX_SPECS:  # a label may be another at every node
            known[values(attributes)] = number
        return number

    def step(self, spec: int, number: int) -> int:
        """Return what a spec that is no identity adds to a state in the frame of a number, and keep it in ``steps``.

        Raises
        ------
        _NotPlainError
            If it is not plain, or an input, which reads nothing.
        """
        reads, step = self.specs[spec].reads, self.steps[spec]
        if reads is None or step is None or self.specs[spec].is_input:
            raise _NotPlainError
        with self.lock:
            added, new = 0, []
            for axis, ((center2, stride), read) in enumerate(zip(self.frames[number], reads, strict=True)):
                first, last = read.interval(0) or (0, 0)
                new.append((center2 + (first + last) * stride, stride * read.step))
                added += self._in_lane((last - first) * stride, axis)
            added += self.frame(tuple(new)) - number
            step[number] = added
            return added

    def hull(self, a: int, b: int) -> int:
        """Return the state that covers two of unequal frames.

        Raises
        ------
        _NotPlainError
            If their strides differ, so that nothing covers both.
        """
        lanes = self.lanes
        with self.lock:
            merged, state = [], 0
            frames = zip(self.frames[a & lanes.frames], self.frames[b & lanes.frames], strict=True)
            for axis, ((center_a, stride_a), (center_b, stride_b)) in enumerate(frames):
                if stride_a != stride_b:
                    raise _NotPlainError
                grown_a, grown_b = lanes.grown(a, axis), lanes.grown(b, axis)
                twice_first = min(center_a - grown_a, center_b - grown_b)
                twice_last = max(center_a + grown_a, center_b + grown_b)
                merged.append(((twice_first + twice_last) // 2, stride_a))
                state += self._in_lane((twice_last - twice_first) // 2, axis)
            return state + self.frame(tuple(merged))

    def _in_lane(self, grown: int, axis: int) -> int:
        """Return a part of a state: what a size is, or grows by, on an axis."""
        if grown >> self.lanes.size - 1:
            raise _TooWideError
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
        state, lanes = self.states[node], self._table.lanes
        windows = []
        for axis, (center2, stride) in enumerate(self._table.frames[state & lanes.frames]):
            grown = lanes.grown(state, axis)
            windows.append(Window(grown + 1, stride, (grown - center2) // 2))
        return tuple(windows)

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

        lanes = self._table.lanes
        return of_states(self.axes, self.states, self._table.frames, lanes.number, lanes.size)


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
        solved = _in_any_order(graph, axes, wide=False) if len(axes) <= FEW_AXES else None
        return solved or _in_any_order(graph, axes, wide=True)
    except (_NotPlainError, RFGraphError, TypeError, KeyError):  # what is malformed is refused there, with a message
        return None


def _in_any_order(graph: nx.DiGraph[Any], axes: tuple[str, ...], *, wide: bool) -> Plain | None:
    """Return the fields, ``None`` if they do not fit the lanes."""
    table = _table(_lanes(len(axes), wide=wide))
    order, above = None, graph._pred
    while True:
        try:
            return _solve(graph, axes, order, above, table)
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
    order: list[Hashable] | None,
    pred: Mapping[Hashable, dict[Hashable, Any]],
    table: _Table,
) -> Plain:
    """Solve a network node by node in an order; in that of the graph if there is none."""
    attributes: Iterator[dict[str, Any]]
    above: Iterator[dict[Hashable, Any]]
    if order is None:
        nodes, named = list(graph._node), iter(pred)
        attributes, above = iter(graph._node.values()), iter(pred.values())
    else:
        nodes, named = order, iter(order)
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
        if list(islice(named, BLOCK)) != block:  # someone has put nodes into the graph by other means than networkx
            raise _UnorderedError
        misaligned += _walk(block, known, counts, tails, edges, states, table)
        specs += known
        degrees += counts
        feeds += tails
    if not states or len(states) < len(nodes):  # nodes that read nothing are left over
        raise _NotPlainError
    # Sizes that run over their lane show in its guard bit first, as no step adds more than half of what it holds.
    if len(nodes) * table.widest >> table.lanes.size - 1 and reduce(or_, states.values()) & table.lanes.guards:
        raise _TooWideError
    name = str(graph.graph.get("name", ""))
    return Plain(name, axes, nodes[0], tuple(misaligned), states, specs, degrees, feeds, table)


def _walk(
    nodes: list[Hashable],
    specs: list[int],
    degrees: list[int],
    feeds: list[Hashable],
    edges: Iterator[dict[str, Any]],
    states: dict[Hashable, int],
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
        if not known[specs[0]].is_input or known[specs[0]].reads is None:
            raise _NotPlainError
        states[nodes[0]] = 0
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
                            state = table.hull(state, other)
                            if not misaligned or misaligned[-1] is not node:
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
            add(table.spec({name: _frozen(value) for name, value in given.items()}))
    return specs


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


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
