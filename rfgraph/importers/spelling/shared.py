"""Operations that TensorFlow and TensorFlow Lite share, spelt with the primitives of the tensor program.

Each function gets plain numbers, wherever a format keeps them, and says of which operation it is. What cannot be spelt
raises ``UnspelledError``, what cannot be at all ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from math import ceil
from numbers import Rational
from typing import Any

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Dim, Expression, Shape, exact_quotient, unknown
from rfgraph.importers.program.folding import MAX_ELEMENTS
from rfgraph.importers.program.primitives import CUBIC, Value
from rfgraph.importers.spelling.handlers import UnspelledError

#: The coefficient of cubic kernels in Keys' article, which TensorFlow takes between the middles of pixels.
KEYS = Fraction(-1, 2)
#: Tensors are taken apart into, or repeated in, no more pieces than this.
MAX_PIECES = 4096
MAX_REPEATS = 64


def shape_of(value: Value) -> Shape:
    """Return the shape of a tensor whose rank must be known."""
    if value.shape is None:
        raise UnspelledError("the rank of its input is not known")
    return value.shape


def tensor_of(build: Builder, value: Any) -> Value:
    """Return an argument that is a tensor, or else a number, as a tensor."""
    return value if isinstance(value, Value) else build.weight((), read=partial(np.asarray, value))


def whole_number(what: str, number: object) -> int:
    """Return an integer that has to be known when the model is read."""
    if isinstance(number, Value):
        if number.data is None or number.data.elements.size != 1 or not number.data.integer:
            raise UnspelledError(f"its {what} depends on what the network computes")
        number = number.data.elements.flat[0]
    if isinstance(number, Expression):
        raise UnspelledError(f"its {what} depends on the input size; give one")
    if isinstance(number, bool) or not isinstance(number, Rational) or number.denominator != 1:
        raise ValueError(f"{what} {number!r} is not an integer")
    return int(number.numerator)


def per_axis(what: str, value: Any, count: int) -> tuple[int, ...]:
    """Return one integer for each of ``count`` axes, of a list or of one number for all."""
    entries = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    entries = entries * count if len(entries) == 1 else entries
    if len(entries) != count:
        raise ValueError(f"{what} {list(entries)} does not have one entry for each of {count} axes")
    return tuple(whole_number(what, entry) for entry in entries)


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is not one of the {rank} of its input")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return axes counted from the front, in order."""
    return tuple(sorted({axis_of(axis, rank) for axis in axes}))


# Windows.


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
        split += [_split(size, block), block]
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
        batch = _split(batch, block)
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


def _split(size: Dim, block: int) -> Dim:
    quotient = exact_quotient(size, block)
    if quotient is not None:
        return quotient
    if isinstance(size, int):
        raise ValueError(f"size {size} is not a multiple of block {block}")
    return size // block


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


# Elements moved.


def strided_slice(
    build: Builder, x: Value, begin: Sequence[Dim], end: Sequence[Dim], strides: Sequence[int],
    *, begin_mask: int = 0, end_mask: int = 0, ellipsis_mask: int = 0, new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:  # fmt: skip
    """Slice as ``x[begin:end:strides, ..., newaxis, 3]`` does; bit ``i`` of each mask is about entry ``i``."""
    shape, count = shape_of(x), len(begin)
    if len(end) != count or len(strides) != count:
        raise ValueError(f"its {count} begins, {len(end)} ends and {len(strides)} strides differ in number")
    real = sum(not (new_axis_mask | ellipsis_mask) >> i & 1 for i in range(count))
    if real > len(shape) or bin(ellipsis_mask & ((1 << count) - 1)).count("1") > 1:
        raise ValueError(f"it slices {real} dimensions of a tensor of {len(shape)}")
    dims: list[int] = []
    starts: list[Dim | None] = []
    stops: list[Dim | None] = []
    steps: list[int] = []
    dropped: list[int] = []  # dimensions of the input
    layout: list[int | None] = []  # of the output: dimensions of the input, ``None`` for new ones
    d = 0
    for i in range(count):
        if ellipsis_mask >> i & 1:
            skipped = len(shape) - real
            layout += range(d, d + skipped)
            d += skipped
        elif new_axis_mask >> i & 1:
            layout.append(None)
        elif shrink_axis_mask >> i & 1:
            at = begin[i]
            dims.append(d)
            starts.append(at)
            stops.append(None if at == -1 else at + 1)
            steps.append(1)
            dropped.append(d)
            d += 1
        else:
            step = whole_number("stride", strides[i])
            if not step:
                raise ValueError("stride 0 goes nowhere")
            dims.append(d)
            starts.append(None if begin_mask >> i & 1 else begin[i])
            stops.append(None if end_mask >> i & 1 else end[i])
            steps.append(step)
            layout.append(d)
            d += 1
    layout += range(d, len(shape))
    more = bool(dropped) or None in layout
    sliced = program.Slice(dims=tuple(dims), starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))
    if dims:
        x = build(sliced, x, part="slice" if more else "")
    if dropped:
        x = build(program.Squeeze(dims=tuple(dropped)), x, part="squeeze" if None in layout else "")
    if None in layout:
        x = build(program.Unsqueeze(dims=tuple(i for i, source in enumerate(layout) if source is None)), x)
    return x if dims or more else build(program.Pointwise(function="identity"), x)


def tile(build: Builder, x: Value, repeats: Sequence[int]) -> Value:
    """Repeat a tensor along each of its dimensions."""
    shape = shape_of(x)
    if len(repeats) != len(shape):
        raise ValueError(f"it repeats {len(repeats)} dimensions of a tensor of {len(shape)}")
    tensor = x
    grown = tuple(count if size == 1 else size for size, count in zip(shape, repeats, strict=True))
    several = [d for d, (size, count) in enumerate(zip(shape, repeats, strict=True)) if size != 1 and count != 1]
    if grown != shape:
        tensor = build(program.Expand(shape=grown), tensor, part="expand" if several else "")
    for d in several:
        if not 1 <= repeats[d] <= MAX_REPEATS:
            raise UnspelledError(f"it repeats dimension {d} {repeats[d]} times")
        tensor = build(program.Concat(dim=d), *[tensor] * repeats[d], part=f"{d}" if d != several[-1] else "")
    return build(program.Pointwise(function="identity"), x) if tensor is x else tensor


def read_all(build: Builder, operands: Sequence[Value], names: Sequence[tuple[str, str]]) -> list[Value]:
    """Add outputs, called by name and op as ``names`` say, each of which reads the whole of all ``operands``."""
    outputs = []
    for name, op in names:
        build.at(name, op)
        outputs.append(build(program.Whole(), *operands))
    return outputs


def stack(build: Builder, rows: Sequence[Value], axis: int) -> Value:
    """Put tensors side by side along a new dimension."""
    if not rows:
        raise ValueError("it has no inputs")
    rank = next((len(row.shape) for row in rows if row.shape is not None), None)
    if rank is None:
        raise UnspelledError("the rank of its inputs is not known")
    d = axis_of(axis, rank + 1)
    if len(rows) == 1:
        return build(program.Unsqueeze(dims=(d,)), rows[0])
    wide = [build(program.Unsqueeze(dims=(d,)), row, part=f"row/{i}") for i, row in enumerate(rows)]
    return build(program.Concat(dim=d), *wide)


def unstack(build: Builder, x: Value, axis: int, count: int | None, names: Sequence[tuple[str, str]]) -> list[Value]:
    """Take a tensor apart along a dimension, which goes; ``names`` are the nodes and ops that the pieces are of."""
    shape = shape_of(x)
    d = axis_of(axis, len(shape))
    count_of_rows = whole_number("size", shape[d]) if count is None else count
    if isinstance(shape[d], int) and count_of_rows != shape[d]:
        raise ValueError(f"it takes {count_of_rows} rows of a dimension of size {shape[d]}")
    _check_pieces(count_of_rows)
    rows = []
    for k in range(min(count_of_rows, len(names))):
        build.at(*names[k])
        rows.append(build(program.Take(dim=d), x, build.constant(k)))
    return rows


def split(
    build: Builder, x: Value, axis: int, sizes: Sequence[Dim] | int, names: Sequence[tuple[str, str]]
) -> list[Value]:
    """Cut a tensor along a dimension, into pieces of ``sizes`` (one may be -1) or into that many."""
    shape = shape_of(x)
    d = axis_of(axis, len(shape))
    if isinstance(sizes, int):
        _check_pieces(sizes)
        sizes = [_split(shape[d], sizes)] * sizes
    if sum(size == -1 for size in sizes) > 1:
        raise ValueError(f"it splits into {[*sizes]}, more than one of which is -1")
    rest = shape[d]
    for size in sizes:
        rest = rest if size == -1 else rest - size
    pieces, start = [], 0
    for name, size in zip(names, sizes, strict=False):
        stop: Dim = start + (rest if size == -1 else size)
        build.at(*name)
        pieces.append(build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,)), x))
        start = stop  # type: ignore[assignment]
    return pieces


def _check_pieces(count: int) -> None:
    if count < 1:
        raise ValueError(f"it makes {count} pieces")
    if count > MAX_PIECES:
        raise UnspelledError(f"it makes {count} pieces, more than {MAX_PIECES}")


def mirror_pad(build: Builder, x: Value, paddings: Sequence[tuple[Dim, Dim]], mode: str) -> Value:
    """Pad each dimension; ``REFLECT`` leaves the border itself out, ``SYMMETRIC`` repeats it."""
    if len(paddings) != len(shape_of(x)):
        raise ValueError(f"it pads {len(paddings)} dimensions of a tensor of {len(shape_of(x))}")
    known = {"CONSTANT": "constant", "REFLECT": "reflect", "SYMMETRIC": "symmetric"}
    if mode not in known:
        raise ValueError(f"mode {mode!r} is not one of {', '.join(known)}")
    return build(program.Pad(amounts=tuple(paddings), mode=known[mode]), x)


def one_hot(build: Builder, x: Value, depth: Dim | None, axis: int, name: str) -> Value:
    """Lay each element out along a new dimension of size ``depth``."""
    d = axis_of(axis, len(shape_of(x)) + 1)
    wide = build(program.Unsqueeze(dims=(d,)), x, part="unsqueeze")
    shape = list(shape_of(wide))
    shape[d] = unknown(f"{name}.depth") if depth is None else depth
    return build(program.Pointwise(function="one_hot"), build(program.Expand(shape=tuple(shape)), wide, part="expand"))


def band(build: Builder, x: Value, below: int | None, above: int | None) -> Value:
    """Return matrices with zeros but for a band: so many diagonals below the main one, and so many above it.

    ``None`` are all of them; a negative number leaves out the main one, and more.
    """
    shape = shape_of(x)
    if len(shape) < 2 or not isinstance(rows := shape[-2], int) or not isinstance(columns := shape[-1], int):
        return build(program.Pointwise(function="trilu"), x)

    def kept() -> Any:
        behind = np.arange(columns) - np.arange(rows)[:, None]
        return (behind >= (-rows if below is None else -below)) & (behind <= (columns if above is None else above))

    few = rows * columns <= MAX_ELEMENTS
    mask = build.constant(kept()) if few else build.weight((rows, columns), read=kept)
    return build(program.Pointwise(function="where"), mask, x, build.constant(False))


def arange(build: Builder, values: Sequence[Value], name: str) -> Value:
    """Return the numbers from the first of three constants up to the second, by steps of the third."""
    if not all(value.constant for value in values):
        raise UnspelledError("its length depends on what the network computes")
    numbers: list[Any] = [None if value.data is None else value.data.elements.flat[0] for value in values]
    start, stop, step = numbers
    if start == 0 and step == 1 and isinstance(stop, Expression):
        return build.weight((stop,), name)
    if any(number is None or isinstance(number, Expression) for number in numbers):
        return build.weight((unknown(f"{name}.length"),), name)
    if not step:
        raise ValueError("its step is 0")
    count = max(ceil(Fraction(stop - start) / step), 0)
    if count > MAX_ELEMENTS:
        return build.weight((count,), name)
    integer = all(value.data is not None and value.data.integer for value in values)
    return build.constant([start + i * step for i in range(count)], integer=integer, name=name)


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
