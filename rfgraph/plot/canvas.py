"""What all plots share: axes of matplotlib, colours, text, and boxes of positions.

Artists carry a ``gid`` that says what they are, such as ``"clipped"``: so they are found, and restyled.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Sequence
from importlib import import_module
from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rfgraph.errors import AttributeValueError, Needed
from rfgraph.frozen import dataclass
from rfgraph.present.rows import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

#: Colours that people with any colour vision tell apart.
#:
#: References
#: ----------
#: Okabe, Ito, Color universal design, 2008.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
INK, QUIET, LINE, PAPER = "#1d2730", "#5a6875", "#b4bec8", "#eef1f4"
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)

#: Map from strengths to colours that is even in lightness.
HEAT = "viridis"

#: Positions along an axis up to which each is drawn as a cell.
CELLS = 64

#: Characters of a name that are shown; what names differ in comes last.
_LONGEST = 44


def matplotlib(module: str) -> Any:
    """Return a module of matplotlib.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    with Needed("matplotlib", "a plot", "'rfgraph[plot]'"):
        return import_module(f"matplotlib.{module}")


def axes_for(ax: Axes | None, width: float = 6.4, height: float = 4.8) -> Axes:
    """Return axes to draw into: ``ax``, or those of a new figure of pyplot's, so that notebooks show it."""
    if ax is not None:
        return ax
    _, axes = matplotlib("pyplot").subplots(figsize=(width, height), layout="constrained")
    return axes


def png(draw: Callable[[Axes], object], width: float = 6.4, height: float = 4.8, dots: int = 110) -> bytes:
    """Return what ``draw`` draws into the axes that it is given as a PNG file."""
    figure = matplotlib("figure").Figure(figsize=(width, height))
    draw(figure.subplots())
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dots, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    return data.getvalue()


# Text: that of a model is text, in which a dollar sign begins no formula


def named(name: Hashable) -> str:
    """Return a name in quotes, as messages have it, its end where it is long.

    Examples
    --------
    >>> named("conv1"), named("features/denseblock4/denselayer16/conv2/convolution")
    ("'conv1'", "'…/denseblock4/denselayer16/conv2/convolution'")
    """
    text = printable(str(name))
    return f"'{text if len(text) <= _LONGEST else '…' + text[1 - _LONGEST :]}'"


def title(ax: Axes, *lines: str, up: float = 0) -> None:
    """Write what is seen above it, the first line larger than the others; ``up`` points above the axes."""
    room = ax.figure.bbox.width / ax.figure.dpi * 72 * (1 - ax.get_position().x0)
    first, *others = lines
    small = [line for other in others for line in wrap(other, max(int(room / 4.5), 40))]
    ax.set_title(first, loc="left", fontsize=10.5, color=INK, parse_math=False, pad=8 + up + 12 * len(small))
    for row, line in enumerate(small):
        above = 6 + up + 12 * (len(small) - 1 - row)
        ax.annotate(
            line, (0, 1), (0, above), xycoords="axes fraction", textcoords="offset points", fontsize=8.5, color=QUIET,
            parse_math=False, annotation_clip=False, gid="subtitle",
        )  # fmt: skip


def unit(axis: str) -> str:
    """Return what positions along an axis of a source are called.

    Examples
    --------
    >>> unit("t"), unit("y")
    ('samples', 'pixels')
    """
    return "samples" if axis == "t" else "pixels"


def indexed(layer: Hashable, index: Sequence[int]) -> str:
    """Return the name of a feature.

    Examples
    --------
    >>> indexed("conv", (3, 5)), indexed("conv", (3,))
    ("'conv' at 3, 5", "'conv' at 3")
    """
    return f"{named(layer)} at {', '.join(map(str, index))}"


def legend(ax: Axes, entries: Sequence[tuple[Any, str]], below: bool = False, **where: Any) -> None:
    """Say what artists are, in the axes or below them, where it hides nothing."""
    if not entries:
        return
    handles, labels = zip(*entries, strict=True)
    place: dict[str, Any] = {"loc": "best"} | where
    if below:
        down = matplotlib("transforms").ScaledTranslation(0, -40 / 72, ax.figure.dpi_scale_trans)
        place = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": ax.transAxes + down}
        place |= {"borderaxespad": 0, "frameon": False} | where
    place = {"fontsize": 8, "framealpha": 0.9, "edgecolor": LINE} | place
    drawn = ax.legend(handles, labels, **place)
    for text in drawn.get_texts():
        text.set_parse_math(False)


def plain(ax: Axes) -> None:
    """Take off what no one reads."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(labelsize=8.5)


# Positions


def places_of(names: Sequence[str], wanted: Sequence[str] | str | None) -> tuple[int, ...]:
    """Return which axes of a network are drawn: one along, or two, down and along.

    Raises
    ------
    AttributeValueError
        If it has more than two and none are named, or such as are named cannot be drawn.

    Examples
    --------
    >>> places_of(("z", "y", "x"), ("z", "x")), places_of(("y", "x"), None)
    ((0, 2), (0, 1))
    """
    if wanted is None:
        if len(names) > 2:
            raise AttributeValueError(
                f"the network has the axes {', '.join(names)}, and a picture two; pass axes={tuple(names[-2:])} to "
                "say which"
            )
        return tuple(range(len(names)))
    asked = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    if not 1 <= len(asked) <= 2 or len(set(asked)) < len(asked) or not set(asked) <= set(names):
        raise AttributeValueError(f"axes {asked} are not one or two of {', '.join(names)}")
    return tuple(names.index(name) for name in asked)


@dataclass(frozen=True)
class Plane:
    """Axes of matplotlib on which positions of a map are cells: two axes of a network, or one in rows.

    ``places`` are the axes drawn, the one down first; ``edge`` is where the cell of position 0 begins.
    """

    ax: Axes
    places: tuple[int, ...]
    edge: float = -0.5

    @property
    def is_flat(self) -> bool:
        """Whether one axis is drawn."""
        return len(self.places) == 1

    def corners(self, box: Sequence[tuple[float, float]], row: int = 0) -> tuple[float, float, float, float]:
        """Return left, right, top and bottom of a box of positions, one interval per axis of the network."""
        first, last = box[self.places[-1]]
        along = (first + self.edge, last + 1 + self.edge)
        if self.is_flat:
            return *along, row - 0.4, row + 0.4
        first, last = box[self.places[0]]
        return *along, first + self.edge, last + 1 + self.edge

    def box(self, box: Sequence[tuple[float, float]], row: int = 0, **look: Any) -> Rectangle:
        """Draw a box of positions."""
        left, right, top, bottom = self.corners(box, row)
        drawn = matplotlib("patches").Rectangle((left, top), right - left, bottom - top, **look)
        self.ax.add_patch(drawn)
        return drawn

    def cells(self, size: Sequence[int], rows: int = 1, zorder: float = 0.5) -> None:
        """Draw the cells of a map, or its border where they are many."""
        whole = [(0, n - 1) for n in size]
        left, right, top, bottom = self.corners(whole)
        bottom += rows - 1
        self.box(whole, facecolor="none", edgecolor="none")  # limits reach as far as the map
        lines: list[tuple[tuple[float, float], tuple[float, float]]] = []
        many = [size[place] > CELLS for place in self.places]
        for line in (left, right) if many[-1] else (left + i for i in range(size[self.places[-1]] + 1)):
            lines.append(((line, top), (line, bottom)))
        if self.is_flat:
            lines += [((left, edge), (right, edge)) for edge in (top, bottom)]
        else:
            for line in (top, bottom) if many[0] else (top + i for i in range(size[self.places[0]] + 1)):
                lines.append(((left, line), (right, line)))
        drawn = matplotlib("collections").LineCollection(lines, colors=LINE, linewidths=0.7, zorder=zorder, gid="cells")
        self.ax.add_collection(drawn)

    def frame(self, boxes: Sequence[Sequence[tuple[float, float]]], names: Sequence[str], rows: int = 1) -> None:
        """Set the limits so that boxes are seen, and name the axes."""
        corners = [self.corners(box) for box in boxes]
        left, right = min(each[0] for each in corners), max(each[1] for each in corners)
        room = 0.04 * (right - left)
        self.ax.set_xlim(left - room, right + room)
        self.ax.set_xlabel(names[self.places[-1]], fontsize=9, parse_math=False)
        plain(self.ax)
        if self.is_flat:
            self.ax.set_ylim(rows - 0.4, -0.6)
            self.ax.set_yticks([])
            self.ax.spines["left"].set_visible(False)
            return
        top, bottom = min(each[2] for each in corners), max(each[3] for each in corners)
        room = 0.04 * (bottom - top)
        self.ax.set_ylim(bottom + room, top - room)
        self.ax.set_ylabel(names[self.places[0]], fontsize=9, parse_math=False)
        self.ax.set_aspect("equal", anchor="NW")


def shade_outside(plane: Plane, whole: Sequence[tuple[float, float]], box: Sequence[tuple[float, float]]) -> None:
    """Shade what of a map lies outside a box."""
    left, right, top, bottom = plane.corners(whole)
    inner = plane.corners(box)
    path = matplotlib("path").Path
    outline = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    hole = [(inner[0], inner[2]), (inner[0], inner[3]), (inner[1], inner[3]), (inner[1], inner[2])]
    points = [*outline, *hole, hole[0]]
    codes = [path.MOVETO, *[path.LINETO] * 3, path.CLOSEPOLY] * 2
    shade = matplotlib("patches").PathPatch(
        path(points, codes), facecolor=INK, alpha=0.28, linewidth=0, zorder=2, gid="outside"
    )
    plane.ax.add_patch(shade)


def least_gap(values: Sequence[float]) -> float:
    """Return the smallest distance between sorted values, 1 if there are none.

    Examples
    --------
    >>> least_gap([1, 3, 7]), least_gap([5])
    (2, 1)
    """
    return min((b - a for a, b in pairwise(values)), default=1)
