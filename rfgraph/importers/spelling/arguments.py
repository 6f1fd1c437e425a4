"""What a model states of its ops, checked: shapes, whole numbers, axes.

What cannot be spelt raises ``UnspelledError``, what cannot be at all ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Rational
from typing import Any

from rfgraph.importers.program import Expression, Shape, Value
from rfgraph.importers.spelling.handlers import UnspelledError


def shape_of(value: Value) -> Shape:
    """Return the shape of a tensor whose rank must be known."""
    if value.shape is None:
        raise UnspelledError("the rank of its input is not known")
    return value.shape


def rank_of(tensors: Sequence[Value]) -> int:
    """Return the number of dimensions of tensors that lie side by side, by the first of which it is known."""
    if not tensors:
        raise ValueError("it has no inputs")
    rank = next((len(tensor.shape) for tensor in tensors if tensor.shape is not None), None)
    if rank is None:
        raise UnspelledError("the rank of its inputs is not known")
    return rank


def whole_number(what: str, number: object) -> int:
    """Return an integer that has to be known when the model is read."""
    if isinstance(number, Value):
        if number.data is None or number.data.elements.size != 1 or not number.data.integer:
            raise UnspelledError(f"its {what} depends on what the network computes")
        number = number.data.elements.flat[0]
    if isinstance(number, Expression):
        raise UnspelledError(f"its {what} depends on the input size; give one")
    if isinstance(number, bool) or not isinstance(number, Rational) or number.denominator != 1:
        raise ValueError(f"{what} {number!r} is not an integer")
    return int(number.numerator)


def per_axis(what: str, value: Any, count: int) -> tuple[int, ...]:
    """Return one integer for each of ``count`` axes, of a list or of one number for all."""
    entries = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    entries = entries * count if len(entries) == 1 else entries
    if len(entries) != count:
        raise ValueError(f"{what} {list(entries)} does not have one entry for each of {count} axes")
    return tuple(whole_number(what, entry) for entry in entries)


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is not one of the {rank} of its input")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return axes counted from the front, in order."""
    return tuple(sorted({axis_of(axis, rank) for axis in axes}))
