"""Causal attention, spelt with the primitives of the tensor program: a query reads keys and values up to its own."""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.importers import program
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import product
from rfgraph.importers.program.primitives import Value


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
    build
        What it is written with.
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
