"""Paths against their enumeration, one by one and position by position."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import networkx as nx
import oracle
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st
from strategies import DIRECTED_PLAIN, PLAIN, networks

import rfgraph
from rfgraph import Network
from rfgraph.models import build
from rfgraph.passes import lengths
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.fold import fold
from rfgraph.questions import paths


def every_path(graph, node, source):
    """All paths, each as its (node, slot) steps from ``node`` down to ``source``."""
    if node == source:
        return [[]]
    found = []
    for slot, tail in enumerate(oracle.inputs_of(graph, node)):
        found += [[(node, slot), *rest] for rest in every_path(graph, tail, source)]
    return found


def upsampled(attributes, axis):
    """Outputs after which an op repeats itself."""
    if attributes["op"] == "resize":
        return Fraction(str(oracle.attribute(attributes, "scale", axis))).numerator
    if attributes["op"] == "conv_transpose":
        return attributes["stride"]
    return attributes["block"] if attributes["op"] == "depth_to_space" else 1


def field_size(graph, path, axis):
    """Pixels from the first to the last that one path reads, at its widest phase; 0 if it reads nothing."""
    period = 1
    for node, _ in path:
        period *= upsampled(graph.nodes[node], axis)
    widest = 0
    for y in range(period):
        read = {y}
        for node, slot in path:
            read = set().union(*(oracle.taps(graph.nodes[node], axis, i, slot=slot) for i in read))
        widest = max(widest, max(read) - min(read) + 1 if read else 0)
    return widest


def enumerated(graph, node, axis):
    """Field size -> how many paths, and how many read nothing."""
    sizes = Counter(field_size(graph, path, axis) for path in every_path(graph, node, "in0"))
    return sizes, sizes.pop(0, 0)


def last_of(graph):
    return next(reversed([node for node in graph if graph.nodes[node]["op"] != "input"]))


@given(networks(layers=PLAIN, drift=True))
def test_every_path_of_plain_networks_is_counted_at_its_size(graph):
    report = rfgraph.analyze(graph, source="in0")
    for node in graph:
        found = report.paths(node)
        assert found.count == len(every_path(graph, node, "in0"))
        for axis, of_axis in enumerate(found.axes):
            sizes, _ = enumerated(graph, node, axis)
            assert of_axis.status == "exact"
            assert {(p.smallest, p.largest): p.count for p in of_axis.sizes} == {(r, r): n for r, n in sizes.items()}
            assert of_axis.smallest == min(sizes, default=None)
            assert of_axis.largest == max(sizes, default=None)


@given(networks(most=5))
def test_paths_through_upsampling_are_as_wide_as_their_widest_phase(graph):
    note(nx.node_link_data(graph, edges="edges"))
    node = last_of(graph)
    found = rfgraph.analyze(graph, source="in0").paths(node)
    assert found.count == len(every_path(graph, node, "in0"))
    for axis, of_axis in enumerate(found.axes):
        sizes, empty = enumerated(graph, node, axis)
        if of_axis.status == "exact":
            assert of_axis.empty == empty
            assert {p.smallest: p.count for p in of_axis.sizes} == sizes
        elif of_axis.status == "bound":  # at most as many paths are as narrow as it says
            assert of_axis.why
            for limit in sizes:
                said = sum(p.count for p in of_axis.sizes if p.largest <= limit) + of_axis.empty
                assert said <= empty + sum(n for r, n in sizes.items() if r <= limit)


def read_at_size(graph, path, sizes, y):
    """Pixels that output ``y`` reads along one path, all maps as large as they are."""
    read = {y}
    for node, slot in path:
        tails = oracle.inputs_of(graph, node)
        extents = [sizes[tail][0] for tail in tails]
        taps = set().union(*(oracle.taps(graph.nodes[node], 0, i, extents, slot) for i in read))
        read = {i for i in taps if 0 <= i < extents[slot]}
    return read


@given(networks(layers=DIRECTED_PLAIN, axes=st.just(1), inputs=st.just(1)), st.integers(4, 30), st.booleans())
def test_paths_that_surely_read_on_to_an_end_do(graph, size, told):
    try:
        report = rfgraph.analyze(graph, input_size=size)
    except rfgraph.RFGraphError:
        assume(False)
    if not told:
        report = rfgraph.analyze(graph)
    graph.nodes["in0"]["size"] = size
    sizes = oracle.all_sizes(graph, 1)
    for node in graph:
        (axis,) = report.paths(node).axes
        ways = [(path, ends_of(graph, path)) for path in every_path(graph, node, "in0")]
        assert axis.whole == sum(bool(ends) for _, ends in ways)
        if axis.status != "exact" or (not told and size < 24):  # untold, it holds from some size on
            continue
        for path, ends in ways:
            reads = [read for y in range(sizes[node][0]) if (read := read_at_size(graph, path, sizes, y))]
            if len(ends) == 2:
                assert all({0, size - 1} <= read for read in reads)
            elif reads:  # behind a border that mirrors, the first few features do not get to the end that others do
                (end,) = ends or {""}
                assert not end or {"first": 0, "last": size - 1}[end] in set().union(*reads)


def ends_of(graph, path):
    """To which ends of the source the op that is nearest to it reads on, of those that read on to any."""
    for node, _ in reversed(path):
        attributes = graph.nodes[node]
        if attributes["op"] in ("attention", "recurrent", "cumsum") and attributes.get("mixes", True) in (True, [True]):
            direction = attributes.get("direction", "forward" if attributes["op"] == "cumsum" else "both")
            return {"forward": {"first"}, "backward": {"last"}, "both": {"first", "last"}}[direction]
    return set()


@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize(
    ("before", "mixing", "why"),
    [
        ({"kernel": 3}, {}, ""),
        ({"kernel": 3, "stride": 2, "padding": 1}, {}, ""),
        ({"kernel": 3}, {"bound": "under its mask"}, "under its mask"),
        ({"kernel": 3}, {"bound": "under its mask", "direction": "forward"}, "under its mask"),
        ({"kernel": 1, "stride": 2}, {}, "leave positions at an end of the axis unread"),
        ({"kernel": 3, "padding": [[-1, 0]]}, {}, "leave positions at an end of the axis unread"),
        ({"kernel": 3, "padding": [[-1, 0]]}, {"direction": "forward"}, "leave positions at an end of the axis unread"),
    ],
)
def test_a_path_that_may_read_less_than_the_whole_axis_is_a_bound(before, mixing, why, size):
    net = Network(axes=["t"])
    x = net.conv("c", net.input("x"), **before)
    net.conv("out", net.attention("mix", x, **mixing), kernel=3, padding=1)
    report = rfgraph.analyze(net, input_size=size)
    for node in ("mix", "out"):
        (axis,) = report.paths(node).axes
        assert (axis.whole, axis.sizes) == (1, ())
        assert axis.status == ("bound" if why else "exact") == report[node].status
        assert axis.why.endswith(why)
        assert bool(axis.why) == bool(why)


def test_class_tokens_beside_a_map_leave_it_whole_and_one_doubtful_path_tells_of_itself_alone():
    net = Network(axes=["t"])
    x = net.input("x")
    tokens = net.concat("tokens", net.constant("token", size=1), x, axis=0)
    net.attention("mix", tokens)
    assert rfgraph.analyze(net).paths("mix").axes[0].status == "exact"
    net.add("both", net.attention("plain", x), net.attention("masked", x, bound="under its mask"))
    report = rfgraph.analyze(net)
    found = [report.paths(node).axes[0] for node in ("plain", "masked", "both")]
    assert [(axis.whole, axis.why) for axis in found] == [(1, ""), (1, "under its mask"), (2, "under its mask")]


@given(networks(layers=PLAIN, drift=True, most=12), st.integers(1, 3))
def test_beyond_the_cap_counts_and_extremes_stay_exact_and_ranges_hold(graph, most):
    node = last_of(graph)
    compiled = compile_graph(graph)
    found = paths.between(compiled, compiled.layers.id_of("in0"), compiled.layers.id_of(node), most)
    whole = rfgraph.analyze(graph, source="in0").paths(node)
    for axis, of_axis in enumerate(found.axes):
        sizes, _ = enumerated(graph, node, axis)
        assert sum(p.count for p in of_axis.sizes) == found.count == sum(sizes.values())
        assert (of_axis.smallest, of_axis.largest) == (whole.axes[axis].smallest, whole.axes[axis].largest)
        for limit, sure in ((r, r) for r in sizes):
            lowest = sum(p.count for p in of_axis.sizes if p.largest <= sure)
            highest = sum(p.count for p in of_axis.sizes if p.smallest <= limit)
            assert lowest <= sum(n for r, n in sizes.items() if r <= limit) <= highest
        if any(p.smallest < p.largest for p in of_axis.sizes):
            assert of_axis.status == "bound"


@given(networks(layers=PLAIN, drift=True))
def test_extremes_of_all_nodes_are_those_of_each(graph):
    report = rfgraph.analyze(graph, source="in0")
    compiled = compile_graph(graph)
    for axis in range(len(compiled.layers.axes)):
        found = paths.extremes(compiled, axis, compiled.layers.id_of("in0"))
        assert not found.unknown
        for v, node in enumerate(compiled.layers.nodes):
            one = report.paths(node).axes[axis]
            assert (found.smallest[v], found.largest[v]) == (one.smallest, one.largest)


def test_the_cap_is_told():
    net = Network(axes=1)
    x = net.input("x")
    for i in range(6):
        x = net.add(f"a{i}", x, net.conv(f"c{i}", x, kernel=2**i + 1))
    compiled = compile_graph(net.graph)
    (exact,) = paths.between(compiled, 0, compiled.layers.id_of(x)).axes
    assert [(p.smallest, p.largest, p.count) for p in exact.sizes] == [(r, r, 1) for r in range(1, 65)]
    (bound,) = paths.between(compiled, 0, compiled.layers.id_of(x), most=16).axes
    assert len(bound.sizes) == 16
    assert bound.status == "bound"
    assert bound.why == "path fields are given in ranges: more than 16 sizes meet at a node"


def test_resnet_152_costs_a_state_per_layer_and_size_not_one_per_path():
    compiled = compile_graph(build("resnet_v1_152"))
    end = compiled.layers.id_of("resnet_v1_152/block4")
    found = paths.between(compiled, 0, end)
    assert found.count == 2**50  # 3 + 8 + 36 + 3 units of two branches
    (one, two) = found.axes
    # 7x7/2 and 3x3/2; then 1x1 alone, or every 3x3: 3 at stride 4, 8 at 8, 36 at 16 and 3 at 32, the last unit of the
    # first three blocks being the one that strides.
    assert one.smallest == 7 + 2 * 2
    assert one.largest == 11 + 2 * (3 * 4 + 8 * 8 + 36 * 16 + 3 * 32) == 1507
    assert sum(p.count for p in one.sizes) == 2**50
    assert one.status == "exact"
    assert one.sizes == two.sizes
    domain = lengths.PathDomain(compiled, 0)
    assert list(fold(compiled.layers, 0, domain, [end])) == [end]  # nothing else is kept
    assert domain.states < 100 * len(compiled.layers.nodes)


def test_the_same_map_twice_is_two_paths():
    net = Network(axes=1)
    x = net.conv("c", net.input("x"), kernel=3)
    report = rfgraph.analyze(net.graph if net.add("twice", x, x) else net)
    found = report.paths("twice")
    assert found.count == 2
    assert [(p.smallest, p.count) for p in found.axes[0].sizes] == [(3, 2)]


def test_paths_through_a_gate_read_the_whole_axis_and_are_told_apart():
    net = Network(axes=["t"])
    x = net.conv("c", net.input("x"), kernel=3)
    gated = net.mul("gated", x, net.sigmoid("gate", net.attention("mix", x)))
    (axis,) = rfgraph.analyze(net).paths(gated).axes
    assert [(p.smallest, p.count) for p in axis.sizes] == [(3, 1)]
    assert (axis.whole, axis.empty, axis.unknown) == (1, 0, 0)
    assert axis.status == "exact"


def test_unknown_paths_are_counted_and_leave_no_extremes():
    net = Network(axes=1)
    x = net.input("x")
    found = rfgraph.analyze(net.graph if net.add("sum", x, net.unknown("odd", x, of="Odd")) else net).paths("sum")
    assert found.count == 2
    (axis,) = found.axes
    assert (axis.unknown, axis.smallest, axis.largest, axis.status) == (1, None, None, "unknown")
    assert "does not know what Odd reads" in axis.why


def test_same_padding_needs_no_input_size():
    net = Network(axes=1)
    x = net.conv("c1", net.input("x"), kernel=3, stride=2, padding="same")
    x = net.slice("s", x, start=-4, step=2)
    last = net.conv("c2", x, kernel=3, stride=2, padding="same")
    (axis,) = rfgraph.analyze(net).paths(last).axes
    assert rfgraph.analyze(net)[last].status == "unknown"  # where it lies is not known, how wide it is is
    assert [(p.smallest, p.count) for p in axis.sizes] == [(3 + 2 * 4, 1)]
    assert axis.status == "exact"


def test_same_padding_after_upsampling_needs_one():
    net = Network(axes=1)
    x = net.resize("up", net.input("x"), scale=2)
    last = net.conv("c", x, kernel=2, stride=3, padding="same")
    (axis,) = rfgraph.analyze(net).paths(last).axes
    assert axis.status == "unknown"
    assert rfgraph.analyze(net, input_size=8).paths(last).axes[0].status == "exact"


def test_too_many_phases_are_not_followed(monkeypatch):
    monkeypatch.setattr(lengths, "MAX_PHASES", 3)
    net = Network(axes=1)
    x = net.input("x")
    for i in range(3):
        x = net.add(f"a{i}", x, net.conv(f"c{i}", x, kernel=1, stride=2))
    found = rfgraph.analyze(net).paths(x)
    assert found.count == 8
    assert found.axes[0].unknown == 8
    assert found.axes[0].why == "node 'a2' (add), axis t: paths with more than 3 phases in all meet here"
    up = net.resize("up", "x", scale=4)
    assert rfgraph.analyze(net).paths(up).axes[0].why.startswith("node 'up' (resize), axis t: paths with more than 3")


def ladder(blocks, kernel=3):
    """Blocks of two branches after each other, which have one field size more after each block."""
    net = Network(axes=1)
    x = net.input("x")
    for i in range(blocks):
        x = net.add(f"a{i}", x, net.conv(f"c{i}", x, kernel=kernel, padding=kernel // 2))
    return compile_graph(net.graph), x


def test_what_a_walk_costs_is_capped_and_counts_and_extremes_stay_exact(monkeypatch):
    compiled, end = ladder(60)
    (exact,) = paths.between(compiled, 0, compiled.layers.id_of(end)).axes
    assert [(p.smallest, p.count) for p in exact.sizes][:2] == [(1, 1), (3, 60)]
    assert exact.status == "exact"
    monkeypatch.setattr(lengths, "MAX_STATES", 1 << 12)
    for blocks in (200, 400):
        compiled, end = ladder(blocks)
        node = compiled.layers.id_of(end)
        (bound,) = paths.between(compiled, 0, node).axes
        assert (bound.smallest, bound.largest, bound.status) == (1, 1 + 2 * blocks, "bound")
        assert bound.why == "path fields are given in ranges: more than 4096 sizes on the way"
        assert sum(p.count for p in bound.sizes) == 2**blocks
        domain = lengths.PathDomain(compiled, 0)
        fold(compiled.layers, 0, domain, [node])
        assert domain.states < (1 << 12) + 3 * lengths.FEWEST * len(compiled.layers.nodes)


def test_behind_a_path_that_is_unknown_no_extreme_is_looked_for():
    net = Network(axes=1)
    x = net.input("x")
    x = net.add("merge", x, net.unknown("odd", x, of="Odd"))
    for i in range(4):
        x = net.add(f"a{i}", x, net.conv(f"c{i}", x, kernel=1, stride=2))
    compiled = compile_graph(net.graph)
    domain = lengths.PathDomain(compiled, 0, counted=False)
    last = fold(compiled.layers, 0, domain, [len(compiled.layers.nodes) - 1])
    assert [shape.is_unknown for value in last.values() for shape, _, _ in value.groups] == [True]
    assert set(paths.extremes(compiled, 0, 0).unknown) == set(range(1, len(compiled.layers.nodes)))


def test_a_layer_that_does_not_read_the_source_has_no_paths():
    net = Network(axes=1)
    x, y = net.input("x"), net.input("y")
    net.add("sum", x, y)
    report = rfgraph.analyze(net, source="x")
    assert report.paths("y").count == 0
    assert report.paths("y").axes[0].sizes == ()
    assert report.paths("x").count == 1
    with pytest.raises(rfgraph.RFGraphError, match="no node 'z'"):
        report.paths("z")


def test_the_cap_is_shared_by_the_shapes_that_meet_at_a_node():
    net = Network(axes=1)
    x = net.input("x")
    for i in range(6):
        x = net.add(f"a{i}", x, net.conv(f"c{i}", x, kernel=3, padding=1))
    net.add("merge", x, net.conv("half", x, kernel=1, stride=2))
    compiled = compile_graph(net.graph)
    (value,) = fold(compiled.layers, 0, lengths.PathDomain(compiled, 0, 8), [len(compiled.layers.nodes) - 1]).values()
    assert [len(counts) for _, _, counts in value.groups] == [4, 4]  # 7 lengths of each of two strides
    assert value.count == 2 * 2**6
