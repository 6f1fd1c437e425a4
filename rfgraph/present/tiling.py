"""What ``tile`` shows: how to cut the input into tiles, and some sizes to choose from."""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.errors import SizeError, TilingError
from rfgraph.frozen import dataclass
from rfgraph.present.layers import head, title
from rfgraph.present.rows import Column, Document, Records, Sheet, across, digits
from rfgraph.questions.records import told
from rfgraph.questions.tiles import AxisTiling, Tiling
from rfgraph.report import Report

#: How many tile sizes are shown beside the best one, for a person to choose from.
SHOWN = 8


def usual_plans(report: Report, best: Tiling, overlap: Sequence[int] | int | None = None) -> list[Tiling]:
    """Return plans of round tile sizes, smallest first, that can be carried out and take more than one tile.

    Parameters
    ----------
    best
        A plan of the same layer, which tells what tiles have to share.
    overlap
        Pixels that neighbouring tiles share at least.
    """
    # Tiles that share more than four fifths of their pixels are no choice.
    least = min(axis.multiple + min(halo.overlap for halo in axis.halos.values()) * 5 // 4 for axis in best.axes)
    largest = max(axis.image or 0 for axis in best.axes)
    plans: list[Tiling] = []
    doubled = 128 << max(least.bit_length() - 8, 0)
    while len(plans) < SHOWN and doubled < largest:
        for tile in (doubled, doubled * 3 // 2):
            if tile < least:
                continue
            try:
                plan = report.tiling(best.layer, [_near(axis, tile) for axis in best.axes], overlap)
            except (TilingError, SizeError):
                continue
            if plan.count != 1:
                plans.append(plan)
        doubled *= 2
    return plans[:SHOWN]


def _near(axis: AxisTiling, tile: int) -> int:
    """Return the tile size next below ``tile`` on which the network runs and is in step with the image."""
    residues = [(axis.image or 0) % axis.multiple] if axis.same else axis.halos
    return max(tile - (tile - residue) % axis.multiple for residue in residues)


@dataclass(frozen=True)
class TilingView:
    """Plans of several tile sizes, or the rule for all of them.

    Parameters
    ----------
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
            "blockers": [{"node": str(b.node), **told(b, "op", "axis", "why", "advice")} for b in self._first.blockers],
            "plans": [
                {"tiles": plan.count, **told(plan, "overhead"), "axes": [_axis_document(axis) for axis in plan.axes]}
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
    numbers = ("axis", "image", "tile", "step", "overlap", "multiple", "halo_pixels", "stride", "same")
    return {**told(axis, *numbers), "halo": [axis.before, axis.after], "tiles": len(axis.tiles) or None}
