"""Paths to the outputs, and the resolutions that they make use of: what a summary says besides its table."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from rfgraph.present.layers import NAMED
from rfgraph.present.rows import Document, across, number
from rfgraph.questions.productivity import Resolutions, Unproductive
from rfgraph.questions.records import told
from rfgraph.report import Report

if TYPE_CHECKING:
    from rfgraph.questions.paths import AxisPaths, Paths

#: In networks of more nodes than this paths are not counted unasked: counts get longer with every merge.
_COUNTED = 20_000


def counted_paths(report: Report, outputs: Sequence[Hashable]) -> list[Paths]:
    """Return the paths to the first few of ``outputs``."""
    return [report.paths(name) for name in outputs[:NAMED]] if len(report) <= _COUNTED else []


def path_lines(paths: Sequence[Paths]) -> list[str]:
    """Return the paths for people, where some output has several."""
    if all(of_layer.count < 2 for of_layer in paths):
        return []
    said = [f"{number(of_layer.count)} to {of_layer.layer!r} ({_sizes(of_layer.axes)})" for of_layer in paths]
    return [f"paths: {', '.join(said)}"]


def _sizes(axes: Sequence[AxisPaths]) -> str:
    least, most = (
        across([("?" if axis.unknown else "global") if size is None else number(size) for axis, size in ends])
        for ends in ([(axis, axis.smallest) for axis in axes], [(axis, axis.largest) for axis in axes])
    )
    return f"r {least}" if least == most else f"r {least} to {most}"


def paths_document(paths: Paths) -> Document:
    """Return paths for programs."""
    axes = [
        {
            **told(axis, "axis", "smallest", "largest", "empty", "unknown", "status", "why"),
            "sizes": [{"from": size.smallest, "to": size.largest, "count": size.count} for size in axis.sizes],
            "global": axis.whole,
        }
        for axis in paths.axes
    ]
    return {"layer": str(paths.layer), "count": paths.count, "axes": axes}


def resolution_lines(resolutions: Sequence[Resolutions], brief: bool = False) -> list[str]:
    """Return the input sizes that a network makes use of, for people; ``brief`` does not say what that means."""
    least = [axis.smallest for axis in resolutions if axis.smallest is not None]
    most = [axis.largest for axis in resolutions if axis.largest is not None]
    if len(least) < len(resolutions) or len(most) < len(resolutions) or max(least) == 1:
        return []
    ends = f"{across(list(map(number, least)))} to {across(list(map(number, most)))}"
    if brief:
        return [f"resolutions: {ends} pixels"]
    return [
        f"resolutions: {ends} pixels; on smaller images "
        "some convolution adds no context, of larger ones no layer sees the whole along its paths"
    ]


def resolution_document(resolutions: Resolutions) -> Document:
    """Return the input sizes that a network makes use of, for programs."""
    return told(resolutions, "axis", "smallest", "largest", "why")


def unproductive_document(finding: Unproductive) -> Document:
    """Return what only notes of unproductive layers have, for programs."""
    return told(finding, "narrowest", "image", "partly", "border")
