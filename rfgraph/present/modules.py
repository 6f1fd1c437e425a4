"""A network folded by module: the tree that the names of its nodes spell, each module laid out by itself.

A module is drawn as one box or with its inside shown; every combination is drawn from the same layouts, since each is
of one module and its direct members alone. The edges of a module are those between its members; what comes in from
outside comes from ``ENTRY``, and what goes out goes to ``EXIT``.

Names may spell modules that do not hold together: a path leaves one and comes back. Drawn as one box it would close a
cycle, so that such a module is cut into the parts between which the path runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import networkx as nx

from rfgraph.present.layering import Layering, layered

#: Members of every module besides its own: where edges come in, and where they go out.
ENTRY, EXIT = 0, 1
OWN = 2

#: Modules inside modules: names that spell more end in one long part.
DEEPEST = 12


@dataclass
class Module:
    """A module: its members, the edges between them, and where they stand."""

    name: str
    #: Node ids of all that is inside, in topological order.
    nodes: Sequence[int]
    #: What it holds directly: nodes and modules.
    members: list[int | Module] = field(default_factory=list)
    #: Between members: ``ENTRY``, ``EXIT``, and ``OWN + i`` for ``members[i]``.
    edges: list[tuple[int, int]] = field(default_factory=list)
    layering: Layering = field(default_factory=lambda: Layering([], [], []))


def parts(name: Hashable) -> list[str]:
    """Return the modules that a name spells, and the node's own part last.

    Examples
    --------
    >>> parts("resnet/block1/unit_1/conv1"), parts("layer1.0.conv1"), parts("conv1")
    (['resnet', 'block1', 'unit_1', 'conv1'], ['layer1', '0', 'conv1'], ['conv1'])
    """
    text = str(name)
    spelt = [part for part in text.split("/" if "/" in text else ".") if part]
    return [*spelt[:DEEPEST], "/".join(spelt[DEEPEST:])] if len(spelt) > DEEPEST else spelt or [text]


def tree(names: Sequence[Hashable], tails: Sequence[Sequence[int]]) -> Module:
    """Return the module of the whole network.

    Parameters
    ----------
    names
        Names of the nodes, in topological order.
    tails
        What each node reads: node ids.

    Examples
    --------
    >>> whole = tree(["x", "block.conv", "block.add"], [[], [0], [1, 0]])
    >>> whole.members[0], whole.members[1].name, whole.members[1].members
    (0, 'block', [1, 2])
    >>> whole.edges, whole.members[1].edges
    ([(2, 3)], [(0, 2), (2, 3), (0, 3)])
    """
    heads: list[list[int]] = [[] for _ in names]
    for v, read in enumerate(tails):
        for tail in read:
            heads[tail].append(v)
    spelt = [parts(name) for name in names]
    root = Module("", range(len(names)))
    waiting = [(root, 0)]
    while waiting:
        module, depth = waiting.pop()
        for inner in _fill(module, depth, spelt, tails, heads):
            waiting.append(inner)
    return root


def _fill(
    module: Module,
    depth: int,
    spelt: Sequence[Sequence[str]],
    tails: Sequence[Sequence[int]],
    heads: Sequence[Sequence[int]],
) -> list[tuple[Module, int]]:
    """Find the members of a module whose names agree in their first ``depth`` parts; return those that are modules."""
    inside = set(module.nodes)
    key: dict[int, Hashable] = {v: (spelt[v][depth], 0) if len(spelt[v]) > depth + 1 else v for v in module.nodes}
    for v, turn in _turns(module.nodes, key, tails, inside).items():
        key[v] = (spelt[v][depth], turn)
    groups: dict[Hashable, list[int]] = {}
    for v in module.nodes:
        groups.setdefault(key[v], []).append(v)
    place = {one: OWN + index for index, one in enumerate(groups)}
    inner: list[tuple[Module, int]] = []
    for nodes in groups.values():
        if len(nodes) == 1:
            module.members.append(nodes[0])
            continue
        level = depth + 1
        shared = [spelt[nodes[0]][depth]]
        while all(len(spelt[v]) > level + 1 for v in nodes) and len({spelt[v][level] for v in nodes}) == 1:
            shared.append(spelt[nodes[0]][level])
            level += 1
        module.members.append(Module("/".join(shared), nodes))
        inner.append((module.members[-1], level))  # type: ignore[arg-type]
    edges: dict[tuple[int, int], None] = {}
    for v in module.nodes:
        here = place[key[v]]
        for tail in tails[v]:
            there = place[key[tail]] if tail in inside else ENTRY
            if there != here:
                edges[there, here] = None
        if any(head not in inside for head in heads[v]):
            edges[here, EXIT] = None
    module.edges = list(edges)
    module.layering = layered(OWN + len(groups), module.edges, framed=True)
    return inner


def _turns(
    nodes: Sequence[int], key: dict[int, Hashable], tails: Sequence[Sequence[int]], inside: set[int]
) -> dict[int, int]:
    """Return how often paths to a node have changed modules on a cycle of modules, for nodes of modules on cycles."""
    quotient: nx.DiGraph[Hashable] = nx.DiGraph()
    for v in nodes:
        quotient.add_edges_from((key[tail], key[v]) for tail in tails[v] if tail in inside and key[tail] != key[v])
    cycle: dict[Hashable, int] = {}
    for number, component in enumerate(nx.strongly_connected_components(quotient)):
        if len(component) > 1:
            cycle |= dict.fromkeys(component, number)
    changes: dict[int, int] = {}
    for v in nodes:
        if key[v] not in cycle:
            continue
        near = [tail for tail in tails[v] if tail in changes and cycle[key[tail]] == cycle[key[v]]]
        changes[v] = max((changes[tail] + (key[tail] != key[v]) for tail in near), default=0)
    return {v: turn for v, turn in changes.items() if isinstance(key[v], tuple)}
