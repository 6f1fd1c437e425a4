"""Which findings are looked at, and which are accepted: what the commands do with the findings of a report.

A report has all of its findings, whatever the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from rfgraph.errors import PolicyError
from rfgraph.frozen import dataclass
from rfgraph.graph.treatments import matches
from rfgraph.ops import near
from rfgraph.questions.findings import RULES, Finding

#: Rules on whether merges line up: without them, merges that cannot be checked do not matter.
_ALIGNMENT = ("RF001", "RF002", "RF005")


@dataclass(frozen=True)
class Policy:
    """Which findings are looked at, and which are accepted.

    Parameters
    ----------
    select
        Ids of rules, or what they begin with: the rules that are looked at.
    ignore
        The same of rules that are not, though ``select`` has them.
    accept
        Findings to accept, as ``RULE:NODE``: an id or what it begins with, and the name of a node or a pattern as in
        ``fnmatch``. The name begins after the first colon and may hold more.

    Raises
    ------
    PolicyError
        If an entry cannot be read or names no rule; the message lists them.
    """

    select: tuple[str, ...] = ("RF",)
    ignore: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option, entries in (("select", self.select), ("ignore", self.ignore)):
            for entry in entries:
                _check_rule(option, entry)
        for entry in self.accept:
            rule, colon, node = entry.partition(":")
            if not (rule and colon and node):
                raise PolicyError(f"accept: {entry!r} does not say what to accept where; write RULE:NODE, as RF002:add")
            _check_rule("accept", rule)

    @cached_property
    def rules(self) -> frozenset[str]:
        """The rules that are looked at; some are only where ``select`` has their whole name."""
        return frozenset(
            rule
            for rule, about in RULES.items()
            if (rule in self.select if about.asked else rule.startswith(self.select))
            and not rule.startswith(self.ignore)
        )

    @property
    def looks_at_alignment(self) -> bool:
        """Whether it matters if merges can be checked."""
        return not self.rules.isdisjoint(_ALIGNMENT)

    def accepts(self, entry: str, finding: Finding) -> bool:
        """Return whether an entry of ``accept`` is about a finding."""
        rule, _, node = entry.partition(":")
        return finding.rule.startswith(rule) and matches(node, [str(finding.node)])


def _check_rule(option: str, entry: str) -> None:
    if not entry or not any(rule.startswith(entry) for rule in RULES):
        known = ", ".join(f"{rule} ({about.title})" for rule, about in RULES.items())
        raise PolicyError(f"{option}: {entry!r} is no rule and begins none{near(entry, RULES)}; there are {known}")


@dataclass(frozen=True)
class Judged:
    """The findings of a report under a policy.

    Parameters
    ----------
    policy
        What they were held against.
    findings
        Those of the rules that are looked at, accepted or not, worst first.
    accepted_by
        For each of them the entry of ``accept`` that is about it, or what else accepts it; ``None`` where nothing does.
    left_out
        Those of other rules.
    idle
        The entries of ``accept`` that are about no finding at all.
    """

    policy: Policy
    findings: tuple[Finding, ...]
    accepted_by: tuple[str | None, ...]
    left_out: tuple[Finding, ...]
    idle: tuple[str, ...]

    @cached_property
    def open(self) -> tuple[Finding, ...]:
        """The findings that are not accepted: those that count."""
        return tuple(f for f, entry in zip(self.findings, self.accepted_by, strict=True) if entry is None)

    @cached_property
    def accepted(self) -> tuple[tuple[Finding, str], ...]:
        """The findings that are accepted, each with the entry that is about it."""
        pairs = zip(self.findings, self.accepted_by, strict=True)
        return tuple((finding, entry) for finding, entry in pairs if entry is not None)


def judge(
    findings: Iterable[Finding], policy: Policy, known: Callable[[Finding], str | None] = lambda finding: None
) -> Judged:
    """Return findings under a policy; none gets lost.

    Parameters
    ----------
    findings
        The findings of a report, in order.
    policy
        What to look at, and what to accept.
    known
        Returns what else accepts a finding, such as a baseline that has it, ``None`` if nothing does.

    Examples
    --------
    >>> found = [Finding("RF006", "conv", ("y",)), Finding("RF008", "gate", ("y",))]
    >>> [(finding.node, entry) for finding, entry in judge(found, Policy(accept=("RF006:c*",))).accepted]
    [('conv', 'RF006:c*')]
    """
    shown: list[Finding] = []
    left_out: list[Finding] = []
    accepted_by: list[str | None] = []
    met: set[str] = set()
    for finding in findings:
        entries = [entry for entry in policy.accept if policy.accepts(entry, finding)]
        met.update(entries)
        if finding.rule not in policy.rules:
            left_out.append(finding)
            continue
        shown.append(finding)
        accepted_by.append(entries[0] if entries else known(finding))
    idle = tuple(dict.fromkeys(entry for entry in policy.accept if entry not in met))
    return Judged(policy, tuple(shown), tuple(accepted_by), tuple(left_out), idle)
