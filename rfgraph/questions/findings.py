"""What a finding is: a rule, how bad it is, where it was met, and what to do about it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, fields
from dataclasses import field as declare
from typing import Any, Literal

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


@dataclass(frozen=True)
class Rule:
    """What a finding is of: how bad, and what it is called."""

    severity: Severity
    title: str
    #: Whether it is looked for only where it is asked for by its whole name.
    asked: bool = False


#: Rule id -> what it finds. Ids are never reused.
RULES = {
    "RF001": Rule("error", "stride mismatch"),
    "RF002": Rule("warning", "misaligned"),
    "RF003": Rule("note", "phase jitter"),
    "RF004": Rule("note", "causally aligned"),
    "RF005": Rule("warning", "aligned for some input sizes only"),
    "RF006": Rule("note", "holes"),
    "RF007": Rule("note", "unproductive layer"),
    "RF008": Rule("note", "global context"),
    "RF009": Rule("note", "cannot be tiled exactly", asked=True),
    "RF010": Rule("warning", "looks ahead", asked=True),
    "RF011": Rule("error", "field too small", asked=True),
    "RF012": Rule("error", "looks ahead too far", asked=True),
    "RF013": Rule("error", "too many parameters", asked=True),
    "RF014": Rule("error", "tiles do not fit", asked=True),
    "RF015": Rule("note", "unread input"),
}


@dataclass(frozen=True)
class Settled:
    """What is worked out when it is first asked, once it has been."""

    value: Any

    def __call__(self) -> Any:
        return self.value


def settled(instance: Any) -> dict[str, Any]:
    """Return the fields of a dataclass for a copy or a pickle: those that are worked out when asked, worked out."""
    state = {}
    for one in fields(instance):
        value = getattr(instance, one.name)
        lazy = one.name.startswith("_") and callable(value) and not isinstance(value, Settled)
        state[one.name] = Settled(value()) if lazy else value
    return state


@dataclass(frozen=True)
class Finding:
    """One thing that users of a network should know, where it is, and what to do about it.

    ``rule`` is a key of ``RULES``; ``node`` is where it was found, on ``axes``. ``location`` is the ``file:line`` of
    the code that calls that node, empty where the model does not tell.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.add("add", x, net.conv("conv", x, kernel=2))
    >>> [(finding.rule, finding.severity, finding.node) for finding in analyze(net).findings]
    [('RF002', 'warning', 'add')]
    """

    rule: str
    node: Hashable
    axes: tuple[str, ...]
    location: str = declare(default="", kw_only=True, compare=False)

    def __str__(self) -> str:
        return self.message

    def __getstate__(self) -> dict[str, Any]:
        return settled(self)

    @property
    def severity(self) -> Severity:
        """How bad it is: what the rule says."""
        return RULES[self.rule].severity

    @property
    def title(self) -> str:
        """The rule in two words."""
        return RULES[self.rule].title

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        raise NotImplementedError

    @property
    def advice(self) -> str:
        """What to do about it."""
        raise NotImplementedError


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings sorted by severity, and in the order they came where that is equal."""
    return tuple(sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity)))


def named_axes(axes: tuple[str, ...]) -> str:
    """Return how messages name axes: "axis y", "axes y, x"."""
    return f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(axes)}"
