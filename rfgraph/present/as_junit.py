"""Checks as a JUnit report: a test case a model, which fails where the check does."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from rfgraph.present.checks import Alert, Checks
from rfgraph.present.rows import printable


def text(checks: Checks) -> str:
    """Return the report as XML; what no XML may hold is written as an escape."""
    alerts: dict[str, list[Alert]] = {model: [] for model in checks.checks}
    for alert in checks.alerts:
        alerts[alert.model].append(alert)
    failed = {model for model in checks.checks if checks.fails(model)}
    counts = f'tests="{len(alerts) + len(checks.errors)}" failures="{len(failed)}" errors="{len(checks.errors)}"'
    lines = ['<?xml version="1.0" encoding="utf-8"?>', f'<testsuites name="rfgraph" {counts}>']
    lines.append(f'<testsuite name="rfgraph check" {counts} skipped="0">')
    for model, findings in alerts.items():
        lines.append(f'<testcase classname="rfgraph.check" name={_quoted(model)}>')
        serious = [alert for alert in findings if alert.accepted_by is None and checks.is_serious(alert.severity)]
        lines += _failure(serious) if serious else []
        if rest := [alert for alert in findings if alert not in serious]:
            lines.append(f"<system-out>{_listed(rest)}</system-out>")
        lines.append("</testcase>")
    for model, error in checks.errors.items():
        lines.append(f'<testcase classname="rfgraph.check" name={_quoted(model)}>')
        lines.append(f'<error type="unreadable" message={_quoted(error)}/>')
        lines.append("</testcase>")
    return "\n".join([*lines, "</testsuite>", "</testsuites>"]) + "\n"


def _failure(alerts: Sequence[Alert]) -> list[str]:
    first, more = alerts[0], len(alerts) - 1
    message = f"{first.head}: {first.message}" + (f" (and {more} more)" if more else "")
    return [f"<failure type={_quoted(first.rule)} message={_quoted(message)}>{_listed(alerts)}</failure>"]


def _listed(alerts: Sequence[Alert]) -> str:
    lines = []
    for alert in alerts:
        by = "" if alert.accepted_by is None else f" (accepted by {alert.accepted_by})"
        place = f"{alert.location}: " if alert.location else ""
        lines.append(f"{place}{alert.severity} {alert.head}{by}: {alert.message}")
        lines += [f"  {alert.advice}"] if alert.advice else []
    return "\n".join(escape(printable(line)) for line in lines)


def _quoted(text: str) -> str:
    return quoteattr(printable(text))
