"""The lines of the one table that all parts fill, for the terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

HEADINGS = ("what", "on", "time", "each", "x yardstick", "yardstick", "said")


@dataclass(frozen=True)
class Line:
    """One thing that was measured; empty where a column says nothing of it."""

    what: str
    on: str
    #: Seconds of CPU, one per run.
    seconds: tuple[float, ...] = ()
    #: Time per unit of the input, and the unit.
    each: str = ""
    #: To the yardstick, one per run.
    ratios: tuple[float, ...] = ()
    yardstick: str = ""
    said: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return what stands under ``HEADINGS``."""
        time = spelt(median(self.seconds)) if self.seconds else ""
        ratio = f"{median(self.ratios):,.2f}" if self.ratios else ""
        return self.what, self.on, time, self.each, ratio, self.yardstick, self.said


def spelt(seconds: float) -> str:
    """Return a time with its unit."""
    return f"{seconds * 1e3:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def rich_lines(lines: Sequence[Line]) -> Table:
    """Return the table for a terminal."""
    table = Table()
    for heading in HEADINGS:
        right = heading in ("time", "each", "x yardstick")
        table.add_column(heading, justify="right" if right else "left", no_wrap=right)
    for line in lines:
        table.add_row(*line.cells())
    return table


def markdown_lines(lines: Sequence[Line]) -> str:
    """Return the table in Markdown."""
    rule = ["---:" if heading in ("time", "each", "x yardstick") else ":---" for heading in HEADINGS]
    rows = (HEADINGS, rule, *(line.cells() for line in lines))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
