"""Zip archives that hold a model: one member of them is read, into memory and within a bound; nothing is extracted."""

from __future__ import annotations

import json
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from rfgraph.errors import ModelFileError

#: A graph of more bytes than this is refused: that of a network of 10,000 layers has some 20 million.
MAX_BYTES = 1 << 27
#: And one that is this many times as long as it is packed, once it is longer than ``FREE_BYTES``: JSON packs 50 fold.
MAX_RATIO = 200
FREE_BYTES = 1 << 24
#: Bytes that are unpacked at a time.
CHUNK = 1 << 20
#: Members of the zip: every weight is one.
MAX_MEMBERS = 1_000_000

#: What a damaged archive, and what reads a damaged graph, raise.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error, KeyError,
    RecursionError, MemoryError, OverflowError, IndexError, TypeError, AttributeError,
)  # fmt: skip


def member(archive: zipfile.ZipFile, pattern: str, lacking: str) -> str:
    """Return the text of the one member of an archive whose path fits a pattern.

    Parameters
    ----------
    pattern
        Regular expression of the whole path of the member.
    lacking
        What the error says of an archive that has no such member.

    Raises
    ------
    ModelFileError
        If there is none, or several, or more of it than ``MAX_BYTES``, whatever size it states, or if it is packed as
        no graph is.
    """
    name, members, fits = archive.filename, archive.infolist(), re.compile(pattern).fullmatch
    if len(members) > MAX_MEMBERS:
        raise ModelFileError(f"{name}: its archive has {len(members)} members, more than {MAX_MEMBERS}")
    fitting = [item for item in members if fits(item.filename)]
    if not fitting:
        raise ModelFileError(f"{name}: its archive {lacking}")
    if len(fitting) > 1:
        names = ", ".join(repr(item.filename) for item in fitting[:4])
        raise ModelFileError(f"{name}: its archive holds {len(fitting)} models, {names}; save one to a file")
    if fitting[0].file_size > MAX_BYTES:
        raise ModelFileError(f"{name}: its graph has {fitting[0].file_size} bytes, more than {MAX_BYTES}")
    content = bytearray()
    with archive.open(fitting[0]) as stream:
        while chunk := stream.read(CHUNK):
            content += chunk
            if len(content) > MAX_BYTES:
                raise ModelFileError(f"{name}: its graph has more than {MAX_BYTES} bytes")
            if len(content) > max(FREE_BYTES, MAX_RATIO * fitting[0].compress_size):
                raise ModelFileError(
                    f"{name}: its graph unpacks to more than {MAX_RATIO} times its {fitting[0].compress_size} bytes"
                )
    return decoded(content)


def decoded(content: bytes | bytearray) -> str:
    """Return the text that some JSON is, in the encoding that it begins in."""
    return content.decode(json.detect_encoding(bytes(content[:4])), "surrogatepass")


def parsed(name: str, text: str) -> Any:
    """Return what the JSON of a model holds.

    Raises
    ------
    ModelFileError
        If it would take more than ``MOST_PARSED`` bytes of memory: a list or a mapping is two bytes long and takes a
        hundred times as many, and a letter takes four where one of its text is from far away.
    """
    wide = 1 if text.isascii() and "\\u" not in text else 4
    most = sys.getsizeof(text) + wide * len(text) + sum(text.count(mark) * weight for mark, weight in _WEIGHTS.items())
    if most > MOST_PARSED:
        raise ModelFileError(f"{name}: its graph has too many parts, which would take up to {most >> 20} MiB of memory")
    return json.loads(text)


#: Bytes of memory that the JSON of a graph may take. That of a network of 10,000 layers takes some 300 million.
MOST_PARSED = 640 << 20
#: What each of these in JSON takes in memory at most: a mapping, a list, an entry, a name and its value.
_WEIGHTS = {"{": 184, "[": 56, ",": 8, '"': 32, ":": 24}


def small(archive: zipfile.ZipFile, paths: Collection[str], most: int) -> dict[str, bytes]:
    """Return the contents of those members of an archive that have at most ``most`` bytes, by their paths.

    Parameters
    ----------
    paths
        Paths of members, at the root of the archive or in the directory that all of it is in.
    most
        What is longer, or says that it is, is left out.
    """
    by_path: dict[str, bytes] = {}
    for item in archive.infolist():
        path = next((p for p in (item.filename, item.filename.partition("/")[2]) if p in paths), None)
        if path is None or item.file_size > most:
            continue
        with archive.open(item) as stream:
            contents = stream.read(most + 1)
        if len(contents) <= most:
            by_path[path] = contents
    return by_path


@contextmanager
def refusing(name: str, what: str) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into one error.

    Parameters
    ----------
    what
        What it should be, as in "a model saved by torch.export.save".
    """
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{name}: it cannot be read ({error.strerror or error})") from error
    except _BROKEN as error:
        why = f"{type(error).__name__}: {error}"[:300]
        raise ModelFileError(f"{name}: not {what}, or a damaged one ({why})") from error
