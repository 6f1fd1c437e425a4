"""Keras: every handler against the layer itself, whose inputs are perturbed; saved files; live models.

The oracle is Keras, on the backend of PyTorch. A pixel is changed, in all its channels; the outputs that change are
the ones that read it. For every output feature the box of the pixels that it reads must be the region that rfgraph
gives.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import itertools
import json
import random
import re
import subprocess
import sys
import textwrap
import time
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

import op_by_op  # noqa: E402
from architectures import ARCHITECTURES, check_table  # noqa: E402
from perturbation import check_regions  # noqa: E402

import rfgraph  # noqa: E402
from rfgraph import importers  # noqa: E402
from rfgraph.errors import MissingExtraError, ModelFileError, RFGraphError  # noqa: E402
from rfgraph.importers import archive  # noqa: E402
from rfgraph.importers.keras import layers as keras_layers  # noqa: E402
from rfgraph.importers.keras import operations as keras_ops  # noqa: E402
from rfgraph.importers.keras import reader as keras_reader  # noqa: E402
from rfgraph.importers.keras.config import Model, op_of  # noqa: E402
from rfgraph.importers.keras.nodes import HANDLERS  # noqa: E402
from rfgraph.importers.lowering.lower import lower  # noqa: E402

K, L = keras.ops, keras.layers

pytestmark = [
    # Keras hands tensors of PyTorch to numpy, which asks for more than they know.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You might experience inconsistencies across backends:UserWarning"),
    pytest.mark.filterwarnings("ignore:Torch backend requires output_padding:UserWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def numbers():
    """Compute in double precision, and on one thread: on several, PyTorch takes ten times as long for small groups."""
    before, threads = keras.config.floatx(), torch.get_num_threads()
    keras.config.set_floatx("float64")
    torch.set_num_threads(1)
    yield
    keras.config.set_floatx(before)
    torch.set_num_threads(threads)


IMAGE = (6, 7, 4)


@dataclass(frozen=True)
class Case(op_by_op.Case):
    """A function of one symbolic tensor, and the handler that it needs."""

    x: tuple = IMAGE  # without the batch
    at: tuple = (1, 2)
    out: tuple = (1, 2)
    #: Whether samples are told apart by their place in the batch.
    batched: bool = True
    #: Whether the function itself is run: the model of it cannot be, in this version of Keras.
    eager: bool = False
    #: The type of the input.
    dtype: str = "float64"


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
    program = keras_reader.program_of(Model("model", json.loads(text)))
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
    check_regions(graph, found, case.exact)


def ops_of(layer):
    """Return the names of the handlers that a config needs, those of inner layers too."""
    if isinstance(layer, dict):
        if isinstance(layer.get("class_name"), str) and ("module" in layer or "config" in layer):
            yield op_of(layer)
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
    *[Case("ops.Rot90", lambda x, k=k: K.rot90(x, k, (1, 2)), out=(2, 1) if k % 2 else (1, 2)) for k in range(-1, 3)],
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
    Case("ops.SliceUpdate", lambda x: K.slice_update(x * 0, (0, 1, 2, 0), K.roll(x, 1, 2)[:, 1:4, :3]), exact=False),
    Case("ops.SliceUpdate", lambda x: K.slice_update(x, (0, 1, 0, 0), x[:, 2:4, 1:3])),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_layer_reads(case):
    model = model_of(case)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    assert case.op in set(ops_of(config))
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
    return keras_reader.lowered(Model("hand", layer), **options)


CONV = layer_config("Conv2D", {"filters": 4, "kernel_size": [3, 3]}, name="conv")


def test_operations_in_a_file_that_leaves_modules_out_are_those_of_keras_ops(tmp_path):
    x = keras.Input((8, 8, 3))
    y = L.Conv2D(4, 3, padding="same")(x)
    blocks = K.roll(K.reshape(y, (-1, 4, 2, 8, 4)), 1, 1)
    y = K.reshape(blocks, (-1, 8, 8, 4))[:, 1:] + 1.0
    model = keras.Model(x, L.Conv2D(2, 3)(L.Add()([y, L.Reshape((7, 8, 4))(K.softmax(y))])))
    path = str(tmp_path / "model.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is no format that Keras recommends
        model.save(path)
    found, want = rfgraph.load(path), rfgraph.load(model)
    assert [(n, d["op"], d.get("positions")) for n, d in found.nodes(data=True)] == [
        (n, d["op"], d.get("positions")) for n, d in want.nodes(data=True)
    ]
    assert "unknown" not in nx.get_node_attributes(found, "op").values()


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
    rows = {case.op for case in CASES} | {*keras_layers.ELEMENTWISE, *keras_layers.AUGMENTATIONS}
    rows |= {*keras_layers.NOT_FOLLOWED}
    rows |= {"TFOpLambda", "SlicingOpLambda"}  # of Keras 2: test_keras_2.py
    tables = (keras_ops.UNARY, keras_ops.SEVERAL, keras_ops.REDUCTIONS, keras_ops.NOT_FOLLOWED)
    rows |= {f"ops.{name}" for table in tables for name in table}
    for twin, op in TWINS.items():
        assert HANDLERS.get(twin) is HANDLERS.get(op)
    assert sorted(set(HANDLERS) - rows - set(TWINS)) == []


def test_every_layer_of_keras_has_a_handler():
    kinds = {name: kind for name, kind in vars(L).items() if isinstance(kind, type) and issubclass(kind, L.Layer)}
    aliases = ("AvgPool", "Convolution", "GlobalAvgPool", "GlobalMaxPool", "MaxPool", "SeparableConvolution")
    names = {name for name in kinds if not re.fullmatch(rf"({'|'.join(aliases)})[123]D(Transpose)?", name)}
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


# Gradients of published models.


#: Published models of keras.applications, and the size of image that they are read for.
PUBLISHED = {
    "ResNet50": (90, 64), "MobileNetV2": (96, 70), "EfficientNetB0": (64, 70), "InceptionV3": (107, 80),
    "DenseNet121": (64, 70), "ConvNeXtTiny": (96, 64), "Xception": (71, 75), "MobileNetV3Small": (96, 70),
    "NASNetMobile": (64, 32),
}  # fmt: skip
STEPS_OF = (L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D, L.AveragePooling2D)


def differentiable(name, monkeypatch):
    """Return a published model whose gradient is not 0 wherever it reads: sums for maxima, and weights that add up."""
    rng = np.random.default_rng(3)
    layers = keras.src.layers
    if name == "NASNetMobile":  # Keras refuses to make it on PyTorch, and needs nothing that is not there
        monkeypatch.setattr(keras.src.applications.nasnet.backend, "backend", lambda: "jax")
    rectified = layers.ReLU
    monkeypatch.setattr(layers, "MaxPooling2D", L.AveragePooling2D)
    monkeypatch.setattr(
        layers, "ReLU", lambda limit=None, **keywords: L.Identity(**keywords) if limit else rectified(**keywords)
    )
    monkeypatch.setattr(
        keras.initializers.VarianceScaling, "__call__",
        lambda self, shape, dtype=None: rng.uniform(0.5, 1.5, shape) / np.prod(shape[:-1]),
    )  # fmt: skip
    return getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(*PUBLISHED[name], 3))


@pytest.mark.parametrize("name", PUBLISHED)
def test_gradients_reach_the_region_and_nothing_else(name, monkeypatch):
    size = PUBLISHED[name]
    with monkeypatch.context() as patch:
        model = differentiable(name, patch)
    report = rfgraph.analyze(model, input_size=size)
    assert "unknown" not in {report[node].op for node in report}
    steps = [layer for layer in model.layers if isinstance(layer, STEPS_OF)]
    chosen = [*(steps[len(steps) * k // 12] for k in (1, 2, 6)), model.layers[-1]]
    assert len(chosen) == 4
    x = (200 + 50 * torch.rand((1, *size, 3), dtype=torch.float64)).requires_grad_()
    made = keras.Model(model.inputs, [layer.output for layer in chosen])(x, training=False)
    for layer, output in zip(chosen, made, strict=True):
        sizes = tuple(output.shape[1:3])
        assert report[layer.name].map_size == sizes
        for place in {tuple(n // 2 for n in sizes), (0, 0), tuple(n - 1 for n in sizes)}:
            # A normalisation of channels has a sum that never changes: they are not summed as they are.
            total = (output[0][place] * torch.linspace(1, 2, output.shape[-1], dtype=output.dtype)).sum()
            (gradient,) = torch.autograd.grad(total, x, retain_graph=True)
            assert gradient.any(), (layer.name, place)
            read = gradient.abs().sum((0, 3)).nonzero()
            box = tuple(zip(read.min(0).values.tolist(), read.max(0).values.tolist(), strict=True))
            assert report.region(layer.name, place).box == box, (layer.name, place)


# Graphs: nested and shared, several inputs and outputs, as files write them.


def nested_twice():
    """A model that is called twice, one of whose layers is called twice, with inputs and outputs by name."""
    left, right = keras.Input((16, 16, 3), name="left"), keras.Input((16, 16, 3), name="right")
    shared = L.Conv2D(3, 3, padding="same", name="shared")
    a, b = keras.Input((16, 16, 3), name="a"), keras.Input((16, 16, 3), name="b")
    inner = keras.Model(
        {"a": a, "b": b}, {"z": L.Add(name="sum")([shared(shared(a)), b]), "y": shared(b)}, name="inner"
    )
    once = inner({"a": left, "b": right})
    twice = inner({"b": once["z"], "a": once["y"]})
    after = keras.Sequential([L.MaxPooling2D(name="pool"), L.Dense(2, name="dense")], name="after")
    return keras.Model([left, right], {"map": after(twice["y"]), "other": once["y"]}, name="outer")


def saved(model, tmp_path, name="model.keras"):
    model.save(tmp_path / name)
    return str(tmp_path / name)


def test_models_within_models_and_layers_that_are_shared(tmp_path):
    model = nested_twice()
    live, file = rfgraph.load(model), rfgraph.load(saved(model, tmp_path))
    assert dict(live.nodes(data=True)) == dict(file.nodes(data=True))
    assert set(live.edges) == set(file.edges)
    assert set(live) == {
        "left", "right", "inner/shared", "inner/shared_2", "inner/shared_3", "inner/sum", "inner/shared_4",
        "after/pool", "after/dense",
    }  # fmt: skip
    report = rfgraph.analyze(live, source="left")
    assert report["inner/sum"].size == (5, 5)
    assert report["after/dense"].size == (8, 8)  # two convolutions, one more on the sum, and a pooling
    assert {name: report[name].name for name in report.outputs} == {"map": "after/dense", "other": "inner/shared"}


def test_a_sequential_model_and_what_it_is_built_for(tmp_path):
    layers = [L.Conv2D(4, 3, name="conv"), L.UpSampling2D(name="up"), L.ReLU(name="relu")]
    model = keras.Sequential(layers)
    with pytest.raises(ModelFileError, match=r"live model \(sequential.*pass example="):
        rfgraph.analyze(model)
    assert rfgraph.analyze(model, example=(1, 9, 9, 3))["up"].map_size == (14, 14)
    assert rfgraph.analyze(model, example=(1, 9, 9, 3), input_size=12)["up"].map_size == (20, 20)
    built = keras.Sequential([keras.Input((9, 9, 3), name="image"), *layers])
    path = saved(built, tmp_path)
    assert list(rfgraph.analyze(path)) == list(rfgraph.analyze(built)) == ["image", "conv", "up", "relu"]
    config = built.get_config()
    del config["layers"][0]
    for stated in ({"build_input_shape": [None, 9, 9, 3]}, {}):
        layer = {
            "module": "keras",
            "class_name": "Sequential",
            "config": {**config, "build_input_shape": None, **stated},
        }
        assert list(graph_by_hand(layer)) == ["input", "conv", "up", "relu"]
    for part in layer["config"]["layers"]:
        part.pop("build_config", None)
    with pytest.raises(ModelFileError, match="does not state the shape of its input"):
        graph_by_hand(layer)


def test_calls_as_keras_2_writes_them():
    inner = {
        "class_name": "Functional", "name": "inner",
        "config": {
            "name": "inner", "input_layers": [["i", 0, 0]], "output_layers": [["c", 0, 0]],
            "layers": [
                {"class_name": "InputLayer", "name": "i", "config": {"batch_input_shape": [None, 8, 8, 4]},
                 "inbound_nodes": []},
                {"class_name": "Conv2D", "name": "c",
                 "config": {"filters": 4, "kernel_size": [3, 3], "padding": "same"},
                 "inbound_nodes": [[["i", 0, 0, {}]]]},
            ],
        },
        "inbound_nodes": [[["x", 0, 0, {}]], [["inner", 1, 0, {}]]],
    }  # fmt: skip
    merge = {"class_name": "Add", "name": "add", "config": {},
             "inbound_nodes": [[["inner", 1, 0, {}], ["inner", 2, 0, {"training": False}]]]}  # fmt: skip
    report = rfgraph.analyze(graph_by_hand(by_hand(inner, merge, shape=(None, 8, 8, 4), outputs=["add", 0, 0])))
    assert (report["inner/c"].size, report["inner/c_2"].size, report["add"].size) == ((3, 3), (5, 5), (5, 5))


def test_a_nested_model_is_read_for_the_size_that_it_is_called_on():
    inner = keras.Sequential([keras.Input((8, 8, 4)), L.Conv2D(4, 3, name="c"), L.Flatten(), L.Dense(3)], name="inner")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(inner)))
    graph = graph_by_hand(by_hand({**config, "name": "inner"}, shape=(None, 8, 8, 4)))
    assert "unknown" not in {d["op"] for _, d in graph.nodes(data=True)}
    assert rfgraph.analyze(graph_by_hand(by_hand({**config, "name": "inner"})))["inner/c"].map_size == (4, 5)


def test_a_file_made_for_one_size_is_not_bent_to_another(tmp_path):
    x = keras.Input((8, 8, 2))
    y = L.Conv2D(4, 3, padding="same", name="conv")(x)
    y = L.Conv1D(3, 3, name="rows")(L.Reshape((64, 4), name="reshape")(y))
    path = saved(keras.Model(x, y), tmp_path)
    graph = rfgraph.load(path, input_size=16)
    assert "for which the model was made" in graph.nodes["reshape"]["why"]
    assert rfgraph.analyze(path, input_size=16)["conv"].map_size == (16, 16)


def test_masks_are_read_too():
    x = keras.Input((9, 3), name="x")
    masked = L.Softmax(name="softmax")(x, mask=L.AveragePooling1D(3, 1, "same", name="pool")(x) > 0)
    (end,) = (report := rfgraph.analyze(keras.Model(x, masked))).outputs
    assert end.startswith("softmax/mask")
    assert report[end].size == (3,)


# Live models of the user's own.


class Block(L.Layer):
    def __init__(self, width, **keywords):
        super().__init__(**keywords)
        self.conv, self.norm = L.Conv2D(width, 3, padding="same", name="conv"), L.BatchNormalization(name="norm")

    def build(self, shape):
        self.conv.build(shape)
        self.norm.build((*shape[:-1], self.conv.filters))
        self.gain = self.add_weight(shape=(self.conv.filters,), name="gain")

    def call(self, x, training=None):
        return K.relu(self.norm(self.conv(x), training=training)) * self.gain


class Net(keras.Model):
    def __init__(self):
        super().__init__(name="net")
        self.stem = L.Conv2D(4, 3, 2, name="stem")
        self.block = Block(4, name="block")
        self.head = L.GlobalAveragePooling2D(name="head")

    def call(self, x):
        y = self.stem(x)
        for _ in range(2):
            y = y + self.block(y)
        return self.head(y)


class Branches(L.Layer):
    def call(self, x):
        return x if x.sum() > 0 else -x


def test_a_model_of_ones_own_is_called_on_symbolic_tensors():
    net = Net()
    with pytest.raises(ModelFileError, match=r"live model \(net\).*pass example=.*\(1, 224, 224, 3\)"):
        rfgraph.analyze(net)
    for example in ((1, 17, 17, 3), np.zeros((1, 17, 17, 3)), (None, 17, 17, 3)):
        report = rfgraph.analyze(net, example=example)
        assert list(report)[:4] == ["x", "stem", "block/conv", "block/norm"]
        assert (report["block/conv_2"].size, report["block/conv_2"].stride) == ((11, 11), (2, 2))
        assert report["stem"].map_size == (8, 8)
    assert rfgraph.analyze(net, example=(1, 17, 17, 3), input_size=33)["stem"].map_size == (16, 16)
    assert len(net.block._inbound_nodes) == 0
    with pytest.raises(ModelFileError, match=r"net: it cannot be called on symbolic tensors of \(1, 17, 17, 9\)"):
        rfgraph.analyze(net, example=(1, 17, 17, 9))
    with pytest.raises(ModelFileError, match="size that is not positive"):
        rfgraph.analyze(net, example=(1, 0, 17, 3))
    with pytest.raises(ModelFileError, match="neither a shape nor a tensor"):
        rfgraph.analyze(net, example="image")


# Code that computes with sizes, as transformers of images do: each against the model itself.


class Tokens(L.Layer):
    """A convolution, a product on its positions as one row, and scales on the left of what they scale."""

    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.conv, self.dense = L.Conv2D(4, 3, padding="same", name="conv"), L.Dense(4, name="dense")

    def build(self, shape):
        self.conv.build(shape)
        self.dense.build((None, None, 4))
        self.scale = self.add_weight(shape=(4,), name="scale")

    def call(self, x):
        x = self.conv(x)
        rows = self.dense(K.reshape(x, (K.shape(x)[0], -1, 4)))
        y = K.reshape(rows, (K.shape(x)[0], K.shape(x)[1], K.shape(x)[2], 4))
        return self.scale * x + 2.0**self.scale / (1.0 + np.float64(2.0) * K.square(y))


class Windows(L.Layer):
    """A mean over windows of 2x2, which it cuts out by hand."""

    def call(self, x):
        batch, height, width, channels = K.shape(x)
        x = K.reshape(x, (batch, height // 2, 2, width // 2, 2, channels))
        x = K.reshape(K.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 4, channels))
        return K.reshape(K.mean(x, axis=1), (batch, height // 2, width // 2, -1))

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] // 2, shape[2] // 2, shape[3])


class Untrained(L.Layer):
    """Layers that tell training apart, in a call that does not."""

    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.norm, self.conv = L.BatchNormalization(name="norm"), L.Conv2D(2, 3, name="conv")

    def build(self, shape):
        self.norm.build(shape)
        self.conv.build(shape)

    def call(self, x):
        return self.conv(self.norm(x))


class Trained(Untrained):
    """A call that has to be told whether it trains."""

    def call(self, x, training):
        return self.conv(self.norm(x, training=training))

    def compute_output_shape(self, shape):
        return self.conv.compute_output_shape(shape)


class Line(L.Layer):
    """A layer of the user's own, in one dimension."""

    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.conv = L.Conv1D(2, 3, name="conv")

    def build(self, shape):
        self.conv.build(shape)

    def call(self, x):
        return self.conv(x)

    def compute_output_shape(self, shape):
        return self.conv.compute_output_shape(shape)


def swish(x):
    return x * K.sigmoid(1.5 * x)


def inner(layer):
    """A model with a layer, and a convolution after it."""
    x = keras.Input((6, 8, 4))
    return keras.Model(x, L.Conv2D(3, 3, name="inside")(layer(x)))


EVEN = {"x": (6, 8, 4), "at": (1, 2), "out": (1, 2)}
LIVE = {
    "tokens": Case("Tokens", lambda x: Tokens(name="own")(x), **EVEN),
    "windows": Case("Windows", lambda x: Windows(name="own")(L.Conv2D(2, 3, padding="same")(x)), **EVEN),
    "after": Case("Tokens", lambda x: L.Conv2D(2, 3)(Tokens(name="own")(L.Conv2D(4, 3)(x))), **EVEN),
    "nested": Case("Tokens", lambda x: L.Conv2D(2, 3)(inner(Tokens(name="own"))(x)), **EVEN),
    "chain": Case("Tokens", lambda x: keras.Sequential([L.Conv2D(4, 3), Tokens(name="own")])(x), **EVEN),
    "untrained": Case("Untrained", lambda x: Untrained(name="own")(x), **EVEN),
    "untrained, told": Case("Untrained", lambda x: Untrained(name="own")(x, training=False), **EVEN),
    "trained": Case("Trained", lambda x: Trained(name="own")(x, training=False), **EVEN),
    "each step": Case("Line", lambda x: L.TimeDistributed(Line(name="own"))(x), **{**EVEN, "at": (2,), "out": (2,)}),
    "activation": Case("Conv2D", lambda x: L.Activation(swish)(L.Conv2D(2, 3)(x)), **EVEN),
    "lambda": Case("Conv2D", lambda x: L.Conv2D(2, 3, activation=lambda y: K.relu(y) ** 2 + y)(x), **EVEN),
    "softmax": Case("Conv2D", lambda x: L.Activation(lambda y: K.softmax(y, axis=1))(L.Conv2D(2, 3)(x)), **EVEN),
    "dense": Case("Dense", lambda x: L.Dense(3, activation=K.silu)(L.Conv2D(2, 3)(x)), **EVEN),
}


@pytest.mark.parametrize("case", LIVE.values(), ids=LIVE)
def test_what_code_of_ones_own_reads(case):
    model = model_of(case)
    check_regions(rfgraph.load(model), reads(case, model), case.exact)


def test_code_that_computes_with_sizes_is_called_on_numbers():
    x = keras.Input((None, None, 3), name="x")
    model = keras.Model(x, Tokens(name="own")(x))
    for options in ({"example": (2, 9, 7, 3)}, {"input_size": (9, 7)}, {"input_size": {"x": (9, 7)}}):
        report = rfgraph.analyze(model, **options)
        (end,) = report.outputs
        assert (report[end].size, report[end].map_size, report[end].status) == ((3, 3), (9, 7), "exact")
    unknown = [row for _, row in rfgraph.load(model).nodes(data=True) if row["op"] == "unknown"]
    assert [row["of"] for row in unknown] == ["ops.Reshape"]
    assert "holds sizes that were open when the model was built" in unknown[0]["why"]
    fixed = keras.Input((8, 8, 3), name="x")
    report = rfgraph.analyze(keras.Model(fixed, Tokens(name="own")(fixed)), input_size=12)
    assert report[report.outputs[0]].map_size == (12, 12)
    assert not keras.Variable.__mul__.__qualname__.startswith("_deferring")
    assert not hasattr(keras.KerasTensor, "__array_ufunc__")


def halved(x, padding="same"):
    return keras.layers.Conv2D(3, 3, strides=2, padding=padding)(x)


#: Functional models for any size, and the sizes at which they work.
ANY_SIZE = {
    "strides": (lambda x: halved(halved(x)), "any size from 1"),
    "windows": (lambda x: halved(halved(x, "valid"), "valid"), "any size from 7"),
    "a pool beside": (lambda x: halved(x) + keras.layers.MaxPooling2D(2)(x), "multiples of 2, from 4; also 2 and 3"),
    "a skip": (
        lambda x: keras.layers.Concatenate()([keras.layers.UpSampling2D()(keras.layers.MaxPooling2D()(x)), x]),
        "multiples of 2, from 2",
    ),
}


@pytest.mark.parametrize("name", ANY_SIZE)
def test_a_live_model_with_open_sizes_says_which_it_takes(name):
    build, expected = ANY_SIZE[name]
    model = keras.Model(image := keras.Input((None, None, 3)), build(image))
    for size in (None, 16):
        assert [str(sizes) for sizes in rfgraph.analyze(model, input_size=size).input_sizes] == [expected] * 2
    sizes = rfgraph.analyze(model).input_sizes[0]
    for n in (2, 3, 6, 7, 8):
        try:
            assert all(model(np.zeros((1, n, n, 3), np.float32)).shape)
        except (RuntimeError, ValueError):
            assert n not in sizes
        else:
            assert n in sizes


def test_a_live_model_with_code_of_its_own_or_one_size_claims_none():
    """Code may ask how large its input is, and is not run for all sizes."""

    class Asks(keras.layers.Layer):
        def call(self, x):
            return keras.layers.MaxPooling2D()(x) if x.shape[1] is not None and x.shape[1] > 8 else x

    for image, layer in ((keras.Input((None, None, 3)), Asks()), (keras.Input((16, 16, 3)), halved)):
        model = keras.Model(image, halved(layer(image)))
        assert rfgraph.analyze(model, input_size=16).input_sizes == (None, None)


def test_a_model_is_read_for_sizes_that_it_does_not_run_on():
    x = keras.Input((6, 8, 4), name="x")
    report = rfgraph.analyze(
        keras.Model(x, L.Conv2D(2, 2, name="last")(inner(Untrained(name="own"))(x))), input_size=12
    )
    assert (report["last"].size, report["last"].map_size) == ((6, 6), (7, 7))


def test_layers_of_ones_own_are_followed_live_and_unknown_in_files(tmp_path):
    x = keras.Input((16, 16, 3), name="x")
    model = keras.Model(x, L.Conv2D(2, 3, name="last")(Block(3, name="block")(x)))
    assert rfgraph.analyze(model)["last"].size == (5, 5)

    class Named(Block):
        def get_config(self):
            return {"name": self.name, "width": 3}

    path = saved(keras.Model(x, L.Conv2D(2, 3, name="last")(Named(3, name="block")(x))), tmp_path)
    graph = rfgraph.load(path)
    assert (graph.nodes["block"]["op"], graph.nodes["block"]["of"]) == ("unknown", "Named")
    assert rfgraph.analyze(path)["last"].status == "unknown"
    assert rfgraph.analyze(path, treat={"Named": "identity"})["last"].size == (3, 3)
    assert rfgraph.analyze(path, treat={"Named": "identity"}, input_size=32)["last"].map_size == (30, 30)


def test_what_a_live_layer_cannot_be_followed_in_is_said():
    x = keras.Input((16, 16, 3), name="x")
    built = Branches(name="branches")
    built.compute_output_shape = lambda shape: shape
    built.compute_output_spec = lambda x: keras.KerasTensor(x.shape, x.dtype)
    graph = rfgraph.load(keras.Model(x, L.Conv2D(2, 3, name="last")(built(L.Conv2D(3, 3, name="first")(x)))))
    assert "what it does cannot be followed (" in graph.nodes["branches"]["why"]
    assert rfgraph.analyze(graph)["first"].size == (3, 3)
    assert rfgraph.analyze(graph)["last"].status == "unknown"


def test_a_class_called_as_one_of_keras_is_not_taken_for_it():
    layer = {**CONV, "module": "mine", "registered_name": "mine>Conv2D"}
    for module, of in (("mine", "mine.Conv2D"), (None, "custom.Conv2D")):
        graph = graph_by_hand(by_hand(CONV | {"name": "c"}, {**layer, "module": module}))
        assert graph.nodes["conv"]["of"] == of
    activation = {"module": "mine", "class_name": "function", "config": "relu", "registered_name": "mine>relu"}
    graph = graph_by_hand(by_hand(CONV, layer_config("Activation", {"activation": activation}, name="own")))
    assert (graph.nodes["own"]["op"], graph.nodes["own"]["of"]) == ("unknown", "mine>relu")


def test_functions_that_a_model_holds_are_never_run(tmp_path):
    ran = tmp_path / "ran"
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, L.Lambda(lambda x: x * 2, name="lambda")(L.Conv2D(3, 3)(x)))
    for target in (model, saved(model, tmp_path)):
        graph = rfgraph.load(target)
        assert (graph.nodes["lambda"]["op"], graph.nodes["lambda"]["of"]) == ("unknown", "Lambda")
    body = {"class_name": "__lambda__", "config": {"value": f"open({str(ran)!r}, 'w')"}}
    graph_by_hand(
        by_hand(
            CONV, layer_config("Lambda", {"function": body}, name="l"), layer_config("Activation", {"activation": body})
        )
    )
    assert not ran.exists()


def test_layers_and_operations_are_models_too():
    assert rfgraph.analyze(L.Conv2D(4, 5, name="five"), example=(1, 9, 9, 3))["five"].size == (5, 5)
    assert rfgraph.analyze(Block(3, name="block"), example=(1, 9, 9, 3))["conv"].size == (3, 3)
    x = keras.Input((9, 9, 3))
    function = keras.Function(x, L.AveragePooling2D(3, name="pool")(x))
    assert rfgraph.analyze(function)["pool"].size == (3, 3)


def test_examples_of_several_inputs():
    model = nested_twice()
    for example in ([(1, 32, 16, 3), (1, 32, 16, 3)], {"right": (1, 32, 16, 3), "left": (1, 32, 16, 3)}):
        assert rfgraph.analyze(model, example=example, source="left")["inner/sum"].map_size == (32, 16)
    with pytest.raises(ModelFileError, match="its inputs are left, right; give an example of each"):
        rfgraph.analyze(model, example=(1, 32, 16, 3))
    with pytest.raises(ModelFileError, match="its input 'left' has 4 dimensions, the example 3"):
        rfgraph.analyze(model, example=[(32, 16, 3), (1, 32, 16, 3)])

    class Two(keras.Model):
        def call(self, left, right):
            return L.AveragePooling2D(3, 1, "same")(left) + right

    for example in ([(1, 8, 8, 2), (1, 8, 8, 2)], {"right": (1, 8, 8, 2), "left": (1, 8, 8, 2)}):
        report = rfgraph.analyze(Two(), example=example, source="left")
        assert report[report.outputs[-1]].size == (3, 3)


# Without keras, and damaged files.

BLOCKED = """
    import sys
    sys.modules["keras"] = sys.modules["tensorflow"] = sys.modules["torch"] = None
    import rfgraph
    report = rfgraph.analyze(sys.argv[1])
    print(report["layers_7_add"].size, report["layers_7_add"].stride)
    assert not any(name.startswith(("keras.", "torch.", "tensorflow.", "jax.")) for name in sys.modules)
"""


def test_a_file_is_read_without_keras(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(BLOCKED), saved(resnet18(), tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(435, 435) (32, 32)"


def test_without_keras_a_live_model_asks_for_the_extra(monkeypatch):
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(2, 3)])
    rfgraph.load(model)
    monkeypatch.delitem(sys.modules, "rfgraph.importers.keras.live")
    monkeypatch.delattr(importers, "keras")
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rfgraph\[keras\]'"):
        importers.live(model)


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive_:
        for name, text in members.items():
            archive_.writestr(name, text)
    return str(path)


def file_of(path, layer):
    return packed(path, {"metadata.json": "{}", "config.json": json.dumps(layer), "model.weights.h5": b""})


def test_archives_that_are_no_model_are_refused(tmp_path):
    for members, message in [
        ({"metadata.json": b""}, "holds no config.json"),
        ({"config.json": "{}"}, "not a model saved by Keras.*not the config of a model"),
        ({"config.json": '{"config": {"layers": []}}'}, "whose graph is not in its config"),
        ({"config.json": '{"class_name": "Sequential", "config": {"layers": []}}'}, "its layers are not a list"),
        ({"config.json": "[" * 100_000}, "RecursionError"),
        ({"config.json": b"\xff\xfe{"}, "not a model saved by Keras"),
    ]:
        with pytest.raises(ModelFileError, match=message):
            rfgraph.load(packed(tmp_path / "a.keras", members))
    (tmp_path / "text.keras").write_text("no zip")
    with pytest.raises(ModelFileError, match="not a model saved by Keras"):
        rfgraph.load(str(tmp_path / "text.keras"))


def test_a_zip_bomb_is_refused_unpacked(tmp_path, monkeypatch):
    path = packed(tmp_path / "bomb.keras", {"config.json": b" " * 100_000})
    monkeypatch.setattr(archive, "MAX_BYTES", 99_999)
    with pytest.raises(ModelFileError, match="100000 bytes, more than"):
        rfgraph.load(path)
    data = bytearray(Path(path).read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24  # the size in the central directory
    data[at : at + 4] = (10).to_bytes(4, "little")
    Path(path).write_bytes(data)
    with pytest.raises(ModelFileError, match="not a model saved by Keras"):
        rfgraph.load(path)


def nested(depth, calls):
    """Models within models, each of which calls the next one so many times."""
    layer = by_hand(CONV, shape=(None, 8, 8, 4))
    for _ in range(depth):
        args = [{"args": [tensor("x" if k == 0 else "inner", max(k - 1, 0))], "kwargs": {}} for k in range(calls)]
        layer = by_hand({**layer, "name": "inner", "inbound_nodes": args}, shape=(None, 8, 8, 4),
                        outputs=[["inner", calls, 0]])  # fmt: skip
    return layer


def test_graphs_that_are_absurd_are_refused_in_bounded_time(tmp_path):
    loop = {**CONV, "inbound_nodes": [{"args": [tensor("second")], "kwargs": {}}]}
    cases = [
        (by_hand(loop, {**CONV, "name": "second"}), "layer '(conv|second)' reads what it makes itself"),
        (by_hand({**CONV, "inbound_nodes": [{"args": [tensor("conv")]}]}), "reads what it makes itself"),
        (by_hand({**CONV, "inbound_nodes": [{"args": [tensor("none")]}]}), "a layer called 'none' is read"),
        (by_hand({**CONV, "inbound_nodes": [{"args": [tensor("x", 0, 3)]}]}), "output 3 of 'x' is read"),
        (by_hand(CONV, {**CONV, "name": "b", "inbound_nodes": [{"args": [tensor("conv", 7)]}]}), "call 7 of layer"),
        (by_hand(CONV, CONV), "two layers are called 'conv'"),
        (nested(40, 1), "nested more than 32 deep"),
        (nested(30, 2), "calls more than 20000 layers"),
        (by_hand({**CONV, "config": {"filters": 4, "kernel_size": [3, 3], "strides": 0}}), "'conv'.*strides.*positive"),
        (by_hand({**CONV, "config": {"filters": 4, "kernel_size": [3, -3]}}), "'conv'.*kernel.*not positive"),
        (by_hand({**CONV, "config": {"filters": "4", "kernel_size": [3, 3]}}), "'conv'.*filters '4' is not an integer"),
        (by_hand({**CONV, "config": {"filters": 4, "kernel_size": [3, 3, 3]}}), "one entry for each of 2 axes"),
        (by_hand({**CONV, "config": {"filters": 4, "kernel_size": 3, "padding": "odd"}}), "none of valid, same and"),
        (by_hand({**CONV, "config": {"filters": 4, "kernel_size": 3, "padding": 7}}), "padding 7 is not text"),
        (by_hand(CONV, shape=(None, 6, -7, 4)), "has a negative size"),
        (by_hand(CONV, shape=(None, 6, 7)), "its input has 3 dimensions"),
        ({**by_hand(CONV), "class_name": 3}, None),
    ]
    for layer, message in cases:
        start = time.process_time()
        path = file_of(tmp_path / "a.keras", layer)
        if message is None:
            rfgraph.load(path)
        else:
            with pytest.raises(ModelFileError, match=message):
                rfgraph.load(path)
        assert time.process_time() - start < 10, message


def test_numbers_that_are_absurd_take_no_time_or_memory(tmp_path):
    huge = 10**12
    start = time.process_time()
    for layer in [
        {**CONV, "config": {"filters": huge, "kernel_size": huge, "dilation_rate": huge, "padding": "same"}},
        layer_config("Conv2DTranspose", {"filters": huge, "kernel_size": huge, "strides": huge}),
        layer_config("UpSampling2D", {"size": huge}),
        layer_config("ZeroPadding2D", {"padding": huge}),
        layer_config("Cropping2D", {"cropping": huge}),
        layer_config("Resizing", {"height": huge, "width": 3}),
        layer_config("Dense", {"units": huge}),
        layer_config("Embedding", {"input_dim": huge, "output_dim": huge}),
        layer_config("MultiHeadAttention", {"num_heads": huge, "key_dim": huge}, inbound_nodes=[
            {"args": [tensor("conv"), tensor("conv")]}]),
        layer_config("ops.Repeat", {"repeats": huge, "axis": 1}),
        layer_config("ops.Tile", {"repeats": [1, huge, 1, 1]}),
        layer_config("ops.Split", {"indices_or_sections": huge, "axis": 3}),
        layer_config("ops.BroadcastTo", {"shape": [huge, 4, 5, 4]}),
        layer_config("ops.Pad", {"pad_width": huge}),
        layer_config("ops.ExpandDims", {"axis": list(range(10_000))}),
        layer_config("ops.OneHot", {"num_classes": huge}),
        layer_config("ops.Transpose", {"axes": [0] * 4}),
        layer_config("ConvLSTM2D", {"filters": 3, "kernel_size": huge}),
        layer_config("RNN", {"cell": layer_config("StackedRNNCells", {"cells": [layer_config("LSTMCell")] * 10_000})}),
    ]:  # fmt: skip
        check_read_or_refused(file_of(tmp_path / "a.keras", by_hand(CONV, layer)))
    assert time.process_time() - start < 20


def check_read_or_refused(path):
    try:
        graph = rfgraph.load(str(path))
        assert isinstance(graph, nx.DiGraph)
        rfgraph.analyze(graph)
    except RFGraphError:
        pass


def small_model():
    x = keras.Input((8, 9, 2), name="x")
    y = L.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
    y = keras.Sequential([L.SeparableConv2D(4, 3), L.BatchNormalization(), L.UpSampling2D(2)], name="up")(y)
    z = K.concatenate([y[:, :4, 1:5], K.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])[:, :4, :4]], axis=-1)
    z = K.reshape(z, (-1, 16, 8))
    z = L.MultiHeadAttention(2, 3)(z, z) + L.Bidirectional(L.LSTM(4, return_sequences=True))(z)
    return keras.Model(x, [L.TimeDistributed(L.Dense(3, activation="softmax"))(z), K.mean(y, axis=(1, 2)) * 2])


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_read_or_refused(seed, tmp_path):
    path = file_of(tmp_path / "small.keras", keras.saving.serialize_keras_object(small_model()))
    data = Path(path).read_bytes()
    rng = random.Random(seed)
    for _ in range(120):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 3, 20))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged)) :]
        (tmp_path / "damaged.keras").write_bytes(damaged)
        check_read_or_refused(tmp_path / "damaged.keras")


VALUES = (
    None,
    0,
    -1,
    1,
    7,
    2**70,
    -(2**70),
    1.5,
    "x",
    "same",
    True,
    [],
    [1],
    {},
    {"class_name": "Conv2D"},
    [["x", 0, 0]],
)


def places(tree, found):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found.append((tree, key))
        if isinstance(value, (dict, list)):
            places(value, found)
    return found


#: Entries of a config that are never looked at: weights are not read.
UNREAD = ("initializer", "regularizer", "constraint", "dtype", "compile_config", "registered_name", "seed", "trainable")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_configs_are_read_or_refused(seed, tmp_path):
    text = json.dumps(keras.saving.serialize_keras_object(small_model()))
    rng = random.Random(seed)
    for _ in range(200):
        tree = json.loads(text)
        found = [(owner, key) for owner, key in places(tree, []) if not str(key).endswith(UNREAD)]
        for _ in range(rng.choice((1, 1, 2, 5))):
            owner, key = rng.choice(found)
            if rng.random() < 0.2 and isinstance(owner, dict):
                owner.pop(key, None)
            elif rng.random() < 0.4:
                other, place = rng.choice(found)
                owner[key] = other.get(place) if isinstance(other, dict) else (other[place : place + 1] or [None])[0]
            else:
                owner[key] = rng.choice(VALUES)
        try:
            json.dumps(tree)
        except ValueError:
            continue  # a tree that holds itself
        check_read_or_refused(file_of(tmp_path / "damaged.keras", tree))


def test_steps_of_a_convolutional_recurrence_read_less_than_the_last():
    i = keras.Input((4, 7, 2))
    model = keras.Model(i, L.ConvLSTM1D(3, 3, padding="same", return_sequences=True)(L.Conv2D(2, 1)(i)))
    report = rfgraph.analyze(model)
    (end,) = report.outputs
    assert report[end].map_size == (4, 7)
    assert report[end].status == "bound"


@pytest.mark.parametrize("axis", [1, 2])
def test_rows_indexed_among_whole_slices_are_an_axis_once_they_are_stacked(axis):
    i = keras.Input((4, 5, 2), batch_size=1)
    x = L.Conv2D(2, 1)(i)
    rows = [x[:, k] if axis == 1 else x[:, :, k] for k in range(x.shape[axis])]
    model = keras.Model(i, keras.ops.stack([L.Conv1D(3, 3, padding="same")(row) for row in rows], axis))
    report = rfgraph.analyze(model)
    (end,) = report.outputs
    assert report[end].map_size == (4, 5)
    assert report.region(end, (2, 2)).box == (((2, 2), (1, 3)) if axis == 1 else ((1, 3), (2, 2)))
    assert not report.findings
