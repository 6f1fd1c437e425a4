"""Layers as rows: their numbers per axis, and the reasons where these are not exact."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rfgraph.analysis import Report
from rfgraph.present.rows import (
    SCHEMA_VERSION,
    Column,
    Document,
    Records,
    Sheet,
    across,
    counted,
    digits,
    exact,
    number,
    times,
    truth,
)
from rfgraph.results import Layer, named_axes
from rfgraph.window import Number, Window

#: Outputs and reasons named below a table; JSON has all of them.
NAMED = 8

#: Headings of the numbers of a field, and the attributes of ``Window`` that hold them.
NUMBERS = {"r": "size", "S": "stride", "P": "padding", "start": "start"}


def reads_nothing(layer: Layer) -> bool:
    """Return whether a layer does not depend on what its field is measured at."""
    return all(window.is_empty for window in layer.field)


def has_global_path(layer: Layer) -> bool:
    """Return whether some path to a layer reads a whole axis, and another one only part of it."""
    return any(whole and not window.is_full for whole, window in zip(layer.is_global, layer.field, strict=True))


def layer_sheet(layers: Sequence[Layer], title: str, notes: tuple[str, ...]) -> Sheet:
    """Return the table of layers for people; map sizes have a column where an input size tells them."""
    sized = any(size not in (None, 1) for layer in layers for size in layer.map_size)  # a global pool makes 1 of all
    columns = [Column("layer"), Column("op"), *([Column("n", "right")] if sized else [])]
    columns += [Column(heading, "right") for heading in NUMBERS]
    rows = []
    for layer in layers:
        sizes = [across(["?" if size is None else number(size) for size in layer.map_size])] if sized else []
        rows.append((str(layer.name), layer.op, *sizes, *field_texts(layer)))
    return Sheet(title, tuple(columns), rows, notes)


def field_texts(layer: Layer) -> tuple[str, ...]:
    """Return r, S, P and start of a layer for people."""
    same = all(window is layer.field[0] for window in layer.field)  # axes that read alike share their windows
    axes = [_texts(window) for window in (layer.field[:1] if same else layer.field)]
    size, *rest = (across(texts) for texts in zip(*axes, strict=True))
    marked = [
        axis
        for axis, window, whole in zip(layer.axes, layer.field, layer.is_global, strict=True)
        if whole and not window.is_full
    ]
    if marked:
        size += " +global" if len(marked) == len(layer.axes) else f" +global({','.join(marked)})"
    return size, *rest


def axis_texts(layer: Layer) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return r, S, P and start for people, once for axes that agree on them."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for axis, window in zip(layer.axes, layer.field, strict=True):
        groups.setdefault(_texts(window), []).append(axis)
    return [(axes, texts) for texts, axes in groups.items()]


def _texts(window: Window) -> tuple[str, str, str, str]:
    if window.is_local:
        most, about = ("", "") if window.exact else ("<=", "~")
        return (
            most + number(window.size),
            number(window.stride),
            most + number(window.padding),
            about + number(window.start),
        )
    if window.is_unknown:
        return "?", "?", "?", "?"
    return "global" if window.is_full else "-", "-", "-", "-"


def field_line(layer: Layer) -> str:
    """Return r, S and P of a layer in a sentence."""
    return ", ".join(f"{name} {text}" for name, text in zip(NUMBERS, field_texts(layer)[:3], strict=False))


def layer_records(layers: Sequence[Layer], axes: Sequence[str]) -> Records:
    """Return the table of layers for spreadsheets, one column per number and axis."""
    names = ("n", *NUMBERS, "global")
    header = ("layer", "op", *(f"{name}_{axis}" for name in names for axis in axes), "status", "why")
    rows = []
    for layer in layers:
        fields = [_values(window) for window in layer.field]
        rows.append(
            (
                str(layer.name),
                layer.op,
                *(digits(size) for size in layer.map_size),
                *(digits(values[heading]) for heading in NUMBERS for values in fields),
                *(truth(whole) for whole in layer.is_global),
                layer.status,
                layer.why,
            )
        )
    return Records(header, rows)


def layer_document(layer: Layer) -> Document:
    """Return a layer for programs; a field that reads the whole axis has no size but says ``global``."""
    fields = []
    for axis, size, window, whole in zip(layer.axes, layer.map_size, layer.field, layer.is_global, strict=True):
        fields.append({"axis": axis, "map_size": size, **window_document(window), "global": whole})
    return {"name": str(layer.name), "op": layer.op, "fields": fields, "status": layer.status, "why": layer.why}


def window_document(window: Window) -> Document:
    """Return a window for programs."""
    local = window.is_local
    return {
        "size": exact(window.size) if local else None,
        "stride": exact(window.stride) if local else None,
        "padding": exact(window.padding) if local else None,
        "center": exact(window.center) if local else None,
        "start": exact(window.start) if local else None,
        "period": window.period if local else None,
        "status": window.status,
    }


def _values(window: Window) -> dict[str, Number | None]:
    return {heading: getattr(window, name) if window.is_local else None for heading, name in NUMBERS.items()}


@dataclass(frozen=True)
class Reason:
    """Why the fields of some layers are not exact."""

    why: str
    status: Literal["bound", "unknown"]
    #: The first of them, and how many there are.
    first: Hashable
    layers: int

    def where(self, noun: str) -> str:
        """Return the layers in a sentence, each called a ``noun``."""
        others = f" and {counted(self.layers - 1, noun)} after it" if self.layers > 1 else ""
        return f"{self.first!r}{others}"

    def document(self) -> Document:
        """Return it for programs."""
        return {"why": self.why, "status": self.status, "first": str(self.first), "layers": self.layers}


def reasons(layers: Iterable[Layer]) -> list[Reason]:
    """Return each reason once, in the order of the layers where they are met first."""
    met: dict[tuple[str, Literal["bound", "unknown"]], list[Hashable]] = {}
    for layer in layers:
        for why, status in dict.fromkeys((window.why, window.status) for window in layer.field):
            if status != "exact":
                met.setdefault((why, status), []).append(layer.name)
    return [Reason(why, status, names[0], len(names)) for (why, status), names in met.items()]


def reason_lines(found: Sequence[Reason]) -> list[str]:
    """Return the reasons for people, of many the first few."""
    said = {"unknown": "? not known", "bound": "<= upper bounds"}
    lines = [f"{said[reason.status]} at {reason.where('layer')}: {reason.why}" for reason in found[:NAMED]]
    if len(found) > NAMED:
        lines.append(f"and {len(found) - NAMED} other reasons (see --format json)")
    return lines


def title(report: Report, name: str) -> str:
    """Return the line above a view of ``report``; ``name`` is shown where the network has none."""
    sizes = report[report.source].map_size
    known = f", input {times(sizes)}" if any(size is not None for size in sizes) else ""
    return f"{report.name or name}: {named_axes(report.axes)}, measured at {report.source!r}{known}"


def taken_lines(report: Report) -> list[str]:
    """Return what was taken for granted, for people: what they said themselves of what nodes read."""
    said: dict[str, list[str]] = {}
    for treatment in report.treated:
        said.setdefault(treatment.how, []).append(repr(treatment.node))
    lines = []
    for how, nodes in said.items():
        more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
        lines.append(f"treated as {how}: {', '.join(nodes[:NAMED])}{more}")
    if report.batch_norm == "training":
        lines.append("batch normalisation: in training, over the whole map")
    return lines


def head(command: str, report: Report, name: str) -> Document:
    """Return what the document of every command on one network begins with."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "name": report.name or name,
        "axes": list(report.axes),
        "source": str(report.source),
        "input_size": list(report[report.source].map_size),
        "batch_norm": report.batch_norm,
        "treated": [{"node": str(t.node), "as": t.how, "pattern": t.pattern} for t in report.treated],
    }
