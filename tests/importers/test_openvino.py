"""Models of OpenVINO: the one table, what each operation reads as its runtime told, and files that are none."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import shutil
from pathlib import Path

import pytest
from architectures import ARCHITECTURES, check_rows, row

import rfgraph
from rfgraph.errors import ModelFileError
from rfgraph.importers import archive
from rfgraph.importers.openvino import file, operators
from rfgraph.importers.openvino.nodes import HANDLERS

DATA = Path(__file__).parent.parent / "data" / "openvino"
CASES = json.loads(gzip.decompress((DATA / "cases.json.gz").read_bytes()))
KEPT = ("conv", "conv_transpose", "max_pool", "global_avg_pool", "concat", "input")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_the_one_table(name):
    want = rfgraph.analyze(ARCHITECTURES[name].build(), input_size=ARCHITECTURES[name].size)
    report = rfgraph.analyze(DATA / f"{name}.xml")
    check_rows(report, want, KEPT, lambda node: node == "fc")
    # modules are called as in PyTorch, but where a norm was folded into what is before it
    same = {node for node in want if want[node].op in KEPT and "conv" not in node and "." not in node}
    assert {node for node in same if node in report and row(report[node]) == row(want[node])} >= same - {
        "cat", "head", "depthwise.0", "expand.0"}  # fmt: skip


def opened(case, tmp_path, change=lambda text: text):
    path = tmp_path / "case.xml"
    path.write_text(change(case["xml"]))
    path.with_suffix(".bin").write_bytes(base64.b64decode(case["bin"]))
    return path


#: Of a single key, attention reads the value alone: what its query is does not matter there.
NOT_ALL_FELT = ("attention",)


@pytest.mark.parametrize("name", CASES)
def test_an_operation_reads_what_the_runtime_reads(name, tmp_path):
    case = CASES[name]
    report = rfgraph.analyze(opened(case, tmp_path))
    last = report.outputs[-1]
    layer = report[last]
    if name in UNKNOWN:
        assert UNKNOWN[name] in layer.why
        return
    assert layer.status != "unknown", layer.why
    assert list(layer.map_size) == case["size"]
    for index, told in zip(itertools.product(*map(range, case["size"])), case["boxes"], strict=True):
        box = report.region(last, index).box
        if told is None:
            assert box is None or layer.status == "bound"
            continue
        want = ((told[0], told[2]), (told[1], told[3]))
        assert box is not None
        assert all(b[0] <= w[0] and w[1] <= b[1] for b, w in zip(box, want, strict=True)), (index, box, want)
        if layer.status == "exact" and name not in NOT_ALL_FELT:
            assert box == want, (index, box, want)


UNKNOWN = {"linear_antialias": "which taps its antialiasing has is not the same on all devices"}


def test_sizes_that_are_open_stay_open():
    report = rfgraph.analyze(DATA / "operations.xml")
    assert report["x"].map_size == (None, 24)
    assert {layer.status for layer in report.values()} <= {"exact", "bound"}
    assert rfgraph.analyze(DATA / "operations.xml", input_size=(30, 24))["cut"].map_size == (14, 11)
    assert report.parameters.count == 72 + 144 + 4 + 128
    assert report.outputs == ("y",) or "norm" in report.outputs


def test_another_size_is_read_anew():
    report = rfgraph.analyze(DATA / "unet.xml", input_size=(64, 96))
    assert report["up"].map_size == (64, 96)


def test_without_the_weights_beside_it_numbers_are_not_guessed(tmp_path):
    shutil.copy(DATA / "operations.xml", tmp_path)
    graph = rfgraph.load(tmp_path / "operations.xml")
    assert graph.nodes["cut"]["op"] == "unknown"
    assert "not in the file" in graph.nodes["cut"]["why"]
    (tmp_path / "elsewhere").write_bytes((DATA / "operations.bin").read_bytes())
    (tmp_path / "operations.bin").symlink_to(tmp_path / "elsewhere")
    assert rfgraph.load(tmp_path / "operations.xml").nodes["cut"]["op"] == "unknown"  # no link is followed
    (tmp_path / "operations.bin").unlink()
    (tmp_path / "operations.bin").write_bytes(b"")
    assert rfgraph.load(tmp_path / "operations.xml").nodes["cut"]["op"] == "unknown"


# What is not followed.


def net(*layers, edges="", shape=(1, 4, 9, 8)):
    """A model of layers that are called one after the other: (type, data attributes, output shape)."""
    dims = lambda sizes: "".join(f"<dim>{size}</dim>" for size in sizes)  # noqa: E731
    text = [f'<layer id="0" name="x" type="Parameter" version="opset1"><data shape="" element_type="f32"/>'
            f'<output><port id="0" precision="FP32">{dims(shape)}</port></output></layer>']  # fmt: skip
    wires = []
    for k, (op, data, made) in enumerate(layers, 1):
        output = "" if made is None else f'<output><port id="9">{dims(made)}</port></output>'
        text.append(f'<layer id="{k}" name="n{k}" type="{op}" version="opset1"><data {data}/>'
                    f'<input><port id="0"/></input>{output}</layer>')  # fmt: skip
        wires.append(f'<edge from-layer="{k - 1}" from-port="{9 if k > 1 else 0}" to-layer="{k}" to-port="0"/>')
    return f'<net name="n" version="11"><layers>{"".join(text)}</layers><edges>{"".join(wires)}{edges}</edges></net>'


POOL = ("MaxPool", 'kernel="2, 2" strides="1, 1" pads_begin="0, 0" pads_end="0, 0"', (1, 4, 8, 7))
END = ("Result", "", None)


def read(text, tmp_path):
    path = tmp_path / "net.xml"
    path.write_text(text)
    return rfgraph.load(path)


@pytest.mark.parametrize("op", [*operators.NOT_FOLLOWED, "SomethingNew"])
def test_what_is_not_followed_says_why(op, tmp_path):
    graph = read(net(POOL, (op, "", (1, 4, 8, 7)), (*POOL[:2], (1, 4, 7, 6)), END), tmp_path)
    assert graph.nodes["n2"]["op"] == "unknown"
    assert graph.nodes["n2"]["of"] == op
    assert graph.nodes["n2"].get("why", "") == operators.NOT_FOLLOWED.get(op, "")
    assert rfgraph.analyze(graph, treat={op: "identity"})["n3"].size == (3, 3)


@pytest.mark.parametrize(("sides", "want"), [((), "exact"), ((9, 9), "bound"), ((1, 1), "exact")])
def test_attention_under_a_constant_mask_is_a_bound(sides, want, tmp_path):
    """What the mask hides is in the file of the weights, and may be anything; one number for all hides none."""
    ports = range(4 if sides else 3)
    edge = '<edge from-layer="{}" from-port="0" to-layer="1" to-port="{}"/>'
    wires = "".join(edge.format(9 if k == 3 else 0, k) for k in ports)
    text = net(("ScaledDotProductAttention", "", (1, 4, 9, 8)), END, edges=wires)
    text = text.replace(edge.format(0, 0), "", 1)
    text = text.replace('<port id="0"/>', "".join(f'<port id="{k}"/>' for k in ports), 1)
    mask = ('<layer id="9" name="m" type="Const" version="opset1"><data element_type="f32" shape="{0}, {0}" '
            'offset="0" size="{1}"/><output><port id="0"><dim>{0}</dim><dim>{0}</dim></port></output>'
            '</layer></layers>')  # fmt: skip
    side = max(sides, default=9)
    mask = mask.format(side, 4 * side * side)
    (tmp_path / "net.xml").write_text(text.replace("</layers>", mask))
    layer = rfgraph.analyze(tmp_path / "net.xml", axes={"x": "..T."})["n1"]
    assert (layer.is_global, layer.status) == ((True,), want)


def test_a_shape_that_cannot_be_is_not_believed(tmp_path):
    graph = read(net(POOL, (*POOL[:2], (1, 4, 3, 3)), END), tmp_path)
    (why,) = (why for _, why in graph.nodes(data="why") if why)
    assert why == "its shape should be [1, 4, 3, 3], which is not [1, 4, 7, 6]"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ('kernel="2, 2" strides="1"', "strides"),
        ('kernel=""', "its kernel has no axes"),
        ('kernel="2, two"', "invalid literal"),
        ('kernel="2, 2" strides="1, 1" auto_pad="perhaps"', "auto_pad 'perhaps' is none of"),
        ('kernel="2, 2" strides="0, 1"', "stride"),
    ],
)
def test_malformed_attributes_name_the_node(data, why, tmp_path):
    with pytest.raises(ModelFileError, match=rf"(?s)node 'n1' \(MaxPool\).*{why}"):
        read(net(("MaxPool", data, (1, 4, 8, 7)), END), tmp_path)


#: Operations that read all of what is before them, and the shapes of what they make.
WHOLE = {
    "DetectionOutput": (1, 1, 10, 7), "Inverse": (1, 4, 8, 7), "MatrixNms": (10, 6), "MulticlassNms": (10, 6),
    "Multinomial": (1, 5), "NonMaxSuppression": (10, 3), "NonZero": (4, -1), "PSROIPooling": (3, 4, 2, 2),
    "Proposal": (10, 5), "ROIAlign": (3, 4, 2, 2), "ROIPooling": (3, 4, 2, 2), "Unique": (-1,),
}  # fmt: skip


@pytest.mark.parametrize("op", WHOLE)
def test_what_may_read_all_reads_all(op, tmp_path):
    report = rfgraph.analyze(read(net(POOL, (op, "", WHOLE[op]), END), tmp_path))
    assert all(field.is_full for field in report["n2"].field)


def beside(op, data, second):
    """A model of one operation, which reads ``x`` and what a second layer makes, and a pool."""
    text = net((op, data, (1, 4, 9, 8)), POOL, END).replace("</layers>", f"{second}</layers>")
    text = text.replace('<input><port id="0"/></input>', '<input><port id="0"/><port id="1"/></input>', 1)
    return text.replace("</edges>", '<edge from-layer="50" from-port="0" to-layer="1" to-port="1"/></edges>')


def test_an_axis_that_is_reversed(tmp_path):
    axes = ('<layer id="50" name="axes" type="Const" version="opset1"><data element_type="i64" shape="1" offset="0" '
            'size="8"/><output><port id="0" precision="I64"><dim>1</dim></port></output></layer>')  # fmt: skip
    (tmp_path / "net.bin").write_bytes((2).to_bytes(8, "little"))
    report = rfgraph.analyze(read(beside("Reverse", 'mode="index"', axes), tmp_path))
    assert report.region("n1", (1, 3)).box == ((7, 7), (3, 3))
    assert report.region("n2", (1, 3)).box == ((6, 7), (3, 4))
    graph = read(beside("Reverse", 'mode="mask"', axes), tmp_path)
    assert graph.nodes["n1"]["why"] == "its mode is not index"


@pytest.mark.parametrize("op", ["RandomUniform", "ReadValue"])
def test_numbers_that_come_from_elsewhere_are_no_parameters(op, tmp_path):
    numbers = (f'<layer id="50" name="z" type="{op}" version="opset8"><data/><output><port id="0" precision="FP32">'
               "<dim>1</dim><dim>4</dim><dim>9</dim><dim>8</dim></port></output></layer>")  # fmt: skip
    report = rfgraph.analyze(read(beside("Add", "", numbers), tmp_path))
    assert (report["n2"].size, report["n2"].status, report.parameters.count) == ((2, 2), "exact", 0)


def test_a_state_that_is_kept_is_handed_on(tmp_path):
    report = rfgraph.analyze(read(net(POOL, ("Assign", 'variable_id="s"', (1, 4, 8, 7)), END), tmp_path))
    assert report[report.outputs[-1]].size == (2, 2)


def test_every_handler_is_tried():
    tried = {op for name in (*ARCHITECTURES, "operations") for op in kinds((DATA / f"{name}.xml").read_text())}
    tried |= {op for case in CASES.values() for op in kinds(case["xml"])}
    tables = (operators.UNARY, operators.SEVERAL, operators.REDUCTIONS, operators.NOT_FOLLOWED, WHOLE)
    tried |= {op for table in tables for op in table} | {"Assign", "RandomUniform", "ReadValue", "Reverse"}
    assert sorted(set(HANDLERS) - tried) == []


def kinds(text):
    return {part.split('"')[0] for part in text.split('type="')[1:]}


# Files.


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no XML, or cut off"),
        ("<net><layers>", "no XML, or cut off"),
        ("<html/>", "XML, but no model of OpenVINO"),
        ("<net/>", "XML, but no model of OpenVINO"),
        ('<!DOCTYPE net><net><layers/></net>', "a document type or entities"),
        ('<!DOCTYPE n [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><net>&b;</net>', "a document type or entities"),
        ('<!DOCTYPE n SYSTEM "file:///etc/passwd"><net/>', "a document type or entities"),
        ("<net><layers><layer/></layers></net>", "KeyError"),
        (net(POOL), "the model has no outputs"),
        (net(POOL, END, edges='<edge from-layer="1" from-port="9" to-layer="1" to-port="0"/>'), "in a circle"),
        (net(POOL, END).replace('from-port="9"', 'from-port="7"'), "reads port 7, which no layer has"),
        (net(POOL, END).replace('to-layer="2"', 'to-layer="3"'), "nothing is connected to its port 0"),
        (net(POOL, END).replace('id="1"', 'id="0"'), "two layers have the same id"),
        (net(POOL, END, shape=(1, -2)), "a tensor has shape"),
        ("<a>" * 300, "stand more than 200 deep"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused(text, why, tmp_path):
    with pytest.raises(ModelFileError, match=why):
        read(text, tmp_path)


def test_files_that_are_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 100)
    with pytest.raises(ModelFileError, match="it has more than 100 bytes"):
        read(net(POOL, END), tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(file, "MAX_TAGS", 5)
    with pytest.raises(ModelFileError, match="more than 5 elements"):
        read(net(POOL, END), tmp_path)


def test_an_open_file_is_known_by_its_first_bytes(tmp_path):
    (tmp_path / "m").write_text(net(POOL, END))
    with (tmp_path / "m").open("rb") as stream:
        assert rfgraph.analyze(stream)["n1"].size == (2, 2)
