"""Keras layers, spelt with the primitives of the tensor program; this module does not need keras.

One handler per class or family of classes of ``keras.layers``. What a layer reads is said at inference: dropout and
random augmentation change nothing. Those that read sequences are in ``sequences``, operations in ``operations``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.keras.nodes import HANDLERS, Made, Node, einsum_dense, flat, pairs, product_of_last
from rfgraph.importers.program import Builder, Dim, Shape, Value, completed, product, text
from rfgraph.importers.spelling import (
    UnspelledError,
    axis_of,
    moving,
    operations,
    per_axis,
    shape_of,
    vocabulary,
    whole_number,
)

# Activations: layers of their own, and what many layers end with.

#: Functions of one element.
ACTIVATIONS = vocabulary.names("activations", vocabulary.UNARY)
#: Functions of all elements along the last dimension.
MIXING = ("softmax", "log_softmax", "sparsemax")


def activated(node: Node, build: Builder, x: Value) -> Value:
    """Return what the activation in a layer's config makes of ``x``, and name it after the layer."""
    stated = node.config.get("activation")
    if stated is None or stated == "linear":
        return x
    return activation(node, build, x, stated, f"{node.name}/{_word(stated)}")


def activation(node: Node, build: Builder, x: Value, stated: Any, name: str) -> Value:
    """Return what an activation, as configs write it, makes of ``x``.

    Parameters
    ----------
    node, build
        The layer whose it is, and what it is written with.
    stated
        The name of a function, or the config of a function or a layer.
    name
        What the node of it is called.
    """
    if isinstance(stated, dict) and isinstance(stated.get("config"), dict):
        return node.apply(stated, (x,), {}, name)[0]
    word = _word(stated)
    build.at(name, word)
    if not isinstance(stated, str):
        output = build(program.Opaque(why="it is a function of the user's own", shape=x.shape), x)
    elif word in ACTIVATIONS:
        output = operations.pointwise(build, ACTIVATIONS[word], x)
    elif word in MIXING:
        output = build(program.Mix(function="softmax", dims=(len(shape_of(x)) - 1,)), x)
    elif word == "glu":
        output = operations.gated(build, x, len(shape_of(x)) - 1)
    elif word == "linear":
        output = operations.pointwise(build, "identity", x)
    else:
        output = build(program.Opaque(why="no activation of Keras is called so", shape=x.shape), x)
    build.at(node.name, node.op)
    return output


def _word(stated: Any) -> str:
    """Return what an activation is called."""
    if isinstance(stated, dict):
        registered = stated.get("registered_name")
        of_class = stated.get("config" if isinstance(stated.get("config"), str) else "class_name")
        stated = of_class if registered in (None, "function") else registered
    return stated if isinstance(stated, str) and stated else "function"


# Layers that change each element on its own, or nothing.

ELEMENTWISE = vocabulary.names("layers", vocabulary.UNARY)

#: Augmentations, which do nothing at inference.
AUGMENTATIONS = (
    "AugMix", "CutMix", "Equalization", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration",
    "RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip",
    "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
    "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
    "Solarization",
)  # fmt: skip


@HANDLERS.handles(*ELEMENTWISE)
def _elementwise(node: Node, build: Builder) -> Made:
    if node.op == "Masking":  # a position counts by all its channels
        return build(program.Mix(function="masking", dims=(node.rank - 1,)), node.x)
    return operations.pointwise(build, ELEMENTWISE[node.op], node.x)


@HANDLERS.handles("AutoContrast")
def _auto_contrast(node: Node, build: Builder) -> Made:
    dims, _ = node.layout(2, single=True)
    return operations.mixed(build, "contrast", node.x, *dims)  # from the least of it to the greatest


# Normalisations.


@HANDLERS.handles("GroupNormalization")
def _group_norm(node: Node, build: Builder) -> Made:
    channel = node.axis()
    dims = tuple(d for d in range(1, node.rank) if d != channel)
    if not dims:  # of a vector, the channels of a group are all there is
        return build(program.Mix(function="layer_norm", dims=(channel,)), node.x)
    return build(program.Mix(function="group_norm", dims=dims), node.x)


@HANDLERS.handles("SpectralNormalization")
def _spectral_norm(node: Node, build: Builder) -> Made:
    return node.apply(node.get("layer"), node.args, node.kwargs, node.name)  # it normalises the weights


# Merges.

MERGES = {
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "Average": "mean", "Maximum": "max", "Minimum": "min",
    "CustomScaleLayer": "add",  # of keras.applications: one plus some of the other
}  # fmt: skip


@HANDLERS.handles(*MERGES)
def _merge(node: Node, build: Builder) -> Made:
    tensors = node.tensors()
    most = max(len(shape_of(tensor)) for tensor in tensors)
    wide = []
    for i, tensor in enumerate(tensors):
        missing = most - len(shape_of(tensor))
        if missing:  # the batch stays first
            tensor = build(program.Unsqueeze(dims=tuple(range(1, 1 + missing))), tensor, part=f"wide/{i}")
        wide.append(tensor)
    return operations.pointwise(build, MERGES[node.op], *wide)


@HANDLERS.handles("Dot")
def _dot(node: Node, build: Builder) -> Made:
    pair = node.tensors()
    if len(pair) != 2:
        raise ValueError(f"it multiplies {len(pair)} tensors, not 2")
    dims = per_axis("axes", node.get("axes"), 2)
    summed = [axis_of(axis, len(shape_of(x))) for axis, x in zip(dims, pair, strict=True)]
    if node.flag("normalize"):
        pair = [
            build(program.Mix(function="layer_norm", dims=(d,)), x, part=f"normalized/{i}")
            for i, (x, d) in enumerate(zip(pair, summed, strict=True))
        ]
    labels = [
        tuple("b" if d == 0 else "k" if d == axis else f"{side}{d}" for d in range(len(shape_of(x))))
        for side, x, axis in zip("lr", pair, summed, strict=True)
    ]
    output = ("b", *(label for own in labels for label in own if label not in "bk"))
    contract = program.Contract(operands=(labels[0], labels[1]), output=output)
    if len(output) > 1:
        return build(contract, *pair)
    return build(program.Unsqueeze(dims=(1,)), build(contract, *pair, part="sum"))


# Products.


@HANDLERS.handles("EinsumDense")
def _einsum_dense(node: Node, build: Builder) -> Made:
    contract, kernel, _ = einsum_dense(node)
    return activated(node, build, build(contract, node.x, build.weights_of_layer(kernel)))


def _embedded(node: Node, build: Builder) -> Value:
    rows = build.weight((node.size("input_dim"), node.size("output_dim")))
    return build(program.Take(dim=0), rows, node.x)


@HANDLERS.handles("CategoryEncoding")
def _category_encoding(node: Node, build: Builder) -> Made:
    if node.text("output_mode", "multi_hot") != "one_hot":
        raise UnspelledError("it counts categories")
    x = node.x
    if node.rank > 1 and node.shape[-1] == 1:
        x = build(program.Squeeze(dims=(node.rank - 1,)), x, part="index")
    return build(program.Take(dim=0), build.weight((node.size("num_tokens"),) * 2), x)


# Windows.


def slid(
    node: Node, build: Builder, x: Value, *, kernel: Sequence[int], channels: Dim | None = None, groups: int = 1,
    function: str = "conv", part: str = "", apart: bool = False, bound: str = "",
) -> Value:  # fmt: skip
    """Add a window with the strides, padding and dilation of the config.

    Parameters
    ----------
    node, build, x
        The layer, what it is written with, and what it slides over.
    kernel
        Its size, one per axis.
    channels, groups
        Those that a convolution makes; none for a pooling.
    function
        Its op.
    part
        Tells it from the other steps of its layer.
    apart
        Whether each channel holds one position of the window, as where patches are cut out.
    bound
        Why an output may read less than the window.
    """
    axes = len(kernel)
    dims, channel = node.layout(axes)
    dilation = node.integers("dilation_rate", axes, 1)
    pooling = function != "conv"
    stride = node.integers("strides", axes) if node.get("strides") is not None else tuple(kernel if pooling else [1])
    stride = per_axis("strides", stride, axes)
    padding: program.Paddings
    match node.text("padding", "valid"):
        case "valid":
            padding = ((0, 0),) * axes
        case "same":
            padding = "same_upper"
        case "causal" if axes == 1 and not pooling:
            padding = ((dilation[0] * (kernel[0] - 1), 0),)
        case other:
            raise ValueError(f"padding {other!r} is none of valid, same and causal")
    for name, numbers in (("kernel", kernel), ("strides", stride), ("dilation", dilation)):
        if any(number < 1 for number in numbers):
            raise ValueError(f"{name} {list(numbers)} is not positive")
    primitive = program.Slide(
        function=function, dims=dims, kernel=tuple(kernel), stride=stride, padding=padding, dilation=dilation,
        channel=None if pooling else channel, channels=channels, groups=groups, apart=apart,
        bound=bound,
    )  # fmt: skip
    return build(primitive, x, part=part)


@HANDLERS.handles("Conv1D", "Conv2D", "Conv3D")
def _conv(node: Node, build: Builder) -> Made:
    convolved = slid(
        node, build, node.x, kernel=node.integers("kernel_size", int(node.op[4])),
        channels=node.size("filters"), groups=node.integer("groups", 1),
    )  # fmt: skip
    return activated(node, build, convolved)


def depthwise(node: Node, build: Builder, axes: int, multiplier: Dim, part: str = "", bound: str = "") -> Value:
    """Add a convolution of each channel on its own."""
    _, channel = node.layout(axes)
    before = node.shape[channel]
    groups = before if isinstance(before, int) else 1
    kernel = node.integers("kernel_size", axes)
    channels = before * multiplier
    return slid(node, build, node.x, kernel=kernel, channels=channels, groups=groups, part=part, bound=bound)


@HANDLERS.handles("SeparableConv1D", "SeparableConv2D")
def _separable_conv(node: Node, build: Builder) -> Made:
    axes = int(node.op[-2])
    each = depthwise(
        node, build, axes, node.size("depth_multiplier", 1), part="depthwise"
    )  # fmt: skip
    return activated(node, build, mixed_channels(node, build, each, axes, node.size("filters")))


def mixed_channels(node: Node, build: Builder, x: Value, axes: int, channels: Dim) -> Value:
    """Add a convolution of one position."""
    dims, channel = node.layout(axes)
    ones = (1,) * axes
    primitive = program.Slide(
        function="conv", dims=dims, kernel=ones, stride=ones, padding=((0, 0),) * axes, dilation=ones, channel=channel,
        channels=channels,
    )  # fmt: skip
    return build(primitive, x)


def transposed(node: Node, build: Builder, kernel: Sequence[int], channels: Dim, bound: str = "") -> Value:
    """Add a transposed convolution with the strides, padding, output padding and dilation of the config."""
    axes = len(kernel)
    dims, channel = node.layout(axes)
    stride, dilation = node.integers("strides", axes, 1), node.integers("dilation_rate", axes, 1)
    stated = node.get("output_padding")
    extra: Sequence[int | None] = [None] * axes if stated is None else per_axis("output_padding", stated, axes)
    same = node.text("padding", "valid") == "same"
    if not same and node.text("padding", "valid") != "valid":
        raise ValueError(f"padding {node.get('padding')!r} is neither valid nor same")
    if any(number < 1 for number in (*kernel, *stride, *dilation)):
        raise ValueError(f"kernel {list(kernel)}, strides {stride} or dilation {dilation} is not positive")
    padding, after = [], []
    for i in range(axes):
        span = (kernel[i] - 1) * dilation[i] + 1
        cropped = transposed_crop(span, stride[i], same, extra[i])
        padding.append((cropped[0], max(cropped[1], 0)))
        after.append(max(-cropped[1], 0))
    primitive = program.SlideTransposed(
        dims=dims, kernel=tuple(kernel), stride=stride, padding=tuple(padding), output_padding=tuple(after),
        dilation=dilation, channel=channel, channels=channels, bound=bound,
    )  # fmt: skip
    return build(primitive, node.x)


def transposed_crop(span: int, stride: int, same: bool, output_padding: int | None) -> tuple[int, int]:
    """Return what Keras crops before and after the full transposed convolution; a negative amount is added.

    With padding ``"same"``, ``n`` positions become ``n * stride``, or ``(n - 1) * stride + span % 2 + output_padding``
    if that is stated; else ``(n - 1) * stride + span``, and no less than ``n * stride``.

    Examples
    --------
    >>> transposed_crop(3, 2, same=True, output_padding=None), transposed_crop(2, 3, same=False, output_padding=None)
    ((0, 1), (0, -1))
    """
    if not same:
        return 0, -(max(span, stride) - span if output_padding is None else output_padding)
    total = span - stride if output_padding is None else span - span % 2 - output_padding
    room = 2 * (span - 1) - total  # what remains of the padding that undoes all cropping
    before = span - 1 - min((room + 1) // 2, span - 1)
    return before, total - before


POOLS = {
    f"{name}Pooling{axes}D": (op, axes)
    for name, op in (("Max", "max_pool"), ("Average", "avg_pool"))
    for axes in (1, 2, 3)
}


@HANDLERS.handles(*POOLS)
def _pool(node: Node, build: Builder) -> Made:
    function, axes = POOLS[node.op]
    return slid(node, build, node.x, kernel=node.integers("pool_size", axes), function=function)


@HANDLERS.handles(*(f"Global{name}" for name in POOLS))
def _global_pool(node: Node, build: Builder) -> Made:
    function, axes = POOLS[node.op.removeprefix("Global")]
    dims, keepdims = node.layout(axes)[0], node.flag("keepdims")
    return operations.reduced(build, "max" if function == "max_pool" else "mean", node.x, dims, keepdims=keepdims)


@HANDLERS.handles(*(f"Adaptive{name}" for name in POOLS))
def _adaptive_pool(node: Node, build: Builder) -> Made:
    function, axes = POOLS[node.op.removeprefix("Adaptive")]
    return operations.adaptive_pool(build, node.x, function, node.layout(axes)[0], node.integers("output_size", axes))


# Resolutions.

INTERPOLATIONS = {
    "nearest": "nearest", "bilinear": "linear", "bicubic": "cubic", "lanczos3": "lanczos3", "lanczos5": "lanczos5",
}  # fmt: skip


@HANDLERS.handles("UpSampling1D", "UpSampling2D", "UpSampling3D")
def _up_sampling(node: Node, build: Builder) -> Made:
    axes = int(node.op[-2])
    mode = _interpolation(node.text("interpolation", "nearest"))
    factors = node.integers("size", axes, 2)
    if any(factor < 1 for factor in factors):
        raise ValueError(f"size {list(factors)} is not positive")
    dims, _ = node.layout(axes)
    primitive = program.Resize(dims=dims, scales=factors, mode=mode, nearest_mode="round_prefer_ceil")
    return build(primitive, node.x)


def _interpolation(name: str) -> str:
    if name not in INTERPOLATIONS:
        raise UnspelledError(f"the taps of its interpolation {name!r} are not known")
    return INTERPOLATIONS[name]


def resized(
    node: Node, build: Builder, x: Value, dims: tuple[int, ...], sizes: tuple[int, ...], *, antialias: bool = False,
    part: str = "",
) -> Value:  # fmt: skip
    """Add an interpolation of the middles of pixels, as ``keras.ops.image.resize`` computes it."""
    mode = _interpolation(node.text("interpolation", "bilinear"))
    if any(number < 1 for number in sizes):
        raise ValueError(f"size {list(sizes)} is not positive")
    primitive = program.Resize(
        dims=dims, sizes=sizes, mode=mode, nearest_mode="round_prefer_ceil", antialias=antialias and mode != "nearest",
        coefficient=operations.KEYS,
    )  # fmt: skip
    return build(primitive, x, part=part)


def fitted(node: Node, build: Builder, sizes: tuple[int, int]) -> Value:
    """Add a resize of an image, and what comes before it: a crop, or padding, to the ratio of height to width."""
    dims, _ = node.layout(2, single=True)
    x, antialias = node.x, node.flag("antialias")
    crop, pad = node.flag("crop_to_aspect_ratio"), node.flag("pad_to_aspect_ratio")
    if any(number < 1 for number in sizes):
        raise ValueError(f"size {list(sizes)} is not positive")
    if crop or pad:
        height, width = (whole_number("input", node.shape[d]) for d in dims)
        at_height, at_width = int(float(width * sizes[0]) / sizes[1]), int(float(height * sizes[1]) / sizes[0])
        amounts: list[tuple[Dim, Dim]] = [(0, 0)] * node.rank
        for d, had, at in zip(dims, (height, width), (at_height, at_width), strict=True):
            if crop:
                kept = max(min(had, at), 1)
                first = (had - kept) // 2
                amounts[d] = (-first, kept + first - had)
            else:
                each = (max(had, at) - had) // 2
                amounts[d] = (each, each)
        if pad and all(amounts[d] != (0, 0) for d in dims):
            raise UnspelledError("it pads both axes")
        x = build(program.Pad(amounts=tuple(amounts)), x, part="ratio")
    return resized(node, build, x, dims, sizes, antialias=antialias)


@HANDLERS.handles("CenterCrop")
def _center_crop(node: Node, build: Builder) -> Made:
    dims, _ = node.layout(2, single=True)
    wanted = (node.integer("height"), node.integer("width"))
    had = [whole_number("input", node.shape[d]) for d in dims]
    if any(number < 1 for number in wanted):
        raise ValueError(f"size {list(wanted)} is not positive")
    if any(n < m for n, m in zip(had, wanted, strict=True)):  # it is made larger, and cropped to the same ratio
        return fitted(replace(node, config={**node.config, "crop_to_aspect_ratio": True}), build, wanted)
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * node.rank
    for d, n, m in zip(dims, had, wanted, strict=True):
        first = (n - m) // 2
        amounts[d] = (-first, first + m - n)
    return build(program.Pad(amounts=tuple(amounts)), node.x)


# Elements moved, dropped, added.


@HANDLERS.handles("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D")
def _padding(node: Node, build: Builder) -> Made:
    axes, cropping = int(node.op[-2]), node.op.startswith("Cropping")
    dims, _ = node.layout(axes)
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * node.rank
    stated = pairs("amounts", node.get("cropping" if cropping else "padding", 1), axes)
    if any(amount < 0 for pair in stated for amount in pair):
        raise ValueError(f"amounts {stated} are negative")
    for d, (before, after) in zip(dims, stated, strict=True):
        amounts[d] = (-before, -after) if cropping else (before, after)
    return build(program.Pad(amounts=tuple(amounts)), node.x)


@HANDLERS.handles("RepeatVector")
def _repeat_vector(node: Node, build: Builder) -> Made:
    batch, channels = node.shape
    row = build(program.Unsqueeze(dims=(1,)), node.x, part="row")
    return build(program.Expand(shape=(batch, node.size("n"), channels)), row)


# Numbering.


@HANDLERS.handles("Reshape")
def _reshape(node: Node, build: Builder) -> Made:
    batch, *rest = node.shape
    target = node.get("target_shape")
    if not isinstance(target, (list, tuple)):
        raise ValueError(f"target_shape {target!r} is not a list")
    return moving.reshaped(build, node.x, (batch, *completed_of(node, target, rest)), resized=node.resized)


def completed_of(node: Node, target: Sequence[Any], had: Sequence[Dim]) -> Shape:
    """Return a shape of which -1, or ``None``, is worked out from the sizes that there were."""
    wanted = [whole_number("shape", -1 if entry is None else entry) for entry in target]
    stated, count = product(n for n in wanted if n != -1), product(had)
    if -1 in wanted and isinstance(count, int) and isinstance(stated, int) and (not stated or count % stated):
        if node.resized:
            raise UnspelledError(f"it reshapes to {wanted}, for which the model was made")
        raise ValueError(f"shape {text(tuple(had))} cannot become {wanted}")
    return completed(wanted, had, node.name)


@HANDLERS.handles("Flatten")
def _flatten(node: Node, build: Builder) -> Made:
    x = node.x
    if node.text("data_format", "channels_last") == "channels_first" and node.rank > 2:
        x = moving.permuted(build, x, (0, *range(2, node.rank), 1), part="channels_last")
    batch, *rest = shape_of(x)
    return build(program.Reshape(shape=(batch, product(rest))), x)


# Ops that one expression spells.

HANDLERS.spells(
    {
        "Activation": lambda node, build: activation(node, build, node.x, node.get("activation", "linear"), node.name),
        "Softmax": lambda node, build: operations.mixed(build, "softmax", node.x, *node.normed),
        (*AUGMENTATIONS,): lambda node, build: operations.pointwise(build, "identity", node.x),
        ("LayerNormalization", "RMSNormalization", "UnitNormalization"): lambda node, build: operations.mixed(
            build, "layer_norm", node.x, *node.normed
        ),
        "Concatenate": lambda node, build: build(program.Concat(dim=node.axis()), *node.tensors()),
        "Dense": lambda node, build: activated(node, build, product_of_last(build, node.x, node.size("units"))),
        "Embedding": lambda node, build: _embedded(node, build),
        "Resizing": lambda node, build: fitted(node, build, (node.integer("height"), node.integer("width"))),
        "Permute": lambda node, build: moving.permuted(
            build, node.x, (0, *per_axis("dims", node.get("dims"), node.rank - 1))
        ),
        "ReversibleEmbedding": lambda node, build: (
            product_of_last(build, node.x, node.size("input_dim"))
            if node.argument(1, "reverse", False)
            else _embedded(node, build)
        ),
        ("DepthwiseConv1D", "DepthwiseConv2D"): lambda node, build: activated(
            node, build, depthwise(node, build, int(node.op[-2]), node.size("depth_multiplier", 1))
        ),
        ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"): lambda node, build: activated(
            node, build, transposed(node, build, node.integers("kernel_size", int(node.op[4])), node.size("filters"))
        ),
    }
)

# What is not followed, and why.

NOT_FOLLOWED = HANDLERS.refuses({
    "it runs a function that the model holds": "Lambda",
    "it runs a function of JAX": "JaxLayer",
    "it runs a module of flax": "FlaxLayer",
    "it runs a module of PyTorch": "TorchModuleWrapper",
    "it runs a SavedModel of TensorFlow": "TFSMLayer",
    "what it crops at inference is not what it says": "RandomCrop",
    "it counts what tiles of the image hold": "ContrastLimitedAdaptiveHistogramEqualization",
    "it works on boxes": "MaxNumBoundingBoxes",
    "it reads text or categories": "Hashing HashedCrossing IntegerLookup StringLookup TextVectorization",
    "it reads windows of a signal": "MelSpectrogram STFTSpectrogram",
})  # fmt: skip


@HANDLERS.handles("Pipeline")
def _pipeline(node: Node, build: Builder) -> Made:
    layers = node.get("layers")
    if not isinstance(layers, (list, tuple)):
        raise ValueError("its layers are not a list")
    tensors: Sequence[Value] = [node.x]
    for i, layer in enumerate(layers):
        tensors = node.apply(layer, (tensors[0],), {}, f"{node.name}/{i}")
    return [item for item in flat(tensors) if isinstance(item, Value)]
