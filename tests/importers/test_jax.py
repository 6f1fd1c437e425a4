"""JAX: every primitive against JAX itself, whose inputs are perturbed; functions; flax, equinox and haiku models.

The oracle is JAX in double precision. A pixel is changed, in all its channels; the outputs that change are the ones
that read it. For every output feature the box of the pixels that it reads must be the region that rfgraph gives.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import op_by_op  # noqa: E402
from architectures import ARCHITECTURES, check_table  # noqa: E402
from perturbation import check_regions  # noqa: E402

import rfgraph  # noqa: E402
from rfgraph import importers  # noqa: E402
from rfgraph.errors import MissingExtraError, ModelFileError  # noqa: E402
from rfgraph.importers.jax import live  # noqa: E402
from rfgraph.importers.jax import numbers as jax_numbers  # noqa: E402
from rfgraph.importers.jax import reader as jaxpr  # noqa: E402
from rfgraph.importers.jax.flattening import Graph, Step, Traced  # noqa: E402
from rfgraph.importers.jax.nodes import HANDLERS  # noqa: E402
from rfgraph.importers.jax.primitives import NOT_FOLLOWED, POINTWISE, SAME  # noqa: E402
from rfgraph.importers.jax.reader import CONTROL, Reader  # noqa: E402
from rfgraph.importers.jax.recurrences import is_recurrent  # noqa: E402
from rfgraph.importers.lowering.lower import lower  # noqa: E402
from rfgraph.importers.program.dimensions import symbol  # noqa: E402

jnp, lax, nn = jax.numpy, jax.lax, jax.nn

IMAGE = (1, 4, 6, 7)
#: Differences smaller than this are rounding.
NOISE = 1e-9


@dataclass(frozen=True)
class Case(op_by_op.Case):
    """A function of one array, and the primitive that it must be traced to."""

    x: tuple = IMAGE
    at: tuple = (2, 3)
    out: tuple = (2, 3)


def in_double(function):
    """Run a test in double precision, which is JAX's setting for as long as that takes."""

    @functools.wraps(function)
    def run(*arguments, **keywords):
        with jax.enable_x64(True):
            return function(*arguments, **keywords)

    return run


def traced_of(run, shape):
    return live.trace(run, jax.ShapeDtypeStruct(shape, np.float64))


def reads(case: Case) -> np.ndarray:
    """Return which pixels each output feature reads: booleans [*output positions, *input positions]."""
    rng = np.random.default_rng(0)
    spatial = [case.x[d] for d in case.at]
    bases = rng.uniform(-2, 2, (2, *case.x))
    stack = [*bases]
    for base, value, pixel in itertools.product(bases, (None, 9.0, -9.0), itertools.product(*map(range, spatial))):
        near = base.copy()
        index = [slice(None)] * len(case.x)
        for d, i in zip(case.at, pixel, strict=True):
            index[d] = i
        near[tuple(index)] = rng.uniform(-2, 2, near[tuple(index)].shape) if value is None else value
        stack.append(near)
    made = np.asarray(jax.jit(jax.vmap(lambda x: op_by_op.first(case.run(x))))(np.stack(stack))).astype(np.float64)
    shape = made.shape[1:]
    near = made[2:].reshape(2, 3, *spatial, *shape)
    base = made[:2].reshape(2, 1, *[1] * len(spatial), *shape)
    changed = (np.abs(near - base) > NOISE).any(axis=(0, 1))
    kept = [d for d in case.out if d is not None]
    others = tuple(len(spatial) + d for d in range(len(shape)) if d not in kept)
    changed = changed.any(axis=others)  # [*input positions, *output positions, in the order that the output has them]
    places = [len(spatial) + int(np.argsort(np.argsort(kept))[k]) for k in range(len(kept))]
    changed = changed.transpose(*places, *range(len(spatial)))
    sizes = [1 if d is None else shape[d] for d in case.out]
    return changed.reshape(*sizes, *spatial)


def graph_of(case: Case):
    return lower(Reader(traced_of(case.run, case.x)).program(), spatial={"x": case.at})


def check_reads(case: Case) -> None:
    found = reads(case)
    graph = graph_of(case)
    check_regions(graph, found, case.exact)


def w(*shape):
    return np.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape)


def conv(x, weight, strides=(1, 1), padding="SAME", **options):
    return lax.conv_general_dilated(x, weight, strides, padding, **options)


def window(x, combine, size, strides=None, padding="VALID", start=0.0, **options):
    return lax.reduce_window(x, start, combine, (1, 1, *size), (1, 1, *(strides or size)), padding, **options)


def windows_of(x, size):
    """``reduce_window`` by a function of its own: the greatest magnitude."""
    return window(x, lambda a, b: jnp.where(jnp.abs(a) > jnp.abs(b), a, b), size, (1, 2))


def resized(x, height, width, how, **options):
    return jax.image.resize(x, (*x.shape[:2], height, width), how, **options)


def summed(x, turns):
    """A loop whose turns are known."""
    return lax.fori_loop(0, turns, lambda i, y: y + jnp.roll(x, 1, 1), x)


def counted(x, turns):
    return lax.while_loop(lambda s: s[0] < turns, lambda s: (s[0] + 1, jnp.pad(s[1], one_before)[:, :, :-1]), (0, x))[1]


def scanned(x, reverse=False):
    """Each row of channels with those before it."""
    return lax.scan(lambda carry, row: (carry + row, carry + row), jnp.zeros_like(x[:, 0]), x.swapaxes(0, 1),
                    reverse=reverse)[1].swapaxes(0, 1)  # fmt: skip


def recurrent(x, merged=False):
    """A recurrent layer with a gate: its last state, and all of its states."""

    def turn(state, row):
        both = jnp.concatenate([state, row], -1) @ w(8, 8) if merged else row @ w(4, 8) + state @ w(4, 8)
        gate, new = jnp.split(jnp.tanh(both * 0.1), 2, -1)
        state = nn.sigmoid(gate) * new + state * 0.5
        return state, state

    last, states = lax.scan(turn, jnp.zeros((x.shape[0], 4)), x.transpose(2, 0, 1))
    return last, states.transpose(1, 2, 0)


def windows(x, size):
    """Attention among the positions of each window."""
    tokens = x.transpose(0, 2, 1).reshape(-1, size, 1, x.shape[1])
    return nn.dot_product_attention(tokens, tokens, tokens).reshape(1, -1, x.shape[1])


one_before = ((0, 0), (0, 0), (1, 0), (0, 0))
T, V = (1, 4, 9), (1, 2, 4, 5, 3)
LINE = {"x": T, "at": (2,), "out": (2,)}
CUBE = {"x": V, "at": (2, 3, 4), "out": (2, 3, 4)}
LAST = {"x": (1, 6, 7, 4), "at": (1, 2), "out": (1, 2)}
WHOLE = {"out": (None, None)}
BOUND = {"exact": False}

# fmt: off
CASES = [
    # Convolutions.
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 3, 2), (2, 1), ((1, 0), (0, 2)))),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 3, 2), (2, 3), "SAME")),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 3, 2), (2, 1), ((-1, 2), (1, -2)), rhs_dilation=(1, 2))),
    Case("conv_general_dilated", lambda x: conv(x, w(4, 2, 3, 3), feature_group_count=2)),
    Case("conv_general_dilated", lambda x: conv(x, w(4, 2, 3, 3), batch_group_count=2), x=(2, 2, 6, 7)),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 2, 4, 3), (1, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")),
         x=(1, 6, 7, 4), at=(1, 2), out=(1, 2)),
    Case("conv_general_dilated", lambda x: conv(x, w(2, 4, 3, 3), (1, 2), dimension_numbers=("WCNH", "WIHO", "HNWC")),
         x=(6, 4, 1, 7), at=(3, 0), out=(0, 2)),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 3), (2,), ((2, 0),), rhs_dilation=(2,)), **LINE),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 2, 3, 1, 2), (2, 1, 1), "SAME"), **CUBE),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 3, 2), padding=((1, 2), (0, 1)), lhs_dilation=(2, 3))),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 3, 3), padding=((2, 0), (3, 1)), lhs_dilation=(2, 3),
                                                rhs_dilation=(2, 1))),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 3, 3), padding=((4, 3), (-1, -1)), lhs_dilation=(2, 2),
                                                rhs_dilation=(3, 2))),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 3, 2), (3, 2), ((1, 2), (2, 2)), lhs_dilation=(2, 1))),
    Case("conv_general_dilated", lambda x: conv(x, w(3, 4, 2, 2), padding=((0, 0), (0, 0)), lhs_dilation=(3, 2))),
    Case("conv_general_dilated", lambda x: lax.conv_transpose(x, w(3, 4, 4, 3), (2, 3), "SAME",
                                                              dimension_numbers=("NCHW", "OIHW", "NCHW"))),
    Case("conv_general_dilated", lambda x: conv(w(1, 4, 6, 7), x[:3]), **WHOLE, x=(4, 4, 3, 3)),
    Case("conv_general_dilated", lambda x: lax.conv_general_dilated(x[:, :, 0, 0], w(3, 4), (), ()), **BOUND,
         **WHOLE),
    Case("conv_general_dilated", lambda x: lax.conv_general_dilated_patches(x, (3, 2), (1, 2), "SAME")),
    # Poolings.
    Case("reduce_window_max", lambda x: window(x, lax.max, (3, 2), (2, 1), "SAME", -np.inf)),
    Case("reduce_window_max", lambda x: window(x, lax.max, (2, 2), (1, 1), ((0, 0), (0, 0), (1, 0), (0, 2)), -np.inf,
                                               window_dilation=(1, 1, 2, 3))),
    Case("reduce_window_min", lambda x: window(x, lax.min, (3, 2), start=np.inf)),
    Case("reduce_window_sum", lambda x: window(x, lax.add, (3, 3), (1, 2), "SAME")),
    Case("reduce_window_sum", lambda x: window(x, lax.add, (3, 2), (1, 1), base_dilation=(1, 1, 2, 2))),
    Case("reduce_window_sum", lambda x: window(x, lax.add, (3, 2), (2, 3), "SAME", base_dilation=(1, 1, 2, 1))),
    Case("reduce_window_sum", lambda x: window(x, lax.add, (1, 1)) + x),
    Case("reduce_window", lambda x: windows_of(x, (2, 3))),
    # Resolutions.
    Case("dot_general", lambda x: resized(x, 12, 14, "linear")),
    Case("dot_general", lambda x: resized(x, 9, 7, "bilinear")),
    Case("dot_general", lambda x: resized(x, 4, 3, "linear")),
    Case("dot_general", lambda x: resized(x, 4, 3, "linear", antialias=False)),
    Case("dot_general", lambda x: resized(x, 3, 14, "cubic")),
    Case("dot_general", lambda x: resized(x, 4, 21, "bicubic", antialias=False)),
    Case("dot_general", lambda x: resized(x, 12, 5, "lanczos3")),
    Case("dot_general", lambda x: jax.image.resize(x, (1, 12, 5, 4), "lanczos5"), **LAST),
    Case("gather", lambda x: resized(x, 12, 10, "nearest")),
    Case("gather", lambda x: resized(x, 4, 3, "nearest")),
    Case("dot_general", lambda x: jax.image.scale_and_translate(
        x, (1, 4, 12, 14), (2, 3), jnp.array([2.0, 2.0]), jnp.array([0.0, 0.0]), "linear"), exact=False),
    Case("broadcast_in_dim", lambda x: jnp.repeat(jnp.repeat(x, 2, 2), 3, 3)),
    # Reductions and mixtures.
    Case("reduce_sum", lambda x: x.sum((2, 3)), **WHOLE),
    Case("reduce_sum", lambda x: x.mean(3), out=(2, None)),
    Case("reduce_max", lambda x: x.max(1, keepdims=True)),
    Case("reduce_min", lambda x: x.min((0, 1)), out=(0, 1)),
    Case("reduce_prod", lambda x: x.prod(1)[:, None]),
    Case("reduce_and", lambda x: (x > 0).all(1), out=(1, 2)),
    Case("reduce_or", lambda x: (x > 0).any(1), out=(1, 2)),
    Case("reduce_xor", lambda x: lax.reduce_xor((x > 0).astype(int), (1,)), out=(1, 2), **BOUND),
    Case("argmax", lambda x: x.argmax(1), out=(1, 2)),
    Case("argmin", lambda x: x.argmin(1), out=(1, 2)),
    Case("reduce", lambda x: lax.reduce((x, 2 * x), (0.0, 0.0), lambda a, b: (a[0] * b[1] + b[0], a[1] + b[1]), (1,)),
         out=(1, 2)),
    Case("cumsum", lambda x: jnp.cumsum(x, 1)),
    Case("cumsum", lambda x: jnp.cumsum(x, 2), **BOUND),
    Case("cumprod", lambda x: jnp.cumprod(x, 1)),
    Case("cummax", lambda x: lax.cummax(x, 1)),
    Case("cummin", lambda x: lax.cummin(x, 1)),
    Case("cumlogsumexp", lambda x: lax.cumlogsumexp(x, 1)),
    Case("sort", lambda x: jnp.sort(x, 1)),
    Case("sort", lambda x: jnp.sort(x, 2), **BOUND),
    Case("sort", lambda x: lax.sort((x, jnp.roll(x, 1, 1)), dimension=1, num_keys=1)[1]),
    Case("top_k", lambda x: lax.top_k(x.transpose(0, 2, 3, 1), 2)[0], out=(1, 2)),
    Case("approx_top_k", lambda x: lax.approx_max_k(x, 2, reduction_dimension=1)[0]),
    Case("fft", lambda x: jnp.abs(jnp.fft.fft(x.transpose(0, 2, 3, 1))), out=(1, 2)),
    Case("fft", lambda x: jnp.abs(jnp.fft.rfft(x, axis=3))),
    Case("fft", lambda x: jnp.fft.irfft(x.astype(complex))),
    Case("exp", lambda x: nn.softmax(x, 1)),
    Case("exp", lambda x: nn.softmax(x, 3)),
    Case("rsqrt", lambda x: nn.standardize(x, (1,))),
    # Products.
    Case("dot_general", lambda x: jnp.einsum("bchw,cd->bdhw", x, w(4, 5))),
    Case("dot_general", lambda x: jnp.einsum("bchw,hd->bcdw", x, w(6, 6))),
    Case("dot_general", lambda x: jnp.einsum("bchw,cw->bhc", x, w(4, 7)), out=(1, None)),
    Case("dot_general", lambda x: jnp.einsum("bchw,bdhw->bcdhw", x, x * 2), out=(3, 4)),
    Case("dot_general", lambda x: x.transpose(0, 2, 3, 1) @ w(4, 3), out=(1, 2)),
    Case("dot_general", lambda x: nn.dot_product_attention(*[x.transpose(0, 2, 1)[:, :, None]] * 3)[:, :, 0],
         x=T, at=(2,), out=(1,)),
    Case("dot_general", lambda x: windows(x, 4), x=(1, 4, 12), at=(2,), out=(1,)),
    # Elements moved, dropped, added.
    Case("pad", lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 0), (1, 2, 0), (-1, 3, 0)))),
    Case("pad", lambda x: lax.pad(x, 0.0, ((0, 0, 0), (1, 1, 0), (0, 0, 2), (1, -2, 1)))),
    Case("pad", lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 0), (0, 0, 2), (0, 0, 0)))),
    Case("pad", lambda x: lax.pad(x, x.sum(), ((0, 0, 0), (0, 0, 0), (1, 1, 1), (0, 0, 0))), **BOUND),
    Case("pad", lambda x: jnp.pad(x, ((0, 0), (1, 0), (2, 1), (1, 3)))),
    Case("jit", lambda x: jnp.pad(x, ((0, 0), (0, 0), (2, 1), (1, 3)), mode="reflect")),
    Case("jit", lambda x: jnp.pad(x, ((0, 0), (0, 0), (2, 1), (8, 3)), mode="symmetric")),
    Case("jit", lambda x: jnp.pad(x, ((0, 0), (0, 0), (2, 1), (0, 3)), mode="wrap")),
    Case("jit", lambda x: jnp.pad(x, ((0, 0), (1, 0), (2, 1), (0, 3)), mode="edge")),
    Case("slice", lambda x: x[:, 1:, 1:-1:2, :5]),
    Case("slice", lambda x: x[:, :, 2], out=(None, 2)),
    Case("dynamic_slice", lambda x: lax.dynamic_slice(x, (0, 1, 2, 9), (1, 2, 3, 3))),
    Case("dynamic_slice", lambda x: lax.dynamic_slice(x, (0, x.argmax() % 2, 0, 0), (1, 2, 6, 7)), unknown="begins"),
    Case("dynamic_update_slice", lambda x: lax.dynamic_update_slice(x, x[:, :2, :3, :2] * 2, (0, 1, 2, 3)), **BOUND),
    Case("dynamic_update_slice", lambda x: lax.dynamic_update_slice(x, jnp.zeros((1, 4, 2, 7)), (0, 0, 3, 0))),
    Case("dynamic_update_slice", lambda x: lax.dynamic_update_slice(x, 3 * x, (0, 0, 3, 0))),
    Case("scatter", lambda x: x.at[:, :, 2:4].set(0.0)),
    Case("scatter", lambda x: x.at[:, 2].set(x[:, 3])),
    Case("scatter", lambda x: x.at[:, jnp.array([0, 2])].set(x[:, :2]), unknown="indices"),
    Case("concatenate", lambda x: jnp.concatenate([x, 2 * x], 1)),
    Case("concatenate", lambda x: jnp.concatenate([x, x[:, :, 1:3]], 2)),
    Case("concatenate", lambda x: jnp.concatenate([jnp.ones((1, 4, 1, 7)), x, jnp.zeros((1, 4, 2, 7)), x], 2)),
    Case("concatenate", lambda x: jnp.concatenate([x, jnp.ones((1, 2, 6, 7)), x], 1)),
    Case("stack", lambda x: jnp.stack([x, 2 * x], 2), out=(3, 4)),
    Case("unstack", lambda x: jnp.unstack(x, axis=1)[2], out=(1, 2)),
    Case("unstack", lambda x: jnp.unstack(x, axis=2)[4], out=(None, 2)),
    Case("jit", lambda x: jnp.roll(x, (2, -1), (3, 2))),
    Case("jit", lambda x: jnp.roll(x, 1, 1)),
    Case("split", lambda x: jnp.split(x, [1, 3], 2)[0]),
    Case("split", lambda x: sum(jnp.split(x, 2, 1))),
    Case("rev", lambda x: x[:, ::-1]),
    Case("rev", lambda x: x[:, :, ::-1], **BOUND),
    Case("tile", lambda x: jnp.tile(x, (1, 3, 2, 1)), **BOUND),
    Case("gather", lambda x: x[:, jnp.array([2, 0])]),
    Case("gather", lambda x: x[:, :, jnp.array([0, 2, 4])]),
    Case("gather", lambda x: x[:, :, jnp.arange(5, -1, -2)]),
    Case("gather", lambda x: x[:, :, jnp.arange(12) // 2]),
    Case("gather", lambda x: jnp.take(x, jnp.array([1, 3, 5]), axis=3)),
    Case("gather", lambda x: jnp.take(x, jnp.array([1, 3, 9]), axis=3, mode="clip")),
    Case("gather", lambda x: jnp.take(x, jnp.array([1, 3, 9]), axis=3, mode="fill"), unknown="beyond"),
    Case("gather", lambda x: x[:, jnp.array([[2, 0], [1, 1], [0, 3]])], out=(3, 4)),
    Case("gather", lambda x: x[:, :, jnp.array([0, 2])[:, None], jnp.array([[1, 3, 5]])]),
    Case("gather", lambda x: x[:, :, jnp.array([0, 2]), jnp.array([1, 3])], unknown="indices"),
    Case("gather", lambda x: jnp.take_along_axis(x, x.argmax(2, keepdims=True), 2), unknown="indices"),
    Case("gather", lambda x: x[0, :, jnp.array([1]), 3:5], out=(0, 2)),
    Case("gather", lambda x: jnp.asarray(w(2, 3))[(x > 0).astype(int)], out=(2, 3)),
    # Numbering.
    Case("reshape", lambda x: x.reshape(1, 2, 2, 6, 7), out=(3, 4)),
    Case("reshape", lambda x: x.reshape(4, 42).T.reshape(6, 7, 4), out=(0, 1)),
    Case("squeeze", lambda x: jnp.squeeze(x, 0), out=(1, 2)),
    Case("transpose", lambda x: x.transpose(3, 0, 2, 1), out=(2, 0)),
    Case("broadcast_in_dim", lambda x: jnp.broadcast_to(x[:, :1], (3, 5, 6, 7))),
    Case("broadcast_in_dim", lambda x: x[:, None, ..., None], out=(3, 4)),
    # Functions of several tensors, of other types, of constants and of chance.
    Case("select_n", lambda x: jnp.where(x > 0, x, -2 * x)),
    Case("clamp", lambda x: lax.clamp(-1.0, x, x[:, ::-1])),
    Case("convert_element_type", lambda x: (x.astype(np.float32) * 2).astype(np.float64)),
    Case("reduce_precision", lambda x: lax.reduce_precision(x, 8, 20) * 2),
    Case("bitcast_convert_type", lambda x: lax.bitcast_convert_type(x, np.int64) + 1),
    Case("bitcast_convert_type", lambda x: lax.bitcast_convert_type(x, np.int32), unknown="another size"),
    Case("stop_gradient", lambda x: lax.stop_gradient(x) * 2),
    Case("optimization_barrier", lambda x: lax.optimization_barrier((x, 2 * x))[1]),
    Case("copy", lambda x: jnp.copy(x) * 2),
    Case("add", lambda x: x + jnp.arange(7.0)),
    Case("integer_pow", lambda x: x**3 * w(4, 1, 1)),
    Case("random_bits", lambda x: x * jax.random.bernoulli(jax.random.key(0), 0.5, (7,)).astype(float) + x),
    # Calls, branches, loops.
    Case("max", lambda x: nn.relu(x)),
    Case("max", lambda x: jax.checkpoint(nn.relu)(x)),
    Case("dot_general", lambda x: jax.jit(lambda y: jnp.einsum("bchw,cd->bdhw", y, w(4, 5)))(x)),
    Case("cond", lambda x: lax.cond(x.sum() > 0, lambda y: jnp.pad(y, one_before)[:, :, :-1], lambda y: 2 * y, x),
         **BOUND),
    Case("cond", lambda x: lax.cond(jnp.sum(jnp.arange(3)) > 2, lambda y: x * y, lambda y: y.sum() + x, x)),
    Case("cond", lambda x: lax.switch(x.argmax(), [lambda y: y, lambda y: 2 * y, lambda y: y * y], x), **BOUND),
    Case("scan", lambda x: summed(x, 3)),
    Case("scan", lambda x: scanned(x)),
    Case("scan", lambda x: scanned(x, reverse=True)),
    Case("scan", lambda x: lax.scan(lambda y, a: (conv(y, a), None), x, w(3, 4, 4, 3, 2))[0]),
    Case("scan", lambda x: lax.map(lambda y: window(y[None], lax.add, (2, 3))[0], x), x=(70, 4, 6, 7)),
    Case("scan", lambda x: lax.map(lambda row: jnp.cumsum(row, 2), x.transpose(2, 0, 1, 3)), out=(0, 3), **BOUND),
    Case("scan", lambda x: recurrent(x)[1], **BOUND, **LINE),
    Case("scan", lambda x: recurrent(x, merged=True)[1], x=(1, 4, 70), at=(2,), out=(2,), **BOUND),
    Case("scan", lambda x: recurrent(x)[0], x=T, at=(2,), out=(None,)),
    Case("scan", lambda x: lax.scan(lambda h, row: (jnp.roll(h, 1, 2) + row, h), x[:, :, 0], x.transpose(2, 0, 1, 3)
                                    )[1], x=(1, 4, 70, 7), at=(2, 3), out=(0, 3), unknown="runs 70 times"),
    Case("scan", lambda x: summed(x, 70), unknown="runs 70 times"),
    Case("while", lambda x: counted(x, jnp.sum(jnp.arange(3)))),
    Case("while", lambda x: counted(x, 70), unknown="more than 64 times"),
    Case("while", lambda x: counted(x, x.argmax()), unknown="not known beforehand"),
    # Not followed, and why.
    Case("scatter-add", lambda x: x.at[:, :, jnp.array([1, 1])].add(1.0), unknown="writes"),
    Case("select_and_scatter_add", lambda x: jax.grad(lambda y: window(y, lax.max, (2, 2), start=-np.inf).sum())(x),
         unknown="selects"),
    Case("pure_callback", lambda x: jax.pure_callback(lambda y: y, jax.ShapeDtypeStruct(x.shape, x.dtype), x,
                                                      vmap_method="sequential"), unknown="not traced"),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@in_double
def test_what_a_primitive_reads(case):
    assert case.op in called(traced_of(case.run, case.x).graph)
    if case.unknown:
        graph = graph_of(case)
        assert any(d["op"] == "unknown" and case.unknown in d.get("why", "") for _, d in graph.nodes(data=True))
        return
    check_reads(case)


def called(graph):
    found = set()
    for step in graph.steps:
        found.add(step.op)
        for value in step.parameters.values():
            for body in value if isinstance(value, tuple) else (value,):
                found |= called(body) if isinstance(body, Graph) else set()
    return found


def written_by_hand(op, inputs=1, shape=IMAGE, **parameters):
    """A traced function of one primitive, without JAX."""
    names = tuple("xyz"[:inputs])
    graph = Graph(tuple(range(inputs)), {}, (Step(op, parameters, tuple(range(inputs)), (9,)),), (9,), {
        **dict.fromkeys(range(inputs), shape), 9: shape})  # fmt: skip
    return Traced("hand", graph, names)


PRIMITIVES = {
    getattr(module, name).name
    for module in map(importlib.import_module, ("jax.extend.core.primitives", "jax._src.lax.lax"))
    for name in dir(module)
    if name.endswith("_p")
}
#: How many operands a function of elements has, if it is not the one of its row.
SEVERAL = {
    **dict.fromkeys(("select_n", "clamp", "regularized_incomplete_beta"), 3),
    **dict.fromkeys(
        ("add", "add_any", "sub", "mul", "div", "max", "min", "pow", "rem", "atan2", "and", "or", "xor", "eq", "ne",
         "lt", "le", "gt", "ge", "eq_to", "lt_to", "le_to", "nextafter", "shift_left", "shift_right_arithmetic",
         "shift_right_logical", "complex", "igamma", "igammac", "igamma_grad_a", "polygamma", "zeta", "mulhi"), 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("op", sorted(POINTWISE))
def test_a_function_of_elements_reads_its_own_position_of_each(op):
    assert op in PRIMITIVES
    names = "xyz"[: SEVERAL.get(op, 1)]
    program = Reader(written_by_hand(op, len(names))).program()
    graph = lower(program, spatial=dict.fromkeys(names, (2, 3)))
    node = list(graph)[-1]
    assert {rfgraph.analyze(graph, source=name)[node].size for name in names} == {(1, 1)}


@pytest.mark.parametrize("op", sorted(NOT_FOLLOWED))
def test_what_is_not_followed_says_why(op):
    graph = lower(Reader(written_by_hand(op)).program(), spatial={"x": (2, 3)})
    (unknown,) = [d for _, d in graph.nodes(data=True) if d["op"] == "unknown"]
    assert (unknown["of"], unknown["why"]) == (op, NOT_FOLLOWED[op])


@pytest.mark.parametrize("op", sorted(SAME))
def test_marks_and_types_make_no_node(op):
    program = Reader(written_by_hand(op)).program()
    assert program.instructions == ()
    assert program.outputs == program.inputs


#: Names that other versions of JAX have for primitives with a row, and what makes random numbers of keys.
TWINS = {"copy_p": "copy", "expand_dims": "squeeze"}
RANDOM = ("random_seed", "random_fold_in", "random_split", "random_wrap", "random_unwrap", "random_clone",
          "threefry2x32", "random_gamma", "rng_bit_generator", "rng_uniform")  # fmt: skip


def test_every_primitive_has_a_row():
    rows = {case.op for case in CASES} | {*POINTWISE, *NOT_FOLLOWED, *SAME, *RANDOM, *TWINS}
    assert sorted(set(HANDLERS) - rows) == []
    assert sorted(set(CONTROL) - rows) == []


@pytest.mark.parametrize("op", RANDOM)
def test_random_numbers_depend_on_no_position(op):
    made = HANDLERS.get(op)(jaxpr.Node("n", op, {}, (), ((3,), (4,))), jaxpr.Builder("random"))
    assert [(value.shape, value.constant) for value in made] == [((3,), True), ((4,), True)]


# Numbers that no input reaches.


NUMBERS = {
    "add": lambda x: x + 1, "sub": lambda x: 1 - x, "mul": lambda x: x * 3, "div": lambda x: x / 3,
    "max": lambda x: jnp.maximum(x, 1), "min": lambda x: jnp.minimum(x, 1), "neg": lambda x: -x,
    "sign": jnp.sign, "floor": jnp.floor, "ceil": jnp.ceil, "abs": jnp.abs, "rem": lambda x: lax.rem(x, 2.0),
    "pow": lambda x: lax.pow(jnp.abs(x), 0.7), "sqrt": lambda x: jnp.sqrt(jnp.abs(x)), "square": jnp.square,
    "exp": jnp.exp, "log": lambda x: jnp.log(jnp.abs(x) + 1), "sin": jnp.sin, "cos": jnp.cos, "tanh": jnp.tanh,
    "lt": lambda x: x < 1, "le": lambda x: x <= 1, "gt": lambda x: x > 1, "ge": lambda x: x >= 1,
    "eq": lambda x: x == 1, "ne": lambda x: x != 1, "and": lambda x: (x > 1) & (x < 3),
    "or": lambda x: (x > 1) | (x < 0), "xor": lambda x: (x > 1) ^ (x < 3), "not": lambda x: ~(x > 1),
    "is_finite": jnp.isfinite, "stop_gradient": lax.stop_gradient, "copy": jnp.copy,
    "shift_left": lambda x: lax.shift_left(jnp.arange(4), 2),
    "shift_right_arithmetic": lambda x: lax.shift_right_arithmetic(jnp.arange(-4, 4), 1),
    "rsqrt": lambda x: lax.rsqrt(jnp.abs(x) + 1), "integer_pow": lambda x: lax.integer_pow(jnp.abs(x) + 1, -3),
    "round": lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO) + jnp.round(x),
    "clamp": lambda x: lax.clamp(0.0, x, 2.0), "select_n": lambda x: jnp.where(x > 1, x, -x),
    "convert_element_type": lambda x: x.astype(int), "iota": lambda x: lax.broadcasted_iota(int, (3, 4), 1),
    "broadcast_in_dim": lambda x: jnp.broadcast_to(x[:, None], (3, 2, 4)), "reshape": lambda x: x.reshape(2, 6),
    "squeeze": lambda x: x[None].squeeze(0), "transpose": lambda x: x.T, "rev": lambda x: x[::-1],
    "slice": lambda x: x[1:, ::2], "dynamic_slice": lambda x: lax.dynamic_slice(x, (1, 9), (2, 2)),
    "concatenate": lambda x: jnp.concatenate([x, x], 1), "tile": lambda x: jnp.tile(x, (2, 1)),
    "stack": lambda x: jnp.stack([x, 2 * x], 1),
    "pad": lambda x: lax.pad(x, 7.0, ((1, -1, 2), (-2, 3, 0))), "split": lambda x: jnp.split(x, [1], 1)[1],
    "dot_general": lambda x: jnp.einsum("ij,ik->kj", x, x * 2), "reduce_sum": lambda x: x.sum(1),
    "reduce_prod": lambda x: x.prod(0), "reduce_max": lambda x: x.max(), "reduce_min": lambda x: x.min(0),
    "reduce_and": lambda x: (x > 0).all(1), "reduce_or": lambda x: (x > 2).any(1), "argmax": lambda x: x.argmax(1),
    "argmin": lambda x: x.argmin(0), "cumsum": lambda x: jnp.cumsum(x, 1), "cumprod": lambda x: jnp.cumprod(x, 0),
    "cummax": lambda x: lax.cummax(x, 1), "cummin": lambda x: lax.cummin(x, 1, reverse=True),
}  # fmt: skip


@pytest.mark.parametrize("op", sorted(NUMBERS))
@in_double
def test_numbers_are_what_jax_makes_of_them(op):
    def run(shift):  # the argument keeps JAX from evaluating it while it traces
        rows = (lax.iota(np.float64, 12).reshape(3, 4) - 3.3) * 0.7
        return NUMBERS[op](rows)

    traced = live.trace(run, (1,))
    assert op in called(traced.graph)
    reader = Reader(traced)
    (made,) = reader.run(traced.graph, [jaxpr.Operand(reader.build.input("x", (1,)))], "")
    np.testing.assert_allclose(made.numbers, run(None), rtol=1e-12)


def test_every_evaluator_has_a_row():
    assert sorted(set(jax_numbers.EVALUATORS) - set(NUMBERS) - {"copy_p", "dim_as_value"}) == []
    assert sorted(jax_numbers.MOVES - set(jax_numbers.EVALUATORS)) == []


def test_numbers_that_depend_on_open_sizes_are_known_at_some():
    def run(x):
        return jnp.arange(x.shape[0]) * 2 + jnp.array(x.shape[0] + 1)

    traced = live.trace(run, (4,), {"x": jax.export.symbolic_shape("n")})
    assert "dim_as_value" in called(traced.graph)
    reader = Reader(traced)
    (made,) = reader.run(traced.graph, [jaxpr.Operand(reader.build.input("x", (symbol("n"),)))], "")
    assert made.numbers is None
    assert [made.number.at({"n": n}).tolist() for n in (1, 3)] == [[2], [4, 6, 8]]


def test_numbers_are_evaluated_within_bounds():
    def iota(count, budget):
        return jax_numbers.Number("iota", {"shape": (count,), "dimension": 0, "dtype": int}, (), 0, count, budget)

    assert iota(8, jax_numbers.Budget()).value.tolist() == list(range(8))
    assert iota(8, jax_numbers.Budget(7)).value is None
    assert iota(jax_numbers.MAX_ELEMENTS + 1, jax_numbers.Budget()).value is None
    number = iota(8, jax_numbers.Budget())
    for _ in range(5000):  # deeper than Python's stack
        number = jax_numbers.Number("neg", {}, (number,), 0, 8, number.budget)
    assert number.value.tolist() == list(range(8))
    assert jax_numbers.Number.of(w(3, 7)).value is None  # weights say nothing
    assert jax_numbers.Number.of(np.float32(1 / 3)).value == 1 / 3
    assert jax_numbers.Number.of(np.arange(3)).value.tolist() == [0, 1, 2]
    assert jax_numbers.Number.of(jax.random.key(0)).value is None


# The same architecture in plain JAX: named scopes name the nodes.


def weighted(name, x, weight, *arguments, layout="NCHW", **options):
    """A convolution with a bias, in a scope of its own."""
    numbers = (layout, "OI" + layout[2:], layout) if layout[1] == "C" else (layout, layout[1:-1] + "IO", layout)
    with jax.named_scope(name):
        made = conv(x, weight, *arguments, dimension_numbers=numbers, **options)
        return made + (w(made.shape[1], *[1] * (made.ndim - 2)) if layout[1] == "C" else w(made.shape[-1]))


def resnet18(x):
    x = nn.relu(weighted("stem.0", x, w(8, 3, 7, 7), (2, 2), ((3, 3), (3, 3))))
    with jax.named_scope("pool"):
        x = window(x, lax.max, (3, 3), (2, 2), ((0, 0), (0, 0), (1, 1), (1, 1)), -np.inf)
    widths = [(8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    for i, (before, width, stride) in enumerate(widths):
        ones = ((1, 1), (1, 1))
        y = nn.relu(weighted(f"layers.{i}.conv1", x, w(width, before, 3, 3), (stride, stride), ones))
        y = weighted(f"layers.{i}.conv2", y, w(width, width, 3, 3), (1, 1), ones)
        if stride != 1:
            x = weighted(f"layers.{i}.down.0", x, w(width, before, 1, 1), (stride, stride), "VALID")
        with jax.named_scope(f"layers.{i}/add"):
            x = y + x
        x = nn.relu(x)
    with jax.named_scope("head"):
        x = x.mean((2, 3))
    return x @ w(64, 10)


def unet(x):
    x = x.transpose(0, 2, 3, 1)  # channels last, as flax has them
    last = {"layout": "NHWC"}
    skip = nn.relu(weighted("a", x, w(3, 3, 3, 8), **last))
    with jax.named_scope("pool"):
        y = lax.reduce_window(skip, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    y = nn.relu(weighted("b", y, w(3, 3, 8, 8), **last))
    with jax.named_scope("up"):
        y = lax.conv_transpose(y, w(2, 2, 8, 8), (2, 2), "VALID")
    with jax.named_scope("cat"):
        y = jnp.concatenate([skip, y], -1)
    return weighted("c", y, w(3, 3, 16, 8), **last)


def inverted(x):
    x = weighted("first", x, w(8, 3, 3, 3), (2, 2), ((1, 1), (1, 1)))
    y = nn.relu6(weighted("expand.0", x, w(48, 8, 1, 1)))
    y = nn.relu6(weighted("depthwise.0", y, w(48, 1, 3, 3), feature_group_count=48))
    y = weighted("project", y, w(8, 48, 1, 1))
    with jax.named_scope("add"):
        return x + y


def convnext(x):
    x = weighted("down", weighted("stem", x, w(8, 3, 4, 4), (4, 4)), w(8, 8, 2, 2), (2, 2))
    y = weighted("depthwise", x, w(8, 1, 7, 7), feature_group_count=8).transpose(0, 2, 3, 1)
    y = (y - y.mean(-1, keepdims=True)) / jnp.sqrt(y.var(-1, keepdims=True) + 1e-5)
    with jax.named_scope("wide"):
        y = nn.gelu(y @ w(8, 32))
    with jax.named_scope("narrow"):
        y = w(8) * (y @ w(32, 8))
    with jax.named_scope("add"):
        return x + y.transpose(0, 3, 1, 2)


def tcn(x):
    x = weighted("first", x, w(4, 2, 1), (1,), layout="NCW")
    for i in range(4):
        y = weighted(f"convs.{i}", x, w(4, 4, 3), (1,), ((2 * 2**i, 0),), layout="NCW", rhs_dilation=(2**i,))
        x = x + nn.relu(y)
    return x


FUNCTIONS = {"resnet18": resnet18, "unet": unet, "inverted": inverted, "convnext": convnext, "tcn": tcn}
NAMES = {"head": "head/reduce_sum"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_one_table_whichever_way_it_comes(name):
    report = rfgraph.analyze(FUNCTIONS[name], example=ARCHITECTURES[name].shape)
    check_table(name, report, NAMES)
    assert report.name == name
    compiled = rfgraph.analyze(jax.jit(FUNCTIONS[name]), example=ARCHITECTURES[name].shape)
    assert list(compiled) == list(report)


# Names, places, sizes, and what is asked of the user.


def test_nodes_are_called_by_their_scope_and_know_the_users_line():
    graph = rfgraph.load(unet, example=(1, 3, 32, 48))
    assert {"a", "a/add", "relu", "pool", "b", "b/add", "relu_2", "up", "cat", "c", "c/add"} < set(graph)
    for node, line in (("up", "lax.conv_transpose(y"), ("a", "made = conv(x, weight"), ("relu", "skip = nn.relu")):
        file, _, number = graph.nodes[node]["location"].rpartition(":")
        assert file == __file__.replace("\\", "/")
        if node != "a":
            assert line in Path(file).read_text().splitlines()[int(number) - 1]


def test_functions_called_give_their_names_to_what_they_do():
    @jax.jit
    def block(x):
        return conv(nn.silu(conv(x, w(4, 4, 3, 3))), w(4, 4, 3, 3))

    graph = rfgraph.load(lambda x: block(block(x)) * 2, example=IMAGE)
    convs = [f"block/conv_general_dilated{n}" for n in ("", "_2", "_3", "_4")]
    assert [n for n in graph if graph.nodes[n]["op"] == "conv"] == convs
    assert {"block/silu/logistic", "block/silu/mul", "mul"} < set(graph)


def test_a_treatment_fits_names_and_primitives():
    def run(x):
        return window(x.at[:, :, jnp.array([1, 1])].add(1.0), lax.add, (3, 3))

    assert rfgraph.analyze(run, example=IMAGE)["reduce_window_sum"].status == "unknown"
    assert rfgraph.analyze(run, example=IMAGE, treat={"scatter-add": "cut"})["reduce_window_sum"].status != "unknown"


def test_a_primitive_of_ones_own_is_unknown_and_named():
    primitive = jax.extend.core.Primitive("shuffle_by_hand")
    primitive.def_abstract_eval(lambda x: x)
    graph = rfgraph.load(lambda x: primitive.bind(window(x, lax.add, (3, 3))), example=IMAGE)
    assert graph.nodes["shuffle_by_hand"]["of"] == "shuffle_by_hand"
    assert rfgraph.analyze(graph)["reduce_window_sum"].size == (3, 3)


def test_a_function_is_traced_for_the_input_size():
    def run(x):
        return resized(window(x, lax.max, (2, 2), start=-np.inf), *x.shape[2:], "linear")

    report = rfgraph.analyze(run, example=IMAGE)
    assert report[report.outputs[-1]].map_size == (6, 7)
    report = rfgraph.analyze(run, example=IMAGE, input_size=(16, 30))
    assert report[report.outputs[-1]].map_size == (16, 30)
    assert report[report.outputs[-1]].status == "exact"


@pytest.mark.parametrize("how", ["nearest", "linear", "lanczos3"])
def test_a_resize_alone_tells_which_dimensions_are_spatial(how):
    report = rfgraph.analyze(lambda x: resized(x, 299, 299, how), example=(1, 3, 640, 427))
    assert report[report.outputs[-1]].map_size == (299, 299)
    assert report[report.outputs[-1]].status == "exact"


def test_nothing_is_allocated():
    report = rfgraph.analyze(lambda x: conv(x, w(3, 4, 3, 3)), example=(1, 4, 10**6, 10**6))
    assert report["conv_general_dilated"].map_size == (10**6, 10**6)


def test_several_inputs_trees_and_settings():
    def run(left, weights, flag=False, *, right):
        assert flag is True
        return conv(left, weights["kernel"]) + right["image"]

    weights = {"kernel": (4, 4, 3, 3)}
    example = {"left": IMAGE, "weights": weights, "flag": True, "right": {"image": jnp.zeros(IMAGE)}}
    report = rfgraph.analyze(run, example=example, source="left")
    assert {"left", "right.image"} < set(report)
    assert report["add"].size == (3, 3)
    positional = [jax.ShapeDtypeStruct(IMAGE, np.float32), jnp.zeros(IMAGE)]
    traced = rfgraph.trace(lambda a, b: window(a, lax.add, (3, 3), (1, 1), "SAME") + b, example=positional)
    assert (traced["a"].size, traced["b"].size) == ((3, 3), (1, 1))


def test_what_is_missing_is_named():
    with pytest.raises(ModelFileError, match=r"a JAX function \(unet\).*pass example=.*\(1, 224, 224, 3\)"):
        rfgraph.analyze(unet)
    with pytest.raises(ModelFileError, match=r"unet: JAX cannot trace it on \(1, 5, 8, 8\) \("):
        rfgraph.analyze(unet, example=(1, 5, 8, 8))
    with pytest.raises(ModelFileError, match="size that is not positive"):
        rfgraph.analyze(unet, example=(0, 3, 8, 8))
    with pytest.raises(ModelFileError, match="it returns no arrays"):
        rfgraph.analyze(lambda x: None, example=IMAGE)
    with pytest.raises(ModelFileError, match="a type is no model"):
        rfgraph.analyze(dict, example=IMAGE)


TURNS = {
    "a cell": (True, lambda h, x: jnp.tanh(x @ w(3, 3) + h @ w(3, 3))),
    "weights first": (True, lambda h, x: w(2, 2) @ (x + h)),
    "gates side by side": (True, lambda h, x: nn.sigmoid(jnp.split(h @ w(3, 6) + x @ w(3, 6), 2, -1)[1])),
    "state beside row": (True, lambda h, x: jnp.concatenate([h, x], -1) @ w(6, 3)),
    "shift": (False, lambda h, x: jnp.concatenate([h[:, 1:], x[:, :1]], -1)),
    "state beside state": (
        False,
        lambda h, x: jnp.concatenate([h, x], -1) @ w(6, 3) + jnp.concatenate([h, x], -1)[:, 3:],
    ),
    "a part": (False, lambda h, x: x + h[:, :1]),
    "a product of both": (False, lambda h, x: h @ x.T @ x),
    "turned": (False, lambda h, x: (h[:, :2] + x[:, :2]).T @ w(2, 3)),
    "summed over both": (False, lambda h, x: jnp.einsum("pc,pcqd->qd", h + x, w(2, 3, 2, 3))),
    "pooled": (False, lambda h, x: x + lax.reduce_window(h, 0.0, lax.add, (1, 3), (1, 1), "SAME")),
}


@pytest.mark.parametrize("name", TURNS)
def test_only_what_moves_nothing_is_taken_for_a_recurrent_layer(name):
    expected, turn = TURNS[name]
    traced = live.trace(lambda h, x: lax.scan(lambda h, x: (turn(h, x), None), h, x)[0], [(2, 3), (5, 2, 3)])
    (scan,) = [step for step in traced.graph.steps if step.op == "scan"]
    assert is_recurrent(scan.parameters["jaxpr"], scan.parameters["num_consts"]) is expected


def test_loops_within_loops_are_refused_when_they_unroll_too_far(monkeypatch):
    monkeypatch.setattr(jaxpr, "MAX_STEPS", 300)
    with pytest.raises(ModelFileError, match="unroll to more than 300 steps"):
        rfgraph.analyze(lambda x: lax.fori_loop(0, 60, lambda i, y: summed(y, 60), x), example=IMAGE)


def test_without_jax_a_function_asks_for_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "rfgraph.importers.jax.live")
    monkeypatch.delattr(importers, "jax")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rfgraph\[jax\]'"):
        importers.live(unet, (1, 3, 8, 8))


# Models of the libraries that build on JAX, against their gradients.


def positive(shapes):
    """Weights that add up: every pixel that a feature reads has a gradient."""
    rng = np.random.default_rng(0)

    def one(path, leaf):
        name = str(path[-1])
        ends = {"mean": np.zeros, "var": np.ones}
        fill = next((made for key, made in ends.items() if key in name), None)
        return rng.uniform(0.5, 1.0, leaf.shape) if fill is None else fill(leaf.shape)

    return jax.tree_util.tree_map_with_path(one, shapes)


def linen_models():
    linen = pytest.importorskip("flax.linen")

    class Block(linen.Module):
        width: int
        stride: int

        @linen.compact
        def __call__(self, x):
            y = linen.Conv(self.width, (3, 3), (self.stride, self.stride), padding=1, use_bias=False)(x)
            y = linen.relu(linen.BatchNorm(use_running_average=True)(y))
            y = linen.Conv(self.width, (3, 3))(y)
            if self.stride != 1:
                x = linen.Conv(self.width, (1, 1), (self.stride, self.stride), name="down")(x)
            return linen.relu(x + y)

    class ResNet(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Conv(4, (7, 7), (2, 2), padding=3, name="stem")(x)
            x = linen.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
            for width, stride in ((4, 1), (8, 2), (8, 2)):
                x = Block(width, stride)(x)
            return x

    class UNet(linen.Module):
        @linen.compact
        def __call__(self, x):
            skip = linen.relu(linen.Conv(4, (3, 3), name="skip")(x))
            y = linen.Conv(4, (5, 3), name="deep")(linen.avg_pool(skip, (2, 2), (2, 2)))
            y = linen.Conv(4, (3, 3), 2, name="deeper")(y)
            y = jax.image.resize(y, (*skip.shape[:3], y.shape[-1]), "bilinear")
            y = linen.Conv(4, (3, 3), name="up")(y)
            return linen.Conv(2, (3, 3), name="last")(jnp.concatenate([skip, y], -1))

    return {"resnet": (ResNet(), (1, 56, 41, 3), ["stem", "Block_0/Conv_1", "Block_1/Conv_0", "Block_2/down"]),
            "unet": (UNet(), (1, 18, 27, 3), ["deep", "deeper", "up", "last"])}  # fmt: skip


def check_gradients(report, name, function, shape):
    """Hold regions of a node against the gradients of what makes its map, with the channels last."""
    made = jax.eval_shape(function, jax.ShapeDtypeStruct(shape, np.float64))
    pull = jax.jit(lambda x, given: jax.vjp(function, x)[1](given))
    sizes = made.shape[1:3]
    assert report[name].map_size == tuple(sizes)
    for place in {tuple(n // 2 for n in sizes), (0, 0), tuple(n - 1 for n in sizes), (sizes[0] - 1, sizes[1] // 3)}:
        given = np.zeros(made.shape)
        given[(0, *place)] = 1.0
        (gradient,) = pull(np.ones(shape), given)
        total = np.abs(gradient).sum((0, 3))
        read = np.argwhere(total > NOISE * total.max())
        box = tuple(zip(read.min(0).tolist(), read.max(0).tolist(), strict=True))
        assert report.region(name, place).box == box, (name, place)


def made_by(model, variables, path, image):
    """Return what a module within a module makes."""
    found = model.apply(variables, image, capture_intermediates=True)[1]["intermediates"]
    for part in path:
        found = found[part]
    return found["__call__"][0]


@pytest.mark.parametrize("name", ["resnet", "unet"])
@in_double
def test_gradients_reach_the_region_and_nothing_else(name):
    model, shape, inner = linen_models()[name]
    x = jax.ShapeDtypeStruct(shape, np.float64)
    variables = positive(jax.eval_shape(model.init, jax.random.key(0), x))
    report = rfgraph.analyze(lambda image: model.apply(variables, image), example=x)
    for node in inner:
        check_gradients(report, node, functools.partial(made_by, model, variables, node.split("/")), shape)
    (last,) = report.outputs
    check_gradients(report, last, lambda image: model.apply(variables, image), shape)
    # A module that has no weights yet is read as it would be called.
    unbound = rfgraph.analyze(model, example=shape)
    assert [unbound[node].field for node in unbound] == [report[node].field for node in report]
    assert unbound.name == type(model).__name__


def test_flax_modules_that_hold_their_weights():
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.stem = nnx.Conv(3, 4, (5, 5), 2, padding="SAME", rngs=rngs)
            self.blocks = nnx.List([nnx.Conv(4, 4, (3, 3), rngs=rngs) for _ in range(2)])
            self.norm, self.head = nnx.BatchNorm(4, rngs=rngs), nnx.Linear(4, 10, rngs=rngs)

        def __call__(self, x):
            x = nnx.max_pool(nnx.relu(self.norm(self.stem(x))), (2, 2), (2, 2))
            for block in self.blocks:
                x = x + block(x)
            return self.head(x)

    net = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))  # of its weights only the shapes
    net.eval()
    report = rfgraph.analyze(net, example=(1, 32, 32, 3))
    assert [report[n].size[0] for n in ("stem", "norm/mul", "reduce_window_max", "blocks.0", "blocks.1", "head")] == [
        5, 5, 7, 15, 23, 23]  # fmt: skip
    assert report["blocks.1"].stride == (4, 4)


def test_equinox_modules_by_themselves_and_over_a_batch():
    eqx = pytest.importorskip("equinox")

    def made(key):
        return eqx.nn.Sequential(
            [
                eqx.nn.Conv2d(3, 4, 3, 2, padding=1, key=key),
                eqx.nn.Lambda(nn.relu),
                eqx.nn.MaxPool2d(2, 2),
                eqx.nn.ConvTranspose2d(4, 4, 4, 2, padding=1, key=key),
                eqx.nn.Conv2d(4, 2, 3, dilation=2, key=key),
            ]
        )

    shapes = eqx.filter_eval_shape(made, jax.random.key(0))
    net = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else leaf, shapes)
    for report in (
        rfgraph.analyze(shapes, example=(3, 32, 40)),
        rfgraph.analyze(net, example=(3, 32, 40)),
        rfgraph.analyze(jax.vmap(net), example=(2, 3, 32, 40)),
        rfgraph.analyze(eqx.filter_jit(net), example=(3, 32, 40)),
    ):
        net_by_hand = rfgraph.Network("net", axes=2)
        x = net_by_hand.conv("layers.0", net_by_hand.input("x"), kernel=3, stride=2, padding=1)
        x = net_by_hand.conv_transpose(
            "layers.3", net_by_hand.max_pool("pool", x, kernel=2), kernel=4, stride=2, padding=1
        )
        net_by_hand.conv("layers.4", x, kernel=3, dilation=2)
        want = rfgraph.analyze(net_by_hand, input_size=(32, 40))
        for node in ("layers.0", "layers.3", "layers.4"):
            assert (report[node].field, report[node].map_size) == (want[node].field, want[node].map_size)


def test_haiku_functions():
    hk = pytest.importorskip("haiku")

    def forward(x):
        x = hk.Conv2D(4, 3, stride=2, name="stem")(x)
        x = hk.max_pool(nn.relu(x), (2, 2, 1), (2, 2, 1), "VALID")
        return hk.Conv2DTranspose(3, 2, stride=2, name="up")(hk.Conv2D(4, 3, name="deep")(x))

    net = hk.without_apply_rng(hk.transform(forward))
    shape = (1, 16, 24, 3)
    params = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))
    report = rfgraph.analyze(functools.partial(net.apply, params), example=shape)
    assert [report[node].size[0] for node in ("stem", "deep")] == [3, 5 + 2 * 4]
    assert report["up"].map_size == (8, 12)
    assert report["up"].stride == (2, 2)


# Parameters: what a model holds, by the conventions of each library.


def size_of(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree_util.tree_leaves(tree))


def test_parameters_are_those_that_flax_modules_learn():
    for model, shape, _ in linen_models().values():
        variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))
        filled = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), variables)
        wanted = size_of(variables["params"])
        for report in (
            rfgraph.analyze(model, example=shape),
            rfgraph.analyze(functools.partial(model.apply, variables), example=shape),
            rfgraph.analyze(functools.partial(model.apply, filled), example=shape),
            rfgraph.analyze(lambda image, model=model, filled=filled: model.apply(filled, image), example=shape),
            rfgraph.analyze(jax.jit(lambda params, image, model=model: model.apply(params, image)),
                            example=[variables, jax.ShapeDtypeStruct(shape, np.float32)], source="image"),
        ):  # fmt: skip
            assert (report.parameters.count, report.parameters.complete) == (wanted, True)


def test_parameters_are_those_that_equinox_nnx_and_haiku_learn():
    eqx, nnx, hk = (pytest.importorskip(name) for name in ("equinox", "flax.nnx", "haiku"))
    net = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(3, 4, 3, padding=1, key=jax.random.key(0)),
            eqx.nn.Lambda(nn.relu),
            eqx.nn.Conv2d(4, 4, 3, key=jax.random.key(1)),
        ]
    )  # fmt: skip
    wanted = size_of(eqx.filter(net, eqx.is_inexact_array))
    for model, shape in ((net, (3, 16, 16)), (jax.vmap(net), (2, 3, 16, 16)), (eqx.filter_jit(net), (3, 16, 16))):
        report = rfgraph.analyze(model, example=shape)
        assert (report.parameters.count, report.parameters.complete) == (wanted, True)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.stem, self.norm = nnx.Conv(3, 4, (5, 5), rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
            self.head = nnx.Linear(4, 10, rngs=rngs)

        def __call__(self, x):
            return self.head(self.norm(self.stem(x)))

    module = Net(nnx.Rngs(0))
    module.eval()
    wanted = size_of(nnx.state(module, nnx.Param))
    assert rfgraph.analyze(module, example=(1, 16, 16, 3)).parameters.count == wanted
    transformed = hk.without_apply_rng(hk.transform(lambda x: hk.Conv2D(4, 3)(nn.relu(hk.Conv2D(4, 3)(x)))))
    params = jax.eval_shape(transformed.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32))
    report = rfgraph.analyze(functools.partial(transformed.apply, params), example=(1, 8, 8, 3))
    assert (report.parameters.count, report.parameters.complete) == (size_of(params), True)


def test_parameters_of_a_function_are_what_it_closes_over():
    weight, twice = jnp.ones((3, 3, 2, 2)), jnp.ones((2,))

    def function(x):
        for _ in range(2):
            x = lax.conv_general_dilated(x, weight * twice, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x + jnp.array([1.0, 2.0])

    report = rfgraph.analyze(function, example=(1, 8, 8, 2))
    assert [report[node].parameters for node in report if report[node].op == "conv"] == [38, 0]
    assert (report.parameters.count, report.parameters.complete) == (38, True)

    class Model:
        def __init__(self):
            self.kernel = weight

        def __call__(self, x):
            return lax.conv_general_dilated(x, self.kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert rfgraph.analyze(Model(), example=(1, 8, 8, 2)).parameters.count == 36

    def made(x):
        inside = jnp.asarray(np.ones((3, 3, 2, 2), np.float32))
        return lax.conv_general_dilated(x, inside, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert not rfgraph.analyze(made, example=(1, 8, 8, 2)).parameters.complete  # learned, or a filter

    def told(images, x):
        return lax.conv_general_dilated(
            x + images["a"], weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    tree = [{"a": jax.ShapeDtypeStruct((2,), np.float32)}, jax.ShapeDtypeStruct((1, 8, 8, 2), np.float32)]
    assert not rfgraph.analyze(told, example=tree, source="x").parameters.complete  # nobody says what that tree is


def test_a_partial_of_an_array_itself_is_read():
    kernel = np.ones((3, 2, 4), np.float32)

    def mixed(weights, x):
        x = lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return jnp.einsum("bwc,wv->bvc", x, weights)

    report = rfgraph.analyze(functools.partial(mixed, jnp.ones((12, 12))), example=(1, 12, 2))
    assert report.region(report.outputs[0], 3).box == ((0, 11),)


def test_a_matrix_of_numbers_over_the_channels_is_no_resize():
    """Colours mixed to fewer by numbers of the user's own: channels are no axis, whatever a resize would read."""
    mix = np.asarray([[0.3, -0.2], [0.6, 0.5], [0.1, 0.9]], dtype=np.float32)
    kernel = np.ones((3, 3, 2, 4), dtype=np.float32)

    def function(x):
        return lax.conv_general_dilated(x @ mix, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    report = rfgraph.analyze(function, example=(1, 12, 9, 3))
    last = report[list(report)[-1]]
    assert report.axes == ("y", "x")
    assert last.map_size == (12, 9)
    assert last.size == (3, 3)
