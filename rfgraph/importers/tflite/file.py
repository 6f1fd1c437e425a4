"""TFLite files, decoded from their flatbuffer. Weights are never copied: the file is mapped into memory.

A flatbuffer is a web of offsets, and nothing in it keeps a hostile file from pointing anywhere, at the same place from
everywhere, or at vectors longer than the file. So every read is within the file, every count is held against its size,
and what may be read in all is bounded.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from math import prod
from types import FunctionType
from typing import Any

import numpy as np
import tflite
from flatbuffers.table import Table

from rfgraph.errors import ModelFileError
from rfgraph.importers.program import MAX_ELEMENTS, MAX_FLOATS, Data, Given, Program, data_of
from rfgraph.importers.tflite.operators import CUSTOM_OPTIONS
from rfgraph.importers.tflite.reader import Graph, Model, Reader, Step, Tensor

#: Tensors and operators that a file may name in all, each time that it does.
MAX_ITEMS = 500_000
#: A dimension, a list in the options of an operator: more entries than this are refused.
MAX_ENTRIES = 65_536
#: Bytes of names and other text that are read of a file; each has at most the second number.
MAX_TEXT, MAX_NAME = 1 << 26, 1 << 16

#: What reading a damaged flatbuffer raises.
BROKEN = (
    struct.error, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError, OverflowError,
    MemoryError, RecursionError, ZeroDivisionError,
)  # fmt: skip

#: TensorType of the schema: kind, and how numpy reads it; others are not read.
TYPES = {
    tflite.TensorType.FLOAT32: ("float", "<f4"), tflite.TensorType.FLOAT16: ("float", "<f2"),
    tflite.TensorType.FLOAT64: ("float", "<f8"), tflite.TensorType.INT8: ("integer", "<i1"),
    tflite.TensorType.INT16: ("integer", "<i2"), tflite.TensorType.INT32: ("integer", "<i4"),
    tflite.TensorType.INT64: ("integer", "<i8"), tflite.TensorType.UINT8: ("integer", "<u1"),
    tflite.TensorType.UINT32: ("integer", "<u4"), tflite.TensorType.UINT64: ("integer", "<u8"),
    tflite.TensorType.BOOL: ("bool", "<?"),
}  # fmt: skip

OPERATORS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
CUSTOM = tflite.BuiltinOperator.CUSTOM
#: The tables of options, by their number in the two unions of the schema.
OPTIONS = tuple(
    {code: name for name, code in vars(union).items() if isinstance(code, int) and hasattr(tflite, name)}
    for union in (tflite.BuiltinOptions, tflite.BuiltinOptions2)
)


def programs_of(path: str) -> Callable[[Mapping[str, Given]], Program]:
    """Return what reads a TFLite file anew for what is given of its inputs, a shape or what they hold."""
    model = decode(path)
    return lambda given: Reader(model, given).program()


def decode(path: str | os.PathLike[str]) -> Model:
    """Return the graphs of a TFLite file in plain Python.

    Raises
    ------
    ModelFileError
        If it cannot be read, or is not a TFLite model.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise ModelFileError(f"{name}: it is empty")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelFileError(f"{name}: it cannot be read ({error.strerror or error})") from error
    if bytes(data[4:8]) != b"TFL3":
        raise ModelFileError(f"{name}: not a TFLite model (bytes 4 to 7 are not TFL3)")
    try:
        return _File(data, name).model()
    except BROKEN as error:
        why = f"{type(error).__name__}: {error}"[:300]
        raise ModelFileError(f"{name}: not a TFLite model, or a damaged one ({why})") from error


class _Bounded(Table):  # type: ignore[misc]  # flatbuffers has no types
    """A table whose vectors and texts lie within the file."""

    __slots__ = ()

    def VectorLen(self, off: int) -> int:  # noqa: N802
        length = int(super().VectorLen(off))
        if self.Vector(off) + length > len(self.Bytes):
            raise ValueError(f"a vector of {length} entries in a file of {len(self.Bytes)} bytes")
        return length

    def String(self, off: int) -> bytes:  # noqa: N802
        start = self.Indirect(off)
        (length,) = struct.unpack_from("<I", self.Bytes, start)
        if length > MAX_NAME or start + 4 + length > len(self.Bytes):
            raise ValueError(f"a text of {length} bytes in a file of {len(self.Bytes)}")
        return bytes(self.Bytes[start + 4 : start + 4 + length])


class _File:
    """Decodes one file."""

    def __init__(self, data: memoryview, name: str) -> None:
        self.data = data
        self.name = name
        self.items = 0
        self.text_read = 0
        self.root = self.careful(tflite.Model.GetRootAs(data, 0))

    def careful(self, table: Any) -> Any:
        """Return a table of the file, which reads within it from now on."""
        if table is None:
            raise ValueError("a table is missing")
        table._tab = _Bounded(table._tab.Bytes, table._tab.Pos)
        return table

    def counted(self, count: int, what: str) -> int:
        """Return ``count``, once it is held against what a file may name in all."""
        self.items += count
        if self.items > MAX_ITEMS or 4 * count > len(self.data):
            raise ValueError(f"{count} {what} in a file of {len(self.data)} bytes, {self.items} with those before")
        return count

    def text(self, contents: bytes | None) -> str:
        """Return a text of the file."""
        self.text_read += len(contents or b"")
        if self.text_read > MAX_TEXT:
            raise ValueError(f"its names have more than {MAX_TEXT} bytes")
        return (contents or b"").decode("utf-8", "replace")

    def numbers(self, table: Any, field: str) -> tuple[Any, ...]:
        """Return a vector of numbers."""
        length = getattr(table, f"{field}Length")()
        if length > MAX_ENTRIES:
            raise ValueError(f"{field} has {length} entries, more than {MAX_ENTRIES}")
        self.counted(length, field)
        return tuple(getattr(table, f"{field}AsNumpy")().tolist()) if length else ()

    def model(self) -> Model:
        """Return the model."""
        root = self.root
        codes = [self.op(self.careful(root.OperatorCodes(i)))
                 for i in range(self.counted(root.OperatorCodesLength(), "operator codes"))]  # fmt: skip
        names = self.signature()
        graphs = []
        for i in range(self.counted(root.SubgraphsLength(), "graphs")):
            graphs.append(self.graph(self.careful(root.Subgraphs(i)), codes, names if i == 0 else {}))
        if not graphs or not graphs[0].steps:
            raise ValueError("it has no operators")
        return Model(self.name, tuple(graphs))

    def op(self, code: Any) -> str:
        """Return the name of an operator."""
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # files of old versions have the second only
        if number == CUSTOM:
            return self.text(code.CustomCode()) or "CUSTOM"
        return str(OPERATORS.get(number, f"builtin operator {number}"))

    def signature(self) -> dict[int, str]:
        """Return what the signature of the first graph calls its inputs and outputs."""
        for i in range(self.counted(self.root.SignatureDefsLength(), "signatures")):
            signature = self.careful(self.root.SignatureDefs(i))
            if signature.SubgraphIndex() == 0:
                names: dict[int, str] = {}
                for field in ("Outputs", "Inputs"):
                    for k in range(self.counted(getattr(signature, f"{field}Length")(), field)):
                        entry = self.careful(getattr(signature, field)(k))
                        names[entry.TensorIndex()] = self.text(entry.Name())
                return names
        return {}

    def graph(self, table: Any, codes: list[str], names: Mapping[int, str]) -> Graph:
        """Return a graph, with the tensors that its operators name."""
        count = self.counted(table.TensorsLength(), "tensors")
        tensors: dict[int, Tensor] = {}

        def named(numbers: tuple[int, ...], least: int = 0) -> tuple[int, ...]:
            for i in numbers:
                if not least <= i < count:
                    raise ValueError(f"tensor {i} is not one of the {count} of its graph")
                if i >= 0 and i not in tensors:
                    tensors[i] = self.tensor(self.careful(table.Tensors(i)))
            return numbers

        inputs, outputs = (named(self.numbers(table, field)) for field in ("Inputs", "Outputs"))
        steps = []
        for i in range(self.counted(table.OperatorsLength(), "operators")):
            operator = self.careful(table.Operators(i))
            index = operator.OpcodeIndex()
            if index >= len(codes):
                raise ValueError(f"operator {i} has code {index} of {len(codes)}")
            read, written = named(self.numbers(operator, "Inputs"), -1), named(self.numbers(operator, "Outputs"))
            custom = CUSTOM_OPTIONS.get(codes[index])
            options = self.options(operator) if custom is None else self.custom(operator, custom)
            steps.append(Step(codes[index], options, read, written))
        return Graph(tensors, inputs, outputs, tuple(steps), {i: name for i, name in names.items() if i in tensors})

    def tensor(self, table: Any) -> Tensor:
        """Return a tensor; its contents only if there are few."""
        name, quantised = self.text(table.Name()), table.Quantization()
        sizes = self.numbers(table, "ShapeSignature") or self.numbers(table, "Shape")
        if any(size < -1 for size in sizes):
            raise ValueError(f"tensor {name!r} has shape {list(sizes)}")
        kind, dtype = TYPES.get(table.Type(), ("other", ""))
        contents = self.contents(table.Buffer())
        shape = tuple(None if size == -1 else size for size in sizes)
        if contents is None:  # one that is computed: no shape may mean no dimensions, or that none is known
            ranked = bool(shape) or getattr(table, "HasRank", bool)()
            return Tensor(name, shape if ranked else None, kind, constant=bool(table.IsVariable()))
        if None in shape or not dtype or table.Sparsity() is not None:
            return Tensor(name, shape, kind, constant=True)
        read = partial(_stored, contents, sizes, dtype)
        if quantised is not None and self.careful(quantised).ScaleLength():  # its numbers are not what is stored
            zero = not any(self.numbers(quantised, "ZeroPoint"))
            return Tensor(name, shape, kind, True, read=read if zero else None, scaled=True)
        return Tensor(name, shape, kind, True, _exact(contents, sizes, kind, dtype), read)

    def contents(self, index: int) -> Any:
        """Return the bytes of a buffer where they lie, ``None`` if it has none."""
        if index >= self.root.BuffersLength():
            raise ValueError(f"buffer {index} is not one of the {self.root.BuffersLength()} of the file")
        buffer = self.careful(self.root.Buffers(index))
        if buffer.DataLength():
            return buffer.DataAsNumpy()
        # Files of more than 2 GB hold their weights behind the flatbuffer.
        offset, size = (getattr(buffer, field, lambda: 0)() for field in ("Offset", "Size"))
        if offset <= 1:
            return None
        if offset + size > len(self.data):
            raise ValueError(f"buffer {index} ends at byte {offset + size} of {len(self.data)}")
        return np.frombuffer(self.data, np.uint8, size, offset)

    def options(self, operator: Any) -> dict[str, Any]:
        """Return the options of an operator by their names in the schema."""
        for tables, code, union in (
            (OPTIONS[0], operator.BuiltinOptionsType, operator.BuiltinOptions),
            (OPTIONS[1], getattr(operator, "BuiltinOptions2Type", int), getattr(operator, "BuiltinOptions2", None)),
        ):
            name = tables.get(code())
            options = union() if name and union is not None else None
            if name and options is not None:
                table = getattr(tflite, name)()
                table.Init(self.data, options.Pos)
                return self.fields(self.careful(table))
        return {}

    def custom(self, operator: Any, names: Sequence[str]) -> dict[str, Any]:
        """Return the options of a custom operator, which are stored as integers in a row."""
        stored = bytes(self.numbers(operator, "CustomOptions"))
        if len(stored) < 4 * len(names):
            raise ValueError(f"its custom options have {len(stored)} bytes, too few for {', '.join(names)}")
        return dict(zip(names, struct.unpack_from(f"<{len(names)}i", stored), strict=True))

    def fields(self, table: Any) -> dict[str, Any]:
        """Return the fields of a table that are numbers, texts or vectors of numbers."""
        fields: dict[str, Any] = {}
        kind: Any = type(table)
        for field in _scalars(kind):
            value = getattr(table, field)()
            if isinstance(value, bytes):
                fields[field] = self.text(value)
            elif value is None or isinstance(value, (bool, int, float)):
                fields[field] = value
        for field in _vectors(kind):
            fields[field] = self.numbers(table, field)
        return fields


def _stored(contents: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Return the numbers of a constant as they are stored."""
    return np.frombuffer(contents, np.dtype(dtype), prod(shape)).reshape(shape)


def _exact(contents: Any, shape: tuple[int, ...], kind: str, dtype: str) -> Data | None:
    """Return what a small constant holds, ``None`` for one that is large or holds what is no number."""
    count = 1
    for size in shape:
        count *= size
    if count > (MAX_FLOATS if kind == "float" else MAX_ELEMENTS):
        return None
    return data_of(_stored(contents, shape, dtype), integer=kind != "float")


def _methods(kind: Any) -> dict[str, Callable[..., Any]]:
    return {name: method for name, method in vars(kind).items() if isinstance(method, FunctionType)}


@cache
def _vectors(kind: Any) -> tuple[str, ...]:
    """Return the fields of a generated class that are vectors of numbers."""
    return tuple(name.removesuffix("AsNumpy") for name in _methods(kind) if name.endswith("AsNumpy"))


@cache
def _scalars(kind: Any) -> tuple[str, ...]:
    """Return the fields of a generated class that are no vectors."""
    methods = _methods(kind)
    return tuple(
        name
        for name, method in methods.items()
        if method.__code__.co_argcount == 1 and not any(
            name.endswith(suffix) and name.removesuffix(suffix) in methods for suffix in ("Length", "AsNumpy", "IsNone")
        )
    )  # fmt: skip
