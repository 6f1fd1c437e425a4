"""The models that a command line names: files, folders, patterns of these, and a list on the standard input."""

from __future__ import annotations

import glob
import mmap
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rfgraph.errors import ModelFileError

#: What stands for the list on the standard input.
STDIN = "-"

#: Suffix -> what one of is in every model of it: of networks, of TensorFlow.js and Keras; of OpenVINO; of ncnn.
MARKS = {".json": (b'"nodes"', b'"modelTopology"', b'"class_name"'), ".xml": (b"<net",), ".param": (b"7767517",)}


def expanded(arguments: Sequence[str], listed: Iterable[str] | None = None) -> list[str]:
    """Return the models that ``arguments`` name, each once, in the order in which they are named.

    - A folder stands for the model files below it, by name: files with a suffix that a reader knows, and SavedModels.
      Of its ``.json``, ``.xml`` and ``.param`` files those that are something else are left out, and so is what is
      hidden.
    - A pattern (``*``, ``?``, ``[...]``, and ``**`` for folders at any depth) stands for the model files that fit it,
      told apart in the same way, ``zoo:resnet*`` for published networks. A file that has such a name is itself.
    - ``-`` stands for the lines of ``listed``, each of which may be any of these.
    - Anything else stands for itself, whether it is there or not: who reads it says what is wrong with it.

    Parameters
    ----------
    arguments
        What a person named.
    listed
        Lines that name models, for ``-``; by default the standard input.

    Raises
    ------
    ModelFileError
        If a folder holds no model, nothing fits a pattern, or the list is empty.

    Examples
    --------
    >>> expanded(["zoo:vgg_*", "zoo:vgg_16", "model.onnx"])
    ['zoo:vgg_a', 'zoo:vgg_16', 'model.onnx']
    """
    models: dict[str, None] = {}
    for argument in arguments:
        if argument == STDIN:
            if listed is None and sys.stdin is None:
                raise ModelFileError("the standard input is closed; give the list of models there, or no -")
            lines = [line.strip() for line in (sys.stdin if listed is None else listed)]
            named = [line for line in lines if line]
            if not named:
                raise ModelFileError("the list of models on the standard input is empty; write one name a line")
            models.update((model, None) for line in named for model in _meant(line))
        else:
            models.update((model, None) for model in _meant(argument))
    return list(models)


def _meant(name: str) -> list[str]:
    """Return the models that one name stands for; a folder that is a model of a form that is not read is itself."""
    from rfgraph.importers.refused import SUFFIXES as REFUSED

    if name.startswith("zoo:"):
        return _of_the_zoo(name)
    if os.path.isdir(name) and Path(name).suffix.lower() not in REFUSED:
        below = list(_below(Path(name)))
        if not below:
            raise ModelFileError(f"{name}: there is no model file in this folder; rfgraph reads {_suffixes()}")
        return below
    if not glob.has_magic(name) or os.path.exists(name) or os.path.exists(name.rpartition(":")[0]):
        return [name]
    fitting = sorted(glob.glob(name, recursive=True))
    models: list[str] = []
    for path in fitting:
        if os.path.isdir(path):
            models += _below(Path(path))
        elif _is_readable(path) and _may_be_model(path):
            models.append(path)
    if not models:
        what = f"none of the {len(fitting)} files that fit is one; rfgraph reads {_suffixes()}"
        raise ModelFileError(f"{name}: {what if fitting else 'no file fits this pattern'}")
    return models


def _of_the_zoo(name: str) -> list[str]:
    if not glob.has_magic(name):
        return [name]
    from rfgraph.models import MODELS

    models = [f"zoo:{known}" for known in MODELS if fnmatchcase(f"zoo:{known}", name)]
    if not models:
        raise ModelFileError(f"{name}: no published network fits this pattern; `rfgraph zoo` lists them")
    return models


def _below(folder: Path) -> Iterator[str]:
    """Yield the model files in a folder and below it, sorted; a SavedModel is one, whatever else its folder holds."""
    from rfgraph.importers import SAVED_MODELS

    for path, folders, files in os.walk(folder):
        if not set(files).isdisjoint(SAVED_MODELS):
            folders.clear()
            yield path
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = os.path.join(path, name)
            if not name.startswith(".") and _is_readable(file) and _may_be_model(file):
                yield file


def _is_readable(path: str) -> bool:
    from rfgraph.importers import FORMATS

    return Path(path).suffix.lower() in FORMATS


def _may_be_model(path: str) -> bool:
    """Return whether a file may be a model: one of a form that much else is in needs what every model of it has."""
    marks = MARKS.get(Path(path).suffix.lower())
    if marks is None or not os.path.isfile(path) or not os.path.getsize(path):
        return True
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(mark) >= 0 for mark in marks)
    except OSError:  # who reads it says so
        return True


def _suffixes() -> str:
    from rfgraph.importers import FORMATS

    return ", ".join(sorted(FORMATS))
