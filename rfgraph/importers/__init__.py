"""Readers of model files: what the user names is turned into a network graph.

Each format is a module of its own, imported when a file of that format is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import networkx as nx

from rfgraph.errors import MissingExtraError, ModelFileError

InputSize = int | Sequence[int] | Mapping[Any, Any] | None


def load(
    target: str | os.PathLike[str],
    treat: Mapping[str, str] | None = None,
    input_size: InputSize = None,
    inputs: Mapping[str, Any] | None = None,
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
    inputs
        What inputs hold, as for ``rfgraph.analyze``.

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
        _refuse_inputs(text, inputs)
        return _zoo(name)
    file, colon, function = text.rpartition(":")
    if colon and file.endswith(".py"):
        _refuse_inputs(text, inputs)
        from rfgraph.importers import python_file

        return python_file.run(file, function)
    path = Path(text)
    reader = FORMATS.get(path.suffix.lower())
    if path.is_dir():
        if not any((path / name).exists() for name in SAVED_MODELS):
            raise ModelFileError(f"{text}: it is a directory; name the model file in it")
        reader = _tensorflow
    if reader is None:
        known = ", ".join(sorted(FORMATS))
        found = (
            f"suffix {path.suffix!r} is not one of {known}" if path.suffix else f"it has none of the suffixes {known}"
        )
        hint = f"; to run a function of it, write {text}:FUNCTION" if path.suffix == ".py" else ""
        raise ModelFileError(f"{text}: {found}, nor is it zoo:NAME or file.py:function{hint}")
    if not path.exists():
        raise ModelFileError(f"{text}: there is no such file")
    if not path.is_dir() and not path.is_file():  # a pipe or a device has no end that one could wait for
        raise ModelFileError(f"{text}: it is no regular file; save the model to one")
    if not inputs:
        return reader(text, treat, input_size)
    if reader not in SETTABLE:
        _refuse_inputs(text, inputs)
    return reader(text, treat, input_size, inputs)


def _refuse_inputs(target: str, inputs: Mapping[str, Any] | None) -> None:
    if inputs:
        names = ", ".join(map(repr, inputs))
        raise ModelFileError(f"{target}: what its inputs hold ({names}) cannot be set; that is for .onnx, .tflite, .pb")


def _zoo(name: str) -> nx.DiGraph[Any]:
    from rfgraph.models import build

    graph: nx.DiGraph[Any] = build(name)
    return graph


def _json(path: str, treat: Mapping[str, str] | None, input_size: InputSize) -> nx.DiGraph[Any]:
    from rfgraph.importers import node_link

    return node_link.read(path)


def _onnx(
    path: str, treat: Mapping[str, str] | None, input_size: InputSize, inputs: Mapping[str, Any] | None = None
) -> nx.DiGraph[Any]:
    onnx = _needing("onnx", "rfgraph.importers.onnx.reader", "reading .onnx files")
    graph: nx.DiGraph[Any] = onnx.graph_of(path, treat, input_size, inputs)
    return graph


def _pt2(path: str, treat: Mapping[str, str] | None, input_size: InputSize) -> nx.DiGraph[Any]:
    from rfgraph.importers.torch import reader as aten
    from rfgraph.importers.torch import saved as exported

    return aten.lowered(exported.read(path), treat, input_size)


def _keras(path: str, treat: Mapping[str, str] | None, input_size: InputSize) -> nx.DiGraph[Any]:
    from rfgraph.importers.keras import reader as keras_config

    return keras_config.lowered(keras_config.read(path), treat, input_size)


def _tflite(
    path: str, treat: Mapping[str, str] | None, input_size: InputSize, inputs: Mapping[str, Any] | None = None
) -> nx.DiGraph[Any]:
    graph: nx.DiGraph[Any] = _needing("tflite", "rfgraph.importers.tflite.file", "reading .tflite files").graph_of(
        path, treat, input_size, inputs
    )
    return graph


def _tensorflow(
    path: str, treat: Mapping[str, str] | None, input_size: InputSize, inputs: Mapping[str, Any] | None = None
) -> nx.DiGraph[Any]:
    reader = _needing(
        "google.protobuf", "rfgraph.importers.tensorflow.reader", "reading TensorFlow files", "tensorflow"
    )
    graph: nx.DiGraph[Any] = reader.graph_of(path, treat, input_size, inputs)
    return graph


Reader = Callable[..., "nx.DiGraph[Any]"]

#: Suffix -> what reads files of it.
FORMATS: dict[str, Reader] = {
    ".json": _json,
    ".onnx": _onnx,
    ".pt2": _pt2,
    ".keras": _keras,
    ".tflite": _tflite,
    ".pb": _tensorflow,
    ".pbtxt": _tensorflow,
}


#: What reads files of which the user may say what inputs hold.
SETTABLE = (_onnx, _tflite, _tensorflow)

#: A directory with one of these is a TensorFlow SavedModel.
SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework whose live models are read; it is not imported to tell whether a model is one of its own."""

    #: The package that must be there, and the extra that brings it.
    package: str
    #: The module of rfgraph that reads its models: ``graph_of(model, example, treat, input_size)``.
    reader: str
    what: str
    is_model: Callable[[object], bool]


def _made_of(package: str, *classes: str) -> Callable[[object], bool]:
    """Return what tells whether an object is an instance of one of the classes of a package."""
    wanted = {(package, name) for name in classes}
    return lambda model: (
        not wanted.isdisjoint((kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__)
    )


#: Asked in this order: on some backends a Keras model is a PyTorch module too.
FRAMEWORKS = (
    Framework("keras", "rfgraph.importers.keras.live", "live Keras models", _made_of("keras", "Layer", "Function")),
    Framework(
        "torch", "rfgraph.importers.torch.live", "live PyTorch modules", _made_of("torch", "Module", "ExportedProgram")
    ),
    # Last: any function that is nobody else's, and what is called like one.
    Framework(
        "jax",
        "rfgraph.importers.jax.live",
        "JAX functions",
        lambda model: callable(model) and not isinstance(model, type),
    ),
)


def live(
    model: object, example: Any = None, treat: Mapping[str, str] | None = None, input_size: InputSize = None
) -> nx.DiGraph[Any] | None:
    """Return the network graph of a live model of a framework, ``None`` if ``model`` is none.

    Parameters
    ----------
    model
        A Keras model or layer, a ``torch.nn.Module``, or a ``torch.export.ExportedProgram``.
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
    framework = next((known for known in FRAMEWORKS if known.is_model(model)), None)
    if framework is None:
        return None
    reader = _needing(framework.package, framework.reader, f"reading {framework.what}")
    graph: nx.DiGraph[Any] = reader.graph_of(model, example, treat, input_size)
    return graph


def _needing(package: str, module: str, what: str, extra: str = "") -> Any:
    """Return a module of rfgraph that imports ``package``; the extra is called as the package is, if not ``extra``.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise
        name = package.rpartition(".")[2]
        raise MissingExtraError(f"{what} needs {name}: pip install 'rfgraph[{extra or name}]'") from error
