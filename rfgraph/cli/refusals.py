"""What is said on the standard error where a command ends without its answer, and the exit code that goes with it."""

from __future__ import annotations

import os
import sys
import traceback
from itertools import pairwise
from pathlib import Path

from rfgraph.errors import RFGraphError
from rfgraph.present.rows import printable

#: Exit codes: the request or the model cannot be read; an error in rfgraph itself.
UNREADABLE, UNFORESEEN = 2, 3

#: What the library asks for -> what the command line calls it.
OPTIONS = {
    "pass source=": "pass --source NAME",
    "pass output=": "pass --output NAME",
    "pass tile= for its size, or memory= for": "pass --tile SIZE, or --memory BYTES for",
}


def refuse(error: Exception, verbose: bool = False, model: str = "") -> int:
    """Say why there is no answer, of ``model`` if there are several, and return the exit code."""
    said, code = refusal(error)
    say(said if not model or model in said else f"{model}: {said}")
    if verbose:
        for line in traceback.format_exception(error):
            print(printable(line.rstrip("\n")).replace("\\n", "\n"), file=sys.stderr)
    return code


def say(text: str) -> None:
    """Write a line to the standard error, if it is open."""
    if sys.stderr is not None:
        print(f"rfgraph: {text}", file=sys.stderr)


def refusal(error: Exception) -> tuple[str, int]:
    """Return one paragraph on an error, and the exit code: 1 means found, and no error ends with it."""
    if not isinstance(error, (RFGraphError, OSError)):
        return _report(error), UNFORESEEN
    said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    for argument, option in OPTIONS.items():
        said = said.replace(argument, option)
    return printable(_one_line(said)), UNREADABLE


def _one_line(said: str) -> str:
    """Return a message in one line; lines of code that it shows, which are indented, are told apart by semicolons.

    Examples
    --------
    >>> _one_line("save it whole:\\n    import torch\\n    torch.export.save(program, 'm.pt2')")
    "save it whole: import torch; torch.export.save(program, 'm.pt2')"
    """
    lines = said.splitlines()
    marks = ["; " if line.startswith("    ") and before.startswith("    ") else " " for before, line in pairwise(lines)]
    return "".join(mark + line.strip() for mark, line in zip(["", *marks], lines, strict=False))


def _report(error: Exception) -> str:
    """Say what no one foresaw, with the place in the code for those who will repair it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}rfgraph{os.sep}" in frame.filename] or list(frames)
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    said = " ".join(str(error).split())[:300]
    return printable(
        f"an error in rfgraph itself, {type(error).__name__}{place}: {said or 'it says no more'}; "
        "please report it with the command and, if you can, the model"
    )
