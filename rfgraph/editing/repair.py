"""Repairs carried out: the advice of findings, applied to paddings and held against what is found then.

Repairs are applied all at once and the network is solved again; where that makes other findings, one by one. What would
make another serious finding, or does not help, is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import networkx as nx

from rfgraph.errors import RFGraphError
from rfgraph.frozen import dataclass
from rfgraph.questions.findings import Finding
from rfgraph.questions.latency import LooksAhead
from rfgraph.questions.misalignment import Misalignment, Repair
from rfgraph.report import Report

#: Returns the findings of a report that are to be repaired.
Choose = Callable[[Report], Sequence[Finding]]


@dataclass(frozen=True)
class Repaired:
    """A network whose paddings were repaired."""

    graph: nx.DiGraph[Any]
    before: Report
    after: Report
    #: What was done, in its order, and the findings that it was done for.
    done: tuple[tuple[Finding, Repair], ...]
    #: The chosen findings that are left, and why.
    left: tuple[tuple[Finding, str], ...]


def repair_of(finding: Finding, report: Report) -> Repair | None:
    """Return the change of padding that a finding advises, ``None`` if it advises none."""
    if isinstance(finding, Misalignment):
        return finding.repair
    if not isinstance(finding, LooksAhead) or finding.padding is None:
        return None
    was = report.paddings(finding.node)
    if None in was:
        return None
    axis = report.axes.index(finding.axes[0])
    now = [finding.padding if i == axis else pair for i, pair in enumerate(was)]
    return Repair(finding.node, tuple(p for p in now if p is not None), tuple(p for p in was if p is not None))


def repaired(graph: nx.DiGraph[Any], analyze: Callable[[nx.DiGraph[Any]], Report], choose: Choose) -> Repaired:
    """Return a network with the advice of the chosen findings carried out.

    Parameters
    ----------
    graph
        The network; it is left as it is.
    analyze
        Solves a network.
    choose
        Which findings are to be repaired.
    """
    before = report = analyze(graph)
    done: list[tuple[Finding, Repair]] = []
    refused: dict[object, str] = {}
    while True:
        batch: dict[Hashable, tuple[Finding, Repair]] = {}
        for finding in choose(report):
            repair = repair_of(finding, report)
            if repair is None:
                refused[_key(finding)] = finding.advice
            elif _key(finding) not in refused:
                batch.setdefault(repair.node if repair.before is None else repair.before, (finding, repair))
        if not batch:
            left = tuple((finding, refused.get(_key(finding), finding.advice)) for finding in choose(report))
            return Repaired(graph, before, report, tuple(done), left)
        tries = [list(batch.values())] if len(batch) > 1 else []
        for changes in [*tries, *([one] for one in batch.values())]:
            try:
                tried = graph
                for _, repair in changes:
                    tried = repair.apply(tried)
                after = analyze(tried)
                worse = _worse(report, after, choose)
            except RFGraphError as error:
                worse = f"cannot be done: {error}"
            if not worse:
                graph, report = tried, after
                done += changes
                break
            if len(changes) == 1:
                refused[_key(changes[0][0])] = f"to {changes[0][1]} {worse}"


def _key(finding: Finding) -> object:
    return finding.rule, finding.node, finding.axes, finding.message


def _worse(before: Report, after: Report, choose: Choose) -> str:
    """Return why a change is no repair; nothing if it is one."""
    serious = [
        Counter((finding.rule, finding.node) for finding in report.findings if finding.severity != "note")
        for report in (before, after)
    ]
    added = [f"{rule} at {node!r}" for rule, node in serious[1] - serious[0]]
    if added:
        return f"would make {added[0]}"
    if len(choose(after)) >= len(choose(before)):
        return "would not mend it"
    return ""
