"""ONNX operators that move, drop, add or renumber elements, make constants, or hold tensors in sequences."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.onnx.nodes import HANDLERS, Made, Node
from rfgraph.importers.program import MAX_ELEMENTS, MAX_FLOATS, UNSEEN, Builder, Dim, Value, completed, product
from rfgraph.importers.spelling import EVERY, UnspelledError, axis_of, moving, whole_number
from rfgraph.importers.spelling.moving import arange

# Elements moved, dropped, added.


@HANDLERS.handles("Pad", weights=())
def _pad(node: Node, build: Builder) -> Made:
    rank = node.rank()
    pads = node.required("paddings" if "paddings" in node.attributes else "pads", 1)
    axes = node.stated_integers("axes", 3) if node.version >= 18 else None
    dims = [axis_of(axis, rank) for axis in (range(rank) if axes is None else axes)]
    if len(pads) != 2 * len(dims):
        raise ValueError(f"it has {len(pads)} pads for {len(dims)} axes, not two for each")
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * rank
    for i, d in enumerate(dims):
        amounts[d] = (pads[i], pads[i + len(dims)])
    return build(program.Pad(amounts=tuple(amounts), mode=node.get("mode", "constant")), node.input(0))


@HANDLERS.handles("Slice")
def _slice(node: Node, build: Builder) -> Made:
    starts, stops = node.required("starts", 1), node.required("ends", 2)
    axes = node.stated_integers("axes", 3)
    axes = list(range(len(starts))) if axes is None else axes
    steps = node.stated_integers("steps", 4) or [1] * len(starts)
    if not len(starts) == len(stops) == len(axes) == len(steps):
        raise ValueError(f"its {len(starts)} starts, {len(stops)} ends, {len(axes)} axes, {len(steps)} steps differ")
    if 0 in steps:
        raise ValueError("step 0 goes nowhere")
    rank = node.rank()
    for i, step in enumerate(steps):
        if step < 0:  # from the end to the start, which no number from the front says for a size that is not known
            starts[i] = None if starts[i] == -1 or _beyond(starts[i]) else starts[i]
            stops[i] = None if _beyond(stops[i], -1) else stops[i]
    primitive = program.Slice(
        dims=tuple(axis_of(axis, rank) for axis in axes), starts=tuple(starts), stops=tuple(stops), steps=tuple(steps)
    )
    return build(primitive, node.input(0))


def _beyond(bound: Dim, sign: int = 1) -> bool:
    """Whether a bound lies beyond every tensor."""
    return isinstance(bound, int) and bound * sign >= 2**31 - 1


@HANDLERS.handles("Split")
def _split(node: Node, build: Builder) -> Made:
    d = axis_of(node.get("axis", 0), node.rank())
    sizes = node.stated("split", 1)
    count = len(node.outputs)
    if not sizes:
        sizes = [-(-node.shape()[d] // (node.get("num_outputs") or count))] * count
    if len(sizes) != count:
        raise ValueError(f"it splits into {len(sizes)} parts but has {count} outputs")
    return moving.split(build, node.x, d, sizes, [(node.output(k), node.op) for k in range(count)])


@HANDLERS.handles("QLinearConcat", weights=())
@HANDLERS.handles("Concat", weights=EVERY, sort="stores")
def _concat(node: Node, build: Builder) -> Made:
    tensors = node.tensors()
    if node.op == "QLinearConcat":  # scale and zero point of the output, then tensor, scale, zero point of each
        tensors = tensors[2::3]
    return moving.concat(build, tensors, node.get("axis", 1))


@HANDLERS.handles("Gather", weights=(0,), sort="stores")
def _gather(node: Node, build: Builder) -> Made:
    return moving.taken(build, node.x, node.get("axis", 0), node.input(1))


@HANDLERS.handles("CenterCropPad")
def _center_crop_pad(node: Node, build: Builder) -> Made:
    wanted = node.stated_integers("shape", 1)
    shape = node.shape()
    dims = [axis_of(axis, len(shape)) for axis in node.get("axes") or range(len(shape))]
    if wanted is None or len(wanted) != len(dims):
        raise ValueError(f"shape {wanted} does not have one entry for each of its {len(dims)} axes")
    amounts: list[tuple[Dim, Dim]] = [(0, 0)] * len(shape)
    for d, size in zip(dims, wanted, strict=True):
        change = size - whole_number("shape", shape[d])
        first = change // 2 if change >= 0 else -(-change // 2)
        amounts[d] = (first, change - first)
    return build(program.Pad(amounts=tuple(amounts)), node.input(0))


# Numbering.


@HANDLERS.handles("Reshape")
def _reshape(node: Node, build: Builder) -> Made:
    wanted, shape = node.required("shape", 1), node.x.shape
    sizes: list[Dim] = []
    for d, size in enumerate(wanted):
        if size == 0 and not node.get("allowzero"):
            if shape is None:
                raise UnspelledError("it copies a size that is not known")
            if d >= len(shape):
                raise ValueError(f"shape {wanted} copies dimension {d} of a tensor of {len(shape)}")
            size = shape[d]
        sizes.append(size)
    return build(program.Reshape(shape=completed(sizes, shape, node.name)), node.input(0))


@HANDLERS.handles("Flatten")
def _flatten(node: Node, build: Builder) -> Made:
    shape = node.shape()
    axis = node.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return build(program.Reshape(shape=(product(shape[:axis]), product(shape[axis:]))), node.input(0))


@HANDLERS.handles("Transpose")
def _transpose(node: Node, build: Builder) -> Made:
    order = node.get("perm")
    if order is None:
        order = range(node.rank() - 1, -1, -1)
    return build(program.Transpose(permutation=tuple(order)), node.input(0))


# Constants, and what is known from shapes.


@HANDLERS.handles("Constant")
def _constant(node: Node, build: Builder) -> Made:
    for name in ("value", "sparse_value"):
        if isinstance(stated := node.get(name), Value):
            return stated
    for name in ("value_int", "value_ints", "value_float", "value_floats"):
        if (stated := node.get(name)) is not None:
            return build.constant(stated, integer=name.startswith("value_int"), name=node.name)
    return build.weight(None, node.name)


@HANDLERS.handles("ConstantOfShape")
def _constant_of_shape(node: Node, build: Builder) -> Made:
    sizes = node.required("shape", 0)
    value = node.get("value")
    data = build.constant(Fraction(0), integer=False).data if value is None else value.data
    count = product(sizes)
    if isinstance(count, int) and data is not None and count <= (MAX_ELEMENTS if data.integer else MAX_FLOATS):
        fill = data.elements.flat[0]
        return build.constant(np.full(tuple(sizes), fill, dtype=object), integer=data.integer, name=node.name)
    fills = [1 if data is None else data.elements.flat[0]]
    return build.weight(tuple(sizes), node.name, lambda: np.full((1,) * len(sizes), fills, dtype=object))


@HANDLERS.handles("HannWindow", "HammingWindow", "BlackmanWindow")
def _window_function(node: Node, build: Builder) -> Made:
    size = node.stated("size", 0)
    return replace(build.weight(None if size is None else (size[0],), node.name), numbers=UNSEEN)


@HANDLERS.handles("MelWeightMatrix")
def _mel(node: Node, build: Builder) -> Made:
    bins, length = node.stated("num_mel_bins", 0), node.stated("dft_length", 1)
    shape = None if bins is None or length is None else (length[0] // 2 + 1, bins[0])
    return replace(build.weight(shape, node.name), numbers=UNSEEN)


@HANDLERS.handles("OneHot", weights=())
def _one_hot(node: Node, build: Builder) -> Made:
    depth = node.stated("depth", 1)
    return moving.one_hot(build, node.x, None if depth is None else depth[0], node.get("axis", -1), node.name)


# Sequences and optionals: what is in them is known while the model is read.


@HANDLERS.handles("SequenceAt", "SequenceErase", "SequenceInsert", "SequenceLength")
def _sequence_edit(node: Node, build: Builder) -> Made:
    items = node.sequence
    if node.op == "SequenceLength":
        return build.constant(len(items), name=node.name)
    place = node.stated_integers("position", 2 if node.op == "SequenceInsert" else 1)
    if node.op == "SequenceInsert":
        at = len(items) if place is None else place[0]
        return [(*items[:at], node.input(1), *items[at:])]
    at = -1 if place is None else place[0]
    if not -len(items) <= at < len(items):
        raise ValueError(f"position {at} is not one of the {len(items)} of its sequence")
    return items[at] if node.op == "SequenceAt" else [tuple(v for i, v in enumerate(items) if i != at % len(items))]


@HANDLERS.handles("SplitToSequence")
def _split_to_sequence(node: Node, build: Builder) -> Made:
    shape = node.shape()
    d = axis_of(node.get("axis", 0), len(shape))
    given = node.optional(1)
    sizes = node.stated_integers("split", 1) or [1]
    if given is None or given.shape == ():
        count = -(-whole_number("split", shape[d]) // sizes[0])
        sizes = [min(sizes[0], whole_number("split", shape[d]) - k * sizes[0]) for k in range(count)]
    if len(sizes) > MAX_ELEMENTS:
        raise UnspelledError(f"it splits into {len(sizes)} parts")
    pieces = moving.split(build, node.x, d, sizes)
    if given is None and not node.get("keepdims", 1):
        pieces = [build(program.Squeeze(dims=(d,)), piece, part=f"{k}/squeeze") for k, piece in enumerate(pieces)]
    return [tuple(pieces)]


@HANDLERS.handles("ConcatFromSequence")
def _concat_from_sequence(node: Node, build: Builder) -> Made:
    items = node.sequence
    if not items:
        raise ValueError("its sequence is empty")
    return (moving.stack if node.get("new_axis", 0) else moving.concat)(build, items, node.get("axis"))


@HANDLERS.handles("Optional", "OptionalGetElement")
def _optional(node: Node, build: Builder) -> Made:
    item = node.item(0)
    if item is None:
        raise UnspelledError("it holds nothing")
    return [item]


# Ops that one expression spells.

HANDLERS.spells(
    {
        "Expand": lambda node, build: build(program.Expand(shape=tuple(node.required("shape", 1))), node.x),
        "Tile": lambda node, build: moving.tile(
            build, node.x, [whole_number("repeats", count) for count in node.required("repeats", 1)]
        ),
        "Squeeze": lambda node, build: moving.narrowed(build, node.x, node.stated_integers("axes", 1)),
        "Unsqueeze": lambda node, build: moving.widened(
            build, node.x, [whole_number("axes", axis) for axis in node.required("axes", 1)]
        ),
        "Range": lambda node, build: arange(build, [node.input(i) for i in range(3)], node.name),
        ("RandomNormal", "RandomUniform"): lambda node, build: build.weight(tuple(node.get("shape", ())), node.name),
        ("RandomNormalLike", "RandomUniformLike"): lambda node, build: build.weight(node.x.shape, node.name),
        "EyeLike": lambda node, build: replace(build.weight(node.x.shape, node.name), numbers=UNSEEN),
        "SequenceConstruct": lambda node, build: [tuple(node.tensors())],
        "SequenceEmpty": lambda node, build: [()],
        "OptionalHasElement": lambda node, build: build.constant(int(node.item(0) is not None), name=node.name),
        "Shape": lambda node, build: moving.shape_constant(
            build, None if node.x.shape is None else node.x.shape[node.get("start", 0) : node.get("end")], node.name
        ),
        "Size": lambda node, build: (
            build.weight((), node.name)
            if node.x.shape is None
            else build.constant(product(node.x.shape), name=node.name)
        ),
    }
)
