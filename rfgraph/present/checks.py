"""What ``check`` shows of any number of models, and its findings one by one, as tools of CI take them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from rfgraph.frozen import dataclass
from rfgraph.present.findings import Check
from rfgraph.present.rows import Sheet, counted, printable
from rfgraph.present.several import Several
from rfgraph.present.sizes import unchecked_text
from rfgraph.questions.findings import SEVERITIES, Severity

#: What ``check`` is written as for other tools.
CI_FORMS = ("concise", "github", "sarif", "junit")

#: Takes the place of a rule's id where merges could not be checked.
UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Place:
    """A file, as a path from where the command runs if it lies below, and a line of it if one is known."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Alert:
    """One thing to tell: a finding, or what could not be checked. Its texts hold nothing that a terminal obeys."""

    model: str
    severity: Severity
    rule: str
    title: str
    node: str
    axes: tuple[str, ...]
    message: str
    advice: str
    #: The code that calls the node where it is here, else the file of the model; ``None`` if that is no file.
    place: Place | None
    #: The code that calls the node as the model tells it, empty where it does not.
    location: str
    #: What accepts it, ``None`` if it counts.
    accepted_by: str | None = None

    @property
    def head(self) -> str:
        """What it is in a few words."""
        return self.title if self.rule == UNCHECKED else f"{self.rule} {self.title}"


@dataclass(frozen=True)
class Checks(Several):
    """The checks of several models.

    Parameters
    ----------
    views
        Model -> its check; each is a ``Check``.
    fail_on
        The severity from which a model fails.
    """

    fail_on: Severity = "warning"

    @cached_property
    def checks(self) -> dict[str, Check]:
        """The checks by model."""
        return {model: view for model, view in self.views.items() if isinstance(view, Check)}

    def sheets(self) -> Sequence[Sheet]:
        """Return a sheet for each model, under its name, and the models counted."""
        if len(self.checks) + len(self.errors) == 1:
            return [check.sheet() for check in self.checks.values()]
        sheets = []
        for model, check in self.checks.items():
            sheet = check.sheet()
            named = sheet.title if sheet.title.startswith(f"{model}:") else f"{model}: {sheet.title}"
            sheets.append(replace(sheet, title=named))
        return [*sheets, Sheet("", (), (), (f"checked {self.verdict()}",))]

    def fails(self, model: str) -> bool:
        """Return whether a model fails: something of it is at or above ``fail_on``, and not accepted."""
        worst = self.checks[model].worst
        return worst is not None and self.is_serious(worst)

    def is_serious(self, severity: Severity) -> bool:
        """Return whether what is of this severity fails a check."""
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.fail_on)

    def verdict(self) -> str:
        """Return the models counted: those that pass, fail, and cannot be read."""
        failed = sum(map(self.fails, self.checks))
        total = counted(len(self.checks) + len(self.errors), "model")
        parts = [f"{len(self.checks) - failed} passed", f"{failed} failed"]
        parts += [f"{len(self.errors)} not read"] if self.errors else []
        return f"{total}: {', '.join(parts)}"

    @cached_property
    def alerts(self) -> list[Alert]:
        """All findings of all models, worst first of each, accepted ones too."""
        return [alert for model, check in self.checks.items() for alert in _alerts(model, check)]


def _alerts(model: str, check: Check) -> Iterator[Alert]:
    for reason in check.unchecked:
        text, location = unchecked_text(reason), check.report[reason.first].location
        place = place_of(model, location)
        told = printable(text), printable(check.hint(reason))
        node = printable(str(reason.first))
        yield Alert(model, "warning", UNCHECKED, "not checked", node, (), *told, place, printable(location))
    for finding, entry in check.entries:
        yield Alert(
            model,
            finding.severity,
            finding.rule,
            finding.title,
            printable(str(finding.node)),
            finding.axes,
            printable(finding.message),
            printable(check.advice(finding)),
            place_of(model, finding.location),
            printable(finding.location),
            entry,
        )


def place_of(model: str, location: str = "") -> Place | None:
    """Return where an editor may look: at ``location``, a ``file:line``, if it is here; else at the file of the model.

    Many a model was written elsewhere, and there is nothing to look at then.

    Examples
    --------
    >>> print(place_of("model.onnx", "/elsewhere/net.py:12"), place_of("net.py:build"), place_of("zoo:vgg_16"))
    model.onnx net.py None
    """
    located = re.fullmatch(r"(.+):(\d{1,9})", printable(location))
    if located and os.path.isfile(located[1]):
        return Place(_relative(located[1]), int(located[2]) or None)
    if model.startswith("zoo:"):
        return None
    file, _, function = model.rpartition(":")
    return Place(_relative(printable(file if function and file.endswith(".py") else model)))


def _relative(file: str) -> str:
    """Return a path from here, with forward slashes, if the file lies below."""
    path = Path(os.path.normpath(file))
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()
