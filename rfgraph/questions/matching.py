"""Which layer of one network is which of another: by name, or else by place.

Two formats of one network name their layers each in its own way, and have other nodes between them: explicit pads,
biases, identities. So places are told by *landmarks* alone: inputs, merges, and what moves by more than a shift or has
weights. From what is matched already, from inputs and outputs on, the walk goes to what reads it and what it reads, and
matches those that are alike there, by their whole op first and then by its kind. What is not alone of its kind stays
unmatched. O(V + E).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import field, fields
from functools import cached_property
from typing import Any, Literal

from rfgraph.frozen import dataclass
from rfgraph.graph.network import OrderedNetwork
from rfgraph.passes.compiled import Compiled

#: How two layers were matched.
By = Literal["name", "place"]

#: The share of the smaller network's names that the other must have for names to be trusted.
_TRUSTED = 2  # one in two

#: What ports of a network change: told, and no reason to take one layer for another.
_PORTED = ("padding", "output_padding", "bound", "ceil_mode")


@dataclass(frozen=True)
class Side:
    """One of two networks.

    Parameters
    ----------
    outputs
        Node ids, in order.
    channels
        Channels of a node's map, ``None`` where the network does not tell.
    """

    compiled: Compiled
    outputs: Sequence[int]
    channels: Callable[[Hashable], int | None]
    _labels: dict[int, Hashable] = field(default_factory=dict, repr=False)

    @property
    def layers(self) -> OrderedNetwork:
        """The network."""
        return self.compiled.layers

    @cached_property
    def names(self) -> dict[str, int]:
        """Name -> node id."""
        return {str(node): v for v, node in enumerate(self.layers.nodes)}

    @cached_property
    def landmark_of(self) -> list[int]:
        """The landmark that each node hands on, itself where it is one, [V]."""
        landmarks: list[int] = []
        for v, tails in enumerate(self.layers.tails):
            landmarks.append(landmarks[tails[0]] if self._passes(v) else v)
        return landmarks

    def _passes(self, v: int) -> bool:
        """Return whether a node hands on its only input, at the same position or shifted."""
        ops, tails = self.layers.ops[v], self.layers.tails[v]
        if len(tails) != 1 or any(op.projects or not op.is_known for op in ops):
            return False
        reads = [axis[v][0] for axis in self.compiled.reads]
        return all(read.is_local and read.period == read.size == read.stride == 1 for read in reads)

    @cached_property
    def tails(self) -> list[list[int]]:
        """The landmarks that each landmark reads, [V]; nothing at other nodes."""
        above: list[list[int]] = []
        for v, tails in enumerate(self.layers.tails):
            is_landmark = self.landmark_of[v] == v
            above.append(list(dict.fromkeys(self.landmark_of[tail] for tail in tails)) if is_landmark else [])
        return above

    @cached_property
    def heads(self) -> list[list[int]]:
        """The landmarks that read each landmark, in order, [V]."""
        heads: list[list[int]] = [[] for _ in self.layers.nodes]
        for v, tails in enumerate(self.tails):
            for tail in tails:
                heads[tail].append(v)
        return heads

    def label(self, v: int, exactly: bool) -> Hashable:
        """Return what two landmarks have in common that may be the same layer."""
        if not exactly:
            return self.layers.kinds[v]
        if v not in self._labels:
            told: list[Any] = [self.layers.kinds[v], self.channels(self.layers.nodes[v])]
            for op in self.layers.ops[v]:
                told += [(one.name, str(getattr(op, one.name))) for one in fields(op) if one.name not in _PORTED]
            self._labels[v] = tuple(told)
        return self._labels[v]


def match(a: Side, b: Side) -> dict[int, tuple[int, By]]:
    """Return which node of ``a`` each node of ``b`` is, and how that was found; by node ids.

    Names are trusted where the networks share half of them, as two versions of one do.
    """
    shared = [name for name in b.names if name in a.names]
    trusted = _TRUSTED * len(shared) >= min(len(a.names), len(b.names))
    matched: dict[int, tuple[int, By]] = {}
    if trusted:
        matched = {b.names[name]: (a.names[name], "name") for name in shared}
    walk = _Walk(a, b, matched)
    walk.pair(a.layers.inputs, b.layers.inputs)
    walk.run(exactly=True)
    ends = [[side.landmark_of[v] for v in side.outputs] for side in (a, b)]
    walk.pair(*ends)
    walk.run(exactly=False)
    return {v: matched[v] for v in sorted(matched)}


class _Walk:
    """Goes from pairs that are matched to their neighbours."""

    def __init__(self, a: Side, b: Side, matched: dict[int, tuple[int, By]]) -> None:
        self.a, self.b, self.matched = a, b, matched
        self.taken = {u for u, _ in matched.values()}
        self.exact: deque[tuple[int, int]] = deque()
        self.loose: deque[tuple[int, int]] = deque()
        for v, (u, _) in matched.items():
            self._reached(u, v)

    def _reached(self, u: int, v: int) -> None:
        self.exact.append((u, v))
        self.loose.append((u, v))

    def pair(self, these: Sequence[int], those: Sequence[int]) -> None:
        """Match nodes of ``a`` and ``b`` in their order, if there are as many."""
        these = [u for u in dict.fromkeys(these) if u not in self.taken]
        those = [v for v in dict.fromkeys(those) if v not in self.matched]
        if len(these) != len(those):
            return
        for u, v in zip(these, those, strict=True):
            self.taken.add(u)
            self.matched[v] = u, "place"
            self._reached(u, v)

    def run(self, exactly: bool) -> None:
        """Match what lies next to what is matched, until nothing more is found; ``exactly`` by whole ops alone."""
        while self.exact or (self.loose and not exactly):
            queue = self.exact or self.loose
            u, v = queue.popleft()
            self._alike(self.a.heads[u], self.b.heads[v], queue is self.exact)
            self._alike(self.a.tails[u], self.b.tails[v], queue is self.exact)

    def _alike(self, these: Sequence[int], those: Sequence[int], exactly: bool) -> None:
        """Match neighbours of one label, where both have as many of it."""
        by_label: dict[Hashable, tuple[list[int], list[int]]] = {}
        for u in these:
            if u not in self.taken:
                by_label.setdefault(self.a.label(u, exactly), ([], []))[0].append(u)
        for v in those:
            if v not in self.matched:
                by_label.setdefault(self.b.label(v, exactly), ([], []))[1].append(v)
        for ours, theirs in by_label.values():
            self.pair(ours, theirs)
