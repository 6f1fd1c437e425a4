"""Outputs: what the model returns, by its own names and in its order."""

from __future__ import annotations

import json
from fractions import Fraction

import networkx as nx
import pytest

import rfgraph
from rfgraph.errors import AttributeValueError, EndpointError, UnknownNodeError
from rfgraph.importers import node_link
from rfgraph.questions import grids


def pyramid(**graph):
    """Three levels, each of which reads the one before."""
    net = rfgraph.Network("pyramid", axes=2)
    x = net.input("image")
    for level in (3, 4, 5):
        x = net.conv(f"c{level}", x, kernel=3, stride=2, padding=1)
    net.graph.graph.update(graph)
    return net


def test_without_a_word_of_the_graph_the_last_maps_are_the_outputs():
    assert rfgraph.analyze(pyramid()).outputs == ("c5",)


@pytest.mark.parametrize("outputs", [["c3", "c4", "c5"], ("c5", "c3"), ["c4"], ["c3", "image"]])
def test_a_list_names_the_nodes_that_are_returned(outputs):
    assert rfgraph.analyze(pyramid(outputs=outputs)).outputs == tuple(outputs)


def test_outputs_have_names_of_their_own_in_their_order():
    report = rfgraph.analyze(pyramid(outputs={"P5": "c5", "P3": "c3", "again": "c5"}))
    assert report.outputs == ("P5", "P3", "again")
    assert [report[name].name for name in report.outputs] == ["c5", "c3", "c5"]
    assert report["P3"] == report["c3"]
    assert "P3" in report
    assert list(report) == ["image", "c3", "c4", "c5"]
    assert report.region("P3", (0, 0)).box == report.region("c3", (0, 0)).box
    trace = rfgraph.trace(pyramid(outputs={"P5": "c5", "P3": "c3"}), output="P3")
    assert (trace.output, list(trace)) == ("c3", ["image", "c3"])


def test_the_general_passes_know_outputs_by_name_too():
    net = pyramid(outputs={"mask": "up", "P3": "c3"})
    net.resize("up", "c5", size=64)
    report = rfgraph.analyze(net)
    assert report.engine.name == "passes"
    assert report.outputs == ("mask", "P3")
    assert report["mask"] == report["up"]


def test_two_names_of_one_node_are_one_end_of_a_trace():
    assert rfgraph.trace(pyramid(outputs={"a": "c5", "b": "c5"})).output == "c5"
    with pytest.raises(EndpointError, match="'P3', 'P4'"):
        rfgraph.trace(pyramid(outputs={"P3": "c3", "P4": "c4"}))


def test_in_place_of_scores_stand_the_last_maps_that_they_are_made_of():
    net = pyramid()
    net.dense("scores", net.flatten("flat", "c5"))
    net.graph.graph["outputs"] = {"scores": "scores", "features": "c3"}
    assert rfgraph.analyze(net).outputs == ("c5", "features")


def test_the_levels_of_a_detector_are_its_outputs():
    """Boxes of all levels in one list have no axes: each level is one, though each is read by the next."""
    net = pyramid()
    boxes = [net.flatten(f"boxes{level}", net.conv(f"head{level}", f"c{level}", kernel=3)) for level in (3, 4, 5)]
    net.concat("boxes", *boxes, axis="channels")
    net.graph.graph["outputs"] = {"boxes": "boxes", "scores": "boxes5"}
    assert rfgraph.analyze(net).outputs == ("head3", "head4", "head5")


def test_axes_begin_anew_behind_a_code():
    """The decoder of an autoencoder: its maps are outputs, not the last map of the encoder."""
    net = pyramid()
    code = net.dense("code", net.flatten("flat", "c5"))
    grid = net.depth_to_space("grid", code, block=4)
    last = net.conv_transpose("up", grid, kernel=4, stride=2, padding=1)
    for outputs in (None, {"picture": last}):
        net.graph.graph["outputs"] = outputs
        report = rfgraph.analyze(net, input_size=64)
        (name,) = report.outputs
        assert (report[name].name, report[name].map_size) == ("up", (8, 8))


def decoder(padding, merges=1, plain=True):
    """An encoder, a code, and behind it branches of kernel 3 and 2 that meet."""
    net = pyramid()
    x = net.depth_to_space("grid", net.dense("code", net.flatten("flat", "c5")), block=4)
    if not plain:
        x = net.resize("up", x, scale=2)
    for k in range(merges):
        left = net.conv(f"left{k}", x, kernel=3, padding=1)
        x = net.add(f"add{k}", left, net.conv(f"right{k}", x, kernel=2, padding=padding))
    return net


@pytest.mark.parametrize("plain", [True, False])
def test_merges_behind_a_code_are_measured_from_where_they_begin(plain):
    report = rfgraph.analyze(decoder([[0, 1], [0, 1]], plain=plain), input_size=64)
    (finding,) = (f for f in report.findings if f.rule != "RF008")
    assert isinstance(finding, rfgraph.Misalignment)
    step = 1 if plain else Fraction(1, 2)
    assert (finding.node, finding.axes, finding.measured_at) == ("add0", ("y", "x"), "grid")
    assert (abs(finding.offset), abs(finding.offset_in_merge)) == (Fraction(1, 2) * step, Fraction(1, 2))
    assert "positions of 'grid'" in finding.message
    assert report.aligned is False
    aligned = rfgraph.analyze(decoder("same", plain=plain), input_size=64)
    assert aligned.unchecked == ()


def test_merges_behind_a_code_that_line_up_are_no_finding():
    net = decoder([[0, 1], [0, 1]], merges=0)
    net.add("sum", "grid", net.conv("conv", "grid", kernel=3, padding=1))
    report = rfgraph.analyze(net, input_size=64)
    assert report.aligned is True
    assert [f.rule for f in report.findings] == ["RF008"]


def test_so_many_codes_are_followed_and_no_more(monkeypatch):
    monkeypatch.setattr(grids, "MOST", 2)
    net = rfgraph.Network("codes", axes=1)
    x = net.input("image", size=16)
    for k in range(4):
        grid = net.depth_to_space(f"grid{k}", net.dense(f"code{k}", x), block=4)
        x = net.add(f"add{k}", net.conv(f"l{k}", grid, kernel=3, padding=1), net.conv(f"r{k}", grid, kernel=1))
    report = rfgraph.analyze(net)
    assert report.unchecked == ("add2", "add3")
    assert report.aligned is None


def test_node_link_json_keeps_outputs(tmp_path):
    graph = nx.DiGraph(axes=1, outputs={"end": ("a", 1)})
    graph.add_node("x", op="input")
    graph.add_node(("a", 1), op="conv", kernel=3)
    graph.add_edge("x", ("a", 1))
    for outputs in ({"end": ("a", 1)}, [("a", 1), "x"]):
        graph.graph["outputs"] = outputs
        node_link.save(graph, tmp_path / "graph.json")
        assert rfgraph.load(tmp_path / "graph.json").graph["outputs"] == outputs
        assert rfgraph.analyze(tmp_path / "graph.json").outputs == rfgraph.analyze(graph).outputs == tuple(outputs)
    assert json.loads((tmp_path / "graph.json").read_text())["graph"]["outputs"] == [["a", 1], "x"]


@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        ("c5", AttributeValueError, "outputs 'c5' is neither a list of nodes nor a mapping"),
        (["imago"], UnknownNodeError, r"outputs names 'imago', which is none of the nodes \(near: image"),
        ([["c5"]], UnknownNodeError, "none of the nodes"),
        ({"c3": "c5"}, AttributeValueError, "calls node 'c5' 'c3', as another node is called"),
    ],
)
def test_outputs_that_are_none_are_refused(outputs, error, message):
    with pytest.raises(error, match=message):
        rfgraph.analyze(pyramid(outputs=outputs))
