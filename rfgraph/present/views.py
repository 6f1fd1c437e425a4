"""What the commands show of layers: ``summary``, ``region`` and ``trace``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from rfgraph.frozen import dataclass
from rfgraph.policy import Judged
from rfgraph.present.effective import size_document, size_lines_of, size_texts, with_sizes
from rfgraph.present.findings import holes_document, severities, verdict
from rfgraph.present.folding import folded
from rfgraph.present.layers import (
    NAMED,
    PHASES_BRIEF,
    RANGES,
    Reason,
    changes_nothing,
    chosen_records,
    cost_lines,
    field_line,
    has_global_path,
    has_phases,
    head,
    input_documents,
    layer_records,
    layer_sheet,
    reads_nothing,
    reason_lines,
    reasons,
    size_lines,
    taken_lines,
    title,
    total_document,
)
from rfgraph.present.layout import with_short_counts
from rfgraph.present.reach import counted_paths, path_lines, paths_document, resolution_document, resolution_lines
from rfgraph.present.rows import Column, Document, Records, Sheet, counted, digits, envelope, number, truth
from rfgraph.questions.holes import Holes
from rfgraph.questions.layers import Layer, Region, Trace
from rfgraph.questions.paths import Paths
from rfgraph.questions.records import layer_document
from rfgraph.report import Report

if TYPE_CHECKING:  # numpy is imported when it is asked for
    from rfgraph.questions.effective import EffectiveSize

#: The smallest and the largest field of a layer's features, per axis.
Ranges = Sequence[tuple[int, int] | None]


@dataclass(frozen=True)
class Summary:
    """Every layer of a network, its outputs, and how many findings there are.

    Parameters
    ----------
    judged
        Its findings under a policy.
    check
        The command that explains the findings.
    everything
        Whether layers that do not depend on the source are shown too.
    verbose
        Whether it is said what solved the network, and why.
    effective
        Whether it is shown how far the gradient of each layer is spread.
    depth
        How many modules may lie around one that people see as one row; ``None`` shows every layer.
    columns
        Headings of the columns to show, in their order; by default those of which something is known.
    """

    report: Report
    judged: Judged
    name: str
    check: str
    everything: bool = False
    verbose: bool = False
    effective: bool = False
    depth: int | None = None
    columns: Sequence[str] | None = None

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers that are shown."""
        return [layer for layer in self.report.values() if self.everything or not reads_nothing(layer)]

    @cached_property
    def reasons(self) -> list[Reason]:
        """Why some fields are not exact."""
        return reasons(self.layers)

    @cached_property
    def paths(self) -> list[Paths]:
        """The paths to the first few outputs."""
        return counted_paths(self.report, self.report.outputs)

    def sheet(self) -> Sheet:
        """Return it for people."""
        layers, ranges = self.layers, self.report.region_ranges()
        shows: dict[Hashable, Hashable] = {}
        if self.depth is not None:
            ends = {self.report[name].name for name in self.report.outputs}
            rows = folded(layers, self._tails, ends, self.depth)
            layers, shows = rows.layers, rows.shows
            ranges |= {row: ranges[shown] for row, shown in shows.items() if shown in ranges}
        more = {}
        if self.effective:
            sizes = dict(self._effective)
            sizes |= {row: sizes[shown] for row, shown in shows.items() if shown in sizes}
            more = {"effective": size_texts(layers, sizes)}
        sheet = layer_sheet(layers, title(self.report, self.name), self._notes(ranges), more, self.columns, ranges)
        hidden = frozenset() if self.everything else self._hidden(layers, shows, ranges)
        said = []
        if hidden:
            said.append(f"hidden: {len(hidden)} of {len(layers)} rows, which change none of n, r, S, P (see --all)")
        return replace(sheet, hidden=hidden, brief=(*said, *self._notes(ranges, brief=True)))

    @cached_property
    def _tails(self) -> dict[Hashable, list[Hashable]]:
        """What each layer reads."""
        return {layer.name: list(self.report.tails(layer.name)) for layer in self.layers}

    def _hidden(
        self, layers: Sequence[Layer], modules: Mapping[Hashable, Hashable], ranges: Mapping[Hashable, Ranges]
    ) -> frozenset[int]:
        """Return the places of rows that a person learns nothing from; those of modules stay."""
        by_name = {layer.name: layer for layer in self.layers}
        places = []
        for place, layer in enumerate(layers):
            tails = [by_name[tail] for tail in self._tails.get(layer.name, ()) if tail in by_name]
            same = all(ranges.get(tail.name) == ranges.get(layer.name) for tail in tails)
            if layer.name not in modules and same and changes_nothing(layer, tails):
                places.append(place)
        return frozenset(places)

    def records(self) -> Records:
        """Return it for spreadsheets."""
        records = layer_records(self.layers, self.report.axes)
        if self.effective:
            records = with_sizes(records, self.layers, self.report.axes, self._effective)
        return records if self.columns is None else chosen_records(records, self.columns)

    @cached_property
    def _effective(self) -> dict[Hashable, EffectiveSize]:
        return self.report.effective_sizes()

    def document(self) -> Document:
        """Return it for programs."""
        layers = [layer_document(layer) for layer in self.layers]
        if self.effective:
            for layer, row in zip(self.layers, layers, strict=True):
                row["effective"] = size_document(self._effective.get(layer.name))
        return {
            **head("summary", self.report, self.name),
            "layers": layers,
            "parameters": {**total_document(self.report.parameters), "unread": self.report.costs.unread},
            "macs": total_document(self.report.macs),
            "outputs": [str(name) for name in self.report.outputs],
            "aligned": self.report.aligned,
            "counts": severities(self.judged.open),
            "accepted": len(self.judged.accepted),
            "unchecked": [str(name) for name in self.report.unchecked],
            "inexact": [reason.document() for reason in self.reasons],
            "paths": [paths_document(paths) for paths in self.paths],
            "resolutions": [resolution_document(axis) for axis in self.report.productivity.axes],
            "holes": [{"layer": str(holes.node), **holes_document(holes)} for holes in self._holes],
        }

    @property
    def _holes(self) -> list[Holes]:
        """What of the outputs' fields is read, where some is not."""
        ends = {self.report[name].name for name in self.report.outputs}
        return [f for f in self.report.findings if isinstance(f, Holes) and f.node in ends]

    def _notes(self, ranges: Mapping[Hashable, Ranges], brief: bool = False) -> tuple[str, ...]:
        """Return what is said below the table; the ``brief`` form is for a terminal."""
        report = self.report
        notes = []
        left_out = len(report) - len(self.layers)
        if left_out:
            verb = "does" if left_out == 1 else "do"
            notes.append(f"left out: {counted(left_out, 'node')} that {verb} not read {report.source!r} (see --all)")
        if self.verbose:
            notes.append(f"engine: {report.engine}")
        if any(map(has_global_path, self.layers)):
            sides = {side for layer in self.layers if has_global_path(layer) for side in layer.side}
            one = {"past": "all that comes before (global past)", "future": "all that comes after (global future)"}
            read = " or ".join(["the whole axis"] * ("both" in sides) + [one[side] for side in one if side in sides])
            notes.append(f"+global: some path reads {read} besides; r, S and P are those of the other paths")
        notes += taken_lines(report)
        notes += reason_lines(self.reasons)
        notes += [RANGES] if ranges else []
        notes += [PHASES_BRIEF] if brief and has_phases(self.layers) else []
        shown = [report[name] for name in report.outputs[:NAMED]]
        if any(any(layer.by_size) for layer in self.layers):
            notes.append("a..b: from a to b, by the input size n; --input-size gives one number")
            notes += size_lines(shown)
        outputs = [
            f"{name if name == layer.name else f'{name} = {layer.name}'} ({field_line(layer, ranges.get(layer.name))})"
            for name, layer in zip(report.outputs, shown, strict=False)
        ]
        more = len(report.outputs) - len(outputs)
        said = ", ".join(outputs) + (f" and {more} more" if more else "")
        notes.append(f"{'output' if len(report.outputs) == 1 else 'outputs'}: {said}")
        notes += size_lines_of(self.layers, self._effective) if self.effective else []
        notes += cost_lines(report) if not brief else map(with_short_counts, cost_lines(report))
        notes += path_lines(self.paths) if not brief or self.verbose else []
        notes += resolution_lines(report.productivity.axes, brief)
        notes += [f"holes: {holes.message}" for holes in self._holes[:NAMED]]
        notes.append(
            f"findings: {verdict(report, self.judged)}"
            + ("" if report.aligned and not report.findings else self._see())
        )
        return tuple(notes)

    def _see(self) -> str:
        return f" (see `{self.check}`)"


@dataclass(frozen=True)
class RegionView:
    """The pixels that one feature reads."""

    report: Report
    region: Region
    name: str

    def sheet(self) -> Sheet:
        """Return it for people."""
        region = self.region
        columns = (Column("axis"), *(Column(name, "right") for name in ("index", "first", "last", "size")))
        rows = [
            (axis, number(index), *_ends_texts(first, last))
            for axis, index, (first, last) in zip(region.axes, region.index, region.box or (), strict=False)
        ]
        place = ", ".join(map(str, region.index))
        reads = f"{title(self.report, self.name)}; what feature ({place}) of {region.layer!r} reads"
        return Sheet(reads, columns, rows, tuple(self._notes()))

    def _notes(self) -> list[str]:
        notes = []
        if self.region.box is None:
            notes.append("it reads nothing of the input but padding")
        if self.region.status == "bound":
            notes.append("an upper bound: some of these pixels may not be read")
        ends = [end for interval in self.region.box or () for end in interval]
        if None in ends:
            notes.append("start, end: those of the axis; --input-size gives their positions")
        if self.region.clipped:
            notes.append("cut at the border of every map on the way")
        else:
            notes.append("not cut at any border: give --input-size for that")
        return notes

    def records(self) -> Records:
        """Return it for spreadsheets."""
        region = self.region
        names = ("index", "first", "last")
        header = ("layer", *(f"{name}_{axis}" for name in names for axis in region.axes), "clipped", "status")
        ends = [("", "")] * len(region.axes) if region.box is None else [(digits(a), digits(b)) for a, b in region.box]
        row = (str(region.layer), *map(str, region.index), *(a for a, _ in ends), *(b for _, b in ends))
        return Records(header, [(*row, truth(region.clipped), region.status)])

    def document(self) -> Document:
        """Return it for programs."""
        region = self.region
        ends = None if region.box is None else zip(region.axes, region.box, strict=True)
        return {
            **head("region", self.report, self.name),
            "layer": str(region.layer),
            "index": list(region.index),
            "box": None if ends is None else [{"axis": axis, "first": a, "last": b} for axis, (a, b) in ends],
            "clipped": region.clipped,
            "status": region.status,
        }


def _ends_texts(first: int | None, last: int | None) -> tuple[str, str, str]:
    """Return the ends and the size of an interval for people."""
    size = "-" if first is None or last is None else number(last - first + 1)
    return "start" if first is None else number(first), "end" if last is None else number(last), size


@dataclass(frozen=True)
class TraceView:
    """What one output reads of each of its ancestors."""

    trace: Trace
    name: str
    #: What names the model, where that is not its name.
    model: str = ""

    @cached_property
    def layers(self) -> list[Layer]:
        """The ancestors, the input first."""
        return list(self.trace.layers.values())

    def sheet(self) -> Sheet:
        """Return it for people."""
        reads = f"{self.name}: what one feature of {self.trace.output!r} reads of each layer before it"
        return layer_sheet(self.layers, reads, tuple(reason_lines(reasons(self.layers))))

    def records(self) -> Records:
        """Return it for spreadsheets."""
        return layer_records(self.layers, self.layers[0].axes)

    def document(self) -> Document:
        """Return it for programs."""
        inputs = [layer for layer in self.layers if layer.op == "input"]
        return {
            **envelope("trace", self.model or self.name, input_documents(inputs)),
            "name": self.name,
            "axes": list(self.layers[0].axes),
            "output": str(self.trace.output),
            "layers": [layer_document(layer) for layer in self.layers],
        }
