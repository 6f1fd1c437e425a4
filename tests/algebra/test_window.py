"""The laws of the window algebra, and its special members."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import one_sided, plain_windows, strides, windows

from rfgraph import EMPTY, FULL, IDENTITY, Window
from rfgraph.algebra.window import FUTURE, MAX_PERIOD, MAY_NOT_REACH, PAST, composed
from rfgraph.errors import UnboundedError, UnknownFieldError

UNKNOWN = Window.unknown("a test")
special = st.sampled_from([IDENTITY, FULL, EMPTY, UNKNOWN, PAST, FUTURE, FULL.at_most("a test")])
any_window = st.one_of(windows(), windows(), one_sided(), special)


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


@given(any_window, any_window, any_window)
def test_windows_are_composed_from_the_last(a, b, c):
    assert composed([a, b, c]) == a.through(b.through(c))


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


def test_small_windows_obey_the_recurrences_all_of_them():
    small = [Window(size, stride, padding) for size in (1, 2) for stride in (1, 2, 3) for padding in (-1, 0, 1)]
    for outer, inner in product(small, small):
        size = (outer.size - 1) * inner.stride + inner.size
        stride, padding = outer.stride * inner.stride, outer.padding * inner.stride + inner.padding
        assert outer.through(inner) == Window(size, stride, padding)


@given(windows().filter(lambda window: window.is_local))
def test_reach_and_mean_centre_are_those_of_the_intervals(window):
    read = [(y * window.stride, window.interval(y)) for y in range(window.period)]
    read = [(at, interval) for at, interval in read if interval is not None]
    assert window.reach == (max(at - first for at, (first, _) in read), max(last - at for at, (_, last) in read))
    centers = [Fraction(first + last, 2) - at for at, (first, last) in read]
    assert window.mean_center == sum(centers) / Fraction(len(centers))


@pytest.mark.parametrize(
    ("window", "holes", "spacing"),
    [
        (Window(5), False, 1),
        (Window(5, spacing=2), True, 2),
        (Window(5, holes=True), True, 0),
        (Window(5, holes=True, spacing=2), True, 2),
    ],
    ids=repr,
)
def test_taps_that_lie_apart_leave_holes(window, holes, spacing):
    assert (window.holes, window.spacing) == (holes, spacing)


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


@pytest.mark.parametrize("period", [9, 15, 25, 35, 49, 77])
def test_periods_of_any_factors_are_found_to_be_repeated(period):
    assert Window.periodic(tuple((i, i) for i in range(period)), period) == IDENTITY
    third = tuple(None if i % 3 else (i, i + 1) for i in range(3 * period))
    assert Window.periodic(third, 3 * period) == Window.periodic(((0, 1), None, None), 3)


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


END = 400  # an axis that goes from -END to END, far beyond what windows of the strategies reach from near 0


def listed(window, y):
    """The positions that output ``y`` reads on the axis from -END to END."""
    ends = window.ends(y)
    if ends is None:
        return set()
    first, last = ends
    return set(range(-END if first is None else first, (END if last is None else last) + 1))


@given(st.one_of(windows(), one_sided()), st.one_of(windows(), one_sided()), st.integers(-6, 6))
def test_one_sided_windows_are_composed_as_sets_of_positions(outer, inner, y):
    """The side that no end bounds is read as far as the axis goes; the other end is that of the union."""
    between = sorted(i for i in listed(outer, y) if abs(i) <= 60)
    read = set().union(*(listed(inner, i) for i in between))
    composed = outer.through(inner)
    sides = {window.side for window in (outer, inner) if not window.is_empty} - {""}
    if outer.is_empty or inner.is_empty or composed.is_empty:
        assert composed.is_empty
        assert not read
        return
    assert composed.side == ("both" if len(sides) > 1 else sides.pop() if sides else "")
    assert composed.exact
    if composed.side in ("past", "future"):
        ends = composed.ends(y)
        assert (ends is None) == (not read)
        if ends is not None:
            assert ends == ((None, max(read)) if composed.side == "past" else (min(read), None))


@given(strides, st.data(), st.integers(-6, 6))
def test_the_hull_of_one_sided_windows_covers_both(stride, data, y):
    a = data.draw(one_sided(stride=stride))
    b = data.draw(st.one_of(windows(stride=stride), one_sided(stride=stride)))
    hull = a.hull(b)
    assert listed(hull, y) >= listed(a, y) | listed(b, y)
    if hull.exact:
        assert listed(hull, y) == listed(a, y) | listed(b, y) or b.side in ("", a.side) or hull.is_full
    if hull.side == a.side != "":
        read = listed(a, y) | listed(b, y)
        assert (hull.ends(y) is None) == (not read)
        if read:
            assert hull.ends(y) == ((None, max(read)) if a.side == "past" else (min(read), None))


@given(*[st.one_of(windows(regular=True), one_sided(regular=True), st.just(FULL))] * 3)
def test_through_is_associative_for_regular_windows_of_any_side(a, b, c):
    assert a.through(b).through(c) == a.through(b.through(c))


@given(strides, st.data())
def test_through_distributes_over_hull_for_regular_windows_of_any_side(stride, data):
    sides = st.one_of(windows(regular=True, stride=stride), one_sided(regular=True, stride=stride))
    outer = data.draw(st.one_of(windows(regular=True), one_sided(regular=True)))
    a, b = data.draw(sides), data.draw(sides)
    assert outer.through(a.hull(b)) == outer.through(a).hull(outer.through(b))


@given(any_window)
def test_what_reads_at_most_a_window_says_so(window):
    bound = window.at_most("a mask")
    assert bound == window
    assert bound.status == ("exact" if window.is_empty else "unknown" if window.is_unknown else "bound")
    if window.is_local:
        assert Window(3).through(bound).status == bound.through(Window(3)).status == "bound"


def test_a_doubt_on_either_side_is_a_doubt_about_the_hull_of_one_sided_windows():
    sure, bound = Window.past((0,), 1), Window.past((3,), 1).at_most("a mask")
    for hull in (sure.hull(bound), bound.hull(sure)):
        assert (hull, hull.exact, hull.why) == (Window.past((3,), 1), False, "a mask")
    assert PAST.hull(Window(3)).exact


def test_a_read_of_all_outputs_is_one_of_the_whole_axis_only_if_these_are_known_to_reach_its_ends():
    for inner in (Window(3), Window(1, 2), Window(1, padding=1), Window.past((1,), 1)):
        assert (FULL.through(inner).exact, FULL.through(inner).why) == (False, MAY_NOT_REACH)
    for inner in (IDENTITY, FULL, PAST, FUTURE):
        assert FULL.through(inner).exact
    for outer in (Window(3), Window(1, 2), PAST, FUTURE):
        assert outer.through(FULL).exact


def test_windows_whose_ends_go_backward_are_composed_over_all_taps():
    inner = Window.periodic(((0, 5), (1, 2)), step=2)
    assert Window(2).through(inner) == Window.periodic(((0, 5), (1, 7)), step=2)
    assert Window(3, stride=3).through(inner) == Window.periodic(((0, 7), (3, 9)), step=6)
    assert Window(3, spacing=2).through(inner) == Window.periodic(((0, 7), (1, 4)), step=2)


def test_the_past_beside_the_future_is_everything():
    assert PAST.hull(FUTURE) == PAST.through(FUTURE) == FULL
    assert PAST.hull(FUTURE).status == "exact"


def test_a_past_whose_end_is_not_known_is_at_most_everything():
    for window in (PAST.through(UNKNOWN), UNKNOWN.through(PAST), PAST.hull(UNKNOWN), FULL.through(UNKNOWN)):
        assert (window, window.status, window.why) == (FULL, "bound", "a test")
    drift = Window.past((0,), 2).hull(Window(3))
    assert (drift, drift.status, drift.why) == (FULL, "bound", "paths of strides 1 and 2 drift apart")


def test_outputs_of_which_only_some_read_the_past_are_a_bound():
    mixed = PAST.hull(Window(1))
    assert (mixed, mixed.status) == (PAST, "exact")
    some = Window.past((0, None), 2).hull(Window.periodic((None, (5, 6)), 2))
    assert (some, some.status) == (Window.past((0, 6), 2), "bound")
    assert some.why == "some outputs read all of the past, and others do not"


def test_one_sided_windows_have_a_stride_and_no_size():
    assert Window.past((3,), 2).stride == 2
    with pytest.raises(UnboundedError, match="reads all of the past; it has one end only"):
        _ = PAST.size
    with pytest.raises(UnboundedError, match="reads all of the future"):
        FUTURE.interval(0)


def test_one_sided_constants_begin_and_end_at_their_own_index():
    assert [PAST.ends(y) for y in (0, 5)] == [(None, 0), (None, 5)]
    assert [FUTURE.ends(y) for y in (0, 5)] == [(0, None), (5, None)]


def test_an_end_that_goes_backward_makes_a_window_irregular():
    assert Window.periodic(((0, 3), (1, 3)), 2).regular
    assert not Window.periodic(((0, 3), (1, 2)), 2).regular
    assert not Window.periodic(((1, 2), (0, 3)), 2).regular


def test_a_gap_of_one_position_is_a_hole():
    assert Window(2).through(Window(1, stride=2)).holes
    assert not Window(1).through(Window(1, stride=2)).holes
    assert not Window(2).through(Window(2, stride=2)).holes


def test_holes_inside_a_solid_window_are_filled():
    solid, dilated = Window(5, padding=2), Window(3, padding=1, holes=True)
    assert not solid.hull(dilated).holes
    assert not dilated.hull(solid).holes
    assert solid.hull(Window(3, padding=-4)).holes


@st.composite
def read_sets(draw, stride=None):
    """Draw a window, and the positions that its outputs read: evenly apart, or some of those that it bounds."""
    if stride is None:
        period, step = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    else:
        period, step = stride.denominator, stride.numerator
    apart = draw(st.sampled_from([0, 1, 1, 2, 3]))
    phases = []
    for _ in range(period):
        first, count = draw(st.integers(0, 4)), draw(st.integers(0, 3))
        some = st.sets(st.integers(first, first + 4), max_size=4)
        phases.append(draw(some) if not apart else {first + apart * tap for tap in range(count)})
    if not any(phases):
        return EMPTY, lambda y: set()
    holes = any(len(phase) != max(phase) - min(phase) + 1 for phase in phases if phase)
    intervals = tuple((min(phase), max(phase)) if phase else None for phase in phases)
    window = Window.periodic(intervals, step, holes=holes, spacing=apart if holes else 1)
    if draw(st.integers(0, 3)) == 0:
        window = window.at_most("a test")
        phases = [draw(st.sets(st.sampled_from(sorted(phase)))) if phase else phase for phase in phases]
    return window, lambda y: {position + y // period * step for position in phases[y % period]}


def check_read(window, read, outputs):
    """Hold a window against the positions that outputs read."""
    for y in outputs:
        positions, interval = read(y), window.interval(y)
        if window.exact:
            assert interval == ((min(positions), max(positions)) if positions else None)
            assert window.holes or not positions or len(positions) == interval[1] - interval[0] + 1
        elif positions:
            assert interval[0] <= min(positions) <= max(positions) <= interval[1]


@given(read_sets(), read_sets())
def test_what_windows_say_of_the_positions_that_are_read_through_both_is_true(outer, inner):
    (window, between), (below, source) = outer, inner
    check_read(window.through(below), lambda y: set().union(*map(source, between(y))), range(-4, 9))


@given(strides, st.data())
def test_what_a_hull_says_of_the_positions_that_are_read_beside_each_other_is_true(stride, data):
    (one, left), (other, right) = data.draw(read_sets(stride=stride)), data.draw(read_sets(stride=stride))
    check_read(one.hull(other), lambda y: left(y) | right(y), range(-4, 9))


@pytest.mark.parametrize(("gap", "holes"), [(-1, False), (0, False), (1, True), (2, True)])
def test_windows_side_by_side_leave_a_hole_if_a_position_lies_between_them(gap, holes):
    one, other = Window(2), Window(3, padding=-2 - gap)
    assert one.hull(other) == other.hull(one) == Window(5 + gap)
    assert one.hull(other).holes == other.hull(one).holes == holes


def test_the_hull_of_bounds_tells_the_first_reason_and_that_of_a_bound_inside_what_is_read_none():
    wide, one, other = Window(5, padding=1), Window(3).at_most("one"), Window(3, padding=1).at_most("other")
    assert [(a.hull(b).exact, a.hull(b).why) for a, b in ((wide, one), (one, wide))] == [(True, "")] * 2
    assert [(a.hull(b).exact, a.hull(b).why) for a, b in ((one, other), (other, one))] == [
        (False, "one"),
        (False, "other"),
    ]
    assert (Window(2).hull(one).exact, Window(2).hull(one).why, one.hull(one).exact) == (False, "one", False)
