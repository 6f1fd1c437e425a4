"""Saved PyTorch models (``torch.export.save``): a zip with a JSON graph, read without torch.

Only the graph is read. Weights and sample inputs stay packed, nothing is unpickled, nothing is extracted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rfgraph.errors import ModelFileError
from rfgraph.importers import archive
from rfgraph.importers.aten import Exported, Graph, Ref, Step, user_line

_BOOLEAN = 12  # ScalarType of torch's schema


def read(path: str | os.PathLike[str]) -> Exported:
    """Return the graph of a ``.pt2`` file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ModelFileError
        If it cannot be read, or is not what ``torch.export.save`` writes.
    """
    name = os.fspath(path)
    with archive.refusing(name, "a model saved by torch.export.save"):
        return decoded(json.loads(_graph_text(name)), name, _shared(name))


def _graph_text(name: str) -> bytes:
    return archive.member(
        name,
        r"(.*/)?models/[^/]+\.json|serialized_exported_program\.json",
        "holds no exported graph (models/*.json); save the model by "
        "torch.export.save(torch.export.export(module, inputs), path), or pass the live module",
    )


def _shared(name: str) -> dict[str, str]:
    """Return the file that holds each parameter: one for those that are the same tensor."""
    try:
        text = archive.member(name, r"(.*/)?data/weights/\w+_weights_config\.json", "has no list of its weights")
    except ModelFileError:  # before PyTorch 2.8 all weights were in one pickle, which is not opened
        return {}
    return {str(parameter): str(entry["path_name"]) for parameter, entry in json.loads(text)["config"].items()}


def decoded(data: Any, name: str, shared: Mapping[str, str] | None = None) -> Exported:
    """Return the exported model that the JSON of a file stands for.

    Parameters
    ----------
    data
        The JSON.
    name
        What to call the model.
    shared
        What tells the tensor that each parameter is, where several may be the same.
    """
    module = data["graph_module"]
    signature = module["signature"]
    user = [_argument(spec["user_input"]["arg"]) for spec in signature["input_specs"] if "user_input" in spec]
    given = [_argument(spec["user_output"]["arg"]) for spec in signature["output_specs"] if "user_output" in spec]
    graph = replace(_graph(module["graph"]), outputs=tuple(given))
    learned = {}
    for spec in signature["input_specs"]:
        if "parameter" in spec:
            parameter = str(spec["parameter"]["parameter_name"])
            learned[str(spec["parameter"]["arg"]["name"])] = (shared or {}).get(parameter, parameter)
    return Exported(name, graph, tuple(n for n in _names(tuple(user)) if n in graph.shapes), learned)


def _graph(graph: Mapping[str, Any]) -> Graph:
    shapes: dict[str, tuple[int | str | None, ...] | None] = {}
    masks = set()
    for tensor, meta in graph["tensor_values"].items():
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
        found = _argument(entry)
        outputs += list(_names(found)) or [None]
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
    found = re.fullmatch(r"Symbol\('(\w{1,64})'.{0,200}\)|([a-z]\w{0,63})", str(size["as_expr"]["expr_str"]))
    return None if found is None else found[1] or found[2]


def _integer(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{number!r} is not an integer")
    return number


def _named(item: Mapping[str, Any]) -> Ref:
    name = item["name"]
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name")
    return Ref(name)


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
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return _named(value)
        case "as_tensors":
            return tuple(map(_named, value))
        case "as_optional_tensor":
            return _optional(value)
        case "as_optional_tensors":
            return tuple(map(_optional, value))
        case "as_nested_tensors":
            return tuple(tuple(map(_named, items)) for items in value)
        case "as_int":
            return _integer(value)
        case "as_ints":
            return tuple(map(_integer, value))
        case "as_sym_int" | "as_sym_bool" | "as_sym_float":
            return _symbolic(value)
        case "as_sym_ints" | "as_sym_bools" | "as_sym_floats":
            return tuple(map(_symbolic, value))
        case "as_float" | "as_bool" | "as_string":
            return value
        case "as_floats" | "as_bools" | "as_strings":
            return tuple(value)
        case "as_graph":
            return _graph(value["graph"])
        case _:  # types, devices, memory formats: no handler asks for them
            return _Other(kind)


class _Other:
    """An argument that no handler reads."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
