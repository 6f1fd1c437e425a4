"""The results of a sweep: arrays with one entry per design, and the designs themselves."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import networkx as nx

from rfgraph.errors import SweepError
from rfgraph.sweeps.columns import COLUMNS, PER_AXIS, PER_NODE, STATUS, Array, Columns, bytes_of, joined
from rfgraph.sweeps.search import Counts, Search

#: Results that would take more bytes than this are not collected in memory.
MOST_MEMORY = 1 << 31


def collected(parts: Iterable[Columns]) -> Columns:
    """Return the columns of all parts, refused as soon as they take more than ``MOST_MEMORY``."""
    chunks: list[Columns] = []
    taken = 0
    for part in parts:
        chunks.append(part)
        taken += bytes_of(part)
        if taken > MOST_MEMORY:
            raise SweepError(
                f"the results of this sweep take more than {MOST_MEMORY >> 20} MiB of memory; pass best= or where= to "
                "keep fewer designs, to= for results on disk, or take them one chunk after the other from "
                "rfgraph.sweeps.stream"
            )
    return joined(chunks)


class Sweep(Mapping[str, Array]):
    """What a sweep found: a mapping from quantity to its array, one entry per design that was kept.

    ``r``, ``S``, ``P``, ``map_size`` and ``is_global`` have shape [N, K, A], with K nodes (``nodes``) and A axes
    (``axes``); ``status`` [N, K]; ``position``, ``aligned``, ``parameters`` and ``macs`` [N]. Entries are what
    ``rfgraph.analyze`` says of the design. 0 in ``r``, ``S`` and ``map_size`` and -1 in ``parameters``, ``macs`` and
    ``aligned`` stand for what is not known; ``status`` is an index into ``rfgraph.sweeps.STATUS``.

    ``rfgraph.sweep`` makes it.

    Examples
    --------
    >>> from rfgraph import Network, sweep
    >>> net = Network("one", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3)
    >>> designs = sweep(net, each={"conv.kernel": [3, 5]})
    >>> designs["r"][:, 0, 0].tolist(), designs["aligned"].tolist()
    ([3, 5], [1, 1])
    """

    def __init__(
        self,
        search: Search,
        counts: Counts,
        columns: Columns | None,
        stored: Callable[[], Iterator[Columns]] | None = None,
    ) -> None:
        self._search = search
        #: How many designs were looked at, kept (before the best of them were picked), done alone, and do not work.
        self.counts = counts
        self._columns = columns
        self._stored = stored

    @property
    def columns(self) -> Columns:
        """All arrays; those of results on disk are read when they are first asked for.

        Raises
        ------
        SweepError
            If they take more memory than ``rfgraph.sweeps.MOST_MEMORY`` bytes; ``chunks`` has them one by one.
        """
        if self._columns is None:
            self._columns = collected(self.chunks())
        return self._columns

    def chunks(self) -> Iterator[Columns]:
        """Yield the arrays in chunks: those that are on disk, or all there is.

        Examples
        --------
        >>> from rfgraph import Network, sweep
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3)
        >>> designs = sweep(net, each={"conv.kernel": [3, 5]})
        >>> [chunk["r"].shape for chunk in designs.chunks()]
        [(2, 1, 1)]
        """
        if self._stored is None:
            yield self.columns
        else:
            yield from self._stored()

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(COLUMNS)

    def __repr__(self) -> str:
        kept, seen = self.counts.kept, self.counts.seen
        return f"<Sweep of {self.name!r}: {kept:,} of {seen:,} designs kept, nodes {', '.join(map(str, self.nodes))}>"

    @property
    def name(self) -> str:
        """Name of the network."""
        return str(self._search.designs.graph.graph.get("name", ""))

    @property
    def nodes(self) -> tuple[Hashable, ...]:
        """The nodes that were asked for, by default the outputs."""
        return self._search.question.nodes

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the spatial axes."""
        return self._search.question.axes

    @property
    def choices(self) -> tuple[str, ...]:
        """What designs differ in, by key."""
        return tuple(key for choice in self._search.designs.choices for key in choice.keys)

    @property
    def total(self) -> int:
        """How many designs there are to choose from; a sample has fewer."""
        return self._search.designs.total

    @property
    def vectorised(self) -> bool:
        """Whether designs were looked at many at a time; ``why_not`` says why, if not."""
        return self._search.plan is not None

    @property
    def why_not(self) -> str:
        """Why every design was analysed on its own; nothing if it was not so."""
        return self._search.why_not

    @property
    def costs_unknown(self) -> dict[str, Sequence[Hashable]]:
        """The layers for want of whose ``parameters`` or ``macs`` those of all designs are not known."""
        costs = self._search.costs
        if costs is None:
            return {}
        return {name: said for name, said in (("parameters", costs.no_parameters), ("macs", costs.no_macs)) if said}

    def options(self, index: int) -> dict[str, Any]:
        """Return what the design in row ``index`` chooses: key -> value.

        Parameters
        ----------
        index
            Row of the table, from 0; negative ones count from its end.

        Raises
        ------
        IndexError
            If there is no such row.

        Examples
        --------
        >>> from rfgraph import Network, sweep
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3)
        >>> designs = sweep(net, each={"conv.kernel": [3, 5]})
        >>> designs.options(1)
        {'conv.kernel': 5}
        """
        return self.options_at(int(self["position"][index]))

    def options_at(self, position: int) -> dict[str, Any]:
        """Return what the design at a position in the sweep chooses, kept or not.

        Parameters
        ----------
        position
            Number of the design among all of the sweep, from 0, as the column ``position`` has it.

        Examples
        --------
        >>> from rfgraph import Network, sweep
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3)
        >>> designs = sweep(net, each={"conv.kernel": [3, 5]})
        >>> designs.options_at(0)
        {'conv.kernel': 3}
        """
        return self._search.designs.options(position)

    @staticmethod
    def status_name(status: int) -> str:
        """Return what an entry of ``status`` means.

        Parameters
        ----------
        status
            A number of that column.

        Examples
        --------
        >>> from rfgraph import Network, sweep
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3)
        >>> designs = sweep(net, each={"conv.kernel": [3, 5]})
        >>> designs.status_name(designs["status"][0, 0])
        'exact'
        """
        return STATUS[status]

    def graph(self, index: int) -> nx.DiGraph[Any]:
        """Return the network of the design in row ``index``, ready for ``rfgraph.analyze``.

        Parameters
        ----------
        index
            As for ``options``.

        Examples
        --------
        >>> from rfgraph import Network, sweep
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3)
        >>> designs = sweep(net, each={"conv.kernel": [3, 5]})
        >>> designs.graph(1).nodes["conv"]["kernel"]
        5
        """
        return self._search.designs.network(int(self["position"][index]))

    def of(self, name: str, node: Hashable) -> Array:
        """Return one quantity of one node: [N, A] for those per axis, [N] for its status.

        Parameters
        ----------
        name
            ``"r"``, ``"S"``, ``"P"``, ``"size"``, ``"map_size"`` or another column of nodes.
        node
            A node that was kept.

        Raises
        ------
        KeyError
            If there is no such column.

        Examples
        --------
        >>> from rfgraph import Network, sweep
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3)
        >>> designs = sweep(net, each={"conv.kernel": [3, 5]})
        >>> designs.of("r", "conv")[:, 0].tolist()
        [3, 5]
        """
        if name not in (*PER_AXIS, *PER_NODE):
            raise KeyError(f"{name} is no quantity of a node")
        return self[name][:, self.nodes.index(node)]
