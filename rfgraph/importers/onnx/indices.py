"""ONNX operators that read or write where another tensor says: sampling at grids, gathering and scattering by index.

What a tensor of indices will hold is not known when the model is read. So a dimension that is read at indices is read
whole, by every output: of a grid or an index that the network computes, any value may come, and each element may be
read indeed; where they are constants this is a bound. The indices themselves, the other dimensions, and what is
written over, are read where they stand. Constant indices that take or write a box of neighbours are a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as combinations

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.onnx.nodes import HANDLERS, Made, Node, as_integer
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Dim, Shape
from rfgraph.importers.program.primitives import Value
from rfgraph.importers.spelling.handlers import UnspelledError
from rfgraph.importers.spelling.sampling import at_each, read_whole
from rfgraph.importers.spelling.shared import axis_of


@HANDLERS.handles("GridSample")
def _grid_sample(node: Node, build: Builder) -> Made:
    x, grid = node.shape(0), node.shape(1)
    if len(x) != len(grid):
        raise ValueError(f"its grid has {len(grid)} dimensions, not the {len(x)} of its input")
    read = read_whole(build, node.input(0), (*x[:2], *(1,) * (len(x) - 2)))
    at = build(program.Reduce(function="at", dims=(len(x) - 1,), keepdims=False), node.input(1), part="grid")
    at = build(program.Unsqueeze(dims=(1,)), at, part="grid/channels")
    return at_each(build, read, at, (*x[:2], *grid[1:-1]))


@HANDLERS.handles("GatherElements")
def _gather_elements(node: Node, build: Builder) -> Made:
    data, at = node.shape(0), node.shape(1)
    if len(data) != len(at):
        raise ValueError(f"its indices have {len(at)} dimensions, not the {len(data)} of its input")
    d = axis_of(node.get("axis", 0), len(data))
    fewer = tuple(e for e in range(len(data)) if e != d and at[e] != data[e])
    rows = node.input(0)
    if fewer:
        stops = tuple(at[e] for e in fewer)
        cut = program.Slice(dims=fewer, starts=(0,) * len(fewer), stops=stops, steps=(1,) * len(fewer))
        rows = build(cut, rows, part="rows")
    read = build(program.Reduce(function="gather", dims=(d,)), rows, part="gathered")
    return at_each(build, read, node.input(1), at)


@HANDLERS.handles("GatherND")
def _gather_nd(node: Node, build: Builder) -> Made:
    data, at = node.shape(0), node.shape(1)
    batch, depth = node.get("batch_dims", 0), _depth(node)
    if batch + depth > len(data):
        raise ValueError(f"its indices have {depth} entries, more than its input has dimensions behind the batch")
    rest = data[batch + depth :]
    gathered = program.Reduce(function="gather", dims=tuple(range(batch, batch + depth)), keepdims=False)
    read = build(gathered, node.input(0), part="gathered")
    read = build(program.Unsqueeze(dims=tuple(range(batch, len(at) - 1))), read, part="gathered/rows")
    entries = build(program.Reduce(function="at", dims=(len(at) - 1,), keepdims=False), node.input(1), part="indices")
    behind = tuple(range(len(at) - 1, len(at) - 1 + len(rest)))
    entries = build(program.Unsqueeze(dims=behind), entries, part="indices/rest") if behind else entries
    return at_each(build, read, entries, (*at[:-1], *rest))


def _depth(node: Node) -> int:
    at = node.shape(1)
    if not at:
        raise ValueError("its indices have no dimensions")
    return as_integer("indices", at[-1])


# Writing.


@HANDLERS.handles("Scatter", "ScatterElements")
def _scatter_elements(node: Node, build: Builder) -> Made:
    data = node.shape(0)
    d = axis_of(node.get("axis", 0), len(data))
    written = [node.input(0)]
    for i, part in ((2, "updates"), (1, "indices")):
        found = node.shape(i)
        if len(found) != len(data):
            raise ValueError(f"its {part} have {len(found)} dimensions, not the {len(data)} of its input")
        if not node.input(i).constant:
            rows = build(program.Reduce(function="scatter", dims=(d,)), node.input(i), part=part)
            written.append(_as_large(build, rows, data, d, part))
    return build(program.Pointwise(function="where"), *written)


@HANDLERS.handles("TensorScatter")
def _tensor_scatter(node: Node, build: Builder) -> Made:
    data = node.shape(0)
    d = axis_of(node.get("axis", -2), len(data))
    written = [node.input(0)]
    if not node.input(1).constant:
        rows = build(program.Reduce(function="scatter", dims=(d,)), node.input(1), part="updates")
        written.append(_as_large(build, rows, data, d, "updates"))
    at = node.optional(2)
    if at is not None and not at.constant:
        each = build(program.Unsqueeze(dims=tuple(range(1, len(data)))), at, part="indices")
        written.append(each)
    return build(program.Pointwise(function="where"), *written)


def _as_large(build: Builder, rows: Value, shape: Shape, d: int, part: str) -> Value:
    """Pad what is written to the first rows of a tensor to all of them."""
    own = rows.shape or ()
    amounts: list[tuple[Dim, Dim]] = [(0, 0) if e == d else (0, shape[e] - own[e]) for e in range(len(shape))]
    return rows if not any(after for _, after in amounts) else build(
        program.Pad(amounts=tuple(amounts)), rows, part=f"{part}/rows"
    )  # fmt: skip


@HANDLERS.handles("ScatterND")
def _scatter_nd(node: Node, build: Builder) -> Made:
    data, at, depth = node.shape(0), node.shape(1), _depth(node)
    if depth > len(data):
        raise ValueError(f"its indices have {depth} entries, more than its input has dimensions")
    adds = node.get("reduction", "none") != "none"
    box = _box(node.input(1), data[:depth])
    if box is not None:
        sizes = tuple(stop - start for start, stop in box)
        rows = build(program.Reshape(shape=(*sizes, *data[depth:])), node.input(2), part="updates")
        return _write(node, build, node.input(0), rows, box, adds)
    written = [node.input(0)]
    if not node.input(2).constant:
        all_rows = program.Reduce(function="scatter", dims=tuple(range(len(at) - 1)), keepdims=False)
        written.append(build(all_rows, node.input(2), part="updates"))
    if not node.input(1).constant:
        written.append(build(program.Whole(shape=()), node.input(1), part="indices"))
    return build(program.Pointwise(function="where"), *written)


def _box(indices: Value, sizes: Sequence[Dim]) -> list[tuple[int, int]] | None:
    """Return the range along each dimension that constant indices go through, the last dimension fastest.

    ``None`` if they do not, or are not known.
    """
    if indices.data is None or any(not isinstance(size, int) for size in sizes):
        return None
    rows = indices.data.elements.reshape(-1, len(sizes))
    if not len(rows) or any(not isinstance(number, int) for number in rows.flat):
        return None
    rows = np.where(rows < 0, rows + np.array(sizes, dtype=object), rows)
    box = [(int(column.min()), int(column.max()) + 1) for column in rows.T]
    if any(not 0 <= start < stop <= size for (start, stop), size in zip(box, sizes, strict=True)):  # type: ignore[operator]
        raise ValueError("its indices lie outside of its input")
    whole = 1
    for start, stop in box:
        whole *= stop - start
    if whole != len(rows):
        return None
    steps = combinations(*(range(start, stop) for start, stop in box))
    return box if all(tuple(row) == step for row, step in zip(rows, steps, strict=True)) else None


def _write(
    node: Node, build: Builder, data: Value, rows: Value, box: Sequence[tuple[int, int]], adds: bool, depth: int = 0
) -> Value:
    """Write ``rows`` over a box of ``data``: what lies before it, the box, and what lies behind it, in a row."""
    shape = data.shape or ()
    last = "" if depth == 0 else f"box/{depth}"
    d = next((d for d in range(len(box)) if box[d] != (0, shape[d])), None)
    if d is None:
        kind = "add" if adds else "identity"
        return build(program.Pointwise(function=kind), *([data, rows] if adds else [rows]), part=last)

    def cut(start: int | None, stop: int | None, part: str) -> Value:
        return build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,)), data, part=f"{part}/{depth}")

    start, stop = box[d]
    inside = [(0, stop - start) if e == d else box[e] for e in range(len(box))]
    pieces = [cut(None, start, "before")] if start else []
    pieces.append(_write(node, build, cut(start, stop, "within"), rows, inside, adds, depth + 1))
    pieces += [cut(stop, None, "behind")] if stop != shape[d] else []
    return build(program.Concat(dim=d), *pieces, part=last)


@HANDLERS.handles("ReverseSequence")
def _reverse_sequence(node: Node, build: Builder) -> Made:
    shape = node.shape()
    d = axis_of(node.get("time_axis", 0), len(shape))
    made = build(
        program.Mix(function="reverse", dims=(d,), bound="each row is read as far as its length says"), node.input(0)
    )
    lengths = node.optional(1)
    if lengths is None or lengths.constant:
        return made
    raise UnspelledError("the lengths that it turns round depend on what the network computes")
