"""The few TensorFlow messages that hold a graph, declared at run time: reading them needs protobuf, not tensorflow.

Only what the reader looks at is declared, with the field numbers of TensorFlow's public ``.proto`` files; every other
field is skipped, in binary files and in text.
"""

from __future__ import annotations

import warnings
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64, "float": _Field.TYPE_FLOAT, "double": _Field.TYPE_DOUBLE, "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES,
}  # fmt: skip

_TYPES = (
    "INVALID", "FLOAT", "DOUBLE", "INT32", "UINT8", "INT16", "INT8", "STRING", "COMPLEX64", "INT64", "BOOL", "QINT8",
    "QUINT8", "QINT32", "BFLOAT16", "QINT16", "QUINT16", "UINT16", "COMPLEX128", "HALF", "RESOURCE", "VARIANT",
    "UINT32", "UINT64", "FLOAT8_E5M2", "FLOAT8_E4M3FN", "FLOAT8_E4M3FNUZ", "FLOAT8_E4M3B11FNUZ", "FLOAT8_E5M2FNUZ",
    "INT4", "UINT4", "INT2", "UINT2", "FLOAT4_E2M1FN",
)  # fmt: skip

#: ``DataType``: element types, and those of references to variables, a hundred above.
DATA_TYPES = {f"DT_{name}": number for number, name in enumerate(_TYPES)}
DATA_TYPES |= {f"{name}_REF": number + 100 for name, number in DATA_TYPES.items() if number}

#: Message -> its fields: type, name, number. ``*`` is repeated, ``map`` a map from text.
MESSAGES = {
    "TensorShapeProto": ("*TensorShapeProto.Dim dim 2", "bool unknown_rank 3"),
    "TensorShapeProto.Dim": ("int64 size 1", "string name 2"),
    "TensorProto": (
        "DataType dtype 1", "TensorShapeProto tensor_shape 2", "bytes tensor_content 4", "*float float_val 5",
        "*double double_val 6", "*int32 int_val 7", "*int64 int64_val 10", "*bool bool_val 11",
        "*uint32 uint32_val 16", "*uint64 uint64_val 17",
    ),
    "AttrValue": (
        "AttrValue.ListValue list 1", "bytes s 2", "int64 i 3", "float f 4", "bool b 5", "DataType type 6",
        "TensorShapeProto shape 7", "TensorProto tensor 8", "string placeholder 9", "NameAttrList func 10",
    ),
    "AttrValue.ListValue": (
        "*bytes s 2", "*int64 i 3", "*float f 4", "*bool b 5", "*DataType type 6", "*TensorShapeProto shape 7",
        "*NameAttrList func 9",
    ),
    "NameAttrList": ("string name 1", "map:AttrValue attr 2"),
    "NodeDef": ("string name 1", "string op 2", "*string input 3", "map:AttrValue attr 5"),
    "GraphDef": ("*NodeDef node 1", "FunctionDefLibrary library 2", "VersionDef versions 4"),
    "VersionDef": ("int32 producer 1",),
    "FunctionDefLibrary": ("*FunctionDef function 1",),
    "FunctionDef": ("OpDef signature 1", "*NodeDef node_def 3", "map:string ret 4"),
    "OpDef": ("string name 1", "*OpDef.ArgDef input_arg 2", "*OpDef.ArgDef output_arg 3"),
    "OpDef.ArgDef": ("string name 1", "DataType type 3", "string number_attr 5", "string type_list_attr 6"),
    "SavedModel": ("int64 saved_model_schema_version 1", "*MetaGraphDef meta_graphs 2"),
    "MetaGraphDef": (
        "MetaGraphDef.MetaInfoDef meta_info_def 1", "GraphDef graph_def 2", "map:SignatureDef signature_def 5",
    ),
    "MetaGraphDef.MetaInfoDef": ("*string tags 4",),
    "SignatureDef": ("map:TensorInfo inputs 1", "map:TensorInfo outputs 2"),
    "TensorInfo": ("string name 1", "DataType dtype 2", "TensorShapeProto tensor_shape 3"),
}  # fmt: skip

#: Fields of which a message has one: what an attribute holds.
ONEOFS = {"AttrValue": "value"}

_PACKAGE = "rfgraph.tensorflow"


def _declared() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="rfgraph/tensorflow.proto", package=_PACKAGE, syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for name, number in DATA_TYPES.items():
        kinds.value.add(name=name, number=number)
    messages: dict[str, Any] = {}
    for path, fields in MESSAGES.items():
        outer, _, name = path.rpartition(".")
        message = (messages[outer].nested_type if outer else file.message_type).add(name=name)
        messages[path] = message
        if path in ONEOFS:
            message.oneof_decl.add(name=ONEOFS[path])
        for text in fields:
            kind, name, place = text.split()
            field = message.field.add(name=name, number=int(place))
            field.label = _Field.LABEL_REPEATED if kind[0] == "*" or kind.startswith("map:") else _Field.LABEL_OPTIONAL
            if path in ONEOFS:
                field.oneof_index = 0
            if kind.startswith("map:"):
                entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                for number, (key, value) in enumerate((("key", "string"), ("value", kind[4:])), 1):
                    _typed(entry.field.add(name=key, number=number, label=_Field.LABEL_OPTIONAL), value)
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{path}.{entry.name}"
            else:
                _typed(field, kind.lstrip("*"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _typed(field: Any, kind: str) -> None:
    """Give a field its type."""
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = _Field.TYPE_ENUM if kind == "DataType" else _Field.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{kind}"


_POOL = _declared()


def message_class(name: str) -> Any:
    """Return the class of a message.

    Examples
    --------
    >>> graph = message_class("GraphDef")()
    >>> graph.node.add(name="x", op="Placeholder").name
    'x'
    """
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


GraphDef = message_class("GraphDef")
SavedModel = message_class("SavedModel")

#: What parsing damaged files raises.
BROKEN = (DecodeError, text_format.ParseError, RecursionError, UnicodeError, ValueError, MemoryError)


def from_binary(kind: Any, data: bytes) -> Any:
    """Return the message of class ``kind`` that ``data`` encodes; raises one of ``BROKEN``."""
    message = kind()
    message.ParseFromString(data)
    return message


def from_text(kind: Any, text: str) -> Any:
    """Return the message of class ``kind`` that ``text`` writes; raises one of ``BROKEN``."""
    with warnings.catch_warnings():
        # Of escapes that Python will not know some day, in damaged texts: they are protobuf's to deal with.
        warnings.filterwarnings("ignore", "invalid (octal )?escape sequence", DeprecationWarning)
        return text_format.Parse(text, kind(), allow_unknown_field=True, allow_unknown_extension=True)
