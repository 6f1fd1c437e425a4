"""Layers as rows: their numbers per axis, and the reasons where these are not exact."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Literal

from rfgraph.algebra.residues import BySize, named_residues
from rfgraph.algebra.window import Number, Window
from rfgraph.errors import ColumnError
from rfgraph.frozen import dataclass
from rfgraph.graph.costs import Total
from rfgraph.present.rows import (
    Column,
    Document,
    Records,
    Sheet,
    across,
    counted,
    digits,
    envelope,
    number,
    times,
    truth,
)
from rfgraph.questions.findings import named_axes
from rfgraph.questions.layers import Layer
from rfgraph.questions.records import COSTS, NUMBERS, Field, fields_of, value_of, values_of
from rfgraph.report import Report

#: Outputs and reasons named below a table; JSON has all of them.
NAMED = 8

#: A number that the input size decides is said to people for each residue if it takes no more values than this.
_CASES = 4


def _windows(field: Field) -> tuple[Window, ...]:
    """Return the windows that a field is, at the input sizes that work."""
    return field.fields if isinstance(field, BySize) else (field,)


def reads_nothing(layer: Layer) -> bool:
    """Return whether a layer does not depend on what its field is measured at."""
    return all(window.is_empty for window in layer.field)


def has_global_path(layer: Layer) -> bool:
    """Return whether some path to a layer reads a whole axis, and another one only part of it."""
    return any(whole and not window.is_unbounded for whole, window in zip(layer.is_global, layer.field, strict=True))


def layer_sheet(
    layers: Sequence[Layer],
    title: str,
    notes: tuple[str, ...],
    more: Mapping[str, Sequence[str]] = MappingProxyType({}),
    chosen: Sequence[str] | None = None,
    ranges: Mapping[Hashable, Sequence[tuple[int, int] | None]] = MappingProxyType({}),
) -> Sheet:
    """Return the table of layers for people; there are columns for sizes of maps and for costs where they are known.

    Parameters
    ----------
    layers, title, notes
        The rows, and what is said above and below them.
    more
        Other columns: a cell per layer under each heading.
    chosen
        Headings of the columns to show, in their order; by default those of which something is known.
    ranges
        Layer -> the smallest and the largest field that a feature of it has per axis, for fields that are not known.

    Raises
    ------
    RFGraphError
        If there is no column that is chosen.
    """
    numbers: list[tuple[str, ...]] = []

    def number_texts(place: int) -> Callable[[], list[str]]:
        def texts() -> list[str]:
            if not numbers:
                numbers.extend(field_texts(layer, ranges.get(layer.name)) for layer in layers)
            return [row[place] for row in numbers]

        return texts

    def costs(name: str) -> Callable[[], list[str]]:
        return lambda: [cost_text(getattr(layer, name)) for layer in layers]

    def phases(say: Callable[[Window], str]) -> Callable[[], list[str]]:
        return lambda: [across([_phase_text(field, say) for field in fields_of(layer)]) for layer in layers]

    sized = any(size not in (None, 1) for layer in layers for size in layer.map_size)  # a global pool makes 1 of all
    phased, known = has_phases(layers), cost_columns(layers)
    columns: list[tuple[Column, bool, Callable[[], Sequence[str]]]] = [
        (Column("layer", names=True), True, lambda: [str(layer.name) for layer in layers]),
        (Column("op", rank=4), True, lambda: [layer.op for layer in layers]),
        (Column("n", "right", rank=1), sized, lambda: [map_text(layer) for layer in layers]),
        (Column("channels", "right", rank=7, counts=True), "channels" in known, costs("channels")),
        *(
            (Column(heading, "right", rank=_RANKS.get(heading, 0)), True, number_texts(place))
            for place, heading in enumerate(NUMBERS)
        ),
        *((Column(heading, "right"), True, partial(list, cells)) for heading, cells in more.items()),
        (Column("parameters", "right", rank=5, counts=True), "parameters" in known, costs("parameters")),
        (Column(COSTS["macs"], "right", rank=6, counts=True), "macs" in known, costs("macs")),
        (Column("T", "right", rank=3), phased, phases(lambda window: str(window.period))),
        (Column("reach", "right", rank=9), phased, phases(_reach)),
        (Column("status"), False, lambda: [layer.status for layer in layers]),
        (Column("location"), False, lambda: [layer.location for layer in layers]),
    ]
    by_heading = {column.heading: (replace(column, rank=0), True, cells) for column, _, cells in columns}
    if chosen is not None:
        columns = [by_heading[heading] for heading in _headings(chosen, list(by_heading))]
    shown = [(column, cells()) for column, is_shown, cells in columns if is_shown]
    if phased:
        notes = (*notes, PHASES)
    rows = list(zip(*(cells for _, cells in shown), strict=True))
    return Sheet(title, tuple(column for column, _ in shown), rows, notes)


#: Numbers of a field that are left out where there is no room, the highest first.
_RANKS = {"P": 2, "start": 8}


def _headings(chosen: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the headings that are chosen; how they are capitalised does not matter where only one is meant."""
    headings = []
    for name in chosen:
        same = [heading for heading in known if heading == name] or [
            heading for heading in known if heading.lower() == name.lower()
        ]
        if not same:
            near = get_close_matches(name, known, 1)
            hint = f" (near: {near[0]})" if near else ""
            raise ColumnError(f"there is no column {name!r}{hint}; there are {', '.join(known)}")
        headings.append(same[0])
    return headings


def chosen_records(records: Records, chosen: Sequence[str]) -> Records:
    """Return the columns of a table for spreadsheets that are chosen; a number is chosen on all axes, as r for r_y."""
    known = list(dict.fromkeys(name.rpartition("_")[0] or name for name in records.header))
    known = [name for name in known if name not in records.header] + list(records.header)
    places = []
    for heading in _headings(chosen, known):
        places += [i for i, name in enumerate(records.header) if heading in (name, name.rpartition("_")[0])]
    return Records(tuple(records.header[i] for i in places), [tuple(row[i] for i in places) for row in records.rows])


def map_text(layer: Layer) -> str:
    """Return the sizes of the map of a layer."""
    return across(["?" if size is None else number(size) for size in layer.map_size])


def changes_nothing(layer: Layer, tails: Sequence[Layer]) -> bool:
    """Return whether n, r, S and P of a layer are those of all that it reads."""
    return bool(tails) and all(_seen(tail) == _seen(layer) for tail in tails)


def _seen(layer: Layer) -> tuple[object, ...]:
    """Return what the columns n, r, S and P show of a layer; where phases differ, all of them count."""
    fields = [_window_seen(window) for field in fields_of(layer) for window in _windows(field)]
    return layer.map_size, layer.is_global, *fields


def _window_seen(window: Window) -> object:
    if not window.is_local:
        return window.side, window.is_unknown
    return (window.size, window.stride, window.padding) if window.period == 1 else (window.stride, window.intervals)


#: What a row means where a network upsamples.
PHASES = (
    "T: outputs after which what is read repeats; r is that of the widest of them, P and start are those of output 0; "
    "reach: how far output y reads before and after y*S, at the output that reads furthest (all are in --format json)"
)


#: The same in short.
PHASES_BRIEF = "T: phases, after which what is read repeats; r: the widest one's, P and start: those of output 0"


def has_phases(layers: Sequence[Layer]) -> bool:
    """Return whether neighbouring outputs of some layer read differently."""
    return any(window.period > 1 for layer in layers for field in fields_of(layer) for window in _windows(field))


def _reach(window: Window) -> str:
    before, after = window.reach
    return f"{number(-before)}..{'+' if after >= 0 else ''}{number(after)}"


def _phase_text(field: Field, say: Callable[[Window], str]) -> str:
    """Return what ``say`` says of a field, where the input size does not matter to it."""
    texts = {say(window) for window in _windows(field) if window.is_local}
    return texts.pop() if len(texts) == 1 else "?" if texts else "-"


def cost_columns(layers: Sequence[Layer]) -> list[str]:
    """Return which of the numbers of ``COSTS`` some layer has."""
    return [name for name in COSTS if any(getattr(layer, name) for layer in layers)]


def cost_text(count: int | None) -> str:
    """Return a count for people.

    Examples
    --------
    >>> cost_text(25557032), cost_text(0), cost_text(None)
    ('25,557,032', '0', '?')
    """
    return "?" if count is None else f"{count:,}"


def field_texts(layer: Layer, ranges: Sequence[tuple[int, int] | None] | None = None) -> tuple[str, ...]:
    """Return r, S, P and start of a layer for people.

    Where a field is not known, r is the range of what its features read, if ``ranges`` has one for the axis.
    """
    fields = fields_of(layer)
    same = all(field is fields[0] for field in fields)  # axes that read alike share their windows
    axes = [_texts(field) for field in (fields[:1] if same and ranges is None else fields)]
    for axis, met in enumerate(ranges or ()):
        if met is not None and axes[axis][0] == "?":
            least, most = map(number, met)
            axes[axis] = (least if least == most else f"{least}..{most}", *axes[axis][1:])
    size, *rest = (across(texts) for texts in zip(*axes, strict=True))
    marked = [
        axis
        for axis, window, whole in zip(layer.axes, layer.field, layer.is_global, strict=True)
        if whole and not window.is_unbounded
    ]
    if marked:
        size += " +global" if len(marked) == len(layer.axes) else f" +global({','.join(marked)})"
    return size, *rest


def axis_texts(layer: Layer) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return r, S, P and start for people, once for axes that agree on them."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for axis, field in zip(layer.axes, fields_of(layer), strict=True):
        groups.setdefault(_texts(field), []).append(axis)
    return [(axes, texts) for texts, axes in groups.items()]


def _texts(field: Field) -> tuple[str, str, str, str]:
    windows = _windows(field)
    if any(window.is_unknown for window in windows):
        return "?", "?", "?", "?"
    if any(window.is_local for window in windows):
        most, about = ("", "") if all(window.exact for window in windows) else ("<=", "~")
        size, stride, padding, start = (_range(values_of(field, name)) for name in NUMBERS.values())
        return most + size, stride, most + padding, about + start
    return {"both": "global", "": "-"}.get(windows[0].side, windows[0].side), "-", "-", "-"


def _range(values: Sequence[Number]) -> str:
    return number(values[0]) if len(values) == 1 else f"{number(values[0])}..{number(values[-1])}"


def field_line(layer: Layer, ranges: Sequence[tuple[int, int] | None] | None = None) -> str:
    """Return r, S and P of a layer in a sentence; ``ranges`` as for ``field_texts``."""
    periods = {window.period for field in fields_of(layer) for window in _windows(field) if window.is_local}
    most = max(periods, default=1)
    told = [f"{name} {text}" for name, text in zip(NUMBERS, field_texts(layer, ranges)[:3], strict=False)]
    return ", ".join(told if most == 1 else [f"{told[0]} at the widest of {most} phases", *told[1:]])


def layer_records(layers: Sequence[Layer], axes: Sequence[str]) -> Records:
    """Return the table of layers for spreadsheets, one column per number and axis.

    Where the input size decides and is not given, there are columns for what it decides by; numbers are left out on
    which the sizes do not agree. There are columns for costs, and for places in the code, if the model tells any.
    """
    decided = any(isinstance(field, BySize) for layer in layers for field in fields_of(layer))
    phased = has_phases(layers)
    names = ("n", *NUMBERS, "global", *(["period"] if phased else []), *(["by_n_mod"] if decided else []))
    places = any(layer.location for layer in layers)
    numbers = (f"{name}_{axis}" for name in names for axis in axes)
    costs = cost_columns(layers)
    header = ("layer", "op", *numbers, *costs, "status", "why", *(["location"] if places else []))
    rows = []
    for layer in layers:
        fields = fields_of(layer)
        moduli = [digits(field.modulus) if isinstance(field, BySize) else "" for field in fields]
        rows.append(
            (
                str(layer.name),
                layer.op,
                *(digits(size) for size in layer.map_size),
                *(digits(value_of(field, name)) for name in NUMBERS.values() for field in fields),
                *(truth(whole) for whole in layer.is_global),
                *([digits(value_of(field, "period")) for field in fields] if phased else []),
                *(moduli if decided else []),
                *(digits(getattr(layer, name)) for name in costs),
                layer.status,
                layer.why,
                *([layer.location] if places else []),
            )
        )
    return Records(header, rows)


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
        windows = (window for field in fields_of(layer) for window in _windows(field))
        for why, status in dict.fromkeys((window.why, window.status) for window in windows):
            if status != "exact":
                met.setdefault((why, status), []).append(layer.name)
    return [Reason(why, status, names[0], len(names)) for (why, status), names in met.items()]


def reason_lines(reasons: Sequence[Reason]) -> list[str]:
    """Return the reasons for people, of many the first few."""
    said = {"unknown": "? not known", "bound": "<= upper bounds"}
    lines = [f"{said[reason.status]} at {reason.where('layer')}: {reason.why}" for reason in reasons[:NAMED]]
    if len(reasons) > NAMED:
        lines.append(f"and {len(reasons) - NAMED} other reasons (see --format json)")
    return lines


#: What r means where a field is not known but each feature's region is.
RANGES = "r from a..b: paths drift apart; at this input size the features' regions are a to b long"


def size_lines(outputs: Sequence[Layer]) -> list[str]:
    """Return for people how the input size decides the numbers of ``outputs``, of many for the first few."""
    lines = []
    for layer in outputs[:NAMED]:
        groups: dict[BySize, list[str]] = {}
        for axis, field in zip(layer.axes, fields_of(layer), strict=True):
            if isinstance(field, BySize):
                groups.setdefault(field, []).append(axis)
        for table, axes in groups.items():
            where = "" if len(axes) == len(layer.axes) else f", {named_axes(tuple(axes))}"
            smallest = f", for n from {table.smallest}" if table.smallest > 1 else ""
            for heading in ("r", "S", "P"):
                values = values_of(table, NUMBERS[heading])
                if len(values) > 1:
                    cases = _cases(table, NUMBERS[heading], values)
                    lines.append(f"{heading} of {layer.name!r}{where}: {cases}{smallest}")
    return lines


def _cases(table: BySize, name: str, values: Sequence[Number]) -> str:
    """Return which of ``values`` a number is when."""
    if len(values) > _CASES:
        return f"{number(values[0])} to {number(values[-1])}, by n mod {table.modulus} (each is in --format json)"
    at: dict[Number, list[int]] = {}
    for residue, window in enumerate(table.windows):
        if window.is_local:
            at.setdefault(getattr(window, name), []).append(residue)
    return "; ".join(f"{number(value)} where {named_residues(table.modulus, at[value])}" for value in values)


def cost_lines(report: Report) -> list[str]:
    """Return the totals of a network for people, where any number of some layer is known."""
    lines = []
    parameters, macs = report.parameters, report.macs
    if parameters.count:
        unread = report.costs.unread
        aside = f"; no layer here reads {cost_text(unread)} of them" if unread else ""
        lines.append(f"parameters: {parameters}{_left_out(report, parameters)}{aside}")
    elif macs.count and not parameters.complete:
        lines.append("parameters: not known; nothing says which of its tensors are learned")
    if macs.count:
        lines.append(f"MACs: {macs}{_left_out(report, macs)}")
    elif parameters.count and not macs.complete:
        if any(cost.channels is None or cost.why for cost in report.costs.values()):
            lines.append("MACs: not known; they need the channels of all layers and --input-size")
        else:
            lines.append("MACs: not known without --input-size")
    return lines


def _left_out(report: Report, total: Total) -> str:
    if total.complete:
        return ""
    first, *rest = total.unknown
    why = report.costs[first].why
    more = f" and {counted(len(rest), 'more layer')}" if rest else ""
    return f", without {first!r}{more}{f' ({why})' if why else ''}"


def total_document(total: Total) -> Document:
    """Return a sum over layers for programs: a lower bound if it is not complete."""
    return {"count": total.count, "complete": total.complete, "unknown": [str(node) for node in total.unknown]}


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
    if report.as_run:
        more = f" and {len(report.as_run) - 1} more" if len(report.as_run) > 1 else ""
        lines.append(f"as run on this example: what it holds decides which code runs at {report.as_run[0]}{more}")
    if report.batch_norm == "training":
        lines.append("batch normalisation: in training, over the whole map")
    return lines


def input_documents(layers: Iterable[Layer]) -> list[Document]:
    """Return the inputs of a network for programs."""
    return [{"name": str(layer.name), "size": list(layer.map_size)} for layer in layers]


def head(command: str, report: Report, name: str) -> Document:
    """Return what the document of every command on one network begins with."""
    inputs = [layer for layer in report.values() if layer.op == "input"]
    return {
        **envelope(command, name, input_documents(inputs), str(report.source), report[report.source].map_size),
        "name": report.name or name,
        "axes": list(report.axes),
        "batch_norm": report.batch_norm,
        "as_run": list(report.as_run),
        "treated": [{"node": str(t.node), "as": t.how, "pattern": t.pattern} for t in report.treated],
    }
