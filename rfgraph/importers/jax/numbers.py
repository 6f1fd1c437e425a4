"""Numbers that a traced function computes from no input: indices, offsets, the weights of a resize.

They are evaluated by numpy, when they are asked for, and in double precision whatever the model's own is: a weight
that should be 0 is 0 but for the last bits of a double. This module does not need JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rfgraph.importers.jax.symbols import closed, has_open
from rfgraph.importers.program import MAX_FLOATS, simplest

Array = Any  # numpy.ndarray
Evaluate = Callable[..., Any]

#: Arrays of more elements than this are not evaluated.
MAX_ELEMENTS = 1 << 22
#: Nor are more than this together, for one model.
MAX_TOTAL = 1 << 27


class Budget:
    """How many elements may still be evaluated for one model."""

    def __init__(self, elements: int = MAX_TOTAL) -> None:
        self.elements = elements

    def spend(self, elements: int) -> bool:
        """Return whether that many more may be."""
        self.elements -= elements
        return self.elements >= 0


class Number:
    """An array that a model computes from no input; ``value`` is ``None`` where that cannot be evaluated.

    Parameters
    ----------
    op
        The JAX primitive that makes it.
    output
        Which of its outputs it is.
    elements
        How many it has.
    budget
        What it may spend.

    Examples
    --------
    >>> budget = Budget()
    >>> rows = Number("iota", {"shape": (4,), "dimension": 0, "dtype": "int32"}, (), 0, 4, budget)
    >>> Number("mul", {}, (rows, Number.of(np.int32(2))), 0, 4, budget).value.tolist()
    [0, 2, 4, 6]
    """

    __slots__ = ("_done", "_value", "budget", "elements", "is_open", "op", "operands", "output", "parameters")

    def __init__(
        self,
        op: str,
        parameters: Mapping[str, Any],
        operands: tuple[Number | None, ...],
        output: int,
        elements: int,
        budget: Budget,
    ) -> None:
        self.op, self.parameters, self.operands, self.output = op, parameters, operands, output
        self.elements, self.budget = elements, budget
        #: Whether it depends on sizes that are open: it has no value then, but at some sizes.
        self.is_open: bool = any(operand is not None and operand.is_open for operand in operands) or any(
            map(has_open, parameters.values())
        )
        self._done = self.is_open
        self._value: Array | None = None

    @classmethod
    def of(cls, array: Any) -> Number:
        """Return an array that is there; what is too large, or a weight, has no value."""
        constant = cls("constant", {}, (), 0, 0, Budget(0))
        constant._done = True
        shape = getattr(array, "shape", ())
        count = int(np.prod(shape, dtype=object))
        kind = np.dtype(getattr(array, "dtype", type(array))).kind if _is_plain(array) else "?"
        if kind in "iub" and count <= MAX_ELEMENTS:
            constant._value = np.asarray(array)
        elif kind == "f" and count <= MAX_FLOATS:  # more are weights, which say nothing about space
            number = np.asarray(array, dtype=np.float64)
            constant._value = np.vectorize(lambda x: float(simplest(x)) if np.isfinite(x) else x, otypes=[float])(
                number
            )
        return constant

    @property
    def value(self) -> Array | None:
        """The array."""
        waiting = [self]  # a stack of its own: what is computed step by step is deeper than Python's
        while waiting:
            number = waiting[-1]
            later = [operand for operand in number.operands if operand is not None and not operand._done]
            if number._done or not later:
                number._evaluate()
                waiting.pop()
            else:
                waiting += later
        return self._value

    def at(self, sizes: Mapping[str, int]) -> Array | None:
        """Return the array at some sizes, for the names of those that are open."""
        copies: dict[int, Number] = {}
        waiting = [self]
        while waiting:
            number = waiting[-1]
            later = [each for each in number.operands if each is not None and each.is_open and id(each) not in copies]
            if id(number) in copies or not later:
                operands = tuple(None if each is None else copies.get(id(each), each) for each in number.operands)
                parameters = {name: closed(value, sizes) for name, value in number.parameters.items()}
                copies[id(number)] = Number(number.op, parameters, operands, number.output, 1, number.budget)
                waiting.pop()
            else:
                waiting += later
        return copies[id(self)].value

    def _evaluate(self) -> None:
        if self._done:
            return
        self._done = True
        evaluate = EVALUATORS.get(self.op)
        values = [None if operand is None else operand._value for operand in self.operands]
        if evaluate is None or any(value is None for value in values) or self.elements > MAX_ELEMENTS:
            return
        if self.budget.spend(self.elements):
            self._value = evaluated(self.op, self.parameters, values)[self.output]


def _is_plain(array: Any) -> bool:
    """Whether numpy knows its elements: keys of random numbers are none, nor is ``bfloat16``."""
    dtype = getattr(array, "dtype", None)
    return isinstance(array, (bool, int, float)) if dtype is None else isinstance(dtype, np.dtype)


def evaluated(op: str, parameters: Mapping[str, Any], values: Sequence[Array]) -> Sequence[Array | None]:
    """Return what a primitive makes of arrays; ``None`` where it is not evaluated."""
    try:
        with np.errstate(all="ignore"):
            results = EVALUATORS[op](parameters, *values)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError, MemoryError):
        return [None] * 64
    return results if isinstance(results, list) else [results] * 64


def _divide(_: Any, a: Array, b: Array) -> Array:
    if np.asarray(a).dtype.kind not in "iu":
        return np.divide(a, b)
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # towards zero


def _converted(parameters: Mapping[str, Any], x: Array) -> Array:
    name = str(np.dtype(parameters["new_dtype"]).name)
    if "float" in name:
        return np.asarray(x, dtype=np.float64)
    return np.asarray(x).astype(name)


def _iota(parameters: Mapping[str, Any]) -> Array:
    shape, dim = parameters["shape"], parameters["dimension"]
    name = str(np.dtype(parameters["dtype"]).name)
    row = np.arange(shape[dim], dtype=np.float64 if "float" in name else name)
    return np.broadcast_to(row.reshape([-1 if d == dim else 1 for d in range(len(shape))]), shape)


def _broadcast_in_dim(parameters: Mapping[str, Any], x: Array) -> Array:
    shape, dims = parameters["shape"], parameters["broadcast_dimensions"]
    sizes = [1] * len(shape)
    for d, size in zip(dims, x.shape, strict=True):
        sizes[d] = size
    return np.broadcast_to(np.asarray(x).reshape(sizes), shape)


def _select_n(_: Any, which: Array, *cases: Array) -> Array:
    return np.choose(np.asarray(which).astype(np.int64), cases) if len(cases) < 32 else None


def _slice(parameters: Mapping[str, Any], x: Array) -> Array:
    steps = parameters["strides"] or (1,) * x.ndim
    bounds = zip(parameters["start_indices"], parameters["limit_indices"], steps, strict=True)
    return x[tuple(slice(*bound) for bound in bounds)]


def _dynamic_slice(parameters: Mapping[str, Any], x: Array, *starts: Array) -> Array:
    sizes = parameters["slice_sizes"]
    first = [min(max(int(s), 0), n - k) for s, n, k in zip(starts, x.shape, sizes, strict=True)]
    return x[tuple(slice(s, s + k) for s, k in zip(first, sizes, strict=True))]


def _pad(parameters: Mapping[str, Any], x: Array, value: Array) -> Array:
    for d, (before, after, inside) in enumerate(parameters["padding_config"]):
        x = np.moveaxis(x, d, 0)
        wide = np.full((max((len(x) - 1) * (inside + 1) + 1, 0), *x.shape[1:]), value, dtype=x.dtype)
        wide[:: inside + 1] = x
        ends = [np.full((max(n, 0), *x.shape[1:]), value, dtype=x.dtype) for n in (before, after)]
        wide = wide[max(-before, 0) : len(wide) - max(-after, 0)]
        x = np.moveaxis(np.concatenate([ends[0], wide, ends[1]]), 0, d)
    return x


def _dot_general(parameters: Mapping[str, Any], a: Array, b: Array) -> Array:
    (left, right), (left_batch, right_batch) = parameters["dimension_numbers"]
    names_a, names_b = list(range(a.ndim)), list(range(100, 100 + b.ndim))
    for i, j in [*zip(left, right, strict=True), *zip(left_batch, right_batch, strict=True)]:
        names_b[j] = names_a[i]
    gone = {names_a[i] for i in (*left, *left_batch)}
    batch = [names_a[i] for i in left_batch]
    rest = [n for n in names_a if n not in gone] + [n for n in names_b if n not in gone]
    to = {name: k for k, name in enumerate(sorted({*names_a, *names_b}))}
    labels = [[to[n] for n in names] for names in (names_a, names_b, batch + rest)]
    return np.einsum(a, labels[0], b, labels[1], labels[2])


def _split(parameters: Mapping[str, Any], x: Array) -> list[Array]:
    return list(np.split(x, np.cumsum(parameters["sizes"])[:-1], parameters["axis"]))


def _reduced(function: Callable[..., Array]) -> Evaluate:
    return lambda parameters, x: function(x, axis=tuple(parameters["axes"]))


def _cumulated(function: Callable[..., Array]) -> Evaluate:
    def run(parameters: Mapping[str, Any], x: Array) -> Array:
        d = parameters["axis"]
        return np.flip(function(np.flip(x, d), d), d) if parameters["reverse"] else function(x, d)

    return run


def _function(function: Any) -> Evaluate:
    return lambda _, *values: function(*values)


#: Primitive -> what numpy makes of its parameters and arrays.
EVALUATORS: dict[str, Evaluate] = {
    **{
        name: _function(function)
        for name, function in {
            "add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
            "neg": np.negative, "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "abs": np.abs, "rem": np.fmod,
            "pow": np.power, "sqrt": np.sqrt, "square": np.square, "exp": np.exp, "log": np.log, "sin": np.sin,
            "cos": np.cos, "tanh": np.tanh, "lt": np.less, "le": np.less_equal, "gt": np.greater,
            "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "and": np.bitwise_and, "or": np.bitwise_or,
            "xor": np.bitwise_xor, "not": np.invert, "is_finite": np.isfinite, "stop_gradient": np.asarray,
            "copy": np.asarray, "copy_p": np.asarray, "shift_left": np.left_shift,
            "shift_right_arithmetic": np.right_shift,
        }.items()
    },
    "div": _divide,
    "dim_as_value": lambda p: np.int64(p["dim"]),
    "rsqrt": lambda _, x: 1 / np.sqrt(x),
    "integer_pow": lambda p, x: np.power(np.asarray(x, dtype=np.float64 if p["y"] < 0 else None), p["y"]),
    "round": lambda p, x: np.round(x) if int(p["rounding_method"]) else np.trunc(x + np.copysign(0.5, x)),
    "clamp": lambda _, low, x, high: np.minimum(np.maximum(x, low), high),
    "select_n": _select_n,
    "convert_element_type": _converted,
    "iota": _iota,
    "broadcast_in_dim": _broadcast_in_dim,
    "reshape": lambda p, x: np.reshape(x, p["new_sizes"]),
    "squeeze": lambda p, x: np.squeeze(x, tuple(p["dimensions"])),
    "transpose": lambda p, x: np.transpose(x, p["permutation"]),
    "rev": lambda p, x: np.flip(x, tuple(p["dimensions"])),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "concatenate": lambda p, *xs: np.concatenate(xs, p["dimension"]),
    "tile": lambda p, x: np.tile(x, p["reps"]),
    "stack": lambda p, *xs: np.stack(xs, p["axis"]),
    "pad": _pad,
    "split": _split,
    "dot_general": _dot_general,
    "reduce_sum": _reduced(np.sum),
    "reduce_prod": _reduced(np.prod),
    "reduce_max": _reduced(np.max),
    "reduce_min": _reduced(np.min),
    "reduce_and": _reduced(np.all),
    "reduce_or": _reduced(np.any),
    "argmax": lambda p, x: np.argmax(x, p["axes"][0]),
    "argmin": lambda p, x: np.argmin(x, p["axes"][0]),
    "cumsum": _cumulated(np.cumsum),
    "cumprod": _cumulated(np.cumprod),
    "cummax": _cumulated(np.maximum.accumulate),
    "cummin": _cumulated(np.minimum.accumulate),
}  # fmt: skip
#: Of these, those that only move elements; what they make of coordinates says what each output reads.
MOVES = frozenset(
    {
        "broadcast_in_dim", "reshape", "squeeze", "transpose", "rev", "slice", "concatenate", "tile", "pad", "split",
        "stop_gradient", "copy", "copy_p",
    }
)  # fmt: skip
