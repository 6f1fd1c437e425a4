"""PyTorch's operators on matrices and pairs of vectors, and losses."""

from __future__ import annotations

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Value, broadcast
from rfgraph.importers.spelling import UnspelledError, moving, operations, products, shape_of, whole_number
from rfgraph.importers.spelling.operations import pointwise
from rfgraph.importers.torch.moves import reshaped
from rfgraph.importers.torch.nodes import HANDLERS, Made, Node


@HANDLERS.handles("cdist", "_cdist_forward", "_euclidean_dist")
def _distances(node: Node, build: Builder) -> Made:
    """Distances of all pairs of vectors: each reads one of either, as a product does."""
    a, b = node.tensors()[:2]
    batch = [f"b{i}" for i in range(max(len(shape_of(a)), len(shape_of(b))) - 2)]
    operands = tuple((*batch[len(batch) + 2 - len(shape_of(x)) :], row, "k") for x, row in ((a, "i"), (b, "j")))
    return build(program.Contract(operands=operands, output=(*batch, "i", "j")), a, b)


@HANDLERS.handles("pairwise_distance", "cosine_similarity")
def _similarity(node: Node, build: Builder) -> Made:
    a, b = node.tensors()[:2]
    rank = len(broadcast(shape_of(a), shape_of(b)))
    d = node.dim(default=1, rank=rank) if node.op == "cosine_similarity" else rank - 1
    keep = bool(node.get("keepdim", False))
    both = build(program.Pointwise(function="mul"), a, b, part="both")
    return build(program.Reduce(function="sum", dims=(d,), keepdims=keep), both)


@HANDLERS.handles("linalg_cross")
def _cross(node: Node, build: Builder) -> Made:
    d = node.dim(default=-1)
    both = build(program.Pointwise(function="mul"), *node.tensors()[:2], part="both")
    return build(program.Mix(function="cross", dims=(d,)), both)


@HANDLERS.handles("linalg_inv", "matrix_exp", "linalg_cholesky", "linalg_pinv")
def _of_a_matrix(node: Node, build: Builder) -> Made:
    """A function of each matrix: every element may read all of it."""
    if node.op == "linalg_pinv" and node.shape[-1] != node.shape[-2]:
        raise UnspelledError("its matrices are not square")
    return build(program.Mix(function="attention", dims=(node.rank - 2, node.rank - 1)), node.x)


@HANDLERS.handles("linalg_det", "linalg_slogdet", "logdet")
def _determinant(node: Node, build: Builder) -> Made:
    dims = (node.rank - 2, node.rank - 1)
    diagonal = build(program.Reduce(function="at", dims=dims, keepdims=False), node.x)
    return [diagonal, diagonal] if node.op == "linalg_slogdet" else diagonal


@HANDLERS.handles("linalg_norm", "linalg_matrix_norm")
def _norm(node: Node, build: Builder) -> Made:
    last_two = node.op == "linalg_matrix_norm" and node.get("dim") is None
    axes, keepdims = (-2, -1) if last_two else node.dims(), bool(node.get("keepdim", False))
    return operations.reduced(build, "l2", node.x, axes, keepdims=keepdims)


@HANDLERS.handles("tensordot")
def _tensordot(node: Node, build: Builder) -> Made:
    a, b = node.tensor("self"), node.tensor("other")
    sides = []
    for value, name, letter in ((a, "dims_self", "a"), (b, "dims_other", "b")):
        labels = [f"{letter}{d}" for d in range(len(shape_of(value)))]
        for k, d in enumerate(node.sizes(name)):
            labels[whole_number(name, d)] = f"k{k}"
        sides.append(tuple(labels))
    output = tuple(label for labels in sides for label in labels if label[0] != "k")
    return build(program.Contract(operands=(sides[0], sides[1]), output=output), a, b)


@HANDLERS.handles("inner")
def _inner(node: Node, build: Builder) -> Made:
    a, b = node.tensors()[:2]
    rows = tuple(f"a{d}" for d in range(len(shape_of(a)) - 1))
    columns = tuple(f"b{d}" for d in range(len(shape_of(b)) - 1))
    return build(program.Contract(operands=((*rows, "k"), (*columns, "k")), output=(*rows, *columns)), a, b)


@HANDLERS.handles("linalg_multi_dot", "chain_matmul")
def _chain(node: Node, build: Builder) -> Made:
    name = "tensors" if node.op == "linalg_multi_dot" else "matrices"
    first, *rest = node.list(name)
    for k, matrix in enumerate(rest):
        first = products.product(build, first, matrix, part=str(k) if k < len(rest) - 1 else "")
    return first


@HANDLERS.handles("bilinear")
def _bilinear(node: Node, build: Builder) -> Made:
    a, b, weight = node.tensors()[:3]
    rows = tuple(f"b{i}" for i in range(len(shape_of(a)) - 1))
    first = program.Contract(operands=((*rows, "i"), ("o", "i", "j")), output=(*rows, "o", "j"))
    wide = build(first, a, weight, part="first")
    return build(program.Contract(operands=((*rows, "o", "j"), (*rows, "j")), output=(*rows, "o")), wide, b)


@HANDLERS.handles("broadcast_tensors")
def _broadcast(node: Node, build: Builder) -> Made:
    tensors = node.list("tensors")
    shape: tuple[Dim, ...] = ()
    for tensor in tensors:
        shape = broadcast(shape, shape_of(tensor))
    return [
        tensor if tensor.shape == shape else build(program.Expand(shape=shape), tensor, part=str(k))
        for k, tensor in enumerate(tensors)
    ]


@HANDLERS.handles("meshgrid")
def _meshgrid(node: Node, build: Builder) -> Made:
    tensors = node.list("tensors")
    lengths = [shape_of(tensor)[0] if tensor.shape else 1 for tensor in tensors]
    order = list(range(len(tensors)))
    if node.get("indexing", "ij") == "xy" and len(tensors) > 1:
        order[:2] = [1, 0]
    shape = tuple(lengths[i] for i in order)
    grids = []
    for k, tensor in enumerate(tensors):
        own = tuple(lengths[k] if i == k else 1 for i in order)
        laid = build(program.Reshape(shape=own), tensor, part=f"laid/{k}")
        grids.append(build(program.Expand(shape=shape), laid, part=str(k)))
    return grids


STACKS = {"hstack": (1, 1), "vstack": (2, 0), "dstack": (3, 2), "column_stack": (2, 1)}


@HANDLERS.handles(*STACKS)
def _stacks(node: Node, build: Builder) -> Made:
    rank, d = STACKS[node.op]
    rows = [_at_least(build, tensor, rank, node.op, k) for k, tensor in enumerate(node.list("tensors"))]
    return build(program.Concat(dim=0 if node.op == "hstack" and len(shape_of(rows[0])) == 1 else d), *rows)


def _at_least(build: Builder, x: Value, rank: int, op: str, k: int = 0) -> Value:
    """Return a tensor of at least ``rank`` dimensions, as numpy adds them."""
    own = len(shape_of(x))
    if own >= rank:
        return x
    front = 1 if rank == 2 and op != "column_stack" else 1 if own < 2 and rank == 3 else 0
    dims = {(0, 1): (0,), (0, 2): (0, 1), (1, 2): (0,) if front else (1,), (0, 3): (0, 1, 2), (1, 3): (0, 2),
            (2, 3): (2,)}[own, rank]  # fmt: skip
    return build(program.Unsqueeze(dims=dims), x, part=f"dims/{k}")


@HANDLERS.handles("rot90")
def _rot90(node: Node, build: Builder) -> Made:
    a, b = (whole_number("dims", d) % node.rank for d in (node.sizes("dims") if "dims" in node.arguments else (0, 1)))
    return moving.rotated(build, node.x, a, b, node.integer("k", 1))


@HANDLERS.handles("diff")
def _diff(node: Node, build: Builder) -> Made:
    if node.get("prepend") is not None or node.get("append") is not None:
        raise UnspelledError("it has something before or behind its input")
    d, count = node.dim(default=-1), node.integer("n", 1)
    if not 0 <= count <= 64:
        raise UnspelledError(f"it takes differences {count} times")
    slide = program.Slide(
        function="avg_pool", dims=(d,), kernel=(count + 1,), stride=(1,), padding=((0, 0),), dilation=(1,)
    )
    return build(slide, node.x)


@HANDLERS.handles("one_hot")
def _one_hot(node: Node, build: Builder) -> Made:
    count = node.integer("num_classes", -1)
    if count < 0:
        raise UnspelledError("how many classes there are depends on what the network computes")
    wide = build(program.Unsqueeze(dims=(node.rank,)), node.x, part="classes")
    return build(program.Expand(shape=(*node.shape, count)), wide)


@HANDLERS.handles("index_fill")
def _index_fill(node: Node, build: Builder) -> Made:
    if not node.tensor("index").constant:
        raise UnspelledError("which rows it fills depends on what the network computes")
    return build(program.Pointwise(function="where"), node.x)


@HANDLERS.handles("searchsorted", "bucketize")
def _sorted_in(node: Node, build: Builder) -> Made:
    values, edges = ("self", "sorted_sequence") if node.op == "searchsorted" else ("self", "boundaries")
    if not node.tensor(edges).constant:
        raise UnspelledError("what it looks into depends on what the network computes")
    return build(program.Pointwise(function="elementwise"), node.tensor(values))


LOSSES = {
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "soft_margin_loss",
}  # fmt: skip


@HANDLERS.handles(*LOSSES)
def _loss(node: Node, build: Builder) -> Made:
    """A loss of each element, or of all of them together (its mean or sum)."""
    tensors = [value for name, value in node.arguments.items() if isinstance(value, Value)]
    if node.get("reduction", 1) == 0:
        return build(program.Pointwise(function="elementwise"), *tensors)
    return build(program.Whole(shape=()), *tensors)


@HANDLERS.handles("addr")
def _addr(node: Node, build: Builder) -> Made:
    bias, a, b = node.tensors()[:3]
    product = build(program.Contract(operands=(("i",), ("j",)), output=("i", "j")), a, b)
    return operations.with_bias(build, product, bias)


FAKE = (
    "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine",
    "fake_quantize_per_tensor_affine_cachemask", "fake_quantize_per_channel_affine_cachemask",
    "_fake_quantize_learnable_per_tensor_affine",
    "quantized_decomposed::quantize_per_tensor", "quantized_decomposed::dequantize_per_tensor",
    "quantized_decomposed::quantize_per_channel", "quantized_decomposed::dequantize_per_channel",
)  # fmt: skip


@HANDLERS.handles(*FAKE)
def _fake_quantized(node: Node, build: Builder) -> Made:
    """Values rounded as a quantised network would: scale and zero point, where they are computed, are read whole."""
    read = [
        build(program.Whole(shape=()), value, part=str(k))
        for k, value in enumerate(node.tensors()[1:])
        if not value.constant
    ]
    rounded = build(program.Pointwise(function="round"), node.x, *read)
    return [rounded, rounded] if node.op.endswith("cachemask") else rounded


# Ops that one expression spells.

HANDLERS.spells(
    {
        ("atleast_1d", "atleast_2d", "atleast_3d"): lambda node, build: pointwise(
            build, "identity", _at_least(build, node.x, int(node.op[8]), node.op)
        ),
        ("fliplr", "flipud"): lambda node, build: moving.flipped(build, node.x, (1 if node.op == "fliplr" else 0,)),
        "ravel": lambda node, build: reshaped(node, build, (-1,)),
    }
)
