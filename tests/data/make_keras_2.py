"""Make the files in ``tests/data/keras`` with Keras 2 (``tf-keras``): ``python tests/data/make_keras_2.py``.

They are the architectures of ``tests/architectures.py``, and one that calls functions of TensorFlow between its layers.
Files hold the config of a model as ``model.save`` writes it, less what initialises weights, and but for one no weights.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import tensorflow as tf
import tf_keras as keras

HERE = Path(__file__).parent / "keras"
L = keras.layers
BARE = ("_initializer", "_regularizer", "_constraint")


def padded(x, amount):
    return L.ZeroPadding2D(amount)(x)


def resnet18():
    x = inputs = keras.Input((64, 96, 3), name="x")
    x = L.Conv2D(8, 7, 2, use_bias=False, name="stem_0")(padded(x, 3))
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.MaxPooling2D(3, 2, name="pool")(padded(x, 1))
    for i, (width, stride) in enumerate([(8, 1), (8, 1), (16, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)]):
        y = L.Conv2D(width, 3, stride, use_bias=False, name=f"layers_{i}_conv1")(padded(x, 1))
        y = L.ReLU()(L.BatchNormalization()(y))
        y = L.BatchNormalization()(L.Conv2D(width, 3, padding="same", name=f"layers_{i}_conv2")(y))
        if stride != 1:
            x = L.BatchNormalization()(L.Conv2D(width, 1, stride, name=f"layers_{i}_down_0")(x))
        x = L.ReLU()(L.Add(name=f"layers_{i}_add")([y, x]))
    x = L.GlobalAveragePooling2D(name="head")(x)
    return keras.Model(inputs, L.Dense(10, activation="softmax")(x), name="resnet18")


def unet():
    inputs = keras.Input((32, 48, 3), name="x")
    skip = L.Conv2D(2, 3, padding="same", activation="relu", name="a")(inputs)
    y = L.Conv2D(2, 3, padding="same", activation="relu", name="b")(L.MaxPooling2D(name="pool")(skip))
    y = L.Concatenate(name="cat")([skip, L.Conv2DTranspose(2, 2, 2, name="up")(y)])
    return keras.Model(inputs, L.Conv2D(2, 3, padding="same", name="c")(y), name="unet")


def inverted():
    """The block of MobileNetV2; the widening is a model of its own."""
    inputs = keras.Input((32, 48, 3), name="x")
    x = L.Conv2D(8, 3, 2, name="first")(padded(inputs, 1))
    widen = [L.Conv2D(48, 1, use_bias=False, name="0"), L.BatchNormalization(), L.ReLU(6.0)]
    y = keras.Sequential(widen, name="expand")(x)
    y = L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same", name="depthwise_0")(y)))
    return keras.Model(inputs, L.Add(name="add")([x, L.Conv2D(8, 1, name="project")(y)]), name="inverted")


def convnext():
    """The block of ConvNeXt; what scales its branch is a function of TensorFlow."""
    inputs = keras.Input((32, 48, 3), name="x")
    x = L.Conv2D(8, 2, 2, name="down")(L.Conv2D(8, 4, 4, name="stem")(inputs))
    y = L.LayerNormalization()(L.DepthwiseConv2D(7, padding="same", name="depthwise")(x))
    y = L.Dense(8, name="narrow")(tf.nn.gelu(L.Dense(32, name="wide")(y)))
    return keras.Model(inputs, L.Add(name="add")([x, 0.5 * y]), name="convnext")


def tcn():
    inputs = keras.Input((64, 2), name="x")
    x = L.Conv1D(4, 1, name="first")(inputs)
    for i in range(4):
        y = L.Conv1D(4, 3, dilation_rate=2**i, padding="causal", activation="relu", name=f"convs_{i}")(x)
        x = L.Add(name="add" if i == 0 else f"add_{i + 1}")([x, y])
    return keras.Model(inputs, x, name="tcn")


def functions():
    inputs = keras.Input((32, 48, 4), name="x")
    x = L.Conv2D(4, 3, name="conv")(inputs)
    x = 3.0 / tf.nn.relu6(x * 2.0 + 1.0)
    x = x[:, 1:-1, ..., :2]
    gate = tf.nn.sigmoid(tf.reduce_mean(x, axis=[1, 2], keepdims=True))
    x = tf.concat([x * gate, tf.stop_gradient(x)], axis=-1)
    x = tf.nn.depth_to_space(L.Conv2D(4, 1, name="mix")(x), 2)
    x = tf.transpose(tf.expand_dims(tf.squeeze(tf.expand_dims(x, 1), axis=1), 1), [0, 2, 3, 1, 4])
    x = tf.nn.softmax(tf.reshape(x, [-1, 56, 92, 1]))
    x = tf.image.resize(x, (14, 22), method="nearest")
    return keras.Model(inputs, tf.math.maximum(x, tf.cumsum(x, axis=1)), name="functions")


MODELS = (resnet18, unet, inverted, convnext, tcn, functions)


def bare(config):
    """Return a config without what initialises, regularises and constrains weights."""
    if isinstance(config, dict):
        return {key: bare(value) for key, value in config.items() if not key.endswith(BARE)}
    return [bare(item) for item in config] if isinstance(config, list) else config


def main():
    HERE.mkdir(exist_ok=True)
    for make in MODELS:
        path = HERE / f"{make.__name__}.h5"
        make().save(path, save_format="h5")
        if make is unet:  # the one that keeps its weights
            continue
        with h5py.File(path) as file:
            config = bare(json.loads(file.attrs["model_config"]))
            version = file.attrs["keras_version"]
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(config, separators=(",", ":"))
            file.attrs["keras_version"] = version
    unet().save_weights(HERE / "weights.h5")


if __name__ == "__main__":
    main()
