"""Make the files in ``tests/data/openvino`` with OpenVINO (``openvino``): ``python tests/data/make_openvino.py``.

They are the architectures of ``tests/architectures.py``, exported from PyTorch, a network of many operations, and one
of each operation with what its outputs read as the runtime tells. Of the weights, ``.bin`` files hold what is small;
larger ones would lie behind the end of the file. Run it with ``tests`` and ``tests/importers`` on ``PYTHONPATH``.
"""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openvino as ov
import torch
from architectures import ARCHITECTURES
from openvino import opset14 as ops
from openvino import opset15
from test_torch import MODULES

HERE = Path(__file__).parent / "openvino"
SMALL = 256  # bytes of a weight that is kept
BEHIND = 1 << 40


def cut(source, target):
    """Write a model without its large weights, and without what only tells how it was made."""
    tree = ElementTree.parse(source.with_suffix(".xml"))
    data, kept = source.with_suffix(".bin").read_bytes(), b""
    for layer in tree.getroot().iter("layer"):
        values = layer.find("data")
        if layer.get("type") == "Const" and values is not None:
            offset, size = int(values.get("offset")), int(values.get("size"))
            large = size > SMALL and values.get("element_type") not in ("i64", "i32")
            values.set("offset", str(BEHIND if large else len(kept)))
            kept += b"" if large else data[offset : offset + size]
        for info in layer.findall("rt_info"):
            layer.remove(info)
    for info in tree.getroot().findall("rt_info"):
        tree.getroot().remove(info)
    for element in tree.getroot().iter():
        element.tail = None
        element.text = element.text if element.tag == "dim" else None
    HERE.mkdir(exist_ok=True)
    tree.write(target.with_suffix(".xml"))
    target.with_suffix(".bin").write_bytes(kept)


def operations():
    """A network of operations that the architectures have not; its height is open."""
    x = ops.parameter([1, 4, -1, 24], np.float32, name="x")
    rng = np.random.default_rng(0)
    weight = lambda *shape: rng.random(shape, dtype=np.float32)  # noqa: E731
    y = ops.group_convolution(x, weight(2, 2, 2, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1], name="grouped")
    y = ops.convolution(y, weight(4, 4, 3, 3), [2, 2], [0, 0], [0, 0], [1, 1], auto_pad="same_upper", name="same")
    y = ops.prelu(y, weight(4), name="slope")
    y = ops.strided_slice(y, [0, 0, 1, 0], [0, 0, 0, -1], [1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0], name="cut")
    y = ops.pad(y, [0, 0, 2, 0], [0, 0, 0, 1], "reflect", name="padded")
    a, b = ops.split(y, 1, 2, name="halves").outputs()
    y = ops.concat([b, a], 1, name="joined")
    y = ops.avg_pool(y, [1, 1], [1, 0], [1, 0], [3, 1], True, "ceil_torch", "explicit", name="pooled")
    y = ops.interpolate(
        y, np.array([2.0, 2.0], np.float32), "nearest", "scales", [0, 0], [0, 0], "asymmetric", "floor",
        axes=[2, 3], name="twice",
    )  # fmt: skip
    gate = ops.sigmoid(ops.reduce_mean(y, [2, 3], True, name="mean"), name="gate")
    y = ops.multiply(y, gate, name="gated")
    y = ops.space_to_depth(y, "blocks_first", 2, name="blocks")
    y = ops.convolution(y, weight(8, 16, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1], name="mixed")
    y = ops.depth_to_space(y, "blocks_first", 2, name="pixels")
    y = ops.mvn(y, [1], True, 1e-6, "inside_sqrt", name="norm")
    return ov.Model([ops.result(y, name="y")], [x], "operations")


def weight(*shape):
    return np.random.default_rng(len(shape)).random(shape, dtype=np.float32) + 0.5


def conv(x, kernel=(3, 3), stride=(1, 1), before=(0, 0), after=(0, 0), dilation=(1, 1), how="explicit"):
    return ops.convolution(x, weight(2, 4, *kernel), [*stride], [*before], [*after], [*dilation], auto_pad=how)


def back(x, kernel, stride, before=(0, 0), after=(0, 0), dilation=(1, 1), how="explicit", shape=None, extra=(0, 0)):
    return ops.convolution_backprop_data(
        x, weight(4, 2, *kernel), [*stride], None if shape is None else ops.constant(shape), [*before], [*after],
        [*dilation], how, [*extra],
    )  # fmt: skip


def pooled(x, kernel, stride, before=(0, 0), after=(0, 0), rounding="floor", how="explicit", largest=True):
    if largest:
        return ops.max_pool(x, [*stride], [1, 1], [*before], [*after], [*kernel], rounding, how).output(0)
    return ops.avg_pool(x, [*stride], [*before], [*after], [*kernel], False, rounding, how)


def resized(x, mode, target, coordinates="half_pixel", nearest="round_prefer_floor", by="sizes", antialias=False):
    numbers = np.array(target, np.int64 if by == "sizes" else np.float32)
    return ops.interpolate(x, numbers, mode, by, [0, 0], [0, 0], coordinates, nearest, antialias, axes=[2, 3])


def turned(x, order=(0, 2, 3, 1)):
    return ops.transpose(x, [*order])


#: What is done with a tensor of four channels, nine rows and eight columns; the runtime tells what its outputs read.
CASES = {
    "conv": lambda x: conv(x, (3, 2), (2, 1), (1, 0), (0, 1), (2, 1)),
    "conv_valid": lambda x: conv(x, before=(3, 3), how="valid"),
    "conv_same_upper": lambda x: conv(x, (4, 3), (2, 3), how="same_upper"),
    "conv_same_lower": lambda x: conv(x, (4, 3), (2, 3), how="same_lower"),
    "group_conv": lambda x: ops.group_convolution(x, weight(2, 1, 2, 3, 1), [1, 2], [1, 0], [1, 0], [1, 1]),
    "back": lambda x: back(x, (3, 2), (2, 3), (1, 0), (0, 1)),
    "back_more": lambda x: back(x, (3, 2), (2, 3), (1, 0), (0, 1), extra=(1, 2)),
    "back_dilated": lambda x: back(x, (3, 3), (2, 1), dilation=(2, 1)),
    "back_same_upper": lambda x: back(x, (3, 4), (2, 2), how="same_upper"),
    "back_same_lower": lambda x: back(x, (3, 4), (2, 2), how="same_lower"),
    "back_to_shape": lambda x: back(x, (3, 4), (2, 2), shape=[17, 16]),
    "back_to_odd_shape": lambda x: back(x, (3, 4), (2, 2), shape=[18, 17]),
    "back_to_shape_upper": lambda x: back(x, (3, 4), (2, 2), shape=[18, 17], how="same_upper"),
    "back_to_shape_lower": lambda x: back(x, (3, 4), (2, 2), shape=[18, 17], how="same_lower"),
    "max_pool": lambda x: pooled(x, (3, 2), (2, 2), (1, 0), (0, 1)),
    "max_pool_ceil": lambda x: pooled(x, (3, 3), (2, 2), rounding="ceil"),
    "max_pool_ceil_beyond": lambda x: pooled(x, (2, 2), (2, 3), (1, 1), (1, 1), rounding="ceil"),
    "max_pool_ceil_torch": lambda x: pooled(x, (2, 2), (2, 3), (1, 1), (1, 1), rounding="ceil_torch"),
    "avg_pool": lambda x: pooled(x, (3, 2), (1, 2), (1, 0), (1, 0), largest=False),
    "avg_pool_same": lambda x: pooled(x, (3, 2), (2, 2), how="same_upper", largest=False),
    "adaptive": lambda x: ops.adaptive_avg_pool(x, ops.constant([4, 3])),
    "nearest": lambda x: resized(x, "nearest", [18, 12]),
    "nearest_less": lambda x: resized(x, "nearest", [5, 3], nearest="ceil"),
    "nearest_floor": lambda x: resized(x, "nearest", [13, 16], "asymmetric", "floor"),
    "nearest_simple": lambda x: resized(x, "nearest", [18, 13], "asymmetric", "simple"),
    "nearest_simple_less": lambda x: resized(x, "nearest", [5, 3], "asymmetric", "simple"),
    "nearest_tf": lambda x: resized(x, "nearest", [14, 12], "tf_half_pixel_for_nn", "floor"),
    "linear": lambda x: resized(x, "linear_onnx", [18, 12]),
    "linear_scales": lambda x: resized(x, "linear_onnx", [2.0, 1.5], "pytorch_half_pixel", by="scales"),
    "linear_corners": lambda x: resized(x, "linear_onnx", [17, 15], "align_corners"),
    "linear_plain": lambda x: resized(x, "linear", [18, 12], "asymmetric"),
    "linear_less": lambda x: resized(x, "linear", [4, 3]),
    "linear_antialias": lambda x: resized(x, "linear", [4, 3], antialias=True),
    "cubic": lambda x: resized(x, "cubic", [18, 12]),
    "depth_to_space": lambda x: ops.depth_to_space(x, "blocks_first", 2),
    "depth_first": lambda x: ops.depth_to_space(x, "depth_first", 2),
    "space_to_depth": lambda x: ops.space_to_depth(ops.strided_slice(x, [0, 0, 1], [0, 0, 0], [1, 1, 1], [1, 1, 0], [
        1, 1, 1]), "depth_first", 2),
    "shuffled": lambda x: ops.shuffle_channels(x, 1, 2),
    "pad_reflect": lambda x: ops.pad(x, [0, 0, 2, 1], [0, 0, 1, 3], "reflect"),
    "pad_edge": lambda x: ops.pad(x, [0, 0, 2, 0], [0, 0, 0, 1], "edge"),
    "pad_symmetric": lambda x: ops.pad(x, [0, 0, 2, 0], [0, 0, 0, 1], "symmetric"),
    "pad_negative": lambda x: ops.pad(x, [0, 0, -2, 0], [0, 0, 0, -1], "constant"),
    "strided_slice": lambda x: ops.strided_slice(
        x, [0, 0, 7, 1], [0, 0, 1, 0], [1, 1, -2, 2], [1, 1, 0, 0], [1, 1, 0, 1]),
    "slice": lambda x: ops.slice(x, [1, -2], [8, -100], [3, -1], [2, 3]),
    "split": lambda x: ops.variadic_split(x, 2, [2, -1, 3]).output(1),
    "gather": lambda x: ops.gather(x, [5, 1, 3], 2),
    "tile": lambda x: ops.tile(x, [1, 1, 2, 1]),
    "roll": lambda x: ops.roll(x, [2, -1], [2, 3]),
    "cumsum": lambda x: ops.cum_sum(x, 2, exclusive=True, reverse=True),
    "reduce": lambda x: ops.add(x, ops.reduce_max(x, [2], True)),
    "mvn": lambda x: ops.mvn(x, [3], True, 1e-6, "inside_sqrt"),
    "matmul": lambda x: turned(ops.matmul(turned(x), weight(3, 4), False, True), (0, 3, 1, 2)),
    "space_to_batch": lambda x: ops.batch_to_space(
        conv(ops.space_to_batch(x, [1, 1, 2, 2], [0, 0, 2, 2], [0, 0, 3, 2]), (3, 3)),
        [1, 1, 2, 2], [0, 0, 0, 0], [0, 0, 1, 0]),
    "patches_added": lambda x: opset15.col2im(
        ops.reshape(ops.extract_image_patches(x, [3, 2], [3, 2], [1, 1], "valid"), [1, 24, -1], False),
        np.array([7, 7]), np.array([3, 2]), [3, 2], [1, 1], [1, 0], [1, 1],
    ),
    "patches": lambda x: ops.extract_image_patches(x, [3, 2], [2, 2], [1, 2], "same_upper"),
    "attention": lambda x: ops.reshape(ops.scaled_dot_product_attention(
        *[ops.reshape(x, [1, 4, 9, 8], False)] * 3, causal=True), [1, 4, 9, 8], False),
    "prelu": lambda x: ops.prelu(x, weight(4)),
    "gru": lambda x: turned(ops.squeeze(ops.gru_sequence(
        ops.reshape(turned(x, (0, 2, 3, 1)), [9, 8, 4], False), np.zeros((9, 1, 3), np.float32),
        np.full(9, 8), weight(1, 9, 4), weight(1, 9, 3), weight(1, 9), 3, "reverse").output(0), [1]), (2, 0, 1)),
    "batch_norm": lambda x: ops.batch_norm_inference(conv(x), weight(2), weight(2), weight(2), weight(2), 1e-3),
    "binary_conv": lambda x: ops.binary_convolution(
        ops.concat([x] * 8, 1), ov.op.Constant(ov.Type.u1, ov.Shape([2, 32, 3, 2]), [1] * 384), [2, 1], [1, 0], [0, 1],
        [1, 1], "xnor-popcount", 0.0),
    "group_back": lambda x: ops.group_convolution_backprop_data(
        x, weight(2, 2, 1, 3, 2), [2, 3], None, [1, 0], [0, 1], [1, 1]),
    "group_norm": lambda x: ops.group_normalization(x, weight(4), weight(4), 2, 1e-3),
    "grn": lambda x: ov.opset1.grn(x, 1e-3),
    "lrn": lambda x: ops.lrn(x, [1], 1.0, 0.5, 1.0, 3),
    "normalize_channels": lambda x: ops.normalize_l2(x, [1], 1e-6, "add"),
    "normalize_columns": lambda x: ops.normalize_l2(x, [3], 1e-6, "add"),
    "log_softmax": lambda x: ops.log_softmax(x, 2),
    "softmax": lambda x: ops.softmax(x, 1),
    "softmax_rows": lambda x: ops.softmax(x, -2),
    "top": lambda x: ops.topk(x, 3, 2, "max", "value").output(0),
    "adaptive_max": lambda x: ops.adaptive_max_pool(x, [4, 3], "i32").output(0),
    "converted": lambda x: ops.convert_like(ops.convert(x, "i32"), np.float32(0)),
    "broadcast": lambda x: ops.broadcast(ops.reduce_mean(x, [2], True), [1, 4, 5, 8]),
    "broadcast_both": lambda x: ops.broadcast(
        ops.reduce_mean(x, [3], True), [3, 1, 1, 6], broadcast_spec="BIDIRECTIONAL"),
    "einsum": lambda x: ops.einsum([x, weight(3, 4)], "bchw,dc->bdhw"),
    "eye": lambda x: turned(ops.matmul(turned(x), ops.eye(4, 4, 1, "f32"), False, False), (0, 3, 1, 2)),
    "one_hot": lambda x: ops.one_hot(ops.convert(ops.floor(ops.reduce_sum(x, [1], False)), "i64"), 4, 1.0, 0.0, 1),
    "range": lambda x: ops.add(x, ops.range(0.0, 8.0, 1.0, output_type="f32")),
    "shape_of": lambda x: ops.reshape(ops.reshape(x, [1, 4, 72], False), ops.shape_of(x, "i64"), False),
    "unsqueezed": lambda x: ops.squeeze(conv(ops.squeeze(ops.unsqueeze(x, [1, 3]), [1, 3])), np.zeros(0, np.int64)),
    "lstm": lambda x: turned(ops.squeeze(ops.lstm_sequence(
        ops.reshape(turned(x), [9, 8, 4], False), np.zeros((9, 1, 3), np.float32), np.zeros((9, 1, 3), np.float32),
        np.full(9, 8), weight(1, 12, 4), weight(1, 12, 3), weight(1, 12), 3, "forward").output(0), [1]), (2, 0, 1)),
    "rnn": lambda x: turned(ops.reshape(turned(ops.rnn_sequence(
        ops.reshape(turned(x), [9, 8, 4], False), np.zeros((9, 2, 3), np.float32), np.full(9, 8),
        weight(2, 3, 4) / 40, weight(2, 3, 3) / 4, weight(2, 3) / 40, 3, "bidirectional").output(0), (0, 2, 1, 3)),
        [9, 8, 6], False), (2, 0, 1)),
    "lstm_end": lambda x: ops.unsqueeze(turned(ops.squeeze(ops.lstm_sequence(
        ops.reshape(turned(x), [9, 8, 4], False), np.zeros((9, 1, 3), np.float32), np.zeros((9, 1, 3), np.float32),
        np.full(9, 8), weight(1, 12, 4), weight(1, 12, 3), weight(1, 12), 3, "forward").output(1), [1]), (1, 0)), [2]),
}  # fmt: skip


def boxes(model):
    """Return the first and last row and column that each output reads, by running the model on changed inputs."""
    run = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    rng = np.random.default_rng(1)
    x = rng.random((1, 4, 9, 8), dtype=np.float32)
    before = run([x])[0]
    found = np.zeros((*before.shape[-2:], 9, 8), bool)
    for y, c in np.ndindex(9, 8):
        for amount in (9.0, -7.0, 0.3):
            changed = x.copy()
            changed[..., y, c] += amount * rng.random(4, dtype=np.float32).reshape(1, 4)
            found[..., y, c] |= (run([changed])[0] != before).reshape(-1, *before.shape[-2:]).any(0)
    sizes = []
    for at in np.ndindex(*found.shape[:2]):
        read = np.argwhere(found[at])
        sizes.append([*read.min(0).tolist(), *read.max(0).tolist()] if len(read) else None)
    return {"size": list(found.shape[:2]), "boxes": sizes}


def cases(folder):
    """Return the models of all cases, each with what the runtime says that its outputs read."""
    made = {}
    for name, build in CASES.items():
        x = ops.parameter([1, 4, 9, 8], np.float32, name="x")
        first = ops.convolution(x, np.eye(4, dtype=np.float32)[..., None, None], [1, 1], [0, 0], [0, 0], [1, 1])
        model = ov.Model([ops.result(build(first))], [x], name)
        found = boxes(model)
        ov.save_model(model, f"{folder}/{name}.xml", compress_to_fp16=False)
        cut(Path(folder, name), Path(folder, f"{name}_cut"))
        text = Path(folder, f"{name}_cut.xml").read_text()
        data = base64.b64encode(Path(folder, f"{name}_cut.bin").read_bytes()).decode()
        made[name] = {"xml": text, "bin": data, **found}
    return made


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, module in MODULES.items():
            shape = ARCHITECTURES[name].shape
            model = ov.convert_model(module().eval(), example_input=torch.zeros(shape), input=[("x", list(shape))])
            ov.save_model(model, f"{folder}/{name}.xml", compress_to_fp16=False)
            cut(Path(folder, name), HERE / name)
        ov.save_model(operations(), f"{folder}/operations.xml", compress_to_fp16=False)
        cut(Path(folder, "operations"), HERE / "operations")
        packed = gzip.compress(json.dumps(cases(folder)).encode(), mtime=0)
    (HERE / "cases.json.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
