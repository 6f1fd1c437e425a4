"""TensorFlow ops spelt with the primitives of the tensor program: functions, reductions, products, moves, constants."""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Shape, Value, broadcast, completed, product, unknown
from rfgraph.importers.spelling import UnspelledError, axes_of, moving, operations, products, shape_of, vocabulary
from rfgraph.importers.spelling.handlers import by_op
from rfgraph.importers.tensorflow import windows as tensorflow_windows  # noqa: F401  handlers register
from rfgraph.importers.tensorflow.nodes import BOOL, FLOATS, HANDLERS, Item, Made, Node, Rows, with_range
from rfgraph.importers.tensorflow.windows import layout_of

# Functions of one element.

UNARY = vocabulary.names("tensorflow", vocabulary.UNARY)

#: What passes its tensor on, under a name of its own.
PASSING = ("Identity", "StopGradient", "Snapshot", "EnsureShape", "RefIdentity", "XlaSharding", "Print", "_Retval")

SEVERAL = vocabulary.names("tensorflow", vocabulary.SEVERAL)


BIASES = ("BiasAdd", "BiasAddV1")


@HANDLERS.handles("MatrixBandPart")
def _band(node: Node, build: Builder) -> Made:
    below, above = (None if (data := node.input(i).data) is None else data.elements.flat[0] for i in (1, 2))
    if not isinstance(below, int) or not isinstance(above, int):
        return build(program.Pointwise(function="trilu"), node.input(0))
    return moving.band(build, node.input(0), None if below < 0 else below, None if above < 0 else above)


@HANDLERS.handles(*BIASES, weights=(1,))
@HANDLERS.handles(*(op for op in UNARY if op not in (*BIASES, "MatrixBandPart")))
def _unary(node: Node, build: Builder) -> Made:
    output = build(program.Pointwise(function=UNARY[node.op]), node.input(0))
    if node.op in ("BiasAdd", "BiasAddV1") and not (bias := node.input(1)).constant:
        last = node.op == "BiasAddV1" or layout_of(node, 2).channel == 3
        if not last:
            bias = build(program.Unsqueeze(dims=tuple(range(1, node.rank() - 1))), bias, part="channels")
        return build(program.Pointwise(function="add"), output, bias, part="add")
    return output


@HANDLERS.handles("IdentityN", "ShapeN")
def _each(node: Node, build: Builder) -> Made:
    outputs: list[Item] = []
    for k, value in enumerate(node.tensors()):
        build.at(node.output(k), node.op)
        outputs.append(
            build(program.Pointwise(function="identity"), value)
            if node.op == "IdentityN"
            else moving.shape_constant(build, value.shape, node.output(k))
        )
    return outputs


#: Those of which a constant is learned, in either place: a bias, a scale.
SCALES = ("Add", "AddV2", "Mul")


@HANDLERS.handles("Prelu", weights=(1,))
@HANDLERS.handles(*SCALES, weights=(0, 1))
@HANDLERS.handles(*(op for op in SEVERAL if op not in (*SCALES, "Prelu")))
def _several(node: Node, build: Builder) -> Made:
    return build(program.Pointwise(function=SEVERAL[node.op]), *node.tensors())


@HANDLERS.handles("FloorDiv")
def _floor_div(node: Node, build: Builder) -> Made:
    a, b = node.input(0), node.input(1)
    if not a.constant or not b.constant:
        return build(program.Pointwise(function="floor_div"), a, b)
    # Constants divide towards zero; a less its remainder divides exactly.
    rest = build(program.Pointwise(function="mod"), a, b)
    return build(program.Pointwise(function="div"), build(program.Pointwise(function="sub"), a, rest), b)


@HANDLERS.handles("Cast")
def _cast(node: Node, build: Builder) -> Made:
    to = node.number("DstT", 0)
    function = "to_float" if to in FLOATS else "to_bool" if to == BOOL else "to_integer"
    return build(program.Pointwise(function=function), node.input(0))


@HANDLERS.handles("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", weights=(1, 2))
def _batch_norm(node: Node, build: Builder) -> Made:
    if not node.flag("is_training", True):
        return [build(program.Pointwise(function="batch_norm"), node.input(0))]
    channel = layout_of(node, node.rank() - 2).channel
    dims = tuple(d for d in range(node.rank()) if d != channel)
    return [build(program.Mix(function="instance_norm", dims=dims), node.input(0))]


@HANDLERS.handles("BatchNormWithGlobalNormalization", weights=(3, 4))
def _old_batch_norm(node: Node, build: Builder) -> Made:
    return build(program.Pointwise(function="batch_norm"), node.input(0))


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("tensorflow", vocabulary.REDUCTIONS)


@HANDLERS.handles("SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits")
def _cross_entropy(node: Node, build: Builder) -> Made:
    mixed = build(program.Mix(function="softmax", dims=(1,)), node.input(0), part="softmax")
    loss = build(program.Reduce(function="sum", dims=(1,), keepdims=False), mixed, part="loss")
    labels = node.input(1)
    if not labels.constant:
        if len(shape_of(labels)) == 2:
            labels = build(program.Reduce(function="sum", dims=(1,), keepdims=False), labels, part="labels")
        loss = build(program.Pointwise(function="add"), loss, labels)
    return [loss]


@HANDLERS.handles("TopKV2", "TopK")
def _top_k(node: Node, build: Builder) -> Made:
    count: Dim = node.number("k") if node.op == "TopK" else node.numbers("k", 1)[0]
    return operations.largest(build, node.x, -1, count)


@HANDLERS.handles("Unique", "UniqueV2")
def _unique(node: Node, build: Builder) -> Made:
    shapes = (unknown(f"{node.name}.count"),), node.shape()
    return _selected(node, build, [shapes[0], shapes[1]] if node.rank() == 1 else [None, None])


@HANDLERS.handles("Bincount", "DenseBincount", "HistogramFixedWidth")
def _counted(node: Node, build: Builder) -> Made:
    bins = node.numbers("number of bins", 2 if node.op.startswith("Histogram") else 1)[:1]
    whole = node.op != "DenseBincount" or node.rank() == 1
    return _selected(node, build, [tuple(bins) if whole else None])


@HANDLERS.handles("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4",
                  "NonMaxSuppressionV5")  # fmt: skip
def _suppressed(node: Node, build: Builder) -> Made:
    rows: list[Shape | None] = [(unknown(f"{node.name}.count"),)]
    more: dict[str, list[Shape | None]] = {"NonMaxSuppressionV4": [()], "NonMaxSuppressionV5": [rows[0], ()]}
    return _selected(node, build, [*rows, *more.get(node.op, [])])


@HANDLERS.handles("CombinedNonMaxSuppression")
def _combined(node: Node, build: Builder) -> Made:
    batch, rows = node.shape()[0], unknown(f"{node.name}.count")
    return _selected(node, build, [(batch, rows, 4), (batch, rows), (batch, rows), (batch,)])


def _selected(node: Node, build: Builder, shapes: Sequence[Shape | None]) -> list[Value]:
    """Return what is selected by contents: all of it depends on all of the input."""
    rows = []
    for (name, op), shape in zip(node.outputs(len(shapes)), shapes, strict=True):
        build.at(name, op)
        rows.append(build(program.Whole(shape=shape), *node.tensors()))
    return rows


# Products.


@HANDLERS.handles("_FusedMatMul", weights=(1, 2))
@HANDLERS.handles("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "SparseMatMul", "QuantizedMatMul",
                  weights=(0, 1))  # fmt: skip
def _matmul(node: Node, build: Builder) -> Made:
    turned = node.flag("adj_x") or node.flag("transpose_a"), node.flag("adj_y") or node.flag("transpose_b")
    fused = node.get("fused_ops") if node.op == "_FusedMatMul" else None
    product = products.product(build, node.input(0), node.input(1), turned, part="product" if fused else "")
    if not fused:
        return with_range(node, build, product)
    added = [value for value in node.tensors(2) if not value.constant]
    return build(program.Pointwise(function="add" if added else "elementwise"), product, *added)


@HANDLERS.handles("Einsum", weights=(0, 1))
def _einsum(node: Node, build: Builder) -> Made:
    return products.summed(build, node.text("equation"), node.tensors())


# Elements moved, dropped, added.


@HANDLERS.handles("Pad", "PadV2", "MirrorPad")
def _pad(node: Node, build: Builder) -> Made:
    mode = node.text("mode", "REFLECT") if node.op == "MirrorPad" else "CONSTANT"
    return moving.mirror_pad(build, node.input(0), node.pairs("paddings", 1), mode)


MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


@HANDLERS.handles("StridedSlice")
def _strided_slice(node: Node, build: Builder) -> Made:
    masks = {name: node.number(name, 0) for name in MASKS}
    begin, end = _bounds(node, 1, masks, "begin_mask"), _bounds(node, 2, masks, "end_mask")
    return moving.strided_slice(build, node.input(0), begin, end, node.integers("strides", 3), **masks)


def _bounds(node: Node, i: int, masks: dict[str, int], mask: str) -> Sequence[Dim]:
    value = node.input(i)
    count = None if value.shape is None or len(value.shape) != 1 else value.shape[0]
    if value.data is None and isinstance(count, int) and 0 < count <= 64 and masks[mask] + 1 == 1 << count:
        return [0] * count  # none of them is looked at
    return node.amounts(mask.partition("_")[0], i)


@HANDLERS.handles("Split")
def _split(node: Node, build: Builder) -> Made:
    count = node.number("num_split")
    return moving.split(build, node.input(1), node.integer("axis", 0), count, node.outputs(min(count, 1 << 16)))


@HANDLERS.handles("SplitV")
def _split_v(node: Node, build: Builder) -> Made:
    sizes = node.sizes("sizes", 1)
    return moving.split(build, node.input(0), node.integer("axis", 2), sizes, node.outputs(len(sizes)))


@HANDLERS.handles("Unpack")
def _unpack(node: Node, build: Builder) -> Made:
    count = node.number("num")
    return moving.unstack(build, node.input(0), node.number("axis", 0), count, node.outputs(min(count, 1 << 16)))


@HANDLERS.handles("ConcatV2", "Concat", "QuantizedConcat")
def _concat(node: Node, build: Builder) -> Made:
    if node.op == "ConcatV2":
        tensors, place = node.tensors(0, -1), -1
    elif node.op == "Concat":
        tensors, place = node.tensors(1), 0
    else:  # axis, tensors, and the least and greatest of each
        tensors, place = node.tensors(1, 1 + node.number("N")), 0
    return with_range(node, build, moving.concat(build, tensors, node.integer("axis", place)))


@HANDLERS.handles("GatherV2", "Gather", "ResourceGather", weights=(0,))
def _gather(node: Node, build: Builder) -> Made:
    if node.number("batch_dims", 0):
        raise UnspelledError("its indices differ along the batch")
    return moving.taken(build, node.x, node.integer("axis", 2) if node.op == "GatherV2" else 0, node.input(1))


@HANDLERS.handles("ReverseV2", "Reverse")
def _reverse(node: Node, build: Builder) -> Made:
    stated = node.integers("axes", 1)
    flags = node.op == "Reverse"
    dims = [d for d, turned in enumerate(stated) if turned] if flags else axes_of(stated, node.rank())
    return moving.flipped(build, node.x, dims)


# Numbering.


@HANDLERS.handles("Reshape", "QuantizedReshape")
def _reshape(node: Node, build: Builder) -> Made:
    wanted = node.sizes("shape", 1)
    reshaped = build(program.Reshape(shape=completed(wanted, node.input(0).shape, node.name)), node.input(0))
    return with_range(node, build, reshaped)


# Constants, and what is known from shapes.


@HANDLERS.handles("Variable", "VariableV2", "VarHandleOp")
def _variable(node: Node, build: Builder) -> Made:
    shape = node.get("shape")
    known = isinstance(shape, tuple) and all(size >= 0 for size in shape)
    return build.weight(shape if known else None, node.name)


@HANDLERS.handles("Rank", "Size")
def _counted_shape(node: Node, build: Builder) -> Made:
    if (shape := node.x.shape) is None:
        return build.weight((), node.name)
    return build.constant(len(shape) if node.op == "Rank" else product(shape), name=node.name)


@HANDLERS.handles("ZerosLike", "OnesLike")
def _like(node: Node, build: Builder) -> Made:
    shape, integer = node.input(0).shape, node.number("T", 1) not in FLOATS
    if shape is None:
        return build.weight(None, node.name)
    return moving.filled(build, shape, build.constant(int(node.op == "OnesLike"), integer=integer), node.name)


RANDOM = (
    "RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomUniformInt",
    "StatelessRandomUniform", "StatelessRandomNormal", "StatelessTruncatedNormal", "StatelessRandomUniformV2",
    "StatelessRandomNormalV2", "StatelessTruncatedNormalV2", "Empty",
)  # fmt: skip


# Lists of tensors, as loops over the batch read and write them. Which row a turn reads is not known: rows that are
# positions are refused by the lowering, those of a batch are alike.


@HANDLERS.handles("TensorArrayV3", "TensorListReserve")
def _rows(node: Node, build: Builder) -> Made:
    count = node.input(0 if node.op == "TensorArrayV3" else 1)
    known = None if count.data is None else count.data.elements.flat[0]
    rows = Rows(None, known)
    return [build.weight(None, node.name), rows] if node.op == "TensorArrayV3" else rows


@HANDLERS.handles("TensorArrayScatterV3", "TensorListFromTensor")
def _rows_of(node: Node, build: Builder) -> Made:
    tensor = node.input(2 if node.op == "TensorArrayScatterV3" else 0)
    return Rows(tensor, shape_of(tensor)[0] if shape_of(tensor) else None)


@HANDLERS.handles("TensorArrayReadV3", "TensorListGetItem")
def _row(node: Node, build: Builder) -> Made:
    rows = node.rows(2 if node.op == "TensorArrayReadV3" else 0)
    if rows.tensor is None:
        raise UnspelledError("it reads what its loop writes")
    return build(program.Take(dim=0), rows.tensor, node.input(1))


@HANDLERS.handles("TensorArrayWriteV3", "TensorListSetItem")
def _row_written(node: Node, build: Builder) -> Made:
    rows = node.rows(3 if node.op == "TensorArrayWriteV3" else 0)
    if rows.tensor is not None:
        raise UnspelledError("it writes over a list that holds tensors")
    tensor = node.input(2)
    wide = build(program.Unsqueeze(dims=(0,)), tensor, part="row")
    count = unknown(f"{node.name}.count") if rows.count is None else rows.count
    return Rows(build(program.Expand(shape=(count, *shape_of(tensor))), wide), rows.count)


@HANDLERS.handles("TensorArrayGatherV3", "TensorListStack")
def _gathered(node: Node, build: Builder) -> Made:
    rows = node.rows(2 if node.op == "TensorArrayGatherV3" else 0)
    if rows.tensor is None:
        raise UnspelledError("nothing is known of what its loop wrote")
    return rows.tensor


@HANDLERS.handles("TensorArraySizeV3", "TensorListLength")
def _row_count(node: Node, build: Builder) -> Made:
    rows = node.rows(1 if node.op == "TensorArraySizeV3" else 0)
    return build.weight((), node.name) if rows.count is None else build.constant(rows.count, name=node.name)


# Quantised forms: what they carry of ranges are constants.

QUANTISED = {
    "QuantizedRelu": "relu", "QuantizedRelu6": "relu6", "QuantizeV2": "quantize", "Requantize": "quantize",
    "QuantizeDownAndShrinkRange": "quantize", "QuantizedBiasAdd": "bias",
}  # fmt: skip


@HANDLERS.handles("QuantizedBiasAdd", weights=(1,))
@HANDLERS.handles(*(op for op in QUANTISED if op != "QuantizedBiasAdd"))
def _quantised(node: Node, build: Builder) -> Made:
    output = build(program.Pointwise(function=QUANTISED[node.op]), node.input(0))
    return with_range(node, build, output)


@HANDLERS.handles("RequantizationRange")
def _range_of(node: Node, build: Builder) -> Made:
    # From the extremes of the whole tensor; like the statistics of a norm they are taken as constants.
    return [build.weight(()), build.weight(())]


# Ops that one expression spells.

HANDLERS.spells(
    {
        ("Enter", "RefEnter", "LoopCond", "ReadVariableOp"): lambda node, build: node.inputs[0],
        "Select": lambda node, build: operations.chosen(build, *node.tensors()[:3]),
        "AdjustContrastv2": lambda node, build: operations.mixed(build, "instance_norm", node.x, -3, -2),
        ("ArgMax", "ArgMin"): lambda node, build: operations.reduced(
            build, node.op[3:].lower(), node.x, [node.integer("dimension", 1)], keepdims=False
        ),
        ("Softmax", "LogSoftmax"): lambda node, build: operations.mixed(build, "softmax", node.x, -1),
        "L2Loss": lambda node, build: operations.reduced(build, "sum", node.x, range(node.rank()), keepdims=False),
        ("InTopKV2", "InTopK"): lambda node, build: operations.reduced(build, "any", node.x, [1], keepdims=False),
        "Where": lambda node, build: build(program.Whole(shape=(unknown(f"{node.name}.count"), node.rank())), node.x),
        "Slice": lambda node, build: moving.box(build, node.x, node.amounts("begin", 1), node.amounts("size", 2)),
        "Pack": lambda node, build: moving.stack(build, node.tensors(), node.number("axis", 0)),
        "Tile": lambda node, build: moving.tile(build, node.x, node.integers("multiples", 1)),
        "BroadcastTo": lambda node, build: build(program.Expand(shape=node.sizes("shape", 1)), node.x),
        "Roll": lambda node, build: moving.rolled(build, node.x, node.integers("axis", 2), node.integers("shift", 1)),
        "OneHot": lambda node, build: moving.one_hot(
            build, node.x, node.numbers("depth", 1)[0], node.number("axis", -1), node.name
        ),
        "Squeeze": lambda node, build: moving.narrowed(
            build, node.x, node.several("squeeze_dims") if node.get("squeeze_dims") or node.get("axis") else None
        ),
        "ExpandDims": lambda node, build: moving.widened(build, node.x, [node.integer("axis", 1)]),
        ("Transpose", "ConjugateTranspose"): lambda node, build: moving.permuted(
            build, node.x, node.integers("permutation", 1)
        ),
        ("Shape", "VariableShape"): lambda node, build: moving.shape_constant(build, node.x.shape, node.name),
        "Range": lambda node, build: moving.arange(build, node.tensors()[:3], node.name),
        "LinSpace": lambda node, build: build.weight((node.numbers("number", 2)[0],), node.name),
        "Fill": lambda node, build: moving.filled(build, node.sizes("dims", 0), node.input(1), node.name),
        "BroadcastArgs": lambda node, build: build.constant(
            [*broadcast(node.sizes("shape", 0), node.sizes("shape", 1))], name=node.name
        ),
        (*PASSING,): lambda node, build: (
            node.inputs[0]
            if node.inputs and isinstance(node.inputs[0], Rows)
            else operations.pointwise(build, "identity", node.x)
        ),
        (*REDUCTIONS,): lambda node, build: operations.reduced(
            build, REDUCTIONS[node.op], node.x, node.integers("reduction axes", 1), keepdims=node.flag("keep_dims")
        ),
        ("Cumsum", "Cumprod", "CumulativeLogsumexp"): lambda node, build: operations.cumulated(
            build, node.x, node.integer("axis", 1), backward=node.flag("reverse"), exclusive=node.flag("exclusive")
        ),
        (*RANDOM,): lambda node, build: build.weight(
            None if node.x.data is None else tuple(node.x.data.elements.flat), node.name
        ),
        ("QuantizedAdd", "QuantizedMul"): lambda node, build: with_range(
            node,
            build,
            operations.pointwise(build, "add" if node.op == "QuantizedAdd" else "mul", node.x, node.input(1)),
        ),
    }
)

# What is not followed, and why.

NOT_FOLLOWED = by_op({
    "its indices say which elements it reads": "GatherNd ResourceGatherNd",
    "its indices say which elements it writes": "ScatterNd TensorScatterUpdate TensorScatterAdd DynamicStitch",
    "it runs backward along an axis": "ReverseSequence",
    "it draws its windows by chance": "FractionalMaxPool FractionalAvgPool",
    "its transform says where it reads": "ImageProjectiveTransformV2 ImageProjectiveTransformV3",
    "its offsets say where it reads": "ExtractGlimpse",
})  # fmt: skip


@HANDLERS.handles(*NOT_FOLLOWED)
def _not_followed(node: Node, build: Builder) -> Made:
    if all(value.constant for value in node.tensors()):
        return build.weight(None, node.name)
    raise UnspelledError(NOT_FOLLOWED[node.op])
