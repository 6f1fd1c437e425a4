"""What is shown of effective fields: a column of ``summary``, and the map of one feature, as ``field`` shows it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from rfgraph.frozen import dataclass
from rfgraph.present.layers import NAMED, head, title
from rfgraph.present.rows import Column, Document, Records, Sheet, across, counted, envelope
from rfgraph.questions.layers import Layer
from rfgraph.questions.records import told
from rfgraph.report import Report

if TYPE_CHECKING:  # numpy is imported when it is asked for
    from rfgraph.measure import MeasuredField, Strongest
    from rfgraph.questions.effective import EffectiveField, EffectiveSize


def decimal(value: float) -> str:
    """Return a float for people.

    Examples
    --------
    >>> decimal(3.65148), decimal(1234.5678), decimal(0.0)
    ('3.651', '1235', '0')
    """
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def size_texts(layers: Sequence[Layer], sizes: Mapping[Hashable, EffectiveSize]) -> list[str]:
    """Return for people the standard deviation of each layer's effective field, ``~`` where it is approximate."""
    texts = []
    for layer in layers:
        size = sizes.get(layer.name)
        if size is None or size.std is None:
            texts.append("-" if size is None or size.status != "unknown" else "?")
        else:
            texts.append(("~" if size.status == "approximate" else "") + across([decimal(std) for std in size.std]))
    return texts


def size_lines_of(layers: Sequence[Layer], sizes: Mapping[Hashable, EffectiveSize]) -> list[str]:
    """Return what a column of effective sizes means, and why some are not exact."""
    lines = ["effective: standard deviation of E[g^2], g the gradient at random weights, in pixels; without borders"]
    reasons: dict[tuple[str, str], list[Hashable]] = {}
    for layer in layers:
        size = sizes.get(layer.name)
        if size is not None and size.why:
            reasons.setdefault((size.status, size.why), []).append(layer.name)
    for (status, why), names in list(reasons.items())[:NAMED]:
        others = f" and {counted(len(names) - 1, 'layer')} after it" if len(names) > 1 else ""
        mark = "effective ~ approximate" if status == "approximate" else "effective ? not known"
        lines.append(f"{mark} at {names[0]!r}{others}: {why}")
    return lines


def with_sizes(
    records: Records, layers: Sequence[Layer], axes: Sequence[str], sizes: Mapping[Hashable, EffectiveSize]
) -> Records:
    """Return a table of layers for spreadsheets with columns for their effective sizes."""
    numbers = (f"effective_{name}_{axis}" for name in ("mean", "std") for axis in axes)
    header = (*records.header, "effective_mass", *numbers, "effective_status", "effective_why")
    rows = []
    for layer, row in zip(layers, records.rows, strict=True):
        size = sizes.get(layer.name)
        if size is None or size.mass is None or size.mean is None or size.std is None:
            cells = ["", *("" for _ in range(2 * len(axes)))]
        else:
            cells = [repr(value) for value in chain((size.mass,), size.mean, size.std)]
        rows.append((*row, *cells, *(("", "") if size is None else (size.status, size.why))))
    return Records(header, rows)


def size_document(size: EffectiveSize | None) -> Document | None:
    """Return an effective size for programs, ``None`` for a layer that has none."""
    if size is None:
        return None
    mass = None if size.mass == float("inf") else size.mass
    return {"measure": "E[g^2]", **told(size, "mean", "std", "phases", "status", "why"), "mass": mass}


#: Shares of the whole of which it is told how large a square holds them.
SHARES = (0.2, 0.3, 0.5, 0.99)


@dataclass(frozen=True)
class FieldView:
    """The effective field of one feature.

    Parameters
    ----------
    field
        What they say of the feature that is asked for.
    measured
        The same of the model that was run, if it was.
    """

    report: Report
    field: EffectiveField
    name: str
    measured: MeasuredField | None = None

    def sheet(self) -> Sheet:
        """Return it for people."""
        field = self.field
        index = ", ".join(map(str, field.index))
        heading = f"{title(self.report, self.name)}: effective field of {str(field.layer)!r} at {index}"
        columns = (Column("axis"), *(Column(name, "right") for name in ("r", "from", "to", "mean", "std")))
        rows = []
        for one in (field, self.measured):
            for axis, name in enumerate(() if one is None else field.axes):
                assert one is not None
                first = one.first[axis]
                ends = (str(field.size[axis]), str(first), str(first + one.map.shape[axis] - 1))
                of = name if one is field else f"{name}, measured"
                rows.append((of, *ends, decimal(one.mean[axis]), decimal(one.std[axis])))
        return Sheet(heading, columns, rows, tuple(self._notes()))

    def _notes(self) -> list[str]:
        field = self.field
        sides = ", ".join(f"{share:.0%} in {field.side(share)}" for share in SHARES)
        notes = [
            f"{field.measure}, g the gradient; {'cut at the borders of all maps' if field.clipped else 'no borders'}",
            f"felt above 4.55 % of the peak: as many positions as a square of {decimal(field.luo_size)}, "
            f"{field.rate:.1%} of the side of the theoretical field",
            f"smallest square that holds a share: {sides}",
        ]
        if len(field.axes) > 1:
            covariance = field.covariance
            # What is left of it where axes are independent is rounding.
            least = 1e-9 * float(abs(covariance).max())
            rows = "; ".join(", ".join(decimal(float(v) if abs(v) > least else 0) for v in row) for row in covariance)
            notes.append(f"covariance: {rows}")
        if self.measured is not None:
            measured = self.measured
            most = "; by differences, which may miss some of it" if measured.lower_bound else ""
            sides = ", ".join(f"{share:.0%} in {measured.side(share)}" for share in SHARES)
            notes += [
                f"measured: {measured.measure} over {counted(measured.samples, 'sample')}{most}",
                f"measured, above 4.55 % of the peak: a square of {decimal(measured.luo_size)}, {measured.rate:.1%} of "
                f"the side; {sides}",
            ]
        return [*notes, *(f"approximate: {why}" for why in field.reasons)]

    def records(self) -> Records:
        """Return it for spreadsheets: a row per position."""
        import numpy as np

        rows = []
        for place in np.ndindex(*self.field.map.shape):
            position = (str(first + at) for first, at in zip(self.field.first, place, strict=True))
            rows.append((*position, repr(float(self.field.map[place])), repr(float(self.field.strength[place]))))
        return Records((*self.field.axes, "value", "share"), rows)

    def document(self) -> Document:
        """Return it for programs."""
        more = ("index", "status", "reasons", "clipped", "size", "mass", "covariance", "rate")
        return {
            **head("field", self.report, self.name),
            "layer": str(self.field.layer),
            "measured": None if self.measured is None else _measured_document(self.measured),
            **_map_document(self.field),
            **told(self.field, *more),
        }


def _map_document(field: EffectiveField | MeasuredField) -> Document:
    sides = {str(share): field.side(share) for share in SHARES}
    return {**told(field, "measure", "first", "map", "mean", "std", "luo_size"), "sides": sides}


def _measured_document(field: MeasuredField) -> Document:
    error = field.error.tolist() if field.samples > 1 else None
    return {**_map_document(field), **told(field, "samples", "lower_bound"), "error": error}


@dataclass(frozen=True)
class StrongestView:
    """The strongest features of a layer, and where they looked."""

    model: str
    layer: str
    features: Sequence[Strongest]

    def sheet(self) -> Sheet:
        """Return it for people."""
        columns = (
            Column("channel", "right"), Column("index"), Column("value", "right"), Column("sees"),
            Column("half of what it feels"),
        )  # fmt: skip
        rows = [
            (
                str(one.channel), ", ".join(map(str, one.index)), decimal(one.value), _box(one.box),
                _box(one.effective_box),
            )
            for one in self.features
        ]  # fmt: skip
        notes = ("boxes: the first and last pixel on each axis; half: the smallest square that holds half of g^2",)
        return Sheet(f"{self.model}: the strongest features of {self.layer!r}", columns, rows, notes)

    def records(self) -> Records:
        """Return it for spreadsheets."""
        rows = [
            (str(one.channel), " ".join(map(str, one.index)), repr(one.value), _box(one.box), _box(one.effective_box))
            for one in self.features
        ]
        return Records(("channel", "index", "value", "box", "effective_box"), rows)

    def document(self) -> Document:
        """Return it for programs."""
        features = [told(one, "channel", "index", "value", "box", "effective_box") for one in self.features]
        return {**envelope("strongest", self.model), "layer": self.layer, "features": features}


def _box(box: Sequence[tuple[int | None, int | None]] | None) -> str:
    return "-" if box is None else " x ".join(f"{first}..{last}" for first, last in box)


def array_data(field: EffectiveField) -> bytes:
    """Return the map as a file of numpy's."""
    import io

    import numpy as np

    stream = io.BytesIO()
    np.save(stream, field.map, allow_pickle=False)
    return stream.getvalue()
