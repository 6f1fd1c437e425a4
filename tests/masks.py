"""What every element of a tensor program reads, by brute force: an oracle for the lowering that knows nothing of it.

Each element is a set of input pixels, held as the bits of an integer; an operation unites the sets that it reads.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import ceil, floor

import numpy as np

from rfgraph.importers import program as p


def unite(arrays):
    return np.bitwise_or.reduce(np.stack(np.broadcast_arrays(*arrays)), axis=0)


def empty(shape):
    array = np.empty(shape, dtype=object)
    array[...] = 0
    return array


def pixels(shape, spatial):
    """Return an input whose elements read themselves: one bit for each position of the dimensions ``spatial``."""
    array = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        bit = 0
        for d in spatial:
            bit = bit * shape[d] + index[d]
        array[index] = 1 << bit
    return array


def reduced(array, dims, keepdims=True):
    for d in dims:
        array = np.bitwise_or.reduce(array, axis=d, keepdims=True)
    return array if keepdims else array.squeeze(tuple(dims))


def summed(op, x):
    """Return what each output channel reads of the channels of its group."""
    if op.channel is None:
        return x
    groups = np.split(x, op.groups, axis=op.channel)
    each = [np.repeat(reduced(group, [op.channel]), op.channels // op.groups, op.channel) for group in groups]
    return np.concatenate(each, axis=op.channel)


def slide(op, x):
    x = summed(op, x)
    for i, d in enumerate(op.dims):
        before, after = op.padding[i]
        span = (op.kernel[i] - 1) * op.dilation[i] + 1
        size = (x.shape[d] + before + after - span) // op.stride[i] + 1
        rows = []
        for y in range(size):
            taps = [y * op.stride[i] - before + t * op.dilation[i] for t in range(op.kernel[i])]
            taps = [tap for tap in taps if 0 <= tap < x.shape[d]]
            rows.append(unite([x.take(tap, d) for tap in taps]) if taps else empty(x.take(0, d).shape))
        x = np.stack(rows, axis=d)
    return x


def slide_transposed(op, x):
    x = summed(op, x)
    for i, d in enumerate(op.dims):
        before, after = op.padding[i]
        span = (op.kernel[i] - 1) * op.dilation[i] + 1
        size = (x.shape[d] - 1) * op.stride[i] + span + op.output_padding[i] - before - after
        rows = [empty(x.take(0, d).shape) for _ in range(size)]
        for source, tap in itertools.product(range(x.shape[d]), range(op.kernel[i])):
            y = source * op.stride[i] + tap * op.dilation[i] - before
            if 0 <= y < size:
                rows[y] = rows[y] | x.take(source, d)
        x = np.stack(rows, axis=d)
    return x


def resize(op, x):
    """Asymmetric floor for nearest, half-pixel centres for linear."""
    for i, d in enumerate(op.dims):
        n = x.shape[d]
        size = op.sizes[i] if op.sizes is not None else floor(n * Fraction(op.scales[i]))
        factor = Fraction(op.scales[i]) if op.scales is not None else Fraction(size, n)
        rows = []
        for y in range(size):
            if op.mode == "nearest":
                taps = {floor(y / factor)}
            else:
                at = (y + Fraction(1, 2)) / factor - Fraction(1, 2)
                taps = {floor(at), ceil(at)}
            rows.append(unite([x.take(min(max(tap, 0), n - 1), d) for tap in taps]))
        x = np.stack(rows, axis=d)
    return x


def adaptive(op, x):
    for d, size in zip(op.dims, op.sizes, strict=True):
        n = x.shape[d]
        rows = [
            unite([x.take(t, d) for t in range(floor(y * n / size), ceil((y + 1) * n / size))]) for y in range(size)
        ]
        x = np.stack(rows, axis=d)
    return x


def contract(op, arrays, weights):
    """Return what a product reads: of what is multiplied with a number of ``weights`` that is 0, nothing."""
    labels = list(dict.fromkeys(itertools.chain(op.output, *op.operands)))
    wide = []
    for own, array in zip(
        op.operands, [w if w is not None else a for w, a in zip(weights, arrays, strict=True)], strict=True
    ):
        order = sorted(range(len(own)), key=lambda d: labels.index(own[d]))
        array = array.transpose(order)
        index = [slice(None) if label in own else None for label in labels]
        wide.append(array[tuple(index)])
    summed = tuple(i for i, label in enumerate(labels) if label not in op.output)
    made = unite([array for array, weight in zip(wide, weights, strict=True) if weight is None])
    for array, weight in zip(wide, weights, strict=True):
        made = made if weight is None else made * (array != 0)
    return reduced(made, summed, keepdims=False)


def pad(op, x):
    for d, (before, after) in enumerate(op.amounts):
        if op.mode != "constant":
            x = x.take(np.pad(np.arange(x.shape[d]), (before, after), mode=op.mode), d)
            continue
        x = x.take(range(max(-before, 0), x.shape[d] - max(-after, 0)), d)
        shape = list(x.shape)
        for amount, first in ((before, True), (after, False)):
            shape[d] = max(amount, 0)
            x = np.concatenate([empty(shape), x] if first else [x, empty(shape)], axis=d)
    return x


def exchange(op, x):
    """Depth to space with the blocks before the channels, and its inverse, for ``[batch, channels, *space]``."""
    axes = len(op.dims)
    if isinstance(op, p.DepthToSpace):
        n, c, *space = x.shape
        x = x.reshape(n, *op.blocks, c // np.prod(op.blocks, dtype=int), *space)
        order = [0, axes + 1, *itertools.chain(*((axes + 2 + i, 1 + i) for i in range(axes)))]
        return x.transpose(order).reshape(n, -1, *(s * b for s, b in zip(space, op.blocks, strict=True)))
    n, c, *space = x.shape
    x = x.reshape(n, c, *itertools.chain(*((s // b, b) for s, b in zip(space, op.blocks, strict=True))))
    order = [0, *(3 + 2 * i for i in range(axes)), 1, *(2 + 2 * i for i in range(axes))]
    return x.transpose(order).reshape(n, -1, *(s // b for s, b in zip(space, op.blocks, strict=True)))


def apply(op, arrays, weights=()):
    x = arrays[0] if arrays else None
    match op:
        case p.Slide():
            return slide(op, x)
        case p.SlideTransposed():
            return slide_transposed(op, x)
        case p.Resize():
            return resize(op, x)
        case p.AdaptivePool():
            return adaptive(op, x)
        case p.Pointwise(function="mul"):
            made = unite(arrays)
            for weight in weights:
                made = made if weight is None else made * (weight != 0)
            return made
        case p.Pointwise():
            return unite(arrays)
        case p.Reduce():
            return reduced(x, op.dims, op.keepdims)
        case p.Mix():
            return np.broadcast_to(reduced(x, op.dims), x.shape)
        case p.Contract():
            return contract(op, arrays, weights or [None] * len(arrays))
        case p.Whole():
            everything = 0
            for array in arrays:
                everything |= int(reduced(array.reshape(-1), [0], keepdims=True)[0])
            made = empty(op.shape)
            made[...] = everything
            return made
        case p.Pad():
            return pad(op, x)
        case p.Slice():
            index = [slice(None)] * x.ndim
            for d, start, stop, step in zip(op.dims, op.starts, op.stops, op.steps, strict=True):
                index[d] = slice(start, stop, step)
            return x[tuple(index)]
        case p.Concat():
            return np.concatenate(arrays, axis=op.dim)
        case p.Roll():
            return np.roll(x, op.shift, op.dim)
        case p.Expand():
            return np.broadcast_to(x, np.broadcast_shapes(x.shape, op.shape))
        case p.DepthToSpace() | p.SpaceToDepth():
            return exchange(op, x)
        case p.Reshape():
            return x.reshape(op.shape)
        case p.Squeeze():
            return x.squeeze(op.dims)
        case p.Unsqueeze():
            return np.expand_dims(x, op.dims)
        case p.Transpose():
            return x.transpose(op.permutation)
    raise NotImplementedError(type(op).__name__)


def evaluate(program, spatial):
    """Return what every value of a program reads of its first input, whose dimensions ``spatial`` are its axes."""
    values = {}
    for value in program.inputs:
        first = value is program.inputs[0]
        values[value.name] = pixels(value.shape, spatial) if first else empty(value.shape)
    for step in program.instructions:
        arrays = []
        for value in step.inputs:
            if value.constant and isinstance(step.primitive, p.Take):
                arrays.append(np.array(value.data.elements, dtype=int))
            else:
                arrays.append(empty(value.shape) if value.constant else values[value.name])
        if isinstance(step.primitive, p.Take):
            rows, indices = arrays
            taken = rows.take(indices, step.primitive.dim)
            made = empty(step.output.shape)
            made[...] = taken
        else:
            weights = [value.numbers.look() if value.numbers is not None else None for value in step.inputs]
            made = apply(step.primitive, arrays, [None if w is None else np.array(w, dtype=object) for w in weights])
        values[step.output.name] = made
    return values
