"""What ``diff`` shows: the layers that see other things in two networks, and what only one of them has."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property

from rfgraph.algebra.window import Number
from rfgraph.comparison import NUMBERS, Diff, LayerDiff
from rfgraph.frozen import dataclass
from rfgraph.present.layers import NAMED, field_texts, map_text
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
from rfgraph.questions.findings import Finding, named_axes
from rfgraph.questions.records import exact, finding_document, layer_document
from rfgraph.report import Report

#: What is shown of a layer: heading -> place in ``field_texts``.
_SHOWN = {"r": 0, "S": 1, "P": 2}


@dataclass(frozen=True)
class DiffView:
    """How two networks differ.

    Parameters
    ----------
    names
        What names the two models.
    tolerate
        Pixels by which layers may differ.
    everything
        Whether a terminal shows each layer that differs, and not only those at which a difference begins.
    """

    diff: Diff
    names: tuple[str, str]
    tolerate: Number = 0
    everything: bool = False

    @cached_property
    def _layers(self) -> tuple[LayerDiff, ...]:
        return self.diff.differing(self.tolerate)

    def sheet(self) -> Sheet:
        """Return it for people."""
        layers = self._layers
        sized = any(layer.a.map_size != layer.b.map_size or any(layer.a.map_size) for layer in layers)
        headings = (*(("n",) if sized else ()), *_SHOWN, "shift")
        columns = (Column("layer", names=True), *(Column(name, "right") for name in headings))
        rows = [
            (_called(layer), *((_sizes(layer),) if sized else ()), *_texts(layer), _shift(layer)) for layer in layers
        ]
        hidden = frozenset() if self.everything else frozenset(self._carried())
        title = f"{self.names[0]} -> {self.names[1]}: {named_axes(self.diff.b.axes)}{self._input()}"
        brief = tuple(self._notes(len(hidden))) if hidden else ()
        return Sheet(title, columns, rows, tuple(self._notes()), hidden=hidden, brief=brief)

    def _input(self) -> str:
        sizes = [report[report.source].map_size for report in (self.diff.a, self.diff.b)]
        if not any(size for report in sizes for size in report):
            return ""
        return f", input {_arrow(*map(times, sizes))}"

    def _carried(self) -> list[int]:
        """Return the places of the rows that differ as all that they read does: the difference began before."""
        diff, layers = self.diff, self._layers
        by_name = {layer.b.name: layer for layer in layers}
        known = {layer.b.name for layer in diff.layers}
        carried = []
        for place, layer in enumerate(layers):
            tails = [read.tail for read in diff.b.reads(layer.b.name)]
            if tails and all(tail in by_name or tail not in known for tail in tails):
                told = [by_name[tail] for tail in tails if tail in by_name]
                if told and all(_seen(tail) == _seen(layer) for tail in told):
                    carried.append(place)
        return carried

    def _notes(self, hidden: int = 0) -> list[str]:
        diff = self.diff
        alike, differing = len(diff.layers) - len(self._layers), len(self._layers)
        within = f" within {number(self.tolerate)} pixels" if self.tolerate else ""
        notes = [f"layers: {alike} alike{within}, {differing} not"]
        if hidden:
            notes.append(f"{counted(hidden, 'layer')} left out that differ as what they read does (see --all)")
        for name, nodes in zip(self.names, (diff.only_a, diff.only_b), strict=True):
            notes += [f"only in {name}: {_listed(nodes)}"] if nodes else []
        for name, nodes in zip(self.names, (diff.outputs_a, diff.outputs_b), strict=True):
            notes += [f"output of {name} only: {_listed(nodes)}"] if nodes else []
        one, two = map(str, diff.parameters)
        notes += [f"parameters: {one} -> {two}"] if one != two else []
        notes += [f"new {_finding(finding)}" for finding in diff.new[:NAMED]]
        notes += [f"and {len(diff.new) - NAMED} more new findings"] if len(diff.new) > NAMED else []
        notes += [f"mended {_finding(finding)}" for finding in diff.mended[:NAMED]]
        notes += [f"and {len(diff.mended) - NAMED} more mended findings"] if len(diff.mended) > NAMED else []
        notes.append("shift: how far the centre lies from that in the first, in input pixels" if differing else "")
        return [note for note in notes if note]

    def records(self) -> Records:
        """Return it for spreadsheets: a row per layer that both have, whether it differs or not."""
        names = ("n", *NUMBERS)
        header = ["layer", "layer_a", "matched_by", "differs"]
        header += [f"{name}_{axis}" for axis in self.diff.b.axes for name in names]
        rows = []
        for layer in self.diff.layers:
            cells = [str(layer.b.name), str(layer.a.name), layer.by, truth(layer.differs(self.tolerate))]
            for axis in range(len(self.diff.b.axes)):
                cells += [_ends(ends[axis]) for ends in (layer.n, *layer.differences.values())]
            rows.append(tuple(cells))
        return Records(tuple(header), rows)

    def document(self) -> Document:
        """Return it for programs."""
        diff = self.diff
        return {
            **envelope("diff"),
            "models": [_model(name, report) for name, report in zip(self.names, (diff.a, diff.b), strict=True)],
            "axes": list(diff.b.axes),
            "differs": diff.differs(self.tolerate),
            "tolerate": exact(self.tolerate),
            "layers": [self._layer_document(layer) for layer in diff.layers],
            "only": [[str(node) for node in nodes] for nodes in (diff.only_a, diff.only_b)],
            "outputs_only": [[str(node) for node in nodes] for nodes in (diff.outputs_a, diff.outputs_b)],
            "parameters": [
                {"count": total.count, "unknown": [str(node) for node in total.unknown]} for total in diff.parameters
            ],
            "new": [finding_document(finding) for finding in diff.new],
            "mended": [finding_document(finding) for finding in diff.mended],
        }

    def _layer_document(self, layer: LayerDiff) -> Document:
        numbers = {"n": layer.n, **layer.differences}
        return {
            "name": str(layer.b.name),
            "name_a": str(layer.a.name),
            "matched_by": layer.by,
            "changed": sorted(layer.changed),
            "differs": layer.differs(self.tolerate),
            "differences": {
                name: [None if ends is None else [exact(ends[0]), exact(ends[1])] for ends in axes]
                for name, axes in numbers.items()
            },
            "a": layer_document(layer.a) if layer.changed else None,
            "b": layer_document(layer.b) if layer.changed else None,
        }


def _model(name: str, report: Report) -> Document:
    return {
        "model": name,
        "name": report.name,
        "source": str(report.source),
        "input_size": list(report[report.source].map_size),
        "outputs": [str(node) for node in report.outputs],
    }


def _called(layer: LayerDiff) -> str:
    one, two = str(layer.a.name), str(layer.b.name)
    return two if one == two else f"{one} = {two}"


def _arrow(one: str, two: str) -> str:
    return one if one == two else f"{one} -> {two}"


def _sizes(layer: LayerDiff) -> str:
    return _arrow(map_text(layer.a), map_text(layer.b))


def _texts(layer: LayerDiff) -> list[str]:
    one, two = field_texts(layer.a), field_texts(layer.b)
    return [_arrow(one[place], two[place]) for place in _SHOWN.values()]


def _shift(layer: LayerDiff) -> str:
    return across(["?" if ends is None else _signed(ends) for ends in layer.shift])


def _signed(ends: tuple[Number, Number]) -> str:
    signed = [f"{'+' if end > 0 else ''}{number(end)}" for end in dict.fromkeys(ends)]
    return "..".join(signed)


def _ends(ends: tuple[Number, Number] | None) -> str:
    return "?" if ends is None else "..".join(digits(end) for end in dict.fromkeys(ends))


def _seen(layer: LayerDiff) -> object:
    """Return how a layer differs: what it has in common with those that differ for the same reason."""
    return layer.n, layer.differences, layer.changed


def _listed(nodes: Sequence[Hashable]) -> str:
    more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
    return ", ".join(repr(node) for node in nodes[:NAMED]) + more


def _finding(finding: Finding) -> str:
    return f"{finding.severity} {finding.rule} {finding.title}: {finding.message}"
