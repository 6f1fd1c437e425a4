"""Networks as networkx graphs: a small builder over them, and the reading that checks one before any analysis."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any, Literal, get_args

import networkx as nx

from rfgraph.errors import AttributeValueError, CycleError, EndpointError, GraphError, UnknownNodeError, UnknownOpError
from rfgraph.frozen import dataclass
from rfgraph.graph.methods import Methods
from rfgraph.graph.treatments import Treat, Treatment, check, chosen, treated
from rfgraph.ops import KINDS, METADATA, Op, kind_of, near
from rfgraph.ops.whole import Unknown

#: Whether batch normalisation uses statistics that it was trained with, or those of the whole map.
BatchNorm = Literal["inference", "training"]

AXIS_NAMES = {1: ("t",), 2: ("y", "x"), 3: ("z", "y", "x")}


class Network(Methods):
    """A builder of network graphs; every op of the graph format is a method that returns the name of its node.

    Parameters
    ----------
    name
        Name of the network.
    axes
        How many spatial axes its maps have.

    Examples
    --------
    >>> net = Network("block", axes=2)
    >>> image = net.input("image")
    >>> left = net.conv("left", image, kernel=3, stride=2, padding=1)
    >>> right = net.max_pool("right", image, kernel=2)
    >>> net.add("add", left, right)
    'add'
    >>> net.graph.nodes["left"]["kernel"]
    3
    """

    def __init__(self, name: str = "", axes: int = 2) -> None:
        self.graph: nx.MultiDiGraph[Any] = nx.MultiDiGraph(name=name, axes=axes)

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node ``name`` of ``op`` that reads ``inputs`` in that order, and return its name.

        Parameters
        ----------
        op
            Name of an op kind.
        name
            What the node is called; every name is taken once.
        inputs
            Names of the nodes that it reads, by slot.
        attributes
            Attributes of the op: one number for all axes, or one entry per axis.

        Raises
        ------
        GraphError
            If the name is taken, or an input is not there yet.
        UnknownOpError
            If rfgraph does not know the op.

        Examples
        --------
        >>> net = Network("block", axes=1)
        >>> net.node("conv", "conv1", net.input("x"), kernel=3)
        'conv1'
        """
        try:
            kind_of(op)
        except UnknownOpError as error:
            raise UnknownOpError(f"node {name!r} ({op}): {error}") from None
        if name in self.graph:
            raise GraphError(f"node {name!r} ({op}): the name is taken; names are unique")
        for tail in inputs:
            if tail not in self.graph:
                raise GraphError(f"node {name!r} ({op}): its input {tail!r} is not there yet{near(tail, self.graph)}")
        self.graph.add_node(name, op=op, **attributes)
        for slot, tail in enumerate(inputs):
            self.graph.add_edge(tail, name, slot=slot)
        return name


@dataclass(frozen=True)
class OrderedNetwork:
    """A checked network in topological order; node ids are positions in that order."""

    name: str
    axes: tuple[str, ...]
    nodes: Sequence[Hashable]  # [V]
    kinds: Sequence[str]  # [V], as the graph spells them
    ops: Sequence[tuple[Op, ...]]  # [V][A]
    tails: Sequence[tuple[int, ...]]  # [V], the node that each slot reads; twice where an op reads totals besides
    treated: Mapping[Hashable, Treatment] = field(default_factory=dict)
    batch_norm: BatchNorm = "inference"
    #: What the model returns, by its own names and in its order: the nodes that make it; empty if the graph is silent.
    returned: Mapping[Hashable, Hashable] = field(default_factory=dict)

    @cached_property
    def ids(self) -> dict[Hashable, int]:
        """Node name -> node id."""
        return {node: v for v, node in enumerate(self.nodes)}

    @property
    def distinct(self) -> dict[int, tuple[Op, ...]]:
        """The ops that differ, by ``id`` of the tuple: nodes of equal attributes share one."""
        return {id(ops): ops for ops in self.ops}

    @cached_property
    def heads(self) -> list[list[tuple[int, int]]]:
        """The (consumer, slot) pairs of every node, [V]."""
        heads: list[list[tuple[int, int]]] = [[] for _ in self.nodes]
        for v, tails in enumerate(self.tails):
            for slot, tail in enumerate(tails):
                heads[tail].append((v, slot))
        return heads

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids of the nodes that the model returns, and of those that no other reads."""
        read = {tail for tails in self.tails for tail in tails}
        returned = {self.ids[node] for node in self.returned.values() if node in self.ids}
        return frozenset(returned.union(v for v in range(len(self.nodes)) if v not in read))

    @cached_property
    def inputs(self) -> list[int]:
        """Ids of the nodes of op ``input``."""
        return [v for v, ops in enumerate(self.ops) if ops[0].is_input]

    def id_of(self, node: Hashable) -> int:
        """Return the id of ``node``, or of the node that makes the output of that name.

        Raises
        ------
        UnknownNodeError
            If there is none; the message lists names spelt like it.
        """
        try:
            return self.ids[node] if node in self.ids else self.ids[self.returned[node]]
        except (KeyError, TypeError):
            same = [known for known in self.nodes if str(known) == str(node)]  # 0 and "0"
            hint = near(str(node), map(str, self.nodes)) or f"; it has {_listed(self.nodes)}"
            if same:
                hint = f", a name of type {type(node).__name__}; it has {same[0]!r} of type {type(same[0]).__name__}"
            raise UnknownNodeError(f"the network has no node {node!r}{hint}") from None

    def source(self, name: Hashable | None) -> int:
        """Return the id of the input to measure from: the one named, or the only one.

        Raises
        ------
        EndpointError
            If none is named and there are several.
        """
        if name is not None:
            return self.id_of(name)
        if len(self.inputs) > 1:
            names = _listed([self.nodes[v] for v in self.inputs])
            raise EndpointError(f"the network has {len(self.inputs)} inputs, {names}; pass source= to say which one")
        return self.inputs[0]

    def describe(self, v: int, axis: int | None = None) -> str:
        """Return how messages name node ``v``: its name, op and, if it matters, axis."""
        return _describe(self.nodes[v], self.kinds[v], None if axis is None else self.axes[axis])


def _describe(node: Hashable, op: object, axis: str | None = None) -> str:
    return f"node {node!r} ({op})" + ("" if axis is None else f", axis {axis}")


def _listed(names: Sequence[Hashable], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def read(graph: nx.DiGraph[Any], treat: Treat | None = None, batch_norm: BatchNorm = "inference") -> OrderedNetwork:
    """Check a network graph and return its layers in topological order.

    Parameters
    ----------
    graph
        The network.
    treat
        Pattern of node or op names, as in ``fnmatch`` -> ``"identity"`` (reads its own position), ``"global"`` (reads
        the whole of every axis) or ``"cut"`` (reads nothing).
    batch_norm
        Whether batch normalisation reads its own position, or, in training, the whole map besides.

    Raises
    ------
    GraphError
        If it is not directed, empty, cyclic, has a node without input, or slots that do not fit.
    AttributeValueError
        If an attribute is missing, unknown, of the wrong length or out of range.
    UnknownOpError
        If rfgraph does not know an op.
    EndpointError
        If there is no input.
    UnknownNodeError
        If a pattern of ``treat`` fits nothing.
    """
    if not graph.is_directed():
        raise GraphError("the graph is undirected; build a networkx.DiGraph, with edges from input to output")
    if not len(graph):
        raise EndpointError("the graph is empty; it needs a node with op='input'")
    axes = axis_names(graph)
    order = topological(graph)
    ids = {node: v for v, node in enumerate(order)}
    ops = _Interned(axes, _checked(batch_norm))
    treatments = chosen(graph.nodes(data=True), treat) if treat else {}
    layers_ops, kinds = [], []
    tails: list[tuple[int, ...]] = []
    data, multigraph = dict(graph.nodes.items()), graph.is_multigraph()
    pred = graph._pred  # the views of networkx cost more than all else here
    for node in order:
        attributes = data[node]
        if node in treatments:
            attributes = {**attributes, "treat": treatments[node].how}
        elif "treat" in attributes:
            treatments[node] = Treatment(node, attributes["treat"])
        node_ops = ops.read(node, attributes)
        layers_ops.append(node_ops)
        kinds.append(attributes["op"])
        edges = _edges(pred[node], multigraph)
        if len(edges) == 1 and edges[0][1] is None and node_ops[0].arity != "none":
            tails.append((ids[edges[0][0]],))
        else:
            tails.append(tuple([ids[tail] for tail in _slots(node, attributes["op"], edges, node_ops)]))
    twice = {node_ops for node_ops in ops.known.values() if any(op.totals for op in node_ops)}
    if twice:
        tails = [slots * 2 if node_ops in twice else slots for node_ops, slots in zip(layers_ops, tails, strict=True)]
    name = str(graph.graph.get("name", ""))
    layers = OrderedNetwork(name, axes, order, kinds, layers_ops, tails, treatments, batch_norm, returned(graph))
    if not layers.inputs:
        raise EndpointError("the network has no input; give the node that takes the image op='input'")
    _check_outputs(layers)
    return layers


def read_node(
    node: Hashable, attributes: Mapping[str, Any], axes: tuple[str, ...], batch_norm: BatchNorm = "inference"
) -> tuple[Op, ...]:
    """Return the op of one node on each axis, as ``read`` reads it.

    Raises
    ------
    AttributeValueError
        If an attribute is missing, unknown, of the wrong length or out of range.
    UnknownOpError
        If rfgraph does not know the op.
    """
    return _Interned(axes, _checked(batch_norm)).read(node, attributes)


def _checked(batch_norm: BatchNorm) -> BatchNorm:
    if batch_norm not in get_args(BatchNorm):
        raise AttributeValueError(f"batch_norm {batch_norm!r} is not one of {', '.join(get_args(BatchNorm))}")
    return batch_norm


def _check_outputs(layers: OrderedNetwork) -> None:
    """Refuse outputs that no input reaches: a network that ends in one was put together wrongly."""
    fed: list[bool] = []
    read = [False] * len(layers.nodes)
    for kind, tails in zip(layers.kinds, layers.tails, strict=True):
        fed.append(kind == "input" or any(fed[tail] for tail in tails))
        for tail in tails:
            read[tail] = True
    for v, tails in enumerate(layers.tails):
        if tails and not read[v] and not fed[v]:
            raise EndpointError(f"output {layers.nodes[v]!r} depends on no input; connect it, or remove it")


def returned(graph: nx.DiGraph[Any]) -> dict[Hashable, Hashable]:
    """Return what a model returns, by its own names: the nodes that make it, as the graph attribute ``outputs`` says.

    That is a list of nodes, or a mapping from name to node; empty if there is none.

    Raises
    ------
    AttributeValueError
        If it is neither, or calls a node by the name of another.
    UnknownNodeError
        If it names a node that the graph does not have.
    """
    said = graph.graph.get("outputs")
    if said is None:
        return {}
    if not isinstance(said, (list, tuple, Mapping)):
        raise AttributeValueError(f"graph attribute outputs {said!r} is neither a list of nodes nor a mapping to them")
    pairs = list(said.items()) if isinstance(said, Mapping) else [(node, node) for node in said]
    for name, node in pairs:
        if not isinstance(node, Hashable) or node not in graph:
            hint = near(str(node), map(str, graph))
            raise UnknownNodeError(f"graph attribute outputs names {node!r}, which is none of the nodes{hint}")
        if name != node and name in graph:
            raise AttributeValueError(
                f"graph attribute outputs calls node {node!r} {name!r}, as another node is called; choose another name"
            )
    return dict(pairs)


def axis_names(graph: nx.DiGraph[Any]) -> tuple[str, ...]:
    """Return the names of the spatial axes of a network graph.

    Raises
    ------
    AttributeValueError
        If its attribute ``axes`` is neither a number of axes nor their names.
    """
    axes = graph.graph.get("axes", 2)
    if isinstance(axes, (list, tuple)) and axes and all(isinstance(name, str) for name in axes):
        return tuple(axes)
    if isinstance(axes, bool) or not isinstance(axes, int) or not 1 <= axes <= 16:
        raise AttributeValueError(f"graph attribute axes {axes!r} is not a number of axes from 1 to 16, or their names")
    return AXIS_NAMES.get(axes) or tuple(f"a{axis}" for axis in range(axes))


def topological(graph: nx.DiGraph[Any]) -> list[Hashable]:
    """Return the nodes, each after those it reads.

    Raises
    ------
    CycleError
        If the graph has a cycle; the message names it.
    """
    before: set[Hashable] = set()
    for node, tails in graph._pred.items():
        if not before.issuperset(tails):
            break
        before.add(node)
    else:
        return list(graph._pred)  # as the graph was built: the order that its user knows
    waiting = {node: len(tails) for node, tails in graph._pred.items()}
    order: list[Hashable] = [node for node, missing in waiting.items() if not missing]
    succ = graph._succ
    for node in order:  # grows while it is walked
        for head in succ[node]:
            waiting[head] -= 1
            if not waiting[head]:
                order.append(head)
    if len(order) < len(waiting):
        raise CycleError(_cycle(graph, {node for node, missing in waiting.items() if missing}))
    return order


def _cycle(graph: nx.DiGraph[Any], left: set[Hashable]) -> str:
    """Describe one cycle among the nodes that no order reaches: going back from any of them leads into one."""
    node = min(left, key=str)
    walk: dict[Hashable, None] = {}
    while node not in walk:
        walk[node] = None
        node = min((tail for tail in graph.pred[node] if tail in left), key=str)
    nodes = list(walk)
    cycle = [*nodes[nodes.index(node) :], node][::-1]
    shown = " -> ".join(repr(name) for name in (cycle if len(cycle) <= 12 else [*cycle[:6], "...", *cycle[-5:]]))
    return f"the graph has a cycle of {len(cycle) - 1} nodes, {shown}; a network is acyclic"


class _Interned:
    """Reads attributes once per distinct set of them: real networks have few. Values that are equal read alike."""

    def __init__(self, axes: tuple[str, ...], batch_norm: BatchNorm) -> None:
        self.axes = axes
        self.batch_norm = batch_norm
        self.known: dict[Hashable, tuple[Op, ...]] = {}

    def read(self, node: Hashable, attributes: Mapping[str, Any]) -> tuple[Op, ...]:
        try:
            key: Hashable = tuple(item for item in attributes.items() if item[0] == "op" or item[0] not in METADATA)
            ops = self.known.get(key)
        except TypeError:  # a list among the values
            try:
                key = repr([item for item in attributes.items() if item[0] == "op" or item[0] not in METADATA])
            except ValueError:  # a number that is too long to be written
                return self._parse(node, attributes)
            ops = self.known.get(key)
        if ops is None:
            ops = self.known[key] = self._parse(node, attributes)
        return ops

    def _parse(self, node: Hashable, attributes: Mapping[str, Any]) -> tuple[Op, ...]:
        op = attributes.get("op")
        if op is None:
            raise UnknownOpError(f"node {node!r} has no op; give it op='conv', 'input', ...")
        if "treat" in attributes:
            return self._treated(node, op, attributes)
        try:
            kind = kind_of(op)
        except UnknownOpError as error:
            hint = f"; correct it, or pass treat={{{node!r}: 'identity'}}, 'global' or 'cut'"
            raise UnknownOpError(f"{_describe(node, op)}: {error}{hint}") from None
        parsed: list[Op] = []
        for axis, name in enumerate(self.axes):
            try:
                parsed.append(kind.parse(attributes, axis, len(self.axes)))
            except AttributeValueError as error:
                raise AttributeValueError(f"{_describe(node, op, name)}: {error}") from None
        return tuple(op.in_training for op in parsed) if self.batch_norm == "training" else tuple(parsed)

    def _treated(self, node: Hashable, op: object, attributes: Mapping[str, Any]) -> tuple[Op, ...]:
        how = attributes["treat"]
        try:
            check(how)
        except AttributeValueError as error:
            raise AttributeValueError(f"{_describe(node, op)}: {error}") from None
        if op not in KINDS:
            return treated((Unknown(of=str(op)),) * len(self.axes), how)
        ops = self._parse(node, {name: value for name, value in attributes.items() if name != "treat"})
        if ops[0].arity == "none":
            raise AttributeValueError(f"{_describe(node, op)}: it reads nothing, so that treat={how!r} says nothing")
        return treated(ops, how)


_Edge = tuple[Hashable, Any]  # tail, slot


def _edges(pred: Mapping[Hashable, Any], multigraph: bool) -> list[_Edge]:
    if multigraph:
        return [(tail, edge.get("slot")) for tail, parallel in pred.items() for edge in parallel.values()]
    return [(tail, edge.get("slot")) for tail, edge in pred.items()]


def _slots(node: Hashable, op: object, edges: list[_Edge], ops: tuple[Op, ...]) -> list[Hashable]:
    """Return the tails of a node in slot order, refused where slots or arity do not fit."""
    arity = ops[0].arity
    if arity == "none" and edges:
        raise GraphError(f"{_describe(node, op)}: it takes no input, but {edges[0][0]!r} feeds it; drop that edge")
    if arity != "none" and not edges:
        raise GraphError(f"{_describe(node, op)}: it has no input; add an edge from the node it reads, or op='input'")
    if arity == "one" and len(edges) > 1:
        names = _listed([tail for tail, _ in edges])
        raise GraphError(f"{_describe(node, op)}: it takes one input, not {len(edges)} ({names}); merge them first")
    given = [slot for _, slot in edges if slot is not None]
    if not given and not (len(edges) > 1 and any(op.joins for op in ops)):
        return [tail for tail, _ in edges]
    if len(given) < len(edges):
        tail = next(tail for tail, slot in edges if slot is None)
        raise GraphError(f"{_describe(node, op)}: the edge from {tail!r} has no slot; number its inputs slot=0, 1, ...")
    by_slot: dict[Any, Hashable] = {}
    for tail, slot in edges:
        if not isinstance(slot, Hashable):
            raise GraphError(f"{_describe(node, op)}: the edge from {tail!r} has slot {slot}, which is no number")
        if slot in by_slot:
            raise GraphError(
                f"{_describe(node, op)}: {by_slot[slot]!r} and {tail!r} both have slot {slot}; slots are unique"
            )
        by_slot[slot] = tail
    missing = [slot for slot in range(len(edges)) if slot not in by_slot]
    if missing:
        raise GraphError(
            f"{_describe(node, op)}: slot {missing[0]} is missing, its slots are {sorted(by_slot, key=str)}; "
            f"number its inputs slot=0 to {len(edges) - 1}"
        )
    return [by_slot[slot] for slot in range(len(edges))]


def as_node_link(graph: nx.DiGraph[Any]) -> dict[str, Any]:
    """Return a graph in node-link form; how networkx is called to write it differs by its version."""
    edges = graph.edges(keys=True, data=True) if graph.is_multigraph() else graph.edges(data=True)
    return {
        "directed": graph.is_directed(),
        "multigraph": graph.is_multigraph(),
        "graph": dict(graph.graph),
        "nodes": [{**attributes, "id": node} for node, attributes in graph.nodes(data=True)],
        "edges": [
            {**attributes, "source": tail, "target": head, **({"key": key[0]} if key else {})}
            for tail, head, *key, attributes in edges
        ],
    }
