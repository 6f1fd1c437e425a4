"""TensorFlow files, read without tensorflow: frozen graphs (``.pb``, ``.pbtxt``) and SavedModels."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers.program import MAX_ELEMENTS, Shape, unknown
from rfgraph.importers.tensorflow import protos
from rfgraph.importers.tensorflow.body import MAX_RANK, ref
from rfgraph.importers.tensorflow.nodes import INTEGERS, STORED
from rfgraph.importers.tensorflow.wire import contents


@dataclass(frozen=True)
class Model:
    """What a file holds: a graph, where it is fed, and what is wanted of it."""

    name: str
    graph: Any
    #: Nodes that are fed -> what their tensor is called, and its shape if that is stated.
    feeds: Mapping[str, tuple[str, Shape | None]] = field(default_factory=dict)
    #: Tensors that are outputs; ``None`` where the file does not say.
    outputs: tuple[str, ...] | None = None
    #: What its signature calls each of them.
    titles: tuple[str, ...] = ()


# Files.


def opened(path: str | os.PathLike[str]) -> Model:
    """Return what a file holds."""
    name = os.fspath(path)
    file = Path(name)
    if file.is_dir():
        inside = [file / entry for entry in ("saved_model.pb", "saved_model.pbtxt") if (file / entry).exists()]
        if not inside:
            raise ModelFileError(f"{name}: it is a directory without a saved_model.pb; name the model file in it")
        file = inside[0]
    try:
        saved, message = _message(file)
    except OSError as error:
        raise ModelFileError(f"{name}: it cannot be read ({error.strerror or error})") from error
    except protos.BROKEN as error:
        why = f"{type(error).__name__}: {error}"[:300]
        raise ModelFileError(f"{name}: not a TensorFlow graph, or a damaged one ({why})") from error
    if saved:
        return _saved_model(name, message)
    if not message.node:
        raise ModelFileError(f"{name}: not a TensorFlow graph, or a truncated one (it has no nodes)")
    return Model(name, message)


def _message(file: Path) -> tuple[bool, Any]:
    """Return whether a file is a SavedModel, and its message."""
    if file.suffix.lower() == ".pbtxt":
        text = file.read_bytes().decode("utf-8")
        saved = re.match(r"(\s|#.*\n)*(saved_model_schema_version|meta_graphs)\b", text) is not None
        return saved, protos.from_text(protos.SavedModel if saved else protos.GraphDef, text)
    with file.open("rb") as opened_:
        saved = opened_.read(1) == b"\x08"  # a number comes first, its schema version; in a graph the first node
    data = contents(file, "SavedModel" if saved else "GraphDef")
    return saved, protos.from_binary(protos.SavedModel if saved else protos.GraphDef, data)


def _saved_model(name: str, message: Any) -> Model:
    graphs = [meta for meta in message.meta_graphs if "serve" in meta.meta_info_def.tags] or list(message.meta_graphs)
    if not graphs or not graphs[0].graph_def.node:
        raise ModelFileError(f"{name}: not a SavedModel, or a truncated one (it holds no graph)")
    meta = graphs[0]
    known = {key: signature for key, signature in meta.signature_def.items() if not key.startswith("__")}
    chosen = [known["serving_default"]] if "serving_default" in known else [known[key] for key in sorted(known)]
    return signed(name, meta.graph_def, chosen, known)


def signed(name: str, graph: Any, chosen: Sequence[Any], known: Collection[str]) -> Model:
    """Return a graph that is fed and read as signatures say.

    Parameters
    ----------
    known
        What all signatures of the file are called.
    """
    if not chosen:
        return Model(name, graph)
    feeds: dict[str, tuple[str, Shape | None]] = {}
    outputs: dict[str, str] = {}
    for signature in chosen:
        for key, info in sorted(signature.inputs.items()):
            node = ref(info.name)[0]
            # Where the exporter made the placeholder up, the input is called as its users call it.
            title = key if node.endswith(f"_{key}") and node[: -len(key) - 1] in known else node
            shape = shape_of_proto(title, info.tensor_shape) if info.HasField("tensor_shape") else None
            feeds.setdefault(node, (title, shape))
        for key, info in sorted(signature.outputs.items(), key=lambda item: _natural(item[0])):
            if info.name:
                outputs.setdefault(info.name, key)
    return Model(name, graph, feeds, tuple(outputs), tuple(outputs.values()))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what names sort by: ``output_2`` before ``output_10``."""
    return [(len(part), part) if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def shape_of_proto(name: str, message: Any) -> Shape | None:
    """Return the shape that a file states; sizes that it does not state are symbols."""
    if message.unknown_rank:
        return None
    if len(message.dim) > MAX_RANK:
        raise ValueError(f"{name!r} has {len(message.dim)} dimensions")
    return tuple(dim.size if dim.size > 0 else unknown(f"{name}.{d}") for d, dim in enumerate(message.dim))


def contents_of(tensor: Any, kind: int, count: int) -> list[Any] | None:
    """Return the few numbers of a tensor; the last one stands for all that are left out, zero if there is none."""
    if kind not in INTEGERS and kind not in (1, 2):
        return None
    if tensor.tensor_content:
        dtype = np.dtype(INTEGERS.get(kind, "<f4" if kind == 1 else "<f8"))
        if len(tensor.tensor_content) != count * dtype.itemsize:
            return None
        numbers: list[Any] = np.frombuffer(tensor.tensor_content, dtype).tolist()
    else:
        field_ = {1: "float_val", 2: "double_val", 9: "int64_val", 10: "bool_val", 22: "uint32_val", 23: "uint64_val"}
        numbers = list(getattr(tensor, field_.get(kind, "int_val"))[: count + 1])
        if len(numbers) > count:
            return None
        numbers += (numbers[-1:] or [0]) * (count - len(numbers))
    if kind in INTEGERS:
        return [int(number) for number in numbers]
    return numbers


def array_of(tensor: Any, kind: int, shape: tuple[int, ...], count: int) -> Any:
    """Return the numbers of a large tensor as they are stored; ``None`` if they are not there, or are of another type.

    Where fewer are there than it has elements, the last one stands for all others.
    """
    dtype = np.dtype(STORED[kind])
    if tensor.tensor_content:
        if len(tensor.tensor_content) != count * dtype.itemsize:
            return None
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    numbers = np.array(contents_of(tensor, kind, min(count, MAX_ELEMENTS)) or (), dtype=np.float64)
    if not len(numbers):
        return None
    return numbers.reshape(shape) if count == len(numbers) else np.full((1,) * len(shape), numbers[-1])
