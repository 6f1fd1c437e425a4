"""Checks as SARIF 2.1.0, the format of code scanning.

A finding lies at a node (its logical location) of a model. Its physical location is the line of the user's code that
calls the node where the model tells, else the file of the model. Its fingerprint is its rule and node, so that it stays
the same finding when numbers change.

References
----------
OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from rfgraph.present.checks import UNCHECKED, Alert, Checks, Place
from rfgraph.present.explained import EXPLAINED
from rfgraph.present.rows import Document, printable
from rfgraph.questions.findings import RULES
from rfgraph.version import __version__

_LEVELS = {"error": "error", "warning": "warning", "note": "note"}

#: Where to read about what could not be checked, and about the tool.
_ABOUT = "https://distill.pub/2019/computing-receptive-fields/"

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def text(checks: Checks) -> str:
    """Return the log as JSON, in ASCII."""
    return json.dumps(document(checks), indent=1) + "\n"


def document(checks: Checks) -> Document:
    """Return the log as plain data."""
    rules = _rules()
    places = {rule["id"]: index for index, rule in enumerate(rules)}
    driver = {
        "name": "rfgraph",
        "version": __version__,
        "semanticVersion": __version__,
        "informationUri": _ABOUT,
        "rules": rules,
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "utf16CodeUnits",
        "invocations": [_invocation(checks)],
        "results": [_result(alert, places[alert.rule]) for alert in checks.alerts],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rules() -> list[Document]:
    """Return what each rule is about, and how to mend what it finds."""
    rules: list[Document] = []
    for rule, about in RULES.items():
        explained = EXPLAINED[rule]
        said = f"{explained.why} {explained.mend}"
        rules.append(
            {
                "id": rule,
                "name": "".join(word.capitalize() for word in about.title.split()),
                "shortDescription": {"text": about.title},
                "fullDescription": {"text": explained.why},
                "help": {"text": said, "markdown": f"{explained.why}\n\n**To mend it:** {explained.mend}"},
                "helpUri": explained.source,
                "defaultConfiguration": {"level": _LEVELS[about.severity], "enabled": not about.asked},
            }
        )
    said = "A merge whose branches are not known cannot be checked, so it must not pass for one that lines up."
    return [
        *rules,
        {
            "id": UNCHECKED,
            "name": "NotChecked",
            "shortDescription": {"text": "not checked"},
            "fullDescription": {"text": said},
            "help": {"text": f"{said} Say what is read, by --treat, or give an input size."},
            "helpUri": _ABOUT,
            "defaultConfiguration": {"level": "warning"},
        },
    ]


def _invocation(checks: Checks) -> Document:
    notes = [
        {"level": "error", "message": {"text": f"{printable(model)}: {printable(error)}"}}
        for model, error in checks.errors.items()
    ]
    return {"executionSuccessful": not notes, "toolExecutionNotifications": notes}


def _result(alert: Alert, index: int) -> Document:
    lines = [alert.message, alert.advice]
    if alert.location and (alert.place is None or alert.place.line is None):
        lines.append(f"called at {alert.location}")
    said = "\n".join(filter(None, lines))
    model = printable(alert.model)
    logical = {"name": alert.node, "fullyQualifiedName": f"{model}::{alert.node}", "kind": "member"}
    location: Document = {"logicalLocations": [logical]}
    if alert.place is not None:
        location["physicalLocation"] = _physical(alert.place)
    properties: dict[str, Any] = {"model": model, "axes": list(alert.axes)}
    result: Document = {
        "ruleId": alert.rule,
        "ruleIndex": index,
        "level": _LEVELS[alert.severity],
        "message": {"text": said},
        "locations": [location],
        "partialFingerprints": {"ruleAndNode/v1": sha256(f"{alert.rule}\0{alert.node}".encode()).hexdigest()},
        "properties": properties,
    }
    if alert.accepted_by is not None:
        result["suppressions"] = [{"kind": "external", "justification": printable(alert.accepted_by)}]
    return result


def _physical(place: Place) -> Document:
    absolute = "" if not place.file.startswith("/") else "file://"
    # A model has no lines; code scanning wants one all the same, and takes the first for the file as a whole.
    region = {"startLine": place.line or 1}
    return {"artifactLocation": {"uri": absolute + quote(place.file)}, "region": region}
