"""Sets of positions along one axis, as small for billions of positions as for a few.

A set is kept by residue: of modulus ``m``, position ``m * turn + residue`` belongs to it for every turn in the sorted
intervals of that residue. Modulus 1 is a union of intervals; every second position of an axis is one interval of
modulus 2. Strides, dilations and phases of upsampling turn such sets into such sets, exactly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from math import gcd, lcm

from rfgraph.algebra.window import Interval
from rfgraph.frozen import dataclass

#: Sets of more intervals than this are not followed.
MAX_RUNS = 1 << 13

#: Positions that are kept one by one, beside one long interval, rather than by residue.
FEW = 64

Turns = tuple[Interval, ...]  # sorted closed intervals with gaps between them


class TooManyRunsError(Exception):
    """A set would need more than ``MAX_RUNS`` intervals; whoever asked answers with a bound instead."""


@dataclass(frozen=True)
class Runs:
    """A set of positions that is not empty.

    Examples
    --------
    >>> even = Runs.of(0, 2 * 10**9).scaled(2)
    >>> even.first, even.last, even.count
    (0, 4000000000, 2000000001)
    >>> list(even.swept(1, 2))
    [(0, 4000000001)]
    """

    modulus: int
    turns: Mapping[int, Turns]  # residue -> turns, for residues that have any

    @classmethod
    def of(cls, first: int, last: int) -> Runs:
        """Return all positions of a closed interval."""
        return cls(1, {0: ((first, last),)})

    def __iter__(self) -> Iterator[Interval]:
        """Yield the intervals of positions that it is made of, in ascending order, with gaps between them."""
        m = self.modulus
        if m == 1:
            yield from self.turns[0]
            return
        every = ((m * q + r, m * q + r) for r, turns in self.turns.items() for a, b in turns for q in range(a, b + 1))
        yield from _merged(every)

    @property
    def first(self) -> int:
        """The least position."""
        return self.turns[0][0][0] if self.modulus == 1 else self._ends[0]

    @property
    def last(self) -> int:
        """The greatest position."""
        return self.turns[0][-1][1] if self.modulus == 1 else self._ends[1]

    @cached_property
    def _ends(self) -> Interval:
        return (
            min(self.modulus * turns[0][0] + residue for residue, turns in self.turns.items()),
            max(self.modulus * turns[-1][1] + residue for residue, turns in self.turns.items()),
        )

    @property
    def count(self) -> int:
        """How many positions there are."""
        return sum(b - a + 1 for turns in self.turns.values() for a, b in turns)

    @property
    def is_interval(self) -> bool:
        """Whether it has no holes that are told apart."""
        return self.modulus == 1 and len(self.turns[0]) == 1

    @property
    def hull(self) -> Runs:
        """The interval from the least position to the greatest."""
        return Runs.of(self.first, self.last)

    def covers(self, other: Runs) -> bool:
        """Return whether every position of ``other`` belongs to it; ``False`` too where that is not followed."""
        if self.first > other.first or self.last < other.last:
            return False
        modulus = lcm(self.modulus, other.modulus)
        try:
            mine, others = self._refined(modulus), other._refined(modulus)
        except TooManyRunsError:
            return False
        return all(residue in mine and _inside(turns, mine[residue]) for residue, turns in others.items())

    def scaled(self, times: int, plus: int = 0) -> Runs:
        """Return ``times * x + plus`` of every position ``x``; ``times`` is positive, or -1."""
        m, moved = self.modulus * abs(times), {}
        for residue, turns in self.turns.items():
            shift, at = divmod(times * residue + plus, m)
            if times > 0:
                moved[at] = tuple((a + shift, b + shift) for a, b in turns)
            else:
                moved[at] = tuple((shift - b, shift - a) for a, b in reversed(turns))
        return _simplest(m, moved)

    def clipped(self, first: int, last: int) -> Runs | None:
        """Return its positions from ``first`` to ``last``, ``None`` if there are none."""
        if first <= self.first and self.last <= last:
            return self
        if self.is_interval:
            first, last = max(first, self.first), min(last, self.last)
            return Runs.of(first, last) if first <= last else None
        m, kept = self.modulus, {}
        for residue, turns in self.turns.items():
            low, high = -((residue - first) // m), (last - residue) // m
            inside = tuple((max(a, low), min(b, high)) for a, b in turns if a <= high and b >= low and low <= high)
            if inside:
                kept[residue] = inside
        return _simplest(m, kept) if kept else None

    def phases(self, period: int) -> dict[int, Runs]:
        """Return the turns of its positions ``period * turn + phase`` for every phase that has any."""
        if period == 1:
            return {0: self}
        modulus = lcm(self.modulus, period)
        turns: dict[int, dict[int, Turns]] = {}
        for residue, some in self._refined(modulus).items():
            turns.setdefault(residue % period, {})[residue // period] = some
        return {phase: _simplest(modulus // period, some) for phase, some in turns.items()}

    def swept(self, step: int, count: int) -> Runs:
        """Return the positions that lie 0, 1, ... or ``count - 1`` times ``step`` after one of its own."""
        reach = step * (count - 1)
        if self.modulus == 1 and all(b - a + 1 >= step for a, b in self.turns[0]):
            return Runs(1, {0: tuple(_merged((a, b + reach) for a, b in self.turns[0]))})
        if count <= FEW:
            return united(self.scaled(1, step * shift) for shift in range(count))
        modulus = lcm(self.modulus, step)
        groups = min(count, modulus // step)  # of shifts that lead to the same residue
        if groups > MAX_RUNS:
            raise TooManyRunsError
        refined, moved = self._refined(modulus), []
        for group in range(groups):
            longer = (count - group - 1) // groups
            turns = {residue: tuple(_merged((a, b + longer) for a, b in some)) for residue, some in refined.items()}
            moved.append(Runs(modulus, turns).scaled(1, group * step))
        return united(moved)

    def folded(self, length: int) -> Runs:
        """Return its positions modulo ``length``."""
        begin, end = self.first // length, self.last // length
        if end - begin < FEW:
            parts = ((n, self.clipped(n * length, (n + 1) * length - 1)) for n in range(begin, end + 1))
            return united(part.scaled(1, -n * length) for n, part in parts if part is not None)
        every = gcd(self.modulus, length)  # enough turns of one residue come to every such position
        pieces: list[Runs] = []
        for residue, turns in self.turns.items():
            for a, b in turns:
                if b - a + 1 >= length // every:
                    pieces.append(_progression(residue % every, every, length // every))
                elif b - a < MAX_RUNS:
                    places = sorted({(self.modulus * turn + residue) % length for turn in range(a, b + 1)})
                    pieces += [Runs.of(place, place) for place in places]
                else:
                    raise TooManyRunsError
        return united(pieces)

    def at_ends(self, turns: int) -> Iterator[int]:
        """Yield the first and the last ``turns`` positions of each of its intervals."""
        for residue, intervals in self.turns.items():
            for a, b in intervals:
                for turn in (*range(a, min(b + 1, a + turns)), *range(max(a + turns, b + 1 - turns), b + 1)):
                    yield self.modulus * turn + residue

    def _refined(self, modulus: int) -> Mapping[int, Turns]:
        """Return its turns by residue of a multiple of its modulus."""
        parts = modulus // self.modulus
        if parts == 1:
            return self.turns
        refined: dict[int, list[Interval]] = {}
        runs = 0
        for residue, turns in self.turns.items():
            for a, b in turns:
                runs += min(parts, b - a + 1)
                if runs > MAX_RUNS:
                    raise TooManyRunsError
                for turn in range(a, min(a + parts, b + 1)):
                    high, part = divmod(turn, parts)
                    refined.setdefault(part * self.modulus + residue, []).append((high, high + (b - turn) // parts))
        return {residue: tuple(_merged(turns)) for residue, turns in refined.items()}


def united(sets: Iterable[Runs]) -> Runs:
    """Return the positions that belong to any of ``sets``, of which there is at least one.

    Raises
    ------
    TooManyRunsError
        If that needs more than ``MAX_RUNS`` intervals.
    """
    parts = list(sets)
    if len(parts) == 1:
        return parts[0]
    modulus = lcm(*(part.modulus for part in parts))
    turns: dict[int, list[Interval]] = {}
    for part in parts:
        for residue, some in part._refined(modulus).items():
            turns.setdefault(residue, []).extend(some)
    return _simplest(modulus, {residue: tuple(_merged(some)) for residue, some in turns.items()})


def _progression(first: int, step: int, count: int) -> Runs:
    turn, residue = divmod(first, step)
    return _simplest(step, {residue: ((turn, turn + count - 1),)})


def _simplest(modulus: int, turns: Mapping[int, Turns]) -> Runs:
    """Return a set by modulus 1 where that takes few intervals: it has few positions, or few outside one interval."""
    runs = Runs(modulus, turns)
    if sum(map(len, turns.values())) > MAX_RUNS:
        raise TooManyRunsError
    if modulus == 1:
        return runs
    outside, core = runs.count, None
    if len(turns) == modulus:  # from where on, and up to where, each residue has all of its turns
        longest = {residue: max(some, key=lambda ends: ends[1] - ends[0]) for residue, some in turns.items()}
        first = max(modulus * a + residue for residue, (a, _) in longest.items()) - modulus + 1
        last = min(modulus * b + residue for residue, (_, b) in longest.items()) + modulus - 1
        if first <= last:
            core, outside = (first, last), outside - (last - first + 1)
    if outside > max(FEW, min(4 * modulus, MAX_RUNS)):
        return runs
    intervals = [] if core is None else [core]
    for residue, some in turns.items():
        for a, b in some:
            begin = b + 1 if core is None else -((residue - core[0]) // modulus)
            end = b if core is None else (core[1] - residue) // modulus
            for turn in (*range(a, min(b + 1, begin)), *range(max(a, end + 1), b + 1)):
                intervals.append((modulus * turn + residue, modulus * turn + residue))
    merged = tuple(_merged(intervals))
    return Runs(1, {0: merged}) if core is not None or len(merged) <= max(FEW, len(turns)) else runs


def _inside(some: Turns, others: Turns) -> bool:
    """Return whether each of ``some`` intervals lies in one of ``others``."""
    firsts = [first for first, _ in others]
    places = ((bisect_right(firsts, first) - 1, last) for first, last in some)
    return all(place >= 0 and last <= others[place][1] for place, last in places)


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return intervals sorted, and joined where there is no gap between them."""
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged
