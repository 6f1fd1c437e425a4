"""Which numbers of a constant are 0: weights are not followed, but what is multiplied with 0 is not read.

A constant says how its numbers are had, and they are looked at only where something depends on it. What is made of
constants by moves and products has its zeros where those of its operands are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce
from math import prod
from typing import Any

import numpy as np

from rfgraph.frozen import dataclass

#: Constants of more elements than this are not looked at.
MAX_LOOKED_AT = 1 << 28
#: Nor those that are made in more steps than this.
MAX_STEPS = 64
#: Of constants of more elements, some are looked at before the others: nearly always they tell enough.
MAX_AT_ONCE = 4096

#: Functions that make 0 of 0, and of nothing else; of two, it is their first operand that says so.
_KEPT = frozenset(
    {
        "identity", "to_float", "neg", "abs", "sqrt", "div", "asin", "asinh", "atan", "cbrt", "erf", "expm1", "log1p",
        "sign", "sin", "sinh", "softsign", "square", "tan", "tanh",
    }
)  # fmt: skip
#: Functions that make zeros of numbers that are none.
_HIDING = frozenset(
    {
        "add", "sub", "min", "max", "relu", "relu6", "clip", "floor", "ceil", "round", "to_integer", "floor_div", "mod",
        "trilu", "one_hot", "equal", "not_equal", "less", "less_or_equal", "greater", "greater_or_equal", "not", "xor",
    }
)  # fmt: skip
#: Functions that are computed where all the numbers they are given are there.
_COMPUTED: dict[str, Callable[..., Any]] = {
    "identity": lambda x: x,
    "to_float": lambda x: x,
    "to_bool": lambda x: x != 0,
    "to_integer": np.trunc,
    "neg": np.negative,
    "abs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "relu": lambda x: np.maximum(x, 0),
    "not": np.logical_not,
    "add": lambda *arrays: sum(arrays[1:], arrays[0]),
    "sub": np.subtract,
    "mul": lambda *arrays: prod(arrays[1:], start=arrays[0]),
    "div": np.divide,
    "min": lambda *arrays: reduce(np.minimum, arrays),
    "max": lambda *arrays: reduce(np.maximum, arrays),
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_or_equal": np.less_equal,
    "greater": np.greater,
    "greater_or_equal": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "bitwise_not": lambda x: np.invert(x if x.dtype != object else x.astype(bool)) if _is_bool(x) else None,
    "where": lambda which, a, b: np.where(which != 0, a, b),
    "floor_div": np.floor_divide,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "square": np.square,
    "pow": np.power,
}
#: Reductions that are computed, over some dimensions.
_REDUCED: dict[str, Callable[..., Any]] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod,
    "l2": lambda x, **over: np.sqrt(np.sum(x * x, **over)),
}  # fmt: skip


def _is_bool(array: Any) -> bool:
    return array.dtype == np.bool_ or all(isinstance(element, bool | np.bool_) for element in array.flat)


@dataclass(frozen=True, eq=False, slots=True)
class Numbers:
    """The numbers of a constant, or others that are 0 where they are.

    Examples
    --------
    >>> triangle = Numbers(lambda: np.tril(np.ones((2, 2))))
    >>> product((triangle, ALL)).look().tolist()
    [[True, False], [True, True]]
    """

    #: Reads them; ``None`` where they are not at hand.
    read: Callable[[], Any]
    #: In how many steps they are made of what a file holds.
    steps: int = 0
    #: Whether they are those of the constant itself, and no others.
    own: bool = True

    def look(self) -> Any:
        """Return them as an array; ``None`` where they are not at hand, or are too many."""
        try:
            with np.errstate(all="ignore"):
                array = self.read()
        except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError, MemoryError):
            return None
        return array if array is None or array.size <= MAX_LOOKED_AT else None


#: Those of a weight of which the model says that it is learned: none of them is 0.
ALL = Numbers(lambda: np.ones((), dtype=np.bool_), own=False)
#: Those of which it is only known that some may be 0.
UNSEEN = Numbers(lambda: None, own=False)


def computed(function: Callable[..., Any], operands: Sequence[Numbers | None], *, own: bool = False) -> Numbers | None:
    """Return what a function makes of the numbers of its operands, which it is given as arrays when it is asked for.

    They are the constant's ``own`` if its operands have theirs.
    """
    known = [operand for operand in operands if operand is not None]
    steps = max((operand.steps for operand in known), default=0) + 1
    if UNSEEN in known:
        return UNSEEN
    if len(known) < len(operands) or not known or steps > MAX_STEPS:
        return None

    def read() -> Any:
        arrays = [operand.look() for operand in known]
        return None if any(array is None for array in arrays) else function(*arrays)

    return Numbers(read, steps, own and all(operand.own for operand in known))


def spread(numbers: Numbers | None, shape: Sequence[Any] | None) -> Numbers | None:
    """Return numbers that are laid out: those of a weight that is learned, none of which is 0, as many as it has."""
    if numbers is not ALL:
        return numbers
    sizes = [size for size in shape or () if isinstance(size, int)]
    if shape is None or len(sizes) < len(shape):
        return UNSEEN
    return Numbers(lambda: np.broadcast_to(np.True_, sizes), own=False)


def product(operands: Sequence[Numbers | None]) -> Numbers | None:
    """Return the numbers of a product: it is 0 where one of its factors is."""
    return computed(_product, operands)


def _broadcast(function: Callable[..., Any], *arrays: Any) -> Any:
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    result = None if np.prod(shape, dtype=object) > MAX_LOOKED_AT else function(*arrays)
    return None if result is None else np.asarray(result)


def _product(*arrays: Any) -> Any:
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    if np.prod(shape, dtype=object) > MAX_LOOKED_AT:
        return None
    result = np.ones(shape, dtype=np.bool_)
    for array in arrays:
        result &= array != 0
    return result


def of_function(name: str, operands: Sequence[Numbers | None]) -> Numbers | None:
    """Return the numbers that a function of elements makes; ``None`` where it makes no 0, as far as one may say."""
    if name in _COMPUTED and all(operand is not None and operand.own for operand in operands):
        return computed(partial(_broadcast, _COMPUTED[name]), operands, own=True)
    if name in ("mul", "and"):
        if all(operand is ALL for operand in operands):
            return None
        return product(operands)
    if name == "where" and len(operands) == 3:
        return computed(lambda which, a, b: np.where(which != 0, a != 0, b != 0), operands)
    if name in _HIDING:
        return UNSEEN
    if name == "log" and all(operand is not None and operand.own for operand in operands):
        return computed(lambda x: x != 1, operands)
    zeros = operands[0] if name in _KEPT else None
    return zeros if zeros is None or not zeros.own else replace(zeros, own=False)


def of_reduction(name: str, operand: Numbers | None, dims: Sequence[int], keepdims: bool) -> Numbers | None:
    """Return the numbers that a reduction over some dimensions makes of those of its operand."""
    if name not in _REDUCED or operand is None or not operand.own:
        return computed(lambda array: None, [operand])
    return computed(lambda array: _REDUCED[name](array, axis=tuple(dims), keepdims=keepdims), [operand], own=True)


#: Of numbers that are not looked at: anything may be 0.
UNREAD = np.empty(0, dtype=np.bool_)


class Zeros:
    """Looks for zeros in the constants of one model, of which it looks at so many numbers at the most."""

    def __init__(self, most: int = MAX_LOOKED_AT) -> None:
        self.left = most
        #: What was looked at last, as several things are asked of one weight in turn; it is held no longer.
        self._last: tuple[Numbers | None, Any] = (None, None)
        #: The dimensions along which it was found to be nowhere 0, whatever the others: so it is along fewer of them.
        self._full: frozenset[int] = frozenset()

    def missing(self, numbers: Numbers | None, kept: Sequence[int], fixed: bool) -> Any:
        """Return where a constant is not 0 along the dimensions ``kept``, whatever the others: ``None`` if everywhere.

        Of one whose numbers are not at hand nothing is known if it is ``fixed``: that is an array of no elements.
        """
        if numbers is ALL:
            return None
        array = None if numbers is None else self._looked(numbers)
        if array is None:  # weights that were stripped from a file are weights
            return UNREAD if fixed or numbers is UNSEEN else None
        if array is UNREAD:
            return UNREAD
        if self._full.issuperset(kept):
            return None
        zeros = holes(array, kept)
        if zeros is None:
            self._full = frozenset(kept)
        return zeros

    def picks(self, numbers: Numbers | None, rows: Sequence[int]) -> bool:
        """Return whether a constant has one number at most in each of its rows that is not 0, of several.

        Parameters
        ----------
        rows
            The dimensions along which its rows lie.
        """
        array = None if numbers is None or numbers is ALL else self._looked(numbers)
        if array is None or array is UNREAD or not array.size:
            return False
        others = tuple(d for d in range(array.ndim) if d not in rows)
        if all(array.shape[d] == 1 for d in others) or len(self._full) == array.ndim:
            return False
        row = array[tuple([0 if d in rows else slice(None) for d in range(array.ndim)])]
        if np.count_nonzero(row != 0) > 1:  # as nearly always
            return False
        there = array != 0
        return bool(there.any() and (there.sum(others) <= 1).all())

    def _looked(self, numbers: Numbers) -> Any:
        """Return numbers as an array, ``None`` where they are not at hand, ``UNREAD`` where they would be too many."""
        if numbers is self._last[0]:
            return self._last[1]
        array = numbers.look()
        if array is None:
            return None
        if self.left < array.size:
            return UNREAD
        self.left -= array.size
        few = array.size <= MAX_AT_ONCE and bool((array != 0).all())
        self._last, self._full = (numbers, array), frozenset(range(array.ndim)) if few else frozenset()
        return array


def holes(array: Any, kept: Sequence[int]) -> Any:
    """Return where an array is not 0 along the dimensions ``kept``, whatever the others; ``None`` if nowhere 0 there.

    An array of zeros alone has none: it is yet to be learned.
    """
    if not array.size:
        return None
    first = array[tuple([slice(None) if d in kept else 0 for d in range(array.ndim)])]
    if (first != 0).all():  # as nearly always: one filter has all its taps
        return None
    seen = (array != 0).any(tuple(d for d in range(array.ndim) if d not in kept))
    return None if seen.all() or not seen.any() else seen
