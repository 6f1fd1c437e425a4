"""Live models as people have them: what they are traced on, and where they come from."""

from __future__ import annotations

import io
import json
import warnings
from collections import UserDict

import networkx as nx
import numpy as np
import pytest

import rfgraph
from rfgraph.errors import ModelFileError

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
torch.set_num_threads(1)


class Net(nn.Module):
    def __init__(self, channels=5, axes=2):
        super().__init__()
        self.conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](channels, 4, 3, 2, 1)

    def forward(self, x):
        return F.relu(self.conv(x))


class Late(nn.Module):
    """The first convolution to be defined is the last to run."""

    def __init__(self):
        super().__init__()
        self.head, self.stem = nn.Conv2d(8, 2, 1), nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x):
        return self.head(self.stem(x))


class Two(nn.Module):
    """Two inputs, one of them by name, and an option."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, pixels, mask=None, *, twice=False):
        y = self.conv(pixels)
        y = y if mask is None else y * mask[:, None, 1:-1, 1:-1]
        return {"maps": self.conv(y[:, :3]) if twice else y}


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, batch):
        return self.conv(batch["image"][0])


# Input sizes.


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_channels_are_those_of_the_first_convolution(axes):
    layer = rfgraph.analyze(Net(axes=axes), input_size=16)["conv"]
    assert (layer.size, layer.map_size) == ((3,) * axes, (8,) * axes)
    sizes = (16, 20, 24)[:axes]
    assert rfgraph.analyze(Net(axes=axes), input_size=sizes)["conv"].map_size == tuple(size // 2 for size in sizes)


@pytest.mark.parametrize("shape", [(1, 5, 16, 20), [2, 5, 16, 20], [(1, 5, 16, 20)], torch.Size((1, 5, 16, 20))])
def test_the_full_shape_stands_in_for_the_input_size(shape):
    assert rfgraph.analyze(Net(), input_size=shape)["conv"].map_size == (8, 10)
    assert rfgraph.load(Net(), input_size=shape).nodes["x"]["size"] == [16, 20]
    assert rfgraph.trace(Net(), "conv", input_size=shape)["x"].size == (3, 3)


def test_of_several_convolutions_the_one_that_fits_is_found():
    assert rfgraph.analyze(Late(), input_size=16)["stem"].map_size == (8, 8)


def test_without_convolutions_an_example_is_asked_for():
    for module, size in ((nn.AvgPool2d(2), 16), (Net(), None), (Net(), (16, 16, 16))):
        with pytest.raises(ModelFileError, match="is traced on an example; pass example="):
            rfgraph.analyze(module, input_size=size)


# Examples.


def pixels():
    return np.zeros((1, 3, 8, 10), dtype=np.float64)


def mask():
    return np.zeros((1, 8, 10), dtype=np.int64)


EXAMPLES = {
    "shape": ((1, 3, 8, 10), (6, 8)),
    "numpy sizes": (tuple(np.array((1, 3, 8, 10))), (6, 8)),
    "array": (pixels(), (6, 8)),
    "tuple": ((pixels(), mask()), (6, 8)),
    "list of shapes": ([(1, 3, 8, 10), (1, 8, 10)], (6, 8)),
    "names": ({"pixels": pixels(), "mask": mask()}, (6, 8)),
    "names, of a class that is like a dict": (UserDict(pixels=torch.zeros(1, 3, 8, 10), mask=(1, 8, 10)), (6, 8)),
    "names and an option": ({"pixels": (1, 3, 8, 10), "twice": True}, (4, 6)),
    "names after others": (((1, 3, 8, 10), {"twice": True}), (4, 6)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_a_module_is_traced_on(name):
    example, size = EXAMPLES[name]
    report = rfgraph.analyze(Two(), example=example, source="pixels")
    assert report[list(report)[-1]].map_size == size
    grown = rfgraph.analyze(Two(), example=example, source="pixels", input_size=(16, 18))
    assert grown[list(grown)[-1]].map_size == tuple(n + 8 for n in size)


@pytest.mark.parametrize("image", [(1, 3, 8, 10), pixels()])
def test_arguments_inside_arguments(image):
    report = rfgraph.analyze(Nested(), example=[{"image": [image]}])
    assert report["conv"].map_size == (6, 8)


# A function of a file returns a model.

PYTHON = """
import torch
from torch import nn

def module():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())

def with_example():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()), (1, 3, 20, 24)

def keras_model():
    import keras
    return keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 5, name="conv")])

def jax_function():
    import jax
    def run(x):
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, 3), (1, 1, 2), "VALID")
    return run, (1, 2, 9)

def pair():
    return 1, 2
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(PYTHON)
    return path


def test_a_function_returns_a_module(file):
    with pytest.raises(ModelFileError, match=r"nets\.py:module: a live module .* pass example="):
        rfgraph.analyze(f"{file}:module")
    assert rfgraph.analyze(f"{file}:module", input_size=16)["0"].map_size == (8, 8)
    assert rfgraph.analyze(f"{file}:with_example")["0"].map_size == (10, 12)


def test_a_function_returns_a_keras_model(file):
    pytest.importorskip("keras")
    assert rfgraph.analyze(f"{file}:keras_model")["conv"].size == (5, 5)


def test_a_function_returns_a_function_of_jax_and_its_example(file):
    pytest.importorskip("jax")
    report = rfgraph.analyze(f"{file}:jax_function")
    assert report[list(report)[-1]].size == (3,)


def test_a_function_returns_no_model(file):
    with pytest.raises(ModelFileError, match=r"nets\.py:pair: it returned an int; return a networkx\.DiGraph"):
        rfgraph.analyze(f"{file}:pair")


# What TorchScript and pickles are saved as instead.


@pytest.mark.parametrize("suffix", ["pt", "pth", "TS", "ckpt", "pkl"])
def test_what_pickles_code_is_not_read_and_what_to_do_is_said(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(b"\x80\x02")
    with pytest.raises(ModelFileError, match="weights, a pickle or TorchScript, which are not read") as raised:
        rfgraph.load(path)
    lines = [line.strip() for line in str(raised.value).splitlines()[1:]]
    assert len(lines) == 3
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), {"module": Net(channels=3)})
    assert rfgraph.analyze(tmp_path / "net.pt2")["conv"].map_size == (112, 112)


def test_torchscript_modules_are_not_traced_and_what_to_do_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        script = torch.jit.trace(Net().eval(), torch.zeros(1, 5, 8, 8))
    with pytest.raises(ModelFileError, match=r"a TorchScript module .* cannot be traced.*\n.*import torch\n.*export\("):
        rfgraph.analyze(script, input_size=8)


# Models in memory.


def saved_bytes():
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Net().eval(), (torch.zeros(1, 5, 8, 8),)), buffer)
    return buffer.getvalue()


def test_an_open_file_is_a_model(tmp_path):
    assert rfgraph.analyze(io.BytesIO(saved_bytes()))["conv"].map_size == (4, 4)
    path = tmp_path / "net.pt2"
    path.write_bytes(saved_bytes())
    with path.open("rb") as file:
        report = rfgraph.analyze(file)
    assert report["conv"].map_size == (4, 4)
    assert report.name == rfgraph.analyze(path).name
    graph = nx.node_link_data(nx.DiGraph(axes=1), edges="edges") | {"nodes": [{"id": "x", "op": "input"}]}
    assert list(rfgraph.load(io.BytesIO(json.dumps(graph).encode()))) == ["x"]


def test_an_open_file_that_is_no_model():
    for content in (b"", b"PK\x03\x04damaged", b"{", b"\x00" * 64):
        with pytest.raises(ModelFileError) as raised:
            rfgraph.load(io.BytesIO(content))
        assert "rfgraph-" not in str(raised.value)


def test_an_onnx_model_in_memory_is_a_model():
    onnx = pytest.importorskip("onnx")
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MaxPool", ["x"], ["y"], "pool", kernel_shape=[3, 3], strides=[2, 2])], "net",
        [onnx.helper.make_tensor_value_info("x", kind, [1, 3, 9, 9])],
        [onnx.helper.make_tensor_value_info("y", kind, None)],
    )  # fmt: skip
    model = onnx.helper.make_model(graph)
    assert rfgraph.analyze(model)["pool"].map_size == (4, 4)
    assert rfgraph.analyze(model, input_size=11)["pool"].map_size == (5, 5)
    assert rfgraph.analyze(io.BytesIO(model.SerializeToString()))["pool"].size == (3, 3)
    with pytest.raises(ModelFileError, match="model: not an ONNX model"):
        rfgraph.load(onnx.ModelProto())
