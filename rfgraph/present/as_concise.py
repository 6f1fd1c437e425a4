"""Checks as one line a finding, ``place: severity rule message``, as editors and people who search take them."""

from __future__ import annotations

from collections import Counter

from rfgraph.present.checks import Alert, Checks
from rfgraph.present.findings import FEW
from rfgraph.present.rows import counted, printable
from rfgraph.questions.findings import SEVERITIES


def text(checks: Checks) -> str:
    """Return what is not accepted, worst first of each model, what cannot be read, and what there is in all.

    Of the notes of one rule and model, which a design has in each of its blocks, only the first few are listed.
    """
    alerts = [alert for alert in checks.alerts if alert.accepted_by is None]
    lines, met = [], Counter[tuple[str, str]]()
    for alert in alerts:
        met[alert.model, alert.rule] += 1
        few = alert.severity != "note" or checks.checks[alert.model].everything
        if few or met[alert.model, alert.rule] <= FEW:
            lines.append(_line(alert))
    for alert in {(alert.model, alert.rule): alert for alert in alerts if alert.severity == "note"}.values():
        more = met[alert.model, alert.rule] - FEW
        if more > 0 and not checks.checks[alert.model].everything:
            lines.append(f"{_plain(alert.model)}: note {alert.head}: {more} more (each is shown with --all)")
    lines += [f"{_plain(model)}: cannot be read: {printable(error)}" for model, error in checks.errors.items()]
    counts = Counter(alert.severity for alert in alerts)
    totals = ", ".join(counted(counts[severity], severity) for severity in reversed(SEVERITIES) if counts[severity])
    return "\n".join([*lines, f"{checks.verdict()}; {totals or 'nothing found'}"]) + "\n"


def _line(alert: Alert) -> str:
    place = str(alert.place or alert.model)
    # Where the place is the user's code, the model is not told by it, and else the code is not.
    besides = alert.model if alert.place is not None and alert.place.line is not None else alert.location
    named = f" ({printable(besides)})" if besides else ""
    return f"{_plain(place)}: {alert.severity} {alert.rule} {alert.message}{named}"


def _plain(place: str) -> str:
    """Return a place so that no line begins with it as a command to GitHub's runners does."""
    text = printable(place)
    return f"./{text}" if text.startswith((":", "#", " ")) else text
