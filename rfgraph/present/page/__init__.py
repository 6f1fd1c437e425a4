"""A page for a browser that shows all there is to see of a network: one file, from disk, without a network.

The files beside this one are a page without data; here they are put together. The browser follows fields from map to
map by itself, from the window of each op and phase, so that the page is as small as the network. Its policy lets run
nothing but the script whose hash it states, and fetches nothing at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from html import escape
from importlib.resources import files
from typing import Any

from rfgraph.algebra.window import Interval, Window
from rfgraph.errors import RFGraphError
from rfgraph.frozen import dataclass
from rfgraph.present.drawing import Picture, box_width, fitted
from rfgraph.present.effective import FieldView
from rfgraph.present.latency import LatencyView
from rfgraph.present.layers import cost_lines, field_line, layer_sheet, reason_lines, reasons, title
from rfgraph.present.modules import Module, parts
from rfgraph.present.reach import counted_paths, path_lines, resolution_lines
from rfgraph.present.rows import Sheet, across, counted, number, printable
from rfgraph.present.sizes import lines_up_lines
from rfgraph.present.tiling import TilingView, usual_plans
from rfgraph.questions.effective import EffectiveField
from rfgraph.questions.findings import Finding
from rfgraph.questions.latency import Latency
from rfgraph.questions.layers import Read
from rfgraph.questions.misalignment import Branch, Misalignment
from rfgraph.questions.paths import AxisPaths, Paths
from rfgraph.questions.tiles import Tiling
from rfgraph.report import Report

#: Part of a panel: what kind it is, and what it shows.
Part = tuple[str, Any]

#: Numbers beyond this are not exact in a browser.
_EXACT = 2**53

#: Windows of more phases are left to the other commands.
_PHASES = 4096

#: The modules that a page shows unfolded at first hold no more boxes than this.
_BOXES = 60

#: What is shown of what may be many: outputs, bars of a histogram, tiles along an axis, nodes at each end of a path,
#: cells of a heat map along an axis.
_OUTPUTS, _BARS, _TILES, _ENDS, _CELLS = 4, 40, 64, 4, 90

#: Flags of a window, as in ``page.js``.
_REGULAR, _SEAMLESS, _SKIPS = 1, 2, 4


@dataclass(frozen=True)
class Page:
    """The page of a network.

    Parameters
    ----------
    sample_rate
        Samples per second of the input, for times.
    """

    report: Report
    name: str
    sample_rate: int | None = None

    def text(self) -> str:
        """Return the page."""
        style, script = _file("page.css"), _file("page.js")
        policy = (
            f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
            "base-uri 'none'; form-action 'none'"
        )
        filled = {
            "CSP": policy,
            "TITLE": escape(printable(self.report.name or self.name)),
            "CSS": style,
            "DATA": as_script(self.data()),
            "JS": script,
        }
        pieces = _file("page.html").split("@@")  # what is filled in is not looked through again
        return "".join(filled[piece] if index % 2 else piece for index, piece in enumerate(pieces))

    @cached_property
    def _picture(self) -> Picture:
        return Picture(self.report, self.name)

    def data(self) -> dict[str, Any]:
        """Return what the page shows, as ``page.js`` reads it."""
        report, picture = self.report, self._picture
        ids = {name: v for v, name in enumerate(report)}
        layers = list(report.values())
        windows = _Windows()
        nodes: list[dict[str, Any]] = []
        for layer, severity in zip(layers, picture.severities, strict=True):
            reads = [[ids[read.tail], *windows.of_read(read)] for read in report.reads(layer.name)]
            node: dict[str, Any] = {
                "name": printable(str(layer.name)),
                "op": printable(layer.op),
                "size": list(layer.map_size),
            }
            nodes.append({**node, "reads": reads, "severity": severity})
        modules = _modules(picture)
        outermost = set(modules[0]["members"])
        for v, node in enumerate(nodes):
            name = node["name"] if v in outermost else parts(picture.names[v])[-1]
            node["drawn"] = _drawn(name, picture.details[v])
        outputs = [ids[report[name].name] for name in report.outputs]
        return {
            "title": printable(report.name or self.name),
            "axes": list(report.axes),
            "source": ids[report.source],
            "first": next(iter(outputs), len(nodes) - 1),
            "nodes": nodes,
            "fields": [[_width_and_period(window) for window in layer.field] for layer in layers],
            "windows": windows.written,
            "modules": modules,
            "open": _opened(modules),
            "glance": [[name, printable(text)] for name, text in self._glance()],
            "findings": [self._finding(finding, ids) for finding in report.findings],
            "layers": _table(layer_sheet(layers, "", ())),
            "panels": {
                "paths": self._paths(),
                "effective": self._effective(),
                "tiling": self._tiling(),
                "latency": self._latency(),
            },
        }

    def _glance(self) -> Iterable[tuple[str, str]]:
        report = self.report
        yield "model", title(report, self.name)
        for name in report.outputs[:8]:
            layer = report[name]
            yield f"output {name}", f"{'' if layer.name == name else f'{layer.name}, '}{field_line(layer)}"
        if len(report.outputs) > 8:
            yield "", f"and {len(report.outputs) - 8} more outputs"
        yield "aligned", {True: "yes", False: "no", None: "not at every input size, or not known"}[report.aligned]
        for line in lines_up_lines(report):
            yield "sizes", line
        for line in [*cost_lines(report), *reason_lines(reasons(report.values()))]:
            name, _, text = line.partition(": ")
            yield name, text
        severities = [finding.severity for finding in report.findings]
        said = [counted(severities.count(severity), severity) for severity in dict.fromkeys(severities)]
        yield "findings", ", ".join(said) or "none"
        yield "layers", str(len(report))

    def _finding(self, finding: Finding, ids: dict[Any, int]) -> dict[str, Any]:
        document: dict[str, Any] = {
            "rule": finding.rule,
            "title": finding.title,
            "severity": finding.severity,
            "node": ids.get(finding.node),
            "message": printable(finding.message),
            "advice": printable(finding.advice),
            "location": printable(finding.location),
            "branches": [],
            "picture": None,
        }
        if isinstance(finding, Misalignment):
            sides = {"reference": finding.reference, "branch": finding.branch}
            document["branches"] = [f"{name}: {_branch(side)}" for name, side in sides.items()]
            document["picture"] = self._bars(finding)
        return document

    def _bars(self, finding: Misalignment) -> dict[str, Any] | None:
        """Return what both branches read at the first outputs of the merge."""
        fields = (finding.reference.field, finding.branch.field)
        if not all(field.is_local for field in fields):
            return None
        outputs = range(min(max(3, *(field.period + 1 for field in fields)), 6))
        sides = [(y, side, fields[side].interval(y)) for y in outputs for side in (0, 1)]
        measured = self.report.source if finding.measured_at is None else finding.measured_at
        about = f"along {finding.axes[0]}, in positions of {printable(str(measured))}; the line is the centre"
        return _intervals(about, sides)

    def _paths(self) -> list[Part]:
        report = self.report
        counted = counted_paths(report, report.outputs)
        lines = [*path_lines(counted), *resolution_lines(report.productivity.axes)]
        shown: list[Part] = [("notes", [printable(line) for line in lines])] if lines else []
        for paths in counted[:_OUTPUTS]:
            shown += _histograms(paths)
        return shown

    def _effective(self) -> list[Part]:
        report = self.report
        shown: list[Part] = []
        for name in report.outputs[:_OUTPUTS]:
            try:
                field = report.effective_field(name)
            except RFGraphError as error:
                shown.append(("text", printable(str(error))))
                continue
            sheet = FieldView(report, field, self.name).sheet()
            shown += [("heading", printable(sheet.title.rpartition(": ")[2])), ("heat", _heat(field)), *_sheet(sheet)]
        return shown

    def _tiling(self) -> list[Part]:
        report = self.report
        shown: list[Part] = []
        for name in report.outputs[:_OUTPUTS]:
            try:
                plan = report.tiling(name)
            except RFGraphError as error:  # it has no numbers here, and says why
                shown.append(("text", printable(str(error))))
                continue
            plans = [plan, *(usual_plans(report, plan) if plan.count else [])]
            sheet = TilingView(report, self.name, plans).sheet()
            shown += [("heading", printable(str(name))), *_sheet(sheet)]
            pictures = (_tiles(plan) for plan in (plan, *reversed(plans[1:])))
            if picture := next(filter(None, pictures), None):
                shown.append(("picture", picture))
        return shown

    def _latency(self) -> list[Part]:
        report = self.report
        if len(report.axes) != 1:  # an image comes at once
            return []
        shown: list[Part] = []
        for name in report.outputs[:_OUTPUTS]:
            try:
                latency = report.latency(name, self.sample_rate)
            except RFGraphError as error:
                shown.append(("text", printable(str(error))))
                continue
            sheet = LatencyView(report, latency, self.name).sheet()
            shown += [("heading", printable(str(name))), *_sheet(sheet)]
            if picture := _timeline(latency):
                shown.append(("picture", picture))
        return shown


def as_script(data: Any) -> str:
    r"""Return data as JSON that ends no script element, whatever its texts hold.

    Examples
    --------
    >>> print(as_script({"name": "</script>\u2028"}))
    {"name":"\u003c/script\u003e\u2028"}
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# Windows


class _Windows:
    """The windows of a page, each written once."""

    def __init__(self) -> None:
        self.written: list[list[Any]] = []
        self._places: dict[str, int] = {}

    def of_read(self, read: Read) -> list[int]:
        """Return the places of the windows of a read, one an axis."""
        each = zip(read.window, read.spacing, read.skips, read.border, strict=True)
        return [self._place(_written(*one)) for one in each]

    def _place(self, written: list[Any]) -> int:
        key = json.dumps(written)
        if key not in self._places:
            self._places[key] = len(self.written)
            self.written.append(written)
        return self._places[key]


def _written(window: Window, spacing: int, skips: bool, border: str) -> list[Any]:
    """Return a window as ``page.js`` reads it; what a browser cannot hold is unknown there, and says so."""
    if window.is_unknown:
        return ["?", 0, 0, 0, "", printable(window.why)]
    if window.is_full or window.is_empty:
        return ["full" if window.is_full else "empty", 0, 0, 0, "", []]
    numbers = [window.step, *(end for ends in window.intervals if ends for end in ends)]
    if window.period > _PHASES or max(map(abs, numbers)) > _EXACT:
        return ["?", 0, 0, 0, "", "its numbers are too large for a browser; `rfgraph region` has them"]
    regular, seamless = window.regular or window.kind != "local", window.kind == "local" and window.seamless
    flags = _REGULAR * regular + _SEAMLESS * seamless + _SKIPS * skips
    phases = [0 if ends is None else list(ends) for ends in window.intervals]
    return [window.kind, window.step, spacing, flags, border, phases]


def _width_and_period(window: Window) -> tuple[int, int]:
    """Return the size of a field, 0 where it has none, and after how many features it repeats."""
    if not window.is_local:
        return 0, 1
    return min(window.size, _EXACT), window.period if window.period <= _PHASES else 1


# Modules


def _modules(picture: Picture) -> list[dict[str, Any]]:
    """Return all modules, the whole first; a member that is a module is its place, negative."""
    modules: list[Module] = [picture.root]
    for module in modules:  # it grows as it is walked
        modules += [member for member in module.members if isinstance(member, Module)]
    place = {id(module): index for index, module in enumerate(modules)}
    return [
        {
            "name": printable(module.name),
            "drawn": _drawn(module.name, picture.module_detail(module)),
            "severity": picture.worst(module.nodes),
            "nodes": list(module.nodes),
            "members": [-place[id(member)] if isinstance(member, Module) else member for member in module.members],
            "edges": module.edges,
            "ranks": module.layering.rank,
            "columns": module.layering.column,
            "lanes": [-1 if lane is None else lane for lane in module.layering.lane],
        }
        for module in modules
    ]


def _drawn(name: str, detail: str) -> tuple[str, str, float]:
    """Return the two lines of a box, as they fit in, and how wide it is."""
    width = box_width(name, detail)
    return fitted(printable(name), width), fitted(detail, width), width


def _opened(modules: Sequence[dict[str, Any]]) -> list[int]:
    """Return the modules to unfold at first: from the outside in, as long as there are few boxes."""
    opened: list[int] = []
    boxes = len(modules[0]["members"])
    for index, module in enumerate(modules[1:], start=1):  # outer ones come first
        boxes += len(module["members"])
        if boxes > _BOXES:
            break
        opened.append(index)
    return opened


# Panels


def _table(sheet: Sheet) -> dict[str, Any]:
    return {
        "columns": [[column.heading, column.align] for column in sheet.columns],
        "rows": [[printable(cell) for cell in row] for row in sheet.rows],
    }


def _sheet(sheet: Sheet) -> list[Part]:
    shown: list[Part] = [("table", _table(sheet))]
    return [*shown, ("notes", [printable(note) for note in sheet.notes])] if sheet.notes else shown


def _branch(branch: Branch) -> str:
    window = branch.field
    path = [printable(str(node)) for node in branch.path]
    if len(path) > 2 * _ENDS + 1:
        path[_ENDS:-_ENDS] = [f"... {len(path) - 2 * _ENDS} more ..."]
    numbers = (
        f"r {number(window.size)}, S {number(window.stride)}, P {number(window.padding)}; " if window.is_local else ""
    )
    return numbers + " \u2192 ".join(path)


def _histograms(paths: Paths) -> list[Part]:
    shown: list[Part] = []
    groups: dict[tuple[Any, ...], list[AxisPaths]] = {}
    for axis in paths.axes:
        groups.setdefault((axis.sizes, axis.whole), []).append(axis)
    for axes in groups.values():
        sizes = axes[0].sizes
        if len(sizes) < 2:
            continue
        every = -(-len(sizes) // _BARS)
        bars = []
        for start in range(0, len(sizes), every):
            some = sizes[start : start + every]
            ends = sorted({some[0].smallest, some[-1].largest})
            bars.append(("..".join(map(number, ends)), sum(size.count for size in some)))
        named = ", ".join(axis.axis for axis in axes) if len(axes) < len(paths.axes) else ""
        where = f" along {named}" if named else ""
        about = f"paths to {printable(str(paths.layer))} by the size of their field{where}"
        shown.append(("picture", _histogram(about, bars)))
    return shown


# Drawings: shapes of SVG, as tag, attributes and text


Shape = tuple[str, dict[str, Any], str]


def _text(x: float, y: float, text: str, anchor: str = "start") -> Shape:
    return "text", {"x": round(x, 2), "y": round(y, 2), "text-anchor": anchor}, text


def _rect(x: float, y: float, width: float, height: float, look: str) -> Shape:
    places = {"x": round(x, 2), "y": round(y, 2), "width": round(max(width, 1), 2), "height": round(height, 2)}
    return "rect", {**places, "class": look}, ""


def _picture(about: str, width: float, height: float, shapes: Iterable[Shape]) -> dict[str, Any]:
    return {"about": about, "width": round(width), "height": round(height), "shapes": list(shapes)}


def _intervals(about: str, sides: Sequence[tuple[int, int, Interval | None]]) -> dict[str, Any] | None:
    """Return bars of what two branches read at some outputs: output, which branch, and its ends."""
    ends = [end for *_, interval in sides if interval is not None for end in interval]
    if not ends or max(map(abs, ends)) > _EXACT:
        return None
    low, high = min(ends) - 1, max(ends) + 2
    cell = min(290 / (high - low), 22)
    every = 1
    while every * cell < 30:
        every *= 2
    shapes = [_text(90 + (i - low) * cell, 10, str(i)) for i in range(-(-low // every) * every, high + 1, every)]
    for row, (y, side, interval) in enumerate(sides):
        top = 18 + 20 * row
        shapes.append(_text(0, top + 11, f"{('reference', 'branch')[side]} {y}"))
        if interval is not None:
            first, last = interval
            shapes.append(_rect(90 + (first - low) * cell, top, (last - first + 1) * cell, 14, ("on", "other")[side]))
            middle = round(90 + ((first + last + 1) / 2 - low) * cell, 2)
            shapes.append(("line", {"x1": middle, "x2": middle, "y1": top - 2, "y2": top + 16}, ""))
    return _picture(about, 115 + (high - low) * cell, 20 * len(sides) + 26, shapes)


def _histogram(about: str, bars: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Return bars with their labels and counts."""
    most = max(count for _, count in bars)
    shapes: list[Shape] = []
    for row, (label, count) in enumerate(bars):
        width = 330 * ((count << 20) // most) / 2**20  # counts may be too large for floats
        shapes += [
            _text(76, 16 * row + 12, label, "end"),
            _rect(82, 16 * row + 3, width, 11, "on"),
            _text(90 + width, 16 * row + 12, number(count)),
        ]
    return _picture(about, 520, 16 * len(bars) + 4, shapes)


def _heat(field: EffectiveField) -> dict[str, Any]:
    """Return a map as percents of its peak, summed over all axes but the last two, and over squares where it is big."""
    import numpy as np

    shares = field.strength
    if shares.ndim > 2:
        shares = shares.sum(axis=tuple(range(shares.ndim - 2)))
    every = max(-(-max(shares.shape) // _CELLS), 1)
    for axis in range(shares.ndim):
        shares = np.add.reduceat(shares, range(0, shares.shape[axis], every), axis=axis)
    percents = np.rint(100 * np.atleast_2d(shares) / shares.max()).astype(int)
    axes = " and ".join(field.axes[-2:])
    starts = ", ".join(map(str, field.first[-2:]))
    summed = f", a cell for {every} positions" if every > 1 else ""
    return {"cells": percents.tolist(), "about": f"{field.measure} along {axes} from {starts} on, of the peak{summed}"}


def _tiles(plan: Tiling) -> dict[str, Any] | None:
    axes = plan.axes[-2:]
    if not axes or any(not axis.tiles or axis.image is None or len(axis.tiles) > _TILES for axis in axes):
        return None
    if all(len(axis.tiles) == 1 for axis in axes):
        return None
    scale = 320 / max(axis.image or 1 for axis in axes)
    down = [(tile.start * scale, tile.size * scale) for tile in axes[0].tiles] if len(axes) > 1 else [(0.0, 24.0)]
    right = [(tile.start * scale, tile.size * scale) for tile in axes[-1].tiles]
    shapes = [_rect(x, y, width, height, "on") for y, height in down for x, width in right]
    sizes = across([str(axis.tile) for axis in axes])
    about = f"tiles of {sizes} along {' and '.join(axis.axis for axis in axes)}; darker where they overlap"
    return _picture(about, 322, max(y + height for y, height in down) + 2, shapes)


def _timeline(latency: Latency) -> dict[str, Any] | None:
    """Return what each layer has read and what it waits for, round its own position, where it reads not all before."""
    rows = [row for row in latency.layers if row.past or row.look_ahead > 0]
    if not rows or any(row.past is None for row in rows):
        return None
    left_out = max(len(rows) - _BARS, 0)
    rows = rows[left_out:]
    before, after = max(row.past or 0 for row in rows), max(row.look_ahead for row in rows)
    scale = 300 / float(before + max(after, 0) + 1)
    now = 170 + float(before) * scale
    shapes: list[Shape] = []
    for place, row in enumerate(rows):
        top, past = 18 * place + 3, float(row.past or 0) * scale
        name = fitted(printable(str(row.node)), 150)
        shapes += [_text(164, top + 10, name, "end"), _rect(now - past, top, past, 12, "on")]
        if row.look_ahead > 0:
            shapes.append(_rect(now, top, float(row.look_ahead) * scale, 12, "other"))
    middle = round(now, 2)
    shapes.append(("line", {"x1": middle, "x2": middle, "y1": 0, "y2": 18 * len(rows) + 2}, ""))
    ends = f"{number(before)} before to {number(max(after, 0))} after"
    hidden = f"; {left_out} layers before these are left out" if left_out else ""
    about = f"samples that each layer reads round its own position, the line: {ends}; it waits for those after{hidden}"
    return _picture(about, 480, 18 * len(rows) + 4, shapes)
