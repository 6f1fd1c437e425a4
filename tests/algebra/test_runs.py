"""Runs of positions against plain sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfgraph.algebra import runs
from rfgraph.algebra.runs import Runs, TooManyRunsError, united
from rfgraph.ops.base import at_border, runs_at_border

STEPS = st.integers(1, 7)
INTERVALS = st.tuples(st.integers(-40, 40), st.integers(0, 90)).map(lambda pair: Runs.of(pair[0], sum(pair)))


@st.composite
def drawn(draw):
    """A set made by a few strides, dilations and unions, with those that stand for them."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        part = draw(INTERVALS)
        for _ in range(draw(st.integers(0, 2))):
            part = part.scaled(draw(STEPS), draw(st.integers(-9, 9))).swept(draw(STEPS), draw(st.integers(1, 4)))
        parts.append(part)
    return united(parts)


def positions(part):
    """The positions of a set, one by one, by its definition."""
    if part is None:
        return set()
    return {
        part.modulus * turn + residue
        for residue, turns in part.turns.items()
        for first, last in turns
        for turn in range(first, last + 1)
    }


@given(drawn(), drawn())
def test_unions_and_what_is_told_of_a_set(one, other):
    mine, others = positions(one), positions(other)
    assert positions(united([one, other])) == mine | others
    assert (one.first, one.last, one.count) == (min(mine), max(mine), len(mine))
    assert {x for first, last in one for x in range(first, last + 1)} == mine
    assert all(a[1] + 1 < b[0] for a, b in zip(list(one), list(one)[1:], strict=False))
    assert one.covers(other) == (others <= mine)
    assert united([one, other]).covers(one)
    assert positions(one.hull) == set(range(min(mine), max(mine) + 1))
    assert not one.is_interval or one.count == one.last - one.first + 1


@given(drawn(), STEPS, st.integers(-20, 20), st.integers(1, 100))
def test_steps_and_sweeps(part, step, plus, count):
    mine = positions(part)
    assert positions(part.scaled(step, plus)) == {step * x + plus for x in mine}
    assert positions(part.scaled(-1, plus)) == {plus - x for x in mine}
    assert positions(part.swept(step, count)) == {x + step * i for x in mine for i in range(count)}


@given(drawn(), st.integers(1, 9))
def test_phases_and_ends(part, period):
    mine = positions(part)
    phases = part.phases(period)
    assert {phase: positions(turns) for phase, turns in phases.items()} == {
        phase: {x // period for x in mine if x % period == phase} for phase in {x % period for x in mine}
    }
    ends = set(part.at_ends(period))
    assert ends <= mine
    for phase in {x % period for x in mine}:
        of_phase = [x for x in mine if x % period == phase]
        assert {min(of_phase), max(of_phase)} <= ends


@given(drawn(), st.integers(-60, 200), st.integers(0, 80), st.integers(1, 90))
def test_what_is_cut_and_what_is_folded(part, first, length, size):
    mine = positions(part)
    assert positions(part.clipped(first, first + length)) == mine & set(range(first, first + length + 1))
    assert positions(part.folded(size)) == {x % size for x in mine}


@given(drawn(), st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap"]), st.integers(1, 12))
def test_sets_beyond_a_border_are_those_of_each_position(part, border, size):
    read = {at_border(border, x, size) for x in positions(part)}
    assert positions(runs_at_border(border, part, size)) == {x for x in read if 0 <= x < size}


def test_billions_of_positions_take_a_few_intervals():
    every = Runs.of(0, 3 * 10**9)
    third = every.scaled(3)
    assert (third.modulus, third.turns) == (3, {0: ((0, 3 * 10**9),)})
    assert united([third, third.scaled(1, 1), third.scaled(1, 2)]) == Runs.of(0, 9 * 10**9 + 2)
    assert third.swept(2, 3).swept(1, 2).covers(Runs.of(2, 9 * 10**9))
    assert every.swept(10**6, 3) == Runs.of(0, 3 * 10**9 + 2 * 10**6)
    assert list(runs_at_border("reflect", Runs.of(-(10**9), 5), 10**10)) == [(0, 10**9)]
    assert list(third.folded(10**6)) == [(0, 10**6 - 1)]


def test_more_holes_than_are_followed_are_said(monkeypatch):
    monkeypatch.setattr(runs, "MAX_RUNS", 100)
    third, sparse = Runs.of(0, 10**6).scaled(3), Runs.of(0, 10**5).scaled(1000)
    with pytest.raises(TooManyRunsError):
        united([third, sparse])
    with pytest.raises(TooManyRunsError):
        third.swept(999, 1000)
    with pytest.raises(TooManyRunsError):
        third.phases(1000)
    with pytest.raises(TooManyRunsError):
        sparse.folded(10**6 - 1)
    assert not third.covers(sparse)


@pytest.mark.parametrize("length", [7, 10, 90])
@pytest.mark.parametrize("step", [640, 1001])
def test_a_few_positions_far_apart_are_folded_one_by_one(step, length):
    part = united([Runs.of(0, 5).scaled(step, 3), Runs.of(9, 12).scaled(step, 3)])
    assert positions(part.folded(length)) == {x % length for x in positions(part)}
