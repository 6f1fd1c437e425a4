"""ncnn's layers, spelt with the primitives of the tensor program.

One handler per layer or family, under its name in the parameter file. What an activation fused into a layer does to an
element is not told: it reads what the layer reads.

References
----------
Tencent/ncnn, ``docs/developer-guide/operators.md``: the numbers of the parameters of each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.ncnn.file import Layer
from rfgraph.importers.ncnn.nodes import ABSENT, HANDLERS, SAME_LOWER, SAME_UPPER, Made, Node
from rfgraph.importers.program import NOTHING, Builder, Dim, Shape, Value, completed, product
from rfgraph.importers.spelling import UnspelledError, moving, operations, products, vocabulary
from rfgraph.importers.spelling.arguments import axes_of, axis_of, shape_of, whole_number
from rfgraph.importers.spelling.attention import summed, weights
from rfgraph.importers.spelling.operations import pointwise
from rfgraph.importers.spelling.patches import added_up, columns

# Functions of one element, and of several blobs.

UNARY = vocabulary.names("ncnn", vocabulary.UNARY)
#: Functions by their numbers, of ``UnaryOp``, ``BinaryOp`` and ``Eltwise``.
UNARY_OPS = (
    "abs", "neg", "floor", "ceil", "square", "sqrt", "rsqrt", "exp", "log", "sin", "cos", "tan", "asin", "acos",
    "atan", "reciprocal", "tanh", "log", "round", "trunc",
)  # fmt: skip
BINARY_OPS = ("add", "sub", "mul", "div", "max", "min", "pow", "sub", "div", "pow", "atan2", "atan2")
ELTWISE = ("mul", "add", "max")


@HANDLERS.handles(*(op for op in UNARY if op != "Split"))
def _unary(node: Node, build: Builder) -> Made:
    if len(node.inputs) > 1:  # what it scales by, or adds, is a blob
        raise UnspelledError("the network computes what it scales by")
    return build(program.Pointwise(function=UNARY[node.op]), node.x)


def _numbered(node: Node, functions: Sequence[str], default: int = 0) -> str:
    number = node.integer_of(0, default)
    if not 0 <= number < len(functions):
        raise UnspelledError(f"its op_type {number} is not known")
    return functions[number]


@HANDLERS.handles("BinaryOp", "Eltwise")
def _several(node: Node, build: Builder) -> Made:
    function = _numbered(node, BINARY_OPS if node.op == "BinaryOp" else ELTWISE)
    values = node.tensors()
    most = max(len(shape_of(value)) for value in values)
    wide = [_widened(build, value, values, most, str(k)) for k, value in enumerate(values)]
    return build(program.Pointwise(function=function), *wide)


def _widened(build: Builder, value: Value, others: Sequence[Value], rank: int, part: str) -> Value:
    """Return a blob with as many dimensions as the others: a row may stand for the channels, or for the columns."""
    shape = shape_of(value)
    missing = rank - len(shape)
    if not missing or all(size == 1 for size in shape):
        return value
    outer = next(shape_of(other)[0] for other in others if len(shape_of(other)) == rank)
    inner = next(shape_of(other)[-1] for other in others if len(shape_of(other)) == rank)
    if len(shape) > 1 or shape[0] not in (outer, inner) or not isinstance(shape[0], int):
        raise UnspelledError("which dimensions of its blobs lie on each other depends on their sizes")
    if shape[0] == outer:
        return build(program.Unsqueeze(dims=tuple(range(1, rank))), value, part=f"wide/{part}")
    return value if isinstance(outer, int) else _ambiguous()


def _ambiguous() -> Value:
    raise UnspelledError("which dimensions of its blobs lie on each other depends on their sizes; give the input size")


# Windows.


@dataclass(frozen=True)
class Along:
    """The numbers of the parameters of a window along one axis."""

    kernel: int
    dilation: int
    stride: int
    before: int
    after: int
    extra: int = 0
    wanted: int = 0


W = Along(1, 2, 3, 4, 15, 18, 20)
H = Along(11, 12, 13, 14, 16, 19, 21)
D = Along(21, 22, 23, 24, 17, 20, 27)
#: Of volumes, the sizes that are wanted have other numbers.
WINDOWS = {1: (W,), 2: (H, W), 3: (D, Along(11, 12, 13, 14, 16, 19, 26), Along(1, 2, 3, 4, 15, 18, 25))}
#: Of pools: kernel, stride, padding before and after, and the size of an adaptive one.
POOLED = {
    1: (Along(1, 0, 2, 3, 14, wanted=8),),
    2: (Along(11, 0, 12, 13, 15, wanted=18), Along(1, 0, 2, 3, 14, wanted=8)),
    3: (Along(21, 0, 22, 23, 16, wanted=28), Along(11, 0, 12, 13, 15, wanted=18), Along(1, 0, 2, 3, 14, wanted=8)),
}


def _axes(op: str) -> int:
    return 1 if op.endswith("1D") else 3 if op.endswith("3D") else 2


def _per_axis(node: Node, alongs: Sequence[Along], field: str, default: int | None) -> tuple[int, ...]:
    """Return one number per axis; what an axis leaves out is that of x, and of x it is the default."""
    last = node.integer_of(getattr(alongs[-1], field), 0 if default is None else default)
    if default is None and not last:
        raise ValueError(f"its {field} is missing")
    return (*(node.integer_of(getattr(along, field), last) for along in alongs[:-1]), last)


def _padding(node: Node, alongs: Sequence[Along]) -> program.Paddings:
    before = _per_axis(node, alongs, "before", 0)
    if SAME_UPPER in before or SAME_LOWER in before:
        if len(set(before)) > 1:
            raise UnspelledError("it pads one axis as SAME does, and another otherwise")
        return "same_upper" if before[0] == SAME_UPPER else "same_lower"
    return tuple((p, node.integer_of(along.after, p)) for p, along in zip(before, alongs, strict=True))


CONVOLUTIONS = (
    "Convolution", "Convolution1D", "Convolution3D", "ConvolutionDepthWise", "ConvolutionDepthWise1D",
    "ConvolutionDepthWise3D",
)  # fmt: skip
DECONVOLUTIONS = tuple(f"De{name[0].lower()}{name[1:]}" for name in CONVOLUTIONS)


def _window(node: Node, axes: int) -> dict[str, Any]:
    alongs = WINDOWS[axes]
    return {
        "dims": tuple(range(1, 1 + axes)),
        "kernel": _per_axis(node, alongs, "kernel", None),
        "stride": _per_axis(node, alongs, "stride", 1),
        "dilation": _per_axis(node, alongs, "dilation", 1),
    }


def _same_rank(node: Node, axes: int) -> None:
    if node.rank() != axes + 1:
        raise ValueError(f"its blob has {node.rank()} dimensions, not {axes + 1}")


@HANDLERS.handles(*CONVOLUTIONS)
def _conv(node: Node, build: Builder) -> Made:
    axes = _axes(node.op)
    node.plain(19)
    _same_rank(node, axes)
    inside, channels = inner_channels(node), node.shape()[0]
    if isinstance(channels, int) and inside is not None and inside != channels:
        raise ValueError(f"its weights are for {inside} channels, and its blob has {channels}")
    primitive = program.Slide(
        function="conv", **_window(node, axes), padding=_padding(node, WINDOWS[axes]), channel=0,
        channels=node.integer_of(0), groups=node.integer_of(7, 1) if "DepthWise" in node.op else 1,
    )  # fmt: skip
    return build(primitive, node.x)


@HANDLERS.handles(*DECONVOLUTIONS)
def _deconv(node: Node, build: Builder) -> Made:
    axes = _axes(node.op)
    node.plain(28)
    _same_rank(node, axes)
    alongs, window = WINDOWS[axes], _window(node, axes)
    extra = tuple(node.integer_of(along.extra, 0) for along in alongs)
    padding = _padding(node, alongs)
    wanted = [node.integer_of(along.wanted, 0) for along in alongs]
    if isinstance(padding, str) or any(wanted):
        if not isinstance(padding, str) or not all(wanted):
            raise UnspelledError("the size that it makes is stated, and how it crops is not")
        pairs = []
        for i, size in enumerate(node.shape()[1:]):
            grown = (size - 1) * window["stride"][i] + (window["kernel"][i] - 1) * window["dilation"][i] + 1 + extra[i]
            total = whole_number("crop", grown - wanted[i])
            less = max(total, 0) // 2
            first = less if padding == "same_upper" else max(total, 0) - less
            pairs.append((first, total - first))
        padding = tuple(pairs)
    primitive = program.SlideTransposed(
        **window, padding=padding, output_padding=extra, channel=0, channels=node.integer_of(0),
        groups=node.integer_of(7, 1) if "DepthWise" in node.op else 1,
    )  # fmt: skip
    return build(primitive, node.x)


def inner_channels(layer: Layer | Node) -> int | None:
    """Return how many channels a convolution reads, by the number of its weights; ``None`` if it does not say."""
    if layer.op not in (*CONVOLUTIONS, *DECONVOLUTIONS):
        return None
    get = layer.parameters.get
    axes = _axes(layer.op)
    kernel = [get(along.kernel, get(1)) for along in WINDOWS[axes]]
    numbers = [get(6), get(0), get(7, 1) if "DepthWise" in layer.op else 1, *kernel]
    if not all(isinstance(number, int) and 0 < number < 2**40 for number in numbers):
        return None
    size, channels, groups, *kernel = numbers
    inside, rest = divmod(size * groups, channels * product(kernel))
    return int(inside) if not rest else None


def rank_of(layer: Layer) -> int:
    """Return how many dimensions the first blob of a window has, 0 for other layers."""
    if layer.op in (*CONVOLUTIONS, *DECONVOLUTIONS, "Pooling", "Pooling1D", "Pooling3D"):
        return _axes(layer.op) + 1
    return 3 if layer.op in ("PixelShuffle", "Reorg", "ShuffleChannel", "DeformableConv2D") else 0


@HANDLERS.handles("Pooling", "Pooling1D", "Pooling3D")
def _pool(node: Node, build: Builder) -> Made:
    axes = _axes(node.op)
    _same_rank(node, axes)
    dims = tuple(range(1, 1 + axes))
    average = node.integer_of(0) == 1
    if node.integer_of(4):  # the whole map, of which the channels stay
        return build(program.Reduce(function="mean" if average else "max", dims=dims, keepdims=False), node.x)
    alongs, function = POOLED[axes], "avg_pool" if average else "max_pool"
    if node.integer_of(7):
        sizes = _per_axis(node, alongs, "wanted", 0)
        wanted = [size if n == ABSENT else n for n, size in zip(sizes, node.shape()[1:], strict=True)]
        kept = tuple(d for d, n, size in zip(dims, wanted, node.shape()[1:], strict=True) if n != size)
        numbers = [whole_number("output size", wanted[d - 1]) for d in kept]
        return operations.adaptive_pool(build, node.x, function, kept, numbers)
    kernel = _per_axis(node, alongs, "kernel", None)
    stride = _per_axis(node, alongs, "stride", 1)
    mode = node.integer_of(5)
    if mode not in (0, 1, 2, 3):
        raise ValueError(f"its pad_mode {mode} is none of 0 to 3")
    padding: program.Paddings = "same_upper" if mode == 2 else "same_lower"
    ceil_mode = False
    if mode < 2:
        before = _per_axis(node, alongs, "before", 0)
        padding = tuple((p, node.integer_of(along.after, p)) for p, along in zip(before, alongs, strict=True))
        ceil_mode = mode == 0
        if ceil_mode and any(s > k - after for s, k, (_, after) in zip(stride, kernel, padding, strict=True)):
            # A last window that begins in the padding counts here; in PyTorch it does not, and in the primitive.
            padding, ceil_mode = operations.padded_up(node.shape()[1:], kernel, stride, padding), False
    primitive = program.Slide(
        function=function, dims=dims, kernel=kernel, stride=stride, padding=padding, dilation=(1,) * axes,
        ceil_mode=ceil_mode,
    )  # fmt: skip
    return build(primitive, node.x)


# Resolutions.


@HANDLERS.handles("Interp")
def _interp(node: Node, build: Builder) -> Made:
    node.plain(5, 9)
    shape = node.shape()
    if len(shape) not in (2, 3):
        raise UnspelledError("it lays each number out over a map")
    mode = {1: "nearest", 2: "linear", 3: "cubic"}.get(node.integer_of(0))
    if mode is None:
        raise ValueError(f"its resize_type {node.integer_of(0)} is none of 1 to 3")
    dims = tuple(range(1, len(shape)))
    sizes: Sequence[Dim] = [node.integer_of(number, 0) for number in (3, 4)][-len(dims) :]
    scales = [node.fraction_of(number, 1) for number in (1, 2)][-len(dims) :]
    if len(node.inputs) > 1:
        sizes = [*node.shape(1)[-len(dims) :]]
    by_size = any(size != 0 for size in sizes)
    if by_size and any(size == 0 for size in sizes):
        raise UnspelledError("one axis is resized to a size, and another by a scale")
    if not by_size and any(not operations.stays_whole(shape[d], scale) for d, scale in zip(dims, scales, strict=True)):
        by_size, sizes = True, [_cut(shape[d], scale) for d, scale in zip(dims, scales, strict=True)]
    align = bool(node.integer_of(6)) and mode != "nearest"
    kept = [d for d in dims if (sizes[d - 1] != shape[d] if by_size else scales[d - 1] != 1)]
    if not kept:
        return build(program.Pointwise(function="identity"), node.x)
    primitive = program.Resize(
        dims=tuple(kept), sizes=tuple(sizes[d - 1] for d in kept) if by_size else None,
        scales=None if by_size else tuple(scales[d - 1] for d in kept), mode=mode,
        coordinates="asymmetric" if mode == "nearest" else "align_corners" if align else "half_pixel",
        nearest_mode="floor",
    )  # fmt: skip
    return build(primitive, node.x)


def _cut(size: Dim, scale: Fraction) -> Dim:
    if not isinstance(size, int):
        raise UnspelledError("its scale makes a whole size at some input sizes only; give one")
    raise UnspelledError(f"its scale makes {size} to {float(size * scale):g}, which is cut to {floor(size * scale)}")


@HANDLERS.handles("PixelShuffle", "Reorg")
def _exchange(node: Node, build: Builder) -> Made:
    _same_rank(node, 2)
    kind = program.DepthToSpace if node.op == "PixelShuffle" else program.SpaceToDepth
    return build(kind(channel=0, dims=(1, 2), blocks=(node.integer_of(0, 1),) * 2), node.x)


@HANDLERS.handles("ShuffleChannel")
def _shuffle(node: Node, build: Builder) -> Made:
    shape, groups = node.shape(), node.integer_of(0, 1)
    if groups < 1 or not isinstance(shape[0], int) or shape[0] % groups:
        raise UnspelledError(f"its {shape[0]} channels are not split into {groups} groups")
    return moving.shuffled(build, node.x, 0, shape[0] // groups if node.integer_of(1) else groups)


# Norms, reductions and mixtures.


@HANDLERS.handles("LayerNorm", "RMSNorm")
def _layer_norm(node: Node, build: Builder) -> Made:
    shape, size = node.shape(), node.integer_of(0)
    last = len(shape) - 1
    if shape[-1] == size or last == 0:
        return build(program.Mix(function="layer_norm", dims=(last,)), node.x)
    if product(shape[-2:]) == size:
        return build(program.Mix(function="layer_norm", dims=(last - 1, last)), node.x)
    raise UnspelledError(f"over which dimensions its {size} numbers lie depends on the input size; give one")


@HANDLERS.handles("InstanceNorm", "GroupNorm")
def _instance_norm(node: Node, build: Builder) -> Made:
    function = "instance_norm" if node.op == "InstanceNorm" else "group_norm"
    return build(program.Mix(function=function, dims=tuple(range(1, node.rank())) or (0,)), node.x)


@HANDLERS.handles("MVN", "Normalize")
def _mvn(node: Node, build: Builder) -> Made:
    rank = node.rank()
    if node.op == "Normalize" and not node.integer_of(0):  # of each position by itself, over its channels
        return build(program.Mix(function="layer_norm", dims=(0,)), node.x)
    return build(program.Mix(function="instance_norm", dims=tuple(range(1, rank)) or (0,)), node.x)


@HANDLERS.handles("LRN")
def _lrn(node: Node, build: Builder) -> Made:
    if node.integer_of(0):
        raise UnspelledError("it normalises by neighbours in space")
    return build(program.Pointwise(function="local_response_norm"), node.x)


REDUCTIONS = ("sum", "l1", "sum_square", "mean", "max", "min", "prod", "l1", "l2", "log_sum", "log_sum_exp")


@HANDLERS.handles("Reduction")
def _reduce(node: Node, build: Builder) -> Made:
    axes = node.list_of(3)
    rank = node.rank()
    if node.integer_of(1, 1) or axes is None:
        dims = tuple(range(rank))
    else:
        if not node.integer_of(5):
            raise UnspelledError("its axes are counted as in old files, with a batch")
        dims = axes_of(axes, rank)
    keepdims = bool(node.integer_of(4))
    primitive = program.Reduce(function=_numbered(node, REDUCTIONS), dims=dims, keepdims=keepdims)
    output = build(primitive, node.x, part="all" if len(dims) == rank and not keepdims else "")
    if len(dims) == rank and not keepdims:  # a blob has one dimension at least
        return build(program.Unsqueeze(dims=(0,)), output)
    return output


# Products and recurrences.


@HANDLERS.handles("InnerProduct")
def _inner_product(node: Node, build: Builder) -> Made:
    x, shape, units = node.x, node.shape(), node.integer_of(0)
    if units < 1:
        raise ValueError(f"its num_output {units} is not positive")
    inside = node.integer_of(2) // units
    if len(shape) == 2 and not isinstance(shape[1], int):
        raise UnspelledError("whether it reads each row or all of them depends on the input size; give one")
    if len(shape) == 2 and shape[1] == inside:
        rows = program.Contract(operands=(("b", "k"), ("k", "j")), output=("b", "j"))
        return build(rows, x, build.weight((inside, units)))
    total = product(shape)
    if isinstance(total, int) and total != inside:
        raise UnspelledError(f"its weights are for {inside} numbers, and its blob has {total}")
    if len(shape) > 1:
        x = build(program.Reshape(shape=(total,)), x, part="flat")
    row = program.Contract(operands=(("k",), ("k", "j")), output=("j",))
    return build(row, x, build.weight((total, units)))


@HANDLERS.handles("Gemm")
def _gemm(node: Node, build: Builder) -> Made:
    constant_a, constant_b = node.integer_of(4), node.integer_of(5)
    n, k, m = node.integer_of(8), node.integer_of(9), node.integer_of(7)
    values = node.tensors()
    places = iter(values)
    a = build.weight((m, k)) if constant_a else next(places, None)
    b = build.weight((n, k) if node.integer_of(3) else (k, n)) if constant_b else next(places, None)
    if a is None or b is None or len(shape_of(a)) != 2 or len(shape_of(b)) != 2:
        raise UnspelledError("its factors are not of two dimensions")
    added = next(places, None)
    if node.integer_of(11):
        raise UnspelledError("it puts a dimension into what it makes")
    rows = ("k", "i") if node.integer_of(2) and not constant_a else ("i", "k")
    columns = ("j", "k") if node.integer_of(3) else ("k", "j")
    primitive = program.Contract(operands=(rows, columns), output=("j", "i") if node.integer_of(14) else ("i", "j"))
    matrix = build(primitive, a, b, part="" if added is None else "product")
    return matrix if added is None else build(program.Pointwise(function="add"), matrix, added)


@HANDLERS.handles("LSTM", "GRU", "RNN")
def _recurrent(node: Node, build: Builder) -> Made:
    if len(node.inputs) > 1 or len(node.outputs) > 1:
        raise UnspelledError("it begins with, or hands on, a state")
    if node.rank() != 2:
        raise ValueError(f"its blob has {node.rank()} dimensions, not 2")
    way, units = node.integer_of(2), node.integer_of(0)
    if way not in (0, 1, 2):
        raise ValueError(f"its direction {way} is none of 0 to 2")
    directions: tuple[program.Direction, ...] = ("forward", "backward", "both")
    mixed = build(program.Mix(function="recurrent", dims=(0,), direction=directions[way]), node.x)
    cell = program.Contract(operands=(("t", "c"), ("c", "h")), output=("t", "h"))
    return build(cell, mixed, build.weight((node.shape()[1], units * (2 if way == 2 else 1))), part="cell", macs=None)


@HANDLERS.handles("Unfold")
def _unfold(node: Node, build: Builder) -> Made:
    padding = _padding(node, WINDOWS[2])
    if isinstance(padding, str):
        raise UnspelledError("it pads as SAME does")
    _same_rank(node, 2)
    return columns(build, node.x, 0, padding=padding, **_steps(node))


@HANDLERS.handles("Fold")
def _fold(node: Node, build: Builder) -> Made:
    padding = _padding(node, WINDOWS[2])
    size = _per_axis(node, WINDOWS[2], "wanted", 0)
    if isinstance(padding, str) or node.rank() != 2:
        raise UnspelledError("it pads as SAME does, or its blob is no matrix")
    return added_up(build, node.x, size, padding=padding, **_steps(node))


def _steps(node: Node) -> dict[str, Any]:
    return {name: number for name, number in _window(node, 2).items() if name != "dims"}


@HANDLERS.handles("MultiHeadAttention")
def _multi_head_attention(node: Node, build: Builder) -> Made:
    node.plain(7)
    blobs = node.tensors()
    mask = blobs.pop() if node.integer_of(5) else None
    if not 0 < len(blobs) < 4 or any(len(shape_of(blob)) != 2 for blob in blobs):
        raise UnspelledError("its blobs are not matrices of queries, keys and values")
    if mask is not None and not mask.constant:
        raise UnspelledError("its mask depends on what the network computes")
    query, key, value = blobs[0], blobs[min(1, len(blobs) - 1)], blobs[-1]
    units = node.integer_of(0)
    width, rest = divmod(node.integer_of(2), max(units, 1))
    if units < 1 or rest:
        raise ValueError(f"its {node.integer_of(2)} weights are no matrix of {units} columns")

    def projected(x: Value, to: int, part: str) -> Value:
        dense = program.Contract(operands=(("t", "c"), ("c", "h")), output=("t", "h"))
        return build(dense, x, build.weight((shape_of(x)[1], to)), part=part, macs=None)

    weighed = weights(build, projected(query, units, "query"), projected(key, units, "key"), "h", "g", mask=mask)
    sums = summed(build, weighed, projected(value, units, "value"), "h", "g", part="sums")
    return projected(sums, width, "")


@HANDLERS.handles("SDPA")
def _attention(node: Node, build: Builder) -> Made:
    node.plain(7)
    if any(node.rank(k) != 3 for k in range(3)) or any(not value.constant for value in node.tensors(3)):
        raise UnspelledError("its mask depends on what the network computes, or its blobs are not of three dimensions")
    mask = node.input(3) if len(node.inputs) > 3 else None
    weighed = weights(build, node.x, node.input(1), "hi", "gj", mask=mask)
    return summed(build, weighed, node.input(2), "hi", "gj")


# Elements moved, dropped, added.


@HANDLERS.handles("Slice")
def _slice(node: Node, build: Builder) -> Made:
    sizes, indices, d = node.list_of(0), node.list_of(2), axis_of(node.integer_of(1), node.rank())
    pieces: list[Dim] = []
    rest = node.shape()[d]
    if indices is not None and len(indices) == len(node.outputs) - 1 and ABSENT not in indices:
        edges = [0, *(rest + index if index < 0 else index for index in indices), rest]
        return moving.split(build, node.x, d, [b - a for a, b in pairwise(edges)], node.names)
    if indices is not None or sizes is None or len(sizes) != len(node.outputs):
        raise UnspelledError("it is cut into more pieces than it states")
    for k, size in enumerate(sizes):
        each: Dim = rest // (len(sizes) - k) if size == ABSENT else size  # the rest is shared by those that are left
        pieces.append(each)
        rest = rest - each
    return moving.split(build, node.x, d, pieces, node.names)


@HANDLERS.handles("Flip")
def _flip(node: Node, build: Builder) -> Made:
    axes = node.list_of(0)
    if not axes:
        raise ValueError("which axes it turns round is left out")
    return moving.flipped(build, node.x, axes_of(axes, node.rank()))


@HANDLERS.handles("Crop")
def _crop(node: Node, build: Builder) -> Made:
    node.plain(19, 20, 21)
    if len(node.inputs) > 1:
        raise UnspelledError("another blob says what it cuts out")
    shape, rank = node.shape(), node.rank()
    starts, stops, axes = (node.list_of(number) for number in (9, 10, 11))
    if starts is not None and stops is not None:
        named = [axis_of(axis, rank) for axis in axes] if axes is not None else list(range(len(starts)))
        if not len(starts) == len(stops) == len(named):
            raise ValueError(f"its {len(starts)} starts, {len(stops)} ends and {len(named)} axes differ in number")
        ends = [None if stop in (ABSENT, 2**31 - 1) else stop for stop in stops]
        firsts = [0 if start == ABSENT else start for start in starts]
        cut = program.Slice(dims=tuple(named), starts=tuple(firsts), stops=tuple(ends), steps=(1,) * len(named))
        return build(cut, node.x)
    #: Offset, size and what is left out behind, of c, d, h and w.
    numbers = [(2, 5, 8), (13, 14, 15), (1, 4, 7), (0, 3, 6)]
    numbers = [numbers[0], *numbers[5 - rank :]] if rank > 2 else numbers[4 - rank :]
    amounts: list[tuple[Dim, Dim]] = []
    for size, (offset, wanted, behind) in zip(shape, numbers, strict=True):
        first, length = node.integer_of(offset), node.integer_of(wanted, 0)
        if length in (0, ABSENT):
            amounts.append((-first, -node.integer_of(behind, 0)))
        else:
            amounts.append((-first, first + length - size))
    return build(program.Pad(amounts=tuple(amounts)), node.x)


@HANDLERS.handles("Padding")
def _pad(node: Node, build: Builder) -> Made:
    top, bottom, left, right = (node.integer_of(number) for number in range(4))
    front, behind = node.integer_of(7), node.integer_of(8)
    if len(node.inputs) > 1 or any(amount < 0 for amount in (top, bottom, left, right, front, behind)):
        raise UnspelledError("how much it pads is said as the model runs")
    modes = ("constant", "edge", "reflect")
    if not 0 <= node.integer_of(4) < len(modes):
        raise ValueError(f"its type {node.integer_of(4)} is none of 0 to 2")
    rank = node.rank()
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * rank
    amounts[-1] = (left, right)
    for d, pair in ((rank - 2, (top, bottom)), (rank - 3, (front, behind))):
        if d >= 0:
            amounts[d] = pair
        elif pair != (0, 0):
            raise ValueError(f"it pads more than the {rank} dimensions of its blob")
    return build(program.Pad(amounts=tuple(amounts), mode=modes[node.integer_of(4)]), node.x)


@HANDLERS.handles("Tile")
def _tile(node: Node, build: Builder) -> Made:
    repeats = node.list_of(2)
    rank = node.rank()
    if repeats is None:
        counts = [1] * rank
        counts[axis_of(node.integer_of(0), rank)] = node.integer_of(1, 1)
        return moving.tile(build, node.x, counts)
    if len(repeats) > rank:
        raise UnspelledError("it makes its blob of more dimensions")
    return moving.tile_as_numpy(build, node.x, repeats)


# Numbering.


def _named(node: Node, word: str) -> Dim:
    """Return a size of an expression: a number, or ``0w``, the width of blob 0."""
    if word.lstrip("-").isdecimal() and len(word) < 12:
        return int(word)
    blob, letter = word[:-1], word[-1:]
    if blob.isdecimal() and len(blob) < 4 and int(blob) < len(node.inputs):
        shape = node.shape(int(blob))
        letters = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}.get(len(shape), "")
        if letter and letter in letters:
            return shape[letters.index(letter)]
    raise UnspelledError(f"its size {word[:40]!r} is an expression that is not followed")


@HANDLERS.handles("Reshape")
def _reshape(node: Node, build: Builder) -> Made:
    node.plain(3)
    shape, text = node.shape(), node.parameters.get(6)
    if isinstance(text, str):
        wanted = [_named(node, word) for word in text.split(",")][::-1]
        if not 0 < len(wanted) < 5:
            raise ValueError(f"its shape {text[:40]!r} has {len(wanted)} dimensions")
    else:
        if len(node.inputs) > 1:
            raise UnspelledError("another blob says its shape")
        own = dict(zip({1: "w", 2: "hw", 3: "chw", 4: "cdhw"}[len(shape)], shape, strict=True))
        given = [(letter, node.integer_of(n, ABSENT)) for letter, n in (("c", 2), ("d", 11), ("h", 1), ("w", 0))]
        wanted = []
        for letter, size in given:
            if size == ABSENT:
                continue
            wanted.append(own.get(letter, 1) if size == 0 else size)
    return build(program.Reshape(shape=completed(wanted, shape, node.name)), node.x)


#: What becomes of w, h, d and c, by the number of the order; of three dimensions without d, of two the first two.
ORDERS = (
    "WHDC", "HWDC", "WDHC", "DWHC", "HDWC", "DHWC", "WHCD", "HWCD", "WCHD", "CWHD", "HCWD", "CHWD", "WDCH", "DWCH",
    "WCDH", "CWDH", "DCWH", "CDWH", "HDCW", "DHCW", "HCDW", "CHDW", "DCHW", "CDHW",
)  # fmt: skip


@HANDLERS.handles("Permute")
def _permute(node: Node, build: Builder) -> Made:
    number, rank = node.integer_of(0), node.rank()
    if rank == 1:
        return build(program.Pointwise(function="identity"), node.x)
    orders = {2: ("WH", "HW"), 3: ("WHC", "HWC", "WCH", "CWH", "HCW", "CHW"), 4: ORDERS}[rank]
    if not 0 <= number < len(orders):
        raise ValueError(f"its order_type {number} is not known for {rank} dimensions")
    own = {2: "HW", 3: "CHW", 4: "CDHW"}[rank]
    return build(program.Transpose(permutation=tuple(own.index(letter) for letter in reversed(orders[number]))), node.x)


@HANDLERS.handles("Squeeze", "ExpandDims")
def _ones(node: Node, build: Builder) -> Made:
    rank, grows = node.rank(), node.op == "ExpandDims"
    axes = node.list_of(3)
    if axes is not None:
        dims = axes_of(axes, rank + len(axes) if grows else rank)
    else:
        letters = [letter for letter, n in (("w", 0), ("h", 1), ("d", 11), ("c", 2)) if node.integer_of(n)]
        if grows or rank not in (2, 3):
            raise UnspelledError("where it puts dimensions is said by their letters")
        own = "hw" if rank == 2 else "chw"
        dims = tuple(sorted(own.index(letter) for letter in letters if letter in own))
    if not grows and not all(isinstance(node.shape()[d], int) for d in dims):
        raise UnspelledError("whether its dimensions are of size 1 depends on the input size; give one")
    kept = tuple(d for d in dims if grows or node.shape()[d] == 1)
    if not kept or (len(kept) == rank and not grows):
        return build(program.Pointwise(function="identity"), node.x)
    return build(program.Unsqueeze(dims=kept) if grows else program.Squeeze(dims=kept), node.x)


# Constants.


def _sizes(node: Node, numbers: Sequence[int]) -> Shape:
    return tuple(size for number in numbers if (size := node.integer_of(number)))


@HANDLERS.handles("MemoryData")
def _memory(node: Node, build: Builder) -> Made:
    weight = build.weight(_sizes(node, (2, 11, 1, 0)), node.name)
    return build.learn(weight, node.name) if product(weight.shape or (1,)) != 1 else weight


# Ops that one expression spells.

HANDLERS.spells(
    {
        "Split": lambda node, build: [node.x] * len(node.outputs),
        "UnaryOp": lambda node, build: pointwise(build, _numbered(node, UNARY_OPS), node.x),
        "Softmax": lambda node, build: operations.mixed(build, "softmax", node.x, node.integer_of(0)),
        "CumulativeSum": lambda node, build: operations.cumulated(build, node.x, node.integer_of(0)),
        "GLU": lambda node, build: operations.gated(build, node.x, node.integer_of(0)),
        "MatMul": lambda node, build: products.product(build, node.x, node.input(1), (False, node.integer_of(0))),
        "Concat": lambda node, build: moving.concat(build, node.tensors(), node.integer_of(0)),
        "Flatten": lambda node, build: build(program.Reshape(shape=(product(node.shape()),)), node.x),
        "Embed": lambda node, build: build(
            program.Take(dim=0), build.weight((node.integer_of(1), node.integer_of(0))), node.x
        ),
    }
)

# What reads all of its input, or is not followed, and why.


@HANDLERS.handles("DetectionOutput", "PSROIPooling", "Proposal", "ROIAlign", "ROIPooling", "YoloDetectionOutput",
                  "Yolov3DetectionOutput", "NonMaxSuppression")  # fmt: skip
def _whole(node: Node, build: Builder) -> Made:
    return moving.read_all(build, node.tensors(), node.names)


NOT_FOLLOWED = HANDLERS.refuses({
    "it lays what is greatest out as a list": "ArgMax",
    "it writes into a part of another blob": "CopyTo",
    "its offsets say which positions it reads": "DeformableConv2D",
    "it lays a row out as a diagonal": "Diag",
    "its equation is stored as numbers": "Einsum",
    "its grid says which positions it reads": "GridSample",
    "it reads windows of a signal": "InverseSpectrogram Spectrogram",
    "it works on boxes": "PriorBox",
})  # fmt: skip


# What is learned.


def learned(node: Node) -> Value:
    """Return the weights of a layer, as one constant; statistics of a norm are none."""
    get = node.parameters.get
    counts = [value for value in SIZES.get(node.op, lambda get: [])(get) if value]
    known = all(isinstance(count, int) and count > 0 for count in counts)
    pairs = {(f"{node.name}:{k}", count if known else None) for k, count in enumerate(counts)}
    return Value(node.name, None, True, learned=NOTHING.union(pairs))


#: Layer -> the sizes of its weights, told from what its parameters say by their numbers; ``None`` is not known.
SIZES: dict[str, Callable[[Any], list[Any]]] = {
    **dict.fromkeys(
        (*CONVOLUTIONS, *DECONVOLUTIONS, "DeformableConv2D"), lambda get: [get(6), get(0) if get(5) else 0]
    ),
    "InnerProduct": lambda get: [get(2), get(0) if get(1) else 0],
    "Embed": lambda get: [get(3), get(0) if get(2) else 0],
    "Gemm": lambda get: _factors(get),
    "BatchNorm": lambda get: [get(0)] * 2,
    **dict.fromkeys(("LayerNorm", "InstanceNorm"), lambda get: [get(0)] * 2 if get(2, 1) else []),
    "RMSNorm": lambda get: [get(0)] if get(2, 1) else [],
    "GroupNorm": lambda get: [get(1)] * 2 if get(3, 1) else [],
    "Scale": lambda get: [get(0), get(0) if get(1) else 0] if get(0) != ABSENT else [],
    **dict.fromkeys(("Bias", "PReLU"), lambda get: [get(0)]),
    "Normalize": lambda get: [get(3)],
    "LSTM": lambda get: _matrices(get, 4, 4),
    "GRU": lambda get: _matrices(get, 3, 4),
    "RNN": lambda get: _matrices(get, 1, 1),
    "MultiHeadAttention": lambda get: [None],
}


def _factors(get: Any) -> list[Any]:
    """Return the sizes of the factors of a product that are stored with it, and of what is added."""
    bias = {0: 1, 1: get(7), 2: get(7), 4: get(8)}.get(get(10, 0)) if get(6) else 0
    a, b = (get(7, 0) * get(9, 0) if get(4) else 0), (get(8, 0) * get(9, 0) if get(5) else 0)
    return [a, b, (get(7, 0) * get(8, 0) if bias is None else bias)]


def _matrices(get: Any, gates: int, biases: int) -> list[Any]:
    """Return the sizes of what a recurrence of so many gates, and rows of biases, learns."""
    ways, units = (2 if get(2) == 2 else 1), get(0, 0)
    return [get(1, 0), gates * units * units * ways, biases * units * ways]
