"""Path lengths as a domain, on networks small enough that every number is put down by hand."""

from __future__ import annotations

import pytest

import rfgraph
from rfgraph import Network
from rfgraph.passes import lengths
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.covers import EVERYTHING, FIRST, LAST
from rfgraph.passes.fold import fold
from rfgraph.questions import paths


def carried(net, node, most=lengths.MAX_LENGTHS, *, counted=True):
    """Return what the domain says of one node along the first axis."""
    compiled = compile_graph(net.graph)
    v = compiled.layers.id_of(node)
    return fold(compiled.layers, 0, lengths.PathDomain(compiled, 0, most, counted=counted), [v]).get(v)


def residual(kernels):
    """Blocks after each other, in each of which one branch is a convolution and one is nothing."""
    net = Network(axes=1)
    x = net.input("x")
    for i, kernel in enumerate(kernels):
        x = net.add(f"a{i}", x, net.conv(f"c{i}", x, kernel=kernel, padding=kernel // 2))
    return net, x


def test_ranges_begin_and_end_with_lengths_that_were_met():
    net, end = residual([3, 5, 9, 17])
    assert sorted(carried(net, "a1", 2).sizes()) == [(1, 3, 2), (5, 7, 2)]
    assert sorted(carried(net, "a2", 2).sizes()) == [(1, 7, 4), (9, 15, 4)]
    assert sorted(carried(net, end, 2).sizes()) == [(1, 15, 8), (17, 31, 8)]
    assert sorted(carried(net, "a2", 3).sizes()) == [(1, 7, 4), (9, 15, 4)]
    assert sorted(carried(net, "a2", 4).sizes()) == [(1, 3, 2), (5, 7, 2), (9, 11, 2), (13, 15, 2)]
    assert carried(net, "a0", 2).why == ""


def test_lengths_are_put_together_only_where_a_node_has_too_many():
    net, last = residual([3, 5, 9])  # eight lengths
    net.add("with_half", last, net.conv("half", last, kernel=1, stride=2))
    net.conv("third", last, kernel=1, stride=3)
    net.add("shapes", "x", net.conv("s2", "x", kernel=1, stride=2), net.conv("s3", "x", kernel=1, stride=3))
    net.add("uneven", last, net.conv("alone", "x", kernel=1, stride=2))
    assert carried(net, "with_half", 15).why == "path fields are given in ranges: more than 15 sizes meet at a node"
    assert carried(net, "with_half", 16).why == ""
    assert carried(net, "shapes", 2).why == ""  # three shapes of one length each: nothing is to be put together
    assert carried(net, "uneven", 9).why == ""  # eight lengths and one, though half of nine is fewer than eight
    assert len(list(carried(net, "uneven", 9).sizes())) == 9
    assert len(list(carried(net, "uneven", 4).sizes())) == 3  # two for each shape, of which one has one length


def test_as_states_are_used_up_fewer_are_kept_at_a_node_but_never_less_than_a_few(monkeypatch):
    monkeypatch.setattr(lengths, "MAX_STATES", 1 << 12)
    monkeypatch.setattr(lengths, "SHARE", 1 << 6)
    net, end = residual([3] * 150)
    kept = [len(list(carried(net, f"a{i}").sizes())) for i in (20, 50, 149)]
    assert kept[0] == 22  # all there are
    assert lengths.FEWEST < kept[1] < 52
    assert lengths.FEWEST // 2 < kept[2] <= lengths.FEWEST
    assert carried(net, end).count == 2**150


@pytest.mark.parametrize("counted", [True, False])
def test_a_path_that_is_cut_on_every_axis_is_none_and_one_that_reads_nothing_along_one_is(counted):
    net = Network(axes=2)
    x = net.input("x")
    net.node("gather", "nothing", x, positions=[[None], None], source_size=[4, None])
    net.add("some", "nothing", net.conv("conv", x, kernel=3))
    net.node("identity", "cut", x, treat="cut")
    net.add("out", "cut", "conv")
    assert carried(net, "cut") is None
    assert carried(net, "out", counted=counted).count == counted
    assert carried(net, "some", counted=counted).count == 2 * counted
    assert {shape.kind for shape, _, _ in carried(net, "some").groups} == {"empty", "local"}


def test_the_first_doubt_on_the_way_is_the_one_that_is_told():
    net = Network(axes=1)
    x = net.conv("sure", net.input("x"), kernel=3)
    one = net.conv("one", x, kernel=3, bound="the first mask")
    net.conv("two", one, kernel=3, bound="the second mask")
    net.add("both", x, "two")
    net.relu("masked", x, bound="a third mask")
    assert carried(net, "masked").why == "a third mask"
    assert carried(net, "sure").why == ""
    assert carried(net, "one").why == carried(net, "two").why == carried(net, "both").why == "the first mask"
    assert sorted(carried(net, "both").sizes()) == [(3, 3, 1), (7, 7, 1)]
    assert carried(net, "both", 1).why == "the first mask"  # not that lengths were put together
    net.global_avg_pool("pool", x, bound="a fourth mask")
    net.global_avg_pool("all", x)
    assert [carried(net, node).why for node in ("pool", "all")] == ["a fourth mask", ""]


def test_a_length_needs_no_size_where_but_the_place_of_a_window_does():
    net = Network(axes=1)
    x = net.conv("conv", net.input("x"), kernel=3)
    net.slice("tail", x, start=-4, step=2)
    net.conv("behind", "tail", kernel=3)
    net.concat("beside", x, net.conv("five", "x", kernel=5), axis=0)
    net.slice("phases", net.resize("up", x, scale=2), start=-3)
    assert [sorted(carried(net, node).sizes()) for node in ("tail", "behind", "beside", "phases")] == [
        [(3, 3, 1)],
        [(7, 7, 1)],
        [(3, 3, 1), (5, 5, 1)],
        [],  # where it begins decides which phase is the first
    ]


def test_phases_of_a_window_are_its_own_times_those_it_meets_anew():
    net = Network(axes=1)
    up = net.resize("up", net.input("x"), scale=64)
    net.conv("down", up, kernel=1, stride=64)  # meets one phase only
    net.resize("even", net.conv("shifted", "x", kernel=3, padding=-5), scale=2)
    net.conv("wide", "even", kernel=2, padding=-8)
    assert [list(carried(net, node).sizes()) for node in ("even", "wide")] == [[(3, 3, 1)], [(4, 4, 1)]]
    net.resize("more", up, scale=16)
    net.resize("most", up, scale=32)
    assert list(carried(net, "down").sizes()) == [(1, 1, 1)]
    assert list(carried(net, "more").sizes()) == [(1, 1, 1)]
    assert list(carried(net, "most").sizes()) == []
    (shape, _, _) = carried(net, "most").groups[0]
    assert (
        shape.why == f"node 'most' (resize), axis t: paths with more than {lengths.MAX_PHASES} phases in all meet here"
    )


def test_phases_of_all_shapes_at_a_node_count_together():
    net = Network(axes=1)
    x = net.input("x")
    half, some = (net.resize(f"up{n}", x, scale=n) for n in (lengths.MAX_PHASES // 2, lengths.MAX_PHASES // 2 + 1))
    net.add("most", half, net.conv("twice", half, kernel=1, stride=2))
    net.add("more", half, some)
    assert sorted(carried(net, "most").sizes()) == [(1, 1, 1)] * 2
    assert (carried(net, "more").count, list(carried(net, "more").sizes())) == (2, [])


def test_beside_a_path_that_is_unknown_no_other_is_followed_where_extremes_are_asked():
    net = Network(axes=1)
    x = net.input("x")
    mixed = net.add("mixed", x, net.unknown("odd", x, of="Odd"))
    net.add("out", net.conv("conv", mixed, kernel=3), x)
    extremes = paths.extremes(compile_graph(net.graph), 0, 0)
    assert extremes.smallest == extremes.largest == [1, None, None, None, None]
    assert sorted(extremes.unknown) == [1, 2, 3, 4]
    assert carried(net, "out", 1, counted=False) == carried(net, "conv", 1, counted=False)


def test_a_norm_is_read_once_though_its_totals_are_a_second_slot():
    net = Network(axes=1)
    x = net.conv("conv", net.input("x"), kernel=3)
    net.group_norm("norm", x)
    assert list(carried(net, "norm").sizes()) == [(3, 3, 1)]
    assert carried(net, "norm").count == 1


def test_paths_get_to_the_ends_that_all_of_them_get_to():
    net = Network(axes=1)
    x = net.input("x")
    net.pad("later", x, padding=[[-1, 0]])
    net.pad("sooner", x, padding=[[0, -1]])
    net.add("both", "later", "sooner")
    assert [carried(net, node).ends for node in ("later", "sooner", "both")] == [LAST, FIRST, 0]
    assert carried(net, "later", counted=False).ends == EVERYTHING  # no one asks where extremes are
    net.node("cumsum", "past", "sooner")
    net.node("cumsum", "future", "sooner", direction="backward")
    assert [carried(net, node).why for node in ("past", "future")] == [
        "",
        "node 'future' (cumsum), axis t: what it reads may leave positions at an end of the axis unread",
    ]


@pytest.mark.parametrize("order", [("forward", "backward"), ("backward", "forward"), ("forward", "forward")], ids=str)
@pytest.mark.parametrize("cropped", [(-1, 0), (0, -1), (0, 0)])
def test_what_reads_on_to_one_end_and_then_to_the_other_needs_both(cropped, order):
    """The path says of itself what the field of the node says, as there is no other path."""
    net = Network(axes=1)
    x = net.pad("crop", net.input("x"), padding=[list(cropped)])
    for i, direction in enumerate(order):
        x = net.node("cumsum", f"sum{i}", x, direction=direction)
    net.pad("behind", net.global_avg_pool("pool", x), padding=[[1, 1]])
    net.node("cumsum", "after", "behind")
    for node in ("sum0", "sum1", "pool", "after"):
        exact = rfgraph.analyze(net.graph)[node].status == "exact"
        assert (carried(net, node).why == "") == exact, node
