"""Sizes that an ONNX model takes: those at which ONNX Runtime runs it, or no one knows which."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

import rfgraph  # noqa: E402

FLOAT, SIZES = onnx.TensorProto.FLOAT, range(1, 31)
#: Node lists behind a convolution of stride 2 that makes ``c``, a map of two channels, and whether sizes are told.
MODELS = {
    "halves": (
        [
            ("Slice", "c last_three most axis", "end", {}), ("Slice", "c zero last_three axis", "begin", {}),
            ("Relu", "begin", "kept", {}), ("Concat", "end kept", "y", {"axis": 2}),
        ],
        True,
    ),
    "nothing but the end": ([("Slice", "c three most axis", "y", {})], True),
    "a kernel over the end": (
        [("Slice", "c three most axis", "end", {}), ("Conv", "end w", "y", {"pads": [1, 1]})],
        True,
    ),
    "a kernel over the padding": (
        [("Slice", "c three most axis", "end", {}), ("Conv", "end w", "y", {"pads": [1, 2], "strides": [2]})],
        True,
    ),
    "blocks": (
        [
            ("Shape", "c", "shape", {}), ("Gather", "shape two", "n", {}), ("Div", "n three", "blocks", {}),
            ("Concat", "one two blocks three", "cut", {"axis": 0}), ("Reshape", "c cut", "d", {}),
            ("ReduceMean", "d", "y", {"axes": [3], "keepdims": 0}),
        ],
        True,
    ),
    "flattened": ([("Flatten", "c", "flat", {}), ("Gemm", "flat m", "y", {})], True),
    "flattened and sliced": (
        [
            ("Slice", "c three most axis", "end", {}), ("Flatten", "end", "flat", {}), ("Gemm", "flat m", "units", {}),
            ("Reshape", "units row", "map", {}), ("Relu", "map", "y", {}),
        ],
        True,
    ),
    "tokens mixed": ([("MatMul", "c mixer", "y", {})], True),
    "position codes": ([("Add", "c codes", "y", {})], True),
}  # fmt: skip
CONSTANTS = {
    "w": np.ones((2, 2, 3), np.float32), "m": np.ones((16, 3), np.float32), "axis": [2], "last_three": [-3],
    "mixer": np.ones((7, 5), np.float32), "codes": np.ones((1, 2, 6), np.float32), "row": [1, 3, 1],
    "zero": [0], "most": [1 << 40], "one": [1], "two": [2], "three": [3],
}  # fmt: skip


def runs(session, n):
    try:
        (y,) = session.run(None, {"x": np.ones((1, 2, n), np.float32)})
    except Exception:
        return False
    return y.size > 0


#: Kernel, stride, padding, dilation, and whether the size is rounded up.
POOLS = [
    (3, 2, (0, 0), 1, 0), (3, 3, (0, 0), 1, 0), (5, 2, (1, 1), 1, 0), (3, 1, (0, 0), 1, 0), (4, 3, (0, 1), 1, 1),
    (3, 2, (0, 0), 2, 0), (5, 5, (1, 0), 1, 1), (7, 3, (1, 2), 1, 0), (2, 3, (0, 0), 1, 1), (3, 2, (0, 0), 2, 1),
]  # fmt: skip


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_a_pool_larger_than_its_map_makes_what_the_runtime_makes(op, tmp_path):
    for kernel, stride, pads, dilation, ceil_mode in POOLS:
        attributes = {"kernel_shape": [kernel], "strides": [stride], "pads": pads, "dilations": [dilation]}
        nodes = [helper.make_node(op, ["x"], ["p"], ceil_mode=ceil_mode, **attributes)]
        nodes.append(helper.make_node("Concat", ["p", "x"], ["both"], axis=2))  # which takes a map of no positions
        graph = helper.make_graph(
            nodes, op, [helper.make_tensor_value_info("x", FLOAT, [1, 2, "n"])],
            [helper.make_tensor_value_info(name, FLOAT, None) for name in ("p", "both")],
        )  # fmt: skip
        for outputs in (["both"], ["p", "both"]):
            del graph.output[:]
            graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in outputs)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
            onnx.save(model, path := tmp_path / "model.onnx")
            options = runtime.SessionOptions()
            options.log_severity_level = 4
            session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            made = {}
            for n in range(1, 9):
                try:
                    maps = session.run(None, {"x": np.ones((1, 2, n), np.float32)})
                except Exception:
                    continue
                made[n] = [y.shape[2] for y in maps]
            works = [n for n, sizes in made.items() if all(sizes)]
            (sizes,) = rfgraph.analyze(path).input_sizes
            assert [n for n in range(1, 9) if n in sizes] == works
            for n in works[:1]:
                report = rfgraph.analyze(path, n)
                assert [report[name].map_size[0] for name in outputs] == made[n]


@pytest.mark.parametrize("name", MODELS)
def test_sizes_are_those_at_which_the_model_runs(name, tmp_path):
    rows, is_told = MODELS[name]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], strides=[2], pads=[1, 1])]
    nodes += [helper.make_node(op, inputs.split(), [output], **attributes) for op, inputs, output, attributes in rows]
    graph = helper.make_graph(
        nodes, name, [helper.make_tensor_value_info("x", FLOAT, [1, 2, "n"])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.array(value), key) for key, value in CONSTANTS.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path := tmp_path / "model.onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (sizes,) = rfgraph.analyze(path).input_sizes
    assert (sizes is not None) == is_told
    if sizes is not None:
        assert [n for n in SIZES if n in sizes] == [n for n in SIZES if runs(session, n)]


@pytest.mark.parametrize("tokens", [16, 49, 1])
def test_codes_of_tokens_of_two_axes_leave_the_sizes_open(tokens, tmp_path):
    """That height times width is a number is no matter of each for itself."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[3, 3]),
        helper.make_node("Reshape", ["c", "cut"], ["t"]),
        helper.make_node("Add", ["t", "codes"], ["y"]),
    ]
    constants = {
        "w": np.ones((2, 2, 3, 3), np.float32), "cut": [1, 2, -1], "codes": np.ones((1, 2, tokens), np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "codes", [helper.make_tensor_value_info("x", FLOAT, [1, 2, "h", "w_"])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.array(value), key) for key, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path := tmp_path / "model.onnx")
    told = [None if sizes is None else str(sizes) for sizes in rfgraph.analyze(path).input_sizes]
    assert told == (["any size from 3"] * 2 if tokens == 1 else [None] * 2)
