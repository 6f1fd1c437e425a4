"""Patches of a map as columns of a matrix, and columns added up where their patches lie."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Value, product
from rfgraph.importers.spelling.arguments import shape_of, whole_number

Ints = Sequence[int]
Pairs = Sequence[tuple[int, int]]


def columns(
    build: Builder, x: Value, channel: int, kernel: Ints, stride: Ints, dilation: Ints, padding: Pairs
) -> Value:
    """Return the patches of a map, whose axes follow ``channel``: each is a column, whose rows are its elements."""
    shape = shape_of(x)
    dims = tuple(range(channel + 1, channel + 1 + len(kernel)))
    rows = shape[channel] * prod(kernel)
    window = program.Slide(
        function="conv", dims=dims, kernel=tuple(kernel), stride=tuple(stride), padding=tuple(padding),
        dilation=tuple(dilation), channel=channel, channels=rows, apart=True,
    )  # fmt: skip
    slid = build(window, x, macs=0)
    grid = shape_of(slid)
    return build(program.Reshape(shape=(*grid[:channel], rows, product(grid[d] for d in dims))), slid, part="columns")


def added_up(
    build: Builder, x: Value, size: Sequence[Dim], kernel: Ints, stride: Ints, dilation: Ints, padding: Pairs
) -> Value:
    """Return the map of ``size`` that columns are added up to: a transposed convolution of the grid of patches.

    The last dimension of ``x`` is that of the patches, and the one before it that of their elements.
    """
    shape = shape_of(x)
    channel = len(shape) - 2
    rows = whole_number("channels", shape[channel])
    if min((*kernel, *stride, *dilation)) < 1:
        raise ValueError(
            f"its kernel {list(kernel)}, stride {list(stride)} or dilation {list(dilation)} is not positive"
        )
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    axes = range(len(kernel))
    grid = [(size[i] + sum(padding[i]) - spans[i]) // stride[i] + 1 for i in axes]
    if rows % prod(kernel) or shape[-1] != product(grid):
        raise ValueError(f"its {shape[-1]} patches of {rows} channels are not those of a map of {list(size)}")
    laid = build(program.Reshape(shape=(*shape[:-1], *grid)), x, part="grid")
    extra = tuple(
        whole_number("size", size[i] - ((grid[i] - 1) * stride[i] - sum(padding[i]) + spans[i])) for i in axes
    )
    primitive = program.SlideTransposed(
        dims=tuple(channel + 1 + i for i in axes), kernel=tuple(kernel), stride=tuple(stride), padding=tuple(padding),
        output_padding=extra, dilation=tuple(dilation), channel=channel, channels=rows // prod(kernel), apart=True,
    )  # fmt: skip
    return build(primitive, laid, macs=0)
