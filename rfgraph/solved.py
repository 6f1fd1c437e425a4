"""Networks solved: one protocol for what an engine found, and the choice of the engine."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import networkx as nx

from rfgraph.algebra.alignment import Mode
from rfgraph.algebra.residues import BySize
from rfgraph.algebra.window import EMPTY, FULL, Window
from rfgraph.fast.affine_walk import walked
from rfgraph.fast.plain import Plain
from rfgraph.frozen import dataclass
from rfgraph.graph.network import BatchNorm, OrderedNetwork
from rfgraph.graph.sizes import InputSize
from rfgraph.graph.treatments import Treat
from rfgraph.ops import Size
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import Compiled, compile_graph, compile_sized
from rfgraph.passes.results import Extremes, Fields
from rfgraph.questions import productivity
from rfgraph.questions.alignment import find, find_by_residue, find_plain, plain_verdicts
from rfgraph.questions.findings import Finding, Later
from rfgraph.questions.forks import Branches

if TYPE_CHECKING:
    from rfgraph.fast.numbers import Numbers
    from rfgraph.passes.by_size import SolutionBySize


@dataclass(frozen=True)
class Engine:
    """What solved a network: the ``walk`` over plain ones, or the general ``passes``; and why."""

    name: Literal["walk", "passes"]
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


class Seen(NamedTuple):
    """What an engine found of one node, one entry per axis."""

    op: str
    map_size: tuple[Size, ...]
    field: tuple[Window, ...]
    is_global: tuple[bool, ...]
    by_size: tuple[BySize | None, ...]
    beyond: tuple[Window, ...]  # what is read on to an end of the axis, besides or instead


class Solved(Protocol):
    """A solved network: what a report asks for, whatever engine solved it."""

    engine: Engine

    @property
    def name(self) -> str:
        """Name of the network."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of its spatial axes."""

    @property
    def nodes(self) -> Sequence[Hashable]:
        """Its nodes, in topological order."""

    @property
    def known(self) -> Collection[Hashable]:
        """Its nodes, to be looked up."""

    @property
    def source(self) -> Hashable:
        """The node in whose indices fields are given."""

    @property
    def source_id(self) -> int:
        """Its id."""

    @property
    def layers(self) -> OrderedNetwork:
        """The network, checked."""

    @property
    def sizes(self) -> list[tuple[Size, ...]]:
        """The size of every node's map on every axis, [V][A]."""

    @property
    def general(self) -> General:
        """The same network for questions that need the general passes; they run when they are first asked."""

    @property
    def has_global(self) -> bool:
        """Whether some node reads a whole axis."""

    @property
    def collapses(self) -> bool:
        """Whether some op leaves one position of a map, behind which another grid may begin."""

    @property
    def has_no_holes(self) -> bool:
        """Whether it is sure that every position inside every field is read."""

    @property
    def reads_all(self) -> bool:
        """Whether it is sure that no position of the source is unread."""

    def seen(self, node: Hashable) -> Seen:
        """Return what is found of a node."""

    def misaligned(self, modes: Sequence[Mode]) -> list[Finding]:
        """Return what does not line up, merge by merge."""

    def aligned(self, modes: Sequence[Mode]) -> bool | None:
        """Return whether all merges line up, ``None`` if the findings have to tell."""

    def may_be_global(self, nodes: Collection[Hashable]) -> bool:
        """Return whether one of ``nodes`` may read a whole axis."""

    def may_add_nothing(self) -> bool:
        """Return whether some convolution may add no context, as the fields of all paths to it exceed the image."""

    def extremes(self) -> list[Extremes]:
        """Return the smallest and largest fields of the paths to every node, one entry per axis."""

    def numbers(self) -> Numbers:
        """Return size, stride and padding of all fields as arrays."""


class General:
    """A network solved by the general passes, each of which runs when it is first asked.

    Parameters
    ----------
    compiled
        The network.
    source
        Name of the node to measure from, ``None`` for the only input.
    why
        Why no faster engine solved it.

    Raises
    ------
    EndpointError
        If no source is named and there are several inputs.
    UnknownNodeError
        If there is no node of that name.
    """

    def __init__(self, compiled: Compiled, source: Hashable | None, why: str) -> None:
        self.compiled = compiled
        self.engine = Engine("passes", why)
        self.source_id = compiled.layers.source(source)

    @property
    def name(self) -> str:
        return self.layers.name

    @property
    def axes(self) -> tuple[str, ...]:
        return self.layers.axes

    @property
    def nodes(self) -> Sequence[Hashable]:
        return self.layers.nodes

    @property
    def known(self) -> Collection[Hashable]:
        return self.layers.ids

    @property
    def source(self) -> Hashable:
        return self.layers.nodes[self.source_id]

    @property
    def layers(self) -> OrderedNetwork:
        return self.compiled.layers

    @property
    def sizes(self) -> list[tuple[Size, ...]]:
        return self.compiled.sizes

    @property
    def general(self) -> General:
        """Itself."""
        return self

    @property
    def collapses(self) -> bool:
        """Whether some op leaves one position of a map."""
        return any(all(op.collapses for op in ops) for ops in self.layers.distinct.values())

    @cached_property
    def has_global(self) -> bool:
        return any(any(axis.is_global) for axis in self.fields)

    @property
    def has_no_holes(self) -> bool:
        """Whether it is sure that every position inside every field is read: it is not."""
        return False

    @property
    def reads_all(self) -> bool:
        """Whether it is sure that no position of the source is unread: it is not."""
        return False

    @cached_property
    def fields(self) -> list[Fields]:
        """The forward fields of every axis."""
        return self.compiled.per_axis(lambda axis: engine.forward(self.compiled, axis, self.source_id))

    @cached_property
    def solutions(self) -> list[SolutionBySize | None]:
        """Fields by residue of the input size, for axes on which no size is given and it decides."""
        if not any(field.kind == "unknown" for fields in self.fields for field in fields.local):
            return [None] * len(self.axes)
        from rfgraph.passes.by_size import solve  # numpy is imported when it is first needed

        source = self.source_id
        return self.compiled.per_axis(lambda axis: solve(self.compiled, axis, source, self.fields[axis]))

    def seen(self, node: Hashable) -> Seen:
        v = self.layers.id_of(node)
        field = tuple(axis.field(v) for axis in self.fields)
        by_size: tuple[BySize | None, ...] = ()
        if any(window.kind == "unknown" for window in field):
            solutions = self.solutions
            field = tuple(f if s is None else s.window(v, f) for s, f in zip(solutions, field, strict=True))
            by_size = tuple(None if s is None else s.by_size(v) for s in solutions)
        is_global = tuple(axis.is_global[v] for axis in self.fields)
        beyond = tuple(axis.beyond[v] for axis in self.fields)
        return Seen(self.layers.kinds[v], self.compiled.sizes[v], field, is_global, by_size, beyond)

    def misaligned(self, modes: Sequence[Mode], merges: Iterable[int] | None = None) -> list[Finding]:
        """Return what does not line up, merge by merge; of ``merges`` alone where all others are known to."""
        return find(self.compiled, self.fields, self.source_id, modes, self.solutions, merges)

    def aligned(self, modes: Sequence[Mode]) -> bool | None:
        """Return whether all merges line up: the findings have to tell."""
        return None

    def may_be_global(self, nodes: Collection[Hashable]) -> bool:
        ids = [self.layers.id_of(node) for node in nodes]
        return any(fields.is_global[v] for fields in self.fields for v in ids)

    def may_add_nothing(self) -> bool:
        return productivity.may_exceed(self.compiled, self.fields, self.source_id)

    def extremes(self) -> list[Extremes]:
        from rfgraph.questions import paths

        return self.compiled.per_axis(lambda axis: paths.extremes(self.compiled, axis, self.source_id))

    def numbers(self) -> Numbers:
        from rfgraph.fast.field_arrays import of_fields  # numpy is imported when it is first needed

        return of_fields(tuple(self.nodes), self.axes, self.fields)


class Walked:
    """A plain network, solved by the walk; what that does not tell is left to the general passes."""

    def __init__(self, plain: Plain) -> None:
        self.plain = plain
        self.engine = Engine("walk", "each op reads one interval per output, or the whole axis")

    @property
    def name(self) -> str:
        return self.plain.name

    @property
    def axes(self) -> tuple[str, ...]:
        return self.plain.axes

    @property
    def nodes(self) -> Sequence[Hashable]:
        return self.plain.nodes

    @property
    def known(self) -> Collection[Hashable]:
        return self.plain.states

    @property
    def source(self) -> Hashable:
        """The input."""
        return self.plain.source

    @property
    def source_id(self) -> int:
        """Its id: it comes first."""
        return 0

    @cached_property
    def layers(self) -> OrderedNetwork:
        return self.plain.layers()

    @cached_property
    def sizes(self) -> list[tuple[Size, ...]]:
        return self.plain.sizes()

    @cached_property
    def general(self) -> General:
        """The same network for the general passes."""
        compiled = compile_sized(self.layers, self.sizes)
        return General(compiled, self.plain.source, "the question needs them")

    @property
    def has_global(self) -> bool:
        return self.plain.has_global

    @property
    def collapses(self) -> bool:
        """Whether some op leaves one position of a map."""
        return self.plain.collapses

    @property
    def has_no_holes(self) -> bool:
        """Whether every position inside every field is read."""
        return self.plain.has_no_holes

    @property
    def reads_all(self) -> bool:
        """Whether it is sure that no position of the input is unread."""
        return self.plain.reads_all

    def seen(self, node: Hashable) -> Seen:
        if self.plain.by_residue or not self.plain.has_no_holes:
            return self.general.seen(node)
        map_size, is_global = self.plain.map_size(node), self.plain.is_global(node)
        if any(is_global) and not self.plain.gets_to_ends:  # what reads a whole map may not read the whole axis
            return self.general.seen(node)
        beyond = tuple(FULL if whole else EMPTY for whole in is_global)
        return Seen(self.plain.kind(node), map_size, self.plain.field(node), is_global, (), beyond)

    def misaligned(self, modes: Sequence[Mode]) -> list[Finding]:
        if "causal" in modes:
            return self.general.misaligned(modes)
        if not self.plain.misaligned:
            return []
        findings = self._by_residue(modes) if self.plain.by_residue and not self.plain.takes_rows else None
        if findings is not None:
            return findings
        if self.plain.by_residue or not self.plain.has_no_holes or self.plain.takes_rows:
            return self.general.misaligned(modes, [self.layers.ids[merge] for merge in self.plain.misaligned])
        return find_plain(self.plain, modes, lambda: self._branches)

    def _by_residue(self, modes: Sequence[Mode]) -> list[Finding] | None:
        """Return what does not line up where the input size decides, ``None`` if the general passes have to tell."""

        def smallest() -> int:
            from rfgraph.passes.size_rule import size_rule  # numpy is imported when it is first needed

            return size_rule(self.layers, 0).smallest

        return find_by_residue(self.plain, modes, lambda: self._branches, Later(smallest))

    @cached_property
    def _branches(self) -> Branches:
        solutions = self.general.solutions if self.plain.by_residue else ()
        return Branches(self.general.compiled, self.general.fields, self.general.source_id, solutions)

    def aligned(self, modes: Sequence[Mode]) -> bool | None:
        """Return whether all merges line up."""
        if "causal" in modes:
            return None
        if not self.plain.misaligned:
            return True
        if self.plain.takes_rows or self.plain.by_residue:
            return None
        if self.plain.is_surely_off(modes):
            return False
        verdicts = plain_verdicts(self.plain, modes, lambda: self._branches)
        if any(verdict == "off" for _, _, verdict in verdicts):
            return False
        return True if self.plain.has_no_holes else None

    def may_be_global(self, nodes: Collection[Hashable]) -> bool:
        """Return whether one of ``nodes`` reads a whole axis."""
        return any(any(self.plain.is_global(node)) for node in nodes)

    def may_add_nothing(self) -> bool:
        return self.plain.may_add_nothing()

    def extremes(self) -> list[Extremes]:
        return (None if self.plain.by_residue else self.plain.extremes()) or self.general.extremes()

    def numbers(self) -> Numbers:
        return self.general.numbers() if self.plain.by_residue else self.plain.numbers()


def solve(
    graph: nx.DiGraph[Any],
    input_size: InputSize = None,
    source: Hashable | None = None,
    treat: Treat | None = None,
    batch_norm: BatchNorm = "inference",
) -> Solved:
    """Return a solved network, by the fastest engine that can.

    ========  =================================================  ===============================================
    engine    when                                               why it is right
    ========  =================================================  ===============================================
    walk      one input; each op reads one interval per output,  a field is a shape and two ends, which add up
              or the whole axis; sizes meet as they should       (head of ``rfgraph.fast.affine_walk``); held
                                                                 against the passes by a property test
    passes    always: bounds, several inputs, a source of one's  the window algebra, op by op
              own, ``treat``, batch statistics, sizes by name,
              unknown ops; without a size, padding that comes
              round again only after many pixels, and maps that
              fit at some sizes only
    ========  =================================================  ===============================================
    """
    plain: Plain | None = None
    if treat:
        why = "treat says what some nodes read"
    elif batch_norm != "inference":
        why = "batch normalisation is taken as in training"
    else:
        plain, why = walked(graph, source, input_size)
    if plain is not None:
        return Walked(plain)
    return General(compile_graph(graph, input_size, treat, batch_norm), source, why)
