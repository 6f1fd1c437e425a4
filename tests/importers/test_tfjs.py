"""Models of TensorFlow.js: graph models with what stands among their weights, and layers models."""

from __future__ import annotations

import base64
import json
import shutil
import struct
from collections import Counter
from pathlib import Path

import pytest
from architectures import ARCHITECTURES, check_table, row

import rfgraph
from rfgraph.errors import MissingExtraError, ModelFileError
from rfgraph.importers.keras import hdf5

pytest.importorskip("google.protobuf")
DATA = Path(__file__).parent.parent / "data"
KEPT = ("conv", "conv_transpose", "max_pool", "global_avg_pool", "concat", "input")


def rows_of(report, prefix=""):
    """Return what the nodes of a report read, of those that no converter fuses with others."""
    nodes = [node for node in report if report[node].op in KEPT and "dense" not in node]
    return Counter((report[node].op, *row(report[node])) for node in nodes)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_as_a_graph_model_has_the_one_table(name):
    want = rfgraph.analyze(ARCHITECTURES[name].build(), input_size=ARCHITECTURES[name].size)
    report = rfgraph.analyze(DATA / "tfjs" / name / "model.json")
    assert rows_of(report) == rows_of(want)
    assert report[report.outputs[-1]].field == want[want.outputs[-1]].field
    assert [finding.rule for finding in report.findings] == [finding.rule for finding in want.findings]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_as_a_layers_model_has_the_one_table(name, tmp_path):
    config = hdf5.attributes(str(DATA / "keras" / f"{name}.h5"), 1 << 20)["model_config"]
    topology = {"keras_version": "2.21.0", "backend": "tensorflow", "model_config": json.loads(config)}
    path = written(tmp_path, {"format": "layers-model", "modelTopology": topology, "weightsManifest": []})
    names = {node: node.replace(".", "_").replace("/", "_") for node in ARCHITECTURES[name].build().graph}
    check_table(name, rfgraph.analyze(path), {**names, "expand.0": "expand/0"})


def test_the_layers_model_that_the_converter_writes():
    report = rfgraph.analyze(DATA / "tfjs" / "unet_layers" / "model.json")
    assert list(report) == list(rfgraph.analyze(DATA / "keras" / "unet.h5"))


def test_two_readers_say_the_same_of_functions_of_tensorflow():
    graph = rfgraph.analyze(DATA / "tfjs" / "functions" / "model.json")
    layers = rfgraph.analyze(DATA / "keras" / "functions.h5")
    ops = ("slice", "depth_to_space", "resize", "cumsum", "max", "channel_softmax", "global_avg_pool", "div")
    found = [[(r[n].op, *row(r[n])) for n in r if r[n].op in ops] for r in (graph, layers)]
    assert found[0] == found[1]
    assert len(found[0]) == len(ops)


def test_what_to_json_writes_is_read(tmp_path):
    config = json.loads(hdf5.attributes(str(DATA / "keras" / "tcn.h5"), 1 << 20)["model_config"])
    assert rfgraph.analyze(written(tmp_path, config))["convs_3"].size == (31,)


# By hand.


def written(tmp_path, model, weights=None):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    if weights is not None:
        (tmp_path / "w.bin").write_bytes(weights)
    return path


def text(word):
    return base64.b64encode(word.encode()).decode()


def shape(*sizes):
    return {"dim": [{"size": str(size)} for size in sizes]}


def const(name, dtype, *sizes):
    return {"name": name, "op": "Const", "attr": {"value": {"tensor": {"dtype": dtype, "tensorShape": shape(*sizes)}}}}


def graph_model(*nodes, weights=(), paths=("w.bin",), **more):
    x = {"name": "x", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}, "shape": {"shape": shape(
        1, 12, 12, 4)}}}  # fmt: skip
    manifest = [{"paths": list(paths), "weights": list(weights)}]
    return {"format": "graph-model", "modelTopology": {"node": [x, *nodes]}, "weightsManifest": manifest, **more}


def strided(op, name, *inputs, **attributes):
    fields = {"strides": {"list": {"i": ["1", "1", "1", "1"]}}, "padding": {"s": text("VALID")}, **attributes}
    return {"name": name, "op": op, "input": ["x", *inputs], "attr": fields}


def test_fused_operations_are_read(tmp_path):
    fused = {"fused_ops": {"list": {"s": [text("BiasAdd"), text("Prelu")]}}}
    model = graph_model(
        const("w", "DT_FLOAT", 3, 3, 4, 1), const("b", "DT_FLOAT", 4), const("alpha", "DT_FLOAT", 4),
        strided("FusedDepthwiseConv2dNative", "depthwise", "w", "b", "alpha", **fused),
        {"name": "prelu", "op": "Prelu", "input": ["depthwise", "alpha"]},
    )  # fmt: skip
    report = rfgraph.analyze(written(tmp_path, model))
    assert [(node, report[node].op) for node in report][1:] == [
        ("depthwise/conv", "conv"), ("depthwise", "elementwise"), ("prelu", "prelu"),
    ]  # fmt: skip
    assert report["depthwise"].size == (3, 3)
    assert report["depthwise"].channels == 4
    assert report.parameters.count == 9 * 4 + 4 + 4


PADS = struct.pack("<8i", 0, 0, 1, 2, 3, 0, 0, 0)
ENTRY = {"name": "pads", "shape": [4, 2], "dtype": "int32"}


def padded(weights=(ENTRY,), **more):
    nodes = (
        const("pads", "DT_INT32", 4, 2), {"name": "pad", "op": "Pad", "input": ["x", "pads"]},
        {**strided("MaxPool", "pool", ksize={"list": {"i": ["1", "2", "2", "1"]}}), "input": ["pad"]},
    )  # fmt: skip
    return graph_model(*nodes, weights=weights, **more)


def test_small_integers_are_read_from_beside(tmp_path):
    report = rfgraph.analyze(written(tmp_path, padded(), PADS))
    assert report["pool"].padding == (1, 3)


def test_integers_may_stand_behind_others_and_in_several_files(tmp_path):
    before = {"name": "half", "shape": [3], "dtype": "float32", "quantization": {"dtype": "float16"}}
    path = written(tmp_path, padded(weights=(before, ENTRY), paths=("w.bin", "second.bin")), b"123456" + PADS[:8])
    (tmp_path / "second.bin").write_bytes(PADS[8:])
    assert rfgraph.load(path).nodes["pad"]["op"] == "unknown"  # they lie in two files
    path = written(tmp_path, padded(weights=(before, ENTRY), paths=("w.bin", "second.bin")), b"123456")
    (tmp_path / "second.bin").write_bytes(PADS)
    assert rfgraph.analyze(path)["pool"].padding == (1, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"paths": ()},
        {"paths": ("gone.bin",)},
        {"paths": ("../w.bin",)},
        {"paths": ("sub/../w.bin",)},
        {"paths": (7,)},
        {"paths": ("a\0b",)},
        {"weights": ()},
        {"weights": ({**ENTRY, "dtype": "string"},)},
        {"weights": ({"name": "text", "shape": [2], "dtype": "string"}, ENTRY)},
        {"weights": ({**ENTRY, "quantization": {"dtype": "uint8", "scale": 1, "min": 0}},)},
    ],
)
def test_what_constants_hold_is_never_guessed(change, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "w.bin").write_bytes(PADS)
    folder = tmp_path / "inner" if "../w.bin" in change.get("paths", ()) else tmp_path
    graph = rfgraph.load(written(folder, padded(**change)))
    assert graph.nodes["pad"]["op"] == "unknown"
    assert "it pads by pad.paddings.2" in graph.nodes["pad"]["why"]


def test_no_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(PADS)
    path = written(tmp_path, padded())
    (tmp_path / "w.bin").symlink_to(tmp_path / "elsewhere")
    assert rfgraph.load(path).nodes["pad"]["op"] == "unknown"


def test_a_signature_names_inputs_and_outputs(tmp_path):
    stated = {"inputs": {"image": {"name": "x:0", "dtype": "DT_FLOAT", "tensorShape": shape(-1, 20, 20, 4)}},
              "outputs": {"map": {"name": "pool:0"}}}  # fmt: skip
    report = rfgraph.analyze(written(tmp_path, padded(signature=stated), PADS))
    assert report["x"].map_size == (20, 20)
    assert report.outputs == ("map",)
    old = padded(userDefinedMetadata={"signature": stated})
    assert rfgraph.analyze(written(tmp_path, old, PADS))["x"].map_size == (20, 20)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"modelTopology": {"node": 7}}, "not a graph model of TensorFlow.js"),
        ({"modelTopology": {"node": []}}, "it has no nodes"),
        ({"modelTopology": {"node": [{"name": 3}]}}, "or a damaged one"),
        ({**padded(), "weightsManifest": 7}, "its weightsManifest is no list"),
        ({**padded(), "weightsManifest": [{}]}, "or a damaged one"),
        (padded(weights=({**ENTRY, "shape": [-1]},)), "no list of sizes"),
        (padded(signature=7), "its SignatureDef is no object"),
        ({"modelTopology": 7}, "its JSON is not the config of a model"),
        ({"modelTopology": {"model_config": {}}}, "its JSON is not the config of a model"),
        ({"class_name": "Sequential", "config": {}}, "whose graph is not in its config"),
    ],
)
def test_what_is_no_model_is_refused(model, why, tmp_path):
    with pytest.raises(ModelFileError, match=why):
        rfgraph.load(written(tmp_path, model))


def test_without_protobuf_a_graph_model_asks_for_the_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    monkeypatch.delitem(sys.modules, "rfgraph.importers.tensorflow.javascript", raising=False)
    monkeypatch.delitem(sys.modules, "rfgraph.importers.tensorflow.protos", raising=False)
    monkeypatch.delitem(sys.modules, "rfgraph.importers.tensorflow.reader", raising=False)
    with pytest.raises(MissingExtraError, match=r"rfgraph\[tensorflow\]"):
        rfgraph.load(written(tmp_path, padded()))


def test_a_copy_of_the_folder_is_read_alike(tmp_path):
    shutil.copytree(DATA / "tfjs" / "tcn", tmp_path / "m")
    (tmp_path / "m" / "weights.bin").unlink()
    assert any(op == "unknown" for _, op in rfgraph.load(tmp_path / "m" / "model.json").nodes(data="op"))
