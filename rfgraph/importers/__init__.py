"""Readers of model files: what the user names is turned into a network graph.

Each format is a module of its own, imported when a file of that format is read.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx

from rfgraph.errors import ModelFileError, Needed
from rfgraph.frozen import dataclass
from rfgraph.graph.network import Network
from rfgraph.importers.garbage import uncollected

if TYPE_CHECKING:
    from rfgraph.importers.lowering.layout import Axes
    from rfgraph.importers.onnx.reader import Origins

InputSize = int | Sequence[int] | Mapping[Any, Any] | None


def load(
    target: str | os.PathLike[str],
    treat: Mapping[str, str] | None = None,
    input_size: InputSize = None,
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
    origins: Origins | None = None,
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
    axes
        Which dimensions of the inputs are axes, as for ``rfgraph.analyze``.
    origins
        Where to put which node of an ONNX file each node of the network comes from.

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
        return stated(_zoo(name), axes)
    function = _function(text)
    if function is not None:
        _refuse_inputs(text, inputs)
        from rfgraph.importers import python_file

        return _returned(text, python_file.run(*function), treat, input_size, axes)
    path = Path(text)
    reader = FORMATS.get(path.suffix.lower())
    if reader is None and (kind := _refused(path)) is not None:
        raise ModelFileError(f"{text}: {kind.refusal(path)}")
    if path.is_dir():
        if not any((path / name).exists() for name in SAVED_MODELS):
            raise ModelFileError(f"{text}: it is a directory; name the model file in it")
        reader = _tensorflow
    if reader is None:
        known = ", ".join(sorted(FORMATS))
        suffix = (
            f"suffix {path.suffix!r} is not one of {known}" if path.suffix else f"it has none of the suffixes {known}"
        )
        hint = f"; to run a function of it, write {text}:FUNCTION" if path.suffix == ".py" else ""
        raise ModelFileError(f"{text}: {suffix}, nor is it zoo:NAME or file.py:function{hint}")
    if not path.exists():
        raise ModelFileError(f"{text}: there is no such file")
    if not path.is_dir() and not path.is_file():  # a pipe or a device has no end that one could wait for
        raise ModelFileError(f"{text}: it is no regular file; save the model to one")
    if reader not in SETTABLE:
        _refuse_inputs(text, inputs)
    with uncollected():
        more: dict[str, Any] = {"inputs": inputs} if inputs else {}
        if origins is not None and reader is _onnx:
            more["origins"] = origins
        return reader(text)(treat, input_size, axes=axes, **more)


def _refuse_inputs(target: str, inputs: Mapping[str, Any] | None) -> None:
    if inputs:
        names = ", ".join(map(repr, inputs))
        raise ModelFileError(f"{target}: what its inputs hold ({names}) cannot be set; that is for .onnx, .tflite, .pb")


def _returned(
    target: str, result: Any, treat: Mapping[str, str] | None, input_size: InputSize, axes: Axes | None
) -> nx.DiGraph[Any]:
    """Return the graph of what a function returned: a network, a live model, or one and its example."""
    if isinstance(result, Network):
        return stated(result.graph, axes)
    if isinstance(result, nx.Graph):
        return stated(result, axes)
    model, example = _with_example(result)
    try:
        example, input_size = as_example(model, example, input_size)
        graph = live(model, example, treat, input_size, axes=axes)
    except ModelFileError as error:
        raise ModelFileError(f"{target}: {error}") from error
    if graph is None:
        raise ModelFileError(
            f"{target}: it returned {_article(type(model).__name__)}; return a networkx.DiGraph or an rfgraph.Network, "
            "or a live model of PyTorch, Keras or JAX, with what it is traced on: return model, example"
        )
    return graph


def _article(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def stated(graph: nx.DiGraph[Any], axes: Axes | None) -> nx.DiGraph[Any]:
    """Return a network as it is; its axes cannot be said anew."""
    if axes is not None:
        raise ModelFileError("axes say which dimensions of a model's tensors are spatial; a network states its own")
    return graph


def _refused(path: Path) -> Any:
    """Return what a file is that is not read, ``None`` if nothing is known of it."""
    from rfgraph.importers import refused

    return refused.kind_of(path)


def opened(
    stream: Any,
    treat: Mapping[str, str] | None = None,
    input_size: InputSize = None,
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
) -> nx.DiGraph[Any]:
    """Return the network graph of an open binary file; its name, or else its first bytes, say the format.

    Raises
    ------
    ModelFileError
        If it is no model file.
    """
    name = getattr(stream, "name", "")
    base = os.path.basename(name) if isinstance(name, str) else ""
    with tempfile.TemporaryDirectory(prefix="rfgraph-") as folder:
        copy = Path(folder, base or "model")
        with copy.open("wb") as file:
            shutil.copyfileobj(stream, file)
        if copy.suffix.lower() not in FORMATS and _refused(copy) is None:
            copy = copy.rename(copy.with_name(copy.name + _format_of(copy)))
        try:
            return load(copy, treat, input_size, inputs, axes)
        except ModelFileError as error:
            raise ModelFileError(str(error).replace(f"{folder}{os.sep}", "")) from error


def _format_of(path: Path) -> str:
    """Return the suffix of the format that a file is in, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"PK"):
        return ".keras" if _has_member(path, "config.json") else ".pt2"
    if start[4:8] == b"TFL3":
        return ".tflite"
    if start.lstrip().startswith(b"<?xml") or start.lstrip().startswith(b"<net"):
        return ".xml"
    if start.startswith(b"7767517"):
        return ".param"
    if start.startswith(b"\x89HDF"):
        return ".h5"
    return ".json" if start.lstrip().startswith(b"{") else ".onnx"


def _has_member(path: Path, name: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return name in archive.namelist()
    except zipfile.BadZipFile:
        return False


def as_example(model: object, example: Any, input_size: Any) -> tuple[Any, Any]:
    """Return example and input size, where the full shape of a live module's input stands in for its size."""
    if example is None and input_size is not None and _made_of("torch", "Module")(model):
        reader = _needing("torch", "rfgraph.importers.torch.live", "reading live PyTorch modules")
        if reader.is_full_shape(model, input_size):
            return input_size, None
    return example, input_size


def _zoo(name: str) -> nx.DiGraph[Any]:
    from rfgraph.models import build

    graph: nx.DiGraph[Any] = build(name)
    return graph


#: Reads a file, and returns what makes its network: ``(treat, input_size, axes=)``, of some formats ``inputs=`` too.
Reader = Callable[[str], Callable[..., "nx.DiGraph[Any]"]]


def _json(path: str) -> Callable[..., nx.DiGraph[Any]]:
    """Read JSON as what it holds: a model of TensorFlow.js, the config of a Keras model, or a network of our own."""
    from rfgraph.importers import node_link

    data = node_link.parsed(path)
    entries = data if isinstance(data, dict) else {}
    topology = entries.get("modelTopology", entries)
    if isinstance(topology, dict) and "modelTopology" in entries and "node" in topology:
        reader = _needing(
            "google.protobuf", "rfgraph.importers.tensorflow.javascript", "reading TensorFlow.js files", "tensorflow"
        )
        from rfgraph.importers.lowering.lower import lower_for

        return partial(lower_for, reader.programs_of(path, data))
    if "modelTopology" in entries or {"class_name", "config"} <= entries.keys():
        return _config(lambda config: config.of_json(path, topology))
    return lambda treat, input_size, axes: stated(node_link.graph_of(data, path), axes)


def _onnx(path: str) -> Callable[..., nx.DiGraph[Any]]:
    return partial(_needing("onnx", "rfgraph.importers.onnx.reader", "reading .onnx files").graph_of, path)


def _pt2(path: str) -> Callable[..., nx.DiGraph[Any]]:
    from rfgraph.importers.torch import reader as aten
    from rfgraph.importers.torch import saved as exported

    return partial(aten.lowered, exported.read(path))


def _config(read: Callable[[Any], Any]) -> Callable[..., nx.DiGraph[Any]]:
    """Read the Keras model that ``read`` gets from what reads its configs."""
    from rfgraph.importers.keras import config
    from rfgraph.importers.keras.reader import lowered

    return partial(lowered, read(config))


def _hdf5(path: str) -> Callable[..., nx.DiGraph[Any]]:
    return _config(lambda config: config.read_hdf5(path))


def _reading(module: str, package: str = "", what: str = "", extra: str = "") -> Reader:
    """Return what reads files by a module of rfgraph, which imports ``package``, for ``what``, if it needs one."""

    def read(path: str) -> Callable[..., nx.DiGraph[Any]]:
        reader = _needing(package, module, what, extra) if package else import_module(module)
        from rfgraph.importers.lowering.lower import lower_for

        return partial(lower_for, reader.programs_of(path))

    return read


_tflite = _reading("rfgraph.importers.tflite.file", "tflite", "reading .tflite files")
_openvino = _reading("rfgraph.importers.openvino.reader")
_ncnn = _reading("rfgraph.importers.ncnn.reader")
_tensorflow = _reading(
    "rfgraph.importers.tensorflow.reader", "google.protobuf", "reading TensorFlow files", "tensorflow"
)

#: Suffix -> what reads files of it.
FORMATS: dict[str, Reader] = {
    ".json": _json,
    ".onnx": _onnx,
    ".pt2": _pt2,
    ".keras": lambda path: _config(lambda config: config.read(path)),
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".tflite": _tflite,
    ".xml": _openvino,
    ".param": _ncnn,
    ".pb": _tensorflow,
    ".pbtxt": _tensorflow,
}


#: What reads files of which the user may say what inputs hold.
SETTABLE = (_onnx, _tflite, _openvino, _ncnn, _tensorflow)

#: A directory with one of these is a TensorFlow SavedModel.
SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework whose live models are read; it is not imported to tell whether a model is one of its own."""

    #: The package that must be there, and the extra that brings it.
    package: str
    #: The module of rfgraph that reads its models: ``graph_of(model, example, treat, input_size, axes=)``.
    reader: str
    what: str
    is_model: Callable[[object], bool]
    #: Whether its models are traced on an example; others are whole, and the reader takes none.
    traced: bool = True


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
    Framework("onnx", "rfgraph.importers.onnx.reader", "ONNX models", _made_of("onnx", "ModelProto"), traced=False),
    # Last: any function that is nobody else's, and what is called like one.
    Framework(
        "jax",
        "rfgraph.importers.jax.live",
        "JAX functions",
        lambda model: callable(model) and not isinstance(model, type),
    ),
)


def live(
    model: object,
    example: Any = None,
    treat: Mapping[str, str] | None = None,
    input_size: InputSize = None,
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
    trace: str = "run",
) -> nx.DiGraph[Any] | None:
    """Return the network graph of a live model of a framework, ``None`` if ``model`` is none.

    Parameters
    ----------
    model
        A Keras model or layer, a ``torch.nn.Module``, a ``torch.export.ExportedProgram``, a JAX function, an
        ``onnx.ModelProto``, or a binary file that is open.
    example
        Full shape of its input, or a tensor; a list of these if it has several.
    treat, input_size, inputs, axes
        As for ``load``.
    trace
        How a PyTorch module is traced: ``"run"`` or ``"export"``.

    Raises
    ------
    ModelFileError
        If there is no example, or the model cannot be traced.
    MissingExtraError
        If reading it needs a package that is not installed.
    """
    if isinstance(model, io.IOBase) or (hasattr(model, "read") and not callable(model)):
        return opened(model, treat, input_size, inputs, axes)
    framework = next((known for known in FRAMEWORKS if known.is_model(model)), None)
    if framework is None:
        return None
    reader = _needing(framework.package, framework.reader, f"reading {framework.what}")
    if not framework.traced:
        whole: nx.DiGraph[Any] = reader.graph_of(model, treat, input_size, inputs, axes)
        return whole
    if inputs:
        raise ModelFileError("what inputs hold can be set for model files; a live model is traced on its example")
    how = {"trace": trace} if framework.package == "torch" else {}
    graph: nx.DiGraph[Any] = reader.graph_of(model, example, treat, input_size, axes=axes, **how)
    return graph


def _needing(package: str, module: str, what: str, extra: str = "") -> Any:
    """Return a module of rfgraph that imports ``package``; the extra is called as the package is, if not ``extra``.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    with Needed(package, what, f"'rfgraph[{extra or package.rpartition('.')[2]}]'"):
        return import_module(module)


def is_read_anew(model: object, input_size: InputSize) -> bool:
    """Return whether ``model`` says something else at another input size, as what is traced on an example does.

    So does a file that is read for a size, and what a function of a Python file may return.
    """
    if isinstance(model, (str, os.PathLike)):
        return input_size is not None or _function(os.fspath(model)) is not None
    framework = next((known for known in FRAMEWORKS if known.is_model(model)), None)
    return framework is not None and (framework.traced or input_size is not None)


def at_any_size(
    model: object,
    example: Any = None,
    treat: Mapping[str, str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
) -> nx.DiGraph[Any] | None:
    """Return the network graph of a model read for inputs of any size, ``None`` where it cannot be.

    A live model is no network of unknown ops then: these the trace at one size tells better.
    """
    if isinstance(model, (str, os.PathLike)):
        function = _function(text := os.fspath(model))
        if function is None:
            return load(text, treat, None, inputs, axes)
        from rfgraph.importers import python_file

        model, example = _with_example(python_file.run(*function))
        if isinstance(model, (Network, nx.Graph)):
            return model.graph if isinstance(model, Network) else model
    framework = next(known for known in FRAMEWORKS if known.is_model(model))
    reader = _needing(framework.package, framework.reader, f"reading {framework.what}")
    if not framework.traced:
        whole: nx.DiGraph[Any] = reader.graph_of(model, treat, None, inputs, axes)
        return whole
    trace = getattr(reader, "graph_at_any_size", None)
    graph: nx.DiGraph[Any] | None = None if trace is None else trace(model, example, treat, axes)
    if graph is not None and any(op == "unknown" for _, op in graph.nodes(data="op")):
        return None
    return graph


def _function(target: str) -> tuple[str, str] | None:
    """Return the file and the function of ``path/to/file.py:function``, ``None`` if a target is none."""
    file, colon, function = target.rpartition(":")
    return (file, function) if colon and file.endswith(".py") else None


def _with_example(result: Any) -> tuple[Any, Any]:
    """Return what a function of a Python file returned: a model, and what it is traced on if it says so."""
    return result if isinstance(result, tuple) and len(result) == 2 else (result, None)
