"""What ``check`` shows: the findings, and what could not be checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property

from rfgraph.baseline import Known
from rfgraph.frozen import dataclass
from rfgraph.policy import Judged
from rfgraph.present.layers import NAMED, Reason, head, taken_lines, title
from rfgraph.present.reach import unproductive_document
from rfgraph.present.rows import Column, Document, Records, Sheet, counted, digits, number, truth
from rfgraph.present.sizes import lines_up_lines, unchecked_reasons, unchecked_text, way_out
from rfgraph.questions.context import GlobalContext
from rfgraph.questions.findings import SEVERITIES, Finding, Severity
from rfgraph.questions.holes import Holes
from rfgraph.questions.misalignment import Branch, Misalignment, Repair, SizeDependent
from rfgraph.questions.productivity import Unproductive
from rfgraph.questions.records import finding_document, told, window_document
from rfgraph.questions.unread import Unread
from rfgraph.report import Report

#: Notes and accepted findings of one rule that people are shown in full: what a design does on purpose, it does in each
#: of its blocks.
FEW = 3

#: Nodes that people are shown at each end of a path.
_ENDS = 3


@dataclass(frozen=True)
class Check:
    """The findings of a network, worst first, and what could not be checked.

    What could not be checked counts as a warning: a check that cannot tell must not pass for a clean one.

    Parameters
    ----------
    judged
        Its findings under a policy.
    hints
        What to do where something is not known: words that its reason holds -> the way out.
    everything
        Whether people too are shown each note and accepted finding in full, and not only the first few of each rule.
    """

    report: Report
    judged: Judged
    name: str
    hints: Mapping[str, str] = field(default_factory=dict)
    everything: bool = False
    #: What an earlier check found, which is taken for known; its findings are among those accepted.
    known: Known | None = None

    @cached_property
    def _reasons(self) -> list[tuple[Reason, bool]]:
        """Why some merges cannot be checked, if that matters, and whether that was known before."""
        matters = self.judged.policy.looks_at_alignment
        reasons = unchecked_reasons(self.report) if matters else []
        known = self.known
        return [
            (reason, known is not None and known.has_unchecked(str(reason.first), reason.why)) for reason in reasons
        ]

    @property
    def unchecked(self) -> list[Reason]:
        """Why some merges cannot be checked, where that matters and is new."""
        return [reason for reason, known in self._reasons if not known]

    def hint(self, reason: Reason) -> str:
        """Return what to do about what is not known."""
        return way_out(reason, self.hints)

    @property
    def worst(self) -> Severity | None:
        """The highest severity among what is not accepted and what is not known, ``None`` if there is nothing."""
        met: list[Severity] = [finding.severity for finding in self.judged.open]
        met += ["warning"] * bool(self.unchecked)
        return max(met, key=SEVERITIES.index, default=None)

    def sheet(self) -> Sheet:
        """Return it for people."""
        serious = [finding for finding in self.judged.open if finding.severity != "note"]
        rows = [self._row(finding) for finding in serious]
        for reason in self.unchecked:
            place = self.report[reason.first].location
            rows.append(("warning not checked", unchecked_text(reason), place, "", "", self.hint(reason)))
        rows += self._few([(finding, None) for finding in self.judged.open if finding.severity == "note"])
        rows += self._few(self.judged.accepted)
        columns = tuple(map(Column, ("finding", "message", "location", "reference", "branch", "advice")))
        if not any(row[2] for row in rows):  # few formats tell where the code is
            columns, rows = columns[:2] + columns[3:], [row[:2] + row[3:] for row in rows]
        return Sheet(title(self.report, self.name), columns, rows, tuple(self._notes()), stacked=True)

    def _notes(self) -> list[str]:
        judged = self.judged
        notes = taken_lines(self.report)
        notes += [f"accept {entry!r} accepts nothing" for entry in judged.idle]
        if self.known is not None:
            notes.append(self._known_line(self.known))
        if judged.left_out:
            rules = ", ".join(sorted({finding.rule for finding in judged.left_out}))
            notes.append(f"left out by select or ignore: {counted(len(judged.left_out), 'finding')} of {rules}")
        notes.append(f"findings: {verdict(self.report, judged)}")
        return notes + (lines_up_lines(self.report) if judged.policy.looks_at_alignment else [])

    def _known_line(self, baseline: Known) -> str:
        """Return what of the baseline was met again, and what was not."""
        entry = f"baseline {baseline.path}"
        met = sum(by == entry for by in self.judged.accepted_by) + sum(known for _, known in self._reasons)
        mended = f", {baseline.mended} of it mended" if baseline.mended else ""
        return f"{entry}: {met} known{mended}"

    def _few(self, findings: Iterable[tuple[Finding, str | None]]) -> list[tuple[str, ...]]:
        """Return rows for the first few findings of each rule, and one for the others."""
        by_rule: dict[str, list[tuple[Finding, str | None]]] = {}
        for finding, entry in findings:
            by_rule.setdefault(finding.rule, []).append((finding, entry))
        rows = []
        for alike in by_rule.values():
            shown = len(alike) if self.everything else FEW
            rows += [self._row(finding, entry) for finding, entry in alike[:shown]]
            if len(alike) > shown:
                rows.append(_rest(*zip(*alike[shown:], strict=True)))
        return rows

    def _row(self, finding: Finding, entry: str | None = None) -> tuple[str, ...]:
        head = _head(finding, entry) + ("" if entry is None else f" (by {entry})")
        branches = ("", "")
        if isinstance(finding, Misalignment):
            branches = (self._branch_line(finding, finding.reference), self._branch_line(finding, finding.branch))
        return head, finding.message, finding.location, *branches, self.advice(finding)

    def advice(self, finding: Finding) -> str:
        """Return what to do about a finding, and where in the code that is."""
        place = self._repaired_at(finding)
        return f"{finding.advice} (at {place})" if place else finding.advice

    def _repaired_at(self, finding: Finding) -> str:
        """Return where the code calls the node whose padding is to be changed."""
        repair = finding.repair if isinstance(finding, Misalignment) else None
        return "" if repair is None or repair.before is not None else self.report[repair.node].location

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
            *("modulus", "residues", "smallest", "accepted", "location"),
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
                truth(entry is not None),
                finding.location,
            )
            for finding, entry in self.entries
        ]
        for reason, known in self._reasons:
            place = ("", "not checked", "warning", str(reason.first), "")
            where = self.report[reason.first].location
            rows.append((*place, unchecked_text(reason), self.hint(reason), *[""] * 10, truth(known), where))
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        return {
            **head("check", self.report, self.name),
            "aligned": self.report.aligned,
            "counts": severities(self.judged.open),
            "accepted": len(self.judged.accepted),
            "left_out": len(self.judged.left_out),
            "accepts_nothing": list(self.judged.idle),
            "findings": [self._finding_document(finding, entry) for finding, entry in self.entries],
            "unchecked": [
                {
                    "merges": reason.layers,
                    "first": str(reason.first),
                    "location": self.report[reason.first].location,
                    "why": reason.why,
                    "accepted": known,
                }
                for reason, known in self._reasons
            ],
        }

    @property
    def entries(self) -> Iterable[tuple[Finding, str | None]]:
        """Each finding, with the entry that accepts it."""
        return zip(self.judged.findings, self.judged.accepted_by, strict=True)

    def _finding_document(self, finding: Finding, entry: str | None) -> Document:
        accepted = {"accepted": entry is not None, "accepted_by": entry}
        return {**finding_document(finding), **accepted, **self._details(finding)}

    def _details(self, finding: Finding) -> Document:
        """Return what only findings of this kind have."""
        match finding:
            case Misalignment():
                return {
                    "fork": str(finding.fork),
                    **told(finding, "offset", "offset_in_merge"),
                    "reference": self._branch_document(finding, finding.reference),
                    "branch": self._branch_document(finding, finding.branch),
                    "repair": None
                    if finding.repair is None
                    else {**repair_document(finding.repair), "location": self._repaired_at(finding)},
                }
            case SizeDependent():
                return {
                    "fork": str(finding.fork),
                    "reference": {"tail": str(finding.reference)},
                    "branch": {"tail": str(finding.branch)},
                    **told(finding, "offset", "modulus", "residues", "smallest"),
                }
            case GlobalContext():
                return {"culprits": [str(node) for node in finding.culprits], "local": finding.local}
            case Holes():
                return holes_document(finding)
            case Unproductive():
                return unproductive_document(finding)
            case Unread():
                return {"positions": list(finding.positions), "modulus": finding.modulus or None}
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


def verdict(report: Report, judged: Judged) -> str:
    """Return the findings counted, and whether all merges could be checked."""
    counts = [counted(count, severity) for severity, count in severities(judged.open).items() if count]
    counts += [f"{len(judged.accepted)} accepted"] if judged.accepted else []
    if report.unchecked and judged.policy.looks_at_alignment:
        return f"{', '.join(counts) or 'none'}; {counted(len(report.unchecked), 'merge')} not checked"
    return ", ".join(counts) or ("none, all merges line up" if report.aligned else "none")


def _head(finding: Finding, entry: str | None) -> str:
    return f"{'' if entry is None else 'accepted '}{finding.severity} {finding.rule} {finding.title}"


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


def _rest(findings: Sequence[Finding], entries: Sequence[str | None]) -> tuple[str, ...]:
    nodes = list(dict.fromkeys(repr(finding.node) for finding in findings))
    named = ", ".join(nodes[:NAMED]) + (f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else "")
    head = f"{_head(findings[0], entries[0])}: {len(findings)} more"
    return head, f"at {named} (each is shown with --all)", "", "", "", ""


def _path(branch: Branch) -> str:
    return " -> ".join(str(node) for node in branch.path)


def holes_document(finding: Holes) -> Document:
    """Return what only findings of holes have, for programs."""
    return {**told(finding, "coverage", "size", "rates"), "since": str(finding.since)}


def repair_document(repair: Repair) -> Document:
    """Return the change of a padding for programs."""
    before = None if repair.before is None else {"merge": str(repair.before[0]), "slot": repair.before[1]}
    return {"node": str(repair.node), **told(repair, "padding", "was"), "before": before}
