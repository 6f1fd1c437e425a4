"""Saved PyTorch models (``torch.export.save``): a zip with a JSON graph, read without torch.

Only the graph is read, and those of its constants that are a few integers, which may say what is read where. Weights
and sample inputs stay packed, nothing is unpickled, nothing is extracted.

PyTorch 2.1 to 2.6 wrote ``serialized_exported_program.json`` at the root of the zip, later ones ``models/NAME.json``
in a directory; the constants of the former are in a pickle, and so are not read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import prod as product
from typing import Any
from zipfile import ZipFile

import numpy as np

from rfgraph.errors import ModelFileError
from rfgraph.importers import archive
from rfgraph.importers.program.folding import MAX_ELEMENTS
from rfgraph.importers.spelling.stack import user_line
from rfgraph.importers.torch.reader import Exported, Graph, Ref, Step, titles_of

_BOOLEAN = 12  # ScalarType of torch's schema
#: Its types of integers, as numpy calls them.
_INTEGERS = {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", _BOOLEAN: "?", 28: "u2", 34: "u4", 35: "u8"}
_HALF = 13  # bfloat16: the first half of a number in single precision
#: Types whose elements are read, as numpy calls them; it has none of the last.
_STORED = {**_INTEGERS, 6: "f2", 7: "f4", 8: "f8", _HALF: "u2"}
_STRIDED = 7  # its Layout of tensors that are not sparse

#: A least size up to this is that of the exporter, which takes sizes for larger than 1, and no one checks it.
CHECKED_FROM = 2

#: Constants whose memory has more bytes than this are not read: they may be views of something large.
MAX_CONSTANT_BYTES = 8 * MAX_ELEMENTS
#: Nor are more constants than this.
MAX_CONSTANTS = 4096


def read(path: str | os.PathLike[str]) -> Exported:
    """Return the graph of a ``.pt2`` file.

    Raises
    ------
    ModelFileError
        If it cannot be read, or is not what ``torch.export.save`` writes.
    """
    name = os.fspath(path)
    with archive.refusing(name, "a model saved by torch.export.save"):
        with ZipFile(name) as opened:  # once: its list of members is as long as that of the weights
            data = archive.parsed(name, _graph_text(opened))
            payloads = {what: _payloads(opened, what) for what in ("weights", "constants")}
            contents, numbers = _fixed(opened, data, payloads)
        # The file that holds each parameter: one for those that are the same tensor.
        shared = {parameter: str(entry["path_name"]) for parameter, entry in payloads["weights"].items()}
        return replace(decoded(data, name, shared), contents=contents, numbers=numbers)


def _graph_text(opened: ZipFile) -> str:
    return archive.member(
        opened,
        r"(.*/)?models/[^/]+\.json|serialized_exported_program\.json",
        "holds no exported graph (models/*.json); save the model by "
        "torch.export.save(torch.export.export(module, inputs), path), or pass the live module",
    )


def _payloads(opened: ZipFile, what: str) -> dict[str, Any]:
    """Return what an archive says of its weights or constants, by name."""
    try:
        text = archive.member(opened, rf"(.*/)?data/{what}/\w+_{what}_config\.json", f"has no list of its {what}")
    except ModelFileError:  # PyTorch before 2.7 put all of them into one pickle, which is not opened
        return {}
    return dict(archive.parsed(str(opened.filename), text)["config"])


def _fixed(
    opened: ZipFile, data: Any, payloads: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    """Return what the inputs of a graph hold that are no parameters.

    Returns
    -------
    Those that are small constants of integers, as nested lists, and what reads the others.
    """
    wanted = {}
    for spec in data["graph_module"]["signature"].get("input_specs", ()):
        for kind, called in (("buffer", "buffer_name"), ("tensor_constant", "tensor_constant_name")):
            if kind in spec:
                wanted[str(spec[kind][called])] = str(spec[kind]["arg"]["name"])
    files: dict[str, list[tuple[str, Any]]] = {}
    large: dict[str, tuple[str, Any]] = {}
    for what, entries in payloads.items():
        for constant, entry in entries.items():
            meta = entry.get("tensor_meta")
            if constant not in wanted or not meta or entry["use_pickle"]:
                continue
            path = f"data/{what}/{entry['path_name']}"
            if _is_small(meta) and len(files) < MAX_CONSTANTS:
                files.setdefault(path, []).append((wanted[constant], meta))
            elif meta["dtype"] in _STORED and meta["layout"] == _STRIDED:
                large[wanted[constant]] = path, meta
    files_read = archive.small(opened, {"byteorder", *files}, MAX_CONSTANT_BYTES) if files or large else {}
    order = ">" if files_read.get("byteorder", b"little").strip() == b"big" else "<"
    contents = {
        called: _elements(files_read[path], meta, order)
        for path, constants in files.items()
        for called, meta in constants
        if path in files_read
    }
    return contents, {
        called: partial(_stored, str(opened.filename), path, meta, order) for called, (path, meta) in large.items()
    }


def _stored(name: str, path: str, meta: Mapping[str, Any], order: str) -> Any:
    """Return the numbers of a tensor of an archive, ``None`` if they cannot be read."""
    sizes = [_integer(_extent(size)) for size in meta["sizes"]]
    if not 0 < product(sizes) <= MAX_ELEMENTS:
        return None
    with archive.refusing(name, "a model saved by torch.export.save"):
        with ZipFile(name) as opened:
            contents = archive.small(opened, {path}, MAX_CONSTANT_BYTES)
        return _array(contents[path], meta, order) if path in contents else None


def _is_small(meta: Mapping[str, Any]) -> bool:
    sizes = [size for size in map(_extent, meta["sizes"]) if isinstance(size, int) and size > 0]
    known = len(sizes) == len(meta["sizes"]) and product(sizes) <= MAX_ELEMENTS
    return known and meta["dtype"] in _INTEGERS and meta["layout"] == _STRIDED


def _elements(memory: bytes, meta: Mapping[str, Any], order: str) -> Any:
    """Return the elements of a strided tensor from its memory, as nested lists."""
    return _array(memory, meta, order).tolist()


def _array(memory: bytes, meta: Mapping[str, Any], order: str) -> Any:
    kind = np.dtype(order + _STORED[meta["dtype"]])
    flat = np.frombuffer(memory[: len(memory) // kind.itemsize * kind.itemsize], kind)
    places = np.array(_integer(_extent(meta["storage_offset"])), dtype=object)
    for size, stride in zip(meta["sizes"], meta["strides"], strict=True):
        steps = np.arange(_integer(_extent(size)), dtype=object) * _integer(_extent(stride))
        places = np.add.outer(places, steps)
    if places.min() < 0 or places.max() >= len(flat):
        raise ValueError(f"a constant reads {places.min()} to {places.max()} of the {len(flat)} elements that it has")
    stored = flat[places.astype(np.int64)]
    return (stored.astype(np.uint32) << 16).view(np.float32) if meta["dtype"] == _HALF else stored


def decoded(data: Any, name: str, shared: Mapping[str, str] | None = None) -> Exported:
    """Return the exported model that the JSON of a file stands for.

    Parameters
    ----------
    name
        What to call the model.
    shared
        What tells the tensor that each parameter is, where several may be the same.
    """
    module = data["graph_module"]
    guards = tuple(map(str, data.get("guards_code") or ()))
    ranges = {_text(symbol): ends.get("min_val") for symbol, ends in (data.get("range_constraints") or {}).items()}
    least = {symbol: number for symbol, number in ranges.items() if isinstance(number, int) and number > CHECKED_FROM}
    graph = _graph(module["graph"])
    user, given, parameters = _signature(module["signature"])
    learned = {tensor: (shared or {}).get(parameter, parameter) for tensor, parameter in parameters.items()}
    tensors = tuple(n for n in _names(tuple(user)) if n in graph.shapes)
    calls = module.get("module_call_graph") or [{}]
    spec = (calls[0].get("signature") or {}).get("out_spec")
    titles = titles_of(spec) if isinstance(spec, str) else ()
    graph = replace(graph, outputs=tuple(given))
    return Exported(name, graph, tensors, learned, titles=titles, guards=guards, least=least)


def _signature(signature: Mapping[str, Any]) -> tuple[list[Any], list[Any], dict[str, str]]:
    """Return the arguments that users give and get, and the parameters: the tensors that they are -> their names."""
    if "input_specs" not in signature:  # PyTorch 2.1
        user, given = ([Ref(_text(item)) for item in signature[key]] for key in ("user_inputs", "user_outputs"))
        return user, given, {_text(k): _text(v) for k, v in signature["inputs_to_parameters"].items()}
    user = [_argument(spec["user_input"]["arg"]) for spec in signature["input_specs"] if "user_input" in spec]
    given = [_argument(spec["user_output"]["arg"]) for spec in signature["output_specs"] if "user_output" in spec]
    parameters = {}
    for spec in signature["input_specs"]:
        if "parameter" in spec:
            parameters[_text(spec["parameter"]["arg"]["name"])] = _text(spec["parameter"]["parameter_name"])
    return user, given, parameters


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name")
    return name


def _graph(graph: Mapping[str, Any]) -> Graph:
    shapes: dict[str, tuple[int | str | None, ...] | None] = {}
    masks = set()
    for tensor, value in graph["tensor_values"].items():
        meta = value.get("meta", value)  # PyTorch 2.1 has it one deeper
        shapes[tensor] = tuple(_extent(size) for size in meta["sizes"])
        if meta.get("dtype") == _BOOLEAN:
            masks.add(tensor)
    inputs = tuple(name for item in graph["inputs"] for name in _names(_argument(item)))
    steps = tuple(_step(node) for node in graph["nodes"])
    return Graph(inputs, steps, tuple(_argument(item) for item in graph["outputs"]), shapes, frozenset(masks))


def _names(argument: Any) -> Iterator[str]:
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, tuple):
        for item in argument:
            yield from _names(item)


def _step(node: Mapping[str, Any]) -> Step:
    arguments = {}
    for k, entry in enumerate(node["inputs"]):
        arguments[str(entry.get("name") or k)] = _argument(entry["arg"])
    outputs: list[str | None] = []
    for entry in node["outputs"]:
        argument = _argument(entry)
        outputs += list(_names(argument)) or [None]
    metadata = node.get("metadata") or {}
    instance, path = "", ""
    stack = metadata.get("nn_module_stack") or ""
    if not isinstance(node["target"], str) or not isinstance(stack, str):
        raise ValueError("a node's target is no text")
    if stack:
        instance, _, rest = stack.rpartition(";")[2].partition(",")
        path = rest.partition(",")[0]
    return Step(node["target"], arguments, tuple(outputs), path, instance, user_line(metadata.get("stack_trace")))


def _extent(size: Mapping[str, Any]) -> int | str | None:
    """Return a size: a number, the name of a symbol, or ``None`` for a formula."""
    if "as_int" in size:
        return _integer(size["as_int"])
    formula = str(size["as_expr"]["expr_str"])
    if re.fullmatch(r"\d{1,18}", formula):  # a size that was closed after all
        return int(formula)
    symbol = re.fullmatch(r"Symbol\('(\w{1,64})'.{0,200}\)|([a-z]\w{0,63})", formula)
    return None if symbol is None else symbol[1] or symbol[2]


def _integer(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{number!r} is not an integer")
    return number


def _named(item: Mapping[str, Any]) -> Ref:
    return Ref(_text(item["name"]))


def _symbolic(item: Mapping[str, Any]) -> Any:
    if "as_name" in item:
        return _named({"name": item["as_name"]})
    return next(iter(item.values()))


def _optional(item: Mapping[str, Any]) -> Ref | None:
    return _named(item["as_tensor"]) if "as_tensor" in item else None


def _argument(tagged: Mapping[str, Any]) -> Any:
    """Return an argument, which the file writes as one value under the name of its type."""
    (kind, value), *others = tagged.items()
    if others:
        raise ValueError(f"an argument is of several types: {', '.join(map(str, tagged))}")
    if kind in _SINGLE:
        return _SINGLE[kind](value)
    if kind.endswith("s") and kind[:-1] in _SINGLE:
        return tuple(map(_SINGLE[kind[:-1]], value))
    match kind:
        case "as_none":
            return None
        case "as_nested_tensors":
            return tuple(tuple(map(_named, items)) for items in value)
        case "as_graph":
            return _graph(value["graph"])
        case _:  # types, devices, memory formats: no handler asks for them
            return _Other(kind)


def _same(value: Any) -> Any:
    return value


def _float(value: Any) -> float:
    """Return a number, which is a word where JSON has none for it: ``Infinity``, ``NaN``."""
    return float(value)


class _Other:
    """An argument that no handler reads."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


#: Types of which an argument is one, or a list of them: there the name of the type has an s.
_SINGLE: dict[str, Callable[[Any], Any]] = {
    "as_tensor": _named, "as_optional_tensor": _optional, "as_int": _integer, "as_sym_int": _symbolic,
    "as_sym_bool": _symbolic, "as_sym_float": _symbolic, "as_float": _float, "as_bool": _same, "as_string": _same,
}  # fmt: skip
