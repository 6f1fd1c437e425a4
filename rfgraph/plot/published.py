"""The article's plot: published accuracy over the size of receptive fields."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import TYPE_CHECKING, Any

from rfgraph.plot.canvas import BLUE, INK, LINE, ORANGE, QUIET, axes_for, legend, matplotlib, plain, title
from rfgraph.present.accuracy import Accuracies, AccuracyRow, published

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Area of the circle of a network of 1e9 multiply-accumulates, in square points.
AREA = 22.0

#: Where a label may stand beside its circle: sideways and up, and how it is aligned.
_BESIDE = [(1, 0, "left", "center"), (-1, 0, "right", "center"), (0, 1, "center", "bottom"), (0, -1, "center", "top"),
           (0.75, 0.75, "left", "bottom"), (-0.75, 0.75, "right", "bottom"), (0.75, -0.75, "left", "top"),
           (-0.75, -0.75, "right", "top")]  # fmt: skip

Box = tuple[float, float, float, float]


def accuracy(table: Accuracies | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw published accuracies over the logarithm of r; the area of a circle goes with multiply-accumulates.

    The lines are those of least squares; the article draws none.

    Parameters
    ----------
    table
        Networks and what is published of them; those of the zoo by default.
    ax
        Where to draw.

    References
    ----------
    Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019: the figure of its
    discussion.

    Examples
    --------
    >>> ax = accuracy()
    >>> len(ax.collections[0].get_offsets()), [line.get_gid() for line in ax.lines]
    (10, ['article', 'without_alexnet'])
    """
    table = published() if table is None else table
    ax = axes_for(ax, 8.2, 5.4)
    ax.set_xscale("log")
    groups = [[row for row in table.rows if row.plotted is plotted] for plotted in (True, False)]
    entries: list[tuple[Any, str]] = []
    for rows, colour, gid, about in zip(
        groups,
        (BLUE, ORANGE),
        ("plotted", "others"),
        ("plotted by the article", "other networks of TF-Slim"),
        strict=True,
    ):
        if rows:
            ax.scatter(
                [row.size for row in rows], [100 * row.top1 for row in rows], s=[_area(row) for row in rows],
                facecolor=colour, alpha=0.55, edgecolor=colour, linewidth=1, zorder=3, gid=gid,
            )  # fmt: skip
            entries.append(
                (matplotlib("lines").Line2D([], [], marker="o", linestyle="", color=colour, alpha=0.7), about)
            )
    sizes = [row.size for row in table.rows]
    ends = [0.8 * min(sizes), 1.25 * max(sizes)]
    for fit, dashes, gid, about in zip(
        table.lines, ("-", (0, (4, 3))), ("article", "without_alexnet"), ("fit", "fit without AlexNet"), strict=True
    ):
        ys = [100 * (fit.at_1 + fit.per_decade * log10(r)) for r in ends]
        (line,) = ax.plot(ends, ys, color=INK, linewidth=1, linestyle=dashes, zorder=2, gid=gid)
        entries.append((line, f"{about}: {100 * fit.per_decade:.1f} points per decade of r, R² {fit.r_squared:.2f}"))
    ax.set_xlim(0.75 * min(sizes), 1.9 * max(sizes))
    accuracies = [100 * row.top1 for row in table.rows]
    ax.set_ylim(min(accuracies) - 4, max(accuracies) + 5)
    ticks = [tick for tick in (100, 200, 300, 500, 1000, 2000, 3000) if 0.75 * min(sizes) < tick < 1.9 * max(sizes)]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("r, input pixels (log scale)", fontsize=9)
    ax.set_ylabel("top-1 accuracy on ImageNet, %", fontsize=9)
    ax.grid(color=LINE, linewidth=0.5)
    ax.set_axisbelow(True)
    plain(ax)
    for macs in (1, 5, 20):
        look = {
            "marker": "o",
            "linestyle": "",
            "markersize": (AREA * macs) ** 0.5,
            "markerfacecolor": "none",
            "color": QUIET,
        }
        entries.append((matplotlib("lines").Line2D([], [], **look), f"{macs}e9 multiply-accumulates"))
    legend(ax, entries, loc="lower right", labelspacing=1.0, borderpad=0.9)
    _label(ax, table.rows)
    title(
        ax,
        "published accuracy and receptive field",
        "data: TF-Slim, MobileNets; r and multiply-accumulates by rfgraph; that they go together is no cause",
    )
    return ax


def _area(row: AccuracyRow) -> float:
    return AREA * row.macs / 1e9


def _label(ax: Axes, rows: Sequence[AccuracyRow]) -> None:
    """Name each circle where its name covers least of the others."""
    drawn = ax.figure.figure  # of a subfigure, the whole
    drawn.draw_without_rendering()  # it is known then how large the axes are
    scale = 72 / drawn.dpi
    taken: list[Box] = []
    places = {}
    edges = ax.get_window_extent()
    inside = (edges.x0 * scale, edges.y0 * scale, edges.x1 * scale, edges.y1 * scale)
    for row in rows:
        x, y = ax.transData.transform((row.size, 100 * row.top1)) * scale
        half = (_area(row) ** 0.5) / 2 * 0.8
        places[row.model] = (x, y, half)
        taken.append((x - half, y - half, x + half, y + half))
    for row in sorted(rows, key=lambda row: (-row.top1, row.size)):
        x, y, half = places[row.model]
        width, height = 4.3 * len(row.model), 8.5
        choices = []
        for rank, (right, up, ha, va) in enumerate(_BESIDE):
            dx, dy = right * (half + 3), up * (half + 3)
            left = x + dx - {"left": 0, "center": width / 2, "right": width}[ha]
            bottom = y + dy - {"bottom": 0, "center": height / 2, "top": height}[va]
            box = (left, bottom, left + width, bottom + height)
            hidden = width * height - _common(box, inside) + sum(_common(box, other) for other in taken)
            choices.append((round(hidden, 3), rank, box, (dx, dy, ha, va)))
        _, _, box, (dx, dy, ha, va) = min(choices)
        taken.append(box)
        ax.annotate(
            row.model, (row.size, 100 * row.top1), (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=7.5,
            color=INK, zorder=4, parse_math=False, gid="name",
            path_effects=[matplotlib("patheffects").withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _common(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)
