"""What depends on the input size by its residue: windows, sizes that work, and how messages say them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rfgraph.algebra.window import Window
from rfgraph.errors import UnknownFieldError


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
        """The windows of sizes that work."""
        return tuple(window for window in self.windows if not window.is_unknown)

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
    """Sizes of an input along one axis: ``n >= smallest`` with ``n mod modulus`` one of ``residues``."""

    axis: str
    modulus: int
    residues: tuple[int, ...]
    smallest: int

    def __contains__(self, input_size: int) -> bool:
        return input_size >= self.smallest and input_size % self.modulus in self.residues

    def __str__(self) -> str:
        if not self.residues:
            return "no size"
        if self.modulus == 1:
            return f"any size from {self.smallest}"
        if self.residues == (0,):
            return f"multiples of {self.modulus}, from {self.smallest}"
        return f"{named_residues(self.modulus, self.residues)}, from {self.smallest}"


def shortest_period(values: Sequence[Any]) -> int:
    """Return the least divisor ``d`` of the length with ``values[i] == values[i % d]`` throughout."""
    length = len(values)
    return next(
        d for d in range(1, length + 1) if length % d == 0 and all(values[i] == values[i % d] for i in range(d, length))
    )


def named_residues(modulus: int, residues: Sequence[int]) -> str:
    """Return how messages say that the input size has one of ``residues``: "n mod 16 is 0, 4 or 7 to 9"."""
    runs: list[list[int]] = []
    for residue in residues:
        if runs and residue == runs[-1][-1] + 1:
            runs[-1].append(residue)
        else:
            runs.append([residue])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    said = ", ".join(parts)
    head, _, tail = said.rpartition(", ")
    return f"n mod {modulus} is {head} or {tail}" if head else f"n mod {modulus} is {said}"
