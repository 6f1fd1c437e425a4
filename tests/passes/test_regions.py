"""All features of a layer at once against one feature at a time, and against the oracle."""

from __future__ import annotations

import time

import numpy as np
import oracle
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import DIRECTED, networks, readable, shifted_paths, sized

import rfgraph
from rfgraph import Network
from rfgraph.algebra import runs as algebra_runs
from rfgraph.frozen import dataclass
from rfgraph.ops import KINDS
from rfgraph.ops.base import attribute, choice
from rfgraph.ops.sliding import Sliding
from rfgraph.passes import extents, products, regions
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.covers import Covered


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


@given(networks(layers=DIRECTED, drift=True), st.data())
def test_regions_of_recurrences_are_the_oracles(graph, data):
    report = sized(data.draw, graph, 3, 8)
    node = data.draw(st.sampled_from(readable(report)))
    regions = report.regions(node)
    assert regions.status == "exact"
    for index in data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in regions.map_size)), max_size=5)):
        read = oracle.clipped(graph, node, "in0", index)
        expected = tuple((min(i), max(i)) for i in zip(*read, strict=True)) if read else None
        assert regions.box(index) == expected
        region = report.region(node, index)
        assert (region.box, region.status) == (expected, "exact")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bordered(Sliding):
    """A kernel over a map that goes on beyond its border in some way."""

    mode: str = attribute(choice("constant", "edge", "reflect", "symmetric", "wrap"), default="reflect")

    @property
    def border(self):
        return self.mode


def test_taps_inside_a_mirrored_border_are_read_too(monkeypatch):
    monkeypatch.setitem(KINDS, "bordered", Bordered)
    net = Network(axes=1)
    net.node("bordered", "blur", net.input("x", size=5), kernel=3, padding=1)
    report = rfgraph.analyze(net)
    assert report.region("blur", 0).box == ((0, 1),)  # -1, 0 and 1, of which the first is 1 again
    assert report.region("blur", 4).box == ((3, 4),)
    assert report.regions("blur").box((0,)) == ((0, 1),)
    assert report.regions("blur").status == "exact"


BORDERED = st.fixed_dictionaries(
    {
        "kernel": st.integers(1, 6),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 3),
        "padding": st.lists(st.integers(-1, 14), min_size=2, max_size=2).map(lambda pair: [pair]),
        "mode": st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap"]),
    }
)


@given(BORDERED, BORDERED, st.integers(1, 6), st.data())
def test_kernels_over_every_border_are_followed_tap_by_tap(one, two, size, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "bordered", Bordered)
        net = Network(axes=1)
        first = net.node("bordered", "first", net.input("in0", size=size), **one)
        net.node("bordered", "second", first, **two)
        try:
            report = rfgraph.analyze(net)
        except rfgraph.RFGraphError:
            assume(False)
        y = data.draw(st.integers(0, report["second"].map_size[0] - 1))

        def follow(attributes, outputs, size):
            """The positions that some outputs read, each put where the border has it by walking there."""
            read = set()
            for tap in range(attributes["kernel"]):
                for output in outputs:
                    at = output * attributes["stride"] + tap * attributes["dilation"] - attributes["padding"][0][0]
                    read.add(oracle.taps({"op": "pad", "padding": 0, "mode": attributes["mode"]}, 0, at, [size]).pop())
            return {i for i in read if 0 <= i < size}

        read = follow(one, follow(two, {y}, report["first"].map_size[0]), size)
        expected = ((min(read), max(read)),) if read else None
        assert report.region("second", y).box == expected
        assert report.regions("second").box((y,)) == expected


HUGE = 2 * 10**9
#: A network whose last map a gate reads all of, for an image of n, and how many pixels at its end are left out.
CODED = {
    "dilated": (lambda net, x, n: net.conv("c", x, kernel=3, dilation=2, padding=2), 0),
    "strided": (lambda net, x, n: net.conv("c", x, kernel=1, stride=2), 1),
    "holes": (lambda net, x, n: net.conv("c", x, kernel=3, stride=2, dilation=3), 1),
    "far": (lambda net, x, n: net.conv("c", x, kernel=3, dilation=n // 7), 0),
    "mirrored": (lambda net, x, n: net.conv("c", net.pad("p", x, padding=9, mode="reflect"), kernel=3), 0),
    "gaps": (lambda net, x, n: net.conv("c", net.conv_transpose("u", x, kernel=1, stride=4), kernel=2, stride=8), 1),
    "resized": (lambda net, x, n: net.conv("c", net.resize("u", x, scale=2, mode="linear"), kernel=1, stride=3), 0),
    "crossed": (lambda net, x, n: net.conv("c", net.conv("d", x, kernel=2, stride=7), kernel=5, stride=3), None),
}


@pytest.mark.parametrize("size", [HUGE, 210])
@pytest.mark.parametrize("name", CODED)
def test_what_is_read_of_billions_of_pixels_is_kept_as_a_few_runs(name, size):
    build, left = CODED[name]
    net = Network(axes=1)
    coded = build(net, net.input("x", size=size), size)
    net.mul("gated", coded, net.global_avg_pool("pool", coded))
    report = rfgraph.analyze(net)
    region = report.region("gated", 1)
    assert region.status == "exact"
    if left is not None:
        assert region.box == ((0, size - 1 - left),)
    compiled = report._compiled
    reached = regions.reach(compiled, compiled.layers.id_of("gated"), (1,), 0)
    assert sum(len(turns) for (runs,) in reached.products for turns in runs.turns.values()) < 50
    if size < HUGE:
        read = {(i,) for (runs,) in reached.products for a, b in runs for i in range(a, b + 1)}
        assert read == oracle.clipped(net.graph, "gated", "x", (1,))


def test_more_holes_than_are_followed_leave_a_bound_that_says_so(monkeypatch):
    net = Network(axes=1)
    x = net.conv("far", net.input("x", size=40_000), kernel=2, stride=100, dilation=99)
    net.global_avg_pool("pool", net.conv("c", x, kernel=1, stride=7))
    exact = rfgraph.analyze(net).region("pool", 0)
    monkeypatch.setattr(algebra_runs, "MAX_RUNS", 1)
    bound = rfgraph.analyze(net).region("pool", 0)
    assert (exact.status, bound.status) == ("exact", "bound")
    assert bound.box[0][0] <= exact.box[0][0] <= exact.box[0][1] <= bound.box[0][1]


@pytest.mark.parametrize(
    ("op", "attributes", "boxes"),
    [
        ("global_avg_pool", {}, [(0, 4)]),
        ("cumsum", {}, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]),
        ("cumsum", {"exclusive": True}, [None, (0, 0), (0, 1), (0, 2), (0, 3)]),
        ("cumsum", {"direction": "backward", "exclusive": True}, [(1, 4), (2, 4), (3, 4), (4, 4), None]),
    ],
)
def test_what_reads_on_to_an_end_is_cut_at_the_map(op, attributes, boxes):
    net = Network(axes=1)
    net.node(op, "sum", net.input("x", size=5), **attributes)
    report = rfgraph.analyze(net)
    told = [report.region("sum", y).box for y in range(len(boxes))]
    assert told == [None if box is None else (box,) for box in boxes]


@pytest.mark.parametrize("mode", ["linear", "lanczos3"])
@pytest.mark.parametrize("scale", ["1/2", "2/3", "2/5"])
def test_regions_through_taps_that_do_not_lie_evenly_are_the_oracles(scale, mode):
    net = Network(axes=1)
    x = net.conv("c", net.input("x", size=20), kernel=2, stride=2)
    up = net.resize("r", x, scale=scale, mode=mode, coordinates="asymmetric", antialias=True)
    net.conv("out", up, kernel=2, dilation=2)
    report = rfgraph.analyze(net)
    for y in range(report["out"].map_size[0]):
        read = [place for (place,) in oracle.clipped(net.graph, "out", "x", (y,))]
        assert report.region("out", y).box == ((min(read), max(read)),)


def test_taps_of_weight_zero_are_not_read():
    net = Network(axes=1)
    net.resize("r", net.input("x", size=12), scale="2/3", mode="lanczos3", coordinates="asymmetric", antialias=True)
    (axis,) = rfgraph.analyze(net).support("r").axes
    # The kernel reaches 3 * 3/2 to both sides; its zeros at 3/2 and 3 meet a pixel at 3 where the coordinate is one.
    assert axis.status == "exact"
    assert axis.phases[0].first == -4
    assert axis.phases[0].marks.tolist() == [True, False, True, True, True, True, True, False, True]


@pytest.mark.parametrize("size", [None, 9])
def test_a_forward_recurrence_reads_the_past(size):
    net = Network(axes=1)
    x = net.conv("conv", net.input("x", size=size), kernel=3, padding=1)
    net.recurrent("lstm", x, direction="forward")
    net.add("residual", x, net.conv("head", "lstm", kernel=3, padding=1))
    report = rfgraph.analyze(net)
    assert report["lstm"].is_global == report["residual"].is_global == (True,)
    assert report["lstm"].side == report["residual"].side == ("past",)
    assert report["conv"].side == ("",)
    begin = None if size is None else 0  # without a size the network goes on before it
    assert report.region("lstm", 4).box == ((begin, 5),)
    assert report.region("residual", 4).box == ((begin, 6),)
    assert report.region("residual", 4).status == report["lstm"].status == "exact"
    assert report.culprits("residual") == (("lstm",),)


def test_a_gate_of_unknown_size_has_no_region():
    net = Network(axes=1)
    x = net.conv("conv", net.input("x"), kernel=3)
    net.mul("gated", x, net.global_avg_pool("pool", x))
    report = rfgraph.analyze(net)
    for asked in (report.region, lambda node, y: report.features(node, [(y, y)])):
        with pytest.raises(rfgraph.RFGraphError, match="reads the whole axis"):
            asked("gated", 4)
    assert report.features("gated", [(4, 5)], "center").box == ((3, 4),)
    assert rfgraph.analyze(net, input_size=9).region("gated", 4).box == ((0, 8),)


def gated(padding, **conv):
    net = Network(axes=1)
    x = net.conv("conv", net.input("x"), padding=padding, **conv)
    net.mul("gated", x, net.global_avg_pool("pool", x))
    return net


SHORT = [
    ("stride", 0, {"kernel": 3, "stride": 2}, [9, 11]),
    ("crop", [[-4, 0]], {"kernel": 1}, []),
    ("shortcut", 0, {"kernel": 1, "stride": 2}, [9, 11]),
    ("padded", 1, {"kernel": 3, "stride": 2}, [8, 9, 10, 11]),
    ("same", "same", {"kernel": 3, "stride": 2}, [8, 9, 10, 11]),
    ("dilated", 2, {"kernel": 3, "dilation": 2}, [8, 9, 10, 11]),
    ("far", [[3, -3]], {"kernel": 1}, []),
]


@pytest.mark.parametrize(("padding", "conv", "whole"), [row[1:] for row in SHORT], ids=[row[0] for row in SHORT])
def test_a_gate_is_exact_only_where_it_reads_to_both_ends(padding, conv, whole):
    net = gated(padding, **conv)
    assert rfgraph.analyze(net)["gated"].status == ("exact" if len(whole) == 4 else "bound")
    for size in range(8, 12):
        report = rfgraph.analyze(net, input_size=size)
        (ends,) = report.region("pool", 0).box
        assert report["gated"].status == report["pool"].status == ("exact" if ends == (0, size - 1) else "bound")
        assert (size in whole) == (report["pool"].status == "exact")
        assert report["gated"].field[0].status == "exact"
    if len(whole) < 4:
        assert "may leave positions at an end of the axis unread" in rfgraph.analyze(net)["pool"].why


def test_of_the_future_no_size_no_end():
    net = Network(axes=1)
    net.cumsum("sum", net.input("x"), direction="backward")
    with pytest.raises(rfgraph.RFGraphError, match="reads all of the future"):
        rfgraph.analyze(net).region("sum", 4)
    assert rfgraph.analyze(net, input_size=9).region("sum", 4).box == ((4, 8),)


def test_a_mask_of_which_nothing_is_known_is_a_bound():
    net = Network(axes=1)
    net.attention("mix", net.input("x"), bound="its mask is computed")
    report = rfgraph.analyze(net, input_size=9)
    assert report["mix"].status == "bound"
    assert report["mix"].why == "its mask is computed"
    region = report.region("mix", 4)
    assert (region.box, region.status, report.regions("mix").status) == (((0, 8),), "bound", "bound")


def test_positions_beyond_the_joined_input_read_nothing_of_it():
    net = Network(axes=1)
    net.concat("both", net.input("x"), net.input("y"), axis=0)
    report = rfgraph.analyze(net, input_size=6, source="x")
    assert [report.region("both", y).box for y in (0, 5, 6, 11)] == [((0, 0),), ((5, 5),), None, None]
    assert report["both"].status == report.support("both").status == "bound"
    assert report.support("both").box().status == "bound"
    assert report.regions("both").reads.tolist() == [True] * 6 + [False] * 6


def test_beyond_the_cap_one_region_is_a_bound_that_says_so(monkeypatch):
    exact = two_that_die_apart().region("add", (0, 3))
    monkeypatch.setattr(products, "MAX_PRODUCTS", 1)
    bound = two_that_die_apart().region("add", (3, 3))
    assert (exact.status, bound.status) == ("exact", "bound")


def test_behind_the_last_op_that_leaves_pixels_out_one_extent_stands_for_a_map():
    net = Network(axes=1)
    x = net.conv("stem", net.input("x", size=224), kernel=1, stride=2)
    for i in range(3):
        x = net.conv(f"c{i}", x, kernel=3, padding=1)
        x = net.mul(f"m{i}", x, net.global_avg_pool(f"p{i}", x))
    compiled = compile_graph(net.graph)
    covers = Covered(compiled, 0)
    pooled = [compiled.layers.id_of(f"c{i}") for i in range(3)]
    assert extents.Ends(compiled, covers, 0, pooled).apart == {0}
    assert extents.reads_ends(compiled, covers, 0, pooled) == dict.fromkeys(pooled, (True, False))  # not pixel 223
    cut = net.crop("cut", x, padding=[[-1, 0]])
    net.mul("last", cut, net.global_avg_pool("whole", cut))
    compiled = compile_graph(net.graph)
    covers, end = Covered(compiled, 0), compiled.layers.id_of("cut")
    assert end not in extents.Ends(compiled, covers, 0, [end]).apart
    assert compiled.layers.id_of("m2") in extents.Ends(compiled, covers, 0, [end]).apart
    assert extents.reads_ends(compiled, covers, 0, [end]) == {end: (True, False)}


@pytest.mark.parametrize(
    ("op", "attributes", "boxes"),
    [
        ("resize", {"scale": 2, "mode": "nearest"}, {0: (0, 0), 1: (0, 1), 5: (2, 3), 19: (9, 9)}),
        ("resize", {"scale": 2, "mode": "linear"}, {0: (0, 1), 1: (0, 1), 5: (1, 3), 19: (8, 9)}),
        ("conv_transpose", {"kernel": 4, "stride": 2, "padding": 1}, {0: (0, 1), 1: (0, 1), 5: (1, 3), 19: (8, 9)}),
        ("depth_to_space", {"block": 3}, {0: (0, 0), 2: (0, 1), 15: (4, 5), 29: (9, 9)}),
    ],
)
def test_what_several_phases_read_together(op, attributes, boxes):
    """A window of three over a map that was made larger."""
    net = Network(axes=1)
    net.conv("out", net.node(op, "up", net.input("x", size=10), **attributes), kernel=3, padding=1)
    net.node("cumsum", "past", "out")
    net.node("cumsum", "future", "out", direction="backward")
    report = rfgraph.analyze(net.graph)
    for y, box in boxes.items():
        assert report.region("out", y).box == (box,)
        assert report.region("past", y).box == ((0, box[1]),)
        assert report.region("future", y).box == ((box[0], 9),)
