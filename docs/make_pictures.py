"""Draw the pictures of README.md again: ``python docs/make_pictures.py``.

Each file carries the numbers that it shows as text, which a test holds against what a report says today.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rfgraph
from rfgraph import plot
from rfgraph.plot.canvas import BLUE, INK, QUIET, RED
from rfgraph.present.accuracy import published

DOCS = Path(__file__).parent

#: Dots per inch of the files.
DOTS = 96


def misaligned() -> tuple[Any, dict[str, Any]]:
    """Return a figure of a merge of Keras' Xception whose branches do not line up, and its numbers."""
    from matplotlib.figure import Figure

    report = rfgraph.analyze("zoo:xception", input_size=299)
    finding = next(found for found in report.findings if isinstance(found, rfgraph.Misalignment))
    figure = Figure(figsize=(10.4, 3.9))
    graph, bars = figure.subplots(1, 2, width_ratios=(1, 2.1))
    _branches(graph, report, finding)
    plot.alignment(finding, ax=bars)
    figure.text(0.025, -0.02, f"advice: {finding.advice}", fontsize=9, color=INK, parse_math=False)
    figure.subplots_adjust(left=0.02, right=0.985, top=0.83, bottom=0.32, wspace=0.12)
    sides = {"reference": finding.reference, "branch": finding.branch}
    numbers: dict[str, Any] = {
        name: [str(side.tail), *map(str, (side.field.size, side.field.stride, side.field.padding))]
        for name, side in sides.items()
    }
    return figure, {**numbers, "offset": str(finding.offset), "merge": str(finding.merge), "advice": finding.advice}


def _branches(ax: Any, report: rfgraph.Report, finding: rfgraph.Misalignment) -> None:
    """Draw a fork, two branches and the merge in which they meet."""
    from matplotlib.patches import FancyBboxPatch

    def box(x: float, y: float, name: str, about: str, colour: str) -> None:
        look = {"boxstyle": "round,pad=0.04", "facecolor": "white", "edgecolor": colour}
        ax.add_patch(FancyBboxPatch((x - 1.15, y - 0.32), 2.3, 0.64, **look))
        ax.text(x, y + 0.1, name, ha="center", va="center", fontsize=8.5, color=INK, parse_math=False)
        ax.text(x, y - 0.15, about, ha="center", va="center", fontsize=7.5, color=QUIET, parse_math=False)

    def line(start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.2})

    for side, x, colour in ((finding.reference, 1.1, BLUE), (finding.branch, 3.7, RED)):
        inside = side.path[1:-1]
        more = f"{len(inside) - 1} more above" if len(inside) > 1 else report[side.tail].op
        line((2.4, 3.25), (x, 2.42), colour)
        line((x, 1.6), (2.4, 0.8), colour)
        size, stride = side.field.size, side.field.stride
        box(x, 2.0, str(side.tail), f"{more}; r {size}, S {stride}", colour)
    box(2.4, 3.6, str(finding.fork), report[finding.fork].op, INK)
    box(2.4, 0.4, str(finding.merge), f"centres {abs(finding.offset)} pixels apart", RED)
    ax.set(xlim=(-0.15, 4.95), ylim=(0, 4))
    ax.axis("off")
    said = f"Keras' Xception, {report[report.source].map_size[0]} pixels"
    ax.set_title(said, loc="left", fontsize=10.5, color=INK, pad=20)


def guide() -> tuple[Any, dict[str, Any]]:
    """Return the figures of the receptive-field guide: an image of 5 x 5, two convolutions; and their centres."""
    from matplotlib.figure import Figure

    net = rfgraph.Network("guide", axes=2)
    first = net.conv("conv1", net.input("image", size=5), kernel=3, padding=1, stride=2)
    second = net.conv("conv2", first, kernel=3, padding=1, stride=2)
    report = rfgraph.analyze(net)
    figure = Figure(figsize=(9.0, 5.0))
    numbers: dict[str, Any] = {}
    for layer, ax in zip((first, second), figure.subplots(1, 2), strict=True):
        plot.feature_maps(report, layer, (0, 0), ax=ax)
        (dots,) = ax.findobj(lambda artist: artist.get_gid() == "centres")
        numbers[str(layer)] = sorted({float(x) for x, _ in dots.get_offsets()})
    figure.subplots_adjust(left=0.07, right=0.98, top=0.88, bottom=0.26, wspace=0.2)
    return figure, numbers


def accuracy() -> tuple[Any, dict[str, Any]]:
    """Return the article's plot, and its points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 5.0), layout="constrained")
    found = published()
    plot.accuracy(found, ax=figure.subplots())
    return figure, {row.model: [row.size, round(100 * row.top1, 2), row.macs] for row in found.rows}


#: Name of a file -> what draws it.
PICTURES: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "misaligned": misaligned,
    "guide": guide,
    "accuracy": accuracy,
}


def main() -> None:
    """Write all pictures."""
    for name, draw in PICTURES.items():
        figure, numbers = draw()
        picture = io.BytesIO()
        about = {"Software": None, "Description": json.dumps(numbers)}
        figure.savefig(picture, format="png", dpi=DOTS, facecolor="white", bbox_inches="tight", metadata=about)
        (DOCS / f"{name}.png").write_bytes(picture.getvalue())


if __name__ == "__main__":
    main()
