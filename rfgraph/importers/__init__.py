"""Readers of model files: what the user names is turned into a network graph.

Each format is a module of its own, imported when a file of that format is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx

from rfgraph.errors import MissingExtraError, ModelFileError

InputSize = int | Sequence[int] | Mapping[Any, Any] | None


def load(
    target: str | os.PathLike[str], treat: Mapping[str, str] | None = None, input_size: InputSize = None
) -> nx.DiGraph[Any]:
    """Return the network graph that ``target`` stands for.

    Parameters
    ----------
    target
        A file whose suffix says its format, ``zoo:NAME``, or ``path/to/file.py:function``.
    treat
        What to do with ops that are not known: a pattern of node or op names -> ``"identity"``, ``"global"`` or
        ``"cut"``.
    input_size
        Size of the input in pixels, as for ``rfgraph.analyze``. A model that computes shapes from it is read for that
        size.

    Raises
    ------
    ModelFileError
        If there is no such file, or it cannot be read.
    MissingExtraError
        If reading it needs a package that is not installed.
    """
    text = os.fspath(target)
    scheme, colon, name = text.partition(":")
    if colon and scheme == "zoo":
        return _zoo(name)
    file, colon, function = text.rpartition(":")
    if colon and file.endswith(".py"):
        from rfgraph.importers import python_file

        return python_file.run(file, function)
    path = Path(text)
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(FORMATS))
        found = (
            f"suffix {path.suffix!r} is not one of {known}" if path.suffix else f"it has none of the suffixes {known}"
        )
        hint = f"; to run a function of it, write {text}:FUNCTION" if path.suffix == ".py" else ""
        raise ModelFileError(f"{text}: {found}, nor is it zoo:NAME or file.py:function{hint}")
    if path.is_dir():
        raise ModelFileError(f"{text}: it is a directory; name the model file in it")
    if not path.exists():
        raise ModelFileError(f"{text}: there is no such file")
    return reader(text, treat, input_size)


def _zoo(name: str) -> nx.DiGraph[Any]:
    from rfgraph.models import build

    graph: nx.DiGraph[Any] = build(name)
    return graph


def _json(path: str, treat: Mapping[str, str] | None, input_size: InputSize) -> nx.DiGraph[Any]:
    from rfgraph.importers import node_link

    return node_link.read(path)


def _onnx(path: str, treat: Mapping[str, str] | None, input_size: InputSize) -> nx.DiGraph[Any]:
    try:
        from rfgraph.importers import onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise MissingExtraError("reading .onnx files needs onnx: pip install 'rfgraph[onnx]'") from error
    from rfgraph.importers.lowering import lower_for

    return lower_for(lambda shapes: onnx.read(path, shapes), treat, input_size)


def _pt2(path: str, treat: Mapping[str, str] | None, input_size: InputSize) -> nx.DiGraph[Any]:
    from rfgraph.importers import aten, exported

    return aten.lowered(exported.read(path), treat, input_size)


def is_torch(model: object) -> bool:
    """Whether ``model`` is a PyTorch module or exported program; torch is not imported to tell."""
    names = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__}
    return ("torch", "Module") in names or ("torch", "ExportedProgram") in names


def live(
    model: object, example: Any = None, treat: Mapping[str, str] | None = None, input_size: InputSize = None
) -> nx.DiGraph[Any] | None:
    """Return the network graph of a live model of a framework, ``None`` if ``model`` is none.

    Parameters
    ----------
    model
        A ``torch.nn.Module``, or a ``torch.export.ExportedProgram``.
    example
        Full shape of its input, or a tensor; a list of these if it has several.
    treat, input_size
        As for ``load``.

    Raises
    ------
    ModelFileError
        If there is no example, or the model cannot be traced.
    MissingExtraError
        If reading it needs a package that is not installed.
    """
    if not is_torch(model):
        return None
    try:
        from rfgraph.importers import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("reading live PyTorch modules needs torch: pip install 'rfgraph[torch]'") from error
    return torch.graph_of(model, example, treat, input_size)


Reader = Callable[[str, Mapping[str, str] | None, InputSize], "nx.DiGraph[Any]"]

#: Suffix -> what reads files of it.
FORMATS: dict[str, Reader] = {".json": _json, ".onnx": _onnx, ".pt2": _pt2}
