"""The lowering: programs of every pattern, each tensor of them against the brute-force masks of ``tests/masks.py``."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import evaluate

import rfgraph
from rfgraph.errors import ModelFileError, SizeError
from rfgraph.importers import program as p
from rfgraph.importers.lowering import lower as module
from rfgraph.importers.lowering.invariants import _broken, _sizes, settle
from rfgraph.importers.lowering.layout import Layout, _split
from rfgraph.importers.lowering.least import ANY, _solved
from rfgraph.importers.lowering.lower import layout_of, lower, lower_for, place_all
from rfgraph.importers.lowering.maps import APART, FOLDED, LoweringBuilder
from rfgraph.importers.lowering.meeting import SHARED
from rfgraph.importers.lowering.moves import TOKENS
from rfgraph.importers.lowering.numbers import read_back
from rfgraph.importers.lowering.recipes import Recipes
from rfgraph.importers.lowering.rules import function_kind, sizes_of
from rfgraph.importers.lowering.taken import overlaps
from rfgraph.importers.lowering.views import Dimension, Part, View, along, other
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import exact_quotient, symbol, valued
from rfgraph.importers.program.numbers import Numbers, Zeros
from rfgraph.importers.spelling.handlers import Handlers


class Net:
    """A program written in few words; the names of its instructions are letters in order."""

    def __init__(self, shape=(1, 2, 4, 6)):
        self.build = Builder("net")
        self.count = itertools.count()
        self.x = self.build.input("x", shape)

    def __call__(self, primitive, *values):
        self.build.at(f"{type(primitive).__name__.lower()}{next(self.count)}", type(primitive).__name__)
        return self.build(primitive, *values)

    def weight(self, *shape):
        return self.build.weight(shape)

    def conv(self, x, kernel=3, stride=1, padding=1, channels=4, dims=(2, 3), channel=1, dilation=1):
        n = len(dims)
        kernel, stride, padding = (list(v) if isinstance(v, tuple) else [v] * n for v in (kernel, stride, padding))
        return self(
            p.Slide(
                function="conv", dims=dims, kernel=tuple(kernel), stride=tuple(stride),
                padding=tuple((a, a) if isinstance(a, int) else a for a in padding), dilation=(dilation,) * n,
                channel=channel, channels=channels,
            ),
            x,
        )  # fmt: skip

    def relu(self, x):
        return self(p.Pointwise(function="relu"), x)

    def add(self, *values):
        return self(p.Pointwise(function="add"), *values)

    def mul(self, *values):
        return self(p.Pointwise(function="mul"), *values)

    def reshape(self, x, *shape):
        return self(p.Reshape(shape=shape), x)

    def transpose(self, x, *order):
        return self(p.Transpose(permutation=order), x)

    def linear(self, x, channels):
        """A dense layer over the last dimension."""
        labels = tuple("abcdefg"[: len(x.shape)])
        return self(
            p.Contract(operands=(labels, (labels[-1], "z")), output=(*labels[:-1], "z")),
            x, self.weight(x.shape[-1], channels),
        )  # fmt: skip

    def matmul(self, a, b):
        batch = tuple("abcd"[: len(a.shape) - 2])
        return self(p.Contract(operands=((*batch, "i", "k"), (*batch, "k", "j")), output=(*batch, "i", "j")), a, b)

    def mix(self, x, *dims, function="softmax"):
        return self(p.Mix(function=function, dims=dims), x)

    def reduce(self, x, *dims, keepdims=True, function="mean"):
        return self(p.Reduce(function=function, dims=dims, keepdims=keepdims), x)

    def concat(self, dim, *values):
        return self(p.Concat(dim=dim), *values)

    def slice(self, x, dim, start=None, stop=None, step=1):
        return self(p.Slice(dims=(dim,), starts=(start,), stops=(stop,), steps=(step,)), x)

    def attention(self, q, k, v):
        """Softmax of the products of queries and keys, times values: ``[..., tokens, channels]``."""
        last = len(k.shape) - 1
        scores = self.matmul(q, self.transpose(k, *range(last - 1), last, last - 1))
        return self.matmul(self.mix(scores, last), v)

    def program(self, *outputs):
        return self.build.program(outputs)


def position(view, index):
    """Return the position on the map of one element of a tensor, ``None`` for class tokens."""
    at = {}
    for dim, i in zip(view.dims, index, strict=True):
        i -= dim.before
        size = 1
        for part in dim.parts:
            size *= part.size
        if dim.extra and not 0 <= i < size:
            return None
        for part in reversed(dim.parts):
            i, digit = divmod(i, part.size)
            if part.axis is not None:
                at[part.axis] = at.get(part.axis, 0) + digit * part.stride
    return at


#: Why some of the programs below are known as a bound alone.
ROWS = "which positions are read is stated for the map alone, not beyond its border"
PART = "it slices a dimension that carries several axes, or part of one"
ENDS = "which input is read depends on the position along the concatenated axis"


def check(program, spatial=(2, 3), exact=True, bound=""):
    """Hold every tensor of a program against its masks, all of which rfgraph must know; return graph and report.

    All is known exactly, unless a reason is given for which some of it is a ``bound``.
    """
    found = layout_of(program)
    assert found.views["x"] == Layout.given(program, {"x": spatial}).views["x"]
    graph, report, compared = check_tensors(program, found, spatial, exact)
    assert compared == len(program.instructions) + 1
    assert {layer.why for layer in map(report.__getitem__, graph) if layer.status != "exact"} == ({bound} - {""})
    check_names(program, graph)
    return graph, report


def check_names(program, graph):
    """What stands for a step, be it several nodes, bears its name or one below, and is called as the model calls it."""
    views = p.Reshape | p.Transpose | p.Expand | p.Squeeze | p.Unsqueeze  # what these need is added where it is read
    steps = {step.name: step for step in program.instructions}
    named = {value.name for step in program.instructions for value in step.inputs}
    for node, attributes in graph.nodes(data=True):
        name, _, part = node.partition("/")
        if step := steps.get(name):
            assert not part or name in graph, node
            same = step.op.lower() == attributes["op"].replace("_", "")
            assert isinstance(step.primitive, views) or attributes.get("label") == (None if same else step.op), node
        else:
            assert node in named, node


def check_tensors(program, found, spatial, exact):
    """Hold every tensor of a program that rfgraph knows against its masks.

    What is read must lie in the region; with ``exact``, its hull must be the region, wherever rfgraph calls it exact.
    """
    maps = LoweringBuilder(program.name, found.axes, {})
    placed = place_all(program, found, maps)
    graph = maps.network.graph
    report = rfgraph.analyze(graph)
    values = evaluate(program, spatial)
    sizes = [program.inputs[0].shape[d] for d in spatial]
    compared = 0
    for name, tensor in placed.items():
        masks = values[name]
        layer = report[tensor.node]
        if layer.status == "unknown" or tensor.view is None:
            continue
        compared += 1
        assert tuple(dim.size for dim in tensor.view.dims) == masks.shape
        assert tuple(tensor.view.extent(axis) for axis in range(found.axes)) == layer.map_size, name
        read: dict[tuple, int] = {}
        for index in np.ndindex(*masks.shape):
            at = position(tensor.view, index)
            if at is not None:
                key = tuple(at.get(axis, 0) for axis in range(found.axes))
                read[key] = read.get(key, 0) | int(masks[index])
        for at, mask in read.items():
            box = report.region(tensor.node, at).box
            pixels = [np.unravel_index(bit, sizes) for bit in range(mask.bit_length()) if mask >> bit & 1]
            if not pixels:
                assert not exact or box is None, (name, at, box)
                continue
            assert box is not None, (name, at)
            for axis in range(found.axes):
                first, last = min(pixel[axis] for pixel in pixels), max(pixel[axis] for pixel in pixels)
                assert box[axis][0] <= first <= last <= box[axis][1], (name, at, axis, box, (first, last))
                if exact and layer.status == "exact":
                    assert box[axis] == (first, last), (name, tensor.node, at, axis, box, (first, last))
    return graph, report, compared


def kinds(graph):
    return [graph.nodes[node]["op"] for node in graph]


def test_transposes_and_layouts_make_no_nodes():
    net = Net((1, 4, 6, 2))
    nchw = net.transpose(net.x, 0, 3, 1, 2)
    nhwc = net.transpose(net.conv(nchw), 0, 2, 3, 1)
    graph, _ = check(net.program(net.conv(nhwc, dims=(1, 2), channel=3, stride=(2, 1))), spatial=(1, 2))
    assert kinds(graph) == ["input", "conv", "conv"]


def test_channel_shuffle_is_the_identity():
    net = Net((1, 4, 4, 6))
    x = net.conv(net.x, channels=6)
    shuffled = net.reshape(net.transpose(net.reshape(x, 1, 3, 2, 4, 6), 0, 2, 1, 3, 4), 1, 6, 4, 6)
    graph, _ = check(net.program(net.conv(shuffled)))
    assert kinds(graph) == ["input", "conv", "conv"]


def test_padding_at_one_side_alone_is_padding():
    net = Net()
    y = net(p.Pad(amounts=((0, 0), (0, 0), (1, 0), (0, 1))), net.conv(net.x))
    graph, _ = check(net.program(net.conv(y)))
    assert kinds(graph) == ["input", "conv", "pad", "conv"]
    assert graph.nodes["pad1"]["padding"] == [[1, 0], [0, 1]]


def test_a_slice_of_all_there_is_cuts_nothing():
    net = Net()
    y = net(p.Slice(dims=(2, 3), starts=(0, 0), stops=(4, 6), steps=(1, 1)), net.conv(net.x))
    graph, report = check(net.program(net.conv(y)))
    assert "slice" not in kinds(graph)
    assert report["slide2"].size == (5, 5)


def test_pixel_shuffle_is_depth_to_space():
    net = Net((1, 3, 3, 4))
    x = net.conv(net.x, channels=8)
    shuffled = net.reshape(net.transpose(net.reshape(x, 1, 2, 2, 2, 3, 4), 0, 1, 4, 2, 5, 3), 1, 2, 6, 8)
    graph, report = check(net.program(net.relu(shuffled)))
    assert kinds(graph) == ["input", "conv", "depth_to_space", "relu"]
    assert report["pointwise4"].stride == (Fraction(1, 2), Fraction(1, 2))


def test_pixel_shuffle_at_the_end_is_laid_out():
    net = Net((1, 3, 3, 4))
    x = net.conv(net.x, channels=8)
    graph, _ = check(
        net.program(net.reshape(net.transpose(net.reshape(x, 1, 2, 2, 2, 3, 4), 0, 1, 4, 2, 5, 3), 1, 2, 6, 8))
    )
    assert kinds(graph) == ["input", "conv", "depth_to_space"]
    assert list(graph)[-1] == "reshape3"


def test_positions_among_the_channels_of_an_output_are_folded():
    net = Net((1, 2, 4, 6))
    blocks = net.transpose(net.reshape(net.conv(net.x), 1, 4, 2, 2, 6), 0, 1, 3, 2, 4)
    graph, report = check(net.program(net.reshape(blocks, 1, 8, 2, 6)))
    assert (kinds(graph), graph.nodes["reshape3"]["block"]) == (["input", "conv", "space_to_depth"], [2, 1])
    assert report["reshape3"].stride == (2, 1)


def test_a_window_over_blocks_that_lie_apart_is_a_bound():
    """Of four blocks of three positions two are taken: they are neighbours in the tensor, and not on the map."""
    net = Net((1, 2, 4, 12))
    blocks = net.transpose(net.reshape(net.conv(net.x), 1, 4, 4, 2, 2, 3), 4, 0, 1, 2, 3, 5)
    program = net.program(net.conv(net.reshape(blocks, 2, 4, 4, 6)))
    _, report, _ = check_tensors(program, Layout.given(program, {"x": (2, 3)}), (2, 3), exact=True)
    assert (report["slide4"].op, report["slide4"].status) == ("attention", "bound")


@pytest.mark.parametrize("order", [(0, 3, 5, 1, 2, 4), (0, 1, 3, 5, 2, 4)])
def test_pixel_unshuffle_is_space_to_depth(order):
    net = Net((1, 3, 4, 6))
    blocks = net.transpose(net.reshape(net.x, 1, 3, 2, 2, 3, 2), *order)
    graph, _ = check(net.program(net.conv(net.reshape(blocks, 1, 12, 2, 3))))
    assert kinds(graph) == ["input", "space_to_depth", "conv"]


def test_focus_is_strided_slices_side_by_side():
    net = Net((1, 3, 4, 6))
    phases = [net.slice(net.slice(net.x, 2, i, None, 2), 3, j, None, 2) for i in (0, 1) for j in (0, 1)]
    graph, report = check(net.program(net.conv(net.concat(1, *phases))))
    assert report[list(graph)[-1]].size == (6, 6)


def test_flattened_tokens_come_back():
    net = Net()
    x = net.conv(net.x)
    tokens = net.transpose(net.reshape(x, 1, 4, 24), 0, 2, 1)
    tokens = net.linear(net.mix(tokens, 2, function="layer_norm"), 8)
    back = net.reshape(net.transpose(tokens, 0, 2, 1), 1, 8, 4, 6)
    graph, report = check(net.program(net.conv(back)))
    assert kinds(graph) == ["input", "conv", "layer_norm", "conv", "conv"]
    assert report[list(graph)[-1]].size == (5, 5)


def test_convnext_block_is_local():
    net = Net()
    x = net.conv(net.x)
    y = net.transpose(net.conv(x, kernel=5, padding=2), 0, 2, 3, 1)
    y = net.linear(net.relu(net.linear(net.mix(y, 3, function="layer_norm"), 16)), 4)
    y = net.mul(net.transpose(y, 0, 3, 1, 2), net.weight(4, 1, 1))
    graph, report = check(net.program(net.add(x, y)))
    assert report[list(graph)[-1]].size == (7, 7)


def test_attention_reads_everything_and_keeps_the_map():
    net = Net()
    x = net.conv(net.x)
    tokens = net.transpose(net.reshape(x, 1, 4, 24), 0, 2, 1)
    y = net.attention(net.linear(tokens, 4), net.linear(tokens, 4), net.linear(tokens, 4))
    tokens = net.add(tokens, net.linear(y, 4))
    graph, report = check(net.program(net.conv(net.reshape(net.transpose(tokens, 0, 2, 1), 1, 4, 4, 6))))
    last = report[list(graph)[-1]]
    assert last.is_global == (True, True)
    assert last.size == (5, 5)  # through the shortcut


def test_heads_split_from_channels_change_nothing():
    net = Net()
    x = net.conv(net.x)
    tokens = net.transpose(net.reshape(x, 1, 4, 24), 0, 2, 1)
    qkv = net.transpose(net.reshape(net.linear(tokens, 12), 1, 24, 3, 2, 2), 2, 0, 3, 1, 4)
    q, k, v = (net(p.Take(dim=0), qkv, net.build.constant(i)) for i in range(3))
    y = net.reshape(net.transpose(net.attention(q, k, v), 0, 2, 1, 3), 1, 24, 4)
    _, report = check(net.program(net.add(tokens, y)))
    assert report[list(report)[-1]].is_global == (True, True)


@pytest.mark.parametrize("first", [True, False])
def test_class_tokens_ride_along(first):
    net = Net()
    tokens = net.transpose(net.reshape(net.conv(net.x), 1, 4, 24), 0, 2, 1)
    row = net.weight(1, 1, 4)
    tokens = net.concat(1, row, tokens) if first else net.concat(1, tokens, row)
    tokens = net.add(tokens, net.weight(1, 25, 4))
    tokens = net.add(tokens, net.attention(tokens, tokens, tokens))
    rest = net.slice(tokens, 1, 1, None) if first else net.slice(tokens, 1, 0, -1)
    graph, report = check(net.program(net.conv(net.reshape(net.transpose(rest, 0, 2, 1), 1, 4, 4, 6))))
    assert report[list(graph)[-1]].size == (5, 5)


def test_the_class_token_itself_reads_everything():
    net = Net()
    tokens = net.transpose(net.reshape(net.conv(net.x), 1, 4, 24), 0, 2, 1)
    tokens = net.concat(1, net.weight(1, 1, 4), tokens)
    tokens = net.attention(tokens, tokens, tokens)
    token = net(p.Take(dim=1), tokens, net.build.constant(0))
    graph, report = check(net.program(net.linear(token, 10)))
    assert report[list(graph)[-1]].is_global == (True, True)
    assert report[list(graph)[-1]].map_size == (1, 1)


def windows_of(net, x, block):
    n, c, h, w = x.shape
    cut = net.reshape(x, n, c, h // block, block, w // block, block)
    return net.reshape(net.transpose(cut, 0, 2, 4, 3, 5, 1), n * (h // block) * (w // block), block * block, c)


def windows_back(net, tokens, n, c, h, w, block):
    cut = net.reshape(tokens, n, h // block, w // block, block, block, c)
    return net.reshape(net.transpose(cut, 0, 5, 1, 3, 2, 4), n, c, h, w)


def test_window_attention_is_full_inside_its_window():
    net = Net((1, 2, 6, 6))
    x = net.conv(net.x)
    tokens = windows_of(net, x, 3)
    y = net.attention(net.linear(tokens, 4), net.linear(tokens, 4), net.linear(tokens, 4))
    out = net.add(x, windows_back(net, net.linear(y, 4), 1, 4, 6, 6, 3))
    _, report = check(net.program(net.conv(out)))
    assert report[list(report)[-1]].is_global == (False, False)


def test_shifted_windows_are_rolled():
    net = Net((1, 2, 6, 6))
    x = net.conv(net.x)
    rolled = net(p.Roll(dim=3, shift=-1), net(p.Roll(dim=2, shift=-1), x))
    tokens = windows_of(net, rolled, 3)
    y = windows_back(net, net.attention(tokens, tokens, tokens), 1, 4, 6, 6, 3)
    y = net(p.Roll(dim=3, shift=1), net(p.Roll(dim=2, shift=1), y))
    check(net.program(net.add(x, y)), exact=False, bound=ENDS)


def test_patch_merging_reads_blocks():
    net = Net((1, 2, 4, 6))
    x = net.transpose(net.conv(net.x), 0, 2, 3, 1)
    cut = net.transpose(net.reshape(x, 1, 2, 2, 3, 2, 4), 0, 1, 3, 2, 4, 5)
    y = net.linear(net.reshape(cut, 1, 2, 3, 16), 8)
    graph, report = check(net.program(y))
    assert report[list(graph)[-1]].size == (4, 4)
    assert report[list(graph)[-1]].stride == (2, 2)


def test_mean_over_blocks_is_a_pool():
    net = Net((1, 2, 4, 6))
    x = net.conv(net.x)
    y = net.reduce(net.reshape(x, 1, 4, 2, 2, 2, 3), 3, 5, keepdims=False)
    graph, _ = check(net.program(net.conv(y)))
    assert kinds(graph) == ["input", "conv", "avg_pool", "conv"]


def test_repeated_elements_are_nearest_upsampling():
    net = Net((1, 2, 3, 4))
    x = net.conv(net.x)
    wide = net(p.Expand(shape=(1, 4, 3, 2, 4, 2)), net(p.Unsqueeze(dims=(3, 5)), x))
    graph, _ = check(net.program(net.conv(net.reshape(wide, 1, 4, 6, 8))))
    assert kinds(graph) == ["input", "conv", "depth_to_space", "conv"]


def test_one_phase_of_a_reshape_is_a_strided_slice():
    net = Net((1, 2, 4, 6))
    x = net.reshape(net.conv(net.x), 1, 4, 4, 3, 2)
    y = net(p.Squeeze(dims=(4,)), net.slice(x, 4, 1, 2))
    graph, _ = check(net.program(net.conv(y)))
    assert kinds(graph) == ["input", "conv", "slice", "conv"]


@pytest.mark.parametrize(("start", "stop", "to"), [(1, 3, None), (1, 2, 4), (0, 2, 4), (2, None, None)])
def test_some_blocks_of_a_reshape_are_a_slice(start, stop, to):
    """Of three blocks of two positions."""
    net = Net((1, 2, 4, 6))
    x = net.slice(net.reshape(net.conv(net.x), 1, 4, 4, 3, 2), 3, start, stop)
    blocks = x.shape[3]
    graph, _ = check(net.program(net.conv(net.reshape(x, 1, 4, 4, 2 * blocks))))
    (cut,) = [told for _, told in graph.nodes(data=True) if told["op"] == "slice"]
    assert (cut["start"], cut["stop"]) == ([None, 2 * start or None], [None, to])


@pytest.mark.parametrize(("start", "positions", "bound"), [(0, 4, FOLDED), (1, 2, "")])
def test_every_other_block_of_a_reshape_is_followed(start, positions, bound):
    """Of three blocks of two positions."""
    net = Net((1, 2, 4, 6))
    x = net.slice(net.reshape(net.conv(net.x), 1, 4, 4, 3, 2), 3, start, None, 2)
    graph, report = check(net.program(net.conv(net.reshape(x, 1, 4, 4, positions))), bound=bound)
    assert report[list(graph)[-1]].map_size == (4, positions)


@pytest.mark.parametrize("first", [True, False])
def test_what_a_slice_leaves_of_class_tokens(first):
    """Two tokens before 24 positions, or behind them: all positions, some tokens with them, tokens alone, or a part."""
    net = Net()
    tokens = net.transpose(net.reshape(net.conv(net.x), 1, 4, 24), 0, 2, 1)
    rows = net.weight(1, 2, 4)
    tokens = net.concat(1, rows, tokens) if first else net.concat(1, tokens, rows)
    kept = [(2, None), (1, None), (2, 26)] if first else [(0, 24), (None, 25), (None, -2)]
    for start, stop in kept:
        graph, report = check(net.program(net.linear(net.slice(tokens, 1, start, stop), 4)))
        assert report[list(graph)[-1]].map_size == (4, 6)
    alone = [(0, 1), (None, 2), (1, 2)] if first else [(24, None), (-1, None), (24, 25)]
    for mixed, status in ((tokens, "bound"), (net.attention(tokens, tokens, tokens), "exact")):
        for start, stop in alone:  # what no attention has mixed anything into reads nothing
            left = net.linear(net.slice(mixed, 1, start, stop), 4)
            graph, report = check(net.program(left), exact=status == "exact", bound=TOKENS if status == "bound" else "")
            layer = report[list(graph)[-1]]
            assert (layer.is_global, layer.map_size, layer.status) == ((True, True), (1, 1), status)

    for start, stop in [(0, 10), (1, 10), (10, None), (9, 17)]:  # and some positions are no map
        graph = lower(net.program(net.linear(net.slice(tokens, 1, start, stop), 4)))
        report = rfgraph.analyze(graph)
        assert report[list(graph)[-2]].why.endswith(f"Slice reads ({PART}); pass treat={{...}}")


@pytest.mark.parametrize("tokens", [0, 1])
@pytest.mark.parametrize("amounts", [(1, 0), (0, 2), (2, 1), (-1, 0), (0, -1), (-2, 0)])
def test_rows_of_zeros_beside_positions(tokens, amounts):
    """As class tokens are; what is cropped can only be such a row."""
    net = Net()
    rows = net.transpose(net.reshape(net.conv(net.x), 1, 4, 24), 0, 2, 1)
    rows = net.concat(1, net.weight(1, tokens, 4), rows) if tokens else rows
    program = net.program(net.linear(net(p.Pad(amounts=((0, 0), amounts, (0, 0))), rows), 3))
    if amounts[0] + tokens >= 0 and amounts[1] >= 0:
        graph, report = check(program)
        assert report[list(graph)[-1]].map_size == (4, 6)
    else:
        why = "it crops a dimension that carries several axes, or part of one"
        assert why in {told.get("why") for _, told in lower(program).nodes(data=True)}


def test_a_slice_that_has_to_reach_its_end_says_so():
    net = Net()
    cut = p.Slice(dims=(2, 3), starts=(0, 1), stops=(4, 5), steps=(1, 1), whole=True)
    everything = p.Slice(dims=(2,), starts=(0,), stops=(4,), steps=(1,), whole=True)
    graph, _ = check(net.program(net(everything, net(cut, net.conv(net.x)))))
    told = graph.nodes["slice1"]
    assert (told["start"], told["stop"], told["whole"]) == ([None, 1], [None, 5], True)
    assert graph.nodes["slice2"]["op"] == "identity"


@pytest.mark.parametrize("rows", [[0, 1, 3], [0, 2, 3], [0, 2, 4, 5], [1, 2, 3, 5]], ids=str)
def test_rows_that_do_not_lie_evenly_are_no_slice(rows):
    net = Net((1, 2, 4, 6))
    taken = net(p.Take(dim=3), net.conv(net.x), net.build.constant(rows))
    graph, _ = check(net.program(taken), bound=ROWS)
    (gather,) = [told for _, told in graph.nodes(data=True) if told["op"] == "gather"]
    assert gather["positions"] == [None, rows]


@pytest.mark.parametrize("starts", [[0, 3, 5], [0, 1, 3], [1, 2, 4]], ids=str)
def test_windows_that_do_not_lie_evenly_are_a_table(starts):
    net = Net((1, 2, 4, 8))
    rows = [[start, start + 1] for start in starts]
    graph, _ = check(net.program(net(p.Take(dim=3), net.conv(net.x), net.build.constant(rows))), bound=ROWS)
    (gather,) = [told for _, told in graph.nodes(data=True) if told["op"] == "gather"]
    assert gather["positions"] == [None, [row for pair in rows for row in pair]]
    assert "max_pool" not in kinds(graph)


def test_windows_with_a_gap_inside_are_a_table():
    net = Net((1, 2, 2, 20))
    rows = [[[7 * i + 4 * j + k for k in (0, 1)] for j in (0, 1)] for i in range(3)]
    graph, _ = check(net.program(net(p.Take(dim=3), net.conv(net.x), net.build.constant(rows))), bound=ROWS)
    (gather,) = [told for _, told in graph.nodes(data=True) if told["op"] == "gather"]
    assert gather["positions"][1] == np.ravel(rows).tolist()
    assert "max_pool" not in kinds(graph)


def test_squeeze_excite_gates_are_global():
    net = Net()
    x = net.conv(net.x)
    gate = net.linear(net.relu(net.linear(net.reduce(x, 2, 3, keepdims=False), 2)), 4)
    gate = net(p.Unsqueeze(dims=(2, 3)), gate)
    graph, report = check(net.program(net.mul(x, gate)))
    last = report[list(graph)[-1]]
    assert last.is_global == (True, True)
    assert last.size == (3, 3)
    assert "broadcast" not in kinds(graph)


def test_a_pool_of_the_whole_map_by_kernel_is_broadcast():
    net = Net()
    x = net.conv(net.x)
    pool = net(
        p.Slide(
            function="avg_pool", dims=(2, 3), kernel=(4, 6), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)
        ),
        x,
    )
    graph, _ = check(net.program(net.mul(x, pool)))
    assert "broadcast" in kinds(graph)


def test_image_level_features_are_repeated_beside_the_map():
    net = Net()
    x = net.conv(net.x)
    pooled = net(p.Expand(shape=(1, 4, 4, 6)), net.reduce(x, 2, 3))
    check(net.program(net.conv(net.concat(1, x, pooled))))
    net = Net()
    x = net.conv(net.x)
    pooled = net(p.Unsqueeze(dims=(2, 3)), net.reduce(x, 2, 3, keepdims=False))
    check(net.program(net.conv(net.concat(1, net(p.Expand(shape=(1, 4, 4, 6)), pooled), x))))


def test_axial_attention_mixes_one_axis():
    net = Net()
    x = net.conv(net.x)
    rows = net.transpose(x, 0, 2, 3, 1)  # one sequence per row
    graph, report = check(net.program(net.add(rows, net.attention(rows, rows, rows))))
    assert report[list(graph)[-1]].is_global == (False, True)


def test_token_mixing_keeps_the_map():
    net = Net()
    tokens = net.reshape(net.conv(net.x), 1, 4, 24)
    mixed = net.linear(net.relu(net.linear(tokens, 24)), 24)
    graph, report = check(net.program(net.conv(net.reshape(net.add(tokens, mixed), 1, 4, 4, 6))))
    assert report[list(graph)[-1]].is_global == (True, True)
    hidden = net.linear(net.relu(net.linear(tokens, 7)), 24)  # through seven mixtures of all positions
    check(net.program(net.conv(net.reshape(net.add(tokens, hidden), 1, 4, 4, 6))))


def test_a_classifier_sees_one_position():
    net = Net()
    y = net.linear(net.reshape(net.conv(net.x), 1, 96), 10)
    graph, report = check(net.program(net.mix(y, 1)))
    assert kinds(graph) == ["input", "conv", "dense", "channel_softmax"]
    assert report[list(graph)[-1]].map_size == (1, 1)


def test_a_decoder_begins_at_a_vector():
    net = Net((1, 2, 4, 6))
    code = net.linear(net.reshape(net.conv(net.x), 1, 96), 12)
    grid = net.reshape(net.linear(code, 24), 1, 4, 2, 3)
    check(net.program(net.conv(grid)))


def test_positions_among_the_channels_are_summed_by_a_convolution():
    net = Net((1, 2, 4, 6))
    rows = net.reshape(net.transpose(net.conv(net.x), 0, 1, 2, 3), 1, 16, 1, 6)  # channels and rows together
    graph, report = check(net.program(net.conv(rows, kernel=(1, 3), padding=(0, 1))))
    assert report[list(graph)[-1]].is_global == (True, False)


def test_dilation_written_as_space_to_batch():
    net = Net((1, 2, 8, 6))
    x = net.conv(net.x)
    cut = net.reshape(net.transpose(net.reshape(x, 1, 4, 4, 2, 6), 3, 0, 1, 2, 4), 2, 4, 4, 6)
    y = net.conv(cut, kernel=(3, 1), padding=(0, 0))
    back = net.reshape(net.transpose(net.reshape(y, 2, 1, 4, 2, 6), 1, 2, 3, 0, 4), 1, 4, 4, 6)
    graph, _ = check(net.program(net.conv(back)))
    assert [graph.nodes[node].get("dilation") for node in graph] == [None, None, [2, 1], None]


@pytest.mark.parametrize(("stride", "padding"), [(2, 0), (1, "same_upper"), (2, "same_upper")])
def test_a_window_over_every_second_row_neither_strides_nor_pads_to_its_size(stride, padding):
    net = Net((1, 2, 8, 6))
    cut = net.reshape(net.transpose(net.reshape(net.conv(net.x), 1, 4, 4, 2, 6), 3, 0, 1, 2, 4), 2, 4, 4, 6)
    window = p.Slide(
        function="conv", dims=(2, 3), kernel=(3, 1), stride=(stride, 1), dilation=(1, 1), channel=1, channels=4,
        padding=padding or ((0, 0), (0, 0)),
    )  # fmt: skip
    graph = lower(net.program(net(window, cut)))
    why = "it strides over an axis of which some positions are in the batch"
    assert graph.nodes[list(graph)[-1]].get("why") == why


def transposed(net, x, *, kernel=1, stride=1, output_padding=0, **more):
    """A transposed convolution, or a fold, along the last dimension."""
    last = len(x.shape) - 1
    return net(
        p.SlideTransposed(
            dims=(last,), kernel=(kernel,), stride=(stride,), padding=((0, 0),), output_padding=(output_padding,),
            **{"dilation": (1,), "channel": 1, "channels": x.shape[1], **more},
        ), x
    )  # fmt: skip


def test_output_padding_alone_makes_a_map_larger():
    net = Net((1, 2, 5))
    graph, report = check(net.program(transposed(net, net.x, output_padding=1, dilation=(2,))), spatial=(2,))
    assert report[list(graph)[-1]].map_size == (6,)


def test_positions_laid_out_by_a_fold_are_exact_where_the_channels_hold_none():
    net = Net((1, 2, 6))
    folded = transposed(net, net.relu(net.x), kernel=2, stride=2, apart=True)
    _, report = check(net.program(net.conv(folded, dims=(2,))), spatial=(2,))
    assert report[folded.name].map_size == (12,)


def test_channels_beside_positions_are_no_axis_that_a_window_slides_over():
    net = Net((1, 2, 2, 6))
    rows = net.reduce(net.conv(net.x), 3, keepdims=False)  # [1, 4, 2]: one axis is left, of two positions
    split = net.transpose(net.reshape(rows, 1, 2, 2, 2), 0, 1, 3, 2)
    graph = lower(net.program(net.conv(split)))
    why = "it slides over 2 positions of dimension 3, which an op before it mixed: no axis tells them apart any more"
    assert graph.nodes[list(graph)[-1]].get("why") == why


def test_a_window_of_one_position_reads_tokens_one_by_one():
    net = Net()
    tokens = net.reshape(net.conv(net.x), 1, 4, 24)
    graph, report = check(net.program(net.conv(tokens, kernel=1, padding=0, dims=(2,))))
    assert (kinds(graph), report["slide2"].size) == (["input", "conv", "conv"], (3, 3))


@pytest.mark.parametrize(("block", "status"), [(4, "exact"), (3, "bound")])
def test_a_pool_within_blocks_is_one_of_the_map_where_it_cuts_them_evenly(block, status):
    net = Net((1, 2, 2, 12))
    blocks = net.transpose(net.reshape(net.conv(net.x), 1, 4, 2, 12 // block, block), 0, 3, 1, 2, 4)
    pool = p.Slide(
        function="max_pool", dims=(2, 3), kernel=(1, 2), stride=(1, 2), padding=((0, 0),) * 2, dilation=(1, 1)
    )
    program = net.program(net(pool, net.reshape(blocks, 12 // block, 4, 2, block)))
    graph, report, _ = check_tensors(program, layout_of(program), (2, 3), exact=True)
    assert ("max_pool" in kinds(graph), report[list(report)[-1]].status) == (status == "exact", status)


RESIZES = {
    "twice": (lambda h, w: (2 * h, w), {"scale": [2, 1]}),
    "half": (lambda h, w: (h, w // 2), {"scale": [1, "1/2"]}),
    "as the input": (lambda h, w: (h, w), {"like": [1, 1], "target": "H, W"}),
    "fixed": (lambda h, w: (8, 6), {"size": [8, 6]}),
    "one fixed": (lambda h, w: (8, w), None),
    "one more": (lambda h, w: (h + 1, w), None),
}


@pytest.mark.parametrize("name", RESIZES)
def test_resizes_to_sizes_that_depend_on_the_input(name):
    h, w = symbol("H"), symbol("W")
    sizes, told = RESIZES[name]
    net = Net((1, 2, h, w))
    x = net.conv(net.x, stride=2) if name == "as the input" else net.conv(net.x)
    graph = lower(net.program(net(p.Resize(dims=(2, 3), sizes=sizes(h, w), mode="linear"), x)))
    attributes = graph.nodes[list(graph)[-1]]
    if told is None:
        text = ", ".join(map(str, sizes(h, w)))
        assert attributes["why"] == f"it resizes to {text}, which depends on the input size; give one"
    else:
        assert {name: attributes[name] for name in told} == told


def test_concatenation_along_an_axis_is_a_bound():
    net = Net()
    x = net.conv(net.x)
    graph, report = check(net.program(net.conv(net.concat(2, x, net.conv(net.x, kernel=5, padding=2)))), bound=ENDS)
    assert report[list(graph)[-1]].status == "bound"


def test_maps_flattened_into_one_row_have_no_positions_left():
    net = Net()
    a, b = net.conv(net.x), net.conv(net.x, stride=2)
    rows = [net.reshape(m, 1, 4, m.shape[2] * m.shape[3]) for m in (a, b)]
    graph, report = check(net.program(net.concat(2, *rows)))
    assert report[list(graph)[-1]].map_size == (1, 1)
    assert all(report[list(graph)[-1]].is_global)


@pytest.mark.parametrize("flat", [True, False])
def test_a_map_on_its_own_transpose_is_not_followed(flat):
    net = Net((1, 2, 4, 4))
    x = net.conv(net.x)
    both = [x, net.transpose(x, 0, 1, 3, 2)]
    if flat:
        both = [net.reshape(y, 1, 4, 16) for y in both]
    graph = lower(net.program(net.add(*both)))
    last = rfgraph.analyze(graph)[list(graph)[-1]]
    assert "its operands lie on each other in a way that cannot be followed" in last.why


def test_pairs_of_positions_read_one_and_all_others():
    net = Net((1, 2, 4, 6))
    tokens = net.reduce(net.conv(net.x), 3, keepdims=False)  # [1, channels, rows]
    pairs = net.add(net(p.Unsqueeze(dims=(3,)), tokens), net(p.Unsqueeze(dims=(2,)), tokens))
    check(net.program(pairs))


def test_one_and_three_dimensional_nets():
    net = Net((1, 2, 9))
    check(net.program(net.conv(net.conv(net.x, dims=(2,), stride=2), dims=(2,), dilation=2)), spatial=(2,))
    net = Net((1, 2, 3, 4, 3))
    check(net.program(net.conv(net.x, dims=(2, 3, 4))), spatial=(2, 3, 4))


def test_frames_in_the_batch_are_an_axis_once_a_window_slides_over_them():
    net = Net((1, 4, 2, 3, 4))  # batch, time, channels, height, width
    frames = net.conv(net.reshape(net.x, 4, 2, 3, 4), channels=2)
    video = net.transpose(net.reshape(frames, 1, 4, 2, 3, 4), 0, 2, 1, 3, 4)
    out = net.conv(video, kernel=(3, 1, 1), padding=(1, 0, 0), dims=(2, 3, 4))
    graph, report = check(net.program(out), spatial=(1, 3, 4))
    assert report[list(graph)[-1]].size == (3, 3, 3)


def test_recurrence_reads_the_whole_sequence():
    net = Net((1, 2, 9))
    x = net.transpose(net.conv(net.x, dims=(2,)), 2, 0, 1)
    graph, _report = check(net.program(net.mix(x, 0, function="recurrent")), spatial=(2,))
    assert kinds(graph) == ["input", "conv", "recurrent"]


def test_adaptive_pools_and_resizes():
    net = Net()
    x = net(p.AdaptivePool(function="avg_pool", dims=(2, 3), sizes=(3, 2)), net.conv(net.x))
    x = net(p.Resize(dims=(2, 3), sizes=(6, 5), mode="linear"), x)
    check(net.program(net(p.Resize(dims=(3,), scales=(2,), coordinates="asymmetric", nearest_mode="floor"), x)))


@st.composite
def windows_over_a_map(draw):
    """One window, resize or exchange of each kind, its numbers drawn axis by axis, over a map laid out either way."""
    net = Net((1, 2, draw(st.integers(4, 8)), draw(st.integers(4, 8))))
    kind = draw(st.sampled_from(["conv", "pool", "transposed", "adaptive", "blocks", "space", "resize", "scale"]))
    channels_last = kind not in ("blocks", "space") and draw(st.booleans())
    x = net.relu(net.x)
    dims, channel = ((1, 2), 3) if channels_last else ((2, 3), 1)
    x = net.transpose(x, 0, 2, 3, 1) if channels_last else x

    def pair(least, most):
        return draw(st.integers(least, most)), draw(st.integers(least, most))

    kernel, stride, dilation = pair(1, 3), pair(1, 3), pair(1, 2)
    match kind:
        case "conv" | "pool":
            padding = (pair(0, 1), pair(0, 1))
            sums = (
                {"function": "conv", "channel": channel, "channels": 3} if kind == "conv" else {"function": "max_pool"}
            )
            window = p.Slide(dims=dims, kernel=kernel, stride=stride, padding=padding, dilation=dilation, **sums)
        case "transposed":
            window = p.SlideTransposed(
                dims=dims, kernel=kernel, stride=stride, padding=(pair(0, 1), pair(0, 1)), dilation=dilation,
                output_padding=pair(0, 1), channel=channel, channels=3,
            )  # fmt: skip
        case "adaptive":
            window = p.AdaptivePool(function="avg_pool", dims=dims, sizes=pair(1, 5))
        case "blocks":
            blocks = pair(1, 2)
            more = [(0, -size % block) for size, block in zip(x.shape[2:], blocks, strict=True)]
            x = net(p.Pad(amounts=((0, 0), (0, 0), *more)), x)
            window = p.SpaceToDepth(channel=channel, dims=dims, blocks=blocks)
        case "space":
            blocks = pair(1, 2)
            x = net.conv(x, 1, 1, 0, channels=2 * blocks[0] * blocks[1], dims=dims, channel=channel)
            window = p.DepthToSpace(channel=channel, dims=dims, blocks=blocks)
        case "resize":
            window = p.Resize(dims=dims, sizes=pair(2, 9), mode="linear")
        case _:
            rule = {"coordinates": "asymmetric", "nearest_mode": "floor"}
            window = p.Resize(dims=dims, scales=pair(1, 3), mode="nearest", **rule)
    y = net(window, x)
    return net.program(net.conv(y, dims=dims, channel=channel) if draw(st.booleans()) and min(y.shape) > 0 else y)


@given(windows_over_a_map())
@settings(max_examples=60)
def test_windows_over_a_map_are_those_of_the_masks(program):
    if min(min(step.output.shape) for step in program.instructions) > 0:
        check(program)


MOVES = [
    "transpose", "merge", "split", "split", "relu", "add", "linear", "reduce", "mix", "pad", "slice", "concat", "roll",
    "expand", "conv", "attention",
]  # fmt: skip


@st.composite
def programs(draw):
    """Draw a program that moves, mixes and slides over dimensions without regard for what they carry."""
    net = Net((1, 2, 4, 6))
    tensors = [net.conv(net.x)]
    for _ in range(draw(st.integers(1, 6))):
        x = draw(st.sampled_from(tensors[-3:]))
        shape, rank = x.shape, len(x.shape)
        d = draw(st.integers(0, max(rank - 1, 0)))
        what = draw(st.sampled_from(MOVES))
        if what == "transpose":
            y = net.transpose(x, *draw(st.permutations(range(rank))))
        elif what == "merge" and d + 1 < rank:
            y = net.reshape(x, *shape[:d], shape[d] * shape[d + 1], *shape[d + 2 :])
        elif what == "split" and rank < 6 and (factors := [f for f in (2, 3) if rank and shape[d] % f == 0]):
            factor = draw(st.sampled_from(factors))
            pair = draw(st.permutations([factor, shape[d] // factor]))
            y = net.reshape(x, *shape[:d], *pair, *shape[d + 1 :])
        elif what == "add":
            others = [t for t in tensors if t.shape == shape]
            y = net.add(x, draw(st.sampled_from(others)))
        elif what == "linear" and rank:
            y = net.linear(x, draw(st.sampled_from([2, shape[-1]])))
        elif what == "reduce" and rank:
            y = net.reduce(x, d, keepdims=draw(st.booleans()))
        elif what == "mix" and rank:
            y = net.mix(x, d)
        elif what == "pad" and rank:
            amounts = [(0, 0)] * rank
            amounts[d] = (draw(st.integers(-1, 2)), draw(st.integers(0, 1)))
            if shape[d] + sum(amounts[d]) < 1:
                continue
            y = net(p.Pad(amounts=tuple(amounts)), x)
        elif what == "slice" and rank:
            start = draw(st.integers(0, shape[d] - 1))
            y = net.slice(x, d, start, draw(st.integers(start + 1, shape[d])), draw(st.integers(1, 2)))
        elif what == "concat" and rank:
            y = net.concat(d, x, draw(st.sampled_from([x, net.weight(*shape)])))
        elif what == "roll" and rank:
            y = net(p.Roll(dim=d, shift=1), x)
        elif what == "expand":
            y = net(p.Expand(shape=tuple(2 if size == 1 else size for size in shape)), x)
        elif what == "conv" and rank == 4 and np.prod(shape) < 400:
            dims = draw(st.sampled_from([(2, 3), (1, 2), (2,)]))
            y = net.conv(x, kernel=draw(st.sampled_from([1, 3])), dims=dims, channel=1 if 1 not in dims else 3,
                         channels=2, stride=draw(st.sampled_from([1, 1, 2])))  # fmt: skip
        elif what == "attention" and rank >= 2 and np.prod(shape) < 400:
            y = net.attention(x, x, x)
        else:
            y = net.relu(x)
        if np.prod(y.shape) <= 1000:
            tensors.append(y)
    return net.program(tensors[-1])


@given(programs())
def test_random_programs_read_no_more_than_their_regions(program):
    check_tensors(program, Layout.given(program, {"x": (2, 3)}), (2, 3), exact=False)


def test_second_inputs_without_axes_are_constants():
    net = Net()
    step = net.build.input("step", (1, 8))
    scale = net(p.Unsqueeze(dims=(2, 3)), net.linear(step, 4))
    graph = lower(net.program(net.mul(net.conv(net.x), scale)))
    assert [node for node in graph if graph.nodes[node]["op"] == "input"] == ["x"]


def test_outputs_are_called_as_the_model_calls_them():
    """Where it has a word for one, that no other output has and no other node."""
    net = Net()
    x = net.conv(net.x)
    y, z = net.relu(x), net.relu(x)
    ends = {"features": x, y.name: y, x.name: z, "learned": net.weight(4)}
    program = net.build.program([*ends.values(), y, z], [*ends, "features", ""])
    assert lower(program).graph["outputs"] == {"features": x.name, y.name: y.name, z.name: z.name}


def test_names_that_are_taken_get_a_number():
    maps = LoweringBuilder("net", 1, {})
    names = [maps.emit("input", name, []) for name in ("a", "a", "a", "b_2", "b", "b", "b")]
    assert names == list(maps.network.graph) == ["a", "a_2", "a_3", "b_2", "b", "b_3", "b_4"]


def test_masks_meet_the_axes_of_the_image_they_are_laid_on():
    net = Net()
    mask = net.build.input("mask", (4, 6))
    graph = lower(net.program(net.conv(net.mul(net.x, mask))))
    assert graph.nodes["mask"] == {"op": "input", "size": [4, 6], "channels": 1}


def test_siamese_inputs_share_their_axes():
    net = Net()
    twin = net.build.input("twin", (1, 2, 4, 6))
    graph = lower(net.program(net.concat(1, net.conv(net.x), net.conv(twin))))
    assert graph.graph["axes"] == 2
    assert graph.nodes["twin"]["size"] == [4, 6]


def test_what_is_not_known_is_named_and_what_follows_it_is_placed_anew():
    net = Net()
    y = net.conv(net.x)
    net.build.at("warp", "GridSample")
    y = net.build(p.Opaque(why="it reads where its grid says", shape=(1, 4, 8, 8)), y, shape=(1, 4, 8, 8))
    out = net.conv(net.conv(net.relu(y)))
    graph = lower(net.program(out))
    assert graph.nodes["warp"] == {"op": "unknown", "of": "GridSample", "why": "it reads where its grid says"}
    trace = rfgraph.trace(graph, out.name)
    assert trace["warp"].size == (5, 5)
    report = rfgraph.analyze(graph)
    assert report[out.name].status == "unknown"
    assert "node 'warp' (unknown)" in report[out.name].why


@pytest.mark.parametrize("treatment", ["identity", "global", "cut"])
def test_treatments(treatment):
    net = Net()
    y = net.conv(net.x)
    net.build.at("warp", "GridSample")
    y = net.build(p.Opaque(), y, net.x, shape=(1, 4, 4, 6))
    pooled = net.reduce(y, 2, 3)  # which dimensions are positions is known, because the op is treated
    program = net.program(net.conv(y), pooled)
    report = rfgraph.analyze(lower(program, {"Grid*": treatment}), treat={"Grid*": treatment})
    last, pooled_layer = report["slide2"], report[pooled.name]
    if treatment == "cut":
        assert all(window.is_empty for window in last.field)
    elif treatment == "global":
        assert last.is_global == pooled_layer.is_global == (True, True)
    else:
        assert last.size == (5, 5)
        assert pooled_layer.is_global == (True, True)
    assert pooled_layer.op == "global_avg_pool"


def test_a_program_without_windows_is_refused():
    net = Net()
    with pytest.raises(ModelFileError, match="net: it has no convolution, pooling or resize"):
        lower(net.program(net.relu(net.x)))
    assert kinds(lower(net.program(net.relu(net.x)), spatial={"x": (2, 3)})) == ["input", "relu"]


def test_symbolic_sizes_go_through_views():
    n, h, w = symbol("N"), symbol("H"), symbol("W")
    net = Net((n, 3, h, w))
    x = net.conv(net.x)
    tokens = net.transpose(net.reshape(x, n, 4, h * w), 0, 2, 1)
    y = net.add(tokens, net.attention(tokens, tokens, tokens))
    out = net.conv(net.reshape(net.transpose(y, 0, 2, 1), n, 4, h, w))
    graph = lower(net.program(out))
    assert rfgraph.analyze(graph)[out.name].size == (5, 5)
    cut = net.reshape(x, n, 4, h // 7, 7, w // 7, 7)
    y = net.reduce(cut, 3, 5, keepdims=False)
    graph = lower(net.program(net.relu(y)))
    assert rfgraph.analyze(graph)[list(graph)[-1]].stride == (7, 7)
    net = Net((n, 3, 7 * h, w))
    mean = net.reduce(net.reshape(net.conv(net.x), n, 4, 7, h, w), 3, keepdims=False)  # of blocks of unknown size
    layer = rfgraph.analyze(lower(net.program(mean)))[mean.name]
    assert (layer.is_global, layer.why) == ((True, False), APART)


#: How much of the difference of two sizes is cropped before a map, along each axis.
CROPS = {
    "half": (lambda more: more // 2, lambda more: more // 2),
    "half and more": (lambda more: -(-more // 2), lambda more: -(-more // 2)),
    "begin": (lambda more: more, lambda more: more),
    "end": (lambda more: 0, lambda more: 0),
    "both": (lambda more: more, lambda more: 0),
}


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("pads", [False, True])
def test_maps_made_as_large_as_another_are_so_at_every_size(name, pads):
    """A skip connection of an encoder that is cropped, or a decoder that is padded; as a model of that size says it."""

    def model(h, w):
        net = Net((1, 2, h, w))
        skip = net.conv(net.x)
        up = net(p.Resize(dims=(2, 3), scales=(4, 4)), net.conv(skip, kernel=4, stride=4, padding=0))
        few = up.shape[2:]
        before = [share(size - less) for share, size, less in zip(CROPS[name], (h, w), few, strict=True)]
        if pads:
            amounts = [(b, size - less - b) for b, size, less in zip(before, (h, w), few, strict=True)]
            return net.program(net.add(skip, net(p.Pad(amounts=((0, 0), (0, 0), *amounts)), up)))
        stops = tuple(b + less for b, less in zip(before, few, strict=True))
        return net.program(
            net.add(up, net(p.Slice(dims=(2, 3), starts=tuple(before), stops=stops, steps=(1, 1)), skip))
        )

    graph = lower(model(symbol("H"), symbol("W")))
    last = list(graph)[-1]
    assert ("like" in graph.nodes[list(graph)[-2]]) == (name != "both")
    for size in (6, 7), (9, 8):
        layer = rfgraph.analyze(graph, input_size=size)[last]
        if name == "both":
            assert "on the input size; give one" in layer.why
        else:
            assert layer.field == rfgraph.analyze(lower(model(*size)))[last].field


def test_a_slice_of_a_map_at_a_position_that_depends_on_another_axis_is_not_known():
    h, w = symbol("H"), symbol("W")
    net = Net((1, 2, h, 6))
    x = net.conv(net.x)
    cut = net.slice(x, 3, h - 4, None)
    tokens = net.transpose(net.reshape(x, 1, 4, 6 * h), 0, 2, 1)
    some = net.slice(net.concat(1, net.weight(1, 2, 4), tokens), 1, h, 2 * h)
    graph = lower(net.program(net.conv(cut), some))
    assert "it slices H - 4:, which depends on the input size; give one" in graph.nodes[cut.name]["why"]
    assert graph.nodes[some.name]["why"] == PART
    net = Net((1, 2, h, w))
    tokens = net.transpose(net.reshape(net.conv(net.x), 1, 4, h * w), 0, 2, 1)
    rest = net.slice(net.concat(1, net.weight(1, h, 4), tokens), 1, h, None)  # as many class tokens as rows
    assert kinds(lower(net.program(net.linear(rest, 4)))) == ["input", "conv", "identity", "identity", "conv"]


def element_of_steps(net, steps, element):
    """Return a map to which one of ``steps`` numbers is added."""
    x = net.conv(net.x)
    listed = net(p.Expand(shape=(4, steps)), net.reshape(net.reduce(x, 2, 3, keepdims=False), 4, 1))
    return net.add(x, net.reshape(net(p.Take(dim=1), listed, net.build.constant(element)), 1, 4, 1, 1))


@pytest.mark.parametrize(("element", "least"), [(0, 1), (1, 1), (2, 7), (-3, 7), (5, 28)])
def test_an_element_that_is_taken_has_to_be_there(element, least):
    """Also along a dimension that is no axis of a map, and whatever size the model is read for."""

    def model(shapes):
        net = Net(shapes.get("x", (1, 2, symbol("H"), symbol("W"))))
        return net.build.program([element_of_steps(net, net.x.shape[2] // 7 + 2, element)])

    for size in (None, 56):
        y, x = rfgraph.analyze(lower_for(model, input_size=size)).input_sizes
        assert (str(y), str(x)) == (f"any size from {least}", "any size from 1")
    if least > 1:
        with pytest.raises(SizeError, match=f"no map of {least - 1} positions, but of {least} or more"):
            rfgraph.analyze(lower_for(model, input_size=least - 1), input_size=least - 1)


def test_an_element_that_may_not_be_there_leaves_the_sizes_open():
    h, w = symbol("H"), symbol("W")
    for steps in (h * w, h - 4 * (h // 4)):
        net = Net((1, 2, h, w))
        y, x = rfgraph.analyze(lower(net.program(element_of_steps(net, steps, 2)))).input_sizes
        assert (y, x is None) == (None, steps == h * w)
    net = Net((1, 2, 8, 8))
    graph = lower(net.program(element_of_steps(net, 3, 3)))
    assert "it takes element 3 along a dimension of size 3" in {data.get("why") for _, data in graph.nodes(data=True)}


@pytest.mark.parametrize("first", [True, False])
def test_of_rows_that_no_one_counts_no_one_knows_where_those_beside_them_lie(first):
    """As states that a stream keeps, of an open length, put before or behind its new samples."""
    net = Net((1, 2, symbol("T")))
    states = net.build.weight((1, 2, symbol("S")))
    x = net.conv(net.x, channels=2, dims=(2,))
    y = net(p.Concat(dim=2), *((states, x) if first else (x, states)))
    graph = lower(net.program(y))
    report = rfgraph.analyze(graph, 9)
    (end,) = report.outputs
    assert report[end].map_size == (None,)
    assert report[end].status == ("unknown" if first else "bound")
    assert report.input_sizes[0] is not None  # whatever stands beside it, it takes them all


def test_a_size_cut_into_blocks_has_to_be_a_multiple_of_them():
    def claims(first, *cut):
        net = Net((1, 2, symbol("H"), symbol("W")))
        x = net.conv(net.x, stride=(first, 1))
        h, w = x.shape[2:]
        cut = net.reshape(x, 1, 4, h // cut[0], cut[0], w // cut[1], cut[1])
        graph = lower(net.program(net.relu(net.reduce(cut, 3, 5, keepdims=False))))
        return [str(sizes) for sizes in rfgraph.analyze(graph).input_sizes]

    assert claims(1, 4, 7) == ["multiples of 4, from 4", "multiples of 7, from 7"]
    assert claims(2, 4, 1) == ["n mod 8 is 0 or 7, from 7", "any size from 1"]


def test_rows_that_are_multiplied_are_as_many_as_the_matrix_says():
    """Which sizes make so many of them is a matter of both axes: no one tells."""
    net = Net((1, 2, symbol("H"), symbol("W")))
    x = net.conv(net.x)
    h, w = x.shape[2:]
    flat = net.reshape(x, 1, x.shape[1] * h * w)
    out = net(p.Contract(operands=(("b", "k"), ("k", "o")), output=("b", "o")), flat, net.build.constant([[1]] * 36))
    assert rfgraph.analyze(lower(net.program(out))).input_sizes == (None, None)


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 6), st.integers(1, 6))
def test_sizes_at_which_expressions_are_equal(stride, plus, one, other):
    h, w = symbol("H"), symbol("W")
    m, k = (h + plus) // stride, w * other
    sides = m * k, (m // one * one) * (k // one * one)
    told = {name: sizes for name, sizes in _solved(*sides).items() if sizes != ANY} if sides[0] != sides[1] else {}
    for y in range(1, 30):
        for x in range(1, 30):
            values = [valued(side, {"H": y, "W": x}) for side in sides]
            taken = [told.get(name, ANY) for name in "HW"]
            assert None not in {sizes.least for sizes in taken}
            fits = all(n % sizes.modulus in sizes.residues for n, sizes in zip((y, x), taken, strict=True))
            assert fits == (values[0] == values[1]) or values[0] == 0


# Sizes and views by themselves.


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 50), st.integers(-5, 5))
def test_symbolic_sizes_agree_with_numbers(a, b, k, h, c):
    height = symbol("H")

    def value(size):
        """Evaluate an expression at H = h."""
        if isinstance(size, int):
            return size
        total = 0
        for atoms, coefficient in size.terms:
            term = coefficient
            for atom in atoms:
                if isinstance(atom, str):
                    term *= h
                elif hasattr(atom, "numerator"):
                    term *= value(atom.numerator) // atom.denominator
                else:
                    term *= value(atom)
            total += term
        return total

    made = (a * height + c) // k * b + c
    assert value(made) == (a * h + c) // k * b + c
    assert value(-(-height // k)) == -(-h // k)
    assert value(height * (height + c)) == h * (h + c)
    quotient = exact_quotient(a * k * (height + c), k)
    assert quotient == a * (height + c)


@st.composite
def views(draw):
    """Draw a view: of axes, of channels, and of axes with rows beside their positions."""
    dims = []
    for axis in range(draw(st.integers(1, 3))):
        size, kind = draw(st.sampled_from([1, 2, 3, 4, 6])), draw(st.sampled_from(["axis", "other", "rows"]))
        rows = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        whole = along(axis, size)
        dims.append(other(size) if kind == "other" else whole if kind == "axis" else Dimension(whole.parts, *rows))
    return View(tuple(dims))


@given(views(), st.data())
def test_a_view_that_is_moved_numbers_elements_as_numpy_does(view, data):
    """And is found again when it is moved back; what cuts nothing, or one part of one dimension, is always followed."""
    several = {axis for axis in view.axes if view.extent(axis) != 1}

    def positions(view, numbers):
        at = {}
        for index in np.ndindex(*numbers.shape):
            here = position(view, index)
            at[numbers[index]] = here and {axis: here.get(axis, 0) for axis in several}
        return at

    numbers = np.arange(np.prod(view.sizes)).reshape(view.sizes)
    told = positions(view, numbers)
    for _ in range(4):
        d, before = data.draw(st.integers(0, view.rank - 1)), view
        shape = view.sizes
        match data.draw(st.sampled_from(["transpose", "split", "merge"])):
            case "transpose":
                order = data.draw(st.permutations(range(view.rank)))
                view, numbers = view.transposed(order), numbers.transpose(order)
            case "merge" if d + 1 < view.rank:
                moved = view.reshaped((*shape[:d], shape[d] * shape[d + 1], *shape[d + 2 :]))
                assert moved is not None or before.dims[d].extra or before.dims[d + 1].extra
                view = moved or view
            case "split":
                k = data.draw(st.sampled_from([k for k in range(1, shape[d] + 1) if shape[d] % k == 0]))
                moved = view.reshaped((*shape[:d], k, shape[d] // k, *shape[d + 1 :]))
                assert moved is not None or len(before.dims[d].parts) > 1 or any(dim.extra for dim in before.dims)
                view = moved or view
        numbers = numbers.reshape(view.sizes)
        assert positions(view, numbers) == told
        assert view.torn is None
        if not any(dim.extra for dim in view.dims) and sorted(view.sizes) != sorted(before.sizes):
            assert view.reshaped(before.sizes).sizes == before.sizes


def numbered(view):
    """Return the position of each element of a view, in their order."""
    return [position(view, index) for index in np.ndindex(*view.sizes)]


@pytest.mark.parametrize(("before", "after"), [(1, 0), (0, 1), (2, 1)])
def test_rows_beside_positions_are_merged_with_channels_and_split_again(before, after):
    rows = 4 + before + after
    view = View((Dimension(along(0, 4).parts, before, after), other(6)))
    for shapes in [
        [(6 * rows,)],
        [(6 * rows,), (2 * rows, 3)],
        [(rows, 2, 3), (1, rows, 6)],
        [(6 * rows, 1), (rows, 6)],
    ]:
        moved = view
        for shape in shapes:
            moved = moved.reshaped(shape)
            assert moved.sizes == shape
            assert numbered(moved) == numbered(view)
        assert moved.reshaped((6 * rows,)).reshaped((rows, 6)) == view
    for shape in [(2, 3 * rows), (3, 2 * rows), (6, rows)]:
        assert view.reshaped(shape) is None
    for dims in [(other(2), view.dims[0]), (along(1, 2), view.dims[0]), (view.dims[0], along(1, 2))]:
        assert View(dims).reshaped((2 * rows,)) is None


def test_channels_side_by_side_are_cut_anyhow_and_positions_only_where_they_end():
    view = View((other(4), other(3), along(0, 5)))
    assert view.reshaped((2, 6, 5)) == View((other(2), other(6), along(0, 5)))
    assert view.reshaped((6, 10)).reshaped((2, 6, 5)) == View((other(2), other(6), along(0, 5)))
    for dims in [(other(4), along(0, 3)), (along(0, 4), other(3)), (along(0, 4), along(1, 3))]:
        assert View(dims).reshaped((6, 2)) is None
        assert numbered(View(dims).reshaped((2, 6))) == numbered(View(dims))


def test_an_op_has_one_handler():
    handlers = Handlers("Toy")
    handlers.handles("Conv")(lambda node: node)
    with pytest.raises(ValueError, match="Toy op 'Conv' has two handlers; keep one"):
        handlers.handles("Pool", "Conv")(lambda node: node)


def test_constants_that_cover_an_axis_are_nodes_of_their_size():
    net = Net((1, 2, 6, 4))
    x = net.conv(net.x)
    x = net.mul(x, net.weight(1, 4, 1, 1))  # alike at every position
    x = net.add(x, net.weight(1, 4, 6, 1))
    x = net.concat(1, x, net.weight(1, 2, 6, 4))
    graph, report = check(net.program(net.conv(x)))
    codes = [attributes for _, attributes in graph.nodes(data=True) if attributes["op"] == "constant"]
    assert [(code["size"], code["channels"]) for code in codes] == [([6, 1], 4), ([6, 4], 2)]
    y, x = rfgraph.analyze(graph).input_sizes
    assert (str(y), str(x)) == ("1 and 6 only", "4 only")  # only what is added is repeated, and not what is beside
    report = rfgraph.analyze(graph, input_size=(6, 4))
    assert report.aligned
    with pytest.raises(rfgraph.errors.SizeError, match=r"its inputs differ in size.*'pointwise2/constant' gives 6"):
        rfgraph.analyze(graph, input_size=(5, 4))


@pytest.mark.parametrize("first", [True, False])
def test_codes_of_tokens_cover_all_positions(first):
    net = Net((1, 2, 4, 6))
    tokens = net.transpose(net.reshape(net.conv(net.x), 1, 4, 24), 0, 2, 1)
    token = net.weight(1, 1, 4)
    tokens = net.concat(1, token, tokens) if first else net.concat(1, tokens, token)
    tokens = net.add(tokens, net.weight(1, 25, 4))
    graph, _ = check(net.program(net.linear(tokens, 3)))
    codes = [node for node, op in graph.nodes(data="op") if op == "constant"]
    assert [graph.nodes[code]["size"] for code in codes] == [[4, 6]]
    # One position alone would be repeated beside the codes of all; a class token beside it makes two rows.
    assert [str(sizes) for sizes in rfgraph.analyze(graph).input_sizes] == ["4 only", "6 only"]


def test_constants_that_were_repeated_over_positions_are_no_maps():
    net = Net((1, 2, 6, 4))
    x = net.conv(net.x)
    channels = net(p.Expand(shape=(1, 4, 6, 4)), net.reshape(net.weight(4), 1, 4, 1, 1))
    x = net.add(x, net.mul(channels, net(p.Expand(shape=(6, 4)), net.weight())))
    last = net(p.Expand(shape=(1, 6, 4, 4)), net.weight(4))
    graph, _ = check(net.program(net.add(x, net.transpose(last, 0, 3, 1, 2))))
    assert "constant" not in kinds(graph)
    rows = net(p.Expand(shape=(1, 4, 6, 4)), net.weight(6, 1))
    graph, _ = check(net.program(net.add(x, rows)))
    assert [graph.nodes[node].get("size") for node in graph if graph.nodes[node]["op"] == "constant"] == [[6, 1]]


def test_constants_that_are_alike_in_every_window_are_no_maps():
    net = Net((1, 2, 6, 6))
    tokens = windows_of(net, net.conv(net.x), 3)  # [4, 9, 4]
    alike = net.add(tokens, net.weight(1, 9, 4))
    graph, _ = check(net.program(alike))
    assert "constant" not in kinds(graph)
    net = Net((1, 2, 6, 6))
    tokens = windows_of(net, net.conv(net.x), 3)
    graph, _ = check(net.program(net.add(tokens, net.weight(4, 9, 4))))
    assert [graph.nodes[node].get("size") for node in graph if graph.nodes[node]["op"] == "constant"] == [[6, 6]]


@pytest.mark.parametrize("small_first", [True, False])
def test_a_map_that_is_added_to_every_window_is_repeated(small_first):
    net = Net((1, 2, 6, 6))
    x = net.conv(net.x)
    cut = net.transpose(net.reshape(x, 1, 4, 2, 3, 2, 3), 0, 2, 4, 1, 3, 5)
    windows = net.reshape(cut, 4, 4, 3, 3)
    small = net(
        p.Slide(function="avg_pool", dims=(2, 3), kernel=(2, 2), stride=(2, 2), padding=((0, 0),) * 2, dilation=(1, 1)),
        x,
    )
    _, report = check(net.program(net.add(*((small, windows) if small_first else (windows, small)))), bound=ROWS)
    assert list(report.outputs) == ["pointwise5"]


def test_axes_stay_where_they_are_at_another_size():
    """A model that frames a waveform for the one size that it was made for: what it says is unknown, not the axis."""

    def framing(shapes):
        net = Net(shapes.get("x", (1, 8)))
        made_for_it = net.x.shape == (1, 8)
        move = p.Reshape(shape=(1, 4, 2)) if made_for_it else p.Opaque(why="it was made for 8", shape=(1, 4, 2))
        frames = net(move, net.x)
        return net.build.program([net.conv(net.transpose(frames, 0, 2, 1), dims=(2,), kernel=1, padding=0)])

    assert rfgraph.analyze(lower_for(framing))["slide2"].size == (2,)
    graph = lower_for(framing, input_size=12)
    assert graph.nodes["x"]["size"] == [12]
    assert "it was made for 8" in rfgraph.analyze(graph)["slide2"].why


def twice(program):
    """Return a program that does all it does once more, beside it."""
    again, steps = {}, list(program.instructions)
    for step in program.instructions:
        output = replace(step.output, name=f"{step.output.name}_again")
        inputs = tuple(again.get(value.name, value) for value in step.inputs)
        again[step.output.name] = output
        steps.append(replace(step, name=output.name, inputs=inputs, output=output))
    ends = (*program.outputs, *(again.get(value.name, value) for value in program.outputs))
    return replace(program, instructions=tuple(steps), outputs=ends, titles=())


def spelt_out(program):
    """Return the nodes and edges of the network that a program is lowered to, or why it is not."""
    try:
        graph = lower(program)
    except ModelFileError as error:
        return str(error)
    return list(graph.nodes(data=True)), list(graph.edges(data=True)), graph.graph


@given(programs())
def test_what_is_like_a_step_before_is_made_as_that_was(program):
    program = twice(program)
    kept = spelt_out(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipes, "made", lambda *_: None)
        assert spelt_out(program) == kept


@pytest.mark.parametrize("blocks", [4, 40])
def test_steps_that_are_alike_are_placed_once(blocks, monkeypatch):
    """However deep a network is, rules are asked for its first blocks only."""
    net = Net((1, 4, 16, 16))
    x = net.x
    for _ in range(blocks):
        x = net.add(x, net.relu(net.conv(x)))
    asked = []
    rule = module.place
    monkeypatch.setattr(module, "place", lambda *given: asked.append(given) or rule(*given))
    graph = lower(net.program(x))
    assert len(graph) == 1 + 3 * blocks
    assert len(asked) <= 2 * 3 * 3  # twice, as the layout is looked for first


def test_numbers_that_several_things_are_asked_of_are_read_once():
    read = []
    zeros = Zeros(most=5)
    three, four = (Numbers(lambda size=size: read.append(size) or np.eye(size)[0]) for size in (3, 4))
    assert zeros.missing(three, (0,), fixed=False).tolist() == [True, False, False]
    assert zeros.missing(three, (), fixed=False) is None
    assert read == [3]
    for _ in range(2):  # they are too many, which is said each time
        assert zeros.missing(four, (0,), fixed=False).size == 0
    assert zeros.left == 5 - 3


# Queries that are fewer than the keys.


def fewer(net, tokens, how):
    if how == "cropped":
        return net.slice(tokens, 1, 6, 18)
    if how == "strided":
        return net.slice(tokens, 1, None, None, 2)
    rows = net.reshape(tokens, 1, 4, 6, 4)  # every second row of the map
    return net.reshape(net.slice(rows, 1, None, None, 2), 1, 12, 4)


@pytest.mark.parametrize("keys_first", [False, True], ids=["queries first", "keys first"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("how", ["cropped", "strided", "every second row"])
def test_queries_fewer_than_keys_keep_their_own_positions(how, masked, keys_first):
    net = Net((1, 2, 4, 6) if how == "every second row" else (1, 2, 24))
    spatial = (2, 3) if how == "every second row" else (2,)
    x = net.conv(net.x, kernel=1, padding=0, dims=spatial)
    tokens = net.transpose(net.reshape(x, 1, 4, 24), 0, 2, 1)
    queries = fewer(net, tokens, how)
    scores = net.matmul(queries, net.transpose(tokens, 0, 2, 1))
    if keys_first:
        scores = net.transpose(net.matmul(tokens, net.transpose(queries, 0, 2, 1)), 0, 2, 1)
    scores = net.mul(scores, net.weight(1, 1, 1))
    if masked:
        scores = net.add(scores, net.weight(1, 1, 24))
    out = net.matmul(net.mix(scores, 2), tokens)
    graph = lower(net.program(out))
    report = rfgraph.analyze(graph)
    assert report.outputs == (list(graph)[-1],)
    layer = report[report.outputs[0]]
    assert layer.map_size == {"every second row": (2, 6)}.get(how, (12,))
    assert all(layer.is_global)
    assert report.region(layer.name, (1,) * len(spatial)).box == tuple((0, size - 1) for size in net.x.shape[2:])


def inputs(**shapes):
    """Return a program of inputs alone."""
    build = Builder("net")
    return build.program([build.input(name, shape) for name, shape in shapes.items()])


def test_a_stated_layout_has_one_axis_for_each_letter_in_every_input():
    program = inputs(image=(1, 3, 8, 6), mask=(6, 8, 5), of_any_rank=None)
    found = Layout.stated(program, {"image": "..HW", "mask": "WHt"})
    assert (found.axes, found.spatial) == (3, None)  # the image has no axis t
    assert found.views["mask"] == View((along(1, 6), along(0, 8), along(2, 5)))
    assert found.views["image"] == View((other(1), other(3), along(0, 8), along(1, 6)))
    assert found.views["of_any_rank"] is None
    rows = Layout.stated(program, {"of_any_rank": ".H"}).views["of_any_rank"]
    assert [dim.axes for dim in rows.dims] == [set(), {0}]
    assert Layout.stated(inputs(x=(2, 4), y=(3, 4)), ".T").spatial == {"x": [1], "y": [1]}
    refused = {
        "has 3 dimensions, but its shape is": {"image": ".HW"},
        "has 'H' twice": {"image": "..HH"},
        "is not a letter or a dot for each dimension": {"image": "..H1"},
        "has no input 'other'": {"other": "HW"},
        "names no axis": {"image": "...."},
    }
    for why, axes in refused.items():
        with pytest.raises(ModelFileError, match=why):
            Layout.stated(program, axes)


def test_sizes_that_are_asked_for_go_to_the_inputs_that_have_all_axes():
    program = inputs(image=(1, 3, 8, 6), row=(1, 8), label=(1, 7), last=(1, 8, 6, 3))
    found = Layout.given(program, {"image": (2, 3), "last": (1, 2)})
    assert found.spatial == {"image": [2, 3], "row": [], "label": [], "last": [1, 2]}
    assert found.begins == 0
    assert Layout.given(program, {"image": (2, 3)}).begins == 2
    assert Layout.given(program, {"last": (1, 2)}).begins == 1
    both = {"image": (1, 3, 9, 9), "last": (1, 9, 9, 3)}
    assert found.resized(program, 9) == found.resized(program, {"image": 9, "last": [9, 9]}) == both
    assert found.resized(program, [4, 6]) == {"image": (1, 3, 4, 6), "last": (1, 4, 6, 3)}
    assert found.resized(program, {"image": [4, 6], "row": [4, 6]}) == {"image": (1, 3, 4, 6)}
    for asked in (None, 0, [8, 6], [4], [4, 0], [4, "x"], {"row": 3}, {"image": [4, 6, 8]}):
        assert found.resized(program, asked) == {}, asked


def test_the_model_of_tokens_that_is_refused_is_shown_what_to_write():
    net = Net((1, 5, 7, 4))
    with pytest.raises(ModelFileError, match=r"a dot for any other, as in axes=\{'x': '\.\.\.T'\}$"):
        layout_of(net.program(net.linear(net.x, 3)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_maps_that_meet_are_of_one_axis_and_one_position_beside_them_is_of_none(size):
    net = Net((1, 2, 4, 2))
    y = net.build.input("y", (1, 4, 4 if size > 1 else 1, 2 if size > 1 else 1))
    found = layout_of(net.program(net.add(net.conv(net.x), y)))
    assert found.views["x"] == View((other(1), other(2), along(0, 4), along(1, 2)))
    assert found.views["y"].axes == ({0, 1} if size > 1 else set())


def test_axes_that_lie_in_one_dimension_have_gaps_of_channels():
    """Five images of 4 rows of 2 bands of 6 columns of 3 channels, in a row."""
    spans = [((4, 36), 0), ((6, 3), 1)]
    assert _split(5 * 4 * 36, spans).parts == (Part(5), Part(4, 0), Part(2), Part(6, 1), Part(3))
    assert _split(4 * 6, [((4, 6), 1), ((6, 1), 0)]).parts == (Part(4, 1), Part(6, 0))
    assert _split(4 * 36 + 1, spans) is None


def test_a_map_beside_its_rows_alone():
    """Maps of other ranks that begin alike: each row of the one is read by all columns of the other."""
    net = Net((1, 2, 4, 6))
    x = net.conv(net.x)
    rows = net.reduce(x, 3, keepdims=False)
    y = net(p.Contract(operands=(tuple("bchw"), tuple("bch")), output=tuple("bchw")), x, rows)
    graph, report = check(net.program(net.conv(y)))
    assert report[list(graph)[-1]].is_global == (False, True)


def test_a_view_that_is_not_that_of_its_tensor_is_told():
    net = Net((symbol("n"), 2, 4, 6))
    (step,) = net.program(net.relu(net.x)).instructions
    rows = along(0, 4)
    right = [other(symbol("n")), other(2), rows, along(1, 6)]
    assert _broken(View(tuple(right)), step) == ""
    assert _broken(View((other(1), other(symbol("c")), rows, along(1, 6))), step) == ""  # sizes that may be the same
    torn = Dimension((Part(6, 1, 2),))
    for told, dims in (
        ("its output was followed as .* 4, 5] and is .* 4, 6]", [*right[:3], along(1, 5)]),
        ("its output was followed as .* 2, 4] and is .* 4, 6]", right[:3]),
        ("its output was followed as .* 6, 1] and is .* 4, 6]", [*right, other(1)]),
        ("the parts of axis 1 in its output do not make up the axis", [*right[:3], torn]),
    ):
        assert re.fullmatch(told, _broken(View(tuple(dims)), step)), dims


def test_the_size_of_a_map_is_that_of_its_tensor_or_nothing_is_known_from_there_on():
    conv, add = {"op": "conv", "kernel": 3}, {"op": "add"}
    apart = "its map would have size 6 where its tensor has 7"
    assert _sizes(conv, [(8, 8)], (6, 6)) == ((6, 6), "")
    assert _sizes(conv, [(8, 8)], (6, 7)) == ((6, None), apart)
    assert _sizes(conv, [(8, 8)], (7, 6)) == ((None, None), apart)
    assert _sizes(conv, [(8, None)], (symbol("h"), 7)) == ((6, None), "")
    assert _sizes({"op": "conv", "kernel": 9}, [(4,)], (1,)) == ((None,), "")
    sizes, why = _sizes(add, [(8,), (7,)], (8,))
    assert (sizes, why.partition(":")[0]) == ((None,), "the maps of its operands do not fit")


def test_functions_of_more_tensors_than_their_op_has_are_elementwise():
    names = [(name, operands) for name in ("relu", "add", "input", "no such op") for operands in (1, 2)]
    assert [function_kind(*name) for name in names] == [
        "relu", "elementwise", "add", "add", "elementwise", "elementwise", "elementwise", "elementwise",
    ]  # fmt: skip


def test_the_sizes_of_a_step_are_made_up_for_as_many_dimensions_as_are_asked_for():
    net = Net()
    (step,) = net.program(net.relu(net.x)).instructions
    assert sizes_of(step, 4) == (1, 2, 4, 6)
    unseen = replace(step, output=replace(step.output, shape=None))
    assert [isinstance(size, int) for size in sizes_of(unseen, 3)] == [False] * 3


def test_a_constant_for_each_position_is_a_node_of_its_own_without_parameters():
    net = Net()
    table = net.weight(1, 4, 4, 6)
    graph, _ = check(net.program(net.conv(net.add(net.conv(net.x), table))))
    (told,) = [told for _, told in graph.nodes(data=True) if told["op"] == "constant"]
    assert (told["size"], told["channels"], told["parameters"]) == ([4, 6], 4, 0)


@pytest.mark.parametrize(
    ("kernel", "hop", "dilation", "shares"),
    [(2, 1, 1, True), (2, 2, 1, False), (2, 3, 1, False), (2, 5, 3, True), (2, 7, 3, False), (3, 2, 1, True)],
)
def test_windows_overlap_where_they_begin_before_the_last_one_ends(kernel, hop, dilation, shares):
    rows = np.array([[hop * i + dilation * k for k in range(kernel)] for i in range(3)])
    size = int(rows.max()) + 1
    reading = read_back(View((along(0, size),)), (size,), rows)
    assert overlaps(reading) == shares


def test_blocks_that_meet_blocks_of_another_size_are_a_bound():
    """Three blocks of four columns, each multiplied with one column of each of four blocks of three."""
    net = Net((1, 2, 2, 12))
    x = net.conv(net.x)
    fours, threes = net.reshape(x, 1, 4, 2, 3, 4), net.reshape(x, 1, 4, 2, 4, 3)
    met = net(p.Contract(operands=(tuple("bchni"), tuple("bchkn")), output=tuple("bchnik")), fours, threes)
    graph, report = check(net.program(met), bound=SHARED)
    assert report[list(graph)[-1]].is_global == (False, True)


def test_an_input_stays_though_no_end_reads_it():
    net = Net()
    program = net.program(net.relu(net.conv(net.x)))
    maps = LoweringBuilder("net", 2, {})
    placed = place_all(program, layout_of(program), maps)
    settle(maps, placed, [program.instructions[0].output.name])
    assert kinds(maps.network.graph) == ["input", "conv"]
    settle(maps, placed, [])
    assert kinds(maps.network.graph) == ["input"]


def test_a_map_of_another_size_than_its_tensor_keeps_its_name_and_parameters():
    net = Net()
    program = net.program(net.conv(net.x))
    maps = LoweringBuilder("net", 2, {})
    placed = place_all(program, layout_of(program), maps)
    (end,) = [value.name for value in program.outputs]
    view = View((other(1), other(4), along(0, 4), along(1, 5)))
    before = dict(maps.network.graph.nodes[placed[end].node])
    settle(maps, {**placed, end: replace(placed[end], view=view)}, [end])
    told = maps.network.graph.nodes[placed[end].node]
    assert told == {
        **{name: before[name] for name in ("location", "parameters") if name in before},
        "op": "unknown", "of": before.get("label", "conv"), "why": "its map would have size 6 where its tensor has 5",
    }  # fmt: skip


@st.composite
def numbers_moved(draw):
    """Draw a view, and the numbers of elements of its tensor after some moves; -1 for constants."""
    views = [
        (along(0, 4), along(1, 3)),
        (other(2), along(0, 6)),
        (along(1, 2), other(3), along(0, 4)),
        (Dimension((Part(3, 0), Part(2), Part(2, 1))),),
        (Dimension((Part(3, 0, 2),)), other(2), Dimension((Part(2, 0),)), along(1, 2)),
    ]
    view = View(draw(st.sampled_from(views)))
    numbers = np.arange(int(np.prod(view.sizes))).reshape(view.sizes)
    for _ in range(draw(st.integers(1, 4))):
        d = draw(st.integers(0, numbers.ndim - 1))
        n = numbers.shape[d]
        kind = draw(st.sampled_from(["take", "roll", "turn", "merge", "split", "pad", "flip", "some", "repeat"]))
        if kind == "take":
            numbers = numbers.take(draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5)), d)
        elif kind == "roll":
            numbers = np.roll(numbers, draw(st.integers(1, 3)), d)
        elif kind == "turn":
            numbers = numbers.transpose(draw(st.permutations(range(numbers.ndim))))
        elif kind == "merge" and d:
            numbers = numbers.reshape(*numbers.shape[: d - 1], -1, *numbers.shape[d + 1 :])
        elif kind == "split" and n % 2 == 0 and numbers.ndim < 5:
            numbers = numbers.reshape(*numbers.shape[:d], *draw(st.sampled_from([(2, n // 2), (n // 2, 2)])),
                                      *numbers.shape[d + 1 :])  # fmt: skip
        elif kind == "pad":
            numbers = np.pad(numbers, [(e == d, 0) for e in range(numbers.ndim)], constant_values=-1)
        elif kind == "flip":
            numbers = np.flip(numbers, d)
        elif kind == "some" and n > 1:
            numbers = numbers.take(range(draw(st.integers(0, 1)), n, draw(st.integers(1, 2))), d)
        elif kind == "repeat" and numbers.size < 200:
            numbers = numbers.repeat(2, d)
    return view, numbers


def read_of(reading, axis, index):
    """Return the position along an axis that one element takes by a reading, ``None`` for a constant."""
    total, at = 0, {}
    for d, i in enumerate(index):
        for digit in reversed(reading.digits[d]):
            i, at[id(digit)] = divmod(i, digit.size)
            if not digit.read[at[id(digit)]]:
                return None
            total += int(digit.steps[axis][at[id(digit)]]) if axis in digit.steps else 0
    if axis not in reading.tables:
        return reading.first[axis] + total
    place = 0
    for digit in reading.along(axis):
        place = place * digit.size + at[id(digit)]
    return reading.tables[axis][place]


@settings(max_examples=60)
@given(numbers_moved())
def test_a_reading_takes_the_position_of_each_element(moved):
    view, numbers = moved
    reading = read_back(view, view.sizes, numbers)
    if reading is None:
        return
    assert [int(np.prod([digit.size for digit in digits])) for digits in reading.digits] == list(numbers.shape)
    for index in np.ndindex(*numbers.shape):
        element = int(numbers[index])
        taken = position(view, np.unravel_index(element, view.sizes)) if element >= 0 else None
        for axis in reading.first:
            assert read_of(reading, axis, index) == (None if taken is None else taken[axis])
    for digits in reading.digits:
        for digit in digits:
            assert len([axis for axis, steps in digit.steps.items() if steps.any()]) < 2


def test_what_is_moved_evenly_is_read_back():
    """Each of these takes positions of each axis by itself; what is read of rows beside positions is not said."""
    view = View((other(2), along(0, 4), along(1, 6)))
    numbers = np.arange(48).reshape(2, 4, 6)
    blocks = numbers.reshape(2, 2, 2, 3, 2).transpose(0, 1, 3, 2, 4)
    for moved in (numbers, numbers.T, numbers[:, ::-1], numbers[:, 1::2], blocks, blocks.reshape(2, 6, 4)):
        assert read_back(view, view.sizes, moved) is not None
    assert read_back(view, view.sizes, np.full((2, 2), -1)) is None
    assert read_back(view, (2, 4, 5), numbers) is None
    assert read_back(View((other(2), along(0, 4), Dimension((Part(6, 1),), before=1))), (2, 4, 7), numbers) is None
    diagonal = numbers[0].ravel()[[0, 7, 14, 21]]
    assert read_back(view, view.sizes, diagonal) is None  # both axes move in one dimension
