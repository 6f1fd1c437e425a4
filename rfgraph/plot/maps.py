"""Features on the positions that they read: the guide's feature maps, the region of a feature, its support."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfgraph.algebra.window import Window
from rfgraph.errors import AttributeValueError, UnboundedError, UnknownFieldError
from rfgraph.frozen import dataclass
from rfgraph.plot import canvas
from rfgraph.plot.canvas import BLUE, CYCLE, INK, ORANGE, Plane, axes_for, indexed, legend, named, places_of, title
from rfgraph.present.effective import decimal
from rfgraph.present.rows import across, number, times
from rfgraph.questions.layers import Region
from rfgraph.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rfgraph.measure import Strongest
    from rfgraph.questions.effective import EffectiveField

Index = Sequence[int] | int
Ends = tuple[int, int]

#: Features that a legend lists.
_LISTED = 12

#: Feature maps of more features than this are refused: they would be one dark square.
MAX_FEATURES = 1 << 17


def feature_maps(
    report: Report,
    layer: Hashable,
    index: Index | None = None,
    *,
    axes: Sequence[str] | str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw every feature of a layer at the centre of its receptive field, over the pixels of the source.

    The field of one feature is drawn as a box: filled where it reads the source, dashed as it is without borders.
    Coordinates are the guide's: pixel 0 lies between 0 and 1, and its centre at 0.5.

    Parameters
    ----------
    report
        An analysis with an input size.
    layer
        A node.
    index
        Index of the feature whose field is drawn; the middle of the map by default.
    axes
        One or two axes to draw, the one down first; needed where the network has more than two.
    ax
        Where to draw.

    Raises
    ------
    UnknownFieldError, UnboundedError
        If sizes or fields are not known, or a field has no two ends.
    AttributeValueError
        If the map has more than 2**17 features, or the axes cannot be drawn.

    References
    ----------
    Dang Ha The Hien, A guide to receptive field arithmetic for convolutional neural networks, 2017: its fixed-sized
    feature maps.

    Examples
    --------
    The guide's figures: an image of 5 x 5, and two convolutions of kernel 3, padding 1 and stride 2.

    >>> from rfgraph import Network, analyze
    >>> net = Network("guide", axes=2)
    >>> first = net.conv("first", net.input("image"), kernel=3, padding=1, stride=2)
    >>> second = net.conv("second", first, kernel=3, padding=1, stride=2)
    >>> ax = feature_maps(analyze(net, input_size=5), "second")
    >>> ax.collections[-1].get_offsets().tolist()
    [[0.5, 0.5], [4.5, 0.5], [0.5, 4.5], [4.5, 4.5]]
    """
    places = places_of(report.axes, axes)
    sizes = _known(report, layer)
    seen = report[layer]
    for place in places:
        if not seen.field[place].is_local:
            raise UnboundedError(f"layer {layer!r}, axis {report.axes[place]}: its field has no centre that is known")
    centers = [_centers(window, sizes[1][place]) for place, window in enumerate(seen.field)]
    count = 1
    for place in places:
        count *= len(centers[place])
    if count > MAX_FEATURES:
        raise AttributeValueError(
            f"layer {layer!r} has {count} features here, more than the {MAX_FEATURES} that are told apart; draw a "
            "deeper layer, or a smaller input"
        )
    shown = _Shown.of(report, layer, index)
    ax = axes_for(ax, 5.4, 7.2 if len(places) == 2 else 2.4)
    plane = Plane(ax, places, edge=0)
    plane.cells(sizes[0])
    whole = [(0, n - 1) for n in sizes[0]]
    entries = shown.draw(plane, BLUE)
    along = centers[places[-1]]
    points = [(x, y) for y in ([0.0] if plane.is_flat else centers[places[0]]) for x in along]
    if shown.unclipped is not None:
        middle = [(first + last + 1) / 2 for first, last in shown.unclipped]
        at = (middle[places[-1]], 0.0 if plane.is_flat else middle[places[0]])
        ax.plot(
            *at, marker="o", markersize=_dot(len(along)) ** 0.5 + 6, color="none", markeredgecolor=BLUE, gid="chosen"
        )
    dots = ax.scatter(
        *zip(*points, strict=True), s=_dot(len(along)), color=ORANGE, edgecolor=INK, linewidth=0.5, zorder=4,
        gid="centres",
    )  # fmt: skip
    middles = [(min(along) - 0.5, max(along) - 0.5) for along in centers]
    plane.frame([whole, middles, *shown.boxes], _names(report))
    ax.set_xlabel(f"{ax.get_xlabel()}; the first is centred at 0.5", fontsize=9, parse_math=False)
    legend(ax, [(dots, "centre of a feature"), *entries], below=True)
    size, stride, start = (across([number(n) for n in numbers]) for numbers in (seen.size, seen.stride, seen.start))
    title(ax, f"{named(layer)}: {times(seen.map_size)} features", f"r {size}, jump {stride}, start {start}")
    return ax


def region(
    report: Report,
    layer: Hashable | list[Hashable],
    index: Index | Sequence[Index] | None = None,
    image: Any = None,
    effective: EffectiveField | Sequence[EffectiveField] | None = None,
    *,
    axes: Sequence[str] | str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the field of a feature on the image, or those of features of several layers.

    What it reads is a box, cut at the borders of all maps; dashed is its field without borders. What lies outside the
    first of them is shaded. Without an input size there is no border.

    Parameters
    ----------
    report
        The results.
    layer
        A node, or a list of nodes.
    index
        Index of the feature, one for each layer of a list; the middle of the map by default.
    image
        What is drawn below: an array of the axes alone, with channels first or last, or the path of an image.
    effective
        Effective fields, of which the smallest square that holds half is drawn.
    axes, ax
        As for ``feature_maps``.

    Raises
    ------
    UnknownFieldError, UnboundedError, IndexError
        As for ``Report.region``.
    AttributeValueError
        If the image has another size than the network was analysed at.

    Examples
    --------
    >>> from rfgraph import analyze
    >>> report = analyze("zoo:vgg_16", input_size=224)
    >>> ax = region(report, ["vgg_16/pool5", "vgg_16/pool3"], [(0, 0), (14, 14)])
    >>> [(box.get_xy(), box.get_width()) for box in ax.patches if box.get_gid() == "clipped"]
    [((-0.5, -0.5), 122.0), ((93.5, 93.5), 44.0)]
    """
    layers = layer if isinstance(layer, list) else [layer]
    indices: Any = [None] * len(layers) if index is None else index if isinstance(layer, list) else [index]
    if len(indices) != len(layers):
        raise AttributeValueError(f"index has {len(indices)} entries for {len(layers)} layers; give one for each")
    places = places_of(report.axes, axes)
    shown = [_Shown.of(report, *each) for each in zip(layers, indices, strict=True)]
    ax = axes_for(ax, 5.6, 7.0 + 0.2 * len(layers) if len(places) == 2 else 1.8 + 0.7 * len(layers))
    plane = Plane(ax, places)
    size = report[report.source].map_size
    whole = None if None in size else [(0, n - 1) for n in size if n is not None]
    rows = len(layers) if plane.is_flat else 1
    if image is not None:
        _show_image(plane, image, whole, rows, len(report.axes))
    elif whole is not None:
        plane.cells([last + 1 for _, last in whole], rows)
    first = shown[0].region
    if whole is not None and first.clipped and first.box is not None and len(layers) == 1:
        canvas.shade_outside(plane, whole, _closed(first.box))
    entries = []
    for row, one in enumerate(shown):
        colour = CYCLE[row % len(CYCLE)]
        entries += one.draw(plane, colour, row, named=len(shown) > 1, fill=0.12 if image is None else 0)
    fields = [] if effective is None else [effective] if not isinstance(effective, Sequence) else list(effective)
    for row, field in enumerate(fields):
        look = {"facecolor": "none", "edgecolor": ORANGE, "linewidth": 2, "zorder": 5}
        drawn = plane.box(field.box(0.5), min(row, rows - 1), gid="half", **look)
        of = f" of {named(field.layer)}" if len(shown) > 1 else ""
        entries.append((drawn, f"smallest square that holds half of {field.measure}{of}"))
    boxes = [*([] if whole is None else [whole]), *(box for one in shown for box in one.boxes)]
    plane.frame(boxes, _names(report), rows)
    legend(ax, entries, below=True)
    if len(shown) == 1:
        title(ax, f"feature {indexed(layers[0], first.index)}", shown[0].told(report.axes))
    else:
        title(ax, f"what features of {len(shown)} layers read of {named(report.source)}")
    return ax


def support(
    report: Report,
    layer: Hashable,
    phase: Sequence[int] | None = None,
    *,
    axes: Sequence[str] | str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw which pixels inside its field one feature of a layer really reads, borders left out.

    Parameters
    ----------
    report
        The results.
    layer
        A node.
    phase
        Index of the feature, one entry per axis; 0 on each by default.
    axes, ax
        As for ``feature_maps``. On axes that are left out, a position counts as read where any is.

    Raises
    ------
    UnknownFieldError, UnboundedError
        As for ``Report.support``; also if this feature reads nothing.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("dilated", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3, dilation=2)
    >>> support(analyze(net), "conv").images[0].get_array().tolist()
    [[1, 0, 1, 0, 1]]
    """
    places = places_of(report.axes, axes)
    answer = report.support(layer)
    box = answer.box(phase)
    if box is None:
        raise UnknownFieldError(f"layer {layer!r}: that feature reads nothing of {report.source!r}")
    others = tuple(place for place in range(len(report.axes)) if place not in places)
    marks = box.marks.any(axis=others)
    if list(places) != sorted(places):
        marks = marks.T
    ax = axes_for(ax, 5.2, 6.6 if len(places) == 2 else 2.2)
    plane = Plane(ax, places)
    ends = [(start, start + n - 1) for start, n in zip(box.first, box.marks.shape, strict=True)]
    left, right, top, bottom = plane.corners(ends)
    colours = canvas.matplotlib("colors").ListedColormap([canvas.PAPER, BLUE])
    ax.imshow(
        marks.reshape(-1, marks.shape[-1]).astype(int), cmap=colours, vmin=0, vmax=1, interpolation="nearest",
        extent=(left, right, bottom, top), gid="support", aspect="auto",
    )  # fmt: skip
    if max(marks.shape) <= canvas.CELLS:
        _lines(plane, ends)
    plane.frame([ends], _names(report))
    patch = canvas.matplotlib("patches").Patch
    read, skipped = patch(facecolor=BLUE), patch(facecolor=canvas.PAPER, edgecolor=canvas.LINE)
    legend(ax, [(read, "read"), (skipped, "inside the field, not read")], below=True)
    size, counts = times(box.marks.shape), f"{int(box.marks.sum()):,} of {box.marks.size:,}"
    most = "at most " if box.status == "bound" else ""
    title(ax, f"{named(layer)}: field of {size}", f"reads {most}{counts} positions, {float(box.coverage):.1%}")
    return ax


def strongest(
    features: Sequence[Strongest], image: Any, *, axes: Sequence[str] | str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw where the strongest features of a layer looked, on the image that they answered to.

    Each has a number and two boxes: what it can see, and dashed the smallest square that holds half of what it feels.

    Parameters
    ----------
    features
        What ``rfgraph.strongest`` returned.
    image
        The image that it was asked about: an array, [C, *axes] or as ``region`` takes it, or a path.
    axes, ax
        As for ``feature_maps``.

    Raises
    ------
    AttributeValueError
        If there are no features, or the image cannot be drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from rfgraph import Strongest
    >>> looked = Strongest(0, (1, 1), 2.5, ((0, 5), (2, 7)), ((2, 3), (4, 5)))
    >>> ax = strongest([looked], np.zeros((3, 9, 9)))
    >>> [(box.get_gid(), box.get_xy(), box.get_width()) for box in ax.patches[1:]]
    [('sees', (1.5, -0.5), 6.0), ('half', (3.5, 1.5), 2.0)]
    """
    if not features:
        raise AttributeValueError("there are no features to draw")
    count = len(features[0].index)
    names = ("t",) if count == 1 else tuple("zyx"[-count:])
    places = places_of(names, axes)
    ax = axes_for(ax, 6.0, 6.8 if len(places) == 2 else 1.8 + 0.5 * len(features))
    plane = Plane(ax, places)
    rows = len(features) if plane.is_flat else 1
    whole = _show_image(plane, image, None, rows, count)
    plane.box(whole, facecolor="none", edgecolor="none")
    entries: dict[str, tuple[Any, str]] = {}
    for number_, one in enumerate(features, start=1):
        row, colour = (number_ - 1) if plane.is_flat else 0, CYCLE[(number_ - 1) % len(CYCLE)]
        look: dict[str, Any] = {"facecolor": "none", "edgecolor": colour, "linewidth": 1.8, "zorder": 3}
        said = f"{number_}: {_channel(one)}, {decimal(one.value)}"
        if one.box is not None:
            box = plane.box(_closed(one.box), row, gid="sees", **look)
            entries[said] = (box, said)
            left, _, top, _ = plane.corners(_closed(one.box), row)
            ax.annotate(
                str(number_), (left, top), (2, -2), textcoords="offset points", va="top", fontsize=9, color=colour,
                weight="bold", zorder=6, path_effects=[_outline()], gid="number",
            )  # fmt: skip
        if one.effective_box is not None:
            plane.box(one.effective_box, row, gid="half", **{**look, "linestyle": (0, (3, 2)), "linewidth": 1.4})
    plane.frame([whole], [f"{name}, {canvas.unit(name)}" for name in names], rows)
    dashed = canvas.matplotlib("lines").Line2D([], [], color=canvas.QUIET, linestyle=(0, (3, 2)))
    half = (dashed, "the smallest square that holds half of what it feels")
    legend(ax, [*list(entries.values())[:_LISTED], half], below=True)
    more = len(entries) - _LISTED
    title(ax, f"the {len(features)} strongest features", *([f"{more} of them are not listed"] if more > 0 else []))
    return ax


def _channel(one: Strongest) -> str:
    return f"channel {one.channel} at {', '.join(map(str, one.index))}"


def _outline() -> Any:
    return canvas.matplotlib("patheffects").withStroke(linewidth=2.5, foreground="white")


def _lines(plane: Plane, ends: Sequence[Ends]) -> None:
    """Draw the borders of the cells of a box."""
    left, right, top, bottom = plane.corners(ends)
    columns = [left + i for i in range(round(right - left) + 1)]
    rows = [top, bottom] if plane.is_flat else [top + i for i in range(round(bottom - top) + 1)]
    lines = [((x, top), (x, bottom)) for x in columns] + [((left, y), (right, y)) for y in rows]
    drawn = canvas.matplotlib("collections").LineCollection(lines, colors="white", linewidths=0.6, gid="cells")
    plane.ax.add_collection(drawn)


# One feature


@dataclass(frozen=True)
class _Shown:
    """A feature as it is drawn."""

    region: Region
    #: Its field without borders; ``None`` where it has none with two ends on each axis.
    unclipped: tuple[Ends, ...] | None
    #: Whether some path reads a whole axis besides.
    is_global: bool

    @classmethod
    def of(cls, report: Report, layer: Hashable, index: Index | None) -> _Shown:
        if index is None:
            index = tuple(0 if size is None else size // 2 for size in report[layer].map_size)
        region = report.region(layer, index)
        ends = []
        for window, y in zip(report[layer].field, region.index, strict=True):
            ends.append(window.interval(y) if window.is_local else None)
        unclipped = None if None in ends else tuple(end for end in ends if end is not None)
        return cls(region, unclipped, any(report[layer].is_global))

    @property
    def boxes(self) -> list[Sequence[Ends]]:
        """All boxes that it has."""
        clipped = None if self.region.box is None else _closed(self.region.box)
        return [box for box in (clipped, self.unclipped) if box is not None]

    def draw(
        self, plane: Plane, colour: str, row: int = 0, named: bool = False, fill: float = 0.25
    ) -> list[tuple[Any, str]]:
        """Draw it and return what to say of it."""
        entries = []
        of = indexed(self.region.layer, self.region.index)
        box = self.region.box
        if box is not None:
            gid = "clipped" if self.region.clipped else "region"
            drawn = plane.box(
                _closed(box), row, facecolor=_faint(colour, fill), edgecolor=colour, linewidth=2, zorder=3, gid=gid
            )
            cut = "cut at the borders of all maps" if self.region.clipped else "no borders"
            entries.append((drawn, f"{of} {self.told(self.region.axes)}" if named else f"what it reads, {cut}"))
        if self.unclipped is not None and self.region.clipped and self.unclipped != box:
            drawn = plane.box(
                self.unclipped, row, facecolor="none", edgecolor=colour, linewidth=1.3, linestyle=(0, (4, 3)),
                zorder=3, gid="unclipped",
            )  # fmt: skip
            if not named:
                entries.append((drawn, "its field without borders"))
        return entries

    def told(self, axes: Sequence[str]) -> str:
        """Return its numbers."""
        region = self.region
        if region.box is None:
            return "reads nothing but padding"
        most = "at most " if region.status == "bound" else ""
        read = ", ".join(
            f"{name} {first}..{last}" for name, (first, last) in zip(axes, _closed(region.box), strict=True)
        )
        said = f"reads {most}{read}"
        if self.unclipped is not None and region.clipped:
            said += f"; without borders {times([last - first + 1 for first, last in self.unclipped])}"
            said += ", where no path reads a whole axis" if self.is_global else ""
        return said


def _closed(box: Sequence[tuple[int | None, int | None]]) -> tuple[Ends, ...]:
    """Return a box that has two ends on every axis, and refuse one that has not."""
    ends = tuple((first, last) for first, last in box if first is not None and last is not None)
    if len(ends) < len(box):
        raise UnknownFieldError("what it reads goes on to an end of the axis, which has no size; give an input size")
    return ends


def _known(report: Report, layer: Hashable) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes of the source and of the map of a layer, and refuse if they are not known."""
    sizes = []
    for node in (report.source, layer):
        size = report[node].map_size
        if None in size:
            raise UnknownFieldError(f"the map of {node!r} has no known size; give an input size, as input_size=224")
        sizes.append(tuple(n for n in size if n is not None))
    return sizes[0], sizes[1]


def _centers(window: Window, count: int) -> list[float]:
    """Return the centres of all features of a map along an axis that read anything, in the guide's coordinate."""
    if window.is_local and window.period == 1:
        start, stride = window.start, window.stride
        return [float(start + y * stride) for y in range(count)]
    ends = [window.interval(y) for y in range(count)]
    return [(end[0] + end[1] + 1) / 2 for end in ends if end is not None]


def _names(report: Report) -> list[str]:
    """Return what the axes are called."""
    return [f"{name}, {canvas.unit(name)} of {named(report.source)}" for name in report.axes]


def _dot(count: int) -> float:
    return min(max(900 / max(count, 1), 1.0), 60.0)


def _faint(colour: str, alpha: float) -> Any:
    return canvas.matplotlib("colors").to_rgba(colour, alpha)


def _show_image(
    plane: Plane, image: Any, whole: Sequence[Ends] | None, rows: int, axes: int
) -> tuple[tuple[int, int], ...]:
    """Draw an image, or a signal, at the pixels that it has, and return its ends on every axis of the network."""
    import numpy as np

    pixels = _picture(image) if isinstance(image, (str, Path)) else np.asarray(image)
    first = pixels.ndim == axes + 1 and (whole is None or _ends(pixels.shape[1:]) == tuple(whole))
    if first and not (axes == 2 and pixels.shape[0] > 4 >= pixels.shape[-1]):
        pixels = np.moveaxis(pixels, 0, -1)
    elif pixels.ndim == axes:
        pixels = pixels[..., None]
    ends = _ends(pixels.shape[:axes])
    if pixels.ndim != axes + 1 or (whole is not None and ends != tuple(whole)):
        size = f"{axes} axes" if whole is None else "x".join(str(last + 1) for _, last in whole)
        raise AttributeValueError(
            f"image of shape {list(np.shape(image))} is not one of {size}, as the network was analysed at"
        )
    if plane.is_flat:
        others = tuple(place for place in range(axes + 1) if place not in plane.places)
        signal = pixels.mean(axis=others)
        low, high = float(signal.min()), float(signal.max())
        scaled = 0.35 - 0.7 * (signal - low) / ((high - low) or 1)
        for row in range(rows):
            plane.ax.plot(np.arange(len(signal)), scaled + row, color=INK, linewidth=0.7, zorder=1, gid="signal")
        return ends
    others = tuple(place for place in range(axes) if place not in plane.places)
    pixels = pixels.mean(axis=others) if others else pixels
    if list(plane.places) != sorted(plane.places):
        pixels = pixels.swapaxes(0, 1)
    if pixels.shape[-1] not in (3, 4):
        pixels = pixels.mean(axis=-1)
    elif pixels.dtype.kind == "f":
        pixels = np.clip(pixels, 0, 1)
    plane.ax.imshow(pixels, cmap="gray", zorder=0, gid="image")
    return ends


def _ends(shape: Sequence[int]) -> tuple[Ends, ...]:
    return tuple((0, n - 1) for n in shape)


def _picture(path: str | Path) -> Any:
    import numpy as np

    from rfgraph.measure import picture

    return np.moveaxis(picture(Path(path)), 0, -1)
