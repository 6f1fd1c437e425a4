"""ONNX operators that compute: functions of one element, reductions, normalisations, products."""

from __future__ import annotations

from typing import Any

from rfgraph.importers import program
from rfgraph.importers.onnx.nodes import HANDLERS, Made, Node, and_read
from rfgraph.importers.program import Builder, Dim, Value, product, unknown
from rfgraph.importers.spelling import EVERY, UnspelledError, moving, operations, products, vocabulary
from rfgraph.importers.spelling.arguments import axes_of, axis_of, whole_number
from rfgraph.importers.spelling.attention import causal, is_self, summed, weights
from rfgraph.importers.spelling.moving import band
from rfgraph.importers.spelling.operations import mixed, pointwise

# Functions of one element.

UNARY = vocabulary.names("onnx", vocabulary.UNARY)
SEVERAL = vocabulary.names("onnx", vocabulary.SEVERAL)

#: Functions whose operands are weights as often as they are not.
SUMS = ("Add", "Sub", "Mul", "Div", "Sum")

_FLOATS = {1, 10, 11, 16}  # TensorProto.DataType
_BOOL = 9


#: Inputs of functions of one element that say how it is computed, where the network computes them.
PARAMETERS = {"Clip": (1, 2), "PRelu": (1,), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2)}


@HANDLERS.handles("PRelu", weights=(1,), named=1)
@HANDLERS.handles("DequantizeLinear", weights=(0,), sort="quantised")
@HANDLERS.handles(*(UNARY.keys() - {"PRelu", "DequantizeLinear", "Trilu"}), weights=())
def _unary(node: Node, build: Builder) -> Made:
    output = build(program.Pointwise(function=UNARY[node.op]), node.input(0))
    return and_read(node, build, output, *PARAMETERS.get(node.op, ()))


@HANDLERS.handles("Trilu", weights=())
def _triangle(node: Node, build: Builder) -> Made:
    stated = node.optional(1)
    k = 0 if stated is None else None if stated.data is None else stated.data.elements.flat[0]
    if not isinstance(k, int):
        return build(program.Pointwise(function="trilu"), node.input(0))
    upper = bool(node.get("upper", 1))
    return band(build, node.input(0), -k if upper else None, None if upper else k)


@HANDLERS.handles("Where", weights=(1, 2), sort="stores")
@HANDLERS.handles(*SUMS, weights=EVERY, sort="operands")
@HANDLERS.handles(*(SEVERAL.keys() - {"Where", *SUMS}), weights=())
def _several(node: Node, build: Builder) -> Made:
    operands = node.tensors()
    if node.version < 7 and node.get("broadcast") and node.get("axis") is not None:
        operands[1] = _old_broadcast(node, build)
    return build(program.Pointwise(function=SEVERAL[node.op]), *operands)


def _old_broadcast(node: Node, build: Builder) -> Value:
    """Before opset 7 the second operand was laid along ``axis`` of the first."""
    rank, own = node.rank(0), node.rank(1)
    first = axis_of(node.get("axis"), rank)
    missing = rank - first - own
    if missing < 0:
        raise ValueError(f"axis {first} leaves no room for the {own} dimensions of its second input")
    return build(program.Unsqueeze(dims=tuple(range(own, own + missing))), node.input(1), part="broadcast")


@HANDLERS.handles("Cast", weights=())
def _cast(node: Node, build: Builder) -> Made:
    to = node.get("to")
    function = "to_float" if to in _FLOATS else "to_bool" if to == _BOOL else "to_integer"
    return build(program.Pointwise(function=function), node.input(0))


@HANDLERS.handles("BatchNormalization", weights=(1, 2), named=1)
def _batch_norm(node: Node, build: Builder) -> Made:
    if node.get("training_mode"):
        dims = tuple(d for d in range(node.rank()) if d != 1)
        normed = build(program.Mix(function="instance_norm", dims=dims), node.input(0))
    else:
        normed = build(program.Pointwise(function="batch_norm"), node.input(0))
    return and_read(node, build, normed, 1, 2, 3, 4)


@HANDLERS.handles("DynamicQuantizeLinear")
def _dynamic_quantize(node: Node, build: Builder) -> Made:
    # The scale comes from the extremes of the whole tensor, as the statistics of a norm do.
    x = node.input(0)
    y = build(program.Mix(function="instance_norm", dims=tuple(range(node.rank()))), x)
    return y, build(program.Whole(shape=()), x, part="scale"), build(program.Whole(shape=()), x, part="zero_point")


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("onnx", vocabulary.REDUCTIONS)


@HANDLERS.handles(*REDUCTIONS, weights=())
def _reduce(node: Node, build: Builder) -> Made:
    axes = node.stated_integers("axes", 1)
    if not axes and not node.get("noop_with_empty_axes"):
        axes = list(range(node.rank()))
    return operations.reduced(build, REDUCTIONS[node.op], node.x, axes or [], keepdims=bool(node.get("keepdims", 1)))


GLOBAL_POOLS = {
    "GlobalAveragePool": "mean", "GlobalMaxPool": "max", "GlobalLpPool": "l2", "QLinearGlobalAveragePool": "mean",
}  # fmt: skip


@HANDLERS.handles("Softmax", "LogSoftmax", "Hardmax", weights=())
def _softmax(node: Node, build: Builder) -> Made:
    rank = node.rank()
    axis = axis_of(node.get("axis", -1 if node.version >= 13 else 1), max(rank, 1))
    dims = (axis,) if node.version >= 13 else tuple(range(axis, rank))
    return build(program.Mix(function="softmax", dims=dims), node.input(0))


@HANDLERS.handles("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", weights=(1, 2), named=1)
def _layer_norm(node: Node, build: Builder) -> Made:
    dims = range(axis_of(node.get("axis", -1), node.rank()), node.rank())
    return and_read(node, build, mixed(build, "layer_norm", node.x, *dims), 1, 2)


@HANDLERS.handles("GroupNormalization", weights=(1, 2), named=1)
@HANDLERS.handles("InstanceNormalization", weights=(1, 2), sort="stores", named=1)  # PyTorch: by constant factors
def _instance_norm(node: Node, build: Builder) -> Made:
    function = "instance_norm" if node.op == "InstanceNormalization" else "group_norm"
    return and_read(node, build, mixed(build, function, node.x, *range(2, node.rank())), 1, 2)


@HANDLERS.handles("LpNormalization", "RotaryEmbedding", "CumSum", "CumProd", weights=())
def _mix_axis(node: Node, build: Builder) -> Made:
    if node.op == "LpNormalization":
        return mixed(build, "layer_norm", node.x, node.get("axis", -1))
    if node.op == "RotaryEmbedding":
        return and_read(node, build, mixed(build, "rotary", node.x, -1), 1, 2, 3)
    axis, backward = whole_number("axis", node.required("axis", 1)[0]), bool(node.get("reverse", 0))
    return operations.cumulated(build, node.x, axis, backward=backward, exclusive=bool(node.get("exclusive", 0)))


@HANDLERS.handles("DFT")
def _dft(node: Node, build: Builder) -> Made:
    shape = node.shape()
    axis = node.get("axis", 1) if node.version < 20 else (node.stated_integers("axis", 2) or [-2])[0]
    d = axis_of(axis, len(shape))
    length = node.stated("dft_length", 1)
    inverse, onesided = node.get("inverse", 0), node.get("onesided", 0)
    size = shape[d] if length is None else length[0]
    if onesided and inverse:
        size = 2 * (shape[d] - 1) if length is None else length[0]
    elif onesided:
        size = size // 2 + 1
    wide = (*shape[:d], size, *shape[d + 1 : -1], 1 if onesided and inverse else 2)
    last = len(shape) - 1
    if wide == shape:
        return build(program.Mix(function="dft", dims=(d, last)), node.input(0))
    total = build(program.Reduce(function="dft", dims=(d, last)), node.input(0), part="sum")
    return build(program.Expand(shape=wide), total)


_DIRECTIONS: dict[str, program.Direction] = {
    "forward": "forward", "reverse": "backward", "bidirectional": "both",
}  # fmt: skip


@HANDLERS.handles("LSTM", "GRU", "RNN", weights=(1, 2, 3, 7))
def _recurrent(node: Node, build: Builder) -> Made:
    batch_first = bool(node.get("layout", 0))
    shape = node.shape()
    if len(shape) != 3:
        raise ValueError(f"its input has {len(shape)} dimensions, not 3")
    hidden: Dim = node.get("hidden_size") or unknown(f"{node.name}.hidden")
    way = node.get("direction", "forward")
    if way not in _DIRECTIONS:
        raise ValueError(f"its direction {way!r} is none of {', '.join(_DIRECTIONS)}")
    directions, direction = (2 if way == "bidirectional" else 1), _DIRECTIONS[way]
    time = 1 if batch_first else 0
    per_step = [product(value.shape) for i in (1, 2) if (value := node.input(i)).shape is not None]
    macs = shape[0] * shape[1] * sum(per_step) if len(per_step) == 2 else None
    mixed = build(program.Mix(function="recurrent", dims=(time,), direction=direction), node.input(0), macs=macs)
    cell = program.Contract(operands=(("0", "1", "c"), ("c", "h")), output=("0", "1", "h"))
    states = build(cell, mixed, build.weight((shape[2], directions * hidden)), part="cell", macs=0)
    split = build(program.Reshape(shape=(shape[0], shape[1], directions, hidden)), states, part="directions")
    order = (0, 1, 2, 3) if batch_first else (0, 2, 1, 3)
    y = build(program.Transpose(permutation=order), split, part="y")
    start, stop = (0, 1) if direction == "backward" else (-1, None)  # where the recurrence ends
    last = moving.cut(build, split, time, start, stop, part="last")
    dropped = build(program.Reduce(function="max", dims=(time,), keepdims=False), last, part="state")
    state = dropped if batch_first else build(program.Transpose(permutation=(1, 0, 2)), dropped, part="h")
    return y, state, state


# Products.


@HANDLERS.handles("MatMul", "FusedMatMul", weights=(0, 1), named=1)
@HANDLERS.handles("MatMulInteger", weights=(0, 1), sort="quantised", named=1)
def _matmul(node: Node, build: Builder) -> Made:
    return products.product(build, node.x, node.input(1), (node.get("transA"), node.get("transB")))


@HANDLERS.handles("QLinearMatMul", weights=(0, 3), sort="quantised", named=3)
def _qlinear_matmul(node: Node, build: Builder) -> Made:
    return products.product(build, node.x, node.input(3))


@HANDLERS.handles("Gemm", weights=(0, 1, 2), named=1)
def _gemm(node: Node, build: Builder) -> Made:
    rows = ("k", "i") if node.get("transA") else ("i", "k")
    columns = ("j", "k") if node.get("transB") else ("k", "j")
    primitive = program.Contract(operands=(rows, columns), output=("i", "j"))
    return operations.with_bias(build, build(primitive, node.input(0), node.input(1)), node.optional(2))


@HANDLERS.handles("Einsum", weights=EVERY)
def _einsum(node: Node, build: Builder) -> Made:
    return products.summed(build, node.get("equation", ""), node.tensors())


@HANDLERS.handles("Attention", domain="")  # that of com.microsoft takes weights where this one takes keys
def _attention(node: Node, build: Builder) -> Made:
    mask = node.optional(3)
    if mask is not None and not mask.constant:
        raise UnspelledError("its mask depends on what the network computes")
    flat = node.rank() == 3
    query, key, value = node.input(0), node.input(1), node.input(2)
    if flat:  # [batch, positions, heads * channels]
        query = _split_heads(build, query, node.get("q_num_heads"), "query")
        key = _split_heads(build, key, node.get("kv_num_heads"), "key")
        value = _split_heads(build, value, node.get("kv_num_heads"), "value")
    past = node.optional(4), node.optional(5)
    if past[0] is not None:
        key = build(program.Concat(dim=2), past[0], key, part="past_key")
    if past[1] is not None:
        value = build(program.Concat(dim=2), past[1], value, part="past_value")
    # Several heads of queries may share one of keys: its label is another, and is summed.
    if node.get("is_causal", 0) and not any(map(node.optional, (3, 4, 5, 6))) and is_self(query, key, 2):
        output = causal(build, query, key, value, tuple("bhi"), tuple("bgj"), 2, "heads/" if flat else "")
        return _heads_joined(build, output) if flat else output, key, value
    # A mask may be shorter than there are keys, of which it hides the rest.
    masked = bool(node.get("is_causal", 0)) or mask is not None or node.optional(6) is not None
    weighed = weights(build, query, key, "bhi", "bgj", masked=masked)
    output = summed(build, and_read(node, build, weighed, 6), value, "bhi", "bgj", part="heads" if flat else "")
    return _heads_joined(build, output) if flat else output, key, value


def _heads_joined(build: Builder, output: Value) -> Value:
    batch, heads, positions, channels = output.shape or ()
    output = build(program.Transpose(permutation=(0, 2, 1, 3)), output, part="positions")
    return build(program.Reshape(shape=(batch, positions, heads * channels)), output)


@HANDLERS.handles("LinearAttention")
def _linear_attention(node: Node, build: Builder) -> Made:
    """A recurrence over positions: each reads its own query, and keys, values and gates of any position."""
    if any(value.shape is None or len(value.shape) != 3 for value in (node.input(0), node.input(2))):
        raise UnspelledError("its inputs are not of three dimensions")
    batch, positions, _ = node.shape()
    heads, groups = node.get("q_num_heads"), node.get("kv_num_heads")
    if not isinstance(heads, int) or not isinstance(groups, int) or heads < 1 or groups < 1:
        raise UnspelledError("how many heads it has is not known")
    read = [build(program.Reduce(function="at", dims=(2,)), node.input(0), part="query")]
    for i, part in ((1, "key"), (2, "value"), (4, "decay"), (5, "beta")):
        value = node.optional(i)
        if value is not None and not value.constant:
            row = build(program.Reduce(function="at", dims=(2,)), value, part=f"{part}/row")
            read.append(build(program.Mix(function="recurrent", dims=(1,)), row, part=part))
    past = node.optional(3)
    if past is not None and not past.constant:
        read.append(build(program.Whole(shape=()), past, part="past"))
    total = build(program.Pointwise(function="mul"), *read, part="total")
    size = node.shape(2)[2] // groups
    sizes = (batch, groups, node.shape(1)[2] // groups, size)
    state = build(program.Whole(shape=sizes), *read[1:], part="state") if len(read) > 1 else build.weight(sizes)
    return build(program.Expand(shape=(batch, positions, size * heads)), total), state


def _split_heads(build: Builder, value: Value, heads: Any, part: str) -> Value:
    if value.shape is None or not isinstance(heads, int) or heads < 1:
        raise UnspelledError("how many heads it has is not known")
    batch, positions, channels = value.shape
    split = build(program.Reshape(shape=(batch, positions, heads, channels // heads)), value, part=part)
    return build(program.Transpose(permutation=(0, 2, 1, 3)), split, part=f"{part}_heads")


# What reads all of its input, wherever it puts it.


@HANDLERS.handles("RoiAlign", "MaxRoiPool", weights=())
def _roi(node: Node, build: Builder) -> Made:
    x, boxes = node.shape(0), node.shape(1)
    pooled = node.get("pooled_shape") or (node.get("output_height", 1), node.get("output_width", 1))
    return build(program.Whole(shape=(boxes[0], x[1], *pooled)), *node.tensors())


@HANDLERS.handles("AffineGrid")
def _affine_grid(node: Node, build: Builder) -> Made:
    size = node.required("size", 1)
    return build(program.Whole(shape=(size[0], *size[2:], len(size) - 2)), node.input(0))


@HANDLERS.handles("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def _loss(node: Node, build: Builder) -> Made:
    operands = [value for value in (node.input(0), node.input(1)) if not value.constant]
    if node.get("reduction", "mean") != "none":
        return build(program.Whole(shape=()), *operands)
    scores = build(program.Reduce(function="mean", dims=(1,), keepdims=False), node.input(0), part="classes")
    return build(program.Pointwise(function="elementwise"), scores, node.input(1))


# Operators of com.microsoft that exporters and quantisers write.


@HANDLERS.handles("FastGelu", "BiasGelu", weights=(1,))
@HANDLERS.handles("QLinearLeakyRelu", "QLinearSigmoid", "QuickGelu", weights=())
def _contrib_unary(node: Node, build: Builder) -> Made:
    function = {"QLinearLeakyRelu": "leaky_relu", "QLinearSigmoid": "sigmoid"}.get(node.op, "gelu")
    return build(program.Pointwise(function=function), node.input(0))


@HANDLERS.handles("SkipLayerNormalization", weights=(2, 3, 4))
def _skip_layer_norm(node: Node, build: Builder) -> Made:
    total = build(program.Pointwise(function="add"), node.input(0), node.input(1), part="add")
    return mixed(build, "layer_norm", total, -1)


# Ops that one expression spells.

HANDLERS.spells(
    {
        "SwiGLU": lambda node, build: pointwise(build, "mul", node.x, node.input(1)),
        "MeanVarianceNormalization": lambda node, build: mixed(
            build, "instance_norm", node.x, *axes_of(node.get("axes", [0, 2, 3]), node.rank())
        ),
        "TopK": lambda node, build: operations.largest(build, node.x, node.get("axis", -1), node.required("k", 1)[0]),
        "Det": lambda node, build: operations.reduced(build, "det", node.x, [-2, -1], keepdims=False),
        ("ArgMax", "ArgMin"): lambda node, build: operations.reduced(
            build, node.op[3:].lower(), node.x, [node.get("axis", 0)], keepdims=bool(node.get("keepdims", 1))
        ),
    }
)
HANDLERS.spells(
    {
        "Dropout": lambda node, build: (pointwise(build, "dropout", node.x), build.weight(node.x.shape)),
        (*GLOBAL_POOLS,): lambda node, build: build(
            program.Reduce(function=GLOBAL_POOLS[node.op], dims=tuple(range(2, node.rank()))), node.x
        ),
        ("NonMaxSuppression", "NonZero", "Unique", "Compress", "Multinomial"): lambda node, build: build(
            program.Whole(), *node.tensors()
        ),
        ("QLinearAdd", "QLinearMul"): lambda node, build: operations.pointwise(
            build, node.op[7:].lower(), node.x, node.input(3)
        ),
    },
    weights=(),
)
