"""Plots: where their artists stand, against numbers that are got without them."""

from __future__ import annotations

import sys
from math import log10, pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import clipped, unclipped

from rfgraph import Network, Strongest, analyze, plot
from rfgraph.cli import main
from rfgraph.errors import (
    AttributeValueError,
    LatencyError,
    MissingExtraError,
    TilingError,
    UnboundedError,
    UnknownFieldError,
)
from rfgraph.models import ACCURACIES, ARTICLE, MODELS

pytest.importorskip("matplotlib")


@pytest.fixture
def ax() -> Any:
    """Return axes of a figure that pyplot knows nothing of."""
    return fresh()


def fresh() -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots()


def of(ax: Any, gid: str) -> list[Any]:
    """Return the artists that are called so."""
    return ax.findobj(lambda artist: artist.get_gid() == gid)


def box(rectangle: Any) -> tuple[float, float, float, float]:
    """Return left, right, top and bottom of a rectangle."""
    (x, y), width, height = rectangle.get_xy(), rectangle.get_width(), rectangle.get_height()
    return x, x + width, y, y + height


def said(ax: Any) -> str:
    """Return all text of a plot."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in ax.findobj(Text))


def guide() -> Network:
    """Return the network of the guide's figures: two convolutions of kernel 3, padding 1, stride 2."""
    net = Network("guide", axes=2)
    first = net.conv("first", net.input("image"), kernel=3, padding=1, stride=2)
    net.conv("second", first, kernel=3, padding=1, stride=2)
    return net


def volumes() -> Network:
    net = Network("volumes", axes=3)
    net.conv("conv", net.input("clip"), kernel=(3, 5, 7), padding=(1, 2, 3))
    return net


def chain(kernels: list[int], axes: int = 1) -> Network:
    net = Network("chain", axes=axes)
    x = net.input("x")
    for i, kernel in enumerate(kernels):
        x = net.conv(f"conv{i}", x, kernel=kernel)
    return net


# Feature maps


@pytest.mark.parametrize(("layer", "centers"), [("first", [0.5, 2.5, 4.5]), ("second", [0.5, 4.5])])
def test_the_guides_figures(layer: str, centers: list[float], ax: Any) -> None:
    plot.feature_maps(analyze(guide(), input_size=5), layer, (0, 0), ax=ax)
    (dots,) = of(ax, "centres")
    assert dots.get_offsets().tolist() == [[x, y] for y in centers for x in centers]
    # The guide's r is 3 and 7, round 0.5; what lies in the image ends with the maps on the way.
    r = {"first": 3, "second": 7}[layer]
    assert box(of(ax, "unclipped")[0]) == (0.5 - r / 2, 0.5 + r / 2) * 2
    assert box(of(ax, "clipped")[0]) == {"first": (0, 2, 0, 2), "second": (0, 4, 0, 4)}[layer]
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left <= 0.5 - r / 2
    assert right >= 5
    assert bottom > top  # the first row is above
    (ring,) = of(ax, "chosen")
    assert (*ring.get_xdata(), *ring.get_ydata()) == (0.5, 0.5)


@settings(max_examples=25)  # each draws a picture
@given(st.lists(st.sampled_from(["conv", "stride", "up", "bilinear"]), min_size=1, max_size=4), st.integers(7, 14))
def test_features_stand_at_the_centres_that_the_oracle_counts(ops: list[str], size: int) -> None:
    net = Network("random", axes=1)
    x = net.input("x", size=size)
    for i, op in enumerate(ops):
        if op == "conv":
            x = net.conv(f"n{i}", x, kernel=3, padding=[[2, 0]])
        elif op == "stride":
            x = net.conv(f"n{i}", x, kernel=3, stride=2, padding=1)
        elif op == "up":
            x = net.conv_transpose(f"n{i}", x, kernel=3, stride=2, padding=1)
        else:
            x = net.resize(f"n{i}", x, scale=2, mode="linear")
    report, ax = analyze(net), fresh()
    count = report[x].map_size[0]
    index = count // 2
    plot.feature_maps(report, x, index, ax=ax)
    reads = [unclipped(net.graph, x, "x", 0, y) for y in range(count)]
    (dots,) = of(ax, "centres")
    assert dots.get_offsets()[:, 0].tolist() == [(min(read) + max(read) + 1) / 2 for read in reads if read]
    seen = [place for (place,) in clipped(net.graph, x, "x", (index,))]
    assert box(of(ax, "clipped")[0])[:2] == (min(seen), max(seen) + 1)


def test_three_axes_are_refused_unless_two_are_named(ax: Any) -> None:
    report = analyze(volumes(), input_size=9)
    drawn = {
        lambda *_, ax: plot.effective(report.effective_field("conv"), ax=ax),
        lambda *_, ax: plot.tiling(report.tiling(tile=8), ax=ax),
    }
    for draw in (plot.feature_maps, plot.region, plot.support, *drawn):
        with pytest.raises(AttributeValueError, match=r"axes z, y, x, and a picture two; pass axes=\('y', 'x'\)"):
            draw(report, "conv", ax=ax)
    with pytest.raises(AttributeValueError, match="are not one or two of z, y, x"):
        plot.region(report, "conv", axes=("z", "w"), ax=ax)
    plot.region(report, "conv", (0, 4, 8), axes=("x", "z"), ax=ax)  # x down, z to the right
    assert box(of(ax, "clipped")[0]) == (-0.5, 1.5, 4.5, 8.5)
    assert (ax.get_xlabel()[0], ax.get_ylabel()[0]) == ("z", "x")


def test_maps_without_a_size_and_of_too_many_features_are_refused(ax: Any) -> None:
    with pytest.raises(UnknownFieldError, match="the map of 'image' has no known size; give an input size"):
        plot.feature_maps(analyze(guide()), "second", ax=ax)
    with pytest.raises(AttributeValueError, match="has 250000 features here, more than the 131072"):
        plot.feature_maps(analyze(guide(), input_size=1000), "first", ax=ax)


# Regions


def test_a_region_is_cut_at_the_borders_and_its_field_is_not(ax: Any) -> None:
    report = analyze("zoo:vgg_16", input_size=224)
    plot.region(report, "vgg_16/pool5", (0, 6), effective=report.effective_field("vgg_16/pool5", (0, 6)), ax=ax)
    # r 212, S 32, P 90: rows -90..121, columns 102..313.
    assert box(of(ax, "unclipped")[0]) == (6 * 32 - 90.5, 6 * 32 - 90.5 + 212, -90.5, 121.5)
    assert box(of(ax, "clipped")[0]) == (101.5, 223.5, -0.5, 121.5)
    left, right, top, bottom = box(of(ax, "half")[0])
    assert 101.5 <= left < right <= 223.5
    assert -0.5 <= top < bottom <= 121.5
    outer, inner = np.split(of(ax, "outside")[0].get_path().vertices, 2)
    assert {*map(tuple, outer)} == {(x, y) for x in (-0.5, 223.5) for y in (-0.5, 223.5)}
    assert {*map(tuple, inner)} == {(x, y) for x in (101.5, 223.5) for y in (-0.5, 121.5)}
    assert "reads y 0..121, x 102..223; without borders 212x212" in said(ax)


def test_several_layers_have_a_box_each_and_no_shade(ax: Any) -> None:
    report = analyze(chain([3, 5, 7]), input_size=30)
    plot.region(report, ["conv0", "conv2"], [4, 4], ax=ax)
    boxes = [box(one) for one in of(ax, "clipped")]
    assert [ends[:2] for ends in boxes] == [(3.5, 6.5), (3.5, 4.5 + 2 + 4 + 6)]
    assert boxes[0][3] <= boxes[1][2]  # rows below one another
    assert not of(ax, "outside")
    with pytest.raises(AttributeValueError, match="index has 1 entries for 2 layers"):
        plot.region(report, ["conv0", "conv2"], [4], ax=ax)


def test_without_an_input_size_there_is_no_border(ax: Any) -> None:
    plot.region(analyze(guide()), "second", (0, 0), ax=ax)
    assert box(of(ax, "region")[0]) == (-3.5, 3.5, -3.5, 3.5)
    assert not of(ax, "clipped") + of(ax, "outside")


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3), (3, 6, 8), (6, 8, 1), (1, 6, 8), (5, 6, 8)])
def test_images_lie_under_their_pixels(shape: tuple[int, ...], ax: Any) -> None:
    net = Network("one", axes=2)
    net.conv("conv", net.input("image"), kernel=3)
    report = analyze(net, input_size=(6, 8))
    plot.region(report, "conv", (0, 0), image=np.zeros(shape), ax=ax)
    (image,) = of(ax, "image")
    assert image.get_array().shape[:2] == (6, 8)
    assert image.get_extent() == [-0.5, 7.5, 5.5, -0.5]
    with pytest.raises(AttributeValueError, match=r"image of shape \[8, 6\] is not one of 6x8"):
        plot.region(report, "conv", (0, 0), image=np.zeros((8, 6)), ax=ax)


def test_an_image_is_read_from_its_file(tmp_path: Path, ax: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    colours = np.zeros((6, 8, 3), dtype=np.uint8)
    colours[1, 5] = (255, 0, 51)
    image.fromarray(colours).save(tmp_path / "image.png")
    plot.strongest([looked(0, (0, 0), ((0, 1), (0, 1)), None)], tmp_path / "image.png", ax=ax)
    (drawn,) = of(ax, "image")
    assert np.argwhere(drawn.get_array().any(axis=-1)).tolist() == [[1, 5]]
    assert drawn.get_array()[1, 5].tolist() == pytest.approx([1, 0, 0.2])


def test_a_signal_lies_under_its_samples(ax: Any) -> None:
    plot.region(analyze(chain([3]), input_size=10), "conv0", 2, image=np.arange(10.0), ax=ax)
    (line,) = of(ax, "signal")
    assert line.get_xdata().tolist() == list(range(10))
    assert all(np.diff(line.get_ydata()) < 0)  # what is larger is drawn higher; the axis points down


def test_a_path_that_reads_a_whole_axis_is_told(ax: Any) -> None:
    net = Network("gated", axes=1)
    x = net.conv("conv", net.input("x", size=20), kernel=3, padding=1)
    net.mul("gated", x, net.sigmoid("gate", net.global_avg_pool("pool", x)))
    plot.region(analyze(net), "gated", 5, ax=ax)
    assert box(of(ax, "clipped")[0])[:2] == (-0.5, 19.5)
    assert box(of(ax, "unclipped")[0])[:2] == (3.5, 6.5)
    assert "reads t 0..19; without borders 3, where no path reads a whole axis" in said(ax)
    plot.growth(analyze(net), ax=(grown := fresh()))
    assert "r 3 at 'gated'; 2 layers without a size are left out; some path reads the whole axis besides" in said(
        grown
    ).replace("\n", " ")


def test_a_field_without_two_ends_has_no_centre(ax: Any) -> None:
    net = Network("recurrent", axes=1)
    net.recurrent("lstm", net.input("x", size=9), direction="forward")
    with pytest.raises(UnboundedError, match="layer 'lstm', axis t: its field has no centre that is known"):
        plot.feature_maps(analyze(net), "lstm", ax=ax)
    plot.region(analyze(net), "lstm", 4, ax=ax)
    assert box(of(ax, "clipped")[0])[:2] == (-0.5, 4.5)


# Support


def test_gridding_is_seen(ax: Any) -> None:
    net = Network("grid", axes=2)
    x = net.input("image")
    for i in range(3):
        x = net.conv(f"conv{i}", x, kernel=3, dilation=2)
    plot.support(analyze(net), x, ax=ax)
    marks = np.asarray(of(ax, "support")[0].get_array())
    even = np.arange(13) % 2 == 0  # sums of three even offsets of 0 to 4
    assert (marks == np.outer(even, even)).all()
    assert of(ax, "support")[0].get_extent() == [-0.5, 12.5, 12.5, -0.5]
    assert "reads 49 of 169 positions, 29.0%" in said(ax)


def test_support_of_a_phase_of_an_upsampled_map(ax: Any) -> None:
    net = Network("up", axes=1)
    net.conv_transpose("up", net.conv("conv", net.input("x"), kernel=3, dilation=3), kernel=4, stride=2, padding=1)
    report = analyze(net)
    plot.support(report, "up", (1,), ax=ax)
    read = unclipped(net.graph, "up", "x", 0, 1)
    left, right, *_ = of(ax, "support")[0].get_extent()
    assert (left, right) == (min(read) - 0.5, max(read) + 0.5)
    marks = np.asarray(of(ax, "support")[0].get_array())[0]
    assert {min(read) + int(i) for i in np.flatnonzero(marks)} == set(read)


# Merges


def test_branches_are_bars_over_pixels(ax: Any) -> None:
    net = Network("block", axes=2)
    image = net.input("image")
    net.add("add", net.conv("conv", image, kernel=3, stride=2, padding=1), net.avg_pool("pool", image, kernel=2))
    (finding,) = analyze(net, input_size=8).findings
    plot.alignment(finding, ax=ax)
    # Output y of the convolution reads 2 y - 1 to 2 y + 1, that of the pool 2 y and 2 y + 1.
    assert [box(bar)[:2] for bar in of(ax, "reference")] == [(2 * y - 1.5, 2 * y + 1.5) for y in range(3)]
    assert [box(bar)[:2] for bar in of(ax, "branch")] == [(2 * y - 0.5, 2 * y + 1.5) for y in range(3)]
    assert [line.get_xdata()[0] for line in of(ax, "branch centre")] == [2 * y + 0.5 for y in range(3)]
    assert [(arrow.xyann[0], arrow.xy[0]) for arrow in of(ax, "offset")] == [(2 * y, 2 * y + 0.5) for y in range(3)]
    assert "centres are off by +0.5 input pixels, +0.25 of the merge's own" in said(ax)


def test_jitter_shows_each_phase_and_its_own_offset(ax: Any) -> None:
    net = Network("jitter", axes=1)
    down = net.conv("down", net.input("x"), kernel=1)
    up = net.conv_transpose("up", net.max_pool("pool", down, kernel=2), kernel=2, stride=2)
    net.add("add", up, down)
    (finding,) = analyze(net).findings
    assert finding.rule == "RF003"
    plot.alignment(finding, ax=ax)
    # Outputs 0 and 1 read pixels 0 and 1 through the pool, and their own pixel through the shortcut.
    assert [box(bar)[:2] for bar in of(ax, "reference")] == [(-0.5, 1.5), (-0.5, 1.5), (1.5, 3.5)]
    assert [arrow.xy[0] - arrow.xyann[0] for arrow in of(ax, "offset")] == [-0.5, 0.5, -0.5]


def test_only_two_branches_are_drawn(ax: Any) -> None:
    (finding,) = analyze("zoo:xception").findings[:1]
    assert finding.rule == "RF005"
    with pytest.raises(AttributeValueError, match="a finding RF005 is of no two branches"):
        plot.alignment(finding, ax=ax)


# Layers


def test_growth_is_the_papers_recurrence(ax: Any) -> None:
    net = Network("chain", axes=2)
    x, r, jump, expected = net.input("image"), 1, 1, [1]
    for i, (kernel, stride) in enumerate([(3, 1), (3, 2), (5, 1), (3, 2), (3, 1)]):
        x = net.conv(f"conv{i}", x, kernel=kernel, stride=stride, padding=kernel // 2)
        r, jump = r + (kernel - 1) * jump, jump * stride
        expected.append(r)
    plot.growth(analyze(net, input_size=16), ax=ax)
    (line,) = of(ax, "widest")
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == (list(range(6)), expected)
    (image,) = of(ax, "image")
    assert set(image.get_ydata()) == {16}
    # Of the inputs of the convolutions only that of the last exceeds the image.
    assert expected == [1, 3, 5, 13, 17, 25]
    assert of(ax, "unproductive")[0].get_offsets().tolist() == [[5, expected[-1]]]
    strides = [(text.get_text(), text.xy[0]) for text in of(ax, "stride") if hasattr(text, "xyann")]
    assert strides == [("S 1", -0.5), ("2", 1.5), ("4", 3.5)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["image", *(f"conv{i}" for i in range(5))]


def test_growth_follows_the_widest_path_and_shows_what_lies_beside_it(ax: Any) -> None:
    net = Network("block", axes=1)
    x = net.input("x")
    net.add("add", net.conv("wide", net.conv("c", x, kernel=3), kernel=5), net.conv("narrow", x, kernel=1))
    plot.growth(analyze(net), ax=ax)
    order = list(analyze(net))
    assert of(ax, "widest")[0].get_xdata().tolist() == [order.index(name) for name in ("x", "c", "wide", "add")]
    assert of(ax, "widest")[0].get_ydata().tolist() == [1, 3, 7, 7]
    assert of(ax, "beside")[0].get_offsets().tolist() == [[order.index("narrow"), 1]]
    assert not of(ax, "image")


def test_axes_that_grow_alike_share_a_line(ax: Any) -> None:
    plot.growth(analyze(volumes(), input_size=9), ax=ax)
    assert [line.get_ydata().tolist() for line in of(ax, "widest")] == [[1, 3], [1, 5], [1, 7]]
    plot.growth(analyze(chain([3, 3], axes=3)), ax=(both := fresh()))
    assert len(of(both, "widest")) == 1


def test_latency_is_a_timeline(ax: Any) -> None:
    net = Network("stream", axes=1)
    x = net.conv("causal", net.input("x"), kernel=3, padding=[[2, 0]])
    x = net.conv("hop", x, kernel=4, stride=4)
    net.conv("ahead", x, kernel=3, padding=1)
    plot.latency(analyze(net), ax=ax)
    # causal reads -2..0; hop of 4 more, -2..3; ahead one more hop on both sides, -6..7.
    assert [box(bar)[:2] for bar in of(ax, "past")] == [(0, 0), (-2, 0), (-2, 0), (-6, 0)]
    assert [box(bar)[:2] for bar in of(ax, "ahead")] == [(0, 3), (0, 7)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "causal", "hop", "ahead"]
    assert set(of(ax, "hop")[0].get_xdata()) == {4}
    assert "latency 8 samples" in said(ax)
    plot.latency(analyze(net), sample_rate=1000, chunk=8, ax=(timed := fresh()))
    assert [box(bar)[:2] for bar in of(timed, "ahead")] == [(0, 3.0), (0, 7.0)]
    assert "latency 15 samples (15 ms)" in said(timed)


def test_what_cannot_be_streamed_is_not_drawn(ax: Any) -> None:
    net = Network("whole", axes=1)
    x = net.input("x")
    net.mul("gated", x, net.sigmoid("gate", net.global_avg_pool("pool", x)))
    with pytest.raises(LatencyError, match="'gated' cannot be streamed: node 'pool'"):
        plot.latency(analyze(net), ax=ax)


# Effective fields


def test_an_effective_field_is_a_convolution_of_boxes_beside_its_gaussian(ax: Any) -> None:
    field = analyze(chain([3] * 8), input_size=40).effective_field("conv7")
    plot.effective(field, ax=ax)
    shares = np.ones(1)
    for _ in range(8):
        shares = np.convolve(shares, np.full(3, 1 / 3))
    np.testing.assert_allclose(of(ax, "shares")[0].get_ydata(), shares, rtol=1e-9)
    center = 12 + 8  # the middle of 24 features, and 8 pixels of each side
    assert of(ax, "shares")[0].get_xdata().tolist() == list(range(center - 8, center + 9))
    std = sqrt(8 * (3**2 - 1) / 12)
    (gaussian,) = of(ax, "gaussian")
    expected = np.exp(-(((gaussian.get_xdata() - center) / std) ** 2) / 2) / (std * sqrt(2 * pi))
    np.testing.assert_allclose(gaussian.get_ydata(), expected, rtol=1e-9)


def test_a_heat_map_has_its_sums_beside_it(ax: Any) -> None:
    net = Network("oblong", axes=2)
    net.conv("second", net.conv("first", net.input("x"), kernel=(3, 5)), kernel=(3, 5))
    field = analyze(net, input_size=20).effective_field("second")
    plot.effective(field, ax=ax)
    down = np.convolve(np.full(3, 1 / 3), np.full(3, 1 / 3))
    across = np.convolve(np.full(5, 1 / 5), np.full(5, 1 / 5))
    heat = of(ax, "heat")[0]
    np.testing.assert_allclose(heat.get_array(), np.outer(down, across) / down.max() / across.max(), atol=1e-12)
    assert heat.get_extent() == [5.5, 14.5, 12.5, 7.5]  # feature (8, 6): rows 8..12, columns 6..14
    above, beside, *_ = ax.child_axes
    np.testing.assert_allclose(of(above, "shares")[0].get_ydata(), across)
    np.testing.assert_allclose(of(beside, "shares")[0].get_xdata(), down)
    (ring,) = of(ax, "two deviations")
    assert ring.center == pytest.approx((10, 10))
    sides = sorted((ring.width, ring.height))
    assert sides == pytest.approx([4 * sqrt(2 * (9 - 1) / 12), 4 * sqrt(2 * (25 - 1) / 12)])
    # The ring is longer along x.
    assert (ring.width > ring.height) == (abs(ring.angle) % 180 < 45)


def test_axes_are_drawn_in_the_order_that_is_asked_for(ax: Any) -> None:
    net = Network("volumes", axes=3)
    net.conv("conv", net.input("clip"), kernel=(2, 3, 5))
    report = analyze(net, input_size=(6, 8, 10))
    plot.effective(report.effective_field("conv", (0, 1, 2)), axes=("x", "z"), ax=ax)
    assert of(ax, "heat")[0].get_array().shape == (5, 2)
    assert of(ax, "heat")[0].get_extent() == [-0.5, 1.5, 6.5, 1.5]
    above, beside, *_ = ax.child_axes
    assert of(above, "shares")[0].get_ydata() == pytest.approx([1 / 2] * 2)
    assert of(beside, "shares")[0].get_xdata() == pytest.approx([1 / 5] * 5)
    assert "summed over y" in said(ax)
    ring = of(ax, "two deviations")[0]
    assert ring.center == pytest.approx((0.5, 4))
    plot.support(report, "conv", axes=("x", "z"), ax=(shown := fresh()))
    assert of(shown, "support")[0].get_extent() == [-0.5, 1.5, 4.5, -0.5]
    assert of(shown, "support")[0].get_array().shape == (5, 2)
    plot.tiling(report.tiling(tile=(6, 8, 7)), axes=("x", "y"), ax=(tiled := fresh()))
    assert {box(tile) for tile in of(tiled, "tile")} == {(-0.5, 7.5, -0.5, 6.5), (-0.5, 7.5, 2.5, 9.5)}
    plot.feature_maps(report, "conv", axes=("x", "y"), ax=(mapped := fresh()))
    places = {tuple(place) for place in of(mapped, "centres")[0].get_offsets().tolist()}
    assert places == {(y + 1.5, x + 2.5) for y in range(6) for x in range(6)}


def test_measurement_stands_beside_theory(ax: Any) -> None:
    from rfgraph.measure import MeasuredField

    theory = analyze(chain([3, 3]), input_size=9).effective_field("conv1")
    measured = np.array([0.0, 2.0, 6.0, 2.0, 0.0])
    field = MeasuredField(
        "conv1", theory.index, ("t",), "E[g^2]", theory.first, measured, (5,), True, error=np.ones(5), samples=4,
        theory=theory,
    )  # fmt: skip
    plot.effective(field, ax=ax)
    np.testing.assert_allclose(of(ax, "shares")[0].get_ydata(), measured / 10)
    np.testing.assert_allclose(of(ax, "theory")[0].get_ydata(), np.array([1, 2, 3, 2, 1]) / 9)
    band = of(ax, "error")[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.7)
    assert "measured" in said(ax)
    assert "4 samples" in said(ax)


# Paths, tiles, accuracies


def test_paths_are_a_histogram_of_shares(ax: Any) -> None:
    net = Network("blocks", axes=1)
    x = net.input("x")
    for i in range(6):
        x = net.add(f"add{i}", net.conv(f"conv{i}", x, kernel=3, padding=1), x)
    plot.paths(analyze(net, input_size=12), x, ax=ax)
    bars = of(ax, "paths")
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx([1 + 2 * k for k in range(7)])
    binomial = [1, 6, 15, 20, 15, 6, 1]
    assert [bar.get_height() for bar in bars] == pytest.approx([100 * share / 64 for share in binomial])
    assert all(bar.get_width() < 2 for bar in bars)
    assert set(of(ax, "r")[0].get_xdata()) == {13}
    assert set(of(ax, "image")[0].get_xdata()) == {12}
    assert "64 paths from 'x'" in said(ax)


def test_many_sizes_are_lines(ax: Any) -> None:
    net = Network("blocks", axes=1)
    x = net.input("x")
    for i in range(9):
        x = net.add(f"add{i}", x, net.conv(f"conv{i}", x, kernel=3, dilation=2**i))
    plot.paths(analyze(net), x, ax=ax)
    (lines,) = of(ax, "paths")
    assert [line[:, 0].tolist() for line in lines.get_segments()] == [[1 + 2 * k] * 2 for k in range(2**9)]
    assert {round(float(line[1, 1]), 6) for line in lines.get_segments()} == {round(100 / 2**9, 6)}


def test_more_paths_than_floats_hold(ax: Any) -> None:
    net = Network("blocks", axes=1)
    x = net.input("x")
    for i in range(1100):
        x = net.add(f"add{i}", x, x)
    plot.paths(analyze(net), x, ax=ax)
    assert [bar.get_height() for bar in of(ax, "paths")] == [100]
    assert "2^1100 paths" in said(ax)


def test_tiles_lie_on_the_image(ax: Any) -> None:
    net = Network("blur", axes=2)
    net.conv("conv", net.input("image"), kernel=3, padding=1)
    plot.tiling(analyze(net, input_size=(10, 8)).tiling(tile=(6, 8)), ax=ax)
    # Rows 0..5 and 4..9, of which each keeps all but the row next to the other.
    assert [box(tile) for tile in of(ax, "tile")] == [(-0.5, 7.5, -0.5, 5.5), (-0.5, 7.5, 3.5, 9.5)]
    assert [box(kept) for kept in of(ax, "kept")] == [(-0.5, 7.5, -0.5, 4.5), (-0.5, 7.5, 4.5, 9.5)]
    assert "halo 1+1x0+0 outputs" not in said(ax)
    assert "2 tiles of 6x8 on 10x8" in said(ax)


def test_outputs_stand_at_the_centres_of_their_fields(ax: Any) -> None:
    report = analyze(chain([5]), input_size=12)
    plan = report.tiling(tile=8)
    plot.tiling(plan, report, ax=ax)
    # Output y reads y..y+4: it stands at pixel y + 2.
    assert [box(kept)[:2] for kept in of(ax, "kept")] == [
        (tile.kept_start + 1.5, tile.kept_stop + 1.5) for tile in plan.axes[0].tiles
    ]
    assert min(box(kept)[0] for kept in of(ax, "kept")) == 1.5
    assert max(box(kept)[1] for kept in of(ax, "kept")) == 9.5


def test_a_plan_without_tiles_is_refused(ax: Any) -> None:
    with pytest.raises(TilingError, match="a plan without an image has no tiles"):
        plot.tiling(analyze(chain([3])).tiling(), ax=ax)
    net = Network("whole", axes=1)
    x = net.input("x", size=20)
    net.mul("gated", x, net.sigmoid("gate", net.global_avg_pool("pool", x)))
    with pytest.raises(TilingError, match="'gated' cannot be tiled exactly: node 'pool'"):
        plot.tiling(analyze(net).tiling(), ax=ax)


def test_the_articles_plot(ax: Any) -> None:
    plot.accuracy(ax=ax)
    (dots,) = of(ax, "plotted")
    (others,) = of(ax, "others")
    points = {(int(r), round(top1, 6)) for r, top1 in (*dots.get_offsets(), *others.get_offsets())}
    assert points == {(MODELS[name].published.size, float(100 * said.top1)) for name, said in ACCURACIES.items()}
    assert ax.get_xscale() == "log"
    # The line of least squares, worked out by numpy.
    sizes = [log10(MODELS[name].published.size) for name in ARTICLE]
    slope, at_1 = np.polyfit(sizes, [float(100 * ACCURACIES[name].top1) for name in ARTICLE], 1)
    (line,) = of(ax, "article")
    np.testing.assert_allclose(line.get_ydata(), at_1 + slope * np.log10(line.get_xdata()))
    assert slope == pytest.approx(13.4, abs=0.05)
    # The area goes with multiply-accumulates: 15.3e9 of VGG-16 (fc layers left out here), 0.569e9 of MobileNet.
    areas = {int(r): area for (r, _), area in zip(dots.get_offsets(), dots.get_sizes(), strict=True)}
    ratio = areas[212] / areas[315]
    assert 15.3 / 0.569 * 0.95 < ratio < 15.5 / 0.567
    assert {text.get_text() for text in of(ax, "name")} == set(ACCURACIES)


def test_names_of_the_articles_plot_do_not_hide_one_another() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 5.4))
    ax = plot.accuracy(ax=figure.subplots())
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in of(ax, "name")]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i])
        assert ax.get_window_extent().contains(one.x1, one.y0)


# Strongest features, files


def looked(channel: int, index: tuple[int, int], sees: Any, half: Any) -> Strongest:
    return Strongest(channel, index, 1.0, sees, half)


def test_where_features_looked(ax: Any) -> None:
    found = [looked(3, (1, 2), ((0, 9), (10, 29)), ((4, 5), (18, 21))), looked(0, (0, 0), None, None)]
    plot.strongest(found, np.zeros((3, 20, 40)), ax=ax)
    assert [box(one) for one in of(ax, "sees")] == [(9.5, 29.5, -0.5, 9.5)]
    assert [box(one) for one in of(ax, "half")] == [(17.5, 21.5, 3.5, 5.5)]
    assert of(ax, "image")[0].get_extent() == [-0.5, 39.5, 19.5, -0.5]
    assert "1: channel 3 at 1, 2" in said(ax)
    with pytest.raises(AttributeValueError, match="there are no features to draw"):
        plot.strongest([], np.zeros((3, 20, 40)), ax=ax)


def pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_commands_draw_into_png_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    path = tmp_path / "map.png"
    assert main(["field", "zoo:vgg_16", "vgg_16/pool2", "--input-size", "224x224", "-o", str(path)]) == 0
    # The brightest cell of the heat map lies in the middle of what is drawn in its colours.
    shown = pixels(path)
    dark = np.argwhere(np.abs(shown - [68, 1, 84]).sum(axis=2) < 12)
    bright = np.argwhere(np.abs(shown - [253, 231, 37]).sum(axis=2) < 12)
    heat = bright[bright[:, 1] < dark[:, 1].mean() + np.ptp(dark[:, 1]) / 4]
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)
    assert heat[:, 0].mean() == pytest.approx((top + bottom) / 2, abs=0.06 * (bottom - top))
    assert left < heat[:, 1].mean() < right
    # Where a feature looked is a box of its own size on the image.
    found = [looked(0, (0, 0), ((0, 19), (0, 9)), None)]
    monkeypatch.setattr("rfgraph.measure.strongest", lambda *arguments: found)
    np.save(tmp_path / "image.npy", np.ones((3, 40, 40)))
    path = tmp_path / "overlay.png"
    assert main(["strongest", "model.onnx", str(tmp_path / "image.npy"), "conv", "-o", str(path)]) == 0
    blue = np.argwhere(np.abs(pixels(path) - [0, 114, 178]).sum(axis=2) < 12)
    rows, columns = np.unique(blue[:, 0], return_counts=True), np.unique(blue[:, 1], return_counts=True)
    tall, wide = columns[1].max(), rows[1].max()
    assert tall / wide == pytest.approx(2, abs=0.1)


# All of them


def test_a_name_is_no_formula_and_control_characters_are_escaped(ax: Any) -> None:
    net = Network("net", axes=1)
    net.conv("_$\\frac\x1b", net.input("x$"), kernel=3)  # an error, were it one
    report = analyze(net, input_size=9)
    plots: list[Any] = []
    for draw in (
        lambda ax: plot.feature_maps(report, "_$\\frac\x1b", ax=ax),
        lambda ax: plot.region(report, ["_$\\frac\x1b", "x$"], ax=ax),
        lambda ax: plot.support(report, "_$\\frac\x1b", ax=ax),
        lambda ax: plot.growth(report, ax=ax),
        lambda ax: plot.latency(report, ax=ax),
        lambda ax: plot.paths(report, "_$\\frac\x1b", ax=ax),
        lambda ax: plot.effective(report.effective_field("_$\\frac\x1b"), ax=ax),
        lambda ax: plot.tiling(report.tiling(), ax=ax),
    ):
        plots.append(draw(fresh()))
        plots[-1].get_figure().draw_without_rendering()
        assert "\x1b" not in said(plots[-1])
    assert all("\\x1b" in said(ax) for ax in plots)


def test_axes_that_are_given_are_returned_and_pyplot_is_left_alone(ax: Any) -> None:
    from matplotlib import pyplot

    pyplot.close("all")
    report = analyze(guide(), input_size=5)
    assert plot.region(report, "second", ax=ax) is ax
    assert plot.effective(report.effective_field("second"), ax=ax) is ax
    assert pyplot.get_fignums() == []
    own = plot.region(report, "second")
    assert pyplot.get_fignums() == [own.get_figure().number]
    pyplot.close("all")


def test_subfigures_do_too() -> None:
    from matplotlib.figure import Figure

    report = analyze(guide(), input_size=5)
    whole = Figure(figsize=(12, 5))
    left, right = whole.subfigures(1, 2)
    plot.effective(report.effective_field("second"), ax=left.subplots())
    plot.region(report, "second", (0, 0), ax=(ax := right.subplots()))
    whole.draw_without_rendering()
    assert box(of(ax, "clipped")[0]) == (-0.5, 3.5, -0.5, 3.5)
    plot.accuracy(ax=whole.subfigures(1, 1).subplots())


def test_without_matplotlib_a_plot_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name.startswith("matplotlib"):
                raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Gone(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"a plot needs matplotlib: pip install 'rfgraph\[plot\]'"):
        plot.growth(analyze(guide()))
