"""Resizes of ``jax.image``, which are products with matrices of weights, or rows that are gathered."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.jax.nodes import Ints, Node
from rfgraph.importers.lowering.rows import nearest_of
from rfgraph.importers.program import Builder, Expression, Value, valued
from rfgraph.importers.spelling.operations import KEYS
from rfgraph.ops.resampling import RADIUS, Resize

#: Weights smaller than this, where the greatest is 1, are 0 but for rounding.
ZERO = 1e-10
#: How ``jax.image`` resizes: mode, and whether it smooths what it shrinks.
RESIZES = tuple((mode, smooth) for mode in RADIUS for smooth in (True, False))


def resize_of_product(node: Node, build: Builder, left: Ints, right: Ints) -> Value | None:
    """Return the resize that a product is, ``None`` if it is none: its other operand is computed, from no input.

    What its weights are shows which rows each output reads; that must be what a resize of that kind reads. A matrix
    all of whose weights are read mixes channels as well as rows, and is a resize in ``jax.image.resize`` alone.
    """
    if len(left) != 1:
        return None
    x = 0 if not node.value(0).constant else 1
    d, summed = (left[0], right[0]) if x == 0 else (right[0], left[0])
    held = [_rows_read(weights, summed) for weights in looked_at(node, 1 - x)]
    tried = [_kinds_of_resize(*read) for read in held if read is not None]
    kinds = [kind for kind in RESIZES if tried and all(kind in each for each in tried)]
    told = "resize" in node.within or not all(read is not None and _reads_all(*read) for read in held)
    if not kinds or None in held[:1] or not told:
        return None
    mode, smooth = kinds[0]
    size = node.shape(1 - x)[1 - summed]
    resize = program.Resize(dims=(d,), sizes=(size,), mode=mode, antialias=smooth, coefficient=KEYS)
    resized = build(resize, node.value(x))
    rank = len(node.shape(x))
    rest = [e for e in range(rank) if e != d]
    order = tuple([*rest, d] if x == 0 else [d, *rest])
    return (
        resized if order == tuple(range(rank)) else build(program.Transpose(permutation=order), resized, part="layout")
    )


def looked_at(node: Node, k: int) -> list[Any]:
    """Return the numbers of a constant; where they depend on sizes that are open, those at some sizes."""
    number = node.operands[k].number
    if number is None or not number.is_open or "resize" not in node.within:
        return [node.operands[k].numbers]
    return [number.at(sizes) for sizes in node.trials]


def _rows_read(weights: Any, summed: int) -> tuple[Ints, Ints, int] | None:
    """Return the first and the last row that each output reads, and how many there are; ``None`` without such."""
    if weights is None or weights.ndim != 2 or weights.dtype.kind != "f":
        return None
    rows = np.moveaxis(weights, summed, 0)  # [inputs, outputs]
    if 1 in rows.shape or rows.shape[0] == rows.shape[1]:
        return None
    reads = np.abs(rows) > ZERO * np.abs(rows).max(initial=0)
    if not reads.any(axis=0).all():
        return None
    first, last = reads.argmax(axis=0), len(reads) - 1 - reads[::-1].argmax(axis=0)
    return tuple(map(int, first)), tuple(map(int, last)), len(rows)


def _reads_all(first: Ints, last: Ints, inputs: int) -> bool:
    return not any(first) and all(at == inputs - 1 for at in last)


@lru_cache(maxsize=256)
def _kinds_of_resize(first: Ints, last: Ints, inputs: int) -> list[tuple[str, bool]]:
    """Return the resizes of which output ``y`` reads ``first[y]`` to ``last[y]``."""
    kinds = []
    for mode, smooth in RESIZES:
        op = Resize.parse({"size": len(first), "mode": mode, "antialias": smooth}, 0, 1)
        window = op.window(0, (inputs,))
        if window.is_unknown:
            return []
        spans = [window.interval(y) or (0, 0) for y in range(len(first))]
        if all((max(a, 0), min(b, inputs - 1)) == at
               for (a, b), at in zip(spans, zip(first, last, strict=True), strict=True)):  # fmt: skip
            kinds.append((mode, smooth))
    return kinds


def resized_rows(node: Node, build: Builder) -> Value | None:
    """Return the resize to the nearest row that a gather is whose indices depend on sizes that are open."""
    numbers, shape = node.parameters["dimension_numbers"], node.shape(0)
    if len(numbers.start_index_map) != 1 or tuple(numbers.collapsed_slice_dims) != tuple(numbers.start_index_map):
        return None
    d = numbers.start_index_map[0]
    if not isinstance(shape[d], Expression) and not isinstance(node.shape(1)[0], Expression):
        return None
    sizes = node.sizes("slice_sizes")
    if len(node.shape(1)) != 2 or any(
        size != of for e, (size, of) in enumerate(zip(sizes, shape, strict=True)) if e != d
    ):
        return None
    if tuple(numbers.offset_dims) != tuple(e for e in range(len(shape)) if e != d):
        return None
    kinds = set()
    for rows, at in zip(looked_at(node, 1), node.trials, strict=True):
        inputs = valued(shape[d], at)
        if rows is None or not isinstance(inputs, int):
            return None
        if 1 not in (len(rows), inputs) and len(rows) != inputs:
            kinds.add(nearest_of(tuple(int(row) for row in rows[:, 0]), inputs))
    if len(kinds) != 1 or (kind := kinds.pop()) is None:
        return None
    coordinates, rounding = kind
    resize = program.Resize(dims=(d,), sizes=(node.shape(1)[0],), coordinates=coordinates, nearest_mode=rounding)
    return build(resize, node.value(0))
