"""TensorFlow: files of several kinds and ages, read without tensorflow; hostile files; what is asked of the user.

``tests/data/make_tensorflow.py`` makes the files. The ops are held against tensorflow in ``test_tensorflow_ops.py``.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import networkx as nx
import pytest
from architectures import ARCHITECTURES, check_table
from google.protobuf import text_format

import rfgraph
from rfgraph import importers, models
from rfgraph.errors import MissingExtraError, ModelFileError, RFGraphError
from rfgraph.importers.lowering.lower import lower
from rfgraph.importers.program.folding import MAX_ELEMENTS
from rfgraph.importers.program.primitives import Opaque
from rfgraph.importers.tensorflow import body, protos, reader, wire

DATA = Path(__file__).parents[1] / "data" / "tensorflow"

# The same architecture, whichever way it comes.


@pytest.mark.parametrize("file", ["{}.pb", "{}.pbtxt", "{}", "{}/saved_model.pb"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_one_table_whichever_way_it_comes(name, file):
    check_table(name, rfgraph.analyze(DATA / file.format(name), input_size=ARCHITECTURES[name].size))


def test_a_saved_model_in_text(tmp_path):
    message = protos.from_binary(protos.SavedModel, (DATA / "unet/saved_model.pb").read_bytes())
    (tmp_path / "saved_model.pbtxt").write_text(text_format.MessageToString(message))
    for path in (tmp_path, tmp_path / "saved_model.pbtxt"):
        check_table("unet", rfgraph.analyze(path, input_size=ARCHITECTURES["unet"].size))


BLOCKED = """
    import sys
    sys.modules["tensorflow"] = sys.modules["keras"] = None
    import rfgraph
    for path in sys.argv[1:]:
        report = rfgraph.analyze(path, input_size=(64, 96))
        print(report["layers.7/add"].size, report["layers.7/add"].stride)
"""


def test_files_are_read_without_tensorflow():
    paths = [str(DATA / name) for name in ("resnet18.pb", "resnet18.pbtxt", "resnet18")]
    command = [sys.executable, "-c", textwrap.dedent(BLOCKED), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(435, 435) (32, 32)"] * 3


def test_without_protobuf_a_file_asks_for_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("rfgraph.importers.tensorflow")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(importers, "tensorflow", raising=False)
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(MissingExtraError, match=r"needs protobuf: pip install 'rfgraph\[tensorflow\]'"):
        rfgraph.load(DATA / "unet.pb")


# What exporters write.


def test_dilated_convolutions_of_old_are_dilated_convolutions():
    graph = rfgraph.load(DATA / "atrous.pb")
    assert not [node for node, data in graph.nodes(data=True) if data["op"] in ("pad", "space_to_depth", "unknown")]
    for node, dilation in (("rate2", 2), ("rate4", 4), ("deep", 3)):
        assert graph.nodes[node]["dilation"] == [dilation] * 2
        assert graph.nodes[node]["padding"] == [[dilation, dilation]] * 2  # SAME of a stride of 1, whatever the size
    report = rfgraph.analyze(graph)
    assert report.outputs == ("classes",)
    assert report["cat"].size == (3 + 2 * 2 * 4,) * 2
    assert report["classes"].map_size == (None, None)
    assert rfgraph.analyze(DATA / "atrous.pb", input_size=(63, 48))["classes"].map_size == (64, 48)


def test_a_graph_that_trains_is_read_as_it_is_used():
    report = rfgraph.analyze(DATA / "trained.pb")
    assert report.outputs == ("output",)
    assert not any(layer for layer in report if re.search("gradients|Adam|loss|moments|save|Summary", layer))
    assert report["output"].size == (7, 7)
    assert report["output"].is_global == (False, False)  # the moments of a batch are of the branch that trains


def test_a_signature_says_inputs_and_outputs():
    report = rfgraph.analyze(DATA / "trained", input_size={"image": (40, 60)})
    assert report.outputs == ("scores",)
    assert report["scores"] == report["output"]
    assert report["output"].map_size == (20, 30)


def test_a_model_that_keras_exported():
    report = rfgraph.analyze(DATA / "exported")
    assert {report[node].status for node in report} == {"exact"}
    names = [re.sub(r"_\d+(?=/|$)", "", node) for node in report if report[node].op in ("conv", "conv_transpose")]
    stages = ("stem/convolution", "deep/depthwise", "project/convolution", "up/conv_transpose", "classes/convolution")
    assert names == [f"functional/{name}" for name in stages]
    assert report[report.outputs[0]].map_size == (128, 96)


# Published networks, written as TF-Slim writes them.


def attributes_of(data, key, default):
    found = data.get(key, default)
    return list(found) if isinstance(found, (list, tuple)) else [found, found]


def shaped(message, sizes):
    for size in sizes:
        message.dim.add(size=size)


def pads_of(data):
    amounts = attributes_of(data, "padding", 0)
    return [[entry] * 2 if isinstance(entry, int) else list(entry) for entry in amounts]


def written(zoo):
    """Return a network of the zoo as a frozen graph, node by node, with the norm and the activation left out there."""
    graph = protos.GraphDef()

    def add(name, op, *inputs, **settings):
        node = graph.node.add(name=name, op=op, input=inputs)
        for key, value in settings.items():
            attribute = node.attr[key]
            if isinstance(value, str):
                attribute.s = value.encode()
            elif isinstance(value, bool):
                attribute.b = value
            elif isinstance(value, tuple):
                shaped(attribute.shape, value)
            else:
                attribute.list.i.extend(value)
        return name

    def integers(name, *rows):
        tensor = graph.node.add(name=name, op="Const").attr["value"].tensor
        tensor.dtype = 3
        nested = rows if rows and isinstance(rows[0], (list, tuple)) else [rows]
        sizes = [len(rows), len(rows[0])] if nested is rows else [len(rows)]
        shaped(tensor.tensor_shape, sizes)
        tensor.int_val.extend(entry for row in nested for entry in row)
        return name

    def weight(name, *shape):
        tensor = graph.node.add(name=name, op="Const").attr["value"].tensor
        tensor.dtype = 1
        shaped(tensor.tensor_shape, shape)
        tensor.float_val.append(1)
        return name

    channels: dict[str, int] = {}
    ends: dict[str, str] = {}  # layer -> what is read of it
    for name in nx.topological_sort(zoo):
        data = zoo.nodes[name]
        op = data["op"]
        edges = sorted(zoo.in_edges(name, data=True), key=lambda edge: edge[2].get("slot", 0))
        layers = [tail for tail, _, _ in edges]
        before = [ends.get(tail, tail) for tail in layers]
        width = channels[layers[0]] if layers else 3
        padding = data.get("padding", 0)
        if op == "input":
            add(name, "Placeholder", shape=(-1, -1, -1, 3))
        elif op in ("conv", "max_pool", "avg_pool"):
            kernel = attributes_of(data, "kernel", 1)
            stride = [1, *attributes_of(data, "stride", 1), 1]
            how = str(padding).upper() if isinstance(padding, str) else "VALID" if padding == 0 else "EXPLICIT"
            how = "SAME" if how == "SAME_UPPER" else how
            more = {}
            if how == "EXPLICIT":
                pads = pads_of(data)
                more["explicit_paddings"] = [0, 0, *pads[0], *pads[1], 0, 0]
            if op == "conv":
                groups, width = data.get("groups", 1), data.get("channels", width)
                inputs = channels[layers[0]]
                if groups == inputs and groups > 1:
                    filters = weight(f"{name}/weights", *kernel, inputs, width // inputs)
                    add(name, "DepthwiseConv2dNative", before[0], filters, strides=stride, padding=how, **more)
                else:
                    filters = weight(f"{name}/weights", *kernel, inputs // groups, width)
                    add(name, "Conv2D", before[0], filters, strides=stride, padding=how, **more)
                parts = [weight(f"{name}/{part}", width) for part in ("gamma", "beta", "mean", "variance")]
                add(f"{name}/norm", "FusedBatchNormV3", name, *parts, is_training=False)
                ends[name] = add(f"{name}/Relu6", "Relu6", f"{name}/norm")
            else:
                kind = "MaxPool" if op == "max_pool" else "AvgPool"
                add(name, kind, before[0], ksize=[1, *kernel, 1], strides=stride, padding=how, **more)
        elif op == "pad":
            add(name, "Pad", before[0], integers(f"{name}/paddings", [0, 0], *pads_of(data), [0, 0]))
        elif op == "concat":
            add(name, "ConcatV2", *before, integers(f"{name}/axis", 3))
            width = sum(channels[tail] for tail in layers)
        elif op == "add":
            add(name, "AddV2", *before)
        else:
            assert op in ("identity", "relu"), op
            add(name, "Identity", before[0])
        channels[name] = width
    return graph


SLIM = [
    "mobilenet_v1", "inception_v2", "inception_v3", "inception_v4", "inception_resnet_v2", "resnet_v1_50",
    "resnet_v2_101",
]  # fmt: skip


@pytest.mark.parametrize("name", SLIM)
def test_a_published_network_has_its_published_numbers(name, tmp_path):
    model = models.MODELS[name]
    zoo = model.build()
    path = tmp_path / f"{name}.pb"
    path.write_bytes(written(zoo).SerializeToString())
    for size in (None, 224):
        want, report = rfgraph.analyze(zoo, input_size=size), rfgraph.analyze(path, input_size=size)
        for node in want:
            assert (report[node].field, report[node].map_size) == (want[node].field, want[node].map_size), node
        ends = [(finding.rule, finding.node) for finding in want.findings]
        assert [(finding.rule, finding.node) for finding in report.findings] == ends
    published = model.published
    found = rfgraph.analyze(path, input_size=model.input_size)[model.node or want.outputs[-1]]
    assert published is not None
    assert (found.size, found.stride, found.padding) == tuple(
        (number, number) for number in (published.size, published.stride, published.padding)
    )


def test_parameters_are_those_published(tmp_path):
    path = tmp_path / "mobilenet.pb"
    path.write_bytes(written(models.build("mobilenet_v1")).SerializeToString())
    report = rfgraph.analyze(path, input_size=224)
    assert report.parameters.count == 3_206_976  # trainable ones of keras.applications.MobileNet(include_top=False)
    assert report["Conv2d_1_depthwise"].parameters == 3 * 3 * 32
    assert report["Conv2d_1_depthwise"].macs == 112 * 112 * 3 * 3 * 32


@pytest.mark.parametrize("file", ["unet.pb", "unet", "inverted.pbtxt", "inverted"])
def test_variables_and_constants_are_counted_alike(file):
    report = rfgraph.analyze(DATA / file, input_size=32)
    pieces = {
        "unet": [3 * 9 * 8 + 8, 8 * 9 * 8 + 8, 8 * 4 * 8, 16 * 9 * 8 + 8],
        "inverted": [3 * 9 * 8 + 8, 8 * 48, 2 * 48, 9 * 48, 2 * 48, 48 * 8 + 8],
    }
    assert report.parameters.count == sum(pieces[file.partition(".")[0]])


def test_statistics_are_not_learned():
    report = rfgraph.analyze(DATA / "trained", input_size=32)
    assert report.parameters.count == 3 * 9 * 4 + 2 * 4 + 4 * 9 * 2


# Graphs by hand.


def graph(text):
    return protos.from_text(protos.GraphDef, text)


def program(text, **more):
    return reader.program_of(reader.Model("hand", graph(text), **more))


X = 'node { name: "x" op: "Placeholder" attr { key: "shape" value { shape { dim { size: -1 } dim { size: 8 } } } } } '


def test_inputs_that_are_decoded_or_come_from_queues():
    text = """
        node { name: "contents" op: "Const" attr { key: "value" value { tensor { dtype: DT_STRING } } } }
        node { name: "image" op: "DecodeJpeg" input: "contents" attr { key: "channels" value { i: 3 } } }
        node { name: "wide" op: "Cast" input: "image" attr { key: "DstT" value { type: DT_FLOAT } } }
        node { name: "next" op: "IteratorGetNext" attr { key: "output_types" value { list { type: DT_FLOAT
            type: DT_INT32 } } } attr { key: "output_shapes" value { list { shape { dim { size: 3 } } shape { } } } } }
        node { name: "sum" op: "AddV2" input: "wide" input: "next" }
        node { name: "count" op: "Neg" input: "next:1" }
    """
    found = program(text)
    assert [(value.name, len(value.shape)) for value in found.inputs] == [("image", 3), ("next", 1), ("next:1", 0)]
    assert [value.name for value in found.outputs] == ["sum", "count"]


def test_old_graphs_state_no_rank_by_no_dimensions():
    text = 'node { name: "x" op: "Placeholder" attr { key: "shape" value { shape { } } } } node { name: "y" op: "Relu" input: "x" }'  # noqa: E501
    assert program(text + " versions { producer: 20 }").inputs[0].shape is None
    assert program(text + " versions { producer: 27 }").inputs[0].shape == ()


def test_a_function_called_by_its_name_and_attributes_of_its_call():
    text = (
        X
        + """
        node { name: "y" op: "twice" input: "x" attr { key: "axis" value { i: 1 } } }
        library { function {
            signature { name: "twice" input_arg { name: "a" } output_arg { name: "z" } }
            node_def { name: "cut" op: "Unpack" input: "a" attr { key: "num" value { i: 8 } }
                       attr { key: "axis" value { placeholder: "axis" } } }
            node_def { name: "sum" op: "AddV2" input: "cut:output:2" input: "cut:output:3" }
            ret { key: "z" value: "sum:z:0" }
        } }
    """
    )
    found = program(text)
    assert [step.name for step in found.instructions] == ["y/cut:2", "y/cut:3", "y/sum"]


def test_loops_of_tensorflow_1_are_named_and_bounded():
    loop = (
        X
        + """
        node { name: "enter" op: "Enter" input: "x" }
        node { name: "merge" op: "Merge" input: "enter" input: "next" }
        node { name: "go" op: "LoopCond" input: "limit" }
        node { name: "limit" op: "Const" attr { key: "value" value { tensor { dtype: DT_BOOL bool_val: true } } } }
        node { name: "switch" op: "Switch" input: "merge" input: "go" }
        node { name: "turn" op: "Relu" input: "switch:1" }
        node { name: "next" op: "NextIteration" input: "turn" }
        node { name: "exit" op: "Exit" input: "switch" }
    """
    )
    steps = program(loop).instructions
    assert [(step.name, step.inputs[0].name) for step in steps] == [("merge", "x"), ("turn", "merge"), ("exit", "turn")]
    assert steps[0].primitive.why == steps[2].primitive.why == "what its loop computes is not followed"
    steps = program(loop.replace('"merge" input: "go"', '"enter" input: "go"')).instructions  # no loop that one knows
    (step,) = [step for step in steps if step.name == "exit"]
    assert ([value.name for value in step.inputs], type(step.primitive)) == (["x"], Opaque)


def test_windows_tell_the_rank_that_an_input_does_not_state():
    text = """
        node { name: "x" op: "Placeholder" attr { key: "shape" value { shape { unknown_rank: true } } } }
        node { name: "pool" op: "MaxPool" input: "x" attr { key: "ksize" value { list { i: 1 i: 2 i: 2 i: 1 } } }
            attr { key: "strides" value { list { i: 1 i: 2 i: 2 i: 1 } } } attr { key: "padding" value { s: "SAME" } } }
        node { name: "w" op: "Const" attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape {
            dim { size: 3 } dim { size: 3 } dim { size: 4 } dim { size: 2 } } } } } }
        node { name: "conv" op: "Conv2D" input: "pool" input: "w"
            attr { key: "strides" value { list { i: 1 i: 1 i: 1 i: 1 } } } attr { key: "padding" value { s: "SAME" } } }
        node { name: "axes" op: "Const" attr { key: "value" value { tensor { dtype: DT_INT32 int_val: 1 int_val: 2
            tensor_shape { dim { size: 2 } } } } } }
        node { name: "mean" op: "Mean" input: "conv" input: "axes" }
    """
    report = rfgraph.analyze(lower(program(text)), input_size=10)
    assert (report["conv"].size, report["conv"].map_size) == ((6, 6), (5, 5))
    assert report["mean"].is_global == (True, True)


def test_work_is_bounded(monkeypatch):
    unpack = 'node { name: "u%d" op: "Unpack" input: "x" attr { key: "num" value { i: 8 } }' \
             ' attr { key: "axis" value { i: 1 } } }'  # fmt: skip
    monkeypatch.setattr(reader, "MAX_OUTPUTS", 30)
    with pytest.raises(ModelFileError, match="more than 30 outputs"):
        program(X + "".join(unpack % k for k in range(4)))
    monkeypatch.setattr(body, "MAX_STEPS", 30)
    chain = "".join(f'node {{ name: "c{k}" op: "Relu" input: "{f"c{k - 1}" if k else "x"}" }}' for k in range(40))
    with pytest.raises(ModelFileError, match="more than 30 steps"):
        program(X + chain + 'node { name: "exit" op: "Exit" input: "c39" }')
    call = (
        X
        + """
        node { name: "y" op: "PartitionedCall" input: "x" attr { key: "f" value { func { name: "f" } } } }
        library { function { signature { name: "f" input_arg { name: "a" } output_arg { name: "z" } }
            node_def { name: "r" op: "Relu" input: "a" } ret { key: "z" value: "r:activations:0" } } }
    """
    )
    (step,) = program(call.replace('"y"', f'"{"y" * 5000}"')).instructions
    assert len(step.name) < 500
    many = X.replace("size: -1", "size: 100000") + unpack.replace("i: 8", "i: 100000").replace("i: 1 ", "i: 0 ") % 0
    (step,) = program(many).instructions
    assert step.primitive.why == "it makes 100000 pieces, more than 4096"


def test_constants_without_numbers_are_zero():
    text = (
        X
        + """
        node { name: "axis" op: "Const" attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } } } } }
        node { name: "y" op: "ExpandDims" input: "x" input: "axis" }
    """
    )
    (step,) = program(text).instructions
    assert step.primitive.dims == (0,)


def test_statistics_are_told_where_names_do_not_tell_them():
    def const(name, value):
        shape = "" if name == "epsilon" else "dim { size: 4 }"
        return (f'node {{ name: "{name}" op: "Const" attr {{ key: "value" value {{ tensor {{ dtype: DT_FLOAT '
                f"tensor_shape {{ {shape} }} float_val: {value} }} }} }} }}")  # fmt: skip

    def node(name, op, *inputs):
        return f'node {{ name: "{name}" op: "{op}" ' + "".join(f'input: "{i}" ' for i in inputs) + "} "

    sizes = "dim { size: 4 } " * 4
    text = 'node { name: "x" op: "Placeholder" attr { key: "shape" value { shape { ' + sizes + "} } } }"
    text += "".join(const(name, 2) for name in ("gamma", "beta", "a", "b", "epsilon"))  # a and b were seen, not learned
    text += node("add", "AddV2", "b", "epsilon") + node("inverse", "Rsqrt", "add")
    text += node("scale", "Mul", "inverse", "gamma")
    text += node("shifted", "Mul", "a", "scale") + node("shift", "Sub", "beta", "shifted")
    text += node("scaled", "Mul", "x", "scale") + node("y", "AddV2", "scaled", "shift")
    found = program(text)
    assert [(step.name, sorted(name for name, _ in step.learned)) for step in found.instructions] == [
        ("scaled", ["gamma"]), ("y", ["beta"]),
    ]  # fmt: skip
    assert found.learned == {("gamma", 4), ("beta", 4)}


def test_images_decoded_in_a_loop_are_an_input():
    text = """
        node { name: "files" op: "Placeholder" attr { key: "dtype" value { type: DT_STRING } } }
        node { name: "images" op: "DecodeAll" input: "files" }
        node { name: "y" op: "MaxPool" input: "images" attr { key: "ksize" value { list { i: 1 i: 2 i: 2 i: 1 } } }
            attr { key: "strides" value { list { i: 1 i: 2 i: 2 i: 1 } } } attr { key: "padding" value { s: "SAME" } } }
    """
    found = program(text)
    assert [value.name for value in found.inputs] == ["images"]
    assert rfgraph.analyze(lower(found))["y"].size == (2, 2)


MISTAKES = {
    "nothing": ("", "it has no nodes"),
    "no input": ('node { name: "y" op: "NoOp" }', "no input: no Placeholder"),
    "twice": (X + X, "two of its nodes are called 'x'"),
    "dangling": (X + 'node { name: "y" op: "AddV2" input: "x" input: "z" }', "reads 'z', which is not in the graph"),
    "cycle": (X + 'node { name: "a" op: "AddV2" input: "x" input: "b" } node { name: "b" op: "Relu" input: "a" } '
              'node { name: "c" op: "Relu" input: "b" }', "form a cycle"),
    "reference": (X + 'node { name: "y" op: "Relu" input: "x:y:z" }', "no reference to a tensor"),
    "output": (X + 'node { name: "y" op: "Relu" input: "x:1" }', "output 1 of 'x' is read, which has 1"),
    "constant": ('node { name: "y" op: "Const" }' + X + 'node { name: "z" op: "AddV2" input: "x" input: "y" }',
                 r"node 'y' \(Const\): its value is missing"),
    "attribute": (X + 'node { name: "y" op: "MaxPool" input: "x" attr { key: "ksize" value { s: "3" } } }',
                  "ksize is not a list"),
    "rank": ('node { name: "x" op: "Placeholder" attr { key: "shape" value { shape { ' + "dim { size: 1 } " * 300
             + '} } } } node { name: "y" op: "Relu" input: "x" }', "300 dimensions"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake, tmp_path):
    text, message = MISTAKES[mistake]
    path = tmp_path / "graph.pbtxt"
    path.write_text(text)
    with pytest.raises(ModelFileError, match=message):
        rfgraph.load(path)


def test_files_that_are_no_graphs(tmp_path):
    (tmp_path / "a.pb").write_bytes(b"\x0a\xff no graph")
    (tmp_path / "a.pbtxt").write_text("node { name: 3 }")
    (tmp_path / "deep.pbtxt").write_text("a { " * 100_000)
    (tmp_path / "empty").mkdir()
    for name in ("a.pb", "a.pbtxt", "deep.pbtxt"):
        with pytest.raises(ModelFileError, match="not a TensorFlow graph"):
            rfgraph.load(tmp_path / name)
    with pytest.raises(ModelFileError, match="it is a directory"):
        rfgraph.load(tmp_path / "empty")
    with pytest.raises(ModelFileError, match="there is no such file"):
        rfgraph.load(tmp_path / "none.pb")


def test_functions_without_end_are_refused(monkeypatch):
    call = 'attr { key: "f" value { func { name: "%s" } } }'
    body = """function { signature { name: "%s" input_arg { name: "a" } output_arg { name: "z" } }
        node_def { name: "one" op: "PartitionedCall" input: "a" %s }
        node_def { name: "two" op: "PartitionedCall" input: "one:output:0" %s }
        ret { key: "z" value: "two:output:0" } } """
    main = X + 'node { name: "y" op: "PartitionedCall" input: "x" ' + call % "f0" + "} library { "
    itself = main + body % ("f0", call % "f0", call % "f0") + "}"
    with pytest.raises(ModelFileError, match="more than 64 deep"):
        program(itself)
    monkeypatch.setattr(reader, "MAX_UNFOLDED", 10_000)
    tree = "".join(body % (f"f{k}", call % f"f{k + 1}", call % f"f{k + 1}") for k in range(40))
    with pytest.raises(ModelFileError, match="unfold to more than 10000"):
        program(main + tree + "}")


def test_a_mask_of_numbers_without_end_hides_what_is_later():
    message = graph(X + """
        node { name: "p" op: "AvgPool" input: "x" attr { key: "ksize" value { list { i: [1, 2, 1, 1] } } }
          attr { key: "strides" value { list { i: [1, 1, 1, 1] } } } attr { key: "padding" value { s: "SAME" } } }
        node { name: "t" op: "Squeeze" input: "p" attr { key: "squeeze_dims" value {
          list { i: 2 } } } }
        node { name: "scores" op: "BatchMatMulV2" input: "t" input: "t" attr { key: "adj_y" value { b: true } } }
        node { name: "mask" op: "Const" } node { name: "low" op: "Const" }
        node { name: "hidden" op: "SelectV2" input: "mask" input: "scores" input: "low" }
        node { name: "weights" op: "Softmax" input: "hidden" }
        node { name: "y" op: "BatchMatMulV2" input: "weights" input: "t" }""")  # fmt: skip
    for node in message.node:
        if node.name == "x":
            shape = node.attr["shape"].shape
            del shape.dim[:]
            for size in (1, 5, 1, 4):
                shape.dim.add(size=size)
        if node.name == "mask":
            tensor = node.attr["value"].tensor
            tensor.dtype = 10
            for _ in range(2):
                tensor.tensor_shape.dim.add(size=5)
            tensor.bool_val[:] = [column <= row for row in range(5) for column in range(5)]
        if node.name == "low":
            node.attr["value"].tensor.dtype = 1
            node.attr["value"].tensor.float_val[:] = [float("-inf")]
    report = rfgraph.analyze(lower(reader.program_of(reader.Model("hand", message))))
    assert report["y"].side == ("past", "")
    assert report["y"].status == "exact"


def test_large_tensors_are_not_decoded(monkeypatch):
    decoded = []
    contents = reader.contents_of
    monkeypatch.setattr(reader, "contents_of", lambda *args: decoded.append(args[2]) or contents(*args))
    message = graph(X + 'node { name: "w" op: "Const" } node { name: "y" op: "AddV2" input: "x" input: "w" }')
    tensor = message.node[1].attr["value"].tensor
    tensor.dtype = 3
    for size in (8, MAX_ELEMENTS + 1, 2**62):
        del tensor.tensor_shape.dim[:]
        tensor.tensor_shape.dim.add(size=size)
        tensor.int_val[:] = [1]
        try:
            reader.program_of(reader.Model("hand", message))
        except ModelFileError as error:
            assert "do not broadcast" in str(error)  # noqa: PT017
    assert decoded == [8]


@pytest.mark.parametrize("file", ["unet.pb", "trained.pb", "exported/saved_model.pb"])
def test_large_files_are_read_without_their_weights(file, tmp_path, monkeypatch):
    saved = file.endswith("saved_model.pb")
    kind = protos.SavedModel if saved else protos.GraphDef
    message = protos.from_binary(kind, (DATA / file).read_bytes())
    main = message.meta_graphs[0].graph_def if saved else message
    nodes = [*main.node, *(node for function in main.library.function for node in function.node_def)]
    weights = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    for tensor in weights:
        if tensor.dtype == 1:
            tensor.ClearField("float_val")
            tensor.tensor_content = bytes(100_000)
    whole = message.SerializeToString() + b"\xfa\x7f\x80\x80\x04" + bytes(65536)  # and a field that nobody knows
    path = tmp_path / "large.pb"
    path.write_bytes(whole)
    want = dict(rfgraph.load(DATA / file).nodes(data=True))
    monkeypatch.setattr(wire, "SMALL_FILE", 0)
    monkeypatch.setattr(wire, "SMALL_FIELD", 200)
    assert dict(rfgraph.load(path).nodes(data=True)) == want
    monkeypatch.setattr(wire, "SMALL_FIELD", 10_000)
    lean = wire.contents(path, "SavedModel" if saved else "GraphDef")
    assert len(lean) < (DATA / file).stat().st_size + 100
    assert dict(rfgraph.load(path).nodes(data=True)) == want
    for length in (1, 2, 500, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            rfgraph.load(path)


def test_a_graph_made_for_one_size_is_not_bent_to_another():
    message = protos.from_binary(protos.GraphDef, (DATA / "unet.pb").read_bytes())
    (stack,) = [node for node in message.node if node.name == "up/stack"]
    stack.op = "Const"
    del stack.input[:]
    tensor = stack.attr["value"].tensor
    tensor.dtype = 3
    tensor.tensor_shape.dim.add(size=4)
    tensor.int_val[:] = [1, 32, 48, 8]
    model = reader.Model("fixed", message)
    for size, why in ((32, ""), (40, "does not follow from 20")):
        found = lower(reader.program_of(model, {"x": (1, size, size * 3 // 2, 3)}), spatial={"x": (1, 2)})
        assert found.nodes["up"].get("why", "").find(why) >= 0
        assert (found.nodes["up"]["op"] == "unknown") == bool(why)


# Damaged files are read or refused.


def check_read_or_refused(path):
    try:
        found = rfgraph.load(path)
        assert isinstance(found, nx.DiGraph)
        rfgraph.analyze(found)
    except RFGraphError:
        pass


SEEDS = ("inverted.pb", "trained.pb", "atrous.pb", "unet/saved_model.pb", "exported/saved_model.pb")


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_files_are_read_or_refused(seed, tmp_path):
    data = (DATA / seed).read_bytes()
    rng = random.Random(seed)
    path = tmp_path / "damaged.pb"
    began = time.process_time()
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 3, 20))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        check_read_or_refused(path)
    assert time.process_time() - began < 120


NUMBERS = (0, -1, 1, 2, 3, 7, 1 << 31, (1 << 62) + 1, -(1 << 62))


def mutated(message, rng):
    """Change one thing in a graph: a number, a reference, an op, an attribute, a shape."""
    nodes = list(message.node) + [node for function in message.library.function for node in function.node_def]
    node, other = rng.choice(nodes), rng.choice(nodes)
    how = rng.randrange(8)
    if how == 0 and node.input:
        node.input[rng.randrange(len(node.input))] = other.name + rng.choice(("", "", ":1", ":0:0"))
    elif how == 1:
        node.op = other.op
    elif how == 2 and node.attr:
        node.attr.pop(rng.choice(sorted(node.attr)))
    elif how == 3 and node.attr and other.attr:
        node.attr[rng.choice(sorted(node.attr))].CopyFrom(other.attr[rng.choice(sorted(other.attr))])
    elif how == 4 and node.input:
        del node.input[rng.randrange(len(node.input))]
    elif how == 5:
        node.input.append(other.name)
    else:
        for attribute in node.attr.values():
            numbers = attribute.list.i if attribute.HasField("list") else attribute.tensor.int_val
            dims = attribute.shape.dim or attribute.tensor.tensor_shape.dim
            if numbers and rng.random() < 0.7:
                most = 1 << (63 if attribute.HasField("list") else 31)
                fitting = [number for number in NUMBERS if -most <= number < most]
                numbers[rng.randrange(len(numbers))] = rng.choice(fitting)
            elif dims:
                dims[rng.randrange(len(dims))].size = rng.choice(NUMBERS)


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_graphs_are_read_or_refused(seed, tmp_path):
    data = (DATA / seed).read_bytes()
    rng = random.Random(seed)
    path = tmp_path / "damaged.pb"
    for _ in range(150):
        saved = seed.endswith("saved_model.pb")
        message = protos.from_binary(protos.SavedModel if saved else protos.GraphDef, data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            mutated(message.meta_graphs[0].graph_def if saved else message, rng)
        path.write_bytes(message.SerializeToString())
        check_read_or_refused(path)


def test_damaged_text_is_read_or_refused(tmp_path):
    text = (DATA / "inverted.pbtxt").read_text()
    rng = random.Random(0)
    lines = text.splitlines(keepends=True)
    path = tmp_path / "damaged.pbtxt"
    for _ in range(60):
        damaged = list(lines)
        for _ in range(rng.choice((1, 2, 5))):
            i, k = rng.randrange(len(damaged)), rng.randrange(len(lines))
            damaged[i] = rng.choice((lines[k], "", damaged[i][: len(damaged[i]) // 2], "size: -7\n", "}\n"))
        path.write_text("".join(damaged))
        check_read_or_refused(path)


def test_a_saved_model_keeps_to_its_directory(tmp_path):
    shutil.copytree(DATA / "trained", tmp_path / "model")
    assert not (tmp_path / "model" / "variables").exists()  # and it is read all the same
    assert rfgraph.analyze(tmp_path / "model").outputs == ("scores",)
