"""JAX primitives that read or write where numbers say: dynamic slices, gathers, scatters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.jax.nodes import HANDLERS, Ints, Made, Node, ints_of
from rfgraph.importers.jax.primitives import end_to_end, sliced
from rfgraph.importers.jax.resizes import resized_rows
from rfgraph.importers.lowering.rows import nearest_of
from rfgraph.importers.program import Builder, Value
from rfgraph.importers.spelling.handlers import UnspelledError


@HANDLERS.handles("dynamic_slice")
def _dynamic_slice(node: Node, build: Builder) -> Made:
    sizes = node.sizes("slice_sizes")
    starts = _starts(node, 1, node.shape(), sizes)
    return sliced(build, node.value(0), starts, tuple(a + k for a, k in zip(starts, sizes, strict=True)))


def _starts(node: Node, first: int, shape: Ints, sizes: Ints) -> Ints:
    """Return where a slice begins, which stays within its tensor; one that is as large has no choice."""
    starts = []
    for k, (size, taken) in enumerate(zip(shape, sizes, strict=True)):
        start = node.operands[first + k].numbers if taken != size else 0
        if start is None:
            raise UnspelledError("where its slice begins is not known beforehand")
        starts.append(min(max(int(start), 0), size - taken))
    return tuple(starts)


@HANDLERS.handles("dynamic_update_slice")
def _dynamic_update_slice(node: Node, build: Builder) -> Made:
    starts = _starts(node, 2, node.shape(0), node.shape(1))
    return _written(build, node.value(0), node.value(1), starts, "")


def _written(build: Builder, x: Value, update: Value, starts: Ints, part: str) -> Value:
    """Return a tensor of which a box is replaced: what lies before it, it, and what lies behind, in each dimension."""
    shape, sizes = ints_of(x.shape), ints_of(update.shape)
    partial = [d for d in range(len(shape)) if sizes[d] != shape[d]]
    if not partial:
        return update
    d = partial[0]
    start, stop = starts[d], starts[d] + sizes[d]

    def rows(first: int, last: int, name: str) -> Value:
        ends = tuple(last if e == d else size for e, size in enumerate(shape))
        return sliced(build, x, tuple(first if e == d else 0 for e in range(len(shape))), ends, part=f"{name}/{d}")

    middle = update
    if len(partial) > 1:
        inside = tuple(0 if e == d else at for e, at in enumerate(starts))
        middle = _written(build, rows(start, stop, "within"), update, inside, f"box/{d}")
    pieces = [rows(0, start, "before")] if start else []
    pieces.append(middle)
    pieces += [rows(stop, shape[d], "behind")] if stop < shape[d] else []
    return end_to_end(build, pieces, d, part)


@HANDLERS.handles("scatter")
def _scatter(node: Node, build: Builder) -> Made:
    numbers = node.parameters["dimension_numbers"]
    indices, shape = node.operands[1].numbers, node.shape(0)
    if indices is None or indices.ndim != 1 or numbers.operand_batching_dims:
        raise UnspelledError("its indices say which elements it writes")
    inserted = tuple(numbers.inserted_window_dims)
    update = node.value(2)
    if inserted:
        update = build(program.Unsqueeze(dims=inserted), update, part="update")
    starts = dict(zip(numbers.scatter_dims_to_operand_dims, indices, strict=True))
    begin = tuple(int(starts.get(d, 0)) for d in range(len(shape)))
    if any(not 0 <= a <= size - k for a, size, k in zip(begin, shape, ints_of(update.shape), strict=True)):
        raise UnspelledError("it writes beyond its tensor")
    return _written(build, node.value(0), update, begin, "")


#: A dimension of what a gather makes: of its operand, or of its indices, and which.
Place: TypeAlias = "tuple[str, int]"


@HANDLERS.handles("gather")
def _gather(node: Node, build: Builder) -> Made:
    numbers = node.parameters["dimension_numbers"]
    if numbers.operand_batching_dims:
        raise UnspelledError(SELECTED)
    if (resized := resized_rows(node, build)) is not None:
        return resized
    rows, layout = _looked_up(node, build) if node.value(0).constant else _rows_taken(node, build)
    offsets = iter(place for place in layout if place[0] == "operand")
    batch = iter(sorted(place for place in layout if place[0] == "index"))
    order = tuple(layout.index(next(offsets if d in numbers.offset_dims else batch)) for d in range(len(layout)))
    if order == tuple(range(len(order))):
        return rows
    return build(program.Transpose(permutation=order), rows, part="layout")


SELECTED = "its indices say which elements it reads"


def _looked_up(node: Node, build: Builder) -> tuple[Value, list[Place]]:
    """Look rows up in a table of weights, at indices that the network computes."""
    numbers, shape = node.parameters["dimension_numbers"], node.shape(0)
    moved = tuple(numbers.start_index_map)
    rest = [d for d in range(len(shape)) if d not in moved]
    if len(moved) != 1 or tuple(numbers.collapsed_slice_dims) != moved:
        raise UnspelledError(SELECTED)
    sizes = node.integers("slice_sizes")
    if any(sizes[d] != shape[d] for d in rest):
        raise UnspelledError(SELECTED)
    at = len(node.shape(1)) - 1
    indices = build(program.Squeeze(dims=(at,)), node.value(1), part="indices")
    rows = build(program.Take(dim=moved[0]), node.value(0), indices)
    layout: list[Place] = []
    for d in range(len(shape)):
        layout += [("index", k) for k in range(at)] if d == moved[0] else [("operand", d)]
    return rows, layout


@dataclass(frozen=True)
class _Rows:
    """What a gather at known indices takes of each dimension."""

    starts: list[int]
    stops: list[int]
    #: Dimension -> its rows, over those dimensions of the indices along which they differ.
    taken: dict[int, tuple[Ints, Any]]
    #: The dimensions of the indices along which nothing differs, all of size 1.
    left: Ints


def _rows_taken(node: Node, build: Builder) -> tuple[Value, list[Place]]:
    """Take rows at indices that are known: a slice, or rows along several dimensions, each for itself."""
    rows = _rows_of(node)
    shape, tensor = node.shape(0), node.value(0)
    if not rows.taken or (rows.starts, rows.stops) != ([0] * len(shape), list(shape)):
        part = "slice" if rows.taken else ""
        tensor = sliced(build, tensor, tuple(rows.starts), tuple(rows.stops), part=part)
    for k, (d, (_, column)) in enumerate(sorted(rows.taken.items(), reverse=True), 1):
        tensor = _along_one(node, build, tensor, d, column, part="" if k == len(rows.taken) else str(k))
    return _laid_out(node, build, tensor, rows)


def _rows_of(node: Node) -> _Rows:
    """Return what a gather takes, where the rows of no two dimensions differ along one dimension of the indices."""
    numbers, shape, sizes = node.parameters["dimension_numbers"], node.shape(0), node.sizes("slice_sizes")
    indices = node.operands[1].numbers
    if indices is None:
        raise UnspelledError(SELECTED)
    columns = {d: _within(node, indices[..., k], shape[d] - sizes[d]) for k, d in enumerate(numbers.start_index_map)}
    rows = _Rows([0] * len(shape), list(shape), {}, ())
    used: list[int] = []
    batch = range(indices.ndim - 1)
    for d in range(len(shape)):
        column = columns.get(d, np.zeros((1,) * len(batch), dtype=np.int64))
        differ = tuple(b for b in batch if (column != column.take([0], b)).any())
        if differ and d not in numbers.collapsed_slice_dims:
            raise UnspelledError(SELECTED)
        if differ:
            rows.taken[d] = differ, column[tuple(slice(None) if b in differ else 0 for b in batch)]
            used += differ
        else:
            rows.starts[d] = int(column.flat[0])
            rows.stops[d] = rows.starts[d] + sizes[d]
    left = tuple(b for b in batch if b not in used)
    if len(set(used)) < len(used) or any(indices.shape[b] != 1 for b in left):
        raise UnspelledError(SELECTED)
    return replace(rows, left=left)


def _along_one(node: Node, build: Builder, x: Value, d: int, rows: Any, part: str) -> Value:
    """Take rows along one dimension; those that a resize takes are said as one, which shows that it is spatial."""
    size = node.shape(0)[d]
    nearest = nearest_of(tuple(map(int, rows)), size) if "resize" in node.within and rows.ndim == 1 else None
    if nearest is None:
        return build(program.Take(dim=d), x, build.constant(rows.astype(object)), part=part)
    resize = program.Resize(dims=(d,), sizes=(len(rows),), coordinates=nearest[0], nearest_mode=nearest[1])
    return build(resize, x, part=part)


def _laid_out(node: Node, build: Builder, tensor: Value, rows: _Rows) -> tuple[Value, list[Place]]:
    """Drop the dimensions of what was taken of which no position is left, and add those of the indices of size 1."""
    collapsed = set(node.parameters["dimension_numbers"].collapsed_slice_dims)
    layout: list[Place] = []
    for d in range(len(node.shape(0))):
        layout += [("index", b) for b in rows.taken[d][0]] if d in rows.taken else [("operand", d)]
    gone = tuple(k for k, (kind, d) in enumerate(layout) if kind == "operand" and d in collapsed)
    if gone:
        tensor = build(program.Squeeze(dims=gone), tensor, part="rows")
        layout = [place for k, place in enumerate(layout) if k not in gone]
    if rows.left:
        tensor = build(program.Unsqueeze(dims=tuple(range(len(rows.left)))), tensor, part="ones")
        layout = [*(("index", b) for b in rows.left), *layout]
    return tensor, layout


def _within(node: Node, column: Any, last: int) -> Any:
    """Return where rows begin, which stay within the tensor."""
    if "CLIP" in str(node.parameters["mode"]).upper():
        return np.clip(column, 0, last)
    if column.size and not 0 <= column.min() <= column.max() <= last:
        raise UnspelledError("it reads beyond its tensor")
    return column
