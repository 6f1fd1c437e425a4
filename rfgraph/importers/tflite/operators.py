"""TFLite's builtin operators, spelt with the primitives of the tensor program; this module does not need tflite.

One handler per operator or family of operators, under its name in the schema's ``BuiltinOperator``. A handler gets the
node and the builder, and returns the values of the node's outputs, as many as it follows. Images lie as [batch, y, x,
channels], weights of convolutions as [out, y, x, in]. A quantised operator reads what its float twin reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Shape, Value, broadcast, completed, product, text
from rfgraph.importers.spelling import Handlers, UnspelledError, moving, operations, products, vocabulary
from rfgraph.importers.spelling import Node as Base
from rfgraph.importers.spelling.arguments import axes_of, axis_of, shape_of, whole_number
from rfgraph.importers.spelling.moving import arange
from rfgraph.importers.spelling.operations import pointwise, transposed_crop, weighted

Made: TypeAlias = "Value | Sequence[Value]"


@dataclass(frozen=True)
class Output:
    """What the file says of a tensor that a node makes."""

    name: str
    shape: Shape | None
    kind: str  # "float", "integer", "bool", or another


@dataclass(frozen=True)
class Node(Base):
    """One operator of a TFLite graph; its options under their names in the schema, such as ``StrideW``."""

    options: Mapping[str, Any]
    outputs: tuple[Output, ...]
    #: Whether the model is read for other sizes than it was made for: sizes that it states may be wrong then.
    resized: bool = False

    def option(self, name: str) -> Any:
        """Return an option of its table."""
        if name not in self.options:
            raise ValueError(f"its options have no {name}")
        return self.options[name]

    def setting(self, name: str) -> int:
        """Return an option that is an integer."""
        return int(self.option(name))

    @property
    def names(self) -> list[tuple[str, str]]:
        """What its outputs are called, each with the op."""
        return [(output.name, self.op) for output in self.outputs]


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("TFLite")

# Functions of one element, and of several tensors.

UNARY = vocabulary.names("tflite", vocabulary.UNARY)
SEVERAL = vocabulary.names("tflite", vocabulary.SEVERAL)


@HANDLERS.handles("FLOOR_DIV")
def _floor_div(node: Node, build: Builder) -> Made:
    a, b = node.input(0), node.input(1)
    if not (a.constant and b.constant):
        return build(program.Pointwise(function="div"), a, b)
    whole = all(value.data is not None and value.data.integer for value in (a, b))
    return operations.floor_divided(build, a, b, whole=whole)


@HANDLERS.handles("CAST")
def _cast(node: Node, build: Builder) -> Made:
    function = {"float": "to_float", "integer": "to_integer", "bool": "to_bool"}.get(node.outputs[0].kind, "cast")
    return build(program.Pointwise(function=function), node.x)


# Windows. The enumeration ``Padding`` of the schema.

SAME, VALID = 0, 1

#: Options of windows, by axis: the first is that of x alone, and so on.
STRIDES, DILATIONS = ("StrideD", "StrideH", "StrideW"), ("DilationDFactor", "DilationHFactor", "DilationWFactor")


def _entries(node: Node, names: Sequence[str], axes: int) -> tuple[int, ...]:
    entries = tuple(node.setting(name) for name in names[3 - axes :])
    if any(entry < 1 for entry in entries):
        raise ValueError(f"{', '.join(names[3 - axes :])} are {list(entries)}, not positive")
    return entries


def _padding(node: Node, axes: int) -> program.Paddings:
    how = node.setting("Padding")
    if how not in (SAME, VALID):
        raise ValueError(f"Padding {how} is neither SAME (0) nor VALID (1)")
    return "same_upper" if how == SAME else ((0, 0),) * axes


def _images(node: Node, i: int, axes: int) -> tuple[int, ...]:
    """Return the spatial dimensions of input ``i``, once it is known to have a batch and channels besides."""
    if node.rank(i) != axes + 2:
        raise ValueError(f"its input has {node.rank(i)} dimensions, not {axes + 2}")
    return tuple(range(1, 1 + axes))


def _kernel(sizes: Sequence[Dim]) -> tuple[int, ...]:
    return tuple(whole_number("kernel", size) for size in sizes)


@HANDLERS.handles("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D")
def _conv(node: Node, build: Builder) -> Made:
    axes = 3 if node.op == "CONV_3D" else 2
    dims = _images(node, 0, axes)
    weight = node.shape(1)
    if len(weight) != axes + 2:
        raise ValueError(f"its weight has shape {text(weight)}, not {axes + 2} dimensions")
    if node.op == "CONV_2D":
        kernel, channels, inside = weight[1:3], weight[0], weight[3]
    elif node.op == "CONV_3D":
        kernel, channels, inside = weight[:3], weight[4], weight[3]
    else:
        kernel, channels, inside = weight[1:3], weight[3], 1
    before = node.shape()[-1]
    taps = (0, 1, 2) if axes == 3 else (1, 2)
    places = (4,) if axes == 3 else (0,) if node.op == "CONV_2D" else (3,)
    several = isinstance(before, int) and isinstance(inside, int) and inside > 0 and before % inside == 0
    primitive = program.Slide(
        function="conv", dims=dims, kernel=_kernel(kernel), stride=_entries(node, STRIDES, axes),
        padding=_padding(node, axes), dilation=_entries(node, DILATIONS, axes), channel=axes + 1, channels=channels,
        groups=before // inside if several else 1,  # type: ignore[operator, arg-type]
        apart=build.apart(node.input(1), taps, places), bound=build.bound(node.input(1), taps),
    )  # fmt: skip
    return weighted(build, build(primitive, node.x), node.input(1))


@HANDLERS.handles("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE")
def _transpose_conv(node: Node, build: Builder) -> Made:
    axes = 2 if node.op == "TRANSPOSE_CONV" else 3
    weight, wanted = node.shape(1), node.sizes("output shape", 0)
    if len(weight) != axes + 2 or len(wanted) != axes + 2:
        raise ValueError(f"weight {text(weight)} and output shape {text(wanted)} do not have {axes + 2} entries each")
    kernel, channels = (weight[1:3], weight[0]) if axes == 2 else (weight[:3], weight[3])
    dilation = _entries(node, DILATIONS, axes) if axes == 3 else (1,) * axes
    how = "SAME" if _padding(node, axes) == "same_upper" else "VALID"
    return _transposed(build, node.input(2), node.input(1), wanted, kernel, _entries(node, STRIDES, axes), how,
                       channels, dilation)  # fmt: skip


def _transposed(
    build: Builder, x: Value, weight: Value, wanted: Shape, kernel: Sequence[Dim], stride: Sequence[int], how: str,
    channels: Dim, dilation: Sequence[int] = (1, 1),
) -> Value:  # fmt: skip
    """Return a transposed convolution that makes what is ``wanted``, which says what it crops."""
    axes, sizes, taps = len(kernel), shape_of(x), _kernel(kernel)
    if len(sizes) != axes + 2:
        raise ValueError(f"its input has {len(sizes)} dimensions, not {axes + 2}")
    crops = [
        transposed_crop(sizes[1 + i], wanted[1 + i], (taps[i] - 1) * dilation[i] + 1, stride[i], how)
        for i in range(axes)
    ]
    primitive = program.SlideTransposed(
        dims=tuple(range(1, 1 + axes)), kernel=taps, stride=tuple(stride), padding=tuple(crops),
        output_padding=(0,) * axes, dilation=tuple(dilation), channel=axes + 1, channels=channels,
        bound=build.bound(weight, (1, 2) if axes == 2 else (0, 1, 2)),
    )  # fmt: skip
    return weighted(build, build(primitive, x), weight)


@HANDLERS.handles("Convolution2DTransposeBias")
def _transpose_conv_bias(node: Node, build: Builder) -> Made:
    """MediaPipe's transposed convolution, which crops so that its output has the size that the file states."""
    weight, wanted, bias = node.shape(1), node.outputs[0].shape, node.optional(2)
    if wanted is None or len(wanted) != 4 or len(weight) != 4:
        raise UnspelledError("the shapes of its weight and of its output are not both of four sizes")
    how = {1: "SAME", 2: "VALID"}.get(node.setting("Padding"))  # as the runtime's own enumeration counts
    if how is None:
        raise ValueError(f"padding {node.setting('Padding')} is neither SAME (1) nor VALID (2)")
    convolved = _transposed(
        build, node.x, node.input(1), wanted, weight[1:3], _entries(node, STRIDES, 2), how, weight[0]
    )
    return operations.with_bias(build, convolved, bias)


#: Custom operators whose options are integers of 32 bits in a row -> what these are.
CUSTOM_OPTIONS = {"Convolution2DTransposeBias": ("Padding", "StrideW", "StrideH")}

POOLS = {"AVERAGE_POOL_2D": "avg_pool", "MAX_POOL_2D": "max_pool", "L2_POOL_2D": "lp_pool"}


@HANDLERS.handles(*POOLS)
def _pool(node: Node, build: Builder) -> Made:
    primitive = program.Slide(
        function=POOLS[node.op], dims=_images(node, 0, 2),
        kernel=_entries(node, ("", "FilterHeight", "FilterWidth"), 2),
        stride=_entries(node, STRIDES, 2), padding=_padding(node, 2), dilation=(1, 1),
    )  # fmt: skip
    return build(primitive, node.x)


@HANDLERS.handles("DILATE")
def _dilate(node: Node, build: Builder) -> Made:
    steps = node.integers("dilations", 1)
    if len(steps) != node.rank() or any(step < 1 for step in steps):
        raise ValueError(f"its dilations {steps} are not one positive number for each dimension")
    dims = tuple(d for d, step in enumerate(steps) if step > 1)
    ones = (1,) * len(dims)
    if not dims:
        return build(program.Pointwise(function="identity"), node.x)
    primitive = program.SlideTransposed(
        dims=dims, kernel=ones, stride=tuple(steps[d] for d in dims), padding=((0, 0),) * len(dims),
        output_padding=(0,) * len(dims), dilation=ones,
    )  # fmt: skip
    return build(primitive, node.x)


# Resolutions.


@HANDLERS.handles("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(node: Node, build: Builder) -> Made:
    return operations.resize(
        build, node.x, node.sizes("size", 1), "linear" if node.op == "RESIZE_BILINEAR" else "nearest",
        align_corners=bool(node.option("AlignCorners")), half_pixel_centers=bool(node.option("HalfPixelCenters")),
    )  # fmt: skip


def _block(node: Node) -> int:
    block = node.setting("BlockSize")
    if block < 1:
        raise ValueError(f"BlockSize {block} is not positive")
    return block


@HANDLERS.handles("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _exchange(node: Node, build: Builder) -> Made:
    kind = program.DepthToSpace if node.op == "DEPTH_TO_SPACE" else program.SpaceToDepth
    return build(kind(channel=3, dims=_images(node, 0, 2), blocks=(_block(node),) * 2), node.x)


@HANDLERS.handles("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
def _batch_nd(node: Node, build: Builder) -> Made:
    spelt = operations.space_to_batch if node.op == "SPACE_TO_BATCH_ND" else operations.batch_to_space
    ends = node.integers("padding", 2)
    return spelt(build, node.x, node.integers("block shape", 1), [*zip(ends[::2], ends[1::2], strict=True)])


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("tflite", vocabulary.REDUCTIONS)


@HANDLERS.handles("CUMSUM")
def _cumulative(node: Node, build: Builder) -> Made:
    backward, exclusive = bool(node.option("Reverse")), bool(node.option("Exclusive"))
    return operations.cumulated(build, node.x, node.integer("axis", 1), backward=backward, exclusive=exclusive)


@HANDLERS.handles("RFFT2D")
def _rfft2d(node: Node, build: Builder) -> Made:
    height, width = node.sizes("length", 1)
    rank = node.rank()
    total = build(program.Reduce(function="dft", dims=(rank - 2, rank - 1)), node.x, part="sum")
    return build(program.Expand(shape=(*node.shape()[:-2], height, width // 2 + 1)), total)


# Products.


@HANDLERS.handles("FULLY_CONNECTED")
def _fully_connected(node: Node, build: Builder) -> Made:
    x, weight = node.x, node.shape(1)
    if len(weight) != 2:
        raise ValueError(f"its weight has shape {text(weight)}, not 2 dimensions")
    if not node.option("KeepNumDims") and node.rank() != 2:
        shape = completed((-1, weight[1]), node.shape(), node.name)
        x = moving.reshaped(build, x, shape, resized=node.resized, part="rows")
    rows = tuple(f"b{i}" for i in range(len(shape_of(x)) - 1))
    primitive = program.Contract(operands=((*rows, "k"), ("j", "k")), output=(*rows, "j"))
    return operations.with_bias(build, build(primitive, x, node.input(1)), node.optional(2))


# Recurrences. Those over a sequence read all of it; those of one step find what came before in a state, a constant.


def _units(node: Node, i: int, d: int) -> Dim:
    weight = node.shape(i)
    if len(weight) != 2:
        raise ValueError(f"its weight {i} has shape {text(weight)}, not 2 dimensions")
    return weight[d]


def _cell(node: Node, build: Builder, x: Value, units: Dim, part: str = "") -> Value:
    rows = tuple(f"b{i}" for i in range(len(shape_of(x)) - 1))
    weight = build.weight((shape_of(x)[-1], units))
    cell = program.Contract(operands=((*rows, "c"), ("c", "h")), output=(*rows, "h"))
    return build(cell, x, weight, part=part, macs=None)  # one matrix stands for all of them


@HANDLERS.handles("LSTM", "RNN", "SVDF")
def _step(node: Node, build: Builder) -> Made:
    if node.op == "RNN":
        return _cell(node, build, node.x, _units(node, 1, 0))
    if node.op == "SVDF":
        rank = node.setting("Rank")
        if rank < 1:
            raise ValueError(f"Rank {rank} is not positive")
        return _cell(node, build, node.x, _units(node, 1, 0) // rank)
    if len(node.inputs) == 5:  # the kernel BASIC: x, activation before, weights, bias, state before
        before = [node.input(i) for i in (1, 4)]
        joined = build(program.Concat(dim=axis_of(-1, node.rank())), node.x, before[0], part="joined")
        output = _cell(node, build, joined, node.shape(1)[-1], "" if before[1].constant else "gates")
        if not before[1].constant:
            output = build(program.Pointwise(function="add"), output, before[1])
        return output, output
    return _cell(node, build, node.x, _units(node, 6, 1))


#: The inputs that say how many units there are, forward and backward, and which dimension of theirs does.
SEQUENCES = {
    "UNIDIRECTIONAL_SEQUENCE_RNN": ((1,), 0), "BIDIRECTIONAL_SEQUENCE_RNN": ((1, 4), 0),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ((6,), 1), "BIDIRECTIONAL_SEQUENCE_LSTM": ((6, 23), 1),
}  # fmt: skip


@HANDLERS.handles(*SEQUENCES)
def _sequence(node: Node, build: Builder) -> Made:
    weights, d = SEQUENCES[node.op]
    if node.rank() != 3:
        raise ValueError(f"its input has {node.rank()} dimensions, not 3")
    time = 0 if node.option("TimeMajor") else 1
    units = [_units(node, i, d) for i in weights]
    ways: list[program.Direction] = ["forward", "backward"]
    if len(units) == 2 and node.option("MergeOutputs"):
        units, ways = [units[0] + units[1]], ["both"]
    outputs = []
    for k in reversed(range(len(units))):  # what the first output is made of comes last
        mix = program.Mix(function="recurrent", dims=(time,), direction=ways[k])
        mixed = build(mix, node.x, part="reversed" if k else "")
        outputs.append(_cell(node, build, mixed, units[k], "backward" if k else "cell"))
    return outputs[::-1]


# Elements moved, dropped, added.


@HANDLERS.handles("PAD", "PADV2", "MIRROR_PAD")
def _pad(node: Node, build: Builder) -> Made:
    mode = ("REFLECT", "SYMMETRIC")[node.setting("Mode")] if node.op == "MIRROR_PAD" else "CONSTANT"
    return moving.mirror_pad(build, node.x, node.pairs("paddings", 1), mode)


MASKS = {
    "begin_mask": "BeginMask", "end_mask": "EndMask", "ellipsis_mask": "EllipsisMask", "new_axis_mask": "NewAxisMask",
    "shrink_axis_mask": "ShrinkAxisMask",
}  # fmt: skip


@HANDLERS.handles("STRIDED_SLICE")
def _strided_slice(node: Node, build: Builder) -> Made:
    begin, end = node.sizes("begin", 1), node.sizes("end", 2)
    if node.options.get("Offset"):  # its ends are counted from where it begins
        end = tuple(start + length for start, length in zip(begin, end, strict=True))
    masks = {mask: node.setting(name) for mask, name in MASKS.items()}
    return moving.strided_slice(build, node.x, begin, end, node.integers("strides", 3), **masks)


@HANDLERS.handles("SPLIT", "SPLIT_V")
def _split(node: Node, build: Builder) -> Made:
    if node.op == "SPLIT":
        return moving.split(build, node.input(1), node.integer("axis", 0), len(node.outputs), node.names)
    sizes = node.sizes("sizes", 1)
    if len(sizes) != len(node.outputs):
        raise ValueError(f"it splits into {len(sizes)} parts but has {len(node.outputs)} outputs")
    return moving.split(build, node.x, node.integer("axis", 2), sizes, node.names)


@HANDLERS.handles("GATHER")
def _gather(node: Node, build: Builder) -> Made:
    if node.setting("BatchDims"):
        raise UnspelledError("its indices say which elements it reads, other ones in each batch")
    return moving.taken(build, node.x, node.setting("Axis"), node.input(1))


# Numbering.


@HANDLERS.handles("RESHAPE")
def _reshape(node: Node, build: Builder) -> Made:
    wanted: Sequence[Dim] = node.sizes("shape", 1) if node.optional(1) is not None else node.option("NewShape")
    if [*wanted] == [0] and product(node.shape()) == 1:
        wanted = []  # how old files write the shape of a scalar
    return moving.reshaped(build, node.x, completed(wanted, node.shape(), node.name), resized=node.resized)


@HANDLERS.handles("SQUEEZE")
def _squeeze(node: Node, build: Builder) -> Made:
    shape = node.shape()
    given = {axis_of(d, len(shape)) for d in node.option("SqueezeDims")}
    dims = given or {d for d, size in enumerate(shape) if size == 1}
    if any(isinstance(shape[d], int) and shape[d] != 1 for d in dims):
        raise ValueError(f"dimensions {sorted(dims)} of shape {text(shape)} are not all of size 1")
    return build(program.Squeeze(dims=tuple(sorted(dims))), node.x)


# Constants, and what is known from shapes.


# Ops that one expression spells.

HANDLERS.spells(
    {
        (*UNARY,): lambda node, build: pointwise(build, UNARY[node.op], node.x),
        (*SEVERAL,): lambda node, build: pointwise(build, SEVERAL[node.op], *node.tensors()),
        "SELECT": lambda node, build: operations.chosen(build, node.x, node.input(1), node.input(2)),
        ("ARG_MAX", "ARG_MIN"): lambda node, build: operations.reduced(
            build, node.op[4:].lower(), node.x, [node.integer("axis", 1)], keepdims=False
        ),
        ("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"): lambda node, build: operations.mixed(
            build, "layer_norm" if node.op == "L2_NORMALIZATION" else "softmax", node.x, -1
        ),
        "TOPK_V2": lambda node, build: operations.largest(build, node.x, -1, node.sizes("k", 1)[0]),
        "BATCH_MATMUL": lambda node, build: products.product(
            build, node.x, node.input(1), (node.option("AdjX"), node.option("AdjY"))
        ),
        "SLICE": lambda node, build: moving.box(build, node.x, node.sizes("begin", 1), node.sizes("size", 2)),
        "UNPACK": lambda node, build: moving.unstack(
            build, node.x, node.setting("Axis"), len(node.outputs), node.names
        ),
        "CONCATENATION": lambda node, build: moving.concat(build, node.tensors(), node.setting("Axis")),
        "PACK": lambda node, build: moving.stack(build, node.tensors(), node.setting("Axis")),
        "EMBEDDING_LOOKUP": lambda node, build: build(program.Take(dim=0), node.input(1), node.x),
        "TILE": lambda node, build: moving.tile(build, node.x, node.integers("multiples", 1)),
        "BROADCAST_TO": lambda node, build: build(program.Expand(shape=tuple(node.sizes("shape", 1))), node.x),
        "REVERSE_V2": lambda node, build: moving.flipped(build, node.x, axes_of(node.integers("axes", 1), node.rank())),
        "EXPAND_DIMS": lambda node, build: moving.widened(build, node.x, [node.integer("axis", 1)]),
        "TRANSPOSE": lambda node, build: moving.permuted(build, node.x, node.integers("permutation", 1)),
        "SHAPE": lambda node, build: moving.shape_constant(build, node.x.shape, node.name),
        "RANK": lambda node, build: build.constant(node.rank(), name=node.name),
        "BROADCAST_ARGS": lambda node, build: build.constant(
            [*broadcast(node.sizes("shapes", 0), node.sizes("shapes", 1))], name=node.name
        ),
        "FILL": lambda node, build: moving.filled(build, node.sizes("shape", 0), node.input(1), node.name),
        "RANGE": lambda node, build: arange(build, [node.input(i) for i in range(3)], node.name),
        "ZEROS_LIKE": lambda node, build: build.weight(node.x.shape, node.name),
        ("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM"): lambda node, build: build.weight(
            tuple(node.sizes("shape", 0)), node.name
        ),
        "ONE_HOT": lambda node, build: moving.one_hot(
            build, node.x, node.sizes("depth", 1)[0], node.setting("Axis"), node.name
        ),
        (*REDUCTIONS,): lambda node, build: operations.reduced(
            build, REDUCTIONS[node.op], node.x, node.integers("axes", 1), keepdims=bool(node.option("KeepDims"))
        ),
        ("WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "MULTINOMIAL"): lambda node, build: (
            moving.read_all(build, node.tensors(), node.names)
        ),
    }
)

# What reads all of its input, or is not followed, and why.


NOT_FOLLOWED = HANDLERS.refuses({
    "it reads its elements as another type": "BITCAST",
    "its indices say which rows it reads":
        "CONCAT_EMBEDDINGS EMBEDDING_LOOKUP_SPARSE UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN",
    "it writes part of a tensor": "DYNAMIC_UPDATE_SLICE MATRIX_SET_DIAG",
    "its indices say which elements it reads": "GATHER_ND",
    "it looks its input up in a table": "HASHTABLE_FIND HASHTABLE_LOOKUP",
    "it hashes its input": "LSH_PROJECTION",
    "it lays a row out as a diagonal": "MATRIX_DIAG",
    "what it computes of each window is a graph of its own": "REDUCE_WINDOW",
    "it runs backward along an axis": "REVERSE_SEQUENCE",
    "its indices say which elements it writes": "SCATTER_ND SPARSE_TO_DENSE",
    "its indices say which rows it adds": "SEGMENT_SUM UNSORTED_SEGMENT_SUM",
    "it reads text": "SKIP_GRAM",
    "its indices say which rows it multiplies": "UNSORTED_SEGMENT_PROD",
})  # fmt: skip
