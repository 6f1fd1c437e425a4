"""Operations of OpenVINO's opsets 1 to 15, spelt with the primitives of the tensor program.

One handler per operation or family, under its name in the XML. Images lie as [batch, channels, y, x], weights of
convolutions as [out, in, y, x]. An operation of quantised numbers reads what its float twin reads.

References
----------
openvinotoolkit/openvino, ``docs/articles_en/documentation/openvino-ir-format/operation-sets``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.openvino.nodes import HANDLERS, Made, Node
from rfgraph.importers.program import CUBIC, Builder, Dim, Shape, completed, product
from rfgraph.importers.spelling import (
    UnspelledError,
    axes_of,
    axis_of,
    moving,
    operations,
    products,
    vocabulary,
    whole_number,
)
from rfgraph.importers.spelling.attention import causal, is_self, summed, weights
from rfgraph.importers.spelling.moving import arange
from rfgraph.importers.spelling.operations import weighted
from rfgraph.importers.spelling.patches import added_up

# Functions of one element, and of several tensors.

UNARY = vocabulary.names("openvino", vocabulary.UNARY)
SEVERAL = vocabulary.names("openvino", vocabulary.SEVERAL)
#: Functions that have a learned operand, or add or multiply one.
LEARNING = ("Add", "Multiply", "Subtract", "Divide", "PReLU")


@HANDLERS.handles(*UNARY, weights=())
def _unary(node: Node, build: Builder) -> Made:
    if any(not value.constant for value in node.tensors(1)):
        raise UnspelledError("the network computes what says how it is computed")
    return build(program.Pointwise(function=UNARY[node.op]), node.x)


@HANDLERS.handles(*(op for op in SEVERAL if op not in LEARNING), weights=())
@HANDLERS.handles(*LEARNING, weights=(0, 1))
def _several(node: Node, build: Builder) -> Made:
    values = node.tensors()
    if node.op == "PReLU":
        if values[-1].constant:  # one slope per channel
            return build(program.Pointwise(function="prelu"), node.x)
    elif node.text("auto_broadcast", "numpy") == "pdpd" and len({value.shape for value in values}) > 1:
        raise UnspelledError("it broadcasts as Paddle does")
    return build(program.Pointwise(function=SEVERAL[node.op]), *values)


@HANDLERS.handles("Convert", "ConvertLike", weights=())
def _convert(node: Node, build: Builder) -> Made:
    kind = node.text("destination_type")
    whole = kind.lstrip("ui").isdecimal() and kind[:1] in "ui"
    function = "to_bool" if kind == "boolean" else "to_integer" if whole else "to_float" if "f" in kind else "cast"
    return build(program.Pointwise(function=function), node.x)


@HANDLERS.handles("BatchNormInference", weights=(0, 1, 2))
def _batch_norm(node: Node, build: Builder) -> Made:
    # In opset 1 its input stands behind what it is scaled and moved by.
    return operations.pointwise(build, "batch_norm", node.input(2 if node.opset == 1 else 0))


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("openvino", vocabulary.REDUCTIONS)


def _axes(node: Node, i: int) -> tuple[int, ...]:
    return axes_of(node.integers("axes", i), node.rank())


@HANDLERS.handles("MVN", "NormalizeL2", weights=())
def _normalise(node: Node, build: Builder) -> Made:
    rank = node.rank()
    if node.optional(1) is not None:
        dims = _axes(node, 1)
    elif node.text("reduction_axes"):
        dims = axes_of(node.several("reduction_axes"), rank)
    else:
        dims = tuple(range(1 if node.flag("across_channels", True) else 2, rank))
    if not dims:
        return build(program.Pointwise(function="identity"), node.x)
    over_channels = dims in ((rank - 1,), (1,))
    return build(program.Mix(function="layer_norm" if over_channels else "instance_norm", dims=dims), node.x)


@HANDLERS.handles("GroupNormalization", weights=(1, 2))
def _group_norm(node: Node, build: Builder) -> Made:
    return operations.mixed(build, "group_norm", node.x, *range(2, node.rank()))


@HANDLERS.handles("LRN", "GRN", weights=())
def _response_norm(node: Node, build: Builder) -> Made:
    if node.op == "LRN" and _axes(node, 1) != (1,):
        raise UnspelledError("it normalises by neighbours in space")
    return build(program.Pointwise(function="local_response_norm"), node.x)


# Windows.


def _window(node: Node, kernel: Sequence[int]) -> dict[str, Any]:
    """Return the attributes of a window that convolutions and pools share."""
    axes = len(kernel)
    if not axes or len(node.attributes.get("strides", "")) > 1000:
        raise ValueError("its kernel has no axes")
    return {
        "dims": tuple(range(2, 2 + axes)),
        "kernel": tuple(kernel),
        "stride": tuple(node.several("strides", axes, 1)),
        "dilation": tuple(node.several("dilations", axes, 1)),
    }


def _pads(node: Node, axes: int) -> tuple[tuple[int, int], ...]:
    before, after = (node.several(name, axes, 0) for name in ("pads_begin", "pads_end"))
    return tuple(zip(before, after, strict=True))


def _padding(node: Node, axes: int) -> program.Paddings:
    how = node.text("auto_pad", "explicit")
    if how == "same_upper":
        return "same_upper"
    if how == "same_lower":
        return "same_lower"
    if how not in ("explicit", "notset", "valid"):
        raise ValueError(f"auto_pad {how!r} is none of explicit, valid, same_upper, same_lower")
    return ((0, 0),) * axes if how == "valid" else _pads(node, axes)


def _sizes(shape: Shape) -> list[int]:
    return [whole_number("kernel", size) for size in shape]


@HANDLERS.handles("Convolution", "GroupConvolution", "BinaryConvolution", weights=(1,))
def _conv(node: Node, build: Builder) -> Made:
    weight = node.shape(1)
    grouped = node.op == "GroupConvolution"
    kernel = _sizes(weight[3 if grouped else 2 :])
    primitive = program.Slide(
        function="conv", **_window(node, kernel), padding=_padding(node, len(kernel)), channel=1,
        channels=weight[0] * weight[1] if grouped else weight[0],
        groups=whole_number("number of groups", weight[0]) if grouped else 1,
    )  # fmt: skip
    return weighted(build, build(primitive, node.x), node.input(1))


@HANDLERS.handles("ConvolutionBackpropData", "GroupConvolutionBackpropData", weights=(1,))
def _conv_transpose(node: Node, build: Builder) -> Made:
    weight = node.shape(1)
    grouped = node.op == "GroupConvolutionBackpropData"
    groups = whole_number("number of groups", weight[0]) if grouped else 1
    kernel = _sizes(weight[3 if grouped else 2 :])
    axes = len(kernel)
    window = _window(node, kernel)
    extra = node.several("output_padding", axes, 0)
    padding = list(_pads(node, axes))
    how, wanted = node.text("auto_pad", "explicit"), node.optional(2)
    if how != "explicit" and how != "notset":
        padding = [(0, 0)] * axes  # what is not said by an output shape is not cropped
    if wanted is not None:
        for i, (size, after) in enumerate(zip(node.shape()[2:], node.sizes("output_shape", 2), strict=True)):
            span = (kernel[i] - 1) * window["dilation"][i] + 1
            total = whole_number("output_shape", (size - 1) * window["stride"][i] + span + extra[i] - after)
            less = max(total, 0) // 2
            more = max(total, 0) - less
            first = {"same_upper": more, "same_lower": less}.get(how, padding[i][0])
            padding[i] = (first, total - first)
    primitive = program.SlideTransposed(
        **window, padding=tuple(padding), output_padding=tuple(extra), channel=1,
        channels=weight[2] * groups if grouped else weight[1], groups=groups,
    )  # fmt: skip
    return weighted(build, build(primitive, node.x), node.input(1))


POOLS = {"MaxPool": "max_pool", "AvgPool": "avg_pool"}


@HANDLERS.handles(*POOLS, weights=())
def _pool(node: Node, build: Builder) -> Made:
    kernel = node.several("kernel")
    window, padding = _window(node, kernel), _padding(node, len(kernel))
    rounding = node.text("rounding_type", "floor")
    ceil_mode = rounding in ("ceil", "ceil_torch")
    if rounding == "ceil" and not isinstance(padding, str):
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, window["dilation"], strict=True)]
        if any(s > n - after for s, n, (_, after) in zip(window["stride"], spans, padding, strict=True)):
            # A last window that begins in the padding counts here; in PyTorch it does not, and in the primitive.
            padding, ceil_mode = operations.padded_up(node.shape()[2:], spans, window["stride"], padding), False
    primitive = program.Slide(function=POOLS[node.op], **window, padding=padding, ceil_mode=ceil_mode)
    maxima = build(primitive, node.x)
    return maxima, maxima  # the indices of the maxima are read where the maxima are


@HANDLERS.handles("AdaptiveAvgPool", "AdaptiveMaxPool", weights=())
def _adaptive_pool(node: Node, build: Builder) -> Made:
    sizes = node.integers("output shape", 1)
    function = "avg_pool" if node.op == "AdaptiveAvgPool" else "max_pool"
    output = operations.adaptive_pool(build, node.x, function, tuple(range(2, 2 + len(sizes))), sizes)
    return output, output


@HANDLERS.handles("ExtractImagePatches", weights=())
def _patches(node: Node, build: Builder) -> Made:
    kernel = node.several("sizes", 2)
    how = node.text("auto_pad", "valid")
    if how not in ("valid", "same_upper", "same_lower"):
        raise ValueError(f"auto_pad {how!r} is none of valid, same_upper, same_lower")
    padding: program.Paddings = ((0, 0), (0, 0)) if how == "valid" else "same_upper"
    if how == "same_lower":
        padding = "same_lower"
    primitive = program.Slide(
        function="conv", dims=(2, 3), kernel=tuple(kernel), stride=tuple(node.several("strides", 2)), padding=padding,
        dilation=tuple(node.several("rates", 2, 1)), channel=1, channels=node.shape()[1] * product(kernel), apart=True,
    )  # fmt: skip
    return build(primitive, node.x, macs=0)


@HANDLERS.handles("Col2Im", weights=())
def _col2im(node: Node, build: Builder) -> Made:
    size, kernel = node.integers("output size", 1), node.integers("kernel size", 2)
    padding = list(zip(node.several("pads_begin", 2, 0), node.several("pads_end", 2, 0), strict=True))
    stride, dilation = node.several("strides", 2, 1), node.several("dilations", 2, 1)
    return added_up(build, node.x, size, kernel, stride, dilation, padding)


# Resolutions.

MODES = {"nearest": "nearest", "linear": "linear", "linear_onnx": "linear", "cubic": "cubic"}
COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")


@HANDLERS.handles("Interpolate", weights=())
def _interpolate(node: Node, build: Builder) -> Made:
    shape, mode = node.shape(), node.text("mode")
    if any(node.several("pads_begin")) or any(node.several("pads_end")):
        raise UnspelledError("it pads what it resizes")
    scales, sizes = _targets(node)
    given = scales or sizes
    dims = tuple(sorted(d for d in given if (given[d] != 1 if scales else given[d] != shape[d])))
    if not dims:
        return build(program.Pointwise(function="identity"), node.x)
    if mode not in MODES:
        raise UnspelledError(f"the taps of its mode {mode!r} are not known")
    coordinates, nearest = _coordinates(node, [_ratio(shape[d], sizes.get(d), scales.get(d)) for d in dims])
    if mode != "nearest" and node.flag("antialias"):
        raise UnspelledError("which taps its antialiasing has is not the same on all devices")
    if coordinates == "align_corners" and any(not operations.stays_whole(shape[d], scales.get(d, 1)) for d in dims):
        raise UnspelledError("its scale makes no whole size, so that the corners it aligns are not said")
    if coordinates not in COORDINATES:
        raise UnspelledError(f"its coordinate_transformation_mode is {coordinates}")
    primitive = program.Resize(
        dims=dims, scales=tuple(Fraction(scales[d]) for d in dims) if scales else None,
        sizes=tuple(sizes[d] for d in dims) if sizes else None, mode=MODES[mode], coordinates=coordinates,
        nearest_mode=nearest, coefficient=Fraction(node.attributes.get("cube_coeff", CUBIC)),
    )  # fmt: skip
    return build(primitive, node.x)


def _coordinates(node: Node, ratios: Sequence[Fraction | None]) -> tuple[str, str]:
    """Return where a resize by some ratios places the pixels that it reads, and how it rounds to the nearest."""
    mode, nearest = node.text("mode"), node.text("nearest_mode") or "round_prefer_floor"
    coordinates = node.text("coordinate_transformation_mode", "half_pixel")
    if node.opset < 4:
        if not node.flag("align_corners", True) or MODES[mode] != "linear":
            raise UnspelledError("how opset 1 places the pixels that it reads is not said")
        coordinates = "align_corners"
    if coordinates == "tf_half_pixel_for_nn" and mode == "nearest" and nearest == "floor":
        coordinates, nearest = "half_pixel", "round_prefer_ceil"  # floor((y + 1/2) / f) both
    if nearest == "simple":  # it rounds up where it makes a map smaller, and down else
        if any(ratio is None for ratio in ratios) and mode == "nearest":
            raise UnspelledError("how it rounds depends on the input size; give one")
        smaller = [ratio is not None and ratio < 1 for ratio in ratios]
        if mode == "nearest" and len(set(smaller)) > 1:
            raise UnspelledError("it rounds one axis up and another down")
        nearest = "ceil" if smaller and smaller[0] else "floor"
    return coordinates, nearest


def _ratio(before: Dim, after: Any, scale: Any) -> Fraction | None:
    """Return how much larger a dimension gets, ``None`` if that is not known."""
    if scale is not None:
        return Fraction(scale)
    return Fraction(after, before) if isinstance(before, int) and isinstance(after, int) and before else None


def _targets(node: Node) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the scale of each dimension that a resize states, or the size; the other is empty."""
    rank = node.rank()
    by_size = node.text("shape_calculation_mode", "sizes") == "sizes"
    if node.opset < 4:
        axes, numbers = node.several("axes"), list(node.sizes("sizes", 1))
    else:
        i = 1 if by_size or node.opset >= 11 else 2
        axes_at = 2 if node.opset >= 11 else 3
        numbers = list(node.sizes("sizes", i)) if by_size else node.numbers("scales", i)
        axes = node.integers("axes", axes_at) if node.optional(axes_at) is not None else list(range(rank))
    if len(numbers) != len(axes):
        raise ValueError(f"it has {len(numbers)} sizes or scales for {len(axes)} axes")
    each = {axis_of(axis, rank): number for axis, number in zip(axes, numbers, strict=True)}
    return ({}, each) if by_size else (each, {})


@HANDLERS.handles("DepthToSpace", "SpaceToDepth", weights=())
def _exchange(node: Node, build: Builder) -> Made:
    block, axes = node.number("block_size", 1), node.rank() - 2
    kind = program.DepthToSpace if node.op == "DepthToSpace" else program.SpaceToDepth
    return build(kind(channel=1, dims=tuple(range(2, 2 + axes)), blocks=(block,) * axes), node.x)


@HANDLERS.handles("ShuffleChannels", weights=())
def _shuffle(node: Node, build: Builder) -> Made:
    d, groups = axis_of(node.number("axis", 1), node.rank()), node.number("group", 1)
    if groups < 1:
        raise ValueError(f"group {groups} is not positive")
    return moving.shuffled(build, node.x, d, groups)


@HANDLERS.handles("SpaceToBatch", "BatchToSpace", weights=())
def _batch_exchange(node: Node, build: Builder) -> Made:
    blocks, before, after = (node.integers(what, i) for i, what in ((1, "blocks"), (2, "begins"), (3, "ends")))
    spelt = operations.space_to_batch if node.op == "SpaceToBatch" else operations.batch_to_space
    if blocks[0] != 1 or before[0] or after[0]:
        raise UnspelledError("it cuts the batch too")
    return spelt(build, node.x, blocks[1:], list(zip(before[1:], after[1:], strict=True)))


# Products.


@HANDLERS.handles("MatMul", weights=(0, 1))
def _matmul(node: Node, build: Builder) -> Made:
    return products.product(build, node.x, node.input(1), (node.flag("transpose_a"), node.flag("transpose_b")))


@HANDLERS.handles("Einsum", weights=(0, 1))
def _einsum(node: Node, build: Builder) -> Made:
    return products.summed(build, node.attributes.get("equation", ""), node.tensors())


@HANDLERS.handles("ScaledDotProductAttention", weights=())
def _attention(node: Node, build: Builder) -> Made:
    mask = node.optional(3)
    if mask is not None and not mask.constant:
        raise UnspelledError("its mask depends on what the network computes")
    query, key, value = (node.input(i) for i in range(3))
    batch = [f"b{i}" for i in range(node.rank() - 2)]
    if node.rank(1) != node.rank() or node.rank(2) != node.rank():
        raise UnspelledError("its queries, keys and values differ in rank")
    if node.flag("causal"):
        if not is_self(query, key, len(batch)):
            raise UnspelledError("which keys its queries see is not followed")
        return causal(build, query, key, value, (*batch, "i"), (*batch, "j"), len(batch))
    rows, columns = (*batch, "i"), (*batch, "j")
    return summed(build, weights(build, query, key, rows, columns, mask=mask), value, rows, columns)


# Recurrences.

#: Recurrences over a sequence: how many states they begin with, and the inputs that they learn.
SEQUENCES = {"LSTMSequence": 2, "GRUSequence": 1, "RNNSequence": 1}
DIRECTIONS: dict[str, program.Direction] = {"forward": "forward", "reverse": "backward", "bidirectional": "both"}


@HANDLERS.handles("LSTMSequence", weights=(4, 5, 6))
@HANDLERS.handles("GRUSequence", "RNNSequence", weights=(3, 4, 5))
def _sequence(node: Node, build: Builder) -> Made:
    states = SEQUENCES[node.op]
    if any(not value.constant for value in node.tensors(1, 2 + states)):
        raise UnspelledError("its first state, or the length of its sequence, depends on what the network computes")
    batch, steps, channels = node.shape()
    way = node.text("direction", "forward")
    if way not in DIRECTIONS:
        raise ValueError(f"its direction {way!r} is none of {', '.join(DIRECTIONS)}")
    hidden, ways = node.number("hidden_size"), 2 if way == "bidirectional" else 1
    matrices = [product(node.shape(states + 2 + k)) for k in range(2)]
    macs = batch * steps * (matrices[0] + matrices[1])
    mixed = build(program.Mix(function="recurrent", dims=(1,), direction=DIRECTIONS[way]), node.x, macs=macs)
    cell = program.Contract(operands=(("b", "t", "c"), ("c", "h")), output=("b", "t", "h"))
    cells = build(cell, mixed, build.weight((channels, ways * hidden)), part="cell", macs=0)
    split = build(program.Reshape(shape=(batch, steps, ways, hidden)), cells, part="directions")
    y = build(program.Transpose(permutation=(0, 2, 1, 3)), split, part="y")
    if way == "bidirectional":
        state = build(program.Reduce(function="max", dims=(1,), keepdims=False), split, part="state")
    else:
        start, stop = (0, 1) if way == "reverse" else (-1, None)
        last = moving.cut(build, split, 1, start, stop, part="last")
        state = build(program.Squeeze(dims=(1,)), last, part="state")
    return (y, state, state)[: 1 + states]


# Elements moved, dropped, added.


@HANDLERS.handles("Pad", weights=())
def _pad(node: Node, build: Builder) -> Made:
    before, after = node.sizes("pads_begin", 1), node.sizes("pads_end", 2)
    mode = node.text("pad_mode", "constant")
    if mode not in ("constant", "edge", "reflect", "symmetric") or len(before) != node.rank():
        raise ValueError(f"pad_mode {mode!r}, or its {len(before)} pads for {node.rank()} dimensions, cannot be")
    return build(program.Pad(amounts=tuple(zip(before, after, strict=True)), mode=mode), node.x)


def _mask(node: Node, name: str) -> int:
    return sum(1 << i for i, entry in enumerate(node.several(name)[:64]) if entry)


@HANDLERS.handles("StridedSlice", weights=())
def _strided_slice(node: Node, build: Builder) -> Made:
    begin, end = node.sizes("begin", 1), node.sizes("end", 2)
    strides = node.integers("strides", 3) if node.optional(3) is not None else [1] * len(begin)
    masks = {name: _mask(node, name) for name in
             ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask")}  # fmt: skip
    return moving.strided_slice(build, node.x, begin, end, strides, **masks)


@HANDLERS.handles("Slice", weights=())
def _slice(node: Node, build: Builder) -> Made:
    rank = node.rank()
    starts, stops = list(node.sizes("start", 1)), list(node.sizes("stop", 2))
    steps = node.integers("step", 3)
    axes = node.integers("axes", 4) if node.optional(4) is not None else list(range(len(starts)))
    if not len(starts) == len(stops) == len(axes) == len(steps) or 0 in steps:
        raise ValueError(f"its {len(starts)} starts, {len(stops)} stops, {len(axes)} axes, {len(steps)} steps differ")
    ends: list[list[Dim | None]] = [[*starts], [*stops]]
    for i, step in enumerate(steps):
        start, stop = starts[i], stops[i]
        if step < 0 and isinstance(start, int) and (start == -1 or start >= 2**31 - 1):
            ends[0][i] = None
        if isinstance(stop, int) and (stop >= 2**31 - 1 if step > 0 else stop <= -(2**31)):
            ends[1][i] = None
    dims = tuple(axis_of(axis, rank) for axis in axes)
    return build(program.Slice(dims=dims, starts=tuple(ends[0]), stops=tuple(ends[1]), steps=tuple(steps)), node.x)


@HANDLERS.handles("Split", "VariadicSplit", weights=())
def _split(node: Node, build: Builder) -> Made:
    axis = node.integer("axis", 1)
    if node.op == "Split":
        count = node.number("num_splits")
        if count != len(node.outputs):
            raise ValueError(f"it splits into {count} parts but has {len(node.outputs)} outputs")
        return moving.split(build, node.x, axis, count, node.names)
    sizes = node.sizes("split_lengths", 2)
    if len(sizes) != len(node.outputs):
        raise ValueError(f"it splits into {len(sizes)} parts but has {len(node.outputs)} outputs")
    return moving.split(build, node.x, axis, sizes, node.names)


@HANDLERS.handles("Gather", weights=(0,))
def _gather(node: Node, build: Builder) -> Made:
    if node.number("batch_dims", 0):
        raise UnspelledError("its indices say which elements it reads, other ones in each batch")
    return moving.taken(build, node.x, node.integer("axis", 2), node.input(1))


@HANDLERS.handles("Broadcast", weights=())
def _broadcast(node: Node, build: Builder) -> Made:
    if node.text("mode", "numpy") not in ("numpy", "bidirectional"):
        raise UnspelledError(f"its mode {node.text('mode')!r} is not followed")
    return build(program.Expand(shape=tuple(node.sizes("target shape", 1))), node.x)


@HANDLERS.handles("Reverse", weights=())
def _reverse(node: Node, build: Builder) -> Made:
    if node.text("mode") != "index":
        raise UnspelledError("its mode is not index")
    return moving.flipped(build, node.x, _axes(node, 1))


@HANDLERS.handles("Roll", weights=())
def _roll(node: Node, build: Builder) -> Made:
    shifts, axes = node.integers("shift", 1), node.integers("axes", 2)
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    return moving.rolled(build, node.x, axes, shifts)


# Numbering.


@HANDLERS.handles("Reshape", weights=())
def _reshape(node: Node, build: Builder) -> Made:
    shape, copies = node.shape(), node.flag("special_zero")
    sizes: list[Dim] = []
    for d, size in enumerate(node.sizes("shape", 1)):
        if size == 0 and copies:
            if d >= len(shape):
                raise ValueError(f"it copies dimension {d} of a tensor of {len(shape)}")
            size = shape[d]
        sizes.append(size)
    return build(program.Reshape(shape=completed(sizes, shape, node.name)), node.x)


# Constants, and what is known from shapes.


@HANDLERS.handles("ReadValue", weights=())
def _read_value(node: Node, build: Builder) -> Made:
    if any(not value.constant for value in node.tensors()):
        raise UnspelledError("what its state begins with depends on what the network computes")
    return build.weight(node.stated_shape, node.name)


# Ops that one expression spells.

HANDLERS.spells(
    {
        ("SoftMax", "LogSoftmax"): lambda node, build: operations.mixed(
            build, "softmax", node.x, node.number("axis", -1 if node.op == "LogSoftmax" else 1)
        ),
        "TopK": lambda node, build: operations.largest(build, node.x, node.number("axis"), node.sizes("k", 1)[0]),
        "Concat": lambda node, build: moving.concat(build, node.tensors(), node.number("axis")),
        "Tile": lambda node, build: moving.tile_as_numpy(build, node.x, node.integers("repeats", 1)),
        "OneHot": lambda node, build: moving.one_hot(
            build, node.x, node.sizes("depth", 1)[0], node.number("axis", -1), node.name
        ),
        "Squeeze": lambda node, build: moving.narrowed(
            build, node.x, ([] if node.optional(1) is None else node.integers("axes", 1)) or None
        ),
        "Unsqueeze": lambda node, build: moving.widened(build, node.x, node.integers("axes", 1)),
        "Transpose": lambda node, build: moving.permuted(build, node.x, node.integers("order", 1) or None),
        "ShapeOf": lambda node, build: moving.shape_constant(build, node.x.shape, node.name),
        "Range": lambda node, build: arange(build, [node.input(i) for i in range(3)], node.name),
        ("RandomUniform", "Eye"): lambda node, build: build.weight(node.stated_shape, node.name),
        "Assign": lambda node, build: node.x,
        (*REDUCTIONS,): lambda node, build: operations.reduced(
            build, REDUCTIONS[node.op], node.x, node.integers("axes", 1), keepdims=node.flag("keep_dims")
        ),
        "CumSum": lambda node, build: operations.cumulated(
            build, node.x, node.integer("axis", 1), backward=node.flag("reverse"), exclusive=node.flag("exclusive")
        ),
    },
    weights=(),
)

# What reads all of its input, or is not followed, and why.


@HANDLERS.handles(
    "NonZero", "Unique", "NonMaxSuppression", "MatrixNms", "MulticlassNms", "DetectionOutput", "Proposal",
    "ROIAlign", "ROIPooling", "PSROIPooling", "Multinomial", "Inverse", weights=(),
)  # fmt: skip
def _whole(node: Node, build: Builder) -> Made:
    outputs = []
    for name, shape in node.outputs:
        build.at(name, node.op)
        known = shape is not None and all(isinstance(size, int) for size in shape)
        outputs.append(build(program.Whole(shape=shape if known else None), *node.tensors()))
    return outputs


NOT_FOLLOWED = HANDLERS.refuses({
    "its body is a graph of its own, which is not read": "If Loop TensorIterator",
    "its indices say which elements it reads": "GatherElements GatherND GatherTree",
    "its indices say which elements it writes or adds":
        "ScatterElementsUpdate ScatterNDUpdate ScatterUpdate EmbeddingBagPackedSum EmbeddingBagOffsetsSum "
        "EmbeddingSegmentsSum",
    "its grid says which positions it reads": "GridSample",
    "its offsets say which positions it reads": "DeformableConvolution",
    "it reads windows of a signal": "DFT IDFT RDFT IRDFT STFT ISTFT",
    "it runs backward along an axis": "ReverseSequence",
    "it is one step of a recurrence": "LSTMCell GRUCell RNNCell",
    "it works on boxes": "PriorBox PriorBoxClustered RegionYolo ReorgYolo",
})  # fmt: skip
