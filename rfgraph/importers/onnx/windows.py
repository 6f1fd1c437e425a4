"""ONNX operators that read neighbours or change the resolution: convolutions, pools, resizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.onnx.nodes import HANDLERS, Made, Node, and_read
from rfgraph.importers.program import CUBIC, Builder, Shape, Value, unknown
from rfgraph.importers.spelling import UnspelledError, axis_of, operations, whole_number
from rfgraph.importers.spelling.sampling import read_whole

# Windows.


def _window(node: Node, kernel: Sequence[int]) -> dict[str, Any]:
    """Return the attributes of a window that convolutions and pools share."""
    axes = len(kernel)

    def entries(name: str, default: int) -> tuple[int, ...]:
        stated = node.get(name) or [default] * axes
        if len(stated) != axes:
            raise ValueError(f"{name} {list(stated)} does not have one entry for each of the {axes} axes of its kernel")
        return tuple(stated)

    return {
        "dims": tuple(range(2, 2 + axes)),
        "kernel": tuple(kernel),
        "stride": entries("strides", 1),
        "dilation": entries("dilations", 1),
    }


def _pads(node: Node, axes: int) -> tuple[tuple[int, int], ...]:
    pads = node.get("pads") or [0] * (2 * axes)
    if len(pads) != 2 * axes:
        raise ValueError(f"pads {list(pads)} does not have two entries for each of the {axes} axes of its kernel")
    return tuple(zip(pads[:axes], pads[axes:], strict=True))


def _padding(node: Node, axes: int) -> program.Paddings:
    how = node.get("auto_pad", "NOTSET")
    if how == "SAME_UPPER":
        return "same_upper"
    if how == "SAME_LOWER":
        return "same_lower"
    return ((0, 0),) * axes if how == "VALID" else _pads(node, axes)


def _kernel(node: Node, weight: Value) -> list[int]:
    kernel = node.get("kernel_shape")
    if kernel:
        return list(kernel)
    if weight.shape is None:
        raise UnspelledError("neither kernel_shape nor the shape of its weight is given")
    return [whole_number("kernel", size) for size in weight.shape[2:]]


def _convolve(node: Node, build: Builder, x: Value, weight: Value) -> Value:
    kernel = _kernel(node, weight)
    if not kernel:
        raise ValueError("its kernel has no axes")
    window, padding = _window(node, kernel), _padding(node, len(kernel))
    spans = [(k - 1) * dilation + 1 for k, dilation in zip(kernel, window["dilation"], strict=True)]
    return build(
        program.Slide(
            function="conv",
            **window,
            padding=padding,
            # ONNX Runtime takes a map of no positions where the kernel fits into the padding.
            empty=not isinstance(padding, str)
            and all(sum(pads) >= span for pads, span in zip(padding, spans, strict=True)),
            channel=1,
            channels=weight.shape[0] if weight.shape else unknown(f"{node.name}.channels"),
            groups=node.get("group", 1),
            apart=build.apart(weight, range(2, 2 + len(kernel)), (0,)),
            bound=build.bound(weight, range(2, 2 + len(kernel))),
        ),
        x,
    )


@HANDLERS.handles("Conv", "FusedConv", weights=(1, 2), named=1)
def _conv(node: Node, build: Builder) -> Made:
    return and_read(node, build, _convolve(node, build, node.input(0), node.input(1)), 1, 2)


@HANDLERS.handles("ConvInteger", weights=(1,), sort="quantised", named=1)
def _conv_integer(node: Node, build: Builder) -> Made:
    return and_read(node, build, _convolve(node, build, node.input(0), node.input(1)), 1, 2, 3)


@HANDLERS.handles("DeformConv", weights=(1, 3), named=1)
def _deform_conv(node: Node, build: Builder) -> Made:
    """Taps that offsets move: the kernel where they are 0, and besides, whatever they may move to, all of the map."""
    x, weight, axes = node.input(0), node.input(1), node.rank() - 2
    kernel = _kernel(node, weight)
    if len(kernel) != axes:
        raise ValueError(f"its kernel {kernel} does not have one entry for each of the {axes} axes of its input")
    taps = program.Slide(
        function="conv",
        **_window(node, kernel),
        padding=_pads(node, axes),
        channel=1,
        channels=weight.shape[0] if weight.shape else unknown(f"{node.name}.channels"),
        groups=node.get("group", 1),
        bound=build.bound(weight, range(2, 2 + axes)),
    )
    read = [build(taps, x, part="taps"), read_whole(build, x, (node.shape()[0], *(1,) * (1 + axes)))]
    for i, part in ((2, "offsets"), (4, "mask")):
        moved = node.optional(i)
        if moved is not None and not moved.constant:
            read.append(build(program.Reduce(function="at", dims=(1,)), moved, part=part))
    return and_read(node, build, build(program.Pointwise(function="elementwise"), *read), 1, 3)


@HANDLERS.handles("CausalConvWithState", weights=(1, 2))
def _causal_conv(node: Node, build: Builder) -> Made:
    x, weight, past = node.input(0), node.input(1), node.optional(3)
    (kernel,) = _kernel(node, weight)
    padding = (kernel - 1, 0)
    if past is not None and not past.constant:
        x, padding = build(program.Concat(dim=2), past, x, part="past"), (0, 0)
    channels = node.shape()[1]
    convolved = build(
        program.Slide(
            function="conv", dims=(2,), kernel=(kernel,), stride=(1,), padding=(padding,), dilation=(1,), channel=1,
            channels=channels, groups=channels if isinstance(channels, int) else 1, bound=build.bound(weight, (2,)),
        ),
        x,
    )  # fmt: skip
    convolved = and_read(node, build, convolved, 1, 2)
    if kernel == 1:
        return convolved, build.weight((*node.shape()[:2], 0))
    return convolved, build(program.Slice(dims=(2,), starts=(1 - kernel,), stops=(None,), steps=(1,)), x, part="state")


@HANDLERS.handles("QLinearConv", weights=(3, 8), sort="quantised", named=3)
def _qlinear_conv(node: Node, build: Builder) -> Made:
    return and_read(node, build, _convolve(node, build, node.input(0), node.input(3)), *range(1, 9))


@HANDLERS.handles("ConvTranspose", weights=(1, 2), named=1)
def _conv_transpose(node: Node, build: Builder) -> Made:
    weight = node.input(1)
    kernel = _kernel(node, weight)
    axes = len(kernel)
    window = _window(node, kernel)
    extra = tuple(node.get("output_padding") or [0] * axes)
    if len(extra) != axes:
        raise ValueError(f"output_padding {list(extra)} does not have one entry for each of the {axes} axes")
    padding = list(_pads(node, axes))
    wanted, how = node.get("output_shape"), node.get("auto_pad", "NOTSET")
    if wanted or how.startswith("SAME"):
        sizes = node.shape()[2:]
        for i in range(axes):
            span = (kernel[i] - 1) * window["dilation"][i] + 1
            if wanted:  # its last entries: some files give batch and channels too
                grown = (sizes[i] - 1) * window["stride"][i] + span + extra[i]
                total = whole_number("output_shape", grown - wanted[len(wanted) - axes + i])
            else:
                total = span + extra[i] - window["stride"][i]
            less = max(total, 0) // 2
            more = max(total, 0) - less
            first = less if how == "SAME_UPPER" else more
            padding[i] = (first, total - first)
    elif how == "VALID":
        padding = [(0, 0)] * axes
    groups = node.get("group", 1)
    channels = weight.shape[1] * groups if weight.shape else unknown(f"{node.name}.channels")
    convolved = build(
        program.SlideTransposed(
            **window,
            padding=tuple(padding),
            output_padding=extra,
            channel=1,
            channels=channels,
            groups=groups,
            bound=build.bound(weight, range(2, 2 + axes)),
        ),
        node.input(0),
    )
    return and_read(node, build, convolved, 1, 2)


POOLS = {"MaxPool": "max_pool", "AveragePool": "avg_pool", "LpPool": "lp_pool", "QLinearAveragePool": "avg_pool"}


@HANDLERS.handles(*POOLS, weights=())
def _pool(node: Node, build: Builder) -> Made:
    kernel = node.get("kernel_shape")
    if not kernel:
        raise ValueError("kernel_shape is missing")
    ceil_mode = bool(node.get("ceil_mode", 0))
    pooled = build(
        program.Slide(
            function=POOLS[node.op],
            **_window(node, kernel),
            padding=_padding(node, len(kernel)),
            ceil_mode=ceil_mode,
            rounded=True,
        ),
        node.input(0),
    )
    return pooled, pooled  # the indices of the maxima are read where the maxima are


@HANDLERS.handles("MaxUnpool")
def _unpool(node: Node, build: Builder) -> Made:
    kernel = node.get("kernel_shape")
    if not kernel:
        raise ValueError("kernel_shape is missing")
    window = _window(node, kernel)
    padding = list(_pads(node, len(kernel)))
    wanted = node.stated("output_shape", 2)
    if wanted is not None:
        for i, size in enumerate(node.shape()[2:]):
            grown = (size - 1) * window["stride"][i] + kernel[i]
            missing = whole_number("output_shape", grown - wanted[2 + i]) - sum(padding[i])
            padding[i] = (padding[i][0], padding[i][1] + missing)
    return build(
        program.SlideTransposed(**window, padding=tuple(padding), output_padding=(0,) * len(kernel)), node.input(0)
    )


@HANDLERS.handles("Col2Im")
def _col2im(node: Node, build: Builder) -> Made:
    image, block = node.stated_integers("image_shape", 1), node.stated_integers("block_shape", 2)
    if image is None or block is None:
        raise ValueError("image_shape and block_shape are missing")
    axes = len(block)
    window = _window(node, block)
    padding = _pads(node, axes)
    columns = [
        (image[i] + sum(padding[i]) - (block[i] - 1) * window["dilation"][i] - 1) // window["stride"][i] + 1
        for i in range(axes)
    ]
    batch, channels, _ = node.shape()
    grid = build(program.Reshape(shape=(batch, channels, *columns)), node.input(0), part="grid")
    ends = []
    for i in range(axes):
        grown = (columns[i] - 1) * window["stride"][i] + (block[i] - 1) * window["dilation"][i] + 1
        ends.append((padding[i][0], grown - padding[i][0] - image[i]))
    return build(
        program.SlideTransposed(
            **window,
            padding=tuple(ends),
            output_padding=(0,) * axes,
            channel=1,
            channels=channels // prod(block),
            apart=True,
        ),
        grid,
        macs=0,
    )


@HANDLERS.handles("STFT", weights=())
def _stft(node: Node, build: Builder) -> Made:
    step = node.stated_integers("frame_step", 1)
    window = node.optional(2)
    length = node.stated_integers("frame_length", 3) or (
        [whole_number("window", window.shape[0])] if window is not None and window.shape else None
    )
    if step is None or length is None:
        raise UnspelledError("neither its window nor its frame_length is given")
    bins = length[0] // 2 + 1 if node.get("onesided", 1) else length[0]
    before, behind, bound = build.taps(window if window is None or window.constant else None, length[0])
    frames = build(
        program.Slide(
            function="conv", dims=(1,), kernel=(length[0] - before - behind,), stride=(step[0],),
            padding=((-before, -behind),), dilation=(1,), channel=2, channels=bins * 2, bound=bound,
        ),
        node.input(0),
        macs=0,
    )  # fmt: skip
    batch, count, _ = frames.shape or (unknown("batch"), unknown("frames"), 1)
    return build(program.Reshape(shape=(batch, count, bins, 2)), frames, part="bins")


# Resolutions.


@HANDLERS.handles("Resize", "Upsample", weights=())
def _resize(node: Node, build: Builder) -> Made:
    shape, old = node.shape(), node.op == "Upsample" or node.version < 11
    scale, size = _ratios(node, old)
    if node.get("coordinate_transformation_mode") == "tf_crop_and_resize" and not old:
        return _crop_and_resize(node, build, scale, size)
    if size and node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        scale, size = _keep_aspect(node, size, shape), {}
    dims = tuple(sorted(d for d in (scale or size) if (scale[d] != 1 if scale else size[d] != shape[d])))
    rounded = any(not operations.stays_whole(shape[d], scale.get(d, 1)) for d in dims)
    shrinks = [d in scale and scale[d] < 1 for d in dims]
    mode = {"bilinear": "linear"}.get(node.get("mode", "nearest"), node.get("mode", "nearest"))
    coefficient = Fraction(node.get("cubic_coeff_a", CUBIC))
    x = node.input(0)
    if not dims:
        return build(program.Pointwise(function="identity"), x)
    parts = [[d for d, less in zip(dims, shrinks, strict=True) if less is shrinking] for shrinking in (False, True)]
    if not (node.op == "Resize" and old and mode == "nearest" and all(parts)):  # those round one way and the other
        parts = [list(dims)]
    for k, along in enumerate(parts):
        coordinates, nearest = _coordinates(node, old, any(scale.get(d, 1) < 1 for d in along), rounded)
        primitive = program.Resize(
            dims=tuple(along),
            scales=tuple(Fraction(scale[d]) for d in along) if scale else None,
            sizes=tuple(size[d] for d in along) if size else None,
            mode="linear" if mode == "cubic" and not coefficient else mode,  # its outer taps weigh nothing then
            coordinates=coordinates,
            nearest_mode=nearest,
            antialias=bool(node.get("antialias")) and mode != "nearest",
            coefficient=coefficient,
        )
        x = build(primitive, x, part="grown" if k < len(parts) - 1 else "")
    return x


def _ratios(node: Node, old: bool) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the scale of each dimension that a resize states, or the size; the other is empty."""
    scales = node.stated("scales", 1 if old else 2)
    sizes = None if old or scales else node.stated("sizes", 3)
    if not scales and not sizes:
        raise ValueError("neither scales nor sizes is given")
    given = [axis_of(axis, node.rank()) for axis in node.get("axes") or range(node.rank())]
    if len(scales or sizes or ()) != len(given):
        raise ValueError(f"it has {len(scales or sizes or ())} scales or sizes for {len(given)} axes")
    each = dict(zip(given, scales or sizes or (), strict=True))
    return (each, {}) if scales else ({}, each)


def _coordinates(node: Node, old: bool, shrinks: bool, rounded: bool) -> tuple[str, str]:
    """Return where the outputs of a resize lie in its input, and how the nearest pixel is found.

    Parameters
    ----------
    node, old
        The node, and whether its opset states neither.
    shrinks
        Whether it makes a dimension smaller by a scale.
    rounded
        Whether a scale makes no whole size.
    """
    coordinates = "asymmetric" if old else node.get("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else node.get("nearest_mode", "round_prefer_floor")
    if node.op == "Resize" and old and shrinks:
        nearest = "ceil"  # as the operator's own test cases of opset 10 have it
    if coordinates == "tf_half_pixel_for_nn" and node.get("mode", "nearest") == "nearest" and nearest == "floor":
        coordinates, nearest = "half_pixel", "round_prefer_ceil"  # floor((y + 1/2) / f) both
    if coordinates == "align_corners" and rounded:
        raise UnspelledError("its scale makes no whole size, so that the corners it aligns are not said")
    if coordinates == "half_pixel_symmetric" and not rounded:
        coordinates = "half_pixel"
    if coordinates not in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        raise UnspelledError(f"its coordinate_transformation_mode is {coordinates}")
    return coordinates, nearest


#: Why a resize of a part whose corners are no pixels reads less than all of it.
BETWEEN = "each output reads some of the pixels between the corners of its roi"


def _crop_and_resize(node: Node, build: Builder, scale: Mapping[int, Any], size: Mapping[int, Any]) -> Value:
    """Resize the part that ``roi`` says, whose corners, where they are pixels, are those of the output."""
    shape, roi = node.shape(), node.stated("roi", 1)
    rank = len(shape)
    given = [axis_of(axis, rank) for axis in node.get("axes") or range(rank)]
    if roi is None or len(roi) != 2 * len(given):
        raise UnspelledError("its roi is not known")
    crop: dict[int, tuple[int, int]] = {}
    after: dict[int, int] = {}
    read: list[int] = []
    for i, d in enumerate(given):
        before, start, end = whole_number("sizes", shape[d]), Fraction(roi[i]), Fraction(roi[i + len(given)])
        after[d] = whole_number("sizes", size[d] if size else floor(before * (end - start) * scale[d]))
        first, last = start * (before - 1), end * (before - 1)
        inside = 0 <= first <= last <= before - 1
        if first.denominator != 1 or last.denominator != 1 or not inside or (after[d] == 1 and first != last):
            read.append(d)  # read between its corners by each output: a bound
        crop[d] = (max(floor(first), 0), min(ceil(last), before - 1) + 1)
        if crop[d][0] >= crop[d][1]:
            raise UnspelledError(f"its roi of dimension {d} lies outside of the map")
    x = node.input(0)
    if cut := [d for d in crop if crop[d] != (0, shape[d])]:
        starts, stops = zip(*(crop[d] for d in cut), strict=True)
        primitive = program.Slice(dims=tuple(cut), starts=starts, stops=stops, steps=(1,) * len(cut))
        x = build(primitive, x, part="crop")
    if read:
        x = build(program.Reduce(function="resize", dims=tuple(read), bound=BETWEEN), x, part="read")
    sizes = dict(enumerate(x.shape or ()))
    if dims := [d for d in crop if d not in read and after[d] != sizes[d]]:
        x = build(
            program.Resize(
                dims=tuple(dims),
                sizes=tuple(after[d] for d in dims),
                mode={"bilinear": "linear"}.get(node.get("mode", "nearest"), node.get("mode", "nearest")),
                coordinates="align_corners",
                nearest_mode=node.get("nearest_mode", "round_prefer_floor"),
            ),
            x,
            part="resize",
        )
    return build(program.Expand(shape=tuple(after.get(d, shape[d]) for d in range(rank))), x)


def _keep_aspect(node: Node, size: Mapping[int, Any], shape: Shape) -> dict[int, Fraction]:
    """Return the one scale that fits the output in, or round, the sizes asked for."""
    ratios = [Fraction(whole_number("sizes", size[d]), whole_number("sizes", shape[d])) for d in size]
    ratio = min(ratios) if node.get("keep_aspect_ratio_policy") == "not_larger" else max(ratios)
    if any(not operations.stays_whole(shape[d], ratio) for d in size):
        raise UnspelledError("keeping its aspect ratio needs sizes to be rounded")
    return dict.fromkeys(size, ratio)


@HANDLERS.handles("DepthToSpace", "SpaceToDepth")
def _exchange(node: Node, build: Builder) -> Made:
    block = node.get("blocksize")
    if not isinstance(block, int) or block < 1:
        raise ValueError(f"blocksize {block} is not a positive integer")
    kind = program.DepthToSpace if node.op == "DepthToSpace" else program.SpaceToDepth
    return build(kind(channel=1, dims=(2, 3), blocks=(block, block)), node.input(0))
