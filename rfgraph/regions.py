"""Regions: the pixels that one feature reads, cut at the border of every map on the way and not only at the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rfgraph.compiled import Compiled
from rfgraph.ops import Op
from rfgraph.window import Interval, Window

Positions = NDArray[np.int64]  # sorted, without repeats


def positions_read(compiled: Compiled, node: int, index: tuple[int, ...], source: int) -> tuple[Positions, ...] | None:
    """Return the positions of ``source`` that one feature of ``node`` reads, per axis; ``None`` if it reads none.

    Parameters
    ----------
    compiled
        A network whose sizes are all known.
    node, index
        The feature: a node id, and one index per axis inside its map.
    source
        Node id of what is read.
    """
    layers = compiled.layers
    reached: dict[int, tuple[Positions, ...]] = {node: tuple(np.array([y], dtype=np.int64) for y in index)}
    for v in range(node, source, -1):
        outputs = reached.pop(v, None)
        if outputs is None:
            continue
        for slot, tail in enumerate(layers.tails[v]):
            inputs = tuple(
                _read(
                    layers.ops[v][axis], compiled.reads[axis][v][slot], outputs[axis], compiled.sizes[tail][axis] or 0
                )
                for axis in range(len(layers.axes))
            )
            if any(not len(positions) for positions in inputs):
                continue  # one axis wholly in the padding: nothing is read
            if tail in reached:
                inputs = tuple(np.union1d(a, b) for a, b in zip(reached[tail], inputs, strict=True))
            reached[tail] = inputs
    return reached.get(source)


def _read(op: Op, read: Window, outputs: Positions, size: int) -> Positions:
    """Return the positions in ``[0, size)`` that ``outputs`` read through ``read``."""
    if read.kind == "full":
        return np.arange(size)
    if read.kind == "empty":
        return outputs[:0]
    ends = [interval for y in outputs.tolist() if (interval := read.interval(y)) is not None]
    marks = np.zeros(size, dtype=bool)
    for first, last in ends:
        if op.clamps:
            first, last = min(max(first, 0), size - 1), min(max(last, 0), size - 1)
        elif first < 0:
            first += -(first // op.spacing) * op.spacing
        marks[first : last + 1 : op.spacing] = True
    return np.flatnonzero(marks)


def box(positions: tuple[Positions, ...]) -> tuple[Interval, ...]:
    """Return the closed intervals that bound ``positions``."""
    return tuple((int(axis[0]), int(axis[-1])) for axis in positions)
