"""Keras: every handler against the layer itself, whose inputs are perturbed; saved files; live models.

The oracle is Keras, on the backend of PyTorch. A pixel is changed, in all its channels; the outputs that change are
the ones that read it. For every output feature the box of the pixels that it reads must be the region that rfgraph
gives.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import itertools  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402, F401
import subprocess  # noqa: E402, F401
import sys  # noqa: E402, F401
import textwrap  # noqa: E402, F401
import time  # noqa: E402, F401
import zipfile  # noqa: E402, F401
from collections.abc import Callable  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402, F401

import networkx as nx  # noqa: E402, F401
import numpy as np  # noqa: E402
import pytest  # noqa: E402

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

from architectures import ARCHITECTURES, check_table  # noqa: E402

import rfgraph  # noqa: E402
from rfgraph import importers  # noqa: E402, F401
from rfgraph.errors import MissingExtraError, ModelFileError, RFGraphError  # noqa: E402, F401
from rfgraph.importers import archive, keras_config, keras_layers, keras_ops  # noqa: E402, F401
from rfgraph.importers.keras_nodes import HANDLERS  # noqa: E402
from rfgraph.importers.lowering import lower  # noqa: E402

K, L = keras.ops, keras.layers

pytestmark = [
    # Keras hands tensors of PyTorch to numpy, which asks for more than they know.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You might experience inconsistencies across backends:UserWarning"),
    pytest.mark.filterwarnings("ignore:Torch backend requires output_padding:UserWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


IMAGE = (6, 7, 4)


@dataclass(frozen=True)
class Case:
    """A function of one symbolic tensor, the handlers it needs, and where its spatial dimensions are."""

    ops: str
    run: Callable
    x: tuple = IMAGE  # without the batch
    at: tuple = (1, 2)
    #: Where the output has each axis; ``None`` where one position is left of it.
    out: tuple = (1, 2)
    #: Whether the region is the box of what is read, or only holds it.
    exact: bool = True
    #: A phrase of the reason where nothing is known of the layer.
    unknown: str = ""
    #: Whether samples are told apart by their place in the batch.
    batched: bool = True
    #: Whether the function itself is run: the model of it cannot be, in this version of Keras.
    eager: bool = False
    #: The type of the input.
    dtype: str = "float64"

    @property
    def id(self) -> str:
        return f"{self.ops}-{self.run.__code__.co_firstlineno}"


def flat(made):
    return list(keras.tree.flatten(made))


def model_of(case: Case):
    keras.utils.set_random_seed(1)
    x = keras.Input(batch_shape=(None if case.batched else 1, *case.x), dtype=case.dtype)
    model = keras.Model(x, flat(case.run(x))[0])
    rng = np.random.default_rng(2)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(rng.uniform(0.2, 1.0, weight.shape))
    return model


def program_of(model):
    """Return the program of a model by way of the text that a file of it holds, and the name of its input."""
    text = json.dumps(keras.saving.serialize_keras_object(model))
    program = keras_config.program_of(keras_config.Model("model", json.loads(text)))
    return program, program.inputs[0].name


def outputs_of(model, batch, case) -> np.ndarray:
    chunks = [batch] if case.batched else [batch[i : i + 1] for i in range(len(batch))]
    run = case.run if case.eager else lambda x: model(x, training=False)
    with torch.no_grad():
        made = [keras.ops.convert_to_numpy(flat(run(keras.ops.convert_to_tensor(c)))[0]) for c in chunks]
    return np.concatenate(made) if case.batched else np.stack(made)


def reads(case: Case, model) -> np.ndarray:
    """Return which pixels each output feature reads: booleans [*output positions, *input positions]."""
    rng = np.random.default_rng(0)
    whole = case.dtype.startswith("int")
    draw = (lambda shape: rng.integers(0, 4, shape)) if whole else (lambda shape: rng.uniform(-2, 2, shape))
    at = [d - 1 for d in case.at]
    pixels = list(itertools.product(*(range(case.x[d]) for d in at)))
    batch = []
    for _ in range(2):
        base = draw(case.x)
        batch.append(base)
        for pixel, value in itertools.product(pixels, (None, 3 if whole else 9.0, 0 if whole else -9.0)):
            near = base.copy()
            index = [slice(None)] * len(case.x)
            for d, i in zip(at, pixel, strict=True):
                index[d] = i
            near[tuple(index)] = draw(near[tuple(index)].shape) if value is None else value
            batch.append(near)
    made = outputs_of(model, np.stack(batch).astype(case.dtype), case)
    made = made.reshape(2, len(made) // 2, *made.shape[1:])
    # Sums come out in another order, and functions by another path, at other places of a batch.
    near = 1e-12 if made.dtype == np.float64 else 1e-5
    made = made if made.dtype.kind == "c" else made.astype(float)
    same = np.isclose(made[:, 1:], made[:, :1], rtol=near, atol=near, equal_nan=True)
    moved = (~same).any(axis=0).reshape(len(pixels), 3, *made.shape[2:]).any(axis=1)
    kept = [d + 1 - case.batched for d in case.out if d is not None]
    moved = moved.any(axis=tuple(d for d in range(1, moved.ndim) if d not in kept))
    moved = moved.transpose(0, *(1 + np.argsort(np.argsort(kept)))) if kept else moved
    sizes = [1 if d is None else made.shape[d + 2 - case.batched] for d in case.out]
    return np.moveaxis(moved, 0, -1).reshape(*sizes, *(case.x[d] for d in at))


def check_reads(case: Case, model) -> None:
    found = reads(case, model)
    program, name = program_of(model)
    graph = lower(program, spatial={name: case.at})
    node = list(graph)[-1]
    report = rfgraph.analyze(graph)
    axes = len(case.at)
    positions = found.shape[:axes]
    assert report[node].map_size == positions
    for index in itertools.product(*map(range, positions)):
        here = np.argwhere(found[index])
        box = report.region(node, index).box
        if len(here) == 0:
            assert not case.exact or box is None, (index, box)
            continue
        low, high = here.min(axis=0), here.max(axis=0)
        assert box is not None, index
        for axis in range(axes):
            want = (int(low[axis]), int(high[axis]))
            assert box[axis][0] <= want[0] <= want[1] <= box[axis][1], (index, axis, box, want)
            if case.exact:
                assert box[axis] == want, (index, axis, box[axis], want)


def ops_of(layer):
    """Return the names of the handlers that a config needs, those of inner layers too."""
    if isinstance(layer, dict):
        if isinstance(layer.get("class_name"), str) and ("module" in layer or "config" in layer):
            yield keras_config.op_of(layer)
        for value in layer.values():
            yield from ops_of(value)
    elif isinstance(layer, (list, tuple)):
        for value in layer:
            yield from ops_of(value)


def w(*shape):
    return np.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape)


LINE = {"x": (9, 3), "at": (1,), "out": (1,)}
CUBE = {"x": (4, 5, 3, 2), "at": (1, 2, 3), "out": (1, 2, 3)}
FIRST = {"x": (4, 6, 7), "at": (2, 3), "out": (2, 3)}
SEQUENCE = {**LINE, "exact": False}
WHOLE = {"out": (None, None)}
STEPS = {"x": (3, 5, 4, 2), "at": (2, 3), "out": (2, 3)}
ALONE = {"batched": False}
CF = "channels_first"


def positive(x):
    return K.abs(x) + 0.5


# fmt: off
CASES = [
    # Windows.
    Case("Conv2D", lambda x: L.Conv2D(3, (3, 2), (2, 1), dilation_rate=1)(x)),
    Case("Conv2D", lambda x: L.Conv2D(3, (3, 2), (2, 3), padding="same")(x)),
    Case("Conv2D", lambda x: L.Conv2D(3, 4, 2, padding="same", activation="tanh")(x)),
    Case("Conv2D", lambda x: L.Conv2D(4, 3, dilation_rate=(1, 2), groups=2, padding="same", activation="softmax")(x)),
    Case("Conv2D", lambda x: L.Conv2D(3, 3, 2, padding="same", data_format=CF)(x), **FIRST),
    Case("Conv1D", lambda x: L.Conv1D(3, 3, dilation_rate=2, padding="causal")(x), **LINE),
    Case("Conv1D", lambda x: L.Conv1D(3, 4, 2, padding="same")(x), **LINE),
    Case("Conv3D", lambda x: L.Conv3D(3, (3, 1, 2), (2, 1, 1), padding="same")(x), **CUBE),
    Case("Conv2DTranspose", lambda x: L.Conv2DTranspose(3, (3, 2), (2, 3))(x)),
    Case("Conv2DTranspose", lambda x: L.Conv2DTranspose(3, (3, 2), 2, padding="same")(x)),
    Case("Conv2DTranspose", lambda x: L.Conv2DTranspose(3, (4, 5), 2, padding="same", data_format=CF)(x), **FIRST),
    Case("Conv2DTranspose", lambda x: L.Conv2DTranspose(3, 3, 3, padding="same", output_padding=(2, 1))(x)),
    Case("Conv2DTranspose", lambda x: L.Conv2DTranspose(3, (4, 2), 3, padding="valid", output_padding=(1, 2))(x)),
    Case("Conv2DTranspose", lambda x: L.Conv2DTranspose(3, (3, 5), 1, padding="same", dilation_rate=2)(x)),
    Case("Conv1DTranspose", lambda x: L.Conv1DTranspose(3, 2, 4, padding="same")(x), **LINE),
    Case("Conv1DTranspose", lambda x: L.Conv1DTranspose(3, 5, 2, padding="same", output_padding=0)(x), **LINE),
    Case("Conv3DTranspose", lambda x: L.Conv3DTranspose(2, (2, 3, 2), 2, padding="same")(x), **CUBE),
    Case("DepthwiseConv2D", lambda x: L.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2)(x)),
    Case("DepthwiseConv1D", lambda x: L.DepthwiseConv1D(3, 2, data_format=CF)(x), x=(3, 9), at=(2,), out=(2,)),
    Case("SeparableConv2D", lambda x: L.SeparableConv2D(5, (3, 2), 2, padding="same", activation="gelu")(x)),
    Case("SeparableConv1D", lambda x: L.SeparableConv1D(5, 3, dilation_rate=2, padding="same")(x), **LINE),
    Case("MaxPooling2D", lambda x: L.MaxPooling2D((3, 2))(x)),
    Case("MaxPooling2D", lambda x: L.MaxPooling2D(3, 2, padding="same", data_format=CF)(x), **FIRST),
    Case("MaxPooling1D", lambda x: L.MaxPooling1D(4, 3, padding="same")(x), **LINE),
    Case("MaxPooling3D", lambda x: L.MaxPooling3D(2, 1)(x), **CUBE),
    Case("AveragePooling2D", lambda x: L.AveragePooling2D(3, (1, 2), padding="same")(x)),
    Case("AveragePooling1D", lambda x: L.AveragePooling1D(2)(x), **LINE),
    Case("AveragePooling3D", lambda x: L.AveragePooling3D((2, 3, 1), 2, padding="same")(x), **CUBE),
    Case("GlobalAveragePooling2D", lambda x: L.GlobalAveragePooling2D(keepdims=True)(x)),
    Case("GlobalAveragePooling1D", lambda x: L.GlobalAveragePooling1D()(x), **{**LINE, "out": (None,)}),
    Case("GlobalAveragePooling3D", lambda x: L.GlobalAveragePooling3D()(x), **{**CUBE, "out": (None,) * 3}),
    Case("GlobalMaxPooling2D", lambda x: L.GlobalMaxPooling2D(data_format=CF)(x), **{**FIRST, **WHOLE}),
    Case("GlobalMaxPooling1D", lambda x: L.GlobalMaxPooling1D(keepdims=True)(x), **LINE),
    Case("GlobalMaxPooling3D", lambda x: L.GlobalMaxPooling3D(keepdims=True)(x), **CUBE),
    Case("AdaptiveAveragePooling2D", lambda x: L.AdaptiveAveragePooling2D((4, 3))(x)),
    Case("AdaptiveAveragePooling1D", lambda x: L.AdaptiveAveragePooling1D(4)(x), **LINE),
    Case("AdaptiveAveragePooling3D", lambda x: L.AdaptiveAveragePooling3D(2)(x), **CUBE),
    Case("AdaptiveMaxPooling2D", lambda x: L.AdaptiveMaxPooling2D(1)(x)),
    Case("AdaptiveMaxPooling1D", lambda x: L.AdaptiveMaxPooling1D(2)(x), **LINE),
    Case("AdaptiveMaxPooling3D", lambda x: L.AdaptiveMaxPooling3D((3, 2, 2))(x), **CUBE),
    # Resolutions.
    Case("UpSampling2D", lambda x: L.UpSampling2D((2, 3))(x)),
    Case("UpSampling2D", lambda x: L.UpSampling2D(2, interpolation="bilinear")(x)),
    Case("UpSampling2D", lambda x: L.UpSampling2D((3, 2), interpolation="bicubic", data_format=CF)(x), **FIRST),
    Case("UpSampling1D", lambda x: L.UpSampling1D(3)(x), **LINE),
    Case("UpSampling3D", lambda x: L.UpSampling3D((1, 2, 3))(x), **CUBE),
    Case("Resizing", lambda x: L.Resizing(9, 4)(x)),
    Case("Resizing", lambda x: L.Resizing(4, 9, interpolation="nearest")(x)),
    Case("Resizing", lambda x: L.Resizing(4, 5, interpolation="bicubic")(x)),
    Case("Resizing", lambda x: L.Resizing(3, 4, antialias=True)(x)),
    Case("Resizing", lambda x: L.Resizing(3, 7, crop_to_aspect_ratio=True)(x)),
    Case("Resizing", lambda x: L.Resizing(5, 12, pad_to_aspect_ratio=True)(x)),
    Case("CenterCrop", lambda x: L.CenterCrop(3, 4)(x)),
    Case("CenterCrop", lambda x: L.CenterCrop(9, 4)(x)),
    Case("ZeroPadding2D", lambda x: L.ZeroPadding2D(((1, 0), (2, 3)))(x)),
    Case("ZeroPadding1D", lambda x: L.ZeroPadding1D((2, 1))(x), **LINE),
    Case("ZeroPadding3D", lambda x: L.ZeroPadding3D((0, 1, 2))(x), **CUBE),
    Case("Cropping2D", lambda x: L.Cropping2D((1, 2), data_format=CF)(x), **FIRST),
    Case("Cropping1D", lambda x: L.Cropping1D((2, 1))(x), **LINE),
    Case("Cropping3D", lambda x: L.Cropping3D(((1, 0), (0, 2), (1, 1)))(x), **CUBE),
    # Functions of elements, normalisations, merges, products.
    Case("Activation", lambda x: L.Activation("relu")(x)),
    Case("Activation", lambda x: L.Activation("softmax")(x)),
    Case("Activation", lambda x: L.Activation(L.LeakyReLU())(x)),
    Case("Activation", lambda x: L.Activation("glu")(x)),
    Case("AutoContrast", lambda x: L.AutoContrast()(x)),
    Case("Softmax", lambda x: L.Softmax()(x)),
    Case("Softmax", lambda x: L.Softmax(axis=(1, 2))(x)),
    Case("Masking", lambda x: L.Masking(mask_value=9.0)(x)),
    Case("LayerNormalization", lambda x: L.LayerNormalization()(x)),
    Case("LayerNormalization", lambda x: L.LayerNormalization(axis=[1, 2, 3])(x)),
    Case("RMSNormalization", lambda x: L.RMSNormalization()(x)),
    Case("UnitNormalization", lambda x: L.UnitNormalization()(x)),
    Case("GroupNormalization", lambda x: L.GroupNormalization(2)(x)),
    Case("GroupNormalization", lambda x: L.GroupNormalization(-1)(x)),
    Case("SpectralNormalization", lambda x: L.SpectralNormalization(L.Conv2D(3, 3))(x)),
    Case("Add", lambda x: L.Add()([x, L.Conv2D(4, 3, padding="same")(x)])),
    Case("Add", lambda x: L.Add()([x, L.GlobalAveragePooling2D()(x)])),
    Case("Subtract", lambda x: L.Subtract()([x, L.AveragePooling2D(3, 1, "same")(x)])),
    Case("Multiply", lambda x: L.Multiply()([x, L.GlobalAveragePooling2D(keepdims=True)(x)])),
    Case("Average", lambda x: L.Average()([x, 2 * x])),
    Case("Maximum", lambda x: L.Maximum()([x, -x])),
    Case("Minimum", lambda x: L.Minimum()([x, -x])),
    Case("Concatenate", lambda x: L.Concatenate()([x, L.AveragePooling2D(3, 1, "same")(x)])),
    Case("Concatenate", lambda x: L.Concatenate(axis=1)([x, 2 * x])),
    Case("Dot", lambda x: L.Dot(2, normalize=True)([x, x]), **LINE),
    Case("Dot", lambda x: L.Dot(1)([x, x]), **{**LINE, "out": (None,)}),
    Case("Dense", lambda x: L.Dense(5, activation="relu")(x)),
    Case("EinsumDense", lambda x: L.EinsumDense("bhwc,cd->bhwd", (None, None, 5), activation="relu")(x)),
    Case("EinsumDense", lambda x: L.EinsumDense("...x,xyz->...yz", (2, 3))(x)),
    Case("Embedding", lambda x: L.Embedding(5, 3)(x), x=(6, 7), dtype="int32"),
    Case("ReversibleEmbedding", lambda x: L.ReversibleEmbedding(5, 3)(x), x=(6, 7), dtype="int32"),
    Case("ReversibleEmbedding", lambda x: L.ReversibleEmbedding(5, 4)(x, reverse=True)),
    Case("CategoryEncoding", lambda x: L.CategoryEncoding(4, "one_hot")(x), x=(6, 7), dtype="int32"),
    # Elements moved, and numbering.
    Case("RepeatVector", lambda x: L.RepeatVector(3)(L.GlobalMaxPooling2D()(x)), **WHOLE),
    Case("Reshape", lambda x: L.Reshape((6, 7, 2, -1))(x)),
    Case("Reshape", lambda x: L.Conv1D(3, 3)(L.Reshape((-1, 4))(x)), x=(9, 4), at=(1,), out=(1,)),
    Case("Flatten", lambda x: L.Dense(2)(L.Flatten()(x)), **WHOLE),
    Case("Flatten", lambda x: L.Dense(2)(L.Flatten(data_format=CF)(x)), **{**FIRST, **WHOLE}),
    Case("Permute", lambda x: L.Permute((3, 2, 1))(x), out=(3, 2)),
    Case("Pipeline", lambda x: L.Pipeline([L.Rescaling(2.0), L.Resizing(9, 4)])(x)),
    # Sequences.
    Case("LSTM", lambda x: L.LSTM(3, return_sequences=True)(x), **SEQUENCE),
    Case("LSTM", lambda x: L.LSTM(3, return_state=True)(x), **{**LINE, "out": (None,)}),
    Case("GRU", lambda x: L.GRU(3)(x), **{**LINE, "out": (None,)}),
    Case("GRU", lambda x: L.GRU(3, return_sequences=True)(
        x, initial_state=[L.Dense(3)(L.GlobalMaxPooling1D()(x))]), **LINE),
    Case("SimpleRNN", lambda x: L.SimpleRNN(3, return_sequences=True, go_backwards=True)(x), **SEQUENCE),
    Case("RNN", lambda x: L.RNN([L.LSTMCell(3), L.GRUCell(4)])(x), **{**LINE, "out": (None,)}),
    Case("RNN", lambda x: L.RNN(L.SimpleRNNCell(3), return_sequences=True)(x), **SEQUENCE),
    Case("Bidirectional", lambda x: L.Bidirectional(L.LSTM(3, return_sequences=True))(x), **LINE),
    Case("Bidirectional", lambda x: L.Bidirectional(L.GRU(3, return_state=True), merge_mode="sum")(x),
         **{**LINE, "out": (None,)}),
    Case("ConvLSTM2D", lambda x: L.ConvLSTM2D(3, (3, 2), padding="same")(x), **{**STEPS, "out": (1, 2)}),
    Case("ConvLSTM2D", lambda x: L.ConvLSTM2D(3, 2, (1, 2), return_sequences=True)(x), **STEPS),
    Case("ConvLSTM1D", lambda x: L.ConvLSTM1D(3, 3, 2, padding="same", data_format=CF)(x),
         x=(2, 3, 9), at=(3,), out=(2,)),
    Case("ConvLSTM3D", lambda x: L.ConvLSTM3D(2, 2)(x), x=(2, 3, 4, 3, 2), at=(2, 3, 4), out=(1, 2, 3)),
    Case("TimeDistributed", lambda x: L.TimeDistributed(L.Conv2D(3, 3, padding="same"))(x), **STEPS),
    Case("TimeDistributed", lambda x: L.TimeDistributed(L.GlobalAveragePooling2D())(x), **{**STEPS, **WHOLE}),
    Case("MultiHeadAttention", lambda x: L.MultiHeadAttention(2, 3)(x, x), **LINE),
    Case("MultiHeadAttention", lambda x: L.MultiHeadAttention(
        2, 3, value_dim=5, output_shape=6, use_gate=True)(x, 2 * x, x), **LINE),
    Case("MultiHeadAttention", lambda x: L.MultiHeadAttention(2, 3)(x, x)),
    Case("MultiHeadAttention", lambda x: L.MultiHeadAttention(2, 3, attention_axes=2)(x, x)),
    Case("MultiHeadAttention", lambda x: L.MultiHeadAttention(2, 3)(
        x, x, attention_mask=K.greater(K.matmul(x, K.transpose(x, (0, 2, 1))), 0)), **SEQUENCE),
    Case("GroupQueryAttention", lambda x: L.GroupQueryAttention(2, 4, 2)(x, x), **LINE),
    Case("Attention", lambda x: L.Attention()([x, x]), **LINE),
    Case("Attention", lambda x: L.Attention(score_mode="concat")([x, L.Conv1D(3, 3)(x), L.Conv1D(3, 3)(x)]), **LINE),
    Case("AdditiveAttention", lambda x: L.AdditiveAttention()([x, x]), **LINE),
    Case("LSTM", lambda x: L.LSTM(3, return_sequences=True)(L.Embedding(4, 3, mask_zero=True)(x)),
         x=(9,), at=(1,), out=(1,), exact=False, dtype="int32"),
    Case("GlobalAveragePooling1D", lambda x: L.GlobalAveragePooling1D()(L.Embedding(4, 3, mask_zero=True)(x)),
         x=(9,), at=(1,), out=(None,), dtype="int32"),
    Case("Lambda", lambda x: L.Lambda(positive)(x), unknown="runs a function"),
    # Operations: windows.
    Case("ops.Conv", lambda x: K.conv(x, w(3, 2, 4, 5), (2, 1), "same")),
    Case("ops.Conv", lambda x: K.conv(x, w(3, 2, 4, 4), 1, "valid", dilation_rate=(1, 2))),
    Case("ops.DepthwiseConv", lambda x: K.depthwise_conv(x, w(3, 2, 4, 2), 2, "same")),
    Case("ops.SeparableConv", lambda x: K.separable_conv(x, w(3, 2, 4, 2), w(1, 1, 8, 3), 1, "same")),
    Case("ops.ConvTranspose", lambda x: K.conv_transpose(x, w(3, 2, 5, 4), 2, "same"), eager=True),
    Case("ops.MaxPool", lambda x: K.max_pool(x, 3, 2, "same")),
    Case("ops.AveragePool", lambda x: K.average_pool(x, (3, 2))),
    Case("ops.AdaptiveAveragePool", lambda x: K.adaptive_average_pool(x, (4, 3))),
    Case("ops.AdaptiveMaxPool", lambda x: K.adaptive_max_pool(x, (4, 3))),
    Case("ops.ExtractPatches", lambda x: K.image.extract_patches(x, (2, 3), padding="same")),
    Case("ops.ExtractPatches", lambda x: K.image.extract_patches(x, 3, strides=(2, 1), dilation_rate=1)),
    Case("ops.SobelEdges", lambda x: K.image.sobel_edges(x)),
    Case("ops.DepthToSpace", lambda x: K.depth_to_space(x, 2)),
    Case("ops.SpaceToDepth", lambda x: K.space_to_depth(x, 2), x=(6, 8, 2)),
    Case("ops.Resize", lambda x: K.image.resize(x, (9, 4))),
    Case("ops.Resize", lambda x: K.image.resize(x, (4, 9), "nearest", data_format=CF), **FIRST),
    Case("ops.PadImages", lambda x: K.image.pad_images(x, 1, 2, target_height=9, target_width=11)),
    Case("ops.CropImages", lambda x: K.image.crop_images(x, 1, bottom_cropping=2, right_cropping=0, target_width=4)),
    Case("ops.RGBToGrayscale", lambda x: K.image.rgb_to_grayscale(x), x=(6, 7, 3)),
    Case("ops.RGBToHSV", lambda x: K.image.rgb_to_hsv(K.sigmoid(x)), x=(6, 7, 3)),
    Case("ops.HSVToRGB", lambda x: K.image.hsv_to_rgb(K.sigmoid(x)), x=(6, 7, 3)),
    # Operations: reductions and mixtures.
    Case("ops.Mean", lambda x: K.mean(x, (1, 2), keepdims=True)),
    Case("ops.Mean", lambda x: K.mean(x, 2), out=(1, None)),
    Case("ops.Sum", lambda x: K.sum(x), **WHOLE, **ALONE),
    Case("ops.Moments", lambda x: K.moments(x, (3,), keepdims=True)),
    Case("ops.Average", lambda x: K.average(x, -1)[..., None]),
    Case("ops.Average", lambda x: K.average(x, -1, weights=K.abs(x))[..., None]),
    Case("ops.Logsumexp", lambda x: K.logsumexp(x, -1, keepdims=True)),
    Case("ops.Norm", lambda x: K.norm(x, axis=-1, keepdims=True)),
    Case("ops.Median", lambda x: K.median(x, -1, keepdims=True)),
    Case("ops.Quantile", lambda x: K.quantile(x, 0.3, axis=-1, keepdims=True)),
    Case("ops.Argmax", lambda x: K.argmax(x, -1, keepdims=True), exact=False),
    Case("ops.Softmax", lambda x: K.softmax(x)),
    Case("ops.Softmax", lambda x: K.softmax(x, 2)),
    Case("ops.LogSoftmax", lambda x: K.log_softmax(x)),
    Case("ops.Sparsemax", lambda x: K.sparsemax(x)),
    Case("ops.LayerNorm", lambda x: K.layer_normalization(x)),
    Case("ops.RMSNorm", lambda x: K.rms_normalization(x)),
    Case("ops.Normalize", lambda x: K.normalize(x)),
    Case("ops.BatchNorm", lambda x: K.batch_normalization(x, w(4), w(4), -1)),
    Case("ops.Cumsum", lambda x: K.cumsum(x, 1), exact=False),
    Case("ops.Cumprod", lambda x: K.cumprod(x, -1)),
    Case("ops.Sort", lambda x: K.sort(x, 1)),
    Case("ops.Argsort", lambda x: K.argsort(x)),
    Case("ops.TopK", lambda x: K.top_k(x, 2)),
    # Operations: products.
    Case("ops.Matmul", lambda x: K.matmul(x, w(4, 5))),
    Case("ops.Matmul", lambda x: K.matmul(K.softmax(K.matmul(x, K.transpose(x, (0, 2, 1)))), x), **LINE),
    Case("ops.Dot", lambda x: K.dot(x, w(4, 5))),
    Case("ops.Inner", lambda x: K.inner(x, w(5, 4))),
    Case("ops.Tensordot", lambda x: K.tensordot(x, K.convert_to_tensor(w(4, 5)), 1)),
    Case("ops.Tensordot", lambda x: K.tensordot(x, K.convert_to_tensor(w(5, 4)), [[3], [1]]), **ALONE),
    Case("ops.Outer", lambda x: K.outer(x[0, :, 0], w(2)), **{**LINE, "out": (0,)}, **ALONE),
    Case("ops.Vdot", lambda x: K.vdot(x[0, :, 0], w(9)), **{**LINE, "out": (None,)}, **ALONE),
    Case("ops.Einsum", lambda x: K.einsum("bhwc,cd->bdhw", x, w(4, 5)), out=(2, 3)),
    Case("ops.DotProductAttention", lambda x: K.dot_product_attention(*[K.expand_dims(x, 2)] * 3), **LINE),
    # Operations: elements moved, dropped, added.
    Case("ops.Pad", lambda x: K.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)])),
    Case("ops.Pad", lambda x: K.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)], mode="reflect")[:, 1:-2, :-1]),
    Case("ops.Concatenate", lambda x: K.concatenate([x, 2 * x], -1)),
    Case("ops.Concatenate", lambda x: K.concatenate([x, x[:, 1:]], 1)),
    Case("ops.Append", lambda x: K.append(x, 2 * x, -1)),
    Case("ops.Stack", lambda x: K.stack([x, 2 * x], 1), out=(2, 3)),
    Case("ops.Hstack", lambda x: K.hstack([x, 2 * x])),
    Case("ops.Split", lambda x: K.concatenate(K.split(x, 2, -1)[::-1], -1)),
    Case("ops.Split", lambda x: K.split(x, [2, 5], 1)[1]),
    Case("ops.ArraySplit", lambda x: K.array_split(x, 4, 2)[1]),
    Case("ops.Unstack", lambda x: K.stack(K.unstack(x, axis=-1), -1)),
    Case("ops.GetItem", lambda x: x[:, 1:5:2, -3:, ..., None]),
    Case("ops.GetItem", lambda x: x[..., 2, :], out=(1, None)),
    Case("ops.GetItem", lambda x: x[:, None, ..., 0], out=(2, 3)),
    Case("ops.Slice", lambda x: K.slice(x, (0, 1, 2, 0), (1, 3, 4, 2)), **ALONE),
    Case("ops.Take", lambda x: K.take(x, np.array([2, 0]), -1)),
    Case("ops.Take", lambda x: K.take(x, 1, 1), out=(None, 1)),
    Case("ops.OneHot", lambda x: K.one_hot(x, 4), x=(6, 7), dtype="int32"),
    Case("ops.Roll", lambda x: K.roll(x, 2, 3)),
    Case("ops.Roll", lambda x: K.roll(x, 1, 1), exact=False),
    Case("ops.Flip", lambda x: K.flip(x, 3)),
    Case("ops.BroadcastTo", lambda x: K.broadcast_to(x, (1, 6, 7, 4)), **ALONE),
    Case("ops.Tile", lambda x: K.tile(x, (1, 1, 2, 1))),
    Case("ops.Repeat", lambda x: K.repeat(x, 3, 1)),
    Case("ops.Reshape", lambda x: K.reshape(x, (-1, 6, 7, 2, 2))),
    Case("ops.Reshape", lambda x: K.reshape(K.reshape(x, (-1, 42, 4)), (-1, 6, 7, 4))),
    Case("ops.Ravel", lambda x: K.reshape(K.ravel(x), (1, 6, 7, 4)), **ALONE),
    Case("ops.Transpose", lambda x: K.transpose(x, (0, 3, 2, 1)), out=(3, 2)),
    Case("ops.Swapaxes", lambda x: K.swapaxes(x, 1, -1), out=(3, 2)),
    Case("ops.Moveaxis", lambda x: K.moveaxis(x, -1, 1), out=(2, 3)),
    Case("ops.ExpandDims", lambda x: K.expand_dims(x, 1), out=(2, 3)),
    Case("ops.Squeeze", lambda x: K.squeeze(K.expand_dims(x, 1), 1)),
    Case("ops.Rearrange", lambda x: K.rearrange(x, "b h w (c k) -> b c h w k", k=2), out=(2, 3), **ALONE),
    Case("ops.Glu", lambda x: K.glu(x)),
    Case("ops.Where", lambda x: K.where(x > 0, x, -2 * x)),
    Case("ops.Clip", lambda x: K.clip(x, -1.0, 1.0)),
    Case("ops.ZerosLike", lambda x: x + K.zeros_like(x)),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_layer_reads(case):
    model = model_of(case)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    assert case.ops in set(ops_of(config))
    if case.unknown:
        program, name = program_of(model)
        graph = lower(program, spatial={name: case.at})
        assert any(d["op"] == "unknown" and case.unknown in d.get("why", "") for _, d in graph.nodes(data=True))
        return
    check_reads(case, model)


OPERATIONS = {
    kind.__name__: kind
    for module in vars(keras.src.ops).values()
    if getattr(module, "__name__", "").startswith("keras.src.ops.")
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, keras.Operation) and kind.__module__ == module.__name__
}
#: What operations are made with that cannot be made of nothing.
MADE_WITH = {
    "Cast": ("float64",), "SaturateCast": ("float64",), "Threshold": (0.0, 1.0), "LeakyRelu": (0.1,), "Round": (0,),
    "Clip": (-1.0, 1.0),
}  # fmt: skip
WHOLE_NUMBERS = ("Bitwise", "LeftShift", "RightShift", "Gcd", "Lcm")


def operation(name, *operands):
    given = [K.cast(x, "int32") for x in operands] if name.startswith(WHOLE_NUMBERS) else list(operands)
    if name == "Where":
        given.insert(0, operands[0] > 0)
    elif name == "Ldexp":
        given[1] = K.cast(given[1], "int32")
    elif name == "Clip":
        given = given[:1]
    return OPERATIONS[name](*MADE_WITH.get(name, ())).symbolic_call(*given)


def check_own_position(run, shape=(3, 2, 1), axes=2):
    """Hold that a function of tensors is one of elements, wherever Keras can say what it reads."""
    case = Case("", run, x=shape, at=tuple(range(1, axes + 1)), out=tuple(range(1, axes + 1)), exact=False)
    model = model_of(case)
    program, name = program_of(model)
    graph = lower(program, spatial={name: case.at})
    assert rfgraph.analyze(graph)[list(graph)[-1]].size == (1,) * axes
    assert not any(d["op"] == "unknown" for _, d in graph.nodes(data=True))
    check_reads(case, model)


@pytest.mark.parametrize("name", sorted(set(keras_ops.UNARY) - {"Imag"}))
def test_an_operation_on_elements_reads_its_own_position(name):
    check_own_position(lambda x: operation(name, x))


@pytest.mark.parametrize("name", sorted(keras_ops.SEVERAL))
def test_an_operation_on_elements_of_several_tensors_reads_its_own_position_of_each(name):
    check_own_position(lambda x: operation(name, x, x + 1))


@pytest.mark.parametrize("name", sorted(keras_ops.REDUCTIONS))
def test_a_reduction_over_channels_reads_its_own_position(name):
    if name == "CountNonzero":  # it keeps no dimension
        return
    check_own_position(lambda x: OPERATIONS[name](axis=-1, keepdims=True).symbolic_call(x), (3, 2, 4))


@pytest.mark.parametrize("name", sorted({*keras_layers.ACTIVATIONS, "linear", "log_softmax", "sparsemax"}))
def test_an_activation_reads_its_own_position(name):
    check_own_position(lambda x: L.Dense(2, activation=name)(x))


#: What layers are made with that cannot be made of nothing, and the shape of what they are called on.
LAYERS_WITH = {
    "Rescaling": (2.0,), "Normalization": (-1, 0.0, 1.0), "Discretization": ([-1.0, 0.5],), "Dropout": (0.5,),
    "AlphaDropout": (0.5,), "GaussianDropout": (0.5,), "GaussianNoise": (0.5,), "SpatialDropout1D": (0.5,),
    "SpatialDropout2D": (0.5,), "SpatialDropout3D": (0.5,), "LayerScale": (0.1, 3), "StochasticDepth": (0.1,),
    "RandomBrightness": (0.1,), "RandomColorDegeneration": (0.1,), "RandomContrast": (0.1,), "RandomHue": (0.1,),
    "RandomPosterization": (4,), "RandomRotation": (0.1,), "RandomSaturation": (0.1,), "RandomSharpness": (0.1,),
    "RandomShear": (0.1,), "RandomTranslation": (0.1, 0.1), "RandomZoom": (0.1,), "RandomErasing": (0.1,),
}  # fmt: skip
LAYER_SHAPES = {"SpatialDropout1D": (4, 3), "SpatialDropout3D": (2, 3, 2, 3)}


ALIKE = {*keras_layers.ELEMENTWISE, *keras_layers.AUGMENTATIONS} - {"Masking", "Equalization"}


@pytest.mark.parametrize("name", sorted(ALIKE))
def test_a_layer_on_elements_reads_its_own_position(name):
    made = getattr(L, name, None) or getattr(keras.src.applications.convnext, name)
    shape = LAYER_SHAPES.get(name, (3, 2, 3))
    check_own_position(lambda x: made(*LAYERS_WITH.get(name, ()))(x), shape, len(shape) - 1)


def layer_config(op, config=None, **more):
    name = op.removeprefix("ops.")
    module = "keras.layers" if name == op else "keras.src.ops.numpy"
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": None, **more}


def tensor(layer, call=0, index=0, shape=None):
    return {"class_name": "__keras_tensor__", "config": {"shape": shape, "keras_history": [layer, call, index]}}


def by_hand(*layers, shape=(None, 6, 7, 4), outputs=None):
    """A functional config: an input ``x``, and layers that are called one after the other, or as they say."""
    entries = [layer_config("InputLayer", {"batch_shape": list(shape)}, name="x", inbound_nodes=[])]
    for layer in layers:
        name = layer.get("name", layer["class_name"].lower())
        calls = layer.get("inbound_nodes", [{"args": [tensor(entries[-1]["name"])], "kwargs": {}}])
        entries.append({**layer, "name": name, "inbound_nodes": calls})
    ends = outputs or [[entries[-1]["name"], 0, 0]]
    config = {"name": "hand", "layers": entries, "input_layers": [["x", 0, 0]], "output_layers": ends}
    return {"module": "keras", "class_name": "Functional", "config": config, "registered_name": None}


def graph_by_hand(layer, **options):
    return keras_config.lowered(keras_config.Model("hand", layer), **options)


CONV = layer_config("Conv2D", {"filters": 4, "kernel_size": [3, 3]}, name="conv")


@pytest.mark.parametrize(
    "op", [*sorted(keras_layers.NOT_FOLLOWED), *(f"ops.{name}" for name in sorted(keras_ops.NOT_FOLLOWED))]
)
def test_what_is_not_followed_says_why(op):
    name = op.removeprefix("ops.")
    assert name in OPERATIONS if name != op else hasattr(L, name)
    graph = graph_by_hand(by_hand(CONV, layer_config(op, name="odd"), {**CONV, "name": "after"}))
    why = (keras_ops.NOT_FOLLOWED if name != op else keras_layers.NOT_FOLLOWED)[name]
    assert (graph.nodes["odd"]["op"], graph.nodes["odd"]["of"], graph.nodes["odd"]["why"]) == ("unknown", op, why)
    report = rfgraph.analyze(graph)
    assert (report["conv"].status, report["after"].status) == ("exact", "unknown")


#: Handlers that have a row under another name: the same function with another default, or what Keras cannot run.
TWINS = {
    "CustomScaleLayer": "Add", "ops.Imag": "ops.Real", "ops.OnesLike": "ops.ZerosLike", "ops.FullLike": "ops.ZerosLike",
    "ops.EmptyLike": "ops.ZerosLike", "ops.Percentile": "ops.Quantile", "ops.Nanpercentile": "ops.Quantile",
    "ops.Nanquantile": "ops.Quantile", "ops.Nancumsum": "ops.Cumsum", "ops.Nancumprod": "ops.Cumsum",
    "ops.Argpartition": "ops.Sort", "ops.Vstack": "ops.Hstack", "ops.Dstack": "ops.Hstack", "ops.Hsplit": "ops.Split",
    "ops.Vsplit": "ops.Split", "ops.Dsplit": "ops.Split", "ops.Fliplr": "ops.Flip", "ops.Flipud": "ops.Flip",
}  # fmt: skip


def test_an_equalisation_changes_nothing_at_inference():
    # A functional model of it cannot be made in this version of Keras: it returns the very tensor that it is given.
    image = np.arange(24.0).reshape(1, 2, 4, 3)
    assert (keras.ops.convert_to_numpy(L.Equalization()(image, training=False)) == image).all()
    assert rfgraph.analyze(graph_by_hand(by_hand(CONV, layer_config("Equalization"))))["equalization"].size == (3, 3)


def test_every_handler_has_a_row():
    rows = {case.ops for case in CASES} | {*keras_layers.ELEMENTWISE, *keras_layers.AUGMENTATIONS}
    rows |= {*keras_layers.NOT_FOLLOWED}
    tables = (keras_ops.UNARY, keras_ops.SEVERAL, keras_ops.REDUCTIONS, keras_ops.NOT_FOLLOWED)
    rows |= {f"ops.{name}" for table in tables for name in table}
    for twin, op in TWINS.items():
        assert HANDLERS.get(twin) is HANDLERS.get(op)
    assert sorted(set(HANDLERS) - rows - set(TWINS)) == []


def test_every_layer_of_keras_has_a_handler():
    kinds = {name: kind for name, kind in vars(L).items() if isinstance(kind, type) and issubclass(kind, L.Layer)}
    aliases = {"AvgPool", "Convolution", "GlobalAvgPool", "GlobalMaxPool", "MaxPool", "SeparableConvolution"}
    names = {name for name in kinds if name.rstrip("Transpose").rstrip("123D") not in aliases}
    # What is no layer to be called, or is read as a model, or never in one.
    others = {"InputLayer", "Layer", "Wrapper", "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"}
    assert sorted(names - others - set(HANDLERS)) == []


def test_operations_without_a_handler_are_unknown_and_named():
    left = sorted(name for name in OPERATIONS if f"ops.{name}" not in HANDLERS)
    assert "Kron" in left
    for name in left:
        graph = graph_by_hand(by_hand(CONV, layer_config(f"ops.{name}", name="odd")))
        assert (graph.nodes["odd"]["op"], graph.nodes["odd"]["of"]) == ("unknown", f"ops.{name}")


# The same architecture, whichever way it comes.


def padded(x, amount, name=None):
    return L.ZeroPadding2D(amount, name=name)(x)


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
    skip = L.Conv2D(8, 3, padding="same", activation="relu", name="a")(inputs)
    y = L.Conv2D(8, 3, padding="same", activation="relu", name="b")(L.MaxPooling2D(name="pool")(skip))
    y = L.Concatenate(name="cat")([skip, L.Conv2DTranspose(8, 2, 2, name="up")(y)])
    return keras.Model(inputs, L.Conv2D(8, 3, padding="same", name="c")(y), name="unet")


def inverted():
    """The block of MobileNetV2; the widening is a model of its own."""
    inputs = keras.Input((32, 48, 3), name="x")
    x = L.Conv2D(8, 3, 2, name="first")(padded(inputs, 1))
    widen = [L.Conv2D(48, 1, use_bias=False, name="0"), L.BatchNormalization(), L.ReLU(6.0)]
    y = keras.Sequential(widen, name="expand")(x)
    y = L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same", name="depthwise_0")(y)))
    return keras.Model(inputs, L.Add(name="add")([x, L.Conv2D(8, 1, name="project")(y)]), name="inverted")


def convnext():
    """The block of ConvNeXt, with operations of ``keras.ops``."""
    inputs = keras.Input((32, 48, 3), name="x")
    x = L.Conv2D(8, 2, 2, name="down")(L.Conv2D(8, 4, 4, name="stem")(inputs))
    y = L.LayerNormalization()(L.DepthwiseConv2D(7, padding="same", name="depthwise")(x))
    y = L.Dense(8, name="narrow")(K.gelu(L.Dense(32, name="wide")(y)))
    return keras.Model(inputs, L.Add(name="add")([x, 0.5 * y]), name="convnext")


def tcn():
    inputs = keras.Input((64, 2), name="x")
    x = L.Conv1D(4, 1, name="first")(inputs)
    for i in range(4):
        y = L.Conv1D(4, 3, dilation_rate=2**i, padding="causal", activation="relu", name=f"convs_{i}")(x)
        x = L.Add(name="add" if i == 0 else f"add_{i + 1}")([x, y])
    return keras.Model(inputs, x, name="tcn")


MODELS = {"resnet18": resnet18, "unet": unet, "inverted": inverted, "convnext": convnext, "tcn": tcn}


def names_of(name):
    """Return what Keras calls nodes, whose names have neither dots nor slashes; of a nested model's there is one."""
    found = {node: node.replace(".", "_").replace("/", "_") for node in ARCHITECTURES[name].build().graph}
    return {**found, "expand.0": "expand/0"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_one_table_whichever_way_it_comes(name, tmp_path):
    model = MODELS[name]()
    model.save(tmp_path / "model.keras")
    live = rfgraph.analyze(model)
    saved = rfgraph.analyze(str(tmp_path / "model.keras"))
    check_table(name, live, names_of(name))
    check_table(name, saved, names_of(name))
    assert list(live) == list(saved)
    assert (live.name, saved.name) == (name, "model.keras")


@pytest.mark.parametrize("name", ["resnet18", "unet", "tcn"])
def test_another_input_size_is_read_anew(name):
    small, size = ARCHITECTURES[name], [2 * n for n in ARCHITECTURES[name].size]
    report = rfgraph.analyze(MODELS[name](), input_size=size)
    want = rfgraph.analyze(small.build(), input_size=size)
    for node, called in names_of(name).items():
        if node in want:
            assert report[called].map_size == want[node].map_size
