"""Records as CSV (RFC 4180), with names made printable as everywhere but in JSON."""

from __future__ import annotations

import csv
from io import StringIO

from rfgraph.present.rows import Records, printable


def text(records: Records) -> str:
    """Return one header row and one row per record."""
    stream = StringIO(newline="")
    writer = csv.writer(stream)
    for row in (records.header, *records.rows):
        writer.writerow([printable(cell) for cell in row])
    return stream.getvalue()
