"""Damaged copies of real files, of every format, and a process that reads them under bounds on time and memory.

``python tests/damage.py FORMAT FIRST LAST`` reads mutants of that range and prints those that end otherwise than with a
graph or one clear error, a JSON object in a line each. A mutant is its number: the same one is the same bytes.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import pickle
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

DATA = Path(__file__).parent / "data"
SEEDS = DATA / "seeds"

#: CPU seconds that one file and all questions of it may take, and bytes by which the process may grow over it.
SECONDS, GROWTH = 60, 400 << 20

#: Format -> the files that are damaged.
FILES = {
    "json": [SEEDS / "small.json"],
    "tfjs": [DATA / "tfjs" / name / "model.json" for name in ("functions", "tcn")],
    "onnx": [SEEDS / "small.onnx"],
    "pt2": [SEEDS / "small.pt2", SEEDS / "dynamic.pt2"],
    "keras": [SEEDS / "small.keras"],
    "h5": [DATA / "keras" / f"{name}.h5" for name in ("unet", "functions")],
    "pb": [SEEDS / "small.pb", SEEDS / "lowered.pb"],
    "pbtxt": [SEEDS / "small.pbtxt", SEEDS / "lowered.pbtxt"],
    "saved_model": [SEEDS / "saved" / "saved_model.pb"],
    "xml": [DATA / "openvino" / f"{name}.xml" for name in ("operations", "unet")],
    "param": [DATA / "ncnn" / f"{name}.param" for name in ("convnext", "tcn")],
    "tflite": [DATA / "tflite" / f"{name}.tflite" for name in ("inverted", "inverted_int8", "segmenter", "control")],
}

Mutate = Callable[[random.Random, bytes], bytes]


# Bytes.


def _span(rng: random.Random, data: bytes, most: int = 200) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randrange(1, most))


def truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwritten(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        changed[rng.randrange(len(changed))] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    return bytes(changed)


def inserted(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((b"\0", b"\xff", b"9", rng.randbytes(4))) * rng.choice((1, 4, 100)) + data[at:]


def deleted(rng: random.Random, data: bytes) -> bytes:
    start, stop = _span(rng, data)
    return data[:start] + data[stop:]


def duplicated(rng: random.Random, data: bytes) -> bytes:
    start, stop = _span(rng, data)
    return data[:stop] + data[start:stop] * rng.choice((1, 2, 50)) + data[stop:]


def swapped(rng: random.Random, data: bytes) -> bytes:
    a, b, c, d = sorted((*_span(rng, data), *_span(rng, data)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


BYTES: tuple[Mutate, ...] = (truncated, flipped, overwritten, inserted, deleted, duplicated, swapped)


# Words: offsets and counts of flatbuffers.

WORDS = (0, 1, 2, 4, 7, 255, 65_536, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1)


def words(rng: random.Random, data: bytes) -> bytes:
    """Change aligned numbers: to extremes, to one another, by a little."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        size, code = rng.choice(((4, "<I"), (4, "<I"), (2, "<H"), (1, "<B")))
        at, other = (rng.randrange(len(data) // size) * size for _ in range(2))
        (old,), (there,) = struct.unpack_from(code, changed, at), struct.unpack_from(code, changed, other)
        new = rng.choice((rng.choice(WORDS), there, old + rng.choice((-8, -4, -1, 1, 4, 8)), at - other, -old))
        struct.pack_into(code, changed, at, new % (1 << 8 * size))
    return bytes(changed)


# Tables of flatbuffers, by what a reader looks at: nothing in the file says where its numbers are.


@dataclass(frozen=True)
class Looks:
    """Where the reader of a flatbuffer looks, by the kind of what it finds there: positions, and bytes of numbers."""

    numbers: list[tuple[int, int]]
    #: Offsets to tables, vectors and texts, from where they stand.
    offsets: list[int]
    lengths: list[int]
    #: Entries of tables of fields: where a field lies in its table, 0 where it has its default.
    fields: list[int]
    #: Texts, and how long they are.
    texts: list[tuple[int, int]]


def looks(data: bytes) -> Looks:
    """Return where rfgraph's reader looks into a TFLite file."""
    import flatbuffers
    from flatbuffers.table import Table

    from rfgraph.importers.tflite import file

    seen = Looks([], [], [], [], [])
    inner = {name: getattr(Table, name) for name in ("Offset", "Get", "Vector", "Indirect", "GetVectorAsNumpy")}
    own = (flatbuffers.number_types.SOffsetTFlags, flatbuffers.number_types.VOffsetTFlags)

    def offset(self: Any, slot: int) -> int:
        seen.fields.append(self.Pos - inner["Get"](self, own[0], self.Pos) + slot)
        return inner["Offset"](self, slot)

    def get(self: Any, flags: Any, at: int) -> Any:
        if flags not in own:
            seen.numbers.append((at, flags.bytewidth))
        return inner["Get"](self, flags, at)

    def vector(self: Any, at: int) -> int:
        start = inner["Vector"](self, at)
        seen.offsets.append(self.Pos + at)
        seen.lengths.append(start - 4)
        return start

    def indirect(self: Any, at: int) -> int:
        seen.offsets.append(at)
        return inner["Indirect"](self, at)

    def elements(self: Any, flags: Any, at: int) -> Any:
        start, (count,) = inner["Vector"](self, at), struct.unpack_from("<I", self.Bytes, inner["Vector"](self, at) - 4)
        seen.numbers.extend((start + i * flags.bytewidth, flags.bytewidth) for i in range(min(count, 64)))
        return inner["GetVectorAsNumpy"](self, flags, at)

    def string(self: Any, at: int) -> bytes:
        start = at + struct.unpack_from("<I", self.Bytes, at)[0]
        seen.offsets.append(at)
        seen.lengths.append(start)
        seen.texts.append((start + 4, struct.unpack_from("<I", self.Bytes, start)[0]))
        return plain_string(self, at)

    plain_string = file._Bounded.String
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder, "seed.tflite")
        path.write_bytes(data)
        spies = {"Offset": offset, "Get": get, "Vector": vector, "Indirect": indirect, "GetVectorAsNumpy": elements}
        for name, spy in spies.items():
            stack.enter_context(patch.object(Table, name, spy))
        stack.enter_context(patch.object(file._Bounded, "String", string))
        file.decode(path)
    return Looks(
        *([*dict.fromkeys(found)] for found in (seen.numbers, seen.offsets, seen.lengths, seen.fields, seen.texts))
    )


CODES = {1: "b", 2: "<h", 4: "<i", 8: "<q"}


def tables(rng: random.Random, data: bytes) -> bytes:
    """Change what a reader looks at: huge and negative numbers, fields of other types, names and tables used twice."""
    where = LOOKS.get(data) or LOOKS.setdefault(data, looks(data))
    changed = bytearray(data)

    def put(at: int, width: int, value: int) -> None:
        changed[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")

    def value(at: int, width: int) -> int:
        return int.from_bytes(changed[at : at + width], "little", signed=True)

    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        how = rng.randrange(10)
        if how < 5:
            at, width = rng.choice(where.numbers)
            other = rng.choice([one for one, size in where.numbers if size == width])
            old = value(at, width)
            small = (old + 1, old - 1, 2 * old, -old, 0, 1, 2, 3)
            put(at, width, rng.choice((*small, *small, *EXTREMES, value(other, width), value(other, width))))
        elif how == 5:
            at, other = rng.choice(where.offsets), rng.choice(where.offsets)
            put(at, 4, other + value(other, 4) - at)
        elif how == 6:
            at = rng.choice(where.lengths)
            put(at, 4, rng.choice((0, value(at, 4) - 1, value(at, 4) + 1, 2 * value(at, 4), *WORDS)))
        elif how == 7:
            at, other = rng.choice(where.fields), rng.choice(where.fields)
            put(at, 2, rng.choice((0, 0, value(other, 2), 4)))
        elif where.texts:
            (at, length), (other, size) = rng.choice(where.texts), rng.choice(where.texts)
            shared = min(length, size)
            changed[at : at + shared] = changed[other : other + shared]
    return bytes(changed)


#: Where the reader looks into each file that is damaged.
LOOKS: dict[bytes, Looks] = {}


# Trees of JSON.

VALUES: tuple[Any, ...] = (
    None, 0, -1, 1, 3, 7, 2**31, 2**70, -(2**70), 1.5, 1e308, float("nan"), "x", "", "1/2", True, [], [1], [0, 0], {},
    [2**31, 2**31], {"as_int": 3}, {"as_none": True}, "same", "\ud800", "a" * 5000, 2**63 - 1, -(2**63), 2**63, 10**20,
    "1e100000000", "1e-100000000", "1/1" + "0" * 5000, -0.0, 1e-320, [[1, 2]], [[[1]]], "global_avg_pool", "either",
)  # fmt: skip


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found, waiting = [], [tree]
    while waiting:
        owner = waiting.pop()
        for key, value in owner.items() if isinstance(owner, dict) else enumerate(owner):
            found.append((owner, key))
            if isinstance(value, (dict, list)):
                waiting.append(value)
    return found


def tree(rng: random.Random, data: bytes) -> bytes:
    """Change values of a tree, drop, copy, repeat, exchange and nest its parts."""
    root = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = _places(root)
        if not found:
            break
        (owner, key), (other, place) = rng.choice(found), rng.choice(found)
        how = rng.choice((0, 1, 2, 4, 5, 6, 6, 6, 7, 7, 7))
        try:
            copied = json.dumps(other[place])
        except RecursionError:
            copied = "[[[]]]"
        if how == 0:
            del owner[key]
        elif how < 4:
            owner[key] = json.loads(copied) if len(copied) < 20_000 else None
        elif how == 4 and isinstance(owner, list) and len(copied) < 2_000:
            owner[key:key] = [json.loads(copied) for _ in range(rng.choice((1, 3, 300)))]
        elif how == 5:
            for _ in range(rng.choice((1, 40, 400))):
                owner[key] = [owner[key]] if rng.random() < 0.7 else {"inner": owner[key]}
        elif how == 6:
            scalars = [(o, k) for o, k in found if isinstance(o[k], (int, float))] or [(owner, key)]
            owner, key = rng.choice(scalars)
            number = owner[key] if isinstance(owner[key], (int, float)) else 0
            owner[key] = number + rng.choice((-2, -1, 1, 2, 100, 10**9))
        else:
            owner[key] = copy.deepcopy(rng.choice(VALUES))
    try:
        return json.dumps(root).encode()
    except RecursionError:
        return b'{"deep": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"


# Zip archives: what is in them, how it is packed, what it is called.


def _member_tree(rng: random.Random, name: str, contents: bytes) -> bytes:
    if name.endswith(".json"):
        mutate = rng.choice((tree, tree, tree, tree, *BYTES))
        return mutate(rng, contents)
    return contents


def members(rng: random.Random, data: bytes) -> bytes:
    """Change the JSON of an archive; sometimes its members too."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files = {name: _member_tree(rng, name, contents) for name, contents in files.items()}
    how = rng.randrange(12)
    names = list(files)
    if how == 0:
        del files[rng.choice(names)]
    elif how == 1:
        files[rng.choice(("../outside.json", "/etc/passwd", "x" * 300, "models/other.json", "config.json"))] = b"{}"
    elif how == 2:
        a, b = rng.choice(names), rng.choice(names)
        files[a], files[b] = files[b], files[a]
    packing = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))
    with zipfile.ZipFile(made, "w", packing) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same name twice
        for name, contents in files.items():
            archive.writestr(name, contents)
            if how == 3:
                archive.writestr(name, contents)
    return made.getvalue()


# HDF5: its bytes, and the JSON that one of its attributes is.


def attribute(rng: random.Random, data: bytes) -> bytes:
    """Change the config of a model: its attribute gets a heap of its own, at the end of the file."""
    start = data.index(b'{"class_name"')
    _, length = json.JSONDecoder().raw_decode(data[start:].decode("latin-1"))
    heap = data.rindex(b"GCOL", 0, start)
    changed = rng.choice((tree, tree, tree, tree, *BYTES))(rng, data[start : start + length])
    room = -(-len(changed) // 8) * 8
    added = b"GCOL\1\0\0\0" + struct.pack("<QHHIQ", 32 + room, 1, 1, 0, len(changed)) + changed.ljust(room, b"\0")
    (before,) = (old for index in range(1, 9) if (old := struct.pack("<IQI", length, heap, index)) in data)
    return data.replace(before, struct.pack("<IQI", len(changed), len(data), 1)) + added


# XML: elements and their attributes.

TEXTS = ("", "0", "-1", "1", "2, 2", "0, 0, 0", "99999999999999999999", "nan", "true", "same_upper", "ceil", "1" * 5000)


def elements(rng: random.Random, data: bytes) -> bytes:
    """Change numbers and attributes of a document, drop, repeat and move its elements."""
    root = ElementTree.fromstring(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        parents = [one for one in root.iter() if len(one)] or [root]
        parent = rng.choice(parents)
        one = rng.choice(list(parent) or [parent])
        how = rng.randrange(6)
        if how == 0 and len(parent):
            parent.remove(one)
        elif how == 1:
            for _ in range(rng.choice((1, 3, 50))):
                parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(one))
        elif how == 2 and one.attrib:
            other = rng.choice(list(root.iter()))
            name = rng.choice(list(one.attrib))
            one.set(name, rng.choice([*other.attrib.values(), *TEXTS]))
        elif how == 3 and one.attrib:
            one.attrib.pop(rng.choice(list(one.attrib)))
        else:
            numbers = list(root.iter("dim"))
            data_ = [item for item in root.iter("data") if item.attrib]
            if numbers and rng.random() < 0.3:
                rng.choice(numbers).text = rng.choice(("-1", "0", "1", "7", str(2**31), str(2**63), "x", ""))
            elif data_:
                item = rng.choice(data_)
                name = rng.choice(list(item.attrib))
                item.set(name, re.sub(r"-?\d+", str(rng.choice((*EXTREMES, 5, 9))), item.get(name, ""), count=1))
    return ElementTree.tostring(root)


# Messages of protobuf, by what their descriptors say they hold.


def _messages(root: Any) -> list[Any]:
    found, waiting = [], [root]
    while waiting:
        message = waiting.pop()
        found.append(message)
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            if field.message_type.GetOptions().map_entry:
                waiting += (
                    [value[key] for key in value] if field.message_type.fields_by_name["value"].message_type else []
                )
            else:
                waiting += list(value) if field.is_repeated else [value]
    return found


def _scalar(rng: random.Random, field: Any, texts: list[str]) -> Any:
    kinds = type(field)
    if field.cpp_type in (kinds.CPPTYPE_STRING,):
        text = rng.choice(texts or [""]) + rng.choice(("", "", ":0", "/x", "^"))
        packed = struct.pack("<q", rng.choice(EXTREMES)) * rng.choice((1, 1, 2, 4))  # what tensors of integers hold
        return rng.choice((text.encode(), packed, packed)) if field.type == kinds.TYPE_BYTES else text
    if field.cpp_type in (kinds.CPPTYPE_DOUBLE, kinds.CPPTYPE_FLOAT):
        return rng.choice((0.0, -1.0, 0.3, 1e30, float("inf"), float("nan")))
    if field.cpp_type == kinds.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type == kinds.CPPTYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values])
    unsigned = field.cpp_type in (kinds.CPPTYPE_UINT32, kinds.CPPTYPE_UINT64)
    largest = 2**31 - 1 if field.cpp_type in (kinds.CPPTYPE_INT32, kinds.CPPTYPE_UINT32) else 2**63 - 1
    numbers = (0, 1, 2, 3, 5, 1000, 65_536, 2**31 - 1, largest)
    return rng.choice((*numbers, *(() if unsigned else (-1, -2, -largest, -largest - 1))))


def _texts(root: Any) -> list[str]:
    found = []
    for message in _messages(root):
        for field, value in message.ListFields():
            if field.type == type(field).TYPE_STRING and not (field.message_type is not None):
                found += list(value) if field.is_repeated else [value]
    return found


def message_mutator(parse: Callable[[bytes], Any], write: Callable[[Any], bytes]) -> Mutate:
    """Return what changes fields of a message: clears, repeats, exchanges and overwrites them."""

    def mutate(rng: random.Random, data: bytes) -> bytes:
        root = parse(data)
        texts = _texts(root)
        for _ in range(rng.choice((1, 1, 2, 4))):
            message = rng.choice(_messages(root))
            fields = [field for field, _ in message.ListFields()] or message.DESCRIPTOR.fields
            field = rng.choice(list(fields))
            _change(rng, message, field, texts)
        return write(root)

    return mutate


def _change(rng: random.Random, message: Any, field: Any, texts: list[str]) -> None:
    value = getattr(message, field.name)
    how = rng.randrange(5)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        keys = list(value)
        if how == 0 or not keys:
            message.ClearField(field.name)
        elif field.message_type.fields_by_name["value"].message_type is not None:
            value[rng.choice(texts or ["x"])].CopyFrom(value[rng.choice(keys)])
            if how < 3:
                value.pop(rng.choice(keys), None)
        else:
            value[rng.choice(keys)] = rng.choice(texts or ["x"])
    elif field.is_repeated:
        at = rng.randrange(len(value)) if len(value) else 0
        if how == 0 and len(value):
            del value[at]
        elif how == 1:
            message.ClearField(field.name)
        elif field.message_type is not None:
            if len(value) > 1 and how == 2:
                held = type(value[at])()
                held.CopyFrom(value[at])
                del value[at]
                value.insert(rng.randrange(len(value) + 1), held)
            elif len(value):
                for _ in range(rng.choice((1, 1, 30))):
                    value.add().CopyFrom(value[at])
            else:
                value.add()
        elif how < 4 and len(value):
            value[at] = _scalar(rng, field, texts)
        else:
            value.extend([_scalar(rng, field, texts)] * rng.choice((1, 2, 500)))
    elif how == 0:
        message.ClearField(field.name)
    elif field.message_type is not None:
        value.SetInParent()
        if how > 2:
            value.CopyFrom(type(value)())
    else:
        setattr(message, field.name, _scalar(rng, field, texts))


#: What an integer may be that a file should not hold.
EXTREMES = (0, -1, 1, 2, 3, -2, 7, 2**31, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))


def onnx_messages() -> Mutate:
    import onnx

    return message_mutator(onnx.ModelProto.FromString, lambda message: message.SerializeToString())


def onnx_doubling(rng: random.Random, data: bytes) -> bytes:
    """Put a call of functions that call each other twice behind a node; sometimes in a circle."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    opsets = [*model.opset_import, onnx.helper.make_opsetid("own", 1)]
    depth = rng.choice((1, 3, 20, 60, 70))
    circle = rng.random() < 0.2
    for k in range(depth):
        inner = f"f{k - 1}" if k else f"f{depth - 1}" if circle else "Relu"
        calls = [
            onnx.helper.make_node(inner, [a], [b], domain="own" if k or circle else "")
            for a, b in (("a", "m"), ("m", "b"))
        ]
        model.functions.append(onnx.helper.make_function("own", f"f{k}", ["a"], ["b"], calls, opsets))
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    node = rng.choice(list(model.graph.node))
    if node.output:
        made, node.output[0] = node.output[0], f"{node.output[0]}_before"
        model.graph.node.append(onnx.helper.make_node(f"f{depth - 1}", [node.output[0]], [made], domain="own"))
        order = list(model.graph.node)
        order.insert(order.index(node) + 1, order.pop())
        del model.graph.node[:]
        model.graph.node.extend(order)
    return bytes(model.SerializeToString())


def onnx_nested(rng: random.Random, data: bytes) -> bytes:
    """Put a node into branches in branches, each behind a condition that is not known."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    at = rng.choice([i for i, node in enumerate(model.graph.node) if node.input and node.output])
    node = model.graph.node[at]
    made = node.output[0]
    helper = onnx.helper
    condition = helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, [1])
    end = helper.make_tensor_value_info(made, 1, None)
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    for _ in range(rng.choice((1, 2, 8, 30))):
        one, other = (helper.make_graph([inner], "branch", [], [end]) for _ in range(2))
        if rng.random() < 0.9:  # the other branch is short, or the model doubles at each depth
            other = helper.make_graph([helper.make_node("Identity", [node.input[0]], [made])], "else", [], [end])
        inner = helper.make_node("If", ["condition"], [made], then_branch=one, else_branch=other)
        if inner.ByteSize() > 1_000_000:
            break
    model.graph.node[at].CopyFrom(inner)
    model.graph.input.append(condition)
    return bytes(model.SerializeToString())


def tensorflow_messages(kind: str, text: bool = False) -> Mutate:
    from google.protobuf import text_format

    from rfgraph.importers.tensorflow import protos as tensorflow_protos

    made = tensorflow_protos.message_class(kind)
    if text:
        return message_mutator(
            lambda data: text_format.Parse(data.decode(), made(), allow_unknown_field=True),
            lambda message: text_format.MessageToString(message).encode(),
        )
    return message_mutator(made.FromString, lambda message: message.SerializeToString())


# Text of protobuf: its lines and its words.


def lines(rng: random.Random, data: bytes) -> bytes:
    """Exchange, repeat and drop lines of a text, and its numbers and names."""
    rows = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 3, 10))):
        a, b = rng.randrange(len(rows)), rng.randrange(len(rows))
        how = rng.randrange(5)
        if how == 0:
            rows[a], rows[b] = rows[b], rows[a]
        elif how == 1:
            rows[a:a] = rows[min(a, b) : min(a, b) + 20] * rng.choice((1, 5))
        elif how == 2:
            del rows[a]
            rows = rows or [b""]
        elif how == 3:
            number = str(rng.choice((0, -1, 3, 2**31, 2**63 - 1, 2**70))).encode()
            rows[a] = re.sub(rb"-?\d+", number, rows[a], count=1)
        else:
            rows[a] = b" {" * rng.choice((1, 500)) + rows[a]
    return b"\n".join(rows)


def parameters(rng: random.Random, data: bytes) -> bytes:
    """Change the numbers of a line of words, and its words to one another."""
    rows = data.decode().split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(2, len(rows))
        words_ = rows[at].split() or ["x"]
        k = rng.randrange(len(words_))
        how = rng.randrange(4)
        if how == 0:
            words_[k] = rng.choice(rng.choice(rows).split() or ["0=1"])
        elif how == 1:
            words_.append(f"{rng.choice((0, 1, 2, 3, 4, 5, 6, 11, 13, 19, 20, -23300, -23303))}={rng.choice(EXTREMES)}")
        else:
            key, equals, _ = words_[k].partition("=")
            number = str(rng.choice((*EXTREMES, 5, 9, -233, -234, "1.5", "1e30", "2,1,2", "nan")))
            words_[k] = f"{key}={number}" if equals else words_[k]
        rows[at] = " ".join(words_)
    return "\n".join(rows).encode()


def mutators(kind: str) -> tuple[Mutate, ...]:
    """Return what damages files of a format; three in four of the damages keep their syntax."""
    structure: dict[str, Callable[[], tuple[Mutate, ...]]] = {
        "json": lambda: (tree,),
        "tfjs": lambda: (tree,),
        "onnx": lambda: (
            onnx_messages(),
            onnx_messages(),
            onnx_messages(),
            onnx_messages(),
            onnx_doubling,
            onnx_nested,
        ),
        "pt2": lambda: (members,),
        "keras": lambda: (members,),
        "xml": lambda: (elements,),
        "param": lambda: (parameters, parameters, lines),
        "h5": lambda: (attribute,),
        "pb": lambda: (tensorflow_messages("GraphDef"),),
        "pbtxt": lambda: (lines, tensorflow_messages("GraphDef", text=True)),
        "saved_model": lambda: (tensorflow_messages("SavedModel"),),
        "tflite": lambda: (tables, tables, words),
    }
    own = structure[kind]()
    return (*own * (3 * len(BYTES) // len(own)), *BYTES)


def mutant(kind: str, number: int, ways: tuple[Mutate, ...]) -> bytes:
    """Return one damaged file of a format."""
    rng = random.Random(f"{kind} {number}")
    files = FILES[kind]
    data = files[number % len(files)].read_bytes()
    damaged = rng.choice(ways)(rng, data)
    if damaged and rng.random() < 0.1:
        damaged = rng.choice(BYTES)(rng, damaged)
    return damaged


# Reading them.


class TooLongError(BaseException):
    """A file takes too long; no reader catches this."""


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise TooLongError


def placed(kind: str, folder: Path) -> tuple[Path, Path]:
    """Return where the bytes of a damaged file go, and what is then read."""
    if kind == "xml":
        shutil.copy(DATA / "openvino" / "operations.bin", folder / "damaged.bin")
    if kind == "tfjs":
        shutil.copy(DATA / "tfjs" / "functions" / "weights.bin", folder)
        return folder / "model.json", folder / "model.json"
    if kind != "saved_model":
        return folder / f"damaged.{kind}", folder / f"damaged.{kind}"
    shutil.copytree(SEEDS / "saved", folder / "saved", dirs_exist_ok=True)
    return folder / "saved" / "saved_model.pb", folder / "saved"


def read(path: Path, rng: random.Random) -> str:
    """Read and analyse a file; return the class of the error that says it is refused, empty if it is read."""
    import rfgraph
    from rfgraph.errors import EndpointError, ModelFileError, RFGraphError

    size = rng.choice((None, None, None, 16, (32, 24)))
    try:
        graph = rfgraph.load(path, input_size=size)
        try:
            report = rfgraph.analyze(graph, input_size=size)
        except EndpointError:
            inputs = [node for node, attributes in graph.nodes(data=True) if attributes.get("op") == "input"]
            report = rfgraph.analyze(graph, input_size=size, source=inputs[0] if inputs else "none")
        ask(report, graph, rng)
    except RFGraphError as error:
        if isinstance(error, ModelFileError) and path.name not in str(error):
            raise AssertionError(f"the error does not name the file: {error}") from error
        return type(error).__name__
    return ""


def ask(report: Any, graph: Any, rng: random.Random) -> None:
    """Ask every question of a report, of a few of its layers; one that cannot be answered says so in an error."""
    import rfgraph
    from rfgraph.cli.commands import WAYS_OUT
    from rfgraph.errors import RFGraphError
    from rfgraph.policy import Policy, judge
    from rfgraph.present.findings import Check
    from rfgraph.present.sizes import Sizes
    from rfgraph.present.views import Summary

    layers = list(report)
    chosen = rng.sample(layers, min(3, len(layers))) + list(report.outputs)[:2]
    axes = len(report.axes)
    judged = judge(report.findings, Policy())
    views = [
        lambda: Summary(report, judged, "model", "again", True),
        lambda: Check(report, judged, "model", WAYS_OUT, True),
        lambda: Sizes(report, "model", {}, 1, WAYS_OUT),
    ]
    index = tuple(rng.choice((0, 0, 1, 5)) for _ in range(axes))
    box = [(0, rng.choice((0, 3, 2**40)))] * axes
    questions: list[Callable[[], Any]] = [
        lambda: report.aligned,
        lambda: report.aligned_sizes,
        lambda: report.input_sizes,
        lambda: report.aligned_when(rng.choice((1, 7, 64))),
        lambda: report.unchecked,
        lambda: report.productivity,
        lambda: str(report.parameters) + str(report.macs),
        lambda: report.numbers(),
        lambda: (report.to_records(), report.to_dict()),
        lambda: report.map_size_of(chosen[0]) if chosen else None,
        lambda: (report.region_ranges(), report.effective_sizes()),
        lambda: report.asked({"RF009", "RF010"}, report.axes[0]),
        lambda: pickle.loads(pickle.dumps(report)).outputs,
        lambda: [finding.message for finding in report.findings],
        lambda: rfgraph.trace(graph, output=chosen[-1] if chosen else None),
        *(
            lambda view=view: [str(sheet) for sheet in (view().document(), view().sheet(), view().records())]
            for view in views
        ),
    ]
    for layer in chosen:
        questions += [
            lambda layer=layer: (str(report[layer]), report[layer].status, report[layer].why, report[layer].size),
            lambda layer=layer: (report.culprits(layer), report.paths(layer), report.center_spread(layer)),
            lambda layer=layer: report.region(layer, index),
            lambda layer=layer: report.regions(layer).reads,
            lambda layer=layer: report.support(layer).coverage,
            lambda layer=layer: (report.tiling(layer), report.tiling(layer, rng.choice((1, 8, 64)))),
            lambda layer=layer: (report.latency(layer), report.frames(layer, 16_000)),
            lambda layer=layer: report.effective_field(layer).std,
            *(
                lambda layer=layer, how=how: report.features(layer, box, how).box
                for how in ("meets", "inside", "center")
            ),
        ]
    for question in questions:
        try:
            question()
        except (RFGraphError, IndexError) as error:
            if not str(error):
                raise AssertionError("an error says nothing") from error


def _peak() -> int:
    """Return the most bytes of memory that this process has held.

    Linux counts what the parent held before this program was loaded in ``ru_maxrss``, but not in ``VmHWM``.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def trouble(path: Path, rng: random.Random, counts: dict[str, int]) -> str:
    """Return what is wrong with how a file is read, empty if nothing is."""
    before = _peak()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        ended = read(path, rng)
    except TooLongError:
        return f"more than {SECONDS} s\n{traceback.format_exc(limit=-12)}"
    except BaseException:  # whatever it is, it is a bug
        return traceback.format_exc(limit=-12)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    counts[ended or "read"] = counts.get(ended or "read", 0) + 1
    grown = _peak() - before
    return f"the process grew by {grown >> 20} MiB" if grown > GROWTH else ""


def main(arguments: list[str] | None = None) -> None:
    """Read the mutants of a range; the last line is how the others ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("format", choices=FILES)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--keep", help="folder where mutants that make trouble are written")
    parser.add_argument("--tell", action="store_true", help="name each mutant before it is read")
    options = parser.parse_args(arguments)
    warnings.simplefilter("error")
    ways = mutators(options.format)
    signal.signal(signal.SIGPROF, _too_long)
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        target, path = placed(options.format, Path(name))
        target.write_bytes(FILES[options.format][0].read_bytes())
        read(path, random.Random(0))  # what is imported is not the file's memory
        # The address space may grow no more than this: asking for too much fails at once, in place of swapping.
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * GROWTH, resource.RLIM_INFINITY))
        for number in range(options.first, options.last):
            data = mutant(options.format, number, ways)
            if options.tell:
                print(f"# {number}", flush=True)
            target.write_bytes(data)
            found = trouble(path, random.Random(number), counts)
            if found:
                print(json.dumps({"number": number, "trouble": found}), flush=True)
                if options.keep:
                    Path(options.keep, f"{number}.{options.format}").write_bytes(data)
    print(json.dumps({"ended": counts}), flush=True)


if __name__ == "__main__":
    main()
