"""TFLite's builtin operators, spelt with the primitives of the tensor program; this module does not need tflite.

One handler per operator or family of operators, under its name in the schema's ``BuiltinOperator``. A handler gets the
node and the builder, and returns the values of the node's outputs, as many as it follows. Images lie as [batch, y, x,
channels], weights of convolutions as [out, y, x, in]. A quantised operator reads what its float twin reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Dim, Expression, Shape, bounds, product
from rfgraph.importers.program.folding import MAX_ELEMENTS, MAX_FLOATS
from rfgraph.importers.program.primitives import Value
from rfgraph.importers.program.shapes import broadcast, completed, text
from rfgraph.importers.spelling import products, vocabulary
from rfgraph.importers.spelling.handlers import Handlers, UnspelledError
from rfgraph.importers.spelling.shared import arange, shape_of

Made: TypeAlias = "Value | Sequence[Value]"

#: A dimension is repeated, and a tensor split, into no more parts than this.
MAX_PARTS = 64


@dataclass(frozen=True)
class Output:
    """What the file says of a tensor that a node makes."""

    name: str
    shape: Shape | None
    kind: str  # "float", "integer", "bool", or another


@dataclass(frozen=True)
class Node:
    """One operator of a TFLite graph; its options under their names in the schema, such as ``StrideW``."""

    name: str
    op: str
    options: Mapping[str, Any]
    inputs: tuple[Value | None, ...]
    outputs: tuple[Output, ...]
    #: Whether the model is read for other sizes than it was made for: sizes that it states may be wrong then.
    resized: bool = False

    def optional(self, i: int) -> Value | None:
        """Return input ``i``, ``None`` if it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def input(self, i: int) -> Value:
        """Return input ``i``."""
        found = self.optional(i)
        if found is None:
            raise ValueError(f"input {i} is missing")
        return found

    @property
    def x(self) -> Value:
        """Its first input."""
        return self.input(0)

    def shape(self, i: int = 0) -> Shape:
        """Return the shape of input ``i``."""
        return shape_of(self.input(i))

    def rank(self, i: int = 0) -> int:
        """Return the number of dimensions of input ``i``."""
        return len(self.shape(i))

    def tensors(self) -> list[Value]:
        """Return the inputs that are given."""
        return [value for value in self.inputs if value is not None]

    def option(self, name: str) -> Any:
        """Return an option of its table."""
        if name not in self.options:
            raise ValueError(f"its options have no {name}")
        return self.options[name]

    def integer(self, name: str) -> int:
        """Return an option that is an integer."""
        return int(self.option(name))

    def numbers(self, i: int, what: str) -> list[Any]:
        """Return what constant input ``i`` holds, a list of exact numbers or of sizes."""
        value = self.input(i)
        if value.data is None:
            decides = "a constant that is not read" if value.constant else "what the network computes"
            raise UnspelledError(f"{decides} decides its {what}")
        if not value.data.integer:
            raise ValueError(f"its {what} holds numbers that are no integers")
        return list(value.data.elements.flat)

    def integers(self, i: int, what: str) -> list[int]:
        """Return what constant input ``i`` holds, a list of integers."""
        return [whole_number(number, what) for number in self.numbers(i, what)]

    def number(self, i: int, what: str) -> int:
        """Return the one integer that constant input ``i`` holds."""
        found = self.integers(i, what)
        if len(found) != 1:
            raise ValueError(f"its {what} is {found}, not one number")
        return found[0]


def whole_number(number: Any, what: str) -> int:
    """Return a number that has to be known when the model is read."""
    if isinstance(number, Expression):
        raise UnspelledError(f"the input size decides its {what}; give one")
    return int(number)


def dim_of(d: int, rank: int) -> int:
    """Return a dimension counted from the front."""
    if not -rank <= d < rank:
        raise ValueError(f"dimension {d} is not one of the {rank} of its input")
    return d % rank


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("TFLite")

# Functions of one element, and of several tensors.

UNARY = vocabulary.names("tflite", vocabulary.UNARY)
SEVERAL = vocabulary.names("tflite", vocabulary.SEVERAL)


@HANDLERS.handles(*UNARY)
def _unary(node: Node, build: Builder) -> Made:
    return build(program.Pointwise(function=UNARY[node.op]), node.x)


@HANDLERS.handles(*SEVERAL)
def _several(node: Node, build: Builder) -> Made:
    return build(program.Pointwise(function=SEVERAL[node.op]), *node.tensors())


@HANDLERS.handles("FLOOR_DIV")
def _floor_div(node: Node, build: Builder) -> Made:
    a, b = node.input(0), node.input(1)
    if not (a.constant and b.constant):
        return build(program.Pointwise(function="div"), a, b)
    whole = all(value.data is not None and value.data.integer for value in (a, b))
    floats = [build(program.Pointwise(function="to_float"), value) for value in (a, b)]
    quotient = build(program.Pointwise(function="floor"), build(program.Pointwise(function="div"), *floats))
    return build(program.Pointwise(function="to_integer"), quotient) if whole else quotient


@HANDLERS.handles("SELECT")
def _select(node: Node, build: Builder) -> Made:
    condition, a, b = node.input(0), node.input(1), node.input(2)
    missing = len(shape_of(a)) - len(shape_of(condition))
    if len(shape_of(condition)) == 1 and missing > 0:  # it chooses whole rows of the first dimension
        condition = build(program.Unsqueeze(dims=tuple(range(1, 1 + missing))), condition, part="rows")
    return build(program.Pointwise(function="where"), condition, a, b)


@HANDLERS.handles("CAST")
def _cast(node: Node, build: Builder) -> Made:
    function = {"float": "to_float", "integer": "to_integer", "bool": "to_bool"}.get(node.outputs[0].kind, "cast")
    return build(program.Pointwise(function=function), node.x)


# Windows. The enumeration ``Padding`` of the schema.

SAME, VALID = 0, 1

#: Options of windows, by axis: the first is that of x alone, and so on.
STRIDES, DILATIONS = ("StrideD", "StrideH", "StrideW"), ("DilationDFactor", "DilationHFactor", "DilationWFactor")


def _entries(node: Node, names: Sequence[str], axes: int) -> tuple[int, ...]:
    found = tuple(node.integer(name) for name in names[3 - axes :])
    if any(entry < 1 for entry in found):
        raise ValueError(f"{', '.join(names[3 - axes :])} are {list(found)}, not positive")
    return found


def _padding(node: Node, axes: int) -> program.Paddings:
    how = node.integer("Padding")
    if how not in (SAME, VALID):
        raise ValueError(f"Padding {how} is neither SAME (0) nor VALID (1)")
    return "same_upper" if how == SAME else ((0, 0),) * axes


def _images(node: Node, i: int, axes: int) -> tuple[int, ...]:
    """Return the spatial dimensions of input ``i``, once it is known to have a batch and channels besides."""
    if node.rank(i) != axes + 2:
        raise ValueError(f"its input has {node.rank(i)} dimensions, not {axes + 2}")
    return tuple(range(1, 1 + axes))


def _kernel(sizes: Sequence[Dim]) -> tuple[int, ...]:
    return tuple(whole_number(size, "kernel") for size in sizes)


def _weighted(build: Builder, made: Value, weight: Value) -> Value:
    """A weight that the network computes is read whole by every output."""
    if weight.constant:
        return made
    read = build(program.Whole(shape=()), weight, part="weight")
    return build(program.Pointwise(function="mul"), made, read, part="weighted")


@HANDLERS.handles("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D")
def _conv(node: Node, build: Builder) -> Made:
    axes = 3 if node.op == "CONV_3D" else 2
    dims = _images(node, 0, axes)
    weight = node.shape(1)
    if len(weight) != axes + 2:
        raise ValueError(f"its weight has shape {text(weight)}, not {axes + 2} dimensions")
    if node.op == "CONV_2D":
        kernel, channels, inside = weight[1:3], weight[0], weight[3]
    elif node.op == "CONV_3D":
        kernel, channels, inside = weight[:3], weight[4], weight[3]
    else:
        kernel, channels, inside = weight[1:3], weight[3], 1
    before = node.shape()[-1]
    several = isinstance(before, int) and isinstance(inside, int) and inside > 0 and before % inside == 0
    primitive = program.Slide(
        function="conv", dims=dims, kernel=_kernel(kernel), stride=_entries(node, STRIDES, axes),
        padding=_padding(node, axes), dilation=_entries(node, DILATIONS, axes), channel=axes + 1, channels=channels,
        groups=before // inside if several else 1,  # type: ignore[operator, arg-type]
    )  # fmt: skip
    return _weighted(build, build(primitive, node.x), node.input(1))


@HANDLERS.handles("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE")
def _transpose_conv(node: Node, build: Builder) -> Made:
    axes = 2 if node.op == "TRANSPOSE_CONV" else 3
    dims = _images(node, 2, axes)
    weight, sizes = node.shape(1), node.shape(2)
    if len(weight) != axes + 2:
        raise ValueError(f"its weight has shape {text(weight)}, not {axes + 2} dimensions")
    kernel = _kernel(weight[1:3] if axes == 2 else weight[:3])
    stride = _entries(node, STRIDES, axes)
    dilation = _entries(node, DILATIONS, axes) if axes == 3 else (1,) * axes
    wanted = node.numbers(0, "output shape")
    if len(wanted) != axes + 2:
        raise ValueError(f"its output shape {wanted} does not have {axes + 2} entries")
    same = _padding(node, axes) == "same_upper"
    padding = []
    for i, d in enumerate(dims):
        span = (kernel[i] - 1) * dilation[i] + 1
        # SAME crops what the convolution that it is the transpose of would have padded, the smaller half first.
        total = (-(-wanted[d] // stride[i]) - 1) * stride[i] + span - wanted[d] if same else 0
        before = max(whole_number(total, "output shape"), 0) // 2
        left = (sizes[d] - 1) * stride[i] + span - wanted[d]
        if node.resized and isinstance(left, int) and not before <= left < before + max(span, stride[i]):
            raise UnspelledError(f"its output shape {text(tuple(wanted))} is that for which the model was made")
        padding.append((before, whole_number(left, "output shape") - before))
    primitive = program.SlideTransposed(
        dims=dims, kernel=kernel, stride=stride, padding=tuple(padding), output_padding=(0,) * axes,
        dilation=dilation, channel=axes + 1, channels=weight[0] if axes == 2 else weight[3],
    )  # fmt: skip
    return _weighted(build, build(primitive, node.input(2)), node.input(1))


POOLS = {"AVERAGE_POOL_2D": "avg_pool", "MAX_POOL_2D": "max_pool", "L2_POOL_2D": "lp_pool"}


@HANDLERS.handles(*POOLS)
def _pool(node: Node, build: Builder) -> Made:
    primitive = program.Slide(
        function=POOLS[node.op], dims=_images(node, 0, 2),
        kernel=_entries(node, ("", "FilterHeight", "FilterWidth"), 2),
        stride=_entries(node, STRIDES, 2), padding=_padding(node, 2), dilation=(1, 1),
    )  # fmt: skip
    return build(primitive, node.x)


@HANDLERS.handles("DILATE")
def _dilate(node: Node, build: Builder) -> Made:
    steps = node.integers(1, "dilations")
    if len(steps) != node.rank() or any(step < 1 for step in steps):
        raise ValueError(f"its dilations {steps} are not one positive number for each dimension")
    dims = tuple(d for d, step in enumerate(steps) if step > 1)
    ones = (1,) * len(dims)
    if not dims:
        return build(program.Pointwise(function="identity"), node.x)
    primitive = program.SlideTransposed(
        dims=dims, kernel=ones, stride=tuple(steps[d] for d in dims), padding=((0, 0),) * len(dims),
        output_padding=(0,) * len(dims), dilation=ones,
    )  # fmt: skip
    return build(primitive, node.x)


# Resolutions.


@HANDLERS.handles("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(node: Node, build: Builder) -> Made:
    dims = _images(node, 0, 2)
    sizes = tuple(node.numbers(1, "size"))
    if len(sizes) != 2:
        raise ValueError(f"its size {list(sizes)} does not have two entries")
    corners, half = bool(node.option("AlignCorners")), bool(node.option("HalfPixelCenters"))
    if corners and half:
        raise UnspelledError("it both aligns corners and has half-pixel centres")
    linear = node.op == "RESIZE_BILINEAR"
    coordinates = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    # The runtime rounds to the nearest pixel, halves up; without AlignCorners it takes floor((y + 1/2) / f), or
    # floor(y / f) where the centres are not half-pixel ones.
    nearest = "floor" if coordinates == "asymmetric" else "round_prefer_ceil"
    primitive = program.Resize(
        dims=dims, sizes=sizes, mode="linear" if linear else "nearest", coordinates=coordinates, nearest_mode=nearest
    )
    return build(primitive, node.x)


def _block(node: Node) -> int:
    block = node.integer("BlockSize")
    if block < 1:
        raise ValueError(f"BlockSize {block} is not positive")
    return block


@HANDLERS.handles("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _exchange(node: Node, build: Builder) -> Made:
    kind = program.DepthToSpace if node.op == "DEPTH_TO_SPACE" else program.SpaceToDepth
    return build(kind(channel=3, dims=_images(node, 0, 2), blocks=(_block(node),) * 2), node.x)


def _blocks(node: Node, what: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the blocks of a space-to-batch or its inverse, and its padding or crops, a pair for each block."""
    blocks, ends = node.integers(1, "block shape"), node.integers(2, what)
    if any(block < 1 for block in blocks) or len(ends) != 2 * len(blocks) or len(blocks) >= node.rank():
        raise ValueError(f"block shape {blocks} and {what} {ends} do not fit its {node.rank()} dimensions")
    return blocks, list(zip(ends[::2], ends[1::2], strict=True))


@HANDLERS.handles("SPACE_TO_BATCH_ND")
def _space_to_batch(node: Node, build: Builder) -> Made:
    blocks, paddings = _blocks(node, "paddings")
    count, rank = len(blocks), node.rank()
    amounts = ((0, 0), *paddings, *((0, 0),) * (rank - 1 - count))
    x = build(program.Pad(amounts=amounts), node.x, part="pad") if any(map(any, paddings)) else node.x
    batch, *sizes = shape_of(x)
    outer = [size // block for size, block in zip(sizes, blocks, strict=False)]
    rest = sizes[count:]
    split = [size for pair in zip(outer, blocks, strict=True) for size in pair]
    x = build(program.Reshape(shape=(batch, *split, *rest)), x, part="blocks")
    inner, order = range(2, 2 * count + 1, 2), range(1, 2 * count + 1, 2)
    x = build(program.Transpose(permutation=(*inner, 0, *order, *range(2 * count + 1, rank + count))), x, part="turned")
    return build(program.Reshape(shape=(batch * prod(blocks), *outer, *rest)), x)


@HANDLERS.handles("BATCH_TO_SPACE_ND")
def _batch_to_space(node: Node, build: Builder) -> Made:
    blocks, crops = _blocks(node, "crops")
    count, rank = len(blocks), node.rank()
    whole, *sizes = node.shape()
    batch = whole // prod(blocks)
    x = build(program.Reshape(shape=(*blocks, batch, *sizes)), node.x, part="blocks")
    order = [axis for i in range(count) for axis in (count + 1 + i, i)]
    x = build(program.Transpose(permutation=(count, *order, *range(2 * count + 1, rank + count))), x, part="turned")
    grown = [size * block for size, block in zip(sizes, blocks, strict=False)]
    x = build(
        program.Reshape(shape=(batch, *grown, *sizes[count:])), x, part="" if not any(map(any, crops)) else "grown"
    )
    if not any(map(any, crops)):
        return x
    ends = [(-before, -after) for before, after in crops]
    return build(program.Pad(amounts=((0, 0), *ends, *((0, 0),) * (rank - 1 - count))), x)


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("tflite", vocabulary.REDUCTIONS)


@HANDLERS.handles(*REDUCTIONS)
def _reduce(node: Node, build: Builder) -> Made:
    rank = node.rank()
    dims = tuple(sorted({dim_of(d, rank) for d in node.integers(1, "axes")}))
    if not dims:
        return build(program.Pointwise(function="identity"), node.x)
    primitive = program.Reduce(function=REDUCTIONS[node.op], dims=dims, keepdims=bool(node.option("KeepDims")))
    return build(primitive, node.x)


@HANDLERS.handles("ARG_MAX", "ARG_MIN")
def _arg(node: Node, build: Builder) -> Made:
    dims = (dim_of(node.number(1, "axis"), node.rank()),)
    return build(program.Reduce(function=node.op[4:].lower(), dims=dims, keepdims=False), node.x)


@HANDLERS.handles("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION")
def _mix_last(node: Node, build: Builder) -> Made:
    function = "layer_norm" if node.op == "L2_NORMALIZATION" else "softmax"
    return build(program.Mix(function=function, dims=(dim_of(-1, node.rank()),)), node.x)


@HANDLERS.handles("CUMSUM")
def _cumulative(node: Node, build: Builder) -> Made:
    direction: program.Direction = "backward" if node.option("Reverse") else "forward"
    mix = program.Mix(
        function="cumsum", dims=(dim_of(node.number(1, "axis"), node.rank()),), direction=direction,
        exclusive=bool(node.option("Exclusive")),
    )  # fmt: skip
    return build(mix, node.x)


@HANDLERS.handles("TOPK_V2")
def _top_k(node: Node, build: Builder) -> Made:
    last = dim_of(-1, node.rank())
    mixed = build(program.Mix(function="sort", dims=(last,)), node.x, part="sort")
    count = node.numbers(1, "k")[0]
    made = build(program.Slice(dims=(last,), starts=(0,), stops=(count,), steps=(1,)), mixed)
    return made, made


@HANDLERS.handles("RFFT2D")
def _rfft2d(node: Node, build: Builder) -> Made:
    height, width = node.numbers(1, "length")
    rank = node.rank()
    total = build(program.Reduce(function="dft", dims=(rank - 2, rank - 1)), node.x, part="sum")
    return build(program.Expand(shape=(*node.shape()[:-2], height, width // 2 + 1)), total)


# Products.


@HANDLERS.handles("FULLY_CONNECTED")
def _fully_connected(node: Node, build: Builder) -> Made:
    x, weight = node.x, node.shape(1)
    if len(weight) != 2:
        raise ValueError(f"its weight has shape {text(weight)}, not 2 dimensions")
    if not node.option("KeepNumDims") and node.rank() != 2:
        shape = completed((-1, weight[1]), node.shape(), node.name)
        x = _reshaped(node, build, shape, part="rows")
    rows = tuple(f"b{i}" for i in range(len(shape_of(x)) - 1))
    primitive = program.Contract(operands=((*rows, "k"), ("j", "k")), output=(*rows, "j"))
    made = build(primitive, x, node.input(1))
    bias = node.optional(2)
    return made if bias is None or bias.constant else build(program.Pointwise(function="add"), made, bias, part="bias")


@HANDLERS.handles("BATCH_MATMUL")
def _batch_matmul(node: Node, build: Builder) -> Made:
    primitive = products.matmul(node.rank(0), node.rank(1))
    operands = []
    for labels, turned in zip(primitive.operands, (node.option("AdjX"), node.option("AdjY")), strict=True):
        operands.append((*labels[:-2], *reversed(labels[-2:])) if turned else labels)
    return build(program.Contract(operands=tuple(operands), output=primitive.output), node.x, node.input(1))


# Recurrences. Those over a sequence read all of it; those of one step find what came before in a state, a constant.


def _units(node: Node, i: int, d: int) -> Dim:
    weight = node.shape(i)
    if len(weight) != 2:
        raise ValueError(f"its weight {i} has shape {text(weight)}, not 2 dimensions")
    return weight[d]


def _cell(node: Node, build: Builder, x: Value, units: Dim, part: str = "") -> Value:
    rows = tuple(f"b{i}" for i in range(len(shape_of(x)) - 1))
    weight = build.weight((shape_of(x)[-1], units))
    cell = program.Contract(operands=((*rows, "c"), ("c", "h")), output=(*rows, "h"))
    return build(cell, x, weight, part=part, macs=None)  # one matrix stands for all of them


@HANDLERS.handles("LSTM", "RNN", "SVDF")
def _step(node: Node, build: Builder) -> Made:
    if node.op == "RNN":
        return _cell(node, build, node.x, _units(node, 1, 0))
    if node.op == "SVDF":
        rank = node.integer("Rank")
        if rank < 1:
            raise ValueError(f"Rank {rank} is not positive")
        return _cell(node, build, node.x, _units(node, 1, 0) // rank)
    if len(node.inputs) == 5:  # the kernel BASIC: x, activation before, weights, bias, state before
        before = [node.input(i) for i in (1, 4)]
        joined = build(program.Concat(dim=dim_of(-1, node.rank())), node.x, before[0], part="joined")
        made = _cell(node, build, joined, node.shape(1)[-1], "" if before[1].constant else "gates")
        if not before[1].constant:
            made = build(program.Pointwise(function="add"), made, before[1])
        return made, made
    return _cell(node, build, node.x, _units(node, 6, 1))


#: The inputs that say how many units there are, forward and backward, and which dimension of theirs does.
SEQUENCES = {
    "UNIDIRECTIONAL_SEQUENCE_RNN": ((1,), 0), "BIDIRECTIONAL_SEQUENCE_RNN": ((1, 4), 0),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ((6,), 1), "BIDIRECTIONAL_SEQUENCE_LSTM": ((6, 23), 1),
}  # fmt: skip


@HANDLERS.handles(*SEQUENCES)
def _sequence(node: Node, build: Builder) -> Made:
    weights, d = SEQUENCES[node.op]
    if node.rank() != 3:
        raise ValueError(f"its input has {node.rank()} dimensions, not 3")
    time = 0 if node.option("TimeMajor") else 1
    units = [_units(node, i, d) for i in weights]
    ways: list[program.Direction] = ["forward", "backward"]
    if len(units) == 2 and node.option("MergeOutputs"):
        units, ways = [units[0] + units[1]], ["both"]
    made = []
    for k in reversed(range(len(units))):  # what the first output is made of comes last
        mix = program.Mix(function="recurrent", dims=(time,), direction=ways[k])
        mixed = build(mix, node.x, part="reversed" if k else "")
        made.append(_cell(node, build, mixed, units[k], "backward" if k else "cell"))
    return made[::-1]


# Elements moved, dropped, added.


@HANDLERS.handles("PAD", "PADV2", "MIRROR_PAD")
def _pad(node: Node, build: Builder) -> Made:
    pads = node.numbers(1, "paddings")
    if len(pads) != 2 * node.rank():
        raise ValueError(f"it has {len(pads)} pads for {node.rank()} dimensions, not two for each")
    mode = "constant"
    if node.op == "MIRROR_PAD":  # the enumeration MirrorPadMode
        mode = ("reflect", "symmetric")[node.integer("Mode")]
    return build(program.Pad(amounts=tuple(zip(pads[::2], pads[1::2], strict=True)), mode=mode), node.x)


@HANDLERS.handles("SLICE")
def _slice(node: Node, build: Builder) -> Made:
    starts, sizes = node.numbers(1, "begin"), node.numbers(2, "size")
    rank = node.rank()
    if not len(starts) == len(sizes) == rank:
        raise ValueError(f"begin {starts} and size {sizes} do not have {rank} entries each")
    stops = [None if size == -1 else start + size for start, size in zip(starts, sizes, strict=True)]
    primitive = program.Slice(dims=tuple(range(rank)), starts=tuple(starts), stops=tuple(stops), steps=(1,) * rank)
    return build(primitive, node.x)


@HANDLERS.handles("STRIDED_SLICE")
def _strided_slice(node: Node, build: Builder) -> Made:
    starts, stops = node.numbers(1, "begin"), node.numbers(2, "end")
    steps = node.integers(3, "strides")
    if not len(starts) == len(stops) == len(steps):
        raise ValueError(f"its {len(starts)} starts, {len(stops)} ends, {len(steps)} strides differ")
    if 0 in steps:
        raise ValueError("stride 0 goes nowhere")
    masks = {name: node.integer(f"{name}Mask") for name in ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")}
    rank = node.rank()

    def has(name: str, i: int) -> bool:
        return bool(masks[name] >> i & 1)

    taken = sum(not has("NewAxis", i) and not has("Ellipsis", i) for i in range(len(steps)))
    d = 0
    cuts: dict[int, tuple[Dim | None, Dim | None, int]] = {}
    dropped: list[int] = []  # among the dimensions of the input
    kept: list[int | None] = []  # dimensions of the input in the order of the output; None for one that is new
    for i, step in enumerate(steps):
        if has("Ellipsis", i):
            kept += range(d, d + rank - taken)
            d += rank - taken
            continue
        if has("NewAxis", i):
            kept.append(None)
            continue
        start, stop = starts[i], stops[i]
        if has("ShrinkAxis", i):
            step = 1
            cuts[d] = (start, None if start == -1 else start + 1, step)
            dropped.append(d)
        else:
            if node.options.get("Offset"):
                stop = start + stop
            cuts[d] = (None if has("Begin", i) else start, None if has("End", i) else stop, step)
            kept.append(d)
        d += 1
    kept += range(d, rank)
    if d > rank:
        raise ValueError(f"it slices {d} dimensions of {rank}")
    new = tuple(i for i, source in enumerate(kept) if source is None)
    made = _cut(build, node.x, cuts, "slice" if dropped or new else "")
    if dropped:
        made = build(program.Squeeze(dims=tuple(dropped)), made, part="squeeze" if new else "")
    return build(program.Unsqueeze(dims=new), made) if new else made


def _cut(build: Builder, x: Value, cuts: Mapping[int, tuple[Dim | None, Dim | None, int]], part: str) -> Value:
    starts, stops, steps = zip(*cuts.values(), strict=True) if cuts else ((), (), ())
    return build(program.Slice(dims=tuple(cuts), starts=starts, stops=stops, steps=steps), x, part=part)


@HANDLERS.handles("SPLIT", "SPLIT_V")
def _split(node: Node, build: Builder) -> Made:
    x, axis = (1, 0) if node.op == "SPLIT" else (0, 2)
    d = dim_of(node.number(axis, "axis"), node.rank(x))
    total, count = node.shape(x)[d], len(node.outputs)
    if node.op == "SPLIT":
        sizes: Sequence[Dim] = [total // count] * count
    else:
        sizes = completed_sizes(node.numbers(1, "sizes"), total)
    if len(sizes) != count:
        raise ValueError(f"it splits into {len(sizes)} parts but has {count} outputs")
    pieces, start = [], 0
    for k, size in enumerate(sizes):
        stop: Any = start + size
        build.at(node.outputs[k].name, node.op)
        pieces.append(build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,)), node.input(x)))
        start = stop
    return pieces


def completed_sizes(sizes: Sequence[Any], total: Dim) -> list[Dim]:
    """Return the sizes of parts with the one of -1, if there is one, worked out from their total."""
    if sum(size == -1 for size in sizes) > 1:
        raise ValueError(f"sizes {list(sizes)} have more than one -1")
    rest = total
    for size in sizes:
        rest = rest - (0 if size == -1 else size)
    return [rest if size == -1 else size for size in sizes]


@HANDLERS.handles("UNPACK")
def _unpack(node: Node, build: Builder) -> Made:
    d = dim_of(node.integer("Axis"), node.rank())
    rows = []
    for k, output in enumerate(node.outputs):
        build.at(output.name, node.op)
        rows.append(build(program.Take(dim=d), node.x, build.constant(k)))
    return rows


@HANDLERS.handles("CONCATENATION")
def _concatenation(node: Node, build: Builder) -> Made:
    tensors = node.tensors()
    ranks = [len(value.shape) for value in tensors if value.shape is not None]
    if not ranks:
        raise UnspelledError("the rank of its inputs is not known")
    return build(program.Concat(dim=dim_of(node.integer("Axis"), ranks[0])), *tensors)


@HANDLERS.handles("PACK")
def _pack(node: Node, build: Builder) -> Made:
    tensors = node.tensors()
    if not tensors:
        raise ValueError("it has no inputs")
    d = dim_of(node.integer("Axis"), len(shape_of(tensors[0])) + 1)
    rows = [build(program.Unsqueeze(dims=(d,)), tensor, part=f"row/{i}") for i, tensor in enumerate(tensors)]
    return build(program.Concat(dim=d), *rows)


@HANDLERS.handles("GATHER")
def _gather(node: Node, build: Builder) -> Made:
    if node.integer("BatchDims"):
        raise UnspelledError("its indices say which elements it reads, other ones in each batch")
    return build(program.Take(dim=dim_of(node.integer("Axis"), node.rank())), node.x, node.input(1))


@HANDLERS.handles("EMBEDDING_LOOKUP")
def _embedding(node: Node, build: Builder) -> Made:
    return build(program.Take(dim=0), node.input(1), node.x)


@HANDLERS.handles("TILE")
def _tile(node: Node, build: Builder) -> Made:
    counts, shape = node.integers(1, "multiples"), node.shape()
    if len(counts) != len(shape):
        raise ValueError(f"multiples {counts} do not have one entry for each of the {len(shape)} dimensions")
    grown = tuple(count if size == 1 else size for size, count in zip(shape, counts, strict=True))
    several = [(d, count) for d, (size, count) in enumerate(zip(shape, counts, strict=True)) if size != 1 != count]
    made = node.x
    if grown != shape or not several:
        made = build(program.Expand(shape=grown), made, part="expand" if several else "")
    for k, (d, count) in enumerate(several):
        if not 0 < count <= MAX_PARTS:
            raise UnspelledError(f"it repeats dimension {d} {count} times")
        made = build(program.Concat(dim=d), *[made] * count, part=str(k) if k < len(several) - 1 else "")
    return made


@HANDLERS.handles("BROADCAST_TO")
def _broadcast_to(node: Node, build: Builder) -> Made:
    return build(program.Expand(shape=tuple(node.numbers(1, "shape"))), node.x)


@HANDLERS.handles("REVERSE_V2")
def _reverse(node: Node, build: Builder) -> Made:
    dims = tuple(sorted({dim_of(d, node.rank()) for d in node.integers(1, "axes")}))
    ends = (None,) * len(dims)
    return build(program.Slice(dims=dims, starts=ends, stops=ends, steps=(-1,) * len(dims)), node.x)


# Numbering.


def _reshaped(node: Node, build: Builder, shape: Shape, part: str = "") -> Value:
    more = bounds(product(shape) - product(node.shape()))
    if (more.least is not None and more.least > 0) or (more.greatest is not None and more.greatest < 0):
        if node.resized:
            raise UnspelledError(f"it reshapes to {text(shape)}, for which the model was made")
        raise ValueError(f"shape {text(node.shape())} cannot become {text(shape)}")
    return build(program.Reshape(shape=shape), node.x, part=part)


@HANDLERS.handles("RESHAPE")
def _reshape(node: Node, build: Builder) -> Made:
    wanted = node.numbers(1, "shape") if node.optional(1) is not None else list(node.option("NewShape"))
    if wanted == [0] and product(node.shape()) == 1:
        wanted = []  # how old files write the shape of a scalar
    return _reshaped(node, build, completed(wanted, node.shape(), node.name))


@HANDLERS.handles("SQUEEZE")
def _squeeze(node: Node, build: Builder) -> Made:
    shape = node.shape()
    given = {dim_of(d, len(shape)) for d in node.option("SqueezeDims")}
    dims = given or {d for d, size in enumerate(shape) if size == 1}
    if any(isinstance(shape[d], int) and shape[d] != 1 for d in dims):
        raise ValueError(f"dimensions {sorted(dims)} of shape {text(shape)} are not all of size 1")
    return build(program.Squeeze(dims=tuple(sorted(dims))), node.x)


@HANDLERS.handles("EXPAND_DIMS")
def _expand_dims(node: Node, build: Builder) -> Made:
    return build(program.Unsqueeze(dims=(dim_of(node.number(1, "axis"), node.rank() + 1),)), node.x)


@HANDLERS.handles("TRANSPOSE")
def _transpose(node: Node, build: Builder) -> Made:
    order = tuple(dim_of(d, node.rank()) for d in node.integers(1, "permutation"))
    return build(program.Transpose(permutation=order), node.x)


@HANDLERS.handles("BITCAST")
def _bitcast(node: Node, build: Builder) -> Made:
    raise UnspelledError("it reads its elements as another type")


# Constants, and what is known from shapes.


@HANDLERS.handles("SHAPE")
def _shape(node: Node, build: Builder) -> Made:
    shape = node.x.shape
    return build.weight(None, node.name) if shape is None else build.constant(list(shape), name=node.name)


@HANDLERS.handles("RANK")
def _rank(node: Node, build: Builder) -> Made:
    return build.constant(node.rank(), name=node.name)


@HANDLERS.handles("BROADCAST_ARGS")
def _broadcast_args(node: Node, build: Builder) -> Made:
    shapes = [tuple(node.numbers(i, "shapes")) for i in range(2)]
    return build.constant(list(broadcast(*shapes)), name=node.name)


@HANDLERS.handles("FILL")
def _fill(node: Node, build: Builder) -> Made:
    sizes, value = tuple(node.numbers(0, "shape")), node.input(1)
    if not value.constant:
        return build(program.Expand(shape=sizes), value)
    count = product(sizes)
    if value.data is None or not isinstance(count, int) or count > (MAX_ELEMENTS if value.data.integer else MAX_FLOATS):
        return build.weight(sizes, node.name)
    filled = np.full(sizes, value.data.elements.flat[0], dtype=object)
    return build.constant(filled, integer=value.data.integer, name=node.name)


@HANDLERS.handles("RANGE")
def _range(node: Node, build: Builder) -> Made:
    return arange(build, [node.input(i) for i in range(3)], node.name)


@HANDLERS.handles("ZEROS_LIKE")
def _zeros_like(node: Node, build: Builder) -> Made:
    return build.weight(node.x.shape, node.name)


@HANDLERS.handles("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM")
def _random(node: Node, build: Builder) -> Made:
    return build.weight(tuple(node.numbers(0, "shape")), node.name)


@HANDLERS.handles("ONE_HOT")
def _one_hot(node: Node, build: Builder) -> Made:
    d = dim_of(node.integer("Axis"), node.rank() + 1)
    wide = build(program.Unsqueeze(dims=(d,)), node.x, part="unsqueeze")
    shape = list(shape_of(wide))
    shape[d] = node.numbers(1, "depth")[0]
    return build(program.Expand(shape=tuple(shape)), build(program.Pointwise(function="one_hot"), wide), part="expand")


# What reads all of its input, or is not followed, and why.


@HANDLERS.handles("WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "MULTINOMIAL")
def _whole(node: Node, build: Builder) -> Made:
    made = []
    for output in node.outputs:
        build.at(output.name, node.op)
        made.append(build(program.Whole(), *node.tensors()))
    return made


NOT_FOLLOWED = {
    "CONCAT_EMBEDDINGS": "its indices say which rows it reads",
    "DYNAMIC_UPDATE_SLICE": "it writes part of a tensor",
    "EMBEDDING_LOOKUP_SPARSE": "its indices say which rows it reads",
    "GATHER_ND": "its indices say which elements it reads",
    "HASHTABLE_FIND": "it looks its input up in a table",
    "HASHTABLE_LOOKUP": "it looks its input up in a table",
    "LSH_PROJECTION": "it hashes its input",
    "MATRIX_DIAG": "it lays a row out as a diagonal",
    "MATRIX_SET_DIAG": "it writes part of a tensor",
    "REDUCE_WINDOW": "what it computes of each window is a graph of its own",
    "REVERSE_SEQUENCE": "it runs backward along an axis",
    "SCATTER_ND": "its indices say which elements it writes",
    "SEGMENT_SUM": "its indices say which rows it adds",
    "SKIP_GRAM": "it reads text",
    "SPARSE_TO_DENSE": "its indices say which elements it writes",
    "UNSORTED_SEGMENT_MAX": "its indices say which rows it reads",
    "UNSORTED_SEGMENT_MIN": "its indices say which rows it reads",
    "UNSORTED_SEGMENT_PROD": "its indices say which rows it multiplies",
    "UNSORTED_SEGMENT_SUM": "its indices say which rows it adds",
}


@HANDLERS.handles(*NOT_FOLLOWED)
def _not_followed(node: Node, build: Builder) -> Made:
    raise UnspelledError(NOT_FOLLOWED[node.op])
