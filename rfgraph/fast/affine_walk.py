"""The walk over plain networks: all fields, and whether every merge lines up, with one look at each edge.

Twin of the domain ``rfgraph.passes.fields``, of ``rfgraph.graph.sizes`` and of the search of
``rfgraph.questions.alignment``, held against them by
``tests/fast/test_affine_walk.py::test_what_is_solved_of_any_network_is_right``.

A network is plain if it has one input, and every op reads one interval per output or the whole axis. On each axis the
field of a node is then a *shape* and two numbers: how far output 0 begins before the input (``before``, the padding),
and where it ends (``last``). The shape is the effective stride; where the network upsamples, it is also how the other
output phases differ from the first (``rfgraph.fast.shapes``). An op adds to both numbers what the shape decides.
Branches of one shape line up if the centres are the same, that is if ``before`` and ``last`` differ by the same number;
their merge holds the larger of both. What branches of unlike shapes have in common is worked out once for each distance
between them.

The state of a node is one integer. Its lowest lane holds the number of the *frame*: for every axis the shape, whether
the size of the map is known, and whether some path reads the whole axis. Above it stand the lanes of ``before`` and of
``last`` of every axis, and above them those of the sizes of the map. An op is a table from frame to the number that is
added to the state; one that heeds the size of its map has a table from frame and sizes. A merge compares all lanes of
two states at once. A network has few distinct frames and few distinct sets of attributes, however many nodes it has;
both are numbered by ``rfgraph.fast.interning``. If a number does not fit its lane of 32 bits, the network is walked
again with 64 bits for each lane.

Where SAME padding depends on an input size that is not known, the frame also holds how maps and fields differ from one
residue of that size to another (``rfgraph.fast.residues``).

``solve`` returns ``None`` if a network is not plain or not well formed, and the general passes take over. So messages
are written in one place, by ``rfgraph.graph.network.read`` and ``rfgraph.graph.sizes``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain, islice
from operator import or_
from typing import TYPE_CHECKING, Any

import networkx as nx

from rfgraph.errors import RFGraphError
from rfgraph.fast.interning import SizesDecideError, Table, TooWideError, forget, table_of
from rfgraph.fast.lanes import lanes_of
from rfgraph.fast.plain import Plain
from rfgraph.fast.shapes import NotPlainError
from rfgraph.graph.network import axis_names, returned, topological
from rfgraph.graph.sizes import InputSize, per_axis

if TYPE_CHECKING:
    pass

#: So many nodes are read and walked at a time: what there is to read of them stays near the processor.
BLOCK = 1 << 10


class _UnorderedError(Exception):
    """A node comes before one that it reads."""


class _UnslottedError(NotPlainError):
    """The inputs of a node are not in the order of their slots."""


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
        try:
            solved = _in_any_order(graph, axes, given, wide=False) or _in_any_order(graph, axes, given, wide=True)
        except SizesDecideError:
            solved = _in_any_order(graph, axes, given, wide=False, by_residue=True)
        return solved, "" if solved else "fields or maps are too large"
    except (NotPlainError, RFGraphError, TypeError, KeyError) as error:  # the passes refuse what is malformed
        return None, str(error) or "the graph is not well formed"


def _in_any_order(
    graph: nx.DiGraph[Any],
    axes: tuple[str, ...],
    given: tuple[int, ...] | None,
    *,
    wide: bool,
    by_residue: bool = False,
) -> Plain | None:
    """Return the fields, ``None`` if they do not fit the lanes."""
    table = table_of(lanes_of(len(axes), wide=wide, by_residue=by_residue))
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
    # A number that leaves its lane shows in the guard bit first, as no step adds more than a quarter of what it holds.
    lanes = table.lanes
    may_overrun = len(nodes) * table.widest >= lanes.zero
    if may_overrun or table.shrinks:
        together = reduce(or_, states.values())
        if together & lanes.guards or (may_overrun and together & lanes.size_guards):
            raise TooWideError
        if together & lanes.size_guards:
            raise NotPlainError("an op leaves nothing of a map")
    if lanes.by_residue:
        table.check_residues({state & lanes.frames for state in states.values()})
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
    known, steps, local, lanes = table.specs, table.steps, table.local, table.lanes
    frames, guards, across, sign = lanes.frames, lanes.guards, lanes.across, lanes.size - 1
    unlike = frames | lanes.sizes
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
                        state += table.step(spec, state)
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
                        apart = state ^ other
                        if not apart:
                            continue
                        if apart & unlike:
                            state, differ = table.merged(spec, degree, state, other)
                        else:  # as in ``Table.merged``, where frames and sizes leave nothing
                            over = (state | guards) - other
                            differ = (over >> across ^ over) & local[state & frames]
                            larger = over & guards
                            if larger != guards:
                                state = other ^ apart & (larger - (larger >> sign)) if larger else other
                        if differ and (not misaligned or misaligned[-1] is not node):
                            misaligned.append(node)
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
