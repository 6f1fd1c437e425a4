"""Tiling: tiles put together are the whole, one output of halo less is not, and what forbids it is named.

The oracle knows no window: it writes down, for an output of a tile and for the same output of the whole, the whole
expression that it is, position by position; both are the same output if the expressions are.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from functools import cache

import networkx as nx
import numpy as np
import oracle
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import REGULAR, SAME, networks

import rfgraph
from rfgraph.errors import AttributeValueError, SizeError, TilingError
from rfgraph.graph.network import read
from rfgraph.questions import tiling


def tiler_of(graph):
    layers = read(graph)
    return tiling.Tiler(layers, len(layers.nodes) - 1, layers.inputs[0])


def plan_of(graph, image=None, tile=None, overlap=None):
    axes = read(graph).axes
    return tiling.plan(
        tiler_of(graph),
        *(tiling.given(name, v, axes) for name, v in (("image", image), ("tile", tile), ("overlap", overlap))),
    )


def unet(levels, up="nearest", axes=1, convs=2, strided=False):
    """A U-Net; ``up`` is a mode of resizing, or the kernel of its transposed convolutions."""
    net = rfgraph.Network("unet", axes=axes)
    x, skips = net.input("image"), []

    def block(name, x):
        for i in range(convs):
            x = net.conv(f"{name}/{i}", x, kernel=3, padding=1)
        return x

    for level in range(levels):
        x = block(f"encoder{level}", x)
        skips.append(x)
        if strided:
            x = net.conv(f"down{level}", x, kernel=3, stride=2, padding=1)
        else:
            x = net.avg_pool(f"down{level}", x, kernel=2)
    x = block("bottom", x)
    for level in reversed(range(levels)):
        if up == 2:
            x = net.conv_transpose(f"up{level}", x, kernel=2, stride=2)
        elif up == 3:
            x = net.conv_transpose(f"up{level}", x, kernel=3, stride=2, padding=1, output_padding=1)
        else:
            x = net.resize(f"up{level}", x, scale=2, mode=up)
        x = block(f"decoder{level}", net.add(f"join{level}", skips[level], x))
    return net.graph


def chain(*layers, axes=1):
    net = rfgraph.Network("chain", axes=axes)
    x = net.input("image")
    for i, (op, attributes) in enumerate(layers):
        x = net.node(op, f"{op}{i}", x, **attributes)
    return net.graph


def pyramid():
    """A feature pyramid whose output has stride 2, and whose coarsest map has 8."""
    net = rfgraph.Network("fpn", axes=1)
    x, maps = net.input("image"), []
    for level in range(3):
        x = net.conv(f"c{level}", x, kernel=3, stride=2, padding=1)
        maps.append(x)
    x = maps[-1]
    for level in (1, 0):
        x = net.add(f"p{level}", maps[level], net.resize(f"up{level}", x, scale=2))
    net.conv("out", x, kernel=3, padding=1)
    return net.graph


def dilated_resnet():
    net = rfgraph.Network("dilated", axes=1)
    x = net.input("image")
    for i in range(3):
        x = net.conv(f"stem{i}", x, kernel=3, stride=2, padding=1)
    for i, dilation in enumerate((2, 4)):
        x = net.add(f"add{i}", x, net.conv(f"block{i}", x, kernel=3, dilation=dilation, padding=dilation))
    net.resize("up", x, scale=8, mode="linear")
    return net.graph


CAUSAL = chain(*(("conv", {"kernel": 3, "dilation": d, "padding": [[2 * d, 0]]}) for d in (1, 2, 4)))
EVEN = chain(*(("conv", {"kernel": 4, "padding": [[1, 2]]}) for _ in range(3)))
CROPPED = chain(("crop", {"padding": -4}), ("conv", {"kernel": 5, "padding": 4}))
VALID = chain(("conv", {"kernel": 5}), ("avg_pool", {"kernel": 2}), ("conv", {"kernel": 3}))
SAME_STRIDES = chain(
    ("conv", {"kernel": 5, "stride": 2, "padding": "same"}), ("conv", {"kernel": 3, "padding": "same"})
)
#: Network, start multiple, halo where it is known from elsewhere.
NETWORKS = {
    "U-Net, 2 nearest": (unet(2), 4, (22, 22)),
    "U-Net, 3 transposed 2x2": (unet(3, 2), 8, (46, 46)),
    "U-Net, 2 transposed 3x3": (unet(2, 3), 4, (22, 25)),
    "U-Net, 3 linear, strided": (unet(3, "linear", strided=True), 8, (61, 53)),
    "causal TCN": (CAUSAL, 1, (14, 0)),
    "FPN of stride 2": (pyramid(), 8, None),
    "dilated ResNet": (dilated_resnet(), 8, None),
    "even kernels": (EVEN, 1, (3, 6)),
    "crop, then a padded convolution": (CROPPED, 1, (4, 4)),
    "valid": (VALID, 2, (0, 0)),
    "SAME strides": (SAME_STRIDES, 2, None),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_multiples_and_halos(name):
    graph, multiple, halo = NETWORKS[name]
    (axis,) = plan_of(graph).axes
    assert axis.multiple == multiple
    assert halo is None or axis.halo == halo


# Against expressions written down position by position.


def expressions(graph, size, shift):
    """A function that gives the expression of a feature; pixels are numbered in the whole image, ``shift`` off."""
    sizes = oracle.all_sizes(sized(graph, size), 1)
    known = {}

    @cache
    def expression(v, y):
        tails = oracle.inputs_of(graph, v)
        if not tails:
            return "pixel", y + shift
        parts = []
        for slot, tail in enumerate(tails):
            read = oracle.taps(graph.nodes[v], 0, y, [sizes[t][0] for t in tails], slot)
            if graph.nodes[v]["op"] == "resize":
                read = [min(max(i, 0), sizes[tail][0] - 1) for i in sorted(read)]
            inside = (0 <= i < sizes[tail][0] for i in sorted(read))
            parts.append(tuple(expression(tail, i) if ok else None for ok, i in zip(inside, sorted(read), strict=True)))
        return v, known.setdefault((v, tuple(parts)), hash((v, tuple(parts))))

    return expression, {v: size for v, (size,) in sizes.items()}


def sized(graph, size):
    graph = graph.copy()
    for node, data in graph.nodes(data=True):
        if data["op"] == "input":
            graph.nodes[node]["size"] = size
    return graph


def check_tiles(graph, image, plan):
    """Every output of the whole is taken once, from a tile where it is the same expression of the same pixels."""
    (axis,) = plan.axes
    last = list(read(graph).nodes)[-1]
    whole, sizes = expressions(graph, image, 0)
    reached = 0
    for box in plan.boxes():
        (taken,), (output,), (crop,) = box
        assert taken.start % axis.multiple == 0
        part, _ = expressions(graph, taken.stop - taken.start, taken.start)
        assert output.start == reached
        for y, j in zip(range(output.start, output.stop), range(crop.start, crop.stop), strict=True):
            assert part(last, j) == whole(last, y)
        reached = output.stop
    assert reached == sizes[last] == plan.output_size[0]


def check_least(graph, image, tile):
    """In the middle of an image the output beside those that are kept is another one, at some start."""
    (axis,) = plan_of(graph, image, tile).axes
    before, after, outputs = tiler_of(graph).exact(0, tile)
    last = list(read(graph).nodes)[-1]
    whole, _ = expressions(graph, image, 0)
    start = (image - tile) // 2 // axis.multiple * axis.multiple
    part, _ = expressions(graph, tile, start)
    offset = Fraction(start) / axis.stride
    assert offset.denominator == 1
    for j in [before - 1] * (before > 0) + [outputs - after] * (after > 0):
        assert part(last, j) != whole(last, offset.numerator + j)


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_are_the_whole_at_every_size_in_two_moduli(name):
    graph, multiple, _ = NETWORKS[name]
    (axis,) = plan_of(graph).axes
    least = axis.overlap + 2 * multiple
    done = 0
    for tile in range(least, least + 2 * multiple):
        for image in (tile + 2 * least // multiple * multiple, 4 * least + 1):
            try:
                plan = plan_of(graph, image, tile)
            except (TilingError, SizeError):
                continue
            if plan.count > 1:
                check_tiles(graph, image, plan)
                check_least(graph, tile + 8 * least, tile)
                done += 1
    assert done


@given(networks(axes=st.just(1), layers=REGULAR, inputs=st.just(1), most=6), st.integers(1, 60), st.integers(20, 120))
def test_random_networks(graph, tile, image):
    check_random(graph, tile, image)


@given(
    networks(axes=st.just(1), layers=SAME, inputs=st.just(1), most=5, same=True),
    st.integers(1, 60),
    st.integers(20, 90),
)
def test_random_networks_with_same_padding_and_transposed_convolutions(graph, tile, image):
    check_random(graph, tile, image)


def check_random(graph, tile, image):
    try:
        plan = plan_of(graph, image, tile)
    except (TilingError, SizeError, AttributeValueError):
        assume(False)
    assume(plan.status == "exact" and plan.count > 1)
    check_tiles(graph, image, plan)


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "edge"])
@pytest.mark.parametrize("crooked", [[0, 3], [6, 0]])
@pytest.mark.parametrize("padding", [[4, 0], [0, 4], [2, 5]])
def test_borders_that_are_mirrored_read_nothing_that_the_other_end_spoils(mode, crooked, padding):
    conv = ("conv", {"kernel": max(crooked) + 1, "padding": [crooked]})
    graph = chain(conv, ("pad", {"padding": [padding], "mode": mode}))
    planned = 0
    for tile in range(1, 30):
        try:
            plan = plan_of(graph, 40, tile)
        except (TilingError, SizeError):
            continue
        check_tiles(graph, 40, plan)
        planned += 1
    assert planned


# Against torch, in numbers.


def ran(graph, image, weights):
    """Run a network with torch, in float64; its weights are positive and largest at their ends."""
    torch = pytest.importorskip("torch")
    values = {}
    for v in nx.topological_sort(graph):
        data, tails = graph.nodes[v], oracle.inputs_of(graph, v)
        x = values[tails[0]] if tails else torch.as_tensor(image)[None, None]
        op = data["op"]
        if op in ("conv", "avg_pool", "max_pool"):
            before, after = oracle.pads_of(data, 0, x.shape[-1])
            x = torch.nn.functional.pad(x, (max(before, 0), max(after, 0)))
            kernel, stride = oracle.attribute(data, "kernel", 0), oracle.stride_of(data, 0)
            taps = np.abs(np.arange(kernel) - (kernel - 1) / 2) + weights.setdefault(v, 0.1 + len(weights) / 50)
            x = torch.conv1d(x, torch.as_tensor(taps)[None, None], stride=stride, dilation=data.get("dilation", 1))
        elif op == "conv_transpose":
            kernel = oracle.attribute(data, "kernel", 0)
            taps = torch.as_tensor(1.0 + np.arange(kernel) / 7)[None, None]
            cropped, more = data.get("padding", 0), data.get("output_padding", 0)
            x = torch.nn.functional.conv_transpose1d(
                x, taps, stride=data["stride"], padding=cropped, output_padding=more
            )
        elif op == "resize":
            x = torch.nn.functional.interpolate(x, scale_factor=float(data["scale"]), mode=data.get("mode", "nearest"))
        elif op == "crop":
            x = x[..., -data["padding"] : x.shape[-1] + data["padding"]]
        elif op == "add":
            x = sum(values[t] for t in tails)
        values[v] = x
    return values[v][0, 0].numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_gives_the_same_numbers(name):
    graph, multiple, _ = NETWORKS[name]
    (axis,) = plan_of(graph).axes
    tile = (axis.overlap // multiple + 5) * multiple
    image_size = 3 * tile
    plan = plan_of(graph, image_size, tile)
    image, weights = np.random.default_rng(0).uniform(1, 2, image_size), {}

    def run(piece):
        return ran(graph, piece, weights)

    whole = run(image)
    np.testing.assert_allclose(plan.stitch(run, image), whole, rtol=1e-11)
    assert plan.verify(run, image) <= 1e-11 * whole.max()
    # One output of halo less is not enough, and a start off the multiple is not right.
    before, after, outputs = tiler_of(graph).exact(0, tile)
    start = tile // axis.multiple * axis.multiple
    part, offset = run(image[start : start + tile]), int(start / Fraction(axis.stride))
    for j in [before - 1] * (before > 0) + [outputs - after] * (after > 0):
        assert abs(part[j] / whole[offset + j] - 1) > 1e-9
    for off in range(1, multiple):
        part = run(image[start + off : start + off + tile])
        if (off / Fraction(axis.stride)).denominator == 1:
            kept = slice(before, outputs - after)
            shifted = whole[offset + int(off / Fraction(axis.stride)) :][:outputs][kept]
            assert not np.allclose(part[:outputs][kept], shifted, rtol=1e-9)


# What forbids it.


def squeeze():
    net = rfgraph.Network("se", axes=1)
    x = net.conv("conv", net.input("image"), kernel=3, padding=1)
    net.mul("scale", x, net.conv("gate", net.global_avg_pool("pool", x), kernel=1))
    return net.graph


def joined():
    net = rfgraph.Network("joined", axes=1)
    x = net.input("image")
    net.concat("both", x, net.relu("again", x), axis=0)
    return net.graph


ALIGNED_CORNERS = chain(("resize", {"size": 40, "mode": "linear", "coordinates": "align_corners"}))


@pytest.mark.parametrize(
    ("graph", "node", "why"),
    [
        (squeeze(), "pool", "reads beyond every tile"),
        (chain(("group_norm", {})), "group_norm0", "reads beyond every tile"),
        (ALIGNED_CORNERS, "resize0", "size of its whole map"),
        (chain(("resize", {"size": 40})), "resize0", "size of its whole map"),
        (chain(("adaptive_avg_pool", {"size": 7})), "adaptive_avg_pool0", "size of its whole map"),
        (chain(("unknown", {"of": "GridSample"})), "unknown0", "is not known"),
        (chain(("slice", {"stop": 8})), "slice0", "one size, whatever the image's"),
        (joined(), "both", "concatenates along this axis"),
        (chain(("pad", {"padding": 1, "mode": "wrap"})), "pad0", "the other end of the whole map"),
    ],
)  # fmt: skip
def test_what_forbids_it_is_named(graph, node, why):
    plan = plan_of(graph, 64, 16)
    assert plan.status == "forbidden"
    assert plan.count is None
    assert plan.overhead is None
    blocker = plan.blockers[0]
    assert (blocker.node, blocker.axis) == (node, "t")
    assert why in blocker.why
    assert blocker.advice
    with pytest.raises(TilingError, match=f"cannot be tiled exactly: node '{node}'"):
        next(plan.boxes())


def test_an_input_that_is_not_cut_forbids_it():
    net = rfgraph.Network("two", axes=1)
    net.add("add", net.input("a"), net.input("b"))
    layers = read(net.graph)
    plan = tiling.plan(tiling.Tiler(layers, 2, 0), (20,), (10,))
    assert "'b'" in plan.blockers[0].why


# Sizes and errors.


def test_without_an_image_there_is_the_rule():
    plan = plan_of(unet(2, axes=2))
    assert plan.status == "exact"
    assert [axis.halo for axis in plan.axes] == [(22, 22)] * 2
    assert plan.axes[0].overlap == 44
    with pytest.raises(TilingError, match="without the size of the image"):
        next(plan.boxes())


def test_the_least_overhead_that_fits():
    tiler = tiler_of(unet(2, axes=2))
    plan = tiling.plan(tiler, (4000, 3000), fits=lambda tile: tile[0] * tile[1] <= 1 << 18)
    assert plan.count > 1
    for axis in plan.axes:
        assert axis.tile <= 1 << 18
    for tile in ((256, 256), (384, 384), (512, 512), (1024, 256)):
        assert plan.overhead <= tiling.plan(tiler, (4000, 3000), tile).overhead
    said = "no tile that fits into the memory given computes anything exact; .* has 48x48 pixels: pass tile="
    with pytest.raises(TilingError, match=said):
        tiling.plan(tiler, (4000, 3000), fits=lambda tile: tile[0] * tile[1] <= 16)
    # Where even the smallest tiles have more pixels than is usual, they are larger by default.
    plan = rfgraph.analyze("zoo:inception_v3", input_size=2000).tiling()
    assert plan.count == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_the_least_overhead_is_that_of_all_tile_sizes(name):
    """Along one axis, against every tile size that there is."""
    graph, multiple, _ = NETWORKS[name]
    tiler = tiler_of(graph)
    for image in (4 * multiple * 31, 4 * multiple * 31 + multiple // 2 + 1):
        most = image * 2 // 3
        overheads = {}
        for tile in range(1, most + 1):
            try:
                plan = tiling.plan(tiler, (image,), (tile,))
            except (TilingError, SizeError):
                continue
            overheads[tile] = plan.overhead
        if overheads:
            best = tiling.plan(tiler, (image,), fits=lambda tile, most=most: tile[0] <= most)
            assert best.overhead == min(overheads.values()) == overheads[best.axes[0].tile]


def test_the_least_overhead_over_two_axes():
    tiler = tiler_of(unet(2, axes=2))
    image, most = (200, 140), 96 * 100
    best = tiling.plan(tiler, image, fits=lambda tile: tile[0] * tile[1] <= most)
    plans = [
        tiling.plan(tiler, image, (y, x))
        for y in range(48, 200, 4)
        for x in range(48, min(most // y, 140) + 1, 4)
    ]  # fmt: skip
    assert best.overhead == min(plan.overhead for plan in plans)
    # Big images are planned as fast: what is compared grows with the root of the number of tiles.
    assert tiling.plan(tiler, (10**7, 10**7), fits=lambda tile: tile[0] * tile[1] <= 1 << 30).status == "exact"


def test_what_fits_into_memory():
    """Maps that live at once, held against the maps of every tile, written down."""
    tiler = tiler_of(unet(2))
    channels = {node: 1 + i % 3 for i, node in enumerate(tiler.layers.nodes)}
    graph, order = unet(2), list(tiler.layers.nodes)
    for tile in (8, 48, 52, 96, 480):
        sizes = oracle.all_sizes(sized(graph, tile), 1)
        most = 0
        for done, node in enumerate(order):
            live = {node} | {
                u
                for u in order[:done]
                if u == order[-1] or any(order.index(reader) >= done for reader in graph.successors(u))
            }
            most = max(most, sum(4 * channels[u] * sizes[u][0] for u in live))
        fits = [tiling.fits_memory(tiler, (960,), channels, memory)((tile,)) for memory in (most, most - 1)]
        assert fits == [True, False]


def test_memory_wants_the_size_of_the_image():
    net = rfgraph.Network("net", axes=1)
    net.conv("a", net.input("x", channels=1), kernel=3, padding=1, channels=1)
    with pytest.raises(TilingError, match="memory decides nothing without the size of the image"):
        rfgraph.analyze(net).tiling(memory=1000)
    for memory in (0, -5, "1G"):
        with pytest.raises(AttributeValueError, match=r"memory .* is not a positive number of bytes"):
            rfgraph.analyze(net, input_size=100).tiling(memory=memory)
    with pytest.raises(TilingError, match="the smallest that does has 3 pixels"):
        rfgraph.analyze(net, input_size=1000).tiling(memory=10)


def test_a_tile_without_an_image_tells_its_halo_and_step():
    (axis,) = plan_of(unet(2), None, 200).axes
    assert (axis.tile, axis.step, axis.halo, axis.tiles) == (200, 156, (22, 22), ())
    with pytest.raises(TilingError, match="take tiles of 48"):
        plan_of(unet(2), None, 44)


def test_tiles_of_the_only_residue_that_the_network_runs_on():
    """An unpadded U-Net of two levels runs on sizes of 2 modulo 4; its tiles start at multiples of 4 all the same."""
    net = rfgraph.Network("valid", axes=1)
    x = net.conv("a", net.input("image"), kernel=3)
    y = net.conv("b", net.avg_pool("pool0", x, kernel=2), kernel=3)
    z = net.conv("c", net.avg_pool("pool1", y, kernel=2), kernel=3)
    y = net.add("join1", net.crop("cut1", y, padding=-2), net.conv_transpose("up1", z, kernel=2, stride=2))
    y = net.conv("d", y, kernel=3)
    net.add("join0", net.crop("cut0", x, padding=-8), net.conv_transpose("up0", y, kernel=2, stride=2))
    graph = net.graph
    (axis,) = plan_of(graph).axes
    assert (axis.multiple, set(axis.halos)) == (4, {2})
    with pytest.raises(TilingError, match="axis t: the network does not run on tiles of 60 pixels; take 58 or 62"):
        plan_of(graph, 122, 60)
    plan = tiling.plan(tiler_of(graph), (122,), fits=lambda tile: tile[0] < 50)
    assert plan.count > 2
    assert plan.axes[0].tile % 4 == 2
    check_tiles(graph, 122, plan)


def test_more_tiles_than_can_be_listed_are_refused():
    net = rfgraph.Network("wide", axes=1)
    net.conv("conv", net.input("x", size=2**31 - 1), kernel=1)  # of a prime number only tiles of 1 leave nothing over
    report = rfgraph.analyze(net)
    assert report.tiling().count <= tiling.MAX_TILES
    with pytest.raises(TilingError, match=r"has 268435456 tiles of 8, more than 1048576; take larger ones"):
        report.tiling(tile=8)


def test_overhead_is_computed_pixels_over_pixels():
    plan = plan_of(unet(2), 1000, 200)
    (axis,) = plan.axes
    assert axis.step == 200 - 44
    assert plan.count == 1 + -(-(1000 - 200) // axis.step)
    assert plan.overhead == Fraction(sum(tile.size for tile in axis.tiles), 1000)
    assert axis.tiles[-1].stop == 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1000, 44), r"a tile of 44 has 44 outputs, of which 22 before and 22 after are not exact.* take tiles of 48"),
        ((1000, 200, 10), "an overlap of 10 is too little; tiles of 200 need 44"),
        ((1000, 200, 198), "an overlap of 198 leaves tiles of 200 no step.* take an overlap of 196 or less"),
    ],
)
def test_tiles_that_do_not_do_are_refused(arguments, message):
    with pytest.raises(TilingError, match=message):
        plan_of(unet(2), *arguments)


def test_more_overlap_than_is_needed_is_kept():
    (axis,) = plan_of(unet(2), 1000, 200, 101).axes
    assert axis.step == 96


def test_a_multiple_with_more_residues_than_are_worked_out():
    graph = chain(*[("avg_pool", {"kernel": 2})] * 10, ("conv", {"kernel": 3, "padding": 1}))
    with pytest.raises(TilingError, match="multiples of 1024, more than the 512 whose halos are worked out"):
        plan_of(graph)
    (axis,) = plan_of(graph, 20000, 5000).axes
    assert (axis.multiple, axis.halo, axis.step) == (1024, (1, 1), 2048)
    (axis,) = tiling.plan(tiler_of(graph), (20000,), fits=lambda tile: tile[0] <= 10000).axes
    assert (axis.step, axis.tile % 1024 in (0, 20000 % 1024)) == (7168, True)


def test_same_padding_wants_the_residue_of_the_image():
    graph = NETWORKS["SAME strides"][0]
    with pytest.raises(TilingError, match="a tile has the image's size 101 modulo 2, and 40 has not; take 39 or 41"):
        plan_of(graph, 101, 40)
    check_tiles(graph, 101, plan_of(graph, 101, 41))


@pytest.mark.parametrize("tile", [0, (1, 2, 3), "8", True, 8.0])
def test_a_tile_is_a_number_of_pixels(tile):
    with pytest.raises(AttributeValueError, match=r"tile .* is not a number of pixels"):
        tiling.given("tile", tile, ("y", "x"))


# Running it.


def doubled(graph=None):
    """A convolution of two axes by numpy, on the last two dimensions: the sum of 3 x 3 neighbours."""

    def run(image):
        padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(1, 1)] * 2)
        rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
        return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]

    return run


SUM = chain(("conv", {"kernel": 3, "padding": 1}), axes=2)


def test_stitch_writes_where_it_is_told(tmp_path):
    image = np.random.default_rng(0).integers(0, 9, (3, 50, 40))
    plan = plan_of(SUM, (50, 40), 16)
    whole = doubled()(image)
    np.testing.assert_array_equal(plan.stitch(doubled(), image), whole)
    on_disk = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=image.dtype, shape=image.shape)
    assert plan.stitch(doubled(), image, out=on_disk) is on_disk
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), whole)


def test_outputs_are_of_the_kind_of_the_image(tmp_path):
    image = np.random.default_rng(0).integers(0, 9, (50, 40))
    plan, whole = plan_of(SUM, (50, 40), 16), doubled()(image)
    on_disk = np.lib.format.open_memmap(tmp_path / "image.npy", mode="w+", dtype=image.dtype, shape=image.shape)
    on_disk[:] = image
    out = plan.stitch(doubled(), on_disk)
    assert type(out) is np.memmap
    np.testing.assert_array_equal(out, whole)
    named = plan.stitch(doubled(), image, out=tmp_path / "named.npy")
    np.testing.assert_array_equal(named, whole)
    np.testing.assert_array_equal(np.load(tmp_path / "named.npy"), whole)
    with pytest.raises(TilingError, match=r"does not end in \.npy or \.zarr"):
        plan.stitch(doubled(), image, out=tmp_path / "named.tif")


def test_outputs_of_zarr_are_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    image = np.random.default_rng(0).integers(0, 9, (3, 50, 40))
    stored = zarr.create_array(str(tmp_path / "image.zarr"), shape=image.shape, chunks=(1, 17, 13), dtype=image.dtype)
    stored[:] = image
    plan, whole = plan_of(SUM, (50, 40), 16), doubled()(image)
    out = plan.stitch(doubled(), stored)
    assert isinstance(out, zarr.Array)
    np.testing.assert_array_equal(out[:], whole)
    for source in (stored, image):
        plan.stitch(doubled(), source, out=tmp_path / f"{type(source).__name__}.zarr")
        written = zarr.open(str(tmp_path / f"{type(source).__name__}.zarr"))
        np.testing.assert_array_equal(written[:], whole)


def test_never_more_than_a_tile_is_held():
    """Beside the arrays on disk: a few times what one tile takes, whatever the size of the image."""
    import tracemalloc

    with tempfile.TemporaryFile() as file:
        image = np.memmap(file, dtype=np.float64, mode="w+", shape=(1 << 20,))
    plan = plan_of(chain(("conv", {"kernel": 3, "padding": 1})), len(image), 1 << 12)
    tracemalloc.start()
    plan.stitch(lambda piece: piece + 1, image, progress=False)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * (1 << 12) * image.itemsize < image.nbytes / 16


def test_never_more_than_a_tile_is_read():
    class Lazy:
        shape, ndim = (50, 40), 2
        largest = 0

        def __getitem__(self, index):
            part = np.ones((50, 40))[index]
            Lazy.largest = max(Lazy.largest, part.size)
            return part

    plan_of(SUM, (50, 40), 16).stitch(doubled(), Lazy())
    assert Lazy.largest == 16 * 16


def test_spatial_axes_may_lie_anywhere():
    image = np.random.default_rng(0).integers(0, 9, (50, 40, 3))
    plan = plan_of(SUM, (50, 40), 16)

    def last(piece):
        return np.moveaxis(doubled()(np.moveaxis(piece, -1, 0)), 0, -1)

    np.testing.assert_array_equal(plan.stitch(last, image, axes=(0, 1)), last(image))


def test_a_progress_bar_where_it_is_asked_for(capsys):
    plan_of(SUM, (50, 40), 16).stitch(doubled(), np.ones((50, 40)), progress=True)
    assert "tiles" in capsys.readouterr().err
    plan_of(SUM, (50, 40), 16).stitch(doubled(), np.ones((50, 40)))
    assert capsys.readouterr().err == ""


def test_verify_sees_a_network_that_is_another():
    plan = plan_of(SUM, (50, 40), 16)
    image = np.random.default_rng(0).uniform(size=(50, 40))
    assert plan.verify(doubled(), image) == 0
    assert plan.verify(lambda piece: doubled()(doubled()(piece)), image) > 1e-3


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda piece: piece[0], "has 1 dimensions, and the image 2"),
        (lambda piece: piece[::2], r"16 x 16 has size \[8, 16\], and \[16, 16\] is planned for"),
        (lambda piece: np.pad(piece, 1), r"16 x 16 has size \[18, 18\], and \[16, 16\] is planned for"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(run, message):
    with pytest.raises(TilingError, match=message):
        plan_of(SUM, (50, 40), 16).stitch(run, np.ones((50, 40)))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.ones((50, 40)), {"axes": (0, 2)}, r"axes \[0, 2\] are not dimensions of an image that has 2"),
        (np.ones((50, 40)), {"axes": (0, 0)}, r"axes \[0, 0\] are not dimensions"),
        (np.ones((50, 40)), {"axes": (0,)}, r"axes \[0\] are 1, and the network has 2"),
        ("image.tif", {}, "the image is str, which is no array"),
        (np.ones((50, 40)), {"out": np.ones((5, 4))}, r"out has shape \[5, 4\], and .* have \[50, 40\]"),
    ],
)
def test_images_and_outputs_that_do_not_do(image, options, message):
    with pytest.raises(TilingError, match=message):
        plan_of(SUM, (50, 40), 16).stitch(doubled(), image, **options)


@pytest.mark.parametrize("kind", [np.uint8, bool, np.float32])
def test_verify_tells_differences_of_any_kind_of_numbers(kind):
    plan = plan_of(SUM, (50, 40), 16)
    image = np.arange(2000).reshape(50, 40) % 7

    def away(piece):  # what it gives depends on how large the piece is
        return (piece % 2 + (len(piece) > 16)).astype(kind)

    assert plan.verify(away, image) == 1
    assert plan.verify(lambda piece: piece.astype(kind), image) == 0


def test_an_image_of_another_size_is_refused():
    with pytest.raises(TilingError, match="axis x: the image has 41 pixels, and the plan is for 40"):
        plan_of(SUM, (50, 40), 16).stitch(doubled(), np.ones((50, 41)))


def test_map_overlap_is_lazy_and_the_same():
    lazy = pytest.importorskip("dask.array")
    image = np.random.default_rng(0).integers(0, 9, (3, 50, 40))
    plan = plan_of(SUM, (50, 40), 16)
    calls = []

    def run(piece):
        calls.append(piece.shape)
        return doubled()(piece)

    out = plan.map_overlap(run, lazy.from_array(image, chunks=(3, 16, 16)))
    assert len(calls) == 1  # one tile, to learn what outputs look like
    assert out.numblocks[1:] == tuple(len(axis.tiles) for axis in plan.axes)
    np.testing.assert_array_equal(out.compute(scheduler="synchronous"), doubled()(image))
    # So is what is put together of a lazy image, whatever its chunks.
    for chunks in ((3, 16, 16), (1, 7, 39), (2, (49, 1), (3, 37))):
        of_lazy = plan.stitch(doubled(), lazy.from_array(image, chunks=chunks))
        assert isinstance(of_lazy, lazy.Array)
        np.testing.assert_array_equal(of_lazy.compute(scheduler="synchronous"), doubled()(image))


# A published table.

#: Overlaps of tiles that CSBDeep (csbdeep/internals/predict.py, ``tile_overlap``) uses for its U-Nets, by the size of
#: their pools: a row a depth, a column a kernel of 3, 5 and 7. Its U-Nets have two convolutions a level, all padded.
PUBLISHED = {
    1: [(6, 12, 18), (10, 20, 30), (14, 28, 42), (18, 36, 54), (22, 44, 66)],
    2: [(9, 17, 25), (22, 43, 62), (46, 92, 138), (94, 188, 282), (190, 380, 570)],
    4: [(14, 27, 38), (58, 116, 158), (234, 468, 638), (938, 1876, 2558)],
}


def published_unet(depth, kernel, pool):
    net = rfgraph.Network("unet", axes=1)
    x, skips = net.input("image"), []

    def convolved(name, x):
        for i in range(2):
            x = net.conv(f"{name}/{i}", x, kernel=kernel, padding="same")
        return x

    for level in range(depth):
        x = convolved(f"down{level}", x)
        skips.append(x)
        x = net.max_pool(f"pool{level}", x, kernel=pool)
    x = convolved("middle", x)
    for level in reversed(range(depth)):
        x = net.concat(f"join{level}", net.resize(f"up{level}", x, scale=pool), skips[level])
        x = convolved(f"after{level}", x)
    return net.graph


def test_a_published_table_of_overlaps():
    over = {}
    for pool, rows in PUBLISHED.items():
        for depth, row in enumerate(rows, start=1):
            for kernel, overlap in zip((3, 5, 7), row, strict=True):
                (axis,) = plan_of(published_unet(depth, kernel, pool)).axes
                least = max(axis.halo)
                assert overlap >= least
                over[pool, depth, kernel] = overlap - least
    assert len(over) == 42
    assert sorted(set(over.values())) == [0, 1, 3]
    assert sum(extra > 0 for extra in over.values()) == 5


@pytest.mark.parametrize(("direction", "side"), [("forward", "before"), ("backward", "after")])
def test_what_reads_on_to_one_end_says_to_which(direction, side):
    net = rfgraph.Network("stream", axes=1)
    net.recurrent("lstm", net.input("x"), direction=direction)
    (blocker,) = rfgraph.analyze(net).tiling().blockers
    assert f"it reads everything {side} it" in str(blocker)
