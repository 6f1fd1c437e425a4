"""Plain networks: the walk that solves them, held against the general passes, which are held against the oracle."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import lcm

import networkx as nx
import numpy as np
import pytest
from hypothesis import event, given, reject
from hypothesis import strategies as st
from strategies import (
    BY_RESIDUE,
    GATED,
    MOVED,
    PLAIN,
    SAME,
    UPSAMPLING,
    UPSAMPLING_GATED,
    decoders,
    fitting,
    networks,
    shortcuts,
)

import rfgraph
import rfgraph.solved
from benchmarks.graphs import NETWORKS, misaligned
from rfgraph.algebra.window import Window
from rfgraph.errors import SizeError
from rfgraph.fast import affine_walk as plain
from rfgraph.fast import interning as numbered
from rfgraph.fast.field_arrays import of_fields
from rfgraph.fast.lanes import Lanes, lanes_of
from rfgraph.fast.residues import LARGE
from rfgraph.models import MODELS
from rfgraph.passes import by_size, size_rule
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import compile_graph, compile_layers
from rfgraph.passes.fold import fold
from rfgraph.passes.positions import Positions
from rfgraph.questions import paths, productivity
from rfgraph.questions.alignment import find
from rfgraph.questions.forks import at_residue


def general(graph, input_size=None):
    compiled = compile_graph(graph, input_size)
    return compiled, [
        engine.forward(compiled, axis, compiled.layers.source(None)) for axis in range(len(compiled.reads))
    ]


def check_solved(graph, solved):
    """Hold every number, every merge and every field against the general passes."""
    compiled, fields = general(graph, solved.input_size)
    layers = compiled.layers
    source = layers.source(None)
    if solved.by_residue:
        check_solved_by_residue(solved, compiled, fields)
        return
    want = of_fields(tuple(layers.nodes), layers.axes, fields)
    got = solved.numbers()
    assert (got.nodes, got.axes) == (want.nodes, want.axes)
    for name in ("size", "stride", "padding", "known"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    for v, node in enumerate(layers.nodes):
        assert solved.field(node) == tuple(of_axis.field(v) for of_axis in fields)
        assert solved.kind(node) == layers.kinds[v]
        assert solved.map_size(node) == compiled.sizes[v]
        assert solved.is_global(node) == tuple(f.is_global[v] for f in fields)
    assert solved.has_global == any(any(of_axis.is_global) for of_axis in fields)
    found = find(compiled, fields, source, ["center"] * len(fields))
    assert list(solved.misaligned) == list(dict.fromkeys(finding.node for finding in found))
    again = compile_layers(solved.layers(), solved.input_size)
    assert (again.reads, again.sizes) == (compiled.reads, compiled.sizes)
    assert list(again.layers.nodes) == list(layers.nodes)
    assert (again.layers.kinds, again.layers.tails) == (layers.kinds, layers.tails)
    assert solved.sizes() == compiled.sizes
    assert solved.upsamples == any(window.period > 1 for of_axis in fields for window in of_axis.local)
    for axis, of_axis in enumerate(fields):
        if solved.has_no_holes:
            local = [v for v, field in enumerate(of_axis.local) if field.is_local]
            read = fold(layers, source, Positions(compiled, axis), local)
            assert not any(position_set.has_holes for position_set in read.values())
        extremes = solved.extremes()
        if extremes is not None:
            assert extremes[axis] == paths.extremes(compiled, axis, source)
    if not solved.may_add_nothing():
        extremes = [paths.extremes(compiled, axis, source) for axis in range(len(fields))]
        assert not productivity.find(productivity.judge(layers, compiled.sizes, extremes, source))


def check_solved_by_residue(solved, compiled, fields):
    """Hold what the walk says of every residue of the input size against what the general passes do."""
    table, layers = solved._table, compiled.layers
    lanes, source = table.lanes, layers.source(None)
    solutions = [by_size.solve(compiled, axis, source, of_axis) for axis, of_axis in enumerate(fields)]
    assert any(solutions)
    assert solved.sizes() == compiled.sizes
    for axis, (of_axis, solution) in enumerate(zip(fields, solutions, strict=True)):
        known = of_axis.local if solution is None else solution.fields
        assert solution is None or solution.valid.all()
        for v, node in enumerate(layers.nodes):
            state = solved.states[node]
            frame = table.frames[state & lanes.frames][axis]
            assert frame.is_global == of_axis.is_global[v]
            assert frame.shape.is_local == (at_residue(known[v], 0).kind != "empty")
            ends = frame.by_residue
            modulus = 1 if solution is None else solution.modulus
            for residue in range(lcm(len(ends), modulus) if frame.shape.is_local else 0):
                shape, before, last = ends[residue % len(ends)]
                window = shape.placed(lanes.padding(state, axis) + before, lanes.end(state, axis) + last)
                assert window == at_residue(known[v], residue % modulus)
            if solution is not None and frame.sizes is not None:
                slope = Fraction(frame.sizes.growth, len(frame.sizes.offsets))
                pixels = lcm(modulus, len(frame.sizes.offsets))
                begin = -(-solution.rule.base // pixels) * pixels
                larger = slope * (LARGE - begin)
                at = begin + np.arange(pixels)
                sizes = size_rule.sizes_at(layers, axis, at, solution.rule.lines)[0][v].tolist()
                first = lanes.map_size_of(state, axis)
                assert [first + more for more in frame.sizes.over(pixels)] == [size + larger for size in sizes]
    found = find(compiled, fields, source, ["center"] * len(fields), solutions)
    assert list(solved.misaligned) == list(dict.fromkeys(finding.node for finding in found))


@given(
    networks(layers=BY_RESIDUE, inputs=st.just(1), most=12)
    | networks(layers=[*BY_RESIDUE, *PLAIN], inputs=st.just(1), most=12)
    | networks(layers=[*BY_RESIDUE, *UPSAMPLING], inputs=st.just(1), most=12)
    | shortcuts(),
    st.sampled_from(["auto", "center", "causal"]),
)
def test_reports_by_residue_are_the_same_with_and_without_the_walk(graph, mode):
    try:
        report = rfgraph.analyze(graph, alignment=mode)
    except SizeError:
        reject()
    solved = plain.solve(graph)
    event("not walked" if solved is None else f"by residue {solved.by_residue}, misaligned {bool(solved.misaligned)}")
    if solved is not None:
        check_solved(graph, solved)
    check_report(report, graph, None, mode)


@given(networks(axes=st.integers(1, 3), layers=PLAIN, inputs=st.just(1), most=14))
def test_plain_networks_are_solved_as_the_general_passes_do(graph):
    solved = plain.solve(graph)
    if solved is None:  # one tensor feeds a slot and a later one, with another between
        assert len(set(graph.edges())) < graph.number_of_edges()
    else:
        check_solved(graph, solved)


@given(networks(axes=st.integers(1, 2), same=True, drift=True))
def test_what_is_solved_of_any_network_is_right(graph):
    solved = plain.solve(graph)
    if solved is not None:
        check_solved(graph, solved)


input_sizes = st.one_of(
    st.none(), st.integers(1, 40), st.integers(40, 400), st.lists(st.integers(1, 40), min_size=2, max_size=2)
)


@given(
    networks(axes=st.just(2), layers=GATED, inputs=st.just(1), most=14)
    | networks(axes=st.just(2), layers=PLAIN, inputs=st.just(1), most=14)
    | networks(axes=st.just(2), layers=[*PLAIN, *SAME, *GATED], inputs=st.just(1), most=6),
    input_sizes,
)
def test_networks_of_known_size_and_with_gates_are_solved_as_the_general_passes_do(graph, input_size):
    solved = plain.solve(graph, input_size=input_size)
    try:
        compile_graph(graph, input_size)
    except rfgraph.RFGraphError:
        assert solved is None
        return
    if solved is not None:
        event("gated" if solved.has_global else "local")
        check_solved(graph, solved)


@given(networks(layers=UPSAMPLING_GATED, inputs=st.just(1), most=14), input_sizes)
def test_networks_that_upsample_are_solved_as_the_general_passes_do(graph, input_size):
    size = input_size if graph.graph["axes"] == 2 or not isinstance(input_size, list) else None
    solved = plain.solve(graph, input_size=size)
    if solved is not None:
        event("upsamples" if solved.upsamples else "does not")
        check_solved(graph, solved)


@given(decoders(), st.none() | fitting)
def test_decoders_are_solved_as_the_general_passes_do(graph, input_size):
    solved = plain.solve(graph, input_size=input_size)
    if solved is not None:
        event("upsamples" if solved.upsamples else "does not")
        check_solved(graph, solved)


@given(
    decoders() | networks(layers=UPSAMPLING, inputs=st.just(1), most=12),
    st.none() | fitting,
    st.sampled_from(["auto", "center", "causal"]),
)
def test_reports_of_networks_that_upsample_are_the_same_with_and_without_the_walk(graph, input_size, mode):
    try:
        walked = rfgraph.analyze(graph, input_size, alignment=mode)
    except rfgraph.RFGraphError:
        reject()
    event(f"{walked.engine.name}: {', '.join(sorted({finding.rule for finding in walked.findings}))}")
    check_report(walked, graph, input_size, mode)


@given(networks(layers=PLAIN, inputs=st.just(1), most=10), st.randoms())
def test_the_order_of_nodes_and_edges_changes_no_number(graph, random):
    nodes, edges = list(graph.nodes(data=True)), list(graph.edges(data=True))
    random.shuffle(nodes)
    random.shuffle(edges)
    other = type(graph)(**graph.graph)
    other.add_nodes_from(nodes)
    other.add_edges_from(edges)
    one, two = rfgraph.analyze(graph), rfgraph.analyze(other)
    if len(set(graph.edges())) == graph.number_of_edges():
        assert plain.solve(other) is not None
    assert {node: one[node].field for node in one} == {node: two[node].field for node in two}
    assert one.aligned == two.aligned


@given(
    networks(layers=PLAIN, inputs=st.just(1), most=10)
    | networks(layers=MOVED, inputs=st.just(1), most=10)
    | networks(layers=[*GATED, *MOVED], inputs=st.just(1), most=12),
    st.sampled_from(["auto", "center", "causal"]),
    input_sizes,
)
def test_a_report_is_the_same_with_and_without_the_walk(graph, mode, input_size):
    try:
        walked = rfgraph.analyze(graph, input_size, alignment=mode)
    except rfgraph.RFGraphError:
        reject()
    event(f"{walked.engine.name}: {', '.join(sorted({finding.rule for finding in walked.findings}))}")
    check_report(walked, graph, input_size, mode)


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_reports_of_published_networks_are_the_same_with_and_without_the_walk(name, sized):
    graph = rfgraph.load(f"zoo:{name}")
    size = None
    if sized:
        works = rfgraph.analyze(graph).input_sizes[0]
        size = next(n for n in range(320, 640) if n % works.modulus in works.residues)
    check_report(rfgraph.analyze(graph, size), graph, size, "auto")


def check_report(walked, graph, input_size, mode):
    """Hold a report against what the general passes say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rfgraph.solved, "walked", lambda *_: (None, "it is not asked"))
        passed = rfgraph.analyze(graph, input_size, alignment=mode)
    assert passed.engine.name == "passes"
    assert walked.aligned == passed.aligned
    assert list(walked) == list(passed)
    assert [walked[n] for n in walked] == [passed[n] for n in passed]
    assert [walked[n].cost for n in walked] == [passed[n].cost for n in passed]
    assert walked.productivity == passed.productivity
    assert walked.unchecked == passed.unchecked
    assert (walked.source, walked.axes, walked.outputs) == (passed.source, passed.axes, passed.outputs)
    assert walked.findings == passed.findings
    assert [(f.message, f.advice) for f in walked.findings] == [(f.message, f.advice) for f in passed.findings]


def test_frames_that_lie_whole_blocks_apart_behind_a_convolution_are_no_defect():
    net = rfgraph.Network("frames", axes=1)
    signal = net.conv("conv", net.input("x"), kernel=3, padding=1)  # its fields overlap, the blocks of it do not
    frames = [net.conv(f"frames{by}", signal, kernel=4, stride=4, padding=[[-by, by]]) for by in (0, 4)]
    net.concat("stacked", *frames)
    report = rfgraph.analyze(net)
    assert report.engine.name == "walk"
    assert ([finding.rule for finding in report.findings], report.aligned) == (["RF003"], True)
    check_report(report, net.graph, None, "auto")


def chain(*layers, axes=2):
    net = rfgraph.Network("chain", axes=axes)
    x = net.input("x")
    for k, (op, attributes) in enumerate(layers):
        x = net.node(op, f"n{k}", x, **attributes)
    return net


NOT_PLAIN = {
    "a size": (("conv", {"kernel": 3}), ("adaptive_avg_pool", {"size": 2})),
    "a resize to a size": (("resize", {"size": 8}),),
    "padding that comes round again after 11 pixels": (("conv", {"kernel": 13, "stride": 11, "padding": "same"}),),
    "padding that comes round again after 512 pixels": (("conv", {"kernel": 3, "stride": 2, "padding": "same"}),) * 9,
    "a bound": (("conv_transpose", {"kernel": 2, "stride": 2, "bound": "a mask may hide some of it"}),),
    "a field that is a bound": (
        ("conv_transpose", {"kernel": 1, "stride": 2}),
        ("resize", {"scale": "2/3", "mode": "cubic", "antialias": True}),
    ),
}


@pytest.mark.parametrize("layers", NOT_PLAIN.values(), ids=list(NOT_PLAIN))
def test_what_is_not_plain_is_left_to_the_general_passes(layers):
    net = chain(*layers)
    assert plain.solve(net.graph) is None
    rfgraph.analyze(net)


def halved_and_doubled():
    net = rfgraph.Network("fits at even sizes", axes=1)
    x = net.input("x")
    half = net.conv("half", x, kernel=3, stride=2, padding="same")
    net.add("add", x, net.resize("double", half, scale=2))
    return net


def test_maps_that_fit_at_some_sizes_only_are_left_to_the_general_passes():
    net = halved_and_doubled()
    assert plain.solve(net.graph) is None
    assert str(rfgraph.analyze(net).input_sizes[0]) == "multiples of 2, from 2; also 1"  # repeated over the 2


ENDS = [(1, 0), (1, 1), (1, -1), (1, -2), (3, 0), (3, 1), (3, 2), (5, 0), (5, 3)]


@pytest.mark.parametrize("merge", ["add", "concat"])
@pytest.mark.parametrize("one", ENDS)
def test_branches_of_any_ends_are_told_as_the_general_passes_do(one, merge):
    """Each of a kernel and the padding before it, two of them alike; their fork pads one position itself."""
    for other in ENDS:
        net = rfgraph.Network("ends", axes=1)
        fork = net.conv("fork", net.input("x"), kernel=3, padding=1)
        sides = [
            net.conv(f"side{slot}", fork, kernel=kernel, padding=[[before, kernel - 1 - before]])
            for slot, (kernel, before) in enumerate((one, other, one))
        ]
        net.node(merge, "out", *sides)
        report = rfgraph.analyze(net)
        assert report.engine.name == "walk"
        check_report(report, net.graph, None, "auto")


def beside_the_same(padding, *moved, axes=1, kernel=2):
    """Every fourth position of a map under padding that depends on its size, beside others that are moved.

    A kernel of 2 reads positions 0 and 1; under ``same_lower`` -1 and 0 at sizes of residue 1 by 4.
    """
    net = rfgraph.Network("strided", axes=axes)
    x = net.input("x")
    sides = [net.conv("same", x, kernel=kernel, stride=4, padding=padding)]
    for i, by in enumerate(moved):
        padding = [[0, 0]] * (axes - 1) + [[-by, by]]
        sides.append(net.conv(f"one{i}", net.pad(f"by{i}", x, padding=padding), kernel=1, stride=4))
    net.add("add", *sides)
    return net.graph


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(
    ("padding", "moved", "has_no_holes"),
    [
        ("same", (2,), True),
        ("same_lower", (2,), False),  # 1 is left out at some sizes
        ("same_lower", (1,), True),
        ("same", (3,), False),
        ("same", (3, 2), True),
        ("same", (4, 2), False),
    ],
)
def test_what_is_left_out_at_some_input_sizes_only_is_a_hole(padding, moved, has_no_holes, axes):
    graph = beside_the_same(padding, *moved, axes=axes)
    solved = plain.solve(graph)
    assert solved.by_residue
    assert solved.has_no_holes == has_no_holes
    assert solved.has_no_holes == all(plain.solve(graph, input_size=n).has_no_holes for n in range(64, 68))


def test_branches_inside_a_wider_one_leave_no_hole_at_any_input_size():
    assert plain.solve(beside_the_same("same", 0, 1, 3, kernel=9)).has_no_holes


def doubled_beside_itself(by, padding):
    """Positions that are read twice each, beside the same moved."""
    net = rfgraph.Network("phases", axes=1)
    halved = net.conv("halved", net.input("x"), kernel=2, stride=2, padding=padding)
    up = net.conv_transpose("up", halved, kernel=2, stride=2)
    net.add("add", net.conv("there", up, kernel=1), net.pad("moved", up, padding=[[by, -by]]))
    return net.graph


@pytest.mark.parametrize("by", range(-4, 5))
def test_what_is_left_out_at_some_output_phases_only_is_a_hole(by):
    """Moved by 3, every other output reads 2 positions further; moved by less, they touch or meet."""
    solved = plain.solve(doubled_beside_itself(by, 0))
    assert solved.has_no_holes == (abs(by) < 3)
    check_solved(doubled_beside_itself(by, 0), solved)
    by_size = plain.solve(doubled_beside_itself(by, "same"))
    assert by_size.by_residue
    assert abs(by) < 3 or not by_size.has_no_holes


def test_the_residues_of_a_network_are_bounded(monkeypatch):
    layers = [("conv", {"kernel": kernel, "stride": 2, "padding": "same"}) for kernel in range(2, 9)]
    assert plain.solve(chain(*layers).graph).by_residue
    monkeypatch.setattr(numbered, "MAX_ALL_PHASES", 20)
    monkeypatch.setattr(numbered, "_TABLES", {})
    assert plain.solve(chain(*layers).graph) is None
    assert rfgraph.analyze(chain(*layers)).engine.name == "passes"


def test_what_depends_on_the_size_is_the_same_once_it_was_pickled():
    net = rfgraph.Network("block", axes=2)
    x = net.input("x")
    same = net.conv("same", x, kernel=3, stride=2, padding="same")
    net.add("add", same, net.conv("fixed", x, kernel=3, stride=2, padding=1))
    report = rfgraph.analyze(net)
    assert report.engine.name == "walk"
    (finding,) = report.findings
    assert (finding.modulus, finding.residues, finding.smallest) == (2, (1,), 1)
    assert pickle.loads(pickle.dumps(rfgraph.analyze(net).findings)) == report.findings


def test_sizes_that_are_given_by_name_are_left_to_the_general_passes():
    net = chain(("conv", {"kernel": 3}))
    assert plain.solve(net.graph, input_size={"x": 8}) is None
    assert rfgraph.analyze(net, {"x": 8})["n0"].map_size == (6, 6)


def test_the_input_may_say_its_size_itself():
    net = chain(("conv", {"kernel": 3, "stride": 2, "padding": "same"}))
    net.graph.nodes["x"]["size"] = [8, 9]
    assert plain.solve(net.graph).map_size("n0") == (4, 5)
    assert plain.solve(net.graph, input_size=11).sizes() == [(11, 11), (6, 6)]


@pytest.mark.parametrize("size", [0, -1, (8,), (8, 8, 8), "8", 2.5])
def test_sizes_that_are_none_are_refused_as_ever(size):
    net = chain(("conv", {"kernel": 3}))
    assert plain.solve(net.graph, input_size=size) is None
    with pytest.raises(rfgraph.RFGraphError, match="input_size"):
        rfgraph.analyze(net, size)


def test_an_input_that_is_too_small_is_refused_as_ever():
    net = chain(("conv", {"kernel": 3}), ("conv", {"kernel": 5, "stride": 2}))
    assert plain.solve(net.graph, input_size=6) is None
    with pytest.raises(rfgraph.RFGraphError, match="the kernel spans 5, more than the input's 4"):
        rfgraph.analyze(net, 6)


@pytest.mark.parametrize("name", ["mobilenet_v1", "resnet_v1_152", "inception_resnet_v2_same", "xception", "vgg_16"])
def test_published_networks_are_walked_at_their_size(name):
    graph = rfgraph.load(f"zoo:{name}")
    solved = plain.solve(graph, input_size=299)
    check_solved(graph, solved)
    assert solved.has_no_holes


def test_dilation_leaves_no_holes_where_fields_are_wide_enough():
    fine = [("conv", {"kernel": 2, "dilation": 2**k}) for k in range(5)]  # WaveNet: 1, 2, 4, ... meet exactly
    assert plain.solve(chain(*fine).graph).has_no_holes
    assert not plain.solve(chain(*fine, ("conv", {"kernel": 2, "dilation": 33})).graph).has_no_holes
    assert plain.solve(chain(*fine, ("conv", {"kernel": 2, "dilation": 32})).graph).has_no_holes
    assert not plain.solve(chain(("conv", {"kernel": 1, "stride": 2}), ("conv", {"kernel": 3})).graph).has_no_holes


def gated(op="mul", *, third=False):
    net = rfgraph.Network("gated", axes=2)
    x = net.conv("conv", net.input("x"), kernel=3, padding=1)
    gate = net.sigmoid("gate", net.global_avg_pool("pool", x))
    net.relu("after", net.node(op, "gated", x, gate, *([x] if third else [])))
    return net.graph


@pytest.mark.parametrize("input_size", [None, 1, 8, (1, 8)])
def test_gates_keep_the_local_field(input_size):
    graph = gated()
    solved = plain.solve(graph, input_size=input_size)
    check_solved(graph, solved)
    assert solved.field("after") == (Window(3, 1, 1),) * 2
    assert all(solved.is_global("after"))
    assert solved.misaligned == ()


def test_maps_that_meet_differently_are_left_to_the_general_passes():
    assert plain.solve(gated("concat"), input_size=8) is None  # an error there
    assert plain.solve(gated(third=True), input_size=8) is None
    net = rfgraph.Network("one row", axes=1)  # a map of size 1 with a field of its own beside one of unknown size
    x = net.input("x")
    row = net.conv("row", net.adaptive_avg_pool("one", x, size=1), kernel=1)
    net.mul("product", net.add("sum", x, row), net.conv("same", x, kernel=3, padding=1))
    solved = plain.solve(net.graph)
    check_solved(net.graph, solved)


def broken():
    """Return one graph for each thing that can be wrong with one, and the error that says so."""
    graph = chain(("conv", {"kernel": 3}), ("add", {})).graph
    cases = {}
    for name in (
        "cycle",
        "slots",
        "second slot",
        "arity",
        "no input",
        "attribute",
        "op",
        "fed input",
        "duplicate slot",
    ):
        cases[name] = graph.copy()
    cases["cycle"].add_edge("n1", "n0", slot=1)
    cases["slots"].edges["n0", "n1", 0]["slot"] = 1
    cases["second slot"].add_edge("x", "n1")
    cases["arity"].add_edge("x", "n0", slot=1, key=1)
    cases["no input"].add_node("alone", op="relu")
    cases["attribute"].nodes["n0"]["strides"] = 2
    cases["op"].nodes["n0"]["op"] = "convolve"
    cases["fed input"].add_edge("x", "y", slot=0)
    cases["fed input"].add_node("y", op="input")
    cases["duplicate slot"].add_edge("x", "n1", slot=0)
    return cases


@pytest.mark.parametrize("graph", broken().values(), ids=list(broken()))
def test_malformed_networks_are_refused_as_ever(graph):
    assert plain.solve(graph) is None
    with pytest.raises(rfgraph.RFGraphError):
        rfgraph.analyze(graph)
    simple = nx.DiGraph(graph)
    assert plain.solve(simple) is None or simple.number_of_edges() < graph.number_of_edges()


def test_values_that_are_equal_say_the_same():
    first = rfgraph.analyze(chain(("conv", {"kernel": 3, "stride": 2})))
    second = rfgraph.analyze(chain(("conv", {"kernel": 3.0, "stride": np.int64(2)})))
    assert first["n0"].field == second["n0"].field == (Window(3, 2),) * 2
    with pytest.raises(rfgraph.RFGraphError, match=r"kernel 2\.5 is not"):
        rfgraph.analyze(chain(("conv", {"kernel": 2.5})))


def test_attributes_of_equal_number_but_other_names_are_told_apart():
    attributes = [{"kernel": 3, "stride": 2}, {"kernel": 3, "padding": 2}, {"kernel": 3, "dilation": 2}]
    report = rfgraph.analyze(chain(*(("conv", a) for a in attributes * 2)))
    one = rfgraph.analyze(chain(*(("conv", a) for a in attributes * 2)), input_size=100)
    assert [report[n].field for n in report] == [one[n].field for n in one]


def test_labels_and_locations_of_every_node_grow_no_table():
    layers = [("conv", {"kernel": 3, "location": f"net.py:{k}"}) for k in range(50)]
    plain.solve(chain(*layers).graph)
    table = numbered._TABLES[lanes_of(2, wide=False)]
    before = len(table.specs)
    plain.solve(chain(*(("conv", {"kernel": 3, "location": f"other.py:{k}"}) for k in range(50))).graph)
    assert len(table.specs) == before


def test_numbers_beyond_a_lane_are_exact():
    layers = [("conv", {"kernel": 3, "stride": 2**20})] * 5
    report = rfgraph.analyze(chain(*layers, axes=1))
    size = 1 + sum((3 - 1) * 2 ** (20 * k) for k in range(5))
    assert report["n4"].size == (size,)
    assert report["n4"].stride == (2**100,)
    assert report.numbers().size[-1, 0] == size
    assert report.numbers().size.dtype == object
    after = rfgraph.analyze(chain(("conv", {"kernel": 3}), axes=1))  # and other networks are none the worse for it
    assert after.numbers().size.dtype == np.int64
    assert numbered._TABLES[lanes_of(1, wide=False)].widest == 3 - 1


@given(networks(axes=st.integers(1, 2), layers=PLAIN, inputs=st.just(1), most=14))
def test_networks_are_walked_again_where_a_number_does_not_fit_its_lane(graph):
    axes = graph.graph["axes"]
    wide, narrow = Lanes(axes, 64, 64), Lanes(axes, 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "lanes_of", lambda axes, *, wide: Lanes(axes, *((64, 64) if wide else (8, 8))))
        solved = plain.solve(graph)
    if solved is not None:
        largest = max(field.size for node in solved.states for field in solved.field(node))
        assert solved._table.lanes == wide or (solved._table.lanes == narrow and largest < 1 << 7)
        check_solved(graph, solved)


def test_branches_far_apart_are_covered_exactly():
    net = rfgraph.Network("far", axes=1)
    image = net.input("x")
    net.add("add", image, net.pad("far", image, padding=[[2**70, -(2**70)]]))
    report = rfgraph.analyze(net)
    field, numbers = report["add"].field[0], report.numbers()
    assert (field.interval(0), field.size) == ((-(2**70), 0), 2**70 + 1)
    assert (numbers.size[-1, 0], numbers.padding[-1, 0]) == (2**70 + 1, 2**70)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("below", range(-2, 8))
def test_fields_that_outgrow_a_lane_behind_a_wide_merge_are_exact(axes, below):
    far = (1 << lanes_of(axes, wide=False).size - 2) - below
    net = rfgraph.Network("far", axes=axes)
    image = net.input("x")
    x = net.add("add", image, net.pad("far", image, padding=[[far, -far]] * axes))
    for layer in range(3):
        x = net.add(f"sum{layer}", x, net.conv(f"conv{layer}", x, kernel=3, padding=1))
    solved = plain.solve(net.graph)
    assert solved is not None
    assert [field.size for field in solved.field(x)] == [1 + far + 3 * 2] * axes
    check_solved(net.graph, solved)


def test_tables_are_given_up_when_they_grow_large(monkeypatch):
    monkeypatch.setattr(numbered, "MAX_FRAMES", 20)
    monkeypatch.setattr(numbered, "_TABLES", {})
    for stride in range(1, 40):
        graph = chain(("conv", {"kernel": 1, "stride": stride}), axes=1).graph
        assert rfgraph.analyze(graph)["n0"].stride == (stride,)
    assert len(numbered._TABLES[lanes_of(1, wide=False)].frames) <= 22


@pytest.mark.parametrize("network", ["chain", "unpadded", "misaligned"])
@pytest.mark.parametrize("input_size", [None, 1 << 20])
def test_tables_grow_with_the_kinds_of_layers_and_not_with_the_nodes(monkeypatch, network, input_size):
    """However deep a network, padded or not, what is asked of its ops is asked once."""
    grown = []
    for nodes in (200, 2000):
        monkeypatch.setattr(numbered, "_TABLES", {})
        graph = NETWORKS[network](nodes)
        solved = plain.solve(graph, input_size=input_size)
        table = solved._table
        grown.append((len(table.frames), len(table.reads), len(table.sized_steps), len(table.meetings)))
        if nodes == 200:
            check_solved(graph, solved)
    assert grown[0] == grown[1]


def hourglasses(stacks, mode="linear"):
    """Return so many hourglasses one behind the other: maps are halved twice, doubled twice, and meet."""
    net = rfgraph.Network("hourglasses", axes=2)
    x = net.conv("stem", net.input("x"), kernel=3, padding=1)
    for i in range(stacks):
        wide = net.conv(f"wide{i}", x, kernel=3, padding=1)
        half = net.conv(f"half{i}", wide, kernel=4, stride=2, padding=1)
        quarter = net.conv(f"quarter{i}", net.max_pool(f"pool{i}", half, kernel=2), kernel=3, padding=1)
        half = net.add(f"sum{i}", half, net.resize(f"twice{i}", quarter, scale=2, mode=mode))
        up = net.conv_transpose(f"up{i}", half, kernel=4, stride=2, padding=1)
        x = net.add(f"out{i}", wide, up)
    return net.graph


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("input_size", [None, 4096])
def test_tables_of_networks_that_upsample_grow_with_the_kinds_of_layers_too(monkeypatch, mode, input_size):
    grown = []
    for stacks in (3, 12):
        monkeypatch.setattr(numbered, "_TABLES", {})
        graph = hourglasses(stacks, mode)
        solved = plain.solve(graph, input_size=input_size)
        assert solved.upsamples
        list(solved.apart()), solved.has_no_holes
        table = solved._table
        tables = (table.frames, table.shapes, table.sized_steps, table.meetings, table.comparisons, table.gaps)
        grown.append((table.phases, *map(len, tables)))
        check_report(rfgraph.analyze(graph, input_size), graph, input_size, "auto")
    assert grown[0] == grown[1]


def test_fields_of_more_phases_than_are_followed_are_left_to_the_general_passes():
    most = numbered.MAX_PHASES.bit_length() - 1
    layers = [("resize", {"scale": 2, "mode": "linear"})] * (most + 1)
    assert plain.solve(chain(*layers[:most], axes=1).graph).field(f"n{most - 1}")[0].period == numbered.MAX_PHASES
    report = rfgraph.analyze(chain(*layers, axes=1))
    assert str(report.engine) == f"passes: its fields have more than {numbered.MAX_PHASES} output phases"
    assert report[f"n{most}"].field[0].period == 2 * numbered.MAX_PHASES


def test_tables_are_given_up_when_their_shapes_have_many_phases(monkeypatch):
    monkeypatch.setattr(numbered, "MAX_ALL_PHASES", 100)
    monkeypatch.setattr(numbered, "_TABLES", {})
    for scale in range(2, 40):
        graph = chain(("resize", {"scale": scale, "mode": "linear"}), axes=1).graph
        check_solved(graph, plain.solve(graph))
        assert numbered._TABLES[lanes_of(1, wide=False)].phases <= 100 + scale


def test_branches_that_read_the_blocks_of_their_fork_are_told_from_others_where_it_upsamples():
    """Where they part, features read what their neighbours read: the fields of the branches do not tell."""
    for mode in ("nearest", "linear"):
        net = rfgraph.Network("blocks", axes=1)
        fork = net.resize("fork", net.input("x"), scale=2, mode=mode)
        pooled = net.resize("up", net.max_pool("pool", fork, kernel=4), scale=4, mode="nearest")
        net.concat("out", fork, net.crop("moved", pooled, padding=[[-1, 0]]))
        check_report(rfgraph.analyze(net), net.graph, None, "auto")


def test_a_map_that_shrinks_to_nothing_is_refused_by_name():
    graph = chain(*[("conv", {"kernel": 3})] * 6).graph
    assert plain.solve(graph, input_size=13).map_size("n5") == (1, 1)
    for size in (1, 2, 3, 11, 12):
        assert plain.solve(graph, input_size=size) is None
        with pytest.raises(SizeError, match=r"node 'n\d'"):
            rfgraph.analyze(graph, size)


def test_a_graph_may_be_changed_after_it_was_read():
    net = chain(("conv", {"kernel": 3}), ("conv", {"kernel": 5, "dilation": 2}))
    report = rfgraph.analyze(net)
    net.graph.nodes["n0"]["kernel"] = 7
    net.graph.remove_node("n1")
    assert report["n1"].size == (3 + 4 * 2,) * 2
    assert report.region("n1", (0, 0)).box == ((0, 10), (0, 10))


def test_numbers_of_a_network_that_is_not_plain():
    numbers = rfgraph.analyze(
        chain(("conv", {"kernel": 3, "padding": 1}), ("resize", {"scale": 2}), ("dense", {}))
    ).numbers()
    assert numbers.known.tolist() == [[True] * 2, [True] * 2, [False] * 2, [False] * 2]
    assert numbers.size.tolist() == [[1, 1], [3, 3], [0, 0], [0, 0]]


@pytest.mark.parametrize("block", [1, 2, 3, 1024])
@given(networks(layers=PLAIN, inputs=st.just(1), most=14))
def test_networks_may_be_walked_in_blocks_of_any_size(block, graph):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "BLOCK", block)
        solved = plain.solve(graph)
    if solved is not None:
        check_solved(graph, solved)


@pytest.mark.parametrize("where", range(4))
def test_a_second_node_without_inputs_is_left_to_the_general_passes(where):
    nodes = [("x", "input"), ("n0", "relu"), ("n1", "add")]
    nodes.insert(where, ("alone", "constant"))
    graph = nx.DiGraph(axes=2)
    for node, op in nodes:
        graph.add_node(node, op=op)
    graph.add_edges_from([("x", "n0"), ("n0", "n1"), ("x", "n1")])
    assert plain.solve(graph) is None
    assert len(rfgraph.analyze(graph)) == 4


@pytest.mark.parametrize("kind", [nx.DiGraph, nx.MultiDiGraph])
def test_a_graph_without_nodes_is_left_to_the_general_passes(kind):
    assert plain.solve(kind()) is None
    with pytest.raises(rfgraph.RFGraphError, match="the graph is empty"):
        rfgraph.analyze(kind())


def test_predecessors_in_another_order_than_nodes_are_read_by_name():
    graph = chain(("conv", {"kernel": 3}), ("conv", {"kernel": 5, "stride": 2}), ("relu", {})).graph
    want = plain.solve(graph).numbers()
    graph._pred = dict(reversed(graph._pred.items()))
    solved = plain.solve(graph)
    assert list(solved.states) == list(want.nodes)
    np.testing.assert_array_equal(solved.numbers().size, want.size)


def test_attributes_that_were_met_are_found_again_whatever_their_form(monkeypatch):
    """One op under as many attributes of other names, with lists, and with a label of its own at every node."""
    forms = [{"kernel": 3, "padding": 1}, {"kernel": 3, "dilation": 2}, {"kernel": [3, 3], "padding": [1, 0]}]
    net = rfgraph.Network("forms")
    x = net.input("x")
    for i in range(60):
        x = net.conv(f"c{i}", x, **forms[i % 3], **({"label": f"{i} of 60"} if i > 30 else {}))
    plain.forget(plain.table_of(plain.lanes_of(2, wide=False)))
    for _ in range(2):  # what was met before a form that is told in another way is met again
        check_solved(net.graph, plain.solve(net.graph))
    asked = []
    spec = numbered.Table.spec
    monkeypatch.setattr(numbered.Table, "spec", lambda table, given: asked.append(given) or spec(table, given))
    assert plain.solve(net.graph).specs == [0] + [1 + i % 3 for i in range(60)]
    assert not asked


def test_lists_and_tuples_of_one_attribute_are_told_apart_from_numbers():
    for kernel in ([3, 5], (3, 5), 3, [5, 3], [3, 5], 5, (5, 3)):
        sizes = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
        for attributes in ({"kernel": kernel}, {"kernel": kernel, "location": "net.py:1"}):
            assert rfgraph.analyze(chain(("conv", attributes)))["n0"].size == sizes
    for kernel in (3, [3], (3,), 3):
        net = chain(("conv", {"kernel": kernel}))
        if isinstance(kernel, int):
            assert rfgraph.analyze(net)["n0"].size == (3, 3)
        else:
            with pytest.raises(rfgraph.RFGraphError, match="has 1 entries, but the network has 2 axes"):
                rfgraph.analyze(net)


def test_networks_may_be_solved_in_many_threads_at_once(monkeypatch):
    """The tables that all share grow meanwhile: most merges of these networks make a frame of their own."""
    graphs = [misaligned(300, seed=seed) for seed in range(80)]

    def answers(graph):
        report = rfgraph.analyze(graph)
        return report.aligned, report.numbers().size.tolist(), report.numbers().padding.tolist()

    monkeypatch.setattr(numbered, "_TABLES", {})
    one_by_one = [answers(graph) for graph in graphs]
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        for _ in range(3):
            monkeypatch.setattr(numbered, "_TABLES", {})
            with ThreadPoolExecutor(8) as threads:
                assert list(threads.map(answers, graphs)) == one_by_one
    finally:
        sys.setswitchinterval(interval)
