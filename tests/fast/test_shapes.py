"""Shapes of fields in the affine walk, held against intervals that are followed output by output."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import windows

import rfgraph
from rfgraph import Network
from rfgraph.algebra.window import Window
from rfgraph.fast.affine_walk import solve
from rfgraph.fast.merges import Apart
from rfgraph.fast.shapes import WHOLE, Shape, covering, shape_and_ends

local = (windows() | windows(regular=True)).filter(lambda window: window.is_local)


def ends(window, y):
    """Where a field begins and ends at an output; a shape's phase may end before it begins."""
    turn, phase = divmod(y, window.period)
    interval = window.intervals[phase]
    return None if interval is None else (interval[0] + turn * window.step, interval[1] + turn * window.step)


def leaves_nothing_out(shape, longer, apart):
    """Return whether each output reads on to where the one so far behind it begins, with fields so much longer."""
    pairs = [(ends(shape.window, y), ends(shape.window, y + apart)) for y in range(2 * shape.period)]
    return all(after[0] <= before[1] + longer + 1 for before, after in pairs if before and after)


@given(local, st.integers(1, 5))
def test_the_least_size_at_which_outputs_leave_nothing_out_between(window, apart):
    shape = Shape(shape_and_ends(window)[0])
    least = shape.least(apart)
    if shape.period > 1 and not shape.window.regular:
        assert least == inf
    else:
        assert leaves_nothing_out(shape, least, apart)
        assert not leaves_nothing_out(shape, least - 1, apart)
    assert shape.least(inf) == inf


def test_what_reads_the_whole_axis_leaves_nothing_out():
    assert WHOLE.least(3) == WHOLE.least(inf) == 0


@given(local)
def test_a_field_is_its_shape_and_its_ends(window):
    of_shape, first, last = shape_and_ends(window)
    shape = Shape(of_shape)
    assert shape.placed(-first, last) == window
    assert ends(of_shape, shape.leading) == (0, 0)
    assert shape.repeats == any(ends(window, y) == ends(window, y + 1) for y in range(window.period))


@settings(max_examples=100)
@given(local, local)
def test_what_covers_two_fields_is_led_by_whichever_reads_first(one, other):
    (of_one, first, last), (of_other, start, end) = shape_and_ends(one), shape_and_ends(other)
    shapes = Shape(of_one), Shape(of_other)
    window, leads = covering(*shapes, start - first, last - end)
    leading = [shape.leading for shape in shapes]
    assert leads == (2 if leading[0] == leading[1] else leading.index(min(leading)))
    if one.stride == other.stride:
        hull = one.hull(other)
        assert Shape(window).placed(-start, end) == hull
        assert ends(hull, min(leading)) == (
            (start, end) if leads == 1 else (first, last) if not leads else (min(first, start), max(last, end))
        )


@given(st.tuples(*[st.integers(-9, 9)] * 6), st.integers(-9, 9), st.integers(-9, 9))
def test_branches_that_move_along_with_their_fork_are_seen_from_it_as_before(drawn, by, more):
    *branches, before, last = drawn
    shape = Shape(Window(1))
    moved = [end + shift for end, shift in zip(branches, (by, more) * 2, strict=True)]
    seen = Apart(0, 0, 1, shape, *branches).seen_from(before, last)
    assert Apart(0, 0, 1, shape, *moved).seen_from(before + by, last + more) == seen


@pytest.mark.parametrize(("kernel", "sides", "is_walked"), [(2, 3, True), (1, 2, True), (1, 3, False)])
def test_three_branches_of_which_one_reads_nothing_at_some_outputs_are_left_to_the_general_passes(
    kernel, sides, is_walked
):
    """A kernel of 1 leaves every other position empty; moved by one, it is the other half of them."""
    net = Network("spread", axes=1)
    up = net.conv_transpose("up", net.input("x"), kernel=kernel, stride=2)
    net.add("add", *(net.pad(f"moved{by}", up, padding=[[by, -by]]) for by in range(sides)))
    assert (solve(net.graph) is not None) == is_walked
    assert rfgraph.analyze(net)["add"].status == "exact"
