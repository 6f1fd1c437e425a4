"""Two networks side by side: versions of one, or one in two formats, and what each layer sees in both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from math import lcm
from typing import Any

from rfgraph.algebra.residues import BySize
from rfgraph.algebra.window import Number, Window
from rfgraph.analysis import Model, analyze
from rfgraph.errors import EndpointError
from rfgraph.frozen import dataclass
from rfgraph.graph.costs import Total
from rfgraph.graph.network import BatchNorm
from rfgraph.graph.sizes import InputSize
from rfgraph.graph.treatments import Treat
from rfgraph.questions.findings import Finding
from rfgraph.questions.layers import Layer
from rfgraph.questions.matching import By, Side, match
from rfgraph.questions.records import Field, fields_of
from rfgraph.report import Report

#: Fields that depend on the input size are held against each other at as many residues of it at the most.
MAX_RESIDUES = 1 << 12

#: Least and greatest difference, ``None`` where there is no number for it.
Ends = tuple[Number, Number] | None

#: Numbers of a field that are compared, and the attributes of ``Window`` that hold them.
NUMBERS = {"r": "size", "S": "stride", "P": "padding", "shift": "center"}


@dataclass(frozen=True)
class LayerDiff:
    """One layer of two networks.

    Examples
    --------
    >>> from rfgraph import Network, diff
    >>> same, torch = Network("same", axes=1), Network("torch", axes=1)
    >>> _ = same.conv("conv", same.input("x"), kernel=3, stride=2, padding="same")
    >>> _ = torch.conv("conv", torch.input("x"), kernel=3, stride=2, padding=1)
    >>> layer = diff(same, torch, input_size=224)["conv"]
    >>> layer.shift, sorted(layer.changed), layer.differs(), layer.differs(tolerate=1)
    (((-1, -1),), ['P', 'shift'], True, False)
    """

    a: Layer
    b: Layer
    by: By

    @property
    def n(self) -> tuple[Ends, ...]:
        """How much larger the map of ``b`` is, per axis: least and most, ``None`` where one of the two is not known."""
        pairs = zip(self.a.map_size, self.b.map_size, strict=True)
        return tuple(
            (0, 0) if one == two else None if one is None or two is None else (two - one, two - one)
            for one, two in pairs
        )

    @property
    def shift(self) -> tuple[Ends, ...]:
        """How far centres of ``b`` lie past those of ``a``, in input pixels per axis: least and most over input sizes.

        ``None`` where one of the two has no centre.
        """
        return self.differences["shift"]

    @cached_property
    def differences(self) -> dict[str, tuple[Ends, ...]]:
        """How much larger ``r``, ``S``, ``P`` and the centre (``shift``) are in ``b``, as for ``shift``."""
        axes = [
            [(0, 0)] * len(NUMBERS) if one == two else _differences(one, two)
            for one, two in zip(fields_of(self.a), fields_of(self.b), strict=True)
        ]
        return {name: tuple(axis[i] for axis in axes) for i, name in enumerate(NUMBERS)}

    @cached_property
    def changed(self) -> frozenset[str]:
        """Which numbers differ: of ``n``, ``r``, ``S``, ``P``, ``shift``, and ``reads`` where something else does.

        That is a whole axis that is read in one of the two only, or what single output phases read.
        """
        return frozenset(self._above(0))

    def differs(self, tolerate: Number = 0) -> bool:
        """Return whether the two differ by more than ``tolerate`` pixels, or in what is no number of pixels.

        Parameters
        ----------
        tolerate
            Pixels by which n, r, P and centres may differ.

        Examples
        --------
        >>> from rfgraph import Network, diff
        >>> old, new = Network("old", axes=1), Network("new", axes=1)
        >>> _ = old.conv("a", old.input("x"), kernel=3)
        >>> _ = new.conv("a", new.input("x"), kernel=5)
        >>> diff(old, new)["a"].differs(), diff(old, new)["a"].differs(tolerate=2)
        (True, False)
        """
        return any(True for _ in self._above(tolerate))

    def _above(self, tolerate: Number) -> Iterator[str]:
        numbers: dict[str, tuple[Ends, ...]] = {"n": self.n, **self.differences}
        for name, axes in numbers.items():
            most = 0 if name == "S" else tolerate
            if any(ends is None or ends[0] < -most or ends[1] > most for ends in axes):
                yield name
        if (self.a.is_global, self.a.side) != (self.b.is_global, self.b.side):
            yield "reads"
        elif not any(ends != (0, 0) for axes in self.differences.values() for ends in axes):
            same = (_alike(one, two) for one, two in zip(fields_of(self.a), fields_of(self.b), strict=True))
            if not all(same):
                yield "reads"


def _pairs(one: Field, two: Field) -> list[tuple[Window, Window]] | None:
    """Return the windows of two fields at all input sizes, ``None`` if there are too many to tell."""
    tables = [field for field in (one, two) if isinstance(field, BySize)]
    modulus = lcm(*(table.modulus for table in tables))
    if modulus > MAX_RESIDUES:
        return None
    sides = [field.windows if isinstance(field, BySize) else (field,) for field in (one, two)]
    return [(sides[0][n % len(sides[0])], sides[1][n % len(sides[1])]) for n in range(modulus)]


def _differences(one: Field, two: Field) -> list[Ends]:
    """Return least and greatest difference of each of ``NUMBERS``, ``None`` where one of the two has no number."""
    pairs = _pairs(one, two)
    if pairs is None or any(a.is_local != b.is_local for a, b in pairs):
        return [None] * len(NUMBERS)
    local = [(a, b) for a, b in pairs if a.is_local]
    ends: list[Ends] = []
    for attribute in NUMBERS.values():
        steps = [getattr(b, attribute) - getattr(a, attribute) for a, b in local] or [0]
        ends.append((min(steps), max(steps)))
    return ends


def _alike(one: Field, two: Field) -> bool:
    """Return whether two fields read the same, whatever the reasons are why that is not exact."""
    if one == two:
        return True
    pairs = _pairs(one, two)
    return pairs is not None and all(
        (a.kind, a.intervals, a.step, a.status) == (b.kind, b.intervals, b.step, b.status) for a, b in pairs
    )


@dataclass(frozen=True)
class Diff:
    """Two networks, layer by layer: a mapping from a layer's name in ``b``. ``rfgraph.diff`` makes it.

    Examples
    --------
    >>> from rfgraph import Network, diff
    >>> old, new = Network("old", axes=1), Network("new", axes=1)
    >>> _ = old.conv("a", old.input("x"), kernel=3)
    >>> _ = new.conv("a", new.input("x"), kernel=5)
    >>> found = diff(old, new)
    >>> [layer.b.name for layer in found.differing()], [layer.b.name for layer in found.differing(tolerate=2)]
    (['a'], [])
    """

    a: Report
    b: Report
    #: The layers that both have, in the order of ``b``.
    layers: tuple[LayerDiff, ...]
    #: The layers that only one of them has; where names are no help, such as hand on what they read are left out.
    only_a: tuple[Hashable, ...]
    only_b: tuple[Hashable, ...]
    #: Findings that only ``b`` has, and those that only ``a`` has.
    new: tuple[Finding, ...]
    mended: tuple[Finding, ...]
    #: The outputs that only one of them has.
    outputs_a: tuple[Hashable, ...]
    outputs_b: tuple[Hashable, ...]

    def __getitem__(self, node: Hashable) -> LayerDiff:
        return self._by_name[node]

    @cached_property
    def _by_name(self) -> dict[Hashable, LayerDiff]:
        return {layer.b.name: layer for layer in self.layers}

    @property
    def parameters(self) -> tuple[Total, Total]:
        """Learned numbers of both."""
        return self.a.parameters, self.b.parameters

    def differing(self, tolerate: Number = 0) -> tuple[LayerDiff, ...]:
        """Return the layers that differ by more than ``tolerate`` pixels, or in what is no number of pixels.

        Parameters
        ----------
        tolerate
            As for ``LayerDiff.differs``.

        Examples
        --------
        >>> from rfgraph import Network, diff
        >>> old, new = Network("old", axes=1), Network("new", axes=1)
        >>> _ = old.conv("a", old.input("x"), kernel=3)
        >>> _ = new.conv("a", new.input("x"), kernel=5)
        >>> [layer.b.name for layer in diff(old, new).differing()]
        ['a']
        """
        return tuple(layer for layer in self.layers if layer.differs(tolerate))

    def differs(self, tolerate: Number = 0) -> bool:
        """Return whether anything differs: layers by more than ``tolerate`` pixels, and all else at all.

        Parameters
        ----------
        tolerate
            As for ``LayerDiff.differs``.

        Examples
        --------
        >>> from rfgraph import Network, diff
        >>> net = Network("net", axes=1)
        >>> _ = net.conv("a", net.input("x"), kernel=3)
        >>> diff(net, net).differs()
        False
        """
        one, two = self.parameters
        lists = (self.only_a, self.only_b, self.new, self.mended, self.outputs_a, self.outputs_b)
        costs = (one.count, one.complete) != (two.count, two.complete)
        return costs or any(lists) or any(layer.differs(tolerate) for layer in self.layers)


def diff(
    a: Model,
    b: Model,
    input_size: InputSize = None,
    treat: Treat | None = None,
    alignment: str | Sequence[str] = "auto",
    batch_norm: BatchNorm = "inference",
    **options: Any,
) -> Diff:
    """Return how two networks differ in what their layers see: two versions, or one network in two formats.

    Layers are matched by name where the networks share half of their names, else by place in the graph.

    Parameters
    ----------
    a, b
        Models as for ``analyze``, or reports.
    input_size, treat, alignment, batch_norm, options
        As for ``analyze``, for both.

    Raises
    ------
    EndpointError
        If they have not as many spatial axes.
    RFGraphError
        If one of them cannot be read.

    Examples
    --------
    >>> from rfgraph import Network, diff
    >>> old, new = Network("old", axes=1), Network("new", axes=1)
    >>> _ = old.conv("b", old.conv("a", old.input("x"), kernel=3), kernel=3)
    >>> _ = new.conv("b", new.conv("a", new.input("x"), kernel=5), kernel=3)
    >>> [(layer.b.name, layer.a.size, layer.b.size) for layer in diff(old, new).differing()]
    [('a', (3,), (5,)), ('b', (5,), (7,))]
    """
    reports = [
        model if isinstance(model, Report) else analyze(
            model, input_size, treat=treat, alignment=alignment, batch_norm=batch_norm, **options
        )
        for model in (a, b)
    ]  # fmt: skip
    return compared(*reports)


def compared(a: Report, b: Report) -> Diff:
    """Return how two reports differ, as ``diff`` does."""
    if len(a.axes) != len(b.axes):
        raise EndpointError(
            f"{a.name!r} has axes {', '.join(a.axes)}, and {b.name!r} {', '.join(b.axes)}: "
            "only networks with as many axes can be compared"
        )
    sides = [_side(report) for report in (a, b)]
    matched = match(*sides)
    by_name = any(by == "name" for _, by in matched.values())
    one, two = (side.layers.nodes for side in sides)
    layers = tuple(LayerDiff(a[one[u]], b[two[v]], by) for v, (u, by) in matched.items())
    here = {one[u]: two[v] for v, (u, _) in matched.items()}
    there = set(here.values())

    def alone(side: Side, known: Any) -> tuple[Hashable, ...]:
        nodes = side.layers.nodes
        told = range(len(nodes)) if by_name else [v for v, u in enumerate(side.landmark_of) if u == v]
        return tuple(nodes[v] for v in told if nodes[v] not in known)

    mended, new = _findings(sides, matched, a, b)
    landmarks = [{side.layers.nodes[side.landmark_of[v]] for v in side.outputs} for side in sides]
    ends = {here.get(node, node) for node in landmarks[0]}
    return Diff(
        a,
        b,
        layers,
        alone(sides[0], here),
        alone(sides[1], there),
        tuple(new),
        tuple(mended),
        tuple(node for node in sorted(landmarks[0], key=a._layers.id_of) if here.get(node) not in landmarks[1]),
        tuple(node for node in sorted(landmarks[1], key=b._layers.id_of) if node not in ends),
    )


def _side(report: Report) -> Side:
    costs = report.costs
    return Side(report._compiled, report._ends, lambda node: costs[node].channels)


def _findings(sides: Sequence[Side], matched: Mapping[int, tuple[int, By]], *reports: Report) -> list[list[Finding]]:
    """Return the findings that only ``a`` has, and those that only ``b`` has.

    A finding at a node that only hands on a map, and is not matched, is that of the landmark whose map it is.
    """
    here, there = {u: v for v, (u, _) in matched.items()}, {v: v for v in matched}

    def place(side: int, node: Hashable) -> Hashable:
        layers = sides[side].layers
        v = layers.id_of(node)
        known = there if side else here
        mark = sides[side].landmark_of[v]
        return ("at", known[v]) if v in known else ("of", known[mark]) if mark in known else (side, v)

    keyed = [
        [((finding.rule, place(side, finding.node), len(finding.axes)), finding) for finding in report.findings]
        for side, report in enumerate(reports)
    ]
    alone: list[list[Finding]] = []
    for ours, theirs in (keyed, keyed[::-1]):
        left = Counter(key for key, _ in theirs)
        alone.append([])
        for key, finding in ours:
            left[key] -= 1
            if left[key] < 0:
                alone[-1].append(finding)
    return alone
