"""Plans of tiles in the words of other tools: what they say, laid out by each tool's own published rule.

The rules: MONAI 1.6 (``monai/inferers/utils.py``, ``monai/data/utils.py::dense_patch_slices``), CAREamics 0.3
(``careamics/dataset/patching/tiled_patching.py``), bioimage.io's model description 0.5 and ``bioimageio.core`` 0.11
(``block_meta.py``). They are written here anew, position by position.
"""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

import rfgraph
from rfgraph.cli import main
from rfgraph.present.tile_exports import EXPORTS


def chain(*layers, axes=1):
    net = rfgraph.Network("chain", axes=axes)
    x = net.input("image")
    for i, (op, attributes) in enumerate(layers):
        x = net.node(op, f"{op}{i}", x, **attributes)
    return net


def unet(kernel=3):
    net = rfgraph.Network("unet", axes=1)
    x = net.conv("a", net.input("image"), kernel=kernel, padding=kernel // 2)
    y = net.conv("b", net.avg_pool("pool", x, kernel=4), kernel=3, padding=1)
    net.add("join", x, net.resize("up", y, scale=4))
    return net


SKEWED = chain(("conv", {"kernel": 4, "padding": [[3, 0]]}), ("conv", {"kernel": 3, "padding": 1}))
HALVED = chain(
    ("conv", {"kernel": 5, "padding": 2}), ("avg_pool", {"kernel": 2}), ("conv", {"kernel": 3, "padding": 1})
)
PYRAMID = chain(
    ("conv", {"kernel": 3, "stride": 2, "padding": 1}), ("conv", {"kernel": 3, "stride": 4, "padding": 1}),
    ("resize", {"scale": 4}), ("conv", {"kernel": 3, "padding": 1}),
)  # fmt: skip
SAME = chain(("conv", {"kernel": 5, "stride": 2, "padding": "same"}), ("resize", {"scale": 2}))
VALID = chain(("conv", {"kernel": 5}), ("avg_pool", {"kernel": 2}), ("conv_transpose", {"kernel": 2, "stride": 2}))


def export(net, form, image=None, tile=None):
    return EXPORTS[form](rfgraph.analyze(net, input_size=image).tiling(tile=tile))


def rows(net, image, start, stop):
    """What each output of a piece of the image is made of, as weights of the image's pixels; what pads it has none."""
    graph, size = net.graph, stop - start
    report = rfgraph.analyze(net, input_size=size)
    values = {"image": np.eye(image)[start:stop]}
    for node in list(graph)[1:]:
        data = graph.nodes[node]
        tails = sorted(graph.in_edges(node, data=True), key=lambda edge: edge[2].get("slot", 0))
        x = values[tails[0][0]]
        out = np.zeros((report[node].map_size[0], image))
        if data["op"] == "add":
            out = x + 2 * values[tails[1][0]]
        elif data["op"] == "resize":
            out = np.repeat(x, int(data["scale"]), axis=0)
        elif data["op"] == "conv_transpose":
            for y in range(len(out)):
                out[y] = x[y // 2] * (1 + y % 2)
        else:
            stride = data.get("stride", data["kernel"] if data["op"] == "avg_pool" else 1)
            ((before, _),) = report.paddings(node)
            for y in range(len(out)):
                for tap in range(data["kernel"]):
                    at = y * stride - before + tap
                    if 0 <= at < len(x):
                        out[y] += x[at] * (tap + 2) ** 0.5
        values[node] = out
    return values[list(graph)[-1]]


# CAREamics.


def careamics(image, tile, overlap):
    """The tiles of CAREamics along one axis: start, first output that is kept, how many."""
    laid, written, start = [], 0, 0
    while True:
        if start + tile >= image:
            start = max(0, image - tile)
            return [*laid, (start, written, image - written)]
        kept = tile - (overlap // 2 if start == 0 else overlap)
        laid.append((start, written, kept))
        written += kept
        start += tile - overlap


CASES = [
    *((net, image) for net in (SKEWED, SAME, VALID, HALVED) for image in (96, 98, 99, 101)),
    *((unet(kernel), image) for kernel in (3, 7) for image in (96, 100, 104)),
]


@pytest.mark.parametrize(("net", "image"), CASES)
def test_careamics_is_exact_where_nothing_but_overlap_is_lost(net, image):
    whole = rows(net, image, 0, image)
    made = export(net, "careamics", image, 41 if image % 2 else 40)
    (tile,), (overlap,) = made["tile_size"], made["tile_overlap"]
    put_together = np.full((image, image), np.nan)
    for start, written, kept in careamics(image, tile, overlap):
        of_tile = rows(net, image, start, start + tile)
        taken = of_tile[written - start : written - start + kept]
        put_together[written : written + len(taken)] = taken
    agrees = whole.shape == put_together.shape and bool(np.allclose(whole, put_together))
    lossless = all("an overlap cropped alike" in sentence for sentence in made["lost"])
    assert agrees == lossless, made


def test_what_careamics_cannot_say():
    assert "as large as the image" in export(HALVED, "careamics", 96, 40)["lost"][-1]
    odd = export(SAME, "careamics", 97, 41)["lost"][0]
    assert odd == "axis t: no even overlap lets tiles of 41 step by a multiple of 2, so the result is not exact"
    made = export(unet(), "careamics")
    assert made["lost"] == [
        f"axis t: the last tile ends with the image, and agrees with the whole only where its size less "
        f"{made['tile_size'][0]} is a multiple of 4"
    ]
    skewed = export(SKEWED, "careamics", 96, 40)
    assert (skewed["tile_overlap"], skewed["lost"]) == (
        [8], ["axis t: an overlap cropped alike at both sides takes 8 pixels, not 5"]
    )  # fmt: skip


# MONAI.


@pytest.mark.parametrize("net", [unet(), unet(7), SKEWED, SAME, VALID, HALVED, PYRAMID])
@pytest.mark.parametrize("image", [None, 96, 104, 99])
def test_windows_of_monai_start_at_multiples(net, image):
    try:
        plan = rfgraph.analyze(net, input_size=image).tiling(tile=None if image is None else image // 2)
    except (rfgraph.errors.SizeError, rfgraph.errors.TilingError):
        plan = rfgraph.analyze(net).tiling()
    made = EXPORTS["monai"](plan)
    (roi,), (overlap,), (axis,) = made["roi_size"], made["overlap"], plan.axes
    assert 0 <= overlap < 1
    interval = int(roi * (1 - overlap))
    assert interval % axis.multiple == 0
    assert interval > 0
    assert roi - interval >= axis.overlap
    rfgraph.analyze(net, input_size=roi)  # it runs
    assert "never exact" in made["lost"][0]
    if axis.image is not None:
        off = (axis.image - roi) % axis.multiple != 0
        assert any("the last window starts at" in sentence for sentence in made["lost"]) == off


# bioimage.io.


def blocks(image, size, halo):
    """Where the blocks of ``bioimageio.core`` start, halo and all, and which pixels are taken from each."""
    inner = size - 2 * halo
    taken = [min(begin, image - inner) for begin in range(0, image, inner)]
    return [(begin - halo, begin, begin + inner) for begin in taken]


@pytest.mark.parametrize("net", [unet(), unet(7), SKEWED, SAME, HALVED, PYRAMID])
@pytest.mark.parametrize("more", [0, 1, 2])
def test_blocks_of_bioimageio_are_exact_inside(net, more):
    (axis,) = rfgraph.analyze(net).tiling().axes
    image = 24 * axis.multiple
    made = export(net, "bioimageio", image, image - axis.multiple)
    ((of_input,),), ((of_output,),) = ([tensor["axes"] for tensor in made[of]] for of in ("inputs", "outputs"))
    size = of_input["size"]["min"] + more * of_input["size"]["step"]
    stride, halo = of_output.get("scale", 1), of_output.get("halo", 0)
    whole = rows(net, image, 0, image)
    reach = max(axis.halo_pixels)  # outputs that the network's own padding reaches, at most
    seen = 0
    for start, begin, end in blocks(image, size, halo * stride):
        if start < 0 or start + size > image:
            continue
        of_tile = rows(net, image, start, start + size)
        assert len(of_tile) == Fraction(size) / stride + of_output["size"]["offset"]
        assert np.allclose(of_tile[halo : len(of_tile) - halo], whole[begin // stride : end // stride])
        seen += 1
    assert seen > 1
    assert size - 2 * halo * stride > 0
    assert reach <= halo * stride
    assert not any("modulo" in sentence or "no multiple" in sentence for sentence in made["lost"])


def test_what_bioimageio_cannot_say():
    lost = export(SKEWED, "bioimageio", 96, 40)["lost"]
    assert lost == [
        "axis t: one halo of 4 outputs for both sides, of which 4 and 1 are not exact",
        "axis t: at the image's border tiles are padded by the halo, as the whole image is not",
    ]
    assert "exact only for images of a multiple of 4 pixels" in export(unet(), "bioimageio")["lost"][-1]
    same = export(SAME, "bioimageio", 97, 41)
    assert "sizes of 1 modulo 2" in same["lost"][-2]
    assert "97 pixels are no multiple of 2, so no tile agrees, with padding 'same'" in same["lost"][-1]
    assert (
        "moved back off the grid" in export(chain(("conv", {"kernel": 3, "stride": 2})), "bioimageio", 97)["lost"][-1]
    )


def test_axes_of_bioimageio_are_those_of_its_format():
    net = chain(("conv", {"kernel": 3, "stride": 2, "padding": 1}), axes=2)
    made = export(net, "bioimageio", 512, 128)
    size = {"min": 6, "step": 2}
    assert made["inputs"] == [{"id": "image", "axes": [{"type": "space", "id": axis, "size": size} for axis in "yx"]}]
    (output,) = made["outputs"]
    assert output["id"] == "conv0"
    assert output["axes"][0] == {
        "type": "space", "id": "y", "size": {"tensor_id": "image", "axis_id": "y", "offset": 0}, "halo": 1, "scale": 2,
    }  # fmt: skip
    sound = export(chain(("conv", {"kernel": 3})), "bioimageio", 512, 128)
    assert sound["inputs"][0]["axes"][0]["type"] == "time"
    assert sound["outputs"][0]["axes"][0]["size"] == {"tensor_id": "image", "axis_id": "time", "offset": -2}
    assert "halo" not in sound["outputs"][0]["axes"][0]


@pytest.mark.parametrize("form", EXPORTS)
def test_the_command_writes_them(form, tmp_path, capsys):
    graph = unet()
    from rfgraph.importers import node_link

    node_link.save(graph.graph, tmp_path / "unet.json")
    assert main(["tile", str(tmp_path / "unet.json"), "--input-size", "96", "--tile", "40", "--format", form]) == 0
    assert json.loads(capsys.readouterr().out) == export(graph, form, 96, 40)
    graph.mul("gated", "join", graph.global_avg_pool("whole", "join"))
    node_link.save(graph.graph, tmp_path / "unet.json")
    assert main(["tile", str(tmp_path / "unet.json"), "--input-size", "96", "--format", form]) == 1
    assert "whole" in json.loads(capsys.readouterr().out)["blockers"][0]
