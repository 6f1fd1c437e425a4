"""Reading a graph: what is accepted, and what is refused with which words."""

from __future__ import annotations

import re

import networkx as nx
import pytest

import rfgraph
from rfgraph import Network
from rfgraph.errors import (
    AttributeValueError,
    CycleError,
    EndpointError,
    GraphError,
    ModelFileError,
    SizeError,
    UnknownFieldError,
    UnknownNodeError,
    UnknownOpError,
)
from rfgraph.graph import sizes
from rfgraph.graph.network import read


def graph_of(*edges, **ops):
    graph = nx.DiGraph(axes=1)
    for name, op in ops.items():
        graph.add_node(name, **({"op": op} if isinstance(op, str) else op))
    for tail, head, *slot in edges:
        graph.add_edge(tail, head, **({"slot": slot[0]} if slot else {}))
    return graph


CONV = {"op": "conv", "kernel": 3}

BAD = [
    (
        graph_of(("i", "a"), ("a", "b"), ("b", "c"), ("c", "a"), i="input", a="add", b=CONV, c=CONV),
        CycleError,
        "the graph has a cycle of 3 nodes, 'a' -> 'b' -> 'c' -> 'a'; a network is acyclic",
    ),
    (graph_of(("a", "a"), a=CONV), CycleError, "cycle of 1 nodes, 'a' -> 'a'"),
    (graph_of(("i", "a"), i="input", a="convv"), UnknownOpError, "node 'a' (convv): rfgraph does not know"),
    (graph_of(("i", "a"), i="input", a={}), UnknownOpError, "node 'a' has no op; give it op='conv'"),
    (graph_of(("i", "a"), i="input", a={"op": 3}), UnknownOpError, "node 'a' (3): rfgraph does not know"),
    (nx.DiGraph(), EndpointError, "the graph is empty"),
    (nx.Graph([(1, 2)]), GraphError, "the graph is undirected; build a networkx.DiGraph"),
    (graph_of(c="constant"), EndpointError, "the network has no input"),
    (graph_of(("i", "a"), i="input", a="relu", b=CONV), GraphError, "node 'b' (conv): it has no input; add an edge"),
    (graph_of(("i", "j"), i="input", j="input"), GraphError, "node 'j' (input): it takes no input, but 'i' feeds it"),
    (
        graph_of(("i", "a"), ("j", "a"), i="input", j="input", a=CONV),
        GraphError,
        "node 'a' (conv): it takes one input, not 2 ('i', 'j'); merge them first",
    ),
    (
        graph_of(("i", "a", 0), ("j", "a"), i="input", j="input", a="add"),
        GraphError,
        "node 'a' (add): the edge from 'j' has no slot; number its inputs slot=0, 1, ...",
    ),
    (
        graph_of(("i", "a", 1), ("j", "a", 1), i="input", j="input", a="add"),
        GraphError,
        "node 'a' (add): 'i' and 'j' both have slot 1; slots are unique",
    ),
    (
        graph_of(("i", "a", 0), ("j", "a", [1]), i="input", j="input", a="add"),
        GraphError,
        "node 'a' (add): the edge from 'j' has slot [1], which is no number",
    ),
    (
        graph_of(("i", "a", 0), ("j", "a", 2), i="input", j="input", a="add"),
        GraphError,
        "node 'a' (add): slot 1 is missing, its slots are [0, 2]; number its inputs slot=0 to 1",
    ),
    (
        graph_of(("i", "a"), ("j", "a"), i="input", j="input", a={"op": "concat", "axis": 0}),
        GraphError,
        "node 'a' (concat): the edge from 'i' has no slot",
    ),
    (
        graph_of(("c", "a"), i="input", c="constant", a="relu"),
        EndpointError,
        "output 'a' depends on no input",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "error", "message"), BAD, ids=[case[2][:40] for case in BAD])
def test_bad_graphs_are_refused_with_a_reason(graph, error, message):
    with pytest.raises(error, match=re.escape(message)):
        rfgraph.analyze(graph)


@pytest.mark.parametrize("axes", [0, -1, 17, "two", True, [], [1, 2]])
def test_bad_axes(axes):
    with pytest.raises(AttributeValueError, match="is not a number of axes from 1 to 16"):
        rfgraph.analyze(_with_axes(axes))


def _with_axes(axes):
    graph = nx.DiGraph(axes=axes)
    graph.add_node("i", op="input")
    return graph


@pytest.mark.parametrize(
    ("axes", "names"),
    [(1, ("t",)), (2, ("y", "x")), (3, ("z", "y", "x")), (4, ("a0", "a1", "a2", "a3")), (("f",), ("f",))],
)
def test_names_of_axes(axes, names):
    assert rfgraph.analyze(_with_axes(axes)).axes == names


def test_a_long_cycle_is_shortened():
    graph = nx.cycle_graph(1000, create_using=nx.DiGraph)
    with pytest.raises(CycleError, match=re.escape("cycle of 1000 nodes, 0 -> 1 -> 2 -> 3 -> 4 -> 5 -> '...' -> ")):
        rfgraph.analyze(graph)


def two_inputs():
    net = Network(axes=1)
    a, b = net.input("left"), net.input("right")
    net.add("add", net.conv("conv", a, kernel=3, padding=1), b)
    return net


def test_several_inputs_are_listed_and_one_can_be_named():
    with pytest.raises(EndpointError, match="the network has 2 inputs, 'left', 'right'; pass source="):
        rfgraph.analyze(two_inputs())
    assert rfgraph.analyze(two_inputs(), source="left")["add"].size == (3,)
    assert rfgraph.analyze(two_inputs(), source="right")["add"].size == (1,)
    assert rfgraph.analyze(two_inputs(), source="conv")["add"].size == (1,)


def test_several_outputs_are_listed_and_one_can_be_named():
    net = Network()
    x = net.input("x")
    net.conv("one", x, kernel=3)
    net.conv("two", x, kernel=5)
    with pytest.raises(EndpointError, match="the network has 2 outputs, 'one', 'two'; pass output="):
        rfgraph.trace(net)
    assert rfgraph.trace(net, output="two")["x"].size == (5, 5)


def test_default_outputs_are_the_last_maps_with_spatial_axes():
    net = Network()
    x = net.conv("conv", net.input("x"), kernel=3)
    gated = net.mul("gated", x, net.sigmoid("gate", net.global_avg_pool("squeeze", x)))
    net.dense("logits", net.global_avg_pool("pool", gated))
    assert rfgraph.analyze(net).outputs == ("gated",)


def test_what_does_not_depend_on_the_source_says_so():
    report = rfgraph.analyze(two_inputs(), source="right")
    assert report["conv"].field[0].is_empty
    with pytest.raises(UnknownFieldError, match="reads nothing of this input"):
        _ = report["conv"].size
    with pytest.raises(UnknownFieldError, match=re.escape("node 'conv' (conv) does not depend on 'right'")):
        report.region("conv", 3)


def test_unknown_nodes_are_named_with_what_is_near():
    report = rfgraph.analyze(two_inputs(), source="left")
    with pytest.raises(UnknownNodeError, match=re.escape("the network has no node 'convv' (near: conv)")):
        _ = report["convv"]
    with pytest.raises(UnknownNodeError, match="it has 'left', 'right'"):
        report.region("zzzzzz", 0)
    assert "convv" not in report
    assert "conv" in report


def test_merges_of_unequal_sizes_name_both():
    net = Network()
    x = net.input("image")
    net.concat("cat", net.conv("a", x, kernel=3), net.conv("b", x, kernel=5))
    message = "node 'cat' (concat), axis y: its inputs differ in size ('a' gives 8, 'b' gives 6)"
    with pytest.raises(SizeError, match=re.escape(message)):
        rfgraph.analyze(net, input_size=10)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_inputs_are_read_by_their_slots_in_whatever_order_edges_were_added(order):
    graph = graph_of(x="input", y="input", out="sub")
    for slot in order:
        graph.add_edge("xy"[slot], "out", slot=1 - slot)
    layers = read(graph)
    assert [layers.nodes[tail] for tail in layers.tails[layers.id_of("out")]] == ["y", "x"]


def test_a_norm_in_one_go_over_the_map_reads_its_input_twice():
    layers = read(graph_of(("x", "norm"), ("norm", "end"), x="input", norm="instance_norm", end="relu"))
    assert [list(layers.tails[layers.id_of(node)]) for node in ("norm", "end")] == [[0, 0], [1]]


def test_axes_are_read_each_by_its_own_entry():
    net = Network(axes=2)
    net.conv("conv", net.input("x", size=[20, 30]), kernel=[3, 5], stride=[1, 2], padding=[[1, 0], [2, 4]])
    layers = read(net.graph)
    assert [(op.kernel, op.stride, op.padding) for op in layers.ops[1]] == [(3, 1, (1, 0)), (5, 2, (2, 4))]
    assert sizes.infer(layers) == [(20, 30), (20 + 1 - 3 + 1, (30 + 6 - 5) // 2 + 1)]
    assert sizes.infer(layers, (9, 7)) == [(9, 7), (8, 5)]
    assert read(nx.DiGraph(net.graph)).ops == layers.ops


def test_a_map_without_positions_is_refused_where_it_first_comes_to_be():
    net = Network(axes=1)
    net.conv("conv", net.pad("crop", net.input("x"), padding=-2), kernel=1)
    assert sizes.infer(read(net.graph), 5) == [(5,), (1,), (1,)]
    with pytest.raises(SizeError, match=r"'crop' \(pad\), axis t: its map would have size 0 \('x' gives 4\)"):
        sizes.infer(read(net.graph), 4)


def test_ops_alike_that_read_maps_of_other_sizes_have_sizes_of_their_own():
    net = Network(axes=1)
    x = net.input("x", size=8)
    y = net.conv("y", x, kernel=3)
    net.concat("one", x, y, axis=0)
    net.concat("two", x, x, axis=0)
    assert dict(zip(["x", "y", "one", "two"], sizes.infer(read(net.graph)), strict=True)) == {
        "x": (8,), "y": (6,), "one": (14,), "two": (16,),
    }  # fmt: skip


def test_batch_norm_reads_the_whole_map_besides_in_training():
    graph = graph_of(("x", "norm"), x="input", norm="batch_norm")
    (inference,), (training,) = (read(graph, batch_norm=how).ops[1] for how in ("inference", "training"))
    assert (inference.totals, training.totals) == (False, True)
    assert len(read(graph, batch_norm="training").tails[1]) == 2


def test_input_sizes_are_numbers_lists_or_by_name():
    net = two_inputs()
    net.graph.nodes["left"]["size"] = 7
    net.graph.nodes["right"]["size"] = 7
    assert rfgraph.analyze(net, source="left")["add"].map_size == (7,)
    assert rfgraph.analyze(net, 9, source="left")["add"].map_size == (9,)
    assert rfgraph.analyze(net, [9], source="left")["add"].map_size == (9,)
    with pytest.raises(SizeError, match="'conv' gives 9, 'right' gives 7"):
        rfgraph.analyze(net, {"left": 9}, source="left")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "input_size 0 is not a positive integer; give pixels"),
        (2.5, "input_size 2.5 is not a positive integer"),
        ((8, 8), "input_size (8, 8) has 2 entries, but the network has 1 axes"),
    ],
)
def test_bad_input_sizes(size, message):
    with pytest.raises(AttributeValueError, match=re.escape(message)):
        rfgraph.analyze(two_inputs(), size, source="left")


def test_regions_refuse_indices_outside_the_map():
    report = rfgraph.analyze(two_inputs(), 8, source="left")
    assert report.region("add", 0).box == ((0, 1),)
    with pytest.raises(IndexError, match=re.escape("node 'add' (add), axis t: index 8 lies outside its map of size 8")):
        report.region("add", 8)
    with pytest.raises(IndexError, match="has 2 entries, but the network has 1 axes"):
        report.region("add", (1, 1))


def test_regions_without_sizes_are_not_clipped():
    region = rfgraph.analyze(two_inputs(), source="left").region("add", 0)
    assert (region.box, region.clipped) == (((-1, 1),), False)


def test_the_builder_refuses_what_it_can_at_once():
    net = Network()
    x = net.input("x")
    with pytest.raises(GraphError, match=re.escape("node 'x' (relu): the name is taken; names are unique")):
        net.relu("x", x)
    with pytest.raises(GraphError, match=re.escape("node 'y' (relu): its input 'z' is not there yet")):
        net.relu("y", "z")
    with pytest.raises(
        AttributeError, match=re.escape("'convv' is neither an op nor an attribute of Network (near: conv")
    ):
        net.convv("y", x)
    with pytest.raises(UnknownOpError, match=re.escape("node 'y' (convv): rfgraph does not know")):
        net.node("convv", "y", x)
    assert "conv_transpose" in dir(net)


def test_things_that_are_no_models_are_refused():
    with pytest.raises(ModelFileError, match="a dict is no model that rfgraph reads; pass a networkx graph"):
        rfgraph.analyze({})


def test_strides_beyond_64_bits_stay_exact():
    net = Network(axes=1)
    last = net.input("x")
    for i in range(70):
        last = net.conv(f"c{i}", last, kernel=3, stride=2)
    report = rfgraph.analyze(net)
    assert report[last].stride == (2**70,)
    assert report[last].size == (1 + 2 * (2**70 - 1),)


def test_a_chain_of_100000_layers():
    net = Network(axes=1)
    fork = last = net.input("x")
    for i in range(100_000):
        last = net.conv(f"c{i}", last, kernel=3, padding=1)
    net.add("end", last, net.pad("shift", fork, padding=[[1, -1]]))
    report = rfgraph.analyze(net)
    assert report["end"].size == (200_001,)
    assert len(report.findings[0].reference.path) == 100_002
    assert report.findings[0].repair is not None
    assert rfgraph.trace(net)["x"].size == (200_001,)


@pytest.mark.parametrize("name", ["a b", "a/b", 'it\'s "quoted"', "größe/層", "line\nbreak", "[bold]x[/bold]", ""])
def test_any_name_will_do(name):
    net = Network(axes=1)
    net.conv(name, net.input("input of " + name), kernel=3)
    assert rfgraph.analyze(net)[name].size == (3,)
    assert rfgraph.trace(net)["input of " + name].size == (3,)


def test_nodes_need_not_be_strings():
    graph = nx.DiGraph(axes=1)
    graph.add_node(0, op="input")
    graph.add_node((1, "a"), **CONV)
    graph.add_edge(0, (1, "a"))
    assert rfgraph.analyze(graph)[(1, "a")].size == (3,)


def test_analysis_writes_nothing_into_the_graph():
    graph = two_inputs().graph
    before = nx.node_link_data(graph, edges="edges")
    rfgraph.analyze(graph, 8, source="left").region("add", 0)
    assert nx.node_link_data(graph, edges="edges") == before


def test_metadata_changes_nothing():
    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=3, channels=64, label="first", location="model.py:3")
    assert rfgraph.analyze(net)["c"].size == (3,)


def sized_inputs(**sizes):
    net = Network("two", axes=1)
    for name in ("a", "b"):
        attributes = {"size": sizes[name]} if name in sizes else {}
        net.conv(f"{name}/conv", net.input(name, **attributes), kernel=3)
    return net


@pytest.mark.parametrize(
    ("stated", "given", "expected"),
    [
        ({}, 20, (20, 20)),
        ({"a": 30}, 20, (30, 20)),
        ({"a": 30, "b": 30}, 20, (20, 20)),
        ({"a": 30, "b": 20}, 20, (30, 20)),
        ({"a": 30, "b": 40}, {"a": 20}, (20, 40)),
    ],
)
def test_one_size_goes_to_the_inputs_whose_size_is_open(stated, given, expected):
    report = rfgraph.analyze(sized_inputs(**stated), input_size=given, source="a")
    assert (report["a"].map_size, report["b"].map_size) == ((expected[0],), (expected[1],))


def test_one_size_that_contradicts_several_says_how_to_name_the_input():
    message = r"input_size 20 is that of no input.*'a' 30, 'b' 40.*--input-size a=20"
    with pytest.raises(AttributeValueError, match=message):
        rfgraph.analyze(sized_inputs(a=30, b=40), input_size=20, source="a")
