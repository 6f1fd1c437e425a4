"""The attributes of the root of an HDF5 file, in which Keras 1 and 2 keep the config of a model beside its weights.

Only what leads to them is read, and of the weights nothing: the file is mapped into memory, every read lies within it,
and what may be read in all is bounded. So a damaged file ends in an exception, and no library of C is handed it.

References
----------
The HDF Group, HDF5 File Format Specification, versions 1 to 3: superblocks, object headers, attribute messages, global
heaps.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Kinds of messages in an object header.
ATTRIBUTE, CONTINUATION, ATTRIBUTE_INFO = 0x0C, 0x10, 0x15
#: Kinds of datatypes.
TEXT, VARIABLE = 3, 9
#: Pieces of the header of one object, messages in it, entries of a heap: more are refused.
MAX_PIECES, MAX_MESSAGES, MAX_ENTRIES = 1_000, 100_000, 100_000


def attributes(path: str, most: int) -> dict[str, bytes]:
    """Return the attributes of the root of an HDF5 file that are one text each.

    Parameters
    ----------
    most
        Bytes of text that are read of it.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError, IndexError
        If it is no HDF5 file, a damaged one, or keeps its attributes in a way that is not read.
    """
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _File(data, most).attributes()


@dataclass(slots=True)
class _Cursor:
    """A place in a file from which fields are read, one after the other, up to an end."""

    data: mmap.mmap
    at: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.at <= self.end <= len(self.data):
            raise ValueError(f"bytes {self.at} to {self.end} of a file of {len(self.data)}")

    @property
    def left(self) -> int:
        return self.end - self.at

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > self.left:
            raise ValueError(f"{count} bytes at {self.at}, where {self.left} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        """Return a number of so many bytes."""
        return int.from_bytes(self.take(count), "little")

    def part(self, count: int) -> _Cursor:
        """Return a cursor over the next bytes, which are passed."""
        inner = _Cursor(self.data, self.at, self.at + count)
        self.take(count)
        return inner


class _File:
    """Reads one file."""

    def __init__(self, data: mmap.mmap, most: int) -> None:
        self.data = data
        self.most = most
        self.base = next((at for at in _places(len(data)) if data[at : at + 8] == SIGNATURE), -1)
        if self.base < 0:
            raise ValueError("no HDF5 signature stands in it")
        start = _Cursor(data, self.base + 8, len(data))
        version = start.number(1)
        if version in (0, 1):
            start.take(4)
            self.offset, self.length = start.number(1), start.number(1)
            start.take(9 if version == 0 else 13)
            start.take(self.offset * 5)  # base, free space, end, driver; then the root's entry: its name, its header
        elif version in (2, 3):
            self.offset, self.length = start.number(1), start.number(1)
            start.take(1 + self.offset * 3)
        else:
            raise ValueError(f"version {version} of HDF5 is not one of 0 to 3")
        if self.offset not in (2, 4, 8) or self.length not in (2, 4, 8):
            raise ValueError(f"addresses of {self.offset} bytes and lengths of {self.length}")
        self.root = start.number(self.offset)

    def at(self, address: int, count: int | None = None) -> _Cursor:
        """Return a cursor at an address of the file."""
        start = self.base + address
        return _Cursor(self.data, start, len(self.data) if count is None else start + count)

    def attributes(self) -> dict[str, bytes]:
        """Return the attributes of the root that are one text each."""
        attributes: dict[str, bytes] = {}
        for count, (kind, message) in enumerate(self.messages(self.root)):
            if count > MAX_MESSAGES:
                raise ValueError(f"its root has more than {MAX_MESSAGES} messages")
            if kind == ATTRIBUTE:
                name, text = self.attribute(message)
                if text is not None:
                    attributes[name] = text
            elif kind == ATTRIBUTE_INFO and self.is_dense(message):
                raise ValueError("its attributes lie in an index; save the model with h5py's default settings")
        return attributes

    def is_dense(self, message: _Cursor) -> bool:
        """Return whether attributes lie in a heap of their own."""
        message.take(1)
        message.take(2 if message.number(1) & 1 else 0)
        return message.number(self.offset) != (1 << 8 * self.offset) - 1

    def messages(self, address: int) -> Iterator[tuple[int, _Cursor]]:
        """Return the messages of the header of an object: their kinds, and what is in them."""
        head = self.at(address)
        if self.data[head.at : head.at + 4] == b"OHDR":
            yield from self.messages_2(head)
            return
        if head.number(1) != 1:
            raise ValueError(f"no object header is at byte {address}")
        head.take(7)
        size = head.number(4)
        head.take(4)
        pieces = [head.part(size)]
        for number in range(MAX_PIECES):
            if number == len(pieces):
                return
            piece = pieces[number]
            while piece.left >= 8:
                kind, size, flags = piece.number(2), piece.number(2), piece.number(1)
                piece.take(3)
                message = piece.part(size)
                if kind == CONTINUATION:
                    pieces.append(self.at(message.number(self.offset), message.number(self.length)))
                elif not flags & 2:  # what is shared stands elsewhere
                    yield kind, message
        raise ValueError(f"the header of an object has more than {MAX_PIECES} pieces")

    def messages_2(self, head: _Cursor) -> Iterator[tuple[int, _Cursor]]:
        """Return the messages of a header of version 2."""
        head.take(5)
        flags = head.number(1)
        head.take((16 if flags & 32 else 0) + (4 if flags & 16 else 0))
        pieces = [head.part(head.number(1 << (flags & 3)))]
        order = 2 if flags & 4 else 0
        for number in range(MAX_PIECES):
            if number == len(pieces):
                return
            piece = pieces[number]
            while piece.left >= 4 + order:
                kind, size, shared = piece.number(1), piece.number(2), piece.number(1) & 2
                piece.take(order)
                message = piece.part(size)
                if kind == CONTINUATION:
                    more = self.at(message.number(self.offset), message.number(self.length))
                    if more.take(4) != b"OCHK":
                        raise ValueError("a header goes on where no piece of it is")
                    pieces.append(_Cursor(self.data, more.at, more.end - 4))  # a checksum ends it
                elif not shared:
                    yield kind, message
        raise ValueError(f"the header of an object has more than {MAX_PIECES} pieces")

    def attribute(self, message: _Cursor) -> tuple[str, bytes | None]:
        """Return the name of an attribute, and its text, ``None`` if it is something else."""
        version, flags = message.number(1), message.number(1)
        if version not in (1, 2, 3):
            raise ValueError(f"version {version} of an attribute is not one of 1 to 3")
        sizes = [message.number(2) for _ in range(3)]
        message.take(1 if version == 3 else 0)
        name, kind, space = (message.part(-(-size // 8) * 8 if version == 1 else size) for size in sizes)
        called = name.take(sizes[0]).rstrip(b"\0").decode("utf-8", "replace")
        if version > 1 and flags & 3:  # its type stands elsewhere
            return called, None
        return called, self.text(kind, space, message)

    def text(self, kind: _Cursor, space: _Cursor, stored: _Cursor) -> bytes | None:
        """Return the one text that is stored, ``None`` if it is something else."""
        bits, size = kind.number(4), kind.number(4)
        version, rank, flags = space.number(1), space.number(1), space.number(1)
        space.take(5 if version == 1 else 1)
        count = 1
        for _ in range(rank):
            count *= space.number(self.length)
        if count != 1 or (version == 2 and flags & 2):
            return None
        if bits & 15 == TEXT:
            if size > self.most:
                raise ValueError(f"a text of {size} bytes, more than {self.most}")
            return stored.take(size).rstrip(b"\0")
        if bits & 15 == VARIABLE and bits >> 8 & 15 == 1:
            length, address, index = stored.number(4), stored.number(self.offset), stored.number(4)
            return self.in_heap(address, index, length).rstrip(b"\0") if length else b""
        return None

    def in_heap(self, address: int, index: int, length: int) -> bytes:
        """Return an entry of a global heap."""
        if length > self.most:
            raise ValueError(f"a text of {length} bytes, more than {self.most}")
        head = self.at(address)
        if head.take(4) != b"GCOL":
            raise ValueError(f"no heap is at byte {address}")
        head.take(4)
        heap = self.at(address, head.number(self.length))
        heap.take(8 + self.length)
        for _ in range(MAX_ENTRIES):
            if heap.left < 8 + self.length:
                break
            number = heap.number(2)
            heap.take(6)
            size = heap.number(self.length)
            if number == index:
                return heap.part(size).take(length)
            if not number:
                break
            heap.take(-(-size // 8) * 8)
        raise ValueError(f"the heap at byte {address} has no entry {index}")


def _places(length: int) -> Iterator[int]:
    """Return where a file may begin: what a user puts before it is of 512 bytes, or 1024, and so on."""
    yield 0
    at = 512
    while at < length:
        yield at
        at *= 2
