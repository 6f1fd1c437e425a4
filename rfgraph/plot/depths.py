"""Numbers of many layers: how the field grows, and what each layer of a streaming network waits for."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfgraph.algebra.window import Number
from rfgraph.errors import AttributeValueError, LatencyError, UnknownFieldError
from rfgraph.plot import canvas
from rfgraph.plot.canvas import unit
from rfgraph.present.rows import across, number
from rfgraph.questions.latency import Latency, LayerLatency
from rfgraph.questions.layers import Layer
from rfgraph.questions.productivity import Unproductive
from rfgraph.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Layers up to which each is named below a plot.
_NAMED = 28

#: Rows of a timeline.
_ROWS = 36


def growth(
    report: Report, layer: Hashable | None = None, *, axes: Sequence[str] | str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how the size of the receptive field grows towards a layer, beside the size of the image.

    The line follows the widest path from the source to the layer; layers beside it are grey points. Convolutions that
    add no context, as all of their inputs have seen the whole image, are rings.

    Parameters
    ----------
    report
        The results; with an input size they know the image.
    layer
        Where the path ends; the first output by default.
    axes
        The axes to draw: all by default, those of equal numbers as one line.
    ax
        Where to draw.

    Raises
    ------
    UnknownFieldError
        If no layer has a field with a size.

    Examples
    --------
    >>> from rfgraph import analyze
    >>> ax = growth(analyze("zoo:vgg_16", input_size=224))
    >>> [int(r) for r in ax.lines[0].get_ydata()][-6:]
    [164, 196, 212, 404, 404, 404]
    """
    end = report.outputs[0] if layer is None else layer
    wanted = report.axes if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
    if not wanted or not set(wanted) <= set(report.axes):
        raise AttributeValueError(f"axes {wanted} are not among {', '.join(report.axes)}")
    chosen = [report.axes.index(name) for name in wanted]
    order = [seen for seen in report.values() if not _reads_nothing(seen)]
    place = {seen.name: position for position, seen in enumerate(order)}
    groups: dict[tuple[int | None, ...], list[int]] = {}
    for axis in chosen:
        groups.setdefault(tuple(_size(seen, axis) for seen in order), []).append(axis)
    path = _widest_path(report, report[end].name, chosen[0])
    if all(size is None for sizes in groups for size in sizes):
        raise UnknownFieldError("no layer has a field with a size; give an input size, or say what unknown ops read")
    ax = canvas.axes_for(ax, 8.0, 4.6)
    entries: list[tuple[Any, str]] = []
    for (sizes, group), colour in zip(groups.items(), canvas.CYCLE, strict=False):
        along = [(place[name], sizes[place[name]]) for name in path if name in place and sizes[place[name]] is not None]
        about = f" along {', '.join(report.axes[axis] for axis in group)}" if len(groups) > 1 else ""
        if along:
            look = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.6, "zorder": 3}
            (line,) = ax.plot(*zip(*along, strict=True), gid="widest", **look)
            entries.append((line, f"r{about}, along the widest path"))
        on_path = set(path)
        beside = [
            (position, size)
            for position, (seen, size) in enumerate(zip(order, sizes, strict=True))
            if size is not None and seen.name not in on_path
        ]
        if beside:
            dots = ax.scatter(
                *zip(*beside, strict=True), s=9, color=canvas.QUIET, alpha=0.6, linewidth=0, gid="beside", zorder=2
            )
            entries.append((dots, f"r{about} of layers beside it"))
        entries += _images(ax, report, group, colour if len(groups) > 1 else canvas.INK, about)
        idle = [
            (place[finding.node], sizes[place[finding.node]])
            for finding in report.findings
            if isinstance(finding, Unproductive) and report.axes[group[0]] in finding.axes and finding.node in place
        ]
        if idle := [(x, y) for x, y in idle if y is not None]:
            look = {"s": 70, "facecolor": "none", "edgecolor": canvas.RED, "linewidth": 1.4, "zorder": 4}
            rings = ax.scatter(*zip(*idle, strict=True), gid="unproductive", **look)
            entries.append((rings, f"unproductive{about}: all it reads has seen the whole image"))
    _strides(ax, report, path, place, chosen[0])
    ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
    ax.set_ylabel(f"r, {unit(wanted[0])} of {canvas.named(report.source)}", fontsize=9, parse_math=False)
    ax.grid(axis="y", color=canvas.LINE, linewidth=0.5)
    canvas.plain(ax)
    _name_layers(ax, [seen.name for seen in order])
    canvas.legend(ax, entries, loc="upper left")
    size = report[end]
    seen = [number(n) if (n := _size(size, axis)) is not None else "no size" for axis in chosen]
    hidden = sum(all(sizes[position] is None for sizes in groups) for position in range(len(order)))
    left_out = f"; {hidden} layers without a size are left out" if hidden else ""
    if any(size.is_global[axis] for axis in chosen):
        left_out += "; some path reads the whole axis besides"
    heading = f"{report.name or 'network'}: growth of the receptive field"
    canvas.title(
        ax, heading, f"r {across(seen)} at {canvas.named(end)}{left_out}; S, the effective stride, above", up=10
    )
    return ax


def _reads_nothing(layer: Layer) -> bool:
    return all(window.is_empty for window in layer.field)


def _size(layer: Layer, axis: int) -> int | None:
    """Return r along an axis, ``None`` where it has none, or depends on the input size."""
    table = layer.by_size[axis] if layer.by_size else None
    windows = table.fields if table is not None else (layer.field[axis],)
    sizes = {window.size for window in windows if window.is_local}
    return sizes.pop() if len(sizes) == 1 and all(window.is_local for window in windows) else None


def _widest_path(report: Report, end: Hashable, axis: int) -> list[Hashable]:
    """Return the nodes from the source to ``end``, back through the input of the widest field at each."""
    path = [end]
    while path[-1] != report.source:
        tails = [read.tail for read in report.reads(path[-1])]
        tails = [tail for tail in tails if not _reads_nothing(report[tail])]
        if not tails:
            break
        path.append(max(tails, key=lambda tail: _size(report[tail], axis) or 0))
    return path[::-1]


def _images(ax: Axes, report: Report, group: Sequence[int], colour: str, about: str) -> list[tuple[Any, str]]:
    """Draw the size of the image along some axes."""
    entries = []
    for size in sorted({n for axis in group if (n := report[report.source].map_size[axis]) is not None}):
        line = ax.axhline(size, color=colour, linewidth=1.2, linestyle=(0, (5, 3)), gid="image", zorder=1)
        entries.append((line, f"image{about}: {size} {unit(report.axes[group[0]])}"))
    return entries


def _strides(ax: Axes, report: Report, path: Sequence[Hashable], place: dict[Hashable, int], axis: int) -> None:
    """Mark where the effective stride changes along a path."""
    before: Number | None = None
    for name in path:
        window = report[name].field[axis]
        if name not in place or not window.is_local or window.stride == before:
            continue
        at = place[name] - 0.5
        if before is not None:
            ax.axvline(at, color=canvas.LINE, linewidth=0.9, linestyle=":", zorder=0, gid="stride")
        said = number(window.stride)
        ax.annotate(
            said if before is not None else f"S {said}", (at, 1), (1, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=7.5, color=canvas.QUIET, gid="stride", annotation_clip=False,
        )  # fmt: skip
        before = window.stride


def _name_layers(ax: Axes, names: Sequence[Hashable]) -> None:
    ax.set_xlim(-0.7, len(names) - 0.3)
    if len(names) > _NAMED:
        ax.set_xlabel("layer, in topological order", fontsize=9)
        return
    texts = [canvas.named(name)[1:-1] for name in names]
    ax.set_xticks(range(len(names)), texts, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
    for text in ax.get_xticklabels():
        text.set_parse_math(False)


def latency(
    report: Report | Latency,
    layer: Hashable | None = None,
    sample_rate: Number | None = None,
    chunk: int | None = None,
    *,
    axis: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what each layer of a streaming network waits for: a timeline of the samples round its own position.

    A bar reaches from the first sample that an output of the layer reads to the last, its own position being 0. Layers
    that read as far as the one before them share its bar.

    Parameters
    ----------
    report
        The results, or what ``Report.latency`` said.
    layer, sample_rate, chunk, axis
        As for ``Report.latency``. With a sample rate the timeline is in milliseconds.
    ax
        Where to draw.

    Raises
    ------
    LatencyError
        If a node forbids streaming, or as for ``Report.latency``.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("centred", axes=1)
    >>> out = net.conv("out", net.input("x"), kernel=5, padding=2)
    >>> ax = latency(analyze(net))
    >>> [(bar.get_gid(), bar.get_x(), bar.get_width()) for bar in ax.patches]
    [('past', 0, 0), ('past', -2, 2), ('ahead', 0, 2)]
    """
    answer = report if isinstance(report, Latency) else report.latency(layer, sample_rate, chunk, axis)
    if answer.blockers:
        raise LatencyError(f"{answer.layer!r} cannot be streamed: {answer.blockers[0]}")
    rows = _rows(answer.layers)
    timed = answer.sample_rate is not None

    def at(samples: Number) -> Any:
        return answer.in_milliseconds(samples) if timed else int(samples) if samples == int(samples) else float(samples)

    ax = canvas.axes_for(ax, 7.6, 1.7 + 0.24 * min(len(rows), _ROWS))
    left_out = max(len(rows) - _ROWS, 0)
    rows = [*rows[: _ROWS - 1], rows[-1]] if left_out else rows
    past = [Fraction(row.past) for row, _ in rows if row.past is not None]
    furthest = max([*past, Fraction(answer.look_ahead), Fraction(answer.stride)])
    bars = canvas.matplotlib("patches").Rectangle
    for place, (row, _) in enumerate(rows):
        back = furthest * 2 if row.past is None else Fraction(row.past)
        ax.add_patch(
            bars((at(-back), place - 0.3), at(back), 0.6, facecolor=canvas.SKY, edgecolor="none", gid="past", zorder=2)
        )
        if row.look_ahead > 0:
            ahead = bars((0, place - 0.3), at(row.look_ahead), 0.6, facecolor=canvas.ORANGE, edgecolor="none", zorder=2)
            ahead.set_gid("ahead")
            ax.add_patch(ahead)
        kept = (f"{row.state} kept" if row.state else "") + (" + recurrent state" if row.recurrent else "")
        ax.annotate(
            kept, (1, place), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=7.5,
            color=canvas.QUIET, va="center", gid="state",
        )  # fmt: skip
    ax.axvline(0, color=canvas.INK, linewidth=1, zorder=3, gid="now")
    hop = ax.axvline(at(answer.stride), color=canvas.GREEN, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1, gid="hop")
    room = max(furthest / 25, Fraction(1))
    latest = max([Fraction(answer.stride), *(Fraction(row.look_ahead) for row, _ in rows)])
    ax.set_xlim(at(-max(past, default=furthest) - room), at(latest + room))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    names = [f"{canvas.named(row.node)[1:-1]}{f' +{more}' if more else ''}" for row, more in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=8, parse_math=False)
    ax.tick_params(axis="y", length=0)
    unit = "milliseconds" if timed else f"samples of {canvas.named(answer.source)}"
    ax.set_xlabel(f"{unit} before and after a feature's own position", fontsize=9, parse_math=False)
    canvas.plain(ax)
    patch = canvas.matplotlib("patches").Patch
    canvas.legend(
        ax,
        [
            (patch(facecolor=canvas.SKY), "has read: past"),
            (patch(facecolor=canvas.ORANGE), "waits for: look-ahead"),
            (hop, f"hop: {number(answer.stride)}"),
        ],
        below=True,
        ncols=3,
    )
    time = f" ({answer.milliseconds:.4g} ms)" if timed else ""
    with_ = "one sample" if answer.chunk is None else f"a chunk of {answer.chunk}"
    most = "at most " if answer.status == "bound" else ""
    cut = f"; {left_out} rows are left out" if left_out else ""
    canvas.title(
        ax,
        f"{canvas.named(answer.layer)}: latency {most}{_samples(answer.samples)}{time}",
        f"look-ahead {most}{number(answer.look_ahead)} and {with_}; {'' if answer.causal else 'not '}causal; "
        f"keeps {answer.state} features between chunks{cut}",
    )
    return ax


def _samples(count: Number) -> str:
    return f"{number(count)} sample{'' if count == 1 else 's'}"


def _rows(layers: Sequence[LayerLatency]) -> list[tuple[LayerLatency, int]]:
    """Return layers, and how many after each read as far as it does and keep nothing."""
    rows: list[tuple[LayerLatency, int]] = []
    for layer in layers:
        last = rows[-1][0] if rows else None
        alike = last is not None and (last.past, last.look_ahead) == (layer.past, layer.look_ahead)
        if alike and not layer.state and not layer.recurrent and layer is not layers[-1]:
            rows[-1] = (rows[-1][0], rows[-1][1] + 1)
        else:
            rows.append((layer, 0))
    return rows
