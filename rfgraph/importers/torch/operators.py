"""PyTorch's operators, spelt with the primitives of the tensor program; this module does not need torch.

One handler per operator or family of operators, under its name in ``torch.ops.aten`` without overload; an operator that
works in place (``relu_``) has the handler of the one that does not. A handler gets the node and the builder, and
returns the values of the node's outputs: tensors, or sizes where the operator makes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import ceil, floor, isfinite
from typing import Any, TypeAlias

import numpy as np

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Dim, Expression, Shape, product, unknown
from rfgraph.importers.program.exact import simplest
from rfgraph.importers.program.folding import MAX_ELEMENTS
from rfgraph.importers.program.numbers import UNSEEN
from rfgraph.importers.program.primitives import CUBIC, Value
from rfgraph.importers.program.shapes import broadcast, completed, text
from rfgraph.importers.spelling import operations, products, vocabulary
from rfgraph.importers.spelling.arguments import axis_of, per_axis, rank_of, shape_of, whole_number
from rfgraph.importers.spelling.attention import causal, is_self, summed, weights
from rfgraph.importers.spelling.handlers import Handlers, UnspelledError
from rfgraph.importers.spelling.node import Call
from rfgraph.importers.spelling.operations import KEYS, band, weighted, with_bias

Made: TypeAlias = "Value | Dim | Sequence[Value | Dim]"


@dataclass(frozen=True)
class Node(Call):
    """One call of an operator: its arguments by their names in the operator's schema, in order; defaults left out."""

    overload: str
    arguments: Mapping[str, Any]
    #: Whether a tensor of booleans is among its arguments.
    masks: bool = False
    #: Whether the model is read for other sizes than it was exported for: sizes that it states may be wrong then.
    resized: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, ``default`` if it is left out or None."""
        value = self.arguments.get(name)
        return default if value is None else value

    def optional(self, name: str) -> Value | None:
        """Return a tensor, ``None`` if it is left out."""
        value = self.arguments.get(name)
        if value is not None and not isinstance(value, Value):
            raise ValueError(f"{name} is not a tensor")
        return value

    def tensor(self, name: str) -> Value:
        """Return a tensor."""
        value = self.optional(name)
        if value is None:
            raise ValueError(f"{name} is missing")
        return value

    @property
    def x(self) -> Value:
        """Its first argument, a tensor."""
        first = next(iter(self.arguments.values()), None)
        if not isinstance(first, Value):
            raise ValueError("its first argument is not a tensor")
        return first

    @property
    def shape(self) -> Shape:
        """Shape of its first argument."""
        return shape_of(self.x)

    @property
    def rank(self) -> int:
        """Number of dimensions of its first argument."""
        return len(self.shape)

    def tensors(self) -> list[Value]:
        """Return all arguments that are tensors, those in lists too."""
        tensors: list[Value] = []
        for value in self.arguments.values():
            tensors += [value] if isinstance(value, Value) else []
            tensors += [item for item in value if isinstance(item, Value)] if isinstance(value, tuple) else []
        return tensors

    def list(self, name: str) -> list[Value]:
        """Return a list of tensors."""
        entries = self.arguments.get(name)
        if not isinstance(entries, tuple) or not entries or not all(isinstance(item, Value) for item in entries):
            raise ValueError(f"{name} is not a list of tensors")
        return [*entries]

    def sizes(self, name: str) -> tuple[Dim, ...]:
        """Return a list of sizes, which may be symbolic."""
        value = self.arguments.get(name)
        sizes = value if isinstance(value, tuple) else (value,)
        return tuple(_size(name, size) for size in sizes)

    def size(self, name: str, default: Dim | None = None) -> Dim:
        """Return a size, which may be symbolic."""
        return _size(name, self.get(name, default))

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer."""
        return whole_number(name, self.get(name, default))

    def integers(self, name: str, count: int, default: int | None = None) -> tuple[int, ...]:
        """Return one integer for each of ``count`` axes, of a list or of one number for all."""
        value = self.get(name, default)
        return per_axis(name, default if value == () else value, count)

    def dim(self, name: str = "dim", default: int | None = None, rank: int | None = None) -> int:
        """Return a dimension, counted from 0."""
        return _dim(self.integer(name, default), self.rank if rank is None else rank)

    def dims(self, name: str = "dim") -> tuple[int, ...]:
        """Return dimensions, counted from 0, in order; all of them if none is given."""
        value = self.get(name, ())
        entries = value if isinstance(value, tuple) else (value,)
        if not entries:
            return tuple(range(self.rank))
        return tuple(sorted({_dim(whole_number(name, entry), self.rank) for entry in entries}))


def _size(name: str, size: Any) -> Dim:
    if isinstance(size, Value):
        raise UnspelledError(f"its {name} depends on what the network computes")
    if isinstance(size, bool) or not isinstance(size, (int, Expression)):
        raise ValueError(f"{name} {size!r} is not a size")
    return size


def _dim(dim: int, rank: int) -> int:
    return axis_of(dim, rank or 1)  # torch lets a number have one


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("PyTorch")

# Functions of one element. Names that carry no meaning for space are their own.

UNARY = vocabulary.names("torch", vocabulary.UNARY)

#: Functions of elements of several tensors, which broadcast; beside what depends on an input numbers change nothing.
SEVERAL = vocabulary.names("torch", vocabulary.SEVERAL)


@HANDLERS.handles(*UNARY)
def _unary(node: Node, build: Builder) -> Made:
    output = build(program.Pointwise(function=UNARY[node.op]), node.x)
    return [output, build.weight(output.shape)] if node.op == "native_dropout" else output


@HANDLERS.handles(*SEVERAL)
def _several(node: Node, build: Builder) -> Made:
    operands = node.tensors()
    if operands and all(value.data is not None for value in operands):
        return _of_numbers(node, build)
    held = [value.held(build.tells_learned) if value.constant else None for value in operands]
    if operands and all(numbers is not None and numbers.own for numbers in held):
        return _of_constants(node, build)
    if node.op == "where" and len(node.arguments) < 3:
        raise UnspelledError("how many positions it finds depends on what the network computes")
    if node.op in ("prelu", "_prelu_kernel") and operands[1].constant:
        operands = operands[:1]  # one slope per channel, whichever dimension that is
    if node.op == "masked_fill" and "mask" in node.arguments:
        operands = [node.tensor("mask"), _number(build, node.arguments.get("value")), node.tensor("self")]
    elif node.op == "where":
        operands = [_number(build, value) for value in node.arguments.values()]
    bound = ""
    if node.op in ("where", "masked_fill") and operands[0].constant:
        bound, operands[0] = program.MASKED, _truth(build, operands[0])
    return build(program.Pointwise(function=SEVERAL[node.op], bound=bound), *operands)


def _truth(build: Builder, mask: Value) -> Value:
    """Return a constant of truth values, which may have been made of numbers, as such."""
    return build(program.Pointwise(function="to_bool"), mask, part="truth")


def _number(build: Builder, value: Any) -> Value:
    """Return an argument that is a tensor, or else a number, as a tensor."""
    return value if isinstance(value, Value) else build.weight((), read=partial(np.asarray, value))


#: Names of arguments that are operands.
OPERANDS = frozenset({"self", "other", "input", "condition", "exponent", "0", "1", "2"})


def _of_constants(node: Node, build: Builder) -> Value:
    """Return a function of constants; numbers among its arguments are operands, or its numbers are not known."""
    function, arguments = SEVERAL[node.op], dict(node.arguments)
    alpha, bounds = arguments.pop("alpha", 1), [arguments.pop(end, None) for end in ("min", "max")]
    if node.op == "masked_fill":
        arguments = {"condition": arguments.get("mask"), "self": arguments.get("value"), "other": arguments.get("self")}
    operands = [_number(build, value) for value in arguments.values() if isinstance(value, (Value, bool, int, float))]
    plain = len(operands) == len(arguments) and set(arguments) <= OPERANDS and node.op != "fmod"
    if not plain or any(isinstance(value, Value) for value in bounds):
        shape: Shape = ()
        for value in node.tensors():
            shape = broadcast(shape, shape_of(value))
        return replace(build.weight(shape, node.name), numbers=UNSEEN)
    if function == "clip":
        x = operands[0]
        for end, limit in zip(("max", "min"), bounds, strict=True):
            x = x if limit is None else build(program.Pointwise(function=end), x, _number(build, limit), part=end)
        return x
    if alpha != 1:
        by = _number(build, alpha)
        operands[1] = build(program.Pointwise(function="mul"), operands[1], by, part="alpha")
    if node.op == "rsub":
        operands.reverse()
    if function == "where":
        operands[0] = _truth(build, operands[0])
    return build(program.Pointwise(function=function), *operands)


#: Of integers these are exact, and the same in PyTorch as in the evaluator of constants.
EXACT = frozenset({"add", "sub", "mul", "mod", "max", "min", "equal", "less", "less_or_equal", "greater",
                   "greater_or_equal", "and", "or", "where"})  # fmt: skip


def _of_numbers(node: Node, build: Builder) -> Made:
    """A function of small constants, evaluated if it is one of integers; other numbers are operands too here."""
    operands: list[Value] = []
    for name, value in node.arguments.items():
        if isinstance(value, bool) or not isinstance(value, (Value, int, Expression)):
            operands = []
            break
        if name in ("self", "other", "input", "condition", "0", "1", "2"):
            operands.append(value if isinstance(value, Value) else build.constant(value))
    function = SEVERAL[node.op]
    named = {"self", "other", "input", "condition", "0", "1", "2"} >= set(node.arguments)
    integers = all(value.data is not None and value.data.integer for value in operands)
    if operands and named and integers and (function in EXACT or node.op == "ne" or node.op == "floor_divide"):
        if node.op == "rsub":
            operands.reverse()
        if node.op == "floor_divide":
            exact = [build(program.Pointwise(function="to_float"), value) for value in operands]
            floored = build(program.Pointwise(function="floor"), build(program.Pointwise(function="div"), *exact))
            return build(program.Pointwise(function="to_integer"), floored)
        if node.op == "ne":
            return build(program.Pointwise(function="not"), build(program.Pointwise(function="equal"), *operands))
        return build(program.Pointwise(function=function), *operands)
    return _of_constants(node, build)


@HANDLERS.handles("copy")
def _copy(node: Node, build: Builder) -> Made:
    source = node.tensor("src")
    if source.shape == node.shape:
        return build(program.Pointwise(function="identity"), source)
    return build(program.Expand(shape=node.shape), source)


@HANDLERS.handles("tril", "triu")
def _triangle(node: Node, build: Builder) -> Made:
    k = node.get("diagonal", 0)
    if not isinstance(k, int):
        return build(program.Pointwise(function="trilu"), node.x)
    return band(build, node.x, -k if node.op == "triu" else None, k if node.op == "tril" else None)


@HANDLERS.handles("glu")
def _glu(node: Node, build: Builder) -> Made:
    return operations.gated(build, node.x, node.dim(default=-1))


# Windows.


def last_dims(node: Node, count: int) -> tuple[tuple[int, ...], int]:
    """Return the last ``count`` dimensions, and the one before them: the batch may be left out."""
    if node.rank <= count:
        raise ValueError(f"its input has {node.rank} dimensions, too few for {count} axes and channels")
    return tuple(range(node.rank - count, node.rank)), node.rank - count - 1


@HANDLERS.handles("convolution", "conv1d", "conv2d", "conv3d", "_convolution")
def _conv(node: Node, build: Builder) -> Made:
    if node.get("transposed", False):
        return _conv_transpose(node, build)
    weight = node.tensor("weight")
    kernel = tuple(whole_number("kernel", size) for size in shape_of(weight)[2:])
    axes = len(kernel)
    dims, channel = last_dims(node, axes)
    dilation = node.integers("dilation", axes, 1)
    how = node.get("padding", 0)
    if how == "valid":
        padding = ((0, 0),) * axes
    elif how == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = tuple((total // 2, total - total // 2) for total in totals)
    else:
        padding = tuple((amount, amount) for amount in node.integers("padding", axes, 0))
    groups = node.integer("groups", 1)
    stride = node.integers("stride", axes, 1)
    primitive = program.Slide(
        function="conv", dims=dims, kernel=kernel, stride=stride, padding=padding, dilation=dilation,
        channel=channel, channels=shape_of(weight)[0], groups=groups,
        apart=build.apart(weight, range(2, 2 + axes), (0,)), bound=build.bound(weight, range(2, 2 + axes)),
    )  # fmt: skip
    return weighted(build, build(primitive, node.x), weight)


@HANDLERS.handles("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(node: Node, build: Builder) -> Made:
    weight = node.tensor("weight")
    kernel = tuple(whole_number("kernel", size) for size in shape_of(weight)[2:])
    axes = len(kernel)
    dims, channel = last_dims(node, axes)
    groups = node.integer("groups", 1)
    primitive = program.SlideTransposed(
        dims=dims, kernel=kernel, stride=node.integers("stride", axes, 1),
        padding=tuple((amount, amount) for amount in node.integers("padding", axes, 0)),
        output_padding=node.integers("output_padding", axes, 0), dilation=node.integers("dilation", axes, 1),
        channel=channel, channels=shape_of(weight)[1] * groups, groups=groups,
        bound=build.bound(weight, range(2, 2 + axes)),
    )  # fmt: skip
    return weighted(build, build(primitive, node.x), weight)


POOLS = {
    "max_pool1d": ("max_pool", 1), "max_pool2d": ("max_pool", 2), "max_pool3d": ("max_pool", 3),
    "max_pool1d_with_indices": ("max_pool", 1), "max_pool2d_with_indices": ("max_pool", 2),
    "max_pool3d_with_indices": ("max_pool", 3), "avg_pool1d": ("avg_pool", 1), "avg_pool2d": ("avg_pool", 2),
    "avg_pool3d": ("avg_pool", 3),
}  # fmt: skip


@HANDLERS.handles(*POOLS)
def _pool(node: Node, build: Builder) -> Made:
    function, axes = POOLS[node.op]
    kernel = node.integers("kernel_size", axes)
    primitive = program.Slide(
        function=function, dims=last_dims(node, axes)[0], kernel=kernel,
        stride=node.integers("stride", axes, 1) if node.get("stride", ()) != () else kernel,
        padding=tuple((amount, amount) for amount in node.integers("padding", axes, 0)),
        dilation=node.integers("dilation", axes, 1), ceil_mode=bool(node.get("ceil_mode", False)),
    )  # fmt: skip
    maxima = build(primitive, node.x)
    return [maxima, maxima] if node.op.endswith("indices") else maxima  # indices are read where the maxima are


ADAPTIVE = {
    "adaptive_avg_pool1d": ("avg_pool", 1), "adaptive_avg_pool2d": ("avg_pool", 2),
    "adaptive_avg_pool3d": ("avg_pool", 3),
    "_adaptive_avg_pool2d": ("avg_pool", 2), "_adaptive_avg_pool3d": ("avg_pool", 3),
    "adaptive_max_pool1d": ("max_pool", 1), "adaptive_max_pool2d": ("max_pool", 2),
    "adaptive_max_pool3d": ("max_pool", 3),
}  # fmt: skip


@HANDLERS.handles(*ADAPTIVE)
def _adaptive(node: Node, build: Builder) -> Made:
    function, axes = ADAPTIVE[node.op]
    sizes = node.integers("output_size", axes)
    output = operations.adaptive_pool(build, node.x, function, last_dims(node, axes)[0], sizes)
    return [output, output] if function == "max_pool" else output


# Resolutions.

UPSAMPLINGS = {
    f"{prefix}upsample_{how}{suffix}": (axes, mode, coordinates)
    for prefix, how, mode, coordinates, ranks, suffix_ in (
        ("", "nearest", "nearest", "asymmetric", (1, 2, 3), ""),
        ("_", "nearest_exact", "nearest", "half_pixel", (1, 2, 3), ""),
        ("", "linear", "linear", "half_pixel", (1,), ""),
        ("", "bilinear", "linear", "half_pixel", (2,), ""),
        ("", "trilinear", "linear", "half_pixel", (3,), ""),
        ("", "bicubic", "cubic", "half_pixel", (2,), ""),
        ("_", "bilinear", "linear", "half_pixel", (2,), "_aa"),
        ("_", "bicubic", "cubic", "half_pixel", (2,), "_aa"),
    )
    for axes in ranks
    for suffix in (f"{axes}d{suffix_}",)
}


@HANDLERS.handles(*UPSAMPLINGS)
def _upsample(node: Node, build: Builder) -> Made:
    axes, mode, coordinates = UPSAMPLINGS[node.op]
    dims, _ = last_dims(node, axes)
    sizes = node.sizes("output_size") if node.get("output_size") is not None else None
    factors = node.get("scale_factors") or tuple(node.get(f"scales_{a}") for a in "dhw"[3 - axes :])
    if axes == 1 and node.get("scales") is not None:
        factors = (node.get("scales"),)
    scales = None if None in factors else [_ratio(factor) for factor in factors]
    before = [node.shape[d] for d in dims]
    if scales is not None and len(scales) != axes:
        raise ValueError(f"it has {len(scales)} scale factors for {axes} axes")
    if sizes is not None and len(sizes) != axes:
        raise ValueError(f"it has {len(sizes)} sizes for {axes} axes")
    if scales is None and sizes is None:
        raise ValueError("neither output_size nor scale_factors is given")
    if node.resized and scales is None and any(isinstance(size, int) for size in sizes or ()):
        raise UnspelledError(f"it resizes to {text(sizes)}, the size for which the model was exported")
    after: Sequence[Dim] = sizes if scales is None or sizes is not None else [  # type: ignore[assignment]
        floor(size * scale) for size, scale in zip(before, scales, strict=True)
    ]  # fmt: skip
    if node.get("align_corners", False):
        coordinates, scales, sizes = "align_corners", None, tuple(after)
    primitive = program.Resize(
        dims=dims,
        scales=None if scales is None else tuple(scales),
        sizes=tuple(after) if scales is None else None,
        mode=mode,
        coordinates=coordinates,
        nearest_mode="floor" if coordinates == "asymmetric" else "round_prefer_ceil",  # floor((y + 1/2) / f)
        antialias=node.op.endswith("_aa"),
        coefficient=KEYS if node.op.endswith("_aa") else CUBIC,
    )
    return build(primitive, node.x)


def _ratio(factor: Any) -> Fraction:
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not isfinite(factor) or factor <= 0:
        raise ValueError(f"scale factor {factor!r} is not a positive number")
    return simplest(float(factor))


@HANDLERS.handles("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(node: Node, build: Builder) -> Made:
    dims, channel = last_dims(node, 2)
    down = node.op == "pixel_unshuffle"
    block = node.integer("downscale_factor" if down else "upscale_factor")
    if block < 1:
        raise ValueError(f"factor {block} is not a positive integer")
    kind = program.SpaceToDepth if down else program.DepthToSpace
    return build(kind(channel=channel, dims=dims, blocks=(block, block)), node.x)


@HANDLERS.handles("channel_shuffle")
def _channel_shuffle(node: Node, build: Builder) -> Made:
    return operations.shuffled(build, node.x, 1, node.integer("groups"))


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("torch", vocabulary.REDUCTIONS)


@HANDLERS.handles(*REDUCTIONS)
def _reduce(node: Node, build: Builder) -> Made:
    if isinstance(node.get("other"), Value):
        return build(program.Pointwise(function=REDUCTIONS[node.op]), *node.tensors())
    primitive = program.Reduce(
        function=REDUCTIONS[node.op], dims=node.dims(), keepdims=bool(node.get("keepdim", False))
    )
    output = build(primitive, node.x)
    where = node.op in ("max", "min", "median", "nanmedian") and "dim" in node.arguments
    return [output, output] if where or node.op in ("var_mean", "std_mean", "aminmax") else output


@HANDLERS.handles("softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax")
def _softmax(node: Node, build: Builder) -> Made:
    return build(program.Mix(function="softmax", dims=(node.dim(),)), node.x)


@HANDLERS.handles("cumsum", "cumprod", "logcumsumexp")
def _cumulative(node: Node, build: Builder) -> Made:
    return build(program.Mix(function="cumsum", dims=(node.dim(),), direction="forward"), node.x)


@HANDLERS.handles("cummax", "cummin")
def _cumulative_pair(node: Node, build: Builder) -> Made:
    values = build(program.Mix(function="cumsum", dims=(node.dim(),), direction="forward"), node.x)
    return [values, values]


@HANDLERS.handles("sort", "argsort", "msort")
def _sort(node: Node, build: Builder) -> Made:
    values = build(program.Mix(function="sort", dims=(node.dim(default=0 if node.op == "msort" else -1),)), node.x)
    return [values, values] if node.op == "sort" else values


@HANDLERS.handles("kthvalue", "mode")
def _one_of_them(node: Node, build: Builder) -> Made:
    reduce = program.Reduce(function="at", dims=(node.dim(default=-1),), keepdims=bool(node.get("keepdim", False)))
    values = build(reduce, node.x)
    return [values, values]


@HANDLERS.handles("topk")
def _top_k(node: Node, build: Builder) -> Made:
    values = operations.largest(build, node.x, node.dim(default=-1), node.size("k"))
    return [values, values]


@HANDLERS.handles(
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_native_batch_norm_legit_functional", "cudnn_batch_norm",
)  # fmt: skip
def _batch_norm(node: Node, build: Builder) -> Made:
    # Whether its statistics are the trained ones is an option of the analysis; without trained ones there is no choice.
    if node.op != "_native_batch_norm_legit_functional" and node.get("running_mean") is None:
        dims = tuple(d for d in range(node.rank) if d != 1)
        output = build(program.Mix(function="instance_norm", dims=dims), node.x)
    else:
        output = build(program.Pointwise(function="batch_norm"), node.x)
    return [output]  # what else some of them return are statistics


@HANDLERS.handles("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def _layer_norm(node: Node, build: Builder) -> Made:
    count = len(node.sizes("normalized_shape"))
    if not 0 < count <= node.rank:
        raise ValueError(f"it normalises {count} of {node.rank} dimensions")
    dims = tuple(range(node.rank - count, node.rank))
    output = build(program.Mix(function="layer_norm", dims=dims), node.x)
    return [output]


@HANDLERS.handles("group_norm", "native_group_norm")
def _group_norm(node: Node, build: Builder) -> Made:
    output = build(program.Mix(function="group_norm", dims=tuple(range(2, node.rank))), node.x)
    return [output]


@HANDLERS.handles("instance_norm")
def _instance_norm(node: Node, build: Builder) -> Made:
    if not node.get("use_input_stats", True):
        return build(program.Pointwise(function="batch_norm"), node.x)
    return build(program.Mix(function="instance_norm", dims=tuple(range(2, node.rank))), node.x)


@HANDLERS.handles("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(node: Node, build: Builder) -> Made:
    if node.overload != "input" or node.rank != 3:
        raise UnspelledError("its input is packed, or has no batch")
    weight = shape_of(node.list("params")[1])
    hidden = weight[1]
    directions = 2 if node.get("bidirectional", False) else 1
    time = 1 if node.get("batch_first", False) else 0
    per_step = [product(size) for value in node.list("params") if len(size := shape_of(value)) > 1]
    macs = node.shape[0] * node.shape[1] * sum(per_step)
    direction: program.Direction = "both" if directions == 2 else "forward"
    mixed = build(program.Mix(function="recurrent", dims=(time,), direction=direction), node.x, macs=macs)
    cell = program.Contract(operands=(("0", "1", "c"), ("c", "h")), output=("0", "1", "h"))
    y = build(cell, mixed, build.weight((node.shape[2], directions * hidden)), part="cell", macs=0)
    last = build(program.Reduce(function="mean", dims=(time,), keepdims=False), y, part="last")
    split = build(program.Reshape(shape=(node.shape[1 - time], directions, hidden)), last, part="directions")
    state = build(program.Transpose(permutation=(1, 0, 2)), split, part="state")
    layers = node.integer("num_layers", 1)
    if not 0 < layers <= 256:
        raise ValueError(f"it has {layers} layers")
    states = state if layers == 1 else build(program.Concat(dim=0), *[state] * layers, part="states")
    return [y, states, states] if node.op == "lstm" else [y, states]


@HANDLERS.handles("gru_cell", "lstm_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(node: Node, build: Builder) -> Made:
    states = node.list("hx") if node.op == "lstm_cell" else [node.tensor("hx")]
    if node.rank != 2:
        raise UnspelledError("its input has no batch")
    hidden = shape_of(states[0])[1]
    rows = program.Contract(operands=(("b", "k"), ("j", "k")), output=("b", "j"))
    read = build(rows, node.x, node.tensor("w_ih"), part="input")
    kept = build(rows, states[0], node.tensor("w_hh"), part="hidden")
    gates = build(program.Pointwise(function="add"), read, kept, part="gates")
    if node.op.startswith("rnn"):
        return build(program.Pointwise(function="tanh"), gates)
    one, other = (
        operations.cut(build, gates, 1, at, at + hidden, part=part) for at, part in ((0, "forget"), (hidden, "output"))
    )
    state = build(program.Pointwise(function="add"), one, states[-1], part="state")
    output = build(program.Pointwise(function="mul"), other, state)
    return [output, state] if node.op == "lstm_cell" else output


# Products.


@HANDLERS.handles("linear")
def _linear(node: Node, build: Builder) -> Made:
    weight = shape_of(node.tensor("weight"))
    rows = tuple(f"b{i}" for i in range(node.rank - 1))
    output = (*rows, "j") if len(weight) > 1 else rows
    columns = ("j", "k") if len(weight) > 1 else ("k",)
    primitive = program.Contract(operands=((*rows, "k"), columns), output=output)
    return with_bias(build, build(primitive, node.x, node.tensor("weight")), node.optional("bias"))


@HANDLERS.handles("matmul", "mm", "bmm", "mv", "dot")
def _matmul(node: Node, build: Builder) -> Made:
    a, b = node.tensors()[:2]
    return build(products.matmul(len(shape_of(a)), len(shape_of(b))), a, b)


@HANDLERS.handles("addmm", "baddbmm", "addmv")
def _addmm(node: Node, build: Builder) -> Made:
    bias, a, b = node.tensors()[:3]
    product = build(products.matmul(len(shape_of(a)), len(shape_of(b))), a, b)
    if a.constant or b.constant or bias.learned:
        return with_bias(build, product, bias)
    return build(program.Pointwise(function="add"), product, bias, part="bias")  # of two tensors: it may be a mask


@HANDLERS.handles("outer")
def _outer(node: Node, build: Builder) -> Made:
    return build(program.Contract(operands=(("i",), ("j",)), output=("i", "j")), *node.tensors()[:2])


@HANDLERS.handles("einsum")
def _einsum(node: Node, build: Builder) -> Made:
    tensors = node.list("tensors")
    ranks = [len(shape_of(tensor)) for tensor in tensors]
    return build(products.einsum(str(node.get("equation", "")), ranks), *tensors)


ATTENTIONS = (
    "scaled_dot_product_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math",
)  # fmt: skip


@HANDLERS.handles(*ATTENTIONS)
def _attention(node: Node, build: Builder) -> Made:
    query, key, value = node.tensors()[:3]
    batch = [f"b{i}" for i in range(len(shape_of(query)) - 2)]
    shared = list(batch)
    if shared and node.get("enable_gqa", False):
        shared[-1] = "g"  # several heads of queries share one of keys: its label is another, and is summed
    if node.get("is_causal", False) and is_self(query, key, len(batch)):
        attended = causal(build, query, key, value, (*batch, "i"), (*shared, "j"), len(batch))
        return attended if node.op == ATTENTIONS[0] else [attended]
    rows, columns = (*batch, "i"), (*shared, "j")
    mask = node.optional("attn_mask") or node.optional("attn_bias")
    masked = bool(node.get("is_causal", False))
    if mask is not None and mask.constant and node.masks:
        mask = _truth(build, mask)
    weighed = weights(build, query, key, rows, columns, mask=mask, masked=masked, chooses=node.masks)
    attended = summed(build, weighed, value, rows, columns)
    return attended if node.op == ATTENTIONS[0] else [attended]


# Elements moved, dropped, added.


PADDING_MODES = {"reflection": "reflect", "replication": "edge", "replicate": "edge", "circular": "wrap"}


@HANDLERS.handles(
    "pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d",
)  # fmt: skip
def _pad(node: Node, build: Builder) -> Made:
    pads = node.sizes("pad" if "pad" in node.arguments else "padding")
    if len(pads) % 2 or len(pads) > 2 * node.rank:
        raise ValueError(f"it has {len(pads)} pads for {node.rank} dimensions")
    mode = str(node.get("mode", node.op.partition("_")[0] if node.op != "pad" else "constant"))
    mode = PADDING_MODES.get(mode, mode)
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * node.rank
    for i in range(len(pads) // 2):
        amounts[node.rank - 1 - i] = (pads[2 * i], pads[2 * i + 1])
    return build(program.Pad(amounts=tuple(amounts), mode=mode), node.x)


@HANDLERS.handles("slice", "slice_copy")
def _slice(node: Node, build: Builder) -> Made:
    d = node.dim(default=0)
    start = None if node.get("start") is None else node.size("start")
    stop = None if node.get("end") is None else node.size("end")
    step = node.integer("step", 1)
    if step < 1:
        raise ValueError(f"step {step} is not positive")
    return build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(step,)), node.x)


@HANDLERS.handles("narrow", "narrow_copy")
def _narrow(node: Node, build: Builder) -> Made:
    d, start = node.dim(), node.size("start")
    if isinstance(start, int) and start < 0:
        start = node.shape[d] + start
    stop = start + node.size("length")
    return build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,), whole=True), node.x)


@HANDLERS.handles("select", "select_copy")
def _select(node: Node, build: Builder) -> Made:
    return build(program.Take(dim=node.dim()), node.x, build.constant(node.integer("index")))


@HANDLERS.handles("chunk", "split", "split_with_sizes", "split_copy", "split_with_sizes_copy", "tensor_split")
def _split(node: Node, build: Builder) -> Made:
    d = node.dim(default=0)
    name = next((n for n in ("split_size", "split_sizes", "indices") if n in node.arguments), "")
    if node.op == "tensor_split":
        total = node.shape[d]
        bounds = [0, *node.sizes("indices"), total] if name else operations.even_bounds(total, node.integer("sections"))
        return operations.split(build, node.x, d, [b - a for a, b in pairwise(bounds)])
    if name and isinstance(node.get(name), tuple):
        return operations.split(build, node.x, d, node.sizes(name))
    whole = whole_number("size", node.shape[d])
    each = node.integer(name) if name else -(-whole // node.integer("chunks"))
    if each < 1 or whole // each > MAX_ELEMENTS:
        raise UnspelledError(f"it splits {whole} into parts of {each}")
    return operations.split(build, node.x, d, [min(each, whole - first) for first in range(0, whole, each)] or [0])


@HANDLERS.handles("unbind", "unbind_copy")
def _unbind(node: Node, build: Builder) -> Made:
    return operations.unstack(build, node.x, node.dim(default=0), most=MAX_ELEMENTS)


@HANDLERS.handles("cat", "concat", "concatenate")
def _cat(node: Node, build: Builder) -> Made:
    tensors = [tensor for tensor in node.list("tensors") if tensor.shape != (0,)]  # torch lets these pass
    d = node.dim(default=0, rank=rank_of(tensors))
    held = [tensor for tensor in tensors if shape_of(tensor)[d] != 0]
    if len(held) == 1:
        return build(program.Pointwise(function="identity"), *held)
    return build(program.Concat(dim=d), *(held or tensors))


@HANDLERS.handles("stack")
def _stack(node: Node, build: Builder) -> Made:
    return operations.stack(build, node.list("tensors"), node.integer("dim", 0))


@HANDLERS.handles("embedding")
def _embedding(node: Node, build: Builder) -> Made:
    return build(program.Take(dim=0), node.tensor("weight"), node.tensor("indices"))


@HANDLERS.handles("roll")
def _roll(node: Node, build: Builder) -> Made:
    dims = node.get("dims", ())
    dims = dims if isinstance(dims, tuple) else (dims,)
    shifts = node.integers("shifts", max(len(dims), 1))
    if not dims:
        raise UnspelledError("it rolls the tensor as one row")
    return operations.rolled(build, node.x, [whole_number("dims", d) for d in dims], shifts)


@HANDLERS.handles("flip")
def _flip(node: Node, build: Builder) -> Made:
    return operations.flipped(build, node.x, node.dims("dims"))


@HANDLERS.handles("expand", "expand_copy", "broadcast_to", "expand_as")
def _expand(node: Node, build: Builder) -> Made:
    wanted = shape_of(node.tensor("other")) if node.op == "expand_as" else node.sizes("size")
    missing = len(wanted) - node.rank
    if missing < 0:
        raise ValueError(f"size {text(wanted)} has fewer dimensions than its input")
    shape = tuple(node.shape[d - missing] if size == -1 and d >= missing else size for d, size in enumerate(wanted))
    return build(program.Expand(shape=shape), node.x)


@HANDLERS.handles("repeat", "tile")
def _repeat(node: Node, build: Builder) -> Made:
    repeats = node.get("repeats" if node.op == "repeat" else "dims", ())
    counts = [whole_number("repeats", count) for count in (repeats if isinstance(repeats, tuple) else (repeats,))]
    return operations.tile_as_numpy(build, node.x, counts)


@HANDLERS.handles("repeat_interleave")
def _repeat_interleave(node: Node, build: Builder) -> Made:
    count = node.get("repeats")
    if isinstance(count, Value) or node.get("dim") is None:
        raise UnspelledError("it repeats elements a number of times that is not one for all")
    return operations.repeat_each(build, node.x, node.dim(), whole_number("repeats", count))


# Numbering.


@HANDLERS.handles("view", "reshape", "_unsafe_view", "view_copy", "reshape_as", "view_as")
def _reshape(node: Node, build: Builder) -> Made:
    if node.overload == "dtype":
        raise UnspelledError("it reads its elements as another type")
    wanted = shape_of(node.tensor("other")) if node.op.endswith("_as") else node.sizes(
        "shape" if "shape" in node.arguments else "size"
    )  # fmt: skip
    return reshaped(node, build, wanted)


def reshaped(node: Node, build: Builder, wanted: Shape) -> Value:
    """Return the first argument in another shape, of which -1 is worked out."""
    return operations.reshaped(build, node.x, completed(wanted, node.shape, node.name), resized=node.resized)


@HANDLERS.handles("flatten")
def _flatten(node: Node, build: Builder) -> Made:
    first, last = node.dim("start_dim", 0), node.dim("end_dim", -1)
    shape = node.shape
    if first > last:
        raise ValueError(f"dimension {first} lies after {last}")
    return reshaped(node, build, (*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]))


@HANDLERS.handles("unflatten")
def _unflatten(node: Node, build: Builder) -> Made:
    d = node.dim()
    inner = completed(node.sizes("sizes"), (node.shape[d],), node.name)
    return reshaped(node, build, (*node.shape[:d], *inner, *node.shape[d + 1 :]))


@HANDLERS.handles("squeeze", "squeeze_copy")
def _squeeze(node: Node, build: Builder) -> Made:
    dims = tuple(d for d in node.dims() if d < node.rank and node.shape[d] == 1)
    return build(program.Squeeze(dims=dims), node.x)


@HANDLERS.handles("unsqueeze", "unsqueeze_copy")
def _unsqueeze(node: Node, build: Builder) -> Made:
    return build(program.Unsqueeze(dims=(node.dim(rank=node.rank + 1),)), node.x)


@HANDLERS.handles("permute", "permute_copy")
def _permute(node: Node, build: Builder) -> Made:
    order = tuple(_dim(whole_number("dims", d), node.rank) for d in node.sizes("dims"))
    return build(program.Transpose(permutation=order), node.x)


@HANDLERS.handles("transpose", "transpose_copy", "swapaxes", "swapdims", "t", "numpy_T", "adjoint", "mT")
def _transpose(node: Node, build: Builder) -> Made:
    rank = node.rank
    names = [n for n in ("dim0", "dim1", "axis0", "axis1") if n in node.arguments]
    if node.op == "numpy_T":
        return operations.permuted(build, node.x, range(rank)[::-1])
    a, b = (node.dim(n) for n in names) if len(names) == 2 else (max(rank - 2, 0), max(rank - 1, 0))
    return operations.permuted(build, node.x, operations.swapped(rank, a, b))


@HANDLERS.handles("movedim", "moveaxis")
def _movedim(node: Node, build: Builder) -> Made:
    ends = [[_dim(whole_number(n, d), node.rank) for d in node.sizes(n)] for n in ("source", "destination")]
    return operations.permuted(build, node.x, operations.moved(node.rank, *ends))


# Constants, and sizes.


@HANDLERS.handles("zeros", "ones", "full", "empty", "rand", "randn", "randint")
def _created(node: Node, build: Builder) -> Made:
    return _filled(node, build, node.sizes("size"))


def _filled(node: Node, build: Builder, shape: Shape) -> Value:
    """Return a new tensor, with what it holds where that is one small integer."""
    kind = node.op.removesuffix("_like").removeprefix("new_")
    value = {"zeros": 0, "ones": 1, "full": node.get("fill_value")}.get(kind)
    count = product(shape)
    small = isinstance(count, int) and 0 < count <= MAX_ELEMENTS
    if isinstance(value, bool) or not isinstance(value, int) or not small:
        known = isinstance(value, (bool, int, float)) and all(isinstance(size, int) for size in shape)
        # One number stands for all.
        fill = partial(np.broadcast_to, np.asarray(value), shape)
        return build.weight(shape, node.name, fill if known else None)
    return build(program.Expand(shape=shape), build.constant(value), part="filled")


@HANDLERS.handles(
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "fill", "zero", "randint_like"
)
def _created_like(node: Node, build: Builder) -> Made:
    return build.weight(node.x.shape, node.name) if node.x.shape is None else _filled(node, build, node.x.shape)


@HANDLERS.handles("new_zeros", "new_ones", "new_full", "new_empty")
def _created_new(node: Node, build: Builder) -> Made:
    return _filled(node, build, node.sizes("size"))


@HANDLERS.handles("eye", "hann_window", "hamming_window", "linspace", "scalar_tensor")
def _created_otherwise(node: Node, build: Builder) -> Made:
    if node.op == "scalar_tensor":
        return build.weight((), node.name)
    size = node.size(next((n for n in ("n", "window_length", "steps") if n in node.arguments), "n"))
    if node.op == "eye":
        columns = node.size("m", size)
        small = isinstance(size, int) and isinstance(columns, int) and size * columns <= MAX_ELEMENTS
        return build.weight((size, columns), node.name, partial(np.eye, size, columns) if small else None)
    if node.op == "hann_window" and isinstance(size, int) and 1 < size <= MAX_ELEMENTS:
        turns = size if node.get("periodic", True) else size - 1
        return build.weight((size,), node.name, lambda: np.arange(size) % turns != 0, own=False)
    return build.weight((size,), node.name)


@HANDLERS.handles("arange")
def _arange(node: Node, build: Builder) -> Made:
    start, stop, step = node.get("start", 0), node.get("end"), node.get("step", 1)
    if all(isinstance(number, int) for number in (start, stop, step)) and step:
        count = max(ceil(Fraction(stop - start, step)), 0)
        if count <= MAX_ELEMENTS:
            return build.constant([start + i * step for i in range(count)], name=node.name)
        return build.weight((count,), node.name)
    if (start, step) == (0, 1) and isinstance(stop, Expression):
        return build.weight((stop,), node.name)
    if any(isinstance(number, Value) for number in (start, stop, step)):
        raise UnspelledError("its length depends on what the network computes")
    return build.weight((unknown(f"{node.name}.length"),), node.name)


@HANDLERS.handles("sym_size")
def _sym_size(node: Node, build: Builder) -> Made:
    return node.shape[node.dim()]


@HANDLERS.handles("sym_numel", "numel")
def _sym_numel(node: Node, build: Builder) -> Made:
    return product(node.shape)


def _half(a: Any, b: Any) -> Any:
    """Return a quotient, a number of its own; of an unknown size only what stays whole is followed."""
    return Fraction(a, b) if isinstance(a, int) and isinstance(b, int) else a / b


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    def choose(*numbers: Any) -> Any:
        if any(isinstance(number, Expression) for number in numbers):
            raise UnspelledError("which size it is is not known")
        return function(*numbers)

    return choose


SIZES: dict[str, Callable[..., Any]] = {
    "_operator::add": lambda a, b: a + b, "_operator::sub": lambda a, b: a - b, "_operator::mul": lambda a, b: a * b,
    "_operator::floordiv": lambda a, b: a // b, "_operator::truediv": _half, "_operator::neg": lambda a: -a,
    "_operator::mod": lambda a, b: a - a // b * b, "_operator::pow": _chosen(lambda a, b: a ** min(max(b, 0), 64)),
    "math::ceil": ceil, "math::floor": floor, "math::trunc": floor, "builtins::round": _chosen(round),
    "torch::sym_max": _chosen(max), "torch::sym_min": _chosen(min), "torch::sym_int": floor,
    "torch::sym_float": lambda a: a,
}  # fmt: skip


@HANDLERS.handles(*SIZES)
def _computed_size(node: Node, build: Builder) -> Made:
    numbers = list(node.arguments.values())
    if any(isinstance(number, Value) for number in numbers):
        raise UnspelledError("it computes with what the network computes")
    try:
        size: Dim = SIZES[node.op](*numbers)
    except UnspelledError:
        return unknown(node.name)
    return size


# What reads all of its input, or is not followed, and why.


@HANDLERS.handles("item", "_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "torchvision::nms")
def _whole(node: Node, build: Builder) -> Made:
    return build(program.Whole(), *node.tensors())


@HANDLERS.handles("torchvision::roi_align", "torchvision::roi_pool", "torchvision::ps_roi_align")
def _roi(node: Node, build: Builder) -> Made:
    x, boxes = (shape_of(value) for value in node.tensors()[:2])
    shape = (boxes[0], x[1], node.size("pooled_height"), node.size("pooled_width"))
    return build(program.Whole(shape=None if node.op.endswith("ps_roi_align") else shape), *node.tensors())


NOT_FOLLOWED = {
    "as_strided": "it reads memory, not dimensions",
}

HANDLERS.refuses(NOT_FOLLOWED)
