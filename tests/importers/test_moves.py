"""Moves of elements between convolutions: flips, gathers, stacks, slice assignments, frames; against gradients."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import evaluate
from test_lowering import ROWS, Net, check, check_tensors, kinds, position

import rfgraph
from rfgraph.errors import ModelFileError, UnboundedError
from rfgraph.importers import program as p
from rfgraph.importers.lowering.invariants import settle
from rfgraph.importers.lowering.layout import Layout
from rfgraph.importers.lowering.lower import layout_of, lower, place_all
from rfgraph.importers.lowering.maps import BESIDE, LoweringBuilder
from rfgraph.importers.program.dimensions import symbol


def take(net, x, dim, rows):
    return net(p.Take(dim=dim), x, net.build.constant(np.asarray(rows).tolist()))


def slice_(net, x, dim, start=None, stop=None, step=1):
    return net(p.Slice(dims=(dim,), starts=(start,), stops=(stop,), steps=(step,)), x)


def test_channels_in_another_order_are_channels():
    net = Net((1, 3, 16, 16))
    x = net.conv(take(net, net.x, 1, [2, 1, 0]), stride=2)
    graph, report = check(net.build.program([x]))
    assert report[list(graph)[-1]].map_size == (8, 8)
    assert (report[list(graph)[-1]].size, report[list(graph)[-1]].stride) == ((3, 3), (2, 2))


@pytest.mark.parametrize("rows", [[3, 2, 1, 0], [2, 0, 3, 1, 1], [0, 2, 1], [-4, -1, 1], [2, 2, 2]], ids=str)
def test_rows_in_another_order_are_a_table(rows):
    net = Net((1, 2, 4, 6))
    x = net.conv(take(net, net.conv(net.x), 2, rows))
    graph, report = check(net.build.program([x]), bound=ROWS)
    assert "gather" in kinds(graph)
    assert report[list(graph)[-1]].status == "bound"


@st.composite
def repeated_rows(draw):
    """Draw a size, and rows of it that a padding, a nearest resize or neither makes: the op, and they."""
    n, m = draw(st.integers(2, 6)), draw(st.integers(2, 14))
    ratio = Fraction(n, m)
    kind = draw(
        st.sampled_from(["edge", "reflect", "symmetric", "wrap", "floor", "middle", "corners", "tiles", "frames"])
    )
    before, after = draw(st.integers(0, n + 1)), draw(st.integers(0, n + 1))
    match kind:
        case "floor":
            rows = [floor(y * ratio) for y in range(m)]
        case "middle":
            rows = [floor((y + Fraction(1, 2)) * ratio) for y in range(m)]
        case "corners":
            rows = [floor(y * Fraction(n - 1, m - 1) + Fraction(1, 2)) for y in range(m)]
        case "tiles":
            rows = [*range(n)] * draw(st.integers(2, 3))
        case "frames":
            rows = [start + k for start in range(n - 1) for k in (0, 1)]
        case _:
            rows = np.pad(np.arange(n), (before, after), mode=kind).tolist()
    if kind in ("floor", "middle", "corners"):
        made = "resize"
    else:
        once = {"reflect": n - 1, "symmetric": n, "wrap": n}.get(kind, 2 * n)
        made = "pad" if kind not in ("tiles", "frames") and max(before, after) <= once else ""
    frames = [[hop * (i // k) + i % k for i in range(len(rows))] for k in range(2, len(rows)) for hop in range(1, k)]
    if made == "resize" and rows in frames:
        made = ""  # frames that overlap, one after the other, are no resize
    return n, [row - n if draw(st.booleans()) else row for row in rows], made if rows != [*range(n)] else ""


@settings(max_examples=60)
@given(repeated_rows())
def test_rows_repeated_as_a_resize_or_padding_repeats_them_are_one(drawn):
    n, rows, made = drawn
    net = Net((1, 1, n, 3))
    program = net.program(net.relu(take(net, net.conv(net.x, channels=1), 2, rows)))
    graph, report, compared = check_tensors(program, layout_of(program), (2, 3), exact=True)
    assert compared == 4
    if made:
        assert report[list(graph)[-1]].status == "exact"
        assert {made, "pad", "slice"} & set(kinds(graph))


def test_a_flip_is_a_table():
    net = Net((1, 2, 4, 6))
    x = net.conv(slice_(net, net.conv(net.x), 3, step=-1))
    graph, report = check(net.build.program([x]), bound=ROWS)
    assert kinds(graph) == ["input", "conv", "gather", "conv"]
    assert report.region("slide2", (2, 0)).box == ((0, 3), (3, 5))


def unshuffled(net, x):
    """Positions of blocks of 2 x 2 before the channels, by moves alone."""
    n, c, height, width = x.shape
    cut = net.reshape(x, n, c, height // 2, 2, width // 2, 2)
    return net.reshape(net.transpose(cut, 0, 1, 3, 5, 2, 4), n, 4 * c, height // 2, width // 2)


KEEPS_CHANNELS_APART = {
    "one group each": lambda net, x: sliding(net, x, 3, 4, 4),
    "two groups": lambda net, x: sliding(net, x, 1, 2, 4),
    "transposed": lambda net, x: transposed(net, x, 4, (2, 2)),
    "pad": lambda net, x: net(p.Pad(amounts=((0, 0), (0, 0), (1, 1), (1, 1))), x),
    "reflect": lambda net, x: net(p.Pad(amounts=((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect"), x),
}


@pytest.mark.parametrize("apart", KEEPS_CHANNELS_APART)
@pytest.mark.parametrize("channel", [1, [3, 0]], ids=["one", "two"])
def test_of_positions_that_lie_among_channels_a_channel_reads_some(apart, channel):
    """Each channel still holds one pixel of the block, so that of one alone its map tells a bound."""
    net = Net((1, 1, 8, 12))
    x = KEEPS_CHANNELS_APART[apart](net, unshuffled(net, net.x))
    x = take(net, x, 1, channel)
    x = net(p.Unsqueeze(dims=(1,)), x) if channel == 1 else x
    program = net.program(sliding(net, x, 3, 1, 2))
    check_moves(program, layout_of(program))
    graph = lower(program)
    report = rfgraph.analyze(graph)
    assert report[list(graph)[-1]].status == "bound"
    assert report[list(graph)[1]].status == "exact"  # all channels together read the whole block


def test_positions_that_lie_beside_what_is_not_known_are_not_known():
    net = Net((1, 2, 4, 6))
    frames = take(net, net.conv(net.x), 2, [[0, 1], [1, 2], [2, 3]])  # [1, 4, 3, 2, 6]
    frames = net.reshape(net.transpose(frames, 0, 2, 3, 4, 1), 1, 3, 2, 24)
    both = net.concat(1, sliding(net, frames, 3, 1, 3), frames)  # over rows of a frame, which lie apart no more
    program = net.program(net.conv(net(p.SpaceToDepth(channel=1, dims=(2, 3), blocks=(2, 2)), both)))
    report = rfgraph.analyze(lower(program))
    assert report[next(iter(report.outputs))].status == "unknown"
    check_moves(program, layout_of(program))


def test_what_is_taken_of_padded_channels_may_read_nothing():
    net = Net((1, 1, 4, 3))
    token = take(net, net.reshape(net.conv(net.x, channels=2), 1, 2, 12), 2, [1])  # one position, and no axis
    padded = net(p.Pad(amounts=((0, 0), (0, 0), (0, 2))), token)
    program = net.program(slice_(net, padded, 2, 1, 3, 2))
    check_moves(program, layout_of(program))


def test_channels_padded_together_with_positions_read_nothing():
    net = Net((1, 1, 4, 6))
    x = net(p.Pad(amounts=((0, 0), (0, 2), (1, 1), (0, 0))), net.conv(net.x, channels=2))
    program = net.program(net.conv(slice_(net, x, 1, 2, 4)))
    check_moves(program, layout_of(program))
    graph = lower(program)
    assert [rfgraph.analyze(graph)[node].status for node in list(graph)[-2:]] == ["bound", "bound"]


def test_elements_repeated_at_the_ends_of_channels_and_positions_in_one_dimension_are_not_followed():
    net = Net((1, 1, 4, 6))
    x = net.reshape(net.conv(net.x, channels=2), 1, 2 * 24)
    for mode, status in [("constant", "exact"), ("edge", "unknown")]:
        graph = lower(net.program(net(p.Pad(amounts=((0, 0), (1, 1)), mode=mode), x)))
        assert rfgraph.analyze(graph)[list(graph)[-1]].status == status


def test_tokens_turned_round_turn_both_axes():
    net = Net((1, 2, 4, 6))
    tokens = slice_(net, net.reshape(net.conv(net.x), 1, 4, 24), 2, step=-1)
    x = net.conv(net.reshape(tokens, 1, 4, 4, 6))
    check(net.build.program([x]), bound=ROWS)


def test_tokens_in_no_order_are_unknown():
    net = Net((1, 2, 4, 6))
    order = np.random.default_rng(0).permutation(24)
    tokens = take(net, net.reshape(net.conv(net.x), 1, 4, 24), 2, order)
    x = net.conv(net.reshape(tokens, 1, 4, 4, 6))
    program = net.build.program([x])
    report = rfgraph.analyze(lower(program, spatial={"x": (2, 3)}))
    assert report["take2"].status == report["slide4"].status == "unknown"
    assert "in an order that is no window's" in report["take2"].why


def test_rows_taken_apart_and_stacked_are_the_map():
    net = Net((1, 2, 4, 6))
    x = net.conv(net.x)
    rows = [net(p.Unsqueeze(dims=(2,)), take(net, x, 2, i)) for i in range(4)]
    x = net.conv(net(p.Concat(dim=2), *rows))
    graph = lower(net.build.program([x]))
    assert kinds(graph) == ["input", "conv", "conv"]
    check(net.build.program([x]))


def test_pixels_of_patches_in_another_order_are_patches():
    net = Net((1, 2, 4, 6))
    x = net.transpose(net.reshape(net.x, 1, 2, 2, 2, 3, 2), 0, 2, 4, 1, 3, 5)
    x = take(net, net.reshape(x, 6, 2, 4), 2, [2, 0, 3, 1])
    x = net.transpose(net.reshape(x, 1, 2, 3, 8), 0, 3, 1, 2)
    x = net.conv(net.conv(x, kernel=1, padding=0))
    program = net.build.program([x])
    found = layout_of(program)
    assert found.views["x"] == Layout.given(program, {"x": (2, 3)}).views["x"]
    last = list(lower(program))[-1]
    layer = rfgraph.analyze(lower(program))[last]
    assert (layer.map_size, layer.size, layer.stride, layer.status) == ((2, 3), (6, 6), (2, 2), "exact")


def frames(net, x, size, hop, kernel):
    return take(net, x, 2, hop * np.arange((size - kernel) // hop + 1)[:, None] + np.arange(kernel))


@pytest.mark.parametrize(("hop", "kernel"), [(2, 4), (1, 3), (3, 2), (4, 4)])
def test_frames_are_windows(hop, kernel):
    net = Net((1, 1, 20))
    framed = frames(net, net.x, 20, hop, kernel)
    x = net.conv(net.transpose(net.reshape(framed, 1, -(-(20 - kernel + 1) // hop), kernel), 0, 2, 1), dims=(2,))
    program = net.build.program([x])
    check_tensors(program, layout_of(program), (2,), exact=False)
    report = rfgraph.analyze(lower(program))
    layer = report["slide3"]
    assert (layer.size, layer.stride) == ((kernel + 2 * hop,), (hop,))


def test_an_axis_that_frames_lay_beside_another_is_not_lost():
    """Frames along x, merged with y into one dimension that a convolution slides over: x is an axis as y is."""
    net = Net((1, 1, 3, 5))
    framed = take(net, net.x, 3, [[0, 1], [3, 4]])
    program = net.build.program([net.conv(net.reshape(framed, 1, 1, 6, 2))])
    found = layout_of(program)
    assert found.views["x"] == Layout.given(program, {"x": (2, 3)}).views["x"]
    check_moves(program, found)


def test_an_axis_whose_halves_lie_in_two_dimensions_is_whole():
    net = Net((1, 1, 3, 4))
    program = net.build.program([net.conv(net.reshape(net.x, 1, 1, 6, 2))])
    found = layout_of(program)
    assert found.views["x"] == Layout.given(program, {"x": (2, 3)}).views["x"]
    check_moves(program, found)


def test_an_axis_of_which_a_part_was_taken_twice_is_whole():
    """Half of the rows, the first of them twice: no part of the dimension is as large, so all of it is the axis."""
    net = Net((1, 2, 4, 3))
    halves = net.reshape(net.transpose(net.reshape(net.x, 1, 2, 2, 2, 3), 0, 4, 2, 3, 1), 1, 6, 2, 2)
    program = net.build.program([net.conv(take(net, halves, 2, [0, 0, 1]))])
    found = layout_of(program)
    assert found.views["x"] == Layout.given(program, {"x": (1, 2)}).views["x"]
    check_moves(program, found)


def test_rows_that_a_product_over_channels_leaves_alone_stay_apart():
    net = Net((1, 2, 3, 5))
    row = net.build.weight((3, 1), "row", lambda: np.array([[1], [0], [1]]))
    x = net(p.Pointwise(function="mul"), net.conv(net.x, dims=(3,), channels=2), row)
    product = p.Contract(operands=(tuple("bcst"), tuple("oc")), output=tuple("bost"))
    x = net(product, x, net.build.weight((2, 2)))
    silent = net(p.Slice(dims=(2,), starts=(1,), stops=(2,), steps=(1,)), x)
    program = net.build.program([silent])
    check_moves(program, layout_of(program))


def test_positions_beside_the_channels_that_a_convolution_mixes_stay_apart():
    """The rows that are taken lie in a dimension of their own, which a window of one position leaves alone."""
    net = Net((1, 1, 6, 3))
    rows = net(p.Take(dim=2), net.x, net.build.constant(np.array([[0, 1], [3, 4]], dtype=object)))
    x = net(p.Reduce(function="sum", dims=(4,), keepdims=False), rows)
    x = net(p.Reduce(function="sum", dims=(1,), keepdims=False), net.conv(x, 1, 1, 0, 2))
    program = net.build.program([net.reshape(x, 1, 4)])
    check_moves(program, layout_of(program))


def test_constants_between_positions_are_positions():
    """Every second row and column of zeros is written: what lies between is no channel that reads the same."""
    net = Net((1, 2, 5, 6))
    x = net.conv(net.x)
    for d, size in ((2, 5), (3, 6)):
        both = net(p.Concat(dim=d), net.weight(*x.shape), x)
        x = take(net, both, d, [size + row if row % 2 == 0 else row for row in range(size)])
    program = net.build.program([net.conv(x)])
    check(program, bound=ROWS)


def test_a_map_and_its_transpose_before_any_window_are_unknown():
    net = Net((1, 2, 5, 5))
    program = net.build.program([net.conv(net.add(net.x, net.transpose(net.x, 0, 1, 3, 2)))])
    graph = lower(program)
    assert rfgraph.analyze(graph)[list(graph)[-1]].status == "unknown"
    assert "which dimensions of the input carry the axes" in graph.nodes["pointwise1"]["why"]


def test_a_window_over_positions_of_two_axes_in_a_row_is_a_bound():
    net = Net((1, 2, 4, 6))
    program = net.build.program([net.conv(net.reshape(net.conv(net.x), 1, 4, 8, 3))])
    graph = lower(program)
    assert rfgraph.analyze(graph)[list(graph)[-1]].status == "bound"


def test_frames_of_shifted_blocks_are_windows():
    net = Net((1, 1, 24))
    blocks = [net.reshape(slice_(net, net.x, 2, start, start + 20), 1, 5, 4) for start in (0, 4)]
    x = net(p.Concat(dim=2), *blocks)
    x = net.conv(net.transpose(x, 0, 2, 1), kernel=1, padding=0, dims=(2,))
    report = rfgraph.analyze(lower(net.build.program([x])))
    assert not report.findings
    assert (report["slide6"].size, report["slide6"].stride) == ((8,), (4,))


def test_shifted_slices_beside_each_other_are_a_window():
    net = Net((1, 2, 4, 6))
    x = net.conv(net.x)
    both = net.concat(1, slice_(net, x, 2, 0, 3), slice_(net, x, 2, 1, 4))
    program = net.build.program([net.conv(both)])
    _, report = check(program)
    assert kinds(lower(program)) == ["input", "conv", "max_pool", "conv"]
    assert report["slide4"].size == (6, 5)


def test_channels_that_hold_positions_are_a_bound_once_they_are_laid_out():
    net = Net((1, 2, 4, 6))
    x = net(p.SpaceToDepth(channel=1, dims=(2, 3), blocks=(2, 2)), net.conv(net.x))
    grouped = net(
        p.Slide(function="conv", dims=(2, 3), kernel=(1, 1), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1),
                channel=1, channels=16, groups=16), x
    )  # fmt: skip
    x = net(p.DepthToSpace(channel=1, dims=(2, 3), blocks=(2, 2)), grouped)
    report = rfgraph.analyze(lower(net.build.program([x])))
    layer = report["depthtospace3"]
    assert layer.status == "bound"
    assert "hold different positions" in layer.why
    assert report.region("depthtospace3", (1, 1)).status == "bound"


# Maps side by side.


def beside(net):
    """A map and what a convolution makes of it, side by side: what the first channels read, and what all read."""
    x = net.conv(net.x)
    return net.concat(1, x, net.conv(x))


@pytest.mark.parametrize(
    ("kind", "size", "status"),
    [
        ("first", 3, "exact"),
        ("second", 5, "exact"),
        ("some of both", 5, "exact"),
        ("half of a shuffled map", 5, "exact"),
        ("shuffled twice", 3, "exact"),
        ("by index", 3, "exact"),
        ("stacked", 3, "exact"),
        ("of three", 3, "exact"),
        ("after a function", 5, "bound"),
        ("after a convolution of each channel", 7, "bound"),
        ("after a sum over part of the channels", 5, "bound"),
        ("after a convolution of all channels", 7, "exact"),
        ("added to another map", 5, "bound"),
        ("moved in space", 5, "bound"),
    ],
)
def test_some_channels_of_maps_side_by_side_read_their_own(kind, size, status):
    net = Net((1, 2, 8, 8))
    x = beside(net)
    match kind:
        case "first":
            x = slice_(net, x, 1, 0, 4)
        case "second":
            x = slice_(net, x, 1, 5, 7)
        case "some of both":
            x = slice_(net, x, 1, 2, 6)
        case "half of a shuffled map" | "shuffled twice":
            for groups in (2, 4) if kind == "shuffled twice" else (2,):
                apart = net.transpose(net.reshape(x, 1, groups, 8 // groups, 8, 8), 0, 2, 1, 3, 4)
                x = net.reshape(apart, 1, 8, 8, 8)
            x = slice_(net, x, 1, 0, 4)
        case "by index":
            x = take(net, x, 1, [3, 0, 2])
        case "stacked":
            both = net.concat(1, *(net(p.Unsqueeze(dims=(1,)), slice_(net, x, 1, i, i + 4)) for i in (0, 4)))
            x = take(net, both, 1, 0)
        case "of three":
            x = slice_(net, net.concat(1, net.relu(x), slice_(net, x, 1, 0, 4)), 1, 8)
        case "after a function":
            x = slice_(net, net.relu(x), 1, 0, 4)
        case "after a convolution of each channel":
            x = slice_(net, sliding(net, x, 3, 8, 8), 1, 0, 4)
        case "after a sum over part of the channels":
            x = slice_(net, net.reduce(net.reshape(x, 1, 2, 4, 8, 8), 2, keepdims=False), 1, 0, 1)
        case "after a convolution of all channels":
            x = slice_(net, net.conv(x), 1, 0, 2)
        case "added to another map":
            x = slice_(net, net.add(x, beside(net)), 1, 0, 4)
        case "moved in space":
            x = net(p.Slice(dims=(1, 2), starts=(0, 1), stops=(4, 7), steps=(1, 1)), net.relu(x))
    program = net.build.program([net.conv(x, kernel=1, padding=0)])
    graph = lower(program)
    layer = rfgraph.analyze(graph)[list(graph)[-1]]
    assert (layer.size, layer.status) == ((size, size), status)
    assert status == "exact" or "channels come from different maps" in layer.why
    check_moves(program, layout_of(program))


def test_channels_of_maps_side_by_side_that_become_rows_are_a_bound():
    """All rows of all channels but the last one, in a row: each of them holds one of the maps."""
    net = Net((1, 1, 3, 3))
    x = net.conv(net.x, channels=2)
    x = net.relu(net.concat(1, x, net.conv(x, channels=2)))
    program = net.build.program([slice_(net, net.reshape(x, 1, 12, 3), 1, 0, 11)])
    check_moves(program, layout_of(program))
    assert rfgraph.analyze(lower(program))["slice5"].status == "bound"


# Random programs of moves.


@pytest.mark.parametrize("times", [1 << 14, 1 << 33])
def test_channels_that_are_too_many_to_tell_apart_are_a_bound(times):
    """No mask is laid out for each of them: a file may name any number of channels."""
    net = Net((1, 8, 4, 6))
    a, b = (net.conv(net.x, kernel=k, padding=k // 2, channels=4 * times) for k in (3, 5))
    both = net.concat(1, a, b)
    grouped = net(
        p.Slide(function="conv", dims=(2, 3), kernel=(1, 1), stride=(1, 1), padding=((0, 0),) * 2, dilation=(1, 1),
                channel=1, channels=4 * times, groups=4), net.concat(1, net.conv(net.x), net.relu(net.x))
    )  # fmt: skip
    for x in (both, grouped):
        first = net(p.Slice(dims=(1,), starts=(0,), stops=(5,), steps=(1,)), x)
        report = rfgraph.analyze(lower(net.program(first)))
        (end,) = report.outputs
        assert report[end].status == "bound"
        assert report.region(end, (2, 3)).status == "bound"


def check_moves(program, found):
    """Hold every tensor of a program against its masks."""
    check_against(program, found, lambda spatial: evaluate(program, spatial))


def check_against(program, found, masks):
    """Hold tensors of a program against what they read: a region that is called exact is the box of that.

    ``masks`` returns what their elements read of the positions of the dimensions that it is given.
    """
    view = found.views["x"]
    spatial = [] if view is None else [d for axis in range(found.axes) for d, part in view.places(axis)]
    if not spatial or view != Layout.given(program, {"x": spatial}).views["x"]:
        return  # not known, or several axes in one dimension, as in a flat image
    sizes = [program.inputs[0].shape[d] for d in spatial]
    maps = LoweringBuilder(program.name, found.axes, {})
    placed = place_all(program, found, maps)
    settle(maps, placed, placed)
    report = rfgraph.analyze(maps.network.graph)
    for name, elements in masks(spatial).items():
        tensor = placed.get(name)
        if tensor is None or report[tensor.node].status == "unknown" or tensor.view is None:
            continue
        shape = tuple([dim.size for dim in tensor.view.dims])
        if symbol("unseen") in shape:  # behind what is not followed
            continue
        assert shape == elements.shape
        extents, told = [tensor.view.extent(axis) for axis in range(found.axes)], report[tensor.node].map_size
        assert all(size in (None, extent) for size, extent in zip(told, extents, strict=True)), name
        read: dict[tuple, int] = {}
        for index in np.ndindex(*elements.shape):
            at = position(tensor.view, index)
            key = tuple((at or {}).get(axis, 0) for axis in range(found.axes))
            read[key] = read.get(key, 0) | int(elements[index])
        for at, mask in read.items():
            try:
                region = report.region(tensor.node, at)
            except UnboundedError:  # all of it is read of a map of which an unknown op hides the size
                continue
            pixels = [np.unravel_index(bit, sizes) for bit in range(mask.bit_length()) if mask >> bit & 1]
            box = tuple((min(ends), max(ends)) for ends in zip(*pixels, strict=True)) or None
            if region.status == "exact" and not any(report[tensor.node].is_global):  # global is at most the whole axis
                assert region.box == box, (name, tensor.node, at)
            elif box is not None:
                inside = zip(region.box, box, strict=True)
                assert all(a <= c and d <= b for (a, b), (c, d) in inside), (name, tensor.node, at, region.box, box)


def divisors(n):
    return [k for k in range(2, n) if n % k == 0]


MOVES = (
    "reshape", "permute", "flip", "roll", "slice", "gather", "stack", "write", "windows", "shuffle", "frames", "pad",
    "beside", "beside", "channels", "relu", "sum", "uneven frames", "spread", "shifted windows", "unbound", "grouped",
    "mixed", "scaled", "repeat", "fold", "unfold", "elsewhere",
)  # fmt: skip


@st.composite
def weights(draw, rows, columns):
    """A matrix of zeros and ones; one of zeros alone is yet to be learned, so that the first row is not."""
    match draw(st.sampled_from(["full", "lower", "upper", "some"])):
        case "full":
            return np.ones((rows, columns))
        case "lower":
            return np.tril(np.ones((rows, columns)))
        case "upper":
            return np.triu(np.ones((rows, columns)))
    numbers = draw(st.lists(st.integers(0, 1), min_size=rows * columns, max_size=rows * columns))
    made = np.array(numbers, dtype=float).reshape(rows, columns)
    made[0, 0] = made[0, 0] or not made[0].any()
    return made


def sliding(net, x, kernel, groups, channels, stride=1):
    return net(
        p.Slide(function="conv", dims=(2, 3), kernel=(kernel,) * 2, stride=(stride,) * 2,
                padding=((kernel // 2,) * 2,) * 2, dilation=(1, 1), channel=1, channels=channels, groups=groups), x
    )  # fmt: skip


def transposed(net, x, groups, stride):
    return net(
        p.SlideTransposed(dims=(2, 3), kernel=(2, 2), stride=stride, padding=((0, 1),) * 2, dilation=(1, 1),
                          output_padding=(0, 0), channel=1, channels=x.shape[1], groups=groups), x
    )  # fmt: skip


@st.composite
def windowed(draw, net, x):
    """A window in which some of the channels, or all, stay apart."""
    match draw(st.sampled_from(["conv", "conv", "pool", "resize", "transposed"])):
        case "conv":
            return sliding(net, x, draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2, 4])), x.shape[1])
        case "pool":
            return net(
                p.Slide(function="max_pool", dims=(2, 3), kernel=(2, 2), stride=(1, 1), padding=((0, 1),) * 2,
                        dilation=(1, 1)), x
            )  # fmt: skip
        case "resize":
            mode, sizes = draw(st.sampled_from(["nearest", "linear"])), tuple([2 * size for size in x.shape[2:]])
            return net(p.Resize(dims=(2, 3), sizes=sizes, scales=(2, 2), mode=mode), x)
    return transposed(net, x, x.shape[1], (1, 1))


@st.composite
def moved(draw, net, x):
    """One move of elements."""
    rank = len(x.shape)
    d = draw(st.integers(1, rank - 1))
    n = x.shape[d]
    kind = draw(st.sampled_from(MOVES))
    if kind == "reshape" and rank < 6 and divisors(n):
        k = draw(st.sampled_from(divisors(n)))
        return net.reshape(x, *x.shape[:d], n // k, k, *x.shape[d + 1 :])
    if kind == "reshape" and rank > 2:
        e = draw(st.integers(1, rank - 2))
        return net.reshape(x, *x.shape[:e], x.shape[e] * x.shape[e + 1], *x.shape[e + 2 :])
    if kind == "permute":
        return net.transpose(x, 0, *draw(st.permutations(range(1, rank))))
    if kind == "flip":
        return slice_(net, x, d, step=-1)
    if kind == "repeat":
        shape = (*x.shape[:d], 2, *x.shape[d + 1 :])
        return net(p.Expand(shape=shape), x) if n == 1 else net.concat(d, x, x)
    if kind == "fold" and rank == 4:  # a whole axis into the channels, before them or after them
        e, first = draw(st.sampled_from([2, 3])), draw(st.booleans())
        x = net.transpose(x, 0, *((e, 1) if first else (1, e)), 5 - e)
        shape = [x.shape[0], x.shape[1] * x.shape[2], x.shape[3]]
        return net.reshape(x, *shape[:e], 1, *shape[e:])
    if kind == "unfold" and rank == 4 and x.shape[2] == 1 and x.shape[1] % 2 == 0:
        return net.reshape(x, x.shape[0], x.shape[1] // 2, 2, x.shape[3])
    if kind == "elsewhere" and n == 1 and rank > 2:
        return net(p.Unsqueeze(dims=(draw(st.integers(1, rank - 1)),)), net(p.Squeeze(dims=(d,)), x))
    if kind == "roll" and n > 1:
        return net(p.Roll(dim=d, shift=draw(st.integers(1, n - 1))), x)
    if kind == "slice" and n > 2:
        return slice_(net, x, d, draw(st.integers(0, 1)), n - draw(st.integers(0, 1)), draw(st.integers(1, 2)))
    if kind == "gather":
        return take(net, x, d, draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=2 * n)))
    if kind == "stack" and n < 9:
        rows = [net(p.Unsqueeze(dims=(d,)), take(net, x, d, i)) for i in draw(st.permutations(range(n)))]
        return net(p.Concat(dim=d), *rows)
    if kind == "write":
        zeros = net.weight(*x.shape[:d], draw(st.integers(1, 2)), *x.shape[d + 1 :])
        both = [zeros, x] if draw(st.booleans()) else [x, zeros]
        made = net(p.Concat(dim=d), *both)
        return take(net, made, d, draw(st.permutations(range(made.shape[d])))) if draw(st.booleans()) else made
    if kind == "shuffle" and rank == 4:
        unshuffle = x.shape[2] % 2 == x.shape[3] % 2 == 0
        if unshuffle and draw(st.booleans()):
            return net(p.SpaceToDepth(channel=1, dims=(2, 3), blocks=(2, 2)), x)
        if x.shape[1] % 4 == 0:
            return net(p.DepthToSpace(channel=1, dims=(2, 3), blocks=(2, 2)), x)
    if kind == "frames" and rank < 6 and n > 3:
        hop, kernel = draw(st.integers(1, 3)), draw(st.integers(2, 3))
        return take(net, x, d, hop * np.arange((n - kernel) // hop + 1)[:, None] + np.arange(kernel))
    if kind == "uneven frames" and rank < 6 and n > 3:
        starts = sorted(draw(st.sets(st.integers(0, n - 2), min_size=2, max_size=3)))
        return take(net, x, d, np.array(starts)[:, None] + np.arange(2))
    if kind == "spread":  # written to every second or third row of zeros
        step, first = draw(st.integers(2, 3)), draw(st.integers(0, 1))
        both = net(p.Concat(dim=d), net.weight(*x.shape[:d], 1, *x.shape[d + 1 :]), x)
        rows = [1 + (i - first) // step if i >= first and (i - first) % step == 0 else 0 for i in range(step * n)]
        return take(net, both, d, rows) if n * step < 20 else x
    if kind == "shifted windows" and rank == 4:
        for e in (2, 3):
            x = net(p.Roll(dim=e, shift=draw(st.integers(1, x.shape[e] - 1))), x) if x.shape[e] > 1 else x
        kind = "windows"
    if kind == "windows" and rank == 4 and divisors(x.shape[2]) and divisors(x.shape[3]):
        a, b = (draw(st.sampled_from(divisors(x.shape[e]))) for e in (2, 3))
        cut = net.reshape(x, x.shape[0], x.shape[1], x.shape[2] // a, a, x.shape[3] // b, b)
        return net.transpose(cut, 0, 2, 4, 3, 5, 1)
    if kind == "unbound" and n < 7 and rank < 6:  # some of the rows, along a dimension of their own somewhere else
        e = draw(st.integers(1, rank - 1))
        rows = [take(net, x, d, i) for i in draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n))]
        return net(p.Concat(dim=e), *(net(p.Unsqueeze(dims=(e,)), row) for row in rows))
    if kind == "grouped" and rank == 4 and x.shape[2] % 2 == x.shape[3] % 2 == 0:
        x = net(p.SpaceToDepth(channel=1, dims=(2, 3), blocks=(2, 2)), x)
        for _ in range(draw(st.integers(1, 2))):
            x = draw(windowed(net, x))
        return net(p.DepthToSpace(channel=1, dims=(2, 3), blocks=(2, 2)), x) if draw(st.booleans()) else x
    if kind in ("mixed", "scaled") and n < 9:
        size = n if draw(st.booleans()) or kind == "scaled" else draw(st.integers(1, 5))
        numbers = draw(weights(size, n))
        labels = tuple("abcdefgh"[:rank])
        if kind == "scaled":
            row = numbers[0].reshape(-1, *(1,) * (rank - 1 - d))
            return net(p.Pointwise(function="mul"), x, net.build.weight(row.shape, "row", lambda: row))
        weight = net.build.weight((size, n), "matrix", lambda: numbers)
        output = (*labels[:d], "z", *labels[d + 1 :])
        return net(p.Contract(operands=(labels, ("z", labels[d])), output=output), x, weight)
    if kind == "beside" and rank == 4:
        kernel, groups = draw(st.sampled_from([1, 3, 5])), 2 if x.shape[1] % 2 == 0 and draw(st.booleans()) else 1
        other = sliding(net, x, kernel, groups, x.shape[1])
        both = [x, other] if draw(st.booleans()) else [other, x]
        x = net.add(*both) if draw(st.integers(0, 3)) == 0 else net.concat(1, *both)
        x = net.relu(x) if draw(st.integers(0, 3)) == 0 else x
        kind = draw(st.sampled_from(["", "", "channels"]))
    if kind == "channels" and x.shape[1] > 1:
        start = draw(st.integers(0, x.shape[1] - 1))
        return slice_(net, x, 1, start, draw(st.integers(start + 1, x.shape[1])))
    if kind == "relu":
        return net.relu(x)
    if kind == "sum" and rank > 2:
        return net.reduce(x, d, keepdims=draw(st.booleans()), function="sum")
    if kind == "pad":
        amounts = [(0, 0)] * rank
        amounts[d] = draw(st.sampled_from([(1, 0), (0, 2), (1, 1)]))
        mode = draw(st.sampled_from(["constant", "reflect", "symmetric", "edge", "wrap"])) if n > 2 else "constant"
        return net(p.Pad(amounts=tuple(amounts), mode=mode), x)
    return x


@st.composite
def moving_programs(draw, elements=600):
    """Programs of moves between convolutions, of which the first may come before any window."""
    net = Net((1, draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 6))))
    x = net.conv(net.x, channels=draw(st.sampled_from([2, 4]))) if draw(st.booleans()) else net.x
    for _ in range(draw(st.integers(1, 4))):
        for _ in range(draw(st.integers(1, 4))):
            x = draw(moved(net, x))
            if np.prod(x.shape) > elements:
                break
        if np.prod(x.shape) > elements:
            break
        if len(x.shape) == 4 and draw(st.integers(0, 3)):
            kernel = draw(st.integers(1, 3))
            groups = x.shape[1] if draw(st.integers(0, 3)) == 0 else 1
            channels = x.shape[1] if groups > 1 else draw(st.sampled_from([2, 4]))
            x = sliding(net, x, kernel, groups, channels, draw(st.integers(1, 2)))
            if min(x.shape) < 1:
                break
    if len(x.shape) == 4 and min(x.shape) > 0:
        x = net.conv(x)
    return net.build.program([x])


@given(moving_programs())
def test_random_moves_are_followed_or_unknown(program):
    try:
        found = layout_of(program)
    except ModelFileError:
        return
    check_moves(program, found)
    check_size(program)


def check_size(program):
    """Hold the map of an output against the dimensions that a window slid over: an axis has one position or all.

    It has one where every feature reads the whole of it.
    """
    last = program.instructions[-1]
    if not isinstance(last.primitive, p.Slide):
        return
    report = rfgraph.analyze(lower(program))
    layer = report[next(iter(report.outputs))]
    if layer.status == "unknown" or len(report.axes) != 2 or None in layer.map_size:
        return
    wide = [size for d, size in enumerate(last.output.shape) if d in last.primitive.dims]
    told = zip(layer.map_size, layer.is_global, strict=True)
    sizes = [[size] if not whole or size != 1 else wide for size, whole in told]
    assert any(a in sizes[0] and b in sizes[1] for a, b in (wide, wide[::-1])), (layer.map_size, wide)


def elsewhere(net, x, e):
    return net(p.Unsqueeze(dims=(e,)), net(p.Squeeze(dims=(2,)), x))


#: What is made of a map [1, 4, 1, 6], and the map that it is.
OF_ONE_ROW = {
    "expanded": (lambda net, x: net(p.Expand(shape=(1, 4, 3, 6)), x), (3, 6)),
    "taken again and again": (lambda net, x: take(net, x, 2, [0, 0]), (2, 6)),
    "beside itself": (lambda net, x: net.concat(2, x, x), (2, 6)),
    "stacked": (lambda net, x: net.concat(2, *[elsewhere(net, x, 2)] * 3), (3, 6)),
    "turned": (lambda net, x: slice_(net, net(p.Expand(shape=(1, 4, 2, 6)), x), 2, step=-1), (2, 6)),
    "channels laid out": (lambda net, x: net.reshape(x, 1, 2, 2, 6), (2, 6)),
    "channels in its place": (lambda net, x: elsewhere(net, x, 1), (4, 6)),
    "behind the other axis": (lambda net, x: elsewhere(net, x, 3), (1, 6)),
    "other axis in channels": (lambda net, x: net.reshape(net.transpose(x, 0, 1, 3, 2), 1, 24, 1, 1), (1, 1)),
}


@pytest.mark.parametrize("windowed", [True, False], ids=["then a window", "returned"])
@pytest.mark.parametrize("kind", OF_ONE_ROW)
def test_an_axis_of_one_position_is_followed(kind, windowed):
    move, size = OF_ONE_ROW[kind]
    net = Net((1, 3, 1, 6))
    x = move(net, net.conv(net.x, kernel=(1, 3), padding=(0, 1), channels=4))
    program = net.program(net.conv(x) if windowed else x)
    check_moves(program, layout_of(program))
    report = rfgraph.analyze(lower(program))
    last = list(lower(program))[-1]
    assert report[last].map_size == size


@pytest.mark.parametrize("first", [True, False], ids=["before the channels", "behind the channels"])
@pytest.mark.parametrize("before", [True, False], ids=["before any window", "behind a window"])
def test_an_axis_in_the_channels_as_a_whole_is_read_as_a_whole(first, before):
    net = Net((1, 3, 2, 6))
    x = net.x if before else net.conv(net.x, kernel=(1, 3), padding=(0, 1), channels=3)
    x = net.reshape(net.transpose(x, 0, 2, 1, 3) if first else x, 1, 6, 1, 6)
    program = net.program(net.conv(x) if before else x)
    report = rfgraph.analyze(lower(program))
    last = list(lower(program))[-1]
    assert report[last].map_size == (1, 6)
    assert report.region(last, (0, 2)).box == ((0, 1), (1, 3))


@pytest.mark.parametrize("first", [True, False], ids=["before the channels", "behind the channels"])
def test_what_slides_over_an_axis_that_is_in_the_channels_reads_it_as_a_whole(first):
    """A resize of the one row that is left of two: it has two again, each of which reads both."""
    net = Net((1, 3, 2, 6))
    x = net.conv(net.x, kernel=(1, 3), padding=(0, 1), channels=3)
    x = net.reshape(net.transpose(x, 0, 2, 1, 3) if first else x, 1, 6, 1, 6)
    program = net.program(net(p.Resize(dims=(2, 3), sizes=(2, 12), scales=(2, 2), mode="nearest"), x))
    report = rfgraph.analyze(lower(program))
    last = list(lower(program))[-1]
    assert report[last].map_size == (2, 12)
    assert report.region(last, (1, 4)).box == ((0, 1), (1, 3))


def test_of_two_axes_that_may_be_in_the_channels_it_is_not_told_which():
    """Height or width: a window slides over the other one, where it does not stand in the image, and over nothing."""
    net = Net((1, 1, 5, 6))
    program = net.program(net.conv(net.reshape(net.transpose(net.x, 0, 1, 3, 2), 1, 6, 1, 5)))
    report = rfgraph.analyze(lower(program))
    assert report[list(lower(program))[-1]].status == "unknown"
    net = Net((1, 1, 5, 6))
    program = net.program(net.conv(net.reshape(net.transpose(net.x, 0, 1, 3, 2), 1, 6, 5, 1)))
    report = rfgraph.analyze(lower(program))
    assert report.region(list(lower(program))[-1], (2, 0)).box == ((1, 3), (0, 5))


def test_a_slice_into_rows_that_are_no_positions_counts_them():
    """Two blocks of rows behind a row of zeros within each window: the first two rows are zeros and a row."""
    net = Net((1, 2, 4, 6))
    windows = net.transpose(net.reshape(net.conv(net.x), 1, 4, 2, 2, 3, 2), 0, 2, 4, 3, 5, 1)
    padded = net(p.Concat(dim=3), net.weight(1, 2, 3, 1, 2, 4), windows)
    program = net.build.program([slice_(net, padded, 3, 0, 2)])
    check_moves(program, Layout.given(program, {"x": (2, 3)}))


def test_rows_computed_one_by_one_and_stacked_are_an_axis():
    net = Net((1, 2, 4, 6))
    x = net.conv(net.x)
    rows = []
    for i in range(4):
        row = net.conv(take(net, x, 2, i), kernel=3, padding=1, dims=(2,))
        rows.append(net(p.Unsqueeze(dims=(2,)), row))
    x = net.conv(net(p.Concat(dim=2), *rows))
    program = net.build.program([x])
    report = rfgraph.analyze(lower(program))
    assert report[list(lower(program))[-1]].map_size == (4, 6)
    assert not report.findings
    check_moves(program, layout_of(program))


def test_some_rows_of_each_block_are_a_bound():
    net = Net((1, 1, 5, 3))
    x = take(net, net.conv(net.x, channels=2), 2, [0, 0, 0, 0, 1, 0, 0, 0, 1])
    program = net.build.program([take(net, net.reshape(x, 1, 2, 3, 3, 3), 3, [0, 1])])
    assert rfgraph.analyze(lower(program))["take3"].status == "bound"
    check_moves(program, layout_of(program))


def test_a_window_over_positions_among_the_channels_is_a_bound():
    net = Net((1, 1, 3, 4))
    framed = net.reshape(take(net, net.x, 3, [[0, 1], [1, 2], [2, 3]]), 1, 3, 3, 2)
    program = net.build.program([net.conv(sliding(net, framed, 1, 3, 3, 2))])
    check_moves(program, layout_of(program))


def test_rows_written_one_by_one_into_an_array_are_an_axis():
    """A loop that fills an array: each turn lays what is before the row, the row, and what comes after side by side."""
    net = Net((1, 2, 6))
    x = net.conv(net.x, dims=(2,))
    filled = net.weight(6, 1, 4)
    for i in range(6):
        row = net.relu(net(p.Slice(dims=(0, 2), starts=(None, i), stops=(None, i + 1), steps=(1, 1)), x))
        row = net.reshape(net(p.Squeeze(dims=(2,)), row), 1, 1, 4)
        filled = net.concat(0, slice_(net, filled, 0, 0, i), row, slice_(net, filled, 0, i + 1))
    program = net.build.program([net.conv(net.transpose(filled, 1, 2, 0), dims=(2,))])
    graph = lower(program)
    last = list(graph)[-1]
    report = rfgraph.analyze(graph)
    assert report[last].map_size == (6,)
    assert report.region(last, (3,)).box == ((1, 5),)


@pytest.mark.parametrize("axis", [2, 3])
def test_rows_written_into_an_array_keep_the_other_axis(axis):
    """The same in a map of two axes, along either, each row made of the one before it as well."""
    net = Net((1, 2, 4, 5))
    x = net.conv(net.x)
    size, state = x.shape[axis], None
    filled = net.weight(*x.shape)
    for i in range(size):
        row = slice_(net, x, axis, i, i + 1)
        state = row if state is None else net.relu(net.add(row, state))
        parts = [slice_(net, filled, axis, 0, i), state, slice_(net, filled, axis, i + 1)]
        filled = net.concat(axis, *(part for part in parts if part.shape[axis]))
    program = net.build.program([net.conv(filled, kernel=1, padding=0)])
    graph = lower(program)
    report = rfgraph.analyze(graph)
    assert report[list(graph)[-1]].map_size == (4, 5)
    assert not report.findings
    check_moves(program, layout_of(program))


def test_patches_put_back_where_they_were_cut_hold_a_position_each():
    net = Net((1, 2, 4, 6))
    x = net.transpose(net.reshape(net.x, 1, 2, 2, 2, 3, 2), 0, 1, 3, 5, 2, 4)
    x = net(
        p.SlideTransposed(dims=(2, 3), kernel=(2, 2), stride=(2, 2), padding=((0, 0),) * 2, dilation=(1, 1),
                          output_padding=(0, 0), channel=1, channels=2, apart=True), net.reshape(x, 1, 8, 2, 3)
    )  # fmt: skip
    program = net.build.program([net.conv(x)])
    assert rfgraph.analyze(lower(program))[list(lower(program))[-1]].status == "bound"
    check_moves(program, layout_of(program))


def test_an_image_whose_dimensions_are_all_lost_is_not_one_pixel():
    net = Net((1, 2, 4, 4))
    summed = net(p.Reduce(function="sum", dims=(2, 3), keepdims=False), net.x)
    program = net.build.program([net.conv(net(p.Expand(shape=(1, 2, 4, 4)), net.reshape(summed, 1, 2, 1, 1)))])
    graph = lower(program)
    assert rfgraph.analyze(graph)[list(graph)[-1]].status == "unknown"


def test_a_row_is_known_where_one_slice_names_the_other_dimensions_too():
    net = Net((1, 2, 4, 5))
    x = net.conv(net.x)
    rows = []
    for i in range(5):
        row = net(p.Slice(dims=(2, 3), starts=(None, i), stops=(None, i + 1), steps=(1, 1)), x)
        rows.append(net(p.Unsqueeze(dims=(3,)), net.conv(net(p.Squeeze(dims=(3,)), row), dims=(2,))))
    program = net.build.program([net.conv(net(p.Concat(dim=3), *rows), kernel=1, padding=0)])
    assert rfgraph.analyze(lower(program))[list(lower(program))[-1]].map_size == (4, 5)
    check_moves(program, layout_of(program))


def test_a_recurrence_written_out_reads_the_rows_before():
    net = Net((1, 2, 4, 6))
    x = net.conv(net.x)
    state, rows = None, []
    for i in range(4):
        row = take(net, x, 2, i)
        state = row if state is None else net.relu(net.add(row, state))
        rows.append(net(p.Unsqueeze(dims=(2,)), state))
    x = net(p.Concat(dim=2), *rows)
    program = net.build.program([net.conv(x, kernel=1, padding=0)])
    check_moves(program, layout_of(program))
    graph = lower(program)
    report = rfgraph.analyze(graph)
    assert report.region(list(graph)[-1], (2, 0)).box == ((0, 3), (0, 1))


def slid_over(net, x, op):
    match op:
        case "slide":
            return net.conv(x)
        case "transposed":
            return net(
                p.SlideTransposed(
                    dims=(2, 3), kernel=(2, 2), stride=(2, 2), padding=((0, 0),) * 2, output_padding=(0, 0),
                    dilation=(1, 1), channel=1, channels=4,
                ), x,
            )  # fmt: skip
        case "resize":
            return net(p.Resize(dims=(2, 3), scales=(2, 2)), x)
        case "adaptive":
            return net(p.AdaptivePool(function="avg_pool", dims=(2, 3), sizes=(2, 2)), x)
        case "space_to_depth":
            return net(p.SpaceToDepth(channel=1, dims=(2, 3), blocks=(2, 2)), x)
        case "depth_to_space":
            return net(p.DepthToSpace(channel=1, dims=(2, 3), blocks=(2, 2)), x)


@pytest.mark.parametrize("op", ["slide", "transposed", "resize", "adaptive", "space_to_depth", "depth_to_space"])
def test_what_slides_over_positions_that_a_product_mixed_is_unknown(op):
    net = Net((1, 2, 6, 6))
    x = net.conv(net.x)
    rows = net(p.Contract(operands=(tuple("bchw"), tuple("bckw")), output=tuple("bchk")), x, x)
    report = rfgraph.analyze(lower(net.build.program([slid_over(net, rows, op)])))
    last = report[list(report)[-1]]
    assert last.status == "unknown"
    assert "no axis tells them apart" in str(last.field)


def test_a_window_over_channels_alone_is_followed():
    net = Net((1, 4, 6, 6))
    x = net(p.Unsqueeze(dims=(1,)), net.conv(net.x))
    lrn = p.Slide(
        function="avg_pool", dims=(2, 3, 4), kernel=(3, 1, 1), stride=(1, 1, 1), padding=((1, 1), (0, 0), (0, 0)),
        dilation=(1, 1, 1),
    )  # fmt: skip
    report = rfgraph.analyze(lower(net.build.program([net(lrn, x)])))
    assert report[list(report)[-1]].map_size == (6, 6)
    assert report[list(report)[-1]].status == "exact"


def test_a_row_padded_where_an_axis_lies_among_the_channels_is_a_bound():
    """Of the two rows one reads the whole axis, and the other nothing."""
    net = Net((1, 2, 6, 2))
    x = net.reshape(net.transpose(net.conv(net.x, channels=3), 0, 1, 3, 2), 1, 6, 6, 1)
    x = net(p.Pad(amounts=((0, 0), (0, 0), (0, 0), (0, 1)), mode="constant"), x)
    program = net.build.program([net.conv(x, kernel=(3, 1), padding=(1, 0))])
    check_moves(program, layout_of(program))
    report = rfgraph.analyze(lower(program))
    layer = report[list(report)[-1]]
    assert (layer.map_size, layer.status) == ((6, 2), "bound")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_phases_stacked_are_positions_again(order):
    net = Net((1, 2, 4, 6))
    x = net.conv(net.x)
    phases = [net(p.Unsqueeze(dims=(4,)), slice_(net, x, 3, start, None, 2)) for start in order]
    laid = net.reshape(net.concat(4, *phases), 1, 4, 4, 6)
    _, report = check(net.build.program([net.conv(laid)]))
    assert not report.findings


def test_channels_of_two_maps_laid_out_in_space_are_a_bound():
    net = Net((1, 2, 4, 6))
    a, b = net.conv(net.x), net.conv(net.x, kernel=1, padding=0)
    both = net.concat(4, net(p.Unsqueeze(dims=(4,)), a), net(p.Unsqueeze(dims=(4,)), b))
    laid = net.reshape(both, 1, 4, 4, 12)
    _, report = check(net.build.program([net.conv(laid)]), bound=BESIDE)
    assert report[list(report)[-1]].status == "bound"


@pytest.mark.parametrize(
    "primitive",
    [
        p.Pointwise(function="trilu"),
        p.Pointwise(function="where", bound="some are overwritten"),
        p.Reduce(function="gather", dims=(2,), bound="it takes one row"),
    ],
    ids=lambda primitive: primitive.function,
)
def test_what_may_read_less_is_a_bound(primitive):
    net = Net((1, 2, 4, 6))
    x = net(primitive, net.conv(net.x))
    report = rfgraph.analyze(lower(net.build.program([x])))
    assert report[list(report)[-1]].status == "bound"


@pytest.mark.parametrize(("constant", "status"), [(True, "bound"), (False, "exact")])
def test_a_choice_under_a_constant_mask_is_a_bound(constant, status):
    net = Net((1, 2, 4, 6))
    x = net.conv(net.x)
    mask = net.weight(4, 6) if constant else net.relu(x)
    made = net(p.Pointwise(function="where"), mask, x, net.weight(1))
    report = rfgraph.analyze(lower(net.build.program([made])))
    assert report[list(report)[-1]].status == status


def test_a_roll_inside_windows_of_a_grid_leaves_a_map():
    """Each window holds every fourth position; put together again, a convolution slides over the map as before."""
    net = Net((1, 1, 4, 8))
    windows = net.transpose(net.reshape(net.x, 1, 1, 2, 2, 2, 4), 0, 3, 5, 2, 4, 1)
    rolled = net(p.Roll(dim=2, shift=1), net.reshape(windows, 8, 2, 2, 1))
    x = net.reshape(net.transpose(net.reshape(rolled, 1, 2, 4, 2, 2, 1), 0, 5, 3, 1, 4, 2), 1, 1, 4, 8)
    program = net.build.program([net.conv(x)])
    graph = lower(program)
    assert rfgraph.analyze(graph)[list(graph)[-1]].map_size == (4, 8)
    check_moves(program, layout_of(program))


def test_blocks_beside_those_after_them_are_positions():
    """Frames of two blocks each, the last beside the first: which position one holds follows from both its numbers."""
    net = Net((1, 1, 8, 3))
    blocks = net.reshape(net.conv(net.x, channels=1), 1, 1, 4, 2, 3)
    after = net.concat(2, slice_(net, blocks, 2, 1), slice_(net, blocks, 2, 0, 1))
    program = net.build.program([net.reshape(net.concat(3, blocks, after), 1, 1, 16, 3)])
    graph = lower(program)
    report = rfgraph.analyze(graph)
    assert report[list(graph)[-1]].map_size == (16, 3)
    assert [report.region(list(graph)[-1], (y, 0)).box[0] for y in (0, 2, 14)] == [(0, 1), (1, 3), (0, 1)]
    check_moves(program, layout_of(program))


def test_rows_of_an_axis_that_is_read_wholly_are_an_axis_again():
    net = Net((1, 2, 4, 5))
    tokens = net.reshape(net.transpose(net.conv(net.x, channels=2), 0, 2, 3, 1), 4, 5, 2)
    x = net.transpose(net.reshape(net.attention(tokens, tokens, tokens), 1, 4, 5, 2), 0, 3, 1, 2)
    rows = [net(p.Squeeze(dims=(3,)), slice_(net, x, 3, i, i + 1)) for i in range(5)]
    program = net.build.program([net.concat(3, *(net(p.Unsqueeze(dims=(3,)), net.relu(row)) for row in rows))])
    graph = lower(program)
    last = rfgraph.analyze(graph)[list(graph)[-1]]
    assert last.map_size == (4, 5)
    assert last.is_global == (False, True)


def test_rows_of_positions_that_repeat_are_an_axis_again():
    """Each position twice, then rows of which each takes up the one before it."""
    net = Net((1, 1, 3, 4))
    x = net.conv(net.x, channels=1)
    x = net.reshape(net(p.Expand(shape=(1, 1, 3, 2, 4)), net.reshape(x, 1, 1, 3, 1, 4)), 1, 1, 6, 4)
    rows, state = [], None
    for i in range(6):
        row = net(p.Squeeze(dims=(2,)), slice_(net, x, 2, i, i + 1))
        state = row if state is None else net.relu(net.add(row, state))
        rows.append(net(p.Unsqueeze(dims=(2,)), state))
    program = net.build.program([net.concat(2, *rows)])
    graph = lower(program)
    assert rfgraph.analyze(graph)[list(graph)[-1]].map_size == (6, 4)
    check_moves(program, layout_of(program))


def test_rows_of_an_image_that_a_loop_writes_are_an_axis_of_it():
    """Before the first window too: which dimensions of the input carry axes is told by the window behind the loop."""
    net = Net((1, 2, 5, 6))
    filled = net.weight(5, 1, 2, 6)
    for i in range(5):
        row = net.relu(net(p.Squeeze(dims=(2,)), slice_(net, net.x, 2, i, i + 1)))
        filled = net.concat(
            0, slice_(net, filled, 0, 0, i), net.reshape(row, 1, 1, 2, 6), slice_(net, filled, 0, i + 1)
        )
    program = net.build.program([net.conv(net.reshape(net.transpose(filled, 1, 2, 0, 3), 1, 2, 5, 6))])
    graph = lower(program)
    report = rfgraph.analyze(graph)
    assert report[list(graph)[-1]].map_size == (5, 6)
    assert report.region(list(graph)[-1], (2, 0)).box == ((1, 3), (0, 1))
    check_moves(program, layout_of(program))


def test_frames_that_overlap_are_no_resize():
    """The rows of the first frame, then of the second: some nearest neighbours come to the same rows by chance."""
    net = Net((1, 1, 16, 3))
    x = net.conv(net.x, channels=1)
    framed = net.reshape(take(net, x, 2, [i + k for i in range(15) for k in (0, 1)]), 1, 1, 15, 2, 3)
    one, two = (net(p.Squeeze(dims=(3,)), slice_(net, framed, 3, k, k + 1)) for k in (0, 1))
    program = net.build.program([net.add(one, net.relu(two))])
    report = rfgraph.analyze(lower(program))
    assert [(finding.rule, finding.axes, finding.offset) for finding in report.findings] == [("RF002", ("y",), 1)]
    check_moves(program, layout_of(program))


def test_what_is_lost_before_the_first_window_is_no_channel():
    """Positions and channels of a row rolled together by slices: a window slides over them, so they are no channels."""
    net = Net((1, 6, 8, 2))
    row = net.reshape(net.x, 1, 6, 16)
    rolled = net.concat(2, slice_(net, row, 2, 15), slice_(net, row, 2, 0, 15))
    program = net.build.program([net.conv(net.reshape(rolled, 1, 6, 8, 2), dims=(1, 2), channel=3)])
    graph = lower(program)
    report = rfgraph.analyze(graph)
    assert len(report.axes) == 2
    assert report[list(graph)[-1]].status == "unknown"


# Moves of a batch that is open.


def _blocks(net, x):
    return net.reshape(x, x.shape[0], 4, 2, 2, 6)  # rows in blocks of two


OF_EACH_SAMPLE = {
    "blocks rolled": lambda net, x: net(p.Roll(dim=2, shift=1), _blocks(net, x)),
    "blocks turned": lambda net, x: slice_(net, _blocks(net, x), 2, step=-1),
    "blocks shifted": lambda net, x: net.concat(
        2, slice_(net, _blocks(net, x), 2, 1), slice_(net, _blocks(net, x), 2, 0, 1)
    ),
    "rows within blocks": lambda net, x: take(net, _blocks(net, x), 3, [1, 0]),
    "tokens rolled": lambda net, x: net.concat(
        2, slice_(net, tokens := net.reshape(x, x.shape[0], 4, 24), 2, 6), slice_(net, tokens, 2, 0, 6)
    ),
    "rows stacked": lambda net, x: net.concat(
        2, *(net(p.Unsqueeze(dims=(2,)), net(p.Take(dim=2), x, net.build.constant(row))) for row in (3, 0, 2, 1))
    ),
    "batch last": lambda net, x: net.transpose(
        net(p.Roll(dim=1, shift=1), net.reshape(net.transpose(x, 1, 2, 3, 0), 4, 2, 2, 6, x.shape[0])), 4, 0, 1, 2, 3
    ),
    "windows beside samples": lambda net, x: net.transpose(
        net.concat(
            1, slice_(net, cut := net.transpose(_blocks(net, x), 0, 2, 1, 3, 4), 1, 1), slice_(net, cut, 1, 0, 1)
        ), 0, 2, 1, 3, 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("move", OF_EACH_SAMPLE)
def test_moves_of_an_open_batch_are_those_of_each_sample(move):
    graphs = []
    for samples in (1, symbol("N")):
        net = Net((samples, 2, 4, 6))
        x = net.conv(net.reshape(OF_EACH_SAMPLE[move](net, net.conv(net.x)), samples, 4, 4, 6), stride=2)
        graphs.append(lower(net.program(x)))
    assert list(graphs[0].nodes(data=True)) == list(graphs[1].nodes(data=True))
    assert "unknown" not in kinds(graphs[1])
    net = Net((1, 2, 4, 6))
    program = net.program(net.conv(net.reshape(OF_EACH_SAMPLE[move](net, net.conv(net.x)), 1, 4, 4, 6), stride=2))
    check_moves(program, layout_of(program))


def test_moves_between_the_samples_of_an_open_batch_are_not_followed():
    samples = symbol("N")
    net = Net((samples, 2, 4, 6))
    rows = net.reshape(net.transpose(net.conv(net.x), 0, 2, 3, 1), 4 * samples, 6, 4)
    rolled = net(p.Roll(dim=0, shift=1), rows)
    x = net.conv(net.transpose(net.reshape(rolled, samples, 4, 6, 4), 0, 3, 1, 2))
    report = rfgraph.analyze(lower(net.program(x)))
    assert report[next(iter(report.outputs))].status == "unknown"


def test_rows_turned_round_along_one_axis_are_still_a_slice_along_the_other():
    net = Net((1, 2, 6, 5))
    x = net.conv(net.x)
    halves = []
    for start, stop in ((0, 4), (4, 6)):
        half = slice_(net, x, 2, start, stop)
        halves.append(net.concat(3, slice_(net, half, 3, 1), slice_(net, half, 3, 0, 1)))
    program = net.program(net.conv(net.concat(2, *halves)))
    check_moves(program, layout_of(program))
    graph = lower(program)
    assert not rfgraph.analyze(graph).findings
    tables = [data["positions"] for _, data in graph.nodes(data=True) if data["op"] == "gather"]
    assert tables == [[None, [1, 2, 3, 4, 0]]] * 2
