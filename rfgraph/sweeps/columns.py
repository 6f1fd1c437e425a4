"""What is known of many designs: one array per quantity, with one entry per design along its first dimension.

Numbers are 64-bit integers. Where one does not fit, or is a fraction, its column holds Python's exact ones instead; on
disk such a column is text.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = dict[str, Array]

#: Numbers of the node: what their columns have besides one entry per design, [N, K, A] with K nodes and A axes.
PER_AXIS = ("r", "S", "P", "map_size", "is_global")
#: [N, K]
PER_NODE = ("status",)
#: [N]
PER_DESIGN = ("position", "aligned", "parameters", "macs")
COLUMNS = (*PER_DESIGN[:2], *PER_AXIS, *PER_NODE, *PER_DESIGN[2:])

#: Entries of ``status``: the field is exact; a bound; exact where the input size does not matter; not known; and the
#: design does not work, because maps that meet differ in size, or one has no positions left.
EXACT, BOUND, BY_SIZE, UNKNOWN, FAILS = range(5)
STATUS = ("exact", "bound", "by size", "unknown", "fails")

#: Entries of ``aligned``.
NOT_ALIGNED, ALIGNED, ALIGNMENT_UNKNOWN = 0, 1, -1

#: What stands in ``r``, ``S``, ``P`` and ``map_size`` where there is none, and in ``parameters`` and ``macs``.
NONE, NOT_COUNTED = 0, -1


def blank(count: int, nodes: int, axes: int) -> Columns:
    """Return columns in which nothing is known of ``count`` designs."""
    # Designs lie side by side: each node and axis is filled and read as a whole.
    columns: Columns = {name: np.zeros((nodes, axes, count), dtype=np.int64) for name in PER_AXIS[:4]}
    columns["is_global"] = np.zeros((nodes, axes, count), dtype=np.bool_)
    columns["status"] = np.full((nodes, count), UNKNOWN, dtype=np.int8)
    columns = {name: np.moveaxis(column, -1, 0) for name, column in columns.items()}
    columns["position"] = np.zeros(count, dtype=np.int64)
    columns["aligned"] = np.full(count, ALIGNMENT_UNKNOWN, dtype=np.int8)
    columns["parameters"] = np.full(count, NOT_COUNTED, dtype=np.int64)
    columns["macs"] = np.full(count, NOT_COUNTED, dtype=np.int64)
    return columns


def put(columns: Columns, name: str, where: Any, value: Any) -> None:
    """Set an entry, and make the column one of exact numbers if it cannot hold it."""
    if columns[name].dtype != object and not (
        isinstance(value, (bool, np.bool_)) or (value == int(value) and -(1 << 63) <= value < 1 << 63)
    ):
        columns[name] = columns[name].astype(object)
    columns[name][where] = value


def narrowed(column: Array) -> Array:
    """Return a column of exact numbers as one of integers, if all of it fits."""
    if column.dtype == object and all(
        value.denominator == 1 and -(1 << 63) <= value < 1 << 63 for value in column.ravel().tolist()
    ):
        return column.astype(np.int64)
    return column


def taken(columns: Columns, which: Any) -> Columns:
    """Return the columns of some designs."""
    return {name: narrowed(column[which]) for name, column in columns.items()}


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the columns of all ``parts``, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def bytes_of(columns: Columns) -> int:
    """Return how much memory columns take, a little more for exact numbers."""
    return sum(column.nbytes + (column.size * 40 if column.dtype == object else 0) for column in columns.values())


def written(columns: Columns) -> Columns:
    """Return columns as they are stored: exact numbers as text."""
    return {
        name: column if column.dtype != object else np.array([str(v) for v in column.ravel()]).reshape(column.shape)
        for name, column in columns.items()
    }


def restored(columns: Columns) -> Columns:
    """Return columns as they were before they were ``written``."""
    original: Columns = {}
    for name, column in columns.items():
        if column.dtype.kind != "U":
            original[name] = column
            continue
        exact = np.empty(column.shape, dtype=object)
        for place, text in np.ndenumerate(column):
            value = Fraction(str(text))
            exact[place] = value.numerator if value.denominator == 1 else value
        original[name] = exact
    return original
