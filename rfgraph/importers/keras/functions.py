"""Functions of TensorFlow that models of Keras 2 call between layers: ``TFOpLambda``, ``SlicingOpLambda``.

Each is read as the operation of ``keras.ops`` that does the same. This module needs neither keras nor tensorflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rfgraph.importers.keras.nodes import HANDLERS, Made, Node
from rfgraph.importers.program import Builder, Value
from rfgraph.importers.spelling import UnspelledError, vocabulary

#: Functions of elements, as ``keras.ops`` calls them.
_ELEMENTS = {
    **vocabulary.names("keras", vocabulary.UNARY), **vocabulary.names("keras", vocabulary.SEVERAL),
}  # fmt: skip

#: What ``tf`` calls a function of elements, where ``keras.ops`` calls it otherwise.
_OTHERWISE = {
    "truediv": "TrueDivide", "pow": "Power", "clip_by_value": "Clip", "swish": "Silu", "floordiv": "FloorDivide",
    "floormod": "Mod", "div_no_nan": "DivideNoNan", "bias_add": "Add", "add_n": "Add", "acos": "Arccos",
    "asin": "Arcsin", "atan": "Arctan", "reciprocal_no_nan": "Reciprocal", "is_nan": "Isnan", "is_inf": "Isinf",
    "rsub": "Subtract", "rdiv": "Divide", "identity": "Copy", "sub": "Subtract", "mul": "Multiply",
}  # fmt: skip

#: Functions that reduce some dimensions, as ``keras.ops`` calls them.
_REDUCTIONS = {
    "reduce_mean": "Mean", "reduce_sum": "Sum", "reduce_max": "Max", "reduce_min": "Min", "reduce_prod": "Prod",
    "reduce_std": "Std", "reduce_variance": "Var", "reduce_logsumexp": "Logsumexp", "reduce_any": "Any",
    "reduce_all": "All",
}  # fmt: skip


def _renamed(kind: str, **entries: str) -> Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]:
    """Return what makes an operation of the keywords of a call: its class, and its config by their new names."""

    def made(keywords: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        unknown = [name for name, value in keywords.items() if name not in entries and value not in (None, False)]
        if unknown:
            raise UnspelledError(f"what its {unknown[0]} says is not followed")
        return kind, {entries[name]: _listed(value) for name, value in keywords.items() if name in entries}

    return made


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, tuple) else value


#: What ``tf`` calls a function -> what makes an operation of ``keras.ops`` of its keywords.
_FUNCTIONS = {
    "concat": _renamed("Concatenate", axis="axis"),
    "stack": _renamed("Stack", axis="axis"),
    "unstack": _renamed("Unstack", axis="axis"),
    "expand_dims": _renamed("ExpandDims", axis="axis"),
    "squeeze": _renamed("Squeeze", axis="axis"),
    "reshape": _renamed("Reshape", shape="newshape"),
    "transpose": _renamed("Transpose", perm="axes"),
    "nn.softmax": _renamed("Softmax", axis="axis"),
    "nn.depth_to_space": _renamed("DepthToSpace", block_size="block_size"),
    "nn.space_to_depth": _renamed("SpaceToDepth", block_size="block_size"),
    "image.resize": _renamed("Resize", size="size", method="interpolation", antialias="antialias"),
    "linalg.matmul": _renamed("Matmul"),
    "tile": _renamed("Tile", multiples="repeats"),
    "cumsum": _renamed("Cumsum", axis="axis"),
    "math.cumsum": _renamed("Cumsum", axis="axis"),
    "math.l2_normalize": _renamed("Normalize", axis="axis"),
    "broadcast_to": _renamed("BroadcastTo", shape="shape"),
}  # fmt: skip
_FUNCTIONS |= {
    f"{room}{name}": _renamed(kind, axis="axis", keepdims="keepdims")
    for name, kind in _REDUCTIONS.items()
    for room in ("math.", "")
}

#: The defaults of ``tf`` where those of ``keras.ops`` are others.
_DEFAULTS = {"nn.softmax": {"axis": -1}, "stack": {"axis": 0}, "cumsum": {"axis": 0}, "math.cumsum": {"axis": 0}}


def _element(function: str) -> str | None:
    """Return what ``keras.ops`` calls a function of elements, ``None`` if it has none that is called so."""
    name = function.rpartition(".")[2].strip("_")
    known = _OTHERWISE.get(name, "".join(part.title() for part in name.split("_")))
    return known if known in _ELEMENTS else None


@HANDLERS.handles("TFOpLambda", "SlicingOpLambda")
def _called(node: Node, build: Builder) -> Made:
    function = node.get("function")
    if not isinstance(function, str):
        raise ValueError(f"its function {function!r} is not a name")
    function = function.removeprefix("compat.v1.")
    keywords = {name: value for name, value in node.kwargs.items() if name != "name" and value is not None}
    if function == "__operators__.getitem":
        key = tuple(_entry(one) for one in _several(keywords.get("slice_spec")))
        return node.apply(_operation("GetItem", {}), (node.args[0], key), {}, node.name)
    if function == "cast":
        return node.apply(_operation("Copy", {}), node.args[:1], {}, node.name)
    spelling = _FUNCTIONS.get(function)
    if spelling is not None:
        tensors = tuple(one for name, one in keywords.items() if name == "b")  # the other factor of a product
        kind, config = spelling({name: one for name, one in keywords.items() if name != "b"})
        lacks = kind in ("Reshape", "Normalize") and not config  # of all dimensions, where keras.ops takes the last
        if lacks or any(isinstance(one, Value) for one in config.values()):
            raise UnspelledError("what it is called with depends on what the network computes")
        config = {**_DEFAULTS.get(function, {}), **{name: one for name, one in config.items() if one is not None}}
        return node.apply(_operation(kind, config), (*node.args, *tensors), {}, node.name)
    known = _element(function)
    if known is None:
        raise UnspelledError(f"it calls tf.{function[:80]}")
    return node.apply(_operation(known, {}), node.args, keywords, node.name)


def _operation(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"module": "keras.ops", "class_name": kind, "config": dict(config)}


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _entry(one: Any) -> Any:
    """Return one entry of a key: a slice, a new dimension, an ellipsis, or an index."""
    if isinstance(one, Mapping):
        return slice(*(one.get(name) for name in ("start", "stop", "step")))
    return Ellipsis if one == "..." else one
