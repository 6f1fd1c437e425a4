"""Rows of the tests of a format's operators: a function of one tensor, and what is held against running it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A function of one tensor, the operator of a format that it is written with, and where its dimensions lie.

    A format gives ``x``, ``at`` and ``out`` the values that most of its rows have.
    """

    op: str
    run: Callable
    #: Shape of the input.
    x: tuple
    #: The dimensions of the input that are spatial.
    at: tuple
    #: Where the output has each axis; ``None`` where one position is left of it.
    out: tuple
    #: Whether the region is the box of what is read, or only holds it.
    exact: bool = True
    #: A phrase of the reason where nothing is known of the operator.
    unknown: str = ""

    @property
    def id(self) -> str:
        return f"{self.op}-{self.run.__code__.co_firstlineno}"


def first(made):
    """Return the first tensor of a function's result, however it is nested."""
    while isinstance(made, (list, tuple)):
        made = made[0]
    return made
