"""The fields of all paths to a layer."""

from __future__ import annotations

from collections.abc import Hashable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfgraph.errors import UnknownFieldError
from rfgraph.plot.canvas import BLUE, INK, LINE, RED, axes_for, least_gap, legend, named, plain, title, unit
from rfgraph.present.rows import number
from rfgraph.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rfgraph.questions.paths import Paths

#: Sizes up to which each has a bar; more are lines, which take no time to draw.
_BARS = 400

#: An image that is more times as large as any field is not drawn: all bars would stand at one end.
_FAR = 2


def paths(report: Report, layer: Hashable, *, axis: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how large the fields of the paths from the source to a layer are: a histogram.

    Parameters
    ----------
    report
        The results.
    layer
        A node.
    axis
        Name of the axis; the first one by default.
    ax
        Where to draw.

    Raises
    ------
    UnknownFieldError
        If no path has a field with a size, or not all are known.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.add("add", x, net.conv("wide", net.conv("c", x, kernel=3), kernel=5))
    >>> ax = paths(analyze(net), "add")
    >>> [(float(bar.get_x() + bar.get_width() / 2), float(bar.get_height())) for bar in ax.patches]
    [(1.0, 50.0), (7.0, 50.0)]
    """
    answer = report.paths(layer)
    place = 0 if axis is None else report.axes.index(axis)
    along = answer.axes[place]
    if along.unknown or not along.sizes:
        raise UnknownFieldError(
            f"the paths to {layer!r} along {along.axis} have no sizes: {along.why or 'there are none'}"
        )
    starts = [size.smallest for size in along.sizes]
    width = 0.8 * min(least_gap(starts), max(starts[-1] - starts[0], 1))
    ax = axes_for(ax, 7.2, 4.2)
    middles = [(size.smallest + size.largest) / 2 for size in along.sizes]
    shares = [100 * float(Fraction(size.count, answer.count)) for size in along.sizes]  # counts may be beyond floats
    if len(middles) > _BARS:
        ax.vlines(middles, 0, shares, color=BLUE, linewidth=1, zorder=2, gid="paths")
        ax.set_ylim(0, 1.05 * max(shares))
    else:
        widths = [size.largest - size.smallest + width for size in along.sizes]
        ax.bar(middles, shares, width=widths, color=BLUE, edgecolor="none", zorder=2, gid="paths")
    entries: list[tuple[Any, str]] = []
    window = report[layer].field[place]
    if window.is_local:
        line = ax.axvline(window.size, color=INK, linewidth=1.3, gid="r", zorder=3)
        entries.append((line, f"r of the layer: {number(window.size)}"))
    image = report[report.source].map_size[place]
    if image is not None and image <= _FAR * max(starts[-1], 1):
        line = ax.axvline(image, color=RED, linewidth=1.3, linestyle=(0, (5, 3)), gid="image", zorder=1)
        entries.append((line, f"image: {image} {unit(along.axis)}"))
    pixels = f"{unit(along.axis)} of {named(report.source)}"
    ax.set_xlabel(f"size of the field of a path along {along.axis}, {pixels}", fontsize=9, parse_math=False)
    ax.set_ylabel("share of all paths, %", fontsize=9)
    ax.grid(axis="y", color=LINE, linewidth=0.5)
    ax.set_axisbelow(True)
    ax.margins(x=0.04)
    ax.xaxis.get_major_locator().set_params(integer=True)
    plain(ax)
    legend(ax, entries)
    title(ax, f"{named(layer)}: {counted(answer)}", _said(answer, place))
    return ax


def counted(answer: Paths) -> str:
    """Return how many paths there are, in words."""
    count = answer.count
    power = count.bit_length() - 1
    said = f"{count:,}" if count < 10**7 else f"2^{power}" if count == 1 << power else f"about {_rounded(count)}"
    return f"{said} path{'' if count == 1 else 's'} from {named(answer.source)}"


def _rounded(count: int) -> str:
    digits = str(count)
    return f"{digits[0]}.{digits[1:3]}e{len(digits) - 1}"


def _said(answer: Paths, place: int) -> str:
    along = answer.axes[place]
    parts = [f"fields of {along.smallest} to {along.largest} {unit(along.axis)}"]
    if along.whole:
        parts.append(f"{along.whole:,} read the whole axis and are left out")
    if along.empty:
        parts.append(f"{along.empty:,} read nothing")
    if along.status == "bound":
        parts.append(along.why)
    return "; ".join(parts)
