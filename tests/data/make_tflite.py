"""Make the files in ``tests/data/tflite`` with TensorFlow's converter: ``python tests/data/make_tflite.py``.

They are the architectures of ``tests/architectures.py``, with few channels and random weights, and models of Keras's
own builders, untrained, whose large weights are cut to a byte: nothing here is anybody's trained model.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import flatbuffers
import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

HERE = Path(__file__).parent / "tflite"
LARGE = 256  # bytes of a weight that is kept, but
WHOLE = ("unet", "inverted", "inverted_int8", "segmenter", "tcn", "control")  # which the tests run too

layers = keras.layers


def padded(x, amount, name):
    return layers.ZeroPadding2D(amount, name=f"{name}_pad")(x) if amount else x


def conv(x, name, width, kernel, stride=1, padding=0, relu=False, **more):
    x = layers.Conv2D(width, kernel, stride, name=name, **more)(padded(x, padding, name))
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def resnet18():
    image = keras.Input((64, 96, 3), name="x")
    x = conv(image, "stem", 2, 7, 2, 3, relu=True)
    x = layers.MaxPooling2D(3, 2, name="pool")(padded(x, 1, "pool"))
    width = 2
    for i, (stride, projected) in enumerate([(1, 0), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0)]):
        width += projected
        y = conv(x, f"layers_{i}_conv1", width, 3, stride, 1, relu=True, use_bias=False)
        y = layers.BatchNormalization(name=f"layers_{i}_bn1")(y)
        y = conv(y, f"layers_{i}_conv2", width, 3, 1, 1)
        if projected:
            x = conv(x, f"layers_{i}_down", width, 1, stride)
        x = layers.ReLU(name=f"layers_{i}_relu")(layers.Add(name=f"layers_{i}_add")([y, x]))
    x = layers.GlobalAveragePooling2D(name="head", keepdims=True)(x)
    return keras.Model(image, layers.Dense(3, name="fc")(layers.Flatten()(x)))


def unet():
    image = keras.Input((32, 48, 3), name="x")
    skip = conv(image, "a", 2, 3, padding=1, relu=True)
    y = conv(layers.MaxPooling2D(2, name="pool")(skip), "b", 2, 3, padding=1, relu=True)
    y = layers.Conv2DTranspose(2, 2, 2, name="up")(y)
    return keras.Model(image, conv(layers.Concatenate(name="cat")([skip, y]), "c", 2, 3, padding=1))


def inverted():
    image = keras.Input((32, 48, 3), name="x")
    x = conv(image, "first", 2, 3, 2, 1)
    y = layers.ReLU(6.0, name="expand_relu")(layers.BatchNormalization()(conv(x, "expand", 6, 1, use_bias=False)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
    y = layers.ReLU(6.0, name="depthwise_relu")(layers.BatchNormalization()(y))
    return keras.Model(image, layers.Add(name="add")([x, conv(y, "project", 2, 1)]))


def convnext():
    image = keras.Input((32, 48, 3), name="x")
    x = conv(conv(image, "stem", 4, 4, 4), "down", 4, 2, 2)
    y = layers.DepthwiseConv2D(7, padding="same", name="depthwise")(x)
    y = layers.LayerNormalization(name="norm")(y)
    y = layers.Dense(16, activation="gelu", name="wide")(y)
    return keras.Model(image, layers.Add(name="add")([x, layers.Dense(4, name="narrow")(y)]))


def tcn():
    series = keras.Input((64, 2), name="x")
    x = layers.Conv1D(4, 1, name="first")(series)
    for i in range(4):
        y = layers.Conv1D(4, 3, dilation_rate=2**i, padding="causal", activation="relu", name=f"convs_{i}")(x)
        x = layers.Add(name=f"add_{i}")([x, y])
    return keras.Model(series, x)


def segmenter():
    """Any size of image: sizes are computed in the graph, and the resize goes back to them."""
    image = keras.Input((None, None, 3), name="image")
    x = conv(image, "down", 4, 3, 2, 1, relu=True)
    x = layers.Conv2D(4, 3, dilation_rate=2, padding="same", name="atrous")(x)
    x = layers.Lambda(lambda pair: tf.image.resize(pair[0], tf.shape(pair[1])[1:3]), name="back")([x, image])
    return keras.Model(image, layers.Conv2D(2, 1, name="classes")(x))


def detector():
    """A pyramid of maps: MobileNetV2, the levels of it merged from the top down, and heads on each."""
    base = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=None)
    names = ("block_5_add", "block_12_add", "out_relu")
    levels = [layers.Conv2D(8, 1, name=f"lateral_{i}")(base.get_layer(n).output) for i, n in enumerate(names)]
    outputs = []
    for i in (2, 1, 0):
        if i < 2:
            up = layers.UpSampling2D(interpolation=("bilinear", "nearest")[i], name=f"up_{i}")(levels[i + 1])
            levels[i] = layers.Add(name=f"merge_{i}")([levels[i], up])
        outputs.append(layers.Conv2D(4, 3, padding="same", name=f"boxes_{i}")(levels[i]))
    return keras.Model(base.input, outputs)


class Control(tf.Module):
    """A loop of three turns, and a branch that depends on the image."""

    def __init__(self):
        self.weight = tf.Variable(tf.random.stateless_uniform((3, 3, 2, 2), (1, 2)))

    @tf.function(input_signature=[tf.TensorSpec((1, 24, 32, 2), name="image")])
    def __call__(self, image):
        turn = lambda i, x: (i + 1, tf.nn.relu(tf.nn.conv2d(x, self.weight, 1, "SAME")))  # noqa: E731
        _, x = tf.while_loop(lambda i, x: i < 3, turn, (0, image))
        dark = tf.reduce_mean(image) < 0.5
        return tf.cond(dark, lambda: tf.nn.max_pool2d(x, 3, 1, "SAME"), lambda: tf.nn.avg_pool2d(x, 5, 1, "SAME"))


def converter_of(model):
    if isinstance(model, tf.Module) and not isinstance(model, keras.Model):
        return tf.lite.TFLiteConverter.from_concrete_functions([model.__call__.get_concrete_function()], model)
    return tf.lite.TFLiteConverter.from_keras_model(model)


def quantised(model):
    """Weights, activations, inputs and outputs as 8-bit integers."""
    converter = converter_of(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    shape = (1, *model.input_shape[1:])
    rng = np.random.default_rng(0)
    converter.representative_dataset = lambda: ([rng.random(shape, dtype=np.float32)] for _ in range(4))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def stripped(data, large):
    """Cut large weights to a byte: a reader knows them for weights by it, and needs no more."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    kinds = {schema.TensorType.INT32, schema.TensorType.INT64}
    kept = {t.buffer for g in model.subgraphs for t in g.tensors if t.type in kinds and t.quantization is None}
    cut = set()
    for i, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data) > large and i not in kept:
            buffer.data = np.zeros(1, np.uint8)
            cut.add(i)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer in cut and tensor.quantization is not None and tensor.quantization.scale is not None:
                tensor.quantization.scale = tensor.quantization.scale[:1]
                tensor.quantization.zeroPoint = tensor.quantization.zeroPoint[:1]
    model.metadata = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


MODELS = {
    "resnet18": lambda: converter_of(resnet18()).convert(),
    "unet": lambda: converter_of(unet()).convert(),
    "inverted": lambda: converter_of(inverted()).convert(),
    "convnext": lambda: converter_of(convnext()).convert(),
    "tcn": lambda: converter_of(tcn()).convert(),
    "inverted_int8": lambda: quantised(inverted()),
    "segmenter": lambda: converter_of(segmenter()).convert(),
    "control": lambda: converter_of(Control()).convert(),
    "mobilenet_v2_int8": lambda: quantised(keras.applications.MobileNetV2(alpha=0.35, weights=None)),
    "detector": lambda: converter_of(detector()).convert(),
}

if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name, make in MODELS.items():
        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        (HERE / f"{name}.tflite").write_bytes(stripped(make(), large=1 << 20 if name in WHOLE else LARGE))
