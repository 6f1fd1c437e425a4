"""Checks as one line a finding, ``place: severity rule message``, as editors and people who search take them."""

from __future__ import annotations

from rfgraph.present.checks import Alert, Checks
from rfgraph.present.rows import counted, printable
from rfgraph.questions.findings import SEVERITIES


def text(checks: Checks) -> str:
    """Return what is not accepted, worst first of each model, what cannot be read, and what there is in all."""
    alerts = [alert for alert in checks.alerts if alert.accepted_by is None]
    lines = [_line(alert) for alert in alerts]
    lines += [f"{printable(model)}: cannot be read: {printable(error)}" for model, error in checks.errors.items()]
    counts = {severity: sum(alert.severity == severity for alert in alerts) for severity in reversed(SEVERITIES)}
    found = ", ".join(counted(count, severity) for severity, count in counts.items() if count)
    return "\n".join([*lines, f"{checks.verdict()}; {found or 'nothing found'}"]) + "\n"


def _line(alert: Alert) -> str:
    place = str(alert.place or alert.model)
    if place.startswith((":", "#")):  # a line that begins so is a command to GitHub's runners
        place = f"./{place}"
    # Where the place is the user's code, the model is not told by it.
    named = "" if alert.place is None or alert.place.line is None else f" ({printable(alert.model)})"
    return f"{printable(place)}: {alert.severity} {alert.rule} {alert.message}{named}"
