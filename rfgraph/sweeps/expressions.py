"""Conditions and costs as users write them: ``"r >= 256 and aligned"``, ``"macs"``, ``"parameters / 1e6 + r[0]"``.

They are Python expressions of a few kinds, read by Python's own parser and gone through node by node; nothing is ever
evaluated as code. What is not known makes a comparison not known, and ``and``, ``or`` and ``not`` carry that on as SQL
does; a design is kept where the whole condition is known to be true.

``r``, ``S``, ``P`` and ``map_size`` have one number per axis and node that was asked for: a comparison holds if it does
for all of them. ``r[0]`` and ``r["y"]`` are those of one axis, ``r["block4"]`` those of one node, ``r["block4", 0]``
both.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from functools import lru_cache, partial, reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfgraph.errors import ExpressionError
from rfgraph.frozen import dataclass
from rfgraph.sweeps.columns import ALIGNED, ALIGNMENT_UNKNOWN, BY_SIZE, FAILS, NONE, NOT_COUNTED, PER_AXIS, Columns

Array = NDArray[Any]

#: An expression may have this many parts, and numbers in it this many digits.
MOST_PARTS = 200
MOST_DIGITS = 40

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
NUMBERS = (*PER_AXIS[:4], "parameters", "macs")
TRUTHS = ("aligned", "is_global", "works")
NAMES = (*NUMBERS, *TRUTHS)


@dataclass(frozen=True)
class Value:
    """Numbers or truth values, and where they are known: [N, K, A], or [N] after a comparison, or () if constant."""

    value: Any
    known: Any
    is_truth: bool


@dataclass(frozen=True)
class Expression:
    """A condition or a number of each design, checked and ready to be worked out.

    Parameters
    ----------
    text
        As the user wrote it.
    nodes, axes
        What the indices of ``r["node", "y"]`` may be.
    """

    text: str
    nodes: tuple[Hashable, ...]
    axes: tuple[str, ...]

    def __post_init__(self) -> None:
        self._tree()

    def condition(self, columns: Columns) -> NDArray[np.bool_]:
        """Return for which designs it is known to hold."""
        value = _Evaluation(self, columns).value(self._tree())
        if not value.is_truth:
            raise self._error("is a number, not a condition; compare it, as 'r >= 256'")
        value = _all(value)
        return np.asarray(value.value & value.known, dtype=np.bool_) & np.ones(len(columns["position"]), np.bool_)

    def number(self, columns: Columns) -> tuple[Array, NDArray[np.bool_]]:
        """Return its number for each design, and where that is known."""
        result = _Evaluation(self, columns).value(self._tree())
        if result.is_truth:
            raise self._error("is a condition, not a number to sort by; name one, as 'macs'")
        designs = len(columns["position"])
        value = np.asarray(result.value)
        if value.ndim > 1:
            if (several := prod(value.shape[1:])) != 1:
                raise self._error(f"has {several} numbers per design, one per axis and node; pick one, as 'r[0]'")
            value = value.reshape(designs)
        known = np.broadcast_to(np.asarray(result.known).reshape(-1), (designs,))
        return np.broadcast_to(value, (designs,)), known

    def checked(self, is_truth: bool) -> Expression:
        """Return the expression, refused if it is not a condition, or not a number."""
        from rfgraph.sweeps.columns import blank

        columns = blank(1, len(self.nodes), len(self.axes))
        with np.errstate(all="ignore"):
            if is_truth:
                self.condition(columns)
            else:
                self.number(columns)
        return self

    def names(self) -> set[str]:
        """Return the quantities that it names."""
        return {part.id for part in ast.walk(self._tree()) if isinstance(part, ast.Name)}

    def _tree(self) -> ast.expr:
        try:
            return _parsed(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            said = error.msg if isinstance(error, SyntaxError) else str(error)
            raise self._error(f"cannot be read: {said}; write it as 'r >= 256 and aligned'") from None

    def _error(self, what: str) -> ExpressionError:
        return ExpressionError(f"{self.text!r} {what}")


@lru_cache(maxsize=64)
def _parsed(text: str) -> ast.expr:
    if len(text) > 10_000:
        raise ValueError("it is too long")
    tree = ast.parse(text.strip(), mode="eval").body
    if sum(1 for _ in ast.walk(tree)) > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS} parts")
    return tree


class _Evaluation:
    """One walk through an expression, over some designs."""

    def __init__(self, expression: Expression, columns: Columns) -> None:
        self.expression = expression
        self.columns = columns

    def value(self, part: ast.expr) -> Value:
        if isinstance(part, ast.BoolOp):
            sides = [_all(self.truth(side)) for side in part.values]
            return reduce(_and if isinstance(part.op, ast.And) else _or, sides)
        if isinstance(part, ast.UnaryOp):
            return self.unary(part)
        if isinstance(part, ast.Compare):
            return self.compared(part)
        if isinstance(part, ast.BinOp):
            return self.arithmetic(part)
        if isinstance(part, ast.Constant):
            return self.constant(part)
        if isinstance(part, ast.Name):
            return self.named(part.id, ())
        if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name):
            return self.named(part.value.id, self.index(part.slice))
        raise self.refused(part)

    def refused(self, part: ast.AST) -> ExpressionError:
        text = ast.unparse(part)
        what = text if len(text) < 60 else f"{text[:60]}..."
        return self.expression._error(
            f"has {what!r} in it, which is none of {', '.join(NAMES)}, numbers, comparisons, and, or, not, + - * / // %"
        )

    def truth(self, part: ast.expr) -> Value:
        value = self.value(part)
        if not value.is_truth:
            raise self.expression._error(f"takes {ast.unparse(part)!r} for a condition; compare it, as 'r >= 256'")
        return value

    def of_number(self, part: ast.expr) -> Value:
        value = self.value(part)
        if value.is_truth:
            raise self.expression._error(f"takes {ast.unparse(part)!r} for a number, but it is a condition")
        return value

    def unary(self, part: ast.UnaryOp) -> Value:
        if isinstance(part.op, ast.Not):
            side = _all(self.truth(part.operand))
            return Value(np.logical_not(side.value), side.known, True)
        if isinstance(part.op, (ast.USub, ast.UAdd)):
            side = self.of_number(part.operand)
            return Value(-side.value if isinstance(part.op, ast.USub) else side.value, side.known, False)
        raise self.refused(part)

    def compared(self, part: ast.Compare) -> Value:
        sides = [self.value(side) for side in (part.left, *part.comparators)]
        truths = []
        for sign, one, two in zip(part.ops, sides, sides[1:], strict=False):
            if type(sign) not in _COMPARISONS:
                raise self.refused(part)
            if one.is_truth != two.is_truth or (one.is_truth and not isinstance(sign, (ast.Eq, ast.NotEq))):
                raise self.expression._error(f"compares a condition in {ast.unparse(part)!r}")
            one, two = (_all(side) if side.is_truth else side for side in (one, two))
            value = _COMPARISONS[type(sign)](one.value, two.value)
            truths.append(_all(Value(np.asarray(value, dtype=np.bool_), one.known & two.known, True)))
        return reduce(_and, truths)

    def arithmetic(self, part: ast.BinOp) -> Value:
        if type(part.op) not in _ARITHMETIC:
            raise self.refused(part)
        one, two = self.of_number(part.left), self.of_number(part.right)
        known = one.known & two.known
        divisor = two.value
        if isinstance(part.op, (ast.Div, ast.FloorDiv, ast.Mod)):
            zero = np.asarray(divisor == 0)
            known = known & ~zero
            divisor = np.where(zero, 1, divisor) if zero.any() else divisor
        left, right = _exact_if_large(part.op, one.value, divisor)
        return Value(_ARITHMETIC[type(part.op)](left, right), known, False)

    def constant(self, part: ast.Constant) -> Value:
        if isinstance(part.value, bool):
            return Value(np.asarray(part.value), np.asarray(True), True)
        if isinstance(part.value, (int, float)) and part.value == part.value and abs(part.value) < 10**MOST_DIGITS:
            number = part.value
            return Value(number if abs(number) < 1 << 62 else np.asarray(number, dtype=object), np.asarray(True), False)
        raise self.refused(part)

    def index(self, part: ast.expr) -> tuple[Any, ...]:
        entries = part.elts if isinstance(part, ast.Tuple) else [part]
        if any(not isinstance(entry, ast.Constant) or type(entry.value) not in (int, str) for entry in entries):
            raise self.refused(part)
        return tuple(entry.value for entry in entries if isinstance(entry, ast.Constant))

    def named(self, name: str, index: tuple[Any, ...]) -> Value:
        if name not in NAMES:
            raise self.expression._error(f"names {name!r}, which is none of {', '.join(NAMES)}")
        columns = self.columns
        if name not in PER_AXIS:
            if index:
                raise self.expression._error(f"gives {name} an index, but there is one of it per design")
            if name == "works":
                return Value((columns["status"] != FAILS).all(axis=1)[:, None, None], np.asarray(True), True)
            column = columns[name][:, None, None]
            if name == "aligned":
                return Value(column == ALIGNED, column != ALIGNMENT_UNKNOWN, True)
            return Value(column, column != NOT_COUNTED, False)
        nodes, axes = self.picked(name, index)
        column = columns[name]
        if index:
            column = column[:, nodes][:, :, axes]
        status = columns["status"][:, nodes][:, :, None]
        if name == "is_global":
            return Value(column, np.repeat(status != FAILS, len(axes), axis=2), True)
        if name == "P":
            return Value(column, (columns["r"][:, nodes][:, :, axes] != NONE) & (status < BY_SIZE), False)
        return Value(column, column != NONE, False)

    def picked(self, name: str, index: tuple[Any, ...]) -> tuple[list[int], list[int]]:
        """Return which nodes and axes an index picks."""
        nodes, axes = self.expression.nodes, self.expression.axes
        of_nodes, of_axes = list(range(len(nodes))), list(range(len(axes)))
        for entry in index:
            by_name = [k for k, node in enumerate(nodes) if str(node) == entry]
            if by_name:
                of_nodes = by_name
            elif entry in axes:
                of_axes = [axes.index(entry)]
            elif isinstance(entry, int) and 0 <= entry < len(axes):
                of_axes = [entry]
            else:
                known = ", ".join([*map(repr, axes), *(repr(str(node)) for node in nodes)])
                raise self.expression._error(
                    f"has {name}[{entry!r}], which is no axis, nor a node that was asked for; there are {known}"
                )
        return of_nodes, of_axes


def _exact_if_large(sign: ast.operator, one: Any, two: Any) -> tuple[Any, Any]:
    """Return both sides as exact numbers where 64 bits might not hold the result."""
    if any(np.asarray(side).dtype.kind == "O" for side in (one, two)):
        exact = _fractions if isinstance(sign, ast.Div) else partial(np.asarray, dtype=object)
        return exact(one), exact(two)
    if any(np.asarray(side).dtype.kind == "f" for side in (one, two)) or isinstance(sign, ast.Div):
        return one, two
    high = [int(np.abs(np.asarray(side)).max(initial=0)) for side in (one, two)]
    if (high[0] * high[1] if isinstance(sign, ast.Mult) else sum(high)) >= 1 << 62:
        return np.asarray(one, dtype=object), np.asarray(two, dtype=object)
    return one, two


def _fractions(side: Any) -> Any:
    numbers = np.asarray(side, dtype=object)
    exact = np.empty(numbers.shape, dtype=object)
    for place, number in np.ndenumerate(numbers):
        exact[place] = Fraction(number)
    return exact


def _all(entries: Value) -> Value:
    """Return whether it holds for all nodes and axes: false if one is known to be false, known if all are."""
    value, known = np.asarray(entries.value), np.asarray(entries.known)
    if max(value.ndim, known.ndim) <= 1:
        return Value(value, known, True)
    value, known = np.broadcast_arrays(value, known)
    beyond = tuple(range(1, value.ndim))
    return Value((value | ~known).all(axis=beyond), known.all(axis=beyond) | (known & ~value).any(axis=beyond), True)


def _and(a: Value, b: Value) -> Value:
    known = (a.known & b.known) | (a.known & ~a.value) | (b.known & ~b.value)
    return Value((a.value | ~a.known) & (b.value | ~b.known), known, True)


def _or(a: Value, b: Value) -> Value:
    known = (a.known & b.known) | (a.known & a.value) | (b.known & b.value)
    return Value((a.value & a.known) | (b.value & b.known), known, True)


def expression(text: str, nodes: Sequence[Hashable], axes: Sequence[str], is_truth: bool) -> Expression:
    """Return what a user wrote as a condition, or as a number to sort by.

    Raises
    ------
    ExpressionError
        If it cannot be read, or is not that.
    """
    return Expression(text, tuple(nodes), tuple(axes)).checked(is_truth)
