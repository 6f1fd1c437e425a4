"""How often reading looks at something: once, however often it stands in a model."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import pytest
from test_lowering import Net

import rfgraph
from rfgraph.importers import program as p
from rfgraph.importers.lowering import lower as lowering
from rfgraph.importers.lowering.meeting import Meeting
from rfgraph.importers.program import exact, numbers
from rfgraph.importers.torch import saved

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

SAVED = sorted((Path(__file__).parent.parent / "data").rglob("*.pt2"))


@pytest.fixture
def counted(monkeypatch):
    """Return what counts the calls of functions that it is given by their owner and name."""
    calls: Counter[str] = Counter()

    def count(owner, name):
        function = getattr(owner, name)

        def counting(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)
        return calls

    return count


def model(blocks, channels, side=3):
    """Return convolutions and normalisations in a row, each with weights of its own."""
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "x"
    for i in range(blocks):
        weights.append(numpy_helper.from_array(rng.random((channels, channels, side, side), np.float32) + 1, f"{i}.w"))
        norm = [f"{i}.{name}" for name in ("scale", "shift", "mean", "variance")]
        weights += [numpy_helper.from_array(rng.random(channels, np.float32), name) for name in norm]
        nodes.append(helper.make_node("Conv", [x, f"{i}.w"], [f"c{i}"], name=f"conv{i}"))
        nodes.append(helper.make_node("BatchNormalization", [f"c{i}", *norm], [f"n{i}"], name=f"norm{i}"))
        x = f"n{i}"
    shape = [1, channels, 64, 64]
    graph = helper.make_graph(
        nodes, "row", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)], weights,
    )  # fmt: skip
    return helper.make_model(graph)


def test_floats_are_made_exact_only_where_someone_asks(counted):
    calls = counted(exact, "simplest")
    rfgraph.analyze(model(blocks=4, channels=2))
    assert calls["simplest"] == 0
    assert exact.Data(np.array([0.5]), integer=False).elements.tolist() == [0.5]
    assert calls["simplest"] == 1


@pytest.mark.parametrize(("channels", "looks"), [(2, 0), (32, 1)])
def test_a_weight_without_zeros_is_looked_through_once_at_the_most(counted, channels, looks):
    reads, calls = counted(numbers.Numbers, "look"), counted(numbers, "holes")
    rfgraph.analyze(model(blocks=3, channels=channels))
    assert (reads["look"], calls["holes"]) == (3, 3 * looks)


def test_steps_that_are_like_others_are_not_lowered_again(counted):
    calls = counted(lowering, "place")
    taken = []
    for blocks in (4, 16):
        calls.clear()
        net = Net((1, 4, 64))
        x = net.conv(net.x, dims=(2,), kernel=(3,), padding=((1, 1),))
        for _ in range(blocks):
            x = net(p.Pointwise(function="relu"), net.conv(x, dims=(2,), kernel=(3,), padding=((1, 1),)))
        lowering.lower(net.build.program([x]))
        taken.append(calls["place"])
    assert taken[0] == taken[1]


def test_tensors_side_by_side_that_lie_alike_are_laid_on_each_other_once(counted):
    calls = counted(Meeting, "_clash")
    taken = []
    for branches in (3, 24):
        calls.clear()
        net = Net((1, 4, 64))
        x = net.conv(net.x, dims=(2,), kernel=(3,), padding=((1, 1),))
        parts = [net.conv(x, dims=(2,), kernel=(3,), padding=((1, 1),)) for _ in range(branches)]
        lowering.lower(net.build.program([net(p.Concat(dim=1), *parts)]))
        taken.append(calls["_clash"])
    assert taken[0] == taken[1]


def test_an_archive_is_opened_once(counted):
    calls = counted(zipfile.ZipFile, "_RealGetContents")
    saved.read(SAVED[0])
    assert calls["_RealGetContents"] == 1
