"""The numbers of many fields as arrays: exact, as ``int64`` if they fit, else as Python integers.

Twin of ``rfgraph.passes.results.Fields``, whose numbers it lays out, held against it by
``tests/fast/test_affine_walk.py::test_what_is_solved_of_any_network_is_right``.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rfgraph.fast.numbers import Numbers
from rfgraph.passes.results import Fields

if TYPE_CHECKING:
    from rfgraph.fast.lanes import Lanes
    from rfgraph.fast.numbers import IntegerArray

#: Numbers below it leave room for a sum in 64 bits.
_LARGE = 1 << 62


def of_states(
    axes: tuple[str, ...], nodes: tuple[Hashable, ...], states: Collection[int], strides: IntegerArray, lanes: Lanes
) -> Numbers:
    """Return the numbers of a plain network.

    Parameters
    ----------
    states
        One integer for each node.
    strides
        The effective stride, by axis and number of the frame: [A, F].
    lanes
        How states are laid out, in lanes of whole bytes.
    """
    width, count = lanes.size // 8, 1 + 3 * len(axes)
    bits = b"".join([state.to_bytes(width * count, "little") for state in states])
    rows = np.frombuffer(bits, dtype=f"<u{width}").reshape(-1, count).T[: 1 + 2 * len(axes)].astype(np.int64)
    frame, before, last = rows[0], rows[1 : 1 + len(axes)], rows[1 + len(axes) :]
    if strides.dtype == object:  # those met here alone may be smaller
        used, frame = np.unique(frame, return_inverse=True)
        strides = integers(strides[..., used])
    stride = strides.take(frame, axis=1)
    size = (before + last - (2 * lanes.zero - 1)).astype(strides.dtype, copy=False)
    padding = (before - lanes.zero).astype(strides.dtype, copy=False)
    known = stride > 0
    if not known.all():
        size[~known] = padding[~known] = 0
    return Numbers(nodes, axes, size.T, stride.T, padding.T, known.T)


def of_fields(nodes: tuple[Hashable, ...], axes: tuple[str, ...], fields: Sequence[Fields]) -> Numbers:
    """Return the numbers of the fields of any network.

    Parameters
    ----------
    fields
        Fields of all nodes, one entry per axis.
    """
    windows = [[of_axis.field(v) for v in range(len(nodes))] for of_axis in fields]
    known = [[window.kind == "local" and len(window.intervals) == 1 for window in of_axis] for of_axis in windows]
    rows = [
        [(w.size, w.step, w.padding) if is_known else (0, 0, 0) for w, is_known in zip(*of_axis, strict=True)]
        for of_axis in zip(windows, known, strict=True)
    ]
    size, stride, padding = integers(rows).T  # each [V, A], of [A, V, 3]
    return Numbers(nodes, axes, size, stride, padding, np.array(known, dtype=bool).T)


def integers(rows: Any) -> IntegerArray:
    """Return nested sequences of integers as an array, of ``int64`` where they are small enough."""
    try:
        numbers = np.array(rows, dtype=np.int64)
    except OverflowError:
        return np.array(rows, dtype=object)
    return numbers if not numbers.size or -_LARGE < numbers.min() <= numbers.max() < _LARGE else numbers.astype(object)
