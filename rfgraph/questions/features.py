"""Features from pixels: the inverse of regions.

Along one axis the features whose field meets, lies inside or is centred in a pixel interval are those of each phase
whose turn lies in a range: three divisions. Where borders cut, they are looked up in the regions of all features.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from fractions import Fraction
from functools import cached_property
from math import ceil, floor, prod
from numbers import Rational
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.window import Interval, Window
from rfgraph.errors import AttributeValueError, UnboundedError
from rfgraph.frozen import dataclass

if TYPE_CHECKING:
    from rfgraph.passes.extents import Regions

#: A coordinate in pixels: an integer is a pixel's centre.
Pixel = int | float | Fraction
How = Literal["meets", "inside", "center"]
Marks = NDArray[np.bool_]
Indices = NDArray[np.int64]
PixelBox = tuple[tuple[Fraction, Fraction], ...]  # [A]

#: Boxes of more features than this are refused.
MAX_FEATURES = 1 << 28


@dataclass(frozen=True)
class Features:
    """The features of a layer that a box of source pixels picks.

    They are held per axis, and laid out feature by feature only where ``marks`` or ``indices`` ask for it.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3, stride=2)
    >>> analyze(net, input_size=9).features("conv", [(4, 5)]).box
    ((1, 2),)
    """

    layer: Hashable
    how: How
    axes: tuple[str, ...]
    pixels: PixelBox
    #: Blocks of features, none in two of them: those at each of the indices on every axis, ascending, [A] of arrays.
    blocks: tuple[tuple[Indices, ...], ...]
    #: Whether fields were cut at the borders; else the map is taken to go on beyond every border.
    clipped: bool
    status: Literal["exact", "bound"]

    @cached_property
    def box(self) -> tuple[Interval, ...] | None:
        """The smallest box of indices that holds them, one closed interval per axis, ``None`` if there are none."""
        if not self.blocks:
            return None
        along = zip(*self.blocks, strict=True)
        return tuple((min(int(some[0]) for some in parts), max(int(some[-1]) for some in parts)) for parts in along)

    @cached_property
    def marks(self) -> Marks:
        """Which features in ``box`` are picked, [*size of box]: in most networks all of them.

        Raises
        ------
        UnboundedError
            If the box has more than 2**28 features.
        """
        box = self.box or ((0, -1),) * len(self.axes)
        shape = [last - first + 1 for first, last in box]
        if prod(shape) > MAX_FEATURES:
            raise _too_many()
        marks = np.zeros(shape, dtype=bool)
        for block in self.blocks:
            marks[np.ix_(*(some - first for some, (first, _) in zip(block, box, strict=True)))] = True
        return marks

    @property
    def is_box(self) -> bool:
        """Whether every feature in ``box`` is picked."""
        return self.count == prod(last - first + 1 for first, last in self.box or ((0, -1),))

    @property
    def count(self) -> int:
        """How many features are picked."""
        return sum(prod(map(len, block)) for block in self.blocks)

    @property
    def indices(self) -> Indices:
        """The picked features, [count, A], in row-major order.

        Raises
        ------
        UnboundedError
            As by ``marks``.
        """
        origin = [first for first, _ in self.box] if self.box else [0] * len(self.axes)
        return np.argwhere(self.marks) + np.array(origin, dtype=np.int64)


def pixel_box(box: Sequence[Sequence[Pixel]], axes: Sequence[str]) -> PixelBox:
    """Return a pixel box in exact numbers, refused if it is none.

    Raises
    ------
    AttributeValueError
        If it has not one closed interval per axis.
    """
    if len(box) != len(axes):
        raise AttributeValueError(f"box {box!r} has {len(box)} entries, but the network has {len(axes)} axes")
    exact = []
    for axis, interval in zip(axes, box, strict=True):
        try:
            first, last = map(_exact, interval)
        except (AttributeError, ValueError, TypeError, OverflowError):
            raise AttributeValueError(f"box, axis {axis}: {interval!r} is not (first, last) in pixels") from None
        if first > last:
            raise AttributeValueError(f"box, axis {axis}: first {first} lies past last {last}")
        exact.append((first, last))
    return tuple(exact)


def _exact(number: Any) -> Fraction:
    return Fraction(number) if isinstance(number, Rational) else Fraction(*number.as_integer_ratio())


def on_map(layer: Hashable, regions: Regions, fields: Sequence[Window], pixels: PixelBox, how: How) -> Features:
    """Return the features of a map that are picked, from what all of them read, cut at the borders.

    Raises
    ------
    UnboundedError, UnknownFieldError
        If centres are asked for and the layer has no field to have one.
    """
    centred = [
        _along(fields[axis], how, low, high, (0, regions.map_size[axis] - 1)) if how == "center" else None
        for axis, (low, high) in enumerate(pixels)
    ]
    blocks = []
    for block in regions.blocks:
        picked: list[Indices] = []
        for indices, ends, inside, (low, high) in zip(block.indices, block.ends, centred, pixels, strict=True):
            if inside is not None:
                marks = np.isin(indices, inside, assume_unique=True)
            elif how == "meets":
                marks = (ends.first <= floor(high)) & (ends.last >= ceil(low)) & (ceil(low) <= floor(high))
            else:
                marks = (ends.first >= ceil(low)) & (ends.last <= floor(high))
            picked.append(indices[marks])
        if all(map(len, picked)):
            blocks.append(tuple(picked))
    return Features(layer, how, regions.axes, pixels, tuple(blocks), True, regions.status)


def on_plane(layer: Hashable, axes: tuple[str, ...], fields: Sequence[Window], pixels: PixelBox, how: How) -> Features:
    """Return the features that are picked on a map that goes on beyond every border.

    Raises
    ------
    UnboundedError
        If the field reads a whole axis, or those picked along one axis span more than 2**28 features.
    UnknownFieldError
        If the field is not known.
    """
    along = tuple(_along(field, how, low, high) for field, (low, high) in zip(fields, pixels, strict=True))
    blocks = (along,) if all(map(len, along)) else ()
    exact = all(field.exact for field in fields)
    return Features(layer, how, axes, pixels, blocks, False, "exact" if exact else "bound")


def _along(field: Window, how: How, low: Fraction, high: Fraction, within: Interval | None = None) -> Indices:
    """Return the outputs that an interval picks along one axis, in ascending order.

    Output ``phase + turn * period`` reads ``[first + turn * step, last + turn * step]``: each phase picks a range of
    turns.
    """
    spans: list[Interval] = []
    if how == "meets":  # between two pixels there is none to share
        low, high = Fraction(ceil(low)), Fraction(floor(high))
    for phase, interval in enumerate(field.intervals):
        if interval is None:
            continue
        first, last = interval
        if how == "meets":
            start, end = low - last, high - first
        elif how == "inside":
            start, end = low - first, high - last
        else:
            center = Fraction(first + last, 2)
            start, end = low - center, high - center
        turns = ceil(start / field.step), floor(end / field.step)
        if within is not None:
            fit = ceil(Fraction(within[0] - phase, field.period)), floor(Fraction(within[1] - phase, field.period))
            turns = max(turns[0], fit[0]), min(turns[1], fit[1])
        if turns[0] <= turns[1] and low <= high:
            spans.append((phase + turns[0] * field.period, phase + turns[1] * field.period))
    if not spans:
        return np.zeros(0, dtype=np.int64)
    origin, size = min(a for a, _ in spans), max(b for _, b in spans) - min(a for a, _ in spans) + 1
    if size > MAX_FEATURES:
        raise _too_many()
    marks = np.zeros(size, dtype=bool)
    for a, b in spans:
        marks[a - origin : b - origin + 1 : field.period] = True
    return np.flatnonzero(marks) + origin


def _too_many() -> UnboundedError:
    return UnboundedError(f"more than the {MAX_FEATURES} features that are listed lie in that box; give a smaller one")
