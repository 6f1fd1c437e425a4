"""Graphs that ``torch.export`` makes, read into a tensor program; this module does not need torch.

A saved file and a live module are both brought to an ``Exported`` first, so that there is one reader and one table of
handlers for both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Any, TypeAlias

import networkx as nx

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.lowering.layout import Axes
from rfgraph.importers.lowering.lower import lower_for
from rfgraph.importers.program import NOTHING, UNSEEN, Instruction, Program, Shape, Value, names_of, symbol, text
from rfgraph.importers.spelling.handlers import UnspelledError
from rfgraph.importers.spelling.node import fits
from rfgraph.importers.spelling.operations import either
from rfgraph.importers.spelling.reader import Reader as Base
from rfgraph.importers.torch import matrices, moves, operators, patches, signals, windows  # noqa: F401  handlers
from rfgraph.importers.torch.guards import at_least, guards_of
from rfgraph.importers.torch.indices import put_back
from rfgraph.importers.torch.nodes import HANDLERS, Made, Node

#: Graphs that call graphs, deeper than this, are refused.
MAX_CALLS = 64

#: Ops that call a graph as it is, under settings that are none of ours.
INLINED = ("higher_order::wrap_with_set_grad_enabled", "higher_order::wrap_with_autocast", "higher_order::wrap")

#: Ops whose result may share memory with their first argument, so that writing into one changes the other.
VIEWS = frozenset(
    {
        "view", "reshape", "view_as", "reshape_as", "transpose", "permute", "t", "swapaxes", "swapdims", "movedim",
        "moveaxis", "numpy_T", "mT", "adjoint", "slice", "select", "narrow", "chunk", "split", "split_with_sizes",
        "tensor_split", "unbind", "squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "flatten", "unflatten",
        "detach", "alias", "ravel", "view_as_real", "view_as_complex", "broadcast_tensors", "meshgrid", "atleast_1d",
        "atleast_2d", "atleast_3d", "imag", "resolve_conj", "resolve_neg", "contiguous", "to", "type_as", "positive",
        "real", "as_strided", "unfold", "dropout", "feature_dropout", "alpha_dropout",
    }
)  # fmt: skip


#: Those of them that always do, and say which part.
CUTS = frozenset(
    {
        "view", "view_as", "transpose", "permute", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "numpy_T", "mT",
        "slice", "select", "narrow", "squeeze", "unsqueeze", "unflatten",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ref:
    """An argument that an earlier step, or an input, makes."""

    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """One call of an operator in an exported graph."""

    target: str  # as the graph names it: torch.ops.aten.relu.default
    arguments: Mapping[str, Any]  # by the names of the operator's schema; tuples for lists, ``Graph`` for bodies
    outputs: tuple[str | None, ...]
    #: Path of the module that calls it, and what tells this call of the module from others.
    path: str = ""
    instance: str = ""
    #: ``file:line`` of the user's code.
    location: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph: its inputs, steps in order, and what it gives back."""

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Any, ...]
    #: Shapes of tensors, as far as the graph states them; ``None`` stands for a size or a shape that is not stated.
    shapes: Mapping[str, tuple[int | str | None, ...] | None]
    #: Tensors of booleans.
    masks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model. ``data`` names the inputs of its graph that are not weights."""

    name: str
    graph: Graph
    data: tuple[str, ...]
    #: The inputs of its graph that are learned, and the tensor that each is: several may be the same.
    learned: Mapping[str, str] = field(default_factory=dict)
    #: What those of its inputs hold that are small tensors of integers: nested lists.
    contents: Mapping[str, Any] = field(default_factory=dict)
    #: What the model calls each output of its graph: the keys under which it returns them, empty where it has none.
    titles: tuple[str, ...] = ()
    #: Where the code of a model that was run looks at what its example holds, so that another may run otherwise.
    looks: tuple[str, ...] = ()
    #: Those of its inputs that are fixed tensors whose numbers are at hand, and what returns them.
    numbers: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    #: Under which conditions on the sizes of its inputs it runs: Python's text, and the least that sizes may be.
    guards: tuple[str, ...] = ()
    least: Mapping[str, int] = field(default_factory=dict)


Scope: TypeAlias = "dict[str, Any]"

#: Operators whose primitives make of constants what they do: others only say where elements come from.
FOLDED = frozenset(
    {
        "arange", "zeros", "ones", "full", "zeros_like", "ones_like", "lift_fresh", "lift_fresh_copy", "clone",
        "detach",
        "alias", "contiguous", "to", "_to_copy", "type_as", "positive", "add", "sub", "rsub", "mul", "multiply",
        "subtract", "div", "divide", "true_divide", "floor_divide", "remainder", "maximum", "minimum", "eq", "ne", "lt",
        "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "where", "neg", "abs", "floor", "ceil", "sum",
        "prod", "amax", "amin", "slice", "narrow", "select", "chunk", "split", "split_with_sizes", "tensor_split",
        "unbind", "cat", "concat", "concatenate", "stack", "index_select", "index", "flip", "expand", "expand_as",
        "broadcast_to", "repeat", "tile", "repeat_interleave", "view", "reshape", "_unsafe_view", "view_as",
        "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose", "t", "numpy_T", "mT",
        "swapaxes", "swapdims", "movedim", "moveaxis", "copy",
    }
)  # fmt: skip


class Reader(Base):
    """Reads the steps of one exported model, in their order, into a builder."""

    def __init__(self, exported: Exported, shapes: Mapping[str, Shape] | None = None) -> None:
        super().__init__(exported.name)
        self.exported = exported
        self.shapes = shapes or {}
        #: Where the user's code calls what makes an instruction.
        self.locations: dict[str, str] = {}
        self.graph = exported.graph  # the one that is being read
        self.roots: dict[str, str] = {}  # its tensors that share memory with others -> the one they are views of
        self.views: dict[str, list[str]] = {}  # that one -> all its views
        self.cuts: dict[
            str, tuple[str, Instruction]
        ] = {}  # tensor -> what it was cut out of or is numbered like, and how
        self.resized = any(self._fixed(name, shape) for name, shape in self.shapes.items())

    def _fixed(self, name: str, shape: Shape) -> bool:
        """Whether a shape asked for has another size where the model states a number."""
        return any(isinstance(b, int) and a != b for a, b in zip(shape, self.stated(name) or (), strict=False))

    def stated(self, name: str) -> Shape | None:
        """Return the shape that the model states of a tensor; sizes that it does not state are symbols."""
        shape = self.graph.shapes.get(name)
        if shape is None:
            return None
        return tuple(size if isinstance(size, int) else symbol(size or f"{name}.{d}") for d, size in enumerate(shape))

    def program(self) -> Program:
        """Return the program.

        Raises
        ------
        ModelFileError
            If a node is malformed.
        """
        graph, data, learned = self.exported.graph, set(self.exported.data), self.exported.learned
        scope: Scope = {}
        self.build.learned = set()
        for name in graph.inputs:
            shape = self.stated(name)
            if name in data:
                scope[name] = self.build.input(name, shape, self.shapes.get(name))
            else:
                scope[name] = self.constant(name, shape)
            if name in learned:
                scope[name] = self.build.learn(scope[name], learned[name])
                self.build.learned |= scope[name].learned
        results, titles = self.run(graph, data, scope), self.exported.titles
        named = zip(results, titles if len(titles) == len(results) else ("",) * len(results), strict=True)
        outputs = [(value, title) for item, title in named for value in _flat([item]) if isinstance(value, Value)]
        if not outputs:
            raise self.fail("the model has no outputs that are tensors")
        program = self.build.program([value for value, _ in outputs], [title for _, title in outputs])
        shapes = {name: self.stated(name) for name in data}
        known = {name for shape in shapes.values() for size in shape or () for name in names_of(size) or ()}
        guards = guards_of(self.exported.guards, shapes)
        ranges = [at_least(name, size) for name, size in self.exported.least.items() if name in known]
        return replace(program, guards=(*guards, *ranges))

    def constant(self, name: str, shape: Shape | None) -> Value:
        """Return an input that is no data, with what it holds if that is known and never written over."""
        contents = self.exported.contents.get(name)
        if contents is None or name in self._overwritten:
            return self.build.weight(
                shape, name, None if name in self._overwritten else self.exported.numbers.get(name)
            )
        value = self.build.constant(contents, name=name)
        if shape is not None and not fits(value.shape or (), shape):
            raise self.fail(f"constant {name!r} has shape {text(value.shape)}, but {text(shape)} is stated")
        return value

    @cached_property
    def _overwritten(self) -> set[str]:
        """The inputs that steps write into."""
        steps = [step for step in self.exported.graph.steps if operator(step.target)[0].endswith("_")]
        return {ref.name for step in steps for ref in _flat(list(step.arguments.values())[:1]) if isinstance(ref, Ref)}

    def run(self, graph: Graph, data: set[str], scope: Scope) -> list[Any]:
        """Read the steps of a graph into ``scope`` and return its outputs."""
        for step, name in zip(graph.steps, _names(graph, data), strict=True):
            self.step(step, name, scope)
        return [self.resolved(value, scope, "its output") for value in graph.outputs]

    def body(self, graph: Graph, values: Sequence[Any], refs: Sequence[Any], outer: Scope) -> list[Any]:
        """Read a graph that a step calls, and return its outputs."""
        if len(values) != len(graph.inputs):
            raise ValueError(f"its body takes {len(graph.inputs)} inputs, not {len(values)}")
        scope: Scope = dict(zip(graph.inputs, values, strict=True))
        data = {name for name, value in scope.items() if isinstance(value, Value) and not value.constant}
        around = self.graph, self.roots, self.views, self.cuts
        with self.deeper(MAX_CALLS, "its graphs call each other"):
            self.graph, self.roots, self.views, self.cuts = graph, {}, {}, {}
            try:
                outputs = self.run(graph, data, scope)
            finally:
                self.graph, self.roots, self.views, self.cuts = around
        for name, before, ref in zip(graph.inputs, values, refs, strict=False):
            if scope[name] is not before and isinstance(ref, Ref):
                self.written("body", "body", ref.name, scope[name], outer)
        return outputs

    def called(self, node: Node, step: Step, scope: Scope) -> list[Any]:
        """Read a step that calls graphs: one that is called as it is, or the branches of a ``cond``."""
        graphs = [value for value in node.arguments.values() if isinstance(value, Graph)]
        if node.op in INLINED and len(graphs) == 1:
            entries = list(node.arguments)
            first = next(k for k, name in enumerate(entries) if node.arguments[name] is graphs[0]) + 1
            values, refs = list(node.arguments.values())[first:], list(step.arguments.values())[first:]
            return self.body(graphs[0], values, refs, scope)
        if node.op != "higher_order::cond" or len(graphs) != 2:
            raise UnspelledError("what its graphs make of each other is not followed")
        condition, operands = next(iter(node.arguments.values())), list(node.arguments.values())[-1]
        if not isinstance(operands, tuple):
            raise ValueError("its operands are not a list")
        branches = [self.body(graph, operands, (), scope) for graph in graphs]
        merged = []
        for k, (a, b) in enumerate(zip(*branches, strict=True)):
            if not isinstance(a, Value) or not isinstance(b, Value) or a.shape is None or b.shape is None:
                raise UnspelledError("its branches do not make tensors of known ranks")
            self.build.at(node.name, node.op)
            read = condition if isinstance(condition, Value) else None
            merged.append(either(self.build, [a, b], read, str(k) if k else ""))
        return merged

    def resolved(self, argument: Any, scope: Scope, reader: str) -> Any:
        """Return an argument with the values in scope for their names."""
        if isinstance(argument, Ref):
            if argument.name not in scope:
                raise self.fail(f"{reader} reads {argument.name!r}, which nothing before it makes")
            return scope[argument.name]
        if isinstance(argument, tuple):
            return tuple(self.resolved(item, scope, reader) for item in argument)
        return argument

    def step(self, step: Step, name: str, scope: Scope) -> None:
        """Read one step into ``scope``."""
        op, overload = operator(step.target)
        known = HANDLERS.get(op)
        in_place = op.endswith("_") and not op.endswith("__")
        if known is None and in_place:
            op = op[:-1]
            known = HANDLERS.get(op)
        arguments = {n: self.resolved(value, scope, f"node {name!r} ({op})") for n, value in step.arguments.items()}
        if not any(step.outputs) and not in_place:
            return  # assertions
        refs = [item.name for value in step.arguments.values() for item in _flat([value]) if isinstance(item, Ref)]
        masks = any(ref in self.graph.masks for ref in refs)
        node = Node(name, op, overload, arguments, masks, self.resized)
        before = len(self.build.instructions)
        self.build.at(name, op, node.tensors())

        def spell() -> list[Any]:
            if any(isinstance(value, Graph) for value in arguments.values()):
                return self.called(node, step, scope)
            return self.opaque(node, step, "") if known is None else self.checked(known(node, self.build), step)

        outputs = self.spelt(node, spell, lambda why: self.opaque(node, step, why))
        for instruction in self.build.instructions[before:]:
            self.locations.setdefault(instruction.name, step.location)
        for k, output in enumerate(step.outputs):
            if output:
                value = outputs[k] if k < len(outputs) else self.unfollowed(node, output)
                scope[output] = _derived(value, node)
        target = refs[0] if refs else None
        if target is not None and (in_place or op in VIEWS):
            if in_place:
                self.written(node.name, node.op, target, outputs[0], scope)
            root = self.roots.get(target, target)
            added = self.build.instructions[before:] or self.build.folded
            for output in filter(None, step.outputs):
                if (
                    op in CUTS
                    and len(added) == 1
                    and isinstance(scope[output], Value)
                    and added[0].output is outputs[0]
                ):
                    self.cuts[output] = (target, added[0])
                self.roots[output] = root
                self.views.setdefault(root, []).append(output)

    def checked(self, results: Made, step: Step) -> list[Any]:
        """Return the outputs of a step, once their shapes are those that the model states."""
        outputs = [results] if isinstance(results, Value) or not isinstance(results, Sequence) else list(results)
        for value, name in zip(outputs, step.outputs, strict=False):
            if self.shapes or not name or not isinstance(value, Value) or value.shape is None:
                continue
            stated = self.stated(name)
            if stated is not None and not fits(value.shape, stated):
                raise UnspelledError(f"its shape should be {text(stated)}, which does not follow: {text(value.shape)}")
        return outputs

    def opaque(self, node: Node, step: Step, why: str) -> list[Any]:
        """Return the outputs of a step of which nothing is known but perhaps their shapes."""
        outputs = step.outputs or (None,)
        return [self.unfollowed(node, output or "", why, k) for k, output in enumerate(outputs)]

    def unfollowed(self, node: Node, output: str, why: str = "this output is not followed", k: int = 1) -> Value:
        """Return an output of which nothing is known but perhaps its shape."""
        operands = node.tensors()
        shape = None if self.shapes else self.stated(output)
        if shape is not None and any(not isinstance(size, int) for size in shape):
            shape = None  # its symbols are not those of the inputs
        part = str(k) if k else ""
        return self.unknown((node.name, node.op), why, shape, operands, operands, part, output)

    def written(self, by: str, op: str, target: str, value: Any, scope: Scope) -> None:
        """Note that ``by`` wrote into a tensor: names that share its memory hold something else from now on.

        What it was cut out of is put together anew; of other names for parts of it, each element may be any of what was
        written, which is a bound.
        """
        root = self.roots.get(target, target)
        if not isinstance(value, Value):
            raise ValueError("what it writes is not a tensor")
        self.build.at(by, op)
        exact = {target: value}
        name, whole = target, value
        while name in self.cuts and whole.shape is not None:
            name, cut = self.cuts[name]
            old = scope.get(name)
            if not isinstance(old, Value) or old.shape is None or (old.constant and whole.constant):
                break
            whole = put_back(self.build, cut, old, whole, f"into/{len(exact)}")
            exact[name] = whole
        for name in dict.fromkeys((root, *self.views.get(root, ()), target)):
            old = scope.get(name)
            if name in exact:
                scope[name] = exact[name]
            elif isinstance(old, Value) and old.constant and value.constant:
                weight = replace(self.build.weight(old.shape, name), learned=old.learned | value.learned)
                held = value.held(tells_learned=True)
                numbers = held if value.shape == old.shape or held is None else UNSEEN
                scope[name] = replace(weight, numbers=numbers)
            elif isinstance(old, Value):
                why = "it may be any part of what was written into its memory"
                read = self.build(program.Whole(shape=(), bound=why), value, part=f"{name}/written")
                scope[name] = self.build(program.Pointwise(function="where"), old, read, part=name)


def _derived(value: Any, node: Node) -> Any:
    """Return a constant with what it is made of: a weight that is computed of learned ones is learned."""
    operands = node.tensors()
    if not isinstance(value, Value) or not value.constant or not all(operand.constant for operand in operands):
        return value
    if (
        value.data is not None
        and node.op not in FOLDED
        and not any(isinstance(a, Graph) for a in node.arguments.values())
    ):
        # Integers divide as integers where they are folded, and here as fractions.
        value = replace(value, data=None, numbers=UNSEEN if "div" in node.op else value.held(tells_learned=True))
    if node.op.endswith("_like") or node.op.startswith("new_"):
        return value  # only their shape
    return replace(value, learned=NOTHING.union(*(operand.learned for operand in operands)))


def operator(target: str) -> tuple[str, str]:
    """Return the name of an operator and its overload; those not of ``aten`` keep their namespace.

    Examples
    --------
    >>> operator("torch.ops.aten.add.Tensor"), operator("torch.ops.torchvision.nms.default"), operator("_operator.mul")
    (('add', 'Tensor'), ('torchvision::nms', 'default'), ('_operator::mul', ''))
    """
    parts = target.split(".")
    if parts[:2] == ["torch", "ops"] and len(parts) >= 4:
        name = parts[3] if parts[2] == "aten" else f"{parts[2]}::{parts[3]}"
        return name, ".".join(parts[4:])
    return "::".join([".".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else target, ""


def titles_of(spec: str) -> tuple[str, ...]:
    r"""Return what a model calls the tensors that it returns, one for each leaf of a structure that PyTorch wrote down.

    It is the way to the leaf, where that has a key: a detector that returns ``{"p3": x, "p4": y}`` has the outputs
    ``p3`` and ``p4``. Leaves of plain tuples and lists have no names.

    Examples
    --------
    >>> leaf = '{"type": null, "context": null, "children_spec": []}'
    >>> titles_of(f'[1, {{"type": "builtins.dict", "context": "[\\"p3\\"]", "children_spec": [{leaf}]}}]')
    ('p3',)
    """
    try:
        root = json.loads(spec)[1]
        titles: list[str] = []
        waiting: list[tuple[Any, tuple[str, ...], bool]] = [(root, (), False)]
        while waiting:
            entry, path, keyed = waiting.pop()
            if entry["type"] is None:
                titles.append(".".join(path) if keyed else "")
                continue
            children = entry["children_spec"]
            context = json.loads(entry["context"]) if isinstance(entry["context"], str) else None
            keys = context if isinstance(context, list) and len(context) == len(children) else None
            named = bool(keys) and all(isinstance(key, (str, int)) for key in keys or ())
            steps = [str(key) for key in keys or ()] if named else [str(k) for k in range(len(children))]
            ways = [(child, (*path, step), keyed or named) for child, step in zip(children, steps, strict=True)]
            waiting += reversed(ways)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):  # outputs have no names then
        return ()
    return tuple(titles)


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value


def _names(graph: Graph, data: set[str]) -> list[str]:
    """Return what steps are called: by the path of their module if it makes just one, else by path and operator."""
    depends = set(data)
    shown = []
    for step in graph.steps:
        reads = any(isinstance(item, Ref) and item.name in depends for item in _flat(list(step.arguments.values())))
        shown.append(reads)
        if reads:
            depends.update(filter(None, step.outputs))
    calls = Counter(step.instance for step, reads in zip(graph.steps, shown, strict=True) if reads)
    names = []
    for step in graph.steps:
        op = operator(step.target)[0].rpartition("::")[2].rstrip("_") or step.target
        alone = bool(step.path) and calls[step.instance] <= 1
        names.append(step.path if alone else f"{step.path}/{op}" if step.path else op)
    return names


def lowered(
    exported: Exported,
    treat: Mapping[str, str] | None = None,
    input_size: Any = None,
    again: Callable[[Mapping[str, Shape]], Exported] | None = None,
    axes: Axes | None = None,
) -> nx.DiGraph[Any]:
    """Return the network graph of an exported model; its nodes carry the ``location`` of the user's code.

    Parameters
    ----------
    treat, input_size, axes
        As for ``rfgraph.importers.load``.
    again
        Exports the model for other shapes of its inputs; if left out, what it states of its own is read for them.
    """
    locations: dict[str, str] = {}

    def read(shapes: Mapping[str, Shape]) -> Program:
        reader = Reader(again(shapes)) if shapes and again is not None else Reader(exported, shapes)
        tensors = reader.program()
        locations.update(reader.locations)
        return tensors

    return lower_for(read, treat, input_size, locations, axes=axes)
