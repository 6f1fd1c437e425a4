"""ONNX: every handler against the operator itself, whose inputs are perturbed; and the real models that onnx ships.

The oracle is onnx's reference evaluator. A pixel is changed, in all its channels; the outputs that change are the ones
that read it. For every output feature the box of the pixels that it reads must be the region that rfgraph gives.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from architectures import ARCHITECTURES, check_table
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator
from perturbation import check_regions

import rfgraph
from rfgraph.errors import ModelFileError
from rfgraph.importers.lowering.lower import lower, lower_for
from rfgraph.importers.onnx.nodes import HANDLERS
from rfgraph.importers.onnx.reader import CONTROL, read, read_model
from rfgraph.importers.onnx.unfollowed import NOT_FOLLOWED

IMAGE = (1, 3, 6, 7)


@dataclass(frozen=True)
class Case:
    """A model of one operator, and where its spatial dimensions are."""

    op: str
    body: str
    weights: dict = field(default_factory=dict)  # name -> shape of random numbers, or an array
    x: tuple = IMAGE
    at: tuple = (2, 3)
    #: Where the output has each axis; ``None`` where one position is left of it.
    out: tuple = (2, 3)
    #: Whether the region is the box of what is read, or only holds it.
    exact: bool = True
    opset: int = 21
    dtype: type = np.float32
    #: How many inputs the oracle tries: functions that select need several.
    trials: int = 1
    #: A phrase of the reason where nothing is known of the operator.
    unknown: str = ""

    @property
    def id(self) -> str:
        return f"{self.op}-{self.opset}-{self.body[:60]}"


def model_of(case: Case) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    arrays = {}
    for name, value in case.weights.items():
        if isinstance(value, tuple):
            value = rng.uniform(0.5, 1.5, value).astype(np.float32)
        arrays[name] = np.asarray(value)
    nodes = [parser.parse_node(line.strip()) for line in case.body.strip().splitlines()]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, case.x)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", case.opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets)


def graph_of(case: Case):
    return lower(read_model(model_of(case)), spatial={"x": case.at})


def random_like(case: Case, rng, shape):
    if np.issubdtype(case.dtype, np.integer):
        return rng.integers(0, 200, shape).astype(case.dtype)
    return rng.uniform(-2, 2, shape).astype(case.dtype)


def reads(case: Case) -> np.ndarray:
    """Return which pixels each output feature reads: booleans [*output positions, *input positions]."""
    run = ReferenceEvaluator(model_of(case)).run
    rng = np.random.default_rng(1)
    bases = [random_like(case, rng, case.x) for _ in range(case.trials)]
    spatial = [case.x[d] for d in case.at]
    kept = [d for d in case.out if d is not None]
    columns = []
    for pixel in itertools.product(*map(range, spatial)):
        index = [slice(None)] * len(case.x)
        for d, i in zip(case.at, pixel, strict=True):
            index[d] = i
        changed = False
        low = 1 if np.issubdtype(case.dtype, np.integer) else -9
        for x, values in itertools.product(bases, (None, 9, low)):
            values = random_like(case, rng, x[tuple(index)].shape) if values is None else values
            base = run(None, {"x": x})[0]
            near = x.copy()
            near[tuple(index)] = values
            moved = run(None, {"x": near})[0]
            others = tuple(d for d in range(base.ndim) if d not in kept)
            changed = changed | np.any(base != moved, axis=others).transpose(np.argsort(np.argsort(kept)))
        columns.append(changed)
    sizes = [1 if d is None else base.shape[d] for d in case.out]
    return np.stack(columns, axis=-1).reshape(*sizes, *spatial)


def check_reads(case: Case) -> None:
    found = reads(case)
    graph = graph_of(case)
    check_regions(graph, found, case.exact)


W = {"w": (4, 3, 3, 2)}
T = (1, 3, 9)
ONE = np.array([1.0], np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def floats(*numbers):
    return np.array(numbers, np.float32)


CASES = [
    # Windows.
    Case("Conv", "y = Conv<kernel_shape=[3,2], strides=[2,1], pads=[1,0,2,1], dilations=[1,2]>(x, w)", W),
    Case("Conv", "y = Conv(x, w)", W),
    Case("Conv", 'y = Conv<auto_pad="SAME_UPPER", strides=[2,3]>(x, w)', {"w": (4, 3, 4, 4)}),
    Case("Conv", 'y = Conv<auto_pad="SAME_LOWER", strides=[2,3]>(x, w)', {"w": (4, 3, 4, 4)}, opset=11),
    Case("Conv", 'y = Conv<auto_pad="VALID", group=3>(x, w)', {"w": (3, 1, 3, 3)}, opset=7),
    Case("Conv", "y = Conv<pads=[2,1]>(x, w)", {"w": (2, 3, 4)}, x=T, at=(2,), out=(2,)),
    Case("Conv", "y = Conv<strides=[1,2,1]>(x, w)", {"w": (2, 2, 2, 2, 2)}, x=(1, 2, 3, 4, 3), at=(2, 3, 4), out=(2,
         3, 4)),
    Case("Conv", """s = Conv(x, w)
                    k = GlobalAveragePool(x)
                    y = Conv(s, k)""", {"w": (3, 3, 3, 3)}),
    Case("ConvInteger", "y = ConvInteger(x, w)", {"w": np.arange(18, dtype=np.uint8).reshape(2, 3, 3, 1) + 1},
         dtype=np.uint8, opset=10),
    Case("QLinearConv", "y = QLinearConv<strides=[2,1]>(x, s, z, w, s, z, t, z)",
         {"w": np.arange(27, dtype=np.uint8).reshape(1, 3, 3, 3) + 1, "s": np.float32(0.1),
          "z": np.uint8(0), "t": np.float32(4)}, dtype=np.uint8),
    Case("ConvTranspose", "y = ConvTranspose<strides=[2,3], pads=[1,0,0,1], output_padding=[1,2]>(x, w)", {"w": (3, 2,
         3, 2)}),
    Case("ConvTranspose", "y = ConvTranspose<strides=[2,3], dilations=[2,3]>(x, w)", {"w": (3, 2, 2, 3)}),
    Case("ConvTranspose", 'y = ConvTranspose<strides=[2,2], output_shape=[12,15], auto_pad="SAME_UPPER">(x, w)',
         {"w": (3, 2, 3, 4)}),
    Case("ConvTranspose", 'y = ConvTranspose<strides=[2,2], auto_pad="SAME_LOWER">(x, w)', {"w": (3, 2, 3, 4)}),
    Case("ConvTranspose", 'y = ConvTranspose<strides=[2,1], group=3>(x, w)', {"w": (3, 1, 4, 3)}, opset=11),
    Case("MaxPool", "y = MaxPool<kernel_shape=[2,3], strides=[2,2], pads=[0,1,1,1]>(x)"),
    Case("MaxPool", "y = MaxPool<kernel_shape=[2,3], ceil_mode=1, strides=[3,2]>(x)"),
    Case("MaxPool", "y = MaxPool<kernel_shape=[2,2], dilations=[2,3]>(x)"),
    Case("MaxPool", 'y = MaxPool<kernel_shape=[3,2], auto_pad="SAME_UPPER", strides=[2,2]>(x)', opset=8),
    Case("AveragePool", "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)"),
    Case("AveragePool", "y = AveragePool<kernel_shape=[3,2], strides=[1,2], ceil_mode=1, dilations=[1,2]>(x)"),
    Case("LpPool", "y = LpPool<kernel_shape=[3,2], p=2, strides=[2,1]>(x)", opset=18),
    Case("MaxUnpool", """p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)
                         y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(p, i)""", x=(1, 1, 6, 8), trials=12),
    Case("Col2Im", """r = Reshape(x, s)
                      y = Col2Im<strides=[2,1], pads=[0,1,0,0]>(r, image, block)""",
         {"s": ints(1, 12, 42), "image": ints(13, 7), "block": ints(3, 2)}, x=(1, 12, 6, 7)),
    Case("STFT", "y = STFT(x, step, window)", {"step": np.int64(2), "window": (4,)}, x=(1, 12, 1), at=(1,), out=(1,)),
    # Resolutions.
    Case("Upsample", "y = Upsample(x, s)", {"s": floats(1, 1, 2, 3)}, opset=9),
    Case("DepthToSpace", "y = DepthToSpace<blocksize=2>(x)", x=(1, 8, 3, 4)),
    Case("DepthToSpace", 'y = DepthToSpace<blocksize=2, mode="CRD">(x)', x=(1, 8, 3, 4)),
    Case("SpaceToDepth", "y = SpaceToDepth<blocksize=3>(x)", x=(1, 2, 6, 9)),
    # Functions of one element or of one position.
    Case("Softmax", "y = Softmax<axis=1>(x)"),
    Case("Softmax", "y = Softmax(x)"),
    Case("LogSoftmax", "y = LogSoftmax<axis=2>(x)"),
    Case("Hardmax", "y = Hardmax<axis=1>(x)", trials=6),
    Case("BatchNormalization", "y = BatchNormalization(x, s, s, s, s)", {"s": (3,)}),
    Case("Dropout", "y = Dropout(x)"),
    Case("LRN", "y = LRN<size=3>(x)"),
    Case("Cast", "y = Cast<to=1>(x)"),
    Case("CastLike", "y = CastLike(x, s)", {"s": (1,)}),
    Case("Clip", "y = Clip(x, a, b)", {"a": np.float32(-1), "b": np.float32(1)}),
    Case("PRelu", "y = PRelu(x, s)", {"s": (3, 1, 1)}),
    Case("QuantizeLinear", "y = QuantizeLinear(x, s, z)", {"s": np.float32(0.01), "z": np.uint8(128)}),
    Case("DynamicQuantizeLinear", "y, s, z = DynamicQuantizeLinear(x)", trials=2, exact=False),
    Case("DequantizeLinear", "y = DequantizeLinear(x, s, z)", {"s": np.float32(0.1), "z": np.uint8(0)}, dtype=np.uint8),
    Case("RotaryEmbedding", "y = RotaryEmbedding(x, c, c)", {"c": (1, 5, 2)}, x=(1, 2, 5, 4), at=(2,), out=(2,),
         opset=23),
    # Reductions and mixtures.
    Case("ReduceMean", "y = ReduceMean<keepdims=1>(x, a)", {"a": ints(1)}),
    Case("ReduceMean", "y = ReduceMean<keepdims=0>(x, a)", {"a": ints(-1, 2)}, out=(None, None)),
    Case("ReduceMean", "y = ReduceMean<axes=[1], keepdims=0>(x)", opset=11, out=(1, 2)),
    Case("ReduceSum", "y = ReduceSum<noop_with_empty_axes=1>(x)"),
    Case("ReduceSum", "y = ReduceSum(x)", out=(None, None)),
    Case("ReduceMax", "y = ReduceMax(x, a)", {"a": ints(2)}),
    Case("ArgMax", "y = ArgMax<axis=1>(x)", trials=6),
    Case("ArgMin", "y = ArgMin<axis=3>(x)", trials=6),
    Case("GlobalAveragePool", "y = GlobalAveragePool(x)"),
    Case("GlobalMaxPool", "y = GlobalMaxPool(x)"),
    Case("LayerNormalization", """t = Transpose<perm=[0,2,3,1]>(x)
                                  y = LayerNormalization(t, s)""", {"s": (3,)}, out=(1, 2)),
    Case("LayerNormalization", "y = LayerNormalization<axis=1>(x, s)", {"s": (3, 6, 7)}),
    Case("RMSNormalization", "y = RMSNormalization<axis=-1>(x, s)", {"s": (7,)}, opset=23),
    Case("InstanceNormalization", "y = InstanceNormalization(x, s, s)", {"s": (3,)}),
    Case("GroupNormalization", "y = GroupNormalization<num_groups=2>(x, s, s)", {"s": (4,)}, x=(1, 4, 5, 4)),
    Case("MeanVarianceNormalization", "y = MeanVarianceNormalization<axes=[1]>(x)"),
    Case("MeanVarianceNormalization", "y = MeanVarianceNormalization(x)"),
    Case("LpNormalization", "y = LpNormalization<axis=1>(x)"),
    Case("CumSum", "y = CumSum(x, a)", {"a": np.int64(2)}, exact=False),
    Case("CumProd", "y = CumProd(x, a)", {"a": np.int64(2)}, exact=False, opset=26),
    Case("TopK", "y, i = TopK<axis=1>(x, k)", {"k": ints(2)}),
    Case("TopK", "y, i = TopK<axis=2>(x, k)", {"k": ints(2)}),
    Case("DFT", "y = DFT(x, , a)", {"a": np.int64(2)}, x=(1, 3, 8, 1), at=(1, 2), out=(1, 2), opset=20),
    Case("DFT", "y = DFT<onesided=1>(x, , a)", {"a": np.int64(1)}, x=(1, 3, 8, 1), at=(1, 2), out=(1, 2), opset=20),
    Case("Det", "y = Det(x)", x=(1, 5, 3, 3), at=(1,), out=(1,)),
    Case("LSTM", "u, y, c = LSTM<hidden_size=4>(x, w, r)", {"w": (1, 16, 3), "r": (1, 16, 4)}, x=(5, 1, 3), at=(0,),
         out=(None,)),
    Case("LSTM", "y, h, c = LSTM<hidden_size=4>(x, w, r)", {"w": (1, 16, 3), "r": (1, 16, 4)}, x=(5, 1, 3), at=(0,),
         out=(0,), exact=False),
    Case("GRU", "y, h = GRU<hidden_size=2, layout=1>(x, w, r)", {"w": (1, 6, 3), "r": (1, 6, 2)}, x=(1, 5, 3), at=(1,),
         out=(1,), exact=False),
    Case("RNN", 'y, h = RNN<hidden_size=2, direction="reverse">(x, w, r)', {"w": (1, 2, 3), "r": (1, 2, 2)}, x=(5, 1,
         3),
         at=(0,), out=(0,), exact=False),
    # Products.
    Case("MatMul", """t = Transpose<perm=[0,2,3,1]>(x)
                      y = MatMul(t, w)""", {"w": (3, 5)}, out=(1, 2)),
    Case("MatMul", "y = MatMul(x, w)", {"w": (7, 4)}, out=(2, None)),
    Case("MatMul", "y = MatMul(w, x)", {"w": (6, 6)}),
    Case("MatMulInteger", "y = MatMulInteger(x, w)", {"w": np.full((3, 5), 7, np.uint8)}, x=(1, 6, 3), at=(1,),
         out=(1,),
         dtype=np.uint8),
    Case("QLinearMatMul", "y = QLinearMatMul(x, s, z, w, s, z, s, z)",
         {"w": np.full((3, 5), 1, np.uint8), "s": np.float32(1), "z": np.uint8(0)}, x=(1, 6, 3), at=(1,), out=(1,),
         dtype=np.uint8),
    Case("Gemm", """f = Flatten(x)
                    y = Gemm<transB=1>(f, w, b)""", {"w": (5, 126), "b": (5,)}, out=(None, None)),
    Case("Gemm", """f = GlobalAveragePool(x)
                    r = Flatten(f)
                    g = Gemm(r, w)
                    s = Unsqueeze(g, a)
                    y = Mul(x, s)""", {"w": (3, 3), "a": ints(2, 3)}),
    Case("Einsum", 'y = Einsum<equation="bchw,dc->bhwd">(x, w)', {"w": (5, 3)}, out=(1, 2)),
    Case("Einsum", 'y = Einsum<equation="...hw,hk->...kw">(x, w)', {"w": (6, 6)}),
    Case("Einsum", 'y = Einsum<equation="nwhc">(x)', x=(1, 6, 5, 2), at=(1, 2), out=(3, 1)),
    Case("Attention", "y = Attention<q_num_heads=1, kv_num_heads=1>(x, x, x)", x=(1, 5, 4), at=(1,), out=(1,),
         opset=23),
    Case("Attention", "y = Attention(x, x, x)", x=(1, 2, 5, 4), at=(2,), out=(2,), opset=23),
    # Elements moved.
    Case("Pad", "y = Pad(x, p)", {"p": ints(0, 0, 1, 2, 0, 0, 0, 3)}),
    Case("Pad", "y = Pad(x, p, , a)", {"p": ints(1, 2, 3, 0), "a": ints(3, 2)}, opset=18),
    Case("Pad", "y = Pad<pads=[0,1,1,0,0,0,0,2]>(x)", opset=10),
    Case("Slice", "y = Slice(x, a, b, d, s)",
         {"a": ints(1, -6), "b": ints(2**62, -1), "d": ints(2, -1), "s": ints(2, 2)}),
    Case("Slice", "y = Slice<starts=[1,2], ends=[5,1000], axes=[2,3]>(x)", opset=9),
    Case("Slice", "y = Slice(x, a, b, d)", {"a": ints(1), "b": ints(2), "d": ints(1)}),
    Case("Split", """a, b = Split<axis=2, num_outputs=2>(x)
                     y = Concat<axis=1>(a, b)""", opset=18),
    Case("Split", """a, b = Split<axis=1, split=[2,1]>(x)
                     y = Mul(a, b)""", opset=11),
    Case("Concat", "y = Concat<axis=1>(x, w, x)", {"w": (1, 2, 6, 7)}),
    Case("Concat", """a = MaxPool<kernel_shape=[2,1]>(x)
                      y = Concat<axis=2>(a, x)""", exact=False),
    Case("Concat", "y = Concat<axis=3>(w, x, w)", {"w": (1, 3, 6, 2)}),
    Case("Gather", "y = Gather<axis=1>(x, i)", {"i": ints(2, 0, 0)}),
    Case("Gather", "y = Gather<axis=2>(x, i)", {"i": ints(1, 3, 5)}),
    Case("Gather", "y = Gather<axis=3>(x, i)", {"i": np.int64(2)}, out=(2, None)),
    Case("Expand", """g = ReduceMean<axes=[2,3]>(x)
                      e = Expand(g, s)
                      y = Concat<axis=1>(e, x)""", {"s": ints(1, 3, 6, 7)}, opset=13),
    Case("Expand", """g = ReduceMean<axes=[2,3], keepdims=0>(x)
                      u = Unsqueeze(g, a)
                      e = Expand(u, s)
                      y = Concat<axis=1>(x, e)""", {"s": ints(1, 3, 6, 7), "a": ints(2, 3)}, opset=13),
    Case("Tile", "y = Tile(x, r)", {"r": ints(1, 2, 1, 1)}),
    Case("Tile", "y = Tile(x, r)", {"r": ints(1, 1, 2, 1)}, exact=False),
    Case("CenterCropPad", "y = CenterCropPad<axes=[2,3]>(x, s)", {"s": ints(9, 4)}),
    # Numbering.
    Case("Reshape", """r = Reshape(x, s)
                       t = Transpose<perm=[0,1,4,2,5,3]>(r)
                       y = Reshape(t, e)""", {"s": ints(0, 2, 2, 2, 3, 4), "e": ints(1, 2, 6, -1)}, x=(1, 8, 3, 4)),
    Case("Reshape", """r = Reshape(x, s)
                       t = Transpose<perm=[0,3,5,1,2,4]>(r)
                       y = Reshape(t, e)""", {"s": ints(1, 3, 2, 3, 3, 2), "e": ints(0, 18, 2, -1)}, x=(1, 3, 6, 6)),
    Case("Reshape", """r = Reshape(x, s)
                       t = Transpose<perm=[0,2,1,3,4]>(r)
                       y = Reshape(t, e)""", {"s": ints(1, 2, 2, 6, 7), "e": ints(1, 4, 6, 7)}, x=(1, 4, 6, 7)),
    Case("Flatten", """f = Flatten<axis=-2>(x)
                       y = Reshape(f, s)""", {"s": ints(1, 3, 6, 7)}),
    Case("Squeeze", """s = Squeeze(x)
                       y = Relu(s)""", out=(1, 2), x=(1, 3, 6, 7)),
    Case("Squeeze", "y = Squeeze(x, a)", {"a": ints(0)}, out=(1, 2)),
    Case("Unsqueeze", "y = Unsqueeze(x, a)", {"a": ints(0, -1)}, out=(3, 4)),
    Case("Transpose", "y = Transpose<perm=[0,2,3,1]>(x)", out=(1, 2)),
    Case("Transpose", """t = Transpose(x)
                         y = Transpose(t)"""),
    Case("OneHot", "y = OneHot<axis=1>(x, d, v)", {"d": np.int64(200), "v": floats(0, 1)}, x=(1, 5, 4), at=(1, 2),
         dtype=np.int64),
    # Constants, and what is computed from shapes.
    Case("Constant", """s = Constant<value_floats=[1.0,1.0,2.0,2.0]>()
                        y = Resize<mode="nearest">(x, , s)"""),
    Case("Constant", """k = Constant<value_int=2>()
                        i = Identity(k)
                        y = Gather<axis=2>(x, i)""", out=(None, 2)),
    Case("Shape", """s = Shape(x)
                     h = Slice(s, two, four, zero)
                     d = Mul(h, twos)
                     l = Slice(s, zero, two, zero)
                     e = Concat<axis=0>(l, d)
                     y = Resize<mode="linear">(x, , , e)""",
         {"zero": ints(0), "two": ints(2), "four": ints(4), "twos": ints(2, 2)}),
    Case("Shape", """h = Shape<start=2, end=3>(x)
                     e = Concat<axis=0>(one, h, rest)
                     y = Reshape(x, e)""", {"one": ints(1, 3), "rest": ints(-1)}, opset=15),
    Case("Size", """n = Size(x)
                    r = Unsqueeze(n, zero)
                    v = Reshape(x, r)
                    y = Reshape(v, s)""", {"zero": ints(0), "s": ints(1, 3, 6, 7)}),
    Case("ConstantOfShape", """p = ConstantOfShape<value = int64[1] {1}>(n)
                               y = Pad(x, p)""", {"n": ints(8)}, out=(2, 3)),
    Case("Range", """i = Range(a, b, s)
                     y = Gather<axis=2>(x, i)""", {"a": np.int64(1), "b": np.int64(6), "s": np.int64(2)}),
    Case("RandomNormal", """n = RandomNormal<shape=[1,3,6,7], seed=1.0>()
                            z = Mul(n, o)
                            y = Add(x, z)""", {"o": np.float32(0)}),
    Case("RandomUniform", """n = RandomUniform<shape=[1,3,6,7], seed=1.0>()
                             z = Mul(n, o)
                             y = Add(x, z)""", {"o": np.float32(0)}),
    Case("RandomNormalLike", """n = RandomNormalLike<seed=1.0>(x)
                                z = Mul(n, o)
                                y = Add(x, z)""", {"o": np.float32(0)}),
    Case("RandomUniformLike", """n = RandomUniformLike<seed=1.0>(x)
                                 z = Mul(n, o)
                                 y = Add(x, z)""", {"o": np.float32(0)}),
    Case("EyeLike", """e = EyeLike(w)
                       y = MatMul(x, e)""", {"w": (7, 7)}, exact=False),
    Case("HannWindow", """v = HannWindow(n)
                          y = Mul(x, v)""", {"n": np.int64(7)}, exact=False),
    Case("HammingWindow", """v = HammingWindow(n)
                             y = Mul(x, v)""", {"n": np.int64(7)}),
    Case("BlackmanWindow", """v = BlackmanWindow(n)
                              y = Mul(x, v)""", {"n": np.int64(7)}, exact=False),
    Case("MelWeightMatrix", """m = MelWeightMatrix(b, n, r, lo, hi)
                               t = Transpose<perm=[0,2,1]>(x)
                               y = MatMul(t, m)""",
         {"b": np.int64(4), "n": np.int64(8), "r": np.int64(8192), "lo": np.float32(0), "hi": np.float32(4096)},
         x=(1, 5, 6), at=(2,), out=(1,)),
    # What reads everything.
    Case("NonMaxSuppression", "y = NonMaxSuppression(x, s, n, t, t)", {"s": (1, 1, 6), "n": ints(3),
         "t": floats(0.5)}, x=(1, 6, 4), at=(1,),
         out=(None,), exact=False),
    Case("AffineGrid", """g = ReduceMean<keepdims=0>(x, a)
                          t = Reshape(g, s)
                          y = AffineGrid(t, n)""",
         {"a": ints(2, 3), "s": ints(1, 2, 3), "n": ints(1, 3, 4, 5)}, x=(1, 6, 5, 4), out=(None, None)),
    Case("RoiAlign", """b = RoiAlign<output_height=2, output_width=2>(x, r, i)
                        y = Flatten(b)""",
         {"r": floats(1, 1, 4, 4).reshape(1, 4), "i": ints(0)}, out=(None, None), exact=False),
    Case("NegativeLogLikelihoodLoss", 'y = NegativeLogLikelihoodLoss<reduction="none">(x, t)',
         {"t": np.zeros((1, 6, 7), np.int64)}, out=(1, 2)),
    Case("SoftmaxCrossEntropyLoss", "y = SoftmaxCrossEntropyLoss(x, t)", {"t": np.zeros((1, 6, 7), np.int64)},
         out=(None, None)),
    # What reads or writes at indices.
    Case("GridSample", "y = GridSample(x, g)", {"g": (1, 4, 5, 2)}, out=(None, None), exact=False, opset=20),
    Case("GridSample", """f = Conv(x, w)
                          n = Tanh(f)
                          g = Transpose<perm=[0,2,3,1]>(n)
                          y = GridSample(x, g)""", {"w": (2, 3, 1, 1)}, exact=False, opset=20),
    Case("DeformConv", "y = DeformConv<pads=[1,1,1,1]>(x, w, o)",
         {"w": (1, 1, 3, 3), "o": np.zeros((1, 18, 3, 4), np.float32)}, x=(1, 1, 3, 4),
         exact=False, opset=19),
    Case("DeformConv", """o = Conv<pads=[1,0,1,0], strides=[2,1]>(x, v)
                          y = DeformConv<pads=[1,0,1,0], strides=[2,1]>(x, w, o)""",
         {"w": (1, 1, 3, 1), "v": (6, 1, 3, 1)}, x=(1, 1, 5, 4), exact=False, opset=19),
    Case("GatherElements", "y = GatherElements<axis=2>(x, i)", {"i": np.arange(126).reshape(1, 3, 6, 7) % 5},
         exact=False),
    Case("GatherElements", "y = GatherElements<axis=3>(x, i)", {"i": np.ones((1, 3, 6, 2), np.int64)}, exact=False),
    Case("GatherElements", "y = GatherElements<axis=1>(x, i)", {"i": np.arange(126).reshape(1, 3, 6, 7) % 3}, trials=3,
         exact=False),
    Case("GatherElements", "y = GatherElements<axis=3>(x, i)",
         {"i": np.broadcast_to(np.array([6, 0, 2]), (1, 3, 6, 3)).copy()}),
    Case("GatherND", "y = GatherND(x, i)",
         {"i": np.stack(np.meshgrid([0], [0, 1, 2], [4, 1], [0, 3, 2], indexing="ij"), -1)}),
    Case("ScatterElements", "y = ScatterElements<axis=2>(x, i, u)",
         {"i": np.broadcast_to(np.array([[3], [1]]), (1, 3, 2, 7)).copy(), "u": (1, 3, 2, 7)}),
    Case("ScatterND", "y = ScatterND(x, i, u)",
         {"i": np.stack(np.meshgrid([0], [0, 1, 2], [4, 1], [0, 3, 2], indexing="ij"), -1), "u": (1, 3, 2, 3)}),
    Case("GatherND", "y = GatherND<batch_dims=1>(x, i)", {"i": ints(2, 0, 1).reshape(1, 3, 1)}),
    Case("GatherND", "y = GatherND(x, i)", {"i": ints(0, 1, 3, 0, 2, 5).reshape(2, 3)}, out=(None, 1), exact=False),
    Case("ScatterElements", "y = ScatterElements<axis=1>(x, i, u)",
         {"i": np.ones((1, 1, 3, 4), np.int64), "u": (1, 1, 3, 4)}),
    Case("ScatterElements", """u = MaxPool<kernel_shape=[3,2]>(x)
                               y = ScatterElements<axis=3, reduction="add">(x, i, u)""",
         {"i": np.arange(72).reshape(1, 3, 4, 6) % 7}, exact=False),
    Case("ScatterND", "y = ScatterND(x, i, u)", {"i": ints(0, 2, 0, 1).reshape(2, 2), "u": (2, 6, 7)}),
    Case("ScatterND", """u = MaxPool<kernel_shape=[3,2]>(x)
                         r = Reshape(u, s)
                         y = ScatterND<reduction="add">(x, i, r)""",
         {"s": ints(3, 4, 6),
          "i": np.array([[[[0, c, h, w] for w in range(6)] for h in (5, 2, 3, 4)] for c in range(3)])},
         exact=False, opset=18),
    Case("ScatterND", """u = Slice(x, a, b, d)
                         v = AveragePool<kernel_shape=[3,1], pads=[1,0,1,0]>(u)
                         y = ScatterND(x, i, v)""",
         {"a": ints(1), "b": ints(2), "d": ints(1), "i": ints(0, 1).reshape(1, 1, 2)}),
    Case("ScatterND", """u = Slice(x, a, b, d)
                         y = ScatterND<reduction="add">(x, i, u)""",
         {"a": ints(2), "b": ints(4), "d": ints(2),
          "i": np.array([[[[0, c, h + 1] for h in range(2)] for c in range(3)]])}, exact=False, opset=18),
    Case("TensorScatter", """u = Slice(x, a, b, d)
                             y = TensorScatter(x, u, n)""",
         {"a": ints(4), "b": ints(6), "d": ints(2), "n": ints(1)}, exact=False, opset=24),
    Case("ReverseSequence", "y = ReverseSequence<time_axis=2, batch_axis=0>(x, n)", {"n": ints(4)}, exact=False),
    Case("ReverseSequence", "y = ReverseSequence<time_axis=1, batch_axis=0>(x, n)", {"n": ints(3)}),
    Case("Slice", "y = Slice(x, a, b, d, s)", {"a": ints(-1), "b": ints(-2**63 + 1), "d": ints(2), "s": ints(-1)},
         exact=False),
    Case("Slice", "y = Slice(x, a, b, d, s)", {"a": ints(4, 1), "b": ints(0, 5), "d": ints(2, 3), "s": ints(-2, 2)},
         exact=False),
    Case("Slice", "y = Slice(x, a, b, d, s)", {"a": ints(-1), "b": ints(-9), "d": ints(1), "s": ints(-1)}),
    # Of the newest opsets.
    Case("CausalConvWithState", "y, s = CausalConvWithState(x, w)", {"w": (3, 1, 4)}, x=T, at=(2,), out=(2,), opset=27),
    Case("CausalConvWithState", """h = Slice(x, a, b, d)
                                   t = Slice(x, b, c, d)
                                   y, s = CausalConvWithState(t, w, , h)""",
         {"w": (3, 1, 3), "a": ints(0), "b": ints(2), "c": ints(9), "d": ints(2)}, x=T, at=(2,), out=(2,), opset=27,
         exact=False),
    Case("LinearAttention", 'y, s = LinearAttention<q_num_heads=2, kv_num_heads=1, update_rule="linear">(x, k, k)',
         {"k": (1, 5, 2)}, x=(1, 5, 4), at=(1,), out=(1,), opset=27),
    Case("LinearAttention", """k = MatMul(x, w)
                               y, s = LinearAttention<q_num_heads=2, kv_num_heads=1, update_rule="linear">(x, k, k)""",
         {"w": (4, 2)}, x=(1, 5, 4), at=(1,), out=(1,), opset=27, exact=False),
    Case("SwiGLU", "y = SwiGLU(x, x)", opset=28),
    # Sequences.
    Case("SequenceConstruct", """q = SequenceConstruct(x, x)
                                 y = ConcatFromSequence<axis=1>(q)"""),
    Case("SequenceAt", """q = SplitToSequence<axis=1, keepdims=0>(x)
                          a = SequenceAt(q, i)
                          y = Unsqueeze(a, i)""", {"i": np.int64(1)}),
    Case("SplitToSequence", """q = SplitToSequence<axis=2>(x, s)
                               y = SequenceAt(q, i)""", {"i": np.int64(1), "s": ints(2, 3, 1)}),
    Case("SequenceInsert", """e = SequenceEmpty()
                              q = SequenceInsert(e, x)
                              y = ConcatFromSequence<axis=0, new_axis=1>(q)""", out=(3, 4)),
    Case("SequenceErase", """q = SequenceConstruct(x, x)
                             r = SequenceErase(q, i)
                             y = SequenceAt(r, i)""", {"i": np.int64(0)}),
    Case("SequenceLength", """q = SequenceConstruct(x, x)
                              n = SequenceLength(q)
                              y = Gather<axis=2>(x, n)""", out=(None, 2)),
    Case("OptionalHasElement", """b = OptionalHasElement(x)
                                  c = Cast<to=7>(b)
                                  y = Gather<axis=2>(x, c)""", out=(None, 2)),
]  # fmt: skip

#: Functions of one element that need nothing but their input.
ELEMENTS = [
    "Relu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Swish",
    "Mish",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softsign",
    "Exp",
    "Abs",
    "Neg",
    "Reciprocal",
    "Erf",
    "Sin",
    "Cos",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Identity",
    "ThresholdedRelu",
    "Shrink",
    "Tan",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
]
CASES += [Case(op, f"y = {op}(x)", opset=24, trials=2) for op in ELEMENTS]
CASES += [Case(op, f"p = Sigmoid(x)\ny = {op}(p)") for op in ("Log", "Sqrt", "Asin", "Acos", "Atanh")]
CASES += [Case("Acosh", "e = Exp(x)\np = Add(e, s)\ny = Acosh(p)", {"s": floats(1)})]
CASES += [
    Case(op, f"y = {op}(x, s)", {"s": (3, 1, 1)}, trials=2)
    for op in ("Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean")
]
CASES += [
    Case(op, f"m = AveragePool<kernel_shape=[3,1], pads=[1,0,1,0]>(x)\ny = {op}(x, m)", trials=2)
    for op in ("Add", "Sub", "Mul", "Sum", "Mean")
]
CASES += [
    Case("Where", "c = Greater(x, s)\ny = Where(c, x, s)", {"s": (1,)}),
    Case("Pow", "y = Pow(x, s)", {"s": floats(3)}),
    Case("Mod", "y = Mod<fmod=1>(x, s)", {"s": floats(0.7)}),
    Case("Trilu", "y = Trilu(x)", exact=False),
    Case("Bernoulli", "p = Sigmoid(x)\ny = Bernoulli<seed=1.0>(p)", exact=False),
    Case("IsNaN", "n = IsNaN(x)\nf = Cast<to=1>(n)\ny = Add(x, f)"),
    Case("IsInf", "n = IsInf(x)\nf = Cast<to=1>(n)\ny = Add(x, f)"),
]
CASES += [
    Case(op, f"b = {op}(x, s)\ny = Cast<to=1>(b)", {"s": floats(0.1)}, trials=4)
    for op in ("Less", "Greater", "LessOrEqual", "GreaterOrEqual")
]
CASES += [
    Case("Equal", "c = Round(x)\nb = Equal(c, s)\ny = Cast<to=1>(b)", {"s": floats(1)}, exact=False),
    Case("Not", "b = Greater(x, s)\ny = Not(b)", {"s": floats(0.1)}, trials=4),
]
CASES += [
    Case(op, f"b = Greater(x, s)\nc = Less(x, t)\ny = {op}(b, c)", {"s": floats(0.1), "t": floats(3)}, trials=4)
    for op in ("And", "Xor")
]
CASES += [
    Case("Or", "b = Greater(x, s)\nc = Less(x, t)\ny = Or(b, c)", {"s": floats(1), "t": floats(-1)}, trials=4),
    Case("BitwiseNot", "y = BitwiseNot(x)", dtype=np.uint8),
    Case("BitShift", 'y = BitShift<direction="LEFT">(x, s)', {"s": np.array([1], np.uint8)}, dtype=np.uint8),
]
CASES += [
    Case(op, f"y = {op}(x, s)", {"s": np.array([85], np.uint8)}, dtype=np.uint8)
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
]
CASES += [
    Case(op, f"y = {op}(x, a)", {"a": ints(3)}, opset=20)
    for op in ("ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare")
]
CASES += [
    Case("ReduceMin", "y = ReduceMin(x, a)", {"a": ints(3)}, trials=6),
    Case("ReduceLogSum", "p = Abs(x)\ny = ReduceLogSum(p, a)", {"a": ints(3)}),
]


@dataclass(frozen=True)
class Spelt:
    """An operator, or a form of one, that the reference evaluator does not have: its windows are worked out here."""

    case: Case
    #: (size, stride, padding) per axis; "full" or "unknown".
    windows: tuple


def conv(kernel, stride=1, padding=0, dilation=1):
    return ((kernel - 1) * dilation + 1, stride, padding)


SPELT = [
    # The cropped total is 2 * (6 - 1) + 3 - 12 = 1 and 2 * (7 - 1) + 3 - 14 = 1; the odd one goes before.
    Spelt(Case("ConvTranspose", "y = ConvTranspose<strides=[2,2], output_shape=[12,14]>(x, w)", {"w": (3, 2, 3, 3)}),
          ((2, Fraction(1, 2), 0), (2, Fraction(1, 2), 0))),  # outputs 0 and 1 read [0, 0] and [0, 1]
    Spelt(Case("Pad", "y = Pad(x, p)", {"p": ints(0, 0, 1, -2, 0, 0, -1, 3)}), ((1, 1, 1), (1, 1, -2))),
    Spelt(Case("Softmax", "y = Softmax<axis=1>(x)", opset=11), "full"),
    Spelt(Case("GlobalLpPool", "y = GlobalLpPool<p=2>(x)"), "full"),
    Spelt(Case("MaxRoiPool", "y = MaxRoiPool<pooled_shape=[2,2]>(x, r)", {"r": floats(0, 1, 1, 4, 4).reshape(1, 5)}),
         "full"),
    Spelt(Case("Scatter", "y = Scatter<axis=2>(x, i, u)",
               {"i": np.ones((1, 3, 2, 7), np.int64), "u": (1, 3, 2, 7)}, opset=10), (conv(1), conv(1))),
    Spelt(Case("NonZero", "y = NonZero(x)"), "full"),
    Spelt(Case("Unique", "y = Unique(x)"), "full"),
    Spelt(Case("Compress", "y = Compress<axis=2>(x, c)", {"c": np.array([True, False])}), "full"),
    Spelt(Case("Multinomial", "y = Multinomial(x)", x=(1, 6), at=(1,)), "full"),
    Spelt(Case("SequenceEmpty", "e = SequenceEmpty()\nq = SequenceInsert(e, x)\ny = ConcatFromSequence<axis=1>(q)"),
          (conv(1), conv(1))),
    Spelt(Case("ConcatFromSequence", "q = SequenceConstruct(x, x)\ny = ConcatFromSequence<axis=1, new_axis=0>(q)"),
          (conv(1), conv(1))),
    Spelt(Case("OptionalGetElement", "o = Optional(x)\nd = Dropout(x)\ny = OptionalGetElement(o)"), (conv(1), conv(1))),
    Spelt(Case("Optional", "o = Optional(x)\ny = OptionalGetElement(o)"), (conv(1), conv(1))),
    Spelt(Case("BitCast", "y = BitCast<to=6>(x)", opset=26), (conv(1), conv(1))),
    Spelt(Case("FusedConv", 'y = com.microsoft.FusedConv<pads=[1,1,1,1], activation="Relu">(x, w)', {"w": (4, 3, 3,
         3)}),
          (conv(3, 1, 1), conv(3, 1, 1))),
    Spelt(Case("QLinearAveragePool",
         "y = com.microsoft.QLinearAveragePool<kernel_shape=[3,2], strides=[2,2]>(x, s, z, s, z)",
               {"s": floats(1), "z": np.uint8(0)}), (conv(3, 2), conv(2, 2))),
    Spelt(Case("QLinearGlobalAveragePool", "y = com.microsoft.QLinearGlobalAveragePool(x, s, z, s, z)",
               {"s": floats(1), "z": np.uint8(0)}), "full"),
    Spelt(Case("QLinearConcat", "y = com.microsoft.QLinearConcat<axis=1>(s, z, x, s, z, x, s, z)",
               {"s": floats(1), "z": np.uint8(0)}), (conv(1), conv(1))),
    Spelt(Case("FusedMatMul", "y = com.microsoft.FusedMatMul<transA=1>(x, w)", {"w": (5, 4)}, x=(1, 5, 6), at=(2,)),
          (conv(1),)),
    Spelt(Case("SkipLayerNormalization", "y = com.microsoft.SkipLayerNormalization(x, x, s)", {"s": (4,)}, x=(1, 5, 4),
               at=(1,)), (conv(1),)),
    Spelt(Case("SimplifiedLayerNormalization", "y = SimplifiedLayerNormalization(x, s)", {"s": (4,)}, x=(1, 5, 4),
               at=(1,)), (conv(1),)),
]  # fmt: skip
SPELT += [
    Spelt(Case(op, f"y = com.microsoft.{op}(x, s, z, x, s, z, s, z)", {"s": floats(1), "z": np.uint8(0)}),
          (conv(1), conv(1)))
    for op in ("QLinearAdd", "QLinearMul")
]  # fmt: skip
SPELT += [
    Spelt(Case(op, f"y = com.microsoft.{op}(x, s, z, s, z)", {"s": floats(1), "z": np.uint8(0)}), (conv(1), conv(1)))
    for op in ("QLinearLeakyRelu", "QLinearSigmoid")
]
SPELT += [
    Spelt(Case(op, f"y = com.microsoft.{op}(x, s)", {"s": (7,)}), (conv(1), conv(1)))
    for op in ("FastGelu", "BiasGelu", "QuickGelu")
]
SPELT += [Spelt(Case(op, f"y = {op}(x, x, x)"), "unknown") for op in NOT_FOLLOWED[""]]


def test_every_operator_of_onnx_is_followed_or_says_why_not():
    schemas = {(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas_with_history()}
    followed = {("", op) for op in (*HANDLERS, *CONTROL)}
    unfollowed = {(domain, op) for domain, ops in NOT_FOLLOWED.items() for op in ops}
    assert sorted(schemas - followed - unfollowed) == []
    assert sorted(followed & unfollowed) == []
    # What is in no schema was once in one, or is Microsoft's.
    contributed = ("QLinear", "Fused", "BiasGelu", "FastGelu", "QuickGelu", "Simplified", "SkipLayer")
    assert [op for domain, op in followed - schemas if not op.startswith(contributed)] == []


def test_every_handler_has_a_row():
    rows = {case.op for case in CASES} | {row.case.op for row in SPELT}
    assert sorted(set(HANDLERS) - rows) == ["Resize"]  # whose modes have a test of their own


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_operator_reads_what_its_windows_say(case):
    check_reads(case)


@pytest.mark.parametrize("row", SPELT, ids=lambda row: row.case.id)
def test_operator_without_an_oracle_is_spelt(row):
    graph = graph_of(row.case)
    node = list(graph)[-1]
    layer = rfgraph.analyze(graph)[node]
    if row.windows == "unknown":
        assert layer.status == "unknown"
        assert f"rfgraph does not know what {row.case.op} reads ({NOT_FOLLOWED[''][row.case.op]})" in layer.why
    elif row.windows == "full":
        assert all(layer.is_global)
        # A softmax reads its own position besides, which is a local field.
        assert all(window.is_full for window in layer.field) or row.case.op == "Softmax"
    else:
        assert tuple(zip(layer.size, layer.stride, layer.padding, strict=True)) == row.windows


def test_a_grid_that_the_network_computes_is_read_where_it_stands_and_what_it_samples_everywhere():
    body = """f = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w)
              t = Transpose<perm=[0,2,3,1]>(f)
              s = GridSample(x, t)
              y = AveragePool<kernel_shape=[3,1], pads=[1,0,1,0]>(s)"""
    report = rfgraph.analyze(graph_of(Case("GridSample", body, {"w": (2, 3, 3, 3)})))
    assert report["f"].is_global == (False, False)
    assert report["s"].is_global == report["y"].is_global == (True, True)
    assert (report["s"].size, report["y"].size) == ((3, 3), (5, 3))  # through the grid
    assert report["s"].status == report["y"].status == "bound"  # samples may leave positions out
    flow = rfgraph.analyze(graph_of(Case("GridSample", body, {"w": (2, 3, 3, 3)})), treat={"s/sampled": "cut"})
    assert flow["y"].is_global == (False, False)


def test_taps_that_offsets_move_have_a_local_field_besides():
    body = """o = Conv<pads=[2,2,2,2]>(x, v)
              d = DeformConv<pads=[1,1,1,1]>(x, w, o)
              y = AveragePool<kernel_shape=[3,1], pads=[1,0,1,0]>(d)"""
    case = Case("DeformConv", body, {"w": (4, 3, 3, 3), "v": (18, 3, 5, 5)}, opset=19)
    report = rfgraph.analyze(graph_of(case))
    assert report["d"].is_global == (True, True)
    assert (report["d"].size, report["y"].size) == ((5, 5), (7, 5))  # of the offsets, the kernel itself has 3
    still = rfgraph.analyze(graph_of(case), treat={"d/offsets": "cut", "d/sampled": "cut"})
    assert (still["y"].size, still["y"].is_global) == ((5, 3), (False, False))


@pytest.mark.parametrize(
    "body",
    [
        "y = Conv(x, w, b)",
        "y = Conv(x, v)",
        "y = ConvTranspose(x, w, b)",
        "y = BatchNormalization(x, b, c, c, c)",
        "y = BatchNormalization(x, c, c, c, b)",
        "y = InstanceNormalization(a, c, b)",
        "y = LayerNormalization<axis=3>(a, u)",
        "y = PRelu(x, p)",
        "y = Clip(x, s)",
        "y = QuantizeLinear(x, s, z)",
        "y, t, o = DynamicQuantizeLinear(x)",
    ],
)
def test_parameters_that_the_network_computes_are_read(body):
    """Weights, biases and scales made of the mean of the image: every output reads all of it."""
    text = f"""p = GlobalAveragePool(x)
               b = Squeeze(p, axes)
               s = ReduceMax<keepdims=0>(x)
               u = ReduceMean<keepdims=0>(x, first)
               a = Cast<to=1>(x)
               v = Mul(w, p)
               {body}"""
    weights = {"w": (3, 3, 3, 3), "c": (3,), "axes": ints(0, 2, 3), "first": ints(0, 1, 2), "z": np.uint8(0)}
    report = rfgraph.analyze(graph_of(Case("", text, weights, opset=20)))
    last = [node for node in report if node.startswith("y")][-1]
    assert (report[last].is_global, report[last].status) == ((True, True), "exact")
    # Its own field is local still, but for norms over space, which have none on the axes of their statistics.
    assert report[last].field[0].is_local


def test_what_is_not_downstream_of_indices_stays_exact():
    body = """a = AveragePool<kernel_shape=[3,3]>(x)
              i = ArgMax<axis=2>(a)
              g = GatherElements<axis=2>(a, i)
              b = AveragePool<kernel_shape=[5,5]>(x)
              c = GlobalAveragePool(g)
              y = Add(b, c)"""
    report = rfgraph.analyze(graph_of(Case("GatherElements", body)))
    assert report["g"].is_global == (True, False)  # the other axis is read where it is
    assert report["g"].field[1].size == 3
    assert (report["b"].size, report["b"].is_global) == ((5, 5), (False, False))
    assert report["y"].size == (5, 5)


MODES = [
    ("nearest", coordinates, nearest)
    for coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
    for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
]
MODES += [
    (mode, coordinates, "floor")
    for mode in ("linear", "cubic")
    for coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
]


def resize(mode, coordinates, nearest, inputs, weights, opset=19):
    attributes = f'mode="{mode}", coordinate_transformation_mode="{coordinates}", nearest_mode="{nearest}"'
    return Case("Resize", f"y = Resize<{attributes}>({inputs})", weights, x=(1, 1, 6, 8), opset=opset)


@pytest.mark.parametrize("scale", [(2, 3), (0.5, 1), (1.5, 0.75), (1.0, 1.0625)])
@pytest.mark.parametrize(("mode", "coordinates", "nearest"), MODES)
def test_resize_by_scale(mode, coordinates, nearest, scale):
    if scale[1] == 1.0625 and coordinates in ("align_corners", "half_pixel_symmetric"):
        return  # 8 * 1.0625 is no whole size: see test_resize_that_is_not_followed_says_why
    check_reads(resize(mode, coordinates, nearest, "x, , s", {"s": floats(1, 1, *scale)}))


@pytest.mark.parametrize("size", [(9, 4), (12, 8), (1, 3)])
@pytest.mark.parametrize(("mode", "coordinates", "nearest"), MODES)
def test_resize_to_size(mode, coordinates, nearest, size):
    if (mode, coordinates, size[0]) == ("cubic", "pytorch_half_pixel", 1):
        return  # the operator's text puts the one output at 0, the evaluator at -1/2
    check_reads(resize(mode, coordinates, nearest, "x, , , s", {"s": ints(1, 1, *size)}))


def test_resize_as_tensorflow_rounds():
    case = resize("nearest", "tf_half_pixel_for_nn", "floor", "x, r, s", {"s": floats(1, 1, 1.5, 2), "r": floats()}, 11)
    report = rfgraph.analyze(graph_of(case))
    for y in range(9):  # the coordinate is (y + 1/2) / (3/2), rounded down
        row = int((y + Fraction(1, 2)) / Fraction(3, 2))
        assert report.region("y", (y, 3)).box == ((row, row), (1, 1))


@pytest.mark.parametrize(
    ("attributes", "inputs", "why"),
    [
        (
            'coordinate_transformation_mode="half_pixel_symmetric"',
            "x, , t",
            "coordinate_transformation_mode is half_pixel_s",
        ),
        (
            'coordinate_transformation_mode="align_corners"',
            "x, , t",
            "its scale makes no whole size, so that the corners it aligns are not said",
        ),
        ('keep_aspect_ratio_policy="not_larger"', "x, , , n", "keeping its aspect ratio needs sizes to be rounded"),
    ],
)
def test_resize_that_is_not_followed_says_why(attributes, inputs, why):
    weights = {"s": floats(1, 1, 0.5, 0.5), "t": floats(1, 1, 1.2, 1), "n": ints(1, 1, 4, 4), "r": floats(*[0, 1] * 4)}
    graph = graph_of(Case("Resize", f"y = Resize<{attributes}>({inputs})", weights, opset=19))
    layer = rfgraph.analyze(graph)["y"]
    assert layer.status == "unknown"
    assert f"rfgraph does not know what Resize reads ({why}" in layer.why or why in layer.why


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scale", [(0.5, 0.375), (0.75, 1.5)])
def test_resize_that_smooths_what_it_shrinks(mode, scale):
    check_reads(Case("Resize", f'y = Resize<antialias=1, mode="{mode}">(x, , s)', {"s": floats(1, 1, *scale)},
                     x=(1, 1, 9, 8), opset=18))  # fmt: skip


def test_resize_keeps_the_aspect_ratio():
    body = 'y = Resize<keep_aspect_ratio_policy="not_smaller", axes=[3,2]>(x, , , n)'
    check_reads(Case("Resize", body, {"n": ints(8, 12)}, x=(1, 1, 6, 8), opset=19))


@pytest.mark.parametrize(("scale", "rows"), [(2.0, [0, 0, 1, 1]), (0.6, [0, 2])])
def test_resize_of_opset_10_rounds_as_its_test_cases(scale, rows):
    # onnx's own resize_downsample_scales_nearest of opset 10: of 1 2 3 4, scaled by 0.6, it keeps 1 and 3.
    size = 2 if scale > 1 else 4
    case = Case("Resize", "y = Resize(x, s)", {"s": floats(1, 1, 1, scale)}, x=(1, 1, 2, size), opset=10)
    report = rfgraph.analyze(graph_of(case))
    assert [report.region("y", (0, y)).box[1] for y in range(len(rows))] == [(row, row) for row in rows]


def test_resize_of_opset_10_rounds_each_axis_its_own_way():
    case = Case("Resize", "y = Resize(x, s)", {"s": floats(1, 1, 0.5, 2)}, x=(1, 1, 3, 3), opset=10)
    report = rfgraph.analyze(graph_of(case))
    assert report["y"].map_size == (1, 6)
    assert [report.region("y", (0, y)).box[1][0] for y in range(6)] == [0, 0, 1, 1, 2, 2]  # as onnxruntime has it


# Real models: what onnx ships, against a walk over the file that shares no code with rfgraph.

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
MODELS = [
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
]


def walk(path: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return first and last pixel of output 0, the stride and the map size of every node, on the vertical axis."""
    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    known = {info.name: (0, 0, 1, 224) for info in model.graph.input if info.name not in weights}
    nodes = {}
    for node in model.graph.node:
        inputs = [known[name] for name in node.input if name in known]
        if not inputs or node.op_type in ("Gemm", "Softmax", "GlobalAveragePool"):
            continue
        if node.op_type == "Reshape" and weights[node.input[1]].dims == [2]:
            continue  # flattened for the classifier
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        first, last = min(i[0] for i in inputs), max(i[1] for i in inputs)
        (stride,), (size,) = {i[2] for i in inputs}, {i[3] for i in inputs}
        if node.op_type in ("Conv", "MaxPool", "AveragePool"):
            kernel, step = attributes["kernel_shape"][0], attributes.get("strides", [1])[0]
            pads = attributes.get("pads", [0, 0, 0, 0])
            first, last = first - pads[0] * stride, last + (kernel - 1 - pads[0]) * stride
            size = (size + pads[0] + pads[2] - kernel) // step + 1
            stride *= step
        for output in node.output:
            known[output] = (first, last, stride, size)
        if node.op_type not in ("Reshape", "Transpose"):  # views of a map make no node
            nodes[node.name] = known[node.output[0]]
    return nodes


@pytest.mark.parametrize("name", MODELS)
def test_real_model_agrees_with_a_walk_over_its_file_at_every_node(name):
    path = LIGHT / f"light_{name}.onnx"
    report = rfgraph.analyze(path)
    nodes = walk(path)
    assert len(nodes) >= 15
    for node, (first, last, stride, size) in nodes.items():
        layer = report[node]
        for axis in range(2):
            assert (layer.size[axis], layer.stride[axis], -layer.padding[axis]) == (last - first + 1, stride, first)
            assert layer.map_size[axis] == size
            assert layer.status == "exact"


def longest_path(*layers: tuple[int, int]) -> tuple[int, int]:
    """Return receptive field and stride of a chain of (kernel, stride), by the article's sum of (k - 1) * jump."""
    size, jump = 1, 1
    for kernel, stride in layers:
        size += (kernel - 1) * jump
        jump *= stride
    return size, jump


def bottlenecks(units, stride):
    """A ResNet stage whose first 3x3 convolution strides, as in this file."""
    return [(1, 1), (3, stride), (1, 1), *[(1, 1), (3, 1), (1, 1)] * (units - 1)]


def dense(units):
    return [(1, 1), (3, 1)] * units


CHAINS = {
    "vgg19": [layer for convs in (2, 2, 4, 4, 4) for layer in [*[(3, 1)] * convs, (2, 2)]],
    "bvlc_alexnet": [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)],
    "zfnet512": [(7, 2), (3, 2), (5, 2), (3, 2), (3, 1), (3, 1), (3, 1), (2, 2)],
    "squeezenet": [(3, 2), (3, 2), *[(3, 1)] * 2, (3, 2), *[(3, 1)] * 2, (3, 2), *[(3, 1)] * 4],
    "resnet50": [
        (7, 2),
        (3, 2),
        *bottlenecks(3, 1),
        *bottlenecks(4, 2),
        *bottlenecks(6, 2),
        *bottlenecks(3, 2),
        (7, 1),
    ],
    "densenet121": [(7, 2), (3, 2), *dense(6), (2, 2), *dense(12), (2, 2), *dense(24), (2, 2), *dense(16)],
}


@pytest.mark.parametrize("name", CHAINS)
def test_real_model_has_the_field_of_its_architecture(name):
    report = rfgraph.analyze(LIGHT / f"light_{name}.onnx")
    size, stride = longest_path(*CHAINS[name])
    last = report[report.outputs[-1]]
    assert last.size == (size, size)
    assert last.stride == (stride, stride)


def test_classifier_of_a_real_model_reads_everything():
    report = rfgraph.analyze(LIGHT / "light_vgg19.onnx")
    assert report[list(report)[-1]].is_global == (True, True)


def test_inception_v2_has_two_misaligned_pools():
    # Its stride-2 blocks pad the convolutions by 1 and the pool by nothing: half a pixel of the merge's map.
    report = rfgraph.analyze(LIGHT / "light_inception_v2.onnx")
    assert [finding.rule for finding in report.findings] == ["RF002", "RF002"]


# Whole files: shapes, names, control flow, and what is wrong with them.


def build(text: str, weights: dict | None = None) -> onnx.ModelProto:
    """Return the model of a textual ONNX model, with weights of random numbers."""
    model = parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, value in (weights or {}).items():
        array = rng.uniform(0.5, 1.5, value).astype(np.float32) if isinstance(value, tuple) else np.asarray(value)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


HEAD = '<ir_version: 8, opset_import: ["" : 17, "my" : 1, "local" : 1]>'


def field_of(graph, node, axis=0):
    layer = rfgraph.analyze(graph)[node]
    return layer.size[axis], layer.stride[axis], layer.padding[axis]


def test_nhwc_layout_is_found_from_the_first_window():
    model = build(
        HEAD + """ m (float[N, 32, 24, 3] x) => (float[N, H, W, 5] y) {
          t = Transpose<perm=[0,3,1,2]>(x)
          c = Conv<kernel_shape=[3,5], strides=[2,1], pads=[1,2,1,2]>(t, w)
          y = Transpose<perm=[0,2,3,1]>(c)
        }""", {"w": (5, 3, 3, 5)})  # fmt: skip
    graph = lower(read_model(model))
    assert graph.nodes["x"]["size"] == [32, 24]
    assert [graph.nodes[node]["op"] for node in graph] == ["input", "conv"]


def test_flat_images_and_unbatched_signals_are_laid_out():
    flat = build(HEAD + """ m (float[N, 784] x) => (float[N, C, H, W] y) {
      r = Reshape(x, s)
      y = Conv<kernel_shape=[3,3]>(r, w)
    }""", {"s": ints(-1, 1, 28, 28), "w": (2, 1, 3, 3)})  # fmt: skip
    graph = lower(read_model(flat))
    assert graph.nodes["x"]["size"] == [28, 28]
    assert field_of(graph, "y") == (3, 1, 0)
    signal = build(HEAD + """ m (float[N, 100] x) => (float[N, C, T] y) {
      u = Unsqueeze(x, a)
      y = Conv<kernel_shape=[5], strides=[2]>(u, w)
    }""", {"a": ints(1), "w": (2, 1, 5)})  # fmt: skip
    graph = lower(read_model(signal))
    assert graph.graph["axes"] == 1
    assert field_of(graph, "y") == (5, 2, 0)


def test_a_model_without_windows_is_refused():
    model = build(HEAD + " m (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Relu(x) }")
    message = r"nothing tells which dimensions of its inputs are spatial \(x \[1, 3, 8, 8\]\); in such a model"
    with pytest.raises(ModelFileError, match=message):
        lower(read_model(model))


def test_a_transformer_of_tokens_is_refused_with_its_inputs():
    model = build(HEAD + """ m (int64[N, T] tokens, float[N, T, 8] codes) => (float[N, T, 8] y) {
      e = Gather(table, tokens)
      h = Add(e, codes)
      q = Transpose<perm=[0,2,1]>(h)
      s = MatMul(h, q)
      p = Softmax(s)
      y = MatMul(p, h)
    }""", {"table": (50, 8)})  # fmt: skip
    with pytest.raises(ModelFileError, match=r"spatial \(tokens \[N, T\], codes \[N, T, 8\]\); .* say which are"):
        lower(read_model(model))


def test_inputs_that_no_window_slides_over_are_constants_of_the_network():
    model = build(HEAD + """
    m (float[1, 3, 16, 16] x, float[1] scale, float t, float[1, 8] code) => (float[1, 3, h, v] y) {
      c = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)
      s = Mul(c, scale)
      a = Add(s, t)
      l = MatMul(code, w)
      r = Reshape(l, n)
      y = Mul(a, r)
    }""", {"w": (8, 3), "n": ints(1, 3, 1, 1)})  # fmt: skip
    report = rfgraph.analyze(lower(read_model(model)))
    assert list(report) == ["x", "c", "s", "a", "y"]
    assert (report["y"].size, report["y"].is_global, report["y"].status) == ((3, 3), (False, False), "exact")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("y = Resize(c, , , n)", "its sizes depends on what the network computes"),
        ("y = Reshape(c, n)", "its shape depends on what the network computes"),
        ("y = Pad(c, n)", "its pads depends on what the network computes"),
    ],
)
def test_inputs_that_say_a_size_leave_it_unknown(body, why):
    text = " m (float[1, 3, 16, 16] x, int64[4] n) => (float[1, 3, h, w] y) { c = AveragePool<kernel_shape=[3,3]>(x) "
    report = rfgraph.analyze(lower(read_model(build(HEAD + text + body + "}"))))
    assert (report["c"].status, report["y"].status) == ("exact", "unknown")
    assert why in report["y"].why


@pytest.mark.parametrize(
    ("roi", "exact"),
    [
        ((0, 0, 0.25, 0.25, 1, 1, 0.75, 0.75), True),
        ((0, 0, 0, 0, 1, 1, 1, 1), True),
        ((0, 0, 0.3, 0, 1, 1, 0.9, 1), False),
    ],
)
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_resize_of_a_crop(roi, exact, mode):
    attributes = f'coordinate_transformation_mode="tf_crop_and_resize", mode="{mode}"'
    weights = {"r": floats(*roi), "n": ints(1, 1, 4, 5)}
    case = Case("Resize", f"y = Resize<{attributes}>(x, r, , n)", weights, x=(1, 1, 9, 17), opset=19, exact=exact)
    check_reads(case)
    assert (rfgraph.analyze(graph_of(case)).regions("y").status == "exact") is exact


def test_resize_of_a_crop_that_the_network_chooses_is_unknown():
    body = """r = GlobalAveragePool(x)
              f = Flatten<axis=0>(r)
              y = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, f, , n)"""
    layer = rfgraph.analyze(graph_of(Case("Resize", body, {"n": ints(1, 8, 3, 3)}, x=(1, 8, 6, 7))))["y"]
    assert layer.status == "unknown"
    assert "its roi depends on what the network computes" in layer.why


def test_a_model_whose_outputs_are_constants_is_refused():
    model = build(HEAD + " m (float[1, 3, 8, 8] x) => (int64[4] y) { s = Shape(x) y = Identity(s) }")
    with pytest.raises(ModelFileError, match="none of its outputs depends on an input"):
        lower(read_model(model))


DYNAMIC = (
    HEAD
    + """ m (float[N, 3, H, W] x) => (float[N, C, h, w] y) {
  c = Conv<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x, w)
  s = Shape(c)
  hw = Slice(s, two, four)
  d = Mul(hw, two)
  nc = Slice(s, zero, two)
  e = Concat<axis=0>(nc, d)
  u = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(c, , , e)
  r = Conv<kernel_shape=[1,1]>(u, w1)
  y = Add(r, x)
}"""
)
DYNAMIC_WEIGHTS = {"w": (4, 3, 3, 3), "w1": (3, 4, 1, 1), "zero": ints(0), "two": ints(2), "four": ints(4)}


def test_a_size_computed_from_symbolic_shapes_is_a_scale():
    graph = lower(read_model(build(DYNAMIC, DYNAMIC_WEIGHTS)))
    assert graph.nodes["u"]["scale"] == [2, 2]
    assert field_of(graph, "u") == (3, 1, 1)


SKIP = (
    HEAD
    + """ m (float[N, 3, H, W] x) => (float[N, C, h, w] y) {
  c = Conv<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x, w)
  s = Shape(x)
  u = Resize<mode="nearest">(c, , , s)
  y = Add(u, x)
}"""
)


def test_a_size_that_depends_on_the_input_waits_for_one():
    model = build(SKIP, {"w": (3, 3, 3, 3)})
    layer = rfgraph.analyze(lower(read_model(model)))["u"]
    assert layer.status == "unknown"
    assert "it resizes to H, W, which depends on the input size; give one" in layer.why
    graph = lower_for(lambda shapes: read_model(model, given=shapes), input_size=(64, 31))
    assert graph.nodes["x"]["size"] == [64, 31]
    assert graph.nodes["u"]["size"] == [64, 31]
    assert rfgraph.analyze(graph)["u"].map_size == (64, 31)


def test_an_input_size_replaces_the_one_a_model_was_exported_for():
    text = DYNAMIC.replace("float[N, 3, H, W] x", "float[1, 3, 32, 32] x")
    path_model = build(text, DYNAMIC_WEIGHTS)
    graph = lower_for(lambda shapes: read_model(path_model, given=shapes), input_size=96)
    assert graph.nodes["u"]["size"] == [96, 96]


def test_names_are_those_of_the_file():
    model = build(HEAD + """ m (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {
      a = Relu(x)
      b = Relu(a)
      c = MaxPool<kernel_shape=[1,1]>(b)
      y = Add(c, a)
    }""")  # fmt: skip
    for node, name in zip(model.graph.node, ["/módulo 1/relu", "", "/módulo 1/relu", 'sum/äö "q"'], strict=True):
        node.name = name
    graph = lower(read_model(model))
    assert list(graph) == ["x", "/módulo 1/relu", "b", "/módulo 1/relu_2", 'sum/äö "q"']


def noted(node, scopes, target="", line="", **more):
    """Note on a node what PyTorch's exporter notes: the modules that it was made in, the call, and the code."""
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(scopes))
    node.metadata_props.add(key="pkg.torch.onnx.class_hierarchy", value=repr(["m.Net", target]))
    if line:
        trace = (
            f'File "net.py", line {line}, in forward\n    x = f(x)\n  File "/x-packages/torch/nn/f.py", line 9, in f'
        )
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    for key, value in more.items():
        node.metadata_props.add(key=key.replace("__", "."), value=value)


def names_of(body, weights, named=True, note=lambda nodes: None):
    """Return what the nodes of a model are called, whose exporter numbered them."""
    model = model_of(Case("", body, weights))
    for i, node in enumerate(model.graph.node if named else ()):
        node.name = f"{node.op_type}_{i}"
    note(model.graph.node)
    return [*lower(read_model(model), spatial={"x": (2, 3)})][1:]


SQUARE = (3, 3, 3, 3)


@pytest.mark.parametrize("named", [True, False])
def test_layers_are_called_after_the_module_of_their_weight(named):
    body = """7 = Conv(x, backbone.layer1.0.conv1.weight)
              8 = Relu(7)
              9 = ConvTranspose(8, up.weight)
              10 = Conv(9, onnx::Conv_52)
              y = Conv(10, up.weight)"""
    for number in ("7", "8", "9", "10"):  # the parser of the textual form takes no such names
        body = body.replace(f"{number} =", f"t{number} =").replace(f"({number}", f"(t{number}")
    weights = {"backbone.layer1.0.conv1.weight": SQUARE, "up.weight": SQUARE, "onnx::Conv_52": SQUARE}
    for name in list(weights):
        body = body.replace(name, name.replace(".", "__").replace(":", "_"))
    model = model_of(Case("", body, {n.replace(".", "__").replace(":", "_"): s for n, s in weights.items()}))
    for i, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{i}" if named else ""
        for names in (node.input, node.output):
            names[:] = [(n[1:] if n[1:].isdigit() else n.replace("__", ".").replace("onnx_Conv", "onnx::Conv"))
                        for n in names]  # fmt: skip
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("__", ".").replace("onnx_Conv", "onnx::Conv")
    nodes = [*lower(read_model(model), spatial={"x": (2, 3)})][1:]
    if named:
        assert nodes == ["backbone.layer1.0.conv1", "Relu_1", "up", "Conv_3", "up_2"]
    else:  # the last is called y, which a person may have said
        assert nodes == ["backbone.layer1.0.conv1", "8", "up", "10", "y"]


def test_names_that_a_person_gave_stay():
    for name in ("conv1", "/stem/conv/Conv", "backbone/Conv2D", "Convolution"):
        model = model_of(Case("", "y = Conv(x, w)", W))
        model.graph.initializer[0].name = model.graph.node[0].input[1] = "stem.weight"
        model.graph.node[0].name = name
        assert list(lower(read_model(model), spatial={"x": (2, 3)})) == ["x", name]


def test_quantised_layers_are_called_after_the_module_of_their_weight():
    model = model_of(Case("", """d = DequantizeLinear(w, s, z)
                                 e = Transpose<perm=[0,1,2,3]>(d)
                                 y = Conv(x, e)""",
                          {"w": np.ones((4, 3, 3, 2), np.uint8), "s": np.float32(1), "z": np.uint8(0)}))  # fmt: skip
    model.graph.initializer[0].name = model.graph.node[0].input[0] = "stem.conv.weight_quantized"
    model.graph.node[2].name = "Conv_2"
    assert list(lower(read_model(model), spatial={"x": (2, 3)})) == ["x", "stem.conv"]


def test_nodes_are_called_after_the_module_that_made_them():
    def note(nodes):
        noted(nodes[0], ["", "stem", "stem.conv", "conv2d"], "aten.conv2d.default")
        noted(nodes[1], ["", "stem", "relu"], "aten.relu.default")
        noted(nodes[2], ["", "stem", "add"], "aten.add.Tensor")
        noted(nodes[3], ["", "stem", "stem.act", "relu_1"], "aten.relu.default")
        noted(nodes[4], ["", "stem", "stem.act", "relu_2"], "aten.relu.default")  # the same module once more
        noted(nodes[5], ["", "head", "linear"], "aten.linear.default")  # one call that became two nodes
        noted(nodes[6], ["", "head", "linear"], "aten.linear.default")
        noted(nodes[7], ["", "sigmoid"], "aten.sigmoid.default")

    body = """a = Conv<kernel_shape=[1,1]>(x, w)
              b = Relu(a)
              c = Add(b, a)
              d = Relu(c)
              e = Relu(d)
              f = MatMul(e, v)
              g = Add(f, u)
              y = Sigmoid(g)"""
    weights = {"w": (3, 3, 1, 1), "v": (7, 7), "u": (7,)}
    want = ["stem.conv", "stem/relu", "stem/add", "stem.act", "stem.act_2", "head", "u", "head/add", "sigmoid"]
    assert names_of(body, weights, note=note) == want
    assert names_of(body, weights, named=False, note=note) == ["a", "b", "c", "d", "e", "f", "u", "g", "y"]

    def older(nodes):
        nodes[0].metadata_props.add(key="namespace", value=": net.Net/stem: torch.nn.Conv2d/conv2d: aten.conv2d")

    assert names_of(body, weights, note=older)[0] == "stem"


def test_a_layer_that_took_in_its_norm_is_called_after_its_own_weight():
    def note(nodes):
        noted(nodes[0], ["", "bn", "norm"], "aten.batch_norm.default", pkg__onnxscript__rewriter__rule_name="Fuse")
        nodes[0].input[1] = "conv.weight"

    model = model_of(Case("", "y = Conv(x, w)", W))
    model.graph.initializer[0].name = "conv.weight"
    model.graph.node[0].name = "node_Conv_3"
    note(model.graph.node)
    assert list(lower(read_model(model), spatial={"x": (2, 3)})) == ["x", "conv"]


@pytest.mark.parametrize("value", ["", "[]", "['", "'a", "{", "['a'" * 9000, "\\" * 999, "[1, 2]"])
def test_metadata_that_is_no_list_of_modules_changes_nothing(value):
    model = model_of(Case("", "y = Relu(x)"))
    model.graph.node[0].name = "Relu_3"
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=value)
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=value)
    (name,) = list(lower(read_model(model), spatial={"x": (2, 3)}))[1:]
    assert name in ("Relu_3", "relu")


def test_nodes_carry_the_line_of_code_that_made_them(tmp_path):
    model = model_of(Case("", "a = Conv(x, w)\nb = Relu(a)\ny = GlobalAveragePool(b)", W))
    noted(model.graph.node[0], ["", "conv2d"], line=12)
    noted(model.graph.node[2], ["", "mean"], line=14)
    onnx.save(model, tmp_path / "m.onnx")
    report = rfgraph.analyze(tmp_path / "m.onnx")
    assert [report[node].location for node in report] == ["", "net.py:12", "", "net.py:14"]


def test_initializers_that_are_inputs_too_are_weights():
    model = build(HEAD + """ m (float[1, 3, 8, 8] x, float[2, 3, 3, 3] w) => (float[1, 2, 6, 6] y) {
      y = Conv<kernel_shape=[3,3]>(x, w)
    }""", {"w": (2, 3, 3, 3)})  # fmt: skip
    assert list(lower(read_model(model))) == ["x", "y"]


def test_weights_in_files_of_their_own_are_not_read(tmp_path):
    model = build(
        HEAD + """ m (float[1, 3, 8, 8] x) => (float[1, 2, 6, 6] y) { y = Conv(x, w) }""", {"w": (2, 3, 3, 3)}
    )
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert field_of(rfgraph.load(path), "y") == (3, 1, 0)


IF = (
    HEAD
    + """ m (float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {
  m = ReduceMean<keepdims=0>(x)
  c = Greater(m, zero)
  y = If (c) <
    then_branch = t () => (float[1, 3, 16, 16] a) { a = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) },
    else_branch = e () => (float[1, 3, 16, 16] b) { b = AveragePool<kernel_shape=[5,5], pads=[2,2,2,2]>(x) }
  >
}"""
)


def test_both_branches_of_an_if_are_read():
    graph = lower(read_model(build(IF, {"zero": floats(0).reshape(())})))
    layer = rfgraph.analyze(graph)["y"]
    assert layer.size == (5, 5)
    assert layer.is_global == (True, True)  # the condition is a mean of everything


def test_the_branch_of_an_if_on_shapes_is_the_one_that_is_taken():
    text = IF.replace("m = ReduceMean<keepdims=0>(x)", "m = Size(x)").replace("Greater", "Less")
    graph = lower(read_model(build(text, {"zero": np.int64(10)})))
    assert field_of(graph, list(graph)[-1]) == (5, 1, 2)
    assert len(graph) == 2


LOOP = (
    HEAD
    + """ m (float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {
  y = Loop (n, go, x) <body = b (int64 i, bool c, float[1, 3, 16, 16] v) => (bool d, float[1, 3, 16, 16] u) {
    u = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(v)
    d = Identity(c)
  }>
}"""
)


def test_a_loop_of_known_length_is_unrolled():
    graph = lower(read_model(build(LOOP, {"n": np.int64(4), "go": np.bool_(True)})))
    assert field_of(graph, list(graph)[-1]) == (1 + 4 * 2, 1, 4)


def test_a_loop_of_unknown_length_is_named():
    text = LOOP.replace(
        "y = Loop", "p = MaxPool<kernel_shape=[1,1]>(x) k = ReduceSum<keepdims=0>(p) n = Cast<to=7>(k) y = Loop"
    )
    layer = rfgraph.analyze(lower(read_model(build(text, {"go": np.bool_(True)}))))["y"]
    why = "its trip count depends on what the network computes, or is not in the file"
    assert f"rfgraph does not know what Loop reads ({why})" in layer.why


SCAN = (
    HEAD
    + """ m (float[1, 2, 5, 6] x) => (float[1, 2, 5, 6] y) {{
  c = Conv<pads = [1, 1, 1, 1]>(x, w)
  z, y = Scan (h, c) <num_scan_inputs = 1, scan_input_axes = [{axis}], scan_output_axes = [{axis}],
    scan_input_directions = [{backward}], scan_output_directions = [{backward}],
    body = b (float[1, 2, {other}] s, float[1, 2, {other}] row) => (float[1, 2, {other}] t, float[1, 2, {other}] o) {{
      k = Conv<pads = [1, 1]>(s, v)
      t = Add(k, row)
      o = Relu(t)
    }}>
}}"""
)


@pytest.mark.parametrize("backward", [0, 1])
@pytest.mark.parametrize("axis", [2, 3])
def test_rows_that_a_scan_computes_one_after_the_other_are_an_axis(axis, backward):
    other = 11 - (5, 6)[axis - 2]
    weights = {"w": np.ones((2, 2, 3, 3)), "v": np.ones((2, 2, 3)), "h": np.zeros((1, 2, other))}
    text = SCAN.format(axis=axis, backward=backward, other=other)
    report = rfgraph.analyze(lower(read_model(build(text, {k: v.astype(np.float32) for k, v in weights.items()}))))
    assert report["y"].map_size == (5, 6)
    assert not report.findings
    last = (0 if backward else 4, 2) if axis == 2 else (2, 0 if backward else 5)  # reads all rows before it
    assert report.region("y", last).box == ((0, 4), (0, 5))


def test_a_long_loop_is_unrolled_too():
    graph = lower(read_model(build(LOOP, {"n": np.int64(500), "go": np.bool_(True)})))
    assert field_of(graph, list(graph)[-1]) == (1 + 500 * 2, 1, 500)


def test_a_loop_ends_when_its_condition_says_so():
    text = LOOP.replace("d = Identity(c)", "d = Less(i, last)").replace("go, x)", "go, x)")
    weights = {"n": np.int64(2**63 - 1), "go": np.bool_(True), "last": np.int64(5)}
    graph = lower(read_model(build(text, weights)))
    assert field_of(graph, list(graph)[-1]) == (1 + 6 * 2, 1, 6)


@pytest.mark.parametrize("turns", [10**6, 2**63 - 1])
def test_a_loop_that_runs_too_often_is_named_and_nothing_else_is_lost(turns):
    text = LOOP.replace("y = Loop", "p = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) l = Loop").replace(
        "  }>\n}", "  }>\n y = Add(l, p)\n}"
    )
    report = rfgraph.analyze(lower(read_model(build(text, {"n": np.int64(turns), "go": np.bool_(True)}))))
    assert (report["p"].size, report["p"].status, report["y"].status) == ((3, 3), "exact", "unknown")
    assert f"it runs {turns} times, which is too often to be followed" in report["y"].why
    treated = rfgraph.analyze(lower(read_model(build(text, {"n": np.int64(turns), "go": np.bool_(True)})),
                                    {"l": "global"}), treat={"l": "global"})  # fmt: skip
    assert (treated["y"].size, treated["y"].is_global) == ((3, 3), (True, True))


NESTED = (
    HEAD
    + """ m (float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {
  p = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)
  l = Loop (n, go, p) <body = b (int64 i, bool c, float[1, 3, 16, 16] v) => (bool d, float[1, 3, 16, 16] u) {
    u = Loop (n, c, v) <body = a (int64 j, bool e, float[1, 3, 16, 16] w) => (bool f, float[1, 3, 16, 16] o) {
      o = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(w)
      f = Identity(e)
    }>
    d = Identity(c)
  }>
  y = Add(l, p)
}"""
)


def test_loops_in_loops_are_bounded_together():
    graph = lower(read_model(build(NESTED, {"n": np.int64(3), "go": np.bool_(True)})))
    assert field_of(graph, "y") == (3 + 9 * 2, 1, 10)
    graph = lower(read_model(build(NESTED, {"n": np.int64(500), "go": np.bool_(True)})))
    assert "too often to be followed" in rfgraph.analyze(graph)["y"].why


def test_a_loop_whose_condition_changes_too_late_is_named():
    text = NESTED.replace("d = Identity(c)", "d = Less(i, last)").replace("u = Loop (n, c, v)", "u = Loop (one, c, v)")
    weights = {"n": np.int64(2**63 - 1), "one": np.int64(1), "go": np.bool_(True), "last": np.int64(10**9)}
    why = rfgraph.analyze(lower(read_model(build(text, weights))))["y"].why
    assert "it runs more than 2500 times, which is too often to be followed" in why  # 2 nodes and 2 within, a turn
    graph = lower(read_model(build(text, {**weights, "last": np.int64(0)})))
    assert field_of(graph, "y") == (3 + 1 * 2, 1, 2)


def test_a_map_over_a_sequence_runs_its_body_for_each():
    model = build(HEAD + """ m (float[1, 6, 16, 16] x) => (float[1, 6, 16, 16] y) {
      q = SplitToSequence<axis=1>(x, n)
      r = SequenceMap (q, x) <body = b (float[1, 3, 16, 16] v, float[1, 6, 16, 16] a) => (float[1, 3, 16, 16] u) {
        u = AveragePool<kernel_shape=[3,5], pads=[1,2,1,2]>(v)
      }>
      y = ConcatFromSequence<axis=1>(r)
    }""", {"n": np.int64(3)})  # fmt: skip
    graph = lower(read_model(model))
    assert [graph.nodes[node]["op"] for node in graph].count("avg_pool") == 2
    assert rfgraph.analyze(graph)["y"].size == (3, 5)


def test_a_scan_runs_over_its_rows():
    model = build(HEAD + """ m (float[4, 3, 16] x, float[3, 16] h) => (float[3, 16] y) {
      p = AveragePool<kernel_shape=[3], pads=[1,1]>(x)
      y, s = Scan (z, p) <num_scan_inputs=1, body = b (float[3, 16] v, float[3, 16] r) => (float[3, 16] u, float[3,
           16] o) {
        u = Add(v, r)
        o = Identity(u)
      }>
    }""", {"z": np.zeros((3, 16), np.float32)})  # fmt: skip
    graph = lower(read_model(model))
    assert [graph.nodes[node]["op"] for node in graph].count("add") == 4


FUNCTION = (
    HEAD
    + """ m (float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {
  a = local.Block<width=5>(x)
  y = local.Block(a)
}
<domain: "local", opset_import: ["" : 17]>
Block <width: int = 3> (v) => (u) {
  p = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(v)
  u = Relu(p)
}"""
)


def test_local_functions_are_read_in_place():
    graph = lower(read_model(build(FUNCTION)))
    assert field_of(graph, "y/u") == (5, 1, 2)
    assert list(graph) == ["x", "a/p", "a/u", "y/p", "y/u"]


def test_functions_that_call_themselves_are_refused():
    text = FUNCTION.replace("u = Relu(p)", "u = local.Block(p)")
    with pytest.raises(ModelFileError, match="functions call each other more than 64 deep; 'Block' is one of them"):
        read_model(build(text))


def test_an_operator_of_another_domain_is_named_and_can_be_treated():
    text = (
        HEAD
        + """ m (float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {
      a = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)
      b = my.Warp(a)
      y = AveragePool<kernel_shape=[5,5], pads=[2,2,2,2]>(b)
    }"""
    )
    model = build(text)
    report = rfgraph.analyze(lower(read_model(model)))
    assert report["a"].status == "exact"
    assert report["y"].status == "unknown"
    assert "node 'b' (unknown)" in report["y"].why
    assert "rfgraph does not know what Warp reads" in report["y"].why
    assert rfgraph.trace(lower(read_model(model)), "y")["b"].size == (5, 5)  # what lies after it is exact
    for pattern in ("b", "Warp", "W*"):
        report = rfgraph.analyze(lower(read_model(model), {pattern: "identity"}), treat={pattern: "identity"})
        assert report["y"].size == (7, 7)


def test_an_operator_of_another_domain_is_not_taken_for_the_one_of_onnx():
    nodes = [
        onnx.helper.make_node("AveragePool", ["x"], ["a"], "a", kernel_shape=[3]),
        onnx.helper.make_node("Transpose", ["a"], ["t"], "t", perm=[0, 2, 1]),
        onnx.helper.make_node("Attention", ["t", "w", "bias"], ["y"], "y", domain="com.microsoft", num_heads=1),
    ]
    sizes = {"x": (1, 4, 9), "y": (1, 7, 4)}
    x, y = (onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in sizes.items())
    weights = [
        onnx.numpy_helper.from_array(np.ones(shape, "f4"), name) for name, shape in (("w", (4, 12)), ("bias", 12))
    ]
    opsets = [onnx.helper.make_opsetid("", 23), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=opsets)
    report = rfgraph.analyze(lower(read_model(model)))
    assert (report["a"].status, report["y"].status) == ("exact", "unknown")


def test_a_file_that_is_cut_short_or_no_model_is_refused(tmp_path):
    path = tmp_path / "broken.onnx"
    whole = (LIGHT / "light_squeezenet.onnx").read_bytes()
    for content in (b"", b"hello, this is text", whole[:100], whole[: len(whole) // 2], b"\x89PNG\r\n\x1a\n" * 30):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"broken\.onnx: not an ONNX model, or a truncated one"):
            read(path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Relu(nothing)", r"node 'y' \(Relu\): it reads 'nothing', which nothing before it makes"),
        (
            "y = Conv<kernel_shape=[3,3], strides=[1]>(x, w)",
            r"node 'y' \(Conv\): strides \[1\] does not have one entry",
        ),
        (
            "y = Conv<kernel_shape=[3,3], pads=[1,1]>(x, w)",
            r"node 'y' \(Conv\): pads \[1, 1\] does not have two entries",
        ),
        (
            "y = Conv<kernel_shape=[3,3,3,3]>(x, w)",
            r"node 'y' \(Conv\): dimensions \[2, 3, 4, 5\] are not distinct ones of",
        ),
        ("y = MaxPool(x)", r"node 'y' \(MaxPool\): kernel_shape is missing"),
        ("y = Transpose<perm=[0,1,2,2]>(x)", r"node 'y' \(Transpose\): \(0, 1, 2, 2\) does not permute 4 dimensions"),
        ("y = Concat<axis=7>(x, x)", r"node 'y' \(Concat\): axis 7 is not one of the 4 of its input"),
        ("y = DepthToSpace<blocksize=0>(x)", r"node 'y' \(DepthToSpace\): blocksize 0 is not a positive integer"),
        ("y = Slice(x, zero, one, one, zero)", r"node 'y' \(Slice\): step 0 goes nowhere"),
        ("y = Reshape(x, minus)", r"node 'y' \(Reshape\): shape \[-1, -1\] has more than one -1"),
        ("y = Split<axis=1>(x, three)", r"node 'y' \(Split\): it splits into 2 parts but has 1 outputs"),
        ("z = Relu(x)", r"no node makes its output 'y'"),
    ],
)
def test_malformed_nodes_are_named(body, message):
    weights = {"w": (2, 3, 3, 3), "zero": ints(0), "one": ints(1), "minus": ints(-1, -1), "three": ints(1, 2)}
    with pytest.raises(ModelFileError, match=message):
        read_model(model_of(Case("", body, weights)), "model.onnx")


def test_mutated_files_give_a_graph_or_one_clear_error(tmp_path):
    rng = np.random.default_rng(7)
    path = tmp_path / "mutated.onnx"
    messages = []
    ours = Path(__file__).parents[1] / "data" / "onnx"
    files = [LIGHT / f"light_{name}.onnx" for name in ("squeezenet", "shufflenet", "bvlc_alexnet")]
    for file in (*files, ours / "drrn_loop.onnx", ours / "branchy_if.onnx"):
        whole = bytearray(file.read_bytes())
        for _ in range(150):
            mutant = whole[:]
            for at in rng.integers(0, len(mutant), rng.integers(1, 6)):
                mutant[at] = rng.integers(0, 256)
            if rng.integers(0, 4) == 0:
                mutant = mutant[: rng.integers(0, len(mutant))]
            path.write_bytes(mutant)
            try:
                rfgraph.load(path)
            except ModelFileError as error:
                messages.append(str(error))
    assert len(messages) > 100
    assert [message for message in messages if "mutated.onnx: " not in message] == []


@pytest.mark.parametrize(
    ("attributes", "coefficient"), [("", None), (", cubic_coeff_a = -0.5", -0.5), (", cubic_coeff_a = -0.75", None)]
)
def test_the_coefficient_of_a_cubic_resize_is_kept(attributes, coefficient):
    model = build(HEAD + f""" m (float[1, 3, 16, 16] x) => (float[1, 3, h, v] y) {{
      y = Resize<mode = "cubic"{attributes}>(x, , s)
    }}""", {"s": np.array([1, 1, 2, 2], "f4")})  # fmt: skip
    assert lower(read_model(model)).nodes["y"].get("coefficient") == coefficient


def test_a_learned_input_that_no_handler_lists_leaves_the_count_unknown(monkeypatch):
    from rfgraph.importers.onnx.nodes import HANDLERS

    model = build(HEAD + """ m (float[1, 3, 8, 8] x) => (float[1, 5, h, v] y) {
      y = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x, w)
    }""", {"w": np.zeros((5, 3, 3, 3), "f4")})  # fmt: skip
    assert lower(read_model(model)).graph["parameters"] == 5 * 3 * 3 * 3
    monkeypatch.delitem(HANDLERS._learns, "Conv")
    assert lower(read_model(model)).graph.get("parameters") is None


# The same architectures as in every other format.


def written(architecture):
    """An ONNX model of a network built by hand; its nodes keep their names."""
    graph = architecture.build().graph
    channels = {"x": architecture.shape[1]}
    nodes, weights = [], []

    def weight(name, *shape):
        weights.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
        return name

    for v in list(graph)[1:]:
        data = graph.nodes[v]
        tails = [tail for tail, _, _ in sorted(graph.in_edges(v, data="slot", default=0), key=lambda edge: edge[2])]
        given, op, axes = channels[tails[0]], data["op"], len(architecture.size)
        channels[v] = sum(channels[tail] for tail in tails) if op == "concat" else given
        padding = data.get("padding", 0)
        sides = padding if isinstance(padding, list) else [[padding, padding]] * axes
        settings = {
            "kernel_shape": [data.get("kernel", 1)] * axes,
            "strides": [data.get("stride", data.get("kernel", 1) if op == "max_pool" else 1)] * axes,
            "dilations": [data.get("dilation", 1)] * axes,
            "pads": [before for before, _ in sides] + [after for _, after in sides],
        }
        name, settings = {
            "conv": ("Conv", settings),
            "conv_transpose": ("ConvTranspose", settings),
            "max_pool": ("MaxPool", settings),
            "concat": ("Concat", {"axis": 1}),
            "add": ("Add", {}),
            "global_avg_pool": ("GlobalAveragePool", {}),
        }[op]
        learned = [weight(f"{v}.w", given, given, *settings["kernel_shape"])] if name.startswith("Conv") else []
        nodes.append(helper.make_node(name, [*tails, *learned], [v], v, **settings))
    shapes = (helper.make_tensor_value_info("x", 1, architecture.shape), helper.make_tensor_value_info(v, 1, None))
    return helper.make_model(helper.make_graph(nodes, "g", shapes[:1], shapes[1:], weights), opset_imports=[OPSET])


OPSET = helper.make_opsetid("", 21)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_the_table_of_other_formats(name):
    check_table(name, rfgraph.analyze(written(ARCHITECTURES[name])))
