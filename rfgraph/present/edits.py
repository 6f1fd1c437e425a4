"""What ``annotate`` and ``repair`` show of what they wrote."""

from __future__ import annotations

from rfgraph.editing.repair import Repaired
from rfgraph.frozen import dataclass
from rfgraph.present.findings import repair_document
from rfgraph.present.layers import head
from rfgraph.present.rows import Column, Document, Records, Sheet, counted, truth
from rfgraph.questions.findings import Finding
from rfgraph.questions.records import finding_document
from rfgraph.report import Report


@dataclass(frozen=True)
class Annotation:
    """What was written into a model for viewers."""

    report: Report
    name: str
    file: str
    #: Nodes of the model that carry it now, and all that there are.
    told: int
    nodes: int
    #: Whether the model has weights in other files.
    external: bool = False

    def sheet(self) -> Sheet:
        """Return it for people."""
        count = counted(len(self.report.findings), "finding")
        what = "r, coloured by what was found" if self.file.lower().endswith(".json") else "r, S, P and status"
        notes = [f"{self.file}: {self.told} of {counted(self.nodes, 'node')} carry {what}; {count}"]
        if self.external:
            notes.append("its weights lie in files of their own, as those of the model do: keep it beside them")
        return Sheet("", (), (), tuple(notes))

    def records(self) -> Records:
        """Return it for spreadsheets."""
        return Records(("file", "told", "nodes"), [(self.file, str(self.told), str(self.nodes))])

    def document(self) -> Document:
        """Return it for programs."""
        return {
            **head("annotate", self.report, self.name),
            "file": self.file,
            "told": self.told,
            "nodes": self.nodes,
            "findings": [finding_document(finding) for finding in self.report.findings],
            "external_weights": self.external,
        }


@dataclass(frozen=True)
class RepairView:
    """What was repaired, and what is left."""

    repaired: Repaired
    name: str
    #: What was written; empty where nothing was.
    file: str

    def sheet(self) -> Sheet:
        """Return it for people."""
        columns = tuple(map(Column, ("finding", "message", "repaired", "left")))
        rows = [
            (_head("repaired", finding), finding.message, str(repair), "") for finding, repair in self.repaired.done
        ]
        rows += [(_head("left", finding), finding.message, "", why) for finding, why in self.repaired.left]
        done, left = len(self.repaired.done), len(self.repaired.left)
        if not self.file:
            notes = ["nothing to repair, so nothing was written" if not left else "nothing repaired, nothing written"]
        else:
            notes = [f"{self.file}: {done} repaired, {left} left; none of those repaired is found in it"]
            notes.append("weights were trained with the old paddings: train or tune them again")
        return Sheet("", columns, rows, tuple(notes), stacked=True)

    def records(self) -> Records:
        """Return it for spreadsheets."""
        header = ("rule", "node", "repaired", "what")
        rows = [(f.rule, str(f.node), truth(True), str(repair)) for f, repair in self.repaired.done]
        rows += [(f.rule, str(f.node), truth(False), why) for f, why in self.repaired.left]
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        return {
            **head("repair", self.repaired.after, self.name),
            "file": self.file or None,
            "repaired": [
                {**finding_document(finding), "repair": repair_document(repair)}
                for finding, repair in self.repaired.done
            ],
            "left": [{**finding_document(finding), "why": why} for finding, why in self.repaired.left],
        }


def _head(word: str, finding: Finding) -> str:
    return f"{word} {finding.severity} {finding.rule} {finding.title}"
