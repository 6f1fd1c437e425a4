"""The laws of the window algebra, and its special members."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import plain_windows, strides, windows

from rfgraph import EMPTY, FULL, IDENTITY, Window
from rfgraph.algebra.window import MAX_PERIOD
from rfgraph.errors import UnboundedError, UnknownFieldError

UNKNOWN = Window.unknown("a test")
special = st.sampled_from([IDENTITY, FULL, EMPTY, UNKNOWN])
any_window = st.one_of(windows(), windows(), special)


@given(any_window)
def test_identity_is_neutral(window):
    assert IDENTITY.through(window) == window
    assert window.through(IDENTITY) == window


@given(any_window)
def test_full_absorbs_all_that_reads(window):
    assume(not window.is_empty)
    assert FULL.through(window) == window.through(FULL) == FULL
    assert FULL.hull(window) == window.hull(FULL) == FULL


@given(any_window)
def test_empty_is_neutral_for_hull_and_absorbs_through(window):
    assert EMPTY.hull(window) == window.hull(EMPTY) == window
    assert EMPTY.through(window) == window.through(EMPTY) == EMPTY


@given(any_window, any_window)
def test_hull_is_commutative(a, b):
    assert a.hull(b) == b.hull(a)
    assert a.hull(b).status == b.hull(a).status


@given(st.one_of(windows(), special), st.one_of(windows(), special), st.one_of(windows(), special))
def test_hull_is_associative(a, b, c):
    assert a.hull(b).hull(c) == a.hull(b.hull(c))


@given(strides, st.data())
def test_hull_is_associative_where_strides_agree(stride, data):
    a, b, c = (data.draw(windows(stride=stride)) for _ in range(3))
    assert a.hull(b).hull(c) == a.hull(b.hull(c))
    assert a.hull(b).is_local or (a.is_empty and b.is_empty)


@given(any_window)
def test_hull_is_idempotent(window):
    assert window.hull(window) == window
    assert window.hull(window).holes == window.holes


@given(strides, st.data(), st.integers(-9, 9))
def test_hull_is_the_smallest_interval_phase_by_phase(stride, data, y):
    a, b = data.draw(windows(stride=stride)), data.draw(windows(stride=stride))
    ends = [interval for interval in (a.interval(y), b.interval(y)) if interval is not None]
    expected = (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None
    assert a.hull(b).interval(y) == expected


@given(windows(regular=True), windows(regular=True), windows(regular=True))
def test_through_is_associative_for_regular_windows(a, b, c):
    assert a.through(b).through(c) == a.through(b.through(c))


@given(strides, st.data())
def test_through_distributes_over_hull_for_regular_windows(stride, data):
    outer = data.draw(windows(regular=True))
    a, b = data.draw(windows(regular=True, stride=stride)), data.draw(windows(regular=True, stride=stride))
    assert outer.through(a.hull(b)) == outer.through(a).hull(outer.through(b))
    inner = data.draw(windows(regular=True))
    assert a.hull(b).through(inner) == a.through(inner).hull(b.through(inner))


@given(windows(), windows(), st.integers(-9, 9))
def test_through_is_the_least_and_greatest_of_what_is_read(outer, inner, y):
    between = outer.interval(y)
    read = [] if between is None else [inner.interval(i) for i in range(between[0], between[1] + 1)]
    ends = [interval for interval in read if interval is not None]
    expected = (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None
    assert outer.through(inner).interval(y) == expected


@given(plain_windows, plain_windows)
def test_plain_windows_obey_the_articles_recurrences(outer, inner):
    k, s, p = outer.size, outer.stride, outer.padding
    both = outer.through(inner)
    assert both.size == inner.stride * (k - 1) + inner.size
    assert both.stride == inner.stride * s
    assert both.padding == inner.stride * p + inner.padding


@given(any_window)
def test_repr_rebuilds_the_window(window):
    again = eval(repr(window))
    assert again == window
    assert (again.holes, again.exact, again.why) == (window.holes, window.exact, window.why)


@given(windows(), st.integers(1, 4))
def test_the_period_is_the_least(window, times):
    assume(window.is_local)
    unrolled = tuple(window.interval(y) for y in range(window.period * times))
    again = Window.periodic(unrolled, window.step * times)
    assert again == window
    assert again.period == window.period


@given(windows(), st.integers(-20, 20))
def test_a_window_repeats_after_its_period(window, y):
    assume(window.is_local)
    here, there = window.interval(y), window.interval(y + window.period)
    assert (here is None) == (there is None)
    if here is not None and there is not None:
        assert (there[0] - here[0], there[1] - here[1]) == (window.step, window.step)


def test_centres_and_starts_of_alexnets_first_layer():
    conv1 = Window(size=11, stride=4)
    assert (conv1.center, conv1.center2, conv1.start) == (5, 10, Fraction(11, 2))


def test_numbers_of_upsampling_are_fractions():
    up = Window.periodic(((0, 0), (0, 0)), step=1)
    assert up.stride == Fraction(1, 2)
    assert up.mean_center == Fraction(-1, 4)
    assert (up.size, up.padding, up.center) == (1, 0, 0)


def test_a_first_phase_that_reads_nothing_takes_its_padding_from_the_next():
    window = Window.periodic((None, (3, 4)), step=2)
    assert (window.size, window.padding, window.center) == (2, -2, Fraction(5, 2))


@pytest.mark.parametrize("number", ["size", "stride", "padding", "center", "start", "mean_center"])
def test_special_windows_have_no_numbers(number):
    with pytest.raises(UnboundedError, match="reads the whole axis"):
        getattr(FULL, number)
    with pytest.raises(UnknownFieldError, match="not known: a test"):
        getattr(UNKNOWN, number)
    with pytest.raises(UnknownFieldError, match="reads nothing"):
        getattr(EMPTY, number)


def test_drifting_strides_say_so():
    drift = Window(1, 2).hull(Window(1, 3))
    assert drift.status == "unknown"
    assert drift.why == "paths of strides 2 and 3 drift apart"


def test_periods_are_bounded():
    up = Window.periodic(((0, 0),) * 1009, step=1)
    assert (
        up.through(up).why
        == f"the window repeats only after {1009 * 1009} outputs, more than the {MAX_PERIOD} followed"
    )
    other = Window.periodic(tuple((y, y + y % 2) for y in range(1013)), step=1013)
    many = Window.periodic(tuple((y, y + y % 3) for y in range(1009)), step=1009)
    assert "repeats only after" in other.hull(many).why


def test_a_skipped_position_at_an_irregular_window_gives_a_bound():
    dilated = Window(3, holes=True)
    sparse = Window.periodic(((0, 0), None), step=1)
    assert dilated.through(sparse).status == "bound"
    assert dilated.through(sparse).why
    assert Window(3).through(sparse).status == "exact"


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (3, 0), (-1, 1)])
def test_windows_without_size_or_stride_are_refused(size, stride):
    with pytest.raises(ValueError, match="size >= 1 and stride >= 1"):
        Window(size, stride)


@pytest.mark.parametrize(("intervals", "step"), [((), 1), (((0, 0),), 0)])
def test_periodic_windows_without_phases_or_step_are_refused(intervals, step):
    with pytest.raises(ValueError, match="step >= 1 and a phase"):
        Window.periodic(intervals, step)
