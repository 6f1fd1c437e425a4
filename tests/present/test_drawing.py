"""Graph pictures: what stands where, and that every name from a model stays text."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfgraph import Network, analyze
from rfgraph.cli import main
from rfgraph.errors import MissingExtraError
from rfgraph.present.drawing import FILL, Box, Picture
from rfgraph.present.layering import layered
from rfgraph.present.modules import ENTRY, EXIT, OWN, Module, parts, tree

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def edges(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Draw an acyclic graph whose ids are in no special order."""
    count = draw(st.integers(1, 24))
    ids = draw(st.permutations(range(count)))
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=60))
    return count, [(ids[a], ids[b]) for a, b in pairs if a < b]


@given(edges())
def test_edges_run_down_and_no_two_nodes_share_a_place(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = graph
    found = layered(count, pairs)
    assert all(found.rank[tail] < found.rank[head] for tail, head in pairs)
    assert len(set(zip(found.rank, found.column, strict=True))) == count
    whole = nx.DiGraph(pairs)
    whole.add_nodes_from(range(count))
    assert found.ranks == nx.dag_longest_path_length(whole) + 1


@given(edges())
def test_lanes_are_as_many_as_long_edges_of_different_tails_run_side_by_side(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    count, pairs = graph
    found = layered(count, pairs)
    long = [found.rank[head] > found.rank[tail] + 1 for tail, head in pairs]
    assert [lane is not None for lane in found.lane] == long
    spans: dict[int, tuple[int, int, int | None]] = {}
    for (tail, head), lane in zip(pairs, found.lane, strict=True):
        if lane is not None:
            first, last, same = spans.get(tail, (found.rank[tail], 0, lane))
            assert same == lane
            spans[tail] = (first, max(last, found.rank[head]), lane)
    gaps = [[lane for first, last, lane in spans.values() if first <= gap < last] for gap in range(found.ranks)]
    assert all(len(set(lanes)) == len(lanes) for lanes in gaps)
    assert found.lanes == max(map(len, gaps), default=0)


def test_a_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="2 of 3 nodes lie on or behind a cycle"):
        layered(3, [(1, 2), (2, 1)])


@pytest.mark.parametrize("shape", ["chain", "dense", "wide"])
def test_a_layout_looks_at_each_node_and_edge_a_fixed_number_of_times(shape: str) -> None:
    def looks(count: int) -> float:
        pairs = {
            "chain": [(v, v + 1) for v in range(count - 1)],
            "dense": [(u, v) for v in range(count) for u in range(max(0, v - 8), v)],
            "wide": [(0, v) for v in range(1, count)],
        }[shape]
        lines = 0

        def count_lines(frame: Any, event: str, argument: Any) -> Any:
            nonlocal lines
            lines += event == "line"
            return count_lines

        before = sys.gettrace()
        sys.settrace(count_lines)
        try:
            layered(count, pairs)
        finally:
            sys.settrace(before)
        return lines / (count + len(pairs))

    assert looks(2000) < 1.1 * looks(200)


# Modules

NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)


@given(edges(), st.data())
def test_a_tree_of_modules_holds_every_node_once_and_each_module_is_acyclic(
    graph: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    count, pairs = graph
    order = list(nx.topological_sort(nx.DiGraph([*pairs, *((v, -1) for v in range(count))])))[:-1]
    ids = {v: place for place, v in enumerate(order)}
    tails: list[list[int]] = [[] for _ in range(count)]
    for tail, head in pairs:
        tails[ids[head]].append(ids[tail])
    names = [data.draw(NAMES) for _ in range(count)]
    found: list[int] = []
    waiting = [tree(names, tails)]
    while waiting:
        module = waiting.pop()
        inner = [member for member in module.members if isinstance(member, Module)]
        found += [member for member in module.members if isinstance(member, int)]
        waiting += inner
        quotient = nx.DiGraph(module.edges)
        assert nx.is_directed_acyclic_graph(quotient)
        owner = {v: OWN + i for i, m in enumerate(module.members) for v in ((m,) if isinstance(m, int) else m.nodes)}
        wanted = {(owner.get(tail, ENTRY), owner[head]) for head in module.nodes for tail in tails[head]}
        wanted |= {(owner[t], EXIT) for h in range(count) if h not in owner for t in tails[h] if t in owner}
        assert set(module.edges) == {(a, b) for a, b in wanted if a != b}
        assert all(len(m.nodes) > 1 for m in inner)
        assert all(parts(names[v])[0] == parts(names[m.nodes[0]])[0] for m in inner for v in m.nodes if not owner)
    assert sorted(found) == list(range(count))


def test_modules_that_the_names_spell_hold_together() -> None:
    whole = tree(["x", "net.a.c1", "net.a.c2", "net.b.c1", "net.a.c3", "net.b.c2"], [[], [0], [1], [2], [3], [4]])
    (net,) = [member for member in whole.members if isinstance(member, Module)]
    # The path runs from a to b, back to a, and to b again: both are cut in two.
    assert [m.nodes if isinstance(m, Module) else m for m in net.members] == [[1, 2], 3, 4, 5]


# Pictures


def misaligned() -> Network:
    net = Network("net <&>", axes=2)
    x = net.conv("stem/conv", net.input("image"), kernel=3, padding=1)
    wide = net.conv("block/conv", x, kernel=4, padding=1)
    net.add("block/add", wide, net.crop("block/crop", x, padding=[[0, -1], [0, -1]]))
    return net


def picture(depth: int | None = None) -> Picture:
    return Picture(analyze(misaligned().graph), "model", depth)


def test_boxes_hold_name_r_and_s_and_the_colour_of_the_worst_finding() -> None:
    report = analyze(misaligned().graph)
    assert [finding.rule for finding in report.findings] == ["RF002"]
    boxes = {box.name: box for box in picture().drawing().boxes}
    assert boxes["add"].detail == "add, r 6, S 1"
    assert boxes["add"].severity == "warning"
    assert boxes["conv"].severity is None
    assert boxes["block"].kind == "open"
    root = ET.fromstring(picture().svg())
    drawn = {group.find(f"{SVG}title").text: group.find(f"{SVG}rect") for group in root.iter(f"{SVG}g")}  # type: ignore[union-attr]
    assert drawn["add: add, r 6, S 1"].get("fill") == FILL["warning"][0]  # type: ignore[union-attr]
    assert root.find(f"{SVG}title").text == "net <&>"  # type: ignore[union-attr]


def test_depth_folds_modules() -> None:
    boxes = {box.name: box for box in picture(0).drawing().boxes}
    assert set(boxes) == {"image", "stem/conv", "block"}
    assert (boxes["block"].kind, boxes["block"].detail, boxes["block"].severity) == (
        "folded", "3 nodes, r 6, S 1", "warning",
    )  # fmt: skip


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


@pytest.mark.parametrize("model", ["zoo:resnet_v1_50", "zoo:inception_v3", "zoo:unet", "zoo:densenet_121", "zoo:fpn"])
@pytest.mark.parametrize("depth", [None, 0, 1])
def test_boxes_do_not_overlap_and_every_line_runs_from_a_box_down_to_a_box(model: str, depth: int | None) -> None:
    drawing = Picture(analyze(model), model, depth).drawing()
    solid = sorted((box for box in drawing.boxes if box.kind != "open"), key=lambda box: box.y)
    assert not any(overlap(a, b) for i, a in enumerate(solid) for b in solid[i + 1 :] if b.y < a.y + a.height)
    assert all(0 <= box.x <= box.x + box.width <= drawing.width for box in drawing.boxes)
    assert all(0 <= box.y <= box.y + box.height <= drawing.height for box in drawing.boxes)
    for line in drawing.lines:
        heights = [y for _, y in line.points]
        assert heights == sorted(heights)
        for (x0, y0), (x1, y1) in pairwise(line.points):
            if x0 == x1:  # a way down crosses no box
                inside = [b for b in solid if b.x < x0 < b.x + b.width and b.y < y1 and y0 < b.y + b.height]
                assert not inside


def test_dot_and_mermaid_have_the_edges_of_the_graph_between_what_is_shown() -> None:
    text = picture(0).dot()
    assert re.findall(r"^  (\w+) -> (\w+);$", text, re.MULTILINE) == [("n0", "n1"), ("n1", "m1")]
    assert '  m1 [label="block\\n3 nodes, r 6, S 1", fillcolor="#fdf0d0", color="#c08a00"];' in text
    text = picture().dot()
    ids = {name: v for v, name in enumerate(misaligned().graph)}
    wanted = {(f"n{ids[a]}", f"n{ids[b]}") for a, b in misaligned().graph.edges()}
    order = {f"n{v}": f"n{ids[name]}" for v, name in enumerate(analyze(misaligned().graph))}
    drawn = re.findall(r"^  (\w+) -> (\w+);$", text, re.MULTILINE)
    assert {(order[a], order[b]) for a, b in drawn} == wanted
    lines = picture().mermaid().splitlines()
    assert '  subgraph m1["block"]' in lines
    assert sum(" --> " in line for line in lines) == len(wanted)
    assert any(line.endswith(":::warning") for line in lines)


HOSTILE = '"]; x [label="<script>alert(1)</script>\n\u202e$\\frac\\'


def test_names_stay_text(tmp_path: Path) -> None:
    net = Network(HOSTILE, axes=1)
    net.conv(HOSTILE, net.input("x"), kernel=3)
    found = Picture(analyze(net.graph), "model")
    root = ET.fromstring(found.svg())
    assert {element.tag for element in root.iter()} == {
        SVG + tag for tag in ["svg", "title", "rect", "g", "text", "path"]
    }
    dot = found.dot()
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', dot)
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", dot)
    assert "script" not in outside
    assert any("script" in text for text in strings)
    assert "\u202e" not in dot
    quoted = re.findall(r'\["(.*)"\]$', found.mermaid(), re.MULTILINE)
    assert len(quoted) == 2
    assert not any(set('"<>[]\n') & set(text.replace("<br/>", "")) for text in quoted)


def test_a_name_is_no_formula_in_a_png() -> None:
    pytest.importorskip("matplotlib")
    net = Network("net", axes=1)
    net.conv("$\\frac", net.input("x"), kernel=3)  # an error, were it one
    assert Picture(analyze(net.graph), "model").data("png").startswith(b"\x89PNG")


def test_the_command_writes_the_form_that_the_file_asks_for(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    pytest.importorskip("matplotlib")
    begins = {"svg": b"<svg ", "png": b"\x89PNG", "dot": b"digraph {", "mmd": b"flowchart TB"}
    for suffix, begin in begins.items():
        path = tmp_path / f"graph.{suffix}"
        assert main(["draw", "zoo:unet", "--depth", "0", "-o", str(path)]) == 0
        assert path.read_bytes().startswith(begin)
    assert main(["draw", "zoo:unet", "--format", "dot"]) == 0
    assert capsysbinary.readouterr().out.startswith(b"digraph {")
    assert main(["draw", "zoo:unet"]) == 0
    assert capsysbinary.readouterr().out.startswith(b"<svg ")


def test_png_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = picture()

    class Gone:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name.startswith("matplotlib"):
                raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Gone(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"pip install 'rfgraph\[plot\]'"):
        found.data("png")
