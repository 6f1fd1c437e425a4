"""Costs of models that are read: torch counts its own weights and outputs, torchvision publishes what it counted."""

from __future__ import annotations

import warnings
from collections import Counter
from math import prod
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import rfgraph  # noqa: E402

nn = torch.nn

# The oracle is slow and obvious: it runs the module, and at each weighted layer counts weights times positions.


def counted(module, *shapes):
    """Return the multiply-accumulates of each convolution and linear layer that runs, by path, for a batch of one."""
    found: Counter[str] = Counter()

    def hook(path):
        def count(layer, inputs, output):
            transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
            map_ = inputs[0] if transposed else output
            positions = map_[..., 0] if isinstance(layer, nn.Linear) else map_[:, 0]
            found[path] += layer.weight.numel() * positions.numel()

        return count

    weighted = (nn.modules.conv._ConvNd, nn.Linear)
    handles = [
        layer.register_forward_hook(hook(path)) for path, layer in module.named_modules() if isinstance(layer, weighted)
    ]
    with torch.no_grad():
        module(*(torch.zeros(shape) for shape in shapes))
    for handle in handles:
        handle.remove()
    return found


def held(module):
    return sum(parameter.numel() for parameter in module.parameters())


class Chain(nn.Module):
    """Every kind of weighted layer, one after the other."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 12, (3, 5), groups=4, bias=False)
        self.depthwise = nn.Conv2d(12, 24, 3, padding=2, dilation=2, groups=12)
        self.norm = nn.BatchNorm2d(24)
        self.up = nn.ConvTranspose2d(24, 6, 3, stride=2, padding=1, output_padding=1, groups=3)
        self.shuffle = nn.PixelShuffle(1)
        self.slopes = nn.PReLU(6)
        self.group = nn.GroupNorm(2, 6)
        self.plain = nn.GroupNorm(2, 6, affine=False)
        self.scale = nn.Parameter(torch.ones(6, 1, 1))
        self.gain = nn.Parameter(torch.ones([]))
        self.register_buffer("mean", torch.ones(6, 1, 1))
        self.narrow = nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 5, 1))
        self.dense = nn.Linear(5 * 12 * 8, 7)
        self.head = nn.Linear(7, 2, bias=False)

    def forward(self, x):
        x = self.norm(self.depthwise(self.grouped(self.stem(x))))
        x = self.plain(self.group(self.slopes(self.shuffle(self.up(x)))))
        x = self.narrow((x - self.mean) * self.scale * self.gain * 0.5)
        return self.head(self.dense(x.flatten(1)))


class Tokens(nn.Module):
    """Patches as tokens behind a class token, with layer norms and linear layers over channels."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.places = nn.Parameter(torch.zeros(1, 17, 16))
        self.norm = nn.LayerNorm(16)
        self.wide, self.narrow = nn.Linear(16, 64), nn.Linear(64, 16)
        self.mixer = nn.Linear(17, 17)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        x = x + self.narrow(nn.functional.gelu(self.wide(self.norm(x))))
        x = x + self.mixer(x.transpose(1, 2)).transpose(1, 2)
        return self.head(x[:, 0])


class Shared(nn.Module):
    """One convolution called three times, two layers of one weight, a layer that nothing calls, one in a loop."""

    def __init__(self):
        super().__init__()
        self.again, self.one, self.other = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.other.weight = self.one.weight
        self.idle = nn.Linear(5, 5)

    def forward(self, x):
        for _ in range(3):
            x = self.again(x)
        return self.other(self.one(x))


class Volume(nn.Module):
    """Three axes, and a two-dimensional convolution of every slice."""

    def __init__(self):
        super().__init__()
        self.volume = nn.Conv3d(2, 6, (3, 3, 3), padding=1)
        self.slices = nn.Conv2d(6, 4, 3)

    def forward(self, x):
        y = self.volume(x)
        b, c, d, h, w = y.shape
        return self.slices(y.transpose(1, 2).reshape(b * d, c, h, w)).reshape(b, d, 4, h - 2, w - 2).transpose(1, 2)


class Heads(nn.Module):
    """A linear layer of each of several heads, which lie beside the channels."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 12, 3)
        self.each = nn.Linear(4, 5)
        self.last = nn.Conv1d(15, 1, 1)

    def forward(self, x):
        y = self.first(x)
        b, c, t = y.shape
        y = self.each(y.reshape(b, 3, c // 3, t).permute(0, 3, 1, 2))
        return self.last(y.flatten(2).transpose(1, 2))


MODULES = {
    "chain": (Chain, (1, 3, 15, 15)),
    "tokens": (Tokens, (1, 3, 16, 16)),
    "shared": (Shared, (1, 4, 6, 7)),
    "volume": (Volume, (1, 2, 4, 5, 6)),
    "heads": (Heads, (1, 2, 9)),
}


def built(name):
    torch.manual_seed(0)
    kind, shape = MODULES[name]
    module = kind().eval()
    with torch.no_grad():  # exporters merge tensors that hold the same
        for parameter in module.parameters():
            parameter.copy_(torch.rand_like(parameter) + 0.5)
    return module, shape


def by_layer(report, paths):
    """Return the multiply-accumulates of the layers of each path, whatever the nodes of a layer are called."""
    found = Counter()
    for node in report:
        if report[node].macs:
            found[max((path for path in paths if str(node).startswith(path)), key=len)] += report[node].macs
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_module_holds_and_takes_what_torch_counts(name):
    module, shape = built(name)
    report = rfgraph.analyze(module, example=shape)
    want = counted(module, shape)
    assert report.parameters.count == held(module)
    assert report.parameters.complete
    assert report.macs.complete
    assert report.macs.count == sum(want.values())
    assert by_layer(report, want) == want


@pytest.mark.parametrize("name", MODULES)
def test_a_saved_module_tells_the_same_without_torch(name, tmp_path):
    module, shape = built(name)
    path = tmp_path / "saved.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(shape),), strict=False), path)
    report, live = rfgraph.analyze(path), rfgraph.analyze(module, example=shape)
    assert (report.parameters, report.macs, report.costs.unread) == (live.parameters, live.macs, live.costs.unread)
    assert [report.costs[node] for node in report] == [live.costs[node] for node in live]


def test_a_batch_of_several_costs_what_one_does():
    module = built("tokens")[0]
    one, two = (rfgraph.analyze(module, example=(batch, 3, 16, 16)) for batch in (1, 2))
    assert (one.parameters, one.macs) == (two.parameters, two.macs)
    assert [one.costs[node] for node in one] == [two.costs[node] for node in two]


def test_a_tensor_is_counted_where_it_is_read_first():
    module, shape = built("shared")
    report = rfgraph.analyze(module, example=shape)
    assert [report[node].parameters for node in report if report[node].op == "conv"] == [148, 0, 0, 148, 4]
    assert report.costs.unread == 30
    assert report.parameters.count == 148 + 148 + 4 + 30


def test_layers_tell_their_channels():
    report = rfgraph.analyze(built("chain")[0], example=(1, 3, 15, 15))
    channels = {node: report[node].channels for node in report}
    assert [channels[node] for node in ("x", "stem", "grouped", "depthwise", "up", "narrow")] == [3, 8, 12, 24, 6, 5]
    assert (report["grouped"].parameters, report["depthwise"].parameters) == (3 * 5 * 2 * 12, 3 * 3 * 24 + 24)
    assert (report["norm"].parameters, report["slopes"].parameters, report["plain"].parameters) == (48, 6, 0)
    assert report["dense"].channels == 7


@pytest.mark.parametrize("size", [(24, 32), (17, 40)])
def test_convolutions_tell_their_macs_at_any_size(size):
    """The graph of a model that was read for one size says what another one costs."""
    module = nn.Sequential(*list(built("chain")[0].children())[:5])
    graph = rfgraph.load(module, example=(1, 3, 16, 16))
    assert rfgraph.analyze(graph, input_size=size).macs.count == sum(counted(module, (1, 3, *size)).values())


def test_products_of_maps_are_known_at_the_size_that_the_model_was_read_for():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            y = self.conv(x).flatten(2).transpose(1, 2)
            return self.attention(y, y, y)[0]

    module, n = Attention().eval(), 4 * 6
    projections, products = n * 8 * 24 + n * 8 * 8, 2 * n * n * 8
    report = rfgraph.analyze(module, example=(1, 3, 4, 6))
    assert report.macs.count == n * 27 * 8 + projections + products
    assert report.parameters.count == held(module)
    graph = rfgraph.load(module, example=(1, 3, 4, 6))
    other = rfgraph.analyze(graph, input_size=(6, 6))
    assert not other.macs.complete
    assert other.macs.count < 36 * 27 * 8 + 36 * 8 * 32 + 2 * 36 * 36 * 8


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind, gates):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(2, 6, 3)
            self.layer = kind(6, 5, batch_first=True, bidirectional=True)

        def forward(self, x):
            return self.layer(self.conv(x).transpose(1, 2))[0]

    module = Recurrent().eval()
    report = rfgraph.analyze(module, example=(1, 2, 12))
    assert report.parameters.count == held(module)
    assert report.macs.count == 10 * 2 * 3 * 6 + 10 * 2 * gates * 5 * (6 + 5)
    assert report.macs.complete


def test_patches_laid_into_channels_multiply_nothing():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Unfold(3))
    assert rfgraph.analyze(module, example=(1, 3, 8, 8)).macs.count == 6 * 6 * 27 * 4


# ONNX


def exported(module, shape, path):
    """Write an ONNX file that keeps each layer of a module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no other package is an old one
        torch.onnx.export(
            module, (torch.zeros(shape),), path, dynamo=False, do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE, opset_version=17,
        )  # fmt: skip
    return path


@pytest.mark.parametrize("name", MODULES)
def test_an_exported_module_holds_and_takes_the_same(name, tmp_path):
    pytest.importorskip("onnx")
    module, shape = built(name)
    report = rfgraph.analyze(exported(module, shape, tmp_path / "module.onnx"))
    known = held(module) - (sum(p.numel() for p in module.idle.parameters()) if name == "shared" else 0)
    buffers = 6 if name == "chain" else 0  # a fixed tensor that is subtracted looks like one that was learned
    assert report.parameters.count == known + buffers
    assert report.parameters.complete
    assert report.macs.count == sum(counted(module, shape).values())
    assert report.macs.complete


def light(name):
    onnx = pytest.importorskip("onnx")
    return Path(onnx.__file__).parent / "backend/test/data/light" / f"light_{name}.onnx"


def held_by_file(path):
    """Return how many numbers the weights of an ONNX file have: those that its layers read where weights stand."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(path).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    values = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in graph.initializer if t.data_type == 7}
    weights = {}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = values[node.input[0]]
        elif node.op_type in ("Unsqueeze", "Reshape") and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]]  # as many numbers
        last = 3 if node.op_type == "BatchNormalization" else len(node.input)
        for name in node.input[:last]:
            if name in shapes and node.op_type in ("Conv", "Gemm", "BatchNormalization", "Mul", "Add"):
                weights[name] = prod(shapes[name])
    return sum(weights.values())


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet50", 25_557_032),
        ("vgg19", 143_667_240),
        ("squeezenet", 1_235_496),
        ("bvlc_alexnet", 60_965_224),
        # 2 * 41,824 more than published: its norms are followed by factors and addends of their own
        ("densenet121", 7_978_856 + 2 * 41_824),
        ("inception_v1", 6_998_552),
        ("inception_v2", None),
        ("shufflenet", None),
        ("zfnet512", None),
    ],
)
def test_networks_of_the_onnx_package(name, published):
    report = rfgraph.analyze(light(name))
    assert report.parameters.complete
    assert report.macs.complete
    assert report.parameters.count == held_by_file(light(name))
    assert published is None or report.parameters.count == published
    expected = {"resnet50": 4_089_184_256, "vgg19": 19_632_062_464, "densenet121": 2_834_161_664}
    assert report.macs.count == expected.get(name, report.macs.count)


def test_what_an_onnx_file_holds_that_is_no_weight():
    onnx = pytest.importorskip("onnx")
    from rfgraph.importers.lowering.lower import lower
    from rfgraph.importers.onnx.reader import read_model

    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    np = pytest.importorskip("numpy")

    def tensor(name, *shape, kind=np.float32):
        return numpy_helper.from_array(np.ones(shape, kind), name)

    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
                helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"]),
                helper.make_node("Conv", ["dq", "w", "b"], ["c"]),
                helper.make_node("BatchNormalization", ["c", "s", "t", "mean", "var"], ["n"]),
                helper.make_node("Clip", ["n", "low", "high"], ["clip"]),
                helper.make_node("Constant", [], ["half"], value=tensor("", 1)),
                helper.make_node("Mul", ["clip", "half"], ["m"]),
                helper.make_node("Constant", [], ["table"], value=tensor("", 4, 1, 1)),
                helper.make_node("Add", ["m", "table"], ["a"]),
                helper.make_node("Strange", ["a", "u"], ["y"], domain="some.where"),
            ],
            "g",
            [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("y", 1, None)],
            [
                tensor("scale"), tensor("zero", kind=np.int8), tensor("w8", 4, 3, 3, 3, kind=np.int8), tensor("b", 4),
                tensor("s", 4), tensor("t", 4), tensor("mean", 4), tensor("var", 4), tensor("low"), tensor("high"),
                tensor("u", 9), tensor("idle", 11),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)],
    )  # fmt: skip
    report = rfgraph.analyze(lower(read_model(model)))
    counts = {node: report[node].parameters for node in report if report[node].parameters}
    assert counts == {"c": 4 * 27 + 4, "n": 8, "y": 9}
    assert report["y"].macs is None


# torchvision publishes what its networks hold and take with their weights.


PUBLISHED = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mobilenet_v2",
    "mobilenet_v3_small", "resnet18", "resnet34", "resnet50", "shufflenet_v2_x1_0", "squeezenet1_0", "swin_t", "vgg16",
    "vit_b_32",
]  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_of_torchvision(name):
    from vision import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        module = torchvision.models.get_model(name, weights=None, **options).eval()
    size = weights.transforms().crop_size[0]
    report = rfgraph.analyze(module, example=(1, 3, size, size))
    assert report.parameters.count == held(module)
    # GoogLeNet is published without its heads for training, which run in training only; Inception v3 with them.
    without = report.costs.unread if name == "googlenet" else 0
    assert report.parameters.count - without == weights.meta["num_params"]
    assert report.macs.complete
    assert report.macs.count / 1e9 == pytest.approx(weights.meta["_ops"], abs=0.00051)


def test_a_pyramid_of_torchvision():
    """Laterals and outputs of the pyramid of the zoo have as many weights as torchvision's."""
    from vision import torchvision

    pyramid = torchvision.ops.FeaturePyramidNetwork([256, 512, 1024, 2048], 256)
    report = rfgraph.analyze("zoo:fpn")
    own = [node for node in report if str(node).startswith(("lateral", "P"))]
    assert sum(report[node].parameters for node in own) == held(pyramid)
