"""What a reader writes a tensor program with: shapes are worked out and constants evaluated as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, Literal

import numpy as np

from rfgraph.errors import ModelFileError
from rfgraph.importers.program import primitives as program
from rfgraph.importers.program.dimensions import Dim, Shape
from rfgraph.importers.program.exact import Data
from rfgraph.importers.program.folding import constant, fold, moved
from rfgraph.importers.program.numbers import ALL, UNSEEN, Numbers, Zeros, computed, of_function, of_reduction, spread
from rfgraph.importers.program.primitives import NOTHING, Given, Instruction, Primitive, Program, Value, checked
from rfgraph.importers.program.shapes import shape_of, text

#: Primitives that make no node of the network: what is learned is noted with one that may.
RENUMBERING = (program.Reshape, program.Squeeze, program.Unsqueeze, program.Transpose, program.Expand)


class Builder:
    """A program that grows; ``at`` says for which node of the model the next instructions are written.

    Examples
    --------
    >>> from rfgraph.importers import program
    >>> build = Builder("toy")
    >>> x = build.input("x", (1, 3, 8, 8))
    >>> build.at("pool", "GlobalAveragePool")
    >>> y = build(program.Reduce(function="mean", dims=(2, 3)), x)
    >>> build.program([y]).outputs
    (Value(name='pool', shape=(1, 3, 1, 1), constant=False),)
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.instructions: list[Instruction] = []
        #: The learned tensors of the model; ``None`` until the reader has told of one, or that it will.
        self.learned: set[tuple[str, int | None]] | None = None
        #: Whether the model says which constants are learned; else those that are read as weights are taken to be.
        self.tells_learned = True
        self._zeros = Zeros()
        #: Names of inputs of which it was given what they hold.
        self.given: set[str] = set()
        self._names: dict[str, int] = {}  # -> the number that the next of that name gets
        self._node = ("", "")
        self._reads = NOTHING
        #: What was asked before: by primitive and shapes of what it reads, that primitive and the shape that it makes.
        self._known: dict[tuple[Primitive, tuple[Shape | None, ...]], tuple[Primitive, Shape | None]] = {}
        #: What was computed from constants alone for the node at hand.
        self.folded: list[Instruction] = []

    def at(self, name: str, op: str, reads: Iterable[Value] = ()) -> None:
        """Name the node of the model, and its op, that the following instructions spell.

        Parameters
        ----------
        reads
            What it reads as weights: the learned tensors among them are noted with its first instruction.
        """
        self._node = (name, op)
        self.folded = []
        self._reads = NOTHING.union(*(value.learned for value in reads))
        if self._reads:
            if self.learned is None:
                self.learned = set()
            self.learned |= self._reads

    def learn(self, value: Value, name: str = "") -> Value:
        """Return a constant as a learned tensor, under the name by which shared ones are told."""
        sizes = [size for size in value.shape or () if isinstance(size, int)]
        count = prod(sizes) if value.shape is not None and len(sizes) == len(value.shape) else None
        learned = frozenset({(name or value.name, count)})
        return Value(value.name, value.shape, value.constant, value.data, learned, value.alike, value.numbers)

    def unique(self, name: str) -> str:
        """Return ``name``, with a number behind it if it is taken, and take it."""
        free, number = name, self._names.get(name, 2)
        while free in self._names:
            free, number = f"{name}_{number}", number + 1
        self._names[name] = number
        self._names.setdefault(free, 2)
        return free

    def forget(self, before: int) -> None:
        """Drop the instructions from number ``before`` on, whose names are free again."""
        for step in self.instructions[before:]:
            self._names.pop(step.output.name, None)
        del self.instructions[before:]

    def input(self, name: str, shape: Shape | None, given: Given | None = None) -> Value:
        """Add an input of the program; one of which it is given what it holds is a constant.

        Raises
        ------
        ModelFileError
            If what it is given to hold does not fit its shape.
        """
        if isinstance(given, Data):
            self.given.add(name)
            return self.constant(_shaped(given, name, shape), name=name)
        value = Value(self.unique(name), shape if given is None else given)
        self.inputs.append(value)
        return value

    def constant(self, elements: Any, *, integer: bool = True, name: str = "") -> Value:
        """Return a constant that holds ``elements``, exact numbers."""
        data = elements if isinstance(elements, Data) else constant(elements, integer=integer)
        return Value(name, data.shape, True, data)

    def weight(
        self, shape: Shape | None, name: str = "", read: Callable[[], Any] | None = None, *, own: bool = True
    ) -> Value:
        """Return a constant of which only the shape matters, and where it is 0.

        ``read`` returns its numbers, or others that are 0 where they are if these are not its ``own``.
        """
        return Value(name, shape, True, numbers=None if read is None else Numbers(read, own=own))

    def weights_of_layer(self, shape: Shape | None) -> Value:
        """Return weights that a layer learns, and that are looked up nowhere: none of their numbers is 0."""
        return Value("", shape, True, numbers=ALL)

    def bound(self, weight: Value, taps: Sequence[int]) -> str:
        """Return why a window reads less than its taps, the dimensions ``taps`` of its weight: some are 0; else ""."""
        if not weight.constant or weight.shape is None or len(weight.shape) <= max(taps, default=0):
            return ""
        if all(weight.shape[d] == 1 for d in taps):
            return ""
        return "" if self._missing(weight, taps) is None else program.SPARSE

    def apart(self, weight: Value, taps: Sequence[int], channels: Sequence[int]) -> bool:
        """Return whether windows of different ``channels`` that a weight makes have other taps, as one tap for each.

        So have those that pick one channel each. Asked before ``bound``, it mostly answers that too.
        """
        if not weight.constant or weight.shape is None or len(weight.shape) <= max(*taps, *channels):
            return False
        if len(channels) < len(weight.shape) and self._zeros.picks(weight.held(self.tells_learned), channels):
            return True
        nonzero = self._missing(weight, (*taps, *channels))
        if nonzero is None or not nonzero.size:
            return False
        kept = sorted((*taps, *channels))
        places = tuple(kept.index(d) for d in taps)
        rows = np.moveaxis(nonzero, places, range(-len(places), 0)).reshape(-1, prod(nonzero.shape[i] for i in places))
        alive = rows[rows.any(1)]  # a channel of zeros alone learned nothing
        return bool((alive != alive[0]).any())

    def taps(self, window: Value | None, size: int) -> tuple[int, int, str]:
        """Return which part of a window has numbers that are not 0: how many are 0 before it and behind it.

        Besides, why it may read less even so; "" if it does not.
        """
        nonzero = None if window is None or window.shape != (size,) else self._missing(window, (0,))
        if nonzero is None:
            return 0, 0, ""
        places = np.flatnonzero(nonzero)
        if not len(places):
            return 0, 0, program.SPARSE
        before, behind = int(places[0]), size - 1 - int(places[-1])
        return before, behind, "" if len(places) == size - before - behind else program.SPARSE

    def _missing(self, weight: Value, kept: Sequence[int]) -> Any:
        fixed = self.tells_learned and self.learned is not None and not weight.learned
        return self._zeros.missing(weight.held(self.tells_learned), kept, fixed)

    def __call__(
        self,
        primitive: Primitive,
        *operands: Value,
        part: str = "",
        shape: Shape | None = None,
        macs: Dim | Literal["primitive"] | None = "primitive",
    ) -> Value:
        """Add an instruction and return what it makes.

        Parameters
        ----------
        primitive
            What it does.
        part
            Tells it from other instructions of the same node.
        shape
            The shape of its output, where the model says it and the primitive alone does not.
        macs
            Its multiply-accumulates for the whole batch, where the primitive only stands in for what is computed.
        """
        key = primitive, tuple([value.shape for value in operands])
        try:
            known = self._known.get(key)
        except TypeError:  # a field is a list, where it should be a tuple
            known = None
        if known is None:
            checked(primitive)
        else:
            primitive = known[0]
        name, op = self._node
        name = f"{name}/{part}" if part else name
        if operands and all(value.constant for value in operands):
            value = self._folded(primitive, operands, name, shape)
            self.folded.append(Instruction(name, op, primitive, tuple(operands), value))
            return value
        if known is None:
            known = self._known[key] = primitive, _possible(primitive, key[1])
        worked_out = known[1]
        value = Value(self.unique(name), shape if worked_out is None else worked_out)
        step = Instruction(value.name, op, primitive, tuple(operands), value, self._reads, macs)
        self.instructions.append(step)
        if not isinstance(primitive, RENUMBERING):
            self._reads = NOTHING
        return value

    def _folded(self, primitive: Primitive, operands: Sequence[Value], name: str, shape: Shape | None) -> Value:
        data = [value.data for value in operands if value.data is not None]
        learned = NOTHING.union(*(value.learned for value in operands))
        result = fold(primitive, data) if len(data) == len(operands) else None
        if result is not None:
            held: Shape | None = result.shape
            numbers = None
        else:
            possible = _possible(primitive, [value.shape for value in operands])
            held = shape if possible is None else possible
            numbers = _numbers(primitive, operands, [one.held(self.tells_learned) for one in operands])
        return Value(name, held, True, result, learned, _alike(primitive, operands, held), numbers)

    def program(self, outputs: Iterable[Value], titles: Iterable[str] = ()) -> Program:
        """Return the program that makes ``outputs``, without the instructions that none of them needs.

        Parameters
        ----------
        outputs
            What the model returns, in its order.
        titles
            What the model calls each of them; empty where it has no name for one, none at all where it has no names.
        """
        ends, called = tuple(outputs), tuple(titles)
        needed = {value.name for value in ends if not value.constant}
        kept = []
        for instruction in reversed(self.instructions):
            if instruction.output.name in needed:
                kept.append(instruction)
                needed.update(value.name for value in instruction.inputs if not value.constant)
        titles = called or ("",) * len(ends)
        given = frozenset(self.given)
        steps, told = tuple(reversed(kept)), self.tells_learned
        learned = None if self.learned is None else frozenset(self.learned)
        return Program(self.name, tuple(self.inputs), steps, ends, learned, given, titles, told)


def _numbers(primitive: Primitive, operands: Sequence[Value], numbers: Sequence[Numbers | None]) -> Numbers | None:
    """Return the numbers of what is made of constants; ``None`` where all are of weights that are learned."""
    if isinstance(primitive, program.Pointwise) and any(one is not None for one in numbers):
        if any(one is not ALL for one in numbers):
            numbers = [spread(one, value.shape) for one, value in zip(numbers, operands, strict=True)]
        return of_function(primitive.function, numbers)
    if isinstance(primitive, program.Pad) and any(amount != (0, 0) for amount in primitive.amounts):
        return None if primitive.mode != "constant" else UNSEEN
    if all(one is None or one is ALL for one in numbers):
        return None
    if isinstance(primitive, program.Take) and operands[1].data is None:
        return None
    if isinstance(primitive, program.Reduce):
        return of_reduction(primitive.function, numbers[0], primitive.dims, primitive.keepdims)
    laid = [spread(one, value.shape) for one, value in zip(numbers, operands, strict=True)]
    return computed(lambda *arrays: moved(primitive, arrays), laid, own=True)


def _alike(primitive: Primitive, operands: Sequence[Value], output: Shape | None) -> frozenset[int]:
    """Return the dimensions along which what is made of constants is the same at every index, as far as moves tell."""
    if output is None or any(value.shape is None for value in operands):
        return frozenset()
    shapes = [value.shape or () for value in operands]
    same = [value.alike | {d for d, size in enumerate(value.shape or ()) if size == 1} for value in operands]
    rank = len(output)
    match primitive:
        case program.Pointwise(function=("trilu" | "one_hot")):  # where an element stands decides what it is
            return frozenset()
        case (
            program.Expand() | program.Pointwise()
        ):  # the last dimensions lie on each other; those before them are repeated
            fewer = [rank - len(shape) for shape in shapes]
            return frozenset(
                d for d in range(rank) if all(d < n or d - n in own for n, own in zip(fewer, same, strict=True))
            )
        case program.Transpose(permutation=permutation):
            return frozenset(i for i, d in enumerate(permutation) if d in same[0])
        case program.Unsqueeze(dims=dims):
            kept = [d for d in range(rank) if d not in dims]
            return frozenset(dims) | {d for i, d in enumerate(kept) if i in same[0]}
        case program.Squeeze(dims=dims):
            kept = [d for d in range(len(shapes[0])) if d not in dims]
            return frozenset(i for i, d in enumerate(kept) if d in same[0])
        case program.Reshape() if len(same[0]) == len(shapes[0]):
            return frozenset(range(rank))
    return frozenset()


def _shaped(data: Data, name: str, shape: Shape | None) -> Data:
    """Return what an input holds in the shape that its model states: a number may stand for a list of one."""
    if shape is None:
        return data
    sizes = data.shape
    fits = len(sizes) == len(shape) and all(a == b for a, b in zip(sizes, shape, strict=True) if isinstance(b, int))
    if fits:
        return data
    if data.numbers.size == 1 and all(not isinstance(size, int) or size == 1 for size in shape):
        return Data(data.numbers.reshape((1,) * len(shape)), data.integer)
    raise ModelFileError(f"input {name!r} has shape {text(shape)}; what it is given has {list(sizes)}")


def _possible(primitive: Primitive, shapes: Sequence[Shape | None]) -> Shape | None:
    """Return the shape of what a primitive makes, refused where some size of it cannot be.

    Windows on maps that are too small for them are left to those who know the input size; so is what follows them.
    """
    output = shape_of(primitive, shapes)
    small = isinstance(primitive, (program.Slide, program.SlideTransposed)) or any(map(_has_negative, shapes))
    for dim, size in enumerate(output or ()):
        if isinstance(size, int) and (size >= 2**63 or (size < 0 and not small)):
            raise ValueError(f"its output would have size {size} along dimension {dim}")
    return output


def _has_negative(shape: Shape | None) -> bool:
    return any(isinstance(size, int) and size < 0 for size in shape or ())
