"""Graphs of TensorFlow, read into a tensor program.

Weights are looked at where they are small constants, and never decoded otherwise; variables stay on disk. Only what
outputs are computed from is read: queues, summaries, gradients and assignments beside it are none of the network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.program import MAX_ELEMENTS, MAX_FLOATS, Data, Given, Program, Shape, Value, unknown
from rfgraph.importers.spelling import MALFORMED, UnspelledError
from rfgraph.importers.spelling import Reader as Base
from rfgraph.importers.spelling.operations import either
from rfgraph.importers.tensorflow import nodes, pruning, weights
from rfgraph.importers.tensorflow import operators as tensorflow_ops  # noqa: F401  handlers register
from rfgraph.importers.tensorflow.body import (
    EXITS,
    MAX_RANK,
    MERGES,
    NEXT,
    SWITCHES,
    Attributes,
    Body,
    Frame,
    Input,
    Wired,
    ref,
)
from rfgraph.importers.tensorflow.files import Model, array_of, contents_of, opened
from rfgraph.importers.tensorflow.pruning import SOURCES
from rfgraph.importers.tensorflow.weights import VARIABLES

#: Nodes read of functions and loop bodies, each time that they are called: beyond it the file is refused.
MAX_UNFOLDED = 300_000
#: Functions that call functions, deeper than this, are refused.
MAX_CALLS = 64
#: Loops of more turns than this are not unrolled.
MAX_TURNS = 64
#: Outputs of nodes that are kept: a node may have thousands.
MAX_OUTPUTS = 1_000_000
#: Longer names of scopes are cut.
MAX_SCOPE = 400
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall", "TPUPartitionedCall", "RemoteCall"})
BRANCHES = frozenset({"If", "StatelessIf", "_If", "Case", "StatelessCase"})
LOOPS = frozenset({"While", "StatelessWhile", "_While"})
#: What may stand between a convolution and the ``BatchToSpaceND`` after it, or before it.
BETWEEN = frozenset(
    {
        "BiasAdd", "Relu", "Relu6", "LeakyRelu", "Elu", "Identity", "FusedBatchNorm", "FusedBatchNormV2",
        "FusedBatchNormV3", "ExpandDims", "Squeeze",
    }
)  # fmt: skip
CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative", "Conv3D"})

#: Scalars that tell whether the network is trained: it is read as it is used.
_TRAINING = re.compile(r"(^|[/_])(is_)?(train|training|train_phase|phase_train|phase|learning_phase)(_\d+)?$", re.I)


def programs_of(path: str) -> Callable[[Mapping[str, Given]], Program]:
    """Return what reads a TensorFlow file anew for what is given of its inputs, a shape or what they hold."""
    return partial(program_of, opened(path))


def program_of(model: Model, given: Mapping[str, Given] | None = None) -> Program:
    """Return the tensor program of a model."""
    try:
        return Reader(model, given or {}).program()
    except MALFORMED as error:  # what no node is to blame for
        raise ModelFileError(f"{model.name}: not a TensorFlow graph, or a damaged one ({error})") from error


class Reader(Base):
    """Reads the graph of one model into a builder."""

    def __init__(self, model: Model, given: Mapping[str, Given]) -> None:
        super().__init__(model.name)
        self.model = model
        self.given = given
        self.build.learned = set()
        self.build.tells_learned = False
        self.functions = {f.signature.name: f for f in model.graph.library.function}
        self.bodies: dict[str, Body] = {}
        self.resized = any(not isinstance(told, Data) for told in given.values())
        self.unfolded = 0
        self.outputs = 0
        self.outside: set[str] = set()  # constants that stand for encoded text, from which inputs are decoded
        self.loops: dict[tuple[int, str, str], list[nodes.Item] | None] = {}  # what leaves loops, once they were read

    def program(self) -> Program:
        """Return the program."""
        body = Body(self.model.graph.node)
        bound: dict[str, nodes.Item] = {}
        for node, (title, shape) in self.model.feeds.items():
            proto = body.nodes[node].proto if node in body.nodes else None
            if title not in self.given and proto is not None and self.is_scalar(node, proto, shape):
                continue
            bound[node] = self.build.input(title, shape, self.given.get(title))
        if self.model.outputs is None:
            if not any(wired.op in SOURCES for wired in body.nodes.values()):
                raise self.fail("it has no input: no Placeholder, and no iterator or queue that feeds it")
            wanted = [Input(name, 0) for name in pruning.sinks(body)]
        else:
            wanted = [Input(*ref(text)) for text in self.model.outputs]
        results = self.run(body, bound, wanted, "")
        titles = self.model.titles or ("",) * len(results)
        named = [
            (item, title)
            for item, title in zip(results, titles, strict=True)
            if isinstance(item, Value) and not item.constant
        ]
        if not named:
            raise self.fail("none of its outputs depends on an input (a Placeholder)")
        return self.build.program([item for item, _ in named], [title for _, title in named])

    def is_scalar(self, name: str, proto: Any, shape: Shape | None) -> bool:
        """Whether a fed node is a switch of the graph that has a value of its own."""
        return shape == () and (proto.op == "PlaceholderWithDefault" or _TRAINING.search(name) is not None)

    # Bodies.

    def run(self, body: Body, bound: Mapping[str, nodes.Item | Outputs], wanted: Sequence[Input], prefix: str,
            given: Mapping[str, Any] | None = None) -> list[nodes.Item]:  # fmt: skip
        """Read what ``wanted`` tensors of a body need, and return them."""
        order = self.ordered(body, bound, wanted, {})
        assert order is not None
        held = self.sandwiches(body, order, wanted)
        if held:
            later = {conv: [i.name for i in sandwich.amounts] for conv, sandwich in held.items()}
            again = self.ordered(body, bound, wanted, later)
            order, held = (order, {}) if again is None else (again, held)
        passed = {end for sandwich in held.values() for end in sandwich.ends}
        scope = {name: item if isinstance(item, Outputs) else Outputs(None, [item]) for name, item in bound.items()}
        for name in order:
            if prefix or body.function:
                self.unfolded += 1
                if self.unfolded > MAX_UNFOLDED:
                    raise self.fail(f"its functions unfold to more than {MAX_UNFOLDED} nodes")
            left = self.unrolled(body, name, scope, prefix, given or {})
            scope[name] = left or self.node(body, name, scope, prefix, given or {}, held.get(name), name in passed)
        return [self.item(body, scope, i) for i in wanted]

    def ordered(
        self, body: Body, bound: Collection[str], wanted: Sequence[Input], later: Mapping[str, Sequence[str]]
    ) -> list[str] | None:
        """Return the nodes that are needed, each after those it needs; ``None`` if ``later`` makes a cycle."""
        done: set[str] = set(bound)
        active: set[str] = set()
        order: list[str] = []
        for root in wanted:
            body.get(root.name, "an output") if root.name not in bound else None
            stack = [(root.name, self._before(body, root.name, later))] if root.name not in done else []
            active.update(name for name, _ in stack)
            while stack:
                name, rest = stack[-1]
                following = next(rest, None)
                if following is None:
                    stack.pop()
                    active.discard(name)
                    done.add(name)
                    order.append(name)
                elif following in active:
                    if later:
                        return None
                    raise ValueError(f"its nodes form a cycle: {following!r} reads {name!r}, which comes of it")
                elif following not in done:
                    body.get(following, f"node {name!r}")
                    active.add(following)
                    stack.append((following, self._before(body, following, later)))
        return order

    def _before(self, body: Body, name: str, later: Mapping[str, Sequence[str]]) -> Iterator[str]:
        return iter([*body.needed(name), *later.get(name, ())])

    def sandwiches(self, body: Body, order: Sequence[str], wanted: Sequence[Input]) -> dict[str, Sandwich]:
        """Return the convolutions that stand, alone, between ``SpaceToBatchND`` and ``BatchToSpaceND``."""
        ends = [name for name in order if body.nodes[name].op == "BatchToSpaceND"]
        if not ends:
            return {}
        reads = Counter(i.name for name in order for i in body.nodes[name].data)
        reads.update(i.name for i in wanted)
        sandwiches = {}
        for end in ends:
            chain = self._chain(body, end, reads)
            kinds = [body.nodes[name].op for name in chain]
            convolutions = [name for name, op in zip(chain, kinds, strict=True) if op in CONVOLUTIONS]
            if len(convolutions) != 1 or kinds[-1] != "SpaceToBatchND":
                continue
            conv = body.nodes[convolutions[0]]
            attributes = Attributes(conv.proto.attr, {})
            plain = all(set(attributes.get(key) or [1]) == {1} for key in ("strides", "dilations"))
            if attributes.get("padding") != "VALID" or not plain:
                continue
            after, before = body.nodes[end], body.nodes[chain[-1]]
            if len(after.data) != 3 or len(before.data) != 3:
                continue
            at = kinds.index(conv.op)
            inserted = "ExpandDims" in kinds[at:]
            if inserted != ("Squeeze" in kinds[:at]) or {"Squeeze"} & {*kinds[at:]} or {"ExpandDims"} & {*kinds[:at]}:
                continue
            amounts = (before.data[1], before.data[2], after.data[2])
            sandwiches[convolutions[0]] = Sandwich((chain[-1], end), amounts, inserted)
        return sandwiches

    def _chain(self, body: Body, end: str, reads: Counter[str]) -> list[str]:
        """Return the nodes before ``end``, each read by the next one only, back to a ``SpaceToBatchND``."""
        chain: list[str] = []
        name = end
        while body.nodes[name].data and len(chain) < 16:
            i = body.nodes[name].data[0]
            wired = body.nodes.get(i.name)
            first = i.port == 0 or (isinstance(i.port, tuple) and i.port[1] == 0 and i.port[0] in ("output", "y", ""))
            if wired is None or reads[i.name] != 1 or not first:
                break
            if wired.op not in BETWEEN | CONVOLUTIONS | {"SpaceToBatchND"}:
                break
            chain.append(i.name)
            name = i.name
            if wired.op == "SpaceToBatchND":
                break
        return chain or [end]

    def item(self, body: Body, scope: Mapping[str, Outputs], i: Input) -> nodes.Item:
        """Return the tensor that a reference means."""
        outputs = scope[i.name]
        port = i.port
        if isinstance(port, tuple):
            names = nodes.OUTPUTS.get(body.nodes[i.name].op, ()) if i.name in body.nodes else ()
            port = names.index(port[0]) + port[1] if port[0] in names else port[1]
        while len(outputs.items) <= port and outputs.node is not None:
            if outputs.dead:
                return nodes.DEAD
            if len(outputs.items) >= MAX_ELEMENTS:
                raise ValueError(f"output {port} of {i.name!r} is read")
            outputs.items.append(self.opaque(outputs.node, len(outputs.items), outputs.why))
        if port >= len(outputs.items):
            raise ValueError(f"output {port} of {i.name!r} is read, which has {len(outputs.items)}")
        return outputs.items[port]

    # Nodes.

    def node(self, body: Body, name: str, scope: Mapping[str, Outputs], prefix: str, given: Mapping[str, Any],
             held: Sandwich | None, passed: bool) -> Outputs:  # fmt: skip
        """Read one node."""
        wired = body.nodes[name]
        attributes = Attributes(wired.proto.attr, given)
        full = prefix + name
        try:
            inputs = self.inputs(body, wired, scope)
            atrous = None if held is None else self.atrous(body, scope, held)
        except MALFORMED as error:
            raise self.fail(f"node {full!r} ({wired.op}): {error}") from error
        node = nodes.Node(full, wired.op, tuple(inputs), attributes, atrous)
        dead = wired.op not in MERGES and (
            any(isinstance(item, nodes.Dead) for item in inputs)
            or any(scope[pivot].items[:1] == [nodes.DEAD] for pivot in wired.control if pivot in scope)
        )
        if dead:
            return Outputs(node, [nodes.DEAD], dead=True)
        return self.spelt(
            node, partial(self.outputs_of, node, body, wired, passed), lambda why: Outputs(node, [], why=why)
        )

    def outputs_of(self, node: nodes.Node, body: Body, wired: Wired, passed: bool) -> Outputs:
        """Return the outputs of a node; of one that is passed over, what it reads."""
        if passed:
            return Outputs(None, [node.input(0)])
        results = self.made(node, body, wired)
        outputs = [results] if isinstance(results, (Value, nodes.Rows, nodes.Dead)) else list(results)
        self.outputs += len(outputs)
        if self.outputs > MAX_OUTPUTS:
            raise self.fail(f"its nodes have more than {MAX_OUTPUTS} outputs")
        return Outputs(None if wired.op in SOURCES else node, outputs)

    def inputs(self, body: Body, wired: Wired, scope: Mapping[str, Outputs]) -> list[nodes.Item]:
        """Return what a node reads; of a loop that is not followed, what enters it."""
        if wired.op in EXITS:
            turn = body.turn(wired.proto.name)
            wires = [Input(name, 0) for name in body.entries(wired.proto.name)] if turn is None else [turn]
            return [self.item(body, scope, i) for i in wires]
        if wired.op in NEXT:
            return []
        if wired.op in MERGES:
            return [self.item(body, scope, i) for i in wired.data if not body.is_next(i.name)]
        return [self.item(body, scope, i) for i in wired.data]

    def atrous(self, body: Body, scope: Mapping[str, Outputs], held: Sandwich) -> nodes.Atrous:
        """Return what is known of the blocks round a convolution."""
        values = [self.item(body, scope, i) for i in held.amounts]
        if not all(isinstance(value, Value) for value in values):
            raise ValueError("its blocks are no tensors")
        blocks, paddings, crops = values
        return nodes.Atrous(blocks, paddings, crops, held.inserted)  # type: ignore[arg-type]

    def made(self, node: nodes.Node, body: Body, wired: Wired) -> nodes.Made:
        """Return the outputs of a node."""
        self.build.at(node.name, node.op, weights.read(node))
        handler = nodes.HANDLERS.get(node.op)
        if node.op in SOURCES:
            return self.source(node)
        if node.op == "Const":
            return self.tensor(node.name, node.get("value"))
        if node.op in VARIABLES and handler is not None:
            return weights.learn(self.build, handler(node, self.build))  # type: ignore[arg-type]
        if node.op in MERGES:
            return self.merged(node, body, wired)
        if node.op in SWITCHES:
            return self.switched(node)
        if node.op in EXITS or node.op in NEXT:
            return self.looped(node, body.turn(wired.proto.name) is not None)
        if node.op in CALLS or node.op in self.functions:
            return self.called(node)
        if node.op in BRANCHES:
            return self.branches(node)
        if node.op in LOOPS:
            return self.loop(node)
        if handler is None:
            raise UnspelledError
        if node.op == "Identity" and body.function and re.fullmatch(r"(.*/)?Identity(_\d+)?", node.name):
            return node.inputs[0]  # what the exporter returns; the graph has no such node
        return weights.less_learned(node, handler(node, self.build))

    def opaque(self, node: nodes.Node, k: int, why: str) -> Value:
        """Return output ``k`` of a node of which nothing is known but perhaps its shape."""
        tensors = [item.tensor if isinstance(item, nodes.Rows) else item for item in node.inputs]
        operands = [item for item in tensors if isinstance(item, Value)]
        shape = None if self.resized else self.stated(node, k)
        if any(value.name in self.outside for value in operands):
            return self.added(node, k, shape)
        return self.unknown((node.output(k), node.op), why, shape, operands)

    def stated(self, node: nodes.Node, k: int) -> Shape | None:
        """Return the shape that the graph states of an output, if it states every size."""
        shapes = node.get("_output_shapes")
        shape = shapes[k] if isinstance(shapes, list) and k < len(shapes) else None
        known = isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)
        return shape if known else None

    # What comes from outside, and what the file holds.

    def source(self, node: nodes.Node) -> nodes.Made:
        """Add an input of the program for each output of a node that comes from outside."""
        if node.op.startswith("Decode"):
            channels = node.get("channels") or None
            sizes = [unknown(f"{node.name}.{d}") for d in range(3)]
            shape: Shape = (sizes[0], sizes[1], channels or sizes[2])
            return self.added(node, 0, None if node.op in ("DecodeGif", "DecodeImage", "DecodeRaw") else shape)
        if node.op == "PlaceholderWithDefault":
            default = node.input(0)
            if default.shape == () or not default.constant:
                return default
        types = node.get("output_types") or node.get("component_types") or [node.get("dtype") or node.get("T") or 0]
        shapes = node.get("output_shapes") or [node.get("shape")]
        if not isinstance(types, list) or not isinstance(shapes, list) or len(types) > MAX_ELEMENTS:
            raise ValueError("its output_types or output_shapes are no lists")
        sources: list[nodes.Item] = []
        for k, kind in enumerate(types):
            known_shape = shapes[k] if k < len(shapes) else None
            stated = node.get("_output_shapes")
            if known_shape is None and isinstance(stated, list) and k < len(stated):
                known_shape = stated[k]
            if known_shape == () and node.op in ("Placeholder", "_Arg") and 0 < self.model.graph.versions.producer < 24:
                known_shape = None  # in old graphs no dimensions meant that they are not known
            shape_ = known_shape and tuple(
                size if isinstance(size, int) and size > 0 else unknown(f"{node.output(k)}.{d}")
                for d, size in enumerate(known_shape)
            )
            if kind == nodes.BOOL and _TRAINING.search(node.name):
                sources.append(self.build.constant(0, name=node.name))
            elif kind in (nodes.STRING, nodes.RESOURCE, nodes.VARIANT):
                sources.append(self.build.weight(None, self.build.unique(node.output(k))))
                self.outside.update([node.output(k)] if kind == nodes.STRING else [])
            else:
                sources.append(self.added(node, k, shape_))
        return sources

    def added(self, node: nodes.Node, k: int, shape: Shape | None) -> Value:
        """Add an input of the program."""
        name = node.output(k)
        return self.build.input(name, shape, self.given.get(name))

    def tensor(self, name: str, tensor: Any) -> Value:
        """Return a constant; its contents only if it is small."""
        if tensor is None or not hasattr(tensor, "tensor_shape"):
            raise ValueError("its value is missing")
        shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
        if len(shape) > MAX_RANK or any(size < 0 for size in shape):
            raise ValueError(f"its value has shape {list(shape)[:20]}")
        count = 1
        for size in shape:
            count *= size
        kind = int(tensor.dtype)
        if kind not in nodes.STORED:
            return weights.learn(self.build, self.build.weight(shape, name), kind)
        if count > (MAX_ELEMENTS if kind in nodes.INTEGERS else MAX_FLOATS):
            read = partial(array_of, tensor, kind, shape, count)
            return weights.learn(self.build, self.build.weight(shape, name, read), kind)
        numbers = contents_of(tensor, kind, count)
        if numbers is None:
            return weights.learn(self.build, self.build.weight(shape, name), kind)  # weights were stripped
        integer = kind in nodes.INTEGERS
        array = np.array(numbers, dtype=object if integer else float).reshape(shape)
        if not integer and not np.isfinite(array).all():  # as masks hold
            return weights.learn(self.build, self.build.weight(shape, name, lambda: array), kind)
        data = Data(array, integer)
        return weights.learn(self.build, self.build.constant(data, name=name), kind)

    # Control flow.

    def looped(self, node: nodes.Node, known: bool) -> nodes.Item:
        """Return what a turn of a loop reads, or what leaves it: lists of rows, and counters whose number is not known.

        A loop over the rows of a batch does the same with each, so that one turn stands for all.
        """
        entering = node.inputs[0] if node.inputs and known else None
        if isinstance(entering, nodes.Rows):
            return entering
        if isinstance(entering, Value) and entering.constant:
            return self.build.weight(entering.shape, node.name)
        raise UnspelledError("what its loop computes is not followed")

    def unrolled(
        self, body: Body, name: str, scope: Mapping[str, Outputs], prefix: str, given: Mapping[str, Any]
    ) -> Outputs | None:
        """Return what leaves a loop of few turns whose number is known; ``None`` if a node leaves no such loop."""
        frame = body.frame(name) if body.nodes[name].op in EXITS else None
        if frame is None:
            return None
        key = (id(body), prefix, frame.name)
        if key not in self.loops:
            self.loops[key] = self.turned(body, frame, scope, prefix, given)
        carried = self.loops[key]
        place = frame.switches.index(body.nodes[name].data[0].name)
        return None if carried is None else Outputs(None, [carried[place]])

    def turned(
        self, body: Body, frame: Frame, scope: Mapping[str, Outputs], prefix: str, given: Mapping[str, Any]
    ) -> list[nodes.Item] | None:
        """Return what a loop hands on after its last turn, ``None`` if that cannot be told."""
        outside = {entry: scope[entry] for entry in frame.entries}
        carried = [self.item(body, scope, body.nodes[merge].data[0]) for merge in frame.merges]
        before = len(self.build.instructions)
        for count in range(MAX_TURNS + 1):
            if any(not isinstance(item, Value) for item in carried):
                break  # rows of a batch: one turn stands for all
            turn = f"{prefix}{frame.name}/{count}/"
            condition = body.nodes[frame.condition.name]
            wanted = condition.data[:1] if condition.op == "LoopCond" else (frame.condition,)
            read = {**outside, **dict(zip(frame.merges, carried, strict=True))}
            (go_on,) = self.run(body, read, wanted, turn, given)
            if not isinstance(go_on, Value) or go_on.data is None or not _decided(go_on):
                break
            if not _truth(go_on):
                return carried
            going = {
                name: Outputs(None, [nodes.DEAD, item]) for name, item in zip(frame.switches, carried, strict=True)
            }
            carried = self.run(body, {**read, **going}, frame.ends, turn, given)
        del self.build.instructions[before:]
        return None

    def switched(self, node: nodes.Node) -> nodes.Made:
        """Read a node that hands its tensor to one of two branches."""
        value, condition = node.inputs[0], node.input(1)
        if condition.data is not None:
            taken = _truth(condition)
            return [nodes.DEAD, value] if taken else [value, nodes.DEAD]
        if condition.constant or not isinstance(value, Value) or condition in self.build.inputs:
            return [value, value]
        read = self.build(program.Whole(shape=()), condition, part="condition")
        chosen = self.build(program.Pointwise(function="where"), value, read)
        return [chosen, chosen]

    def merged(self, node: nodes.Node, body: Body, wired: Wired) -> nodes.Made:
        """Read a node where branches meet; all of them, where it is not known which is taken."""
        if any(body.is_next(i.name) for i in wired.data):
            return [self.looped(node, len(node.inputs) == 1), self.build.weight((), node.output(1))]
        alive = [item for item in node.inputs if not isinstance(item, nodes.Dead)]
        if not alive:
            return [nodes.DEAD, nodes.DEAD]
        index = self.build.weight((), node.output(1))
        if len(alive) == 1:
            place = next(k for k, item in enumerate(node.inputs) if item is alive[0])
            return [alive[0], self.build.constant(place, name=node.output(1))]
        return [self.either(node, 0, alive), index]

    def either(
        self, node: nodes.Node, k: int, items: Sequence[nodes.Item], condition: Value | None = None
    ) -> nodes.Item:
        """Return what is one of several tensors."""
        tensors = [item for item in items if isinstance(item, Value)]
        if len(tensors) < len(items):
            raise UnspelledError("its branches make no tensors")
        self.build.at(node.output(k), node.op)
        return either(self.build, tensors, condition)

    def called(self, node: nodes.Node) -> nodes.Made:
        """Read the function that a node calls in its place."""
        name = node.op if node.op in self.functions else _function_name(node.get("f"))
        attributes = node.attributes if node.op in self.functions else _function_attributes(node.get("f"))
        return self.body(name, node.inputs, _scope_of(node.name), attributes)

    def body(self, name: str, inputs: Sequence[nodes.Item], prefix: str, given: Mapping[str, Any]) -> list[nodes.Item]:
        """Read a function of the file, and return what it returns."""
        function = self.functions.get(name)
        if function is None:
            raise UnspelledError(f"the function {name!r} that it calls is not in the file")
        arguments = function.signature.input_arg
        if any(a.number_attr or a.type_list_attr for a in (*arguments, *function.signature.output_arg)):
            raise UnspelledError(f"the function {name!r} takes or makes lists of tensors")
        if len(arguments) != len(inputs):
            raise ValueError(f"the function {name!r} takes {len(arguments)} inputs, not {len(inputs)}")
        if name not in self.bodies:
            self.bodies[name] = Body(function.node_def, function=True)
        bound = dict(zip((a.name for a in arguments), inputs, strict=True))
        wanted = [Input(*ref(function.ret[a.name], True)) for a in function.signature.output_arg]
        with self.deeper(MAX_CALLS, f"its functions, {name!r} among them, call each other"):
            return self.run(self.bodies[name], bound, wanted, prefix, given)

    def branches(self, node: nodes.Node) -> nodes.Made:
        """Read the branch that is taken; all of them if that depends on the input."""
        condition = node.input(0)
        functions = node.get("branches") or [node.get("then_branch"), node.get("else_branch")]
        if condition.data is not None:
            if node.op.endswith("Case"):
                index = node.integer("branch index", 0)
                functions = [functions[index if 0 <= index < len(functions) else -1]]
            else:
                functions = [functions[0 if _truth(condition) else 1]]
        scope = _scope_of(node.name)
        branches = [self.body(_function_name(f), node.inputs[1:], scope, _function_attributes(f)) for f in functions]
        if len(branches) == 1:
            return branches[0]
        read = None if condition.constant or condition in self.build.inputs else condition
        return [self.either(node, k, items, read) for k, items in enumerate(zip(*branches, strict=True))]

    def loop(self, node: nodes.Node) -> nodes.Made:
        """Unroll a loop of few turns whose number is known."""
        condition, turn = node.get("cond"), node.get("body")
        carried = list(node.inputs)
        for count in range(MAX_TURNS + 1):
            prefix = f"{_scope_of(node.name)}{count}/"
            (go_on,) = self.body(_function_name(condition), carried, prefix, _function_attributes(condition))
            if count == 0 and any(isinstance(item, nodes.Rows) for item in carried):
                return self.each_row(node, carried)
            if not isinstance(go_on, Value) or go_on.data is None:
                raise UnspelledError("how often it runs depends on what the network computes, or on the input size")
            if not _truth(go_on):
                return carried
            carried = self.body(_function_name(turn), carried, prefix, _function_attributes(turn))
        raise UnspelledError(f"it runs more than {MAX_TURNS} times")

    def each_row(self, node: nodes.Node, carried: Sequence[nodes.Item]) -> list[nodes.Item]:
        """Read one turn of a loop over the rows of a batch for all of them."""
        given = [
            self.build.weight(item.shape, f"{node.name}/{k}") if isinstance(item, Value) and item.constant else item
            for k, item in enumerate(carried)
        ]
        turn = node.get("body")
        results = self.body(_function_name(turn), given, _scope_of(node.name), _function_attributes(turn))
        for before, after in zip(given, results, strict=True):
            if isinstance(before, Value) and not before.constant and after != before:
                raise UnspelledError("its turns hand each other what the network computes")
            if isinstance(before, Value) and isinstance(after, Value) and before.constant != after.constant:
                raise UnspelledError("its turns hand each other what the network computes")
        return results


@dataclass
class Outputs:
    """What a node makes; ``node`` is there to make those that no handler followed."""

    node: nodes.Node | None
    items: list[nodes.Item]
    dead: bool = False
    why: str = "this output is not followed"


@dataclass(frozen=True)
class Sandwich:
    """The two ends round a convolution, and their blocks, paddings and crops."""

    ends: tuple[str, str]
    amounts: tuple[Input, Input, Input]
    inserted: bool


def _decided(value: Value) -> bool:
    """Whether a condition is one number."""
    elements = None if value.data is None else value.data.elements
    return elements is not None and elements.size == 1 and hasattr(elements.flat[0], "denominator")


def _truth(value: Value) -> bool:
    assert value.data is not None
    if value.data.elements.size != 1:
        raise UnspelledError("its condition is not one number")
    number = value.data.elements.flat[0]
    if not isinstance(number, (int, bool)) and not hasattr(number, "denominator"):
        raise UnspelledError("its condition depends on the input size; give one")
    return bool(number)


def _function_name(function: Any) -> str:
    if not hasattr(function, "attr"):
        raise ValueError("the function that it calls is missing")
    return str(function.name)


def _function_attributes(function: Any) -> Mapping[str, Any]:
    return Attributes(function.attr, {})


def _scope_of(name: str) -> str:
    """Return what the nodes of a function are called after; calls that no user named have no name of their own."""
    scope = re.sub(r"(^|/)(Stateful)?PartitionedCall(_\d+)?$", "", name)
    if len(scope) > MAX_SCOPE:
        scope = f"{scope[: MAX_SCOPE // 2]}...{crc32(scope.encode()):08x}"
    return f"{scope}/" if scope else ""
