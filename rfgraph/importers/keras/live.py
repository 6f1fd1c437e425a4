"""Live Keras 3 models, brought to the config that a file holds and read as one.

A functional or sequential model has its graph already. Models, layers and activations of the user's own are called on
symbolic tensors: what they do with layers and ``keras.ops`` is their graph. Such code computes with sizes, so it is
called on sizes that are numbers: those of an example, and a batch of one where none is given. Where that does not work
(other frameworks' functions on tensors, loops over data) the layer is unknown, and said to be.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import keras
import networkx as nx
import numpy as np

from rfgraph.errors import ModelFileError
from rfgraph.importers.keras.config import Model
from rfgraph.importers.keras.nodes import flat
from rfgraph.importers.keras.reader import input_names, lowered
from rfgraph.importers.lowering.layout import Axes
from rfgraph.importers.program import MAX_ELEMENTS, Builder, Numbers, Shape, Value

Config = dict[str, Any]


def graph_of(
    model: Any, example: Any, treat: Mapping[str, str] | None = None, input_size: Any = None, axes: Axes | None = None
) -> nx.DiGraph[Any]:
    """Return the network graph of a live model; with an input size it is read, or called, for that size.

    Parameters
    ----------
    model
        A functional, sequential or subclassed model, or a layer.
    example
        Full shape of its input or a tensor, a list of these or a mapping from names; needed where the model has no
        inputs of its own.
    treat, input_size, axes
        As for ``rfgraph.importers.load``.

    Raises
    ------
    ModelFileError
        If there is no example where one is needed, or the model cannot be called on it.
    """
    name = str(getattr(model, "name", None) or type(model).__name__)
    given = None if example is None else _mapped(example, _tensor)
    with _untouched(model), _deferring():
        ends = _graph(model)
        if ends is None and given is None:
            raise ModelFileError(
                f"a live model ({name}) without inputs of its own is called on an example; pass example=, the full "
                "shape of its input such as (1, 224, 224, 3), a tensor, or a list or mapping of these"
            )
        own = None if ends is None else Model(name, _functional(name, *ends))
        if own is not None and ends is not None:
            shapes = {} if given is None else _shapes(own.layer, given, name)
            if not _has_code(model):
                return lowered(own, treat, input_size, shapes, axes=axes)
            given = [(_sized(_name(x), shapes.get(_name(x), x.shape), input_size), x.dtype) for x in flat(ends[0])]

        def called(sizes: Any) -> Model:
            try:
                return Model(name, _called(model, sizes, name))
            except ModelFileError:
                if own is None:
                    raise
                return own  # it is read for sizes that it does not run on

        first = called(given)

        def again(asked: Mapping[str, Shape]) -> Model:
            names = iter(input_names(first.layer))
            return called(_mapped(given, lambda pair: (_numbers(asked.get(next(names), pair[0])), pair[1])))

        return lowered(first, treat, input_size, None, again, axes)


def graph_at_any_size(
    model: Any, example: Any, treat: Mapping[str, str] | None = None, axes: Axes | None = None
) -> nx.DiGraph[Any] | None:
    """Return the network graph of a model whose inputs may have any size, ``None`` where it does not tell itself.

    It does where it has inputs of its own whose sizes are open, and no code of the user's, which may ask for them.
    """
    with _untouched(model), _deferring():
        ends = _graph(model)
        if ends is None or _has_code(model):
            return None
        name = str(getattr(model, "name", None) or type(model).__name__)
        graph = lowered(Model(name, _functional(name, *ends)), treat, None, {}, axes=axes)
    sizes = [attributes.get("size", ()) for _, attributes in graph.nodes(data=True) if attributes["op"] == "input"]
    return None if any(isinstance(size, int) for size in chain(*sizes)) else graph


def _sized(name: str, shape: Sequence[Any], input_size: Any) -> tuple[int | None, ...]:
    """Return the shape of an input in which the input size stands for the sizes that are open, but for the batch."""
    places = [d for d, n in enumerate(shape) if n is None and d]
    asked = input_size.get(name) if isinstance(input_size, Mapping) else input_size
    sizes = [asked] * len(places) if isinstance(asked, int) else list(asked or ())
    known = dict(zip(places, sizes, strict=True)) if len(sizes) == len(places) else {}
    return _numbers([known.get(d, n) for d, n in enumerate(shape)])


def _numbers(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(n if isinstance(n, int) else None for n in shape)


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


def _shapes(layer: Mapping[str, Any], given: Any, name: str) -> dict[str, Shape]:
    """Return the shapes of a model's own inputs that an example gives."""
    names = list(input_names(layer))
    pairs = given if isinstance(given, dict) else dict(zip(names, given if isinstance(given, list) else [given],
                                                           strict=False))  # fmt: skip
    if set(pairs) != set(names) or any(not _is_pair(pair) for pair in pairs.values()):
        raise ModelFileError(f"{name}: its inputs are {', '.join(names)}; give an example of each, in this order")
    shapes: dict[str, Shape] = {}
    for key, (shape, _) in pairs.items():
        own = next(item["config"]["batch_shape"] for item in layer["config"]["layers"] if item["name"] == key)
        if len(own) != len(shape):
            raise ModelFileError(f"{name}: its input {key!r} has {len(own)} dimensions, the example {len(shape)}")
        if all(n is not None for n in shape):
            shapes[key] = tuple(n for n in shape if n is not None)
    return shapes


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
    ends = _graph(model)
    own = _parameters(model)[0] if ends is None else [_name(x) for x in flat(ends[0])]

    def symbolic(item: Any, name: str | None) -> Any:
        return _mapped(item, lambda pair: keras.Input(batch_shape=_batched(pair[0]), dtype=pair[1], name=name))

    if isinstance(given, dict):
        return {key: symbolic(item, key if _is_pair(item) else None) for key, item in given.items()}
    if isinstance(given, list):
        names = own if len(own) >= len(given) else []
        return [symbolic(item, names[k] if names and _is_pair(item) else None) for k, item in enumerate(given)]
    return symbolic(given, own[0] if own else None)


def _batched(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return a shape with a batch of one, if its batch is open."""
    return tuple(1 if n is None and d == 0 else n for d, n in enumerate(shape))


def _parameters(model: Any) -> tuple[list[str], list[str]]:
    """Return the names of what a model can be called with by place, and of what it has to be."""
    parameters = inspect.signature(model.call).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names, [p.name for p in parameters if p.default is p.empty and p.name in names and not _asked(p.name)]


def _asked(name: str) -> dict[str, Any]:
    """Return the argument that Keras itself gives a ``call`` with a parameter of that name, if it gives one."""
    return {name: False} if name == "training" else {name: None} if name.endswith("mask") else {}


def _outputs(model: Any, inputs: Any) -> Any:
    """Return the structure of symbolic tensors that a model makes of symbolic tensors."""
    args, kwargs = _arguments(model, inputs)
    if not _keras_own(type(model), "call") and not model.built:
        model(*args, **_completed(model, args, kwargs))
    return _run(model, args, kwargs)


def _run(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the symbolic tensors that a layer makes of its arguments, one call of an inner layer after the other."""
    if _keras_own(type(operation), "call"):
        if isinstance(operation, keras.Sequential):
            outputs = args[0]
            for layer in operation.layers:
                outputs = layer(outputs)
            return _tensors(outputs)
        if isinstance(operation, keras.Function):
            return _tensors(operation._run_through_graph(list(args)))
        return _tensors(operation(*args, **kwargs))
    return _tensors(operation.call(*args, **_completed(operation, args, kwargs)))


def _completed(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords for the ``call`` of a layer: those that it takes, and those that it needs."""
    parameters = inspect.signature(layer.call).parameters
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {name: value for name, value in kwargs.items() if name in parameters or any_name or not _asked(name)}
    for name, parameter in list(parameters.items())[len(args) :]:
        if parameter.default is parameter.empty and name not in given:
            given |= _asked(name)
    return given


def _arguments(model: Any, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a model is called with: several inputs are several arguments if it has that many, else one."""
    if _graph(model) is not None:
        return tuple(flat(inputs)), {}
    names, needed = _parameters(model)
    if isinstance(inputs, dict) and set(inputs) <= set(names) and set(needed) <= set(inputs):
        return (), inputs
    if isinstance(inputs, list) and len(needed) == len(inputs) > 1:
        return tuple(inputs), {}
    return (inputs,), {}


def _tensors(outputs: Any) -> Any:
    for item in flat(outputs):
        if not isinstance(item, keras.KerasTensor):
            raise TypeError(f"it makes {type(item).__name__} of symbolic tensors, which cannot be followed")
    return outputs


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


def _name(x: Any) -> str:
    """Return what the input of a graph is called."""
    return str(x._keras_history.operation.name)


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
    weight = Value("constant", shape, True, numbers=Numbers(lambda: np.asarray(tensor)))
    return Builder("constant").learn(replace(weight, numbers=None), f"variable {id(tensor)}") if learned else weight


# Layers.


def _config(operation: Any, node: Any) -> Config:
    """Return the config of a layer or an operation, with the graph of what it does if it is the user's own."""
    kind = type(operation)
    plain: Config = {"module": kind.__module__, "class_name": kind.__name__, "config": {}}
    ends = _graph(operation)
    if ends is not None and not _has_code(operation):
        return {**plain, **_functional(str(operation.name), *ends)}
    if isinstance(operation, keras.layers.Lambda) and _keras_own(kind):
        return {"module": "keras.layers", "class_name": "Lambda", "config": {}}
    if not _keras_own(kind) or ends is not None:
        return _followed(plain, node.input_tensors, lambda: _traced(operation, node))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = dict(keras.saving.serialize_keras_object(operation))
    except Exception as error:  # the user's own code runs here and may raise anything
        return _unfollowed(plain, node.input_tensors, error)
    return _with_functions(config, operation, node)


def _followed(plain: Config, inputs: Sequence[Any], trace: Callable[[], Config]) -> Config:
    """Return the graph that ``trace`` makes of code of the user's own, called on ``inputs``, or why it makes none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {**plain, **trace()}
    except Exception as error:  # the user's own code runs here and may raise anything
        return _unfollowed(plain, inputs, error)


def _unfollowed(plain: Config, inputs: Sequence[Any], error: Exception) -> Config:
    why = f"what it does cannot be followed ({_first(error)})"
    if any(n is None for x in inputs for n in x.shape):
        why += "; sizes of its input are open: pass example= or an input size"
    return {**plain, "module": f"live.{plain['module']}", "why": why}


def _with_functions(config: Config, operation: Any, node: Any) -> Config:
    """Return the config of one of Keras's layers with the graphs of the user's own code that it runs."""
    inner = dict(config.get("config") or {})
    function: Any = getattr(operation, "activation", None)
    layer: Any = getattr(operation, "layer", None)
    if _is_code(function):
        name = str(getattr(function, "__name__", "function")).strip("<>")
        plain = {"module": "live", "class_name": name, "registered_name": name, "config": {}}

        def graph() -> Config:
            x = keras.Input(batch_shape=node.outputs[0].shape, dtype=node.outputs[0].dtype)
            return {**_functional(name, [x], _tensors(function(x))), "registered_name": name}

        inner["activation"] = _followed(plain, node.outputs, graph)
    if isinstance(layer, keras.Layer) and _has_code(layer) and len(node.input_tensors) == 1:
        (x,) = node.input_tensors
        shape = tuple(x.shape)
        if isinstance(operation, keras.layers.TimeDistributed):
            shape = (None if None in shape[:2] else shape[0] * shape[1], *shape[2:])
        plain = {"module": type(layer).__module__, "class_name": type(layer).__name__, "config": {}}

        def inside() -> Config:
            fresh = keras.Input(batch_shape=shape, dtype=x.dtype)
            return _functional(str(layer.name), [fresh], _run(layer, [fresh], {}))

        inner["layer"] = {**_followed(plain, [x], inside), "name": str(layer.name)}
    return {**config, "config": inner}


def _is_code(function: Any) -> bool:
    """Whether a layer's activation is code of the user's own."""
    if isinstance(function, keras.Layer):
        return not _keras_own(type(function))
    return callable(function) and getattr(function, "__module__", "") != keras.activations.relu.__module__


def _has_code(layer: Any) -> bool:
    """Whether a layer runs code of the user's own, in itself or in a layer in it."""
    return any(
        not _keras_own(type(one), "call") or _is_code(getattr(one, "activation", None)) for one in _operations(layer)
    )


def _operations(model: Any) -> list[Any]:
    """Return a layer, the layers in it, and the operations of their graphs."""
    operations: dict[int, Any] = {}
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if id(one) not in operations:
            operations[id(one)] = one
            waiting += one._flatten_layers(include_self=False) if hasattr(one, "_flatten_layers") else []
            waiting += one.operations if isinstance(one, keras.Function) else []
    return list(operations.values())


def _traced(operation: Any, node: Any) -> Config:
    """Return the graph of what a layer does when it is called as it was."""
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
    return _functional(str(operation.name), inputs, _run(operation, args, kwargs))


@contextmanager
def _untouched(model: Any) -> Iterator[None]:
    """Forget the calls that are made of a model's layers meanwhile."""
    before = [(layer, len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in _operations(model)]
    try:
        yield
    finally:
        for layer, inbound, outbound in before:
            del layer._inbound_nodes[inbound:], layer._outbound_nodes[outbound:]


#: Operators that a symbolic tensor on their right can compute. ``==`` is none: it would tell whether two are one.
OPERATORS = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lt", "le", "gt", "ge",
)  # fmt: skip


@contextmanager
def _deferring() -> Iterator[None]:
    """Let variables and arrays leave an operator to the symbolic tensor on its right, as they do to one on its left."""
    kind = keras.Variable
    names = [f"__{name}__" for name in OPERATORS]
    own = {name: vars(kind)[name] for name in names if name in vars(kind)}

    def deferring(operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda self, other: NotImplemented if isinstance(other, keras.KerasTensor) else operator(self, other)

    try:
        keras.KerasTensor.__array_ufunc__ = None
        for name in names:
            setattr(kind, name, deferring(getattr(kind, name)))
        yield
    finally:
        del keras.KerasTensor.__array_ufunc__
        for name in names:
            delattr(kind, name)
        for name, operator in own.items():
            setattr(kind, name, operator)
