"""The zoo against what was published of its networks, and what rfgraph finds in them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import prod

import pytest

from rfgraph import analyze, trace
from rfgraph.errors import ModelFileError
from rfgraph.graph.network import read
from rfgraph.models import MODELS, build

# Araujo, Norris, Sim, Distill 2019: RECEPTIVE_FIELD_TABLE.md of github.com/google-research/receptive_field. Each row is
# an end point with receptive field size, effective stride, and effective padding: one where it does not depend on the
# input size, else at 224 and at 321 pixels.
INCEPTION_2 = """
    Conv2d_1a_7x7 7 2 2 3
    MaxPool_2a_3x3 11 4 2 5
    Conv2d_2b_1x1 11 4 2 5
    Conv2d_2c_3x3 19 4 6 9
    MaxPool_3a_3x3 27 8 6 13
    Mixed_3b 59 8 22 29
    Mixed_3c 91 8 38 45
    Mixed_4a 123 16 46 61
    Mixed_4b 187 16 78 93
    Mixed_4c 251 16 110 125
    Mixed_4d 315 16 142 157
    Mixed_4e 379 16 174 189
    Mixed_5a 443 32 190 221
    Mixed_5b 571 32 254 285
    Mixed_5c 699 32 318 349
"""
MOBILE = """
    Conv2d_0 3 2 0 1
    Conv2d_1_pointwise 7 2 2 3
    Conv2d_2_pointwise 11 4 2 5
    Conv2d_3_pointwise 19 4 6 9
    Conv2d_4_pointwise 27 8 6 13
    Conv2d_5_pointwise 43 8 14 21
    Conv2d_6_pointwise 59 16 14 29
    Conv2d_7_pointwise 91 16 30 45
    Conv2d_8_pointwise 123 16 46 61
    Conv2d_9_pointwise 155 16 62 77
    Conv2d_10_pointwise 187 16 78 93
    Conv2d_11_pointwise 219 16 94 109
    Conv2d_12_pointwise 251 32 94 125
    Conv2d_13_pointwise 315 32 126 157
"""
RESNETS = {
    50: "block1 35 8 15 17, block2 99 16 47 49, block3 291 32 143 145, block4 483 32 239 241",
    101: "block1 35 8 15 17, block2 99 16 47 49, block3 835 32 415 417, block4 1027 32 511 513",
    152: "block1 35 8 15 17, block2 163 16 79 81, block3 1315 32 655 657, block4 1507 32 751 753",
    200: "block1 35 8 15 17, block2 419 16 207 209, block3 1571 32 783 785, block4 1763 32 879 881",
}
TABLE = {
    "alexnet_v2": """
    alexnet_v2/conv1 11 4 0
    alexnet_v2/pool1 19 8 0
    alexnet_v2/conv2 51 8 16
    alexnet_v2/conv3 99 16 32
    alexnet_v2/conv4 131 16 48
    alexnet_v2/conv5 163 16 64
    alexnet_v2/pool5 195 32 64
    """,
    "vgg_a": """
    vgg_a/conv1/conv1_1 3 1 1
    vgg_a/pool1 4 2 1
    vgg_a/conv2/conv2_1 8 2 3
    vgg_a/pool2 10 4 3
    vgg_a/conv3/conv3_1 18 4 7
    vgg_a/conv3/conv3_2 26 4 11
    vgg_a/pool3 30 8 11
    vgg_a/conv4/conv4_1 46 8 19
    vgg_a/conv4/conv4_2 62 8 27
    vgg_a/pool4 70 16 27
    vgg_a/conv5/conv5_1 102 16 43
    vgg_a/conv5/conv5_2 134 16 59
    vgg_a/pool5 150 32 59
    """,
    "vgg_16": """
    vgg_16/conv1/conv1_1 3 1 1
    vgg_16/pool1 6 2 2
    vgg_16/conv2/conv2_1 10 2 4
    vgg_16/pool2 16 4 6
    vgg_16/conv3/conv3_1 24 4 10
    vgg_16/conv3/conv3_2 32 4 14
    vgg_16/pool3 44 8 18
    vgg_16/conv4/conv4_1 60 8 26
    vgg_16/conv4/conv4_2 76 8 34
    vgg_16/pool4 100 16 42
    vgg_16/conv5/conv5_1 132 16 58
    vgg_16/conv5/conv5_2 164 16 74
    vgg_16/pool5 212 32 90
    """,
    "inception_v2": INCEPTION_2,
    "inception_v2_no_separable_conv": INCEPTION_2,
    "inception_v3": """
    Conv2d_1a_3x3 3 2 0
    Conv2d_2a_3x3 7 2 0
    Conv2d_2b_3x3 11 2 2
    MaxPool_3a_3x3 15 4 2
    Conv2d_3b_1x1 15 4 2
    Conv2d_4a_3x3 23 4 2
    MaxPool_5a_3x3 31 8 2
    Mixed_5b 63 8 18
    Mixed_5c 95 8 34
    Mixed_5d 127 8 50
    Mixed_6a 159 16 58
    Mixed_6b 351 16 154
    Mixed_6c 543 16 250
    Mixed_6d 735 16 346
    Mixed_6e 927 16 442
    Mixed_7a 1055 32 490
    Mixed_7b 1183 32 554
    Mixed_7c 1311 32 618
    """,
    "inception_v4": """
    Conv2d_1a_3x3 3 2 0
    Conv2d_2a_3x3 7 2 0
    Conv2d_2b_3x3 11 2 2
    Mixed_3a 15 4 2
    Mixed_4a 47 4 14
    Mixed_5a 55 8 14
    Mixed_5b 87 8 30
    Mixed_5c 119 8 46
    Mixed_5d 151 8 62
    Mixed_5e 183 8 78
    Mixed_6a 215 16 86
    Mixed_6b 407 16 182
    Mixed_6c 599 16 278
    Mixed_6d 791 16 374
    Mixed_6e 983 16 470
    Mixed_6f 1175 16 566
    Mixed_6g 1367 16 662
    Mixed_6h 1559 16 758
    Mixed_7a 1687 32 806
    Mixed_7b 1815 32 870
    Mixed_7c 1943 32 934
    Mixed_7d 2071 32 998
    """,
    "inception_resnet_v2": """
    Conv2d_1a_3x3 3 2 0
    Conv2d_2a_3x3 7 2 0
    Conv2d_2b_3x3 11 2 2
    MaxPool_3a_3x3 15 4 2
    Conv2d_3b_1x1 15 4 2
    Conv2d_4a_3x3 23 4 2
    MaxPool_5a_3x3 31 8 2
    Mixed_5b 63 8 18
    Mixed_6a 415 16 186
    PreAuxLogits 2335 16 1146
    Mixed_7a 2399 32 1162
    Conv2d_7b_1x1 3039 32 1482
    """,
    "inception_resnet_v2_same": """
    Conv2d_1a_3x3 3 2 0 1
    Conv2d_2a_3x3 7 2 2 3
    Conv2d_2b_3x3 11 2 4 5
    MaxPool_3a_3x3 15 4 4 7
    Conv2d_3b_1x1 15 4 4 7
    Conv2d_4a_3x3 23 4 8 11
    MaxPool_5a_3x3 31 8 8 15
    Mixed_5b 63 8 24 31
    Mixed_6a 415 16 192 207
    PreAuxLogits 2335 16 1152 1167
    Mixed_7a 2399 32 1168 1199
    Conv2d_7b_1x1 3039 32 1488 1519
    """,
    "mobilenet_v1": MOBILE,
    "mobilenet_v1_075": MOBILE,
    **{
        f"resnet_v{version}_{depth}": rows.replace("block", f"resnet_v{version}_{depth}/block").replace(", ", "\n")
        for version in (1, 2)
        for depth, rows in RESNETS.items()
    },
}


def published_rows(name: str, input_size: int | None) -> Iterator[tuple[str, int, int, int]]:
    """Yield end point, size, stride and padding of each row of ``name``'s table that is stated at ``input_size``."""
    for row in TABLE[name].strip().splitlines():
        end_point, size, stride, *paddings = row.split()
        if len(paddings) == 1:
            yield end_point, int(size), int(stride), int(paddings[0])
        elif input_size is not None:
            yield end_point, int(size), int(stride), int(paddings[(224, 321).index(input_size)])


@pytest.mark.parametrize(
    ("name", "input_size"),
    [(name, size) for name in TABLE for size in (None, 224, 321) if list(published_rows(name, size))],
)
def test_every_published_end_point(name: str, input_size: int | None) -> None:
    report = analyze(build(name), input_size)
    for end_point, size, stride, padding in published_rows(name, input_size):
        layer = report[end_point]
        assert (layer.size, layer.stride, layer.padding) == ((size,) * 2, (stride,) * 2, (padding,) * 2), end_point
    assert [finding for finding in report.findings if finding.rule < "RF006"] == []


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.published])
def test_published_field_of_the_zoo(name: str) -> None:
    model = MODELS[name]
    layer = analyze(model.build(), model.input_size)[model.node]
    assert model.published is not None
    assert set(layer.size) == {model.published.size}
    assert set(layer.stride) == {model.published.stride}
    assert set(layer.padding) == {model.published.padding}


def test_published_table_covers_the_zoo() -> None:
    assert {name for name, model in MODELS.items() if model.published} == {*TABLE, "alexnet_guide"}


def test_guide_table() -> None:
    """n, j, r and start of each layer, as the guide's program prints them for an image of 227 pixels."""
    report = analyze(build("alexnet_guide"), 227)
    rows = [
        (layer.name, layer.map_size[0], layer.stride[0], layer.size[0], layer.start[0]) for layer in report.values()
    ]
    assert rows == [
        ("image", 227, 1, 1, Fraction("0.5")),
        ("conv1", 55, 4, 11, Fraction("5.5")),
        ("pool1", 27, 8, 19, Fraction("9.5")),
        ("conv2", 27, 8, 51, Fraction("9.5")),
        ("pool2", 13, 16, 67, Fraction("17.5")),
        ("conv3", 13, 16, 99, Fraction("17.5")),
        ("conv4", 13, 16, 131, Fraction("17.5")),
        ("conv5", 13, 16, 163, Fraction("17.5")),
        ("pool5", 6, 32, 195, Fraction("33.5")),
        ("fc6-conv", 1, 32, 355, Fraction("113.5")),
        ("fc7-conv", 1, 32, 355, Fraction("113.5")),
    ]


@pytest.mark.parametrize(
    ("name", "input_size", "sizes"),
    [
        # Figure 1 of the U-Net paper.
        (
            "unet",
            572,
            {"down1/conv2": 568, "down2/conv2": 280, "down3/conv2": 136, "down4/conv2": 64, "bottom/conv2": 28},
        ),
        ("unet", 572, {"up4/concat": 56, "up3/concat": 104, "up2/concat": 200, "up1/concat": 392, "segments": 388}),
        # Comments and tests of TF-Slim.
        ("inception_v2", 224, {"Conv2d_1a_7x7": 112, "MaxPool_3a_3x3": 28, "Mixed_4a": 14, "Mixed_5c": 7}),
        ("inception_v3", 299, {"Conv2d_2a_3x3": 147, "MaxPool_5a_3x3": 35, "Mixed_6a": 17, "Mixed_7c": 8}),
        ("inception_v4", 299, {"Mixed_3a": 73, "Mixed_4a": 71, "Mixed_5e": 35, "Mixed_6h": 17, "Mixed_7d": 8}),
        ("inception_resnet_v2", 299, {"Mixed_5b": 35, "PreAuxLogits": 17, "Conv2d_7b_1x1": 8}),
        ("vgg_16", 224, {"vgg_16/pool5": 7, "vgg_16/fc8": 1}),
        ("resnet_v1_50", 225, {"resnet_v1_50/block4": 8}),
        ("xception", 299, {"block1_conv2": 147, "add": 74, "add_1": 37, "add_2": 19, "block14_sepconv2": 10}),
        ("fpn", 224, {"P2": 56, "P3": 28, "P4": 14, "P5": 7, "P6": 4}),
        ("densenet_121", 224, {"denseblock1.denselayer6.concat": 56, "denseblock4.denselayer16.concat": 7}),
    ],
)
def test_map_sizes(name: str, input_size: int, sizes: dict[str, int]) -> None:
    report = analyze(build(name), input_size)
    assert {node: report[node].map_size for node in sizes} == {node: (size, size) for node, size in sizes.items()}


def test_channels_and_kernels_give_the_published_parameter_counts() -> None:
    """Weights; ``per_channel`` more for each channel of a conv that mixes channels, its bias or norm; and the rest."""
    classifier = 2048 * 1000 + 1000
    cases = {
        # mobilenet_v1.py of TF-Slim: kernels alone.
        "mobilenet_v1": (0, 0, 3_185_088),
        "mobilenet_v1_075": (0, 0, 1_800_144),
        # TF-Slim's tests: shift, mean and variance of each norm; the separable conv has a bias instead.
        "inception_v2": (3, -2 * 64, 10_173_112),
        "inception_v3": (3, 0, 21_802_784),
        # torchvision.
        "vgg_a": (1, 0, 132_863_336),
        "vgg_16": (1, 0, 138_357_544),
        "resnet_v1_50": (2, classifier, 25_557_032),
        "resnet_v1_101": (2, classifier, 44_549_160),
        "resnet_v1_152": (2, classifier, 60_192_808),
        "resnet3d_18": (2, 512 * 400 + 400, 33_371_472),
        "densenet_121": (0, 83_648 + 1024 * 1000 + 1000, 7_978_856),  # Keras states the parameters of its norms
        # timm; the 1x1 convs after the branches of Inception-ResNet have a bias and no norm.
        "inception_v4": (2, 1536 * 1000 + 1000, 42_679_816),
        "inception_resnet_v2": (2, 1536 * 1000 + 1000 - (10 * 320 + 20 * 1088 + 10 * 2080), 55_843_464),
        "resnet50_d": (2, classifier, 25_576_264),
        # keras.applications: mean and variance counted too.
        "xception": (4, classifier, 22_910_480),
    }
    counts = {}
    for name, (per_channel, rest, _) in cases.items():
        weights, channels = count_parameters(name)
        counts[name] = weights + per_channel * channels + rest
    assert counts == {name: published for name, (_, _, published) in cases.items()}


def count_parameters(name: str) -> tuple[int, int]:
    """Return how many weights the convs of a network have, and how many channels those that mix channels."""
    graph = build(name)
    layers = read(graph)
    channels: list[int] = []
    weights = mixed = 0
    for v, node in enumerate(layers.nodes):
        attributes = graph.nodes[node]
        read_channels = [channels[tail] for tail in layers.tails[v]]
        if attributes["op"] == "concat":
            channels.append(sum(read_channels))
            continue
        channels.append(attributes["channels"] if "channels" in attributes else read_channels[0])
        if attributes["op"] == "conv":
            groups = attributes.get("groups", 1)
            weights += prod(op.kernel for op in layers.ops[v]) * read_channels[0] // groups * channels[v]
            mixed += channels[v] if groups == 1 else 0
    return weights, mixed


@pytest.mark.parametrize("name", MODELS)
def test_graph_is_well_formed(name: str) -> None:
    graph = build(name)
    assert graph.graph["name"] == name
    layers = read(graph)
    assert len(layers.inputs) == 1
    for node, attributes in graph.nodes(data=True):
        if attributes["op"] == "input":
            assert "size" not in attributes
        if attributes["op"] in ("input", "conv", "conv_transpose"):
            assert attributes["channels"] > 0, node
            assert attributes["channels"] % attributes.get("groups", 1) == 0, node
    node = MODELS[name].node
    assert node is None or node in graph
    again = build(name)
    assert again is not graph
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
    assert list(again.edges(data=True)) == list(graph.edges(data=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("vgg16", "the zoo has no network 'vgg16'; near: vgg_16"),
        ("?", "the zoo has no network '[?]'; it has alexnet_guide, alexnet_v2, .*, wavenet"),
    ],
)
def test_unknown_name_lists_what_is_near(wrong: str, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        build(wrong)


def test_xception_is_misaligned_at_its_second_shortcut() -> None:
    """SAME pads its 3x3 pool of stride 2 by (0, 1) on a map of 74 and by (1, 1) on odd ones; its 1x1 convs never."""
    graph = build("xception")
    report = analyze(graph, 299)
    (finding,) = report.findings
    assert report.aligned is False
    assert (finding.rule, finding.severity, finding.merge, finding.axes) == ("RF002", "warning", "add_1", ("y", "x"))
    assert finding.fork == "add"
    assert abs(finding.offset) == report["add"].stride[0] == 4
    assert abs(finding.offset_in_merge) == Fraction(1, 2)
    assert finding.repair is not None
    assert analyze(finding.repair.apply(graph), 299).findings == ()
    # 2 * (145 + 2) + 1 pixels make every map that is halved odd: 145, 73, 37, 19.
    assert analyze(graph, 2 * (145 + 2) + 1).findings == ()


def test_resnet_d_is_half_a_pixel_off_where_it_halves() -> None:
    report = analyze(build("resnet50_d"))
    halved = {"layer2.0.add": "layer1.2.add", "layer3.0.add": "layer2.3.add", "layer4.0.add": "layer3.5.add"}
    assert {finding.merge: finding.fork for finding in report.findings} == halved
    for finding in report.findings:
        assert (finding.rule, finding.severity, finding.axes) == ("RF002", "warning", ("y", "x"))
        assert abs(finding.offset) == Fraction(report[finding.fork].stride[0], 2)
        assert abs(finding.offset_in_merge) == Fraction(1, 4)  # the map after it is half as fine


def test_unet_with_3x3_transposed_convs_is_off_by_half_a_pixel_and_more_further_out() -> None:
    """The 2x2 pools of levels k to 4 move the centre by half a pixel each, and no 3x3 transposed conv moves it back."""
    report = analyze(build("unet_3x3"))
    found = {finding.merge: finding for finding in report.findings}
    assert list(found) == ["up4/concat", "up3/concat", "up2/concat", "up1/concat"]
    for level in (4, 3, 2, 1):
        finding = found[f"up{level}/concat"]
        jump = 2 ** (level - 1)
        half_pixels = sum(Fraction(2 ** (pool - 1), 2) for pool in range(level, 5))
        assert (finding.rule, finding.severity, finding.axes) == ("RF002", "warning", ("y", "x"))
        assert finding.branch.tail == f"down{level}/conv2"
        assert (finding.offset, finding.offset_in_merge) == (-half_pixels, -half_pixels / jump)
    assert found["up4/concat"].offset_in_merge == -Fraction(1, 2)


@pytest.mark.parametrize("name", ["unet", "unet_2x2", "unet_bilinear"])
def test_unet_that_doubles_evenly_is_off_by_phase_only(name: str) -> None:
    report = analyze(build(name))
    merges = [f"up{level}/concat" for level in (4, 3, 2, 1)]
    assert [(f.rule, f.severity, f.merge) for f in report.findings] == [("RF003", "note", merge) for merge in merges]
    assert report.aligned is True


def test_fpn_is_off_by_half_a_pixel_and_more_further_out() -> None:
    """Convs of stride 2 are centred on even pixels, but a repeated pixel is centred between an even and an odd one."""
    report = analyze(build("fpn"))
    assert report.outputs == ("P4", "P3", "P2", "P6")
    jumps = {"merge4": 16, "merge3": 8, "merge2": 4}
    assert [finding.merge for finding in report.findings] == list(jumps)
    for finding in report.findings:
        jump = jumps[finding.merge]
        shift = sum(Fraction(finer, 2) for finer in jumps.values() if finer >= jump)
        assert (finding.rule, finding.severity) == ("RF002", "warning")
        assert finding.branch.tail == str(finding.merge).replace("merge", "lateral")
        assert (finding.offset, finding.offset_in_merge) == (shift, shift / jump)


def test_wavenet_is_aligned_at_its_last_index() -> None:
    graph = build("wavenet")
    report = analyze(graph)
    assert {(finding.rule, finding.severity, finding.axes) for finding in report.findings} == {
        ("RF004", "note", ("t",))
    }
    assert {finding.merge for finding in report.findings} == {n for n in graph if graph.nodes[n]["op"] == "add"}
    assert report.aligned is True
    assert analyze(graph, alignment="causal").findings == ()
    assert {finding.rule for finding in analyze(graph, alignment="center").findings} == {"RF002"}


def test_wavenet_reads_1024_samples_a_stack() -> None:
    """A block of dilations 1, 2, ..., 512 has a receptive field of 1024 (WaveNet paper, section 2.1)."""
    graph = build("wavenet")
    assert trace(graph, "stack1/dilation512/add")["causal"].size == (1024,)
    last = analyze(graph)["post2"]
    assert last.size == (2 + 3 * (1024 - 1),)
    assert last.padding == (last.size[0] - 1,)  # output t reads nothing after t


@pytest.mark.parametrize("name", ["resnet3d_18", "densenet_121"])
def test_networks_without_findings(name: str) -> None:
    report = analyze(build(name))
    assert [finding for finding in report.findings if finding.rule < "RF006"] == []
    assert report.aligned is True


def test_densenet_field_adds_up() -> None:
    """Two pixels of its map for each layer, one for each pool between blocks; the pools are not padded."""
    layer = analyze(build("densenet_121"))["denseblock4.denselayer16.concat"]
    blocks = [(6, 4), (12, 8), (24, 16), (16, 32)]  # layers and effective stride
    assert layer.size == (7 + 2 * 2 + sum(2 * layers * jump for layers, jump in blocks) + 4 + 8 + 16,) * 2
    assert layer.padding == (3 + 1 * 2 + sum(layers * jump for layers, jump in blocks),) * 2


def test_unet_field_adds_up_at_the_bottom() -> None:
    """Four pixels of each map for its two convs, one for the pool after it."""
    jumps = (1, 2, 4, 8)
    layer = analyze(build("unet"))["bottom/conv2"]
    assert layer.size == (1 + sum((4 + 1) * jump for jump in jumps) + 4 * 16,) * 2
    assert (layer.stride, layer.padding) == ((16, 16), (0, 0))


def test_3d_resnet_sees_less_of_time_than_of_space() -> None:
    """Its stem strides in space only, so each layer after it weighs twice as much there."""
    layer = analyze(build("resnet3d_18"))["layer4.1.add"]
    stages = [(3 * 2 + 1) * 2 * jump for jump in (1, 2, 4)]  # a conv that strides, and three on the coarser map
    time = 1 + 2 + 4 * 2 + sum(stages)
    space = 1 + 6 + 4 * 2 * 2 + sum(2 * stage for stage in stages)
    assert layer.size == (time, space, space)
    assert layer.stride == (8, 16, 16)
    assert layer.padding == (time // 2, space // 2, space // 2)
