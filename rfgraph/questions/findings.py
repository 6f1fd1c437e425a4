"""What a finding is: a rule, how bad it is, where it was met, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import field as declare
from dataclasses import fields
from typing import Any, Generic, Literal, TypeVar

from rfgraph.frozen import dataclass

Value = TypeVar("Value")

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


class Later(Generic[Value]):
    """What is worked out when it is first asked; two of them are equal if what they come to is.

    Parameters
    ----------
    work, given
        What returns it, and what that is given.
    """

    __slots__ = ("_given", "_value", "_work")

    def __init__(self, work: Callable[..., Value], *given: Any) -> None:
        self._work: Callable[..., Value] | None = work
        self._given = given

    def __call__(self) -> Value:
        if self._work is not None:
            self._value = self._work(*self._given)
            self._work, self._given = None, ()
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Later) and bool(self() == other())

    def __hash__(self) -> int:
        return hash(self())

    def __reduce__(self) -> tuple[Any, ...]:
        return Later, (_itself, self())


def _itself(value: Value) -> Value:
    return value


def settled(instance: Any) -> dict[str, Any]:
    """Return the fields of a dataclass for a copy or a pickle: those that are worked out when asked, worked out."""
    state = {one.name: getattr(instance, one.name) for one in fields(instance)}
    lazy = {name: value for name, value in state.items() if name.startswith("_") and callable(value)}
    return state | {name: Later(_itself, value()) for name, value in lazy.items()}


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
