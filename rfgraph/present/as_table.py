"""Sheets as tables: drawn by rich on a terminal, and as plain columns where the text goes elsewhere.

Plain columns are as wide as they must be, so that no name is ever cut: what goes into a file or a pipe is searched, not
looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.present.layout import GAP, Rows, cells, for_terminal, printable_rows, stacked, widths
from rfgraph.present.rows import Column, Sheet, printable

#: A table of more rows is written plainly even on a terminal: nobody looks at it all, and rich takes 0.5 ms a row.
MOST_DRAWN = 2000


def text(sheet: Sheet, width: int | None = None, styled: bool = True) -> str:
    """Return the sheet as text.

    Parameters
    ----------
    width
        Columns of the terminal it is for, into which it is fitted; ``None`` where it is for no terminal and complete.
    styled
        Whether a terminal gets colours.
    """
    if width is None:
        return _plain(sheet)
    if styled and len(sheet.rows) - len(sheet.hidden) > MOST_DRAWN:
        return _plain(sheet)
    sheet = for_terminal(sheet, width)
    if not styled:
        return _plain(sheet)
    from rfgraph.present.terminal import drawn  # rich takes longer to import than most tables to make

    return drawn(sheet, width)


def coloured(sheet: Sheet) -> str:
    """Return the whole sheet with the control codes of a terminal, however wide it is."""
    from rfgraph.present.terminal import drawn

    if sheet.stacked:
        return drawn(sheet, 120)
    wide = widths(sheet.columns, printable_rows(sheet)) if sheet.rows else []
    return drawn(sheet, max([sum(wide) + GAP * len(wide), *map(cells, (sheet.title, *sheet.notes))]) + 1)


def _plain(sheet: Sheet) -> str:
    blank = [] if sheet.dense else [""]
    lines = [printable(sheet.title), *blank] if sheet.title else []
    rows = printable_rows(sheet)
    if sheet.stacked:
        for row in rows:
            lines += [label + cell for label, cell in stacked(sheet.columns, row)]
            lines.append("")
    elif rows:
        lines += _aligned(sheet.columns, rows)
        lines += blank
    if sheet.drawing:
        lines += [*map(printable, sheet.drawing), ""]
    lines += map(printable, sheet.notes)
    return "\n".join(lines) + "\n"


def _aligned(columns: Sequence[Column], rows: Rows) -> list[str]:
    wide = widths(columns, rows)
    lines = []
    for row in [[column.heading for column in columns], *rows]:
        padded = []
        for column, cell, width in zip(columns, row, wide, strict=True):
            space = " " * (width - cells(cell))
            padded.append(space + cell if column.align == "right" else cell + space)
        lines.append((" " * GAP).join(padded).rstrip())
    lines.insert(1, (" " * GAP).join("-" * width for width in wide))
    return lines
