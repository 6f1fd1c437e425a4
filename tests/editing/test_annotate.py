"""What was found, in model files for viewers: nothing else of a file changes, byte by byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rfgraph
from rfgraph import cli
from rfgraph.editing import wire
from rfgraph.errors import ModelFileError
from rfgraph.importers.spelling.varint import decoded, encoded

onnx = pytest.importorskip("onnx")

Capture = pytest.CaptureFixture[str]

#: Fields that no one knows: a varint, bytes, 4 and 8 bytes, a group that holds a field.
UNKNOWN = b"".join(
    [
        encoded(1999 << 3) + encoded(1 << 40),
        wire.field(1998, b"what is this"),
        encoded(1997 << 3 | 5) + b"\1\2\3\4",
        encoded(1996 << 3 | 1) + b"\1\2\3\4\5\6\7\x08",
        encoded(1995 << 3 | 3) + wire.field(1, b"inside") + encoded(1995 << 3 | 4),
    ]
)


def model(names: bool = True, external: bool = False) -> Any:
    """A block whose branches are off, a function that is called, and constants."""
    helper = onnx.helper
    weight = helper.make_tensor("w", onnx.TensorProto.FLOAT, [4, 4, 3, 3], [0.0] * 144)
    if external:
        del weight.float_data[:]
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="w.bin")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv" if names else "", kernel_shape=[3, 3], pads=[0, 0, 2, 2]),
        helper.make_node("Constant", [], ["k"], "k", value_float=2.0),
        helper.make_node("Mul", ["c", "k"], ["m"], "mul"),
        helper.make_node("Twice", ["m"], ["t"], "twice", domain="local"),
        helper.make_node("Add", ["x", "t"], ["y"], "add" if names else ""),
    ]
    entry = nodes[0].metadata_props.add()
    entry.key, entry.value = "pkg.kept", "yes"
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    image = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 16, 16])
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, 16, 16])
    graph = helper.make_graph(nodes, "block", [image], [output], [weight])
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=versions, functions=[twice], ir_version=10)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(model().SerializeToString())


def told(path: str) -> dict[str, dict[str, str]]:
    """Return what nodes carry, read by onnx."""
    found = {}
    for node in onnx.load(path, load_external_data=False).graph.node:
        entries = {entry.key: entry.value for entry in node.metadata_props}
        found[node.name] = {key.removeprefix("rfgraph."): value for key, value in entries.items() if "rfgraph." in key}
    return found


def stripped(data: bytes) -> bytes:
    """Take out what was added, with onnx, and write the model again."""
    proto = onnx.load_model_from_string(data)
    for node in proto.graph.node:
        kept = [entry for entry in node.metadata_props if not entry.key.startswith("rfgraph.")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    return proto.SerializeToString()


def test_each_node_carries_what_it_sees(capsys: Capture) -> None:
    """Netron shows what ``metadata_props`` hold by their keys: lutzroeder/netron, ``source/onnx.js``, ``onnx.Node``."""
    assert cli.main(["annotate", "m.onnx", "-o", "out.onnx"]) == 0
    assert capsys.readouterr().out == "out.onnx: 4 of 5 nodes carry r, S, P and status; 1 finding\n"
    found = told("out.onnx")
    report = rfgraph.analyze("m.onnx")
    assert found["conv"] == {"r": "3, 3", "S": "1, 1", "P": "0, 0", "n": "16, 16", "status": "exact"}
    assert found["k"] == {}
    assert found["twice"]["r"] == "3, 3"
    (finding,) = report.findings
    assert finding.node == "add"
    assert found["add"]["RF002"] == f"warning misaligned: {finding.message}; {finding.advice}"
    onnx.checker.check_model(onnx.load("out.onnx"))


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("external", [True, False])
def test_nothing_else_changes(names: bool, external: bool, capsys: Capture) -> None:
    written = model(names, external).SerializeToString()
    Path("m.onnx").write_bytes(written)
    assert cli.main(["annotate", "m.onnx", "-o", "out.onnx"]) == 0
    assert ("keep it beside them" in capsys.readouterr().out) == external
    data = Path("out.onnx").read_bytes()
    assert len(data) > len(written)
    assert stripped(data) == written
    assert Path("m.onnx").read_bytes() == written
    assert rfgraph.analyze("out.onnx")["conv" if names else "c"].size == (3, 3)


def test_weights_in_files_of_their_own_stay_there() -> None:
    numpy_helper, np = onnx.numpy_helper, pytest.importorskip("numpy")
    weight = np.arange(144, dtype=np.float32).reshape(4, 4, 3, 3)
    proto = model()
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    onnx.save(proto, "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0, convert_attribute=False)
    written, weights = Path("m.onnx").read_bytes(), Path("w.bin").read_bytes()
    assert len(weights) == weight.nbytes
    assert cli.main(["annotate", "m.onnx", "-o", "out.onnx"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["m.onnx", "out.onnx", "w.bin"]
    assert Path("w.bin").read_bytes() == weights
    assert stripped(Path("out.onnx").read_bytes()) == stripped(written)
    proto = onnx.load("out.onnx")  # with the weights, which lie beside it
    assert (numpy_helper.to_array(proto.graph.initializer[0]) == weight).all()


def test_fields_that_no_one_knows_are_kept() -> None:
    proto = model()
    for part in (proto, proto.graph, proto.graph.node[0], proto.graph.node[4]):
        part.MergeFromString(UNKNOWN)
    written = proto.SerializeToString()
    assert written.count(b"what is this") == 4
    Path("m.onnx").write_bytes(written)
    assert cli.main(["annotate", "m.onnx", "-o", "out.onnx"]) == 0
    assert stripped(Path("out.onnx").read_bytes()) == written


def test_an_earlier_annotation_is_replaced() -> None:
    assert cli.main(["annotate", "m.onnx", "-o", "once.onnx"]) == 0
    assert cli.main(["annotate", "once.onnx", "-o", "twice.onnx"]) == 0
    assert Path("twice.onnx").read_bytes() == Path("once.onnx").read_bytes()
    assert cli.main(["annotate", "once.onnx", "-o", "sized.onnx", "--input-size", "32"]) == 0
    assert told("sized.onnx")["conv"]["n"] == "32, 32"
    assert stripped(Path("sized.onnx").read_bytes()) == Path("m.onnx").read_bytes()


def test_a_graph_in_several_pieces_is_one() -> None:
    """A reader puts pieces of one field together; so the places of nodes run through them."""
    proto = model()
    first, second = onnx.GraphProto(), onnx.GraphProto()
    first.CopyFrom(proto.graph)
    del first.node[2:]
    second.node.extend(proto.graph.node[2:])
    proto.ClearField("graph")
    data = proto.SerializeToString() + b"".join(wire.field(7, part.SerializeToString()) for part in (first, second))
    Path("m.onnx").write_bytes(data)
    assert cli.main(["annotate", "m.onnx", "-o", "out.onnx"]) == 0
    assert told("out.onnx")["add"]["r"] == "3, 3"
    assert stripped(Path("out.onnx").read_bytes()) == stripped(data)


def test_what_is_not_known_is_told() -> None:
    helper = onnx.helper
    nodes = [
        helper.make_node("Mystery", ["x"], ["a"], "odd", domain="custom"),
        helper.make_node("GlobalAveragePool", ["x"], ["g"], "gate"),
        helper.make_node("Mul", ["x", "g"], ["y"], "gated"),
        helper.make_node("MaxPool", ["x"], ["p"], "pool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    ]
    infos = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 4, "h", "w"]) for n in "xayp"]
    graph = helper.make_graph(nodes, "odd", infos[:1], infos[1:])
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)]
    Path("m.onnx").write_bytes(helper.make_model(graph, opset_imports=versions).SerializeToString())
    assert cli.main(["annotate", "m.onnx", "-o", "out.onnx"]) == 0
    found = told("out.onnx")
    assert found["odd"]["r"] == "not known, not known"
    assert found["odd"]["status"].startswith("unknown: ")
    assert found["gated"]["r"] == "1 and the whole axis, 1 and the whole axis"
    assert found["pool"]["P"] == "depends on the input size, depends on the input size"
    assert found["pool"]["r"] == "3, 3"


COLOUR = {"type": "string", "pattern": "^#[0-9a-f]{6}$"}
#: What Model Explorer takes as the node data of a graph: ``GraphNodeData``, ``NodeDataResult`` and ``GradientItem`` of
#: ai-edge-model-explorer 0.1.34, ``model_explorer/node_data_builder.py``, which asks for the stops 0 and 1 of a
#: gradient. Its ``web_app`` takes a file for such data where its ``results`` have no entry of that name themselves.
NODE_DATA = {
    "type": "object",
    "required": ["results"],
    "additionalProperties": False,
    "properties": {
        "results": {
            "type": "object",
            "propertyNames": {"not": {"const": "results"}},
            "additionalProperties": {
                "type": "object",
                "required": ["value"],
                "additionalProperties": False,
                "properties": {"value": {"type": "number"}, "bgColor": COLOUR, "textColor": COLOUR},
            },
        },
        "gradient": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["stop"],
                "additionalProperties": False,
                "properties": {
                    "stop": {"type": "number", "minimum": 0, "maximum": 1},
                    "bgColor": COLOUR,
                    "textColor": COLOUR,
                },
            },
            "allOf": [{"contains": {"properties": {"stop": {"const": stop}}}} for stop in (0, 1)],
        },
    },
}


@pytest.mark.parametrize("name", ["m.onnx", "zoo:fpn", "zoo:mobilenet_v1"])
def test_node_data_has_the_form_of_model_explorer(capsys: Capture, name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert cli.main(["annotate", name, "-o", "r.json"]) == 0
    assert " carry r, coloured by what was found; " in capsys.readouterr().out
    data = json.loads(Path("r.json").read_text())
    jsonschema.validate(data, NODE_DATA)
    assert data["results"]


def test_node_data_of_a_node_of_a_name_that_has_a_meaning() -> None:
    """Model Explorer takes an entry ``results`` for data of a graph of this name."""
    net = rfgraph.Network("odd", axes=1)
    net.conv("conv", net.conv("results", net.input("x"), kernel=3), kernel=3)
    Path("odd.json").write_text(json.dumps(nx.node_link_data(net.graph, edges="edges")))
    assert cli.main(["annotate", "odd.json", "-o", "r.json"]) == 0
    data = json.loads(Path("r.json").read_text())
    assert {node: result["value"] for node, result in data["results"].items()} == {"x": 1, "conv": 5}


def test_node_data_for_model_explorer() -> None:
    """Keys are names of nodes, or of the tensors of those that have none; findings have colours of their own."""
    assert cli.main(["annotate", "m.onnx", "-o", "r.json"]) == 0
    data = json.loads(Path("r.json").read_text())
    assert data["results"]["conv"] == {"value": 3}
    assert data["results"]["add"] == {"value": 3, "bgColor": "#fdd663"}
    assert [stop["stop"] for stop in data["gradient"]] == [0, 1]
    Path("m.onnx").write_bytes(model(names=False).SerializeToString())
    assert cli.main(["annotate", "m.onnx", "-o", "r.json"]) == 0
    assert {"c", "y", "mul"} <= set(json.loads(Path("r.json").read_text())["results"])
    assert cli.main(["annotate", "zoo:vgg_16", "-o", "r.json"]) == 0
    assert json.loads(Path("r.json").read_text())["results"]["vgg_16/pool5"]["value"] == 212


def test_what_is_said_as_json(capsys: Capture) -> None:
    assert cli.main(["annotate", "m.onnx", "-o", "out.onnx", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["file"], document["told"], document["nodes"], len(document["findings"])) == ("out.onnx", 4, 5, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.onnx", "-o", "out.onnx"], "missing.onnx: there is no such file"),
        (["m.onnx", "-o", "m.onnx"], "-o m.onnx: it is the model itself; write to another file, or say --overwrite"),
        (["m.onnx", "-o", "link.onnx"], "-o link.onnx: it is the model itself"),
        (["m.onnx", "-o", "out.txt"], "-o out.txt: it ends in none of .onnx, .json"),
        (["m.onnx", "-o", "folder.onnx"], "-o folder.onnx: it is a directory"),
        (["m.onnx", "-o", "none/out.onnx"], "none/out.onnx: No such file or directory"),
        (["zoo:vgg_16", "-o", "out.onnx"], "-o out.onnx: only ONNX models are written as .onnx"),
        (["bad.onnx", "-o", "out.onnx"], "bad.onnx: not an ONNX model"),
        (["folder.onnx", "-o", "out.onnx"], "folder.onnx: it is a directory"),
    ],
)
def test_what_is_refused(capsys: Capture, arguments: list[str], said: str) -> None:
    Path("bad.onnx").write_bytes(Path("m.onnx").read_bytes()[:-9])
    Path("folder.onnx").mkdir()
    Path("link.onnx").symlink_to("m.onnx")
    before = Path("m.onnx").read_bytes()
    assert cli.main(["annotate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert Path("m.onnx").read_bytes() == before
    assert not Path("out.onnx").exists()


def test_a_model_is_overwritten_where_that_is_asked_for() -> None:
    assert cli.main(["annotate", "m.onnx", "-o", "m.onnx", "--overwrite"]) == 0
    assert told("m.onnx")["conv"]["r"] == "3, 3"


# The bytes


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_refused(data: bytes) -> None:
    try:
        read = list(wire.fields(data, 0, len(data)))
    except ModelFileError:
        return
    assert [0, *(end for *_, end in read)] == [*(first for _, first, *_ in read), len(data)]
    assert wire.with_nodes(data, lambda place, node: None) == data


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 4))
def test_one_node_is_changed_and_the_others_stay(nodes: list[bytes], at: int) -> None:
    graph = UNKNOWN + b"".join(wire.field(1, node) + UNKNOWN for node in nodes)
    data = UNKNOWN + wire.field(7, graph) + UNKNOWN
    changed = wire.with_nodes(data, lambda place, node: wire.field(1, b"other") if place == at else None)
    wanted = [b"other" if place == at else node for place, node in enumerate(nodes)]
    expected = UNKNOWN + b"".join(wire.field(1, node) + UNKNOWN for node in wanted)
    assert changed == UNKNOWN + wire.field(7, expected) + UNKNOWN


@given(st.integers(0, (1 << 63) - 1))
def test_numbers_are_read_as_they_are_written(number: int) -> None:
    data = encoded(number)
    assert decoded(data.__getitem__, 0, len(data)) == (number, len(data))
