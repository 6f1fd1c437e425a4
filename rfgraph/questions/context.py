"""Global context: which ops make a node read the whole of an axis."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import field
from functools import cached_property, partial

from rfgraph.algebra.window import Side
from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.results import Fields
from rfgraph.questions.findings import Finding, named_axes

#: Culprits named in a message; the finding has all of them.
_NAMED = 4

#: Of more outputs than this, culprits are looked up only when they are asked for.
_COMPARED = 64


@dataclass(frozen=True)
class GlobalContext(Finding):
    """The output ``node`` reads the whole of ``axes``.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.mul("gated", x, net.global_avg_pool("pool", x))
    >>> (finding,) = analyze(net).findings
    >>> finding.node, finding.local, finding.side
    ('gated', True, 'both')
    """

    #: Whether it has a local field besides.
    local: bool
    #: What it reads: everything before it (``"past"``), after it (``"future"``), or all there is (``"both"``).
    side: Side
    _blame: Callable[[], list[tuple[Hashable, str]]] = field(repr=False, compare=False)

    @cached_property
    def _blamed(self) -> list[tuple[Hashable, str]]:
        return self._blame()

    @property
    def culprits(self) -> tuple[Hashable, ...]:
        """The ops through which it does, in topological order; looked up when they are first asked for."""
        return tuple(node for node, _ in self._blamed)

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        named = [f"{node!r} ({op})" for node, op in self._blamed]
        more = len(named) - _NAMED
        through = ", ".join(named[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        besides = ", beside its local field," if self.local else ""
        read = {"past": "all that comes before it", "future": "all that comes after it"}.get(self.side, "the whole map")
        return f"output {self.node!r}, {named_axes(self.axes)}: it reads {read}{besides} through {through}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.local:
            return "nothing if it is meant: r, S and P are those of the paths that do not pass there"
        return f"nothing if it is meant; treat={{{str(self.culprits[-1])!r}: 'identity'}} tells what is read without it"


def culprits(compiled: Compiled, fields: Fields, axis: int, node: int) -> list[int]:
    """Return the ids of the ops through which ``node`` reads a whole axis of the source, in topological order.

    Parameters
    ----------
    fields
        Forward fields of the axis.
    axis, node
        Index of the axis, node id.
    """
    if not fields.is_global[node]:
        return []
    blamed, seen, stack = [], {node}, [node]
    while stack:
        v = stack.pop()
        full = False
        for tail, read in zip(compiled.layers.tails[v], compiled.reads[axis][v], strict=True):
            if read.kind == "empty":
                continue
            # What only reads the whole map already, as a gate before it is multiplied, is not read whole once more.
            full |= read.is_unbounded and fields.local[tail].kind != "empty"
            if tail not in seen:
                seen.add(tail)
                stack.append(tail)
        if full:
            blamed.append(v)
    return sorted(blamed)


def find(compiled: Compiled, fields: Sequence[Fields], outputs: Sequence[int]) -> list[GlobalContext]:
    """Return which of ``outputs`` read the whole of some axis."""
    layers = compiled.layers
    findings = []
    for v in outputs:
        groups: dict[Hashable, list[int]] = {}
        known: dict[int, tuple[int, ...]] = {}  # axes that read alike share their fields
        for axis, of_axis in enumerate(fields):
            if of_axis.is_global[v]:
                alike: Hashable = id(of_axis)
                if len(outputs) <= _COMPARED:  # others are told together where their culprits are the same
                    if id(of_axis) not in known:
                        known[id(of_axis)] = tuple(culprits(compiled, of_axis, axis, v))
                    alike = known[id(of_axis)]
                groups.setdefault((alike, of_axis.beyond[v].side), []).append(axis)
        for axes in groups.values():
            findings.append(
                GlobalContext(
                    rule="RF008",
                    node=layers.nodes[v],
                    axes=tuple(layers.axes[axis] for axis in axes),
                    side=fields[axes[0]].beyond[v].side,
                    local=all(fields[axis].local[v].kind != "empty" for axis in axes),
                    _blame=partial(_named, compiled, fields[axes[0]], axes[0], v),
                )
            )
    return findings


def _named(compiled: Compiled, fields: Fields, axis: int, v: int) -> list[tuple[Hashable, str]]:
    layers = compiled.layers
    return [(layers.nodes[u], layers.kinds[u]) for u in culprits(compiled, fields, axis, v)]
