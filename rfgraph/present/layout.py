"""How wide text is in a terminal, and how it is fitted into columns."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import combining, east_asian_width

from rfgraph.present.rows import Column, Sheet, printable

#: Columns between two columns of a table.
GAP = 2

#: Text columns are made no narrower than this.
NARROWEST = 12

Rows = list[list[str]]


def printable_rows(sheet: Sheet) -> Rows:
    """Return the rows of a sheet with nothing in them that a terminal obeys."""
    return [[printable(cell) for cell in row] for row in sheet.rows]


def cells(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def widths(columns: Sequence[Column], rows: Rows) -> list[int]:
    """Return how wide each column must be to hold its heading and cells."""
    return [
        max(map(cells, (column.heading, *texts)))
        for column, texts in zip(columns, zip(*rows, strict=True), strict=True)
    ]


def fitted(columns: Sequence[Column], rows: Rows, width: int) -> list[int]:
    """Return widths that fit into ``width`` if they can: text is made narrower, widest first, numbers never."""
    width_of = widths(columns, rows)
    while sum(width_of) + GAP * (len(width_of) - 1) > width:
        widest = max((w, index) for index, w in enumerate(width_of) if columns[index].align == "left")[1]
        if width_of[widest] <= NARROWEST:
            break
        width_of[widest] -= 1
    return width_of


def wrapped(text: str, width: int) -> str:
    """Return ``text`` in lines of at most ``width``, broken after a part of a name where one ends late enough.

    Examples
    --------
    >>> print(wrapped("resnet/block3/unit_6/conv2", 22))
    resnet/block3/unit_6/
      conv2
    """
    lines: list[str] = []
    indent = ""
    while cells(indent + text) > width:
        end = len(text)
        while cells(indent + text[:end]) > width:
            end -= 1
        parts = (max(text.rfind(mark, 0, end) for mark in marks) + 1 for marks in ("/ ", ".:_-"))
        end = max(next((part for part in parts if part > end // 2), end), 1)
        lines.append(indent + text[:end])
        text, indent = text[end:], "  "
    return "\n".join([*lines, indent + text])


def stacked(columns: Sequence[Column], row: Sequence[str]) -> list[tuple[str, str]]:
    """Return a row as pairs of label and text, one per line, without what is empty."""
    labels = ["", "  ", *(f"  {column.heading:<9}  " for column in columns[2:])]
    return [(label, cell) for label, cell in zip(labels, row, strict=True) if cell]
