"""Live Keras 3 models, brought to the config that a file holds and read as one.

A functional or sequential model has its graph already. Models and layers of the user's own are called on symbolic
tensors: what their ``call`` does with layers and ``keras.ops`` is their graph. Where that does not work (other
frameworks' functions on tensors, loops over data) the layer is unknown, and said to be.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import networkx as nx
import numpy as np

from rfgraph.errors import ModelFileError
from rfgraph.importers.keras.nodes import flat
from rfgraph.importers.keras.reader import Model, input_names, lowered
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Shape
from rfgraph.importers.program.folding import MAX_ELEMENTS
from rfgraph.importers.program.primitives import Value

Config = dict[str, Any]


def graph_of(
    model: Any, example: Any, treat: Mapping[str, str] | None = None, input_size: Any = None
) -> nx.DiGraph[Any]:
    """Return the network graph of a live model; with an input size it is read, or called, for that size.

    Parameters
    ----------
    model
        A functional, sequential or subclassed model, or a layer.
    example
        Full shape of its input or a tensor, a list of these or a mapping from names; needed where the model has no
        inputs of its own.
    treat, input_size
        As for ``rfgraph.importers.load``.

    Raises
    ------
    ModelFileError
        If there is no example where one is needed, or the model cannot be called on it.
    """
    name = str(getattr(model, "name", None) or type(model).__name__)
    given = None if example is None else _mapped(example, _tensor)
    with _untouched(model):
        ends = _graph(model)
        if ends is not None:
            layer = _functional(name, *ends)
            shapes = {} if given is None else _shapes(layer, given, name)
            return lowered(Model(name, layer), treat, input_size, shapes)
        if given is None:
            raise ModelFileError(
                f"a live model ({name}) without inputs of its own is called on an example; pass example=, the full "
                "shape of its input such as (1, 224, 224, 3), a tensor, or a list or mapping of these"
            )
        layer = _called(model, given, name)

        def again(asked: Mapping[str, Shape]) -> Model:
            names = iter(input_names(layer))
            resized = _mapped(given, lambda pair: (asked.get(next(names), pair[0]), pair[1]))
            return Model(name, _called(model, resized, name))

        return lowered(Model(name, layer), treat, input_size, None, again)


# Examples: shapes and types of tensors, one or a structure of them.


def _is_shape(example: Any) -> bool:
    return isinstance(example, (list, tuple)) and bool(example) and all(
        n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in example
    )  # fmt: skip


def _mapped(structure: Any, function: Any) -> Any:
    """Apply a function to the leaves of lists and mappings; shapes are leaves, as are pairs of shape and type."""
    if isinstance(structure, Mapping):
        return {str(key): _mapped(structure[key], function) for key in structure}
    if isinstance(structure, list) and not _is_shape(structure):
        return [_mapped(item, function) for item in structure]
    if isinstance(structure, tuple) and not _is_shape(structure) and not _is_pair(structure):
        return [_mapped(item, function) for item in structure]
    return function(structure)


def _is_pair(structure: Any) -> bool:
    return isinstance(structure, tuple) and len(structure) == 2 and isinstance(structure[1], str)


def _tensor(example: Any) -> tuple[tuple[int | None, ...], str]:
    """Return the shape and the type that an example stands for."""
    shape = example if _is_shape(example) else getattr(example, "shape", None)
    if shape is None:
        raise ModelFileError(f"example {example!r:.60} is neither a shape nor a tensor")
    if any(n is not None and n < 1 for n in shape):
        raise ModelFileError(f"example shape {tuple(shape)} has a size that is not positive")
    dtype = getattr(example, "dtype", None)
    return tuple(shape), "float32" if dtype is None else str(keras.backend.standardize_dtype(dtype))


def _shapes(layer: Config, given: Any, name: str) -> dict[str, Shape]:
    """Return the shapes of a model's own inputs that an example gives."""
    names = list(input_names(layer))
    pairs = given if isinstance(given, dict) else dict(zip(names, given if isinstance(given, list) else [given],
                                                           strict=False))  # fmt: skip
    if set(pairs) != set(names) or any(not _is_pair(pair) for pair in pairs.values()):
        raise ModelFileError(f"{name}: its inputs are {', '.join(names)}; give an example of each, in this order")
    found: dict[str, Shape] = {}
    for key, (shape, _) in pairs.items():
        own = next(item["config"]["batch_shape"] for item in layer["config"]["layers"] if item["name"] == key)
        if len(own) != len(shape):
            raise ModelFileError(f"{name}: its input {key!r} has {len(own)} dimensions, the example {len(shape)}")
        if all(n is not None for n in shape):
            found[key] = tuple(n for n in shape if n is not None)
    return found


# Graphs.


def _keras_own(kind: type, method: str = "") -> bool:
    """Whether a class is one of Keras, or the method of a class is."""
    owner = next((base for base in kind.__mro__ if method in vars(base)), kind) if method else kind
    return owner.__module__.partition(".")[0] == "keras"


def _graph(model: Any) -> tuple[Any, Any] | None:
    """Return the inputs and outputs of the graph that a model has, ``None`` if it has none, or none of what it runs."""
    if not _keras_own(type(model), "call"):
        return None
    if isinstance(model, keras.Sequential):
        return (list(model.inputs), list(model.outputs)) if model.built and model.inputs else None
    if isinstance(model, keras.Function):
        return getattr(model, "input", model.inputs), getattr(model, "_outputs_struct", list(model.outputs))
    return None


def _called(model: Any, given: Any, name: str) -> Config:
    """Return the graph of what a model or a layer does when it is called on an example."""
    inputs = _named(model, given)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = _outputs(model, inputs)
    except Exception as error:  # the user's own code runs here and may raise anything
        shapes = ", ".join(str(tuple(x.shape)) for x in flat(inputs))
        raise ModelFileError(
            f"{name}: it cannot be called on symbolic tensors of {shapes} ({_first(error)})"
        ) from error
    return _functional(name, inputs, outputs)


def _named(model: Any, given: Any) -> Any:
    """Return symbolic tensors for examples, called as the parameters of the model are."""
    own, _ = _parameters(model)

    def symbolic(item: Any, name: str | None) -> Any:
        return _mapped(item, lambda pair: keras.Input(batch_shape=pair[0], dtype=pair[1], name=name))

    if isinstance(given, dict):
        return {key: symbolic(item, key if _is_pair(item) else None) for key, item in given.items()}
    if isinstance(given, list):
        names = own if len(own) >= len(given) else []
        return [symbolic(item, names[k] if names and _is_pair(item) else None) for k, item in enumerate(given)]
    return symbolic(given, own[0] if own else None)


def _parameters(model: Any) -> tuple[list[str], list[str]]:
    """Return the names of what a model can be called with by place, and of what it has to be."""
    parameters = inspect.signature(model.call).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names, [p.name for p in parameters if p.default is p.empty and p.name in names]


def _outputs(model: Any, inputs: Any) -> Any:
    """Return the structure of symbolic tensors that a model makes of symbolic tensors."""
    args, kwargs = _arguments(model, inputs)
    if isinstance(model, keras.Sequential) and _keras_own(type(model), "call"):
        made = inputs
        for layer in model.layers:
            made = layer(made)
        return _tensors(made)
    if _keras_own(type(model)):
        return _tensors(model(*args, **kwargs))
    if not model.built:
        model(*args, **kwargs)
    return _tensors(model.call(*args, **kwargs))


def _arguments(model: Any, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a model is called with: several inputs are several arguments if it has that many, else one."""
    names, needed = _parameters(model)
    if isinstance(inputs, dict) and set(inputs) <= set(names) and set(needed) <= set(inputs):
        return (), inputs
    if isinstance(inputs, list) and len(needed) == len(inputs) > 1:
        return tuple(inputs), {}
    return (inputs,), {}


def _tensors(made: Any) -> Any:
    for item in flat(made):
        if not isinstance(item, keras.KerasTensor):
            raise TypeError(f"it makes {type(item).__name__} of symbolic tensors, which cannot be followed")
    return made


def _first(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"


def _functional(name: str, inputs: Any, outputs: Any) -> Config:
    """Return the config of the graph between symbolic tensors, as that of a functional model is."""
    entries = {_key(x): x for x in flat(inputs)}
    calls: dict[int, tuple[Any, dict[int, Any]]] = {}  # of each operation: its nodes that are reached, by their index
    ends = list(flat(outputs))
    waiting = [_key(x) for x in ends]
    operations = {id(x._keras_history.operation): x._keras_history.operation for x in [*flat(inputs), *ends]}
    while waiting:
        owner, index = key = waiting.pop()
        operation = operations[owner]
        _, nodes = calls.setdefault(owner, (operation, {}))
        if index in nodes:
            continue
        nodes[index] = node = operation._inbound_nodes[index]
        if key in entries:
            continue
        for x in node.input_tensors:
            operations[id(x._keras_history.operation)] = x._keras_history.operation
            waiting.append(_key(x))
    names = _names(calls)
    numbers = {(owner, i): k for owner, (_, nodes) in calls.items() for k, i in enumerate(sorted(nodes))}
    layers: dict[int, Config] = {}
    for owner, (operation, nodes) in calls.items():
        taken = [nodes[i] for i in sorted(nodes)]
        entry = next((entries[owner, i] for i in nodes if (owner, i) in entries), None)
        if entry is not None:
            layer: Config = {
                "module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": list(entry.shape)}
            }  # fmt: skip
            taken = []
        else:
            layer = _config(operation, taken[0])
        written = [
            {"args": _argument(node.arguments.args, names, numbers),
             "kwargs": _argument(node.arguments.kwargs, names, numbers)} for node in taken
        ]  # fmt: skip
        layers[owner] = {**layer, "name": names[owner], "inbound_nodes": written}

    def history(x: Any) -> list[Any]:
        owner, index = _key(x)
        own = "output_layers" in (layers[owner].get("config") or {})  # its config counts a call of its own first
        return [names[owner], numbers[owner, index] + own, x._keras_history.tensor_index]

    # A tensor alone is written as a list of one, as Keras does.
    written_ends = keras.tree.map_structure(history, ends if outputs is ends[0] else outputs)
    return {
        "module": "keras", "class_name": "Functional", "registered_name": None, "name": name,
        "config": {
            "name": name, "layers": list(layers.values()),
            "input_layers": keras.tree.map_structure(history, inputs), "output_layers": written_ends,
        },
    }  # fmt: skip


def _key(x: Any) -> tuple[int, int]:
    history = x._keras_history
    return id(history.operation), history.node_index


def _names(calls: Mapping[int, tuple[Any, Any]]) -> dict[int, str]:
    """Return a name for each operation that no other one has."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for owner, (operation, _) in calls.items():
        name, number = str(operation.name), 2
        free = name
        while free in taken:
            free, number = f"{name}_{number}", number + 1
        taken.add(free)
        names[owner] = free
    return names


def _argument(tree: Any, names: Mapping[int, str], numbers: Mapping[tuple[int, int], int]) -> Any:
    """Return an argument of a call as the config of a functional model writes it; slices and tensors as they are."""
    if isinstance(tree, keras.KerasTensor):
        history = [names[_key(tree)[0]], numbers[_key(tree)], tree._keras_history.tensor_index]
        return {"class_name": "__keras_tensor__", "config": {"shape": list(tree.shape), "keras_history": history}}
    if isinstance(tree, (list, tuple)):
        return [_argument(item, names, numbers) for item in tree]
    if isinstance(tree, Mapping):
        return {str(key): _argument(item, names, numbers) for key, item in tree.items()}
    if isinstance(tree, np.generic):
        return tree.item()
    if hasattr(tree, "shape") and hasattr(tree, "dtype"):
        return _constant(tree)
    return tree


def _constant(tensor: Any) -> Value:
    """Return a tensor of numbers: its elements if they are few whole numbers, else its shape."""
    shape = tuple(int(n) for n in tensor.shape)
    if isinstance(tensor, np.ndarray) and tensor.dtype.kind in "iu" and tensor.size <= MAX_ELEMENTS:
        return Builder("constant").constant(tensor.tolist())
    learned = isinstance(tensor, keras.Variable) and tensor.trainable
    weight = Value("constant", shape, True)
    return Builder("constant").learn(weight, f"variable {id(tensor)}") if learned else weight


# Layers.


def _config(operation: Any, node: Any) -> Config:
    """Return the config of a layer or an operation, with the graph of what it does if it is the user's own."""
    kind = type(operation)
    plain: Config = {"module": kind.__module__, "class_name": kind.__name__, "config": {}}
    ends = _graph(operation)
    if ends is not None:
        return {**plain, **_functional(str(operation.name), *ends)}
    if isinstance(operation, keras.layers.Lambda) and _keras_own(kind):
        return {"module": "keras.layers", "class_name": "Lambda", "config": {}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not _keras_own(kind):
                return {**plain, **_traced(operation, node)}
            return dict(keras.saving.serialize_keras_object(operation))
    except Exception as error:  # the user's own code runs here and may raise anything
        return {
            **plain,
            "module": f"live.{kind.__module__}",
            "why": f"what it does cannot be followed ({_first(error)})",
        }


def _traced(operation: Any, node: Any) -> Config:
    """Return the graph of what a layer of the user's own does when it is called as it was."""
    inputs: list[Any] = []

    def fresh(x: Any) -> Any:
        if not isinstance(x, keras.KerasTensor):
            return x
        inputs.append(keras.Input(batch_shape=x.shape, dtype=x.dtype))
        return inputs[-1]

    args = [keras.tree.map_structure(fresh, arg) for arg in node.arguments.args]
    kwargs = {
        name: keras.tree.map_structure(fresh, value)
        for name, value in sorted(node.arguments.kwargs.items())
        if not name.endswith("mask")
    }
    return _functional(str(operation.name), inputs, _tensors(operation.call(*args, **kwargs)))


@contextmanager
def _untouched(model: Any) -> Iterator[None]:
    """Forget the calls that are made of a model's layers meanwhile."""
    layers = list(model._flatten_layers()) if hasattr(model, "_flatten_layers") else list(model.operations)
    before = [(layer, len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in layers]
    try:
        yield
    finally:
        for layer, inbound, outbound in before:
            del layer._inbound_nodes[inbound:], layer._outbound_nodes[outbound:]
