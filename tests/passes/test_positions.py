"""Position sets against sets of integers, output by output."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfgraph import Network, Window
from rfgraph.ops import kind_of
from rfgraph.passes import positions
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.fold import fold
from rfgraph.passes.positions import ONE, PositionProducts, Positions, PositionSet, TooManyPositionsError

OUTPUTS = range(-9, 10)

phases = st.one_of(st.none(), st.sets(st.integers(-4, 9), min_size=1, max_size=5))


def marked(read):
    """Return a phase that reads a set of positions."""
    return None if not read else (min(read), sum(1 << (i - min(read)) for i in read))


def read_by(position_set, y):
    """Return the positions that output ``y`` reads."""
    phase = position_set.at(y)
    return set() if phase is None else {phase[0] + i for i in range(phase[1].bit_length()) if phase[1] >> i & 1}


@st.composite
def position_sets(draw, period=None, step=None):
    period = period or draw(st.integers(1, 4))
    step = step or draw(st.integers(1, 4))
    return PositionSet(tuple(marked(draw(phases)) for _ in range(period)), step)


@st.composite
def of_one_stride(draw):
    """Two position sets of one stride, which repeat after one or two periods."""
    period, step = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    times = draw(st.integers(1, 2))
    return draw(position_sets(period, step)), draw(position_sets(period * times, step * times))


@given(of_one_stride())
def test_a_union_reads_what_either_reads_and_one_covers_the_other_if_it_reads_all_of_it(pair):
    one, other = pair
    union = one.joined(other)
    for y in OUTPUTS:
        assert read_by(union, y) == read_by(one, y) | read_by(other, y)
    assert union.is_empty or union.step * len(one.phases) == one.step * len(union.phases)
    assert one.covers(other) == all(read_by(one, y) >= read_by(other, y) for y in OUTPUTS)
    assert union.covers(one)
    assert union.covers(other)
    assert union == other.joined(one)


@given(position_sets())
def test_a_position_set_knows_its_holes_and_what_is_empty(position_set):
    reads = [read_by(position_set, y) for y in range(len(position_set.phases))]
    assert position_set.is_empty == (not any(reads))
    assert position_set.has_holes == any(max(read) - min(read) >= len(read) for read in reads if read)
    assert [positions_of(phase) for phase in position_set.over(7)] == [read_by(position_set, y) for y in range(7)]


def test_a_run_has_no_holes_and_what_skips_one_position_has():
    assert not PositionSet((marked({1, 2, 3}), None, marked({7})), 1).has_holes
    assert PositionSet((marked({1, 2, 3}), None, marked({7, 9})), 1).has_holes


@pytest.mark.parametrize("period", [9, 15, 25, 35, 49, 77])
def test_periods_of_any_factors_are_found_to_be_repeated(period):
    assert PositionSet(((0, 1),), 1).joined(PositionSet(tuple((i, 1) for i in range(period)), period)) == ONE
    third = tuple(None if i % 3 else (i, 1) for i in range(3 * period))
    assert PositionSet((None,), 1).joined(PositionSet(third, 3 * period)) == PositionSet(((0, 1), None, None), 3)


def positions_of(phase):
    return read_by(PositionSet((phase,), 1), 0)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(-2, 3), st.integers(1, 3), position_sets())
def test_what_a_kernel_reads_of_a_map_is_the_union_over_its_taps(kernel, stride, padding, dilation, inner):
    conv = kind_of("conv").parse(
        {"op": "conv", "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}, 0, 1
    )
    read = positions.through(conv, conv.window(0, (None,)), inner)
    for y in OUTPUTS:
        taps = [y * stride - padding + dilation * t for t in range(kernel)]
        assert read_by(read, y) == set().union(*(read_by(inner, tap) for tap in taps))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.integers(1, 3), position_sets())
def test_what_a_transposed_kernel_reads_of_a_map_is_the_union_over_its_taps(kernel, stride, padding, dilation, inner):
    attributes = {"op": "conv_transpose", "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    op = kind_of("conv_transpose").parse(attributes, 0, 1)
    read = positions.through(op, op.window(0, (None,)), inner)
    written = {dilation * t for t in range(kernel)}
    for y in OUTPUTS:
        taps = [i for i in range(-30, 30) if y + padding - stride * i in written]
        assert read_by(read, y) == set().union(*(read_by(inner, tap) for tap in taps))


def test_equal_sets_have_the_least_period():
    taken = kind_of("conv").parse({"op": "conv", "kernel": 1, "stride": 2}, 0, 1)
    twice = PositionSet(((0, 1), (0, 1)), 1)
    assert positions.through(taken, taken.window(0, (None,)), twice) == ONE
    assert PositionSet(((0, 1), None), 2).joined(PositionSet((None, (1, 1)), 2)) == ONE
    assert PositionSet((None, None, None), 3).joined(PositionSet((None,), 1)) == PositionSet((None,), 1)


@pytest.mark.parametrize("kind", ["global_avg_pool", "cumsum"])
def test_what_is_read_on_to_an_end_is_no_set_of_positions(kind):
    op = kind_of(kind).parse({"op": kind}, 0, 1)
    assert positions.through(op, op.window(0, (None,)), ONE).is_empty


def sized(read, why=""):
    return PositionSet((marked(read),), 1, why)


def test_what_may_be_read_is_sure_where_it_lies_in_what_is_read_for_sure():
    wide, narrow, apart = {0, 1, 2, 3}, {1, 2}, {7}
    assert sized(wide).joined(sized(narrow, "a mask")).why == ""
    assert sized(narrow, "a mask").joined(sized(wide)).why == ""
    assert sized(wide, "a mask").joined(sized(narrow)).why == "a mask"
    assert sized(narrow).joined(sized(wide, "a mask")).why == "a mask"
    assert sized(wide).joined(sized(apart, "a mask")).why == "a mask"
    assert sized(wide, "one mask").joined(sized(narrow, "another")).why == "one mask"
    assert sized(wide).joined(sized(wide, "a mask")).why == ""
    assert sized(wide, "a mask").joined(sized(wide)).why == ""
    assert sized(wide, "a mask").joined(sized(wide, "another")).why != ""


def test_sets_that_are_too_long_are_refused_and_those_that_just_fit_are_not(monkeypatch):
    monkeypatch.setattr(positions, "MAX_POSITIONS", 12)

    def through(inner=ONE, **attributes):
        op = kind_of("conv").parse({"op": "conv", **attributes}, 0, 1)
        return positions.through(op, op.window(0, (None,)), inner)

    assert through(kernel=12).phases == (((0, (1 << 12) - 1)),)
    for most in ({"kernel": 13}, {"kernel": 2, "dilation": 12}):
        with pytest.raises(TooManyPositionsError):
            through(**most)
    two = PositionSet(((0, 1), (2, 1)), 2)
    assert [bits.bit_length() for _, bits in through(two, kernel=6).phases] == [7, 5]
    with pytest.raises(TooManyPositionsError):
        through(two, kernel=7)
    with pytest.raises(TooManyPositionsError):
        through(PositionSet(((0, 1), (12, 1)), 2), kernel=2)
    up = kind_of("resize").parse({"op": "resize", "scale": 13}, 0, 1)
    with pytest.raises(TooManyPositionsError):
        positions.through(up, up.window(0, (None,)), ONE)
    assert sized({0, 11}).joined(sized({5})).phases == (marked({0, 5, 11}),)
    with pytest.raises(TooManyPositionsError):
        sized({0}).joined(sized({12}))
    assert sized({100, 111}).joined(sized({105})).phases == (marked({100, 105, 111}),)  # wherever they lie
    with pytest.raises(TooManyPositionsError):
        sized({-12}).joined(sized({0}))
    with pytest.raises(TooManyPositionsError):
        PositionSet(((0, 1),) * 3, 3).covers(PositionSet(((0, 1),) * 5, 5))
    assert not PositionSet(((0, 1),) * 3, 3).covers(ONE)


def of_network(net, node):
    compiled = compile_graph(net.graph)
    v = compiled.layers.id_of(node)
    return fold(compiled.layers, 0, Positions(compiled, 0), [v]).get(v)


def test_a_branch_that_is_cut_adds_nothing_and_takes_nothing():
    net = Network(axes=1)
    x = net.input("x")
    taken = net.conv("conv", x, kernel=3, dilation=2)
    gate = net.global_avg_pool("gate", x)
    for name, branches in (("first", (gate, taken)), ("last", (taken, gate))):
        net.mul(name, *branches)
        assert of_network(net, name) == PositionSet(((0, 0b10101),), 1)
    assert of_network(net, net.relu("behind", gate)).is_empty


def test_the_node_that_makes_it_a_bound_is_named_once():
    net = Network(axes=1)
    net.relu("two", net.conv("one", net.input("x"), kernel=3, bound="a mask"), bound="another mask")
    assert of_network(net, "two").why == of_network(net, "one").why == "node 'one' (conv), axis t: a mask"


def test_what_reads_no_position_is_no_bound():
    net = Network(axes=1)
    net.global_avg_pool("pool", net.input("x"), bound="a mask")
    assert (of_network(net, "pool").is_empty, of_network(net, "pool").why) == (True, "")


def test_products_are_exact_just_if_they_are_along_every_axis():
    net = Network(axes=2)
    x = net.input("x")
    net.concat("beside", x, net.conv("conv", x, kernel=3, padding=1), axis=0)
    net.relu("masked", x, bound="a mask")
    with_size = compile_graph(net.graph, (4, 4))
    exact = {v: fold(with_size.layers, 0, PositionProducts(with_size), [v])[v].exact for v in range(4)}
    assert exact == {0: True, 1: True, 2: False, 3: False}


def products_of(net, node):
    compiled = compile_graph(net.graph)
    domain = PositionProducts(compiled)
    v = compiled.layers.id_of(node)
    return fold(compiled.layers, 0, domain, [v])[v], domain.cuts


def test_products_that_differ_along_one_axis_only_are_one():
    net = Network(axes=2)
    x = net.input("x")
    tall, wide = net.conv("tall", x, kernel=[3, 1]), net.conv("wide", x, kernel=[1, 3])
    other = net.conv("other", x, kernel=[3, 1], padding=[[-5, 0], [0, 0]])
    net.add("cross", tall, wide)
    net.add("line", tall, other)
    cross, _ = products_of(net, "cross")
    line, cuts = products_of(net, "line")
    assert len(cross.products) == 2
    assert [positions_of(part.phases[0]) for part in line.products[0]] == [{0, 1, 2, 5, 6, 7}, {0}]
    assert (len(line.products), line.exact, cuts) == (1, True, False)


def test_of_three_axes_it_is_still_one_that_may_differ():
    net = Network(axes=3)
    x = net.input("x")
    here, there = net.conv("here", x, kernel=[3, 1, 1]), net.conv("there", x, kernel=[1, 3, 1])
    other = net.conv("other", x, kernel=[3, 1, 1], padding=[[-5, 0], [0, 0], [0, 0]])
    net.add("two", here, there)
    net.add("one", here, other)
    assert [len(products_of(net, node)[0].products) for node in ("one", "two")] == [1, 2]


def test_a_path_that_is_cut_along_the_first_axis_is_told_whatever_the_last_one_does():
    net = Network(axes=2)
    x = net.input("x")
    net.global_avg_pool("pool", x)
    net.add("out", "pool", net.relu("relu", x))
    assert products_of(net, "out")[1]


def test_windows_of_position_sets_are_read_from_their_first_tap_on():
    op = kind_of("conv").parse({"op": "conv", "kernel": 2, "dilation": 3, "padding": 3}, 0, 1)
    assert positions.through(op, Window(4, 1, 3, spacing=3), ONE).phases == ((-3, 0b1001),)
    relu = kind_of("relu").parse({"op": "relu"}, 0, 1)
    assert positions.through(relu, Window(1), PositionSet((None,), 1)).is_empty
