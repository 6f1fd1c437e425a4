"""JAX's primitives, spelt with those of the tensor program; this module does not need JAX.

One handler per primitive or family of primitives, under its name in a jaxpr. A handler gets the node and the builder,
and returns the values of the node's outputs. Nodes that no input reaches do not come here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.jax.numbers import Number
from rfgraph.importers.jax.symbols import closed, has_open, size_of
from rfgraph.importers.lowering.rows import nearest_of
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Dim, Expression, Shape, names_of, valued
from rfgraph.importers.program.primitives import Value
from rfgraph.importers.spelling import operations, vocabulary
from rfgraph.importers.spelling.handlers import Handlers, UnspelledError
from rfgraph.importers.spelling.node import Call
from rfgraph.importers.spelling.operations import KEYS
from rfgraph.ops.resampling import RADIUS, Resize

Made: TypeAlias = "Value | Sequence[Value]"
Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operand:
    """What a primitive reads: a tensor of the program, and what it holds if no input reaches it."""

    value: Value
    number: Number | None = None

    @property
    def numbers(self) -> Any:
        """The array that it holds, ``None`` where that is not known."""
        return None if self.number is None or not self.value.constant else self.number.value


@dataclass(frozen=True)
class Node(Call):
    """One equation: its parameters as JAX calls them, what it reads, and the shapes of what it makes."""

    parameters: Mapping[str, Any]
    operands: tuple[Operand, ...]
    shapes: tuple[Shape | None, ...]
    #: The named scopes and functions that it stands in.
    within: tuple[str, ...] = ()
    #: Sizes at which what depends on sizes that are open is looked at, by their names.
    trials: tuple[Mapping[str, int], ...] = ()

    def value(self, k: int) -> Value:
        """Return the tensor that operand ``k`` is."""
        return self.operands[k].value

    def shape(self, k: int = 0) -> Any:
        """Return the shape of operand ``k``."""
        return _ints(self.operands[k].value.shape)

    @property
    def rank(self) -> int:
        """Number of dimensions of the first operand."""
        return len(self.shape())

    @property
    def made(self) -> Any:
        """Shape of the first output."""
        return _ints(self.shapes[0])

    @property
    def tensors(self) -> list[Value]:
        """All operands."""
        return [operand.value for operand in self.operands]

    def integers(self, name: str) -> Ints:
        """Return a parameter that is a tuple of integers."""
        return tuple(int(number) for number in self.parameters[name])

    def sizes(self, name: str) -> Any:
        """Return a parameter that is a tuple of sizes."""
        return tuple(map(size_of, self.parameters[name]))


def _ints(shape: Shape | None) -> Any:
    if shape is None:
        raise UnspelledError("it works on what is no tensor")
    return tuple(map(size_of, shape))


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("JAX")

# Functions of elements at the same index.

#: Primitive -> what it is called; those of several operands broadcast scalars only, so that no label is needed.
POINTWISE = vocabulary.names("jax", vocabulary.UNARY, vocabulary.SEVERAL)

#: Primitives of which each output is an operand as it is: other types, other places in memory, marks for tracing.
SAME = (
    "convert_element_type", "reduce_precision", "copy", "copy_p", "stop_gradient", "device_put", "name",
    "sharding_constraint", "layout_constraint", "mesh_cast", "reshard", "pvary", "optimization_barrier",
)  # fmt: skip


@HANDLERS.handles(*POINTWISE)
def _pointwise(node: Node, build: Builder) -> Made:
    operands = node.tensors
    if node.op == "select_n" and len(operands) == 3:  # what is chosen where it is false comes first
        operands = [operands[0], operands[2], operands[1]]
    return build(program.Pointwise(function=POINTWISE[node.op]), *operands)


@HANDLERS.handles(*SAME)
def _same(node: Node, build: Builder) -> Made:
    return node.tensors


@HANDLERS.handles("bitcast_convert_type")
def _bitcast(node: Node, build: Builder) -> Made:
    if node.made != node.shape():
        raise UnspelledError("it reads its elements as a type of another size")
    return node.value(0)


# Windows.


@HANDLERS.handles("conv_general_dilated")
def _conv(node: Node, build: Builder) -> Made:
    x, weight = node.value(0), node.value(1)
    numbers = node.parameters["dimension_numbers"]
    batch, channel, *spatial = numbers.lhs_spec
    dims = tuple(spatial)
    kernel = tuple(node.shape(1)[d] for d in numbers.rhs_spec[2:])
    channels = node.shape(1)[numbers.rhs_spec[0]]
    groups, batch_groups = node.parameters["feature_group_count"], node.parameters["batch_group_count"]
    convolved = x
    if dims:
        convolved = _slid(
            build, x, "conv", dims, kernel, node.integers("window_strides"), node.parameters["padding"],
            node.integers("lhs_dilation"), node.integers("rhs_dilation"), channel, channels, groups,
            build.bound(weight, numbers.rhs_spec[2:]), build.apart(weight, numbers.rhs_spec[2:], numbers.rhs_spec[:1]),
        )  # fmt: skip
    else:  # a product over channels
        labels = tuple("b" if d == batch else "c" for d in range(2))
        output = tuple("b" if d == batch else "o" for d in range(2))
        if groups > 1 or batch_groups > 1:
            raise UnspelledError("it is a convolution of groups without space")
        mix = program.Contract(operands=(labels, ("c", "o")), output=output)
        convolved = build(mix, x, build.weight((None, channels)))  # type: ignore[arg-type]
    if batch_groups > 1:  # as in gradients of weights: one group of the batch for each of the channels
        shape = _ints(convolved.shape)
        split = (*shape[:batch], batch_groups, shape[batch] // batch_groups, *shape[batch + 1 :])
        convolved = build(program.Reshape(shape=split), convolved, part="groups")
        convolved = build(program.Reduce(function="sum", dims=(batch,), keepdims=False), convolved, part="group")
    place = dict(zip(numbers.out_spec, numbers.lhs_spec, strict=True))
    order = tuple(place[d] for d in range(len(place)))
    if order != tuple(range(len(order))):
        convolved = build(program.Transpose(permutation=order), convolved, part="layout")
    if weight.constant:
        return convolved
    read = build(program.Whole(shape=()), weight, part="weight")
    return build(program.Pointwise(function="mul"), convolved, read, part="weighted")


def _slid(
    build: Builder, x: Value, function: str, dims: Ints, kernel: Ints, stride: Ints,
    padding: Sequence[Sequence[int]], base: Ints, dilation: Ints,
    channel: int | None = None, channels: Dim | None = None, groups: int = 1, bound: str = "",
    apart: bool = False,
) -> Value:  # fmt: skip
    """Slide a window over what ``base`` spreads its input to.

    A window over an input that has holes is the transpose of a window; where it also strides, outputs are dropped.
    """
    pads: Any = _kept(x, dims, kernel, stride, padding, dilation) if has_open(padding) else None
    pads = pads or tuple((int(before), int(after)) for before, after in padding)
    if all(factor == 1 for factor in base):
        slide = program.Slide(
            function=function, dims=dims, kernel=kernel, stride=stride, padding=pads, dilation=dilation,
            channel=channel, channels=channels, groups=groups, bound=bound, apart=apart,
        )  # fmt: skip
        return build(slide, x)
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    crops = tuple((span - before, span - after) for span, (before, after) in zip(spans, pads, strict=True))
    strided = any(step > 1 for step in stride)
    transposed = program.SlideTransposed(
        dims=dims, kernel=kernel, stride=base, padding=crops, output_padding=(0,) * len(dims), dilation=dilation,
        channel=channel, channels=channels, groups=groups, bound=bound,
    )  # fmt: skip
    convolved = build(transposed, x, part="every" if strided else "")
    if not strided:
        return convolved
    nothing = (None,) * len(dims)
    return build(program.Slice(dims=dims, starts=nothing, stops=nothing, steps=stride), convolved)


#: Sizes at which a padding is looked at that depends on the size.
_TRIED = range(1, 65)


def _kept(x: Value, dims: Ints, kernel: Ints, stride: Ints, padding: Any, dilation: Ints) -> str:
    """Return which padding keeps as many positions as there are strides, where that depends on sizes that are open."""
    for word, more in (("same_upper", 0), ("same_lower", 1)):
        fits = True
        for i, d in enumerate(dims):
            size = _ints(x.shape)[d]
            names = names_of(size) or frozenset()
            for n in _TRIED:
                numbers = dict.fromkeys(names, n)
                positions = valued(size, numbers)
                if not isinstance(positions, int) or positions < 1:
                    fits = fits and isinstance(positions, int)
                    continue
                span = dilation[i] * (kernel[i] - 1) + 1
                total = max((-(-positions // stride[i]) - 1) * stride[i] + span - positions, 0)
                before = (total + more) // 2
                fits = fits and closed(tuple(padding[i]), numbers) == (before, total - before)
        if fits:
            return word
    return ""


POOLS = {
    "reduce_window_max": "max_pool", "reduce_window_min": "max_pool", "reduce_window_sum": "avg_pool",
    "reduce_window": "max_pool",
}  # fmt: skip


@HANDLERS.handles(*POOLS)
def _pool(node: Node, build: Builder) -> Made:
    count = len(node.shapes)
    x = _together(node.operands[:count], build)
    kernel, stride = node.integers("window_dimensions"), node.integers("window_strides")
    padding, base, dilation = (node.parameters[n] for n in ("padding", "base_dilation", "window_dilation"))
    dims = tuple(
        d for d in range(node.rank)
        if (kernel[d], stride[d], tuple(padding[d]), base[d]) != (1, 1, (0, 0), 1)
    )  # fmt: skip
    if not dims:
        return [build(program.Pointwise(function="identity"), x)] * count
    kernel, stride, base, dilation = (tuple(of[d] for d in dims) for of in (kernel, stride, base, dilation))
    pooled = _slid(build, x, POOLS[node.op], dims, kernel, stride, [padding[d] for d in dims], base, dilation)
    return [pooled] * count


def _together(operands: Sequence[Operand], build: Builder) -> Value:
    """Return what reads several tensors of one shape at the same place."""
    tensors = [operand.value for operand in operands]
    return tensors[0] if len(tensors) == 1 else build(program.Pointwise(function="elementwise"), *tensors, part="all")


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("jax", vocabulary.REDUCTIONS)


@HANDLERS.handles(*REDUCTIONS)
def _reduce(node: Node, build: Builder) -> Made:
    dims = tuple(sorted(node.integers("axes")))
    return build(program.Reduce(function=REDUCTIONS[node.op], dims=dims, keepdims=False), node.value(0))


@HANDLERS.handles("reduce")
def _reduce_by(node: Node, build: Builder) -> Made:
    count = len(node.shapes)
    dims = tuple(sorted(node.integers("dimensions")))
    x = _together(node.operands[:count], build)
    return [build(program.Reduce(function="max", dims=dims, keepdims=False), x)] * count


@HANDLERS.handles("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def _cumulated(node: Node, build: Builder) -> Made:
    direction: program.Direction = "backward" if node.parameters.get("reverse", False) else "forward"
    mix = program.Mix(function="cumsum", dims=(int(node.parameters["axis"]),), direction=direction)
    return build(mix, node.value(0))


@HANDLERS.handles("sort")
def _sort(node: Node, build: Builder) -> Made:
    x = _together(node.operands, build)
    return [build(program.Mix(function="sort", dims=(int(node.parameters["dimension"]),)), x)] * len(node.shapes)


@HANDLERS.handles("top_k", "approx_top_k")
def _top_k(node: Node, build: Builder) -> Made:
    d = int(node.parameters.get("axis", node.parameters.get("reduction_dimension", -1))) % node.rank
    largest = operations.largest(build, node.value(0), d, node.made[d])
    return [largest, largest]


@HANDLERS.handles("fft")
def _fft(node: Node, build: Builder) -> Made:
    count = len(node.parameters["fft_lengths"])
    dims = tuple(range(node.rank - count, node.rank))
    if node.made == node.shape():
        return build(program.Mix(function="dft", dims=dims), node.value(0))
    total = build(program.Reduce(function="dft", dims=dims), node.value(0), part="sum")
    return build(program.Expand(shape=node.made), total)


# Products.


@HANDLERS.handles("dot_general")
def _dot_general(node: Node, build: Builder) -> Made:
    (left, right), (left_batch, right_batch) = node.parameters["dimension_numbers"]
    resized = _resize(node, build, tuple(left), tuple(right)) if not left_batch else None
    if resized is not None:
        return resized
    names = [[f"l{d}" for d in range(node.rank)], [f"r{d}" for d in range(len(node.shape(1)))]]
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        names[1][j] = names[0][i]
    shared = {names[0][i] for i in (*left, *left_batch)}
    free = [name for name in (*names[0], *names[1]) if name not in shared]
    output = (*(names[0][i] for i in left_batch), *free)
    return build(program.Contract(operands=(tuple(names[0]), tuple(names[1])), output=output), *node.tensors)


#: Weights smaller than this, where the greatest is 1, are 0 but for rounding.
ZERO = 1e-10
#: How ``jax.image`` resizes: mode, and whether it smooths what it shrinks.
RESIZES = tuple((mode, smooth) for mode in RADIUS for smooth in (True, False))


def _resize(node: Node, build: Builder, left: Ints, right: Ints) -> Value | None:
    """Return the resize that a product is, ``None`` if it is none: its other operand is computed, from no input.

    What its weights are shows which rows each output reads; that must be what a resize of that kind reads.
    """
    if len(left) != 1:
        return None
    x = 0 if not node.value(0).constant else 1
    d, summed = (left[0], right[0]) if x == 0 else (right[0], left[0])
    held = [_rows_read(weights, summed) for weights in _looked_at(node, 1 - x)]
    tried = [_kinds_of_resize(*read) for read in held if read is not None]
    kinds = [kind for kind in RESIZES if tried and all(kind in each for each in tried)]
    if not kinds or None in held[:1]:
        return None
    mode, smooth = kinds[0]
    size = node.shape(1 - x)[1 - summed]
    resize = program.Resize(dims=(d,), sizes=(size,), mode=mode, antialias=smooth, coefficient=KEYS)
    resized = build(resize, node.value(x))
    rank = len(node.shape(x))
    rest = [e for e in range(rank) if e != d]
    order = tuple([*rest, d] if x == 0 else [d, *rest])
    return (
        resized if order == tuple(range(rank)) else build(program.Transpose(permutation=order), resized, part="layout")
    )


def _looked_at(node: Node, k: int) -> list[Any]:
    """Return the numbers of a constant; where they depend on sizes that are open, those at some sizes."""
    number = node.operands[k].number
    if number is None or not number.is_open or "resize" not in node.within:
        return [node.operands[k].numbers]
    return [number.at(sizes) for sizes in node.trials]


def _rows_read(weights: Any, summed: int) -> tuple[Ints, Ints, int] | None:
    """Return the first and the last row that each output reads, and how many there are; ``None`` without such."""
    if weights is None or weights.ndim != 2 or weights.dtype.kind != "f":
        return None
    rows = np.moveaxis(weights, summed, 0)  # [inputs, outputs]
    if 1 in rows.shape or rows.shape[0] == rows.shape[1]:
        return None
    reads = np.abs(rows) > ZERO * np.abs(rows).max(initial=0)
    if not reads.any(axis=0).all():
        return None
    first, last = reads.argmax(axis=0), len(reads) - 1 - reads[::-1].argmax(axis=0)
    return tuple(map(int, first)), tuple(map(int, last)), len(rows)


@lru_cache(maxsize=256)
def _kinds_of_resize(first: Ints, last: Ints, inputs: int) -> list[tuple[str, bool]]:
    """Return the resizes of which output ``y`` reads ``first[y]`` to ``last[y]``."""
    kinds = []
    for mode, smooth in RESIZES:
        op = Resize.parse({"size": len(first), "mode": mode, "antialias": smooth}, 0, 1)
        window = op.window(0, (inputs,))
        if window.is_unknown:
            return []
        spans = [window.interval(y) or (0, 0) for y in range(len(first))]
        if all((max(a, 0), min(b, inputs - 1)) == at
               for (a, b), at in zip(spans, zip(first, last, strict=True), strict=True)):  # fmt: skip
            kinds.append((mode, smooth))
    return kinds


# Elements moved, dropped, added.


@HANDLERS.handles("pad")
def _pad(node: Node, build: Builder) -> Made:
    config = [(size_of(a), size_of(b), int(inside)) for a, b, inside in node.parameters["padding_config"]]
    padded = node.value(0)
    spread = tuple(d for d, (_, _, inside) in enumerate(config) if inside)
    amounts = tuple((before, after) for before, after, _ in config)
    filled = not node.value(1).constant
    if spread:
        ones, nothing = (1,) * len(spread), (0,) * len(spread)
        holes = program.SlideTransposed(
            dims=spread, kernel=ones, stride=tuple(config[d][2] + 1 for d in spread),
            padding=((0, 0),) * len(spread), output_padding=nothing, dilation=ones,
        )  # fmt: skip
        last = not filled and all(pair == (0, 0) for pair in amounts)
        padded = build(holes, padded, part="" if last else "spread")
    if any(pair != (0, 0) for pair in amounts) or not spread:
        padded = build(program.Pad(amounts=amounts), padded, part="pad" if filled else "")
    if filled:
        read = build(program.Whole(shape=()), node.value(1), part="value")
        padded = build(program.Pointwise(function="where"), padded, read)
    return padded


@HANDLERS.handles("slice")
def _slice(node: Node, build: Builder) -> Made:
    starts, stops = node.sizes("start_indices"), node.sizes("limit_indices")
    steps = node.integers("strides") if node.parameters["strides"] is not None else (1,) * node.rank
    return _sliced(build, node.value(0), starts, stops, steps)


def _sliced(build: Builder, x: Value, starts: Ints, stops: Ints, steps: Ints | None = None, part: str = "") -> Value:
    """Slice the dimensions of which not everything is taken."""
    shape = _ints(x.shape)
    steps = steps or (1,) * len(shape)
    everything = zip(starts, stops, steps, shape, strict=True)
    dims = tuple(d for d, (a, b, step, size) in enumerate(everything) if (a, b, step) != (0, size, 1))
    taken = [tuple(of[d] for d in dims) for of in (starts, stops, steps)]
    return build(program.Slice(dims=dims, starts=taken[0], stops=taken[1], steps=taken[2]), x, part=part)


@HANDLERS.handles("dynamic_slice")
def _dynamic_slice(node: Node, build: Builder) -> Made:
    sizes = node.sizes("slice_sizes")
    starts = _starts(node, 1, node.shape(), sizes)
    return _sliced(build, node.value(0), starts, tuple(a + k for a, k in zip(starts, sizes, strict=True)))


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
    shape, sizes = _ints(x.shape), _ints(update.shape)
    partial = [d for d in range(len(shape)) if sizes[d] != shape[d]]
    if not partial:
        return update
    d = partial[0]
    start, stop = starts[d], starts[d] + sizes[d]

    def rows(first: int, last: int, name: str) -> Value:
        ends = tuple(last if e == d else size for e, size in enumerate(shape))
        return _sliced(build, x, tuple(first if e == d else 0 for e in range(len(shape))), ends, part=f"{name}/{d}")

    middle = update
    if len(partial) > 1:
        inside = tuple(0 if e == d else at for e, at in enumerate(starts))
        middle = _written(build, rows(start, stop, "within"), update, inside, f"box/{d}")
    pieces = [rows(0, start, "before")] if start else []
    pieces.append(middle)
    pieces += [rows(stop, shape[d], "behind")] if stop < shape[d] else []
    return _end_to_end(build, pieces, d, part)


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
    if any(not 0 <= a <= size - k for a, size, k in zip(begin, shape, _ints(update.shape), strict=True)):
        raise UnspelledError("it writes beyond its tensor")
    return _written(build, node.value(0), update, begin, "")


@HANDLERS.handles("concatenate")
def _concatenate(node: Node, build: Builder) -> Made:
    d = int(node.parameters["dimension"])
    return _end_to_end(build, [operand.value for k, operand in enumerate(node.operands) if node.shape(k)[d]], d)


def _end_to_end(build: Builder, pieces: Sequence[Value], d: int, part: str = "") -> Value:
    """Concatenate tensors; between several that are computed, constants are padding of the one before them."""
    if sum(not piece.constant for piece in pieces) < 2:
        return build(program.Concat(dim=d), *pieces, part=part)
    padded: list[Value] = []
    before = 0
    for piece in pieces:
        rows = _ints(piece.shape)[d]
        if not piece.constant:
            padded.append(_padded(build, piece, d, (before, 0), f"{part or 'piece'}/{len(padded)}"))
            before = 0
        elif padded:
            padded[-1] = _padded(build, padded[-1], d, (0, rows), f"{part or 'piece'}/{len(padded)}")
        else:
            before += rows
    return build(program.Concat(dim=d), *padded, part=part)


def _padded(build: Builder, x: Value, d: int, amounts: tuple[int, int], part: str) -> Value:
    rank = len(_ints(x.shape))
    every = tuple(amounts if e == d else (0, 0) for e in range(rank))
    return x if amounts == (0, 0) else build(program.Pad(amounts=every), x, part=part)


@HANDLERS.handles("stack")
def _stack(node: Node, build: Builder) -> Made:
    return operations.stack(build, node.tensors, int(node.parameters["axis"]))


@HANDLERS.handles("unstack")
def _unstack(node: Node, build: Builder) -> Made:
    return operations.unstack(build, node.value(0), int(node.parameters["axis"]), len(node.shapes))


@HANDLERS.handles("split")
def _split(node: Node, build: Builder) -> Made:
    return operations.split(build, node.value(0), int(node.parameters["axis"]), node.integers("sizes"))


@HANDLERS.handles("rev")
def _rev(node: Node, build: Builder) -> Made:
    return operations.flipped(build, node.value(0), node.integers("dimensions"))


@HANDLERS.handles("tile")
def _tile(node: Node, build: Builder) -> Made:
    return operations.tile(build, node.value(0), node.integers("reps"))


#: A dimension of what a gather makes: of its operand, or of its indices, and which.
Place: TypeAlias = "tuple[str, int]"


@HANDLERS.handles("gather")
def _gather(node: Node, build: Builder) -> Made:
    numbers = node.parameters["dimension_numbers"]
    if numbers.operand_batching_dims:
        raise UnspelledError(SELECTED)
    if (resized := _resized_rows(node, build)) is not None:
        return resized
    rows, layout = _looked_up(node, build) if node.value(0).constant else _rows_taken(node, build)
    offsets = iter(place for place in layout if place[0] == "operand")
    batch = iter(sorted(place for place in layout if place[0] == "index"))
    order = tuple(layout.index(next(offsets if d in numbers.offset_dims else batch)) for d in range(len(layout)))
    if order == tuple(range(len(order))):
        return rows
    return build(program.Transpose(permutation=order), rows, part="layout")


SELECTED = "its indices say which elements it reads"


def _resized_rows(node: Node, build: Builder) -> Value | None:
    """Return the resize to the nearest row that a gather is whose indices depend on sizes that are open."""
    numbers, shape = node.parameters["dimension_numbers"], node.shape(0)
    if len(numbers.start_index_map) != 1 or tuple(numbers.collapsed_slice_dims) != tuple(numbers.start_index_map):
        return None
    d = numbers.start_index_map[0]
    if not isinstance(shape[d], Expression) and not isinstance(node.shape(1)[0], Expression):
        return None
    sizes = node.sizes("slice_sizes")
    if len(node.shape(1)) != 2 or any(
        size != of for e, (size, of) in enumerate(zip(sizes, shape, strict=True)) if e != d
    ):
        return None
    if tuple(numbers.offset_dims) != tuple(e for e in range(len(shape)) if e != d):
        return None
    kinds = set()
    for rows, at in zip(_looked_at(node, 1), node.trials, strict=True):
        inputs = valued(shape[d], at)
        if rows is None or not isinstance(inputs, int):
            return None
        if 1 not in (len(rows), inputs) and len(rows) != inputs:
            kinds.add(nearest_of(tuple(int(row) for row in rows[:, 0]), inputs))
    if len(kinds) != 1 or (kind := kinds.pop()) is None:
        return None
    coordinates, rounding = kind
    resize = program.Resize(dims=(d,), sizes=(node.shape(1)[0],), coordinates=coordinates, nearest_mode=rounding)
    return build(resize, node.value(0))


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
        tensor = _sliced(build, tensor, tuple(rows.starts), tuple(rows.stops), part=part)
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


# Numbering.


@HANDLERS.handles("reshape")
def _reshape(node: Node, build: Builder) -> Made:
    x = node.value(0)
    dimensions = node.parameters.get("dimensions")
    if dimensions is not None:
        x = build(program.Transpose(permutation=tuple(dimensions)), x, part="order")
    return build(program.Reshape(shape=node.made), x)


@HANDLERS.handles("squeeze")
def _squeeze(node: Node, build: Builder) -> Made:
    return build(program.Squeeze(dims=node.integers("dimensions")), node.value(0))


@HANDLERS.handles("expand_dims")
def _expand_dims(node: Node, build: Builder) -> Made:
    return build(program.Unsqueeze(dims=node.integers("dimensions")), node.value(0))


@HANDLERS.handles("transpose")
def _transpose(node: Node, build: Builder) -> Made:
    return build(program.Transpose(permutation=node.integers("permutation")), node.value(0))


@HANDLERS.handles("broadcast_in_dim")
def _broadcast_in_dim(node: Node, build: Builder) -> Made:
    dims = node.integers("broadcast_dimensions")
    missing = tuple(d for d in range(len(node.made)) if d not in dims)
    tensor = node.value(0)
    if missing:
        tensor = build(program.Unsqueeze(dims=missing), tensor, part="dims")
    return tensor if tensor.shape == node.made else build(program.Expand(shape=node.made), tensor)


# What reads all of its input, or is not followed, and why.


@HANDLERS.handles("random_bits", "random_seed", "random_fold_in", "random_split", "random_wrap", "random_unwrap",
                  "random_clone", "threefry2x32", "random_gamma", "rng_bit_generator", "rng_uniform")  # fmt: skip
def _random(node: Node, build: Builder) -> Made:
    return [build.weight(shape, node.name) for shape in node.shapes]


NOT_FOLLOWED = {
    **dict.fromkeys(
        ("scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max", "scatter_add", "scatter_mul"),
        "its indices say which elements it writes",
    ),
    **dict.fromkeys(
        ("select_and_scatter", "select_and_scatter_add", "select_and_gather_add"),
        "what it selects says where it reads or writes",
    ),
    **dict.fromkeys(
        ("pure_callback", "io_callback", "pallas_call", "custom_partitioning", "ffi_call", "custom_call"),
        "it runs code that is not traced",
    ),
    **dict.fromkeys(("ragged_dot", "ragged_dot_general"), "its group sizes say which rows it reads"),
}

HANDLERS.refuses(NOT_FOLLOWED)


#: Primitives that make no node of the network.
SILENT = frozenset(
    {*SAME, "bitcast_convert_type", "reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim"}
)
#: Primitives that a scope is called after: those with weights, and windows.
WEIGHTED = frozenset({"conv_general_dilated", "dot_general", *POOLS})
