"""The effective field of one feature, against dense matrices, torch's gradients, and random networks."""

from __future__ import annotations

from fractions import Fraction

import networkx as nx
import numpy as np
import oracle
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import rfgraph
from rfgraph import Network
from rfgraph.errors import AttributeValueError, UnboundedError, UnknownFieldError
from rfgraph.passes import effective

# An oracle for random weights: every gradient is a matrix times the independent gradients that random ops make.


def tap_weights(attributes, y, size):
    """Return {position: weight} of a fixed op, or {position: (tap, variance)} of a random one; borders are cut."""
    op, inside = attributes["op"], range(size)
    read = sorted(oracle.taps(attributes, 0, y, [size]))
    if op == "conv":
        return {i: (t, 1 / attributes["kernel"]) for t, i in enumerate(read) if i in inside}
    if op == "conv_transpose":
        shift = y + attributes["padding"]
        stride = attributes["stride"]
        return {i: (shift - stride * i, stride / attributes["kernel"]) for i in read if i in inside}
    if op == "resize":
        x = Fraction(2 * y + 1, 2 * attributes["scale"]) - Fraction(1, 2)
        weights = {}
        for i in read:
            at = min(max(i, 0), size - 1)
            weights[at] = weights.get(at, 0) + float(1 - abs(x - i) if attributes["mode"] == "linear" else 1)
        return weights
    if op == "avg_pool":
        return {i: 1 / len(read) for i in read if i in inside}
    return {i: 1.0 for i in read if i in inside}


def mean_squares(graph, node, index):
    """Return E[g^2] at the input of a one-axis network, by dense matrices; each concat keeps its channels."""
    sizes = oracle.all_sizes(graph, 1)
    channels = {}
    for v in nx.topological_sort(graph):
        tails = list(oracle.inputs_of(graph, v)) if graph.nodes[v]["op"] != "input" else []
        op = graph.nodes[v]["op"]
        channels[v] = (
            sum(channels[t] for t in tails) if op == "concat" else 1 if op in ("input", "conv") else channels[tails[0]]
        )
    covariances = [np.ones((1, 1))]
    start = np.zeros((sizes[node][0], 1))
    start[index, 0] = 1
    coming = {(node, c): {0: start} for c in range(channels[node])}

    def give(v, c, root, matrix):
        held = coming.setdefault((v, c), {})
        held[root] = held[root] + matrix if root in held else matrix

    for v in reversed(list(nx.topological_sort(graph))):
        attributes = graph.nodes[v]
        if attributes["op"] == "input":
            continue
        tails = list(oracle.inputs_of(graph, v))
        for c in range(channels[v]):
            held = coming.get((v, c), {})
            if not held:
                continue
            if attributes["op"] == "concat":
                t = next(t for t in range(len(tails)) if sum(channels[u] for u in tails[: t + 1]) > c)
                for root, matrix in held.items():
                    give(tails[t], c - sum(channels[u] for u in tails[:t]), root, matrix)
            elif attributes["op"] == "add":
                for tail in tails:
                    for root, matrix in held.items():
                        give(tail, c, root, matrix)
            else:
                (tail,) = tails
                n, m = sizes[v][0], sizes[tail][0]
                reads = [tap_weights(attributes, y, m) for y in range(n)]
                if attributes["op"] in ("conv", "conv_transpose"):
                    k = sum(matrix @ covariances[root] @ matrix.T for root, matrix in held.items())
                    into = range(channels[tail]) if attributes["op"] == "conv" else [c]
                    for channel in into:
                        fresh = np.zeros((m, m))
                        for y, one in enumerate(reads):
                            for z, other in enumerate(reads):
                                for i, (tap, variance) in one.items():
                                    for j, (same, _) in other.items():
                                        fresh[i, j] += variance * k[y, z] * (tap == same)
                        covariances.append(fresh)
                        give(tail, channel, len(covariances) - 1, np.eye(m))
                else:
                    matrix = np.zeros((m, n))
                    for y, read in enumerate(reads):
                        for i, weight in read.items():
                            matrix[i, y] += weight
                    for root, ways in held.items():
                        give(tail, c, root, matrix @ ways)
    held = coming[("x", 0)]
    return np.diag(sum(matrix @ covariances[root] @ matrix.T for root, matrix in held.items()))


@st.composite
def networks(draw):
    """A network over one axis whose maps keep their size or change it by a factor of 2."""
    graph = nx.MultiDiGraph(axes=1)
    graph.add_node("x", op="input", size=draw(st.sampled_from([8, 12])))
    nodes = [("x", 0, 1)]  # name, octave, channels

    def add(attributes, tails, octave, channels):
        name = f"n{len(nodes)}"
        graph.add_node(name, **attributes)
        for slot, tail in enumerate(tails):
            graph.add_edge(tail, name, slot=slot)
        nodes.append((name, octave, channels))

    for _ in range(draw(st.integers(1, 8))):
        tail, octave, channels = draw(st.sampled_from(nodes[-3:]))
        kind = draw(st.sampled_from(["conv", "pool", "down", "up", "bilinear", "merge", "merge"]))
        if kind == "conv":
            kernel = draw(st.sampled_from([1, 3]))
            add({"op": "conv", "kernel": kernel, "padding": kernel // 2}, [tail], octave, 1)
        elif kind == "pool":
            add({"op": "avg_pool", "kernel": 3, "stride": 1, "padding": 1}, [tail], octave, channels)
        elif kind == "down" and octave < 2:
            add(
                {"op": draw(st.sampled_from(["conv", "avg_pool"])), "kernel": 2, "stride": 2},
                [tail],
                octave + 1,
                channels,
            )
            if graph.nodes[nodes[-1][0]]["op"] == "conv":
                nodes[-1] = (nodes[-1][0], octave + 1, 1)
        elif kind == "up" and octave > 0 and channels == 1:
            up = {"op": "conv_transpose", "kernel": 4, "stride": 2, "padding": 1}
            add(up, [tail], octave - 1, 1)
        elif kind == "bilinear" and octave > 0:
            mode = draw(st.sampled_from(["linear", "nearest"]))
            add({"op": "resize", "scale": 2, "mode": mode}, [tail], octave - 1, channels)
        elif kind == "merge":
            op = draw(st.sampled_from(["add", "add", "concat"]))
            partners = [n for n in nodes if n[1] == octave and (op == "concat" or n[2] == channels)]
            other = draw(st.sampled_from(partners))
            if channels + other[2] <= 4:
                total = channels + other[2] if op == "concat" else channels
                add({"op": op}, [tail, other[0]], octave, total)
    add({"op": "conv", "kernel": 1}, [nodes[-1][0]], nodes[-1][1], 1)
    return graph, nodes[-1][0]


@settings(max_examples=150, deadline=None)
@given(networks(), st.data())
def test_mean_squares_are_those_of_dense_matrices(network, data) -> None:
    graph, last = network
    report = rfgraph.analyze(graph)
    (size,) = report[last].map_size
    index = data.draw(st.integers(0, size - 1))
    field = report.effective_field(last, index)
    expected = mean_squares(graph, last, index)
    borders = all("beyond the border" in why for why in field.reasons)  # the oracle counts zeros there too
    assume(borders)
    found = np.zeros(len(expected))
    found[field.first[0] : field.first[0] + len(field.map)] = field.map
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_the_moments_are_those_of_the_map_where_they_say_exact(network) -> None:
    graph, last = network
    size = rfgraph.analyze(graph).effective_sizes()[last]
    del graph.nodes["x"]["size"]
    field = rfgraph.analyze(graph).effective_field(last, 0)
    if size.status == "exact":
        assert field.status == "exact"
        assert field.mass == pytest.approx(size.mass)
        assert field.mean == pytest.approx(size.mean, abs=1e-9)
        assert field.std == pytest.approx(size.std, abs=1e-7)


# Torch.


def run(graph, image, weights):
    """Run a network with torch; a node's value is a list of channels, and ``weights(v, slot)`` makes taps."""
    torch = pytest.importorskip("torch")
    functional, values = torch.nn.functional, {}
    for v in nx.topological_sort(graph):
        data = graph.nodes[v]
        tails = list(oracle.inputs_of(graph, v)) if data["op"] != "input" else []
        x = values[tails[0]] if tails else [image]
        groups = image.shape[1]
        if data["op"] == "conv":
            options = {"stride": data.get("stride", 1), "padding": data.get("padding", 0), "groups": groups}
            x = [sum(functional.conv1d(one, weights(data["kernel"], 1 / data["kernel"]), **options) for one in x)]
        elif data["op"] == "conv_transpose":
            options = {"stride": data["stride"], "padding": data["padding"], "groups": groups}
            share = data["stride"] / data["kernel"]
            x = [functional.conv_transpose1d(one, weights(data["kernel"], share), **options) for one in x]
        elif data["op"] == "avg_pool":
            stride = data.get("stride", data["kernel"])
            x = [functional.avg_pool1d(one, data["kernel"], stride, data.get("padding", 0)) for one in x]
        elif data["op"] == "resize":
            corners = {} if data["mode"] == "nearest" else {"align_corners": False}
            x = [functional.interpolate(one, scale_factor=data["scale"], mode=data["mode"], **corners) for one in x]
        elif data["op"] == "relu":
            x = [torch.relu(one) for one in x]
        elif data["op"] == "add":
            x = [sum(parts) for parts in zip(*(values[t] for t in tails), strict=True)]
        elif data["op"] == "concat":
            x = [one for t in tails for one in values[t]]
        values[v] = x
    return values


@settings(max_examples=80, deadline=None)
@given(networks(), st.data())
def test_uniform_weights_give_the_gradient_of_torch(network, data) -> None:
    torch = pytest.importorskip("torch")
    graph, last = network
    report = rfgraph.analyze(graph)
    (size,) = report[last].map_size
    index = data.draw(st.integers(0, size - 1))
    field = report.effective_field(last, index, weights="uniform")
    image = torch.ones(1, 1, graph.nodes["x"]["size"], dtype=torch.float64, requires_grad=True)
    values = run(graph, image, lambda kernel, share: torch.full((1, 1, kernel), share, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(values[last][0][0, 0, index], image)
    expected = gradient[0, 0].numpy()
    found = np.zeros(len(expected))
    found[field.first[0] : field.first[0] + len(field.map)] = field.map
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert field.measure == "g"


def monte_carlo(graph, last, index, samples=20000, seed=0, signs=False):
    """Return the mean of g^2 over random networks and its standard error, both per position.

    Weights are normal, or of random signs, which have as large a square: the mean of many layers then converges.
    """
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(1, samples, graph.nodes["x"]["size"], dtype=torch.float64, generator=generator)
    image = inputs.requires_grad_()

    def weights(kernel, variance):
        if signs:
            flips = torch.randint(2, (samples, 1, kernel), generator=generator)
            return (2 * flips - 1).to(torch.float64) * variance**0.5
        return torch.randn(samples, 1, kernel, dtype=torch.float64, generator=generator) * variance**0.5

    value = run(graph, image, weights)[last][0]
    (gradient,) = torch.autograd.grad(value[0, :, index].sum(), image)
    squares = gradient[0].numpy() ** 2
    return squares.mean(axis=0), squares.std(axis=0) / samples**0.5


def bilinear_unet() -> Network:
    net = Network("unet", axes=1)
    x = net.input("x", size=32)
    top = net.conv("top", x, kernel=3, padding=1)
    down = net.conv("bottom", net.conv("down", top, kernel=2, stride=2), kernel=3, padding=1)
    up = net.resize("up", down, scale=2, mode="linear")
    joined = net.conv("out", net.concat("joined", top, up), kernel=3, padding=1)
    low = net.avg_pool("low", joined, kernel=2)
    again = net.resize("again", low, scale=2, mode="linear")
    net.conv("last", net.add("sum", joined, again), kernel=3, padding=1)
    return net


def two_levels() -> Network:
    """A U-Net of two levels with two convolutions each, average pools and bilinear upsampling."""
    net = Network("unet", axes=1)
    x, skips = net.input("x", size=48), []

    def convolved(name, x):
        for i in range(2):
            x = net.conv(f"{name}{i}", x, kernel=3, padding=1)
        return x

    for level in range(2):
        skips.append(convolved(f"down{level}/", x))
        x = net.avg_pool(f"pool{level}", skips[-1], kernel=2)
    x = convolved("bottom/", x)
    for level in (1, 0):
        x = convolved(
            f"after{level}/", net.add(f"join{level}", skips[level], net.resize(f"up{level}", x, scale=2, mode="linear"))
        )
    return net


def inception() -> Network:
    net = Network("inception", axes=1)
    x = net.input("x", size=24)
    for i in range(2):
        one = net.conv(f"one{i}", x, kernel=1)
        three = net.conv(f"three{i}", net.conv(f"reduce{i}", x, kernel=1), kernel=3, padding=1)
        pooled = net.conv(f"project{i}", net.avg_pool(f"pool{i}", x, kernel=3, stride=1, padding=1), kernel=1)
        x = net.concat(f"concat{i}", one, three, pooled)
    net.conv("last", x, kernel=1)
    return net


def skip_pool() -> Network:
    net = Network("skip", axes=1)
    x = net.conv("first", net.input("x", size=16), kernel=3, padding=1)
    net.conv("last", net.add("add", x, net.avg_pool("pool", x, kernel=3, stride=1, padding=1)), kernel=3, padding=1)
    return net


def pools() -> Network:
    net = Network("pools", axes=1)
    x = net.avg_pool("before", net.input("x", size=24), kernel=5, stride=1, padding=2)
    x = net.conv("conv", x, kernel=3, padding=1)
    net.avg_pool("after", x, kernel=3, stride=1, padding=1)
    return net


def gates() -> Network:
    net = Network("gates", axes=1)
    x = net.relu("r1", net.conv("c1", net.input("x", size=16), kernel=3, padding=1))
    net.conv("c3", net.relu("r2", net.conv("c2", x, kernel=3, padding=1)), kernel=3, padding=1)
    return net


@pytest.mark.parametrize("build", [bilinear_unet, two_levels, inception, skip_pool, pools, gates])
def test_random_networks_feel_as_strongly_as_they_are_said_to(build) -> None:
    graph = build().graph
    report = rfgraph.analyze(graph)
    last = report.outputs[0]
    index = report[last].map_size[0] // 2
    field = report.effective_field(last)
    assert field.status == "exact"
    deep = build is two_levels
    mean, error = monte_carlo(graph, last, index, samples=4000 if deep else 20000, signs=deep)
    found = np.zeros(len(mean))
    found[field.first[0] : field.first[0] + len(field.map)] = field.map
    assert (np.abs(found - mean) <= 4 * error + 1e-12).all()
    assert field.index == (index,)


def test_channels_that_are_stacked_side_by_side_are_independent() -> None:
    """What stacks one map with a mean of it, itself stacked: every channel has weights of its own."""
    net = Network("stacked", axes=1)
    x = net.input("x", size=12)
    pooled = net.avg_pool("pool", net.concat("twice", x, x), kernel=3, stride=1, padding=1)
    net.conv("last", net.concat("beside", x, pooled), kernel=1)
    report = rfgraph.analyze(net)
    field = report.effective_field("last", 6)
    assert (field.status, report.effective_sizes()["last"].status) == ("exact", "exact")
    expected = mean_squares(net.graph, "last", 6)
    assert field.map == pytest.approx(expected[field.first[0] : field.first[0] + len(field.map)])


def test_channels_that_are_added_to_others_of_the_same_map_are_not() -> None:
    net = Network("added", axes=1)
    x = net.input("x", size=12)
    one = net.avg_pool("mean", net.concat("one", x, net.relu("a", x)), kernel=3, stride=1, padding=1)
    net.conv("last", net.add("sum", one, net.concat("other", x, net.relu("b", x))), kernel=1)
    field = rfgraph.analyze(net).effective_field("last", 6)
    assert field.status == "approximate"
    assert any("some of its channels are reached by another path" in why for why in field.reasons)


def test_a_bilinear_unet_is_wider_than_its_diagonal_says() -> None:
    """The pools and the bilinear upsampling of one level, and of the other, mix what is not independent."""
    graph = two_levels().graph
    del graph.nodes["x"]["size"]
    report = rfgraph.analyze(graph)
    diagonal = report.effective_sizes()["after0/1"]
    exact = report.effective_field("after0/1")
    assert (diagonal.status, exact.status) == ("approximate", "exact")
    assert (round(diagonal.stds.mean(), 3), round(exact.std[0], 3)) == (2.765, 2.925)


def test_the_covariance_changes_the_answer(monkeypatch) -> None:
    """Two overlapping means: without the covariance between neighbours the field is too narrow, and says so."""
    report = rfgraph.analyze(pools())
    exact = report.effective_field("after")
    monkeypatch.setattr(effective, "MAX_ENTRIES", 1)
    diagonal = report.effective_field("after")
    assert diagonal.status == "approximate"
    assert "the covariance of" in diagonal.reasons[0]
    assert diagonal.mass < 0.7 * exact.mass


def test_by_hand() -> None:
    net = Network("hand", axes=1)
    x = net.input("x")
    net.add("add", x, net.avg_pool("pool", x, kernel=3, stride=1, padding=1))
    net.avg_pool("twice", net.avg_pool("once", x, kernel=3, stride=1), kernel=3, stride=1)
    net.add("double", x, net.identity("same", x))
    report = rfgraph.analyze(net)
    assert report.effective_field("add").map * 9 == pytest.approx([1, 16, 1])
    assert report.effective_field("twice").map * 81 == pytest.approx([1, 4, 9, 4, 1])
    assert report.effective_field("double").map == pytest.approx([4])


def test_figures_of_a_square_field() -> None:
    net = Network("square", axes=2)
    net.conv("conv", net.input("x"), kernel=5)
    field = rfgraph.analyze(net).effective_field("conv")
    assert field.mean == pytest.approx((2, 2))
    assert field.std == pytest.approx((2**0.5, 2**0.5))
    assert field.covariance == pytest.approx(np.diag([2, 2]))
    assert field.luo_size == pytest.approx(5)
    assert field.rate == pytest.approx(1)
    assert (field.side(1), field.side(16 / 25), field.side(0.5), field.side(0.01)) == (5, 4, 4, 1)
    assert (field.area(1), field.area(0.5), field.area(0.04)) == (25, 13, 1)
    assert field.box(1) == ((0, 4), (0, 4))
    with pytest.raises(AttributeValueError, match="share 0 is not above 0"):
        field.side(0)


def test_paths_that_meet_make_a_field_that_is_no_product() -> None:
    net = Network("cross", axes=2)
    x = net.input("x")
    row, column = (
        net.conv("row", x, kernel=(1, 3), padding=(0, 1)),
        net.conv("column", x, kernel=(3, 1), padding=(1, 0)),
    )
    net.add("add", row, column)
    field = rfgraph.analyze(net).effective_field("add")
    assert (field.map * 3).tolist() == [pytest.approx([0, 1, 0]), pytest.approx([1, 2, 1]), pytest.approx([0, 1, 0])]


def test_taps_over_all_axes() -> None:
    taps = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 2]])
    net = Network("joint", axes=2)
    net.conv("conv", net.input("x", size=8), kernel=3, padding=1)
    field = rfgraph.analyze(net).effective_field("conv", (0, 3), weights={"conv": taps})
    assert field.map.tolist() == taps[1:].tolist()
    assert field.first == (0, 2)
    assert field.mean[0] == pytest.approx(3 / 9)


def test_corners_reach_the_theoretical_field() -> None:
    net = Network("corners", axes=2)
    x = net.input("x")
    for i in range(6):
        x = net.conv(f"conv{i}", x, kernel=3)
    report = rfgraph.analyze(net)
    field = report.effective_field("conv5", weights="corners")
    assert field.map[0, 0] == pytest.approx(1 / 4**6)
    assert field.std == pytest.approx((6**0.5, 6**0.5))
    assert field.std > report.effective_field("conv5", weights="outside-large").std
    assert report.effective_field("conv5", weights="outside-large").std > report.effective_field("conv5").std


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_a_border_that_repeats_the_map_is_felt_where_it_comes_from(mode) -> None:
    net = Network("border", axes=1)
    x = net.pad("pad", net.input("x", size=6), padding=2, mode=mode)
    net.conv("conv", x, kernel=5)
    graph = net.graph
    field = rfgraph.analyze(graph).effective_field("conv", 0, weights="uniform")
    expected = np.zeros(6)
    for i in range(5):
        (at,) = oracle.taps(graph.nodes["pad"], 0, i, [6])
        expected[at] += 1 / 5
    found = np.zeros(6)
    found[field.first[0] : field.first[0] + len(field.map)] = field.map
    assert found == pytest.approx(expected)
    # Random weights: the two outputs of the pad that repeat one position read by weights of their own.
    squares = rfgraph.analyze(graph).effective_field("conv", 0)
    assert squares.mass == pytest.approx(1)
    assert squares.status == "exact"


def test_features_without_a_field_are_refused() -> None:
    net = Network("whole", axes=1)
    x = net.conv("conv", net.input("x", size=12), kernel=3)
    net.global_avg_pool("pool", x)
    net.constant("constant", size=3)
    report = rfgraph.analyze(net)
    with pytest.raises(UnboundedError, match="reads the whole axis"):
        report.effective_field("pool")
    with pytest.raises(UnknownFieldError, match="does not depend on"):
        report.effective_field("constant")
    with pytest.raises(IndexError, match="index 10 lies outside its map of size 10"):
        report.effective_field("conv", 10)
    with pytest.raises(UnknownFieldError, match="feels nothing"):
        report.effective_field("conv", weights={"conv": [0, 0, 0]})


def test_a_map_that_is_too_large_is_refused() -> None:
    net = Network("large", axes=2)
    net.conv("conv", net.input("x"), kernel=5000)
    with pytest.raises(UnboundedError, match="more than the 16777216 that are carried; effective_sizes tells"):
        rfgraph.analyze(net).effective_field("conv")


def test_paths_that_feel_positions_far_apart_are_refused_before_they_take_memory():
    net = rfgraph.Network("far", axes=1)
    x = net.input("x")
    net.add(
        "add", net.conv("near", x, kernel=3), net.conv("far", net.crop("crop", x, padding=[[-(2**40), 0]]), kernel=3)
    )
    with pytest.raises(UnboundedError, match=r"so far apart that the effective field has \d+ entries"):
        rfgraph.analyze(net).effective_field("add")


def test_a_blur_pool_is_linear_and_weighs_by_binomials():
    net = Network(axes=1)
    net.blur_pool("blur", net.input("x", size=9), kernel=3, stride=2, padding=1)
    field = rfgraph.analyze(net).effective_field("blur", 2, weights="uniform")
    assert (field.status, field.first) == ("exact", (3,))
    assert field.map.tolist() == [1 / 4, 1 / 2, 1 / 4]


def test_a_blur_pool_of_a_huge_kernel_is_no_more_than_a_model():
    net = Network(axes=1)
    net.blur_pool("blur", net.input("x"), kernel=100_000)
    assert rfgraph.analyze(net).effective_sizes()["blur"].status == "approximate"
