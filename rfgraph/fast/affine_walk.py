"""The walk over plain networks: all fields, and whether every merge lines up, with one look at each edge.

Twin of the domain ``rfgraph.passes.fields``, of ``rfgraph.graph.sizes`` and of the search of
``rfgraph.questions.alignment``, held against them by
``tests/fast/test_affine_walk.py::test_what_is_solved_of_any_network_is_right``.

A network is plain if it has one input, and every op reads one interval per output or the whole axis. The field of a
node is then two things: its *frame* and its size on each axis. The frame holds, for every axis, the effective stride,
twice the centre of output 0, the size of the map, and whether some path reads the whole axis. The frame alone decides
what an op does: it gives the next frame, and what is added to the sizes. Branches with equal frames line up; their
merge has the same frame, and on each axis the larger size.

The state of a node is one integer of A + 1 lanes. The lowest lane holds the number of the frame, and above it stands
one lane for each axis, with the size less one. An op is a table from frame to the number that is added to the state.
A merge compares all lanes of two states at once. A network has few distinct frames and few distinct sets of
attributes; both are numbered by ``rfgraph.fast.interning``. All lanes together have 64 bits; if a number does not fit
its lane, the network is walked again with 64 bits for each lane.

``solve`` returns ``None`` if a network is not plain or not well formed, and the general passes take over. So messages
are written in one place, by ``rfgraph.graph.network.read`` and ``rfgraph.graph.sizes``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import accumulate, chain, islice
from operator import or_
from typing import TYPE_CHECKING, Any

import networkx as nx

from rfgraph.algebra.window import FULL, Window
from rfgraph.errors import RFGraphError
from rfgraph.fast.interning import Frame, Frames, NotPlainError, Table, TooWideError, forget, lanes_of, table_of
from rfgraph.graph.network import Layers, axis_names, returned, topological
from rfgraph.graph.sizes import InputSize, per_axis
from rfgraph.ops import Size
from rfgraph.passes.covers import EVERYTHING, read_ends
from rfgraph.passes.results import Extremes

if TYPE_CHECKING:
    from rfgraph.fast.numbers import Numbers

#: So many nodes are read and walked at a time: what there is to read of them stays near the processor.
BLOCK = 1 << 10

#: Fields on so many axes, at the most, are laid out in 64 bits at first.
FEW_AXES = 3


class _UnorderedError(Exception):
    """A node comes before one that it reads."""


class _UnslottedError(NotPlainError):
    """The inputs of a node are not in the order of their slots."""


@dataclass(frozen=True)
class Plain:
    """A plain network, and the fields of all its nodes."""

    name: str
    axes: tuple[str, ...]
    input_size: tuple[int, ...] | None
    #: Merges whose branches differ in centre, in topological order.
    misaligned: tuple[Hashable, ...]
    nodes: tuple[Hashable, ...]  # [V], in topological order
    states: dict[Hashable, int]
    specs: Sequence[int]  # [V]
    degrees: Sequence[int]  # [V], how many inputs each node has
    feeds: Sequence[Hashable]  # [E], the tails, node by node in the order of their slots
    _table: Table = field(repr=False, compare=False)
    #: What the model returns, by its own names.
    returned: Mapping[Hashable, Hashable] = field(default_factory=dict)

    @property
    def source(self) -> Hashable:
        """The input."""
        return self.nodes[0]

    @cached_property
    def has_no_holes(self) -> bool:
        """Whether every position inside every field is read; if not, some may not be.

        One position of a map reads a whole interval, if none before it skips any; so a node that reads several does
        too, if that interval is no shorter than they lie apart. And so does a merge, if its branches leave no gap.
        """
        needs, lanes, frames = self._table.needs, self._table.lanes, self._table.frames
        states, feeds = self.states, self.feeds
        # By spec and frame: axes, and what has to be there.
        least: dict[tuple[int, int], list[tuple[int, float]]] = {}
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
                    if lanes.size_less_one(state, axis) < more:
                        return False
            at += degree
        return not any(_leave_a_gap(sides) for merge in self.misaligned for sides in self.branches(merge))

    @cached_property
    def reads_all(self) -> bool:
        """Whether every op surely reads every position of its input, so that no position of the image is unread.

        It is asked of the ops and sizes that occur, not of each node; ``rfgraph.questions.unread`` tells of the rest.
        """
        table, numbers = self._table, set(self._numbers)
        for spec in set(self.specs):
            step = table.steps[spec]
            if step is None or table.specs[spec].merges:
                continue
            for number in numbers.intersection(step):
                sizes = tuple([frame.map_size for frame in table.frames[number]])
                if not all(read.covers(size) for read, size in zip(table.reads[spec, sizes], sizes, strict=True)):
                    return False
        return True

    @cached_property
    def gets_to_ends(self) -> bool:
        """Whether every op surely reads its input to both ends, so that what reads a whole map reads the whole axis.

        Asked as ``reads_all`` is; of a size that is not known, it holds at every one from some size on.
        """
        table, numbers = self._table, set(self._numbers)
        known: dict[tuple[int, tuple[Size, ...]], bool] = {}
        for spec in set(self.specs):
            step, ops = table.steps[spec], table.specs[spec].ops
            if step is None or table.specs[spec].merges:
                continue
            for number in numbers.intersection(step):
                sizes = tuple([frame.map_size for frame in table.frames[number]])
                if (spec, sizes) not in known:
                    ends = (read_ends(op, 0, (size,)) for op, size in zip(ops, sizes, strict=True))
                    known[spec, sizes] = all(end == EVERYTHING for end in ends)
                if not known[spec, sizes]:
                    return False
        return True

    def frames(self, node: Hashable) -> Frames:
        """Return where the field of a node lies and how large its map is, one entry per axis."""
        return self._table.frames[self.states[node] & self._table.lanes.frames]

    def field(self, node: Hashable) -> tuple[Window, ...]:
        """Return the receptive field of a node, one entry per axis; right only where there are no holes."""
        state, lanes = self.states[node], self._table.lanes
        windows = []
        for axis, frame in enumerate(self.frames(node)):
            size_less_one = lanes.size_less_one(state, axis)
            windows.append(
                Window(size_less_one + 1, frame.stride, (size_less_one - frame.center2) // 2) if frame.stride else FULL
            )
        return tuple(windows)

    def branches(self, merge: Hashable) -> tuple[tuple[Window, ...], ...]:
        """Return the local fields of what a merge reads, for each axis; right but for their holes."""
        end = self._ends[self._ids[merge]]
        tails = self.feeds[end - self.degrees[self._ids[merge]] : end]
        branches = []
        for axis, of_axis in enumerate(zip(*map(self.field, tails), strict=True)):
            size = self.frames(merge)[axis].map_size  # all of a map of another size is read
            sides = zip(tails, of_axis, strict=True)
            branches.append(
                tuple(side for tail, side in sides if side.is_local and self.frames(tail)[axis].map_size == size)
            )
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

    @cached_property
    def _tails(self) -> list[int]:
        """The ids of ``feeds``, [E]."""
        ids = self._ids
        return [ids[tail] for tail in self.feeds]

    @cached_property
    def _numbers(self) -> list[int]:
        """The number of each node's frames, [V]."""
        frames = self._table.lanes.frames
        return [state & frames for state in self.states.values()]

    def layers(self) -> Layers:
        """Return the network as the general passes read it."""
        known = self._table.specs
        twice = {number for number in set(self.specs) if any(op.totals for op in known[number].ops)}
        tails, feeds = [], iter(self._tails)
        for number, degree in zip(self.specs, self.degrees, strict=True):
            read = tuple([next(feeds) for _ in range(degree)])
            tails.append(read * 2 if number in twice else read)
        specs = [known[number] for number in self.specs]
        kinds, ops = [spec.kind for spec in specs], [spec.ops for spec in specs]
        return Layers(self.name, self.axes, self.nodes, kinds, ops, tails, returned=self.returned)

    def sizes(self) -> list[tuple[Size, ...]]:
        """Return the size of every node's map on every axis, [V][A]."""
        known = self._table.frames
        sizes = {number: tuple(frame.map_size for frame in known[number]) for number in set(self._numbers)}
        return [sizes[number] for number in self._numbers]

    @cached_property
    def collapses(self) -> bool:
        """Whether some op leaves one position of a map."""
        return any(all(op.collapses for op in self._table.specs[number].ops) for number in set(self.specs))

    @cached_property
    def has_global(self) -> bool:
        """Whether some node reads the whole of an axis."""
        return any(frame.is_global for number in set(self._numbers) for frame in self._table.frames[number])

    def may_see_all(self) -> bool:
        """Return whether some field may be larger than the image."""
        lanes, together = self._table.lanes, reduce(or_, self.states.values())
        sizes = [frame.map_size for frame in self.frames(self.source)]
        return any(size is not None and lanes.size_less_one(together, axis) >= size for axis, size in enumerate(sizes))

    def extremes(self) -> list[Extremes]:
        """Return the smallest and largest fields of the paths to every node, one entry per axis."""
        lanes, known = self._table.lanes, self._table.frames
        extremes: list[Extremes] = []
        walked: list[tuple[list[Frame], list[int]]] = []  # frames and fields of each axis
        for axis in range(len(self.axes)):
            frames = [known[number][axis] for number in self._numbers]
            pairs = zip(self.states.values(), frames, strict=True)
            shift, size = lanes.shift(axis), (1 << lanes.size) - 1
            fields = [(state >> shift & size) + 1 if frame.stride else 0 for state, frame in pairs]
            same = next((other for other, seen in enumerate(walked) if seen == (frames, fields)), None)
            walked.append((frames, fields))
            if same is not None:
                extremes.append(extremes[same])
                continue
            smallest = self._extremes(frames, fields, min)
            # Where all merges line up, the largest is the field itself.
            largest = self._extremes(frames, fields, max) if self.misaligned else fields
            extremes.append(Extremes([size or None for size in smallest], [size or None for size in largest], {}))
        return extremes

    def _extremes(
        self, frames: Sequence[Frame], fields: Sequence[int], choose: Callable[[list[int]], int]
    ) -> list[int]:
        """Return what is chosen of the fields of all paths to each node, [V].

        Parameters
        ----------
        frames, fields
            Of each node, along one axis; fields are 0 where there is no local one.
        choose
            Says which.
        """
        feeds, chosen, at = self._tails, list[int](), 0
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
        from rfgraph.fast.field_arrays import integers, of_states  # numpy is imported when it is first needed

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
    """Return the fields of a plain network, ``None`` if it is not one, or not well formed: see ``walked``."""
    return walked(graph, source, input_size)[0]


def walked(
    graph: nx.DiGraph[Any], source: Hashable | None = None, input_size: InputSize = None
) -> tuple[Plain | None, str]:
    """Return the fields of a plain network; ``None`` if it is not one, or not well formed, and why it is not solved.

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
            return None, "fields are measured at a node that is not the input"
        axes = axis_names(graph)
        if not graph.is_directed() or type(graph._pred) is not dict or type(graph._node) is not dict:
            return None, "the graph is not directed, or not kept in plain dictionaries"
        if isinstance(input_size, Mapping):
            return None, "input sizes are given by name"
        given = None if input_size is None else per_axis(axes, input_size)
        solved = _in_any_order(graph, axes, given, wide=False) if len(axes) <= FEW_AXES else None
        solved = solved or _in_any_order(graph, axes, given, wide=True)
        return solved, "" if solved else "fields are larger than 64 bits"
    except (NotPlainError, RFGraphError, TypeError, KeyError) as error:  # the passes refuse what is malformed
        return None, str(error) or "the graph is not well formed"


def _in_any_order(
    graph: nx.DiGraph[Any], axes: tuple[str, ...], given: tuple[int, ...] | None, *, wide: bool
) -> Plain | None:
    """Return the fields, ``None`` if they do not fit the lanes."""
    table = table_of(lanes_of(len(axes), wide=wide))
    order, above = None, graph._pred
    while True:
        try:
            return _solve(graph, axes, given, order, above, table)
        except _UnorderedError:
            if order is not None:
                raise NotPlainError("nodes come before those that they read") from None
            order = topological(graph)
        except _UnslottedError:
            if above is not graph._pred:
                raise
            above = _by_slot(graph)
        except TooWideError:
            forget(table)  # so large a number would have later networks looked through for such
            return None


def _solve(
    graph: nx.DiGraph[Any],
    axes: tuple[str, ...],
    given: tuple[int, ...] | None,
    order: list[Hashable] | None,
    pred: Mapping[Hashable, dict[Hashable, Any]],
    table: Table,
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
        known = table.specs_of(islice(attributes, BLOCK))
        into = list(islice(above, BLOCK))
        counts, tails, edges = _edges(graph, into)
        block = nodes[begin : begin + BLOCK]
        if tuple(islice(named, BLOCK)) != block:  # someone has put nodes into the graph by other means than networkx
            raise _UnorderedError
        misaligned += _walk(block, known, counts, tails, into, edges, states, given, table)
        specs += known
        degrees += counts
        feeds += tails
    if not states or len(states) < len(nodes):
        raise NotPlainError("other nodes than the input read nothing")
    # Sizes that run over their lane show in its guard bit first, as no step adds more than half of what it holds.
    if len(nodes) * table.widest >> table.lanes.size - 1 and reduce(or_, states.values()) & table.lanes.guards:
        raise TooWideError
    name = str(graph.graph.get("name", ""))
    return Plain(name, axes, given, tuple(misaligned), nodes, states, specs, degrees, feeds, table, returned(graph))


def _walk(
    nodes: Sequence[Hashable],
    specs: list[int],
    degrees: list[int],
    feeds: list[Hashable],
    above: list[dict[Hashable, Any]],
    edges: Iterator[dict[str, Any]] | None,
    states: dict[Hashable, int],
    given: tuple[int, ...] | None,
    table: Table,
) -> list[Hashable]:
    """Add the states of nodes that come next, and return those whose branches differ in centre.

    It is one long loop on purpose: a call for each node would cost more than what is done there.

    Parameters
    ----------
    nodes, specs, degrees
        The nodes, what each is, and how many inputs it has.
    feeds
        Of every edge into them, node by node, its tail.
    above, edges
        The attributes of every edge: of each node, by tail; or one after the other, if there are ``edges``.
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
    # A node pulls its first tail here, a merge the others below.
    columns, tails = [iter(column) for column in (nodes, specs, degrees, above)], iter(feeds)
    if not states:
        for column in columns:
            next(column)
        if degrees[0]:
            raise _UnorderedError
        states[nodes[0]] = table.begin(specs[0], given)
    try:
        for node, spec, degree, into, tail in zip(*columns, tails, strict=False):
            state = states[tail]
            if degree == 1:
                edge = into[tail] if edges is None else next(edges)
                if edge and edge.get("slot"):
                    raise _UnslottedError
                step = steps[spec]
                if step is not None:
                    try:
                        state += step[state & frames]
                    except KeyError:
                        state += table.step(spec, state & frames)
            else:
                if not degree:
                    raise NotPlainError("it has several inputs, or constants")
                if not known[spec].merges:
                    raise NotPlainError(f"op {known[spec].kind!r} reads several maps")
                slot, numbered = -1, False
                for edge in into.values() if edges is None else islice(edges, degree):
                    slot += 1
                    if not slot:
                        numbered = "slot" in edge
                    if edge["slot"] != slot if numbered else "slot" in edge:
                        raise _UnslottedError
                    if slot:
                        other = states[next(tails)]
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
            states[node] = state
    except KeyError:  # of a tail, or of a slot
        raise _UnorderedError from None
    return misaligned


def _edges(
    graph: nx.DiGraph[Any], above: list[dict[Hashable, Any]]
) -> tuple[list[int], list[Hashable], Iterator[dict[str, Any]] | None]:
    """Return how many inputs each node has, [V], and all tails, [E]; in a multigraph the attributes of edges too."""
    edges = None
    if graph.is_multigraph():
        parallel = list(chain.from_iterable(map(dict.values, above)))
        attributes = list(chain.from_iterable(map(dict.values, parallel)))
        edges = iter(attributes)
        if len(attributes) > len(parallel):
            feeds = [[tail for tail, keys in tails.items() for _ in keys] for tails in above]
            return list(map(len, feeds)), list(chain.from_iterable(feeds)), edges
    return list(map(len, above)), list(chain.from_iterable(above)), edges


def _by_slot(graph: nx.DiGraph[Any]) -> dict[Hashable, dict[Hashable, Any]]:
    """Return what each node reads, in the order of the slots; edges side by side go by the first of them."""
    parallel = graph.is_multigraph()

    def slot(tail_and_edge: tuple[Hashable, Any]) -> Any:
        _, edge = tail_and_edge
        return (next(iter(edge.values())) if parallel else edge).get("slot", 0)

    return {node: dict(sorted(tails.items(), key=slot)) for node, tails in graph._pred.items()}
