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
    from rfgraph.fast.numbers import IntegerArray

#: Numbers below it leave room for a sum in 64 bits.
_LARGE = 1 << 62


def of_states(
    axes: tuple[str, ...],
    nodes: tuple[Hashable, ...],
    states: Collection[int],
    places: IntegerArray,
    number: int,
    size: int,
) -> Numbers:
    """Return the numbers of a plain network.

    Parameters
    ----------
    axes, nodes
        Their names.
    states
        One integer for each node: in its lowest ``number`` bits that of its frame, and above it for each axis the size
        less one in ``size`` bits. All fit into 64, or each has 64.
    places
        Twice the centre of output 0 and the effective stride, by axis and number of the frame: [2, A, F].
    """
    if size == 64:
        lanes = b"".join([state.to_bytes((len(axes) + 1) * 8, "little") for state in states])
        rows = np.frombuffer(lanes, dtype=np.dtype("<i8")).reshape(-1, len(axes) + 1).T
        frame, size_less_one = rows[0], rows[1:]
    else:
        packed = np.fromiter(states, np.uint64, len(states)).view(np.int64)
        frame = packed & (1 << number) - 1
        size_less_one = packed >> number + size * np.arange(len(axes))[:, None]
        size_less_one &= (1 << size) - 1
    if places.dtype == object:  # those met here alone may be smaller
        used, frame = np.unique(frame, return_inverse=True)
        places = integers(places[..., used])
    padding, stride = places.take(frame, axis=2)  # each [A, V]; in place of the centres come paddings
    sizes = size_less_one.astype(places.dtype, copy=size == 64)
    np.subtract(sizes, padding, out=padding)
    padding >>= 1
    sizes += 1
    known = stride > 0
    if not known.all():
        sizes[~known] = padding[~known] = 0
    return Numbers(nodes, axes, sizes.T, stride.T, padding.T, known.T)


def of_fields(nodes: tuple[Hashable, ...], axes: tuple[str, ...], fields: Sequence[Fields]) -> Numbers:
    """Return the numbers of the fields of any network.

    Parameters
    ----------
    nodes, axes
        Names.
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
