"""What an exported program says of the sizes of its inputs: it refuses those at which a guard does not hold.

Guards are conditions that the exporter met, kept as Python text: ``L['x'].size()[2] // 4 == 8``. They are parsed, never
run as code.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import ceil
from typing import Any

from rfgraph.importers.program.dimensions import Shape, names_of
from rfgraph.importers.program.primitives import Guard

#: Longer texts are not parsed.
MAX_LENGTH = 1 << 12

_SIZE = re.compile(r"L\['(\w+)'\]((?:\['?\w+'?\])*)\.size\(\)\[(\d{1,3})\]")
_OF_TWO: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_CALLED: Mapping[str, Callable[..., Any]] = {
    "max": max, "min": min, "torch.sym_max": max, "torch.sym_min": min, "torch.sym_float": float, "torch.sym_int": int,
    "math.trunc": math.trunc, "math.floor": math.floor, "math.ceil": math.ceil,
}  # fmt: skip

#: Python's way to work out one part of a guard for sizes by their names.
_Valued = Callable[[Mapping[str, int]], Any]


def guards_of(texts: Iterable[Any], shapes: Mapping[str, Shape | None]) -> tuple[Guard, ...]:
    """Return the guards of a program, for inputs of ``shapes``; of those that are not followed nothing is known."""
    guards = [_guard(text, shapes) for text in dict.fromkeys(map(str, texts))]
    return tuple(guard for guard in guards if guard.names)


def at_least(name: str, number: int) -> Guard:
    """Return the guard that a size is ``number`` or more."""
    return Guard(frozenset({name}), lambda sizes: sizes[name] >= number, numbers=(number,))


def _guard(text: str, shapes: Mapping[str, Shape | None]) -> Guard:
    names: dict[str, str] = {}  # of sizes -> how the text that is parsed writes them

    def size(match: re.Match[str]) -> str:
        keys = re.findall(r"\w+", match[2])
        shape = shapes.get("_".join([match[1], *keys])) or ()
        of_dim = shape[int(match[3])] if int(match[3]) < len(shape) else match[0]
        if isinstance(of_dim, int):
            return str(of_dim)
        return names.setdefault(str(of_dim), f"_{len(names)}")

    every = frozenset(name for shape in shapes.values() for d in shape or () for name in names_of(d) or ())
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError(text)
        valued = _valued(ast.parse(_SIZE.sub(size, text), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Guard(every, None)
    if not names.keys() <= every:
        return Guard(every, None)

    def holds(sizes: Mapping[str, int]) -> bool:
        try:
            return bool(valued({called: sizes[name] for name, called in names.items()}))
        except (ArithmeticError, TypeError, RecursionError):
            return False

    text = _SIZE.sub("", text)
    written = [Fraction(number) for number in re.findall(r"\d{1,18}(?:\.\d{1,18})?", text)]
    divisors = {int(number) for number in re.findall(r"(?://|%) ?(\d{1,18})", text)} - {0}
    divisors |= {number.denominator for number in written}  # what is multiplied with a fraction is rounded
    return Guard(frozenset(names), holds, tuple(divisors), tuple(ceil(number) for number in written))


def _valued(node: ast.expr) -> _Valued:
    match node:
        case ast.Constant(value=int() | float() as number):
            return lambda sizes: number
        case ast.Name(id=name):
            return lambda sizes: sizes[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OF_TWO:
            one, other, make = _valued(left), _valued(right), _OF_TWO[type(op)]
            return lambda sizes: make(one(sizes), other(sizes))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _valued(operand)
            return lambda sizes: -value(sizes)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            value = _valued(operand)
            return lambda sizes: not value(sizes)
        case ast.BoolOp(op=op, values=values):
            parts, combine = [_valued(each) for each in values], all if isinstance(op, ast.And) else any
            return lambda sizes: combine(part(sizes) for part in parts)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _OF_TWO for op in ops):
            sides, makes = [_valued(each) for each in (left, *others)], [_OF_TWO[type(op)] for op in ops]

            def compared(sizes: Mapping[str, int]) -> bool:
                numbers = [side(sizes) for side in sides]
                return all(make(*pair) for make, *pair in zip(makes, numbers, numbers[1:], strict=False))

            return compared
        case ast.Call(func=function, args=arguments, keywords=[]) if (called := ast.unparse(function)) in _CALLED:
            parts, call = [_valued(each) for each in arguments], _CALLED[called]
            return lambda sizes: call(*(part(sizes) for part in parts))
    raise ValueError(ast.dump(node))
