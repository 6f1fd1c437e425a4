"""Flat jaxprs read into a tensor program; this module does not need JAX.

Steps are read in order. What no input reaches is not read but evaluated, if some op asks what it holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from rfgraph.importers import program
from rfgraph.importers.jax import indices  # noqa: F401  handlers register
from rfgraph.importers.jax.flattening import CALLS, MAX_STEPS, Graph, Path, Step, Traced
from rfgraph.importers.jax.nodes import HANDLERS, Node, Operand
from rfgraph.importers.jax.numbers import EVALUATORS, MOVES, Budget, Number, evaluated
from rfgraph.importers.jax.primitives import POINTWISE, SILENT, WEIGHTED
from rfgraph.importers.jax.recurrences import is_recurrent
from rfgraph.importers.program import NOTHING, UNSEEN, Builder, Numbers, Program, Value, computed, text
from rfgraph.importers.program.dimensions import Expression, Shape, valued
from rfgraph.importers.program.numbers import ALL, of_function, spread
from rfgraph.importers.spelling import MALFORMED, UnspelledError
from rfgraph.importers.spelling import Reader as Base
from rfgraph.importers.spelling.operations import either

#: Functions that only move elements are read as what they do to coordinates, for no more elements than this.
MAX_MOVED = 1 << 24
#: Loops of more turns than this are not unrolled.
MAX_TURNS = 64
#: No dimension of a constant.
NONE: frozenset[int] = frozenset()


class Reader(Base):
    """Reads a traced function into a builder."""

    def __init__(self, traced: Traced) -> None:
        super().__init__(traced.name)
        self.traced = traced
        self.build.learned = None if traced.learned is None else set(traced.learned)
        #: Where the user's code calls what makes an instruction.
        self.locations: dict[str, str] = {}
        self.budget = Budget()
        self.count = 0

    def program(self) -> Program:
        """Return the program.

        Raises
        ------
        ModelFileError
            If none of its outputs depends on an input.
        """
        graph = self.traced.graph
        inputs = [
            Operand(self.learnt(graph, number, self.build.input(name, graph.shapes[number])))
            for name, number in zip(self.traced.inputs, graph.inputs, strict=False)
        ]
        inputs += [
            Operand(self.learnt(graph, number, self.build.weight(graph.shapes[number])))
            for number in graph.inputs[len(inputs) :]
        ]
        return self.build.program([output.value for output in self.run(graph, inputs, "")], self.traced.titles)

    def learnt(self, graph: Graph, number: int, value: Value) -> Value:
        """Return a tensor as a learned one if it is."""
        name = graph.learned.get(number)
        return value if name is None else self.build.learn(value, name)

    def run(self, graph: Graph, inputs: Sequence[Operand], prefix: str) -> list[Operand]:
        """Read a graph on operands, and return its outputs."""
        scope = dict(zip(graph.inputs, inputs, strict=True))
        for number, const in graph.constants.items():
            scope[number] = Operand(
                self.learnt(graph, number, self.build.weight(graph.shapes[number], read=partial(_array, const))),
                Number.of(const),
            )
        names = _names(graph, {number for number, operand in scope.items() if not operand.value.constant})
        for step, name in zip(graph.steps, names, strict=True):
            self.step(graph, step, prefix + name, scope)
        return [scope[number] for number in graph.outputs]

    def step(self, graph: Graph, step: Step, name: str, scope: dict[int, Operand]) -> None:
        """Read one step into ``scope``."""
        self.count += 1
        if self.count > MAX_STEPS:
            raise self.fail(f"its loops unroll to more than {MAX_STEPS} steps")
        operands = tuple(scope[number] for number in step.inputs)
        shapes = tuple(graph.shapes[number] for number in step.outputs)
        control = CONTROL.get(step.op)
        if control is None and all(operand.value.constant for operand in operands):
            numbers = tuple(operand.number for operand in operands)
            learned = NOTHING.union(*(operand.value.learned for operand in operands))
            for k, (number, shape) in enumerate(zip(step.outputs, shapes, strict=True)):
                counted = Number(step.op, step.parameters, numbers, k, _count(shape), self.budget)
                held = _numbers(step, [operand.value for operand in operands], counted, k)
                alike = self._alike(Node(name, step.op, step.parameters, operands, shapes, ())) if k == 0 else NONE
                value = replace(self.build.weight(shape), learned=learned, alike=alike, numbers=held)
                scope[number] = Operand(value, counted)
            return
        if not step.outputs:
            return  # prints, assertions
        within = tuple(scope_name for scope_name, _ in step.path)
        node = Node(name, step.op, step.parameters, operands, shapes, within, self.traced.trials)
        before = len(self.build.instructions)
        self.build.at(name, step.op, () if control is not None else [operand.value for operand in operands])
        outputs = self.spelt(
            node,
            lambda: self.handled(node, step),
            lambda why: [Operand(self.opaque(node, k, why)) for k in range(len(shapes))],
        )
        for instruction in self.build.instructions[before:]:
            self.locations.setdefault(instruction.name, step.location)
        scope.update(zip(step.outputs, outputs, strict=True))

    def handled(self, node: Node, step: Step) -> list[Operand]:
        """Return the outputs of a step, once their shapes are those that JAX states."""
        control, handler = CONTROL.get(step.op), HANDLERS.get(step.op)
        if control is not None:
            outputs = control(self, node)
        elif step.op in CALLS:
            outputs = self.moved(node, step.parameters[CALLS[step.op]])
        elif handler is None:
            raise UnspelledError("")
        else:
            results = handler(node, self.build)
            outputs = [Operand(value) for value in ([results] if isinstance(results, Value) else results)]
        self._check(outputs, node.shapes)
        return outputs

    def _alike(self, node: Node) -> frozenset[int]:
        """Return the dimensions along which what a step makes of constants is the same at every index."""
        handler = HANDLERS.get(node.op) if node.op in SILENT or node.op in POINTWISE else None
        try:
            outputs = NONE if handler is None else handler(node, self.build)
        except (UnspelledError, *MALFORMED):
            return NONE
        return outputs.alike if isinstance(outputs, Value) and outputs.shape == node.shapes[0] else NONE

    def _check(self, outputs: Sequence[Operand], shapes: Sequence[Shape | None]) -> None:
        for operand, stated in zip(outputs, shapes, strict=True):
            if operand.value.shape != stated and not self._alike_at(operand.value.shape, stated):
                shown = text(operand.value.shape)
                raise UnspelledError(f"its shape should be {text(stated)}, which does not follow: {shown}")

    def _alike_at(self, shape: Shape | None, stated: Shape | None) -> bool:
        """Whether two shapes in which some sizes are open are the same at all sizes that are looked at."""
        if shape is None or stated is None or len(shape) != len(stated) or not self.traced.trials:
            return False
        return all(valued(a, at) == valued(b, at) for a, b in zip(shape, stated, strict=True) if a != b
                   for at in self.traced.trials) and all(isinstance(a, Expression) == isinstance(b, Expression)
                   for a, b in zip(shape, stated, strict=True))  # fmt: skip

    def opaque(self, node: Node, k: int, why: str) -> Value:
        """Return output ``k`` of a step of which nothing is known but its shape."""
        tensors = [operand.value for operand in node.operands if not operand.value.constant]
        return self.unknown((node.name, node.op), why, node.shapes[k], tensors, part=str(k) if k else "")

    def moved(self, node: Node, body: Graph) -> list[Operand]:
        """Read a function that only moves elements by what it does to their coordinates, or else as it is."""
        x, shape, after = node.value(0), node.shape(0), node.shapes[0] or ()
        self.build.at(node.name, str(node.parameters["name"]).strip("_"))
        tensor = x
        small = max(_count(shape), _count(after)) <= MAX_MOVED and len(shape) == len(after)
        small = small and not any(isinstance(size, Expression) for size in (*shape, *after))
        if not small:
            return self.run(body, node.operands, f"{node.name}/")
        moves = {d: _rows(body, shape, d) if small else None for d, size in enumerate(after) if size != 1}
        moves = {d: rows for d, rows in moves.items() if rows is None or rows.tolist() != list(range(shape[d]))}
        for k, (d, rows) in enumerate(moves.items()):
            moved = (
                None if rows is None else _gathered(self.build, tensor, d, rows, str(k) if k + 1 < len(moves) else "")
            )
            if moved is None:
                return self.run(body, node.operands, f"{node.name}/")
            tensor = moved
        return [Operand(tensor)]

    # Branches and loops.

    def cond(self, node: Node) -> list[Operand]:
        """Read the branch that is taken, or all of them as alternatives."""
        branches = node.parameters["branches"]
        index, operands = node.operands[0], node.operands[1:]
        chosen = index.numbers
        if chosen is not None:
            return self.run(branches[min(max(int(chosen), 0), len(branches) - 1)], operands, f"{node.name}/")
        results = [self.run(branch, operands, f"{node.name}/") for branch in branches]
        self.build.at(node.name, node.op)
        merged = []
        for k, values in enumerate(zip(*results, strict=True)):
            tensors = [operand.value for operand in values]
            merged.append(either(self.build, tensors, index.value, str(k) if k else ""))
        return [Operand(value) for value in merged]

    def scan(self, node: Node) -> list[Operand]:
        """Read the turns of a scan together, where each is for itself or it is a recurrent layer; else unroll few."""
        parameters = node.parameters
        body, length = parameters["jaxpr"], parameters["length"]
        fixed, carried = parameters["num_consts"], parameters["num_carry"]
        scans = any(not operand.value.constant for operand in node.operands[fixed + carried :])
        if scans and "rows" in parameters and not carried:
            return self.run(parameters["rows"], node.operands, f"{node.name}/")
        if scans and "rows" in parameters and is_recurrent(body, fixed):
            return self.recurrent(node)
        if length > MAX_TURNS:
            raise UnspelledError(f"it runs {length} times")
        consts, states = node.operands[:fixed], [*node.operands[fixed : fixed + carried]]
        rows = node.operands[fixed + carried :]
        stacked: list[list[Operand]] = [[] for _ in node.shapes[carried:]]
        turns = range(length)
        for turn in reversed(turns) if parameters["reverse"] else turns:
            self.build.at(f"{node.name}/{turn}/row", node.op)
            read = [self._row(operand, turn, str(k) if k else "") for k, operand in enumerate(rows)]
            results = self.run(body, [*consts, *states, *read], f"{node.name}/{turn}/")
            states = results[:carried]
            for column, operand in zip(stacked, results[carried:], strict=True):
                column.append(operand)
        self.build.at(node.name, node.op)
        shapes = node.shapes[carried:]
        return [*states, *(self._stack(column, k, parameters["reverse"], shape)
                           for k, (column, shape) in enumerate(zip(stacked, shapes, strict=True)))]  # fmt: skip

    def recurrent(self, node: Node) -> list[Operand]:
        """Read a recurrent layer: every output reads its own row and all before it, or after it if it runs backward."""
        length, carried = node.parameters["length"], node.parameters["num_carry"]
        first = node.parameters["num_consts"]
        consts, states, rows = (
            node.operands[:first],
            node.operands[first : first + carried],
            node.operands[first + carried :],
        )
        backward = bool(node.parameters.get("reverse", False))
        wide, mixed = [], []
        for k, state in enumerate(states):
            shape = (length, *(state.value.shape or ()))
            value = self.build.weight(shape)
            if not state.value.constant:
                begun = self.build(program.Unsqueeze(dims=(0,)), state.value, part=f"begin/{k}")
                value = self.build(program.Expand(shape=shape), begun, part=f"state/{k}")
            wide.append(Operand(value))
        for k, row in enumerate(rows):
            mix = program.Mix(function="recurrent", dims=(0,), direction="backward" if backward else "forward")
            # Products of the states are constants here, and are not counted: so nobody knows what it takes.
            part = str(k) if k else ""
            mixed.append(row if row.value.constant else Operand(self.build(mix, row.value, part=part, macs=None)))
        results = self.run(node.parameters["rows"], [*consts, *wide, *mixed], f"{node.name}/")
        self.build.at(node.name, node.op)
        last = program.Take(dim=0)
        ends = [
            Operand(
                self.build(last, operand.value, self.build.constant(0 if backward else length - 1), part=f"end/{k}")
            )
            for k, operand in enumerate(results[:carried])
        ]
        return [*ends, *results[carried:]]

    def _row(self, operand: Operand, turn: int, part: str) -> Operand:
        shape = operand.value.shape or ()
        if not operand.value.constant:
            return Operand(self.build(program.Take(dim=0), operand.value, self.build.constant(turn), part=part))
        starts = tuple(turn if d == 0 else 0 for d in range(len(shape)))
        limits = tuple(turn + 1 if d == 0 else size for d, size in enumerate(shape))
        cut = {"start_indices": starts, "limit_indices": limits, "strides": None}
        count = _count(shape[1:])
        row = Number("slice", cut, (operand.number,), 0, count, self.budget)
        flat = Number("squeeze", {"dimensions": (0,)}, (row,), 0, count, self.budget)
        return Operand(self.build.weight(shape[1:]), flat)

    def _stack(self, column: list[Operand], k: int, backward: bool, shape: Shape | None) -> Operand:
        if not column or all(operand.value.constant for operand in column):
            return Operand(self.build.weight(shape))
        rows = reversed(column) if backward else column
        wide = [
            self.build(program.Unsqueeze(dims=(0,)), row.value, part=f"stack/{k}/{i}") for i, row in enumerate(rows)
        ]
        return Operand(self.build(program.Concat(dim=0), *wide, part=f"stack/{k}" if k else "stack"))

    def loop(self, node: Node) -> list[Operand]:
        """Unroll a loop of few turns whose condition depends on no input."""
        parameters = node.parameters
        test, body = parameters["cond_jaxpr"], parameters["body_jaxpr"]
        tested, fixed = parameters["cond_nconsts"], parameters["body_nconsts"]
        checked, consts = node.operands[:tested], node.operands[tested : tested + fixed]
        states = [*node.operands[tested + fixed :]]
        for turn in range(MAX_TURNS + 1):
            (go_on,) = self.run(test, [*checked, *states], f"{node.name}/{turn}/")
            if go_on.numbers is None:
                raise UnspelledError("how often it runs is not known beforehand")
            if not bool(go_on.numbers):
                return states
            states = self.run(body, [*consts, *states], f"{node.name}/{turn}/")
        raise UnspelledError(f"it runs more than {MAX_TURNS} times")


CONTROL: dict[str, Callable[[Reader, Node], list[Operand]]] = {
    "cond": Reader.cond,
    "scan": Reader.scan,
    "while": Reader.loop,
}


#: Primitives -> the function of the tensor program, as far as it tells what is 0.
SAME = {
    "convert_element_type": "identity", "stop_gradient": "identity", "copy": "identity", "gt": "greater",
    "lt": "less", "ge": "greater_or_equal", "le": "less_or_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip

#: Primitives that put numbers among others, which may be 0.
WRITING = frozenset({"scatter", "scatter-add", "dynamic_update_slice"})


def _array(const: Any) -> Any:
    """Return the numbers of an array that a function has closed over; ``None`` of keys of random numbers."""
    if isinstance(const, (bool, int, float)) or isinstance(getattr(const, "dtype", None), np.dtype):
        return np.asarray(const)
    return None


def _numbers(step: Step, values: Sequence[Value], number: Number, output: int) -> Numbers | None:
    """Return the numbers that a step makes of constants, or others that are 0 where they are."""
    held = [value.held(tells_learned=True) for value in values]
    body = step.parameters.get(CALLS.get(step.op, ""))
    if step.op in MOVES or isinstance(body, Graph):  # functions that are left only move elements
        if all(one is None or one is ALL for one in held) and not (isinstance(body, Graph) and ALL in held):
            return None
        laid = [spread(one, value.shape) for one, value in zip(held, values, strict=True)]
        if isinstance(body, Graph):
            return computed(lambda *arrays: _ran(body, arrays)[output], laid, own=True)
        return computed(lambda *arrays: evaluated(step.op, step.parameters, arrays)[output], laid, own=True)
    if not any(value.learned for value in values):
        return Numbers(lambda: number.value)
    if step.op in EVALUATORS and all(one is not None and one.own for one in held):
        return computed(lambda *arrays: evaluated(step.op, step.parameters, arrays)[output], held, own=True)
    if step.op in WRITING:
        return UNSEEN
    if step.op == "select_n" and len(held) == 3:
        return of_function("where", [held[0], held[2], held[1]])
    return of_function(SAME.get(step.op, step.op), held)


def _ran(body: Graph, arrays: Sequence[Any]) -> list[Any]:
    """Return what a function makes of arrays, ``None`` where that is not evaluated."""
    values = dict(zip(body.inputs, arrays, strict=True))
    values.update((number, _array(const)) for number, const in body.constants.items())
    for step in body.steps:
        read = [values[number] for number in step.inputs]
        missing = any(array is None for array in read)
        numbers = [None] * len(step.outputs) if missing else evaluated(step.op, step.parameters, read)
        values.update(zip(step.outputs, numbers, strict=False))
    return [values[number] for number in body.outputs]


def _count(shape: Shape | None) -> int:
    """Return how many elements a tensor has: the sizes of a traced function are numbers."""
    return prod(size for size in shape or () if isinstance(size, int))


def _rows(body: Graph, shape: tuple[int, ...], d: int) -> np.ndarray[Any, Any] | None:
    """Return which row along ``d`` each row reads of what a function makes, -1 for what it fills in."""
    at = np.arange(shape[d], dtype=np.int32)
    start = np.broadcast_to(at.reshape([-1 if e == d else 1 for e in range(len(shape))]), shape)
    values: dict[int, Any] = {body.inputs[0]: start}
    for number in [*body.inputs[1:], *body.constants]:
        values[number] = np.full(body.shapes[number] or (), -1, dtype=np.int32)
    reached = {body.inputs[0]}
    for step in body.steps:
        if reached.isdisjoint(step.inputs):
            written: Sequence[Any] = [np.full(body.shapes[n] or (), -1, dtype=np.int32) for n in step.outputs]
        else:
            written = evaluated(step.op, step.parameters, [values[number] for number in step.inputs])
            reached.update(step.outputs)
        values.update(zip(step.outputs, written, strict=False))
    result = values[body.outputs[0]]
    if result is None or result.ndim != len(shape):
        return None
    columns = np.moveaxis(result, d, 0).reshape(result.shape[d], -1)
    rows = columns.max(axis=1, initial=-1)
    return rows if ((columns == rows[:, None]) | (columns == -1)).all() else None


def _gathered(build: Builder, x: Value, d: int, rows: Any, part: str) -> Value | None:
    """Return rows of a tensor along ``d``, of which -1 are filled in; ``None`` where they are not all at its ends."""
    shape = x.shape or ()
    held = np.flatnonzero(rows >= 0)
    if len(held) == shape[d] and (rows[held] == np.arange(len(held))).all() and held[-1] - held[0] + 1 == len(held):
        amounts = [(0, 0)] * len(shape)
        amounts[d] = (int(held[0]), len(rows) - 1 - int(held[-1]))
        return build(program.Pad(amounts=tuple(amounts)), x, part=part)
    if len(held) < len(rows):
        return None
    if len(rows) == shape[d] and (rows == np.roll(np.arange(len(rows)), shift := -int(rows[0]))).all():
        return build(program.Roll(dim=d, shift=shift % len(rows)), x, part=part)
    return build(program.Take(dim=d), x, build.constant([int(row) for row in rows]), part=part)


def _names(graph: Graph, data: set[int]) -> list[str]:
    """Return what steps are called.

    A scope that makes one step, or one that has weights, gives it its name; other steps add their op to it.
    """
    depends = set(data)
    shown = []
    for step in graph.steps:
        reads = not depends.isdisjoint(step.inputs)
        shown.append(reads and step.op not in SILENT)
        if reads:
            depends.update(step.outputs)
    scopes = _common_scope_dropped([step.path for step in graph.steps], shown)
    paths = [_owner(graph, step) or path for step, path in zip(graph.steps, scopes, strict=True)]
    instances: list[int] = []
    steps_of: Counter[int] = Counter()
    weighted: Counter[int] = Counter()
    current: list[tuple[tuple[str, int], int]] = []
    for number, (step, path, seen) in enumerate(zip(graph.steps, paths, shown, strict=True)):
        if not seen:
            instances.append(-1)
            continue
        same = 0
        while same < min(len(path), len(current)) and current[same][0] == path[same]:
            same += 1
        current = [*current[:same], *((part, number * 1000 + k) for k, part in enumerate(path[same:], 1))]
        for _, instance in current:
            steps_of[instance] += 1
            weighted[instance] += step.op in WEIGHTED
        instances.append(current[-1][1] if current else -1)
    names = []
    for step, path, instance in zip(graph.steps, paths, instances, strict=True):
        where = "/".join(name for name, _ in path)
        alone = steps_of[instance] == 1 or (step.op in WEIGHTED and weighted[instance] == 1)
        names.append(where if where and alone and instance >= 0 else f"{where}/{step.op}" if where else step.op)
    return names


def _owner(graph: Graph, step: Step) -> Path:
    """Return what the weights of a step belong to, empty if they are not the model's own."""
    owners = {graph.owners[number] for number in step.inputs if graph.owners.get(number)}
    return ((owners.pop(), 0),) if len(owners) == 1 else ()


def _common_scope_dropped(paths: list[Path], shown: Sequence[bool]) -> list[Path]:
    """Leave out the scope of the model itself, in which everything stands."""
    seen = [path for path, is_shown in zip(paths, shown, strict=True) if is_shown]
    while seen and all(seen) and len({path[0] for path in seen}) == 1 and any(len(path) > 1 for path in seen):
        seen = [path[1:] for path in seen]
        paths = [path[1:] for path in paths]
    return paths


_WORD = re.compile(r"\W+")


def readable(path: str) -> str:
    """Return how a path into a model is written: words with dots between them.

    Examples
    --------
    >>> readable(".layers[0].weight"), readable("['block']['kernel']")
    ('layers.0.weight', 'block.kernel')
    """
    return ".".join(filter(None, _WORD.split(path)))
