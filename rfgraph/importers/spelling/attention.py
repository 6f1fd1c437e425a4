"""Attention, spelt with the primitives of the tensor program: over all keys, under a mask, up to the query's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Value, product


def is_self(query: Value, key: Value, d: int) -> bool:
    """Return whether there are as many keys as queries along dimension ``d``, so that a causal mask is a triangle."""
    return query.shape is not None and key.shape is not None and query.shape[d] == key.shape[d]


def causal(
    build: Builder, query: Value, key: Value, value: Value, rows: Sequence[str], columns: Sequence[str], d: int,
    part: str = "",
) -> Value:  # fmt: skip
    """Add attention whose query at each position reads the keys and values at that position and all before it.

    Parameters
    ----------
    query, key, value
        Tensors whose last dimension is that of the channels.
    rows, columns
        Labels of the other dimensions of the query, and of key and value.
    d
        Their dimension that is attended over, of one size in all.
    part
        Tells it from other steps of the layer.
    """
    assert query.shape is not None
    assert value.shape is not None
    aligned = [rows[d] if i == d else label for i, label in enumerate(columns)]
    before = program.Mix(function="attention", dims=(d,), direction="forward")
    # Multiply-accumulates are those of attention without a mask: all pairs of positions are computed.
    macs = product(query.shape[:-1]) * query.shape[d] * (query.shape[-1] + value.shape[-1])
    keys = build(before, key, part=f"{part}keys", macs=macs)
    values = build(before, value, part=f"{part}values", macs=0)
    products = program.Contract(operands=((*rows, "c"), (*aligned, "c")), output=tuple(rows))
    scores = build(products, query, keys, part=f"{part}scores", macs=0)
    sums = program.Contract(operands=(tuple(rows), (*aligned, "e")), output=(*rows, "e"))
    return build(sums, scores, values, part=part.rstrip("/"), macs=0)


def weights(
    build: Builder, query: Value, key: Value, rows: Sequence[str], columns: Sequence[str], *,
    mask: Value | None = None, masked: bool = False, chooses: bool = False,
) -> Value:  # fmt: skip
    """Add what each query weighs the keys with: products, under a mask, through a softmax.

    Parameters
    ----------
    query, key
        Tensors whose last dimension is that of the channels.
    rows, columns
        Labels of their other dimensions.
    mask
        What the products are added to; a constant one may hide keys, so that what is read is a bound.
    masked
        Whether a mask that is no tensor of the program hides keys.
    chooses
        Whether the mask says which products stay, in place of being added to them.
    """
    if mask is not None and mask.constant and mask.shape is not None and all(size == 1 for size in mask.shape):
        mask = None  # one number for all hides none
    products = program.Contract(operands=((*rows, "d"), (*columns, "d")), output=(*rows, columns[-1]))
    scores = build(products, query, key, part="scores")
    hidden = program.MASKED if masked or (mask is not None and mask.constant) else ""
    if mask is not None and chooses:
        nothing = build.weight((), read=lambda: np.asarray(-np.inf))
        scores = build(program.Pointwise(function="where", bound=hidden), mask, scores, nothing, part="mask")
    elif mask is not None:
        scores = build(program.Pointwise(function="add", bound=hidden), scores, mask, part="mask")
    elif hidden:
        scores = build(program.Pointwise(function="identity", bound=hidden), scores, part="mask")
    return build(program.Mix(function="softmax", dims=(len(rows),)), scores, part="softmax")


def summed(
    build: Builder, weighed: Value, value: Value, rows: Sequence[str], columns: Sequence[str], part: str = "",
) -> Value:  # fmt: skip
    """Add the sum of the values under the ``weights`` of each query."""
    sums = program.Contract(operands=((*rows, columns[-1]), (*columns, "e")), output=(*rows, "e"))
    return build(sums, weighed, value, part=part)
