"""The small constant evaluator: what a model computes from shapes, to feed its reshapes, pads, slices and resizes.

Numbers are exact: integers, ``Fraction``, and symbolic sizes. What cannot be said of a symbolic size (is ``H`` more
than 7?) is not folded: the constant is one of which only the shape is known.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import singledispatch
from math import ceil, floor
from typing import Any

import numpy as np

from rfgraph.errors import AttributeValueError
from rfgraph.importers.program import primitives as program
from rfgraph.importers.program.dimensions import Expression, bounds, truncated_quotient
from rfgraph.importers.program.exact import Data

#: Constants of more elements than this are not followed: shapes and indices have few, weights many.
MAX_ELEMENTS = 1 << 14
#: And constants of more floats than this: scales are few.
MAX_FLOATS = 16
#: And integers, numerators and denominators of more bits than this: those of a 64-bit float have 1074.
MAX_BITS = 1100


#: What puts elements elsewhere and computes nothing.
_MOVES = (
    program.Concat, program.Slice, program.Take, program.Expand, program.Reshape, program.Squeeze, program.Unsqueeze,
    program.Transpose,
)  # fmt: skip


class UndecidedError(Exception):
    """The answer depends on a size that is not known."""


def fold(primitive: program.Primitive, operands: Sequence[Data]) -> Data | None:
    """Return what ``primitive`` makes of constants, ``None`` if this evaluator does not follow it."""
    try:
        result = _fold(primitive, *operands)
    except (UndecidedError, ZeroDivisionError, OverflowError):
        return None
    if result is None or result.elements.size > MAX_ELEMENTS or any(map(_is_long, result.elements.flat)):
        return None
    return result


def moved(primitive: program.Primitive, arrays: Sequence[Any]) -> Any:
    """Return what a move makes of arrays, ``None`` if it is none that this evaluator follows."""
    if not isinstance(primitive, _MOVES):
        return None
    result = _fold(primitive, *(Data(array, integer=True) for array in arrays))
    return None if result is None else result.elements


def _is_long(number: Any) -> bool:
    """Return whether a number is of none that a runtime computes with; integers wrap around there at 64 bits."""
    if isinstance(number, Fraction):
        return max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS
    return isinstance(number, int) and not -(2**63) <= number < 2**64


def constant(elements: Any, *, integer: bool = True) -> Data:
    """Return constant data from (nested) lists of exact numbers, or an array of objects."""
    if isinstance(elements, np.ndarray) and elements.dtype == object:
        return Data(elements, integer)
    array = np.asarray(elements)
    if array.dtype != object:
        array = array.astype(object)
    return Data(array, integer)


def given(name: str, held: Any) -> Data:
    """Return what the user says that an input holds: a number, or a (nested) list or array of them.

    Raises
    ------
    AttributeValueError
        If it is none.
    """
    array = np.array(held)
    if array.dtype.kind not in "biuf" or array.size > MAX_ELEMENTS or not np.isfinite(array).all():
        raise AttributeValueError(
            f"inputs: {name!r} is given {str(held)[:80]!r}, which is no number and no list of at most {MAX_ELEMENTS}"
        )
    return Data(array, array.dtype.kind != "f")


def _truncated(x: Any) -> Any:
    if isinstance(x, Expression):
        return floor(x) if not _less(x, 0) else ceil(x)
    return int(x)


def _divided(a: Any, b: Any) -> Any:
    return a * Fraction(1, b) if isinstance(a, Expression) and not isinstance(b, Expression) else _quotient(a, b)


def _quotient(a: Any, b: Any) -> Any:
    if isinstance(a, Expression) or isinstance(b, Expression):
        if a == b:
            return 1
        raise UndecidedError
    return Fraction(a) / Fraction(b)


def _integer_divided(a: Any, b: Any) -> Any:
    if isinstance(b, Expression):
        if isinstance(a, Expression) and not _less(a, 0) and _less(0, b):
            return a // b
        raise UndecidedError
    return truncated_quotient(a, b)


def _floor_divided(a: Any, b: Any) -> Any:
    if isinstance(b, Expression) and not isinstance(a, Expression):
        raise UndecidedError
    return a // b


def _remainder(a: Any, b: Any) -> Any:
    return a - _floor_divided(a, b) * b


def _equal(a: Any, b: Any) -> bool:
    ends = bounds(a - b)
    if ends.least == ends.greatest == 0:
        return True
    if (ends.least is not None and ends.least > 0) or (ends.greatest is not None and ends.greatest < 0):
        return False
    raise UndecidedError


def _less(a: Any, b: Any) -> bool:
    ends = bounds(b - a)
    if ends.least is not None and ends.least > 0:
        return True
    if ends.greatest is not None and ends.greatest <= 0:
        return False
    raise UndecidedError


def _decided(x: Any) -> bool:
    return not _equal(x, 0)


def _power(a: Any, b: Any) -> Any:
    if isinstance(b, Expression) or b != int(b) or not 0 <= b <= 64:
        raise UndecidedError
    result: Any = 1
    for _ in range(int(b)):
        result = result * a
    return result


def _rounded(x: Any) -> Any:
    if isinstance(x, Expression):
        raise UndecidedError
    return round(x)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "neg": operator.neg,
    "identity": lambda x: x,
    "to_float": lambda x: x if isinstance(x, Expression) else Fraction(x),
    "to_integer": _truncated,
    "to_bool": _decided,
    "floor": floor,
    "floor_div": _floor_divided,
    "ceil": ceil,
    "round": _rounded,
    "abs": lambda x: -x if _less(x, 0) else x,
    "mod": _remainder,
    "pow": _power,
    "min": lambda a, b: a if _less(a, b) else b,
    "max": lambda a, b: b if _less(a, b) else a,
    "equal": _equal,
    "not_equal": lambda a, b: not _equal(a, b),
    "less": _less,
    "greater": lambda a, b: _less(b, a),
    "less_or_equal": lambda a, b: not _less(b, a),
    "greater_or_equal": lambda a, b: not _less(a, b),
    "not": lambda x: not _decided(x),
    "and": lambda a, b: _decided(a) and _decided(b),
    "or": lambda a, b: _decided(a) or _decided(b),
    "xor": lambda a, b: _decided(a) is not _decided(b),
    "where": lambda condition, a, b: a if _decided(condition) else b,
}
_NOT_INTEGER = frozenset({"to_float", "sqrt"})


@singledispatch
def _fold(primitive: program.Primitive, *operands: Data) -> Data | None:
    return None


@_fold.register(program.Pointwise)
def _(primitive: program.Pointwise, *operands: Data) -> Data | None:
    arrays = [data.elements for data in operands]
    if np.broadcast(*arrays).size > MAX_ELEMENTS:
        return None
    name = primitive.function
    values = operands[1:] if name == "where" else operands
    integer = (all(data.integer for data in values) and name not in _NOT_INTEGER) or name == "to_integer"
    function = _FUNCTIONS.get(name)
    if name == "div":
        function = _integer_divided if integer else _divided
    if function is None or (name == "where" and len(arrays) != 3):  # it may be one of several that are not told apart
        return None
    if name in ("add", "mul", "min", "max") and len(arrays) != 2:
        result = arrays[0]
        for array in arrays[1:]:
            result = np.frompyfunc(function, 2, 1)(result, array)
    else:
        result = np.frompyfunc(function, len(arrays), 1)(*arrays)
    return Data(_array(result), integer)


@_fold.register(program.Either)
def _(primitive: program.Either, *operands: Data) -> Data | None:
    """Return what its alternatives hold, where they hold the same."""
    one, *others = operands
    if all(np.array_equal(one.elements, other.elements) and one.integer == other.integer for other in others):
        return one
    return None


@_fold.register(program.Reduce)
def _(primitive: program.Reduce, *operands: Data) -> Data | None:
    function = {"sum": operator.add, "prod": operator.mul, "min": _FUNCTIONS["min"], "max": _FUNCTIONS["max"]}.get(
        primitive.function
    )
    if function is None or not operands[0].elements.size:
        return None
    result = operands[0].elements
    for dim in primitive.dims:
        folded = result.take(0, dim)
        for row in range(1, result.shape[dim]):
            folded = np.frompyfunc(function, 2, 1)(folded, result.take(row, dim))
        result = np.expand_dims(_array(folded), dim)
    if not primitive.keepdims:
        result = result.reshape([size for dim, size in enumerate(result.shape) if dim not in primitive.dims])
    return Data(_array(result), operands[0].integer)


@_fold.register(program.Concat)
def _(primitive: program.Concat, *operands: Data) -> Data | None:
    integer = all(data.integer for data in operands)
    return Data(np.concatenate([data.elements for data in operands], primitive.dim), integer)


@_fold.register(program.Slice)
def _(primitive: program.Slice, *operands: Data) -> Data | None:
    index: list[slice] = [slice(None)] * operands[0].elements.ndim
    for dim, start, stop, step in zip(primitive.dims, primitive.starts, primitive.stops, primitive.steps, strict=True):
        if isinstance(start, Expression) or isinstance(stop, Expression):
            return None
        index[dim] = slice(start, stop, step)
    return Data(operands[0].elements[tuple(index)], operands[0].integer)


@_fold.register(program.Take)
def _(primitive: program.Take, *operands: Data) -> Data | None:
    rows, indices = operands
    if any(isinstance(index, Expression) for index in indices.elements.flat):
        return None
    taken = rows.elements.take(indices.elements.astype(np.int64), primitive.dim)
    return Data(_array(taken), rows.integer)


@_fold.register(program.Expand)
def _(primitive: program.Expand, *operands: Data) -> Data | None:
    if any(isinstance(size, Expression) for size in primitive.shape):
        return None
    shape = np.broadcast_shapes(operands[0].elements.shape, primitive.shape)  # type: ignore[arg-type]
    if int(np.prod(shape, dtype=object)) > MAX_ELEMENTS:
        return None
    return Data(np.broadcast_to(operands[0].elements, shape), operands[0].integer)


@_fold.register(program.Reshape)
def _(primitive: program.Reshape, *operands: Data) -> Data | None:
    if any(isinstance(size, Expression) for size in primitive.shape):
        return None
    return Data(operands[0].elements.reshape(primitive.shape), operands[0].integer)


@_fold.register(program.Squeeze)
def _(primitive: program.Squeeze, *operands: Data) -> Data | None:
    return Data(operands[0].elements.squeeze(primitive.dims), operands[0].integer)


@_fold.register(program.Unsqueeze)
def _(primitive: program.Unsqueeze, *operands: Data) -> Data | None:
    return Data(np.expand_dims(operands[0].elements, primitive.dims), operands[0].integer)


@_fold.register(program.Transpose)
def _(primitive: program.Transpose, *operands: Data) -> Data | None:
    return Data(operands[0].elements.transpose(primitive.permutation), operands[0].integer)


def _array(result: Any) -> Any:
    """Return ``result`` as an array of objects: numpy makes scalars of what has no dimensions."""
    if isinstance(result, np.ndarray):
        return result
    array = np.empty((), dtype=object)
    array[()] = result
    return array
