"""Regions against gradients: with positive weights a pixel has a gradient just if the feature reads it.

The networks are random, in float64, and run by torch, which shares nothing with rfgraph. Max pooling is left out: its
gradient flows to the greatest input only. Resizes are by powers of two, so that a weight that should be 0 is 0.
"""

from __future__ import annotations

from itertools import product as combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

import rfgraph
from rfgraph import Network
from rfgraph.passes import regions

torch = pytest.importorskip("torch")
functional = torch.nn.functional

CONVS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
ADAPTIVE = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Twin:
    """A network of rfgraph and, node by node, the function that torch runs."""

    def __init__(self, draw, axes):
        self.draw, self.axes = draw, axes
        self.net = Network(axes=axes)
        self.run = {}  # node -> (function, tails)
        self.tensors = {}

    def numbers(self, low, high):
        return [self.draw(st.integers(low, high)) for _ in range(self.axes)]

    def add(self, op, function, *tails, **attributes):
        name = f"{op}{len(self.run)}"
        self.net.node(op, name, *tails, **attributes)
        self.run[name] = (function, tails)
        return name

    def weights(self, kernel):
        generator = torch.Generator().manual_seed(self.draw(st.integers(0, 99)))
        return torch.rand((1, 1, *kernel), generator=generator, dtype=torch.float64) + 0.5

    def conv(self, tail):
        kernel, stride, dilation = self.numbers(1, 3), self.numbers(1, 3), self.numbers(1, 2)
        pads = [self.numbers(-1, 2) for _ in range(2)]
        weight = self.weights(kernel)
        flat = [pad for axis in reversed(range(self.axes)) for pad in (pads[0][axis], pads[1][axis])]

        def function(x):
            return CONVS[self.axes](functional.pad(x, flat), weight, stride=stride, dilation=dilation)

        padding = [list(pair) for pair in zip(*pads, strict=True)]
        return self.add("conv", function, tail, kernel=kernel, stride=stride, dilation=dilation, padding=padding)

    def conv_transpose(self, tail):
        kernel, stride, dilation = self.numbers(1, 3), self.numbers(1, 3), self.numbers(1, 2)
        padding, weight = self.numbers(0, 1), self.weights(kernel)
        extra = [self.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]

        def function(x):
            options = {"stride": stride, "dilation": dilation, "padding": padding, "output_padding": extra}
            return TRANSPOSED[self.axes](x, weight, **options)

        attributes = {"kernel": kernel, "stride": stride, "dilation": dilation, "output_padding": extra}
        return self.add("conv_transpose", function, tail, padding=padding, **attributes)

    def avg_pool(self, tail):
        kernel, stride = self.numbers(1, 3), self.numbers(1, 3)
        padding = [self.draw(st.integers(0, k // 2)) for k in kernel]
        ceil_mode = self.draw(st.booleans())

        def function(x):
            return POOLS[self.axes](x, kernel, stride, padding, ceil_mode)

        attributes = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        return self.add("avg_pool", function, tail, **attributes)

    def resize(self, tail):
        scale = self.draw(st.sampled_from([2, 4]))
        mode = self.draw(st.sampled_from(["nearest", "linear"]))
        attributes = {"scale": scale, "mode": mode}
        if mode == "nearest":
            attributes |= {"coordinates": "asymmetric", "nearest_mode": "floor"}

        def function(x):
            if mode == "nearest":
                return functional.interpolate(x, scale_factor=scale)
            return functional.interpolate(x, scale_factor=scale, mode=LINEAR[self.axes], align_corners=False)

        return self.add("resize", function, tail, **attributes)

    def slice(self, tail):
        start, step = self.numbers(0, 2), self.numbers(1, 2)
        cut = (..., *(slice(a, None, s) for a, s in zip(start, step, strict=True)))
        return self.add("slice", lambda x: x[cut], tail, start=start, step=step)

    def adaptive(self, tail):
        size = self.numbers(1, 4)
        return self.add("adaptive_avg_pool", lambda x: ADAPTIVE[self.axes](x, size), tail, size=size)

    def gate(self, tail):
        # A sum, not a product: a feature that is 0 because it reads padding only would hide what it multiplies.
        pool = self.add("global_avg_pool", lambda x: ADAPTIVE[self.axes](x, 1), tail)
        return self.add("add", lambda a, b: a + b, tail, pool)

    def merge(self, *tails):
        kind = self.draw(st.sampled_from(["add", "concat", "join"]))
        if kind == "join":
            axis = self.draw(st.integers(0, self.axes - 1))
            return self.add("concat", lambda *maps: torch.cat(maps, 2 + axis), *tails, axis=axis)
        if kind == "concat":
            return self.add("concat", lambda *maps: torch.cat(maps, 1).sum(1, keepdim=True), *tails)
        return self.add("add", lambda *maps: sum(maps[1:], maps[0]), *tails)

    def evaluate(self, image):
        maps = {"image": image}
        for node, (function, tails) in self.run.items():
            maps[node] = function(*(maps[tail] for tail in tails))
        return maps


@st.composite
def twins(draw):
    """A network in both worlds, the image that torch runs on, and the report of rfgraph."""
    axes = draw(st.integers(1, 3))
    twin = Twin(draw, axes)
    size = [draw(st.integers(2, 9 if axes < 3 else 5)) for _ in range(axes)]
    nodes = [twin.net.input("image", size=size)]
    kinds = [
        twin.conv,
        twin.conv,
        twin.conv_transpose,
        twin.avg_pool,
        twin.resize,
        twin.slice,
        twin.adaptive,
        twin.gate,
    ]
    report = rfgraph.analyze(twin.net)
    for _ in range(draw(st.integers(1, 6))):
        tail = draw(st.sampled_from(nodes[-3:]))
        partners = [node for node in nodes if report[node].map_size == report[tail].map_size]
        if len(partners) > 1 and draw(st.booleans()):
            node = twin.merge(tail, *draw(st.lists(st.sampled_from(partners), min_size=1, max_size=2)))
        else:
            node = draw(st.sampled_from(kinds))(tail)
        try:
            report = rfgraph.analyze(twin.net)
        except rfgraph.RFGraphError:
            assume(False)
        assume(np.prod(report[node].map_size) < 5_000)
        nodes.append(node)
    return twin, torch.ones((1, 1, *size), dtype=torch.float64, requires_grad=True), report


@given(twins(), st.data())
def test_pixels_with_a_gradient_are_the_region(made, data):
    twin, image, report = made
    note(nx.node_link_data(twin.net.graph, edges="edges"))
    try:
        maps = twin.evaluate(image)
    except RuntimeError as error:
        assume("smaller than kernel size" not in str(error))  # avg_pool3d leaves the padding out of that
        raise
    for node, tensor in maps.items():
        assert tuple(tensor.shape[2:]) == report[node].map_size, node
    node = list(twin.run)[-1]
    every = report.regions(node)
    assert every.status == "exact"
    compiled = report._compiled
    for _ in range(4):
        index = tuple(data.draw(st.integers(0, size - 1)) for size in report[node].map_size)
        feature = maps[node][(0, slice(None), *index)].sum()
        gradient = torch.zeros_like(image)
        if feature.requires_grad:
            (gradient,) = torch.autograd.grad(feature, image, retain_graph=True)
        read = {tuple(map(int, place)) for place in np.argwhere(gradient[0, 0].numpy() != 0)}
        box = tuple((min(along), max(along)) for along in zip(*read, strict=True)) if read else None
        assert every.box(index) == box == report.region(node, index).box
        reached = regions.reach(compiled, compiled.layers.id_of(node), index, compiled.layers.id_of("image"))
        marked = np.zeros(gradient.shape[2:], dtype=bool)
        for product in reached.products:  # of runs along each axis
            for runs in combinations(*product):
                marked[tuple(slice(first, last + 1) for first, last in runs)] = True
        assert {tuple(map(int, place)) for place in np.argwhere(marked)} == read
