"""Sheets as the tables of GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rfgraph.present.rows import Sheet, printable

#: What would end a cell or begin markup; an underscore does so only at the edge of a word.
_SPECIAL = re.compile(r"[\\`*|<\[~&$]|(?<![^\W_])_|_(?![^\W_])")


def text(sheet: Sheet) -> str:
    """Return the title, the table, and the notes as a list."""
    lines = [f"**{escaped(sheet.title)}**", ""] if sheet.title else []
    if sheet.rows:
        rules = ["---:" if column.align == "right" else "---" for column in sheet.columns]
        lines += [_row([escaped(column.heading) for column in sheet.columns]), _row(rules)]
        lines += [_row([escaped(cell) for cell in row]) for row in sheet.rows]
        lines.append("")
    if sheet.drawing:
        lines += [*(f"    {printable(line)}".rstrip() for line in sheet.drawing), ""]
    lines += [f"- {escaped(note)}" for note in sheet.notes]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Return ``text`` so that Markdown shows it as it is.

    Examples
    --------
    >>> print(escaped("a|b `c` conv_1 <b>"))
    a\|b \`c\` conv_1 \<b>
    """
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
