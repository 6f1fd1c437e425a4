"""Effective fields: how strongly a feature feels each position, beside a Gaussian, and theory beside measurement."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

from rfgraph.plot import canvas
from rfgraph.plot.canvas import (
    BLUE,
    HEAT,
    INK,
    LINE,
    ORANGE,
    QUIET,
    Plane,
    axes_for,
    indexed,
    legend,
    places_of,
    plain,
    title,
    unit,
)
from rfgraph.present.effective import decimal
from rfgraph.present.rows import across, counted, times

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from rfgraph.measure import MeasuredField
    from rfgraph.questions.effective import EffectiveField

    Floats = NDArray[np.float64]


def effective(field: EffectiveField, *, axes: Sequence[str] | str | None = None, ax: Axes | None = None) -> Axes:
    """Draw an effective field: a heat map with its sums along both axes, each beside the Gaussian of its own spread.

    A field that was measured is drawn beside its theory, where that is known. Along one axis it is a curve.

    Parameters
    ----------
    field
        What ``Report.effective_field`` or ``rfgraph.measure_field`` says.
    axes
        One or two axes to draw, the one down first; the others are summed over. Needed where there are more than two.
    ax
        Where to draw; the sums stand above and to the right of it, in ``ax.child_axes``.

    References
    ----------
    Luo, Li, Urtasun, Zemel, Understanding the effective receptive field in deep convolutional neural networks, NIPS
    2016: the field is about a Gaussian.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("two", axes=1)
    >>> last = net.conv("last", net.conv("first", net.input("x"), kernel=3), kernel=3)
    >>> ax = effective(analyze(net).effective_field("last"))
    >>> (9 * ax.lines[0].get_ydata()).round(9).tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0]
    """
    places = places_of(field.axes, axes)
    ax = axes_for(ax, 7.6, 4.2) if ax is not None or len(places) == 1 else _beside_sums()
    theory = _theory(field)
    if len(places) == 1:
        entries = _curve(ax, field, theory, places[0])
        ax.set_xlabel(f"{field.axes[places[0]]}, {unit(field.axes[places[0]])} of the source", fontsize=9)
        ax.set_ylabel(f"share of {field.measure}", fontsize=9)
        ax.set_ylim(bottom=0)
        plain(ax)
        legend(ax, entries)
    else:
        _heat(ax, field, theory, places)
    title(ax.child_axes[0] if len(places) == 2 else ax, *_told(field, theory, places))
    return ax


def _beside_sums() -> Axes:
    """Return axes of a new figure that leave room for sums above and beside them."""
    ax = axes_for(None, 7.0, 7.2)
    ax.get_figure().set_layout_engine("none")
    ax.set_position((0.11, 0.2, 0.56, 0.545))
    return ax


def _theory(field: EffectiveField) -> EffectiveField | None:
    """Return what theory says beside a measured field."""
    theory: EffectiveField | None = getattr(field, "theory", None)
    return theory


def _told(field: EffectiveField, theory: EffectiveField | None, places: Sequence[int]) -> list[str]:
    std = across([decimal(std) for std in field.std])
    measured = "measured " if hasattr(field, "samples") else ""
    lines = [f"{indexed(field.layer, field.index)}: {measured}effective field"]
    above = f"{decimal(field.luo_size)} above 4.55 % of the peak" + (
        "" if field.map.ndim == 1 else " (side of a square)"
    )
    lines.append(f"std {std} {unit(field.axes[0])}, {above}; theoretical field {times(field.size)}")
    summed = [name for place, name in enumerate(field.axes) if place not in places]
    if summed:
        lines[-1] += f"; summed over {', '.join(summed)}"
    if theory is not None:
        lines.append(f"theory, random weights: std {across([decimal(std) for std in theory.std])} ({theory.measure})")
    if hasattr(field, "samples"):
        lines[-1] += f"; {counted(field.samples, 'sample')}"
    elif field.reasons:
        lines.append(f"approximate: {field.reasons[0]}")
    return lines


def _positions(field: EffectiveField, axis: int) -> Floats:
    import numpy as np

    positions: Floats = field.first[axis] + np.arange(field.map.shape[axis], dtype=np.float64)
    return positions


def _gaussian(field: EffectiveField, axis: int, positions: Floats) -> Floats | None:
    """Return the shares of a Gaussian of the field's mean and spread, ``None`` if it has none."""
    import numpy as np

    std = field.std[axis]
    if not std:
        return None
    away = (positions - field.mean[axis]) / std
    shares: Floats = np.exp(-(away**2) / 2) / (std * sqrt(2 * pi))
    return shares


def _curve(
    ax: Axes, field: EffectiveField, theory: EffectiveField | None, axis: int, turned: bool = False
) -> list[tuple[Any, str]]:
    """Draw shares along an axis of the network, the Gaussian, and theory; ``turned``: upright, down the axis."""
    import numpy as np

    def points(along: Floats, shares: Floats) -> tuple[Floats, Floats]:
        return (shares, along) if turned else (along, shares)

    positions, shares = _positions(field, axis), field.along(axis)
    entries: list[tuple[Any, str]] = []
    measured: MeasuredField | None = field if hasattr(field, "samples") else None  # type: ignore[assignment]
    many = len(positions) > 40
    look = {"color": BLUE, "linewidth": 1.5, "marker": "" if many else "o", "markersize": 3, "zorder": 3}
    (line,) = ax.plot(*points(positions, shares), gid="shares", **look)
    entries.append((line, "theory" if measured is None else "measured"))
    if measured is not None and measured.samples > 1:
        # Errors of positions that are summed: at most the sum of their errors.
        others = tuple(other for other in range(field.map.ndim) if other != axis)
        error = measured.error.sum(axis=others) / np.abs(field.map).sum()
        fill = ax.fill_betweenx if turned else ax.fill_between
        band = fill(
            positions, np.maximum(shares - error, 0), shares + error, color=BLUE, alpha=0.2, linewidth=0, gid="error"
        )
        entries.append((band, "its standard error, at most"))
    if theory is not None:
        (line,) = ax.plot(
            *points(_positions(theory, axis), theory.along(axis)), color=ORANGE, linewidth=1.5, gid="theory", zorder=2
        )  # fmt: skip
        entries.append((line, "theory"))
    fine = np.linspace(positions[0] - 0.5, positions[-1] + 0.5, 200)
    gaussian = _gaussian(field, axis, fine)
    if gaussian is not None:
        (line,) = ax.plot(
            *points(fine, gaussian), color=INK, linewidth=1, linestyle=(0, (4, 2)), gid="gaussian", zorder=2
        )
        entries.append((line, "Gaussian of its mean and spread"))
    return entries


def _heat(ax: Axes, field: EffectiveField, theory: EffectiveField | None, places: tuple[int, ...]) -> None:
    """Draw two axes of a field."""
    others = tuple(axis for axis in range(field.map.ndim) if axis not in places)
    shares = field.strength.sum(axis=others)
    if list(places) != sorted(places):
        shares = shares.T
    plane = Plane(ax, places)
    ends = [(first, first + n - 1) for first, n in zip(field.first, field.map.shape, strict=True)]
    left, right, top, bottom = plane.corners(ends)
    drawn = ax.imshow(shares / shares.max(), cmap=HEAT, vmin=0, vmax=1, extent=(left, right, bottom, top), gid="heat")
    entries: list[tuple[Any, str]] = []
    for one, colour, about in ((field, "white", "two standard deviations"), (theory, ORANGE, "the same of the theory")):
        if one is not None and all(one.std[place] for place in places):
            ring = _ellipse(one, places, colour)
            ax.add_patch(ring)
            handle = canvas.matplotlib("lines").Line2D([], [], color=QUIET if one is field else colour, linestyle="--")
            entries.append((handle, about))
    plane.frame([ends], [f"{name}, {unit(name)} of the source" for name in field.axes])
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    above = ax.inset_axes((0, 1.03, 1, 0.2), sharex=ax)
    beside = ax.inset_axes((1.03, 0, 0.2, 1), sharey=ax)
    curves = _curve(above, field, theory, places[1])
    _curve(beside, field, theory, places[0], turned=True)
    for inset, axis in ((above, "y"), (beside, "x")):
        inset.tick_params(labelbottom=False, labelleft=False, length=0)
        inset.grid(axis="both", color=LINE, linewidth=0.4)
        for spine in inset.spines.values():
            spine.set_visible(False)
        getattr(inset, f"set_{axis}lim")(0, None)
    bar = ax.get_figure().colorbar(drawn, cax=ax.inset_axes((1.27, 0, 0.04, 1)))
    bar.set_label(f"{field.measure}, of the peak", fontsize=8.5)
    bar.ax.tick_params(labelsize=8)
    legend(ax, [*curves, *entries], below=True, ncols=2)


def _ellipse(field: EffectiveField, places: tuple[int, ...], colour: str) -> Any:
    """Return the curve two standard deviations from the mean."""
    import numpy as np

    down, across_ = places
    covariance = field.covariance[np.ix_([across_, down], [across_, down])]
    values, vectors = np.linalg.eigh(covariance)
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    width, height = 4 * np.sqrt(np.maximum(values[::-1], 0))
    return canvas.matplotlib("patches").Ellipse(
        (field.mean[across_], field.mean[down]), width, height, angle=angle, facecolor="none", edgecolor=colour,
        linewidth=1.4, linestyle="--", gid="two deviations",
    )  # fmt: skip
