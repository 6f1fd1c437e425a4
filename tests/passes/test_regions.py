"""All features of a layer at once against one feature at a time, and against the oracle."""

from __future__ import annotations

import time

import networkx as nx
import numpy as np
import oracle
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st
from strategies import networks

import rfgraph
from rfgraph import Network
from rfgraph.passes import extents, products


def sized(draw, graph, low=4, high=11):
    """Give each input of ``graph`` a size, and return its report."""
    for _, attributes in graph.nodes(data=True):
        if attributes["op"] == "input":
            attributes["size"] = [draw(st.integers(low, high)) for _ in range(graph.graph["axes"])]
    note(nx.node_link_data(graph, edges="edges"))
    try:
        return rfgraph.analyze(graph, source="in0")
    except rfgraph.RFGraphError:
        assume(False)


def readable(report):
    """The nodes of which regions can be asked."""
    nodes = []
    for node in report:
        try:
            report.regions(node)
        except rfgraph.RFGraphError:
            continue
        nodes.append(node)
    return nodes


@given(networks(same=True, drift=True, axes=st.integers(1, 3)), st.data())
def test_all_regions_are_those_of_each_feature(graph, data):
    report = sized(data.draw, graph, 4, 11 if graph.graph["axes"] < 3 else 6)
    node = data.draw(st.sampled_from(readable(report)))
    regions = report.regions(node)
    assert regions.map_size == report[node].map_size
    assert regions.first.shape == regions.last.shape == (*regions.map_size, len(report.axes))
    assert regions.status == "exact"
    for index in np.ndindex(regions.map_size):
        region = report.region(node, index)
        assert region.clipped
        assert region.status == "exact"
        assert regions.box(index) == region.box
        assert bool(regions.reads[index]) == (region.box is not None)


@given(networks(same=True, drift=True, axes=st.just(2)), st.data())
def test_all_regions_are_the_oracles(graph, data):
    report = sized(data.draw, graph)
    node = data.draw(st.sampled_from(readable(report)))
    regions = report.regions(node)
    for index in data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in regions.map_size)), max_size=5)):
        read = oracle.clipped(graph, node, "in0", index)
        assert regions.box(index) == (tuple((min(i), max(i)) for i in zip(*read, strict=True)) if read else None)


@st.composite
def shifted_paths(draw):
    """Merges of branches that each move the map to some side, and so read nothing at other borders than the others."""
    axes = draw(st.integers(2, 3))
    net = Network(axes=axes)
    last = net.input("in0", size=[draw(st.integers(2, 5)) for _ in range(axes)])
    for stage in range(draw(st.integers(1, 2))):
        branches = []
        for i in range(draw(st.integers(2, 4))):
            shifts = [draw(st.integers(-2, 2)) for _ in range(axes)]
            branch = net.pad(f"shift{stage}{i}", last, padding=[[shift, -shift] for shift in shifts])
            kernel = [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(axes)]
            dilation = draw(st.integers(1, 2))
            branches.append(net.conv(f"conv{stage}{i}", branch, kernel=kernel, dilation=dilation, padding="same"))
        last = net.add(f"add{stage}", *branches)
    return net.graph


@given(shifted_paths())
def test_paths_that_die_apart_are_told_apart(graph):
    report = rfgraph.analyze(graph)
    node = list(report)[-1]
    regions = report.regions(node)
    assert regions.status == "exact"
    for index in np.ndindex(regions.map_size):
        read = oracle.clipped(graph, node, "in0", index)
        expected = tuple((min(i), max(i)) for i in zip(*read, strict=True)) if read else None
        assert regions.box(index) == expected == report.region(node, index).box


def two_that_die_apart():
    """A path that reads nothing in the first row beside one that reads nothing in the first column."""
    net = Network(axes=2)
    image = net.input("image", size=[6, 6])
    low = net.conv("low", image, kernel=[1, 5], padding=[[1, 0], [2, 2]])
    right = net.conv("right", image, kernel=[5, 1], padding=[[2, 2], [1, 0]])
    net.add("add", net.crop("a", low, padding=[[0, -1], [0, 0]]), net.crop("b", right, padding=[[0, 0], [0, -1]]))
    return rfgraph.analyze(net)


def test_a_path_that_dies_on_one_axis_reads_nothing_on_the_other():
    regions = two_that_die_apart().regions("add")
    assert not regions.separable
    assert regions.status == "exact"
    assert regions.box((3, 3)) == ((1, 5), (1, 5))
    assert regions.box((0, 3)) == ((0, 2), (2, 2))
    assert regions.box((3, 0)) == ((2, 2), (0, 2))
    assert regions.box((0, 0)) is None
    assert regions.first[0, 0].tolist() == [0, 0]
    assert regions.last[0, 0].tolist() == [-1, -1]


def test_beyond_the_cap_regions_are_a_bound_that_says_so(monkeypatch):
    exact = two_that_die_apart().regions("add")
    monkeypatch.setattr(products, "MAX_PRODUCTS", 1)
    bound = two_that_die_apart().regions("add")
    assert bound.status == "bound"
    assert (bound.reads | ~exact.reads).all()
    inside = (bound.first <= exact.first) & (exact.last <= bound.last)
    assert inside[exact.reads].all()
    assert bound.box((0, 3)) != exact.box((0, 3))


@pytest.mark.parametrize("size", [4, None])
def test_a_layer_on_the_gaps_of_another_reads_nothing(size):
    net = Network(axes=1)
    gaps = net.conv_transpose("gaps", net.input("x", size=size), kernel=1, stride=2)
    net.conv("odd", gaps, kernel=1, stride=2, padding=[[1, 0]])
    net.constant("code")
    report = rfgraph.analyze(net, source="x")
    assert report.region("odd", 2).box is None
    if size is not None:
        assert not report.regions("odd").reads.any()
    with pytest.raises(rfgraph.RFGraphError, match=r"'code' .constant. does not depend on 'x'"):
        report.region("code", 2)


def test_regions_need_sizes():
    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=3)
    with pytest.raises(rfgraph.RFGraphError, match=r"node 'x' .input., axis t: the size of its map is not known; give"):
        rfgraph.analyze(net).regions("c")


def test_regions_of_drifting_paths_need_no_common_stride():
    net = Network(axes=1)
    x = net.input("x", size=8)
    net.add("add", net.conv("slow", x, kernel=1, stride=2), net.crop("crop", x, padding=[[0, -4]]))
    report = rfgraph.analyze(net)
    assert report["add"].status == "unknown"
    assert [report.regions("add").box((y,)) for y in range(4)] == [((y, 2 * y),) for y in range(4)]
    assert report.region("add", 3).box == ((3, 6),)


def test_an_op_that_reads_who_knows_what_is_named():
    net = Network(axes=1)
    x = net.input("x", size=8)
    net.resize("last", net.unknown("odd", x, of="Odd"), size=8)
    with pytest.raises(rfgraph.RFGraphError, match="'odd'"):
        rfgraph.analyze(net).regions("last")


def test_maps_too_large_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(extents, "MAX_POSITIONS", 7)
    net = Network(axes=1)
    net.conv("c", net.input("x", size=8), kernel=3)
    with pytest.raises(rfgraph.RFGraphError, match=r"node 'x' .input., axis t: its map of size 8 is larger than the 7"):
        rfgraph.analyze(net).regions("c")


@pytest.mark.parametrize(
    ("model", "node", "size"),
    [
        ("vgg_16", "vgg_16/pool5", 224),
        ("vgg_16", "vgg_16/conv1/conv1_2", 512),
        ("resnet_v1_152", "resnet_v1_152/block4", 224),
        ("inception_resnet_v2", "Conv2d_7b_1x1", 299),
    ],
)
def test_published_networks_keep_one_group_and_take_no_time(model, node, size):
    report = rfgraph.analyze(f"zoo:{model}", input_size=size)
    regions = report.regions(node)
    start = time.process_time()
    regions = report.regions(node)
    assert regions.last.shape == (*report[node].map_size, 2)
    assert time.process_time() - start < 1
    assert regions.separable
    middle = tuple(n // 2 for n in regions.map_size)
    assert regions.box(middle) == report.region(node, middle).box
    assert regions.box((0, 0)) == report.region(node, (0, 0)).box
