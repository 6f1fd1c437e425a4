"""Records as CSV (RFC 4180), with names made printable as everywhere but in JSON.

What spreadsheets would take for a formula is text: names come from files that anyone can send.
"""

from __future__ import annotations

import csv
import re
from io import StringIO

from rfgraph.present.rows import Records, printable


def text(records: Records) -> str:
    """Return one header row and one row per record."""
    stream = StringIO(newline="")
    writer = csv.writer(stream)
    for row in (records.header, *records.rows):
        writer.writerow([harmless(printable(cell)) for cell in row])
    return stream.getvalue()


#: A number, as digits or a fraction.
_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?(/[0-9]+)?")


def harmless(cell: str) -> str:
    """Return a cell that no spreadsheet runs: one that begins as a formula does gets a quote before it.

    Examples
    --------
    >>> harmless("=HYPERLINK(1)"), harmless("-1/3"), harmless("-x"), harmless("conv")
    ("'=HYPERLINK(1)", '-1/3', "'-x", 'conv')
    """
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") and not _NUMBER.fullmatch(cell) else cell
