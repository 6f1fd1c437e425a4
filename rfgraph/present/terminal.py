"""Sheets drawn by rich; this is imported only where there is a terminal to draw on.

All text is passed as ``rich.text.Text``, so that no name is taken for markup.
"""

from __future__ import annotations

from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rfgraph.present.layout import GAP, fitted, printable_rows, stacked, wrapped
from rfgraph.present.rows import Sheet, printable

#: Colours of the word that a finding begins with.
_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "cyan", "accepted": "green"}


def drawn(sheet: Sheet, width: int) -> str:
    """Return the sheet with the control codes of this terminal, of ``width`` columns; NO_COLOR is heeded."""
    stream = StringIO()
    console = Console(file=stream, width=width, force_terminal=True, legacy_windows=False)
    if sheet.title:
        console.print(Text(printable(sheet.title), style="bold"))
    if sheet.rows and sheet.stacked:
        _draw_stacked(console, sheet)
    elif sheet.rows:
        if sheet.title and not sheet.dense:
            console.print()
        console.print(_table(sheet, width))
    if sheet.rows and (sheet.drawing or sheet.notes) and not sheet.dense:
        console.print()
    for line in sheet.drawing:
        console.print(Text(printable(line)), no_wrap=True, crop=False)
    if sheet.drawing and sheet.notes:
        console.print()
    for note in sheet.notes:
        console.print(Text(printable(note)))
    return stream.getvalue()


def _draw_stacked(console: Console, sheet: Sheet) -> None:
    for row in printable_rows(sheet):
        (_, head), *rest = stacked(sheet.columns, row)
        headline = Text(head)
        word = head.partition(" ")[0]
        headline.stylize(_STYLES.get(word, "bold"), 0, len(word))
        console.print()
        console.print(headline)
        for label, cell in rest:
            grid = Table.grid()
            grid.add_column(width=len(label))
            grid.add_column(overflow="fold")
            grid.add_row(Text(label, style="dim"), Text(cell))
            console.print(grid)


def _table(sheet: Sheet, width: int) -> Table:
    rows = printable_rows(sheet)
    widths = fitted(sheet.columns, rows, width)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column in sheet.columns:
        table.add_column(Text(column.heading), justify=column.align, overflow="fold")
    for row in rows:
        table.add_row(*(Text(wrapped(cell, most)) for cell, most in zip(row, widths, strict=True)))
    return table
