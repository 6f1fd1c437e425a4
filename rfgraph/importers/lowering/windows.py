"""Rules of what reads neighbours or changes the resolution: windows, resizes, channels exchanged with positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.lowering.maps import FOLDED, LoweringBuilder, Placed, unmixed
from rfgraph.importers.lowering.rules import Operands, first, place, sizes_of
from rfgraph.importers.lowering.views import Dimension, Part, View, along, joined, other
from rfgraph.importers.program import CUBIC, Dim, Expression, Instruction, Ints, Shape, bounds, exact_quotient

Window = program.Slide | program.SlideTransposed
Exchange = program.DepthToSpace | program.SpaceToDepth

AT_MOST = "its window slides over positions of several axes, or of blocks, of which it reads some"
LOST = "it slides over {} positions of dimension {}, which an op before it mixed: no axis tells them apart any more"
APART = "the axes that it works on cannot be told apart"


def _lost(maps: LoweringBuilder, view: View | None, sliding: Ints, dims: Ints) -> str:
    """Return why what slides over dimensions that carry no axis is not followed, "" if it is: they are channels.

    They can only be channels where the window has all axes of more than one position beside them, or none; and only
    of a window that has more or fewer dimensions than the map has axes.
    """
    if view is None or maps.probe is not None:
        return ""
    bare = [d for d in sliding if not view.dims[d].axes and view.dims[d].size != 1]
    alive = {axis for axis in view.axes if view.extent(axis) != 1}
    inside = alive & set().union(*(view.dims[d].axes for d in dims))
    if bare and ((inside and inside != alive) or len(dims) == maps.axes):
        return LOST.format(view.dims[bare[0]].size, bare[0])
    return ""


def _forgotten(maps: LoweringBuilder, step: Instruction, operands: Operands, why: str) -> Placed:
    """Return an unknown node in place of what the step has added, as of a step whose dimensions are lost."""
    maps.take_back()
    return maps.unknown(step, operands, why)


@place.register(program.Slide)
def _slide(primitive: program.Slide, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    windowed = _windowed(primitive, maps, step, operands)
    if windowed is None:
        return _within(primitive, maps, step, operands)
    p, axes, strides = windowed
    lost = _lost(maps, p.view, _sliding(primitive), primitive.dims)
    if lost:
        return _forgotten(maps, step, operands, lost)
    taken = {axis: i for i, d in enumerate(primitive.dims) if (axis := axes.get(d)) is not None}
    if any(primitive.stride[taken[axis]] > 1 or isinstance(primitive.padding, str) for axis in strides):
        return maps.unknown(step, operands, "it strides over an axis of which some positions are in the batch")
    attributes: dict[str, Any] = {
        "kernel": maps.per_axis({axis: primitive.kernel[i] for axis, i in taken.items()}, 1),
        "stride": maps.per_axis({axis: primitive.stride[i] for axis, i in taken.items()}, 1),
    }
    dilation = {axis: primitive.dilation[i] * strides.get(axis, 1) for axis, i in taken.items()}
    if any(step != 1 for step in dilation.values()):
        attributes["dilation"] = maps.per_axis(dilation, 1)
    padding: dict[int, Any] = {}
    for axis, i in taken.items():
        if isinstance(primitive.padding, str):
            padding[axis] = primitive.padding
        else:
            padding[axis] = [amount * strides.get(axis, 1) for amount in primitive.padding[i]]
    if any(pair != [0, 0] for pair in padding.values()):
        attributes["padding"] = maps.per_axis(padding, [0, 0])
    if primitive.bound:
        attributes["bound"] = primitive.bound
    if primitive.ceil_mode:
        attributes["ceil_mode"] = True
    if primitive.rounded and any(_may_be_short(primitive, i, step.inputs[0].shape) for i in taken.values()):
        attributes["rounded"] = True
    node = maps.node(primitive.function, step, [p], **attributes, **_channels(primitive))
    unfolds = primitive.apart and any(primitive.kernel[i] > 1 for i in taken.values())
    return Placed(
        node, _slid(p, primitive, step, axes, strides), p.full, folded=unfolds or _is_folded_after(primitive, p)
    )


@place.register(program.SlideTransposed)
def _slide_transposed(
    primitive: program.SlideTransposed, maps: LoweringBuilder, step: Instruction, operands: Operands
) -> Placed:
    windowed = _windowed(primitive, maps, step, operands)
    if windowed is None or windowed[2]:
        return maps.unknown(step, operands, APART)
    p, axes, _ = windowed
    lost = _lost(maps, p.view, _sliding(primitive), primitive.dims)
    if lost:
        return _forgotten(maps, step, operands, lost)
    taken = {axis: i for i, d in enumerate(primitive.dims) if (axis := axes.get(d)) is not None}
    attributes: dict[str, Any] = {
        "kernel": maps.per_axis({axis: primitive.kernel[i] for axis, i in taken.items()}, 1),
        "stride": maps.per_axis({axis: primitive.stride[i] for axis, i in taken.items()}, 1),
    }
    for name, values, default in (
        ("padding", [list(pair) for pair in primitive.padding], [0, 0]),
        ("output_padding", primitive.output_padding, 0),
        ("dilation", primitive.dilation, 1),
    ):
        per_axis = maps.per_axis({axis: values[i] for axis, i in taken.items()}, default)
        if any(value != default for value in per_axis):
            attributes[name] = per_axis
    bound = primitive.bound or (FOLDED if primitive.apart and p.folded else "")
    if bound:
        attributes["bound"] = bound
    node = maps.node("conv_transpose", step, [p], **attributes, **_channels(primitive))
    return Placed(node, _slid(p, primitive, step, axes, {}), p.full, folded=_is_folded_after(primitive, p))


def _may_be_short(primitive: program.Slide, i: int, shape: Shape | None) -> bool:
    """Return whether the kernel may reach over both ends of what it slides over."""
    if isinstance(primitive.padding, str) or shape is None:
        return False
    least = bounds(shape[primitive.dims[i]]).least or 0
    return least + sum(primitive.padding[i]) < (primitive.kernel[i] - 1) * primitive.dilation[i] + 1


def _is_folded_after(primitive: Window, p: Placed) -> bool:
    """Return whether positions lie among the channels behind a window too: one group of channels sums all of them."""
    return p.folded and (primitive.channel is None or getattr(primitive, "groups", 1) != 1)


def _windowed(
    primitive: Window, maps: LoweringBuilder, step: Instruction, operands: Operands
) -> tuple[Placed, dict[int, int], dict[int, int]] | None:
    """Bring what a window slides over to its axes; positions among the channels that it sums are mixed first.

    Where that cannot be done, dimensions that it does not slide over stay what they are: a 1x1 convolution of tokens,
    of windows or of an attention map is a map of its channels at each of their positions.
    """
    p = _seen(maps, step, first(operands), primitive.dims)
    if maps.probe is not None:
        maps.probe.slid(p.view, primitive.dims, step.inputs[0].name)
    p = _channels_mixed(primitive, maps, step, p)
    rank = _rank(step, *primitive.dims, primitive.channel or 0)
    sliding = _sliding(primitive)
    placed = maps.on_axes(p, primitive.dims, rank, sliding)
    if placed is not None or p.view is None:
        return placed
    return maps.on_axes(p, sliding, rank, sliding) if sliding else (maps.as_map(p, fold=False), {}, {})


def _channels_mixed(primitive: Window, maps: LoweringBuilder, step: Instruction, p: Placed) -> Placed:
    if p.view is None:
        return p
    among = any(not p.view.dims[d].axes and p.view.dims[d].size != 1 for d in _sliding(primitive))
    if among and (p.folded or p.beside):  # it slides over channels of which some hold other positions than others
        p = maps.at_most(p, f"{step.name}/among", unmixed(p)["bound"])
    if primitive.channel is None:
        return p
    if isinstance(primitive, program.Slide) and primitive.apart and (p.folded or p.beside):
        p = maps.at_most(p, f"{step.name}/picked", unmixed(p)["bound"])
    return maps.collapse(p, {primitive.channel}, f"{step.name}/channels", "dense")


def _seen(maps: LoweringBuilder, step: Instruction, p: Placed, dims: Ints) -> Placed:
    """Return a tensor of which only the shape is known as the map that a window of all its axes makes of it."""
    shape = step.inputs[0].shape
    if p.view is not None or maps.probe is not None or shape is None or len(dims) != maps.axes:
        return p
    axis_of = {d: axis for axis, d in enumerate(dims)}
    sizes = enumerate(shape)
    return replace(p, view=View(tuple(along(axis_of[d], size) if d in axis_of else other(size) for d, size in sizes)))


def _sliding(primitive: Window) -> Ints:
    """Return the dimensions in which a window does more than read the position itself."""
    still = primitive.padding in ("same_upper", "same_lower")
    return tuple(
        d
        for i, d in enumerate(primitive.dims)
        if (primitive.kernel[i], primitive.stride[i]) != (1, 1) or not (still or primitive.padding[i] == (0, 0))
        or (isinstance(primitive, program.SlideTransposed) and primitive.output_padding[i])
    )  # fmt: skip


def _within(primitive: program.Slide, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    """A window slid over blocks of neighbouring positions, each for itself, or over positions of several axes in a row.

    A pooling that cuts blocks into smaller ones is one of the whole map. Of any other it is only told that an output
    reads its block, or where there is none, all of the axes.
    """
    p = first(operands)
    if p.view is None:
        return maps.unknown(step, operands, APART)
    p = _channels_mixed(primitive, maps, step, p)
    if primitive.bound:
        p = maps.at_most(p, f"{step.name}/read", primitive.bound)
    view = p.view
    assert view is not None
    sizes = sizes_of(step, view.rank)
    sliding = _sliding(primitive)
    lost = _lost(maps, view, sliding, primitive.dims)
    if lost:
        return _forgotten(maps, step, operands, lost)
    cells = {}
    for i, d in enumerate(primitive.dims):
        if d in sliding and view.dims[d].axes:
            cell = _cells(primitive, i, view, d)
            if cell is None:
                return _within_bound(primitive, maps, step, p, sizes)
            cells[cell] = i
    kernel, stride, dilation = (
        maps.per_axis({axis: values[i] for axis, i in cells.items()}, 1)
        for values in (primitive.kernel, primitive.stride, primitive.dilation)
    )
    more = {} if set(dilation) == {1} else {"dilation": dilation}
    node = maps.node(primitive.function, step, [p], kernel=kernel, stride=stride, **more, **_channels(primitive))
    dims = [replace(dim, parts=joined(_coarser(part, cells, primitive) for part in dim.parts)) for dim in view.dims]
    inside = View(tuple(dims))
    for d in sliding:
        if not view.dims[d].axes:
            inside = inside.replaced(d, other(sizes[d]))
    return Placed(node, _of_channels(inside, primitive, sizes), p.full, folded=_is_folded_after(primitive, p))


def _cells(primitive: program.Slide, i: int, view: View, d: int) -> int | None:
    """Return the axis of dimension ``d`` if windows cut its blocks into cells of their stride, ``None`` otherwise."""
    dim, stride = view.dims[d], primitive.stride[i]
    span = primitive.dilation[i] * (primitive.kernel[i] - 1) + 1
    if len(dim.parts) != 1 or dim.extra or isinstance(primitive.padding, str) or primitive.padding[i] != (0, 0):
        return None
    part = dim.parts[0]
    if part.stride != 1 or not isinstance(part.size, int) or part.size % stride or span > stride:
        return None
    if part.axis is None:
        return None
    others = [other_part for _, other_part in view.places(part.axis) if other_part != part]
    return part.axis if all(exact_quotient(other_part.stride, part.size) is not None for other_part in others) else None


def _coarser(part: Part, cells: Mapping[int, int], primitive: program.Slide) -> Part:
    """Return a part of an axis after each cell of it has become one position."""
    i = None if part.axis is None else cells.get(part.axis)
    if i is None or primitive.stride[i] == 1:
        return part
    stride = primitive.stride[i]
    inner = part.stride == 1
    size = exact_quotient(part.size, stride) if inner else part.size
    step = 1 if inner else exact_quotient(part.stride, stride)
    assert size is not None
    assert step is not None
    return Part(size, part.axis, step)


def _within_bound(
    primitive: program.Slide, maps: LoweringBuilder, step: Instruction, p: Placed, sizes: Shape
) -> Placed:
    """A window of which only is told what it can read at most: a block for itself, or all of some axes."""
    view = p.view
    assert view is not None
    sliding = [d for d in _sliding(primitive) if view.dims[d].axes]
    same = all(sizes[d] == view.dims[d].size and not view.dims[d].extra for d in sliding)
    name = step.name
    p = (
        maps.spread(p, sliding, name, "attention", bound=AT_MOST)
        if same
        else maps.collapse(p, sliding, name, "flatten", bound=AT_MOST)
    )
    widened = p.view
    assert widened is not None
    for d in _sliding(primitive):
        if not same or d not in sliding:
            widened = widened.replaced(d, other(sizes[d]))
    return Placed(p.node, _of_channels(widened, primitive, sizes), p.full, step.name, _is_folded_after(primitive, p))


def _of_channels(view: View, primitive: Window, sizes: Shape) -> View:
    return view if primitive.channel is None else view.replaced(primitive.channel, other(sizes[primitive.channel]))


def _rank(step: Instruction, *dims: int) -> int:
    """Return how many dimensions the output has, at least those that the primitive names."""
    return max(dims) + 1 if step.output.shape is None else len(step.output.shape)


def _slid(p: Placed, primitive: Window, step: Instruction, axes: dict[int, int], strides: dict[int, int]) -> View:
    """Return the view of what a window makes."""
    assert p.view is not None
    view = p.view
    sizes = sizes_of(step, view.rank)
    sliding = _sliding(primitive)
    for d in primitive.dims:
        if d in axes:
            view = view.replaced(d, Dimension((Part(sizes[d], axes[d], strides.get(axes[d], 1)),)))
        elif d in sliding:
            view = view.replaced(d, other(sizes[d]))
    return _of_channels(view, primitive, sizes)


def _channels(primitive: Window) -> dict[str, int]:
    known = {"channels": primitive.channels} if isinstance(primitive.channels, int) else {}
    return {**known, **({"groups": primitive.groups} if primitive.groups != 1 else {})}


def _on_axes(
    primitive: program.Resize | program.AdaptivePool, maps: LoweringBuilder, step: Instruction, operands: Operands
) -> tuple[Placed, View, Mapping[int, int]] | None:
    """Return what a primitive changes the sizes of, how it lies, and the axis of each dimension that carries one."""
    p = first(operands)
    if maps.probe is not None:
        maps.probe.slid(p.view, primitive.dims, step.inputs[0].name)
    placed = maps.on_axes(p, primitive.dims, _rank(step, *primitive.dims), primitive.dims)
    if placed is None or placed[2]:
        return None
    p, axes, _ = placed
    return None if p.view is None else (p, p.view, axes)


def _sampled(primitive: program.Resize) -> dict[str, Any]:
    """Return the attributes that say which pixels a resize reads for one of its own, sizes aside."""
    attributes: dict[str, Any] = {"mode": primitive.mode, "coordinates": primitive.coordinates}
    if primitive.mode == "nearest":
        attributes["nearest_mode"] = primitive.nearest_mode
    if primitive.antialias:
        attributes["antialias"] = True
    if primitive.mode == "cubic" and primitive.coefficient != CUBIC:
        attributes["coefficient"] = float(primitive.coefficient)  # written as short as it was read
    return attributes


@place.register(program.Resize)
def _resize(primitive: program.Resize, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    placed = _on_axes(primitive, maps, step, operands)
    if placed is None:
        return maps.unknown(step, operands, APART)
    p, view, axes = placed
    sizes = sizes_of(step, view.rank)
    lost = _lost(maps, view, tuple(d for d in primitive.dims if sizes[d] != view.dims[d].size), primitive.dims)
    if lost:
        return _forgotten(maps, step, operands, lost)
    before = step.inputs[0].shape
    scales: dict[int, Any] = dict.fromkeys(range(maps.axes), 1)
    fixed: dict[int, Dim] = {axis: view.extent(axis) for axis in range(maps.axes)}
    split: dict[int, Any] = {}  # ratios of sizes that the model splits, taken to be divisible
    for i, d in enumerate(primitive.dims):
        axis = axes.get(d)
        view = view.replaced(d, other(sizes[d]) if axis is None else along(axis, sizes[d]))
        if axis is None:
            continue
        fixed[axis] = sizes[d]
        scales[axis] = None
        if primitive.scales is not None:
            scales[axis] = _number(primitive.scales[i])
        elif isinstance(sizes[d], Expression) and before is not None:
            scales[axis] = _ratio(sizes[d], before[d])
            split[axis] = _split_ratio(sizes[d], before[d])
    attributes = _sampled(primitive)
    if primitive.sizes is not None and all(isinstance(size, int) for size in fixed.values()):
        attributes["size"] = maps.per_axis(fixed, None)
    elif None not in scales.values():
        attributes["scale"] = maps.per_axis(scales, 1)
    elif (like := maps.measured_like(fixed)) is not None:
        slots, others = like
        attributes["like"], attributes["target"] = slots, ", ".join(str(fixed[axis]) for axis in sorted(axes.values()))
        return p.moved(maps.node("resize", step, [p, *others], **attributes), view)
    elif None not in (scales := {axis: scale or split.get(axis) for axis, scale in scales.items()}).values():
        attributes["scale"] = maps.per_axis(scales, 1)
    else:
        text = ", ".join(str(fixed[axis]) for axis in sorted(axes.values()))
        return maps.unknown(step, operands, f"it resizes to {text}, which depends on the input size; give one")
    return p.moved(maps.node("resize", step, [p], **attributes), view)


def _number(ratio: Any) -> int | str:
    """Return a ratio as JSON can hold it."""
    return int(ratio) if ratio == int(ratio) else f"{ratio.numerator}/{ratio.denominator}"


def _ratio(after: Dim, before: Dim) -> int | str | None:
    """Return after / before if that is a number whatever the input size."""
    for quotient, whole, part in (
        (exact_quotient(after, before), after, before),
        (exact_quotient(before, after), before, after),
    ):
        if isinstance(quotient, int) and part * quotient == whole:
            return quotient if whole is after else f"1/{quotient}"
    return None


def _split_ratio(after: Dim, before: Dim) -> int | str | None:
    """Return after / before if that is a number at all sizes that a model splits without a rest."""
    quotient = exact_quotient(after, before)
    if isinstance(quotient, int):
        return quotient
    inverse = exact_quotient(before, after)
    return f"1/{inverse}" if isinstance(inverse, int) else None


@place.register(program.AdaptivePool)
def _adaptive_pool(
    primitive: program.AdaptivePool, maps: LoweringBuilder, step: Instruction, operands: Operands
) -> Placed:
    placed = _on_axes(primitive, maps, step, operands)
    if placed is None:
        return maps.unknown(step, operands, APART)
    p, view, axes = placed
    lost = _lost(maps, view, primitive.dims, primitive.dims)
    if lost:
        return _forgotten(maps, step, operands, lost)
    sizes = {axes[d]: size for d, size in zip(primitive.dims, primitive.sizes, strict=True) if d in axes}
    for d, axis in axes.items():
        view = view.replaced(d, along(axis, sizes[axis]))
    node = maps.node(f"adaptive_{primitive.function}", step, [p], size=maps.per_axis(sizes, None))
    return Placed(node, view, p.full | {axis for axis, size in sizes.items() if size == 1}, folded=p.folded)


@place.register(program.DepthToSpace)
def _depth_to_space(
    primitive: program.DepthToSpace, maps: LoweringBuilder, step: Instruction, operands: Operands
) -> Placed:
    return _exchanged("depth_to_space", primitive, maps, step, operands)


@place.register(program.SpaceToDepth)
def _space_to_depth(
    primitive: program.SpaceToDepth, maps: LoweringBuilder, step: Instruction, operands: Operands
) -> Placed:
    return _exchanged("space_to_depth", primitive, maps, step, operands)


def _exchanged(op: str, primitive: Exchange, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if maps.probe is not None:
        maps.probe.slid(p.view, primitive.dims, step.inputs[0].name)
    if p.view is not None:
        p = maps.collapse(p, {primitive.channel}, f"{step.name}/channels", "dense")
    placed = maps.on_axes(p, primitive.dims, _rank(step, primitive.channel, *primitive.dims), primitive.dims)
    if placed is None or placed[2]:
        return maps.unknown(step, operands, APART)
    p, axes, _ = placed
    view = p.view
    assert view is not None
    lost = _lost(maps, view, primitive.dims, primitive.dims)
    if lost:
        return _forgotten(maps, step, operands, lost)
    sizes = sizes_of(step, view.rank)
    for d in primitive.dims:
        view = view.replaced(d, along(axes[d], sizes[d]) if d in axes else other(sizes[d]))
    view = view.replaced(primitive.channel, other(sizes[primitive.channel]))
    blocks = {axes[d]: block for d, block in zip(primitive.dims, primitive.blocks, strict=True) if d in axes}
    bound = unmixed(p) if op == "depth_to_space" else {}
    node = maps.node(op, step, [p], block=maps.per_axis(blocks, 1), **bound)
    return Placed(node, view, p.full, folded=p.folded or op == "space_to_depth")
