"""One vocabulary: what a function is called does not depend on the format that a model comes in."""

from __future__ import annotations

from collections import defaultdict
from importlib import import_module

import pytest

from rfgraph.importers.spelling.vocabulary import NAMED, SYNONYMS
from rfgraph.ops import KINDS

#: Tables of a format: its names -> functions of elements, or reductions.
TABLES = {
    "onnx.functions": ("UNARY", "SEVERAL", "REDUCTIONS"),
    "tflite.operators": ("UNARY", "SEVERAL", "REDUCTIONS"),
    "tensorflow.operators": ("UNARY", "SEVERAL", "REDUCTIONS"),
    "keras.operations": ("UNARY", "SEVERAL", "REDUCTIONS"),
    "keras.layers": ("ACTIVATIONS", "ELEMENTWISE"),
    "torch.operators": ("UNARY", "SEVERAL", "REDUCTIONS"),
    "jax.primitives": ("POINTWISE", "REDUCTIONS"),
}


def entries():
    for module, tables in TABLES.items():
        if module.startswith("tflite"):
            pytest.importorskip("flatbuffers")
        for table in tables:
            for name, function in getattr(import_module(f"rfgraph.importers.{module}"), table).items():
                yield module, table, name, function


def test_every_function_is_in_the_vocabulary():
    unknown = {function: (module, name) for module, _, name, function in entries() if function not in {*KINDS, *NAMED}}
    assert not unknown  # call it as the vocabulary does, or add its name to NAMED
    assert not set(SYNONYMS) & {*KINDS, *NAMED}
    assert set(SYNONYMS.values()) <= {*KINDS, *NAMED}


def test_what_formats_call_alike_is_called_alike():
    called: dict[tuple[str, bool], dict[str, list[str]]] = defaultdict(dict)
    for module, table, name, function in entries():
        plain = name.lower().replace("_", "").removeprefix("reduce")
        called[plain, table == "REDUCTIONS"].setdefault(function, []).append(f"{module}: {name}")
    assert not {name: functions for (name, _), functions in called.items() if len(functions) > 1}
