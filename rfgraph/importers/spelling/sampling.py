"""What reads or writes where another tensor says, spelt with primitives once for every format.

What a tensor of indices will hold is not known when a model is read. So a dimension that is read at indices is read
whole, by every output; the indices themselves, and the other dimensions, are read where they stand. Indices that are
constants are followed where they take or write the rows of each dimension by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Expression, Shape, Value
from rfgraph.importers.spelling.handlers import UnspelledError

#: Why what is read or written where another tensor says may be less than the whole.
BY_INDEX = "which positions are meant is said by another tensor"


#: Why fewer rows may be read, and fewer be written over, than where a network computes the indices.
STATED = "its indices are constants, which are not followed row by row"


def at_stated(*indices: Value) -> str:
    """Return why what is read at ``indices`` may be less than all, "" where the network computes some of them."""
    return STATED if all(value.constant for value in indices) else ""


def read_whole(build: Builder, x: Value, shape: Shape, part: str = "sampled") -> Value:
    """Return a tensor of one position that reads any of ``x``."""
    return build(program.Whole(shape=shape, bound=BY_INDEX), x, part=part)


def at_each(build: Builder, read: Value, indices: Value, shape: Shape) -> Value:
    """Return what is read where ``indices``, already laid out like the output, says; constants say nothing more."""
    if not indices.constant:
        read = build(program.Pointwise(function="mul"), read, indices, part="" if _fits(read, indices, shape) else "at")
        if read.shape == shape:
            return read
    return build(program.Expand(shape=shape), read)


def _fits(read: Value, indices: Value, shape: Shape) -> bool:
    sizes = zip(read.shape or (), indices.shape or (), strict=False)
    return tuple(a if b == 1 else b for a, b in sizes) == shape


def write_rows(build: Builder, x: Value, rows: Value, d: int, start: Dim, stop: Dim, part: str = "") -> Value:
    """Return ``x`` with ``rows`` in place of its rows from ``start`` to ``stop`` along one dimension."""
    size = (x.shape or ())[d]
    last = f"{part}/" if part else ""

    def cut(first: Dim | None, end: Dim | None, name: str) -> Value:
        return build(program.Slice(dims=(d,), starts=(first,), stops=(end,), steps=(1,)), x, part=f"{last}{name}")

    pieces = [] if start == 0 else [cut(None, start, "before")]
    pieces.append(rows)
    pieces += [] if stop == size else [cut(stop, None, "behind")]
    if len(pieces) == 1:
        return build(program.Pointwise(function="identity"), rows, part=part)
    return build(program.Concat(dim=d), *pieces, part=part)


def write_box(build: Builder, x: Value, update: Value, starts: Sequence[Dim], part: str = "") -> Value:
    """Return ``x`` with ``update`` in place of the box of its size that begins at ``starts``."""
    sizes = update.shape or ()
    partial = [d for d, size in enumerate(x.shape or ()) if sizes[d] != size]
    d = partial[0] if partial else 0
    start, stop = starts[d], starts[d] + sizes[d]
    if len(partial) > 1:
        within = build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,)), x, part=f"within/{d}")
        update = write_box(build, within, update, [0 if e == d else at for e, at in enumerate(starts)], f"box/{d}")
    return write_rows(build, x, update, d, start, stop, part)


def write_at(build: Builder, x: Value, rows: Value, d: int, places: Sequence[int], part: str = "") -> Value:
    """Return ``x`` with ``rows`` in place of its rows at ``places`` along one dimension of known size.

    Each of both is laid out with zeros where the other one is, and these are added up: a constant needs only that the
    rows are put behind it, and that each is taken from where it is then. Of rows written twice, the last one stays.
    """
    size = whole_size(x, d)
    if any(not 0 <= place < size for place in places):
        raise ValueError(f"it writes outside of the {size} rows of its input")
    if places and list(places) == list(range(places[0], places[-1] + 1)):
        return write_rows(build, x, rows, d, places[0], places[-1] + 1, part)
    taken = list(range(size))
    for row, place in enumerate(places):
        taken[place] = size + row
    last = f"{part}/" if part else ""
    if x.constant or rows.constant:
        both = build(program.Concat(dim=d), x, rows, part=f"{last}rows")
        return build(program.Take(dim=d), both, build.constant(taken), part=part)
    laid = []
    for name, value, first in (("kept", x, 0), ("written", rows, size)):
        own, shape = whole_size(value, d), value.shape or ()
        zeros = build.weight((*shape[:d], 1, *shape[d + 1 :]))
        wide = build(program.Concat(dim=d), value, zeros, part=f"{last}{name}/zeros")
        places = [
            place - first if 0 <= place - first < own and (place < size) == (first == 0) else own for place in taken
        ]
        laid.append(build(program.Take(dim=d), wide, build.constant(places), part=f"{last}{name}"))
    return build(program.Pointwise(function="elementwise"), *laid, part=part)


# Indices that are constants.


def numbers_of(indices: Value) -> Any | None:
    """Return what constant indices hold, as a numpy array; ``None`` if that is not known."""
    if indices.data is None:
        return None
    elements = indices.data.elements
    whole = all(isinstance(i, int) and not isinstance(i, (bool, Expression)) for i in elements.flat)
    return elements.astype(np.int64) if whole else None


def _inside(numbers: Any, size: int) -> Any:
    """Return indices counted from the front."""
    if ((numbers < -size) | (numbers >= size)).any():
        raise ValueError(f"an index lies outside of the {size} rows of its input")
    return np.where(numbers < 0, numbers + size, numbers)


def rows_alike(indices: Value, d: int, size: Dim) -> list[int] | None:
    """Return the rows along ``d`` that indices of single elements take, if they are the same beside each other.

    ``None`` if they are not, or are not known.
    """
    numbers = numbers_of(indices)
    if numbers is None or not numbers.size or not isinstance(size, int):
        return None
    lines = np.moveaxis(_inside(numbers, size), d, 0).reshape(numbers.shape[d], -1)
    return [int(row) for row in lines[:, 0]] if (lines == lines[:, :1]).all() else None


def grid_of(rows: Any, sizes: Sequence[Dim]) -> list[list[int]] | None:
    """Return the places along each dimension of which ``rows`` takes all combinations, the last dimension fastest.

    Parameters
    ----------
    rows
        What constant indices hold: one index per dimension in each row.

    Examples
    --------
    >>> import numpy as np
    >>> grid_of(np.array([[0, 2], [0, 4], [1, 2], [1, 4]]), (2, 5))
    [[0, 1], [2, 4]]
    """
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes) or not len(rows):
        return None
    columns = [_inside(column, size) for column, size in zip(rows.T, known, strict=True)]
    places = [list(dict.fromkeys(column.tolist())) for column in columns]
    count = 1
    for line in places:
        count *= len(line)
    if count != len(rows):
        return None
    return places if all(a == b for a, b in zip(product(*places), zip(*columns, strict=True), strict=True)) else None


def take_grid(build: Builder, x: Value, first: int, grid: Sequence[Sequence[int]], shape: Shape) -> Value:
    """Return what lies at all combinations of places of the dimensions from ``first`` on, under another shape."""
    for k, places in enumerate(grid):
        x = build(program.Take(dim=first + k), x, build.constant(list(places)), part=f"row/{k}")
    return build(program.Reshape(shape=shape), x)


def write_places(
    build: Builder, x: Value, rows: Value, d: int, places: Sequence[int], *, adds: bool = False, part: str = ""
) -> Value:
    """Return ``x`` with ``rows`` written at, or added to, places along one dimension of known size."""
    if adds:
        there = build(program.Take(dim=d), x, build.constant(list(places)), part=f"there/{d}")
        rows = build(program.Pointwise(function="add"), there, rows, part=f"added/{d}")
    return write_at(build, x, rows, d, places, part)


def write_grid(
    build: Builder,
    x: Value,
    rows: Value,
    grid: Sequence[Sequence[int]],
    *,
    first: int = 0,
    adds: bool = False,
    part: str = "",
) -> Value:
    """Return ``x`` with ``rows`` written at, or added to, all combinations of places from dimension ``first`` on."""
    some = [k for k, places in enumerate(grid) if list(places) != list(range(whole_size(x, first + k)))]
    k = some[0] if some else 0
    d = first + k
    if len(some) < 2:
        return write_places(build, x, rows, d, grid[k], adds=adds, part=part)
    within = build(program.Take(dim=d), x, build.constant(list(grid[k])), part=f"within/{d}")
    beside = [range(len(places)) if e == k else places for e, places in enumerate(grid)]
    inner = write_grid(build, within, rows, beside, first=first, adds=adds, part=f"grid/{d}")
    return write_at(build, x, inner, d, grid[k], part)


def whole_size(x: Value, d: int) -> int:
    """Return the size of a dimension that is known."""
    size = (x.shape or ())[d]
    if not isinstance(size, int):
        raise UnspelledError("it writes into a dimension whose size depends on the input; give one")
    return size
