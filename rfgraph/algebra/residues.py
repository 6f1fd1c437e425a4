"""What depends on the input size by its residue: windows, sizes that work, and how messages say them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import count
from typing import Any

from rfgraph.algebra.window import Window
from rfgraph.errors import UnknownFieldError
from rfgraph.frozen import dataclass

#: What stands at residues of sizes that do not work.
MISFIT = Window.unknown("at this residue of the input size, maps that meet differ in size")


@dataclass(frozen=True)
class BySize:
    """A receptive field that depends on the input size ``n``: on ``n mod modulus``, for every ``n >= smallest``.

    At residues of sizes that do not work, because maps that meet would differ, the window is unknown.
    """

    modulus: int
    windows: tuple[Window, ...]  # [modulus]
    smallest: int

    @property
    def fields(self) -> tuple[Window, ...]:
        """The windows of sizes that work; unknown where they are not the same at all sizes of a residue."""
        return tuple(window for window in self.windows if window is not MISFIT)

    def window(self, input_size: int) -> Window:
        """Return the field at an input size.

        Raises
        ------
        UnknownFieldError
            If the input is smaller than ``smallest``.
        """
        if input_size < self.smallest:
            raise UnknownFieldError(f"input size {input_size} is below {self.smallest}, from which on residues decide")
        return self.windows[input_size % self.modulus]


@dataclass(frozen=True)
class InputSizes:
    """Sizes of an input along one axis: ``n >= smallest`` with ``n mod modulus`` one of ``residues``, and ``also``.

    Those under ``also`` are below ``smallest``, where residues do not decide; without residues there are no others.
    """

    axis: str
    modulus: int
    residues: tuple[int, ...]
    smallest: int
    also: tuple[int, ...] = ()

    def __contains__(self, input_size: int) -> bool:
        by_rule = input_size >= self.smallest and input_size % self.modulus in self.residues
        return by_rule or input_size in self.also

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.residues or self.also)

    def __iter__(self) -> Iterator[int]:
        """All of them, the smallest first; without end where there are residues."""
        yield from self.also
        if self.residues:
            yield from (n for n in count(self.smallest) if n % self.modulus in self.residues)

    def __str__(self) -> str:
        if not self.residues:
            return f"{_listed(self.also)} only" if self.also else "no size"
        rule = f"multiples of {self.modulus}" if self.residues == (0,) else named_residues(self.modulus, self.residues)
        rule = f"any size from {self.smallest}" if self.modulus == 1 else f"{rule}, from {self.smallest}"
        return f"{rule}; also {_listed(self.also)}" if self.also else rule


def shortest_period(values: Sequence[Any]) -> int:
    """Return the least divisor ``d`` of the length with ``values[i] == values[i % d]`` throughout."""
    length = len(values)
    return next(
        d for d in range(1, length + 1) if length % d == 0 and all(values[i] == values[i % d] for i in range(d, length))
    )


def named_residues(modulus: int, residues: Sequence[int]) -> str:
    """Return how messages say that the input size has one of ``residues``: "n mod 16 is 0, 4 or 7 to 9"."""
    said = _runs(residues)
    head, _, tail = said.rpartition(", ")
    return f"n mod {modulus} is {head} or {tail}" if head else f"n mod {modulus} is {said}"


def _runs(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _listed(sizes: Sequence[int]) -> str:
    """Return sizes in words: "7, 8 and 15 to 20"."""
    head, _, tail = _runs(sizes).rpartition(", ")
    return f"{head} and {tail}" if head else tail


@dataclass(frozen=True)
class MapSize:
    """The size of a map for an input of size ``n``: ``slope*n + offsets[n mod modulus]``, for every ``n >= smallest``.

    An offset is ``None`` where the network does not work; ``unchanged`` are input sizes at which the map is as large.
    """

    slope: Fraction
    offsets: tuple[Fraction | None, ...]  # [modulus]
    smallest: int
    unchanged: InputSizes

    @property
    def modulus(self) -> int:
        """After how many input sizes the rule repeats."""
        return len(self.offsets)

    def size(self, input_size: int) -> int | None:
        """Return the size at an input size, ``None`` where the network does not work or it is below ``smallest``."""
        offset = self.offsets[input_size % self.modulus]
        return None if offset is None or input_size < self.smallest else int(self.slope * input_size + offset)

    def __str__(self) -> str:
        cases: dict[Fraction, list[int]] = {}
        for residue, offset in enumerate(self.offsets):
            if offset is not None:
                cases.setdefault(offset, []).append(residue)
        texts = []
        for offset, residues in cases.items():
            number = offset / self.slope if self.slope else offset
            sign = "+" if number > 0 else "-"
            inner = f"n {sign} {abs(number)}" if number else "n"
            if self.slope == 0:
                text = str(offset)
            elif self.slope == 1:
                text = inner
            else:
                inner = f"({inner})" if number else inner
                top = inner if self.slope.numerator == 1 else f"{self.slope.numerator}*{inner}"
                text = top if self.slope.denominator == 1 else f"{top}/{self.slope.denominator}"
            where = f" where {named_residues(self.modulus, residues)}" if self.modulus > 1 else ""
            texts.append(text + where)
        return "; ".join(texts) + (f", from {self.smallest}" if self.smallest > 1 else "")
