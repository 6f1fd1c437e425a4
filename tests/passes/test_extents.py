"""The ends of what all features of a map read, against the features one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import oracle
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from strategies import networks

import rfgraph
from rfgraph import Network
from rfgraph.errors import SizeError
from rfgraph.passes import extents
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.covers import Covered
from rfgraph.passes.extents import Extent, reach_all, reads_ends, size_ranges


def compiled_of(graph, data):
    """Return a network with inputs of a few pixels, if there are such maps."""
    for _, attributes in graph.nodes(data=True):
        if attributes["op"] == "input":
            attributes["size"] = data.draw(st.integers(3, 8))
    note(graph.nodes(data=True))
    try:
        return compile_graph(graph)
    except rfgraph.RFGraphError:
        assume(False)


def read_by_all(graph, node, size):
    """Return what each feature of a node reads of the first input, by index."""
    return {index: set(oracle.clipped(graph, node, "in0", index)) for index in product(*map(range, size))}


@settings(max_examples=40)
@given(networks(same=True, most=5), st.data())
def test_ranges_and_ends_are_those_of_the_features_one_by_one(graph, data):
    compiled = compiled_of(graph, data)
    layers, source = compiled.layers, compiled.layers.id_of("in0")
    nodes = [v for v in range(source, len(layers.nodes)) if all(compiled.sizes[v])]
    ranges = size_ranges(compiled, source, nodes)
    ends = [reads_ends(compiled, Covered(compiled, axis), source, nodes) for axis in range(len(layers.axes))]
    for v in nodes:
        read = [some for some in read_by_all(graph, layers.nodes[v], compiled.sizes[v]).values() if some]
        for axis in range(len(layers.axes)):
            along = [{place[axis] for place in some} for some in read]
            widths = [max(some) - min(some) + 1 for some in along]
            if v in ranges:
                assert ranges[v][axis] == (min(widths), max(widths))
            if v in ends[axis] and read:  # of an axis alone: what dies along another one is taken to be read
                places = set().union(*along)
                first, last = ends[axis][v]
                assert first >= (0 in places)
                assert last >= (compiled.sizes[source][axis] - 1 in places)
                if len(layers.axes) == 1:
                    assert (first, last) == (0 in places, compiled.sizes[source][axis] - 1 in places)
        if v not in ranges:
            assert not read or len(reach_all(compiled, v, source).groups) != 1


def test_ranges_are_told_of_what_was_asked_for_and_is_known_on_the_way():
    net = Network(axes=1)
    x = net.input("x", size=8)
    odd = net.unknown("odd", x, of="Odd")
    one = net.conv("one", x, kernel=3, padding=1)
    two = net.conv("two", one, kernel=3, padding=1)
    net.add("sum", two, odd)
    net.conv("after", "sum", kernel=1)
    net.add("beside", net.input("y", size=8), two)
    compiled = compile_graph(net.graph)
    ids = {node: compiled.layers.id_of(node) for node in ("one", "two", "odd", "sum", "after", "beside")}
    assert size_ranges(compiled, 0, [ids["two"], ids["beside"]]) == dict.fromkeys(
        (ids["two"], ids["beside"]), ((3, 5),)
    )
    assert size_ranges(compiled, 0, list(ids.values())) == {
        ids["one"]: ((2, 3),), ids["two"]: ((3, 5),), ids["beside"]: ((3, 5),),
    }  # fmt: skip
    assert size_ranges(compiled, 0, [ids["after"]]) == {}
    assert size_ranges(compiled, 0, [0]) == {0: ((1, 1),)}


def test_maps_that_are_too_large_have_no_ranges_and_no_ends(monkeypatch):
    net = Network(axes=1)
    net.conv("conv", net.input("x", size=6), kernel=3, padding=-1)
    compiled = compile_graph(net.graph)
    assert size_ranges(compiled, 0, [1]) == {1: ((3, 3),)}
    assert reads_ends(compiled, Covered(compiled, 0), 0, [1]) == {1: (False, False)}
    monkeypatch.setattr(extents, "MAX_POSITIONS", 7)
    assert size_ranges(compiled, 0, [1]) == {}
    assert reads_ends(compiled, Covered(compiled, 0), 0, [1]) == {1: (False, False)}
    monkeypatch.setattr(extents, "MAX_POSITIONS", 6)
    assert reach_all(compiled, 1, 0).box([0]) == ((1, 3),)
    larger = compile_graph(net.graph, 7)
    assert reads_ends(larger, Covered(larger, 0), 0, [1]) == {}
    monkeypatch.setattr(extents, "MAX_POSITIONS", 5)
    assert reads_ends(compiled, Covered(compiled, 0), 0, [1]) == {}
    with pytest.raises(SizeError, match="map of size 6 is larger than the 5 positions"):
        reach_all(compiled, 1, 0)


def cross(axes):
    """Two branches of a network, each of which leaves out features that the other has."""
    net = Network(axes=axes)
    x = net.input("x", size=4)
    up = {"kernel": 1, "stride": 2}
    even, odd = net.conv_transpose("even", x, **up), net.conv_transpose("odd", x, output_padding=2, padding=1, **up)
    net.add("out", net.crop("cropped", even, padding=[[0, 0]] * axes), net.slice("sliced", odd, stop=7))
    return compile_graph(net.graph)


def test_paths_that_are_alive_at_other_features_stay_apart_but_for_networks_of_one_axis():
    one, two = (reach_all(cross(axes), 5, 0) for axes in (1, 2))
    assert (len(one.groups), one.separable) == (1, True)
    assert (len(two.groups), two.separable) == (2, False)
    assert one.box((0,)) == ((0, 0),)
    assert one.box((1,)) == ((1, 1),)
    assert two.box((0, 0)) == ((0, 0), (0, 0))
    assert two.box((0, 1)) is None
    assert two.box((1, 1)) == ((1, 1), (1, 1))
    assert [len(block.indices[0]) for block in two.blocks] in ([4, 3], [3, 4])


def test_laid_out_ends_are_not_to_be_written():
    regions = reach_all(cross(2), 5, 0)
    for array in (regions.first, regions.last, regions.reads):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0


def test_an_extent_covers_itself_and_what_reads_less_at_any_end():
    one = Extent(np.array([1, 2]), np.array([3, 4]))
    assert one.covers(one)
    assert one.covers(Extent(np.array([1, 3]), np.array([3, 4])))
    assert not one.covers(Extent(np.array([1, 1]), np.array([3, 4])))
    assert not one.covers(Extent(np.array([1, 2]), np.array([4, 4])))


@pytest.mark.parametrize("mode", ["linear", "lanczos3"])
def test_ends_through_taps_that_do_not_lie_evenly_are_those_of_each_feature(mode):
    net = Network(axes=1)
    x = net.conv("c", net.input("x", size=20), kernel=2, stride=2)
    net.resize("r", x, scale="2/5", mode=mode, coordinates="asymmetric", antialias=True)
    regions = reach_all(compile_graph(net.graph), 2, 0)
    for y in range(4):
        read = [place for (place,) in oracle.clipped(net.graph, "r", "x", (y,))]
        assert regions.box([y]) == ((min(read), max(read)),)


def test_exclusive_sums_end_before_their_own_position():
    net = Network(axes=1)
    net.cumsum("before", net.input("x", size=4), exclusive=True)
    regions = reach_all(compile_graph(net.graph), 1, 0)
    assert [regions.box([y]) for y in range(4)] == [None, ((0, 0),), ((0, 1),), ((0, 2),)]


def test_a_map_repeated_beyond_its_border_is_as_long_as_can_be_followed():
    most = 4 * extents.MAX_POSITIONS
    extents._check_length(most)
    with pytest.raises(SizeError, match=f"to {most + 1} positions"):
        extents._check_length(most + 1)


def test_maps_of_more_features_than_are_laid_out_are_refused_and_of_as_many_are_not(monkeypatch):
    net = Network(axes=2)
    net.conv("conv", net.input("x", size=[3, 4]), kernel=1)
    monkeypatch.setattr(extents, "MAX_FEATURES", 12)
    assert reach_all(compile_graph(net.graph), 1, 0).reads.all()
    monkeypatch.setattr(extents, "MAX_FEATURES", 11)
    regions = reach_all(compile_graph(net.graph), 1, 0)
    assert regions.box((2, 3)) == ((2, 2), (3, 3))
    with pytest.raises(SizeError, match="a map of 3 x 4 has more than the 11 features"):
        _ = regions.reads


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("kind", ["conv", "conv_transpose"])
def test_what_reads_on_to_an_end_reads_what_all_positions_up_to_there_read(direction, exclusive, kind):
    """Padding of more than a kernel: the first and the last positions of the map read nothing."""
    net = Network(axes=1)
    x = net.input("x", size=7)
    x = net.conv("map", x, kernel=2, stride=2, padding=3) if kind == "conv" else net.conv_transpose(
        "map", x, kernel=2, stride=3, padding=-1
    )  # fmt: skip
    net.cumsum("sum", x, direction=direction, exclusive=exclusive)
    compiled = compile_graph(net.graph)
    of_map, of_sum = reach_all(compiled, 1, 0), reach_all(compiled, 2, 0)
    (size,) = of_map.map_size
    for y in range(size):
        up_to = range(y + (not exclusive)) if direction == "forward" else range(y + exclusive, size)
        read = [box for box in map(of_map.box, ((i,) for i in up_to)) if box is not None]
        whole = ((min(a for ((a, _),) in read), max(b for ((_, b),) in read)),) if read else None
        assert of_sum.box((y,)) == whole, y
