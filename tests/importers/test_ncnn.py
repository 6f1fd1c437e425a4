"""Networks of ncnn: the one table, what each layer reads as ncnn told, and files that are none."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest
from architectures import ARCHITECTURES, check_rows

import rfgraph
from rfgraph.errors import ModelFileError
from rfgraph.importers import archive
from rfgraph.importers.ncnn import file, operators
from rfgraph.importers.ncnn.nodes import HANDLERS

DATA = Path(__file__).parent.parent / "data" / "ncnn"
CASES = json.loads(gzip.decompress((DATA / "cases.json.gz").read_bytes()))
KEPT = ("conv", "conv_transpose", "max_pool", "global_avg_pool", "concat", "input", "add")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_the_one_table(name):
    want = rfgraph.analyze(ARCHITECTURES[name].build(), input_size=ARCHITECTURES[name].size)
    report = rfgraph.analyze(DATA / f"{name}.param", input_size=ARCHITECTURES[name].size)
    check_rows(report, want, KEPT, lambda node: "linear" in node)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_reads_what_ncnn_reads(name, tmp_path):
    case = CASES[name]
    path = tmp_path / "net.param"
    path.write_text(case["text"])
    report = rfgraph.analyze(path, axes={"in0": {1: ".t", 2: ".yx", 3: ".zyx"}[len(case["size"])]})
    last = report.outputs[-1]
    layer = report[last]
    assert layer.status != "unknown", layer.why
    assert list(layer.map_size) == case["size"]
    for index, told in zip(itertools.product(*map(range, case["size"])), case["boxes"], strict=True):
        box = report.region(last, index).box
        if told is None:
            assert box is None or layer.status == "bound"
            continue
        axes = len(index)
        want = tuple(zip(told[:axes], told[axes:], strict=True))
        assert box is not None
        assert all(b[0] <= w[0] and w[1] <= b[1] for b, w in zip(box, want, strict=True)), (index, box, want)
        if layer.status == "exact":
            assert box == want, (index, box, want)


def read(text, tmp_path):
    path = tmp_path / "net.param"
    path.write_text(text)
    return rfgraph.load(path)


def net(*lines, given="0=8 1=9 2=4"):
    return "\n".join(["7767517", f"{len(lines) + 1} 99", f"Input in0 0 1 in0 {given}", *lines])


CONV = "Convolution c 1 1 in0 a 0=4 1=3 5=1 6=144"


# What networks say of themselves.


def test_an_input_without_a_size_is_what_the_first_window_reads(tmp_path):
    graph = read(net("Split s 1 2 in0 b z", "ReLU r 1 1 b d", CONV.replace("in0", "d"), given=""), tmp_path)
    assert graph.nodes["in0"] == {"op": "input", "channels": 4}
    assert graph.graph["axes"] == 2
    line = "Convolution1D c 1 1 in0 a 0=4 1=3 6=24"
    assert read(net(line, given=""), tmp_path).nodes["in0"]["channels"] == 2
    bgr = ["Slice s 1 3 in0 r g b -23300=3,1,1,-233", "Concat k 3 1 b g r x 0=0", CONV.replace("in0", "x")]
    path = tmp_path / "bgr.param"
    path.write_text(net(*[line.replace("6=144", "6=108") for line in bgr], given=""))
    report = rfgraph.analyze(path, input_size=(9, 8))
    assert (report["in0"].map_size, report["c"].map_size, report["c"].size) == ((9, 8), (7, 6), (3, 3))
    assert {report[node].status for node in report} == {"exact"}
    with pytest.raises(ModelFileError, match=r"nothing tells how many dimensions.*0=width 1=height 2=channels"):
        read(net("ReLU r 1 1 in0 b", given=""), tmp_path)


def test_another_size_is_read_anew():
    report = rfgraph.analyze(DATA / "resnet18.param", input_size=(128, 64))
    assert report["maxpool2d_0" if "maxpool2d_0" in report else next(n for n in report if "maxpool" in n)].map_size == (
        32,
        16,
    )
    assert rfgraph.analyze(DATA / "resnet18.param")["in0"].map_size == (None, None)


@pytest.mark.parametrize(
    ("lines", "want"),
    [
        ([CONV], 144 + 4),
        (["ConvolutionDepthWise c 1 1 in0 a 0=4 1=3 5=0 6=36 7=4"], 36),
        ([CONV, "BatchNorm b 1 1 a b 0=4"], 148 + 8),
        ([CONV, "Scale b 1 1 a b 0=4 1=1"], 148 + 8),
        ([CONV, "PReLU b 1 1 a b 0=4"], 148 + 4),
        ([CONV, "GroupNorm b 1 1 a b 0=2 1=4 3=1"], 148 + 8),
        ([CONV, "LayerNorm b 1 1 a b 0=6"], 148 + 12),
        ([CONV, "Pooling p 1 1 a b 0=1 4=1", "InnerProduct f 1 1 b d 0=3 1=1 2=12"], 148 + 12 + 3),
        ([CONV, "MemoryData m 0 1 b 0=6 1=7 2=4", "BinaryOp o 2 1 a b d"], 148),
        ([CONV, "Reshape r 1 1 a b 0=-1 1=4", "Permute p 1 1 b d 0=1", "LSTM l 1 1 d e 0=5 1=80 2=0"],
         148 + 80 + 100 + 20),
    ],
)  # fmt: skip
def test_parameters_are_counted(lines, want, tmp_path):
    report = rfgraph.analyze(read(net(*lines), tmp_path))
    assert report.parameters.count == want


def test_weights_for_other_channels_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match=r"node 'c' \(Convolution\): its weights are for 3 channels.* has 4"):
        read(net(CONV.replace("6=144", "6=108")), tmp_path)


def test_attention_under_a_constant_mask_is_a_bound(tmp_path):
    plain = rfgraph.analyze(read(net(CONV, "SDPA s 3 1 a a a b"), tmp_path))
    masked = rfgraph.analyze(read(net(CONV, "MemoryData m 0 1 m 0=7 1=7", "SDPA s 4 1 a a a m b 5=1"), tmp_path))
    assert (plain["s"].is_global, plain["s"].status, masked["s"].status) == ((True, True), "exact", "bound")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Convolution d 2 1 a in0 b 0=4 1=3 6=144 19=1", "computed as the model runs"),
        ("Pooling d 1 1 a b 0=0 1=3 7=0 5=9", None),
        ("Interp d 1 1 a b 0=1 5=1", "computed as the model runs"),
        ("Interp d 1 1 a b 0=2 1=1.3 2=1.0", "which is cut to 9"),
        ("Interp d 1 1 a b 0=2 3=5", "one axis is resized to a size"),
        ("BinaryOp d 1 1 a b 0=99", "its op_type 99 is not known"),
        ("Reduction d 1 1 a b 0=3 1=0 -23303=1,1", "as in old files"),
        ("LayerNorm d 1 1 a b 0=77", "over which dimensions its 77 numbers lie"),
        ('Reshape d 1 1 a b 6="0w*2,3"', "is an expression that is not followed"),
        ("Deconvolution d 1 1 a b 0=4 1=3 6=144 20=9 21=9", "how it crops is not"),
        ("Padding d 1 1 a b 0=-233 1=-233 2=-233 3=-233", "is said as the model runs"),
        ("LRN d 1 1 a b 0=1", "neighbours in space"),
        *((f"{op} d 1 1 a b", why) for op, why in operators.NOT_FOLLOWED.items()),
        ("SomethingNew d 1 1 a b", ""),
    ],
)
def test_what_is_not_followed_says_why(line, why, tmp_path):
    text = net(CONV, line)
    if why is None:
        with pytest.raises(ModelFileError, match="its pad_mode 9 is none of 0 to 3"):
            read(text, tmp_path)
        return
    graph = read(text, tmp_path)
    (node,) = (node for node, op in graph.nodes(data="op") if op == "unknown")
    assert why in graph.nodes[node].get("why", "")


#: Layers that read all of what is before them.
WHOLE = (
    "DetectionOutput", "NonMaxSuppression", "PSROIPooling", "Proposal", "ROIAlign", "ROIPooling", "YoloDetectionOutput",
    "Yolov3DetectionOutput",
)  # fmt: skip


@pytest.mark.parametrize("op", WHOLE)
def test_what_may_read_all_reads_all(op, tmp_path):
    report = rfgraph.analyze(read(net(CONV, f"{op} d 1 1 a b"), tmp_path))
    assert all(field.is_full for field in report["d"].field)


def test_words_are_read_one_by_one(tmp_path):
    path = tmp_path / "net.param"
    lines = ["Embed e 1 1 in0 a 0=6 1=10 2=0 3=60", "Permute p 1 1 a p 0=1", "Convolution1D c 1 1 p b 0=2 1=3 5=0 6=36"]
    path.write_text(net(*lines, given="0=5"))
    report = rfgraph.analyze(path, axes={"in0": "t"})
    assert (report["e"].size, report["e"].map_size) == ((1,), (5,))
    assert (report["c"].size, report["c"].map_size, report.parameters.count) == ((3,), (3,), 96)


def test_every_handler_is_tried():
    tried = {
        line.split()[0] for name in ARCHITECTURES for line in (DATA / f"{name}.param").read_text().split("\n")[2:-1]
    }
    tried |= {line.split()[0] for case in CASES.values() for line in case["text"].split("\n")[2:-1]}
    tried |= {*operators.UNARY, *operators.NOT_FOLLOWED, *WHOLE, "LSTM", "GRU", "RNN", "Embed"}
    assert sorted(set(HANDLERS) - tried) == []


# Files.


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its first line is not 7767517"),
        ("\x00\x01", "its first line is not 7767517"),
        ("7767517", "it has no layers"),
        ("7767517\n1 1\nInput", "or a damaged one"),
        ("7767517\n1 1\nInput in0 x 1 in0", "or a damaged one"),
        ("7767517\n1 1\nInput in0 0 99999 in0", "has 0 inputs and 99999 outputs"),
        (net("ReLU r 1 1 in0 a nonsense"), "'nonsense' is no parameter"),
        (net("ReLU r 1 1 in0 a -23300=3,1"), "is no list of 3"),
        (net("ReLU r 1 1 nothing a"), "reads 'nothing', which nothing before it makes"),
        (net("ReLU r 1 1 in0 in0"), "two layers make blob 'in0'"),
        (net("Noop n 1 0 in0"), "the network has no outputs"),
        (net("Convolution c 1 1 in0 a 0=4 6=144"), "its kernel is missing"),
        (net("Convolution c 1 1 in0 a 0=4 1=1.5 6=144"), "parameter 1 is '1.5', no integer"),
        (net("Convolution c 1 1 in0 a 0=4 1=3 3=-1 6=144"), "stride"),
        (net("Permute p 1 1 in0 a 0=77"), "its order_type 77 is not known"),
        (net("Interp p 1 1 in0 a 0=7"), "its resize_type 7 is none of 1 to 3"),
    ],
)
def test_what_is_no_network_is_refused(text, why, tmp_path):
    with pytest.raises(ModelFileError, match=why):
        read(text, tmp_path)


def test_a_graph_of_pnnx_is_told_from_a_network_of_ncnn():
    with pytest.raises(ModelFileError, match=r"it is a graph of pnnx.*read the \.ncnn\.param"):
        rfgraph.load(DATA / "unet.pnnx.param")


def test_files_that_are_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 50)
    with pytest.raises(ModelFileError, match="it has more than 50 bytes"):
        read(net(CONV), tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(file, "MAX_LAYERS", 1)
    with pytest.raises(ModelFileError, match="it has 2 layers, more than 1"):
        read(net(CONV), tmp_path)


def test_an_open_file_is_known_by_its_first_line(tmp_path):
    (tmp_path / "m").write_text(net(CONV))
    with (tmp_path / "m").open("rb") as stream:
        assert rfgraph.analyze(stream)["c"].size == (3, 3)
