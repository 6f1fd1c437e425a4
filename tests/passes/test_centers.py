"""How far apart the centres of paths lie, put down by hand."""

from __future__ import annotations

from fractions import Fraction

from rfgraph import Network
from rfgraph.passes import fields
from rfgraph.passes.centers import center_spread
from rfgraph.passes.compiled import compile_graph


def spreads(net, treat=None, source="x"):
    compiled = compile_graph(net.graph, treat=treat)
    v = compiled.layers.id_of(source)
    told = center_spread(compiled, 0, fields.forward(compiled, 0, v), v)
    return dict(zip(compiled.layers.nodes, told, strict=True))


def test_spreads_add_up_from_merge_to_merge_to_either_side():
    net = Network(axes=1)
    x = net.input("x")
    right = net.add("right", x, net.conv("c1", x, kernel=1, padding=-2))  # centres 0 and 2
    left = net.add("left", right, net.conv("c2", right, kernel=1, padding=3))  # those, and -3 and -1
    net.conv("behind", left, kernel=3)
    net.add("last", net.conv("c3", left, kernel=1, padding=-10), net.conv("c4", left, kernel=1))
    told = spreads(net)
    assert (told["x"], told["c1"], told["right"]) == (0, 0, 2)
    assert (told["c2"], told["left"], told["behind"]) == (2, 5, 5)
    assert told["last"] == 15


def test_a_path_that_upsamples_counts_with_the_mean_of_its_phases():
    net = Network(axes=1)
    x = net.input("x")
    net.add("out", x, net.resize("up", net.conv("half", x, kernel=2, stride=2), scale=2))
    assert spreads(net)["out"] == 0
    net.add("off", x, net.resize("again", net.conv("one", x, kernel=1, stride=2), scale=2))
    assert spreads(net)["off"] == Fraction(1, 2)


def test_where_a_field_is_not_known_or_reads_an_end_there_is_no_centre_and_none_comes_of_it():
    net = Network(axes=1)
    x = net.input("x")
    drifting = net.add("drifting", x, net.conv("half", x, kernel=1, stride=2))
    net.relu("behind", drifting)
    gate = net.global_avg_pool("gate", x)
    shifted = net.conv("shifted", x, kernel=1, padding=-4)
    net.mul("gated", shifted, gate)
    net.add("both", "gated", x)
    net.input("y")
    told = spreads(net)
    assert [told[node] for node in ("drifting", "behind", "gate", "y")] == [None] * 4
    assert (told["gated"], told["both"]) == (0, 4)
    assert spreads(net, treat={"shifted": "cut"})["both"] == 0
    assert spreads(net, source="y")["x"] is None
