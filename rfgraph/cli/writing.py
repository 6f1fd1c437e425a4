"""Where answers go: files that are whole or not there, and a standard output that may close at any time."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from rfgraph.errors import RFGraphError


def write_file(path: str, data: bytes) -> None:
    """Write a file: beside it first, so that whatever stops this leaves the old file or none, then in its place.

    It gets the mode that the umask says, or keeps the one it has. A device or a pipe is written as it is.
    """
    target = Path(os.path.realpath(path))
    old = _mode(target)
    if path.startswith(("/dev/", "/proc/")) or (old is not None and not stat.S_ISREG(old)):
        Path(path).write_bytes(data)
        return
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    try:
        with open(beside, "xb") as file:
            file.write(data)
        if old is not None:
            os.chmod(beside, stat.S_IMODE(old))
        os.replace(beside, target)
    except PermissionError as error:
        if old is None or error.filename not in (str(beside), None):
            raise OSError(error.errno, error.strerror, path) from error
        target.write_bytes(data)  # the file may be written, but nothing beside it
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except OSError:
        return None


def standard_output() -> TextIO:
    """Return the standard output.

    Raises
    ------
    RFGraphError
        If it is closed.
    """
    stream: TextIO | None = sys.stdout
    if stream is None or stream.closed:
        raise RFGraphError("the standard output is closed; open it, or write to a file with -o")
    return stream


def write_text(text: str) -> None:
    """Write text to the standard output; what its encoding lacks is written as an escape."""
    stream = standard_output()
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("\u2026", "~").encode(encoding, "backslashreplace").decode(encoding)
    with unless_closed(stream):
        stream.write(text)
        stream.flush()


def write_bytes(data: bytes) -> None:
    """Write what is no text to the standard output, which must be no terminal where it has zero bytes."""
    stream = standard_output()
    binary = getattr(stream, "buffer", None)
    if binary is None:  # a stream of text alone, as notebooks have
        stream.write(data.decode("utf-8", "backslashreplace"))
        return
    if stream.isatty() and not data.isascii() and b"\0" in data:
        raise RFGraphError("the output is a terminal, which shows no pixels; give a file, as -o graph.png")
    with unless_closed(stream):
        stream.flush()
        binary.write(data)
        binary.flush()


@contextmanager
def unless_closed(stream: TextIO) -> Iterator[None]:
    """Let what reads the output go before it has all."""
    try:
        yield
    except OSError as error:
        # What is left in the buffer goes nowhere, or Python complains of it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise
