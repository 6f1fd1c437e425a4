"""What a small constant holds, exactly. Floats of a file are made fractions when someone asks: most are weights."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np


@lru_cache(maxsize=4096)
def simplest(number: float) -> Fraction:
    """Return the simplest fraction that is ``number`` in single precision, if there is a simple one.

    Scales are stored as 32-bit floats: 1.3333334 stands for 4/3.

    Examples
    --------
    >>> simplest(1.3333333730697632)
    Fraction(4, 3)
    """
    exact = Fraction(number)
    if exact.denominator == 1:
        return exact
    stored = np.float32(number)
    for denominator in (16, 256, 4096):
        near = exact.limit_denominator(denominator)
        if np.float32(float(near)) == stored:
            return near
    return exact


class Data:
    """What a small constant holds, exactly: ``int``, ``bool``, ``Fraction`` and symbolic sizes, never a float.

    Parameters
    ----------
    numbers
        An array of such objects, or of numbers as a file stores them.
    integer
        Whether its elements are integers, so that they divide as integers do.

    Examples
    --------
    >>> Data(np.array([0.5, 1.3333334], dtype=np.float32), integer=False).elements.tolist()
    [Fraction(1, 2), Fraction(4, 3)]
    """

    __slots__ = ("integer", "numbers")

    def __init__(self, numbers: Any, integer: bool) -> None:
        self.numbers = numbers
        self.integer = integer

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the constant."""
        return tuple(self.numbers.shape)

    @property
    def elements(self) -> Any:
        """Its elements as an array of objects."""
        if self.numbers.dtype != object:
            exact = self.numbers.astype(object)
            if not self.integer:
                exact[...] = np.frompyfunc(lambda number: simplest(float(number)), 1, 1)(self.numbers)
            self.numbers = exact
        return self.numbers


def data_of(numbers: Any, *, integer: bool) -> Data | None:
    """Return what an array of a file holds, ``None`` if some of it is no real number."""
    real = integer or (numbers.dtype.kind != "c" and np.isfinite(numbers).all())
    return Data(numbers, integer) if real else None
