"""Configs of Keras models, read into a tensor program; this module does not need keras.

A ``.keras`` file is a zip with a ``config.json``: layers with their configs, and what each call of them is called with.
An ``.h5`` file of Keras 1 or 2 holds the like as an attribute, and what ``model.to_json()`` makes is the like too.
Nothing is deserialised, no weights are read and no function that a model holds is run. A live model is brought to the
same config first, so that there is one reader and one table of handlers for both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any
from zipfile import ZipFile

import networkx as nx

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.keras import functions as keras_functions  # noqa: F401  they register handlers
from rfgraph.importers.keras import hdf5
from rfgraph.importers.keras import operations as keras_ops  # noqa: F401  they register handlers
from rfgraph.importers.keras import sequences as keras_sequences  # noqa: F401  they register handlers
from rfgraph.importers.keras.before import modern
from rfgraph.importers.keras.nodes import HANDLERS, Made, Node, flat, leaves
from rfgraph.importers.keras.weights import learned
from rfgraph.importers.lowering.layout import Axes
from rfgraph.importers.lowering.lower import lower_for
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Dim, Shape, symbol, unknown
from rfgraph.importers.program.folding import MAX_ELEMENTS
from rfgraph.importers.program.primitives import Program, Value
from rfgraph.importers.program.shapes import text
from rfgraph.importers.spelling import archive
from rfgraph.importers.spelling.arguments import whole_number
from rfgraph.importers.spelling.handlers import UnspelledError
from rfgraph.importers.spelling.operations import MAX_PIECES, pointwise
from rfgraph.importers.spelling.reader import Reader as Base

#: Models within models, deeper than this, are refused.
MAX_DEPTH = 32
#: And models of more calls of layers than this, those of a nested model counted each time that it is called.
MAX_CALLS = 20_000
#: Names are cut to this: those of nested models follow each other.
MAX_NAME = 200
#: Outputs of one layer.
MAX_OUTPUTS = 4096

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

    Parameters
    ----------
    path
        The file.

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


def program_of(model: Model, shapes: Mapping[str, Shape] | None = None) -> Program:
    """Return the tensor program of a model.

    Parameters
    ----------
    shapes
        Shapes of inputs, by name, in place of the model's own.

    Raises
    ------
    ModelFileError
        If a config is malformed, or of more than is read.
    """
    with archive.refusing(model.name, "a model that Keras makes"):
        return Reader(model, shapes).program()


class Reader(Base):
    """Reads the config of one model into a builder."""

    noun = "layer"

    def __init__(self, model: Model, shapes: Mapping[str, Shape] | None = None) -> None:
        super().__init__(model.name)
        self.model = model
        self.shapes = shapes or {}
        self.build.learned = set()  # of each layer it is told when it is read
        self.called = 0  # layers, those of nested models each time counted
        self.resized = False
        #: Shapes that the model states of values, by their names, where they are read last.
        self.said: dict[str, tuple[int | None, ...]] = {}

    def program(self) -> Program:
        """Return the program."""
        layer, titles = self.model.layer, list[str]()
        if _functional(layer):
            graph = _graph(layer["config"])
            refs = [ref for ref in flat(graph.inputs) if isinstance(ref, Ref)]
            inputs = [self.input(graph.layers[ref.layer], ref.layer) for ref in refs]
            values = self.run(graph, inputs, "")
            titles = _titles(graph)
        elif _sequential(layer):
            layers = _layers(layer["config"])
            first, shape = layers[0], _sequential_shape(layer)
            name = _name(first) if first.get("class_name") == "InputLayer" else "input"
            values = self.chain(layers, [self.placeholder(name, shape)], "", self.name_of(layer))
        else:
            kind = layer.get("class_name")
            raise self.fail(
                f"a model of class {kind!r} whose graph is not in its config: Keras saves that of functional and "
                "sequential models only; pass the live model with an example"
            )
        named = zip(values, titles or [""] * len(values), strict=True)
        outputs = [(value, title) for value, title in named if isinstance(value, Value)]
        if not outputs:
            raise self.fail("the model has no outputs")
        return self.build.program([value for value, _ in outputs], [title for _, title in outputs])

    # Inputs.

    def input(self, layer: Layer, name: str) -> Value:
        """Add an input of the model."""
        return self.placeholder(name, _input_shape(layer))

    def placeholder(self, name: str, stated: tuple[int | None, ...] | None) -> Value:
        """Add an input of a stated shape, unless another is asked for."""
        own = None if stated is None else tuple(symbol(f"{name}.{d}") if n is None else n for d, n in enumerate(stated))
        asked = self.shapes.get(name)
        if asked is not None and stated is not None:
            self.resized |= any(n is not None and n != m for n, m in zip(stated, asked, strict=False))
        if asked is None and own is None:
            raise self.fail("its config does not state the shape of its input; build the model before it is saved")
        return self.build.input(_cut(name), own if asked is None else asked)

    # Layers.

    def apply(self, layer: Layer, args: Sequence[Any], kwargs: Mapping[str, Any], name: str,
              stated: Sequence[tuple[int | None, ...] | None] = ()) -> list[Value]:  # fmt: skip
        """Return what a layer makes of its arguments.

        Parameters
        ----------
        args, kwargs
            What it is called with.
        name
            What its node is called.
        stated
            Shapes of its outputs, as far as the model states them.
        """
        self.called += 1
        if self.called > MAX_CALLS:
            raise self.fail(f"it calls more than {MAX_CALLS} layers, those of nested models each time counted")
        if not isinstance(layer, Mapping) or not isinstance(layer.get("config", {}), Mapping):
            raise self.fail(f"layer {name!r} is not the config of a layer")
        with self.deeper(MAX_DEPTH, "its models are nested"):
            return self.made(layer, tuple(args), kwargs, _cut(name), stated)

    def made(
        self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str,
        stated: Sequence[tuple[int | None, ...] | None],
    ) -> list[Value]:  # fmt: skip
        """Return what a layer makes, by its handler or as a model of its own."""
        op = op_of(layer)

        def apply(inner: Layer, args: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> list[Value]:
            try:
                return self.apply(inner, args, kwargs, name)
            finally:
                self.build.at(node.name, op)  # what follows is of this layer again

        node = Node(name, op, layer.get("config") or {}, args, kwargs, self.resized, apply)
        before = len(self.build.instructions)
        self.build.at(name, op)

        def spell() -> list[Value]:
            if _functional(layer) or _sequential(layer):
                return self.masked(node, self.nested(layer, args, kwargs, name), before)
            self.build.at(name, op, [learned(node, layer)])
            known = HANDLERS.get(op)
            if known is None:
                raise UnspelledError(str(layer.get("why") or "")[:300])
            outputs = _outputs(known(node, self.build))
            outputs = self.masked(node, outputs, before)
            return self.checked(node, outputs, before, stated)

        return self.spelt(node, spell, lambda why: self.opaque(node, why, stated, learned(node, layer)))

    def masked(self, node: Node, outputs: list[Value], before: int) -> list[Value]:
        """Return the outputs of a layer once its masks are read too: they come along with its tensors."""
        masks = [item for name, value in node.kwargs.items() if name.endswith("mask") for item in flat([value])]
        for k, mask in enumerate(item for item in masks if isinstance(item, Value) and not item.constant):
            if mask.shape is None or not mask.shape or mask.name in self.read_since(before):
                continue
            for i, output in enumerate(outputs):
                if output.shape is not None and not output.constant:
                    self.build.at(node.name, node.op)
                    outputs[i] = self.hidden(output, mask, node.x, f"mask/{i}.{k}")
        return outputs

    def hidden(self, output: Value, mask: Value, x: Value, part: str) -> Value:
        """Return ``made`` where a mask lets it through: position by position where they lie alike, else all of it."""
        shape, own = output.shape or (), mask.shape or ()
        alike = x.shape is not None and len(x.shape) == len(shape) and x.shape[: len(own)] == shape[: len(own)] == own
        if not alike:
            dims = tuple(range(1, len(own)))
            mask = self.build(program.Reduce(function="max", dims=dims, keepdims=False), mask, part=f"{part}/any")
        rank = len(mask.shape or ())
        if len(shape) > rank:
            mask = self.build(program.Unsqueeze(dims=tuple(range(rank, len(shape)))), mask, part=f"{part}/wide")
        return pointwise(self.build, "where", output, mask, part=part)

    def read_since(self, before: int) -> set[str]:
        """Return the names of what instructions read that were written since."""
        return {value.name for step in self.build.instructions[before:] for value in step.inputs}

    def checked(
        self, node: Node, outputs: list[Value], before: int, stated: Sequence[tuple[int | None, ...] | None]
    ) -> list[Value]:
        """Return the outputs of a layer, once they read all it is given and have the shapes that the model states."""
        depends = [value for value in outputs if not value.constant]
        if depends:
            read = self.read_since(before) | {value.name for value in depends}
            for item in flat((node.args, dict(node.kwargs))):
                if isinstance(item, Value) and not item.constant and item.name not in read:
                    raise UnspelledError(f"what it does with {item.name} is not followed")
        if not self.resized:
            for value, shape in zip(outputs, stated, strict=False):
                if shape is not None and value.shape is not None and not _fits(value.shape, shape):
                    raise UnspelledError(f"its shape should be {list(shape)}, which is not {text(value.shape)}")
        return outputs

    def opaque(
        self, node: Node, why: str, stated: Sequence[tuple[int | None, ...] | None], weights: Value
    ) -> list[Value]:
        """Return the outputs of a layer of which nothing is known but perhaps their shapes."""
        operands = [item for item in flat((node.args, dict(node.kwargs))) if isinstance(item, Value)]
        outputs = []
        for k, shape in enumerate(stated or (None,)):
            known = self.shape_like(shape, operands, f"{node.name}.{k}")
            part = str(k) if k else ""
            outputs.append(self.unknown((node.name, node.op), why, known, operands, [weights], part))
        return outputs

    def shape_like(
        self, stated: tuple[int | None, ...] | None, operands: Sequence[Value], name: str
    ) -> Shape | None:  # fmt: skip
        """Return the shape that an output has as it is stated, with the batch of what the layer reads."""
        for value in operands:
            if stated is not None and self.said.get(value.name) == stated:
                return value.shape
        if stated is None or self.resized:
            return None
        batch = next((value.shape[0] for value in operands if value.shape), None)
        sizes: list[Dim] = [unknown(f"{name}.{d}") if n is None else n for d, n in enumerate(stated)]
        if sizes and stated[0] is None and batch is not None:
            sizes[0] = batch
        return tuple(sizes)

    # Models.

    def name_of(self, layer: Layer) -> str:
        """Return the name of a model."""
        return str(layer["config"].get("name") or layer.get("class_name"))

    def nested(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> list[Value]:
        """Return what a model makes that is called as a layer."""
        around = self.resized
        try:
            if _sequential(layer):
                values = [item for item in flat((args, _but_masks(kwargs))) if isinstance(item, Value)]
                self.refit([_sequential_shape(layer)], values)
                return self.chain(_layers(layer["config"]), values, f"{name}/", name)
            graph = _graph(layer["config"])
            values = _bound(graph, args, kwargs)
            refs = [ref for ref in flat(graph.inputs) if isinstance(ref, Ref)]
            self.refit([_input_shape(graph.layers[ref.layer]) for ref in refs], values)
            return self.run(graph, values, f"{name}/")
        finally:
            self.resized = around

    def refit(self, stated: Sequence[tuple[int | None, ...] | None], values: Sequence[Any]) -> None:
        """Note whether a nested model is called on other sizes than it was made for."""
        for shape, value in zip(stated, values, strict=False):
            if shape is not None and isinstance(value, Value) and value.shape is not None:
                self.resized |= not _fits(value.shape, shape)

    def chain(self, layers: Sequence[Layer], values: Sequence[Value], prefix: str, name: str) -> list[Value]:
        """Return what layers make that are called one after the other."""
        if len(values) != 1:
            raise self.fail(f"sequential model {name!r} is called on {len(values)} tensors, not one")
        outputs = list(values)
        for k, layer in enumerate(layers):
            if layer.get("class_name") == "InputLayer":
                continue
            follower = layers[k + 1] if k + 1 < len(layers) else {}
            shape = None if _functional(follower) or _sequential(follower) else _built_shape(follower)
            read = _built_shape(layer)
            if read is not None:
                self.said[outputs[0].name] = read
            outputs = self.apply(layer, (outputs[0],), {}, prefix + _name(layer), () if shape is None else (shape,))
            if not outputs:
                raise self.fail(f"layer {_name(layer)!r} makes nothing")
        return outputs

    def run(self, graph: Graph, values: Sequence[Any], prefix: str) -> list[Any]:
        """Return the outputs of a functional model whose inputs are bound to ``values``."""
        scope: dict[tuple[str, int], list[Any]] = {}
        refs = [ref for ref in flat(graph.inputs) if isinstance(ref, Ref)]
        for ref, value in zip(refs, values, strict=True):
            scope.setdefault((ref.layer, ref.call), [])[ref.index :] = [value]
        counts: dict[tuple[str, int], int] = {}
        for layer, call, index in graph.stated:
            if index >= MAX_OUTPUTS:
                raise self.fail(f"output {index} of layer {layer[:80]!r} is stated; {MAX_OUTPUTS} are too many")
            counts[layer, call] = max(counts.get((layer, call), 0), index + 1)
        wanted = [ref for ref in flat(graph.outputs) if isinstance(ref, Ref)]
        for ref in wanted:
            self.resolve(graph, ref, scope, prefix, counts)
        return [_taken(scope, ref) for ref in wanted]

    def resolve(
        self, graph: Graph, wanted: Ref, scope: dict[tuple[str, int], list[Any]], prefix: str,
        counts: Mapping[tuple[str, int], int],
    ) -> None:  # fmt: skip
        """Read the calls that make a tensor, those that they read before them; ``waiting`` is the stack of them."""
        waiting = [(wanted.layer, wanted.call)]
        open_: set[tuple[str, int]] = set()
        while waiting:
            key = waiting[-1]
            if key in scope:
                waiting.pop()
                continue
            name, number = key
            calls = graph.calls.get(name)
            if calls is None:
                raise self.fail(f"a layer called {name[:80]!r} is read, and there is none")
            layer = graph.layers[name]
            if layer.get("class_name") == "InputLayer":
                scope[key] = [self.input(layer, prefix + name)]
                continue
            if not 0 <= number < len(calls):
                raise self.fail(f"call {number} of layer {name[:80]!r} is read, which is called {len(calls)} times")
            call = calls[number]
            needed = [ref for ref in flat((call.args, dict(call.kwargs))) if isinstance(ref, Ref)]
            missing = [(ref.layer, ref.call) for ref in needed if (ref.layer, ref.call) not in scope]
            if missing:
                if key in open_:
                    raise self.fail(f"layer {name[:80]!r} reads what it makes itself")
                open_.add(key)
                waiting += reversed(missing)
                continue
            for ref in needed:
                value = _taken(scope, ref)
                if ref.shape is not None and isinstance(value, Value):
                    self.said[value.name] = ref.shape
            known = [graph.stated.get((name, number, k)) for k in range(counts.get(key, 0))]
            args, kwargs = _resolved(call.args, scope), _resolved(dict(call.kwargs), scope)
            scope[key] = list(self.apply(layer, args, kwargs, prefix + name, known))


def _taken(scope: Mapping[tuple[str, int], Sequence[Any]], ref: Ref) -> Any:
    outputs = scope[ref.layer, ref.call]
    if not 0 <= ref.index < len(outputs):
        raise ValueError(f"output {ref.index} of {ref.layer[:80]!r} is read, which makes {len(outputs)}")
    return outputs[ref.index]


def _resolved(structure: Any, scope: Mapping[tuple[str, int], Sequence[Any]]) -> Any:
    if isinstance(structure, Ref):
        return _taken(scope, structure)
    if isinstance(structure, tuple):
        return tuple(_resolved(item, scope) for item in structure)
    if isinstance(structure, dict):
        return {key: _resolved(item, scope) for key, item in structure.items()}
    return structure


def _outputs(output: Made) -> list[Value]:
    return [output] if isinstance(output, Value) else list(output)


def _but_masks(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if not name.endswith("mask")}


def _bound(graph: Graph, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return what a model's inputs are bound to, in their order."""
    given: Any = args[0] if len(args) == 1 and not any(isinstance(v, Value) for v in flat(_but_masks(kwargs))) else (
        args, _but_masks(kwargs)
    )  # fmt: skip
    refs = [ref for ref in flat(graph.inputs) if isinstance(ref, Ref)]
    if isinstance(given, Mapping) and not isinstance(graph.inputs, dict):
        given = [given.get(ref.layer) for ref in refs]
    values = [item for item in flat(given) if isinstance(item, Value) or item is None]
    if len(values) != len(refs):
        values = [item for item in values if item is not None]
    if len(values) != len(refs):
        raise ValueError(f"it takes {len(refs)} tensors, not {len(values)}")
    return values


def op_of(layer: Layer) -> str:
    """Return the name of a layer's class, with ``ops.`` before that of an operation.

    A class of the user's own that is called as one of Keras is goes by its module too.

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
    kind = _cut(kind)
    if module is not None and module.startswith(("keras.src.ops.", "keras.ops")):
        return f"ops.{kind}"
    if module is None:
        own = "module" not in layer  # Keras 2 leaves it out of what is its own
    else:
        own = module == "keras" or module.startswith(("keras.layers", "keras.src.", "keras.engine", "tf_keras."))
    return kind if own or kind not in HANDLERS else f"{_cut(module or 'custom')}.{kind}"


def _functional(layer: Layer) -> bool:
    """Whether the config of a layer holds the graph of a model."""
    config = layer.get("config")
    return isinstance(config, Mapping) and all(key in config for key in ("layers", "input_layers", "output_layers"))


def _sequential(layer: Layer) -> bool:
    """Whether the config of a layer holds the layers of a sequential model."""
    config = layer.get("config")
    kind = layer.get("class_name")
    return (
        isinstance(config, Mapping)
        and "layers" in config
        and not _functional(layer)
        and (kind == "Sequential" or "build_input_shape" in config)
    )


def _layers(config: Mapping[str, Any]) -> list[Layer]:
    layers = config["layers"]
    if not isinstance(layers, (list, tuple)) or not layers or not all(isinstance(item, Mapping) for item in layers):
        raise ValueError("its layers are not a list of configs")
    return list(layers)


def _name(layer: Layer) -> str:
    config = layer.get("config")
    name = layer.get("name", config.get("name") if isinstance(config, Mapping) else None)
    if name is None:
        name = layer.get("class_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{name!r} is no name of a layer")
    return name


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME // 2]}...{name[3 - MAX_NAME // 2 :]}"


def _shape(stated: Any) -> tuple[int | None, ...] | None:
    """Return a shape as configs state it, ``None`` if it is none."""
    if not isinstance(stated, (list, tuple)) or any(isinstance(n, (list, tuple, Mapping)) for n in stated):
        return None
    shape = tuple(None if n is None else whole_number("shape", n) for n in stated)
    if any(n is not None and n < 0 for n in shape):
        raise ValueError(f"shape {list(shape)} has a negative size")
    return shape


def _input_shape(layer: Layer) -> tuple[int | None, ...] | None:
    config = layer.get("config") or {}
    stated = _shape(config.get("batch_shape", config.get("batch_input_shape")))
    if stated is None and (shape := _shape(config.get("shape"))) is not None:
        return (None, *shape)
    return stated


def _built_shape(layer: Layer) -> tuple[int | None, ...] | None:
    """Return the shape of the tensor that a layer was built for, if it is stated."""
    built = layer.get("build_config")
    return _shape(built.get("input_shape")) if isinstance(built, Mapping) else None


def _sequential_shape(layer: Layer) -> tuple[int | None, ...] | None:
    """Return the shape of what a sequential model reads."""
    first = _layers(layer["config"])[0]
    own = _input_shape(first)
    for shape in (own, _shape(layer["config"].get("build_input_shape")), _built_shape(layer), _built_shape(first)):
        if shape is not None:
            return shape
    if _sequential(first):
        return _sequential_shape(first) if first is not layer else None
    return None


def _fits(shape: Shape, stated: Sequence[int | None]) -> bool:
    """Whether two shapes may be the same: sizes that are not numbers are not compared."""
    pairs = zip(shape, stated, strict=False)
    return len(shape) == len(stated) and all(n == m for n, m in pairs if isinstance(n, int) and m is not None)


# Graphs of functional models.


def _graph(config: Mapping[str, Any]) -> Graph:
    graph = Graph()
    for layer in _layers(config):
        name = _name(layer)
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


def _titles(graph: Graph) -> list[str]:
    """Return what a model calls its outputs: by their keys, or as the layers that make them are called."""
    titles = []
    for path, ref in leaves(graph.outputs):
        if isinstance(ref, Ref):
            nested = _functional(graph.layers.get(ref.layer, {})) or _sequential(graph.layers.get(ref.layer, {}))
            titles.append(path or ("" if nested else ref.layer))
    return titles


def _ends(structure: Any, layers: Mapping[str, Layer]) -> Any:
    """Return inputs or outputs of a model with ``Ref`` for what the config writes as a list of three."""
    if _is_history(structure):
        name, call, index = structure[:3]
        # Functional models have a call of their own, before those that others make, and configs count it here.
        inner = layers.get(name)
        return Ref(name, call - 1 if inner is not None and _functional(inner) and call > 0 else call, index)
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
    own = _functional(inner) or (
        _sequential(inner) and any(one.get("class_name") == "InputLayer" for one in _layers(inner["config"])[:1])
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


def lowered(
    model: Model,
    treat: Mapping[str, str] | None = None,
    input_size: Any = None,
    shapes: Mapping[str, Shape] | None = None,
    again: Callable[[Mapping[str, Shape]], Model] | None = None,
    axes: Axes | None = None,
) -> nx.DiGraph[Any]:
    """Return the network graph of a model.

    Parameters
    ----------
    treat, input_size, axes
        As for ``rfgraph.importers.load``.
    shapes
        Shapes of its inputs, by name, in place of its own.
    again
        Makes the model for other shapes of its inputs, as far as it can; if left out, the one that is there is read.
    """

    def read_for(asked: Mapping[str, Shape]) -> Program:
        return program_of(again(asked) if asked and again is not None else model, {**(shapes or {}), **asked})

    return lower_for(read_for, treat, input_size, axes=axes)


def input_names(layer: Layer) -> Iterator[str]:
    """Return the names of a functional model's inputs, in order."""
    yield from (ref.layer for ref in flat(_graph(layer["config"]).inputs) if isinstance(ref, Ref))
