"""What a project says of its networks: ``[tool.rfgraph]`` in its pyproject.toml.

[tool.rfgraph]
select = ["RF"]
ignore = ["RF006"]
accept = ["RF002:block*/add"]
fail-on = "error"
input-size = 224
alignment = "center"
causal = "t"
treat = {"GridSample" = "identity"}
budget = {min-r = 200, max-look-ahead = 0, max-parameters = 30_000_000, tile-multiple = 64}

[tool.rfgraph.models."audio/*.onnx"]
input-size = {wave = 16000}
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from rfgraph.algebra.alignment import Mode
from rfgraph.errors import AttributeValueError, PolicyError
from rfgraph.frozen import dataclass
from rfgraph.graph.treatments import TREATMENTS
from rfgraph.ops import near
from rfgraph.policy import Policy
from rfgraph.questions.budget import Budget
from rfgraph.questions.findings import SEVERITIES, Severity

#: Keys of the table that hold lists, and are fields of ``Policy``.
_LISTS = ("select", "ignore", "accept")

#: Keys that one model may have of its own, and all that there are.
_OWN = (*_LISTS, "treat", "input-size", "alignment", "causal", "budget")
_KEYS = (*_LISTS, "fail-on", *_OWN[len(_LISTS) :], "models")

#: Keys of the table ``budget`` -> what they are in Python.
_DEMANDS = {demand.name.replace("_", "-"): demand.name for demand in fields(Budget)}

#: A size for all axes, one per axis, or either for each input by name.
Size = int | tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """What a project says: how its models are read, which findings matter, and when a check fails."""

    policy: Policy = Policy()
    fail_on: Severity = "warning"
    #: Patterns of nodes -> what they read; the first that fits counts.
    treat: Mapping[str, str] = field(default_factory=dict)
    input_size: Size | Mapping[str, Size] | None = None
    alignment: str | tuple[str, ...] | None = None
    #: The axis along which what looks ahead is a finding; ``True`` is the first one.
    causal: str | bool | None = None
    budget: Budget = Budget()
    #: What is said of some models alone: patterns of their names, and their own tables.
    models: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    #: Where the file is from which patterns of models count.
    folder: Path | None = field(default=None, compare=False)

    @property
    def causal_axis(self) -> str | None:
        """Name of the axis that is to be causal, ``None`` for the first one."""
        return self.causal if isinstance(self.causal, str) else None

    def of(self, model: str) -> Settings:
        """Return what is said of one model: each table whose pattern fits it comes before what is said of all.

        Its lists ``accept`` and its tables ``treat`` and ``budget`` add to those of all, and other keys replace them.

        Parameters
        ----------
        model
            What names it on the command line.

        Examples
        --------
        >>> settings = Settings(input_size=224, models=(("audio/*", {"input-size": 16000}),))
        >>> settings.of("audio/a.onnx").input_size, settings.of("zoo:vgg_16").input_size
        (16000, 224)
        """
        settings = self
        for pattern, table in self.models:
            if any(fnmatchcase(name, pattern) for name in self._names(model)):
                settings = _with(settings, table)
        return settings

    def _names(self, model: str) -> set[str]:
        """Return what a pattern may call a model: as it was named, and by its path from the project's folder."""
        names = {model, model.replace(os.sep, "/")}
        if self.folder is not None and not model.startswith("zoo:"):
            names.add(Path(os.path.relpath(model, self.folder)).as_posix())
        return names


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
    where = f"{path}, [tool.rfgraph"
    try:
        settings = replace(_with(Settings(), _table(table, _KEYS)), folder=path.parent)
        for pattern, own in settings.models:
            where = f"{path}, [tool.rfgraph.models.{pattern!r}"
            _with(settings, _table(own, _OWN))
    except PolicyError as error:
        raise PolicyError(f"{where}]: {error}") from error
    return settings


def _table(table: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Return a table as it is, if it is one and has no other keys."""
    if not isinstance(table, Mapping):
        raise PolicyError("it is not a table")
    for key in table:
        if key not in keys:
            raise PolicyError(f"{key!r} is no key of it{near(key, keys)}; there are {', '.join(keys)}")
    return table


def _with(settings: Settings, table: Mapping[str, Any]) -> Settings:
    """Return settings with what a table says of them."""
    for key, value in table.items():
        if key in _READERS:
            settings = replace(settings, **{key.replace("-", "_"): _READERS[key](value, settings)})
        elif key in _LISTS:
            if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
                raise PolicyError(f"{key}: {value!r} is not a list of strings")
            added = settings.policy.accept if key == "accept" else ()
            settings = replace(settings, policy=replace(settings.policy, **{key: (*added, *value)}))
    return settings


def _severity(value: Any) -> Any:
    if value not in SEVERITIES:
        raise PolicyError(f"fail-on: {value!r} is not one of {', '.join(SEVERITIES)}")
    return value


def _causal(value: Any) -> str | bool:
    if not isinstance(value, (str, bool)):
        raise PolicyError(f'causal: {value!r} is not the name of an axis, as "t", or true for the first one')
    return value


def _models(value: Any) -> tuple[tuple[str, Any], ...]:
    if not isinstance(value, Mapping):
        raise PolicyError('models: it is not a table; write [tool.rfgraph.models."audio/*.onnx"]')
    return tuple(value.items())


def _treatments(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise PolicyError(f'treat: {value!r} is not a table of patterns, as {{"GridSample" = "identity"}}')
    for pattern, how in value.items():
        if how not in TREATMENTS:
            known = ", ".join(TREATMENTS)
            raise PolicyError(f"treat: {pattern!r} is {how!r}, which is not one of {known}{near(str(how), TREATMENTS)}")
    return dict(value)


def _input_size(value: Any) -> Size | dict[str, Size]:
    if isinstance(value, Mapping):
        return {name: _size(size) for name, size in value.items()}
    return _size(value)


def _size(value: Any) -> Size:
    entries = value if isinstance(value, list) else [value]
    if not entries or not all(isinstance(entry, int) and entry is not True and entry > 0 for entry in entries):
        raise PolicyError(
            f"input-size: {value!r} is no size; write 224, one number per axis as [224, 320], or a table of inputs"
        )
    return tuple(entries) if isinstance(value, list) else entries[0]


def _alignment(value: Any) -> str | tuple[str, ...]:
    known = get_args(Mode)
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if entry not in known:
            raise PolicyError(
                f"alignment: {entry!r} is not one of {', '.join(known)}{near(str(entry), known)}, for all axes or in a "
                "list of one per axis"
            )
    return tuple(entries) if isinstance(value, list) else value


def _budget(value: Any, before: Budget) -> Budget:
    if not isinstance(value, Mapping):
        raise PolicyError(f"budget: {value!r} is not a table, as {{min-r = 200}}")
    for key in value:
        if key not in _DEMANDS:
            raise PolicyError(f"budget: {key!r} is no key of it{near(key, _DEMANDS)}; there are {', '.join(_DEMANDS)}")
    try:
        return replace(before, **{_DEMANDS[key]: demand for key, demand in value.items()})
    except AttributeValueError as error:
        raise PolicyError(f"budget: {error}") from error


#: Keys that hold no lists -> what reads them, beside what is known before.
_READERS: dict[str, Callable[[Any, Settings], Any]] = {
    "fail-on": lambda value, before: _severity(value),
    "treat": lambda value, before: {**_treatments(value), **before.treat},
    "input-size": lambda value, before: _input_size(value),
    "alignment": lambda value, before: _alignment(value),
    "causal": lambda value, before: _causal(value),
    "budget": lambda value, before: _budget(value, before.budget),
    "models": lambda value, before: _models(value),
}
