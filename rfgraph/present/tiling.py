"""What ``tile`` shows: how to cut the input into tiles, some sizes to choose from, and exports for other tools."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from rfgraph.errors import SizeError, TilingError
from rfgraph.present.layers import head, title
from rfgraph.present.rows import Column, Document, Records, Sheet, across, digits
from rfgraph.questions.records import exact
from rfgraph.questions.tiles import AxisTiling, Tiling
from rfgraph.report import Report

#: Tile sizes that are shown beside the best one, for a person to choose from.
USUAL_TILES = (128, 256, 384, 512, 768, 1024, 1536, 2048)


def usual_plans(report: Report, layer: Hashable | None, overlap: Sequence[int] | int | None = None) -> list[Tiling]:
    """Return the plans of usual tile sizes that can be carried out and take more than one tile."""
    plans = []
    for tile in USUAL_TILES:
        try:
            plan = report.tiling(layer, tile, overlap)
        except (TilingError, SizeError):
            continue
        if plan.count != 1:
            plans.append(plan)
    return plans


@dataclass(frozen=True)
class TilingView:
    """Plans of several tile sizes, or the rule for all of them.

    Parameters
    ----------
    report
        The results.
    name
        Name of the model where the network has none.
    plans
        One plan a tile size; all of the same layer.
    """

    report: Report
    name: str
    plans: Sequence[Tiling]

    @property
    def _first(self) -> Tiling:
        return self.plans[0]

    def sheet(self) -> Sheet:
        """Return it for people."""
        heading = f"{title(self.report, self.name)}: tiles of {str(self._first.layer)!r}"
        if self._first.blockers:
            reasons = [(str(b.node), b.op, b.axis, b.why, b.advice) for b in self._first.blockers]
            blocked = ("node", "op", "axis", "why it forbids exact tiles", "instead")
            return Sheet(heading, tuple(map(Column, blocked)), reasons, ("exact tiling is forbidden",))
        columns = tuple(
            Column(name, "right") for name in ("tile", "start multiple", "halo", "step", "tiles", "computed / image")
        )
        rows = [_row(plan) for plan in self.plans]
        notes = [
            "halo: outputs before and after that differ from the whole image's; they are dropped inside the image",
            "step: pixels from one tile to the next, a multiple of the start multiple",
        ]
        if any(axis.same for axis in self._first.axes):
            notes.append("padding 'same': a tile's size has the image's residue modulo the start multiple")
        return Sheet(heading, columns, rows, tuple(notes))

    def records(self) -> Records:
        """Return it for spreadsheets: a row a plan and axis."""
        if self._first.blockers:
            reasons = [(str(b.node), b.op, b.axis, b.why, b.advice) for b in self._first.blockers]
            return Records(("node", "op", "axis", "why", "advice"), reasons)
        rows = [_record(plan, axis) for plan in self.plans for axis in plan.axes]
        return Records(_HEADER, rows)

    def document(self) -> Document:
        """Return it for programs."""
        return {
            **head("tile", self.report, self.name),
            "layer": str(self._first.layer),
            "status": self._first.status,
            "blockers": [
                {"node": str(b.node), "op": b.op, "axis": b.axis, "why": b.why, "advice": b.advice}
                for b in self._first.blockers
            ],
            "plans": [
                {
                    "tiles": plan.count,
                    "overhead": exact(plan.overhead),
                    "axes": [_axis_document(axis) for axis in plan.axes],
                }
                for plan in self.plans
                if plan.axes
            ],
        }


_HEADER = (
    "tile", "axis", "multiple", "halo_before", "halo_after", "overlap", "step", "tiles", "stride", "image", "status",
)  # fmt: skip


def _record(plan: Tiling, axis: AxisTiling) -> tuple[str, ...]:
    tiles = str(len(axis.tiles)) if axis.tiles else ""
    numbers = (axis.multiple, axis.before, axis.after, axis.overlap)
    return (
        digits(axis.tile),
        axis.axis,
        *map(str, numbers),
        digits(axis.step),
        tiles,
        digits(axis.stride),
        digits(axis.image),
        plan.status,
    )


def _row(plan: Tiling) -> tuple[str, ...]:
    axes = plan.axes
    return (
        across(["any" if axis.tile is None else str(axis.tile) for axis in axes]),
        across([str(axis.multiple) for axis in axes]),
        across([f"{axis.before} / {axis.after}" for axis in axes]),
        across(["?" if axis.step is None else str(axis.step) for axis in axes]),
        "" if plan.count is None else str(plan.count),
        "" if plan.overhead is None else f"{float(plan.overhead):.2f}",
    )


def _axis_document(axis: AxisTiling) -> Document:
    return {
        "axis": axis.axis,
        "image": axis.image,
        "tile": axis.tile,
        "step": axis.step,
        "overlap": axis.overlap,
        "multiple": axis.multiple,
        "halo": [axis.before, axis.after],
        "halo_pixels": list(axis.halo_pixels),
        "stride": exact(axis.stride),
        "same": axis.same,
        "tiles": len(axis.tiles) or None,
    }


# Exports: what other tools take, and what is lost.


@dataclass(frozen=True)
class Export:
    """A plan in the words of another tool; notes say what those words cannot."""

    view: TilingView
    form: str

    def sheet(self) -> Sheet:
        """Return it for people: there is nothing but the document."""
        raise NotImplementedError

    def records(self) -> Records:
        """Return it for spreadsheets: there is nothing but the document."""
        raise NotImplementedError

    def document(self) -> Document:
        """Return it for programs."""
        plan = self.view.plans[0]
        if plan.blockers:
            return {"status": plan.status, "blockers": [str(blocker) for blocker in plan.blockers]}
        return EXPORTS[self.form](plan)


def _bioimageio(plan: Tiling) -> Document:
    """Return the axes of a bioimage.io model description: a symmetric halo in outputs, sizes ``min + n * step``.

    Consumers step from tile to tile by size less twice the halo, so halo and sizes are rounded up to keep the starts on
    the multiple.
    """
    inputs, outputs = [], []
    for axis in plan.axes:
        stride = Fraction(axis.stride)
        per_multiple = (Fraction(axis.multiple) / stride).numerator  # outputs in a start multiple
        halo = -(-max(axis.before, axis.after) // per_multiple) * per_multiple
        least = -(-axis.overlap // axis.multiple) * axis.multiple + 2 * axis.multiple
        inputs.append({"id": axis.axis, "type": "space", "size": {"min": least, "step": axis.multiple}})
        outputs.append({"id": axis.axis, "type": "space", "halo": halo, "scale": exact(1 / stride)})
    return {
        "input": inputs,
        "output": outputs,
        "lost": "one halo for both sides, rounded up to the start multiple; at the image's border it is cropped too",
    }


def _monai(plan: Tiling) -> Document:
    """Return arguments of MONAI's sliding window: a roi, and an overlap at which its steps are multiples."""
    roi, overlaps = [], []
    for axis in plan.axes:
        needed = axis.overlap
        size = axis.tile or -(-4 * max(needed, 1) // axis.multiple) * axis.multiple
        step = max((size - needed) // axis.multiple * axis.multiple, axis.multiple)
        # int(roi * (1 - overlap)) has to be the step in floats: aim at the middle of the pixel.
        overlap = 1 - (step + 0.5) / size
        assert int(size * (1 - overlap)) == step
        roi.append(size)
        overlaps.append(overlap)
    return {
        "roi_size": roi,
        "overlap": overlaps,
        "lost": "MONAI blends where tiles overlap and pads at the end, so its result is never exact",
    }


EXPORTS: dict[str, Callable[[Tiling], Document]] = {"bioimageio": _bioimageio, "monai": _monai}
