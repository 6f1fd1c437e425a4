"""Published models as their authors wrote them: the builders of torchvision, read and held against gradients.

Every weight is positive and every function that could hide a path is the identity in the run, so that a pixel has a
gradient just if the feature reads it; a maximum, whose gradient reaches one pixel only, is a mean of the same window.
What is analysed is the model as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from vision import torch, torchvision, without_values

import rfgraph
from rfgraph.importers.program.primitives import Value
from rfgraph.importers.torch import live
from rfgraph.importers.torch.reader import Reader

models = torchvision.models
A = torch.ops.aten


def same(x, *_, **__):
    return x


def gate(x):
    """A gate that never closes: of positive numbers, which is all there are."""
    return x / (1 + x)


def mean_instead(x, kernel, stride=(), padding=0, dilation=1, ceil_mode=False):
    assert dilation in (1, [1, 1], [1, 1, 1])
    pool = {3: A.avg_pool1d, 4: A.avg_pool2d, 5: A.avg_pool3d}[x.dim()]
    return pool(x, kernel, stride, padding, ceil_mode)


def convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """A convolution; of one channel each, all with the taps of the first: 64-bit ones of many groups are slow."""
    if groups == 1 or weight.shape[:2] != (groups, 1):
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    alone = torch.nn.functional.conv2d(x.flatten(0, 1)[:, None], weight[:1], None, stride, padding, dilation)
    return alone.unflatten(0, x.shape[:2]).squeeze(2)


#: What the run has in place of an operator.
INSTEAD = {
    **dict.fromkeys(("relu", "relu_", "relu6", "hardtanh", "hardtanh_", "hardswish", "hardswish_", "silu"), same),
    **dict.fromkeys(("silu_", "gelu", "dropout"), same),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "hardsigmoid_"), gate),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), mean_instead),
    "conv2d": convolution,
    "add_": torch.add,
    "mul_": torch.mul,
}


class Run(torch.fx.Interpreter):
    """Runs an exported model, and keeps what some of its nodes make."""

    def __init__(self, program, wanted):
        super().__init__(program.module(check_guards=False))
        self.wanted, self.found = wanted, {}

    def run_node(self, node):
        if node.op == "call_function":
            name = str(node.target).removeprefix("aten.").partition(".")[0]
            if name in INSTEAD:
                args, kwargs = self.fetch_args_kwargs_from_env(node)
                made = INSTEAD[name](*args, **kwargs)
            else:
                made = super().run_node(node)
            if node.name in self.wanted:
                self.found[node.name] = made
            return made
        return super().run_node(node)


class Traced(Reader):
    """A reader that tells which tensor of the exported model each node of the graph is."""

    def __init__(self, *args):
        super().__init__(*args)
        self.tensors = {}

    def step(self, step, name, scope):
        super().step(step, name, scope)
        for output in step.outputs:
            if output and isinstance(scope.get(output), Value):
                self.tensors.setdefault(scope[output].name, output)


@dataclass(frozen=True)
class Model:
    """A builder, the size of its image, and how many of its nodes are held against gradients, the last included."""

    build: Callable[[], Any]
    size: tuple[int, ...] = (64, 96)
    nodes: int = 4
    #: Whether the region is the box of what is read, or only holds it.
    exact: bool = True


def built(name, **options):
    return lambda: models.get_model(name, weights=None, **options)


def segmented(name):
    return built(name, weights_backbone=None, num_classes=4)


def pyramid():
    """The part of a detector that has maps: its backbone and feature pyramid."""
    return models.detection.backbone_utils.resnet_fpn_backbone(backbone_name="resnet18", weights=None)


# fmt: off
MODELS = {
    "resnet18": Model(built("resnet18")),
    "resnet50": Model(built("resnet50"), (64, 72)),
    "vgg11": Model(built("vgg11"), (32, 64)),
    "densenet121": Model(built("densenet121"), (64, 72)),
    "googlenet": Model(built("googlenet", init_weights=False, aux_logits=False)),
    "inception_v3": Model(built("inception_v3", init_weights=False, aux_logits=False), (107, 139)),
    "mobilenet_v2": Model(built("mobilenet_v2")),
    "mobilenet_v3_small": Model(built("mobilenet_v3_small")),
    "shufflenet_v2_x0_5": Model(built("shufflenet_v2_x0_5")),
    "squeezenet1_1": Model(built("squeezenet1_1")),
    "mnasnet0_5": Model(built("mnasnet0_5")),
    "efficientnet_b0": Model(built("efficientnet_b0")),
    "regnet_y_400mf": Model(built("regnet_y_400mf")),
    "convnext_tiny": Model(built("convnext_tiny"), (64, 72)),
    "swin_t": Model(built("swin_t"), (64, 96)),
    "vit_b_16": Model(built("vit_b_16", image_size=64), (64, 64)),
    "fcn_resnet50": Model(segmented("fcn_resnet50"), (32, 40)),
    "deeplabv3_resnet50": Model(segmented("deeplabv3_resnet50"), (32, 40)),
    "lraspp_mobilenet_v3_large": Model(segmented("lraspp_mobilenet_v3_large")),
    "r3d_18": Model(built("r3d_18"), (9, 24, 40)),
    "resnet18_fpn": Model(pyramid),
}
# fmt: on


def positive(model):
    """Give every weight positive numbers whose sums keep the size of what passes through."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.uniform_(0.5, 1.5)
            if parameter.dim() > 1:
                parameter /= parameter[0].numel()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.zero_()
        elif name.endswith("running_var"):
            buffer.fill_(1)
    return model


def home(shape, sizes, batch):
    """Return the dimension at which the positions of a map begin, ``None`` if they do not lie there one by one."""
    fits = [d for d in range(1, len(shape) - len(sizes) + 1) if shape[d : d + len(sizes)] == sizes]
    tokens = [d for d in range(1, len(shape)) if shape[d] == np.prod(sizes) + 1]
    fits = fits or tokens
    return fits[0] if len(fits) == 1 and shape[0] == batch else None


def laid_out(tensor, sizes, at):
    """Return a tensor as [batch, positions..., all else]; a class token is left out."""
    if tensor.shape[at] == np.prod(sizes) + 1:
        tensor = tensor.narrow(at, 1, tensor.shape[at] - 1).unflatten(at, sizes)
    axes = range(len(sizes))
    return tensor.movedim(tuple(at + a for a in axes), tuple(1 + a for a in axes)).flatten(len(sizes) + 1)


def places(sizes, last):
    """Return a feature in the middle of a map, and one at its end."""
    return [tuple(n // 2 for n in sizes), tuple((n - 1) * last for n in sizes)]


def check_gradients(model: Model) -> None:
    with without_values():
        module = positive(model.build().eval().double())
    batch = 2 * model.nodes
    shape = (batch, 3, *model.size)
    program = torch.export.export(module, (torch.zeros(shape, dtype=torch.float64),), strict=False)
    reader = Traced(live._exported(program, "model")[0])
    reader.program()
    graph = rfgraph.load(program)
    assert not [d for _, d in graph.nodes(data=True) if d["op"] == "unknown"]
    report = rfgraph.analyze(graph)
    shapes = {node.name: tuple(getattr(node.meta.get("val"), "shape", ())) for node in program.graph.nodes}
    sizes = {name: report[name].map_size for name in report if name in reader.tensors}
    starts = {name: home(shapes[reader.tensors[name]], of, batch) for name, of in sizes.items() if np.prod(of) > 1}
    names = [name for name, start in starts.items() if start is not None]
    last = report[report.outputs[-1]].name
    assert last in names
    inner = [name for name in names if name != last]
    wanted = model.nodes - 1
    chosen = [*(inner[(2 * k + 1) * len(inner) // (2 * wanted)] for k in range(wanted)), last]
    run = Run(program, {reader.tensors[name] for name in chosen})
    image = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    run.run(image)
    total, asked = 0, []
    for k, name in enumerate(chosen):
        maps = laid_out(run.found[reader.tensors[name]], sizes[name], starts[name])
        for place in places(sizes[name], k % 2):
            total = total + maps[(len(asked), *place)] @ torch.rand(maps.shape[-1], dtype=torch.float64)
            asked.append((name, place))
    (gradient,) = torch.autograd.grad(total, image)
    assert gradient.isfinite().all()
    for (name, place), of_image in zip(asked, gradient.abs().sum(1), strict=True):
        read = of_image.nonzero()
        box = tuple(zip(read.min(0).values.tolist(), read.max(0).values.tolist(), strict=True))
        region = report.region(name, place)
        if model.exact:
            assert region.box == box, (name, place)
        assert all(a <= c <= d <= b for (a, b), (c, d) in zip(region.box, box, strict=True)), (name, place)


@pytest.fixture
def one_thread():
    """Threads that wait for each other take longer than small tensors do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_the_region_and_nothing_else(name):
    check_gradients(MODELS[name])


# Every builder there is.

#: Those that are read on each run, besides the ones above; all with RFGRAPH_ALL_MODELS=1, which takes two minutes.
SOME = [
    "alexnet", "convnext_base", "efficientnet_v2_s", "maxvit_t", "mc3_18", "mvit_v1_b", "quantized_resnet18", "s3d",
    "swin_v2_t", "swin3d_t", "mvit_v2_s", "raft_small",
]  # fmt: skip
EVERY = models.list_models()
READ = EVERY if os.environ.get("RFGRAPH_ALL_MODELS") == "1" else SOME


def of(name):
    return models.get_model_builder(name).__module__


#: Detectors choose among boxes by what they compute, which torch.export cannot trace; what is before that, is read.
DETECTORS = [name for name in EVERY if ".detection." in of(name)]


def image_of(name):
    """Return the shape of the input that a builder is for."""
    if ".optical_flow" in of(name):
        return [(1, 3, 128, 128)] * 2
    if ".video" in of(name):
        return (1, 3, 16, 224, 224)
    return (1, 3, 299, 299) if "inception" in name else (1, 3, 224, 224)


def model_of(name):
    options = {"weights_backbone": None} if ".detection" in of(name) or ".segmentation" in of(name) else {}
    if "googlenet" in name or "inception" in name:
        options["init_weights"] = False
    with without_values():
        return models.get_model(name, weights=None, **options).eval()


def unknown(graph):
    return [(node, d["of"], d.get("why", "")) for node, d in graph.nodes(data=True) if d["op"] == "unknown"]


#: What cannot be followed: the correlations of RAFT are pooled over positions that a product has mixed.
UNKNOWN = {"raft_small": {"avg_pool2d"}, "raft_large": {"avg_pool2d"}}


@pytest.mark.parametrize("name", [name for name in READ if name not in DETECTORS])
def test_nothing_of_a_model_is_unknown(name):
    graph = rfgraph.load(model_of(name), example=image_of(name))
    assert {of for _, of, _ in unknown(graph)} == UNKNOWN.get(name, set())
    report = rfgraph.analyze(graph, source=next(n for n, d in graph.nodes(data=True) if d["op"] == "input"))
    assert report.outputs
    for output in report.outputs:
        assert report[output].status in ("exact", "bound")


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn"] if READ is SOME else DETECTORS)
def test_the_maps_of_a_detector_are_known_though_its_boxes_cannot_be_traced(name, capfd):
    detector = model_of(name)
    with pytest.raises(rfgraph.RFGraphError, match=r"cannot trace it on \[\(3, 64, 64\)\].*such as model\.backbone"):
        rfgraph.analyze(detector, example=[[torch.zeros(3, 64, 64)]], trace="export")
    assert capfd.readouterr().err == ""
    graph = rfgraph.load(detector.backbone, example=(1, 3, 320, 320))
    assert unknown(graph) == []
    report = rfgraph.analyze(graph)
    assert len(report.outputs) > 1 or "mobilenet" in name
    assert {report[output].status for output in report.outputs} == {"exact"}


# Operators of torchvision.


def test_taps_that_move_read_the_kernel_and_whatever_they_may_move_to(monkeypatch):
    monkeypatch.setattr("torchvision.ops.deform_conv._assert_has_ops", lambda: None)  # only traced here

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.taps = torchvision.ops.DeformConv2d(3, 4, 3, stride=2, padding=1)
            self.offset = torch.nn.Conv2d(3, 18, 5, stride=2, padding=2)
            self.mask = torch.nn.Conv2d(3, 9, 1, stride=2)

        def forward(self, x):
            return self.taps(x, self.offset(x), self.mask(x).sigmoid())

    graph = rfgraph.load(Net(), example=(1, 3, 16, 24))
    assert unknown(graph) == []
    report = rfgraph.analyze(graph)
    last = report["taps"]
    assert (last.size, last.stride, last.padding) == ((5, 5), (2, 2), (2, 2))
    assert (last.map_size, last.is_global) == ((8, 12), (True, True))
    assert report.region("taps", (0, 0)).box == ((0, 15), (0, 23))
    assert report["offset"].is_global == (False, False)
