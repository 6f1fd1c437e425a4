"""The command line: ``options`` reads what is asked, ``commands`` does it, and this module writes the answer.

Nothing that takes long to import is imported up here: a command imports what it needs when it runs.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from rfgraph.cli.options import CI_FORMS, parse
from rfgraph.cli.progress import progress_line
from rfgraph.cli.writing import standard_output, unless_closed, write_bytes, write_file, write_text

if TYPE_CHECKING:
    from rfgraph.present.rows import View
    from rfgraph.present.several import Several

__all__ = ["main", "run"]

INTERRUPTED, TERMINATED = 130, 143

#: New objects between two looks for cyclic garbage. Importing and reading make many objects and hardly a cycle, so that
#: to look as often as Python does takes a fifth of a short run.
OBJECTS_PER_LOOK = 200_000


class _TerminatedError(BaseException):
    """The process was told to end; what cleans up does so first."""


def _terminate(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)
    raise _TerminatedError


def run() -> int:
    """Run the command that the process was started for and return its exit code, as ``main``."""
    gc.set_threshold(OBJECTS_PER_LOOK, *gc.get_threshold()[1:])
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return main()
    except _TerminatedError:
        return TERMINATED
    finally:
        if sys.stdout is not None and not sys.stdout.closed:
            with unless_closed(sys.stdout):  # help, which argparse has written
                sys.stdout.flush()
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
        By ``--help``, ``--version`` and without arguments with code 0, and where they cannot be read with code 2.
    """
    options = parse(sys.argv[1:] if argv is None else argv)
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # totals are exact, and may be longer than any size
    try:
        from rfgraph.cli.commands import COMMANDS, File

        with progress_line(options.quiet):
            view, code = COMMANDS[options.command](options)
            # The answer is made whole before anything is opened: a failure leaves an existing file alone.
            text = view.data if isinstance(view, File) else _text(view, options)
        if options.output_file is not None:
            write_file(options.output_file, text if isinstance(text, bytes) else text.encode())
        elif isinstance(text, bytes):
            write_bytes(text)
        else:
            write_text(text)
        return int(code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # 1 means found, and nothing else may end with it
        from rfgraph.cli.refusals import refuse

        return refuse(error, options.verbose)
    finally:
        sys.set_int_max_str_digits(limit)


def _width(path: str | None) -> int | None:
    """Return the columns of the terminal that an answer goes to, ``None`` where it goes to none."""
    if path is not None or not standard_output().isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def _text(view: View | Several, options: Namespace) -> str:
    from rfgraph.present.several import Several

    form: str = options.format
    if form == "json":
        from rfgraph.present import as_json

        return as_json.text(view.document())
    if form in ("bioimageio", "monai", "careamics"):
        from rfgraph.present import as_json
        from rfgraph.present.tile_exports import exported
        from rfgraph.present.tiling import TilingView

        assert isinstance(view, TilingView)
        return as_json.text(exported(view, form))
    if form == "csv":
        from rfgraph.present import as_csv

        return as_csv.text(view.records())
    if form in CI_FORMS:
        from importlib import import_module

        return str(import_module(f"rfgraph.present.as_{form}").text(view))
    width = _width(options.output_file)
    sheets = view.sheets() if isinstance(view, Several) else [view.sheet()]
    if form == "md":
        from rfgraph.present import as_markdown

        return "\n".join(map(as_markdown.text, sheets))
    from rfgraph.present import as_table

    if width is None and options.output_file is None and os.environ.get("FORCE_COLOR"):
        return "\n".join(map(as_table.coloured, sheets))
    return "\n".join(as_table.text(sheet, width) for sheet in sheets)
