"""ONNX files, read into a tensor program. Weights are never loaded: what external data there is stays on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from typing import Any

import networkx as nx
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from rfgraph.errors import ModelFileError
from rfgraph.importers import program
from rfgraph.importers.lowering.layout import Axes
from rfgraph.importers.lowering.lower import lower_for
from rfgraph.importers.onnx import functions as onnx_functions  # noqa: F401  handlers register
from rfgraph.importers.onnx import indices as onnx_indices  # noqa: F401  handlers register
from rfgraph.importers.onnx import moves as onnx_moves  # noqa: F401  handlers register
from rfgraph.importers.onnx import names as onnx_names
from rfgraph.importers.onnx import windows as onnx_windows  # noqa: F401  handlers register
from rfgraph.importers.onnx.nodes import HANDLERS, Item, Made, Node
from rfgraph.importers.onnx.unfollowed import reason
from rfgraph.importers.onnx.weights import Weights
from rfgraph.importers.program import MAX_ELEMENTS, MAX_FLOATS, Data, Given, Program, Value, data_of, simplest
from rfgraph.importers.program.dimensions import Dim, Shape, symbol
from rfgraph.importers.spelling import MALFORMED, UnspelledError
from rfgraph.importers.spelling import Reader as Base
from rfgraph.importers.spelling.operations import either
from rfgraph.importers.spelling.stack import user_line

#: Nodes read of one file, those of functions and loop bodies each time: beyond it the file is refused.
MAX_NODES = 4_000_000
#: And of functions alone, whose calls may double at every depth.
MAX_CALLED = 100_000
#: Nodes read of the bodies of one file's loops, once for each turn: loops that would need more are not followed.
MAX_UNROLLED = 10_000
#: Elements of a sparse tensor, those that are left out too: larger ones are not looked at.
MAX_SCATTERED = 1 << 24
#: Functions that call functions, deeper than this, are refused.
MAX_CALLS = 64

#: Operators that hold graphs.
CONTROL = ("If", "Loop", "Scan", "SequenceMap")
#: Domains whose operators have handlers; the empty one is ONNX's own.
DOMAINS = ("", "ai.onnx", "com.microsoft")

#: Element types of TensorProto that are no integers: floats, text, complex numbers, 8-bit and 4-bit floats.
NOT_INTEGERS = (1, 8, 10, 11, 14, 15, 16, 17, 18, 19, 20, 23, 24)


@dataclass
class Origins:
    """Which node of a file's graph, by its place there, the instructions of its program spell."""

    #: Name of an instruction -> place.
    places: dict[str, int] = field(default_factory=dict)
    #: Place -> the instruction that makes its first output; of another node where it hands one on.
    first: dict[int, str] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget all."""
        self.places.clear()
        self.first.clear()


def read(
    path: str | os.PathLike[str] | onnx.ModelProto,
    given: Mapping[str, Given] | None = None,
    locations: dict[str, str] | None = None,
    origins: Origins | None = None,
) -> Program:
    """Return the tensor program of an ONNX file.

    Parameters
    ----------
    path
        The file, or the model in memory.
    given
        Shapes of inputs that replace those of the file, and what inputs hold.
    locations
        Where to put the ``file:line`` of the user's code that made each instruction, as far as the file tells.
    origins
        Where to put which node of the file's graph each instruction spells.

    Raises
    ------
    ModelFileError
        If it cannot be read, or is not an ONNX model.
    """
    if isinstance(path, onnx.ModelProto):
        name, model = path.graph.name or "model", path
    else:
        name = os.fspath(path)
        model = _loaded(name)
    if not model.graph.node and not model.functions:
        raise ModelFileError(f"{name}: not an ONNX model, or a truncated one (its graph has no nodes)")
    try:
        return read_model(model, name, given, locations, origins)
    except MALFORMED as error:  # what no node is to blame for, such as names that are no text
        raise ModelFileError(f"{name}: not an ONNX model, or a damaged one ({error})") from error


def _loaded(name: str) -> onnx.ModelProto:
    try:
        return onnx.load(name, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise ModelFileError(f"{name}: not an ONNX model, or a truncated one ({error})") from error
    except OSError as error:
        raise ModelFileError(f"{name}: it cannot be read ({error.strerror or error})") from error


def read_model(
    model: onnx.ModelProto,
    name: str = "model",
    given: Mapping[str, Given] | None = None,
    locations: dict[str, str] | None = None,
    origins: Origins | None = None,
) -> Program:
    """Return the tensor program of an ONNX model in memory."""
    reader = Reader(model, name, given or {}, {} if locations is None else locations)
    reader.origins = Origins() if origins is None else origins
    reader.origins.clear()  # of a reading for another input size
    graph = model.graph
    scope: dict[str, Item | None] = {}
    weights = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    for info in graph.input:
        if info.name not in weights:
            scope[info.name] = reader.input(info)
    reader.constants(graph, scope)
    reader.top = graph.node
    reader.nodes(reader.top, scope, {}, "")
    outputs: list[Value] = []
    titles: list[str] = []
    for info in graph.output:
        value = scope.get(info.name)
        if value is None and info.name not in scope:
            raise ModelFileError(f"{name}: no node makes its output {info.name!r}")
        items = value if isinstance(value, tuple) else (value,) if value is not None else ()
        outputs += items
        titles += [info.name] if len(items) == 1 else [f"{info.name}/{k}" for k in range(len(items))]
    if not outputs:
        raise ModelFileError(f"{name}: the model has no outputs")
    return reader.build.program(outputs, titles)


def graph_of(
    path: str | os.PathLike[str] | onnx.ModelProto,
    treat: Mapping[str, str] | None = None,
    input_size: Any = None,
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
    origins: Origins | None = None,
) -> nx.DiGraph[Any]:
    """Return the network graph of an ONNX file; nodes carry the ``location`` of the user's code if the file tells it.

    Parameters
    ----------
    path
        The file, or the model in memory.
    treat, input_size, inputs, axes
        As for ``rfgraph.importers.load``.
    origins
        Where to put which node of the file's graph each node of the network comes from.
    """
    locations: dict[str, str] = {}
    return lower_for(lambda given: read(path, given, locations, origins), treat, input_size, locations, inputs, axes)


class Reader(Base):
    """Reads the nodes of one model, in their order, into a builder."""

    def __init__(
        self, model: onnx.ModelProto, name: str, given: Mapping[str, Given], locations: dict[str, str]
    ) -> None:
        super().__init__(name)
        self.given = given
        self.weights = Weights(self.build)
        self.versions = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
        self.functions = {_key(f): f for f in model.functions}
        self.nodes_of: dict[tuple[str, str, str], int] = {}
        self.stated = model.graph.value_info
        self.locations = locations
        self.origins = Origins()
        #: The nodes of the graph itself, and not of a function or body.
        self.top: Sequence[onnx.NodeProto] = ()
        self.count = 0
        self.called_nodes = 0
        self.unrolled = 0

    @cached_property
    def known(self) -> dict[str, onnx.ValueInfoProto]:
        """What the file states of tensors by their names; nothing where inputs are of other shapes than there."""
        resized = any(not isinstance(told, Data) for told in self.given.values())
        return {} if resized else {info.name: info for info in self.stated}

    def input(self, info: onnx.ValueInfoProto) -> Item:
        """Add an input of the program."""
        return self.build.input(info.name, _shape(info), self.given.get(info.name))

    def constants(self, graph: onnx.GraphProto, scope: dict[str, Item | None]) -> None:
        """Put the weights of a graph in scope."""
        for tensor in graph.initializer:
            scope[tensor.name] = self.weights.hold(self.tensor(tensor), tensor.data_type)
        for sparse in graph.sparse_initializer:
            weight = self.build.weight(tuple(sparse.dims), sparse.values.name, partial(_scattered, sparse))
            scope[sparse.values.name] = self.weights.hold(weight, sparse.values.data_type)

    def tensor(self, tensor: onnx.TensorProto) -> Value:
        """Return a constant; its contents only if it is small and in the file."""
        shape, name, kind = tuple(tensor.dims), tensor.name, tensor.data_type
        count = prod(shape)
        if count < 0:
            raise self.fail(f"tensor {name!r} has shape {list(shape)}")
        integer = kind not in NOT_INTEGERS
        if tensor.data_location == onnx.TensorProto.EXTERNAL or kind == onnx.TensorProto.STRING:
            return self.build.weight(shape, name)
        if count > (MAX_ELEMENTS if integer else MAX_FLOATS):
            return self.build.weight(shape, name, partial(_array, tensor))
        try:
            array = numpy_helper.to_array(tensor)
            data = data_of(array, integer=integer)
        except MALFORMED:  # an odd type, or no contents: weights were stripped
            data = None
        if data is None:
            return self.build.weight(shape, name, partial(_array, tensor))
        return self.build.constant(data, name=name)

    def nodes(
        self, nodes: Sequence[onnx.NodeProto], scope: dict[str, Item | None], given: Mapping[str, Any], prefix: str
    ) -> None:
        """Read nodes into ``scope``, under attributes ``given`` by the call of the function that they are in."""
        weights = {name for name, item in scope.items() if isinstance(item, Value) and item.constant}
        names = onnx_names.shown(nodes, weights, scope.keys() - weights)
        for place, (proto, name) in enumerate(zip(nodes, names, strict=True)):
            self.count += 1
            if self.count > MAX_NODES:
                raise self.fail(f"it unfolds to more than {MAX_NODES} nodes")
            before = len(self.build.instructions)
            node = self.node(proto, name, scope, given, prefix)
            spell = self.spelling_of(proto, node, scope, given)
            results = self.spelt(node, spell, partial(self.opaque_all, node, scope))
            outputs = [results] if isinstance(results, Value) else list(results)
            for k, output in enumerate(node.outputs):
                if output:
                    scope[output] = (
                        outputs[k] if k < len(outputs) else self.opaque(node, k, "this output is not followed")
                    )
            added = [instruction.name for instruction in self.build.instructions[before:]]
            if nodes is self.top:
                self.origins.places.update({name: place for name in added if name not in self.origins.places})
                if outputs and isinstance(outputs[0], Value):
                    self.origins.first[place] = outputs[0].name
            if proto.metadata_props and (location := user_line(_metadata(proto, "pkg.torch.onnx.stack_trace"))):
                self.locations.update({name: location for name in added if name not in self.locations})

    def spelling_of(
        self, proto: onnx.NodeProto, node: Node, scope: dict[str, Item | None], given: Mapping[str, Any]
    ) -> Callable[[], Made]:
        """Return what spells a node: a function of the model, a graph that it holds, or its handler."""
        function = (
            self.functions.get((proto.domain, node.op, getattr(proto, "overload", ""))) if self.functions else None
        )
        if function is not None:
            return partial(self.called, node, function)
        if node.op in CONTROL and proto.domain in DOMAINS:
            return partial(self.control, node, scope, given)
        return partial(self.handled, node, proto.domain)

    def node(
        self,
        proto: onnx.NodeProto,
        shown: str | None,
        scope: Mapping[str, Item | None],
        given: Mapping[str, Any],
        prefix: str,
    ) -> Node:
        """Return a node in plain Python, under the name that is shown of it if its own is a number."""
        outputs, op, named = tuple(proto.output), proto.op_type, shown or proto.name
        name = named or next((output for output in outputs if output), op)
        inputs: list[Item | None] = []
        for tensor in proto.input:
            if tensor and tensor not in scope:
                raise self.fail(f"node {name!r} ({op}): it reads {tensor!r}, which nothing before it makes")
            inputs.append(scope[tensor] if tensor else None)
        attributes = {}
        for attribute in proto.attribute:
            if attribute.ref_attr_name:
                if attribute.ref_attr_name in given:
                    attributes[attribute.name] = given[attribute.ref_attr_name]
            else:
                attributes[attribute.name] = self.attribute(attribute)
        version = self.versions.get(proto.domain or "ai.onnx", 1)
        inside = prefix + name.lstrip("/") if prefix else name
        return Node(inside, op, tuple(inputs), version, attributes, outputs, bool(named))

    def attribute(self, attribute: onnx.AttributeProto) -> Any:
        """Return the value of an attribute in plain Python; graphs stay as they are."""
        kind = attribute.type
        if kind == onnx.AttributeProto.INT:
            return attribute.i
        if kind == onnx.AttributeProto.INTS:
            return list(attribute.ints)
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError as error:
            raise self.fail(f"attribute {attribute.name!r}: {error}") from error
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, onnx.TensorProto):
            return self.tensor(value)
        if isinstance(value, onnx.SparseTensorProto):
            return self.build.weight(tuple(value.dims), value.values.name)
        if isinstance(value, float):
            return simplest(value) if value == value and abs(value) != float("inf") else value
        if isinstance(value, Sequence) and not isinstance(value, str):
            if value and isinstance(value[0], float):
                return [simplest(number) for number in value]
            return list(value)
        return value

    def handled(self, node: Node, domain: str) -> Made:
        """Spell a node with its handler, or name it as one that has none."""
        handler = HANDLERS.get(node.op, "" if domain == "ai.onnx" else domain) if domain in DOMAINS else None
        if handler is None:
            raise UnspelledError(reason(domain, node.op))
        reads = self.weights.read(node)
        self.build.at(node.output(0) if len(node.outputs) > 1 and not node.named else node.name, node.op, reads)
        outputs = handler(node, self.build)
        return [
            self.weights.derived(node, item, reads) if isinstance(item, Value) and item.constant else item
            for item in ([outputs] if isinstance(outputs, Value) else outputs)
        ]

    def opaque_all(self, node: Node, scope: Mapping[str, Item | None], why: str) -> Made:
        """Return the outputs of a node that is not followed; its graphs may read what is in scope."""
        captured = self.captured(node, scope)
        return [self.opaque(node, k, why, captured) for k in range(len(node.outputs))]

    def opaque(self, node: Node, k: int, why: str, more: Sequence[Value] = ()) -> Value:
        """Return output ``k`` of a node of which nothing is known but perhaps its shape."""
        operands: list[Value] = []
        for item in node.inputs:
            operands += item if isinstance(item, tuple) else [item] if item is not None else []
        name, reads = node.name if k == 0 else node.output(k), self.weights.read(node, known=False)
        stated = self.known.get(node.outputs[k])
        shape = None if stated is None else _shape(stated)
        return self.unknown((name, node.op), why, shape, [*operands, *more], reads)

    # Functions, branches, loops.

    def called(self, node: Node, function: onnx.FunctionProto) -> Made:
        """Read the body of a function of the model in its place."""
        if not self.calls:
            self.called_nodes += self.unfolded(function, 1)
            if self.called_nodes > MAX_CALLED:
                raise self.fail(f"the functions that it calls unfold to more than {MAX_CALLED} nodes")
        self.calls += 1
        given = {attribute.name: self.attribute(attribute) for attribute in function.attribute_proto}
        given.update(node.attributes)
        scope: dict[str, Item | None] = dict.fromkeys(function.input)
        scope.update(zip(function.input, node.inputs, strict=False))
        outer = self.versions
        self.versions = {**outer, **{opset.domain or "ai.onnx": opset.version for opset in function.opset_import}}
        try:
            self.nodes(function.node, scope, given, f"{node.name}/")
        finally:
            self.versions = outer
            self.calls -= 1
        return self.results(function.output, scope)

    def unfolded(self, function: onnx.FunctionProto, depth: int) -> int:
        """Return how many nodes a function is, with all that it calls."""
        if depth > MAX_CALLS:
            raise self.fail(
                f"its functions call each other more than {MAX_CALLS} deep; {function.name!r} is one of them"
            )
        key = _key(function)
        if key not in self.nodes_of:
            count, bodies = 0, [function.node]
            while bodies:
                for proto in bodies.pop():
                    called = self.functions.get((proto.domain, proto.op_type, getattr(proto, "overload", "")))
                    count += 1 if called is None else 1 + self.unfolded(called, depth + 1)
                    bodies += [a.g.node for a in proto.attribute if a.type == onnx.AttributeProto.GRAPH]
            self.nodes_of[key] = count
        return self.nodes_of[key]

    def results(self, names: Sequence[str], scope: Mapping[str, Item | None]) -> list[Item]:
        """Return what a body made under ``names``."""
        results = []
        for name in names:
            item = scope.get(name)
            if item is None:
                raise ValueError(f"its body does not make {name!r}")
            results.append(item)
        return results

    def body(
        self, graph: onnx.GraphProto, scope: Mapping[str, Item | None], given: Mapping[str, Any],
        inputs: Sequence[Item], prefix: str,
    ) -> list[Item]:  # fmt: skip
        """Read a subgraph, which sees the values around it."""
        inner = dict(scope)
        if len(inputs) > len(graph.input):
            raise ValueError(f"its body takes {len(graph.input)} inputs, not {len(inputs)}")
        inner.update((info.name, value) for info, value in zip(graph.input, inputs, strict=False))
        self.constants(graph, inner)
        self.nodes(graph.node, inner, given, prefix)
        return self.results([info.name for info in graph.output], inner)

    def control(self, node: Node, scope: Mapping[str, Item | None], given: Mapping[str, Any]) -> Made:
        """Read a node that holds graphs."""
        readers = {"If": self.branches, "Loop": self.loop, "Scan": self.scan, "SequenceMap": self.each}
        return readers[node.op](node, scope, given)

    def captured(self, node: Node, scope: Mapping[str, Item | None]) -> list[Value]:
        """Return the values around it that the bodies of a node read."""
        captured: dict[str, Value] = {}
        graphs = [value for value in node.attributes.values() if isinstance(value, onnx.GraphProto)]
        for graph in graphs:  # grows while it is walked
            for proto in graph.node:
                graphs += [a.g for a in proto.attribute if a.type == onnx.AttributeProto.GRAPH]
                for name in proto.input:
                    if isinstance(value := scope.get(name), Value) and not value.constant:
                        captured[name] = value
        return list(captured.values())

    def branches(self, node: Node, scope: Mapping[str, Item | None], given: Mapping[str, Any]) -> Made:
        """Take the branch that is taken; both if that depends on the input, as alternatives."""
        condition = node.input(0)
        graphs = [node.get("then_branch"), node.get("else_branch")]
        if any(not isinstance(graph, onnx.GraphProto) for graph in graphs):
            raise ValueError("a branch is missing")
        if condition.data is not None:
            try:
                graphs = [graphs[0] if bool(condition.data.elements.flat[0]) else graphs[1]]
            except IndexError as error:
                raise ValueError("its condition is empty") from error
        branches = [self.body(graph, scope, given, [], f"{node.name}/") for graph in graphs]
        if len(branches) == 1:
            return branches[0]
        merged: list[Item] = []
        for k, (a, b) in enumerate(zip(*branches, strict=True)):
            if isinstance(a, tuple) or isinstance(b, tuple):
                raise UnspelledError("its branches make sequences")
            self.build.at(node.name if k == 0 else node.output(k), node.op)
            merged.append(either(self.build, [a, b], condition))
        return merged

    def loop(self, node: Node, scope: Mapping[str, Item | None], given: Mapping[str, Any]) -> Made:
        """Unroll a loop of few turns whose number is known."""
        body = node.get("body")
        if not isinstance(body, onnx.GraphProto):
            raise ValueError("its body is missing")
        turns = node.stated_integers("trip count", 0)
        condition = node.optional(1)
        if turns is None or (condition is not None and condition.data is None):
            raise UnspelledError("how often it runs depends on its input")
        carried: list[Item] = [value for value in node.inputs[2:] if value is not None]
        count = turns[0] if condition is None or bool(condition.data.elements.flat[0]) else 0  # type: ignore[union-attr]
        if _runs_all(body):
            self.check_unrolled(body, count)
        stacked: list[list[Value]] = [[] for _ in body.output[1 + len(carried) :]]
        for turn in range(max(count, 0)):
            self.check_unrolled(body, 1, turn)
            self.unrolled += len(body.node)
            running = self.build.constant(1)
            results = self.body(
                body, scope, given, [self.build.constant(turn), running, *carried], f"{node.name}/{turn}/"
            )
            go_on = results[0]
            if isinstance(go_on, tuple) or go_on.data is None:
                raise UnspelledError("how often it runs depends on its input")
            carried = results[1 : 1 + len(carried)]
            for rows, row in zip(stacked, results[1 + len(carried) :], strict=True):
                if isinstance(row, tuple):
                    raise UnspelledError("it gathers sequences")
                rows.append(row)
            if not bool(go_on.data.elements.flat[0]):
                break
        return [*carried, *(self.stack(node, k, rows, 0) for k, rows in enumerate(stacked, len(carried)))]

    def check_unrolled(self, body: onnx.GraphProto, turns: int, after: int = 0) -> None:
        """Check that a loop may be written out for so many turns more."""
        if self.unrolled + turns * max(len(body.node), 1) > MAX_UNROLLED:
            often = f"{turns} times" if turns > 1 else f"more than {after} times"
            raise UnspelledError(f"it runs {often}, which is too often to be followed")

    def stack(self, node: Node, k: int, rows: Sequence[Value], dim: int) -> Value:
        """Return what the turns of a loop made, one row each."""
        if not rows:
            raise UnspelledError("it gathers the results of no turns")
        self.build.at(node.output(k), node.op)
        wide = [self.build(program.Unsqueeze(dims=(dim,)), row, part=f"row/{i}") for i, row in enumerate(rows)]
        return self.build(program.Concat(dim=dim), *wide)

    def each(self, node: Node, scope: Mapping[str, Item | None], given: Mapping[str, Any]) -> Made:
        """Read the body of a map over sequences once for each of their tensors."""
        body = node.get("body")
        if not isinstance(body, onnx.GraphProto):
            raise ValueError("its body is missing")
        count = len(node.sequence)
        rows = []
        for turn in range(count):
            items = [item[turn] if isinstance(item, tuple) else item for item in node.inputs if item is not None]
            rows.append(self.body(body, scope, given, items, f"{node.name}/{turn}/"))
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(body.output)
        if any(isinstance(item, tuple) for column in columns for item in column):
            raise UnspelledError("its body makes sequences")
        return [tuple(item for item in column if isinstance(item, Value)) for column in columns]

    def scan(self, node: Node, scope: Mapping[str, Item | None], given: Mapping[str, Any]) -> Made:
        """Unroll a scan over few rows."""
        body = node.get("body")
        if not isinstance(body, onnx.GraphProto):
            raise ValueError("its body is missing")
        if node.version < 9:
            raise UnspelledError("it is a Scan of opset 8")
        scanned = node.get("num_scan_inputs", 1)
        states: list[Item] = [value for value in node.inputs[: len(node.inputs) - scanned] if value is not None]
        inputs = [node.input(i) for i in range(len(node.inputs) - scanned, len(node.inputs))]
        axes = node.get("scan_input_axes") or [0] * scanned
        backward = node.get("scan_input_directions") or [0] * scanned
        if any(value.shape is None for value in inputs):
            raise UnspelledError("the rank of what it scans is not known")
        dims = [axis % len(value.shape or ()) for value, axis in zip(inputs, axes, strict=True)]
        rows = {(value.shape or ())[d] for value, d in zip(inputs, dims, strict=True)}
        count = next(iter(rows))
        if len(rows) != 1 or not isinstance(count, int):
            raise UnspelledError(f"it scans {count} rows")
        self.check_unrolled(body, count)
        outputs: list[list[Value]] = [[] for _ in body.output[len(states) :]]
        for turn in range(count):
            self.unrolled += len(body.node)
            slices: list[Item] = []
            for i, (value, d) in enumerate(zip(inputs, dims, strict=True)):
                at = self.build.constant(count - 1 - turn if backward[i] else turn)
                self.build.at(f"{node.name}/{turn}/input/{i}", node.op)
                slices.append(self.build(program.Take(dim=d), value, at))
            results = self.body(body, scope, given, [*states, *slices], f"{node.name}/{turn}/")
            states = results[: len(states)]
            for rows_, row in zip(outputs, results[len(states) :], strict=True):
                if isinstance(row, tuple):
                    raise UnspelledError("it gathers sequences")
                rows_.append(row)
        places = node.get("scan_output_axes") or [0] * len(outputs)
        turned = node.get("scan_output_directions") or [0] * len(outputs)
        stacked = []
        for k, (per_turn, place, back) in enumerate(zip(outputs, places, turned, strict=True)):
            rank = len(per_turn[0].shape or ()) + 1 if per_turn else 1
            stacked.append(self.stack(node, k + len(states), per_turn[::-1] if back else per_turn, place % rank))
        return [*states, *stacked]


def _key(function: onnx.FunctionProto) -> tuple[str, str, str]:
    return function.domain, function.name, getattr(function, "overload", "")


def _runs_all(body: onnx.GraphProto) -> bool:
    """Whether the body of a loop hands on the condition to go on that it was given, or a constant."""
    if not body.output or len(body.input) < 2:
        return False
    makers = {output: node for node in body.node for output in node.output}
    go_on = body.output[0].name
    for _ in body.node:
        if go_on in makers and makers[go_on].op_type == "Identity":
            go_on = makers[go_on].input[0]
    return go_on == body.input[1].name or go_on not in makers or makers[go_on].op_type == "Constant"


def _metadata(proto: onnx.NodeProto, key: str) -> str:
    return next((entry.value for entry in proto.metadata_props if entry.key == key), "")


def _array(tensor: onnx.TensorProto) -> Any:
    """Return the numbers of a tensor that the file holds; ``None`` if it does not."""
    try:
        return numpy_helper.to_array(tensor)
    except MALFORMED:
        return None


def _scattered(sparse: onnx.SparseTensorProto) -> Any:
    """Return the numbers of a sparse tensor that are not 0, where they lie."""
    values, at = _array(sparse.values), _array(sparse.indices)
    count = prod(sparse.dims)
    if values is None or at is None or not 0 < count <= MAX_SCATTERED:
        return None
    numbers = np.zeros(count, dtype=values.dtype)
    numbers[np.ravel_multi_index(tuple(at.T), tuple(sparse.dims)) if at.ndim > 1 else at] = values
    return numbers.reshape(tuple(sparse.dims))


def _shape(info: onnx.ValueInfoProto) -> Shape | None:
    """Return the shape that a file states of a tensor; sizes that it does not state are symbols."""
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type" or not info.type.tensor_type.HasField("shape"):
        return None
    return tuple(_sizes(info.name, info.type.tensor_type.shape.dim))


def _sizes(name: str, dims: Sequence[onnx.TensorShapeProto.Dimension]) -> Iterator[Dim]:
    for i, dim in enumerate(dims):
        if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0:
            yield dim.dim_value
        else:
            yield symbol(dim.dim_param or f"{name}.{i}")
