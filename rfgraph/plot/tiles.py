"""A plan of tiles on its image."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any

from rfgraph.algebra.window import Number
from rfgraph.errors import AttributeValueError, TilingError
from rfgraph.plot.canvas import (
    BLUE,
    INK,
    ORANGE,
    SKY,
    Plane,
    axes_for,
    legend,
    matplotlib,
    named,
    places_of,
    title,
    unit,
)
from rfgraph.present.rows import across, number
from rfgraph.questions.tiles import AxisTiling, Tile, Tiling
from rfgraph.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Tiles that are drawn at most.
MAX_TILES = 4096


def tiling(
    plan: Tiling, report: Report | None = None, *, axes: Sequence[str] | str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the tiles of a plan on the image: what each is run on, and the part of its outputs that is kept.

    One tile in the middle is drawn whole: its pixels, and within them the part that is kept; the rest is its halo.

    Parameters
    ----------
    plan
        What ``Report.tiling`` says with an input size.
    report
        The results that the plan is of: outputs then stand at the centres of their fields. Without, output ``y`` begins
        at pixel ``y * S``, which is the same for networks that pad evenly.
    axes
        One or two axes to draw, the one down first; needed where there are more than two.
    ax
        Where to draw.

    Raises
    ------
    TilingError
        If a node forbids exact tiling, or no image is known.
    AttributeValueError
        If there are more than 4096 tiles.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("blur", axes=1)
    >>> _ = net.conv("conv", net.input("x"), kernel=3, padding=1)
    >>> ax = tiling(analyze(net, input_size=10).tiling(tile=6))
    >>> [(box.get_x() + 0.5, box.get_width()) for box in ax.patches if box.get_gid() == "tile"]
    [(0.0, 6.0), (4.0, 6.0)]
    """
    if plan.blockers:
        raise TilingError(f"{plan.layer!r} cannot be tiled exactly: {plan.blockers[0]}")
    if plan.count is None:
        raise TilingError("a plan without an image has no tiles; give analyze an input size")
    places = places_of([axis.axis for axis in plan.axes], axes)
    drawn = [plan.axes[place] for place in places]
    count = 1
    for axis in drawn:
        count *= len(axis.tiles)
    if count > MAX_TILES:
        raise AttributeValueError(f"the plan has {count} tiles here, more than the {MAX_TILES} that are told apart")
    ax = axes_for(ax, 5.8, 7.0 if len(places) == 2 else 3.0)
    plane = Plane(ax, places)
    whole = [(0, (axis.image or 1) - 1) for axis in plan.axes]
    rows = 1 if len(places) == 2 else min(count, 3)
    shifts = _shifts(plan, report)
    named_one = tuple(len(axis.tiles) // 2 for axis in drawn)
    kept_box = tile_box = None
    for at in product(*(range(len(axis.tiles)) for axis in drawn)):
        tiles = [axis.tiles[i] for axis, i in zip(drawn, at, strict=True)]
        row = at[0] % rows if len(places) == 1 else 0
        ends, kept = _boxes(plan, places, tiles, shifts)
        odd = sum(at) % 2
        chosen = at == named_one
        if kept is not None:
            fill = {"facecolor": ORANGE if chosen else SKY if odd else BLUE, "alpha": 0.75 if chosen else 0.3}
            box = plane.box(kept, row, edgecolor="none", zorder=2, gid="kept", **fill)
            kept_box = box if chosen else kept_box
        look: dict[str, Any] = {"edgecolor": INK, "linewidth": 2.2 if chosen else 0.5, "zorder": 4 if chosen else 3}
        box = plane.box(ends, row, facecolor="none", gid="tile", **look)
        tile_box = box if chosen else tile_box
    plane.box(whole, 0, facecolor="none", edgecolor="none")
    plane.frame([whole], [f"{axis.axis}, {unit(axis.axis)} of {named(plan.source)}" for axis in plan.axes], rows)
    others = matplotlib("patches").Patch(facecolor=BLUE, alpha=0.3)
    entries = [
        (tile_box, "pixels that one tile is run on"),
        (kept_box, "its outputs that are kept; round them its halo"),
    ]
    entries.append((others, "kept of the other tiles, whose borders are thin"))
    legend(ax, [(artist, text) for artist, text in entries if artist is not None], below=True)
    size = across([str(axis.tile) for axis in drawn])
    halo = across([f"{axis.before}+{axis.after}" for axis in drawn])
    stride = across([number(axis.stride) for axis in drawn])
    start = across([str(axis.multiple) for axis in drawn])
    cost = "" if plan.overhead is None else f", computes {float(plan.overhead):.2f} times the image"
    title(
        ax,
        f"{named(plan.layer)}: {plan.count} tiles of {size} on {'x'.join(str(axis.image) for axis in plan.axes)}",
        f"halo {halo} outputs, starts at multiples of {start}, S {stride}{cost}",
    )
    return ax


def _boxes(
    plan: Tiling, places: Sequence[int], tiles: Sequence[Tile], shifts: Sequence[Number]
) -> tuple[list[tuple[float, float]], list[tuple[float, float]] | None]:
    """Return the pixels of a tile, and those that its kept outputs stand for, whole on axes that are not drawn."""
    ends: list[tuple[float, float]] = [(0, (axis.image or 1) - 1) for axis in plan.axes]
    kept = list(ends)
    for place, tile in zip(places, tiles, strict=True):
        ends[place] = (tile.start, tile.stop - 1)
        kept[place] = _kept(plan.axes[place], tile, shifts[place])
    empty = any(last < first for first, last in kept)
    return ends, None if empty else kept


def _kept(axis: AxisTiling, tile: Tile, shift: Number) -> tuple[float, float]:
    first, last = tile.kept_start * axis.stride + shift, tile.kept_stop * axis.stride - 1 + shift
    return float(first), float(last)


def _shifts(plan: Tiling, report: Report | None) -> list[Number]:
    """Return where the pixels begin that output 0 stands for, per axis: ``S`` of them, round its centre."""
    if report is None:
        return [0] * len(plan.axes)
    fields = report[plan.layer].field
    return [
        field.mean_center - (Fraction(axis.stride) - 1) / 2 if field.is_local else 0
        for field, axis in zip(fields, plan.axes, strict=True)
    ]
