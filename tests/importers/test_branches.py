"""Branches of ONNX files, by what the runtime takes: a branch is read alone only where it is the one that runs."""

from __future__ import annotations

import numpy as np
import pytest

import rfgraph
from rfgraph.cli import main

onnx = pytest.importorskip("onnx")
helper, TensorProto = onnx.helper, onnx.TensorProto


def constant(name, numbers, dtype=np.int64):
    return onnx.numpy_helper.from_array(np.array(numbers, dtype=dtype), name)


def branch(name, kernel, reads="x"):
    pads = [kernel // 2, kernel // 2]
    node = helper.make_node("Conv", [reads, f"w{kernel}"], [name], name=name, pads=pads)
    return helper.make_graph([node], f"{name}_graph", [], [helper.make_tensor_value_info(name, 1, None)])


def decided(condition, constants=(), inputs=()):
    """Return a model of which ``condition``, nodes that make ``yes``, says whether 3 or 7 taps are read."""
    weights = [constant(f"w{k}", np.ones((1, 1, k)), np.float32) for k in (3, 7)]
    taken = helper.make_node(
        "If", ["yes"], ["y"], name="If", then_branch=branch("conv3", 3), else_branch=branch("conv7", 7)
    )
    graph = helper.make_graph(
        [*condition, taken],
        "decided",
        [helper.make_tensor_value_info("x", 1, [1, 1, "t"]), *inputs],
        [helper.make_tensor_value_info("y", 1, [1, 1, "t"])],
        [*weights, *constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def by_length(op, number):
    """Return a model that compares ``(t - 64) // 64 + 1``, the length of a convolution, with a number."""
    nodes = [
        helper.make_node("Conv", ["x", "w64"], ["frames"], name="stft", strides=[64]),
        helper.make_node("Shape", ["frames"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["length"], axis=0),
        helper.make_node(op, ["length", "number"], ["yes"]),
    ]
    constants = [constant("w64", np.ones((1, 1, 64)), np.float32), constant("last", [-1]), constant("number", [number])]
    return decided(nodes, constants)


def taps(session, size, **inputs):
    """Return how many positions output ``size // 2`` reads, by changing each."""
    x = np.zeros((1, 1, size), np.float32)
    still = session.run(None, {"x": x, **inputs})[0]
    changed = 0
    for i in range(size // 2 - 5, size // 2 + 6):
        x[:] = 0
        x[0, 0, i] = 1
        changed += session.run(None, {"x": x, **inputs})[0][0, 0, size // 2] != still[0, 0, size // 2]
    return int(changed)


@pytest.mark.parametrize("op", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_branch_that_runs_is_the_one_that_is_read(op, number, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = by_length(op, number)
    path = tmp_path / "by_length.onnx"
    onnx.save(model, path)
    session = runtime.InferenceSession(model.SerializeToString())
    ran = set()
    for size in (64, 100, 127, 128, 200, 300):
        report = rfgraph.analyze(path, input_size=size)
        (output,) = report.outputs
        ran.add(taps(session, size))
        assert report[output].size == (taps(session, size),)
        assert report[output].status == "exact"
    report = rfgraph.analyze(path)
    (output,) = report.outputs
    if len(ran) == 2:
        assert (report[output].size, report[output].status) == ((7,), "bound")
        assert "r 3, S 1, P 1 or r 7, S 1, P 3" in report[output].why
    elif report[output].status == "exact":
        assert ran == {report[output].size[0]}
    assert not report.findings


RATE = helper.make_tensor_value_info("sr", TensorProto.INT64, [])


def by_rate():
    nodes = [helper.make_node("Equal", ["sr", "number"], ["yes"])]
    return decided(nodes, [constant("number", 16000)], [RATE])


@pytest.mark.parametrize(("rate", "size"), [(16000, 3), (8000, 7), ([16000], 3)])
def test_what_an_input_holds_decides_which_branch_runs(rate, size, tmp_path):
    path = tmp_path / "by_rate.onnx"
    onnx.save(by_rate(), path)
    report = rfgraph.analyze(path, inputs={"sr": rate})
    (output,) = report.outputs
    assert (report[output].size, report[output].status) == ((size,), "exact")
    assert [report[node].size for node in report if report[node].op == "conv"] == [(size,)]
    assert rfgraph.trace(path, inputs={"sr": rate})["x"].size == (size,)
    assert "either" not in {data["op"] for _, data in rfgraph.load(path, inputs={"sr": rate}).nodes(data=True)}
    report = rfgraph.analyze(path, input_size=100, inputs={"sr": rate})
    assert report[output].map_size == (100,)


def test_without_it_either_branch_may_run(tmp_path):
    path = tmp_path / "by_rate.onnx"
    onnx.save(by_rate(), path)
    report = rfgraph.analyze(path)
    assert {report[node].size for node in report if report[node].op == "conv"} == {(3,), (7,)}
    assert report["If/either"].status == "bound"
    assert report.findings == ()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"rate": 16000}, r"no input 'rate' to be set; its inputs are 'x', 'sr'"),
        ({"sr": [8000, 16000]}, r"input 'sr' has shape \[\]; what it is given has \[2\]"),
        ({"sr": "fast"}, r"'sr' is given 'fast', which is no number"),
        ({"sr": float("nan")}, r"'sr' is given 'nan', which is no number"),
    ],
)
def test_what_cannot_be_set_is_refused(inputs, message, tmp_path):
    path = tmp_path / "by_rate.onnx"
    onnx.save(by_rate(), path)
    with pytest.raises(rfgraph.errors.RFGraphError, match=message):
        rfgraph.analyze(path, inputs=inputs)


def test_only_files_of_tensors_have_inputs_to_set():
    with pytest.raises(rfgraph.errors.ModelFileError, match=r"'sr'.* cannot be set; that is for \.onnx"):
        rfgraph.analyze("zoo:vgg_16", inputs={"sr": 1})
    with pytest.raises(rfgraph.errors.ModelFileError, match="can be set for model files"):
        rfgraph.analyze(rfgraph.Network("net"), inputs={"sr": 1})


def test_the_command_line_sets_inputs(tmp_path, capsys):
    path = tmp_path / "by_rate.onnx"
    onnx.save(by_rate(), path)
    assert main(["summary", str(path), "--set-input", "sr=16000", "--format", "csv"]) == 0
    assert "conv7" not in capsys.readouterr().out
    assert main(["summary", str(path), "--format", "csv"]) == 0
    assert "conv7" in capsys.readouterr().out
    for wrong in ("sr", "sr=fast", "sr="):
        with pytest.raises(SystemExit):
            main(["summary", str(path), "--set-input", wrong])
        assert "says of no input what it holds" in capsys.readouterr().err


def test_a_flag_chooses_between_two_maps(tmp_path):
    """``Where`` with one truth value for all is an ``If`` that computes both."""
    weights = [constant(f"w{k}", np.ones((1, 1, k)), np.float32) for k in (3, 7)]
    nodes = [
        *(helper.make_node("Conv", ["x", f"w{k}"], [f"c{k}"], name=f"c{k}", pads=[k // 2] * 2) for k in (3, 7)),
        helper.make_node("Where", ["flag", "c3", "c7"], ["y"], name="y"),
    ]
    graph = helper.make_graph(
        nodes,
        "chosen",
        [
            helper.make_tensor_value_info("x", 1, [1, 1, 20]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", 1, [1, 1, 20])],
        weights,
    )
    path = tmp_path / "chosen.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8), path)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path))
    for flag in (True, False):
        layer = rfgraph.analyze(path, inputs={"flag": flag})["y"]
        assert (layer.status, layer.size) == ("exact", (taps(session, 20, flag=np.array(flag)),))
    layer = rfgraph.analyze(path)["y"]
    assert (layer.status, layer.size) == ("bound", (7,))
    assert "r 3, S 1, P 1 or r 7, S 1, P 3" in layer.why
