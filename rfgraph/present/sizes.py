"""What ``sizes`` shows: the input sizes at which a network works, and those at which all its merges line up."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import field
from functools import cached_property
from itertools import islice, takewhile
from math import lcm

from rfgraph.algebra.residues import InputSizes, named_residues
from rfgraph.frozen import dataclass
from rfgraph.present.layers import Reason, head, reasons, taken_lines, title
from rfgraph.present.rows import Column, Document, Records, Sheet, digits
from rfgraph.questions.findings import named_axes
from rfgraph.questions.misalignment import Misalignment, SizeDependent
from rfgraph.report import Report

#: Sizes that are listed as examples.
_FIRST = 6


def lines_up(report: Report) -> tuple[InputSizes | None, ...]:
    """Return the input sizes at which all merges line up, per axis, ``None`` where that cannot be told.

    Sizes at which the network does not work are not left out.
    """
    report = report.at_any_size
    off = {
        axis
        for finding in report.findings
        if isinstance(finding, Misalignment) and finding.severity != "note"
        for axis in finding.axes
    }
    sizes_of: list[InputSizes | None] = []
    for axis, sizes in zip(report.axes, report.aligned_sizes, strict=True):
        if axis in off or (sizes is not None and not sizes.residues):
            sizes_of.append(InputSizes(axis, 1, (), 1))
        elif report.unchecked or report.ends_unknown:
            sizes_of.append(None)
        else:
            sizes_of.append(sizes or InputSizes(axis, 1, (0,), 1))
    return tuple(sizes_of)


def lines_up_lines(report: Report) -> list[str]:
    """Return for people at which input sizes all merges line up, where it depends on the size, which is not given."""
    if not any(isinstance(finding, SizeDependent) for finding in report.findings):
        return []
    groups: dict[str, list[str]] = {}
    for depends, sizes in zip(report.aligned_sizes, lines_up(report), strict=True):
        if depends is None or sizes is None:
            continue
        when = "at no input size"
        if sizes.residues:
            smallest = f", for n from {sizes.smallest}" if sizes.smallest > 1 else ""
            when = f"iff {named_residues(sizes.modulus, sizes.residues)}{smallest}"
        groups.setdefault(when, []).append(sizes.axis)
    return [f"all merges line up {when} ({named_axes(tuple(axes))})" for when, axes in groups.items()]


def unchecked_reasons(report: Report) -> list[Reason]:
    """Return why some merges cannot be checked."""
    merges = (report[merge] for merge in report.unchecked)
    return [reason for reason in reasons(merges) if reason.status == "unknown"]


def unchecked_text(reason: Reason) -> str:
    """Return which merges cannot be checked, and why."""
    return f"merge {reason.where('merge')} cannot be checked: {reason.why}"


def way_out(reason: Reason, hints: Mapping[str, str]) -> str:
    """Return what to do about what is not known: the hints for the words that its reason holds."""
    return "; ".join(hint for words, hint in hints.items() if words in reason.why)


@dataclass(frozen=True)
class Sizes:
    """The input sizes of a network.

    Parameters
    ----------
    report
        The results at no particular input size.
    stated
        The input sizes that the model itself states, and that were left aside, by input.
    inputs
        How many inputs there are.
    hints
        What to do where something is not known: words that its reason holds -> the way out.
    """

    report: Report
    name: str
    stated: Mapping[Hashable, str] = field(default_factory=dict)
    inputs: int = 1
    hints: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def axes(self) -> list[tuple[str, InputSizes | None, InputSizes | None]]:
        """Each axis, at which sizes the network works, and at which all merges line up."""
        return list(zip(self.report.axes, self.report.input_sizes, lines_up(self.report), strict=True))

    def sheet(self) -> Sheet:
        """Return it for people."""
        groups: dict[tuple[str, str, str], list[str]] = {}
        for axis, works, aligned in self.axes:
            texts = _text(works), _aligned_text(aligned), self._example_line(works, aligned)
            groups.setdefault(texts, []).append(axis)
        rows = [(", ".join(axes), works, aligned) for (works, aligned, _), axes in groups.items()]
        notes = []
        for (_, _, example), axes in groups.items():
            notes.append(example if len(groups) == 1 else f"{named_axes(tuple(axes))}: {example}")
        columns = (Column("axes"), Column("works at"), Column("all merges line up at"))
        return Sheet(title(self.report, self.name), columns, rows, (*notes, *self._notes()))

    def _notes(self) -> list[str]:
        notes = []
        if any(works is None for _, works, _ in self.axes):
            from rfgraph.passes.size_rule import MAX_MODULUS

            notes.append(
                f"which sizes work cannot be told: they repeat only after more than {MAX_MODULUS} pixels, or there are "
                "none; try one, as with `rfgraph summary MODEL --input-size 224` (past an op that no one knows none "
                "is claimed)"
            )
        for reason in unchecked_reasons(self.report):
            hint = way_out(reason, self.hints)
            notes.append(unchecked_text(reason) + (f" ({hint})" if hint else ""))
        if self.inputs > 1:
            notes.append(f"n is the size of all {self.inputs} inputs")
        fixed = any(works and not works.residues for _, works, _ in self.axes)
        for node, size in self.stated.items():
            aside = "dense layers may need just that one"
            aside = "maps inside the network fit few others" if fixed else f"which is left aside here: {aside}"
            notes.append(f"{node!r} states the size {size}, {aside}")
        return [*notes, *taken_lines(self.report)]

    def _example_line(self, works: InputSizes | None, aligned: InputSizes | None) -> str:
        both = _shown(works, aligned)
        if aligned is not None and both:
            return f"it works and lines up at {both}"
        off = "" if aligned is None or works is None else "no size at which it works lines up; "
        some = _shown(works, None)
        return f"{off}it works at {some}" if some else f"{off}sizes at which it works: none known"

    def records(self) -> Records:
        """Return it for spreadsheets."""
        parts = ("modulus", "residues", "smallest")
        header = ("axis", *(f"{name}_{part}" for name in ("works", "lines_up") for part in parts), "first")
        rows = [
            (axis, *_record(works), *_record(aligned), " ".join(map(str, examples(works, aligned))))
            for axis, works, aligned in self.axes
        ]
        also = [" ".join(map(str, works.also)) if works else "" for _, works, _ in self.axes]
        if any(also):
            return Records((*header, "works_also"), [(*row, more) for row, more in zip(rows, also, strict=True)])
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        return {
            **head("sizes", self.report, self.name),
            "sizes": [
                {
                    "axis": axis,
                    "works": _document(works),
                    "lines_up": _document(aligned),
                    "first": examples(works, aligned),
                }
                for axis, works, aligned in self.axes
            ],
            "maps": [
                {
                    "output": str(output),
                    "axis": axis,
                    "size": None if told is None else str(told),
                    "unchanged": None if told is None else _document(told.unchanged),
                }
                for output in self.report.outputs
                for axis, told in zip(self.report.axes, self.report.map_size_of(output), strict=True)
            ],
            "unchecked": [reason.document() for reason in unchecked_reasons(self.report)],
            "stated": {str(node): size for node, size in self.stated.items()},
        }


def examples(works: InputSizes | None, aligned: InputSizes | None) -> list[int]:
    """Return the first sizes at which a network works, and lines up where that can be told."""
    if works is None:
        return []
    if aligned is None:
        return list(islice(works, _FIRST))
    end = max(works.smallest, aligned.smallest) + lcm(works.modulus, aligned.modulus) * _FIRST
    sizes = takewhile(lambda n: n < end, works) if works.residues else works
    return list(islice((n for n in sizes if n in aligned), _FIRST))


def _shown(works: InputSizes | None, aligned: InputSizes | None) -> str:
    """Return the first sizes in words, with dots where there are more."""
    sizes = examples(works, aligned)
    ends = works is not None and not works.residues and len(sizes) < _FIRST
    return ", ".join(map(str, sizes)) + ("" if ends or not sizes else ", ...")


def _text(sizes: InputSizes | None) -> str:
    return "cannot be told" if sizes is None else str(sizes)


def _aligned_text(sizes: InputSizes | None) -> str:
    return "all of these" if sizes is not None and sizes.residues and sizes.modulus == 1 else _text(sizes)


def _record(sizes: InputSizes | None) -> tuple[str, str, str]:
    if sizes is None:
        return "", "", ""
    return digits(sizes.modulus), " ".join(map(str, sizes.residues)), digits(sizes.smallest)


def _document(sizes: InputSizes | None) -> Document | None:
    if sizes is None:
        return None
    rule: Document = {"modulus": sizes.modulus, "residues": list(sizes.residues), "smallest": sizes.smallest}
    return {**rule, "also": list(sizes.also)} if sizes.also else rule
