"""Keras layers that read sequences, spelt with the primitives of the tensor program: recurrences and attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rfgraph.importers import program
from rfgraph.importers.keras.layers import slid
from rfgraph.importers.keras.nodes import HANDLERS, Made, Node, flat, product_of_last, size
from rfgraph.importers.keras.weights import cell_weights, cells_of
from rfgraph.importers.program import Builder, Dim, Value, exact_quotient, product
from rfgraph.importers.spelling import UnspelledError, axis_of, shape_of, whole_number
from rfgraph.importers.spelling.attention import causal, is_self
from rfgraph.importers.spelling.operations import pointwise

# Recurrences. Every step reads what comes before it; backward ones hand out their steps last first, and then the map is
# turned round, which no window says.

#: Why steps that stand in the opposite order may read less than all steps.
_REVERSED = "it runs backward and hands out its steps last first"

#: Key of a configuration: the layer runs backward, and its steps are put back into the order of those that it reads.
_PUT_BACK = "rfgraph_backward"


def _run(node: Node, function: str = "recurrent") -> program.Mix:
    """Return how the layer runs through its steps."""
    if node.config.get(_PUT_BACK):
        return program.Mix(function=function, dims=(1,), direction="backward")
    if node.flag("go_backwards"):
        return program.Mix(function=function, dims=(1,), bound=_REVERSED)
    return program.Mix(function=function, dims=(1,), direction="forward")


def _backward(layer: Any) -> Any:
    """Return the layer that runs backward inside a bidirectional one, which puts its steps back into order."""
    config = layer.get("config") if isinstance(layer, Mapping) else None
    if not isinstance(config, Mapping):
        return layer
    return {**layer, "config": {**config, "go_backwards": False, _PUT_BACK: True}}


#: Recurrent layers and cells -> how many states they hold.
STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}


@HANDLERS.handles(*STATES, "RNN")
def _recurrent(node: Node, build: Builder) -> Made:
    cells = cells_of(node.get("cell")) if node.op == "RNN" else [(node.op, node.config)]
    if node.rank != 3:
        raise UnspelledError(f"its input has {node.rank} dimensions, not a batch, steps and channels")
    tensors = node.tensors()
    products: Dim = 0
    channels = node.shape[2]
    for kind, config in cells:
        matrices, _ = cell_weights(kind, config, channels)
        products, channels = products + sum(map(product, matrices)), matrices[1][0]
    y = build(_run(node), node.x, macs=node.shape[0] * node.shape[1] * products)
    for i, state in enumerate(tensors[1:]):
        wide = product_of_last(build, state, node.shape[-1], part=f"initial/{i}", macs=0)
        row = build(program.Unsqueeze(dims=(1,)), wide, part=f"initial/{i}/step")
        y = pointwise(build, "add", y, row, part=f"initial/{i}/add")
    states = []
    last = y
    for i, (kind, config) in enumerate(cells):
        units = size("units", config.get("units"))
        part = "" if i == len(cells) - 1 else f"cell/{i}"
        sequences = node.flag("return_sequences") or i < len(cells) - 1
        last = product_of_last(build, y, units, part=part if sequences else f"{part or 'all'}/steps", macs=0)
        step = build(
            program.Reduce(function="mean", dims=(1,), keepdims=False), last,
            part=f"last/{i}" if sequences else part,
        )  # fmt: skip
        states += [step] * STATES[kind]
        y = last
    output = last if node.flag("return_sequences") else states[-1]
    return [output, *states] if node.flag("return_state") else output


@HANDLERS.handles("Bidirectional")
def _bidirectional(node: Node, build: Builder) -> Made:
    forward = node.get("layer")
    backward = node.get("backward_layer", forward)
    tensors = node.tensors()
    x, states = tensors[0], tensors[1:]
    half = len(states) // 2
    sides = []
    for layer, name, own in ((forward, "forward", states[:half]), (_backward(backward), "backward", states[half:])):
        keywords = {"initial_state": tuple(own)} if own else {}
        sides.append(node.apply(layer, (x,), keywords, f"{node.name}/{name}"))
    (a, *after), (b, *before) = sides
    mode = node.config.get("merge_mode")
    if mode is None:
        return [a, b, *after, *before]
    if mode == "concat":
        joined = build(program.Concat(dim=len(shape_of(a)) - 1), a, b)
    elif mode in ("sum", "mul", "ave"):
        joined = pointwise(build, {"sum": "add", "mul": "mul", "ave": "mean"}[mode], a, b)
    else:
        raise ValueError(f"merge_mode {mode!r} is none of concat, sum, mul and ave")
    return [joined, *after, *before]


#: Why a step of a convolutional recurrence may read less than the window says.
FEWER_STEPS = "each step reads through as many convolutions as there are steps before it"


@HANDLERS.handles("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def _conv_lstm(node: Node, build: Builder) -> Made:
    axes = int(node.op[-2])
    if node.rank != axes + 3 or len(node.tensors()) > 1:
        raise UnspelledError("its input is not a batch of steps, or it is given states")
    batch, steps, *rest = node.shape
    kernel = node.integers("kernel_size", axes)
    first = node.text("data_format", "channels_last") == "channels_first"
    frames = build(program.Reshape(shape=(batch * steps, *rest)), node.x, part="frames")
    single = replace(node, args=(frames,), kwargs={})
    filters = node.size("filters")
    y = slid(single, build, frames, kernel=kernel, channels=filters, part="input")
    positions = exact_quotient(product(shape_of(y)), filters)
    others = 3 * shape_of(frames)[1 if first else -1] + 4 * filters  # gates besides that one, and those of the state
    macs = None if positions is None else product((positions, *kernel, others, filters))
    _, *rest = shape_of(y)
    y = build(program.Reshape(shape=(batch, steps, *rest)), y, part="steps")
    y = build(_run(node), y, part="recurrent", macs=macs)
    dims = tuple(range(3, node.rank)) if first else tuple(range(2, node.rank - 1))
    if isinstance(steps, int):  # the last step reads the first through all the convolutions between
        if steps < 1:
            raise ValueError(f"it has {steps} steps")
        spans = [(steps - 1) * (k - 1) for k in kernel]
        before = [(steps - 1) * ((k - 1) // 2) for k in kernel]
        window = program.Slide(
            function="conv", dims=dims, kernel=tuple(span + 1 for span in spans), stride=(1,) * axes,
            padding=tuple((a, span - a) for a, span in zip(before, spans, strict=True)), dilation=(1,) * axes,
            bound=FEWER_STEPS if node.flag("return_sequences") and any(spans) else "",
        )  # fmt: skip
        y = build(window, y, part="convolutions")
    else:
        y = build(program.Mix(function="recurrent", dims=dims, bound=FEWER_STEPS), y, part="convolutions")
    last = build(program.Reduce(function="mean", dims=(1,), keepdims=False), y, part="last")
    output = pointwise(build, "identity", y if node.flag("return_sequences") else last)
    return [output, last, last] if node.flag("return_state") else output


@HANDLERS.handles("TimeDistributed")
def _time_distributed(node: Node, build: Builder) -> Made:
    batch, steps, *rest = node.shape
    frames = build(program.Reshape(shape=(batch * steps, *rest)), node.x, part="frames")
    outputs = node.apply(node.get("layer"), (frames,), {}, node.name)
    return [
        build(program.Reshape(shape=(batch, steps, *shape_of(one)[1:])), one, part=f"steps/{i}")
        for i, one in enumerate(outputs)
    ]


# Attention.


_HIDING = program.Pointwise(function="identity", bound=program.MASKED)


def attended(
    build: Builder, query: Value, key: Value, value: Value, *, axes: Sequence[int], heads: bool, grouped: bool = False,
    only_before: bool = False, hidden: bool = False, part: str = "",
) -> Value:  # fmt: skip
    """Add attention: every position of the query reads all of the keys and values.

    Parameters
    ----------
    query, key, value
        Tensors whose last dimension is that of the channels, and whose last but one that of the heads, if any.
    axes
        Their dimensions that are attended over.
    heads
        Whether they have heads.
    grouped
        Whether several heads of the query share one of the keys.
    only_before
        Whether a causal mask hides later positions.
    hidden
        Whether a mask that is constant hides some.
    part
        Tells it from other steps of the layer.
    """
    rank = len(shape_of(query))
    rows = [f"i{d}" if d in axes else f"b{d}" for d in range(rank - 1)]
    columns = [f"j{d}" if d in axes else f"b{d}" for d in range(rank - 1)]
    if grouped and heads:
        columns[-1] = "g"  # its label is another, and is summed
    if only_before and len(axes) == 1 and is_self(query, key, axes[0]):
        output = causal(build, query, key, value, rows, columns, axes[0], f"{part}sums/")
        return build(_HIDING, output, part=f"{part}mask") if hidden else output
    batch = [label for d, label in enumerate(rows) if d not in axes]
    weights = (*batch, *(rows[d] for d in axes), *(columns[d] for d in axes))
    scores = build(
        program.Contract(operands=((*rows, "c"), (*columns, "c")), output=weights), query, key, part=f"{part}scores"
    )
    if only_before or hidden:
        scores = build(_HIDING, scores, part=f"{part}mask")
    mixed = tuple(range(len(weights) - len(axes), len(weights)))
    shares = build(program.Mix(function="softmax", dims=mixed), scores, part=f"{part}softmax")
    sums = program.Contract(operands=(weights, (*columns, "e")), output=(*rows, "e"))
    return build(sums, shares, value, part=f"{part}sums")


def projected(build: Builder, x: Value, heads: Dim, channels: Dim, part: str) -> Value:
    """Add the projection of channels to those of several heads."""
    shape = shape_of(x)
    rows = tuple(f"b{i}" for i in range(len(shape) - 1))
    dense = program.Contract(operands=((*rows, "k"), ("k", "h", "c")), output=(*rows, "h", "c"))
    return build(dense, x, build.weights_of_layer((shape[-1], heads, channels)), part=part)


def _joined(node: Node, build: Builder, x: Value, channels: Sequence[Dim], gate: bool) -> Value:
    """Add the projection of all heads back to channels, and the query's gate before it, which reads no further."""
    *rest, heads, each = shape_of(x)
    rows = tuple(f"b{i}" for i in range(len(rest)))
    widths = tuple(f"o{i}" for i in range(len(channels)))
    dense = program.Contract(operands=((*rows, "h", "c"), ("h", "c", *widths)), output=(*rows, *widths))
    if gate:
        x = pointwise(build, "mul", x, projected(build, node.x, heads, each, "gate"), part="gated")
    return build(dense, x, build.weights_of_layer((heads, each, *channels)))


def _hides(node: Node) -> bool:
    """Return whether a constant says which positions are hidden."""
    mask = node.argument(6, "attention_mask")
    return mask is not None and (not isinstance(mask, Value) or mask.constant)


def _masked(node: Node, build: Builder, output: Value, axes: int) -> Value:
    """Return what attention makes where a tensor says which positions it may read: that tensor is read too."""
    mask = node.argument(6, "attention_mask")
    if not isinstance(mask, Value) or mask.constant:
        return output
    rank = len(shape_of(mask))
    rows = build(
        program.Reduce(function="max", dims=tuple(range(rank - axes, rank)), keepdims=False), mask, part="mask"
    )
    missing = len(shape_of(output)) - len(shape_of(rows))
    if rank - axes != 1 + axes or missing < 0:
        raise UnspelledError("its mask is not one of positions by positions")
    wide = build(program.Unsqueeze(dims=tuple(range(rank - axes, rank - axes + missing))), rows, part="mask/wide")
    return pointwise(build, "where", output, wide, part="masked")


def _is_causal(node: Node) -> bool:
    return node.kwargs.get("use_causal_mask") is True


def _only_output(node: Node) -> None:
    if node.argument(7, "return_attention_scores", False):
        raise UnspelledError("what its attention scores read is not followed")


@HANDLERS.handles("MultiHeadAttention")
def _multi_head(node: Node, build: Builder) -> Made:
    _only_output(node)
    query, value = node.value(0, "query"), node.value(1, "value")
    key = node.argument(2, "key", value)
    rank = len(shape_of(query))
    stated = node.get("attention_axes")
    entries = tuple(range(1, rank - 1)) if stated is None else stated
    entries = entries if isinstance(entries, (list, tuple)) else (entries,)
    axes = tuple(sorted({axis_of(whole_number("attention_axes", axis), rank) for axis in entries}))
    if any(len(shape_of(other)) != rank for other in (value, key)) or not set(axes) <= set(range(1, rank - 1)):
        raise UnspelledError("its query and its keys do not have the same dimensions")
    heads, each = node.size("num_heads"), node.size("key_dim")
    deep = node.size("value_dim", each)
    output = attended(
        build, projected(build, query, heads, each, "query"), projected(build, key, heads, each, "key"),
        projected(build, value, heads, deep, "value"), axes=axes, heads=True,
        only_before=_is_causal(node), hidden=_hides(node),
    )  # fmt: skip
    channels = node.get("output_shape", shape_of(query)[-1])
    channels = channels if isinstance(channels, (list, tuple)) else (channels,)
    joined = _joined(node, build, output, tuple(channels), node.flag("use_gate"))
    return _masked(node, build, joined, len(axes))


@HANDLERS.handles("GroupQueryAttention")
def _group_query(node: Node, build: Builder) -> Made:
    _only_output(node)
    query, value = node.value(0, "query"), node.value(1, "value")
    key = node.argument(2, "key", value)
    each = node.size("head_dim")
    few = node.size("num_key_value_heads")
    many = node.size("num_query_heads")
    output = attended(
        build, projected(build, query, many, each, "query"), projected(build, key, few, each, "key"),
        projected(build, value, few, each, "value"), axes=(1,), heads=True, grouped=True,
        only_before=_is_causal(node), hidden=_hides(node),
    )  # fmt: skip
    joined = _joined(node, build, output, (shape_of(query)[-1],), node.flag("use_gate"))
    return _masked(node, build, joined, 1)


@HANDLERS.handles("Attention", "AdditiveAttention")
def _attention(node: Node, build: Builder) -> Made:
    if node.argument(3, "return_attention_scores", False):
        raise UnspelledError("what its attention scores read is not followed")
    tensors = [item for item in flat(node.args[:1]) if isinstance(item, Value)]
    if not 2 <= len(tensors) <= 3:
        raise ValueError(f"it is called on {len(tensors)} tensors, not a query, values and keys")
    query, value = tensors[:2]
    key = tensors[2] if len(tensors) > 2 else value
    rank = len(shape_of(query))
    output = attended(build, query, key, value, axes=(rank - 2,), heads=False, only_before=_is_causal(node))
    return pointwise(build, "identity", output)
