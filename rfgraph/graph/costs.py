"""What the layers of a network hold and take: channels forward through it, and the cost of each layer on the way."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import networkx as nx

from rfgraph.errors import AttributeValueError
from rfgraph.frozen import dataclass
from rfgraph.graph.network import OrderedNetwork
from rfgraph.ops import Size
from rfgraph.ops.base import entry, natural
from rfgraph.ops.costs import HOLDING, TELLING, Cost, Map, Settings, cost, settings_of


def _key(attributes: Mapping[str, Any]) -> Hashable:
    """Return what nodes of equal cost agree on, their maps apart."""
    values = [attributes.get(name, "") for name in TELLING]
    key = tuple([tuple(value) if isinstance(value, list) else value for value in values])
    try:
        hash(key)
    except TypeError:
        return repr(key)
    return key


@dataclass(frozen=True, slots=True)
class Total:
    """A sum over the layers of a network.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=2)
    >>> out = net.conv("conv", net.input("x", channels=3), kernel=3, channels=8)
    >>> analyze(net).parameters.count
    216
    """

    count: int
    #: Layers of which it is not known, and which it leaves out.
    unknown: tuple[Hashable, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether it leaves nothing out; if it does, it is a lower bound."""
        return not self.unknown

    def __str__(self) -> str:
        return f"{self.count:,}" if self.complete else f"at least {self.count:,}"


class Costs(Mapping[Hashable, Cost]):
    """What each layer of a network holds and takes: a mapping from node name, worked out when it is first asked.

    Parameters
    ----------
    measured
        Returns the network and the sizes of its maps, [V][A], when they are first needed.
    graph
        The graph that it was read from, whose attributes tell channels; nothing is known without.
    """

    def __init__(
        self, measured: Callable[[], tuple[OrderedNetwork, Sequence[tuple[Size, ...]]]], graph: nx.DiGraph[Any] | None
    ) -> None:
        self._measured = measured
        self._graph = graph

    @cached_property
    def _layers(self) -> OrderedNetwork:
        return self._measured()[0]

    @cached_property
    def _sizes(self) -> Sequence[tuple[Size, ...]]:
        return self._measured()[1]

    def __getitem__(self, node: Hashable) -> Cost:
        return self._costs[self._layers.id_of(node)]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._layers.nodes)

    def __len__(self) -> int:
        return len(self._layers.nodes)

    @property
    def known(self) -> bool:
        """Whether any number of any layer but zero is known."""
        return any(cost.channels or cost.parameters or cost.macs for cost in self._costs)

    @cached_property
    def parameters(self) -> Total:
        """Learned numbers of the model, those that no layer reads included."""
        total = self._total("parameters")
        return replace(total, count=total.count + self.unread)

    @cached_property
    def macs(self) -> Total:
        """Multiply-accumulates for one input."""
        return self._total("macs")

    @property
    def unread(self) -> int:
        """Learned numbers that the model holds and no layer of the network reads, as of heads for training."""
        return max((self._held or 0) - self._total("parameters").count, 0)

    def _total(self, name: str) -> Total:
        counts = [getattr(cost, name) for cost in self._costs]
        unknown = [node for node, count in zip(self._layers.nodes, counts, strict=True) if count is None]
        return Total(sum(count for count in counts if count is not None), tuple(unknown))

    @cached_property
    def _costs(self) -> list[Cost]:  # [V]
        """Channels forward through the network, and the cost of each layer on the way."""
        layers, graph = self._layers, self._graph
        if graph is None or not any("channels" in told or "parameters" in told for _, told in graph.nodes(data=True)):
            return [Cost()] * len(layers.nodes)
        nodes, sizes = dict(graph.nodes.items()), self._sizes
        read: dict[Hashable, tuple[int, Settings]] = {}  # real networks have few layers that differ
        known: dict[Hashable, Cost] = {}
        costs: list[Cost] = []
        for v, (node, tails) in enumerate(zip(layers.nodes, layers.tails, strict=True)):
            attributes = nodes[node]
            key = _key(attributes)
            numbered = read.get(key)
            if numbered is None:
                numbered = read[key] = len(read), self._settings(v, attributes)
            place = numbered[0], sizes[v], tuple([(costs[tail].channels, sizes[tail]) for tail in tails])
            known_cost = known.get(place)
            if known_cost is None:
                known_cost = known[place] = cost(numbered[1], [Map(*one) for one in place[2]], sizes[v])
            costs.append(known_cost)
        return costs

    def _settings(self, v: int, attributes: Mapping[str, Any]) -> Settings:
        """Return the settings of a node, with what the graph says of all its nodes."""
        try:
            settings = settings_of(attributes, len(self._layers.axes))
        except AttributeValueError as error:
            raise AttributeValueError(f"{self._layers.describe(v)}: {error}") from None
        stated = dict(settings.stated or {})
        if stated.get("macs") and not self._as_stated:
            stated["macs"] = None
        if self._told and "parameters" not in stated:
            holds = self._held is None and settings.op in HOLDING
            stated["parameters"] = None if holds else 0
        return replace(settings, stated=stated or None)

    @property
    def _told(self) -> bool:
        """Whether nodes state what they hold, and hold nothing otherwise."""
        return self._graph is not None and "parameters" in self._graph.graph

    @cached_property
    def _held(self) -> int | None:
        """How many learned numbers the model holds, as far as the graph states it."""
        stated = None if self._graph is None else self._graph.graph.get("parameters")
        return None if stated is None else natural("graph attribute parameters", stated)

    @cached_property
    def _as_stated(self) -> bool:
        """Whether the sizes are those that the inputs state, for which ``macs`` of nodes are."""
        assert self._graph is not None
        for v in self._layers.inputs:
            stated = self._graph.nodes[self._layers.nodes[v]].get("size")
            for axis, size in enumerate(self._sizes[v]):
                wanted = None if stated is None else entry("size", stated, axis, len(self._layers.axes))
                if wanted is not None and wanted != size:
                    return False
        return True
