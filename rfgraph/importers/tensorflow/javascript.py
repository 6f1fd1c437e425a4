"""Graph models of TensorFlow.js: a ``model.json`` that holds a graph as JSON, and weights in files beside it.

What a graph computes shapes and indices with stands among the weights, so that the few small numbers of them are read:
from files that lie in the folder of the ``model.json`` itself, and no more of them than that.

References
----------
``tfjs-converter/README.md`` and ``tfjs-core/src/io/types.ts`` of tensorflow/tfjs: the weights of a group lie one after
the other in its files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers.program import MAX_ELEMENTS, MAX_FLOATS, Given, Program
from rfgraph.importers.tensorflow import protos
from rfgraph.importers.tensorflow.files import Model, signed
from rfgraph.importers.tensorflow.reader import program_of

#: Types of a manifest: bytes of an element, and the number of its type.
SIZES = {"float32": (4, 1), "int32": (4, 3), "bool": (1, 10), "complex64": (8, 8)}
#: Bytes of an element as it is stored, where weights are quantised.
QUANTISED = {"uint8": 1, "uint16": 2, "float16": 2}
#: Weights of a manifest, files of it: more are refused.
MAX_WEIGHTS = 500_000
MAX_DEPTH = 100

#: What reading a damaged one raises.
BROKEN = (json_format.ParseError, ValueError, TypeError, KeyError, RecursionError, AttributeError, OverflowError)


def programs_of(path: str, data: Mapping[str, Any]) -> Callable[[Mapping[str, Given]], Program]:
    """Return what reads a graph model anew for given inputs; ``data`` is what its ``model.json`` holds."""
    return partial(program_of, opened(path, data))


def opened(path: str, data: Mapping[str, Any]) -> Model:
    """Return the graph that a ``model.json`` holds, with the small numbers of its weights.

    Raises
    ------
    ModelFileError
        If it is damaged.
    """
    try:
        graph = _message("GraphDef", data["modelTopology"])
        metadata = data.get("userDefinedMetadata")
        stated = data.get("signature") or (metadata.get("signature") if isinstance(metadata, dict) else None)
        signature = _message("SignatureDef", stated or {})
        if not graph.node:
            raise ValueError("it has no nodes")
        _fill(graph, dict(_weights(data.get("weightsManifest") or [], Path(path).parent)))
        return signed(path, graph, [signature] if stated else [], [])
    except BROKEN as error:
        why = f"{type(error).__name__}: {error}"[:300]
        raise ModelFileError(f"{path}: not a graph model of TensorFlow.js, or a damaged one ({why})") from error


def _message(kind: str, data: Any) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"its {kind} is no object")
    json.dumps(data, ensure_ascii=False).encode()  # halves of characters: protobuf fails on them in ways of its own
    message = protos.message_class(kind)()
    return json_format.ParseDict(data, message, ignore_unknown_fields=True, max_recursion_depth=MAX_DEPTH)


# Weights.


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight of the manifest: its type in protobuf, its shape, and its contents where they are few."""

    kind: int
    shape: tuple[int, ...]
    contents: bytes | None


def _weights(manifest: Any, folder: Path) -> Iterator[tuple[str, Weight]]:
    """Return the weights of a manifest by their names."""
    if not isinstance(manifest, list):
        raise ValueError("its weightsManifest is no list")
    count = 0
    for group in manifest:
        paths, entries = group["paths"], group["weights"]
        if not isinstance(paths, list) or not isinstance(entries, list):
            raise ValueError("the paths or the weights of a group are no list")
        count += len(entries) + len(paths)
        if count > MAX_WEIGHTS:
            raise ValueError(f"its manifest names more than {MAX_WEIGHTS} weights")
        shards = _Shards(paths, folder)
        at: int | None = 0  # where the next weight begins, ``None`` behind text, whose length the manifest leaves out
        for entry in entries:
            name, shape = str(entry["name"]), _sizes(entry["shape"])
            elements = 1
            for size in shape:
                elements *= size
            stored, kind = SIZES.get(str(entry["dtype"]), (0, 0))
            quantised = entry.get("quantization")
            width = stored if quantised is None else QUANTISED.get(str(quantised["dtype"]), 0)
            few = elements <= (MAX_FLOATS if kind == 1 else MAX_ELEMENTS)
            wanted = at is not None and few and quantised is None and kind in (1, 3, 10)
            contents = shards.read(at, elements * width) if wanted and at is not None else None
            yield name, Weight(kind, shape, contents)
            at = at + elements * width if at is not None and width else None


def _sizes(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise ValueError(f"shape {str(shape)[:80]} of a weight is no list of sizes")
    return tuple(shape)


class _Shards:
    """The files of a group, read as one; those that do not lie beside the ``model.json`` are not there."""

    def __init__(self, paths: Sequence[Any], folder: Path) -> None:
        self.files: list[tuple[int, Path]] = []  # where each begins
        self.end: int | None = 0
        for path in paths:
            shards = beside(folder, path)
            if shards is None:
                break
            assert self.end is not None
            self.files.append((self.end, shards))
            self.end += shards.stat().st_size

    def read(self, start: int, count: int) -> bytes | None:
        """Return some bytes, ``None`` if a file does not hold all of them."""
        for first, path in reversed(self.files):
            if first <= start:
                with path.open("rb") as file:
                    file.seek(start - first)
                    data = file.read(count)
                return data if len(data) == count else None
        return None


def beside(folder: Path, name: Any) -> Path | None:
    """Return the file of that name in a folder, ``None`` if there is none, or the name leads elsewhere."""
    if not isinstance(name, str) or not name or name != os.path.basename(name) or "\\" in name or "\0" in name:
        return None
    path = folder / name
    return path if path.is_file() and not path.is_symlink() else None


def _fill(graph: Any, weights: Mapping[str, Weight]) -> None:
    """Put the few numbers of weights into the constants of a graph, and mark the others as without contents."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            if node.op != "Const":
                continue
            tensor = node.attr["value"].tensor
            if _has_contents(tensor):
                continue
            weight = weights.get(node.name)
            if weight is not None:
                del tensor.tensor_shape.dim[:]
                for size in weight.shape:
                    tensor.tensor_shape.dim.add(size=size)
                if weight.contents is not None:
                    tensor.dtype, tensor.tensor_content = weight.kind, weight.contents
                    continue
            # Bytes that are too many, or too few, for any shape: what a constant holds is not known, and is no zero.
            count = 1
            for dim in tensor.tensor_shape.dim:
                count *= dim.size
            tensor.tensor_content = b"\0" * (3 if count != 3 else 5)


def _has_contents(tensor: Any) -> bool:
    return any(field.name not in ("dtype", "tensor_shape") for field, _ in tensor.ListFields())
