"""Windows by residue, one operation at a time: at each residue they are what the window algebra says there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfgraph import Window
from rfgraph.algebra.window import EMPTY
from rfgraph.passes.by_size import WindowBySize, _hull, _through

MODULUS = 3
ALL = slice(None)


def same_turn(draw, period, step, why=""):
    """Draw a window of one period and step, any phases of which may be empty, but not all; a bound with a reason."""
    apart = draw(st.sampled_from([0, 1, 1, 2, 3]))  # 0: some of an interval
    phase = st.builds(lambda first, taps: (first, first + (apart or 1) * taps), st.integers(-6, 6), st.integers(0, 4))
    phases = draw(st.lists(st.one_of(phase, phase, st.none()), min_size=period, max_size=period).filter(any))
    window = Window.periodic(tuple(phases), step, holes=apart != 1, spacing=apart)
    return window.at_most(why) if why and draw(st.integers(0, 3)) == 0 else window


def by_residue(windows, period=1, step=1):
    """Return the windows of each residue as one, which repeats after ``period`` outputs by ``step`` inputs."""
    pairs = [[window.interval(y) for y in range(period)] for window in windows]
    ends = np.array([[pair or (0, 0) for pair in row] for row in pairs], dtype=np.int64)
    reads = np.array([[pair is not None for pair in row] for row in pairs])
    holes, exact = any(window.holes for window in windows), all(window.exact for window in windows)
    why = next((window.why for window in windows if window.why), "")
    return WindowBySize(step, ends[..., 0], ends[..., 1], reads, holes, exact, why)


def repeated(window, period):
    """Return the intervals of a window over ``period`` outputs, and as many before them."""
    return [window.interval(y) for y in range(-period, period)]


@st.composite
def fields(draw, period, step):
    """Draw a window for each residue, and the same as one."""
    windows = [same_turn(draw, period, step, "inner") for _ in range(MODULUS)]
    return windows, by_residue(windows, period, step)


@settings(max_examples=80)
@given(st.data())
def test_what_reads_windows_by_residue_reads_each_of_them(data):
    draw = data.draw
    inner, field = draw(fields(draw(st.integers(1, 3)), draw(st.integers(1, 6))))
    period, step = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    cases = [same_turn(draw, period, step, "outer")]
    rows = [ALL]
    if draw(st.booleans()):
        cases.append(same_turn(draw, period, step, "outer"))
        rows = [np.array([1]), np.array([0, 2])]
    at = {residue: window for where, window in zip(rows, cases, strict=True) for residue in np.arange(MODULUS)[where]}
    made = _through(list(zip(rows, cases, strict=True)), field, MODULUS)
    lost = len({(case.period, case.step) for case in cases}) > 1
    expected = {residue: window.through(inner[residue]) for residue, window in at.items()}
    for residue, window in expected.items():
        told = made.window(residue)
        if told.is_unknown and lost:
            continue
        length = 2 * max(told.period, window.period)
        assert repeated(told, length) == repeated(window, length)
        assert window.exact or not told.exact
        assert told.holes or not window.holes
    if not lost and all(window.exact for window in (*cases, *inner)):
        assert made.exact == all(window.exact for window in expected.values())
        assert bool(made.why) == (not made.exact)


@pytest.mark.parametrize(
    ("inner", "gapped"),
    [
        (Window(2, 5), True), (Window(4, 5), True), (Window(5, 5), False), (Window(6, 5), False),
        (Window.periodic(((0, 1), (4, 5)), 8), True), (Window.periodic(((0, 1), (2, 7)), 8), False),
        (Window.periodic(((0, 1), (2, 6)), 8), True), (Window.periodic(((0, 7), None), 8), True),
    ],
)  # fmt: skip
def test_outputs_that_lie_apart_leave_holes_to_what_reads_several(inner, gapped):
    field = by_residue([inner] * MODULUS, inner.period, inner.step)
    assert field.is_gapped == gapped
    for outer in (Window(1), Window(1, 2, 1), Window(2), Window(3, 2, 1)):
        same = _through([(ALL, outer)], field, MODULUS)
        each = _through([(np.array([0]), outer), (np.array([1, 2]), outer)], field, MODULUS)
        assert same.holes == each.holes == outer.through(inner).holes == (gapped and outer.size > 1)


def test_residues_at_which_a_window_is_unknown_stay_so():
    field = by_residue([Window(3, 1, k) for k in range(3)])
    missing = Window.unknown("not here")
    made = _through([(np.array([1]), Window(2, 2)), (np.array([0, 2]), missing)], field, MODULUS)
    assert [made.window(residue) for residue in range(3)] == [missing, Window(2, 2).through(Window(3, 1, 1)), missing]
    again = _through([(np.array([0, 1]), Window(2, 2)), (np.array([2]), Window(2, 3))], made, MODULUS)
    assert (again.told.tolist(), again.window(0)) == ([False, True, False], missing)


@settings(max_examples=80)
@given(st.data())
def test_hulls_by_residue_are_those_of_each_residue(data):
    draw = data.draw
    step = draw(st.integers(1, 4))
    (one, left), (other, right) = (draw(fields(times, step * times)) for times in (draw(st.integers(1, 2)), 2))
    for a, b, first, second in ((left, right, one, other), (right, left, other, one)):
        made = _hull(a, b, MODULUS)
        for residue in range(MODULUS):
            told, expected = made.window(residue), first[residue].hull(second[residue])
            assert repeated(told, 8) == repeated(expected, 8)
            assert expected.exact or not told.exact
            assert told.holes or not expected.holes


def test_a_hull_that_is_one_of_its_sides_is_that_side():
    wide, narrow = by_residue([Window(5, 1, 2)] * 3), by_residue([Window(3, 1, k) for k in (0, 1, 2)])
    assert _hull(wide, narrow, MODULUS) is wide
    assert _hull(narrow, wide, MODULUS) is wide
    touching = by_residue([Window(3, 1, k) for k in (-3, -3, 2)])
    assert not _hull(by_residue([Window(3, 1, 0)] * 3), touching, MODULUS).holes
    apart = by_residue([Window(3, 1, k) for k in (-4, -3, 2)])
    assert _hull(by_residue([Window(3, 1, 0)] * 3), apart, MODULUS).holes


@pytest.mark.parametrize("window", [Window.unknown("it is not known"), EMPTY])
def test_nothing_is_composed_by_residue_with_what_has_no_numbers(window):
    cases = [(np.array([0]), Window(3, 2, 1)), (np.array([1, 2]), Window(3, 2, 0))]
    assert _through(cases, window, MODULUS) == window
    field = by_residue([Window(3)] * 3)
    assert _hull(field, window, MODULUS) is (field if window is EMPTY else window)


@pytest.mark.parametrize("period", [1, 2])
def test_numbers_beyond_64_bits_are_refused_by_residue(period):
    inner = by_residue([Window.periodic(((0, 0), (1, 1))[:period], 1 << 40)] * 3, period, 1 << 40)
    for last, is_refused in ((1 << 18, False), (1 << 23, True)):
        for cases in ([(ALL, Window(last))], [(np.array([0]), Window(last)), (np.array([1, 2]), Window(last, 1, 1))]):
            assert isinstance(_through(cases, inner, MODULUS), Window) == is_refused
    assert _through([(ALL, Window(1 << 62))], inner, MODULUS).is_unknown
