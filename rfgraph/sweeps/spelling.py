"""Choices as text: what the command line takes, and files of designs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rfgraph.errors import AttributeValueError, SweepError
from rfgraph.sweeps.designs import Key

#: Between keys that are set together, and between their values.
TOGETHER = "&"

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_PER_AXIS = re.compile(r"[+-]?[0-9]{1,18}(x[+-]?[0-9]{1,18})+")
_WORDS = {"true": True, "false": False, "none": None}


def choice(text: str) -> tuple[Key, list[Any]]:
    """Return the key and values that a text gives.

    Raises
    ------
    AttributeValueError
        If it is no choice.

    Examples
    --------
    >>> choice("conv*.kernel=3,5,1x7")
    ('conv*.kernel', [3, 5, [1, 7]])
    >>> choice("c.kernel & c.padding = 3 & same, 5 & 2")
    (('c.kernel', 'c.padding'), [(3, 'same'), (5, 2)])
    >>> choice("up.scale=[2, [2, 4]]")
    ('up.scale', [2, [2, 4]])
    """
    left, separator, right = text.rpartition("=")
    if not (separator and left.strip() and right.strip()):
        raise AttributeValueError(f"{text!r} is no choice; write PATTERN.ATTRIBUTE=VALUE,VALUE, as conv*.kernel=3,5,7")
    keys = [key.strip() for key in left.split(TOGETHER)]
    if right.lstrip().startswith("["):
        try:
            values = json.loads(right)
        except (ValueError, RecursionError) as error:
            raise AttributeValueError(f"{text!r}: its values are no JSON list ({error})") from None
    else:
        values = [[_value(part) for part in entry.split(TOGETHER)] for entry in right.split(",")]
        if len(keys) == 1:
            if any(len(entry) > 1 for entry in values):
                raise AttributeValueError(f"{text!r} has values set together for one key; write A{TOGETHER}B=1&2,3&4")
            values = [entry[0] for entry in values]
    if len(keys) == 1:
        return keys[0], values
    return tuple(keys), [tuple(entry) if isinstance(entry, list) else entry for entry in values]


def _value(text: str) -> Any:
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if _PER_AXIS.fullmatch(text):
        return [int(entry) for entry in text.split("x")]
    return _WORDS.get(text, text)


def designs(path: str) -> Any:
    """Return the choices in a JSON file: a mapping from key to values, or a list of designs.

    Raises
    ------
    SweepError
        If it holds neither.
    """
    try:
        stated = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SweepError(f"{path} is no JSON file of designs: {error}") from None
    if isinstance(stated, list):
        return stated
    if not isinstance(stated, dict):
        raise SweepError(f"{path} holds neither a list of designs nor a mapping from keys to values")
    choices: dict[Key, Any] = {}
    for key, values in stated.items():
        keys = tuple(part.strip() for part in key.split(TOGETHER))
        if len(keys) > 1 and isinstance(values, list):
            choices[keys] = [tuple(value) if isinstance(value, list) else value for value in values]
        else:
            choices[key] = values
    return choices


def merged(texts: list[str], path: str | None = None) -> Any:
    """Return all choices that are given, as texts and as a file.

    Raises
    ------
    AttributeValueError
        If a key is given twice, or texts beside a list of designs.
    """
    choices = designs(path) if path is not None else {}
    for text in texts:
        if isinstance(choices, list):
            raise AttributeValueError(f"{path} is a list of designs, which leaves nothing to combine with {text!r}")
        key, values = choice(text)
        if key in choices:
            raise AttributeValueError(f"{text!r}: this key has values already; give them all at once")
        choices[key] = values
    return choices
