"""PyTorch's operators that read neighbours or change the resolution: convolutions, pools, interpolations."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor, isfinite
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.program import CUBIC, Builder, Dim, simplest, text
from rfgraph.importers.spelling import UnspelledError, moving, operations, shape_of, whole_number
from rfgraph.importers.spelling.operations import KEYS, weighted
from rfgraph.importers.torch.nodes import HANDLERS, Made, Node

# Windows.


def last_dims(node: Node, count: int) -> tuple[tuple[int, ...], int]:
    """Return the last ``count`` dimensions, and the one before them: the batch may be left out."""
    if node.rank <= count:
        raise ValueError(f"its input has {node.rank} dimensions, too few for {count} axes and channels")
    return tuple(range(node.rank - count, node.rank)), node.rank - count - 1


@HANDLERS.handles("convolution", "conv1d", "conv2d", "conv3d", "_convolution")
def _conv(node: Node, build: Builder) -> Made:
    if node.get("transposed", False):
        return _conv_transpose(node, build)
    weight = node.tensor("weight")
    kernel = tuple(whole_number("kernel", size) for size in shape_of(weight)[2:])
    axes = len(kernel)
    dims, channel = last_dims(node, axes)
    dilation = node.integers("dilation", axes, 1)
    how = node.get("padding", 0)
    if how == "valid":
        padding = ((0, 0),) * axes
    elif how == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = tuple((total // 2, total - total // 2) for total in totals)
    else:
        padding = tuple((amount, amount) for amount in node.integers("padding", axes, 0))
    groups = node.integer("groups", 1)
    stride = node.integers("stride", axes, 1)
    primitive = program.Slide(
        function="conv", dims=dims, kernel=kernel, stride=stride, padding=padding, dilation=dilation,
        channel=channel, channels=shape_of(weight)[0], groups=groups,
        apart=build.apart(weight, range(2, 2 + axes), (0,)), bound=build.bound(weight, range(2, 2 + axes)),
    )  # fmt: skip
    return weighted(build, build(primitive, node.x), weight)


@HANDLERS.handles("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(node: Node, build: Builder) -> Made:
    weight = node.tensor("weight")
    kernel = tuple(whole_number("kernel", size) for size in shape_of(weight)[2:])
    axes = len(kernel)
    dims, channel = last_dims(node, axes)
    groups = node.integer("groups", 1)
    primitive = program.SlideTransposed(
        dims=dims, kernel=kernel, stride=node.integers("stride", axes, 1),
        padding=tuple((amount, amount) for amount in node.integers("padding", axes, 0)),
        output_padding=node.integers("output_padding", axes, 0), dilation=node.integers("dilation", axes, 1),
        channel=channel, channels=shape_of(weight)[1] * groups, groups=groups,
        bound=build.bound(weight, range(2, 2 + axes)),
    )  # fmt: skip
    return weighted(build, build(primitive, node.x), weight)


POOLS = {
    "max_pool1d": ("max_pool", 1), "max_pool2d": ("max_pool", 2), "max_pool3d": ("max_pool", 3),
    "max_pool1d_with_indices": ("max_pool", 1), "max_pool2d_with_indices": ("max_pool", 2),
    "max_pool3d_with_indices": ("max_pool", 3), "avg_pool1d": ("avg_pool", 1), "avg_pool2d": ("avg_pool", 2),
    "avg_pool3d": ("avg_pool", 3),
}  # fmt: skip


@HANDLERS.handles(*POOLS)
def _pool(node: Node, build: Builder) -> Made:
    function, axes = POOLS[node.op]
    kernel = node.integers("kernel_size", axes)
    primitive = program.Slide(
        function=function, dims=last_dims(node, axes)[0], kernel=kernel,
        stride=node.integers("stride", axes, 1) if node.get("stride", ()) != () else kernel,
        padding=tuple((amount, amount) for amount in node.integers("padding", axes, 0)),
        dilation=node.integers("dilation", axes, 1), ceil_mode=bool(node.get("ceil_mode", False)),
    )  # fmt: skip
    maxima = build(primitive, node.x)
    return [maxima, maxima] if node.op.endswith("indices") else maxima  # indices are read where the maxima are


ADAPTIVE = {
    "adaptive_avg_pool1d": ("avg_pool", 1), "adaptive_avg_pool2d": ("avg_pool", 2),
    "adaptive_avg_pool3d": ("avg_pool", 3),
    "_adaptive_avg_pool2d": ("avg_pool", 2), "_adaptive_avg_pool3d": ("avg_pool", 3),
    "adaptive_max_pool1d": ("max_pool", 1), "adaptive_max_pool2d": ("max_pool", 2),
    "adaptive_max_pool3d": ("max_pool", 3),
}  # fmt: skip


@HANDLERS.handles(*ADAPTIVE)
def _adaptive(node: Node, build: Builder) -> Made:
    function, axes = ADAPTIVE[node.op]
    sizes = node.integers("output_size", axes)
    output = operations.adaptive_pool(build, node.x, function, last_dims(node, axes)[0], sizes)
    return [output, output] if function == "max_pool" else output


# Resolutions.

UPSAMPLINGS = {
    f"{prefix}upsample_{how}{suffix}": (axes, mode, coordinates)
    for prefix, how, mode, coordinates, ranks, suffix_ in (
        ("", "nearest", "nearest", "asymmetric", (1, 2, 3), ""),
        ("_", "nearest_exact", "nearest", "half_pixel", (1, 2, 3), ""),
        ("", "linear", "linear", "half_pixel", (1,), ""),
        ("", "bilinear", "linear", "half_pixel", (2,), ""),
        ("", "trilinear", "linear", "half_pixel", (3,), ""),
        ("", "bicubic", "cubic", "half_pixel", (2,), ""),
        ("_", "bilinear", "linear", "half_pixel", (2,), "_aa"),
        ("_", "bicubic", "cubic", "half_pixel", (2,), "_aa"),
    )
    for axes in ranks
    for suffix in (f"{axes}d{suffix_}",)
}


@HANDLERS.handles(*UPSAMPLINGS)
def _upsample(node: Node, build: Builder) -> Made:
    axes, mode, coordinates = UPSAMPLINGS[node.op]
    dims, _ = last_dims(node, axes)
    sizes = node.sizes("output_size") if node.get("output_size") is not None else None
    factors = node.get("scale_factors") or tuple(node.get(f"scales_{a}") for a in "dhw"[3 - axes :])
    if axes == 1 and node.get("scales") is not None:
        factors = (node.get("scales"),)
    scales = None if None in factors else [_ratio(factor) for factor in factors]
    before = [node.shape[d] for d in dims]
    if scales is not None and len(scales) != axes:
        raise ValueError(f"it has {len(scales)} scale factors for {axes} axes")
    if sizes is not None and len(sizes) != axes:
        raise ValueError(f"it has {len(sizes)} sizes for {axes} axes")
    if scales is None and sizes is None:
        raise ValueError("neither output_size nor scale_factors is given")
    if node.resized and scales is None and any(isinstance(size, int) for size in sizes or ()):
        raise UnspelledError(f"it resizes to {text(sizes)}, the size for which the model was exported")
    after: Sequence[Dim] = sizes if scales is None or sizes is not None else [  # type: ignore[assignment]
        floor(size * scale) for size, scale in zip(before, scales, strict=True)
    ]  # fmt: skip
    if node.get("align_corners", False):
        coordinates, scales, sizes = "align_corners", None, tuple(after)
    primitive = program.Resize(
        dims=dims,
        scales=None if scales is None else tuple(scales),
        sizes=tuple(after) if scales is None else None,
        mode=mode,
        coordinates=coordinates,
        nearest_mode="floor" if coordinates == "asymmetric" else "round_prefer_ceil",  # floor((y + 1/2) / f)
        antialias=node.op.endswith("_aa"),
        coefficient=KEYS if node.op.endswith("_aa") else CUBIC,
    )
    return build(primitive, node.x)


def _ratio(factor: Any) -> Fraction:
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not isfinite(factor) or factor <= 0:
        raise ValueError(f"scale factor {factor!r} is not a positive number")
    return simplest(float(factor))


@HANDLERS.handles("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(node: Node, build: Builder) -> Made:
    dims, channel = last_dims(node, 2)
    down = node.op == "pixel_unshuffle"
    block = node.integer("downscale_factor" if down else "upscale_factor")
    if block < 1:
        raise ValueError(f"factor {block} is not a positive integer")
    kind = program.SpaceToDepth if down else program.DepthToSpace
    return build(kind(channel=channel, dims=dims, blocks=(block, block)), node.x)


@HANDLERS.handles("channel_shuffle")
def _channel_shuffle(node: Node, build: Builder) -> Made:
    return moving.shuffled(build, node.x, 1, node.integer("groups"))
