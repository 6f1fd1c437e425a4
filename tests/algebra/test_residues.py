"""What depends on the input size by its residue, against each size one by one, and how messages say it."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfgraph import Window
from rfgraph.algebra.residues import BySize, InputSizes, MapSize, named_residues, shortest_period
from rfgraph.errors import UnknownFieldError


def sizes(modulus=1, residues=(), smallest=1, also=()):
    return InputSizes("x", modulus, tuple(residues), smallest, tuple(also))


@given(st.integers(1, 6), st.integers(1, 12), st.data())
def test_sizes_of_an_input_are_those_of_its_residues_and_those_listed(modulus, smallest, data):
    residues = sorted(data.draw(st.sets(st.integers(0, modulus - 1))))
    also = sorted(data.draw(st.sets(st.integers(1, smallest - 1)))) if smallest > 1 else []
    told = sizes(modulus, residues, smallest, also)
    expected = [n for n in range(1, 60) if n in also or (n >= smallest and n % modulus in residues)]
    assert [n for n in range(1, 60) if n in told] == expected
    assert list(islice(told, 8 if residues else None)) == expected[: 8 if residues else None]
    assert bool(told) == bool(expected)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (sizes(), "no size"),
        (sizes(also=[7, 8, 15, 16, 17, 18, 20]), "7, 8, 15 to 18 and 20 only"),
        (sizes(also=[7]), "7 only"),
        (sizes(1, [0], 5), "any size from 5"),
        (sizes(4, [0], 4), "multiples of 4, from 4"),
        (sizes(4, [0, 1], 4), "n mod 4 is 0 or 1, from 4"),
        (sizes(16, [0, 4, 7, 8, 9], 20, [3, 5]), "n mod 16 is 0, 4 or 7 to 9, from 20; also 3 and 5"),
    ],
    ids=str,
)
def test_how_sizes_of_an_input_are_said(told, text):
    assert str(told) == text


def test_how_residues_are_said():
    assert named_residues(8, [3]) == "n mod 8 is 3"
    assert named_residues(8, [1, 2, 3]) == "n mod 8 is 1 to 3"
    assert named_residues(8, [1, 2, 4, 5]) == "n mod 8 is 1, 2, 4 or 5"


@given(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.integers(1, 3))
def test_a_shortest_period_is_the_least_that_makes_all_values(values, times):
    values = values * times
    period = shortest_period(values)
    fits = [d for d in range(1, len(values) + 1) if len(values) % d == 0 and values[:d] * (len(values) // d) == values]
    assert period == min(fits)


def test_a_field_by_size_is_told_from_some_size_on():
    table = BySize(3, (Window(1), Window(2), Window(3)), 5)
    assert [table.window(n).size for n in range(5, 9)] == [3, 1, 2, 3]
    with pytest.raises(UnknownFieldError, match="input size 4 is below 5, from which on residues decide"):
        table.window(4)


@pytest.mark.parametrize(
    ("slope", "offsets", "smallest", "text"),
    [
        (1, [0], 1, "n"),
        (1, [2], 1, "n + 2"),
        (1, [-2], 3, "n - 2, from 3"),
        (0, [7], 2, "7, from 2"),
        (3, [0], 1, "3*n"),
        (3, [-6], 3, "3*(n - 2), from 3"),
        (Fraction(1, 2), [0, Fraction(1, 2)], 1, "n/2 where n mod 2 is 0; (n + 1)/2 where n mod 2 is 1"),
        (Fraction(3, 2), [0, None], 2, "3*n/2 where n mod 2 is 0, from 2"),
        (
            Fraction(1, 4),
            [1, None, Fraction(1, 2), None],
            1,
            "(n + 4)/4 where n mod 4 is 0; (n + 2)/4 where n mod 4 is 2",
        ),
    ],
    ids=str,
)
def test_the_size_of_a_map_as_a_formula(slope, offsets, smallest, text):
    told = MapSize(Fraction(slope), tuple(None if x is None else Fraction(x) for x in offsets), smallest, sizes())
    assert (str(told), told.modulus) == (text, len(offsets))
    for n in range(1, 20):
        offset = offsets[n % len(offsets)]
        assert told.size(n) == (None if offset is None or n < smallest else slope * n + offset)
