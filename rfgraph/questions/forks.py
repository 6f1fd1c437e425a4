"""Where branches part: the part of a network that carries local fields, its dominators, and what is read of them.

The fork of two branches is their nearest common dominator: the last node through which every path to either passes.
What a branch reads of its fork is told by windows that the dominator tree carries, composed along its jump pointers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property, reduce
from typing import TYPE_CHECKING

from rfgraph.algebra.alignment import seen_from
from rfgraph.algebra.window import EMPTY, IDENTITY, Window, composed
from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.dominators import DominatorTree
from rfgraph.passes.fold import fold
from rfgraph.passes.results import Fields
from rfgraph.passes.rows import IsRow

if TYPE_CHECKING:  # numpy is imported where it is needed
    from rfgraph.passes.by_size import Field, SolutionBySize


@dataclass(frozen=True)
class Branches:
    """The part of a network that carries local fields: branches, forks and paths are looked up in it."""

    compiled: Compiled
    fields: Sequence[Fields]
    source: int
    #: Fields by residue of the input size of every axis, where they are solved.
    solutions: Sequence[SolutionBySize | None] = ()

    @cached_property
    def _rows(self) -> dict[int, dict[int, bool]]:
        return {}

    def compares(self, v: int, axis: int) -> bool:
        """Return whether ``v`` reads several maps at the same position, so that they have to line up.

        A map of one row that was taken out of another has no such grid.
        """
        layers = self.compiled.layers
        if len(layers.tails[v]) < 2 or not layers.ops[v][axis].compares:
            return False
        if axis not in self._rows:
            takes = any(op[axis].takes_one for op in layers.ops)
            self._rows[axis] = fold(layers, self.source, IsRow(self.compiled, axis)) if takes else {}
        return not self._rows[axis].get(v, False)

    def live(self, v: int, axis: int) -> list[tuple[int, int, Window]]:
        """Return slot, tail and field of each input of ``v`` that carries a local field."""
        local = self.fields[axis].local
        sides = []
        for slot, (tail, read) in enumerate(
            zip(self.compiled.layers.tails[v], self.compiled.reads[axis][v], strict=True)
        ):
            if not read.is_unbounded and local[tail].kind != "empty":
                field = read.through(local[tail])
                if field.kind != "empty":
                    sides.append((slot, tail, field))
        return sides

    def solution(self, axis: int) -> SolutionBySize | None:
        """Return the fields by residue of the input size along ``axis``, if they are solved."""
        return self.solutions[axis] if self.solutions else None

    def cases(self, merge: int, axis: int) -> list[Case]:
        """Return the cases in which what ``merge`` reads is known: one, or one for each residue of the input size."""
        solution = self.solution(axis)
        if solution is None or all(field.kind != "unknown" for _, _, field in self.live(merge, axis)):
            return [Case(self, axis)]
        return [Case(self, axis, solution, residue) for residue, valid in enumerate(solution.valid) if valid]

    def solved(self, v: int, axis: int, solution: SolutionBySize) -> list[tuple[int, Field]]:
        """Return slot and field by residue of each input of ``v`` that carries a local field and is solved."""
        reads = self.compiled.reads[axis][v]
        sides = [(slot, solution.side(v, slot)) for slot in range(len(reads)) if not reads[slot].is_unbounded]
        return [(slot, field) for slot, field in sides if not isinstance(field, Window) or field.kind == "local"]

    @cached_property
    def _trees(self) -> dict[int, Dominators]:
        return {}

    def tree(self, axis: int) -> Dominators:
        """Return the dominator tree along ``axis``, grown when it is first asked for."""
        if axis not in self._trees:
            tree = Dominators(len(self.compiled.layers.nodes), self.source)
            reads = self.compiled.reads[axis]
            for v in range(self.source + 1, len(self.compiled.layers.nodes)):
                tree.add(v, [(tail, reads[v][slot]) for slot, tail, _ in self.live(v, axis)])
            self._trees[axis] = tree
        return self._trees[axis]

    def fork(self, merge: int, one: int, other: int, axis: int) -> int:
        """Return the node where the branches that enter ``merge`` at slots ``one`` and ``other`` part."""
        tails = self.compiled.layers.tails[merge]
        return self.tree(axis).meet(tails[one], tails[other])

    def from_fork(self, merge: int, slot: int, fork: int, axis: int) -> Window:
        """Return what ``merge`` reads of ``fork`` through ``slot``."""
        tail = self.compiled.layers.tails[merge][slot]
        return self.compiled.reads[axis][merge][slot].through(self.tree(axis).window(tail, fork))

    def path(self, merge: int, slot: int, fork: int, axis: int) -> tuple[Hashable, ...]:
        """Return the widest path from ``fork`` to ``merge`` that enters it at ``slot``."""
        nodes = self.compiled.layers.nodes
        walk, v = [nodes[merge]], self.compiled.layers.tails[merge][slot]
        while v != fork:
            walk.append(nodes[v])
            v = max(self.live(v, axis), key=lambda side: (side[2].size if side[2].kind == "local" else 0, -side[0]))[1]
        walk.append(nodes[fork])
        return tuple(reversed(walk))

    def between(self, merge: int, slot: int, fork: int) -> list[int]:
        """Return all nodes on the way from ``fork`` to ``merge`` through ``slot``, without these two."""
        tail = self.compiled.layers.tails[merge][slot]
        return [v for v in self.compiled.between([tail], fork) if v != fork]


@dataclass(frozen=True)
class Case:
    """What is known along one axis, at one residue of the input size if it decides."""

    graph: Branches
    axis: int
    solution: SolutionBySize | None = None
    residue: int = 0

    def field(self, v: int) -> Window:
        """Return what node ``v`` reads of the source."""
        if self.solution is None:
            return self.graph.fields[self.axis].local[v]
        return at_residue(self.solution.fields[v], self.residue)

    def read(self, v: int, slot: int) -> Window:
        """Return what node ``v`` reads of its input in ``slot``."""
        if self.solution is None:
            return self.graph.compiled.reads[self.axis][v][slot]
        variants = self.solution.variants(v, slot)
        return next(window for at, window in variants if isinstance(at, slice) or self.residue in at)

    def from_fork(self, fork: int, merge: int, slot: int, branch: Window) -> Window:
        """Return what ``merge`` reads of ``fork`` through ``slot``, of which it reads ``branch`` of the source."""
        window = self.graph.from_fork(merge, slot, fork, self.axis)
        return window if window.is_local else seen_from(self.field(fork), branch) or window


def at_residue(field: Field, residue: int) -> Window:
    """Return the window of a field at one residue of the input size."""
    return field if isinstance(field, Window) else field.window(residue)


class Dominators(DominatorTree):
    """A dominator tree whose nodes carry what they read of their parent and of the node that they jump to."""

    def __init__(self, nodes: int, root: int) -> None:
        super().__init__(nodes, root)
        self.of_parent = [IDENTITY] * nodes
        self.of_jump = [IDENTITY] * nodes

    def add(self, v: int, reads: Sequence[tuple[int, Window]]) -> None:
        """Hang ``v``, which reads of each tail by a window, under the nearest node that every path to it passes."""
        if not reads:
            return
        jumps_on = self.hang(v, [tail for tail, _ in reads])
        above = self.parent[v]
        self.of_parent[v] = reduce(Window.hull, [read.through(self.window(tail, above)) for tail, read in reads], EMPTY)
        self.of_jump[v] = self.of_parent[v]
        if jumps_on:
            self.of_jump[v] = composed([self.of_parent[v], self.of_jump[above], self.of_jump[self.jump[above]]])

    def window(self, v: int, above: int) -> Window:
        """Return what ``v`` reads of ``above``, which dominates it.

        It is composed from the top wherever that is exact and composing by jumps is not.
        """
        windows, u = [], v
        while u != above:
            if self.depth[self.jump[u]] >= self.depth[above]:
                windows.append(self.of_jump[u])
                u = self.jump[u]
            else:
                windows.append(self.of_parent[u])
                u = self.parent[u]
        window = composed(windows)
        if window.is_local and not window.exact:
            windows, u = [], v
            while u != above:
                windows.append(self.of_parent[u])
                u = self.parent[u]
            window = composed(windows)
        return window
