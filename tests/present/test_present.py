"""Views of results in every format: each is read back and held against the report it shows."""

from __future__ import annotations

import csv
import json
import re
from fractions import Fraction
from io import StringIO
from itertools import pairwise
from typing import Any

import networkx as nx
import pytest
from markdown_it import MarkdownIt

import rfgraph
from rfgraph import Network, Report
from rfgraph.algebra.residues import InputSizes
from rfgraph.policy import Policy, judge
from rfgraph.present import as_csv, as_json, as_markdown, as_table
from rfgraph.present.findings import Check
from rfgraph.present.layers import axis_texts, field_texts, layer_records, layer_sheet, reasons
from rfgraph.present.layout import NARROWEST, cells, fitted, wrapped
from rfgraph.present.rows import Column, Records, Sheet, across, digits, number, printable
from rfgraph.present.sizes import Sizes, examples
from rfgraph.present.views import RegionView, Summary, TraceView
from rfgraph.present.zoo import Zoo, ZooRow
from rfgraph.questions.layers import Layer
from rfgraph.questions.records import exact, layer_document

SGR = re.compile(r"\x1b\[[0-9;]*m")

#: What a file may call its nodes, each of which breaks some format if it is not quoted or escaped.
NAMES = [
    "with space",
    "pipe | and || more",
    "quote \" and 'single'",
    "comma, semicolon; tab\tend",
    "line\nbreak\r\nand return\rend",
    "`code` *bold* _under_ ~gone~ $x$ <b>html</b> [link](u) &amp; back\\slash \\| end",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J \x7f\x00",
    "\u202eright to left\u200b",
    "[bold red]markup[/bold red] [/] :smile:",
    "größe/層/слой",
    "e\u0301 combining",
    "\ud800 lone",
    "=1+1",
    "# 1. - heading",
]


def residual(name: str = "net", **shortcut: Any) -> nx.DiGraph:
    """A strided block whose shortcut is a conv with the attributes given."""
    net = Network(name, axes=2)
    image = net.input("image")
    conv = net.conv("conv", image, kernel=(3, 5), stride=2, padding=(1, 2))
    net.add("add", conv, net.conv("shortcut", image, stride=2, **shortcut))
    return net.graph


def mixed() -> nx.DiGraph:
    """A network with every kind of field: plain, periodic, bounded, global besides or only, by size, and unknown."""
    net = Network("mixed", axes=2)
    image = net.input("image")
    conv = net.conv("conv", image, kernel=(3, 5), stride=2, padding=1)
    gate = net.sigmoid("gate", net.global_avg_pool("pool", conv))
    scaled = net.mul("scaled", conv, gate)
    up = net.conv_transpose("up", scaled, kernel=1, stride=(1, 3))
    shrunk = net.resize("shrunk", up, scale=(1, "1/2"), mode="cubic", antialias=True)
    net.conv("holes", shrunk, kernel=(2, 1), dilation=2)
    columns = net.attention("columns", conv, mixes=(True, False))
    net.conv("after", columns, kernel=3)
    net.conv("drift", net.max_pool("same", image, kernel=3, stride=2, padding=("same", 0)), kernel=3)
    net.constant("learned")
    net.add("positions", conv, "learned")
    net.graph.add_node("opaque", op="unknown", of="Mystery")
    net.graph.add_edge("conv", "opaque")
    net.conv("beyond", "opaque", kernel=3)
    return net.graph


def summary(graph: nx.DiGraph, everything: bool = False, **options: Any) -> Summary:
    report = rfgraph.analyze(graph, **options)
    return Summary(report, judge(report.findings, Policy()), "model", "rfgraph check model", everything)


def check(graph: nx.DiGraph, everything: bool = False, policy: Policy | None = None, **options: Any) -> Check:
    report = rfgraph.analyze(graph, **options)
    judged = judge(report.findings, policy or Policy())
    return Check(report, judged, "model", {"input size": "give a size", "treat=": "say"}, everything)


def read_plain(text: str) -> tuple[list[str], list[list[str]]]:
    """Read a plain table back by the rule below its headings."""
    lines = text.split("\n")
    at = next(index for index, line in enumerate(lines) if line and not line.strip("- "))
    spans = [match.span() for match in re.finditer("-+", lines[at])]
    table = [[line[a:b].strip() for a, b in spans] for line in (lines[at - 1], *lines[at + 1 : lines.index("", at)])]
    return table[0], table[1:]


def read_markdown(text: str) -> list[list[str]]:
    """Read the cells of a Markdown table back with a parser that is not ours."""
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text)
    rows: list[list[str]] = []
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type in ("th_open", "td_open"):
            children = token.children or []
            assert all(child.type == "text" for child in children), "a cell holds markup"
            rows[-1].append("".join(child.content for child in children))
    return rows


def read_csv(text: str) -> list[dict[str, str]]:
    """Read CSV back, held to RFC 4180's line ends."""
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    return list(csv.DictReader(StringIO(text, newline=""), strict=True))


def per_axis(layer: Layer, name: str) -> list[Any]:
    """A number of a layer by axis as the report gives it, ``None`` where there is none or it depends on the size."""
    numbers: list[Any] = []
    for window, table in zip(layer.field, layer.by_size or [None] * len(layer.field), strict=True):
        windows = [window] if table is None else [w for w in table.windows if w.kind != "unknown"]
        found = {getattr(w, name) if w.kind == "local" else None for w in windows}
        numbers.append(found.pop() if len(found) == 1 else None)
    return numbers


# Numbers and text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-7, "-7"),
        (Fraction(1, 2), "0.5"),
        (Fraction(-1, 2), "-0.5"),
        (Fraction(-27, 2), "-13.5"),
        (Fraction(1, 64), "0.015625"),
        (Fraction(1, 128), "1/128"),
        (Fraction(7, 3), "7/3"),
        (2**70, "1180591620717411303424"),
        (2**200, "~1.61e+60"),
        (-(10**100), "~-1.00e+100"),
        (Fraction(10**50, 3), "~3.33e+49"),
    ],
)
def test_number_for_people(value: int | Fraction, text: str) -> None:
    assert number(value) == text


def test_a_number_of_any_length_is_shown() -> None:
    assert number(10**5000) == "~1.00e+5000"  # Python itself writes no more than 4,300 digits


def test_numbers_for_programs_are_exact() -> None:
    assert [exact(value) for value in (2**70, Fraction(4, 2), Fraction(1, 3), None)] == [2**70, 2, "1/3", None]
    assert digits(2**200) == str(2**200)
    assert [digits(value) for value in (Fraction(1, 2), Fraction(1, 3), None)] == ["0.5", "1/3", ""]


def test_one_text_where_axes_agree() -> None:
    assert across(["3", "3", "3"]) == "3"
    assert across(["3", "5", "3"]) == "3x5x3"
    assert across(["?", "5"]) == "? x 5"
    assert across(["-", "5"]) == "- x 5"
    assert across(["<=3", "5"]) == "<=3 x 5"
    assert across(["-3", "1.5"]) == "-3x1.5"
    assert across(["1..3", "3"]) == "1..3 x 3"


@pytest.mark.parametrize("name", NAMES)
def test_printable_leaves_nothing_that_a_terminal_obeys(name: str) -> None:
    assert printable(name).isprintable()
    assert all(char in printable(name) for char in name if char.isprintable())


def test_printable_shows_what_was_there() -> None:
    assert printable("a\x1b[2J\n\u202e\x9b") == r"a\x1b[2J\n\u202e\x9b"


# Summary


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("size", [None, (63, 65)])
def test_json_of_a_summary_is_the_report(everything: bool, size: tuple[int, int] | None) -> None:
    view = summary(mixed(), everything, input_size=size)
    report = view.report
    document = json.loads(as_json.text(view.document()))
    assert list(document)[:3] == ["schema_version", "tool", "command"]
    assert (document["schema_version"], document["command"], document["name"]) == (2, "summary", "mixed")
    assert document["axes"] == ["y", "x"]
    assert document["source"] == "image"
    assert document["input_size"] == list(size or (None, None))
    shown = [name for name in report if everything or report[name].field[0].kind != "empty"]
    assert [layer["name"] for layer in document["layers"]] == shown
    for entry in document["layers"]:
        layer = report[entry["name"]]
        assert entry["op"] == layer.op
        assert [field["axis"] for field in entry["fields"]] == ["y", "x"]
        assert [field["map_size"] for field in entry["fields"]] == list(layer.map_size)
        for name in ("size", "stride", "padding", "center", "start"):
            said = [None if field[name] is None else Fraction(field[name]) for field in entry["fields"]]
            assert said == per_axis(layer, name), (entry["name"], name)
        assert [field["global"] for field in entry["fields"]] == list(layer.is_global)
        known = [table is not None for table in layer.by_size or [None] * len(layer.field)]
        states = ["exact" if k else window.status for k, window in zip(known, layer.field, strict=True)]
        assert [field["status"] for field in entry["fields"]] == states
        assert [field["by_size"] is not None for field in entry["fields"]] == known
        assert (entry["status"], entry["why"]) == (layer.status, layer.why)
    assert document["outputs"] == list(report.outputs)
    assert document["aligned"] is report.aligned
    assert document["counts"] == {"error": 0, "warning": 0, "note": 3}  # global twice, holes once


def test_json_says_fractions_exactly_and_global_as_null() -> None:
    layers = {entry["name"]: entry["fields"] for entry in summary(mixed()).document()["layers"]}
    assert layers["conv"][0]["start"] == "1/2"
    assert (layers["pool"][0]["size"], layers["pool"][0]["global"]) == (None, True)
    assert (layers["scaled"][0]["size"], layers["scaled"][0]["global"]) == (3, True)
    assert (layers["opaque"][0]["size"], layers["opaque"][0]["status"]) == (None, "unknown")
    assert layers["up"][1]["period"] == 3


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("size", [None, (63, 65)])
def test_csv_of_a_summary_is_the_report(everything: bool, size: tuple[int, int] | None) -> None:
    view = summary(mixed(), everything, input_size=size)
    rows = read_csv(as_csv.text(view.records()))
    assert list(rows[0])[:6] == ["layer", "op", "n_y", "n_x", "r_y", "r_x"]
    assert len(rows) == len(view.layers)
    for row, layer in zip(rows, view.layers, strict=True):
        assert (row["layer"], row["op"], row["status"], row["why"]) == (layer.name, layer.op, layer.status, layer.why)
        for heading, name in (("r", "size"), ("S", "stride"), ("P", "padding"), ("start", "start")):
            said = [row[f"{heading}_{axis}"] for axis in layer.axes]
            assert [Fraction(text) if text else None for text in said] == per_axis(layer, name)
        assert [row[f"n_{axis}"] for axis in layer.axes] == ["" if n is None else str(n) for n in layer.map_size]
        assert [row[f"global_{axis}"] == "true" for axis in layer.axes] == list(layer.is_global)


def test_table_of_a_summary_is_the_report() -> None:
    view = summary(residual(kernel=1), input_size=(63, 65))
    headings, rows = read_plain(as_table.text(view.sheet()))
    assert headings == ["layer", "op", "n", "r", "S", "P", "start"]
    assert rows == [
        ["image", "input", "63x65", "1", "1", "0", "0.5"],
        ["conv", "conv", "32x33", "3x5", "2", "1x2", "0.5"],
        ["shortcut", "conv", "32x33", "1", "2", "0", "0.5"],
        ["add", "add", "32x33", "3x5", "2", "1x2", "0.5"],
    ]


def test_table_has_map_sizes_only_where_some_are_known() -> None:
    headings, rows = read_plain(as_table.text(summary(residual(kernel=1)).sheet()))
    assert headings == ["layer", "op", "r", "S", "P", "start"]
    assert rows[1] == ["conv", "conv", "3x5", "2", "1x2", "0.5"]


def test_markdown_of_a_summary_has_the_cells_of_the_table() -> None:
    view = summary(mixed(), input_size=(63, 65))
    headings, rows = read_plain(as_table.text(view.sheet()))
    assert read_markdown(as_markdown.text(view.sheet())) == [headings, *rows]


def test_fields_of_every_kind_for_people() -> None:
    report = rfgraph.analyze(mixed())
    assert field_texts(report["conv"]) == ("3x5", "2", "1", "0.5x1.5")
    assert field_texts(report["pool"]) == ("global", "-", "-", "-")
    assert field_texts(report["scaled"])[0] == "3x5 +global"
    assert field_texts(report["columns"])[0] == "global x 5"
    assert field_texts(report["after"])[0] == "global x 9"
    assert field_texts(report["learned"]) == ("-", "-", "-", "-")
    assert field_texts(report["same"]) == ("3", "2", "0..1 x 0", "0.5..1.5 x 1.5")
    assert field_texts(report["opaque"]) == ("?", "?", "?", "?")
    bound = report["holes"].field[1]
    assert bound.status == "bound"
    size, stride, padding, start = field_texts(report["holes"])
    assert size == f"7 x <={bound.size} +global" if bound.size != 7 else "<=7 +global"
    assert stride == across(["2", number(bound.stride)])
    assert padding.endswith(f"<={number(bound.padding)}")
    assert start.endswith(f"~{number(bound.start)}")


def test_a_global_path_on_one_axis_names_it() -> None:
    net = Network("n", axes=2)
    image = net.input("image")
    net.add("add", net.conv("conv", image, kernel=3), net.attention("columns", image, mixes=(True, False)))
    assert field_texts(rfgraph.analyze(net)["add"])[0] == "3 +global(y)"


def test_notes_of_a_summary_explain_its_marks() -> None:
    notes = summary(mixed()).sheet().notes
    assert notes[0] == "left out: 1 node that does not read 'image' (see --all)"
    text = "\n".join(notes)
    assert "+global: some path reads the whole axis besides" in text
    assert "? not known at 'opaque' and 1 layer after it: node 'opaque' (unknown), axis y: rfgraph does" in text
    assert "'same'" not in text
    assert "<= upper bounds at 'shrunk' and 1 layer after it: a skipped position meets an upsampling phase" in text
    assert "outputs: " in text
    assert "drift (r 7, S 2, P 0..1 x 0)" in text
    assert "P of 'drift', axis y: 0 where n mod 2 is 0; 1 where n mod 2 is 1, for n from 5" in text
    assert "beyond (r ?, S ?, P ?)" in text
    assert "positions (r 3x5, S 2, P 1)" in text


def test_nothing_is_explained_that_is_not_there() -> None:
    notes = summary(residual(kernel=1)).sheet().notes
    output, paths = "output: add (r 3x5, S 2, P 1x2)", "paths: 2 to 'add' (r 1 to 3x5)"
    assert notes == (output, paths, "findings: none, all merges line up")


def test_findings_are_counted_with_the_command_that_shows_them() -> None:
    notes = summary(residual(kernel=3)).sheet().notes
    assert notes[-1] == "findings: 2 warnings (see `rfgraph check model`)"
    assert summary(residual(kernel=3)).document()["counts"] == {"error": 0, "warning": 2, "note": 0}


def test_layers_that_do_not_read_the_source_are_shown_on_demand() -> None:
    assert "learned" not in [row[0] for row in summary(mixed()).sheet().rows]
    assert ("learned", "constant", *"------") in summary(mixed(), everything=True).sheet().rows


def test_of_many_outputs_and_reasons_the_first_few_are_named() -> None:
    net = Network("n", axes=1)
    image = net.input("image")
    for index in range(20):
        net.max_pool(f"pool{index}", image, kernel=2 + index, stride=2 + index, padding="same")
    notes = summary(net.graph).sheet().notes
    assert sum(note.startswith("? not known") for note in notes) == 8
    assert "and 12 other reasons (see --format json)" in notes
    assert notes[-2].endswith("pool7 (r ?, S ?, P ?) and 12 more")
    assert len(summary(net.graph).document()["inexact"]) == 20


def test_reasons_are_told_once_with_the_first_layer() -> None:
    net = Network("n", axes=1)
    x = net.unknown("warp", net.input("image"), of="GridSample")
    for index in range(5):
        x = net.max_pool(f"later{index}", x, kernel=2, padding="same")
    (reason,) = reasons(rfgraph.analyze(net).values())
    assert (reason.first, reason.layers, reason.status) == ("warp", 6, "unknown")
    assert reason.why.startswith("node 'warp' (unknown), axis t: rfgraph does not know what GridSample reads")


def test_title_names_network_axes_source_and_input() -> None:
    view = summary(residual(kernel=1), input_size=(63, 65))
    assert view.sheet().title == "net: axes y, x, measured at 'image', input 63x65"
    assert summary(residual(name="", kernel=1)).sheet().title == "model: axes y, x, measured at 'image'"
    assert summary(_signal()).sheet().title == "one: axis t, measured at 'signal'"


def _signal() -> nx.DiGraph:
    net = Network("one", axes=1)
    net.conv("conv", net.input("signal"), kernel=3)
    return net.graph


def same_shortcut(start: int = 2) -> nx.DiGraph:
    """A network whose merge lines up where ``n mod 2**start`` is right, and whose P depends on the input size there."""
    net = Network("same", axes=2)
    x = net.input("image")
    for index in range(start - 1):
        x = net.conv(f"stem{index}", x, kernel=3, stride=2, padding=1)
    pool = net.max_pool("pool", x, kernel=3, stride=2, padding=("same", 1))
    net.add("add", pool, net.conv("side", x, kernel=1, stride=2))
    return net.graph


def test_what_the_input_size_decides_is_a_range_with_its_cases_below() -> None:
    sheet = summary(same_shortcut()).sheet()
    numbers = {row[0]: row[2:] for row in sheet.rows}
    assert numbers["pool"] == ("7", "4", "1..3 x 3", "0.5..2.5 x 0.5")
    assert numbers["side"] == ("3", "4", "1", "0.5")
    assert sheet.notes[:3] == (
        "a..b: from a to b, by the input size n; --input-size gives one number",
        "P of 'add', axis y: 1 where n mod 4 is 0 or 3; 3 where n mod 4 is 1 or 2",
        "output: add (r 7, S 4, P 1..3 x 3)",
    )
    assert not any(note.startswith("? not known") for note in sheet.notes)
    assert summary(same_shortcut()).document()["inexact"] == []
    assert not any(".." in note for note in summary(same_shortcut(), input_size=64).sheet().notes)


def test_of_many_cases_only_the_range_is_told_with_the_smallest_size() -> None:
    net = Network("n", axes=1)
    x = net.conv("stem", net.input("image"), kernel=9)
    for index in range(3):
        x = net.conv(f"conv{index}", x, kernel=3, stride=2, padding="same")
    report = rfgraph.analyze(net)
    paddings = {window.padding for window in report["conv2"].by_size[0].fields}
    assert len(paddings) == 8
    said = f"{min(paddings)} to {max(paddings)}, by n mod 8 (each is in --format json), for n from 9"
    assert f"P of 'conv2': {said}" in summary(net.graph).sheet().notes


def test_json_has_the_window_of_every_residue() -> None:
    report = rfgraph.analyze(same_shortcut())
    (entry,) = (entry for entry in summary(same_shortcut()).document()["layers"] if entry["name"] == "add")
    rows, columns = entry["fields"]
    assert (rows["size"], rows["stride"], rows["padding"], rows["start"], rows["status"]) == (7, 4, None, None, "exact")
    assert (columns["padding"], columns["by_size"]) == (3, None)
    table = report["add"].by_size[0]
    assert (rows["by_size"]["modulus"], rows["by_size"]["smallest"]) == (4, table.smallest)
    for residue, window in enumerate(rows["by_size"]["windows"]):
        concrete = rfgraph.analyze(same_shortcut(), input_size=64 + residue)["add"]
        assert (window["size"], window["padding"]) == (concrete.size[0], concrete.padding[0])
        assert Fraction(window["start"]) == concrete.start[0]


def test_json_has_nothing_for_residues_of_sizes_that_do_not_work() -> None:
    net = Network("n", axes=1)
    image = net.input("image")
    same = net.max_pool("same", image, kernel=3, stride=2, padding="same")
    net.add("add", same, net.max_pool("floor", image, kernel=2))
    (entry,) = (entry for entry in summary(net.graph).document()["layers"] if entry["name"] == "same")
    even, odd = entry["fields"][0]["by_size"]["windows"]
    assert (even["size"], odd) == (3, None)


def test_csv_says_by_what_the_input_size_decides() -> None:
    rows = {row["layer"]: row for row in read_csv(as_csv.text(summary(same_shortcut()).records()))}
    assert (rows["add"]["by_n_mod_y"], rows["add"]["by_n_mod_x"]) == ("4", "")
    assert (rows["add"]["r_y"], rows["add"]["S_y"], rows["add"]["P_y"], rows["add"]["P_x"]) == ("7", "4", "", "3")
    assert (rows["add"]["status"], rows["add"]["why"]) == ("exact", "")
    assert rows["side"]["by_n_mod_y"] == ""
    assert "by_n_mod_y" not in summary(residual(kernel=1)).records().header


def test_a_view_reads_each_layer_a_fixed_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    get = Report.__getitem__
    monkeypatch.setattr(Report, "__getitem__", lambda self, node: reads.append(node) or get(self, node))
    counts = {}
    for length in (500, 1000):
        net = Network("chain", axes=1)
        x = net.input("image")
        for index in range(length):
            x = net.conv(f"conv{index}", x, kernel=3)
        reads.clear()
        as_table.text(summary(net.graph).sheet())
        counts[length] = len(reads)
    assert counts[1000] - counts[500] == 500


# Check


@pytest.mark.parametrize("shortcut", [{"kernel": 3}, {"kernel": 1}, {"kernel": (1, 2)}, {"kernel": 1, "padding": 1}])
def test_json_of_a_check_is_the_findings(shortcut: dict[str, Any]) -> None:
    view = check(residual(**shortcut))
    document = json.loads(as_json.text(view.document()))
    assert document["aligned"] is view.report.aligned
    assert len(document["findings"]) == len(view.report.findings)
    for said, finding in zip(document["findings"], view.report.findings, strict=True):
        for name in ("rule", "title", "severity", "fork", "message", "advice"):
            assert said[name] == getattr(finding, name)
        assert said["axes"] == list(finding.axes)
        assert Fraction(said["offset"]) == finding.offset
        assert Fraction(said["offset_in_merge"]) == finding.offset_in_merge
        for branch in ("reference", "branch"):
            truth = getattr(finding, branch)
            assert said[branch]["path"] == list(truth.path)
            assert (said[branch]["slot"], said[branch]["tail"]) == (truth.slot, truth.tail)
            assert said[branch]["field"]["size"] == truth.field.size
        repair = finding.repair
        assert (said["repair"] is None) == (repair is None)
        if repair is not None:
            assert said["repair"]["node"] == repair.node
            assert said["repair"]["padding"] == [list(pair) for pair in repair.padding]
            assert said["repair"]["before"] == (repair.before and {"merge": repair.before[0], "slot": repair.before[1]})


def test_repairs_by_an_inserted_pad_name_merge_and_slot() -> None:
    net = Network("n", axes=1)
    image = net.input("image")
    net.add("add", net.conv("conv", image, kernel=3), image)
    (finding,) = check(net.graph).document()["findings"]
    assert finding["repair"] is not None
    net = Network("n", axes=1)
    image = net.input("image")
    net.add("add", image, net.slice("cut", image, start=1))
    (finding,) = check(net.graph).document()["findings"]
    assert finding["repair"]["before"] is not None
    assert finding["repair"]["before"]["merge"] == "add"
    assert finding["repair"]["was"] is None


def test_csv_of_a_check_is_the_findings() -> None:
    view = check(residual(kernel=3))
    rows = read_csv(as_csv.text(view.records()))
    assert len(rows) == len(view.judged.findings) == 2
    for row, finding in zip(rows, view.judged.findings, strict=True):
        assert (row["rule"], row["severity"], row["node"]) == (finding.rule, finding.severity, finding.merge)
        assert (row["title"], row["fork"], row["axes"]) == (finding.title, finding.fork, " ".join(finding.axes))
        assert Fraction(row["offset"]) == finding.offset
        assert Fraction(row["offset_in_merge"]) == finding.offset_in_merge
        assert row["branch_path"] == " -> ".join(finding.branch.path)
        assert row["reference_path"] == " -> ".join(finding.reference.path)
        assert (row["reference_slot"], row["branch_slot"]) == (str(finding.reference.slot), str(finding.branch.slot))
        assert (row["message"], row["advice"]) == (finding.message, finding.advice)


def test_text_of_a_check_says_all_of_a_finding() -> None:
    view = check(residual(kernel=1, padding=[[1, 1], [0, 0]]))
    (finding,) = view.judged.findings
    assert as_table.text(view.sheet()) == (
        "net: axes y, x, measured at 'image'\n\n"
        "warning RF002 misaligned\n"
        f"  {finding.message}\n"
        "  reference  r 3, S 2, P 1: image -> conv -> add\n"
        "  branch     r 1, S 2, P 1: image -> shortcut -> add\n"
        f"  advice     {finding.advice}\n"
        "\nfindings: 1 warning\n"
    )


def test_markdown_of_a_check_has_a_row_for_each_finding() -> None:
    view = check(residual(kernel=3))
    headings, *rows = read_markdown(as_markdown.text(view.sheet()))
    assert headings == ["finding", "message", "reference", "branch", "advice"]
    assert [row[1] for row in rows] == [finding.message for finding in view.judged.findings]


def test_findings_come_worst_first_and_what_is_not_checked_between_warnings_and_notes() -> None:
    net = Network("n", axes=1)
    image = net.input("image")
    up = net.conv_transpose("up", net.max_pool("down", image, kernel=2), kernel=2, stride=2)
    net.add("jitter", image, up)
    net.add("off", image, net.conv("late", image, kernel=2))
    net.add("strides", image, net.conv("fast", image, kernel=1, stride=2))
    net.add("open", image, net.max_pool("same", image, kernel=3, stride=2, padding="same"))
    view = check(net.graph)
    heads = [row[0] for row in view.sheet().rows]
    assert heads == [
        "error RF001 stride mismatch",
        "warning RF002 misaligned",
        "warning not checked",
        "note RF003 phase jitter",
    ]
    assert view.sheet().rows[2][1].startswith("merge 'open' cannot be checked: node 'same' (max_pool), axis t")
    assert view.sheet().rows[2][4] == "give a size"
    assert view.sheet().notes == ("findings: 1 error, 1 warning, 1 note; 1 merge not checked",)
    assert view.worst == "error"
    assert [row["title"] for row in read_csv(as_csv.text(view.records()))] == [
        "stride mismatch",
        "misaligned",
        "phase jitter",
        "not checked",
    ]
    document = view.document()
    assert document["counts"] == {"error": 1, "warning": 1, "note": 1}
    assert [(entry["merges"], entry["first"]) for entry in document["unchecked"]] == [(1, "open")]


def test_a_network_whose_merges_have_one_local_branch_is_checked_whatever_its_padding() -> None:
    net = Network("n", axes=1)
    pool = net.max_pool("same", net.input("image"), kernel=3, stride=2, padding="same")
    net.add("coded", net.mul("gated", pool, net.global_avg_pool("gate", pool)), net.constant("code"))
    view = check(net.graph)
    assert view.report.aligned is True
    assert [finding.rule for finding in view.judged.findings] == ["RF008"]
    assert view.sheet().notes == ("findings: 1 note",)


def test_long_paths_are_shortened_for_people_only() -> None:
    net = Network("n", axes=1)
    image = x = net.input("image")
    for index in range(20):
        x = net.conv(f"conv{index}", x, kernel=3)
    net.add("add", image, x)
    view = check(net.graph)
    assert view.sheet().rows[0][2].endswith(": image -> conv0 -> conv1 -> ... 16 more ... -> conv18 -> conv19 -> add")
    path = ["image", *(f"conv{index}" for index in range(20)), "add"]
    assert view.document()["findings"][0]["reference"]["path"] == path
    assert read_csv(as_csv.text(view.records()))[0]["reference_path"] == " -> ".join(path)


def causal(blocks: int) -> nx.DiGraph:
    net = Network("causal", axes=1)
    x = net.input("audio")
    for index in range(blocks):
        x = net.add(f"add{index}", x, net.conv(f"conv{index}", x, kernel=2, padding=[[1, 0]]))
    return net.graph


def test_of_many_notes_of_a_rule_the_first_few_are_shown() -> None:
    view = check(causal(14))
    assert len(view.judged.findings) == 14
    rows = view.sheet().rows
    assert [row[0] for row in rows] == ["note RF004 causally aligned"] * 3 + ["note RF004 causally aligned: 11 more"]
    assert rows[-1][1] == "at " + ", ".join(f"'add{index}'" for index in range(3, 11)) + (
        " and 3 more (each is shown with --all)"
    )
    assert len(check(causal(14), everything=True).sheet().rows) == 14
    assert len(view.document()["findings"]) == len(view.records().rows) == 14
    assert [row[0] for row in check(causal(3)).sheet().rows] == ["note RF004 causally aligned"] * 3


def test_warnings_are_never_left_out() -> None:
    net = Network("n", axes=1)
    x = net.input("image")
    for index in range(10):
        x = net.add(f"add{index}", x, net.conv(f"conv{index}", x, kernel=3))
    assert len(check(net.graph).sheet().rows) == 10


def test_findings_by_input_size_in_every_format() -> None:
    net = Network(axes=1)
    image = net.input("image")
    pool = net.max_pool("pool", image, kernel=3, stride=2, padding="same")
    add = net.add("add", pool, net.conv("side", image, kernel=1, stride=2))
    net.add("end", add, net.pad("shift", add, padding=[[1, -1]]))
    view = check(net.graph)
    depends, off = view.judged.findings
    assert (depends.rule, off.rule) == ("RF005", "RF002")
    rows = view.sheet().rows
    assert rows[0] == (
        "warning RF005 aligned for some input sizes only",
        depends.message,
        "",
        "",
        depends.advice,
    )
    # P at the first residue, which it holds for: a pool of 3/2 pads 0 before an even map, and the pad moves it by 2.
    assert rows[1][2] == "r 3, S 2, P 2 where n mod 2 is 0: add -> shift -> end"
    assert rows[1][3] == "r 3, S 2, P 0 where n mod 2 is 0: add -> end"
    said = view.document()["findings"]
    assert (said[0]["modulus"], said[0]["residues"], said[0]["smallest"], said[0]["offset"]) == (2, [1], 1, -1)
    assert (said[1]["branch"]["field"]["padding"], said[1]["branch"]["field_at"]) == (0, {"modulus": 2, "residue": 0})
    records = read_csv(as_csv.text(view.records()))
    assert (records[0]["modulus"], records[0]["residues"], records[0]["smallest"]) == ("2", "1", "1")
    assert (records[0]["fork"], records[0]["offset"], records[1]["modulus"]) == ("image", "-1", "")
    assert view.sheet().notes[-1] == "all merges line up at no input size (axis t)"


def test_branches_whose_field_holds_at_all_sizes_say_no_residue() -> None:
    finding = check(residual(kernel=3)).document()["findings"][0]
    assert finding["reference"]["field_at"] is None


# Sizes


def sizes(model: nx.DiGraph | str, **options: Any) -> Sizes:
    return Sizes(rfgraph.analyze(model), "model", hints={"treat=": "say"}, **options)


def test_sizes_of_published_networks() -> None:
    assert sizes("zoo:unet").sheet().rows == [("y, x", "n mod 16 is 12, from 188", "all of these")]
    assert sizes("zoo:xception").sheet().rows == [("y, x", "any size from 7", "n mod 32 is 7 or 8, from 7")]
    assert sizes("zoo:xception").sheet().notes == ("it works and lines up at 7, 8, 39, 40, 71, 72, ...",)


@pytest.mark.parametrize("model", ["zoo:xception", "zoo:unet_2x2", "zoo:mobilenet_v1"])
def test_sizes_in_every_format_are_the_report(model: str) -> None:
    view = sizes(model)
    report = view.report
    headings, rows = read_plain(as_table.text(view.sheet()))
    assert read_markdown(as_markdown.text(view.sheet())) == [headings, *rows]
    records = read_csv(as_csv.text(view.records()))
    document = json.loads(as_json.text(view.document()))
    for axis, said, record in zip(range(2), document["sizes"], records, strict=True):
        works = report.input_sizes[axis]
        assert (said["axis"], record["axis"]) == (report.axes[axis],) * 2
        assert said["works"] == {
            "modulus": works.modulus,
            "residues": list(works.residues),
            "smallest": works.smallest,
        }
        assert record["works_modulus"] == str(works.modulus)
        assert record["works_residues"] == " ".join(map(str, works.residues))
        assert record["works_smallest"] == str(works.smallest)
        assert record["lines_up_residues"] == " ".join(map(str, said["lines_up"]["residues"]))
        assert record["first"] == " ".join(map(str, said["first"]))
        for size in said["first"]:
            assert size in works
            assert report.aligned_when(size)


def test_the_maps_of_outputs_are_told_by_the_input_size() -> None:
    maps = sizes("zoo:unet").document()["maps"]
    assert [(told["axis"], told["size"]) for told in maps] == [
        (axis, "n - 184 where n mod 16 is 12, from 188") for axis in "yx"
    ]
    assert maps[0]["unchanged"]["residues"] == []


def test_axes_that_differ_have_rows_of_their_own() -> None:
    view = sizes(same_shortcut())
    assert view.sheet().rows == [
        ("y", "any size from 1", "n mod 4 is 1 or 2, from 1"),
        ("x", "any size from 1", "all of these"),
    ]
    assert view.sheet().notes[0] == "axis y: it works and lines up at 1, 2, 5, 6, 9, 10, ..."
    assert check(same_shortcut()).sheet().notes[-1] == "all merges line up iff n mod 4 is 1 or 2 (axis y)"


def test_sizes_that_are_listed_begin_where_all_is_known() -> None:
    assert examples(InputSizes("y", 3, (0,), 1000), InputSizes("y", 2, (1,), 5)) == [1005, 1011, 1017, 1023, 1029, 1035]
    assert examples(InputSizes("y", 2, (0,), 5), None) == [6, 8, 10, 12, 14, 16]
    assert examples(InputSizes("y", 2, (0,), 1), InputSizes("y", 2, (1,), 1)) == []


def test_sizes_of_what_lines_up_at_none() -> None:
    view = sizes(residual(kernel=1, padding=[[1, -1], [1, -1]]))
    assert view.sheet().rows == [("y, x", "any size from 1", "no size")]
    assert view.sheet().notes == ("no size at which it works lines up; it works at 1, 2, 3, 4, 5, 6, ...",)
    assert view.document()["sizes"][0]["lines_up"]["residues"] == []
    assert view.document()["sizes"][0]["first"] == []


def test_sizes_of_what_never_works() -> None:
    net = Network("n", axes=1)
    image = net.input("image")
    net.concat("both", image, net.conv("conv", image, kernel=3))
    view = sizes(net.graph)
    assert view.sheet().rows == [("t", "no size", "no size")]
    assert view.sheet().notes == ("no size at which it works lines up; sizes at which it works: none known",)


def test_sizes_below_those_that_residues_decide_are_listed() -> None:
    net = Network("n", axes=1)
    image = net.input("image")
    net.add("add", image, net.conv("conv", image, kernel=3))
    view = sizes(net.graph, stated={"image": "3"})
    assert view.sheet().rows == [("t", "3 only", "no size")]  # there the only position of the smaller map is repeated
    assert view.sheet().notes == (
        "no size at which it works lines up; it works at 3",
        "'image' states the size 3, maps inside the network fit few others",
    )
    assert view.document()["sizes"][0]["works"] == {"modulus": 1, "residues": [], "smallest": 1, "also": [3]}
    assert view.records().header[-1] == "works_also"
    assert view.records().rows == [("t", "1", "", "1", "1", "", "1", "", "3")]


def test_sizes_that_cannot_be_told_say_why_and_what_to_do() -> None:
    net = Network("n", axes=1)
    last = net.input("x")
    for index, stride in enumerate((97, 101, 103)):
        last = net.conv(f"c{index}", last, kernel=3, stride=stride, padding="same")
    net.graph.add_node("odd", op="unknown", of="Mystery")
    net.graph.add_edge(last, "odd")
    net.add("add", last, "odd")
    view = sizes(net.graph, inputs=2)
    assert view.sheet().rows == [("t", "cannot be told", "cannot be told")]
    text = "\n".join(view.sheet().notes)
    assert (
        "which sizes work cannot be told: they repeat only after more than 4096 pixels, or there are none; try" in text
    )
    assert "merge 'add' cannot be checked: node 'c0' (conv), axis t: padding 'same'" in text
    assert "n is the size of all 2 inputs" in text
    assert view.document()["sizes"] == [{"axis": "t", "works": None, "lines_up": None, "first": []}]
    assert view.document()["unchecked"][0]["first"] == "add"
    assert view.records().rows == [("t", "", "", "", "", "", "", "")]


# Policy


def test_accepted_findings_are_shown_as_such_in_every_format() -> None:
    policy = Policy(accept=("RF002:nothing", "RF002:add"))
    view = check(residual(kernel=1, padding=[[1, 1], [0, 0]]), policy=policy)
    (finding,) = view.report.findings
    assert view.worst is None
    (row,) = view.sheet().rows
    assert row[:2] == ("accepted warning RF002 misaligned (by RF002:add)", finding.message)
    assert view.sheet().notes == ("accept 'RF002:nothing' accepts nothing", "findings: 1 accepted")
    document = view.document()
    assert document["counts"] == {"error": 0, "warning": 0, "note": 0}
    assert (document["accepted"], document["accepts_nothing"], document["aligned"]) == (1, ["RF002:nothing"], False)
    assert (document["findings"][0]["accepted"], document["findings"][0]["accepted_by"]) == (True, "RF002:add")
    assert [row["accepted"] for row in read_csv(as_csv.text(view.records()))] == ["true"]
    open_ = check(residual(kernel=1, padding=[[1, 1], [0, 0]]))
    assert (open_.document()["findings"][0]["accepted"], open_.document()["findings"][0]["accepted_by"]) == (
        False,
        None,
    )
    assert [row["accepted"] for row in read_csv(as_csv.text(open_.records()))] == ["false"]
    assert "\x1b[1;33m" not in as_table.text(view.sheet(), 80)
    assert "\x1b[32maccepted" in as_table.text(view.sheet(), 80)


def test_accepted_findings_come_last_and_of_many_the_first_few() -> None:
    net = Network("n", axes=1)
    x = net.input("image")
    for index in range(6):
        x = net.add(f"add{index}", x, net.conv(f"conv{index}", x, kernel=3))
    policy = Policy(accept=("RF002:add[0-4]",))
    view = check(net.graph, policy=policy)
    head = "accepted warning RF002 misaligned"
    assert [row[0] for row in view.sheet().rows] == [
        "warning RF002 misaligned",
        *[f"{head} (by RF002:add[0-4])"] * 3,
        f"{head}: 2 more",
    ]
    assert view.sheet().rows[-1][1] == "at 'add3', 'add4' (each is shown with --all)"
    assert view.sheet().notes[-1] == "findings: 1 warning, 5 accepted"
    assert len(check(net.graph, everything=True, policy=policy).sheet().rows) == 6
    assert len(view.document()["findings"]) == len(view.records().rows) == 6


def test_what_is_left_out_is_counted() -> None:
    view = check(residual(kernel=3), policy=Policy(ignore=("RF002",)))
    assert view.sheet().rows == []
    assert view.sheet().notes == ("left out by select or ignore: 2 findings of RF002", "findings: none")
    assert (view.document()["left_out"], view.document()["findings"]) == (2, [])


def test_what_cannot_be_checked_matters_where_alignment_is_looked_at() -> None:
    net = Network("n", axes=1)
    net.graph.add_node("odd", op="unknown", of="Mystery")
    net.graph.add_edge(net.input("image"), "odd")
    net.add("add", "image", "odd")
    assert check(net.graph, policy=Policy(select=("RF002",))).worst == "warning"
    blind = check(net.graph, policy=Policy(select=("RF006",)))
    assert blind.worst is None
    assert blind.sheet().rows == []
    assert blind.sheet().notes == ("findings: none",)
    assert check(same_shortcut(), policy=Policy(select=("RF008",))).sheet().notes[-1] == "findings: none"


# Region, trace, zoo


@pytest.mark.parametrize(("size", "clipped"), [(None, False), (63, True)])
def test_region_in_every_format(size: int | None, clipped: bool) -> None:
    report = rfgraph.analyze(residual(kernel=1), input_size=size)
    region = report.region("add", (0, 4))
    view = RegionView(report, region, "model")
    assert region.box is not None
    document = json.loads(as_json.text(view.document()))
    assert (document["layer"], document["index"], document["clipped"]) == ("add", [0, 4], clipped)
    assert [(end["axis"], end["first"], end["last"]) for end in document["box"]] == [
        (axis, *ends) for axis, ends in zip("yx", region.box, strict=True)
    ]
    (row,) = read_csv(as_csv.text(view.records()))
    assert [(int(row[f"first_{axis}"]), int(row[f"last_{axis}"])) for axis in "yx"] == list(region.box)
    assert (row["layer"], row["index_y"], row["index_x"], row["status"]) == ("add", "0", "4", "exact")
    assert row["clipped"] == ("true" if clipped else "false")
    headings, rows = read_plain(as_table.text(view.sheet()))
    assert headings == ["axis", "index", "first", "last", "size"]
    assert rows == [
        [axis, str(index), str(first), str(last), str(last - first + 1)]
        for axis, index, (first, last) in zip("yx", (0, 4), region.box, strict=True)
    ]
    assert ("cut at the border of every map on the way" in view.sheet().notes) is clipped
    assert ("not cut at any border: give --input-size for that" in view.sheet().notes) is not clipped


def test_a_region_that_is_all_padding_says_so() -> None:
    net = Network("n", axes=1)
    net.pad("pad", net.input("image"), padding=2)
    report = rfgraph.analyze(net, input_size=5)
    view = RegionView(report, report.region("pad", 0), "model")
    assert view.document()["box"] is None
    assert view.sheet().rows == []
    assert "it reads nothing of the input but padding" in as_table.text(view.sheet())
    (row,) = read_csv(as_csv.text(view.records()))
    assert (row["first_t"], row["last_t"], row["clipped"]) == ("", "", "true")


def test_a_region_that_is_a_bound_says_so() -> None:
    report = rfgraph.analyze(mixed(), treat={"gate": "cut"})
    view = RegionView(report, report.region("up", (0, 0)), "model")
    assert view.document()["status"] == "exact"
    view = RegionView(report, report.region("holes", (0, 0)), "model")
    assert view.document()["status"] == "bound"
    assert "an upper bound: some of these pixels may not be read" in view.sheet().notes


def test_a_global_past_is_told_as_such() -> None:
    net = Network("stream", axes=1)
    x = net.conv("conv", net.input("x"), kernel=3)
    net.add("out", x, net.recurrent("lstm", x, direction="forward"))
    note = (
        "+global: some path reads all that comes before (global past) besides; r, S and P are those of the other paths"
    )
    assert note in summary(net.graph).sheet().notes


def test_the_end_of_an_axis_of_unknown_size_is_named() -> None:
    net = Network("stream", axes=1)
    net.recurrent("lstm", net.input("x"), direction="forward")
    report = rfgraph.analyze(net)
    view = RegionView(report, report.region("lstm", 4), "model")
    assert view.document()["box"] == [{"axis": "t", "first": None, "last": 4}]
    assert view.sheet().rows == [("t", "4", "start", "4", "-")]
    assert "start, end: those of the axis; --input-size gives their positions" in view.sheet().notes
    (row,) = read_csv(as_csv.text(view.records()))
    assert (row["first_t"], row["last_t"], row["clipped"]) == ("", "4", "false")


def test_trace_in_every_format() -> None:
    trace = rfgraph.trace(residual(kernel=1))
    view = TraceView(trace, "net")
    document = json.loads(as_json.text(view.document()))
    assert (document["output"], document["axes"], document["name"]) == ("add", ["y", "x"], "net")
    assert [entry["name"] for entry in document["layers"]] == list(trace)
    for entry in document["layers"]:
        assert [field["size"] for field in entry["fields"]] == list(trace[entry["name"]].size)
    rows = read_csv(as_csv.text(view.records()))
    assert [(int(row["r_y"]), int(row["r_x"])) for row in rows] == [trace[row["layer"]].size for row in rows]
    assert read_plain(as_table.text(view.sheet()))[1][0] == ["image", "input", "3x5", "2", "1x2", "0.5"]
    assert view.sheet().title == "net: what one feature of 'add' reads of each layer before it"


def zoo() -> Zoo:
    report = rfgraph.analyze(residual(kernel=1))
    return Zoo(
        [
            ZooRow("one", "about one", None, report["add"]),
            ZooRow("two", "about two", 224, report["shortcut"], (1, 2, 0), "A paper"),
            ZooRow("three", "about three", None, report["shortcut"], (1, 2, 1), "A paper"),
            ZooRow("four", "about four", None, report["conv"], (3, 2, 1), "Another | paper"),
        ]
    )


def test_zoo_holds_what_is_published_against_what_is_computed() -> None:
    assert [row.agrees for row in zoo().rows] == [None, True, False, False]
    headings, rows = read_plain(as_table.text(zoo().sheet()))
    assert headings == ["model", "end point", "input", "r", "S", "P", "published"]
    assert rows == [
        ["one", "add on y", "", "3", "2", "1", ""],
        ["one", "add on x", "", "5", "2", "2", ""],
        ["two", "shortcut", "224", "1", "2", "0", "agrees [1]"],
        ["three", "shortcut", "", "1", "2", "0", "differs: r 1, S 2, P 1 [1]"],
        ["four", "conv on y", "", "3", "2", "1", "differs: r 3, S 2, P 1 [2]"],
        ["four", "conv on x", "", "5", "2", "2", "differs: r 3, S 2, P 1 [2]"],
    ]
    assert zoo().sheet().notes[:2] == ("[1] A paper", "[2] Another | paper")


def test_a_field_that_is_not_local_agrees_with_nothing() -> None:
    layer = rfgraph.analyze(mixed())["pool"]
    assert ZooRow("one", "", None, layer, (1, 1, 0), "A paper").agrees is False


def test_zoo_in_json_and_csv() -> None:
    models = json.loads(as_json.text(zoo().document()))["models"]
    assert [model["model"] for model in models] == ["one", "two", "three", "four"]
    assert models[0]["published"] is None
    assert models[1]["published"] == {"size": 1, "stride": 2, "padding": 0, "agrees": True, "source": "A paper"}
    assert (models[1]["input_size"], models[1]["about"]) == (224, "about two")
    assert [field["size"] for field in models[3]["layer"]["fields"]] == [3, 5]
    rows = read_csv(as_csv.text(zoo().records()))
    assert [row["agrees"] for row in rows] == ["", "true", "false", "false"]
    assert (rows[0]["r"], rows[0]["P"], rows[0]["axes"], rows[0]["published_r"]) == ("3x5", "1x2", "y x", "")
    assert (rows[2]["published_r"], rows[2]["published_S"], rows[2]["published_P"]) == ("1", "2", "1")


def test_axes_that_differ_have_their_own_texts() -> None:
    assert axis_texts(rfgraph.analyze(residual(kernel=1))["conv"]) == [
        (["y"], ("3", "2", "1", "0.5")),
        (["x"], ("5", "2", "2", "0.5")),
    ]


# Names that would break a format


@pytest.mark.parametrize("name", NAMES)
def test_names_survive_every_format(name: str) -> None:
    net = Network(name, axes=1)
    image = net.input("image")
    net.add(f"add {name}", net.conv(name, image, kernel=3), image)
    view, findings = summary(net.graph), check(net.graph)
    shown = [printable(layer) for layer in ("image", name, f"add {name}")]

    text = as_json.text(view.document()) + as_json.text(findings.document())
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert [layer["name"] for layer in view.document()["layers"]] == ["image", name, f"add {name}"]
    assert json.loads(as_json.text(view.document())) == view.document()

    text = as_csv.text(view.records())
    assert text.replace("\r\n", "").isprintable()
    assert [row["layer"] for row in read_csv(text)] == list(map(as_csv.harmless, shown))
    (row,) = read_csv(as_csv.text(findings.records()))
    assert (row["node"], row["branch_path"]) == (shown[2], f"image -> {shown[2]}")

    text = as_markdown.text(view.sheet())
    assert text.replace("\n", "").isprintable()
    assert [row[0] for row in read_markdown(text)] == ["layer", *shown]
    assert [row[3] for row in read_markdown(as_markdown.text(findings.sheet()))[1:]] == [
        f"r 1, S 1, P 0: image -> {shown[2]}"
    ]

    for plain in (as_table.text(view.sheet()), as_table.text(findings.sheet())):
        assert plain.replace("\n", "").isprintable()
        assert shown[2] in plain

    for drawn in (as_table.text(view.sheet(), 300), as_table.text(findings.sheet(), 300)):
        assert SGR.sub("", drawn).replace("\n", "").isprintable()
        assert shown[2] in SGR.sub("", drawn)


def test_names_that_are_no_strings_are_written() -> None:
    g = nx.DiGraph(axes=1)
    g.add_node(0, op="input")
    g.add_node(("a", 1), op="conv", kernel=3)
    g.add_edge(0, ("a", 1))
    view = summary(g)
    assert [row[0] for row in view.sheet().rows] == ["0", "('a', 1)"]
    assert [layer["name"] for layer in json.loads(as_json.text(view.document()))["layers"]] == ["0", "('a', 1)"]


@pytest.mark.parametrize("axes", [["h,w", "t\x1b"], ["y", "y"]])
def test_names_of_axes_are_written(axes: list[str]) -> None:
    g = nx.DiGraph(axes=axes)
    g.add_node("image", op="input")
    header = as_csv.text(summary(g).records()).split("\r\n")[0]
    assert header.isprintable()
    assert next(csv.reader([header]))[2:4] == [printable(f"n_{axis}") for axis in axes]


# Layout


def test_wide_and_combining_characters_take_their_columns() -> None:
    assert [cells(text) for text in ("abc", "層層", "e\u0301", "größe")] == [3, 4, 1, 5]
    sheet = Sheet("", (Column("name"), Column("r", "right")), [("層", "1"), ("abc", "22")])
    assert as_table.text(sheet).split("\n")[2:4] == ["層     1", "abc   22"]


def test_text_columns_give_way_and_numbers_do_not() -> None:
    columns = (Column("layer"), Column("op"), Column("r", "right"))
    rows = [["x" * 60, "y" * 20, "1" * 30]]
    assert fitted(columns, rows, 200) == [60, 20, 30]
    assert fitted(columns, rows, 80) == [26, 20, 30]
    assert fitted(columns, rows, 20) == [NARROWEST, NARROWEST, 30]


def test_wrapped_text_loses_nothing() -> None:
    name = "resnet_v1_50/block3/unit_6/bottleneck_v1/conv2/pad"
    for width in range(4, 60):
        lines = wrapped(name, width).split("\n")
        assert all(cells(line) <= width for line in lines)
        assert "".join(line.removeprefix("  ") for line in lines) == name
    assert wrapped(name, 30) == "resnet_v1_50/block3/unit_6/\n  bottleneck_v1/conv2/pad"
    assert wrapped("層" * 4, 5) == "層層\n  層\n  層"


@pytest.mark.parametrize("width", [80, 120])
def test_a_drawn_table_keeps_to_the_width_and_its_numbers_whole(width: int) -> None:
    net = Network("n", axes=2)
    x = net.input("image")
    for index in range(4):
        x = net.conv(f"a_rather_long_scope/{'block/' * 14}conv{index}", x, kernel=(3, 5), stride=2)
    text = SGR.sub("", as_table.text(summary(net.graph, input_size=500).sheet(), width))
    assert max(map(len, text.split("\n"))) == width
    assert "30x28  31x61  16  0  15.5x30.5" in text
    assert "─" in text


def test_a_drawn_check_keeps_to_the_width_and_has_colours() -> None:
    view = check(residual(kernel=3))
    drawn = as_table.text(view.sheet(), 80)
    text = SGR.sub("", drawn)
    assert max(map(len, text.split("\n"))) <= 80
    assert "\x1b[1;33mwarning" in drawn
    assert " ".join(text.split()).count("centres are off by") == 2


def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    view = check(residual(kernel=3))
    monkeypatch.setenv("NO_COLOR", "1")
    codes = {
        code for match in re.findall(r"\x1b\[([0-9;]*)m", as_table.text(view.sheet(), 80)) for code in match.split(";")
    }
    assert codes <= {"0", "1", "2"}  # reset, bold, dim


def test_a_table_too_long_to_look_at_is_written_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = summary(residual(kernel=1)).sheet()
    assert "─" in as_table.text(sheet, 80)
    monkeypatch.setattr(as_table, "MOST_DRAWN", 3)
    assert as_table.text(sheet, 80) == as_table.text(sheet)


def test_empty_sheets_and_records() -> None:
    assert as_table.text(Sheet("title", (Column("a"),), [], ("note",))) == "title\n\nnote\n"
    assert SGR.sub("", as_table.text(Sheet("title", (Column("a"),), [], ("note",)), 80)) == "title\nnote\n"
    assert as_markdown.text(Sheet("", (Column("a"),), [], ("note",))) == "- note\n"
    assert as_csv.text(Records(("a", "b"), [])) == "a,b\r\n"


def test_summary_tells_what_of_an_output_is_read() -> None:
    net = Network("dilated", axes=1)
    net.conv("conv", net.input("signal"), kernel=3, dilation=2)
    view = summary(net.graph)
    assert view.document()["holes"] == [{"layer": "conv", "coverage": "3/5", "size": 5, "since": "conv", "rates": [2]}]
    assert any(note.startswith("holes: node 'conv', axis t: it reads 60% of the 5") for note in view.sheet().notes)
    assert summary(_signal()).document()["holes"] == []


def test_numbers_by_phase_are_told_as_such() -> None:
    net = rfgraph.Network("up", axes=1)
    up = net.resize("up", net.conv("conv", net.input("x"), kernel=3, padding=1), scale=2, mode="linear")
    net.cumsum("sum", up)
    report = rfgraph.analyze(net)
    (field,) = layer_document(report["up"])["fields"]
    assert (field["period"], field["step"], field["intervals"]) == (2, 1, [[-2, 1], [-1, 2]])
    assert (field["global"], field["side"]) == (False, None)
    (field,) = layer_document(report["sum"])["fields"]
    assert (field["intervals"], field["step"], field["side"]) == ([[None, 1], [None, 2]], 1, "past")
    sheet = layer_sheet([report[node] for node in report], "up", ())
    rows = {row[0]: row for row in sheet.rows}
    assert [column.heading for column in sheet.columns][-2:] == ["T", "reach"]
    assert rows["up"][-2:] == ("2", "-2..+1.5")
    assert rows["sum"][2] == "past"
    assert any("repeats" in note for note in sheet.notes)
    records = layer_records([report["up"]], report.axes)
    assert dict(zip(records.header, records.rows[0], strict=True))["period_t"] == "2"
