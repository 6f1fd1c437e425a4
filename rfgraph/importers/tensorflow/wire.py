"""Large TensorFlow files without their weights: what protobuf would copy only for it not to be looked at.

A file is walked field by field; of fields that are long, those that hold the contents of tensors are left out, and
those that nothing here declares. So a frozen graph of two gigabytes is read in the memory of its nodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from rfgraph.importers.spelling.varint import decoded, encoded
from rfgraph.importers.tensorflow.protos import MESSAGES

#: Files up to this size are read as they are.
SMALL_FILE = 1 << 20
#: Fields up to this size are kept: more numbers than are decoded of any tensor do not fit.
SMALL_FIELD = 1 << 17

_PAGE = 4096
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _descents() -> dict[str, dict[int, str]]:
    """Return the fields, by message and number, that lead to tensors."""
    descents: dict[str, dict[int, str]] = {}
    for message, fields in MESSAGES.items():
        inner = descents.setdefault(message, {})
        for text in fields:
            kind, name, number = text.split()
            if kind.startswith("map:"):
                entry = f"{message}.{name}"
                inner[int(number)], descents[entry] = entry, {2: kind[4:]} if kind[4:] in MESSAGES else {}
            elif kind.lstrip("*") in MESSAGES:
                inner[int(number)] = kind.lstrip("*")
    descents["AttrValue"] = {8: "TensorProto"}  # functions within attributes may be nested without end
    return descents


_DESCENTS = _descents()
_KNOWN = {message: {int(text.split()[2]) for text in fields} for message, fields in MESSAGES.items()}
_CONTENTS = {int(text.split()[2]) for text in MESSAGES["TensorProto"]} - {1, 2}


def contents(path: Path, message: str) -> bytes:
    """Return a file that holds a ``message``, without what is long and not looked at.

    Raises
    ------
    ValueError
        If it is no such message.
    OSError
        If it cannot be read.
    """
    size = path.stat().st_size
    if size <= SMALL_FILE:
        return path.read_bytes()
    with path.open("rb") as file:
        return _lean(_Paged(file), 0, size, message)


class _Paged:
    """The bytes of a file, read where they are asked for. A memory map would count its pages as memory in use."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.first = 0
        self.page = b""

    def byte(self, at: int) -> int:
        """Return the byte at a place."""
        if not self.first <= at < self.first + len(self.page):
            self.first, self.page = at, self.piece(at, at + _PAGE)
            if not self.page:
                raise ValueError("the file ends before its fields")
        return self.page[at - self.first]

    def piece(self, start: int, end: int) -> bytes:
        """Return the bytes between two places."""
        self.file.seek(start)
        return self.file.read(end - start)


def _lean(data: _Paged, start: int, end: int, message: str) -> bytes:
    """Return the fields of a message that lies at ``start``, without long ones that are not looked at."""
    descents, known = _DESCENTS.get(message, {}), _KNOWN.get(message, {1, 2})
    parts: list[bytes] = []
    kept = at = start  # what lies from ``kept`` to ``at`` is copied in one piece
    while at < end:
        begin = at
        tag, at = decoded(data.byte, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, at = decoded(data.byte, at, end)
        elif wire == _BYTES:
            length, at = decoded(data.byte, at, end)
            inner, at = at, at + length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"a field of wire type {wire}")
        if at > end:
            raise ValueError(f"a field of {message} ends beyond it")
        if wire != _BYTES or length <= SMALL_FIELD:
            continue
        parts.append(data.piece(kept, begin))
        kept = at
        if number in descents:
            rest = _lean(data, inner, at, descents[number])
            parts += [encoded(tag), encoded(len(rest)), rest]
        elif number in known and not (message == "TensorProto" and number in _CONTENTS):
            parts.append(data.piece(begin, at))
    parts.append(data.piece(kept, end))
    return b"".join(parts)
