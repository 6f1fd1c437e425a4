"""The versions of what rfgraph stands on, and of the packages that its extras bring, as far as they are there."""

from __future__ import annotations

import platform
import re
from importlib import metadata

#: Extras for those who work on rfgraph, and the one that brings all others.
WORKSHOP = frozenset({"test", "frameworks", "page-test", "dev", "docs", "all"})


def lines(package: str = "rfgraph") -> list[str]:
    """Return a line for what is always needed, and one for each extra: versions, or that it is not installed."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    try:
        requirements = metadata.requires(package) or []
    except metadata.PackageNotFoundError:  # run from a folder
        requirements = []
    for requirement in requirements:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        extra = re.search(r"""extra == ['"]([\w.-]+)['"]""", requirement)
        if extra is None:
            needed.append(name)
        elif extra[1] not in WORKSHOP and name != package:
            extras.setdefault(extra[1], []).append(name)
    told = [("python", platform.python_version())]
    told += [(name, _version(name) or "not installed") for name in needed]
    for kind, names in extras.items():
        versions = {name: _version(name) for name in names}
        there = [f"{name} {version}" for name, version in versions.items() if version]
        missing = len(there) < len(versions)
        told.append((f"[{kind}]", ", ".join(there + ["not installed" if not there else "the rest not"] * missing)))
    wide = max(len(name) for name, _ in told)
    return [f"  {name:<{wide}}  {version}" for name, version in told]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
