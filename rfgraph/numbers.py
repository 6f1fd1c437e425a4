"""The numbers of many fields as arrays: exact, in ``int64`` where they fit, else as Python integers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rfgraph.results import Fields, Numbers

if TYPE_CHECKING:
    from rfgraph.results import IntegerArray

#: Numbers below it leave room for a sum in 64 bits.
_LARGE = 1 << 62


def of_states(
    axes: tuple[str, ...],
    states: Mapping[Hashable, int],
    frames: Sequence[tuple[tuple[int, int], ...]],
    number: int,
    size: int,
) -> Numbers:
    """Return the numbers of a plain network.

    Parameters
    ----------
    axes
        Their names.
    states
        Node -> one integer: in its lowest ``number`` bits that of its frame, and above it for each axis the size less
        one in ``size`` bits. All fit into 64, or each has 64.
    frames
        By number, twice the centre of output 0 and the effective stride on each axis.
    """
    if size == 64:
        lanes = b"".join([state.to_bytes((len(axes) + 1) * 8, "little") for state in states.values()])
        frame, *of_axes = np.frombuffer(lanes, dtype=np.dtype("<i8")).reshape(-1, len(axes) + 1).T
    else:
        packed = np.fromiter(states.values(), np.uint64, len(states)).view(np.int64)
        frame = packed & ((1 << number) - 1)
        of_axes = [packed >> number + size * axis & ((1 << size) - 1) for axis in range(len(axes))]
    if len(frames) > len(frame):  # of other networks too: only those met here
        used, frame = np.unique(frame, return_inverse=True)
        frames = [frames[met] for met in used.tolist()]
    center2, stride = _integers(frames).T  # each [A, frames]
    grown = np.array(of_axes, center2.dtype)  # [A, V]
    return Numbers(
        nodes=tuple(states),
        axes=axes,
        size=(grown + 1).T,
        stride=stride.take(frame, axis=1).T,
        padding=((grown - center2.take(frame, axis=1)) >> 1).T,
        known=np.ones((len(frame), len(axes)), bool),
    )


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
    size, stride, padding = _integers(rows).T  # each [V, A], of [A, V, 3]
    return Numbers(nodes, axes, size, stride, padding, np.array(known, dtype=bool).T)


def _integers(rows: Any) -> IntegerArray:
    try:
        numbers = np.array(rows, dtype=np.int64)
    except OverflowError:
        return np.array(rows, dtype=object)
    return numbers if not numbers.size or -_LARGE < numbers.min() <= numbers.max() < _LARGE else numbers.astype(object)
