"""Keras counts the weights of its own layers: those that it trains are what rfgraph says they hold."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

from math import prod

import pytest

keras = pytest.importorskip("keras")

import rfgraph  # noqa: E402

L = keras.layers

pytestmark = [
    # Keras hands tensors of PyTorch to numpy, which asks for more than they know.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You might experience inconsistencies across backends:UserWarning"),
]


def trained(model):
    return sum(prod(weight.shape) for weight in model.trainable_weights)


def images():
    x = L.Input((16, 12, 3))
    y = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
    y = L.PReLU(shared_axes=[1, 2])(L.BatchNormalization(scale=False)(y))
    y = L.SeparableConv2D(10, 3, depth_multiplier=2)(L.DepthwiseConv2D(3, depth_multiplier=2)(y))
    y = L.LayerNormalization()(L.GroupNormalization(3)(L.Conv2DTranspose(6, 3, strides=2)(y)))
    again = L.Conv2D(6, (1, 3), groups=2)
    y = L.Flatten()(again(again(y)))
    macs = (
        16 * 12 * 9 * 3 * 8 + 14 * 10 * 9 * 16 + 12 * 8 * (9 * 32 + 32 * 10) + 12 * 8 * 9 * 10 * 6
        + (25 * 15 + 25 * 13) * 3 * 3 * 6 + 25 * 13 * 6 * 7
    )  # fmt: skip
    return keras.Model(x, L.Dense(7)(y)), macs


def sequences():
    x = L.Input((20, 6))
    y = L.Conv1D(8, 3, padding="same")(x)
    y = L.Bidirectional(L.LSTM(5, return_sequences=True))(y)
    y = L.GRU(4, return_sequences=True)(y)
    y = L.RNN([L.LSTMCell(3), L.GRUCell(2, reset_after=False)], return_sequences=True)(y)
    y = L.SimpleRNN(4, return_sequences=True, use_bias=False)(y)
    macs = 20 * (3 * 6 * 8 + 2 * 4 * 5 * (8 + 5) + 3 * 4 * (10 + 4) + 4 * 3 * (4 + 3) + 3 * 2 * (3 + 2) + 4 * (2 + 4))
    return keras.Model(x, y), macs


def attention():
    x = L.Input((20, 6))
    y = L.Conv1D(8, 1)(x)
    y = L.MultiHeadAttention(2, 4, value_dim=3)(y, y)
    y = L.GroupQueryAttention(4, 4, 2)(y, y)
    y = L.AdditiveAttention()([y, y])
    y = L.EinsumDense("abc,cd->abd", output_shape=(None, 9), bias_axes="d")(y)
    y = L.TimeDistributed(L.Dense(3))(L.RMSNormalization()(y))
    return keras.Model(x, y), None


def recurrent_images():
    x = L.Input((3, 8, 8, 2))
    return keras.Model(x, L.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(x)), 3 * 64 * 9 * 4 * 4 * (2 + 4)


def nested():
    inner_x = L.Input((8, 8, 2))
    inner = keras.Model(inner_x, L.Conv2D(2, 3, padding="same")(inner_x))
    x = L.Input((8, 8, 2))
    return keras.Model(x, L.Add()([inner(x), inner(inner(x))])), 3 * 64 * 9 * 2 * 2


BUILT = {f.__name__: f for f in (images, sequences, attention, recurrent_images, nested)}


@pytest.mark.parametrize("name", BUILT)
def test_a_model_holds_what_keras_trains(name, tmp_path):
    model, macs = BUILT[name]()
    model.save(tmp_path / "model.keras")
    for found in (model, tmp_path / "model.keras"):
        report = rfgraph.analyze(found)
        assert report.parameters.complete
        assert report.parameters.count == trained(model)
        assert report.macs.complete
        assert macs is None or report.macs.count == macs


def test_layers_of_the_users_own_are_counted_if_they_live(tmp_path):
    class Scaled(L.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[-1],))
            self.fixed = self.add_weight(shape=(shape[-1],), trainable=False)
            self.conv = L.Conv2D(3, 3)

        def call(self, x):
            return self.conv(x * self.factor + self.fixed)

    x = L.Input((8, 8, 2))
    model = keras.Model(x, Scaled()(Scaled()(L.Conv2D(2, 1)(x))))
    report = rfgraph.analyze(model)
    assert report.parameters.complete
    assert report.parameters.count == trained(model) == 6 + 2 + 9 * 2 * 3 + 3 + 3 + 9 * 3 * 3 + 3
    model.save(tmp_path / "model.keras")
    saved = rfgraph.analyze(tmp_path / "model.keras")
    assert not saved.parameters.complete
    assert saved.parameters.count == 6


@pytest.mark.parametrize(
    ("name", "published", "macs"),
    [
        # Trainable parameters of model.summary(); MACs as torchvision counts them, where it has the same network.
        ("MobileNet", 4_231_976, 568_740_352),
        ("MobileNetV2", 3_504_872, 300_774_272),
        ("Xception", 22_855_952, None),
    ],
)
def test_networks_of_keras(name, published, macs):
    report = rfgraph.analyze(getattr(keras.applications, name)(weights=None))
    assert report.parameters.complete
    assert report.parameters.count == published
    assert macs is None or report.macs.count == macs
