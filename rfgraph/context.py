"""Global context: which ops make a node read the whole of an axis."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from rfgraph.compiled import Compiled
from rfgraph.results import Fields, Finding, named_axes

#: Culprits named in a message; the finding has all of them.
_NAMED = 4


@dataclass(frozen=True)
class GlobalContext(Finding):
    """The output ``node`` reads the whole of ``axes``, through ``culprits``, which are in topological order."""

    culprits: tuple[Hashable, ...]
    #: What the graph calls the op of each.
    ops: tuple[str, ...]
    #: Whether it has a local field besides.
    local: bool

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        named = [f"{node!r} ({op})" for node, op in zip(self.culprits, self.ops, strict=True)]
        more = len(named) - _NAMED
        through = ", ".join(named[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        besides = ", beside its local field," if self.local else ""
        return f"output {self.node!r}, {named_axes(self.axes)}: it reads the whole map{besides} through {through}"

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
    compiled
        The network.
    fields
        Forward fields of the axis.
    axis, node
        Index of the axis, node id.
    """
    if not fields.is_global[node]:
        return []
    found, seen, stack = [], {node}, [node]
    while stack:
        v = stack.pop()
        full = False
        for tail, read in zip(compiled.layers.tails[v], compiled.reads[axis][v], strict=True):
            if read.kind == "empty":
                continue
            # What only reads the whole map already, as a gate before it is multiplied, is not read whole once more.
            full |= read.kind == "full" and fields.local[tail].kind != "empty"
            if tail not in seen:
                seen.add(tail)
                stack.append(tail)
        if full:
            found.append(v)
    return sorted(found)


def find(compiled: Compiled, fields: Sequence[Fields], outputs: Sequence[int]) -> list[GlobalContext]:
    """Return which of ``outputs`` read the whole of some axis."""
    layers = compiled.layers
    findings = []
    for v in outputs:
        axes_of: dict[tuple[int, ...], list[int]] = {}
        for axis, of_axis in enumerate(fields):
            same = next((axes for axes in axes_of.values() if fields[axes[0]] is of_axis), None)
            if same is not None:
                same.append(axis)
            elif of_axis.is_global[v]:
                axes_of.setdefault(tuple(culprits(compiled, of_axis, axis, v)), []).append(axis)
        for blamed, axes in axes_of.items():
            findings.append(
                GlobalContext(
                    rule="RF008",
                    node=layers.nodes[v],
                    axes=tuple(layers.axes[axis] for axis in axes),
                    culprits=tuple(layers.nodes[u] for u in blamed),
                    ops=tuple(layers.kinds[u] for u in blamed),
                    local=all(fields[axis].local[v].kind != "empty" for axis in axes),
                )
            )
    return findings
