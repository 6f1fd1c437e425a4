"""TensorFlow ops that read neighbours or change the resolution: convolutions, pools, resizes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Expression, Shape, Value, exact_quotient, product, unknown
from rfgraph.importers.spelling import UnspelledError, moving, operations, shape_of, whole_number
from rfgraph.importers.tensorflow.nodes import HANDLERS, Made, Node, with_range


@dataclass(frozen=True)
class Layout:
    """Where a tensor has its spatial dimensions and its channels."""

    dims: tuple[int, ...]
    channel: int

    def of(self, entries: Sequence[int]) -> tuple[int, ...]:
        """Return the entries, one per dimension, of the spatial ones; those of batch and channels must be 1."""
        rest = [entry for d, entry in enumerate(entries) if d not in self.dims]
        if any(entry != 1 for entry in rest):
            raise UnspelledError(f"it steps over batch or channels: {[*entries]}")
        return tuple(entries[d] for d in self.dims)


def layout_of(node: Node, axes: int, default: str = "") -> Layout:
    """Return the layout that ``data_format`` says, of a tensor of ``axes`` spatial dimensions."""
    written = node.text("data_format", default) or "NHWC"
    if written.startswith("N") and written.endswith("C"):
        return Layout(tuple(range(1, axes + 1)), axes + 1)
    if written.startswith("NC") and "_" not in written:
        return Layout(tuple(range(2, axes + 2)), 1)
    raise UnspelledError(f"its data_format is {written}")


def _paddings(node: Node, layout: Layout) -> program.Paddings:
    how = node.text("padding")
    if how == "SAME":
        return "same_upper"
    if how == "VALID":
        return ((0, 0),) * len(layout.dims)
    if how != "EXPLICIT":
        raise ValueError(f"padding {how!r} is not SAME, VALID or EXPLICIT")
    amounts = node.several("explicit_paddings", 2 * (len(layout.dims) + 2))
    return tuple((amounts[2 * d], amounts[2 * d + 1]) for d in layout.dims)


# Convolutions.


def _convolved(
    node: Node, build: Builder, x: Value, weight: Value, axes: int, *, depthwise: bool = False, part: str = ""
) -> Value:  # fmt: skip
    """Slide a kernel whose dimensions are the spatial ones, channels in, channels out."""
    layout, filters = layout_of(node, axes), shape_of(weight)
    if len(filters) != axes + 2:
        raise ValueError(f"its filter has {len(filters)} dimensions, not {axes + 2}")
    kernel = tuple(whole_number("kernel", size) for size in filters[:axes])
    channels = filters[-1]
    groups = 1
    inputs = None if x.shape is None or len(x.shape) <= layout.channel else x.shape[layout.channel]
    if depthwise:
        channels = filters[-2] * filters[-1]
        groups = filters[-2] if isinstance(filters[-2], int) else 1
    elif isinstance(inputs, int) and isinstance(filters[-2], int) and filters[-2] and inputs % filters[-2] == 0:
        groups = inputs // filters[-2]
    stride = layout.of(node.several("strides", axes + 2))
    dilation = layout.of(node.several("dilations", axes + 2, 1))
    padding = _paddings(node, layout)
    if node.atrous is not None:
        dilation, padding = _atrous(node, layout, x, kernel)
    primitive = program.Slide(
        function="conv", dims=layout.dims, kernel=kernel, stride=stride, padding=padding, dilation=dilation,
        channel=layout.channel, channels=channels, groups=groups, empty=padding == "same_upper",
        apart=build.apart(weight, range(axes), (axes, axes + 1) if depthwise else (axes + 1,)),
        bound=build.bound(weight, range(axes)),
    )  # fmt: skip
    shape = _ranked(node, axes, layout.channel, channels)
    return operations.weighted(build, build(primitive, x, part=part, shape=shape), weight)


def _ranked(node: Node, axes: int, channel: int, channels: Dim | None = None) -> Shape:
    """Return the shape of what a window makes of a tensor of unknown rank: the op says the rank."""
    sizes: list[Dim] = [unknown(f"{node.name}.{d}") for d in range(axes + 2)]
    if channels is not None:
        sizes[channel] = channels
    return tuple(sizes)


def _atrous(
    node: Node, layout: Layout, x: Value, kernel: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Return dilation and padding of a convolution between ``SpaceToBatchND`` and ``BatchToSpaceND``.

    Each phase of the padded map is convolved by itself: a dilated convolution. What is cropped after it was not padded.
    """
    held = node.atrous
    assert held is not None
    amounts = [value.data for value in (held.blocks, held.paddings, held.crops)]
    if any(data is None for data in amounts):
        raise UnspelledError("the blocks of the SpaceToBatchND before it depend on what the network computes")
    blocks, paddings, crops = (data.elements for data in amounts if data is not None)
    if paddings.shape != (blocks.size, 2) or crops.shape != paddings.shape or blocks.ndim != 1:
        raise ValueError("the blocks, paddings and crops round it differ in number")
    if held.inserted and (shape_of(x)[layout.dims[0]] != 1 or kernel[0] != 1):
        raise UnspelledError("the SpaceToBatchND before it works on other dimensions")
    dilation = dict.fromkeys(layout.dims, 1)
    padding: dict[int, tuple[int, int]] = dict.fromkeys(layout.dims, (0, 0))
    for i, block in enumerate(blocks):
        d = 1 + i + held.inserted
        pads = tuple(whole_number("padding", paddings[i][k] - crops[i][k]) for k in range(2))
        if d in dilation:
            dilation[d], padding[d] = whole_number("block", block), (pads[0], pads[1])
        elif block != 1 or pads != (0, 0):
            raise UnspelledError("the SpaceToBatchND before it works on other dimensions")
    return tuple(dilation[d] for d in layout.dims), tuple(padding[d] for d in layout.dims)


@HANDLERS.handles("_FusedConv2D", "FusedDepthwiseConv2dNative", weights=(1, 2))
def _fused(node: Node, build: Builder) -> Made:
    functions = node.get("fused_ops") or []
    added = [value for value in node.tensors(2) if not value.constant]
    depthwise = node.op != "_FusedConv2D"
    part = "conv" if functions else ""
    convolved = _convolved(node, build, node.input(0), node.input(1), 2, depthwise=depthwise, part=part)
    if not functions:
        return convolved
    return build(program.Pointwise(function="add" if added else "elementwise"), convolved, *added)


@HANDLERS.handles("FusedPadConv2D", weights=(2,))
@HANDLERS.handles("FusedResizeAndPadConv2D", weights=(3,))
def _padded(node: Node, build: Builder) -> Made:
    x = node.input(0)
    resized = node.op == "FusedResizeAndPadConv2D"
    if resized:
        corners = node.flag("resize_align_corners")
        build.at(f"{node.name}/resize", node.op)
        x = operations.resize(
            build, x, node.sizes("size", 1), "linear", align_corners=corners, half_pixel_centers=False
        )  # fmt: skip
    build.at(f"{node.name}/pad", node.op)
    x = moving.mirror_pad(build, x, node.pairs("paddings", 1 + resized), node.text("mode", "REFLECT"))
    build.at(node.name, node.op)
    return _convolved(node, build, x, node.input(2 + resized), 2)


@HANDLERS.handles("Conv2DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput", weights=(1,))
def _transposed(node: Node, build: Builder) -> Made:
    axes = 3 if node.op.startswith("Conv3D") else 2
    layout, weight, x = layout_of(node, axes), node.input(1), node.input(2)
    filters, shape = shape_of(weight), shape_of(x)
    if len(filters) != axes + 2 or len(shape) != axes + 2:
        raise ValueError(f"its filter has {len(filters)} dimensions and its input {len(shape)}, not {axes + 2} each")
    sizes = node.numbers("output size", 0)
    if len(sizes) == axes + 2:
        sizes = [sizes[d] for d in layout.dims]
    elif len(sizes) != axes:
        raise ValueError(f"its output size has {len(sizes)} entries for {axes} axes")
    kernel = tuple(whole_number("kernel", size) for size in filters[:axes])
    stride = layout.of(node.several("strides", axes + 2))
    dilation = layout.of(node.several("dilations", axes + 2, 1))
    padding, how = _paddings(node, layout), node.text("padding")
    crops = []
    for i, d in enumerate(layout.dims):
        span = (kernel[i] - 1) * dilation[i] + 1
        pads = padding[i] if how == "EXPLICIT" and not isinstance(padding, str) else how
        crops.append(operations.transposed_crop(shape[d], sizes[i], span, stride[i], pads))
    channels, groups = filters[-2], 1
    if node.op.startswith("Depthwise"):
        groups = filters[-2] if isinstance(filters[-2], int) else 1
    primitive = program.SlideTransposed(
        dims=layout.dims, kernel=kernel, stride=stride, padding=tuple(crops), output_padding=(0,) * axes,
        dilation=dilation, channel=layout.channel, channels=channels, groups=groups,
        bound=build.bound(weight, range(axes)),
    )  # fmt: skip
    return operations.weighted(build, build(primitive, x), weight)


# Pools.

POOLS = {
    "MaxPool": "max_pool", "MaxPoolV2": "max_pool", "MaxPool3D": "max_pool", "MaxPoolWithArgmax": "max_pool",
    "AvgPool": "avg_pool", "AvgPool3D": "avg_pool", "QuantizedMaxPool": "max_pool", "QuantizedAvgPool": "avg_pool",
}  # fmt: skip


@HANDLERS.handles(*POOLS)
def _pool(node: Node, build: Builder) -> Made:
    axes = 3 if node.op.endswith("3D") else 2
    layout = layout_of(node, axes)
    if node.op == "MaxPoolV2":
        kernel, stride = node.integers("kernel", 1), node.integers("stride", 2)
    else:
        kernel, stride = node.several("ksize", axes + 2), node.several("strides", axes + 2)
    if len(kernel) != axes + 2 or len(stride) != axes + 2:
        raise ValueError(f"kernel {kernel} and strides {stride} do not have {axes + 2} entries")
    x = node.input(0)
    if kernel[layout.channel] != 1:
        return _over_channels(node, build, layout, x, kernel[layout.channel])
    padding = _paddings(node, layout)
    primitive = program.Slide(
        function=POOLS[node.op], dims=layout.dims, kernel=layout.of(kernel), stride=layout.of(stride),
        padding=padding, dilation=(1,) * axes, empty=padding == "same_upper",
    )  # fmt: skip
    pooled = build(primitive, x, shape=_ranked(node, axes, layout.channel))
    if node.op == "MaxPoolWithArgmax":
        return [pooled, pooled]  # the places of the maxima are read where they are
    return with_range(node, build, pooled)


def _over_channels(node: Node, build: Builder, layout: Layout, x: Value, group: int) -> Value:
    """A maximum over groups of channels, which are last."""
    shape = shape_of(x)
    rest = exact_quotient(shape[-1], group) if group > 0 else None
    if rest is None or layout.channel != len(shape) - 1:
        raise UnspelledError("it pools over channels in groups that do not fit")
    split = build(program.Reshape(shape=(*shape[:-1], rest, group)), x, part="groups")
    return build(program.Reduce(function="max", dims=(len(shape),), keepdims=False), split)


@HANDLERS.handles("Dilation2D", weights=(1,))
def _dilation(node: Node, build: Builder) -> Made:
    layout, filters = Layout((1, 2), 3), node.shape(1)
    primitive = program.Slide(
        function="max_pool", dims=(1, 2), kernel=tuple(whole_number("kernel", size) for size in filters[:2]),
        stride=layout.of(node.several("strides", 4)), padding=_paddings(node, layout),
        dilation=layout.of(node.several("rates", 4)),
    )  # fmt: skip
    return operations.weighted(build, build(primitive, node.input(0)), node.input(1))


@HANDLERS.handles("ExtractImagePatches", "ExtractVolumePatches")
def _patches(node: Node, build: Builder) -> Made:
    axes = 2 if node.op == "ExtractImagePatches" else 3
    layout = Layout(tuple(range(1, axes + 1)), axes + 1)
    kernel = layout.of(node.several("ksizes", axes + 2))
    primitive = program.Slide(
        function="conv", dims=layout.dims, kernel=kernel, stride=layout.of(node.several("strides", axes + 2)),
        padding=_paddings(node, layout), dilation=layout.of(node.several("rates", axes + 2, 1)),
        channel=layout.channel, channels=product((*kernel, shape_of(node.input(0))[-1])), apart=True,
    )  # fmt: skip
    return build(primitive, node.input(0))


# Resolutions.

RESIZES = {"ResizeBilinear": "linear", "ResizeBicubic": "cubic", "ResizeNearestNeighbor": "nearest"}


@HANDLERS.handles(*RESIZES, "QuantizedResizeBilinear")
def _resize(node: Node, build: Builder) -> Made:
    resized = operations.resize(
        build, node.input(0), node.amounts("size", 1), RESIZES.get(node.op, "linear"),
        align_corners=node.flag("align_corners"), half_pixel_centers=node.flag("half_pixel_centers"),
    )  # fmt: skip
    return with_range(node, build, resized)


#: Kernels of ``ScaleAndTranslate``. Those of Hermite weigh the taps of a linear one.
KERNELS = {
    "triangle": "linear", "hermitecubic": "linear", "lanczos1": "linear", "keyscubic": "cubic", "lanczos3": "lanczos3",
    "lanczos5": "lanczos5", "gaussian": "gaussian",
}  # fmt: skip


@HANDLERS.handles("ScaleAndTranslate")
def _scale_and_translate(node: Node, build: Builder) -> Made:
    x, shape, sizes = node.input(0), node.shape(), node.amounts("size", 1)
    kernel = node.text("kernel_type", "lanczos3")
    if len(shape) != 4 or len(sizes) != 2:
        raise ValueError(f"it resizes {len(sizes)} axes of a tensor of {len(shape)} dimensions")
    if kernel not in KERNELS:
        raise UnspelledError(f"the taps of its kernel {kernel!r} are not known")
    if any(number != 0 for number in node.numbers("translation", 3)):
        raise UnspelledError("it moves what it resizes")
    scales = node.amounts("scale", 2)
    if any(isinstance(scale, Expression) for scale in scales):  # whether that is the ratio of sizes is seen at a size
        sizes = tuple(unknown(f"{node.name}.size.{d}") for d in (1, 2))
        scales = ()
    for d, size, stated in zip((1, 2), sizes, scales, strict=False):
        if not _is_ratio(stated, size, shape[d]):
            raise UnspelledError(f"its scale {stated} is not that of {shape[d]} positions to {size}")
    kept = [d for d, size in zip((1, 2), sizes, strict=True) if size != shape[d] or KERNELS[kernel] == "gaussian"]
    if not kept:
        return build(program.Pointwise(function="identity"), x)
    primitive = program.Resize(
        dims=tuple(kept), sizes=tuple(sizes[d - 1] for d in kept), mode=KERNELS[kernel], coordinates="half_pixel",
        antialias=node.flag("antialias", True), coefficient=operations.KEYS,
    )  # fmt: skip
    return build(primitive, x)


def _is_ratio(scale: Any, size: Dim, before: Dim) -> bool:
    """Whether a scale, which is stored as a 32-bit float, is that of one size to another."""
    if not isinstance(size, int) or not isinstance(before, int):
        return bool(exact_quotient(size, before) == scale)
    return before > 0 and bool(abs(Fraction(scale) * before / size - 1) < Fraction(1, 1 << 22))


@HANDLERS.handles("ResizeArea")
def _resize_area(node: Node, build: Builder) -> Made:
    if node.flag("align_corners"):
        raise UnspelledError("it averages over areas between aligned corners")
    shape, sizes = node.shape(), node.sizes("size", 1)
    if len(shape) != 4 or len(sizes) != 2:
        raise ValueError(f"it resizes {len(sizes)} axes of a tensor of {len(shape)} dimensions")
    steps = [exact_quotient(shape[d], size) for d, size in zip((1, 2), sizes, strict=True)]
    if all(isinstance(step, int) for step in steps):
        kernel = tuple(whole_number("size", step) for step in steps if step is not None)
        primitive: program.Primitive = program.Slide(
            function="avg_pool", dims=(1, 2), kernel=kernel, stride=kernel, padding=((0, 0), (0, 0)), dilation=(1, 1)
        )
    else:
        wanted = tuple(whole_number("size", size) for size in sizes)
        primitive = program.AdaptivePool(function="avg_pool", dims=(1, 2), sizes=wanted)
    return build(primitive, node.input(0))


@HANDLERS.handles("CropAndResize")
def _crop_and_resize(node: Node, build: Builder) -> Made:
    sizes: Sequence[Dim] = node.sizes("crop_size", 3)
    boxes, channels = node.shape(1)[0], node.shape()[-1]
    read = [value for value in node.tensors(0, 3) if not value.constant]
    return build(program.Whole(shape=(boxes, *sizes, channels)), *(read or [node.input(0)]))


@HANDLERS.handles("DepthToSpace", "SpaceToDepth")
def _exchange(node: Node, build: Builder) -> Made:
    block, layout = node.number("block_size"), layout_of(node, 2)
    if block < 1:
        raise ValueError(f"block_size {block} is not positive")
    kind: Any = program.DepthToSpace if node.op == "DepthToSpace" else program.SpaceToDepth
    return build(kind(channel=layout.channel, dims=layout.dims, blocks=(block, block)), node.input(0))


@HANDLERS.handles("SpaceToBatchND", "BatchToSpaceND")
def _batch_nd(node: Node, build: Builder) -> Made:
    blocks, amounts = node.integers("block", 1), node.pairs("padding", 2)
    spelt = operations.space_to_batch if node.op == "SpaceToBatchND" else operations.batch_to_space
    return spelt(build, node.input(0), blocks, amounts)


@HANDLERS.handles("SpaceToBatch", "BatchToSpace")
def _batch(node: Node, build: Builder) -> Made:
    blocks, amounts = [node.number("block_size")] * 2, node.pairs("padding", 1)
    spelt = operations.space_to_batch if node.op == "SpaceToBatch" else operations.batch_to_space
    return spelt(build, node.input(0), blocks, amounts)


# Along one axis: spectrograms.


@HANDLERS.handles("AudioSpectrogram")
def _spectrogram(node: Node, build: Builder) -> Made:
    size, stride = node.number("window_size"), node.number("stride")
    if not 1 < size <= 1 << 20:
        raise ValueError(f"window_size {size} is not one of a spectrogram")
    if node.shape()[1:] != (1,):
        raise UnspelledError("it has several channels")
    bins = (1 << (size - 1).bit_length()) // 2 + 1  # the window is filled up to a power of two
    primitive = program.Slide(
        function="conv", dims=(0,), kernel=(size,), stride=(stride,), padding=((0, 0),), dilation=(1,), channel=1,
        channels=bins,
    )  # fmt: skip
    frames = build(primitive, node.input(0), part="frames")
    return build(program.Unsqueeze(dims=(0,)), frames)


# Ops that one expression spells.

HANDLERS.spells(
    {
        ("Conv2D", "QuantizedConv2D"): lambda node, build: with_range(
            node, build, _convolved(node, build, node.x, node.input(1), 2)
        ),
        "Conv3D": lambda node, build: _convolved(node, build, node.x, node.input(1), 3),
        ("DepthwiseConv2dNative", "QuantizedDepthwiseConv2D"): lambda node, build: with_range(
            node, build, _convolved(node, build, node.x, node.input(1), 2, depthwise=True)
        ),
    },
    weights=(1,),
)
