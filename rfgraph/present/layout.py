"""How wide text is in a terminal, and how a sheet is fitted into its columns.

A terminal shows what a person looks at: rows that say nothing new are hidden, counts have three digits, columns are
left out where there is no room for them, and long names are shortened in the middle. What goes elsewhere is complete.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from unicodedata import combining, east_asian_width

from rfgraph.present.rows import Column, Sheet, printable

#: Columns between two columns of a table.
GAP = 2

#: Text columns are made no narrower than this.
NARROWEST = 12

#: Names are not made shorter than this to keep a column.
SHORTEST_NAME = 26

#: Letters that are left of each word of a name, at least; and what stands for those that are not.
_LETTERS, CUT = 1, "\u2026"

Rows = list[list[str]]


def for_terminal(sheet: Sheet, width: int) -> Sheet:
    """Return a sheet as a terminal of ``width`` columns shows it.

    Examples
    --------
    >>> columns = Column("layer", names=True), Column("op", rank=1), Column("MACs", "right", counts=True)
    >>> shown = for_terminal(Sheet("", columns, [("block1.unit2.conv3", "conv", "118,013,952")]), 18)
    >>> shown.rows, shown.notes
    ([('\u2026.un\u20262.conv3', '118 M')], ('no room for op (see --columns)',))
    """
    if sheet.stacked or not sheet.rows:
        return sheet
    notes = sheet.brief or sheet.notes
    columns = list(sheet.columns)
    rows: Rows = [row for place, row in enumerate(printable_rows(sheet)) if place not in sheet.hidden]
    for row in rows:
        row[:] = [shortened_count(c) if column.counts else c for c, column in zip(row, columns, strict=True)]
    width_of = widths(columns, rows)
    least = [min(wide, SHORTEST_NAME) if column.names else wide for wide, column in zip(width_of, columns, strict=True)]
    left = list(range(len(columns)))
    gone: list[str] = []
    while sum(least[i] for i in left) + GAP * (len(left) - 1) > width:
        last = max(left, key=lambda i: columns[i].rank)
        if not columns[last].rank:
            break
        left.remove(last)
        gone.append(columns[last].heading)
    room = width - sum(width_of[i] for i in left if not columns[i].names) - GAP * (len(left) - 1)
    cells_of = {i: shortened_names([row[i] for row in rows], max(room, NARROWEST)) for i in left if columns[i].names}
    shown = [tuple(cells_of[i][place] if i in cells_of else row[i] for i in left) for place, row in enumerate(rows)]
    if gone:
        notes = (f"no room for {', '.join(gone)} (see --columns)", *notes)
    lines = packed(notes, width) if sheet.brief else notes
    return replace(
        sheet,
        columns=tuple(columns[i] for i in left),
        rows=shown,
        notes=tuple(lines),
        hidden=frozenset(),
        brief=(),
        dense=bool(sheet.brief),
    )


def packed(notes: Sequence[str], width: int) -> list[str]:
    """Return notes in their order, as many to a line as fit.

    Examples
    --------
    >>> packed(["output: y", "parameters: 12", "findings: none"], 30)
    ['output: y; parameters: 12', 'findings: none']
    """
    lines: list[str] = []
    for note in notes:
        if lines and cells(lines[-1]) + 2 + cells(note) <= width:
            lines[-1] += f"; {note}"
        else:
            lines.append(note)
    return lines


def shortened_count(text: str) -> str:
    """Return a count with three digits, if it is one of more than four.

    Examples
    --------
    >>> [shortened_count(text) for text in ("118,013,952", "25,557,032", "36,864", "9,408", "999,999", "?")]
    ['118 M', '25.6 M', '36.9 k', '9,408', '1.00 M', '?']
    """
    plain = text.replace(",", "")
    if not (plain.isascii() and plain.isdigit()) or len(plain) < 5:
        return text
    count = Decimal(plain)  # floats end at 1e308
    for letter in "kMGTPE":
        count /= 1000
        if count < Decimal("999.5"):
            return f"{count:.3g} {letter}"
    return f"{Decimal(plain):.2e}"


def with_short_counts(text: str) -> str:
    """Return ``text`` with three digits of each count of more than four.

    Examples
    --------
    >>> with_short_counts("parameters: 25,557,032")
    'parameters: 25.6 M'
    """
    return re.sub(r"\d[\d,]{4,}", lambda number: shortened_count(number[0]), text)


def shortened_names(names: Sequence[str], width: int) -> list[str]:
    """Return names in at most ``width``: words before the last part keep their first letters, all as many of them.

    Numbers stay, by which blocks and layers are told apart; a first part that all names share goes. A name for which
    that is not enough is cut in its middle.

    Examples
    --------
    >>> shortened_names(["features.denseblock4.denselayer14.conv2"], 30)
    ['\u2026.denseblo\u20264.denselay\u202614.conv2']
    >>> shortened_names(["features.denseblock4.denselayer14.conv2", "conv"], 12)
    ['featur\u2026conv2', 'conv']
    """
    if all(cells(name) <= width for name in names):
        return list(names)
    shared = _shared_part(names)
    spelt = [_words(CUT + name[len(shared) :] if shared and name.startswith(shared) else name) for name in names]
    fit = [words for words in spelt if cells(_with_letters(words, _LETTERS)) <= width]
    fewest, most = _LETTERS, max(len(word) for words in spelt for word in words)
    while fewest < most:  # the most letters with which all names fit that can
        middle = (fewest + most + 1) // 2
        if all(cells(_with_letters(words, middle)) <= width for words in fit):
            fewest = middle
        else:
            most = middle - 1
    return [_fitting(name, _with_letters(words, fewest), width) for name, words in zip(names, spelt, strict=True)]


def _shared_part(names: Sequence[str]) -> str:
    """Return the first part that all names of several parts have, with no mark behind it; "" if they differ."""
    firsts = {re.match(r"[^/.]*", name)[0] for name in names if re.search(r"[/.]", name)}  # type: ignore[index]
    return firsts.pop() if len(firsts) == 1 else ""


def _fitting(name: str, short: str, width: int) -> str:
    return name if cells(name) <= width else short if cells(short) <= width else cut(name, width)


def _words(name: str) -> list[str]:
    """Return a name as words and what stands between them, in turn; the last part of it is one word."""
    head, mark, last = re.fullmatch(r"(.*?)([/.]?)([^/.]*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    return [*re.split(r"([^\W\d_]+)", head), mark + last]


def _with_letters(words: Sequence[str], letters: int) -> str:
    *head, last = words
    short = [
        word if not place % 2 or len(word) <= letters + 1 else word[:letters] + CUT for place, word in enumerate(head)
    ]
    return "".join(short) + last


def cut(text: str, width: int) -> str:
    """Return ``text`` in at most ``width``, without its middle.

    Examples
    --------
    >>> cut("encoder_layer_norm", 9)
    'enco\u2026norm'
    """
    if cells(text) <= width:
        return text
    start, end = 0, len(text)
    used = cells(CUT)
    while start < end:
        side = text[start] if start <= len(text) - end else text[end - 1]
        used += cells(side)
        if used > width:
            break
        if start <= len(text) - end:
            start += 1
        else:
            end -= 1
    return text[:start] + CUT + text[end:]


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
