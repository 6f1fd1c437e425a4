"""What reads or writes where another tensor says, spelt with primitives once for every format.

What a tensor of indices will hold is not known when a model is read. So a dimension that is read at indices is read
whole, by every output; the indices themselves, and the other dimensions, are read where they stand.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.importers import program
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Dim, Shape
from rfgraph.importers.program.primitives import Value
from rfgraph.importers.spelling.handlers import UnspelledError

#: Why what is read or written where another tensor says may be less than the whole.
BY_INDEX = "which positions are meant is said by another tensor"


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


def write_at(build: Builder, x: Value, rows: Value, d: int, places: Sequence[int], part: str = "") -> Value:
    """Return ``x`` with ``rows`` in place of its rows at ``places`` along one dimension of known size.

    They are put behind it, and each row is taken from where it is then; of rows written twice, the last one stays.
    """
    size = (x.shape or ())[d]
    if not isinstance(size, int):
        raise UnspelledError("it writes into a dimension whose size depends on the input; give one")
    if any(not 0 <= place < size for place in places):
        raise ValueError(f"it writes outside of the {size} rows of its input")
    if places and list(places) == list(range(places[0], places[-1] + 1)):
        return write_rows(build, x, rows, d, places[0], places[-1] + 1, part)
    taken = list(range(size))
    for row, place in enumerate(places):
        taken[place] = size + row
    both = build(program.Concat(dim=d), x, rows, part=f"{part}/rows" if part else "rows")
    return build(program.Take(dim=d), both, build.constant(taken), part=part)
