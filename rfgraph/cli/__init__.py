"""The command line: ``options`` reads what is asked, ``commands`` does it, and this module writes the answer.

Nothing that takes long to import is imported up here: a command imports what it needs when it runs.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rfgraph.cli.options import CI_FORMS, parser
from rfgraph.errors import RFGraphError

if TYPE_CHECKING:
    from rfgraph.present.rows import View
    from rfgraph.present.several import Several

__all__ = ["main", "run"]

INTERRUPTED = 130

#: New objects between two looks for cyclic garbage. Importing and reading make many objects and hardly a cycle, so that
#: to look as often as Python does takes a fifth of a short run.
OBJECTS_PER_LOOK = 200_000


def run() -> int:
    """Run the command that the process was started for and return its exit code, as ``main``."""
    gc.set_threshold(OBJECTS_PER_LOOK, *gc.get_threshold()[1:])
    try:
        return main()
    finally:
        gc.freeze()  # the process ends: what it leaves goes with it
        gc.disable()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv
        The arguments, by default those of the process.

    Raises
    ------
    SystemExit
        By ``--help`` and ``--version`` with code 0, and where the arguments cannot be read with code 2.
    """
    arguments = sys.argv[1:] if argv is None else argv
    options = parser(arguments).parse_args(arguments)
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # strides are exact, and 15,000 layers of stride 2 have one of 4,516 digits
    try:
        from rfgraph.cli.commands import COMMANDS, File

        view, code = COMMANDS[options.command](options)
        if isinstance(view, File):
            _write(view.data, options.output_file)
        else:
            _emit(view, options.format, options.output_file)
        return int(code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # 1 means found, and nothing else may end with it
        return _refuse(error)
    finally:
        sys.set_int_max_str_digits(limit)


def _emit(view: View | Several, form: str, path: str | None) -> None:
    """Write a view, made whole before anything is opened, so that a failure leaves an existing file alone."""
    if path is not None:
        Path(path).write_text(_text(view, form, None), encoding="utf-8", newline="")
        return
    stream = sys.stdout
    width = None
    if stream.isatty():
        import shutil

        width = shutil.get_terminal_size().columns
    text = _text(view, form, width)
    encoding = stream.encoding or "utf-8"
    with _unless_closed(stream):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


@contextmanager
def _unless_closed(stream: TextIO) -> Iterator[None]:
    """Let what reads the output go before it has all."""
    try:
        yield
    except OSError as error:
        # What is left in the buffer goes nowhere, or Python complains of it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


def _write(data: bytes, path: str | None) -> None:
    """Write what is no text for a terminal as it is."""
    if path is not None:
        Path(path).write_bytes(data)
        return
    stream = sys.stdout
    binary = getattr(stream, "buffer", None)
    if binary is None:  # a stream of text alone, as notebooks have
        stream.write(data.decode("utf-8", "backslashreplace"))
        return
    if stream.isatty() and not data.isascii() and b"\0" in data:
        raise RFGraphError("the output is a terminal, which shows no pixels; give a file, as -o graph.png")
    with _unless_closed(stream):
        stream.flush()
        binary.write(data)
        binary.flush()


def _text(view: View | Several, form: str, width: int | None) -> str:
    from rfgraph.present.several import Several

    if form in ("json", "bioimageio", "monai"):
        from rfgraph.present import as_json

        return as_json.text(view.document())
    if form == "csv":
        from rfgraph.present import as_csv

        return as_csv.text(view.records())
    if form in CI_FORMS:
        from importlib import import_module

        return str(import_module(f"rfgraph.present.as_{form}").text(view))
    sheets = view.sheets() if isinstance(view, Several) else [view.sheet()]
    if form == "md":
        from rfgraph.present import as_markdown

        return "\n".join(map(as_markdown.text, sheets))
    from rfgraph.present import as_table

    return "\n".join(as_table.text(sheet, width) for sheet in sheets)


def _refuse(error: Exception) -> int:
    from rfgraph.cli.refusals import refusal

    said, code = refusal(error)
    print(f"rfgraph: {said}", file=sys.stderr)
    return code
