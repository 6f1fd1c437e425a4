"""Real ONNX files, as exporters write them: a detector, a quantised one, one for any size, loops, branches, audio.

Their weights are left out; ``tests/data/onnx/README.md`` says where they are from. Their maps must be as large as
PyTorch makes them, which ``shapes.json`` holds, and what a layer reads must be what its gradient reaches, which needs
PyTorch and torchvision.
"""

from __future__ import annotations

import importlib.util
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

import rfgraph

HERE = Path(__file__).parents[1] / "data" / "onnx"
SHAPES = json.loads((HERE / "shapes.json").read_text())
SIZES = {"lraspp_dynamic": (224, 256)}  # the file states none

# With RFGRAPH_NO_SKIPS=1 both have to be there.
TORCH = all(importlib.util.find_spec(name) for name in ("torch", "torchvision"))
if TORCH or os.environ.get("RFGRAPH_NO_SKIPS") == "1":
    from real_models import MODELS, torch
else:
    MODELS = {}


@cache
def report_of(name, treated=False):
    treat = dict.fromkeys(MODELS[name].without, "identity") if treated else {}
    return rfgraph.analyze(HERE / f"{name}.onnx", input_size=SIZES.get(name), treat=treat)


def node_of(name, module):
    """Return the node of the first call of a convolution; the older exporter has a slash before each module."""
    if name in ("drrn_loop", "mobilenet_v2_int8"):
        loop = "/Loop/0" if module.startswith("unit.") else ""
        return f"{loop}/{module.replace('.', '/')}/Conv"
    return f"if/{module}" if module.startswith("net.layer4") else module


#: What is one of two branches that differ in field, so that their hull is a bound: the early one reads less.
BRANCHES = {"branchy_if": ["if/either", "if"]}


@pytest.mark.parametrize("name", SHAPES)
def test_every_convolution_has_the_size_that_pytorch_makes_and_an_exact_field(name):
    report = report_of(name)
    for module, shape in SHAPES[name].items():
        layer = report[node_of(name, module)]
        assert layer.map_size == tuple(shape[2:]), module
        assert layer.status == "exact", module
    assert [node for node in report if report[node].status != "exact"] == BRANCHES.get(name, [])


@pytest.mark.parametrize("name", SHAPES)
def test_files_hold_no_weights_and_no_paths_of_a_machine(name):
    path = HERE / f"{name}.onnx"
    assert path.stat().st_size < 200_000
    for word in (b"/home/", b"/tmp/", b"/root/", b"/usr/", b"\\Users\\"):
        assert word not in path.read_bytes()
    graph = onnx.load(path, load_external_data=False).graph
    assert sum(len(tensor.raw_data) for tensor in graph.initializer) < 20_000


@pytest.mark.parametrize(
    ("name", "node", "size", "stride"),
    [
        # 7x7 and the pool, then bottlenecks of which the first of a stage strides: sums of (kernel - 1) * jump.
        ("retinanet", "backbone.body.layer1.2.conv3", 7 + 2 * 2 + 3 * 2 * 4, 4),
        ("retinanet", "backbone.body.layer2.3.conv3", 35 + 2 * 4 + 3 * 2 * 8, 8),
        # Published: Araujo, Norris, Sim, Distill 2019, for MobileNetV2; 25 ms of 16 kHz every 20 ms for wav2vec 2.0.
        ("mobilenet_v2_int8", "/net/features/18/0/Conv", 491, 32),
        ("wav2vec2", "convs.6", 400, 320),
        ("drrn_loop", "/last/2/Conv", 2 * (1 + 2 * 9 + 1) + 1, 1),
        # ResNet-18: He et al. 2016, by the same sums; the early branch reads less.
        ("branchy_if", "if", 435, 32),
    ],
)
def test_fields_are_those_that_are_published_or_counted(name, node, size, stride):
    layer = report_of(name)[node]
    assert set(layer.size) == {size}
    assert set(layer.stride) == {stride}


def test_a_file_for_any_size_has_fields_without_one():
    report = rfgraph.analyze(HERE / "lraspp_dynamic.onnx")
    waiting = [node for node in report if report[node].status == "unknown"]
    # All but what is resized to the size of another map.
    assert waiting == [
        "net.classifier/upsample_bilinear2d",
        "net.classifier.high_classifier",
        "net.classifier/add",
        "net",
    ]
    assert "which depends on the input size; give one" in report["net"].why
    assert (
        report["net.classifier.low_classifier"].size
        == report_of("lraspp_dynamic")["net.classifier.low_classifier"].size
    )


def test_layers_carry_the_line_of_the_model():
    report = report_of("retinanet")
    assert report["backbone.body.layer1.0.conv2"].location.startswith("site-packages/torchvision/models/resnet.py:")
    assert report_of("wav2vec2")["convs.3"].location.startswith("tests/real_models.py:")


# Against the gradients of the models themselves.


def made(name):
    """Return a model in which nothing cancels and nothing is cut off: its weights and what flows are positive."""
    model = MODELS[name].build().eval().double()
    for module in list(model.modules()):
        for child, layer in module.named_children():
            if isinstance(layer, torch.nn.MaxPool2d):  # which reads as far, but hands its gradient to one of them
                average = torch.nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding)
                setattr(module, child, average)
            if hasattr(layer, "inplace"):
                layer.inplace = False
    for pattern in MODELS[name].without.values():
        setattr(model, pattern, torch.nn.Identity())
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.uniform_(0.5, 1.5).div_(weight[0].numel())
            else:
                weight.fill_(1.0)
    return model


def reached(feature, x):
    """Return the first and last pixel on each axis that the gradient of a feature reaches."""
    (gradient,) = torch.autograd.grad(feature, x, retain_graph=True)
    pixels = np.argwhere(gradient.abs().sum((0, 1)).numpy() > 0)
    return tuple((int(a), int(b)) for a, b in zip(pixels.min(axis=0), pixels.max(axis=0), strict=True))


@pytest.mark.skipif(not TORCH, reason="needs torch and torchvision")
@pytest.mark.parametrize("name", SHAPES)
def test_layers_read_what_their_gradients_reach(name):
    model, report = made(name), report_of(name, treated=True)
    seen = {}
    for module in MODELS[name].layers:
        layer = model.get_submodule(module)
        layer.register_forward_hook(lambda layer, inputs, output, module=module: seen.setdefault(module, output))
    x = torch.rand(MODELS[name].shape, dtype=torch.float64).requires_grad_()
    model(x)
    assert set(MODELS) == set(SHAPES)
    for i, module in enumerate(MODELS[name].layers):
        position = tuple(n - 1 if i % 2 else n // 2 for n in SHAPES[name][module][2:])
        assert list(seen[module].shape) == SHAPES[name][module]
        feature = seen[module][(slice(None), slice(None), *position)].sum()
        assert report.region(node_of(name, module), position).box == reached(feature, x), (module, position)
