"""Positions that no feature of any output reads, against every feature of every output followed on its own."""

from __future__ import annotations

import json
from unittest import mock

import networkx as nx
import oracle
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st
from strategies import networks

import rfgraph
from rfgraph import Network
from rfgraph.passes.compiled import compile_graph
from rfgraph.questions import unread


def unread_of(report):
    return [finding for finding in report.findings if finding.rule == "RF015"]


def by_features(graph, outputs, source, axes):
    """Per axis, the positions of ``source`` that no feature of ``outputs`` reads, with axes taken apart."""
    sizes = oracle.all_sizes(graph, axes)

    def follow(v, axis, position, seen):
        if (v, position) in seen:
            return
        seen.add((v, position))
        tails = oracle.inputs_of(graph, v)
        for slot, tail in enumerate(tails):
            read = oracle.taps(graph.nodes[v], axis, position, [sizes[t][axis] for t in tails], slot)
            if graph.nodes[v]["op"] == "resize":
                read = {min(max(i, 0), sizes[tail][axis] - 1) for i in read}
            if graph.nodes[v]["op"] in ("add", "mul") and sizes[tail][axis] == 1 < sizes[v][axis]:
                read = {0}
            for i in read:
                if 0 <= i < sizes[tail][axis]:
                    follow(tail, axis, i, seen)

    result = []
    for axis in range(axes):
        seen = set()
        for output in outputs:
            for position in range(sizes[output][axis]):
                follow(output, axis, position, seen)
        result.append(tuple(i for i in range(sizes[source][axis]) if (source, i) not in seen))
    return result


@given(networks(same=True), st.data())
def test_unread_positions_are_those_that_no_feature_leads_to(graph, data):
    axes = graph.graph["axes"]
    for node, attributes in graph.nodes(data=True):
        if attributes["op"] == "input":
            attributes["size"] = data.draw(st.integers(3, 13), label=node)
    note(nx.node_link_data(graph, edges="edges"))
    try:
        report = rfgraph.analyze(graph, source="in0")
    except rfgraph.RFGraphError:
        assume(False)
    ends = [node for node in report.outputs if "in0" in nx.ancestors(graph, node) | {node}]
    assume(ends)
    # Sizes have tests of their own; where a map is empty for the oracle there are no features to follow.
    assume(oracle.all_sizes(graph, axes) == {node: report[node].map_size for node in report})
    expected = by_features(graph, ends, "in0", axes)
    told = {axis: finding.positions for finding in unread_of(report) for axis in finding.axes}
    assert told == {axis: positions for axis, positions in zip(report.axes, expected, strict=True) if positions}
    compiled = compile_graph(graph)
    ids = [compiled.layers.ids[node] for node in report.outputs]
    if unread.reads_all(compiled.layers, compiled.sizes, compiled.layers.ids["in0"], ids):
        assert not any(expected)
    if report._solved.reads_all:
        assert not any(expected)
    with mock.patch.object(unread, "MAX_KINDS", 0):  # without the shortcut
        found = unread.find(compiled.layers, compiled.sizes, lambda: compiled, compiled.layers.ids["in0"], ids)
    assert {axis: finding.positions for finding in found for axis in finding.axes} == told


@given(networks(axes=st.just(1), inputs=st.just(1), most=6))
def test_without_a_size_what_is_unread_far_from_the_borders_is_told(graph):
    note(nx.node_link_data(graph, edges="edges"))
    report = rfgraph.analyze(graph)
    ends = [node for node in report.outputs if "in0" in nx.ancestors(graph, node) | {node}]
    found = unread_of(report)
    assume(all(report[node].field[0].is_local for node in ends) and ends)
    fields = [report[node].field[0] for node in ends]
    assume(all(abs(end) < 30 for field in fields for pair in field.intervals if pair for end in pair))
    read = set()
    for node, field in zip(ends, fields, strict=True):
        far = int(60 / field.stride) + field.period
        for y in range(-far, far):
            read |= oracle.unclipped(graph, node, "in0", 0, y)
    modulus = found[0].modulus if found else 1
    residues = set(found[0].positions) if found else set()
    assert {i for i in range(-20, 20) if i not in read} == {i for i in range(-20, 20) if i % modulus in residues}


def test_a_kernel_that_never_reaches_the_end():
    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=3, stride=3, padding=[[2, 0]])
    (finding,) = unread_of(rfgraph.analyze(net, input_size=9))
    assert (finding.severity, finding.node, finding.axes, finding.positions) == ("note", "x", ("t",), (7, 8))
    assert finding.message == "input 'x', axis t: no feature of any output reads positions 7, 8"
    assert "pad or crop the input" in finding.advice
    assert unread_of(rfgraph.analyze(net, input_size=7)) == []
    assert unread_of(rfgraph.analyze(net)) == []
    assert rfgraph.analyze(net, input_size=9).aligned is True


def test_padding_after_does_not_read_what_no_map_holds():
    net = Network(axes=1)
    net.conv("next", net.conv("c", net.input("x"), kernel=3, stride=3, padding=[[2, 0]]), kernel=5, padding=2)
    assert [finding.positions for finding in unread_of(rfgraph.analyze(net, input_size=9))] == [(7, 8)]


def test_a_shortcut_as_the_only_reader():
    net = Network(axes=2)
    x = net.input("x")
    net.conv("deep", net.conv("shortcut", x, kernel=1, stride=2), kernel=3, padding=1)
    (finding,) = unread_of(rfgraph.analyze(net, input_size=(8, 9)))
    assert (finding.axes, finding.positions) == (("y", "x"), (1, 3, 5, 7))
    assert finding.message.endswith("reads positions 1, 3, ..., 7")
    (finding,) = unread_of(rfgraph.analyze(net))
    assert (finding.positions, finding.modulus) == ((1,), 2)
    assert finding.message.endswith("reads positions whose index mod 2 is 1")
    net.conv("main", x, kernel=3, stride=2, padding=1)
    assert unread_of(rfgraph.analyze(net)) == unread_of(rfgraph.analyze(net, input_size=9)) == []


def test_whoever_reads_a_whole_axis_reads_all_of_it():
    net = Network(axes=1)
    x = net.input("x")
    small = net.conv("c", x, kernel=1, stride=2)
    net.mul("gated", small, net.sigmoid("gate", net.global_avg_pool("pool", x)))
    assert unread_of(rfgraph.analyze(net, input_size=9)) == unread_of(rfgraph.analyze(net)) == []


def test_what_is_mirrored_at_a_border_is_read_there():
    net = Network(axes=1)
    net.slice("tail", net.pad("pad", net.input("x"), padding=[[3, 0]], mode="reflect"), start=0, stop=3)
    (finding,) = unread_of(rfgraph.analyze(net, input_size=6))
    assert finding.positions == (0, 4, 5)


def test_where_something_is_not_known_nothing_is_said():
    net = Network(axes=1)
    x = net.conv("c", net.input("x"), kernel=1, stride=2)
    net.graph.add_node("opaque", op="unknown", of="Mystery")
    net.graph.add_edge(x, "opaque")
    assert unread_of(rfgraph.analyze(net, input_size=9)) == []


def test_a_kernel_of_any_width_is_counted_and_not_listed():
    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=10**9, dilation=3, stride=2, padding=3 * 10**9)
    assert unread_of(rfgraph.analyze(net, input_size=1000)) == []


def test_billions_of_positions_are_followed_as_runs():
    net = Network(axes=1)
    x = net.conv("dilated", net.input("x"), kernel=3, dilation=2)
    net.avg_pool("pool", net.conv("c", x, kernel=2), kernel=4)
    (finding,) = unread_of(rfgraph.analyze(net, input_size=2 * 10**9))  # 1999999995 = 4 * 499999998 + 3 are pooled
    assert finding.positions == (1999999997, 1999999998, 1999999999)


def test_more_unread_positions_than_can_be_listed_are_not():
    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=1, stride=2)
    assert unread_of(rfgraph.analyze(net, input_size=2 * 10**9)) == []


def test_each_edge_is_followed_once_however_many_outputs_there_are(monkeypatch):
    net = Network(axes=1)
    x = net.input("x")
    for layer in range(60):
        x = net.conv(f"c{layer}", x, kernel=2)
        net.conv(f"p{layer}", x, kernel=1, stride=2)
    edges, followed = net.graph.number_of_edges(), []
    monkeypatch.setattr(unread, "MAX_KINDS", 0)
    inputs_read = unread.inputs_read
    monkeypatch.setattr(unread, "inputs_read", lambda *given: followed.append(given) or inputs_read(*given))
    assert unread_of(rfgraph.analyze(net, input_size=100)) == []
    assert len(followed) == edges


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        ((7,), "position 7"),
        ((7, 8), "positions 7, 8"),
        ((1, 3, 5), "positions 1, 3, ..., 5"),
        ((7, 8, 9, 10), "positions 7 to 10"),
        ((0, 7, 8, 9), "positions 0, 7, 8, 9"),
        ((0, 1, 2, 5, 7, 9), "positions 0 to 2, 5, 7, ..., 9"),
        (tuple(i * i for i in range(20)), "positions 0, 1, 4, 9, 16, 25 and 14 more runs"),
    ],
)
def test_positions_are_named_in_runs(positions, said):
    assert unread.Unread("RF015", "x", ("t",), positions).message.endswith(f"reads {said}")


def test_json_has_the_positions(capsys, tmp_path):
    from rfgraph import cli

    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=3, stride=3)
    path = tmp_path / "net.json"
    path.write_text(json.dumps(nx.node_link_data(net.graph, edges="edges")), encoding="utf-8")
    assert cli.main(["check", str(path), "--input-size", "8", "--format", "json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["rule"], finding["positions"], finding["modulus"]) == ("RF015", [6, 7], None)


@pytest.mark.parametrize(("stride", "unread_positions"), [(1, ()), (2, (1, 3, 5, 7))])
def test_taps_that_lie_further_apart_than_the_map_take_no_memory(stride, unread_positions):
    net = Network("far", axes=1)
    net.conv("far", net.input("x"), kernel=2, dilation=10**9, padding=[[10**9, 0]], stride=stride)
    findings = [finding for finding in rfgraph.analyze(net, input_size=8).findings if finding.rule == "RF015"]
    assert [finding.positions for finding in findings] == [unread_positions] * bool(unread_positions)
