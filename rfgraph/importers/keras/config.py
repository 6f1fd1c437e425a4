"""Configs of Keras models as plain data: what files hold, layers, and the graphs of functional models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any
from zipfile import ZipFile

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers import archive
from rfgraph.importers.keras import hdf5
from rfgraph.importers.keras.before import modern
from rfgraph.importers.keras.nodes import HANDLERS, flat, leaves
from rfgraph.importers.program import MAX_ELEMENTS, Builder, Shape, Value
from rfgraph.importers.spelling import whole_number
from rfgraph.importers.spelling.moving import MAX_PIECES

#: Names are cut to this: those of nested models follow each other.
MAX_NAME = 200

Layer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Model:
    """A Keras model: the config of its outermost layer."""

    name: str
    layer: Layer


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor that a call of a layer makes, and its shape as far as the model states it."""

    layer: str
    call: int
    index: int
    shape: tuple[int | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer: what it is called with, in which tensors are ``Ref``."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(slots=True)
class Graph:
    """The graph of a functional model: its layers, and the calls of each."""

    layers: dict[str, Layer] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    inputs: Any = None  # a structure of ``Ref``
    outputs: Any = None
    #: Shapes that the model states of its tensors, where it states them.
    stated: dict[tuple[str, int, int], tuple[int | None, ...]] = field(default_factory=dict)


def read(path: str | os.PathLike[str]) -> Model:
    """Return the model that a ``.keras`` file holds.

    Raises
    ------
    ModelFileError
        If it cannot be read, or is not what ``model.save`` writes.
    """
    name = os.fspath(path)
    with archive.refusing(name, "a model saved by Keras"):
        lacking = "holds no config.json; save the model by Keras 3's model.save('name.keras'), or pass the live model"
        with ZipFile(name) as opened:
            data = archive.parsed(name, archive.member(opened, r"config\.json", lacking))
        return model_of(name, data, "its config.json")


def read_hdf5(path: str | os.PathLike[str]) -> Model:
    """Return the model that an ``.h5`` file of Keras holds.

    Raises
    ------
    ModelFileError
        If it cannot be read, or holds weights without the layers that they are of.
    """
    name = os.fspath(path)
    with archive.refusing(name, "an HDF5 file that Keras saves"):
        attributes = hdf5.attributes(name, archive.MAX_BYTES)
        if "model_config" not in attributes:
            raise ModelFileError(
                f"{name}: it has no model_config: these are weights, without the layers that they are of; "
                "make the model in Python again and save it whole:\n"
                f"    model.load_weights({os.path.basename(name)!r})\n"
                "    model.save('model.keras')"
            )
        return model_of(name, archive.parsed(name, archive.decoded(attributes.pop("model_config"))), "its model_config")


def of_json(path: str, data: Any) -> Model:
    """Return the model of a JSON file: what ``model.to_json()`` makes, or the topology that TensorFlow.js stores.

    Parameters
    ----------
    data
        What it holds; it is changed.

    Raises
    ------
    ModelFileError
        If it is not the config of a model.
    """
    with archive.refusing(path, "the config of a Keras model"):
        inner = data.get("model_config", data) if isinstance(data, dict) else data
        return model_of(path, inner, "its JSON")


def model_of(name: str, data: Any, what: str) -> Model:
    """Return the model whose config some JSON is, as any version of Keras writes it.

    Parameters
    ----------
    name
        The file, as errors call it.
    data
        What the JSON holds; it is changed.
    what
        What errors call it.

    Raises
    ------
    ModelFileError, ValueError
        If it is not the config of a model.
    """
    if not isinstance(data, dict) or not isinstance(data.get("config"), (dict, list)):
        raise ValueError(f"{what} is not the config of a model")
    layer = modern(data)
    if not isinstance(layer["config"], dict):
        raise ModelFileError(f"{name}: a model of class {layer.get('class_name')!r}, whose config is a list")
    return Model(name, layer)


def op_of(layer: Layer) -> str:
    """Return the name of a layer's class, with ``ops.`` before that of an operation.

    A class of the user's own that is called as one of Keras is goes by its module too. HDF5 files of Keras 3 leave
    the modules out; every layer states there whether it is trainable, and no operation does.

    Examples
    --------
    >>> op_of({"module": "keras.layers", "class_name": "Add"})
    'Add'
    >>> op_of({"module": "keras.src.ops.numpy", "class_name": "Add"})
    'ops.Add'
    >>> op_of({"module": "mine", "class_name": "Add", "registered_name": "Mine>Add"})
    'mine.Add'
    """
    module, kind = layer.get("module"), layer.get("class_name")
    if not isinstance(kind, str) or not isinstance(module, (str, type(None))):
        raise ValueError(f"class {kind!r} of module {module!r} is not a name")
    kind = cut_name(kind)
    if module is not None and module.startswith(("keras.src.ops.", "keras.ops")):
        return f"ops.{kind}"
    if "module" not in layer and _called_as_by_keras_3(layer) and f"ops.{kind}" in HANDLERS:
        config = layer.get("config")
        if isinstance(config, Mapping) and "trainable" not in config:
            return f"ops.{kind}"
    if module is None:
        own = "module" not in layer  # Keras 2 leaves it out of what is its own
    else:
        own = module == "keras" or module.startswith(("keras.layers", "keras.src.", "keras.engine", "tf_keras."))
    return kind if own or kind not in HANDLERS else f"{cut_name(module or 'custom')}.{kind}"


def _called_as_by_keras_3(layer: Layer) -> bool:
    calls = layer.get("inbound_nodes")
    return isinstance(calls, (list, tuple)) and any(isinstance(call, Mapping) for call in calls)


def is_functional(layer: Layer) -> bool:
    """Whether the config of a layer holds the graph of a model."""
    config = layer.get("config")
    return isinstance(config, Mapping) and all(key in config for key in ("layers", "input_layers", "output_layers"))


def is_sequential(layer: Layer) -> bool:
    """Whether the config of a layer holds the layers of a sequential model."""
    config = layer.get("config")
    kind = layer.get("class_name")
    return (
        isinstance(config, Mapping)
        and "layers" in config
        and not is_functional(layer)
        and (kind == "Sequential" or "build_input_shape" in config)
    )


def layers_of(config: Mapping[str, Any]) -> list[Layer]:
    layers = config["layers"]
    if not isinstance(layers, (list, tuple)) or not layers or not all(isinstance(item, Mapping) for item in layers):
        raise ValueError("its layers are not a list of configs")
    return list(layers)


def name_of(layer: Layer) -> str:
    config = layer.get("config")
    name = layer.get("name", config.get("name") if isinstance(config, Mapping) else None)
    if name is None:
        name = layer.get("class_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{name!r} is no name of a layer")
    return name


def cut_name(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME // 2]}...{name[3 - MAX_NAME // 2 :]}"


def _shape(stated: Any) -> tuple[int | None, ...] | None:
    """Return a shape as configs state it, ``None`` if it is none."""
    if not isinstance(stated, (list, tuple)) or any(isinstance(n, (list, tuple, Mapping)) for n in stated):
        return None
    shape = tuple(None if n is None else whole_number("shape", n) for n in stated)
    if any(n is not None and n < 0 for n in shape):
        raise ValueError(f"shape {list(shape)} has a negative size")
    return shape


def input_shape(layer: Layer) -> tuple[int | None, ...] | None:
    config = layer.get("config") or {}
    stated = _shape(config.get("batch_shape", config.get("batch_input_shape")))
    if stated is None and (shape := _shape(config.get("shape"))) is not None:
        return (None, *shape)
    return stated


def built_shape(layer: Layer) -> tuple[int | None, ...] | None:
    """Return the shape of the tensor that a layer was built for, if it is stated."""
    built = layer.get("build_config")
    return _shape(built.get("input_shape")) if isinstance(built, Mapping) else None


def sequential_shape(layer: Layer) -> tuple[int | None, ...] | None:
    """Return the shape of what a sequential model reads."""
    first = layers_of(layer["config"])[0]
    own = input_shape(first)
    for shape in (own, _shape(layer["config"].get("build_input_shape")), built_shape(layer), built_shape(first)):
        if shape is not None:
            return shape
    if is_sequential(first):
        return sequential_shape(first) if first is not layer else None
    return None


def fits(shape: Shape, stated: Sequence[int | None]) -> bool:
    """Whether two shapes may be the same: sizes that are not numbers are not compared."""
    pairs = zip(shape, stated, strict=False)
    return len(shape) == len(stated) and all(n == m for n, m in pairs if isinstance(n, int) and m is not None)


# Graphs of functional models.


def graph_of(config: Mapping[str, Any]) -> Graph:
    graph = Graph()
    for layer in layers_of(config):
        name = name_of(layer)
        if name in graph.layers:
            raise ValueError(f"two layers are called {name[:80]!r}")
        graph.layers[name] = layer
    for name, layer in graph.layers.items():
        calls = layer.get("inbound_nodes", [])
        if not isinstance(calls, (list, tuple)):
            raise ValueError(f"the calls of layer {name[:80]!r} are not a list")
        graph.calls[name] = [_call(call, graph.layers) for call in calls]
        for call in graph.calls[name]:
            for ref in flat((call.args, dict(call.kwargs))):
                if isinstance(ref, Ref) and ref.shape is not None:
                    graph.stated[ref.layer, ref.call, ref.index] = ref.shape
    graph.inputs = _ends(config["input_layers"], graph.layers)
    graph.outputs = _ends(config["output_layers"], graph.layers)
    for ref in flat(graph.inputs):
        if isinstance(ref, Ref) and ref.layer not in graph.layers:
            raise ValueError(f"its input {ref.layer[:80]!r} is none of its layers")
    return graph


def titles_of(graph: Graph) -> list[str]:
    """Return what a model calls its outputs: by their keys, or as the layers that make them are called."""
    titles = []
    for path, ref in leaves(graph.outputs):
        if isinstance(ref, Ref):
            nested = is_functional(graph.layers.get(ref.layer, {})) or is_sequential(graph.layers.get(ref.layer, {}))
            titles.append(path or ("" if nested else ref.layer))
    return titles


def _ends(structure: Any, layers: Mapping[str, Layer]) -> Any:
    """Return inputs or outputs of a model with ``Ref`` for what the config writes as a list of three."""
    if _is_history(structure):
        name, call, index = structure[:3]
        # Functional models have a call of their own, before those that others make, and configs count it here.
        inner = layers.get(name)
        return Ref(name, call - 1 if inner is not None and is_functional(inner) and call > 0 else call, index)
    if isinstance(structure, (list, tuple)):
        return tuple(_ends(item, layers) for item in structure)
    if isinstance(structure, Mapping):
        return {key: _ends(item, layers) for key, item in structure.items()}
    return structure


def _is_history(structure: Any) -> bool:
    return (
        isinstance(structure, (list, tuple))
        and len(structure) in (3, 4)
        and isinstance(structure[0], str)
        and all(isinstance(n, int) and not isinstance(n, bool) for n in structure[1:3])
    )


def _call(call: Any, layers: Mapping[str, Layer]) -> Call:
    if isinstance(call, Mapping):
        args, kwargs = _argument(call.get("args") or ()), _argument(call.get("kwargs") or {})
        if not isinstance(args, tuple) or not isinstance(kwargs, dict):
            raise ValueError("what a layer is called with is not a list and a mapping")
        return Call(args, kwargs)
    # As Keras 2 writes it: a list of tensors, each with the keywords of the call.
    tensors = [call] if _is_history(call) or _is_number(call) else call
    if not isinstance(tensors, (list, tuple)) or not all(_is_history(item) or _is_number(item) for item in tensors):
        raise ValueError("a call of a layer is not a list of tensors")
    refs = tuple(item[2] if _is_number(item) else _legacy(item, layers) for item in tensors)
    keywords = tensors[0][3] if tensors and len(tensors[0]) == 4 else {}
    if not isinstance(keywords, Mapping):
        raise ValueError("the keywords of a call are not a mapping")
    return Call(
        (refs[0] if len(refs) == 1 else refs,), {key: _legacy(value, layers) for key, value in keywords.items()}
    )


def _is_number(item: Any) -> bool:
    """Return whether an argument is written as Keras 2 writes one that is no tensor of a layer."""
    return isinstance(item, (list, tuple)) and len(item) == 4 and item[0] == "_CONSTANT_VALUE"


def _legacy(item: Any, layers: Mapping[str, Layer]) -> Any:
    if not _is_history(item) or item[0] not in layers:
        return tuple(_legacy(one, layers) for one in item) if isinstance(item, (list, tuple)) else item
    name, call, index = item[:3]
    inner = layers[name]
    own = is_functional(inner) or (
        is_sequential(inner) and any(one.get("class_name") == "InputLayer" for one in layers_of(inner["config"])[:1])
    )
    return Ref(name, call - 1 if own and call > 0 else call, index)


def _argument(tree: Any) -> Any:
    """Return an argument as Keras serialises it, with ``Ref`` for tensors that layers make."""
    if isinstance(tree, (list, tuple)):
        return tuple(_argument(item) for item in tree)
    if not isinstance(tree, Mapping):
        return tree
    kind, config = tree.get("class_name"), tree.get("config")
    if not isinstance(kind, str) or not isinstance(config, Mapping):
        return {str(key): _argument(item) for key, item in tree.items()}
    match kind:
        case "__keras_tensor__":
            history = config.get("keras_history")
            if history is None or not _is_history(history):
                raise ValueError("a tensor does not say which layer makes it")
            if not 0 <= history[2] < MAX_PIECES:
                raise ValueError(f"output {history[2]} of {history[0][:80]!r} is read, more than any layer makes")
            return Ref(history[0], history[1], history[2], _shape(config.get("shape")))
        case "__slice__":
            return slice(*(_argument(config.get(name)) for name in ("start", "stop", "step")))
        case "__ellipsis__":
            return Ellipsis
        case "__tensor__" | "__numpy__":
            return _constant(config.get("value"))
        case _:
            return dict(tree)


def _constant(value: Any) -> Value:
    """Return a tensor that a config holds: its elements if they are few whole numbers, else its shape."""
    shape: list[int] = []
    inner = value
    while isinstance(inner, (list, tuple)):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    count = 1
    for n in shape:
        count *= n
    numbers = list(flat(value)) if 0 < count <= MAX_ELEMENTS else []
    if numbers and len(numbers) == count and all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        return Builder("constant").constant(value)
    return Value("constant", tuple(shape), True)
