"""ONNX operators that read or write where another tensor says: sampling at grids, gathering and scattering by index.

What a tensor of indices will hold is not known when the model is read. So a dimension that is read at indices is read
whole, by every output: of a grid or an index that the network computes, any value may come, and each element may be
read indeed; where they are constants this is a bound. The indices themselves, the other dimensions, and what is
written over, are read where they stand. Constant indices that take or write a box of neighbours are a slice.
"""

from __future__ import annotations

from rfgraph.importers import program
from rfgraph.importers.onnx.nodes import HANDLERS, Made, Node
from rfgraph.importers.program import Builder, Dim, Shape, Value
from rfgraph.importers.spelling import UnspelledError, axis_of, sampling, whole_number


@HANDLERS.handles("GridSample")
def _grid_sample(node: Node, build: Builder) -> Made:
    x, grid = node.shape(0), node.shape(1)
    if len(x) != len(grid):
        raise ValueError(f"its grid has {len(grid)} dimensions, not the {len(x)} of its input")
    read = sampling.read_whole(build, node.input(0), (*x[:2], *(1,) * (len(x) - 2)))
    at = build(program.Reduce(function="at", dims=(len(x) - 1,), keepdims=False), node.input(1), part="grid")
    at = build(program.Unsqueeze(dims=(1,)), at, part="grid/channels")
    return sampling.at_each(build, read, at, (*x[:2], *grid[1:-1]))


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
    taken = sampling.rows_alike(node.input(1), d, data[d])
    if taken is not None:
        return build(program.Take(dim=d), rows, build.constant(taken))
    gathered = program.Reduce(function="gather", dims=(d,), bound=sampling.at_stated(node.input(1)))
    read = build(gathered, rows, part="gathered")
    return sampling.at_each(build, read, node.input(1), at)


@HANDLERS.handles("GatherND")
def _gather_nd(node: Node, build: Builder) -> Made:
    data, at = node.shape(0), node.shape(1)
    batch, depth = node.get("batch_dims", 0), _depth(node)
    if batch + depth > len(data):
        raise ValueError(f"its indices have {depth} entries, more than its input has dimensions behind the batch")
    rest = data[batch + depth :]
    numbers = None if batch else sampling.numbers_of(node.input(1))
    if numbers is not None:
        grid = sampling.grid_of(numbers.reshape(-1, depth), data[:depth])
        if grid is not None:
            return sampling.take_grid(build, node.input(0), 0, grid, (*at[:-1], *rest))
        if depth == 1:
            return build(program.Take(dim=0), node.input(0), build.constant(numbers[..., 0].tolist()))
    taken = tuple(range(batch, batch + depth))
    gathered = program.Reduce(function="gather", dims=taken, keepdims=False, bound=sampling.at_stated(node.input(1)))
    read = build(gathered, node.input(0), part="gathered")
    read = build(program.Unsqueeze(dims=tuple(range(batch, len(at) - 1))), read, part="gathered/rows")
    entries = build(program.Reduce(function="at", dims=(len(at) - 1,), keepdims=False), node.input(1), part="indices")
    behind = tuple(range(len(at) - 1, len(at) - 1 + len(rest)))
    entries = build(program.Unsqueeze(dims=behind), entries, part="indices/rest") if behind else entries
    return sampling.at_each(build, read, entries, (*at[:-1], *rest))


def _depth(node: Node) -> int:
    at = node.shape(1)
    if not at:
        raise ValueError("its indices have no dimensions")
    return whole_number("indices", at[-1])


# Writing.


@HANDLERS.handles("Scatter", "ScatterElements")
def _scatter_elements(node: Node, build: Builder) -> Made:
    data = node.shape(0)
    d = axis_of(node.get("axis", 0), len(data))
    places = sampling.rows_alike(node.input(1), d, data[d])
    fits = all(a == b for e, (a, b) in enumerate(zip(data, node.shape(1), strict=False)) if e != d)
    adds = node.get("reduction", "none") != "none"
    if places is not None and fits and node.shape(1) == node.shape(2) and not adds:
        return sampling.write_places(build, node.input(0), node.input(2), d, places, adds=adds)
    bound = sampling.at_stated(node.input(1))
    written = [node.input(0)]
    for i, part in ((2, "updates"), (1, "indices")):
        shape = node.shape(i)
        if len(shape) != len(data):
            raise ValueError(f"its {part} have {len(shape)} dimensions, not the {len(data)} of its input")
        if not node.input(i).constant:
            rows = build(program.Reduce(function="scatter", dims=(d,), bound=bound), node.input(i), part=part)
            written.append(_as_large(build, rows, data, d, part))
    return build(program.Pointwise(function="where", bound="" if adds else bound), *written)


@HANDLERS.handles("TensorScatter")
def _tensor_scatter(node: Node, build: Builder) -> Made:
    data = node.shape(0)
    d = axis_of(node.get("axis", -2), len(data))
    written = [node.input(0)]
    at = node.optional(2)
    bound = sampling.at_stated(*([] if at is None else [at]))
    if not node.input(1).constant:
        rows = build(program.Reduce(function="scatter", dims=(d,), bound=bound), node.input(1), part="updates")
        written.append(_as_large(build, rows, data, d, "updates"))
    if at is not None and not at.constant:
        each = build(program.Unsqueeze(dims=tuple(range(1, len(data)))), at, part="indices")
        written.append(each)
    return build(program.Pointwise(function="where", bound=bound), *written)


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
    numbers = sampling.numbers_of(node.input(1))
    grid = None if numbers is None else sampling.grid_of(numbers.reshape(-1, depth), data[:depth])
    if grid is not None:
        sizes = tuple(map(len, grid))
        rows = build(program.Reshape(shape=(*sizes, *data[depth:])), node.input(2), part="updates")
        return sampling.write_grid(build, node.input(0), rows, grid, adds=adds)
    written = [node.input(0)]
    if not node.input(2).constant:
        rows_of = tuple(range(len(at) - 1))
        all_rows = program.Reduce(
            function="scatter", dims=rows_of, keepdims=False, bound=sampling.at_stated(node.input(1))
        )
        written.append(build(all_rows, node.input(2), part="updates"))
    if not node.input(1).constant:
        written.append(build(program.Whole(shape=()), node.input(1), part="indices"))
    bound = "" if adds else sampling.at_stated(node.input(1))
    return build(program.Pointwise(function="where", bound=bound), *written)


@HANDLERS.handles("ReverseSequence")
def _reverse_sequence(node: Node, build: Builder) -> Made:
    shape = node.shape()
    d = axis_of(node.get("time_axis", 0), len(shape))
    reversed_rows = build(
        program.Mix(function="reverse", dims=(d,), bound="each row is read as far as its length says"), node.input(0)
    )
    lengths = node.optional(1)
    if lengths is None or lengths.constant:
        return reversed_rows
    raise UnspelledError("the lengths that it turns round depend on what the network computes")
