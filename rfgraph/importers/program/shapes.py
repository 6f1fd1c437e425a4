"""The shape that each primitive makes of the shapes of its operands; ``None`` where even the rank is not known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import singledispatch
from math import floor, prod
from typing import TypeVar

from rfgraph.importers.program import primitives as program
from rfgraph.importers.program.dimensions import Dim, Expression, Shape, exact_quotient, product, unknown

Shapes = Sequence[Shape | None]


@singledispatch
def shape_of(primitive: program.Primitive, shapes: Shapes) -> Shape | None:
    """Return the shape of the output of ``primitive`` on operands of ``shapes``.

    Raises
    ------
    ValueError
        If it cannot have such operands.
    """
    raise TypeError(f"{type(primitive).__name__} has no shape rule")


Kind = TypeVar("Kind", bound=program.Primitive)


def _of_one(
    kind: type[Kind],
) -> Callable[[Callable[[Kind, list[Dim]], Sequence[Dim]]], Callable[[Kind, Shapes], Shape | None]]:
    """Register the rule of primitives with one operand: of one of unknown rank they make one."""

    def register(rule: Callable[[Kind, list[Dim]], Sequence[Dim]]) -> Callable[[Kind, Shapes], Shape | None]:
        def shape_of_one(primitive: Kind, shapes: Shapes) -> Shape | None:
            return None if shapes[0] is None else tuple(rule(primitive, list(shapes[0])))

        return shape_of.register(kind, shape_of_one)

    return register


@shape_of.register(program.Constant | program.Whole | program.Opaque)
def _(primitive: program.Constant | program.Whole | program.Opaque, shapes: Shapes) -> Shape | None:
    return primitive.shape


@_of_one(program.Slide)
def _(primitive: program.Slide, shape: list[Dim]) -> Sequence[Dim]:
    _check_dims(primitive.dims, len(shape))
    for i, dim in enumerate(primitive.dims):
        stride, span = primitive.stride[i], (primitive.kernel[i] - 1) * primitive.dilation[i] + 1
        if isinstance(primitive.padding, str):
            shape[dim] = _rounded_up(shape[dim], stride)
            continue
        before, after = primitive.padding[i]
        room = shape[dim] + before + after - span
        towards_none = primitive.rounded and isinstance(room, int) and room < 0
        outputs = (_rounded_up(room, stride) if primitive.ceil_mode or towards_none else room // stride) + 1
        if primitive.ceil_mode and isinstance(outputs, int) and isinstance(shape[dim], int):
            outputs -= (outputs - 1) * stride >= shape[dim] + before  # type: ignore[operator]
        elif primitive.ceil_mode and (before or after):
            outputs = unknown(f"{outputs} or one less")
        shape[dim] = outputs
    return _with_channels(shape, primitive.channel, primitive.channels)


@_of_one(program.SlideTransposed)
def _(primitive: program.SlideTransposed, shape: list[Dim]) -> Sequence[Dim]:
    _check_dims(primitive.dims, len(shape))
    for i, dim in enumerate(primitive.dims):
        span = (primitive.kernel[i] - 1) * primitive.dilation[i] + 1
        grown = (shape[dim] - 1) * primitive.stride[i] + span
        shape[dim] = grown + primitive.output_padding[i] - sum(primitive.padding[i])
    return _with_channels(shape, primitive.channel, primitive.channels)


@_of_one(program.Resize)
def _(primitive: program.Resize, shape: list[Dim]) -> Sequence[Dim]:
    _check_dims(primitive.dims, len(shape))
    for i, dim in enumerate(primitive.dims):
        if primitive.sizes is not None:
            shape[dim] = primitive.sizes[i]
        elif primitive.scales is not None:
            shape[dim] = floor(shape[dim] * Fraction(primitive.scales[i]))
    return shape


@_of_one(program.AdaptivePool)
def _(primitive: program.AdaptivePool, shape: list[Dim]) -> Sequence[Dim]:
    for dim, size in zip(primitive.dims, primitive.sizes, strict=True):
        shape[dim] = size
    return shape


@shape_of.register(program.Pointwise)
def _(primitive: program.Pointwise, shapes: Shapes) -> Shape | None:
    result: Shape | None = shapes[0]
    for shape in shapes[1:]:
        result = None if result is None or shape is None else broadcast(result, shape)
    return result


@shape_of.register(program.Either)
def _(primitive: program.Either, shapes: Shapes) -> Shape | None:
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or len({len(shape) for shape in known}) != 1:
        return None
    return tuple(
        sizes[0] if all(size == sizes[0] for size in sizes) else unknown(f"either {' or '.join(map(str, sizes))}")
        for sizes in zip(*known, strict=True)
    )


@shape_of.register(program.Mix)
def _(primitive: program.Mix, shapes: Shapes) -> Shape | None:
    if shapes[0] is not None:
        _check_dims(primitive.dims, len(shapes[0]))
    return shapes[0]


@_of_one(program.Reduce)
def _(primitive: program.Reduce, shape: list[Dim]) -> Sequence[Dim]:
    _check_dims(primitive.dims, len(shape))
    kept: list[Dim] = []
    for dim, size in enumerate(shape):
        if dim not in primitive.dims:
            kept.append(size)
        elif primitive.keepdims:
            kept.append(1)
    return kept


@shape_of.register(program.Contract)
def _(primitive: program.Contract, shapes: Shapes) -> Shape | None:
    sizes: dict[str, Dim] = {}
    for labels, shape in zip(primitive.operands, shapes, strict=True):
        if shape is None:
            continue
        if len(labels) != len(shape):
            raise ValueError(f"an operand has {len(shape)} dimensions, not the {len(labels)} of {' '.join(labels)!r}")
        for label, size in zip(labels, shape, strict=True):
            if label not in sizes or sizes[label] == 1 or (isinstance(size, int) and size != 1):
                sizes[label] = size
    return tuple(sizes.get(label, unknown(f"size of {label}")) for label in primitive.output)


@_of_one(program.Pad)
def _(primitive: program.Pad, shape: list[Dim]) -> Sequence[Dim]:
    if len(primitive.amounts) != len(shape):
        raise ValueError(f"padding of {len(primitive.amounts)} dimensions does not fit a tensor of {len(shape)}")
    return [size + before + after for size, (before, after) in zip(shape, primitive.amounts, strict=True)]


@_of_one(program.Slice)
def _(primitive: program.Slice, shape: list[Dim]) -> Sequence[Dim]:
    _check_dims(primitive.dims, len(shape))
    for dim, start, stop, step in zip(primitive.dims, primitive.starts, primitive.stops, primitive.steps, strict=True):
        shape[dim] = _sliced(shape[dim], start, stop, step)
    return shape


@shape_of.register(program.Concat)
def _(primitive: program.Concat, shapes: Shapes) -> Shape | None:
    known = [shape for shape in shapes if shape is not None]
    if not known:
        return None
    shape = list(known[0])
    _check_dims((primitive.dim,), len(shape))
    if any(len(other) != len(shape) for other in known):
        raise ValueError(f"operands of {sorted({len(other) for other in known})} dimensions cannot be concatenated")
    total: Dim = 0
    for other in shapes:
        total = total + (unknown("size of an operand of unknown rank") if other is None else other[primitive.dim])
    shape[primitive.dim] = total
    return tuple(shape)


@shape_of.register(program.Roll)
def _(primitive: program.Roll, shapes: Shapes) -> Shape | None:
    return shapes[0]


@shape_of.register(program.Take)
def _(primitive: program.Take, shapes: Shapes) -> Shape | None:
    rows, indices = shapes
    if rows is None or indices is None:
        return None
    _check_dims((primitive.dim,), len(rows))
    return (*rows[: primitive.dim], *indices, *rows[primitive.dim + 1 :])


@shape_of.register(program.Expand)
def _(primitive: program.Expand, shapes: Shapes) -> Shape | None:
    return None if shapes[0] is None else broadcast(shapes[0], primitive.shape)


@_of_one(program.DepthToSpace)
def _(primitive: program.DepthToSpace, shape: list[Dim]) -> Sequence[Dim]:
    _check_dims((primitive.channel, *primitive.dims), len(shape))
    shape[primitive.channel] = shape[primitive.channel] // prod(primitive.blocks)
    for dim, block in zip(primitive.dims, primitive.blocks, strict=True):
        shape[dim] = shape[dim] * block
    return shape


@_of_one(program.SpaceToDepth)
def _(primitive: program.SpaceToDepth, shape: list[Dim]) -> Sequence[Dim]:
    _check_dims((primitive.channel, *primitive.dims), len(shape))
    shape[primitive.channel] = shape[primitive.channel] * prod(primitive.blocks)
    for dim, block in zip(primitive.dims, primitive.blocks, strict=True):
        shape[dim] = shape[dim] // block
    return shape


@shape_of.register(program.Reshape)
def _(primitive: program.Reshape, shapes: Shapes) -> Shape | None:
    return primitive.shape


@_of_one(program.Squeeze)
def _(primitive: program.Squeeze, shape: list[Dim]) -> Sequence[Dim]:
    _check_dims(primitive.dims, len(shape))
    return [size for dim, size in enumerate(shape) if dim not in primitive.dims]


@_of_one(program.Unsqueeze)
def _(primitive: program.Unsqueeze, shape: list[Dim]) -> Sequence[Dim]:
    rank = len(shape) + len(primitive.dims)
    _check_dims(primitive.dims, rank)
    rest = iter(shape)
    return [1 if dim in primitive.dims else next(rest) for dim in range(rank)]


@_of_one(program.Transpose)
def _(primitive: program.Transpose, shape: list[Dim]) -> Sequence[Dim]:
    if sorted(primitive.permutation) != list(range(len(shape))):
        raise ValueError(f"{primitive.permutation} does not permute {len(shape)} dimensions")
    return [shape[dim] for dim in primitive.permutation]


def broadcast(a: Shape, b: Shape) -> Shape:
    """Return the numpy broadcast of two shapes; a size that is not known is taken to fit."""
    rank = max(len(a), len(b))
    result: list[Dim] = []
    for x, y in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True):
        if x == 1 or (isinstance(x, Expression) and isinstance(y, int) and y != 1):
            result.append(y)
        elif isinstance(x, int) and isinstance(y, int) and y not in (1, x):
            raise ValueError(f"shapes {text(a)} and {text(b)} do not broadcast")
        else:
            result.append(x)
    return tuple(result)


def completed(shape: Sequence[Dim], total: Sequence[Dim] | None, name: str) -> Shape:
    """Return ``shape`` with its one entry of -1 worked out from the sizes ``total`` of the tensor it comes from."""
    if sum(size == -1 for size in shape) > 1:
        raise ValueError(f"shape {text(tuple(shape))} has more than one -1")
    if -1 not in shape:
        return tuple(shape)
    rest = product(size for size in shape if size != -1)
    missing = None if total is None else exact_quotient(product(total), rest)
    return tuple((unknown(f"{name}.{dim}") if missing is None else missing) if size == -1 else size
                 for dim, size in enumerate(shape))  # fmt: skip


def text(shape: Shape | None) -> str:
    """Return how messages write a shape."""
    return "of unknown rank" if shape is None else f"[{', '.join(map(str, shape))}]"


def _check_dims(dims: Sequence[int], rank: int) -> None:
    if any(not 0 <= dim < rank for dim in dims) or len(set(dims)) < len(dims):
        raise ValueError(f"dimensions {list(dims)} are not distinct ones of the {rank} that its operand has")


def _with_channels(shape: list[Dim], channel: int | None, channels: Dim | None) -> list[Dim]:
    if channel is not None and channels is not None:
        shape[channel] = channels
    return shape


def _rounded_up(size: Dim, divisor: int) -> Dim:
    return -(-size // divisor)


def _sliced(size: Dim, start: Dim | None, stop: Dim | None, step: int) -> Dim:
    if isinstance(size, int) and isinstance(start, int | None) and isinstance(stop, int | None):
        return len(range(*slice(start, stop, step).indices(size)))
    if step < 1:
        return size if step == -1 and start is None and stop is None else unknown(f"{start}:{stop}:{step} of {size}")
    first: Dim = 0 if start is None else start
    last: Dim = size if stop is None else stop
    if isinstance(first, int) and first < 0:
        first = size + first
    if isinstance(last, int) and last < 0:
        last = size + last
    elif isinstance(last, int) and last >= 2**31 - 1:
        last = size
    elif isinstance(last, int) and isinstance(size, Expression):
        return unknown(f"{start}:{stop}:{step} of {size}")  # the end may lie beyond the tensor
    return _rounded_up(last - first, step)
