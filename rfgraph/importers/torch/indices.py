"""PyTorch's operators that read or write where another tensor says; they register with ``HANDLERS``.

Constant indices of boxes of neighbours are slices, and exact. What the network computes, or what is no box, is read
whole along the dimensions that are indexed: a bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Expression, Instruction, Shape, Value, broadcast, product
from rfgraph.importers.program.folding import constant
from rfgraph.importers.spelling import UnspelledError, sampling, shape_of, whole_number
from rfgraph.importers.torch.nodes import HANDLERS, Made, Node


@HANDLERS.handles("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def _grid_sampler(node: Node, build: Builder) -> Made:
    grid = node.tensor("grid")
    x, at = node.shape, shape_of(grid)
    if len(x) != len(at) or len(x) < 3:
        raise ValueError(f"its grid has {len(at)} dimensions, not the {len(x)} of its input")
    read = sampling.read_whole(build, node.x, (*x[:2], *(1,) * (len(x) - 2)), _part(grid, "sampled"))
    where = build(program.Reduce(function="at", dims=(len(x) - 1,), keepdims=False), grid, part="grid")
    where = build(program.Unsqueeze(dims=(1,)), where, part="grid/channels")
    return sampling.at_each(build, read, where, (*x[:2], *at[1:-1]))


@HANDLERS.handles("torchvision::deform_conv2d")
def _deform_conv(node: Node, build: Builder) -> Made:
    """Taps that offsets move: the kernel where they are 0, and besides, whatever they may move to, all of the map."""
    x, weight = node.x, node.tensor("weight")
    kernel = tuple(whole_number("kernel", size) for size in shape_of(weight)[2:])
    if node.rank != 4 or len(kernel) != 2:
        raise ValueError(f"its input has {node.rank} dimensions, not 4")

    def pair(name: str, default: int) -> tuple[int, int]:
        return node.integer(f"{name}_h", default), node.integer(f"{name}_w", default)

    pads = pair("pad", 0)
    taps = program.Slide(
        function="conv", dims=(2, 3), kernel=kernel, stride=pair("stride", 1),
        padding=tuple((amount, amount) for amount in pads), dilation=pair("dilation", 1), channel=1,
        channels=shape_of(weight)[0], groups=node.integer("groups", 1),
    )  # fmt: skip
    read = [build(taps, x, part="taps"), sampling.read_whole(build, x, (node.shape[0], 1, 1, 1))]
    for name in ("offset", "mask") if node.get("use_mask", True) else ("offset",):
        moved = node.optional(name)
        if moved is not None and not moved.constant:
            read.append(build(program.Reduce(function="at", dims=(1,)), moved, part=name))
    if not weight.constant:
        read.append(build(program.Whole(shape=()), weight, part="weight"))
    return build(program.Pointwise(function="elementwise"), *read)


# Reading.


@HANDLERS.handles("gather", "take_along_dim")
def _gather(node: Node, build: Builder) -> Made:
    index = node.tensor("indices" if node.op == "take_along_dim" else "index")
    if node.get("dim") is None:
        return _taken(node, build, index)
    d, x, at = node.dim(), node.shape, shape_of(index)
    if len(x) != len(at):
        raise ValueError(f"its indices have {len(at)} dimensions, not the {len(x)} of its input")
    rows = node.x
    shape = at
    if node.op == "gather":
        fewer = tuple(e for e in range(len(x)) if e != d and at[e] != x[e])
        if fewer:
            stops = tuple(at[e] for e in fewer)
            cut = program.Slice(dims=fewer, starts=(0,) * len(fewer), stops=stops, steps=(1,) * len(fewer))
            rows = build(cut, rows, part="rows")
    else:
        shape = broadcast(tuple(1 if e == d else size for e, size in enumerate(x)), at)
    taken = sampling.rows_alike(index, d, x[d])
    if taken is not None:
        part = "" if _taken_shape(rows, d, taken) == shape else "rows/taken"
        read = build(program.Take(dim=d), rows, build.constant(taken), part=part)
        return read if read.shape == shape else build(program.Expand(shape=shape), read)
    gathered = program.Reduce(function="gather", dims=(d,), bound=sampling.at_stated(index))
    read = build(gathered, rows, part=_part(index, "gathered"))
    return sampling.at_each(build, read, index, shape)


def _taken_shape(rows: Value, d: int, taken: Sequence[int]) -> Shape:
    own = shape_of(rows)
    return (*own[:d], len(taken), *own[d + 1 :])


def _part(index: Value, name: str) -> str:
    """Return the name of a step that comes before the indices are read, empty if they need not be."""
    return "" if index.constant else name


def _taken(node: Node, build: Builder, index: Value) -> Value:
    """Elements of the tensor as one row."""
    at = shape_of(index)
    return sampling.at_each(
        build, sampling.read_whole(build, node.x, (1,) * len(at), _part(index, "sampled")), index, at
    )


@HANDLERS.handles("index")
def _index(node: Node, build: Builder) -> Made:
    indices = _indices(node)
    if node.masks:
        return build(program.Whole(), *node.tensors())  # how many elements there are is not known either
    dims = sorted(indices)
    if len(dims) == 1:
        return _rows(node, build, node.x, dims[0], indices[dims[0]])
    shape: Shape = ()
    for index in indices.values():
        shape = broadcast(shape, shape_of(index))
    adjacent = dims == list(range(dims[0], dims[-1] + 1))
    first = dims[0] if adjacent else 0
    rest = [size for d, size in enumerate(node.shape) if d not in indices]
    result = (*rest[:first], *shape, *rest[first:])
    if adjacent and (runs := _crossed(indices, len(shape))) is not None:
        tensor = node.x
        for k, d in enumerate(dims):
            tensor = _taken_rows(build, tensor, d, runs[k], part=f"row/{k}")
        return build(program.Reshape(shape=result), tensor)
    if adjacent and (flat := _flat_rows(node, indices, shape)) is not None:
        sizes = (*node.shape[:first], product(node.shape[d] for d in dims), *node.shape[dims[-1] + 1 :])
        return build(program.Take(dim=first), build(program.Reshape(shape=sizes), node.x, part="flat"), flat)
    bound = sampling.at_stated(*indices.values())
    gathered = program.Reduce(function="gather", dims=tuple(dims), keepdims=False, bound=bound)
    read = build(gathered, node.x, part="gathered")
    if shape:
        read = build(program.Unsqueeze(dims=tuple(range(first, first + len(shape)))), read, part="gathered/rows")
    for k, d in enumerate(dims):
        if not indices[d].constant:
            each = _behind(build, indices[d], len(rest) - first, f"index/{k}")
            read = build(program.Pointwise(function="mul"), read, each, part=f"at/{k}")
    return build(program.Expand(shape=result), read)


def _flat_rows(node: Node, indices: dict[int, Value], shape: Shape) -> Value | None:
    """Return constant indices of neighbouring dimensions as those of one dimension, ``None`` if they are not known."""
    total = np.zeros((), dtype=object)
    for d, index in sorted(indices.items()):
        size, numbers = node.shape[d], _numbers(index)
        if numbers is None or index.data is None or not isinstance(size, int):
            return None
        if any(not -size <= row < size for row in numbers):
            raise ValueError(f"an index lies outside of the {size} rows of its input")
        total = total * size + index.data.elements % size
    return Value("", shape, True, constant(np.asarray(total, dtype=object)))


def _indices(node: Node) -> dict[int, Value]:
    """Return the tensors of indices by the dimension that each is of."""
    indices = node.get("indices", ())
    if not isinstance(indices, tuple) or len(indices) > node.rank:
        raise ValueError(f"indices is not a list of tensors for {node.rank} dimensions")
    given = {d: index for d, index in enumerate(indices) if index is not None}
    if not given or not all(isinstance(index, Value) for index in given.values()):
        raise ValueError("indices is not a list of tensors")
    return given


def _behind(build: Builder, index: Value, dims: int, part: str) -> Value:
    """Return indices with ``dims`` dimensions of size 1 behind their own."""
    own = len(shape_of(index))
    return build(program.Unsqueeze(dims=tuple(range(own, own + dims))), index, part=part) if dims else index


def _rows(node: Node, build: Builder, x: Value, d: int, index: Value) -> Value:
    """Return the rows of ``x`` along ``d`` at the indices of one tensor, whose dimensions replace it."""
    at, shape = shape_of(index), shape_of(x)
    numbers = _numbers(index)
    if numbers is not None:
        return _taken_rows(build, x, d, numbers) if len(at) == 1 else build(program.Take(dim=d), x, index)
    gathered = program.Reduce(function="gather", dims=(d,), keepdims=False, bound=sampling.at_stated(index))
    read = build(gathered, x, part=_part(index, "gathered"))
    if at:
        read = build(program.Unsqueeze(dims=tuple(range(d, d + len(at)))), read, part="gathered/rows")
    each = index if index.constant else _behind(build, index, len(shape) - 1 - d, "index")
    return sampling.at_each(build, read, each, (*shape[:d], *at, *shape[d + 1 :]))


def _numbers(index: Value) -> list[int] | None:
    """Return what constant indices hold, ``None`` if that is not known."""
    if index.data is None or not all(
        isinstance(i, int) and not isinstance(i, (bool, Expression)) for i in index.data.elements.flat
    ):
        return None
    return [int(i) for i in index.data.elements.flat]


def _taken_rows(build: Builder, x: Value, d: int, rows: Sequence[int], part: str = "") -> Value:
    """Return the rows of a list."""
    size = shape_of(x)[d]
    if isinstance(size, int):
        if any(not -size <= row < size for row in rows):
            raise ValueError(f"an index lies outside of the {size} rows of its input")
        rows = [row % size for row in rows]
    return build(program.Take(dim=d), x, build.constant(list(rows)), part=part)


def _crossed(indices: dict[int, Value], rank: int) -> list[list[int]] | None:
    """Return the rows of each dimension if constant indices take all combinations of them, ``None`` otherwise."""
    groups, before = [], -1
    for d in sorted(indices):
        numbers = _numbers(indices[d])
        own = (*(1,) * (rank - len(shape_of(indices[d]))), *shape_of(indices[d]))
        long = [k for k, size in enumerate(own) if size != 1]
        if numbers is None or len(long) > 1 or (long and long[0] <= before):
            return None
        before = long[0] if long else before
        groups.append(numbers)
    return groups


# Writing.


@HANDLERS.handles("slice_scatter", "select_scatter")
def _slice_scatter(node: Node, build: Builder) -> Made:
    d, rows = node.dim(default=0), node.tensor("src")
    size = node.shape[d]
    if node.op == "select_scatter":
        start = node.size("index")
        start = start + size if isinstance(start, int) and start < 0 else start
        stop = start + 1
        rows = build(program.Unsqueeze(dims=(d,)), rows, part="row")
    else:
        step = node.integer("step", 1)
        start, stop = (_end(node.get(name), size, default) for name, default in (("start", 0), ("end", size)))
        if step != 1:
            if not isinstance(start, int) or not isinstance(stop, int):
                raise UnspelledError("which rows it writes depends on the input size; give one")
            return sampling.write_at(build, node.x, rows, d, range(max(start, 0), stop, step))
    return sampling.write_rows(build, node.x, rows, d, start, stop)


def _end(stated: object, size: Dim, default: Dim) -> Dim:
    """Return a bound of a slice, counted from the front and not beyond the end."""
    if stated is None:
        return default
    if not isinstance(stated, (int, Expression)):
        raise UnspelledError("which part it writes depends on what the network computes")
    if isinstance(stated, int) and stated < 0:
        return size + stated
    return (
        min(stated, size)
        if isinstance(stated, int) and isinstance(size, int)
        else stated
        if stated != 2**63 - 1
        else size
    )


@HANDLERS.handles("scatter", "scatter_add", "scatter_reduce")
def _scatter(node: Node, build: Builder) -> Made:
    d, index = node.dim(), node.tensor("index")
    at = shape_of(index)
    if len(at) != node.rank:
        raise ValueError(f"its indices have {len(at)} dimensions, not the {node.rank} of its input")
    written = [node.x]
    source = node.arguments.get("src")
    places = sampling.rows_alike(index, d, node.shape[d])
    alike = all(a == b for e, (a, b) in enumerate(zip(at, node.shape, strict=True)) if e != d)
    adds = node.op != "scatter"
    if places is not None and alike and not adds:
        rows = source if isinstance(source, Value) else build.weight(at)
        if rows.shape == at:
            return sampling.write_places(build, node.x, rows, d, places, adds=adds)
    for value, part in ((source, "source"), (index, "index")):
        if isinstance(value, Value) and not value.constant:
            own = shape_of(value)
            fewer = tuple(e for e in range(len(at)) if own[e] != at[e])
            if fewer:
                stops = tuple(at[e] for e in fewer)
                cut = program.Slice(dims=fewer, starts=(0,) * len(fewer), stops=stops, steps=(1,) * len(fewer))
                value = build(cut, value, part=f"{part}/rows")
            rows = build(
                program.Reduce(function="scatter", dims=(d,), bound=sampling.at_stated(index)), value, part=part
            )
            amounts: list[tuple[Dim, Dim]] = [(0, 0 if e == d else node.shape[e] - at[e]) for e in range(len(at))]
            if any(after != 0 for _, after in amounts):
                rows = build(program.Pad(amounts=tuple(amounts)), rows, part=f"{part}/padded")
            written.append(rows)
    return build(program.Pointwise(function="where", bound="" if adds else sampling.at_stated(index)), *written)


@HANDLERS.handles("index_add", "index_copy")
def _index_add(node: Node, build: Builder) -> Made:
    d, source, index = node.dim(), node.tensor("source"), node.tensor("index")
    written = [node.x]
    places = None if len(shape_of(index)) != 1 else sampling.rows_alike(index, 0, node.shape[d])
    adds = node.op == "index_add"
    if places is not None and not adds:
        return sampling.write_places(build, node.x, source, d, places, adds=adds)
    if not source.constant:
        scattered = program.Reduce(function="scatter", dims=(d,), bound=sampling.at_stated(index))
        written.append(build(scattered, source, part="source"))
    if not index.constant:
        written.append(build(program.Whole(shape=()), index, part="index"))
    return build(program.Pointwise(function="where", bound="" if adds else sampling.at_stated(index)), *written)


@HANDLERS.handles("index_put", "_index_put_impl")
def _index_put(node: Node, build: Builder) -> Made:
    indices, values = _indices(node), node.tensor("values")
    whole = [values, *indices.values()]
    if not node.masks and (written := _put_grid(node, build, indices, values)) is not None:
        return written
    if node.masks and list(indices) == [0] and shape_of(indices[0]) == node.shape:
        # Of several, which one is written depends on all of the mask before it.
        one = values.shape is not None and product(values.shape) == 1
        return _anywhere(node, build, [values] if one else whole, [indices[0]])
    return _anywhere(node, build, whole)


def _put_grid(node: Node, build: Builder, indices: dict[int, Value], values: Value) -> Value | None:
    """Write at constant indices that go through all combinations of places; ``None`` if they do not."""
    dims = sorted(indices)
    numbers = [sampling.numbers_of(indices[d]) for d in dims]
    if dims != list(range(dims[0], dims[-1] + 1)) or values.shape is None:
        return None
    known = [own for own in numbers if own is not None]
    if len(known) < len(numbers):
        return None
    rows = np.stack(np.broadcast_arrays(*known), -1)
    grid = sampling.grid_of(rows.reshape(-1, len(dims)), [node.shape[d] for d in dims])
    if grid is None:
        return None
    before, rest = node.shape[: dims[0]], node.shape[dims[-1] + 1 :]
    at = (*before, *rows.shape[:-1], *rest)
    values = values if values.shape == at else build(program.Expand(shape=at), values, part="values")
    values = build(program.Reshape(shape=(*before, *map(len, grid), *rest)), values, part="values/grid")
    return sampling.write_grid(build, node.x, values, grid, first=dims[0], adds=bool(node.get("accumulate", False)))


def _anywhere(node: Node, build: Builder, whole: Sequence[Value], beside: Sequence[Value] = ()) -> Value:
    """Return the tensor written into at places that are not known: each element may be any of what is written."""
    read = [
        build(program.Whole(shape=(), bound=sampling.BY_INDEX), value, part=f"written/{k}")
        for k, value in enumerate(whole)
        if not value.constant
    ]
    here = [value for value in beside if not value.constant]
    chosen = build(program.Pointwise(function="where"), node.x, *here, *read)
    return chosen if chosen.shape == node.x.shape else build(program.Expand(shape=node.shape), chosen)


def put_back(build: Builder, cut: Instruction, old: Value, new: Value, part: str) -> Value:
    """Return ``old`` with what ``cut`` took of it replaced by ``new``."""
    shape = shape_of(old)
    match cut.primitive:
        case program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,)):
            return sampling.write_rows(
                build, old, new, d, _end(start, shape[d], 0), _end(stop, shape[d], shape[d]), part
            )
        case program.Transpose(permutation=order):
            back = tuple(order.index(d) for d in range(len(order)))
            return build(program.Transpose(permutation=back), new, part=part)
        case program.Reshape() | program.Squeeze() | program.Unsqueeze():
            return build(program.Reshape(shape=shape), new, part=part)
        case program.Take(dim=d) if (numbers := _numbers(cut.inputs[1])) and not cut.inputs[1].shape:
            start = numbers[0] if numbers[0] >= 0 else shape[d] + numbers[0]
            row = build(program.Unsqueeze(dims=(d,)), new, part=f"{part}/row")
            return sampling.write_rows(build, old, row, d, start, start + 1, part)
        case program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(step,)) if isinstance(
            size := shape[d], int
        ):
            if isinstance(start, int | None) and isinstance(stop, int | None):
                return sampling.write_at(build, old, new, d, range(*slice(start, stop, step).indices(size)), part)
    read = build(program.Whole(shape=(), bound=sampling.BY_INDEX), new, part=f"{part}/written")
    return build(program.Pointwise(function="where"), old, read, part=part)


# Ops that one expression spells.

HANDLERS.spells(
    {
        "take": lambda node, build: _taken(node, build, node.tensor("index")),
        "index_select": lambda node, build: _rows(node, build, node.x, node.dim(), node.tensor("index")),
        "masked_scatter": lambda node, build: _anywhere(
            node, build, [node.tensor("source"), node.tensor("mask")], [node.tensor("mask")]
        ),
    }
)
