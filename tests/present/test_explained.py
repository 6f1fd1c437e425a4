"""What rules are about: each is explained by a network in which it is found, drawn as it is."""

from __future__ import annotations

import networkx as nx
import pytest

import rfgraph
from rfgraph.cli import main
from rfgraph.present import as_csv, as_json, as_markdown, as_table
from rfgraph.present.explained import EXPLAINED, Rules, RuleView, drawing
from rfgraph.questions.findings import RULES


def test_every_rule_is_explained() -> None:
    assert list(EXPLAINED) == list(RULES), "explain it in rfgraph/present/explained.py"
    for explained in EXPLAINED.values():
        assert all(text.endswith(".") for text in (explained.why, explained.mend))
        assert explained.source.startswith("https://")
    assert all(bool(EXPLAINED[rule].asked) == about.asked for rule, about in RULES.items())


@pytest.mark.parametrize("rule", RULES)
def test_the_example_gives_the_finding(rule: str) -> None:
    example = EXPLAINED[rule].example
    report = example.report()
    found = [*report.findings, *report.asked({rule}), *report.over(example.budget)]
    assert rule in {finding.rule for finding in found}
    assert example.finding(rule).message in as_table.text(RuleView(rule).sheet())
    # Nothing worse than what it is an example of.
    assert {finding.rule for finding in report.findings if finding.severity != "note"} <= {rule}


@pytest.mark.parametrize("rule", RULES)
def test_what_is_drawn_is_what_is_read(rule: str) -> None:
    """Each mark against a unit impulse pushed through the windows of the ops, one by one."""
    example = EXPLAINED[rule].example
    lines = drawing(example)
    assert max(map(len, lines)) <= 76
    assert [line.split()[0] for line in lines[: len(example.graph)]] == list(example.graph)
    blocks, positions = [], []
    for line in lines[len(example.graph) :]:
        if line.startswith("pixel"):
            size = int(line.split(" of ")[1]) if " of " in line else None
            positions = list(map(int, line.split(" of ")[0].split()[1:]))
            report = example.report(size)
        elif line:
            node, _, index = line.split()[0].removesuffix("]").partition("[")
            marks = line.partition("]")[2].split()[: len(positions)]
            read = {position for position, mark in zip(positions, marks, strict=True) if mark == "#"}
            wanted = reached(report, node, int(index))
            blocks.append(node)
            assert read == (set(positions) if wanted is None else wanted)
    assert blocks == [node for _ in example.drawn_at or [None] for node, _ in example.features]


def reached(report: rfgraph.Report, node: str, index: int) -> set[int] | None:
    """Walk from a feature to the input by the taps of each op; ``None`` if an op reads its whole map."""
    if node == report.source:
        return {index}
    positions: set[int] = set()
    for read in report.reads(node):
        (window,) = read.window
        if not window.is_local:
            return None
        ends = window.ends(index)
        taps = range(ends[0], ends[1] + 1, read.spacing[0]) if ends is not None else ()
        for tap in taps:
            before = reached(report, read.tail, tap)
            if before is None:
                return None
            positions |= before
    return positions


def test_a_rule_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    view = RuleView("RF002")
    document = view.document()
    graph = nx.node_link_graph(document["example"]["graph"], edges="edges")
    assert rfgraph.analyze(graph).findings[0].message == document["example"]["finding"]["message"]
    assert '"rule": "RF002"' in as_json.text(document)
    assert "\n    pixel     0  1  2  3  4\n" in as_markdown.text(view.sheet())
    assert as_csv.text(view.records()).splitlines()[1].startswith("RF002,warning,misaligned,false,,")
    assert [entry["rule"] for entry in Rules().document()["rules"]] == list(RULES)
    for arguments, said in (
        (["rule", "rf002"], "warning RF002 misaligned\n"),
        (["rule"], "\nRF014  error     tiles do"),
    ):
        assert main(arguments) == 0
        assert said in capsys.readouterr().out
    assert main(["rule", "RF02"]) == 2
    assert capsys.readouterr().err.startswith("rfgraph: 'RF02' is no rule (near: RF0")
