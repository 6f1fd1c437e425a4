"""OpenVINO's intermediate representation: an XML file with the layers and edges of a model, in plain Python.

The XML is taken for hostile: a document type, and with it any entity, is refused before it is read, and so are more
elements, or deeper ones, than any model has. Of the ``.bin`` file with the weights nothing is read but small constants.

References
----------
openvinotoolkit/openvino, ``docs/articles_en/documentation/openvino-ir-format``: layers, ports, edges, constants.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers import archive
from rfgraph.importers.program.exact import Data, data_of
from rfgraph.importers.program.folding import MAX_ELEMENTS, MAX_FLOATS, constant

#: Elements of an XML file, and elements within elements, beyond which it is refused.
MAX_TAGS, MAX_DEPTH = 5_000_000, 200
#: Dimensions of a tensor; numpy knows 32.
MAX_RANK = 16

#: Element types: kind, and how numpy reads them; others are not read.
TYPES = {
    "f32": ("float", "<f4"), "f16": ("float", "<f2"), "f64": ("float", "<f8"), "i8": ("integer", "<i1"),
    "i16": ("integer", "<i2"), "i32": ("integer", "<i4"), "i64": ("integer", "<i8"), "u8": ("integer", "<u1"),
    "u16": ("integer", "<u2"), "u32": ("integer", "<u4"), "u64": ("integer", "<u8"), "boolean": ("integer", "<u1"),
}  # fmt: skip
FLOATS = ("f16", "bf16", "f32", "f64", "f8e4m3", "f8e5m2", "nf4")


@dataclass(frozen=True, slots=True)
class Port:
    """An output of a layer: its shape, with ``None`` for sizes that are open, and what its tensor is called."""

    id: str
    shape: tuple[int | None, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its attributes, the ports that it reads in order, and those that it makes."""

    id: str
    name: str
    op: str
    opset: int
    attributes: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its layers by their ids, and for each port that is read the one that makes its tensor."""

    name: str
    layers: Mapping[str, Layer]
    edges: Mapping[tuple[str, str], tuple[str, str]]
    #: What small constants hold, by the ids of their layers.
    contents: Mapping[str, Data] = field(default_factory=dict)


def decode(path: str | os.PathLike[str]) -> Model:
    """Return the model that an XML file holds.

    Raises
    ------
    ModelFileError
        If it cannot be read, or is no model of OpenVINO.
    """
    name = os.fspath(path)
    with archive.refusing(name, "a model of OpenVINO (.xml)"):
        root = _parsed(Path(name))
        if root.tag != "net" or root.find("layers") is None:
            raise ModelFileError(f"{name}: XML, but no model of OpenVINO: it needs a <net> with <layers> and <edges>")
        layers = [_layer(element) for element in root.iterfind("layers/layer")]
        edges = {}
        for edge in root.iterfind("edges/edge"):
            ends = [edge.attrib[key] for key in ("to-layer", "to-port", "from-layer", "from-port")]
            edges[ends[0], ends[1]] = (ends[2], ends[3])
        known = {layer.id: layer for layer in layers}
        if len(known) < len(layers):
            raise ValueError("two layers have the same id")
        return Model(name, known, edges, _contents(layers, Path(name).with_suffix(".bin")))


# XML.


class _Tree:
    """Builds the elements of a document that has no document type."""

    def __init__(self) -> None:
        self.builder = TreeBuilder()
        self.depth = self.count = 0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.builder.data
        self.parser.StartDoctypeDeclHandler = self.refuse
        self.parser.EntityDeclHandler = self.refuse
        self.parser.ExternalEntityRefHandler = self.refuse

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > MAX_DEPTH or self.count > MAX_TAGS:
            raise ValueError(f"its XML has more than {MAX_TAGS} elements, or they stand more than {MAX_DEPTH} deep")
        self.builder.start(tag, attributes)

    def end(self, tag: str) -> None:
        self.depth -= 1
        self.builder.end(tag)

    def refuse(self, *_: Any) -> int:
        raise ValueError("its XML has a document type or entities, which no model has and which are not read")


def _parsed(path: Path) -> Element:
    with path.open("rb") as file:
        text = file.read(archive.MAX_BYTES + 1)
    if len(text) > archive.MAX_BYTES:
        raise ValueError(f"it has more than {archive.MAX_BYTES} bytes")
    tree = _Tree()
    try:
        tree.parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ValueError(f"no XML, or cut off: {error}") from error
    return tree.builder.close()


def _layer(element: Element) -> Layer:
    attributes = element.find("data")
    opset = element.attrib.get("version", "")
    return Layer(
        element.attrib["id"],
        element.attrib.get("name") or element.attrib["id"],
        element.attrib["type"],
        int(opset.removeprefix("opset")) if opset.removeprefix("opset").isdecimal() and len(opset) < 9 else 0,
        {} if attributes is None else dict(attributes.attrib),
        tuple(port.attrib["id"] for port in element.iterfind("input/port")),
        tuple(_port(port) for port in element.iterfind("output/port")),
    )


def _port(port: Element) -> Port:
    sizes = [int(dim.text or "") for dim in port.iterfind("dim")]
    if len(sizes) > MAX_RANK or any(not -1 <= size < 2**63 for size in sizes):
        raise ValueError(f"a tensor has shape {sizes[:20]}")
    names = tuple(name for name in port.attrib.get("names", "").split(",") if name)
    return Port(port.attrib["id"], tuple(None if size == -1 else size for size in sizes), names)


# Constants.


def _contents(layers: list[Layer], path: Path) -> dict[str, Data]:
    """Return what small constants hold, of the file beside the XML that is called as it is."""
    if not path.is_file() or path.is_symlink():
        return {}
    contents = {}
    with path.open("rb") as file:
        for layer in layers:
            data = _small(layer, file) if layer.op == "Const" else None
            if data is not None:
                contents[layer.id] = data
    return contents


def _small(layer: Layer, file: BinaryIO) -> Data | None:
    """Return what a constant holds, ``None`` if that is large, no number, or not in the file."""
    kind, dtype = TYPES.get(layer.attributes.get("element_type", ""), ("", ""))
    if not kind or not layer.outputs or None in layer.outputs[0].shape:
        return None
    shape = layer.outputs[0].shape
    count = 1
    for size in shape:
        count *= size or 0
    width = count * np.dtype(dtype).itemsize
    start = int(layer.attributes.get("offset", "-1"))
    if count > (MAX_FLOATS if kind == "float" else MAX_ELEMENTS) or not 0 <= start < 2**62:
        return None
    if not count:  # of which a byte is written all the same
        return constant(np.empty(shape, dtype=object), integer=kind == "integer")
    if int(layer.attributes.get("size", width)) != width:
        return None
    file.seek(start)
    stored = file.read(width)
    if len(stored) < width:
        return None
    numbers: Any = np.frombuffer(stored, np.dtype(dtype), count)
    return data_of(numbers.reshape(shape), integer=kind == "integer")
