"""Support: the positions inside the hull of a receptive field that are really read, and the holes between them.

It is that of the network without borders, relative to the hull, as size, stride and padding are: every output of one
phase has the same. Along an axis it is the union over all paths. Over several axes each path reads a product of what
it reads along each, and several paths read a union of products, which is more than its shadows on the axes tell.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from dataclasses import field as declare
from fractions import Fraction
from functools import cached_property
from math import gcd, prod
from typing import TYPE_CHECKING, Literal

from rfgraph.algebra.window import Number, Window, as_number
from rfgraph.errors import UnboundedError, UnknownFieldError
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import fold, folded
from rfgraph.passes.positions import Comb, PositionProducts, Positions, TooManyPositionsError
from rfgraph.passes.products import Products
from rfgraph.passes.results import Fields
from rfgraph.questions.findings import Finding, named_axes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Marks = NDArray[np.bool_]

#: Positions of all nodes together that are listed to look for holes; beyond, there may be holes and may be none.
MAX_LISTED = 1 << 31

#: Arrays of more entries than this are refused.
MAX_ENTRIES = 1 << 28

Status = Literal["exact", "bound"]


@dataclass(frozen=True)
class PhaseSupport:
    """What the outputs of one phase read along one axis.

    ``first`` is the first position that the output whose index is the phase reads, ``size`` counts from it to the last
    one, ``read`` of which are read. Where the status is ``bound`` all of them count as read.
    """

    first: int
    size: int
    read: int
    _bits: int | None = declare(repr=False, compare=False)

    @property
    def coverage(self) -> Fraction:
        """Share of the hull that is read."""
        return Fraction(self.read, self.size)

    @cached_property
    def marks(self) -> Marks:
        """Which positions of the hull are read, [size].

        Raises
        ------
        UnboundedError
            If there are more than 2**28.
        """
        import numpy as np

        _check_entries(self.size)
        if self._bits is None:
            marks = np.ones(self.size, dtype=bool)
        else:
            raw = np.frombuffer(self._bits.to_bytes(-(-self.size // 8), "little"), dtype=np.uint8)
            marks = np.unpackbits(raw, count=self.size, bitorder="little").astype(bool)
        marks.flags.writeable = False
        return marks


@dataclass(frozen=True)
class AxisSupport:
    """What a layer reads along one axis: output ``y`` reads ``phases[y % T]``, moved by ``step * (y // T)``."""

    axis: str
    #: Per output phase; ``None`` where it reads nothing.
    phases: tuple[PhaseSupport | None, ...]
    step: int
    status: Status
    #: Why the status is not ``exact``.
    why: str = ""

    @property
    def stride(self) -> Number:
        """Effective stride."""
        return as_number(Fraction(self.step, len(self.phases)))

    @property
    def coverage(self) -> Fraction:
        """Share of the hull that is read, over all phases; at most that where the status is ``bound``."""
        phases = [phase for phase in self.phases if phase is not None]
        return Fraction(sum(phase.read for phase in phases), sum(phase.size for phase in phases))

    @property
    def marks(self) -> Marks:
        """Which positions of the hull are read, by outputs of the first phase that reads any, [size]."""
        return next(phase for phase in self.phases if phase is not None).marks

    @property
    def has_holes(self) -> bool:
        """Whether some position of the hull is not read."""
        return self.coverage < 1


@dataclass(frozen=True)
class BoxSupport:
    """What the outputs of one phase per axis read, over all axes at once.

    ``first`` is the first position of the hull on each axis, ``marks`` tells which of its positions are read, [*size].
    """

    first: tuple[int, ...]
    marks: Marks
    status: Status

    @property
    def coverage(self) -> Fraction:
        """Share of the hull that is read."""
        return Fraction(int(self.marks.sum()), self.marks.size)


@dataclass(frozen=True)
class Support:
    """Which positions inside the hull of its receptive field a layer reads, borders left out."""

    layer: Hashable
    axes: tuple[AxisSupport, ...]
    _products: Callable[[], Products[Comb]] = declare(repr=False, compare=False)

    def __getitem__(self, axis: int) -> AxisSupport:
        return self.axes[axis]

    @property
    def status(self) -> Status:
        """``exact`` if that of every axis is."""
        return "exact" if all(axis.status == "exact" for axis in self.axes) else "bound"

    @property
    def coverage(self) -> tuple[Fraction, ...]:
        """Share of the hull that is read along each axis."""
        return tuple(axis.coverage for axis in self.axes)

    def box(self, phase: Sequence[int] | None = None) -> BoxSupport | None:
        """Return what is read over all axes at once: the union of the products that the paths read.

        A path that reads nothing on one axis reads nothing here, and one that reads the whole of some axis is cut.

        Parameters
        ----------
        phase
            Index of an output, one entry per axis; by default 0 on each.

        Raises
        ------
        UnboundedError
            If the hull has more than 2**28 positions, or every path reads the whole of some axis.
        UnknownFieldError
            If the paths have too many positions to be followed.
        """
        import numpy as np

        place = (0,) * len(self.axes) if phase is None else tuple(phase)
        if len(place) != len(self.axes):
            raise IndexError(f"phase {place} has {len(place)} entries, but the network has {len(self.axes)} axes")
        boxes = []
        for product in self._cached.products:
            teeth = [comb.at(y) for comb, y in zip(product, place, strict=True)]
            read = [one for one in teeth if one is not None]
            if len(read) == len(teeth):
                boxes.append(read)
        if not boxes:
            return None
        first = tuple(min(teeth[0] for teeth in along) for along in zip(*boxes, strict=True))
        last = [max(start + bits.bit_length() for start, bits in along) for along in zip(*boxes, strict=True)]
        size = tuple(b - a for a, b in zip(first, last, strict=True))
        _check_entries(prod(size))
        marks = np.zeros(size, dtype=bool)
        for box in boxes:
            read_here = np.ones((1,) * len(size), dtype=bool)
            for axis, (start, bits) in enumerate(box):
                along = PhaseSupport(start, bits.bit_length(), 0, bits).marks
                read_here = read_here & along.reshape([-1 if other == axis else 1 for other in range(len(size))])
            corner = tuple(
                slice(start - origin, start - origin + bits.bit_length())
                for (start, bits), origin in zip(box, first, strict=True)
            )
            marks[corner] |= read_here
        return BoxSupport(first, marks, "exact" if self._cached.exact else "bound")

    @cached_property
    def _cached(self) -> Products[Comb]:
        return self._products()


def _check_entries(entries: int) -> None:
    if entries > MAX_ENTRIES:
        raise UnboundedError(f"an array of {entries} positions is more than the {MAX_ENTRIES} that are handed out")


def support(compiled: Compiled, fields: Sequence[Fields], node: int, source: int) -> Support:
    """Return which positions of ``source`` inside the hull of its field ``node`` reads.

    Raises
    ------
    UnknownFieldError
        If a field is not known, or ``node`` does not depend on ``source``.
    UnboundedError
        If a field reads the whole axis and nothing else.
    """
    layers = compiled.layers
    axes: list[AxisSupport] = []
    for axis, name in enumerate(layers.axes):
        window = fields[axis].field(node)
        if not window.is_local:
            where = layers.describe(node, axis)
            if window.is_unbounded:
                raise UnboundedError(f"{where} reads the whole axis, or all to one end: there are no holes to look for")
            if window.is_empty:
                raise UnknownFieldError(f"{where} reads nothing of {layers.nodes[source]!r}")
            raise UnknownFieldError(f"{where} is not known: {window.why}")
        same = next((a for a in range(axis) if fields[a] is fields[axis]), None)
        found = along(compiled, window, node, source, axis, name) if same is None else axes[same]
        axes.append(AxisSupport(name, found.phases, found.step, found.status, found.why))
    return Support(layers.nodes[node], tuple(axes), lambda: products(compiled, node, source))


def along(compiled: Compiled, window: Window, node: int, source: int, axis: int, name: str) -> AxisSupport:
    """Return what ``node``, whose field is ``window``, reads along one axis."""
    if window.exact and not window.holes:  # nothing to list, however wide it is
        return AxisSupport(name, _solid(window), window.step, "exact")
    try:
        comb = fold(compiled.layers, source, Positions(compiled, axis), [node])[node]
    except TooManyPositionsError:
        why = f"{compiled.layers.describe(node, axis)}: its positions are too many to be listed; this is their hull"
        return AxisSupport(name, _solid(window), window.step, "bound", why)
    phases = [
        None if teeth is None else PhaseSupport(teeth[0], teeth[1].bit_length(), teeth[1].bit_count(), teeth[1])
        for teeth in comb.phases
    ]
    layers = compiled.layers
    ways = ((v, layers.ops[v][axis]) for v in compiled.between([node], source))
    chosen = next((v for v, op in ways if v != source and (op.joins or op.alternatives or not op.reads_all)), None)
    if chosen is None:
        return AxisSupport(name, tuple(phases), comb.step, "exact")
    why = f"{layers.describe(chosen, axis)}: {compiled.reads[axis][chosen][0].why}"
    return AxisSupport(name, tuple(phases), comb.step, "bound", why)


def _solid(window: Window) -> tuple[PhaseSupport | None, ...]:
    return tuple(
        None if ends is None else PhaseSupport(ends[0], ends[1] - ends[0] + 1, ends[1] - ends[0] + 1, None)
        for ends in window.intervals
    )


def products(compiled: Compiled, node: int, source: int) -> Products[Comb]:
    """Return the products whose union ``node`` reads."""
    domain = PositionProducts(compiled)
    found = fold(compiled.layers, source, domain, [node])
    if domain.cuts and node not in found:
        raise UnboundedError(f"{compiled.layers.describe(node)}: every path reads all of some axis, or nothing")
    return found.get(node, Products([], True))


@dataclass(frozen=True)
class Holes(Finding):
    """A layer whose receptive field skips positions between the first and the last one it reads.

    ``coverage`` is the share that is read along each of ``axes``, alike on all of them; ``None`` if there are too many
    positions to list, so that there may be holes and may be none. ``since`` is the first layer on the way that has any.
    """

    coverage: Fraction | None
    size: int
    since: Hashable
    cause: str
    #: The dilation rates on the way, without 1.
    rates: tuple[int, ...]

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        where = f"node {self.node!r}, {named_axes(self.axes)}: "
        if self.coverage is None:
            return f"{where}its field of {self.size} may have holes; it is too wide for them to be counted"
        share = f"{float(100 * self.coverage):.3g}%"
        cause = f": {self.cause}" if self.since == self.node else f", since {self.since!r}"
        return f"{where}it reads {share} of the {self.size} positions that its field spans{cause}"

    @property
    def advice(self) -> str:
        """What to do about it.

        References
        ----------
        Wang et al., Understanding Convolution for Semantic Segmentation, WACV 2018: rates without a common factor.
        """
        if not self.rates:
            return "nothing if it is meant; else use kernels at least as large as their strides"
        common = gcd(*self.rates)
        rates = ", ".join(map(str, self.rates))
        if common > 1 and len(self.rates) > 1:
            return f"dilation rates {rates} share the factor {common}: use rates without one, such as 1, 2, 5"
        verb = "rates" if len(self.rates) > 1 else "rate"
        return f"with dilation {verb} {rates}, convolve without dilation too, with a kernel as wide as the gaps"


@dataclass(frozen=True)
class _Hole:
    """Holes of one node along one axis; axes on which it is the same share a finding."""

    node: int
    coverage: Fraction | None
    size: int
    since: int
    cause: str
    rates: tuple[int, ...]


def find(compiled: Compiled, fields: Sequence[Fields], source: int, outputs: Sequence[int]) -> list[Finding]:
    """Return the holes of ``outputs``, and of the layers since which they have them."""
    axes_of: dict[_Hole, list[int]] = {}
    per_axis: list[list[_Hole]] = []
    for axis in range(len(compiled.layers.axes)):
        same = next((a for a in range(axis) if fields[a] is fields[axis]), None)
        per_axis.append(_holes(compiled, fields[axis], axis, source, outputs) if same is None else per_axis[same])
        for hole in per_axis[axis]:
            axes_of.setdefault(hole, []).append(axis)
    names = compiled.layers.nodes
    return [
        Holes(
            "RF006",
            names[hole.node],
            tuple(compiled.layers.axes[axis] for axis in axes),
            hole.coverage,
            hole.size,
            names[hole.since],
            hole.cause,
            hole.rates,
        )
        for hole, axes in sorted(axes_of.items(), key=lambda item: (item[0].node, item[1]))
    ]


def _holes(compiled: Compiled, fields: Fields, axis: int, source: int, outputs: Sequence[int]) -> list[_Hole]:
    local = fields.local
    flagged = [v for v in outputs if local[v].is_local and (local[v].holes or not local[v].exact)]
    if not flagged:
        return []
    since: dict[int, int] = {}  # node with holes -> the first of them on the way to it without a node that has none
    rates: dict[int, frozenset[int]] = {}
    holes: dict[int, Comb] = {}
    listed = 0
    rearranged: set[int] = set()
    try:
        for v, comb in folded(compiled.layers, source, Positions(compiled, axis), flagged):
            listed += sum(teeth[1].bit_length() for teeth in comb.phases if teeth is not None)
            if listed > MAX_LISTED:
                raise TooManyPositionsError
            tails = [] if v == source else [tail for tail in compiled.layers.tails[v] if tail in rates]
            own = frozenset({compiled.layers.ops[v][axis].spacing} - {1})
            rates[v] = own.union(*(rates[tail] for tail in tails))
            if compiled.layers.ops[v][axis].rearranges or not rearranged.isdisjoint(tails):
                rearranged.add(v)
            elif comb.has_holes:
                since[v] = min((since[tail] for tail in tails if tail in since), default=v)
                if since[v] == v or v in flagged:
                    holes[v] = comb
    except TooManyPositionsError:
        return [_Hole(v, None, local[v].size, v, "", ()) for v in flagged]
    told = {v for output in flagged if output in since for v in (since[output], output)}
    return [
        _Hole(
            v,
            _coverage(holes[v]),
            _size(holes[v]),
            since[v],
            _cause(compiled, fields, axis, since[v]),
            tuple(sorted(rates[v])),
        )
        for v in sorted(told)
    ]


def _coverage(comb: Comb) -> Fraction:
    read = [bits for _, bits in (teeth for teeth in comb.phases if teeth is not None)]
    return Fraction(sum(bits.bit_count() for bits in read), sum(bits.bit_length() for bits in read))


def _size(comb: Comb) -> int:
    return max(teeth[1].bit_length() for teeth in comb.phases if teeth is not None)


def _cause(compiled: Compiled, fields: Fields, axis: int, v: int) -> str:
    """Return why ``v`` has holes while all that it reads has none."""
    op, tails = compiled.layers.ops[v][axis], compiled.layers.tails[v]
    if len(tails) > 1:
        return "its branches read apart from each other"
    inner = fields.local[tails[0]]
    apart = as_number(op.spacing * Fraction(inner.stride))
    reads = f"{inner.size} position{'s' if inner.size > 1 else ''}"
    if op.spacing > 1:
        return f"dilation puts its taps {apart} apart, and each reads {reads}"
    return f"its taps lie {apart} apart, and each reads {reads}: a stride before is larger than what was read so far"
