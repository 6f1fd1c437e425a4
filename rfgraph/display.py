"""How results show themselves in shells and notebooks: the room that shows them stands above the one that finds them.

The package names that room when it is imported, and the room is loaded when something is first shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Shown(Protocol):
    """A result that is shown: text where it is printed, HTML in notebooks."""

    def __str__(self) -> str: ...

    def _repr_html_(self) -> str: ...


class Display(Protocol):
    """What a room offers that shows reports."""

    def table(self, report: Any, depth: int | None, columns: Sequence[str] | None) -> Shown:
        """Return the table of layers."""

    def html(self, report: Any) -> str:
        """Return the whole report, as a notebook shows it."""


_display: Callable[[], Display]


def displayed_by(display: Callable[[], Display]) -> None:
    """Name the room that shows results, by a function that loads it."""
    global _display
    _display = display


def display() -> Display:
    """Return the room that shows results."""
    return _display()
