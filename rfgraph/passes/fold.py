"""The one pass: every question about every node is a domain, carried from node to node by one walk.

    value[source] = domain.start
    value[v]      = domain.join(v, [domain.through(v, slot, value[tail]) for slot, tail in enumerate(tails[v])])

``fold`` walks from the source towards the outputs, ``fold_back`` from an output towards the inputs, where a node
gathers over the edges that it feeds. Both visit each edge once, see only nodes that lie on the way, and drop a value
after its last reader. A new question is a new ``Domain`` and not a new walk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

Value = TypeVar("Value")


class Wired(Protocol):
    """A network as far as a walk needs it; node ids are in topological order."""

    @property
    def tails(self) -> Sequence[Sequence[int]]:
        """The nodes that each node reads, by slot, [V]."""


class Domain(ABC, Generic[Value]):
    """What a pass carries from node to node.

    Examples
    --------
    The number of layers on the longest path to every node:

    >>> from rfgraph.graph.network import Network, read
    >>> class Depth(Domain[int]):
    ...     start = 0
    ...     def through(self, v: int, slot: int, value: int) -> int:
    ...         return value + 1
    ...     def join(self, v: int, values: list[int]) -> int:
    ...         return max(values)
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.add("add", x, net.conv("conv", x, kernel=3))
    >>> fold(read(net.graph), 0, Depth())
    {0: 0, 1: 1, 2: 2}
    """

    @property
    @abstractmethod
    def start(self) -> Value:
        """The value of the node at which the walk starts."""

    @abstractmethod
    def through(self, v: int, slot: int, value: Value) -> Value | None:
        """Return what ``value`` becomes on the edge into ``slot`` of node ``v``; ``None`` if nothing comes over it.

        Forward, ``value`` is that of the node which is read there; backward, that of ``v``.
        """

    @abstractmethod
    def join(self, v: int, values: list[Value]) -> Value:
        """Return the value of node ``v`` from those that came over its edges: at least one, in the order of slots.

        Backward, they come from the consumers of ``v``, the last in topological order first.
        """


def between(network: Wired, source: int, to: Iterable[int]) -> list[int]:
    """Return the ids of all nodes on paths from ``source`` to any of ``to``, all included, in topological order.

    It is empty if there is no such path.
    """
    tails = network.tails
    above = set(to)
    stack, reached = list(above), 0  # how many of them read something that does not come before the source
    while stack:
        leads_on = 0
        for tail in tails[stack.pop()]:
            if tail >= source:
                leads_on = 1
                if tail not in above:
                    above.add(tail)
                    stack.append(tail)
        reached += leads_on
    order = sorted(above)
    if reached + (source in above) == len(above):  # each of them but the source leads on to it
        return order
    on_paths = {source} & above
    for v in order:
        if any(tail in on_paths for tail in tails[v]):
            on_paths.add(v)
    return sorted(on_paths)


def folded(
    network: Wired, source: int, domain: Domain[Value], to: Collection[int] | None = None
) -> Iterator[tuple[int, Value]]:
    """Yield each node with its value in topological order; nodes over which nothing comes are left out.

    A value is dropped after its last reader.

    Parameters
    ----------
    source
        Node id at which the walk starts.
    to
        Node ids: only nodes on the way to one of them are visited. By default all are.
    """
    order = range(source, len(network.tails)) if to is None else between(network, source, to)
    readers = dict.fromkeys(order, 0)
    for v in order[1:]:
        for tail in network.tails[v]:
            if tail in readers:
                readers[tail] += 1
    return _folded(network, source, domain, order, readers)


def _folded(
    network: Wired, source: int, domain: Domain[Value], order: Sequence[int], readers: dict[int, int]
) -> Iterator[tuple[int, Value]]:
    """Yield each node of ``order`` with its value; all values are kept where no ``readers`` are counted."""
    if not order:
        return
    tails, through, join = network.tails, domain.through, domain.join
    values: list[Value | None] = [None] * len(tails)
    values[source] = start = domain.start
    yield source, start
    for v in order[1:]:
        sides = []
        for slot, tail in enumerate(tails[v]):
            value = values[tail]
            if value is not None and (value := through(v, slot, value)) is not None:
                sides.append(value)
        if readers:
            for tail in tails[v]:
                if tail in readers:
                    readers[tail] -= 1
                    if not readers[tail]:
                        values[tail] = None
        if sides:
            values[v] = value = join(v, sides)
            yield v, value


def fold(network: Wired, source: int, domain: Domain[Value], to: Collection[int] | None = None) -> dict[int, Value]:
    """Return the value of every node that ``domain`` reaches from ``source``; of those in ``to`` if they are named."""
    if to is None:
        return dict(_folded(network, source, domain, range(source, len(network.tails)), {}))
    wanted = frozenset(to)
    return {v: value for v, value in folded(network, source, domain, wanted) if v in wanted}


def fold_along(network: Wired, way: Sequence[int], domain: Domain[Value]) -> dict[int, Value]:
    """Return the value of every node on a ``way`` that ``between`` has returned, walking from its first node."""
    return dict(_folded(network, way[0], domain, way, {}))


def fold_back(
    network: Wired, output: int | Collection[int], domain: Domain[Value], to: int | None = None
) -> dict[int, Value]:
    """Return the value of every node that ``domain`` reaches from ``output``, walking towards the inputs.

    Parameters
    ----------
    output
        Node id at which the walk starts, or several: the start comes to each of them, beside what comes over its edges.
    to
        Node id: only nodes on the way to it are visited, and it alone is answered for. By default all are.
    """
    tails = network.tails
    ends = {output} if isinstance(output, int) else set(output)
    order = range(max(ends) + 1) if to is None else between(network, to, ends)
    on_way = set(order) if to is not None else None
    coming: dict[int, list[Value]] = {}
    values: dict[int, Value] = {}
    for v in reversed(order):
        if v in ends:
            value = domain.join(v, [domain.start, *coming.pop(v)]) if v in coming else domain.start
        elif v in coming:
            value = domain.join(v, coming.pop(v))
        else:
            continue
        if to is None or v == to:
            values[v] = value
        for slot, tail in enumerate(tails[v]):
            if on_way is not None and (tail not in on_way or v == to):
                continue
            side = domain.through(v, slot, value)
            if side is not None:
                coming.setdefault(tail, []).append(side)
    return values
