"""Models of OpenVINO, read into a tensor program; this module does not need openvino."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from rfgraph.importers.openvino import operators as openvino_operators  # noqa: F401  handlers register
from rfgraph.importers.openvino.file import FLOATS, Layer, Model, Port, decode
from rfgraph.importers.openvino.nodes import HANDLERS, Node
from rfgraph.importers.program import Given, Program, Shape, Value, symbol, text
from rfgraph.importers.spelling.handlers import UnspelledError
from rfgraph.importers.spelling.node import fits
from rfgraph.importers.spelling.reader import Reader as Base

#: Layers that a user knows by the module that they are in, where the model comes from PyTorch.
MODULES = frozenset(
    {
        "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul",
        "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "Interpolate",
    }
)  # fmt: skip


def programs_of(path: str) -> Callable[[Mapping[str, Given]], Program]:
    """Return what reads a model of OpenVINO anew for what is given of its inputs, a shape or what they hold."""
    model = decode(path)
    return lambda given: Reader(model, given).program()


class Reader(Base):
    """Reads the layers of one model, each after those that it reads, into a builder."""

    def __init__(self, model: Model, given: Mapping[str, Given] | None = None) -> None:
        super().__init__(model.name)
        self.model = model
        self.given = given or {}
        self.build.learned = set()
        self.resized = False
        self.scope: dict[tuple[str, str], Value] = {}

    def program(self) -> Program:
        """Return the program.

        Raises
        ------
        ModelFileError
            If a layer is malformed, or the model has no outputs.
        """
        outputs, titles = [], []
        for layer in self.ordered():
            if layer.op == "Result":
                source = self.source(layer, layer.inputs[0] if layer.inputs else "")
                outputs.append(self.scope[source])
                names = [one.names for one in self.model.layers[source[0]].outputs if one.id == source[1]]
                titles.append(names[0][0] if names and names[0] else "")
            else:
                self.layer(layer)
        if not outputs:
            raise self.fail("the model has no outputs")
        return self.build.program(outputs, titles)

    def source(self, layer: Layer, port: str) -> tuple[str, str]:
        """Return the layer and port that make what a port of a layer reads."""
        end = self.model.edges.get((layer.id, port))
        if end is None or end[0] not in self.model.layers:
            raise self.fail(f"layer {layer.name[:80]!r} ({layer.op}): nothing is connected to its port {port}")
        if all(one.id != end[1] for one in self.model.layers[end[0]].outputs):
            raise self.fail(f"layer {layer.name[:80]!r} ({layer.op}): it reads port {end[1]}, which no layer has")
        return end

    def ordered(self) -> Iterator[Layer]:
        """Return the layers, each after those that it reads."""
        reads = {
            layer.id: [self.source(layer, port)[0] for port in layer.inputs if (layer.id, port) in self.model.edges]
            for layer in self.model.layers.values()
        }
        readers: dict[str, list[str]] = {}
        for one, others in reads.items():
            for other in others:
                readers.setdefault(other, []).append(one)
        waiting = {one: len(others) for one, others in reads.items()}
        ready = [one for one in reversed(list(reads)) if not waiting[one]]
        count = 0
        while ready:
            one = ready.pop()
            count += 1
            yield self.model.layers[one]
            for other in reversed(readers.get(one, ())):
                waiting[other] -= 1
                if not waiting[other]:
                    ready.append(other)
        if count < len(reads):
            raise self.fail("its layers read each other in a circle")

    def layer(self, layer: Layer) -> None:
        """Read one layer."""
        name = called(layer)
        if layer.op == "Parameter":
            self.parameter(layer)
            return
        if layer.op == "Const":
            self.constant(layer)
            return
        values: list[Value | None] = []
        for port in layer.inputs:  # one to which nothing is connected is left out
            values.append(self.scope[self.source(layer, port)] if (layer.id, port) in self.model.edges else None)
        outputs = tuple((f"{name}:{k}" if k else name, self.shape(port, name)) for k, port in enumerate(layer.outputs))
        node = Node(name, layer.op, tuple(values), layer.attributes, layer.opset, outputs)
        results = self.all_outputs(node, len(outputs), partial(self.made, node), partial(self.opaque, node))
        self.scope.update(((layer.id, end.id), value) for end, value in zip(layer.outputs, results, strict=True))

    def parameter(self, layer: Layer) -> None:
        """Add an input."""
        if len(layer.outputs) != 1:
            raise self.fail(f"input {layer.name[:80]!r} has {len(layer.outputs)} outputs, not one")
        (port,) = layer.outputs
        name = port.names[0] if port.names else layer.name
        stated = None if "..." in layer.attributes.get("shape", "") else self.shape(port, name)
        told = self.given.get(name)
        shape = told if isinstance(told, tuple) else ()
        self.resized |= any(a != b for a, b in zip(shape, stated or (), strict=False) if isinstance(b, int))
        self.scope[layer.id, port.id] = self.build.input(name, stated, told)

    def constant(self, layer: Layer) -> None:
        """Note a constant: what it holds, or that it is learned."""
        if len(layer.outputs) != 1:
            raise self.fail(f"constant {layer.name[:80]!r} has {len(layer.outputs)} outputs, not one")
        (port,) = layer.outputs
        data = self.model.contents.get(layer.id)
        if data is not None:
            value = self.build.constant(data, name=layer.name)
        else:
            value = self.build.weight(self.shape(port, layer.name), layer.name)
        kind = layer.attributes.get("element_type", "")
        learned = (kind in FLOATS or kind in ("i8", "u8", "i4", "u4")) and value.shape != ()
        self.scope[layer.id, port.id] = self.build.learn(value, f"{layer.name}:{layer.id}") if learned else value

    def shape(self, port: Port, name: str) -> Shape:
        """Return the shape that the file states of a tensor; sizes that it leaves open are symbols."""
        return tuple(symbol(f"{name}.{d}") if size is None else size for d, size in enumerate(port.shape))

    def made(self, node: Node) -> Sequence[Value]:
        """Return what a layer makes, as many of its outputs as are followed."""
        learns = HANDLERS.learns(node.op)
        given = [(i, value) for i, value in enumerate(node.inputs) if value is not None]
        reads = [value for i, value in given if learns is not None and i in learns.inputs and value.constant]
        if all(value.constant for _, value in given):
            reads = []  # what is made of constants alone is counted where it is read
        outputs = self.by_handler(HANDLERS, node, reads)
        for value, (_, stated) in zip(outputs, node.outputs, strict=False):
            if not self.resized and value.shape is not None and stated is not None and not fits(value.shape, stated):
                raise UnspelledError(f"its shape should be {text(stated)}, which is not {text(value.shape)}")
        return outputs

    def opaque(self, node: Node, k: int, why: str) -> Value:
        """Return output ``k`` of a layer of which nothing is known but perhaps its shape."""
        operands, shape = node.tensors(), node.outputs[k][1]
        if self.resized or any(not isinstance(size, int) for size in shape or ()):
            shape = None
        learned = [value for value in operands if value.constant]
        return self.unknown((node.outputs[k][0], node.op), why, shape, operands, learned if not k else ())


_TRACED = re.compile(r"__module\.(?P<path>[^/]*)/(?P<function>[\w:]+)/(?P<op>\w+)")


def called(layer: Layer) -> str:
    """Return what a person calls a layer: by its module, where the model comes from PyTorch.

    Examples
    --------
    >>> called(Layer("2", "__module.stem.0/aten::_convolution/Convolution", "Convolution", 1, {}, (), ()))
    'stem.0'
    >>> called(Layer("3", "__module.stem.0/aten::_convolution/Add", "Add", 1, {}, (), ()))
    'stem.0/add'
    """
    match = _TRACED.fullmatch(layer.name)
    if match is None:
        return layer.name
    return match["path"] if layer.op in MODULES else f"{match['path']}/{layer.op.lower()}"
