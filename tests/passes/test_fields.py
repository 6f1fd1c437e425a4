"""The passes against the oracle, against each other, and against the closed forms."""

from __future__ import annotations

import networkx as nx
import oracle
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st
from strategies import CUT, DIRECTED_REGULAR, GATED, PLAIN, REGULAR, networks

import rfgraph
from rfgraph import Network, single_path
from rfgraph.errors import SizeError
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import compile_graph
from rfgraph.questions.misalignment import Misalignment


def check_covers(field, read, y):
    """The field's interval at ``y`` covers what is read, and is its exact hull if it says so."""
    interval = field.interval(y)
    if field.status == "exact":
        assert interval == ((min(read), max(read)) if read else None)
        if not field.holes and read:
            assert len(read) == max(read) - min(read) + 1
    elif read:
        assert interval is not None
        assert interval[0] <= min(read)
        assert max(read) <= interval[1]


@given(networks(), st.integers(-5, 9))
def test_both_passes_agree_with_the_oracle(graph, y):
    compiled = compile_graph(graph)
    layers = compiled.layers
    end = len(layers.nodes) - 1
    source = layers.inputs[0]
    for axis in range(len(layers.axes)):
        forward = engine.forward(compiled, axis, source)
        reverse = engine.reverse(compiled, axis, end)
        for v in range(len(layers.nodes)):
            if forward.local[v].kind != "unknown" and v >= source:
                read = oracle.unclipped(graph, layers.nodes[v], layers.nodes[source], axis, y)
                check_covers(forward.local[v], read, y)
            if reverse.local[v].kind != "unknown":
                read = oracle.unclipped(graph, layers.nodes[end], layers.nodes[v], axis, y)
                check_covers(reverse.local[v], read, y)


@given(networks(layers=[*REGULAR, *GATED, *DIRECTED_REGULAR, *CUT], drift=True))
def test_forward_and_reverse_agree(graph):
    note(nx.node_link_data(graph, edges="edges"))
    try:
        compiled = compile_graph(graph)
    except SizeError:  # what is reflected after a pool to one position
        assume(False)
    layers = compiled.layers
    # A cubic resize that lands on a pixel reads one tap there and four beside it: its ends go backward.
    assume(all(read.regular or not read.is_local for reads in compiled.reads for windows in reads for read in windows))
    for axis in range(len(layers.axes)):
        for source in layers.inputs:
            forward = engine.forward(compiled, axis, source)
            for v in range(len(layers.nodes)):
                reverse = engine.reverse(compiled, axis, v)
                assert forward.field(v) == reverse.field(source)
                assert forward.is_global[v] == reverse.is_global[source]
                assert forward.beyond[v] == reverse.beyond[source]
                # On the way back it is met path by path whether all of an end is read, and forward at each map once.
                assert forward.beyond[v].exact or not reverse.beyond[source].exact


@given(networks(axes=st.just(1), layers=[*REGULAR, *GATED, *DIRECTED_REGULAR], inputs=st.just(1)), st.integers(18, 29))
def test_the_whole_axis_is_exact_only_where_it_is_read_to_both_ends(graph, size):
    """Without a size for every size from some size on, with one for that; gates may read less, and then say so."""
    note(nx.node_link_data(graph, edges="edges"))
    for _, told in graph.nodes(data=True):
        if told["op"] in ("instance_norm", "softmax"):  # the oracle follows no totals
            told["mixes"] = False
    try:
        unsized = engine.forward(compile_graph(graph), 0, 0)
        graph.nodes["in0"]["size"] = size
        compiled = compile_graph(graph)
        sizes = oracle.all_sizes(graph, 1)
    except (rfgraph.RFGraphError, ValueError):
        assume(False)
    assume(all(sized[0] for sized in sizes.values()))
    sized = engine.forward(compiled, 0, 0)
    for v, node in enumerate(compiled.layers.nodes):
        beyond = sized.beyond[v]
        for y in {0, sizes[node][0] - 1} if beyond.is_unbounded and beyond.exact else ():
            read = {place for (place,) in oracle.clipped(graph, node, "in0", (y,))}
            first, last = beyond.ends(y) if read else (0, 0)  # None: from the first position, or to the last one
            assert first is not None or 0 in read or (last is not None and last < 0)
            assert last is not None or size - 1 in read or (first is not None and first >= size)
        if graph.nodes[node]["op"] not in ("global_avg_pool", "dense") or not beyond.is_full:
            continue
        read = [place for (place,) in oracle.clipped(graph, node, "in0", (0,))]
        whole = bool(read) and (min(read), max(read)) == (0, size - 1)
        assert whole or not (unsized.beyond[v].exact and all(n[0] > 8 or n == (1,) for n in sizes.values()))
        assert sized.beyond[v].exact <= whole
        assert sized.beyond[v].exact == whole or not sized.beyond[v].exact


@pytest.mark.parametrize("gate", ["global_avg_pool", "cumsum", "dense"])
def test_nothing_that_is_read_of_an_end_passes_a_cut(gate):
    net = Network(axes=1)
    x = net.input("x")
    net.node(gate, "gate", x)
    net.node("identity", "cut", "gate")
    net.add("out", net.conv("conv", x, kernel=3, padding=1), "cut")
    compiled = compile_graph(net.graph, 9, treat={"cut": "cut"})
    forward = engine.forward(compiled, 0, 0)
    end = compiled.layers.id_of("out")
    assert not forward.beyond[compiled.layers.id_of("gate")].is_empty
    for fields, v in ((forward, end), (engine.reverse(compiled, 0, end), 0)):
        assert fields.beyond[v].is_empty
        assert not fields.is_global[v]
        assert fields.local[v] == rfgraph.Window(3, 1, 1)


def test_the_node_that_makes_a_field_unknown_is_named_from_either_end():
    net = Network(axes=1)
    before = net.relu("before", net.input("x"))
    after = net.conv("after", net.conv("same", before, kernel=3, stride=2, padding="same"), kernel=3)
    assert rfgraph.analyze(net)[after].field[0].why.startswith("node 'same' (conv), axis t: padding 'same'")
    for node in ("x", "before"):
        assert rfgraph.trace(net)[node].field[0].why.startswith("node 'same' (conv), axis t: padding 'same'")


@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize(("op", "attributes"), [("relu", {}), ("conv", {"kernel": 3, "padding": 1})])
def test_what_may_read_less_does_so_under_an_op_that_reads_everything(op, attributes, size):
    net = Network(axes=1)
    net.node(op, "masked", net.input("x", **({"size": size} if size else {})), bound="a mask hides some", **attributes)
    net.global_avg_pool("pool", "masked")
    layer = rfgraph.analyze(net)["pool"]
    assert (layer.is_global, layer.status) == ((True,), "bound")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_branches_it_is_enough_if_one_reads_to_both_ends(order):
    net = Network(axes=1)
    x = net.input("x")
    cropped = net.pad("padded", net.pad("cropped", x, padding=-1), padding=1)
    net.add("out", *((cropped, x)[i] for i in order))
    net.global_avg_pool("whole", "out")
    net.global_avg_pool("part", cropped)
    report = rfgraph.analyze(net)
    assert (report["whole"].status, report["part"].status) == ("exact", "bound")


def test_paths_drift_apart_where_they_meet_from_either_end():
    net = Network(axes=1)
    fork = net.relu("fork", net.input("x"))
    net.add("out", net.conv("one", fork, kernel=1, stride=2), net.conv("two", fork, kernel=1))
    assert rfgraph.analyze(net)["out"].field[0].why == "node 'out' (add), axis t: paths of strides 1 and 2 drift apart"
    for node in ("x", "fork"):
        why = rfgraph.trace(net)[node].field[0].why
        assert why == "node 'fork' (relu), axis t: paths of strides 1 and 2 drift apart"


def test_paths_that_drift_apart_meet_backward_in_one_of_two_maps():
    net = Network(axes=1)
    x = net.input("x")
    net.node("either", "fork", net.relu("a", x), net.relu("b", x))
    net.add("out", net.conv("one", "fork", kernel=1, stride=2), net.conv("two", "fork", kernel=1))
    why = rfgraph.trace(net)["fork"].field[0].why
    assert why == "node 'fork' (either), axis t: paths of strides 1 and 2 drift apart"


layer = st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(-2, 3))


@given(st.lists(layer, min_size=1, max_size=12))
def test_closed_form_is_both_passes_on_a_chain(chain):
    net = Network(axes=1)
    last = net.input("x")
    for i, (kernel, stride, padding) in enumerate(chain):
        last = net.conv(f"c{i}", last, kernel=kernel, stride=stride, padding=padding)
    closed = single_path(*zip(*chain, strict=True))
    assert rfgraph.analyze(net)[last].field == (closed,)
    assert rfgraph.trace(net)["x"].field == (closed,)


def test_closed_form_refuses_lists_of_unequal_length():
    with pytest.raises(ValueError, match="zip"):
        single_path([3, 3], [1], [0, 0])


@given(networks(same=True), st.data())
def test_regions_are_the_oracles(graph, data):
    axes = graph.graph["axes"]
    for node, attributes in graph.nodes(data=True):
        if attributes["op"] == "input":
            attributes["size"] = data.draw(st.integers(4, 11), label=node)
    note(graph.nodes(data=True))
    try:
        report = rfgraph.analyze(graph, source="in0")
    except rfgraph.RFGraphError:
        assume(False)
    node = data.draw(st.sampled_from([n for n in report if report[n].field[0].kind == "local"]))
    sizes = oracle.all_sizes(graph, axes)
    assert report[node].map_size == sizes[node]
    assume(all(field.kind == "local" for field in report[node].field))
    index = tuple(data.draw(st.integers(0, size - 1)) for size in sizes[node])
    read = oracle.clipped(graph, node, "in0", index)
    region = report.region(node, index)
    assert region.clipped
    assert region.status == "exact"
    expected = tuple((min(i), max(i)) for i in zip(*read, strict=True)) if read else None
    assert region.box == expected


@given(networks(layers=PLAIN), st.randoms(use_true_random=False))
def test_names_and_insertion_order_change_nothing(graph, random):
    names = list(graph)
    renamed = [f"node {i}" for i in range(len(names))]
    random.shuffle(renamed)
    mapping = dict(zip(names, renamed, strict=True))
    other = nx.MultiDiGraph(**graph.graph)
    nodes = list(graph.nodes(data=True))
    edges = list(graph.edges(data=True))
    random.shuffle(nodes)
    random.shuffle(edges)
    other.add_nodes_from((mapping[n], attributes) for n, attributes in nodes)
    other.add_edges_from((mapping[u], mapping[v], attributes) for u, v, attributes in edges)
    one, two = (rfgraph.analyze(g, source=s) for g, s in ((graph, "in0"), (other, mapping["in0"])))
    for node in graph:
        assert one[node].field == two[mapping[node]].field
        assert one.center_spread(node) == two.center_spread(mapping[node])

    def told(report, rename):
        return sorted(
            (f.rule, rename(f.merge), f.axes, f.offset, f.reference.field.size, rename(f.fork), f.branch.slot)
            for f in report.findings
            if isinstance(f, Misalignment)
        )

    assert told(one, mapping.__getitem__) == told(two, lambda name: name)


@pytest.mark.parametrize("second", ["cumsum", "global_avg_pool"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_what_is_read_of_an_end_is_a_bound_behind_a_bound(direction, second):
    """With its reason, whatever side each of the two reads on to."""
    for first in ("cumsum", "global_max_pool"):
        for why in ("", "some weights are 0"):
            net = Network(axes=1)
            net.node(first, "first", net.input("x"), **({"direction": "forward"} if first == "cumsum" else {}),
                     **({"bound": why} if why else {}))  # fmt: skip
            net.node(second, "second", "first", **({"direction": direction} if second == "cumsum" else {}))
            beyond = engine.forward(compile_graph(net.graph), 0, 0).beyond[2]
            assert beyond.side == ("past" if first == second and direction == "forward" else "both")
            assert (beyond.exact, beyond.why) == (not why, why)


def test_an_end_that_is_cropped_is_not_read():
    for padding, sides in [
        ([[-1, 0]], {"backward"}),
        ([[0, -1]], {"forward"}),
        ([[-1, -1]], set()),
        ([[1, 2]], "both"),
    ]:
        for direction in ("forward", "backward"):
            net = Network(axes=1)
            net.node("cumsum", "sum", net.pad("pad", net.input("x"), padding=padding), direction=direction)
            beyond = engine.forward(compile_graph(net.graph), 0, 0).beyond[2]
            assert beyond.exact == (sides == "both" or direction in sides)


def test_alternatives_without_a_field_of_their_own_have_none():
    net = Network(axes=1)
    x = net.input("x")
    branches = [net.node("global_avg_pool", f"pool{i}", x) for i in (0, 1)]
    net.node("either", "cut", *branches)
    net.node("either", "drift", net.conv("one", x, kernel=3, stride=2), net.conv("two", x, kernel=5, stride=3))
    fields = engine.forward(compile_graph(net.graph), 0, 0)
    cut, drift = compile_graph(net.graph).layers.id_of("cut"), compile_graph(net.graph).layers.id_of("drift")
    assert (fields.local[cut].is_empty, fields.beyond[cut].is_full, fields.beyond[cut].exact) == (True, True, False)
    why = fields.local[drift].why
    assert why.startswith("'drift' is one of its inputs, decided when the model runs: r 3, S 2, P 0 or r 5, S 3, P 0; ")
