"""What a move takes of a map, as nodes: a slice, a window that slides, or a table of positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from rfgraph.frozen import dataclass
from rfgraph.importers.lowering.maps import MAX_TABLE, LoweringBuilder, Placed, unmixed
from rfgraph.importers.lowering.numbers import Digit, Numbers, Reading, Table, read_back
from rfgraph.importers.lowering.views import Dimension, Part, View, joined
from rfgraph.importers.program.primitives import Instruction


@dataclass(frozen=True)
class _Along:
    """What is taken along one axis."""

    table: Table
    #: Kernel, stride and dilation of a window that slides over the table, if one does.
    window: tuple[int, int, int] | None
    #: The part that each digit on which the axis depends carries.
    parts: Mapping[int, Part]  # id of the digit -> part


def overlaps(reading: Reading) -> bool:
    """Return whether windows slide over an axis such that they share positions, as frames of a waveform do."""
    windows = [_along(axis, reading).window for axis in reading.first]
    return any(window is not None and window[1] < window[0] * window[2] for window in windows)


def take(maps: LoweringBuilder, step: Instruction, p: Placed, reading: Reading) -> Placed:
    """Return the tensor that ``reading`` takes of ``p``."""
    view = p.view
    assert view is not None
    along = {axis: _along(axis, reading) for axis in reading.first}
    windows = {axis: one.window for axis, one in along.items() if one.window is not None}
    name = f"{step.name}/positions" if windows else step.name
    sizes = {axis: view.extent(axis) for axis in along}
    node = take_positions(maps, step, p, {axis: one.table for axis, one in along.items()}, sizes, name)
    folded = p.folded
    if windows:
        attributes = {
            attribute: maps.per_axis({axis: window[i] for axis, window in windows.items()}, 1)
            for i, attribute in enumerate(("kernel", "stride", "dilation"))
        }
        node = maps.node("max_pool", step, [Placed(node, None)], **attributes)
        folded = True
    if any(not digit.steps and not digit.read.all() for digits in reading.digits for digit in digits):
        folded = True  # channels that are constants read nothing
    parts = {key: part for one in along.values() for key, part in one.parts.items()}
    dims = [Dimension(joined(_part(digit, parts) for digit in digits if digit.size != 1)) for digits in reading.digits]
    return Placed(node, View(tuple(dims)), p.full, step.name, folded)


def nothing(maps: LoweringBuilder, step: Instruction, written: Placed) -> Placed:
    """Return a tensor all elements of which come from constants, as what is left where all of it is written over."""
    view = written.view
    if view is None or maps.gave_up:
        return written
    sizes = [(axis, size) for axis in sorted(view.axes) if isinstance(size := view.extent(axis), int)]
    if not sizes or not 0 < sizes[0][1] <= MAX_TABLE:
        return written
    axis, size = sizes[0]
    tables = {"positions": maps.per_axis({axis: [None] * size}, None), "source_size": maps.per_axis({axis: size}, None)}
    return replace(written, node=maps.emit("gather", f"{step.name}/constants", [written], **tables))


def take_along(maps: LoweringBuilder, step: Instruction, p: Placed, d: int, rows: Numbers) -> Placed | None:
    """Return the tensor that takes ``rows`` along one dimension, whose dimensions replace it.

    ``None`` if the axes that the dimension carries lie in others too, or are not taken each by itself.
    """
    view = p.view
    assert view is not None
    dim = view.dims[d]
    alone = View((dim,))
    known = all(isinstance(part.size, int) and isinstance(part.stride, int) for part in dim.parts)
    if not known or dim.extra or any(alone.extent(axis) != view.extent(axis) for axis in dim.axes):
        return None
    size = dim.size
    assert isinstance(size, int)
    if size == 1 and rows.shape == (1,):
        return replace(p, label=step.name)
    if ((rows < -size) | (rows >= size)).any():
        return None
    rows = np.where(rows < 0, rows + size, rows)
    axis = view.whole(d)
    if axis is not None and rows.shape[1:] == () and rows.size > 1 and (rows == rows.flat[0]).all():
        one = Digit(0, rows.size, {axis: np.zeros_like(rows)}, np.ones(rows.size, dtype=np.bool_))
        reading: Reading | None = Reading(((one,),), {axis: int(rows.flat[0])}, {})  # one position again and again
    else:
        reading = read_back(alone, (size,), rows)
    if reading is None and rows.ndim > 1:
        return _listed(take_along(maps, step, p, d, rows.reshape(-1)), d, rows)
    if reading is None:
        return None
    among = p.beside and any(part.axis is None and part.size != 1 for part in dim.parts)  # channels that become rows
    taken = take(maps, step, Placed(p.node, alone, p.full, p.label, p.folded, among), reading)
    assert taken.view is not None
    dims = (*view.dims[:d], *taken.view.dims, *view.dims[d + 1 :])
    return Placed(taken.node, View(dims), taken.full, step.name, taken.folded)


def _listed(taken: Placed | None, d: int, rows: Numbers) -> Placed | None:
    """Return rows that were taken one after the other laid out in the dimensions of ``rows``."""
    if taken is None or taken.view is None:
        return None
    sizes = [dim.size for dim in taken.view.dims]
    view = taken.view.reshaped((*sizes[:d], *rows.shape, *sizes[d + 1 :]))
    return None if view is None else replace(taken, view=view)


def take_positions(
    maps: LoweringBuilder,
    step: Instruction,
    p: Placed,
    tables: Mapping[int, Table],
    sizes: Mapping[int, Any],
    name: str,
) -> str:
    """Return the node that takes positions along some axes of a map: a slice or padding where it is one."""
    if p.folded or p.beside:
        p = replace(p, node=maps.emit("slice", f"{step.name}/channels", [p], **unmixed(p)))
    changed = {axis: table for axis, table in tables.items() if table != tuple(range(sizes[axis]))}
    if not changed:
        return p.node
    slices = {axis: bounds for axis, table in changed.items() if (bounds := _slice(table))}
    pads = {axis: _pads(table, sizes[axis]) for axis, table in changed.items()}
    if slices and None in pads.values():  # what is a slice along one axis is that, whatever is taken along another
        starts, stops, steps = (
            maps.per_axis({axis: bounds[i] for axis, bounds in slices.items()}, default)
            for i, default in enumerate((None, None, 1))
        )
        more = {} if set(steps) == {1} else {"step": steps}
        whole = len(slices) == len(changed)
        node = maps.emit("slice", name if whole else f"{name}/slice", [p], start=starts, stop=stops, **more)
        if whole:
            return node
        p = replace(p, node=node)
        changed = {axis: table for axis, table in changed.items() if axis not in slices}
    elif None not in pads.values():
        return maps.emit("pad", name, [p], padding=maps.per_axis(pads, [0, 0]))
    positions = maps.per_axis({axis: list(table) for axis, table in changed.items()}, None)
    of = maps.per_axis({axis: sizes[axis] for axis in changed}, None)
    return maps.emit("gather", name, [p], positions=positions, source_size=of)


def _slice(table: Table) -> tuple[int, int, int] | None:
    """Return the slice that takes ``table``, ``None`` if none does."""
    first = table[0]
    if first is None:
        return None
    second = table[1] if len(table) > 1 else first + 1
    step = 0 if second is None else second - first
    stop = first + (len(table) - 1) * step + 1
    return (first, stop, step) if step > 0 and table == tuple(range(first, stop, step)) else None


def _pads(table: Table, size: int) -> list[int] | None:
    """Return how much constant padding before and after makes ``table``, ``None`` if none does."""
    before = next((i for i, position in enumerate(table) if position is not None), 0)
    after = len(table) - before - size
    fits = after >= 0 and table == (*(None,) * before, *range(size), *(None,) * after)
    return [before, after] if fits else None


def _along(axis: int, reading: Reading) -> _Along:
    digits = reading.along(axis)
    first = reading.first[axis]
    if axis in reading.tables:
        return _Along(reading.tables[axis], None, _laid(digits, axis))
    paces = [_pace(digit, axis) for digit in digits]
    if len(digits) > 1 and None not in paces:
        reach = {id(digit): (pace or 0) * digit.size for digit, pace in zip(digits, paces, strict=True)}
        outer = max(digits, key=lambda digit: reach[id(digit)])
        digits.sort(key=lambda digit: (digit is not outer, -reach[id(digit)]))
        paces = [_pace(digit, axis) for digit in digits]
        inner, size = digits[1:], outer.size
        kernel = prod(digit.size for digit in inner)
        even = all(paces[k] == digits[k + 1].size * (paces[k + 1] or 0) for k in range(1, len(digits) - 1))
        stride, dilation = paces[0] or 1, paces[-1] or 1
        if even and stride != kernel * dilation:
            span = (size - 1) * stride + (kernel - 1) * dilation + 1
            channels = {id(digit): Part(digit.size) for digit in inner}
            window = (kernel, stride, dilation)
            return _Along(tuple(range(first, first + span)), window, {id(digits[0]): Part(size, axis), **channels})
    elif len(digits) > 1:  # as they lie along the axis, so that a tensor put together again is a map again
        digits.sort(key=lambda digit: -_gap(digit, axis))
    return _Along(_combined([(digit, axis) for digit in digits], first), None, _laid(digits, axis))


def _laid(digits: Sequence[Digit], axis: int) -> dict[int, Part]:
    """Return the part of an axis that each of its digits is, the last of which goes on by single positions."""
    parts = {}
    stride = 1
    for digit in reversed(digits):
        parts[id(digit)] = Part(digit.size, axis, stride)
        stride *= digit.size
    return parts


def _pace(digit: Digit, axis: int) -> int | None:
    """Return by how much each step of a digit moves, ``None`` if not all forward by as much."""
    steps = digit.steps[axis]
    pace = int(steps[1] - steps[0])
    even = pace > 0 and digit.read.all() and np.array_equal(steps, np.arange(digit.size) * pace)
    return pace if even else None


def _gap(digit: Digit, axis: int) -> int:
    """Return how far apart the nearest two of its steps are, 0 if it has but one."""
    gaps = np.diff(np.unique(digit.steps[axis]))
    return int(gaps.min()) if gaps.size else 0


def _combined(digits: Sequence[tuple[Digit, int]], first: int) -> Table:
    """Return the position at each combination of steps, the last digit fastest; ``None`` where a constant is read."""
    positions, read = np.array([first]), np.array([True])
    for digit, axis in digits:
        positions = np.add.outer(positions, digit.steps[axis]).reshape(-1)
        read = np.logical_and.outer(read, digit.read).reshape(-1)
    return tuple(int(position) if one else None for position, one in zip(positions, read, strict=True))


def _part(digit: Digit, parts: Mapping[int, Part]) -> Part:
    return parts.get(id(digit), Part(digit.size))
