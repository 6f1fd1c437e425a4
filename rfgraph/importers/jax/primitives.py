"""JAX's primitives, spelt with those of the tensor program; this module does not need JAX.

One handler per primitive or family of primitives, under its name in a jaxpr. A handler gets the node and the builder,
and returns the values of the node's outputs. Nodes that no input reaches do not come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.jax.nodes import HANDLERS, Ints, Made, Node, Operand, ints_of
from rfgraph.importers.jax.resizes import resize_of_product
from rfgraph.importers.jax.symbols import closed, has_open, size_of
from rfgraph.importers.program import Builder, Dim, Value, names_of, valued
from rfgraph.importers.spelling import UnspelledError, moving, operations, vocabulary

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
        convolved = build(mix, x, build.weight((node.shape(1)[numbers.rhs_spec[1]], channels)))
    if batch_groups > 1:  # as in gradients of weights: one group of the batch for each of the channels
        shape = ints_of(convolved.shape)
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
            channel=channel, channels=channels, groups=groups, bound=bound, apart=apart, empty=True,
        )  # fmt: skip
        return build(slide, x)
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    crops = tuple((span - before, span - after) for span, (before, after) in zip(spans, pads, strict=True))
    strided = any(step > 1 for step in stride)
    transposed = program.SlideTransposed(
        dims=dims, kernel=kernel, stride=base, padding=crops, output_padding=(0,) * len(dims), dilation=dilation,
        channel=channel, channels=channels, groups=groups, bound=bound, empty=True,
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
            size = ints_of(x.shape)[d]
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
    # A mean is a sum in JAX, so that no sum is taken to work where there are no elements.
    primitive = program.Reduce(function=REDUCTIONS[node.op], dims=tuple(sorted(node.integers("axes"))), keepdims=False)
    return build(primitive, node.value(0))


@HANDLERS.handles("reduce")
def _reduce_by(node: Node, build: Builder) -> Made:
    count = len(node.shapes)
    dims = tuple(sorted(node.integers("dimensions")))
    x = _together(node.operands[:count], build)
    return [build(program.Reduce(function="max", dims=dims, keepdims=False), x)] * count


@HANDLERS.handles("sort")
def _sort(node: Node, build: Builder) -> Made:
    x = _together(node.operands, build)
    return [build(program.Mix(function="sort", dims=(int(node.parameters["dimension"]),)), x)] * len(node.shapes)


@HANDLERS.handles("top_k", "approx_top_k")
def _top_k(node: Node, build: Builder) -> Made:
    d = int(node.parameters.get("axis", node.parameters.get("reduction_dimension", -1))) % node.rank
    return operations.largest(build, node.value(0), d, node.made[d])


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
    resized = resize_of_product(node, build, tuple(left), tuple(right)) if not left_batch else None
    if resized is not None:
        return resized
    names = [[f"l{d}" for d in range(node.rank)], [f"r{d}" for d in range(len(node.shape(1)))]]
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        names[1][j] = names[0][i]
    shared = {names[0][i] for i in (*left, *left_batch)}
    free = [name for name in (*names[0], *names[1]) if name not in shared]
    output = (*(names[0][i] for i in left_batch), *free)
    return build(program.Contract(operands=(tuple(names[0]), tuple(names[1])), output=output), *node.tensors)


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
    return sliced(build, node.value(0), starts, stops, steps)


def sliced(build: Builder, x: Value, starts: Ints, stops: Ints, steps: Ints | None = None, part: str = "") -> Value:
    """Slice the dimensions of which not everything is taken."""
    shape = ints_of(x.shape)
    steps = steps or (1,) * len(shape)
    everything = zip(starts, stops, steps, shape, strict=True)
    dims = tuple(d for d, (a, b, step, size) in enumerate(everything) if (a, b, step) != (0, size, 1))
    taken = [tuple(of[d] for d in dims) for of in (starts, stops, steps)]
    return build(program.Slice(dims=dims, starts=taken[0], stops=taken[1], steps=taken[2]), x, part=part)


@HANDLERS.handles("concatenate")
def _concatenate(node: Node, build: Builder) -> Made:
    d = int(node.parameters["dimension"])
    return end_to_end(build, [operand.value for k, operand in enumerate(node.operands) if node.shape(k)[d]], d)


def end_to_end(build: Builder, pieces: Sequence[Value], d: int, part: str = "") -> Value:
    """Concatenate tensors; between several that are computed, constants are padding of the one before them."""
    if sum(not piece.constant for piece in pieces) < 2:
        return build(program.Concat(dim=d), *pieces, part=part)
    padded: list[Value] = []
    before = 0
    for piece in pieces:
        rows = ints_of(piece.shape)[d]
        if not piece.constant:
            padded.append(_padded(build, piece, d, (before, 0), f"{part or 'piece'}/{len(padded)}"))
            before = 0
        elif padded:
            padded[-1] = _padded(build, padded[-1], d, (0, rows), f"{part or 'piece'}/{len(padded)}")
        else:
            before += rows
    return build(program.Concat(dim=d), *padded, part=part)


def _padded(build: Builder, x: Value, d: int, amounts: tuple[int, int], part: str) -> Value:
    rank = len(ints_of(x.shape))
    every = tuple(amounts if e == d else (0, 0) for e in range(rank))
    return x if amounts == (0, 0) else build(program.Pad(amounts=every), x, part=part)


# Numbering.


@HANDLERS.handles("reshape")
def _reshape(node: Node, build: Builder) -> Made:
    x = node.value(0)
    dimensions = node.parameters.get("dimensions")
    if dimensions is not None:
        x = build(program.Transpose(permutation=tuple(dimensions)), x, part="order")
    return build(program.Reshape(shape=node.made), x)


@HANDLERS.handles("broadcast_in_dim")
def _broadcast_in_dim(node: Node, build: Builder) -> Made:
    dims = node.integers("broadcast_dimensions")
    missing = tuple(d for d in range(len(node.made)) if d not in dims)
    tensor = node.value(0)
    if missing:
        tensor = build(program.Unsqueeze(dims=missing), tensor, part="dims")
    return tensor if tensor.shape == node.made else build(program.Expand(shape=node.made), tensor)


# Ops that one expression spells.

HANDLERS.spells(
    {
        (*SAME,): lambda node, build: node.tensors,
        "stack": lambda node, build: moving.stack(build, node.tensors, int(node.parameters["axis"])),
        "unstack": lambda node, build: moving.unstack(
            build, node.value(0), int(node.parameters["axis"]), len(node.shapes)
        ),
        "split": lambda node, build: moving.split(
            build, node.value(0), int(node.parameters["axis"]), node.integers("sizes")
        ),
        "rev": lambda node, build: moving.flipped(build, node.value(0), node.integers("dimensions")),
        "tile": lambda node, build: moving.tile(build, node.value(0), node.integers("reps")),
        "squeeze": lambda node, build: build(program.Squeeze(dims=node.integers("dimensions")), node.value(0)),
        "expand_dims": lambda node, build: build(program.Unsqueeze(dims=node.integers("dimensions")), node.value(0)),
        "transpose": lambda node, build: moving.permuted(build, node.value(0), node.integers("permutation")),
        ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"): lambda node, build: operations.cumulated(
            build, node.value(0), int(node.parameters["axis"]), backward=bool(node.parameters.get("reverse", False))
        ),
    }
)

# What reads all of its input, or is not followed, and why.


@HANDLERS.handles("random_bits", "random_seed", "random_fold_in", "random_split", "random_wrap", "random_unwrap",
                  "random_clone", "threefry2x32", "random_gamma", "rng_bit_generator", "rng_uniform")  # fmt: skip
def _random(node: Node, build: Builder) -> Made:
    return [build.weight(shape, node.name) for shape in node.shapes]


NOT_FOLLOWED = HANDLERS.refuses({
    "its indices say which elements it writes":
        "scatter-add scatter-sub scatter-mul scatter-min scatter-max scatter_add scatter_mul",
    "what it selects says where it reads or writes": "select_and_scatter select_and_scatter_add select_and_gather_add",
    "it runs code that is not traced": "pure_callback io_callback pallas_call custom_partitioning ffi_call custom_call",
    "its group sizes say which rows it reads": "ragged_dot ragged_dot_general",
})  # fmt: skip


#: Primitives that make no node of the network.
SILENT = frozenset(
    {*SAME, "bitcast_convert_type", "reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim"}
)
#: Primitives that a scope is called after: those with weights, and windows.
WEIGHTED = frozenset({"conv_general_dilated", "dot_general", *POOLS})
