"""Operations of ``keras.ops``, spelt with the primitives of the tensor program; this module does not need keras.

A functional model saves each call of one as a layer, under the name of its class. Those are handled here under that
name after ``ops.``: the layer ``Add`` and the operation ``Add`` are not the same. Numbers among the arguments change
nothing beside what depends on an input; tensors do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.keras.layers import completed_of, depthwise, fitted, mixed_channels, slid, transposed
from rfgraph.importers.keras.nodes import HANDLERS, Made, Node, flat, pairs, size
from rfgraph.importers.keras.sequences import attended
from rfgraph.importers.program import Builder, Dim, Expression, Shape, Value, broadcast, exact_quotient, product, text
from rfgraph.importers.spelling import UnspelledError, by_op, moving, operations, products, vocabulary
from rfgraph.importers.spelling.arguments import axis_of, per_axis, shape_of, whole_number
from rfgraph.importers.spelling.sampling import write_box

# Functions of one element. Names that carry no meaning for space are their own.

UNARY = vocabulary.names("keras", vocabulary.UNARY)

#: Functions of elements of several tensors, which broadcast.
SEVERAL = vocabulary.names("keras", vocabulary.SEVERAL)


def _ops(*names: str) -> tuple[str, ...]:
    return tuple(f"ops.{name}" for name in names)


def _name(node: Node) -> str:
    return node.op.removeprefix("ops.")


@HANDLERS.handles("ops.Tril", "ops.Triu")
def _triangle(node: Node, build: Builder) -> Made:
    k = node.get("k", 0)
    if not isinstance(k, int):
        return operations.pointwise(build, "trilu", node.x)
    return moving.band(build, node.x, -k if _name(node) == "Triu" else None, k if _name(node) == "Tril" else None)


@HANDLERS.handles(*_ops(*SEVERAL))
def _several(node: Node, build: Builder) -> Made:
    if node.op == "ops.Where" and len(node.args) + len(node.kwargs) < 3:
        raise UnspelledError("how many positions it finds depends on what the network computes")
    operands = node.tensors()
    if node.op == "ops.Where" or all(value.constant for value in operands):  # else numbers beside them change nothing
        leaves = [value for value in flat((node.args, node.kwargs)) if isinstance(value, (Value, bool, int, float))]
        operands = [operations.tensor_of(build, value) for value in leaves]
    return operations.pointwise(build, SEVERAL[_name(node)], *operands)


def _statistics(node: Node, build: Builder, axis: int, statistics: Sequence[Value]) -> Value:
    normed = operations.pointwise(build, "batch_norm", node.x)
    for i, one in enumerate(statistics):
        if not one.constant:  # one number per channel
            wide = tuple(range(1, node.rank - axis))
            row = build(program.Unsqueeze(dims=wide), one, part=f"{i}/wide") if wide else one
            normed = operations.pointwise(build, "mul", normed, row, part=str(i))
    return normed


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("keras", vocabulary.REDUCTIONS)


@HANDLERS.handles(*_ops("Percentile", "Quantile", "Nanpercentile", "Nanquantile"))
def _quantile(node: Node, build: Builder) -> Made:
    if isinstance(node.argument(1, "q"), (tuple, Value)):
        raise UnspelledError("it takes several quantiles")
    return operations.reduced(build, "median", node.x, node.axes(), keepdims=node.flag("keepdims"))


@HANDLERS.handles("ops.Average")
def _average(node: Node, build: Builder) -> Made:
    weights = node.argument(1, "weights")
    x = node.x
    if isinstance(weights, Value) and not weights.constant:
        if weights.shape != x.shape:
            raise UnspelledError("its weights do not lie as what they weigh")
        x = operations.pointwise(build, "mul", x, weights, part="weighted")
    return build(program.Reduce(function="mean", dims=node.axes(), keepdims=False), x)


@HANDLERS.handles("ops.Moments")
def _moments(node: Node, build: Builder) -> Made:
    primitive = program.Reduce(function="mean", dims=node.axes("axes"), keepdims=node.flag("keepdims"))
    return [build(primitive, node.x), build(primitive, node.x, part="variance")]


@HANDLERS.handles(*_ops("LayerNorm", "RMSNorm", "Normalize"))
def _layer_norm(node: Node, build: Builder) -> Made:
    if any(not value.constant for value in node.tensors()[1:]):
        raise UnspelledError("the network computes what it scales by")
    return operations.mixed(build, "layer_norm", node.x, *node.normed)


@HANDLERS.handles(*_ops("Cumsum", "Cumprod", "Nancumsum", "Nancumprod"))
def _cumulative(node: Node, build: Builder) -> Made:
    if node.get("axis") is None:
        raise UnspelledError("it reads the tensor as one row")
    return build(program.Mix(function="cumsum", dims=node.axes(), direction="forward"), node.x)


@HANDLERS.handles(*_ops("Sort", "Argsort", "Argpartition"))
def _sort(node: Node, build: Builder) -> Made:
    if "axis" in node.config and node.config["axis"] is None:
        raise UnspelledError("it reads the tensor as one row")
    return operations.mixed(build, "sort", node.x, node.axis())


# Products.


def _pair(node: Node) -> tuple[Value, Value]:
    return node.value(0, "x1"), node.value(1, "x2")


@HANDLERS.handles(*_ops("Dot", "Inner", "Vdot", "Tensordot"))
def _dot(node: Node, build: Builder) -> Made:
    a, b = _pair(node)
    left, right = len(shape_of(a)), len(shape_of(b))
    if node.op == "ops.Vdot" and (left, right) != (1, 1):
        raise UnspelledError("it reads its tensors as rows")
    if not left or not right:
        return operations.pointwise(build, "mul", a, b)
    sides: tuple[Sequence[int], Sequence[int]] = (
        (left - 1,),
        (right - 1 if node.op == "ops.Inner" else max(right - 2, 0),),
    )
    if node.op == "ops.Tensordot":
        dims = node.get("axes", 2)
        if isinstance(dims, (list, tuple)):
            if len(dims) != 2:
                raise ValueError(f"axes {dims!r} is not a pair")
            own = [axes if isinstance(axes, (list, tuple)) else (axes,) for axes in dims]
            sides = (
                [axis_of(whole_number("axes", axis), left) for axis in own[0]],
                [axis_of(whole_number("axes", axis), right) for axis in own[1]],
            )
        else:
            count = whole_number("axes", dims)
            if not 0 <= count <= min(left, right):
                raise ValueError(f"axes {count} is more than its operands have")
            sides = (range(left - count, left), range(count))
    if len(sides[0]) != len(sides[1]):
        raise ValueError("its axes do not pair")
    rows = [f"k{sides[0].index(d)}" if d in sides[0] else f"l{d}" for d in range(left)]
    columns = [f"k{sides[1].index(d)}" if d in sides[1] else f"r{d}" for d in range(right)]
    output = tuple(label for label in (*rows, *columns) if not label.startswith("k"))
    return build(program.Contract(operands=(tuple(rows), tuple(columns)), output=output), a, b)


@HANDLERS.handles("ops.Outer")
def _outer(node: Node, build: Builder) -> Made:
    if node.rank != 1:
        raise UnspelledError("it reads its tensors as rows")
    return build(program.Contract(operands=(("i",), ("j",)), output=("i", "j")), *_pair(node))


@HANDLERS.handles("ops.DotProductAttention")
def _dot_product_attention(node: Node, build: Builder) -> Made:
    query, key, value = node.value(0, "query"), node.value(1, "key"), node.value(2, "value")
    hidden = False
    for name, place in (("bias", 3), ("mask", 4)):
        given = node.argument(place, name)
        hidden = hidden or (given is not None and not (isinstance(given, Value) and given.learned))
        if isinstance(given, Value) and not given.constant:
            raise UnspelledError(f"the network computes its {name}")
    grouped = shape_of(query)[2] != shape_of(key)[2]
    only_before = node.argument(6, "is_causal", False) is True
    output = attended(
        build, query, key, value, axes=(1,), heads=True, grouped=grouped, only_before=only_before, hidden=hidden
    )
    return operations.pointwise(build, "identity", output)


# Windows.


def _kernel(node: Node, place: int, name: str) -> Shape:
    return shape_of(node.value(place, name))


@HANDLERS.handles("ops.Conv")
def _conv(node: Node, build: Builder) -> Made:
    *spatial, read, channels = _kernel(node, 1, "kernel")
    kernel = per_axis("kernel", spatial, len(spatial))
    _, channel = node.layout(len(kernel))
    groups = exact_quotient(node.shape[channel], read)
    if not isinstance(groups, int):
        raise UnspelledError("the number of its groups is not known")
    weight = node.value(1, "kernel")
    apart = build.apart(weight, range(len(kernel)), (len(kernel) + 1,))
    bound = build.bound(weight, range(len(kernel)))
    convolved = slid(node, build, node.x, kernel=kernel, channels=channels, groups=groups, bound=bound, apart=apart)
    return operations.weighted(build, convolved, weight)


def _as_layer(node: Node, kernel: Shape, **config: Any) -> Node:
    """Return the node of an operation with the entries that a layer of the kind has in its config."""
    entries = {**node.config, "kernel_size": per_axis("kernel", list(kernel), len(kernel)), **config}
    return Node(node.name, node.op, entries, node.args[:1] or (node.x,), {}, node.resized, node.apply)


@HANDLERS.handles("ops.DepthwiseConv")
def _depthwise_conv(node: Node, build: Builder) -> Made:
    *spatial, _, multiplier = _kernel(node, 1, "kernel")
    weight = node.value(1, "kernel")
    bound = build.bound(weight, range(len(spatial)))
    convolved = depthwise(_as_layer(node, tuple(spatial)), build, len(spatial), multiplier, bound=bound)
    return operations.weighted(build, convolved, weight)


@HANDLERS.handles("ops.SeparableConv")
def _separable_conv(node: Node, build: Builder) -> Made:
    *spatial, _, multiplier = _kernel(node, 1, "depthwise_kernel")
    bound = build.bound(node.value(1, "depthwise_kernel"), range(len(spatial)))
    each = depthwise(_as_layer(node, tuple(spatial)), build, len(spatial), multiplier, part="depthwise", bound=bound)
    convolved = mixed_channels(node, build, each, len(spatial), _kernel(node, 2, "pointwise_kernel")[-1])
    return operations.weighted(
        build, convolved, *(node.value(k, name) for k, name in ((1, "depthwise_kernel"), (2, "pointwise_kernel")))
    )


@HANDLERS.handles("ops.ConvTranspose")
def _conv_transpose(node: Node, build: Builder) -> Made:
    *spatial, channels, _ = _kernel(node, 1, "kernel")
    weight = node.value(1, "kernel")
    bound = build.bound(weight, range(len(spatial)))
    convolved = transposed(node, build, per_axis("kernel", spatial, len(spatial)), channels, bound)
    return operations.weighted(build, convolved, weight)


@HANDLERS.handles(*_ops("MaxPool", "AveragePool"))
def _pool(node: Node, build: Builder) -> Made:
    function = "max_pool" if node.op == "ops.MaxPool" else "avg_pool"
    return slid(node, build, node.x, kernel=node.integers("pool_size", node.rank - 2), function=function)


@HANDLERS.handles(*_ops("AdaptiveMaxPool", "AdaptiveAveragePool"))
def _adaptive_pool(node: Node, build: Builder) -> Made:
    function = "max_pool" if node.op == "ops.AdaptiveMaxPool" else "avg_pool"
    dims, _ = node.layout()
    return operations.adaptive_pool(build, node.x, function, dims, node.integers("output_size", len(dims)))


@HANDLERS.handles("ops.ExtractPatches")
def _extract_patches(node: Node, build: Builder) -> Made:
    axes = len(stated) if isinstance(stated := node.get("size"), (list, tuple)) else 2
    kernel = node.integers("size", axes)
    _, channel = node.layout(axes)
    config = {**node.config, "strides": node.get("strides", kernel)}
    patches = Node(node.name, node.op, config, (node.x,), {}, node.resized, node.apply)
    return slid(patches, build, node.x, kernel=kernel, channels=node.shape[channel] * product(kernel), apart=True)


@HANDLERS.handles("ops.SobelEdges")
def _sobel_edges(node: Node, build: Builder) -> Made:
    dims, _ = node.layout(2, single=True)
    window = program.Slide(
        function="avg_pool", dims=dims, kernel=(3, 3), stride=(1, 1), padding=((1, 1),) * 2, dilation=(1, 1)
    )  # both directions together read all but the middle
    edges = build(window, node.x, part="edges")
    wide = build(program.Unsqueeze(dims=(node.rank,)), edges, part="direction")
    return build(program.Expand(shape=(*node.shape, 2)), wide)


@HANDLERS.handles(*_ops("DepthToSpace", "SpaceToDepth"))
def _exchange(node: Node, build: Builder) -> Made:
    dims, channel = node.layout(2, single=True)
    block = node.size("block_size")
    up = node.op == "ops.DepthToSpace"
    # Keras counts the channels of one pixel fastest: the block is the outer part of the depth.
    kind: Any = program.DepthToSpace if up else program.SpaceToDepth
    return build(kind(channel=channel, dims=dims, blocks=(block, block)), node.x)


# Images.


@HANDLERS.handles("ops.Resize")
def _resize(node: Node, build: Builder) -> Made:
    if node.resized:
        raise UnspelledError(f"it resizes to {node.get('size')}, for which the model was made")
    height, width = node.integers("size", 2)
    return fitted(node, build, (height, width))


@HANDLERS.handles(*_ops("PadImages", "CropImages"))
def _pad_images(node: Node, build: Builder) -> Made:
    dims, _ = node.layout(2, single=True)
    crop = node.op == "ops.CropImages"
    kind = "cropping" if crop else "padding"
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * node.rank
    for d, (before, after, target) in zip(
        dims, (("top", "bottom", "target_height"), ("left", "right", "target_width")), strict=True
    ):
        first, last, wanted = (node.config.get(name) for name in (f"{before}_{kind}", f"{after}_{kind}", target))
        given = [None if n is None else whole_number(kind, n) for n in (first, last, wanted)]
        if given.count(None) > 1 or (None not in given and node.resized):
            raise ValueError(f"its {kind} leaves the size open")
        total: Dim | None = None if given[2] is None else (given[2] - node.shape[d]) * (-1 if crop else 1)
        a = total - given[1] if given[0] is None and total is not None and given[1] is not None else given[0]
        b = total - given[0] if given[1] is None and total is not None and given[0] is not None else given[1]
        if a is None or b is None:
            raise ValueError(f"its {kind} leaves the size open")
        amounts[d] = (a * -1, b * -1) if crop else (a, b)
    return build(program.Pad(amounts=tuple(amounts)), node.x)


@HANDLERS.handles(*_ops("RGBToGrayscale", "RGBToHSV", "HSVToRGB"))
def _colours(node: Node, build: Builder) -> Made:
    _, channel = node.layout(2, single=True)
    if node.op == "ops.RGBToGrayscale":
        return build(program.Reduce(function="mean", dims=(channel,)), node.x)
    return build(program.Mix(function="colour", dims=(channel,)), node.x)


# Elements moved, dropped, added.

PADDING_MODES = {"constant": "constant", "reflect": "reflect", "symmetric": "symmetric", "edge": "edge", "wrap": "wrap"}


@HANDLERS.handles("ops.Pad")
def _pad(node: Node, build: Builder) -> Made:
    mode = node.text("mode", "constant")
    if mode not in PADDING_MODES:
        raise UnspelledError(f"what its mode {mode!r} repeats is not known")
    amounts = node.get("pad_width")
    entries = list(amounts) if isinstance(amounts, (list, tuple)) else [amounts]
    if len(entries) == 2 and not isinstance(entries[0], (list, tuple)):
        entries = [entries]
    return build(program.Pad(amounts=pairs("pad_width", entries, node.rank), mode=PADDING_MODES[mode]), node.x)


@HANDLERS.handles("ops.Append")
def _append(node: Node, build: Builder) -> Made:
    if node.get("axis") is None:
        raise UnspelledError("it reads its tensors as rows")
    return build(program.Concat(dim=node.axis()), *node.tensors())


@HANDLERS.handles(*_ops("Hstack", "Vstack", "Dstack"))
def _stack_along(node: Node, build: Builder) -> Made:
    d = {"ops.Hstack": 1, "ops.Vstack": 0, "ops.Dstack": 2}[node.op]
    if node.rank <= max(d, 1):
        raise UnspelledError("it makes its tensors of more dimensions")
    return build(program.Concat(dim=d), *node.tensors())


@HANDLERS.handles(*_ops("Split", "ArraySplit", "Hsplit", "Vsplit", "Dsplit"))
def _split(node: Node, build: Builder) -> Made:
    d = {"ops.Hsplit": 1, "ops.Vsplit": 0, "ops.Dsplit": 2}.get(node.op)
    d = node.axis(default=0) if d is None else axis_of(d, node.rank)
    sections = node.get("indices_or_sections")
    total = node.shape[d]
    if isinstance(sections, (list, tuple)):
        bounds: list[Dim] = [0, *(whole_number("indices", n) for n in sections), total]
    else:
        bounds = moving.even_bounds(total, whole_number("sections", sections))
    if len(bounds) > moving.MAX_PIECES + 1:
        raise UnspelledError(f"it makes {len(bounds) - 1} pieces, more than {moving.MAX_PIECES}")
    return [moving.cut(build, node.x, d, a, b, part=str(k)) for k, (a, b) in enumerate(pairwise(bounds))]


@HANDLERS.handles("ops.GetItem")
def _get_item(node: Node, build: Builder) -> Made:
    key = node.argument(1, "key")
    entries = list(key) if isinstance(key, tuple) else [key]
    if sum(entry is Ellipsis for entry in entries) > 1:
        raise ValueError("its key has two ellipses")
    if any(isinstance(entry, (tuple, dict)) or (isinstance(entry, Value) and entry.shape != ()) for entry in entries):
        raise UnspelledError("its indices say which elements it reads")
    named = sum(entry is not None and entry is not Ellipsis for entry in entries)
    if named > node.rank or len(entries) > moving.MAX_REPEATS:
        raise ValueError(f"its key has {named} indices for {node.rank} dimensions")
    whole = [slice(None)] * (node.rank - named)
    at = next((i for i, entry in enumerate(entries) if entry is Ellipsis), None)
    entries = [*entries, *whole] if at is None else [*entries[:at], *whole, *entries[at + 1 :]]
    return _cut(node, build, entries)


def _cut(node: Node, build: Builder, entries: Sequence[Any]) -> Value:
    """Take a slice or one position of every dimension, and add those that ``None`` stands for."""
    dims, starts, stops, steps = [], [], [], []
    picked: list[tuple[int, int]] = []
    added: list[int] = []
    d = place = 0
    for entry in entries:
        if entry is None:
            added.append(place)
            place += 1
            continue
        if isinstance(entry, slice):
            if (entry.start, entry.stop, entry.step) != (None, None, None):
                step = 1 if entry.step is None else whole_number("step", entry.step)
                if step == 0:
                    raise ValueError("a step of its key is 0")
                dims.append(d)
                starts.append(None if entry.start is None else whole_number("start", entry.start))
                stops.append(None if entry.stop is None else whole_number("stop", entry.stop))
                steps.append(step)
            place += 1
        else:
            picked.append((d, whole_number("index", entry)))
        d += 1
    x = node.x
    if dims:
        primitive = program.Slice(dims=tuple(dims), starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))
        x = build(primitive, x, part="slices" if picked or added else "")
    for k, (dim, index) in enumerate(reversed(picked)):
        x = build(
            program.Take(dim=dim), x, build.constant(index), part=f"index/{k}" if k < len(picked) - 1 or added else ""
        )
    if added:
        x = build(program.Unsqueeze(dims=tuple(added)), x)
    return operations.pointwise(build, "identity", x) if not (dims or picked or added) else x


@HANDLERS.handles("ops.Slice")
def _slice(node: Node, build: Builder) -> Made:
    stated = node.argument(1, "start_indices")
    starts = [whole_number("start_indices", n) for n in flat([stated])] if not isinstance(stated, Value) else None
    if starts is None and isinstance(stated, Value) and stated.data is not None:
        starts = [whole_number("start_indices", n) for n in stated.data.elements.flat]
    shape = node.get("shape")
    if starts is None or not isinstance(shape, (list, tuple)):
        raise UnspelledError("where it starts depends on what the network computes")
    return moving.box(build, node.x, starts, [whole_number("shape", n) for n in shape])


@HANDLERS.handles("ops.Take")
def _take(node: Node, build: Builder) -> Made:
    rows, indices = node.value(0, "x"), node.argument(1, "indices")
    if node.get("axis") is None:
        raise UnspelledError("it reads the tensor as one row")
    if not isinstance(indices, Value):
        indices = build.constant(list(indices) if isinstance(indices, tuple) else whole_number("indices", indices))
    return build(program.Take(dim=node.axis(rank=len(shape_of(rows)))), rows, indices)


@HANDLERS.handles("ops.OneHot")
def _one_hot(node: Node, build: Builder) -> Made:
    count = node.size("num_classes")
    rows = build(program.Take(dim=0), build.weight((count, count)), node.x, part="rows")
    rank = node.rank + 1
    return moving.permuted(build, rows, moving.moved(rank, [rank - 1], [node.axis(rank=rank)]))


@HANDLERS.handles("ops.Roll")
def _roll(node: Node, build: Builder) -> Made:
    if node.get("axis") is None:
        raise UnspelledError("it rolls the tensor as one row")
    axes = node.get("axis") if isinstance(node.get("axis"), (list, tuple)) else [node.get("axis")]
    shifts = per_axis("shift", node.get("shift"), len(axes))
    return moving.rolled(build, node.x, [whole_number("axis", axis) for axis in axes], shifts)


@HANDLERS.handles("ops.Rot90")
def _rot90(node: Node, build: Builder) -> Made:
    a, b = (axis_of(axis, node.rank) for axis in node.integers("axes", 2))
    return moving.rotated(build, node.x, a, b, node.integer("k", 1))


@HANDLERS.handles("ops.BroadcastTo")
def _broadcast_to(node: Node, build: Builder) -> Made:
    shape = node.get("shape")
    if not isinstance(shape, (list, tuple)):
        raise ValueError(f"shape {shape!r} is not a list")
    wanted = tuple(whole_number("shape", n) for n in shape)
    broadcast(node.shape, wanted)
    return build(program.Expand(shape=wanted), node.x)


@HANDLERS.handles("ops.Tile")
def _tile(node: Node, build: Builder) -> Made:
    repeats = node.get("repeats")
    counts = [whole_number("repeats", n) for n in (repeats if isinstance(repeats, (list, tuple)) else (repeats,))]
    return moving.tile_as_numpy(build, node.x, counts)


@HANDLERS.handles("ops.Repeat")
def _repeat(node: Node, build: Builder) -> Made:
    count = node.get("repeats")
    if not isinstance(count, int) or node.get("axis") is None:
        raise UnspelledError("it repeats elements a number of times that is not one for all")
    return moving.repeat_each(build, node.x, node.axis(), whole_number("repeats", size("repeats", count)))


# Numbering.


@HANDLERS.handles("ops.Reshape")
def _reshape(node: Node, build: Builder) -> Made:
    shape = node.get("newshape")
    entries = shape if isinstance(shape, (list, tuple)) else (shape,)
    if sum(entry in (-1, None) for entry in entries) > 1:
        raise UnspelledError(f"its newshape {shape} holds sizes that were open when the model was built")
    return moving.reshaped(build, node.x, completed_of(node, entries, node.shape), resized=node.resized)


@HANDLERS.handles("ops.Transpose")
def _transpose(node: Node, build: Builder) -> Made:
    stated = node.get("axes")
    return moving.permuted(build, node.x, None if stated is None else per_axis("axes", stated, node.rank))


@HANDLERS.handles("ops.Moveaxis")
def _moveaxis(node: Node, build: Builder) -> Made:
    ends = []
    for name in ("source", "destination"):
        dims = node.get(name)
        entries = dims if isinstance(dims, (list, tuple)) else (dims,)
        ends.append([axis_of(whole_number(name, axis), node.rank) for axis in entries])
    return moving.permuted(build, node.x, moving.moved(node.rank, ends[0], ends[1]))


@HANDLERS.handles("ops.ExpandDims")
def _expand_dims(node: Node, build: Builder) -> Made:
    dims = node.get("axis")
    entries = dims if isinstance(dims, (list, tuple)) else (dims,)
    rank = node.rank + len(entries)
    if rank > moving.MAX_REPEATS:
        raise ValueError(f"it adds {len(entries)} dimensions")
    return build(
        program.Unsqueeze(dims=tuple(sorted({axis_of(whole_number("axis", n), rank) for n in entries}))), node.x
    )


@HANDLERS.handles("ops.Squeeze")
def _squeeze(node: Node, build: Builder) -> Made:
    dims = node.axes()
    if node.get("axis") is None:
        dims = tuple(d for d in dims if node.shape[d] == 1)
    elif any(isinstance(n := node.shape[d], int) and n != 1 for d in dims):
        raise ValueError(f"dimensions {list(dims)} of {text(node.shape)} are not all of size 1")
    return build(program.Squeeze(dims=dims), node.x)


@HANDLERS.handles("ops.SliceUpdate")
def _slice_update(node: Node, build: Builder) -> Made:
    update, starts = node.argument(2, "updates"), node.argument(1, "start_indices")
    shape = shape_of(update) if isinstance(update, Value) else ()
    begins = starts if isinstance(starts, (list, tuple)) else ()
    if len(shape) != node.rank or len(begins) != node.rank or not all(type(start) is int for start in begins):
        raise UnspelledError("where it writes is not known")
    inside = [
        size == own if isinstance(own, Expression) or isinstance(size, Expression) else 0 <= start <= own - size
        for start, size, own in zip(begins, shape, node.shape, strict=True)
    ]
    if not all(inside):
        raise UnspelledError("it writes beyond the end of what it writes into, or that cannot be told")
    return write_box(build, node.x, update, begins)


_TOKEN = re.compile(r"\(|\)|\.\.\.|\w+")


@HANDLERS.handles("ops.Rearrange")
def _rearrange(node: Node, build: Builder) -> Made:
    pattern = node.argument(1, "pattern")
    if not isinstance(pattern, str) or pattern.count("->") != 1 or "..." in pattern:
        raise UnspelledError(f"its pattern {pattern!r} is not followed")
    given = {name: whole_number(name, n) for name, n in node.kwargs.items() if name != "pattern"}
    before, after = (_groups(side) for side in pattern.split("->"))
    if len(before) != node.rank:
        raise ValueError(f"pattern {pattern!r} does not fit {node.rank} dimensions")
    sizes: dict[str, Dim] = {}
    for group, total in zip(before, node.shape, strict=True):
        known = [given.get(name, 1 if name == "1" else None) for name in group]
        if known.count(None) > 1:
            raise ValueError(f"pattern {pattern!r} leaves sizes open")
        rest = product(n for n in known if n is not None)
        for name, n in zip(group, known, strict=True):
            factor = exact_quotient(total, rest) if n is None else n
            if factor is None:
                raise UnspelledError(f"{total} does not split as {pattern!r} says")
            sizes[name] = factor
    names = [name for group in before for name in group]
    wanted = [name for group in after for name in group]
    if sorted(names) != sorted(wanted) or len(set(names)) != len(names):
        raise UnspelledError(f"its pattern {pattern!r} adds or drops dimensions")
    split = build(program.Reshape(shape=tuple(sizes[name] for name in names)), node.x, part="split")
    turned = moving.permuted(build, split, [names.index(name) for name in wanted], part="turned")
    return build(program.Reshape(shape=tuple(product(sizes[name] for name in group) for group in after)), turned)


def _groups(side: str) -> list[list[str]]:
    """Return the names on one side of a pattern of einops, those in brackets together."""
    groups: list[list[str]] = []
    inside = False
    for token in _TOKEN.findall(side):
        if token in "()":
            if inside == (token == "("):
                raise ValueError(f"brackets of {side!r} do not match")
            inside = token == "("
            groups += [[]] if inside else []
        elif inside:
            groups[-1].append(token)
        else:
            groups.append([token])
    return groups


# Ops that one expression spells.

HANDLERS.spells(
    {
        (*_ops(*(UNARY.keys() - {"Tril", "Triu"})),): lambda node, build: operations.pointwise(
            build, UNARY[_name(node)], node.x
        ),
        "ops.Glu": lambda node, build: operations.gated(build, node.x, node.axis()),
        "ops.BatchNorm": lambda node, build: _statistics(node, build, node.axis(), node.tensors()[1:]),
        (*_ops("ZerosLike", "OnesLike", "FullLike", "EmptyLike"),): lambda node, build: build.weight(
            node.shape, node.name
        ),
        (*_ops(*REDUCTIONS),): lambda node, build: operations.reduced(
            build, REDUCTIONS[_name(node)], node.x, node.axes(), keepdims=node.flag("keepdims")
        ),
        (*_ops("Softmax", "LogSoftmax", "Sparsemax"),): lambda node, build: operations.mixed(
            build, "softmax", node.x, *node.axes()
        ),
        "ops.TopK": lambda node, build: operations.largest(build, node.x, -1, node.size("k")),
        "ops.Matmul": lambda node, build: products.product(build, *_pair(node)),
        "ops.Einsum": lambda node, build: products.summed(build, node.get("subscripts"), node.tensors()),
        "ops.Concatenate": lambda node, build: build(program.Concat(dim=node.axis(default=0)), *node.tensors()),
        "ops.Stack": lambda node, build: moving.stack(build, node.tensors(), node.integer("axis", 0)),
        "ops.Unstack": lambda node, build: moving.unstack(build, node.x, node.integer("axis", 0)),
        (*_ops("Flip", "Fliplr", "Flipud"),): lambda node, build: moving.flipped(
            build, node.x, {"ops.Fliplr": (1,), "ops.Flipud": (0,)}.get(node.op) or node.axes()
        ),
        "ops.Ravel": lambda node, build: build(program.Reshape(shape=(product(node.shape),)), node.x),
        "ops.Swapaxes": lambda node, build: moving.permuted(
            build, node.x, moving.swapped(node.rank, node.axis("axis1"), node.axis("axis2"))
        ),
    }
)

# What is not followed, and why.

NOT_FOLLOWED = by_op({
    "it reads where its coordinates say":
        "AffineTransform ElasticTransform MapCoordinates PerspectiveTransform ScaleAndTranslate",
    "it runs functions that the model holds": "AssociativeScan Cond ForiLoop Map Scan Switch VectorizedMap WhileLoop",
    "its indices say which elements it writes":
        "Scatter ScatterUpdate SegmentMax SegmentMin SegmentProd SegmentSum",
    "its indices say which elements it reads": "TakeAlongAxis",
    "it reads windows of a signal": "FFT FFT2 IFFT2 IRFFT ISTFT RFFT STFT ExtractSequences",
})  # fmt: skip


@HANDLERS.handles(*_ops(*NOT_FOLLOWED))
def _not_followed(node: Node, build: Builder) -> Made:
    raise UnspelledError(NOT_FOLLOWED[_name(node)])
