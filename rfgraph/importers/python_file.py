"""``path/to/file.py:function``: a network or a live model made by a function of the user's own."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from rfgraph.errors import ModelFileError, RFGraphError
from rfgraph.ops import near


def run(path: str, function: str) -> Any:
    """Return what a function of a Python file returns; the file and the function are run.

    Raises
    ------
    ModelFileError
        If there is no such file or function, it needs arguments, or fails.
    """
    target = f"{path}:{function}"
    module = _module(path)
    if not function:
        raise ModelFileError(f"{target}: no function is named; it has {_listed(module)}")
    value = getattr(module, function, None)
    if not callable(value):
        hint = near(function, _functions(module)) or f"; it has {_listed(module)}"
        raise ModelFileError(f"{target}: the file has no function {function!r}{hint}")
    try:
        inspect.signature(value).bind()
    except TypeError as error:
        raise ModelFileError(f"{target}: rfgraph calls it without arguments, but it is {error}") from error
    except ValueError:  # a builtin that does not say what it takes
        pass
    try:
        return value()
    except RFGraphError:
        raise
    except Exception as error:
        raise ModelFileError(f"{target}: {_cause(error, path)}") from error


def _module(path: str) -> ModuleType:
    """Run a file as a module; what stands beside it can be imported."""
    file = Path(path)
    if not file.is_file():
        raise ModelFileError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ModelFileError(f"{path}: Python cannot import it")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except RFGraphError:
        raise
    except Exception as error:
        raise ModelFileError(f"{path}: {_cause(error, path)}") from error
    finally:
        sys.path.pop(0)
    return module


def _cause(error: Exception, path: str) -> str:
    """Describe an error in the user's code, with the last line of their file that it passed."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    file = str(Path(path).resolve())
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if str(Path(frame.filename).resolve()) == file
    ]
    return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}: {error}"


def _functions(module: ModuleType) -> list[str]:
    """Return the functions that a file defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _listed(module: ModuleType) -> str:
    return ", ".join(map(repr, _functions(module)[:8])) or "none"
