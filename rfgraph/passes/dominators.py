"""The dominator tree of a network, grown in topological order: which node do all paths to a node pass last?

References
----------
Myers, An applicative random-access stack, Information Processing Letters 1983, for the jump pointers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class DominatorTree:
    """A dominator tree with jump pointers: the nearest common dominator of two nodes in O(log V).

    Parameters
    ----------
    nodes
        How many nodes there are.
    root
        The node at which all paths begin.
    """

    def __init__(self, nodes: int, root: int) -> None:
        self.parent = list(range(nodes))
        self.depth = [0] * nodes
        self.jump = list(range(nodes))
        self.root = root

    def hang(self, v: int, tails: Sequence[int]) -> bool:
        """Hang ``v`` under the nearest node that every path to it passes.

        Return whether its jump goes on from where that of its parent ends, and not to its parent.

        Parameters
        ----------
        v
            A node, by id; those before it have been hung.
        tails
            The nodes that it reads, one at least.
        """
        depth, jumps = self.depth, self.jump
        above = tails[0]
        for tail in tails[1:]:
            if tail != above:
                above = self.meet(above, tail)
        jump = jumps[above]
        near = depth[above] - depth[jump] == depth[jump] - depth[jumps[jump]]
        self.parent[v] = above
        depth[v] = depth[above] + 1
        jumps[v] = jumps[jump] if near else above
        return near

    def chain(self, v: int) -> Iterator[int]:
        """Yield ``v`` and the nodes that dominate it, up to the root."""
        while v != self.root:
            yield v
            v = self.parent[v]
        yield v

    def meet(self, u: int, v: int) -> int:
        """Return the nearest common dominator of ``u`` and ``v``."""
        parent, depth, jump = self.parent, self.depth, self.jump
        if depth[u] < depth[v]:
            u, v = v, u
        while depth[u] > depth[v]:
            u = jump[u] if depth[jump[u]] >= depth[v] else parent[u]
        while u != v:
            if jump[u] != jump[v]:
                u, v = jump[u], jump[v]
            else:
                u, v = parent[u], parent[v]
        return u
