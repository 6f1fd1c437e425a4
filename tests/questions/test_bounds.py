"""Ops that read at most their window: what field, support, region and regions call exact must hold in every case.

The oracle is the network run twice: with all that such ops may read, and with nothing of it. What is said to be exact
is the same both times; where the two differ, it must be called a bound.
"""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import GATED, REGULAR, networks

import rfgraph
from rfgraph import Network
from rfgraph.errors import RFGraphError, UnboundedError, UnknownFieldError

WHY = "it may skip some"


@st.composite
def loose(draw):
    """A network some of whose layers may read less than their windows, and the names of these."""
    graph = draw(networks(layers=[*REGULAR, *GATED], inputs=st.just(1)))
    layers = [node for node, attributes in graph.nodes(data=True) if attributes["op"] != "input"]
    names = draw(st.sets(st.sampled_from(layers), min_size=1, max_size=3))
    for name in names:
        graph.nodes[name]["bound"] = WHY
    return graph, names


def least(graph, names):
    """The network in which the ops that may read less read nothing."""
    cut = nx.MultiDiGraph(graph)
    for name in names:
        cut.nodes[name]["treat"] = "cut"
    return cut


def analyzed(graph, size=None):
    try:
        return rfgraph.analyze(graph, input_size=size)
    except RFGraphError:
        assume(False)


def read_along(report, node):
    """What the first outputs of a node read, position for position, and the status; ``None`` without such numbers."""
    try:
        support = report.support(node)
    except (UnknownFieldError, UnboundedError):
        return None
    positions = [
        [{phase.first + at for at in phase.marks.nonzero()[0].tolist()} if phase else set() for phase in axis.phases]
        for axis in support.axes
    ]
    return positions, support


@given(loose())
def test_exact_fields_and_supports_are_the_same_whatever_such_ops_read(made):
    graph, names = made
    most, fewer = analyzed(graph), analyzed(least(graph, names))
    for node in most:
        field, other = most[node].field, fewer[node].field
        if most[node].status == "exact":
            assert field == other, node
        here, there = read_along(most, node), read_along(fewer, node)
        if here is not None and here[1].status == "exact":
            assert there is not None
            assert here[0] == there[0]
        if here is not None and most[node].status == "exact" and not any(axis.has_holes for axis in here[1].axes):
            assert here[1].status == "exact"
        if here is not None and all(window.period == 1 for window in field) and here[1].status == "exact":
            assert most[node].status == "exact"


@given(loose(), st.integers(4, 20), st.data())
def test_exact_regions_are_the_same_whatever_such_ops_read(made, size, data):
    graph, names = made
    most, fewer = analyzed(graph, size), analyzed(least(graph, names), size)
    node = data.draw(st.sampled_from(list(most)))
    try:
        regions = most.regions(node)
    except RFGraphError:
        assume(False)
    index = tuple(data.draw(st.integers(0, n - 1)) for n in regions.map_size)
    region = most.region(node, index)
    if regions.status == "exact":
        assert region.status == "exact"
    if region.status == "exact":
        assert region.box == fewer.region(node, index).box
    if most[node].status == "exact" and not names & (nx.ancestors(graph, node) | {node}):
        assert regions.status == "exact"


@pytest.mark.parametrize("op", ["conv", "max_pool", "conv_transpose", "flatten", "relu", "depth_to_space", "slice"])
def test_every_op_may_say_that_it_reads_at_most_its_window(op):
    attributes = {"conv": {"kernel": 3}, "max_pool": {"kernel": 2}, "conv_transpose": {"kernel": 2}}.get(op, {})
    attributes |= {"block": 2} if op == "depth_to_space" else {}
    net = Network("at most", axes=1)
    last = net.conv("last", net.node(op, "loose", net.input("x"), bound=WHY, **attributes), kernel=1)
    report = rfgraph.analyze(net, input_size=12)
    assert report[last].status == "bound"
    assert report.regions(last).status == report.region(last, 0).status == "bound"
    assert {record["status"] for record in report.to_records() if record["layer"] in ("loose", last)} == {"bound"}
    if op != "flatten":
        assert report.support(last).status == "bound"
        assert WHY in report.support(last)[0].why


def test_what_another_path_surely_reads_is_exact():
    net = Network("covered", axes=1)
    x = net.input("x")
    net.add(
        "sum", net.max_pool("loose", x, kernel=3, stride=1, padding=1, bound=WHY), net.conv("c", x, kernel=3, padding=1)
    )
    report = rfgraph.analyze(net, input_size=9)
    assert report["loose"].status == "bound"
    assert report["sum"].status == report.support("sum").status == report.regions("sum").status == "exact"
