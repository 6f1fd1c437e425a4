"""RoI projection: the features that detection code assigns to a box of pixels, beside those that lie there.

Fast R-CNN multiplies pixel coordinates by ``spatial_scale`` and rounds, as if feature ``i`` lay at pixel
``i / spatial_scale``. It lies at the centre of its field, which padding moves. All numbers are exact.

References
----------
Girshick, Fast R-CNN, ICCV 2015, and the ``ROIPooling`` layer of its Caffe.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import Any, Literal

from rfgraph.algebra.window import Interval, Window
from rfgraph.errors import AttributeValueError, UnboundedError, UnknownFieldError
from rfgraph.frozen import dataclass
from rfgraph.questions.features import Pixel, pixel_box
from rfgraph.questions.layers import Layer

Rounding = Literal["away", "even"]
Scale = float | Fraction


@dataclass(frozen=True)
class RoiAxis:
    """One axis of a projected box.

    ``projected`` and ``exact`` are closed intervals of feature indices, on a map that goes on beyond its borders; Caffe
    cuts them at the map later. The errors are how many pixels past the box's first and last pixel the centres of the
    interval's first and last feature lie.
    """

    axis: str
    pixels: tuple[Fraction, Fraction]
    spatial_scale: Fraction
    #: ``round(x * spatial_scale)`` of both ends.
    projected: Interval
    #: The features whose centres are nearest to both ends; of two equally near, the later one.
    exact: Interval
    error: tuple[Fraction, Fraction]
    exact_error: tuple[Fraction, Fraction]

    @property
    def off_by(self) -> tuple[int, int]:
        """How many features past the nearest ones the projected ends lie."""
        return self.projected[0] - self.exact[0], self.projected[1] - self.exact[1]


@dataclass(frozen=True)
class Roi:
    """A box of pixels on a layer's map: as Fast R-CNN projects it, and as the receptive fields lie.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3, stride=2)
    >>> import rfgraph
    >>> found = rfgraph.roi(analyze(net), "conv", [(3, 9)])
    >>> found.projected, found.exact, found.worst_error
    (((2, 5),), ((1, 4),), Fraction(2, 1))
    """

    layer: Hashable
    axes: tuple[RoiAxis, ...]

    @property
    def projected(self) -> tuple[Interval, ...]:
        """The projection of Fast R-CNN, one closed interval of feature indices per axis."""
        return tuple(axis.projected for axis in self.axes)

    @property
    def exact(self) -> tuple[Interval, ...]:
        """The features nearest to the ends of the box, one closed interval of indices per axis."""
        return tuple(axis.exact for axis in self.axes)

    @property
    def error(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """How many pixels past the ends of the box the projected features lie, per axis."""
        return tuple(axis.error for axis in self.axes)

    @property
    def worst_error(self) -> Fraction:
        """The largest error, in pixels."""
        return max(abs(error) for axis in self.axes for error in axis.error)


def roi(
    report: Mapping[Hashable, Layer],
    layer: Hashable,
    box: Sequence[Sequence[Pixel]],
    spatial_scale: Scale | Sequence[Scale] | None = None,
    rounding: Rounding = "away",
) -> Roi:
    """Return the features that Fast R-CNN assigns to a box of pixels, beside those whose centres are nearest to it.

    Parameters
    ----------
    report
        An analysis of the network, or any mapping from node name to ``Layer``.
    layer
        The node whose map is pooled.
    box
        One closed interval ``(first, last)`` per axis, in pixels of the source, as regions of interest are given.
    spatial_scale
        The factor of the projection, one number for all axes or one per axis; by default one over the effective stride.
    rounding
        What rounds halves: ``"away"`` from zero, as C's ``round`` in Caffe and torchvision does, or to ``"even"``, as
        Python's and numpy's do.

    Raises
    ------
    AttributeValueError
        If ``box`` has not one interval per axis, or the scale or the rounding is none.
    UnboundedError, UnknownFieldError
        If the layer has no local field, or one that is not known.

    Examples
    --------
    >>> import rfgraph
    >>> found = roi(rfgraph.analyze("zoo:vgg_16"), "vgg_16/conv5/conv5_3", [(24, 110), (40, 200)])
    >>> found.projected, found.exact
    (((2, 7), (3, 13)), ((1, 6), (2, 12)))
    >>> found.worst_error
    Fraction(31, 2)
    """
    if rounding not in ("away", "even"):
        raise AttributeValueError(f"rounding {rounding!r} is not one of away, even")
    seen = report[layer]
    pixels = pixel_box(box, seen.axes)
    scales = _scales(spatial_scale, seen.field, seen.axes)
    axes = []
    for name, window, ends, scale in zip(seen.axes, seen.field, pixels, scales, strict=True):
        where = f"node {seen.name!r} ({seen.op}), axis {name}"
        if window.is_unbounded:
            raise UnboundedError(f"{where} reads the whole axis, or all to one end of it: its features have no centre")
        if not window.is_local:
            raise UnknownFieldError(f"{where} is not known: {window.why}" if window.why else f"{where} reads nothing")
        rate = 1 / Fraction(window.stride) if scale is None else scale
        projected = _rounded(ends[0] * rate, rounding), _rounded(ends[1] * rate, rounding)
        exact = _nearest(window, ends[0]), _nearest(window, ends[1])
        axes.append(
            RoiAxis(
                name,
                ends,
                rate,
                projected,
                exact,
                (_center(window, projected[0]) - ends[0], _center(window, projected[1]) - ends[1]),
                (_center(window, exact[0]) - ends[0], _center(window, exact[1]) - ends[1]),
            )
        )
    return Roi(layer, tuple(axes))


def _scales(
    given: Scale | Sequence[Scale] | None, fields: Sequence[Window], axes: Sequence[str]
) -> list[Fraction | None]:
    entries: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given] * len(fields)
    if len(entries) != len(fields):
        raise AttributeValueError(
            f"spatial_scale {given!r} has {len(entries)} entries, but the network has {len(fields)} axes"
        )
    scales: list[Fraction | None] = []
    for axis, entry in zip(axes, entries, strict=True):
        try:
            scale = None if entry is None else Fraction(entry)
        except (TypeError, ValueError, OverflowError):
            scale = Fraction(0)
        if scale is not None and scale <= 0:
            raise AttributeValueError(f"spatial_scale {entry!r} on axis {axis} is not a positive number; give 1/16")
        scales.append(scale)
    return scales


def _rounded(number: Fraction, rounding: Rounding) -> int:
    if rounding == "even":
        return round(number)
    return floor(number + Fraction(1, 2)) if number >= 0 else -floor(Fraction(1, 2) - number)


def _center(field: Window, index: int) -> Fraction:
    """Return the centre of what a feature reads; of one that reads nothing, where it would lie on average."""
    interval = field.interval(index)
    if interval is None:
        return field.mean_center + index * Fraction(field.stride)
    return Fraction(interval[0] + interval[1], 2)


def _nearest(field: Window, pixel: Fraction) -> int:
    """Return the feature whose centre lies nearest to a pixel: the best of the two beside it in each phase."""
    best: tuple[Fraction, int] | None = None
    for phase, interval in enumerate(field.intervals):
        if interval is None:
            continue
        turn = floor((pixel - Fraction(sum(interval), 2)) / field.step)
        for index in (phase + turn * field.period, phase + (turn + 1) * field.period):
            rank = (-abs(_center(field, index) - pixel), index)
            if best is None or rank > best:
                best = rank
    if best is None:  # a local field reads something in some phase
        raise UnknownFieldError("the field reads nothing")
    return best[1]
