"""Reports in notebooks and shells: tables that fold, findings above them, the page in a frame."""

from __future__ import annotations

import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import rfgraph
from rfgraph import Network, Report, RFGraphError, analyze
from rfgraph.cli import main
from rfgraph.present.page import Page

HOSTILE = "</td><script>alert(1)</script>\u202e\"'&<img src=x onerror=alert(1)>"

#: All that a report in a notebook is made of.
TAGS = {
    "div", "p", "b", "ul", "li", "small", "br", "details", "summary", "code", "table", "thead", "tbody", "tr",
    "th", "td",
}  # fmt: skip


class Shape(HTMLParser):
    """What a piece of HTML is made of: its tags in order, with their attributes, and the cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def hostile() -> Report:
    net = Network(HOSTILE, axes=1)
    x = net.input("x")
    net.add(HOSTILE, x, net.conv(f"{HOSTILE}.conv", x, kernel=2))
    return analyze(net)


def blocks(count: int) -> Report:
    """Return a network of modules of three layers each, every one of which is off by half a pixel."""
    net = Network("blocks", axes=1)
    x = net.input("x")
    for i in range(count):
        y = net.relu(f"block{i}.relu", net.conv(f"block{i}.conv", x, kernel=2))
        x = net.add(f"block{i}.add", x, y)
    return analyze(net)


def test_a_report_prints_the_table_that_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "zoo:unet_3x3", "--input-size", "256", "--all"]) == 0
    command = capsys.readouterr().out.splitlines()
    own = str(analyze("zoo:unet_3x3", input_size=256)).splitlines()
    command = [line.replace("--format json", "report.to_dict()") for line in command]
    assert [line for line in own if not line.startswith("findings")] == [
        line for line in command if not line.startswith("findings")
    ]
    assert "findings: 4 warnings (see `report.findings`)" in own


def test_notes_name_arguments_and_no_options() -> None:
    report = analyze("zoo:resnet_v1_50")
    for text in (str(report), report._repr_html_(), report.summary(depth=0)._repr_html_()):
        assert "input_size= gives one number" in text
        assert not re.findall("--[a-z]", text)


def test_a_summary_folds_and_chooses_columns() -> None:
    report = blocks(3)
    shown = report.summary(depth=0, columns=["layer", "S", "r"])
    assert str(shown) == repr(shown)
    lines = [line.split() for line in str(shown).splitlines()]
    assert ["layer", "S", "r"] in lines
    assert [["x", "1", "1"], *([f"block{i}", "1", str(i + 2)] for i in range(3))] == lines[4:8]
    (table,) = Shape(shown._repr_html_()).tables
    assert table == [["layer", "S", "r"], ["x", "1", "1"], *([f"block{i}", "1", str(i + 2)] for i in range(3))]
    with pytest.raises(RFGraphError, match="there is no column 'stride'"):
        str(report.summary(columns=["stride"]))


def test_findings_stand_above_a_table_that_is_whole() -> None:
    report = blocks(3)
    text = report._repr_html_()
    shape = Shape(text)
    (table,) = shape.tables
    assert [row[0] for row in table[1:]] == list(report)
    assert [row[table[0].index("r")] for row in table[1:]] == [str(layer.size[0]) for layer in report.values()]
    assert len(report.findings) == 3
    for finding in report.findings:
        assert text.index(html.escape(finding.message)) < text.index("<table")
    assert ("details", {"open": None}) in shape.tags


def test_a_long_table_is_folded_by_module_and_many_findings_too() -> None:
    report = blocks(20)
    shape = Shape(report._repr_html_())
    folded, whole = shape.tables
    assert [row[0] for row in folded[1:]] == ["x", *(f"block{i}" for i in range(20))]
    assert [row[0] for row in whole[1:]] == list(report)
    assert [attributes for tag, attributes in shape.tags if tag == "details"] == [{}, {"open": None}, {}]
    assert "and 14 more findings" in report._repr_html_()


def test_a_huge_table_ends() -> None:
    report = blocks(400)
    assert len(Shape(report._repr_html_()).tables[-1]) == 1001
    assert "and 201 more rows" in report._repr_html_()


def test_text_is_text_and_nothing_runs() -> None:
    report = hostile()
    for text in (report._repr_html_(), report.summary()._repr_html_()):
        shape = Shape(text)
        assert {tag for tag, _ in shape.tags} <= TAGS
        assert not [name for _, attributes in shape.tags for name in attributes if name not in ("style", "open")]
        assert "\u202e" not in text
        names = [row[0] for row in shape.tables[-1][1:]]
        assert names == ["x", *(name.replace("\u202e", r"\u202e") for name in (f"{HOSTILE}.conv", HOSTILE))]


def test_shells_complete_names_of_nodes_and_outputs() -> None:
    net = Network("pyramid", axes=1)
    p3 = net.conv("c3", net.input("x"), kernel=3)
    net.graph.graph["outputs"] = {"P3": p3}
    assert analyze(net)._ipython_key_completions_() == ["x", "c3", "P3"]


def framed(text: str) -> str:
    """Return the page that a frame holds."""
    ((tag, attributes),) = Shape(text).tags
    assert tag == "iframe"
    assert attributes["sandbox"] == "allow-scripts"
    return attributes["srcdoc"] or ""


def test_the_page_stands_in_a_frame(tmp_path: Path) -> None:
    for report in (blocks(2), hostile()):
        shown = rfgraph.page(report, height=500)
        assert framed(shown._repr_html_()) == Page(report, "network").text() == shown.text
        assert "height: 500px" in shown._repr_html_()
        shown.save(tmp_path / "report.html")
        assert (tmp_path / "report.html").read_text(encoding="utf-8") == shown.text
        assert len(repr(shown)) < 500


def test_the_frame_draws_in_a_browser_and_reaches_nothing(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<p id=secret>kept</p>{rfgraph.page(blocks(2))._repr_html_()}", encoding="utf-8")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1300, "height": 860})
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(notebook.as_uri())
        frame: Any = page.frame_locator("iframe")
        frame.locator("#way .step").first.wait_for(timeout=5000)
        assert frame.locator("h1").inner_text() == "blocks"
        (inside,) = [one for one in page.frames if one is not page.main_frame]
        assert inside.evaluate("() => { try { return parent.document.title; } catch (e) { return 'kept out'; } }") == (
            "kept out"
        )
        # The graph fills its view, though a frame has no width until it is laid out.
        inside.wait_for_function(
            "() => { const {width} = document.querySelector('#graph .view').getBoundingClientRect();"
            "return width > 200 && Math.abs(G.zoom - clamp(width / (G.width + 20), 0.3, 1.2)) < 0.01; }",
            timeout=5000,
        )
        browser.close()
    assert {url.partition(":")[0] for url in requests} <= {"file", "about", "data"}
