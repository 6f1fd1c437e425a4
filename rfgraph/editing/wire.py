"""The nodes of an ONNX file changed in its bytes: every other byte stays, fields that no one knows too.

A protocol buffer is a row of fields, each a number and a wire type, then a varint, 4 or 8 bytes, or as many bytes as a
length says. A model holds its graph in field 7, a graph its nodes in field 1.

References
----------
Protocol Buffers, Encoding. https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rfgraph.errors import ModelFileError
from rfgraph.importers.spelling.varint import decoded, encoded

#: Numbers of the fields on the way to a node.
GRAPH, NODE = 7, 1

_VARINT, _FIXED64, _BYTES, _START, _END, _FIXED32 = range(6)


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, first byte, first byte of the contents and end of each field of a message; contents of bytes alone.

    Raises
    ------
    ModelFileError
        If it is no message.
    """
    at = start
    while at < end:
        first = at
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        contents = -1
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        elif kind == _BYTES:
            length, contents = _varint(data, at, end)
            at = contents + length
        elif kind == _START:
            at = _group_end(data, at, end, number)
        else:
            raise ModelFileError("it is no protocol buffer")
        if not number or at > end:
            raise ModelFileError("it is no protocol buffer, or a truncated one")
        yield number, first, contents, at


def _group_end(data: bytes, at: int, end: int, number: int) -> int:
    """Return where a group ends, the old way to nest messages."""
    open_groups = [number]
    while open_groups:
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == _START:
            open_groups.append(tag >> 3)
        elif kind == _END:
            if open_groups.pop() != tag >> 3:
                raise ModelFileError("it is no protocol buffer")
        elif kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _BYTES:
            length, at = _varint(data, at, end)
            at += length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ModelFileError("it is no protocol buffer")
    return at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends."""
    try:
        return decoded(data.__getitem__, at, end)
    except ValueError as error:
        raise ModelFileError("it is no protocol buffer, or a truncated one") from error


def field(number: int, contents: bytes) -> bytes:
    """Return a field of bytes."""
    return encoded(number << 3 | _BYTES) + encoded(len(contents)) + contents


def with_nodes(data: bytes, change: Callable[[int, bytes], bytes | None], more: bytes = b"") -> bytes:
    """Return an ONNX model with other nodes in its graph.

    Parameters
    ----------
    change
        Returns what takes the place of a node, given its place and its bytes: fields of the graph, of which there may
        be several; ``None`` leaves it as it is.
    more
        Fields of the graph that are added at its end.

    Raises
    ------
    ModelFileError
        If it is no model.
    """
    pieces: list[bytes] = []
    kept, place = 0, 0  # all before ``kept`` is in ``made``
    graphs = [(first, contents, end) for number, first, contents, end in fields(data, 0, len(data))
              if number == GRAPH and contents >= 0]  # fmt: skip
    for turn, (graph, inside, graph_end) in enumerate(graphs):
        parts: list[bytes] = []
        done = inside
        for number, first, contents, end in fields(data, inside, graph_end):
            if number != NODE or contents < 0:
                continue
            changed = change(place, data[contents:end])
            place += 1
            if changed is not None:
                parts += [data[done:first], changed]
                done = end
        last = turn == len(graphs) - 1  # of a graph in several pieces, which readers put together
        if parts or (last and more):
            parts += [data[done:graph_end], more if last else b""]
            pieces += [data[kept:graph], field(GRAPH, b"".join(parts))]
            kept = graph_end
    pieces.append(data[kept:])
    return b"".join(pieces)
