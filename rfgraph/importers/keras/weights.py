"""What Keras layers learn: the shapes of their weights, from their configs and from what they are called on.

Moving statistics and the states of random generators are no weights. Nothing here needs keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

from rfgraph.importers.keras.nodes import HANDLERS, Node, einsum_dense, size
from rfgraph.importers.program import NOTHING, Dim, Shape, Value
from rfgraph.importers.spelling import Handlers, UnspelledError, shape_of, whole_number

#: Cells within cells within cells: no deeper than this.
MAX_CELLS = 64

#: Shapes of the weights of a layer; a size that is not known makes its weight one of unknown size.
Shapes: TypeAlias = "list[Shape]"

#: Layers that learn -> the shapes of their weights.
LEARNED: Handlers[Callable[[Node], Shapes]] = Handlers("Keras")


def learned(node: Node, layer: Mapping[str, Any]) -> Value:
    """Return the weights of one call of a layer, as one constant; a layer that is called again has the same.

    Parameters
    ----------
    layer
        The config of the layer, of which each layer has one.
    """
    # The two directions of a layer may share a config, but no weights.
    backward = node.name.endswith("/backward")
    name = f"{id(layer.get('config', layer))}{backward}"
    weights = {(f"{name}:{i}", _count(shape)) for i, shape in enumerate(_shapes(node))}
    given = (item.learned for item in node.tensors() if item.constant)
    return Value(node.name, None, True, learned=NOTHING.union(weights, *given))


def _shapes(node: Node) -> Shapes:
    """Return the shapes of the weights of a layer; one of unknown size for a class that nothing is known of."""
    known = LEARNED.get(node.op)
    if known is not None:
        try:
            return known(node)
        except UnspelledError:
            return [(None,)]  # type: ignore[list-item]
    return [] if HANDLERS.get(node.op) is not None or node.op.startswith("ops.") else [(None,)]  # type: ignore[list-item]


def _count(shape: Shape) -> int | None:
    sizes = [number for number in shape if isinstance(number, int)]
    return prod(sizes) if len(sizes) == len(shape) else None


def _with_bias(node: Node, weights: Sequence[Shape], bias: Shape) -> Shapes:
    return [*weights, bias] if node.flag("use_bias", True) else [*weights]


@LEARNED.handles("EinsumDense")
def _einsum_dense(node: Node) -> Shapes:
    _, kernel, bias = einsum_dense(node)
    return [kernel, bias] if bias else [kernel]


def _window(node: Node, axes: int) -> tuple[tuple[int, ...], Dim]:
    """Return the kernel of a convolution, and the channels of what it reads."""
    return node.integers("kernel_size", axes), node.shape[node.layout(axes)[1]]


@LEARNED.handles("Conv1D", "Conv2D", "Conv3D")
def _conv(node: Node) -> Shapes:
    kernel, channels = _window(node, int(node.op[4]))
    filters = node.size("filters")
    return _with_bias(node, [(*kernel, channels // node.integer("groups", 1), filters)], (filters,))


@LEARNED.handles("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def _conv_transpose(node: Node) -> Shapes:
    kernel, channels = _window(node, int(node.op[4]))
    filters = node.size("filters")
    return _with_bias(node, [(*kernel, filters, channels)], (filters,))


@LEARNED.handles("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise(node: Node) -> Shapes:
    kernel, channels = _window(node, int(node.op[-2]))
    multiplier = node.size("depth_multiplier", 1)
    return _with_bias(node, [(*kernel, channels, multiplier)], (channels * multiplier,))


@LEARNED.handles("SeparableConv1D", "SeparableConv2D")
def _separable(node: Node) -> Shapes:
    kernel, channels = _window(node, int(node.op[-2]))
    multiplier = node.size("depth_multiplier", 1)
    filters = node.size("filters")
    return _with_bias(node, [(*kernel, channels, multiplier), (channels * multiplier, filters)], (filters,))


def _normalised(node: Node) -> Shape:
    return tuple(node.shape[d] for d in node.normed)


def _scaled(node: Node, shape: Shape) -> Shapes:
    return [shape] * (node.flag("scale", True) + node.flag("center", True))


LEARNED.spells(
    {
        "Dense": lambda node: _with_bias(node, [(node.shape[-1], node.size("units"))], (node.size("units"),)),
        ("BatchNormalization", "GroupNormalization"): lambda node: _scaled(node, (node.shape[node.axis()],)),
        "LayerNormalization": lambda node: _scaled(node, _normalised(node)),
        "RMSNormalization": lambda node: [_normalised(node)],
        "LayerScale": lambda node: [(node.size("projection_dim"),)],
    }
)


@LEARNED.handles("PReLU")
def _prelu(node: Node) -> Shapes:
    stated = node.get("shared_axes", ())
    shared = {
        whole_number("shared_axes", axis) for axis in (stated if isinstance(stated, (list, tuple)) else (stated,))
    }
    return [tuple(1 if d in shared else node.shape[d] for d in range(1, node.rank))]


@LEARNED.handles("Embedding", "ReversibleEmbedding")
def _embedding(node: Node) -> Shapes:
    table = node.size("input_dim"), node.size("output_dim")
    untied = node.op == "ReversibleEmbedding" and not node.flag("tie_weights", True)
    return [table, table[::-1]] if untied else [table]


# Recurrences and attention.

#: Recurrent layers and cells -> how many matrices they hold for each of inputs and states.
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


def cells_of(cell: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the cells of an ``RNN`` layer, in order, as pairs of class and config."""
    if not isinstance(cell, Mapping) or not isinstance(cell.get("config"), Mapping):
        raise ValueError("its cell is not the config of a layer")
    kind, config = str(cell.get("class_name")), cell["config"]
    if kind == "StackedRNNCells":
        inner = config.get("cells")
        if not isinstance(inner, (list, tuple)) or not 0 < len(inner) <= MAX_CELLS:
            raise ValueError(f"its cells are not a list of 1 to {MAX_CELLS}")
        cells = [cells_of(one) for one in inner]
        if any(len(one) != 1 for one in cells):
            raise UnspelledError("it stacks stacked cells")
        return [one[0] for one in cells]
    if kind.removesuffix("Cell") not in GATES or str(cell.get("module")) not in ("keras.layers", "None"):
        raise UnspelledError(f"its cell {kind} is not one of Keras")
    return [(kind.removesuffix("Cell"), config)]


def cell_weights(kind: str, config: Mapping[str, Any], channels: Dim) -> tuple[Shapes, Shapes]:
    """Return the shapes of the matrices of a recurrent cell, and of its biases."""
    units = size("units", config.get("units"))
    wide = GATES[kind] * units
    matrices: Shapes = [(channels, wide), (units, wide)]
    if not config.get("use_bias", True):
        return matrices, []
    twice = config.get("reset_after", True) if kind == "GRU" else config.get("two_biases", False)
    return matrices, [(2, wide) if twice else (wide,)]


@LEARNED.handles(*GATES)
def _recurrent(node: Node) -> Shapes:
    matrices, biases = cell_weights(node.op, node.config, node.shape[-1])
    return [*matrices, *biases]


@LEARNED.handles("RNN")
def _stacked(node: Node) -> Shapes:
    shapes: Shapes = []
    channels = node.shape[-1]
    for kind, config in cells_of(node.get("cell")):
        matrices, biases = cell_weights(kind, config, channels)
        shapes += [*matrices, *biases]
        channels = matrices[1][0]
    return shapes


@LEARNED.handles("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def _conv_lstm(node: Node) -> Shapes:
    kernel = node.integers("kernel_size", int(node.op[-2]))
    filters = node.size("filters")
    first = node.text("data_format", "channels_last") == "channels_first"
    channels = node.shape[2 if first else -1]
    weights = [(*kernel, channels, 4 * filters), (*kernel, filters, 4 * filters)]
    return _with_bias(node, weights, (4 * filters,))


@LEARNED.handles("MultiHeadAttention")
def _multi_head(node: Node) -> Shapes:
    query, value = node.value(0, "query"), node.value(1, "value")
    heads, each = node.size("num_heads"), node.size("key_dim")
    deep = node.size("value_dim", each)
    channels = node.get("output_shape", shape_of(query)[-1])
    return _attention(node, query, value, (heads, heads, each, deep), channels)


@LEARNED.handles("GroupQueryAttention")
def _group_query(node: Node) -> Shapes:
    query, value = node.value(0, "query"), node.value(1, "value")
    few = node.size("num_key_value_heads")
    many = node.size("num_query_heads")
    each = node.size("head_dim")
    return _attention(node, query, value, (many, few, each, each), shape_of(query)[-1])


def _attention(node: Node, query: Value, value: Value, heads: tuple[Dim, Dim, Dim, Dim], channels: Any) -> Shapes:
    """Return the shapes of four projections: of queries, keys and values to heads, and back to channels."""
    many, few, each, deep = heads
    key = node.argument(2, "key", value)
    widths = tuple(channels) if isinstance(channels, (list, tuple)) else (channels,)
    weights: Shapes = [
        (shape_of(query)[-1], many, each), (shape_of(key)[-1], few, each), (shape_of(value)[-1], few, deep),
        (many, deep, *widths),
    ]  # fmt: skip
    biases: Shapes = [(many, each), (few, each), (few, deep), widths]
    if node.flag("use_gate"):
        weights.append((shape_of(query)[-1], many, deep))
        biases.append((many, deep))
    return [*weights, *biases] if node.flag("use_bias", True) else weights


@LEARNED.handles("Attention", "AdditiveAttention")
def _scores(node: Node) -> Shapes:
    if node.op == "AdditiveAttention":
        query = node.args[0][0] if node.args and isinstance(node.args[0], tuple) else node.x
        return [(shape_of(query)[-1],)] if node.flag("use_scale", True) else []
    return [()] * (node.flag("use_scale") + (node.text("score_mode", "dot") == "concat"))
