"""Operations that formats share, spelt with the primitives of the tensor program.

Each function gets plain numbers, wherever a format keeps them, and says of which operation it is. What cannot be spelt
raises ``UnspelledError``, what cannot be at all ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.program import CUBIC, Builder, Dim, Expression, Value
from rfgraph.importers.spelling import vocabulary
from rfgraph.importers.spelling.arguments import axes_of, axis_of, shape_of
from rfgraph.importers.spelling.handlers import UnspelledError
from rfgraph.importers.spelling.moving import cut, quotient

#: The coefficient of cubic kernels in Keys' article, which TensorFlow takes between the middles of pixels.
KEYS = Fraction(-1, 2)

# Functions of elements.


def tensor_of(build: Builder, value: Any) -> Value:
    """Return an argument that is a tensor, or else a number, as a tensor."""
    return value if isinstance(value, Value) else build.weight((), read=partial(np.asarray, value))


def pointwise(build: Builder, function: str, *operands: Value, part: str = "") -> Value:
    """Add a function of elements."""
    return build(program.Pointwise(function=function), *operands, part=part)


def floor_divided(build: Builder, a: Value, b: Value, *, whole: bool) -> Value:
    """Return a quotient of constants rounded down, an integer if they are ``whole``."""
    floats = [pointwise(build, "to_float", value) for value in (a, b)]
    floored = pointwise(build, "floor", pointwise(build, "div", *floats))
    return pointwise(build, "to_integer", floored) if whole else floored


def with_bias(build: Builder, product: Value, bias: Value | None) -> Value:
    """Return a product and what is added to it, which is seen where the network computes it."""
    return product if bias is None or bias.constant else pointwise(build, "add", product, bias, part="bias")


def chosen(build: Builder, condition: Value, a: Value, b: Value) -> Value:
    """Return elements of one tensor or the other; a row of conditions chooses whole rows of the first dimension."""
    if condition.shape is not None and a.shape is not None and len(condition.shape) == 1 < len(a.shape):
        condition = build(program.Unsqueeze(dims=tuple(range(1, len(a.shape)))), condition, part="rows")
    return pointwise(build, "where", condition, a, b)


def gated(build: Builder, x: Value, axis: int) -> Value:
    """Return one half of a dimension times what the other half lets through."""
    d = axis_of(axis, len(shape_of(x)))
    half = shape_of(x)[d] // 2
    return pointwise(build, "mul", cut(build, x, d, 0, half, part="value"), cut(build, x, d, half, None, part="gate"))


def reduced(build: Builder, function: str, x: Value, axes: Sequence[int], *, keepdims: bool) -> Value:
    """Add a reduction, which over no dimensions is nothing."""
    if not axes:
        return pointwise(build, "identity", x)
    dims, empty = axes_of(axes, len(shape_of(x))), function in vocabulary.OF_NONE
    return build(program.Reduce(function=function, dims=dims, keepdims=keepdims, empty=empty), x)


def mixed(build: Builder, function: str, x: Value, *axes: int) -> Value:
    """Add a function of all elements along some dimensions, that makes as many."""
    rank = len(shape_of(x))
    return build(program.Mix(function=function, dims=tuple(axis_of(axis, rank) for axis in axes)), x)


def cumulated(build: Builder, x: Value, axis: int, *, backward: bool = False, exclusive: bool = False) -> Value:
    """Add a running sum, product or extreme along a dimension, in which an element may be left out of its own."""
    direction: program.Direction = "backward" if backward else "forward"
    dims = (axis_of(axis, len(shape_of(x))),)
    return build(program.Mix(function="cumsum", dims=dims, direction=direction, exclusive=exclusive), x)


def largest(build: Builder, x: Value, axis: int, count: Dim) -> list[Value]:
    """Return the greatest along a dimension, in order, and where they lie: it may be anywhere."""
    d = axis_of(axis, len(shape_of(x)))
    return [cut(build, build(program.Mix(function="sort", dims=(d,)), x, part="sort"), d, 0, count)] * 2


# Windows.


def adaptive_pool(build: Builder, x: Value, function: str, dims: tuple[int, ...], sizes: Sequence[int]) -> Value:
    """Add a pooling to fixed sizes."""
    if any(size < 1 for size in sizes):
        raise ValueError(f"output size {[*sizes]} is not positive")
    if all(size == 1 for size in sizes):
        return build(program.Reduce(function="mean" if function == "avg_pool" else "max", dims=dims), x)
    return build(program.AdaptivePool(function=function, dims=dims, sizes=tuple(sizes)), x)


def weighted(build: Builder, product: Value, *weights: Value) -> Value:
    """Return what a convolution makes: each output reads all of the weights that the network computes."""
    computed = [weight for weight in weights if not weight.constant]
    for k, weight in enumerate(computed):
        number = "" if len(computed) == 1 else f"/{k}"
        read = build(program.Whole(shape=()), weight, part=f"weight{number}")
        product = build(program.Pointwise(function="mul"), product, read, part=f"weighted{number}")
    return product


def transposed_crop(before: Dim, after: Dim, span: int, stride: int, padding: str | tuple[int, int]) -> tuple[int, int]:
    """Return what a transposed convolution crops so that it is the gradient of a convolution of ``after`` elements.

    Parameters
    ----------
    before, after
        Sizes of its input and of its output, along one axis.
    span
        Elements from the first to the last tap, both included.
    stride
        Of the convolution.
    padding
        ``"SAME"``, ``"VALID"``, or how much that convolution pads.

    Examples
    --------
    >>> transposed_crop(8, 16, 3, 2, "SAME"), transposed_crop(8, 15, 3, 2, "SAME")
    ((0, 1), (1, 1))
    >>> transposed_crop(8, 18, 3, 2, "VALID")
    (0, -1)
    """
    if isinstance(before, int) and isinstance(after, int):
        pads = padding if isinstance(padding, tuple) else (0, 0)
        room = after if padding == "SAME" else after + sum(pads) - span + 1
        if before != -(-room // stride):
            raise UnspelledError(
                f"its output has size {after}, which does not follow from {before}; perhaps "
                "it is that for which the model was made"
            )
    total = (before - 1) * stride + span - after
    if isinstance(total, Expression):
        raise UnspelledError(f"its output has size {after}, which depends on the input size; give one")
    pads_before = max(total, 0) // 2 if padding == "SAME" else 0
    first = pads_before if isinstance(padding, str) else padding[0]
    return first, total - first


def space_to_batch(build: Builder, x: Value, blocks: Sequence[int], paddings: Sequence[tuple[Dim, Dim]]) -> Value:
    """Move each position of a block along dimensions 1, 2, ... to a batch of its own."""
    shape, count = shape_of(x), _blocks(blocks, paddings, len(shape_of(x)))
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * len(shape)
    amounts[1 : 1 + count] = paddings
    if any(amount != (0, 0) for amount in amounts):
        x = build(program.Pad(amounts=tuple(amounts)), x, part="pad")
        shape = shape_of(x)
    split: list[Dim] = [shape[0]]
    for size, block in zip(shape[1:], blocks, strict=False):
        split += [quotient(size, block), block]
    inner = build(program.Reshape(shape=(*split, *shape[1 + count :])), x, part="split")
    phases = [2 + 2 * i for i in range(count)]
    rows = [1 + 2 * i for i in range(count)]
    order = (*phases, 0, *rows, *range(1 + 2 * count, 1 + 2 * count + len(shape[1 + count :])))
    turned = build(program.Transpose(permutation=order), inner, part="phases")
    batch = shape[0]
    for block in blocks:
        batch = batch * block
    return build(program.Reshape(shape=(batch, *(split[row] for row in rows), *shape[1 + count :])), turned)


def batch_to_space(build: Builder, x: Value, blocks: Sequence[int], crops: Sequence[tuple[Dim, Dim]]) -> Value:
    """Undo ``space_to_batch``, and crop."""
    shape, count = shape_of(x), _blocks(blocks, crops, len(shape_of(x)))
    batch = shape[0]
    for block in blocks:
        batch = quotient(batch, block)
    inner = build(program.Reshape(shape=(*blocks, batch, *shape[1:])), x, part="split")
    order = [count]
    for i in range(count):
        order += [count + 1 + i, i]
    order += range(2 * count + 1, 1 + count + len(shape[1:]))
    turned = build(program.Transpose(permutation=tuple(order)), inner, part="phases")
    sizes = [size * block for size, block in zip(shape[1:], blocks, strict=False)]
    whole = (batch, *sizes, *shape[1 + count :])
    cropped = any(crop != (0, 0) for crop in crops)
    laid = build(program.Reshape(shape=whole), turned, part="whole" if cropped else "")
    if not cropped:
        return laid
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * len(whole)
    amounts[1 : 1 + count] = [(-before, -after) for before, after in crops]
    return build(program.Pad(amounts=tuple(amounts)), laid)


def _blocks(blocks: Sequence[int], amounts: Sequence[tuple[Dim, Dim]], rank: int) -> int:
    count = len(blocks)
    if len(amounts) != count or not 1 <= count < rank or min(blocks) < 1:
        raise ValueError(f"blocks {[*blocks]} and {[*amounts]} do not fit a tensor of {rank} dimensions")
    return count


def padded_up(
    sizes: Sequence[Dim], spans: Sequence[int], strides: Sequence[int], padding: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """Return a padding with which the last window, which reads beyond the one that is stated, fits in, per axis.

    Raises
    ------
    UnspelledError
        If that depends on a size that is not known.
    """
    padded = []
    for size, span, stride, (before, after) in zip(sizes, spans, strides, padding, strict=True):
        if not isinstance(size, int):
            raise UnspelledError("whether its last window begins in the padding depends on the input size; give one")
        rest = (size + before + after - span) % stride
        padded.append((before, after + (stride - rest if rest else 0)))
    return tuple(padded)


# Branches.


def either(build: Builder, alternatives: Sequence[Value], condition: Value | None = None, part: str = "") -> Value:
    """Return what is one of several tensors, the branches of an ``if``, told by ``condition``."""
    one = alternatives[0]
    if all(value is one or value == one for value in alternatives) and (one.constant or condition is None):
        return one
    if any(value.shape is None or len(value.shape) != len(one.shape or ()) for value in alternatives):
        raise UnspelledError("its branches make tensors of different ranks")
    if condition is None or condition.constant:
        return build(program.Either(), *alternatives, part=part)
    output = build(program.Either(), *alternatives, part=f"either/{part}" if part else "either")
    read = build(program.Whole(shape=()), condition, part=f"condition/{part}" if part else "condition")
    return build(program.Pointwise(function="where"), output, read, part=part)


# Resolutions.


def stays_whole(size: Dim, scale: Any) -> bool:
    """Whether a size times a scale is known to be a whole number."""
    return Fraction(scale).denominator == 1 or (isinstance(size, int) and (size * Fraction(scale)).denominator == 1)


def resize(
    build: Builder, x: Value, sizes: Sequence[Dim], mode: str, *, align_corners: bool, half_pixel_centers: bool
) -> Value:
    """Resize dimensions 1, 2, ... of a tensor whose channels are last.

    References
    ----------
    TensorFlow's ``image_resizer_state.h`` and kernels: without half pixels an output reads from ``y * before / after``,
    with ``align_corners`` from ``y * (before - 1) / (after - 1)``; ``nearest`` rounds halves up there, and down else.
    """
    shape = shape_of(x)
    if len(shape) != len(sizes) + 2:
        raise ValueError(f"its {len(sizes)} sizes do not fit a tensor of {len(shape)} dimensions")
    if align_corners and half_pixel_centers:
        raise UnspelledError("it asks for both align_corners and half_pixel_centers")
    kept = [1 + i for i, size in enumerate(sizes) if size != shape[1 + i]]
    if not kept:
        return build(program.Pointwise(function="identity"), x)
    coordinates = "align_corners" if align_corners else "half_pixel" if half_pixel_centers else "asymmetric"
    primitive = program.Resize(
        dims=tuple(kept),
        sizes=tuple(sizes[d - 1] for d in kept),
        mode=mode,
        coordinates=coordinates,
        nearest_mode="floor" if coordinates == "asymmetric" else "round_prefer_ceil",
        coefficient=KEYS if half_pixel_centers else CUBIC,
    )
    return build(primitive, x)
