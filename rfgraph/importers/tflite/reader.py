"""Graphs of TFLite models, read into a tensor program; this module does not need tflite."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any

import numpy as np

from rfgraph.frozen import dataclass
from rfgraph.importers.program import Data, Given, Program, Shape, Value, symbol
from rfgraph.importers.spelling.handlers import UnspelledError
from rfgraph.importers.spelling.operations import either
from rfgraph.importers.spelling.reader import Reader as Base
from rfgraph.importers.tflite.operators import HANDLERS, Node, Output

#: Operators read of one file, those of bodies each time: beyond it the file is refused.
MAX_STEPS = 100_000
#: Graphs that call graphs, deeper than this, are refused.
MAX_CALLS = 32
#: Loops of more turns than this are not unrolled.
MAX_TURNS = 64

#: Options that name the one graph that an operator calls as it is.
CALLS = {"CALL": "Subgraph", "STABLEHLO_COMPOSITE": "DecompositionSubgraphIndex"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the file states it."""

    name: str
    #: Its sizes, ``None`` for one that the file leaves open; ``None`` if it does not even state the rank.
    shape: tuple[int | None, ...] | None
    kind: str  # "float", "integer", "bool", or another
    #: Whether the file holds what is in it, or it is a state that outlives a run.
    constant: bool = False
    #: What is in it, where that is little.
    data: Data | None = field(default=None, compare=False, repr=False)
    #: Reads what is in it, where that is stored as it is.
    read: Callable[[], Any] | None = field(default=None, compare=False, repr=False)
    #: Whether it stands for other numbers, so many times as large.
    scaled: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One operator: tensors by their number in the graph, -1 for an input that is left out."""

    op: str
    options: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of a model."""

    tensors: Mapping[int, Tensor]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    #: What the signature of the model calls its inputs and outputs.
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """A TFLite model; the first of its graphs is the one that runs."""

    name: str
    graphs: tuple[Graph, ...]


class Reader(Base):
    """Reads the operators of one model, in their order, into a builder."""

    def __init__(self, model: Model, given: Mapping[str, Given] | None = None) -> None:
        super().__init__(model.name)
        self.model = model
        self.given = given or {}
        self.count = 0
        self.resized = False
        self.variables: dict[str, Value] = {}  # what was written in this run, by the name of the variable

    def program(self) -> Program:
        """Return the program.

        Raises
        ------
        ModelFileError
            If a node is malformed.
        """
        graph = self.model.graphs[0]
        scope: dict[int, Value] = {}
        for i in graph.inputs:
            tensor = graph.tensors[i]
            name = graph.names.get(i) or _input_name(tensor.name) or f"input_{i}"
            stated = _symbolic(tensor, name)
            told = self.given.get(name)
            shape = told if isinstance(told, tuple) else ()
            self.resized |= any(a != b for a, b in zip(shape, stated or (), strict=False) if isinstance(b, int))
            scope[i] = self.build.input(name, stated, told)
        self.run(graph, scope, "")
        said = {i: place for place, i in enumerate(graph.names)}  # converters shuffle outputs, signatures do not
        ends = sorted(graph.outputs, key=lambda i: said.get(i, len(said)))
        outputs = [self.value(graph, i, scope, "its output") for i in ends]
        if not outputs:
            raise self.fail("the model has no outputs")
        return self.build.program(outputs, [graph.names.get(i, "") for i in ends])

    def value(self, graph: Graph, i: int, scope: Mapping[int, Value], reader: str) -> Value:
        """Return tensor ``i`` of a graph: one that a step has made, or a constant."""
        if i in scope:
            return scope[i]
        tensor = graph.tensors[i]
        if not tensor.constant and tensor.shape is not None and 0 in tensor.shape:  # nothing to store
            empty = np.empty([size or 0 for size in tensor.shape], dtype=object)
            return self.build.constant(empty, integer=tensor.kind != "float", name=tensor.name)
        if not tensor.constant:
            raise self.fail(f"{reader} reads {tensor.name!r} (tensor {i}), which nothing before it makes")
        if tensor.data is not None:
            return self.build.constant(tensor.data, name=tensor.name)
        return self.build.weight(_symbolic(tensor, tensor.name), tensor.name, tensor.read, own=not tensor.scaled)

    def run(self, graph: Graph, scope: dict[int, Value], prefix: str) -> None:
        """Read the steps of a graph into ``scope``."""
        for step, names in zip(graph.steps, step_names(graph), strict=True):
            self.count += 1
            if self.count > MAX_STEPS:
                raise self.fail(f"it unfolds to more than {MAX_STEPS} operators")
            names = tuple(prefix + name for name in names)
            name = names[0] if names else f"{prefix}{step.op.lower()}"
            reader = f"node {name!r} ({step.op})"
            inputs = tuple(None if i < 0 else self.value(graph, i, scope, reader) for i in step.inputs)
            made_of = [graph.tensors[i] for i in step.outputs]
            outputs = tuple(Output(n, _symbolic(t, n), t.kind) for n, t in zip(names, made_of, strict=True))
            node = Node(name, step.op, inputs, step.options, outputs, self.resized)
            results = self.spelt(node, partial(self.step, node), partial(self.opaque_all, node, dict(self.variables)))
            for k, i in enumerate(step.outputs):
                scope[i] = results[k] if k < len(results) else self.opaque(node, k, "this output is not followed")

    def step(self, node: Node) -> Sequence[Value]:
        """Return what a node makes, as many of its outputs as are followed."""
        if node.op in CALLS:
            return self.body(node.setting(CALLS[node.op]), node.inputs, node.name)
        special = {"IF": self.branches, "WHILE": self.loop, "ASSIGN_VARIABLE": self.assigned,
                   "READ_VARIABLE": self.variable, "VAR_HANDLE": self.handle}.get(node.op)  # fmt: skip
        if special is not None:
            return special(node)
        return self.by_handler(HANDLERS, node)

    def opaque_all(self, node: Node, written: dict[str, Value], why: str) -> Sequence[Value]:
        """Return the outputs of a node that is not followed, after which the variables hold what they held before."""
        self.variables = written
        return [self.opaque(node, k, why) for k in range(len(node.outputs))]

    def opaque(self, node: Node, k: int, why: str) -> Value:
        """Return output ``k`` of a node of which nothing is known but perhaps its shape."""
        operands, shape = node.tensors(), node.outputs[k].shape
        sizes = [size for value in operands for size in value.shape or ()]
        if self.resized or any(not isinstance(size, int) for size in (*sizes, *(shape or ()))):
            shape = None  # what the file states is only true for its own sizes
        return self.unknown((node.outputs[k].name, node.op), why, shape, operands)

    # Graphs that a step calls.

    def body(self, index: int, values: Sequence[Value | None], name: str) -> list[Value]:
        """Read a graph that a step calls, and return its outputs."""
        if not 0 <= index < len(self.model.graphs):
            raise ValueError(f"it calls graph {index} of {len(self.model.graphs)}")
        graph = self.model.graphs[index]
        if len(values) != len(graph.inputs):
            raise ValueError(f"its body takes {len(graph.inputs)} inputs, not {len(values)}")
        scope = {i: value for i, value in zip(graph.inputs, values, strict=True) if value is not None}
        with self.deeper(MAX_CALLS, "its graphs call each other"):
            self.run(graph, scope, f"{name}/")
        return [self.value(graph, i, scope, "the output of its body") for i in graph.outputs]

    def branches(self, node: Node) -> Sequence[Value]:
        """Take the branch that is taken; both if that depends on the input, as alternatives."""
        condition, values = node.x, node.inputs[1:]
        taken, otherwise = node.setting("ThenSubgraphIndex"), node.setting("ElseSubgraphIndex")
        if condition.data is not None:
            return self.body(taken if condition.data.elements.flat[0] else otherwise, values, node.name)
        written = dict(self.variables)
        branches = [self.body(index, values, node.name) for index in (taken, otherwise)]
        if self.variables != written:
            raise UnspelledError("only one of its branches writes a variable")
        merged = []
        for k, (a, b) in enumerate(zip(*branches, strict=True)):
            self.build.at(node.outputs[k].name, node.op)
            merged.append(either(self.build, [a, b], condition))
        return merged

    def loop(self, node: Node) -> Sequence[Value]:
        """Unroll a loop of few turns whose number is known."""
        test, turn = node.setting("CondSubgraphIndex"), node.setting("BodySubgraphIndex")
        carried: list[Value] = node.tensors()
        for k in range(MAX_TURNS + 1):
            (go_on,) = self.body(test, carried, f"{node.name}/{k}")
            if go_on.data is None:
                raise UnspelledError("how often it runs depends on its input")
            if not go_on.data.elements.flat[0]:
                return carried
            carried = self.body(turn, carried, f"{node.name}/{k}")
        raise UnspelledError(f"it runs more than {MAX_TURNS} times")

    # Variables: what one run reads before it writes is a constant to it, left by the run before.

    def handle(self, node: Node) -> Sequence[Value]:
        """Return the name of a variable, as a constant that nothing computes with."""
        name = f"{node.options.get('Container')}/{node.options.get('SharedName')}"
        return [self.build.weight(None, f"variable {name}")]

    def assigned(self, node: Node) -> Sequence[Value]:
        """Note what is written into a variable."""
        self.variables[node.x.name] = node.input(1)
        return []

    def variable(self, node: Node) -> Sequence[Value]:
        """Return what a variable holds."""
        variable = self.variables.get(node.x.name)
        return [self.build.weight(node.outputs[0].shape, node.name) if variable is None else variable]


def _symbolic(tensor: Tensor, name: str) -> Shape | None:
    """Return the shape that the file states of a tensor; sizes that it leaves open are symbols."""
    if tensor.shape is None:
        return None
    return tuple(symbol(f"{name}.{d}") if size is None else size for d, size in enumerate(tensor.shape))


# Names. The converter calls a tensor by all the ops of the original graph that were fused into what makes it, and the
# outputs of the model by the call that it was wrapped in.

_CALLED = re.compile(r"(StatefulPartitionedCall|PartitionedCall|Identity)(_\d+)?(:\d+)?")
_ACTIVATION = re.compile(r"(Relu\w*|BiasAdd|Sigmoid|Tanh|LeakyRelu|Softmax|FusedBatchNorm\w*|Elu)\d*")

#: Ops that a user knows by the layer they are in, and how the last word of their own name begins in the original.
LAYERS = {
    "CONV_2D": ("conv", "matmul"), "DEPTHWISE_CONV_2D": ("depthwise", "conv"), "CONV_3D": ("conv",),
    "TRANSPOSE_CONV": ("conv",), "CONV_3D_TRANSPOSE": ("conv",), "FULLY_CONNECTED": ("matmul", "tensordot"),
}  # fmt: skip


def _input_name(name: str) -> str:
    """Return what a person calls an input: ``serving_default_image:0`` is ``image``."""
    return re.sub(r":\d+$", "", name.removeprefix("serving_default_"))


def trimmed(name: str, op: str) -> str:
    """Return the part of a tensor's name that belongs to what makes it; empty if there is none.

    Examples
    --------
    >>> trimmed("model/relu/Relu;model/stem/BiasAdd;model/stem/Conv2D;stem/bias", "CONV_2D")
    'model/stem'
    >>> trimmed("model/relu/Relu;model/plus/Add;", "ADD"), trimmed("StatefulPartitionedCall:0", "ADD")
    ('model/plus/Add', '')
    """
    parts = [part for part in name.split(";") if part and not part.isdigit()]
    if not parts or _CALLED.fullmatch(name):
        return ""
    words = LAYERS.get(op, (op.lower().replace("_", ""),))
    own = [part for part in parts if part.rpartition("/")[2].lower().replace("_", "").startswith(words)]
    chosen = own[0] if own else parts[0]
    scope, _, last = chosen.rpartition("/")
    if op in LAYERS and scope and (own or _ACTIVATION.fullmatch(last)):
        return scope.removesuffix("/Tensordot")
    return chosen


def _layer(graph: Graph, step: Step) -> str:
    """Return the layer that the weight of a step is called after; empty if it is called otherwise."""
    known = [graph.tensors[i].name for i in step.inputs[1:2] if i in graph.tensors and step.op in LAYERS]
    weight = known[0] if known else ""
    scope = trimmed(weight, step.op)
    return scope if len(scope) < len(weight) else ""


def step_names(graph: Graph) -> list[tuple[str, ...]]:
    """Return what the outputs of each step are called, without the scopes that all of them share."""
    steps = [
        [trimmed(graph.tensors[i].name, step.op) or _layer(graph, step) for i in step.outputs] for step in graph.steps
    ]
    paths = [name.split("/") for names in steps for name in names if name]
    shared = 0
    while paths and all(len(path) > shared + 1 and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    names = []
    for step, own in zip(graph.steps, steps, strict=True):
        cut = ["/".join(name.split("/")[shared:]) for name in own]
        names.append(
            tuple(name or graph.names.get(i) or step.op.lower() for name, i in zip(cut, step.outputs, strict=True))
        )
    return names
