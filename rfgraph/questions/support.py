"""Support: the positions inside the hull of a receptive field that are really read.

It is that of the network without borders, relative to the hull, as size, stride and padding are: every output of one
phase has the same. Along an axis it is the union over all paths. Over several axes each path reads a product of what
it reads along each, and several paths read a union of products, which is more than its shadows on the axes tell.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import field as declare
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Literal

from rfgraph.algebra.window import Number, Window, as_number
from rfgraph.errors import UnboundedError, UnknownFieldError
from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import fold
from rfgraph.passes.positions import PositionProducts, Positions, PositionSet, TooManyPositionsError
from rfgraph.passes.products import Products
from rfgraph.passes.results import Fields

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Marks = NDArray[np.bool_]

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
    #: Why less may be read; empty if all of it is.
    why: str = ""

    @property
    def status(self) -> Status:
        """``exact``, or ``bound`` if ``why`` says why less may be read."""
        return "bound" if self.why else "exact"

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
    """Which positions inside the hull of its receptive field a layer reads, borders left out.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3, dilation=2)
    >>> [(of_axis.coverage, of_axis.marks.tolist()) for of_axis in analyze(net).support("conv").axes]
    [(Fraction(3, 5), [True, False, True, False, True])]
    """

    layer: Hashable
    axes: tuple[AxisSupport, ...]
    _products: Callable[[], Products[PositionSet]] = declare(repr=False, compare=False)

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

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=2, dilation=3)
        >>> analyze(net).support("conv").box().marks.tolist()
        [True, False, False, True]
        """
        import numpy as np

        place = (0,) * len(self.axes) if phase is None else tuple(phase)
        if len(place) != len(self.axes):
            raise IndexError(f"phase {place} has {len(place)} entries, but the network has {len(self.axes)} axes")
        boxes = []
        for product in self._cached.products:
            marked = [position_set.at(y) for position_set, y in zip(product, place, strict=True)]
            read = [one for one in marked if one is not None]
            if len(read) == len(marked):
                boxes.append(read)
        if not boxes:
            return None
        first = tuple(min(marked[0] for marked in along) for along in zip(*boxes, strict=True))
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
    def _cached(self) -> Products[PositionSet]:
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
        of_axis = along(compiled, window, node, source, axis, name) if same is None else axes[same]
        beyond = fields[axis].beyond[node]  # cut, but where it is not certain what more is read, nor is it here
        axes.append(AxisSupport(name, of_axis.phases, of_axis.step, of_axis.why or beyond.why))
    return Support(layers.nodes[node], tuple(axes), lambda: products(compiled, node, source))


def along(compiled: Compiled, window: Window, node: int, source: int, axis: int, name: str) -> AxisSupport:
    """Return what ``node``, whose field is ``window``, reads along one axis."""
    if window.exact and not window.holes:  # nothing to list, however wide it is
        return AxisSupport(name, _solid(window), window.step)
    try:
        position_set = fold(compiled.layers, source, Positions(compiled, axis), [node])[node]
    except TooManyPositionsError:
        why = f"{compiled.layers.describe(node, axis)}: its positions are too many to be listed; this is their hull"
        return AxisSupport(name, _solid(window), window.step, why)
    phases = [
        None if marked is None else PhaseSupport(marked[0], marked[1].bit_length(), marked[1].bit_count(), marked[1])
        for marked in position_set.phases
    ]
    return AxisSupport(name, tuple(phases), position_set.step, position_set.why)


def _solid(window: Window) -> tuple[PhaseSupport | None, ...]:
    return tuple(
        None if ends is None else PhaseSupport(ends[0], ends[1] - ends[0] + 1, ends[1] - ends[0] + 1, None)
        for ends in window.intervals
    )


def products(compiled: Compiled, node: int, source: int) -> Products[PositionSet]:
    """Return the products whose union ``node`` reads."""
    domain = PositionProducts(compiled)
    products_of = fold(compiled.layers, source, domain, [node])
    if domain.cuts and node not in products_of:
        raise UnboundedError(f"{compiled.layers.describe(node)}: every path reads all of some axis, or nothing")
    return products_of.get(node, Products([], True))
