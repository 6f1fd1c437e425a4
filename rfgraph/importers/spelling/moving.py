"""Moves of elements that formats share: cut, turned, repeated, joined, renumbered; and constants, told by shapes.

As in ``operations``, each function gets plain numbers, wherever a format keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil
from typing import Any, TypeAlias

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.program import MAX_ELEMENTS, MAX_FLOATS, Builder, Value, computed, text
from rfgraph.importers.program.dimensions import Dim, Expression, Shape, bounds, exact_quotient, product, unknown
from rfgraph.importers.spelling.arguments import axes_of, axis_of, rank_of, shape_of, whole_number
from rfgraph.importers.spelling.handlers import UnspelledError

#: Tensors are taken apart into, or repeated in, no more pieces than this.
MAX_PIECES = 4096
MAX_REPEATS = 64

#: What the outputs of a node are called, each with the op of the node.
Names: TypeAlias = "Sequence[tuple[str, str]]"

# Elements moved.


def cut(build: Builder, x: Value, d: int, start: Dim | None, stop: Dim | None, part: str = "") -> Value:
    """Add a slice of one dimension."""
    return build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,)), x, part=part)


def box(build: Builder, x: Value, starts: Sequence[Dim], sizes: Sequence[Dim]) -> Value:
    """Cut a box out of a tensor; -1 for a size is all there is from its start on."""
    rank = len(shape_of(x))
    if not len(starts) == len(sizes) == rank:
        raise ValueError(f"starts {[*starts]} and sizes {[*sizes]} do not have {rank} entries each")
    stops = tuple(None if size == -1 else start + size for start, size in zip(starts, sizes, strict=True))
    dims = tuple(range(rank))
    return build(program.Slice(dims=dims, starts=tuple(starts), stops=stops, steps=(1,) * rank, whole=True), x)


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


def flipped(build: Builder, x: Value, dims: Sequence[int], part: str = "") -> Value:
    """Turn dimensions round."""
    ends = (None,) * len(dims)
    if not dims:
        return build(program.Pointwise(function="identity"), x, part=part)
    return build(program.Slice(dims=tuple(dims), starts=ends, stops=ends, steps=(-1,) * len(dims)), x, part=part)


def rotated(build: Builder, x: Value, a: int, b: int, turns: int) -> Value:
    """Turn a tensor by quarters from dimension ``a`` towards dimension ``b``."""
    around = {0: (), 1: (b,), 2: (a, b), 3: (a,)}[turns % 4]
    if turns % 2 == 0:
        return flipped(build, x, around)
    return permuted(build, flipped(build, x, around, part="flipped"), swapped(len(shape_of(x)), a, b))


def rolled(build: Builder, x: Value, axes: Sequence[int], shifts: Sequence[int]) -> Value:
    """Move what stands along each of some axes, and what leaves at its end comes back at its start."""
    if len(shifts) != len(axes) or not axes:
        raise ValueError(f"it has {len(shifts)} shifts for {len(axes)} axes")
    rank = len(shape_of(x))
    for k, (axis, shift) in enumerate(zip(axes, shifts, strict=True), 1):
        x = build(program.Roll(dim=axis_of(axis, rank), shift=shift), x, part=str(k - 1) if k < len(axes) else "")
    return x


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


def tile_as_numpy(build: Builder, x: Value, repeats: Sequence[int]) -> Value:
    """Repeat a tensor along its last dimensions, or along more than it has, which are put before them."""
    missing = len(repeats) - len(shape_of(x))
    if missing > MAX_REPEATS:
        raise ValueError(f"it has {len(repeats)} repeats")
    if missing > 0:
        x = build(program.Unsqueeze(dims=tuple(range(missing))), x, part="dims")
    return tile(build, x, [*[1] * -missing, *repeats])


def taken(build: Builder, x: Value, axis: int, indices: Value) -> Value:
    """Take the rows of a dimension that lie at some indices."""
    return build(program.Take(dim=axis_of(axis, len(shape_of(x)))), x, indices)


def repeat_each(build: Builder, x: Value, d: int, times: int) -> Value:
    """Repeat each element along a dimension, one beside the other."""
    shape = shape_of(x)
    wide = build(program.Unsqueeze(dims=(d + 1,)), x, part="element")
    copies = build(program.Expand(shape=(*shape[: d + 1], times, *shape[d + 1 :])), wide, part="copies")
    return build(program.Reshape(shape=(*shape[:d], shape[d] * times, *shape[d + 1 :])), copies)


def read_all(build: Builder, operands: Sequence[Value], names: Sequence[tuple[str, str]]) -> list[Value]:
    """Add outputs, called by name and op as ``names`` say, each of which reads the whole of all ``operands``."""
    outputs = []
    for name, op in names:
        build.at(name, op)
        outputs.append(build(program.Whole(), *operands))
    return outputs


def concat(build: Builder, tensors: Sequence[Value], axis: int) -> Value:
    """Put tensors end to end along a dimension."""
    return build(program.Concat(dim=axis_of(axis, rank_of(tensors))), *tensors)


def stack(build: Builder, rows: Sequence[Value], axis: int) -> Value:
    """Put tensors side by side along a new dimension."""
    d = axis_of(axis, rank_of(rows) + 1)
    if len(rows) == 1:
        return build(program.Unsqueeze(dims=(d,)), rows[0])
    wide = [build(program.Unsqueeze(dims=(d,)), row, part=f"row/{i}") for i, row in enumerate(rows)]
    return build(program.Concat(dim=d), *wide)


def unstack(
    build: Builder, x: Value, axis: int, count: int | None = None, names: Names | None = None, most: int = MAX_PIECES
) -> list[Value]:
    """Take a tensor apart along a dimension, which goes.

    Parameters
    ----------
    build, x, axis
        What it is written with, the tensor, and the dimension.
    count
        How many rows there are, if that is stated.
    names
        Nodes and ops that the rows are of; by default they are parts of one node.
    most
        More rows than this are not taken.
    """
    shape = shape_of(x)
    d = axis_of(axis, len(shape))
    rows = whole_number("size", shape[d]) if count is None else count
    if isinstance(shape[d], int) and rows != shape[d]:
        raise ValueError(f"it takes {rows} rows of a dimension of size {shape[d]}")
    if names is not None or rows:
        _check_pieces(rows, most)
    return [
        _piece(build, program.Take(dim=d), [x, build.constant(k)], k, names)
        for k in range(rows if names is None else min(rows, len(names)))
    ]


def split(build: Builder, x: Value, axis: int, sizes: Sequence[Dim] | int, names: Names | None = None) -> list[Value]:
    """Cut a tensor along a dimension, into pieces of ``sizes`` (one may be -1) or into that many; see ``unstack``."""
    shape = shape_of(x)
    d = axis_of(axis, len(shape))
    if isinstance(sizes, int):
        _check_pieces(sizes)
        sizes = [quotient(shape[d], sizes)] * sizes
    if sum(size == -1 for size in sizes) > 1:
        raise ValueError(f"it splits into {[*sizes]}, more than one of which is -1")
    rest = shape[d]
    for size in sizes:
        rest = rest if size == -1 else rest - size
    edges = [0, *accumulate(rest if size == -1 else size for size in sizes)]
    ends = list(pairwise(edges))[: None if names is None else len(names)]
    return [
        _piece(build, program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,)), [x], k, names)
        for k, (start, stop) in enumerate(ends)
    ]


def even_bounds(total: Dim, count: int) -> list[Dim]:
    """Return 0 and where each of ``count`` pieces ends that are as large as each other, or 1 larger for the first."""
    if not 0 < count <= MAX_PIECES:
        raise UnspelledError(f"it makes {count} pieces")
    if isinstance(total, int):
        return [k * (total // count) + min(k, total % count) for k in range(count + 1)]
    return [total // count * k for k in range(count + 1)]


def _piece(
    build: Builder, primitive: program.Primitive, operands: Sequence[Value], k: int, names: Names | None
) -> Value:  # fmt: skip
    if names is None:
        return build(primitive, *operands, part=str(k))
    build.at(*names[k])
    return build(primitive, *operands)


def _check_pieces(count: int, most: int = MAX_PIECES) -> None:
    if count < 1:
        raise ValueError(f"it makes {count} pieces")
    if count > most:
        raise UnspelledError(f"it makes {count} pieces, more than {most}")


def mirror_pad(build: Builder, x: Value, paddings: Sequence[tuple[Dim, Dim]], mode: str) -> Value:
    """Pad each dimension; ``REFLECT`` leaves the border itself out, ``SYMMETRIC`` repeats it."""
    if len(paddings) != len(shape_of(x)):
        raise ValueError(f"it pads {len(paddings)} dimensions of a tensor of {len(shape_of(x))}")
    known = {"CONSTANT": "constant", "REFLECT": "reflect", "SYMMETRIC": "symmetric"}
    if mode not in known:
        raise ValueError(f"mode {mode!r} is not one of {', '.join(known)}")
    return build(program.Pad(amounts=tuple(paddings), mode=known[mode]), x)


def permuted(build: Builder, x: Value, axes: Sequence[int] | None, part: str = "") -> Value:
    """Add a transposition, by default one that turns the order of all dimensions round."""
    rank = len(shape_of(x))
    order = range(rank - 1, -1, -1) if axes is None else [axis_of(axis, rank) for axis in axes]
    return build(program.Transpose(permutation=tuple(order)), x, part=part)


def widened(build: Builder, x: Value, axes: Sequence[int]) -> Value:
    """Add dimensions of size 1 at places of the tensor that is made."""
    return build(program.Unsqueeze(dims=axes_of(axes, len(shape_of(x)) + len(axes))), x)


def narrowed(build: Builder, x: Value, axes: Sequence[int] | None) -> Value:
    """Drop some dimensions, which are of size 1; by default all that are."""
    shape = shape_of(x)
    dims = tuple(d for d, size in enumerate(shape) if size == 1) if axes is None else axes_of(axes, len(shape))
    return build(program.Squeeze(dims=dims), x)


def swapped(rank: int, a: int, b: int) -> tuple[int, ...]:
    """Return the permutation that exchanges two of ``rank`` dimensions."""
    return tuple({a: b, b: a}.get(d, d) for d in range(rank))


def moved(rank: int, sources: Sequence[int], destinations: Sequence[int]) -> tuple[int, ...]:
    """Return the permutation that moves some of ``rank`` dimensions to other places and keeps the others in order."""
    if any(len(set(end)) != len(end) for end in (sources, destinations)):
        raise ValueError("it moves an axis twice")
    rest = iter([d for d in range(rank) if d not in sources])
    to = dict(zip(destinations, sources, strict=True))
    return tuple(to[d] if d in to else next(rest) for d in range(rank))


def reshaped(build: Builder, x: Value, shape: Shape, *, resized: bool = False, part: str = "") -> Value:
    """Add a reshape, if as many elements come out as go in; of a model read for other sizes it may state wrong ones."""
    more = bounds(product(shape) - product(shape_of(x)))
    if (more.least is not None and more.least > 0) or (more.greatest is not None and more.greatest < 0):
        if resized:
            raise UnspelledError(f"it reshapes to {text(shape)}, for which the model was made")
        raise ValueError(f"shape {text(shape_of(x))} cannot become {text(shape)}")
    return build(program.Reshape(shape=shape), x, part=part)


def shuffled(build: Builder, x: Value, d: int, groups: int) -> Value:
    """Deal the elements along a dimension, which lie in so many groups, out in turns."""
    shape = shape_of(x)
    split_up = (*shape[:d], groups, quotient(shape[d], groups), *shape[d + 1 :])
    turned = permuted(build, build(program.Reshape(shape=split_up), x, part="split"), swapped(len(shape) + 1, d, d + 1),
                      part="turned")  # fmt: skip
    return build(program.Reshape(shape=shape), turned)


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


def filled(build: Builder, sizes: Sequence[Dim], value: Value, name: str) -> Value:
    """Return a tensor that holds one number, itself a constant if that is one; what is large keeps where it is 0."""
    if not value.constant:
        return build(program.Expand(shape=tuple(sizes)), value)
    count = product(sizes)
    if isinstance(count, int) and value.data is not None and value.data.elements.size == 1:
        integer = value.data.integer
        if 0 <= count <= (MAX_ELEMENTS if integer else MAX_FLOATS):
            elements = np.full(tuple(sizes), value.data.elements.flat[0], dtype=object)  # type: ignore[type-var]
            return build.constant(elements, integer=integer, name=name)
    weight = build.weight(tuple(sizes), name)
    held = value.held(build.tells_learned) if isinstance(count, int) and value.shape == () else None
    if held is None or not held.own:
        return weight
    shape = tuple(size for size in sizes if isinstance(size, int))
    return replace(weight, numbers=computed(lambda number: np.broadcast_to(number, shape), [held], own=True))


def shape_constant(build: Builder, shape: Shape | None, name: str) -> Value:
    """Return the sizes of a tensor as a constant, of which nothing is known where its rank is not."""
    return build.weight(None, name) if shape is None else build.constant(list(shape), name=name)


def quotient(size: Dim, block: int) -> Dim:
    """Return a size divided by a number that it has to be a multiple of, as far as that is known."""
    quotient = exact_quotient(size, block)
    if quotient is not None:
        return quotient
    if isinstance(size, int):
        raise ValueError(f"size {size} is not a multiple of block {block}")
    return size // block
