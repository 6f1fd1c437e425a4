"""The numbers of many fields as arrays: exact, in ``int64`` where they fit, else as Python integers."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rfgraph.results import Fields, Numbers

if TYPE_CHECKING:
    from rfgraph.results import IntegerArray

#: Numbers below it leave room for a sum in 64 bits.
_LARGE = 1 << 62


def of_states(
    nodes: tuple[Hashable, ...],
    axes: tuple[str, ...],
    states: Collection[int],
    frames: Sequence[tuple[tuple[int, int], ...]],
    lane: int,
) -> Numbers:
    """Return the numbers of a plain network.

    Parameters
    ----------
    nodes, axes
        Names.
    states
        One integer per node of ``lane`` bits each for the number of its frame, and for the size less one on each axis.
    frames
        By number, twice the centre of output 0 and the effective stride on each axis.
    lane
        64.
    """
    lanes = b"".join([state.to_bytes((len(axes) + 1) * lane // 8, "little") for state in states])
    unpacked = np.frombuffer(lanes, dtype=np.dtype(f"<i{lane // 8}")).reshape(-1, len(axes) + 1)
    frame = unpacked[:, 0]
    if len(frames) > len(unpacked):  # of other networks too: only those met here
        used, frame = np.unique(frame, return_inverse=True)
        frames = [frames[number] for number in used.tolist()]
    table = _integers(frames)  # [frames, A, 2]
    grown: IntegerArray = unpacked[:, 1:].astype(table.dtype)
    return Numbers(
        nodes=nodes,
        axes=axes,
        size=grown + 1,
        stride=table[frame, :, 1],
        padding=(grown - table[frame, :, 0]) // 2,  # of arrays of the same type
        known=np.ones(grown.shape, bool),
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
