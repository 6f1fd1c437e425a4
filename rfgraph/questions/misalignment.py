"""Findings of merges: branches that do not line up, at all or at some sizes, and the padding that repairs them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import field as declare
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import Any

import networkx as nx

from rfgraph.algebra.residues import InputSizes, named_residues, shortest_period
from rfgraph.algebra.window import Window
from rfgraph.frozen import dataclass
from rfgraph.questions.findings import Finding, Later, named_axes, settled


@dataclass(frozen=True)
class Branch:
    """One of the inputs of a merge, with all that feeds it.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.add("add", x, net.conv("conv", x, kernel=2))
    >>> reference = analyze(net).findings[0].reference
    >>> reference.slot, reference.tail, reference.field.size
    (1, 'conv', 2)
    """

    slot: int
    tail: Hashable
    #: What the merge reads of the source through this branch; on the first of the finding's axes.
    field: Window
    _walk: Callable[[], tuple[Hashable, ...]] = declare(repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return settled(self)

    @cached_property
    def path(self) -> tuple[Hashable, ...]:
        """The nodes from the fork to the merge, both included, along the widest path of the branch."""
        return self._walk()


@dataclass(frozen=True)
class Repair:
    """A change of padding that lines a merge up and keeps every size.

    ``node`` gets ``padding``; where ``before`` names a merge, a new pad node of that name goes between ``node`` and it.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.add("add", x, net.conv("conv", x, kernel=3, padding=[[2, 0]]))
    >>> analyze(net, alignment="center").findings[0].repair
    Repair(node='x', padding=((1, -1),), was=None, before=('add', 0))
    """

    node: Hashable
    padding: tuple[tuple[int, int], ...]
    was: tuple[tuple[int, int], ...] | None
    before: tuple[Hashable, int] | None = None

    def __str__(self) -> str:
        new = _pairs(self.padding)
        if self.before is None:
            return f"change padding of {self.node!r} from {_pairs(self.was or ())} to {new}"
        return f"insert a pad of {new} between {self.node!r} and {self.before[0]!r}"

    def apply(self, graph: nx.DiGraph[Any]) -> nx.DiGraph[Any]:
        """Return a copy of ``graph`` with the change made.

        Parameters
        ----------
        graph
            The network that was analysed.

        Examples
        --------
        >>> import networkx as nx
        >>> graph = nx.DiGraph()
        >>> graph.add_node("conv", op="conv", kernel=3)
        >>> Repair("conv", padding=((1, 1), (1, 1)), was=None).apply(graph).nodes["conv"]["padding"]
        [[1, 1], [1, 1]]
        """
        changed = graph.copy()
        padding = [list(pair) for pair in self.padding]
        if self.before is None:
            changed.nodes[self.node]["padding"] = padding
            return changed
        merge, slot = self.before
        keys = list(changed[self.node][merge]) if changed.is_multigraph() else [None]
        edges = [(key, changed.edges[(self.node, merge) if key is None else (self.node, merge, key)]) for key in keys]
        key, edge = next(((k, e) for k, e in edges if e.get("slot", slot) == slot), edges[0])
        attributes = dict(edge)
        if key is None:
            changed.remove_edge(self.node, merge)
        else:
            changed.remove_edge(self.node, merge, key)
        pad = f"{merge}/pad_{slot}"
        while pad in changed:
            pad += "_"
        changed.add_node(pad, op="pad", padding=padding)
        changed.add_edge(self.node, pad)
        changed.add_edge(pad, merge, **attributes)
        return changed


def _pairs(padding: tuple[tuple[int, int], ...]) -> str:
    return str([list(pair) for pair in padding])


@dataclass(frozen=True)
class Drift:
    """How branches of unequal effective strides drift apart, along the first of the finding's axes.

    ``per_100`` is how many input pixels the branch gains on the reference over 100 input pixels; ``at_border`` is how
    far it then is from it at the last output, for an input of ``input_size``, where that is known.
    """

    per_100: Fraction
    at_border: Fraction | None
    input_size: int | None
    #: The resizes on the way that align corners, and so have no stride that other layers could have.
    align_corners: tuple[Hashable, ...]
    _regions: Callable[[], tuple[int, int] | None] = declare(repr=False, compare=False)

    @cached_property
    def region_sizes(self) -> tuple[int, int] | None:
        """Sizes of the smallest and the largest region that a feature of the merge reads; ``None`` without sizes.

        Branches that drift have no one window, but at each feature what they read is known.
        """
        return self._regions()

    def __str__(self) -> str:
        parts = [f"by {_decimal(self.per_100)} pixels per 100 input pixels"]
        if self.at_border is not None:
            parts.append(f"{_decimal(self.at_border)} at the far border of {self.input_size}")
        if self.region_sizes is not None:
            low, high = self.region_sizes
            parts.append(f"features read {low} to {high} pixels" if low < high else f"each feature reads {low} pixels")
        return "; ".join(parts)


@dataclass(frozen=True)
class Parting:
    """Two branches of a merge: where they part, and how they lie to each other, as ``Misalignment`` tells it."""

    fork: Hashable
    reference: Branch
    branch: Branch
    offset: Fraction
    offset_in_merge: Fraction
    _repair: Callable[[], tuple[Repair | None, str]] = declare(repr=False, compare=False)
    drift: Drift | None = None

    def __getstate__(self) -> dict[str, Any]:
        return settled(self)

    @cached_property
    def repaired(self) -> tuple[Repair | None, str]:
        """The smallest change of padding that lines them up, if there is one, and advice."""
        return self._repair()


@dataclass(frozen=True)
class Misalignment(Finding):
    """Two branches of the merge ``node`` that do not line up.

    Where they part and what would repair it is worked out when it is first read.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.add("add", x, net.conv("conv", x, kernel=2))
    >>> (finding,) = analyze(net).findings
    >>> finding.reference.tail, finding.branch.tail, finding.offset
    ('conv', 'x', Fraction(-1, 2))
    """

    _parting: Later[Parting] = declare(repr=False)
    #: The node in whose positions ``offset`` is, where that is not the source: the grid of a decoder begins there.
    measured_at: Hashable | None = declare(default=None, kw_only=True)

    @property
    def merge(self) -> Hashable:
        """The merge: the finding's node."""
        return self.node

    @property
    def fork(self) -> Hashable:
        """The node where the branches part."""
        return self._parting().fork

    @property
    def reference(self) -> Branch:
        """The branch that the other is held against: the widest one."""
        return self._parting().reference

    @property
    def branch(self) -> Branch:
        """The other branch."""
        return self._parting().branch

    @property
    def offset(self) -> Fraction:
        """How far the centre of ``branch`` lies past that of ``reference``, in pixels of the source.

        It is 0 for unequal strides: they have no one offset.
        """
        return self._parting().offset

    @property
    def offset_in_merge(self) -> Fraction:
        """The same in positions of the merge's own map."""
        return self._parting().offset_in_merge

    @property
    def drift(self) -> Drift | None:
        """How unequal strides drift apart; of RF001 only."""
        return self._parting().drift

    @property
    def repair(self) -> Repair | None:
        """The smallest change of padding that makes the finding go away, ``None`` if there is none."""
        return self._parting().repaired[0]

    @property
    def advice(self) -> str:
        """The repair in words, or why padding does not help."""
        return self._parting().repaired[1]

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        branches = f"{self.branch.tail!r} against {self.reference.tail!r}, parting at {self.fork!r}"
        where = f"merge {self.merge!r}, {named_axes(self.axes)}: "
        if self.rule == "RF001":
            strides = f"{self.branch.field.stride} and {self.reference.field.stride}"
            drift = f", {self.drift}" if self.drift else ""
            return f"{where}branches of effective strides {strides} drift apart{drift} ({branches})"
        if self.rule == "RF003" and self.offset:
            return f"{where}branches read blocks: what one reads at one output, the other reads at others ({branches})"
        if self.rule == "RF003":
            return f"{where}centres agree on average but not at each output phase ({branches})"
        pixels = "input pixels" if self.measured_at is None else f"positions of {self.measured_at!r}"
        by = f"{_signed(self.offset)} {pixels}, {_signed(self.offset_in_merge)} of the merge's own"
        if self.rule == "RF004":
            return f"{where}branches end at the same index, with centres {by} apart: causal ({branches})"
        return f"{where}centres are off by {by} ({branches})"


@dataclass(frozen=True)
class SizeDependent(Finding):
    """Branches of the merge ``node`` that line up at some input sizes only.

    They do where ``n mod modulus`` is one of ``residues``, for every input size ``n >= smallest`` at which the network
    works; ``offset`` is the largest that is met elsewhere, in pixels of the source.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> same = net.conv("same", x, kernel=3, stride=2, padding="same")
    >>> out = net.add("add", same, net.conv("fixed", x, kernel=3, stride=2, padding=1))
    >>> (finding,) = analyze(net).findings
    >>> finding.modulus, finding.residues
    (2, (1,))
    """

    fork: Hashable
    reference: Hashable
    branch: Hashable
    offset: Fraction
    modulus: int
    residues: tuple[int, ...]
    _smallest: Later[int] = declare(repr=False)

    @property
    def smallest(self) -> int:
        """The input size from which on that holds; worked out when it is first read."""
        return self._smallest()

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        when = f"lines up iff {named_residues(self.modulus, self.residues)}" if self.residues else "never lines up"
        by = f"centres are up to {abs(self.offset)} input pixels off" if self.offset else "strides differ"
        there = "; else " if self.residues else ": "
        return (
            f"merge {self.node!r}, {named_axes(self.axes)}: {when}, for input sizes n from {self.smallest}{there}{by} "
            f"({self.branch!r} against {self.reference!r}, parting at {self.fork!r})"
        )

    @property
    def advice(self) -> str:
        """What to do about it."""
        choose = f"choose input sizes with {named_residues(self.modulus, self.residues)}, or " if self.residues else ""
        return f"{choose}write out the padding of the layers with 'same' before it"


def common_residues(findings: Sequence[SizeDependent]) -> tuple[int, tuple[int, ...]]:
    """Return the modulus and the residues of the input sizes at which none of ``findings`` holds."""
    modulus = lcm(*(finding.modulus for finding in findings))
    fits = [all(n % f.modulus in f.residues for f in findings) for n in range(modulus)]
    period = shortest_period(fits)
    return period, tuple(residue for residue in range(period) if fits[residue])


def common_sizes(axis: str, findings: Sequence[SizeDependent]) -> InputSizes | None:
    """Return the input sizes at which none of ``findings`` holds, ``None`` if there are no findings."""
    if not findings:
        return None
    return InputSizes(axis, *common_residues(findings), max(finding.smallest for finding in findings))


def _decimal(number: Fraction) -> str:
    """Return a number to three digits, marked where that is not all of it."""
    rounded = f"{float(number):+.3g}"
    return rounded if Fraction(rounded) == number else f"about {rounded}"


def _signed(number: Fraction) -> str:
    return f"{'+' if number > 0 else ''}{number}"
