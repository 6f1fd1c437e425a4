"""Mass, mean and variance of gradients against distributions that are put together position by position."""

from __future__ import annotations

from functools import cache
from math import isclose

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfgraph import Network
from rfgraph.passes import moments as of_gradients
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.moments import Unknown, moments
from rfgraph.passes.weighing import Assumed

UNIFORM = Assumed(weights="uniform")

kernels = st.integers(1, 4)


@st.composite
def networks_of_one_axis(draw):
    """A network of convolutions, transposed ones and sums, in which no paths drift apart."""
    net = Network(axes=1)
    x = net.input("in")
    for i in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "down", "up", "residual", "hourglass"]))
        kernel, stride, padding = draw(kernels), draw(st.integers(2, 3)), draw(st.integers(-2, 2))
        if kind == "conv":
            x = net.conv(f"x{i}", x, kernel=kernel, padding=padding, dilation=draw(st.integers(1, 2)))
        elif kind == "down":
            x = net.conv(f"x{i}", x, kernel=kernel, stride=stride, padding=padding)
        elif kind == "up":
            x = net.conv_transpose(f"x{i}", x, kernel=kernel, stride=stride, padding=abs(padding))
        elif kind == "residual":
            x = net.add(f"x{i}", x, net.conv(f"c{i}", x, kernel=kernel, padding=padding))
        else:
            half = net.conv(f"c{i}", x, kernel=kernel, stride=stride)
            x = net.add(f"x{i}", x, net.conv_transpose(f"u{i}", half, kernel=draw(kernels), stride=stride))
    return net.graph


def felt(graph):
    """Return what tells how much an output of a node feels each position of the input, as position -> weight."""

    @cache
    def distribution(node, y):
        attributes = graph.nodes[node]
        if attributes["op"] == "input":
            return {y: 1.0}
        kernel, stride = attributes.get("kernel", 1), attributes.get("stride", 1)
        taps = [(y, 1.0)]
        if attributes["op"] == "conv":
            dilation = attributes.get("dilation", 1)
            taps = [(y * stride - attributes.get("padding", 0) + dilation * t, 1 / kernel) for t in range(kernel)]
        elif attributes["op"] == "conv_transpose":
            shift = y + attributes.get("padding", 0)
            taps = [((shift - t) // stride, stride / kernel) for t in range(kernel) if (shift - t) % stride == 0]
        weights = {}
        for tail in graph.pred[node]:
            for position, share in taps:
                for i, weight in distribution(tail, position).items():
                    weights[i] = weights.get(i, 0) + share * weight
        return weights

    return distribution


@settings(max_examples=60)
@given(networks_of_one_axis())
def test_moments_are_those_of_what_each_output_feels(graph):
    compiled = compile_graph(graph)
    distribution = felt(graph)
    for v, value in moments(compiled, 0, UNIFORM).items():
        value = value if hasattr(value, "variance") else value.by_phase
        period = len(value.mass)
        assert value.notes.doubt == ""
        for y in range(-1, 2 * period):
            weights = distribution(compiled.layers.nodes[v], y)
            turns, phase = divmod(y, period)
            assert isclose(value.mass[phase] * 2.0**value.exponent, sum(weights.values()), abs_tol=1e-12)
            if weights:
                positions, shares = np.array([*weights]), np.array([*weights.values()])
                mean = np.average(positions, weights=shares)
                variance = np.average((positions - mean) ** 2, weights=shares)
                assert isclose(value.mean[0, phase] + turns * value.steps[0], mean, abs_tol=1e-9)
                assert isclose(value.variance[0, phase], variance, abs_tol=1e-9)


def test_axes_of_other_phases_are_followed_side_by_side():
    net = Network(axes=2)
    x = net.conv("conv", net.input("in"), kernel=[3, 5], padding=[1, 0])
    net.conv_transpose("up", x, kernel=[1, 3], stride=[1, 2], padding=[0, 1])
    value = moments(compile_graph(net.graph), 0, UNIFORM)[2]
    assert value.mass.shape == (1, 2)
    assert value.mass * 2.0**value.exponent == pytest.approx(np.array([[2 / 3, 4 / 3]]))
    assert value.mean == pytest.approx(np.array([[[0, 0]], [[2, 2.5]]]))
    assert value.variance == pytest.approx(np.array([[[2 / 3, 2 / 3]], [[2, 2.25]]]))
    assert value.steps == (1, 1)


def test_masses_beyond_floats_go_into_exponents_and_those_of_nothing_stay_nothing():
    net = Network(axes=1)
    x = net.input("in")
    for i in range(1500):
        x = net.add(f"a{i}", x, x)
    value = list(moments(compile_graph(net.graph), 0, UNIFORM).values())[-1]
    assert (np.log2(value.mass) + value.exponent, value.spread) == (1500, (0.0, 0.0))
    sparse = Network(axes=1)
    sparse.conv_transpose("up", sparse.input("in"), kernel=1, stride=2)
    value = moments(compile_graph(sparse.graph), 0, UNIFORM)[1]
    assert (value.mass * 2.0**value.exponent).tolist() == [2, 0]


def test_masses_below_floats_go_into_exponents_too():
    net = Network(axes=1)
    x = net.input("in")
    for i in range(1200):
        x = net.relu(f"r{i}", x)
    value = list(moments(compile_graph(net.graph), 0, Assumed(gate=0.25)).values())[-1]
    assert np.log2(value.mass) + value.exponent == -2 * 1200


def test_a_gate_after_several_phases_lets_a_share_of_each_through():
    net = Network(axes=1)
    net.relu("gate", net.conv_transpose("up", net.input("in"), kernel=2, stride=2))
    told = moments(compile_graph(net.graph), 0, Assumed(gate=0.25))
    assert told[2].mass.tolist() == (told[1].mass / 4).tolist() == [0.25, 0.25]


def test_paths_through_all_of_an_axis_are_left_out():
    net = Network(axes=1)
    x = net.conv("conv", net.input("in"), kernel=3)
    net.mul("gate", x, net.global_avg_pool("pool", x))
    told = moments(compile_graph(net.graph), 0, UNIFORM)
    assert sorted(told) == [0, 1, 3]
    assert told[3][:4] == told[1][:4]


def test_what_drifts_apart_is_not_known():
    net = Network(axes=1)
    x = net.input("in")
    net.add("sum", net.conv("half", x, kernel=3, stride=2), x)
    why = "node 'sum' (add), axis t: its inputs differ in effective stride and drift apart"
    assert moments(compile_graph(net.graph), 0, UNIFORM)[2] == Unknown(why)


def test_negative_weights_are_told_where_they_count_as_such_and_none_else():
    net = Network(axes=1)
    net.conv("plain", net.input("in"), kernel=3)
    net.resize("cubic", "plain", scale=2, mode="cubic")
    told = moments(compile_graph(net.graph), 0, UNIFORM)
    assert told[1].notes.doubt == ""
    assert told[2].notes.doubt == "node 'cubic' (resize) has negative weights, which count as such"


def test_the_first_doubt_on_the_way_stays_and_that_of_any_branch_is_told():
    net = Network(axes=1)
    x = net.input("in")
    net.resize("again", net.resize("cubic", x, scale=2, mode="cubic"), scale=2, mode="cubic")
    net.add("sum", net.conv_transpose("up", x, kernel=2, stride=2), "cubic")
    net.add("plain", x, net.conv("conv", x, kernel=3))
    doubt = "node 'cubic' (resize) has negative weights, which count as such"
    compiled = compile_graph(net.graph)
    doubts = {compiled.layers.nodes[v]: value.notes.doubt for v, value in moments(compiled, 0, UNIFORM).items()}
    assert [name for name, told in doubts.items() if told] == ["cubic", "again", "sum"]
    assert {told for told in doubts.values() if told} == {doubt}


def doubts_of(net):
    """Return what is doubted of the moments of each node where weights are random."""
    compiled = compile_graph(net.graph)
    told = moments(compiled, 0, Assumed(weights="random"))
    return {compiled.layers.nodes[v]: value.notes.doubt for v, value in told.items()}


def test_an_op_with_fixed_weights_mixes_what_overlapping_ones_before_it_share():
    net = Network(axes=1)
    x = net.input("in")
    net.avg_pool("apart_2", net.avg_pool("apart", x, kernel=2, stride=2), kernel=2, stride=2)
    net.avg_pool("pool_2", net.avg_pool("pool", x, kernel=3, stride=1), kernel=2)
    net.avg_pool("pool_3", "pool_2", kernel=2, stride=2)
    net.avg_pool("up_2", net.resize("up", x, scale=2), kernel=2, stride=1)
    mixing = "node '{}' (avg_pool) and an op before it mix gradients that are not independent"
    assert {name: doubt for name, doubt in doubts_of(net).items() if doubt} == {
        "pool_2": mixing.format("pool_2"),
        "pool_3": mixing.format("pool_2"),
        "up_2": mixing.format("up_2"),
    }


def test_gates_are_doubted_where_paths_merge_before_or_behind_them():
    net = Network(axes=1)
    x = net.input("in")
    one, two = net.conv("one", x, kernel=3, padding=1), net.conv("two", x, kernel=3, padding=1)
    net.conv("sum_2", net.add("sum", one, two), kernel=3)
    net.conv("gate_2", net.relu("gate", "sum_2"), kernel=3)
    net.conv("alone_2", net.relu("alone", one), kernel=3)
    net.add("later", net.conv("three", "alone", kernel=3, padding=1), two)
    assert {name for name, doubt in doubts_of(net).items() if doubt} == {"gate", "gate_2", "later"}


def test_of_a_sum_mean_and_variance_are_those_of_each_axis():
    net = Network(axes=2)
    x = net.input("in")
    net.add("sum", x, net.conv("conv", x, kernel=[3, 5], padding=[1, 0]))
    net.node("gather", "nothing", x, positions=[[None], [0, 1]], source_size=[4, 4])
    told = moments(compile_graph(net.graph), 0, UNIFORM)
    assert sorted(told) == [0, 1, 2]
    assert told[2].spread == pytest.approx((0, 1, 1 / 3, 2))


def test_more_phases_than_are_followed_are_not_known_and_as_many_are(monkeypatch):
    net = Network(axes=1)
    up = net.conv_transpose("up", net.input("in"), kernel=4, stride=4)
    net.conv_transpose("more", up, kernel=2, stride=2)
    net.conv("down", up, kernel=3, stride=4)
    compiled = compile_graph(net.graph)
    monkeypatch.setattr(of_gradients, "MAX_PHASES", 32)  # of four phases by eight
    assert not any(isinstance(value, Unknown) for value in moments(compiled, 0, UNIFORM).values())
    monkeypatch.setattr(of_gradients, "MAX_PHASES", 31)
    told = moments(compiled, 0, UNIFORM)
    assert told[2] == Unknown("node 'more' (conv_transpose), axis t has too many output phases")
    assert not isinstance(told[3], Unknown)


def test_a_sum_has_as_many_phases_as_all_that_it_adds(monkeypatch):
    net = Network(axes=1)
    x = net.input("in")
    three, four = (net.conv_transpose(f"up{n}", x, kernel=n, stride=n) for n in (3, 4))
    down = net.conv("down3", three, kernel=1, stride=3), net.conv("down4", four, kernel=1, stride=4)
    net.add(
        "sum",
        net.conv_transpose("a", down[0], kernel=4, stride=4),
        net.conv_transpose("b", down[1], kernel=4, stride=4),
    )
    compiled = compile_graph(net.graph)
    monkeypatch.setattr(of_gradients, "MAX_PHASES", 4)
    assert not any(isinstance(value, Unknown) for value in moments(compiled, 0, UNIFORM).values())
