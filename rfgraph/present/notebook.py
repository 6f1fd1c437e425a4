"""Reports in notebooks and interactive shells: a table that folds, the findings above it, and the whole page.

All text is escaped, nothing runs: a notebook shows what it holds whether it is trusted or not. The page has a script,
and runs in a frame of its own, from where it reaches neither the notebook nor the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from rfgraph.frozen import dataclass
from rfgraph.policy import Policy, judge
from rfgraph.present import as_table
from rfgraph.present.page import Page
from rfgraph.present.rows import Sheet, counted, printable
from rfgraph.present.views import Summary
from rfgraph.questions.findings import Finding
from rfgraph.report import Report

#: Findings that are told in full, layers that are shown unfolded at first, and rows of a table at most.
_FINDINGS, _UNFOLDED, _ROWS = 6, 24, 1000

#: Modules inside one another that are looked into for a table that is short.
_DEEPEST = 4

#: Colours of severities, which are read on white and on black.
_COLOURS = {"error": "#d03a3a", "warning": "#b07d00", "note": "#4a78c8"}

#: Options of the command line that notes name -> what a user of Python writes.
_ARGUMENTS = {"--input-size": "input_size=", "--format json": "report.to_dict()"}

#: What a report without a name is called.
_NAMELESS = "network"


@dataclass(frozen=True, repr=False)
class Table:
    """The table of a report: text where it is printed, and a table in a notebook. ``Report.summary`` makes it."""

    report: Report
    depth: int | None = None
    columns: Sequence[str] | None = None

    @property
    def sheet(self) -> Sheet:
        """The table itself."""
        return _sheet(self.report, self.depth, self.columns)

    def __str__(self) -> str:
        return as_table.text(self.sheet).rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        sheet = self.sheet
        return f"<div>{_head(sheet.title)}{_table(sheet)}{_notes(sheet.notes)}</div>"


@dataclass(frozen=True, repr=False)
class ShownPage:
    """The page of a report, in a frame of a notebook. ``rfgraph.page`` makes it."""

    report: Report
    height: int = 800

    @property
    def text(self) -> str:
        """The page: one file of HTML, which fetches nothing."""
        return Page(self.report, self.report.name or _NAMELESS).text()

    def save(self, path: str | Path) -> None:
        """Write the page into a file."""
        Path(path).write_text(self.text, encoding="utf-8")

    def __repr__(self) -> str:
        return f"<page of {self.report!r}: shown in notebooks; save('report.html') writes it>"

    def _repr_html_(self) -> str:
        title = escape(printable(f"receptive fields of {self.report.name or _NAMELESS}"))
        return (
            f'<iframe srcdoc="{escape(self.text)}" title="{title}" sandbox="allow-scripts" '
            f'style="width: 100%; height: {int(self.height)}px; border: 1px solid #8884;"></iframe>'
        )


def page(report: Report, height: int = 800) -> ShownPage:
    """Return the page of a report, which a notebook shows in a frame: what ``rfgraph report`` writes into a file.

    Parameters
    ----------
    report
        The results.
    height
        Height of the frame, in pixels.

    Examples
    --------
    >>> from rfgraph import analyze, page
    >>> shown = page(analyze("zoo:vgg_16"))
    >>> shown._repr_html_()[:21]
    '<iframe srcdoc="&lt;!'
    """
    return ShownPage(report, height)


def table(report: Report, depth: int | None = None, columns: Sequence[str] | None = None) -> Table:
    """Return the table of layers of a report: what ``Report.summary`` shows."""
    return Table(report, depth, columns)


def html(report: Report) -> str:
    """Return a report as a notebook shows it: its findings, its outputs, and a table that folds."""
    whole = _sheet(report)
    parts = [_head(whole.title), _findings(report.findings), _notes(whole.brief)]
    if len(whole.rows) > _UNFOLDED:
        folded = _modules(report)
        parts.append("" if folded is None else _folded(f"by module: {counted(len(folded.rows), 'row')}", folded, True))
    parts.append(_folded(counted(len(whole.rows), "layer"), whole, len(whole.rows) <= _UNFOLDED))
    return f"<div>{''.join(parts)}</div>"


def _modules(report: Report) -> Sheet | None:
    """Return the table folded by module, as deep as it stays short; ``None`` if there is none so short."""
    best = None
    for depth in range(_DEEPEST):
        sheet = _sheet(report, depth)
        if len(sheet.rows) > _UNFOLDED:
            break
        best = sheet
    return best


def _sheet(report: Report, depth: int | None = None, columns: Sequence[str] | None = None) -> Sheet:
    """Return the table of a report, whose notes name what Python calls options."""
    name, judged = report.name or _NAMELESS, judge(report.findings, Policy())
    view = Summary(report, judged, name, "report.findings", everything=True, depth=depth, columns=columns)
    sheet = view.sheet()
    return replace(sheet, notes=tuple(map(_in_python, sheet.notes)), brief=tuple(map(_in_python, sheet.brief)))


def _in_python(note: str) -> str:
    for option, argument in _ARGUMENTS.items():
        note = note.replace(option, argument)
    return note


def _head(title: str) -> str:
    return f"<p><b>{escape(printable(title))}</b></p>"


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    items = [_finding(finding) for finding in findings]
    shown = f"<ul>{''.join(items[:_FINDINGS])}</ul>"
    if len(items) <= _FINDINGS:
        return shown
    more = f"<summary>and {counted(len(items) - _FINDINGS, 'more finding')}</summary>"
    left = len(items) - _ROWS
    cut = f"<p>and {left} more, in <code>report.findings</code></p>" if left > 0 else ""
    return f"{shown}<details>{more}<ul>{''.join(items[_FINDINGS:_ROWS])}</ul>{cut}</details>"


def _finding(finding: Finding) -> str:
    colour = _COLOURS[finding.severity]
    place = f" <small>{escape(printable(finding.location))}</small>" if finding.location else ""
    message = escape(printable(finding.message))
    return (
        f'<li><b style="color: {colour}">{finding.severity} {finding.rule}</b> {message}{place}'
        f"<br><small>{escape(printable(finding.advice))}</small></li>"
    )


def _notes(notes: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(printable(note))}</li>' for note in notes)}</ul>" if notes else ""


def _folded(about: str, sheet: Sheet, unfolded: bool) -> str:
    return f"<details{' open' if unfolded else ''}><summary>{about}</summary>{_table(sheet)}</details>"


def _table(sheet: Sheet) -> str:
    aligned = [f' style="text-align: {column.align}; padding: 2px 8px"' for column in sheet.columns]
    heads = zip(aligned, sheet.columns, strict=True)
    head = "".join(f"<th{style}>{escape(column.heading)}</th>" for style, column in heads)
    rows = [
        "".join(f"<td{style}>{escape(printable(cell))}</td>" for style, cell in zip(aligned, row, strict=True))
        for row in sheet.rows[:_ROWS]
    ]
    left = len(sheet.rows) - _ROWS
    more = f"<p>and {counted(left, 'more row')}: <code>print(report)</code> shows all</p>" if left > 0 else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
