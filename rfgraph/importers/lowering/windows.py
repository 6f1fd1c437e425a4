"""Rules of what reads neighbours or changes the resolution: windows, resizes, channels exchanged with positions."""

from __future__ import annotations

from typing import Any

from rfgraph.importers import program
from rfgraph.importers.lowering.maps import FOLDED, Maps, Placed
from rfgraph.importers.lowering.rules import Operands, first, place, sizes_of
from rfgraph.importers.lowering.views import Dimension, Part, View, along, other
from rfgraph.importers.program.dimensions import Dim, Expression, exact_quotient
from rfgraph.importers.program.primitives import Instruction

Window = program.Slide | program.SlideTransposed
Exchange = program.DepthToSpace | program.SpaceToDepth

APART = "the axes that it works on cannot be told apart"


@place.register
def _slide(primitive: program.Slide, maps: Maps, step: Instruction, operands: Operands) -> Placed:
    found = _windowed(primitive, maps, step, operands)
    if found is None:
        return maps.unknown(step, operands, APART)
    p, axes, strides = found
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
    if primitive.ceil_mode:
        attributes["ceil_mode"] = True
    node = maps.node(primitive.function, step, [p], **attributes, **_channels(primitive))
    return Placed(node, _slid(p, primitive, step, axes, strides), p.full)


@place.register
def _slide_transposed(primitive: program.SlideTransposed, maps: Maps, step: Instruction, operands: Operands) -> Placed:
    found = _windowed(primitive, maps, step, operands)
    if found is None or found[2]:
        return maps.unknown(step, operands, APART)
    p, axes, _ = found
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
    node = maps.node("conv_transpose", step, [p], **attributes, **_channels(primitive))
    return Placed(node, _slid(p, primitive, step, axes, {}), p.full)


def _windowed(
    primitive: Window, maps: Maps, step: Instruction, operands: Operands
) -> tuple[Placed, dict[int, int], dict[int, int]] | None:
    """Bring what a window slides over to its axes; positions among the channels that it sums are mixed first."""
    p = first(operands)
    if maps.probe is not None:
        maps.probe.slid(p.view, primitive.dims)
    if p.view is not None and primitive.channel is not None:
        p = maps.collapse(p, {primitive.channel}, f"{step.name}/channels", "dense")
    return maps.on_axes(p, primitive.dims, _rank(step, *primitive.dims, primitive.channel or 0))


def _rank(step: Instruction, *dims: int) -> int:
    """Return how many dimensions the output has, at least those that the primitive names."""
    return max(dims) + 1 if step.output.shape is None else len(step.output.shape)


def _slid(p: Placed, primitive: Window, step: Instruction, axes: dict[int, int], strides: dict[int, int]) -> View:
    """Return the view of what a window makes."""
    assert p.view is not None
    view = p.view
    sizes = sizes_of(step, view.rank)
    for d in primitive.dims:
        if d in axes:
            view = view.replaced(d, Dimension((Part(sizes[d], axes[d], strides.get(axes[d], 1)),)))
        else:
            view = view.replaced(d, other(sizes[d]))
    if primitive.channel is not None:
        view = view.replaced(primitive.channel, other(sizes[primitive.channel]))
    return view


def _channels(primitive: Window) -> dict[str, int]:
    known = {"channels": primitive.channels} if isinstance(primitive.channels, int) else {}
    return {**known, **({"groups": primitive.groups} if primitive.groups != 1 else {})}


@place.register
def _resize(primitive: program.Resize, maps: Maps, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if maps.probe is not None:
        maps.probe.slid(p.view, primitive.dims)
    found = maps.on_axes(p, primitive.dims, _rank(step, *primitive.dims))
    if found is None or found[2]:
        return maps.unknown(step, operands, APART)
    p, axes, _ = found
    view = p.view
    assert view is not None
    sizes = sizes_of(step, view.rank)
    before = step.inputs[0].shape
    scales: dict[int, Any] = dict.fromkeys(range(maps.axes), 1)
    fixed: dict[int, Dim] = {axis: view.extent(axis) for axis in range(maps.axes)}
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
    attributes: dict[str, Any] = {"mode": primitive.mode, "coordinates": primitive.coordinates}
    if primitive.mode == "nearest":
        attributes["nearest_mode"] = primitive.nearest_mode
    if primitive.antialias:
        attributes["antialias"] = True
    if primitive.sizes is not None and all(isinstance(size, int) for size in fixed.values()):
        attributes["size"] = maps.per_axis(fixed, None)
    elif None not in scales.values():
        attributes["scale"] = maps.per_axis(scales, 1)
    else:
        text = ", ".join(str(fixed[axis]) for axis in sorted(axes.values()))
        return maps.unknown(step, operands, f"it resizes to {text}, which depends on the input size; give one")
    return Placed(maps.node("resize", step, [p], **attributes), view, p.full)


def _number(ratio: Any) -> int | str:
    """Return a ratio as JSON can hold it."""
    return int(ratio) if ratio == int(ratio) else f"{ratio.numerator}/{ratio.denominator}"


def _ratio(after: Dim, before: Dim) -> int | str | None:
    """Return after / before if that is a number whatever the input size."""
    quotient = exact_quotient(after, before)
    if isinstance(quotient, int):
        return quotient
    inverse = exact_quotient(before, after)
    return f"1/{inverse}" if isinstance(inverse, int) else None


@place.register
def _adaptive_pool(primitive: program.AdaptivePool, maps: Maps, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if maps.probe is not None:
        maps.probe.slid(p.view, primitive.dims)
    found = maps.on_axes(p, primitive.dims, _rank(step, *primitive.dims))
    if found is None or found[2]:
        return maps.unknown(step, operands, APART)
    p, axes, _ = found
    view = p.view
    assert view is not None
    sizes = {axes[d]: size for d, size in zip(primitive.dims, primitive.sizes, strict=True) if d in axes}
    for d, axis in axes.items():
        view = view.replaced(d, along(axis, sizes[axis]))
    node = maps.node(f"adaptive_{primitive.function}", step, [p], size=maps.per_axis(sizes, None))
    return Placed(node, view, p.full | {axis for axis, size in sizes.items() if size == 1})


@place.register
def _depth_to_space(primitive: program.DepthToSpace, maps: Maps, step: Instruction, operands: Operands) -> Placed:
    return _exchanged("depth_to_space", primitive, maps, step, operands)


@place.register
def _space_to_depth(primitive: program.SpaceToDepth, maps: Maps, step: Instruction, operands: Operands) -> Placed:
    return _exchanged("space_to_depth", primitive, maps, step, operands)


def _exchanged(op: str, primitive: Exchange, maps: Maps, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if maps.probe is not None:
        maps.probe.slid(p.view, primitive.dims)
    if p.view is not None:
        p = maps.collapse(p, {primitive.channel}, f"{step.name}/channels", "dense")
    found = maps.on_axes(p, primitive.dims, _rank(step, primitive.channel, *primitive.dims))
    if found is None or found[2]:
        return maps.unknown(step, operands, APART)
    p, axes, _ = found
    view = p.view
    assert view is not None
    sizes = sizes_of(step, view.rank)
    for d in primitive.dims:
        view = view.replaced(d, along(axes[d], sizes[d]) if d in axes else other(sizes[d]))
    view = view.replaced(primitive.channel, other(sizes[primitive.channel]))
    blocks = {axes[d]: block for d, block in zip(primitive.dims, primitive.blocks, strict=True) if d in axes}
    bound = {"bound": FOLDED} if op == "depth_to_space" and p.folded else {}
    node = maps.node(op, step, [p], block=maps.per_axis(blocks, 1), **bound)
    apart = p.folded | set(blocks) if op == "space_to_depth" else p.folded
    return Placed(node, view, p.full, folded=apart)
