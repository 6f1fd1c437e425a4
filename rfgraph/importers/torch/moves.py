"""PyTorch's operators that move, drop, add or renumber elements, make constants, or compute sizes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import ceil, floor
from typing import Any

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.program import MAX_ELEMENTS, Dim, Expression, Shape, Value, completed, product, text, unknown
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.spelling import UnspelledError, moving, rank_of, shape_of, whole_number
from rfgraph.importers.torch.nodes import HANDLERS, Made, Node, dim_of

# Elements moved, dropped, added.


PADDING_MODES = {"reflection": "reflect", "replication": "edge", "replicate": "edge", "circular": "wrap"}


@HANDLERS.handles(
    "pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d",
)  # fmt: skip
def _pad(node: Node, build: Builder) -> Made:
    pads = node.sizes("pad" if "pad" in node.arguments else "padding")
    if len(pads) % 2 or len(pads) > 2 * node.rank:
        raise ValueError(f"it has {len(pads)} pads for {node.rank} dimensions")
    mode = str(node.get("mode", node.op.partition("_")[0] if node.op != "pad" else "constant"))
    mode = PADDING_MODES.get(mode, mode)
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * node.rank
    for i in range(len(pads) // 2):
        amounts[node.rank - 1 - i] = (pads[2 * i], pads[2 * i + 1])
    return build(program.Pad(amounts=tuple(amounts), mode=mode), node.x)


@HANDLERS.handles("slice", "slice_copy")
def _slice(node: Node, build: Builder) -> Made:
    d = node.dim(default=0)
    start = None if node.get("start") is None else node.size("start")
    stop = None if node.get("end") is None else node.size("end")
    step = node.integer("step", 1)
    if step < 1:
        raise ValueError(f"step {step} is not positive")
    return build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(step,)), node.x)


@HANDLERS.handles("narrow", "narrow_copy")
def _narrow(node: Node, build: Builder) -> Made:
    d, start = node.dim(), node.size("start")
    if isinstance(start, int) and start < 0:
        start = node.shape[d] + start
    stop = start + node.size("length")
    return build(program.Slice(dims=(d,), starts=(start,), stops=(stop,), steps=(1,), whole=True), node.x)


@HANDLERS.handles("chunk", "split", "split_with_sizes", "split_copy", "split_with_sizes_copy", "tensor_split")
def _split(node: Node, build: Builder) -> Made:
    d = node.dim(default=0)
    name = next((n for n in ("split_size", "split_sizes", "indices") if n in node.arguments), "")
    if node.op == "tensor_split":
        total = node.shape[d]
        bounds = [0, *node.sizes("indices"), total] if name else moving.even_bounds(total, node.integer("sections"))
        return moving.split(build, node.x, d, [b - a for a, b in pairwise(bounds)])
    if name and isinstance(node.get(name), tuple):
        return moving.split(build, node.x, d, node.sizes(name))
    whole = whole_number("size", node.shape[d])
    each = node.integer(name) if name else -(-whole // node.integer("chunks"))
    if each < 1 or whole // each > MAX_ELEMENTS:
        raise UnspelledError(f"it splits {whole} into parts of {each}")
    return moving.split(build, node.x, d, [min(each, whole - first) for first in range(0, whole, each)] or [0])


@HANDLERS.handles("cat", "concat", "concatenate")
def _cat(node: Node, build: Builder) -> Made:
    tensors = [tensor for tensor in node.list("tensors") if tensor.shape != (0,)]  # torch lets these pass
    if not tensors:
        raise UnspelledError("it joins tensors without elements")
    d = node.dim(default=0, rank=rank_of(tensors))
    held = [tensor for tensor in tensors if shape_of(tensor)[d] != 0]
    if len(held) == 1:
        return build(program.Pointwise(function="identity"), *held)
    return build(program.Concat(dim=d), *(held or tensors))


@HANDLERS.handles("roll")
def _roll(node: Node, build: Builder) -> Made:
    dims = node.get("dims", ())
    dims = dims if isinstance(dims, tuple) else (dims,)
    shifts = node.integers("shifts", max(len(dims), 1))
    if not dims:
        raise UnspelledError("it rolls the tensor as one row")
    return moving.rolled(build, node.x, [whole_number("dims", d) for d in dims], shifts)


@HANDLERS.handles("expand", "expand_copy", "broadcast_to", "expand_as")
def _expand(node: Node, build: Builder) -> Made:
    wanted = shape_of(node.tensor("other")) if node.op == "expand_as" else node.sizes("size")
    missing = len(wanted) - node.rank
    if missing < 0:
        raise ValueError(f"size {text(wanted)} has fewer dimensions than its input")
    shape = tuple(node.shape[d - missing] if size == -1 and d >= missing else size for d, size in enumerate(wanted))
    return build(program.Expand(shape=shape), node.x)


@HANDLERS.handles("repeat", "tile")
def _repeat(node: Node, build: Builder) -> Made:
    repeats = node.get("repeats" if node.op == "repeat" else "dims", ())
    counts = [whole_number("repeats", count) for count in (repeats if isinstance(repeats, tuple) else (repeats,))]
    return moving.tile_as_numpy(build, node.x, counts)


@HANDLERS.handles("repeat_interleave")
def _repeat_interleave(node: Node, build: Builder) -> Made:
    count = node.get("repeats")
    if isinstance(count, Value) or node.get("dim") is None:
        raise UnspelledError("it repeats elements a number of times that is not one for all")
    return moving.repeat_each(build, node.x, node.dim(), whole_number("repeats", count))


# Numbering.


@HANDLERS.handles("view", "reshape", "_unsafe_view", "view_copy", "reshape_as", "view_as")
def _reshape(node: Node, build: Builder) -> Made:
    if node.overload == "dtype":
        raise UnspelledError("it reads its elements as another type")
    wanted = shape_of(node.tensor("other")) if node.op.endswith("_as") else node.sizes(
        "shape" if "shape" in node.arguments else "size"
    )  # fmt: skip
    return reshaped(node, build, wanted)


def reshaped(node: Node, build: Builder, wanted: Shape) -> Value:
    """Return the first argument in another shape, of which -1 is worked out."""
    return moving.reshaped(build, node.x, completed(wanted, node.shape, node.name), resized=node.resized)


@HANDLERS.handles("flatten")
def _flatten(node: Node, build: Builder) -> Made:
    first, last = node.dim("start_dim", 0), node.dim("end_dim", -1)
    shape = node.shape
    if first > last:
        raise ValueError(f"dimension {first} lies after {last}")
    return reshaped(node, build, (*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]))


@HANDLERS.handles("unflatten")
def _unflatten(node: Node, build: Builder) -> Made:
    d = node.dim()
    inner = completed(node.sizes("sizes"), (node.shape[d],), node.name)
    return reshaped(node, build, (*node.shape[:d], *inner, *node.shape[d + 1 :]))


@HANDLERS.handles("transpose", "transpose_copy", "swapaxes", "swapdims", "t", "numpy_T", "adjoint", "mT")
def _transpose(node: Node, build: Builder) -> Made:
    rank = node.rank
    names = [n for n in ("dim0", "dim1", "axis0", "axis1") if n in node.arguments]
    if node.op == "numpy_T":
        return moving.permuted(build, node.x, None)
    a, b = (node.dim(n) for n in names) if len(names) == 2 else (max(rank - 2, 0), max(rank - 1, 0))
    return moving.permuted(build, node.x, moving.swapped(rank, a, b))


@HANDLERS.handles("movedim", "moveaxis")
def _movedim(node: Node, build: Builder) -> Made:
    ends = [[dim_of(whole_number(n, d), node.rank) for d in node.sizes(n)] for n in ("source", "destination")]
    return moving.permuted(build, node.x, moving.moved(node.rank, *ends))


# Constants, and sizes.


def _filled(node: Node, build: Builder, shape: Shape) -> Value:
    """Return a new tensor, with what it holds where that is one small integer."""
    kind = node.op.removesuffix("_like").removeprefix("new_")
    value = {"zeros": 0, "ones": 1, "full": node.get("fill_value")}.get(kind)
    count = product(shape)
    small = isinstance(count, int) and 0 < count <= MAX_ELEMENTS
    if isinstance(value, bool) or not isinstance(value, int) or not small:
        known = isinstance(value, (bool, int, float)) and all(isinstance(size, int) for size in shape)
        # One number stands for all.
        fill = partial(np.broadcast_to, np.asarray(value), shape)
        return build.weight(shape, node.name, fill if known else None)
    return build(program.Expand(shape=shape), build.constant(value), part="filled")


@HANDLERS.handles(
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "fill", "zero", "randint_like"
)
def _created_like(node: Node, build: Builder) -> Made:
    return build.weight(node.x.shape, node.name) if node.x.shape is None else _filled(node, build, node.x.shape)


@HANDLERS.handles("eye", "hann_window", "hamming_window", "linspace", "scalar_tensor")
def _created_otherwise(node: Node, build: Builder) -> Made:
    if node.op == "scalar_tensor":
        return build.weight((), node.name)
    size = node.size(next((n for n in ("n", "window_length", "steps") if n in node.arguments), "n"))
    if node.op == "eye":
        columns = node.size("m", size)
        small = isinstance(size, int) and isinstance(columns, int) and size * columns <= MAX_ELEMENTS
        return build.weight((size, columns), node.name, partial(np.eye, size, columns) if small else None)
    if node.op == "hann_window" and isinstance(size, int) and 1 < size <= MAX_ELEMENTS:
        turns = size if node.get("periodic", True) else size - 1
        return build.weight((size,), node.name, lambda: np.arange(size) % turns != 0, own=False)
    return build.weight((size,), node.name)


@HANDLERS.handles("arange")
def _arange(node: Node, build: Builder) -> Made:
    start, stop, step = node.get("start", 0), node.get("end"), node.get("step", 1)
    if all(isinstance(number, int) for number in (start, stop, step)) and step:
        count = max(ceil(Fraction(stop - start, step)), 0)
        if count <= MAX_ELEMENTS:
            return build.constant([start + i * step for i in range(count)], name=node.name)
        return build.weight((count,), node.name)
    if (start, step) == (0, 1) and isinstance(stop, Expression):
        return build.weight((stop,), node.name)
    if any(isinstance(number, Value) for number in (start, stop, step)):
        raise UnspelledError("its length depends on what the network computes")
    return build.weight((unknown(f"{node.name}.length"),), node.name)


def _half(a: Any, b: Any) -> Any:
    """Return a quotient, a number of its own; of an unknown size only what stays whole is followed."""
    return Fraction(a, b) if isinstance(a, int) and isinstance(b, int) else a / b


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    def choose(*numbers: Any) -> Any:
        if any(isinstance(number, Expression) for number in numbers):
            raise UnspelledError("which size it is is not known")
        return function(*numbers)

    return choose


SIZES: dict[str, Callable[..., Any]] = {
    "_operator::add": lambda a, b: a + b, "_operator::sub": lambda a, b: a - b, "_operator::mul": lambda a, b: a * b,
    "_operator::floordiv": lambda a, b: a // b, "_operator::truediv": _half, "_operator::neg": lambda a: -a,
    "_operator::mod": lambda a, b: a - a // b * b, "_operator::pow": _chosen(lambda a, b: a ** min(max(b, 0), 64)),
    "math::ceil": ceil, "math::floor": floor, "math::trunc": floor, "builtins::round": _chosen(round),
    "torch::sym_max": _chosen(max), "torch::sym_min": _chosen(min), "torch::sym_int": floor,
    "torch::sym_float": lambda a: a,
}  # fmt: skip


@HANDLERS.handles(*SIZES)
def _computed_size(node: Node, build: Builder) -> Made:
    numbers = list(node.arguments.values())
    if any(isinstance(number, Value) for number in numbers):
        raise UnspelledError("it computes with what the network computes")
    try:
        size: Dim = SIZES[node.op](*numbers)
    except UnspelledError:
        return unknown(node.name)
    return size


# Ops that one expression spells.

HANDLERS.spells(
    {
        ("select", "select_copy"): lambda node, build: moving.taken(
            build, node.x, node.dim(), build.constant(node.integer("index"))
        ),
        ("unbind", "unbind_copy"): lambda node, build: moving.unstack(
            build, node.x, node.dim(default=0), most=MAX_ELEMENTS
        ),
        "stack": lambda node, build: moving.stack(build, node.list("tensors"), node.integer("dim", 0)),
        "embedding": lambda node, build: build(program.Take(dim=0), node.tensor("weight"), node.tensor("indices")),
        "flip": lambda node, build: moving.flipped(build, node.x, node.dims("dims")),
        ("squeeze", "squeeze_copy"): lambda node, build: moving.narrowed(
            build, node.x, [d for d in node.dims() if d < node.rank and node.shape[d] == 1]
        ),
        ("unsqueeze", "unsqueeze_copy"): lambda node, build: moving.widened(
            build, node.x, [node.dim(rank=node.rank + 1)]
        ),
        ("permute", "permute_copy"): lambda node, build: moving.permuted(
            build, node.x, [whole_number("dims", d) for d in node.sizes("dims")]
        ),
        ("zeros", "ones", "full", "empty", "rand", "randn", "randint"): lambda node, build: _filled(
            node, build, node.sizes("size")
        ),
        ("new_zeros", "new_ones", "new_full", "new_empty"): lambda node, build: _filled(
            node, build, node.sizes("size")
        ),
        "sym_size": lambda node, build: node.shape[node.dim()],
        ("sym_numel", "numel"): lambda node, build: product(node.shape),
    }
)
