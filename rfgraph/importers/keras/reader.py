"""Configs of Keras models, read into a tensor program; this module does not need keras.

A ``.keras`` file is a zip with a ``config.json``: layers with their configs, and what each call of them is called with.
An ``.h5`` file of Keras 1 or 2 holds the like as an attribute, and what ``model.to_json()`` makes is the like too.
Nothing is deserialised, no weights are read and no function that a model holds is run. A live model is brought to the
same config first, so that there is one reader and one table of handlers for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import networkx as nx

from rfgraph.importers import archive, program
from rfgraph.importers.keras import config
from rfgraph.importers.keras import functions as keras_functions  # noqa: F401  they register handlers
from rfgraph.importers.keras import operations as keras_ops  # noqa: F401  they register handlers
from rfgraph.importers.keras import sequences as keras_sequences  # noqa: F401  they register handlers
from rfgraph.importers.keras.nodes import HANDLERS, Made, Node, flat
from rfgraph.importers.keras.weights import learned
from rfgraph.importers.lowering.layout import Axes
from rfgraph.importers.lowering.lower import lower_for
from rfgraph.importers.program import Dim, Program, Shape, Value, symbol, text, unknown
from rfgraph.importers.spelling import Reader as Base
from rfgraph.importers.spelling import UnspelledError
from rfgraph.importers.spelling.operations import pointwise

#: Models within models, deeper than this, are refused.
MAX_DEPTH = 32
#: And models of more calls of layers than this, those of a nested model counted each time that it is called.
MAX_CALLS = 20_000
#: Outputs of one layer.
MAX_OUTPUTS = 4096


def program_of(model: config.Model, shapes: Mapping[str, Shape] | None = None) -> Program:
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

    def __init__(self, model: config.Model, shapes: Mapping[str, Shape] | None = None) -> None:
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
        if config.is_functional(layer):
            graph = config.graph_of(layer["config"])
            refs = [ref for ref in flat(graph.inputs) if isinstance(ref, config.Ref)]
            inputs = [self.input(graph.layers[ref.layer], ref.layer) for ref in refs]
            values = self.run(graph, inputs, "")
            titles = config.titles_of(graph)
        elif config.is_sequential(layer):
            layers = config.layers_of(layer["config"])
            first, shape = layers[0], config.sequential_shape(layer)
            name = config.name_of(first) if first.get("class_name") == "InputLayer" else "input"
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

    def input(self, layer: config.Layer, name: str) -> Value:
        """Add an input of the model."""
        return self.placeholder(name, config.input_shape(layer))

    def placeholder(self, name: str, stated: tuple[int | None, ...] | None) -> Value:
        """Add an input of a stated shape, unless another is asked for."""
        own = None if stated is None else tuple(symbol(f"{name}.{d}") if n is None else n for d, n in enumerate(stated))
        asked = self.shapes.get(name)
        if asked is not None and stated is not None:
            self.resized |= any(n is not None and n != m for n, m in zip(stated, asked, strict=False))
        if asked is None and own is None:
            raise self.fail("its config does not state the shape of its input; build the model before it is saved")
        return self.build.input(config.cut_name(name), own if asked is None else asked)

    # Layers.

    def apply(self, layer: config.Layer, args: Sequence[Any], kwargs: Mapping[str, Any], name: str,
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
            return self.made(layer, tuple(args), kwargs, config.cut_name(name), stated)

    def made(
        self, layer: config.Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str,
        stated: Sequence[tuple[int | None, ...] | None],
    ) -> list[Value]:  # fmt: skip
        """Return what a layer makes, by its handler or as a model of its own."""
        op = config.op_of(layer)

        def apply(inner: config.Layer, args: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> list[Value]:
            try:
                return self.apply(inner, args, kwargs, name)
            finally:
                self.build.at(node.name, op)  # what follows is of this layer again

        node = Node(name, op, layer.get("config") or {}, args, kwargs, self.resized, apply)
        before = len(self.build.instructions)
        self.build.at(name, op)

        def spell() -> list[Value]:
            if config.is_functional(layer) or config.is_sequential(layer):
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
                if shape is not None and value.shape is not None and not config.fits(value.shape, shape):
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

    def name_of(self, layer: config.Layer) -> str:
        """Return the name of a model."""
        return str(layer["config"].get("name") or layer.get("class_name"))

    def nested(self, layer: config.Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> list[Value]:
        """Return what a model makes that is called as a layer."""
        around = self.resized
        try:
            if config.is_sequential(layer):
                values = [item for item in flat((args, _but_masks(kwargs))) if isinstance(item, Value)]
                self.refit([config.sequential_shape(layer)], values)
                return self.chain(config.layers_of(layer["config"]), values, f"{name}/", name)
            graph = config.graph_of(layer["config"])
            values = _bound(graph, args, kwargs)
            refs = [ref for ref in flat(graph.inputs) if isinstance(ref, config.Ref)]
            self.refit([config.input_shape(graph.layers[ref.layer]) for ref in refs], values)
            return self.run(graph, values, f"{name}/")
        finally:
            self.resized = around

    def refit(self, stated: Sequence[tuple[int | None, ...] | None], values: Sequence[Any]) -> None:
        """Note whether a nested model is called on other sizes than it was made for."""
        for shape, value in zip(stated, values, strict=False):
            if shape is not None and isinstance(value, Value) and value.shape is not None:
                self.resized |= not config.fits(value.shape, shape)

    def chain(self, layers: Sequence[config.Layer], values: Sequence[Value], prefix: str, name: str) -> list[Value]:
        """Return what layers make that are called one after the other."""
        if len(values) != 1:
            raise self.fail(f"sequential model {name!r} is called on {len(values)} tensors, not one")
        outputs = list(values)
        for k, layer in enumerate(layers):
            if layer.get("class_name") == "InputLayer":
                continue
            follower = layers[k + 1] if k + 1 < len(layers) else {}
            shape = (
                None
                if config.is_functional(follower) or config.is_sequential(follower)
                else config.built_shape(follower)
            )
            read = config.built_shape(layer)
            if read is not None:
                self.said[outputs[0].name] = read
            outputs = self.apply(
                layer, (outputs[0],), {}, prefix + config.name_of(layer), () if shape is None else (shape,)
            )
            if not outputs:
                raise self.fail(f"layer {config.name_of(layer)!r} makes nothing")
        return outputs

    def run(self, graph: config.Graph, values: Sequence[Any], prefix: str) -> list[Any]:
        """Return the outputs of a functional model whose inputs are bound to ``values``."""
        scope: dict[tuple[str, int], list[Any]] = {}
        refs = [ref for ref in flat(graph.inputs) if isinstance(ref, config.Ref)]
        for ref, value in zip(refs, values, strict=True):
            scope.setdefault((ref.layer, ref.call), [])[ref.index :] = [value]
        counts: dict[tuple[str, int], int] = {}
        for layer, call, index in graph.stated:
            if index >= MAX_OUTPUTS:
                raise self.fail(f"output {index} of layer {layer[:80]!r} is stated; {MAX_OUTPUTS} are too many")
            counts[layer, call] = max(counts.get((layer, call), 0), index + 1)
        wanted = [ref for ref in flat(graph.outputs) if isinstance(ref, config.Ref)]
        for ref in wanted:
            self.resolve(graph, ref, scope, prefix, counts)
        return [_taken(scope, ref) for ref in wanted]

    def resolve(
        self, graph: config.Graph, wanted: config.Ref, scope: dict[tuple[str, int], list[Any]], prefix: str,
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
            needed = [ref for ref in flat((call.args, dict(call.kwargs))) if isinstance(ref, config.Ref)]
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


def _taken(scope: Mapping[tuple[str, int], Sequence[Any]], ref: config.Ref) -> Any:
    outputs = scope[ref.layer, ref.call]
    if not 0 <= ref.index < len(outputs):
        raise ValueError(f"output {ref.index} of {ref.layer[:80]!r} is read, which makes {len(outputs)}")
    return outputs[ref.index]


def _resolved(structure: Any, scope: Mapping[tuple[str, int], Sequence[Any]]) -> Any:
    if isinstance(structure, config.Ref):
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


def _bound(graph: config.Graph, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return what a model's inputs are bound to, in their order."""
    given: Any = args[0] if len(args) == 1 and not any(isinstance(v, Value) for v in flat(_but_masks(kwargs))) else (
        args, _but_masks(kwargs)
    )  # fmt: skip
    refs = [ref for ref in flat(graph.inputs) if isinstance(ref, config.Ref)]
    if isinstance(given, Mapping) and not isinstance(graph.inputs, dict):
        given = [given.get(ref.layer) for ref in refs]
    values = [item for item in flat(given) if isinstance(item, Value) or item is None]
    if len(values) != len(refs):
        values = [item for item in values if item is not None]
    if len(values) != len(refs):
        raise ValueError(f"it takes {len(refs)} tensors, not {len(values)}")
    return values


def lowered(
    model: config.Model,
    treat: Mapping[str, str] | None = None,
    input_size: Any = None,
    shapes: Mapping[str, Shape] | None = None,
    again: Callable[[Mapping[str, Shape]], config.Model] | None = None,
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


def input_names(layer: config.Layer) -> Iterator[str]:
    """Return the names of a functional model's inputs, in order."""
    yield from (ref.layer for ref in flat(config.graph_of(layer["config"]).inputs) if isinstance(ref, config.Ref))
