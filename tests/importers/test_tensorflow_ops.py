"""TensorFlow: every handler against the op itself, whose inputs are perturbed.

The oracle is tensorflow. A pixel is changed, in all its channels; the outputs that change are the ones that read it.
For every output feature the box of the pixels that it reads must be the region that rfgraph gives.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
tf = pytest.importorskip("tensorflow")

import op_by_op  # noqa: E402
from google.protobuf import descriptor_pool  # noqa: E402
from perturbation import check_regions  # noqa: E402
from tensorflow.core.framework import types_pb2  # noqa: E402
from tensorflow.python.framework import op_def_registry  # noqa: E402

import rfgraph  # noqa: E402
from rfgraph.importers.lowering.lower import lower  # noqa: E402
from rfgraph.importers.tensorflow import protos  # noqa: E402
from rfgraph.importers.tensorflow.files import Model  # noqa: E402
from rfgraph.importers.tensorflow.nodes import HANDLERS, OUTPUTS  # noqa: E402
from rfgraph.importers.tensorflow.operators import NOT_FOLLOWED, SEVERAL, UNARY  # noqa: E402
from rfgraph.importers.tensorflow.reader import program_of  # noqa: E402

tf1, raw = tf.compat.v1, tf.raw_ops
tf.get_logger().setLevel("ERROR")

F32, F64 = tf.float32, tf.float64
IMAGE = (1, 6, 7, 4)


@dataclass(frozen=True)
class Case(op_by_op.Case):
    """A function of one tensor, and an op of its graph."""

    x: tuple = IMAGE
    at: tuple = (1, 2)
    out: tuple = (1, 2)
    #: Whether control flow is written with ``Switch`` and ``Merge``, as TensorFlow 1 did.
    old: bool = False


@cache
def built(case: Case):
    """Return the graph of a case, its input and its output."""
    graph = tf.Graph()
    if case.old:
        tf1.disable_control_flow_v2()
    try:
        with graph.as_default():
            x = tf1.placeholder(F64, case.x, name="x")
            y = op_by_op.first(case.run(x))
    finally:
        tf1.enable_control_flow_v2()
    return graph, x, y


def own(graph_def) -> object:
    return protos.from_binary(protos.GraphDef, graph_def.SerializeToString())


def program_of_case(case: Case):
    graph, _, y = built(case)
    return program_of(Model("case.pb", own(graph.as_graph_def()), outputs=(y.name,)))


def graph_of(case: Case):
    return lower(program_of_case(case), spatial={"x": case.at})


def ops_of(graph_def) -> set[str]:
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    return {node.op for node in nodes}


def reads(case: Case) -> np.ndarray:
    """Return which pixels each output feature reads: booleans [*output positions, *input positions]."""
    graph, x, y = built(case)
    rng = np.random.default_rng(0)
    bases = [rng.random(case.x) * 4 - 2 for _ in range(2)]
    spatial = [case.x[d] for d in case.at]
    kept = [d for d in case.out if d is not None]
    columns = []
    config = tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf1.Session(graph=graph, config=config) as session:
        variables = tf1.global_variables_initializer() if graph.get_collection("variables") else None
        if variables is not None:
            session.run(variables)
        run = session.make_callable(y, [x])
        made = [np.asarray(run(base)) for base in bases]
        for pixel in itertools.product(*map(range, spatial)):
            index = [slice(None)] * len(case.x)
            for d, i in zip(case.at, pixel, strict=True):
                index[d] = i
            changed = np.zeros([made[0].shape[d] for d in kept], bool)
            for (base, value), how in itertools.product(zip(bases, made, strict=True), (None, 9.0, -9.0)):
                near = base.copy()
                near[tuple(index)] = rng.random(near[tuple(index)].shape) if how is None else how
                again = np.asarray(run(near))
                moved = (again != value) & ~((again != again) & (value != value))
                others = tuple(d for d in range(value.ndim) if d not in kept)
                changed |= moved.any(axis=others).transpose(np.argsort(np.argsort(kept)))
            columns.append(changed)
    sizes = [1 if d is None else made[0].shape[d] for d in case.out]
    return np.stack(columns, axis=-1).reshape(*sizes, *spatial)


def check_reads(case: Case) -> None:
    graph = graph_of(case)
    unknown = {node: data.get("why") for node, data in graph.nodes(data=True) if data["op"] == "unknown"}
    assert not unknown
    found = reads(case)
    check_regions(graph, found, case.exact)


def w(*shape, dtype=F64):
    return tf.constant(np.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape), dtype)


def f(x):
    return tf.cast(x, F32)


def removed(op, inputs, **attributes):
    """Add an op that graphs of today may not have, as a graph of old."""
    graph_def = tf1.GraphDef()
    graph_def.versions.producer = 5
    for k, value in enumerate(inputs):
        fed = graph_def.node.add(name=f"in{k}", op="Placeholder")
        fed.attr["dtype"].type = value.dtype.as_datatype_enum
    node = graph_def.node.add(name=op, op=op, input=[f"in{k}" for k in range(len(inputs))])
    node.attr["T"].type = inputs[0].dtype.as_datatype_enum
    for name, value in attributes.items():
        if isinstance(value, bool):
            node.attr[name].b = value
        elif isinstance(value, int):
            node.attr[name].i = value
        else:
            node.attr[name].f = value
    fed = {f"in{k}:0": value for k, value in enumerate(inputs)}
    return tf1.import_graph_def(graph_def, fed, [f"{op}:0"], name="")[0]


def channels_first(x):
    return tf.transpose(x, (0, 3, 1, 2))


def quantised(x):
    return raw.QuantizeV2(input=f(x), min_range=-9.0, max_range=9.0, T=tf.quint8)


def bytes_of(*numbers):
    return tf.bitcast(tf.constant(numbers, tf.uint8), tf.quint8)


def whole_numbers(x):
    return tf.bitcast(tf.cast(x * 2e8, tf.int32), tf.qint32)


def floats(made):
    return raw.Dequantize(input=made[0], min_range=made[1], max_range=made[2])


def internal(op, inputs, dtype, **attributes):
    """Add an op that tensorflow has no function for."""
    made = {}
    for name, value in attributes.items():
        attribute = tf1.AttrValue()
        if isinstance(value, str):
            attribute.s = value.encode()
        elif isinstance(value, tf.DType):
            attribute.type = value.as_datatype_enum
        elif isinstance(value, int):
            attribute.i = value
        elif value and isinstance(value[0], str):
            attribute.list.s.extend(entry.encode() for entry in value)
        elif value and isinstance(value[0], tf.DType):
            attribute.list.type.extend(entry.as_datatype_enum for entry in value)
        else:
            attribute.list.i.extend(value)
        made[name] = attribute
    return tf1.get_default_graph().create_op(op, inputs, [dtype], attrs=made, name=op.strip("_")).outputs[0]


V, T = (1, 4, 5, 3, 2), (1, 9, 4)
LINE = {"x": T, "at": (1,), "out": (1,)}
CUBE = {"x": V, "at": (1, 2, 3), "out": (1, 2, 3)}
WHOLE = {"out": (None, None)}
FIRST = {"out": (2, 3)}  # channels first


def held(x, block, pads, crops, conv):
    y = raw.SpaceToBatchND(input=x, block_shape=block, paddings=pads)
    return raw.BatchToSpaceND(input=conv(y), block_shape=block, crops=crops)


def variable(x, kind):
    if kind == "resource":
        handle = raw.VarHandleOp(dtype=F64, shape=(3, 3, 4, 2), shared_name="v")
        assign = raw.AssignVariableOp(resource=handle, value=w(3, 3, 4, 2))
        with tf.control_dependencies([assign]):
            value = raw.ReadVariableOp(resource=handle, dtype=F64)
    else:
        op = raw.VariableV2 if kind == "v2" else raw.Variable
        value = op(shape=(3, 3, 4, 2), dtype=F64)
        value = raw.Assign(ref=value, value=w(3, 3, 4, 2)) if False else value
    return tf.nn.conv2d(x, value, 1, "SAME")


def stateful():
    return tf.random.uniform([], dtype=F64) * 0.0


def shape_of_variable(x):
    handle = raw.VarHandleOp(dtype=F64, shape=IMAGE, shared_name="s")
    with tf.control_dependencies([raw.AssignVariableOp(resource=handle, value=tf.zeros(IMAGE, F64))]):
        return raw.VariableShape(input=handle)


def array_size(x):
    handle, flow = raw.TensorArrayV3(size=1, dtype=F64)
    flow = raw.TensorArrayScatterV3(handle=handle, indices=[0], value=x, flow_in=flow)
    return raw.TensorArraySizeV3(handle=handle, flow_in=flow)


def scores(x):
    return tf.reshape(f(x), (42, 4))


# fmt: off
CASES = [
    # Windows.
    Case("Conv2D", lambda x: tf.nn.conv2d(x, w(3, 2, 4, 3), (2, 1), "SAME")),
    Case("Conv2D", lambda x: tf.nn.conv2d(x, w(3, 3, 4, 3), 2, "SAME", dilations=1), x=(1, 7, 8, 4)),
    Case("Conv2D", lambda x: tf.nn.conv2d(x, w(2, 3, 4, 3), 1, "VALID")),
    Case("Conv2D", lambda x: tf.nn.conv2d(x, w(3, 3, 4, 3), 2, [[0, 0], [2, 1], [0, 1], [0, 0]])),
    Case("Conv2D", lambda x: raw.Conv2D(input=x, filter=w(3, 2, 4, 3), strides=[1] * 4, padding="SAME",
                                        dilations=[1, 2, 3, 1])),
    Case("Conv2D", lambda x: tf.nn.conv2d(x, w(3, 3, 2, 6), 1, "SAME")),  # two groups
    Case("Conv2D", lambda x: tf.nn.conv1d(x, w(3, 4, 2), 2, "SAME"), **LINE),
    Case("Conv2D", lambda x: variable(x, "resource"), exact=False),
    Case("Conv2D", lambda x: tf.nn.conv2d(x, tf.reshape(tf.reduce_mean(x, (1, 2)), (1, 1, 4, 1)), 1, "SAME")),
    Case("Conv3D", lambda x: tf.nn.conv3d(x, w(3, 1, 2, 2, 3), [1, 2, 1, 1, 1], "SAME"), **CUBE),
    Case("Conv3D", lambda x: tf.nn.conv3d(x, w(2, 3, 2, 2, 3), [1] * 5, "VALID"), **CUBE),
    Case("DepthwiseConv2dNative", lambda x: tf.nn.depthwise_conv2d(x, w(3, 2, 4, 2), [1, 2, 2, 1], "SAME")),
    Case("DepthwiseConv2dNative", lambda x: tf.nn.separable_conv2d(
        x, w(3, 3, 4, 1), w(1, 1, 4, 2), [1] * 4, "VALID")),
    Case("_FusedConv2D", lambda x: internal(
        "_FusedConv2D", [f(x), w(3, 3, 4, 2, dtype=F32), w(2, dtype=F32)], F32, T=F32, num_args=1, num_host_args=0,
        TArgs=[F32], strides=[1, 2, 2, 1], padding="SAME", fused_ops=["BiasAdd", "Relu"])),
    Case("FusedPadConv2D", lambda x: raw.FusedPadConv2D(
        input=x, paddings=[[0, 0], [1, 1], [1, 2], [0, 0]], filter=w(3, 3, 4, 2), mode="REFLECT",
        strides=[1, 1, 1, 1], padding="VALID"), exact=False),
    Case("FusedResizeAndPadConv2D", lambda x: raw.FusedResizeAndPadConv2D(
        input=f(x), size=[6, 14], paddings=[[0, 0], [1, 1], [1, 1], [0, 0]], filter=w(3, 3, 4, 2, dtype=F32),
        mode="REFLECT", strides=[1, 1, 1, 1], padding="VALID"), exact=False),
    Case("Conv2DBackpropInput", lambda x: tf.nn.conv2d_transpose(x, w(3, 2, 3, 4), (1, 12, 7, 3), (2, 1), "SAME")),
    Case("Conv2DBackpropInput", lambda x: tf.nn.conv2d_transpose(x, w(3, 3, 3, 4), (1, 11, 13, 3), 2, "SAME")),
    Case("Conv2DBackpropInput", lambda x: tf.nn.conv2d_transpose(x, w(2, 2, 3, 4), (1, 17, 21, 3), 3, "VALID")),
    Case("Conv2DBackpropInput", lambda x: tf.nn.conv2d_transpose(x, w(4, 3, 3, 4), (1, 15, 16, 3), 2, "VALID")),
    Case("Conv2DBackpropInput", lambda x: raw.Conv2DBackpropInput(
        input_sizes=[1, 11, 12, 3], filter=w(3, 3, 3, 4), out_backprop=x, strides=[1, 2, 2, 1], padding="EXPLICIT",
        explicit_paddings=[0, 0, 1, 1, 1, 2, 0, 0])),
    Case("Conv2DBackpropInput", lambda x: tf.nn.conv2d_transpose(
        x, w(3, 3, 3, 4), tf.stack([tf.shape(x)[0], tf.shape(x)[1] * 2, tf.shape(x)[2] * 2, 3]), 2, "SAME")),
    Case("Conv3DBackpropInputV2", lambda x: tf.nn.conv3d_transpose(
        x, w(3, 2, 2, 3, 2), (1, 8, 5, 6, 3), (2, 1, 2), "SAME"), **CUBE),
    Case("DepthwiseConv2dNativeBackpropInput", lambda x: raw.DepthwiseConv2dNativeBackpropInput(
        input_sizes=[1, 12, 14, 4], filter=w(3, 3, 4, 1), out_backprop=x, strides=[1, 2, 2, 1], padding="SAME")),
    Case("MaxPool", lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME")),
    Case("MaxPool", lambda x: raw.MaxPool(input=x, ksize=[1, 3, 2, 1], strides=[1, 1, 2, 1], padding="VALID")),
    Case("MaxPool", lambda x: raw.MaxPool(input=f(x), ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="EXPLICIT",
                                          explicit_paddings=[0, 0, 1, 0, 1, 1, 0, 0])),
    Case("MaxPool", lambda x: raw.MaxPool(input=f(x), ksize=[1, 1, 1, 2], strides=[1, 1, 1, 2], padding="VALID")),
    Case("MaxPoolV2", lambda x: raw.MaxPoolV2(input=x, ksize=[1, 2, 3, 1], strides=[1, 2, 1, 1], padding="SAME")),
    Case("MaxPool3D", lambda x: tf.nn.max_pool3d(f(x), 2, 1, "SAME"), **CUBE),
    Case("MaxPoolWithArgmax", lambda x: tf.nn.max_pool_with_argmax(f(x), 2, 2, "SAME")),
    Case("MaxPoolWithArgmax", lambda x: tf.nn.max_pool_with_argmax(f(x), 2, 2, "VALID")[1], exact=False),
    Case("AvgPool", lambda x: tf.nn.avg_pool2d(x, (3, 2), (2, 2), "SAME")),
    Case("AvgPool3D", lambda x: tf.nn.avg_pool3d(f(x), 2, 2, "VALID"), **CUBE),
    Case("Dilation2D", lambda x: raw.Dilation2D(
        input=x, filter=w(2, 3, 4), strides=[1, 1, 2, 1], rates=[1, 2, 1, 1], padding="SAME")),
    Case("ExtractImagePatches", lambda x: tf.image.extract_patches(
        x, [1, 2, 3, 1], [1, 2, 1, 1], [1, 2, 1, 1], "SAME")),
    Case("ExtractVolumePatches", lambda x: tf.extract_volume_patches(x, [1, 2, 1, 2, 1], [1, 1, 2, 1, 1], "VALID"),
         **CUBE),
    Case("AudioSpectrogram", lambda x: raw.AudioSpectrogram(input=f(x), window_size=5, stride=3),
         x=(17, 1), at=(0,), out=(1,), exact=False),
    # Atrous convolutions, as TensorFlow 1 wrote them.
    Case("BatchToSpaceND", lambda x: held(x, [2, 2], [[2, 2], [2, 3]], [[0, 0], [0, 1]], lambda y: tf.nn.conv2d(
        y, w(3, 3, 4, 3), 1, "VALID"))),
    Case("BatchToSpaceND", lambda x: held(x, [2, 3], [[1, 3], [0, 2]], [[1, 0], [0, 0]], lambda y: tf.nn.relu(
        tf.nn.bias_add(tf.nn.conv2d(y, w(2, 2, 4, 3), 1, "VALID"), w(3))))),
    Case("SpaceToBatchND", lambda x: held(x, [2, 2], [[0, 0], [0, 1]], [[0, 0], [0, 1]], lambda y: tf.nn.conv2d(
        y, w(3, 3, 4, 3), 1, [[0, 0], [1, 1], [1, 1], [0, 0]]))),  # not one: it pads inside
    Case("SpaceToBatchND", lambda x: held(x, [2, 2], [[0, 0], [0, 1]], [[0, 0], [0, 1]], lambda y: y * 2.0)),
    Case("SpaceToBatchND", lambda x: tf.nn.atrous_conv2d(x, w(3, 3, 4, 2), 2, "SAME")),
    Case("DepthwiseConv2dNative", lambda x: tf.nn.depthwise_conv2d(
        x, w(3, 3, 4, 1), [1] * 4, "SAME", dilations=[2, 2])),
    Case("Conv2D", lambda x: tf.nn.convolution(x, w(3, 4, 2), padding="SAME", dilations=[2]), **LINE),
    Case("SpaceToBatchND", lambda x: held(x, [2], [[4, 1]], [[0, 1]], lambda y: tf.nn.conv1d(
        y, w(3, 4, 2), 1, "VALID")), **LINE),
    Case("SpaceToBatch", lambda x: raw.BatchToSpace(input=raw.SpaceToBatch(
        input=x, paddings=[[0, 0], [1, 0]], block_size=2), crops=[[0, 0], [1, 0]], block_size=2)),
    Case("BatchToSpace", lambda x: raw.BatchToSpace(input=raw.SpaceToBatch(
        input=x, paddings=[[0, 0], [1, 0]], block_size=2), crops=[[0, 0], [0, 0]], block_size=2)),
    # Resolutions.
    *(Case("ResizeBilinear", lambda x, size=size, how=how: raw.ResizeBilinear(images=x, size=size, **how))
      for size in ([12, 14], [9, 4], [3, 7], [1, 5])
      for how in ({}, {"align_corners": True}, {"half_pixel_centers": True})),
    *(Case("ResizeNearestNeighbor",
           lambda x, size=size, how=how: raw.ResizeNearestNeighbor(images=x, size=size, **how))
      for size in ([12, 14], [9, 4], [3, 7], [1, 5])
      for how in ({}, {"align_corners": True}, {"half_pixel_centers": True})),
    Case("ResizeBicubic", lambda x: raw.ResizeBicubic(images=x, size=[12, 14], half_pixel_centers=True)),
    Case("ResizeBicubic", lambda x: raw.ResizeBicubic(images=x, size=[12, 7])),
    Case("ResizeArea", lambda x: raw.ResizeArea(images=x, size=[3, 7])),
    Case("ResizeArea", lambda x: raw.ResizeArea(images=x, size=[4, 10])),
    Case("ResizeBilinear", lambda x: tf1.image.resize_bilinear(x, tf.shape(x)[1:3] * 2)),
    Case("CropAndResize", lambda x: tf.image.crop_and_resize(f(x), [[0.0, 0, 1, 1]], [0], [3, 3]),
         **WHOLE, exact=False),
    Case("DepthToSpace", lambda x: tf.nn.depth_to_space(x, 2)),
    Case("SpaceToDepth", lambda x: tf.nn.space_to_depth(x, 2), x=(1, 6, 8, 2)),
    # Normalisations, reductions, mixtures.
    Case("FusedBatchNorm", lambda x: raw.FusedBatchNorm(
        x=f(x), scale=[1.0] * 4, offset=[0.0] * 4, mean=[0.0] * 4, variance=[1.0] * 4, is_training=False)),
    Case("FusedBatchNormV2", lambda x: raw.FusedBatchNormV2(
        x=f(x), scale=[1.0] * 4, offset=[0.0] * 4, mean=[0.0] * 4, variance=[1.0] * 4, is_training=False)),
    Case("FusedBatchNormV3", lambda x: raw.FusedBatchNormV3(
        x=f(x), scale=[1.0] * 4, offset=[0.0] * 4, mean=[0.0] * 4, variance=[1.0] * 4, is_training=False)),
    Case("FusedBatchNormV3", lambda x: raw.FusedBatchNormV3(
        x=f(x), scale=[1.0] * 4, offset=[0.0] * 4, mean=[], variance=[], is_training=True)),
    Case("BatchNormWithGlobalNormalization", lambda x: removed(
        "BatchNormWithGlobalNormalization", [f(x), *[w(4, dtype=F32)] * 4], variance_epsilon=0.1,
        scale_after_normalization=True)),
    Case("AdjustContrastv2", lambda x: raw.AdjustContrastv2(images=f(x), contrast_factor=2.0)),
    Case("Mean", lambda x: tf.reduce_mean(x, (1, 2), keepdims=True)),
    Case("Mean", lambda x: tf.reduce_mean(x, 2), out=(1, None)),
    Case("Sum", lambda x: tf.reduce_sum(x, -1, keepdims=True)),
    Case("Max", lambda x: tf.reduce_max(x), **WHOLE),
    Case("Min", lambda x: tf.reduce_min(x, 3)),
    Case("Prod", lambda x: tf.reduce_prod(x, 3, keepdims=True)),
    Case("All", lambda x: tf.reduce_all(x > -1.9, 3)),
    Case("Any", lambda x: tf.reduce_any(x > 1.9, 3)),
    Case("EuclideanNorm", lambda x: tf.math.reduce_euclidean_norm(x, 3)),
    Case("ArgMax", lambda x: tf.argmax(x, 3), exact=False),
    Case("ArgMin", lambda x: tf.argmin(x, 1), out=(None, 1), exact=False),
    Case("Softmax", lambda x: tf.nn.softmax(x)),
    Case("LogSoftmax", lambda x: raw.LogSoftmax(logits=x)),
    Case("L2Loss", lambda x: tf.nn.l2_loss(x), **WHOLE),
    Case("SoftmaxCrossEntropyWithLogits", lambda x: tf.reshape(raw.SoftmaxCrossEntropyWithLogits(
        features=scores(x), labels=tf.ones((42, 4)))[0], (1, 6, 7, 1))),
    Case("SparseSoftmaxCrossEntropyWithLogits", lambda x: tf.reshape(raw.SparseSoftmaxCrossEntropyWithLogits(
        features=scores(x), labels=[0] * 42)[0], (1, 6, 7, 1))),
    Case("Cumsum", lambda x: tf.cumsum(x, 1), exact=False),
    Case("Cumprod", lambda x: tf.math.cumprod(x, 3)),
    Case("CumulativeLogsumexp", lambda x: tf.math.cumulative_logsumexp(x, 3)),
    Case("TopKV2", lambda x: tf.nn.top_k(x, 2)[0]),
    Case("InTopKV2", lambda x: tf.reshape(tf.math.in_top_k([0] * 42, scores(x), 2), (1, 6, 7, 1)), exact=False),
    Case("InTopK", lambda x: tf.reshape(raw.InTopK(predictions=scores(x), targets=[0] * 42, k=2), (1, 6, 7, 1)),
         exact=False),
    # Products.
    Case("MatMul", lambda x: tf.reshape(tf.matmul(tf.reshape(x, (42, 4)), w(4, 3)), (1, 6, 7, 3))),
    Case("MatMul", lambda x: tf.reshape(tf.matmul(w(3, 4), tf.reshape(x, (42, 4)), transpose_b=True), (3, 6, 7))),
    Case("MatMul", lambda x: tf.matmul(tf.reshape(x, (1, 168)), w(168, 3)), **WHOLE),
    Case("BatchMatMulV2", lambda x: tf.matmul(x, w(1, 1, 4, 3))),
    Case("BatchMatMul", lambda x: raw.BatchMatMul(x=w(1, 6, 3, 4), y=x, adj_y=True), out=(1, 3)),
    Case("BatchMatMulV3", lambda x: raw.BatchMatMulV3(x=x, y=w(1, 6, 4, 3), Tout=F64)),
    Case("SparseMatMul", lambda x: tf.reshape(raw.SparseMatMul(a=scores(x), b=tf.ones((4, 3))), (1, 6, 7, 3))),
    Case("_FusedMatMul", lambda x: tf.reshape(internal(
        "_FusedMatMul", [scores(x), w(4, 3, dtype=F32), w(3, dtype=F32)], F32, T=F32, num_args=1,
        fused_ops=["BiasAdd"]), (1, 6, 7, 3))),
    Case("Einsum", lambda x: tf.einsum("bhwc,cd->bhwd", x, w(4, 5))),
    Case("Einsum", lambda x: tf.einsum("...c,cd->...d", x, w(4, 5))),
    # Elements moved, dropped, added.
    Case("Pad", lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 3]])),
    Case("PadV2", lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], constant_values=3)),
    Case("MirrorPad", lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], "REFLECT"), exact=False),
    Case("MirrorPad", lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], "SYMMETRIC"), exact=False),
    Case("StridedSlice", lambda x: x[:, 1:5:2, -3:]),
    Case("StridedSlice", lambda x: x[..., 2:], exact=True),
    Case("StridedSlice", lambda x: x[:, 2, tf.newaxis, ..., 1:3], out=(None, 2)),
    Case("StridedSlice", lambda x: x[tf.newaxis, ..., -1], out=(2, 3)),
    Case("StridedSlice", lambda x: x[:, -2:-1, :, ::-1]),
    Case("StridedSlice", lambda x: x[:, -1], out=(None, 1)),
    Case("StridedSlice", lambda x: x[:, :tf.shape(x)[1] - 2, 1:]),
    Case("Slice", lambda x: tf.slice(x, [0, 1, 2, 0], [-1, 3, -1, 2])),
    Case("Split", lambda x: tf.concat(tf.split(x, 2, 3)[::-1], 3)),
    Case("Split", lambda x: tf.split(x, 3, 1)[1]),
    Case("SplitV", lambda x: tf.split(x, [1, -1, 3], 2)[1]),
    Case("Unpack", lambda x: tf.stack(tf.unstack(x, axis=3)[::-1], 3)),
    Case("Unpack", lambda x: tf.unstack(x, axis=1)[2], out=(None, 1)),
    Case("Pack", lambda x: tf.stack([x, 2 * x], 1), out=(2, 3)),
    Case("ConcatV2", lambda x: tf.concat([x, x[:, 1:]], 1)),
    Case("Concat", lambda x: raw.Concat(concat_dim=3, values=[x, x])),
    Case("GatherV2", lambda x: tf.gather(x, [2, 0], axis=3)),
    Case("GatherV2", lambda x: tf.gather(x, [1, 3, 5], axis=1)),
    Case("GatherV2", lambda x: tf.gather(w(3, 5), tf.cast(x > 0, tf.int32))[..., 0, :], exact=False),
    Case("GatherV2", lambda x: tf.gather(x, tf.cast(x[..., 0] > 0, tf.int32), batch_dims=1), unknown="batch"),
    Case("Gather", lambda x: tf.transpose(raw.Gather(params=tf.transpose(x, (1, 0, 2, 3)), indices=[1, 2]),
                                          (1, 0, 2, 3))),
    Case("Tile", lambda x: tf.tile(x, (1, 1, 2, 2))),
    Case("Tile", lambda x: tf.tile(tf.reduce_mean(x, (1, 2), keepdims=True), (1, 3, 2, 1))),
    Case("BroadcastTo", lambda x: tf.broadcast_to(x, (3, 6, 7, 4))),
    Case("Roll", lambda x: tf.roll(x, (1, -2), (1, 2)), exact=False),
    Case("ReverseV2", lambda x: tf.reverse(x, [3])),
    Case("ReverseV2", lambda x: tf.reverse(x, [1]), exact=False),
    Case("Reverse", lambda x: raw.Reverse(tensor=x, dims=[False, False, False, True])),
    Case("OneHot", lambda x: tf.one_hot(tf.cast(x[..., 0] > 0, tf.int32), 5)),
    # Numbering.
    Case("Reshape", lambda x: tf.reshape(tf.reshape(x, (1, 42, 4)), (-1, 6, 7, 2, 2))),
    Case("Squeeze", lambda x: tf.squeeze(x), out=(0, 1)),
    Case("Squeeze", lambda x: tf.squeeze(x, [0]), out=(0, 1)),
    Case("ExpandDims", lambda x: tf.expand_dims(x, 1), out=(2, 3)),
    Case("ExpandDims", lambda x: tf.expand_dims(x, -1)),
    Case("Transpose", lambda x: tf.transpose(x, (3, 2, 0, 1)), out=(3, 1)),
    Case("ConjugateTranspose", lambda x: raw.ConjugateTranspose(x=x, perm=[0, 2, 1, 3]), out=(2, 1)),
    # Functions of one element that are more than a name.
    Case("BiasAdd", lambda x: tf.nn.bias_add(x, tf.reduce_mean(x, (0, 1, 2)))),
    Case("BiasAdd", lambda x: raw.BiasAdd(value=channels_first(x), bias=tf.reduce_mean(x, (0, 1, 2)),
                                          data_format="NCHW"), **FIRST),
    Case("Select", lambda x: raw.Select(condition=x > 0, x=x, y=-2 * x)),
    Case("Select", lambda x: raw.Select(condition=tf.reduce_mean(x, (1, 2, 3)) > 0, x=x, y=-2 * x), exact=False),
    Case("Cast", lambda x: tf.cast(x, tf.int32)),
    Case("FloorDiv", lambda x: x // 0.01),
    Case("FloorDiv", lambda x: tf.slice(
        x, [0, 0, 0, 0], tf.stack([1, tf.shape(x)[1] // 2, -(-tf.shape(x)[2] // 2), 4]))),
    Case("Identity", lambda x: tf.identity(x)),
    Case("StopGradient", lambda x: tf.stop_gradient(x)),
    Case("Snapshot", lambda x: raw.Snapshot(input=x)),
    Case("EnsureShape", lambda x: tf.ensure_shape(x, (1, 6, 7, 4))),
    Case("Print", lambda x: raw.Print(input=x, data=[], first_n=0)),
    Case("IdentityN", lambda x: tf.identity_n([x * 2, x])[1]),
    # Constants, and what is known from shapes.
    Case("ShapeN", lambda x: tf.reshape(tf.reshape(x, [-1]), tf.shape_n([x, x])[1])),
    Case("Shape", lambda x: tf.reshape(tf.reshape(x, [-1]), raw.Shape(input=x))),
    Case("VariableShape", lambda x: tf.reshape(x, shape_of_variable(x))),
    Case("Rank", lambda x: tf.reduce_mean(x, raw.Rank(input=x) - 1)),
    Case("Size", lambda x: tf.reshape(x, tf.stack([1, 6, 7, raw.Size(input=x) // 42]))),
    Case("Range", lambda x: tf.gather(x, tf.range(1, 6, 2), axis=1)),
    Case("LinSpace", lambda x: x + raw.LinSpace(start=w(), stop=2 * w(), num=4)),
    Case("Fill", lambda x: x + tf.fill([7, 4], w())),
    Case("Fill", lambda x: tf.fill([1, 6, 7, 4], tf.reduce_sum(x)), **WHOLE),
    Case("Fill", lambda x: tf.reshape(x, tf.fill([2], 1) * [6, 28]), at=(1,), out=(0,)),
    Case("ZerosLike", lambda x: x + raw.ZerosLike(x=x)),
    Case("OnesLike", lambda x: x + raw.OnesLike(x=x)),
    Case("OnesLike", lambda x: tf.slice(x, [0] * 4, raw.OnesLike(x=tf.shape(x)) * 3 - [2, 0, 0, 0])),
    Case("BroadcastArgs", lambda x: tf.broadcast_to(x, raw.BroadcastArgs(s0=[3, 1, 1, 4], s1=[6, 7, 1]))),
    Case("RandomUniform", lambda x: x + 0 * tf.random.uniform([7, 4], dtype=F64)),
    Case("RandomStandardNormal", lambda x: x + 0 * tf.random.normal([7, 4], dtype=F64)),
    Case("TruncatedNormal", lambda x: x + 0 * tf.random.truncated_normal([7, 4], dtype=F64)),
    Case("RandomUniformInt", lambda x: x + 0 * tf.cast(tf.random.uniform([7, 4], maxval=3, dtype=tf.int32), F64)),
    Case("StatelessRandomUniform", lambda x: x + raw.StatelessRandomUniform(shape=[7, 4], seed=[1, 2], dtype=F64)),
    Case("StatelessRandomNormal", lambda x: x + raw.StatelessRandomNormal(shape=[7, 4], seed=[1, 2], dtype=F64)),
    Case("StatelessTruncatedNormal", lambda x: x + raw.StatelessTruncatedNormal(shape=[7, 4], seed=[1, 2], dtype=F64)),
    Case("StatelessRandomUniformV2", lambda x: x + tf.random.stateless_uniform([7, 4], [1, 2], dtype=F64)),
    Case("StatelessRandomNormalV2", lambda x: x + tf.random.stateless_normal([7, 4], [1, 2], dtype=F64)),
    Case("StatelessTruncatedNormalV2",
         lambda x: x + tf.random.stateless_truncated_normal([7, 4], [1, 2], dtype=F64)),
    Case("Empty", lambda x: x + raw.Empty(shape=[7, 4], dtype=F64, init=True)),
    # What selects by contents.
    Case("Where", lambda x: tf.reduce_sum(tf.where(x > 0)), **WHOLE),
    Case("Unique", lambda x: tf.reduce_sum(tf.unique(tf.reshape(x, [-1]))[0]), **WHOLE),
    Case("UniqueV2", lambda x: tf.reduce_sum(raw.UniqueV2(x=tf.reshape(x, [-1]), axis=[0])[0]), **WHOLE),
    Case("Bincount", lambda x: tf.reduce_sum(raw.Bincount(
        arr=tf.reshape(tf.cast(tf.abs(x), tf.int32), [-1]), size=5, weights=tf.zeros([0], F64)) * w(5)),
        **WHOLE, exact=False),
    Case("DenseBincount", lambda x: tf.reduce_sum(raw.DenseBincount(
        input=tf.reshape(tf.cast(tf.abs(x), tf.int32), [-1]), size=20, weights=tf.zeros([0], F64)) * w(20)),
        **WHOLE, exact=False),
    Case("HistogramFixedWidth", lambda x: tf.reduce_sum(
        tf.cast(raw.HistogramFixedWidth(values=x, value_range=[-9.0, 9.0], nbins=30), F64) * w(30)), **WHOLE),
    Case("NonMaxSuppression", lambda x: tf.reduce_sum(raw.NonMaxSuppression(
        boxes=scores(x), scores=scores(x)[:, 0], max_output_size=9)), **WHOLE, exact=False),
    Case("NonMaxSuppressionV2", lambda x: tf.reduce_sum(raw.NonMaxSuppressionV2(
        boxes=scores(x), scores=scores(x)[:, 0], max_output_size=9, iou_threshold=0.5)), **WHOLE, exact=False),
    Case("NonMaxSuppressionV3", lambda x: tf.reduce_sum(raw.NonMaxSuppressionV3(
        boxes=scores(x), scores=scores(x)[:, 0], max_output_size=9, iou_threshold=0.5, score_threshold=0.0)),
        **WHOLE, exact=False),
    Case("NonMaxSuppressionV4", lambda x: raw.NonMaxSuppressionV4(
        boxes=scores(x), scores=scores(x)[:, 0], max_output_size=9, iou_threshold=0.5, score_threshold=0.0)[1],
        **WHOLE, exact=False),
    Case("NonMaxSuppressionV5", lambda x: raw.NonMaxSuppressionV5(
        boxes=scores(x), scores=scores(x)[:, 0], max_output_size=9, iou_threshold=0.5, score_threshold=0.0,
        soft_nms_sigma=0.0)[2], **WHOLE, exact=False),
    Case("CombinedNonMaxSuppression", lambda x: tf.reduce_sum(raw.CombinedNonMaxSuppression(
        boxes=scores(x)[None, :, None], scores=scores(x)[None], max_output_size_per_class=3, max_total_size=5,
        iou_threshold=0.5, score_threshold=0.0)[1]), **WHOLE, exact=False),
    # Quantised.
    Case("QuantizeV2", lambda x: floats(quantised(x))),
    Case("QuantizedRelu", lambda x: floats(raw.QuantizedRelu(
        features=quantised(x)[0], min_features=-9.0, max_features=9.0))),
    Case("QuantizedRelu6", lambda x: floats(raw.QuantizedRelu6(
        features=quantised(x)[0], min_features=-9.0, max_features=9.0)), exact=False),
    Case("QuantizedReshape", lambda x: floats(raw.QuantizedReshape(
        tensor=quantised(x)[0], shape=[1, 6, 7, 2, 2], input_min=-9.0, input_max=9.0))),
    Case("QuantizedMaxPool", lambda x: floats(raw.QuantizedMaxPool(
        input=quantised(x)[0], min_input=-9.0, max_input=9.0, ksize=[1, 2, 2, 1], strides=[1, 1, 1, 1],
        padding="VALID"))),
    Case("QuantizedAvgPool", lambda x: floats(raw.QuantizedAvgPool(
        input=quantised(x)[0], min_input=-9.0, max_input=9.0, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1],
        padding="SAME"))),
    Case("QuantizedResizeBilinear", lambda x: floats(raw.QuantizedResizeBilinear(
        images=quantised(x)[0], size=[12, 14], min=-9.0, max=9.0)), exact=False),
    Case("QuantizedConcat", lambda x: floats(raw.QuantizedConcat(
        concat_dim=3, values=[quantised(x)[0]] * 2, input_mins=[-9.0] * 2, input_maxes=[9.0] * 2))),
    Case("QuantizedBiasAdd", lambda x: floats(raw.QuantizedBiasAdd(
        input=quantised(x)[0], bias=bytes_of(1, 2, 3, 4), min_input=-9.0, max_input=9.0,
        min_bias=0.0, max_bias=4.0, out_type=tf.qint32))),
    Case("QuantizedAdd", lambda x: floats(raw.QuantizedAdd(
        x=quantised(x)[0], y=quantised(x)[0], min_x=-9.0, max_x=9.0, min_y=-9.0, max_y=9.0))),
    Case("QuantizedMul", lambda x: floats(raw.QuantizedMul(
        x=quantised(x)[0], y=quantised(x)[0], min_x=-9.0, max_x=9.0, min_y=-9.0, max_y=9.0))),
    Case("QuantizedConv2D", lambda x: floats(raw.QuantizedConv2D(
        input=quantised(x)[0], filter=tf.reshape(bytes_of(*range(200, 254)), (3, 3, 3, 2)),
        min_input=-9.0, max_input=9.0, min_filter=-1.0, max_filter=1.0, strides=[1, 2, 2, 1], padding="SAME")),
        x=(1, 6, 7, 3)),
    Case("QuantizedMatMul", lambda x: tf.reshape(floats(raw.QuantizedMatMul(
        a=tf.reshape(quantised(x)[0], (42, 4)), b=tf.reshape(bytes_of(*range(140, 148)), (4, 2)),
        min_a=-9.0, max_a=9.0, min_b=-1.0, max_b=1.0)), (1, 6, 7, 2))),
    # Control flow of TensorFlow 1, and functions.
    Case("Merge", lambda x: tf1.cond(
        tf.reduce_sum(x) > 0, lambda: tf.nn.avg_pool2d(x, 3, 1, "SAME"), lambda: x * 2), old=True, exact=False),
    Case("Merge", lambda x: tf1.cond(
        tf.constant(False), lambda: tf.nn.avg_pool2d(x, 3, 1, "SAME"), lambda: x * 2), old=True),
    Case("Merge", lambda x: tf1.cond(
        tf1.placeholder_with_default(True, []), lambda: tf.nn.avg_pool2d(x, 3, 1, "SAME"),
        lambda: tf.zeros(IMAGE, F64)), old=True),
    Case("If", lambda x: tf.cond(
        tf.reduce_sum(x) > 0, lambda: tf.nn.avg_pool2d(x, 3, 1, "SAME"), lambda: x * stateful()), exact=False),
    Case("While", lambda x: tf.while_loop(lambda i, y: i < 2, lambda i, y: (
        i + 1, tf.nn.avg_pool2d(y, 3, 1, "SAME") + stateful()), (0, x))[1]),
    Case("StatefulPartitionedCall", lambda x: tf.function(lambda y: tf.nn.relu(y) + stateful())(x)),
    Case("StatelessIf", lambda x: tf.cond(tf.rank(x) > 3, lambda: tf.nn.avg_pool2d(x, 3, 1, "SAME"), lambda: x * 2)),
    Case("StatelessCase", lambda x: tf.switch_case(tf.rank(x) - 3, [
        lambda: x, lambda: tf.nn.avg_pool2d(x, 3, 1, "SAME"), lambda: x * 2])),
    Case("StatelessWhile", lambda x: tf.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, tf.nn.avg_pool2d(y, 3, 1, "SAME")), (0, x))[1]),
    Case("StatelessWhile", lambda x: tf.while_loop(
        lambda y: tf.reduce_sum(y) > 0, lambda y: (y - 1,), (x,))[0], unknown="how often"),
    Case("Exit", lambda x: tf.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, tf.nn.avg_pool2d(y, 3, 1, "SAME")), (0, x))[1], old=True),
    Case("Exit", lambda x: tf.while_loop(  # a loop within a loop, and a tensor that comes from outside
        lambda i, y: i < 2, lambda i, y: (i + 1, tf.while_loop(lambda j, z: j < i + 1, lambda j, z: (
            j + 1, tf.nn.avg_pool2d(z, (2, 1), 1, "SAME") * x), (0, y))[1]), (0, x))[1], old=True),
    Case("Exit", lambda x: tf.while_loop(
        lambda y: tf.reduce_sum(y) > 0, lambda y: (y - 1,), (x,))[0], old=True, unknown="loop"),
    Case("Exit", lambda x: tf.while_loop(
        lambda i, y: i < 99, lambda i, y: (i + 1, y + 1), (0, x))[1], old=True, unknown="loop"),
    # Of sizes for which no tap lies where the kernel is 0, which is only nearly so in floats.
    *(Case("ScaleAndTranslate", lambda x, method=method, antialias=antialias, size=size: tf.cast(tf.image.resize(
        tf.cast(x, F32), size, method=method, antialias=antialias), F64))
      for method, antialias, size in (
          ("bilinear", True, (3, 4)), ("bilinear", True, (9, 7)), ("bicubic", True, (4, 3)),
          ("lanczos3", False, (9, 8)), ("lanczos3", True, (4, 4)), ("lanczos5", True, (5, 8)),
          ("gaussian", False, (6, 9)), ("gaussian", True, (3, 7)))),
    Case("ScaleAndTranslate", lambda x: tf.cast(tf.image.resize(tf.cast(x, F32), (3, 4), method="mitchellcubic"), F64),
         unknown="taps"),
    Case("ScaleAndTranslate", lambda x: tf.cast(raw.ScaleAndTranslate(
        images=tf.cast(x, F32), size=(3, 4), scale=(0.5, 0.5), translation=(0.0, 1.0)), F64), unknown="moves"),
    Case("ScaleAndTranslate", lambda x: tf.cast(raw.ScaleAndTranslate(
        images=tf.cast(x, F32), size=(3, 4), scale=(0.4, 0.5), translation=(0.0, 0.0)), F64), unknown="its scale"),
    Case("TensorArrayReadV3", lambda x: tf.map_fn(lambda row: tf.nn.avg_pool2d(row[None], 3, 1, "SAME")[0], x),
         old=True),
    Case("TensorListStack", lambda x: tf.map_fn(lambda row: tf.nn.avg_pool2d(row[None], 3, 1, "SAME")[0], x)),
    Case("TensorListLength", lambda x: tf.reshape(x, tf.stack([1, 6, 7 * raw.TensorListLength(
        input_handle=raw.TensorListFromTensor(tensor=x, element_shape=IMAGE[1:])), 4]))),
    Case("TensorArraySizeV3", lambda x: tf.reshape(x, tf.stack([1, 6, 7 * array_size(x), 4]))),
    Case("TensorListGetItem", lambda x: tf.scan(lambda a, row: a + row, x), x=(3, 6, 7, 4), unknown="turns hand"),
    Case("PartitionedCall", lambda x: tf.function(lambda y: tf.split(tf.nn.avg_pool2d(y, 3, 1, "SAME"), 2, 3)[1])(x)),
    Case("PartitionedCall", lambda x: tf.function(lambda y: (y, raw.FusedBatchNormV3(
        x=f(y), scale=[1.0] * 4, offset=[0.0] * 4, mean=[0.0] * 4, variance=[1.0] * 4, is_training=False)[0]))(x)[1]),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_an_op_reads(case):
    assert case.op in ops_of(built(case)[0].as_graph_def())
    if case.unknown:
        graph = graph_of(case)
        assert any(d["op"] == "unknown" and case.unknown in d.get("why", "") for _, d in graph.nodes(data=True))
        return
    check_reads(case)


STATISTICS = {
    "QuantizeDownAndShrinkRange": lambda x: floats(
        raw.QuantizeDownAndShrinkRange(input=whole_numbers(x), input_min=-9.0, input_max=9.0, out_type=tf.quint8)
    ),
    "Requantize": lambda x: floats(
        raw.Requantize(
            input=whole_numbers(x), input_min=-9.0, input_max=9.0, requested_output_min=-9.0,
            requested_output_max=9.0, out_type=tf.quint8,
        )
    ),
    "RequantizationRange": lambda x: floats(
        [quantised(x)[0], *raw.RequantizationRange(input=whole_numbers(x), input_min=-9.0, input_max=9.0)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("op", STATISTICS)
def test_ranges_of_quantised_tensors_are_taken_as_constants(op):
    case = Case(op, STATISTICS[op])
    assert op in ops_of(built(case)[0].as_graph_def())
    found = reads(case)
    report = rfgraph.analyze(graph_of(case))
    assert report[report.outputs[-1]].size == (1, 1)
    assert all(found[(*at, *at)] for at in itertools.product(range(6), range(7)))


# Functions that are no more than a name: tensorflow itself says what arguments they take.

#: What else an op needs than its first input, in order.
MORE = {
    "FakeQuantWithMinMaxVars": [-9.0, 9.0],
    "FakeQuantWithMinMaxVarsPerChannel": [[-9.0] * 4, [9.0] * 4],
    "QuantizeAndDequantizeV2": [-9.0, 9.0],
    "QuantizeAndDequantizeV3": [-9.0, 9.0, 8],
    "QuantizeAndDequantizeV4": [-9.0, 9.0],
    "ClipByValue": [-9.0, 9.0],
    "MatrixBandPart": [2, 2],
    "AdjustHue": [0.2],
    "AdjustSaturation": [1.5],
    "BiasAdd": [[1.0] * 4],
    "BiasAddV1": [[1.0] * 4],
    "Dequantize": [-9.0, 9.0],
}
SETTINGS = {
    "QuantizeAndDequantizeV2": {"range_given": True},
    "QuantizeAndDequantizeV3": {"range_given": True},
    "QuantizeAndDequantizeV4": {"range_given": True},
    "Bucketize": {"boundaries": [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]},
    "CheckNumerics": {"message": ""},
    "CheckNumericsV2": {"message": ""},
    "FakeQuantWithMinMaxArgs": {"min": -9.0, "max": 9.0},
    "Bitcast": {"type": tf.int64},
    "Complex": {"Tout": tf.complex128},
}
#: Ops that are defined for some numbers only, or that tell only some apart.
NEAR_ZERO = {"Acos", "Asin", "Atanh", "Erfinv", "RGBToHSV", "HSVToRGB", "AdjustHue", "AdjustSaturation"}
POSITIVE = {"Log", "Sqrt", "Rsqrt", "Digamma", "Lgamma", "Log1p", "Acosh", "Ndtri", "Xlogy", "Xlog1py", "Zeta"}
POSITIVE |= {"Igamma", "Igammac", "Polygamma", "Pow"}
#: Ops of which a number seldom changes what comes out.
COARSE = {"IsNan", "IsInf", "IsFinite", "MatrixBandPart", "NextAfter", "Sign", "Imag", "Conj", "Angle"}
COARSE |= {"ApproximateEqual", "Polygamma", "RightShift"}


def squashed(op, x):
    if op in NEAR_ZERO:
        x = x[..., :3] if op.startswith(("RGB", "HSV", "Adjust")) else x
        return x * 0.05 + 0.5
    return x * (0.05 if op == "Ndtri" else 0.1) + (0.5 if op == "Ndtri" else 2.0) if op in POSITIVE else x


def fitting(argument, op_def, values):
    """Cast tensors to the first element type that an argument may have, of those that tell numbers apart."""
    allowed = [a.allowed_values.list.type for a in op_def.attr if a.name == argument.type_attr]
    types = (F64, F32, tf.complex64, tf.int32, tf.bool, tf.quint8)
    if argument.type:
        kind = tf.DType(argument.type)
    else:
        kind = next(kind for kind in types if not allowed or not allowed[0] or kind.as_datatype_enum in allowed[0])
    if kind == tf.quint8:
        return [quantised(value)[0] for value in values]
    if kind == tf.bool:
        return [value > 0 for value in values]
    if kind == tf.int32:
        return [tf.cast(value * 4 + 40, kind) for value in values]
    return [tf.cast(value, kind) for value in values]


def one_op(op):
    def run(x):
        op_def = op_def_registry.get(op)
        arguments = op_def.input_arg
        make, settings = getattr(raw, op), SETTINGS.get(op, {})
        values = [squashed(op, x)] if op in UNARY else [squashed(op, x), squashed(op, x)[..., ::-1]]
        if op == "SelectV2":
            return make(condition=x > 0, t=x, e=x * 2)
        if arguments[0].number_attr:
            extra = {"shape": IMAGE} if op == "AccumulateNV2" else {}
            return make(inputs=values, **extra)
        values = fitting(arguments[0], op_def, values)
        if op in UNARY:
            more = [
                value if isinstance(value, int) else tf.constant(value, values[0].dtype if a.type_attr == "T" else F32)
                for a, value in zip(arguments[1:], MORE.get(op, ()), strict=True)
            ]
            values = [values[0], *more]
        return make(**{a.name: value for a, value in zip(arguments, values, strict=True)}, **settings)

    return run


#: Ops that TensorFlow.js has besides, which TensorFlow does not run: test_tfjs.py reads them.
OF_TENSORFLOW_JS = {"FusedDepthwiseConv2dNative", "Prelu"}


@pytest.mark.parametrize("op", [*sorted(UNARY), *sorted(set(SEVERAL) - OF_TENSORFLOW_JS)])
def test_a_function_of_elements_reads_its_own_position(op):
    case = Case(op, one_op(op), x=(1, 2, 3, 4), exact=op not in COARSE)
    assert op in ops_of(built(case)[0].as_graph_def())
    check_reads(case)


# What is not followed, loops, and names that only other builds write.


@pytest.mark.parametrize("op", sorted(NOT_FOLLOWED))
def test_what_is_not_followed_says_why(op):
    assert op_def_registry.get(op) is not None
    graph_def = protos.GraphDef()
    graph_def.node.add(name="x", op="Placeholder").attr["shape"].shape.dim.add(size=4)
    graph_def.node.add(name="y", op=op, input=["x"])
    graph = lower(program_of(Model("hand", graph_def)), spatial={"x": (0,)})
    (unknown,) = [d for _, d in graph.nodes(data=True) if d["op"] == "unknown"]
    assert (unknown["of"], unknown["why"]) == (op, NOT_FOLLOWED[op])


#: Ops that tensorflow on a CPU has no kernel or no function for, and those that do the same.
TWINS = {
    "TopK": "TopKV2", "RefIdentity": "Identity", "XlaSharding": "Identity", "_Retval": "Identity",
    "RefEnter": "ReadVariableOp", "Enter": "ReadVariableOp", "LoopCond": "ReadVariableOp",
    "QuantizedDepthwiseConv2D": "DepthwiseConv2dNative", "Variable": "VarHandleOp", "VariableV2": "VarHandleOp",
    "ResourceGather": "Gather",
}  # fmt: skip


def test_every_op_has_a_row():
    rows = {*UNARY, *SEVERAL, *NOT_FOLLOWED, *STATISTICS}
    for case in CASES:
        rows |= ops_of(built(case)[0].as_graph_def())
    assert sorted(set(HANDLERS) - rows - set(TWINS) - OF_TENSORFLOW_JS) == []
    for twin, op in TWINS.items():
        assert HANDLERS.get(twin) is HANDLERS.get(op)


def test_outputs_are_called_as_tensorflow_calls_them():
    for op in set(HANDLERS) - OF_TENSORFLOW_JS:
        names = tuple(argument.name for argument in op_def_registry.get(op).output_arg)
        assert OUTPUTS.get(op, names[:1]) == names, op


def test_messages_are_declared_as_tensorflow_declares_them():
    assert dict(types_pb2.DataType.items()) == protos.DATA_TYPES
    pool = descriptor_pool.Default()
    for name in protos.MESSAGES:
        theirs = pool.FindMessageTypeByName(f"tensorflow.{name}")
        for field in protos.message_class(name).DESCRIPTOR.fields:
            other = theirs.fields_by_number[field.number]
            assert (other.name, other.type, other.is_repeated) == (field.name, field.type, field.is_repeated)
            assert field.containing_oneof is None or other.containing_oneof is not None


# Frozen graphs, whose loops and branches freezing writes node by node.


def frozen(run, shape=(1, 6, 7, 4), lower_control_flow=True):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(run).get_concrete_function(tf.TensorSpec(shape, F32, name="x"))
    return convert_variables_to_constants_v2(function, lower_control_flow=lower_control_flow).graph.as_graph_def()


@pytest.mark.parametrize("lower_control_flow", [True, False])
def test_a_frozen_graph_with_a_loop_has_the_input_of_its_model(lower_control_flow, tmp_path):
    variables = []

    def run(x):
        variables[:] = variables or [tf.Variable(np.full((3, 3, 4, 4), 0.5, "f4"))]
        return tf.while_loop(
            lambda i, y: i < 2, lambda i, y: (i + 1, tf.nn.conv2d(y, variables[0], 1, "SAME")), (0, x)
        )[1]

    graph_def = frozen(run, lower_control_flow=lower_control_flow)
    left = [node.name for node in graph_def.node if node.name.startswith("unused_control_flow_input")]
    assert bool(left) == lower_control_flow
    path = tmp_path / "loop.pb"
    path.write_bytes(graph_def.SerializeToString())
    report = rfgraph.analyze(path)
    (end,) = report.outputs
    assert (report[end].size, report[end].map_size, report[end].status) == ((5, 5), (6, 7), "exact")
    assert report.parameters.count == 3 * 3 * 4 * 4
    check_frozen(report, graph_def, (6, 7))


def check_frozen(report, graph_def, size):
    """Hold the regions of the output of a frozen graph against the pixels that change it."""
    imported = tf.Graph()
    with imported.as_default():
        tf.import_graph_def(graph_def, name="")
    (end,) = report.outputs
    assert report[end].status == "exact"
    x = np.random.default_rng(0).random((1, *size, 4), "f4")
    with tf1.Session(graph=imported) as session:
        run = session.make_callable(imported.get_tensor_by_name("Identity:0"), [imported.get_tensor_by_name("x:0")])
        base = run(x)
        assert report[end].map_size == base.shape[1:3]
        found = np.zeros((*base.shape[1:3], *size), bool)
        for pixel in itertools.product(*map(range, size)):
            for value in (-9.0, 7.0):
                near = x.copy()
                near[0, *pixel] = value
                found[:, :, *pixel] |= (run(near) != base).any(axis=(0, 3))
    for index in itertools.product(*map(range, base.shape[1:3])):
        box, here = report.region(end, index).box, np.argwhere(found[index])
        assert box == (tuple(zip(here.min(0).tolist(), here.max(0).tolist(), strict=True)) if len(here) else None)


def to_a_multiple(x):
    short = tf.cast(tf.math.ceil(tf.shape(x)[1] / 4) * 4, tf.int32) - tf.shape(x)[1]
    return tf.pad(x, [[0, 0], [short // 2, short - short // 2], [0, (-tf.shape(x)[2]) % 5], [0, 0]])


#: What computes with sizes that are open in the file.
OPEN = {
    "central_crop": lambda x: tf.image.central_crop(x, 0.5),
    "resize_with_pad": lambda x: tf.image.resize_with_pad(x, 9, 8),
    "resize_with_crop_or_pad": lambda x: tf.image.resize_with_crop_or_pad(x, 8, 8),
    "preserve_aspect_ratio": lambda x: tf.image.resize(x, (6, 11), preserve_aspect_ratio=True),
    "antialias": lambda x: tf.image.resize(x, (4, 4), antialias=True),
    "multiple": to_a_multiple,
    "half": lambda x: x[:, tf.shape(x)[1] // 2 :, : tf.maximum(tf.shape(x)[2] - 3, 2)],
    "smaller side": lambda x: tf.image.resize(x, 2 * tf.minimum(tf.shape(x)[1:3], 6)),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_is_computed_from_open_sizes_is_read_for_the_size_that_is_given(name, tmp_path):
    graph_def = frozen(lambda x: tf.nn.avg_pool2d(OPEN[name](x), 3, 1, "SAME"), (None, None, None, 4))
    path = tmp_path / "open.pb"
    path.write_bytes(graph_def.SerializeToString())
    check_frozen(rfgraph.analyze(path, input_size=(7, 9)), graph_def, (7, 9))
    graph = rfgraph.load(path)
    whys = [data["why"] for _, data in graph.nodes(data=True) if data["op"] == "unknown"]
    assert whys
    assert "depend" in whys[0]
    assert whys[0].endswith("on the input size; give one")


def test_a_convolution_that_pads_or_resizes_first_learns_its_filter(tmp_path):
    weights = np.full((3, 3, 4, 2), 0.5, "f4")
    pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
    kept = {"mode": "REFLECT", "strides": [1, 1, 1, 1], "padding": "VALID"}
    calls = {
        "pad": lambda x: raw.FusedPadConv2D(input=x, paddings=pads, filter=weights, **kept),
        "both": lambda x: raw.FusedResizeAndPadConv2D(input=x, size=[6, 14], paddings=pads, filter=weights, **kept),
        "dilation": lambda x: raw.Dilation2D(
            input=x, filter=weights[..., 0], strides=[1, 1, 1, 1], rates=[1, 1, 1, 1], padding="SAME"
        ),
    }
    for name, call in calls.items():
        path = tmp_path / f"{name}.pb"
        path.write_bytes(frozen(call, lower_control_flow=True).SerializeToString())
        assert rfgraph.analyze(path).parameters.count == weights.size // (2 if name == "dilation" else 1), name


def test_every_op_that_is_called_after_its_weights_says_which_they_are():
    called = ("Conv", "MatMul", "Bias", "BatchNorm", "Dilation", "Gather")
    silent = [op for op in HANDLERS if any(word in op for word in called) and HANDLERS.learns(op) is None]
    assert [op for op in silent if not op.startswith("TensorArray") and not op.endswith("GatherNd")] == []


def test_sizes_of_a_graph_with_cut_maps_are_those_at_which_it_runs(tmp_path):
    """Of a map of no positions a kernel with SAME padding makes none, and a sum of none is 0."""

    def run(x):
        end = x[:, 3:, :1]
        kernel = tf.ones((3, 3, 4, 4))
        same = tf.nn.max_pool2d(tf.nn.conv2d(end, kernel, 2, "SAME"), 2, 2, "SAME")
        return tf.concat([x[:, :, :1] + tf.reduce_sum(same, 1, keepdims=True), same], 1)

    path = tmp_path / "cut.pb"
    path.write_bytes(frozen(run, (1, None, 7, 4)).SerializeToString())
    sizes, _ = rfgraph.analyze(path).input_sizes
    assert [n for n in range(1, 20) if n in sizes] == [n for n in range(1, 20) if run(tf.ones((1, n, 7, 4))).shape[1]]
    assert str(sizes) == "any size from 1"
