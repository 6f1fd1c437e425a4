"""A baseline: what an earlier check found, and what a later one takes for known.

It is the JSON that ``rfgraph check --format json`` writes, of one model or of several.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from rfgraph.errors import PolicyError
from rfgraph.frozen import dataclass
from rfgraph.questions.findings import Finding
from rfgraph.questions.misalignment import Misalignment, SizeDependent

#: Rule, node, axes and, of a merge, the branch: what makes two findings the same.
Key = tuple[str, str, tuple[str, ...], str]


def key_of(finding: Finding) -> Key:
    """Return what a finding has in common with the same one of an earlier check."""
    branch = ""
    if isinstance(finding, Misalignment):
        branch = str(finding.branch.tail)
    elif isinstance(finding, SizeDependent):
        branch = str(finding.branch)
    return finding.rule, str(finding.node), finding.axes, branch


@dataclass
class Known:
    """What is known of one model. It is used up: what was found once and is found twice is new once."""

    path: str
    findings: Counter[Key] = field(default_factory=Counter)
    #: The first merge that could not be checked, and why.
    unchecked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def has(self, finding: Finding) -> str | None:
        """Return what to call the baseline if it has a finding, ``None`` if that is new."""
        return f"baseline {self.path}" if _take(self.findings, key_of(finding)) else None

    def has_unchecked(self, first: str, why: str) -> bool:
        """Return whether it was known before that merges cannot be checked."""
        return _take(self.unchecked, (first, why))

    @property
    def mended(self) -> int:
        """Findings that were not met again."""
        return self.findings.total()


def _take(left: Counter[Any], key: Any) -> bool:
    taken = left[key] > 0
    left[key] -= taken
    return taken


@dataclass(frozen=True)
class Baseline:
    """What an earlier check found, by model."""

    path: str
    models: Mapping[str, Known]

    def of(self, model: str, alone: bool) -> Known:
        """Return what is known of a model.

        Parameters
        ----------
        model
            What names it on the command line.
        alone
            Whether no other is checked: then a baseline of one model is that of this one, whatever it was called.
        """
        if alone and len(self.models) == 1:
            (known,) = self.models.values()
        else:
            known = self.models.get(model, Known(self.path))
        return Known(self.path, Counter(known.findings), Counter(known.unchecked))


def read_baseline(path: str) -> Baseline:
    """Return the baseline in a file.

    Raises
    ------
    PolicyError
        If it is not what ``rfgraph check --format json`` writes.
    """
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise PolicyError(f"{path}: it cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{path}: {_WANTED} ({error})") from error
    models: dict[str, Known] = {}
    try:
        if document["command"] != "check":
            raise PolicyError(f"{path}: {_WANTED} (it is of the command {document['command']!r})")
        for one in document.get("models", [document]):
            known = models.setdefault(str(one["model"]), Known(path))
            known.findings.update(_key(finding) for finding in one["findings"])
            known.unchecked.update((str(entry["first"]), str(entry["why"])) for entry in one["unchecked"])
    except (KeyError, TypeError, AttributeError) as error:
        raise PolicyError(f"{path}: {_WANTED}") from error
    return Baseline(path, models)


_WANTED = "it is no baseline; write one with rfgraph check MODEL --format json -o baseline.json"


def _key(finding: Mapping[str, Any]) -> Key:
    branch = finding.get("branch")
    tail = str(branch["tail"]) if branch is not None else ""
    return str(finding["rule"]), str(finding["node"]), tuple(map(str, finding["axes"])), tail
