"""Sizes that JAX leaves open: what it writes of them, and what is asked of them while a function is traced.

JAX writes a size as a sum of products of names, of ``floordiv`` and ``mod``, and of ``max`` and ``min``. It refuses to
compare two of them where not all sizes agree; here the sizes of an example decide, and what was asked is noted. This
module does not need JAX before a function is traced.
"""

from __future__ import annotations

import ast
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

from rfgraph.frozen import dataclass
from rfgraph.importers.program.dimensions import Dim, Expression, bounds, product, symbol, unknown, valued
from rfgraph.importers.trials import MAX_DOUBTFUL, answered_otherwise

#: Files of JAX that look up what they keep.
_KEPT = re.compile(r"/jax/_src/(core|util|tree_util|export/.*)\.py$")
#: Files of JAX whose code is as right where sizes that are equal are not known to be: it does nothing then at length.
_EITHER_WAY = re.compile(r"/jax/_src/image/")
_JAX = re.compile(r"/jax/")


def size_of(size: Any) -> Dim:
    """Return a size as JAX has it: an integer, or an expression.

    Examples
    --------
    >>> size_of(3), str(size_of("floordiv(h + 1, 2) + 2*mod(h, 4)"))
    (3, '2*h + (h + 1)//2 - 8*(h)//4')
    """
    return size if isinstance(size, Expression) else _expression(str(size)) if is_open(size) else int(size)


def is_open(size: Any) -> bool:
    """Return whether JAX left a size open."""
    return isinstance(size, (str, Expression)) or type(size).__name__ == "_DimExpr"


def closed(value: Any, numbers: Mapping[str, int]) -> Any:
    """Return a parameter of a primitive with numbers for the names of sizes."""
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(closed(item, numbers) for item in value)
    return _valued(str(value), numbers) if type(value).__name__ == "_DimExpr" else value


def has_open(value: Any) -> bool:
    """Return whether some size in a parameter is open."""
    return (
        any(map(has_open, value)) if isinstance(value, (tuple, list)) else is_open(value) and not isinstance(value, str)
    )


def _valued(text: str, numbers: Mapping[str, int]) -> int:
    """Return what is written for numbers in the place of its names."""
    result: int = _evaluated(_tree(text), numbers.__getitem__, max, min)
    return result


@lru_cache(maxsize=4096)
def _expression(text: str) -> Dim:
    def bounded(word: str) -> Callable[..., Dim]:
        pick: Callable[..., int] = max if word == "max" else min

        def at(sizes: Sequence[Dim], numbers: Mapping[str, int]) -> int | None:
            told = [valued(size, numbers) for size in sizes]
            return pick(told) if None not in told else None

        return lambda *sizes: unknown(f"{word}({', '.join(map(str, sizes))})", None, partial(at, sizes))

    size: Dim = _evaluated(_tree(text), symbol, bounded("max"), bounded("min"))
    return size


@lru_cache(maxsize=4096)
def _tree(text: str) -> ast.expr:
    return ast.parse(text.replace("^", "**"), mode="eval").body


#: What JAX writes between two sizes, and before several.
_BETWEEN: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: lambda a, n: product([a] * n),
}  # fmt: skip
_CALLED: dict[str, Callable[[Any, Any], Any]] = {
    "floordiv": lambda a, b: _quotient(a, b), "mod": lambda a, b: a - _quotient(a, b) * b,
}  # fmt: skip


def _evaluated(node: ast.expr, named: Callable[[str], Any], largest: Any, smallest: Any) -> Any:
    called = {**_CALLED, "max": largest, "min": smallest}
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return named(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluated(operand, named, largest, smallest)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BETWEEN:
            return _BETWEEN[type(op)](*(_evaluated(side, named, largest, smallest) for side in (left, right)))
        case ast.Call(func=ast.Name(id=word), args=sizes) if word in called:
            return called[word](*(_evaluated(size, named, largest, smallest) for size in sizes))
    raise ValueError(f"{ast.unparse(node)} is no size that is known")


def _quotient(size: Any, divisor: Any) -> Any:
    """Return a quotient rounded down; a number is no part of a divisor that is larger whatever its names stand for."""
    if isinstance(size, Expression) or not isinstance(divisor, Expression):
        return size // divisor
    least = bounds(divisor).least
    if least is None or least <= abs(size):
        return unknown(f"({size})//({divisor})", None)
    return -1 if size < 0 else 0


@dataclass(frozen=True)
class Question:
    """Whether a size is 0, or else whether it is at least 0, and what the example made of it."""

    size: str
    is_zero: bool
    answer: bool

    def answered(self, numbers: Mapping[str, int]) -> bool:
        """Return the answer at some sizes."""
        value = _valued(self.size, numbers)
        return value == 0 if self.is_zero else value >= 0

    def settled(self, names: Sequence[str], beyond: int) -> bool | None:
        """Return the answer at all sizes beyond some, ``None`` if it is not the same."""
        ends = bounds(_evaluated(_tree(self.size), lambda name: symbol(name) + beyond, *_UNBOUNDED))
        below, above = ends.greatest is not None and ends.greatest < 0, ends.least is not None and ends.least >= 0
        if self.is_zero:
            positive = ends.least is not None and ends.least > 0
            return False if below or positive else True if (ends.least, ends.greatest) == (0, 0) else None
        return True if above else False if below else None


_UNBOUNDED = (lambda *sizes: unknown("some", None), lambda *sizes: unknown("some", None))


@contextmanager
def decided(hints: Mapping[str, int]) -> Iterator[list[Question]]:
    """Have the sizes of an example decide what JAX cannot, and note what was asked."""
    from jax._src import core as jax_core
    from jax._src.export import shape_poly as polynomials

    core: Any = jax_core
    shape_poly: Any = polynomials
    kind = shape_poly._DimExpr
    plain_equal, plain_reach = kind.__eq__, shape_poly._geq_decision
    plain_largest, plain_smallest = core.max_dim, core.min_dim
    questions: list[Question] = []

    def equal(self: Any, other: Any) -> bool:
        if plain_equal(self, other):
            return True
        file = _asker(shape_poly.__file__)
        if file is None or not isinstance(other, (int, kind)) or _EITHER_WAY.search(file):
            return False
        if isinstance(other, kind) and other.scope is not self.scope:
            return False
        difference = self - other
        if not isinstance(difference, kind):
            return False
        answer = _valued(str(difference), hints) == 0
        fixes = answer and isinstance(other, int) and other > 1
        if fixes or not _JAX.search(file):
            questions.append(Question(str(difference), True, answer))
        return answer

    def reach(a: Any, b: Any, described: Callable[[], str]) -> bool:
        try:
            return bool(plain_reach(a, b, described))
        except shape_poly.InconclusiveDimensionOperation:
            if _asker(shape_poly.__file__) is None:
                raise
            difference = str(a - b)
            answer = _valued(difference, hints) >= 0
            questions.append(Question(difference, False, answer))
            return answer

    def is_larger(a: Any, b: Any) -> bool | None:
        difference = a - b
        if not isinstance(difference, kind):
            return bool(difference >= 0)
        question = Question(str(difference), False, _valued(str(difference), hints) >= 0)
        if question.settled(sorted(hints), MAX_DOUBTFUL) is None:
            return None  # the residue of a size may decide: both are kept
        questions.append(question)
        return question.answer

    def largest(a: Any, b: Any) -> Any:
        larger = is_larger(a, b)
        return plain_largest(a, b) if larger is None else a if larger else b

    def smallest(a: Any, b: Any) -> Any:
        larger = is_larger(a, b)
        return plain_smallest(a, b) if larger is None else b if larger else a

    kind.__eq__, shape_poly._geq_decision, core.max_dim, core.min_dim = equal, reach, largest, smallest
    try:
        yield questions
    finally:
        kind.__eq__, shape_poly._geq_decision = plain_equal, plain_reach
        core.max_dim, core.min_dim = plain_largest, plain_smallest


def _asker(own: str) -> str | None:
    """Return the file whose code compares two sizes, ``None`` if it is that of the sizes themselves."""
    frame: Any = sys._getframe(2)
    if frame.f_code.co_filename == own and frame.f_code.co_name in ("__ne__", "__ge__", "__gt__", "__le__", "__lt__"):
        frame = frame.f_back
    if frame.f_code.co_filename == own:
        return None
    while frame is not None and frame.f_code.co_name.startswith(("definitely_equal", "<genexpr>")):
        frame = frame.f_back
    file = "" if frame is None else str(frame.f_code.co_filename).replace("\\", "/")
    return None if not file or _KEPT.search(file) else file


def doubtful_sizes(
    questions: Sequence[Question], names: frozenset[str], hints: Mapping[str, int]
) -> frozenset[int] | None:
    """Return the sizes at which the answer to some question is another, ``None`` if they are too many.

    Parameters
    ----------
    names
        The sizes that are as large as an axis.
    hints
        How large all sizes are in the example.
    """
    sizes: set[int] = set()
    for question in dict.fromkeys(questions):
        asked = {node.id for node in ast.walk(_tree(question.size)) if isinstance(node, ast.Name)} & set(hints)
        if asked.isdisjoint(names):
            continue
        if question.settled(sorted(asked), MAX_DOUBTFUL) != question.answer:
            return None
        sizes.update(answered_otherwise(question.answered, question.answer, names, hints))
    return frozenset(sizes)
