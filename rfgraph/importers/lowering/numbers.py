"""Moves followed by the numbers of elements, where no rule on views follows them and shapes are known.

A move puts elements of a tensor elsewhere and computes nothing. So it is run on the *numbers* of its operand's elements
instead, -1 for what comes from constants, back to the last tensor that something computed: its *base*. What comes out
is read back axis by axis: which position of the base's map each element of the result is.

A batch that is open is one sample then; that each sample is moved like it is seen from a run on two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.lowering.views import Dimension, Part, View, joined
from rfgraph.importers.program import (
    Dim,
    Expression,
    Instruction,
    Program,
    Shape,
    Value,
    exact_quotient,
    names_of,
    symbol,
    valued,
)

#: Tensors of more elements than this are not followed by number.
MAX_NUMBERS = 1 << 20
#: Nor are moves once those of one program have come to so many elements in all.
MAX_WORK = 1 << 26

Numbers = NDArray[np.int64]
Table = tuple[int | None, ...]

MOVES = (
    program.Reshape, program.Squeeze, program.Unsqueeze, program.Transpose, program.Slice, program.Take, program.Concat,
    program.Roll, program.Expand, program.Pad,
)  # fmt: skip


@dataclass(frozen=True)
class Digit:
    """A range of steps within a dimension of the result, and the positions that they add along each axis."""

    dim: int
    size: int
    steps: Mapping[int, Numbers]  # axis -> [size], relative to one element; axes that do not change are left out
    read: NDArray[np.bool_]  # [size], whether the step reads the base and no constant


@dataclass(frozen=True)
class Reading:
    """What a move takes of a map: along each axis the positions, in order of the digits that tell them apart."""

    digits: tuple[tuple[Digit, ...], ...]  # per dimension of the result, the most significant first
    first: Mapping[int, int]  # axis -> the position that the steps count from
    #: Axis -> the position at each combination of its digits, the last fastest, where steps do not add up to it.
    tables: Mapping[int, Table]

    def along(self, axis: int) -> list[Digit]:
        """Return the digits on which the position along ``axis`` depends."""
        return [digit for digits in self.digits for digit in digits if axis in digit.steps]


class Moves:
    """The moves of a program: what each tensor takes, by number, of the one that was last computed.

    Parameters
    ----------
    read
        The program.
    views
        How its inputs carry the axes.
    """

    def __init__(self, read: Program, views: Mapping[str, View | None] | None = None) -> None:
        self._made = {step.output.name: step for step in read.instructions}
        self._base: dict[str, str | None] = {}
        self._numbers: dict[tuple[str, int], Numbers | None] = {}
        self._work = 0
        self.batch = _open_batch(read, views or {})
        for step in read.instructions:
            self._base[step.output.name] = self._base_of(step)

    def _base_of(self, step: Instruction) -> str | None:
        """Return the tensor whose elements a step moves, its own output where it computes something."""
        operands = [value.name for value in step.inputs if not value.constant]
        bases = {self._base.get(name, name) for name in operands}
        moves = isinstance(step.primitive, MOVES) and len(bases) == 1 and self.shape(step.output) is not None
        if isinstance(step.primitive, program.Take) and (step.inputs[0].constant or step.inputs[1].data is None):
            moves = False
        return bases.pop() if moves else step.output.name

    def writes(self, step: Instruction) -> bool:
        """Return whether a step takes rows of what constants were put beside, as where they are written over some."""
        maker = self._made.get(step.inputs[0].name) if isinstance(step.primitive, program.Take) else None
        return (
            maker is not None and isinstance(maker.primitive, program.Concat) and any(v.constant for v in maker.inputs)
        )

    def base(self, name: str) -> str:
        """Return the tensor of which another one holds elements: the last one that something computed."""
        return self._base.get(name, name) or name

    def shape(self, value: Value, samples: int = 1) -> tuple[int, ...] | None:
        """Return the shape of a tensor for so many samples, ``None`` if it is not known or larger than is followed."""
        if value.shape is None:
            return None
        sizes = [self._size(size, samples) for size in value.shape]
        shape = tuple([size for size in sizes if size is not None and size > 0])
        return shape if len(shape) == len(sizes) and prod(shape) <= MAX_NUMBERS else None

    def _size(self, size: Dim, samples: int) -> int | None:
        if isinstance(size, int):
            return size
        number = None if self.batch is None else valued(size, {self.batch: samples})
        return number if isinstance(number, int) else None

    def one_sample(self, view: View) -> View | None:
        """Return the view of one sample, ``None`` if sizes of other dimensions are open."""
        dims = []
        for dim in view.dims:
            sizes = [(part, self._size(part.size, 1)) for part in dim.parts]
            if any(size is None or (part.axis is not None and size != part.size) for part, size in sizes):
                return None
            dims.append(replace(dim, parts=tuple(replace(p, size=size) for p, size in sizes if size is not None)))
        return View(tuple(dims))

    def with_batch(self, view: View, shape: Shape | None) -> View | None:
        """Return a view of one sample with the batch before what it has of the dimension that is open in ``shape``."""
        dims = []
        for dim, size in zip(view.dims, shape or (), strict=True):
            times = exact_quotient(size, dim.size) if isinstance(size, Expression) else 1
            if times is None:
                return None
            dims.append(dim if times == 1 else Dimension(joined((Part(times), *dim.parts)), dim.before, dim.after))
        return View(tuple(dims))

    def numbers(self, step: Instruction, base: Value) -> Numbers | None:
        """Return which element of ``base`` each one of a step's output is, ``None`` if that is not followed.

        Of a batch that is open, it is the elements of one sample, if those of every other are moved alike.
        """
        numbers = self._of(step, base, 1)
        if numbers is None or not _open_dims(base):
            return numbers
        two, shape = self._of(step, base, 2), self.shape(base)
        if two is None or shape is None or len(_open_dims(base)) > 1 or len(_open_dims(step.output)) > 1:
            return None
        [d] = _open_dims(base)
        inner = prod(shape[d + 1 :])  # elements of a sample that lie side by side
        ends = _open_dims(step.output)
        first: Any = numbers // inner * (2 * inner) + numbers % inner  # of two samples, what the first one's are
        for sample in range(2):
            apart: Any = two.reshape(*two.shape[: ends[0]], 2, -1, *two.shape[ends[0] + 1 :]) if ends else two
            own = first + sample * inner if ends else first
            if not np.array_equal(np.where(numbers < 0, -1, own), apart.take(sample, ends[0]) if ends else apart):
                return None
        return numbers

    def _of(self, step: Instruction, base: Value, samples: int) -> Numbers | None:
        shape = self.shape(base, samples)
        if shape is None:
            return None
        if (base.name, samples) not in self._numbers:
            self._numbers[base.name, samples] = np.arange(prod(shape)).reshape(shape)
        waiting = [step]
        while waiting:
            now = waiting[-1]
            missing = [v.name for v in now.inputs if not v.constant and (v.name, samples) not in self._numbers]
            if missing:
                waiting += [self._made[name] for name in missing]
                continue
            waiting.pop()
            if (now.output.name, samples) not in self._numbers:
                self._numbers[now.output.name, samples] = self._run(now, samples)
        return self._numbers[step.output.name, samples]

    def _run(self, step: Instruction, samples: int) -> Numbers | None:
        operands: list[Numbers | None] = []
        for value in step.inputs:
            fixed = self.shape(value, samples) if value.constant else None
            operands.append(self._numbers.get((value.name, samples)) if fixed is None else np.full(fixed, -1))
        primitive = step.primitive
        if isinstance(primitive, program.Take):
            data = step.inputs[1].data
            whole = data is not None and not any(isinstance(row, Expression) for row in data.elements.flat)
            operands[1] = data.elements.astype(np.int64) if data is not None and whole else None
        shape = self.shape(step.output, samples)
        if shape is None or any(operand is None for operand in operands):
            return None
        if isinstance(primitive, program.Reshape | program.Expand):
            primitive = replace(primitive, shape=shape)
        self._work += prod(shape)
        if self._work > MAX_WORK:
            return None
        try:
            moved_numbers = moved(primitive, *operands)
        except (ValueError, IndexError, TypeError):
            return None
        return moved_numbers if moved_numbers is not None and moved_numbers.shape == shape else None


def _open_dims(value: Value) -> list[int]:
    return [d for d, size in enumerate(value.shape or ()) if isinstance(size, Expression)]


def _open_batch(read: Program, views: Mapping[str, View | None]) -> str | None:
    """Return the name of the one size of dimensions of inputs that carry no axis, ``None`` if there is no such."""
    names, carried = set[str](), set[str]()
    for value in read.inputs:
        view = views.get(value.name)
        for d, size in enumerate(value.shape or ()):
            if isinstance(size, Expression):
                known = names_of(size) or frozenset(("",))  # what it depends on may not be known
                own = view is not None and not view.dims[d].axes and size == symbol(min(known))
                (names if own else carried).update(known)
    return names.pop() if len(names) == 1 and not names & carried else None


@singledispatch
def moved(primitive: program.Primitive, *operands: Any) -> Numbers | None:
    """Return what a move makes of arrays of numbers."""
    raise TypeError(f"{type(primitive).__name__} is no move")


@moved.register(program.Reshape)
def _(primitive: program.Reshape, *operands: Any) -> Numbers | None:
    return operands[0].reshape(primitive.shape)  # type: ignore[no-any-return]


@moved.register(program.Squeeze)
def _(primitive: program.Squeeze, *operands: Any) -> Numbers | None:
    return operands[0].squeeze(primitive.dims)  # type: ignore[no-any-return]


@moved.register(program.Unsqueeze)
def _(primitive: program.Unsqueeze, *operands: Any) -> Numbers | None:
    return np.expand_dims(operands[0], primitive.dims)


@moved.register(program.Transpose)
def _(primitive: program.Transpose, *operands: Any) -> Numbers | None:
    return operands[0].transpose(primitive.permutation)  # type: ignore[no-any-return]


@moved.register(program.Slice)
def _(primitive: program.Slice, *operands: Any) -> Numbers | None:
    index = [slice(None)] * operands[0].ndim
    for d, *bounds in zip(primitive.dims, primitive.starts, primitive.stops, primitive.steps, strict=True):
        if any(isinstance(bound, Expression) for bound in bounds):
            return None
        index[d] = slice(*bounds)
    return operands[0][tuple(index)]  # type: ignore[no-any-return]


@moved.register(program.Take)
def _(primitive: program.Take, *operands: Any) -> Numbers | None:
    return operands[0].take(operands[1], primitive.dim)  # type: ignore[no-any-return]


@moved.register(program.Concat)
def _(primitive: program.Concat, *operands: Any) -> Numbers | None:
    return np.concatenate(operands, primitive.dim)


@moved.register(program.Roll)
def _(primitive: program.Roll, *operands: Any) -> Numbers | None:
    return np.roll(operands[0], primitive.shift, primitive.dim)  # type: ignore[no-any-return]


@moved.register(program.Expand)
def _(primitive: program.Expand, *operands: Any) -> Numbers | None:
    shape = np.broadcast_shapes(operands[0].shape, primitive.shape)  # type: ignore[arg-type]  # a symbol raises
    return np.broadcast_to(operands[0], shape)


@moved.register(program.Pad)
def _(primitive: program.Pad, *operands: Any) -> Numbers | None:
    amounts = [(before, after) for before, after in primitive.amounts
               if isinstance(before, int) and isinstance(after, int)]  # fmt: skip
    if len(amounts) < len(primitive.amounts):
        return None
    sizes = operands[0].shape
    cut = tuple(
        slice(max(-before, 0), size - max(-after, 0)) for (before, after), size in zip(amounts, sizes, strict=True)
    )
    grown = [(max(before, 0), max(after, 0)) for before, after in amounts]
    if primitive.mode == "constant":
        return np.pad(operands[0][cut], grown, constant_values=-1)
    return np.pad(operands[0][cut], grown, mode=primitive.mode)  # type: ignore[call-overload, no-any-return]


# Reading back.


def read_back(view: View, base: Sequence[Dim], numbers: Numbers) -> Reading | None:
    """Return what an array of numbers takes along each axis, ``None`` if axes are not taken each by itself.

    Parameters
    ----------
    view
        How the base carries the axes.
    base
        Its shape.
    numbers
        Which element of the base each element is; -1 for constants.
    """
    if any(dim.extra for dim in view.dims) or not (numbers >= 0).any():
        return None
    shape = [size for size in base if isinstance(size, int)]
    parts = [part for dim in view.dims for part in dim.parts]
    known = all(isinstance(part.size, int) and isinstance(part.stride, int) for part in parts)
    if not known or [dim.size for dim in view.dims] != shape:
        return None
    places = {axis: _places(view, shape, axis) for axis in sorted(view.axes) if view.extent(axis) != 1}
    read = numbers >= 0
    at = np.unravel_index(int(read.argmax()), numbers.shape)
    lines = [tuple(slice(None) if e == d else at[e] for e in range(numbers.ndim)) for d in range(numbers.ndim)]
    reads = [read[line] for line in lines]
    if not np.array_equal(_spread(reads, np.logical_and), read):
        return None
    first, steps, joint = {}, {}, dict[int, list[int]]()
    for axis, positions in places.items():
        taken = np.where(read, positions[numbers], 0)
        first[axis] = int(taken[at])
        steps[axis] = [np.where(one, taken[line] - first[axis], 0) for line, one in zip(lines, reads, strict=True)]
        if not np.array_equal(np.where(read, _spread(steps[axis], np.add) + first[axis], 0), taken):
            joint[axis] = _varying(taken)
            if not read.all() or not _is_one_each(numbers, taken, joint[axis]):
                return None
    tables = {axis: tuple(_alone(places[axis][numbers], dims).tolist()) for axis, dims in joint.items()}
    apart = {d: axis for axis, dims in joint.items() for d in dims}
    digits: list[tuple[Digit, ...]] = []
    own: tuple[Digit, ...] | None
    for d, one in enumerate(reads):
        moving = {axis: steps[axis][d] for axis in steps if axis not in joint}
        if d in apart:
            alone = len(apart) == sum(map(len, joint.values())) and not any(line.any() for line in moving.values())
            own = (Digit(d, len(one), {apart[d]: steps[apart[d]][d]}, one),) if alone else None
        else:
            own = _digits(d, moving, one, numbers[lines[d]])
        if own is None:
            return None
        digits.append(own)
    return Reading(tuple(digits), first, tables)


def _varying(positions: Numbers) -> list[int]:
    """Return the dimensions along which positions differ."""
    return [d for d in range(positions.ndim) if positions.shape[d] > 1 and np.diff(positions, axis=d).any()]


def _alone(elements: Numbers, dims: Sequence[int]) -> Numbers:
    """Return those at each combination of steps along some dimensions, at the first step along the others."""
    return elements[tuple(slice(None) if d in dims else 0 for d in range(elements.ndim))].reshape(-1)


def _is_one_each(numbers: Numbers, positions: Numbers, dims: Sequence[int]) -> bool:
    """Return whether along some dimensions no two elements are of one position: none are channels."""
    return len(np.unique(_alone(numbers, dims))) == len(np.unique(_alone(positions, dims)))


def _places(view: View, base: Sequence[int], axis: int) -> Numbers:
    """Return the position along ``axis`` of every element of the base, flat."""
    total = np.zeros((1,) * len(base), dtype=np.int64)
    for d, dim in enumerate(view.dims):
        inner, index = 1, np.arange(base[d])
        own = np.zeros(base[d], dtype=np.int64)
        for part in reversed(dim.parts):
            assert isinstance(part.size, int)
            assert isinstance(part.stride, int)
            if part.axis == axis:
                own += index // inner % part.size * part.stride
            inner *= part.size
        total = total + own.reshape([-1 if e == d else 1 for e in range(len(base))])
    return np.broadcast_to(total, base).reshape(-1)


def _spread(lines: Sequence[Any], join: Any) -> Any:
    """Return ``join`` of one array per dimension at every element."""
    result: Any = None
    for d, line in enumerate(lines):
        wide = line.reshape([-1 if e == d else 1 for e in range(len(lines))])
        result = wide if result is None else join(result, wide)
    return np.zeros((), dtype=np.int64) if result is None else result


def _digits(
    d: int, steps: Mapping[int, Numbers], read: NDArray[np.bool_], elements: Numbers
) -> tuple[Digit, ...] | None:
    """Split a dimension into digits of which each moves along one axis at most, the most significant first."""
    moving = {axis: line for axis, line in steps.items() if line.any()}
    inner = _split(moving, read, elements)
    if inner is None:
        return (Digit(d, len(read), moving, read),) if len(moving) < 2 else None
    halves = [
        _digits(d, {axis: line[cut] for axis, line in moving.items()}, read[cut], elements[cut])
        for cut in (slice(None, None, inner), slice(inner))
    ]
    return None if halves[0] is None or halves[1] is None else (*halves[0], *halves[1])


def _split(moving: Mapping[int, Numbers], read: NDArray[np.bool_], elements: Numbers) -> int | None:
    """Return the size of the inner digit where one has to be split off, ``None`` where the dimension is one digit.

    Of one axis, digits are split off that hold other elements of the same position: channels. Elements that repeat
    are positions that repeat, and belong to the table.
    """
    size = len(read)
    if not moving or not read[0]:
        return None
    for inner in (inner for inner in range(2, size) if not size % inner):
        outer = [axis for axis, line in moving.items() if line[::inner].any()]
        within = [axis for axis, line in moving.items() if line[:inner].any()]
        if len(outer) > 1 or (len(moving) == 1 and outer and within):
            continue
        still = elements[:inner] if outer else elements[::inner]
        if len(moving) == 1 and (still == still[0]).all():
            continue
        grid = read.reshape(-1, inner)
        if not np.array_equal(np.logical_and.outer(grid[:, 0], grid[0]), grid):
            continue
        still_read = grid[0] if not within else grid[:, 0] if not outer else np.ones(1, dtype=np.bool_)
        if not still_read.all():  # constants between positions, as where every second one is written, are no channels
            continue
        lines = [line.reshape(-1, inner) for line in moving.values()]
        if all(np.array_equal(np.where(grid, np.add.outer(line[:, 0], line[0]), 0), line) for line in lines):
            return inner
    return None
