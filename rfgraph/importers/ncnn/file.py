"""ncnn's parameter files (``.param``): one layer in a line, in plain Python. Weights, in a file beside, are not read.

References
----------
Tencent/ncnn, ``docs/developer-guide/param-and-model-file-structure.md``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers import archive

#: What a parameter file begins with.
MAGIC = "7767517"
#: Layers of a file, inputs and outputs of one, entries of a list: more are refused.
MAX_LAYERS, MAX_BLOBS, MAX_ENTRIES = 100_000, 4096, 4096
#: What a list adds to the number of a parameter.
LISTS = -23300

_PART = re.compile(r'-?\d{1,6}="[^"]*"|\S+')


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: the blobs that it reads and makes, and its parameters by their numbers."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its layers, in the order of the file."""

    name: str
    layers: tuple[Layer, ...]


def decode(path: str | os.PathLike[str]) -> Model:
    """Return the model that a parameter file holds.

    Raises
    ------
    ModelFileError
        If it cannot be read, or is no parameter file of ncnn.
    """
    name = os.fspath(path)
    with archive.refusing(name, "a parameter file of ncnn"):
        with open(name, "rb") as file:
            text = file.read(archive.MAX_BYTES + 1)
        if len(text) > archive.MAX_BYTES:
            raise ValueError(f"it has more than {archive.MAX_BYTES} bytes")
        lines = text.decode().split("\n")
        if lines[0].strip() != MAGIC:
            raise ModelFileError(
                f"{name}: no parameter file of ncnn as text: its first line is not {MAGIC}; a binary one, and one of "
                "before 2017, are made anew from the model by pnnx"
            )
        rows = [line for line in lines[2:] if line.strip()]
        if len(rows) > MAX_LAYERS:
            raise ValueError(f"it has {len(rows)} layers, more than {MAX_LAYERS}")
        if any("." in row.split(maxsplit=1)[0] for row in rows):  # nn.Conv2d, aten::cat
            raise ModelFileError(
                f"{name}: it is a graph of pnnx, not a network of ncnn; read the .ncnn.param that pnnx writes beside it"
            )
        layers = tuple(map(_layer, rows))
        if not layers:
            raise ValueError("it has no layers")
        return Model(name, layers)


def _layer(line: str) -> Layer:
    op, name, reads, makes, *rest = _PART.findall(line)
    count, outputs = int(reads), int(makes)
    if not 0 <= count <= MAX_BLOBS or not 0 <= outputs <= MAX_BLOBS or count + outputs > len(rest):
        raise ValueError(f"layer {name[:80]!r} has {reads} inputs and {makes} outputs")
    parameters: dict[int, Any] = {}
    for part in rest[count + outputs :]:
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"layer {name[:80]!r}: {part[:80]!r} is no parameter")
        number = int(key)
        if number <= LISTS:
            length, *entries = value.split(",")
            if int(length) != len(entries) or len(entries) > MAX_ENTRIES:
                raise ValueError(f"layer {name[:80]!r}: parameter {LISTS - number} is no list of {length[:20]}")
            parameters[LISTS - number] = tuple(map(_number, entries))
        else:
            parameters[number] = value.strip('"') if value.startswith('"') else _number(value)
    return Layer(op, name, tuple(rest[:count]), tuple(rest[count : count + outputs]), parameters)


def _number(text: str) -> Any:
    """Return an integer, or a float where one is written."""
    if len(text) > 40:
        raise ValueError(f"{text[:40]!r} is no number")
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"[-+.\deE]+", text) else text
