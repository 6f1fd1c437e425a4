"""Files meant to harm: each is refused at once, in one paragraph, and an error that no one foresaw is never 'found'."""

from __future__ import annotations

import json
import os
import time
from fractions import Fraction

import numpy as np
import pytest

import rfgraph
from rfgraph import cli
from rfgraph.cli.refusals import UNFORESEEN, UNREADABLE
from rfgraph.errors import AttributeValueError
from rfgraph.importers import node_link, program
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import symbol
from rfgraph.importers.program.primitives import CHECKS, Primitive, checked


def chain(**attributes):
    nodes = [{"id": "x", "op": "input"}, {"id": "y", **attributes}]
    return {"graph": {"axes": 1}, "nodes": nodes, "edges": [{"source": "x", "target": "y"}]}


def refused(path, capsys, match):
    """Check that a file is refused within seconds, in one paragraph that names it."""
    start = time.perf_counter()
    assert cli.main(["summary", str(path)]) == UNREADABLE
    assert time.perf_counter() - start < 10
    said = capsys.readouterr().err
    assert said.startswith("rfgraph: ")
    assert match in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (json.dumps(chain(op="resize", scale="1e100000000")), "scale '1e100000000' is not a positive number"),
        (json.dumps(chain(op="resize", scale="1e-100000000")), "is not a positive number"),
        (json.dumps(chain(op="resize", scale="9" * 5000)), "a number of more than 4300 digits"),
        ('{"nodes": [' + "9" * 1_000_000 + "]}", "a number of more than 4300 digits"),
        (json.dumps(chain(op="conv", kernel=0)).replace("0}", "[" * 900 + "3" + "]" * 900 + "}"), "nested too deep"),
        (json.dumps(chain(op="conv", kernel=3)).replace('"x"', '{"a":' * 200 + "1" + "}" * 200, 1), "nested too deep"),
        ("[" * 200_000, "nested too deep"),
    ],
    ids=["scale", "small scale", "digits", "integer", "lists", "objects", "open lists"],
)
def test_json_that_would_fill_time_or_memory(text, match, tmp_path, capsys):
    path = tmp_path / "hostile.json"
    path.write_text(text)
    refused(path, capsys, match)


def test_json_has_a_size_cap(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(node_link, "MAX_BYTES", 100)
    path = tmp_path / "large.json"
    path.write_text(json.dumps(chain(op="conv", kernel=3)) + " " * 100)
    refused(path, capsys, "more than 100 bytes")


@pytest.mark.parametrize("suffix", [".json", ".onnx", ".tflite", ".pb", ".keras", ".pt2"])
def test_pipes_and_devices_are_no_files(suffix, tmp_path, capsys):
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    refused(pipe, capsys, "it is no regular file")
    device = tmp_path / f"device{suffix}"
    device.symlink_to("/dev/zero")
    refused(device, capsys, "it is no regular file")


@pytest.mark.parametrize("scale", ["2", "4/3", "0.5", "1e3", "2.5E-2", ".5", "1."])
def test_ratios_that_people_write(scale):
    net = rfgraph.Network("net", axes=1)
    net.resize("y", net.input("x"), scale=scale)
    assert rfgraph.analyze(net)["y"].size


@pytest.mark.parametrize("scale", ["1e9999", "1" * 401, "nan", "inf", "-2", "0", "2/0", "1_000", "0x10", ""])
def test_what_is_no_ratio(scale):
    net = rfgraph.Network("net", axes=1)
    net.resize("y", net.input("x"), scale=scale)
    with pytest.raises(AttributeValueError, match="is not a positive number"):
        rfgraph.analyze(net)


def test_an_error_that_no_one_foresaw_has_its_own_exit_code(monkeypatch, capsys):
    def broken(*arguments, **options):
        raise AttributeError("'list' object has\nno attribute 'terms'")

    monkeypatch.setattr(rfgraph.importers, "load", broken)
    for command in ("summary", "check", "sizes", "trace"):
        assert cli.main([command, "zoo:vgg_16"]) == UNFORESEEN
        said = capsys.readouterr().err
        assert said.startswith("rfgraph: an error in rfgraph itself, AttributeError")
        assert "'list' object has no attribute 'terms'" in said
        assert said.count("\n") == 1


# What every primitive must be.

SLIDE = {"function": "conv", "dims": (2,), "kernel": (3,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}

#: Something for a field of each type.
RIGHT = ("conv", 1, (1,), ((1, 1),), ("a",), (("a",),), True, "forward", Fraction(3, 4))


@pytest.mark.parametrize(
    ("primitive", "match"),
    [
        (program.Slide(**{**SLIDE, "groups": 0}), "groups 0 is less than 1"),
        (program.Slide(**{**SLIDE, "groups": "3"}), "groups '3': it takes integers"),
        (program.Slide(**{**SLIDE, "groups": [1, 1]}), r"groups \[1, 1\]: it takes integers"),
        (program.Slide(**{**SLIDE, "stride": (0,)}), r"stride \[0\] is less than 1"),
        (program.Slide(**{**SLIDE, "kernel": (2**63,)}), "it takes integers, of at most 63 bits"),
        (program.Slide(**{**SLIDE, "padding": "sideways"}), "padding 'sideways': it takes integers"),
        (program.Reshape(shape=(1, 0.5)), "it takes sizes"),
        (program.Reshape(shape=([1], 2)), "it takes sizes"),
        (program.Resize(dims=(2,), scales=(-1,)), r"scales \[-1\]: it takes positive numbers"),
        (program.Resize(dims=(2,), scales=(float("nan"),)), "it takes positive numbers"),
        (program.Pad(amounts=((0, "1"),)), "it takes sizes"),
        (program.Slice(dims=(0,), starts=(0.5,), stops=(None,), steps=(1,)), "it takes sizes"),
        (program.Contract(operands=(("a", 1),), output=("a",)), "it takes text"),
    ],
)
def test_fields_of_primitives_are_of_their_types(primitive, match):
    build = Builder("net")
    x = build.input("x", (1, 3, symbol("H")))
    with pytest.raises(ValueError, match=match):
        build(primitive, x)


def test_every_field_of_every_primitive_is_checked():
    classes = [kind for kind in vars(program).values() if isinstance(kind, type)]
    kinds = [kind for kind in classes if issubclass(kind, Primitive) and kind is not Primitive]
    assert len(kinds) > 20
    for kind in kinds:
        for name in kind.__dataclass_fields__:
            checked_field = object.__new__(kind)
            for other, field in kind.__dataclass_fields__.items():
                right = next(value for value in RIGHT if CHECKS[field.type](value))
                object.__setattr__(checked_field, other, object() if other == name else right)
            with pytest.raises(ValueError, match=f"^{name} "):
                checked(checked_field)


def test_sizes_below_zero_are_refused():
    build = Builder("net")
    x = build.input("x", (1, 3, 8))
    with pytest.raises(ValueError, match="its output would have size -2 along dimension 2"):
        build(program.Pad(amounts=((0, 0), (0, 0), (-5, -5))), x)


# ONNX.


def doubling(depth):
    """Return a model of functions of which each calls the next one twice."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    opsets = [helper.make_opsetid("", 16), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets)]
    for k in range(1, depth + 1):
        calls = [helper.make_node(f"f{k - 1}", [a], [b], domain="own") for a, b in (("a", "m"), ("m", "b"))]
        functions.append(helper.make_function("own", f"f{k}", ["a"], ["b"], calls, opsets))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(f"f{depth}", ["c"], ["y"], domain="own"),
    ]
    graph = helper.make_graph(
        nodes,
        "doubling",
        [helper.make_tensor_value_info("x", 1, [1, 1, "t"])],
        [helper.make_tensor_value_info("y", 1, [1, 1, "t"])],
        [onnx.numpy_helper.from_array(np.ones((1, 1, 3), np.float32), "w")],
    )
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("depth", [30, 60])
def test_functions_that_double_are_refused_at_once(depth, tmp_path, capsys):
    model = doubling(depth)
    path = tmp_path / "doubling.onnx"
    path.write_bytes(model.SerializeToString())
    refused(path, capsys, "the functions that it calls unfold to more than 100000 nodes")


def test_functions_that_double_a_few_times_are_read(tmp_path):
    path = tmp_path / "doubling.onnx"
    path.write_bytes(doubling(5).SerializeToString())
    assert sum(node.get("op") == "relu" for _, node in rfgraph.load(path).nodes(data=True)) == 2**5


def test_a_concatenation_of_very_many_inputs_is_linear(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Concat", ["c"] * 20_000, ["y"], axis=1)]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", 1, [1, 1, "h", "w0"])],
        [helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w")],
    )
    path = tmp_path / "wide.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)]).SerializeToString())
    start = time.process_time()
    assert rfgraph.analyze(path)["y"].size == (3, 3)
    assert time.process_time() - start < 20
