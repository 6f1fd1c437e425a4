"""What a project says of the findings of its networks: ``[tool.rfgraph]`` in its pyproject.toml.

[tool.rfgraph]
select = ["RF"]
ignore = ["RF006"]
accept = ["RF002:block*/add"]
fail-on = "error"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rfgraph.errors import PolicyError
from rfgraph.ops import near
from rfgraph.policy import Policy
from rfgraph.questions.findings import SEVERITIES, Severity

#: Keys of the table that hold lists, and are fields of ``Policy``.
_LISTS = ("select", "ignore", "accept")

_KEYS = (*_LISTS, "fail-on")


@dataclass(frozen=True)
class Settings:
    """What a project says: which findings matter, and from which severity up a check fails."""

    policy: Policy = Policy()
    fail_on: Severity = "warning"


def read_settings(folder: Path) -> Settings:
    """Return the settings in the pyproject.toml of a folder, or else of the nearest of its parents that has one.

    Parameters
    ----------
    folder
        Where to begin, as an absolute path.

    Raises
    ------
    PolicyError
        If the file is not TOML, or its table ``[tool.rfgraph]`` cannot be read.
    """
    path = next((p for p in (f / "pyproject.toml" for f in (folder, *folder.parents)) if p.is_file()), None)
    if path is None:
        return Settings()
    import tomllib  # most folders have no such file

    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8")).get("tool", {})
    except (ValueError, RecursionError) as error:  # TOML, or UTF-8
        raise PolicyError(f"{path}: it is not TOML ({error})") from error
    table = table.get("rfgraph", {}) if isinstance(table, dict) else {}
    try:
        return _settings(table)
    except PolicyError as error:
        raise PolicyError(f"{path}, [tool.rfgraph]: {error}") from error


def _settings(table: Any) -> Settings:
    if not isinstance(table, Mapping):
        raise PolicyError("it is not a table")
    settings = Settings()
    for key, value in table.items():
        if key not in _KEYS:
            raise PolicyError(f"{key!r} is no key of it{near(key, _KEYS)}; there are {', '.join(_KEYS)}")
        if key in _LISTS:
            if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
                raise PolicyError(f"{key}: {value!r} is not a list of strings")
            settings = replace(settings, policy=replace(settings.policy, **{key: tuple(value)}))
        elif value not in SEVERITIES:
            raise PolicyError(f"{key}: {value!r} is not one of {', '.join(SEVERITIES)}")
        else:
            settings = replace(settings, fail_on=value)
    return settings
