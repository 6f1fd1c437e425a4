"""Checks as annotations of GitHub: workflow commands, of which a step may show ten of each severity.

What is alike is told in one annotation: the findings of one rule at one place, and, where there are more than ten, the
others of one severity in the last of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.present.checks import Alert, Checks, Place
from rfgraph.present.rows import counted, printable

#: Annotations of one severity that GitHub shows of a step.
MOST = 10

#: Nodes that an annotation names.
_NAMED = 8

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def text(checks: Checks) -> str:
    """Return the annotations of what is not accepted, and of what cannot be read, and a line on all of it."""
    by_severity: dict[str, dict[tuple[str, str, str], list[Alert]]] = {severity: {} for severity in _COMMANDS}
    for alert in checks.alerts:
        if alert.accepted_by is None:
            groups = by_severity[alert.severity]
            groups.setdefault((alert.model, alert.rule, str(alert.place)), []).append(alert)
    lines = _errors(checks)
    for severity, groups in by_severity.items():
        room = MOST - (len(lines) if severity == "error" else 0)
        listed = list(groups.values())
        shown = listed if len(listed) <= room else listed[: max(room - 1, 0)]
        lines += [_annotation(_COMMANDS[severity], *_told(alerts)) for alerts in shown]
        if rest := listed[len(shown) :]:
            lines.append(_annotation(_COMMANDS[severity], "rfgraph: more", _rest(rest), None))
    return "\n".join([*lines, escaped(f"rfgraph checked {checks.verdict()}")]) + "\n"


def _errors(checks: Checks) -> list[str]:
    """Return annotations of what cannot be read: each of a few, or one of all."""
    told = [f"{printable(model)}: {printable(error)}" for model, error in checks.errors.items()]
    if len(told) > MOST - 1:
        told = ["\n".join(told)]
    return [_annotation("error", "rfgraph: cannot be read", error, None) for error in told]


def _told(alerts: Sequence[Alert]) -> tuple[str, str, Place | None]:
    """Return title, message and place of findings that are alike."""
    first, count = alerts[0], len(alerts)
    title = first.head + (f" ({count} times)" if count > 1 else "")
    lines = [first.message, first.advice] if first.advice else [first.message]
    if count > 1:
        nodes = list(dict.fromkeys(alert.node for alert in alerts[1:]))
        more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
        lines.append(f"also at {', '.join(nodes[:_NAMED])}{more}")
    if first.place is None or first.place.line is not None:
        lines.append(f"model: {printable(first.model)}")
    elif first.location:
        lines.append(f"called at {first.location}")
    return title, "\n".join(lines), first.place


def _rest(groups: Sequence[Sequence[Alert]]) -> str:
    counts: dict[tuple[str, str], int] = {}
    for alerts in groups:
        key = printable(alerts[0].model), alerts[0].head
        counts[key] = counts.get(key, 0) + len(alerts)
    return "\n".join(f"{model}: {rule}, {counted(count, 'time')}" for (model, rule), count in counts.items())


def _annotation(command: str, title: str, message: str, place: Place | None) -> str:
    where = [] if place is None else [f"file={_property(place.file)}"]
    if place is not None and place.line is not None:
        where.append(f"line={place.line}")
    return f"::{command} {','.join([*where, f'title={_property(title)}'])}::{escaped(message)}"


def escaped(text: str) -> str:
    r"""Return the message of a workflow command, in one line, as a runner reads it.

    Examples
    --------
    >>> print(escaped("100%\n::error::"))
    100%25%0A::error::
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return escaped(text).replace(":", "%3A").replace(",", "%2C")
