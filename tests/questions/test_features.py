"""Features from pixels against the regions of all features, and the projection of regions of interest."""

from __future__ import annotations

import re
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st
from strategies import networks, readable, shifted_paths, sized

import rfgraph
from rfgraph import Network
from rfgraph.questions import features

HOWS = ["meets", "inside", "center"]
coordinate = st.one_of(st.integers(-6, 16), st.fractions(-3, 12, max_denominator=4))


def boxes(draw, axes):
    return [sorted([draw(coordinate), draw(coordinate)]) for _ in range(axes)]


def picks(interval, low, high, how):
    """What ``how`` means, one axis at a time."""
    first, last = interval
    if how == "meets":
        return any(low <= pixel <= high for pixel in range(first, last + 1))
    if how == "inside":
        return all(low <= pixel <= high for pixel in (first, last))
    return low <= Fraction(first + last, 2) <= high


def check_picked(found, expected):
    assert {tuple(map(int, index)) for index in found.indices} == expected
    assert found.count == len(expected)
    assert found.indices.shape == (len(expected), len(found.axes))
    if not expected:
        assert found.box is None
        assert found.marks.size == 0
        return
    assert found.box == tuple((min(along), max(along)) for along in zip(*expected, strict=True))
    assert found.marks.shape == tuple(last - first + 1 for first, last in found.box)
    assert found.is_box == (found.marks.size == len(expected))


def check_inverse(report, node, box, how):
    regions = report.regions(node)
    expected = set()
    for index in np.ndindex(regions.map_size):
        read = regions.box(index)
        if read is not None and how == "center":
            read = [field.interval(y) for field, y in zip(report[node].field, index, strict=True)]
            read = None if None in read else read
        if read and all(picks(one, *ends, how) for one, ends in zip(read, box, strict=True)):
            expected.add(index)
    found = report.features(node, box, how)
    assert found.clipped
    assert found.status == "exact"
    check_picked(found, expected)


@given(networks(same=True), st.sampled_from(HOWS), st.data())
def test_features_are_the_inverse_of_regions(graph, how, data):
    report = sized(data.draw, graph)
    node = data.draw(st.sampled_from(readable(report)))
    assume(how != "center" or all(field.kind != "unknown" for field in report[node].field))
    check_inverse(report, node, boxes(data.draw, len(report.axes)), how)


@given(shifted_paths(), st.sampled_from(HOWS), st.data())
def test_features_where_paths_die_apart(graph, how, data):
    report = rfgraph.analyze(graph)
    check_inverse(report, list(report)[-1], boxes(data.draw, len(report.axes)), how)


@given(networks(), st.sampled_from(HOWS), st.data())
def test_features_without_borders_are_those_of_the_fields(graph, how, data):
    note(nx.node_link_data(graph, edges="edges"))
    report = rfgraph.analyze(graph, source="in0")
    node = data.draw(st.sampled_from([n for n in report if all(f.kind == "local" for f in report[n].field)]))
    box = boxes(data.draw, len(report.axes))
    expected = [
        [y for y in range(-150, 150) if field.interval(y) and picks(field.interval(y), *ends, how)]
        for field, ends in zip(report[node].field, box, strict=True)
    ]
    assume(all(not ys or (ys[0] > -150 and ys[-1] < 149) for ys in expected))
    found = report.features(node, box, how)
    assert not found.clipped
    assert found.status == report[node].status
    check_picked(found, {tuple(row) for row in np.stack(np.meshgrid(*expected), -1).reshape(-1, len(box)).tolist()})


def test_the_box_says_when_some_features_in_it_are_not_picked():
    net = Network(axes=1)
    net.conv_transpose("gaps", net.input("x", size=6), kernel=1, stride=2)
    found = rfgraph.analyze(net).features("gaps", [(1, 3)])
    assert found.box == ((2, 6),)
    assert found.marks.tolist() == [True, False, True, False, True]
    assert not found.is_box
    assert found.indices.tolist() == [[2], [4], [6]]


def plain(size=None):
    net = Network(axes=2)
    net.conv("c", net.input("x", size=size), kernel=3, stride=2, padding=1)
    return rfgraph.analyze(net)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([(0, 3)], "box [(0, 3)] has 1 entries, but the network has 2 axes"),
        ([(0, 3), (4, 1)], "box, axis x: first 4 lies past last 1"),
        ([(0, 3), 5], "box, axis x: 5 is not (first, last) in pixels"),
        ([(0, 3), (1, 2, 3)], "box, axis x: (1, 2, 3) is not (first, last) in pixels"),
        ([(0, float("nan")), (1, 2)], "box, axis y: (0, nan) is not (first, last) in pixels"),
        ([(0, "3"), (1, 2)], "box, axis y: (0, '3') is not (first, last) in pixels"),
    ],
)
def test_boxes_that_are_none_are_refused(box, message):
    with pytest.raises(rfgraph.RFGraphError, match=re.escape(message)):
        plain().features("c", box)
    with pytest.raises(rfgraph.RFGraphError, match=re.escape(message)):
        rfgraph.roi(plain(), "c", box)


@pytest.mark.parametrize("size", [16, None])
def test_a_box_between_two_pixels_meets_nothing(size):
    between = [(Fraction(1, 2), Fraction(3, 4)), (0, 9)]
    assert plain(size).features("c", between).box is None
    assert plain(size).features("c", between, "inside").box is None
    assert plain(size).features("c", [(Fraction(1, 2), 1), (0, 1)]).box == ((0, 1), (0, 1))


def test_numpy_numbers_make_a_box_too():
    box = np.array([[1, 4], [2, 8]])
    expected = plain(16).features("c", box.tolist())
    for numbers in (box, box.astype(np.float32)):
        assert plain(16).features("c", numbers).box == expected.box


def test_other_ways_to_pick_are_refused():
    with pytest.raises(rfgraph.RFGraphError, match="how 'near' is not one of meets, inside, center"):
        plain().features("c", [(0, 1), (0, 1)], how="near")


def test_a_layer_that_reads_everything_has_no_centre():
    net = Network(axes=1)
    net.global_avg_pool("pool", net.input("x"))
    for report, how in [(rfgraph.analyze(net), "meets"), (rfgraph.analyze(net, input_size=8), "center")]:
        with pytest.raises(
            rfgraph.RFGraphError, match=r"'pool' .*axis t reads the whole axis.*: its field has no cent"
        ):
            report.features("pool", [(0, 1)], how)
    assert rfgraph.analyze(net, input_size=8).features("pool", [(0, 1)]).box == ((0, 0),)


def test_too_many_features_are_refused(monkeypatch):
    monkeypatch.setattr(features, "MAX_FEATURES", 20)
    assert plain().features("c", [(0, 5), (0, 5)]).box == ((0, 3), (0, 3))
    many = plain().features("c", [(0, 9), (0, 9)])
    assert (many.box, many.count, many.is_box) == (((0, 5), (0, 5)), 36, True)  # known per axis, and not laid out
    for listed in (lambda: many.marks, lambda: many.indices, lambda: plain().features("c", [(0, 60), (0, 1)])):
        with pytest.raises(rfgraph.RFGraphError, match="more than the 20 features that are listed"):
            listed()


def test_features_of_a_large_map_are_known_per_axis(monkeypatch):
    report = plain((100_000, 100_000))
    found = report.features("c", [(7, 99_990), (10, 99_999)])
    least, most = (
        report.features("c", [(7, 7), (10, 10)]).box,
        report.features("c", [(99_990, 99_990), (99_999, 99_999)]).box,
    )
    assert found.box == tuple((a, b) for (a, _), (_, b) in zip(least, most, strict=True))
    assert found.count == (found.box[0][1] - found.box[0][0] + 1) * (found.box[1][1] - found.box[1][0] + 1)
    regions = report.regions("c")
    assert regions.box((31_000, 7)) == report.region("c", (31_000, 7)).box
    with pytest.raises(rfgraph.RFGraphError, match=r"layer 'c': a map of .* has more than the 33554432 features"):
        regions.reads.any()


# Regions of interest


def test_fast_rcnn_on_vgg_16_is_a_feature_too_far():
    report = rfgraph.analyze("zoo:vgg_16")
    layer = "vgg_16/conv5/conv5_3"
    assert report[layer].center == (Fraction(15, 2),) * 2
    found = rfgraph.roi(report, layer, [(24, 110), (40, 200)])
    # 24 / 16 = 1.5 and 200 / 16 = 12.5 round away from zero.
    assert found.projected == ((2, 7), (3, 13))
    assert found.error == (
        (16 * 2 + Fraction(15, 2) - 24, 16 * 7 + Fraction(15, 2) - 110),
        (16 * 3 + Fraction(15, 2) - 40, 16 * 13 + Fraction(15, 2) - 200),
    )
    assert found.exact == ((1, 6), (2, 12))
    assert [axis.exact_error for axis in found.axes] == [
        (16 + Fraction(15, 2) - 24, 16 * 6 + Fraction(15, 2) - 110),
        (16 * 2 + Fraction(15, 2) - 40, 16 * 12 + Fraction(15, 2) - 200),
    ]
    assert found.axes[1].off_by == (1, 1)
    assert found.worst_error == Fraction(31, 2)
    even = rfgraph.roi(report, layer, [(24, 110), (40, 200)], rounding="even")
    assert even.projected == ((2, 7), (2, 12))


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("away", [-3, -2, -1, 1, 2, 3]), ("even", [-2, -2, 0, 0, 2, 2])],
)
def test_halves_round_as_c_or_as_python_does(rounding, expected):
    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=1, stride=2)
    report = rfgraph.analyze(net)
    halves = [-5, -3, -1, 1, 3, 5]
    assert [rfgraph.roi(report, "c", [(x, x)], rounding=rounding).projected[0][0] for x in halves] == expected
    if rounding == "even":
        assert expected == [round(x / 2) for x in halves] == np.round(np.array(halves) / 2).tolist()


@given(networks(), st.data())
def test_the_exact_ends_are_the_nearest_centres(graph, data):
    report = rfgraph.analyze(graph, source="in0")
    node = data.draw(st.sampled_from([n for n in report if all(f.kind == "local" for f in report[n].field)]))
    box = boxes(data.draw, len(report.axes))
    found = rfgraph.roi(report, node, box)
    for along, field, ends in zip(found.axes, report[node].field, box, strict=True):
        centers = {y: Fraction(sum(field.interval(y)), 2) for y in range(-150, 150) if field.interval(y)}
        for index, error, end in zip(along.exact, along.exact_error, ends, strict=True):
            least = min(abs(center - end) for center in centers.values())
            assume(-120 < index < 120)
            assert abs(error) == least == abs(centers[index] - end)
            assert index == max(y for y, center in centers.items() if abs(center - end) == least)
        assert along.spatial_scale == 1 / Fraction(field.stride)


def test_the_scale_may_be_any_number():
    box = [(0, 5), (3, 9)]
    assert rfgraph.roi(plain(), "c", box, spatial_scale=0.25).projected == ((0, 1), (1, 2))
    assert rfgraph.roi(plain(), "c", box, spatial_scale=(0.25, 1)).projected == ((0, 1), (3, 9))
    for scale in (0, -1, "x", float("nan")):
        with pytest.raises(rfgraph.RFGraphError, match=r"spatial_scale .* on axis y is not a positive number"):
            rfgraph.roi(plain(), "c", box, spatial_scale=scale)
    with pytest.raises(rfgraph.RFGraphError, match=r"spatial_scale \[1\] has 1 entries, but the network has 2 axes"):
        rfgraph.roi(plain(), "c", box, spatial_scale=[1])


def test_what_has_no_projection_is_refused():
    net = Network(axes=1)
    x = net.input("x")
    net.global_avg_pool("pool", x)
    net.max_pool("same", x, kernel=3, stride=2, padding="same")
    net.constant("code")
    report = rfgraph.analyze(net)
    for node, message in [("pool", "reads the whole axis"), ("same", "is not known"), ("code", "reads nothing")]:
        with pytest.raises(rfgraph.RFGraphError, match=f"node '{node}' .*{message}"):
            rfgraph.roi(report, node, [(0, 4)])
    with pytest.raises(rfgraph.RFGraphError, match="rounding 'up' is not one of away, even"):
        rfgraph.roi(report, "x", [(0, 4)], rounding="up")


def test_a_feature_that_reads_nothing_lies_between_its_neighbours():
    net = Network(axes=1)
    net.conv_transpose("gaps", net.input("x"), kernel=1, stride=2)
    found = rfgraph.roi(rfgraph.analyze(net), "gaps", [(1, 2)], spatial_scale=Fraction(5, 2))
    assert found.projected == ((3, 5),)
    assert found.error == ((Fraction(1, 2), Fraction(1, 2)),)
    assert found.exact == ((2, 4),)
