"""One vocabulary: what a function is called does not depend on the format that a model comes in."""

from __future__ import annotations

from collections import Counter, defaultdict
from importlib import import_module

import pytest

from rfgraph.importers.spelling.vocabulary import REDUCTIONS, SEVERAL, SYNONYMS, UNARY, Names, names
from rfgraph.ops import KINDS

#: A format -> the modules that register its handlers, the last of them holding the table of all.
HANDLERS = {
    "onnx": ("onnx.functions", "onnx.nodes"),
    "tensorflow": ("tensorflow.operators", "tensorflow.nodes"),
    "tflite": ("tflite.operators",),
    "keras": ("keras.operations", "keras.nodes"),
    "layers": ("keras.layers", "keras.nodes"),
    "torch": ("torch.operators",),
    "jax": ("jax.primitives",),
    "openvino": ("openvino.operators", "openvino.nodes"),
    "ncnn": ("ncnn.operators", "ncnn.nodes"),
}
FORMATS = tuple(Names.__annotations__)


def entries():
    for table in (UNARY, SEVERAL, REDUCTIONS):
        for format in FORMATS:
            for name, function in names(format, table).items():
                yield table, format, name, function


def test_a_function_has_one_name():
    functions = {*UNARY, *SEVERAL, *REDUCTIONS}
    assert not set(SYNONYMS) & {*KINDS, *functions}
    assert set(SYNONYMS.values()) <= {*KINDS, *functions}


@pytest.mark.parametrize("tables", [(UNARY, SEVERAL), (REDUCTIONS,)], ids=["elements", "reductions"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_name_stands_for_one_function(format, tables):
    given = Counter(name for table in tables for row in table.values() for name in row.get(format, "").split())
    assert not [name for name, count in given.items() if count > 1]


@pytest.mark.parametrize("format", HANDLERS)
def test_every_name_has_a_handler(format):
    modules = [import_module(f"rfgraph.importers.{module}") for module in HANDLERS[format]]
    known = set(modules[-1].HANDLERS)
    prefix = "ops." if format == "keras" else ""
    assert not [name for _, of, name, _ in entries() if of == format and prefix + name not in known]


def test_what_formats_call_alike_is_called_alike():
    called: dict[tuple[str, bool], dict[str, list[str]]] = defaultdict(dict)
    for table, format, name, function in entries():
        plain = name.lower().replace("_", "").removeprefix("reduce")
        called[plain, table is REDUCTIONS].setdefault(function, []).append(f"{format}: {name}")
    assert not {name: functions for (name, _), functions in called.items() if len(functions) > 1}
