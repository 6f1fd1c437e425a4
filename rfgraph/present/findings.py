"""What ``check`` shows: the findings, and what could not be checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rfgraph.analysis import Report
from rfgraph.context import GlobalContext
from rfgraph.present.layers import NAMED, Reason, head, taken_lines, title, window_document
from rfgraph.present.rows import Column, Document, Records, Sheet, counted, digits, exact, number
from rfgraph.present.sizes import lines_up_lines, unchecked_reasons, unchecked_text, way_out
from rfgraph.results import SEVERITIES, Branch, Finding, Misalignment, Repair, Severity, SizeDependent
from rfgraph.support import Holes

#: Notes of one rule that people are shown in full: what a design does on purpose, it does in each of its blocks.
_NOTES = 3

#: Nodes that people are shown at each end of a path.
_ENDS = 3


@dataclass(frozen=True)
class Check:
    """The findings of a network, worst first, and what could not be checked.

    What could not be checked counts as a warning: a check that cannot tell must not pass for a clean one.

    Parameters
    ----------
    report
        The results.
    findings
        Those of its findings that are shown.
    name
        Name of the model where the network has none.
    hints
        What to do where something is not known: words that its reason holds -> the way out.
    everything
        Whether people too are shown each note in full, and not only the first few of each rule.
    """

    report: Report
    findings: Sequence[Finding]
    name: str
    hints: Mapping[str, str] = field(default_factory=dict)
    everything: bool = False

    @cached_property
    def unchecked(self) -> list[Reason]:
        """Why some merges cannot be checked."""
        return unchecked_reasons(self.report)

    def _hint(self, reason: Reason) -> str:
        return way_out(reason, self.hints)

    @property
    def worst(self) -> Severity | None:
        """The highest severity among the findings and what is not known, ``None`` if there is nothing."""
        met: list[Severity] = [finding.severity for finding in self.findings]
        met += ["warning"] * bool(self.unchecked)
        return max(met, key=SEVERITIES.index, default=None)

    def sheet(self) -> Sheet:
        """Return it for people."""
        serious = [finding for finding in self.findings if finding.severity != "note"]
        rows = [self._row(finding) for finding in serious]
        for reason in self.unchecked:
            rows.append(("warning not checked", unchecked_text(reason), "", "", self._hint(reason)))
        by_rule: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.severity == "note":
                by_rule.setdefault(finding.rule, []).append(finding)
        for notes in by_rule.values():
            shown = len(notes) if self.everything else _NOTES
            rows += [self._row(finding) for finding in notes[:shown]]
            if len(notes) > shown:
                rows.append(_rest(notes[shown:]))
        columns = tuple(map(Column, ("finding", "message", "reference", "branch", "advice")))
        end = f"findings: {verdict(self.report, self.findings)}"
        said = (*taken_lines(self.report), end, *lines_up_lines(self.report))
        return Sheet(title(self.report, self.name), columns, rows, said, stacked=True)

    def _row(self, finding: Finding) -> tuple[str, ...]:
        head = f"{finding.severity} {finding.rule} {finding.title}"
        branches = ("", "")
        if isinstance(finding, Misalignment):
            branches = (self._branch_line(finding, finding.reference), self._branch_line(finding, finding.branch))
        return head, finding.message, *branches, finding.advice

    def _branch_line(self, finding: Finding, branch: Branch) -> str:
        path = [str(node) for node in branch.path]
        if len(path) > 2 * _ENDS + 1:
            path[_ENDS:-_ENDS] = [f"... {len(path) - 2 * _ENDS} more ..."]
        window, case = branch.field, self._case(finding, branch)
        where = "" if case is None else f" where n mod {case[0]} is {case[1]}"
        numbers = f"r {number(window.size)}, S {number(window.stride)}, P {number(window.padding)}"
        return f"{numbers}{where}: {' -> '.join(path)}"

    def _case(self, finding: Finding, branch: Branch) -> tuple[int, int] | None:
        """Return modulus and residue of the input sizes at which a branch has its field, ``None`` if it always has."""
        layer = self.report[branch.tail]
        table = layer.by_size[layer.axes.index(finding.axes[0])] if layer.by_size else None
        if table is None:
            return None
        return table.modulus, next(n for n, window in enumerate(table.windows) if not window.is_unknown)

    def records(self) -> Records:
        """Return it for spreadsheets."""
        header = (
            *("rule", "title", "severity", "node", "axes", "message", "advice"),
            *("fork", "offset", "offset_in_merge", "reference_slot", "reference_path", "branch_slot", "branch_path"),
            *("modulus", "residues", "smallest"),
        )
        rows: list[tuple[str, ...]] = [
            (
                finding.rule,
                finding.title,
                finding.severity,
                str(finding.node),
                " ".join(finding.axes),
                finding.message,
                finding.advice,
                *_branch_records(finding),
            )
            for finding in self.findings
        ]
        for reason in self.unchecked:
            place = ("", "not checked", "warning", str(reason.first), "")
            rows.append((*place, unchecked_text(reason), self._hint(reason), *[""] * 10))
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        return {
            **head("check", self.report, self.name),
            "aligned": self.report.aligned,
            "counts": severities(self.findings),
            "findings": [self._finding_document(finding) for finding in self.findings],
            "unchecked": [
                {"merges": reason.layers, "first": str(reason.first), "why": reason.why} for reason in self.unchecked
            ],
        }

    def _finding_document(self, finding: Finding) -> Document:
        return {
            "rule": finding.rule,
            "title": finding.title,
            "severity": finding.severity,
            "node": str(finding.node),
            "axes": list(finding.axes),
            "message": finding.message,
            "advice": finding.advice,
            **self._details(finding),
        }

    def _details(self, finding: Finding) -> Document:
        """Return what only findings of this kind have."""
        match finding:
            case Misalignment():
                return {
                    "fork": str(finding.fork),
                    "offset": exact(finding.offset),
                    "offset_in_merge": exact(finding.offset_in_merge),
                    "reference": self._branch_document(finding, finding.reference),
                    "branch": self._branch_document(finding, finding.branch),
                    "repair": None if finding.repair is None else _repair_document(finding.repair),
                }
            case SizeDependent():
                return _size_dependent_document(finding)
            case GlobalContext():
                return _context_document(finding)
            case Holes():
                return _holes_document(finding)
        return {}

    def _branch_document(self, finding: Finding, branch: Branch) -> Document:
        case = self._case(finding, branch)
        return {
            "slot": branch.slot,
            "tail": str(branch.tail),
            "path": [str(node) for node in branch.path],
            "field": window_document(branch.field),
            "field_at": None if case is None else {"modulus": case[0], "residue": case[1]},
        }


def severities(findings: Sequence[Finding]) -> dict[str, int]:
    """Return how many findings there are of each severity, the worst first."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in reversed(SEVERITIES)}


def verdict(report: Report, findings: Sequence[Finding]) -> str:
    """Return the findings counted, and whether all merges could be checked."""
    counts = [counted(count, severity) for severity, count in severities(findings).items() if count]
    if report.unchecked:
        return f"{', '.join(counts) or 'none'}; {counted(len(report.unchecked), 'merge')} not checked"
    return ", ".join(counts) or "none, all merges line up"


def _branch_records(finding: Finding) -> tuple[str, ...]:
    if isinstance(finding, SizeDependent):
        residues = " ".join(map(str, finding.residues))
        place = (str(finding.fork), digits(finding.offset), *[""] * 5)
        return *place, digits(finding.modulus), residues, digits(finding.smallest)
    if not isinstance(finding, Misalignment):
        return ("",) * 10
    return (
        str(finding.fork),
        digits(finding.offset),
        digits(finding.offset_in_merge),
        str(finding.reference.slot),
        _path(finding.reference),
        str(finding.branch.slot),
        _path(finding.branch),
        *[""] * 3,
    )


def _rest(notes: Sequence[Finding]) -> tuple[str, ...]:
    nodes = list(dict.fromkeys(repr(note.node) for note in notes))
    named = ", ".join(nodes[:NAMED]) + (f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else "")
    head = f"note {notes[0].rule} {notes[0].title}: {len(notes)} more"
    return head, f"at {named} (each is shown with --all)", "", "", ""


def _path(branch: Branch) -> str:
    return " -> ".join(str(node) for node in branch.path)


def _context_document(finding: GlobalContext) -> Document:
    return {"culprits": [str(node) for node in finding.culprits], "local": finding.local}


def _holes_document(finding: Holes) -> Document:
    return {
        "coverage": exact(finding.coverage),
        "size": finding.size,
        "since": str(finding.since),
        "rates": list(finding.rates),
    }


def _size_dependent_document(finding: SizeDependent) -> Document:
    return {
        "fork": str(finding.fork),
        "offset": exact(finding.offset),
        "reference": {"tail": str(finding.reference)},
        "branch": {"tail": str(finding.branch)},
        "modulus": finding.modulus,
        "residues": list(finding.residues),
        "smallest": finding.smallest,
    }


def _repair_document(repair: Repair) -> Document:
    merge: tuple[Hashable, int] | None = repair.before
    return {
        "node": str(repair.node),
        "padding": [list(pair) for pair in repair.padding],
        "was": None if repair.was is None else [list(pair) for pair in repair.was],
        "before": None if merge is None else {"merge": str(merge[0]), "slot": merge[1]},
    }
