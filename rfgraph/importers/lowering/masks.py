"""Products of positions with positions: which of the two are rows, and what a mask hides from each row.

Attention weighs every key with every query. Where a constant hides the later keys from each query, the rows of the
product read the past alone; neither the product nor the sum of the values shows it, but the mask between them. And
where keys are multiplied with queries, the rows are those of the second: only the sum tells. Here such products are
found before the program is lowered, by the steps from the product over its mask to the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.program import Direction, Instruction, Program, Shape, Value, product

#: A number so low that a softmax makes 0 of it, beside numbers as they occur.
LOW = -1e4
#: Masks of more elements than this are not looked at, nor more than so many times as many together.
MAX_ELEMENTS, MAX_TOGETHER = 1 << 24, 8
#: Steps from a product to the sum that are looked at.
MAX_STEPS = 32


#: Dimensions, in order.
Dims: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True)
class Sided:
    """What the rows of a product read of the columns, and the steps that it is told of: product, masks, and sum."""

    direction: Direction
    #: Why they may read less.
    bound: str
    steps: frozenset[str]
    #: Of the product and of the sum, by name: the labels of rows and of columns, as many.
    labels: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]

    @property
    def told(self) -> dict[str, str]:
        """What a node says of it."""
        direction = {} if self.direction == "both" else {"direction": self.direction}
        return {**direction, **({"bound": self.bound} if self.bound else {})}


def one_sided(read: Program) -> dict[str, Sided]:
    """Return the steps of products whose mask hides one side of each position, or whose rows are second, by name."""
    users: dict[str, list[Instruction]] = {}
    for step in read.instructions:
        for value in step.inputs:
            if not value.constant:
                users.setdefault(value.name, []).append(step)
    ends = {value.name for value in read.outputs}
    by_step: dict[str, Sided] = {}
    left = MAX_ELEMENTS * MAX_TOGETHER
    for step in read.instructions:
        for rows, columns in _rows_and_columns(step):
            chain = _chain(step, rows, columns, users, ends)
            if chain and _rows_are_second(step, rows):
                second = _sided(None, step, chain)
                by_step.update(dict.fromkeys(second.steps, second))
            masked = len(rows) == 1 and any(_is_masking(link.step, link.value) for link in chain)
            size = (step.output.shape or ())[rows[0]]
            if not masked or not isinstance(size, int) or size * size * len(chain) > min(MAX_ELEMENTS, left):
                continue
            left -= size * size * len(chain)
            hidden = _hidden(chain, size, read.tells_learned)
            if hidden is not None and (sided := _sided(hidden, step, chain)).direction != "both":
                by_step.update(dict.fromkeys(sided.steps, sided))
    return by_step


def _rows_are_second(scores: Instruction, rows: Dims) -> bool:
    """Return whether the rows of a product are those of its second operand: else they are found as they lie."""
    assert isinstance(scores.primitive, program.Contract)
    return scores.primitive.output[rows[0]] in scores.primitive.operands[1]


def _rows_and_columns(step: Instruction) -> list[tuple[Dims, Dims]]:
    """Return which dimensions of a product of rows with columns, as many, are the two, either way round.

    None of its two operands has some of both.
    """
    primitive, shape = step.primitive, step.output.shape
    if not isinstance(primitive, program.Contract) or len(step.inputs) != 2 or shape is None:
        return []
    if any(value.constant for value in step.inputs):
        return []
    one, other = map(set, primitive.operands)
    of_one, of_other = (
        tuple(d for d, label in enumerate(primitive.output) if label in own and label not in beside and shape[d] != 1)
        for own, beside in ((one, other), (other, one))
    )
    if not of_one or [shape[d] for d in of_one] != [shape[d] for d in of_other]:
        return []
    return [(of_one, of_other), (of_other, of_one)]


@dataclass(frozen=True)
class _Link:
    """A step on the way from a product to the sum over its columns."""

    step: Instruction
    #: What it reads of the product, and which dimensions of that are rows and columns.
    value: Value
    rows: Dims
    columns: Dims
    #: Whether it makes powers of e, and whether it reads a whole row, as a softmax does both.
    powers: bool = False
    whole: bool = False


def _chain(
    scores: Instruction, rows: Dims, columns: Dims, users: Mapping[str, Sequence[Instruction]], ends: set[str]
) -> list[_Link]:
    """Return the steps from a product to the sum over its columns; none if something else becomes of it."""
    chain: list[_Link] = []
    value = scores.output
    for _ in range(MAX_STEPS):
        following = users.get(value.name, ())
        if not following or value.name in ends or value.shape is None:
            return []
        *others, step = following
        reductions = any(isinstance(other.primitive, program.Reduce) for other in others)
        if not all(_beside(other, columns) for other in others):
            return []
        if isinstance(step.primitive, program.Contract):
            link = _Link(step, value, rows, columns)
            return [*chain, link] if _sums(link) and not others else []
        rest = [other for other in step.inputs if other is not value and not other.constant]
        if len(rest) != len(others):
            return []
        if not all(_comes_from(other, [each.output for each in others], users) for other in rest):
            return []
        powers, whole = False, False
        match step.primitive:
            case program.Mix(function="softmax", dims=dims) if dims == tuple(sorted(columns)):
                powers = whole = True
            case program.Pointwise(function=function):
                powers, whole = function == "exp", reductions
            case program.Reshape() | program.Squeeze() | program.Unsqueeze() | program.Expand() | program.Transpose():
                pass
            case _:
                return []
        chain.append(_Link(step, value, rows, columns, powers, whole))
        places = [_placed(dims, step, value.shape) for dims in (rows, columns)]
        if None in places:
            return []
        rows, columns = (place for place in places if place is not None)
        value = step.output
    return []


def _placed(dims: Dims, step: Instruction, shape: Shape) -> Dims | None:
    """Return where dimensions of ``shape`` lie in the output of a step, ``None`` if they are not left as they were.

    A reshape may make one of them, or several of one.
    """
    after = step.output.shape
    if after is None:
        return None
    match step.primitive:
        case program.Transpose(permutation=permutation):
            return tuple(permutation.index(d) for d in dims)
        case program.Reshape() | program.Squeeze() | program.Unsqueeze():
            first, last = dims[0], dims[-1]
            if [d for d in range(first, last + 1) if shape[d] != 1] != list(dims):
                return None
            together, behind = product(shape[first : last + 1]), product(shape[last + 1 :])
            runs = ((i, j) for j in range(len(after)) for i in range(j + 1) if product(after[j + 1 :]) == behind)
            run = next((run for run in runs if product(after[run[0] : run[1] + 1]) == together), None)
            return None if run is None else tuple(d for d in range(run[0], run[1] + 1) if after[d] != 1)
        case _:
            places = tuple(d + len(after) - len(shape) for d in dims)
            return places if all(after[at] == shape[d] for at, d in zip(places, dims, strict=True)) else None


def _beside(step: Instruction, columns: Dims) -> bool:
    """Return whether a step may stand beside another: it reads each row as a whole, as a softmax does, or elements."""
    primitive = step.primitive
    if isinstance(primitive, program.Reduce):
        return primitive.dims == tuple(sorted(columns))
    return isinstance(primitive, program.Pointwise)


def _comes_from(value: Value, starts: Sequence[Value], users: Mapping[str, Sequence[Instruction]]) -> bool:
    """Return whether a value is one of ``starts``, or made of one and of constants alone."""
    for start in starts:
        for _ in range(MAX_STEPS):
            if start is value:
                return True
            following = users.get(start.name, ())
            if len(following) != 1 or sum(not other.constant for other in following[0].inputs) != 1:
                break
            start = following[0].output
    return False


def _sums(link: _Link) -> bool:
    """Return whether a step sums what a tensor of rows and columns weighs over its columns."""
    step, primitive = link.step, link.step.primitive
    assert isinstance(primitive, program.Contract)
    if len(step.inputs) != 2 or any(other.constant for other in step.inputs):
        return False
    place = next(i for i, other in enumerate(step.inputs) if other is link.value)
    labels, others, kept = primitive.operands[place], set(primitive.operands[1 - place]), set(primitive.output)
    rows, columns = ({labels[d] for d in dims} for dims in (link.rows, link.columns))
    return not rows & others and columns <= others and not columns & kept and set(labels) - columns <= kept


def _is_masking(step: Instruction, value: Value) -> bool:
    """Return whether a step may hide elements of ``value``, which it reads once, by one constant, or by two."""
    primitive = step.primitive
    if not isinstance(primitive, program.Pointwise) or sum(other is value for other in step.inputs) != 1:
        return False
    if primitive.function == "where":
        return len(step.inputs) == 3 and step.inputs[0] is not value
    return primitive.function in _MASKS and len(step.inputs) == 2


def _hidden(chain: Sequence[_Link], size: int, tells_learned: bool) -> Any:
    """Return which columns each row does not read, ``None`` if none are hidden.

    Low numbers hide what becomes powers of e, and zeros what does not, if nothing has read a whole row before.
    """
    hidden, zeros = np.zeros((2, size, size), dtype=np.bool_)
    powers = [i for i, link in enumerate(chain) if link.powers]
    for i, link in enumerate(chain):
        if link.whole:
            break
        primitive = link.step.primitive
        if isinstance(primitive, program.Pointwise) and _is_masking(link.step, link.value):
            arrays = [None if other is link.value else _look(other, tells_learned) for other in link.step.inputs]
            low = any(i < other for other in powers)
            mask = _MASKS[primitive.function](arrays, low=low)
            (hidden if low else zeros)[...] |= False if mask is None else _square(mask, size, link)
    hidden[hidden.all(1)] = False  # of a row of low numbers alone a softmax makes equal weights
    hidden |= zeros
    return hidden if hidden.any() else None


def _look(value: Value, tells_learned: bool) -> Any:
    numbers = value.held(tells_learned)
    sizes = [size for size in value.shape or () if isinstance(size, int)]
    if (
        numbers is None
        or not numbers.own
        or (value.learned and tells_learned)
        or np.prod(sizes, dtype=object) > MAX_ELEMENTS
    ):
        return np.empty(0)
    array = numbers.look()
    if array is None:
        return np.empty(0)
    return array if array.dtype != object else _plain(array)


def _plain(array: Any) -> Any:
    """Return an array of exact numbers as one of a plain kind; of no elements if some are no numbers."""
    if all(isinstance(element, bool | np.bool_) for element in array.flat):
        return array.astype(np.bool_)
    try:
        return array.astype(np.float64)
    except TypeError:  # sizes that are not known
        return np.empty(0)


def _square(mask: Any, size: int, link: _Link) -> Any:
    """Return what a mask hides from each row whatever the dimensions beside rows and columns; nothing if it is none."""
    whole, shape = link.step.output.shape, link.value.shape
    assert whole is not None
    assert shape is not None
    more = len(whole) - len(shape)
    laid = mask.reshape((1,) * (len(whole) - mask.ndim) + mask.shape) if mask.size and mask.ndim <= len(whole) else mask
    if mask.size == 0 or laid.ndim != len(whole) or len(link.rows) > 1:
        return np.zeros((size, size), dtype=np.bool_)
    laid = np.moveaxis(laid, (link.rows[0] + more, link.columns[0] + more), (-2, -1))
    return np.broadcast_to(laid.all(tuple(range(len(whole) - 2))), (size, size))


def _added(arrays: list[Any], *, low: bool) -> Any:
    (mask,) = (array for array in arrays if array is not None)
    if not low:
        return None
    return ~mask if mask.dtype == np.bool_ else mask <= LOW  # attention is given masks of truth values too


def _subtracted(arrays: list[Any], *, low: bool) -> Any:
    return arrays[1] >= -LOW if low and arrays[0] is None and arrays[1].dtype != np.bool_ else None


def _multiplied(arrays: list[Any], *, low: bool) -> Any:
    (mask,) = (array for array in arrays if array is not None)
    return None if low else mask == 0


def _least(arrays: list[Any], *, low: bool) -> Any:
    (mask,) = (array for array in arrays if array is not None)
    return mask <= LOW if low else None


def _chosen(arrays: list[Any], *, low: bool) -> Any:
    if not arrays[0].size:
        return None
    which, filled = arrays[0] != 0, arrays[1] is not None
    filling = arrays[1] if filled else arrays[2]
    if filling is None or not filling.size:
        return None
    hides = (filling <= LOW) if low else (filling == 0)
    return (which if filled else ~which) & hides


#: Functions by which a constant hides some elements: by numbers so low that a softmax makes 0 of them, or by 0.
_MASKS: dict[str, Any] = {
    "add": _added, "sub": _subtracted, "mul": _multiplied, "and": _multiplied, "min": _least, "where": _chosen,
}  # fmt: skip


def _sided(hidden: Any, scores: Instruction, chain: Sequence[_Link]) -> Sided:
    """Return which side rows read of the columns; of both, what is said of the product and the sum alone."""
    first, last = chain[0], chain[-1]
    assert isinstance(scores.primitive, program.Contract)
    assert isinstance(last.step.primitive, program.Contract)
    scored = scores.primitive.output
    summed = last.step.primitive.operands[next(i for i, other in enumerate(last.step.inputs) if other is last.value)]
    labels = {
        scores.name: (tuple(scored[d] for d in first.rows), tuple(scored[d] for d in first.columns)),
        last.step.name: (tuple(summed[d] for d in last.rows), tuple(summed[d] for d in last.columns)),
    }
    if hidden is not None:
        later = np.triu(np.ones_like(hidden), 1)
        steps = frozenset({scores.name, *(link.step.name for link in chain)})
        if hidden[later].all():
            return Sided("forward", "" if np.array_equal(hidden, later) else program.MASKED, steps, labels)
        if hidden[later.T].all():
            return Sided("backward", "" if np.array_equal(hidden, later.T) else program.MASKED, steps, labels)
    return Sided("both", "", frozenset(labels), labels)
