"""PyTorch's operators that compute: functions of elements, reductions, norms, products; no module here needs torch.

One handler per operator or family of operators, under its name in ``torch.ops.aten`` without overload; an operator that
works in place (``relu_``) has the handler of the one that does not. A handler gets the node and the builder, and
returns the values of the node's outputs: tensors, or sizes where the operator makes one.
"""

from __future__ import annotations

from dataclasses import replace

from rfgraph.importers import program
from rfgraph.importers.program import UNSEEN, Builder, Expression, Shape, Value, broadcast, product
from rfgraph.importers.spelling import UnspelledError, moving, operations, products, shape_of, vocabulary
from rfgraph.importers.spelling.attention import causal, is_self, summed, weights
from rfgraph.importers.spelling.moving import band
from rfgraph.importers.spelling.operations import tensor_of, with_bias
from rfgraph.importers.torch.nodes import HANDLERS, Made, Node

# Functions of one element. Names that carry no meaning for space are their own.

UNARY = vocabulary.names("torch", vocabulary.UNARY)

#: Functions of elements of several tensors, which broadcast; beside what depends on an input numbers change nothing.
SEVERAL = vocabulary.names("torch", vocabulary.SEVERAL)


@HANDLERS.handles(*UNARY)
def _unary(node: Node, build: Builder) -> Made:
    output = build(program.Pointwise(function=UNARY[node.op]), node.x)
    return [output, build.weight(output.shape)] if node.op == "native_dropout" else output


@HANDLERS.handles(*SEVERAL)
def _several(node: Node, build: Builder) -> Made:
    operands = node.tensors()
    if operands and all(value.data is not None for value in operands):
        return _of_numbers(node, build)
    held = [value.held(build.tells_learned) if value.constant else None for value in operands]
    if operands and all(numbers is not None and numbers.own for numbers in held):
        return _of_constants(node, build)
    if node.op == "where" and len(node.arguments) < 3:
        raise UnspelledError("how many positions it finds depends on what the network computes")
    if node.op in ("prelu", "_prelu_kernel") and operands[1].constant:
        operands = operands[:1]  # one slope per channel, whichever dimension that is
    if node.op == "masked_fill" and "mask" in node.arguments:
        operands = [node.tensor("mask"), tensor_of(build, node.arguments.get("value")), node.tensor("self")]
    elif node.op == "where":
        operands = [tensor_of(build, value) for value in node.arguments.values()]
    bound = ""
    if node.op in ("where", "masked_fill") and operands[0].constant:
        bound, operands[0] = program.MASKED, _truth(build, operands[0])
    return build(program.Pointwise(function=SEVERAL[node.op], bound=bound), *operands)


def _truth(build: Builder, mask: Value) -> Value:
    """Return a constant of truth values, which may have been made of numbers, as such."""
    return build(program.Pointwise(function="to_bool"), mask, part="truth")


#: Names of arguments that are operands.
OPERANDS = frozenset({"self", "other", "input", "condition", "exponent", "0", "1", "2"})


def _of_constants(node: Node, build: Builder) -> Value:
    """Return a function of constants; numbers among its arguments are operands, or its numbers are not known."""
    function, arguments = SEVERAL[node.op], dict(node.arguments)
    alpha, bounds = arguments.pop("alpha", 1), [arguments.pop(end, None) for end in ("min", "max")]
    if node.op == "masked_fill":
        arguments = {"condition": arguments.get("mask"), "self": arguments.get("value"), "other": arguments.get("self")}
    operands = [tensor_of(build, value) for value in arguments.values() if isinstance(value, (Value, bool, int, float))]
    plain = len(operands) == len(arguments) and set(arguments) <= OPERANDS and node.op != "fmod"
    if not plain or any(isinstance(value, Value) for value in bounds):
        shape: Shape = ()
        for value in node.tensors():
            shape = broadcast(shape, shape_of(value))
        return replace(build.weight(shape, node.name), numbers=UNSEEN)
    if function == "clip":
        x = operands[0]
        for end, limit in zip(("max", "min"), bounds, strict=True):
            x = x if limit is None else build(program.Pointwise(function=end), x, tensor_of(build, limit), part=end)
        return x
    if alpha != 1:
        by = tensor_of(build, alpha)
        operands[1] = build(program.Pointwise(function="mul"), operands[1], by, part="alpha")
    if node.op == "rsub":
        operands.reverse()
    if function == "where":
        operands[0] = _truth(build, operands[0])
    return build(program.Pointwise(function=function), *operands)


#: Of integers these are exact, and the same in PyTorch as in the evaluator of constants.
EXACT = frozenset({"add", "sub", "mul", "mod", "max", "min", "equal", "less", "less_or_equal", "greater",
                   "greater_or_equal", "and", "or", "where"})  # fmt: skip


def _of_numbers(node: Node, build: Builder) -> Made:
    """A function of small constants, evaluated if it is one of integers; other numbers are operands too here."""
    function, arguments = SEVERAL[node.op], node.arguments
    known = all(
        isinstance(value, (Value, int, Expression)) and not isinstance(value, bool) for value in arguments.values()
    )
    operands: list[Value] = []
    if known and set(arguments) <= OPERANDS - {"exponent"}:
        operands = [value if isinstance(value, Value) else build.constant(value) for value in arguments.values()]
    integers = operands and all(value.data is not None and value.data.integer for value in operands)
    if not integers or (function not in EXACT and node.op not in ("ne", "floor_divide")):
        return _of_constants(node, build)
    if node.op == "rsub":
        operands.reverse()
    if node.op == "floor_divide":
        return operations.floor_divided(build, *operands, whole=True)
    if node.op == "ne":
        return build(program.Pointwise(function="not"), build(program.Pointwise(function="equal"), *operands))
    return build(program.Pointwise(function=function), *operands)


@HANDLERS.handles("copy")
def _copy(node: Node, build: Builder) -> Made:
    source = node.tensor("src")
    if source.shape == node.shape:
        return build(program.Pointwise(function="identity"), source)
    return build(program.Expand(shape=node.shape), source)


@HANDLERS.handles("tril", "triu")
def _triangle(node: Node, build: Builder) -> Made:
    k = node.get("diagonal", 0)
    if not isinstance(k, int):
        return build(program.Pointwise(function="trilu"), node.x)
    return band(build, node.x, -k if node.op == "triu" else None, k if node.op == "tril" else None)


# Reductions and mixtures.

REDUCTIONS = vocabulary.names("torch", vocabulary.REDUCTIONS)


@HANDLERS.handles(*REDUCTIONS)
def _reduce(node: Node, build: Builder) -> Made:
    if isinstance(node.get("other"), Value):
        return build(program.Pointwise(function=REDUCTIONS[node.op]), *node.tensors())
    keepdims = bool(node.get("keepdim", False))
    output = operations.reduced(build, REDUCTIONS[node.op], node.x, node.dims(), keepdims=keepdims)
    where = node.op in ("max", "min", "median", "nanmedian") and "dim" in node.arguments
    return [output, output] if where or node.op in ("var_mean", "std_mean", "aminmax") else output


@HANDLERS.handles("softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax")
def _softmax(node: Node, build: Builder) -> Made:
    return operations.mixed(build, "softmax", node.x, node.dim())


@HANDLERS.handles("sort", "argsort", "msort")
def _sort(node: Node, build: Builder) -> Made:
    values = build(program.Mix(function="sort", dims=(node.dim(default=0 if node.op == "msort" else -1),)), node.x)
    return [values, values] if node.op == "sort" else values


@HANDLERS.handles("kthvalue", "mode")
def _one_of_them(node: Node, build: Builder) -> Made:
    keepdims = bool(node.get("keepdim", False))
    return [operations.reduced(build, "at", node.x, [node.dim(default=-1)], keepdims=keepdims)] * 2


@HANDLERS.handles(
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_native_batch_norm_legit_functional", "cudnn_batch_norm",
)  # fmt: skip
def _batch_norm(node: Node, build: Builder) -> Made:
    # Whether its statistics are the trained ones is an option of the analysis; without trained ones there is no choice.
    if node.op != "_native_batch_norm_legit_functional" and node.get("running_mean") is None:
        dims = tuple(d for d in range(node.rank) if d != 1)
        output = build(program.Mix(function="instance_norm", dims=dims), node.x)
    else:
        output = build(program.Pointwise(function="batch_norm"), node.x)
    return [output]  # what else some of them return are statistics


@HANDLERS.handles("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def _layer_norm(node: Node, build: Builder) -> Made:
    count = len(node.sizes("normalized_shape"))
    if not 0 < count <= node.rank:
        raise ValueError(f"it normalises {count} of {node.rank} dimensions")
    return [operations.mixed(build, "layer_norm", node.x, *range(node.rank - count, node.rank))]


@HANDLERS.handles("group_norm", "native_group_norm")
def _group_norm(node: Node, build: Builder) -> Made:
    return [operations.mixed(build, "group_norm", node.x, *range(2, node.rank))]


@HANDLERS.handles("instance_norm")
def _instance_norm(node: Node, build: Builder) -> Made:
    if not node.get("use_input_stats", True):
        return build(program.Pointwise(function="batch_norm"), node.x)
    return build(program.Mix(function="instance_norm", dims=tuple(range(2, node.rank))), node.x)


@HANDLERS.handles("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(node: Node, build: Builder) -> Made:
    if node.overload != "input" or node.rank != 3:
        raise UnspelledError("its input is packed, or has no batch")
    weight = shape_of(node.list("params")[1])
    hidden = weight[1]
    directions = 2 if node.get("bidirectional", False) else 1
    time = 1 if node.get("batch_first", False) else 0
    per_step = [product(size) for value in node.list("params") if len(size := shape_of(value)) > 1]
    macs = node.shape[0] * node.shape[1] * sum(per_step)
    direction: program.Direction = "both" if directions == 2 else "forward"
    mixed = build(program.Mix(function="recurrent", dims=(time,), direction=direction), node.x, macs=macs)
    cell = program.Contract(operands=(("0", "1", "c"), ("c", "h")), output=("0", "1", "h"))
    y = build(cell, mixed, build.weights_of_layer((node.shape[2], directions * hidden)), part="cell", macs=0)
    last = build(program.Reduce(function="mean", dims=(time,), keepdims=False), y, part="last")
    split = build(program.Reshape(shape=(node.shape[1 - time], directions, hidden)), last, part="directions")
    state = build(program.Transpose(permutation=(1, 0, 2)), split, part="state")
    layers = node.integer("num_layers", 1)
    if not 0 < layers <= 256:
        raise ValueError(f"it has {layers} layers")
    states = state if layers == 1 else build(program.Concat(dim=0), *[state] * layers, part="states")
    return [y, states, states] if node.op == "lstm" else [y, states]


@HANDLERS.handles("gru_cell", "lstm_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(node: Node, build: Builder) -> Made:
    states = node.list("hx") if node.op == "lstm_cell" else [node.tensor("hx")]
    if node.rank != 2:
        raise UnspelledError("its input has no batch")
    hidden = shape_of(states[0])[1]
    rows = program.Contract(operands=(("b", "k"), ("j", "k")), output=("b", "j"))
    read = build(rows, node.x, node.tensor("w_ih"), part="input")
    kept = build(rows, states[0], node.tensor("w_hh"), part="hidden")
    gates = build(program.Pointwise(function="add"), read, kept, part="gates")
    if node.op.startswith("rnn"):
        return build(program.Pointwise(function="tanh"), gates)
    one, other = (
        moving.cut(build, gates, 1, at, at + hidden, part=part) for at, part in ((0, "forget"), (hidden, "output"))
    )
    state = build(program.Pointwise(function="add"), one, states[-1], part="state")
    output = build(program.Pointwise(function="mul"), other, state)
    return [output, state] if node.op == "lstm_cell" else output


# Products.


@HANDLERS.handles("linear")
def _linear(node: Node, build: Builder) -> Made:
    weight = shape_of(node.tensor("weight"))
    rows = tuple(f"b{i}" for i in range(node.rank - 1))
    output = (*rows, "j") if len(weight) > 1 else rows
    columns = ("j", "k") if len(weight) > 1 else ("k",)
    primitive = program.Contract(operands=((*rows, "k"), columns), output=output)
    return with_bias(build, build(primitive, node.x, node.tensor("weight")), node.optional("bias"))


@HANDLERS.handles("matmul", "mm", "bmm", "mv", "dot")
def _matmul(node: Node, build: Builder) -> Made:
    a, b = node.tensors()[:2]
    return products.product(build, a, b)


@HANDLERS.handles("addmm", "baddbmm", "addmv")
def _addmm(node: Node, build: Builder) -> Made:
    bias, a, b = node.tensors()[:3]
    product = products.product(build, a, b)
    if a.constant or b.constant or bias.learned:
        return with_bias(build, product, bias)
    return build(program.Pointwise(function="add"), product, bias, part="bias")  # of two tensors: it may be a mask


ATTENTIONS = (
    "scaled_dot_product_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math",
)  # fmt: skip


@HANDLERS.handles(*ATTENTIONS)
def _attention(node: Node, build: Builder) -> Made:
    query, key, value = node.tensors()[:3]
    batch = [f"b{i}" for i in range(len(shape_of(query)) - 2)]
    shared = list(batch)
    if shared and node.get("enable_gqa", False):
        shared[-1] = "g"  # several heads of queries share one of keys: its label is another, and is summed
    if node.get("is_causal", False) and is_self(query, key, len(batch)):
        attended = causal(build, query, key, value, (*batch, "i"), (*shared, "j"), len(batch))
        return attended if node.op == ATTENTIONS[0] else [attended]
    rows, columns = (*batch, "i"), (*shared, "j")
    mask = node.optional("attn_mask") or node.optional("attn_bias")
    masked = bool(node.get("is_causal", False))
    if mask is not None and mask.constant and node.masks:
        mask = _truth(build, mask)
    weighed = weights(build, query, key, rows, columns, mask=mask, masked=masked, chooses=node.masks)
    attended = summed(build, weighed, value, rows, columns)
    return attended if node.op == ATTENTIONS[0] else [attended]


# Ops that one expression spells.

HANDLERS.spells(
    {
        "glu": lambda node, build: operations.gated(build, node.x, node.dim(default=-1)),
        ("cumsum", "cumprod", "logcumsumexp"): lambda node, build: operations.cumulated(build, node.x, node.dim()),
        ("cummax", "cummin"): lambda node, build: [operations.cumulated(build, node.x, node.dim())] * 2,
        "topk": lambda node, build: operations.largest(build, node.x, node.dim(default=-1), node.size("k")),
        "outer": lambda node, build: build(
            program.Contract(operands=(("i",), ("j",)), output=("i", "j")), *node.tensors()[:2]
        ),
        "einsum": lambda node, build: products.summed(build, node.get("equation", ""), node.list("tensors")),
    }
)

# What reads all of its input, or is not followed, and why.


@HANDLERS.handles("item", "_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "torchvision::nms")
def _whole(node: Node, build: Builder) -> Made:
    return build(program.Whole(), *node.tensors())


@HANDLERS.handles("torchvision::roi_align", "torchvision::roi_pool", "torchvision::ps_roi_align")
def _roi(node: Node, build: Builder) -> Made:
    x, boxes = (shape_of(value) for value in node.tensors()[:2])
    shape = (boxes[0], x[1], node.size("pooled_height"), node.size("pooled_width"))
    return build(program.Whole(shape=None if node.op.endswith("ps_roi_align") else shape), *node.tensors())


NOT_FOLLOWED = HANDLERS.refuses({
    "it reads memory, not dimensions": "as_strided",
})  # fmt: skip
