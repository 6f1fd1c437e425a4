"""ONNX operators, opsets 7 and later, spelt with the primitives of the tensor program; this module does not need onnx.

One handler per operator or family of operators. A handler gets the node and the builder, and returns the values of the
node's outputs, as many as it follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod
from typing import Any, TypeAlias

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.builder import Builder
from rfgraph.importers.dims import Dim, Expression, Shape, product, unknown
from rfgraph.importers.folding import MAX_ELEMENTS, MAX_FLOATS
from rfgraph.importers.handlers import Handlers
from rfgraph.importers.program import Value
from rfgraph.importers.shapes import completed

#: A tensor, or a sequence of tensors.
Item: TypeAlias = "Value | tuple[Value, ...]"
Made: TypeAlias = "Item | Sequence[Item]"


class OpaqueError(Exception):
    """A node cannot be spelt with primitives; the message says what stands in the way."""


@dataclass(frozen=True)
class Node:
    """One node of an ONNX graph."""

    name: str
    op: str
    version: int
    attributes: Mapping[str, Any]
    inputs: tuple[Item | None, ...]
    outputs: tuple[str, ...]
    named: bool = True

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def item(self, i: int) -> Item | None:
        """Return input ``i``, ``None`` if it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def optional(self, i: int) -> Value | None:
        """Return input ``i``, a tensor, ``None`` if it is left out."""
        found = self.item(i)
        if isinstance(found, tuple):
            raise ValueError(f"input {i} is a sequence of tensors, not a tensor")
        return found

    def input(self, i: int) -> Value:
        """Return input ``i``, a tensor."""
        found = self.optional(i)
        if found is None:
            raise ValueError(f"input {i} is missing")
        return found

    def sequence(self, i: int) -> tuple[Value, ...]:
        """Return input ``i``, a sequence of tensors."""
        found = self.item(i)
        if not isinstance(found, tuple):
            raise OpaqueError("the length of its sequence is not known")
        return found

    def tensors(self) -> list[Value]:
        """Return the inputs that are given."""
        return [self.input(i) for i, value in enumerate(self.inputs) if value is not None]

    def shape(self, i: int = 0) -> Shape:
        """Return the shape of input ``i``."""
        shape = self.input(i).shape
        if shape is None:
            raise OpaqueError(f"the rank of its input {i} is not known")
        return shape

    def output(self, k: int) -> str:
        """Return what output ``k`` is called: after the node if that has a name, else after itself."""
        return f"{self.name}/{k}" if self.named else self.outputs[k]

    def numbers(self, name: str, i: int) -> list[Any] | None:
        """Return a list of numbers that is an attribute in old opsets and constant input ``i`` in later ones."""
        if name in self.attributes:
            found = self.attributes[name]
            return list(found) if isinstance(found, Sequence) else [found]
        value = self.optional(i)
        if value is None:
            return None
        if value.data is None:
            raise OpaqueError(f"its {name} depend on what the network computes")
        return list(value.data.elements.flat)

    def integers(self, name: str, i: int) -> list[int] | None:
        """Return what ``numbers`` returns, all of them integers."""
        found = self.numbers(name, i)
        return None if found is None else [_integer(name, number) for number in found]


def _integer(name: str, number: Any) -> int:
    if isinstance(number, Expression):
        raise OpaqueError(f"its {name} depend on the input size; give one")
    return int(number)


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("ONNX")


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is not one of the {rank} of its input")
    return axis % rank


def _axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(sorted({_axis(axis, rank) for axis in axes}))


# Functions of one element.

UNARY = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "PRelu": "prelu", "Elu": "elu", "Selu": "selu", "Celu": "celu",
    "Gelu": "gelu", "Swish": "silu", "Mish": "mish", "Sigmoid": "sigmoid", "HardSigmoid": "hard_sigmoid",
    "HardSwish": "hard_swish", "Tanh": "tanh", "Softplus": "softplus", "Softsign": "softsign", "Exp": "exp",
    "Log": "log", "Sqrt": "sqrt", "Abs": "abs", "Neg": "neg", "Reciprocal": "reciprocal", "Erf": "erf", "Sin": "sin",
    "Cos": "cos", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign", "Identity": "identity",
    "CastLike": "cast", "Clip": "clip", "Not": "not", "BitwiseNot": "bitwise_not", "ThresholdedRelu": "threshold",
    "Shrink": "shrink", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh",
    "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "IsNaN": "isnan", "IsInf": "isinf", "Trilu": "trilu",
    "Bernoulli": "bernoulli", "LRN": "local_response_norm", "QuantizeLinear": "quantize",
    "DequantizeLinear": "dequantize", "BitCast": "cast",
}  # fmt: skip

SEVERAL = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Sum": "add", "Max": "max", "Min": "min", "Mean": "mean",
    "Pow": "pow", "Mod": "mod", "Where": "where", "Equal": "equal", "Less": "less", "Greater": "greater",
    "LessOrEqual": "less_or_equal", "GreaterOrEqual": "greater_or_equal", "And": "and", "Or": "or", "Xor": "xor",
    "BitShift": "bit_shift", "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
}  # fmt: skip

_FLOATS = {1, 10, 11, 16}  # TensorProto.DataType
_BOOL = 9


@HANDLERS.handles(*UNARY)
def _unary(node: Node, build: Builder) -> Made:
    return build(program.Pointwise(function=UNARY[node.op]), node.input(0))


@HANDLERS.handles(*SEVERAL)
def _several(node: Node, build: Builder) -> Made:
    operands = node.tensors()
    if node.version < 7 and node.get("broadcast") and node.get("axis") is not None:
        operands[1] = _old_broadcast(node, build)
    return build(program.Pointwise(function=SEVERAL[node.op]), *operands)


def _old_broadcast(node: Node, build: Builder) -> Value:
    """Before opset 7 the second operand was laid along ``axis`` of the first."""
    rank, own = len(node.shape(0)), len(node.shape(1))
    first = _axis(node.get("axis"), rank)
    missing = rank - first - own
    if missing < 0:
        raise ValueError(f"axis {first} leaves no room for the {own} dimensions of its second input")
    return build(program.Unsqueeze(dims=tuple(range(own, own + missing))), node.input(1), part="broadcast")


@HANDLERS.handles("Cast")
def _cast(node: Node, build: Builder) -> Made:
    to = node.get("to")
    function = "to_float" if to in _FLOATS else "to_bool" if to == _BOOL else "to_integer"
    return build(program.Pointwise(function=function), node.input(0))


@HANDLERS.handles("Dropout")
def _dropout(node: Node, build: Builder) -> Made:
    return build(program.Pointwise(function="dropout"), node.input(0)), build.weight(node.input(0).shape)


@HANDLERS.handles("BatchNormalization")
def _batch_norm(node: Node, build: Builder) -> Made:
    if node.get("training_mode"):
        dims = tuple(d for d in range(len(node.shape())) if d != 1)
        return build(program.Mix(function="instance_norm", dims=dims), node.input(0))
    return build(program.Pointwise(function="batch_norm"), node.input(0))


@HANDLERS.handles("DynamicQuantizeLinear")
def _dynamic_quantize(node: Node, build: Builder) -> Made:
    # The scale comes from the extremes of the whole tensor; like the statistics of a norm it is taken as a constant.
    return build(program.Pointwise(function="quantize"), node.input(0)), build.weight(()), build.weight(())


# Windows.


def _window(node: Node, kernel: Sequence[int]) -> dict[str, Any]:
    """Return the attributes of a window that convolutions and pools share."""
    axes = len(kernel)

    def entries(name: str, default: int) -> tuple[int, ...]:
        found = node.get(name) or [default] * axes
        if len(found) != axes:
            raise ValueError(f"{name} {list(found)} does not have one entry for each of the {axes} axes of its kernel")
        return tuple(found)

    return {
        "dims": tuple(range(2, 2 + axes)),
        "kernel": tuple(kernel),
        "stride": entries("strides", 1),
        "dilation": entries("dilations", 1),
    }


def _pads(node: Node, axes: int) -> tuple[tuple[int, int], ...]:
    pads = node.get("pads") or [0] * (2 * axes)
    if len(pads) != 2 * axes:
        raise ValueError(f"pads {list(pads)} does not have two entries for each of the {axes} axes of its kernel")
    return tuple(zip(pads[:axes], pads[axes:], strict=True))


def _padding(node: Node, axes: int) -> program.Paddings:
    how = node.get("auto_pad", "NOTSET")
    if how == "SAME_UPPER":
        return "same_upper"
    if how == "SAME_LOWER":
        return "same_lower"
    return ((0, 0),) * axes if how == "VALID" else _pads(node, axes)


def _kernel(node: Node, weight: Value) -> list[int]:
    kernel = node.get("kernel_shape")
    if kernel:
        return list(kernel)
    if weight.shape is None:
        raise OpaqueError("neither kernel_shape nor the shape of its weight is given")
    return [_integer("kernel", size) for size in weight.shape[2:]]


def _convolve(node: Node, build: Builder, x: Value, weight: Value) -> Value:
    kernel = _kernel(node, weight)
    if not kernel:
        raise ValueError("its kernel has no axes")
    made = build(
        program.Slide(
            function="conv",
            **_window(node, kernel),
            padding=_padding(node, len(kernel)),
            channel=1,
            channels=weight.shape[0] if weight.shape else unknown(f"{node.name}.channels"),
            groups=node.get("group", 1),
        ),
        x,
    )
    return made if weight.constant else _and_whole(build, made, weight)


def _and_whole(build: Builder, made: Value, weight: Value) -> Value:
    """A weight that the network computes is read whole by every output."""
    read = build(program.Whole(shape=()), weight, part="weight")
    return build(program.Pointwise(function="mul"), made, read, part="weighted")


@HANDLERS.handles("Conv", "ConvInteger", "FusedConv")
def _conv(node: Node, build: Builder) -> Made:
    return _convolve(node, build, node.input(0), node.input(1))


@HANDLERS.handles("QLinearConv")
def _qlinear_conv(node: Node, build: Builder) -> Made:
    return _convolve(node, build, node.input(0), node.input(3))


@HANDLERS.handles("ConvTranspose")
def _conv_transpose(node: Node, build: Builder) -> Made:
    weight = node.input(1)
    kernel = _kernel(node, weight)
    axes = len(kernel)
    window = _window(node, kernel)
    extra = tuple(node.get("output_padding") or [0] * axes)
    if len(extra) != axes:
        raise ValueError(f"output_padding {list(extra)} does not have one entry for each of the {axes} axes")
    padding = list(_pads(node, axes))
    wanted, how = node.get("output_shape"), node.get("auto_pad", "NOTSET")
    if wanted or how.startswith("SAME"):
        sizes = node.shape()[2:]
        for i in range(axes):
            span = (kernel[i] - 1) * window["dilation"][i] + 1
            if wanted:  # its last entries: some files give batch and channels too
                grown = (sizes[i] - 1) * window["stride"][i] + span + extra[i]
                total = _integer("output_shape", grown - wanted[len(wanted) - axes + i])
            else:
                total = span + extra[i] - window["stride"][i]
            less = max(total, 0) // 2
            more = max(total, 0) - less
            first = less if how == "SAME_UPPER" else more
            padding[i] = (first, total - first)
    elif how == "VALID":
        padding = [(0, 0)] * axes
    groups = node.get("group", 1)
    channels = weight.shape[1] * groups if weight.shape else unknown(f"{node.name}.channels")
    made = build(
        program.SlideTransposed(
            **window, padding=tuple(padding), output_padding=extra, channel=1, channels=channels, groups=groups
        ),
        node.input(0),
    )
    return made if weight.constant else _and_whole(build, made, weight)


POOLS = {"MaxPool": "max_pool", "AveragePool": "avg_pool", "LpPool": "lp_pool", "QLinearAveragePool": "avg_pool"}


@HANDLERS.handles(*POOLS)
def _pool(node: Node, build: Builder) -> Made:
    kernel = node.get("kernel_shape")
    if not kernel:
        raise ValueError("kernel_shape is missing")
    ceil_mode = bool(node.get("ceil_mode", 0))
    made = build(
        program.Slide(
            function=POOLS[node.op],
            **_window(node, kernel),
            padding=_padding(node, len(kernel)),
            ceil_mode=ceil_mode,
        ),
        node.input(0),
    )
    return made, made  # the indices of the maxima are read where the maxima are


@HANDLERS.handles("MaxUnpool")
def _unpool(node: Node, build: Builder) -> Made:
    kernel = node.get("kernel_shape")
    if not kernel:
        raise ValueError("kernel_shape is missing")
    window = _window(node, kernel)
    padding = list(_pads(node, len(kernel)))
    wanted = node.numbers("output_shape", 2)
    if wanted is not None:
        for i, size in enumerate(node.shape()[2:]):
            grown = (size - 1) * window["stride"][i] + kernel[i]
            missing = _integer("output_shape", grown - wanted[2 + i]) - sum(padding[i])
            padding[i] = (padding[i][0], padding[i][1] + missing)
    return build(
        program.SlideTransposed(**window, padding=tuple(padding), output_padding=(0,) * len(kernel)), node.input(0)
    )


@HANDLERS.handles("Col2Im")
def _col2im(node: Node, build: Builder) -> Made:
    image, block = node.integers("image_shape", 1), node.integers("block_shape", 2)
    if image is None or block is None:
        raise ValueError("image_shape and block_shape are missing")
    axes = len(block)
    window = _window(node, block)
    padding = _pads(node, axes)
    columns = [
        (image[i] + sum(padding[i]) - (block[i] - 1) * window["dilation"][i] - 1) // window["stride"][i] + 1
        for i in range(axes)
    ]
    batch, channels, _ = node.shape()
    grid = build(program.Reshape(shape=(batch, channels, *columns)), node.input(0), part="grid")
    ends = []
    for i in range(axes):
        grown = (columns[i] - 1) * window["stride"][i] + (block[i] - 1) * window["dilation"][i] + 1
        ends.append((padding[i][0], grown - padding[i][0] - image[i]))
    return build(
        program.SlideTransposed(
            **window,
            padding=tuple(ends),
            output_padding=(0,) * axes,
            channel=1,
            channels=channels // prod(block),
        ),
        grid,
    )


@HANDLERS.handles("STFT")
def _stft(node: Node, build: Builder) -> Made:
    step = node.integers("frame_step", 1)
    window = node.optional(2)
    length = node.integers("frame_length", 3) or (
        [_integer("window", window.shape[0])] if window is not None and window.shape else None
    )
    if step is None or length is None:
        raise OpaqueError("neither its window nor its frame_length is given")
    bins = length[0] // 2 + 1 if node.get("onesided", 1) else length[0]
    frames = build(
        program.Slide(
            function="conv", dims=(1,), kernel=(length[0],), stride=(step[0],), padding=((0, 0),), dilation=(1,),
            channel=2, channels=bins * 2,
        ),
        node.input(0),
    )  # fmt: skip
    batch, count, _ = frames.shape or (unknown("batch"), unknown("frames"), 1)
    return build(program.Reshape(shape=(batch, count, bins, 2)), frames, part="bins")


# Resolutions.


@HANDLERS.handles("Resize", "Upsample")
def _resize(node: Node, build: Builder) -> Made:
    shape = node.shape()
    old = node.op == "Upsample" or node.version < 11
    scales = node.numbers("scales", 1 if old else 2)
    sizes = None if old or scales else node.numbers("sizes", 3)
    if not scales and not sizes:
        raise ValueError("neither scales nor sizes is given")
    dims = _axes(node.get("axes") or range(len(shape)), len(shape))
    given = [_axis(axis, len(shape)) for axis in node.get("axes") or range(len(shape))]
    if len(scales or sizes or ()) != len(given):
        raise ValueError(f"it has {len(scales or sizes or ())} scales or sizes for {len(given)} axes")
    scale = dict(zip(given, scales, strict=True)) if scales else {}
    size = dict(zip(given, sizes, strict=True)) if sizes else {}
    if size and node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        scale, size = _keep_aspect(node, size, shape), {}
    dims = tuple(d for d in dims if (scale[d] != 1 if scale else size[d] != shape[d]))
    mode = node.get("mode", "nearest")
    coordinates = "asymmetric" if old else node.get("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else node.get("nearest_mode", "round_prefer_floor")
    if node.op == "Resize" and old and any(scale[d] < 1 for d in dims):
        nearest = "ceil"  # as the operator's own test cases of opset 10 have it
    if coordinates == "tf_half_pixel_for_nn" and mode == "nearest" and nearest == "floor":
        coordinates, nearest = "half_pixel", "round_prefer_ceil"  # floor((y + 1/2) / f) both
    rounded = any(not _whole_size(shape[d], scale.get(d, 1)) for d in dims)
    if coordinates == "align_corners" and rounded:
        raise OpaqueError("its scale makes no whole size, so that the corners it aligns are not said")
    if coordinates == "half_pixel_symmetric" and not rounded:
        coordinates = "half_pixel"
    if coordinates not in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        raise OpaqueError(f"its coordinate_transformation_mode is {coordinates}")
    if node.get("antialias") and any(scale.get(d, 0) < 1 for d in dims):
        raise OpaqueError("it smooths what it shrinks (antialias)")
    mode = {"bilinear": "linear"}.get(mode, mode)
    if not dims:
        return build(program.Pointwise(function="identity"), node.input(0))
    return build(
        program.Resize(
            dims=dims,
            scales=tuple(Fraction(scale[d]) for d in dims) if scale else None,
            sizes=tuple(size[d] for d in dims) if size else None,
            mode=mode,
            coordinates=coordinates,
            nearest_mode=nearest,
        ),
        node.input(0),
    )


def _keep_aspect(node: Node, size: Mapping[int, Any], shape: Shape) -> dict[int, Fraction]:
    """Return the one scale that fits the output in, or round, the sizes asked for."""
    ratios = [Fraction(_integer("sizes", size[d]), _integer("sizes", shape[d])) for d in size]
    ratio = min(ratios) if node.get("keep_aspect_ratio_policy") == "not_larger" else max(ratios)
    if any(not _whole_size(shape[d], ratio) for d in size):
        raise OpaqueError("keeping its aspect ratio needs sizes to be rounded")
    return dict.fromkeys(size, ratio)


def _whole_size(size: Dim, scale: Any) -> bool:
    return Fraction(scale).denominator == 1 or (isinstance(size, int) and (size * Fraction(scale)).denominator == 1)


@HANDLERS.handles("DepthToSpace", "SpaceToDepth")
def _exchange(node: Node, build: Builder) -> Made:
    block = node.get("blocksize")
    if not isinstance(block, int) or block < 1:
        raise ValueError(f"blocksize {block} is not a positive integer")
    kind = program.DepthToSpace if node.op == "DepthToSpace" else program.SpaceToDepth
    return build(kind(channel=1, dims=(2, 3), blocks=(block, block)), node.input(0))


# Reductions and mixtures.

REDUCTIONS = {
    "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min", "ReduceSum": "sum", "ReduceProd": "prod",
    "ReduceL1": "l1", "ReduceL2": "l2", "ReduceLogSum": "log_sum", "ReduceLogSumExp": "log_sum_exp",
    "ReduceSumSquare": "sum_square",
}  # fmt: skip


@HANDLERS.handles(*REDUCTIONS)
def _reduce(node: Node, build: Builder) -> Made:
    rank = len(node.shape())
    axes = node.integers("axes", 1)
    if not axes:
        if node.get("noop_with_empty_axes"):
            return build(program.Pointwise(function="identity"), node.input(0))
        axes = list(range(rank))
    primitive = program.Reduce(
        function=REDUCTIONS[node.op], dims=_axes(axes, rank), keepdims=bool(node.get("keepdims", 1))
    )
    return build(primitive, node.input(0))


@HANDLERS.handles("ArgMax", "ArgMin")
def _arg(node: Node, build: Builder) -> Made:
    dims = (_axis(node.get("axis", 0), len(node.shape())),)
    function = "max" if node.op == "ArgMax" else "min"
    return build(program.Reduce(function=function, dims=dims, keepdims=bool(node.get("keepdims", 1))), node.input(0))


GLOBAL_POOLS = {
    "GlobalAveragePool": "mean", "GlobalMaxPool": "max", "GlobalLpPool": "l2", "QLinearGlobalAveragePool": "mean",
}  # fmt: skip


@HANDLERS.handles(*GLOBAL_POOLS)
def _global_pool(node: Node, build: Builder) -> Made:
    dims = tuple(range(2, len(node.shape())))
    return build(program.Reduce(function=GLOBAL_POOLS[node.op], dims=dims), node.input(0))


@HANDLERS.handles("Softmax", "LogSoftmax", "Hardmax")
def _softmax(node: Node, build: Builder) -> Made:
    rank = len(node.shape())
    axis = _axis(node.get("axis", -1 if node.version >= 13 else 1), max(rank, 1))
    dims = (axis,) if node.version >= 13 else tuple(range(axis, rank))
    return build(program.Mix(function="softmax", dims=dims), node.input(0))


@HANDLERS.handles("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(node: Node, build: Builder) -> Made:
    rank = len(node.shape())
    dims = tuple(range(_axis(node.get("axis", -1), rank), rank))
    return build(program.Mix(function="layer_norm", dims=dims), node.input(0))


@HANDLERS.handles("InstanceNormalization", "GroupNormalization")
def _instance_norm(node: Node, build: Builder) -> Made:
    function = "instance_norm" if node.op == "InstanceNormalization" else "group_norm"
    return build(program.Mix(function=function, dims=tuple(range(2, len(node.shape())))), node.input(0))


@HANDLERS.handles("MeanVarianceNormalization")
def _mean_variance(node: Node, build: Builder) -> Made:
    dims = _axes(node.get("axes", [0, 2, 3]), len(node.shape()))
    return build(program.Mix(function="instance_norm", dims=dims), node.input(0))


@HANDLERS.handles("LpNormalization", "RotaryEmbedding", "CumSum", "CumProd")
def _mix_axis(node: Node, build: Builder) -> Made:
    if node.op == "LpNormalization":
        axis, function = node.get("axis", -1), "layer_norm"
    elif node.op == "RotaryEmbedding":
        axis, function = -1, "rotary"
    else:
        found = node.integers("axis", 1)
        if found is None:
            raise ValueError("axis is missing")
        axis, function = found[0], "recurrent"
    return build(program.Mix(function=function, dims=(_axis(axis, len(node.shape())),)), node.input(0))


@HANDLERS.handles("TopK")
def _top_k(node: Node, build: Builder) -> Made:
    axis = _axis(node.get("axis", -1), len(node.shape()))
    count = node.numbers("k", 1)
    if count is None:
        raise ValueError("k is missing")
    mixed = build(program.Mix(function="sort", dims=(axis,)), node.input(0), part="sort")
    made = build(program.Slice(dims=(axis,), starts=(0,), stops=(count[0],), steps=(1,)), mixed)
    return made, made


@HANDLERS.handles("DFT")
def _dft(node: Node, build: Builder) -> Made:
    shape = node.shape()
    axis = node.get("axis", 1) if node.version < 20 else (node.integers("axis", 2) or [-2])[0]
    d = _axis(axis, len(shape))
    length = node.numbers("dft_length", 1)
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


@HANDLERS.handles("Det")
def _det(node: Node, build: Builder) -> Made:
    rank = len(node.shape())
    return build(program.Reduce(function="det", dims=(rank - 2, rank - 1), keepdims=False), node.input(0))


@HANDLERS.handles("LSTM", "GRU", "RNN")
def _recurrent(node: Node, build: Builder) -> Made:
    batch_first = bool(node.get("layout", 0))
    shape = node.shape()
    if len(shape) != 3:
        raise ValueError(f"its input has {len(shape)} dimensions, not 3")
    hidden: Dim = node.get("hidden_size") or unknown(f"{node.name}.hidden")
    directions = 2 if node.get("direction", "forward") == "bidirectional" else 1
    time = 1 if batch_first else 0
    mixed = build(program.Mix(function="recurrent", dims=(time,)), node.input(0))
    cell = program.Contract(operands=(("0", "1", "c"), ("c", "h")), output=("0", "1", "h"))
    states = build(cell, mixed, build.weight((shape[2], directions * hidden)), part="cell")
    split = build(program.Reshape(shape=(shape[0], shape[1], directions, hidden)), states, part="directions")
    order = (0, 1, 2, 3) if batch_first else (0, 2, 1, 3)
    y = build(program.Transpose(permutation=order), split, part="y")
    last = build(program.Slice(dims=(time,), starts=(-1,), stops=(None,), steps=(1,)), split, part="last")
    dropped = build(program.Reduce(function="max", dims=(time,), keepdims=False), last, part="state")
    state = dropped if batch_first else build(program.Transpose(permutation=(1, 0, 2)), dropped, part="h")
    return y, state, state


# Products.


@HANDLERS.handles("MatMul", "MatMulInteger", "FusedMatMul")
def _matmul(node: Node, build: Builder) -> Made:
    return _product(node, build, node.input(0), node.input(1), node.shape(0), node.shape(1))


@HANDLERS.handles("QLinearMatMul")
def _qlinear_matmul(node: Node, build: Builder) -> Made:
    return _product(node, build, node.input(0), node.input(3), node.shape(0), node.shape(3))


def _product(node: Node, build: Builder, a: Value, b: Value, left: Shape, right: Shape) -> Value:
    if not left or not right:
        raise ValueError("an operand has no dimensions")
    rank = max(len(left), len(right), 2)
    batch = [f"b{i}" for i in range(rank - 2)]
    rows = ["k"] if len(left) == 1 else ["i", "k"]
    columns = ["k"] if len(right) == 1 else ["k", "j"]
    if len(left) > 1:
        rows = [*batch[rank - len(left) :], *rows]
    if len(right) > 1:
        columns = [*batch[rank - len(right) :], *columns]
    if node.get("transA"):
        rows[-2:] = reversed(rows[-2:])
    if node.get("transB"):
        columns[-2:] = reversed(columns[-2:])
    output = [*batch, *(["i"] if len(left) > 1 else []), *(["j"] if len(right) > 1 else [])]
    return build(program.Contract(operands=(tuple(rows), tuple(columns)), output=tuple(output)), a, b)


@HANDLERS.handles("Gemm")
def _gemm(node: Node, build: Builder) -> Made:
    rows = ("k", "i") if node.get("transA") else ("i", "k")
    columns = ("j", "k") if node.get("transB") else ("k", "j")
    primitive = program.Contract(operands=(rows, columns), output=("i", "j"))
    made = build(primitive, node.input(0), node.input(1))
    bias = node.optional(2)
    return made if bias is None or bias.constant else build(program.Pointwise(function="add"), made, bias, part="bias")


@HANDLERS.handles("Einsum")
def _einsum(node: Node, build: Builder) -> Made:
    equation = str(node.get("equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    operands = terms.split(",")
    tensors = node.tensors()
    if len(operands) != len(tensors):
        raise ValueError(f"equation {equation!r} has {len(operands)} operands, not {len(tensors)}")
    named = [_labels(term, len(node.shape(i))) for i, term in enumerate(operands)]
    if arrow:
        output = _labels(result, None, named)
    else:
        letters = [label for label in terms if label.isalpha()]
        once = sorted(label for label in set(letters) if letters.count(label) == 1)
        dots = max((_dots(labels) for labels in named), key=len)
        output = (*dots, *once)
    if any(len(set(labels)) < len(labels) for labels in named):
        raise OpaqueError(f"its equation {equation!r} takes a diagonal")
    return build(program.Contract(operands=tuple(named), output=output), *tensors)


def _dots(labels: Sequence[str]) -> list[str]:
    return [label for label in labels if label.startswith(".")]


def _labels(term: str, rank: int | None, named: Sequence[Sequence[str]] = ()) -> tuple[str, ...]:
    """Return one label per dimension; those of an ellipsis are counted from its end."""
    before, dots, after = term.partition("...")
    if not dots:
        return tuple(term)
    if rank is None:
        middle = max((_dots(labels) for labels in named), key=len)
    else:
        count = rank - len(before) - len(after)
        middle = [f".{i}" for i in range(count, 0, -1)]
    return (*before, *middle, *after)


@HANDLERS.handles("Attention")
def _attention(node: Node, build: Builder) -> Made:
    mask = node.optional(3)
    if mask is not None and not mask.constant:
        raise OpaqueError("its mask depends on what the network computes")
    flat = len(node.shape()) == 3
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
    products = program.Contract(operands=(tuple("bhid"), tuple("bgjd")), output=tuple("bhij"))
    scores = build(products, query, key, part="scores")
    weights = build(program.Mix(function="softmax", dims=(3,)), scores, part="softmax")
    sums = program.Contract(operands=(tuple("bhij"), tuple("bgje")), output=tuple("bhie"))
    made = build(sums, weights, value, part="heads" if flat else "")
    if flat:
        batch, heads, positions, channels = made.shape or ()
        made = build(program.Transpose(permutation=(0, 2, 1, 3)), made, part="positions")
        made = build(program.Reshape(shape=(batch, positions, heads * channels)), made)
    return made, key, value


def _split_heads(build: Builder, value: Value, heads: Any, part: str) -> Value:
    if value.shape is None or not isinstance(heads, int) or heads < 1:
        raise OpaqueError("how many heads it has is not known")
    batch, positions, channels = value.shape
    split = build(program.Reshape(shape=(batch, positions, heads, channels // heads)), value, part=part)
    return build(program.Transpose(permutation=(0, 2, 1, 3)), split, part=f"{part}_heads")


# Elements moved, dropped, added.


@HANDLERS.handles("Pad")
def _pad(node: Node, build: Builder) -> Made:
    rank = len(node.shape())
    pads = node.numbers("pads", 1)
    if pads is None:
        pads = node.numbers("paddings", 1)
    if pads is None:
        raise ValueError("pads is missing")
    axes = node.integers("axes", 3) if node.version >= 18 else None
    dims = [_axis(axis, rank) for axis in (range(rank) if axes is None else axes)]
    if len(pads) != 2 * len(dims):
        raise ValueError(f"it has {len(pads)} pads for {len(dims)} axes, not two for each")
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * rank
    for i, d in enumerate(dims):
        amounts[d] = (pads[i], pads[i + len(dims)])
    return build(program.Pad(amounts=tuple(amounts), mode=node.get("mode", "constant")), node.input(0))


@HANDLERS.handles("Slice")
def _slice(node: Node, build: Builder) -> Made:
    starts, stops = node.numbers("starts", 1), node.numbers("ends", 2)
    if starts is None or stops is None:
        raise ValueError("starts or ends is missing")
    axes = node.integers("axes", 3)
    axes = list(range(len(starts))) if axes is None else axes
    steps = node.integers("steps", 4) or [1] * len(starts)
    if not len(starts) == len(stops) == len(axes) == len(steps):
        raise ValueError(f"its {len(starts)} starts, {len(stops)} ends, {len(axes)} axes, {len(steps)} steps differ")
    if 0 in steps:
        raise ValueError("step 0 goes nowhere")
    rank = len(node.shape())
    primitive = program.Slice(
        dims=tuple(_axis(axis, rank) for axis in axes), starts=tuple(starts), stops=tuple(stops), steps=tuple(steps)
    )
    return build(primitive, node.input(0))


@HANDLERS.handles("Split")
def _split(node: Node, build: Builder) -> Made:
    d = _axis(node.get("axis", 0), len(node.shape()))
    sizes = node.numbers("split", 1)
    count = len(node.outputs)
    if not sizes:
        each = -(-node.shape()[d] // (node.get("num_outputs") or count))
        sizes = [each] * count
    if len(sizes) != count:
        raise ValueError(f"it splits into {len(sizes)} parts but has {count} outputs")
    return _pieces(node, build, node.input(0), d, sizes)


def _pieces(node: Node, build: Builder, x: Value, d: int, sizes: Sequence[Dim]) -> list[Value]:
    pieces, start = [], 0
    for k, size in enumerate(sizes):
        stop: Any = start + size
        if k < len(node.outputs):
            build.at(node.output(k), node.op)
        part = "" if k < len(node.outputs) else str(k)
        primitive = program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,))
        pieces.append(build(primitive, x, part=part))
        start = stop
    return pieces


@HANDLERS.handles("Concat", "QLinearConcat")
def _concat(node: Node, build: Builder) -> Made:
    tensors = node.tensors()
    if node.op == "QLinearConcat":  # scale and zero point of the output, then tensor, scale, zero point of each
        tensors = tensors[2::3]
    if not tensors:
        raise ValueError("it has no inputs")
    rank = next((len(value.shape) for value in tensors if value.shape is not None), None)
    if rank is None:
        raise OpaqueError("the rank of its inputs is not known")
    return build(program.Concat(dim=_axis(node.get("axis", 1), rank)), *tensors)


@HANDLERS.handles("Gather")
def _gather(node: Node, build: Builder) -> Made:
    d = _axis(node.get("axis", 0), len(node.shape()))
    return build(program.Take(dim=d), node.input(0), node.input(1))


@HANDLERS.handles("Expand")
def _expand(node: Node, build: Builder) -> Made:
    shape = node.numbers("shape", 1)
    if shape is None:
        raise ValueError("shape is missing")
    return build(program.Expand(shape=tuple(shape)), node.input(0))


@HANDLERS.handles("Tile")
def _tile(node: Node, build: Builder) -> Made:
    repeats = node.integers("repeats", 1)
    made = node.input(0)
    shape = node.shape()
    if repeats is None or len(repeats) != len(shape):
        raise ValueError(f"repeats {repeats} does not have one entry for each of the {len(shape)} dimensions")
    grown = tuple(n if size == 1 else size for size, n in zip(shape, repeats, strict=True))
    if grown != shape:
        made = build(program.Expand(shape=grown), made)
    for d, (size, count) in enumerate(zip(shape, repeats, strict=True)):
        if size != 1 and count != 1:
            if count > 64:
                raise OpaqueError(f"it repeats dimension {d} {count} times")
            made = build(program.Concat(dim=d), *[made] * count, part=f"{d}" if len(shape) > 1 else "")
    return made if made is not node.input(0) else build(program.Pointwise(function="identity"), made)


@HANDLERS.handles("CenterCropPad")
def _center_crop_pad(node: Node, build: Builder) -> Made:
    wanted = node.integers("shape", 1)
    shape = node.shape()
    dims = [_axis(axis, len(shape)) for axis in node.get("axes") or range(len(shape))]
    if wanted is None or len(wanted) != len(dims):
        raise ValueError(f"shape {wanted} does not have one entry for each of its {len(dims)} axes")
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * len(shape)
    for d, size in zip(dims, wanted, strict=True):
        change = size - _integer("shape", shape[d])
        first = change // 2 if change >= 0 else -(-change // 2)
        amounts[d] = (first, change - first)
    return build(program.Pad(amounts=tuple(amounts)), node.input(0))


# Numbering.


@HANDLERS.handles("Reshape")
def _reshape(node: Node, build: Builder) -> Made:
    wanted = node.numbers("shape", 1)
    if wanted is None:
        raise ValueError("shape is missing")
    shape = node.input(0).shape
    sizes: list[Dim] = []
    for d, size in enumerate(wanted):
        if size == 0 and not node.get("allowzero"):
            if shape is None:
                raise OpaqueError("it copies a size that is not known")
            if d >= len(shape):
                raise ValueError(f"shape {wanted} copies dimension {d} of a tensor of {len(shape)}")
            size = shape[d]
        sizes.append(size)
    return build(program.Reshape(shape=completed(sizes, shape, node.name)), node.input(0))


@HANDLERS.handles("Flatten")
def _flatten(node: Node, build: Builder) -> Made:
    shape = node.shape()
    axis = node.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return build(program.Reshape(shape=(product(shape[:axis]), product(shape[axis:]))), node.input(0))


@HANDLERS.handles("Squeeze")
def _squeeze(node: Node, build: Builder) -> Made:
    shape = node.shape()
    axes = node.integers("axes", 1)
    dims = tuple(d for d, size in enumerate(shape) if size == 1) if axes is None else _axes(axes, len(shape))
    return build(program.Squeeze(dims=dims), node.input(0))


@HANDLERS.handles("Unsqueeze")
def _unsqueeze(node: Node, build: Builder) -> Made:
    axes = node.integers("axes", 1)
    if axes is None:
        raise ValueError("axes is missing")
    return build(program.Unsqueeze(dims=_axes(axes, len(node.shape()) + len(axes))), node.input(0))


@HANDLERS.handles("Transpose")
def _transpose(node: Node, build: Builder) -> Made:
    order = node.get("perm")
    if order is None:
        order = range(len(node.shape()) - 1, -1, -1)
    return build(program.Transpose(permutation=tuple(order)), node.input(0))


# Constants, and what is known from shapes.


@HANDLERS.handles("Constant")
def _constant(node: Node, build: Builder) -> Made:
    for name in ("value", "sparse_value"):
        if isinstance(found := node.get(name), Value):
            return found
    for name in ("value_int", "value_ints", "value_float", "value_floats"):
        if (found := node.get(name)) is not None:
            return build.constant(found, integer=name.startswith("value_int"), name=node.name)
    return build.weight(None, node.name)


@HANDLERS.handles("ConstantOfShape")
def _constant_of_shape(node: Node, build: Builder) -> Made:
    sizes = node.numbers("shape", 0)
    if sizes is None:
        raise ValueError("shape is missing")
    value = node.get("value")
    data = build.constant(Fraction(0), integer=False).data if value is None else value.data
    count = product(sizes)
    if isinstance(count, int) and data is not None and count <= (MAX_ELEMENTS if data.integer else MAX_FLOATS):
        fill = data.elements.flat[0]
        return build.constant(np.full(tuple(sizes), fill, dtype=object), integer=data.integer, name=node.name)
    return build.weight(tuple(sizes), node.name)


@HANDLERS.handles("Shape")
def _shape(node: Node, build: Builder) -> Made:
    value = node.input(0)
    if value.shape is None:
        return build.weight(None, node.name)
    return build.constant(list(value.shape[node.get("start", 0) : node.get("end")]), name=node.name)


@HANDLERS.handles("Size")
def _size(node: Node, build: Builder) -> Made:
    value = node.input(0)
    return build.weight((), node.name) if value.shape is None else build.constant(product(value.shape), name=node.name)


@HANDLERS.handles("Range")
def _range(node: Node, build: Builder) -> Made:
    values = [node.input(i) for i in range(3)]
    if not all(value.constant for value in values):
        raise OpaqueError("its length depends on what the network computes")
    numbers: list[Any] = [None if value.data is None else value.data.elements.flat[0] for value in values]
    start, stop, step = numbers
    if start == 0 and step == 1 and isinstance(stop, Expression):
        return build.weight((stop,), node.name)
    if any(number is None or isinstance(number, Expression) for number in numbers):
        return build.weight((unknown(f"{node.name}.length"),), node.name)
    if not step:
        raise ValueError("its step is 0")
    count = max(ceil(Fraction(stop - start) / step), 0)
    if count > MAX_ELEMENTS:
        return build.weight((count,), node.name)
    integer = all(value.data is not None and value.data.integer for value in values)
    return build.constant([start + i * step for i in range(count)], integer=integer, name=node.name)


@HANDLERS.handles("RandomNormal", "RandomUniform")
def _random(node: Node, build: Builder) -> Made:
    return build.weight(tuple(node.get("shape", ())), node.name)


@HANDLERS.handles("RandomNormalLike", "RandomUniformLike", "EyeLike")
def _random_like(node: Node, build: Builder) -> Made:
    return build.weight(node.input(0).shape, node.name)


@HANDLERS.handles("HannWindow", "HammingWindow", "BlackmanWindow")
def _window_function(node: Node, build: Builder) -> Made:
    size = node.numbers("size", 0)
    return build.weight(None if size is None else (size[0],), node.name)


@HANDLERS.handles("MelWeightMatrix")
def _mel(node: Node, build: Builder) -> Made:
    bins, length = node.numbers("num_mel_bins", 0), node.numbers("dft_length", 1)
    return build.weight(None if bins is None or length is None else (length[0] // 2 + 1, bins[0]), node.name)


@HANDLERS.handles("OneHot")
def _one_hot(node: Node, build: Builder) -> Made:
    rank = len(node.shape())
    depth = node.numbers("depth", 1)
    d = _axis(node.get("axis", -1), rank + 1)
    wide = build(program.Unsqueeze(dims=(d,)), node.input(0), part="unsqueeze")
    shape = list(wide.shape or ())
    shape[d] = unknown(f"{node.name}.depth") if depth is None else depth[0]
    return build(program.Expand(shape=tuple(shape)), build(program.Pointwise(function="one_hot"), wide), part="expand")


# What reads all of its input, wherever it puts it.


@HANDLERS.handles("NonMaxSuppression", "NonZero", "Unique", "Compress", "Multinomial")
def _whole(node: Node, build: Builder) -> Made:
    return build(program.Whole(), *node.tensors())


@HANDLERS.handles("RoiAlign", "MaxRoiPool")
def _roi(node: Node, build: Builder) -> Made:
    x, boxes = node.shape(0), node.shape(1)
    pooled = node.get("pooled_shape") or (node.get("output_height", 1), node.get("output_width", 1))
    return build(program.Whole(shape=(boxes[0], x[1], *pooled)), *node.tensors())


@HANDLERS.handles("AffineGrid")
def _affine_grid(node: Node, build: Builder) -> Made:
    size = node.numbers("size", 1)
    if size is None:
        raise ValueError("size is missing")
    return build(program.Whole(shape=(size[0], *size[2:], len(size) - 2)), node.input(0))


@HANDLERS.handles("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def _loss(node: Node, build: Builder) -> Made:
    operands = [value for value in (node.input(0), node.input(1)) if not value.constant]
    if node.get("reduction", "mean") != "none":
        return build(program.Whole(shape=()), *operands)
    scores = build(program.Reduce(function="mean", dims=(1,), keepdims=False), node.input(0), part="classes")
    return build(program.Pointwise(function="elementwise"), scores, node.input(1))


# What is not followed, and why.

NOT_FOLLOWED = {
    "GridSample": "it reads where its grid says",
    "DeformConv": "its offsets move its taps",
    "GatherElements": "its indices say which elements it reads",
    "GatherND": "its indices say which elements it reads",
    "Scatter": "its indices say which elements it writes",
    "ScatterElements": "its indices say which elements it writes",
    "ScatterND": "its indices say which elements it writes",
    "TensorScatter": "its indices say which elements it writes",
    "ReverseSequence": "it runs backward along an axis",
}


@HANDLERS.handles(*NOT_FOLLOWED)
def _not_followed(node: Node, build: Builder) -> Made:
    if all(value.constant for value in node.tensors()):
        return build.weight(None, node.name)
    raise OpaqueError(NOT_FOLLOWED[node.op])


# Sequences and optionals: what is in them is known while the model is read.


@HANDLERS.handles("SequenceConstruct")
def _sequence(node: Node, build: Builder) -> Made:
    return [tuple(node.tensors())]


@HANDLERS.handles("SequenceEmpty")
def _empty(node: Node, build: Builder) -> Made:
    return [()]


@HANDLERS.handles("SequenceAt", "SequenceErase", "SequenceInsert", "SequenceLength")
def _sequence_edit(node: Node, build: Builder) -> Made:
    items = node.sequence(0)
    if node.op == "SequenceLength":
        return build.constant(len(items), name=node.name)
    place = node.integers("position", 2 if node.op == "SequenceInsert" else 1)
    if node.op == "SequenceInsert":
        at = len(items) if place is None else place[0]
        return [(*items[:at], node.input(1), *items[at:])]
    at = -1 if place is None else place[0]
    if not -len(items) <= at < len(items):
        raise ValueError(f"position {at} is not one of the {len(items)} of its sequence")
    return items[at] if node.op == "SequenceAt" else [tuple(v for i, v in enumerate(items) if i != at % len(items))]


@HANDLERS.handles("SplitToSequence")
def _split_to_sequence(node: Node, build: Builder) -> Made:
    shape = node.shape()
    d = _axis(node.get("axis", 0), len(shape))
    given = node.optional(1)
    sizes = node.integers("split", 1) or [1]
    if given is None or given.shape == ():
        count = -(-_integer("split", shape[d]) // sizes[0])
        sizes = [min(sizes[0], _integer("split", shape[d]) - k * sizes[0]) for k in range(count)]
    if len(sizes) > MAX_ELEMENTS:
        raise OpaqueError(f"it splits into {len(sizes)} parts")
    pieces = [
        build(
            program.Slice(dims=(d,), starts=(sum(sizes[:k]),), stops=(sum(sizes[: k + 1]),), steps=(1,)),
            node.input(0),
            part=str(k),
        )
        for k in range(len(sizes))
    ]
    if given is None and not node.get("keepdims", 1):
        pieces = [build(program.Squeeze(dims=(d,)), piece, part=f"{k}/squeeze") for k, piece in enumerate(pieces)]
    return [tuple(pieces)]


@HANDLERS.handles("ConcatFromSequence")
def _concat_from_sequence(node: Node, build: Builder) -> Made:
    items = node.sequence(0)
    if not items:
        raise ValueError("its sequence is empty")
    rank = next((len(value.shape) for value in items if value.shape is not None), None)
    if rank is None:
        raise OpaqueError("the rank of its inputs is not known")
    if node.get("new_axis", 0):
        d = _axis(node.get("axis"), rank + 1)
        items = tuple(build(program.Unsqueeze(dims=(d,)), item, part=f"unsqueeze/{k}") for k, item in enumerate(items))
    else:
        d = _axis(node.get("axis"), rank)
    return build(program.Concat(dim=d), *items)


@HANDLERS.handles("Optional", "OptionalGetElement")
def _optional(node: Node, build: Builder) -> Made:
    found = node.item(0)
    if found is None:
        raise OpaqueError("it holds nothing")
    return [found]


@HANDLERS.handles("OptionalHasElement")
def _has_element(node: Node, build: Builder) -> Made:
    return build.constant(int(node.item(0) is not None), name=node.name)


# Operators of com.microsoft that exporters and quantisers write.


@HANDLERS.handles("QLinearAdd", "QLinearMul")
def _qlinear_binary(node: Node, build: Builder) -> Made:
    function = "add" if node.op == "QLinearAdd" else "mul"
    return build(program.Pointwise(function=function), node.input(0), node.input(3))


@HANDLERS.handles("QLinearLeakyRelu", "QLinearSigmoid", "FastGelu", "BiasGelu", "QuickGelu")
def _contrib_unary(node: Node, build: Builder) -> Made:
    function = {"QLinearLeakyRelu": "leaky_relu", "QLinearSigmoid": "sigmoid"}.get(node.op, "gelu")
    return build(program.Pointwise(function=function), node.input(0))


@HANDLERS.handles("SkipLayerNormalization")
def _skip_layer_norm(node: Node, build: Builder) -> Made:
    total = build(program.Pointwise(function="add"), node.input(0), node.input(1), part="add")
    rank = len(node.shape())
    return build(program.Mix(function="layer_norm", dims=(rank - 1,)), total)
