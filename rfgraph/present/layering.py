"""Where the boxes of a graph picture stand: ranks from top to bottom, columns in them, and lanes beside for long edges.

An edge from one rank to the next is a line between two boxes. A longer one runs down a *lane*, a vertical line at the
right of all columns; all long edges of one tail share a lane, so that a dense block is as wide as it has maps in use at
once. Lanes are taken and given back as registers are, from top to bottom, and no rank holds dummy nodes for edges that
pass it: all is linear in nodes and edges.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.frozen import dataclass

Edge = tuple[int, int]


@dataclass(frozen=True)
class Layering:
    """Places of nodes, one entry a node, and the lanes of edges, one entry an edge."""

    rank: list[int]
    column: list[int]
    #: The lane of every edge, ``None`` for those from one rank to the next.
    lane: list[int | None]

    @property
    def ranks(self) -> int:
        """How many ranks there are."""
        return max(self.rank, default=-1) + 1

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return max(self.column, default=-1) + 1

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return max((lane for lane in self.lane if lane is not None), default=-1) + 1


def layered(count: int, edges: Sequence[Edge], framed: bool = False) -> Layering:
    """Return where the nodes 0 to ``count - 1`` of an acyclic graph stand.

    Parameters
    ----------
    count
        How many nodes there are.
    edges
        Pairs of tail and head.
    framed
        Whether node 0, which has no tails, stands above all others, and node 1, which has no heads, below them.

    Raises
    ------
    ValueError
        If the graph has a cycle.

    Examples
    --------
    >>> block = layered(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    >>> block.rank, block.column, block.lane
    ([0, 1, 2, 3], [0, 0, 0, 0], [None, None, None, 0])
    """
    tails: list[list[int]] = [[] for _ in range(count)]
    heads: list[list[int]] = [[] for _ in range(count)]
    for tail, head in edges:
        tails[head].append(tail)
        heads[tail].append(head)
    order = topological(tails, heads)
    rank = [0] * count
    for v in order:
        rank[v] = max((rank[tail] + 1 for tail in tails[v]), default=int(framed and v > 0))
    if framed:
        rank[1] = max(rank[2:], default=0) + 1
    return Layering(rank, _columns(order, tails, rank), _lanes(edges, rank))


def topological(tails: Sequence[Sequence[int]], heads: Sequence[Sequence[int]]) -> list[int]:
    """Return the nodes so that every edge runs forward.

    Raises
    ------
    ValueError
        If there is a cycle.
    """
    waits = [len(nodes) for nodes in tails]
    order = [v for v, wait in enumerate(waits) if not wait]
    for v in order:  # it grows as it is walked
        for head in heads[v]:
            waits[head] -= 1
            if not waits[head]:
                order.append(head)
    if len(order) < len(tails):
        raise ValueError(f"{len(tails) - len(order)} of {len(tails)} nodes lie on or behind a cycle")
    return order


def _columns(order: Sequence[int], tails: Sequence[Sequence[int]], rank: Sequence[int]) -> list[int]:
    """Return the column of every node: that of its nearest tail where it is free, else the next one at the right."""
    column = [0] * len(order)
    taken: list[set[int]] = [set() for _ in order]
    free = [0] * len(order)  # the first column right of all that are taken, by rank
    for v in order:
        level = rank[v]
        near = [column[tail] for tail in tails[v] if rank[tail] == level - 1]
        wanted = min(near, default=0)
        column[v] = wanted if wanted not in taken[level] else free[level]
        taken[level].add(column[v])
        free[level] = max(free[level], column[v] + 1)
    return column


def _lanes(edges: Sequence[Edge], rank: Sequence[int]) -> list[int | None]:
    """Return the lane of every long edge: the fewest lanes at which no two tails meet in one."""
    end: dict[int, int] = {}  # tail -> rank of the last head that it reaches by its lane
    for tail, head in edges:
        if rank[head] > rank[tail] + 1:
            end[tail] = max(end.get(tail, 0), rank[head])
    ranks = max(rank, default=0) + 1
    starting: list[list[int]] = [[] for _ in range(ranks)]
    ending: list[list[int]] = [[] for _ in range(ranks)]
    for tail, last in end.items():
        starting[rank[tail]].append(tail)
        ending[last].append(tail)
    lane: dict[int, int] = {}
    free: list[int] = []
    lane_count = 0
    for level in range(ranks):
        # A lane that ends above this rank's boxes is free below them.
        free += sorted((lane[tail] for tail in ending[level]), reverse=True)
        for tail in starting[level]:
            if not free:
                free.append(lane_count)
                lane_count += 1
            lane[tail] = free.pop()
    return [lane[tail] if rank[head] > rank[tail] + 1 else None for tail, head in edges]
