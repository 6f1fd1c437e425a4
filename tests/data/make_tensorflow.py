"""Make the files in ``tests/data/tensorflow`` with TensorFlow: ``python tests/data/make_tensorflow.py``.

They are the architectures of ``tests/architectures.py`` as frozen graphs, written as TensorFlow 1 wrote them, and as
SavedModels of functions, and a few small models of other exporters. Weights are one number each, and the variables of
SavedModels are left out: nothing here is anybody's trained model.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

HERE = Path(__file__).parent / "tensorflow"
tf1 = tf.compat.v1


class Frozen:
    """Weights of a frozen graph: constants, of which the file holds one number."""

    def __call__(self, name, *shape):
        value = tf1.AttrValue()
        value.tensor.dtype = types_pb2.DT_FLOAT
        value.tensor.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
        value.tensor.float_val.append(0.5)
        kind = tf1.AttrValue(type=types_pb2.DT_FLOAT)
        graph = tf1.get_default_graph()
        return graph.create_op("Const", [], [tf.float32], attrs={"value": value, "dtype": kind}, name=name).outputs[0]


class Variables(tf.Module):
    """Weights of a SavedModel."""

    def __init__(self):
        super().__init__()
        self.held = {}

    def __call__(self, name, *shape):
        if name not in self.held:
            self.held[name] = tf.Variable(tf.zeros(shape), name=name)
        return self.held[name]


def channels(x):
    return x.shape[-1]


def conv(weight, x, name, width, kernel, stride=1, pad=None, relu=True, bias=True):
    """A convolution: SAME, or padded by itself as TF-Slim pads those that stride."""
    if pad:
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]], name=f"{name}/Pad")
    filters = weight(f"{name}/weights", kernel, kernel, channels(x), width)
    x = tf.nn.conv2d(x, filters, stride, "VALID" if pad is not None else "SAME", name=name)
    if bias:
        x = tf.nn.bias_add(x, weight(f"{name}/biases", width), name=f"{name}/BiasAdd")
    return tf.nn.relu(x, name=f"{name}/Relu") if relu else x


def norm(weight, x, name):
    parts = [weight(f"{name}/{part}", channels(x)) for part in ("gamma", "beta", "mean", "variance")]
    return tf1.nn.fused_batch_norm(x, *parts, is_training=False, name=name)[0]


def resnet18(weight, x):
    x = conv(weight, x, "stem.0", 8, 7, 2, 3)
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], name="pool/Pad")
    x = tf.nn.max_pool2d(x, 3, 2, "VALID", name="pool")
    widths = [(8, 1), (8, 1), (16, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)]
    for i, (width, stride) in enumerate(widths):
        y = conv(weight, x, f"layers.{i}.conv1", width, 3, stride, 1, relu=False, bias=False)
        y = tf.nn.relu(norm(weight, y, f"layers.{i}.bn1"), name=f"layers.{i}.relu1")
        y = norm(weight, conv(weight, y, f"layers.{i}.conv2", width, 3, relu=False, bias=False), f"layers.{i}.bn2")
        if stride > 1:
            x = conv(weight, x, f"layers.{i}.down.0", width, 1, stride, 0, relu=False)
        x = tf.nn.relu(tf.add(y, x, name=f"layers.{i}/add"), name=f"layers.{i}.relu2")
    x = tf.reduce_mean(x, (1, 2), keepdims=True, name="head")
    logits = tf.matmul(tf.squeeze(x, (1, 2)), weight("fc/weights", 64, 10), name="fc")
    return tf.nn.softmax(logits, name="probabilities")


def unet(weight, x):
    skip = conv(weight, x, "a", 8, 3)
    y = conv(weight, tf.nn.max_pool2d(skip, 2, 2, "VALID", name="pool"), "b", 8, 3)
    shape = tf.shape(y, name="up/Shape")
    sizes = tf.stack([shape[0], shape[1] * 2, shape[2] * 2, 8], name="up/stack")
    y = tf.nn.conv2d_transpose(y, weight("up/weights", 2, 2, 8, 8), sizes, 2, "SAME", name="up")
    y = tf.ensure_shape(y, (None, None, None, 8))
    return conv(weight, tf.concat([skip, y], 3, name="cat"), "c", 8, 3, relu=False)


def inverted(weight, x):
    x = conv(weight, x, "first", 8, 3, 2, 1, relu=False)
    y = tf.nn.relu6(norm(weight, conv(weight, x, "expand.0", 48, 1, relu=False, bias=False), "expand.1"))
    y = tf.nn.depthwise_conv2d(y, weight("depthwise.0/weights", 3, 3, 48, 1), [1] * 4, "SAME", name="depthwise.0")
    y = conv(weight, tf.nn.relu6(norm(weight, y, "depthwise.1")), "project", 8, 1, relu=False)
    return tf.add(x, y, name="add")


def dense(weight, x, name, width):
    """A product over the last dimension, as ``tf.tensordot`` writes it."""
    shape = tf.shape(x, name=f"{name}/Shape")
    flat = tf.reshape(x, [-1, channels(x)], name=f"{name}/Flat")
    flat = tf.matmul(flat, weight(f"{name}/weights", channels(x), width), name=name)
    made = tf.reshape(flat, tf.concat([shape[:-1], [width]], 0), name=f"{name}/Reshape")
    return tf.ensure_shape(made, (None, None, None, width), name=f"{name}/Ensured")


def convnext(weight, x):
    x = conv(weight, x, "stem", 8, 4, 4, 0, relu=False)
    x = conv(weight, x, "down", 8, 2, 2, 0, relu=False)
    y = tf.nn.depthwise_conv2d(x, weight("depthwise/weights", 7, 7, 8, 1), [1] * 4, "SAME", name="depthwise")
    mean, variance = tf.nn.moments(y, [-1], keepdims=True, name="norm/moments")
    y = tf.nn.batch_normalization(
        y, mean, variance, weight("norm/beta", 8), weight("norm/gamma", 8), 1e-6, name="norm"
    )  # fmt: skip
    y = dense(weight, tf.nn.gelu(dense(weight, y, "wide", 32)), "narrow", 8)
    return tf.add(x, y * weight("scale", 8), name="add")


def tcn(weight, x):
    x = tf.nn.conv1d(x, weight("first/weights", 1, 2, 4), 1, "VALID", name="first")
    for i in range(4):
        y = tf.pad(x, [[0, 0], [2 * 2**i, 0], [0, 0]], name=f"convs.{i}/Pad")
        y = tf.nn.convolution(y, weight(f"convs.{i}/weights", 3, 4, 4), 1, "VALID", dilations=2**i, name=f"convs.{i}")
        y = tf.ensure_shape(tf.nn.relu(y), (None, None, 4))
        x = tf.add(x, y, name="add" if i == 0 else f"add_{i + 1}")
    return x


def atrous(weight, x):
    """DeepLab's rates, as ``tf.nn.atrous_conv2d`` writes them for maps whose size is not known."""
    x = conv(weight, x, "stem", 8, 3, 2)
    branches = [tf.nn.atrous_conv2d(x, weight(f"rate{r}/weights", 3, 3, 8, 8), r, "SAME", name=f"rate{r}")
                for r in (2, 4)]  # fmt: skip
    branches.append(tf.nn.depthwise_conv2d(
        x, weight("deep/weights", 3, 3, 8, 1), [1] * 4, "SAME", dilations=[3, 3], name="deep"))  # fmt: skip
    x = conv(weight, tf.concat(branches, 3, name="cat"), "logits", 4, 1, relu=False)
    return tf.argmax(tf.image.resize(x, tf.shape(x)[1:3] * 2, name="up"), 3, name="classes")


ARCHITECTURES = {"resnet18": resnet18, "unet": unet, "inverted": inverted, "convnext": convnext, "tcn": tcn}
CHANNELS = {"tcn": 2}


def frozen(build, *shape):
    graph = tf.Graph()
    with graph.as_default():
        build(Frozen(), tf1.placeholder(tf.float32, shape, name="x"))
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        stripped(node)
    return graph_def


def shape_of(name):
    return (None, None, 2) if name == "tcn" else (None, None, None, 3)


def write_frozen(name, build):
    graph_def = frozen(build, *shape_of(name))
    (HERE / f"{name}.pb").write_bytes(graph_def.SerializeToString(deterministic=True))
    if name in ARCHITECTURES:
        (HERE / f"{name}.pbtxt").write_text(text_format.MessageToString(graph_def))


def keep_graph(directory, name):
    """Keep of a SavedModel its graphs and signatures: not what Python objects they were made of."""
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((Path(directory) / "saved_model.pb").read_bytes())
    for meta in message.meta_graphs:
        meta.ClearField("object_graph_def")
        meta.meta_info_def.ClearField("stripped_op_list")
        library = meta.graph_def.library.function
        known = {function.signature.name: function for function in library}
        called = {f.name for node in meta.graph_def.node for f in functions_of(node)}
        queue = sorted(called & set(known))
        for function in queue:  # grows while it is walked
            for node in known[function].node_def:
                queue += [f.name for f in functions_of(node) if f.name in known and f.name not in queue]
        kept = [known[function] for function in queue]
        for function in kept:
            function.ClearField("arg_attr")
            for node in function.node_def:
                stripped(node)
        for node in meta.graph_def.node:
            stripped(node)
        del library[:]
        library.extend(kept)
    target = HERE / name
    target.mkdir(exist_ok=True)
    (target / "saved_model.pb").write_bytes(message.SerializeToString(deterministic=True))


SETTINGS = (
    "_output_shapes", "config_proto", "config", "executor_type", "_class", "use_cudnn_on_gpu",
    "_has_manual_control_dependencies", "_read_only_resource_inputs", "exponential_avg_factor",
)  # fmt: skip


def functions_of(node):
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func
        yield from attribute.list.func


def stripped(node):
    """Leave out what only says how to run a node."""
    for name in SETTINGS:
        node.attr.pop(name, None)
    node.ClearField("experimental_debug_info")


def write_saved(name, build):
    weights = Variables()
    spec = tf.TensorSpec(shape_of(name), tf.float32, name="x")
    weights.serve = tf.function(lambda x: {"y": build(weights, x)}, input_signature=[spec])
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(weights, directory, signatures={"serving_default": weights.serve})
        keep_graph(directory, name)


def trained(x, training):
    """A model of TensorFlow 1 while it is trained: variables, moving means, a loss, an optimiser, summaries."""
    filters = tf1.get_variable("conv/weights", (3, 3, 3, 4), use_resource=False)
    y = tf.nn.conv2d(x, filters, 2, "SAME", name="conv")
    scale, shift = (tf1.get_variable(f"norm/{part}", 4, use_resource=True) for part in ("gamma", "beta"))
    moving = [tf1.get_variable(f"norm/{part}", 4, trainable=False) for part in ("mean", "variance")]

    def of_batch():
        mean, variance = tf.nn.moments(y, (0, 1, 2))
        updates = [tf1.assign_sub(old, 0.1 * (old - new)) for old, new in zip(moving, (mean, variance), strict=True)]
        with tf.control_dependencies(updates):
            return tf.identity(mean), tf.identity(variance)

    mean, variance = tf1.cond(training, of_batch, lambda: (tf.identity(moving[0]), tf.identity(moving[1])))
    y = tf.nn.relu(tf.nn.batch_normalization(y, mean, variance, shift, scale, 1e-3, name="norm/batchnorm"))
    y = tf1.nn.dropout(y, rate=tf1.placeholder_with_default(0.0, [], name="rate"), name="dropout")
    logits = tf.nn.conv2d(y, tf1.get_variable("logits/weights", (3, 3, 4, 2)), 1, "SAME", name="logits")
    return tf.identity(logits, name="output")


def write_trained():
    graph = tf.Graph()
    tf1.disable_control_flow_v2()
    with graph.as_default(), tf1.Session(graph=graph) as session:
        x = tf1.placeholder(tf.float32, (None, None, None, 3), name="image")
        training = tf1.placeholder(tf.bool, [], name="is_training")
        logits = trained(x, training)
        labels = tf1.placeholder(tf.int32, (None, None, None), name="labels")
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), name="loss")
        tf1.summary.scalar("loss", loss)
        tf1.summary.image("image", x)
        tf1.train.AdamOptimizer().minimize(loss)
        session.run(tf1.global_variables_initializer())
        (HERE / "trained.pb").write_bytes(graph.as_graph_def().SerializeToString(deterministic=True))
        with tempfile.TemporaryDirectory() as directory:
            tf1.saved_model.simple_save(session, f"{directory}/saved", {"pixels": x}, {"scores": logits})
            keep_graph(f"{directory}/saved", "trained")
    tf1.enable_control_flow_v2()


def write_exported():
    """What ``model.export`` of Keras writes: a function that calls functions."""
    import keras

    layers = keras.layers
    image = keras.Input((64, 48, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(image)
    x = layers.ReLU(max_value=6.0)(layers.BatchNormalization(name="stem_bn")(x))
    y = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2, name="deep")(x)
    y = layers.Conv2D(8, 1, name="project")(y)
    x = layers.Add(name="sum")([x, y])
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="double")(x)
    x = layers.Conv2D(2, 3, padding="same", activation="softmax", name="classes")(x)
    with tempfile.TemporaryDirectory() as directory:
        keras.Model(image, x).export(directory, verbose=False)
        keep_graph(directory, "exported")


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    np.random.seed(0)
    for name, build in ARCHITECTURES.items():
        write_frozen(name, build)
        write_saved(name, build)
    write_frozen("atrous", atrous)
    write_trained()
    write_exported()


if __name__ == "__main__":
    sys.exit(main())
