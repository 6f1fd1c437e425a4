"""Symbolic sizes against numbers: what is said of an expression holds for every size that its names stand for."""

from __future__ import annotations

import operator
from fractions import Fraction
from math import ceil, floor, trunc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfgraph.importers import program
from rfgraph.importers.program.dimensions import (
    MAX_DEPTH,
    MAX_TERMS,
    Expression,
    Quotient,
    bounds,
    exact_quotient,
    least_number,
    names_of,
    symbol,
    truncated_quotient,
    unknown,
    valued,
)
from rfgraph.importers.program.folding import constant, fold

NAMES = ("H", "W", "T")

#: The sizes at which an expression is tried: every one up to 9, and some that divide well or badly.
SIZES = [dict(zip(NAMES, sizes, strict=True)) for sizes in np.ndindex(4, 4, 4)]
SIZES = [{name: size + 1 for name, size in row.items()} for row in SIZES]
SIZES += [dict(zip(NAMES, sizes, strict=True)) for sizes in ((64, 63, 100), (7, 500, 16000), (31, 32, 33), (999, 1, 8))]


def towards_zero(a, b):
    return trunc(Fraction(a) / b)


#: What is done to sizes -> the same on numbers. Divisors are numbers, except where a size divides.
STEPS = {
    "add": (lambda a, b, n: a + b, lambda a, b, n: a + b),
    "sub": (lambda a, b, n: a - b, lambda a, b, n: a - b),
    "mul": (lambda a, b, n: a * b, lambda a, b, n: a * b),
    "plus": (lambda a, b, n: a + n, lambda a, b, n: a + n),
    "less": (lambda a, b, n: n - a, lambda a, b, n: n - a),
    "times": (lambda a, b, n: a * n, lambda a, b, n: a * n),
    "floored": (lambda a, b, n: a // (abs(n) + 1), lambda a, b, n: a // (abs(n) + 1)),
    "halved": (lambda a, b, n: floor(a * Fraction(n, 2)), lambda a, b, n: floor(a * Fraction(n, 2))),
    "ceiled": (lambda a, b, n: ceil(a * Fraction(1, abs(n) + 1)), lambda a, b, n: ceil(Fraction(a, abs(n) + 1))),
    "truncated": (
        lambda a, b, n: truncated_quotient(a, n or 1),
        lambda a, b, n: towards_zero(a, n or 1),
    ),
}

leaves = st.sampled_from(NAMES).map(lambda name: (symbol(name), lambda sizes: sizes[name]))
leaves |= st.integers(-70, 70).map(lambda number: (number, lambda sizes: number))


def step(name, number, one, other):
    """Return one step on two pairs of a size and what it is for given sizes."""
    made, counted = STEPS[name]
    (a, of_a), (b, of_b) = one, other
    return made(a, b, number), lambda sizes: counted(of_a(sizes), of_b(sizes), number)


pairs = st.recursive(
    leaves,
    lambda inner: st.builds(step, st.sampled_from(sorted(STEPS)), st.integers(-9, 70), inner, inner),
    max_leaves=8,
)


def value(size, sizes):
    """Return what an expression is for given sizes, ``None`` where it is written with a number that is not known."""
    if not isinstance(size, Expression):
        return size
    total = 0
    for atoms, coefficient in size.terms:
        for atom in atoms:
            if isinstance(atom, str):
                found = sizes[atom]
            elif isinstance(atom, Quotient):
                inner = value(atom.numerator, sizes)
                found = None if inner is None else inner // atom.denominator
            else:
                found = value(atom, sizes) if isinstance(atom, Expression) else None
            if found is None:
                return None
            coefficient = coefficient * found
        total += coefficient
    return total


@given(pairs)
def test_an_expression_is_what_numbers_give(pair):
    size, numbers = pair
    for sizes in SIZES:
        assert value(size, sizes) in (None, numbers(sizes))


@given(pairs)
def test_bounds_hold_for_every_size(pair):
    size, numbers = pair
    ends = bounds(size)
    for sizes in SIZES:
        number = numbers(sizes)
        assert ends.least is None or ends.least <= number
        assert ends.greatest is None or number <= ends.greatest


@given(pairs)
def test_sizes_are_told_of_numbers_for_their_names(pair):
    size, numbers = pair
    names = names_of(size)
    if names is None:  # it is written with a number that is not known
        return
    for sizes in SIZES:
        assert valued(size, {name: sizes[name] for name in names}) == numbers(sizes)


@given(pairs, st.integers(-20, 60))
def test_from_which_number_on_a_size_is_large_enough(pair, least):
    size, _ = pair
    if isinstance(size, int) or names_of(size) != {"H"}:
        return
    first = least_number(size, "H", least, 400)
    if first is not None:
        assert [n for n in range(1, 500) if value(size, {"H": n}) >= least] == list(range(first, 500))


def test_no_number_is_told_where_none_is_found():
    height = symbol("H")
    assert least_number((height - 1) // 14 + 2, "H", 6, 400) == 57
    assert least_number((height - 1) // 14 + 2, "H", 6, 50) is None  # it would be larger
    assert least_number(9 - height, "H", 1, 400) is None
    assert least_number(height - 4 * (height // 4) + height // 8, "H", 2, 400) is None  # 2 and 3 will do, 4 will not
    assert names_of(height + unknown("what is found")) is None
    assert valued(height + unknown("what is found"), {"H": 2}) is None


COMPARISONS = {
    "equal": operator.eq, "not_equal": operator.ne, "less": operator.lt, "greater": operator.gt,
    "less_or_equal": operator.le, "greater_or_equal": operator.ge,
}  # fmt: skip
FUNCTIONS = {
    "min": min,
    "max": max,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": lambda a, b: towards_zero(a, b) if b else None,
    "floor_div": lambda a, b: a // b if b else None,
    "mod": lambda a, b: a % b if b else None,
    **COMPARISONS,
}


@given(st.sampled_from(sorted(FUNCTIONS)), pairs, pairs)
def test_what_is_folded_is_what_numbers_give(function, one, other):
    (a, of_a), (b, of_b) = one, other
    folded = fold(program.Pointwise(function=function), [constant([a]), constant([b])])
    if folded is None:
        return
    for sizes in SIZES:
        expected = FUNCTIONS[function](of_a(sizes), of_b(sizes))
        if expected is not None:  # a division by zero has no result that could be wrong
            assert value(folded.elements[0], sizes) in (None, expected)


@given(pairs)
def test_functions_of_one_size(pair):
    size, numbers = pair
    half = size * Fraction(1, 2)
    for name, function in (
        ("floor", floor),
        ("ceil", ceil),
        ("to_integer", trunc),
        ("abs", abs),
        ("neg", lambda x: -x),
    ):
        folded = fold(program.Pointwise(function=name), [constant([half], integer=False)])
        for sizes in SIZES if folded is not None else ():
            assert value(folded.elements[0], sizes) in (None, function(Fraction(numbers(sizes), 2)))


def asked(function, *numbers):
    folded = fold(program.Pointwise(function=function), [constant([number]) for number in numbers])
    return None if folded is None else folded.elements[0]


def test_a_quotient_may_be_zero_or_less():
    t = symbol("t")
    frames = (t - 64) // 64 + 1
    assert asked("equal", frames, 1) is None  # it is 1 from 64 to 127
    assert asked("less", frames, 2) is None
    assert asked("less", frames, 0) is False
    assert asked("greater", t // 2, 0) is None
    assert asked("equal", t // 2, -1) is False


def test_terms_that_cancel_are_decided():
    height = symbol("H")
    assert asked("greater", height, height // 2) is True
    assert asked("less", asked("mod", height, 32), 32) is True
    assert asked("greater", 32 - asked("mod", height, 32), 0) is True
    assert asked("less", (height + 1) // 2, height // 2) is False


def test_a_number_that_counts_what_is_found_may_be_zero():
    assert asked("equal", unknown("how many boxes"), 0) is None
    assert asked("less", unknown("how many boxes"), 0) is False
    assert asked("less", unknown("anything", None), 0) is None
    assert asked("greater", symbol("H"), 0) is True


def test_integers_divide_towards_zero():
    height = symbol("H")
    assert asked("div", -7, 2) == -3
    assert asked("floor_div", -7, 2) == -4
    assert str(asked("div", height + 1, 2)) == str((height + 1) // 2)
    assert "rounded towards 0" in str(asked("div", height - 3, 2))  # -1 at 2, where it rounded down were -1


def test_a_size_is_divided_exactly_only_where_that_is_stated():
    height = symbol("H")
    assert exact_quotient(height, height // 7) == 7  # a reshape says that it divides
    assert isinstance(height // (height // 7), Expression)  # 8 // (8 // 7) is 8


@pytest.mark.parametrize("wide", [2, MAX_TERMS - 2])
def test_expressions_do_not_grow_without_end(wide):
    size = symbol("H")
    for _ in range(MAX_DEPTH + 4):
        size = sum((size // k for k in range(2, 2 + wide)), start=size)
        assert size.weight < 2_000
        assert len(str(size)) < 100_000
    assert bounds(size).least is not None


def test_numbers_do_not_grow_without_end():
    number = constant([3])
    for _ in range(80):
        number = number and fold(program.Pointwise(function="mul"), [number, number])
    assert number is None  # a runtime's integers wrap around long before
    scale = constant([Fraction(2, 3)], integer=False)
    for _ in range(80):
        scale = scale and fold(program.Pointwise(function="mul"), [scale, scale])
    assert scale is None
    size = constant([symbol("H")])
    for _ in range(80):
        size = size and fold(program.Pointwise(function="mul"), [size, constant([10**9])])
    assert size is not None
    assert len(str(size.elements[0])) < 200
